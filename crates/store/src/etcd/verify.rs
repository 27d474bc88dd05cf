//! Compares memory with etcd, page by page, at the revision of a snapshot of memory: what is written meanwhile is in neither.
//!
//! Memory is a copy here. When it differs, it is listed anew, as after a watch that was lost, and whoever follows it starts again. Should it
//! differ then, too, that is not done again before a comparison has come out well: the fault is another one, and would end every
//! watch each time.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use tonic::Status;

use super::{
    Etcd,
    follower::{Asked, number, signed},
    link::Link,
    pages::{Pages, is_compacted},
    reading::Reading,
    wire::KeyValue,
};
use crate::{Difference, Digest, Entry, Key, ReadError, Snapshot, Verified, engine::KEY_PREFIX};

/// Pause behind a page, for those who wait for etcd.
const PAGE_PAUSE: Duration = Duration::from_millis(20);
/// How often it is begun again, when etcd forgets the revision meanwhile.
const ATTEMPTS_MAX: usize = 3;

impl Etcd {
    /// Compares everything once, and has memory listed anew if it differs.
    pub(super) async fn verify_all(&self) -> Result<Verified, ReadError> {
        let _one_at_a_time = self.verifying.lock().await;
        let unreachable = |status: Status| ReadError::Unreachable { source: status.into() };
        for _ in 0..ATTEMPTS_MAX {
            let mut walk = Walk::new(self.memory.snapshot(), &self.reading);
            match walk.go(&self.link).await {
                Ok(()) => {
                    let found = walk.finish();
                    self.begin_anew(&found).await;
                    return Ok(found);
                }
                Err(status) if is_compacted(&status) => {}
                Err(status) => return Err(unreachable(status)),
            }
        }
        Err(unreachable(Status::out_of_range("etcd was compacted each time before everything was compared")))
    }

    async fn begin_anew(&self, found: &Verified) {
        let differed = self.has_differed.swap(!found.differences.is_empty(), Ordering::Relaxed);
        if !found.differences.is_empty() && !differed {
            // It fails only when nobody follows any more.
            drop(self.asked.send(Asked::List).await);
        }
    }
}

/// Memory and pages of etcd, side by side in the order of keys.
struct Walk<'a> {
    snapshot: Snapshot,
    reading: &'a Reading,
    /// The last key of memory that was met.
    at: Option<Key>,
    digest: Digest,
    found: Verified,
}

impl<'a> Walk<'a> {
    fn new(snapshot: Snapshot, reading: &'a Reading) -> Self {
        Walk { snapshot, reading, at: None, digest: Digest::default(), found: Verified::default() }
    }

    async fn go(&mut self, link: &Link) -> Result<(), Status> {
        let mut pages = Pages::at(signed(self.snapshot.revision()));
        while let Some(page) = pages.next(link).await? {
            page.kvs.iter().for_each(|kv| self.meet(kv));
            if page.more {
                tokio::time::sleep(PAGE_PAUSE).await;
            }
        }
        Ok(())
    }

    /// Compares what etcd holds under a key; entries of memory before it are not held.
    fn meet(&mut self, kv: &KeyValue) {
        let Some(key) = Reading::key(kv) else { return };
        self.pass(Some(&key));
        let Some(entry) = self.snapshot.get(&key).cloned() else {
            return self.found.differences.add(Difference::NotInMemory { key });
        };
        self.digest.add(&key, &entry.value);
        self.at = Some(key.clone());
        let (memory, stored) =
            ((entry.version, entry.create_revision), (number(kv.mod_revision), number(kv.create_revision)));
        if memory != stored {
            return self.found.differences.add(Difference::Version { key, memory, stored });
        }
        self.compare(key, &entry, &kv.value);
    }

    fn compare(&mut self, key: Key, entry: &Entry, held: &Bytes) {
        // What could not be opened is kept in memory as etcd holds it.
        if entry.value == held {
            return;
        }
        let Ok(opened) = self.reading.sealing.open(&key, held) else { return self.found.unopened.add(key) };
        match self.reading.catalog.own_form(&key, &opened.plain) {
            Ok(value) if value == entry.value => {}
            Ok(_) | Err(_) => self.found.differences.add(Difference::Value { key }),
        }
    }

    /// Goes on in memory to a key: all entries before it are not held by etcd, or it would have sent them.
    fn pass(&mut self, end: Option<&Key>) {
        let Walk { snapshot, at, digest, found, .. } = self;
        let between = snapshot.range(KEY_PREFIX, at.as_deref()).take_while(|(key, _)| end.is_none_or(|end| *key < end));
        for (key, entry) in between {
            digest.add(key, &entry.value);
            found.differences.add(Difference::NotStored { key: key.clone() });
        }
    }

    fn finish(mut self) -> Verified {
        self.pass(None);
        Verified { revision: self.snapshot.revision(), digested: self.digest.finish(), ..self.found }
    }
}
