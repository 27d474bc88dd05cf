use super::*;
use crate::testing::{complaints, created, json, read, requester, update_complaints};

fn of(fields: &str) -> Tree {
    let text = format!(r#"{{"metadata":{{"name":"db-1"}},{fields}}}"#);
    created(&STRATEGY, "discovery.k8s.io/v1", "EndpointSlice", &text)
}

fn endpoint(address_type: &str, endpoint: &str) -> Tree {
    of(&format!(r#""addressType":"{address_type}","endpoints":[{{{endpoint}}}]"#))
}

fn check_endpoint(address_type: &str, text: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| format!("endpoints[0].{line}")).collect();
    assert_eq!(complaints(&STRATEGY, &endpoint(address_type, text)), expected, "{address_type} {text}");
}

fn addresses(list: &str) -> String {
    format!(r#""addresses":[{list}]"#)
}

#[test]
fn ports_are_nameless_and_of_tcp() {
    let tree = of(r#""addressType":"IPv4","endpoints":[],"ports":[{},{"name":"b","protocol":"UDP"}]"#);
    assert_eq!(
        json(&tree)["ports"],
        serde_json::json!([{"name": "", "protocol": "TCP"}, {"name": "b", "protocol": "UDP"}])
    );
}

#[test]
fn cve_2021_25737_slices_do_not_lead_to_the_machine_itself() {
    let at = |what: &str| format!("addresses[0]: Invalid value: {what}");
    check_endpoint("IPv4", &addresses(r#""10.1.2.3""#), &[]);
    check_endpoint("IPv6", &addresses(r#""2001:db8::1""#), &[]);
    let loopback = "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    let link_local = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    for (family, address, why) in [
        ("IPv4", "127.0.0.1", loopback),
        ("IPv6", "::1", loopback),
        ("IPv4", "169.254.169.254", link_local),
        ("IPv6", "fe80::1", link_local),
        ("IPv4", "0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("IPv4", "224.0.0.1", "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        ("IPv6", "::ffff:127.0.0.1", "must not be an IPv4-mapped IPv6 address"),
        ("IPv4", "0127.0.0.1", "must not have leading 0s"),
        ("IPv4", "other", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ("IPv4", "2001:db8::1", "must be an IPv4 address"),
        ("IPv6", "10.1.2.3", "must be an IPv6 address"),
    ] {
        check_endpoint(family, &addresses(&format!("{address:?}")), &[&at(&format!("{address:?}: {why}"))]);
    }
}

#[test]
fn endpoints() {
    check_endpoint("IPv4", "", &["addresses: Required value: must contain at least 1 address"]);
    check_endpoint("FQDN", &addresses(r#""db.example.com""#), &[]);
    check_endpoint(
        "FQDN",
        &addresses(r#""db""#),
        &[r#"addresses[0]: Invalid value: "db": should be a domain with at least two segments separated by dots"#],
    );
    let many = vec![r#""10.1.2.3""#; 101].join(",");
    check_endpoint("IPv4", &addresses(&many), &["addresses: Too many: 101: must have at most 100 items"]);
    let hinted = |hints: &str| format!(r#"{},"hints":{{{hints}}}"#, addresses(r#""10.1.2.3""#));
    check_endpoint("IPv4", &hinted(r#""forZones":[{"name":"a"}],"forNodes":[{"name":"quay"}]"#), &[]);
    check_endpoint(
        "IPv4",
        &hinted(r#""forZones":[{"name":"a"},{"name":"a"}],"forNodes":[{"name":"b"},{"name":"b"}]"#),
        &[r#"hints.forZones[1].name: Duplicate value: "a""#, r#"hints.forNodes[1].name: Duplicate value: "b""#],
    );
    let nine: Vec<String> = (0..9).map(|zone| format!(r#"{{"name":"z{zone}"}}"#)).collect();
    check_endpoint(
        "IPv4",
        &hinted(&format!(r#""forZones":[{}]"#, nine.join(","))),
        &["hints.forZones: Too many: 9: must have at most 8 items"],
    );
    let all = vec!["{}"; 1001].join(",");
    let tree = of(&format!(r#""addressType":"IPv4","endpoints":[{all}]"#));
    assert_eq!(complaints(&STRATEGY, &tree), ["endpoints: Too many: 1001: must have at most 1000 items"]);
}

#[test]
fn ports() {
    let check = |ports: &str, expected: &[&str]| {
        let tree = of(&format!(r#""addressType":"IPv4","endpoints":[],"ports":[{ports}]"#));
        assert_eq!(complaints(&STRATEGY, &tree), expected, "{ports}");
    };
    check(r#"{"port":80},{"name":"b","port":80,"appProtocol":"example.com/x"}"#, &[]);
    check("{},{}", &[r#"ports[1].name: Duplicate value: """#]);
    check(
        r#"{"protocol":"other"}"#,
        &[r#"ports[0].protocol: Unsupported value: "other": supported values: "SCTP", "TCP", "UDP""#],
    );
}

#[test]
fn a_slice_stays_of_its_type() {
    let of = |address_type: &str| of(&format!(r#""addressType":"{address_type}","endpoints":[]"#));
    let check = |new: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&STRATEGY, &of(new), &of("IPv4"), ""), expected, "{new}");
    };
    check("IPv4", &[]);
    check("IPv6", &[r#"addressType: Invalid value: "IPv6": field is immutable"#]);
    check("", &["addressType: Required value", r#"addressType: Invalid value: "": field is immutable"#]);
    check(
        "IP",
        &[
            r#"addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6""#,
            r#"addressType: Invalid value: "IP": field is immutable"#,
        ],
    );
}

#[test]
fn the_older_map_of_places_goes() {
    let place = r#""deprecatedTopology":{"kubernetes.io/hostname":"quay"}"#;
    let slice = |endpoint: &str| {
        let text = format!(r#"{{"addressType":"IPv4","endpoints":[{{{endpoint}}}]}}"#);
        read("discovery.k8s.io/v1", "EndpointSlice", &text)
    };
    let mut tree = slice(place);
    requester(|requester| (STRATEGY.prepare_create)(&mut tree, requester));
    assert_eq!(json(&tree)["endpoints"][0], serde_json::json!({"addresses": null, "conditions": {}}));
    let check = |old: &str, new: &str, node: Option<&str>, stays: bool| {
        let mut tree = slice(new);
        (STRATEGY.prepare_update)(&mut tree, &slice(old), "", 0);
        let endpoint = &json(&tree)["endpoints"][0];
        assert_eq!(endpoint.get("nodeName").and_then(|node| node.as_str()), node, "{old} {new}");
        assert_eq!(endpoint.get("deprecatedTopology").is_some(), stays, "{old} {new}");
    };
    check(place, place, None, true);
    check(place, &format!(r#""hostname":"a",{place}"#), Some("quay"), false);
    check("", &format!(r#""hostname":"a",{place}"#), None, false);
}

#[test]
fn clients_are_told() {
    let check = |labels: &str, fields: &str, expected: &[&str]| {
        let text = format!(r#"{{"metadata":{{"labels":{{{labels}}}}},{fields}}}"#);
        let mut warnings = Vec::new();
        warn_create(&created(&STRATEGY, "discovery.k8s.io/v1", "EndpointSlice", &text), &mut warnings);
        assert_eq!(warnings, expected);
    };
    check("", r#""addressType":"FQDN","endpoints":[]"#, &["spec.addressType: FQDN endpoints are deprecated"]);
    let odd = r#""addressType":"IPv6","endpoints":[{"addresses":["2001:DB8::1"]}]"#;
    let what = "should be in RFC 5952 canonical format (\"2001:db8::1\")";
    check("", odd, &[&format!(r#"endpoints[0].addresses[0]: IPv6 address "2001:DB8::1" {what}"#)]);
    check(r#""endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io""#, odd, &[]);
}

#[test]
fn what_a_table_shows() {
    let check = |fields: &str, column: &str, expected: &str| {
        assert_eq!(cell(&of(fields), column, 0), Some(Cell::Text(expected.to_owned())), "{fields}");
    };
    check(r#""endpoints":[]"#, "Ports", "<unset>");
    check(r#""ports":[{"port":80},{"name":"b"}]"#, "Ports", "80,b");
    check(r#""ports":[{"port":1},{"port":2},{"port":3},{"port":4},{"port":5}]"#, "Ports", "1,2,3 + 2 more...");
    check(r#""endpoints":[{"addresses":["a","b"]},{"addresses":["c","d"]}]"#, "Endpoints", "a,b,c + 1 more...");
    check(r#""endpoints":[]"#, "Endpoints", "<unset>");
}
