//! The little JSON that field sets are made of, read from front to back without recursion.

use std::borrow::Cow;

use super::super::DEPTH_MAX;
use super::{FieldSetError, Line, STEPS_MAX, Step, StepKeys, StepValue};

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

    pub fn scalar(&mut self) -> Option<StepValue> {
        if self.peek()? == b'"' {
            return self.string().map(|text| StepValue::String(text.into()));
        }
        let start = self.at;
        self.skip_value()?;
        Some(match self.text.get(start..self.at)? {
            "null" => StepValue::Null,
            "true" => StepValue::Bool(true),
            "false" => StepValue::Bool(false),
            text if text.starts_with(['{', '[']) => StepValue::Other(text.into()),
            text => match text.parse() {
                Ok(value) => StepValue::Int(value),
                Err(_) if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                    StepValue::Float(text.parse().ok().filter(|value: &f64| value.is_finite())?)
                }
                Err(_) => return None,
            },
        })
    }

    pub fn keys(&mut self) -> Option<StepKeys> {
        let mut keys: Vec<(Box<str>, StepValue)> = Vec::new();
        if !self.take(b'{') {
            return None;
        }
        while !self.take(b'}') {
            if !keys.is_empty() && !self.take(b',') {
                return None;
            }
            let name = self.string()?;
            if !self.take(b':') {
                return None;
            }
            keys.push((name.into(), self.scalar()?));
        }
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        Some(keys.into())
    }
}

/// The lines of a set whose members stand in order, which is how sets are written. None: they do not.
pub fn in_order(text: &str) -> Result<Option<Vec<Line>>, FieldSetError> {
    let mut reader = Reader::new(text);
    // A step has ten bytes or more in the sets that there are.
    let mut lines: Vec<Line> = Vec::with_capacity(text.len() / 16 + 1);
    // Of each open object: its line, and the last line right below it.
    let mut open: Vec<(Option<usize>, Option<usize>)> = vec![(None, None)];
    reader.begin_object()?;
    let mut is_first = true;
    while let Some((parent, last)) = open.last_mut() {
        if reader.take(b'}') {
            // An object without steps is a member; one with steps says so itself.
            if let (Some(line), None) = (parent.and_then(|at| lines.get_mut(at)), last) {
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
        let offset = reader.at;
        let name = reader.string().ok_or(FieldSetError::NotAnObject(offset))?;
        if !reader.take(b':') {
            return Err(reader.not_an_object());
        }
        if name == "." {
            reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
            if let Some(line) = parent.and_then(|at| lines.get_mut(at)) {
                line.is_member = true;
            }
            continue;
        }
        let Some(step) = Step::read(&name, offset)? else {
            reader.skip_value().ok_or(FieldSetError::NotAnObject(offset))?;
            continue;
        };
        if last.and_then(|at| lines.get(at)).is_some_and(|before| before.step >= step) {
            return Ok(None);
        }
        reader.begin_object()?;
        *last = Some(lines.len());
        if open.len() >= DEPTH_MAX || lines.len() >= STEPS_MAX {
            return Err(FieldSetError::TooLarge);
        }
        let depth = open.len() as u32;
        open.push((Some(lines.len()), None));
        lines.push(Line { depth, is_member: false, step });
        is_first = true;
    }
    if reader.is_done() { Ok(Some(lines)) } else { Err(reader.not_an_object()) }
}

/// Whether one of the members among these lines stands in a text as a step. None: the text cannot be read.
pub fn meets(lines: &[Line], text: &str) -> Option<bool> {
    let mut reader = Reader::new(text);
    // Of each open object that leads on: the lines below it.
    let mut open = vec![lines];
    reader.begin_object().ok()?;
    let mut is_first = true;
    while let Some(below) = open.last().copied() {
        if reader.take(b'}') {
            open.pop();
            is_first = false;
            continue;
        }
        if !is_first && !reader.take(b',') {
            return None;
        }
        is_first = false;
        let name = reader.string()?;
        if !reader.take(b':') {
            return None;
        }
        let Some(at) = place_of(below, &name) else {
            reader.skip_value()?;
            continue;
        };
        let (line, rest) = below.get(at..)?.split_first()?;
        if line.is_member {
            return Some(true);
        }
        reader.begin_object().ok()?;
        let end = rest.iter().position(|next| next.depth <= line.depth).unwrap_or(rest.len());
        open.push(rest.get(..end)?);
        is_first = true;
    }
    Some(false)
}

/// Where the step of this name is among the topmost of these lines.
fn place_of(lines: &[Line], name: &str) -> Option<usize> {
    let depth = lines.first()?.depth;
    let read = if name.starts_with("f:") { None } else { Step::read(name, 0).ok().flatten() };
    lines.iter().position(|line| {
        line.depth == depth
            && match (&line.step, &read) {
                (Step::Field(field), _) => name.strip_prefix("f:") == Some(field),
                (step, Some(read)) => step == read,
                (_, None) => false,
            }
    })
}
