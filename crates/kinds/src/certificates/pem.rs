//! PEM as far as certificates need it (RFC 7468): blocks one after the other, with whatever text stands around them, read as Go's
//! `encoding/pem` reads them, so that a request means the same here and to the signer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

/// One block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// `CERTIFICATE`.
    pub(crate) label: String,
    /// Whether it has `Name: value` lines.
    pub(super) has_headers: bool,
    /// What is in it.
    pub(crate) contents: Vec<u8>,
}

/// The blocks of a text, in order. One that cannot be read is no block.
pub(crate) fn blocks(text: &[u8]) -> impl Iterator<Item = Block> {
    let mut lines = text.split(|byte| *byte == b'\n');
    std::iter::from_fn(move || {
        loop {
            let Some(label) = label(lines.next()?, BEGIN) else { continue };
            let (mut has_headers, mut encoded, mut in_body) = (false, Vec::new(), false);
            let ended = loop {
                let Some(line) = lines.next() else { break None };
                if line.starts_with(DASHES) {
                    break self::label(line, END);
                }
                if !in_body && line.contains(&b':') {
                    has_headers = true;
                    continue;
                }
                let line = line.trim_ascii();
                in_body |= !line.is_empty();
                encoded.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
            };
            if ended != Some(label) {
                continue;
            }
            let (Ok(contents), Ok(label)) = (STANDARD.decode(&encoded), std::str::from_utf8(label)) else { continue };
            return Some(Block { label: label.to_owned(), has_headers, contents });
        }
    })
}

/// Whether blocks begin or end in more than one place of a text, be it within each other.
pub(super) fn has_several(text: &[u8]) -> bool {
    [BEGIN, END].iter().any(|mark| text.windows(mark.len()).filter(|at| at == mark).nth(1).is_some())
}

fn label<'a>(line: &'a [u8], opening: &[u8]) -> Option<&'a [u8]> {
    line.trim_ascii_end().strip_prefix(opening)?.strip_suffix(DASHES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_among_other_text() {
        let check = |text: &str, expected: &[(&str, bool, &[u8])]| {
            let found: Vec<Block> = blocks(text.as_bytes()).collect();
            let found: Vec<_> = found
                .iter()
                .map(|block| (block.label.as_str(), block.has_headers, block.contents.as_slice()))
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check("", &[]);
        check("nothing", &[]);
        check("-----BEGIN A-----\nYWJj\n-----END A-----\n", &[("A", false, b"abc")]);
        check("before\n-----BEGIN A-----\r\nYW\r\nJj\r\n-----END A-----", &[("A", false, b"abc")]);
        check("-----BEGIN A-----\nName: value\n\nYWJj\n-----END A-----\n", &[("A", true, b"abc")]);
        check(
            "-----BEGIN A-----\nYWJj\n-----END A-----\nbetween\n-----BEGIN B C-----\nZGVm\n-----END B C-----\n",
            &[("A", false, b"abc"), ("B C", false, b"def")],
        );
        check("-----BEGIN A-----\nYWJj\n-----END B-----\n", &[]);
        check("-----BEGIN A-----\n???\n-----END A-----\n", &[]);
        check("-----BEGIN A-----\nYWJj\n", &[]);
        check("-----BEGIN A-----\n-----END A-----\n", &[("A", false, b"")]);
    }
}
