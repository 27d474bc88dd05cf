//! The state an engine has published, and the rings of recent events that subscriptions read.
//!
//! One writer (the committer, or the follower of etcd's watch stream) works on a [`Draft`] and publishes it whole;
//! readers load it without a lock. A subscription is a cursor into a ring, not a queue: a slow one costs nothing and
//! stops nobody, and when its place is gone it is told.

mod ring;
mod signal;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
#[cfg(feature = "etcd")]
use imbl::OrdMap;
use tokio::sync::watch;

pub(crate) use self::ring::{RING_LIMITS, RingLimits};
use self::{ring::Ring, signal::Signal};
use crate::{
    Budget, Catalog, Entry, Event, EventBatch, Interest, Key, RingStats, Snapshot, Stats, SubscribeError, Subscription,
    SubscriptionError, Term, Volume,
};

struct Published {
    snapshot: Snapshot,
    rings: Vec<Arc<Ring>>,
    /// How often the state was replaced. Who follows an older one starts again, also if no revision came between.
    generation: u64,
}

/// What is stored in one ring. Numbers that belong together may be read a moment apart: they are an estimate.
#[derive(Default)]
struct Kept {
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

impl Kept {
    fn read(&self) -> (usize, usize) {
        (self.entries.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Takes one entry in the place of another. There is one writer.
    fn replace(&self, previous: Option<&Entry>, current: Option<&Entry>) {
        let change = |kept: &AtomicUsize, less: usize, more: usize| {
            kept.store((kept.load(Ordering::Relaxed) + more).saturating_sub(less), Ordering::Relaxed);
        };
        let bytes = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.bytes());
        change(&self.entries, usize::from(previous.is_some()), usize::from(current.is_some()));
        change(&self.bytes, bytes(previous), bytes(current));
    }
}

fn count(kept: Option<&Kept>, batch: &EventBatch) {
    let Some(kept) = kept else { return };
    batch.events.iter().for_each(|event| kept.replace(event.previous.as_ref(), event.current.as_ref()));
}

/// Counts everything anew.
fn count_all(volumes: &[Kept], snapshot: &Snapshot, catalog: &dyn Catalog) {
    for kept in volumes {
        kept.entries.store(0, Ordering::Relaxed);
        kept.bytes.store(0, Ordering::Relaxed);
    }
    for (key, entry) in snapshot.range("", None) {
        if let Some(kept) = volumes.get(catalog.ring(key)) {
            kept.replace(None, Some(entry));
        }
    }
}

/// What an engine shows the world.
pub(crate) struct Memory {
    catalog: Arc<dyn Catalog>,
    budget: Arc<Budget>,
    published: ArcSwap<Published>,
    signals: Vec<Signal>,
    /// What is stored in each ring; the writer counts.
    volumes: Vec<Kept>,
    /// How far the writer is, for those who wait for a revision and not for an event.
    progress: watch::Sender<u64>,
    is_closed: AtomicBool,
}

impl Memory {
    /// Memory that begins with this state and no history.
    pub(crate) fn new(
        snapshot: Snapshot,
        limits: RingLimits,
        catalog: Arc<dyn Catalog>,
        budget: Arc<Budget>,
    ) -> Arc<Memory> {
        let revision = snapshot.revision();
        let count = catalog.rings().max(1);
        let rings = (0..count).map(|_| Arc::new(Ring::new(revision, limits))).collect();
        let volumes: Vec<Kept> = (0..count).map(|_| Kept::default()).collect();
        count_all(&volumes, &snapshot, &*catalog);
        let published = Published { snapshot, rings, generation: 0 };
        let memory = Arc::new(Memory {
            catalog,
            budget: Arc::clone(&budget),
            published: ArcSwap::from_pointee(published),
            signals: (0..count).map(|_| Signal::default()).collect(),
            volumes,
            progress: watch::Sender::new(revision),
            is_closed: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&memory);
        budget.relieve_with(move || {
            if let Some(memory) = weak.upgrade() {
                memory.drop_unused_forms();
            }
        });
        memory
    }

    /// Makes an entry of this memory.
    pub(crate) fn entry(&self, key: &str, version: u64, create_revision: u64, value: Bytes) -> Entry {
        let index = self.catalog.index(key, &value);
        Entry::new(version, create_revision, value, index, &self.budget)
    }

    pub(crate) fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.published.load().snapshot.clone()
    }

