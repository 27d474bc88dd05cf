//! What a start finds at the end of the log: the last line, the beginning of one that a crash left, and whether the lines are those
//! that were kept as written. Files are read from their end, so a large log does not keep a server waiting.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::chain::{Hash, Head, LINE_BYTES_MAX, Sealed};
use super::head::{ChainHead, First};
use super::place::Place;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes behind the kept head that are looked at, at most: what is written in a second, with much to spare.
const RECHECK_BYTES_MAX: usize = 64 << 20;

/// How the end of the log agrees with what was kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does; or there is nothing of either.
    Agrees,
    /// There are more lines behind the kept head than are looked at.
    Unchecked,
    /// There are lines, but nothing was kept.
    NoHead,
    /// Lines are missing at the end.
    Cut,
    /// Another line is in the place of the kept one.
    Changed,
    /// Lines came after an orderly end.
    Added,
    /// The last line is none of the log.
    Foreign,
}

/// What a start finds.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) verdict: Verdict,
    /// The last whole line, as the files have it.
    pub(crate) found: Head,
    /// The hash that it carries of the line before.
    pub(crate) previous: Hash,
    /// Where the current file ends with a whole line; what comes after is the beginning of one.
    pub(crate) whole_bytes: u64,
    /// How long the current file is.
    pub(crate) bytes: u64,
}

/// Looks at the end of the log.
pub(crate) fn examine(place: &Place, kept: Option<&ChainHead>, is_closed: bool) -> io::Result<Tail> {
    let mut lines = Newest::open(place)?;
    let (whole_bytes, bytes) = (lines.whole_bytes, lines.bytes);
    let tail = |verdict, found, previous| Tail { verdict, found, previous, whole_bytes, bytes };
    let Some(last) = lines.next()? else {
        let verdict = if kept.is_some_and(|kept| kept.head.sequence > 0) { Verdict::Cut } else { Verdict::Agrees };
        return Ok(tail(verdict, Head::NONE, Hash::ZERO));
    };
    let Some(sealed) = Sealed::of(&last) else {
        return Ok(tail(Verdict::Foreign, Head::NONE, Hash::ZERO));
    };
    let found = Head { sequence: sealed.sequence, hash: Hash::of(&last) };
    let verdict = match kept {
        None => Verdict::NoHead,
        Some(kept) if found.sequence < kept.head.sequence => Verdict::Cut,
        Some(kept) if found.sequence == kept.head.sequence && found.hash == kept.head.hash => Verdict::Agrees,
        Some(kept) if found.sequence == kept.head.sequence => Verdict::Changed,
        Some(_) if is_closed => Verdict::Added,
        Some(kept) => follow(&mut lines, sealed, &kept.head, last.len())?,
    };
    Ok(tail(verdict, found, sealed.previous))
}

/// Goes back to the line that was kept as the last one, or, if that was before the first, to the beginning.
fn follow(lines: &mut Newest, mut above: Sealed, kept: &Head, mut read: usize) -> io::Result<Verdict> {
    while let Some(line) = lines.next()? {
        read += line.len();
        if read > RECHECK_BYTES_MAX {
            return Ok(Verdict::Unchecked);
        }
        let hash = Hash::of(&line);
        let Some(sealed) = Sealed::of(&line) else { return Ok(Verdict::Changed) };
        if hash != above.previous || sealed.sequence.checked_add(1) != Some(above.sequence) {
            return Ok(Verdict::Changed);
        }
        if sealed.sequence == kept.sequence {
            return Ok(if hash == kept.hash { Verdict::Agrees } else { Verdict::Changed });
        }
        above = sealed;
    }
    let is_from_the_beginning = *kept == Head::NONE && above.sequence == 1 && above.previous == kept.hash;
    Ok(if is_from_the_beginning { Verdict::Agrees } else { Verdict::Changed })
}

/// Lines from the newest on, over all files.
struct Newest {
    files: Vec<super::place::Rotated>,
    reading: Option<Backward>,
    whole_bytes: u64,
    bytes: u64,
}

