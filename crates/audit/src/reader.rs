//! Reads events back: a log of `audit.k8s.io/v1` events, one JSON text a line, as this server and upstream's file backend write it; a
//! batch as webhooks get it (`EventList`); either compressed with gzip, as rotated files are.
//!
//! One line is held at a time. What cannot be read is named with its line and passed over, so that one bad line hides nothing behind it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::vec;

use flate2::bufread::MultiGzDecoder;
use serde_json::{Map, Value};
use thiserror::Error;

/// Longest line that is read, in bytes: an event with two objects of the size that a request may have.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// Longest document of several lines, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 32 << 20;
/// Bytes that are asked for at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What a gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The group of events.
const GROUP: &str = "audit.k8s.io/";

/// A user, as an event names one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventUser {
    /// The name.
    pub name: String,
    /// The unique id, or empty.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// Further facts.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The resource that an event is about (upstream: `ObjectReference`). Absent parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventObject {
    /// The API group.
    pub group: String,
    /// The API version.
    pub version: String,
    /// The resource, plural.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name, which an answer may have told.
    pub name: String,
}

/// An event that was read. Recorded objects are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadEvent {
    /// The stage, `ResponseComplete` for instance.
    pub stage: String,
    /// Path and query as they were sent.
    pub uri: String,
    /// The verb of the resource, or the method in lower case.
    pub verb: String,
    /// Who sent the request.
    pub user: EventUser,
    /// As whom it acted.
    pub impersonated: Option<EventUser>,
    /// The constraint under which it did, `impersonate:user-info` for instance; empty without one.
    pub constraint: String,
    /// What it was about; nothing for a path that is no resource.
    pub object: Option<EventObject>,
    /// The status of the answer; 0 before there is one.
    pub code: u16,
    /// When the request came, as RFC 3339 with microseconds.
    pub received: String,
    /// What has no field of its own.
    pub annotations: BTreeMap<String, String>,
}

/// What comes next in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An event.
    Event(Box<ReadEvent>),
    /// A line that is no event.
    Broken {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        fault: LineFault,
    },
}

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineFault {
    /// It is no JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// It is JSON of something else.
    #[error("neither an event nor a list of events of audit.k8s.io")]
    NoEvent,
    /// It exceeds a limit of this module.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// It could not be read, and nothing behind it.
    #[error("cannot be read, nor what follows: {0}")]
    Unreadable(String),
}

/// A log that is read from its beginning.
pub struct EventReader<R> {
    input: R,
    line: u64,
    text: Vec<u8>,
    /// The rest of a list that was read.
    waiting: vec::IntoIter<Value>,
    ended: bool,
}

/// Opens a log, compressed or not.
///
/// # Errors
/// The file cannot be opened or read.
pub fn open(path: &Path) -> io::Result<EventReader<Box<dyn BufRead>>> {
    EventReader::new(Box::new(File::open(path)?))
}

impl EventReader<Box<dyn BufRead>> {
    /// Reads a log, compressed or not.
    ///
    /// # Errors
    /// The first bytes cannot be read.
    pub fn new(input: Box<dyn io::Read>) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(CHUNK_BYTES, input);
        let is_compressed = input.fill_buf()?.starts_with(&GZIP);
        let input: Box<dyn BufRead> = if is_compressed {
            Box::new(BufReader::with_capacity(CHUNK_BYTES, MultiGzDecoder::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Self { input, line: 0, text: Vec::new(), waiting: Vec::new().into_iter(), ended: false })
    }
}

/// How a line ended.
enum LineEnd {
    Whole,
    TooLong,
    NoMore,
}

impl<R: BufRead> Iterator for EventReader<R> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(event) = self.waiting.next() {
                return Some(self.event(event));
            }
            if self.ended {
                return None;
            }
            self.line += 1;
            match self.read_line(LINE_BYTES_MAX) {
                Ok(LineEnd::NoMore) => self.ended = true,
                Ok(LineEnd::TooLong) => return Some(self.broken(LineFault::TooLong(LINE_BYTES_MAX))),
                Ok(LineEnd::Whole) if self.text.trim_ascii().is_empty() => {}
                Ok(LineEnd::Whole) => {
                    if let Some(found) = self.line() {
                        return Some(found);
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(self.broken(LineFault::Unreadable(error.to_string())));
                }
            }
        }
    }
}

impl<R: BufRead> EventReader<R> {
    fn broken(&self, fault: LineFault) -> Found {
        Found::Broken { line: self.line, fault }
    }

