//! Whether what is applied has the shape of its type, and what is wrong with it otherwise (upstream: `validate` of structured-merge-diff,
//! which reads no values: that a time is none is found later).
//!
//! [`has_keys`] is asked of everything that is applied; [`mistyped`] only finds the words, so it may take its time, within limits.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use super::super::field_set::{StepBuf, StepKind};
use super::super::{Attributes, Schema, TypeId, TypeRef};
use super::shape::{CompareError, Shape, Shapes};
use crate::go_text::{push_json_string, quoted};
use crate::tree::{Kind, NodeId, Tree};

/// Bytes of complaints after which no more are looked for: the name of one element is in the path of each of its fields.
const COMPLAINT_BYTES_MAX: usize = 64 << 10;
/// Bytes of a value that is shown.
const SHOWN_BYTES_MAX: usize = 4 << 10;

/// Whether every element of a list with keys has some of them, or they have defaults, and no two of such a list, or of a set, are called the
/// same. Looks into what is one value, too.
pub fn has_keys(schema: &Schema, tree: &Tree) -> bool {
    check_names(schema, tree).is_ok()
}

/// The same, with what is wrong.
pub(super) fn check_names(schema: &Schema, tree: &Tree) -> Result<(), CompareError> {
    let shapes = Shapes { schema };
    let root = tree.object_type(tree.root()).map(|ty| (tree.root(), TypeRef::Object(ty), None));
    let mut open: Vec<(NodeId, TypeRef, Option<&Attributes>)> = root.into_iter().collect();
    while let Some((node, ty, attributes)) = open.pop() {
        match (tree.kind(node), ty) {
            (Kind::Object, TypeRef::Object(id)) => {
                for child in tree.children(node) {
                    let field = schema.ty(id).fields.get(usize::from(tree.field_number(child)));
                    open.extend(field.map(|field| (child, field.ty, Some(&*field.attributes))));
                }
            }
            (Kind::Map, TypeRef::Map(element)) => {
                let ty = schema.element(element);
                open.extend(tree.entries(node).map(|(_, child)| (child, ty, None)));
            }
            (Kind::List, TypeRef::List(element)) => {
                if let Some(shape) = shapes.of(ty, attributes) {
                    let steps = shapes.steps(shape);
                    let mut seen = HashSet::new();
                    for child in tree.children(node) {
                        let step = steps.of(tree, child)?;
                        let shown = seen.contains(&step).then(|| step.as_step().shown());
                        if let Some(shown) = shown {
                            return Err(CompareError::Duplicate(shown));
                        }
                        seen.insert(step);
                    }
                }
                let ty = schema.element(element);
                open.extend(tree.children(node).map(|child| (child, ty, None)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is wrong with the shape of a value; None: nothing that its type says.
pub fn mistyped(schema: &Schema, ty: TypeId, value: &Value) -> Option<String> {
    let mut walk = Walk { schema, places: Vec::new(), todo: Vec::new(), said: Vec::new(), bytes: 0 };
    walk.todo.push(Todo::Visit { at: None, ty: TypeRef::Object(ty), attributes: None, value });
    while let Some(todo) = walk.todo.pop() {
        match todo {
            Todo::Say { at, what } => walk.say(at, &what),
            Todo::Visit { at, ty, attributes, value } => walk.visit(at, ty, attributes, value),
        }
        if walk.bytes > COMPLAINT_BYTES_MAX {
            break;
        }
    }
    match walk.said.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("errors:\n  {}", several.join("\n  "))),
    }
}

/// What is still to be done, the next one last.
enum Todo<'a> {
    Visit { at: Option<usize>, ty: TypeRef, attributes: Option<&'a Attributes>, value: &'a Value },
    Say { at: Option<usize>, what: String },
}

struct Walk<'a> {
    schema: &'a Schema,
    /// Each step with the place that it is below.
    places: Vec<(Option<usize>, StepBuf)>,
    todo: Vec<Todo<'a>>,
    said: Vec<String>,
    bytes: usize,
}

impl<'a> Walk<'a> {
    fn say(&mut self, at: Option<usize>, what: &str) {
        let mut steps = Vec::new();
        let mut next = at.and_then(|at| self.places.get(at));
        while let Some((above, step)) = next {
            steps.push(step.as_step().shown());
            next = above.and_then(|above| self.places.get(above));
        }
        steps.reverse();
        let path = steps.concat();
        let said = if path.is_empty() { what.to_owned() } else { format!("{path}: {what}") };
        self.bytes += said.len();
        self.said.push(said);
    }

    fn place(&mut self, above: Option<usize>, step: StepBuf) -> Option<usize> {
        self.places.push((above, step));
        Some(self.places.len() - 1)
    }

    fn visit(&mut self, at: Option<usize>, ty: TypeRef, attributes: Option<&'a Attributes>, value: &'a Value) {
        if value.is_null() {
            return;
        }
        match (ty, value) {
            (TypeRef::Json, _) | (TypeRef::Union(_), _) => {}
            (TypeRef::Object(_) | TypeRef::Map(_), Value::Object(_)) => self.members(at, ty, value),
            (TypeRef::RawExtension | TypeRef::FieldsV1, Value::Object(_)) => {}
            (TypeRef::Object(_) | TypeRef::Map(_) | TypeRef::RawExtension | TypeRef::FieldsV1, _) => {
                self.say(at, &format!("expected map, got &{{{}}}", printed(value)));
            }
            (TypeRef::List(element), Value::Array(elements)) => self.elements(at, element, attributes, elements),
            (TypeRef::List(_), _) => self.say(at, &format!("expected list, got &{{{}}}", printed(value))),
            (TypeRef::String | TypeRef::Bytes, Value::String(_)) => {}
            (TypeRef::String | TypeRef::Bytes, _) => {
                let what = format!("expected string, got &value.valueUnstructured{{Value:{}}}", spelled(value));
                self.say(at, &what);
            }
            (TypeRef::Bool, Value::Bool(_)) => {}
            (TypeRef::Bool, _) => self.say(at, &format!("expected boolean, got &{{{}}}", printed(value))),
            (TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64, Value::Number(_)) => {}
            (TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64, _) => {
                self.say(at, &format!("expected numeric (int or float), got {}", go_type(value)));
            }
            (_, Value::Object(_) | Value::Array(_)) => {
                self.say(at, &format!("expected any scalar, got &{{{}}}", printed(value)));
            }
            _ => {}
        }
    }

    /// The members of a struct or map. What is behind one that nobody declared is not looked at.
    fn members(&mut self, at: Option<usize>, ty: TypeRef, value: &'a Value) {
        let mut todo = Vec::new();
        for (name, member) in value.as_object().into_iter().flatten() {
            let at = self.place(at, StepBuf::new(StepKind::Field, name));
            let declared = match ty {
                TypeRef::Map(element) => Some((self.schema.element(element), None)),
                TypeRef::Object(id) => {
                    let ty = self.schema.ty(id);
                    let field = ty.find(name).and_then(|number| ty.fields.get(usize::from(number)));
                    field.map(|field| (field.ty, Some(&*field.attributes)))
                }
                _ => None,
            };
            let Some((ty, attributes)) = declared else {
                todo.push(Todo::Say { at, what: "field not declared in schema".to_owned() });
                break;
            };
            todo.push(Todo::Visit { at, ty, attributes, value: member });
        }
        self.todo.extend(todo.into_iter().rev());
    }

    /// The elements of a list. What is behind one that cannot be told apart is not looked at.
    fn elements(&mut self, at: Option<usize>, element: u16, attributes: Option<&'a Attributes>, elements: &'a [Value]) {
        let mut todo = Vec::new();
        let mut seen = HashSet::new();
        let ty = self.schema.element(element);
        let shape = attributes.and_then(|of| Shapes { schema: self.schema }.of(TypeRef::List(element), Some(of)));
        for (index, value) in elements.iter().enumerate() {
            let step = match shape {
                Some(Shape::Keyed(TypeRef::Object(id), attributes)) => key_of(self.schema, id, attributes, value),
                Some(Shape::Set(_)) => member_of_set(value),
                _ => {
                    let at = self.place(at, StepBuf::new(StepKind::Index, &index.to_string()));
                    todo.push(Todo::Visit { at, ty, attributes: None, value });
                    continue;
                }
            };
            let step = match step {
                Ok(step) => step,
                Err(why) => {
                    todo.push(Todo::Say { at, what: format!("element {index}: {why}") });
                    break;
                }
            };
            if !seen.insert(step.clone()) {
                let what = format!("duplicate entries for key {}", step.as_step().shown());
                todo.push(Todo::Say { at, what });
            }
            let at = self.place(at, step);
            todo.push(Todo::Visit { at, ty, attributes: None, value });
        }
        self.todo.extend(todo.into_iter().rev());
    }
}

/// The keys of an element.
fn key_of(schema: &Schema, ty: TypeId, attributes: &Attributes, element: &Value) -> Result<StepBuf, String> {
    let members = match element {
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        Value::Object(members) => members,
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let ty = schema.ty(ty);
    let mut keys = BTreeMap::new();
    for name in attributes.list_map_keys.iter() {
        let field = ty.find(name).and_then(|number| ty.fields.get(usize::from(number)));
        let default = || field.and_then(|field| field.attributes.default.as_deref().map(str::to_owned));
        keys.extend(members.get(&**name).map(json_text).or_else(default).map(|text| (&**name, text)));
    }
    if keys.is_empty() {
        let names: Vec<String> = attributes.list_map_keys.iter().map(|name| quoted(name)).collect();
        let why = "(and doesn't have default values for any key fields)";
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] {why}",
            names.join(" ")
        ));
    }
    let mut text = Vec::new();
    for (name, value) in keys {
        text.push(if text.is_empty() { b'{' } else { b',' });
        push_json_string(&mut text, name);
        text.push(b':');
        text.extend_from_slice(value.as_bytes());
    }
    text.push(b'}');
    Ok(StepBuf::new(StepKind::Key, std::str::from_utf8(&text).unwrap_or_default()))
}

