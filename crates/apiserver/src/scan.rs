//! Where things are in the text of a stored object: its members, and the ends of its values. Nothing is decoded and nothing recurses; a
//! text that is no JSON ends the search.

mod block;

use std::ops::Range;

use self::block::{BLOCK_BYTES, Block};

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
pub(crate) fn value_end(text: &[u8], at: usize) -> Option<usize> {
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
    let mut depth = 0;
    let short = at + SHORT_BYTES;
    while at < short {
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
    long_container_end(text.get(at..)?, depth).map(|end| at + end)
}

/// What is shorter is looked at byte by byte.
const SHORT_BYTES: usize = 32;

/// The length of the rest of an object or list in which `depth` ones are open. It begins outside of strings.
fn long_container_end(text: &[u8], mut depth: u32) -> Option<usize> {
    let mut strings = Strings::default();
    let (blocks, rest) = text.as_chunks::<BLOCK_BYTES>();
    let mut last = [b' '; BLOCK_BYTES];
    last.get_mut(..rest.len())?.copy_from_slice(rest);
    for (number, block) in blocks.iter().chain([&last]).enumerate() {
        let block = Block::new(block);
        let outside = !strings.within(&block);
        // A bracket becomes a brace.
        let braces = block.with(b'{' ^ b'[');
        let mut opened = braces.equal(b'{') & outside;
        let mut closed = braces.equal(b'}') & outside;
        let after = depth + opened.count_ones();
        if closed.count_ones() < depth {
            depth = after - closed.count_ones();
            continue;
        }
        // The end may be here.
        while closed != 0 {
            let close = closed & closed.wrapping_neg();
            depth += (opened & (close - 1)).count_ones();
            opened &= !(close - 1);
            closed &= closed - 1;
            depth -= 1;
            if depth == 0 {
                return Some(number * BLOCK_BYTES + close.trailing_zeros() as usize + 1);
            }
        }
        depth += opened.count_ones();
    }
    None
}

/// Where strings are in blocks that follow each other: a bit a byte.
#[derive(Default)]
struct Strings {
    /// All ones when the block before ended in a string.
    inside: u64,
    /// One when the block before ended with a backslash that escapes what follows.
    escaping: u64,
}

impl Strings {
    /// The bytes of the next block that are in strings, the quotes at their beginnings included.
    fn within(&mut self, block: &Block) -> u64 {
        let mut quotes = block.equal(b'"');
        let backslashes = block.equal(b'\\');
        if backslashes | self.escaping != 0 {
            quotes &= !self.escaped(backslashes);
        }
        // Each bit becomes the parity of those up to it.
        let mut within = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            within ^= within << shift;
        }
        within ^= self.inside;
        self.inside = (within >> (BLOCK_BYTES - 1)).wrapping_neg();
        within
    }

    /// The bytes behind a backslash that is not escaped itself.
    fn escaped(&mut self, mut backslashes: u64) -> u64 {
        let mut escaped = self.escaping;
        self.escaping = 0;
        backslashes &= !escaped;
        while backslashes != 0 {
            let first = backslashes & backslashes.wrapping_neg();
            let next = first << 1;
            escaped |= next;
            self.escaping |= first >> (BLOCK_BYTES - 1);
            backslashes &= !(first | next);
        }
        escaped
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What [`container_end`] is to find, one byte after the other.
    fn slowly(text: &[u8]) -> Option<usize> {
        let (mut depth, mut is_inside, mut is_escaped) = (0usize, false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_inside => is_escaped = true,
                b'"' => is_inside = !is_inside,
                b'{' | b'[' if !is_inside => depth += 1,
                b'}' | b']' if !is_inside => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    #[test]
    fn ends() {
        let check = |text: &str, expected: Option<usize>| {
            assert_eq!(container_end(text.as_bytes(), 0), expected, "{text}");
            assert_eq!(slowly(text.as_bytes()), expected, "{text}");
        };
        check("{}", Some(2));
        check("{}}", Some(2));
        check("[", None);
        check(r#"{"a":"}"},"b":1"#, Some(9));
        check(r#"{"a\\\"}":{}}]"#, Some(13));
        check(r#"{"a":"#, None);
        for pad in 0..150 {
            let string = format!(r#"{{"{}":["\\\"]\\",{{}}]}}"#, "x".repeat(pad));
            check(&string, Some(string.len()));
            check(&format!("{string}]}}"), Some(string.len()));
            check(string.get(..string.len() - 1).unwrap(), None);
            check(&format!("{}{}", "[".repeat(pad + 1), "]".repeat(pad + 1)), Some(2 * pad + 2));
            check(&format!("[{}{}", "{}".repeat(pad), "]]}"), Some(2 * pad + 2));
        }
    }

    #[test]
    fn all_at_once_finds_what_one_by_one_finds() {
        const PIECES: &[&str] =
            &["{", "}", "[", "]", "{}", "\"x\"", "\"\\\\\"", "\"\\\"}\"", "\"long enough for a word\"", ",", ":1"];
        for seed in 1..3_000u64 {
            let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut text = String::from("{");
            for _ in 0..seed % 60 {
                state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
                text.push_str(PIECES[(state >> 33) as usize % PIECES.len()]);
            }
            assert_eq!(container_end(text.as_bytes(), 0), slowly(text.as_bytes()), "seed {seed}: {text}");
        }
    }
}
