//! A schema of a version, as its rules read it: what is below it, and what is the same everywhere in it.
//!
//! Schemas nest as deep as a body may. Every walk has a stack of its own.

use crate::views::apiextensions_v1::JSONSchemaProps;
use crate::views::{At, List, View};
use portcullis_model::tree::Kind;

/// A schema.
pub type Schema<'t> = JSONSchemaProps<'t>;

/// What `items` says.
#[derive(Clone, Copy, Debug)]
pub enum Items<'t> {
    /// Nothing.
    Absent,
    /// Every element has this schema.
    Each(Schema<'t>),
    /// Each element has a schema of its own, which no definition may say.
    Listed(List<'t, Schema<'t>>),
}

/// What `additionalProperties` or `additionalItems` says.
#[derive(Clone, Copy, Debug)]
pub enum Additional<'t> {
    /// Nothing.
    Absent,
    /// Whether there may be any.
    Allowed(bool),
    /// What they are like.
    Each(Schema<'t>),
}

impl<'t> Additional<'t> {
    fn of(at: Option<At<'t>>) -> Additional<'t> {
        let Some(at) = at else { return Additional::Absent };
        match at.id().map(|node| (at.tree().kind(node), at.tree().bool(node))) {
            None | Some((Kind::Null, _)) => Additional::Absent,
            Some((Kind::Object, _)) => Additional::Each(Schema::at(at)),
            Some((_, allowed)) => Additional::Allowed(allowed.unwrap_or_default()),
        }
    }

    /// The schema, if there is one.
    pub fn schema(self) -> Option<Schema<'t>> {
        if let Additional::Each(schema) = self { Some(schema) } else { None }
    }

    /// Whether anything is said.
    pub fn is_present(self) -> bool {
        !matches!(self, Additional::Absent)
    }
}

/// Reads `items`.
pub fn items(schema: Schema<'_>) -> Items<'_> {
    let Some(at) = schema.items() else { return Items::Absent };
    match at.id().map(|node| at.tree().kind(node)) {
        None | Some(Kind::Null) => Items::Absent,
        Some(Kind::List) => Items::Listed(List::at(at)),
        Some(_) => Items::Each(Schema::at(at)),
    }
}

/// The schema of every element.
pub fn item(schema: Schema<'_>) -> Option<Schema<'_>> {
    if let Items::Each(item) = items(schema) { Some(item) } else { None }
}

/// Reads `additionalProperties`.
pub fn additional_properties(schema: Schema<'_>) -> Additional<'_> {
    Additional::of(schema.additional_properties())
}

/// The schema of a property.
pub fn property<'t>(schema: Schema<'t>, name: &str) -> Option<Schema<'t>> {
    schema.properties().get(name)
}

/// Whether anything is in a field that stands in the way of its being structural, in upstream's word for it.
fn unsupported(schema: Schema<'_>) -> Option<&'static str> {
    let fields = [
        (!schema.id().is_empty(), "OpenAPIV3Schema 'id' is not supported"),
        (!schema.dollar_schema().is_empty(), "OpenAPIV3Schema 'schema' is not supported"),
        (schema.dollar_ref().is_some_and(|target| !target.is_empty()), "OpenAPIV3Schema '$ref' is not supported"),
        (!schema.pattern_properties().is_empty(), "OpenAPIV3Schema 'patternProperties' is not supported"),
        (!schema.dependencies().is_empty(), "OpenAPIV3Schema 'dependencies' is not supported"),
        (Additional::of(schema.additional_items()).is_present(), "OpenAPIV3Schema 'additionalItems' is not supported"),
        (!schema.definitions().is_empty(), "OpenAPIV3Schema 'definitions' is not supported"),
        (
            schema.x_kubernetes_preserve_unknown_fields() == Some(false),
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined",
        ),
        (
            matches!(items(schema), Items::Listed(list) if !list.is_empty()),
            "OpenAPIV3Schema 'items' must be a schema, but is an array",
        ),
    ];
    fields.into_iter().find(|(is_there, _)| *is_there).map(|(_, why)| why)
}

/// Why a schema cannot be read as a structural one, if so (upstream: `NewStructural`).
pub fn not_convertible(root: Schema<'_>) -> Option<&'static str> {
    let mut found = None;
    any(root, |schema| {
        found = unsupported(schema);
        found.is_some()
    });
    found
}

/// Whether something holds for any schema in this one, itself included (upstream: `SchemaHas`).
pub fn any<'t>(root: Schema<'t>, mut holds: impl FnMut(Schema<'t>) -> bool) -> bool {
    let mut open = vec![root];
    while let Some(schema) = open.pop() {
        if holds(schema) {
            return true;
        }
        let first = open.len();
        push_below(schema, &mut open);
        if let Some(new) = open.get_mut(first..) {
            new.reverse();
        }
    }
    false
}

/// Every schema directly below this one.
fn push_below<'t>(schema: Schema<'t>, out: &mut Vec<Schema<'t>>) {
    match items(schema) {
        Items::Absent => {}
        Items::Each(item) => out.push(item),
        Items::Listed(list) => out.extend(list.iter()),
    }
    for list in [schema.all_of(), schema.any_of(), schema.one_of()] {
        out.extend(list.iter());
    }
    out.extend(schema.not_());
    out.extend(schema.properties().iter().map(|(_, below)| below));
    out.extend(additional_properties(schema).schema());
    out.extend(schema.pattern_properties().iter().map(|(_, below)| below));
    out.extend(Additional::of(schema.additional_items()).schema());
    out.extend(schema.definitions().iter().map(|(_, below)| below));
    out.extend(schema.dependencies().iter().filter_map(|(_, at)| dependency(at)));
}

/// The schema that a property brings along, if it is no list of names.
pub fn dependency(at: At<'_>) -> Option<Schema<'_>> {
    let node = at.id()?;
    (at.tree().kind(node) == Kind::Object).then(|| Schema::at(at))
}

/// Whether `additionalItems` says anything.
pub fn has_additional_items(schema: Schema<'_>) -> bool {
    Additional::of(schema.additional_items()).is_present()
}
