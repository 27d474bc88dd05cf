//! Memory is compared with what is stored while it is served: damage is healed, and what differs is named.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use portcullis_store::{
    Catalog, Change, Condition, Difference, Digest, Engine, Opened, Operation, Sealing,
    embedded::{self, Embedded, Options},
    engine::Source,
};
use tokio::sync::OnceCell;

use super::{
    etcd, expiry,
    random::{self, Dice, key, value},
};

const ROWS: usize = 1000;
const PAGE_BYTES: usize = 4096;

fn open(directory: &Path) -> Embedded {
    Embedded::open(Options::new(directory)).unwrap()
}

fn put(key: &str, value: impl Into<Bytes>) -> Operation {
    Operation { key: key.into(), condition: Condition::Any, change: Change::Put(value.into()) }
}

fn delete(key: &str) -> Operation {
    Operation { key: key.into(), condition: Condition::Present, change: Change::Delete }
}

async fn make(directory: &Path) {
    static MADE: OnceCell<Vec<u8>> = OnceCell::const_new();
    std::fs::write(store_file(directory), MADE.get_or_init(|| random::store_file(ROWS)).await).unwrap();
}

fn store_file(directory: &Path) -> std::path::PathBuf {
    directory.join("store.db")
}

fn find(content: &[u8], wanted: &[u8]) -> usize {
    content.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

/// Changes bytes of the file where it is, whoever has it open.
fn edit(directory: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(store_file(directory)).unwrap();
    let mut content = std::fs::read(store_file(directory)).unwrap();
    change(&mut content);
    file.write_all_at(&content, 0).unwrap();
}

#[tokio::test]
async fn what_is_whole_is_found_whole() {
    let directory = tempfile::tempdir().unwrap();
    let check = async |engine: &Embedded| {
        let (found, snapshot) = (engine.verify().await.unwrap(), engine.snapshot());
        assert!(found.is_sound(), "{found:?}");
        assert_eq!((found.revision, found.digested), (snapshot.revision(), Digest::of(&snapshot)));
        assert_eq!(found.digested.entries, snapshot.len() as u64);
    };
    check(&open(directory.path())).await;
    make(directory.path()).await;
    let engine = open(directory.path());
    check(&engine).await;
    engine.commit(put(&key(7), "other").into()).await.unwrap();
    engine.commit(delete(&key(8)).into()).await.unwrap();
    check(&engine).await;
    engine.close().await;
    assert!(engine.verify().await.is_err(), "nothing can be told");
}

/// Rows come, go and are moved while they are compared: that is no difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_are_no_difference() {
    for seed in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let engine = Arc::new(open(directory.path()));
        let done = Arc::new(AtomicBool::new(false));
        let (writing, written) = (Arc::clone(&engine), Arc::clone(&done));
        let writer = tokio::spawn(async move {
            let mut dice = Dice(seed);
            for _ in 0..60 {
                let number = dice.below(ROWS);
                let some = (number..number + 40).map(|number| match dice.below(3) {
                    0 => Operation { condition: Condition::Any, ..delete(&key(number)) },
                    _ => put(&key(number), value(dice.below(ROWS)).repeat(1 + dice.below(20))),
                });
                writing.commit(some.collect::<Vec<_>>().into()).await.unwrap();
                writing.maintain().await.unwrap();
            }
            written.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let found = engine.verify().await.unwrap();
            assert!(found.is_sound(), "seed {seed}: {found:?}");
        }
        writer.await.unwrap();
        assert!(engine.verify().await.unwrap().is_sound(), "seed {seed}");
    }
}

/// Bytes of rows change behind the server's back: what was in them is there again.
#[tokio::test]
async fn damaged_rows_are_healed() {
    for seed in 0..10 {
        let mut dice = Dice(seed);
        let directory = tempfile::tempdir().unwrap();
        make(directory.path()).await;
        let engine = open(directory.path());
        let mut hit: Vec<usize> = (0..1 + dice.below(20)).map(|_| dice.below(ROWS)).collect();
        hit.sort_unstable();
        hit.dedup();
        edit(directory.path(), |content| {
            for number in &hit {
                let row = [key(*number).as_bytes(), &value(*number)].concat();
                let at = find(content, &row) + dice.below(row.len());
                content[at] ^= 1 << dice.below(8);
            }
        });
        let found = engine.verify().await.unwrap();
        let mut healed: Vec<String> = found.healed.named.iter().map(ToString::to_string).collect();
        healed.sort_unstable();
        let mut expected: Vec<String> = hit.iter().map(|number| key(*number)).collect();
        expected.sort_unstable();
        assert_eq!(healed, expected, "seed {seed}");
        assert!(found.is_consistent() && found.damaged.is_empty(), "seed {seed}: {found:?}");
        assert!(engine.verify().await.unwrap().is_sound(), "seed {seed}: it is healed");
        let before = engine.snapshot();
        engine.close().await;
        drop(engine);
        assert!(embedded::check(directory.path()).unwrap().is_sound(), "seed {seed}");
        let engine = open(directory.path());
        let after = engine.snapshot();
        assert!(engine.damaged().is_empty() && before.range("", None).eq(after.range("", None)), "seed {seed}");
    }
}

