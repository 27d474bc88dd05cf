//! Looks at a store that nobody has open: what is in it, and what is damaged; and removes what is damaged.
//!
//! Removing is a person's decision, because it is the end of what could still be made out of a row. SQLite's own structure is
//! not repaired: of what cannot be read there is a backup or nothing.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, params};

use super::{
    FORMAT, OpenError,
    clock::{Clock, SystemClock},
    directory::Directory,
    disk::Disk,
    file::{
        self, Upgrade, failed, open_as_it_is, open_elsewhere, open_without_wal, read_meta, read_revision,
        write_revision,
    },
    load::{Damage, Damaged},
    row::{COLUMNS, Found, State},
    space::Pages,
    wal::{self, LogRepaired},
};
use crate::{Catalog, Key, Sealing};

/// What SQLite finds wrong, at most so many lines of it.
const PROBLEMS_MAX: usize = 20;
/// What the revision is raised by when it is not as it was written: nobody can tell what was handed out. As much as is added to the
/// revision of an etcd that is restored.
const REVISIONS_SKIPPED: u64 = 1_000_000_000;

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// Its format. Formats before 3 have no checksums.
    pub format: u64,
    /// The highest revision that was handed out.
    pub revision: u64,
    /// Whether the revision is as it was written.
    pub is_revision_whole: bool,
    /// How many rows there are.
    pub rows: usize,
    /// How many there should be.
    pub rows_written: usize,
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// The same by what keys begin with, up to the third slash (`/registry/pods/`): rows and bytes.
    pub by_resource: BTreeMap<String, (usize, u64)>,
    /// Rows that expire by themselves.
    pub expiring: usize,
    /// Bytes of the file, and those of them that are free.
    pub file_bytes: u64,
    /// Bytes of the file that are free.
    pub free_bytes: u64,
    /// Rows that are not as they were written.
    pub damaged: Vec<Damaged>,
    /// What SQLite itself finds wrong with the file.
    pub problems: Vec<String>,
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Rows that are gone.
    pub removed: Vec<Damaged>,
    /// Rows that are whole again: only their key was damaged.
    pub restored: Vec<Damaged>,
    /// How many rows were not to be found.
    pub missing: u64,
    /// The revision that the store goes on from, if the old one could not be trusted.
    pub revision: Option<u64>,
    /// What was done to the WAL, if that was damaged.
    pub log: Option<LogRepaired>,
}

/// Looks at the store in a directory. Nobody may have it open.
pub fn check(directory: &Path) -> Result<Report, OpenError> {
    check_locked(&Directory::acquire(directory)?)
}

/// The same for a store on another disk than the system's.
#[doc(hidden)]
pub fn check_on(disk: Arc<dyn Disk>, directory: &Path) -> Result<Report, OpenError> {
    check_locked(&Directory::acquire_on(disk, directory)?)
}

/// Looks at a file that lies somewhere and that nobody changes, such as a backup.
pub fn check_file(file: &Path) -> Result<Report, OpenError> {
    let opened = open_elsewhere(file)?;
    report(&opened.connection, opened.format, file.to_path_buf())
}

fn check_locked(directory: &Directory) -> Result<Report, OpenError> {
    // SQLite would cut the WAL where it is damaged, so it is not asked.
    if let Some(broken) = wal::scan(directory)? {
        let file = directory.store_file();
        let (connection, format) = open_without_wal(directory.disk(), &file)?;
        let mut report = report(&connection, format, file)?;
        report.problems.insert(0, format!("the WAL: {broken}"));
        return Ok(report);
    }
    let (connection, format) = open_as_it_is(directory)?;
    report(&connection, format, directory.store_file())
}

fn report(connection: &Connection, format: u64, file: PathBuf) -> Result<Report, OpenError> {
    let failed = failed::<rusqlite::Error>(&file, "check");
    let problems = problems(connection).map_err(&failed)?;
    let revision = read_meta(connection, &file, "revision")?;
    let is_revision_whole = format < FORMAT || read_revision(connection, &file).is_ok();
    let pages = Pages::read(connection).map_err(&failed)?;
    let mut report = Report {
        file: file.clone(),
        format,
        revision,
        is_revision_whole,
        file_bytes: pages.all * super::space::PAGE_BYTES,
        free_bytes: pages.free * super::space::PAGE_BYTES,
        problems,
        ..Report::default()
    };
    let mut seen = HashMap::new();
    each_row(connection, format, |row| {
        report.count(&row);
        if format >= FORMAT {
            report.damaged.extend(damage(&row, &mut seen));
        }
    })
    .map_err(&failed)?;
    report.rows_written = match format {
        FORMAT => usize::try_from(read_meta(connection, &file, "rows")?).unwrap_or(usize::MAX),
        _ => report.rows,
    };
    Ok(report)
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.is_revision_whole && self.rows == self.rows_written && self.damaged.is_empty() && self.problems.is_empty()
    }

    fn count(&mut self, row: &Found) {
        let bytes = (row.key.len() + row.value.len()) as u64;
        self.rows += 1;
        self.bytes += bytes;
        self.expiring += usize::from(row.expires.is_some());
        let key = String::from_utf8_lossy(&row.key);
        let end = key.match_indices('/').nth(2).map_or(key.len(), |(at, _)| at + 1);
        let (rows, of_resource) = self.by_resource.entry(key.get(..end).unwrap_or_default().to_owned()).or_default();
        *rows += 1;
        *of_resource += bytes;
    }
}

