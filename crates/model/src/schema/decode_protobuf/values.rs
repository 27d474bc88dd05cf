//! The values behind fields: text, numbers, and the messages of what is not a struct in JSON (times, quantities, unions, free JSON).

use super::super::Alternative;
use super::super::canonical::{push_base64, time_in_range};
use super::super::scan::{Class, Scanner, classify, compact};
use super::reader::{BYTES, FIXED64, VARINT};
use super::*;
use crate::quantity;
use crate::tree::flag;

impl<'a> Decoder<'a> {
    /// Reads one value to the end of the arena. Zero is nothing unless it is kept.
    pub(super) fn value(
        &mut self,
        ty: TypeRef,
        field: u16,
        value: Wire,
        keep_zero: bool,
        place: Place,
    ) -> Result<Read<'a>, Failure> {
        match ty {
            TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 => {
                let value = value.as_varint().ok_or_else(|| self.wire_type(value, place))?;
                return self.node(number_node(ty, field, value));
            }
            TypeRef::Float64 => return self.float(field, value, place),
            _ => {}
        }
        let (start, end) = self.bytes(value, place)?;
        match ty {
            TypeRef::String => {
                self.text(Kind::String, field, start, end);
                Ok(Read::Node)
            }
            TypeRef::Object(id) => {
                self.tree.nodes.push(Node { b: u32::from(id.0), ..Node::new(Kind::Object, field) });
                let shape = Shape::Message(&self.schema.ty(id).wire_in);
                Ok(Read::Open(shape, Reader::new(self.raw, start, end)))
            }
            TypeRef::Bytes => {
                if start == end && !keep_zero {
                    return Ok(Read::Nothing);
                }
                let offset = self.tree.side.len();
                push_base64(self.raw.get(start..end).unwrap_or_default(), &mut self.tree.side);
                let len = self.tree.side.len() - offset;
                self.node(Node::text(Kind::String, field, flag::SIDE, offset as u32, len as u32))
            }
            TypeRef::List(element) => {
                // A list inside a map: a message with the list as field 1.
                self.tree.nodes.push(Node::new(Kind::List, field));
                let shape = Shape::List(self.schema.element(element), 1);
                Ok(Read::Open(shape, Reader::new(self.raw, start, end)))
            }
            TypeRef::Union(number) => self.union(number, field, start, end),
            _ => self.leaf(ty, field, start, end, place),
        }
    }

    fn node(&mut self, node: Node) -> Result<Read<'a>, Failure> {
        self.tree.nodes.push(node);
        Ok(Read::Node)
    }

    /// Start and end of a field of bytes.
    #[inline(always)]
    pub(super) fn bytes(&self, value: Wire, place: Place) -> Result<(usize, usize), Failure> {
        value.as_bytes().ok_or_else(|| self.wire_type(value, place))
    }

    fn float(&mut self, field: u16, value: Wire, place: Place) -> Result<Read<'a>, Failure> {
        if value.wire_type != FIXED64 {
            return Err(self.wire_type(value, place));
        }
        let number = f64::from_bits(value.value);
        if !number.is_finite() {
            return Err(DecodeError::Value(format!("json: unsupported value: {number}")).into());
        }
        self.node(Node::number(Kind::Float, field, value.value as i64))
    }

    /// The messages of values that are not structs in JSON.
    fn leaf(&mut self, ty: TypeRef, field: u16, start: usize, end: usize, place: Place) -> Result<Read<'a>, Failure> {
        let mut reader = Reader::new(self.raw, start, end);
        let (mut numbers, mut text) = ([0u64; 3], None);
        while let Some((tag, value)) = reader.field()? {
            let wanted = match (ty, tag) {
                (TypeRef::Time | TypeRef::MicroTime | TypeRef::IntOrString, 1 | 2) => VARINT,
                (TypeRef::IntOrString, 3) => BYTES,
                (TypeRef::Quantity | TypeRef::FieldsV1 | TypeRef::RawExtension | TypeRef::Json, 1) => BYTES,
                _ => continue,
            };
            if value.wire_type != wanted {
                return Err(self.wire_type(value, place));
            }
            match (value.as_bytes(), numbers.get_mut(tag as usize)) {
                (Some(span), _) => text = Some(span),
                (None, Some(number)) => *number = value.value,
                (None, None) => {}
            }
        }
        match (ty, text) {
            (TypeRef::Time | TypeRef::MicroTime, _) if start == end => Ok(Read::Nothing),
            (TypeRef::Time, _) => {
                let seconds = time_in_range(numbers[1] as i64).map_err(DecodeError::Value)?;
                self.node(Node::number(Kind::Time, field, seconds))
            }
            (TypeRef::MicroTime, _) => {
                let seconds = time_in_range(numbers[1] as i64).map_err(DecodeError::Value)?;
                let micros = (numbers[2] as i64).div_euclid(1000).clamp(0, 999_999);
                self.node(Node::number(Kind::MicroTime, field, seconds * 1_000_000 + micros))
            }
            (TypeRef::IntOrString, _) if numbers[1] == 0 => {
                self.node(Node::number(Kind::Int, field, i64::from(numbers[2] as i32)))
            }
            (TypeRef::IntOrString, text) => {
                let (start, end) = text.unwrap_or((start, start));
                self.text(Kind::String, field, start, end);
                Ok(Read::Node)
            }
            (TypeRef::Quantity, Some((start, end))) => self.quantity(field, start, end),
            (TypeRef::Quantity, None) => self.side_node(Kind::String, field, |side| side.push('0')),
            (_, Some((start, end))) if start < end => self.raw(field, start, end),
            _ => Ok(Read::Nothing),
        }
    }

    /// A text node of what is appended to the side buffer.
    fn side_node(&mut self, kind: Kind, field: u16, push: impl FnOnce(&mut String)) -> Result<Read<'a>, Failure> {
        let offset = self.tree.side.len();
        push(&mut self.tree.side);
        let len = self.tree.side.len() - offset;
        self.node(Node::text(kind, field, flag::SIDE, offset as u32, len as u32))
    }

    fn quantity(&mut self, field: u16, start: usize, end: usize) -> Result<Read<'a>, Failure> {
        let text = utf8(self.raw, start, end)?;
        match quantity::canonical(text) {
            Ok(canonical) => self.side_node(Kind::String, field, |side| side.push_str(&canonical)),
            Err(error) => Err(DecodeError::Value(error.to_string()).into()),
        }
    }

    /// Free JSON in bytes: checked, since it goes out as it came.
    fn raw(&mut self, field: u16, start: usize, end: usize) -> Result<Read<'a>, Failure> {
        let text = String::from_utf8_lossy(self.raw.get(start..end).unwrap_or_default());
        let mut scanner = Scanner::new(&text);
        scanner.skip_value(self.stack.len())?;
        scanner.end()?;
        self.side_node(Kind::Raw, field, |side| compact(&text, side))
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
            (Alternative::List(TypeRef::List(element), tag), _) if list => {
                self.tree.nodes.push(Node::new(Kind::List, field));
                let shape = Shape::List(self.schema.element(element), tag);
                Ok(Read::Open(shape, Reader::new(self.raw, start, end)))
            }
            (_, Some((start, end))) => {
                let id = union.object.0;
                self.tree.nodes.push(Node { b: u32::from(id.0), ..Node::new(Kind::Object, field) });
                let shape = Shape::Message(&self.schema.ty(id).wire_in);
                Ok(Read::Open(shape, Reader::new(self.raw, start, end)))
            }
            (Alternative::Bool(_), None) => self.node(Node::number(Kind::Bool, field, i64::from(allowed))),
            // Neither form: upstream writes null, which is nothing when it is read.
            _ => Ok(Read::Nothing),
        }
    }

    /// A text node of these bytes. Plain ASCII, as nearly all text is, stays where it is.
    #[inline(always)]
    pub(super) fn text(&mut self, kind: Kind, field: u16, start: usize, end: usize) {
        let bytes = self.raw.get(start..end).unwrap_or_default();
        let flags = match classify(bytes) {
            Class::Plain => 0,
            Class::Escape => flag::ESCAPE,
            Class::NotAscii => return self.side_text(kind, field, bytes),
        };
        self.tree.nodes.push(Node::text(kind, field, flags, start as u32, bytes.len() as u32));
    }

    /// A text node of bytes that are not all ASCII: checked, and put into the side buffer.
    #[inline(never)]
    fn side_text(&mut self, kind: Kind, field: u16, bytes: &[u8]) {
        let offset = self.tree.side.len();
        for chunk in bytes.utf8_chunks() {
            self.tree.side.push_str(chunk.valid());
            self.tree.side.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        let len = self.tree.side.len() - offset;
        self.tree.nodes.push(Node::text(kind, field, flag::SIDE | flag::ESCAPE, offset as u32, len as u32));
    }

    /// A field that has another wire type than its declaration.
    #[cold]
    pub(super) fn wire_type(&self, value: Wire, place: Place) -> Failure {
        let ty = self.tree.object_type(NodeId(place.object)).map(|id| self.schema.ty(id));
        let field = ty.and_then(|ty| ty.fields.get(place.number as usize));
        let field = field.map_or_else(|| "value".to_owned(), |field| field.name.to_string());
        Box::new(DecodeError::WireType { wire_type: value.wire_type, field })
    }
}
