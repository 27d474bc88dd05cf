//! Protobuf to tree, by the schema: any order of fields, the last of several values wins, unknown fields skipped, as upstream's generated
//! code reads it. An explicit stack, no recursion.
//!
//! What protobuf cannot carry does not come out: an empty list is an absent one. Text that is not UTF-8 gets U+FFFD, as it would on its
//! way out as JSON.

mod reader;
mod values;

use super::decode_error::Failure;
use super::encode_protobuf::MAGIC;
use super::wire::{Action, WireIn};
use super::{BODY_LEN_MAX, DEPTH_MAX, DecodeError, FieldSet, MessageIn, Schema, TypeId, TypeRef};
use crate::tree::{Kind, Node, NodeId, Open, Tree};
use reader::{Reader, Wire};

/// `runtime.Unknown`, what the API server and etcd put around a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`.
    pub api_version: &'a str,
    /// `Deployment`.
    pub kind: &'a str,
    /// The message.
    pub raw: &'a [u8],
    /// Empty for a plain message.
    pub content_encoding: &'a str,
    /// Empty for protobuf.
    pub content_type: &'a str,
}

impl<'a> Envelope<'a> {
    /// Reads an envelope, `k8s\0` and all.
    pub fn read(bytes: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        Self::parse(bytes).map_err(|failure| *failure)
    }

    fn parse(bytes: &'a [u8]) -> Result<Envelope<'a>, Failure> {
        let body = bytes
            .strip_prefix(MAGIC)
            .ok_or(DecodeError::Value("provided data does not appear to be a protobuf message".to_owned()))?;
        let mut envelope = Envelope::default();
        let mut reader = Reader::new(body, 0, body.len());
        while let Some((tag, value)) = reader.field()? {
            let Some((start, end)) = bytes_of(ENVELOPE_FIELDS, tag, value)? else { continue };
            match tag {
                1 => {
                    let mut types = Reader::new(body, start, end);
                    while let Some((tag, value)) = types.field()? {
                        match (tag, bytes_of(HEAD_FIELDS, tag, value)?) {
                            (1, Some((start, end))) => envelope.api_version = utf8(body, start, end)?,
                            (2, Some((start, end))) => envelope.kind = utf8(body, start, end)?,
                            _ => {}
                        }
                    }
                }
                2 => envelope.raw = body.get(start..end).unwrap_or_default(),
                3 => envelope.content_encoding = utf8(body, start, end)?,
                4 => envelope.content_type = utf8(body, start, end)?,
                _ => {}
            }
        }
        Ok(envelope)
    }
}

/// Go's names of the fields of an envelope and of the type head in it, from number 1.
const ENVELOPE_FIELDS: &[&str] = &["TypeMeta", "Raw", "ContentEncoding", "ContentType"];
const HEAD_FIELDS: &[&str] = &["APIVersion", "Kind"];

/// Start and end of a field that is bytes; nothing for one that is not known.
fn bytes_of(names: &[&str], tag: u32, value: Wire) -> Result<Option<(usize, usize)>, Failure> {
    let Some(name) = names.get((tag as usize).wrapping_sub(1)) else { return Ok(None) };
    let wrong = || DecodeError::WireType { wire_type: value.wire_type, field: (*name).to_owned() };
    value.as_bytes().map(Some).ok_or_else(|| wrong().into())
}

fn utf8(body: &[u8], start: usize, end: usize) -> Result<&str, Failure> {
    std::str::from_utf8(body.get(start..end).unwrap_or_default())
        .map_err(|_| DecodeError::Wire("proto: invalid UTF-8").into())
}

/// Reads a message as an object of a type.
pub fn decode(schema: &Schema, ty: TypeId, raw: &[u8]) -> Result<Tree, DecodeError> {
    if raw.len() > BODY_LEN_MAX {
        return Err(DecodeError::TooLarge);
    }
    let mut tree = Tree::new(ty);
    tree.nodes.reserve(raw.len() / 6 + 16);
    tree.source = ascii(raw);
    let mut decoder = Decoder { schema, raw, tree, stack: Vec::with_capacity(16), unsorted: Vec::new() };
    let reader = Reader::new(raw, 0, raw.len());
    let frame = Frame::new(Open::new(0), reader, Shape::Message(&schema.ty(ty).wire_in));
    decoder.run(frame).map_err(|failure| *failure)?;
    Ok(decoder.finish())
}

/// The message as text that ASCII strings can be pointed at in. Other bytes are replaced; nothing points at them.
fn ascii(raw: &[u8]) -> String {
    let bytes: Vec<u8> = raw.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect();
    String::from_utf8(bytes).unwrap_or_default()
}

/// A message, or the list inside a union, that has not been read to its end.
#[derive(Clone, Copy)]
struct Frame<'a> {
    reader: Reader<'a>,
    shape: Shape<'a>,
    open: Open,
    /// Fields read so far.
    seen: FieldSet,
    /// The repeated field that was read last, and its list or map.
    repeated: (u16, u32),
}

