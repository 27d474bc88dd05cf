//! Reads all rows of the file into memory, on several threads: each reads rows of its own and looks at them.
//!
//! The readers have connections of their own, which take the file as it is and never look into the WAL: so it must be empty of
//! anything new, and nobody may write meanwhile. Both hold at a start, after the first checkpoint and before the committer.
//!
//! The order of rows in the file is that of their creation, so keys and words are sorted before they are put into their
//! maps: neighbours are then put beside one another, which costs a fraction of as many random places.

use std::{
    fmt::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags};

use super::{
    OpenError,
    directory::Directory,
    journal::{failed, read_meta},
};
use crate::{Budget, Catalog, Entry, Key, Snapshot, Term};

/// Row numbers that a reader takes at once, at least; and in how many parts all of them are taken, at most: there may be many more
/// numbers than rows.
const ROWS_AT_ONCE_MIN: i64 = 256;
const PARTS_MAX: i64 = 256;
/// Readers; more wait for the disk or for the allocator.
const READERS_MAX: usize = 4;

/// What rows became.
#[derive(Default)]
struct Loaded {
    entries: Vec<(Key, Entry)>,
    words: Vec<(Term, Key)>,
}

/// What all readers share.
struct Source<'a> {
    file: &'a Path,
    /// The revision of the store; no row may be beyond it.
    revision: u64,
    catalog: &'a dyn Catalog,
    budget: &'a Arc<Budget>,
    /// The first row that nobody has taken, and the last one.
    next: AtomicI64,
    last: i64,
    at_once: i64,
}

/// Reads everything that is in the file.
pub(super) fn load(
    connection: &Connection,
    directory: &Directory,
    catalog: &dyn Catalog,
    budget: &Arc<Budget>,
) -> Result<Snapshot, OpenError> {
    let file = directory.store_file();
    let revision = read_meta(connection, directory, "revision")?;
    let bounds = "SELECT ifnull(min(rowid), 0), ifnull(max(rowid), -1) FROM objects";
    let (first, last): (i64, i64) =
        connection.query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed(&file, "read"))?;
    let numbers = last.saturating_sub(first).saturating_add(1);
    let at_once = ROWS_AT_ONCE_MIN.max(numbers / PARTS_MAX + 1);
    let source = Source { file: &file, revision, catalog, budget, next: first.into(), last, at_once };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
    let parts = usize::try_from(numbers / at_once).unwrap_or(usize::MAX);
    let loaded = thread::scope(|scope| {
        let others: Vec<_> = (1..cores.min(parts))
            .map(|_| thread::Builder::new().name("store-loader".to_owned()).spawn_scoped(scope, || source.read()))
            .collect::<Result<_, _>>()
            .map_err(|source| OpenError::ThreadFailed { source })?;
        let mut loaded = source.read()?;
        for other in others {
            let Loaded { mut entries, mut words } =
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            loaded.entries.append(&mut entries);
            loaded.words.append(&mut words);
        }
        Ok(loaded)
    })?;
    let Loaded { mut entries, mut words } = loaded;
    let (entries, words) = thread::scope(|scope| {
        let words = scope.spawn(move || {
            words.sort_unstable();
            words.into_iter().collect()
        });
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let entries = entries.into_iter().collect();
        (entries, words.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok(Snapshot::with_words(revision, entries, words))
}

impl Source<'_> {
    /// Takes rows until none are left.
    fn read(&self) -> Result<Loaded, OpenError> {
        let failed = failed::<rusqlite::Error>(self.file, "read");
        let connection = connect(self.file).map_err(&failed)?;
        let mut statement = connection
            .prepare("SELECT key, version, create_revision, epoch, value FROM objects WHERE rowid BETWEEN ?1 AND ?2")
            .map_err(&failed)?;
        let mut loaded = Loaded::default();
        loop {
            let first = self.next.fetch_add(self.at_once, Ordering::Relaxed);
            if first > self.last {
                return Ok(loaded);
            }
            let rows =
                statement.query_map([first, first.saturating_add(self.at_once - 1)], Row::read).map_err(&failed)?;
            for row in rows {
                self.take(row.map_err(&failed)?, &mut loaded)?;
            }
        }
    }

    fn take(&self, row: Row, loaded: &mut Loaded) -> Result<(), OpenError> {
        let Row { key, version, create_revision, epoch, mut value } = row;
        if version > self.revision || create_revision > version || create_revision == 0 {
            let detail =
                format!("{key:?} has version {version} of {create_revision}, the store is at {}", self.revision);
            return Err(OpenError::Damaged { file: self.file.to_path_buf(), detail });
        }
        if epoch != self.catalog.epoch(&key) {
            value = self.catalog.renew(&key, &value, epoch).unwrap_or(value);
        }
        let index = self.catalog.index(&key, &value);
        loaded.words.extend(index.terms(&value).into_iter().map(|term| (term, Key::clone(&key))));
        loaded.entries.push((key, Entry::new(version, create_revision, value, index, self.budget)));
        Ok(())
    }
}

/// A connection that reads the file as it stands, without locks and without the WAL.
fn connect(file: &Path) -> rusqlite::Result<Connection> {
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
    let connection = Connection::open_with_flags(name, flags)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;")?;
    Ok(connection)
}

/// A row of the table.
struct Row {
    key: Key,
    version: u64,
    create_revision: u64,
    epoch: u32,
    value: Bytes,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        let key = row.get_ref(0)?.as_str()?.into();
        let value = Bytes::copy_from_slice(row.get_ref(4)?.as_blob()?);
        let revision = |column| {
            let number: i64 = row.get(column)?;
            u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
        };
        Ok(Row { key, version: revision(1)?, create_revision: revision(2)?, epoch: row.get(3)?, value })
    }
}
