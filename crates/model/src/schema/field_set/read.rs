//! The little JSON that field sets are made of, read from front to back without recursion.

use std::borrow::Cow;
use std::ops::Range;

use super::builder::PathSetBuilder;
use super::step::StepValue;
use super::{DEPTH_MAX, FieldSetError, PathSet, STEPS_MAX, Step};

/// Reads JSON from front to back.
pub struct Reader<'a> {
    text: &'a str,
    /// The offset of what is read next.
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub const fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }

    pub const fn not_an_object(&self) -> FieldSetError {
        FieldSetError::NotAnObject(self.at)
    }

    pub fn begin_object(&mut self) -> Result<(), FieldSetError> {
        if self.take(b'{') { Ok(()) } else { Err(self.not_an_object()) }
    }

    /// A string, without its escapes. One that has none is not copied.
    pub fn string(&mut self) -> Option<Cow<'a, str>> {
        if !self.take(b'"') {
            return None;
        }
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..)?;
            let end = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
            let plain = rest.get(..end)?;
            self.at += end + 1;
            if rest.as_bytes().get(end) == Some(&b'"') {
                if out.is_empty() {
                    return Some(Cow::Borrowed(plain));
                }
                out.push_str(plain);
                return Some(Cow::Owned(out));
            }
            out.push_str(plain);
            let escape = self.text.as_bytes().get(self.at).copied()?;
            self.at += 1;
            out.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.unicode()?,
                _ => return None,
            });
        }
    }

    /// The name of a member and where it begins, up to what is behind its colon.
    fn name(&mut self) -> Result<(Cow<'a, str>, usize), FieldSetError> {
        let offset = self.at;
        let name = self.string().ok_or(FieldSetError::NotAnObject(offset))?;
        if self.take(b':') { Ok((name, offset)) } else { Err(self.not_an_object()) }
    }

    /// Goes past a string.
    fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let end = memchr::memchr2(b'"', b'\\', rest)?;
            if rest.get(end) == Some(&b'"') {
                self.at += end + 1;
                return Some(());
            }
            self.at += end + 2;
        }
    }

    /// The character behind `\u`. Half of a pair becomes U+FFFD, as Go reads it.
    fn unicode(&mut self) -> Option<char> {
        let mut unit = || {
            let unit = u32::from_str_radix(self.text.get(self.at..self.at + 4)?, 16).ok()?;
            self.at += 4;
            Some(unit)
        };
        let high = unit()?;
        if !(0xd800..0xdc00).contains(&high) {
            return Some(char::from_u32(high).unwrap_or('\u{fffd}'));
        }
        let before = self.at;
        if self.text.get(self.at..self.at + 2) == Some("\\u") {
            self.at += 2;
            let low = u32::from_str_radix(self.text.get(self.at..self.at + 4)?, 16).ok()?;
            if (0xdc00..0xe000).contains(&low) {
                self.at += 4;
                return char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            self.at = before;
        }
        Some('\u{fffd}')
    }

    /// Goes past a value, which is not looked at closely.
    pub fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.peek()? {
                b'"' => self.skip_string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' => return None,
                _ => {
                    let rest = self.text.as_bytes().get(self.at..)?;
                    let is_end = |byte: &u8| matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"' | b' ');
                    self.at += rest.iter().position(is_end).unwrap_or(rest.len()).max(1);
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    pub fn scalar(&mut self) -> Option<StepValue<'a>> {
        if self.peek()? == b'"' {
            return self.string().map(StepValue::String);
        }
        let start = self.at;
        self.skip_value()?;
        Some(match self.text.get(start..self.at)? {
            "null" => StepValue::Null,
            "true" => StepValue::Bool(true),
            "false" => StepValue::Bool(false),
            text if text.starts_with(['{', '[']) => StepValue::Other(text),
            text => match text.parse() {
                Ok(value) => StepValue::Int(value),
                Err(_) if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                    StepValue::Float(text.parse().ok().filter(|value: &f64| value.is_finite())?)
                }
                Err(_) => return None,
            },
        })
    }

    /// A key of an element with its value.
    pub fn key(&mut self) -> Option<(Cow<'a, str>, StepValue<'a>)> {
        let name = self.string()?;
        if self.take(b':') { Some((name, self.scalar()?)) } else { None }
    }

    /// All keys of an element, in any order.
    pub fn keys(&mut self) -> Option<Vec<(Cow<'a, str>, StepValue<'a>)>> {
        let mut keys = Vec::new();
        if !self.take(b'{') {
            return None;
        }
        while !self.take(b'}') {
            if !keys.is_empty() && !self.take(b',') {
                return None;
            }
            keys.push(self.key()?);
        }
        Some(keys)
    }
}

