//! The values that are not plain strings, numbers and containers, and every value that is not as its type wants it.

use super::super::Alternative;
use super::super::canonical;
use super::super::encode_json;
use super::super::scan::{FALSE, TRUE, compact};
use super::*;
use crate::{quantity, time};

impl Decoder<'_> {
    /// Reads a value of any type. The state is stored: what is wrong is said with its place.
    #[inline(never)]
    pub(super) fn rare_value(&mut self, ty: TypeRef, token: u8, field: u16, drop_zero: bool) -> Result<Read, Failure> {
        if token == b'n' {
            self.scanner.literal(NULL)?;
            return Ok(Read::Nothing);
        }
        let spelled = match ty {
            TypeRef::Quantity | TypeRef::Time | TypeRef::MicroTime | TypeRef::Bytes if !self.drops_zeros => {
                Some(self.scanner.at)
            }
            _ => None,
        };
        let read = self.canonical_value(ty, token, field, drop_zero)?;
        match spelled {
            Some(start) => self.as_spelled(start, ty, field, read),
            None => Ok(read),
        }
    }

    /// Puts what was written in place of its canonical form, where that is another: whoever applies changes what it spells differently.
    fn as_spelled(&mut self, start: usize, ty: TypeRef, field: u16, read: Read) -> Result<Read, Failure> {
        if !matches!(read, Read::Node) {
            return Ok(read);
        }
        let written = self.scanner.text.get(start..self.scanner.at).unwrap_or_default();
        let newest = NodeId(self.tree.newest());
        let Node { kind, flags, a: offset, b: len, .. } = *self.tree.node(newest);
        let is_canonical = if kind == Kind::String {
            let inner = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            inner == Some(self.resolve(Text { offset, len, flags }))
        } else {
            let mut canonical = Vec::new();
            encode_json::write_value(self.schema, &self.tree, newest, ty, &mut canonical);
            written.as_bytes() == canonical
        };
        if is_canonical {
            return Ok(read);
        }
        self.tree.nodes.pop();
        let offset = self.tree.side.len();
        compact(written, &mut self.tree.side);
        let len = self.tree.side.len() - offset;
        self.node(Node::text(Kind::Raw, field, flag::SIDE, offset as u32, len as u32))
    }

    fn canonical_value(&mut self, ty: TypeRef, token: u8, field: u16, drop_zero: bool) -> Result<Read, Failure> {
        match (ty, token) {
            (TypeRef::Bool, b't' | b'f') => self.bool(token, field, drop_zero),
            (TypeRef::IntOrString, b'"') => {
                let text = self.scanner.string(&mut self.tree.side)?;
                self.node(Node::text(Kind::String, field, text.flags, text.offset, text.len))
            }
            (TypeRef::Int32 | TypeRef::Int64 | TypeRef::IntOrString, b'-' | b'0'..=b'9') => {
                let value = self.int(ty)?;
                if value == 0 && drop_zero && ty != TypeRef::IntOrString {
                    return Ok(Read::Nothing);
                }
                self.node(Node::number(Kind::Int, field, value))
            }
            (TypeRef::Quantity, _) => self.quantity(token, field),
            (TypeRef::Time | TypeRef::MicroTime, b'"') => self.time(ty, field),
            (TypeRef::Bytes, b'"') => self.bytes(field, drop_zero),
            (TypeRef::Bytes, b'[') => self.byte_list(field, drop_zero),
            (TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json, _) => self.raw(field),
            (TypeRef::Float64, b'-' | b'0'..=b'9') => self.float(field),
            (TypeRef::Union(number), _) => self.union(number, token, field),
            _ => {
                let found = self.describe()?;
                Err(self.mismatch(ty, found.to_owned()))
            }
        }
    }

    fn node(&mut self, node: Node) -> Result<Read, Failure> {
        self.tree.nodes.push(node);
        Ok(Read::Node)
    }

    fn bool(&mut self, token: u8, field: u16, drop_zero: bool) -> Result<Read, Failure> {
        let value = token == b't';
        match value {
            true => self.scanner.literal(TRUE)?,
            false => self.scanner.literal(FALSE)?,
        }
        if !value && drop_zero {
            return Ok(Read::Nothing);
        }
        self.node(Node::number(Kind::Bool, field, i64::from(value)))
    }

    fn int(&mut self, ty: TypeRef) -> Result<i64, Failure> {
        if let Some(value) = self.scanner.short_int() {
            return Ok(value);
        }
        let text = self.scanner.number()?;
        match (ty, text.parse::<i64>()) {
            (TypeRef::Int64, Ok(value)) => Ok(value),
            (TypeRef::Int32 | TypeRef::IntOrString, Ok(value)) if i32::try_from(value).is_ok() => Ok(value),
            (TypeRef::IntOrString, _) => Err(self.mismatch(TypeRef::Int32, format!("number {text}"))),
            _ => Err(self.mismatch(ty, format!("number {text}"))),
        }
    }

    fn float(&mut self, field: u16) -> Result<Read, Failure> {
        let text = self.scanner.number()?;
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => self.node(Node::number(Kind::Float, field, value.to_bits() as i64)),
            _ => Err(self.mismatch(TypeRef::Float64, format!("number {text}"))),
        }
    }

    /// Which form of a union it is shows in how the value begins.
    fn union(&mut self, number: u16, token: u8, field: u16) -> Result<Read, Failure> {
        let union = self.schema.union(number);
        let object = union.object.0;
        match (token, union.other) {
            (b'{', _) => {
                self.scanner.at += 1;
                self.tree.nodes.push(Node { b: u32::from(object.0), ..Node::new(Kind::Object, field) });
                self.unwatch();
                Ok(Read::Open(Shape::Object(object)))
            }
            (b'[', Alternative::List(TypeRef::List(element), _)) => {
                self.scanner.at += 1;
                // Neither form: upstream writes null, which is nothing when it is read.
                if self.scanner.next_token()? == b']' {
                    self.scanner.at += 1;
                    return Ok(Read::Nothing);
                }
                self.tree.nodes.push(Node::new(Kind::List, field));
                self.unwatch();
                Ok(Read::Open(Shape::List(self.schema.element(element))))
            }
            (b't' | b'f', Alternative::Bool(_)) => self.bool(token, field, false),
            _ => {
                let found = self.describe()?;
                Err(self.mismatch(TypeRef::Object(object), found.to_owned()))
            }
        }
    }

    fn raw(&mut self, field: u16) -> Result<Read, Failure> {
        let start = self.scanner.at;
        let rewrite = self.scanner.skip_value(self.stack.len())?;
        let text = self.scanner.text.get(start..self.scanner.at).unwrap_or_default();
        if !rewrite {
            return self.node(Node::text(Kind::Raw, field, 0, start as u32, text.len() as u32));
        }
        let offset = self.tree.side.len();
        compact(text, &mut self.tree.side);
        let len = self.tree.side.len() - offset;
        self.node(Node::text(Kind::Raw, field, flag::SIDE, offset as u32, len as u32))
    }

    fn quantity(&mut self, token: u8, field: u16) -> Result<Read, Failure> {
        let text = if token == b'"' {
            self.scanner.string(&mut self.tree.side)?
        } else {
            // Whatever it is, it is judged as a quantity, as upstream does.
            let start = self.scanner.at;
            self.scanner.skip_value(self.stack.len())?;
            Text { offset: start as u32, len: (self.scanner.at - start) as u32, flags: 0 }
        };
        let canonical = match quantity::canonical(self.resolve(text)) {
            Ok(std::borrow::Cow::Borrowed(_)) => None,
            Ok(std::borrow::Cow::Owned(canonical)) => Some(canonical),
            Err(error) => return Err(DecodeError::Value(error.to_string()).into()),
        };
        self.text_or(text, canonical, field)
    }

    /// A string node of the text, or of what it was replaced by.
    fn text_or(&mut self, text: Text, replacement: Option<String>, field: u16) -> Result<Read, Failure> {
        let node = match replacement {
            None => Node::text(Kind::String, field, text.flags, text.offset, text.len),
            Some(replacement) => {
                let (offset, len) = self.tree.keep(&replacement);
                Node::text(Kind::String, field, flag::SIDE, offset, len)
            }
        };
        self.node(node)
    }

    fn time(&mut self, ty: TypeRef, field: u16) -> Result<Read, Failure> {
        let text = self.scanner.string(&mut self.tree.side)?;
        let text = self.resolve(text);
        let (kind, value, zero) = match ty {
            TypeRef::Time => (Kind::Time, time::parse_time(text), time::ZERO_TIME),
            _ => (Kind::MicroTime, time::parse_micro_time(text), time::ZERO_TIME * 1_000_000),
        };
        match value {
            Ok(value) if value == zero => Ok(Read::Nothing),
            Ok(value) => {
                let seconds = if kind == Kind::Time { value } else { value.div_euclid(1_000_000) };
                canonical::time_in_range(seconds).map_err(DecodeError::Value)?;
                self.node(Node::number(kind, field, value))
            }
            Err(error) => Err(DecodeError::Value(error.to_string()).into()),
        }
    }

    fn bytes(&mut self, field: u16, drop_zero: bool) -> Result<Read, Failure> {
        let text = self.scanner.string(&mut self.tree.side)?;
        let held = self.resolve(text);
        if held.is_empty() && drop_zero {
            return Ok(Read::Nothing);
        }
        let replacement = canonical::base64(held).map_err(DecodeError::Value)?;
        self.text_or(text, replacement, field)
    }

    /// Bytes as a list of numbers: Go reads that too.
    fn byte_list(&mut self, field: u16, drop_zero: bool) -> Result<Read, Failure> {
        self.scanner.at += 1;
        let mut bytes = Vec::new();
        loop {
            let token = self.scanner.next_token()?;
            if token == b']' {
                self.scanner.at += 1;
                break;
            }
            if !bytes.is_empty() {
                self.scanner.take(b',', "after array element")?;
            }
            bytes.push(self.byte()?);
        }
        if bytes.is_empty() && drop_zero {
            return Ok(Read::Nothing);
        }
        let offset = self.tree.side.len();
        canonical::push_base64(&bytes, &mut self.tree.side);
        let len = self.tree.side.len() - offset;
        self.node(Node::text(Kind::String, field, flag::SIDE, offset as u32, len as u32))
    }

    fn byte(&mut self) -> Result<u8, Failure> {
        let found = match self.scanner.next_token()? {
            b'-' | b'0'..=b'9' => {
                let text = self.scanner.number()?;
                match text.parse() {
                    Ok(byte) => return Ok(byte),
                    Err(_) => format!("number {text}"),
                }
            }
            b'n' => {
                self.scanner.literal(NULL)?;
                return Ok(0);
            }
            _ => self.describe()?.to_owned(),
        };
        Err(self.mismatch_with(found, "uint8".to_owned()))
    }
}
