//! Tree to protobuf, byte for byte as upstream's generated marshallers write it: fields in rising order of their numbers, every value
//! that is not a pointer written even when zero, map entries in the order of their keys.
//!
//! A message is written backwards, so that a length is known when it is written. An explicit stack, no recursion. The envelope
//! (`k8s\0` and `runtime.Unknown`) is what the API server and etcd put around a message.

use super::canonical::base64_bytes;
use super::{Alternative, Presence, Schema, Type, TypeId, TypeRef, WireOut};
use crate::tree::{Kind, Node, NodeId, Tree};

/// What the protobuf of every object begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The object as a message of its type, without the envelope.
pub fn encode(schema: &Schema, tree: &Tree) -> Vec<u8> {
    let mut out = Backwards::with_capacity(tree.source.len() + tree.side.len() + 256);
    write_object(schema, tree, tree.node(tree.root()), &mut out);
    out.finish()
}

/// The message in its envelope, as it is sent and stored.
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Backwards::with_capacity(message.len() + api_version.len() + kind.len() + 32);
    // Content encoding and content type are always written, and always empty.
    out.bytes(&[0x1a, 0, 0x22, 0]);
    out.field_bytes(2, message);
    let before = out.len();
    out.field_bytes(2, kind.as_bytes());
    out.field_bytes(1, api_version.as_bytes());
    out.close(1, before);
    out.bytes(MAGIC);
    out.finish()
}

/// A buffer that is filled from its end.
#[derive(Debug, Default)]
pub struct Backwards {
    buffer: Vec<u8>,
    start: usize,
}

impl Backwards {
    /// A buffer with room for about this many bytes.
    pub fn with_capacity(capacity: usize) -> Backwards {
        Backwards { buffer: vec![0; capacity], start: capacity }
    }

    /// How much has been written.
    #[inline]
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written, in reading order.
    pub fn finish(mut self) -> Vec<u8> {
        self.buffer.drain(..self.start);
        self.buffer
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let held = self.len();
        let size = (self.buffer.len() * 2).max(held + more + 64);
        let mut buffer = vec![0; size];
        buffer[size - held..].copy_from_slice(&self.buffer[self.start..]);
        self.start = size - held;
        self.buffer = buffer;
    }

    /// Puts these bytes in front of what is there.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            self.grow(bytes.len());
        }
        self.start -= bytes.len();
        self.buffer[self.start..self.start + bytes.len()].copy_from_slice(bytes);
    }

    /// A variable-length number.
    #[inline]
    pub fn varint(&mut self, mut value: u64) {
        if value < 128 {
            return self.bytes(&[value as u8]);
        }
        let mut digits = [0u8; 10];
        let mut len = 0;
        while value >= 128 {
            digits[len] = value as u8 | 128;
            value >>= 7;
            len += 1;
        }
        digits[len] = value as u8;
        self.bytes(&digits[..=len]);
    }

    /// A number field.
    #[inline]
    pub fn field_varint(&mut self, tag: u32, value: u64) {
        self.varint(value);
        self.varint(u64::from(tag) << 3);
    }

    /// A field of bytes.
    #[inline]
    pub fn field_bytes(&mut self, tag: u32, bytes: &[u8]) {
        self.bytes(bytes);
        self.varint(bytes.len() as u64);
        self.varint(u64::from(tag) << 3 | 2);
    }

    /// Puts length and number in front of the message that was written since the buffer held `before` bytes.
    #[inline]
    pub fn close(&mut self, tag: u32, before: usize) {
        self.varint((self.len() - before) as u64);
        self.varint(u64::from(tag) << 3 | 2);
    }
}

/// What remains to be written in front of what is there. Children are numbers of nodes, the last one first.
enum Step<'a> {
    /// The entries of a message from here on; the children by field number.
    Message { entries: std::slice::Iter<'a, WireOut>, ty: &'a Type, children: usize },
    /// The elements of a list that are still to come are the ones in `pending` above this mark.
    List { mark: usize, element: TypeRef, tag: u32 },
    /// The same for the keys of a map.
    Map { mark: usize, value: TypeRef, tag: u32 },
    /// A key, whose value has just been written, and then the end of the entry.
    Key { key: u32, tag: u32, before: usize },
    /// Length and number of a message.
    Close { tag: u32, before: usize },
    /// A number field.
    Varint { tag: u32, value: u64 },
    /// The children table of a message is no longer needed.
    Forget { children: usize },
}

struct Writer<'a, 'o> {
    schema: &'a Schema,
    tree: &'a Tree,
    out: &'o mut Backwards,
    steps: Vec<Step<'a>>,
    /// Tables from field number to child node, one for each open message.
    tables: Vec<u32>,
    /// Children of open lists and maps that are still to be written, in order.
    pending: Vec<u32>,
}

fn write_object(schema: &Schema, tree: &Tree, node: &Node, out: &mut Backwards) {
    let mut writer = Writer {
        schema,
        tree,
        out,
        steps: Vec::with_capacity(32),
        tables: Vec::with_capacity(256),
        pending: Vec::new(),
    };
    writer.open_message(node);
    writer.run();
}

