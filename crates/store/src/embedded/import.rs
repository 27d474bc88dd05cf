//! The whole content of a store file, out of it and into a new one. A new one is prepared under another name, and gets its own when it
//! has been looked at: so it is there completely or not at all.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};

use super::{
    FORMAT, OpenError,
    check::{damage, each_row},
    directory::Directory,
    file::{
        self, PUT, failed, number, open_as_it_is, open_elsewhere, open_without_wal, read_meta, read_revision,
        write_revision,
    },
    load::{Damage, Damaged},
    row::{Found, Head, State, time},
};
use crate::{
    Sealing,
    engine::Source,
    transfer::{Content, Kept, Raw, Unreadable},
};

/// What a revision may be raised to: far below what the file can hold, so that a server can go on from there for good.
const RAISED_MAX: u64 = 1 << 60;

/// Reads the store in a directory. Nobody may have it open.
pub fn read(directory: &Path) -> Result<Raw, OpenError> {
    let directory = Directory::acquire_existing(directory)?;
    let (connection, format) = open_as_it_is(&directory)?;
    raw(&connection, format, &directory.store_file())
}

/// Reads a file that lies somewhere and that nobody changes, such as a backup.
pub fn read_file(file: &Path) -> Result<Raw, OpenError> {
    let opened = open_elsewhere(file)?;
    raw(&opened.connection, opened.format, file)
}

/// A new store that has not got its name yet. Dropping it leaves nothing that would be taken for a store.
pub struct Prepared {
    directory: Directory,
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // A disk that is full is not to stay so.
        if let Err(error) = file::discard(&self.directory) {
            tracing::warn!(file = ?self.directory.new_store_file(), %error, "what was prepared could not be removed");
        }
    }
}

impl Prepared {
    /// Reads it.
    pub fn read(&self) -> Result<Raw, OpenError> {
        let file = self.directory.new_store_file();
        let (connection, format) = open_without_wal(self.directory.disk(), &file)?;
        raw(&connection, format, &file)
    }

    /// Gives it its name, durably.
    pub fn finish(self) -> Result<(), OpenError> {
        let file = self.directory.store_file();
        file::publish(&self.directory).map_err(failed(&file, "create"))
    }
}