/// The element of a set.
fn member_of_set(element: &Value) -> Result<StepBuf, String> {
    match element {
        Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
        Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
        Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
        scalar => Ok(StepBuf::new(StepKind::Value, &json_text(scalar))),
    }
}

/// A value as Go writes it in JSON.
fn json_text(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let mut out = Vec::new();
    push_json_string(&mut out, text);
    String::from_utf8(out).unwrap_or_default()
}

/// What Go calls the type that it reads JSON as.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A piece of a value that is printed.
enum Piece<'a> {
    Value(&'a Value),
    Text(String),
}

/// A value as Go's `%v` prints it.
fn printed(value: &Value) -> String {
    print(
        value,
        |value| match value {
            Value::Null => "<nil>".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        [("map[", ":", " ", "]"), ("[", "", " ", "]")],
        str::to_owned,
    )
}

/// A value as Go's `%#v` spells it.
fn spelled(value: &Value) -> String {
    print(
        value,
        |value| match value {
            Value::Null => "interface {}(nil)".to_owned(),
            Value::String(text) => quoted(text),
            other => other.to_string(),
        },
        [("map[string]interface {}{", ":", ", ", "}"), ("[]interface {}{", "", ", ", "}")],
        quoted,
    )
}

/// Prints a value: scalars and names as these functions do; a map and a list each with what begins, parts and ends it.
fn print(
    value: &Value,
    scalar: impl Fn(&Value) -> String,
    [map, list]: [(&str, &str, &str, &str); 2],
    name: impl Fn(&str) -> String,
) -> String {
    let mut out = String::new();
    let mut open = vec![Piece::Value(value)];
    while let Some(piece) = open.pop() {
        if out.len() > SHOWN_BYTES_MAX {
            break;
        }
        match piece {
            Piece::Text(text) => out.push_str(&text),
            Piece::Value(Value::Object(members)) => {
                out.push_str(map.0);
                open.push(Piece::Text(map.3.to_owned()));
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                for (at, (key, member)) in members.into_iter().enumerate().rev() {
                    open.push(Piece::Value(member));
                    let before = if at > 0 { map.2 } else { "" };
                    open.push(Piece::Text(format!("{before}{}{}", name(key), map.1)));
                }
            }
            Piece::Value(Value::Array(elements)) => {
                out.push_str(list.0);
                open.push(Piece::Text(list.3.to_owned()));
                for (at, element) in elements.iter().enumerate().rev() {
                    open.push(Piece::Value(element));
                    open.extend((at > 0).then(|| Piece::Text(list.2.to_owned())));
                }
            }
            Piece::Value(value) => out.push_str(&scalar(value)),
        }
    }
    out
}
