//! The text form of the facts: what `cargo xtask facts` writes and [`super::Schema::load`] reads.
//!
//! ```text
//! package api.core.v1
//! type Pod gvk=v1/Pod
//!  + - always apimachinery.pkg.apis.meta.v1.TypeMeta inline
//!  spec 2 omitempty PodSpec default={}
//! ```
//!
//! A field line is: JSON name (`+` for an embedded struct), protobuf number (`-` for none), presence, type, attributes.
//! A type of the same package is named without the package. Items of lists are separated by commas; `%20`, `%2C` and `%25`
//! stand for a space, a comma and a percent sign.

use thiserror::Error;

use super::{Attributes, Presence};

/// A table that cannot be read. It can only be wrong in a build, never because of a request.
#[derive(Debug, Error)]
pub enum FactsError {
    /// The line does not have the form it should.
    #[error("facts line {line:?}: {problem}")]
    Malformed {
        /// The line's text.
        line: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A field names a type that no table declares.
    #[error("facts: the type {name:?} is not declared")]
    UnknownType {
        /// The missing type.
        name: String,
    },
    /// A type declares more fields than a field set can hold.
    #[error("facts: the type {name:?} has more fields than the limit of {limit}")]
    TooManyFields {
        /// The type.
        name: String,
        /// [`super::FIELDS_MAX`].
        limit: usize,
    },
}

/// A `type` line and the field lines below it.
#[derive(Debug)]
pub(super) struct TypeFact<'a> {
    pub package: &'a str,
    pub name: String,
    pub gvks: Vec<Box<str>>,
    pub map_type: Option<Box<str>>,
    pub unions: Option<Box<str>>,
    pub fields: Vec<FieldFact<'a>>,
}

#[derive(Debug)]
pub(super) struct FieldFact<'a> {
    pub name: &'a str,
    pub tag: Option<u32>,
    pub presence: Presence,
    pub ty: &'a str,
    pub inline: bool,
    pub attributes: Attributes,
}

/// Reads one table.
pub(super) fn parse<'a>(table: &'a str, out: &mut Vec<TypeFact<'a>>) -> Result<(), FactsError> {
    let mut package = "";
    for line in table.lines() {
        if let Some(field) = line.strip_prefix(' ') {
            let field = parse_field(field)?;
            out.last_mut().ok_or_else(|| malformed(line, "a field before any type"))?.fields.push(field);
        } else if let Some(rest) = line.strip_prefix("type ") {
            out.push(parse_type(package, rest)?);
        } else if let Some(rest) = line.strip_prefix("package ") {
            package = rest;
        } else {
            return Err(malformed(line, "neither package, type nor field"));
        }
    }
    Ok(())
}

fn parse_type<'a>(package: &'a str, line: &str) -> Result<TypeFact<'a>, FactsError> {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let (mut gvks, mut map_type, mut unions) = (Vec::new(), None, None);
    for word in words {
        match word.split_once('=') {
            Some(("gvk", value)) => gvks = list(value),
            Some(("map-type", value)) => map_type = Some(value.into()),
            Some(("unions", value)) => unions = Some(value.into()),
            _ => return Err(malformed(line, "unknown attribute of a type")),
        }
    }
    Ok(TypeFact { package, name: format!("{package}.{name}"), gvks, map_type, unions, fields: Vec::new() })
}

fn parse_field(line: &str) -> Result<FieldFact<'_>, FactsError> {
    let mut words = line.split(' ');
    let (Some(name), Some(tag), Some(presence), Some(ty)) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed(line, "a field has a name, a number, a presence and a type"));
    };
    let presence = match presence {
        "optional" => Presence::Optional,
        "nullable" => Presence::Nullable,
        "always" => Presence::Always,
        "omitempty" => Presence::OmitEmpty,
        "omitzero" => Presence::OmitZero,
        _ => return Err(malformed(line, "unknown presence")),
    };
    let mut field =
        FieldFact { name, tag: tag.parse().ok(), presence, ty, inline: false, attributes: Attributes::default() };
    let attributes = &mut field.attributes;
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "inline" => field.inline = true,
            "required" => attributes.required = true,
            "default" => attributes.default = Some(value.into()),
            "patch" => attributes.patch_strategy = Some(value.into()),
            "key" => attributes.patch_merge_key = Some(value.into()),
            "list" => attributes.list_type = Some(value.into()),
            "keys" => attributes.list_map_keys = list(value),
            "map" => attributes.map_type = Some(value.into()),
            "enum" => attributes.enum_values = list(value),
            "items" => attributes.item_enum = list(value),
            "format" => attributes.format = Some(value.into()),
            _ => return Err(malformed(line, "unknown attribute of a field")),
        }
    }
    Ok(field)
}

/// The items of a comma-separated list, unescaped.
pub fn list(value: &str) -> Vec<Box<str>> {
    value.split(',').map(|item| unescape(item).into()).collect()
}

/// A word of a table as it was before escaping.
pub fn unescape(word: &str) -> String {
    if !word.contains('%') {
        return word.to_owned();
    }
    word.replace("%20", " ").replace("%2C", ",").replace("%25", "%")
}

fn malformed(line: &str, problem: &'static str) -> FactsError {
    FactsError::Malformed { line: line.to_owned(), problem }
}