#[derive(Clone, Copy)]
enum Shape<'a> {
    Message(&'a MessageIn),
    /// The elements of a list that stands alone in its message, as fields of this number.
    List(TypeRef, u32),
}

impl<'a> Frame<'a> {
    #[inline(always)]
    fn new(open: Open, reader: Reader<'a>, shape: Shape<'a>) -> Frame<'a> {
        Frame { reader, shape, open, seen: FieldSet::default(), repeated: (u16::MAX, 0) }
    }
}

struct Decoder<'a> {
    schema: &'a Schema,
    raw: &'a [u8],
    tree: Tree,
    /// The messages around the one that is being read.
    stack: Vec<Frame<'a>>,
    /// Maps whose keys did not come in order.
    unsorted: Vec<u32>,
}

/// What became of a value.
enum Read<'a> {
    /// It is the newest node of the arena.
    Node,
    /// Nothing: it is the same as absent.
    Nothing,
    /// A message was begun; it is the newest node of the arena, and is read next.
    Open(Shape<'a>, Reader<'a>),
}

impl<'a> Decoder<'a> {
    #[inline(always)]
    fn push(&mut self, outer: Frame<'a>) -> Result<(), Failure> {
        if self.stack.len() + 1 >= DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        self.stack.push(outer);
        Ok(())
    }

    fn run(&mut self, first: Frame<'a>) -> Result<(), Failure> {
        let mut next = Some(first);
        while let Some(frame) = next {
            next = match frame.shape {
                Shape::Message(message) => self.message(frame, message)?,
                Shape::List(element, tag) => self.lone_list(frame, element, tag)?,
            };
        }
        Ok(())
    }

    fn finish(mut self) -> Tree {
        let source = std::mem::take(&mut self.tree.source);
        self.unsorted.sort_unstable();
        self.unsorted.dedup();
        for map in self.unsorted {
            self.tree.sort_map(map, std::iter::empty(), &source);
        }
        self.tree.source = source;
        self.tree
    }

