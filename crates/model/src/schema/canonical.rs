//! The canonical value of an object: what protobuf can carry, which is how upstream stores every built-in kind.
//!
//! An always-written empty list is `null` after a round through the store, an empty map or list that is optional is gone; free JSON
//! stays as it came. The recorded answers to dry runs are canonical too.

use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};

use super::{Schema, TypeId, TypeRef};
use crate::tree::{Kind, Node, Tree};

/// Reads what Go's standard encoding reads: padding is needed, spare bits in the last character are not looked at.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The first second of year 0 and the last of year 9999: what JSON can say.
const SECONDS_MIN: i64 = -62_167_219_200;
const SECONDS_MAX: i64 = 253_402_300_799;

/// Brings an object to its canonical value, in place.
pub fn canonicalize(schema: &Schema, tree: &mut Tree) {
    let mut open = vec![(tree.root().0, TypeRef::Json)];
    while let Some((container, ty)) = open.pop() {
        let node = tree.nodes[container as usize];
        let object = (node.kind == Kind::Object).then(|| schema.ty(TypeId(node.b as u16)));
        let element = super::encode_json::element(schema, ty);
        let (mut before, mut at) = (0u32, node.a);
        while at != 0 {
            let child = tree.nodes[at as usize];
            let value = if child.kind == Kind::Key { at + 1 } else { at };
            let held = tree.nodes[value as usize];
            let declared = match object {
                Some(ty) => ty.fields.get(child.field as usize).map_or(TypeRef::Json, |field| field.ty),
                None => element,
            };
            let empty = matches!(held.kind, Kind::List | Kind::Map) && held.a == 0;
            if object.is_some() && (empty || is_empty_bytes(declared, &held)) {
                match before {
                    0 => tree.nodes[container as usize].a = child.next,
                    before => tree.nodes[before as usize].next = child.next,
                }
                at = child.next;
                continue;
            }
            // The wire has no nil in a map: bytes and lists come back as empty ones.
            match (held.kind, declared) {
                (Kind::Null, TypeRef::Bytes) => tree.nodes[value as usize].kind = Kind::String,
                (Kind::Null, TypeRef::List(_)) => tree.nodes[value as usize].kind = Kind::List,
                _ => {}
            }
            if matches!(held.kind, Kind::Object | Kind::List | Kind::Map) {
                open.push((value, declared));
            }
            before = at;
            at = child.next;
        }
    }
}

/// An empty string of bytes is as absent on the wire as an empty list.
fn is_empty_bytes(ty: TypeRef, node: &Node) -> bool {
    ty == TypeRef::Bytes && node.kind == Kind::String && node.b == 0
}

/// Checks base64 text and gives it as Go would write it, when that is something else. The error is Go's text.
pub(super) fn base64(text: &str) -> Result<Option<String>, String> {
    let lines = text.bytes().any(|byte| matches!(byte, b'\n' | b'\r'));
    let joined: String =
        if lines { text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect() } else { String::new() };
    let given = if lines { &joined } else { text };
    let bytes = LENIENT
        .decode(given)
        .map_err(|_| format!("illegal base64 data at input byte {}", base64_error_at(text.as_bytes())))?;
    let written = LENIENT.encode(&bytes);
    Ok((written != text).then_some(written))
}

/// Where Go's decoder stops in base64 text that it refuses: at a character that does not belong there, or at the group of four that the
/// text breaks off in.
fn base64_error_at(text: &[u8]) -> usize {
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let mut in_group = 0;
    for (at, byte) in text.iter().enumerate().filter(|(_, byte)| !is_line_end(byte)) {
        match (byte, in_group) {
            (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/', _) => in_group = (in_group + 1) % 4,
            (b'=', 2 | 3) => {
                let mut rest = (at + 1..text.len()).filter(|at| !text.get(*at).is_some_and(is_line_end));
                let next = rest.next();
                return match (in_group, next) {
                    (2, None) => text.len(),
                    (2, Some(next)) if text.get(next) != Some(&b'=') => next - 1,
                    (2, _) => rest.next().unwrap_or(text.len()),
                    _ => next.unwrap_or(text.len()),
                };
            }
            _ => return at,
        }
    }
    text.len() - in_group
}

/// Decodes base64 text that a decoder has accepted.
pub(super) fn base64_bytes(text: &str) -> Vec<u8> {
    LENIENT.decode(text).unwrap_or_default()
}

/// Appends bytes as base64 text.
pub(super) fn push_base64(bytes: &[u8], out: &mut String) {
    LENIENT.encode_string(bytes, out);
}

/// Seconds since 1970 that can be written as JSON. An offset in the text or a number on the wire may say others.
pub(super) fn time_in_range(seconds: i64) -> Result<i64, String> {
    if (SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        return Ok(seconds);
    }
    Err("Time.MarshalJSON: year outside of range [0,9999]".to_owned())
}
