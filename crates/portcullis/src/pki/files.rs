//! Files of the PKI: never half written, and a private key is never readable by others, not for a moment.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// A PEM file larger than this is not one of ours: a certificate with many names has a few KB.
const FILE_LEN_MAX: u64 = 1024 * 1024;
/// Permission bits that let anybody but the owner in.
const OTHERS: u32 = 0o077;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Everybody: certificates.
    Everybody,
    /// The owner only: private keys and what embeds them.
    Owner,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Readers::Everybody => 0o644,
            Readers::Owner => 0o600,
        }
    }
}

/// Makes a directory that only its owner can enter, with what leads to it.
pub(crate) fn make_private_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Writes a file whole or not at all, in the place of one that may be there.
pub(crate) fn replace(path: &Path, readers: Readers, content: &[u8]) -> Result<()> {
    let temporary = write_beside(path, readers, content)?;
    finish(path, &temporary, fs::rename(&temporary, path))
}

/// Writes a file whole or not at all; one that is there already is an error and stays as it is.
pub(crate) fn create(path: &Path, readers: Readers, content: &[u8]) -> Result<()> {
    let temporary = write_beside(path, readers, content)?;
    // A link, unlike a rename, never takes the place of a file.
    let linked = fs::hard_link(&temporary, path).and_then(|()| fs::remove_file(&temporary));
    finish(path, &temporary, linked)
}

/// Reads a text file under the limit. `None` when it does not exist.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    let unreadable = || format!("cannot read {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(unreadable),
    };
    // Room for all of it at once, so that no copy of a key is left behind where the text grew.
    let len = file.metadata().with_context(unreadable)?.len().min(FILE_LEN_MAX);
    let mut text = String::with_capacity(usize::try_from(len).unwrap_or(0) + 1);
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).with_context(unreadable)?;
    if text.len() as u64 > FILE_LEN_MAX {
        bail!("{} is larger than {FILE_LEN_MAX} bytes: not a key or certificate", path.display());
    }
    Ok(Some(text))
}

/// Refuses a private key that others can read.
pub(crate) fn refuse_readable_by_others(path: &Path) -> Result<()> {
    let mode = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.permissions().mode();
    if mode & OTHERS != 0 {
        bail!("{0} can be read by others (mode {1:04o}): chmod 600 {0}", path.display(), mode & 0o7777);
    }
    Ok(())
}

fn write_beside(path: &Path, readers: Readers, content: &[u8]) -> Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("{} names no file", path.display()))?.to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        // What a process of the same id left when it was killed.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(readers.mode()).open(&temporary)?;
        // The mode at open went through the umask; this one is what was meant.
        file.set_permissions(Permissions::from_mode(readers.mode()))?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(temporary)
}

fn finish(path: &Path, temporary: &Path, done: std::io::Result<()>) -> Result<()> {
    if done.is_err() {
        let _ = fs::remove_file(temporary);
    }
    let synced = done.and_then(|()| File::open(directory(path))?.sync_all());
    synced.with_context(|| format!("cannot write {}", path.display()))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_is_replaced_or_created_but_never_overwritten_by_create() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.key");
        create(&path, Readers::Owner, b"first").unwrap();
        assert!(create(&path, Readers::Owner, b"second").is_err());
        assert_eq!(read(&path).unwrap().unwrap(), "first");
        replace(&path, Readers::Owner, b"third").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), "third");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing temporary stays");
        assert_eq!(read(&directory.path().join("none")).unwrap(), None);
    }

    #[test]
    fn modes() {
        let directory = tempfile::tempdir().unwrap();
        let check = |readers: Readers, mode: u32| {
            let path = directory.path().join(format!("{readers:?}"));
            replace(&path, readers, b"x").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
            assert_eq!(refuse_readable_by_others(&path).is_ok(), readers == Readers::Owner);
        };
        check(Readers::Everybody, 0o644);
        check(Readers::Owner, 0o600);
        let private = directory.path().join("a/b");
        make_private_directory(&private).unwrap();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_file_that_is_too_large_or_not_text_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let check = |content: &[u8]| {
            let path = directory.path().join("ca.crt");
            fs::write(&path, content).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains("ca.crt"), "{error}");
        };
        check(&vec![b'a'; FILE_LEN_MAX as usize + 1]);
        check(&[0xff, 0xfe]);
    }
}
