//! The body of a watch over a real store: what comes when, what is shared, and how it ends.
#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body as _;
use portcullis_fairness::Seat;
use portcullis_gate::Draining;
use portcullis_store::embedded::{Embedded, Options};
use portcullis_store::{Change, Commit, Condition, Engine, Operation};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::frame::Framer;
use super::stream::{BOOKMARK_INTERVAL, Beginning, WatchBody};
use crate::Catalog;
use crate::env::{Env, SystemEnv};
use crate::negotiate::{Accepted, Format, Shape};
use crate::registry::Registry;
use crate::verbs::select::Selection;

const KEY: &str = "/registry/configmaps/default/";

/// A store of config maps, and a server that may stop.
struct World {
    engine: Embedded,
    registry: Arc<Registry>,
    draining: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

/// How a watcher begins, where it differs from one that follows everything from the start of the store.
#[derive(Clone, Copy)]
struct Wish {
    labels: &'static str,
    accepted: Accepted,
    after: Option<u64>,
    with_state: bool,
    bookmarks: bool,
    lasts: Duration,
}

const WISH: Wish = Wish {
    labels: "",
    accepted: Accepted::JSON,
    after: None,
    with_state: false,
    bookmarks: false,
    lasts: Duration::from_secs(3600),
};

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let engine = Embedded::open(Options { catalog, ..Options::new(folder.path().join("store")) }).unwrap();
        World { engine, registry, draining: watch::Sender::new(false), _folder: folder }
    }

    async fn commit(&self, changes: Vec<(&str, Change)>) -> u64 {
        let operation = |(name, change): (&str, Change)| Operation {
            key: format!("{KEY}{name}").as_str().into(),
            condition: Condition::Any,
            change,
        };
        let commit = Commit { operations: changes.into_iter().map(operation).collect() };
        self.engine.commit(commit).await.unwrap().revision
    }

    /// Writes a config map with a label `w`.
    async fn put(&self, name: &str, label: &str) -> u64 {
        self.commit(vec![(name, Change::Put(object(name, label, 0)))]).await
    }

    async fn delete(&self, name: &str) -> u64 {
        self.commit(vec![(name, Change::Delete)]).await
    }

    async fn watch(&self, wish: Wish) -> Watching {
        let served = self.registry.find("", "v1", "configmaps").unwrap();
        let selection = Selection::parse(served, wish.labels, "").unwrap();
        let snapshot = self.engine.snapshot();
        let after = wish.after.unwrap_or(snapshot.revision());
        let subscription = self.engine.subscribe(KEY.into(), after.min(snapshot.revision())).await.unwrap();
        let state = if wish.with_state {
            snapshot.range(KEY, None).map(|(_, entry)| entry.clone()).collect()
        } else {
            Vec::new()
        };
        let now = Instant::now();
        let beginning = Beginning {
            state,
            ends_state: wish.with_state,
            after,
            first_bookmark: wish.bookmarks.then_some(now + BOOKMARK_INTERVAL),
            deadline: now + wish.lasts,
            seat: Seat::exempt(),
            counts: Arc::default(),
            watch_list: None,
        };
        let framer = Framer::new(&self.registry, served, wish.accepted);
        let env: Arc<dyn Env> = Arc::new(SystemEnv);
        let draining = Draining::new(self.draining.subscribe());
        Watching { body: WatchBody::new(framer, selection, env, subscription, draining, beginning), begun: now }
    }
}

fn object(name: &str, label: &str, bytes: usize) -> Bytes {
    let data = "x".repeat(bytes);
    let text = format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"default","uid":"u","labels":{{"w":"{label}"}}}},"data":{{"a":"{data}"}}}}"#
    );
    text.into()
}

struct Watching {
    body: WatchBody,
    begun: Instant,
}

