//! `CSIStorageCapacity` (upstream: `registry/storage/csistoragecapacity`, `apis/storage/validation`; KEP-1472).
//!
//! How much a driver has left for a class in a part of the cluster: what was asked stays, only the answer changes.

use portcullis_model::names;
use portcullis_model::quantity::Quantity;
use portcullis_model::tree::Tree;

use crate::core::pod_spec::warnings::of_node_label;
use crate::rest::Rest;
use crate::strategy::Strategy;
use crate::views;
use crate::views::storage_v1::CSIStorageCapacity;
use crate::vocabulary::frozen::{IMMUTABLE, frozen};
use crate::vocabulary::{Errors, Path, selectors};

/// The rules of `CSIStorageCapacity`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { needs_version: true, ..Rest::PLAIN },
    validate_create: |tree, errors| validate(views::read(tree), None, errors),
    warn_create: warn,
    validate_update,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    ..Strategy::NONE
};

fn validate(capacity: CSIStorageCapacity<'_>, old: Option<CSIStorageCapacity<'_>>, errors: &mut Errors) {
    if let Some(topology) = capacity.node_topology() {
        let at = Path::new("nodeTopology");
        if old.is_some_and(has_wrong_topology) {
            selectors::label_selector_of_old(topology, &at, errors);
        } else {
            selectors::label_selector(topology, &at, errors);
        }
    }
    let class = capacity.storage_class_name();
    errors.complain(&Path::new("storageClassName"), class, names::dns1123_subdomain(class));
    if let Some(text) = capacity.capacity()
        && Quantity::parse(text).is_ok_and(|quantity| quantity.sign() < 0)
    {
        errors.invalid(&Path::new("capacity"), text, "must be greater than or equal to 0");
    }
}

/// Whether a stored topology would not be taken now.
fn has_wrong_topology(old: CSIStorageCapacity<'_>) -> bool {
    let mut errors = Errors::new();
    if let Some(topology) = old.node_topology() {
        selectors::label_selector(topology, &Path::ROOT, &mut errors);
    }
    !errors.is_empty()
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let (new, old): (CSIStorageCapacity<'_>, CSIStorageCapacity<'_>) = (views::read(tree), views::read(old));
    validate(new, Some(old), errors);
    let topology = CSIStorageCapacity::NODE_TOPOLOGY;
    frozen(new.place().get(topology), old.place().get(topology), &Path::new(topology.name()), errors);
    if new.storage_class_name() != old.storage_class_name() {
        errors.invalid(&Path::new("storageClassName"), new.storage_class_name(), IMMUTABLE);
    }
}

/// Labels of nodes that are named otherwise now.
fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let capacity: CSIStorageCapacity<'_> = views::read(tree);
    let Some(topology) = capacity.node_topology() else { return };
    for (index, one) in topology.match_expressions().iter().enumerate() {
        if let Some(why) = of_node_label(one.key()) {
            warnings.push(format!("nodeTopology.matchExpressions[{index}].key: {} is {why}", one.key()));
        }
    }
    for (label, _) in topology.match_labels().iter() {
        if let Some(why) = of_node_label(label) {
            warnings.push(format!("nodeTopology.matchLabels.{label}: {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(fields: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"a"}},{fields}}}"#);
        created(&STRATEGY, "storage.k8s.io/v1", "CSIStorageCapacity", &text)
    }

    #[test]
    fn the_question_stays_and_the_answer_changes() {
        const ZONE: &str = r#""storageClassName":"fast","nodeTopology":{"matchLabels":{"zone":"a"}}"#;
        assert!(complaints(&STRATEGY, &of(&format!(r#"{ZONE},"capacity":"1Gi""#))).is_empty());
        assert_eq!(
            complaints(&STRATEGY, &of(&format!(r#"{ZONE},"capacity":"-1""#))),
            [r#"capacity: Invalid value: "-1": must be greater than or equal to 0"#]
        );
        let check = |new: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(ZONE), ""), expected, "{new}");
        };
        check(&format!(r#"{ZONE},"capacity":"2Gi""#), &[]);
        check(
            r#""storageClassName":"slow""#,
            &[
                "nodeTopology: Invalid value: null: field is immutable",
                r#"storageClassName: Invalid value: "slow": field is immutable"#,
            ],
        );
    }
}
