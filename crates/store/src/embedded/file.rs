//! The SQLite file itself: making it, opening it, refusing what is not ours, and bringing older formats to the present one.
//!
//! Format 3 has one table of rows and no index. Which row a key has is known in memory, so a commit writes no page of an index, and a
//! row can be written elsewhere without anybody noticing, which is how the file is kept small (`space`).

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    FORMAT, OpenError,
    directory::{self, Directory},
    disk::{self, Disk},
    load,
    row::{Found, Head, State, time},
    wal,
};
use crate::{Catalog, Opened, Sealing, engine::Source};

/// `application_id` of the file: "Port".
pub(super) const APPLICATION_ID: i64 = 0x506f_7274;
/// Revision of an empty store; upstream's etcd begins there too, and 0 means "any" to clients.
pub(super) const FIRST_REVISION: u64 = 1;
/// SQLite's page cache, as it wants to be told: negative, in KiB. Readers read from memory, so it may be small.
const CACHE_KIB: i64 = -4096;
/// The WAL's file is cut to this when it starts over; a batch may have made it longer.
pub(super) const WAL_BYTES_KEPT: usize = 32 << 20;
/// The first format that said in which epoch a value was written.
const FORMAT_WITH_EPOCHS: u64 = 2;

/// Puts a row; `?1` to `?8` are [`super::row::COLUMNS`].
pub(super) const PUT: &str = "REPLACE INTO objects (id, key, version, create_revision, epoch, expires, checksum, value) \
                              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// What older formats are brought over with.
pub(super) struct Upgrade<'a> {
    pub(super) catalog: &'a dyn Catalog,
    pub(super) sealing: &'a dyn Sealing,
    /// Seconds since 1970.
    pub(super) now: u64,
}

/// Opens the file of a locked directory, making it when there is none; an older format is brought to the present one.
pub(super) fn open(directory: &Directory, upgrade: &Upgrade<'_>) -> Result<Connection, OpenError> {
    let file = directory.store_file();
    if !directory.disk().exists(&file).map_err(failed(&file, "find"))? {
        create(directory, |_| Ok(())).map_err(failed(&file, "create"))?;
    }
    let mut connection = open_as_it_is(directory)?.0;
    let format = read_meta(&connection, &file, "format")?;
    if format < FORMAT {
        tracing::info!(?file, from = format, to = FORMAT, "the store file is brought to a newer format");
        let revision = read_meta(&connection, &file, "revision")?;
        end_wal(&connection, directory).map_err(failed(&file, "upgrade"))?;
        create(directory, |new| copy(&connection, new, format, revision, upgrade)).map_err(failed(&file, "upgrade"))?;
        connection = connect(directory.disk(), &file).map_err(failed(&file, "open"))?;
    }
    configure(&connection).map_err(failed(&file, "configure"))?;
    // The name of the WAL, which holds what is committed next. SQLite syncs it too, but does not look whether that failed.
    directory.sync().map_err(failed(&file, "configure"))?;
    Ok(connection)
}

/// Opens the file in whatever format it has, and gives that too. Nothing is written.
pub(super) fn open_as_it_is(directory: &Directory) -> Result<(Connection, u64), OpenError> {
    let file = directory.store_file();
    wal::require_whole(directory)?;
    let connection = connect(directory.disk(), &file).map_err(failed(&file, "open"))?;
    let format = check_format(&connection, &file)?;
    Ok((connection, format))
}

/// A file that lies somewhere, such as a backup, open for reading.
pub(super) struct Elsewhere {
    pub(super) connection: Connection,
    pub(super) format: u64,
    /// Where it is that of a data directory: nobody opens that store for as long as this is here.
    _held: Option<File>,
}

/// Opens a file that lies somewhere and that nobody changes, as it stands.
pub(super) fn open_elsewhere(file: &Path) -> Result<Elsewhere, OpenError> {
    let kind = std::fs::metadata(file).map_err(failed(file, "open"))?;
    if !kind.is_file() {
        return Err(OpenError::NotAStore { file: file.to_path_buf() });
    }
    let held = directory::hold_for_reading(file)?;
    let mut wal = file.as_os_str().to_owned();
    wal.push("-wal");
    let wal = PathBuf::from(wal);
    if std::fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
        return Err(OpenError::HasWal { file: file.to_path_buf(), wal });
    }
    let (connection, format) = open_without_wal(&disk::SystemDisk, file)?;
    Ok(Elsewhere { connection, format, _held: held })
}

