//! The embedded engine keeps values as [`Sealing`] says, whatever becomes of keys.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use portcullis_store::{
    Change, CommitError, Condition, Engine, Opened, Operation, Sealing, Unsealed,
    embedded::{self, Embedded, Options},
    engine::{BoxFuture, Source},
};

use super::{random::Dice, vfs::SimulatedDisk};

const CANARY: &[u8] = b"canary-in-a-coal-mine";

/// Seals what is under `/registry/secrets/`: the number of the key, the name, and the value with all its bits turned.
#[derive(Default)]
pub struct Turning {
    pub key: AtomicU8,
    is_away: AtomicBool,
}

impl Sealing for Turning {
    fn seal(&self, key: &str, plain: &Bytes) -> Result<Bytes, Source> {
        if !key.starts_with("/registry/secrets/") {
            return Ok(plain.clone());
        }
        if self.is_away.load(Ordering::Relaxed) {
            return Err("the key is away".into());
        }
        Ok([&[b'0' + self.key.load(Ordering::Relaxed)], key.as_bytes(), &turn(plain)].concat().into())
    }

    fn open(&self, key: &str, kept: &Bytes) -> Result<Opened, Source> {
        if !key.starts_with("/registry/secrets/") {
            return Ok(Opened { plain: kept.clone(), is_stale: false });
        }
        let Some(turned) = kept.get(1..).and_then(|rest| rest.strip_prefix(key.as_bytes())) else {
            return Ok(Opened { plain: kept.clone(), is_stale: true });
        };
        if self.is_away.load(Ordering::Relaxed) {
            return Err("the key is away".into());
        }
        let is_stale = kept.first() != Some(&(b'0' + self.key.load(Ordering::Relaxed)));
        Ok(Opened { plain: turn(turned).into(), is_stale })
    }
}

/// Turns all bits, many at a time: tests open the same store again and again.
fn turn(bytes: &[u8]) -> Vec<u8> {
    let (many, rest) = bytes.as_chunks();
    let mut turned = Vec::with_capacity(bytes.len());
    many.iter().for_each(|some| turned.extend_from_slice(&(!u128::from_ne_bytes(*some)).to_ne_bytes()));
    turned.extend(rest.iter().map(|byte| !byte));
    turned
}

/// Each value has a key of its own, somewhere else: one that can be fetched (`/registry/near-`), or that cannot.
#[derive(Default)]
pub struct Elsewhere {
    here: Mutex<BTreeSet<String>>,
    fetches: AtomicUsize,
}

impl Sealing for Elsewhere {
    fn seal(&self, _key: &str, plain: &Bytes) -> Result<Bytes, Source> {
        Ok(plain.clone())
    }

    fn open(&self, key: &str, kept: &Bytes) -> Result<Opened, Source> {
        match self.here.lock().unwrap().contains(key) {
            true => Ok(Opened { plain: kept.clone(), is_stale: false }),
            false => Err("its key is not here".into()),
        }
    }

    fn fetch<'a>(&'a self, key: &'a str, _kept: &'a Bytes) -> BoxFuture<'a, bool> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let is_near = key.starts_with("/registry/near-");
        if is_near {
            self.here.lock().unwrap().insert(key.to_owned());
        }
        Box::pin(std::future::ready(is_near))
    }
}

impl Elsewhere {
    /// A store with more values that cannot be opened than are tried at once, before, between and behind those that can.
    pub async fn fill(engine: &dyn Engine) {
        for number in 0..20 {
            for name in ["a-lost", "near", "z-lost"] {
                engine.commit(put(&format!("/registry/{name}-{number:02}"), CANARY).into()).await.unwrap();
            }
        }
    }

    /// Everything has its turn, and at one time only so much is asked for in vain.
    pub async fn check(&self, engine: &dyn Engine) {
        const LOST: usize = 40;
        let mut rounds = 0;
        loop {
            let before = self.fetches.swap(0, Ordering::Relaxed);
            let here = || self.here.lock().unwrap().len();
            let (were_here, left) = (here(), engine.reopen().await.unwrap());
            let in_vain = self.fetches.load(Ordering::Relaxed) - (here() - were_here);
            assert!(in_vain <= 16, "{in_vain} fetches in vain, {before} before");
            if left == LOST {
                break;
            }
            rounds += 1;
            assert!(rounds <= 3, "{left} are left");
        }
        let snapshot = engine.newest().await.unwrap();
        let unreadable = snapshot.range("/registry/", None).filter(|(_, entry)| entry.index().is_unreadable());
        assert!(unreadable.map(|(key, _)| key).all(|key| key.contains("-lost-")));
    }
}

