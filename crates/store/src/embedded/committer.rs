//! The one thread that decides: it takes what is queued, checks it, makes it durable, shows it, answers.
//!
//! No answer leaves before the batch is durable, refusals included: what a commit was refused for may be a commit of
//! the same batch. While one batch is synced the next one gathers, so the more writers there are, the more share a
//! sync.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    BATCH_BYTES_MAX, BATCH_COMMITS_MAX, EXPIRED_AGAIN, FailureHook, FreezeError, Frozen,
    clock::{Clock, Deadlines},
    journal::{Journal, JournalError, Rows, Slice},
    load::Unopened,
    row::Row,
    verify::{Compared, Known, Step},
};
use crate::{
    Catalog, Change, Commit, CommitError, Committed, Entry, Index, Key, Opened, ReadError, Sealing,
    memory::{Draft, Memory},
};

/// Where the outcome goes.
pub(super) type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// A commit and the place it takes in the queue.
pub(super) struct Queued {
    pub(super) commit: Commit,
    /// What the value of each operation says about itself.
    pub(super) indexes: Vec<Index>,
    pub(super) answer: Answer,
    pub(super) _room: OwnedSemaphorePermit,
}

/// What the committer is told.
pub(super) enum Message {
    /// Make this happen.
    Commit(Queued),
    /// Look what time it is. Whoever is named wants to know when nothing more is to be done.
    Tick(Option<oneshot::Sender<()>>),
    /// Open what could not be opened when it came into memory; say what of it cannot be opened still.
    Reopen(Vec<Unopened>, oneshot::Sender<Vec<Unopened>>),
    /// Seal anew, among the next rows after this one.
    Reseal(i64, oneshot::Sender<Result<Slice, ReadError>>),
    /// Compare some rows with memory.
    Verify(Step, oneshot::Sender<Result<Compared, ReadError>>),
    /// Let the file be as it is for as long as somebody reads it.
    Freeze(oneshot::Sender<Result<Frozen, FreezeError>>),
    /// Take nothing more, finish what is queued, and end.
    Close,
}

/// The committer's own state; it lives in its thread.
pub(super) struct Committer<J> {
    pub(super) memory: Arc<Memory>,
    pub(super) sealing: Arc<dyn Sealing>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deadlines: Deadlines,
    /// How many entries are removed in one commit: one, after that has failed for more.
    pub(super) expired_at_once: usize,
    pub(super) journal: J,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) on_failure: FailureHook,
}

/// What was taken from the queue at once.
#[derive(Default)]
struct Batch {
    commits: Vec<Queued>,
    /// What is done after them.
    others: Vec<Message>,
}

/// Whether the thread goes on.
#[derive(PartialEq)]
enum Next {
    Continue,
    /// There is something to do, though nobody may ask for anything.
    Proceed,
    End,
}

/// What goes into a batch beside commits.
struct Now {
    wall: Duration,
    elapsed: Duration,
}

impl<J: Journal> Committer<J> {
    /// Works until it is closed, nobody can send any more, or durability is lost.
    pub(super) fn run(mut self) {
        let mut next = Next::Continue;
        let mut waiting = Vec::new();
        while next != Next::End {
            let first = match next {
                Next::Proceed => self.queue.try_recv().or_else(|error| match error {
                    mpsc::error::TryRecvError::Empty => Ok(Message::Tick(None)),
                    mpsc::error::TryRecvError::Disconnected => Err(error),
                }),
                _ => self.queue.blocking_recv().ok_or(mpsc::error::TryRecvError::Disconnected),
            };
            let Ok(first) = first else { break };
            let batch = self.gather(first);
            next = self.settle(batch, &mut waiting);
            if next == Next::Continue {
                // One who went away does not need the answer.
                for waiting in waiting.drain(..) {
                    let _: Result<(), ()> = oneshot::Sender::send(waiting, ());
                }
            }
        }
        self.end();
    }