/// Removes damaged rows from the store in a directory, and makes whole what can be. Nobody may have it open.
pub fn repair(directory: &Path) -> Result<Repaired, OpenError> {
    repair_locked(&Directory::acquire(directory)?)
}

/// The same for a store on another disk than the system's.
#[doc(hidden)]
pub fn repair_on(disk: Arc<dyn Disk>, directory: &Path) -> Result<Repaired, OpenError> {
    repair_locked(&Directory::acquire_on(disk, directory)?)
}

fn repair_locked(directory: &Directory) -> Result<Repaired, OpenError> {
    let (catalog, sealing): (&dyn Catalog, &dyn Sealing) = (&crate::Opaque, &crate::Unsealed);
    let now = SystemClock::default().wall().as_secs();
    let mut repaired = repair_wal(directory)?;
    let mut connection = file::open(directory, &Upgrade { catalog, sealing, now })?;
    let file = directory.store_file();
    let failed = failed::<rusqlite::Error>(&file, "repair");
    let is_revision_whole = read_revision(&connection, &file).is_ok();
    let said = read_meta(&connection, &file, "revision").unwrap_or(0);
    let (mut seen, mut damaged, mut highest) = (HashMap::new(), Vec::new(), 0);
    let mut found_rows = 0u64;
    each_row(&connection, FORMAT, |row| {
        found_rows += 1;
        match damage(&row, &mut seen) {
            Some(found) => damaged.push(found),
            None => highest = row.version.max(highest),
        }
    })
    .map_err(&failed)?;
    let written = read_meta(&connection, &file, "rows")?;
    repaired.missing = written.saturating_sub(found_rows);
    if !is_revision_whole || highest > said {
        repaired.revision = Some(highest.max(said.min(u64::from(u32::MAX))) + REVISIONS_SKIPPED);
    }
    let transaction = connection.transaction().map_err(&failed)?;
    for one in damaged {
        match (&one.what, &one.key) {
            (Damage::Key { .. }, Some(key)) if !seen.contains_key(key) => {
                let update = "UPDATE objects SET key = ?2 WHERE id = ?1";
                transaction.execute(update, params![one.id, &**key]).map_err(&failed)?;
                repaired.restored.push(one);
            }
            _ => {
                transaction.execute("DELETE FROM objects WHERE id = ?1", [one.id]).map_err(&failed)?;
                repaired.removed.push(one);
            }
        }
    }
    // Counted, not reckoned: where the order of rows is damaged, a row may be found by reading all and not by its number.
    let mut rows = 0;
    each_row(&transaction, FORMAT, |_| rows += 1).map_err(&failed)?;
    write_revision(&transaction, repaired.revision.unwrap_or(said), rows).map_err(&failed)?;
    transaction.commit().map_err(&failed)?;
    Ok(repaired)
}

/// Makes the WAL one that SQLite takes all of: without loss if that can be, or else cut where it is damaged. Safe to begin anew.
fn repair_wal(directory: &Directory) -> Result<Repaired, OpenError> {
    let mut repaired = Repaired::default();
    while let Some(broken) = wal::scan(directory)? {
        if let Some(mended) = wal::mend(directory, &broken)? {
            repaired.log = repaired.log.or(Some(mended));
            continue;
        }
        let raise = |said: u64| said.max(broken.found.unwrap_or(0)) + REVISIONS_SKIPPED;
        let (revision, raised) = file::cut_wal(directory, raise)?;
        repaired.log = Some(LogRepaired::Cut { frame: broken.frame, revision });
        repaired.revision = Some(raised);
    }
    Ok(repaired)
}

/// What is wrong with a row. Keys of whole rows are noted with their rows and versions: of two the older one is too many.
pub(super) fn damage(row: &Found, seen: &mut HashMap<Key, (i64, u64)>) -> Option<Damaged> {
    let id = row.id;
    if row.state == State::Whole {
        let key = row.name()?;
        let (this, other) = ((id, row.version), seen.get(&key).copied().unwrap_or((id, 0)));
        let (newer, older) = if this.1 > other.1 { (this, other) } else { (other, this) };
        seen.insert(key.clone(), newer);
        let is_twice = newer.0 != older.0;
        return is_twice.then_some(Damaged { id: older.0, key: Some(key), what: Damage::Twice });
    }
    if let Some(key) = row.true_key() {
        let stands = String::from_utf8_lossy(&row.key).into_owned();
        return Some(Damaged { id, key: Some(key), what: Damage::Key { stands } });
    }
    let what = if row.state == State::Malformed { Damage::Malformed } else { Damage::Changed };
    Some(Damaged { id, key: row.name(), what })
}

pub(super) fn each_row(connection: &Connection, format: u64, mut look: impl FnMut(Found)) -> rusqlite::Result<()> {
    let columns = match format {
        1 => "rowid, key, version, create_revision, 0, NULL, 0, value",
        2 => "rowid, key, version, create_revision, epoch, NULL, 0, value",
        _ => COLUMNS,
    };
    let mut statement = connection.prepare(&format!("SELECT {columns} FROM objects ORDER BY rowid"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        look(Found::read(row)?);
    }
    Ok(())
}

fn problems(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
    let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}
