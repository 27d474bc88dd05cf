//! `portcullis store backup`: the embedded store's file as it was at one commit, while a server runs or without one.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{self, SHA256};
use portcullis_store::embedded::{self, OpenError};

use super::{STORE, data_dir, explained, name_faults};
use crate::arguments::DataDir;
use crate::control;

/// The store's file, and what SQLite calls the log beside it.
const FILE: &str = "store.db";
const LOG: &str = "-wal";
const FILE_MODE: u32 = 0o600;
const CHUNK_BYTES: usize = 1 << 20;

/// Copy the store to a file
///
/// The file is the store as it was at one commit, with everything sealed as it is. A server that is running goes on, also with writes. The
/// seal key and D/pki are not in it: keep copies of them, elsewhere.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    data_dir: DataDir,
    /// The file to write; it must not be there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Backup) -> Result<()> {
    let data_dir = data_dir(&arguments.data_dir)?;
    let partial = Partial::begin(&arguments.out, &data_dir)?;
    let sha256 = copy_store(&data_dir, &partial)?;
    let report = embedded::check_file(&partial.path)?;
    if !report.is_sound() {
        name_faults(&report);
        bail!(
            "the store is damaged, and a backup of it would be: `portcullis store repair` removes what is damaged, and keeps a copy of the \
             file before"
        );
    }
    partial.finish()?;
    println!("backup    {}", arguments.out.display());
    println!("revision  {}", report.revision);
    println!("entries   {}, {} bytes", report.rows, report.file_bytes);
    println!("sha256    {sha256}");
    Ok(())
}

/// Copies the file of the store in a data directory, as it is, damage and all. Returns its SHA-256.
fn copy_store(data_dir: &Path, to: &Partial) -> Result<String> {
    let store = data_dir.join(STORE);
    match embedded::freeze(&store) {
        Ok(mut frozen) => to.write(&mut frozen),
        Err(OpenError::InUse { .. }) => {
            let mut backup = control::Backup::ask(&store)?;
            let sha256 = to.write(&mut backup)?;
            backup.finish()?;
            Ok(sha256)
        }
        Err(error) => Err(explained(error, data_dir)),
    }
}

/// Keeps the store of a data directory as it is, which nobody has open. Where its log is so damaged that it cannot be moved into the file,
/// that is a file of its own, `FILE-wal`. Returns what was written.
pub(super) fn keep_store(data_dir: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let file = Partial::begin(out, data_dir)?;
    match copy_store(data_dir, &file) {
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::Damaged { .. })) => {}
        copied => {
            copied?;
            file.finish()?;
            return Ok(vec![out.to_owned()]);
        }
    }
    let store = data_dir.join(STORE);
    let mut log_out = out.as_os_str().to_owned();
    log_out.push(LOG);
    let (log_out, _lock) = (PathBuf::from(log_out), embedded::Lock::acquire(&store)?);
    let log = Partial::begin(&log_out, data_dir)?;
    for (partial, name) in [(&file, FILE.to_owned()), (&log, format!("{FILE}{LOG}"))] {
        let from = store.join(name);
        let mut from = File::open(&from).with_context(|| format!("cannot read {}", from.display()))?;
        partial.write(&mut from)?;
    }
    log.finish()?;
    file.finish()?;
    Ok(vec![out.to_owned(), log_out])
}

/// A file that has not got its name yet. Dropping it removes it.
struct Partial {
    out: PathBuf,
    path: PathBuf,
}

impl Partial {
    /// Of the store in a data directory, to a file elsewhere.
    fn begin(out: &Path, data_dir: &Path) -> Result<Self> {
        let out = std::path::absolute(out).with_context(|| out.display().to_string())?;
        let store = data_dir.join(STORE);
        if let (Some(Ok(beside)), Ok(store)) = (out.parent().map(Path::canonicalize), store.canonicalize())
            && beside.starts_with(&store)
        {
            bail!("{} is in the directory of the store itself: choose another place for the backup", out.display());
        }
        if fs::symlink_metadata(&out).is_ok() {
            bail!("{} is there already: a backup never takes the place of a file", out.display());
        }
        let name = out.file_name().with_context(|| format!("{} names no file", out.display()))?.to_owned();
        let path = out.with_file_name(format!("{}.partial", name.display()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}, which an older backup left", path.display()))
            }
            _ => Ok(Self { out, path }),
        }
    }

    fn write(&self, from: &mut impl Read) -> Result<String> {
        let cannot = || format!("cannot write {}", self.path.display());
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&self.path).with_context(cannot)?;
        let (mut chunk, mut hash) = (vec![0; CHUNK_BYTES], digest::Context::new(&SHA256));
        loop {
            let read = from.read(&mut chunk).context("cannot read the store")?;
            let bytes = chunk.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hash.update(bytes);
            file.write_all(bytes).with_context(cannot)?;
        }
        file.sync_all().with_context(cannot)?;
        Ok(hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Gives it its name, durably.
    fn finish(self) -> Result<()> {
        let named = || -> std::io::Result<()> {
            // A link, unlike a rename, never takes the place of a file.
            fs::hard_link(&self.path, &self.out)?;
            File::open(self.out.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        named().with_context(|| format!("cannot write {}", self.out.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It may not have been begun.
        let _ = fs::remove_file(&self.path);
    }
}
