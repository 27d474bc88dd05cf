//! Field selectors: `metadata.name=x,spec.nodeName!=y`. Backslash, comma and equals sign in a value are escaped with a
//! backslash.

use std::fmt;

use thiserror::Error;

use crate::go_text::quoted;

/// Why a field selector is refused. The texts are upstream's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FieldSelectorError {
    /// A term without an operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// The whole text.
        selector: String,
        /// The term.
        term: String,
    },
    /// A backslash before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A comma or equals sign without a backslash; upstream prints its number.
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
    /// A field that the resource does not select by.
    #[error("{0}")]
    Unknown(String),
}

/// How upstream names a field that a resource does not select by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownField {
    /// `"x" is not a known field selector: only "metadata.name", "metadata.namespace"`: resources without fields of
    /// their own.
    ListsKnown,
    /// `field label not supported: x`: resources with fields of their own.
    NamesField,
}

/// How a term compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldOperator {
    /// `=` and `==`.
    Equals,
    /// `!=`.
    NotEquals,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    /// `metadata.name`.
    pub field: String,
    /// How it compares.
    pub operator: FieldOperator,
    /// The value, unescaped.
    pub value: String,
}

impl FieldTerm {
    /// Says whether the comparison holds of what the field has.
    #[must_use]
    pub fn matches(&self, held: &str) -> bool {
        (held == self.value) == (self.operator == FieldOperator::Equals)
    }
}

/// Comparisons that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Reads the text form; an empty text selects everything.
    ///
    /// # Errors
    /// The error's text is upstream's.
    pub fn parse(text: &str) -> Result<Self, FieldSelectorError> {
        let mut parts = split_terms(text);
        // Upstream looks at them in this order, so the first complaint is about the first in order.
        parts.sort_unstable();
        let mut terms = Vec::with_capacity(parts.len());
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, operator, value)) = split_term(part) else {
                return Err(FieldSelectorError::Term { selector: text.to_owned(), term: part.to_owned() });
            };
            let value = unescape(value)?;
            // Neither field nor value says nothing, and upstream takes it so.
            if !(field.is_empty() && value.is_empty()) {
                terms.push(FieldTerm { field: field.to_owned(), operator, value });
            }
        }
        Ok(Self { terms })
    }

    /// Returns the terms, sorted by their text.
    #[must_use]
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Says whether every object is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns the value that a field must equal, if a term says so: the way to one object by its name.
    #[must_use]
    pub fn required_value(&self, field: &str) -> Option<&str> {
        let mut terms = self.terms.iter();
        terms.find(|term| term.field == field && term.operator == FieldOperator::Equals).map(|term| term.value.as_str())
    }

    /// Checks that every field is one that the resource selects by.
    ///
    /// # Errors
    /// The error's text is upstream's.
    pub fn check_fields(&self, known: &[&str], unknown: UnknownField) -> Result<(), FieldSelectorError> {
        let Some(term) = self.terms.iter().find(|term| !known.contains(&term.field.as_str())) else { return Ok(()) };
        Err(FieldSelectorError::Unknown(match unknown {
            UnknownField::NamesField => format!("field label not supported: {}", term.field),
            UnknownField::ListsKnown => format!(
                "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                quoted(&term.field)
            ),
        }))
    }

    /// Says whether an object is selected whose fields `field` looks up; one that it does not have is empty.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|term| term.matches(field(&term.field)))
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, term) in self.terms.iter().enumerate() {
            let operator = match term.operator {
                FieldOperator::Equals => "=",
                FieldOperator::NotEquals => "!=",
            };
            write!(out, "{}{}{operator}", if at > 0 { "," } else { "" }, term.field)?;
            for c in term.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    out.write_str("\\")?;
                }
                write!(out, "{c}")?;
            }
        }
        Ok(())
    }
}

/// Splits at commas that no backslash stands before.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut from, mut is_escaped) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        if is_escaped {
            is_escaped = false;
        } else if byte == b'\\' {
            is_escaped = true;
        } else if byte == b',' {
            terms.extend(text.get(from..at));
            from = at + 1;
        }
    }
    terms.extend(text.get(from..));
    terms
}

fn split_term(term: &str) -> Option<(&str, FieldOperator, &str)> {
    let at = term.bytes().enumerate().find_map(|(at, byte)| {
        let is_operator = byte == b'=' || (byte == b'!' && term.as_bytes().get(at + 1) == Some(&b'='));
        is_operator.then_some(at)
    })?;
    let (field, rest) = term.split_at(at);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, FieldOperator::NotEquals, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((field, FieldOperator::Equals, value))
}

fn unescape(value: &str) -> Result<String, FieldSelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => return Err(FieldSelectorError::Escape(format!("\\{other}"))),
                None => return Err(FieldSelectorError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(FieldSelectorError::Unescaped(c)),
            _ => out.push(c),
        }
    }
    Ok(out)
}
