//! `CSINode` (upstream: `registry/storage/csinode`, `apis/storage/validation`).
//!
//! The drivers of a node, as its kubelet tells. A driver stays what it is there; how many volumes it can attach may change (KEP-4876).

use std::collections::HashSet;

use portcullis_model::names;
use portcullis_model::tree::Tree;

use crate::core::pod_spec::volumes::drivers::driver_name;
use crate::rest::Rest;
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::shown;
use crate::views::storage_v1::{CSINode, CSINodeDriver};
use crate::vocabulary::frozen::{IMMUTABLE, is_same_but_for};
use crate::vocabulary::{Errors, Path};

/// The rules of `CSINode`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { needs_version: true, delete_shows_object: true, ..Rest::PLAIN },
    validate_create: validate,
    validate_update,
    columns: &[("Drivers", Column::Count(&["spec.drivers"]))],
    ..Strategy::NONE
};

/// Longest name of a node by which a driver knows it.
const NODE_ID_LEN_MAX: usize = 256;

fn validate(tree: &Tree, errors: &mut Errors) {
    let (node, at): (CSINode<'_>, _) = (views::read(tree), Path::new("spec.drivers"));
    let mut names_of_drivers = HashSet::new();
    for (index, one) in node.spec().drivers().iter().enumerate() {
        let at = at.index(index);
        driver(one, &at, errors);
        if !names_of_drivers.insert(one.name()) {
            errors.duplicate(&at.field("name"), one.name());
        }
        topology_keys(one, &at, errors);
    }
}

fn driver(driver: CSINodeDriver<'_>, at: &Path<'_>, errors: &mut Errors) {
    driver_name(driver.name(), &at.field("name"), errors);
    let (id, id_at) = (driver.node_id(), at.field("nodeID"));
    if id.is_empty() {
        errors.required(&id_at, "");
    }
    if id.len() > NODE_ID_LEN_MAX {
        errors.invalid(&id_at, id, format!("must be {NODE_ID_LEN_MAX} characters or less"));
    }
    if let Some(allocatable) = driver.allocatable() {
        allocatable.check_count(&at.field("allocatable"), errors);
    }
}

/// Labels, each once. Clients are told that the driver is wrong.
fn topology_keys(driver: CSINodeDriver<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut keys = HashSet::new();
    for key in driver.topology_keys().iter() {
        if key.is_empty() {
            errors.required(at, "");
        }
        if !keys.insert(key) {
            errors.duplicate(at, key);
        }
        errors.complain(at, key, names::qualified_name(key));
    }
}

/// What is wrong is said twice, as upstream says it.
fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let before = errors.len();
    validate(tree, errors);
    if errors.len() > before {
        validate(tree, errors);
    }
    let (new, old): (CSINode<'_>, CSINode<'_>) = (views::read(tree), views::read(old));
    let held: std::collections::HashMap<&str, CSINodeDriver<'_>> =
        new.spec().drivers().iter().map(|driver| (driver.name(), driver)).collect();
    for old in old.spec().drivers().iter() {
        let Some(new) = held.get(old.name()) else { continue };
        if !is_same_but_for(new.place(), old.place(), &[CSINodeDriver::ALLOCATABLE]) {
            errors.invalid(&Path::new("spec.drivers"), shown(new.place()), IMMUTABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(drivers: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"a"}},"spec":{{"drivers":[{drivers}]}}}}"#);
        created(&STRATEGY, "storage.k8s.io/v1", "CSINode", &text)
    }

    #[test]
    fn drivers_have_names_and_know_the_node() {
        let check = |drivers: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(drivers)), expected, "{drivers}");
        };
        check("", &[]);
        check(r#"{"name":"csi.example.com","nodeID":"a","topologyKeys":["zone"],"allocatable":{"count":0}}"#, &[]);
        check("{}", &["spec.drivers[0].name: Required value", "spec.drivers[0].nodeID: Required value"]);
        check(
            r#"{"name":"a","nodeID":"a","allocatable":{"count":-1}},{"name":"a","nodeID":"b","topologyKeys":["z","z"]}"#,
            &[
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.drivers[1].name: Duplicate value: "a""#,
                r#"spec.drivers[1]: Duplicate value: "z""#,
            ],
        );
        let id = "a".repeat(257);
        check(
            &format!(r#"{{"name":"a","nodeID":"{id}"}}"#),
            &[&format!(r#"spec.drivers[0].nodeID: Invalid value: "{id}": must be 256 characters or less"#)],
        );
    }

    #[test]
    fn a_driver_stays_but_for_what_it_can_attach() {
        let check = |new: &str, expected: usize| {
            let old = of(r#"{"name":"a","nodeID":"a","allocatable":{"count":1}}"#);
            assert_eq!(update_complaints(&STRATEGY, &of(new), &old, "").len(), expected, "{new}");
        };
        check(r#"{"name":"a","nodeID":"a","allocatable":{"count":2}},{"name":"b","nodeID":"b"}"#, 0);
        check("", 0);
        check(r#"{"name":"a","nodeID":"other"}"#, 1);
        check(r#"{"name":"a"}"#, 3);
    }
}
