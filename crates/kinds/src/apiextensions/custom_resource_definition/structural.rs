//! What makes a schema structural, so that objects can be pruned and defaulted by it (KEP-95; upstream: `apiserver/schema/validation.go`,
//! `complete.go`).
//!
//! The structure (types, properties, items) stands outside of `allOf`, `anyOf`, `oneOf` and `not`; inside of those stand only restrictions
//! of values. Upstream sorts these complaints by their text.

use portcullis_model::status::{BadValue, FieldError};

use super::places::{Places, Spot, Step};
use super::schema::{self, Additional, Items, Schema};
use crate::vocabulary::Errors;
use crate::vocabulary::pattern::Pattern;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Fields of `metadata` at the top that a definition may restrict.
const METADATA_NAMES: [&str; 2] = ["name", "generateName"];

/// What is still to be looked at.
enum Open<'t> {
    Structure(Schema<'t>, Level, Spot),
    /// A restriction of values, and whether its `anyOf` is the one that stands for `x-kubernetes-int-or-string`.
    Restriction(Schema<'t>, Spot, bool),
    /// Whether what a restriction speaks of is in the structure: where the structure is, and where the restriction.
    Completeness(Schema<'t>, Option<Schema<'t>>, Spot, Spot),
}

struct Walk<'t> {
    places: Places<'t>,
    open: Vec<Open<'t>>,
    errors: Errors,
}

/// What keeps a schema from being structural, sorted as upstream sorts it.
pub fn complaints(root: Schema<'_>, base: &str) -> Vec<FieldError> {
    let mut walk = Walk { places: Places::new(base), open: Vec::new(), errors: Errors::new() };
    walk.open.push(Open::Structure(root, Level::Root, Places::ROOT));
    walk.complete(root, root, Places::ROOT, Places::ROOT);
    while let Some(next) = walk.open.pop() {
        if walk.errors.is_full() {
            break;
        }
        match next {
            Open::Structure(schema, level, at) => walk.structure(schema, level, at),
            Open::Restriction(schema, at, is_int_or_string) => walk.restriction(schema, at, is_int_or_string),
            Open::Completeness(restriction, Some(structure), at, by) => {
                walk.complete_nested(restriction, structure, at, by);
            }
            Open::Completeness(_, None, at, by) => walk.missing(at, by),
        }
    }
    let mut complaints = walk.errors.into_vec();
    complaints.sort_by_cached_key(ToString::to_string);
    complaints
}

/// Whether a list of alternatives is the one that says "an integer or a string".
fn is_int_or_string(schema: Schema<'_>) -> bool {
    let mut alternatives = schema.any_of().iter();
    let is_only = |schema: Option<Schema<'_>>, ty: &str| {
        schema.is_some_and(|schema| {
            let place = schema.place();
            let fields = place.id().map_or(0, |node| place.tree().children(node).count());
            schema.type_() == ty && fields == 1
        })
    };
    schema.any_of().len() == 2 && is_only(alternatives.next(), "integer") && is_only(alternatives.next(), "string")
}

impl<'t> Walk<'t> {
    fn required(&mut self, at: Spot, field: &str, why: &'static str) {
        self.errors.push(FieldError::required(self.places.field(at, field), why));
    }

    fn forbidden(&mut self, at: Spot, field: &str, why: &'static str) {
        self.errors.push(FieldError::forbidden(self.places.field(at, field), why));
    }

    fn invalid(&mut self, at: Spot, field: &str, bad: impl Into<BadValue>, why: &'static str) {
        self.errors.push(FieldError::invalid(self.places.field(at, field), bad, why));
    }

    fn structure(&mut self, schema: Schema<'t>, level: Level, at: Spot) {
        match schema::items(schema) {
            Items::Each(item) => {
                let below = self.places.add(at, Step::Field("items"));
                self.open.push(Open::Structure(item, Level::Item, below));
            }
            _ if schema.type_() == "array" => self.required(at, "items", "must be specified"),
            _ => {}
        }
        for (name, property) in schema.properties().iter() {
            let below = self.places.add(at, Step::Key("properties", name));
            self.open.push(Open::Structure(property, Level::Field, below));
        }
        self.additional_properties(schema, level, at);
        self.extensions(schema, at);
        self.restrictions(
            schema,
            at,
            is_int_or_string(schema),
            schema.all_of().iter().next().is_some_and(is_int_or_string),
        );
        self.pattern(schema, at);
        self.types(schema, level, at);
        self.metadata(schema, level, at);
        if schema.x_kubernetes_embedded_resource()
            && schema.x_kubernetes_preserve_unknown_fields() != Some(true)
            && schema.properties().is_empty()
        {
            let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
            self.required(at, "properties", why);
        }
    }