#[tokio::test]
async fn what_cannot_be_opened_keeps_nothing_else_from_being_opened() {
    let (directory, sealing) = (tempfile::tempdir().unwrap(), Arc::new(Elsewhere::default()));
    let engine = || {
        let sealing: Arc<dyn Sealing> = sealing.clone();
        Embedded::open(Options { sealing, ..Options::new(directory.path()) }).unwrap()
    };
    let filled = engine();
    Elsewhere::fill(&filled).await;
    filled.close().await;
    drop(filled);
    sealing.check(&engine()).await;
}

fn open(directory: &Path, sealing: &Arc<Turning>) -> Embedded {
    let sealing: Arc<dyn Sealing> = sealing.clone();
    Embedded::open(Options { sealing, ..Options::new(directory) }).unwrap()
}

fn put(key: &str, value: &'static [u8]) -> Operation {
    Operation { key: key.into(), condition: Condition::Any, change: Change::Put(Bytes::from_static(value)) }
}

/// Whether anything in the directory has the canary.
fn is_readable(directory: &Path) -> bool {
    let files = std::fs::read_dir(directory).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|content| has_canary(&content))
}

fn has_canary(content: &[u8]) -> bool {
    String::from_utf8_lossy(content).contains(std::str::from_utf8(CANARY).unwrap())
}

#[tokio::test]
async fn values_are_sealed_in_the_file_and_plain_in_memory() {
    let (directory, sealing) = (tempfile::tempdir().unwrap(), Arc::new(Turning::default()));
    let engine = open(directory.path(), &sealing);
    engine.commit(put("/registry/secrets/a", CANARY).into()).await.unwrap();
    engine.commit(put("/registry/secrets/a", CANARY).into()).await.unwrap();
    assert!(!is_readable(directory.path()));
    assert_eq!(engine.snapshot().get("/registry/secrets/a").unwrap().value, CANARY);
    engine.close().await;
    drop(engine);
    assert!(!is_readable(directory.path()));
    let engine = open(directory.path(), &sealing);
    assert_eq!(engine.snapshot().get("/registry/secrets/a").unwrap().value, CANARY);
    engine.commit(put("/registry/configmaps/a", CANARY).into()).await.unwrap();
    assert!(is_readable(directory.path()), "the search finds nothing");
}

/// A value that cannot be sealed is not written, and its commit not done, nor any part of it.
#[tokio::test]
async fn a_failure_to_seal_is_one_of_its_commit() {
    let (directory, sealing) = (tempfile::tempdir().unwrap(), Arc::new(Turning::default()));
    let engine = open(directory.path(), &sealing);
    sealing.is_away.store(true, Ordering::Relaxed);
    let both = vec![put("/registry/pods/a", b"1"), put("/registry/secrets/a", CANARY)];
    let refused = engine.commit(both.into()).await;
    assert!(matches!(refused, Err(CommitError::Rejected { .. })), "{refused:?}");
    assert!(engine.snapshot().is_empty() && engine.snapshot().revision() == 1);
    engine.commit(put("/registry/pods/a", b"1").into()).await.unwrap();
    sealing.is_away.store(false, Ordering::Relaxed);
    assert_eq!(engine.commit(put("/registry/secrets/a", CANARY).into()).await.unwrap().revision, 3);
}

