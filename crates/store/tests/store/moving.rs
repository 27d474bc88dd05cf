//! The content of an embedded store, out of it and into another: by its file, while it is in use, and entry by entry.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use portcullis_store::{
    Change, Commit, Condition, Engine, Opaque, Operation, Unsealed,
    embedded::{self, Embedded, FreezeError, Frozen, OpenError, Options},
    transfer::{Content, Item},
};

use super::Events;

const WRITERS: usize = 32;
const BACKUPS: usize = 3;
/// Commits while a backup is made: the WAL would have been moved into the file by then.
const COMMITS_MEANWHILE: u64 = 2500;
/// Revision of an empty store.
const FIRST_REVISION: u64 = 1;

fn put(key: &str, value: impl Into<Bytes>) -> Operation {
    Operation { key: key.into(), condition: Condition::Any, change: Change::Put(value.into()) }
}

fn save(mut frozen: Frozen, to: &Path) -> bool {
    let mut content = Vec::new();
    frozen.read_to_end(&mut content).unwrap();
    assert_eq!(content.len() as u64, frozen.size());
    File::create(to).unwrap().write_all(&content).unwrap();
    frozen.is_whole()
}

async fn content(raw: portcullis_store::transfer::Raw) -> Content {
    raw.open(&Opaque, &Unsealed).await
}

async fn file_content(file: &Path) -> Content {
    content(embedded::read_file(file).unwrap()).await
}

fn values(content: &Content) -> Vec<(String, u64, u64, Bytes)> {
    let of = |item: &Item| (item.key.to_string(), item.version, item.create_revision, item.value.clone());
    content.items.iter().map(of).collect()
}

/// Each writer counts, in two entries at once, and each commit is one revision: so of a state between two commits the counts are equal
/// in pairs, and together they are the revision.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_state_between_two_commits() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Arc::new(Embedded::open(Options::new(directory.path().join("store"))).unwrap());
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (engine, is_over) = (Arc::clone(&engine), Arc::clone(&is_over));
        writers.spawn(async move {
            let mut count = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                count += 1;
                // Rows grow and shrink, so that pages are split and given back.
                let value = format!("{count:020}{}", "x".repeat((count as usize * 37) % 3000));
                let operations = ["a", "b"].map(|name| put(&format!("/registry/{name}/{writer:03}"), value.clone()));
                engine.commit(Commit { operations: operations.to_vec() }).await.unwrap();
            }
            count
        });
    }
    let mut revisions = Vec::new();
    for number in 0..BACKUPS {
        let before = engine.snapshot().revision();
        let frozen = engine.freeze().await.unwrap();
        // Commits go on while the file stays as it is.
        while engine.snapshot().revision() < before + COMMITS_MEANWHILE {
            tokio::task::yield_now().await;
        }
        assert!(matches!(engine.freeze().await, Err(FreezeError::Busy)));
        let file = directory.path().join(format!("backup-{number}"));
        assert!(save(frozen, &file));
        let report = embedded::check_file(&file).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let content = file_content(&file).await;
        assert!(content.unreadable.is_empty() && content.revision >= before);
        let count = |item: &Item| std::str::from_utf8(&item.value[..20]).unwrap().parse::<u64>().unwrap();
        let (a, b) = content.items.split_at(content.items.len() / 2);
        assert!(a.iter().zip(b).all(|(a, b)| a.value == b.value && a.version == b.version));
        assert_eq!(a.iter().map(count).sum::<u64>() + FIRST_REVISION, content.revision);
        revisions.push(content.revision);
    }
    assert!(revisions.is_sorted() && revisions[0] < revisions[BACKUPS - 1], "{revisions:?}");
    is_over.store(true, Ordering::Relaxed);
    writers.join_all().await;
    engine.maintain().await.unwrap();
    // A store that is closed is not what was frozen any more.
    let frozen = engine.freeze().await.unwrap();
    assert!(frozen.is_whole());
    engine.close().await;
    assert!(!frozen.is_whole());
    assert!(matches!(engine.freeze().await, Err(FreezeError::Closed)));
    drop(engine);
    // And one that nobody has open is all of it.
    let (file, store) = (directory.path().join("closed"), directory.path().join("store"));
    let frozen = embedded::freeze(&store).unwrap();
    assert!(matches!(embedded::freeze(&store), Err(OpenError::InUse { .. })));
    assert!(save(frozen, &file));
    let (left, right) = (file_content(&file).await, content(embedded::read(&store).unwrap()).await);
    assert_eq!((values(&left), left.revision), (values(&right), right.revision));
}

