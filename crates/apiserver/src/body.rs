//! A stored object: its JSON without kind, apiVersion and resource version, and where the version goes.
//!
//! The version of an object is the revision of the commit that wrote it, so it cannot be part of what is written. It is put in when
//! the object is sent, right after `"uid":"..."`, which every stored object has and which stands before it in the declared order of
//! `metadata`. A GET or LIST in JSON copies two slices around a number and decodes nothing (docs/decisions/0006-stored-body.md).

use thiserror::Error;

use crate::scan::{BEGIN, container_end, string_end};

const VERSION_KEY: &[u8] = br#","resourceVersion":""#;
/// The key, the digits of the largest version, a quote.
const VERSION_BYTES_MAX: usize = VERSION_KEY.len() + 20 + 1;

/// How a list of managers begins, where something stands before it. No string has a quote in it without a backslash.
const MANAGERS: &[u8] = br#","managedFields":["#;

/// A stored value that is not an object of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// It does not begin with its metadata.
    #[error("a stored object does not begin with its metadata")]
    NoMetadata,
    /// Its metadata has no uid.
    #[error("a stored object has no uid")]
    NoUid,
}

/// A view of a stored object.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    text: &'a [u8],
    /// Offset just behind the uid.
    hole: usize,
    /// Offset just behind the metadata; 0 when nobody has looked yet.
    metadata_end: usize,
}

