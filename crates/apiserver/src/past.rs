//! The state at one version: the newest, or an earlier one as far as the store's history reaches back.
//!
//! An earlier state is the newest one with what changed since put back: the first event of a key after that version says what the key
//! held at it. Upstream reads such lists from etcd or from a snapshot of its watch cache.

use std::collections::BTreeMap;
use std::ops::Bound;

use portcullis_store::snapshot::first;
use portcullis_store::{Engine, Entry, Key, Snapshot, SubscribeError, Term};

/// Bytes of entries that are read before others come first: some hundred microseconds.
const READ_AT_ONCE_BYTES: usize = 256 << 10;

/// Entries as they were at one version.
pub struct View {
    snapshot: Snapshot,
    revision: u64,
    /// What the keys held that have changed since; nothing for those that were not there yet.
    before: BTreeMap<Key, Option<Entry>>,
}

impl View {
    /// The state of a snapshot.
    pub fn of(snapshot: Snapshot) -> View {
        let revision = snapshot.revision();
        View { snapshot, revision, before: BTreeMap::new() }
    }

    /// The state of all keys under a prefix at an earlier version; nothing when history does not reach back so far.
    pub async fn at(
        engine: &dyn Engine,
        newest: Snapshot,
        prefix: &str,
        revision: u64,
    ) -> Result<Option<View>, SubscribeError> {
        let mut subscription = match engine.subscribe(prefix.into(), revision).await {
            Ok(subscription) => subscription,
            Err(SubscribeError::Expired { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut before = BTreeMap::new();
        loop {
            // All that belongs to the snapshot is there already.
            match subscription.try_next() {
                Ok(Some(batch)) if batch.revision <= newest.revision() => {
                    for event in &batch.events {
                        before.entry(event.key.clone()).or_insert_with(|| event.previous.clone());
                    }
                }
                Ok(_) => return Ok(Some(View { snapshot: newest, revision, before })),
                Err(_) => return Ok(None),
            }
        }
    }

    /// The version of the whole.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The snapshot itself, when it is of this very version.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        (self.snapshot.revision() == self.revision).then_some(&self.snapshot)
    }

    /// The entry under a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match self.before.get(key) {
            Some(held) => held.as_ref(),
            None => self.snapshot.get(key),
        }
    }

    /// Entries under a prefix, in the order of keys; those after a key if one is given.
    pub fn range<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = (&'a Key, &'a Entry)> + Send + 'a> {
        if self.before.is_empty() {
            return Box::new(self.snapshot.range(prefix, after));
        }
        let mut held = self.snapshot.range(prefix, after).peekable();
        let before = self.before.range::<str, _>((first(prefix, after), Bound::Unbounded));
        let mut before = before.take_while(move |(key, _)| key.starts_with(prefix)).peekable();
        Box::new(std::iter::from_fn(move || {
            loop {
                let Some((key, entry)) = before.next_if(|(key, _)| held.peek().is_none_or(|(next, _)| *key <= next))
                else {
                    return held.next();
                };
                // What the key held then counts, not what it holds now.
                held.next_if(|(next, _)| *next == key);
                if let Some(entry) = entry {
                    return Some((key, entry));
                }
            }
        }))
    }

    /// Has entries under a prefix read, at most so many, where nobody did since the start: each takes microseconds, and others come first
    /// now and then.
    pub async fn have_read(&self, prefix: &str, after: Option<&str>, entries_max: usize) {
        if !self.snapshot.lacks_words() {
            return;
        }
        let mut bytes = 0;
        for (_, entry) in self.range(prefix, after).take(entries_max) {
            entry.index();
            bytes += entry.bytes();
            if bytes >= READ_AT_ONCE_BYTES {
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// As [`View::range`], leaving out some of the entries that do not have all of these words. Only the newest state knows which.
    pub fn candidates<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        terms: &[Term],
    ) -> Box<dyn Iterator<Item = (&'a Key, &'a Entry)> + Send + 'a> {
        if self.before.is_empty() && !terms.is_empty() {
            return self.snapshot.candidates(prefix, after, terms);
        }
        self.range(prefix, after)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use portcullis_store::embedded::{Embedded, Options};
    use portcullis_store::{Change, Commit, Condition, Operation};

    use super::*;

    fn operation(key: &str, value: &str) -> Operation {
        let change = if value.is_empty() { Change::Delete } else { Change::Put(Bytes::from(value.to_owned())) };
        Operation { key: format!("/registry/{key}").into(), condition: Condition::Any, change }
    }

    #[tokio::test]
    async fn every_state_can_be_seen_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Embedded::open(Options::new(folder.path().join("store"))).unwrap();
        let writes = [
            vec![("a", "1"), ("c", "1"), ("other/x", "1")],
            vec![("b", "1")],
            vec![("a", "2"), ("c", "")],
            vec![("c", "3")],
            vec![("a", ""), ("b", "2")],
            vec![("d", "1"), ("e", "1")],
        ];
        let mut states = vec![engine.snapshot()];
        for write in writes {
            let operations: Vec<Operation> =
                write.iter().map(|(key, value)| operation(&format!("m/{key}"), value)).collect();
            engine.commit(Commit::from(operations)).await.unwrap();
            states.push(engine.snapshot());
        }
        let newest = engine.snapshot();
        for state in states {
            let view = View::at(&engine, newest.clone(), "/registry/m/", state.revision()).await.unwrap().unwrap();
            for after in
                [None, Some("/registry/a"), Some("/registry/m/a"), Some("/registry/m/bb"), Some("/registry/m/z")]
            {
                let seen: Vec<_> = view.range("/registry/m/", after).collect();
                let expected: Vec<_> = state.range("/registry/m/", after).collect();
                assert_eq!(seen, expected, "{} {after:?}", state.revision());
            }
            for (key, entry) in state.range("/registry/m/", None) {
                assert_eq!(view.get(key), Some(entry));
            }
        }
    }
}
