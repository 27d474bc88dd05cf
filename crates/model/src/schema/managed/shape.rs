//! How values are taken apart into paths: what is one value, what has fields, keys or elements, and how an element is named
//! (upstream: the `schema` of structured-merge-diff, which is made from the same facts).

use thiserror::Error;

use super::super::field_set::{StepBuf, StepKind};
use super::super::{Attributes, Schema, Type, TypeId, TypeRef, encode_json};
use crate::go_text::push_json_string;
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
    /// Two elements of a list that is applied are called the same.
    #[error("duplicate entries for key {0}")]
    Duplicate(String),
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
    /// The kind of all its steps.
    pub const fn kind(&self) -> StepKind {
        match self.naming {
            Naming::Keys(..) => StepKind::Key,
            Naming::Value => StepKind::Value,
        }
    }

    /// The step that leads to an element.
    pub fn of(&self, tree: &Tree, node: NodeId) -> Result<StepBuf, CompareError> {
        let mut text = Vec::new();
        self.push(tree, node, &mut text)?;
        // Made of strings and ASCII.
        Ok(StepBuf::new(self.kind(), std::str::from_utf8(&text).unwrap_or_default()))
    }

    /// Appends the text of the step that leads to an element.
    pub fn push(&self, tree: &Tree, node: NodeId, out: &mut Vec<u8>) -> Result<(), CompareError> {
        let Naming::Keys(ty, keys) = &self.naming else {
            let start = out.len();
            self.push_value(tree, node, self.element, out);
            return match out.get(start..) {
                None | Some([] | [b'{' | b'[', ..] | b"null") => Err(CompareError::MisplacedElement("a set".into())),
                Some(_) => Ok(()),
            };
        };
        if tree.kind(node) != Kind::Object {
            return Err(CompareError::MisplacedElement(ty.name.clone()));
        }
        let start = out.len();
        for (name, number) in keys {
            let before = out.len();
            out.push(if before == start { b'{' } else { b',' });
            push_json_string(out, name);
            out.push(b':');
            if !self.push_key(tree, node, ty, *number, out) {
                out.truncate(before);
            }
        }
        if out.len() == start {
            return Err(CompareError::NoKey(ty.name.clone()));
        }
        out.push(b'}');
        Ok(())
    }

    /// Appends the value of a key of an element and says whether it has one.
    fn push_key(&self, tree: &Tree, node: NodeId, ty: &Type, key: Option<u16>, out: &mut Vec<u8>) -> bool {
        let Some((number, field)) = key.and_then(|number| Some((number, ty.fields.get(usize::from(number))?))) else {
            return false;
        };
        if let Some(value) = tree.field(node, number) {
            self.push_value(tree, value, field.ty, out);
        } else if ty.always.contains(number) {
            out.extend_from_slice(self.schema.zero_json(field.ty, field.presence));
        } else if let Some(default) = field.attributes.default.as_deref() {
            out.extend_from_slice(default.as_bytes());
        } else {
            return false;
        }
        true
    }

    /// Appends a value as JSON.
    fn push_value(&self, tree: &Tree, node: NodeId, ty: TypeRef, out: &mut Vec<u8>) {
        match (tree.string(node), tree.int(node)) {
            (Some(text), _) => push_json_string(out, text),
            (_, Some(value)) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            _ => encode_json::write_value(self.schema, tree, node, ty, out),
        }
    }
}
