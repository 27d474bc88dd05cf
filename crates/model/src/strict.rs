//! Files that an operator wrote, read strictly (upstream: the strict codec of configuration files).
//!
//! A field that nobody takes is a fault, and so are a key that is there twice and a value of another type than its field's. All
//! faults are collected, each with the path of its field. An absent field or a null has Go's zero value.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::go_text::quoted;
use crate::time::parse_duration;
use crate::yaml;

/// Faults that are reported: one broken list must not fill a log.
const FAULTS_MAX: usize = 32;

/// Why a text is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StrictError {
    /// It is neither JSON nor YAML.
    #[error("{0}")]
    Malformed(String),
    /// It is a list or a single value.
    #[error("expected an object")]
    NoObject,
    /// It is something else.
    #[error("no kind {} is registered for version {}: use {expected}", quoted(.kind), quoted(.version))]
    Kind {
        /// `kind` as given.
        kind: String,
        /// `apiVersion` as given.
        version: String,
        /// What it should be.
        expected: String,
    },
    /// It has fields that do not exist, twice the same, or of the wrong type.
    #[error("strict decoding error: {}", .0.join(", "))]
    Faults(Vec<String>),
}

/// A text that is an object of some kind.
pub struct Document {
    version: String,
    kind: String,
    members: Map<String, Value>,
    faults: Vec<String>,
}

impl Document {
    /// Reads JSON or YAML, up to its kind.
    ///
    /// # Errors
    /// The text is neither, or no object.
    pub fn parse(text: &[u8]) -> Result<Self, StrictError> {
        let malformed = |error: &dyn std::fmt::Display| StrictError::Malformed(error.to_string());
        let converted = yaml::to_json(text).map_err(|error| malformed(&error))?;
        // Some of these files hold keys.
        let json = Zeroizing::new(converted.json);
        let value = serde_json::from_slice(&json).map_err(|error| malformed(&error))?;
        Self::new(value, converted.duplicates.into_iter().collect())
    }

    /// Takes an object that was part of another document.
    ///
    /// # Errors
    /// It is no object.
    pub fn of(value: Value) -> Result<Self, StrictError> {
        Self::new(value, Vec::new())
    }

    fn new(value: Value, mut faults: Vec<String>) -> Result<Self, StrictError> {
        let Value::Object(members) = value else { return Err(StrictError::NoObject) };
        let mut fields = Fields { path: String::new(), members, faults: &mut faults };
        let (version, kind) = (fields.string("apiVersion"), fields.string("kind"));
        Ok(Self { version, kind, members: fields.members, faults })
    }

    /// Returns `apiVersion` and `kind`.
    pub fn version_and_kind(&self) -> (&str, &str) {
        (&self.version, &self.kind)
    }

    /// Whether it has this field.
    pub fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Refuses another kind than this one, in one of the versions of its group; the first is the one to use.
    ///
    /// # Errors
    /// It is another.
    pub fn expect(&self, group: &str, versions: &[&str], kind: &str) -> Result<(), StrictError> {
        let given = self.version.split_once('/');
        if self.kind == kind && given.is_some_and(|(of, version)| of == group && versions.contains(&version)) {
            return Ok(());
        }
        let newest = versions.first().copied().unwrap_or_default();
        Err(self.of_another_kind(format!("{kind} of {group}/{newest}")))
    }

    /// Says that it should be something else.
    pub fn of_another_kind(&self, expected: String) -> StrictError {
        StrictError::Kind { kind: self.kind.clone(), version: self.version.clone(), expected }
    }

    /// Reads the rest of it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read<T>(mut self, read: impl FnOnce(&mut Fields<'_>) -> T) -> Result<T, StrictError> {
        let read = Fields::read(String::new(), self.members, &mut self.faults, read);
        if self.faults.is_empty() { Ok(read) } else { Err(StrictError::Faults(self.faults)) }
    }
}

/// An object, less the fields that were taken. What can not be taken is a fault of the document, and has its zero value.
pub struct Fields<'f> {
    path: String,
    members: Map<String, Value>,
    faults: &'f mut Vec<String>,
}

