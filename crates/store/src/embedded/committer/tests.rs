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
