//! Keeps memory equal to etcd: a full list at one revision, then the watch stream from there on.
//!
//! All keys are watched, not only ours, so that every revision of etcd arrives as an event and memory knows how far
//! it is without asking for progress (which etcd before 3.4.25 may answer too early). Nothing is published from
//! anywhere else, so what subscribers see is what etcd ordered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use imbl::OrdMap;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::{
    link::Link,
    wire::{ALL_KEYS, Event, EventType, KeyValue, RangeRequest, WatchCreateRequest, WatchRequest},
};
use crate::{
    Budget, Catalog, Entry, Key,
    engine::KEY_PREFIX,
    memory::{Draft, Memory},
};

/// Entries asked for at once; halved while the answer is too large.
const PAGE_ENTRIES: i64 = 500;
/// Pause before a lost watch is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Events of one commit, as another client may make it: etcd's `--max-txn-ops` can be raised, but not without end.
const COMMIT_EVENTS_MAX: usize = 65_536;

/// Everything under [`KEY_PREFIX`] at one revision.
pub(super) struct Listed {
    pub(super) revision: u64,
    pub(super) entries: OrdMap<Key, Entry>,
}

/// Lists in pages, all of them at the revision of the first.
pub(super) async fn list(link: &Link, catalog: &Arc<dyn Catalog>, budget: &Arc<Budget>) -> Result<Listed, Status> {
    let mut entries = OrdMap::new();
    let mut revision = 0;
    let mut limit = PAGE_ENTRIES;
    let mut start = Bytes::from_static(KEY_PREFIX.as_bytes());
    loop {
        let range_end = prefix_end(KEY_PREFIX);
        let request = RangeRequest { key: start.clone(), range_end, limit, revision, count_only: false };
        let page = match link.range(request).await {
            Ok(page) => page,
            Err(status) if status.code() == Code::OutOfRange && limit > 1 && !is_compacted(&status) => {
                limit /= 2;
                continue;
            }
            Err(status) => return Err(status),
        };
        if revision == 0 {
            revision = page.header.map_or(0, |header| header.revision);
        }
        let last = page.kvs.last().map(|kv| kv.key.clone());
        for kv in page.kvs {
            if let Some((key, entry)) = read(kv, catalog, budget) {
                entries.insert(key, entry);
            }
        }
        match last {
            Some(last) if page.more => start = [&last, &b"\0"[..]].concat().into(),
            _ => return Ok(Listed { revision: number(revision), entries }),
        }
    }
}

/// Follows etcd until told to stop: reconnects where it was, and lists again when etcd has compacted that away.
pub(super) async fn follow(link: Link, memory: Arc<Memory>, mut stop: watch::Receiver<bool>) {
    loop {
        let end = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            end = follow_once(&link, &memory) => end,
        };
        match end {
            FollowEnd::Compacted { compacted } => {
                tracing::warn!(at = memory.snapshot().revision(), compacted, "etcd compacted, listing again");
                match list(&link, memory.catalog(), memory.budget()).await {
                    Ok(Listed { revision, entries }) => {
                        let mut draft = memory.draft();
                        draft.replace(revision, entries);
                        memory.wake(memory.publish(draft));
                        continue;
                    }
                    Err(error) => tracing::warn!(%error, "etcd list failed"),
                }
            }
            FollowEnd::Failed(error) => tracing::warn!(%error, "etcd watch lost"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
    memory.close();
}

/// Why one watch ended.
enum FollowEnd {
    Compacted { compacted: i64 },
    Failed(Status),
}

async fn follow_once(link: &Link, memory: &Memory) -> FollowEnd {
    match follow_stream(link, memory).await {
        Ok(end) => end,
        Err(status) => FollowEnd::Failed(status),
    }
}

async fn follow_stream(link: &Link, memory: &Memory) -> Result<FollowEnd, Status> {
    let begin = memory.snapshot().revision();
    let create_request = WatchCreateRequest {
        key: Bytes::from_static(ALL_KEYS),
        range_end: Bytes::from_static(ALL_KEYS),
        start_revision: signed(begin.saturating_add(1)),
        fragment: true,
    };
    let mut watch = link.watch(WatchRequest { create_request: Some(create_request) }).await?;
    let mut pending = Pending::default();
    loop {
        let response = watch.next().await?;
        if response.compact_revision > 0 {
            return Ok(FollowEnd::Compacted { compacted: response.compact_revision });
        }
        if response.canceled {
            return Ok(FollowEnd::Failed(Status::cancelled(response.cancel_reason)));
        }
        let mut draft = memory.draft();
        let before = draft.revision();
        for event in response.events {
            pending.take(memory, &mut draft, event)?;
        }
        // A fragment may end in the middle of a commit; the last one ends with a whole one.
        if !response.fragment {
            pending.finish(&mut draft);
        }
        if draft.revision() > before {
            memory.wake(memory.publish(draft));
        }
    }
}

/// The commit whose events are arriving.
#[derive(Default)]
struct Pending {
    revision: u64,
    events: usize,
    changes: Vec<(Key, Option<Entry>)>,
}

impl Pending {
    fn take(&mut self, memory: &Memory, draft: &mut Draft<'_>, event: Event) -> Result<(), Status> {
        let deleted = event.r#type() == EventType::Delete;
        let kv = event.kv.ok_or_else(|| Status::internal("etcd sent an event without a key"))?;
        let revision = number(kv.mod_revision);
        if revision != self.revision {
            self.finish(draft);
            if revision <= draft.revision() {
                return Err(Status::internal("etcd sent an event out of order"));
            }
            self.revision = revision;
        }
        self.events += 1;
        if self.events > COMMIT_EVENTS_MAX {
            return Err(Status::resource_exhausted("etcd sent a commit with too many events"));
        }
        if let Some((key, entry)) = read(kv, memory.catalog(), memory.budget()) {
            self.changes.push((key, (!deleted).then_some(entry)));
        }
        Ok(())
    }

    fn finish(&mut self, draft: &mut Draft<'_>) {
        if self.events > 0 {
            draft.advance(self.revision, std::mem::take(&mut self.changes));
            *self = Pending::default();
        }
    }
}

/// A key of ours and what it holds; nothing for keys of others.
fn read(kv: KeyValue, catalog: &Arc<dyn Catalog>, budget: &Arc<Budget>) -> Option<(Key, Entry)> {
    if !kv.key.starts_with(KEY_PREFIX.as_bytes()) {
        return None;
    }
    let Ok(key) = std::str::from_utf8(&kv.key) else {
        tracing::error!(key = ?kv.key, "a key in etcd is not UTF-8 and is left out");
        return None;
    };
    let index = catalog.index(key, &kv.value);
    let entry = Entry::new(number(kv.mod_revision), number(kv.create_revision), kv.value, index, budget);
    Some((key.into(), entry))
}

/// etcd's end of all keys with a prefix: the prefix with its last byte one higher. Ours ends in `/`.
fn prefix_end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

/// etcd's way to say that a revision is no longer there has the code of messages that are too large.
fn is_compacted(status: &Status) -> bool {
    status.message().contains("compacted")
}

/// Revisions are signed in etcd's messages and never negative.
pub(super) fn number(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

pub(super) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
