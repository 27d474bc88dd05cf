//! Looks at the WAL before SQLite does. SQLite takes it up to the first frame that does not fit, and nothing behind that, without a word: so
//! one changed byte would undo every commit that came after. Here it is found out whether anything durable is behind it.
//!
//! The format is public. A header of 32 bytes (magic number, version, page size, a count, two salts, two words of checksum) and frames: 24
//! bytes (page number, pages of the store after a commit or 0, both salts, two words of checksum) and a page. The checksum of a frame goes on
//! from that of the frame before, over the first 8 bytes and the page. It is all that goes on: so any two neighbours can be told to have
//! been written one after the other, wherever they are, with a chance of 2^-64 that they were not. What is left of an earlier round
//! through the file has other salts.
//!
//! What a crash leaves. With `synchronous=FULL` a frame that goes on from a commit is written only after that commit was synced with all
//! that is before it; the frames of the last transaction may be there or not, torn, in any order; and behind it may be frames of one that was
//! undone because the disk was full, which has no whole commit. The header is synced before the first frame of its round, and written over
//! only when everything is in the store file, durably. So what was durable is damaged if, behind the frame that does not fit,
//! - a whole frame with a commit is followed by one that goes on from it, or
//! - a whole transaction has a page, other than that of its last frame, that a whole frame before it has too, neither of them in what was
//!   taken: SQLite writes a page once a transaction (the last may be there a second time), so these are two; or
//! - the header does not fit, and frames that go on from one another hold a commit that is not in the store file.
//!
//! Nothing of that can come of a crash. What cannot be told from one is damage in the very last transaction, and in the last frame of the
//! one before if the two have no other page in common (commits have: that of `meta`; only moves of rows and pages have not).

use std::{
    collections::{BTreeMap, HashSet},
    fmt, io,
    path::{Path, PathBuf},
};

use super::{OpenError, directory::Directory, disk::Disk, file, load, space::PAGE_BYTES};

/// The magic number where checksums are of little-endian words; one more where they are of big-endian ones.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;
const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Of a header and of a frame's header, what the checksum is of.
const HEADER_SUMMED_BYTES: usize = 24;
const FRAME_SUMMED_BYTES: usize = 8;
const PAGE_BYTES_ALLOWED: std::ops::RangeInclusive<u32> = 512..=65_536;
/// Read at once.
const READ_BYTES: usize = 256 << 10;

/// The WAL holds something durable that SQLite would not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The first frame that does not fit, counted from 1; none when it is the header.
    pub(super) frame: Option<u64>,
    /// The revision that is safe, where it can be told.
    pub(super) safe: Option<u64>,
    /// The highest revision that was found.
    pub(super) found: Option<u64>,
    round: Round,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame {
            Some(frame) => write!(out, "its frame {frame} is not as it was written")?,
            None => out.write_str("its header is not as it was written")?,
        }
        out.write_str(", and what was committed after that would be lost without a word")?;
        if let Some(safe) = self.safe {
            write!(out, ": revision {safe} is safe")?;
        }
        if let Some(found) = self.found {
            write!(out, ", revision {found} was reached")?;
        }
        out.write_str("; restore a backup, or go on with what is whole: `portcullis store repair --backup FILE` keeps all of it first")
    }
}

/// What a repair did to the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRepaired {
    /// Its header was made again out of its frames: nothing is lost.
    Header,
    /// All of it was in the store file: it was removed, and nothing is lost.
    Removed,
    /// What is behind the damage is lost.
    Cut {
        /// The frame that was damaged, counted from 1; none when it was the header.
        frame: Option<u64>,
        /// The revision that the store was taken back to.
        revision: u64,
    },
}

/// SQLite's checksum: all of its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum(u32, u32);

/// How bytes are words to the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// What all frames of one round through the file have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    order: Order,
    page_bytes: usize,
    salts: [u32; 2],
    /// The checksum of the header; none when it does not fit.
    sum: Option<Sum>,
}

impl Order {
    fn word(self, bytes: [u8; 4]) -> u32 {
        match self {
            Order::Little => u32::from_le_bytes(bytes),
            Order::Big => u32::from_be_bytes(bytes),
        }
    }
}

