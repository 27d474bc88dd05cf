//! The SQLite file: one row an entry, and a table that says what the file is and how far revisions went.
//!
//! A journal failure is one of two kinds. `Full` was undone: nothing changed and the store goes on. `Lost` is
//! everything after which nobody knows what the disk holds, a failed sync first of all (the kernel may have dropped the
//! pages it could not write, and a second sync would then succeed); it ends the process.
//!
//! Checkpoints are made here and not by SQLite's hook, which ignores their failures.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{
    FORMAT, OpenError,
    directory::{Directory, FILE_MODE},
    load::load,
};
use crate::{Budget, Catalog, Entry, Key, Snapshot, engine::Source};

/// `application_id` of the file: "Port".
const APPLICATION_ID: i64 = 0x506f_7274;
/// Revision of an empty store; upstream's etcd begins there too, and 0 means "any" to clients.
const FIRST_REVISION: u64 = 1;
/// Bytes of rows in the WAL before it is moved into the database.
const CHECKPOINT_BYTES: usize = 16 << 20;
/// What a row costs in the WAL beside its value: a page of the key's index, and what is unused of one of the table.
const ROW_OVERHEAD_BYTES: usize = 6 << 10;
/// What a batch costs in the WAL beside its rows: the page of `meta`, and one of the table that is not full.
const BATCH_OVERHEAD_BYTES: usize = 8 << 10;
/// SQLite's page cache, as it wants to be told: negative, in KiB. Readers read from memory, so it may be small.
const CACHE_KIB: i64 = -4096;

/// What must become durable together: for each key the entry, or nothing when it is removed.
pub(super) type Rows = BTreeMap<Key, Option<Entry>>;

/// Where committed rows are made durable.
pub(super) trait Journal: Send + 'static {
    /// Makes rows and the highest revision durable, all or nothing.
    fn write(&mut self, rows: &Rows, revision: u64) -> Result<(), JournalError>;

    /// Does what can wait until commits are answered.
    fn tidy(&mut self) -> Result<(), JournalError>;
}

/// Why rows did not become durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// No room; what was begun is undone.
    #[error("no room left")]
    Full(#[source] rusqlite::Error),
    /// What the disk holds is not known.
    #[error("durability is lost: {0}")]
    Lost(Source),
}

/// The open file and the lock on its directory, which is let go of after the file is closed.
pub(super) struct Sqlite {
    connection: Connection,
    catalog: Arc<dyn Catalog>,
    unchecked_bytes: usize,
    // Fields are dropped in order: the lock last.
    _directory: Directory,
}

impl Sqlite {
    /// Opens the file of a locked directory, making it when there is none, and reads it.
    pub(super) fn open(
        directory: Directory,
        catalog: &Arc<dyn Catalog>,
        budget: &Arc<Budget>,
    ) -> Result<(Sqlite, Snapshot), OpenError> {
        let file = directory.store_file();
        if !file.exists() {
            create(&directory).map_err(failed(&file, "create"))?;
        }
        let connection = connect(&file).map_err(failed(&file, "open"))?;
        upgrade(&connection, check_format(&connection, &directory)?).map_err(failed(&file, "upgrade"))?;
        configure(&connection).map_err(failed(&file, "configure"))?;
        let loaded = load(&connection, &directory, &**catalog, budget)?;
        let catalog = Arc::clone(catalog);
        Ok((Sqlite { connection, catalog, unchecked_bytes: 0, _directory: directory }, loaded))
    }

