//! What a schema may say beside its structure: types, formats of lists and maps, rules in CEL as far as they are text
//! (upstream: `ValidateCustomResourceDefinitionOpenAPISchema`).

use portcullis_model::status::{BadValue, FieldError};

use super::field_path;
use super::places::{Places, Spot, Step};
use super::ratchet::Options;
use super::schema::{self, Additional, Items, Schema};
use crate::views;
use crate::views::apiextensions_v1::ValidationRule;
use crate::vocabulary::Errors;

/// The types of the standard, sorted as upstream shows them.
pub const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const MAP_TYPES: &[&str] = &["atomic", "granular"];
const LIST_TYPES: &[&str] = &["atomic", "set", "map"];
const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// Properties that every object has.
pub const HEAD: &[&str] = &["metadata", "kind", "apiVersion"];

/// What a place inherits from those above it.
#[derive(Clone, Copy)]
struct Inherited<'t> {
    at: Spot,
    /// Why no default may stand here.
    no_default: Option<NoDefault<'t>>,
    is_inside_metadata: bool,
    is_root: bool,
}

#[derive(Clone, Copy)]
enum NoDefault<'t> {
    InAdditionalProperties,
    InTopLevel(&'t str),
}

/// A schema is seen before those below it, and again after them.
enum Open<'t> {
    Before(Schema<'t>, Inherited<'t>),
    After(Schema<'t>, Spot),
}

struct Walk<'t, 'e> {
    places: Places<'t>,
    open: Vec<Open<'t>>,
    options: &'e Options,
    /// Whether paths of rules can be followed.
    is_convertible: bool,
    errors: &'e mut Errors,
}

/// Checks a schema and all below it.
pub fn validate<'t>(root: Schema<'t>, base: &'t str, options: &Options, errors: &mut Errors) {
    let is_convertible = schema::not_convertible(root).is_none();
    let mut walk = Walk { places: Places::new(base), open: Vec::new(), options, is_convertible, errors };
    let top = Inherited { at: Places::ROOT, no_default: None, is_inside_metadata: false, is_root: true };
    walk.open.push(Open::Before(root, top));
    while let Some(next) = walk.open.pop() {
        if walk.errors.is_full() {
            return;
        }
        match next {
            Open::Before(schema, inherited) => walk.before(schema, inherited),
            Open::After(schema, at) => walk.after(schema, at),
        }
    }
}

