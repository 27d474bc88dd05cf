//! The files under the store, as the engine itself uses them. What is in a file is SQLite's part, through the VFS that goes
//! with them; only the WAL is looked at before SQLite does so.
//!
//! The program has one implementation. Tests have another, whose files forget what was not synced, and fail when they are told to.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
};

use rusqlite::{Connection, OpenFlags};

use super::directory::{DIRECTORY_MODE, FILE_MODE};

/// Names in directories, and syncs.
pub trait Disk: Send + Sync + 'static {
    /// SQLite's VFS for these files; none is SQLite's own.
    fn vfs(&self) -> Option<&str>;

    /// Whether there is something of this name. An error is not a no: a store that cannot be seen must not be made anew.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes one directory for its owner alone; that it is there already is no error.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file for its owner alone; one that is there is an error.
    fn create(&self, file: &Path) -> io::Result<()>;

    /// Removes a file; that there is none is no error.
    fn remove(&self, file: &Path) -> io::Result<()>;

    /// Gives a file another name, in the place of whatever has that.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes what is in a file durable, or the names in a directory.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Reads from somewhere in a file that nobody has open; 0 bytes are its end.
    fn read_at(&self, file: &Path, at: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes over what is somewhere in a file that nobody has open.
    fn write_at(&self, file: &Path, at: u64, bytes: &[u8]) -> io::Result<()>;
}

/// The system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn vfs(&self) -> Option<&str> {
        None
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            done => done,
        }
    }

    fn create(&self, file: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file).map(drop)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read_at(&self, file: &Path, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        File::open(file)?.read_at(buffer, at)
    }

    fn write_at(&self, file: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).open(file)?.write_all_at(bytes, at)
    }
}

/// Opens a file of the disk with SQLite.
pub(super) fn connect(disk: &dyn Disk, name: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    match disk.vfs() {
        Some(vfs) => Connection::open_with_flags_and_vfs(name, flags, vfs),
        None => Connection::open_with_flags(name, flags),
    }
}
