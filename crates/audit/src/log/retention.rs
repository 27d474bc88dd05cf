//! Which files are kept (upstream: `--audit-log-maxbackup`, `--audit-log-maxage`, `--audit-log-compress`).
//!
//! What is removed for its age is the beginning of the chain. The store is told first which line the chain now begins with, and only
//! then the files go; so a beginning that is missing without the store's knowledge was removed by somebody else.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::head::First;
use super::medium::FILE_MODE;
use super::place::Place;
use super::tail;

/// Which files are kept beside the one that is written.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How many, at most; all for 0.
    pub backups_max: usize,
    /// For how long, in seconds; for ever for 0.
    pub age_seconds_max: i64,
    /// Whether they are compressed.
    pub is_compressing: bool,
}

/// What goes, and what the chain begins with afterwards.
pub(crate) struct Removal {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) first: First,
}

impl Retention {
    /// Chooses what goes; nothing when all stays.
    pub(crate) fn choose(&self, place: &Place, now_seconds: i64) -> io::Result<Option<Removal>> {
        let files = place.list()?;
        let too_many = if self.backups_max == 0 { 0 } else { files.len().saturating_sub(self.backups_max) };
        let is_old = |seconds: Option<i64>| {
            self.age_seconds_max > 0 && seconds.is_some_and(|seconds| now_seconds - seconds > self.age_seconds_max)
        };
        // Only from the beginning, so that what stays is one chain.
        let too_old = files.iter().take_while(|file| is_old(file.seconds())).count();
        let mut files: Vec<PathBuf> = files.into_iter().map(|file| file.path).collect();
        let mut staying = files.split_off(too_many.max(too_old));
        staying.push(place.current());
        if files.is_empty() {
            return Ok(None);
        }
        // A log whose first line cannot be read is left as it is.
        Ok(tail::first(&staying)?.map(|first| Removal { files, first }))
    }

    /// Compresses what is not.
    pub(crate) fn compress(&self, place: &Place) -> io::Result<()> {
        if self.is_compressing {
            for file in place.list()?.iter().filter(|file| !file.is_compressed) {
                compress(&file.path)?;
            }
        }
        Ok(())
    }
}

/// Removes a file in both of its forms: a crash may have left the compressed one beside it, which alone would be out of its place.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(Place::compressed(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::remove_file(path)
}

/// Compresses a file. It is there whole under one of its names at any time.
fn compress(path: &Path) -> io::Result<()> {
    let compressed = Place::compressed(path);
    let mut unfinished = compressed.clone().into_os_string();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_compressed(path, &unfinished).inspect_err(|_| {
        // A full disk must not stay full of this.
        let _ = fs::remove_file(&unfinished);
    })?;
    fs::rename(&unfinished, &compressed)?;
    fs::remove_file(path)
}

fn write_compressed(path: &Path, unfinished: &Path) -> io::Result<()> {
    let to = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(unfinished)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()
}
