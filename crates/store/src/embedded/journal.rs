//! What is made durable: rows and the highest revision, in one transaction a batch.
//!
//! A journal failure is one of two kinds. `Full` was undone: nothing changed and the store goes on. `Lost` is
//! everything after which nobody knows what the disk holds, a failed sync first of all (the kernel may have dropped the
//! pages it could not write, and a second sync would then succeed); it ends the process.
//!
//! Checkpoints are made here and not by SQLite's hook, which ignores their failures.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, params};

use super::{
    FreezeError, Frozen, OpenError,
    backup::{Freeze, WAL_BYTES_MAX},
    clock::Clock,
    directory::Directory,
    file::{self, PUT, Upgrade, failed, number, write_revision},
    load::{Loaded, load},
    reseal::Slice,
    row::{COLUMNS, Found, Head, Row, row_bytes, time},
    space::{Space, Wipe},
    verify::{Compared, Known, Step, Walk},
};
use crate::{Budget, Catalog, Key, Sealing, engine::Source};

/// Bytes of rows in the WAL before it is moved into the database.
const CHECKPOINT_BYTES: usize = 16 << 20;
/// What a row costs in the WAL beside its value: what is unused of its page, and of the page of its neighbours.
const ROW_OVERHEAD_BYTES: usize = 4 << 10;
/// What a batch costs in the WAL beside its rows: the page of `meta`, and one of the table that is not full.
const BATCH_OVERHEAD_BYTES: usize = 8 << 10;
/// A write that took longer is not the caller's: what a list may take for one of its turns.
const QUICK_MAX: Duration = Duration::from_millis(1);
/// Rows that are looked at in one go, between batches.
pub(super) const SLICE_ROWS_MAX: usize = 256;

/// What must become durable together: for each key its row, or nothing when it is removed.
pub(super) type Rows = BTreeMap<Key, Option<Row>>;

/// Where committed rows are made durable.
pub(super) trait Journal: Send + 'static {
    /// Makes rows and the highest revision durable, all or nothing.
    fn write(&mut self, rows: &Rows, revision: u64) -> Result<(), JournalError>;

    /// Whether a write is over so soon that whoever asks for it may wait in its place.
    fn is_quick(&self) -> bool;

    /// Does what can wait until commits are answered, a bounded part of it; more when nobody waits. Tells whether there is more to do.
    fn tidy(&mut self, is_idle: bool) -> Result<bool, JournalError>;

    /// Seals anew what is kept in another way than it would be today, among the next rows after this one.
    fn reseal(&mut self, after: i64) -> Result<Slice, JournalError>;

    /// The file as it is now. It stays so for as long as the reader has it, unless too much is written meanwhile.
    fn freeze(&mut self) -> Result<Result<Frozen, FreezeError>, JournalError>;

    /// Compares some rows with memory.
    fn verify(&mut self, step: Step, known: &Known<'_>) -> Result<Compared, JournalError>;
}

/// Why rows did not become durable.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// No room; what was begun is undone.
    #[error("no room left")]
    Full(#[source] rusqlite::Error),
    /// A page of the file cannot be read; what was begun is undone. What memory holds is not lost by that.
    #[error("a page of the store file cannot be read: restore a backup")]
    Unreadable(#[source] rusqlite::Error),
    /// What the disk holds is not known.
    #[error("durability is lost: {0}")]
    Lost(Source),
}

/// Where the row of a key is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) id: i64,
    /// What the row takes, about.
    pub(super) bytes: u32,
}

/// Some rows, in their order.
#[derive(Default)]
pub(super) struct Stretch {
    pub(super) rows: Vec<Found>,
    pub(super) unread: Vec<Unread>,
    /// The last that was looked at; none when there are no more.
    pub(super) last: Option<i64>,
    /// Why nothing can be read behind the last row that a key leads to.
    pub(super) end: Option<rusqlite::Error>,
}

/// What became of many things that were to be written.
pub(super) struct Each<'a, T> {
    pub(super) done: Vec<&'a T>,
    /// They meet a page that cannot be read.
    pub(super) left: Vec<&'a T>,
}

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("row {id} of {key:?} cannot be read: {error}")]
pub(super) struct Unread {
    id: i64,
    key: Key,
    error: rusqlite::Error,
}

/// The open file and the lock on its directory, which is let go of after the file is closed.
pub(super) struct Sqlite {
    pub(super) connection: Connection,
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) sealing: Arc<dyn Sealing>,
    pub(super) places: HashMap<Key, Place>,
    /// Rows are put behind all others, so that pages are full.
    pub(super) next_id: i64,
    /// How many rows there are, those that no key leads to among them.
    pub(super) rows: u64,
    /// What all rows take, about.
    pub(super) live_bytes: u64,
    pub(super) space: Space,
    pub(super) walk: Walk,
    pub(super) wipe: Wipe,
    unchecked_bytes: usize,
    /// How long the last write took, which tells most of the next one.
    last_write: Duration,
    /// Something that was sealed anew may still be readable in the WAL.
    pub(super) is_wal_stale: bool,
    pub(super) freeze: Freeze,
    // Fields are dropped in order: the lock last.
    directory: Directory,
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // What is left in the WAL is moved when the connection is closed.
        self.freeze.end();
    }
}

