//! The state at one version: the newest, or an earlier one as far as the store's history reaches back.
//!
//! An earlier state is the newest one with what changed since put back: the first event of a key after that version says what the key
//! held at it. Upstream reads such lists from etcd or from a snapshot of its watch cache.

use std::collections::BTreeMap;

use portcullis_store::{Engine, Entry, Key, Snapshot, SubscribeError};

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
        while subscription.position() < newest.revision() {
            // What is known is there at once; that nothing is there means that nothing under the prefix changed any more.
            let batch = tokio::select! {
                biased;
                batch = subscription.next() => batch,
                () = std::future::ready(()) => break,
            };
            let Ok(batch) = batch else { return Ok(None) };
            if batch.revision > newest.revision() {
                break;
            }
            for event in &batch.events {
                before.entry(event.key.clone()).or_insert_with(|| event.previous.clone());
            }
        }
        Ok(Some(View { snapshot: newest, revision, before }))
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
    ) -> Box<dyn Iterator<Item = (&'a str, &'a Entry)> + Send + 'a> {
        let held = self.snapshot.range(prefix, after).map(|(key, entry)| (&**key, entry));
        if self.before.is_empty() {
            return Box::new(held);
        }
        let mut rows: BTreeMap<&str, &Entry> = held.collect();
        for (key, entry) in &self.before {
            if !key.starts_with(prefix) || after.is_some_and(|after| &**key <= after) {
                continue;
            }
            match entry {
                Some(entry) => rows.insert(key, entry),
                None => rows.remove(&**key),
            };
        }
        Box::new(rows.into_iter())
    }
}