    /// Reads messages until all have ended or a lone list is next, which is given back.
    fn message(&mut self, mut frame: Frame<'a>, mut message: &'a MessageIn) -> Result<Option<Frame<'a>>, Failure> {
        loop {
            let next = match self.fields(&mut frame, message)? {
                Some(inner) => {
                    self.push(frame)?;
                    inner
                }
                None => match self.leave(&frame) {
                    Some(outer) => outer,
                    None => return Ok(None),
                },
            };
            let Shape::Message(shape) = next.shape else { return Ok(Some(next)) };
            (frame, message) = (next, shape);
        }
    }

    /// Reads fields of a message until it ends or a message is begun in it.
    #[inline(always)]
    fn fields(&mut self, frame: &mut Frame<'a>, message: &'a MessageIn) -> Result<Option<Frame<'a>>, Failure> {
        while let Some((tag, value)) = frame.reader.field()? {
            let Some(slot) = message.slots.get(tag as usize).copied() else { continue };
            let number = slot.number;
            match slot.action {
                Action::Skip => {}
                Action::Text if let Some((start, end)) = value.as_bytes() => {
                    self.claim(frame, number);
                    if start != end || slot.keep_zero {
                        self.text(Kind::String, number, start, end);
                        frame.open.link_field(&mut self.tree, number);
                    }
                }
                Action::Number if let Some(value) = value.as_varint() => {
                    self.claim(frame, number);
                    let node = number_node(slot.ty, number, value);
                    // Most fields of a message are zeros that are the same as absent: upstream writes every one.
                    if node.value() != 0 || slot.keep_zero {
                        self.tree.nodes.push(node);
                        frame.open.link_field(&mut self.tree, number);
                    }
                }
                Action::Message if let (Some(span), TypeRef::Object(id)) = (value.as_bytes(), slot.ty) => {
                    return Ok(Some(self.field_message(frame, number, id, span)));
                }
                Action::Repeated => {
                    if let Some(inner) = self.repeated_field(frame, slot, value)? {
                        return Ok(Some(inner));
                    }
                }
                Action::Embedded => return self.embedded(frame, message, number, value).map(Some),
                Action::Other => {
                    self.claim(frame, number);
                    if let Some(inner) = self.other_field(frame, slot, value)? {
                        return Ok(Some(inner));
                    }
                }
                Action::Text | Action::Number | Action::Message => {
                    return Err(self.wire_type(value, Place { object: frame.open.node, number }));
                }
            }
        }
        Ok(None)
    }

    /// A message has ended. Gives the one around it.
    #[inline(always)]
    fn leave(&mut self, frame: &Frame<'a>) -> Option<Frame<'a>> {
        let outer = self.stack.pop();
        // An embedded struct's message fills the same object as the message around it.
        if let Some(outer) = outer
            && outer.open.node == frame.open.node
        {
            return Some(Frame { reader: outer.reader, shape: outer.shape, ..*frame });
        }
        if frame.open.unordered && matches!(frame.shape, Shape::Message(_)) {
            self.tree.sort_fields(frame.open.node);
        }
        outer
    }

    /// A single value comes: an earlier one of the same field is gone.
    #[inline(always)]
    fn claim(&mut self, frame: &mut Frame<'a>, number: u16) {
        if frame.seen.insert(number) {
            frame.open.remove(&mut self.tree, number);
        }
    }

    /// The object of a field that is a message. One that comes twice is merged.
    #[inline(always)]
    fn field_message(&mut self, frame: &mut Frame<'a>, number: u16, id: TypeId, span: (usize, usize)) -> Frame<'a> {
        let shape = Shape::Message(&self.schema.ty(id).wire_in);
        let reader = Reader::new(self.raw, span.0, span.1);
        if frame.seen.insert(number)
            && let Some(held) = frame.open.find(&self.tree, number)
        {
            let seen = self.tree.children(NodeId(held)).fold(FieldSet::default(), |mut seen, child| {
                seen.insert(self.tree.field_number(child));
                seen
            });
            return Frame { seen, ..Frame::new(Open::again(&self.tree, held), reader, shape) };
        }
        self.tree.nodes.push(Node { b: u32::from(id.0), ..Node::new(Kind::Object, number) });
        let node = frame.open.link_field(&mut self.tree, number);
        Frame::new(Open::new(node), reader, shape)
    }

    fn embedded(
        &self,
        frame: &Frame<'a>,
        message: &'a MessageIn,
        number: u16,
        value: Wire,
    ) -> Result<Frame<'a>, Failure> {
        let (Some((start, end)), Some(inner)) = (value.as_bytes(), message.embedded.get(number as usize)) else {
            return Err(self.wire_type(value, Place { object: frame.open.node, number: u16::MAX }));
        };
        let reader = Reader::new(self.raw, start, end);
        Ok(Frame { reader, shape: Shape::Message(inner), ..*frame })
    }

    #[inline(never)]
    fn other_field(&mut self, frame: &mut Frame<'a>, slot: WireIn, value: Wire) -> Result<Option<Frame<'a>>, Failure> {
        let place = Place { object: frame.open.node, number: slot.number };
        let opened = match self.value(slot.ty, slot.number, value, slot.keep_zero, place)? {
            Read::Nothing => return Ok(None),
            Read::Node => None,
            Read::Open(shape, reader) => Some((shape, reader)),
        };
        let node = frame.open.link_field(&mut self.tree, slot.number);
        Ok(opened.map(|(shape, reader)| Frame::new(Open::new(node), reader, shape)))
    }

    /// An element of a list or an entry of a map; the frame of what it opens.
    fn repeated_field(
        &mut self,
        frame: &mut Frame<'a>,
        slot: WireIn,
        value: Wire,
    ) -> Result<Option<Frame<'a>>, Failure> {
        let place = Place { object: frame.open.node, number: slot.number };
        match slot.ty {
            TypeRef::List(element) => {
                let element = self.schema.element(element);
                // No packed numbers are no list.
                if is_number(element) && value.as_bytes().is_some_and(|(start, end)| start == end) {
                    return Ok(None);
                }
                let list = self.container(frame, slot.number, Kind::List);
                self.list_field(list, element, value, place)
            }
            TypeRef::Map(element) => {
                let map = self.container(frame, slot.number, Kind::Map);
                self.map_field(map, self.schema.element(element), value, place)
            }
            _ => Ok(None),
        }
    }

    /// The list or map of a repeated field. The node behind it, linked to nothing, holds its last child: elements of several fields may
    /// alternate, and each must find its end at once.
    #[inline(always)]
    fn container(&mut self, frame: &mut Frame<'a>, number: u16, kind: Kind) -> u32 {
        if frame.repeated.0 == number {
            return frame.repeated.1;
        }
        let held = if frame.seen.insert(number) { frame.open.find(&self.tree, number) } else { None };
        let container = held.unwrap_or_else(|| {
            self.tree.nodes.push(Node::new(kind, number));
            let container = frame.open.link_field(&mut self.tree, number);
            self.tree.nodes.push(Node::new(Kind::Null, 0));
            container
        });
        frame.repeated = (number, container);
        container
    }

    /// Links a node behind the last child of a list or map that [`Decoder::container`] made.
    #[inline(always)]
    fn link_repeated(&mut self, container: u32, node: u32) {
        let nodes = &mut self.tree.nodes;
        nodes[container as usize].b += 1;
        let last = std::mem::replace(&mut nodes[container as usize + 1].a, node);
        match last {
            0 => nodes[container as usize].a = node,
            last => nodes[last as usize].next = node,
        }
    }

    fn list_field(
        &mut self,
        list: u32,
        element: TypeRef,
        value: Wire,
        place: Place,
    ) -> Result<Option<Frame<'a>>, Failure> {
        if is_number(element)
            && let Some((start, end)) = value.as_bytes()
        {
            // Packed numbers.
            let mut reader = Reader::new(self.raw, start, end);
            while reader.at < reader.raw.len() {
                let node = number_node(element, 0, reader.varint()?);
                let node = self.tree.push(node);
                self.link_repeated(list, node);
            }
            return Ok(None);
        }
        let read = self.element(element, value, place)?;
        let node = self.tree.newest();
        self.link_repeated(list, node);
        Ok(read.map(|(shape, reader)| Frame::new(Open::new(node), reader, shape)))
    }

    /// An element of a list, or the value of a map's key: it is a node even when it is nothing.
    #[inline(always)]
    fn element(
        &mut self,
        element: TypeRef,
        value: Wire,
        place: Place,
    ) -> Result<Option<(Shape<'a>, Reader<'a>)>, Failure> {
        match self.value(element, 0, value, true, place)? {
            Read::Node => Ok(None),
            Read::Nothing => {
                self.tree.nodes.push(Node::new(Kind::Null, 0));
                Ok(None)
            }
            Read::Open(shape, reader) => Ok(Some((shape, reader))),
        }
    }

    /// Reads elements of a list that stands alone in its message, as fields of one number.
    fn lone_list(&mut self, mut frame: Frame<'a>, element: TypeRef, wanted: u32) -> Result<Option<Frame<'a>>, Failure> {
        while let Some((tag, value)) = frame.reader.field()? {
            if tag != wanted {
                continue;
            }
            let place = Place { object: frame.open.node, number: u16::MAX };
            let read = self.element(element, value, place)?;
            let node = frame.open.link(&mut self.tree);
            self.tree.nodes[frame.open.node as usize].b += 1;
            if let Some((shape, reader)) = read {
                self.push(frame)?;
                return Ok(Some(Frame::new(Open::new(node), reader, shape)));
            }
        }
        Ok(self.leave(&frame))
    }

    fn map_field(
        &mut self,
        map: u32,
        element: TypeRef,
        value: Wire,
        place: Place,
    ) -> Result<Option<Frame<'a>>, Failure> {
        let (start, end) = self.bytes(value, place)?;
        let mut reader = Reader::new(self.raw, start, end);
        let (mut key, mut held) = ((end, end), None);
        while let Some((tag, value)) = reader.field()? {
            match tag {
                1 => key = self.bytes(value, place)?,
                2 => held = Some(value),
                _ => {}
            }
        }
        self.text(Kind::Key, 0, key.0, key.1);
        let key = self.tree.newest();
        let last = self.tree.nodes[map as usize + 1].a;
        if last != 0
            && self.tree.node_text(&self.tree.nodes[last as usize])
                >= self.tree.node_text(&self.tree.nodes[key as usize])
            && self.unsorted.last() != Some(&map)
        {
            self.unsorted.push(map);
        }
        self.link_repeated(map, key);
        // The value stands right behind its key in the arena.
        let opened = match (held, element) {
            (Some(value), _) => self.element(element, value, place)?,
            (None, TypeRef::Bytes | TypeRef::String) => {
                self.tree.nodes.push(Node::text(Kind::String, 0, 0, 0, 0));
                None
            }
            (None, TypeRef::List(_)) => {
                self.tree.nodes.push(Node::new(Kind::List, 0));
                None
            }
            (None, _) => {
                self.tree.nodes.push(Node::new(Kind::Null, 0));
                None
            }
        };
        let node = self.tree.newest();
        Ok(opened.map(|(shape, reader)| Frame::new(Open::new(node), reader, shape)))
    }
}

/// Which field a value is of, for messages.
#[derive(Clone, Copy)]
struct Place {
    object: u32,
    number: u16,
}

const fn is_number(ty: TypeRef) -> bool {
    matches!(ty, TypeRef::Int32 | TypeRef::Int64 | TypeRef::Bool)
}

#[inline(always)]
fn number_node(ty: TypeRef, field: u16, value: u64) -> Node {
    match ty {
        TypeRef::Bool => Node::number(Kind::Bool, field, i64::from(value != 0)),
        TypeRef::Int32 => Node::number(Kind::Int, field, i64::from(value as i32)),
        _ => Node::number(Kind::Int, field, value as i64),
    }
}
