//! Protobuf to tree, by the schema: any order of fields, the last of several values wins, unknown fields skipped, as upstream's generated
//! code reads it. An explicit stack, no recursion.
//!
//! What protobuf cannot carry does not come out: an empty list is an absent one. Text that is not UTF-8 gets U+FFFD, as it would on its
//! way out as JSON.

use super::canonical::push_base64;
use super::decode_error::Failure;
use super::scan::{Class, classify};
use super::encode_protobuf::MAGIC;
use super::{Alternative, DEPTH_MAX, DecodeError, Schema, Type, TypeId, TypeRef, WireIn};
use crate::tree::{Kind, Node, NodeId, Tree, flag};

/// The first second of year 0 and the last of year 9999: what JSON can say.
const SECONDS_MIN: i64 = -62_167_219_200;
const SECONDS_MAX: i64 = 253_402_300_799;

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
            let Some((start, end)) = value.as_bytes() else { continue };
            match tag {
                1 => {
                    let mut types = Reader::new(body, start, end);
                    while let Some((tag, value)) = types.field()? {
                        match (tag, value.as_bytes()) {
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

fn utf8(body: &[u8], start: usize, end: usize) -> Result<&str, Failure> {
    std::str::from_utf8(body.get(start..end).unwrap_or_default()).map_err(|_| DecodeError::Wire("invalid UTF-8").into())
}

/// Reads a message as an object of a type.
pub fn decode(schema: &Schema, ty: TypeId, raw: &[u8]) -> Result<Tree, DecodeError> {
    if u32::try_from(raw.len()).is_err() {
        return Err(DecodeError::TooLarge.into());
    }
    let mut tree = Tree::new(ty);
    tree.nodes.reserve(raw.len() / 6 + 16);
    tree.source = ascii(raw);
    let mut decoder = Decoder { schema, raw, tree, stack: Vec::with_capacity(16), unsorted: Vec::new() };
    let ty = schema.ty(ty);
    decoder.stack.push(Frame::message(0, ty, &ty.wire_in, Reader::new(raw, 0, raw.len())));
    decoder.run().map_err(|failure| *failure)?;
    let Decoder { mut tree, unsorted, .. } = decoder;
    let source = std::mem::take(&mut tree.source);
    for map in unsorted {
        tree.sort_map(map, &source);
    }
    tree.source = source;
    Ok(tree)
}

/// The message as text that ASCII strings can be pointed at in. Other bytes are replaced; nothing points at them.
fn ascii(raw: &[u8]) -> String {
    let bytes: Vec<u8> = raw.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect();
    String::from_utf8(bytes).unwrap_or_default()
}

/// The value of a field on the wire. Plain numbers, so that it stays in registers.
#[derive(Clone, Copy, Debug)]
struct Wire {
    wire_type: u8,
    /// The number; or where the bytes start.
    value: u64,
    /// Where the bytes end.
    end: usize,
}

/// Wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

impl Wire {
    #[inline(always)]
    const fn number(wire_type: u8, value: u64) -> Wire {
        Wire { wire_type, value, end: 0 }
    }
    #[inline(always)]
    const fn span(start: usize, end: usize) -> Wire {
        Wire { wire_type: BYTES, value: start as u64, end }
    }
    /// Start and end of bytes.
    #[inline(always)]
    fn bytes(self, name: &str) -> Result<(usize, usize), Failure> {
        if self.wire_type == BYTES { Ok((self.value as usize, self.end)) } else { Err(wire_type(self, name)) }
    }
    #[inline(always)]
    fn varint(self, name: &str) -> Result<u64, Failure> {
        if self.wire_type == VARINT { Ok(self.value) } else { Err(wire_type(self, name)) }
    }
    const fn as_bytes(self) -> Option<(usize, usize)> {
        if self.wire_type == BYTES { Some((self.value as usize, self.end)) } else { None }
    }
}

/// A cursor over a message.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    /// The whole body up to the end of this message.
    raw: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(raw: &'a [u8], at: usize, end: usize) -> Reader<'a> {
        Reader { raw: raw.get(..end).unwrap_or_default(), at }
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Failure> {
        match self.raw.get(self.at) {
            Some(byte) if *byte < 128 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Failure> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.raw.get(self.at).ok_or(DecodeError::Wire("unexpected EOF"))?;
            self.at += 1;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(DecodeError::Wire("integer overflow").into())
    }

    /// The next field and its value.
    #[inline(always)]
    fn field(&mut self) -> Result<Option<(u32, Wire)>, Failure> {
        // Nearly always a number below 16 and a length or value below 128.
        if let Some([key @ 8..128, value @ 0..128]) = self.raw.get(self.at..self.at + 2) {
            let (tag, value) = (u32::from(*key >> 3), *value);
            match *key & 7 {
                0 => {
                    self.at += 2;
                    return Ok(Some((tag, Wire::number(VARINT, u64::from(value)))));
                }
                2 if usize::from(value) <= self.raw.len() - self.at - 2 => {
                    let start = self.at + 2;
                    self.at = start + usize::from(value);
                    return Ok(Some((tag, Wire::span(start, self.at))));
                }
                _ => {}
            }
        }
        self.any_field()
    }

    /// The next field, whatever it is; groups are skipped.
    fn any_field(&mut self) -> Result<Option<(u32, Wire)>, Failure> {
        let mut groups = 0usize;
        loop {
            if self.at >= self.raw.len() {
                return if groups == 0 { Ok(None) } else { Err(DecodeError::Wire("unexpected EOF").into()) };
            }
            let key = self.varint()?;
            let tag = u32::try_from(key >> 3).map_err(|_| DecodeError::Wire("integer overflow"))?;
            if tag == 0 {
                return Err(DecodeError::Wire("illegal tag 0").into());
            }
            let value = match (key & 7) as u8 {
                VARINT => Wire::number(VARINT, self.varint()?),
                FIXED64 => Wire::number(FIXED64, u64::from_le_bytes(self.fixed()?)),
                BYTES => {
                    let len = self.varint()?;
                    let start = self.at;
                    match usize::try_from(len).ok().and_then(|len| start.checked_add(len)) {
                        Some(end) if end <= self.raw.len() => self.at = end,
                        _ => return Err(DecodeError::Wire("unexpected EOF").into()),
                    }
                    Wire::span(start, self.at)
                }
                START_GROUP => {
                    groups += 1;
                    continue;
                }
                END_GROUP if groups > 0 => {
                    groups -= 1;
                    continue;
                }
                FIXED32 => Wire::number(FIXED32, u64::from(u32::from_le_bytes(self.fixed()?))),
                _ => return Err(DecodeError::Wire("illegal wireType").into()),
            };
            if groups == 0 {
                return Ok(Some((tag, value)));
            }
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let bytes = self.raw.get(self.at..self.at + N);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(DecodeError::Wire("unexpected EOF"))?;
        self.at += N;
        Ok(bytes)
    }
}

/// A message, or the list inside a union, that has not been read to its end.
#[derive(Clone, Copy)]
struct Frame<'a> {
    reader: Reader<'a>,
    /// The object or list that what is read hangs on.
    node: u32,
    /// Of an object: its child that has nothing behind it. Of a list: its last element.
    last: u32,
    shape: Shape<'a>,
    /// The repeated field that was read last: its list or map, and the last child of that.
    repeated: (u16, u32, u32),
}

#[derive(Clone, Copy)]
enum Shape<'a> {
    Message(&'a Type, &'a [WireIn]),
    /// The elements of a list that stands alone in its message, as fields of this number.
    List(TypeRef, u32),
}

impl<'a> Frame<'a> {
    fn message(node: u32, ty: &'a Type, table: &'a [WireIn], reader: Reader<'a>) -> Frame<'a> {
        Frame { reader, node, last: 0, shape: Shape::Message(ty, table), repeated: (u16::MAX, 0, 0) }
    }
}

struct Decoder<'a> {
    schema: &'a Schema,
    raw: &'a [u8],
    tree: Tree,
    stack: Vec<Frame<'a>>,
    /// Maps whose keys did not come in order.
    unsorted: Vec<u32>,
}

/// What became of a value.
enum Read<'a> {
    Node(Node),
    /// A message: the node, and what is to be read into it.
    Open(Node, Shape<'a>, Reader<'a>),
    Nothing,
}

impl<'a> Decoder<'a> {
    fn push(&mut self, frame: Frame<'a>) -> Result<(), Failure> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        self.stack.push(frame);
        Ok(())
    }

    fn run(&mut self) -> Result<(), Failure> {
        while let Some(mut frame) = self.stack.pop() {
            match frame.reader.field()? {
                None => self.close(frame),
                Some((tag, value)) => match frame.shape {
                    Shape::Message(ty, table) => self.message(frame, ty, table, tag, value)?,
                    Shape::List(element, wanted) if tag == wanted => self.element(frame, element, value)?,
                    Shape::List(..) => self.push(frame)?,
                },
            }
        }
        Ok(())
    }

    fn close(&mut self, frame: Frame<'a>) {
        // An embedded struct's message fills the same object as the message around it.
        if let (Shape::Message(..), Some(Frame { node, last, repeated, shape: Shape::Message(..), .. })) =
            (frame.shape, self.stack.last_mut())
            && *node == frame.node
        {
            *last = frame.last;
            *repeated = frame.repeated;
        }
    }

    fn message(
        &mut self,
        mut frame: Frame<'a>,
        ty: &'a Type,
        table: &'a [WireIn],
        tag: u32,
        value: Wire,
    ) -> Result<(), Failure> {
        let mut next = Some((tag, value));
        while let Some((tag, value)) = next {
            match table.get(tag as usize) {
                None | Some(WireIn::None) => {}
                Some(WireIn::Embedded(inner)) => {
                    let (start, end) = value.bytes("embedded struct")?;
                    let mut embedded = Frame::message(frame.node, ty, inner, Reader::new(self.raw, start, end));
                    (embedded.last, embedded.repeated) = (frame.last, frame.repeated);
                    self.push(frame)?;
                    return self.push(embedded);
                }
                // A zero that is the same as absent, as most fields of a message are: upstream writes every one.
                Some(WireIn::Field { number, ty: TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64, keep_zero: false })
                    if value.wire_type == VARINT && value.value == 0 =>
                {
                    self.forget(&mut frame, *number);
                }
                Some(WireIn::Field { number, ty: TypeRef::String, keep_zero }) => {
                    let (start, end) = value.bytes("string")?;
                    if start != end || *keep_zero {
                        let node = self.text(Kind::String, *number, start, end);
                        self.tree.link_field(frame.node, &mut frame.last, node);
                    } else {
                        self.forget(&mut frame, *number);
                    }
                }
                Some(WireIn::Field { number, ty: declared, keep_zero }) => {
                    if let Some(opened) = self.any_field(&mut frame, ty, *number, *declared, *keep_zero, value)? {
                        self.push(frame)?;
                        return self.push(opened);
                    }
                }
            }
            next = frame.reader.field()?;
        }
        self.close(frame);
        Ok(())
    }

    /// A field of any type; the frame of what it opens.
    #[inline]
    fn any_field(
        &mut self,
        frame: &mut Frame<'a>,
        ty: &'a Type,
        number: u16,
        declared: TypeRef,
        keep_zero: bool,
        value: Wire,
    ) -> Result<Option<Frame<'a>>, Failure> {
        let name = ty.fields.get(number as usize).map_or("", |field| &*field.name);
        match declared {
            TypeRef::List(element) => {
                self.repeated(frame, number, Kind::List);
                self.list_field(frame, self.schema.element(element), value, name)
            }
            TypeRef::Map(element) => {
                self.repeated(frame, number, Kind::Map);
                self.map_field(frame, self.schema.element(element), value, name)
            }
            declared => self.single(frame, declared, number, value, keep_zero, name),
        }
    }

    /// A field that is neither list nor map.
    fn single(
        &mut self,
        frame: &mut Frame<'a>,
        ty: TypeRef,
        number: u16,
        value: Wire,
        keep_zero: bool,
        name: &str,
    ) -> Result<Option<Frame<'a>>, Failure> {
        match self.value(ty, number, value, keep_zero, name)? {
            Read::Nothing => {
                self.forget(frame, number);
                Ok(None)
            }
            Read::Node(node) => {
                self.tree.link_field(frame.node, &mut frame.last, node);
                Ok(None)
            }
            Read::Open(node, shape, reader) => {
                // A message that comes twice is merged.
                let held = self.tree.field(NodeId(frame.node), number).filter(|held| self.tree.kind(*held) == node.kind);
                let node = match held {
                    Some(held) => held.0,
                    None => self.tree.link_field(frame.node, &mut frame.last, node),
                };
                let last = self.tree.last_child(node);
                Ok(Some(Frame { reader, node, last, shape, repeated: (u16::MAX, 0, 0) }))
            }
        }
    }

    /// Zero was read: an earlier value of the field is gone.
    #[inline]
    fn forget(&mut self, frame: &mut Frame<'a>, number: u16) {
        // Fields come in rising order, so there is nearly never an earlier value, and a larger number last says so.
        if frame.last == 0 || self.tree.nodes[frame.last as usize].field < number {
            return;
        }
        self.tree.remove(NodeId(frame.node), number);
        frame.last = self.tree.last_child(frame.node);
    }

    /// Makes the list or map of a repeated field the one that elements are put into.
    #[inline]
    fn repeated(&mut self, frame: &mut Frame<'a>, number: u16, kind: Kind) {
        if frame.repeated.0 == number {
            return;
        }
        let held = match self.tree.field(NodeId(frame.node), number) {
            Some(held) => held.0,
            None => self.tree.link_field(frame.node, &mut frame.last, Node::new(kind, number)),
        };
        frame.repeated = (number, held, self.tree.last_child(held));
    }

    fn list_field(
        &mut self,
        frame: &mut Frame<'a>,
        element: TypeRef,
        value: Wire,
        name: &str,
    ) -> Result<Option<Frame<'a>>, Failure> {
        let (_, list, last) = &mut frame.repeated;
        if let (TypeRef::Int32 | TypeRef::Int64 | TypeRef::Bool, Some((start, end))) = (element, value.as_bytes()) {
            // Packed numbers.
            let mut reader = Reader::new(self.raw, start, end);
            while reader.at < reader.raw.len() {
                let value = Wire::number(VARINT, reader.varint()?);
                if let Read::Node(node) = self.value(element, 0, value, true, name)? {
                    self.tree.link_last(*list, last, node);
                    self.tree.nodes[*list as usize].b += 1;
                }
            }
            return Ok(None);
        }
        let (list, last_held) = (*list, *last);
        let mut last = last_held;
        let read = self.value(element, 0, value, true, name)?;
        let opened = self.link_element(list, &mut last, read);
        frame.repeated.2 = last;
        Ok(opened)
    }

    fn link_element(&mut self, list: u32, last: &mut u32, read: Read<'a>) -> Option<Frame<'a>> {
        self.tree.nodes[list as usize].b += 1;
        match read {
            Read::Nothing => {
                self.tree.link_last(list, last, Node::new(Kind::Null, 0));
                None
            }
            Read::Node(node) => {
                self.tree.link_last(list, last, node);
                None
            }
            Read::Open(node, shape, reader) => {
                let node = self.tree.link_last(list, last, node);
                Some(Frame { reader, node, last: 0, shape, repeated: (u16::MAX, 0, 0) })
            }
        }
    }

    /// An element of a list that stands alone in its message.
    fn element(&mut self, mut frame: Frame<'a>, element: TypeRef, value: Wire) -> Result<(), Failure> {
        let read = self.value(element, 0, value, true, "items")?;
        let opened = self.link_element(frame.node, &mut frame.last, read);
        self.push(frame)?;
        match opened {
            Some(opened) => self.push(opened),
            None => Ok(()),
        }
    }

    fn map_field(
        &mut self,
        frame: &mut Frame<'a>,
        element: TypeRef,
        value: Wire,
        name: &str,
    ) -> Result<Option<Frame<'a>>, Failure> {
        let (start, end) = value.bytes(name)?;
        let mut reader = Reader::new(self.raw, start, end);
        let (mut key, mut held) = ((end, end), None);
        while let Some((tag, value)) = reader.field()? {
            match tag {
                1 => key = value.bytes(name)?,
                2 => held = Some(value),
                _ => {}
            }
        }
        let key = self.text(Kind::Key, 0, key.0, key.1);
        let (_, map, last) = frame.repeated;
        if last != 0
            && self.tree.node_text(&self.tree.nodes[last as usize]) >= self.tree.node_text(&key)
            && self.unsorted.last() != Some(&map)
        {
            self.unsorted.push(map);
        }
        self.tree.link_last(map, &mut frame.repeated.2, key);
        self.tree.nodes[map as usize].b += 1;
        let read = match held {
            Some(value) => self.value(element, 0, value, true, name)?,
            None if element == TypeRef::Bytes || element == TypeRef::String => {
                Read::Node(Node::text(Kind::String, 0, 0, 0, 0))
            }
            None => Read::Nothing,
        };
        // The value stands right behind its key in the arena.
        match read {
            Read::Nothing => _ = self.tree.push(Node::new(Kind::Null, 0)),
            Read::Node(node) => _ = self.tree.push(node),
            Read::Open(node, shape, reader) => {
                let node = self.tree.push(node);
                return Ok(Some(Frame { reader, node, last: 0, shape, repeated: (u16::MAX, 0, 0) }));
            }
        }
        Ok(None)
    }

    /// One value. Zero is nothing unless it is kept.
    #[inline]
    fn value(
        &mut self,
        ty: TypeRef,
        field: u16,
        value: Wire,
        keep_zero: bool,
        name: &str,
    ) -> Result<Read<'a>, Failure> {
        let node = match ty {
            TypeRef::String => {
                let (start, end) = value.bytes(name)?;
                if start == end && !keep_zero {
                    return Ok(Read::Nothing);
                }
                self.text(Kind::String, field, start, end)
            }
            TypeRef::Object(id) => {
                let (start, end) = value.bytes(name)?;
                let mut node = Node::new(Kind::Object, field);
                node.b = id.0 as u32;
                let ty = self.schema.ty(id);
                let reader = Reader::new(self.raw, start, end);
                return Ok(Read::Open(node, Shape::Message(ty, &ty.wire_in), reader));
            }
            TypeRef::Bool => match value.varint(name)? {
                0 if !keep_zero => return Ok(Read::Nothing),
                value => Node::number(Kind::Bool, field, i64::from(value != 0)),
            },
            TypeRef::Int32 | TypeRef::Int64 => match value.varint(name)? {
                0 if !keep_zero => return Ok(Read::Nothing),
                value if ty == TypeRef::Int32 => Node::number(Kind::Int, field, i64::from(value as i32)),
                value => Node::number(Kind::Int, field, value as i64),
            },
            TypeRef::Float64 => {
                let number = f64::from_bits(value.value);
                if value.wire_type != FIXED64 {
                    return Err(wire_type(value, name));
                }
                if !number.is_finite() {
                    return Err(DecodeError::Value(format!("json: unsupported value: {number}")).into());
                }
                Node::number(Kind::Float, field, value.value as i64)
            }
            TypeRef::Bytes => {
                let (start, end) = value.bytes(name)?;
                if start == end && !keep_zero {
                    return Ok(Read::Nothing);
                }
                let offset = self.tree.side.len();
                push_base64(self.raw.get(start..end).unwrap_or_default(), &mut self.tree.side);
                let len = self.tree.side.len() - offset;
                Node::text(Kind::String, field, flag::SIDE, offset as u32, len as u32)
            }
            TypeRef::List(element) => {
                // A list inside a map: a message with the list as field 1.
                let (start, end) = value.bytes(name)?;
                let shape = Shape::List(self.schema.element(element), 1);
                return Ok(Read::Open(Node::new(Kind::List, field), shape, Reader::new(self.raw, start, end)));
            }
            TypeRef::Union(number) => {
                let (start, end) = value.bytes(name)?;
                return self.union(number, field, start, end);
            }
            _ => {
                let (start, end) = value.bytes(name)?;
                return self.leaf(ty, field, start, end);
            }
        };
        Ok(Read::Node(node))
    }

    /// The messages of values that are not structs in JSON.
    fn leaf(&mut self, ty: TypeRef, field: u16, start: usize, end: usize) -> Result<Read<'a>, Failure> {
        let mut reader = Reader::new(self.raw, start, end);
        let (mut numbers, mut text) = ([0u64; 4], None);
        while let Some((tag, value)) = reader.field()? {
            match value.wire_type {
                VARINT if tag < 4 => numbers[tag as usize] = value.value,
                BYTES if tag == 1 || tag == 3 => text = value.as_bytes(),
                _ => {}
            }
        }
        let node = match (ty, text) {
            (TypeRef::Time, _) if start == end => return Ok(Read::Nothing),
            (TypeRef::MicroTime, _) if start == end => return Ok(Read::Nothing),
            (TypeRef::Time, _) => Node::number(Kind::Time, field, time_in_range(numbers[1] as i64)?),
            (TypeRef::MicroTime, _) => {
                let seconds = time_in_range(numbers[1] as i64)?;
                let micros = (numbers[2] as i64).div_euclid(1000).clamp(0, 999_999);
                Node::number(Kind::MicroTime, field, seconds * 1_000_000 + micros)
            }
            (TypeRef::IntOrString, _) if numbers[1] == 0 => {
                Node::number(Kind::Int, field, i64::from(numbers[2] as i32))
            }
            (TypeRef::IntOrString, text) => {
                let (start, end) = text.unwrap_or((start, start));
                self.text(Kind::String, field, start, end)
            }
            (TypeRef::Quantity, Some((start, end))) => self.quantity(field, start, end)?,
            (TypeRef::Quantity, None) => {
                let (offset, len) = self.tree.keep("0");
                Node::text(Kind::String, field, flag::SIDE, offset, len)
            }
            (_, Some((start, end))) if start < end => self.raw(field, start, end)?,
            _ => return Ok(Read::Nothing),
        };
        Ok(Read::Node(node))
    }

    fn quantity(&mut self, field: u16, start: usize, end: usize) -> Result<Node, Failure> {
        let text = utf8(self.raw, start, end)?;
        match crate::quantity::canonical(text) {
            Ok(canonical) => {
                let (offset, len) = self.tree.keep(&canonical);
                Ok(Node::text(Kind::String, field, flag::SIDE, offset, len))
            }
            Err(error) => Err(DecodeError::Value(error.to_string()).into()),
        }
    }

    /// Free JSON in bytes: checked, since it goes out as it came.
    fn raw(&mut self, field: u16, start: usize, end: usize) -> Result<Node, Failure> {
        let text = String::from_utf8_lossy(self.raw.get(start..end).unwrap_or_default());
        let mut scanner = super::scan::Scanner::new(&text);
        scanner.skip_value(self.stack.len())?;
        scanner.skip_space();
        if scanner.peek().is_some() {
            return Err(scanner.unexpected("after top-level value"));
        }
        let offset = self.tree.side.len();
        super::scan::compact(&text, &mut self.tree.side);
        let len = self.tree.side.len() - offset;
        Ok(Node::text(Kind::Raw, field, flag::SIDE, offset as u32, len as u32))
    }

    fn union(&mut self, number: u16, field: u16, start: usize, end: usize) -> Result<Read<'a>, Failure> {
        let union = self.schema.union(number);
        let (mut object, mut allowed, mut list) = (None, false, false);
        let mut reader = Reader::new(self.raw, start, end);
        while let Some((tag, value)) = reader.field()? {
            match (value.wire_type, union.other) {
                (BYTES, _) if tag == union.object.1 => object = value.as_bytes(),
                (VARINT, Alternative::Bool(wanted)) if tag == wanted => allowed = value.value != 0,
                (BYTES, Alternative::List(_, wanted)) if tag == wanted => list = true,
                _ => {}
            }
        }
        match (union.other, object) {
            (Alternative::List(ty, tag), _) if list => {
                let element = super::encode_json::element(self.schema, ty);
                let shape = Shape::List(element, tag);
                Ok(Read::Open(Node::new(Kind::List, field), shape, Reader::new(self.raw, start, end)))
            }
            (_, Some((start, end))) => {
                let mut node = Node::new(Kind::Object, field);
                node.b = union.object.0.0 as u32;
                let ty = self.schema.ty(union.object.0);
                Ok(Read::Open(node, Shape::Message(ty, &ty.wire_in), Reader::new(self.raw, start, end)))
            }
            (Alternative::Bool(_), None) => Ok(Read::Node(Node::number(Kind::Bool, field, i64::from(allowed)))),
            _ => Ok(Read::Node(Node::new(Kind::Null, field))),
        }
    }

    /// A text node of these bytes. Plain ASCII, as nearly all text is, stays where it is.
    #[inline(always)]
    fn text(&mut self, kind: Kind, field: u16, start: usize, end: usize) -> Node {
        let bytes = self.raw.get(start..end).unwrap_or_default();
        match classify(bytes) {
            Class::Plain => Node::text(kind, field, 0, start as u32, bytes.len() as u32),
            Class::Escape => Node::text(kind, field, flag::ESCAPE, start as u32, bytes.len() as u32),
            Class::NotAscii => self.side_text(kind, field, bytes),
        }
    }

    /// A text node of bytes that are not all ASCII: checked, and put into the side buffer.
    fn side_text(&mut self, kind: Kind, field: u16, bytes: &[u8]) -> Node {
        let offset = self.tree.side.len();
        for chunk in bytes.utf8_chunks() {
            self.tree.side.push_str(chunk.valid());
            self.tree.side.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        let len = self.tree.side.len() - offset;
        Node::text(kind, field, flag::SIDE | flag::ESCAPE, offset as u32, len as u32)
    }
}

#[cold]
fn wire_type(value: Wire, field: &str) -> Failure {
    Box::new(DecodeError::WireType { wire_type: value.wire_type, field: field.to_owned() })
}

/// JSON has years 0 to 9999.
fn time_in_range(seconds: i64) -> Result<i64, Failure> {
    if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        return Ok(seconds);
    }
    Err(DecodeError::Value("Time.MarshalJSON: year outside of range [0,9999]".to_owned()).into())
}
