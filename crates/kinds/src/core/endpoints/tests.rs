use super::*;
use crate::testing::{complaints, created, json, update_complaints};

fn of(subsets: &str) -> Tree {
    created(&STRATEGY, "v1", "Endpoints", &format!(r#"{{"metadata":{{"name":"db"}},"subsets":{subsets}}}"#))
}

fn at_address(address: &str) -> Tree {
    of(&format!(r#"[{{"addresses":[{{{address}}}]}}]"#))
}

const IP: &str = r#"{"ip":"10.1.2.3"}"#;

#[test]
fn ports_are_of_tcp() {
    let tree = of(&format!(
        r#"[{{"addresses":[{IP}],"ports":[{{"port":80}},{{"name":"b","port":81,"protocol":"UDP"}}]}},{{}}]"#
    ));
    let protocol = |at: usize| json(&tree)["subsets"][0]["ports"][at]["protocol"].clone();
    assert_eq!((protocol(0), protocol(1)), ("TCP".into(), "UDP".into()));
    assert!(json(&tree)["subsets"][1].get("ports").is_none());
}

#[test]
fn subsets() {
    let check = |subsets: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &of(subsets)), expected, "{subsets}");
    };
    check("[]", &[]);
    check(&format!(r#"[{{"addresses":[{IP}]}},{{"notReadyAddresses":[{IP}],"ports":[{{"port":80}}]}}]"#), &[]);
    check("[{}]", &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]);
    let ports = |ports: &str| format!(r#"[{{"addresses":[{IP}],"ports":[{ports}]}}]"#);
    check(&ports(r#"{"port":80,"name":"a"},{"port":80,"name":"a"}"#), &[]);
    check(
        &ports(r#"{"port":80},{"port":81}"#),
        &["subsets[0].ports[0].name: Required value", "subsets[0].ports[1].name: Required value"],
    );
    check(
        &ports(r#"{"protocol":"other"}"#),
        &[
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            r#"subsets[0].ports[0].protocol: Unsupported value: "other": supported values: "SCTP", "TCP", "UDP""#,
        ],
    );
    check(
        &ports(r#"{"port":80,"appProtocol":""}"#),
        &[
            "subsets[0].ports[0].appProtocol: Invalid value: \"\": name part must be non-empty",
            "subsets[0].ports[0].appProtocol: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
}

#[test]
fn cve_2021_25737_endpoints_do_not_lead_to_the_machine_itself() {
    let check = |address: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|line| format!("subsets[0].addresses[0].{line}")).collect();
        assert_eq!(complaints(&STRATEGY, &at_address(address)), expected, "{address}");
    };
    check(r#""ip":"10.1.2.3","hostname":"a","nodeName":"quay.example.com""#, &[]);
    check(r#""ip":"2001:db8::1""#, &[]);
    let loopback = "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    for ip in ["127.0.0.1", "::1"] {
        check(&format!(r#""ip":"{ip}""#), &[&format!("ip: Invalid value: {ip:?}: {loopback}")]);
    }
    for ip in ["169.254.169.254", "fe80::1"] {
        let why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
        check(&format!(r#""ip":"{ip}""#), &[&format!("ip: Invalid value: {ip:?}: {why}")]);
    }
    check(r#""ip":"0.0.0.0""#, &[r#"ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)"#]);
    check(
        r#""ip":"::ffff:127.0.0.1""#,
        &[
            r#"ip: Invalid value: "::ffff:127.0.0.1": must not be an IPv4-mapped IPv6 address"#,
            &format!(r#"ip: Invalid value: "::ffff:127.0.0.1": {loopback}"#),
        ],
    );
    check(
        r#""ip":"other","hostname":"-""#,
        &[
            r#"ip: Invalid value: "other": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#,
            r#"hostname: Invalid value: "-": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#,
            r#"ip: Invalid value: "other": must be a valid IP address"#,
        ],
    );
}

#[test]
fn what_is_stored_may_stay_as_a_whole() {
    let check = |old: &str, new: &str, expected: usize| {
        let (old, new) = (at_address(old), at_address(new));
        assert_eq!(update_complaints(&STRATEGY, &new, &old, "").len(), expected);
    };
    check(r#""ip":"127.0.0.1""#, r#""ip":"127.0.0.1""#, 0);
    check(r#""ip":"127.0.0.1""#, r#""ip":"127.0.0.1","hostname":"a""#, 1);
    check(r#""ip":"10.1.2.3""#, r#""ip":"127.0.0.1""#, 1);
}

#[test]
fn clients_are_told_of_odd_addresses() {
    let check = |labels: &str, expected: usize| {
        let subsets = r#"[{"addresses":[{"ip":"2001:DB8::1"}],"notReadyAddresses":[{"ip":"2001:db8:0::2"}]}]"#;
        let text = format!(r#"{{"metadata":{{"labels":{{{labels}}}}},"subsets":{subsets}}}"#);
        let mut warnings = Vec::new();
        warn(&created(&STRATEGY, "v1", "Endpoints", &text), &mut warnings);
        assert_eq!(warnings.len(), expected);
    };
    check("", 2);
    check(r#""endpoints.kubernetes.io/managed-by":"endpoint-controller""#, 0);
}

#[test]
fn what_a_table_shows() {
    let check = |subsets: &str, expected: &str| {
        assert_eq!(cell(&of(subsets), "Endpoints", 0), Some(Cell::Text(expected.to_owned())), "{subsets}");
    };
    check("[]", "<none>");
    check(&format!(r#"[{{"notReadyAddresses":[{IP}]}}]"#), "");
    check(&format!(r#"[{{"addresses":[{IP}]}}]"#), "10.1.2.3");
    check(r#"[{"addresses":[{"ip":"::2"}],"ports":[{"port":80}]}]"#, "[::2]:80");
    let two = format!(r#"{{"addresses":[{IP},{{"ip":"10.1.2.4"}}],"ports":[{{"port":80}},{{"port":81}}]}}"#);
    check(&format!("[{two}]"), "10.1.2.3:80,10.1.2.4:80,10.1.2.3:81 + 1 more...");
    check(&format!("[{two},{two}]"), "10.1.2.3:80,10.1.2.4:80,10.1.2.3:81 + 5 more...");
    check(&format!(r#"[{{"addresses":[{IP},{IP},{IP}]}}]"#), "10.1.2.3,10.1.2.3,10.1.2.3");
}
