//! Keeps memory equal to etcd: a full list at one revision, then the watch stream from there on.
//!
//! All keys are watched, not only ours, so that every revision of etcd arrives as an event and memory knows how far
//! it is without asking for progress (which etcd before 3.4.25 may answer too early), and a revision that did not arrive is
//! noticed by the next one. Nothing is published from anywhere else, so what subscribers see is what etcd ordered.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use imbl::OrdMap;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;

use super::{
    link::Link,
    pages::Pages,
    reading::Reading,
    wire::{ALL_KEYS, Event, EventType, WatchCreateRequest, WatchRequest},
};
use crate::{
    Entry, Key,
    memory::{Draft, Memory},
    sealing::Opening,
};

/// Pause before a lost watch is opened again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Events of one commit, as another client may make it: etcd's `--max-txn-ops` can be raised, but not without end.
const COMMIT_EVENTS_MAX: usize = 65_536;

/// All keys of the cluster at one revision.
pub(super) struct Listed {
    pub(super) revision: u64,
    pub(super) entries: OrdMap<Key, Entry>,
}

/// Lists in pages, all of them at the revision of the first.
pub(super) async fn list(link: &Link, reading: &Reading) -> Result<Listed, Status> {
    let mut entries = OrdMap::new();
    let (mut pages, mut opening) = (Pages::at(0), Opening::default());
    while let Some(page) = pages.next(link).await? {
        for kv in page.kvs {
            if let Some((key, entry)) = reading.entry(kv, &mut opening).await {
                entries.insert(key, entry);
            }
        }
    }
    Ok(Listed { revision: number(pages.revision), entries })
}

