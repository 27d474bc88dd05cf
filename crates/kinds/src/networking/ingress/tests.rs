use super::*;
use crate::testing::{complaints, created, update_complaints};

fn of(meta: &str, spec: &str) -> Tree {
    let text = format!(r#"{{"metadata":{{"name":"shop"{meta}}},"spec":{{{spec}}}}}"#);
    created(&STRATEGY, "networking.k8s.io/v1", "Ingress", &text)
}

const SERVICE: &str = r#"{"service":{"name":"web","port":{"number":80}}}"#;

fn ruled(rule: &str) -> Tree {
    of("", &format!(r#""rules":[{{{rule}}}]"#))
}

fn at_path(path: &str, path_type: &str) -> String {
    format!(r#""http":{{"paths":[{{"path":"{path}","pathType":"{path_type}","backend":{SERVICE}}}]}}"#)
}

#[test]
fn an_ingress_leads_somewhere() {
    let check = |spec: &str, expected: &[&str]| {
        assert_eq!(complaints(&STRATEGY, &of("", spec)), expected, "{spec}");
    };
    check(&format!(r#""defaultBackend":{SERVICE}"#), &[]);
    check(r#""rules":[{}]"#, &[]);
    let neither = "either `defaultBackend` or `rules` must be specified";
    check("", &[&format!("spec: Invalid value: null: {neither}")]);
    check(r#""rules":[]"#, &[&format!("spec: Invalid value: []: {neither}")]);
    check(
        &format!(r#""defaultBackend":{SERVICE},"ingressClassName":"""#),
        &[
            "spec.ingressClassName: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
}

#[test]
fn backends() {
    let check = |backend: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|line| format!("spec.defaultBackend{line}")).collect();
        assert_eq!(complaints(&STRATEGY, &of("", &format!(r#""defaultBackend":{backend}"#))), expected, "{backend}");
    };
    let resource = r#""resource":{"apiGroup":"k8s.example.com","kind":"Bucket","name":"s"}"#;
    check(&format!("{{{resource}}}"), &[]);
    check(r#"{"service":{"name":"1web","port":{"name":"http"}}}"#, &[]);
    check("{}", &[": Invalid value: \"\": resource or service backend is required"]);
    check(
        &format!(r#"{{{resource},"service":{{"name":"web"}}}}"#),
        &[": Invalid value: \"\": cannot set both resource and service backends"],
    );
    check(r#"{"service":{}}"#, &[".service.name: Required value", ": Required value: port name or number is required"]);
    check(
        r#"{"service":{"name":"web","port":{"name":"http","number":80}}}"#,
        &[": Invalid value: \"\": cannot set both port name & port number"],
    );
    check(
        r#"{"service":{"name":"web","port":{"number":-7}}}"#,
        &[".service.port.number: Invalid value: -7: must be between 1 and 65535, inclusive"],
    );
    check(
        r#"{"service":{"name":"web","port":{"name":"80"}}}"#,
        &[".service.port.name: Invalid value: \"80\": must contain at least one letter (a-z)"],
    );
    check(r#"{"resource":{}}"#, &[".resource.kind: Required value", ".resource.name: Required value"]);
}

#[test]
fn paths_do_not_climb() {
    let check = |path: &str, path_type: &str, expected: &[&str]| {
        let at = "spec.rules[0].http.paths[0]";
        let expected: Vec<String> = expected.iter().map(|line| format!("{at}.{line}")).collect();
        assert_eq!(complaints(&STRATEGY, &ruled(&at_path(path, path_type))), expected, "{path} {path_type}");
    };
    for fine in ["/", "/a", "/a/", "/a.b", "/a..b"] {
        check(fine, "Prefix", &[]);
        check(fine, "Exact", &[]);
    }
    for fine in ["", "/a/../b", "/a//b"] {
        check(fine, "ImplementationSpecific", &[]);
    }
    check("", "Prefix", &["path: Invalid value: \"\": must be an absolute path"]);
    check("a", "ImplementationSpecific", &["path: Invalid value: \"a\": must be an absolute path"]);
    check("/a//b", "Exact", &["path: Invalid value: \"/a//b\": must not contain '//'"]);
    check("/a%2Fb", "Exact", &["path: Invalid value: \"/a%2Fb\": must not contain '%2F'"]);
    check("/a/..", "Prefix", &["path: Invalid value: \"/a/..\": cannot end with '/..'"]);
    check(
        "/a/../.",
        "Prefix",
        &[
            "path: Invalid value: \"/a/../.\": must not contain '/../'",
            "path: Invalid value: \"/a/../.\": cannot end with '/.'",
        ],
    );
    check(
        "/a",
        "other",
        &[r#"pathType: Unsupported value: "other": supported values: "Exact", "ImplementationSpecific", "Prefix""#],
    );
    let none = ruled(r#""http":{"paths":[{}]}"#);
    let missing = ["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"];
    assert_eq!(complaints(&STRATEGY, &none), missing);
    assert_eq!(complaints(&STRATEGY, &ruled(r#""http":{}"#)), ["spec.rules[0].http.paths: Required value"]);
}

#[test]
fn hosts_are_names() {
    let first = |tree: &Tree| complaints(&STRATEGY, tree).first().cloned().unwrap_or_default();
    let begins = |found: &str, expected: &str| {
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{found} {expected}");
    };
    let check = |host: &str, expected: &str| begins(&first(&ruled(&format!(r#""host":"{host}""#))), expected);
    check("", "");
    check("foo.example.com", "");
    check("*.example.com", "");
    check("10.0.0.1", "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not");
    check("*", "spec.rules[0].host: Invalid value: \"*\": a wildcard DNS-1123 subdomain");
    check("A", "spec.rules[0].host: Invalid value: \"A\": a lowercase RFC 1123 subdomain");
    let tls = |tls: &str| first(&of("", &format!(r#""defaultBackend":{SERVICE},"tls":[{tls}]"#)));
    begins(&tls(r#"{"hosts":["*.example.com","a.b"],"secretName":"s"}"#), "");
    begins(&tls("{}"), "");
    let empty = "spec.tls[0].hosts[0]: Invalid value: \"\": a lowercase RFC 1123 subdoma";
    begins(&tls(r#"{"hosts":[""]}"#), empty);
    let bad = "spec.tls[0].secretName: Invalid value: \"S\": a lowercase RFC 1123 subd";
    begins(&tls(r#"{"secretName":"S"}"#), bad);
}

#[test]
fn what_is_stored_may_stay() {
    let check = |old: &Tree, new: &Tree, expected: usize| {
        assert_eq!(update_complaints(&STRATEGY, new, old, "").len(), expected);
    };
    let secret = |name: &str| of("", &format!(r#""rules":[{{}}],"tls":[{{"secretName":"{name}"}}]"#));
    check(&secret("S"), &secret("T"), 0);
    check(&secret("s"), &secret("T"), 1);
    let wild = |path: &str| ruled(&format!(r#""host":"*.example.com",{}"#, at_path(path, "Exact")));
    check(&wild("a"), &wild("b"), 0);
    check(&wild("/a"), &wild("b"), 1);
}

#[test]
fn one_class_however_it_is_named() {
    let check = |annotations: &str, class: &str, expected: &[&str], warned: bool| {
        let meta = format!(r#","annotations":{{{annotations}}}"#);
        let tree = of(&meta, &format!(r#""rules":[{{}}]{class}"#));
        assert_eq!(complaints(&STRATEGY, &tree), expected);
        let mut warnings = Vec::new();
        warn_create(&tree, &mut warnings);
        let what =
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        assert_eq!(warnings, if warned { vec![what.to_owned()] } else { Vec::new() });
    };
    check("", "", &[], false);
    check(r#""kubernetes.io/ingress.class":"outer""#, "", &[], true);
    check(r#""kubernetes.io/ingress.class":"outer""#, r#","ingressClassName":"outer""#, &[], false);
    let both = "must match `ingressClassName` when both are specified";
    check(
        r#""kubernetes.io/ingress.class":"outer""#,
        r#","ingressClassName":"inner""#,
        &[&format!("annotations.kubernetes.io/ingress.class: Invalid value: \"outer\": {both}")],
        false,
    );
}

#[test]
fn where_the_balancer_is() {
    let status = |one: &str| {
        let text = format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{one}]}}}}}}"#);
        crate::testing::read("networking.k8s.io/v1", "Ingress", &text)
    };
    let check = |new: &str, old: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|line| format!("status.loadBalancer.ingress[0].{line}")).collect();
        assert_eq!(update_complaints(&STRATEGY, &status(new), &status(old), "status"), expected, "{new}");
    };
    check(r#"{"ip":"10.0.0.1"}"#, "", &[]);
    check(r#"{"hostname":"lb.example.com"}"#, "", &[]);
    check(r#"{"ip":"010.0.0.1"}"#, "", &["ip: Invalid value: \"010.0.0.1\": must not have leading 0s"]);
    check(r#"{"ip":"010.0.0.1"}"#, r#"{"ip":"010.0.0.1"}"#, &[]);
    check(
        r#"{"hostname":"10.0.0.1"}"#,
        "",
        &["hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"],
    );
    let shown = status(r#"{"ip":"10.0.0.2"},{"hostname":"b"},{"ip":"10.0.0.1"},{"ip":"10.0.0.1"}"#);
    assert_eq!(cell(&shown, "Address", 0), Some(Cell::Text("10.0.0.1,10.0.0.2,b".to_owned())));
}

#[test]
fn what_a_table_shows() {
    let check = |spec: &str, hosts: &str, ports: &str| {
        let tree = of("", spec);
        assert_eq!(cell(&tree, "Hosts", 0), Some(Cell::Text(hosts.to_owned())), "{spec}");
        assert_eq!(cell(&tree, "Ports", 0), Some(Cell::Text(ports.to_owned())), "{spec}");
    };
    check("", "*", "80");
    check(r#""rules":[{"host":"a"},{},{"host":"b"}],"tls":[{}]"#, "a,b", "80, 443");
    check(r#""rules":[{"host":"a"},{"host":"b"},{"host":"c"}]"#, "a,b,c", "80");
    check(r#""rules":[{"host":"a"},{"host":"b"},{"host":"c"},{},{"host":"d"}]"#, "a,b,c + 2 more...", "80");
}