/// Refuses a directory that has a store.
pub fn require_none(directory: &Path) -> Result<(), OpenError> {
    match Directory::acquire_existing(directory) {
        Ok(there) => Err(OpenError::StoreThere { file: there.store_file() }),
        Err(OpenError::NoStore { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Prepares a store with this content in a directory that has none: with its revision, and all of its entries' numbers.
pub fn prepare(directory: &Path, content: &Content, sealing: &dyn Sealing) -> Result<Prepared, OpenError> {
    fill(directory, |new| {
        let mut put = new.prepare(PUT)?;
        for (id, item) in (1i64..).zip(&content.items) {
            let kept = sealing.seal(&item.key, &item.value)?;
            let (version, create_revision) = (item.version, item.create_revision);
            if version > content.revision || create_revision > version || create_revision == 0 {
                let at = content.revision;
                return Err(format!("{:?} has version {version} of {create_revision} at {at}", item.key).into());
            }
            let (key, epoch, expires) = (item.key.as_bytes(), item.epoch, item.expires);
            let checksum = Head { key, version, create_revision, epoch, expires }.checksum(&kept);
            let (version, created) = (number(version)?, number(create_revision)?);
            put.execute(params![id, &*item.key, version, created, epoch, time(expires), checksum, &*kept])?;
        }
        Ok(write_revision(new, content.revision, content.items.len() as u64)?)
    })
}

/// What came of a backup.
pub struct Restored {
    /// The store.
    pub prepared: Prepared,
    /// Rows that it has.
    pub rows: u64,
    /// Rows that it has not, since they are damaged.
    pub left_out: Vec<Damaged>,
    /// The revision of the backup.
    pub revision_before: u64,
    /// Its own.
    pub revision: u64,
}

/// Prepares a store of a backup in a directory that has none. Its revision is raised by so much that whatever was handed out after
/// the backup was made is behind it.
pub fn restore(backup: &Path, directory: &Path, raised_by: u64) -> Result<Restored, OpenError> {
    let opened = open_elsewhere(backup)?;
    let (connection, format) = (&opened.connection, opened.format);
    require_format(format, backup)?;
    let (revision_before, left_out, whole) = survey(connection, backup)?;
    let raised = revision_before.checked_add(raised_by).filter(|revision| *revision <= RAISED_MAX);
    let revision = raised.ok_or(OpenError::RaisedTooFar { revision: revision_before, raised_by, max: RAISED_MAX })?;
    let mut rows = 0;
    let prepared = fill(directory, |new| {
        let mut put = new.prepare(PUT)?;
        let mut outcome = Ok(());
        let mut copy = |row: Found| -> Result<(), Source> {
            if whole.get(row.key.as_ref()) != Some(&row.id) {
                return Ok(());
            }
            let name = row.name().ok_or("a key changed while it was read")?;
            let Found { id, version, create_revision, epoch, expires, ref value, .. } = row;
            let (version, created) = (number(version)?, number(create_revision)?);
            let checksum = row.head().checksum(value);
            put.execute(params![id, &*name, version, created, epoch, time(expires), checksum, &**value])?;
            rows += 1;
            Ok(())
        };
        each_row(connection, format, |row| {
            if outcome.is_ok() {
                outcome = copy(row);
            }
        })?;
        outcome?;
        Ok(write_revision(new, revision, rows)?)
    })?;
    Ok(Restored { prepared, rows, left_out, revision_before, revision })
}

/// The revision, what is damaged, and the row of each key that is whole.
type Survey = (u64, Vec<Damaged>, HashMap<Box<[u8]>, i64>);

fn survey(connection: &Connection, file: &Path) -> Result<Survey, OpenError> {
    let (mut seen, mut damaged, mut highest) = (HashMap::new(), Vec::new(), 0);
    each_row(connection, FORMAT, |row| match damage(&row, &mut seen) {
        Some(found) => damaged.push(found),
        None => highest = row.version.max(highest),
    })
    .map_err(failed(file, "read"))?;
    let said = match read_revision(connection, file) {
        Ok(revision) => revision,
        // It may be anything; whatever is believed of it must leave room to raise it.
        Err(OpenError::Damaged { .. }) => read_meta(connection, file, "revision").unwrap_or(0).min(u64::from(u32::MAX)),
        Err(error) => return Err(error),
    };
    let whole = seen.into_iter().map(|(key, (id, _))| (key.as_bytes().into(), id)).collect();
    Ok((said.max(highest), damaged, whole))
}

fn fill(directory: &Path, fill: impl FnOnce(&Connection) -> Result<(), Source>) -> Result<Prepared, OpenError> {
    let directory = Directory::acquire(directory)?;
    let failed_to_look = |source| OpenError::DirectoryFailed { directory: directory.path().to_path_buf(), source };
    if let Some(there) = directory.holds_a_store().map_err(failed_to_look)? {
        return Err(OpenError::StoreThere { file: there });
    }
    let prepared = Prepared { directory };
    let file = prepared.directory.new_store_file();
    file::prepare(&prepared.directory, fill).map_err(failed(&file, "fill"))?;
    Ok(prepared)
}

fn require_format(format: u64, file: &Path) -> Result<(), OpenError> {
    if format < FORMAT {
        return Err(OpenError::OlderFormat { file: file.to_path_buf(), found: format });
    }
    Ok(())
}

fn raw(connection: &Connection, format: u64, file: &Path) -> Result<Raw, OpenError> {
    require_format(format, file)?;
    let revision = read_revision(connection, file)?;
    let mut raw = Raw { revision, ..Raw::default() };
    let mut seen = HashMap::new();
    let (mut rows, mut beyond, mut whole) = (0u64, None, Vec::new());
    each_row(connection, format, |row| {
        rows += 1;
        raw.unreadable.extend(damage(&row, &mut seen).as_ref().map(unreadable));
        if row.state == State::Whole {
            beyond = Some(row.version).filter(|version| *version > revision).or(beyond);
            whole.push(row);
        }
    })
    .map_err(failed(file, "read"))?;
    // Of two rows of a key the newer one.
    let newest = |row: &Found| row.name().and_then(|key| seen.get(&key)).is_some_and(|(id, _)| *id == row.id);
    raw.entries = whole.into_iter().filter(newest).map(kept).collect();
    let damaged = |detail: String| OpenError::Damaged { file: PathBuf::from(file), detail };
    if let Some(version) = beyond {
        return Err(damaged(format!("a row has version {version}, the store is at {revision}: repair the store")));
    }
    let written = read_meta(connection, file, "rows")?;
    if rows != written {
        return Err(damaged(format!("{rows} of its {written} rows were found: repair the store, or restore a backup")));
    }
    Ok(raw)
}

fn unreadable(found: &Damaged) -> Unreadable {
    let key = found.key.as_deref().unwrap_or("?").to_owned();
    let reason = match found.what {
        Damage::Twice => format!("row {} is an older one of the same key", found.id),
        _ => found.to_string(),
    };
    Unreadable { key, reason }
}

fn kept(row: Found) -> Kept {
    let Found { key, version, create_revision, epoch, expires, value, .. } = row;
    Kept { key, version, create_revision, epoch: Some(epoch), expires, value }
}