impl Fields<'_> {
    /// Reads an object; what was not taken then does not exist.
    fn read<T>(
        path: String,
        members: Map<String, Value>,
        faults: &mut Vec<String>,
        read: impl FnOnce(&mut Fields<'_>) -> T,
    ) -> T {
        let mut fields = Fields { path, members, faults };
        let read = read(&mut fields);
        for name in std::mem::take(&mut fields.members).keys() {
            let path = fields.path_of(name);
            fields.fault(format!("unknown field {}", quoted(&path)));
        }
        read
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// Whether there is anything to take.
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| !value.is_null())
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Takes whatever there is: a field that exists, and that nobody reads.
    pub fn ignore(&mut self, name: &str) {
        self.take(name);
    }

    /// Takes whatever there is, to be read elsewhere.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.take(name)
    }

    /// Takes a string, if there is one.
    pub fn optional_string(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        self.text(&self.path_of(name), value)
    }

    /// Takes a string, empty when there is none.
    pub fn string(&mut self, name: &str) -> String {
        self.optional_string(name).unwrap_or_default()
    }

    fn text(&mut self, path: &str, value: Value) -> Option<String> {
        let Value::String(text) = value else {
            self.fault(format!("{path}: expected a string"));
            return None;
        };
        Some(text)
    }

    /// Takes a boolean, if there is one.
    pub fn bool(&mut self, name: &str) -> Option<bool> {
        let found = self.take(name)?.as_bool();
        if found.is_none() {
            self.fault(format!("{}: expected true or false", self.path_of(name)));
        }
        found
    }

    /// Takes a whole number, if there is one.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        let found = self.take(name)?.as_i64();
        if found.is_none() {
            self.fault(format!("{}: expected a whole number", self.path_of(name)));
        }
        found
    }

    /// Takes an object whose values are strings, sorted by key; empty when there is none.
    pub fn string_map(&mut self, name: &str) -> BTreeMap<String, String> {
        let path = self.path_of(name);
        let members = match self.take(name) {
            None => return BTreeMap::new(),
            Some(Value::Object(members)) => members,
            Some(_) => {
                self.fault(format!("{path}: expected an object"));
                return BTreeMap::new();
            }
        };
        let texts = members.into_iter().filter_map(|(key, value)| {
            let text = self.text(&format!("{path}[{}]", quoted(&key)), value)?;
            Some((key, text))
        });
        texts.collect()
    }

    /// Takes a duration such as `1m30s`.
    pub fn duration(&mut self, name: &str) -> Nanoseconds {
        let text = self.string(name);
        if text.is_empty() {
            return Nanoseconds(0);
        }
        Nanoseconds(parse_duration(&text).unwrap_or_else(|error| {
            self.fault(format!("{}: {error}", self.path_of(name)));
            0
        }))
    }

    /// Takes an object, if there is one.
    pub fn object<T>(&mut self, name: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Option<T> {
        let value = self.take(name)?;
        self.object_at(self.path_of(name), value, read)
    }

    fn object_at<T>(&mut self, path: String, value: Value, read: impl FnOnce(&mut Fields<'_>) -> T) -> Option<T> {
        let Value::Object(members) = value else {
            self.fault(format!("{path}: expected an object"));
            return None;
        };
        Some(Fields::read(path, members, self.faults, read))
    }

    /// Takes a list, its items with their paths.
    fn list(&mut self, name: &str) -> Vec<(String, Value)> {
        let path = self.path_of(name);
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)).collect()
            }
            Some(_) => {
                self.fault(format!("{path}: expected a list"));
                Vec::new()
            }
        }
    }

    /// Takes a list of objects.
    pub fn objects<T>(&mut self, name: &str, mut read: impl FnMut(&mut Fields<'_>) -> T) -> Vec<T> {
        let items = self.list(name);
        items.into_iter().filter_map(|(path, item)| self.object_at(path, item, &mut read)).collect()
    }

    /// Takes a list of strings.
    pub fn strings(&mut self, name: &str) -> Vec<String> {
        let items = self.list(name);
        items.into_iter().filter_map(|(path, item)| self.text(&path, item)).collect()
    }
}

/// A duration as Go holds it: it may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nanoseconds(
    /// How many.
    pub i64,
);

