//! Keeps the file small while it serves. Pages that are free go back to the file system, from its end, a few at a time; and when
//! pages are too empty, rows are moved from the front of the table to its end, where pages are filled.
//!
//! Nobody notices a move: the number of a row is known here alone, and its checksum does not cover it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use rusqlite::Connection;

use super::journal::{JournalError, Place, Sqlite};

/// SQLite's default, and ours.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Free pages that stay for what comes next, and the part of the file (one in so many) that may be free.
const FREE_PAGES_KEPT: u64 = 256;
const FREE_PART: u64 = 8;
/// Pages that go back in one go.
const VACUUM_PAGES: u64 = 256;
/// After so many times all free pages go at once, if they are to go.
const WIPE_SLICES_MAX: usize = 1000;
/// Bytes of rows that are moved in one go, and rows.
const MOVE_BYTES_MAX: u64 = 512 << 10;
const MOVE_ROWS_MAX: usize = 256;
/// Rows are moved when the pages in use have more than so many percent of what is in them, and more than so many bytes beyond it.
const USED_PERCENT_MAX: u64 = 140;
const SLACK_BYTES: u64 = 1 << 20;
/// Not everything can be packed: rows just over half a page have a page each. What a pass came to may grow by so much before the next.
const GROWTH_PERCENT: u64 = 20;

/// How far the present pass of moves is, and what the last one came to.
#[derive(Default)]
pub(super) struct Space {
    /// Rows below this are still to be moved.
    until: Option<i64>,
    /// Whether pages were given back since the last checkpoint, which is when the file becomes shorter.
    pub(super) is_shorter: bool,
    /// Whether a page could not be read: nothing is moved any more, only a restart may change that.
    is_stuck: bool,
    /// Percent of the live bytes that pages in use had after a pass.
    packed_percent: u64,
    /// Bytes of free pages at the last look, for whoever asks.
    pub(super) free_bytes: Arc<AtomicU64>,
}

/// Overwriting what is readable with fewer or older keys than what takes its place. Usually SQLite clears what it removes from a page
/// that is written anyway, and leaves pages that become free as they are: what was sealed may stay there. While values are sealed
/// anew everything is cleared, and before the first of them the pages go that are free already.
#[derive(Default)]
pub(super) struct Wipe {
    is_on: bool,
    /// No page is free that was so before.
    is_done: bool,
    slices: usize,
}

/// What the file consists of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pages {
    pub(super) all: u64,
    pub(super) free: u64,
}

impl Pages {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Pages> {
        let read = |pragma: &str| -> rusqlite::Result<u64> {
            let number: i64 = connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))?;
            Ok(number.unsigned_abs())
        };
        Ok(Pages { all: read("PRAGMA page_count")?, free: read("PRAGMA freelist_count")? })
    }

    fn used_bytes(self) -> u64 {
        self.all.saturating_sub(self.free) * PAGE_BYTES
    }
}

/// What is done next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Move,
    Vacuum(u64),
}

impl Space {
    fn next(&self, pages: Pages, live_bytes: u64) -> Step {
        let percent_max = USED_PERCENT_MAX.max(self.packed_percent + GROWTH_PERCENT);
        let is_sparse = pages.used_bytes() > live_bytes * percent_max / 100 + SLACK_BYTES;
        let free_max = FREE_PAGES_KEPT + pages.all / FREE_PART;
        if pages.free > free_max {
            Step::Vacuum((pages.free - free_max).min(VACUUM_PAGES))
        } else if is_sparse || self.until.is_some() {
            Step::Move
        } else {
            Step::Nothing
        }
    }
}

impl Sqlite {
    /// One step towards a smaller file. Tells whether another would help.
    pub(super) fn make_room(&mut self) -> Result<bool, JournalError> {
        let pages = Pages::read(&self.connection).map_err(|error| self.failed(error))?;
        self.space.free_bytes.store(pages.free * PAGE_BYTES, Ordering::Relaxed);
        let done = match self.space.next(pages, self.live_bytes) {
            Step::Nothing => return Ok(false),
            _ if self.space.is_stuck => return Ok(false),
            Step::Vacuum(count) => self.vacuum(count),
            Step::Move => self.move_rows(pages),
        };
        self.space.is_stuck = matches!(done, Err(JournalError::Unreadable(_)));
        done.map(|()| true)
    }

    /// Gives free pages back. The file becomes shorter at the next checkpoint.
    fn vacuum(&mut self, pages: u64) -> Result<(), JournalError> {
        // A row an answer for each page: all of them must be asked for.
        self.transact(|journal| {
            let mut vacuum = journal.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        })?;
        self.space.is_shorter = true;
        self.wrote(0, usize::try_from(pages * PAGE_BYTES).unwrap_or(usize::MAX));
        Ok(())
    }