    /// Everything that is queued, up to the limits of a batch. Closing stops the queue, not the batch.
    fn gather(&mut self, first: Message) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut message = Some(first);
        while let Some(taken) = message {
            match taken {
                Message::Close => self.queue.close(),
                // Nobody waits for the answer and nothing is begun: the caller's deadline has passed.
                Message::Commit(queued) if queued.answer.is_closed() => {}
                Message::Commit(queued) => {
                    bytes += queued.commit.bytes();
                    batch.commits.push(queued);
                }
                other => {
                    batch.others.push(other);
                    break;
                }
            }
            if batch.commits.len() >= BATCH_COMMITS_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            message = self.queue.try_recv().ok();
        }
        batch
    }

    /// Decides a batch, makes it durable, publishes it and answers; then does what else there is to do.
    fn settle(&mut self, batch: Batch, waiting: &mut Vec<oneshot::Sender<()>>) -> Next {
        let Batch { commits, others } = batch;
        let is_idle = commits.is_empty();
        let is_full = match self.write(commits) {
            Ok(()) => false,
            Err(JournalError::Full(_) | JournalError::Unreadable(_)) => true,
            Err(JournalError::Lost(_)) => return Next::End,
        };
        for message in others {
            match message {
                Message::Tick(asked) => waiting.extend(asked),
                Message::Reopen(keys, answer) => drop(answer.send(self.reopen(keys))),
                Message::Reseal(after, answer) => {
                    let resealed = self.journal.reseal(after);
                    if self.tell(resealed, answer) == Next::End {
                        return Next::End;
                    }
                }
                Message::Verify(step, answer) => {
                    let snapshot = self.memory.snapshot();
                    let known = Known { snapshot, clock: &*self.clock, deadlines: &self.deadlines };
                    let compared = self.journal.verify(step, &known);
                    if self.tell(compared, answer) == Next::End {
                        return Next::End;
                    }
                }
                Message::Freeze(answer) => match self.journal.freeze() {
                    Ok(frozen) => drop(answer.send(frozen)),
                    Err(full @ (JournalError::Full(_) | JournalError::Unreadable(_))) => {
                        drop(answer.send(Err(FreezeError::Failed { source: full.into() })));
                    }
                    Err(lost @ JournalError::Lost(_)) => {
                        (self.on_failure)(&lost.to_string());
                        return Next::End;
                    }
                },
                Message::Commit(_) | Message::Close => {}
            }
        }
        let is_due = self.deadlines.is_due(self.clock.elapsed());
        match self.tidy(is_idle) {
            // A full disk is tried again with the next commit or tick.
            Next::Continue if is_due && !is_full => Next::Proceed,
            Next::Proceed if is_full => Next::Continue,
            next => next,
        }
    }

    /// Decides commits, makes them durable, publishes and answers. What is due goes with them.
    fn write(&mut self, batch: Vec<Queued>) -> Result<(), JournalError> {
        let now = Now { wall: self.clock.wall(), elapsed: self.clock.elapsed() };
        let mut draft = self.memory.draft();
        let mut rows = Rows::new();
        let before = draft.revision();
        let expired = self.deadlines.due(now.elapsed, self.expired_at_once);
        remove(&mut draft, &mut rows, &expired);
        let mut outcomes = Vec::with_capacity(batch.len());
        for Queued { commit, indexes, answer, _room } in batch {
            let outcome = apply(&mut draft, &mut rows, commit, indexes, &self.memory, &*self.sealing, now.wall);
            outcomes.push((answer, outcome, _room));
        }
        let mut news = None;
        // Commits that change nothing need no sync: what they saw is durable.
        if draft.revision() > before {
            match self.journal.write(&rows, draft.revision()) {
                Ok(()) => news = Some(self.memory.publish(draft)),
                Err(JournalError::Full(full)) => {
                    tracing::error!(error = %full, "no room to write, commits are refused");
                    let full = Arc::new(full);
                    for (answer, ..) in outcomes {
                        let _ = answer.send(Err(CommitError::StorageFull { source: Box::new(full.clone()) }));
                    }
                    return Err(JournalError::Full(rusqlite::Error::QueryReturnedNoRows));
                }
                Err(JournalError::Unreadable(error)) => {
                    tracing::error!(%error, "a page of the store cannot be read, commits are refused");
                    let error = Arc::new(JournalError::Unreadable(error));
                    for (answer, ..) in outcomes {
                        let _ = answer.send(Err(CommitError::Rejected { source: Box::new(error.clone()) }));
                    }
                    // If it is what is due that cannot be read, it must not be in every commit's way.
                    self.expired_at_once = 1;
                    for key in &expired {
                        self.deadlines.set(key, Some(now.elapsed + EXPIRED_AGAIN));
                    }
                    return Err(JournalError::Unreadable(rusqlite::Error::QueryReturnedNoRows));
                }
                Err(lost @ JournalError::Lost(_)) => {
                    (self.on_failure)(&lost.to_string());
                    let lost = Arc::new(lost);
                    for (answer, ..) in outcomes {
                        let _ = answer.send(Err(CommitError::OutcomeUnknown { source: Box::new(lost.clone()) }));
                    }
                    return Err(JournalError::Lost(lost.into()));
                }
            }
        }
        for (answer, outcome, _room) in outcomes {
            // A caller that went away does not need the answer.
            let _ = answer.send(outcome);
        }
        if let Some(news) = news {
            self.memory.wake(news);
        }
        for key in &expired {
            self.deadlines.set(key, None);
        }
        for (key, row) in &rows {
            let expires = row.as_ref().and_then(|row| row.expires);
            let left = expires.map(|expires| Duration::from_secs(expires).saturating_sub(now.wall));
            self.deadlines.set(key, left.map(|left| now.elapsed + left));
        }
        Ok(())
    }

    /// Opens what could not be opened before, if it is still there. Nobody is told: nobody could have read it.
    fn reopen(&self, sealed: Vec<Unopened>) -> Vec<Unopened> {
        let mut draft = self.memory.draft();
        let (mut unopened, mut opened) = (Vec::new(), 0usize);
        for one in sealed {
            let Unopened { key, version, epoch } = &one;
            let Some(entry) = draft.get(key).filter(|held| held.version == *version && held.index.is_unreadable())
            else {
                continue;
            };
            let Ok(Opened { mut plain, .. }) = self.sealing.open(key, &entry.value) else {
                unopened.push(one);
                continue;
            };
            let catalog = self.memory.catalog();
            if *epoch != catalog.epoch(key) {
                plain = catalog.renew(key, &plain, *epoch).unwrap_or(plain);
            }
            let entry = self.memory.entry(key, *version, entry.create_revision, plain);
            draft.reopen(key, &entry);
            opened += 1;
        }
        if opened > 0 {
            self.memory.wake(self.memory.publish(draft));
        }
        unopened
    }

    /// Answers who asked for something to be done to the file.
    fn tell<T>(&mut self, done: Result<T, JournalError>, answer: oneshot::Sender<Result<T, ReadError>>) -> Next {
        let done = match done {
            Err(lost @ JournalError::Lost(_)) => {
                (self.on_failure)(&lost.to_string());
                return Next::End;
            }
            done => done.map_err(|full| ReadError::Unreachable { source: full.into() }),
        };
        // Who asked may have gone.
        drop(answer.send(done));
        Next::Continue
    }

    fn tidy(&mut self, is_idle: bool) -> Next {
        match self.journal.tidy(is_idle) {
            Ok(true) if is_idle => Next::Proceed,
            Ok(_) => Next::Continue,
            Err(full @ JournalError::Full(_)) => {
                tracing::error!(error = %full, "no room to move the WAL into the database");
                Next::Continue
            }
            Err(JournalError::Unreadable(error)) => {
                tracing::error!(%error, "a page of the store cannot be read, the file is not kept small any more");
                Next::Continue
            }
            Err(lost @ JournalError::Lost(_)) => {
                (self.on_failure)(&lost.to_string());
                Next::End
            }
        }
    }

    /// Answers what is still queued, lets go of the file and its lock, and then says so.
    fn end(self) {
        let Committer { memory, journal, mut queue, .. } = self;
        queue.close();
        // Until there is nothing, not until it is empty: a sender that has its place may not have put anything there yet.
        while let Some(message) = queue.blocking_recv() {
            if let Message::Commit(queued) = message {
                let _ = queued.answer.send(Err(CommitError::Closed));
            }
        }
        drop(journal);
        memory.close();
    }
}

