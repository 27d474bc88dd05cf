//! Text as Go prints it: JSON strings with the escapes of `encoding/json`, and the double-quoted form of `%q`.
//!
//! Clients compare bytes and parse messages, so both forms are part of the wire format (upstream: apimachinery's JSON
//! serializer, `strconv.Quote`).

use memchr::memchr3;

use crate::schema::scan::{Class, classify};

const HEX: [u8; 16] = *b"0123456789abcdef";

/// How much of a string is escaped beyond what JSON demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// Also `<`, `>` and `&`, as every answer of the API server has it.
    Html,
    /// Only what JSON needs, and U+2028 and U+2029.
    Plain,
}

/// Appends `text` as a JSON string, quotes included, with `<`, `>`, `&`, U+2028 and U+2029 escaped.
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    push_json_string_with(out, text, Escape::Html);
}

/// Appends `text` as a JSON string, quotes included, with the escapes that `escape` names.
pub fn push_json_string_with(out: &mut Vec<u8>, text: &str, escape: Escape) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    push_json_escaped(out, text, escape);
    out.push(b'"');
}

/// Appends what stands between the quotes of `text` as a JSON string.
pub(crate) fn push_json_escaped(out: &mut Vec<u8>, text: &str, escape: Escape) {
    let bytes = text.as_bytes();
    // Almost no text has anything to escape.
    if classify(bytes) == Class::Plain {
        out.extend_from_slice(bytes);
        return;
    }
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !MAY_NEED_ESCAPE[usize::from(byte)] {
            continue;
        }
        let mut width = 1;
        let escaped: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            b'<' if escape == Escape::Html => b"\\u003c",
            b'>' if escape == Escape::Html => b"\\u003e",
            b'&' if escape == Escape::Html => b"\\u0026",
            0xe2 => {
                width = 3;
                match bytes.get(at + 1..at + 3) {
                    Some([0x80, 0xa8]) => b"\\u2028",
                    Some([0x80, 0xa9]) => b"\\u2029",
                    _ => continue,
                }
            }
            0..0x20 => b"",
            _ => continue,
        };
        push_run(out, bytes.get(from..at).unwrap_or_default());
        push_run(out, escaped);
        if escaped.is_empty() {
            out.extend_from_slice(b"\\u00");
            push_hex(out, u32::from(byte), 2);
        }
        from = at + width;
    }
    push_run(out, bytes.get(from..).unwrap_or_default());
}

/// Bytes that are pushed one by one: a copy would take longer to begin.
const RUN_BYTES_SHORT: usize = 8;

/// Appends bytes that most often are few.
#[inline]
fn push_run(out: &mut Vec<u8>, run: &[u8]) {
    if run.len() >= RUN_BYTES_SHORT {
        out.extend_from_slice(run);
        return;
    }
    for byte in run {
        out.push(*byte);
    }
}

/// By byte: whether it is written otherwise than it is under some [`Escape`], or begins a character that is.
static MAY_NEED_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    let others = [b'"', b'\\', b'<', b'>', b'&', 0xe2];
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// Appends the lowest `digits` hexadecimal digits of `value`.
fn push_hex(out: &mut Vec<u8>, value: u32, digits: u32) {
    for digit in (0..digits).rev() {
        let nibble = (value >> (digit * 4)) & 0xf;
        out.extend(HEX.get(nibble as usize));
    }
}

/// Returns `text` in double quotes as Go's `%q` prints it.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends `text` in double quotes as Go's `%q` prints it: printable characters stand as they are.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    let plain = |c: u8| (0x20..0x7f).contains(&c);
    if text.bytes().all(plain) && memchr3(b'"', b'\\', b'\\', text.as_bytes()).is_none() {
        out.push_str(text);
    } else {
        for c in text.chars() {
            push_quoted_char(out, c);
        }
    }
    out.push('"');
}

fn push_quoted_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        _ if is_printable(c) => out.push(c),
        '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Says whether Go prints `c` as it is. Rust's debug form knows the same Unicode categories, but escapes a combining
/// mark at the start of a string, so a letter stands before it here.
#[must_use]
pub fn is_printable(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return true;
    }
    let mut pair = [0; 8];
    let mut text = String::from("x");
    text.push_str(c.encode_utf8(&mut pair));
    !text.escape_debug().any(|e| e == '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_strings_have_go_escapes() {
        fn check(text: &str, expected: &str) {
            let mut out = Vec::new();
            push_json_string(&mut out, text);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{text:?}");
        }
        check("", r#""""#);
        check("plain", r#""plain""#);
        check("a<b>&c", r#""a\u003cb\u003e\u0026c""#);
        check("\"\\\n\r\t", r#""\"\\\n\r\t""#);
        check("\u{8}\u{c}\u{0}\u{1f}\u{7f}", "\"\\b\\f\\u0000\\u001f\u{7f}\"");
        check("x\u{2028}y\u{2029}z\u{2027}", "\"x\\u2028y\\u2029z\u{2027}\"");
        check("grüße 日本 😀", "\"grüße 日本 😀\"");
        check("\u{2028}", "\"\\u2028\"");
    }

    #[test]
    fn plain_json_strings_keep_angle_brackets() {
        let mut out = Vec::new();
        push_json_string_with(&mut out, "<&>\u{2028}\n", Escape::Plain);
        assert_eq!(String::from_utf8_lossy(&out), r#""<&>\u2028\n""#);
    }

    #[test]
    fn quoted_text_is_as_go_prints_it() {
        fn check(text: &str, expected: &str) {
            assert_eq!(quoted(text), expected, "{text:?}");
        }
        check("", r#""""#);
        check("Not Valid!", r#""Not Valid!""#);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("\u{7}\u{8}\u{c}\n\r\t\u{b}", r#""\a\b\f\n\r\t\v""#);
        check("\u{1}\u{7f}", r#""\x01\x7f""#);
        check("\u{80}\u{a0}\u{ad}\u{2028}\u{feff}", r#""\u0080\u00a0\u00ad\u2028\ufeff""#);
        check("é\u{301}日😀", "\"é\u{301}日😀\"");
        check("\u{e0001}", r#""\U000e0001""#);
        check("\u{301}", "\"\u{301}\"");
    }
}