/// A store with a few entries, and the path of a backup of it.
async fn backup(directory: &Path) -> PathBuf {
    let store = directory.join("first");
    let engine = Embedded::open(Options::new(&store)).unwrap();
    for number in 0..50 {
        engine.commit(put(&format!("/registry/a/{number:03}"), format!("value {number}")).into()).await.unwrap();
    }
    engine.commit(put("/registry/a/007", "again").into()).await.unwrap();
    let file = directory.join("backup");
    assert!(save(engine.freeze().await.unwrap(), &file));
    // What comes after it was handed out, too.
    engine.commit(put("/registry/a/007", "later").into()).await.unwrap();
    engine.close().await;
    file
}

#[tokio::test]
async fn a_restored_store_goes_on_where_nobody_has_been() {
    let directory = tempfile::tempdir().unwrap();
    let file = backup(directory.path()).await;
    let store = directory.path().join("second");
    let restored = embedded::restore(&file, &store, 1_000_000).unwrap();
    // There is none before it has its name.
    drop(restored.prepared);
    assert!(matches!(embedded::read(&store), Err(OpenError::NoStore { .. })));
    let restored = embedded::restore(&file, &store, 1_000_000).unwrap();
    assert_eq!((restored.rows, restored.left_out.len()), (50, 0));
    assert_eq!(restored.revision, restored.revision_before + 1_000_000);
    restored.prepared.finish().unwrap();
    assert!(embedded::check(&store).unwrap().is_sound());
    let (left, right) = (file_content(&file).await, content(embedded::read(&store).unwrap()).await);
    assert_eq!(values(&left), values(&right));
    assert_eq!(right.revision, restored.revision);
    // What was there already stays.
    assert!(matches!(embedded::restore(&file, &store, 1), Err(OpenError::StoreThere { .. })));
    let engine = Embedded::open(Options::new(&store)).unwrap();
    assert_eq!(engine.snapshot().get("/registry/a/007").unwrap().value, "again");
    let committed = engine.commit(put("/registry/a/007", "new").into()).await.unwrap();
    assert_eq!(committed.revision, restored.revision + 1);
}

#[tokio::test]
async fn what_is_whole_of_a_damaged_backup_is_restored() {
    let check = async |sql: &str, expected: usize| {
        let directory = tempfile::tempdir().unwrap();
        let file = backup(directory.path()).await;
        rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
        assert!(!embedded::check_file(&file).unwrap().is_sound(), "{sql}");
        let store = directory.path().join("second");
        let restored = embedded::restore(&file, &store, 1_000).unwrap();
        assert_eq!((restored.left_out.len(), restored.rows as usize), (expected, 50 - expected), "{sql}");
        restored.prepared.finish().unwrap();
        assert!(embedded::check(&store).unwrap().is_sound(), "{sql}");
        assert_eq!(Embedded::open(Options::new(&store)).unwrap().snapshot().len(), 50 - expected, "{sql}");
    };
    check("UPDATE objects SET value = x'00' WHERE id = 3", 1).await;
    check("UPDATE objects SET key = 'nobody' WHERE id IN (3, 4)", 2).await;
    check("UPDATE meta SET value = 3 WHERE name = 'revision'", 0).await;
    check("UPDATE meta SET value = value - 1, checksum = 0 WHERE name = 'rows'", 0).await;
}