    /// Reads words that are missing, of entries of this many bytes; tells whether some are missing still. The writer does it.
    pub(crate) fn read_words(&self, bytes_max: usize) -> bool {
        let published = self.published.load();
        if !published.snapshot.lacks_words() {
            return false;
        }
        let mut snapshot = published.snapshot.clone();
        snapshot.read_words(bytes_max);
        let lacks_words = snapshot.lacks_words();
        // It is the same state: nobody is to be woken.
        let (rings, generation) = (published.rings.clone(), published.generation);
        self.published.store(Arc::new(Published { snapshot, rings, generation }));
        lacks_words
    }

    /// A copy to work on; costs a few pointers. There is one writer.
    pub(crate) fn draft(&self) -> Draft<'_> {
        let published = self.published.load();
        let snapshot = published.snapshot.clone();
        Draft { memory: self, snapshot, batches: Vec::new(), is_replaced: false, is_reopened: false }
    }

    /// Shows a draft to readers. Those whom it concerns are woken by [`Memory::wake`]: of many who watch that takes longer
    /// than all the rest, and whoever waits for an answer need not wait for it.
    #[must_use]
    pub(crate) fn publish(&self, draft: Draft<'_>) -> News {
        let Draft { snapshot, mut batches, is_replaced, is_reopened, .. } = draft;
        let revision = snapshot.revision();
        let (mut rings, mut generation) = {
            let published = self.published.load();
            (published.rings.clone(), published.generation)
        };
        if is_replaced {
            generation += 1;
            for ring in &mut rings {
                *ring = Arc::new(Ring::new(revision, RING_LIMITS));
            }
        }
        if is_replaced || is_reopened {
            count_all(&self.volumes, &snapshot, &*self.catalog);
        } else {
            batches.iter().for_each(|(ring, batch)| count(self.volumes.get(*ring), batch));
        }
        batches.sort_by_key(|(ring, batch)| (*ring, batch.revision));
        let now = Instant::now();
        let mut rounds = Vec::new();
        for (number, batch) in &batches {
            if let Some(ring) = rings.get_mut(*number)
                && Arc::make_mut(ring).push(Arc::clone(batch), now)
            {
                rounds.push(*number);
            }
        }
        if self.budget.is_overdrawn() {
            self.drop_unused_forms();
            if self.budget.is_overdrawn() {
                self.shorten(&mut rings);
            }
        }
        let before = self.published.swap(Arc::new(Published { snapshot, rings, generation }));
        self.progress.send_replace(revision);
        News { batches, rounds, is_replaced, _before: before }
    }

    /// Wakes those whom what was published concerns.
    pub(crate) fn wake(&self, news: News) {
        let News { batches, rounds, is_replaced, .. } = news;
        if is_replaced {
            self.signals.iter().for_each(Signal::wake_all);
        }
        for same_ring in batches.chunk_by(|a, b| a.0 == b.0) {
            let Some(signal) = same_ring.first().and_then(|(ring, _)| self.signals.get(*ring)) else { continue };
            signal.wake(same_ring.iter().map(|(_, batch)| &**batch));
        }
        for signal in rounds.iter().filter_map(|ring| self.signals.get(*ring)) {
            signal.wake_all();
        }
    }

    /// Step one: forms that nobody asked for since the last time.
    fn drop_unused_forms(&self) {
        let snapshot = self.snapshot();
        let dropped: u64 = snapshot.range("", None).map(|(_, entry)| entry.drop_unused_forms()).sum();
        self.budget.counters.forms_dropped.fetch_add(dropped, Ordering::Relaxed);
        tracing::info!(dropped, form_bytes = self.budget.forms(), "forms dropped to make room");
    }

    /// Step two: the older half of the ring that holds most.
    fn shorten(&self, rings: &mut [Arc<Ring>]) {
        let Some((number, longest)) = rings.iter_mut().enumerate().max_by_key(|(_, ring)| ring.bytes()) else { return };
        if Arc::make_mut(longest).shorten() {
            self.budget.counters.histories_shortened.fetch_add(1, Ordering::Relaxed);
            let ring = self.catalog.ring_name(number);
            tracing::warn!(ring, "history shortened to make room, slow watchers start again");
        }
    }

    /// Ends subscriptions once they have read what is there.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.progress.send_modify(|_| ());
        self.signals.iter().for_each(Signal::wake_all);
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Waits until [`Memory::close`] was called.
    pub(crate) async fn closed(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.progress.subscribe().wait_for(|_| self.is_closed()).await;
    }