    fn additional_properties(&mut self, schema: Schema<'t>, level: Level, at: Spot) {
        let additional = schema::additional_properties(schema);
        if level == Level::Root && additional.is_present() {
            self.forbidden(at, "additionalProperties", "must not be used at the root");
        }
        if schema.x_kubernetes_embedded_resource() && additional.is_present() {
            let why = "must not be used if x-kubernetes-embedded-resource is set";
            self.forbidden(at, "additionalProperties", why);
        }
        if let Additional::Each(below) = additional {
            let spot = self.places.add(at, Step::Field("additionalProperties"));
            self.open.push(Open::Structure(below, Level::Field, spot));
        }
    }

    fn extensions(&mut self, schema: Schema<'t>, at: Spot) {
        if !schema.x_kubernetes_int_or_string() {
            return;
        }
        let why = "must be false if x-kubernetes-int-or-string is true";
        if schema.x_kubernetes_preserve_unknown_fields() == Some(true) {
            self.invalid(at, "x-kubernetes-preserve-unknown-fields", true, why);
        }
        if schema.x_kubernetes_embedded_resource() {
            self.invalid(at, "x-kubernetes-embedded-resource", true, why);
        }
    }

    /// What restricts values, here and in each alternative.
    fn restrictions(&mut self, schema: Schema<'t>, at: Spot, skips_any_of: bool, skips_first_all_of: bool) {
        let any_of = schema.any_of().iter().filter(|_| !skips_any_of);
        for (index, below) in any_of.enumerate() {
            let spot = self.places.add(at, Step::Index("anyOf", index));
            self.open.push(Open::Restriction(below, spot, false));
        }
        for (index, below) in schema.all_of().iter().enumerate() {
            let spot = self.places.add(at, Step::Index("allOf", index));
            self.open.push(Open::Restriction(below, spot, index == 0 && skips_first_all_of));
        }
        for (index, below) in schema.one_of().iter().enumerate() {
            let spot = self.places.add(at, Step::Index("oneOf", index));
            self.open.push(Open::Restriction(below, spot, false));
        }
        if let Some(below) = schema.not_() {
            let spot = self.places.add(at, Step::Field("not"));
            self.open.push(Open::Restriction(below, spot, false));
        }
    }

    fn pattern(&mut self, schema: Schema<'t>, at: Spot) {
        if schema.pattern().is_empty() {
            return;
        }
        if let Err(wrong) = Pattern::parse(schema.pattern()) {
            let why = format!("must be a valid regular expression, but isn't: {wrong}");
            self.errors.push(FieldError::invalid(self.places.field(at, "pattern"), schema.pattern(), why));
        }
    }

    fn types(&mut self, schema: Schema<'t>, level: Level, at: Spot) {
        let ty = schema.type_();
        let preserves = schema.x_kubernetes_preserve_unknown_fields() == Some(true);
        if schema.x_kubernetes_embedded_resource() && ty != "object" {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            if ty.is_empty() {
                self.required(at, "type", why);
            } else {
                self.invalid(at, "type", ty, why);
            }
        } else if ty.is_empty() && !schema.x_kubernetes_int_or_string() && !preserves {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            self.required(at, "type", why);
        }
        if level == Level::Root && !ty.is_empty() && ty != "object" {
            self.invalid(at, "type", ty, "must be object at the root");
        }
    }

    /// What every object has is not a definition's to describe.
    fn metadata(&mut self, schema: Schema<'t>, level: Level, at: Spot) {
        let is_resource = level == Level::Root || schema.x_kubernetes_embedded_resource();
        for name in ["kind", "apiVersion"] {
            let Some(property) = schema::property(schema, name).filter(|_| is_resource) else { continue };
            if property.type_() != "string" {
                let spot = self.places.add(at, Step::Key("properties", name));
                self.invalid(spot, "type", property.type_(), "must be string");
            }
        }
        let Some(metadata) = schema::property(schema, "metadata") else { return };
        let spot = self.places.add(at, Step::Key("properties", "metadata"));
        if is_resource && metadata.type_() != "object" {
            self.invalid(spot, "type", metadata.type_(), "must be object");
        }
        if level == Level::Root && !restricts_names_only(metadata) {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.errors.push(FieldError::forbidden(self.places.text(spot), why));
        }
    }

