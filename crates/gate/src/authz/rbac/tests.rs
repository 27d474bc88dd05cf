//! Who is allowed what, why, and what is said when nothing allows; the index against a plain reading of the rules.
#![allow(clippy::unwrap_used)]

mod plain_reading;

use std::collections::BTreeMap;

use portcullis_model::selectors::Selector;

use super::cover::{COMPARISONS_MAX, PERMISSIONS_MAX, UNCOVERED_MAX, full_authority, not_held, shown};
use super::explain::{Explanation, Part, explain};
use super::*;
use crate::authz::{Selection, Target};
use crate::identity::{GROUP_AUTHENTICATED, GROUP_MASTERS, user};

fn words(list: &str) -> Vec<String> {
    list.split_terminator(',').map(|word| if word == "core" { String::new() } else { word.to_owned() }).collect()
}

/// `get,list | apps | deployments | a,b`, or `get | - | /metrics`.
fn rule(text: &str) -> Rule {
    let mut parts = text.split('|').map(str::trim);
    let mut next = || words(parts.next().unwrap_or_default());
    let (verbs, groups, targets, names) = (next(), next(), next(), next());
    if groups == ["-"] {
        return Rule { verbs, paths: targets, ..Rule::default() };
    }
    Rule { verbs, groups, resources: targets, names, ..Rule::default() }
}

fn role(rules: &[&str]) -> StoredRole {
    StoredRole { rules: rules.iter().map(|text| rule(text)).collect(), ..StoredRole::default() }
}

fn labelled(role: StoredRole, key: &str) -> StoredRole {
    StoredRole { labels: BTreeMap::from([(key.to_owned(), "true".to_owned())]), ..role }
}

fn gathering(role: StoredRole, selector: &str) -> StoredRole {
    StoredRole { gathers: Some(vec![Selector::parse(selector).unwrap()]), ..role }
}

/// `x` is of the cluster, `x/ns` in a namespace.
fn id(text: &str) -> Id {
    let (name, namespace) = text.split_once('/').unwrap_or((text, ""));
    Id::new(namespace, name)
}

/// `ClusterRole view to User ana, Group devs, ServiceAccount bot/ns`
fn binding(text: &str) -> Binding {
    let (role, subjects) = text.split_once(" to ").unwrap();
    let (kind, name) = role.split_once(' ').unwrap();
    let kind = match kind {
        "ClusterRole" => RoleKind::ClusterRole,
        "Role" => RoleKind::Role,
        other => RoleKind::Unknown(other.to_owned()),
    };
    let subject = |text: &str| match text.split_once(' ').unwrap() {
        ("User", name) => Subject::User(name.to_owned()),
        ("Group", name) => Subject::Group(name.to_owned()),
        (_, account) => {
            let Id { namespace, name } = id(account);
            Subject::ServiceAccount { namespace, name }
        }
    };
    let subjects = subjects.split_terminator(", ").map(subject).collect();
    Binding { role: RoleRef { kind, name: name.to_owned() }, subjects }
}

fn policy(roles: &[(&str, StoredRole)], bindings: &[(&str, &str)]) -> Policy {
    let mut policy = Policy::default();
    policy.change(|change| {
        for (at, text) in bindings {
            change.set_binding(id(at), binding(text));
        }
        for (at, role) in roles {
            change.set_role(id(at), role.clone());
        }
    });
    policy
}

/// `get default core pods/log web`, or `get /metrics`. The namespace `-` is none.
fn asked<'a>(user: &'a Identity, text: &'a str) -> Attributes<'a> {
    let mut parts = text.split(' ');
    let verb = parts.next().unwrap();
    let second = parts.next().unwrap();
    if second.starts_with('/') {
        return Attributes { user, verb, target: Target::Path(second) };
    }
    let namespace = if second == "-" { "" } else { second };
    let group = match parts.next().unwrap() {
        "core" => "",
        group => group,
    };
    let full = parts.next().unwrap();
    let (resource, subresource) = full.split_once('/').unwrap_or((full, ""));
    let (name, selectors) = (parts.next().unwrap_or_default(), Selection::ALL);
    let target = Target::Resource { group, version: "v1", namespace, resource, subresource, name, selectors };
    Attributes { user, verb, target }
}

