use super::*;
use crate::testing::{complaints, created, json, update_complaints};

fn of(spec: &str) -> Tree {
    let text = format!(r#"{{"metadata":{{"name":"db"}},"spec":{{{spec}}}}}"#);
    created(&STRATEGY, "networking.k8s.io/v1", "NetworkPolicy", &text)
}

fn port(port: &str) -> Tree {
    of(&format!(r#""ingress":[{{"ports":[{{{port}}}]}}]"#))
}

fn peer(peer: &str) -> Tree {
    of(&format!(r#""egress":[{{"to":[{{{peer}}}]}}]"#))
}

#[test]
fn what_is_not_said_is_filled_in() {
    let check = |spec: &str, expected: &str| {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap_or_default();
        assert_eq!(json(&of(spec))["spec"], expected, "{spec}");
    };
    check("", r#"{"podSelector":{},"policyTypes":["Ingress"]}"#);
    check(r#""egress":[{}]"#, r#"{"podSelector":{},"egress":[{}],"policyTypes":["Ingress","Egress"]}"#);
    check(r#""egress":[{}],"policyTypes":["Egress"]"#, r#"{"podSelector":{},"egress":[{}],"policyTypes":["Egress"]}"#);
    check(
        r#""ingress":[{"ports":[{"port":80},{"protocol":"UDP"}]},{}]"#,
        r#"{"podSelector":{},"ingress":[{"ports":[{"port":80,"protocol":"TCP"},{"protocol":"UDP"}]},{}],"policyTypes":["Ingress"]}"#,
    );
}

#[test]
fn ports() {
    let check = |spec: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|line| format!("spec.ingress[0].ports[0].{line}")).collect();
        assert_eq!(complaints(&STRATEGY, &port(spec)), expected, "{spec}");
    };
    for fine in ["", r#""port":80"#, r#""port":"http""#, r#""port":80,"endPort":80"#, r#""protocol":"SCTP""#] {
        check(fine, &[]);
    }
    check(
        r#""protocol":"other""#,
        &[r#"protocol: Unsupported value: "other": supported values: "TCP", "UDP", "SCTP""#],
    );
    check(r#""port":0"#, &["port: Invalid value: 0: must be between 1 and 65535, inclusive"]);
    check(
        r#""port":80,"endPort":0"#,
        &[
            "endPort: Invalid value: 80: must be greater than or equal to `port`",
            "endPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    );
    check(r#""endPort":9"#, &["endPort: Invalid value: 9: may not be specified when `port` is not specified"]);
    check(
        r#""port":"http","endPort":9"#,
        &["endPort: Invalid value: 9: may not be specified when `port` is non-numeric"],
    );
    check(r#""port":"9""#, &[r#"port: Invalid value: "9": must contain at least one letter (a-z)"#]);
}

#[test]
fn peers_are_selected_or_named_by_their_addresses() {
    let check = |spec: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|line| format!("spec.egress[0].to[0]{line}")).collect();
        assert_eq!(complaints(&STRATEGY, &peer(spec)), expected, "{spec}");
    };
    check(r#""podSelector":{},"namespaceSelector":{}"#, &[]);
    check(r#""ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}"#, &[]);
    check("", &[": Required value: must specify a peer"]);
    check(
        r#""podSelector":{},"ipBlock":{"cidr":"10.0.0.0/8"}"#,
        &[": Forbidden: may not specify both ipBlock and another peer"],
    );
    check(r#""ipBlock":{"except":["other"]}"#, &[".ipBlock.cidr: Required value"]);
    check(
        r#""ipBlock":{"cidr":"10.0.0.0/8","except":["10.0.0.0/8","11.0.0.0/16"]}"#,
        &[
            r#".ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`"#,
            r#".ipBlock.except[1]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`"#,
        ],
    );
    check(
        r#""ipBlock":{"cidr":"other","except":["other"]}"#,
        &[r#".ipBlock.cidr: Invalid value: "other": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#],
    );
    check(
        r#""podSelector":{"matchExpressions":[{"key":"a","operator":"In"}]}"#,
        &[
            ".podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
}

#[test]
fn directions() {
    let check = |list: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &of(&format!(r#""policyTypes":{list}"#))), expected, "{list}");
    };
    check(r#"["Ingress","Egress"]"#, &[]);
    check(r#"["Ingress","Ingress"]"#, &[]);
    check(
        r#"["Ingress","other"]"#,
        &[r#"spec.policyTypes[1]: Unsupported value: "other": supported values: "Ingress", "Egress""#],
    );
    check(
        r#"["Ingress","Egress","other"]"#,
        &[
            r#"spec.policyTypes: Invalid value: ["Ingress","Egress","other"]: may not specify more than two policyTypes"#,
        ],
    );
}

#[test]
fn what_is_stored_may_stay() {
    let check = |old: &Tree, new: &Tree, expected: usize| {
        assert_eq!(update_complaints(&STRATEGY, new, old, "").len(), expected);
    };
    let block = |cidr: &str| peer(&format!(r#""ipBlock":{{"cidr":"{cidr}"}}"#));
    check(&block("010.0.0.0/8"), &block("010.0.0.0/8"), 0);
    check(&block("10.0.0.0/8"), &block("010.0.0.0/8"), 1);
    check(&block("010.0.0.0/8"), &block("010.1.0.0/16"), 1);
    let values = |value: &str| {
        of(&format!(
            r#""podSelector":{{"matchExpressions":[{{"key":"a","operator":"In","values":["{value}"]}}]}},"policyTypes":["Egress"]"#
        ))
    };
    check(&values("a b"), &values("c d"), 0);
    check(&values("a"), &values("c d"), 1);
}

#[test]
fn clients_are_told_of_odd_ranges() {
    let mut warnings = Vec::new();
    warn(&peer(r#""ipBlock":{"cidr":"2001:DB8::/32","except":["2001:db8:1:0::/64"]}"#), &mut warnings);
    let what = "should be in RFC 5952 canonical format";
    assert_eq!(
        warnings,
        [
            format!(r#"spec.egress[0].to[0].ipBlock.cidr: IPv6 CIDR value "2001:DB8::/32" {what} ("2001:db8::/32")"#),
            format!(
                r#"spec.egress[0].to[0].ipBlock.except[0]: IPv6 CIDR value "2001:db8:1:0::/64" {what} ("2001:db8:1::/64")"#
            ),
        ]
    );
}

#[test]
fn what_a_table_shows() {
    let check = |spec: &str, expected: &str| {
        assert_eq!(cell(&of(spec), "Pod-Selector", 0), Some(Cell::Text(expected.to_owned())));
    };
    check("", "<none>");
    check(r#""podSelector":{"matchLabels":{"role":"db"}}"#, "role=db");
}