/// Follows etcd until told to stop: reconnects where it was, and lists again when etcd has compacted that away.
pub(super) async fn follow(
    link: Link,
    memory: Arc<Memory>,
    reading: Reading,
    mut asked: mpsc::Receiver<Asked>,
    mut stop: watch::Receiver<bool>,
) {
    let mut is_to_list = false;
    loop {
        if !is_to_list {
            let end = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                end = follow_once(&link, &memory, &reading, &mut asked) => end,
            };
            is_to_list = !matches!(end, FollowEnd::Failed(_));
            let at = memory.snapshot().revision();
            match end {
                FollowEnd::ToList => tracing::error!(at, "memory is not what etcd holds, listing again"),
                FollowEnd::LeftOut { revision } => {
                    tracing::error!(at, revision, "etcd left out what came between, listing again");
                }
                FollowEnd::Compacted { compacted } => tracing::warn!(at, compacted, "etcd compacted, listing again"),
                FollowEnd::Failed(error) => tracing::warn!(%error, "etcd watch lost"),
            }
        }
        if is_to_list {
            match list(&link, &reading).await {
                Ok(Listed { revision, entries }) => {
                    let mut draft = memory.draft();
                    draft.replace(revision, entries);
                    memory.wake(memory.publish(draft));
                    is_to_list = false;
                    continue;
                }
                Err(error) => tracing::warn!(%error, "etcd list failed"),
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
    memory.close();
}

/// What somebody wants of the one who writes memory.
pub(super) enum Asked {
    /// To open what could not be opened, and to know how many entries still are not.
    Reopen {
        /// Where to begin; everything has its turn nevertheless.
        from: Option<Key>,
        told: oneshot::Sender<Reopened>,
    },
    /// To list again: memory is not what etcd holds.
    List,
}

/// What came of opening again.
pub(super) struct Reopened {
    /// Entries that still cannot be read.
    pub(super) left: usize,
    /// The first one whose key was not asked for any more.
    pub(super) next: Option<Key>,
}

/// Why one watch ended.
enum FollowEnd {
    ToList,
    Compacted {
        compacted: i64,
    },
    /// Every revision of etcd is a change of some key, and of one in between nothing came.
    LeftOut {
        revision: u64,
    },
    Failed(Status),
}

impl From<Status> for FollowEnd {
    fn from(status: Status) -> Self {
        FollowEnd::Failed(status)
    }
}

async fn follow_once(link: &Link, memory: &Memory, reading: &Reading, asked: &mut mpsc::Receiver<Asked>) -> FollowEnd {
    match follow_stream(link, memory, reading, asked).await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

async fn follow_stream(
    link: &Link,
    memory: &Memory,
    reading: &Reading,
    asked: &mut mpsc::Receiver<Asked>,
) -> Result<Infallible, FollowEnd> {
    let begin = memory.snapshot().revision();
    // From the revision on that memory has already, not from the one behind it: a watch that begins at the very revision to which is
    // compacted is told of no delete there by an etcd of before September 2024, which drops its tombstone.
    let create_request = WatchCreateRequest {
        key: Bytes::from_static(ALL_KEYS),
        range_end: Bytes::from_static(ALL_KEYS),
        start_revision: signed(begin.max(1)),
        fragment: true,
    };
    let mut watch = link.watch(WatchRequest { create_request: Some(create_request) }).await?;
    let mut pending = Pending { begin, ..Pending::default() };
    loop {
        let response = tokio::select! {
            response = watch.next() => response?,
            Some(asked) = asked.recv() => match asked {
                Asked::Reopen { from, told } => {
                    // Who asked may have gone.
                    told.send(reopen(memory, reading, from.as_ref()).await).ok();
                    continue;
                }
                Asked::List => return Err(FollowEnd::ToList),
            }
        };
        if response.compact_revision > 0 {
            return Err(FollowEnd::Compacted { compacted: response.compact_revision });
        }
        if response.canceled {
            return Err(Status::cancelled(response.cancel_reason).into());
        }
        let mut draft = memory.draft();
        let before = draft.revision();
        let mut opening = Opening::default();
        for event in response.events {
            pending.take(reading, &mut opening, &mut draft, event).await?;
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
    /// What memory had when the watch began.
    begin: u64,
    revision: u64,
    events: usize,
    changes: Vec<(Key, Option<Entry>)>,
}

impl Pending {
    async fn take(
        &mut self,
        reading: &Reading,
        opening: &mut Opening,
        draft: &mut Draft<'_>,
        event: Event,
    ) -> Result<(), FollowEnd> {
        let deleted = event.r#type() == EventType::Delete;
        let kv = event.kv.ok_or_else(|| Status::internal("etcd sent an event without a key"))?;
        let revision = number(kv.mod_revision);
        if revision <= self.begin {
            return Ok(());
        }
        if revision != self.revision {
            self.finish(draft);
            match revision.checked_sub(draft.revision()) {
                None | Some(0) => return Err(Status::internal("etcd sent an event out of order").into()),
                Some(1) => {}
                Some(_) => return Err(FollowEnd::LeftOut { revision }),
            }
            self.revision = revision;
        }
        self.events += 1;
        if self.events > COMMIT_EVENTS_MAX {
            return Err(Status::resource_exhausted("etcd sent a commit with too many events").into());
        }
        if deleted {
            self.changes.extend(Reading::key(&kv).map(|key| (key, None)));
        } else if let Some((key, entry)) = reading.entry(kv, opening).await {
            self.changes.push((key, Some(entry)));
        }
        Ok(())
    }

    fn finish(&mut self, draft: &mut Draft<'_>) {
        if self.events > 0 {
            draft.advance(self.revision, std::mem::take(&mut self.changes));
            *self = Pending { begin: self.begin, ..Pending::default() };
        }
    }
}

/// Opens what could not be opened before, from a key on and round to it.
async fn reopen(memory: &Memory, reading: &Reading, from: Option<&Key>) -> Reopened {
    let snapshot = memory.snapshot();
    let mut draft = memory.draft();
    let (mut opened, mut left, mut next) = (0, 0, None);
    let mut opening = Opening::default();
    let unreadable: Vec<_> = snapshot.range("", None).filter(|(_, entry)| entry.index().is_unreadable()).collect();
    let (last, first) =
        unreadable.split_at(unreadable.partition_point(|(key, _)| from.is_some_and(|from| *key < from)));
    for (key, entry) in first.iter().chain(last) {
        if opening.has_given_up() && next.is_none() {
            next = Some(Key::clone(key));
        }
        match reading.reopened(key, entry, &mut opening).await {
            Some(readable) => {
                draft.reopen(key, &readable);
                opened += 1;
            }
            None => left += 1,
        }
    }
    if opened > 0 {
        memory.wake(memory.publish(draft));
        tracing::info!(opened, left, "values in etcd were opened");
    }
    Reopened { left, next }
}

/// Revisions are signed in etcd's messages and never negative.
pub(super) fn number(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

pub(super) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