/// Opens a file as it stands, whatever its WAL has beside it, and gives its format too.
pub(super) fn open_without_wal(disk: &dyn Disk, file: &Path) -> Result<(Connection, u64), OpenError> {
    let connection = load::connect(disk, file).map_err(failed(file, "open"))?;
    let format = check_format(&connection, file)?;
    Ok((connection, format))
}

/// What SQLite could not do. Where it says that the file is damaged, a person must be told what to do.
pub(super) fn failed<E: Into<Source>>(file: &Path, action: &'static str) -> impl Fn(E) -> OpenError {
    move |source| {
        let source = source.into();
        let code = source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
        match code {
            Some(ErrorCode::DatabaseCorrupt) => {
                let detail = format!("{source}; what SQLite itself cannot read can only be restored from a backup");
                OpenError::Damaged { file: file.to_path_buf(), detail }
            }
            _ => OpenError::FileFailed { file: file.to_path_buf(), action, source },
        }
    }
}

/// Makes a store under another name first, so that `store.db` is there completely or not at all.
fn create(directory: &Directory, fill: impl FnOnce(&Connection) -> Result<(), Source>) -> Result<(), Source> {
    prepare(directory, fill)?;
    publish(directory)
}

/// Makes a store under another name.
pub(super) fn prepare(
    directory: &Directory,
    fill: impl FnOnce(&Connection) -> Result<(), Source>,
) -> Result<(), Source> {
    let (disk, new) = (directory.disk(), directory.new_store_file());
    discard(directory)?;
    disk.create(&new)?;
    let connection = connect(disk, &new)?;
    // The syncs are ours, below: one of the file, one of its name. A start has 100 ms for everything.
    connection.execute_batch(&format!(
        "PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY; PRAGMA auto_vacuum = INCREMENTAL;
         BEGIN IMMEDIATE;
         PRAGMA application_id = {APPLICATION_ID};
         CREATE TABLE meta (
             name TEXT PRIMARY KEY, value INTEGER NOT NULL, checksum INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE TABLE objects (
             id INTEGER PRIMARY KEY, version INTEGER NOT NULL, create_revision INTEGER NOT NULL, epoch INTEGER NOT NULL,
             expires INTEGER, checksum INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL
         ) STRICT;"
    ))?;
    for (name, value) in [("format", FORMAT), ("revision", FIRST_REVISION), ("rows", 0)] {
        connection.execute(
            "INSERT INTO meta VALUES (?1, ?2, ?3)",
            params![name, number(value)?, meta_checksum(name, value)],
        )?;
    }
    fill(&connection)?;
    connection.execute_batch("COMMIT; PRAGMA journal_mode = WAL;")?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(disk.sync(&new)?)
}

/// Removes whatever is left of an attempt that did not get to the end: it holds nothing.
pub(super) fn discard(directory: &Directory) -> std::io::Result<()> {
    let new = directory.new_store_file();
    [new.clone(), new.with_extension("new-journal"), new.with_extension("new-wal")]
        .iter()
        .try_for_each(|left| directory.disk().remove(left))
}

/// Gives the store that was prepared its name, durably.
pub(super) fn publish(directory: &Directory) -> Result<(), Source> {
    directory.disk().rename(&directory.new_store_file(), &directory.store_file())?;
    directory.sync()?;
    Ok(())
}

/// Moves the WAL of an older file into it and removes it, durably: it must never be taken for that of the file which comes in its place.
fn end_wal(connection: &Connection, directory: &Directory) -> Result<(), Source> {
    let columns = "SELECT count(*) FROM pragma_table_info('objects') WHERE name = 'checksum'";
    if connection.query_row(columns, [], |row| row.get::<_, i64>(0))? != 0 {
        return Err("it says that it is older than what is in it".into());
    }
    configure(connection)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    if mode != "delete" {
        return Err(format!("journal_mode is {mode}, not delete").into());
    }
    Ok(directory.sync()?)
}

/// Brings rows of a file without checksums over. What should be sealed is sealed on the way, once it is decided how; otherwise the server
/// does that when it is up.
fn copy(old: &Connection, new: &Connection, format: u64, revision: u64, upgrade: &Upgrade<'_>) -> Result<(), Source> {
    let epoch = if format < FORMAT_WITH_EPOCHS { "0" } else { "epoch" };
    let mut rows = old.prepare(&format!(
        "SELECT rowid, key, version, create_revision, {epoch}, NULL, 0, value FROM objects ORDER BY rowid"
    ))?;
    let mut put = new.prepare(PUT)?;
    let mut count = 0;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let Found { id, key, version, create_revision, epoch, value, state, .. } = Found::read(row)?;
        let Ok(name) = std::str::from_utf8(&key) else { return Err(format!("the key of row {id} is not text").into()) };
        if state == State::Malformed || version > revision || create_revision > version || create_revision == 0 {
            return Err(
                format!("{name:?} has version {version} of {create_revision}, the store is at {revision}").into()
            );
        }
        let value = sealed_anew(name, value, upgrade.sealing);
        let expires = upgrade.catalog.lifetime(name).map(|lifetime| upgrade.now.saturating_add(lifetime.as_secs()));
        let head = Head { key: &key, version, create_revision, epoch, expires };
        let (version, created, checksum) = (number(version)?, number(create_revision)?, head.checksum(&value));
        put.execute(params![id, name, version, created, epoch, time(expires), checksum, &*value])?;
        count += 1;
    }
    write_revision(new, revision, count)?;
    Ok(())
}

