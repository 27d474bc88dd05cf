#![allow(clippy::unwrap_used)]

use super::*;
use crate::configuration::EXEMPT;

fn names(names: &str) -> Vec<String> {
    names.split(',').map(str::to_owned).collect()
}

/// `verbs|groups|resources|cluster or not|namespaces`
fn resource(rule: &str) -> ResourceRule {
    let parts: Vec<&str> = rule.split('|').collect();
    let namespaces = parts[3].split(',').filter(|scope| !matches!(*scope, "" | "cluster"));
    ResourceRule {
        verbs: names(parts[0]),
        api_groups: names(parts[1]),
        resources: names(parts[2]),
        cluster_scope: parts[3].split(',').any(|scope| scope == "cluster"),
        namespaces: namespaces.map(str::to_owned).collect(),
    }
}

fn level(name: &str) -> Level {
    let overload = Overload::Queue { queues: 64, hand_size: 6, queue_length: 50 };
    let kind = LevelKind::Limited { borrowing_limit_percent: None, overload };
    Level { name: name.to_owned(), uid: format!("uid-{name}"), shares: 10, lendable_percent: 0, kind }
}

fn schema(name: &str, precedence: i32, rules: Vec<PolicyRule>) -> FlowSchema {
    let (uid, level, distinguisher) = (format!("uid-{name}"), "l".to_owned(), Distinguisher::ByNamespace);
    FlowSchema { name: name.to_owned(), uid, precedence, level, distinguisher, rules }
}

fn of_subject(subject: Subject) -> PolicyRule {
    let resource_rules = vec![resource("*|*|*|cluster,*")];
    let non_resource_rules = vec![NonResourceRule { verbs: names("*"), paths: names("*") }];
    PolicyRule { subjects: vec![subject], resource_rules, non_resource_rules }
}

fn user(name: &str) -> Subject {
    Subject::User(name.to_owned())
}

fn account(namespace: &str, name: &str) -> Subject {
    Subject::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() }
}

const POD: Target<'_> = Target::Resource { group: "", resource: "pods", subresource: "", namespace: "a" };

#[test]
fn subjects() {
    let check = |subject: Subject, who: &str, groups: &str, expected: bool| {
        let rule = of_subject(subject.clone());
        let classifier = Classifier::new(vec![level("l")], vec![schema("s", 7, vec![rule])]);
        let groups = names(groups);
        let flow = classifier.classify(&Digest { user: who, groups: &groups, verb: "get", target: POD });
        assert_eq!(flow.schema.name == "s", expected, "{subject:?} {who} {groups:?}");
    };
    check(user("bo"), "bo", "x", true);
    check(user("bo"), "bob", "x", false);
    check(user("bo"), "b", "bo", false);
    check(user("*"), "bo", "x", true);
    check(Subject::Group("harbor".to_owned()), "bo", "x,harbor", true);
    check(Subject::Group("harbor".to_owned()), "harbor", "x", false);
    check(Subject::Group("*".to_owned()), "bo", "x", true);
    check(account("a", "sa"), "system:serviceaccount:a:sa", "x", true);
    check(account("a", "sa"), "system:serviceaccount:a:sab", "x", false);
    check(account("a", "sa"), "system:serviceaccount:b:sa", "x", false);
    check(account("a", "*"), "system:serviceaccount:a:other", "x", true);
    check(account("a", "*"), "system:serviceaccount:ab:other", "x", false);
    check(account("a", "*"), "system:serviceaccount:a", "x", false);
    check(account("a", "*"), "a", "x", false);
    check(user("system:serviceaccount:a:sa"), "system:serviceaccount:a:sa", "x", true);
}

