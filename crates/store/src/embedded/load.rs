//! Reads all rows of the file into memory: one thread reads, others look at what it read.
//!
//! The order of rows in the file is that of their creation, so keys and words are sorted before they are put into their
//! maps: neighbours are then put beside one another, which costs a fraction of as many random places.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use bytes::Bytes;
use rusqlite::Connection;

use super::{
    OpenError,
    directory::Directory,
    journal::{failed, read_meta},
};
use crate::{Budget, Catalog, Entry, Key, Snapshot, Term};

/// Rows are handed on in batches of about this many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// Batches that are read and not yet looked at.
const BATCHES_MAX: usize = 8;
/// Threads that look at rows. Reading itself takes about as long as looking does, so more would wait.
const SCANNERS_MAX: usize = 3;

/// A row of the table.
struct Row {
    key: Key,
    version: u64,
    create_revision: u64,
    epoch: u32,
    value: Bytes,
}

/// What rows became.
#[derive(Default)]
struct Scanned {
    entries: Vec<(Key, Entry)>,
    words: Vec<(Term, Key)>,
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
    let scanners = thread::available_parallelism().map_or(1, usize::from).clamp(1, SCANNERS_MAX);
    let (batches, queue) = mpsc::sync_channel(BATCHES_MAX);
    // The queue ends with those who read from it, so that nobody hands on to nobody.
    let queue = Arc::new(Mutex::new(queue));
    let scanned = thread::scope(|scope| {
        let scanners: Vec<_> = (0..scanners)
            .map(|_| {
                let queue = Arc::clone(&queue);
                let thread = thread::Builder::new().name("store-loader".to_owned());
                thread.spawn_scoped(scope, move || scan(&queue, catalog, budget))
            })
            .collect::<Result<_, _>>()
            .map_err(|source| OpenError::ThreadFailed { source })?;
        drop(queue);
        read(connection, &file, revision, &batches)?;
        drop(batches);
        let mut all = Scanned::default();
        for scanner in scanners {
            let Scanned { mut entries, mut words } =
                scanner.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            all.entries.append(&mut entries);
            all.words.append(&mut words);
        }
        Ok(all)
    })?;
    let Scanned { mut entries, mut words } = scanned;
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

/// Hands on all rows, and stops at the first that cannot be.
fn read(
    connection: &Connection,
    file: &Path,
    revision: u64,
    batches: &mpsc::SyncSender<Vec<Row>>,
) -> Result<(), OpenError> {
    let failed = failed::<rusqlite::Error>(file, "read");
    let mut statement =
        connection.prepare("SELECT key, version, create_revision, epoch, value FROM objects").map_err(&failed)?;
    let rows = statement.query_map([], Row::read).map_err(&failed)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let row = row.map_err(&failed)?;
        let Row { key, version, create_revision, .. } = &row;
        if *version > revision || create_revision > version || *create_revision == 0 {
            let detail = format!("{key:?} has version {version} of {create_revision}, the store is at {revision}");
            return Err(OpenError::Damaged { file: file.to_path_buf(), detail });
        }
        bytes += row.value.len();
        batch.push(row);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            // Nobody takes it any more only when a scanner has panicked, and then its panic goes on.
            let _ = batches.send(std::mem::take(&mut batch));
        }
    }
    let _ = batches.send(batch);
    Ok(())
}

/// Makes entries of rows until there are no more.
fn scan(queue: &Mutex<mpsc::Receiver<Vec<Row>>>, catalog: &dyn Catalog, budget: &Arc<Budget>) -> Scanned {
    let mut scanned = Scanned::default();
    loop {
        let batch = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return scanned };
        for Row { key, version, create_revision, epoch, mut value } in batch {
            if epoch != catalog.epoch(&key) {
                value = catalog.renew(&key, &value, epoch).unwrap_or(value);
            }
            let index = catalog.index(&key, &value);
            scanned.words.extend(index.terms(&value).into_iter().map(|term| (term, Key::clone(&key))));
            scanned.entries.push((key, Entry::new(version, create_revision, value, index, budget)));
        }
    }
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
