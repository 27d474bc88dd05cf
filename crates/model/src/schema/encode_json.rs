//! Tree to JSON, byte for byte as Go's `encoding/json` writes the API structs: fields in declared order, zero values that have no
//! `omitempty`, `<`, `>`, `&`, U+2028 and U+2029 escaped, keys of maps in byte order. An explicit stack, no recursion.

use super::{Alternative, FieldSet, Presence, Schema, Type, TypeRef};
use crate::tree::{Kind, Node, NodeId, Tree, flag};
use crate::{go_text, number, time};

/// Appends the whole object.
pub fn write(schema: &Schema, tree: &Tree, out: &mut Vec<u8>) {
    out.reserve(tree.source.len() + tree.side.len() + 256);
    write_value(schema, tree, tree.root(), TypeRef::Json, out);
}

/// Appends one value of a tree. The type is that of the field, list or map that the value is in; it says what a null stands for.
pub fn write_value(schema: &Schema, tree: &Tree, value: NodeId, ty: TypeRef, out: &mut Vec<u8>) {
    let mut writer = Writer { schema, tree, out, stack: Vec::with_capacity(16) };
    writer.value(tree.node(value), ty);
    while let Some(frame) = writer.stack.pop() {
        match frame.shape {
            Shape::Object(ty) => writer.object(frame, ty),
            Shape::List(element) => writer.list(frame, element),
            Shape::Map(value) => writer.map(frame, value),
        }
    }
}

/// The whole object as JSON text.
pub fn to_vec(schema: &Schema, tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    write(schema, tree, &mut out);
    out
}

#[derive(Clone, Copy)]
enum Shape<'a> {
    Object(&'a Type),
    List(TypeRef),
    Map(TypeRef),
}

/// A container whose closing bracket is not written yet.
#[derive(Clone, Copy)]
struct Frame<'a> {
    /// The next child.
    at: u32,
    shape: Shape<'a>,
    /// Of an object: fields that must be written and have not been.
    owed: FieldSet,
    first: bool,
}

struct Writer<'a> {
    schema: &'a Schema,
    tree: &'a Tree,
    out: &'a mut Vec<u8>,
    stack: Vec<Frame<'a>>,
}

impl<'a> Writer<'a> {
    /// Writes a scalar, or the opening bracket of a container, whose frame is then on the stack. True: something was opened.
    #[inline]
    fn value(&mut self, node: &'a Node, ty: TypeRef) -> bool {
        match node.kind {
            Kind::String | Kind::Key => self.string(node),
            Kind::Object => {
                let ty = self.schema.ty(crate::schema::TypeId(node.b as u16));
                self.out.push(b'{');
                self.stack.push(Frame { at: node.a, shape: Shape::Object(ty), owed: ty.always, first: true });
                return true;
            }
            Kind::List => {
                self.out.push(b'[');
                let shape = Shape::List(element(self.schema, ty));
                self.stack.push(Frame { at: node.a, shape, owed: FieldSet::default(), first: true });
                return true;
            }
            Kind::Map => {
                self.out.push(b'{');
                let shape = Shape::Map(element(self.schema, ty));
                self.stack.push(Frame { at: node.a, shape, owed: FieldSet::default(), first: true });
                return true;
            }
            Kind::Int => {
                let mut buffer = itoa::Buffer::new();
                self.out.extend_from_slice(buffer.format(node.value()).as_bytes());
            }
            Kind::Bool => self.out.extend_from_slice(if node.a != 0 { b"true" } else { b"false" }),
            Kind::Raw => self.out.extend_from_slice(self.tree.node_text(node).as_bytes()),
            Kind::Null => self.out.extend_from_slice(self.schema.zero_json(ty, Presence::Always)),
            Kind::Float => {
                // A tree holds no infinity and no NaN: no decoder lets them in.
                let _ = number::push_json_float(self.out, f64::from_bits(node.value() as u64));
            }
            Kind::Time => {
                self.out.push(b'"');
                time::push_time(self.out, node.value());
                self.out.push(b'"');
            }
            Kind::MicroTime => {
                self.out.push(b'"');
                time::push_micro_time(self.out, node.value());
                self.out.push(b'"');
            }
        }
        false
    }

    #[inline]
    fn string(&mut self, node: &Node) {
        let text = self.tree.node_text(node);
        if node.flags & flag::ESCAPE != 0 {
            go_text::push_json_string(self.out, text);
        } else {
            self.out.reserve(text.len() + 2);
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
        }
    }

    fn object(&mut self, mut frame: Frame<'a>, ty: &'a Type) {
        while let Some(child) = self.next(&mut frame) {
            let number = child.field;
            let before = (1u128 << (number & 127)) - 1;
            let owed = frame.owed.0 & before;
            if owed != 0 {
                self.zeros(ty, owed, &mut frame.first);
            }
            frame.owed.0 &= !(before | 1u128 << (number & 127));
            let Some(field) = ty.fields.get(number as usize) else { continue };
            self.comma(&mut frame.first);
            self.out.extend_from_slice(&field.key);
            // The frame goes below what the value may open.
            if matches!(child.kind, Kind::Object | Kind::List | Kind::Map) {
                self.stack.push(frame);
                self.value(child, field.ty);
                return;
            }
            self.value(child, field.ty);
        }
        self.zeros(ty, frame.owed.0, &mut frame.first);
        self.out.push(b'}');
    }

    fn list(&mut self, mut frame: Frame<'a>, element: TypeRef) {
        while let Some(child) = self.next(&mut frame) {
            self.comma(&mut frame.first);
            if matches!(child.kind, Kind::Object | Kind::List | Kind::Map) {
                self.stack.push(frame);
                self.value(child, element);
                return;
            }
            self.value(child, element);
        }
        self.out.push(b']');
    }

    fn map(&mut self, mut frame: Frame<'a>, value: TypeRef) {
        while frame.at != 0 {
            let (key, held) = (self.tree.node(NodeId(frame.at)), self.tree.node(NodeId(frame.at + 1)));
            frame.at = key.next;
            self.comma(&mut frame.first);
            self.string(key);
            self.out.push(b':');
            if matches!(held.kind, Kind::Object | Kind::List | Kind::Map) {
                self.stack.push(frame);
                self.value(held, value);
                return;
            }
            self.value(held, value);
        }
        self.out.push(b'}');
    }

    #[inline]
    fn next(&self, frame: &mut Frame<'a>) -> Option<&'a Node> {
        if frame.at == 0 {
            return None;
        }
        let node = self.tree.node(NodeId(frame.at));
        frame.at = node.next;
        Some(node)
    }

    #[inline]
    fn comma(&mut self, first: &mut bool) {
        if !*first {
            self.out.push(b',');
        }
        *first = false;
    }

    /// Writes the zero values of these fields.
    fn zeros(&mut self, ty: &Type, mut owed: u128, first: &mut bool) {
        while owed != 0 {
            let number = owed.trailing_zeros() as usize;
            owed &= owed - 1;
            let Some(field) = ty.fields.get(number) else { continue };
            self.comma(first);
            self.out.extend_from_slice(&field.key);
            self.out.extend_from_slice(self.schema.zero_json(field.ty, field.presence));
        }
    }
}

/// The type of what a list or map of this type holds.
#[inline]
pub(super) fn element(schema: &Schema, ty: TypeRef) -> TypeRef {
    match ty {
        TypeRef::List(number) | TypeRef::Map(number) => schema.element(number),
        TypeRef::Union(number) => match schema.union(number).other {
            Alternative::List(list, _) => element(schema, list),
            Alternative::Bool(_) => TypeRef::Bool,
        },
        _ => TypeRef::Json,
    }
}