#[tokio::test]
async fn what_is_no_backup_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let check = |content: &[u8], part: &str| {
        std::fs::write(&file, content).unwrap();
        let error = embedded::restore(&file, &directory.path().join("store"), 1).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    };
    check(b"", "is not a store");
    check(b"something else that is long enough to be looked at, and is no database", "is not a store");
    let whole = std::fs::read(backup(directory.path()).await).unwrap();
    // A part of one: whatever is said of it, no store is made.
    for part in [100, 4096, whole.len() - 1] {
        std::fs::write(&file, &whole[..part]).unwrap();
        let is_refused = embedded::check_file(&file).map_or(true, |report| !report.is_sound());
        assert!(is_refused, "{part} of {} bytes", whole.len());
    }
    assert!(embedded::restore(Path::new("/nowhere"), &directory.path().join("store"), 1).is_err());
    assert!(!directory.path().join("store/store.db").exists());
}

/// It changes while it is read, and the newest commits may be beside it.
#[tokio::test]
async fn the_file_of_a_store_is_no_backup() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (store, killed) = (at("store"), at("killed"));
    let engine = Embedded::open(Options::new(&store)).unwrap();
    engine.commit(put("/registry/a", "1").into()).await.unwrap();
    std::os::unix::fs::symlink(store.join("store.db"), at("link")).unwrap();
    for file in [store.join("store.db"), at("link")] {
        assert!(matches!(embedded::read_file(&file), Err(OpenError::FileInUse { .. })), "{file:?}");
        assert!(matches!(embedded::check_file(&file), Err(OpenError::FileInUse { .. })), "{file:?}");
        assert!(matches!(embedded::restore(&file, &killed, 1), Err(OpenError::FileInUse { .. })), "{file:?}");
    }
    std::fs::create_dir(&killed).unwrap();
    for name in ["store.db", "store.db-wal", "lock"] {
        std::fs::copy(store.join(name), killed.join(name)).unwrap();
    }
    assert!(matches!(embedded::read_file(&killed.join("store.db")), Err(OpenError::HasWal { .. })));
    engine.close().await;
    assert_eq!(file_content(&store.join("store.db")).await.items.len(), 1);
}

/// Versions, forms and what is left of a life are carried over; the values are sealed anew.
#[tokio::test]
async fn entries_are_carried_over_with_all_their_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let item = |key: &str, version, create_revision, epoch, expires| Item {
        key: key.into(),
        version,
        create_revision,
        epoch,
        expires,
        value: Bytes::from(format!("value of {key}")),
    };
    let items = vec![
        item("/registry/a", 7, 3, 4, None),
        item("/registry/b", 100, 100, 0, None),
        item("/registry/events/a", 50, 40, 0, Some(9_999_999_999)),
    ];
    let mut given = Content { revision: 100, items, unreadable: Vec::new() };
    let store = directory.path().join("store");
    let prepared = embedded::prepare(&store, &given, &Unsealed).unwrap();
    assert!(!store.join("store.db").exists());
    let numbers = |content: &Content| {
        let of = |item: &Item| (item.version, item.create_revision, item.epoch, item.expires);
        content.items.iter().map(of).collect::<Vec<_>>()
    };
    let written = content(prepared.read().unwrap()).await;
    assert_eq!(numbers(&written), numbers(&given));
    assert_eq!(given.first_difference(&written, &Opaque), None);
    prepared.finish().unwrap();
    assert!(embedded::check(&store).unwrap().is_sound());
    assert!(matches!(embedded::prepare(&store, &given, &Unsealed), Err(OpenError::StoreThere { .. })));
    let catalog = Arc::new(Events(Duration::from_secs(3600)));
    let engine = Embedded::open(Options { catalog, ..Options::new(&store) }).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.revision(), snapshot.len()), (100, 3));
    let entry = snapshot.get("/registry/a").unwrap();
    assert_eq!((entry.version, entry.create_revision), (7, 3));
    // What contradicts itself is not written.
    given.items[0].version = 101;
    assert!(embedded::prepare(&directory.path().join("other"), &given, &Unsealed).is_err());
    assert!(!directory.path().join("other/store.db").exists());
}
