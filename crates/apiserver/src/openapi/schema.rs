//! The schemas of types: what stands under `components.schemas` in v3 and `definitions` in v2.
//!
//! Both come from the same facts. They differ in where references point, in that v3 wraps a reference that has siblings in `allOf`,
//! and in that v2 has no defaults and no alternatives.

use std::collections::{BTreeSet, VecDeque};

use portcullis_kinds::descriptions::Descriptions;
use portcullis_model::schema::{Field, Schema, Type, TypeRef, facts};
use serde_json::{Map, Value, json};

/// What OpenAPI names begin with; the names of the facts leave it out.
pub(super) const NAME_PREFIX: &str = "io.k8s.";

pub(super) const DELETE_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const WATCH_EVENT: &str = "apimachinery.pkg.apis.meta.v1.WatchEvent";
pub(super) const STATUS: &str = "apimachinery.pkg.apis.meta.v1.Status";
pub(super) const PATCH: &str = "apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const API_GROUP: &str = "apimachinery.pkg.apis.meta.v1.APIGroup";
pub(super) const API_GROUP_LIST: &str = "apimachinery.pkg.apis.meta.v1.APIGroupList";
pub(super) const API_RESOURCE_LIST: &str = "apimachinery.pkg.apis.meta.v1.APIResourceList";
pub(super) const API_VERSIONS: &str = "apimachinery.pkg.apis.meta.v1.APIVersions";
pub(super) const VERSION_INFO: &str = "apimachinery.pkg.version.Info";

/// The names of [`VERSION_INFO`]'s fields, and which of them are always there; it is not a kind, so the facts lack it.
const VERSION_INFO_FIELDS: &[(&str, bool)] = &[
    ("major", true),
    ("minor", true),
    ("emulationMajor", false),
    ("emulationMinor", false),
    ("minCompatibilityMajor", false),
    ("minCompatibilityMinor", false),
    ("gitVersion", true),
    ("gitCommit", true),
    ("gitTreeState", true),
    ("buildDate", true),
    ("goVersion", true),
    ("compiler", true),
    ("platform", true),
];

/// What is said of the fields of lists, which are described nowhere else.
const LIST_FIELDS: &[(&str, &str)] = &[
    ("apiVersion", "The version of this list's kind."),
    ("items", "The objects."),
    ("kind", "The list's kind."),
    ("metadata", "The version of the list, and how to go on when it is only a part."),
];

/// The form of OpenAPI that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dialect {
    /// OpenAPI 2.0.
    V2,
    /// OpenAPI 3.0.
    V3,
}

impl Dialect {
    /// A reference to the schema of a type.
    pub(super) fn reference(self, name: &str) -> Value {
        json!({ "$ref": format!("{}{NAME_PREFIX}{name}", self.reference_prefix()) })
    }

    fn reference_prefix(self) -> &'static str {
        match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        }
    }
}

/// Makes the schemas of one document.
pub(super) struct Schemas<'a> {
    pub(super) schema: &'a Schema,
    pub(super) dialect: Dialect,
    pub(super) descriptions: &'a Descriptions,
    /// The group-versions of the document, which options and watch events are also known under.
    pub(super) group_versions: Vec<(&'a str, &'a str)>,
}

/// Whether a value is something else than a struct to Go, so that its zero is published as its default.
fn default_of(ty: TypeRef) -> Option<Value> {
    match ty {
        TypeRef::String => Some(json!("")),
        TypeRef::Bool => Some(json!(false)),
        TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64 => Some(json!(0)),
        TypeRef::Object(_) => Some(json!({})),
        _ => None,
    }
}

/// The name of the type that a value refers to, when it is a type with a name.
fn named(schema: &Schema, ty: TypeRef) -> Option<&str> {
    match ty {
        TypeRef::Object(id) => Some(&schema.ty(id).name),
        TypeRef::Union(number) => Some(&schema.union(number).name),
        TypeRef::Quantity => Some("apimachinery.pkg.api.resource.Quantity"),
        TypeRef::Time => Some("apimachinery.pkg.apis.meta.v1.Time"),
        TypeRef::MicroTime => Some("apimachinery.pkg.apis.meta.v1.MicroTime"),
        TypeRef::FieldsV1 => Some("apimachinery.pkg.apis.meta.v1.FieldsV1"),
        TypeRef::RawExtension => Some("apimachinery.pkg.runtime.RawExtension"),
        TypeRef::IntOrString => Some("apimachinery.pkg.util.intstr.IntOrString"),
        TypeRef::Json => Some("apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON"),
        _ => None,
    }
}

