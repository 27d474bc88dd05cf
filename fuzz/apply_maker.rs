//! Makes objects of few words, so that managers meet.

use std::collections::BTreeMap;

use portcullis_model::schema::{Attributes, Schema, TypeId, TypeRef};
use serde_json::{Map, Value, json};

use super::Choices;
use super::model::{Topology, is_nothing, topology};

/// How deep made values go.
const DEPTH_MAX: usize = 7;
/// Fields that a sequence uses of each type.
const FIELDS: usize = 4;

/// Makes values of few words, so that managers meet.
pub struct Maker<'a> {
    schema: &'a Schema,
    pub choices: &'a mut dyn Choices,
    /// Which fields of each type there are.
    fields: BTreeMap<u16, Vec<usize>>,
}

impl<'a> Maker<'a> {
    pub fn new(schema: &'a Schema, choices: &'a mut dyn Choices) -> Maker<'a> {
        Maker { schema, choices, fields: BTreeMap::new() }
    }

    fn fields_of(&mut self, ty: TypeId, depth: usize) -> Vec<usize> {
        if let Some(found) = self.fields.get(&ty.0) {
            return found.clone();
        }
        let declared = &self.schema.ty(ty).fields;
        let is_used = |at: &usize| {
            let name = &*declared[*at].name;
            let metadata = ["labels", "annotations", "finalizers", "ownerReferences"];
            match depth {
                0 => !["apiVersion", "kind"].contains(&name),
                _ if declared.iter().any(|field| &*field.name == "managedFields") => metadata.contains(&name),
                _ => true,
            }
        };
        let mut left: Vec<usize> = (0..declared.len()).filter(is_used).collect();
        let mut chosen = Vec::new();
        while !left.is_empty() && chosen.len() < FIELDS {
            let at = self.choices.below(left.len());
            chosen.push(left.swap_remove(at));
        }
        self.fields.insert(ty.0, chosen.clone());
        chosen
    }

    /// An object; `is_whole`: inside of one value, where nothing is left empty.
    pub fn object(&mut self, ty: TypeId, depth: usize, is_whole: bool) -> Map<String, Value> {
        let mut members = Map::new();
        for at in self.fields_of(ty, depth) {
            if self.choices.once_in(3) {
                continue;
            }
            let schema = self.schema;
            let field = &schema.ty(ty).fields[at];
            let value = if !is_whole && self.choices.once_in(24) {
                Value::Null
            } else {
                self.value(field.ty, Some(&field.attributes), depth + 1, is_whole)
            };
            if !(is_whole && is_nothing(&value)) {
                members.insert(field.name.to_string(), value);
            }
        }
        members
    }

    fn word(&mut self, is_whole: bool) -> &'static str {
        ["x", "y", ""][self.choices.below(if is_whole { 2 } else { 3 })]
    }

    fn value(&mut self, ty: TypeRef, attributes: Option<&Attributes>, depth: usize, is_whole: bool) -> Value {
        let schema = self.schema;
        let of = topology(schema, ty, attributes);
        let is_whole = is_whole || matches!(of, Topology::One);
        match (ty, of) {
            _ if depth > DEPTH_MAX && matches!(ty, TypeRef::Object(_) | TypeRef::Map(_)) => json!({}),
            _ if depth > DEPTH_MAX && matches!(ty, TypeRef::List(_)) => json!([]),
            (TypeRef::Object(id), _) => Value::Object(self.object(id, depth, is_whole)),
            (TypeRef::Map(element), _) => {
                let mut members = Map::new();
                for name in ["a", "b", "c/d"] {
                    if self.choices.once_in(2) {
                        members.insert(name.to_owned(), self.value(schema.element(element), None, depth + 1, is_whole));
                    }
                }
                Value::Object(members)
            }
            (TypeRef::List(_), Topology::Keyed(id, attributes)) => self.keyed(id, attributes, depth),
            (TypeRef::List(element), Topology::Set(_)) => {
                let is_text = matches!(schema.element(element), TypeRef::String);
                let all = if is_text { [json!("a"), json!("b"), json!("c")] } else { [json!(1), json!(2), json!(3)] };
                self.some_of(all.to_vec())
            }
            (TypeRef::List(element), _) => {
                let count = 1 + self.choices.below(2);
                let element = schema.element(element);
                Value::Array((0..count).map(|_| self.value(element, None, depth + 1, true)).collect())
            }
            (TypeRef::String, _) => json!(self.word(is_whole && attributes.is_none())),
            (TypeRef::Bool, _) => json!(is_whole || self.choices.once_in(2)),
            (TypeRef::Int32 | TypeRef::Int64, _) => json!(self.choices.below(3)),
            (TypeRef::Float64, _) => json!([0.5, 1.5][self.choices.below(2)]),
            (TypeRef::Bytes, _) => json!(["AQID", "AA=="][self.choices.below(2)]),
            (TypeRef::Quantity, _) => json!(["1", "2Gi"][self.choices.below(2)]),
            (TypeRef::Time, _) => json!("2026-01-01T00:00:00Z"),
            (TypeRef::MicroTime, _) => json!("2026-01-01T00:00:00.000001Z"),
            (TypeRef::IntOrString, _) => [json!(1), json!("x")][self.choices.below(2)].clone(),
            (TypeRef::FieldsV1, _) => json!({"f:x": {}}),
            (TypeRef::RawExtension | TypeRef::Json, _) => json!({"x": self.choices.below(2)}),
            (TypeRef::Union(_), _) => {
                let name = ["string", "object"][self.choices.below(2)];
                json!({"type": name})
            }
        }
    }

    fn keyed(&mut self, id: TypeId, attributes: &Attributes, depth: usize) -> Value {
        let schema = self.schema;
        let ty = schema.ty(id);
        let mut elements = Vec::new();
        for choice in 0..3usize {
            let mut element = self.object(id, depth + 1, false);
            for (at, key) in attributes.list_map_keys.iter().enumerate() {
                let field = &ty.fields[usize::from(ty.find(key).expect("a declared key"))];
                // Elements differ in their first key, or only in another one.
                let number = if attributes.list_map_keys.len() == 1 { choice } else { (choice >> at) & 1 };
                let value = match field.ty {
                    TypeRef::Int32 | TypeRef::Int64 => json!(80 + number),
                    _ => json!(["TCP", "UDP", "SCTP"][number]),
                };
                let is_default = field.attributes.default.as_deref() == Some(&value.to_string());
                element.remove(&**key);
                if !is_default || self.choices.once_in(2) {
                    element.insert(key.to_string(), value);
                }
            }
            elements.push(Value::Object(element));
        }
        self.some_of(elements)
    }

    fn some_of(&mut self, mut all: Vec<Value>) -> Value {
        let mut chosen = Vec::new();
        while !all.is_empty() && !self.choices.once_in(4) {
            let at = self.choices.below(all.len());
            chosen.push(all.remove(at));
        }
        Value::Array(chosen)
    }
}

/// Now and then the object has an element of a list twice.
pub fn double(value: &mut Value, choices: &mut dyn Choices) {
    for name in ["items", "ports", "conditions"] {
        for at in ["", "/inner", "/spec", "/status"] {
            let Some(Value::Array(list)) = value.pointer_mut(&format!("{at}/{name}")) else { continue };
            if !list.is_empty() && choices.once_in(8) {
                let (from, to) = (choices.below(list.len()), choices.below(list.len()));
                let again = list[from].clone();
                list.insert(to, again);
            }
        }
    }
}