/// A row that was damaged when the store was opened is nowhere else: it stays damaged, and is told each time.
#[tokio::test]
async fn what_nobody_has_whole_is_not_healed() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path()).await;
    edit(directory.path(), |content| {
        let at = find(content, key(3).as_bytes()) + key(3).len() + 2;
        content[at] ^= 1;
    });
    let engine = open(directory.path());
    assert_eq!(engine.damaged().len(), 1);
    for _ in 0..2 {
        let found = engine.verify().await.unwrap();
        assert_eq!((found.damaged.count, found.healed.count, found.is_consistent()), (1, 0, true), "{found:?}");
        assert!(found.damaged.named[0].contains(&key(3)), "{found:?}");
    }
    engine.commit(put(&key(3), "anew").into()).await.unwrap();
    assert!(engine.verify().await.unwrap().is_sound());
}

/// What is healed still has its time, and is still sealed.
#[tokio::test]
async fn healed_rows_expire_as_before() {
    let directory = tempfile::tempdir().unwrap();
    let clocks = expiry::Clocks::new();
    let engine = expiry::open(directory.path(), &clocks);
    engine.commit(put("/registry/events/a", "canary-of-an-event").into()).await.unwrap();
    engine.close().await;
    drop(engine);
    let engine = expiry::open(directory.path(), &clocks);
    edit(directory.path(), |content| {
        let at = find(content, b"canary-of-an-event");
        content[at] ^= 1;
    });
    clocks.pass(Duration::from_secs(1800));
    assert_eq!(engine.verify().await.unwrap().healed.count, 1);
    assert!(engine.verify().await.unwrap().is_sound());
    engine.close().await;
    drop(engine);
    assert_eq!(embedded::check(directory.path()).unwrap().expiring, 1);
    let engine = expiry::open(directory.path(), &clocks);
    clocks.pass(Duration::from_secs(1799));
    engine.maintain().await.unwrap();
    assert_eq!(engine.snapshot().len(), 1);
    clocks.pass(Duration::from_secs(1));
    engine.maintain().await.unwrap();
    assert_eq!(engine.snapshot().len(), 0);
}

/// A file of another time under a running server: all that differs is named, and left as it is.
#[tokio::test]
async fn whole_rows_that_differ_are_named() {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(directory.path()).await;
    std::fs::copy(store_file(directory.path()), store_file(other.path())).unwrap();
    let engine = open(other.path());
    let revision = engine.snapshot().revision();
    engine.commit(put(&key(1), value(1)).into()).await.unwrap();
    engine.commit(delete(&key(2)).into()).await.unwrap();
    engine.commit(put("/registry/new", "new").into()).await.unwrap();
    engine.close().await;
    drop(engine);
    let engine = open(directory.path());
    let content = std::fs::read(store_file(other.path())).unwrap();
    edit(directory.path(), |held| *held = content);
    let found = engine.verify().await.unwrap();
    let created = engine.snapshot().get(&key(1)).unwrap().version;
    let expected = [
        Difference::Version { key: key(1).into(), memory: (created, created), stored: (revision + 1, created) },
        Difference::NotInMemory { key: "/registry/new".into() },
        Difference::Revision { memory: revision, stored: revision + 3 },
        Difference::NotStored { key: key(2).into() },
    ];
    assert_eq!((&found.differences.named[..], found.differences.count), (&expected[..], 4));
    assert!(found.healed.is_empty() && !found.is_consistent() && found.unread.is_none(), "{found:?}");
    assert_eq!(engine.verify().await.unwrap().differences.count, 4, "nothing was changed");
    let shown = found.differences.named.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(!shown.contains(std::str::from_utf8(&value(1)).unwrap()), "no value is shown: {shown}");
}