/// What lies in a list or map, through any number of them.
fn innermost(schema: &Schema, mut ty: TypeRef) -> TypeRef {
    while let TypeRef::List(number) | TypeRef::Map(number) = ty {
        ty = schema.element(number);
    }
    ty
}

/// The names of all types that can be reached from some, these included, in order.
pub(super) fn closure(schema: &Schema, roots: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut seen: BTreeSet<String> = roots.into_iter().collect();
    let mut queue: VecDeque<String> = seen.iter().cloned().collect();
    while let Some(name) = queue.pop_front() {
        let Some(id) = schema.by_name(&name) else { continue };
        for field in &schema.ty(id).fields {
            let Some(below) = named(schema, innermost(schema, field.ty)) else { continue };
            if seen.insert(below.to_owned()) {
                queue.push_back(below.to_owned());
            }
        }
    }
    seen
}

impl Schemas<'_> {
    /// The schema of a type of this name.
    pub(super) fn of(&self, name: &str) -> Value {
        let mut out = match self.leaf(name) {
            Some(leaf) => leaf,
            None => match self.schema.by_name(name) {
                Some(id) => self.object(self.schema.ty(id)),
                None => Map::new(),
            },
        };
        match (self.descriptions.of(name), name.rsplit('.').next().and_then(|name| name.strip_suffix("List"))) {
            (Some(described), _) => describe(&mut out, described.summary()),
            (None, Some(kind)) => describe(&mut out, &format!("A list of {kind} objects.")),
            (None, None) => {}
        }
        Value::Object(out)
    }

    /// The schemas of what is a value of its own, whatever its Go type.
    fn leaf(&self, name: &str) -> Option<Map<String, Value>> {
        let either = |a: &str, b: &str| json!([{ "type": a }, { "type": b }]);
        let value = match (name.rsplit('.').next()?, self.dialect) {
            ("Quantity", Dialect::V2) => json!({ "type": "string" }),
            ("Quantity", Dialect::V3) => json!({ "oneOf": either("string", "number") }),
            ("IntOrString", Dialect::V2) => json!({ "type": "string", "format": "int-or-string" }),
            ("IntOrString", Dialect::V3) => json!({ "format": "int-or-string", "oneOf": either("integer", "string") }),
            ("Time" | "MicroTime", _) => json!({ "type": "string", "format": "date-time" }),
            ("FieldsV1" | "RawExtension" | "Patch", _) => json!({ "type": "object" }),
            ("JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray", _) => {
                json!({})
            }
            ("Info", _) if name == VERSION_INFO => self.version_info(),
            _ => return None,
        };
        match value {
            Value::Object(map) => Some(map),
            _ => None,
        }
    }

    fn version_info(&self) -> Value {
        let described = self.descriptions.of(VERSION_INFO);
        let mut properties = Map::new();
        for (name, always) in VERSION_INFO_FIELDS {
            let mut field = Map::from_iter([("type".to_owned(), json!("string"))]);
            if *always && self.dialect == Dialect::V3 {
                field.insert("default".to_owned(), json!(""));
            }
            describe(&mut field, described.and_then(|described| described.field(name)).unwrap_or_default());
            properties.insert((*name).to_owned(), Value::Object(field));
        }
        let required: Vec<&str> =
            VERSION_INFO_FIELDS.iter().filter(|(_, always)| *always).map(|(name, _)| *name).collect();
        json!({ "type": "object", "properties": properties, "required": required })
    }

    fn object(&self, ty: &Type) -> Map<String, Value> {
        let mut out = Map::from_iter([("type".to_owned(), json!("object"))]);
        let described = self.descriptions.of(&ty.name);
        let mut properties = Map::new();
        for field in &ty.fields {
            let description = match described {
                Some(described) => Some(described.field(&field.name).unwrap_or_default()),
                // A type that is not described at all (a list) is documented upstream all the same.
                None => LIST_FIELDS.iter().find(|(name, _)| *name == &*field.name).map(|(_, text)| *text),
            };
            properties.insert(field.name.to_string(), Value::Object(self.property(field, description)));
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), Value::Object(properties));
        }
        let required: Vec<&str> =
            ty.fields.iter().filter(|field| field.attributes.required).map(|field| &*field.name).collect();
        if !required.is_empty() {
            out.insert("required".to_owned(), json!(required));
        }
        let kinds = self.kinds(ty);
        if !kinds.is_empty() {
            out.insert("x-kubernetes-group-version-kind".to_owned(), Value::Array(kinds));
        }
        if let Some(map_type) = &ty.map_type {
            out.insert("x-kubernetes-map-type".to_owned(), json!(map_type));
        }
        if let Some(unions) = ty.unions.as_deref().and_then(|unions| serde_json::from_str(unions).ok()) {
            out.insert("x-kubernetes-unions".to_owned(), unions);
        }
        out
    }

    fn kinds(&self, ty: &Type) -> Vec<Value> {
        let kind = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
        if matches!(&*ty.name, DELETE_OPTIONS | WATCH_EVENT) {
            // These are registered with every group-version; a document names its own beside the core one.
            let mut group_versions = self.group_versions.clone();
            group_versions.push(("", "v1"));
            group_versions.sort_unstable();
            group_versions.dedup();
            return group_versions.iter().map(|(group, version)| kind(group, version, ty.short_name())).collect();
        }
        let parts = ty.gvks.iter().filter_map(|gvk| {
            let (group_version, name) = gvk.rsplit_once('/')?;
            let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
            Some(kind(group, version, name))
        });
        parts.collect()
    }

    /// The schema of a field; `description` is empty where upstream has none, nothing where it is not known.
    fn property(&self, field: &Field, description: Option<&str>) -> Map<String, Value> {
        let attributes = &field.attributes;
        let mut out = Map::new();
        let default = attributes.default.as_deref().filter(|_| self.dialect == Dialect::V3);
        if let Some(default) = default.and_then(|text| serde_json::from_str(&facts::unescape(text)).ok()) {
            out.insert("default".to_owned(), default);
        }
        let mut extend = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                out.insert(format!("x-kubernetes-{name}"), json!(value));
            }
        };
        extend("list-type", attributes.list_type.as_deref());
        extend("map-type", attributes.map_type.as_deref());
        extend("patch-strategy", attributes.patch_strategy.as_deref());
        extend("patch-merge-key", attributes.patch_merge_key.as_deref());
        if !attributes.list_map_keys.is_empty() {
            out.insert("x-kubernetes-list-map-keys".to_owned(), json!(attributes.list_map_keys));
        }
        if !attributes.enum_values.is_empty() {
            out.insert("enum".to_owned(), json!(attributes.enum_values));
        }
        match description {
            Some(text) if !text.is_empty() && !attributes.enum_values.is_empty() => {
                describe(&mut out, &with_values(text, &attributes.enum_values));
            }
            _ => describe(&mut out, description.unwrap_or_default()),
        }
        let has_siblings = !out.is_empty() || description.is_none();
        self.value(field.ty, &attributes.item_enum, has_siblings, &mut out);
        out
    }

    /// Adds what says the type of a value. `has_siblings`: something else stands beside it, so v3 must wrap a reference.
    fn value(&self, ty: TypeRef, item_enum: &[Box<str>], has_siblings: bool, out: &mut Map<String, Value>) {
        if let Some(name) = named(self.schema, ty) {
            let reference = self.dialect.reference(name);
            match (self.dialect, has_siblings) {
                (Dialect::V3, true) => _ = out.insert("allOf".to_owned(), json!([reference])),
                _ => out.extend(reference.as_object().cloned().unwrap_or_default()),
            }
            return;
        }
        let (name, format) = match ty {
            TypeRef::Bool => ("boolean", None),
            TypeRef::Int32 => ("integer", Some("int32")),
            TypeRef::Int64 => ("integer", Some("int64")),
            TypeRef::Float64 => ("number", Some("double")),
            TypeRef::Bytes => ("string", Some("byte")),
            TypeRef::List(_) => ("array", None),
            TypeRef::Map(_) => ("object", None),
            _ => ("string", None),
        };
        out.insert("type".to_owned(), json!(name));
        if let Some(format) = format {
            out.insert("format".to_owned(), json!(format));
        }
        match ty {
            TypeRef::List(number) => out.insert("items".to_owned(), self.element(number, item_enum)),
            TypeRef::Map(number) => out.insert("additionalProperties".to_owned(), self.element(number, item_enum)),
            _ => None,
        };
    }

    /// The schema of what is in a list or map. A list of lists does not occur, a map of lists does, so this goes down one level.
    fn element(&self, number: u16, item_enum: &[Box<str>]) -> Value {
        let ty = self.schema.element(number);
        let mut out = Map::new();
        if let Some(default) = default_of(ty).filter(|_| self.dialect == Dialect::V3) {
            out.insert("default".to_owned(), default);
        }
        if !item_enum.is_empty() {
            out.insert("enum".to_owned(), json!(item_enum));
        }
        let has_siblings = !out.is_empty();
        self.value(ty, &[], has_siblings, &mut out);
        Value::Object(out)
    }
}