impl<'t> Walk<'t, '_> {
    fn required(&mut self, at: Spot, field: &str, why: &'static str) {
        self.errors.push(FieldError::required(self.places.field(at, field), why));
    }

    fn forbidden(&mut self, at: Spot, field: &str, why: &'static str) {
        self.errors.push(FieldError::forbidden(self.places.field(at, field), why));
    }

    fn invalid(&mut self, at: Spot, field: &str, bad: impl Into<BadValue>, why: &'static str) {
        self.errors.push(FieldError::invalid(self.places.field(at, field), bad, why));
    }

    fn before(&mut self, schema: Schema<'t>, inherited: Inherited<'t>) {
        let at = inherited.at;
        self.standard(schema, inherited);
        if schema.unique_items() {
            let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.forbidden(at, "uniqueItems", why);
        }
        let additional = schema::additional_properties(schema);
        if !schema.properties().is_empty() && matches!(additional, Additional::Allowed(false) | Additional::Each(_)) {
            self.forbidden(at, "additionalProperties", "additionalProperties and properties are mutual exclusive");
        }
        // What was put on the stack last is looked at first.
        self.open.push(Open::After(schema, at));
        let first = self.open.len();
        self.push_below(schema, inherited);
        if let Some(new) = self.open.get_mut(first..) {
            new.reverse();
        }
    }

    fn push_below(&mut self, schema: Schema<'t>, inherited: Inherited<'t>) {
        let inner = Inherited { is_root: false, ..inherited };
        if let Additional::Each(below) = schema::additional_properties(schema) {
            // What would be pruned of a default there depends on a value that is not known.
            let forbidden = inherited.is_inside_metadata.then_some(NoDefault::InAdditionalProperties);
            let no_default = forbidden.or(inherited.no_default);
            self.push(below, Step::Field("additionalProperties"), Inherited { no_default, ..inner });
        }
        for (name, property) in schema.properties().iter() {
            let mut inner = inner;
            if (inherited.is_root || schema.x_kubernetes_embedded_resource()) && HEAD.contains(&name) {
                inner.is_inside_metadata = true;
                if inherited.is_root {
                    inner.no_default = Some(NoDefault::InTopLevel(name));
                }
            }
            self.push(property, Step::Key("properties", name), inner);
        }
        if let Some(below) = schema.not_() {
            self.push(below, Step::Field("not"), inner);
        }
        let lists = [("allOf", schema.all_of()), ("oneOf", schema.one_of()), ("anyOf", schema.any_of())];
        for (name, list) in lists {
            for (index, below) in list.iter().enumerate() {
                self.push(below, Step::Index(name, index), inner);
            }
        }
        for (name, below) in schema.definitions().iter() {
            self.push(below, Step::Key("definitions", name), inner);
        }
        match schema::items(schema) {
            Items::Absent => {}
            Items::Each(item) => self.push(item, Step::Field("items"), inner),
            Items::Listed(list) => {
                for (index, item) in list.iter().enumerate() {
                    self.push(item, Step::Index("items", index), inner);
                }
            }
        }
        for (name, place) in schema.dependencies().iter() {
            if let Some(below) = schema::dependency(place) {
                self.push(below, Step::Key("dependencies", name), inner);
            }
        }
    }

    fn push(&mut self, schema: Schema<'t>, step: Step<'t>, inherited: Inherited<'t>) {
        let at = self.places.add(inherited.at, step);
        self.open.push(Open::Before(schema, Inherited { at, ..inherited }));
    }

    /// What of the standard is supported.
    fn standard(&mut self, schema: Schema<'t>, inherited: Inherited<'t>) {
        let (at, ty) = (inherited.at, schema.type_());
        if self.options.requires_known_types && !ty.is_empty() && !TYPES.contains(&ty) {
            self.errors.push(FieldError::not_supported(self.places.field(at, "type"), ty, TYPES));
        }
        if let Some(why) = inherited.no_default.filter(|_| has_default(schema)) {
            let why = match why {
                NoDefault::InAdditionalProperties => {
                    "must not be set inside additionalProperties applying to object metadata".to_owned()
                }
                NoDefault::InTopLevel(name) => format!("must not be set in top-level {name}"),
            };
            self.errors.push(FieldError::forbidden(self.places.field(at, "default"), why));
        }
        let unsupported = [
            (!schema.id().is_empty(), "id", "id is not supported"),
            (schema::has_additional_items(schema), "additionalItems", "additionalItems is not supported"),
            (!schema.pattern_properties().is_empty(), "patternProperties", "patternProperties is not supported"),
            (!schema.definitions().is_empty(), "definitions", "definitions is not supported"),
            (!schema.dependencies().is_empty(), "dependencies", "dependencies is not supported"),
            (schema.dollar_ref().is_some(), "$ref", "$ref is not supported"),
            (ty == "null", "type", "type cannot be set to null, use nullable as an alternative"),
            (
                matches!(schema::items(schema), Items::Listed(list) if !list.is_empty()),
                "items",
                "items must be a schema object and not an array",
            ),
            (
                inherited.is_inside_metadata && schema.x_kubernetes_embedded_resource(),
                "x-kubernetes-embedded-resource",
                "must not be used inside of resource meta",
            ),
        ];
        for (_, field, why) in unsupported.into_iter().filter(|(is_there, ..)| *is_there) {
            self.forbidden(at, field, why);
        }
    }

    fn after(&mut self, schema: Schema<'t>, at: Spot) {
        if schema.x_kubernetes_preserve_unknown_fields() == Some(false) {
            self.invalid(at, "x-kubernetes-preserve-unknown-fields", false, "must be true or undefined");
        }
        self.map_type(schema, at);
        self.list_type(schema, at);
        if schema.x_kubernetes_list_type() == Some("map") {
            self.list_map(schema, at);
        }
        if self.options.requires_keys {
            for wrong in wrong_keys(schema) {
                let path = self.places.field(at, &wrong.field());
                let error = match wrong {
                    WrongKey::Missing(_) => FieldError::required(path, wrong.why(schema)),
                    WrongKey::Nullable(_) | WrongKey::NullableItem => FieldError::forbidden(path, wrong.why(schema)),
                };
                self.errors.push(error);
            }
        }
        for (index, rule) in schema.x_kubernetes_validations().iter().enumerate() {
            let at = self.places.add(at, Step::Index("x-kubernetes-validations", index));
            self.rule(rule, schema, at);
        }
    }

    fn wrong_type(&mut self, schema: Schema<'t>, at: Spot, why: &'static str) {
        if schema.type_().is_empty() {
            self.required(at, "type", why);
        } else {
            self.invalid(at, "type", schema.type_(), why);
        }
    }

    fn map_type(&mut self, schema: Schema<'t>, at: Spot) {
        let Some(map_type) = schema.x_kubernetes_map_type() else { return };
        if schema.type_() != "object" {
            self.wrong_type(schema, at, "must be object if x-kubernetes-map-type is specified");
        }
        if !MAP_TYPES.contains(&map_type) {
            let path = self.places.field(at, "x-kubernetes-map-type");
            self.errors.push(FieldError::not_supported(path, map_type, MAP_TYPES));
        }
    }

    fn list_type(&mut self, schema: Schema<'t>, at: Spot) {
        let list_type = schema.x_kubernetes_list_type();
        if list_type.is_some() && schema.type_() != "array" {
            self.wrong_type(schema, at, "must be array if x-kubernetes-list-type is specified");
        } else if self.options.requires_atomic_sets
            && let Some((field, shown)) = not_atomic(schema)
        {
            let path = self.places.field(at, field);
            let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
            self.errors.push(FieldError::invalid(path, shown, why));
        }
        if let Some(unknown) = list_type.filter(|ty| !LIST_TYPES.contains(ty)) {
            let path = self.places.field(at, "x-kubernetes-list-type");
            self.errors.push(FieldError::not_supported(path, unknown, LIST_TYPES));
        }
        if !schema.x_kubernetes_list_map_keys().is_empty() {
            let why = "must be map if x-kubernetes-list-map-keys is non-empty";
            match list_type {
                None => self.required(at, "x-kubernetes-list-type", why),
                Some("map") => {}
                Some(other) => self.invalid(at, "x-kubernetes-list-type", other, why),
            }
        }
    }

    fn list_map(&mut self, schema: Schema<'t>, at: Spot) {
        let keys = schema.x_kubernetes_list_map_keys();
        if keys.is_empty() {
            let why = "must not be empty if x-kubernetes-list-type is map";
            self.required(at, "x-kubernetes-list-map-keys", why);
        }
        let item = match schema::items(schema) {
            Items::Absent => return self.required(at, "items", "must have a schema if x-kubernetes-list-type is map"),
            Items::Listed(_) => {
                let shown = views::shown_field(schema.place(), Schema::ITEMS);
                return self.invalid(
                    at,
                    "items",
                    shown,
                    "must only have a single schema if x-kubernetes-list-type is map",
                );
            }
            Items::Each(item) => item,
        };
        if item.type_() != "object" {
            let why = "must be object if parent array's x-kubernetes-list-type is map";
            return self.invalid(at, "items.type", item.type_(), why);
        }
        let mut seen = std::collections::HashSet::new();
        for key in keys.iter() {
            let shown = || views::shown_field(schema.place(), Schema::X_KUBERNETES_LIST_MAP_KEYS);
            match schema::property(item, key) {
                Some(property) if matches!(property.type_(), "array" | "object") => {
                    let path = self.places.field(at, &format!("items.properties[{key}].type"));
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.errors.push(FieldError::invalid(path, item.type_(), why));
                }
                Some(_) => {}
                None if self.errors.is_full() => return,
                None => {
                    let why = "entries must all be names of item properties";
                    self.invalid(at, "x-kubernetes-list-map-keys", shown(), why);
                }
            }
            if !seen.insert(key) && !self.errors.is_full() {
                self.invalid(at, "x-kubernetes-list-map-keys", shown(), "must not contain duplicate entries");
            }
        }
    }

    /// A rule in CEL, as far as it is a text.
    fn rule(&mut self, rule: ValidationRule<'t>, schema: Schema<'t>, at: Spot) {
        let (text, message) = (rule.rule().trim(), rule.message().trim());
        let breaks = |text: &str| text.contains(['\n', '\r']);
        if text.is_empty() {
            self.required(at, "rule", "rule is not specified");
        } else if !rule.message().is_empty() && message.is_empty() {
            self.invalid(at, "message", rule.message(), "message must be non-empty if specified");
        } else if breaks(message) {
            self.invalid(at, "message", rule.message(), "message must not contain line breaks");
        } else if breaks(text) && message.is_empty() {
            self.required(at, "message", "message must be specified if rule contains line breaks");
        }
        if !rule.message_expression().is_empty() && rule.message_expression().trim().is_empty() {
            self.required(at, "messageExpression", "messageExpression must be non-empty if specified");
        }
        if let Some(reason) = rule.reason().filter(|reason| !REASONS.contains(reason)) {
            self.errors.push(FieldError::not_supported(self.places.field(at, "reason"), reason, REASONS));
        }
        let path = rule.field_path();
        if path.is_empty() {
            return;
        }
        if path.trim().is_empty() {
            self.invalid(at, "fieldPath", path, "fieldPath must be non-empty if specified");
        }
        if breaks(path) {
            self.invalid(at, "fieldPath", path, "fieldPath must not contain line breaks");
        }
        if self.is_convertible && field_path::follow(path, schema, field_path::Brackets::Allowed).is_err() {
            self.invalid(at, "fieldPath", path, "fieldPath must be a valid path");
        }
    }
}

