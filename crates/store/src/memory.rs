//! The state an engine has published, and the recent history that subscriptions read.
//!
//! One writer (the committer, or the follower of etcd's watch stream) works on a [`Draft`] and publishes it whole;
//! readers load it without a lock. A subscription is a cursor into the history, not a queue: a slow one costs nothing
//! and stops nobody, and when its place is gone it is told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::{OrdMap, Vector};
use tokio::sync::watch;

use crate::{
    Entry, Event, EventBatch, Key, Snapshot, SubscribeError, Subscription, SubscriptionError, engine::BoxFuture,
};

/// What an event costs beyond its key and values.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// How much history is kept; the older part is dropped first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    pub(crate) commits_max: usize,
    pub(crate) bytes_max: usize,
}

/// 32 MiB are seconds of the heaviest load and hours of an idle cluster; one commit always fits.
pub(crate) const HISTORY_LIMITS: HistoryLimits = HistoryLimits { commits_max: 16_384, bytes_max: 32 << 20 };

/// The commits after `floor`, without a gap, up to the revision of the snapshot beside it.
#[derive(Clone)]
struct History {
    limits: HistoryLimits,
    floor: u64,
    bytes: usize,
    commits: Vector<Arc<EventBatch>>,
}

impl History {
    fn push(&mut self, batch: Arc<EventBatch>) {
        self.bytes += batch_bytes(&batch);
        self.commits.push_back(batch);
        while self.commits.len() > self.limits.commits_max || self.bytes > self.limits.bytes_max {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.bytes -= batch_bytes(&oldest);
            self.floor = oldest.revision;
        }
    }
}

fn batch_bytes(batch: &EventBatch) -> usize {
    let value = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.value.len());
    let of = |event: &Event| EVENT_OVERHEAD_BYTES + event.key.len() + value(&event.current) + value(&event.previous);
    batch.events.iter().map(of).sum()
}

struct Published {
    snapshot: Snapshot,
    history: History,
}

/// How far the writer is, for those who wait.
#[derive(Clone, Copy)]
struct Progress {
    revision: u64,
    closed: bool,
}

/// What an engine shows the world.
pub(crate) struct Memory {
    published: ArcSwap<Published>,
    progress: watch::Sender<Progress>,
}

impl Memory {
    /// Memory that begins with these entries and no history.
    pub(crate) fn new(revision: u64, entries: OrdMap<Key, Entry>, limits: HistoryLimits) -> Arc<Memory> {
        let history = History { limits, floor: revision, bytes: 0, commits: Vector::new() };
        let published = Published { snapshot: Snapshot { revision, entries }, history };
        let progress = watch::Sender::new(Progress { revision, closed: false });
        Arc::new(Memory { published: ArcSwap::from_pointee(published), progress })
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.published.load().snapshot.clone()
    }

    /// A copy to work on; costs a few pointers. There is one writer.
    pub(crate) fn draft(&self) -> Draft {
        let published = self.published.load();
        Draft { snapshot: published.snapshot.clone(), history: published.history.clone() }
    }

    /// Shows a draft to readers, then wakes subscriptions.
    pub(crate) fn publish(&self, draft: Draft) {
        let revision = draft.snapshot.revision;
        self.published.store(Arc::new(Published { snapshot: draft.snapshot, history: draft.history }));
        self.progress.send_modify(|progress| progress.revision = revision);
    }

    /// Ends subscriptions once they have read what is there.
    pub(crate) fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    /// Waits until [`Memory::close`] was called.
    pub(crate) async fn closed(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.progress.subscribe().wait_for(|progress| progress.closed).await;
    }

    /// Waits until memory is at the revision or closed; tells which.
    #[cfg(feature = "etcd")]
    pub(crate) async fn reached(&self, revision: u64) -> Result<(), crate::ReadError> {
        let mut progress = self.progress.subscribe();
        let waited = progress.wait_for(|progress| progress.closed || progress.revision >= revision).await;
        match waited {
            Ok(progress) if progress.revision >= revision => Ok(()),
            _ => Err(crate::ReadError::Closed),
        }
    }

    /// A cursor after this revision.
    pub(crate) fn subscribe(self: &Arc<Self>, prefix: &str, after: u64) -> Result<Cursor, SubscribeError> {
        let published = self.published.load();
        let (oldest, revision) = (published.history.floor, published.snapshot.revision);
        if after > revision {
            return Err(SubscribeError::Ahead { after, revision });
        }
        if after < oldest {
            return Err(SubscribeError::Expired { after, oldest });
        }
        let progress = self.progress.subscribe();
        Ok(Cursor { memory: self.clone(), progress, prefix: prefix.into(), position: after })
    }
}

