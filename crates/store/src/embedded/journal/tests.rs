#![allow(clippy::unwrap_used)]
use std::path::Path;

use bytes::Bytes;

use super::{
    super::{
        clock::SystemClock,
        file::{APPLICATION_ID, FIRST_REVISION},
    },
    *,
};
use crate::{Entry, Index, Opaque, Unsealed};

fn open(directory: &Path) -> (Sqlite, Loaded) {
    let (catalog, sealing): (Arc<dyn Catalog>, Arc<dyn Sealing>) = (Arc::new(Opaque), Arc::new(Unsealed));
    let (clock, budget) = (SystemClock::default(), Arc::new(Budget::new(0)));
    Sqlite::open(Directory::acquire(directory).unwrap(), &catalog, &sealing, &clock, &budget).unwrap()
}

fn rows(name: &str, version: u64, bytes: usize) -> Rows {
    let kept = Bytes::from(vec![b'x'; bytes]);
    let entry = Entry::new(version, version, kept.clone(), Index::default(), &Arc::new(Budget::new(0)));
    Rows::from([(name.into(), Some(Row { entry, kept, expires: None }))])
}

#[test]
fn rows_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, loaded) = open(directory.path());
    assert_eq!((loaded.snapshot.revision(), loaded.snapshot.len()), (FIRST_REVISION, 0));
    journal.write(&rows("/registry/a", 2, 10), 2).unwrap();
    journal.write(&rows("/registry/b", 3, 0), 3).unwrap();
    journal.write(&rows("/registry/b", 4, 20), 4).unwrap();
    journal.write(&Rows::from([("/registry/a".into(), None), ("/registry/c".into(), None)]), 5).unwrap();
    let live_bytes = journal.live_bytes;
    assert_eq!((journal.next_id, journal.places.len()), (3, 1));
    drop(journal);
    let (journal, Loaded { snapshot, damaged, .. }) = open(directory.path());
    let entry = snapshot.get("/registry/b").unwrap();
    assert_eq!((snapshot.revision(), snapshot.len(), damaged.len()), (5, 1, 0));
    assert_eq!((entry.version, entry.value.len()), (4, 20));
    assert_eq!((journal.next_id, journal.live_bytes), (3, live_bytes));
}

/// Room that runs out leaves the file as it was, and what fits still passes.
#[test]
fn a_full_disk_is_undone() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    journal.write(&rows("/registry/a", 2, 10), 2).unwrap();
    journal.connection.execute_batch("PRAGMA max_page_count = 20").unwrap();
    let mut large = rows("/registry/b", 3, 1 << 20);
    large.extend(rows("/registry/a", 3, 30));
    assert!(matches!(journal.write(&large, 3), Err(JournalError::Full(_))));
    assert!(journal.connection.is_autocommit());
    journal.write(&rows("/registry/c", 3, 20), 3).unwrap();
    drop(journal);
    let (_journal, Loaded { snapshot, .. }) = open(directory.path());
    let sizes: Vec<_> = snapshot.range("", None).map(|(key, entry)| (&**key, entry.value.len())).collect();
    assert_eq!((snapshot.revision(), sizes), (3, vec![("/registry/a", 10), ("/registry/c", 20)]));
}

/// The settings that durability rests on.
#[test]
fn settings() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _) = open(directory.path());
    let check = |pragma: &str, expected: &str| {
        let value = journal.connection.query_row(&format!("PRAGMA {pragma}"), [], |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => other.as_str()?.to_string(),
            })
        });
        assert_eq!(value.unwrap(), expected, "{pragma}");
    };
    check("journal_mode", "wal");
    check("synchronous", "2");
    check("locking_mode", "exclusive");
    check("wal_autocheckpoint", "0");
    check("application_id", &APPLICATION_ID.to_string());
    check("secure_delete", "2");
    check("auto_vacuum", "2");
}

/// The flags that `.cargo/config.toml` gives to the build of SQLite have arrived. Whether it calls `fdatasync` cannot be
/// asked, but it is told in the same breath as this.
#[test]
fn the_file_stays_for_whoever_reads_it_until_too_much_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = open(directory.path());
    journal.write(&rows("/registry/a", 2, 10), 2).unwrap();
    let file = directory.path().join("store.db");
    let frozen = journal.freeze().unwrap().unwrap();
    let content = std::fs::read(&file).unwrap();
    assert_eq!(content.len() as u64, frozen.size());
    journal.write(&rows("/registry/a", 3, 100), 3).unwrap();
    journal.unchecked_bytes = CHECKPOINT_BYTES;
    // Neither what is written nor what is sealed anew is moved into it.
    assert!(!journal.tidy(true).unwrap());
    assert_eq!(journal.reseal(i64::MAX).unwrap().last, None);
    assert!(frozen.is_whole() && journal.is_wal_stale && std::fs::read(&file).unwrap() == content);
    assert!(matches!(journal.freeze().unwrap(), Err(FreezeError::Busy)));
    journal.unchecked_bytes = WAL_BYTES_MAX;
    journal.tidy(false).unwrap();
    assert!(!frozen.is_whole() && !journal.is_wal_stale && std::fs::read(&file).unwrap() != content);
    assert_eq!(directory.path().join("store.db-wal").metadata().unwrap().len(), 0);
    assert!(journal.freeze().unwrap().unwrap().is_whole());
}

#[test]
fn sqlite_is_built_as_told() {
    let connection = Connection::open_in_memory().unwrap();
    let mut statement = connection.prepare("PRAGMA compile_options").unwrap();
    let options: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
}