    /// Waits until memory is at the revision or closed; tells which.
    #[cfg(feature = "etcd")]
    pub(crate) async fn reached(&self, revision: u64) -> Result<(), crate::ReadError> {
        let mut progress = self.progress.subscribe();
        let waited = progress.wait_for(|reached| self.is_closed() || *reached >= revision).await;
        match waited {
            Ok(reached) if *reached >= revision => Ok(()),
            _ => Err(crate::ReadError::Closed),
        }
    }

    /// A cursor after this revision.
    pub(crate) fn subscribe(self: &Arc<Self>, interest: Interest<'_>, after: u64) -> Result<Cursor, SubscribeError> {
        let ring = self.catalog.ring(interest.prefix);
        let published = self.published.load();
        let oldest = published.rings.get(ring).map_or(0, |ring| ring.floor());
        let revision = published.snapshot.revision();
        if after > revision {
            return Err(SubscribeError::Ahead { after, revision });
        }
        if after < oldest {
            return Err(SubscribeError::Expired { after, oldest });
        }
        let number = self.signals.get(ring).map_or(0, Signal::number);
        let (prefix, term) = (interest.prefix.into(), interest.term);
        if let Some(signal) = self.signals.get(ring) {
            signal.join(term);
        }
        let generation = published.generation;
        Ok(Cursor { memory: self.clone(), ring, number, prefix, term, position: after, generation })
    }

    pub(crate) fn volume(&self, prefix: &str) -> Volume {
        let ring = self.catalog.ring(prefix);
        let (entries, bytes) = self.volumes.get(ring).map(Kept::read).unwrap_or_default();
        Volume { entries, bytes, followers: self.signals.get(ring).map_or(0, Signal::concerned) }
    }

    pub(crate) fn stats(&self) -> Stats {
        let published = self.published.load();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.budget.counters;
        let ring = |(number, (ring, signal)): (usize, (&Arc<Ring>, &Signal))| RingStats {
            name: self.catalog.ring_name(number).to_owned(),
            commits: ring.len(),
            bytes: ring.bytes(),
            waiting: signal.len(),
        };
        let rings = published.rings.iter().zip(&self.signals).enumerate().map(ring);
        Stats {
            entries: published.snapshot.len(),
            live_bytes: published.snapshot.bytes(),
            body_bytes: self.budget.bodies(),
            form_bytes: self.budget.forms(),
            limit_bytes: self.budget.limit(),
            forms_made: count(&counters.forms_made),
            forms_not_kept: count(&counters.forms_not_kept),
            forms_dropped: count(&counters.forms_dropped),
            histories_shortened: count(&counters.histories_shortened),
            writes_refused: count(&counters.writes_refused),
            rings: rings.filter(|ring| ring.commits > 0 || ring.waiting > 0).collect(),
        }
    }
}

/// What was published and is not told yet.
pub(crate) struct News {
    batches: Vec<(usize, Arc<EventBatch>)>,
    rounds: Vec<usize>,
    is_replaced: bool,
    /// The state before it. Letting go of it frees what nobody else holds, which can wait too.
    _before: Arc<Published>,
}

/// The next state in the making. Nobody sees it before it is published; dropping it is an undo.
pub(crate) struct Draft<'a> {
    memory: &'a Memory,
    snapshot: Snapshot,
    /// What happened, with the ring that it belongs to.
    batches: Vec<(usize, Arc<EventBatch>)>,
    is_replaced: bool,
    is_reopened: bool,
}

