//! Events in both views.

#![allow(clippy::unwrap_used)]

use portcullis_model::tree::Tree;

use super::{CORE, EVENTS};
use crate::strategy::Cell;
use crate::testing::{complaints, created, update_complaints};

fn core(fields: &str) -> Tree {
    created(&CORE, "v1", "Event", &format!(r#"{{"metadata":{{"name":"e","namespace":"harbor"}},{fields}}}"#))
}

const NEW: &str = r#""eventTime":"2026-01-01T00:00:00.000000Z","type":"Normal","reason":"Docked","action":"Dock",
    "regarding":{"kind":"Pod","name":"p","namespace":"harbor"},"reportingController":"example.com/pilot","reportingInstance":"pilot-1""#;

/// An event of the newer view, with other fields in place of its own.
fn newer(fields: &str) -> Tree {
    let mut object: serde_json::Value =
        serde_json::from_str(&format!(r#"{{"metadata":{{"name":"e","namespace":"harbor"}},{NEW}}}"#)).unwrap();
    let more: serde_json::Value = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
    created(&EVENTS, "events.k8s.io/v1", "Event", &object.to_string())
}

#[test]
fn an_older_event_is_of_its_namespace_and_no_more() {
    let check = |fields: &str, expected: &[&str]| {
        assert_eq!(complaints(&CORE, &core(fields)), expected, "{fields}");
        assert_eq!(update_complaints(&CORE, &core(fields), &core(r#""reason":"x""#), ""), expected, "{fields}");
    };
    check(r#""involvedObject":{"namespace":"harbor"},"count":-7,"type":"odd""#, &[]);
    check(
        r#""involvedObject":{"namespace":"sea"}"#,
        &[r#"involvedObject.namespace: Invalid value: "sea": does not match event.namespace"#],
    );
    check(r#""reason":"x""#, &[r#"involvedObject.namespace: Invalid value: "": does not match event.namespace"#]);
    // What has a time is of the newer kind, whoever writes it.
    check(
        r#""involvedObject":{"namespace":"sea"},"eventTime":"2026-01-01T00:00:00.000000Z","reportingComponent":"a b""#,
        &[
            "reportingComponent: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "reportingInstance: Required value",
            "action: Required value",
            "reason: Required value",
        ],
    );
}

#[test]
fn a_newer_event_has_all_that_it_needs() {
    let check = |fields: &str, expected: &[&str]| assert_eq!(complaints(&EVENTS, &newer(fields)), expected, "{fields}");
    check("", &[]);
    check(r#""series":{"count":2,"lastObservedTime":"2026-01-01T00:00:00.000000Z"}"#, &[]);
    check(
        r#""series":{"count":1}"#,
        &[r#"series.count: Invalid value: "": should be at least 2"#, "series.lastObservedTime: Required value"],
    );
    check(r#""type":"odd""#, &[r#"type: Invalid value: "": has invalid value: odd"#]);
    check(r#""eventTime":null"#, &["eventTime: Required value"]);
    check(
        r#""deprecatedCount":1,"deprecatedSource":{"host":"h"},"deprecatedFirstTimestamp":"2026-01-01T00:00:00Z","deprecatedLastTimestamp":"2026-01-01T00:00:00Z""#,
        &[
            r#"firstTimestamp: Invalid value: "": needs to be unset"#,
            r#"lastTimestamp: Invalid value: "": needs to be unset"#,
            r#"count: Invalid value: "": needs to be unset"#,
            r#"source: Invalid value: "": needs to be unset"#,
        ],
    );
    let long = |field: &str, len: usize| newer(&format!(r#""{field}":"{}""#, "x".repeat(len)));
    for (field, path, most) in [("note", "message", 1024), ("action", "action", 128), ("reason", "reason", 128)] {
        assert_eq!(complaints(&EVENTS, &long(field, most)), [""; 0]);
        let why = format!(r#"{path}: Invalid value: "": can have at most {most} characters"#);
        assert_eq!(complaints(&EVENTS, &long(field, most + 1)), [why]);
    }
}

#[test]
fn only_the_series_of_a_newer_event_goes_on() {
    let check = |new: &str, old: &str, expected: &[&str]| {
        assert_eq!(update_complaints(&EVENTS, &newer(new), &newer(old), ""), expected, "{new}");
    };
    let series = r#""series":{"count":7,"lastObservedTime":"2026-01-01T00:00:09.000000Z"}"#;
    check(series, "", &[]);
    check("", series, &[]);
    // A series that is stored is not looked at again.
    check(r#""series":{"count":1}"#, r#""series":{"count":1}"#, &[]);
    check(r#""note":"n""#, "", &[r#"message: Invalid value: "n": field is immutable"#]);
    let twice = r#"reason: Invalid value: "R": field is immutable"#;
    check(r#""reason":"R""#, "", &[twice, twice]);
    check(r#""type":"Warning""#, "", &[r#"type: Invalid value: "Warning": field is immutable"#]);
}

#[test]
fn a_table_shows_when_what_who() {
    let now = 1_767_225_600 + 60;
    let check = |tree: &Tree, column: &str, expected: Cell| {
        assert_eq!((EVENTS.cell)(tree, column, now), Some(expected), "{column}");
    };
    let text = |text: &str| Cell::Text(text.to_owned());
    let event = newer(r#""note":" in the dock \n""#);
    check(&event, "Last Seen", Cell::Duration(60));
    check(&event, "First Seen", Cell::Duration(60));
    check(&event, "Count", Cell::Int(1));
    check(&event, "Object", text("pod/p"));
    check(&event, "Source", text("example.com/pilot, pilot-1"));
    check(&event, "Message", text("in the dock"));
    let older = core(
        r#""involvedObject":{"kind":"Node"},"count":4,"source":{"component":"kubelet"},"lastTimestamp":"2026-01-01T00:00:30Z""#,
    );
    let older = |column: &str| (CORE.cell)(&older, column, now);
    assert_eq!(older("Last Seen"), Some(Cell::Duration(30)));
    assert_eq!(older("First Seen"), Some(text("<unknown>")));
    assert_eq!(older("Count"), Some(Cell::Int(4)));
    assert_eq!(older("Object"), Some(text("node")));
    assert_eq!(older("Source"), Some(text("kubelet")));
}
