//! The embedded engine: the suite, its directory, its formats, and recovery.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use portcullis_store::{
    Catalog, Change, CommitError, Condition, Engine, Index, IndexBuilder, Operation, Refusal, Snapshot, Term, Text,
    embedded::{self, Embedded, FORMAT, OpenError, Options, VALUE_BYTES_MAX},
    engine::OPERATIONS_MAX,
    suite,
};

use crate::vfs::SimulatedDisk;

fn open(directory: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(Options::new(directory))
}

/// Changes the file behind the engine's back.
fn edit(directory: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(directory.join("store.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_passes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    suite::run(Arc::new(move || {
        let engine: Arc<dyn Engine> = Arc::new(open(&path).unwrap());
        Box::pin(async move { engine })
    }))
    .await;
}

/// The newest snapshot is there without a runtime, at the first poll.
#[test]
fn newest_is_ready_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    let mut newest = std::pin::pin!(engine.newest());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(snapshot) = newest.as_mut().poll(&mut context) else { panic!("it waits") };
    assert_eq!(snapshot.unwrap().revision(), 1);
}

#[test]
fn a_directory_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap();
    let error = open(directory.path()).map(|_| ()).unwrap_err().to_string();
    let (path, pid) = (directory.path(), std::process::id());
    assert_eq!(
        error,
        format!("the store in {path:?} is in use by process {pid}: stop it, or use another data directory")
    );
    drop(first);
    open(directory.path()).unwrap();
}

#[tokio::test]
async fn files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/store");
    let engine = open(&path).unwrap();
    engine.commit(Operation::create("/registry/secrets/a/b", "c".into()).into()).await.unwrap();
    let mut modes: Vec<(String, u32)> = std::fs::read_dir(&path)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| {
            let mode = file.metadata().unwrap().permissions().mode() & 0o7777;
            (file.file_name().into_string().unwrap(), mode)
        })
        .collect();
    modes.sort();
    let expected = [("lock", 0o600), ("store.db", 0o600), ("store.db-wal", 0o600)];
    assert_eq!(modes, expected.map(|(name, mode)| (name.to_string(), mode)));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
}

/// Data directories are often reached through a link; the files themselves must not be links.
#[test]
fn links() {
    let parent = tempfile::tempdir().unwrap();
    let (real, link) = (parent.path().join("real"), parent.path().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    drop(open(&link).unwrap());
    drop(open(&real).unwrap());
    std::fs::rename(real.join("store.db"), parent.path().join("elsewhere.db")).unwrap();
    std::os::unix::fs::symlink(parent.path().join("elsewhere.db"), real.join("store.db")).unwrap();
    let error = open(&link).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::FileFailed { action: "open", .. }), "{error:?}");
}

/// What the opener of a changed file is told.
#[test]
fn unusable_files() {
    let check = |sql: &str, expected: &str| {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        edit(directory.path(), sql);
        let before = std::fs::read(directory.path().join("store.db")).unwrap();
        let error = open(directory.path()).map(|_| ()).unwrap_err().to_string();
        let file = directory.path().join("store.db");
        let expected = expected.replace("FILE", &format!("{file:?}")).replace("FORMAT", &FORMAT.to_string());
        assert_eq!(error, expected, "{sql}");
        let after = std::fs::read(directory.path().join("store.db")).unwrap();
        assert!(before == after, "{sql}: a refused file was changed");
    };
    check(
        "UPDATE meta SET value = 900 WHERE name = 'format'",
        "the store file FILE has format 900, this program reads formats up to FORMAT: use the release that wrote \
         it, or a newer one",
    );
    check(
        "UPDATE meta SET value = 0 WHERE name = 'format'",
        "the store file FILE is damaged: format 0 has never existed",
    );
    check("UPDATE meta SET value = -1 WHERE name = 'revision'", "the store file FILE is damaged: its revision is -1");
    check("PRAGMA application_id = 7", "FILE is not a store of this program");
    check("DELETE FROM meta", "cannot read the store file FILE");
    check(
        "UPDATE meta SET value = 9 WHERE name = 'revision'",
        "the store file FILE is damaged: its revision, 9, is not as it was written: repair the store",
    );
    check("UPDATE meta SET value = 2 WHERE name = 'format'", "cannot upgrade the store file FILE");
}

#[test]
fn a_file_of_something_else_is_refused() {
    let check = |content: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store.db");
        std::fs::write(&file, content).unwrap();
        let error = open(directory.path()).map(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::NotAStore { .. }), "{error:?}");
        assert_eq!(std::fs::read(&file).unwrap(), content);
    };
    check(b"");
    check(&[b'x'; 5000]);
}