/// A page that SQLite itself cannot read ends nothing: what is served is in memory, and rows behind that page are compared as ever.
#[tokio::test]
async fn a_page_that_cannot_be_read_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    make(directory.path()).await;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&failures);
    let on_failure = Box::new(move |reason: &str| noted.lock().unwrap().push(reason.to_owned()));
    let engine = Embedded::open(Options { on_failure, ..Options::new(directory.path()) }).unwrap();
    edit(directory.path(), |content| {
        let page = find(content, key(ROWS / 2).as_bytes()) / PAGE_BYTES;
        content[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].fill(0xa5);
        let behind = find(content, key(ROWS * 3 / 4).as_bytes()) + key(0).len();
        content[behind] ^= 1;
    });
    let found = engine.verify().await.unwrap();
    let why = found.unread.as_ref().unwrap();
    assert!(why.starts_with("row ") && why.contains(" of \"/registry/") && why.contains("backup"), "{why}");
    assert!(!found.is_consistent() && found.differences.is_empty() && found.damaged.is_empty(), "{found:?}");
    assert_eq!(found.healed.named, [key(ROWS * 3 / 4).into()]);
    assert_eq!(engine.snapshot().len(), ROWS);
    engine.commit(put("/registry/new", "new").into()).await.unwrap();
    assert_eq!(*failures.lock().unwrap(), [""; 0]);
}

/// Values that cannot be opened now are no difference, and are counted.
#[tokio::test]
async fn what_cannot_be_opened_is_counted() {
    struct Locked(AtomicBool);
    impl Sealing for Locked {
        fn seal(&self, _key: &str, plain: &Bytes) -> Result<Bytes, Source> {
            Ok([b"sealed ", &plain[..]].concat().into())
        }
        fn open(&self, _key: &str, kept: &Bytes) -> Result<Opened, Source> {
            if self.0.load(Ordering::Relaxed) {
                return Err("the key is away".into());
            }
            Ok(Opened { plain: kept.slice(7..), is_stale: false })
        }
    }
    let (directory, sealing) = (tempfile::tempdir().unwrap(), Arc::new(Locked(AtomicBool::new(false))));
    let open = || {
        let sealing: Arc<dyn Sealing> = sealing.clone();
        Embedded::open(Options { sealing, ..Options::new(directory.path()) }).unwrap()
    };
    let engine = open();
    engine.commit(put("/registry/a", "a").into()).await.unwrap();
    assert!(engine.verify().await.unwrap().is_sound());
    sealing.0.store(true, Ordering::Relaxed);
    let found = engine.verify().await.unwrap();
    assert_eq!((&*found.unopened.named[0], found.is_consistent(), found.is_sound()), ("/registry/a", true, false));
    engine.close().await;
    drop(engine);
    // Memory has it as it stands there: that can be compared.
    assert!(open().verify().await.unwrap().is_sound());
}

/// Reads what etcd holds in one way and later in another, as a fault would.
struct Moody(AtomicBool);

impl Catalog for Moody {
    fn own_form(&self, key: &str, held: &Bytes) -> Result<Bytes, Source> {
        let is_wrong = self.0.load(Ordering::Relaxed) && key.ends_with("0007");
        Ok(if is_wrong { "wrong".into() } else { held.to_ascii_uppercase().into() })
    }
}

/// A copy that differs from etcd is found, named, and made anew; while others write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_differs_from_etcd_is_made_anew() {
    let data = etcd::directory();
    let Some(server) = etcd::start_plain(&data) else { return };
    let catalog = Arc::new(Moody(AtomicBool::new(false)));
    let options = etcd::plain_options(&server);
    let engine = etcd::connect_with(portcullis_store::etcd::Options { catalog: catalog.clone(), ..options }).await;
    for number in 0..1200 {
        engine.commit(put(&key(number), "value").into()).await.unwrap();
    }
    let mut newest = engine.newest().await.unwrap();
    let found = engine.verify().await.unwrap();
    assert!(found.is_sound(), "{found:?}");
    assert_eq!((found.revision, found.digested), (newest.revision(), Digest::of(&newest)));
    catalog.0.store(true, Ordering::Relaxed);
    engine.commit(put(&key(7), "other").into()).await.unwrap();
    engine.commit(delete(&key(8)).into()).await.unwrap();
    newest = engine.newest().await.unwrap();
    assert_eq!(newest.get(&key(7)).unwrap().value, "wrong");
    catalog.0.store(false, Ordering::Relaxed);
    let mut watch = engine.subscribe("/registry/".into(), newest.revision()).await.unwrap();
    let found = engine.verify().await.unwrap();
    assert_eq!((&found.differences.named[..], found.unread), (&[Difference::Value { key: key(7).into() }][..], None));
    // Who follows starts again.
    assert!(watch.next().await.is_err());
    assert_eq!(engine.snapshot().get(&key(7)).unwrap().value, "OTHER");
    assert!(engine.verify().await.unwrap().is_sound());
}
