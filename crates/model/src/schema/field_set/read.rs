//! The little JSON that field sets are made of, read from front to back without recursion.

use super::{FieldSetError, StepKeys, StepValue};

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

    /// A string, without its escapes.
    pub fn string(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return None;
        }
        let mut out = String::new();
        loop {
            let rest = self.text.get(self.at..)?;
            let end = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
            out.push_str(rest.get(..end)?);
            self.at += end + 1;
            if rest.as_bytes().get(end) == Some(&b'"') {
                return Some(out);
            }
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
                b'"' => _ = self.string()?,
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
