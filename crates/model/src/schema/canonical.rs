//! The canonical value of an object: what protobuf can carry, which is how upstream stores every built-in kind.
//!
//! An always-written empty list is `null` after a round through the store, an empty map or list that is optional is gone; free JSON
//! stays as it came. Answers to a dry run are not canonical, as upstream's are not: they never went through the store.

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
    let bytes = LENIENT.decode(given).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(len) => len - len % 4,
            base64::DecodeError::InvalidPadding => given.len(),
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    let written = LENIENT.encode(&bytes);
    Ok((written != text).then_some(written))
}

/// Decodes base64 text that a decoder has accepted.
pub(super) fn base64_bytes(text: &str) -> Vec<u8> {
    LENIENT.decode(text).unwrap_or_default()
}

/// Appends bytes as base64 text.
pub(super) fn push_base64(bytes: &[u8], out: &mut String) {
    LENIENT.encode_string(bytes, out);
}