impl Draft<'_> {
    pub(crate) fn revision(&self) -> u64 {
        self.snapshot.revision()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.snapshot.get(key)
    }

    /// Bytes of all entries.
    pub(crate) fn bytes(&self) -> usize {
        self.snapshot.bytes()
    }

    /// Takes over the changes of one commit. The revision is greater than all before it; a delete of an absent key
    /// changes nothing and makes no event.
    pub(crate) fn advance(&mut self, revision: u64, changes: Vec<(Key, Option<Entry>)>) {
        let first = self.batches.len();
        for (key, current) in changes {
            let (previous, terms) = self.snapshot.put(&key, current.as_ref());
            if current.is_none() && previous.is_none() {
                continue;
            }
            let ring = self.memory.catalog.ring(&key);
            let event = Arc::new(Event::new(key, current, previous, revision, terms, &self.memory.budget));
            let of_this = self.batches.get_mut(first..).unwrap_or_default();
            // Nobody else holds a batch of a draft yet.
            match of_this.iter_mut().find(|(held, _)| *held == ring).map(|(_, batch)| Arc::get_mut(batch)) {
                Some(Some(batch)) => batch.events.push(event),
                _ => self.batches.push((ring, Arc::new(EventBatch { revision, events: vec![event] }))),
            }
        }
        self.snapshot.set_revision(revision);
    }

    /// Puts an entry in its own place that could not be opened before: nothing happened to it.
    pub(crate) fn reopen(&mut self, key: &Key, entry: &Entry) {
        self.snapshot.put(key, Some(entry));
        self.is_reopened = true;
    }

    /// Starts again from a full list: what happened in between is not known, so subscriptions lag.
    #[cfg(feature = "etcd")]
    pub(crate) fn replace(&mut self, revision: u64, entries: OrdMap<Key, Entry>) {
        self.snapshot = Snapshot::of(revision, entries);
        self.batches.clear();
        self.is_replaced = true;
    }
}

/// A subscription: a place in a ring and a wish to be woken.
pub(crate) struct Cursor {
    memory: Arc<Memory>,
    ring: usize,
    number: u64,
    prefix: Box<str>,
    term: Option<Term>,
    position: u64,
    generation: u64,
}

impl Cursor {
    /// The next batch that is there already. Moves the cursor past what is of no interest.
    fn advance(&mut self) -> Result<Option<Arc<EventBatch>>, SubscriptionError> {
        let published = self.memory.published.load();
        let Some(ring) = published.rings.get(self.ring) else { return Err(SubscriptionError::Closed) };
        if self.position < ring.floor() || self.generation != published.generation {
            return Err(SubscriptionError::Lagged { after: self.position, oldest: ring.floor() });
        }
        if ring.has_after(self.position) {
            for batch in ring.after(self.position) {
                self.position = batch.revision;
                if let Some(batch) = self.of_interest(batch) {
                    return Ok(Some(batch));
                }
            }
        }
        self.position = published.snapshot.revision();
        Ok(None)
    }

    /// The part of a batch that is of interest; the batch itself when that is all of it.
    fn of_interest(&self, batch: &Arc<EventBatch>) -> Option<Arc<EventBatch>> {
        let is_meant = |event: &&Arc<Event>| {
            event.key.starts_with(&*self.prefix) && self.term.is_none_or(|term| event.terms.contains(&term))
        };
        let matching = batch.events.iter().filter(is_meant).count();
        if matching == 0 {
            return None;
        }
        if matching == batch.events.len() {
            return Some(batch.clone());
        }
        let events = batch.events.iter().filter(is_meant).cloned().collect();
        Some(Arc::new(EventBatch { revision: batch.revision, events }))
    }

    fn wait(&self, waker: &Waker) {
        if let Some(signal) = self.memory.signals.get(self.ring) {
            signal.wait(self.term, self.number, waker);
        }
    }
}

impl Subscription for Cursor {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<EventBatch>, SubscriptionError>> {
        if let Some(batch) = self.advance()? {
            return Poll::Ready(Ok(batch));
        }
        let is_closed = self.memory.is_closed();
        self.wait(context.waker());
        // Once more, for what was published before the wish to be woken was known.
        match self.advance()? {
            Some(batch) => Poll::Ready(Ok(batch)),
            None if is_closed || self.memory.is_closed() => Poll::Ready(Err(SubscriptionError::Closed)),
            None => Poll::Pending,
        }
    }

    fn try_next(&mut self) -> Result<Option<Arc<EventBatch>>, SubscriptionError> {
        self.advance()
    }