/// Removes what has expired, as one commit.
fn remove(draft: &mut Draft<'_>, rows: &mut Rows, expired: &[Key]) {
    let gone: Vec<&Key> = expired.iter().filter(|key| draft.get(key).is_some()).collect();
    let Some(revision) = draft.revision().checked_add(1).filter(|_| !gone.is_empty()) else { return };
    rows.extend(gone.iter().map(|key| (Key::clone(key), None)));
    draft.advance(revision, gone.into_iter().map(|key| (key.clone(), None)).collect());
}

/// When what is written now expires, in seconds since 1970.
fn expiry(catalog: &dyn Catalog, key: &str, wall: Duration) -> Option<u64> {
    catalog.lifetime(key).map(|lifetime| (wall + lifetime).as_secs())
}

/// Checks a commit against the newest state and applies it there. Rows gather what must become durable.
fn apply(
    draft: &mut Draft<'_>,
    rows: &mut Rows,
    commit: Commit,
    indexes: Vec<Index>,
    memory: &Memory,
    sealing: &dyn Sealing,
    wall: Duration,
) -> Result<Committed, CommitError> {
    let (catalog, budget) = (&**memory.catalog(), memory.budget());
    let mut grown = 0usize;
    for operation in &commit.operations {
        let current = draft.get(&operation.key);
        if !operation.condition.holds(current) {
            return Err(CommitError::Conflict { key: operation.key.clone(), current: current.cloned() });
        }
        if let Change::Put(value) = &operation.change {
            grown += value.len().saturating_sub(current.map_or(0, |entry| entry.value.len()));
        }
    }
    // Step three of the budget: the state itself is too large for what may be held. What does not grow it may pass.
    if grown > 0 && draft.bytes() + grown > budget.limit() {
        budget.counters.writes_refused.fetch_add(1, Ordering::Relaxed);
        return Err(CommitError::MemoryFull { limit: budget.limit() });
    }
    let Some(revision) = draft.revision().checked_add(1) else {
        return Err(CommitError::Rejected { source: io::Error::other("no revisions are left").into() });
    };
    let mut changes = Vec::with_capacity(commit.operations.len());
    for (operation, index) in commit.operations.into_iter().zip(indexes) {
        let current = draft.get(&operation.key);
        match operation.change {
            Change::Put(value) => {
                let create_revision = current.map_or(revision, |entry| entry.create_revision);
                let kept = sealing.seal(&operation.key, &value).map_err(|source| CommitError::Rejected { source })?;
                let entry = Entry::new(revision, create_revision, value, index, budget);
                let expires = expiry(catalog, &operation.key, wall);
                changes.push((operation.key, Some(Row { entry, kept, expires })));
            }
            Change::Delete if current.is_some() => changes.push((operation.key, None)),
            Change::Delete | Change::Check => {}
        }
    }
    if changes.is_empty() {
        return Ok(Committed { revision: draft.revision() });
    }
    let entry = |(key, row): &(Key, Option<Row>)| (key.clone(), row.as_ref().map(|row| row.entry.clone()));
    draft.advance(revision, changes.iter().map(entry).collect());
    rows.extend(changes);
    Ok(Committed { revision })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        collections::VecDeque,
        future::Future,
        pin::Pin,
        sync::{Mutex, mpsc as channel},
        task::{Context, Waker},
    };

    use bytes::Bytes;

    use super::*;
    use crate::{
        Budget, Engine, Opaque, Operation, Snapshot, SubscriptionError,
        budget::LIMIT_BYTES_DEFAULT,
        embedded::{Embedded, Options, QUEUE_BYTES_MAX, QUEUE_COMMITS_MAX, VALUE_BYTES_MAX},
        engine::BoxFuture,
        memory::RING_LIMITS,
    };

    type Outcome = BoxFuture<'static, Result<Committed, CommitError>>;

    /// A journal that a test holds in its hands: each write is announced, and waits for its result.
    struct Held {
        begun: channel::Sender<Vec<String>>,
        results: channel::Receiver<Result<(), JournalError>>,
    }

    impl Journal for Held {
        fn write(&mut self, rows: &Rows, _revision: u64) -> Result<(), JournalError> {
            self.begun.send(rows.keys().map(|key| key.to_string()).collect()).unwrap();
            self.results.recv().unwrap()
        }

        fn tidy(&mut self, _is_idle: bool) -> Result<bool, JournalError> {
            Ok(false)
        }

        fn reseal(&mut self, _after: i64) -> Result<Slice, JournalError> {
            Ok(Slice::default())
        }

        fn freeze(&mut self) -> Result<Result<Frozen, FreezeError>, JournalError> {
            Ok(Err(FreezeError::Busy))
        }

        fn verify(&mut self, _step: Step, _known: &Known<'_>) -> Result<Compared, JournalError> {
            Ok(Compared::default())
        }
    }

    struct Bench {
        // Dropped before the engine, which waits for its committer: so a failing test ends.
        results: channel::Sender<Result<(), JournalError>>,
        begun: channel::Receiver<Vec<String>>,
        engine: Arc<Embedded>,
        failures: Arc<Mutex<Vec<String>>>,
        pending: VecDeque<Outcome>,
    }

    impl Bench {
        fn new() -> Self {
            let (begun_sender, begun) = channel::channel();
            let (results, result_receiver) = channel::channel();
            let failures = Arc::new(Mutex::new(Vec::new()));
            let noted = failures.clone();
            let on_failure: FailureHook = Box::new(move |reason| noted.lock().unwrap().push(reason.to_string()));
            let options = Options { on_failure, ..Options::new("unused") };
            let budget = Arc::new(Budget::new(LIMIT_BYTES_DEFAULT));
            let memory = Memory::new(Snapshot::empty(1), RING_LIMITS, Arc::new(Opaque), budget);
            let journal = Held { begun: begun_sender, results: result_receiver };
            let engine = Arc::new(Embedded::start(options, memory, journal, Deadlines::default()).unwrap());
            Bench { results, begun, engine, failures, pending: VecDeque::new() }
        }

        /// Queues a commit now, from this thread; what it answers at once is given.
        fn queue(&mut self, operation: Operation) -> Option<Result<Committed, CommitError>> {
            let engine = self.engine.clone();
            let mut outcome: Outcome = Box::pin(async move { engine.commit(operation.into()).await });
            if let std::task::Poll::Ready(answer) = poll(&mut outcome) {
                return Some(answer);
            }
            self.pending.push_back(outcome);
            None
        }

        fn put(&mut self, name: &str) {
            let waits = self.queue(Operation::create(format!("/registry/{name}"), Bytes::new())).is_none();
            assert!(waits, "{name} was answered before it was durable");
        }

        /// The keys of the write that begins.
        fn begun(&self) -> Vec<String> {
            self.begun.recv().unwrap()
        }

        async fn answer(&mut self) -> Result<u64, CommitError> {
            self.pending.pop_front().unwrap().await.map(|committed| committed.revision)
        }

        fn names(&self) -> Vec<String> {
            self.engine.snapshot().range("/registry/", None).map(|(key, _)| key.to_string()).collect()
        }
    }

    fn poll(outcome: &mut Outcome) -> std::task::Poll<Result<Committed, CommitError>> {
        Pin::new(outcome).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn full() -> JournalError {
        JournalError::Full(rusqlite::Error::QueryReturnedNoRows)
    }

    #[tokio::test]
    async fn nothing_is_shown_before_it_is_durable_and_a_batch_shares_a_sync() {
        let mut bench = Bench::new();
        bench.put("a");
        assert_eq!(bench.begun(), ["/registry/a"]);
        for name in ["d", "b", "c"] {
            bench.put(name);
        }
        assert_eq!(bench.names(), [""; 0]);
        assert!(poll(&mut bench.pending[0]).is_pending(), "answered before it was durable");
        bench.results.send(Ok(())).unwrap();
        assert_eq!(bench.answer().await.unwrap(), 2);
        assert_eq!(bench.begun(), ["/registry/b", "/registry/c", "/registry/d"]);
        assert_eq!(bench.names(), ["/registry/a"]);
        bench.results.send(Ok(())).unwrap();
        for revision in [3, 4, 5] {
            assert_eq!(bench.answer().await.unwrap(), revision, "revisions are in the order of the queue");
        }
        assert_eq!(bench.names().len(), 4);
    }

    #[tokio::test]
    async fn a_refusal_waits_for_what_it_was_refused_for() {
        for (result, expected) in
            [(Ok(()), "key \"/registry/b\" is not as expected"), (Err(full()), "the store has no room left")]
        {
            let mut bench = Bench::new();
            bench.put("a");
            bench.begun();
            bench.put("b");
            bench.put("b");
            bench.results.send(Ok(())).unwrap();
            bench.answer().await.unwrap();
            assert_eq!(bench.begun(), ["/registry/b"]);
            assert!(poll(&mut bench.pending[1]).is_pending(), "refused for what is not durable");
            bench.results.send(result).unwrap();
            let _ = bench.answer().await;
            assert_eq!(bench.answer().await.unwrap_err().to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_full_disk_changes_nothing_and_the_store_goes_on() {
        let mut bench = Bench::new();
        bench.put("a");
        bench.begun();
        bench.results.send(Err(full())).unwrap();
        assert!(matches!(bench.answer().await, Err(CommitError::StorageFull { .. })));
        assert_eq!((bench.names().len(), bench.engine.snapshot().revision()), (0, 1));
        bench.put("a");
        bench.begun();
        bench.results.send(Ok(())).unwrap();
        assert_eq!(bench.answer().await.unwrap(), 2);
        assert!(bench.failures.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_failed_sync_ends_everything() {
        let mut bench = Bench::new();
        let mut events = bench.engine.subscribe("/registry/".into(), 1).await.unwrap();
        bench.put("a");
        bench.begun();
        bench.put("b");
        bench.results.send(Err(JournalError::Lost("fsync: input/output error".into()))).unwrap();
        assert!(matches!(bench.answer().await, Err(CommitError::OutcomeUnknown { .. })));
        assert!(matches!(bench.answer().await, Err(CommitError::Closed)), "nothing of it was begun");
        assert_eq!(*bench.failures.lock().unwrap(), ["durability is lost: fsync: input/output error"]);
        assert_eq!(events.next().await, Err(SubscriptionError::Closed));
        assert_eq!(bench.names(), [""; 0]);
        let refused = bench.queue(Operation::create("/registry/c", Bytes::new()));
        assert!(matches!(refused, Some(Err(CommitError::Closed))), "{refused:?}");
    }

    /// The queue takes so many commits, and so many bytes, beside those that are being written.
    #[tokio::test]
    async fn the_queue_is_bounded() {
        let check = async |value: Bytes, queued_max: usize| {
            let mut bench = Bench::new();
            bench.put("first");
            bench.begun();
            let mut put = |number: usize| bench.queue(Operation::create(format!("/registry/{number}"), value.clone()));
            for number in 0..queued_max {
                assert!(put(number).is_none(), "{number} of {queued_max} was not taken");
            }
            let refused = put(queued_max);
            assert!(matches!(refused, Some(Err(CommitError::QueueFull))), "{refused:?}");
            // At least as many results as batches.
            for _ in 0..=queued_max {
                bench.results.send(Ok(())).unwrap();
            }
            for _ in 0..=queued_max {
                bench.answer().await.unwrap();
            }
            // There is room again; with a result at hand the answer may come at once.
            bench.results.send(Ok(())).unwrap();
            match bench.queue(Operation::create("/registry/later", Bytes::new())) {
                Some(answer) => answer.map(|_| ()).unwrap(),
                None => bench.answer().await.map(|_| ()).unwrap(),
            }
        };
        check(Bytes::new(), QUEUE_COMMITS_MAX).await;
        // Keys count too, so one less than would fit by values alone.
        check(Bytes::from(vec![0; VALUE_BYTES_MAX]), QUEUE_BYTES_MAX / VALUE_BYTES_MAX - 1).await;
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let mut bench = Bench::new();
        bench.put("a");
        bench.begun();
        bench.put("abandoned");
        bench.put("b");
        drop(bench.pending.remove(1));
        bench.results.send(Ok(())).unwrap();
        bench.answer().await.unwrap();
        assert_eq!(bench.begun(), ["/registry/b"]);
        bench.results.send(Ok(())).unwrap();
        assert_eq!(bench.answer().await.unwrap(), 3);
    }

    /// Closing lets what is queued happen.
    #[tokio::test]
    async fn closing_drains_the_queue() {
        let mut bench = Bench::new();
        bench.put("a");
        bench.begun();
        bench.put("b");
        let mut close = bench.engine.close();
        assert!(Pin::new(&mut close).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        bench.results.send(Ok(())).unwrap();
        bench.results.send(Ok(())).unwrap();
        close.await;
        assert_eq!(bench.names(), ["/registry/a", "/registry/b"]);
    }
}