impl Sum {
    fn add(self, order: Order, bytes: &[u8]) -> Sum {
        let Sum(mut first, mut second) = self;
        for [a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0 {
            first = first.wrapping_add(order.word([*a, *b, *c, *d])).wrapping_add(second);
            second = second.wrapping_add(order.word([*e, *f, *g, *h])).wrapping_add(first);
        }
        Sum(first, second)
    }

    /// What it was before these bytes were added.
    fn without(self, order: Order, bytes: &[u8]) -> Sum {
        let Sum(mut first, mut second) = self;
        for [a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0.iter().rev() {
            second = second.wrapping_sub(order.word([*e, *f, *g, *h])).wrapping_sub(first);
            first = first.wrapping_sub(order.word([*a, *b, *c, *d])).wrapping_sub(second);
        }
        Sum(first, second)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_be_bytes(*word))
}

impl Round {
    /// What a header says, if it fits.
    fn read(header: &[u8]) -> Option<Round> {
        let order = match word(header, 0).checked_sub(MAGIC)? {
            0 => Order::Little,
            1 => Order::Big,
            _ => return None,
        };
        let page_bytes = word(header, 8);
        let sum = Sum(word(header, 24), word(header, 28));
        let fits = Sum::default().add(order, header.get(..HEADER_SUMMED_BYTES)?) == sum
            && page_bytes.is_power_of_two()
            && PAGE_BYTES_ALLOWED.contains(&page_bytes);
        let (page_bytes, salts) = (page_bytes as usize, [word(header, 16), word(header, 20)]);
        fits.then_some(Round { order, page_bytes, salts, sum: Some(sum) })
    }

    /// The header, made of what frames say. The count in it is what makes the checksum come out.
    fn header(&self, first: &Frame<'_>) -> Option<[u8; HEADER_BYTES]> {
        let sum = first.sum.without(self.order, first.page_bytes).without(self.order, first.summed);
        let mut header = Vec::with_capacity(HEADER_BYTES);
        let magic = MAGIC + u32::from(self.order == Order::Big);
        for word in
            [magic, VERSION, u32::try_from(self.page_bytes).ok()?, 0, self.salts[0], self.salts[1], sum.0, sum.1]
        {
            header.extend(word.to_be_bytes());
        }
        let after_count = sum.without(self.order, header.get(16..HEADER_SUMMED_BYTES)?);
        let before_count = Sum::default().add(self.order, header.get(..16)?);
        let count = after_count.1.wrapping_sub(before_count.1);
        let count = match self.order {
            Order::Little => count.swap_bytes(),
            Order::Big => count,
        };
        header.get_mut(12..16)?.copy_from_slice(&count.to_be_bytes());
        Round::read(&header)?;
        header.try_into().ok()
    }
}

/// A frame, as it stands.
struct Frame<'a> {
    page: u32,
    /// Pages of the store, of the last frame of a transaction; 0 of the others.
    pages: u32,
    salts: [u32; 2],
    sum: Sum,
    summed: &'a [u8],
    page_bytes: &'a [u8],
}

impl Frame<'_> {
    /// What its checksum has to be after this one.
    fn after(&self, order: Order, before: Sum) -> Sum {
        before.add(order, self.summed).add(order, self.page_bytes)
    }
}

/// The file, front to back.
struct Reader<'a> {
    disk: &'a dyn Disk,
    file: &'a Path,
    at: u64,
    buffer: Vec<u8>,
    taken: usize,
}

impl<'a> Reader<'a> {
    fn new(disk: &'a dyn Disk, file: &'a Path) -> Reader<'a> {
        Reader { disk, file, at: 0, buffer: Vec::new(), taken: 0 }
    }

    /// The next bytes; none where fewer are left.
    fn take(&mut self, length: usize) -> io::Result<Option<&[u8]>> {
        if self.buffer.len() < self.taken + length {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        while self.buffer.len() < length {
            let held = self.buffer.len();
            self.buffer.resize(held + READ_BYTES, 0);
            let read = self.disk.read_at(self.file, self.at, self.buffer.get_mut(held..).unwrap_or_default())?;
            self.buffer.truncate(held + read);
            self.at += read as u64;
            if read == 0 {
                return Ok(None);
            }
        }
        let from = self.taken;
        self.taken += length;
        Ok(self.buffer.get(from..self.taken))
    }

    /// The next frame.
    fn frame(&mut self, page_bytes: usize) -> io::Result<Option<Frame<'_>>> {
        let Some(bytes) = self.take(FRAME_HEADER_BYTES + page_bytes)? else { return Ok(None) };
        let (head, page_bytes) = bytes.split_at(FRAME_HEADER_BYTES);
        Ok(Some(Frame {
            page: word(head, 0),
            pages: word(head, 4),
            salts: [word(head, 8), word(head, 12)],
            sum: Sum(word(head, 16), word(head, 20)),
            summed: head.get(..FRAME_SUMMED_BYTES).unwrap_or_default(),
            page_bytes,
        }))
    }
}

/// A frame that the next one may go on from.
#[derive(Clone, Copy)]
struct Link {
    page: u32,
    pages: u32,
    /// What it says, and what it is.
    said: Sum,
    is: Sum,
    /// Of this round, by its salts.
    is_ours: bool,
    /// It goes on from the frame before it.
    is_linked: bool,
}