    fn write_rows(&mut self, rows: &Rows, revision: u64) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut put = self.connection.prepare_cached(
            "INSERT INTO objects (key, version, create_revision, epoch, value) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (key) DO UPDATE SET version = ?2, create_revision = ?3, epoch = ?4, value = ?5",
        )?;
        let mut delete = self.connection.prepare_cached("DELETE FROM objects WHERE key = ?1")?;
        for (key, entry) in rows {
            match entry {
                Some(entry) => {
                    let (version, created) = (number(entry.version)?, number(entry.create_revision)?);
                    put.execute(params![&**key, version, created, self.catalog.epoch(key), &*entry.value])?
                }
                None => delete.execute([&**key])?,
            };
        }
        let mut reached = self.connection.prepare_cached("UPDATE meta SET value = ?1 WHERE name = 'revision'")?;
        if reached.execute([number(revision)?])? != 1 {
            return Err(rusqlite::Error::QueryReturnedNoRows);
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Undoes a transaction that ran out of room. SQLite may have done so itself.
    fn undo(&self, full: rusqlite::Error) -> JournalError {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            return JournalError::Lost(error.into());
        }
        JournalError::Full(full)
    }
}

impl Journal for Sqlite {
    fn write(&mut self, rows: &Rows, revision: u64) -> Result<(), JournalError> {
        match self.write_rows(rows, revision) {
            Ok(()) => {
                let bytes = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.value.len());
                let written: usize = rows.values().map(|entry| ROW_OVERHEAD_BYTES + bytes(entry)).sum();
                self.unchecked_bytes = self.unchecked_bytes.saturating_add(BATCH_OVERHEAD_BYTES + written);
                Ok(())
            }
            // Only writes report a full disk, syncs never do, so the commit is not on the disk.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Err(self.undo(error)),
            Err(error) => Err(JournalError::Lost(error.into())),
        }
    }

    fn tidy(&mut self) -> Result<(), JournalError> {
        if self.unchecked_bytes < CHECKPOINT_BYTES {
            return Ok(());
        }
        self.unchecked_bytes = 0;
        match checkpoint(&self.connection) {
            Ok(()) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => Err(JournalError::Full(error)),
            Err(error) => Err(JournalError::Lost(error.into())),
        }
    }
}

/// Moves the WAL into the database file; with no other reader all of it moves, and anything else is an error.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    let (frames, moved): (i64, i64) =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    if frames == moved {
        return Ok(());
    }
    let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    Err(rusqlite::Error::SqliteFailure(busy, Some(format!("{moved} of {frames} frames of the WAL were moved"))))
}

