//! The file on the disk: private, changed under a lock, and replaced as a whole.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::KeyFileError;
use super::text::{FILE_LEN_MAX, KeyText, TextError};

const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
const FOR_OTHERS: u32 = 0o077;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// How long a lock is waited for: a change takes two syncs.
const LOCK_TRIES: usize = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Where the file is.
pub(super) struct Disk {
    /// Without symbolic links, so that the file and not a link to it is replaced.
    path: PathBuf,
    directory: PathBuf,
}

impl Disk {
    /// Takes the path of a file that lies outside `data`. Makes its directory.
    pub(super) fn at(path: &Path, data: Option<&Path>) -> Result<Self, KeyFileError> {
        let failed = |what| move |source| KeyFileError::File { path: path.to_owned(), what, source };
        let absolute = std::path::absolute(path).map_err(failed("find"))?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(failed("use")(io::Error::from(ErrorKind::IsADirectory)));
        };
        make_directory(parent).map_err(failed("make the directory of"))?;
        let real = match absolute.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                parent.canonicalize().map_err(failed("find"))?.join(name)
            }
            Err(source) => return Err(failed("find")(source)),
        };
        if let Some(data) = data {
            let data = data.canonicalize().or_else(|_| std::path::absolute(data)).map_err(failed("compare"))?;
            if real.starts_with(&data) {
                return Err(KeyFileError::InsideData { path: real, data });
            }
        }
        let directory = real.parent().unwrap_or(parent).to_owned();
        Ok(Self { path: real, directory })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn exists(&self) -> Result<bool, KeyFileError> {
        self.path.try_exists().map_err(self.failed("find"))
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> KeyFileError + use<> {
        let path = self.path.clone();
        move |source| KeyFileError::File { path, what, source }
    }

    /// Reads it. A change replaces it, so what is read is whole.
    pub(super) fn read(&self) -> Result<KeyText, KeyFileError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(KeyFileError::Missing(self.path.clone()));
            }
            Err(source) => return Err(self.failed("read")(source)),
        };
        let metadata = file.metadata().map_err(self.failed("read"))?;
        self.check_private(&metadata)?;
        let malformed = |source| KeyFileError::Malformed { path: self.path.clone(), source };
        let len = metadata.len();
        if len > FILE_LEN_MAX {
            return Err(malformed(TextError::TooLarge));
        }
        // In one piece: a buffer that grows leaves copies of keys behind.
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 1));
        (&mut file).take(len).read_to_end(&mut content).map_err(self.failed("read"))?;
        KeyText::parse(&content).map_err(malformed)
    }

    fn check_private(&self, file: &Metadata) -> Result<(), KeyFileError> {
        let open = |why: String| Err(KeyFileError::Open { path: self.path.clone(), why });
        let me = nix::unistd::geteuid().as_raw();
        if !file.is_file() {
            return open("it is not a regular file".to_owned());
        }
        if file.uid() != me && file.uid() != 0 {
            return open(format!("it belongs to user {}, not to {me}", file.uid()));
        }
        if file.mode() & FOR_OTHERS != 0 {
            let mode = file.mode() & 0o7777;
            return open(format!("its mode is {mode:04o}, so chmod 600 {}", self.path.display()));
        }
        let directory = fs::metadata(&self.directory).map_err(self.failed("look at the directory of"))?;
        let mode = directory.mode() & 0o7777;
        if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
            let why = format!("others may write to {} (mode {mode:04o})", self.directory.display());
            return open(why);
        }
        Ok(())
    }

    /// Makes it, unless somebody else has just done so.
    pub(super) fn create(&self, make: impl FnOnce() -> Result<KeyText, KeyFileError>) -> Result<(), KeyFileError> {
        let _lock = self.lock()?;
        if self.exists()? { Ok(()) } else { self.replace(&make()?) }
    }

    /// Changes what it holds now, durably, and returns what it holds then.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut KeyText) -> Result<T, KeyFileError>,
    ) -> Result<(KeyText, T), KeyFileError> {
        let _lock = self.lock()?;
        let mut text = self.read()?;
        let changed = change(&mut text)?;
        self.replace(&text)?;
        Ok((text, changed))
    }

    fn replace(&self, text: &KeyText) -> Result<(), KeyFileError> {
        let new = self.beside("new");
        // One that a crash left behind.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(self.failed("replace")(error)),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new).map_err(self.failed("write"))?;
        let written = file.write_all(&text.print()).and_then(|()| file.sync_all());
        written.map_err(self.failed("write"))?;
        fs::rename(&new, &self.path).map_err(self.failed("replace"))?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(self.failed("sync"))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(suffix);
        name.into()
    }

    /// Keeps every other process, and every other open file of this one, from changing it. Dropping it is the unlock.
    fn lock(&self) -> Result<Lock, KeyFileError> {
        let path = self.beside("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(path).map_err(self.failed("lock"))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => return Err(self.failed("lock")(source)),
            }
        }
        Err(KeyFileError::Locked(self.path.clone()))
    }
}

/// Makes the directory and those above it that are missing, and their names durable: a key that a power cut takes away takes all
/// that was sealed with it.
fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started holds a copy until its exec.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the seal key could not be unlocked");
        }
    }
}
