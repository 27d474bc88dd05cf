#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::{complaints, created, default_all, json};

fn range(limits: &str) -> Tree {
    created(&STRATEGY, "v1", "LimitRange", &format!(r#"{{"metadata":{{"name":"a"}},"spec":{{"limits":{limits}}}}}"#))
}

#[test]
fn a_container_gets_what_follows_from_the_rest() {
    let check = |item: &str, limits: &str, requests: &str| {
        let mut tree = range(&format!("[{item}]"));
        for _ in 0..2 {
            let found = json(&tree);
            let at =
                |name: &str| found.pointer(&format!("/spec/limits/0/{name}")).cloned().unwrap_or_default().to_string();
            assert_eq!((at("default").as_str(), at("defaultRequest").as_str()), (limits, requests), "{item}");
            default_all(&STRATEGY, &mut tree);
        }
    };
    check(r#"{"type":"Container","max":{"cpu":"2"}}"#, r#"{"cpu":"2"}"#, r#"{"cpu":"2"}"#);
    check(r#"{"type":"Container","min":{"cpu":"1"}}"#, "null", r#"{"cpu":"1"}"#);
    check(r#"{"type":"Container","min":{"cpu":"1"},"max":{"cpu":"2"}}"#, r#"{"cpu":"2"}"#, r#"{"cpu":"2"}"#);
    let some =
        r#"{"type":"Container","max":{"cpu":"4"},"default":{"cpu":"3","memory":"1Gi"},"defaultRequest":{"cpu":"1"}}"#;
    check(some, r#"{"cpu":"3","memory":"1Gi"}"#, r#"{"cpu":"1","memory":"1Gi"}"#);
    check(r#"{"type":"Pod","max":{"cpu":"2"}}"#, "null", "null");
    // Amounts are kept in thousandths at the finest.
    check(r#"{"type":"Container","max":{"cpu":"100u"}}"#, r#"{"cpu":"1m"}"#, r#"{"cpu":"1m"}"#);
    check(
        r#"{"type":"Pod","default":{"cpu":"1n"},"defaultRequest":{"cpu":"2m"}}"#,
        r#"{"cpu":"1m"}"#,
        r#"{"cpu":"2m"}"#,
    );
}

#[test]
fn types_and_names_are_known() {
    let check = |item: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|why| format!("spec.limits[0].{why}")).collect();
        assert_eq!(complaints(&STRATEGY, &range(&format!("[{item}]"))), expected, "{item}");
    };
    check(r#"{"type":"Container","max":{"cpu":"2","example.com/crane":"1"}}"#, &[]);
    check(r#"{"type":"example.com/Quay","max":{"storage":"2"}}"#, &[]);
    check(r#"{"type":"Quay"}"#, &[r#"type: Invalid value: "Quay": must be a standard limit type or fully qualified"#]);
    check(
        r#"{"type":"Pod","max":{"pods":"2"}}"#,
        &[r#"max[pods]: Invalid value: "pods": must be a standard resource for containers"#],
    );
    check(
        r#"{"type":"Pod","default":{"cpu":"2"},"defaultRequest":{"cpu":"1"}}"#,
        &[
            "default: Forbidden: may not be specified when `type` is 'Pod'",
            "defaultRequest: Forbidden: may not be specified when `type` is 'Pod'",
        ],
    );
    check(
        r#"{"type":"PersistentVolumeClaim","max":{"cpu":"2"}}"#,
        &["limits: Required value: either minimum or maximum storage value is required, but neither was provided"],
    );
    let twice = range(r#"[{"type":"Pod"},{"type":"Container"},{"type":"Pod"}]"#);
    assert_eq!(complaints(&STRATEGY, &twice), [r#"spec.limits[2].type: Duplicate value: "Pod""#]);
}

#[test]
fn amounts_stand_in_order() {
    let check = |amounts: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|why| format!("spec.limits[0].{why}")).collect();
        let item = format!(r#"[{{"type":"Container",{amounts}}}]"#);
        assert_eq!(complaints(&STRATEGY, &range(&item)), expected, "{amounts}");
    };
    check(r#""min":{"cpu":"1"},"max":{"cpu":"1000m"}"#, &[]);
    check(
        r#""min":{"cpu":"2"},"max":{"cpu":"1"}"#,
        &[
            r#"min[cpu]: Invalid value: "2": min value 2 is greater than max value 1"#,
            r#"defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1"#,
            r#"default[cpu]: Invalid value: "2": min value 2 is greater than default value 1"#,
        ],
    );
    check(
        r#""max":{"cpu":"1"},"default":{"cpu":"2"},"defaultRequest":{"cpu":"3"}"#,
        &[
            r#"defaultRequest[cpu]: Invalid value: "3": default request value 3 is greater than max value 1"#,
            r#"defaultRequest[cpu]: Invalid value: "3": default request value 3 is greater than default limit value 2"#,
            r#"default[cpu]: Invalid value: "1": default value 2 is greater than max value 1"#,
        ],
    );
    check(
        r#""maxLimitRequestRatio":{"cpu":"500m"}"#,
        &[r#"maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1"#],
    );
    check(
        r#""min":{"memory":"512Mi"},"max":{"memory":"2Gi"},"maxLimitRequestRatio":{"memory":"10"}"#,
        &[r#"maxLimitRequestRatio[memory]: Invalid value: "10": ratio 10 is greater than max/min = 4.000000"#],
    );
    check(r#""min":{"memory":"512Mi"},"max":{"memory":"2Gi"},"maxLimitRequestRatio":{"memory":"4"}"#, &[]);
    check(
        r#""default":{"hugepages-2Mi":"4Mi"},"defaultRequest":{"hugepages-2Mi":"2Mi"}"#,
        &[
            r#"default[hugepages-2Mi]: Invalid value: "4Mi": default value 4Mi must equal to defaultRequest value 2Mi in hugepages-2Mi"#,
        ],
    );
}