impl Watching {
    /// What is ready, if something is; nothing inside at the end.
    fn ready(&mut self) -> Option<Option<Bytes>> {
        match Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => Some(frame.map(|frame| frame.unwrap().into_data().unwrap())),
            Poll::Pending => None,
        }
    }

    /// The next piece; nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
        frame.map(|frame| frame.unwrap().into_data().unwrap())
    }

    /// All events that are ready: type, name, version.
    fn events(&mut self) -> Vec<(String, String, u64)> {
        let mut events = Vec::new();
        while let Some(Some(bytes)) = self.ready() {
            events.extend(events_of(&bytes));
        }
        events
    }

    fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }
}

fn events_of(bytes: &[u8]) -> Vec<(String, String, u64)> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let events = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let event = |event: Value| {
        let metadata = &event["object"]["metadata"];
        let version = metadata["resourceVersion"].as_str().map_or(0, |version| version.parse().unwrap());
        (text(&event["type"]), text(&metadata["name"]), version)
    };
    events.map(event).collect()
}

fn event(ty: &str, name: &str, version: u64) -> (String, String, u64) {
    (ty.to_owned(), name.to_owned(), version)
}

#[tokio::test]
async fn a_watcher_sees_each_change_once_and_in_order() {
    let world = World::new().await;
    let mut all = world.watch(WISH).await;
    let mut ones = world.watch(Wish { labels: "w=1", ..WISH }).await;
    let mut twos = world.watch(Wish { labels: "w=2", ..WISH }).await;
    assert_eq!(all.events(), []);
    let a = world.put("a", "1").await;
    let b = world.put("b", "2").await;
    assert_eq!(all.events(), [event("ADDED", "a", a), event("ADDED", "b", b)]);
    let left = world.put("a", "2").await;
    let gone = world.delete("a").await;
    let both = world.commit(vec![("b", Change::Delete), ("c", Change::Put(object("c", "1", 0)))]).await;
    let rest = [
        event("MODIFIED", "a", left),
        event("DELETED", "a", gone),
        event("DELETED", "b", both),
        event("ADDED", "c", both),
    ];
    assert_eq!(all.events(), rest);
    assert_eq!(all.events(), []);
    // What leaves a selection is shown as it was, at the version at which it left.
    assert_eq!(ones.events(), [event("ADDED", "a", a), event("DELETED", "a", left), event("ADDED", "c", both)]);
    let expected =
        [event("ADDED", "b", b), event("ADDED", "a", left), event("DELETED", "a", gone), event("DELETED", "b", both)];
    assert_eq!(twos.events(), expected);
    let mut later = world.watch(Wish { after: Some(gone), ..WISH }).await;
    assert_eq!(later.events(), rest[2..]);
}

#[tokio::test]
async fn a_version_to_come_is_waited_for() {
    let world = World::new().await;
    let now = world.put("a", "1").await;
    let mut watching = world.watch(Wish { after: Some(now + 2), ..WISH }).await;
    world.put("b", "1").await;
    world.put("c", "1").await;
    assert_eq!(watching.events(), []);
    let after = world.put("d", "1").await;
    assert_eq!(watching.events(), [event("ADDED", "d", after)]);
}

