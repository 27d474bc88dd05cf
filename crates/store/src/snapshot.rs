//! An immutable view of every entry at one revision.
//!
//! It shares all unchanged parts with newer views (a persistent ordered map), so that holding one for a paged or
//! exact-version list costs a pointer, and readers need neither lock nor await.

use std::ops::Bound;

use imbl::OrdMap;

use crate::{Entry, Key};

/// Every entry as it was at one revision. Cheap to clone; keeps alive what has changed since.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) entries: OrdMap<Key, Entry>,
}

impl Snapshot {
    /// The revision of the newest commit in it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry under this very key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Entries whose keys begin with the prefix, in the order of key bytes; those after (not at) a key if one is
    /// given, which is how a list is continued. Finding the first costs a descent, each further one a step.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Entry)> + 'a {
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.entries.range::<_, str>((first, Bound::Unbounded)).take_while(move |(key, _)| key.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn ranges() {
        let keys = ["/a-b/x", "/a/x", "/a/y", "/a/y/z", "/ab/x", "/b/é"];
        let entry = Entry { version: 2, create_revision: 2, value: Bytes::new() };
        let entries = keys.iter().rev().map(|key| (Key::from(*key), entry.clone())).collect();
        let snapshot = Snapshot { revision: 2, entries };
        let check = |prefix: &str, after: Option<&str>, expected: &[&str]| {
            let found: Vec<&str> = snapshot.range(prefix, after).map(|(key, _)| &**key).collect();
            assert_eq!(found, expected, "prefix {prefix:?} after {after:?}");
        };
        check("", None, &keys);
        check("/a/", None, &["/a/x", "/a/y", "/a/y/z"]);
        check("/a", None, &["/a-b/x", "/a/x", "/a/y", "/a/y/z", "/ab/x"]);
        check("/a/", Some("/a/x"), &["/a/y", "/a/y/z"]);
        check("/a/", Some("/a/xx"), &["/a/y", "/a/y/z"]);
        check("/a/", Some("/a/y/z"), &[]);
        check("/a/", Some("/"), &["/a/x", "/a/y", "/a/y/z"]);
        check("/a/", Some("/b"), &[]);
        check("/b/\u{e9}", None, &["/b/é"]);
        check("/c", None, &[]);
    }
}