/// The next state in the making. Nobody sees it before it is published; dropping it is an undo.
pub(crate) struct Draft {
    snapshot: Snapshot,
    history: History,
}

impl Draft {
    pub(crate) fn revision(&self) -> u64 {
        self.snapshot.revision
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.snapshot.get(key)
    }

    /// Takes over the changes of one commit. The revision is greater than all before it; a delete of an absent key
    /// changes nothing and makes no event.
    pub(crate) fn advance(&mut self, revision: u64, changes: Vec<(Key, Option<Entry>)>) {
        let mut events = Vec::with_capacity(changes.len());
        for (key, current) in changes {
            let previous = match &current {
                Some(entry) => self.snapshot.entries.insert(key.clone(), entry.clone()),
                None => self.snapshot.entries.remove(&*key),
            };
            if current.is_some() || previous.is_some() {
                events.push(Event { key, current, previous, revision });
            }
        }
        self.snapshot.revision = revision;
        if !events.is_empty() {
            self.history.push(Arc::new(EventBatch { revision, events }));
        }
    }

    /// Starts again from a full list: what happened in between is not known, so subscriptions lag.
    #[cfg(feature = "etcd")]
    pub(crate) fn replace(&mut self, revision: u64, entries: OrdMap<Key, Entry>) {
        self.snapshot = Snapshot { revision, entries };
        self.history = History { limits: self.history.limits, floor: revision, bytes: 0, commits: Vector::new() };
    }
}

/// A subscription: a place in the history and a wish to be woken.
pub(crate) struct Cursor {
    memory: Arc<Memory>,
    progress: watch::Receiver<Progress>,
    prefix: Box<str>,
    position: u64,
}

impl Cursor {
    /// The next batch that is there already. Moves the cursor past what is not under its prefix.
    fn advance(&mut self) -> Result<Option<Arc<EventBatch>>, SubscriptionError> {
        let published = self.memory.published.load();
        let history = &published.history;
        if self.position < history.floor {
            return Err(SubscriptionError::Lagged { after: self.position, oldest: history.floor });
        }
        let first = match history.commits.binary_search_by_key(&self.position, |batch| batch.revision) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        for batch in history.commits.focus().narrow(first..) {
            self.position = batch.revision;
            if let Some(batch) = under_prefix(batch, &self.prefix) {
                return Ok(Some(batch));
            }
        }
        self.position = published.snapshot.revision;
        Ok(None)
    }

    async fn wait(&mut self) -> Result<Arc<EventBatch>, SubscriptionError> {
        loop {
            // Marked as seen before looking, so that what is published while looking wakes again.
            let closed = self.progress.borrow_and_update().closed;
            if let Some(batch) = self.advance()? {
                return Ok(batch);
            }
            if closed || self.progress.changed().await.is_err() {
                return Err(SubscriptionError::Closed);
            }
        }
    }
}

impl Subscription for Cursor {
    fn next(&mut self) -> BoxFuture<'_, Result<Arc<EventBatch>, SubscriptionError>> {
        Box::pin(self.wait())
    }

    fn position(&self) -> u64 {
        self.position
    }
}