/// Looks at one frame after the other, and whether the log ends where SQLite ends it.
struct Scan {
    round: Round,
    number: u64,
    before: Link,
    /// The last commit that SQLite takes, and the first frame that it does not.
    committed: u64,
    bad: Option<u64>,
    /// Pages of whole frames that are in no commit that is taken: those that go on from one another up to here, and those before them.
    run: HashSet<u32>,
    earlier: HashSet<u32>,
    is_page_twice: bool,
    is_broken: bool,
}

impl Scan {
    fn new(round: Round) -> Scan {
        let said = round.sum.unwrap_or_default();
        let before = Link { page: 0, pages: 0, said, is: said, is_ours: true, is_linked: true };
        let (run, earlier) = (HashSet::new(), HashSet::new());
        let (number, committed, bad) = (0, 0, None);
        Scan { round, number, before, committed, bad, run, earlier, is_page_twice: false, is_broken: false }
    }

    fn look(&mut self, frame: &Frame<'_>) {
        self.number += 1;
        let (order, before) = (self.round.order, self.before);
        let is_ours = frame.salts == self.round.salts && frame.page != 0;
        let mut link =
            Link { page: frame.page, pages: frame.pages, said: frame.sum, is: frame.sum, is_ours, is_linked: false };
        let mut is_before_whole = before.is_linked;
        if is_ours || before.is_ours {
            link.is = frame.after(order, before.said);
            link.is_linked = link.is == frame.sum;
            // It may be the checksum of the frame before that changed.
            if !link.is_linked && before.is != before.said && frame.after(order, before.is) == frame.sum {
                (link.is, link.is_linked, is_before_whole) = (frame.sum, true, true);
            }
        }
        let is_whole = is_ours && link.is_linked;
        if self.bad.is_none() && is_whole {
            self.run.insert(frame.page);
            if frame.pages != 0 {
                self.committed = self.number;
                self.run.clear();
            }
        } else if self.bad.is_none() {
            self.bad = Some(self.number);
            self.earlier.extend(self.run.drain());
        } else if is_whole {
            let is_copy = (frame.page, frame.pages) == (before.page, before.pages);
            self.is_broken |= is_before_whole && before.pages != 0 && !is_copy;
            self.is_page_twice |= frame.pages == 0 && self.earlier.contains(&frame.page);
            self.is_broken |= self.is_page_twice && frame.pages != 0;
            self.run.insert(frame.page);
        } else {
            self.earlier.extend(self.run.drain());
            self.is_page_twice = false;
        }
        self.before = link;
    }
}

/// The WAL of a store that nobody has open.
struct Log<'a> {
    disk: &'a dyn Disk,
    store: PathBuf,
    file: PathBuf,
}

/// Looks whether SQLite would leave anything durable behind.
pub(super) fn scan(directory: &Directory) -> Result<Option<Broken>, OpenError> {
    let log = Log::of(directory);
    log.scan().map_err(file::failed(&log.file, "read the log of"))
}

/// Refuses a WAL that holds something durable that SQLite would not take.
pub(super) fn require_whole(directory: &Directory) -> Result<(), OpenError> {
    match scan(directory)? {
        None => Ok(()),
        Some(broken) => Err(OpenError::Damaged { file: Log::of(directory).file, detail: broken.to_string() }),
    }
}

/// Makes the header again, or removes a WAL that is in the store file already. If there is no such way to lose nothing, nothing is done.
pub(super) fn mend(directory: &Directory, broken: &Broken) -> Result<Option<LogRepaired>, OpenError> {
    let log = Log::of(directory);
    let mend = || -> io::Result<Option<LogRepaired>> {
        if broken.frame.is_none() {
            let Some(header) = log.header(&broken.round)? else { return Ok(None) };
            log.disk.write_at(&log.file, 0, &header)?;
            log.disk.sync(&log.file)?;
            return Ok(Some(LogRepaired::Header));
        }
        if !log.is_moved(&broken.round)? {
            return Ok(None);
        }
        log.disk.remove(&log.file)?;
        directory.sync()?;
        Ok(Some(LogRepaired::Removed))
    };
    mend().map_err(file::failed(&log.file, "repair the log of"))
}

