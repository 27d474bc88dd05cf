//! What policies say, and which are refused.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::attributes::User;

fn strings(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| if word == "-" { String::new() } else { word.to_owned() }).collect()
}

/// Words; `-` is the empty one.
struct Wanted<'a> {
    users: &'a str,
    groups: &'a str,
    verbs: &'a str,
    namespaces: &'a str,
    urls: &'a str,
    resources: &'a [(&'a str, &'a str, &'a str)],
}

const ANY: Wanted<'_> = Wanted { users: "", groups: "", verbs: "", namespaces: "", urls: "", resources: &[] };

fn criteria(wanted: &Wanted<'_>) -> Criteria {
    let resources = wanted.resources.iter().map(|(group, resources, names)| GroupResources {
        group: (*group).to_owned(),
        resources: strings(resources),
        resource_names: strings(names),
    });
    Criteria {
        users: strings(wanted.users),
        user_groups: strings(wanted.groups),
        verbs: strings(wanted.verbs),
        namespaces: strings(wanted.namespaces),
        non_resource_urls: strings(wanted.urls),
        resources: resources.collect(),
    }
}

/// `user(group,group) verb target`, where target is `namespace:group/resource/subresource#name` or a path; user `?` is nobody.
fn matches(wanted: &Wanted<'_>, request: &str) -> bool {
    let [user, verb, target] = request.split(' ').collect::<Vec<_>>()[..] else { panic!("{request}") };
    let (name, groups) = user.trim_end_matches(')').split_once('(').unwrap_or((user, ""));
    let groups: Vec<String> = groups.split(',').map(str::to_owned).collect();
    let extra = BTreeMap::new();
    let user = (name != "?").then_some(User { name, uid: "", groups: &groups, extra: &extra });
    let target = if target.starts_with('/') {
        Target::Path(target)
    } else {
        let (namespace, rest) = target.split_once(':').unwrap_or(("", target));
        let (rest, name) = rest.split_once('#').unwrap_or((rest, ""));
        let mut parts = rest.splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        let (group, resource, subresource) = (next(), next(), next());
        Target::Resource { group, version: "v1", resource, subresource, namespace, name }
    };
    criteria(wanted).matches(&Attributes { user, verb, target })
}

#[test]
fn a_rule_is_about_what_it_names() {
    let check = |wanted: &Wanted<'_>, request: &str, expected: bool| {
        assert_eq!(matches(wanted, request), expected, "{request}");
    };
    for request in ["ana get :/pods", "? get /healthz", "ana create n:apps/deployments/scale"] {
        check(&ANY, request, true);
    }
    let users = Wanted { users: "ana ben", ..ANY };
    check(&users, "ana get :/pods", true);
    check(&users, "cy get :/pods", false);
    check(&users, "? get :/pods", false);
    let groups = Wanted { groups: "harbor", ..ANY };
    check(&groups, "ana(x,harbor) get :/pods", true);
    check(&groups, "ana(x) get :/pods", false);
    check(&groups, "? get :/pods", false);
    let verbs = Wanted { verbs: "get list", ..ANY };
    check(&verbs, "ana list :/pods", true);
    check(&verbs, "ana watch :/pods", false);
    let namespaces = Wanted { namespaces: "a -", ..ANY };
    check(&namespaces, "ana get a:/pods", true);
    check(&namespaces, "ana get :/nodes", true);
    check(&namespaces, "ana get b:/pods", false);
    check(&namespaces, "ana get /healthz", false);
    let urls = Wanted { urls: "/healthz /debug/* /api*", ..ANY };
    check(&urls, "ana get /healthz", true);
    check(&urls, "ana get /healthz/x", false);
    check(&urls, "ana get /debug/x", true);
    check(&urls, "ana get /debug", false);
    check(&urls, "ana get /apis", true);
    check(&urls, "ana get :/pods", false);
    check(&Wanted { urls: "*", ..ANY }, "ana get /x", true);
}