/// The part of a batch under the prefix; the batch itself when that is all of it.
fn under_prefix(batch: &Arc<EventBatch>, prefix: &str) -> Option<Arc<EventBatch>> {
    let matching = batch.events.iter().filter(|event| event.key.starts_with(prefix)).count();
    if matching == 0 {
        return None;
    }
    if matching == batch.events.len() {
        return Some(batch.clone());
    }
    let events = batch.events.iter().filter(|event| event.key.starts_with(prefix)).cloned().collect();
    Some(Arc::new(EventBatch { revision: batch.revision, events }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use bytes::Bytes;

    fn entry(version: u64, bytes: usize) -> Entry {
        Entry { version, create_revision: version, value: Bytes::from(vec![0; bytes]) }
    }

    fn publish(memory: &Memory, revision: u64, keys: &[&str], bytes: usize) {
        let mut draft = memory.draft();
        let changes = keys.iter().map(|key| (Key::from(*key), Some(entry(revision, bytes)))).collect();
        draft.advance(revision, changes);
        memory.publish(draft);
    }

    fn memory(commits_max: usize, bytes_max: usize) -> Arc<Memory> {
        Memory::new(1, OrdMap::new(), HistoryLimits { commits_max, bytes_max })
    }

    #[test]
    fn history_is_bounded_by_commits() {
        let memory = memory(3, usize::MAX);
        for revision in 2..=6 {
            publish(&memory, revision, &["/a"], 0);
        }
        let check = |after: u64, expected: Result<u64, &str>| {
            let result =
                memory.subscribe("/", after).map(|mut cursor| cursor.advance().unwrap().map_or(0, |b| b.revision));
            assert_eq!(result.map_err(|error| error.to_string()), expected.map_err(str::to_string));
        };
        check(2, Err("events after revision 2 are gone, the oldest kept are those after 3"));
        check(3, Ok(4));
        check(5, Ok(6));
        check(6, Ok(0));
        check(7, Err("revision 7 is ahead of the store, which is at 6"));
    }

    #[test]
    fn history_is_bounded_by_bytes() {
        let memory = memory(usize::MAX, 3000);
        for revision in 2..=9 {
            publish(&memory, revision, &["/a"], 500);
        }
        let published = memory.published.load();
        assert!(published.history.bytes <= 3000);
        // A commit holds the value before it as well: 500 + 500 + the overhead, so two fit.
        assert_eq!((published.history.commits.len(), published.history.floor), (2, 7));
    }

    #[test]
    fn a_slow_cursor_is_told() {
        let memory = memory(2, usize::MAX);
        let mut slow = memory.subscribe("/", 1).unwrap();
        for revision in 2..=4 {
            publish(&memory, revision, &["/a"], 0);
        }
        for _ in 0..2 {
            assert_eq!(slow.advance(), Err(SubscriptionError::Lagged { after: 1, oldest: 2 }));
        }
    }

    #[test]
    fn a_cursor_sees_its_prefix_only() {
        let memory = memory(100, usize::MAX);
        let mut cursor = memory.subscribe("/a/", 1).unwrap();
        publish(&memory, 2, &["/b/x"], 0);
        publish(&memory, 3, &["/a/x", "/b/y", "/a/y"], 0);
        publish(&memory, 4, &["/b/z"], 0);
        let batch = cursor.advance().unwrap().unwrap();
        let keys: Vec<&str> = batch.events.iter().map(|event| &*event.key).collect();
        assert_eq!((batch.revision, keys), (3, vec!["/a/x", "/a/y"]));
        assert_eq!(cursor.advance(), Ok(None));
        assert_eq!(cursor.position(), 4, "what is not under the prefix was passed");
    }

    #[test]
    fn removing_nothing_is_no_event() {
        let memory = memory(100, usize::MAX);
        let mut cursor = memory.subscribe("/", 1).unwrap();
        let mut draft = memory.draft();
        draft.advance(2, vec![("/a".into(), None)]);
        draft.advance(3, vec![("/a".into(), Some(entry(3, 0))), ("/b".into(), None)]);
        memory.publish(draft);
        let batch = cursor.advance().unwrap().unwrap();
        assert_eq!((batch.revision, batch.events.len()), (3, 1));
        assert_eq!(cursor.advance(), Ok(None));
    }

    #[cfg(feature = "etcd")]
    #[tokio::test]
    async fn reaching_waits_for_the_revision() {
        let memory = memory(100, usize::MAX);
        memory.reached(1).await.unwrap();
        let waiting = tokio::spawn({
            let memory = memory.clone();
            async move { memory.reached(3).await.map(|()| memory.snapshot().revision()) }
        });
        for revision in [2, 3] {
            assert!(!waiting.is_finished());
            publish(&memory, revision, &["/a"], 0);
            tokio::task::yield_now().await;
        }
        assert_eq!(waiting.await.unwrap().unwrap(), 3);
        let never = tokio::spawn({
            let memory = memory.clone();
            async move { memory.reached(9).await }
        });
        memory.close();
        assert!(matches!(never.await.unwrap(), Err(crate::ReadError::Closed)));
    }

    #[tokio::test]
    async fn closing_ends_cursors_after_the_last_batch() {
        let memory = memory(100, usize::MAX);
        let mut cursor = memory.subscribe("/", 1).unwrap();
        publish(&memory, 2, &["/a"], 0);
        memory.close();
        assert_eq!(cursor.next().await.unwrap().revision, 2);
        assert_eq!(cursor.next().await, Err(SubscriptionError::Closed));
    }
}