/// A key that is away at the start: the store is there, those objects cannot be read, and later they can.
#[tokio::test]
async fn what_cannot_be_opened_may_be_later() {
    let (directory, sealing) = (tempfile::tempdir().unwrap(), Arc::new(Turning::default()));
    let engine = open(directory.path(), &sealing);
    for key in ["/registry/pods/a", "/registry/secrets/a", "/registry/secrets/b", "/registry/secrets/c"] {
        engine.commit(put(key, CANARY).into()).await.unwrap();
    }
    engine.close().await;
    drop(engine);
    sealing.is_away.store(true, Ordering::Relaxed);
    let engine = open(directory.path(), &sealing);
    let unreadable = |engine: &Embedded| {
        let snapshot = engine.snapshot();
        let unreadable = snapshot.range("/registry/", None).filter(|(_, entry)| entry.index().is_unreadable());
        unreadable.map(|(key, _)| key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(unreadable(&engine), ["/registry/secrets/a", "/registry/secrets/b", "/registry/secrets/c"]);
    assert_eq!(engine.reopen().await.unwrap(), 3);
    assert_eq!(engine.reseal().await.unwrap().unopened, 3);
    let version = engine.snapshot().get("/registry/secrets/b").unwrap().version;
    engine.commit(Operation::delete("/registry/secrets/b", version).into()).await.unwrap();
    let before = (engine.snapshot().revision(), engine.volume("/registry/secrets/").entries);
    let mut events = engine.subscribe("/registry/".into(), before.0).await.unwrap();
    sealing.is_away.store(false, Ordering::Relaxed);
    assert_eq!(engine.reopen().await.unwrap(), 0);
    assert_eq!(unreadable(&engine), [""; 0]);
    assert_eq!(engine.snapshot().get("/registry/secrets/a").unwrap().value, CANARY);
    assert_eq!((engine.snapshot().revision(), engine.volume("/registry/secrets/").entries), before);
    assert_eq!(events.try_next(), Ok(None), "nothing happened to them");
}

/// Under a new key everything is written anew, at the versions that it has; and values that were not sealed leave no trace.
#[tokio::test]
async fn values_are_sealed_anew() {
    const SECRETS: usize = 600;
    let directory = tempfile::tempdir().unwrap();
    let engine = Embedded::open(Options::new(directory.path())).unwrap();
    for number in 0..SECRETS {
        engine.commit(put(&format!("/registry/secrets/{number:04}"), CANARY).into()).await.unwrap();
    }
    engine.commit(put("/registry/pods/a", b"1").into()).await.unwrap();
    engine.close().await;
    drop(engine);
    assert!(is_readable(directory.path()));
    let sealing = Arc::new(Turning::default());
    let engine = open(directory.path(), &sealing);
    let versions = |engine: &Embedded| {
        let snapshot = engine.snapshot();
        let version = |(key, entry): (&portcullis_store::Key, &portcullis_store::Entry)| {
            (key.clone(), entry.version, entry.create_revision, entry.value.clone())
        };
        snapshot.range("/registry/", None).map(version).collect::<Vec<_>>()
    };
    let before = (versions(&engine), engine.snapshot().revision());
    let mut events = engine.subscribe("/registry/".into(), before.1).await.unwrap();
    let resealed = engine.reseal().await.unwrap();
    assert_eq!((resealed.rewritten, resealed.unopened), (SECRETS, 0));
    assert!(!is_readable(directory.path()), "what was not sealed can still be read");
    assert_eq!(engine.reseal().await.unwrap().rewritten, 0);
    sealing.key.store(1, Ordering::Relaxed);
    assert_eq!(engine.reseal().await.unwrap().rewritten, SECRETS);
    assert_eq!((versions(&engine), engine.snapshot().revision()), before);
    assert_eq!(events.try_next(), Ok(None));
    engine.close().await;
    drop(engine);
    assert!(embedded::check(directory.path()).unwrap().is_sound());
    let engine = open(directory.path(), &sealing);
    assert_eq!((versions(&engine), engine.snapshot().revision()), before);
    assert_eq!(engine.reseal().await.unwrap().rewritten, 0);
}

/// What was written before there was a seal, and then written over, removed or moved about, is readable nowhere once all is sealed.
#[tokio::test]
async fn what_was_plain_before_leaves_no_trace() {
    for seed in 0..6 {
        let (mut dice, disk) = (Dice(seed), SimulatedDisk::new());
        let open = |sealing: Arc<dyn Sealing>| {
            Embedded::open(Options { sealing, disk: disk.clone(), ..Options::new(disk.store()) }).unwrap()
        };
        let is_readable = || {
            let mut image = disk.live();
            ["store.db", "store.db-wal"].into_iter().any(|name| image.file(name).is_some_and(|file| has_canary(file)))
        };
        let engine = open(Arc::new(Unsealed));
        let secret = |number: usize| format!("/registry/secrets/{number:04}");
        let value = |bytes: usize| -> Bytes { CANARY.iter().copied().cycle().take(bytes.max(CANARY.len())).collect() };
        let put = |key: String, value: Bytes| Operation {
            key: key.into(),
            condition: Condition::Any,
            change: Change::Put(value),
        };
        for number in 0..400 {
            let bytes = [30, 3000, 12_000, 90_000][dice.below(4)];
            engine.commit(put(secret(number), value(bytes)).into()).await.unwrap();
            engine.commit(put(format!("/registry/pods/{number:04}"), vec![b'x'; bytes].into()).into()).await.unwrap();
        }
        for _ in 0..600 {
            let key = secret(dice.below(400));
            let operation = match dice.below(2) {
                0 => Operation { key: key.into(), condition: Condition::Any, change: Change::Delete },
                _ => put(key, value(dice.below(20_000))),
            };
            engine.commit(operation.into()).await.unwrap();
        }
        engine.maintain().await.unwrap();
        engine.close().await;
        drop(engine);
        assert!(is_readable());
        let engine = open(Arc::new(Turning::default()));
        let rewritten = engine.reseal().await.unwrap().rewritten;
        assert!(rewritten > 50, "seed {seed}");
        assert!(!is_readable(), "seed {seed}: what was plain can still be read");
        assert!(engine.verify().await.unwrap().is_sound(), "seed {seed}");
    }
}