impl From<Nanoseconds> for Duration {
    /// Turns it into a span; what is below zero is none.
    fn from(Nanoseconds(nanos): Nanoseconds) -> Self {
        Self::from_nanos(u64::try_from(nanos).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read<T>(text: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> Result<T, StrictError> {
        Document::parse(text.as_bytes())?.read(read)
    }

    #[test]
    fn what_is_there_is_taken_and_what_is_not_is_zero() {
        let text = "a: x\nitems:\n- {b: true}\n- {d: 2m}\n- null\nnone: null\nnames: [a, b]\nin: {c: 5s}\nsize: -3\nmap: {a: b}\n";
        let check = |text: &str| {
            let taken = read(text, |fields| {
                assert_eq!((fields.string("a"), fields.strings("names").join(" ")), ("x".to_owned(), "a b".to_owned()));
                assert_eq!((fields.integer("size"), fields.integer("none")), (Some(-3), None));
                assert_eq!(fields.string_map("map").into_iter().next(), Some(("a".to_owned(), "b".to_owned())));
                assert_eq!((fields.string("none"), fields.bool("absent")), (String::new(), None));
                assert_eq!(fields.object("in", |inner| inner.duration("c")), Some(Nanoseconds(5_000_000_000)));
                assert_eq!((fields.object("in", |_| ()), fields.strings("in").len()), (None, 0));
                fields.objects("items", |item| (item.bool("b"), item.duration("d").0 / 1_000_000_000))
            });
            assert_eq!(taken, Err(StrictError::Faults(vec!["items[2]: expected an object".to_owned()])), "{text}");
        };
        check(text);
        check(
            r#"{"a":"x","items":[{"b":true},{"d":"2m"},null],"names":["a","b"],"in":{"c":"5s"},"size":-3,"map":{"a":"b"}}"#,
        );
    }

    #[test]
    fn all_faults_are_named_with_their_paths() {
        let text = "a: 1\na: 2\nsize: x\nmap: {a: b, c: 1}\nitems:\n- {b: 'yes', c: 1}\n- {d: '5'}\n- x\nnames: [1]\nin: []\nlist: {}\nz: 1\n";
        let error = read(text, |fields| {
            fields.string("a");
            fields.integer("size");
            fields.string_map("map");
            fields.objects("items", |item| (item.bool("b"), item.duration("d")));
            fields.strings("names");
            fields.object("in", |_| ());
            fields.strings("list");
        });
        let Err(StrictError::Faults(faults)) = error else { panic!("{error:?}") };
        let (duplicate, faults) = faults.split_first().unwrap();
        assert!(duplicate.contains(r#"key "a" already set in map"#), "{duplicate}");
        let expected = [
            "a: expected a string",
            "size: expected a whole number",
            r#"map["c"]: expected a string"#,
            "items[0].b: expected true or false",
            r#"unknown field "items[0].c""#,
            r#"items[1].d: time: missing unit in duration "5""#,
            "items[2]: expected an object",
            "names[0]: expected a string",
            "in: expected an object",
            "list: expected a list",
            r#"unknown field "z""#,
        ];
        assert_eq!(faults, expected);
        let message = StrictError::Faults(vec!["one".to_owned(), "two".to_owned()]).to_string();
        assert_eq!(message, "strict decoding error: one, two");
    }

    #[test]
    fn faults_are_few() {
        let text: String = (0..100).map(|at| format!("f{at}: 1\n")).collect();
        let Err(StrictError::Faults(faults)) = read(&text, |_| ()) else { panic!("taken") };
        assert_eq!(faults.len(), FAULTS_MAX);
    }

    #[test]
    fn a_document_has_a_kind() {
        let check = |text: &str, expected: Result<(), &str>| {
            let document = Document::parse(text.as_bytes()).unwrap();
            let got = document.expect("g.io", &["v1", "v1beta1"], "Thing").map_err(|error| error.to_string());
            assert_eq!(got, expected.map_err(str::to_owned), "{text}");
        };
        check("apiVersion: g.io/v1\nkind: Thing", Ok(()));
        check("apiVersion: g.io/v1beta1\nkind: Thing", Ok(()));
        check(
            "apiVersion: g.io/v2\nkind: Thing",
            Err(r#"no kind "Thing" is registered for version "g.io/v2": use Thing of g.io/v1"#),
        );
        check("kind: Other", Err(r#"no kind "Other" is registered for version "": use Thing of g.io/v1"#));
        for text in ["[]", "a", "", "1"] {
            assert_eq!(Document::parse(text.as_bytes()).err(), Some(StrictError::NoObject), "{text}");
        }
        assert!(matches!(Document::parse(b"{"), Err(StrictError::Malformed(_))));
    }
}
