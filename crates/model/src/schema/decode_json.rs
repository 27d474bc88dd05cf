//! JSON to tree, by the schema: types are checked, unknown fields pruned, duplicates found, zero values that cannot be told from
//! absent ones dropped, and quantities, times and free JSON brought to the form in which they are written.
//!
//! Answers to Go's `encoding/json` into API structs and to `sigs.k8s.io/json` in strict mode (KEP-2885): unknown and duplicate fields
//! are findings, not errors; names are case-sensitive; the last of several duplicates wins, and structs and maps merge.

mod findings;
mod values;

use super::decode_error::Failure;
use super::scan::{NULL, Scanner, Text};
use super::{BODY_LEN_MAX, DEPTH_MAX, DecodeError, FieldSet, Presence, Schema, Type, TypeId, TypeRef};
use crate::tree::{Kind, Node, NodeId, Open, Tree, flag};
pub use findings::FINDINGS_MAX;
use findings::Findings;

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
pub fn decode(schema: &Schema, ty: TypeId, text: Vec<u8>, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    decode_with(schema, ty, text, validation, true)
}

/// As [`decode`], with everything that was given: zeros that are the same as absent, and nulls. Who applies that owns it.
pub fn decode_as_given(
    schema: &Schema,
    ty: TypeId,
    text: Vec<u8>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    decode_with(schema, ty, text, validation, false)
}

fn decode_with(
    schema: &Schema,
    ty: TypeId,
    text: Vec<u8>,
    validation: FieldValidation,
    drops_zeros: bool,
) -> Result<Decoded, DecodeError> {
    let text = utf8(text);
    if text.len() > BODY_LEN_MAX {
        return Err(DecodeError::TooLarge);
    }
    let mut tree = Tree::new(ty);
    // What defaulting and admission put in finds room, too.
    tree.nodes.reserve(text.len() / 8 + 32);
    let findings = (validation != FieldValidation::Ignore).then(Findings::default);
    let mut decoder = Decoder {
        schema,
        scanner: Scanner::new(&text),
        tree,
        stack: Vec::with_capacity(16),
        findings,
        unwatched: None,
        merges: Vec::new(),
        drops_zeros,
    };
    if let Err(failure) = decoder.document(ty) {
        // Go looks at the whole text before it reads any of it.
        Scanner::new(&text).document()?;
        return Err(*failure);
    }
    let Decoder { mut tree, findings, .. } = decoder;
    tree.source = text;
    Ok(Decoded { tree, findings: findings.map(Findings::into_list).unwrap_or_default() })
}

/// Checks that a text is a JSON object or `null`, and nothing of what is in it: what Go says that reads it into a map. `wanted` is how
/// Go writes the map's type.
///
/// # Errors
/// It is something else.
pub fn check_object(text: Vec<u8>, wanted: &str) -> Result<(), DecodeError> {
    let text = utf8(text);
    Scanner::new(&text).document()?;
    let found = match text.trim_ascii_start().bytes().next() {
        None | Some(b'{' | b'n') => return Ok(()),
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "bool",
        Some(_) => "number",
    };
    Err(DecodeError::NotAnObject { found, wanted: wanted.to_owned() })
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
    open: Open,
    shape: Shape,
    /// Fields read so far.
    seen: FieldSet,
    /// The field's number, the count of elements, or the key that is being read.
    current: u32,
    /// Something was read: a comma comes before what is next.
    begun: bool,
    /// An object that was read before: fields may be there already.
    merging: bool,
}

#[derive(Clone, Copy)]
enum Shape {
    Object(TypeId),
    List(TypeRef),
    Map(TypeRef),
}

impl Frame {
    fn new(open: Open, shape: Shape) -> Frame {
        Frame { open, shape, seen: FieldSet::default(), current: 0, begun: false, merging: false }
    }
}

struct Decoder<'a> {
    schema: &'a Schema,
    /// Where the text goes on. The loops below work on a copy and store it when they leave.
    scanner: Scanner<'a>,
    tree: Tree,
    stack: Vec<Frame>,
    /// None when nobody asks for them.
    findings: Option<Findings>,
    /// The outermost union that was begun last: how many containers are around it, and its node. Upstream reads unions by functions of
    /// their own, which look for no findings.
    unwatched: Option<(usize, u32)>,
    /// Maps that came again: the first one, and the one whose entries are to be taken into it at the end.
    merges: Vec<(u32, u32)>,
    /// Whether zeros that are the same as absent, and nulls, are left out.
    drops_zeros: bool,
}