    /// Reads a line into `text`, or passes over one that is too long.
    fn read_line(&mut self, bytes_max: usize) -> io::Result<LineEnd> {
        self.text.clear();
        self.text.shrink_to(CHUNK_BYTES);
        let (mut any, mut is_too_long) = (false, false);
        loop {
            let held = match self.input.fill_buf() {
                Ok(held) => held,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if held.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', held);
            let part = held.get(..end.unwrap_or(held.len())).unwrap_or_default();
            is_too_long |= self.text.len() + part.len() > bytes_max;
            if !is_too_long {
                self.text.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        Ok(match (any, is_too_long) {
            (false, _) => LineEnd::NoMore,
            (true, true) => LineEnd::TooLong,
            (true, false) => LineEnd::Whole,
        })
    }

    /// What the line in `text` says; nothing when it began a list, whose events wait now.
    fn line(&mut self) -> Option<Found> {
        // A file that somebody made readable is one document of many lines.
        if self.line == 1 && self.text.trim_ascii() == b"{" {
            return self.document();
        }
        self.value(serde_json::from_slice(&self.text))
    }

    fn document(&mut self) -> Option<Found> {
        let mut rest = Vec::new();
        self.ended = true;
        let mut limited = io::Read::take(&mut self.input, DOCUMENT_BYTES_MAX as u64 + 1);
        if let Err(error) = io::Read::read_to_end(&mut limited, &mut rest) {
            return Some(self.broken(LineFault::Unreadable(error.to_string())));
        }
        if rest.len() > DOCUMENT_BYTES_MAX {
            return Some(self.broken(LineFault::TooLong(DOCUMENT_BYTES_MAX)));
        }
        self.text.append(&mut rest);
        self.value(serde_json::from_slice(&self.text))
    }

    fn value(&mut self, value: serde_json::Result<Value>) -> Option<Found> {
        let mut value = match value {
            Ok(value) => value,
            Err(error) => return Some(self.broken(LineFault::NotJson(error.to_string()))),
        };
        if value.get("kind").and_then(Value::as_str) != Some("EventList") {
            return Some(self.event(value));
        }
        if !is_ours(&value) {
            return Some(self.broken(LineFault::NoEvent));
        }
        match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => self.waiting = items.into_iter(),
            None | Some(Value::Null) => {}
            Some(_) => return Some(self.broken(LineFault::NoEvent)),
        }
        None
    }

    fn event(&self, value: Value) -> Found {
        let is_event = value.get("kind").is_none_or(|kind| kind == "Event")
            && (value.get("apiVersion").is_none() || is_ours(&value))
            && ["stage", "verb", "requestURI"].iter().all(|field| value.get(field).is_some_and(Value::is_string));
        match value {
            Value::Object(event) if is_event => Found::Event(Box::new(read(&event))),
            _ => self.broken(LineFault::NoEvent),
        }
    }
}

fn is_ours(value: &Value) -> bool {
    value.get("apiVersion").and_then(Value::as_str).is_some_and(|version| version.starts_with(GROUP))
}

fn read(event: &Map<String, Value>) -> ReadEvent {
    let object = |value: &Value| EventObject {
        group: text(value, "apiGroup"),
        version: text(value, "apiVersion"),
        resource: text(value, "resource"),
        subresource: text(value, "subresource"),
        namespace: text(value, "namespace"),
        name: text(value, "name"),
    };
    let field = |name: &str| event.get(name).filter(|value| !value.is_null()).unwrap_or(&Value::Null);
    let whole = |name: &str| field(name).as_str().unwrap_or_default().to_owned();
    let code = field("responseStatus").get("code").and_then(Value::as_u64);
    ReadEvent {
        stage: whole("stage"),
        uri: whole("requestURI"),
        verb: whole("verb"),
        user: user(field("user")),
        impersonated: Some(field("impersonatedUser")).filter(|value| value.is_object()).map(user),
        constraint: text(field("authenticationMetadata"), "impersonationConstraint"),
        object: Some(field("objectRef")).filter(|value| value.is_object()).map(object),
        code: code.and_then(|code| u16::try_from(code).ok()).unwrap_or_default(),
        received: whole("requestReceivedTimestamp"),
        annotations: entries(field("annotations"), |value| value.as_str().unwrap_or_default().to_owned()),
    }
}

fn user(value: &Value) -> EventUser {
    EventUser {
        name: text(value, "username"),
        uid: text(value, "uid"),
        groups: strings(value.get("groups").unwrap_or(&Value::Null)),
        extra: entries(value.get("extra").unwrap_or(&Value::Null), strings),
    }
}

fn text(value: &Value, field: &str) -> String {
    value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn entries<T>(value: &Value, read: impl Fn(&Value) -> T) -> BTreeMap<String, T> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), read(value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;

    fn found(log: impl Into<Vec<u8>>) -> Vec<Found> {
        EventReader::new(Box::new(io::Cursor::new(log.into()))).unwrap().collect()
    }

    /// Each event as its verb and each broken line as its number and fault.
    fn told(log: impl Into<Vec<u8>>) -> Vec<String> {
        let tell = |found| match found {
            Found::Event(event) => event.verb,
            Found::Broken { line, fault } => format!("{line}: {fault}"),
        };
        found(log).into_iter().map(tell).collect()
    }

    fn event(verb: &str) -> String {
        format!(
            r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","requestURI":"/","verb":"{verb}"}}"#
        )
    }

    #[test]
    fn every_form_of_a_log_is_read() {
        let check = |log: Vec<u8>, expected: &[&str]| {
            assert_eq!(told(log.clone()), expected, "{}", String::from_utf8_lossy(&log));
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&log).unwrap();
            assert_eq!(told(encoder.finish().unwrap()), expected, "compressed");
        };
        let (get, list) = (event("get"), event("list"));
        check(Vec::new(), &[]);
        check(format!("{get}\n{list}\n").into(), &["get", "list"]);
        check(format!("{get}\r\n\n{list}").into(), &["get", "list"]);
        check(
            format!("{get}\n{}", list.get(..40).unwrap()).into(),
            &["get", "2: not JSON: EOF while parsing a string at line 1 column 40"],
        );
        let batch = format!(r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[{get},{list}, 7]}}"#);
        let no_event = "neither an event nor a list of events of audit.k8s.io";
        check(format!("{batch}\n{get}\n").into(), &["get", "list", &format!("1: {no_event}"), "get"]);
        let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&batch).unwrap()).unwrap();
        check(pretty.into(), &["get", "list", &format!("1: {no_event}")]);
        check(
            b"{\"kind\":\"EventList\",\"apiVersion\":\"v1\",\"items\":[]}\n[]\n{}".into(),
            &[&format!("1: {no_event}"), &format!("2: {no_event}"), &format!("3: {no_event}")],
        );
    }

    #[test]
    fn a_bad_line_hides_nothing_behind_it() {
        let mut log = vec![b'x'; LINE_BYTES_MAX + 1];
        log.extend_from_slice(format!("\n{}\nnonsense\n{}\n", event("get"), event("list")).as_bytes());
        assert_eq!(
            told(log),
            ["1: longer than 16777216 bytes", "get", "3: not JSON: expected ident at line 1 column 2", "list"]
        );
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(format!("{}\n{}\n", event("get"), event("list")).as_bytes()).unwrap();
        let mut cut = encoder.finish().unwrap();
        cut.truncate(cut.len() - 4);
        let told = told(cut);
        assert_eq!((told.len(), told.last().unwrap().contains("cannot be read")), (3, true), "{told:?}");
    }

    #[test]
    fn an_event_is_read_without_its_objects() {
        let line = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Request","auditID":"1","stage":"ResponseComplete",
            "requestURI":"/api/v1/namespaces/a/pods/b/log?follow=true","verb":"get",
            "user":{"username":"ana","uid":"7","groups":["g"],"extra":{"k/l":["v"]}},
            "impersonatedUser":{"username":"bo"},"authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"},
            "objectRef":{"resource":"pods","namespace":"a","name":"b","apiVersion":"v1","subresource":"log"},
            "responseStatus":{"metadata":{},"code":200},"requestObject":{"a":[1,2]},
            "requestReceivedTimestamp":"2026-01-02T03:04:05.000006Z","annotations":{"authorization.k8s.io/decision":"allow"}}"#;
        let text = |text: &str| text.to_owned();
        let expected = ReadEvent {
            stage: text("ResponseComplete"),
            uri: text("/api/v1/namespaces/a/pods/b/log?follow=true"),
            verb: text("get"),
            user: EventUser {
                name: text("ana"),
                uid: text("7"),
                groups: vec![text("g")],
                extra: BTreeMap::from([(text("k/l"), vec![text("v")])]),
            },
            impersonated: Some(EventUser { name: text("bo"), ..EventUser::default() }),
            constraint: text("impersonate:user-info"),
            object: Some(EventObject {
                version: text("v1"),
                resource: text("pods"),
                subresource: text("log"),
                namespace: text("a"),
                name: text("b"),
                ..EventObject::default()
            }),
            code: 200,
            received: text("2026-01-02T03:04:05.000006Z"),
            annotations: BTreeMap::from([(text("authorization.k8s.io/decision"), text("allow"))]),
        };
        assert_eq!(found(line.replace('\n', "")), [Found::Event(Box::new(expected))]);
    }
}