    /// From now on everything is cleared that is removed.
    pub(super) fn begin_wipe(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch("PRAGMA secure_delete = ON")?;
        self.wipe = Wipe { is_on: true, ..Wipe::default() };
        Ok(())
    }

    /// What is removed from now on was sealed as it should be.
    pub(super) fn end_wipe(&mut self) -> rusqlite::Result<()> {
        if self.wipe.is_on {
            self.connection.execute_batch("PRAGMA secure_delete = FAST")?;
            self.wipe = Wipe::default();
        }
        Ok(())
    }

    /// Gives free pages back, some at a time, before anything is written over. Tells whether there were any.
    pub(super) fn wipe_free_pages(&mut self) -> Result<bool, JournalError> {
        if self.wipe.is_done {
            return Ok(false);
        }
        if !self.wipe.is_on {
            self.begin_wipe().map_err(|error| self.failed(error))?;
        }
        let free = Pages::read(&self.connection).map_err(|error| self.failed(error))?.free;
        self.wipe.slices += 1;
        // Whoever frees pages all the time must not keep it from its end.
        let is_last = free <= VACUUM_PAGES || self.wipe.slices > WIPE_SLICES_MAX;
        let is_last = match self.vacuum(if is_last { free } else { VACUUM_PAGES }) {
            Err(JournalError::Unreadable(error)) => {
                tracing::error!(%error, "a page of the store cannot be read, free pages of the file stay as they are");
                true
            }
            done => done.map(|()| is_last)?,
        };
        self.wipe.is_done = is_last;
        Ok(true)
    }

    /// Moves the first rows behind all others.
    fn move_rows(&mut self, pages: Pages) -> Result<(), JournalError> {
        let until = *self.space.until.get_or_insert(self.next_id);
        let first = self.first_rows(until).map_err(|error| self.failed(error))?;
        if first.is_empty() {
            self.space.until = None;
            self.space.packed_percent = pages.used_bytes() * 100 / self.live_bytes.max(SLACK_BYTES);
            return Ok(());
        }
        let next_id = self.next_id;
        self.transact(|journal| {
            let mut update = journal.connection.prepare_cached("UPDATE objects SET id = ?2 WHERE id = ?1")?;
            for (to, (id, ..)) in (next_id..).zip(&first) {
                update.execute([*id, to])?;
            }
            Ok(())
        })?;
        let mut bytes = 0;
        for (to, (id, key, row_bytes)) in (next_id..).zip(&first) {
            bytes += *row_bytes as usize;
            self.next_id = to + 1;
            // A row that is not as it was written may have any key.
            if let Some(place) = self.places.get_mut(key.as_str()).filter(|place| place.id == *id) {
                *place = Place { id: to, ..*place };
                self.walk.left(*id);
            }
        }
        self.wrote(first.len(), bytes);
        Ok(())
    }

    /// The first rows below a number: their numbers, keys and bytes.
    fn first_rows(&self, until: i64) -> rusqlite::Result<Vec<(i64, String, u64)>> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT id, CAST(key AS TEXT), octet_length(value) FROM objects WHERE id < ?1 ORDER BY id LIMIT {MOVE_ROWS_MAX}"
        ))?;
        let mut rows = statement.query([until])?;
        let (mut first, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let key = row.get_ref(1)?.as_bytes_or_null()?.map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            let row_bytes = row.get::<_, Option<i64>>(2)?.unwrap_or(0).unsigned_abs();
            bytes += row_bytes;
            first.push((row.get(0)?, key, row_bytes));
            if bytes > MOVE_BYTES_MAX {
                break;
            }
        }
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let check = |all: u64, free: u64, live_bytes: u64, packed_percent: u64, until: Option<i64>, expected: Step| {
            let next = Space { until, packed_percent, ..Space::default() }.next(Pages { all, free }, live_bytes);
            assert_eq!(next, expected, "{all} pages, {free} free, {live_bytes} bytes, packed to {packed_percent}%");
        };
        check(4, 0, 0, 0, None, Step::Nothing);
        check(4, 0, 0, 0, Some(9), Step::Move);
        check(1000, 381, 2_000_000, 0, None, Step::Nothing);
        check(1000, 385, 2_000_000, 0, None, Step::Vacuum(4));
        check(100_000, 90_000, 2_000_000, 0, None, Step::Vacuum(256));
        check(1000, 0, 2_200_000, 0, None, Step::Nothing);
        check(1000, 0, 2_100_000, 0, None, Step::Move);
        check(1000, 0, 2_100_000, 130, None, Step::Nothing);
        check(1000, 0, 1_900_000, 130, None, Step::Move);
    }
}