/// What became of a value.
enum Read {
    /// It is the newest node of the arena.
    Node,
    /// Null, or a zero that is the same as absent.
    Nothing,
    /// A container was begun; it is the newest node of the arena, and its end comes later.
    Open(Shape),
}

impl<'a> Decoder<'a> {
    fn document(&mut self, ty: TypeId) -> Result<(), Failure> {
        match self.scanner.next_token()? {
            b'{' => {
                self.scanner.at += 1;
                self.push_frame(Frame::new(Open::new(0), Shape::Object(ty)))?;
                self.run()?;
            }
            b'n' => self.scanner.literal(NULL)?,
            _ => {
                let found = self.describe()?;
                return Err(DecodeError::NotAnObject { found, wanted: self.go_name(self.schema.ty(ty)) }.into());
            }
        }
        self.merge_maps();
        self.scanner.end()
    }

    fn push_frame(&mut self, frame: Frame) -> Result<(), Failure> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        self.stack.push(frame);
        Ok(())
    }

    fn run(&mut self) -> Result<(), Failure> {
        while let Some(frame) = self.stack.last().copied() {
            match frame.shape {
                Shape::Object(ty) => self.object(frame, self.schema.ty(ty))?,
                Shape::List(element) => self.list(frame, element)?,
                Shape::Map(value) => self.map(frame, value)?,
            }
        }
        Ok(())
    }

    /// Stores what a loop keeps to itself, before anything that looks at it.
    #[inline(always)]
    fn store(&mut self, frame: &Frame, scanner: Scanner<'a>) {
        self.scanner.at = scanner.at;
        if let Some(top) = self.stack.last_mut() {
            *top = *frame;
        }
    }

    /// Leaves a container for one that was begun in it.
    #[inline(always)]
    fn descend(&mut self, frame: &Frame, scanner: Scanner<'a>, node: u32, shape: Shape) -> Result<(), Failure> {
        self.store(frame, scanner);
        self.push_frame(Frame::new(Open::new(node), shape))
    }

    /// Reads members of the innermost object until it ends or something is opened in it.
    fn object(&mut self, mut frame: Frame, ty: &'a Type) -> Result<(), Failure> {
        let mut scanner = self.scanner;
        loop {
            let token = scanner.next_token()?;
            if token == b'}' {
                scanner.at += 1;
                if frame.open.unordered {
                    self.tree.sort_fields(frame.open.node);
                }
                return self.leave(scanner);
            }
            if frame.begun {
                scanner.take(b',', "after object key:value pair")?;
                scanner.next_token()?;
            }
            frame.begun = true;
            let number = match scanner.short_key().and_then(|(key, behind)| Some((ty.find_key(&key)?, behind))) {
                Some((number, behind)) => {
                    scanner.at = behind;
                    number
                }
                None => {
                    self.store(&frame, scanner);
                    let found = self.any_key(ty)?;
                    scanner.at = self.scanner.at;
                    let Some(number) = found else { continue };
                    number
                }
            };
            let Some(slot) = ty.slots.get(number as usize) else { continue };
            frame.current = u32::from(number);
            let seen = frame.seen.insert(number);
            if seen || frame.merging {
                self.store(&frame, scanner);
                match self.again(ty, number, seen)? {
                    Some(changed) => (frame, scanner.at) = (changed, self.scanner.at),
                    None => return Ok(()),
                }
            }
            match self.value(&mut scanner, &frame, slot.ty, number, slot.drop_zero & self.drops_zeros)? {
                Read::Nothing if !self.drops_zeros => {
                    self.tree.nodes.push(Node::new(Kind::Null, number));
                    frame.open.link_field(&mut self.tree, number);
                }
                Read::Nothing => {}
                Read::Node => _ = frame.open.link_field(&mut self.tree, number),
                Read::Open(shape) => {
                    let node = frame.open.link_field(&mut self.tree, number);
                    return self.descend(&frame, scanner, node, shape);
                }
            }
        }
    }

    /// The end of the innermost container was read.
    #[inline(always)]
    fn leave(&mut self, scanner: Scanner<'a>) -> Result<(), Failure> {
        self.scanner.at = scanner.at;
        self.stack.pop();
        Ok(())
    }

    /// Reads a key of any form and its colon. None: the field is unknown and its value was skipped.
    #[inline(never)]
    fn any_key(&mut self, ty: &Type) -> Result<Option<u16>, Failure> {
        if self.scanner.next_token()? != b'"' {
            return Err(self.scanner.unexpected("looking for beginning of object key string"));
        }
        let name = self.scanner.string(&mut self.tree.side)?;
        let found = ty.find(self.resolve(name));
        self.scanner.take(b':', "after object key")?;
        if found.is_none() {
            self.report_unknown(name);
            self.scanner.skip_value(self.stack.len())?;
        }
        Ok(found)
    }

    #[inline]
    fn resolve(&self, text: Text) -> &str {
        let buffer: &str = if text.flags & flag::SIDE != 0 { &self.tree.side } else { self.scanner.text };
        buffer.get(text.offset as usize..(text.offset + text.len) as usize).unwrap_or_default()
    }

    /// A field that may be there already: it came before, in this text of its object (`seen`) or in an earlier one. None: its struct or
    /// map is open, and what comes is merged. Otherwise it is read as if it came first; the frame is the new state.
    #[cold]
    fn again(&mut self, ty: &Type, number: u16, seen: bool) -> Result<Option<Frame>, Failure> {
        if seen {
            self.report_duplicate();
        }
        let Some(mut frame) = self.stack.last().copied() else { return Ok(None) };
        let (Some(field), Some(held)) = (ty.fields.get(number as usize), frame.open.find(&self.tree, number)) else {
            return Ok(Some(frame));
        };
        let is_pointer = matches!(field.presence, Presence::Optional | Presence::Nullable);
        let token = self.scanner.next_token()?;
        let opened = match (field.ty, token, self.tree.kind(NodeId(held))) {
            (TypeRef::Object(id), b'{', Kind::Object) => {
                Frame { merging: true, ..Frame::new(Open::again(&self.tree, held), Shape::Object(id)) }
            }
            (TypeRef::Map(value), b'{', Kind::Map) => {
                let beside = self.tree.push(Node::new(Kind::Map, number));
                self.merges.push((held, beside));
                Frame::new(Open::new(beside), Shape::Map(self.schema.element(value)))
            }
            // Null changes nothing in a plain value; what can be nil becomes nil.
            (
                TypeRef::String
                | TypeRef::Bool
                | TypeRef::Int32
                | TypeRef::Int64
                | TypeRef::Float64
                | TypeRef::Object(_),
                b'n',
                _,
            ) if !is_pointer => return Ok(Some(frame)),
            _ => {
                frame.open.remove(&mut self.tree, number);
                return Ok(Some(frame));
            }
        };
        self.scanner.at += 1;
        self.push_frame(opened)?;
        Ok(None)
    }

    /// Takes the entries of maps that came again into the first ones.
    fn merge_maps(&mut self) {
        let mut merges = std::mem::take(&mut self.merges);
        merges.sort_unstable();
        for group in merges.chunk_by(|a, b| a.0 == b.0) {
            let Some((map, _)) = group.first() else { continue };
            self.tree.sort_map(*map, group.iter().map(|(_, more)| *more), self.scanner.text);
        }
    }

    /// Reads elements of the innermost list until it ends or something is opened in it.
    fn list(&mut self, mut frame: Frame, element: TypeRef) -> Result<(), Failure> {
        let mut scanner = self.scanner;
        loop {
            if scanner.next_token()? == b']' {
                scanner.at += 1;
                self.tree.nodes[frame.open.node as usize].b = frame.current;
                return self.leave(scanner);
            }
            if frame.current != 0 {
                scanner.take(b',', "after array element")?;
                if scanner.next_token()? == b']' {
                    return Err(scanner.unexpected("looking for beginning of value"));
                }
            }
            frame.current += 1;
            match self.value(&mut scanner, &frame, element, 0, false)? {
                Read::Node => {}
                Read::Nothing => self.tree.nodes.push(Node::new(Kind::Null, 0)),
                Read::Open(shape) => {
                    let node = frame.open.link(&mut self.tree);
                    return self.descend(&frame, scanner, node, shape);
                }
            }
            frame.open.link(&mut self.tree);
        }
    }

    /// Reads entries of the innermost map until it ends or something is opened in it.
    fn map(&mut self, mut frame: Frame, value: TypeRef) -> Result<(), Failure> {
        let mut scanner = self.scanner;
        loop {
            if scanner.next_token()? == b'}' {
                scanner.at += 1;
                self.close_map(&frame);
                return self.leave(scanner);
            }
            if frame.begun {
                scanner.take(b',', "after object key:value pair")?;
                scanner.next_token()?;
            }
            frame.begun = true;
            if scanner.peek() != Some(b'"') {
                return Err(scanner.unexpected("looking for beginning of object key string"));
            }
            let key = scanner.string(&mut self.tree.side)?;
            scanner.take(b':', "after object key")?;
            if frame.open.last != 0 && !frame.open.unordered {
                frame.open.unordered = self.tree.key_text(frame.open.last, scanner.text) >= self.resolve(key);
            }
            self.tree.nodes.push(Node::text(Kind::Key, 0, key.flags, key.offset, key.len));
            frame.open.link(&mut self.tree);
            frame.current = frame.open.last;
            // The value stands right behind its key in the arena.
            match self.value(&mut scanner, &frame, value, 0, false)? {
                Read::Node => {}
                Read::Nothing => self.tree.nodes.push(Node::new(Kind::Null, 0)),
                Read::Open(shape) => return self.descend(&frame, scanner, self.tree.newest(), shape),
            }
        }
    }

    /// Counts a map's entries and, where the text did not have them in order, sorts them and drops all but the last of equal keys.
    fn close_map(&mut self, frame: &Frame) {
        if frame.open.unordered {
            for key in self.tree.sort_map(frame.open.node, std::iter::empty(), self.scanner.text) {
                self.report_duplicate_key(key);
            }
        } else {
            self.tree.count_entries(frame.open.node);
        }
    }

    /// Reads one value to the end of the arena. What most fields of objects hold is read here, all else in `values`.
    #[inline(always)]
    fn value(
        &mut self,
        scanner: &mut Scanner<'a>,
        frame: &Frame,
        ty: TypeRef,
        field: u16,
        drop_zero: bool,
    ) -> Result<Read, Failure> {
        let token = scanner.next_token()?;
        match ty {
            TypeRef::String if token == b'"' => {
                let text = scanner.string(&mut self.tree.side)?;
                if text.len == 0 && drop_zero {
                    return Ok(Read::Nothing);
                }
                self.tree.nodes.push(Node::text(Kind::String, field, text.flags, text.offset, text.len));
                return Ok(Read::Node);
            }
            TypeRef::Object(id) if token == b'{' => {
                scanner.at += 1;
                self.tree.nodes.push(Node { b: u32::from(id.0), ..Node::new(Kind::Object, field) });
                return Ok(Read::Open(Shape::Object(id)));
            }
            TypeRef::List(element) if token == b'[' => {
                scanner.at += 1;
                if scanner.next_token()? == b']' {
                    self.tree.emptied.push((NodeId(frame.open.node), field));
                    if drop_zero {
                        scanner.at += 1;
                        return Ok(Read::Nothing);
                    }
                }
                self.tree.nodes.push(Node::new(Kind::List, field));
                return Ok(Read::Open(Shape::List(self.schema.element(element))));
            }
            TypeRef::Map(value) if token == b'{' => {
                scanner.at += 1;
                if drop_zero && scanner.next_token()? == b'}' {
                    scanner.at += 1;
                    self.tree.emptied.push((NodeId(frame.open.node), field));
                    return Ok(Read::Nothing);
                }
                self.tree.nodes.push(Node::new(Kind::Map, field));
                return Ok(Read::Open(Shape::Map(self.schema.element(value))));
            }
            TypeRef::Int32 | TypeRef::Int64 if let Some(value) = scanner.short_int() => {
                if value == 0 && drop_zero {
                    return Ok(Read::Nothing);
                }
                self.tree.nodes.push(Node::number(Kind::Int, field, value));
                return Ok(Read::Node);
            }
            TypeRef::Bool if let Some(value) = scanner.short_bool() => {
                if !value && drop_zero {
                    return Ok(Read::Nothing);
                }
                self.tree.nodes.push(Node::number(Kind::Bool, field, i64::from(value)));
                return Ok(Read::Node);
            }
            _ => {}
        }
        self.store(frame, *scanner);
        let read = self.rare_value(ty, token, field, drop_zero)?;
        scanner.at = self.scanner.at;
        Ok(read)
    }
}