impl<'a> Writer<'a, '_> {
    fn run(&mut self) {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Message { entries, ty, children } => self.message(entries, ty, children),
                Step::List { mark, element, tag } => self.list(mark, element, tag),
                Step::Map { mark, value, tag } => self.map(mark, value, tag),
                Step::Key { key, tag, before } => {
                    let text = self.tree.node_text(self.tree.node(NodeId(key)));
                    self.out.field_bytes(1, text.as_bytes());
                    self.out.close(tag, before);
                }
                Step::Close { tag, before } => self.out.close(tag, before),
                Step::Varint { tag, value } => self.out.field_varint(tag, value),
                Step::Forget { children } => self.tables.truncate(children),
            }
        }
    }

    /// Lays out the children of an object by field number and begins its message.
    fn open_message(&mut self, node: &'a Node) {
        let ty = self.schema.ty(TypeId(node.b as u16));
        let children = self.tables.len();
        self.tables.resize(children + ty.fields.len(), 0);
        let mut at = node.a;
        while at != 0 {
            let child = self.tree.node(NodeId(at));
            if let Some(slot) = self.tables.get_mut(children + child.field as usize) {
                *slot = at;
            }
            at = child.next;
        }
        self.steps.push(Step::Forget { children });
        self.steps.push(Step::Message { entries: ty.wire_out.iter(), ty, children });
    }

    fn message(&mut self, mut entries: std::slice::Iter<'a, WireOut>, ty: &'a Type, children: usize) {
        while let Some(entry) = entries.next() {
            match entry {
                WireOut::Field(tag, number) => {
                    let Some(field) = ty.fields.get(*number as usize) else { continue };
                    let child = self.tables.get(children + *number as usize).copied().unwrap_or(0);
                    if child == 0 {
                        if !matches!(field.presence, Presence::Optional | Presence::Nullable) {
                            write_zero(self.schema, field.ty, *tag, self.out);
                        }
                        continue;
                    }
                    let node = self.tree.node(NodeId(child));
                    if is_flat(node.kind) {
                        self.scalar(node, field.ty, *tag);
                        continue;
                    }
                    self.steps.push(Step::Message { entries, ty, children });
                    self.open(node, field.ty, *tag);
                    return;
                }
                WireOut::Embedded(tag, inner) => {
                    let before = self.out.len();
                    self.steps.push(Step::Message { entries, ty, children });
                    self.steps.push(Step::Close { tag: *tag, before });
                    self.steps.push(Step::Message { entries: inner.iter(), ty, children });
                    return;
                }
            }
        }
    }

    /// Begins an object, list or map as the field of this number.
    fn open(&mut self, node: &'a Node, ty: TypeRef, tag: u32) {
        let (ty, tag) = match ty {
            TypeRef::Union(number) => {
                let union = self.schema.union(number);
                let before = self.out.len();
                self.steps.push(Step::Close { tag, before });
                match (node.kind, union.other) {
                    (Kind::List, Alternative::List(list, tag)) => (list, tag),
                    (_, Alternative::Bool(bool_tag)) => {
                        // A schema stands for "allowed" too: upstream sets both.
                        self.steps.push(Step::Varint { tag: bool_tag, value: 1 });
                        (TypeRef::Object(union.object.0), union.object.1)
                    }
                    _ => (TypeRef::Object(union.object.0), union.object.1),
                }
            }
            ty => (ty, tag),
        };
        let before = self.out.len();
        let mark = self.pending.len();
        match (node.kind, ty) {
            (Kind::Object, _) => {
                self.steps.push(Step::Close { tag, before });
                self.open_message(node);
            }
            (Kind::List, TypeRef::List(element)) => {
                self.gather(node);
                self.steps.push(Step::List { mark, element: self.schema.element(element), tag });
            }
            (Kind::Map, TypeRef::Map(value)) => {
                self.gather(node);
                self.steps.push(Step::Map { mark, value: self.schema.element(value), tag });
            }
            _ => {}
        }
    }

    fn gather(&mut self, node: &Node) {
        let mut at = node.a;
        while at != 0 {
            self.pending.push(at);
            at = self.tree.node(NodeId(at)).next;
        }
    }

    fn list(&mut self, mark: usize, element: TypeRef, tag: u32) {
        while self.pending.len() > mark {
            let Some(child) = self.pending.pop() else { return };
            let node = self.tree.node(NodeId(child));
            if is_flat(node.kind) {
                self.scalar(node, element, tag);
                continue;
            }
            self.steps.push(Step::List { mark, element, tag });
            self.open(node, element, tag);
            return;
        }
    }

    fn map(&mut self, mark: usize, value: TypeRef, tag: u32) {
        if self.pending.len() <= mark {
            return;
        }
        let Some(key) = self.pending.pop() else { return };
        let node = self.tree.node(NodeId(key + 1));
        self.steps.push(Step::Map { mark, value, tag });
        self.steps.push(Step::Key { key, tag, before: self.out.len() });
        match (value, node.kind) {
            // The value of a map of lists is a message of its own, with the list as field 1.
            (TypeRef::List(_), Kind::List) => {
                self.steps.push(Step::Close { tag: 2, before: self.out.len() });
                self.open(node, value, 1);
            }
            (TypeRef::List(_), _) => self.out.field_bytes(2, &[]),
            // An entry's empty bytes are left out.
            (TypeRef::Bytes, Kind::String) if node.b == 0 => {}
            (TypeRef::Bytes, Kind::Null) => {}
            (_, kind) if is_flat(kind) => self.scalar(node, value, 2),
            _ => self.open(node, value, 2),
        }
    }

    /// A value that has nothing below it, as the field of this number.
    #[inline]
    fn scalar(&mut self, node: &Node, ty: TypeRef, tag: u32) {
        match (ty, node.kind) {
            (_, Kind::Null) => write_zero(self.schema, ty, tag, self.out),
            (TypeRef::String, _) => self.out.field_bytes(tag, self.tree.node_text(node).as_bytes()),
            (TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64, _) => self.out.field_varint(tag, node.value() as u64),
            (TypeRef::Quantity | TypeRef::FieldsV1 | TypeRef::RawExtension | TypeRef::Json, _) => {
                let before = self.out.len();
                self.out.field_bytes(1, self.tree.node_text(node).as_bytes());
                self.out.close(tag, before);
            }
            (TypeRef::Time, _) => self.time(node.value(), 0, tag),
            (TypeRef::MicroTime, _) => {
                let micros = node.value();
                self.time(micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) * 1000, tag);
            }
            (TypeRef::IntOrString, kind) => {
                let before = self.out.len();
                let text = if kind == Kind::Int { "" } else { self.tree.node_text(node) };
                self.out.field_bytes(3, text.as_bytes());
                self.out.field_varint(2, if kind == Kind::Int { node.value() as u64 } else { 0 });
                self.out.field_varint(1, u64::from(kind != Kind::Int));
                self.out.close(tag, before);
            }
            (TypeRef::Float64, _) => {
                self.out.bytes(&node.value().to_le_bytes());
                self.out.varint(u64::from(tag) << 3 | 1);
            }
            (TypeRef::Bytes, _) => {
                let bytes = base64_bytes(self.tree.node_text(node));
                self.out.field_bytes(tag, &bytes);
            }
            (TypeRef::Union(number), Kind::Bool) => {
                let before = self.out.len();
                if let Alternative::Bool(bool_tag) = self.schema.union(number).other {
                    self.out.field_varint(bool_tag, node.value() as u64);
                }
                self.out.close(tag, before);
            }
            _ => {}
        }
    }

    fn time(&mut self, seconds: i64, nanos: i64, tag: u32) {
        let before = self.out.len();
        self.out.field_varint(2, nanos as u64);
        self.out.field_varint(1, seconds as u64);
        self.out.close(tag, before);
    }
}