#[test]
fn resources() {
    let check = |rule: &str, target: &str, expected: bool| {
        let rule = PolicyRule {
            subjects: vec![user("*")],
            resource_rules: vec![resource(rule)],
            non_resource_rules: Vec::new(),
        };
        let classifier = Classifier::new(vec![level("l")], vec![schema("s", 7, vec![rule.clone()])]);
        let parts: Vec<&str> = target.split('|').collect();
        let (resource, subresource) = parts[2].split_once('/').unwrap_or((parts[2], ""));
        let target = Target::Resource { group: parts[1], resource, subresource, namespace: parts[3] };
        let flow = classifier.classify(&Digest { user: "bo", groups: &[], verb: parts[0], target });
        assert_eq!(flow.schema.name == "s", expected, "{rule:?} {target:?}");
        assert_eq!(flow.distinguisher, if expected { parts[3] } else { "bo" });
    };
    check("get||pods|a", "get||pods|a", true);
    check("get||pods|a", "list||pods|a", false);
    check("get,list||pods|a", "list||pods|a", true);
    check("get||pods|a", "get|apps|pods|a", false);
    check("*|*|*|*", "watch|apps|scales/x|b", true);
    check("get||pods|a", "get||pods/log|a", false);
    check("get||pods/log|a", "get||pods/log|a", true);
    check("get||pods/log|a", "get||pods|a", false);
    check("get||*/log|a", "get||pods/log|a", false);
    check("get||pods/*|a", "get||pods/log|a", false);
    check("get||*|a", "get||pods/log|a", true);
    check("get||pods|*", "get||pods|b", true);
    check("get||pods|*", "get||pods|", false);
    check("get||pods|cluster", "get||pods|", true);
    check("get||pods|cluster", "get||pods|a", false);
    check("get||pods|cluster,a", "get||pods|a", true);
    check("get||pods|b", "get||pods|a", false);
}

#[test]
fn paths() {
    let check = |verbs: &str, rule: &str, verb: &str, path: &str, expected: bool| {
        let rules = vec![PolicyRule {
            subjects: vec![user("*")],
            resource_rules: Vec::new(),
            non_resource_rules: vec![NonResourceRule { verbs: names(verbs), paths: names(rule) }],
        }];
        let classifier = Classifier::new(vec![level("l")], vec![schema("s", 7, rules)]);
        let digest = Digest { user: "bo", groups: &[], verb, target: Target::Path(path) };
        assert_eq!(classifier.classify(&digest).schema.name == "s", expected, "{verbs} {rule} {verb} {path}");
    };
    check("get", "/healthz", "get", "/healthz", true);
    check("get", "/healthz", "get", "/healthz/", false);
    check("get", "/healthz", "get", "/healthz/ping", false);
    check("get", "/healthz/*", "get", "/healthz/ping", true);
    check("get", "/healthz/*", "get", "/healthz", false);
    check("get", "/hea/*", "get", "/healthz", false);
    check("get", "/hea*", "get", "/healthz", false);
    check("get", "/healthz", "post", "/healthz", false);
    check("*", "*", "options", "/", true);
    check("get", "/a,/b", "get", "/b", true);
}

#[test]
fn the_lowest_precedence_wins_and_then_the_name() {
    let check = |schemas: &[(&str, i32)], expected: &str| {
        let schema = |(name, precedence): &(&str, i32)| schema(name, *precedence, vec![of_subject(user("*"))]);
        let classifier = Classifier::new(vec![level("l")], schemas.iter().map(schema).collect());
        let flow = classifier.classify(&Digest { user: "bo", groups: &[], verb: "get", target: POD });
        assert_eq!(flow.schema.name, expected, "{schemas:?}");
    };
    check(&[("b", 7), ("a", 7)], "a");
    check(&[("b", 6), ("a", 7)], "b");
    check(&[("a", 9), ("b", 8), ("c", 7)], "c");
    check(&[], CATCH_ALL);
    // More than a word of rules.
    let many: Vec<(String, i32)> = (0..200).map(|number| (format!("s{number:03}"), 300 - number)).collect();
    let many: Vec<(&str, i32)> = many.iter().map(|(name, precedence)| (name.as_str(), *precedence)).collect();
    check(&many, "s199");
}

#[test]
fn far_rules_are_found() {
    let rules = |number: usize| vec![of_subject(user(&format!("u{number}")))];
    let schemas = (0..200).map(|number| schema(&format!("s{number:03}"), 5, rules(number))).collect();
    let classifier = Classifier::new(vec![level("l")], schemas);
    for number in [0, 63, 64, 65, 127, 128, 199] {
        let user = format!("u{number}");
        let flow = classifier.classify(&Digest { user: &user, groups: &[], verb: "get", target: POD });
        assert_eq!(flow.schema.name, format!("s{number:03}"));
    }
}

