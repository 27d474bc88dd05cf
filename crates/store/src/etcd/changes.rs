//! What an etcd was told after it was read: whoever copies a cluster learns what the copy lacks.
//!
//! Keys alone are read, page by page, and compared with those that were read before. So it can be told also when etcd has
//! forgotten the revision of then.

use super::{ConnectError, follower::number, import::Remote, pages::Pages};
use crate::transfer::{Content, Item};

/// What was written to an etcd after it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Keys that were made or written.
    pub written: usize,
    /// Keys that were removed, and would not have ended by themselves.
    pub removed: usize,
    /// The first of them, in the order of keys.
    pub first: String,
    /// The revision up to which this is so.
    pub revision: u64,
}

impl Remote {
    /// Compares what is there with what was read; nothing if it is the same.
    pub async fn changes_since(&self, content: &Content) -> Result<Option<Changes>, ConnectError> {
        let failed = |status| ConnectError::ListFailed { source: Box::new(status) };
        let mut walk = Walk { before: &content.items, revision: content.revision, found: Found::default() };
        let mut pages = Pages::keys();
        while let Some(page) = pages.next(&self.link).await.map_err(failed)? {
            page.kvs.iter().for_each(|kv| walk.meet(&kv.key, number(kv.mod_revision)));
        }
        Ok(walk.finish(number(pages.revision)))
    }
}

#[derive(Default)]
struct Found {
    written: usize,
    removed: usize,
    first: Option<String>,
}

/// What was read before and the keys of now, side by side in the order of keys.
struct Walk<'a> {
    /// What is behind the last key that was met.
    before: &'a [Item],
    revision: u64,
    found: Found,
}

impl Walk<'_> {
    fn meet(&mut self, key: &[u8], revision: u64) {
        self.pass(Some(key));
        if revision > self.revision {
            self.found.written += 1;
            self.found.note(key);
        }
    }

    /// Goes on to a key: all that was read before it is gone.
    fn pass(&mut self, end: Option<&[u8]>) {
        while let Some((item, behind)) = self.before.split_first() {
            let key = item.key.as_bytes();
            if end.is_some_and(|end| key > end) {
                return;
            }
            // What was read with an end has that end in the copy, too.
            if end != Some(key) && item.expires.is_none() {
                self.found.removed += 1;
                self.found.note(key);
            }
            self.before = behind;
        }
    }

    fn finish(mut self, revision: u64) -> Option<Changes> {
        self.pass(None);
        let Found { written, removed, first } = self.found;
        first.map(|first| Changes { written, removed, first, revision })
    }
}

impl Found {
    fn note(&mut self, key: &[u8]) {
        self.first.get_or_insert_with(|| String::from_utf8_lossy(key).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_was_written_and_what_was_removed() {
        let item = |key: &str, expires: Option<u64>| Item {
            key: key.into(),
            version: 1,
            create_revision: 1,
            epoch: 0,
            expires,
            value: Bytes::new(),
        };
        let before = [item("/a", None), item("/b", Some(1)), item("/c", None), item("/d", None)];
        let check = |now: &[(&str, u64)], expected: Option<(usize, usize, &str)>| {
            let mut walk = Walk { before: &before, revision: 5, found: Found::default() };
            now.iter().for_each(|(key, revision)| walk.meet(key.as_bytes(), *revision));
            let expected = expected.map(|(written, removed, first)| Changes {
                written,
                removed,
                first: first.to_owned(),
                revision: 9,
            });
            assert_eq!(walk.finish(9), expected, "{now:?}");
        };
        check(&[("/a", 1), ("/b", 2), ("/c", 5), ("/d", 3)], None);
        // What ends by itself may have ended.
        check(&[("/a", 1), ("/c", 5), ("/d", 3)], None);
        check(&[("/a", 1), ("/b", 6), ("/c", 5), ("/d", 3)], Some((1, 0, "/b")));
        check(&[("/a", 1), ("/b", 2), ("/bb", 7), ("/c", 8), ("/d", 3)], Some((2, 0, "/bb")));
        check(&[("/a", 1), ("/b", 2), ("/d", 3), ("/e", 9)], Some((1, 1, "/c")));
        check(&[("/b", 2), ("/c", 5), ("/d", 3)], Some((0, 1, "/a")));
        check(&[("/a", 1), ("/b", 2), ("/c", 5)], Some((0, 1, "/d")));
        check(&[], Some((0, 3, "/a")));
    }
}
