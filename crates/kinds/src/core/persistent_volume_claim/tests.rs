//! What fills a claim, what may change of it, and what its status may say.

#![allow(clippy::unwrap_used)]

use portcullis_model::tree::Tree;
use serde_json::Value;

use super::*;
use crate::testing::{complaints, created, default_all, json, read, update_complaints};

const ASKS: &str = r#""accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}"#;
const IMMUTABLE: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

fn of(spec: &str) -> Tree {
    created(&STRATEGY, "v1", "PersistentVolumeClaim", &format!(r#"{{"metadata":{{"name":"c"}},"spec":{{{spec}}}}}"#))
}

/// A claim as it is stored, or as it replaces one.
fn stored(metadata: &str, spec: &str, status: &str) -> Tree {
    let text = format!(r#"{{"metadata":{{"name":"c"{metadata}}},"spec":{{{spec}}},"status":{{{status}}}}}"#);
    let mut tree = read("v1", "PersistentVolumeClaim", &text);
    default_all(&STRATEGY, &mut tree);
    tree
}

#[test]
fn both_sources_say_the_same() {
    let sources = |tree: &Tree| {
        let spec = json(tree)["spec"].clone();
        let name = |field: &str| spec[field]["name"].as_str().map(str::to_owned);
        (name("dataSource"), name("dataSourceRef"))
    };
    let check = |spec: &str, expected: (Option<&str>, Option<&str>)| {
        let (first, second) = sources(&of(&format!("{ASKS},{spec}")));
        assert_eq!((first.as_deref(), second.as_deref()), expected, "{spec}");
    };
    check(r#""dataSource":{"kind":"PersistentVolumeClaim","name":"a"}"#, (Some("a"), Some("a")));
    check(r#""dataSourceRef":{"kind":"PersistentVolumeClaim","name":"a"}"#, (Some("a"), Some("a")));
    check(r#""dataSourceRef":{"apiGroup":"example.com","kind":"Book","name":"a"}"#, (Some("a"), Some("a")));
    // The first field never took anything but claims and snapshots.
    check(r#""dataSource":{"apiGroup":"example.com","kind":"Book","name":"a"}"#, (None, None));
    check(
        r#""dataSource":{"apiGroup":"snapshot.storage.k8s.io","kind":"VolumeSnapshot","name":"a"}"#,
        (Some("a"), Some("a")),
    );
    // Other namespaces stand behind a gate.
    check(r#""dataSourceRef":{"kind":"PersistentVolumeClaim","name":"a","namespace":"b"}"#, (None, None));
    let tree = of(&format!(r#"{ASKS},"dataSource":{{"kind":"PersistentVolumeClaim","name":"a"}}"#));
    assert_eq!(json(&tree)["spec"]["dataSourceRef"]["apiGroup"], Value::Null);
    assert!(complaints(&STRATEGY, &tree).is_empty());
}

#[test]
fn a_claim_stays_what_it_is() {
    let old = of(&format!(r#"{ASKS},"dataSource":{{"kind":"PersistentVolumeClaim","name":"a"}}"#));
    let check = |spec: &str, expected: &[&str]| {
        let mut new = stored("", spec, "");
        prepare_update(&mut new, &old, "", 0);
        assert_eq!(update_complaints(&STRATEGY, &new, &old, ""), expected, "{spec}");
    };
    let source = r#""dataSource":{"kind":"PersistentVolumeClaim","name":"a"}"#;
    check(&format!("{ASKS},{source}"), &[]);
    // A volume, and a class where there was none, are taken once.
    check(&format!(r#"{ASKS},{source},"volumeName":"v","storageClassName":"slow""#), &[]);
    check(ASKS, &[IMMUTABLE]);
    check(&format!(r#"{ASKS},{source},"selector":{{}}"#), &[IMMUTABLE]);
    check(
        &format!(r#"{ASKS},{source},"volumeMode":"Block""#),
        &[IMMUTABLE, r#"volumeMode: Invalid value: "Block": field is immutable"#],
    );
    check(
        &format!(r#""accessModes":["ReadWriteOnce"],"resources":{{}},{source}"#),
        &[
            "spec.resources[storage]: Required value",
            IMMUTABLE,
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
        ],
    );
}

#[test]
fn a_bound_claim_may_grow_and_shrink_to_what_it_has() {
    const STATUS: &str = r#""phase":"Bound","capacity":{"storage":"2Gi"}"#;
    let of = |size: &str, more: &str, status: &str| {
        let requests = format!(r#""resources":{{"requests":{{"storage":"{size}"}}}}"#);
        stored("", &format!(r#""accessModes":["ReadWriteOnce"],{requests}{more}"#), status)
    };
    let check = |size: &str, more: &str, expected: &[&str]| {
        let old = of("10Gi", "", STATUS);
        assert_eq!(update_complaints(&STRATEGY, &of(size, more, STATUS), &old, ""), expected, "{size} {more}");
    };
    check("20Gi", "", &[]);
    check("3Gi", "", &[]);
    check("2Gi", "", &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]);
    check("10Gi", r#","volumeAttributesClassName":"gold""#, &[]);
    let pending = r#""phase":"Pending""#;
    let found = update_complaints(&STRATEGY, &of("20Gi", "", pending), &of("10Gi", "", pending), "");
    assert_eq!(found, [IMMUTABLE]);
}

#[test]
fn a_class_of_attributes_that_was_applied_stays() {
    let of = |class: &str, status: &str| {
        let status = format!(r#""phase":"Bound"{status}"#);
        stored("", &format!(r#"{ASKS}{class}"#), &status)
    };
    const GOLD: &str = r#","volumeAttributesClassName":"gold""#;
    const APPLIED: &str = r#","currentVolumeAttributesClassName":"gold""#;
    let check = |new: &str, applied: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &of(new, applied), &of(GOLD, applied), ""), expected, "{new}");
    };
    check("", "", &[]);
    check(r#","volumeAttributesClassName":"silver""#, APPLIED, &[]);
    let at = "spec.volumeAttributesClassName: Forbidden: update to";
    let why = "is forbidden when status.currentVolumeAttributesClassName is not nil";
    check("", APPLIED, &[&format!("{at} nil {why}")]);
    check(r#","volumeAttributesClassName":"""#, APPLIED, &[&format!("{at} empty string {why}")]);
}

#[test]
fn a_class_moves_from_the_annotation_to_the_field() {
    let annotated = |class: &str| format!(r#","annotations":{{"volume.beta.kubernetes.io/storage-class":"{class}"}}"#);
    let classed = |class: &str| format!(r#"{ASKS},"storageClassName":"{class}""#);
    let old = stored(&annotated("slow"), ASKS, "");
    let check = |metadata: &str, spec: &str, expected: &[&str]| {
        let found = update_complaints(&STRATEGY, &stored(metadata, spec, ""), &old, "");
        assert_eq!(found, expected, "{metadata} {spec}");
    };
    let wrong = |shown: &str| {
        format!(
            r#"metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "{shown}": field is immutable"#
        )
    };
    check(&annotated("slow"), &classed("slow"), &[]);
    check("", &classed("slow"), &[]);
    check(&annotated("fast"), ASKS, &[&wrong("fast")]);
    check("", ASKS, &[&wrong("")]);
    check(&annotated("slow"), &classed("fast"), &[IMMUTABLE]);
}

#[test]
fn what_was_let_in_before_may_stay() {
    let spec = format!(
        r#"{ASKS},"dataSource":{{"apiGroup":"^wrong","kind":"A","name":"a"}},"selector":{{"matchExpressions":[{{"key":"a","operator":"In","values":["not valid!"]}}]}}"#
    );
    let old = stored("", &spec, "");
    let mut new = stored("", &spec, "");
    prepare_update(&mut new, &old, "", 0);
    assert_eq!(update_complaints(&STRATEGY, &new, &old, ""), [""; 0]);
    assert!(!complaints(&STRATEGY, &new).is_empty());
}

#[test]
fn what_a_status_may_say() {
    let check = |status: &str, expected: &[&str]| {
        let new = stored("", ASKS, status);
        assert_eq!(update_complaints(&STRATEGY, &new, &of(ASKS), "status"), expected, "{status}");
    };
    check(
        r#""phase":"Bound","capacity":{"storage":"1Gi"},"allocatedResources":{"storage":"1Gi","example.com/a":"1"},"allocatedResourceStatuses":{"storage":"NodeResizePending"}"#,
        &[],
    );
    check(
        r#""capacity":{"storage":"-1"},"allocatedResources":{"cpu":"1"},"allocatedResourceStatuses":{"storage":"Done"}"#,
        &[
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity",
            r#"status.allocatedResourceStatus: Unsupported value: "storage": supported values: "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible", "NodeResizePending""#,
            r#"status.allocatedResources: Unsupported value: "cpu": supported values: "storage""#,
        ],
    );
}

#[test]
fn what_a_table_shows() {
    let check = |tree: &Tree, column: &str, expected: &str| {
        assert_eq!(cell(tree, column), Some(Cell::Text(expected.to_owned())), "{column}");
    };
    let waiting = stored("", ASKS, "");
    check(&waiting, "Status", "Pending");
    check(&waiting, "Capacity", "");
    check(&waiting, "Access Modes", "");
    check(&waiting, "StorageClass", "");
    let status = r#""phase":"Bound","capacity":{"storage":"2Gi"},"accessModes":["ReadWriteMany","ReadWriteOnce"]"#;
    let bound = stored("", &format!(r#"{ASKS},"volumeName":"v","storageClassName":"slow""#), status);
    check(&bound, "Status", "Bound");
    check(&bound, "Capacity", "2Gi");
    check(&bound, "Access Modes", "RWO,RWX");
    check(&bound, "StorageClass", "slow");
}