impl Sqlite {
    /// Opens the file of a locked directory, making it when there is none, and reads it.
    pub(super) fn open(
        directory: Directory,
        catalog: &Arc<dyn Catalog>,
        sealing: &Arc<dyn Sealing>,
        clock: &dyn Clock,
        budget: &Arc<Budget>,
    ) -> Result<(Sqlite, Loaded), OpenError> {
        let upgrade = Upgrade { catalog: &**catalog, sealing: &**sealing, now: clock.wall().as_secs() };
        let connection = file::open(&directory, &upgrade)?;
        let mut loaded = load(&connection, &directory, catalog, &**sealing, budget)?;
        let places = std::mem::take(&mut loaded.places);
        let live_bytes = places.values().map(|place| u64::from(place.bytes)).sum();
        let (catalog, sealing) = (Arc::clone(catalog), Arc::clone(sealing));
        let (next_id, rows, space, unchecked_bytes) = (loaded.next_id, loaded.rows, Space::default(), 0);
        let is_stale = loaded.stale > 0;
        let mut journal = Sqlite {
            connection,
            catalog,
            sealing,
            places,
            next_id,
            rows,
            live_bytes,
            space,
            walk: Walk::default(),
            wipe: Wipe::default(),
            unchecked_bytes,
            last_write: Duration::MAX,
            is_wal_stale: false,
            freeze: Freeze::default(),
            directory,
        };
        if is_stale {
            // What is freed before it could be sealed anew must not stay readable either.
            let file = journal.directory.store_file();
            journal.begin_wipe().map_err(failed(&file, "configure"))?;
        }
        Ok((journal, loaded))
    }

