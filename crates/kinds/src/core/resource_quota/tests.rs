#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{complaints, created, json, read, update_complaints};

fn quota(spec: &str) -> Tree {
    created(&STRATEGY, "v1", "ResourceQuota", &format!(r#"{{"metadata":{{"name":"q"}},"spec":{spec}}}"#))
}

#[test]
fn amounts_have_names_and_are_not_negative() {
    let check = |hard: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &quota(&format!(r#"{{"hard":{hard}}}"#))), expected, "{hard}");
    };
    check("{}", &[]);
    check(r#"{"count/deployments.apps":"2","limits.memory":"16Gi","pods":"10","requests.cpu":"4"}"#, &[]);
    check(r#"{"gold.storageclass.storage.k8s.io/requests.storage":"5Gi","requests.example.com/crane":"1"}"#, &[]);
    check(r#"{"pods":"-1"}"#, &[r#"spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0"#]);
    check(r#"{"pods":"1.5"}"#, &[r#"spec.hard[pods]: Invalid value: "1500m": must be an integer"#]);
    check(
        r#"{"crane":"1","requests.cpu":"500m"}"#,
        &[
            r#"spec.hard[crane]: Invalid value: "crane": must be a standard resource type or fully qualified"#,
            r#"spec.hard[crane]: Invalid value: "crane": must be a standard resource for quota"#,
        ],
    );
}

#[test]
fn a_scope_goes_with_some_resources() {
    let check = |hard: &str, scopes: &str, expected: &[&str]| {
        let spec = format!(r#"{{"hard":{{"{hard}":"1"}},"scopes":{scopes}}}"#);
        let expected: Vec<String> =
            expected.iter().map(|why| format!("spec.scopes: Invalid value: {scopes}: {why}")).collect();
        assert_eq!(complaints(&STRATEGY, &quota(&spec)), expected, "{spec}");
    };
    check("pods", r#"["BestEffort"]"#, &[]);
    check("count/jobs.batch", r#"["BestEffort"]"#, &[]);
    check("cpu", r#"["NotBestEffort","Terminating"]"#, &[]);
    check("persistentvolumeclaims", r#"["VolumeAttributesClass"]"#, &[]);
    check("cpu", r#"["BestEffort"]"#, &["unsupported scope applied to resource"]);
    check("services", r#"["PriorityClass"]"#, &["unsupported scope applied to resource"]);
    check("pods", r#"["VolumeAttributesClass"]"#, &["unsupported scope applied to resource"]);
    check("pods", r#"["Tidal"]"#, &["unsupported scope"]);
    check("pods", r#"["BestEffort","NotBestEffort"]"#, &["conflicting scopes"]);
    check("pods", r#"["Terminating","NotTerminating"]"#, &["conflicting scopes"]);
}

#[test]
fn a_scope_selector_makes_sense() {
    let check = |requirements: &str, expected: &[&str]| {
        let spec = format!(r#"{{"hard":{{"pods":"1"}},"scopeSelector":{{"matchExpressions":[{requirements}]}}}}"#);
        let expected: Vec<String> =
            expected.iter().map(|why| format!("spec.scopeSelector.matchExpressions{why}")).collect();
        assert_eq!(complaints(&STRATEGY, &quota(&spec)), expected, "{spec}");
    };
    check(r#"{"scopeName":"PriorityClass","operator":"In","values":["high"]}"#, &[]);
    check(r#"{"scopeName":"PriorityClass","operator":"DoesNotExist"}"#, &[]);
    check(r#"{"scopeName":"Terminating","operator":"Exists"}"#, &[]);
    check(
        "{}",
        &[
            r#".scopeName: Invalid value: "": unsupported scope"#,
            r#".operator: Invalid value: "": not a valid selector operator"#,
        ],
    );
    check(
        r#"{"scopeName":"PriorityClass","operator":"NotIn"}"#,
        &[".values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"],
    );
    check(
        r#"{"scopeName":"PriorityClass","operator":"Exists","values":["a"]}"#,
        &[
            r#".values: Invalid value: ["a"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"#,
        ],
    );
    check(
        r#"{"scopeName":"Terminating","operator":"In","values":["a"]}"#,
        &[".operator: Invalid value: \"In\": must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
             ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
             ResourceQuotaScopeCrossNamespacePodAffinity"],
    );
    check(
        r#"{"scopeName":"BestEffort","operator":"Exists"},{"scopeName":"NotBestEffort","operator":"Exists"}"#,
        &[": Invalid value: null: conflicting scopes"],
    );
}

#[test]
fn amounts_are_kept_in_thousandths() {
    let check = |amount: &str, expected: &str| {
        let tree = quota(&format!(r#"{{"hard":{{"cpu":"{amount}"}}}}"#));
        assert_eq!(json(&tree)["spec"]["hard"]["cpu"], expected, "{amount}");
    };
    check("1", "1");
    check("1500m", "1500m");
    check("0.0015", "2m");
    check("1n", "1m");
}

#[test]
fn scopes_stay() {
    let check = |old: &str, new: &str, expected: &[&str]| {
        let of = |scopes: &str| quota(&format!(r#"{{"hard":{{"pods":"1"}},"scopes":{scopes}}}"#));
        assert_eq!(update_complaints(&STRATEGY, &of(new), &of(old), ""), expected, "{old} {new}");
    };
    check(r#"["BestEffort"]"#, r#"["BestEffort"]"#, &[]);
    check(r#"["BestEffort","Terminating"]"#, r#"["Terminating","BestEffort"]"#, &[]);
    check("[]", r#"["BestEffort"]"#, &[r#"spec.scopes: Invalid value: ["BestEffort"]: field is immutable"#]);
    check(r#"["BestEffort"]"#, "[]", &["spec.scopes: Invalid value: null: field is immutable"]);
}

#[test]
fn a_status_is_checked_at_its_own_door() {
    let of = |used: &str| {
        read("v1", "ResourceQuota", &format!(r#"{{"spec":{{"hard":{{"x":"1"}}}},"status":{{"used":{used}}}}}"#))
    };
    let old = of("{}");
    assert_eq!(update_complaints(&STRATEGY, &of(r#"{"pods":"1"}"#), &old, "status"), [""; 0]);
    assert_eq!(
        update_complaints(&STRATEGY, &of(r#"{"pods":"-1"}"#), &old, "status"),
        [r#"status.used[pods]: Invalid value: "-1": must be greater than or equal to 0"#]
    );
}

#[test]
fn a_table_shows_requests_and_limits_apart() {
    let status =
        r#"{"hard":{"limits.memory":"1Gi","pods":"2","requests.cpu":"1"},"used":{"limits.memory":"100Mi","pods":"1"}}"#;
    let tree = read("v1", "ResourceQuota", &format!(r#"{{"status":{status}}}"#));
    assert_eq!(cell(&tree, "Request"), Some(Cell::Text("pods: 1/2, requests.cpu: 0/1".to_owned())));
    assert_eq!(cell(&tree, "Limit"), Some(Cell::Text("limits.memory: 100Mi/1Gi".to_owned())));
    assert_eq!(cell(&tree, "Age"), None);
}

#[test]
fn complaints_that_show_the_whole_list_do_not_multiply_it() {
    let many = |count: usize, what: &str| vec![what; count].join(",");
    let shown = |spec: String| complaints(&STRATEGY, &quota(&spec)).iter().map(String::len).sum::<usize>();
    let (scopes, hard) = (many(20_000, r#""Tidal""#), r#"{"pods":"1","cpu":"1"}"#);
    assert!(shown(format!(r#"{{"hard":{hard},"scopes":[{scopes}]}}"#)) < 16 << 20);
    let requirement = r#"{"scopeName":"VolumeAttributesClass","operator":"Exists"}"#;
    let requirements = many(20_000, requirement);
    assert!(shown(format!(r#"{{"hard":{hard},"scopeSelector":{{"matchExpressions":[{requirements}]}}}}"#)) < 16 << 20);
}
