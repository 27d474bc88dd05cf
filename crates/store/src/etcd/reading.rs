//! From what etcd holds to what is kept in memory: opened, and in our own form. What cannot be read stays as etcd holds it, is refused
//! to whoever asks for it, and can be tried again ([`Reading::reopened`]).

use std::sync::Arc;

use bytes::Bytes;

use super::{follower::number, wire::KeyValue};
use crate::{
    Budget, Catalog, Entry, Index, Key, Sealing,
    engine::{KEY_PREFIX, Source},
    sealing::{Opening, reason},
};

/// What reading takes.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) sealing: Arc<dyn Sealing>,
    pub(super) budget: Arc<Budget>,
}

impl Reading {
    /// The key, if it is one of ours.
    pub(super) fn key(kv: &KeyValue) -> Option<Key> {
        if !kv.key.starts_with(KEY_PREFIX.as_bytes()) {
            return None;
        }
        let key = std::str::from_utf8(&kv.key);
        key.inspect_err(|_| tracing::error!(key = ?kv.key, "a key in etcd is not UTF-8 and is left out"))
            .ok()
            .map(Key::from)
    }

    /// A key of ours and what it holds; nothing for keys of others.
    pub(super) async fn entry(&self, kv: KeyValue, opening: &mut Opening) -> Option<(Key, Entry)> {
        let key = Self::key(&kv)?;
        let read = self.fetching(&key, &kv.value, opening).await;
        let entry = self.entry_of(&key, number(kv.mod_revision), number(kv.create_revision), kv.value, read);
        Some((key, entry))
    }

    /// An entry that could not be read, if it can be now.
    pub(super) async fn reopened(&self, key: &Key, entry: &Entry, opening: &mut Opening) -> Option<Entry> {
        let read = Ok(self.fetching(key, &entry.value, opening).await.ok()?);
        let entry = self.entry_of(key, entry.version, entry.create_revision, Bytes::new(), read);
        (!entry.index().is_unreadable()).then_some(entry)
    }

    /// What a transaction read, without waiting for a key.
    pub(super) fn entry_now(&self, key: &Key, kv: KeyValue) -> Entry {
        let read = self.own_form(key, &kv.value);
        self.entry_of(key, number(kv.mod_revision), number(kv.create_revision), kv.value, read)
    }

    /// What cannot be read stays as it is held.
    fn entry_of(
        &self,
        key: &Key,
        version: u64,
        create_revision: u64,
        held: Bytes,
        read: Result<Bytes, Source>,
    ) -> Entry {
        let (value, index) = match read {
            Ok(value) => {
                let index = self.catalog.index(key, &value);
                (value, index)
            }
            Err(error) => {
                tracing::error!(%key, reason = reason(&*error), "a value in etcd cannot be read");
                (held, Index::unreadable())
            }
        };
        Entry::new(version, create_revision, value, index, &self.budget)
    }

    async fn fetching(&self, key: &Key, held: &Bytes, opening: &mut Opening) -> Result<Bytes, Source> {
        let opened = opening.open(&*self.sealing, key, held).await?;
        self.catalog.own_form(key, &opened.plain)
    }

    fn own_form(&self, key: &Key, held: &Bytes) -> Result<Bytes, Source> {
        self.catalog.own_form(key, &self.sealing.open(key, held)?.plain)
    }
}