fn verdict(policy: &Policy, user: &Identity, question: &str) -> String {
    match policy.decide(&asked(user, question)) {
        Verdict::Allow { reason } => reason.to_string(),
        Verdict::NoOpinion { reason } => format!("no: {reason}"),
        Verdict::Deny { reason } => format!("RBAC denies nothing: {reason}"),
    }
}

fn harbour() -> Policy {
    policy(
        &[
            ("reader", role(&["get,list | core | pods,pods/log", "get | - | /metrics,/logs/*"])),
            ("everything", role(&["* | * | *", "* | - | *"])),
            ("keeper/default", role(&["get | core | secrets | one,two", "update | apps | */scale"])),
        ],
        &[
            ("a-all", "ClusterRole everything to User root"),
            ("b-lost", "ClusterRole lost to Group devs, User lost"),
            ("c-read", "ClusterRole reader to Group devs, User ana"),
            ("d-read", "ClusterRole reader to User ana"),
            ("x/default", "Role keeper to ServiceAccount bot, ServiceAccount other/elsewhere, User ana"),
            ("y/default", "ClusterRole everything to User local"),
            ("z/default", "Role lost to User lost, User twice"),
            ("zz/default", "Role lost to User twice"),
            ("odd/default", "Robot r to User odd"),
        ],
    )
}