#[tokio::test]
async fn watchers_share_a_frame() {
    let world = World::new().await;
    let protobuf = Accepted { format: Format::Protobuf, ..Accepted::JSON };
    let metadata = Accepted { shape: Shape::Metadata, ..Accepted::JSON };
    let table = Accepted { shape: Shape::Table, ..Accepted::JSON };
    let mut pairs = Vec::new();
    for (accepted, is_shared) in [(Accepted::JSON, true), (protobuf, true), (metadata, true), (table, false)] {
        let wish = Wish { accepted, ..WISH };
        // Everything, and what happens to be everything, look the same.
        pairs.push((world.watch(wish).await, world.watch(Wish { labels: "w=1", ..wish }).await, is_shared));
    }
    let mut begins = Vec::new();
    for _ in 0..2 {
        world.put("a", "1").await;
        for (one, other, is_shared) in &mut pairs {
            let (one, other) = (one.ready().unwrap().unwrap(), other.ready().unwrap().unwrap());
            assert_eq!(one, other);
            assert_eq!(one.as_ptr() == other.as_ptr(), *is_shared, "{one:?}");
            begins.push(one);
        }
    }
    let begins: Vec<String> = begins.iter().map(|frame| String::from_utf8_lossy(&frame[..40]).into_owned()).collect();
    assert!(begins[0].starts_with(r#"{"type":"ADDED","object":{"kind":"Config"#), "{begins:?}");
    assert!(begins[1].contains("ADDED") && begins[1].contains("k8s\0"), "{begins:?}");
    assert!(begins[2].starts_with(r#"{"type":"ADDED","object":{"kind":"Partia"#), "{begins:?}");
    assert!(begins[3].starts_with(r#"{"type":"ADDED","object":{"kind":"Table""#), "{begins:?}");
}

#[tokio::test]
async fn columns_come_with_the_first_table() {
    let world = World::new().await;
    let mut watching = world.watch(Wish { accepted: Accepted { shape: Shape::Table, ..Accepted::JSON }, ..WISH }).await;
    for has_columns in [true, false, false] {
        world.put("a", "1").await;
        let frame: Value = serde_json::from_slice(&watching.ready().unwrap().unwrap()).unwrap();
        assert_eq!(frame["object"]["columnDefinitions"].is_array(), has_columns, "{frame}");
    }
}

#[tokio::test]
async fn small_frames_leave_together_and_large_ones_alone() {
    let world = World::new().await;
    let mut watching = world.watch(WISH).await;
    for (name, bytes) in [("a", 0), ("b", 0), ("c", 15_000), ("d", 2_000), ("e", 100_000), ("f", 0)] {
        world.commit(vec![(name, Change::Put(object(name, "1", bytes)))]).await;
    }
    let mut pieces = Vec::new();
    while let Some(Some(bytes)) = watching.ready() {
        pieces.push(events_of(&bytes).into_iter().map(|(_, name, _)| name).collect::<String>());
    }
    assert_eq!(pieces, ["abc", "d", "e", "f"]);
}

#[tokio::test]
async fn one_who_does_not_read_is_told_that_its_place_is_gone() {
    let world = World::new().await;
    let mut stalled = world.watch(WISH).await;
    let first = world.put("a", "1").await;
    assert_eq!(stalled.events().len(), 1);
    // More than the history holds.
    for _ in 0..36 {
        world.commit(vec![("a", Change::Put(object("a", "1", 1 << 20)))]).await;
    }
    let frame: Value = serde_json::from_slice(&stalled.ready().unwrap().unwrap()).unwrap();
    assert_eq!((frame["type"].as_str(), frame["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
    assert_eq!(frame["object"]["reason"], "Expired");
    let message = frame["object"]["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("too old resource version: {first} (")), "{message}");
    assert_eq!(stalled.ready(), Some(None));
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_watch() {
    let world = World::new().await;
    let mut all = world.watch(WISH).await;
    world.put("a", "1").await;
    world.commit(vec![("b", Change::Put(Bytes::from_static(b"broken")))]).await;
    world.put("c", "1").await;
    let mut events = Vec::new();
    while let Some(bytes) = all.next().await {
        events.extend(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok()));
    }
    let types: Vec<(&str, u64)> = events
        .iter()
        .map(|event| (event["type"].as_str().unwrap(), event["object"]["code"].as_u64().unwrap_or(0)))
        .collect();
    assert_eq!(types, [("ADDED", 0), ("ERROR", 500)]);
}

#[tokio::test]
async fn the_state_comes_first_and_ends_with_a_bookmark() {
    let world = World::new().await;
    let mut last = 0;
    let mut expected = Vec::new();
    for at in 10..99 {
        let name = format!("n{at}");
        last = world.commit(vec![(&name, Change::Put(object(&name, "1", 1_000)))]).await;
        expected.push(event("ADDED", &name, last));
    }
    let mut watching = world.watch(Wish { with_state: true, ..WISH }).await;
    let later = world.put("z", "1").await;
    let mut events = Vec::new();
    let mut pieces = Vec::new();
    while let Some(Some(bytes)) = watching.ready() {
        pieces.push(bytes.len());
        if let Some(end) = bytes.windows(10).position(|at| at == b"\"BOOKMARK\"") {
            let end = std::str::from_utf8(&bytes[end..]).unwrap();
            assert!(end.contains(r#""annotations":{"k8s.io/initial-events-end":"true"}"#), "{end}");
        }
        events.extend(events_of(&bytes));
    }
    expected.push(event("BOOKMARK", "", last));
    expected.push(event("ADDED", "z", later));
    assert_eq!(events, expected);
    assert!(pieces.iter().all(|len| *len < 40 * 1024), "{pieces:?}");
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_before_the_end() {
    let world = World::new().await;
    let seen = world.put("a", "1").await;
    let mut watching = world.watch(Wish { bookmarks: true, lasts: Duration::from_secs(200), ..WISH }).await;
    let mut ticks = Vec::new();
    while let Some(bytes) = watching.next().await {
        assert_eq!(events_of(&bytes), [event("BOOKMARK", "", seen)]);
        ticks.push(watching.seconds());
    }
    assert_eq!((ticks, watching.seconds()), (vec![60, 120, 180, 198], 200));
    // One that is short has none; nor has one who did not ask.
    for (bookmarks, lasts) in [(true, 2), (false, 300)] {
        let mut watching = world.watch(Wish { bookmarks, lasts: Duration::from_secs(lasts), ..WISH }).await;
        assert_eq!(watching.next().await, None);
        assert_eq!(watching.seconds(), lasts);
    }
    // Nor one who waits for a version to come.
    let wish = Wish { after: Some(seen + 1), bookmarks: true, lasts: Duration::from_secs(100), ..WISH };
    assert_eq!(world.watch(wish).await.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_looked_at_between_changes() {
    let world = World::new().await;
    let after = world.put("a", "1").await;
    for _ in 0..600 {
        world.commit(vec![("a", Change::Put(object("a", "1", 9_000)))]).await;
    }
    for (lasts, expected) in [(100, 601), (60, 512)] {
        let lasts = Duration::from_secs(lasts);
        let mut watching = world.watch(Wish { after: Some(after), bookmarks: true, lasts, ..WISH }).await;
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(watching.events().len(), expected, "{lasts:?}");
    }
}

#[tokio::test]
async fn watches_end_when_the_server_or_the_store_does() {
    let world = World::new().await;
    let mut watching = world.watch(WISH).await;
    assert_eq!(watching.ready(), None);
    world.put("a", "1").await;
    world.draining.send_replace(true);
    // What is there already is still sent.
    assert_eq!(watching.events().len(), 1);
    assert_eq!(watching.ready(), Some(None));
    let world = World::new().await;
    let mut watching = world.watch(WISH).await;
    world.engine.close().await;
    assert_eq!(watching.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_watchers_see_what_many_writers_write() {
    const WRITERS: usize = 4;
    const WRITES: usize = 200;
    let world = Arc::new(World::new().await);
    let mut watchers = Vec::new();
    for _ in 0..64 {
        let mut watching = world.watch(WISH).await;
        watchers.push(tokio::spawn(async move {
            let mut events = Vec::new();
            while events.len() < WRITERS * WRITES {
                events.extend(events_of(&watching.next().await.unwrap()));
            }
            events.into_iter().map(|(_, name, version)| (version, name)).collect::<Vec<_>>()
        }));
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let mut written = Vec::new();
                for at in 0..WRITES {
                    let name = format!("w{writer}-{}", at % 7);
                    written.push((world.put(&name, "1").await, name));
                }
                written
            })
        })
        .collect();
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    written.sort();
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), written);
    }
}
