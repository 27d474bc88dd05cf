//! Claims: what is asked for, and what came of it.

#![allow(clippy::unwrap_used)]

use portcullis_model::tree::Tree;

use super::{STRATEGY, cell};
use crate::strategy::Cell;
use crate::testing::{complaints, created, json, update_complaints};

fn of(spec: &str, status: &str) -> Tree {
    let text = format!(
        r#"{{"metadata":{{"name":"c","labels":{{"a":"b"}}}},"spec":{{"devices":{{{spec}}}}},"status":{{{status}}}}}"#
    );
    created(&STRATEGY, "resource.k8s.io/v1", "ResourceClaim", &text)
}

/// How complaints begin: enough to tell them apart.
fn short(lines: &[impl AsRef<str>]) -> Vec<String> {
    lines.iter().map(|line| line.as_ref().chars().take(100).collect()).collect()
}

const ONE: &str = r#""requests":[{"name":"gpu","exactly":{"deviceClassName":"gpu"}},
    {"name":"any","firstAvailable":[{"name":"a","deviceClassName":"big"},{"name":"b","deviceClassName":"small"}]}]"#;

#[test]
fn what_a_claim_may_ask_for() {
    let check = |spec: &str, expected: &[&str]| {
        assert_eq!(short(&complaints(&STRATEGY, &of(spec, ""))), short(expected), "{spec}")
    };
    check("", &[]);
    check(ONE, &[]);
    check(
        &format!(
            r#"{ONE},"constraints":[{{"requests":["gpu","any/b"],"matchAttribute":"example.com/numa"}}],
            "config":[{{"requests":["any"],"opaque":{{"driver":"gpu.example.com","parameters":{{}}}}}}]"#
        ),
        &[],
    );
    check(
        r#""requests":[{"name":"gpu"}]"#,
        &["spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"],
    );
    check(
        r#""requests":[{"name":"gpu","exactly":{"deviceClassName":"g"},"firstAvailable":[{"name":"a","deviceClassName":"b"}]}]"#,
        &[
            "spec.devices.requests[0]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but mult",
        ],
    );
    check(
        r#""requests":[{"name":"g","exactly":{"deviceClassName":"g"}},{"name":"g","exactly":{"deviceClassName":"g"}}]"#,
        &[r#"spec.devices.requests[1]: Duplicate value: "g""#],
    );
    check(
        r#""requests":[{"name":"g","exactly":{"deviceClassName":"","allocationMode":"All","count":2,"tolerations":[{"operator":"Exists","value":"v"},{"operator":"Odd"}]}}]"#,
        &[
            "spec.devices.requests[0].exactly.deviceClassName: Required value",
            "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"v\": must be empty for operator `Exists`",
            "spec.devices.requests[0].exactly.tolerations[1].operator: Unsupported value: \"Odd\": supported values: \"Equal\", ",
        ],
    );
    check(
        &format!(r#"{ONE},"constraints":[{{"requests":["any/c","gpu","gpu"],"matchAttribute":"numa"}},{{}}]"#),
        &[
            "spec.devices.constraints[0].requests[0]: Invalid value: \"any/c\": must be the name of a request in the claim or t",
            "spec.devices.constraints[0].requests[2]: Duplicate value: \"gpu\"",
            "spec.devices.constraints[0].matchAttribute: Invalid value: \"numa\": a fully qualified name must be a domain and a ",
            "spec.devices.constraints[1]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, ",
        ],
    );
    let many = vec![r#"{"name":"g","exactly":{"deviceClassName":"g"}}"#; 33].join(",");
    check(&format!(r#""requests":[{many}]"#), &["spec.devices.requests: Too many: 33: must have at most 32 items"]);
}

#[test]
fn a_request_is_for_one_device() {
    let shown = json(&of(ONE, ""));
    let exactly = shown.pointer("/spec/devices/requests/0/exactly").unwrap();
    assert_eq!((&exactly["allocationMode"], &exactly["count"]), (&"ExactCount".into(), &1.into()));
    let first = shown.pointer("/spec/devices/requests/1/firstAvailable/0").unwrap();
    assert_eq!((&first["allocationMode"], &first["count"]), (&"ExactCount".into(), &1.into()));
}

#[test]
fn what_is_claimed_stays() {
    let found = update_complaints(&STRATEGY, &of("", ""), &of(ONE, ""), "");
    assert_eq!(short(&found), [r#"spec: Invalid value: {"devices":{"requests":null}}: field is immutable"#]);
    assert_eq!(update_complaints(&STRATEGY, &of(ONE, ""), &of(ONE, ""), ""), [""; 0]);
}

const GOT: &str =
    r#""allocation":{"devices":{"results":[{"request":"gpu","driver":"gpu.example.com","pool":"p/q","device":"d0"}]}}"#;

#[test]
fn what_a_claim_may_get() {
    let check = |new: &str, old: &str, expected: &[&str]| {
        let found = update_complaints(&STRATEGY, &of(ONE, new), &of(ONE, old), "status");
        assert_eq!(short(&found), short(expected), "{new}");
    };
    check(GOT, "", &[]);
    let user = r#""reservedFor":[{"resource":"pods","name":"p","uid":"1"}]"#;
    check(&format!("{GOT},{user}"), GOT, &[]);
    check(user, "", &["status.reservedFor: Forbidden: may not be specified when `allocated` is not set"]);
    check(
        &format!(r#"{GOT},"reservedFor":[{{}},{{"resource":"pods","name":"p","uid":""}}]"#),
        GOT,
        &[
            "status.reservedFor[0].resource: Required value",
            "status.reservedFor[0].name: Required value",
            "status.reservedFor[0].uid: Required value",
            "status.reservedFor[1].uid: Required value",
            r#"status.reservedFor[1]: Duplicate value: """#,
        ],
    );
    check(
        &GOT.replace("d0", "d1"),
        GOT,
        &[
            r#"status.allocation: Invalid value: {"devices":{"results":[{"request":"gpu","driver":"gpu.example.com","pool":"p"#,
        ],
    );
    check(
        &GOT.replace("\"gpu\"", "\"tpu\""),
        "",
        &[
            "status.allocation.devices.results[0].request: Invalid value: \"tpu\": must be the name of a request in the claim ",
        ],
    );
    let said = |device: &str| format!(r#"{GOT},"devices":[{{"driver":"gpu.example.com","pool":"p/q",{device}}}]"#);
    check(
        &said(r#""device":"d0","data":{"a":1},"networkData":{"ips":["10.9.8.7/24"],"interfaceName":"eth0"}"#),
        GOT,
        &[],
    );
    check(
        &said(r#""device":"d1","data":7,"networkData":{"ips":["10.9.8.7","2001:DB8::1/64"]}"#),
        GOT,
        &[
            "status.devices[0]: Invalid value: gpu.example.com/p/q/d1: must be an allocated device in the claim",
            "status.devices[0].data: Invalid value: \"<value omitted>\": must be a valid JSON object",
            "status.devices[0].networkData.ips[0]: Invalid value: \"10.9.8.7\": must be a valid address in CIDR form, (e.g. 10.",
            "status.devices[0].networkData.ips[1]: Invalid value: \"2001:DB8::1/64\": must be in canonical form (\"2001:db8::1/6",
        ],
    );
}

#[test]
fn the_status_door_forgets_devices_that_are_gone() {
    let said = r#""devices":[{"driver":"gpu.example.com","pool":"p/q","device":"d0"}]"#;
    let old = of(ONE, &format!("{GOT},{said}"));
    let text = format!(r#"{{"metadata":{{"name":"c"}},"status":{{{said}}}}}"#);
    let mut tree = crate::testing::read("resource.k8s.io/v1", "ResourceClaim", &text);
    (STRATEGY.prepare_update)(&mut tree, &old, "status", 0);
    assert_eq!(json(&tree).pointer("/status/devices"), None);
}

#[test]
fn a_table_shows_how_far_it_is() {
    let check = |status: &str, expected: &str| {
        assert_eq!(cell(&of(ONE, status), "State", 0), Some(Cell::Text(expected.to_owned())), "{status}");
    };
    check("", "pending");
    check(GOT, "allocated");
    check(&format!(r#"{GOT},"reservedFor":[{{"resource":"pods","name":"p","uid":"1"}}]"#), "allocated,reserved");
}
