#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{complaints, created, json, read, update_complaints};

fn node(spec: &str) -> Tree {
    created(&STRATEGY, "v1", "Node", &format!(r#"{{"metadata":{{"name":"a"}},"spec":{spec}}}"#))
}

#[test]
fn the_single_range_and_the_list_say_the_same() {
    let check = |spec: &str, expected: &str| {
        assert_eq!(json(&node(spec)).pointer("/spec").cloned().unwrap_or_default().to_string(), expected, "{spec}");
    };
    let both = r#"{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24"]}"#;
    check(both, both);
    check(r#"{"podCIDR":"10.0.0.0/24"}"#, both);
    check(r#"{"podCIDRs":["10.0.0.0/24"]}"#, both);
    check(r#"{"podCIDR":"10.0.0.0/24","podCIDRs":[]}"#, both);
    check(r#"{"podCIDR":"10.0.0.0/24","podCIDRs":["10.1.0.0/24","fd00::/64"]}"#, both);
    let dual = r#"{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24","fd00::/64"]}"#;
    check(dual, dual);
}

#[test]
fn what_can_be_used_is_what_there_is() {
    let check = |status: &str, expected: &str| {
        let tree = created(&STRATEGY, "v1", "Node", &format!(r#"{{"status":{status}}}"#));
        assert_eq!(json(&tree).pointer("/status/allocatable").cloned().unwrap_or_default().to_string(), expected);
    };
    check(r#"{"capacity":{"cpu":"2"}}"#, r#"{"cpu":"2"}"#);
    check(r#"{"capacity":{"cpu":"2"},"allocatable":{"cpu":"1"}}"#, r#"{"cpu":"1"}"#);
    check(r#"{"capacity":{"cpu":"1u"}}"#, r#"{"cpu":"1m"}"#);
    check(r#"{"capacity":{"cpu":"2"},"allocatable":{"cpu":"1.0001"}}"#, r#"{"cpu":"1001m"}"#);
    check("{}", "null");
}

#[test]
fn ranges_are_one_of_each_family() {
    let check = |ranges: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &node(&format!(r#"{{"podCIDRs":{ranges}}}"#))), expected, "{ranges}");
    };
    check(r#"["10.0.0.0/24","fd00::/64"]"#, &[]);
    check(
        r#"["10.0.0.0/24","10.0.1.0/24"]"#,
        &[
            r#"spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family"#,
        ],
    );
    check(
        r#"["berth"]"#,
        &[
            r#"spec.podCIDRs[0]: Invalid value: "berth": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#,
        ],
    );
}

#[test]
fn taints_are_unique_and_have_an_effect() {
    let check = |taints: &str, expected: &[&str]| {
        let tree = node(&format!(r#"{{"taints":{taints}}}"#));
        assert_eq!(complaints(&STRATEGY, &tree), expected, "{taints}");
        let twice: Vec<&str> = expected.iter().chain(expected).copied().collect();
        assert_eq!(update_complaints(&STRATEGY, &tree, &tree, ""), twice, "{taints}");
    };
    check(r#"[{"key":"a","effect":"NoSchedule"},{"key":"a","effect":"NoExecute"}]"#, &[]);
    check(r#"[{"key":"a"}]"#, &["metadata.taints[0].effect: Required value"]);
    check(
        r#"[{"key":"a","effect":"Sink"}]"#,
        &[
            r#"metadata.taints[0].effect: Unsupported value: "Sink": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
        ],
    );
    let same = r#"[{"key":"a","effect":"NoSchedule"},{"key":"a","value":"b","effect":"NoSchedule"}]"#;
    check(
        same,
        &[
            r#"metadata.taints[1]: Duplicate value: {"key":"a","value":"b","effect":"NoSchedule"}: taints must be unique by key and effect pair"#,
        ],
    );
}

#[test]
fn ranges_and_provider_stay() {
    let old = node(r#"{"podCIDR":"10.0.0.0/24","providerID":"quay://1"}"#);
    let check = |spec: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &node(spec), &old, ""), expected, "{spec}");
    };
    check(r#"{"podCIDR":"10.0.0.0/24","providerID":"quay://1","unschedulable":true}"#, &[]);
    let provider = "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid";
    let range = "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid";
    check(r#"{"podCIDR":"10.0.0.0/24"}"#, &[provider]);
    check(r#"{"podCIDR":"10.0.1.0/24","providerID":"quay://1"}"#, &[range]);
    check(r#"{"providerID":"quay://1","externalID":"x"}"#, &[range, "spec.externalID: Forbidden: may not be updated"]);
}

#[test]
fn a_status_has_amounts_and_distinct_addresses() {
    let of = |status: &str| read("v1", "Node", &format!(r#"{{"status":{status}}}"#));
    let check = |status: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &of(status), &of("{}"), "status"), expected, "{status}");
    };
    check(r#"{"capacity":{"cpu":"2","example.com/crane":"1"},"addresses":[{"type":"Hostname","address":"a"}]}"#, &[]);
    check(
        r#"{"capacity":{"cpu":"-1"},"allocatable":{"pods":"500m"}}"#,
        &[
            r#"status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"status.allocatable.pods: Invalid value: "500m": must be an integer"#,
        ],
    );
    check(
        r#"{"addresses":[{"type":"Hostname","address":"a"},{"type":"Hostname","address":"a"}]}"#,
        &[r#"status.addresses[1]: Duplicate value: {"type":"Hostname","address":"a"}"#],
    );
}

#[test]
fn kubelets_are_not_configured_through_their_node() {
    let source = r#"{"configSource":{"configMap":{"name":"a","namespace":"b","kubeletConfigKey":"c"}}}"#;
    let has = |tree: &Tree| views::read::<Node<'_>>(tree).spec().config_source().is_some();
    assert!(!has(&node(source)));
    let old = read("v1", "Node", &format!(r#"{{"spec":{source}}}"#));
    let mut new = node("{}");
    keep_configuration(&mut new, &old);
    assert!(has(&new));
    keep_configuration(&mut new, &node("{}"));
    assert!(!has(&new));
}

#[test]
fn a_table_shows_what_a_node_is() {
    let check = |text: &str, column: &str, expected: &str| {
        assert_eq!(cell(&read("v1", "Node", text), column), Some(Cell::Text(expected.to_owned())), "{text} {column}");
    };
    check("{}", "Status", "Unknown");
    check(r#"{"spec":{"unschedulable":true}}"#, "Status", "Unknown,SchedulingDisabled");
    check(r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#, "Status", "Ready");
    check(r#"{"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}"#, "Status", "NotReady");
    check("{}", "Roles", "<none>");
    let labels = r#"{"node-role.kubernetes.io/worker":"","node-role.kubernetes.io/":"","kubernetes.io/role":"crane"}"#;
    check(&format!(r#"{{"metadata":{{"labels":{labels}}}}}"#), "Roles", "crane,worker");
    check("{}", "Version", "");
    check("{}", "OS-Image", "<unknown>");
    check("{}", "Internal-IP", "<none>");
    check(r#"{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}"#, "Internal-IP", "10.0.0.1");
    assert_eq!(cell(&read("v1", "Node", "{}"), "Age"), None);
}
