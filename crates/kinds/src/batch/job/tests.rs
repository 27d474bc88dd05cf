//! What a job may want, what may change of it, and what a controller may say of it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{self, complaints, created, update_complaints};

const POD: &str = r#"{"restartPolicy":"Never","containers":[{"name":"work","image":"shop:1"}]}"#;
const UID: &str = "b4e2a6d0-0000-4000-8000-000000000001";

/// A job as it is made, with further fields of its spec.
fn of(fields: &str) -> Tree {
    with_pod(fields, POD)
}

fn with_pod(fields: &str, pod: &str) -> Tree {
    job("tide", fields, &format!(r#"{{"spec":{pod}}}"#), "{}")
}

fn job(name: &str, fields: &str, template: &str, status: &str) -> Tree {
    let comma = if fields.is_empty() { "" } else { "," };
    created(
        &STRATEGY,
        "batch/v1",
        "Job",
        &format!(
            r#"{{"metadata":{{"name":"{name}","uid":"{UID}"}},"spec":{{"template":{template}{comma}{fields}}},"status":{status}}}"#
        ),
    )
}

#[test]
fn what_is_not_said_is_as_upstream_has_it() {
    let shown = testing::json(&of(""));
    let spec = &shown["spec"];
    let expected = [
        ("completions", serde_json::json!(1)),
        ("parallelism", 1.into()),
        ("backoffLimit", 6.into()),
        ("completionMode", "NonIndexed".into()),
        ("suspend", false.into()),
        ("manualSelector", false.into()),
        ("podReplacementPolicy", "TerminatingOrFailed".into()),
        ("selector", serde_json::json!({"matchLabels": {UID_LABEL: UID}})),
    ];
    for (field, value) in expected {
        assert_eq!(spec[field], value, "{field}");
    }
    let labels = serde_json::json!({UID_LABEL: UID, UID_LABEL_OLD: UID, NAME_LABEL: "tide", NAME_LABEL_OLD: "tide"});
    assert_eq!(spec["template"]["metadata"]["labels"], labels);
    assert_eq!(shown["metadata"]["labels"], labels);
    let indexed = testing::json(&of(r#""parallelism":3,"completionMode":"Indexed","backoffLimitPerIndex":1,
            "podFailurePolicy":{"rules":[{"action":"Ignore","onPodConditions":[{"type":"A"}]}]}"#));
    assert_eq!(indexed["spec"].get("completions"), None);
    assert_eq!(indexed["spec"]["backoffLimit"], i32::MAX);
    assert_eq!(indexed["spec"]["podReplacementPolicy"], "Failed");
    assert_eq!(indexed["spec"]["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"], "True");
}

#[test]
fn what_a_job_may_want() {
    let check = |fields: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &of(fields)), expected, "{fields}");
    check("", &[]);
    check(
        r#""parallelism":0,"completions":0,"backoffLimit":0,"ttlSecondsAfterFinished":0,"activeDeadlineSeconds":0"#,
        &[],
    );
    check(r#""managedBy":"example.com/runner""#, &[]);
    check(
        r#""managedBy":"runner""#,
        &[r#"spec.managedBy: Invalid value: "runner": must be a domain-prefixed path (such as "acme.io/foo")"#],
    );
    check(
        r#""parallelism":-7,"ttlSecondsAfterFinished":-7"#,
        &[
            "spec.parallelism: Invalid value: -7: must be greater than or equal to 0",
            "spec.ttlSecondsAfterFinished: Invalid value: -7: must be greater than or equal to 0",
        ],
    );
    check(
        r#""completionMode":"Other""#,
        &[r#"spec.completionMode: Unsupported value: "Other": supported values: "NonIndexed", "Indexed""#],
    );
    check(
        r#""maxFailedIndexes":1"#,
        &[
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
        ],
    );
    check(
        r#""podReplacementPolicy":"Other""#,
        &[
            r#"spec.podReplacementPolicy: Unsupported value: "Other": supported values: "Failed", "TerminatingOrFailed""#,
        ],
    );
    check(
        r#""completionMode":"Indexed","completions":100001,"parallelism":10001,"backoffLimitPerIndex":1"#,
        &[
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with \
             backoff limit per index",
        ],
    );
}

#[test]
fn an_index_backoff_without_completions_is_refused() {
    // Upstream fails on these.
    let required = "spec.completions: Required value: when completion mode is Indexed";
    let check = |fields: &str| {
        let fields = format!(r#""completionMode":"Indexed","parallelism":2,{fields}"#);
        assert_eq!(complaints(&STRATEGY, &of(&fields)), [required], "{fields}");
    };
    check(r#""backoffLimitPerIndex":1"#);
    check(r#""backoffLimitPerIndex":1,"maxFailedIndexes":3"#);
    check(r#""successPolicy":{"rules":[{"succeededIndexes":"0-1","succeededCount":1}]}"#);
}

#[test]
fn what_becomes_of_pods_that_end() {
    let check = |rules: &str, expected: &[&str]| {
        let fields = format!(r#""podFailurePolicy":{{"rules":[{rules}]}}"#);
        let expected: Vec<String> =
            expected.iter().map(|line| format!("spec.podFailurePolicy.rules[0]{line}")).collect();
        assert_eq!(complaints(&STRATEGY, &of(&fields)), expected, "{rules}");
    };
    check(r#"{"action":"Count","onExitCodes":{"operator":"NotIn","values":[0,1],"containerName":"work"}}"#, &[]);
    check(
        "{}",
        &[
            r#".action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]"#,
            ": Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
        ],
    );
    check(
        r#"{"action":"FailIndex","onExitCodes":{"operator":"In","values":[2,1,0,2],"containerName":"x"},"onPodConditions":[{"type":"A","status":"B"}]}"#,
        &[
            r#".action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set"#,
            r#".onExitCodes.containerName: Invalid value: "x": must be one of the container or initContainer names in the pod template"#,
            ".onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator",
            ".onExitCodes.values[3]: Duplicate value: 2",
            ".onExitCodes.values: Invalid value: [2,1,0,2]: must be ordered",
            r#".onPodConditions[0].status: Unsupported value: "B": supported values: "False", "True", "Unknown""#,
            ": Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
        ],
    );
    check(
        r#"{"action":"Count","onExitCodes":{"operator":"In"}}"#,
        &[".onExitCodes.values: Invalid value: null: at least one value is required"],
    );
    check(
        r#"{"action":"Count","onExitCodes":{"operator":"In","values":[]}}"#,
        &[".onExitCodes.values: Invalid value: []: at least one value is required"],
    );
}

#[test]
fn which_indexes_make_a_success() {
    let check = |rules: &str, expected: &[&str]| {
        let fields = format!(r#""completionMode":"Indexed","completions":4,"successPolicy":{{"rules":[{rules}]}}"#);
        let expected: Vec<String> = expected.iter().map(|line| format!("spec.successPolicy.rules{line}")).collect();
        assert_eq!(complaints(&STRATEGY, &of(&fields)), expected, "{rules}");
    };
    check(r#"{"succeededIndexes":"0-1","succeededCount":2},{"succeededCount":4}"#, &[]);
    check("", &[": Required value: at least one rules must be specified when the successPolicy is specified"]);
    check("{}", &["[0]: Required value: at least one of succeededCount or succeededIndexes must be specified"]);
    check(
        r#"{"succeededIndexes":"0-4","succeededCount":5}"#,
        &[
            r#"[0].succeededIndexes: Invalid value: "0-4": error parsing succeededIndexes: too large index: "4""#,
            "[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of specified completions)",
            "[0].succeededCount: Invalid value: 5: must be less than or equal to 0 (the number of indexes in the specified \
             succeededIndexes field)",
        ],
    );
}

#[test]
fn pods_of_a_job_end() {
    let check = |policy: &str, expected: &[&str]| {
        let pod = POD.replace("Never", policy);
        let complaints = complaints(&STRATEGY, &with_pod("", &pod));
        let own: Vec<_> = complaints.iter().filter(|line| !line.contains(r#""Always","#)).collect();
        assert_eq!(own, expected, "{policy}");
    };
    check("OnFailure", &[]);
    check("Always", &[r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]);
    check(
        "other",
        &[r#"spec.template.spec.restartPolicy: Unsupported value: "other": supported values: "OnFailure", "Never""#],
    );
}

#[test]
fn a_selector_is_generated_or_chosen() {
    let template = |labels: &str| format!(r#"{{"metadata":{{"labels":{{{labels}}}}},"spec":{POD}}}"#);
    let wrong = job("tide", "", &template(r#""job-name":"other""#), "{}");
    let found = complaints(&STRATEGY, &wrong);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("spec.template.metadata.labels[job-name]: Invalid value: {"), "{found:?}");
    assert!(found[0].ends_with("must be 'tide'"), "{found:?}");
    let own = job("tide", r#""selector":{"matchLabels":{"a":"b"}}"#, &template(r#""a":"b""#), "{}");
    let found = complaints(&STRATEGY, &own);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("`selector` not auto-generated"), "{found:?}");
    let by_hand = r#""manualSelector":true,"selector":{"matchLabels":{"a":"b"}}"#;
    assert!(complaints(&STRATEGY, &job("tide", by_hand, &template(r#""a":"b""#), "{}")).is_empty());
    let none = complaints(&STRATEGY, &job("tide", r#""manualSelector":true"#, &template(r#""a":"b""#), "{}"));
    assert_eq!(none[0], "spec.selector: Required value");
    assert!(none[1].starts_with("spec.template.metadata.labels: Invalid value: {"), "{none:?}");
}

#[test]
fn what_may_change_of_a_job() {
    let check = |old: &str, new: &str, expected: &[&str]| {
        let found = update_complaints(&STRATEGY, &of(new), &of(old), "");
        assert_eq!(found, expected, "{old} {new}");
    };
    check("", r#""parallelism":3,"completions":1,"suspend":true,"backoffLimit":1,"activeDeadlineSeconds":5"#, &[]);
    check(r#""completions":1"#, r#""completions":2"#, &["spec.completions: Invalid value: 2: field is immutable"]);
    let indexed = |completions: u32, parallelism: u32| {
        format!(r#""completionMode":"Indexed","completions":{completions},"parallelism":{parallelism}"#)
    };
    check(&indexed(2, 2), &indexed(3, 3), &[]);
    let tandem = "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism";
    check(&indexed(2, 2), &indexed(3, 2), &[tandem]);
    check("", r#""managedBy":"a.b/c""#, &[r#"spec.managedBy: Invalid value: "a.b/c": field is immutable"#]);
    check(
        r#""completions":4"#,
        r#""completions":4,"completionMode":"Indexed""#,
        &[r#"spec.completionMode: Invalid value: "Indexed": field is immutable"#],
    );
}

#[test]
fn a_job_at_rest_may_be_moved() {
    let pod = |more: &str, cpu: &str, image: &str| {
        let container = format!(r#"{{"name":"work","image":"{image}","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}"#);
        format!(r#"{{"restartPolicy":"Never","containers":[{container}]{more}}}"#)
    };
    let elsewhere = r#","nodeSelector":{"zone":"a"},"affinity":{"nodeAffinity":{}}"#;
    let (here, moved) = (pod("", "1", "shop:1"), pod(elsewhere, "2", "shop:1"));
    let check = |suspend: bool, status: &str, new: &str, is_allowed: bool| {
        let template = |pod: &str| format!(r#"{{"spec":{pod}}}"#);
        let fields = format!(r#""suspend":{suspend}"#);
        let (old, new) = (job("tide", &fields, &template(&here), status), job("tide", &fields, &template(new), status));
        let found = update_complaints(&STRATEGY, &new, &old, "");
        assert_eq!(found.is_empty(), is_allowed, "{suspend} {status} {found:?}");
    };
    let started = r#""startTime":"2026-01-01T00:00:00Z""#;
    let suspended = r#""conditions":[{"type":"Suspended","status":"True"}]"#;
    check(true, "{}", &moved, true);
    check(false, "{}", &moved, false);
    check(true, &format!("{{{started}}}"), &moved, false);
    check(true, &format!("{{{started},{suspended}}}"), &moved, true);
    check(true, &format!(r#"{{{started},{suspended},"active":1}}"#), &moved, false);
    check(true, "{}", &pod("", "1", "shop:2"), false);
    check(true, "{}", &pod(r#","affinity":{"podAffinity":{}}"#, "1", "shop:1"), false);
}

#[test]
fn what_a_controller_may_say() {
    let of = |fields: &str, status: &str| job("tide", fields, &format!(r#"{{"spec":{POD}}}"#), status);
    let check = |fields: &str, old: &str, new: &str, expected: &[&str]| {
        let found = update_complaints(&STRATEGY, &of(fields, new), &of(fields, old), "status");
        assert_eq!(found, expected, "{old} {new}");
    };
    let condition = |of: &str| format!(r#"{{"type":"{of}","status":"True"}}"#);
    let (complete, met) = (condition("Complete"), condition("SuccessCriteriaMet"));
    let (failed, target) = (condition("Failed"), condition("FailureTarget"));
    let (start, end) = (r#""startTime":"2026-01-01T00:00:00Z""#, r#""completionTime":"2026-01-01T00:01:00Z""#);
    let done = format!(r#"{{{start},{end},"succeeded":1,"conditions":[{met},{complete}]}}"#);
    check("", "{}", &done, &[]);
    check("", &done, &done, &[]);
    check("", "{}", &format!(r#"{{{start},"failed":1,"conditions":[{target},{failed}]}}"#), &[]);
    check(
        "",
        "{}",
        &format!(r#"{{"active":1,"ready":2,"conditions":[{complete}]}}"#),
        &[
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.startTime: Required value: startTime is required for finished job",
            "status.ready: Invalid value: 2: cannot set more ready pods than active",
        ],
    );
    check(
        "",
        &done,
        "{}",
        &[
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
            "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            "status.startTime: Required value: startTime cannot be removed for unsuspended job",
            "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
        ],
    );
    check(
        "",
        "{}",
        r#"{"active":-1,"completedIndexes":"0","uncountedTerminatedPods":{"succeeded":["a",""],"failed":["a"]}}"#,
        &[
            "status.active: Invalid value: -1: must be greater than or equal to 0",
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
        ],
    );
    let indexed = r#""completionMode":"Indexed","completions":4,"backoffLimitPerIndex":1"#;
    check(
        indexed,
        "{}",
        r#"{"completedIndexes":"0-1","failedIndexes":"1,7"}"#,
        &[
            r#"status.failedIndexes: Invalid value: "1,7": error parsing failedIndexes: too large index: "7""#,
            r#"status.failedIndexes: Invalid value: "1,7": failedIndexes and completedIndexes overlap at index: 1"#,
        ],
    );
}

#[test]
fn what_a_table_shows() {
    let check = |fields: &str, status: &str, column: &str, expected: Cell| {
        let tree = job("tide", fields, &format!(r#"{{"spec":{POD}}}"#), status);
        assert_eq!(cell(&tree, column, 1_767_225_660), Some(expected), "{status} {column}");
    };
    let text = |text: &str| Cell::Text(text.to_owned());
    check("", "{}", "Status", text("Running"));
    check("", r#"{"conditions":[{"type":"Suspended","status":"True"}]}"#, "Status", text("Suspended"));
    check("", r#"{"conditions":[{"type":"Failed","status":"True"}]}"#, "Status", text("Failed"));
    check(r#""completions":3"#, r#"{"succeeded":1}"#, "Completions", text("1/3"));
    check(r#""parallelism":3"#, "{}", "Completions", text("0/1 of 3"));
    check("", "{}", "Duration", text(""));
    check("", r#"{"startTime":"2026-01-01T00:00:00Z"}"#, "Duration", Cell::Duration(60));
    check("", "{}", "Containers", text("work"));
    check("", "{}", "Images", text("shop:1"));
}

#[test]
fn what_clients_are_told() {
    let tree = of(r#""completionMode":"Indexed","completions":100001,"parallelism":10001"#);
    let mut warnings = Vec::new();
    warn_create(&tree, &mut warnings);
    assert!(warnings[0].starts_with("spec: In Indexed Jobs with a number of completions"), "{warnings:?}");
}