impl Newest {
    fn open(place: &Place) -> io::Result<Newest> {
        let files = place.list()?;
        let Some(file) = open(&place.current())? else {
            return Ok(Newest { files, reading: None, whole_bytes: 0, bytes: 0 });
        };
        let bytes = file.metadata()?.len();
        let mut reading = Backward::new(file, bytes);
        let whole_bytes = reading.drop_torn()?;
        Ok(Newest { files, reading: Some(reading), whole_bytes, bytes })
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(reading) = &mut self.reading
                && let Some(line) = reading.next()?
            {
                return Ok(Some(line));
            }
            let Some(older) = self.files.pop() else { return Ok(None) };
            self.reading = if older.is_compressed {
                // Compressed files can only be read from their beginning: one line is what is needed of them.
                Some(Backward::of_line(last_compressed(&older.path)?))
            } else {
                let file = File::open(&older.path)?;
                let bytes = file.metadata()?.len();
                Some(Backward::new(file, bytes))
            };
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The last line of a compressed file.
fn last_compressed(path: &Path) -> io::Result<Vec<u8>> {
    let mut lines = BufReader::with_capacity(CHUNK_BYTES, MultiGzDecoder::new(File::open(path)?));
    let (mut last, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
            last.pop();
            return Ok(last);
        }
        std::mem::swap(&mut last, &mut line);
    }
}

/// Lines of a file from its last on.
struct Backward {
    file: Option<File>,
    /// Where in the file the buffer begins.
    at: u64,
    /// What is read and not yet given; ends where the next line ends.
    buffer: Vec<u8>,
}

impl Backward {
    fn new(file: File, bytes: u64) -> Backward {
        Backward { file: Some(file), at: bytes, buffer: Vec::new() }
    }

    fn of_line(line: Vec<u8>) -> Backward {
        let mut buffer = line;
        buffer.push(b'\n');
        Backward { file: None, at: 0, buffer }
    }

    /// Leaves out what has no newline at its end, and says where the rest ends.
    fn drop_torn(&mut self) -> io::Result<u64> {
        loop {
            if let Some(newline) = self.buffer.iter().rposition(|byte| *byte == b'\n') {
                self.buffer.truncate(newline + 1);
                return Ok(self.at + newline as u64 + 1);
            }
            // Nothing of it is needed, however long it is.
            self.buffer.clear();
            if !self.read_more()? {
                return Ok(0);
            }
        }
    }

    /// The next line without its newline.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let before = self.buffer.len().saturating_sub(1);
            let begin = self.buffer.get(..before).and_then(|held| held.iter().rposition(|byte| *byte == b'\n'));
            let is_whole = begin.is_some() || self.buffer.len() > LINE_BYTES_MAX;
            if is_whole || !self.read_more()? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let mut line = self.buffer.split_off(begin.map_or(0, |newline| newline + 1));
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                return Ok(Some(line));
            }
        }
    }

    /// Reads what is before; says whether there was anything.
    fn read_more(&mut self) -> io::Result<bool> {
        let Some(file) = self.file.as_mut().filter(|_| self.at > 0) else { return Ok(false) };
        let bytes = usize::try_from(self.at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        self.at -= bytes as u64;
        let mut chunk = vec![0; bytes];
        file.seek(SeekFrom::Start(self.at))?;
        file.read_exact(&mut chunk)?;
        chunk.append(&mut self.buffer);
        self.buffer = chunk;
        Ok(true)
    }
}

/// The first line that the files have from `oldest` on.
pub(crate) fn first(paths: &[std::path::PathBuf]) -> io::Result<Option<First>> {
    for path in paths {
        let Some(file) = open(path)? else { continue };
        let is_compressed = path.extension().is_some_and(|ending| ending == "gz");
        let reader: Box<dyn io::Read> =
            if is_compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut line = Vec::new();
        BufReader::with_capacity(CHUNK_BYTES, reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            continue;
        }
        let Some(sealed) = Sealed::of(&line) else { continue };
        return Ok(Some(First { sequence: sealed.sequence, previous: sealed.previous, hash: Hash::of(&line) }));
    }
    Ok(None)
}
