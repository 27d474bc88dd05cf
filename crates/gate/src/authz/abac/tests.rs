#![allow(clippy::unwrap_used)]

use super::*;
use crate::authz::Selection;
use crate::identity::user;
use crate::live_file::chain_of;

fn policy(text: &str) -> Result<Abac, String> {
    Abac::parse(Path::new("/etc/policy.jsonl"), text.as_bytes()).map_err(|error| chain_of(&error))
}

fn versioned(spec: &str) -> String {
    format!(r#"{{"apiVersion": "{API_VERSION}", "kind": "Policy", "spec": {{{spec}}}}}"#)
}

fn resource<'a>(group: &'a str, namespace: &'a str, resource: &'a str) -> Target<'a> {
    let selectors = Selection::ALL;
    Target::Resource { group, version: "v1", namespace, resource, subresource: "", name: "x", selectors }
}

#[test]
fn a_rule_allows_what_upstreams_does() {
    let ana = user("ana", &["harbor", GROUP_AUTHENTICATED]);
    let check = |line: &str, verb: &str, target: Target<'_>, expected: bool| {
        let policy = policy(line).unwrap();
        let Decision::Now(verdict) = policy.decide(&Attributes { user: &ana, verb, target }) else { panic!("later") };
        assert_eq!(verdict.is_allow(), expected, "{line}: {verb} {target:?}");
        if !expected {
            assert_eq!(verdict, Verdict::NoOpinion { reason: NO_MATCH.into() });
        }
    };
    let pods = resource("", "pier", "pods");
    let row =
        |spec: &str, verb: &str, target: Target<'_>, expected: bool| check(&versioned(spec), verb, target, expected);
    let pods_of = |who: &str| format!(r#"{who} "namespace": "pier", "resource": "pods""#);
    // Who.
    row(&pods_of(r#""user": "ana","#), "delete", pods, true);
    row(&pods_of(r#""user": "bo","#), "get", pods, false);
    row(&pods_of(r#""group": "harbor","#), "get", pods, true);
    row(&pods_of(r#""group": "lighthouse","#), "get", pods, false);
    row(&pods_of(r#""user": "ana", "group": "lighthouse","#), "get", pods, false);
    row(&pods_of(r#""user": "ana", "group": "harbor","#), "get", pods, true);
    row(&pods_of(r#""user": "*","#), "get", pods, true);
    row(&pods_of(r#""group": "*","#), "get", pods, true);
    row(&pods_of(""), "get", pods, false);
    // How.
    for (verb, expected) in [("get", true), ("list", true), ("watch", true), ("create", false), ("impersonate", false)]
    {
        row(&pods_of(r#""user": "ana", "readonly": true,"#), verb, pods, expected);
    }
    // To what.
    let all = r#""user": "ana", "namespace": "*", "resource": "*", "apiGroup": "*""#;
    row(all, "create", resource("apps", "pier", "deployments"), true);
    row(all, "create", resource("", "", "nodes"), true);
    row(all, "get", Target::Path("/metrics"), false);
    row(&pods_of(r#""user": "ana","#), "get", resource("", "quay", "pods"), false);
    row(&pods_of(r#""user": "ana","#), "get", resource("", "pier", "secrets"), false);
    row(&pods_of(r#""user": "ana","#), "get", resource("apps", "pier", "pods"), false);
    row(r#""user": "ana", "resource": "nodes""#, "get", resource("", "", "nodes"), true);
    let path = |path: &str| format!(r#""user": "ana", "nonResourcePath": "{path}""#);
    row(&path("/metrics"), "get", Target::Path("/metrics"), true);
    row(&path("/metrics"), "get", Target::Path("/metrics/x"), false);
    row(&path("/debug/*"), "post", Target::Path("/debug/pprof"), true);
    row(&path("/debug/*"), "get", Target::Path("/debug"), false);
    row(&path("*"), "get", Target::Path("/x"), true);
    row(&path("*"), "get", pods, false);
    // Without a version, what is absent means all.
    check("{}", "delete", pods, true);
    check("{}", "get", Target::Path("/x"), true);
    check(r#"{"user": "*"}"#, "get", pods, true);
    check(r#"{"user": "bo"}"#, "get", pods, false);
    check(r#"{"user": "ana", "readonly": true}"#, "create", pods, false);
    check(r#"{"user": "ana", "resource": "pods"}"#, "create", pods, true);
    check(r#"{"user": "ana", "resource": "pods"}"#, "get", Target::Path("/x"), false);
    check(r#"{"user": "ana", "namespace": "quay"}"#, "get", pods, false);
    check("", "get", pods, false);
}

#[test]
fn everybody_is_not_the_anonymous_user() {
    let anonymous = Identity::anonymous();
    let stranger = Attributes { user: &anonymous, verb: "get", target: Target::Path("/x") };
    for line in ["{}", r#"{"user": "*"}"#, &versioned(r#""group": "*", "nonResourcePath": "*""#)] {
        let policy = policy(line).unwrap();
        assert!(matches!(policy.decide(&stranger), Decision::Now(Verdict::NoOpinion { .. })), "{line}");
    }
}

#[test]
fn an_allow_names_its_line() {
    let policy = policy("# who may do what\n\n{\"user\": \"bo\"}\n  {\"user\": \"ana\"}\n").unwrap();
    let ana = user("ana", &[]);
    let Decision::Now(verdict) = policy.decide(&Attributes { user: &ana, verb: "get", target: Target::Path("/x") })
    else {
        panic!("later")
    };
    assert_eq!(verdict, Verdict::allow("ABAC: allowed by line 4 of the policy file"));
}

#[test]
fn a_mistake_is_named_with_file_and_line() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            policy(text).err().as_deref(),
            Some(format!("error reading policy file /etc/policy.jsonl{expected}").as_str())
        );
    };
    check("{}\n[]", ", line 2: expected an object");
    check("\n# x\n{\"user\": 1}", ", line 3: strict decoding error: user: expected a string");
    check("{\"usr\": \"ana\"}", r#", line 1: strict decoding error: unknown field "usr""#);
    check(
        &versioned(r#""user": "ana", "namspace": "x""#),
        r#", line 1: strict decoding error: unknown field "spec.namspace""#,
    );
    // Upstream takes these three for the old form, which would allow everything.
    check(r#"{"spec": {"user": "ana"}}"#, r#", line 1: strict decoding error: unknown field "spec""#);
    check(
        r#"{"kind": "Policy", "spec": {"user": "ana"}}"#,
        r#", line 1: no kind "Policy" is registered for version "": use Policy of abac.authorization.kubernetes.io/v1beta1, or neither"#,
    );
    check(
        r#"{"apiVersion": "abac.authorization.kubernetes.io/v1", "kind": "Policy"}"#,
        r#", line 1: no kind "Policy" is registered for version "abac.authorization.kubernetes.io/v1": use Policy of abac.authorization.kubernetes.io/v1beta1, or neither"#,
    );
    check(&"{}\n".repeat(RULES_MAX + 1), ": number of rules is more than 10000");
    check(&format!("{{\"user\": \"{}\"}}", "x".repeat(LINE_BYTES_MAX)), ": length of a line is more than 65536");
    let missing = chain_of(&Abac::open(Path::new("/nowhere/policy.jsonl")).err().unwrap());
    assert!(missing.starts_with("error reading policy file /nowhere/policy.jsonl: No such file"), "{missing}");
}

#[test]
fn rules_can_be_listed() {
    let text = [
        versioned(r#""user": "ana", "namespace": "pier", "resource": "pods", "readonly": true"#),
        versioned(r#""user": "bo", "namespace": "pier", "resource": "secrets""#),
        versioned(
            r#""user": "ana", "namespace": "*", "resource": "*", "apiGroup": "*", "nonResourcePath": "/metrics""#,
        ),
    ];
    let policy = policy(&text.join("\n")).unwrap();
    let check = |namespace: &str, resources: &[&str], paths: usize| {
        let mut rules = Rules::default();
        Authorizer::rules(&policy, &user("ana", &[]), namespace, &mut rules);
        let found: Vec<_> = rules.resources.iter().map(|rule| rule.resources.concat()).collect();
        assert_eq!(
            (found.as_slice(), rules.paths.len()),
            (resources.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(), paths)
        );
        assert!(rules.gaps.is_empty());
    };
    check("pier", &["pods", "*"], 1);
    check("quay", &["*"], 1);
}
