//! The chain (A25): each line carries the number of its place and the SHA-256 of the whole line before it, as annotations of ours,
//! so that a line cannot be changed, taken out, put in or moved without every later one telling.
//!
//! Both stand last in the line, in one shape, so that whoever checks a line needs no JSON: what a client made of an object inside
//! the line can never be taken for them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// The annotation of the hash of the line before.
pub const PREVIOUS_ANNOTATION: &str = "audit.portcullis.io/previous";
/// The annotation of the line's own number, from 1.
pub const SEQUENCE_ANNOTATION: &str = "audit.portcullis.io/sequence";
/// Longest line with its newline, in bytes: two objects of the largest size, and what a request says of itself.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// What every event ends with.
const EVENT_END: &str = "}}";
const NO_ANNOTATIONS_END: &str = "{}}";
/// What our annotations are made of, and how a sealed line ends.
const BEFORE_PREVIOUS: &str = "\"audit.portcullis.io/previous\":\"";
const BEFORE_SEQUENCE: &str = "\",\"audit.portcullis.io/sequence\":\"";
const LINE_END: &str = "\"}}";
/// What sealing adds to a line, at most.
pub(crate) const SEAL_BYTES_MAX: usize = 192;
/// Digits of the largest number.
const SEQUENCE_DIGITS_MAX: usize = 20;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; SHA256_OUTPUT_LEN]);

impl Hash {
    /// What the first line of all carries for the line before.
    pub const ZERO: Hash = Hash([0; SHA256_OUTPUT_LEN]);

    /// The hash of a line without its newline.
    pub fn of(line: &[u8]) -> Hash {
        let mut context = Context::new(&SHA256);
        context.update(line);
        finish(context)
    }

    /// Writes it in lower-case hexadecimal.
    fn hex(&self) -> [u8; 2 * SHA256_OUTPUT_LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; 2 * SHA256_OUTPUT_LEN];
        for (pair, byte) in out.chunks_exact_mut(2).zip(self.0) {
            for (letter, digit) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *letter = DIGITS.get(usize::from(digit)).copied().unwrap_or_default();
            }
        }
        out
    }
}

/// Ends a hash.
fn finish(context: Context) -> Hash {
    let digest = context.finish();
    let mut hash = Hash::ZERO;
    for (to, from) in hash.0.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A text is no hash, or no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 64 digits of 0-9 and a-f, and a head is NUMBER:HASH")]
pub struct NotAHash;

impl FromStr for Hash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Hash, NotAHash> {
        let digit = |letter: u8| match letter {
            b'0'..=b'9' => Ok(letter - b'0'),
            b'a'..=b'f' => Ok(letter - b'a' + 10),
            _ => Err(NotAHash),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != SHA256_OUTPUT_LEN || !rest.is_empty() {
            return Err(NotAHash);
        }
        let mut hash = Hash::ZERO;
        for (to, [high, low]) in hash.0.iter_mut().zip(pairs) {
            *to = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(hash)
    }
}

/// The last line of a chain: its number and its hash. Written `NUMBER:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number; 0 before the first line.
    pub sequence: u64,
    /// The hash.
    pub hash: Hash,
}

impl Head {
    /// The head before the first line.
    pub const NONE: Head = Head { sequence: 0, hash: Hash::ZERO };
}

impl fmt::Display for Head {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.sequence, self.hash)
    }
}

impl FromStr for Head {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Head, NotAHash> {
        let (sequence, hash) = text.split_once(':').ok_or(NotAHash)?;
        Ok(Head { sequence: sequence.parse().map_err(|_| NotAHash)?, hash: hash.parse()? })
    }
}

/// A line on its way into the chain. What does not depend on its place is hashed before anybody waits for it.
pub(crate) struct Unsealed {
    hashed: Context,
}

impl Unsealed {
    /// Begins with a rendered event, and takes its end away. Nothing when it does not end as every event does.
    pub(crate) fn new(line: &mut String) -> Option<Unsealed> {
        let is_first = line.ends_with(NO_ANNOTATIONS_END);
        line.truncate(line.strip_suffix(EVENT_END)?.len());
        if !is_first {
            line.push(',');
        }
        let mut hashed = Context::new(&SHA256);
        hashed.update(line.as_bytes());
        Some(Unsealed { hashed })
    }

