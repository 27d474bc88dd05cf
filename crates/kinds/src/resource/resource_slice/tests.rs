//! Slices of pools.

#![allow(clippy::unwrap_used)]

use portcullis_model::tree::Tree;

use super::{STRATEGY, date_taints};
use crate::testing::{complaints, created, json, update_complaints};

const POOL: &str = r#""driver":"gpu.example.com","pool":{"name":"p","resourceSliceCount":1}"#;

fn bare(spec: &str) -> Tree {
    let text = format!(r#"{{"metadata":{{"name":"s"}},"spec":{{{spec}}}}}"#);
    created(&STRATEGY, "resource.k8s.io/v1", "ResourceSlice", &text)
}

fn of(spec: &str) -> Tree {
    bare(&format!("{POOL},{spec}"))
}

/// How complaints begin: enough to tell them apart.
fn short(lines: &[impl AsRef<str>]) -> Vec<String> {
    lines.iter().map(|line| line.as_ref().chars().take(100).collect()).collect()
}

#[test]
fn a_slice_has_a_driver_a_pool_and_a_place() {
    let check =
        |spec: &str, expected: &[&str]| assert_eq!(short(&complaints(&STRATEGY, &of(spec))), short(expected), "{spec}");
    check(r#""nodeName":"n""#, &[]);
    check(r#""allNodes":true"#, &[]);
    check(
        "\"devices\":[]",
        &[
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is requir",
        ],
    );
    check(
        r#""nodeName":"n","allNodes":true"#,
        &[
            "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDevi",
        ],
    );
    check(
        r#""allNodes":false,"nodeSelector":{"nodeSelectorTerms":[]}"#,
        &[
            "spec.nodeSelector.nodeSelectorTerms: Required value: must have at least one node selector term",
            "spec.nodeSelector.nodeSelectorTerms: Invalid value: []: must have exactly one node selector term",
            "spec.allNodes: Invalid value: false: must be either unset or set to true",
        ],
    );
    let found = complaints(&STRATEGY, &bare(r#""nodeName":"n","pool":{"generation":-1}"#));
    let expected = [
        "spec.driver: Required value",
        "spec.pool.name: Required value",
        "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
        "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
    ];
    assert_eq!(short(&found), short(&expected));
}

#[test]
fn what_a_device_may_say() {
    let check = |device: &str, expected: &[&str]| {
        let slice = of(&format!(r#""nodeName":"n","devices":[{{"name":"d",{device}}}]"#));
        assert_eq!(short(&complaints(&STRATEGY, &slice)), short(expected), "{device}");
    };
    check(
        r#""attributes":{"model":{"string":"m"},"example.com/v":{"version":"1.2.3"}},"capacity":{"memory":{"value":"1Gi"}}"#,
        &[],
    );
    check(
        r#""attributes":{"a b":{"int":1,"bool":true},"v":{"version":"1"},"z":{}}"#,
        &[
            "spec.devices[0].attributes: Invalid value: \"a b\": a valid C identifier must start with alphabetic character or '_'",
            "spec.devices[0].attributes[a b]: Invalid value: {\"int\":1,\"bool\":true}: exactly one value must be specified",
            "spec.devices[0].attributes[v].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
            "spec.devices[0].attributes[z]: Invalid value: \"\": exactly one value must be specified",
        ],
    );
    check(
        r#""taints":[{"key":"a b","effect":"Odd"},{"key":"k"}]"#,
        &[
            "spec.devices[0].taints[0].key: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' o",
            "spec.devices[0].taints[0].effect: Unsupported value: \"Odd\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
            "spec.devices[0].taints[1].effect: Required value",
        ],
    );
    check(
        r#""nodeName":"n""#,
        &[
            "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSe",
        ],
    );
    check(
        r#""bindingConditions":["a","a"],"consumesCounters":[{"counterSet":"s"}]"#,
        &[
            "spec.devices[0].consumesCounters[0].counters: Required value",
            "spec.devices[0].bindingConditions[1]: Duplicate value: \"a\"",
            "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindin",
        ],
    );
    let policy = |policy: &str| {
        format!(r#""allowMultipleAllocations":true,"capacity":{{"memory":{{"value":"10","requestPolicy":{policy}}}}}"#)
    };
    check(&policy(r#"{"default":"2","validValues":["1","2"]}"#), &[]);
    check(&policy(r#"{"default":"2","validRange":{"min":"2","max":"8","step":"2"}}"#), &[]);
    check(
        &policy(r#"{"default":"3","validValues":["2","1","11"]}"#),
        &[
            "spec.devices[0].capacity[memory].requestPolicy.validValues[1]: Invalid value: \"1\": values must be sorted in ascendi",
            "spec.devices[0].capacity[memory].requestPolicy.validValues[2]: Invalid value: \"11\": option is larger than capacity ",
            "spec.devices[0].capacity[memory].requestPolicy.validValues: Invalid value: \"3\": default value is not valid accordin",
        ],
    );
    check(
        &policy(r#"{"default":"3","validRange":{"min":"2","max":"11","step":"2"}}"#),
        &[
            "spec.devices[0].capacity[memory].requestPolicy.validRange.max: Invalid value: \"11\": max is larger than capacity val",
            "spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: \"3\": value is not a multiple of a gi",
            "spec.devices[0].capacity[memory].requestPolicy.validRange.step: Invalid value: \"11\": value is not a multiple of a g",
        ],
    );
    check(
        r#""capacity":{"memory":{"value":"10","requestPolicy":{}}}"#,
        &["spec.devices[0].capacity[memory].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
    );
}

#[test]
fn a_slice_stays_with_its_driver_pool_and_node() {
    let old = of(r#""nodeName":"n""#);
    let new = bare(r#""driver":"other","pool":{"name":"q","resourceSliceCount":1},"nodeName":"m""#);
    let expected = [
        r#"spec.pool.name: Invalid value: "q": field is immutable"#,
        r#"spec.driver: Invalid value: "other": field is immutable"#,
        r#"spec.nodeName: Invalid value: "m": field is immutable"#,
    ];
    assert_eq!(update_complaints(&STRATEGY, &new, &old, ""), expected);
    assert_eq!(update_complaints(&STRATEGY, &old, &old, ""), [""; 0]);
}

#[test]
fn taints_have_a_date() {
    let mut slice = of(r#""nodeName":"n","devices":[{"name":"d","taints":[{"key":"k","effect":"None"}]}]"#);
    date_taints(&mut slice, 1_767_225_600);
    let shown = json(&slice);
    let added = shown.pointer("/spec/devices/0/taints/0/timeAdded").and_then(|time| time.as_str());
    assert!(added.is_some_and(|time| time.ends_with('Z')), "{added:?}");
}
