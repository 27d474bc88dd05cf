//! Why a store cannot be opened, in the words that its operator reads.

use std::path::PathBuf;

use super::FORMAT;
use crate::engine::Source;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory could not be made, or made private.
    #[error("cannot prepare the store directory {directory:?}")]
    DirectoryFailed {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the store in {directory:?} is in use by process {pid}: stop it, or use another data directory")]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process, as it wrote itself down; `?` when it has not yet.
        pid: String,
    },
    /// The lock file could not be opened or locked.
    #[error("cannot lock {file:?}")]
    LockFailed {
        /// The lock file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is none.
    #[error("there is no store at {file:?}")]
    NoStore {
        /// Where it would be.
        file: PathBuf,
    },
    /// There is one where a new one was to be made.
    #[error("there is a store already, {file:?}: move the directory that it is in away first")]
    StoreThere {
        /// A file of it.
        file: PathBuf,
    },
    /// An older release wrote it, and it cannot be moved as it is.
    #[error(
        "the store file {file:?} has format {found}: start the server on it once, which brings it to format {FORMAT}"
    )]
    OlderFormat {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u64,
    },
    /// A newer release wrote it. Nothing was changed.
    #[error(
        "the store file {file:?} has format {found}, this program reads formats up to {supported}: \
         use the release that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// The format of the file.
        found: u64,
        /// The newest format this program knows.
        supported: u64,
    },
    /// There would be no revisions left.
    #[error("revision {revision} cannot be raised by {raised_by} (--bump-revision): {max} is the highest")]
    RaisedTooFar {
        /// The revision.
        revision: u64,
        /// By how much it was to be raised.
        raised_by: u64,
        /// What it may become.
        max: u64,
    },
    /// The file is that of a store which another process has open: it changes while it is read.
    #[error("{file:?} is the file of a store that process {pid} has open. Name the data directory, or make a backup")]
    FileInUse {
        /// The file.
        file: PathBuf,
        /// The process, as in [`OpenError::InUse`].
        pid: String,
    },
    /// The file is that of a store that was killed, or a copy of one in use: its newest commits are in another file.
    #[error("{file:?} is not all of its store: {wal:?} belongs to it. Name the data directory, or make a backup")]
    HasWal {
        /// The file.
        file: PathBuf,
        /// Where the newest commits are.
        wal: PathBuf,
    },
    /// The file is a database, but not one of ours.
    #[error("{file:?} is not a store of this program")]
    NotAStore {
        /// The file.
        file: PathBuf,
    },
    /// What is in the file contradicts itself.
    #[error("the store file {file:?} is damaged: {detail}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The contradiction.
        detail: String,
    },
    /// SQLite could not do its part.
    #[error("cannot {action} the store file {file:?}")]
    FileFailed {
        /// The file.
        file: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What went wrong.
        source: Source,
    },
    /// The committer could not be started.
    #[error("cannot start the committer thread")]
    ThreadFailed {
        /// What the system said.
        source: std::io::Error,
    },
}
