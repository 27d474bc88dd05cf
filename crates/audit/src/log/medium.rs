//! What lines are appended to: a file that only its owner can read, or the standard output. Behind a trait, so that a test can have
//! a disk that is full.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, OFlags, fallocate, flock};
use rustix::io::Errno;

/// Mode of every file.
pub(crate) const FILE_MODE: u32 = 0o600;
/// Mode of a directory that is made.
pub(crate) const DIRECTORY_MODE: u32 = 0o700;
/// Permission bits that let anybody but the owner in.
const OTHERS: u32 = 0o077;

/// What lines are appended to.
pub(crate) trait Medium: Send {
    /// Appends as much as fits and says how much that was.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes it this long, and gives room beyond that back.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Keeps room for `bytes` from `end` on. Says whether it can do such a thing.
    fn reserve(&mut self, end: u64, bytes: u64) -> io::Result<bool>;

    /// The file, to make it durable without keeping writers waiting, and to see whether it is still in its place.
    fn file(&self) -> Option<Arc<File>>;
}

/// Opens media.
pub(crate) trait Disk: Send + Sync {
    /// Opens a file to append to, making it if need be, and says how long it is.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Medium>, u64)>;

    /// Makes what was written to a file durable.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }
}

/// The disk of this machine.
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn Medium>, u64)> {
        let file = open(path)?;
        let len = file.metadata()?.len();
        Ok((Box::new(Regular { file: Arc::new(file) }), len))
    }
}

/// Opens a file of the log. Nothing but a regular file is taken, no link is followed, and others are kept out.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(FILE_MODE);
    // Not to wait for the other end of a pipe that lies in the file's place.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    options.custom_flags(i32::try_from(flags).unwrap_or_default());
    let file = options.open(path).map_err(|error| match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => io::Error::other("it is a symbolic link, which is not followed"),
        _ => error,
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.nlink() > 1 {
        return Err(io::Error::other("it has a second name (a hard link)"));
    }
    // Two chains in one file would be none. Where there are no locks, `Replaced` says that somebody else writes.
    if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Err(io::Error::other("another server is writing it"));
    }
    let mode = metadata.permissions().mode();
    if mode & OTHERS != 0 {
        tracing::warn!(file = ?path, mode = format!("{:o}", mode & 0o7777), "audit log was open to others, made private");
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    }
    Ok(file)
}

struct Regular {
    file: Arc<File>,
}

impl Medium for Regular {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.file).write(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn reserve(&mut self, end: u64, bytes: u64) -> io::Result<bool> {
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, end, bytes) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.file))
    }
}

/// The standard output (upstream: `--audit-log-path -`). What is on it cannot be taken back.
pub(crate) struct StandardOutput;

impl Medium for StandardOutput {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map(|()| bytes.len())
    }

    fn cut(&mut self, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&mut self, _end: u64, _bytes: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn file(&self) -> Option<Arc<File>> {
        None
    }
}
