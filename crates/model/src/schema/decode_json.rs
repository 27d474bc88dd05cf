//! JSON to tree, by the schema: types are checked, unknown fields pruned, duplicates found, zero values that cannot be told from
//! absent ones dropped, and quantities, times and free JSON brought to the form in which they are written.
//!
//! Answers to Go's `encoding/json` into API structs and to `sigs.k8s.io/json` in strict mode (KEP-2885): unknown and duplicate fields
//! are findings, not errors; names are case-sensitive; the last of several duplicates wins, and structs and maps merge.

use super::decode_error::Failure;
use super::scan::{Scanner, Text, compact};
use super::{DEPTH_MAX, DecodeError, FieldSet, NameKey, Schema, Type, TypeId, TypeRef};
use crate::tree::{Kind, Node, Tree, flag};
use crate::{quantity, time};

/// Most findings that are reported for one body, as upstream.
pub const FINDINGS_MAX: usize = 100;

/// What is done about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped silently and not looked for.
    Ignore,
    /// They are reported, to become warnings.
    Warn,
    /// They are reported, to become an error.
    Strict,
}

/// An object that was read, and what in its text did not belong there.
#[derive(Debug)]
pub struct Decoded {
    /// The object.
    pub tree: Tree,
    /// `unknown field "spec.x"`, `duplicate field "metadata.name"`, in the order of the text; none under [`FieldValidation::Ignore`].
    pub findings: Vec<String>,
}

/// Reads a JSON text as an object of a type. `null` is an empty object.
///
/// Takes the text over: strings of the tree point into it. Bytes that are not UTF-8 become U+FFFD, as in Go.
pub fn decode(
    schema: &Schema,
    ty: TypeId,
    text: Vec<u8>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let text = utf8(text);
    if u32::try_from(text.len()).is_err() {
        return Err(DecodeError::TooLarge.into());
    }
    let mut tree = Tree::new(ty);
    tree.nodes.reserve(text.len() / 12 + 16);
    let mut decoder =
        Decoder { schema, scanner: Scanner::new(&text), tree, stack: Vec::with_capacity(16), findings: None };
    if validation != FieldValidation::Ignore {
        decoder.findings = Some(Vec::new());
    }
    decoder.document(ty).map_err(|failure| *failure)?;
    let Decoder { mut tree, findings, .. } = decoder;
    tree.source = text;
    Ok(Decoded { tree, findings: findings.unwrap_or_default() })
}

/// The text with every byte that is not part of a UTF-8 character replaced, one by one.
fn utf8(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap_or_else(|error| {
        let mut out = String::with_capacity(error.as_bytes().len());
        for chunk in error.as_bytes().utf8_chunks() {
            out.push_str(chunk.valid());
            out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
        }
        out
    })
}

/// An object, list or map whose end has not been read.
#[derive(Clone, Copy)]
struct Frame {
    node: u32,
    /// The child that was linked last.
    last: u32,
    shape: Shape,
    /// Fields read so far.
    seen: FieldSet,
    /// The field or element that is being read, for paths in messages.
    current: u32,
    /// A map whose keys did not come in order.
    unsorted: bool,
}

#[derive(Clone, Copy)]
enum Shape {
    Object(TypeId),
    List(TypeRef),
    Map(TypeRef),
}

struct Decoder<'a> {
    schema: &'a Schema,
    scanner: Scanner<'a>,
    tree: Tree,
    stack: Vec<Frame>,
    findings: Option<Vec<String>>,
}

/// What became of a value.
enum Read {
    /// A node, not linked yet.
    Node(Node),
    /// Null, or a zero that is the same as absent.
    Nothing,
    /// A container was opened; its end comes later.
    Opened,
}

impl<'a> Decoder<'a> {
    fn document(&mut self, ty: TypeId) -> Result<(), Failure> {
        match self.scanner.next_token()? {
            b'{' => {
                self.scanner.at += 1;
                self.push_frame(0, Shape::Object(ty))?;
                self.run()?;
            }
            b'n' => self.scanner.literal("null", "in literal null (expecting 'u')")?,
            _ => {
                let found = self.describe()?;
                return Err(DecodeError::NotAnObject { found, wanted: self.go_name(self.schema.ty(ty)) }.into());
            }
        }
        self.scanner.skip_space();
        match self.scanner.peek() {
            None => Ok(()),
            Some(_) => Err(self.scanner.unexpected("after top-level value")),
        }
    }

