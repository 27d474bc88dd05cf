//! Reads all rows of the file into memory, on several threads: each reads rows of its own and looks at them.
//!
//! The readers have connections of their own, which take the file as it is and never look into the WAL: so it must be empty of
//! anything new, and nobody may write meanwhile. Both hold at a start, after the first checkpoint and before the committer.
//!
//! A row that is not as it was written, or that cannot be opened, is an error of its object alone: its entry is there, and nobody can
//! read it. Of a row whose key is damaged the key is looked for (`row`).
//!
//! The order of rows in the file is that of their creation, so keys are sorted before they are put into their
//! maps: neighbours are then put beside one another, which costs a fraction of as many random places. Each reader sorts what is its
//! own. What a value says of itself is not read here, but when somebody asks for it or by the committer (`Snapshot::read_words`).

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    thread,
};

use rusqlite::{Connection, OpenFlags};

use super::{
    OpenError,
    directory::Directory,
    disk::{self, Disk},
    file::{failed, read_meta, read_revision},
    journal::Place,
    row::{COLUMNS, Found, State},
};
use crate::{Budget, Catalog, Entry, Index, Key, Opened, Sealing, Snapshot, entry::Reader};

/// Row numbers that a reader takes at once, at least; and in how many parts all of them are taken, at most: there may be many more
/// numbers than rows.
const ROWS_AT_ONCE_MIN: i64 = 256;
const PARTS_MAX: i64 = 256;
/// Readers; more wait for the disk or for the allocator.
const READERS_MAX: usize = 4;
/// Pages that a reader keeps. It sees each page once, so more of them are more fresh memory and nothing else.
const CACHE_PAGES: i64 = 32;
/// Damaged rows whose key is looked for: each costs about as much as a thousand others.
pub(super) const KEY_SEARCHES_MAX: usize = 1000;
/// Damaged or unopened rows that the log names, each kind.
const NAMED_MAX: usize = 100;

/// A row that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its number in the table.
    pub id: i64,
    /// The key that stands there, which may be damaged itself; none when it is none.
    pub key: Option<Key>,
    /// What is wrong with it.
    pub what: Damage,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// What it says does not fit its checksum.
    Changed,
    /// A column holds what is never written there.
    Malformed,
    /// Only its key was damaged. The one it was written under was found, and it is read under that.
    Key {
        /// What stands there.
        stands: String,
    },
    /// There is another row of this key, newer or whole.
    Twice,
}

impl fmt::Display for Damaged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damaged { id, key, what } = self;
        match key {
            Some(key) => write!(out, "row {id} of {key:?} ")?,
            None => write!(out, "row {id} of a key that cannot be told ")?,
        }
        match what {
            Damage::Changed => out.write_str("does not fit its checksum"),
            Damage::Malformed => out.write_str("holds what was never written there"),
            Damage::Key { stands } => write!(out, "has a damaged key, {stands:?}"),
            Damage::Twice => out.write_str("is there twice"),
        }
    }
}

/// What was read.
pub(super) struct Loaded {
    pub(super) snapshot: Snapshot,
    pub(super) places: HashMap<Key, Place>,
    pub(super) next_id: i64,
    /// How many rows there are, those without a name too.
    pub(super) rows: u64,
    /// When entries are to be removed, in seconds since 1970.
    pub(super) expiring: Vec<(Key, u64)>,
    pub(super) damaged: Vec<Damaged>,
    /// Entries that could not be opened.
    pub(super) unopened: Vec<Unopened>,
    /// Values that are kept in another way than they would be today.
    pub(super) stale: usize,
}

/// An entry that could not be opened. It may be later, if it has still this version.
#[derive(Clone)]
pub(super) struct Unopened {
    pub(super) key: Key,
    pub(super) version: u64,
    pub(super) epoch: u32,
}

/// A row as it will be in memory.
struct Item {
    key: Key,
    entry: Entry,
    place: Place,
    is_whole: bool,
}

/// What rows became, in one reader or all of them.
#[derive(Default)]
struct Part {
    items: Vec<Item>,
    expiring: Vec<(Key, u64)>,
    damaged: Vec<Damaged>,
    unopened: Vec<Unopened>,
    stale: usize,
    rows: u64,
}

impl Part {
    /// Puts what another reader read behind its own.
    fn append(&mut self, mut other: Part) {
        self.items.append(&mut other.items);
        self.expiring.append(&mut other.expiring);
        self.damaged.append(&mut other.damaged);
        self.unopened.append(&mut other.unopened);
        self.stale += other.stale;
        self.rows += other.rows;
    }