/// A store whose making was interrupted is made again.
#[test]
fn an_interrupted_start_leaves_nothing_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("store.db.new"), b"half of something").unwrap();
    std::fs::write(directory.path().join("store.db.new-wal"), b"half of something").unwrap();
    let engine = open(directory.path()).unwrap();
    assert!(engine.snapshot().is_empty());
}

/// Enough writes for several checkpoints and a WAL that starts over.
#[tokio::test]
async fn checkpoints_keep_everything() {
    const WRITES: u64 = 60;
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path()).unwrap();
    for number in 0..WRITES {
        let value = vec![number as u8; 1 << 20];
        engine.commit(Operation::create(format!("/registry/{number:04}"), value.into()).into()).await.unwrap();
    }
    let wal = directory.path().join("store.db-wal").metadata().unwrap().len();
    assert!(wal < 32 << 20, "the WAL has {wal} bytes: it was never moved into the database");
    engine.close().await;
    drop(engine);
    let engine = open(directory.path()).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.len() as u64, snapshot.revision()), (WRITES, WRITES + 1));
    for (number, (_, entry)) in snapshot.range("/registry/", None).enumerate() {
        assert!(entry.value.len() == 1 << 20 && entry.value.iter().all(|byte| *byte == number as u8));
    }
}

/// What releases before format 3 made, to the letter, with two rows. The second format said in which epoch a value was written.
const FORMAT_1: &str = "PRAGMA journal_mode = WAL; PRAGMA application_id = 1349481076;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('format', 1), ('revision', 7);
    CREATE TABLE objects (
        key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, create_revision INTEGER NOT NULL, value BLOB NOT NULL
    ) STRICT;
    INSERT INTO objects VALUES ('/registry/b', 6, 6, x'32'), ('/registry/a', 5, 4, x'31');";
const FORMAT_2: &str = "ALTER TABLE objects ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
    UPDATE meta SET value = 2 WHERE name = 'format';";

/// Files of older formats are brought to the present one, with everything in them, and a WAL that was not emptied.
#[tokio::test]
async fn older_formats_are_upgraded() {
    let check = async |sql: &str, format: u64| {
        let directory = tempfile::tempdir().unwrap();
        let file = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
        file.execute_batch(sql).unwrap();
        // As after a kill: the WAL is as it was, for nobody closes the file.
        let wal = std::fs::read(directory.path().join("store.db-wal")).unwrap();
        let content = std::fs::read(directory.path().join("store.db")).unwrap();
        drop(file);
        std::fs::write(directory.path().join("store.db"), content).unwrap();
        std::fs::write(directory.path().join("store.db-wal"), wal).unwrap();
        let report = embedded::check(directory.path()).unwrap();
        assert_eq!(
            (report.format, report.rows, report.revision, report.is_sound()),
            (format, 2, 7, true),
            "{report:?}"
        );
        for opened in 0..2 {
            let engine = open(directory.path()).unwrap();
            let entry = engine.snapshot().get("/registry/a").cloned().unwrap();
            assert_eq!((entry.version, entry.create_revision, &entry.value[..]), (5, 4, &b"1"[..]), "{opened}");
            let committed = engine.commit(Operation::create(format!("/registry/b{opened}"), "2".into()).into()).await;
            assert_eq!(committed.unwrap().revision, 8 + opened);
        }
        let report = embedded::check(directory.path()).unwrap();
        assert_eq!(
            (report.format, report.rows, report.revision, report.is_sound()),
            (FORMAT, 4, 9, true),
            "{report:?}"
        );
        assert_eq!(report.by_resource.values().map(|(rows, _)| rows).sum::<usize>(), 4);
    };
    check(FORMAT_1, 1).await;
    check(&[FORMAT_1, FORMAT_2].concat(), 2).await;
}

/// What is taken at the limits of a commit is there after a restart, among as many rows as a large cluster has. What is beyond them is
/// refused.
#[tokio::test]
async fn the_limits_outlive_a_restart() {
    const ROWS: usize = 200_000;
    let disk = SimulatedDisk::new();
    let open = || Embedded::open(Options { disk: disk.clone(), ..Options::new(disk.store()) }).unwrap();
    let create = |key: String, bytes: usize| Operation::create(key, vec![b'x'; bytes].into());
    let key = |number: usize| format!("/registry/events/{number:06}");
    let large = |bytes: usize| vec![create("/registry/configmaps/large".to_owned(), bytes)];
    let many = |first: usize, count: usize| (first..first + count).map(|n| create(key(n), n % 7)).collect::<Vec<_>>();
    let engine = open();
    for first in (0..ROWS).step_by(OPERATIONS_MAX) {
        engine.commit(many(first, OPERATIONS_MAX.min(ROWS - first)).into()).await.unwrap();
    }
    engine.commit(large(VALUE_BYTES_MAX).into()).await.unwrap();
    let refused = engine.commit(many(ROWS, OPERATIONS_MAX + 1).into()).await;
    assert!(matches!(refused, Err(CommitError::Refused(Refusal::TooManyOperations { .. }))), "{refused:?}");
    let refused = engine.commit(large(VALUE_BYTES_MAX + 1).into()).await;
    assert!(matches!(refused, Err(CommitError::Refused(Refusal::ValueTooLarge { .. }))), "{refused:?}");
    engine.close().await;
    drop(engine);
    let snapshot = open().snapshot();
    assert_eq!(snapshot.len(), ROWS + 1);
    assert!((0..ROWS).all(|n| snapshot.get(&key(n)).is_some_and(|entry| entry.value.len() == n % 7)));
    assert!(snapshot.get("/registry/configmaps/large").unwrap().value == vec![b'x'; VALUE_BYTES_MAX]);
}

