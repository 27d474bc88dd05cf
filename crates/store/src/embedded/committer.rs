//! What decides: it takes what is queued, checks it, makes it durable, shows it, answers. Who does it when: `desk`.
//!
//! No answer leaves before the batch is durable, refusals included: what a commit was refused for may be a commit of
//! the same batch. While one batch is synced the next one gathers, so the more writers there are, the more share a
//! sync.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    BATCH_BYTES_MAX, BATCH_COMMITS_MAX, EXPIRED_AGAIN, EXPIRED_AT_ONCE, FailureHook, FreezeError, Frozen,
    clock::{Clock, Deadlines},
    journal::{Journal, JournalError},
    load::Unopened,
    part::{Decided, Part},
    reseal::Slice,
    verify::{Compared, Known, Step},
};
use crate::{Commit, CommitError, Committed, Index, Opened, ReadError, Sealing, memory::Memory};

/// Batches of one commit, one after the other, that tell that a caller is alone: many callers make one now and then.
const ALONE_MIN: usize = 4;

/// Bytes of entries whose words are read between two batches: about a millisecond's work.
const WORDS_BYTES_AT_ONCE: usize = 512 << 10;

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

/// What commits; whoever has it is the one that decides.
pub(super) struct Committer {
    pub(super) memory: Arc<Memory>,
    pub(super) sealing: Arc<dyn Sealing>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deadlines: Deadlines,
    pub(super) journal: Box<dyn Journal>,
    pub(super) on_failure: FailureHook,
    /// How many batches one after the other were of one commit.
    pub(super) alone: usize,
    /// Nobody knows what the disk holds.
    pub(super) is_lost: bool,
}

/// What was taken from the queue at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) commits: Vec<Queued>,
    /// What is done after them.
    others: Vec<Message>,
}

/// Whether the thread goes on.
#[derive(PartialEq)]
pub(super) enum Next {
    Continue,
    /// There is something to do, though nobody may ask for anything.
    Proceed,
    End,
}

/// What became of a batch.
#[derive(PartialEq)]
pub(super) enum Written {
    /// Everything is durable or was refused, each for a reason of its own.
    All,
    /// There was no room for some of it.
    NoRoom,
    /// Nobody knows.
    Lost,
}

/// What time it is for all of a batch.
#[derive(Clone, Copy)]
struct Now {
    wall: Duration,
    elapsed: Duration,
}

impl Batch {
    /// Everything that is queued, up to the limits of a batch. Closing stops the queue, not the batch.
    pub(super) fn gather(first: Message, queue: &mut mpsc::Receiver<Message>) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut message = Some(first);
        while let Some(taken) = message {
            match taken {
                Message::Close => queue.close(),
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
            message = queue.try_recv().ok();
        }
        batch
    }

    /// Answers it where there is no committer any more.
    pub(super) fn refuse(self) -> Next {
        let others = self.others.into_iter();
        for message in self.commits.into_iter().map(Message::Commit).chain(others) {
            message.refuse();
        }
        Next::End
    }
}

impl Message {
    /// Who waits is told that nobody is there: a commit with words, anything else by its silence.
    pub(super) fn refuse(self) {
        if let Message::Commit(Queued { answer, .. }) = self {
            // A caller that went away does not need the answer.
            let _ = answer.send(Err(CommitError::Closed));
        }
    }
}