/// Reads a set whose members stand in order, which is how sets are written. None: they do not.
pub fn in_order(text: &str) -> Result<Option<PathSet>, FieldSetError> {
    let mut reader = Reader::new(text);
    let mut scratch = Vec::new();
    let mut set = PathSet::default();
    // A step has ten bytes or more in the sets that there are.
    set.lines.reserve(text.len() / 16 + 1);
    set.texts.reserve(text.len() / 2);
    // Of each open object: its line, and the last line right below it.
    let mut open: Vec<(Option<usize>, Option<usize>)> = vec![(None, None)];
    reader.begin_object()?;
    let mut is_first = true;
    while let Some((parent, last)) = open.last_mut() {
        if reader.take(b'}') {
            // An object without steps is a member; one with steps says so itself.
            if let (Some(line), None) = (parent.and_then(|at| set.lines.get_mut(at)), last) {
                line.is_member = true;
            }
            open.pop();
            is_first = false;
            continue;
        }
        if !is_first && !reader.take(b',') {
            return Err(reader.not_an_object());
        }
        is_first = false;
        let (name, offset) = reader.name()?;
        if name == "." {
            reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
            if let Some(line) = parent.and_then(|at| set.lines.get_mut(at)) {
                line.is_member = true;
            }
            continue;
        }
        let Some(step) = Step::read(&name, offset, &mut scratch)? else {
            reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
            continue;
        };
        if last.and_then(|at| set.lines.get(at)).is_some_and(|before| set.step(before) >= step) {
            return Ok(None);
        }
        reader.begin_object()?;
        *last = Some(set.lines.len());
        if open.len() >= DEPTH_MAX || set.lines.len() >= STEPS_MAX {
            return Err(FieldSetError::TooLarge);
        }
        let depth = open.len() as u32;
        open.push((Some(set.lines.len()), None));
        set.push(depth, step, false);
        is_first = true;
    }
    if reader.is_done() { Ok(Some(set)) } else { Err(reader.not_an_object()) }
}

/// Reads a set whose members stand in any order.
pub fn in_any_order(text: &str) -> Result<PathSet, FieldSetError> {
    let mut reader = Reader::new(text);
    let mut scratch = Vec::new();
    let mut builder = PathSetBuilder::default();
    // The lines whose objects are open; none of the outermost.
    let mut open: Vec<Option<u32>> = vec![None];
    reader.begin_object()?;
    let mut is_first = true;
    loop {
        if reader.take(b'}') {
            // An object without steps is a member; one with steps says so itself.
            if let Some(line) = open.pop().flatten() {
                builder.end(line);
            }
            if open.is_empty() {
                break;
            }
            is_first = false;
            continue;
        }
        if !is_first && !reader.take(b',') {
            return Err(reader.not_an_object());
        }
        is_first = false;
        let (name, offset) = reader.name()?;
        let parent = open.last().copied().flatten();
        if name == "." {
            reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
            if let Some(line) = parent {
                builder.mark(line);
            }
            continue;
        }
        let Some(step) = Step::read(&name, offset, &mut scratch)? else {
            reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
            continue;
        };
        reader.begin_object()?;
        if open.len() >= DEPTH_MAX || builder.len() >= STEPS_MAX {
            return Err(FieldSetError::TooLarge);
        }
        open.push(Some(builder.push(parent, step, false)));
        is_first = true;
    }
    if !reader.is_done() {
        return Err(reader.not_an_object());
    }
    if builder.is_doubled() { Err(FieldSetError::DuplicateStep) } else { Ok(builder.finish()) }
}

/// Whether one of the members of a set stands in a text as a step. None: the text cannot be read.
pub fn meets(set: &PathSet, text: &str) -> Option<bool> {
    let mut reader = Reader::new(text);
    // Of each open object that leads on: the lines below it.
    let mut open: Vec<Range<usize>> = std::iter::once(0..set.lines.len()).collect();
    reader.begin_object().ok()?;
    let mut is_first = true;
    while let Some(below) = open.last().cloned() {
        if reader.take(b'}') {
            open.pop();
            is_first = false;
            continue;
        }
        if !is_first && !reader.take(b',') {
            return None;
        }
        is_first = false;
        let (name, _) = reader.name().ok()?;
        let Some(at) = place_of(set, below.clone(), &name) else {
            reader.skip_value()?;
            continue;
        };
        if set.lines.get(at)?.is_member {
            return Some(true);
        }
        reader.begin_object().ok()?;
        open.push(set.lines_below(at, below.end));
        is_first = true;
    }
    Some(false)
}

/// Whether all members of a set are members of the one that stands in a text. None: the text cannot be read.
pub fn has_all(set: &PathSet, text: &str) -> Option<bool> {
    let mut reader = Reader::new(text);
    let mut left = set.len();
    // Of each open object: its line, none for the outermost, and the lines below it.
    let mut open = vec![(None, 0..set.lines.len())];
    reader.begin_object().ok()?;
    let mut is_first = true;
    while let Some((line, below)) = open.last().cloned() {
        if left == 0 {
            return Some(true);
        }
        let is_sought = || line.and_then(|at: usize| set.lines.get(at)).is_some_and(|line| line.is_member);
        if reader.take(b'}') {
            // An object without steps is a member; one with steps says so itself.
            left -= usize::from(is_first && is_sought());
            open.pop();
            is_first = false;
            continue;
        }
        if !is_first && !reader.take(b',') {
            return None;
        }
        is_first = false;
        let (name, _) = reader.name().ok()?;
        if name == "." {
            left -= usize::from(is_sought());
            reader.skip_value()?;
            continue;
        }
        let Some(at) = place_of(set, below.clone(), &name) else {
            reader.skip_value()?;
            continue;
        };
        reader.begin_object().ok()?;
        open.push((Some(at), set.lines_below(at, below.end)));
        is_first = true;
    }
    Some(left == 0)
}

/// Where the step of this name is among the topmost of these lines.
fn place_of(set: &PathSet, lines: Range<usize>, name: &str) -> Option<usize> {
    let depth = set.lines.get(lines.start)?.depth;
    let mut scratch = Vec::new();
    // What cannot be read as a step is none that is sought.
    let step = Step::read(name, 0, &mut scratch).ok().flatten()?;
    let found = set.lines.get(lines.clone())?.iter().position(|line| line.depth == depth && set.step(line) == step);
    found.map(|at| lines.start + at)
}
