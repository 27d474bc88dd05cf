//! The fields of a JSON object that an operator wrote, read strictly (upstream: the strict codec of configuration files).
//!
//! A field that nobody takes is a mistake that is reported with its path. An absent field or a null has Go's zero value.

use std::time::Duration;

use portcullis_model::go_text::quoted;
use portcullis_model::time::parse_duration;
use portcullis_model::yaml;
use serde_json::{Map, Value};
use thiserror::Error;

/// Why a text is not an object of the expected shape.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// It is neither JSON nor YAML.
    #[error("{0}")]
    Malformed(String),
    /// Keys that were given twice.
    #[error("{0}")]
    Duplicate(String),
    /// A value of another type.
    #[error("{}expected {expected}", if .path.is_empty() { String::new() } else { format!("{path}: ") })]
    Type {
        /// Where; empty for the whole text.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A duration that cannot be read.
    #[error("{path}: {source}")]
    Duration {
        /// Where.
        path: String,
        /// What is wrong.
        source: portcullis_model::time::DurationError,
    },
    /// Fields that do not exist.
    #[error("strict decoding error: {}", .0.iter().map(|path| format!("unknown field {}", quoted(path))).collect::<Vec<_>>().join(", "))]
    Unknown(Vec<String>),
}

/// An object, less the fields that were taken.
#[derive(Debug)]
pub(super) struct Fields {
    path: String,
    object: Map<String, Value>,
}

impl Fields {
    /// Reads an object from JSON or YAML.
    pub(super) fn parse(text: &[u8]) -> Result<Self, FieldError> {
        let malformed = |error: &dyn std::fmt::Display| FieldError::Malformed(error.to_string());
        let converted = yaml::to_json(text).map_err(|error| malformed(&error))?;
        if let Some(duplicates) = converted.duplicates {
            return Err(FieldError::Duplicate(duplicates));
        }
        let value = serde_json::from_slice(&converted.json).map_err(|error| malformed(&error))?;
        Self::of(value, String::new())
    }

    fn of(value: Value, path: String) -> Result<Self, FieldError> {
        match value {
            Value::Object(object) => Ok(Self { path, object }),
            _ => Err(FieldError::Type { path, expected: "an object" }),
        }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    fn typed<T>(&self, name: &str, found: Option<T>, expected: &'static str) -> Result<Option<T>, FieldError> {
        found.map(Some).ok_or_else(|| FieldError::Type { path: self.path_of(name), expected })
    }

    /// Takes a string, if there is one.
    pub(super) fn optional_string(&mut self, name: &str) -> Result<Option<String>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => self.typed(name, None, "a string"),
        }
    }

    /// Takes a string, empty when there is none.
    pub(super) fn string(&mut self, name: &str) -> Result<String, FieldError> {
        self.optional_string(name).map(Option::unwrap_or_default)
    }

    /// Takes a boolean.
    pub(super) fn bool(&mut self, name: &str) -> Result<Option<bool>, FieldError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => self.typed(name, value.as_bool(), "true or false"),
        }
    }

    /// Takes a duration such as `1m30s`.
    pub(super) fn duration(&mut self, name: &str) -> Result<Nanoseconds, FieldError> {
        let text = self.string(name)?;
        if text.is_empty() {
            return Ok(Nanoseconds(0));
        }
        let read = parse_duration(&text).map(Nanoseconds);
        read.map_err(|source| FieldError::Duration { path: self.path_of(name), source })
    }

    /// Takes an object, if there is one.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, FieldError> {
        let path = self.path_of(name);
        self.take(name).map(|value| Self::of(value, path)).transpose()
    }

    /// Takes a list of objects.
    pub(super) fn objects(&mut self, name: &str) -> Result<Vec<Self>, FieldError> {
        let path = self.path_of(name);
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(at, item)| Self::of(item, format!("{path}[{at}]"))).collect()
            }
            Some(_) => Err(FieldError::Type { path, expected: "a list" }),
        }
    }

    /// Ends the reading; what was not taken is added to the unknown fields.
    pub(super) fn finish(self, unknown: &mut Vec<String>) {
        unknown.extend(self.object.keys().map(|name| self.path_of(name)));
    }
}

/// A duration as Go holds it: it may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nanoseconds(pub(super) i64);

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

    #[test]
    fn what_nobody_takes_is_reported_with_its_path() {
        let mut fields = Fields::parse(b"a: x\nitems:\n- {b: true, c: 1}\n- {d: 2m}\nnone: null\nz: 1\n").unwrap();
        let mut unknown = Vec::new();
        assert_eq!(fields.string("a"), Ok("x".to_owned()));
        assert_eq!((fields.string("none"), fields.bool("absent")), (Ok(String::new()), Ok(None)));
        for mut item in fields.objects("items").unwrap() {
            item.bool("b").unwrap();
            item.duration("d").unwrap();
            item.finish(&mut unknown);
        }
        fields.finish(&mut unknown);
        assert_eq!(
            FieldError::Unknown(unknown).to_string(),
            r#"strict decoding error: unknown field "items[0].c", unknown field "z""#
        );
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        let read = |text: &str| Fields::parse(text.as_bytes()).unwrap();
        let check = |error: FieldError, expected: &str| assert_eq!(error.to_string(), expected);
        check(read(r#"{"a": 1}"#).string("a").unwrap_err(), "a: expected a string");
        check(read(r#"{"a": "yes"}"#).bool("a").unwrap_err(), "a: expected true or false");
        check(read(r#"{"a": {}}"#).objects("a").unwrap_err(), "a: expected a list");
        check(read(r#"{"a": [1]}"#).objects("a").unwrap_err(), "a[0]: expected an object");
        check(read(r#"{"a": []}"#).object("a").unwrap_err(), "a: expected an object");
        check(read(r#"{"a": "5"}"#).duration("a").unwrap_err(), r#"a: time: missing unit in duration "5""#);
        assert_eq!(read("\t{\n\t\t\"a\":\t\"5s\"}").duration("a"), Ok(Nanoseconds(5_000_000_000)));
        for text in ["[]", "a", "{a: 1, a: 2}", "{", ""] {
            Fields::parse(text.as_bytes()).unwrap_err();
        }
    }
}
