//! The store's directory: private, and owned by one process at a time.
//!
//! The lock is the system's (`flock`), so it ends with its process however that ends; the file's text only tells a
//! person which process to look for.

use std::{
    fs::{File, OpenOptions, Permissions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    OpenError,
    disk::{Disk, SystemDisk},
    file,
};

/// Mode of the directory and of those above it that are made with it.
pub(super) const DIRECTORY_MODE: u32 = 0o700;
/// Mode of every file in it; SQLite gives the WAL that of the database.
pub(super) const FILE_MODE: u32 = 0o600;
const LOCK_FILE: &str = "lock";
pub(super) const STORE_FILE: &str = "store.db";
const PID_BYTES_MAX: u64 = 16;

/// A locked directory. Dropping it is the unlock.
pub(super) struct Directory {
    /// As it was given, for messages.
    path: PathBuf,
    /// Without symbolic links: SQLite is told to follow none.
    real: PathBuf,
    disk: Arc<dyn Disk>,
    lock: File,
}

/// The directory of a store that is kept elsewhere, such as in etcd: what lies beside it is one server's all the same. Dropping it is the
/// unlock.
pub struct Lock {
    _directory: Directory,
}

impl Lock {
    /// Makes the directory if need be, makes it private, and locks it as an embedded store in it would.
    pub fn acquire(path: &Path) -> Result<Lock, OpenError> {
        Ok(Lock { _directory: Directory::acquire(path)? })
    }
}

impl Directory {
    /// Makes the directory if need be, makes it private, and locks it.
    pub(super) fn acquire(path: &Path) -> Result<Directory, OpenError> {
        Directory::acquire_on(Arc::new(SystemDisk), path)
    }

    /// The same on another disk than the system's; the lock is always the system's.
    pub(super) fn acquire_on(disk: Arc<dyn Disk>, path: &Path) -> Result<Directory, OpenError> {
        let failed = |source| OpenError::DirectoryFailed { directory: path.to_path_buf(), source };
        create(&*disk, path).and_then(|()| make_private(path)).map_err(failed)?;
        let real = path.canonicalize().map_err(failed)?;
        let lock = lock(path)?;
        Ok(Directory { path: path.to_path_buf(), real, disk, lock })
    }

    /// Locks a directory that has a store; nothing is made.
    pub(super) fn acquire_existing(path: &Path) -> Result<Directory, OpenError> {
        let file = path.join(STORE_FILE);
        match file.try_exists() {
            Ok(true) => Directory::acquire(path),
            Ok(false) => Err(OpenError::NoStore { file }),
            Err(source) => Err(OpenError::DirectoryFailed { directory: path.to_path_buf(), source }),
        }
    }

    /// A file of a store in it, if there is one: a WAL without its file is one, too.
    pub(super) fn holds_a_store(&self) -> std::io::Result<Option<PathBuf>> {
        for ending in ["", "-wal", "-journal"] {
            let file = self.real.join(format!("{STORE_FILE}{ending}"));
            if self.disk.exists(&file)? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the entries are.
    pub(super) fn store_file(&self) -> PathBuf {
        self.real.join(STORE_FILE)
    }

    /// Where a new store is prepared before it gets its name.
    pub(super) fn new_store_file(&self) -> PathBuf {
        self.real.join(format!("{STORE_FILE}.new"))
    }

    /// What its files are on.
    pub(super) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.disk.sync(&self.real)
    }
}

/// Makes the directory and those above it that are missing, and their names durable.
fn create(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    let path = std::path::absolute(path)?;
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if disk.exists(ancestor)? {
            break;
        }
        missing.push(ancestor);
    }
    for directory in missing.iter().rev() {
        disk.create_directory(directory)?;
    }
    for parent in missing.into_iter().filter_map(Path::parent) {
        disk.sync(parent)?;
    }
    Ok(())
}

fn make_private(path: &Path) -> std::io::Result<()> {
    let mode = path.metadata()?.permissions().mode() & 0o7777;
    if mode & !DIRECTORY_MODE != 0 {
        tracing::warn!(directory = ?path, mode = format!("{mode:o}"), "store directory was open to others, made private");
        std::fs::set_permissions(path, Permissions::from_mode(DIRECTORY_MODE))?;
    }
    Ok(())
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that this process is just starting holds a copy until its exec.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(directory = ?self.path, %error, "store directory could not be unlocked");
        }
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let file = directory.join(LOCK_FILE);
    let failed = |source| OpenError::LockFailed { file: file.clone(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let mut lock = options.open(&file).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::InUse { directory: directory.to_path_buf(), pid: read_pid(&lock) });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    lock.set_len(0).map_err(failed)?;
    writeln!(lock, "{}", std::process::id()).map_err(failed)?;
    Ok(lock)
}

/// Keeps servers away from the store whose file this is while the file is read, if it is one in its data directory and not a copy of one.
pub(super) fn hold_for_reading(file: &Path) -> Result<Option<File>, OpenError> {
    let real = file.canonicalize().map_err(file::failed(file, "open"))?;
    let beside = real.with_file_name(LOCK_FILE);
    if real.file_name() != Some(STORE_FILE.as_ref()) || !beside.exists() {
        return Ok(None);
    }
    let failed = |source| OpenError::LockFailed { file: beside.clone(), source };
    // It may lie where nothing can be written.
    let lock = File::open(&beside).map_err(failed)?;
    match lock.try_lock_shared() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::FileInUse { file: file.to_path_buf(), pid: read_pid(&lock) }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What the owner wrote, if it is a number.
fn read_pid(lock: &File) -> String {
    let mut text = String::new();
    match lock.take(PID_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if text.trim().parse::<u32>().is_ok() => text.trim().to_string(),
        _ => "?".to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn modes() {
        let check = |before: Option<u32>| {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().join("store");
            if let Some(mode) = before {
                std::fs::create_dir(&path).unwrap();
                std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            }
            let directory = Directory::acquire(&path).unwrap();
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode(directory.path()), 0o700, "before: {before:?}");
            assert_eq!(mode(&path.join(LOCK_FILE)), 0o600);
        };
        check(None);
        check(Some(0o700));
        check(Some(0o755));
        check(Some(0o1777));
    }

    #[test]
    fn the_second_owner_is_told_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let first = Directory::acquire(parent.path()).unwrap();
        let Err(OpenError::InUse { directory, pid }) = Directory::acquire(parent.path()) else {
            unreachable!("the directory was locked twice")
        };
        assert_eq!((directory.as_path(), pid), (parent.path(), std::process::id().to_string()));
        drop(first);
        Directory::acquire(parent.path()).unwrap();
    }

    #[test]
    fn a_file_that_is_read_is_not_opened_for_writing() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join(STORE_FILE);
        std::fs::write(&file, "").unwrap();
        assert!(hold_for_reading(&file).unwrap().is_none());
        let owner = Directory::acquire(parent.path()).unwrap();
        assert!(matches!(hold_for_reading(&file), Err(OpenError::FileInUse { .. })));
        drop(owner);
        let held = hold_for_reading(&file).unwrap().unwrap();
        let other = hold_for_reading(&file).unwrap().unwrap();
        assert!(matches!(Directory::acquire(parent.path()), Err(OpenError::InUse { .. })));
        drop((held, other));
        Directory::acquire(parent.path()).unwrap();
    }

    /// As in a child between fork and exec.
    #[test]
    fn a_copy_of_the_lock_file_does_not_keep_the_lock() {
        let parent = tempfile::tempdir().unwrap();
        let first = Directory::acquire(parent.path()).unwrap();
        let copy = first.lock.try_clone().unwrap();
        drop(first);
        Directory::acquire(parent.path()).unwrap();
        drop(copy);
    }
}
