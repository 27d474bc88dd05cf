//! Checks a log against its own chain and against what the store kept of it (A25), and says in words of its own what was done to it.
//!
//! The chain alone tells what was changed, taken out, put in or moved, up to its last line. That lines are missing at the end, or that
//! somebody computed the whole chain anew, only the kept head tells; that lines are missing at the beginning, only the kept first line.
//!
//! Files are read once and line by line: memory does not depend on how long they are.

mod finding;
#[cfg(test)]
mod tests;
mod walk;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

use crate::log::{ChainHead, First, Hash, Head, LINE_BYTES_MAX, Place};

pub use finding::{At, Finding, Remark};
use walk::Walk;

/// Findings that are kept; more are counted.
pub const FINDINGS_MAX: usize = 200;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// What is known of a log from elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The last line that was kept.
    pub head: Option<Head>,
    /// The hash that it carries of the line before.
    pub previous: Option<Hash>,
    /// The first line that is retained.
    pub first: Option<First>,
    /// Whether the server has ended in order, so that nothing comes after the head.
    pub is_closed: bool,
    /// Whether the server is writing to the log, so that its last line may be on its way.
    pub is_written: bool,
}

impl Known {
    /// What the store kept.
    pub fn kept(chain: &ChainHead, is_closed: bool, is_written: bool) -> Known {
        let ChainHead { head, previous, first } = *chain;
        Known { head: Some(head), previous: Some(previous), first: Some(first), is_closed, is_written }
    }
}

/// An opened file of a log, in its place among the others.
pub struct Source {
    /// Its name for messages.
    pub path: PathBuf,
    /// Whether it is compressed.
    pub is_compressed: bool,
    file: File,
}

impl Source {
    /// Opens a file; one whose name ends in `.gz` is compressed.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(path: PathBuf) -> io::Result<Source> {
        let file = File::open(&path)?;
        let is_compressed = path.extension().is_some_and(|ending| ending == "gz");
        Ok(Source { path, is_compressed, file })
    }

    /// Opens all files of the log in a place, the oldest first. Says whether the one that is written is among them.
    ///
    /// # Errors
    /// What the system said.
    pub fn all(place: &Place) -> io::Result<(Vec<Source>, bool)> {
        let rotated = match place.list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
            listed => listed?,
        };
        let mut sources = rotated.into_iter().map(|file| Source::open(file.path)).collect::<io::Result<Vec<_>>>()?;
        match Source::open(place.current()) {
            Ok(current) => sources.push(current),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((sources, false)),
            Err(error) => return Err(error),
        }
        Ok((sources, true))
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Files that were read.
    pub files: usize,
    /// Lines that were read.
    pub lines: u64,
    /// The number of the first line.
    pub first: Option<u64>,
    /// The last line.
    pub last: Option<Head>,
    /// Lines behind the kept head, which nobody can vouch for yet.
    pub beyond_head: u64,
    /// What is wrong, as far as it was kept.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub finding_count: usize,
    /// What should be known and is nobody's fault.
    pub remarks: Vec<Remark>,
}

impl Report {
    /// Says whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.finding_count == 0
    }
}

/// Checks files in their order. `has_current` says whether the file is among them that is written, or need not be.
pub fn verify(sources: Vec<Source>, has_current: bool, known: &Known) -> Report {
    let mut walk = Walk::new(known);
    let count = sources.len();
    for source in sources {
        let name = source.path.display().to_string();
        walk.begin_file(&name);
        let reader: Box<dyn Read> =
            if source.is_compressed { Box::new(MultiGzDecoder::new(source.file)) } else { Box::new(source.file) };
        if let Err(error) = read(reader, &mut walk) {
            walk.unreadable(&error);
        }
    }
    walk.end(has_current, count)
}

/// Reads the lines of one file.
fn read(reader: Box<dyn Read>, walk: &mut Walk<'_>) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(READ_BYTES, reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = (&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)?;
        if bytes == 0 {
            return Ok(());
        }
        if line.pop_if(|last| *last == b'\n').is_some() {
            walk.line(&line);
        } else if bytes > LINE_BYTES_MAX {
            walk.foreign();
            if !skip_line(&mut reader)? {
                return Ok(());
            }
        } else {
            walk.torn(bytes as u64);
            return Ok(());
        }
    }
}

/// Reads to the end of a line that is too long; says whether there was one.
fn skip_line(reader: &mut impl io::BufRead) -> io::Result<bool> {
    loop {
        let held = reader.fill_buf()?;
        if held.is_empty() {
            return Ok(false);
        }
        let newline = held.iter().position(|byte| *byte == b'\n');
        let used = newline.map_or(held.len(), |newline| newline + 1);
        reader.consume(used);
        if newline.is_some() {
            return Ok(true);
        }
    }
}
