//! Reading JSON text: white space, strings, numbers, and whole values that are kept as they are. No recursion, no allocation for
//! what can be pointed at in the body.

use super::decode_error::{DecodeError, Failure};
use super::{DEPTH_MAX, NameKey};
use crate::tree::flag;

/// Most digits of a number that is read without looking whether it fits: any such number fits 32 bits.
const SHORT_INT_MAX: usize = 9;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The bytes of a word that are zero have their high bit set in the answer (and perhaps some above the first one).
#[inline]
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[inline]
pub(super) const fn bytes_equal(word: u64, byte: u8) -> u64 {
    zero_bytes(word ^ (ONES * byte as u64))
}

/// What JSON output will have to do about a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// ASCII that is written as it is.
    Plain,
    /// ASCII with something to escape.
    Escape,
    /// Bytes above 0x7f.
    NotAscii,
}

/// Looks at all bytes of a text, eight at a time. The last eight may overlap those before.
#[inline(always)]
pub(crate) fn classify(bytes: &[u8]) -> Class {
    let mut marks = 0;
    if let Some(last) = bytes.last_chunk() {
        let mut rest = bytes;
        while let Some((chunk, behind)) = rest.split_first_chunk() {
            marks |= escapes(u64::from_le_bytes(*chunk));
            rest = behind;
        }
        marks |= escapes(u64::from_le_bytes(*last));
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        marks = escapes(u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last)));
    } else if let ([first, ..], [.., last]) = (bytes, bytes) {
        // One to three bytes; the middle one stands in for what is missing.
        let word = u32::from_le_bytes([*first, bytes[bytes.len() / 2], *last, b' ']);
        marks = escapes(ONES << 37 | u64::from(word));
    }
    match marks {
        0 => Class::Plain,
        _ if bytes.is_ascii() => Class::Escape,
        _ => Class::NotAscii,
    }
}

/// Not zero when one of eight bytes is not plain.
#[inline]
const fn escapes(word: u64) -> u64 {
    bytes_equal(word, b'"')
        | bytes_equal(word, b'\\')
        | bytes_equal(word & !(ONES * 2), b'<')
        | bytes_equal(word, b'&')
        | (word.wrapping_sub(ONES * 0x20) & !word & HIGHS)
        | (word & HIGHS)
}

/// Marks the quotes, backslashes and control characters of eight bytes. The lowest mark is right; ones above it may not be.
#[inline(always)]
const fn string_stops(word: u64) -> u64 {
    // With this bit flipped, a quote is next to the control characters, which stay below 0x20.
    let flipped = word ^ (ONES * 2);
    let low = flipped.wrapping_sub(ONES * 0x21) & !flipped & HIGHS;
    low | bytes_equal(word, b'\\')
}

/// Marks what JSON output may have to escape in eight bytes: `<`, `>` (which differ in one bit), `&`, and bytes above 0x7f, one of
/// which may begin U+2028.
#[inline(always)]
const fn string_marks(word: u64) -> u64 {
    bytes_equal(word & !(ONES * 2), b'<') | bytes_equal(word, b'&') | (word & HIGHS)
}

