//! Tables of managed fields: what differs, and who owns it then.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::schema::decode_json::{self, FieldValidation};

const TABLE: &str = include_str!("tests.facts");

fn schema() -> Schema {
    Schema::load([TABLE]).unwrap()
}

fn tree(schema: &Schema, text: &str) -> Tree {
    let ty = schema.by_name("t.Thing").unwrap();
    decode_json::decode(schema, ty, text.as_bytes().to_vec(), FieldValidation::Ignore).unwrap().tree
}

fn set(text: &str) -> PathSet {
    PathSet::read(text).unwrap()
}

#[test]
fn differences() {
    let schema = schema();
    let check = |old: &str, new: &str, changed: &str, removed: &str| {
        let found = compare(&schema, &tree(&schema, old), &tree(&schema, new)).unwrap();
        let found = [&found.changed, &found.removed].map(PathSet::to_json);
        assert_eq!(found, [changed, removed], "{old} {new}");
    };
    check("{}", "{}", "{}", "{}");
    // What is written though nobody set it is no addition.
    check("{}", r#"{"spec":{}}"#, "{}", "{}");
    check("{}", r#"{"spec":{"replicas":3}}"#, r#"{"f:spec":{"f:replicas":{}}}"#, "{}");
    check(r#"{"spec":{"replicas":3}}"#, "{}", "{}", r#"{"f:spec":{"f:replicas":{}}}"#);
    check("{}", r#"{"spec":{"name":"a"}}"#, r#"{"f:spec":{"f:name":{}}}"#, "{}");
    check(r#"{"spec":{"name":"b"}}"#, r#"{"spec":{"name":"b"}}"#, "{}", "{}");
    // Fields stand in the order of their names, whatever that of their declaration is.
    check(
        r#"{"tags":["a"]}"#,
        r#"{"whole":{"a":"1"},"spec":{"replicas":3,"name":"a"},"plain":["x"]}"#,
        r#"{"f:plain":{},"f:spec":{"f:name":{},"f:replicas":{}},"f:whole":{}}"#,
        r#"{"f:tags":{".":{},"v:\"a\"":{}}}"#,
    );
    // A map that was not there is added with its keys.
    check("{}", r#"{"labels":{"b":"1","a":"2"}}"#, r#"{"f:labels":{".":{},"f:a":{},"f:b":{}}}"#, "{}");
    check(
        r#"{"labels":{"a":"1","b":"1"}}"#,
        r#"{"labels":{"b":"2","c":"1"}}"#,
        r#"{"f:labels":{"f:b":{},"f:c":{}}}"#,
        r#"{"f:labels":{"f:a":{}}}"#,
    );
    // Atomic: one value.
    check("{}", r#"{"whole":{"a":"1"}}"#, r#"{"f:whole":{}}"#, "{}");
    check(r#"{"whole":{"a":"1"}}"#, r#"{"whole":{"a":"2"}}"#, r#"{"f:whole":{}}"#, "{}");
    check(r#"{"plain":["a"]}"#, r#"{"plain":["a","b"]}"#, r#"{"f:plain":{}}"#, "{}");
    check("{}", r#"{"ref":{"name":"x"}}"#, r#"{"f:ref":{}}"#, "{}");
    // An empty pointer is a value.
    check("{}", r#"{"empty":{}}"#, r#"{"f:empty":{}}"#, "{}");
    check(r#"{"empty":{}}"#, r#"{"empty":{"kind":"x"}}"#, r#"{"f:empty":{"f:kind":{}}}"#, "{}");
}

/// What is written alike and held in another way is a change where a whole list is compared, and nowhere else.
#[test]
fn what_go_holds_in_another_way() {
    let schema = schema();
    let check = |old: &str, new: &str, changed: &str| {
        let found = compare(&schema, &tree(&schema, old), &tree(&schema, new)).unwrap();
        assert_eq!([found.changed.to_json(), found.removed.to_json()], [changed, "{}"], "{old} {new}");
    };
    let changed = r#"{"f:shares":{}}"#;
    let stored = r#"{"shares":[{"size":"0"}]}"#;
    check(stored, stored, "{}");
    check(stored, r#"{"shares":[{}]}"#, changed);
    check(stored, r#"{"shares":[{"size":0}]}"#, "{}");
    check(r#"{"shares":[{"inner":{"size":"0"}}]}"#, r#"{"shares":[{}]}"#, changed);
    check(r#"{"shares":[{"names":["a"]}]}"#, r#"{"shares":[{"names":["a"],"marks":{}}]}"#, changed);
    check(r#"{"shares":[{}]}"#, r#"{"shares":[{"names":[]}]}"#, changed);
    check(r#"{"shares":[{}]}"#, r#"{"shares":[{}],"plain":[]}"#, "{}");
    // No list around it.
    check(r#"{"share":{"size":"0"}}"#, r#"{"share":{}}"#, "{}");
    check(r#"{"share":{"size":"0"}}"#, r#"{"share":{"names":[]}}"#, "{}");
    check(r#"{"whole_share":{"size":"0"}}"#, r#"{"whole_share":{"names":[]}}"#, "{}");
    // A list inside of one value is compared in the same way.
    check(r#"{"whole_share":{"more":[{"size":"0"}]}}"#, r#"{"whole_share":{"more":[{}]}}"#, r#"{"f:whole_share":{}}"#);
    // Elements with a name of their own are taken apart.
    check(r#"{"keyed":[{"name":"a","size":"0"}]}"#, r#"{"keyed":[{"name":"a"}]}"#, "{}");
}

#[test]
fn differences_in_lists() {
    let schema = schema();
    let check = |old: &str, new: &str, changed: &str, removed: &str| {
        let found = compare(&schema, &tree(&schema, old), &tree(&schema, new)).unwrap();
        let found = [&found.changed, &found.removed].map(PathSet::to_json);
        assert_eq!(found, [changed, removed], "{old} {new}");
    };
    // The list is always written, so it is not added; its elements are. A key that is not given has its default.
    check(
        "{}",
        r#"{"ports":[{"port":80,"name":"x"},{"port":9,"protocol":"UDP"}]}"#,
        concat!(
            r#"{"f:ports":{"k:{\"port\":9,\"protocol\":\"UDP\"}":{".":{},"f:port":{},"f:protocol":{}},"#,
            r#""k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}"#
        ),
        "{}",
    );
    // Order is no difference.
    check(
        r#"{"ports":[{"port":1},{"port":2,"name":"a"}]}"#,
        r#"{"ports":[{"port":2,"name":"b"},{"port":1}]}"#,
        r#"{"f:ports":{"k:{\"port\":2,\"protocol\":\"TCP\"}":{"f:name":{}}}}"#,
        "{}",
    );
    check("{}", r#"{"tags":["b","a"]}"#, r#"{"f:tags":{".":{},"v:\"a\"":{},"v:\"b\"":{}}}"#, "{}");
    check(
        r#"{"tags":["a","b"]}"#,
        r#"{"tags":["c","a"]}"#,
        r#"{"f:tags":{"v:\"c\"":{}}}"#,
        r#"{"f:tags":{"v:\"b\"":{}}}"#,
    );
    // What comes several times is one value together.
    let twice = r#"{"ports":[{"port":1},{"port":1,"name":"b"}]}"#;
    let (element, whole) = (
        r#"{"f:ports":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{}}}"#,
        r#"{"f:ports":{"k:{\"port\":1,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}"#,
    );
    check(r#"{"ports":[{"port":1}]}"#, twice, element, whole);
    check(twice, r#"{"ports":[{"port":1}]}"#, whole, element);
    check(r#"{"tags":["a"]}"#, r#"{"tags":["a","a"]}"#, r#"{"f:tags":{"v:\"a\"":{}}}"#, r#"{"f:tags":{"v:\"a\"":{}}}"#);
    check(r#"{"tags":["a","a"]}"#, r#"{"tags":["a","a"]}"#, "{}", "{}");
    check(r#"{"tags":["a","a"]}"#, r#"{"tags":["a","a","a"]}"#, r#"{"f:tags":{"v:\"a\"":{}}}"#, "{}");
}

#[test]
fn what_has_no_paths() {
    let schema = schema();
    let check = |new: &str, expected: CompareError| {
        let found = compare(&schema, &tree(&schema, "{}"), &tree(&schema, new));
        assert_eq!(found.unwrap_err(), expected, "{new}");
    };
    check(r#"{"named":[{}]}"#, CompareError::NoKey("t.Named".into()));
    check(r#"{"named":[null]}"#, CompareError::MisplacedElement("t.Named".into()));
}

#[test]
fn what_an_object_holds() {
    let schema = schema();
    let check = |text: &str, expected: &str| {
        assert_eq!(fields(&schema, &tree(&schema, text)).unwrap().to_json(), expected, "{text}");
    };
    check("{}", "{}");
    check(r#"{"spec":{"replicas":3,"name":"a"}}"#, r#"{"f:spec":{"f:name":{},"f:replicas":{}}}"#);
    // A struct or a map that is given empty is set; what is in one is set by its own path.
    check(r#"{"spec":{},"empty":{}}"#, r#"{"f:empty":{},"f:spec":{}}"#);
    check(r#"{"labels":{"a":"1"},"whole":{"b":"1"}}"#, r#"{"f:labels":{"f:a":{}},"f:whole":{}}"#);
    check(r#"{"tags":["b","a","b"],"plain":["x"]}"#, r#"{"f:plain":{},"f:tags":{"v:\"a\"":{},"v:\"b\"":{}}}"#);
    check(
        r#"{"ports":[{"port":80,"name":"x"}]}"#,
        r#"{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}}}"#,
    );
    let unnamed = fields(&schema, &tree(&schema, r#"{"named":[{}]}"#));
    assert_eq!(unnamed, Err(CompareError::NoKey("t.Named".into())));
}

fn manager(name: &str) -> Manager {
    Manager::of_update(name, "", "v1", "")
}

fn entry(name: &str, operation: Operation, time: i64, fields: &str) -> Entry {
    Entry { manager: Manager { operation, ..manager(name) }, time: Some(time), fields: set(fields).into() }
}

#[test]
fn names() {
    let check = |given: &str, agent: &str, expected: &str| {
        assert_eq!(Manager::of_update(given, agent, "v1", "").name, expected, "{given} {agent}");
    };
    check("me", "kubectl/v1.36", "me");
    check("", "kubectl/v1.36 (linux)", "kubectl");
    check("", "", "unknown");
    check("", "/x", "unknown");
    check("", "a\u{7}b", "ab");
    check("", &"x".repeat(200), &"x".repeat(128));
}

#[test]
fn owners() {
    use Operation::{Apply, Update};
    let check = |before: &[Entry], [changed, removed]: [&str; 2], ignored: &str, expected: &[Entry]| {
        let comparison = Comparison { changed: set(changed), removed: set(removed) };
        let ignored = Unwritten::from(set(ignored));
        let change = Change { manager: manager("me"), comparison, unwritten: &ignored, now: Some(9) };
        let mut managers = Managers { entries: before.to_vec() };
        managers.update(change, &mut |_| None);
        assert_eq!(managers.entries, expected);
    };
    let (a, ab, b) = (r#"{"f:a":{}}"#, r#"{"f:a":{},"f:b":{}}"#, r#"{"f:b":{}}"#);
    check(&[], [a, "{}"], "{}", &[entry("me", Update, 9, a)]);
    // Nothing changed: nothing moves, the time least of all.
    check(&[entry("me", Update, 1, a)], ["{}", "{}"], "{}", &[entry("me", Update, 1, a)]);
    check(&[entry("me", Update, 1, a)], [b, "{}"], "{}", &[entry("me", Update, 9, ab)]);
    check(&[entry("me", Update, 1, ab)], ["{}", b], "{}", &[entry("me", Update, 1, a)]);
    check(&[entry("me", Update, 1, ab)], [a, b], "{}", &[entry("me", Update, 9, a)]);
    check(&[entry("me", Update, 1, a)], ["{}", a], "{}", &[]);
    // What one owns and changes again, one owns; but not what nobody owns.
    check(&[entry("me", Update, 1, ab)], [b, "{}"], "{}", &[entry("me", Update, 9, ab)]);
    let kind = r#"{"f:a":{},"f:kind":{}}"#;
    check(&[entry("me", Update, 1, kind)], [kind, "{}"], "{}", &[entry("me", Update, 9, a)]);
    // Others lose what was changed and what is gone, appliers too.
    check(
        &[entry("you", Apply, 1, ab), entry("they", Update, 2, a)],
        [a, "{}"],
        "{}",
        &[entry("you", Apply, 1, b), entry("me", Update, 9, a)],
    );
    check(&[entry("you", Update, 1, ab)], ["{}", a], "{}", &[entry("you", Update, 1, b)]);
    // What the door does not write, and what nobody owns.
    check(
        &[entry("you", Update, 1, a)],
        [ab, "{}"],
        r#"{"f:a":{}}"#,
        &[entry("you", Update, 1, a), entry("me", Update, 9, b)],
    );
    check(&[], [r#"{"f:metadata":{".":{},"f:name":{},"f:uid":{}},"f:kind":{}}"#, "{}"], "{}", &[]);
    // Entries of a version that is not served end.
    let old = Entry {
        manager: Manager { api_version: "v0".to_owned(), ..manager("old") },
        time: None,
        fields: set(a).into(),
    };
    check(&[old], [b, "{}"], "{}", &[entry("me", Update, 9, b)]);
}

#[test]
fn the_oldest_updates_are_put_together() {
    let field = |number: i64| format!(r#"{{"f:x{number:02}":{{}}}}"#);
    let mut managers = Managers::default();
    for number in 0..13 {
        let comparison = Comparison { changed: set(&field(number)), ..Comparison::default() };
        let name = format!("m{number:02}");
        let change =
            Change { manager: manager(&name), comparison, unwritten: &Unwritten::default(), now: Some(number) };
        managers.update(change, &mut |_| None);
    }
    assert_eq!(managers.entries.len(), UPDATE_MANAGERS_MAX);
    let bucket = managers.entries.iter().find(|entry| entry.manager.name == OLD_UPDATES_MANAGER).unwrap();
    assert_eq!(*bucket.fields.set(), (0..4).fold(PathSet::default(), |all, number| all.union(&set(&field(number)))));
    assert_eq!(bucket.time, Some(3));
}

#[test]
fn more_updates_than_there_may_be_are_put_together_whoever_sent_them() {
    let sent =
        (0..12).map(|at| entry(&format!("m{at:02}"), Operation::Update, at, &format!(r#"{{"f:x{at:02}":{{}}}}"#)));
    let mut managers = Managers { entries: sent.collect() };
    let nothing = Unwritten::default();
    let change =
        Change { manager: manager("me"), comparison: Comparison::default(), unwritten: &nothing, now: Some(99) };
    managers.update(change, &mut |_| None);
    assert_eq!(managers.entries.len(), UPDATE_MANAGERS_MAX);
}

#[test]
fn identifiers() {
    let check = |name: &str, operation, version: &str, subresource: &str, expected: &str| {
        let manager =
            Manager { name: name.into(), operation, api_version: version.into(), subresource: subresource.into() };
        assert_eq!(manager.identifier(), expected);
    };
    check("a\"<", Operation::Update, "v1", "", r#"{"manager":"a\"\u003c","operation":"Update","apiVersion":"v1"}"#);
    check("a", Operation::Apply, "v1", "status", r#"{"manager":"a","operation":"Apply","subresource":"status"}"#);
    check("", Operation::Update, "v1", "", r#"{"operation":"Update","apiVersion":"v1"}"#);
}