    fn restriction(&mut self, schema: Schema<'t>, at: Spot, skips_any_of: bool) {
        self.restrictions(schema, at, skips_any_of, false);
        self.pattern(schema, at);
        if let Some(item) = schema::item(schema) {
            let below = self.places.add(at, Step::Field("items"));
            self.open.push(Open::Restriction(item, below, false));
        }
        for (name, property) in schema.properties().iter() {
            let below = self.places.add(at, Step::Key("properties", name));
            self.open.push(Open::Restriction(property, below, false));
        }
        let wrong = [
            (!schema.type_().is_empty(), "type", "must be empty to be structural"),
            (
                schema::additional_properties(schema).is_present(),
                "additionalProperties",
                "must be undefined to be structural",
            ),
            (schema.default_().is_some_and(|raw| raw.0 != "null"), "default", "must be undefined to be structural"),
            (!schema.title().is_empty(), "title", "must be empty to be structural"),
            (!schema.description().is_empty(), "description", "must be empty to be structural"),
            (schema.nullable(), "nullable", "must be false to be structural"),
            (
                schema.x_kubernetes_preserve_unknown_fields() == Some(true),
                "x-kubernetes-preserve-unknown-fields",
                "must be false to be structural",
            ),
            (
                schema.x_kubernetes_embedded_resource(),
                "x-kubernetes-embedded-resource",
                "must be false to be structural",
            ),
            (schema.x_kubernetes_int_or_string(), "x-kubernetes-int-or-string", "must be false to be structural"),
            (
                !schema.x_kubernetes_list_map_keys().is_empty(),
                "x-kubernetes-list-map-keys",
                "must be empty to be structural",
            ),
            (schema.x_kubernetes_list_type().is_some(), "x-kubernetes-list-type", "must be undefined to be structural"),
            (schema.x_kubernetes_map_type().is_some(), "x-kubernetes-map-type", "must be undefined to be structural"),
            (
                !schema.x_kubernetes_validations().is_empty(),
                "x-kubernetes-validations",
                "must be empty to be structural",
            ),
        ];
        for (_, field, why) in wrong.into_iter().filter(|(is_there, ..)| *is_there) {
            self.forbidden(at, field, why);
        }
        if schema.external_docs().is_some() {
            self.forbidden(at, "externalDocs", "must be undefined to be structural");
        }
        if schema::property(schema, "metadata").is_some() {
            self.forbidden(at, "properties[metadata]", "must not be specified in a nested context");
        }
    }

    fn missing(&mut self, at: Spot, by: Spot) {
        let why = format!("because it is defined in {}", self.places.text(by));
        self.errors.push(FieldError::required(self.places.text(at), why));
    }

    /// What the alternatives of a schema speak of is in the structure.
    fn complete(&mut self, schema: Schema<'t>, structure: Schema<'t>, at: Spot, by: Spot) {
        if let Some(below) = schema.not_() {
            let spot = self.places.add(by, Step::Field("not"));
            self.open.push(Open::Completeness(below, Some(structure), at, spot));
        }
        let lists = [("allOf", schema.all_of()), ("anyOf", schema.any_of()), ("oneOf", schema.one_of())];
        for (name, list) in lists {
            for (index, below) in list.iter().enumerate() {
                let spot = self.places.add(by, Step::Index(name, index));
                self.open.push(Open::Completeness(below, Some(structure), at, spot));
            }
        }
    }

    fn complete_nested(&mut self, restriction: Schema<'t>, structure: Schema<'t>, at: Spot, by: Spot) {
        self.complete(restriction, structure, at, by);
        if let Some(item) = schema::item(restriction) {
            let at = self.places.add(at, Step::Field("items"));
            let by = self.places.add(by, Step::Field("items"));
            self.open.push(Open::Completeness(item, schema::item(structure), at, by));
        }
        for (name, property) in restriction.properties().iter() {
            let at = self.places.add(at, Step::Key("properties", name));
            let by = self.places.add(by, Step::Key("properties", name));
            self.open.push(Open::Completeness(property, schema::property(structure, name), at, by));
        }
    }
}

/// Whether a schema of metadata says nothing but what names are like.
fn restricts_names_only(metadata: Schema<'_>) -> bool {
    let place = metadata.place();
    let Some(node) = place.id() else { return true };
    let free = [Schema::TYPE_, Schema::DEFAULT, Schema::EXAMPLE];
    let is_names_only = metadata.properties().iter().all(|(name, _)| METADATA_NAMES.contains(&name));
    place.tree().children(node).all(|child| {
        let number = place.tree().field_number(child);
        free.iter().any(|field| field.number() == number) || (number == Schema::PROPERTIES.number() && is_names_only)
    })
}

/// Whether a schema is structural.
pub fn is_structural(root: Schema<'_>) -> bool {
    schema::not_convertible(root).is_none() && complaints(root, "").is_empty()
}

#[cfg(test)]
mod tests;
