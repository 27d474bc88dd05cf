//! Where things are in the text of a stored object: its members, and the ends of its values. Nothing is decoded and nothing recurses; a
//! text that is no JSON ends the search.

use std::ops::Range;

/// How every stored object begins: `metadata` is the first field of every kind once its type head is gone.
pub(crate) const BEGIN: &[u8] = br#"{"metadata":{"#;

/// The members of a JSON object, in order. What is stored has no space between tokens.
pub(crate) struct Members<'a> {
    pub(crate) text: &'a [u8],
    /// Behind the brace, or behind a comma; at the end behind the closing brace.
    pub(crate) at: usize,
}

impl Members<'_> {
    /// The name without its quotes, and the value. `Some(None)` at the end of the object, nothing when it is none.
    #[allow(clippy::option_option, reason = "the end of an object is not the end of what can be read")]
    pub(crate) fn next(&mut self) -> Option<Option<(Range<usize>, Range<usize>)>> {
        if self.text.get(self.at) == Some(&b'}') {
            self.at += 1;
            return Some(None);
        }
        let name_end = string_end(self.text, self.at)?;
        let name = self.at + 1..name_end - 1;
        if self.text.get(name_end) != Some(&b':') {
            return None;
        }
        let start = name_end + 1;
        let end = value_end(self.text, start)?;
        self.at = end;
        self.skip_comma();
        Some(Some((name, start..end)))
    }

    /// Steps over the comma between two members.
    pub(crate) fn skip_comma(&mut self) {
        if self.text.get(self.at) == Some(&b',') {
            self.at += 1;
        }
    }
}

/// The offset behind the string that begins at `at`.
pub(crate) fn string_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        // Names are short: a call for each of them would take longer than looking at eight bytes at once here.
        while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<WORD_BYTES>) {
            let word = u64::from_le_bytes(*word);
            let found = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
            if found != 0 {
                at += found.trailing_zeros() as usize / 8;
                break;
            }
            at += WORD_BYTES;
        }
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Bytes that are looked at together.
const WORD_BYTES: usize = 8;
/// One in each byte.
const EACH_BYTE: u64 = u64::from_le_bytes([1; WORD_BYTES]);
const QUOTES: u64 = u64::from_le_bytes([b'"'; WORD_BYTES]);
const BACKSLASHES: u64 = u64::from_le_bytes([b'\\'; WORD_BYTES]);

/// The high bit of the first byte that is zero, and maybe of some that follow it.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(EACH_BYTE) & !word & (EACH_BYTE << 7)
}

/// The offset behind the value that begins at `at`.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => string_end(text, at),
        b'{' | b'[' => container_end(text, at),
        _ => {
            let rest = text.get(at..)?;
            let len = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']'))?;
            (len > 0).then_some(at + len)
        }
    }
}

/// The offset behind the object or list that begins at `at`.
pub(crate) fn container_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0usize;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}
