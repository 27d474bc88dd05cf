//! Defaults in a schema: they are as the schema says, and hold nothing that would be pruned (upstream: `schema/defaulting/validation.go`,
//! `schema/pruning`, `schema/objectmeta`).

use portcullis_model::names;
use portcullis_model::status::{BadValue, FieldError};
use serde_json::Value;

use super::open_api::{HEAD, has_default};
use super::places::{Places, Spot, Step};
use super::schema::{self, Additional, Schema};
use super::values::{self, Budget};
use crate::vocabulary::Errors;

/// Whether defaults may hold what would be pruned, because the stored definition has such.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They may.
    Kept,
    /// They may not.
    Refused,
}

/// Checks every default of a structural schema, which is one of so many of its object.
pub fn validate<'t>(root: Schema<'t>, base: &'t str, unknown: Unknown, schemas: usize, errors: &mut Errors) {
    let mut places = Places::new(base);
    let mut budget = Budget::of_one_in(schemas);
    // Whether a default stands inside of what every object has, where the server knows better what is pruned.
    let mut open: Vec<(Schema<'t>, Spot, bool)> = vec![(root, Places::ROOT, false)];
    while let Some((schema, at, is_inside_head)) = open.pop() {
        if errors.is_full() {
            return;
        }
        let is_resource = at == Places::ROOT || schema.x_kubernetes_embedded_resource();
        let is_inside_head = is_inside_head && !is_resource;
        if has_default(schema) {
            let path = places.field(at, "default");
            let unknown = if is_inside_head { Unknown::Kept } else { unknown };
            check(schema, &path, unknown, &mut budget, errors);
        }
        // What was put on the stack last is looked at first.
        let first = open.len();
        if let Some(item) = schema::item(schema) {
            open.push((item, places.add(at, Step::Field("items")), is_inside_head));
        }
        for (name, property) in schema.properties().iter() {
            let is_head = is_inside_head || is_resource && HEAD.contains(&name);
            open.push((property, places.add(at, Step::Key("properties", name)), is_head));
        }
        if let Some(new) = open.get_mut(first..) {
            new.reverse();
        }
    }
}

fn check<'t>(schema: Schema<'t>, path: &str, unknown: Unknown, budget: &mut Budget<'t>, errors: &mut Errors) {
    let raw = schema.default_().map_or("null", |raw| raw.0);
    let Ok(value) = serde_json::from_str::<Value>(raw) else {
        // The reader of values stops at a depth of 128.
        return errors.push(FieldError::invalid(path, BadValue::Omitted, "must not be nested so deeply"));
    };
    if unknown == Unknown::Refused && has_unknown(&value, schema) {
        errors.push(FieldError::invalid(path, values::shown(&value), "must not have unknown fields"));
    }
    let wrong_head = heads(&value, schema, path);
    if !wrong_head.is_empty() {
        return errors.extend(wrong_head);
    }
    match values::validate(schema, &value, path, budget) {
        Some(complaints) => errors.extend(complaints),
        None => errors.push(FieldError::invalid(path, BadValue::Omitted, "takes too long to check")),
    }
}

/// Whether any default of a schema holds what would be pruned.
pub fn any_unknown(root: Schema<'_>) -> bool {
    schema::any(root, |schema| {
        let value = schema.default_().and_then(|raw| serde_json::from_str::<Value>(raw.0).ok());
        value.is_some_and(|value| has_unknown(&value, schema))
    })
}

/// Whether pruning would take anything out of a value.
fn has_unknown<'t>(value: &Value, schema: Schema<'t>) -> bool {
    // A place without a schema has nothing in it that is known. What is preserved is not looked into, but for what is described there.
    let mut open: Vec<(&Value, Option<Schema<'t>>, bool)> = vec![(value, Some(schema), false)];
    while let Some((value, schema, is_preserved)) = open.pop() {
        let preserves = schema.and_then(|schema| schema.x_kubernetes_preserve_unknown_fields()) == Some(true);
        let is_preserved = is_preserved || preserves;
        match (value, schema) {
            (Value::Object(_) | Value::Array(_), None) if is_preserved => {}
            (Value::Object(map), None) if !map.is_empty() => return true,
            (Value::Object(map), Some(schema)) => {
                for (key, value) in map {
                    if schema.x_kubernetes_embedded_resource() && HEAD.contains(&key.as_str()) {
                        continue;
                    }
                    match (schema::property(schema, key), schema::additional_properties(schema)) {
                        (Some(property), _) => open.push((value, Some(property), false)),
                        (None, Additional::Absent) if is_preserved => {}
                        (None, Additional::Absent) => return true,
                        (None, additional) => open.push((value, additional.schema(), false)),
                    }
                }
            }
            (Value::Array(list), schema) => {
                let item = schema.and_then(schema::item);
                open.extend(list.iter().map(|value| (value, item, is_preserved)));
            }
            _ => {}
        }
    }
    false
}

/// What is wrong with type and metadata of the resources in a value.
fn heads(value: &Value, schema: Schema<'_>, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut open = vec![(value, schema, path.to_owned())];
    while let Some((value, schema, path)) = open.pop() {
        match value {
            Value::Object(map) => {
                if schema.x_kubernetes_embedded_resource() {
                    for (name, check) in [("apiVersion", api_version as fn(&str) -> Option<String>), ("kind", kind)] {
                        head(map.get(name), &format!("{path}.{name}"), check, &mut errors);
                    }
                    if let Some(metadata) = map.get("metadata").filter(|value| !value.is_object()) {
                        let path = format!("{path}.metadata");
                        errors.push(FieldError::invalid(path, values::shown(metadata), "must be an object"));
                    }
                }
                for (key, value) in map.iter().filter(|(_, value)| value.is_object() || value.is_array()) {
                    if let Some(property) = schema::property(schema, key) {
                        open.push((value, property, format!("{path}.{key}")));
                    } else if let Some(below) = schema::additional_properties(schema).schema() {
                        open.push((value, below, format!("{path}[{key}]")));
                    }
                }
            }
            Value::Array(list) => {
                let Some(item) = schema::item(schema) else { continue };
                let below = list.iter().enumerate().filter(|(_, value)| value.is_object() || value.is_array());
                open.extend(below.map(|(index, value)| (value, item, format!("{path}[{index}]"))));
            }
            _ => {}
        }
    }
    errors
}

fn head(value: Option<&Value>, path: &str, check: fn(&str) -> Option<String>, errors: &mut Vec<FieldError>) {
    match value {
        None => errors.push(FieldError::required(path, "")),
        Some(Value::String(text)) if text.is_empty() => errors.push(FieldError::required(path, "")),
        Some(Value::String(text)) => {
            if let Some(why) = check(text) {
                errors.push(FieldError::invalid(path, text.as_str(), why));
            }
        }
        Some(other) => errors.push(FieldError::invalid(path, values::shown(other), "must be a string")),
    }
}

fn api_version(text: &str) -> Option<String> {
    (text.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {text}"))
}

fn kind(text: &str) -> Option<String> {
    let complaints = names::dns1035_label(&text.to_lowercase());
    let why = || format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
    (!complaints.is_empty()).then(why)
}

#[cfg(test)]
mod tests;