    fn push_frame(&mut self, node: u32, shape: Shape) -> Result<(), Failure> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        self.stack.push(Frame { node, last: 0, shape, seen: FieldSet::default(), current: 0, unsorted: false });
        Ok(())
    }

    fn run(&mut self) -> Result<(), Failure> {
        while let Some(frame) = self.stack.last() {
            match frame.shape {
                Shape::Object(ty) => self.object(ty)?,
                Shape::List(element) => self.list(element)?,
                Shape::Map(value) => self.map(value)?,
            }
        }
        Ok(())
    }

    /// Reads members of the innermost object until it ends or something is opened in it.
    fn object(&mut self, id: TypeId) -> Result<(), Failure> {
        let ty = self.schema.ty(id);
        let Some(mut frame) = self.stack.last().copied() else { return Ok(()) };
        let mut guess = frame.current as usize + usize::from(frame.seen != FieldSet::default());
        // Coming back from a member that was opened: what follows it is a comma or the end.
        let mut first = frame.seen == FieldSet::default() && frame.current == 0;
        loop {
            let token = self.scanner.next_token()?;
            if token == b'}' {
                self.scanner.at += 1;
                self.stack.pop();
                return Ok(());
            }
            if !first {
                self.scanner.take(b',', "after object key:value pair")?;
                self.scanner.next_token()?;
            }
            first = false;
            let Some(number) = self.key(ty, guess, &mut frame)? else { continue };
            guess = number as usize + 1;
            let field = &ty.fields[number as usize];
            frame.current = number as u32;
            if frame.seen.insert(number) {
                self.store_frame(frame);
                if self.duplicate(number, field.ty)? {
                    return Ok(());
                }
                frame.last = 0;
            }
            match self.value(field.ty, number, field.drop_zero, frame)? {
                Read::Node(node) => _ = self.tree.link_field(frame.node, &mut frame.last, node),
                Read::Nothing => {}
                Read::Opened => return Ok(()),
            }
        }
    }

    /// Reads a key and its colon. None: the field is unknown and its value was skipped.
    #[inline(always)]
    fn key(&mut self, ty: &Type, guess: usize, frame: &mut Frame) -> Result<Option<u16>, Failure> {
        if let Some(len) = self.guessed(ty, guess) {
            self.scanner.at += len;
            return Ok(Some(guess as u16));
        }
        if self.scanner.next_token()? != b'"' {
            return Err(self.scanner.unexpected("looking for beginning of object key string"));
        }
        let text = self.scanner.string(&mut self.tree.side)?;
        let name = self.resolve(text);
        let found = ty.find(name);
        self.scanner.take(b':', "after object key")?;
        if found.is_none() {
            // Marks the frame as begun, so that a comma is expected next.
            self.store_frame(*frame);
            self.unknown(text);
            self.scanner.skip_value(self.stack.len())?;
        }
        Ok(found)
    }

    /// The length of `"name":` when that of the field which is declared next comes next.
    #[inline]
    fn guessed(&self, ty: &Type, guess: usize) -> Option<usize> {
        let key = ty.keys.get(guess)?;
        let quoted = self.scanner.bytes.get(self.scanner.at..self.scanner.at + key.len() + 3)?;
        let [b'"', name @ .., b'"', b':'] = quoted else { return None };
        let equal = NameKey::new(name) == *key
            && (name.len() <= NameKey::WHOLE_MAX || *name == *ty.fields[guess].name.as_bytes());
        equal.then_some(quoted.len())
    }

    #[inline]
    fn resolve(&self, text: Text) -> &str {
        let buffer: &str = if text.flags & flag::SIDE != 0 { &self.tree.side } else { self.scanner.text };
        buffer.get(text.offset as usize..(text.offset + text.len) as usize).unwrap_or_default()
    }

    #[inline]
    fn store_frame(&mut self, frame: Frame) {
        if let Some(top) = self.stack.last_mut() {
            *top = frame;
        }
    }

    /// A field that was read before. True: its struct or map is open again, and what comes is merged into it.
    #[cold]
    fn duplicate(&mut self, number: u16, ty: TypeRef) -> Result<bool, Failure> {
        if let Some(findings) = &self.findings
            && findings.len() < FINDINGS_MAX
        {
            let path = self.path(self.stack.len());
            self.report(format!("duplicate field {}", crate::go_text::quoted(&path)));
        }
        let Some(frame) = self.stack.last().copied() else { return Ok(false) };
        let object = crate::tree::NodeId(frame.node);
        let token = self.scanner.next_token()?;
        let Some(held) = self.tree.field(object, number) else { return Ok(false) };
        let shape = match (ty, token, self.tree.kind(held)) {
            (TypeRef::Object(id), b'{', Kind::Object) => Shape::Object(id),
            (TypeRef::Map(value), b'{', Kind::Map) => Shape::Map(self.schema.element(value)),
            // Null changes nothing in a plain value; for what can be nil it is nil.
            (TypeRef::String | TypeRef::Bool | TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64, b'n', _) => {
                return Ok(false);
            }
            _ => {
                self.tree.remove(object, number);
                if let Some(top) = self.stack.last_mut() {
                    top.last = 0;
                }
                return Ok(false);
            }
        };
        self.scanner.at += 1;
        self.push_frame(held.0, shape)?;
        if let Some(top) = self.stack.last_mut()
            && matches!(shape, Shape::Map(_))
        {
            top.unsorted = true;
            top.last = self.tree.last_child(held.0);
        }
        Ok(true)
    }

    fn list(&mut self, element: TypeRef) -> Result<(), Failure> {
        let Some(mut frame) = self.stack.last().copied() else { return Ok(()) };
        loop {
            let token = self.scanner.next_token()?;
            if token == b']' {
                self.scanner.at += 1;
                self.tree.nodes[frame.node as usize].b = frame.current;
                self.stack.pop();
                return Ok(());
            }
            if frame.current != 0 {
                self.scanner.take(b',', "after array element")?;
                if self.scanner.next_token()? == b']' {
                    return Err(self.scanner.unexpected("looking for beginning of value"));
                }
            }
            frame.current += 1;
            // An element is linked before it is read: what it opens hangs on it.
            match self.value(element, 0, false, frame)? {
                Read::Node(node) => _ = self.tree.link_last(frame.node, &mut frame.last, node),
                Read::Nothing => _ = self.tree.link_last(frame.node, &mut frame.last, Node::new(Kind::Null, 0)),
                Read::Opened => return Ok(()),
            }
        }
    }

    fn map(&mut self, value: TypeRef) -> Result<(), Failure> {
        let Some(mut frame) = self.stack.last().copied() else { return Ok(()) };
        let mut first = frame.current == 0;
        loop {
            let token = self.scanner.next_token()?;
            if token == b'}' {
                self.scanner.at += 1;
                self.close_map(frame);
                self.stack.pop();
                return Ok(());
            }
            if !first {
                self.scanner.take(b',', "after object key:value pair")?;
                self.scanner.next_token()?;
            }
            first = false;
            if self.scanner.peek() != Some(b'"') {
                return Err(self.scanner.unexpected("looking for beginning of object key string"));
            }
            let key = self.scanner.string(&mut self.tree.side)?;
            self.scanner.take(b':', "after object key")?;
            if frame.last != 0 && !frame.unsorted {
                let last = self.tree.nodes[frame.last as usize];
                let last = self.resolve(Text { offset: last.a, len: last.b, flags: last.flags });
                frame.unsorted = last >= self.resolve(key);
            }
            let node = Node::text(Kind::Key, 0, key.flags, key.offset, key.len);
            self.tree.link_last(frame.node, &mut frame.last, node);
            frame.current = frame.last;
            // The value stands right behind its key in the arena.
            match self.value(value, 0, false, frame)? {
                Read::Node(node) => _ = self.tree.push(node),
                Read::Nothing => _ = self.tree.push(Node::new(Kind::Null, 0)),
                Read::Opened => return Ok(()),
            }
        }
    }

    /// Counts a map's entries and, where the text did not have them in order, sorts them and drops all but the last of equal keys.
    fn close_map(&mut self, frame: Frame) {
        if frame.unsorted {
            for key in self.tree.sort_map(frame.node, self.scanner.text) {
                self.duplicate_key(key);
            }
        } else {
            self.tree.count_entries(frame.node);
        }
    }

    #[cold]
    fn duplicate_key(&mut self, key: u32) {
        if let Some(top) = self.stack.last_mut() {
            top.current = key;
        }
        let path = self.path(self.stack.len());
        self.report(format!("duplicate field {}", crate::go_text::quoted(&path)));
    }

    /// Reads one value. Opening a container stores the parent's frame and pushes the new one.
    #[inline(always)]
    fn value(&mut self, ty: TypeRef, field: u16, drop_zero: bool, parent: Frame) -> Result<Read, Failure> {
        let token = self.scanner.next_token()?;
        if token == b'n' {
            self.scanner.literal("null", "in literal null (expecting 'u')")?;
            return Ok(Read::Nothing);
        }
        match (ty, token) {
            (TypeRef::String, b'"') => {
                let text = self.scanner.string(&mut self.tree.side)?;
                if text.len == 0 && drop_zero {
                    return Ok(Read::Nothing);
                }
                Ok(Read::Node(Node::text(Kind::String, field, text.flags, text.offset, text.len)))
            }
            (TypeRef::Object(id), b'{') => {
                let mut node = Node::new(Kind::Object, field);
                node.b = id.0 as u32;
                self.open(node, Shape::Object(id), parent)
            }
            (TypeRef::List(element), b'[') => {
                self.open_counted(Kind::List, field, drop_zero, Shape::List(self.schema.element(element)), parent)
            }
            (TypeRef::Map(value), b'{') => {
                self.open_counted(Kind::Map, field, drop_zero, Shape::Map(self.schema.element(value)), parent)
            }
            (TypeRef::Bool, b't' | b'f') => {
                let value = token == b't';
                let (literal, context) = if value {
                    ("true", "in literal true (expecting 'r')")
                } else {
                    ("false", "in literal false (expecting 'a')")
                };
                self.scanner.literal(literal, context)?;
                if !value && drop_zero {
                    return Ok(Read::Nothing);
                }
                Ok(Read::Node(Node::number(Kind::Bool, field, value as i64)))
            }
            (TypeRef::Int32 | TypeRef::Int64, b'-' | b'0'..=b'9') => {
                let value = self.int(ty, parent)?;
                if value == 0 && drop_zero {
                    return Ok(Read::Nothing);
                }
                Ok(Read::Node(Node::number(Kind::Int, field, value)))
            }
            _ => self.rare_value(ty, token, field, drop_zero, parent),
        }
    }

    /// Opens a list or map; an empty one that is the same as absent is read to its end at once.
    #[inline]
    fn open_counted(
        &mut self,
        kind: Kind,
        field: u16,
        drop_zero: bool,
        shape: Shape,
        parent: Frame,
    ) -> Result<Read, Failure> {
        if drop_zero {
            let back = self.scanner.at;
            self.scanner.at += 1;
            let token = self.scanner.next_token()?;
            if token == b']' || token == b'}' {
                let close = if kind == Kind::List { b']' } else { b'}' };
                self.scanner.take(close, "looking for beginning of value")?;
                return Ok(Read::Nothing);
            }
            self.scanner.at = back;
        }
        self.open(Node::new(kind, field), shape, parent)
    }

    #[inline]
    fn open(&mut self, node: Node, shape: Shape, mut parent: Frame) -> Result<Read, Failure> {
        self.scanner.at += 1;
        let opened = match parent.shape {
            Shape::Object(_) => self.tree.link_field(parent.node, &mut parent.last, node),
            Shape::List(_) => self.tree.link_last(parent.node, &mut parent.last, node),
            Shape::Map(_) => self.tree.push(node),
        };
        self.store_frame(parent);
        self.push_frame(opened, shape)?;
        Ok(Read::Opened)
    }

    fn rare_value(
        &mut self,
        ty: TypeRef,
        token: u8,
        field: u16,
        drop_zero: bool,
        parent: Frame,
    ) -> Result<Read, Failure> {
        match (ty, token) {
            (TypeRef::Union(number), _) => self.union(number, token, field, drop_zero, parent),
            (TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json, _) => self.raw(field),
            (TypeRef::Quantity, b'"' | b'-' | b'0'..=b'9') => self.quantity(token, field),
            (TypeRef::IntOrString, b'"') => {
                let text = self.scanner.string(&mut self.tree.side)?;
                Ok(Read::Node(Node::text(Kind::String, field, text.flags, text.offset, text.len)))
            }
            (TypeRef::IntOrString, b'-' | b'0'..=b'9') => {
                let value = self.int(TypeRef::Int32, parent)?;
                Ok(Read::Node(Node::number(Kind::Int, field, value)))
            }
            (TypeRef::Time | TypeRef::MicroTime, b'"') => {
                let text = self.scanner.string(&mut self.tree.side)?;
                self.time(ty, text, field)
            }
            (TypeRef::Bytes, b'"') => self.bytes(field, drop_zero),
            (TypeRef::Float64, b'-' | b'0'..=b'9') => {
                let text = self.scanner.number()?;
                let value = match text.parse::<f64>() {
                    Ok(value) if value.is_finite() => value,
                    _ => return Err(self.mismatch(ty, format!("number {text}"), parent)),
                };
                Ok(Read::Node(Node::number(Kind::Float, field, value.to_bits() as i64)))
            }
            _ => {
                let found = self.describe()?;
                Err(self.mismatch(ty, found.to_owned(), parent))
            }
        }
    }

    fn union(
        &mut self,
        number: u16,
        token: u8,
        field: u16,
        drop_zero: bool,
        parent: Frame,
    ) -> Result<Read, Failure> {
        let union = self.schema.union(number);
        let object = TypeRef::Object(union.object.0);
        match (token, union.other) {
            (b'{', _) => self.value(object, field, drop_zero, parent),
            (b'[', super::Alternative::List(list, _)) => self.value(list, field, false, parent),
            (b't' | b'f', super::Alternative::Bool(_)) => self.value(TypeRef::Bool, field, false, parent),
            _ => {
                let found = self.describe()?;
                Err(self.mismatch(object, found.to_owned(), parent))
            }
        }
    }

    fn raw(&mut self, field: u16) -> Result<Read, Failure> {
        let start = self.scanner.at;
        let rewrite = self.scanner.skip_value(self.stack.len())?;
        let text = self.scanner.text.get(start..self.scanner.at).unwrap_or_default();
        if !rewrite {
            return Ok(Read::Node(Node::text(Kind::Raw, field, 0, start as u32, text.len() as u32)));
        }
        let offset = self.tree.side.len();
        compact(text, &mut self.tree.side);
        let len = self.tree.side.len() - offset;
        Ok(Read::Node(Node::text(Kind::Raw, field, flag::SIDE, offset as u32, len as u32)))
    }

    fn quantity(&mut self, token: u8, field: u16) -> Result<Read, Failure> {
        let text = if token == b'"' {
            self.scanner.string(&mut self.tree.side)?
        } else {
            let start = self.scanner.at;
            let len = self.scanner.number()?.len();
            Text { offset: start as u32, len: len as u32, flags: 0 }
        };
        let canonical = match quantity::canonical(self.resolve(text)) {
            Ok(std::borrow::Cow::Borrowed(_)) => None,
            Ok(std::borrow::Cow::Owned(canonical)) => Some(canonical),
            Err(error) => return Err(DecodeError::Value(error.to_string()).into()),
        };
        Ok(Read::Node(self.replaced(text, canonical, field)))
    }

    /// A string node of the text, or of what it was replaced by.
    fn replaced(&mut self, text: Text, replacement: Option<String>, field: u16) -> Node {
        match replacement {
            None => Node::text(Kind::String, field, text.flags, text.offset, text.len),
            Some(replacement) => {
                let (offset, len) = self.tree.keep(&replacement);
                Node::text(Kind::String, field, flag::SIDE, offset, len)
            }
        }
    }

    fn time(&mut self, ty: TypeRef, text: Text, field: u16) -> Result<Read, Failure> {
        let text = self.resolve(text);
        let (kind, value, zero) = if ty == TypeRef::Time {
            (Kind::Time, time::parse_time(text), time::ZERO_TIME)
        } else {
            (Kind::MicroTime, time::parse_micro_time(text), time::ZERO_TIME * 1_000_000)
        };
        match value {
            Ok(value) if value == zero => Ok(Read::Nothing),
            Ok(value) => Ok(Read::Node(Node::number(kind, field, value))),
            Err(error) => Err(DecodeError::Value(error.to_string()).into()),
        }
    }

    fn bytes(&mut self, field: u16, drop_zero: bool) -> Result<Read, Failure> {
        let text = self.scanner.string(&mut self.tree.side)?;
        let held = self.resolve(text);
        if held.is_empty() && drop_zero {
            return Ok(Read::Nothing);
        }
        let replacement = super::canonical::base64(held).map_err(DecodeError::Value)?;
        Ok(Read::Node(self.replaced(text, replacement, field)))
    }

    #[inline]
    fn int(&mut self, ty: TypeRef, parent: Frame) -> Result<i64, Failure> {
        // Plain digits, as nearly all numbers are; whatever else follows is read again as a JSON number.
        let (mut at, mut value) = (self.scanner.at, 0i64);
        while let Some(byte @ b'0'..=b'9') = self.scanner.bytes.get(at).copied()
            && at - self.scanner.at < 9
        {
            value = value * 10 + i64::from(byte - b'0');
            at += 1;
        }
        let plain = at > self.scanner.at && (self.scanner.bytes[self.scanner.at] != b'0' || at == self.scanner.at + 1);
        if plain && matches!(self.scanner.bytes.get(at), Some(b',' | b'}' | b']')) {
            self.scanner.at = at;
            return Ok(value);
        }
        let text = self.scanner.number()?;
        match (ty, text.parse::<i64>()) {
            (TypeRef::Int32, Ok(value)) if i32::try_from(value).is_ok() => Ok(value),
            (TypeRef::Int64, Ok(value)) => Ok(value),
            _ => Err(self.mismatch(ty, format!("number {text}"), parent)),
        }
    }

    /// What the JSON value that comes next is called in Go's errors. A value that is not JSON is a syntax error.
    #[cold]
    fn describe(&mut self) -> Result<&'static str, Failure> {
        let token = self.scanner.next_token()?;
        let depth = self.stack.len();
        let found = match token {
            b'"' => "string",
            b'{' => "object",
            b'[' => "array",
            b't' | b'f' => "bool",
            _ => "number",
        };
        self.scanner.skip_value(depth)?;
        Ok(found)
    }

    #[cold]
    fn mismatch(&mut self, ty: TypeRef, found: String, parent: Frame) -> Failure {
        self.store_frame(parent);
        let mut owner = "";
        let mut names = Vec::new();
        for frame in &self.stack {
            if let Shape::Object(id) = frame.shape {
                let ty = self.schema.ty(id);
                owner = ty.short_name();
                names.extend(ty.fields.get(frame.current as usize).map(|field| &*field.name));
            }
        }
        let place = format!("{owner}.{}", names.join("."));
        Box::new(DecodeError::Mismatch { found, place, wanted: self.go_type(ty) })
    }

    fn go_type(&self, ty: TypeRef) -> String {
        let mut prefix = String::new();
        let mut ty = ty;
        loop {
            ty = match ty {
                TypeRef::List(element) => {
                    prefix.push_str("[]");
                    self.schema.element(element)
                }
                TypeRef::Map(value) => {
                    prefix.push_str("map[string]");
                    self.schema.element(value)
                }
                TypeRef::Object(id) => return prefix + &self.go_name(self.schema.ty(id)),
                TypeRef::Bool => return prefix + "bool",
                TypeRef::Int32 => return prefix + "int32",
                TypeRef::Int64 => return prefix + "int64",
                TypeRef::Float64 => return prefix + "float64",
                TypeRef::Bytes => return prefix + "[]uint8",
                _ => return prefix + "string",
            };
        }
    }

    /// `v1.Pod`: the last part of the package and the name.
    fn go_name(&self, ty: &Type) -> String {
        let mut parts = ty.name.rsplit('.');
        let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{package}.{name}")
    }

    #[cold]
    fn unknown(&mut self, name: Text) {
        if self.findings.is_none() {
            return;
        }
        let mut path = self.path(self.stack.len() - 1);
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(self.resolve(name));
        self.report(format!("unknown field {}", crate::go_text::quoted(&path)));
    }

    fn report(&mut self, finding: String) {
        if let Some(findings) = &mut self.findings
            && findings.len() < FINDINGS_MAX
            && !findings.contains(&finding)
        {
            findings.push(finding);
        }
    }

    /// The path of what is being read in the outermost `depth` containers: `spec.containers[0].name`.
    #[cold]
    fn path(&self, depth: usize) -> String {
        let mut path = String::new();
        for frame in self.stack.iter().take(depth) {
            let name = match frame.shape {
                Shape::Object(id) => {
                    self.schema.ty(id).fields.get(frame.current as usize).map_or("", |field| &*field.name)
                }
                Shape::Map(_) => self.tree.key_text(frame.current, self.scanner.text),
                Shape::List(_) => {
                    path.push_str(&format!("[{}]", frame.current.saturating_sub(1)));
                    continue;
                }
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
        }
        path
    }
}