/// Values that have one label, whose value they are.
struct Labels;

impl Catalog for Labels {
    fn index(&self, _key: &str, value: &[u8]) -> Index {
        let mut index = IndexBuilder::default();
        index.label(Text::Own("is".to_owned()), Text::In(0..value.len()));
        index.finish()
    }
}

/// What is looked for by a word is found from the first moment on, while entries are changed; once the words were read after the start,
/// nothing else is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_read_after_a_start() {
    const ENTRIES: usize = 20_000;
    const KINDS: usize = 7;
    const CHANGES: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    let open = || Embedded::open(Options { catalog: Arc::new(Labels), ..Options::new(directory.path()) }).unwrap();
    let key = |number: usize| format!("/registry/{number:05}");
    let value = |kind: usize| format!("kind-{kind}").into_bytes();
    let put = |number: usize, kind: usize| Operation {
        key: key(number).into(),
        condition: Condition::Any,
        change: Change::Put(value(kind).into()),
    };
    let engine = open();
    let numbers: Vec<usize> = (0..ENTRIES).collect();
    for some in numbers.chunks(OPERATIONS_MAX) {
        let all: Vec<Operation> = some.iter().map(|number| put(*number, number % KINDS)).collect();
        engine.commit(all.into()).await.unwrap();
    }
    engine.close().await;
    drop(engine);

    let engine = open();
    let mut kinds: Vec<usize> = (0..ENTRIES).map(|number| number % KINDS).collect();
    let looked_at = |snapshot: &Snapshot, kinds: &[usize], kind: usize| {
        let word = Term::label("is", &format!("kind-{kind}"));
        let candidates: Vec<_> = snapshot.candidates("/registry/", None, &[word]).collect();
        let found = candidates.iter().filter(|(_, entry)| entry.value == value(kind)).map(|(key, _)| key.to_string());
        let expected = numbers.iter().filter(|number| kinds[**number] == kind).map(|number| key(*number));
        assert!(found.eq(expected), "kind {kind}");
        candidates.len()
    };
    for change in 0..CHANGES {
        let (number, kind) = (change * 7919 % ENTRIES, change % KINDS);
        engine.commit(put(number, kind).into()).await.unwrap();
        kinds[number] = kind;
        looked_at(&engine.snapshot(), &kinds, kind);
    }
    engine.maintain().await.unwrap();
    let snapshot = engine.snapshot();
    let all: usize = (0..KINDS).map(|kind| looked_at(&snapshot, &kinds, kind)).sum();
    assert_eq!(all, ENTRIES);
}

/// Step three of the memory budget: the state itself fills it. What does not make it larger still passes.
#[tokio::test]
async fn a_state_that_fills_the_memory_takes_no_more() {
    const MIB: usize = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let options = Options { memory_bytes_max: 32 * MIB, ..Options::new(directory.path()) };
    let engine = Embedded::open(options).unwrap();
    let put = |name: usize, bytes: usize| {
        let key = format!("/registry/{name}").into();
        Operation { key, condition: Condition::Any, change: Change::Put(vec![0; bytes].into()) }
    };
    let mut held = 0;
    let refused = loop {
        match engine.commit(put(held, 3 * MIB).into()).await {
            Ok(_) => held += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.to_string(), "the stored objects take all 33554432 bytes of memory that they may take");
    assert_eq!((held, engine.stats().writes_refused), (10, 1));
    engine.commit(put(0, 3 * MIB).into()).await.unwrap();
    engine.commit(put(0, MIB).into()).await.unwrap();
    let delete = Operation { key: "/registry/1".into(), condition: Condition::Any, change: Change::Delete };
    engine.commit(delete.into()).await.unwrap();
    engine.commit(put(11, 3 * MIB).into()).await.unwrap();
}