impl<'a> Body<'a> {
    /// A text whose places are known ([`portcullis_store::Index`]).
    pub fn placed(text: &'a [u8], hole: usize, metadata_end: usize) -> Body<'a> {
        Body { text, hole, metadata_end }
    }

    /// Finds the place of the version. Looks at the first few members of `metadata` only: all of them are strings.
    pub fn of(text: &'a [u8]) -> Result<Body<'a>, BodyError> {
        if !text.starts_with(BEGIN) || !text.ends_with(b"}") {
            return Err(BodyError::NoMetadata);
        }
        let mut at = BEGIN.len();
        loop {
            let key = string_end(text, at).ok_or(BodyError::NoUid)?;
            if text.get(key) != Some(&b':') {
                return Err(BodyError::NoUid);
            }
            let value = string_end(text, key + 1).ok_or(BodyError::NoUid)?;
            if text.get(at..key) == Some(br#""uid""#) {
                return Ok(Body { text, hole: value, metadata_end: 0 });
            }
            if text.get(value) != Some(&b',') {
                return Err(BodyError::NoUid);
            }
            at = value + 1;
        }
    }

    /// Returns `{...}` of the metadata, without the version.
    pub fn metadata(&self) -> &'a [u8] {
        let start = BEGIN.len() - 1;
        let end = match self.metadata_end {
            0 => container_end(self.text, start).unwrap_or(self.text.len() - 1),
            end => end,
        };
        self.text.get(start..end).unwrap_or_default()
    }

    /// Returns the offset where the version goes.
    pub fn hole(&self) -> usize {
        self.hole
    }

    /// Returns the stored text.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Appends the whole object. `head` is `{"kind":"ConfigMap","apiVersion":"v1",`, or `{` for an item of a list. Version 0 is none:
    /// a dry run has made nothing that could have one.
    pub fn write(&self, head: &[u8], version: u64, out: &mut Vec<u8>) {
        out.reserve(head.len() + self.text.len() + VERSION_BYTES_MAX + 1);
        out.extend_from_slice(head);
        out.extend_from_slice(self.text.get(1..self.hole).unwrap_or_default());
        out.extend_from_slice(VersionText::of(version).bytes());
        out.extend_from_slice(self.text.get(self.hole..).unwrap_or_default());
    }

    /// Appends the metadata alone, with the version.
    pub fn write_metadata(&self, version: u64, out: &mut Vec<u8>) {
        let start = BEGIN.len() - 1;
        let metadata = self.metadata();
        let hole = (self.hole - start).min(metadata.len());
        out.extend_from_slice(metadata.get(..hole).unwrap_or_default());
        out.extend_from_slice(VersionText::of(version).bytes());
        out.extend_from_slice(metadata.get(hole..).unwrap_or_default());
    }
}

/// `,"resourceVersion":"7"`, as it goes into the hole. Version 0 is none.
pub(crate) struct VersionText {
    text: [u8; VERSION_BYTES_MAX],
    len: usize,
}

impl VersionText {
    pub(crate) fn of(version: u64) -> VersionText {
        let mut text = [0; VERSION_BYTES_MAX];
        let mut len = 0;
        if version != 0 {
            let mut digits = itoa::Buffer::new();
            for piece in [VERSION_KEY, digits.format(version).as_bytes(), b"\""] {
                if let Some(place) = text.get_mut(len..len + piece.len()) {
                    place.copy_from_slice(piece);
                    len += piece.len();
                }
            }
        }
        VersionText { text, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }
}

/// The text of a stored object up to the first managers in it, or all of it.
pub fn before_managers(text: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(text, MANAGERS).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// The text of a stored object without its managers, which are the last of its metadata. None: it has none.
pub fn without_managers(text: &[u8]) -> Result<Option<Vec<u8>>, BodyError> {
    let metadata = Body::of(text)?.metadata();
    // Nothing else in the metadata is a list of this name.
    let Some(begin) = memchr::memmem::rfind(metadata, MANAGERS) else { return Ok(None) };
    let (Some(before), Some(after)) = (metadata.get(..begin), text.get((BEGIN.len() - 1) + metadata.len() - 1..))
    else {
        return Ok(None);
    };
    let kept = [text.get(..(BEGIN.len() - 1)).unwrap_or_default(), before, after].concat();
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_go_behind_the_uid() {
        let check = |stored: &str, head: &str, version: u64, expected: &str| {
            let mut out = Vec::new();
            Body::of(stored.as_bytes()).unwrap().write(head.as_bytes(), version, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{stored}");
        };
        let small = r#"{"metadata":{"name":"a","uid":"u"}}"#;
        let head = r#"{"kind":"X","apiVersion":"v1","#;
        check(
            small,
            head,
            7,
            r#"{"kind":"X","apiVersion":"v1","metadata":{"name":"a","uid":"u","resourceVersion":"7"}}"#,
        );
        check(small, head, 0, r#"{"kind":"X","apiVersion":"v1","metadata":{"name":"a","uid":"u"}}"#);
        let big = r#"{"metadata":{"name":"\"uid\"","uid":"u","labels":{"a":"}"}},"data":{"x":"y"}}"#;
        let expected =
            r#"{"metadata":{"name":"\"uid\"","uid":"u","resourceVersion":"12","labels":{"a":"}"}},"data":{"x":"y"}}"#;
        check(big, "{", 12, expected);
    }

    #[test]
    fn places_that_are_known_are_not_looked_for() {
        let text = br#"{"metadata":{"name":"a","uid":"u-1","labels":{"a":"}"}},"spec":{}}"#;
        let (found, placed) = (Body::of(text).unwrap(), Body::placed(text, 35, 55));
        assert_eq!((found.hole(), found.metadata()), (placed.hole(), placed.metadata()));
        let longest = VersionText::of(u64::MAX);
        assert_eq!(longest.bytes(), br#","resourceVersion":"18446744073709551615""#);
    }

    #[test]
    fn metadata_alone() {
        let check = |stored: &str, expected: &str| {
            let body = Body::of(stored.as_bytes()).unwrap();
            let mut out = Vec::new();
            body.write_metadata(3, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{stored}");
        };
        check(r#"{"metadata":{"name":"a","uid":"u"}}"#, r#"{"name":"a","uid":"u","resourceVersion":"3"}"#);
        check(
            r#"{"metadata":{"name":"a","uid":"u","finalizers":["}"],"labels":{"a":"\"]"}},"spec":{}}"#,
            r#"{"name":"a","uid":"u","resourceVersion":"3","finalizers":["}"],"labels":{"a":"\"]"}}"#,
        );
    }

    #[test]
    fn what_is_no_body_is_an_error() {
        let check = |stored: &str, expected: BodyError| {
            assert_eq!(Body::of(stored.as_bytes()).unwrap_err(), expected, "{stored}");
        };
        check("", BodyError::NoMetadata);
        check("{}", BodyError::NoMetadata);
        check(r#"{"metadata":{}}"#, BodyError::NoUid);
        check(r#"{"metadata":{"name":"a"}}"#, BodyError::NoUid);
        check(r#"{"metadata":{"name":"a}"#, BodyError::NoUid);
        check(r#"{"metadata":{"name":{"uid":"x"}}}"#, BodyError::NoUid);
        check(r#"{"metadata":{"name":"a\"}"#, BodyError::NoUid);
    }
}