#[test]
fn resources_of_a_rule() {
    let check = |resources: &[(&str, &str, &str)], target: &str, expected: bool| {
        let wanted = Wanted { resources, ..ANY };
        assert_eq!(matches(&wanted, &format!("ana get {target}")), expected, "{resources:?} {target}");
    };
    check(&[("", "", "")], "n:/pods", true);
    check(&[("", "", "")], "n:/pods/log", true);
    check(&[("", "", "")], "n:apps/deployments", false);
    check(&[("*", "", "")], "n:apps/deployments", true);
    check(&[("*", "deployments", "")], "n:apps/deployments", true);
    check(&[("*", "deployments", "")], "n:apps/statefulsets", false);
    check(&[("", "pods", "")], "n:/pods", true);
    check(&[("", "pods", "")], "n:/pods/log", false);
    check(&[("", "pods/log", "")], "n:/pods/log", true);
    check(&[("", "pods/log", "")], "n:/pods", false);
    check(&[("", "pods/*", "")], "n:/pods/log", true);
    check(&[("", "pods/*", "")], "n:/pods", true);
    check(&[("", "pods/*", "")], "n:/nodes", false);
    check(&[("", "*/status", "")], "n:/pods/status", true);
    check(&[("", "*/status", "")], "n:/pods", false);
    check(&[("", "*", "")], "n:/pods/status", true);
    check(&[("", "pods", "a b")], "n:/pods#b", true);
    check(&[("", "pods", "a b")], "n:/pods#c", false);
    check(&[("", "pods", "a b")], "n:/pods", false);
    check(&[("apps", "", ""), ("", "pods", "")], "n:/pods", true);
    check(&[("apps", "", "")], "/healthz", false);
}

fn rule(level: &str, criteria: Criteria) -> RuleDocument {
    RuleDocument { level: level.to_owned(), criteria, ..RuleDocument::default() }
}

#[test]
fn the_first_rule_decides() {
    let secrets = criteria(&Wanted { resources: &[("", "secrets", "")], ..ANY });
    let document = PolicyDocument {
        rules: vec![
            RuleDocument {
                omit_stages: strings("ResponseStarted"),
                omit_managed_fields: Some(false),
                ..rule("Request", secrets)
            },
            rule("None", criteria(&Wanted { verbs: "watch", ..ANY })),
            rule("RequestResponse", criteria(&Wanted { namespaces: "a", ..ANY })),
        ],
        omit_stages: strings("RequestReceived"),
        omit_managed_fields: true,
    };
    let policy = document.validate().unwrap();
    let decide = |policy: &Policy, verb: &str, resource: &str, namespace: &str| {
        let target = Target::Resource { group: "", version: "v1", resource, subresource: "", namespace, name: "" };
        policy.decide(&Attributes { user: None, verb, target })
    };
    let received = Stages::default().with(Stage::RequestReceived);
    let check = |decided: Decided, level: Level, omitted: Stages, omits_managed_fields: bool, withholds: bool| {
        assert_eq!(decided, Decided { level, omitted, omits_managed_fields, withholds });
    };
    let both = received.with(Stage::ResponseStarted);
    check(decide(&policy, "watch", "secrets", "a"), Level::Request, both, false, false);
    check(decide(&policy, "watch", "pods", "a"), Level::None, received, true, false);
    check(decide(&policy, "get", "pods", "a"), Level::RequestResponse, received, true, false);
    check(decide(&policy, "get", "pods", "b"), Level::None, Stages::default(), false, false);
    let guarded = policy.clone().guarded();
    check(decide(&guarded, "get", "secrets", "a"), Level::Metadata, both, false, true);
    check(decide(&guarded, "get", "pods", "a"), Level::RequestResponse, received, true, false);
    assert_eq!(guarded.asks_for_secrets(), ["secrets", "serviceaccounts/token", "tokenreviews"]);
    assert!(Policy::standard().asks_for_secrets().is_empty());
}

