//! The one thread that decides: it takes what is queued, checks it, makes it durable, shows it, answers.
//!
//! No answer leaves before the batch is durable, refusals included: what a commit was refused for may be a commit of
//! the same batch. While one batch is synced the next one gathers, so the more writers there are, the more share a
//! sync.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    BATCH_BYTES_MAX, BATCH_COMMITS_MAX, FailureHook,
    journal::{Journal, JournalError, Rows},
};
use crate::{
    Budget, Change, Commit, CommitError, Committed, Entry, Index,
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
    /// Take nothing more, finish what is queued, and end.
    Close,
}

/// The committer's own state; it lives in its thread.
pub(super) struct Committer<J> {
    memory: Arc<Memory>,
    journal: J,
    queue: mpsc::Receiver<Message>,
    on_failure: FailureHook,
}

/// Whether the thread goes on.
#[derive(PartialEq)]
enum Next {
    Continue,
    End,
}

impl<J: Journal> Committer<J> {
    pub(super) fn new(
        memory: Arc<Memory>,
        journal: J,
        queue: mpsc::Receiver<Message>,
        on_failure: FailureHook,
    ) -> Self {
        Committer { memory, journal, queue, on_failure }
    }

    /// Works until it is closed, nobody can send any more, or durability is lost.
    pub(super) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let batch = self.gather(first);
            if self.settle(batch) == Next::End {
                break;
            }
        }
        self.end();
    }

    /// Everything that is queued, up to the limits of a batch. Closing stops the queue, not the batch.
    fn gather(&mut self, first: Message) -> Vec<Queued> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut message = Some(first);
        while let Some(taken) = message {
            match taken {
                Message::Close => self.queue.close(),
                // Nobody waits for the answer and nothing is begun: the caller's deadline has passed.
                Message::Commit(queued) if queued.answer.is_closed() => {}
                Message::Commit(queued) => {
                    bytes += queued.commit.bytes();
                    batch.push(queued);
                }
            }
            if batch.len() >= BATCH_COMMITS_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            message = self.queue.try_recv().ok();
        }
        batch
    }

    /// Decides a batch, makes it durable, publishes it and answers.
    fn settle(&mut self, batch: Vec<Queued>) -> Next {
        let mut draft = self.memory.draft();
        let mut rows = Rows::new();
        let before = draft.revision();
        let mut outcomes = Vec::with_capacity(batch.len());
        for Queued { commit, indexes, answer, _room } in batch {
            outcomes.push((answer, apply(&mut draft, &mut rows, commit, indexes, self.memory.budget()), _room));
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
                    return Next::Continue;
                }
                Err(lost @ JournalError::Lost(_)) => {
                    (self.on_failure)(&lost.to_string());
                    let lost = Arc::new(lost);
                    for (answer, ..) in outcomes {
                        let _ = answer.send(Err(CommitError::OutcomeUnknown { source: Box::new(lost.clone()) }));
                    }
                    return Next::End;
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
        self.tidy()
    }

    fn tidy(&mut self) -> Next {
        match self.journal.tidy() {
            Ok(()) => Next::Continue,
            Err(full @ JournalError::Full(_)) => {
                tracing::error!(error = %full, "no room to move the WAL into the database");
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
        while let Ok(message) = queue.try_recv() {
            if let Message::Commit(queued) = message {
                let _ = queued.answer.send(Err(CommitError::Closed));
            }
        }
        drop(journal);
        memory.close();
    }
}

/// Checks a commit against the newest state and applies it there. Rows gather what must become durable.
fn apply(
    draft: &mut Draft<'_>,
    rows: &mut Rows,
    commit: Commit,
    indexes: Vec<Index>,
    budget: &Arc<Budget>,
) -> Result<Committed, CommitError> {
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
                let entry = Entry::new(revision, create_revision, value, index, budget);
                changes.push((operation.key, Some(entry)));
            }
            Change::Delete if current.is_some() => changes.push((operation.key, None)),
            Change::Delete | Change::Check => {}
        }
    }
    if changes.is_empty() {
        return Ok(Committed { revision: draft.revision() });
    }
    for (key, entry) in &changes {
        rows.insert(key.clone(), entry.clone());
    }
    draft.advance(revision, changes);
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
        Engine, Opaque, Operation, Snapshot, SubscriptionError,
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

        fn tidy(&mut self) -> Result<(), JournalError> {
            Ok(())
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
            let engine = Arc::new(Embedded::start(options, memory, journal).unwrap());
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