impl Committer {
    /// Decides a batch, makes it durable, publishes it and answers; then does what else there is to do.
    pub(super) fn settle(&mut self, batch: Batch, waiting: &mut Vec<oneshot::Sender<()>>) -> Next {
        let Batch { commits, others } = batch;
        let is_idle = commits.is_empty();
        match commits.len() {
            0 => {}
            1 => self.alone = self.alone.saturating_add(1),
            _ => self.alone = 0,
        }
        let is_full = match self.write(commits) {
            Written::All => false,
            Written::NoRoom => true,
            Written::Lost => return Next::End,
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
                    Err(lost @ JournalError::Lost(_)) => return self.fail(&lost),
                },
                Message::Commit(_) | Message::Close => {}
            }
        }
        let lacks_words = self.memory.read_words(WORDS_BYTES_AT_ONCE);
        let is_due = self.deadlines.is_due(self.clock.elapsed());
        match self.tidy(is_idle) {
            Next::Continue if lacks_words => Next::Proceed,
            // A full disk is tried again with the next commit or tick.
            Next::Continue if is_due && !is_full => Next::Proceed,
            Next::Proceed if is_full => Next::Continue,
            next => next,
        }
    }

    /// Whether a write would neither wait for long nor have company.
    pub(super) fn is_free(&self) -> bool {
        self.alone >= ALONE_MIN && !self.is_lost && self.journal.is_quick()
    }

    /// Decides commits, makes them durable, publishes and answers. What is due goes with them. Where a page cannot be read the halves are
    /// decided and written one after the other, and the halves of these: only what meets that page is refused.
    pub(super) fn write(&mut self, commits: Vec<Queued>) -> Written {
        let memory = Arc::clone(&self.memory);
        let now = Now { wall: self.clock.wall(), elapsed: self.clock.elapsed() };
        let expired = self.deadlines.due(now.elapsed, EXPIRED_AT_ONCE);
        // What is still to be written, the last of it first.
        let mut parts = vec![Part { expired, commits }];
        let mut written = Written::All;
        while let Some(mut part) = parts.pop() {
            let decided = part.decide(&memory, &*self.sealing, now.wall);
            // Commits that change nothing need no sync: what they saw is durable.
            let done = match decided.is_change() {
                true => self.journal.write(&decided.rows, decided.draft.revision()),
                false => Ok(()),
            };
            match done {
                Ok(()) => self.publish(part, decided, &memory, now),
                Err(JournalError::Unreadable(error)) => match part.halve() {
                    Some(later) => parts.extend([later, part]),
                    None => self.refuse_unreadable(part, error, now),
                },
                Err(JournalError::Full(full)) => {
                    tracing::error!(error = %full, "no room to write, commits are refused");
                    let full = Arc::new(full);
                    part.refuse(|| CommitError::StorageFull { source: Box::new(Arc::clone(&full)) });
                    written = Written::NoRoom;
                }
                Err(lost @ JournalError::Lost(_)) => {
                    self.fail(&lost);
                    let lost = Arc::new(lost);
                    for part in std::iter::once(part).chain(parts) {
                        part.refuse(|| CommitError::OutcomeUnknown { source: Box::new(Arc::clone(&lost)) });
                    }
                    return Written::Lost;
                }
            }
        }
        written
    }

    /// Shows what is durable, and answers.
    fn publish(&mut self, part: Part, decided: Decided<'_>, memory: &Memory, now: Now) {
        let is_change = decided.is_change();
        let Decided { draft, rows, outcomes, .. } = decided;
        let news = is_change.then(|| memory.publish(draft));
        for (Queued { answer, .. }, outcome) in part.commits.into_iter().zip(outcomes) {
            // A caller that went away does not need the answer.
            let _ = answer.send(outcome);
        }
        if let Some(news) = news {
            memory.wake(news);
        }
        for key in &part.expired {
            self.deadlines.set(key, None);
        }
        for (key, row) in &rows {
            let expires = row.as_ref().and_then(|row| row.expires);
            let left = expires.map(|expires| Duration::from_secs(expires).saturating_sub(now.wall));
            self.deadlines.set(key, left.map(|left| now.elapsed + left));
        }
    }

    /// Refuses the one thing that met a page that cannot be read. An entry that is due stays, and must not be in every commit's way.
    fn refuse_unreadable(&mut self, part: Part, error: rusqlite::Error, now: Now) {
        let keys = part.named();
        tracing::error!(?keys, %error, "a page of the store cannot be read, what is to be written there is refused");
        for key in &part.expired {
            self.deadlines.set(key, Some(now.elapsed + EXPIRED_AGAIN));
        }
        let error = Arc::new(JournalError::Unreadable(error));
        part.refuse(|| CommitError::Rejected { source: Box::new(Arc::clone(&error)) });
    }

    /// Opens what could not be opened before, if it is still there. Nobody is told: nobody could have read it.
    fn reopen(&self, sealed: Vec<Unopened>) -> Vec<Unopened> {
        let mut draft = self.memory.draft();
        let (mut unopened, mut opened) = (Vec::new(), 0usize);
        for one in sealed {
            let Unopened { key, version, epoch } = &one;
            let Some(entry) = draft.get(key).filter(|held| held.version == *version && held.index().is_unreadable())
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
            Err(lost @ JournalError::Lost(_)) => return self.fail(&lost),
            done => done.map_err(|full| ReadError::Unreachable { source: full.into() }),
        };
        // Who asked may have gone.
        drop(answer.send(done));
        Next::Continue
    }

    /// Says that durability is lost. Nothing is written after that.
    fn fail(&mut self, lost: &JournalError) -> Next {
        self.is_lost = true;
        (self.on_failure)(&lost.to_string());
        Next::End
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
            Err(lost @ JournalError::Lost(_)) => self.fail(&lost),
        }
    }
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
        Budget, Catalog, Engine, Opaque, Operation, Snapshot, SubscriptionError,
        budget::LIMIT_BYTES_DEFAULT,
        embedded::{
            Embedded, Options, QUEUE_BYTES_MAX, QUEUE_COMMITS_MAX, VALUE_BYTES_MAX,
            journal::{Rows, Scripted},
        },
        engine::BoxFuture,
        memory::RING_LIMITS,
    };

    type Outcome = BoxFuture<'static, Result<Committed, CommitError>>;

    struct Bench {
        // Dropped before the engine, which waits for its committer: so a failing test ends.
        results: channel::Sender<Result<(), JournalError>>,
        begun: channel::Receiver<Vec<String>>,
        engine: Arc<Embedded>,
        failures: Arc<Mutex<Vec<String>>>,
        pending: VecDeque<Outcome>,
    }

    /// Values that say nothing; what is under `/registry/events/` is due at once.
    struct Fleeting;

    impl Catalog for Fleeting {
        fn lifetime(&self, key: &str) -> Option<Duration> {
            key.starts_with("/registry/events/").then_some(Duration::ZERO)
        }
    }

    impl Bench {
        fn new() -> Self {
            Bench::with(Arc::new(Opaque))
        }

        fn with(catalog: Arc<dyn Catalog>) -> Self {
            let (begun_sender, begun) = channel::channel();
            let (results, result_receiver) = channel::channel();
            let failures = Arc::new(Mutex::new(Vec::new()));
            let noted = failures.clone();
            let on_failure: FailureHook = Box::new(move |reason| noted.lock().unwrap().push(reason.to_string()));
            let options = Options { on_failure, ..Options::new("unused") };
            let budget = Arc::new(Budget::new(LIMIT_BYTES_DEFAULT));
            let memory = Memory::new(Snapshot::empty(1), RING_LIMITS, catalog, budget);
            // Each write is announced, and waits for its result.
            let write = move |rows: &Rows| {
                begun_sender.send(rows.keys().map(|key| key.to_string()).collect()).unwrap();
                result_receiver.recv().unwrap()
            };
            // A caller that writes itself would wait for the test, which waits for it.
            let journal = Box::new(Scripted { is_quick: false, write });
            let engine = Arc::new(Embedded::start(options, memory, journal, Deadlines::default()).unwrap());
            Bench { results, begun, engine, failures, pending: VecDeque::new() }
        }

        /// Queues a commit now, from this thread; what it answers at once is given.
        fn queue(&mut self, commit: impl Into<Commit>) -> Option<Result<Committed, CommitError>> {
            let (engine, commit) = (self.engine.clone(), commit.into());
            let mut outcome: Outcome = Box::pin(async move { engine.commit(commit).await });
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

    fn unreadable() -> JournalError {
        JournalError::Unreadable(rusqlite::Error::QueryReturnedNoRows)
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

    /// Only what meets a page that cannot be read is refused. What is beside it is decided anew, in its order, and answered once it is durable.
    #[tokio::test]
    async fn a_bad_page_refuses_what_meets_it() {
        let mut bench = Bench::new();
        bench.put("first");
        bench.begun();
        let create = |name: &str| Operation::create(format!("/registry/{name}"), Bytes::new());
        bench.put("a");
        assert!(bench.queue(vec![create("b"), create("bad")]).is_none());
        // Refused for what is not there in the end.
        bench.put("b");
        bench.put("c");
        bench.put("c");
        bench.results.send(Ok(())).unwrap();
        bench.answer().await.unwrap();
        let check = |begun: &[&str], result: Result<(), JournalError>, shown: usize| {
            let begun: Vec<String> = begun.iter().map(|name| format!("/registry/{name}")).collect();
            assert_eq!(bench.begun(), begun);
            assert_eq!(bench.names().len(), shown, "{begun:?}");
            bench.results.send(result).unwrap();
        };
        check(&["a", "b", "bad", "c"], Err(unreadable()), 1);
        check(&["a", "b", "bad"], Err(unreadable()), 1);
        check(&["a"], Ok(()), 1);
        check(&["b", "bad"], Err(unreadable()), 2);
        assert_eq!(bench.begun(), ["/registry/b", "/registry/c"]);
        assert_eq!(bench.answer().await.unwrap(), 3);
        assert!(matches!(bench.answer().await, Err(CommitError::Rejected { .. })));
        assert!(bench.pending.iter_mut().all(|outcome| poll(outcome).is_pending()), "answered before it was durable");
        bench.results.send(Ok(())).unwrap();
        assert_eq!((bench.answer().await.unwrap(), bench.answer().await.unwrap()), (4, 5));
        assert!(matches!(bench.answer().await, Err(CommitError::Conflict { .. })));
        assert_eq!(bench.names(), ["a", "b", "c", "first"].map(|name| format!("/registry/{name}")));
        assert!(bench.failures.lock().unwrap().is_empty());
    }

    /// A file of which nothing can be read takes two tries a commit at most.
    #[tokio::test]
    async fn a_bad_file_is_tried_so_often() {
        const COMMITS: usize = 37;
        let mut bench = Bench::new();
        bench.put("first");
        bench.begun();
        (0..COMMITS).for_each(|number| bench.put(&number.to_string()));
        for _ in 0..2 * COMMITS {
            bench.results.send(Err(unreadable())).unwrap();
        }
        for _ in 0..=COMMITS {
            assert!(matches!(bench.answer().await, Err(CommitError::Rejected { .. })));
        }
        assert_eq!((bench.begun.try_iter().count(), bench.engine.snapshot().revision()), (2 * COMMITS - 1, 1));
    }

    /// After a part was refused the others may meet something worse.
    #[tokio::test]
    async fn parts_fail_on_their_own() {
        let check = async |result: Result<(), JournalError>, expected: [&str; 2]| {
            let mut bench = Bench::new();
            bench.put("first");
            bench.begun();
            bench.put("a");
            bench.put("b");
            for result in [Ok(()), Err(unreadable()), result, Ok(())] {
                bench.results.send(result).unwrap();
            }
            bench.answer().await.unwrap();
            for expected in expected {
                let outcome = bench.answer().await.map_err(|error| error.to_string());
                assert_eq!(outcome.map_or_else(|error| error, |revision| revision.to_string()), expected);
            }
        };
        check(Ok(()), ["3", "4"]).await;
        check(Err(full()), ["the store has no room left", "3"]).await;
        let unknown = "the outcome of the commit is unknown";
        check(Err(JournalError::Lost("fsync: input/output error".into())), [unknown, unknown]).await;
    }

    /// What is due on a page that cannot be read stays, and is in nobody's way.
    #[tokio::test]
    async fn what_is_due_and_meets_a_bad_page_stays() {
        let mut bench = Bench::with(Arc::new(Fleeting));
        let check = |bench: &Bench, begun: &[&str], result: Result<(), JournalError>| {
            assert_eq!(bench.begun(), begun.iter().map(|name| format!("/registry/events/{name}")).collect::<Vec<_>>());
            bench.results.send(result).unwrap();
        };
        let create = |name: &str| Operation::create(format!("/registry/events/{name}"), Bytes::new());
        assert!(bench.queue(vec![create("a"), create("bad"), create("c"), create("d")]).is_none());
        check(&bench, &["a", "bad", "c", "d"], Ok(()));
        bench.answer().await.unwrap();
        check(&bench, &["a", "bad", "c", "d"], Err(unreadable()));
        check(&bench, &["a", "bad"], Err(unreadable()));
        check(&bench, &["a"], Ok(()));
        check(&bench, &["bad"], Err(unreadable()));
        check(&bench, &["c", "d"], Ok(()));
        bench.put("pods");
        assert_eq!(bench.begun(), ["/registry/pods"]);
        bench.results.send(Ok(())).unwrap();
        assert_eq!(bench.answer().await.unwrap(), 5);
        assert_eq!(bench.names(), ["/registry/events/bad", "/registry/pods"]);
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