    /// Does all of this, or nothing.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let all = |journal: &mut Self| {
            journal.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let done = work(journal)?;
            journal.connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(done)
        };
        all(self).map_err(|error| self.failed(error))
    }

    /// Only writes report a full disk, syncs never do: so then nothing is on the disk. Nor is it when something could not be read.
    pub(super) fn failed(&self, error: rusqlite::Error) -> JournalError {
        let is_full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        if !is_full && !is_unreadable(&error) {
            return JournalError::Lost(error.into());
        }
        // SQLite may have undone the transaction itself.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            return JournalError::Lost(error.into());
        }
        if is_full { JournalError::Full(error) } else { JournalError::Unreadable(error) }
    }

    /// Of a checkpoint. What it cannot read is what only the WAL has, so then durability is lost.
    fn checkpoint_failed(&self, error: rusqlite::Error) -> JournalError {
        match self.failed(error) {
            JournalError::Unreadable(error) => JournalError::Lost(error.into()),
            failed => failed,
        }
    }

    fn write_rows(&mut self, rows: &Rows, revision: u64) -> rusqlite::Result<()> {
        let mut put = self.connection.prepare_cached(PUT)?;
        let mut delete = self.connection.prepare_cached("DELETE FROM objects WHERE id = ?1")?;
        let (mut next_id, mut count) = (self.next_id, self.rows);
        for (key, row) in rows {
            let place = self.places.get(key);
            let Some(Row { entry, kept, expires }) = row else {
                if let Some(place) = place {
                    if delete.execute([place.id])? != 1 {
                        return Err(missing(place.id));
                    }
                    count = count.saturating_sub(1);
                }
                continue;
            };
            let id = place.map_or(next_id, |place| place.id);
            next_id += i64::from(place.is_none());
            count += u64::from(place.is_none());
            let (version, create_revision, epoch) = (entry.version, entry.create_revision, self.catalog.epoch(key));
            let head = Head { key: key.as_bytes(), version, create_revision, epoch, expires: *expires };
            let checksum = head.checksum(kept);
            let (version, created) = (number(version)?, number(create_revision)?);
            put.execute(params![id, &**key, version, created, epoch, time(*expires), checksum, &**kept])?;
        }
        write_revision(&self.connection, revision, count)
    }

    /// Notes where rows are that have become durable.
    fn place(&mut self, rows: &Rows) {
        for (key, row) in rows {
            let before = match row {
                Some(row) => {
                    let bytes = row_bytes(key.as_bytes(), &row.kept);
                    let place = Place { id: self.next_id, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) };
                    self.live_bytes += u64::from(place.bytes);
                    match self.places.get_mut(key) {
                        Some(held) => Some(std::mem::replace(held, Place { id: held.id, ..place })),
                        None => {
                            self.next_id += 1;
                            self.rows += 1;
                            self.places.insert(key.clone(), place)
                        }
                    }
                }
                None => {
                    let removed = self.places.remove(key);
                    self.rows = self.rows.saturating_sub(u64::from(removed.is_some()));
                    removed.iter().for_each(|place| self.walk.left(place.id));
                    removed
                }
            };
            self.live_bytes -= before.map_or(0, |place| u64::from(place.bytes));
        }
    }

    /// Counts what the WAL has become longer by.
    pub(super) fn wrote(&mut self, rows: usize, bytes: usize) {
        let written = BATCH_OVERHEAD_BYTES + rows * ROW_OVERHEAD_BYTES + bytes;
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(written);
    }

    /// The next rows behind this one, until their bytes are enough. Where a page cannot be read they end, and what keys lead to behind that
    /// is read row by row: so each row is read that can be, and each that cannot is named.
    pub(super) fn next_rows(&self, after: i64, mut is_enough: impl FnMut(usize) -> bool) -> rusqlite::Result<Stretch> {
        let select = format!("SELECT {COLUMNS} FROM objects WHERE id > ?1 ORDER BY id LIMIT {SLICE_ROWS_MAX}");
        let mut statement = self.connection.prepare_cached(&select)?;
        let mut rows = statement.query([after])?;
        let mut stretch = Stretch::default();
        loop {
            let row = match rows.next().and_then(|row| row.map(Found::read).transpose()) {
                // A damaged page may say any number: a walk that follows it back has no end.
                Ok(Some(row)) if row.id <= stretch.last.unwrap_or(after) => {
                    Err(corrupt(format!("row {} is not in order", row.id)))
                }
                row => row,
            };
            let row = match row {
                Ok(Some(row)) => row,
                Err(error) if is_unreadable(&error) && stretch.last.is_none() => {
                    return self.known_rows(after, error, is_enough);
                }
                Err(error) if !is_unreadable(&error) => return Err(error),
                Ok(None) | Err(_) => return Ok(stretch),
            };
            stretch.last = Some(row.id);
            let is_last = is_enough(row.bytes());
            stretch.rows.push(row);
            if is_last {
                return Ok(stretch);
            }
        }
    }

    /// The same of those that keys lead to, each by its number. This error is why there are no more when there are none.
    fn known_rows(
        &self,
        after: i64,
        error: rusqlite::Error,
        mut is_enough: impl FnMut(usize) -> bool,
    ) -> rusqlite::Result<Stretch> {
        let known = self.places.iter().filter(|(_, place)| place.id > after);
        let mut known: Vec<(i64, &Key)> = known.map(|(key, place)| (place.id, key)).collect();
        if known.is_empty() {
            return Ok(Stretch { end: Some(error), ..Stretch::default() });
        }
        if known.len() > SLICE_ROWS_MAX {
            known.select_nth_unstable(SLICE_ROWS_MAX);
            known.truncate(SLICE_ROWS_MAX);
        }
        known.sort_unstable();
        let mut select = self.connection.prepare_cached(&format!("SELECT {COLUMNS} FROM objects WHERE id = ?1"))?;
        let mut stretch = Stretch::default();
        for (id, key) in known {
            stretch.last = Some(id);
            let mut bytes = 0;
            match select.query_row([id], Found::read) {
                Ok(row) => {
                    bytes = row.bytes();
                    stretch.rows.push(row);
                }
                // Whoever counts rows misses it.
                Err(rusqlite::Error::QueryReturnedNoRows) => {}
                Err(error) if is_unreadable(&error) => stretch.unread.push(Unread { id, key: key.clone(), error }),
                Err(error) => return Err(error),
            }
            if is_enough(bytes) {
                break;
            }
        }
        Ok(stretch)
    }

    /// Does work on all of these in one transaction; where a page cannot be read in halves, and in halves of these. With another error the
    /// first of these may be done.
    pub(super) fn transact_each<'a, T>(
        &mut self,
        all: &'a [T],
        mut work: impl FnMut(&Self, &T) -> rusqlite::Result<()>,
    ) -> Result<Each<'a, T>, JournalError> {
        let (mut parts, mut each) = (vec![all], Each { done: Vec::with_capacity(all.len()), left: Vec::new() });
        while let Some(part) = parts.pop() {
            match self.transact(|journal| part.iter().try_for_each(|one| work(journal, one))) {
                Ok(()) => each.done.extend(part),
                Err(JournalError::Unreadable(_)) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(JournalError::Unreadable(error)) => {
                    tracing::error!(%error, "a page of the store cannot be read, what is there cannot be written anew");
                    each.left.extend(part);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(each)
    }

    /// Notes what a row takes that was written anew in its place.
    pub(super) fn took(&mut self, key: &str, id: i64, kept: &[u8]) {
        if let Some(place) = self.places.get_mut(key).filter(|held| held.id == id) {
            let bytes = u32::try_from(row_bytes(key.as_bytes(), kept)).unwrap_or(u32::MAX);
            self.live_bytes = self.live_bytes + u64::from(bytes) - u64::from(place.bytes);
            place.bytes = bytes;
        }
    }
}

/// A row is not where it was put.
fn missing(id: i64) -> rusqlite::Error {
    corrupt(format!("row {id} is not there"))
}

fn corrupt(detail: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(detail))
}