fn describe(out: &mut Map<String, Value>, description: &str) {
    if !description.is_empty() {
        out.insert("description".to_owned(), json!(description));
    }
}

/// What is said about a field, followed by the values that it may have: `kubectl explain` shows nothing else of them.
fn with_values(description: &str, values: &[Box<str>]) -> String {
    let mut text = format!("{description}\n\nPossible enum values:");
    for value in values {
        text.push_str("\n - `");
        text.push_str(&json!(value).to_string());
        text.push('`');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TABLE: &str = "\
package boats.v1
type Boat gvk=sea/v1/Boat map-type=atomic
 kind 1 omitempty string
 name 2 always string required default=\"\"
 crew 3 omitempty []string patch=merge key=name list=map keys=name,role items=cook,mate
 mast 4 omitempty Mast default={}
 spare 5 optional Mast
 draft 6 optional int64 format=int64
 flags 7 omitempty map[string]Mast map=granular
 cargo 8 omitempty map[string][]bytes
 state 9 omitempty string enum=afloat,sunk
type Mast
 height 1 always int32 required default=0
type Anchor
";

    #[test]
    fn fields() {
        let schema = Schema::load([TABLE]).unwrap();
        let descriptions = Descriptions::default();
        let check = |field: &str, v3: Value, v2: Value| {
            for (dialect, expected) in [(Dialect::V3, v3), (Dialect::V2, v2)] {
                let schemas =
                    Schemas { schema: &schema, dialect, descriptions: &descriptions, group_versions: Vec::new() };
                assert_eq!(schemas.of("boats.v1.Boat")["properties"][field], expected, "{field} {dialect:?}");
            }
        };
        check("name", json!({ "type": "string", "default": "" }), json!({ "type": "string" }));
        let crew = |items: Value| {
            json!({
                "type": "array",
                "items": items,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name", "role"],
                "x-kubernetes-patch-strategy": "merge",
                "x-kubernetes-patch-merge-key": "name",
            })
        };
        let items = json!({ "type": "string", "enum": ["cook", "mate"] });
        let mut items_with_default = items.clone();
        items_with_default["default"] = json!("");
        check("crew", crew(items_with_default), crew(items));
        let (v3, v2) = ("#/components/schemas/io.k8s.boats.v1.Mast", "#/definitions/io.k8s.boats.v1.Mast");
        check("mast", json!({ "allOf": [{ "$ref": v3 }], "default": {} }), json!({ "$ref": v2 }));
        check("spare", json!({ "allOf": [{ "$ref": v3 }] }), json!({ "$ref": v2 }));
        let draft = json!({ "type": "integer", "format": "int64" });
        check("draft", draft.clone(), draft);
        check(
            "flags",
            json!({ "type": "object", "additionalProperties": { "allOf": [{ "$ref": v3 }], "default": {} }, "x-kubernetes-map-type": "granular" }),
            json!({ "type": "object", "additionalProperties": { "$ref": v2 }, "x-kubernetes-map-type": "granular" }),
        );
        let cargo = json!({ "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string", "format": "byte" } } });
        check("cargo", cargo.clone(), cargo);
        let state = json!({ "type": "string", "enum": ["afloat", "sunk"] });
        check("state", state.clone(), state);
    }

    #[test]
    fn values_follow_the_description() {
        let schema = Schema::load([TABLE]).unwrap();
        let descriptions = Descriptions::default();
        let schemas =
            Schemas { schema: &schema, dialect: Dialect::V3, descriptions: &descriptions, group_versions: Vec::new() };
        let boat = schema.by_kind("sea/v1", "Boat").unwrap();
        let check = |field: &str, description: Option<&str>, expected: Option<&str>| {
            let field = schema.ty(boat).fields.iter().find(|held| &*held.name == field).unwrap();
            let made = schemas.property(field, description);
            assert_eq!(made.get("description").and_then(Value::as_str), expected);
        };
        let values = "Whether it floats.\n\nPossible enum values:\n - `\"afloat\"`\n - `\"sunk\"`";
        check("state", Some("Whether it floats."), Some(values));
        check("state", None, None);
        check("name", Some("What it is called."), Some("What it is called."));
    }

    #[test]
    fn types() {
        let schema = Schema::load([TABLE]).unwrap();
        let descriptions = Descriptions::default();
        let schemas =
            Schemas { schema: &schema, dialect: Dialect::V3, descriptions: &descriptions, group_versions: Vec::new() };
        let boat = schemas.of("boats.v1.Boat");
        assert_eq!(boat["required"], json!(["name"]));
        assert_eq!(boat["x-kubernetes-map-type"], "atomic");
        assert_eq!(
            boat["x-kubernetes-group-version-kind"],
            json!([{ "group": "sea", "version": "v1", "kind": "Boat" }])
        );
        assert_eq!(schemas.of("boats.v1.Anchor"), json!({ "type": "object" }));
        assert_eq!(schemas.of("boats.v1.Raft"), json!({}));
    }

    #[test]
    fn options_and_events_are_known_under_the_group_version_of_their_document() {
        let check = |group_versions: &[(&str, &str)], expected: &[(&str, &str)]| {
            let (schema, descriptions) = (portcullis_kinds::schema(), Descriptions::default());
            let group_versions = group_versions.to_vec();
            let schemas = Schemas { schema, dialect: Dialect::V3, descriptions: &descriptions, group_versions };
            for (name, kind) in [(DELETE_OPTIONS, "DeleteOptions"), (WATCH_EVENT, "WatchEvent")] {
                let kinds =
                    expected.iter().map(|(group, version)| json!({ "group": group, "version": version, "kind": kind }));
                assert_eq!(schemas.of(name)["x-kubernetes-group-version-kind"], kinds.collect::<Value>(), "{name}");
            }
        };
        check(&[("", "v1")], &[("", "v1")]);
        check(&[("apps", "v1")], &[("", "v1"), ("apps", "v1")]);
    }

    #[test]
    fn a_closure_goes_through_lists_maps_and_cycles() {
        let check = |root: &str, holds: &[&str], lacks: &[&str]| {
            let names = closure(portcullis_kinds::schema(), [root.to_owned()]);
            assert!(holds.iter().all(|name| names.contains(*name)), "{root}: {names:?}");
            assert!(!lacks.iter().any(|name| names.contains(*name)), "{root}: {names:?}");
        };
        check(
            "api.core.v1.PodList",
            &["api.core.v1.Pod", "api.core.v1.Container", "apimachinery.pkg.api.resource.Quantity"],
            &["api.core.v1.Node"],
        );
        let crd = "apiextensions-apiserver.pkg.apis.apiextensions.v1";
        check(
            &format!("{crd}.JSONSchemaProps"),
            &[&format!("{crd}.JSON"), &format!("{crd}.JSONSchemaPropsOrBool")],
            &[],
        );
    }
}