impl Log<'_> {
    fn of(directory: &Directory) -> Log<'_> {
        let store = directory.store_file();
        let mut file = store.clone().into_os_string();
        file.push("-wal");
        Log { disk: directory.disk(), store, file: file.into() }
    }

    /// The file behind its header, and that. There may be none.
    fn read(&self) -> io::Result<Option<(Reader<'_>, [u8; HEADER_BYTES])>> {
        let mut reader = Reader::new(self.disk, &self.file);
        let header = match reader.take(HEADER_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            header => header?.and_then(|header| header.first_chunk().copied()),
        };
        Ok(header.map(|header| (reader, header)))
    }

    fn scan(&self) -> io::Result<Option<Broken>> {
        let Some((mut reader, header)) = self.read()? else { return Ok(None) };
        let Some(round) = Round::read(&header) else { return self.scan_without_header() };
        let mut scan = Scan::new(round);
        while let Some(frame) = reader.frame(round.page_bytes)? {
            scan.look(&frame);
        }
        match scan.bad {
            Some(bad) if scan.is_broken => self.broken(round, Some(bad), scan.committed).map(Some),
            _ => Ok(None),
        }
    }

    fn scan_without_header(&self) -> io::Result<Option<Broken>> {
        let Some(round) = self.round_of_frames()? else { return Ok(None) };
        // A new header may be torn. Then all is in the store file.
        if self.is_moved(&round)? {
            return Ok(None);
        }
        self.broken(round, None, 0).map(Some)
    }

    /// What frames have in common of which one goes on from the other.
    fn round_of_frames(&self) -> io::Result<Option<Round>> {
        let Some((mut reader, _)) = self.read()? else { return Ok(None) };
        let page_bytes = PAGE_BYTES as usize;
        let mut before: Option<([u32; 2], Sum)> = None;
        while let Some(frame) = reader.frame(page_bytes)? {
            if let Some((salts, sum)) = before.filter(|(salts, _)| *salts == frame.salts && frame.page != 0)
                && let Some(order) =
                    [Order::Little, Order::Big].into_iter().find(|order| frame.after(*order, sum) == frame.sum)
            {
                return Ok(Some(Round { order, page_bytes, salts, sum: None }));
            }
            before = Some((frame.salts, frame.sum));
        }
        Ok(None)
    }

    /// Whether the store file has what whole frames say of its pages.
    fn is_moved(&self, round: &Round) -> io::Result<bool> {
        let (mut frame_page, mut page) = (vec![0; round.page_bytes], vec![0; round.page_bytes]);
        for (number, frame) in self.newest(round)? {
            let bytes = round.page_bytes as u64;
            let at = HEADER_BYTES as u64 + frame * (FRAME_HEADER_BYTES as u64 + bytes) - bytes;
            if !self.fill(&self.file, at, &mut frame_page)?
                || !self.fill(&self.store, u64::from(number - 1) * bytes, &mut page)?
                || page != frame_page
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fill(&self, file: &Path, at: u64, buffer: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.disk.read_at(file, at + filled as u64, buffer.get_mut(filled..).unwrap_or_default())? {
                0 => return Ok(false),
                read => filled += read,
            }
        }
        Ok(true)
    }

    /// The last frame of each page that is in a commit and whole; without pages of which a later frame is not.
    fn newest(&self, round: &Round) -> io::Result<BTreeMap<u32, u64>> {
        let Some((mut reader, _)) = self.read()? else { return Ok(BTreeMap::new()) };
        let (mut committed, mut open) = (BTreeMap::new(), BTreeMap::new());
        let (mut before, mut number, mut pages) = (round.sum, 0u64, 0);
        while let Some(frame) = reader.frame(round.page_bytes)? {
            number += 1;
            let is_whole = before.is_none_or(|before| frame.after(round.order, before) == frame.sum);
            before = Some(frame.sum);
            if frame.salts != round.salts || frame.page == 0 {
                continue;
            }
            if !is_whole {
                committed.remove(&frame.page);
                open.remove(&frame.page);
                continue;
            }
            open.insert(frame.page, number);
            if frame.pages != 0 {
                committed.append(&mut open);
                pages = frame.pages;
            }
        }
        committed.retain(|page, _| *page <= pages);
        Ok(committed)
    }

    /// The header that fits the first frame.
    fn header(&self, round: &Round) -> io::Result<Option<[u8; HEADER_BYTES]>> {
        let Some((mut reader, _)) = self.read()? else { return Ok(None) };
        let first = reader.frame(round.page_bytes)?;
        Ok(first.filter(|first| first.salts == round.salts).and_then(|first| round.header(&first)))
    }

    /// Looks which revisions are told of.
    fn broken(&self, round: Round, frame: Option<u64>, committed: u64) -> io::Result<Broken> {
        let (mut safe, mut found, mut number) = (None, None, 0);
        if let Some((mut reader, _)) = self.read()? {
            while let Some(frame) = reader.frame(round.page_bytes)? {
                number += 1;
                if frame.salts == round.salts {
                    let revision = file::revision_in(frame.page_bytes);
                    found = found.max(revision);
                    safe = if number <= committed { revision.or(safe) } else { safe };
                }
            }
        }
        // The file has an older one, or there is none in the WAL because nothing was committed.
        let in_file = || {
            load::connect(self.disk, &self.store)
                .ok()
                .and_then(|connection| file::read_revision(&connection, &self.store).ok())
        };
        Ok(Broken { frame, safe: safe.or_else(in_file), found, round })
    }
}