/// The value as it would be kept today, where that can be done.
fn sealed_anew(key: &str, kept: Bytes, sealing: &dyn Sealing) -> Bytes {
    match sealing.open(key, &kept) {
        Ok(Opened { plain, is_stale: true }) => sealing.seal(key, &plain).unwrap_or(kept),
        Ok(_) | Err(_) => kept,
    }
}

fn connect(disk: &dyn Disk, file: &Path) -> rusqlite::Result<Connection> {
    // One thread owns the connection, so SQLite needs no mutex.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = disk::connect(disk, file, flags)?;
    // Nobody else may change rows under our memory, and the WAL's index needs no shared file.
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF;")?;
    Ok(connection)
}

/// Refuses what is not ours or newer than we know, before anything is written; gives the format.
fn check_format(connection: &Connection, file: &Path) -> Result<u64, OpenError> {
    let not_a_store = || OpenError::NotAStore { file: file.to_path_buf() };
    let application: i64 = match connection.pragma_query_value(None, "application_id", |row| row.get(0)) {
        Ok(application) => application,
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => return Err(not_a_store()),
        Err(error) => return Err(failed(file, "read")(error)),
    };
    if application != APPLICATION_ID {
        return Err(not_a_store());
    }
    let found = read_meta(connection, file, "format")?;
    match found {
        1..=FORMAT => Ok(found),
        _ if found > FORMAT => Err(OpenError::NewerFormat { file: file.to_path_buf(), found, supported: FORMAT }),
        _ => Err(OpenError::Damaged { file: file.to_path_buf(), detail: format!("format {found} has never existed") }),
    }
}

/// A number that the file says of itself, unchecked.
pub(super) fn read_meta(connection: &Connection, file: &Path, name: &str) -> Result<u64, OpenError> {
    let value: i64 = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .map_err(failed(file, "read"))?;
    let damaged = |_| OpenError::Damaged { file: file.to_path_buf(), detail: format!("its {name} is {value}") };
    u64::try_from(value).map_err(damaged)
}

/// The revision of the store. A wrong one would be given again, so one that is not as it was written is refused.
pub(super) fn read_revision(connection: &Connection, file: &Path) -> Result<u64, OpenError> {
    let revision = read_meta(connection, file, "revision")?;
    let checksum: i64 = connection
        .query_row("SELECT checksum FROM meta WHERE name = 'revision'", [], |row| row.get(0))
        .map_err(failed(file, "read"))?;
    if checksum != meta_checksum("revision", revision) {
        let detail = format!("its revision, {revision}, is not as it was written: repair the store");
        return Err(OpenError::Damaged { file: file.to_path_buf(), detail });
    }
    Ok(revision)
}

/// Writes the revision and how many rows there are, in whatever transaction is open.
pub(super) fn write_revision(connection: &Connection, revision: u64, rows: u64) -> rusqlite::Result<()> {
    let mut reached = connection.prepare_cached("UPDATE meta SET value = ?2, checksum = ?3 WHERE name = ?1")?;
    for (name, value) in [("revision", revision), ("rows", rows)] {
        if reached.execute(params![name, number(value)?, meta_checksum(name, value)])? != 1 {
            return Err(rusqlite::Error::QueryReturnedNoRows);
        }
    }
    Ok(())
}