#[test]
fn reasons_are_upstreams() {
    let policy = harbour();
    let check = |name: &str, groups: &[&str], question: &str, expected: &str| {
        let allowed = format!("RBAC: allowed by {expected}");
        let expected = if expected.starts_with("no: ") { expected } else { &allowed };
        assert_eq!(verdict(&policy, &user(name, groups), question), expected, "{name} {groups:?} {question}");
    };
    let read_as_ana = r#"ClusterRoleBinding "c-read" of ClusterRole "reader" to User "ana""#;
    let read_as_dev = r#"ClusterRoleBinding "c-read" of ClusterRole "reader" to Group "devs""#;
    check("ana", &[], "get default core pods web", read_as_ana);
    // The first subject of the first binding, whichever list finds it.
    check("ana", &["devs"], "get default core pods web", read_as_dev);
    check("bo", &["x", "devs"], "list - core pods", read_as_dev);
    check("bo", &["devs"], "get /logs/kubelet", read_as_dev);
    check("bo", &["x"], "get default core pods web", "no: ");
    check("ana", &[], "delete default core pods web", "no: ");
    let keeper = r#"RoleBinding "x/default" of Role "keeper" to"#;
    check("ana", &[], "get default core secrets one", &format!(r#"{keeper} User "ana""#));
    check("ana", &[], "get default core secrets three", "no: ");
    check("ana", &[], "list default core secrets", "no: ");
    check("ana", &[], "get elsewhere core secrets one", "no: ");
    check("ana", &[], "get - core secrets one", "no: ");
    check("ana", &[], "update default apps deployments/scale web", &format!(r#"{keeper} User "ana""#));
    let bot = "system:serviceaccount:default:bot";
    check(bot, &[], "get default core secrets one", &format!(r#"{keeper} ServiceAccount "bot/default""#));
    let other = "system:serviceaccount:elsewhere:other";
    check(other, &[], "get default core secrets two", &format!(r#"{keeper} ServiceAccount "other/elsewhere""#));
    check("system:serviceaccount:default:other", &[], "get default core secrets two", "no: ");
    // A role of the cluster that is bound in a namespace gives nothing outside it, and no path.
    let local = r#"RoleBinding "y/default" of ClusterRole "everything" to User "local""#;
    check("local", &[], "delete default core pods web", local);
    check("local", &[], "delete - core pods web", "no: ");
    check("local", &[], "get /metrics", "no: ");
    // What is not there is named, once, if it was given to the user and nothing else allows.
    let lost = r#"no: RBAC: clusterrole.rbac.authorization.k8s.io "lost" not found"#;
    check("bo", &["devs"], "get default core secrets one", lost);
    let local_lost = r#"role.rbac.authorization.k8s.io "lost" not found"#;
    check(
        "lost",
        &["devs"],
        "get default core secrets one",
        &format!(r#"no: RBAC: [clusterrole.rbac.authorization.k8s.io "lost" not found, {local_lost}]"#),
    );
    check("twice", &[], "get default core pods web", &format!("no: RBAC: {local_lost}"));
    check("twice", &[], "get other core pods web", "no: ");
    check("odd", &[], "get default core pods web", r#"no: RBAC: unsupported role reference kind: "Robot""#);
}

#[test]
fn roles_gather_others_at_once() {
    let view = || gathering(labelled(role(&[]), "to-edit"), "to-view=true");
    let mut policy = policy(
        &[
            ("edit", gathering(labelled(role(&[]), "to-admin"), "to-edit=true")),
            ("admin", gathering(role(&["get | own | owned"]), "to-admin=true")),
            ("view", view()),
            ("more", labelled(role(&["get | core | pods"]), "to-view")),
            // One that gathers itself and is gathered by what it gathers.
            ("loop", gathering(labelled(role(&["get | loop | loops"]), "to-loop"), "to-loop=true")),
            ("pool", gathering(labelled(role(&["get | pool | pools"]), "to-loop"), "to-loop=true")),
        ],
        &[("admin", "ClusterRole admin to User ana"), ("loop", "ClusterRole loop to User ana")],
    );
    let check = |policy: &Policy, question: &str, expected: bool| {
        assert_eq!(policy.decide(&asked(&user("ana", &[]), question)).is_allow(), expected, "{question}");
    };
    check(&policy, "get default core pods web", true);
    check(&policy, "get default own owned x", true);
    check(&policy, "get default core secrets x", false);
    check(&policy, "get - pool pools x", true);
    policy.change(|change| {
        change.set_role(id("later"), labelled(role(&["get | core | secrets"]), "to-view"));
        // A role of a namespace gathers nothing and is gathered by none, whatever its name and labels are.
        change.set_role(id("later/default"), labelled(role(&["get | core | nodes"]), "to-view"));
        change.set_role(id("admin/default"), role(&[]));
    });
    check(&policy, "get default core secrets x", true);
    check(&policy, "get default core nodes x", false);
    policy.change(|change| change.set_role(id("more"), role(&["get | core | pods"])));
    check(&policy, "get default core pods web", false);
    policy.change(|change| change.remove_role(&id("view")));
    check(&policy, "get default core secrets x", false);
    policy.change(|change| change.set_role(id("view"), view()));
    check(&policy, "get default core secrets x", true);
    // One that gathers no longer.
    policy.change(|change| change.set_role(id("view"), labelled(role(&[]), "to-edit")));
    check(&policy, "get default core secrets x", false);
    policy.change(|change| change.remove_role(&id("admin")));
    check(&policy, "get default own owned x", false);
}

#[test]
fn what_changes_is_known_at_once() {
    let mut policy = Policy::default();
    let ana = user("ana", &["devs"]);
    let read = r#"RBAC: allowed by RoleBinding "b/default" of Role "r" to Group "devs""#;
    let missing = r#"no: RBAC: role.rbac.authorization.k8s.io "r" not found"#;
    let check = |policy: &Policy, expected: &str| {
        assert_eq!(verdict(policy, &ana, "get default core pods web"), expected);
    };
    let b = id("b/default");
    check(&policy, "no: ");
    policy.change(|change| change.set_binding(b.clone(), binding("Role r to Group devs")));
    check(&policy, missing);
    policy.change(|change| change.set_role(id("r/default"), role(&["get | core | pods"])));
    check(&policy, read);
    policy.change(|change| change.set_role(id("r/default"), role(&["list | core | pods"])));
    check(&policy, "no: ");
    policy.change(|change| change.set_role(id("r/default"), role(&["get | core | pods"])));
    policy.change(|change| change.set_binding(b.clone(), binding("Role r to Group ops")));
    check(&policy, "no: ");
    policy.change(|change| change.set_binding(b.clone(), binding("Role r to Group ops, Group devs, Group devs")));
    check(&policy, read);
    policy.change(|change| change.remove_role(&id("r/default")));
    check(&policy, missing);
    policy.change(|change| change.remove_binding(&b));
    check(&policy, "no: ");
    assert!(policy.namespaces_are_empty());
    policy.change(|change| {
        change.set_binding(b, binding("Role r to Group devs"));
        change.clear();
    });
    check(&policy, "no: ");
}

#[test]
fn rules_are_listed_in_the_order_they_are_asked_in() {
    let policy = harbour();
    let mut rules = Rules::default();
    list(&policy, &user("ana", &["devs"]), "default", &mut rules);
    let resources: Vec<String> = rules.resources.iter().map(|rule| rule.resources.join(",")).collect();
    assert_eq!(resources, ["pods,pods/log", "pods,pods/log", "secrets", "*/scale"]);
    assert_eq!(rules.paths.len(), 2);
    assert_eq!(rules.errors, [r#"clusterrole.rbac.authorization.k8s.io "lost" not found"#]);
    assert_eq!(rules.gaps, Vec::<String>::new());
}

#[test]
fn only_what_is_held_is_given() {
    let check = |held: &[&str], given: &[&str], expected: &[&str]| {
        let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect::<Vec<_>>();
        let said = not_held(&user("ana", &["harbor", "x\""]), &rules(held), "", &rules(given));
        let begin = "user \"ana\" (groups=[\"harbor\" \"x\\\"\"]) is attempting to grant RBAC permissions not currently held:\n";
        let expected = (!expected.is_empty()).then(|| format!("{begin}{}", expected.join("\n")));
        assert_eq!(said, expected, "{held:?} {given:?}");
    };
    let all = ["* | * | *", "* | - | *"];
    check(&[], &[], &[]);
    check(&[], &[" | core | pods"], &[]);
    check(&[], &["get | | pods"], &[]);
    check(&all, &["* | * | *", "* | - | *", "get,list | core | pods | a"], &[]);
    check(&["get,list | core | pods"], &["get | core | pods"], &[]);
    check(&["get | core | pods"], &["get | core | pods | a"], &[]);
    check(&["get | core | pods | a,b"], &["get | core | pods | a", "get | core | pods | b"], &[]);
    check(
        &["get | core | pods | a"],
        &["get | core | pods"],
        &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#],
    );
    check(
        &["get | core | pods"],
        &["get,list,watch | core | pods,secrets"],
        &[
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}"#,
        ],
    );
    // A star is more than every word, and needs a star.
    check(
        &["get,list,create | core | pods"],
        &["* | core | pods"],
        &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#],
    );
    check(&["* | core,apps | *"], &["get | * | pods"], &[r#"{APIGroups:["*"], Resources:["pods"], Verbs:["get"]}"#]);
    check(&["get | core | */log"], &["get | core | pods/log"], &[]);
    check(&["get | core | */log"], &["get | core | log"], &[r#"{APIGroups:[""], Resources:["log"], Verbs:["get"]}"#]);
    check(
        &["get | core | pods"],
        &["get | core | pods/log"],
        &[r#"{APIGroups:[""], Resources:["pods/log"], Verbs:["get"]}"#],
    );
    check(
        &["get | core | pods/log"],
        &["get | core | */log"],
        &[r#"{APIGroups:[""], Resources:["*/log"], Verbs:["get"]}"#],
    );
    check(&["get | - | /logs/*"], &["get | - | /logs/a,/logs/b/*"], &[]);
    check(
        &["get | - | /logs/*"],
        &["get | - | *,/logs,/x"],
        &[
            r#"{NonResourceURLs:["*"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/logs"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
        ],
    );
    check(
        &["get | core | secrets | one"],
        &["get | core | secrets | one,two"],
        &[r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["two"], Verbs:["get"]}"#],
    );
    // Two rules of one's own do not add up where each lacks something.
    check(
        &["get | core | pods", "list | apps | pods"],
        &["list | core | pods"],
        &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["list"]}"#],
    );
    assert_eq!(
        full_authority().map(|rule| shown(&rule)),
        [r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#, r#"{NonResourceURLs:["*"], Verbs:["*"]}"#,]
    );
    let said = not_held(&user("ana", &[]), &[], "[a, b]", &[rule("get | - | /x")]).unwrap();
    assert!(said.ends_with("{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}; resolution errors: [[a, b]]"), "{said}");
}

#[test]
fn a_rule_too_wide_to_be_split_is_not_given() {
    let many = |count: usize| (0..count).map(|at| format!("w{at}")).collect::<Vec<_>>();
    let wide = |count: usize| Rule { verbs: many(count), groups: many(count), resources: many(10), ..Rule::default() };
    let held = [rule("* | * | *")];
    let (ana, largest) = (user("ana", &[]), PERMISSIONS_MAX / 1000);
    assert_eq!(not_held(&ana, &held, "", &[wide(largest)]), None);
    let said = not_held(&ana, &held, "", &[wide(largest), rule("get | core | pods")]).unwrap();
    assert!(said.contains("100001 RBAC permissions at once"), "{said}");
    assert!(not_held(&ana, &held, "", &[wide(50_000)]).is_some());
}

/// Somebody who may write roles in one namespace could hold the server up: long roles, held by many bindings, compared with a long role.
#[test]
fn long_roles_are_not_compared_for_long() {
    let many = |begin: &str, count: usize| (0..count).map(|at| format!("{begin}{at}")).collect::<Vec<_>>();
    let ana = user("ana", &[]);
    let named = |names: Vec<String>| Rule { names, ..rule("get | core | secrets") };
    // Names are looked up, however many there are on both sides.
    let (held, given) = (named(many("a", 50_000)), named(many("a", 50_000)));
    assert_eq!(not_held(&ana, std::slice::from_ref(&held), "", std::slice::from_ref(&given)), None);
    assert_eq!(not_held(&ana, &[held.clone(), rule("get | core | secrets")], "", &[named(many("b", 50_000))]), None);
    // What is not held is not all told.
    let said = not_held(&ana, &[held], "", &[named(many("b", 50_000))]).unwrap();
    assert_eq!(said.lines().count(), 1 + UNCOVERED_MAX);
    // There is an end to comparing, and it refuses.
    let wide: Vec<Rule> = many("v", COMPARISONS_MAX / 50_000 + 1)
        .into_iter()
        .map(|group| Rule { groups: vec![group], ..rule("get | - | secrets") })
        .map(|rule| Rule { resources: vec!["secrets".to_owned()], paths: Vec::new(), ..rule })
        .chain([rule("get | core | secrets")])
        .collect();
    let said = not_held(&ana, &wide, "", &[named(many("b", 50_000))]).unwrap();
    assert!(said.ends_with("50000 RBAC permissions, and to compare them with those held takes too long"), "{said}");
}

/// Many bindings to one long role cost no more than one: for a question, for what is held and for what is listed.
#[test]
fn a_long_role_is_looked_at_once() {
    const BINDINGS: usize = 2_000;
    let names: Vec<String> = (0..10_000).map(|at| format!("a{at}")).collect();
    let mut policy = Policy::default();
    policy.change(|change| {
        let long = StoredRole { rules: vec![Rule { names, ..rule("get | core | secrets") }], ..StoredRole::default() };
        change.set_role(Id::new("default", "long"), long);
        for at in 0..BINDINGS {
            let role = RoleRef { kind: RoleKind::Role, name: "long".to_owned() };
            let subjects = vec![Subject::User("ana".to_owned())];
            change.set_binding(Id::new("default", format!("b{at:04}")), Binding { role, subjects });
        }
    });
    let ana = user("ana", &[]);
    assert!(!policy.decide(&asked(&ana, "get default core secrets b")).is_allow());
    assert!(policy.decide(&asked(&ana, "get default core secrets a9999")).is_allow());
    assert_eq!(policy.roles_of(&ana, "default").0.len(), 1);
    let mut rules = Rules::default();
    list(&policy, &ana, "default", &mut rules);
    assert_eq!(rules.resources.len(), 1);
    // Nor does it cost more to say that none of the roles is there any more.
    policy.change(|change| {
        for at in 0..BINDINGS {
            let role = RoleRef { kind: RoleKind::Role, name: format!("lost{at:04}") };
            let subjects = vec![Subject::User("ana".to_owned())];
            change.set_binding(Id::new("default", format!("b{at:04}")), Binding { role, subjects });
        }
    });
    let Verdict::NoOpinion { reason } = policy.decide(&asked(&ana, "get default core secrets a1")) else { panic!() };
    assert!(reason.ends_with("1936 further roles not found]"), "{reason}");
}

#[test]
fn a_denial_is_explained() {
    let policy = harbour();
    let denied = |name: &str, groups: &[&str], question: &str| {
        let user = user(name, groups);
        match explain(&policy, &asked(&user, question)) {
            Explanation::Denied(denied) => denied,
            Explanation::Allowed(by) => panic!("{name} {question} is allowed by {by:?}"),
        }
    };
    let closest = |name: &str, groups: &[&str], question: &str| {
        let found = denied(name, groups, question).closest;
        found.into_iter().map(|close| (close.binding.name, close.lacks)).collect::<Vec<_>>()
    };
    let row = |name: &str, lacks: &[Part]| (name.to_owned(), lacks.to_vec());
    let found = closest("ana", &[], "delete default core pods web");
    assert_eq!(found[..2], [row("c-read", &[Part::Verb]), row("d-read", &[Part::Verb])]);
    let found = closest("ana", &[], "get default core secrets three");
    assert_eq!(found[0], row("x", &[Part::Name]));
    let found = closest("ana", &[], "get other core secrets one");
    assert_eq!(found[0], row("x", &[Part::Namespace]));
    assert!(found.iter().all(|(name, _)| name != "a-all"), "{found:?}");
    assert_eq!(closest("bo", &[], "get /metrics")[0], row("c-read", &[Part::Subject]));
    let said = denied("ana", &[], "list default core secrets");
    assert_eq!(said.enough, [id("everything")]);
    assert_eq!(said.smallest.rule, rule("list | core | secrets"));
    assert_eq!((said.smallest.namespace.as_str(), said.smallest.name.as_str()), ("default", "ana-list-secrets"));
    assert_eq!(said.smallest.subject, Subject::User("ana".to_owned()));
    let said = denied("system:serviceaccount:a:bot", &[], "get - core pods/log web");
    assert_eq!(said.smallest.rule, rule("get | core | pods/log | web"));
    assert_eq!(said.smallest.subject.describe(""), r#"ServiceAccount "bot/a""#);
    assert_eq!((said.smallest.name.as_str(), said.smallest.role_kind()), ("bot-get-pods-log", RoleKind::ClusterRole));
    assert_eq!(said.enough, [id("reader"), id("everything")]);
    let said = denied("lost", &[], "create default core pods web");
    assert_eq!(said.missing.len(), 2);
    assert_eq!(said.smallest.rule, rule("create | core | pods"));
}

/// What is proposed would be enough, and allows nothing else that was asked.
#[test]
fn the_smallest_rule_is_enough() {
    let questions = [
        "get default core pods web",
        "list - core pods",
        "create default core pods/exec web",
        "create default core pods web",
        "deletecollection default apps deployments web",
        "get /metrics",
        "get /",
    ];
    for question in questions {
        for name in ["ana", "system:serviceaccount:default:bot"] {
            let user = user(name, &[]);
            let Explanation::Denied(denied) = explain(&Policy::default(), &asked(&user, question)) else {
                panic!("{question} is allowed by nothing");
            };
            let small = denied.smallest;
            let at = Id::new(small.namespace.as_str(), small.name.as_str());
            let role = RoleRef { kind: small.role_kind(), name: small.name.clone() };
            let mut policy = Policy::default();
            policy.change(|change| {
                change.set_role(at.clone(), StoredRole { rules: vec![small.rule], ..StoredRole::default() });
                change.set_binding(at, Binding { role, subjects: vec![small.subject] });
            });
            // An object that is created has no name when it is asked.
            for other in questions {
                let asked = asked(
                    &user,
                    other
                        .strip_suffix(" web")
                        .filter(|rest| {
                            rest.ends_with("ns") || rest.starts_with("create default core pods") && !rest.contains('/')
                        })
                        .unwrap_or(other),
                );
                let allowed = policy.decide(&asked).is_allow();
                assert_eq!(allowed, other == question, "{name} {question}: {other}");
            }
        }
    }
}

#[test]
fn an_allow_names_all_who_allow() {
    let policy = harbour();
    let ana = user("ana", &[GROUP_AUTHENTICATED]);
    let Explanation::Allowed(by) = explain(&policy, &asked(&ana, "get default core pods web")) else {
        panic!("denied")
    };
    let reasons: Vec<&str> = by.iter().map(|by| by.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            r#"RBAC: allowed by ClusterRoleBinding "c-read" of ClusterRole "reader" to User "ana""#,
            r#"RBAC: allowed by ClusterRoleBinding "d-read" of ClusterRole "reader" to User "ana""#,
        ]
    );
    assert_eq!(by[0].rule, rule("get,list | core | pods,pods/log"));
    let admin = user("admin", &[GROUP_MASTERS]);
    assert!(matches!(explain(&policy, &asked(&admin, "get /x")), Explanation::Allowed(_)));
}