    fn position(&self) -> u64 {
        self.position
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(signal) = self.memory.signals.get(self.ring) {
            signal.leave(self.term, self.number);
            signal.part(self.term);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::Opaque;

    fn publish(memory: &Memory, revision: u64, keys: &[&str], bytes: usize) {
        let mut draft = memory.draft();
        let entry = |key: &str| memory.entry(key, revision, revision, Bytes::from(vec![0; bytes]));
        let changes = keys.iter().map(|key| (Key::from(*key), Some(entry(key)))).collect();
        draft.advance(revision, changes);
        memory.wake(memory.publish(draft));
    }

    async fn next(cursor: &mut Cursor) -> Result<Arc<EventBatch>, SubscriptionError> {
        std::future::poll_fn(|context| cursor.poll_next(context)).await
    }

    fn memory(commits_max: usize, bytes_max: usize) -> Arc<Memory> {
        let limits = RingLimits { commits_max, bytes_max, age_max: Duration::MAX };
        Memory::new(Snapshot::empty(1), limits, Arc::new(Opaque), Arc::new(Budget::new(0)))
    }

    #[test]
    fn history_is_bounded_by_commits() {
        let memory = memory(3, usize::MAX);
        for revision in 2..=6 {
            publish(&memory, revision, &["/a"], 0);
        }
        let check = |after: u64, expected: Result<u64, &str>| {
            let result = memory
                .subscribe("/".into(), after)
                .map(|mut cursor| cursor.advance().unwrap().map_or(0, |b| b.revision));
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
        let ring = &published.rings[0];
        assert!(ring.bytes() <= 3000);
        // A commit holds the value before it, and some overhead: so two fit.
        assert_eq!((ring.len(), ring.floor()), (2, 7));
    }

    #[test]
    fn a_slow_cursor_is_told() {
        let memory = memory(2, usize::MAX);
        let mut slow = memory.subscribe("/".into(), 1).unwrap();
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
        let mut cursor = memory.subscribe("/a/".into(), 1).unwrap();
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
        let mut cursor = memory.subscribe("/".into(), 1).unwrap();
        let mut draft = memory.draft();
        draft.advance(2, vec![("/a".into(), None)]);
        draft.advance(3, vec![("/a".into(), Some(memory.entry("/a", 3, 3, Bytes::new()))), ("/b".into(), None)]);
        memory.wake(memory.publish(draft));
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
        let mut cursor = memory.subscribe("/".into(), 1).unwrap();
        publish(&memory, 2, &["/a"], 0);
        memory.close();
        assert_eq!(next(&mut cursor).await.unwrap().revision, 2);
        assert_eq!(next(&mut cursor).await, Err(SubscriptionError::Closed));
    }

    /// A catalog whose values are labels: a letter and its value, each one byte; and whose rings are by the first letter.
    struct Letters;

    impl Catalog for Letters {
        fn rings(&self) -> usize {
            2
        }

        fn ring(&self, key: &str) -> usize {
            usize::from(key.starts_with("/b"))
        }

        fn ring_name(&self, _ring: usize) -> &str {
            "letters"
        }

        fn index(&self, _key: &str, value: &[u8]) -> crate::Index {
            let mut builder = crate::IndexBuilder::default();
            if value.len() == 2 {
                builder.label(crate::Text::In(0..1), crate::Text::In(1..2));
            }
            builder.finish()
        }
    }

    fn letters(limits: RingLimits, budget: usize) -> Arc<Memory> {
        Memory::new(Snapshot::empty(1), limits, Arc::new(Letters), Arc::new(Budget::new(budget)))
    }

    fn put(memory: &Memory, revision: u64, key: &str, value: impl Into<Bytes>) {
        let mut draft = memory.draft();
        let entry = memory.entry(key, revision, revision, value.into());
        draft.advance(revision, vec![(key.into(), Some(entry))]);
        memory.wake(memory.publish(draft));
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One who follows a word is woken by events that have or had it, and by no other; but often enough to keep its place.
    #[test]
    fn only_those_are_woken_whom_it_concerns() {
        let limits = RingLimits { commits_max: 8, bytes_max: usize::MAX, age_max: Duration::MAX };
        let memory = letters(limits, 0);
        let interest = Interest { prefix: "/a/", term: Some(Term::label("n", "1")) };
        let mut cursor = memory.subscribe(interest, 1).unwrap();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut check = |revision: u64, key: &str, value: &'static str, wakes: usize, seen: bool| {
            assert!(cursor.poll_next(&mut context).is_pending());
            let before = woken.0.load(Ordering::Relaxed);
            put(&memory, revision, key, value);
            assert_eq!(woken.0.load(Ordering::Relaxed) - before, wakes, "{revision} {key} {value}");
            assert_eq!(cursor.try_next().unwrap().is_some(), seen, "{revision} {key} {value}");
        };
        check(2, "/a/x", "n2", 0, false);
        check(3, "/a/x", "n1", 1, true);
        check(4, "/a/x", "n2", 1, true);
        check(5, "/b/x", "n1", 0, false);
        check(6, "/a/y", "n3", 0, false);
        for revision in 7..60 {
            // The place of one who has nothing to read is not lost, however much passes by.
            let _ = cursor.poll_next(&mut context).map(Result::unwrap);
            put(&memory, revision, "/a/y", "n3");
        }
        assert!(cursor.poll_next(&mut context).is_pending());
    }

    #[test]
    fn a_busy_ring_does_not_shorten_another() {
        let limits = RingLimits { commits_max: 3, bytes_max: usize::MAX, age_max: Duration::MAX };
        let memory = letters(limits, 0);
        for revision in 2..20 {
            put(&memory, revision, "/b/x", "n1");
        }
        assert!(memory.subscribe("/b/".into(), 1).is_err());
        let mut quiet = memory.subscribe("/a/".into(), 1).unwrap();
        assert_eq!(quiet.try_next().unwrap(), None);
        assert_eq!(quiet.position(), 19);
    }

    /// The steps of the budget, in their order: forms go first, then history.
    #[test]
    fn an_overdrawn_budget_drops_forms_and_then_history() {
        const MIB: usize = 1 << 20;
        let limits = RingLimits { commits_max: 1000, bytes_max: usize::MAX, age_max: Duration::MAX };
        let memory = letters(limits, 32 * MIB);
        let form = |key: &str, bytes: usize| {
            let snapshot = memory.snapshot();
            let made = snapshot.get(key).unwrap().form(1, || Ok::<_, ()>(vec![0; bytes].into()));
            assert_eq!(made.unwrap().len(), bytes);
        };
        put(&memory, 2, "/a/x", vec![0; 8 * MIB]);
        form("/a/x", 20 * MIB);
        assert_eq!((memory.stats().form_bytes, memory.stats().forms_made), (20 * MIB, 1));
        form("/a/x", 20 * MIB);
        assert_eq!(memory.stats().forms_made, 1, "it is kept");
        // No room: made for this reader alone; what was not used since then goes.
        put(&memory, 3, "/a/y", vec![0; 2]);
        for _ in 0..2 {
            form("/a/y", 6 * MIB);
        }
        let stats = memory.stats();
        assert_eq!((stats.forms_not_kept, stats.forms_dropped, stats.form_bytes), (2, 1, 0));
        form("/a/y", 6 * MIB);
        assert_eq!(memory.stats().form_bytes, 6 * MIB);
        // The state is replaced again and again: history holds what was, until it is shortened.
        let mut slow = memory.subscribe("/a/".into(), 3).unwrap();
        for revision in 4..12 {
            put(&memory, revision, "/a/x", vec![0; 8 * MIB]);
        }
        let stats = memory.stats();
        assert!(stats.histories_shortened > 0 && stats.form_bytes == 0, "{stats:?}");
        assert!(stats.body_bytes <= stats.limit_bytes + 8 * MIB, "{stats:?}");
        assert!(matches!(slow.try_next(), Err(SubscriptionError::Lagged { .. })));
        drop(slow);
        assert_eq!(memory.snapshot().len(), 2);
    }

    /// What nobody holds any more is no longer charged.
    #[test]
    fn everything_charged_is_released() {
        let budget = Arc::new(Budget::new(0));
        let limits = RingLimits { commits_max: 2, bytes_max: usize::MAX, age_max: Duration::MAX };
        let memory = Memory::new(Snapshot::empty(1), limits, Arc::new(Letters), Arc::clone(&budget));
        for revision in 2..10 {
            put(&memory, revision, "/a/x", vec![0; 1000]);
            let snapshot = memory.snapshot();
            let made = snapshot.get("/a/x").unwrap().form(3, || Ok::<_, ()>(Bytes::from_static(b"form")));
            made.unwrap();
        }
        let mut cursor = memory.subscribe("/a/".into(), 8).unwrap();
        let batch = cursor.try_next().unwrap().unwrap();
        let of_event = batch.events.first().unwrap().form(1, || Ok::<_, ()>(Bytes::from_static(b"frame")));
        assert_eq!(&of_event.unwrap()[..], b"frame");
        assert!(budget.forms() > 5 && budget.bodies() > 3000);
        drop((cursor, batch, memory));
        assert_eq!((budget.bodies(), budget.forms()), (0, 0));
    }
}
