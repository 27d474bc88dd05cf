//! Selectors: which objects a list, a watch or an object's own selector means.
//!
//! Three forms, one kind of match: label selectors as text (`a=b,c notin (x,y),!d`), as objects (`matchLabels`,
//! `matchExpressions`), and field selectors (`metadata.name=x`). Upstream: apimachinery's `labels` and `fields`
//! packages, whose error texts clients see.

use std::fmt;

use thiserror::Error;

use crate::names;
use crate::status::{BadValue, FieldError};

mod fields;
mod object;
mod parse;

pub use fields::{FieldOperator, FieldSelector, FieldSelectorError, FieldTerm, UnknownField};
pub use object::{LabelSelector, LabelSelectorRequirement, validate_label_selector};

/// Why a label selector is refused. The texts are upstream's.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SelectorError {
    /// The text is not made as selectors are.
    #[error("{0}")]
    Syntax(String),
    /// One requirement of the text is wrong.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// A requirement of an object is wrong.
    #[error("{0}")]
    Object(String),
}

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// One of the values; the label must be there.
    In,
    /// None of the values, or no such label.
    NotIn,
    /// The one value; the label must be there.
    Equals,
    /// Not the value, or no such label.
    NotEquals,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// A larger integer.
    GreaterThan,
    /// A smaller integer.
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, without repetition.
    values: Vec<String>,
    /// The value of `>` and `<`.
    bound: i64,
}

impl Requirement {
    /// Makes a requirement, if its key and values may be a label's.
    ///
    /// # Errors
    /// All complaints, in upstream's words.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        errors.extend(check_key(key, "key"));
        values.sort_unstable();
        values.dedup();
        let mut wrong_count = |is_wrong: bool, detail: &'static str| {
            if is_wrong {
                errors.push(FieldError::invalid("values", strings_json(&values), detail));
            }
        };
        let mut bound = 0;
        match operator {
            Operator::In | Operator::NotIn => {
                wrong_count(values.is_empty(), "for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::NotEquals => {
                wrong_count(values.len() != 1, "exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist => {
                wrong_count(!values.is_empty(), "values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                wrong_count(values.len() != 1, "for 'Gt', 'Lt' operators, exactly one value is required");
                for (at, value) in values.iter().enumerate() {
                    match value.parse() {
                        Ok(number) => bound = number,
                        Err(_) => errors.push(FieldError::invalid(
                            format!("values[{at}]"),
                            value.as_str(),
                            "for 'Gt', 'Lt' operators, the value must be an integer",
                        )),
                    }
                }
            }
        }
        for (at, value) in values.iter().enumerate() {
            let complaints = names::label_value(value);
            if !complaints.is_empty() {
                errors.push(FieldError::invalid(format!("values[{at}][{key}]"), value.as_str(), complaints.join("; ")));
            }
        }
        if errors.is_empty() { Ok(Self { key: key.to_owned(), operator, values, bound }) } else { Err(errors) }
    }

    /// Returns the label's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns how it compares.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Returns the values, sorted.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Says whether a label with this value, or its absence, satisfies the requirement.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let is_listed = |value: &str| self.values.binary_search_by(|own| own.as_str().cmp(value)).is_ok();
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self.operator {
            Operator::In | Operator::Equals => value.is_some_and(is_listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(is_listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => number().is_some_and(|number| number > self.bound),
            Operator::LessThan => number().is_some_and(|number| number < self.bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, values, .. } = self;
        let list = values.join(",");
        match self.operator {
            Operator::In => write!(out, "{key} in ({list})"),
            Operator::NotIn => write!(out, "{key} notin ({list})"),
            Operator::Equals => write!(out, "{key}={list}"),
            Operator::NotEquals => write!(out, "{key}!={list}"),
            Operator::Exists => out.write_str(key),
            Operator::DoesNotExist => write!(out, "!{key}"),
            Operator::GreaterThan => write!(out, "{key}>{list}"),
            Operator::LessThan => write!(out, "{key}<{list}"),
        }
    }
}

/// Requirements that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    /// An absent selector of an object selects nothing, an empty one everything.
    is_nothing: bool,
}

impl Selector {
    /// Selects every object.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects no object.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), is_nothing: true }
    }

    /// Reads the text form; an empty text selects everything.
    ///
    /// # Errors
    /// The error's text is upstream's.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Ok(Self { requirements: parse::requirements(text)?, is_nothing: false })
    }

    /// Says whether every object is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.is_nothing
    }

    /// Returns the requirements, in the order of the text.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Says whether an object is selected whose labels `label` looks up.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.is_nothing && self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            write!(out, "{}{requirement}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// One complaint about a key, however much is wrong with it.
fn check_key(key: &str, field: &str) -> Option<FieldError> {
    let complaints = names::qualified_name(key);
    (!complaints.is_empty()).then(|| FieldError::invalid(field, key, complaints.join("; ")))
}

fn strings_json(values: &[String]) -> BadValue {
    let mut out = vec![b'['];
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        crate::go_text::push_json_string(&mut out, value);
    }
    out.push(b']');
    BadValue::Json(String::from_utf8(out).unwrap_or_default())
}

#[cfg(test)]
mod tests;