#[inline]
const fn is_flat(kind: Kind) -> bool {
    !matches!(kind, Kind::Object | Kind::List | Kind::Map)
}

/// Writes the zero value of a field that is not a pointer.
fn write_zero(schema: &Schema, ty: TypeRef, tag: u32, out: &mut Backwards) {
    match ty {
        TypeRef::String => out.field_bytes(tag, &[]),
        TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 => out.field_varint(tag, 0),
        TypeRef::Float64 => {
            out.bytes(&[0; 8]);
            out.varint(u64::from(tag) << 3 | 1);
        }
        TypeRef::Object(id) => out.field_bytes(tag, &schema.ty(id).zero_wire),
        TypeRef::Quantity => out.field_bytes(tag, b"\x0a\x010"),
        TypeRef::IntOrString => out.field_bytes(tag, &[8, 0, 16, 0, 26, 0]),
        TypeRef::Time
        | TypeRef::MicroTime
        | TypeRef::RawExtension
        | TypeRef::FieldsV1
        | TypeRef::Json
        | TypeRef::Union(_) => out.field_bytes(tag, &[]),
        TypeRef::List(_) | TypeRef::Map(_) | TypeRef::Bytes => {}
    }
}

/// The message of a type's zero value.
pub(super) fn write_zero_message(schema: &Schema, ty: &Type, out: &mut Backwards) {
    // What is still to be written of each open message, and of an embedded one its number and where it began.
    type Pending<'t> = (std::slice::Iter<'t, WireOut>, Option<(u32, usize)>);
    let mut open: Vec<Pending<'_>> = vec![(ty.wire_out.iter(), None)];
    while let Some((mut entries, close)) = open.pop() {
        match entries.next() {
            Some(WireOut::Field(tag, number)) => {
                open.push((entries, close));
                let Some(field) = ty.fields.get(*number as usize) else { continue };
                if !matches!(field.presence, Presence::Optional | Presence::Nullable) {
                    write_zero(schema, field.ty, *tag, out);
                }
            }
            Some(WireOut::Embedded(tag, inner)) => {
                open.push((entries, close));
                open.push((inner.iter(), Some((*tag, out.len()))));
            }
            None => {
                if let Some((tag, before)) = close {
                    out.close(tag, before);
                }
            }
        }
    }
}