    fn push(&mut self, key: Key, entry: Entry, place: Place, is_whole: bool) {
        self.items.push(Item { key, entry, place, is_whole });
    }

    /// Puts items in the order of their keys, of several rows of a key the whole one first and then the newest. What is in order
    /// already, in a few pieces, costs little.
    fn sort(&mut self) {
        let rank = |item: &Item| (!item.is_whole, std::cmp::Reverse(item.entry.version), item.place.id);
        self.items.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| rank(a).cmp(&rank(b))));
    }

    /// Keeps one row of a key, the first of those that are sorted.
    fn drop_second_rows(&mut self) {
        let damaged = &mut self.damaged;
        self.items.dedup_by(|second, first| {
            let is_same = second.key == first.key;
            if is_same && second.is_whole {
                let what = Damage::Twice;
                damaged.push(Damaged { id: second.place.id, key: Some(second.key.clone()), what });
            }
            is_same
        });
    }
}

/// What all readers share.
struct Source<'a> {
    file: &'a Path,
    disk: &'a dyn Disk,
    /// The revision of the store; no row may be beyond it.
    revision: u64,
    catalog: &'a Arc<dyn Catalog>,
    sealing: &'a dyn Sealing,
    budget: &'a Arc<Budget>,
    /// The first row that nobody has taken, and the last one.
    next: AtomicI64,
    last: i64,
    at_once: i64,
    key_searches: AtomicUsize,
}

/// Reads everything that is in the file.
pub(super) fn load(
    connection: &Connection,
    directory: &Directory,
    catalog: &Arc<dyn Catalog>,
    sealing: &dyn Sealing,
    budget: &Arc<Budget>,
) -> Result<Loaded, OpenError> {
    let file = directory.store_file();
    let revision = read_revision(connection, &file)?;
    // One by one: SQLite finds each at an end of the table, and reads all of it for both in one query.
    let bounds = "SELECT ifnull((SELECT min(id) FROM objects), 0), ifnull((SELECT max(id) FROM objects), -1)";
    let (first, last): (i64, i64) =
        connection.query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed(&file, "read"))?;
    let numbers = last.saturating_sub(first).saturating_add(1);
    let at_once = ROWS_AT_ONCE_MIN.max(numbers / PARTS_MAX + 1);
    let (next, key_searches) = (first.into(), AtomicUsize::new(0));
    let disk = directory.disk();
    let source = Source { file: &file, disk, revision, catalog, sealing, budget, next, last, at_once, key_searches };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
    let parts = usize::try_from(numbers / at_once).unwrap_or(usize::MAX);
    let part = thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(parts))
            .map(|_| thread::Builder::new().name("store-loader".to_owned()).spawn_scoped(scope, || source.read()))
            .collect::<Result<_, _>>()
            .map_err(|source| OpenError::ThreadFailed { source })?;
        let mut part = source.read()?;
        for other in others {
            part.append(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(part)
    })?;
    // A page that says that it has fewer rows than it has is whole to SQLite.
    let rows = read_meta(connection, &file, "rows")?;
    if part.rows != rows {
        let found = part.rows;
        let detail = format!(
            "{found} of its {rows} rows were found: restore a backup, or repair the store to go on with what is there"
        );
        return Err(OpenError::Damaged { file, detail });
    }
    let loaded = arrange(part, revision, last.saturating_add(1).max(1));
    report(&loaded, &file);
    Ok(loaded)
}

/// Puts what was read into maps, on two threads.
fn arrange(mut part: Part, revision: u64, next_id: i64) -> Loaded {
    part.sort();
    part.drop_second_rows();
    let places: Vec<(Key, Place)> = part.items.iter().map(|item| (item.key.clone(), item.place)).collect();
    let items = part.items.drain(..);
    let (places, snapshot) = thread::scope(|scope| {
        let places = scope.spawn(move || places.into_iter().collect());
        let entries = items.map(|item| (item.key, item.entry)).collect();
        let snapshot = Snapshot::without_words(revision, entries);
        (places.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), snapshot)
    });
    let Part { expiring, damaged, unopened, stale, rows, .. } = part;
    Loaded { snapshot, places, next_id, rows, expiring, damaged, unopened, stale }
}

/// Names what is damaged in the log.
fn report(loaded: &Loaded, file: &Path) {
    for damaged in loaded.damaged.iter().take(NAMED_MAX) {
        tracing::error!(?file, %damaged, "a row of the store is damaged: its object cannot be read, the store repair removes it");
    }
    let (damaged, unopened, stale) = (loaded.damaged.len(), loaded.unopened.len(), loaded.stale);
    if damaged + unopened + stale > 0 {
        tracing::warn!(
            ?file,
            damaged,
            unopened,
            stale,
            "rows of the store are damaged, not opened, or to be sealed anew"
        );
    }
}