    /// Puts the line behind the head and ends it with a newline. Returns the head that it is when it is written.
    pub(crate) fn seal(mut self, head: &Head, line: &mut String) -> Head {
        let sequence = head.sequence.saturating_add(1);
        let begin = line.len();
        line.push_str(BEFORE_PREVIOUS);
        line.push_str(std::str::from_utf8(&head.hash.hex()).unwrap_or_default());
        line.push_str(BEFORE_SEQUENCE);
        line.push_str(itoa::Buffer::new().format(sequence));
        line.push_str(LINE_END);
        self.hashed.update(line.as_bytes().get(begin..).unwrap_or_default());
        line.push('\n');
        Head { sequence, hash: finish(self.hashed) }
    }
}

/// Makes a rendered event the next line of a chain, without its newline, for tests.
#[cfg(test)]
pub(crate) fn seal(line: &mut String, head: &Head) -> Head {
    let Some(unsealed) = Unsealed::new(line) else { unreachable!("no event: {line}") };
    let head = unsealed.seal(head, line);
    line.pop();
    head
}

/// What a line of the log says about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its number.
    pub sequence: u64,
    /// The hash that it carries of the line before.
    pub previous: Hash,
}

impl Sealed {
    /// Reads it off the end of a line without its newline. Nothing when the line is none of ours.
    pub fn of(line: &[u8]) -> Option<Sealed> {
        let line = line.strip_suffix(LINE_END.as_bytes())?;
        let digits = line.iter().rev().take(SEQUENCE_DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
        let (line, sequence) = line.split_at_checked(line.len() - digits)?;
        let line = line.strip_suffix(BEFORE_SEQUENCE.as_bytes())?;
        let (line, previous) = line.split_at_checked(line.len().checked_sub(2 * SHA256_OUTPUT_LEN)?)?;
        if !line.ends_with(BEFORE_PREVIOUS.as_bytes()) || sequence.first() == Some(&b'0') {
            return None;
        }
        let text = |bytes| std::str::from_utf8(bytes).ok();
        Some(Sealed { sequence: text(sequence)?.parse().ok()?, previous: text(previous)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Seals a rendered event.
    fn sealed(event: &str, head: &Head) -> (String, Head) {
        let mut line = event.to_owned();
        let head = Unsealed::new(&mut line).unwrap().seal(head, &mut line);
        (line, head)
    }

    #[test]
    fn a_line_carries_its_number_and_the_hash_of_the_one_before() {
        let check = |event: &str, head: &Head| {
            let (line, next) = sealed(event, head);
            let line = line.strip_suffix('\n').unwrap();
            assert_eq!(Sealed::of(line.as_bytes()), Some(Sealed { sequence: next.sequence, previous: head.hash }));
            assert_eq!(next, Head { sequence: head.sequence + 1, hash: Hash::of(line.as_bytes()) });
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let annotations = value["annotations"].as_object().unwrap();
            assert_eq!(annotations[PREVIOUS_ANNOTATION], head.hash.to_string());
            assert_eq!(annotations[SEQUENCE_ANNOTATION], next.sequence.to_string());
            next
        };
        let first = check(r#"{"kind":"Event","annotations":{}}"#, &Head::NONE);
        let second = check(r#"{"kind":"Event","annotations":{"a/b":"c"}}"#, &first);
        assert_eq!(second.sequence, 2);
        check(r#"{"annotations":{}}"#, &Head { sequence: u64::MAX - 1, hash: first.hash });
        let mut none = "{".to_owned();
        assert!(Unsealed::new(&mut none).is_none());
    }

    #[test]
    fn what_is_no_line_of_ours() {
        let (line, _) = sealed(r#"{"annotations":{}}"#, &Head::NONE);
        let line = line.trim_end();
        let check = |line: &str| assert_eq!(Sealed::of(line.as_bytes()), None, "{line}");
        check("");
        check("\"}}");
        check(&line[..line.len() - 1]);
        check(&format!("{line} "));
        check(&line.replace("sequence\":\"1", "sequence\":\"01"));
        check(&line.replace("sequence\":\"1", "sequence\":\""));
        check(&line.replace("sequence\":\"1", "sequence\":\"123456789012345678901"));
        check(&line.replace("previous\":\"0", "previous\":\"g"));
        check(&line.replace("previous\":\"00", "previous\":\""));
        assert!(Sealed::of(line.as_bytes()).is_some());
    }

    #[test]
    fn heads_as_text() {
        let head = Head { sequence: 7, hash: Hash::of(b"a") };
        let text = "7:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        assert_eq!((head.to_string().as_str(), text.parse()), (text, Ok(head)));
        let check = |text: &str| assert_eq!(text.parse::<Head>(), Err(NotAHash), "{text}");
        check("");
        check("7");
        check("7:");
        check("-1:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
        check("7:CA978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
        check("7:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bbb");
    }
}