/// Whether a schema has a default; `null` is none.
pub fn has_default(schema: Schema<'_>) -> bool {
    schema.default_().is_some_and(|raw| raw.0 != "null")
}

/// What makes the elements of a set more than one value each: the field that is wrong, and what upstream shows.
pub fn not_atomic(schema: Schema<'_>) -> Option<(&'static str, BadValue)> {
    if schema.x_kubernetes_list_type() != Some("set") {
        return None;
    }
    let item = schema::item(schema)?;
    let shown = || item.x_kubernetes_list_type().map_or(BadValue::Null, BadValue::from);
    match item.type_() {
        "array" if item.x_kubernetes_list_type().is_some_and(|ty| ty != "atomic") => {
            Some(("items.x-kubernetes-list-type", shown()))
        }
        "object" if item.x_kubernetes_map_type() != Some("atomic") => Some(("items.x-kubernetes-map-type", shown())),
        _ => None,
    }
}

/// What is wrong with an element or a key of a list that is a map or a set.
#[derive(Clone, Copy)]
pub enum WrongKey<'t> {
    /// The element may be null.
    NullableItem,
    /// Nothing says that the key is there.
    Missing(&'t str),
    /// The key may be null.
    Nullable(&'t str),
}

impl WrongKey<'_> {
    fn field(self) -> String {
        match self {
            WrongKey::NullableItem => "items.nullable".to_owned(),
            WrongKey::Missing(key) => format!("items.properties[{key}].default"),
            WrongKey::Nullable(key) => format!("items.properties[{key}].nullable"),
        }
    }

    fn why(self, schema: Schema<'_>) -> String {
        match self {
            WrongKey::NullableItem => {
                let list_type = schema.x_kubernetes_list_type().unwrap_or_default();
                format!("cannot be nullable when x-kubernetes-list-type is {list_type}")
            }
            WrongKey::Missing(_) => {
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                    .to_owned()
            }
            WrongKey::Nullable(_) => {
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable".to_owned()
            }
        }
    }
}

/// What is wrong with the elements of a list that is a map or a set, and with their keys (upstream: `validateMapListKeysMapSet`).
pub fn wrong_keys(schema: Schema<'_>) -> Vec<WrongKey<'_>> {
    let mut wrong = Vec::new();
    let (list_type, item) = (schema.x_kubernetes_list_type(), schema::item(schema));
    let Some(item) = item.filter(|_| matches!(list_type, Some("set" | "map"))) else { return wrong };
    if item.nullable() {
        wrong.push(WrongKey::NullableItem);
    }
    if list_type != Some("map") {
        return wrong;
    }
    let required: std::collections::HashSet<&str> = item.required().iter().collect();
    for key in schema.x_kubernetes_list_map_keys().iter() {
        let Some(property) = schema::property(item, key) else { continue };
        if !required.contains(key) && !has_default(property) {
            wrong.push(WrongKey::Missing(key));
        }
        if property.nullable() {
            wrong.push(WrongKey::Nullable(key));
        }
    }
    wrong
}

#[cfg(test)]
mod tests;