#[test]
fn an_operator_is_told_what_is_not_recorded() {
    let check = |rules: &[(&str, &Wanted<'_>)], expected: &[&str]| {
        let rules = rules.iter().map(|(level, wanted)| rule(level, criteria(wanted))).collect();
        let policy = PolicyDocument { rules, ..PolicyDocument::default() }.validate().unwrap();
        assert_eq!(policy.asks_for_secrets(), expected);
    };
    const ALL: [&str; 3] = ["secrets", "serviceaccounts/token", "tokenreviews"];
    let (secrets, reviews) = ([("", "secrets serviceaccounts/token", "")], [("authentication.k8s.io", "", "")]);
    let one = [("", "secrets", "db")];
    let (secrets, reviews) = (Wanted { resources: &secrets, ..ANY }, Wanted { resources: &reviews, ..ANY });
    let (one, reading) = (Wanted { resources: &one, ..ANY }, Wanted { verbs: "get", ..ANY });
    check(&[("Metadata", &ANY)], &[]);
    check(&[("Request", &ANY)], &ALL);
    check(&[("Metadata", &secrets), ("Request", &ANY)], &["tokenreviews"]);
    check(&[("Metadata", &secrets), ("None", &reviews), ("RequestResponse", &ANY)], &[]);
    check(&[("Metadata", &reading), ("Request", &secrets)], &["secrets", "serviceaccounts/token"]);
    check(&[("Request", &one), ("Metadata", &ANY)], &["secrets"]);
    check(&[("Metadata", &one), ("Request", &secrets)], &["secrets", "serviceaccounts/token"]);
    check(&[("Request", &Wanted { urls: "/x", ..ANY }), ("Metadata", &ANY)], &[]);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_path() {
    let check = |change: fn(&mut PolicyDocument), expected: &[&str]| {
        let mut document = PolicyDocument { rules: vec![rule("Metadata", Criteria::default())], ..Default::default() };
        change(&mut document);
        let got: Vec<_> = match document.validate() {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(got, expected);
    };
    check(|_| (), &[]);
    check(|policy| policy.rules[0].level.clear(), &["rules[0].level: Required value"]);
    check(
        |policy| policy.rules[0].level = "metadata".to_owned(),
        &[
            r#"rules[0].level: Unsupported value: "metadata": supported values: "None", "Metadata", "Request", "RequestResponse""#,
        ],
    );
    check(
        |policy| policy.omit_stages = strings("Panic Over"),
        &[concat!(
            r#"omitStages[1]: Invalid value: "Over": allowed stages are "#,
            "RequestReceived,ResponseStarted,ResponseComplete,Panic"
        )],
    );
    check(
        |policy| policy.rules[0].omit_stages = strings("-"),
        &[concat!(
            r#"rules[0].omitStages[0]: Invalid value: "": allowed stages are "#,
            "RequestReceived,ResponseStarted,ResponseComplete,Panic"
        )],
    );
    check(
        |policy| policy.rules[0].criteria = criteria(&Wanted { urls: "* /a* a /*b", ..ANY }),
        &[
            r#"rules[0].nonResourceURLs[2]: Invalid value: "a": non-resource URL rules must begin with a '/' character"#,
            concat!(
                r#"rules[0].nonResourceURLs[3]: Invalid value: "/*b": "#,
                "non-resource URL wildcards '*' must be the final character of the rule"
            ),
        ],
    );
    check(
        |policy| policy.rules[0].criteria = criteria(&Wanted { urls: "/a", namespaces: "n", ..ANY }),
        &[concat!(
            r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: "#,
            "rules cannot apply to both regular resources and non-resource URLs"
        )],
    );
    check(
        |policy| policy.rules[0].criteria = criteria(&Wanted { resources: &[("*", "", "x")], ..ANY }),
        &[
            r#"rules[0].resources[0].resourceNames: Invalid value: ["x"]: using resourceNames requires at least one resource"#,
        ],
    );
    let mut document = PolicyDocument { rules: vec![rule("None", Criteria::default())], ..Default::default() };
    document.rules[0].criteria = criteria(&Wanted { resources: &[("Apps/v1", "", "")], ..ANY });
    let errors = document.validate().unwrap_err();
    assert!(
        errors[0]
            .to_string()
            .starts_with(r#"rules[0].resources[0].group: Invalid value: "Apps/v1": a lowercase RFC 1123"#)
    );
}
