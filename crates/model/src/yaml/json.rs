//! JSON text to a document, for answers that are sent as YAML. The text is the server's own, but it is checked all the
//! same.

use super::YamlError;
use super::node::{Builder, Document, Kind, ScalarTag};

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    /// A value, or the end of an empty list.
    FirstItem,
    /// A key, or the end of an empty object.
    FirstKey,
    Key,
    /// A comma or an end.
    Separator,
    End,
}

pub(super) fn compose(json: &[u8]) -> Result<Document, YamlError> {
    let mut builder = Builder::default();
    let mut expect = Expect::Value;
    let mut at = 0;
    loop {
        at += json.get(at..).unwrap_or_default().iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        let malformed = YamlError::Json { at };
        let Some(&byte) = json.get(at) else {
            return if expect == Expect::End { Ok(builder.finish()) } else { Err(malformed) };
        };
        let is_value = matches!(expect, Expect::Value | Expect::FirstItem);
        match (byte, expect) {
            (b'{' | b'[', _) if is_value => {
                let (kind, next) =
                    if byte == b'{' { (Kind::Mapping, Expect::FirstKey) } else { (Kind::Sequence, Expect::FirstItem) };
                builder.push(kind, 0)?;
                expect = next;
                at += 1;
                continue;
            }
            (b'}', Expect::FirstKey | Expect::Separator) if builder.innermost() == Some(Kind::Mapping) => {
                builder.close();
                at += 1;
            }
            (b']', Expect::FirstItem | Expect::Separator) if builder.innermost() == Some(Kind::Sequence) => {
                builder.close();
                at += 1;
            }
            (b',', Expect::Separator) => {
                expect = if builder.innermost() == Some(Kind::Mapping) { Expect::Key } else { Expect::Value };
                at += 1;
                continue;
            }
            (b'"', Expect::FirstKey | Expect::Key) => {
                at = string(&mut builder, json, at)?;
                at += json.get(at..).unwrap_or_default().iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
                if json.get(at) != Some(&b':') {
                    return Err(YamlError::Json { at });
                }
                at += 1;
                expect = Expect::Value;
                continue;
            }
            (b'"', _) if is_value => at = string(&mut builder, json, at)?,
            (_, _) if is_value => at = literal(&mut builder, json, at)?,
            _ => return Err(malformed),
        }
        expect = if builder.innermost().is_some() { Expect::Separator } else { Expect::End };
    }
}

/// Reads a number, `true`, `false` or `null`.
fn literal(builder: &mut Builder, json: &[u8], at: usize) -> Result<usize, YamlError> {
    let rest = json.get(at..).unwrap_or_default();
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
    let text = rest.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    let is_word = matches!(text, "true" | "false" | "null");
    if !is_word && crate::number::parse_number(text).is_err() {
        return Err(YamlError::Json { at });
    }
    let (start, end) = builder.push_text(text);
    builder.push(Kind::Scalar { tag: ScalarTag::Plain, is_plain: true, start, end }, 0)?;
    Ok(at + len)
}

/// Reads a string; returns where it ends.
fn string(builder: &mut Builder, json: &[u8], at: usize) -> Result<usize, YamlError> {
    let malformed = || YamlError::Json { at };
    let body = json.get(at + 1..).unwrap_or_default();
    let mut end = 0;
    let mut has_escapes = false;
    loop {
        match body.get(end).ok_or_else(malformed)? {
            b'"' => break,
            b'\\' => {
                has_escapes = true;
                end += 2;
            }
            0..0x20 => return Err(malformed()),
            _ => end += 1,
        }
    }
    let raw = body.get(..end).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(malformed)?;
    let (start, text_end) =
        if has_escapes { builder.push_text(&unescaped(raw).ok_or_else(malformed)?) } else { builder.push_text(raw) };
    builder.push(Kind::Scalar { tag: ScalarTag::Str, is_plain: false, start, end: text_end }, 0)?;
    Ok(at + 1 + end + 1)
}

fn unescaped(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let mut chars = after.chars();
        let escaped = match chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c @ ('"' | '\\' | '/') => c,
            'u' => {
                let (c, len) = unicode(after)?;
                out.push(c);
                rest = after.get(len..)?;
                continue;
            }
            _ => return None,
        };
        out.push(escaped);
        rest = chars.as_str();
    }
    out.push_str(rest);
    Some(out)
}

/// Reads `uXXXX`, and the second half of a surrogate pair; a lone half becomes U+FFFD.
fn unicode(text: &str) -> Option<(char, usize)> {
    let unit = |from: usize| {
        let digits = text.get(from..from + 4)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)
    };
    let high = unit(1)?;
    if let Some(c) = char::from_u32(high) {
        return Some((c, 5));
    }
    let low = if text.get(5..7) == Some("\\u") { unit(7) } else { None };
    match low {
        Some(low @ 0xdc00..0xe000) if high < 0xdc00 => {
            let c = char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))?;
            Some((c, 11))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, 5)),
    }
}
