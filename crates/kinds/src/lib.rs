//! The kinds of the 1.36 API as tables: types, resources, printer columns, field descriptions.
//!
//! This crate knows facts, and the rules of single kinds as pure functions. It does no I/O, holds no objects and decides nothing about a request.
//!
//! Reading order: [`mod@resources`] (what is served, where it is stored), then [`views`] (fields by
//! name), then [`descriptions`] (what OpenAPI and `kubectl explain` print); [`strategy`], [`rest`] and the
//! groups after it (what one kind does differently), made of the words of [`vocabulary`].

mod additions;
pub mod admissionregistration;
pub mod apiextensions;
pub mod apiregistration;
pub mod apps;
pub mod autoscaling;
pub mod batch;
pub mod bootstrap_policy;
pub mod certificates;
pub mod coordination;
pub mod core;
pub mod descriptions;
pub mod discovery;
pub mod flow_control;
pub mod networking;
pub mod node;
pub mod pod_security;
pub mod policy;
#[cfg(test)]
mod properties;
pub mod quota;
pub mod rbac;
pub mod resource;
pub mod resources;
pub mod rest;
mod rules;
pub mod scheduling;
pub mod storage;
pub mod strategy;
#[cfg(test)]
mod testing;
pub mod views;
pub mod vocabulary;

use std::sync::OnceLock;

use portcullis_model::schema::Schema;

pub use bootstrap_policy::bootstrap_policy;
pub use flow_control::flow_control;
pub use resources::{Registry, Resource};

/// The type tables, as `cargo xtask facts` wrote them. A test holds this list to the folder.
const TYPE_TABLES: &[&str] = &[
    include_str!("../facts/v1_36/admissionregistration_v1.facts"),
    include_str!("../facts/v1_36/api_resource.facts"),
    include_str!("../facts/v1_36/apiextensions_v1.facts"),
    include_str!("../facts/v1_36/apiregistration_v1.facts"),
    include_str!("../facts/v1_36/apps_v1.facts"),
    include_str!("../facts/v1_36/authentication_v1.facts"),
    include_str!("../facts/v1_36/authorization_v1.facts"),
    include_str!("../facts/v1_36/autoscaling_v1.facts"),
    include_str!("../facts/v1_36/autoscaling_v2.facts"),
    include_str!("../facts/v1_36/batch_v1.facts"),
    include_str!("../facts/v1_36/certificates_v1.facts"),
    include_str!("../facts/v1_36/coordination_v1.facts"),
    include_str!("../facts/v1_36/core_v1.facts"),
    include_str!("../facts/v1_36/discovery_v1.facts"),
    include_str!("../facts/v1_36/events_v1.facts"),
    include_str!("../facts/v1_36/flowcontrol_v1.facts"),
    include_str!("../facts/v1_36/meta_v1.facts"),
    include_str!("../facts/v1_36/networking_v1.facts"),
    include_str!("../facts/v1_36/node_v1.facts"),
    include_str!("../facts/v1_36/pkg_runtime.facts"),
    include_str!("../facts/v1_36/policy_v1.facts"),
    include_str!("../facts/v1_36/rbac_v1.facts"),
    include_str!("../facts/v1_36/resource_v1.facts"),
    include_str!("../facts/v1_36/scheduling_v1.facts"),
    include_str!("../facts/v1_36/storage_v1.facts"),
    include_str!("../facts/v1_36/time.facts"),
    include_str!("../facts/v1_36/util_intstr.facts"),
];

const RESOURCES: &str = include_str!("../facts/v1_36/resources.facts");
const COLUMNS: &str = include_str!("../facts/v1_36/columns.facts");

/// A number that changes with the tables and with [`strategy::DEFAULTS`]: objects that were written under another are defaulted and
/// pruned again when they are read.
pub fn epoch() -> u32 {
    // FNV-1a; any change of any table must show, and nothing else matters.
    let tables = TYPE_TABLES.iter().copied().chain([additions::ADDITIONS, strategy::DEFAULTS]);
    tables.flat_map(str::bytes).fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Every type of the API, loaded on first use.
///
/// # Panics
/// When a committed table is malformed, which a test of this crate rules out.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let tables: Vec<_> = TYPE_TABLES.iter().map(|table| additions::with_additions(table)).collect();
        match Schema::load(tables.iter().map(|table| &**table)) {
            Ok(schema) => schema,
            Err(error) => panic!("the committed type tables are malformed: {error}"),
        }
    })
}

/// Every resource of the API, loaded on first use.
///
/// # Panics
/// When a committed table is malformed, which a test of this crate rules out.
pub fn resources() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| match Registry::load(RESOURCES, COLUMNS, schema()) {
        Ok(registry) => registry,
        Err(error) => panic!("the committed resource tables are malformed: {error}"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_type_table_of_the_folder_is_loaded() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/facts/v1_36");
        let mut expected: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| !["resources.facts", "columns.facts"].contains(&&*entry.file_name().to_string_lossy()))
            .map(|entry| std::fs::read_to_string(entry.path()).unwrap())
            .collect();
        expected.sort();
        let mut loaded: Vec<String> = TYPE_TABLES.iter().map(|table| (*table).to_owned()).collect();
        loaded.sort();
        assert_eq!(loaded, expected);
    }

    #[test]
    fn the_tables_load() {
        assert!(schema().by_kind("v1", "Pod").is_some());
        assert_eq!(schema().by_kind("apps/v1", "Pod"), None);
        assert_eq!(resources().all().len(), 68);
    }
}