#[test]
fn what_must_hold_holds_whatever_is_stored() {
    let check = |levels: Vec<Level>, schemas: Vec<FlowSchema>| {
        let classifier = Classifier::new(levels, schemas);
        let masters = names("system:masters,system:authenticated");
        let of = |groups: &[String]| {
            classifier.classify(&Digest { user: "bo", groups, verb: "get", target: Target::Path("/x") })
        };
        let exempt = of(&masters);
        assert_eq!((exempt.schema.name.as_str(), &exempt.level.kind), (EXEMPT, &LevelKind::Exempt));
        for groups in [names("system:authenticated"), Vec::new()] {
            let flow = of(&groups);
            let limited = LevelKind::Limited { borrowing_limit_percent: None, overload: Overload::Reject };
            assert_eq!((flow.schema.name.as_str(), &flow.level.kind, flow.level.shares), (CATCH_ALL, &limited, 5));
            assert_eq!(flow.distinguisher, "bo");
        }
        classifier
    };
    check(Vec::new(), Vec::new());
    // A level that is no longer what it must be, and a schema that would let everybody through.
    let open = FlowSchema { level: EXEMPT.to_owned(), ..schema(CATCH_ALL, 1, vec![of_subject(user("*"))]) };
    let classifier =
        check(vec![level(EXEMPT), Level { kind: LevelKind::Exempt, ..level(CATCH_ALL) }], vec![open.clone()]);
    let held = &classifier.configuration().schemas;
    assert_eq!(held.iter().find(|held| held.name == CATCH_ALL).unwrap().uid, "uid-catch-all");
    let closed = FlowSchema { rules: Vec::new(), ..schema(EXEMPT, 9_999, Vec::new()) };
    check(vec![], vec![closed]);
    // A schema whose level is not there matches nothing.
    let dangling = FlowSchema { level: "absent".to_owned(), ..schema("s", 2, vec![of_subject(user("*"))]) };
    check(vec![level("l")], vec![dangling]);
}

#[test]
fn one_request_takes_a_part_of_its_level() {
    let check = |seats: u32, hand_size: u32, expected: u32| {
        let overload = Overload::Queue { queues: 64, hand_size, queue_length: 50 };
        let kind = LevelKind::Limited { borrowing_limit_percent: None, overload };
        let whole = Level { kind, shares: 1_000_000, ..level("l") };
        let classifier = Classifier::new(vec![whole.clone()], Vec::new());
        assert_eq!(classifier.seats_max(&whole, seats), Some(expected), "{seats} {hand_size}");
    };
    check(5, 6, 1);
    check(10, 6, 1);
    check(15, 6, 2);
    check(20, 6, 3);
    check(35, 6, 5);
    check(100, 6, 15);
    check(200, 6, 30);
    check(10, 1, 2);
    check(100, 20, 5);
    let classifier = Classifier::new(Vec::new(), Vec::new());
    assert_eq!(classifier.seats_max(&Level::mandatory_catch_all(), 600), None);
    assert_eq!(classifier.seats_max(&Level::mandatory_exempt(), 600), None);
}

/// As many users as rules, each in one of them: a set for each must not have room for all rules.
#[test]
fn many_rules_take_memory_in_proportion_and_the_last_are_left_out() {
    let rule = |number: usize| of_subject(user(&format!("user-{number}")));
    let schemas = vec![schema("many", 1, (0..RULES_MAX + 10).map(rule).collect()), schema("a", 1, vec![])];
    let classifier = Classifier::new(vec![level("l")], schemas);
    let words: usize = classifier.users.values().map(Vec::capacity).sum();
    assert!(words <= 8 * RULES_MAX, "{words}");
    let check = |who: &str, groups: &str, expected: &str| {
        let groups = names(groups);
        let flow = classifier.classify(&Digest { user: who, groups: &groups, verb: "get", target: POD });
        assert_eq!(flow.schema.name, expected, "{who} {groups:?}");
    };
    check("user-0", "system:authenticated", "many");
    check(&format!("user-{}", RULES_MAX - 1), "system:authenticated", "many");
    check(&format!("user-{RULES_MAX}"), "system:authenticated", CATCH_ALL);
    check("root", "system:masters", EXEMPT);
}
