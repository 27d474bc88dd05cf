//! The file of a store that is in use, as it was at one commit, byte for byte: with checksums, with what is sealed as it is sealed.
//!
//! Between two checkpoints SQLite writes to the WAL alone. So the WAL is moved into the file once, and then not again for as long as
//! somebody reads the file: commits go on, and wait for nobody. That is less work than SQLite's own backup, which puts every page that is
//! written meanwhile into the copy as well, on the thread that commits.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    FORMAT, OpenError,
    directory::Directory,
    file::{self, failed, open_as_it_is},
};
use crate::engine::Source;

/// Bytes that the WAL may grow to while somebody reads the file; beyond them it is moved, and what was read is of no use.
pub(super) const WAL_BYTES_MAX: usize = 1 << 30;

/// Why the file cannot be read as it is at one commit.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// Somebody else does so.
    #[error("a backup of this store is being made already")]
    Busy,
    /// The engine is closed.
    #[error("the store is closed")]
    Closed,
    /// The WAL could not be moved into the file, or the file not be opened.
    #[error("the store file cannot be read")]
    Failed {
        /// Why.
        source: Source,
    },
}

/// The file as it is at one commit. Dropping it lets the engine write to it again.
pub struct Frozen {
    file: Arc<File>,
    bytes: u64,
    at: u64,
    thawed: Arc<AtomicBool>,
    /// Of a store that nobody has open: so it stays.
    _directory: Option<Directory>,
}

impl Frozen {
    /// Length of the file.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// Whether all that was read so far is of that one commit. To be asked after the last byte.
    pub fn is_whole(&self) -> bool {
        !self.thawed.load(Ordering::SeqCst)
    }
}

impl Read for Frozen {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.bytes - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let read = self.file.read_at(buffer.get_mut(..length).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// What the journal knows of whoever reads the file.
#[derive(Default)]
pub(super) struct Freeze {
    /// Opened once and closed after SQLite's own: closing any of them gives up SQLite's lock on the file.
    file: Option<Arc<File>>,
    reader: Weak<AtomicBool>,
}

impl Freeze {
    /// Whether the file must stay as it is.
    pub(super) fn is_on(&self) -> bool {
        self.reader.upgrade().is_some_and(|thawed| !thawed.load(Ordering::SeqCst))
    }

    /// Tells whoever reads the file that it changes from here on.
    pub(super) fn end(&self) {
        if let Some(thawed) = self.reader.upgrade() {
            thawed.store(true, Ordering::SeqCst);
        }
    }

    /// The file, into which all of the WAL has been moved.
    pub(super) fn begin(&mut self, path: &Path) -> io::Result<Frozen> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::clone(self.file.insert(Arc::new(File::open(path)?))),
        };
        let thawed = Arc::new(AtomicBool::new(false));
        self.reader = Arc::downgrade(&thawed);
        Ok(Frozen { bytes: file.metadata()?.len(), file, at: 0, thawed, _directory: None })
    }
}

/// The file of a store that nobody has open.
pub fn freeze(directory: &Path) -> Result<Frozen, OpenError> {
    let directory = Directory::acquire_existing(directory)?;
    let file = directory.store_file();
    let (connection, format) = open_as_it_is(&directory)?;
    if format < FORMAT {
        return Err(OpenError::OlderFormat { file, found: format });
    }
    file::checkpoint(&connection).map_err(failed(&file, "checkpoint"))?;
    connection.close().map_err(|(_, error)| failed(&file, "close")(error))?;
    let frozen = Freeze::default().begin(&file).map_err(failed(&file, "open"))?;
    Ok(Frozen { _directory: Some(directory), ..frozen })
}
