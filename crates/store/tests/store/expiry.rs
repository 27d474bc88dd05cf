//! What lives for a while only: it is removed when its time has come, also when that was while nobody was there.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use portcullis_store::{
    Change, Condition, Engine, Operation,
    embedded::{Clock, EXPIRED_AT_ONCE, Embedded, Options},
};

use super::Events;

const LIFETIME: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
/// Of each test's clocks: some time in 2026.
const BEGIN: Duration = Duration::from_secs(1_790_000_000);

/// Clocks that a test sets: that on the wall, and that of the time that passes.
pub struct Clocks(Mutex<(Duration, Duration)>);

impl Clocks {
    pub fn new() -> Arc<Clocks> {
        Arc::new(Clocks(Mutex::new((BEGIN, Duration::ZERO))))
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        let mut clocks = self.0.lock().unwrap();
        *clocks = (clocks.0 + time, clocks.1 + time);
    }

    /// The clock on the wall is set.
    fn set(&self, wall: Duration) {
        self.0.lock().unwrap().0 = wall;
    }
}

impl Clock for Clocks {
    fn wall(&self) -> Duration {
        self.0.lock().unwrap().0
    }

    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().1
    }

    fn is_ticking(&self) -> bool {
        false
    }
}

pub fn open(directory: &Path, clocks: &Arc<Clocks>) -> Embedded {
    let clock: Arc<dyn Clock> = clocks.clone();
    Embedded::open(Options { catalog: Arc::new(Events(LIFETIME)), clock, ..Options::new(directory) }).unwrap()
}

async fn put(engine: &Embedded, key: &str) -> u64 {
    let change = Change::Put(Bytes::from_static(b"value"));
    engine.commit(Operation { key: key.into(), condition: Condition::Any, change }.into()).await.unwrap().revision
}

/// The names of what is there once everything is done that is due.
async fn left(engine: &Embedded) -> Vec<String> {
    engine.maintain().await.unwrap();
    engine.snapshot().range("/registry/", None).map(|(key, _)| key["/registry/".len()..].to_owned()).collect()
}

#[tokio::test]
async fn events_live_for_an_hour() {
    let (directory, clocks) = (tempfile::tempdir().unwrap(), Clocks::new());
    let engine = open(directory.path(), &clocks);
    put(&engine, "/registry/pods/a").await;
    put(&engine, "/registry/events/a").await;
    clocks.pass(30 * MINUTE);
    put(&engine, "/registry/events/b").await;
    put(&engine, "/registry/events/again").await;
    let last = put(&engine, "/registry/events/gone").await;
    let gone = Operation::delete("/registry/events/gone", last);
    engine.commit(gone.into()).await.unwrap();
    let mut events = engine.subscribe("/registry/".into(), last + 1).await.unwrap();
    clocks.pass(29 * MINUTE);
    assert_eq!(left(&engine).await, ["events/a", "events/again", "events/b", "pods/a"]);
    put(&engine, "/registry/events/again").await;
    assert_eq!(events.next().await.unwrap().revision, last + 2);
    clocks.pass(MINUTE);
    assert_eq!(left(&engine).await, ["events/again", "events/b", "pods/a"]);
    // A commit as any other: those who watch see it.
    let batch = events.next().await.unwrap();
    let told: Vec<(&str, bool)> = batch.events.iter().map(|event| (&*event.key, event.current.is_none())).collect();
    assert_eq!((batch.revision, told), (last + 3, vec![("/registry/events/a", true)]));
    assert_eq!(engine.snapshot().revision(), last + 3);
    clocks.pass(30 * MINUTE);
    assert_eq!(left(&engine).await, ["events/again", "pods/a"], "what was written again lives longer");
    // It goes with the commits of others too, before they are looked at.
    clocks.pass(LIFETIME);
    let created = engine.commit(Operation::create("/registry/events/again", "new".into()).into()).await.unwrap();
    assert_eq!(left(&engine).await, ["events/again", "pods/a"]);
    assert_eq!(engine.snapshot().get("/registry/events/again").unwrap().create_revision, created.revision);
}

