//! The store's directory: private, and owned by one process at a time.
//!
//! The lock is the system's (`flock`), so it ends with its process however that ends; the file's text only tells a
//! person which process to look for.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::OpenError;

const DIRECTORY_MODE: u32 = 0o700;
/// Mode of every file in it; SQLite gives the WAL that of the database.
pub(super) const FILE_MODE: u32 = 0o600;
const LOCK_FILE: &str = "lock";
const STORE_FILE: &str = "store.db";
const PID_BYTES_MAX: u64 = 16;

/// A locked directory. Dropping it is the unlock.
pub(super) struct Directory {
    /// As it was given, for messages.
    path: PathBuf,
    /// Without symbolic links: SQLite is told to follow none.
    real: PathBuf,
    lock: File,
}

impl Directory {
    /// Makes the directory if need be, makes it private, and locks it.
    pub(super) fn acquire(path: &Path) -> Result<Directory, OpenError> {
        let failed = |source| OpenError::DirectoryFailed { directory: path.to_path_buf(), source };
        create(path).and_then(|()| make_private(path)).map_err(failed)?;
        let real = path.canonicalize().map_err(failed)?;
        let lock = lock(path)?;
        Ok(Directory { path: path.to_path_buf(), real, lock })
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

    /// Makes the names in the directory durable.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        File::open(&self.real)?.sync_all()
    }
}

/// Makes the directory and those above it that are missing, and their names durable.
fn create(path: &Path) -> std::io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&path)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        File::open(parent)?.sync_all()?;
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