/// Whether the file could not be read, or not be understood.
pub(super) fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ};
    let extended = error.sqlite_error().map(|error| error.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)
        || matches!(extended, Some(SQLITE_IOERR_READ | SQLITE_IOERR_SHORT_READ | SQLITE_IOERR_CORRUPTFS))
}

impl Journal for Sqlite {
    fn write(&mut self, rows: &Rows, revision: u64) -> Result<(), JournalError> {
        let begun = Instant::now();
        let written = self.transact(|journal| journal.write_rows(rows, revision));
        self.last_write = begun.elapsed();
        written?;
        self.place(rows);
        self.wrote(rows.len(), rows.values().flatten().map(|row| row.kept.len()).sum());
        Ok(())
    }

    fn is_quick(&self) -> bool {
        // What is to be tidied is the thread's to do.
        self.last_write <= QUICK_MAX && self.unchecked_bytes < CHECKPOINT_BYTES
    }

    fn tidy(&mut self, is_idle: bool) -> Result<bool, JournalError> {
        if self.freeze.is_on() {
            if self.unchecked_bytes < WAL_BYTES_MAX {
                return Ok(false);
            }
            tracing::warn!("a backup took too long: too much was written meanwhile");
            self.freeze.end();
        }
        if self.is_wal_stale {
            self.empty_wal()?;
        }
        let is_long = self.unchecked_bytes >= CHECKPOINT_BYTES;
        let is_more = if is_long || is_idle { self.make_room()? } else { false };
        let is_shorter = is_idle && !is_more && self.space.is_shorter;
        if self.unchecked_bytes >= CHECKPOINT_BYTES || is_shorter {
            self.unchecked_bytes = 0;
            self.space.is_shorter = false;
            file::checkpoint(&self.connection).map_err(|error| self.checkpoint_failed(error))?;
        }
        Ok(is_more)
    }

    fn reseal(&mut self, after: i64) -> Result<Slice, JournalError> {
        self.seal_anew(after)
    }

    fn freeze(&mut self) -> Result<Result<Frozen, FreezeError>, JournalError> {
        if self.freeze.is_on() {
            return Ok(Err(FreezeError::Busy));
        }
        self.unchecked_bytes = 0;
        file::checkpoint(&self.connection).map_err(|error| self.checkpoint_failed(error))?;
        let begun = self.freeze.begin(&self.directory.store_file());
        Ok(begun.map_err(|source| FreezeError::Failed { source: source.into() }))
    }

    fn verify(&mut self, step: Step, known: &Known<'_>) -> Result<Compared, JournalError> {
        self.compare(step, known)
    }
}

impl Sqlite {
    /// Moves the WAL into the file and cuts it to nothing.
    pub(super) fn empty_wal(&mut self) -> Result<(), JournalError> {
        self.unchecked_bytes = 0;
        self.connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .map_err(|error| self.checkpoint_failed(error))?;
        self.is_wal_stale = false;
        Ok(())
    }
}

/// A journal that a test is asked by: it writes as told, and has nothing else to do.
#[cfg(test)]
pub(super) struct Scripted<W> {
    pub(super) is_quick: bool,
    pub(super) write: W,
}

#[cfg(test)]
impl<W: FnMut(&Rows) -> Result<(), JournalError> + Send + 'static> Journal for Scripted<W> {
    fn write(&mut self, rows: &Rows, _revision: u64) -> Result<(), JournalError> {
        (self.write)(rows)
    }

    fn is_quick(&self) -> bool {
        self.is_quick
    }

    fn tidy(&mut self, _is_idle: bool) -> Result<bool, JournalError> {
        Ok(false)
    }

    fn reseal(&mut self, _after: i64) -> Result<Slice, JournalError> {
        Ok(Slice::default())
    }

    fn freeze(&mut self) -> Result<Result<Frozen, FreezeError>, JournalError> {
        Ok(Err(FreezeError::Busy))
    }

    fn verify(&mut self, _step: Step, _known: &Known<'_>) -> Result<Compared, JournalError> {
        Ok(Compared::default())
    }
}

#[cfg(test)]
mod tests;
