#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll};

use bytes::Bytes;
use portcullis_store::embedded::{Embedded, Options};
use portcullis_store::engine::BoxFuture;
use portcullis_store::{
    Commit, CommitError, Committed, EventBatch, Footprint, Limits, Newest, Operation, ReadError, Stats, SubscribeError,
    SubscriptionError, Verified, Volume,
};

use super::*;

const PREFIXES: [&str; 2] = ["/registry/a/", "/registry/b/"];

/// The values by key, and how often they were built.
#[derive(Default)]
struct Copy {
    values: BTreeMap<String, String>,
    resets: usize,
}

impl Copy {
    fn put(&mut self, key: &str, entry: &Entry) {
        let value = String::from_utf8(entry.value.to_vec()).unwrap();
        assert!(!value.contains("poison"), "as the test wants it");
        self.values.insert(key.to_owned(), value);
    }
}

impl Derived for Copy {
    fn reset(&mut self, entries: &mut dyn Iterator<Item = (&str, &Entry)>) {
        self.values.clear();
        self.resets += 1;
        entries.for_each(|(key, entry)| self.put(key, entry));
    }

    fn apply(&mut self, event: &Event) {
        match &event.current {
            Some(entry) => self.put(&event.key, entry),
            None => drop(self.values.remove(&*event.key)),
        }
    }
}

/// An engine whose rings have always forgotten, as long as it is told so.
struct Forgetful {
    engine: Embedded,
    forgets: Arc<AtomicBool>,
}

struct Forgotten(Box<dyn Subscription>, Arc<AtomicBool>);

impl Subscription for Forgotten {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<EventBatch>, SubscriptionError>> {
        self.0.poll_next(context)
    }

    fn try_next(&mut self) -> Result<Option<Arc<EventBatch>>, SubscriptionError> {
        if self.1.load(Ordering::Relaxed) {
            return Err(SubscriptionError::Lagged { after: 1, oldest: 2 });
        }
        self.0.try_next()
    }

    fn position(&self) -> u64 {
        self.0.position()
    }
}

impl Engine for Forgetful {
    fn limits(&self) -> Limits {
        self.engine.limits()
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, CommitError>> {
        self.engine.commit(commit)
    }

    fn snapshot(&self) -> Snapshot {
        self.engine.snapshot()
    }

    fn newest(&self) -> Newest<'_> {
        self.engine.newest()
    }

    fn subscribe<'a>(
        &'a self,
        interest: Interest<'a>,
        after: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(async move {
            let subscription = self.engine.subscribe(interest, after).await?;
            Ok(Box::new(Forgotten(subscription, Arc::clone(&self.forgets))) as Box<dyn Subscription>)
        })
    }

    fn stats(&self) -> Stats {
        self.engine.stats()
    }

    fn volume(&self, prefix: &str) -> Volume {
        self.engine.volume(prefix)
    }

    fn footprint(&self) -> Footprint {
        self.engine.footprint()
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, ReadError>> {
        self.engine.verify()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.engine.close()
    }
}

struct Stage {
    engine: Arc<Forgetful>,
    follower: Follower<Copy>,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let engine = Embedded::open(Options::new(folder.path().join("store"))).unwrap();
        let engine = Arc::new(Forgetful { engine, forgets: Arc::default() });
        let prefixes = PREFIXES.map(str::to_owned).into();
        let follower = Follower::new(Arc::clone(&engine) as Arc<dyn Engine>, prefixes, Copy::default());
        Stage { engine, follower, _folder: folder }
    }

    /// Writes (or deletes, without a value) and returns the version of what was written.
    async fn write(&self, key: &str, version: u64, value: Option<&str>) -> u64 {
        let operation = match value {
            Some(value) if version == 0 => Operation::create(key, Bytes::copy_from_slice(value.as_bytes())),
            Some(value) => Operation::update(key, version, Bytes::copy_from_slice(value.as_bytes())),
            None => Operation::delete(key, version),
        };
        self.engine.commit(Commit::from(operation)).await.unwrap().revision
    }

    fn check(&self, expected: &[(&str, &str)], resets: usize) {
        self.follower.read(|copy| {
            let values: Vec<(&str, &str)> =
                copy.values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(values, expected);
            assert_eq!(copy.resets, resets);
        });
    }
}

#[tokio::test]
async fn every_acknowledged_write_is_seen() {
    let stage = Stage::new();
    stage.check(&[], 1);
    let version = stage.write("/registry/a/x", 0, Some("1")).await;
    stage.check(&[("/registry/a/x", "1")], 1);
    stage.write("/registry/b/y", 0, Some("2")).await;
    stage.write("/registry/c/z", 0, Some("not followed")).await;
    let version = stage.write("/registry/a/x", version, Some("3")).await;
    stage.check(&[("/registry/a/x", "3"), ("/registry/b/y", "2")], 1);
    stage.write("/registry/a/x", version, None).await;
    stage.check(&[("/registry/b/y", "2")], 1);
}

#[tokio::test]
async fn what_was_forgotten_is_built_anew() {
    let stage = Stage::new();
    stage.write("/registry/a/x", 0, Some("1")).await;
    stage.check(&[("/registry/a/x", "1")], 1);
    stage.engine.forgets.store(true, Ordering::Relaxed);
    stage.write("/registry/b/y", 0, Some("2")).await;
    stage.check(&[("/registry/a/x", "1"), ("/registry/b/y", "2")], 2);
    stage.engine.forgets.store(false, Ordering::Relaxed);
    stage.write("/registry/b/z", 0, Some("3")).await;
    stage.check(&[("/registry/a/x", "1"), ("/registry/b/y", "2"), ("/registry/b/z", "3")], 2);
}

#[tokio::test]
async fn a_panic_does_not_leave_half_a_state() {
    let stage = Stage::new();
    stage.write("/registry/a/x", 0, Some("1")).await;
    stage.check(&[("/registry/a/x", "1")], 1);
    let version = stage.write("/registry/a/y", 0, Some("poison")).await;
    assert!(catch_unwind(AssertUnwindSafe(|| stage.follower.read(|_| ()))).is_err());
    stage.write("/registry/a/y", version, Some("2")).await;
    stage.check(&[("/registry/a/x", "1"), ("/registry/a/y", "2")], 2);
}