/// SQLite's integers are signed; a revision beyond them would take millions of years.
fn number(revision: u64) -> rusqlite::Result<i64> {
    i64::try_from(revision).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

pub(super) fn failed<E: Into<Source>>(file: &Path, action: &'static str) -> impl Fn(E) -> OpenError {
    move |source| OpenError::FileFailed { file: file.to_path_buf(), action, source: source.into() }
}

/// Makes an empty store under another name first, so that `store.db` is there completely or not at all.
fn create(directory: &Directory) -> Result<(), Source> {
    let new = directory.new_store_file();
    // Whatever is left of an attempt that did not get to the end holds nothing.
    for left in [new.clone(), new.with_extension("new-journal"), new.with_extension("new-wal")] {
        match std::fs::remove_file(left) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    let connection = connect(&new)?;
    // The syncs are ours, below: one of the file, one of its name. A start has 100 ms for everything.
    connection.execute_batch(&format!(
        "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;
         BEGIN IMMEDIATE;
         PRAGMA application_id = {APPLICATION_ID};
         CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         INSERT INTO meta VALUES ('format', {FORMAT}), ('revision', {FIRST_REVISION});
         CREATE TABLE objects (
             key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, create_revision INTEGER NOT NULL, value BLOB NOT NULL,
             epoch INTEGER NOT NULL DEFAULT 0
         ) STRICT;
         COMMIT;
         PRAGMA journal_mode = WAL;"
    ))?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(&new)?.sync_all()?;
    std::fs::rename(&new, directory.store_file())?;
    directory.sync()?;
    Ok(())
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    // One thread owns the connection, so SQLite needs no mutex.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(file, flags)?;
    // Nobody else may change rows under our memory, and the WAL's index needs no shared file.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// Refuses what is not ours or newer than we know, before anything is written; gives the format.
fn check_format(connection: &Connection, directory: &Directory) -> Result<u64, OpenError> {
    let file = directory.store_file();
    let not_a_store = || OpenError::NotAStore { file: file.clone() };
    let application: i64 = match connection.pragma_query_value(None, "application_id", |row| row.get(0)) {
        Ok(application) => application,
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => return Err(not_a_store()),
        Err(error) => return Err(failed(&file, "read")(error)),
    };
    if application != APPLICATION_ID {
        return Err(not_a_store());
    }
    let found = read_meta(connection, directory, "format")?;
    match found {
        1..=FORMAT => Ok(found),
        _ if found > FORMAT => {
            Err(OpenError::NewerFormat { directory: directory.path().to_path_buf(), found, supported: FORMAT })
        }
        _ => Err(OpenError::Damaged { file, detail: format!("format {found} has never existed") }),
    }
}

/// Brings an older file to the present format, all or nothing. Format 2 says of each value in which epoch it was written.
fn upgrade(connection: &Connection, found: u64) -> rusqlite::Result<()> {
    if found == FORMAT {
        return Ok(());
    }
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         ALTER TABLE objects ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
         UPDATE meta SET value = {FORMAT} WHERE name = 'format';
         COMMIT;"
    ))
}

pub(super) fn read_meta(connection: &Connection, directory: &Directory, name: &str) -> Result<u64, OpenError> {
    let file = directory.store_file();
    let value: i64 = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .map_err(failed(&file, "read"))?;
    u64::try_from(value).map_err(|_| OpenError::Damaged { file, detail: format!("its {name} is {value}") })
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cell_size_check = ON;
         PRAGMA secure_delete = FAST; PRAGMA temp_store = MEMORY; PRAGMA cache_size = {CACHE_KIB};"
    ))?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!("journal_mode is {mode}, not wal")));
    }
    // What the last process left in the WAL goes to the database now, so that the WAL begins empty.
    checkpoint(connection)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Index, Opaque};

    fn open(directory: &Path) -> (Sqlite, Snapshot) {
        let catalog: Arc<dyn Catalog> = Arc::new(Opaque);
        Sqlite::open(Directory::acquire(directory).unwrap(), &catalog, &Arc::new(Budget::new(0))).unwrap()
    }

    fn rows(name: &str, version: u64, bytes: usize) -> Rows {
        let value = vec![b'x'; bytes].into();
        let entry = Entry::new(version, version, value, Index::default(), &Arc::new(Budget::new(0)));
        Rows::from([(name.into(), Some(entry))])
    }

    #[test]
    fn rows_come_back() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, loaded) = open(directory.path());
        assert_eq!((loaded.revision(), loaded.len()), (FIRST_REVISION, 0));
        journal.write(&rows("/registry/a", 2, 10), 2).unwrap();
        journal.write(&rows("/registry/b", 3, 0), 3).unwrap();
        journal.write(&rows("/registry/b", 4, 20), 4).unwrap();
        journal.write(&Rows::from([("/registry/a".into(), None)]), 5).unwrap();
        drop(journal);
        let (_journal, loaded) = open(directory.path());
        let entry = loaded.get("/registry/b").unwrap();
        assert_eq!((loaded.revision(), loaded.len()), (5, 1));
        assert_eq!((entry.version, entry.value.len()), (4, 20));
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
        let (_journal, loaded) = open(directory.path());
        let sizes: Vec<_> = loaded.range("", None).map(|(key, entry)| (&**key, entry.value.len())).collect();
        assert_eq!((loaded.revision(), sizes), (3, vec![("/registry/a", 10), ("/registry/c", 20)]));
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
    }

    /// The flags that `.cargo/config.toml` gives to the build of SQLite have arrived. Whether it calls `fdatasync` cannot be
    /// asked, but it is told in the same breath as this.
    #[test]
    fn sqlite_is_built_as_told() {
        let connection = Connection::open_in_memory().unwrap();
        let mut statement = connection.prepare("PRAGMA compile_options").unwrap();
        let options: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(options.iter().any(|option| option == "DEFAULT_MEMSTATUS=0"), "{options:?}");
    }
}
