//! How values are taken apart into paths: what is one value, what has fields, keys or elements, and how an element is named
//! (upstream: the `schema` of structured-merge-diff, which is made from the same facts).

use thiserror::Error;

use super::super::field_set::{Step, StepValue};
use super::super::{Attributes, Schema, Type, TypeId, TypeRef, encode_json};
use crate::tree::{Kind, NodeId, Tree};

/// A value that has no paths: upstream keeps no managers of such an object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CompareError {
    /// An element of a list with keys has none of them.
    #[error("an element of {0} has none of the keys that tell it apart")]
    NoKey(Box<str>),
    /// An element of a list with keys, or of a set, is not one.
    #[error("an element of {0} is null or of another type")]
    MisplacedElement(Box<str>),
}

/// What has parts of its own.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// A struct.
    Object(TypeId),
    /// A map of values of this type.
    Map(TypeRef),
    /// A list whose elements are told apart by keys.
    Keyed(TypeRef, &'a Attributes),
    /// A list whose elements are themselves.
    Set(TypeRef),
}

/// Finds shapes.
#[derive(Clone, Copy)]
pub struct Shapes<'a> {
    pub schema: &'a Schema,
}

impl<'a> Shapes<'a> {
    /// How a value of this type is taken apart; None: it is one value. Lists are, unless their field says otherwise.
    pub fn of(self, ty: TypeRef, attributes: Option<&'a Attributes>) -> Option<Shape<'a>> {
        let map_type = attributes.and_then(|attributes| attributes.map_type.as_deref());
        match ty {
            TypeRef::Object(id) if map_type != Some("atomic") => {
                (self.schema.ty(id).map_type.as_deref() != Some("atomic")).then_some(Shape::Object(id))
            }
            TypeRef::Map(number) if map_type != Some("atomic") => Some(Shape::Map(self.schema.element(number))),
            TypeRef::List(number) => {
                let attributes = attributes?;
                match attributes.list_type.as_deref()? {
                    "map" => Some(Shape::Keyed(self.schema.element(number), attributes)),
                    "set" => Some(Shape::Set(self.schema.element(number))),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// How the elements of a list are named.
    pub fn steps(self, shape: Shape<'a>) -> Steps<'a> {
        let (element, naming) = match shape {
            Shape::Keyed(element @ TypeRef::Object(id), attributes) => {
                let ty = self.schema.ty(id);
                let mut keys: Vec<(&str, Option<u16>)> =
                    attributes.list_map_keys.iter().map(|key| (&**key, ty.find(key))).collect();
                keys.sort_unstable();
                (element, Naming::Keys(ty, keys))
            }
            Shape::Keyed(element, _) | Shape::Set(element) | Shape::Map(element) => (element, Naming::Value),
            Shape::Object(id) => (TypeRef::Object(id), Naming::Value),
        };
        Steps { schema: self.schema, element, naming }
    }
}

enum Naming<'a> {
    /// By fields of the element, sorted by name.
    Keys(&'a Type, Vec<(&'a str, Option<u16>)>),
    /// By what it is.
    Value,
}

/// Names the elements of one list.
pub struct Steps<'a> {
    schema: &'a Schema,
    element: TypeRef,
    naming: Naming<'a>,
}

impl Steps<'_> {
    /// The step that names an element.
    pub fn of(&self, tree: &Tree, node: NodeId) -> Result<Step, CompareError> {
        let Naming::Keys(ty, keys) = &self.naming else {
            return match self.value(tree, node, self.element) {
                Some(StepValue::Other(_) | StepValue::Null) | None => {
                    Err(CompareError::MisplacedElement("a set".into()))
                }
                Some(value) => Ok(Step::Value(value)),
            };
        };
        if tree.kind(node) != Kind::Object {
            return Err(CompareError::MisplacedElement(ty.name.clone()));
        }
        let mut held: Vec<(Box<str>, StepValue)> = Vec::with_capacity(keys.len());
        for (name, number) in keys {
            let Some(field) = number.and_then(|number| ty.fields.get(usize::from(number))) else { continue };
            let value = match number.and_then(|number| tree.field(node, number)) {
                Some(value) => self.value(tree, value, field.ty),
                None if number.is_some_and(|number| ty.always.contains(number)) => {
                    let zero = self.schema.zero_json(field.ty, field.presence);
                    StepValue::read(std::str::from_utf8(zero).unwrap_or_default())
                }
                None => field.attributes.default.as_deref().and_then(StepValue::read),
            };
            held.extend(value.map(|value| ((*name).into(), value)));
        }
        if held.is_empty() { Err(CompareError::NoKey(ty.name.clone())) } else { Ok(Step::Key(held.into())) }
    }

    fn value(&self, tree: &Tree, node: NodeId, ty: TypeRef) -> Option<StepValue> {
        if let Some(text) = tree.string(node) {
            return Some(StepValue::String(text.into()));
        }
        if let Some(value) = tree.int(node) {
            return Some(StepValue::Int(value));
        }
        let mut text = Vec::new();
        encode_json::write_value(self.schema, tree, node, ty, &mut text);
        StepValue::read(std::str::from_utf8(&text).ok()?)
    }
}
