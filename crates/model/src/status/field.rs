//! One complaint about one field, in the words of upstream's `field.Error`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use super::StatusCause;
use crate::go_text::{push_quoted, quoted};
use crate::number::float_text;

/// What is wrong with a field; the machine-readable half of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldReason {
    /// A reference to something that does not exist.
    NotFound,
    /// Absent or empty where a value is needed.
    Required,
    /// Present twice where once is the limit.
    Duplicate,
    /// Malformed or out of range.
    Invalid,
    /// Not one of the known values.
    NotSupported,
    /// May not be set here, or not changed.
    Forbidden,
    /// Longer than allowed, in bytes.
    TooLong,
    /// More items than allowed.
    TooMany,
    /// The check itself failed.
    Internal,
    /// Of the wrong JSON type.
    TypeInvalid,
}

impl FieldReason {
    /// Returns the reason as it stands in a cause.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    /// Returns the words that open a message.
    #[must_use]
    pub fn opening(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    /// Says whether the offending value stands in the message.
    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }
}

/// The value that was refused, in the form that decides how it is printed.
#[derive(Clone, Debug, PartialEq)]
pub enum BadValue {
    /// Not printed at all (rules of custom resources).
    Omitted,
    /// Absent; printed `null`.
    Null,
    /// Printed `true` or `false`.
    Bool(bool),
    /// Printed in decimal.
    Int(i64),
    /// Printed as Go's `%v`.
    Float(f64),
    /// Printed in double quotes with Go's escapes.
    Text(String),
    /// A list or object, already JSON; printed as it is.
    Json(String),
}

impl fmt::Display for BadValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Omitted => Ok(()),
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Float(value) => out.write_str(&float_text(*value)),
            Self::Text(value) => out.write_str(&quoted(value)),
            Self::Json(value) => out.write_str(value),
        }
    }
}

impl From<&str> for BadValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for BadValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for BadValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for BadValue {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<f64> for BadValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for BadValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// One complaint about one field (upstream: `field.Error`). Displays as `path: message`.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// What is wrong.
    pub reason: FieldReason,
    /// Path of the field, `spec.containers[0].name`; `<nil>` when the object as a whole is meant.
    pub field: String,
    /// The refused value.
    pub bad_value: BadValue,
    /// The words after the value; may be empty.
    pub detail: Cow<'static, str>,
}

impl FieldError {
    /// Makes an error from its parts.
    pub fn new(
        reason: FieldReason,
        field: impl Into<String>,
        bad_value: impl Into<BadValue>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { reason, field: field.into(), bad_value: bad_value.into(), detail: detail.into() }
    }

    /// `Invalid value: VALUE: detail`.
    pub fn invalid(field: impl Into<String>, bad: impl Into<BadValue>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FieldReason::Invalid, field, bad, detail)
    }

    /// `Invalid value: VALUE: detail`, of the wrong type.
    pub fn type_invalid(
        field: impl Into<String>,
        bad: impl Into<BadValue>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(FieldReason::TypeInvalid, field, bad, detail)
    }

    /// `Required value: detail`, or `Required value` when the detail is empty.
    pub fn required(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FieldReason::Required, field, BadValue::Omitted, detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FieldReason::Forbidden, field, BadValue::Omitted, detail)
    }

    /// `Duplicate value: VALUE`.
    pub fn duplicate(field: impl Into<String>, bad: impl Into<BadValue>) -> Self {
        Self::new(FieldReason::Duplicate, field, bad, "")
    }

    /// `Not found: VALUE`.
    pub fn not_found(field: impl Into<String>, bad: impl Into<BadValue>) -> Self {
        Self::new(FieldReason::NotFound, field, bad, "")
    }

    /// `Unsupported value: VALUE: supported values: "a", "b"`; the values stand in the given order.
    pub fn not_supported(field: impl Into<String>, bad: impl Into<BadValue>, supported: &[&str]) -> Self {
        let mut detail = String::new();
        for (at, value) in supported.iter().enumerate() {
            detail.push_str(if at == 0 { "supported values: " } else { ", " });
            push_quoted(&mut detail, value);
        }
        Self::new(FieldReason::NotSupported, field, bad, detail)
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: impl Into<String>, bytes_max: usize) -> Self {
        let unit = if bytes_max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {bytes_max} {unit}");
        Self::new(FieldReason::TooLong, field, BadValue::Omitted, detail)
    }

    /// `Too many: COUNT: must have at most MAX items`.
    pub fn too_many(field: impl Into<String>, count: usize, count_max: usize) -> Self {
        let unit = if count_max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {count_max} {unit}");
        let count = BadValue::Int(i64::try_from(count).unwrap_or(i64::MAX));
        Self::new(FieldReason::TooMany, field, count, detail)
    }

    /// `Internal error: detail`.
    pub fn internal(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FieldReason::Internal, field, BadValue::Omitted, detail)
    }

    /// Returns the message without the field's path, as it stands in a cause.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = self.reason.opening().to_owned();
        if self.reason.shows_value() && self.bad_value != BadValue::Omitted {
            text.push_str(": ");
            text.push_str(&self.bad_value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }

    /// Returns the cause that tells a client about this error.
    #[must_use]
    pub fn cause(&self) -> StatusCause {
        StatusCause { reason: Cow::Borrowed(self.reason.as_str()), message: self.message(), field: self.field.clone() }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.message())
    }
}

