//! The descriptions of types and fields that OpenAPI and `kubectl explain` print.
//!
//! They are not committed: the build script takes them from the `k8s-openapi` crate and leaves one compressed text. It is unpacked
//! while documents are built and dropped with [`Descriptions`], so an idle program does not hold them.
//! What that crate does not declare (lists, options, internals of meta/v1) has no description.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

/// Types end with this character in the text, ...
const TYPE_END: char = '\u{1e}';
/// ... and name, description, field, description, ... are separated by this one.
const SEPARATOR: char = '\u{1f}';
/// The text is about 700 KB; more than this is not ours.
const TEXT_BYTES_MAX: u64 = 8 << 20;

static COMPRESSED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.deflate"));

/// All descriptions, unpacked.
#[derive(Debug, Default)]
pub struct Descriptions {
    text: String,
    /// By type name, where its description begins and where the type ends.
    types: HashMap<Box<str>, (usize, usize)>,
}

/// What is said about one type.
#[derive(Clone, Copy, Debug)]
pub struct TypeDescriptions<'a> {
    text: &'a str,
}

impl Descriptions {
    /// Unpacks the descriptions. Takes some milliseconds; the caller drops the result when its documents are built.
    pub fn unpack() -> Descriptions {
        let mut text = String::new();
        // The blob is part of the program; if it were damaged, documents without descriptions are still right.
        if DeflateDecoder::new(COMPRESSED).take(TEXT_BYTES_MAX).read_to_string(&mut text).is_err() {
            return Descriptions::default();
        }
        let mut types = HashMap::new();
        let mut at = 0;
        for entry in text.split_terminator(TYPE_END) {
            if let Some((name, _)) = entry.split_once(SEPARATOR) {
                types.insert(name.into(), (at + name.len() + SEPARATOR.len_utf8(), at + entry.len()));
            }
            at += entry.len() + TYPE_END.len_utf8();
        }
        Descriptions { text, types }
    }

    /// What is said about the type of an OpenAPI name without `io.k8s.`: `api.core.v1.Pod`.
    pub fn of(&self, type_name: &str) -> Option<TypeDescriptions<'_>> {
        let (start, end) = *self.types.get(type_name)?;
        self.text.get(start..end).map(|text| TypeDescriptions { text })
    }
}

impl<'a> TypeDescriptions<'a> {
    /// The description of the type itself; may be empty.
    pub fn summary(&self) -> &'a str {
        self.text.split(SEPARATOR).next().unwrap_or_default()
    }

    /// The description of a field.
    pub fn field(&self, name: &str) -> Option<&'a str> {
        let mut parts = self.text.split(SEPARATOR).skip(1);
        while let (Some(field), Some(description)) = (parts.next(), parts.next()) {
            if field == name {
                return Some(description);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{resources, schema};

    #[test]
    fn every_field_of_every_served_kind_is_described() {
        let descriptions = Descriptions::unpack();
        for resource in resources().all() {
            let ty = schema().ty(resource.type_id);
            let of_type = descriptions.of(&ty.name).unwrap_or_else(|| panic!("{} is not described", ty.name));
            assert!(!of_type.summary().is_empty(), "{}", ty.name);
            for field in &ty.fields {
                assert!(of_type.field(&field.name).is_some(), "{}.{} is not described", ty.name, field.name);
            }
        }
    }

    #[test]
    fn what_is_not_declared_is_not_described() {
        let descriptions = Descriptions::unpack();
        assert!(descriptions.of("api.core.v1.Boat").is_none());
        assert!(descriptions.of("").is_none());
        assert_eq!(descriptions.of("api.core.v1.Pod").unwrap().field("sails"), None);
    }
}