impl Source<'_> {
    /// Takes rows until none are left.
    fn read(&self) -> Result<Part, OpenError> {
        let failed = failed::<rusqlite::Error>(self.file, "read");
        let connection = connect(self.disk, self.file).map_err(&failed)?;
        connection.pragma_update(None, "cache_size", CACHE_PAGES).map_err(&failed)?;
        let select = format!("SELECT {COLUMNS} FROM objects WHERE id BETWEEN ?1 AND ?2");
        let mut statement = connection.prepare(&select).map_err(&failed)?;
        let mut part = Part::default();
        loop {
            let first = self.next.fetch_add(self.at_once, Ordering::Relaxed);
            if first > self.last {
                part.sort();
                return Ok(part);
            }
            let last = first.saturating_add(self.at_once - 1);
            for row in statement.query_map([first, last], Found::read).map_err(&failed)? {
                self.take(row.map_err(&failed)?, &mut part)?;
            }
        }
    }

    fn take(&self, row: Found, part: &mut Part) -> Result<(), OpenError> {
        part.rows += 1;
        if row.state != State::Whole {
            self.take_damaged(row, part);
            return Ok(());
        }
        let Some(key) = row.name() else { return Ok(()) };
        if row.version > self.revision {
            let (version, revision) = (row.version, self.revision);
            let detail = format!("{key:?} has version {version}, the store is at {revision}: repair the store");
            return Err(OpenError::Damaged { file: self.file.to_path_buf(), detail });
        }
        self.take_whole(key, row, part);
        Ok(())
    }

    fn take_whole(&self, key: Key, row: Found, part: &mut Part) {
        let place = place(&row);
        let Found { version, create_revision, epoch, expires, mut value, .. } = row;
        let entry = match self.sealing.open(&key, &value) {
            Ok(Opened { plain, is_stale }) => {
                part.stale += usize::from(is_stale);
                value = plain;
                if epoch != self.catalog.epoch(&key) {
                    value = self.catalog.renew(&key, &value, epoch).unwrap_or(value);
                }
                let reader = Reader { catalog: Arc::clone(self.catalog), key: key.clone() };
                Entry::unread(version, create_revision, value, reader, self.budget)
            }
            Err(error) => {
                if part.unopened.len() < NAMED_MAX {
                    tracing::error!(%key, %error, "a value in the store cannot be opened");
                }
                part.unopened.push(Unopened { key: key.clone(), version, epoch });
                Entry::new(version, create_revision, value, Index::unreadable(), self.budget)
            }
        };
        part.expiring.extend(expires.map(|expires| (key.clone(), expires)));
        part.push(key, entry, place, true);
    }

    fn take_damaged(&self, mut row: Found, part: &mut Part) {
        if self.key_searches.fetch_add(1, Ordering::Relaxed) < KEY_SEARCHES_MAX
            && let Some(key) = row.true_key()
            && row.version <= self.revision
        {
            let stands = String::from_utf8_lossy(&row.key).into_owned();
            part.damaged.push(Damaged { id: row.id, key: Some(key.clone()), what: Damage::Key { stands } });
            row.key = bytes::Bytes::copy_from_slice(key.as_bytes());
            return self.take_whole(key, row, part);
        }
        let key = row.name();
        let what = if row.state == State::Malformed { Damage::Malformed } else { Damage::Changed };
        part.damaged.push(Damaged { id: row.id, key: key.clone(), what });
        let Some(key) = key else { return };
        // What it says of itself may be anything.
        let version = row.version.clamp(1, self.revision);
        let create_revision = row.create_revision.clamp(1, version);
        let place = place(&row);
        let entry = Entry::new(version, create_revision, row.value, Index::unreadable(), self.budget);
        part.push(key, entry, place, false);
    }
}

fn place(row: &Found) -> Place {
    Place { id: row.id, bytes: u32::try_from(row.bytes()).unwrap_or(u32::MAX) }
}

/// A connection that reads the file as it stands, without locks and without the WAL.
pub(super) fn connect(disk: &dyn Disk, file: &Path) -> rusqlite::Result<Connection> {
    let mut name = "file:".to_owned();
    for byte in file.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => name.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(name, "%{byte:02x}")),
        }
    }
    name.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = disk::connect(disk, Path::new(&name), flags)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}