/// The characters of a literal behind the first, each with what is said when another stands there.
pub(super) type Literal = [(u8, &'static str)];
pub(super) const TRUE: &Literal = &[
    (b'r', "in literal true (expecting 'r')"),
    (b'u', "in literal true (expecting 'u')"),
    (b'e', "in literal true (expecting 'e')"),
];
pub(super) const FALSE: &Literal = &[
    (b'a', "in literal false (expecting 'a')"),
    (b'l', "in literal false (expecting 'l')"),
    (b's', "in literal false (expecting 's')"),
    (b'e', "in literal false (expecting 'e')"),
];
pub(super) const NULL: &Literal = &[
    (b'u', "in literal null (expecting 'u')"),
    (b'l', "in literal null (expecting 'l')"),
    (b'l', "in literal null (expecting 'l')"),
];

/// Where a string is: in the body, or in the side buffer when it had escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub offset: u32,
    pub len: u32,
    pub flags: u8,
}

/// A cursor over a JSON text. It is small and copied: a loop that keeps its own stays in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    pub text: &'a str,
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, bytes: text.as_bytes(), at: 0 }
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The next byte that is not white space.
    #[inline(always)]
    pub fn next_token(&mut self) -> Result<u8, Failure> {
        match self.peek() {
            Some(byte) if byte > b' ' => Ok(byte),
            _ => {
                self.at = self.behind_space();
                self.peek().ok_or_else(unexpected_end)
            }
        }
    }

    #[inline(never)]
    fn behind_space(mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// Takes this byte if it is the next token.
    #[inline(always)]
    pub fn take(&mut self, byte: u8, context: &'static str) -> Result<(), Failure> {
        if self.next_token()? == byte {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(context))
    }

    #[cold]
    pub fn unexpected(self, context: &'static str) -> Failure {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(character) => Box::new(DecodeError::Syntax { character, context, offset: self.at }),
            None => unexpected_end(),
        }
    }

    /// The key of the short name in quotes that comes next, with its colon right behind it, and where the text goes on. None: look
    /// closely. Escapes are not undone, as no declared name has anything to escape.
    #[inline(always)]
    pub fn short_key(&self) -> Option<(NameKey, usize)> {
        let start = self.at + 1;
        let text = self.bytes.get(start..)?.first_chunk()?;
        let (key, len) = NameKey::up_to_quote(text)?;
        let colon = start + len + 1;
        (self.bytes.get(colon) == Some(&b':')).then_some((key, colon + 1))
    }

    /// The string whose opening quote is next.
    #[inline(always)]
    pub fn string(&mut self, side: &mut String) -> Result<Text, Failure> {
        let start = self.at + 1;
        let mut rest = self.bytes.get(start..).unwrap_or_default();
        let mut special = 0u64;
        while let Some((chunk, behind)) = rest.split_first_chunk() {
            let word = u64::from_le_bytes(*chunk);
            let stop = string_stops(word);
            let mark = string_marks(word);
            if stop != 0 {
                special |= mark & (stop & stop.wrapping_neg()).wrapping_sub(1);
                rest = rest.get((stop.trailing_zeros() / 8) as usize..).unwrap_or_default();
                break;
            }
            special |= mark;
            rest = behind;
        }
        loop {
            match rest {
                [b'"', ..] => {
                    let end = self.bytes.len() - rest.len();
                    self.at = end + 1;
                    let flags = if special != 0 { flag::ESCAPE } else { 0 };
                    return Ok(Text { offset: start as u32, len: (end - start) as u32, flags });
                }
                [b'\\' | 0..0x20, ..] | [] => {
                    let (at, text) = self.escaped_string(start, self.bytes.len() - rest.len(), side)?;
                    self.at = at;
                    return Ok(text);
                }
                [byte, behind @ ..] => {
                    special |= u64::from(matches!(byte, b'<' | b'>' | b'&' | 0x80..));
                    rest = behind;
                }
            }
        }
    }

    /// A string that has an escape, a control character or the body's end at `first`; written to the side buffer.
    #[cold]
    fn escaped_string(mut self, start: usize, first: usize, side: &mut String) -> Result<(usize, Text), Failure> {
        let offset = side.len();
        side.push_str(self.text.get(start..first).unwrap_or_default());
        self.at = first;
        loop {
            let plain = self.at;
            while self.peek().is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            side.push_str(self.text.get(plain..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    let len = (side.len() - offset) as u32;
                    return Ok((self.at, Text { offset: offset as u32, len, flags: flag::SIDE | flag::ESCAPE }));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let character = self.escape()?;
                    side.push(character);
                }
                Some(_) => return Err(self.unexpected("in string literal")),
                None => return Err(DecodeError::UnexpectedEnd.into()),
            }
        }
    }

    /// The character of the escape whose backslash was just read. Half a surrogate pair is U+FFFD, as in Go.
    fn escape(&mut self) -> Result<char, Failure> {
        let byte = self.peek().ok_or(DecodeError::UnexpectedEnd)?;
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, Failure> {
        let unit = self.hex4()?;
        if (0xd800..0xdc00).contains(&unit) && self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, Failure> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().ok_or(DecodeError::UnexpectedEnd)?;
            let Some(digit) = (digit as char).to_digit(16) else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// The boolean that is next, when it is one.
    #[inline(always)]
    pub fn short_bool(&mut self) -> Option<bool> {
        let (value, len) = match self.bytes.get(self.at..)? {
            [b't', b'r', b'u', b'e', ..] => (true, 4),
            [b'f', b'a', b'l', b's', b'e', ..] => (false, 5),
            _ => return None,
        };
        self.at += len;
        Some(value)
    }

    /// The number that is next when it is a few plain digits with the end of a value behind them, as nearly all numbers are.
    #[inline(always)]
    pub fn short_int(&mut self) -> Option<i64> {
        let rest = self.bytes.get(self.at..)?;
        let (mut len, mut value) = (0, 0i64);
        while let Some(byte @ b'0'..=b'9') = rest.get(len) {
            value = value * 10 + i64::from(byte - b'0');
            len += 1;
            if len > SHORT_INT_MAX {
                return None;
            }
        }
        let plain = rest.first() != Some(&b'0') || len == 1;
        if len == 0 || !plain || !matches!(rest.get(len), Some(b',' | b'}' | b']')) {
            return None;
        }
        self.at += len;
        Some(value)
    }

    /// The number that is next, as its text.
    pub fn number(&mut self) -> Result<&'a str, Failure> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
            self.digits();
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// The rest of a literal whose first character was seen.
    pub fn literal(&mut self, literal: &Literal) -> Result<(), Failure> {
        self.at += 1;
        for (byte, context) in literal {
            if self.peek() != Some(*byte) {
                return Err(self.unexpected(context));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Skips the value that comes next, checking that it is JSON. Says whether Go would write it differently: with less white space or
    /// with more escapes.
    pub fn skip_value(&mut self, depth: usize) -> Result<bool, Failure> {
        let mut open: Vec<u8> = Vec::new();
        let mut rewrite = false;
        let mut scratch = String::new();
        loop {
            let before = self.at;
            let token = self.next_token()?;
            rewrite |= self.at != before && !open.is_empty();
            match token {
                b'{' | b'[' => {
                    if open.len() + depth >= DEPTH_MAX {
                        return Err(DecodeError::TooDeep.into());
                    }
                    self.at += 1;
                    let close = token + 2;
                    rewrite |= self.peek().is_some_and(|byte| byte <= b' ');
                    if self.next_token()? == close {
                        self.at += 1;
                    } else {
                        open.push(close);
                        if close == b'}' {
                            rewrite |= self.skip_key(&mut scratch)?;
                        }
                        continue;
                    }
                }
                b'"' => rewrite |= self.skip_string(&mut scratch)?,
                b't' => self.literal(TRUE)?,
                b'f' => self.literal(FALSE)?,
                b'n' => self.literal(NULL)?,
                b'-' | b'0'..=b'9' => _ = self.number()?,
                _ => return Err(self.unexpected("looking for beginning of value")),
            }
            loop {
                let Some(close) = open.last().copied() else { return Ok(rewrite) };
                rewrite |= self.peek().is_some_and(|byte| byte <= b' ');
                let token = self.next_token()?;
                if token == close {
                    self.at += 1;
                    open.pop();
                    continue;
                }
                let context = if close == b'}' { "after object key:value pair" } else { "after array element" };
                self.take(b',', context)?;
                if close == b'}' {
                    rewrite |= self.skip_key(&mut scratch)?;
                }
                break;
            }
        }
    }

    /// Checks that nothing but white space comes.
    pub fn end(&mut self) -> Result<(), Failure> {
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("after top-level value")),
        }
    }

    /// Checks that the text is one JSON value.
    pub fn document(mut self) -> Result<(), DecodeError> {
        self.skip_value(0).and_then(|_| self.end()).map_err(|failure| *failure)
    }

    fn skip_key(&mut self, scratch: &mut String) -> Result<bool, Failure> {
        let start = self.at;
        if self.next_token()? != b'"' {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        let mut rewrite = self.at != start;
        rewrite |= self.skip_string(scratch)?;
        rewrite |= self.peek() != Some(b':');
        self.take(b':', "after object key")?;
        Ok(rewrite)
    }

    fn skip_string(&mut self, scratch: &mut String) -> Result<bool, Failure> {
        if let Some(end) = self.plain_string_end() {
            self.at = end;
            return Ok(false);
        }
        scratch.clear();
        let start = self.at;
        let has_escapes = self.string(scratch)?.flags & flag::ESCAPE != 0;
        // Escapes that the text has already stay as they are; only raw characters are rewritten. U+2028 and U+2029 begin with 0xe2.
        let raw = self.text.get(start..self.at).unwrap_or_default();
        Ok(has_escapes && raw.bytes().any(|byte| matches!(byte, b'<' | b'>' | b'&' | 0xe2)))
    }

    /// Where a string ends that is written as it stands, and in which no escape needs a closer look.
    fn plain_string_end(&self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        if bytes.get(at) != Some(&b'"') {
            return None;
        }
        loop {
            at += 1;
            while !LOOKED_AT.get(usize::from(*bytes.get(at)?)).is_some_and(|is_looked_at| *is_looked_at) {
                at += 1;
            }
            match bytes.get(at)? {
                b'"' => return Some(at + 1),
                b'\\' => at += 1,
                _ => return None,
            }
            if !matches!(bytes.get(at)?, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') {
                return None;
            }
        }
    }
}

/// Bytes in a string that end it, escape, may not be there, or are written in another way; U+2028 and U+2029 begin with 0xe2.
const LOOKED_AT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2);
        byte += 1;
    }
    table
};

#[cold]
fn unexpected_end() -> Failure {
    Box::new(DecodeError::UnexpectedEnd)
}

/// Appends JSON that was checked, as Go's compaction with HTML escaping writes it.
pub(super) fn compact(json: &str, out: &mut String) {
    let mut in_string = false;
    let mut escaped = false;
    for character in json.chars() {
        if in_string {
            match character {
                '<' => out.push_str("\\u003c"),
                '>' => out.push_str("\\u003e"),
                '&' => out.push_str("\\u0026"),
                '\u{2028}' => out.push_str("\\u2028"),
                '\u{2029}' => out.push_str("\\u2029"),
                _ => out.push(character),
            }
            in_string = escaped || character != '"';
            escaped = character == '\\' && !escaped;
        } else if !matches!(character, ' ' | '\n' | '\t' | '\r') {
            out.push(character);
            in_string = character == '"';
        }
    }
}