/// With the system's clocks, when nobody writes and nobody asks for it.
#[tokio::test]
async fn what_is_due_goes_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = Arc::new(Events(Duration::from_millis(1500)));
    let engine = Embedded::open(Options { catalog, ..Options::new(directory.path()) }).unwrap();
    let put = put(&engine, "/registry/events/a").await;
    let mut events = engine.subscribe("/registry/".into(), put).await.unwrap();
    let batch = events.next().await.unwrap();
    assert!(batch.revision == put + 1 && batch.events[0].current.is_none());
}

/// What is left of a life after a restart: also when the clock was set, in either direction.
#[tokio::test]
async fn restarts_and_clocks_that_are_set() {
    // What passes before a restart; what the clock says after it; what passes then; whether the event is still there.
    let check = async |before: Duration, wall: Duration, then: Duration, expected: bool| {
        let (directory, clocks) = (tempfile::tempdir().unwrap(), Clocks::new());
        let engine = open(directory.path(), &clocks);
        put(&engine, "/registry/events/a").await;
        clocks.pass(before);
        let revision = engine.snapshot().revision();
        engine.close().await;
        drop(engine);
        clocks.set(wall);
        let engine = open(directory.path(), &clocks);
        clocks.pass(then);
        assert_eq!(!left(&engine).await.is_empty(), expected, "{before:?}, at {wall:?}, {then:?}");
        assert_eq!(engine.snapshot().revision(), if expected { revision } else { revision + 1 });
    };
    check(MINUTE, BEGIN + 30 * MINUTE, 29 * MINUTE, true).await;
    check(MINUTE, BEGIN + 30 * MINUTE, 30 * MINUTE, false).await;
    // Nobody was there when its time came.
    check(MINUTE, BEGIN + 5 * LIFETIME, Duration::ZERO, false).await;
    // The clock went back a year: one more life, and not a year of it.
    check(MINUTE, BEGIN - 9000 * LIFETIME, 59 * MINUTE, true).await;
    check(MINUTE, BEGIN - 9000 * LIFETIME, LIFETIME, false).await;
}

/// While the server runs, setting the clock changes nothing.
#[tokio::test]
async fn a_clock_that_is_set_while_serving() {
    for set in [BEGIN + LIFETIME, BEGIN - LIFETIME] {
        let (directory, clocks) = (tempfile::tempdir().unwrap(), Clocks::new());
        let engine = open(directory.path(), &clocks);
        put(&engine, "/registry/events/a").await;
        clocks.set(set);
        put(&engine, "/registry/events/b").await;
        clocks.pass(59 * MINUTE);
        assert_eq!(left(&engine).await, ["events/a", "events/b"]);
        clocks.pass(MINUTE);
        assert_eq!(left(&engine).await, [""; 0]);
    }
}

/// However many are due, no commit is large.
#[tokio::test]
async fn many_expire_in_parts() {
    const EVENTS: usize = 3 * EXPIRED_AT_ONCE + 10;
    let (directory, clocks) = (tempfile::tempdir().unwrap(), Clocks::new());
    let engine = open(directory.path(), &clocks);
    for first in (0..EVENTS).step_by(100) {
        let operation =
            |number: usize| Operation::create(format!("/registry/events/{number:04}"), Bytes::from_static(b"value"));
        let some: Vec<Operation> = (first..EVENTS.min(first + 100)).map(operation).collect();
        engine.commit(some.into()).await.unwrap();
    }
    let before = engine.snapshot().revision();
    let mut events = engine.subscribe("/registry/".into(), before).await.unwrap();
    clocks.pass(LIFETIME);
    assert_eq!(left(&engine).await, [""; 0]);
    let mut sizes = Vec::new();
    while let Some(batch) = events.try_next().unwrap() {
        sizes.push(batch.events.len());
    }
    assert_eq!(sizes, [EXPIRED_AT_ONCE, EXPIRED_AT_ONCE, EXPIRED_AT_ONCE, 10]);
    engine.close().await;
    drop(engine);
    assert!(open(directory.path(), &clocks).snapshot().is_empty());
}