/// Goes on from what is whole of the WAL, which SQLite takes. The revision is raised beyond it in the same round through the WAL, so that until it
/// is durable the damage can be seen; then the WAL is emptied. Gives the revision that was found, and the new one.
pub(super) fn cut_wal(directory: &Directory, raise: impl FnOnce(u64) -> u64) -> Result<(u64, u64), OpenError> {
    let file = directory.store_file();
    let connection = connect(directory.disk(), &file).map_err(failed(&file, "open"))?;
    let format = check_format(&connection, &file)?;
    let said = read_meta(&connection, &file, "revision")?;
    let raised = raise(said);
    let cut = || -> rusqlite::Result<()> {
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
        let update = match format {
            FORMAT => "UPDATE meta SET value = ?1, checksum = ?2 WHERE name = 'revision'",
            _ => "UPDATE meta SET value = ?1 WHERE ?2 IS NOT NULL AND name = 'revision'",
        };
        connection.execute(update, params![number(raised)?, meta_checksum("revision", raised)])?;
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
    };
    cut().map_err(failed(&file, "repair"))?;
    connection.close().map_err(|(_, error)| failed(&file, "close")(error))?;
    Ok((said, raised))
}

/// The revision that a page of `meta` tells, if these bytes are one: found by its name, and told from anything else by its checksum.
pub(super) fn revision_in(page: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"revision";
    // A record begins with its length and the types of its columns; that of a text of eight bytes is 29.
    const BEGIN: [u8; 2] = [4, 29];
    /// A leaf of a table that is its own index.
    const LEAF: u8 = 10;
    if page.first() != Some(&LEAF) {
        return None;
    }
    let mut highest = None;
    for (at, _) in page.windows(NAME.len()).enumerate().filter(|(_, bytes)| *bytes == NAME) {
        let Some([a, b, value, checksum]) = at.checked_sub(4).and_then(|begin| page.get(begin..at)?.first_chunk())
        else {
            continue;
        };
        let behind = page.get(at + NAME.len()..).unwrap_or_default();
        if [*a, *b] != BEGIN {
            continue;
        }
        let (Some((value, behind)), checksum) = (integer(*value, behind), *checksum) else { continue };
        let (Ok(value), Some((checksum, _))) = (u64::try_from(value), integer(checksum, behind)) else { continue };
        if checksum == meta_checksum("revision", value) {
            highest = highest.max(Some(value));
        }
    }
    highest
}

/// An integer of a record, by its type, and what is behind it.
fn integer(kind: u8, bytes: &[u8]) -> Option<(i64, &[u8])> {
    let length = match kind {
        1..=4 => usize::from(kind),
        5 => 6,
        6 => 8,
        8 => return Some((0, bytes)),
        9 => return Some((1, bytes)),
        _ => return None,
    };
    let (digits, behind) = bytes.split_at_checked(length)?;
    let first = i64::from(digits.first()?.cast_signed());
    Some((digits.iter().skip(1).fold(first, |value, digit| (value << 8) | i64::from(*digit)), behind))
}

fn meta_checksum(name: &str, value: u64) -> i64 {
    let bytes = [name.as_bytes(), &value.to_le_bytes()].concat();
    xxh3_64(&bytes).cast_signed()
}

/// SQLite's integers are signed; a revision beyond them would take millions of years.
pub(super) fn number(revision: u64) -> rusqlite::Result<i64> {
    i64::try_from(revision).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cell_size_check = ON;
         PRAGMA secure_delete = FAST; PRAGMA temp_store = MEMORY; PRAGMA cache_size = {CACHE_KIB};
         PRAGMA journal_size_limit = {WAL_BYTES_KEPT};"
    ))?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!("journal_mode is {mode}, not wal")));
    }
    // What the last process left in the WAL goes to the database now, so that the WAL begins empty.
    checkpoint(connection)
}

/// Moves the WAL into the database file; with no other reader all of it moves, and anything else is an error.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    let (frames, moved): (i64, i64) =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    if frames == moved {
        return Ok(());
    }
    let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    Err(rusqlite::Error::SqliteFailure(busy, Some(format!("{moved} of {frames} frames of the WAL were moved"))))
}