impl std::error::Error for FieldError {}

/// Joins errors as upstream's aggregate does: one stands alone, several in brackets, equal ones once.
#[must_use]
pub fn aggregate<E: fmt::Display>(errors: &[E]) -> String {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut seen = HashSet::with_capacity(texts.len());
    let distinct: Vec<&str> = texts.iter().map(String::as_str).filter(|text| seen.insert(*text)).collect();
    match distinct.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        several => format!("[{}]", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_in_upstream_words() {
        fn check(error: &FieldError, expected: &str) {
            assert_eq!(error.to_string(), expected);
        }
        check(
            &FieldError::required("metadata.name", "name or generateName is required"),
            "metadata.name: Required value: name or generateName is required",
        );
        check(&FieldError::required("a", ""), "a: Required value");
        check(&FieldError::invalid("a", "x\"y\n", "no"), "a: Invalid value: \"x\\\"y\\n\": no");
        check(&FieldError::invalid("a", -7, "no"), "a: Invalid value: -7: no");
        check(&FieldError::invalid("a", 0.7, "no"), "a: Invalid value: 0.7: no");
        check(&FieldError::invalid("a", true, "no"), "a: Invalid value: true: no");
        check(
            &FieldError::invalid("a", BadValue::Null, "field is immutable"),
            "a: Invalid value: null: field is immutable",
        );
        check(
            &FieldError::invalid("spec", BadValue::Omitted, "the rule says no"),
            "spec: Invalid value: the rule says no",
        );
        check(
            &FieldError::invalid("a", BadValue::Json("[\"*\",\"*\"]".to_owned()), "no"),
            "a: Invalid value: [\"*\",\"*\"]: no",
        );
        check(&FieldError::type_invalid("a", "string", "a in body"), "a: Invalid value: \"string\": a in body");
        check(
            &FieldError::not_supported("a", "", &["B", "A"]),
            "a: Unsupported value: \"\": supported values: \"B\", \"A\"",
        );
        check(&FieldError::duplicate("a[1]", 42), "a[1]: Duplicate value: 42");
        check(&FieldError::not_found("a", ""), "a: Not found: \"\"");
        check(&FieldError::forbidden("a", "no."), "a: Forbidden: no.");
        check(&FieldError::too_long("a", 253), "a: Too long: may not be more than 253 bytes");
        check(&FieldError::too_many("a", 4, 3), "a: Too many: 4: must have at most 3 items");
        check(&FieldError::internal("a", "boom"), "a: Internal error: boom");
    }

    #[test]
    fn an_aggregate_names_equal_errors_once() {
        fn check(errors: &[FieldError], expected: &str) {
            assert_eq!(aggregate(errors), expected);
        }
        let (a, b) = (FieldError::required("a", ""), FieldError::forbidden("b", "no"));
        check(&[], "");
        check(std::slice::from_ref(&a), "a: Required value");
        check(&[a.clone(), a.clone()], "a: Required value");
        check(&[a.clone(), b.clone(), a], "[a: Required value, b: Forbidden: no]");
    }
}
