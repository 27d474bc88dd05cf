//! The writer of one chain: appends lines, keeps room on the disk ahead of them, puts files away, and gets over a disk that is full.
//!
//! A line is in the chain when the whole of it is in the file. What was written of a line that did not fit is taken back before
//! anything else is written, so a line that cannot be written costs its own event and never the chain.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use super::chain::{Hash, Head, LINE_BYTES_MAX, SEAL_BYTES_MAX, Unsealed};
use super::head::{ChainHead, First};
use super::medium::{Disk, FILE_MODE, Medium, StandardOutput};
use super::metrics::Counters;
use super::note::{self, NoteKind};
use super::place::Place;
use super::tail::{self, Tail, Verdict};
use crate::sink::Unrecorded;

/// Room that is there beyond the end at any time, so that what was let in can be recorded.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// Room that is made at once; much more than the least, so that it is seldom asked for.
const ROOM_BYTES: u64 = 4 << 20;
/// Microseconds after which something that failed is tried again.
const RETRY_MICROS: i64 = 1_000_000;
/// Notes that wait for room.
const NOTES_MAX: usize = 16;

/// Where a journal writes.
pub(crate) enum Target {
    /// To files.
    Files(Place),
    /// To the standard output.
    StandardOutput,
}

/// What a journal is made of.
pub(crate) struct Settings {
    /// Its name in the server's log.
    pub(crate) name: &'static str,
    pub(crate) target: Target,
    /// A file becomes no larger than this.
    pub(crate) file_bytes_max: u64,
    pub(crate) disk: Arc<dyn Disk>,
    /// What a note about lost events is.
    pub(crate) lost: NoteKind,
    pub(crate) counters: Counters,
}

/// What keeps lines from being written.
enum Trouble {
    None,
    /// Lines can be written as long as there is room left of what was reserved.
    NoRoomAhead {
        retry_at: i64,
    },
    /// Nothing can be written.
    Failing {
        retry_at: i64,
    },
}

/// Events that are not in the chain and about which nothing is in it yet.
#[derive(Clone, Copy, Default)]
pub(crate) struct Missing {
    pub(crate) count: u64,
    pub(crate) since: i64,
    pub(crate) until: i64,
}

impl Missing {
    pub(crate) fn add(&mut self, now: i64) {
        if self.count == 0 {
            self.since = now;
        }
        self.count += 1;
        self.until = now;
    }
}

/// The writer of one chain.
pub(crate) struct Journal {
    settings: Settings,
    medium: Box<dyn Medium>,
    chain: ChainHead,
    /// Where the last whole line ends.
    end: u64,
    /// Up to where there is room.
    reserved: u64,
    can_reserve: bool,
    /// Something is behind the last whole line that must go before anything is written.
    is_ragged: bool,
    trouble: Trouble,
    /// Whether the server's log knows of the trouble; it is told once.
    is_said: bool,
    missing: Missing,
    notes: VecDeque<String>,
    /// When a file is next tried to be put away that could not be.
    rotate_at: i64,
    /// Files that were put away and are not durable yet.
    unsynced: Vec<Arc<File>>,
    /// The disk did not make lines durable when it was last asked to.
    is_sync_failing: bool,
}

impl Journal {
    /// Opens the files and continues their chain.
    pub(crate) fn open(settings: Settings, kept: Option<&ChainHead>, is_closed: bool, now: i64) -> io::Result<Journal> {
        let mut notes = VecDeque::new();
        let (medium, end, tail) = match &settings.target {
            Target::StandardOutput => {
                let medium: Box<dyn Medium> = Box::new(StandardOutput);
                (medium, 0, None)
            }
            Target::Files(place) => {
                place.make_directory()?;
                // Opened first: what is no file of ours is not read either.
                let (mut medium, _) = settings.disk.open(&place.current())?;
                place.sync_directory()?;
                let tail = tail::examine(place, kept, is_closed)?;
                if tail.whole_bytes < tail.bytes {
                    notes.push_back(set_aside(place, &tail, now)?);
                    medium.cut(tail.whole_bytes)?;
                }
                (medium, tail.whole_bytes, Some(tail))
            }
        };
        let chain = match &tail {
            Some(tail) => continued(&settings, tail, kept, now, &mut notes),
            None => kept.copied().unwrap_or(ChainHead::NONE),
        };
        let mut journal = Journal {
            settings,
            medium,
            chain,
            end,
            reserved: end,
            can_reserve: true,
            is_ragged: false,
            trouble: Trouble::None,
            is_said: false,
            missing: Missing::default(),
            notes,
            rotate_at: 0,
            unsynced: Vec::new(),
            is_sync_failing: false,
        };
        // Nothing was kept of the lines that are there, be it that they were written in the moment before the end.
        if journal.chain.first.hash == Hash::ZERO {
            journal.chain.first = journal.first_of_files()?.unwrap_or(First::NONE);
        }
        journal.recover(now);
        Ok(journal)
    }

    /// What is to be kept of the chain.
    pub(crate) fn chain(&self) -> ChainHead {
        self.chain
    }

    /// Says whether the next line can be written.
    pub(crate) fn is_ready(&self) -> bool {
        self.has_no_trouble() && !self.is_sync_failing
    }

    fn has_no_trouble(&self) -> bool {
        matches!(self.trouble, Trouble::None)
    }

    /// Says whether something waits to be tried again or to be said.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.is_ready() || !self.notes.is_empty() || self.missing.count > 0
    }

    /// Writes a line.
    pub(crate) fn write(&mut self, unsealed: Unsealed, line: &mut String, now: i64) -> Result<(), Unrecorded> {
        if self.is_waiting() {
            self.recover_when_due(now);
        }
        if let Trouble::Failing { .. } = self.trouble {
            return Err(self.lose(now, "the log cannot be written"));
        }
        let sealed_bytes_max = line.len() + SEAL_BYTES_MAX;
        if sealed_bytes_max > LINE_BYTES_MAX {
            return Err(self.lose(now, "the event is too large"));
        }
        self.rotate_when_due(sealed_bytes_max, now);
        self.append(unsealed, line, now).map_err(|error| self.lose(now, &error.to_string()))
    }

    /// Counts an event that is not in the chain.
    pub(crate) fn lose(&mut self, now: i64, reason: &str) -> Unrecorded {
        self.missing.add(now);
        self.settings.counters.lost.inc();
        Unrecorded { reason: reason.to_owned() }
    }

    /// Puts a line into the chain.
    fn append(&mut self, unsealed: Unsealed, line: &mut String, now: i64) -> io::Result<()> {
        if self.is_ragged {
            self.medium.cut(self.end).inspect_err(|error| self.fail(now, error))?;
            self.is_ragged = false;
        }
        let head = unsealed.seal(&self.chain.head, line);
        if let Err(error) = self.append_all(line.as_bytes()) {
            self.is_ragged = self.medium.cut(self.end).is_err();
            self.reserved = self.end;
            self.fail(now, &error);
            return Err(error);
        }
        self.chain.previous = self.chain.head.hash;
        self.chain.head = head;
        if self.chain.first.hash == Hash::ZERO {
            self.chain.first = First { sequence: head.sequence, previous: self.chain.previous, hash: head.hash };
        }
        self.end += line.len() as u64;
        self.settings.counters.lines.inc();
        self.settings.counters.bytes.inc_by(line.len() as u64);
        if self.can_reserve && self.end + ROOM_BYTES_MIN > self.reserved && self.has_no_trouble() {
            self.reserve(now);
        }
        Ok(())
    }

    fn append_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.medium.append(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn fail(&mut self, now: i64, error: &io::Error) {
        if !std::mem::replace(&mut self.is_said, true) {
            tracing::error!(log = self.settings.name, %error, "audit log cannot be written, events are lost");
        }
        self.trouble = Trouble::Failing { retry_at: now + RETRY_MICROS };
    }

    /// Makes room ahead of the end.
    fn reserve(&mut self, now: i64) {
        match self.medium.reserve(self.end, ROOM_BYTES) {
            Ok(true) => self.reserved = self.end + ROOM_BYTES,
            Ok(false) => self.can_reserve = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_said, true) {
                    tracing::error!(log = self.settings.name, %error, "audit log has no room ahead of it");
                }
                self.trouble = Trouble::NoRoomAhead { retry_at: now + RETRY_MICROS };
            }
        }
    }

    /// Tries again what failed, at most once in a while.
    pub(crate) fn recover_when_due(&mut self, now: i64) {
        let due = match self.trouble {
            Trouble::None => true,
            Trouble::NoRoomAhead { retry_at } | Trouble::Failing { retry_at } => now >= retry_at,
        };
        if due {
            self.recover(now);
        }
    }

    /// Makes room, and writes what is to be said.
    pub(crate) fn recover(&mut self, now: i64) {
        self.trouble = Trouble::None;
        if self.can_reserve && self.end + ROOM_BYTES_MIN > self.reserved {
            self.reserve(now);
            if !self.has_no_trouble() {
                return;
            }
        }
        while let Some(line) = self.notes.front().cloned() {
            if !self.write_note(line, now) {
                return;
            }
            self.notes.pop_front();
        }
        if self.missing.count > 0 {
            let Missing { count, since, until } = self.missing;
            let facts = [("count", &*count.to_string()), ("since", &note::time(since)), ("until", &note::time(until))];
            if !self.write_note(note::render(self.settings.lost, now, &facts), now) {
                return;
            }
            self.missing = Missing::default();
            tracing::warn!(log = self.settings.name, count, "events are missing in the audit log");
        }
        if std::mem::take(&mut self.is_said) {
            tracing::info!(log = self.settings.name, "audit log can be written again");
        }
    }

    /// Writes a line of our own.
    fn write_note(&mut self, mut line: String, now: i64) -> bool {
        let Some(unsealed) = Unsealed::new(&mut line) else { return true };
        self.append(unsealed, &mut line, now).is_ok()
    }

    /// Says something in the chain, now or when there is room.
    pub(crate) fn say(&mut self, line: String, now: i64) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push_back(line);
        }
        self.recover_when_due(now);
    }

    /// Puts the file away when the next line would make it too large.
    fn rotate_when_due(&mut self, line_bytes: usize, now: i64) {
        let is_full = self.end > 0 && self.end + line_bytes as u64 > self.settings.file_bytes_max;
        if !is_full || now < self.rotate_at {
            return;
        }
        if let Err(error) = self.rotate(now) {
            // The chain goes on in the same file.
            tracing::error!(log = self.settings.name, %error, "audit log cannot be rotated");
            self.rotate_at = now + RETRY_MICROS;
        }
    }

    fn rotate(&mut self, now: i64) -> io::Result<()> {
        let Target::Files(place) = &self.settings.target else { return Ok(()) };
        let (current, next, rotated) = (place.current(), place.next(), place.rotated(now)?);
        // The new file is there before the old one goes, so that there is always one to write to.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (medium, _) = self.settings.disk.open(&next)?;
        // Seldom, and so worth the wait: else a power failure could take lines of this file and spare later ones of the next, which
        // looks as if somebody had cut them out.
        let synced = self.medium.file().map_or(Ok(()), |file| self.settings.disk.sync(&file));
        if let Err(error) = synced {
            // It is said once and to whoever asked.
            self.synced(Vec::new(), false, now);
            return Err(error);
        }
        fs::rename(&current, &rotated)?;
        if let Err(error) = fs::rename(&next, &current) {
            fs::rename(&rotated, &current)?;
            return Err(error);
        }
        // Room that was kept for lines that will not come.
        let _ = self.medium.cut(self.end);
        self.unsynced.extend(self.medium.file());
        self.medium = medium;
        (self.end, self.reserved) = (0, 0);
        Ok(())
    }

    /// Notices when the file was taken away or shortened by somebody else, and says so in the chain.
    pub(crate) fn inspect(&mut self, now: i64) -> io::Result<()> {
        let (Target::Files(place), Some(file)) = (&self.settings.target, self.medium.file()) else { return Ok(()) };
        let own = file.metadata()?;
        let is_in_place = match place.current().symlink_metadata() {
            Ok(found) => (found.dev(), found.ino()) == (own.dev(), own.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let is_whole = own.len() == self.end || self.is_ragged;
        if is_in_place && is_whole {
            return Ok(());
        }
        tracing::error!(
            log = self.settings.name,
            is_in_place,
            "audit log was changed by somebody else while it was written"
        );
        if is_in_place {
            // What is there now is not ours to cut.
            self.end = own.len();
        } else {
            place.make_directory()?;
            let (medium, len) = self.settings.disk.open(&place.current())?;
            self.unsynced.push(file);
            self.medium = medium;
            self.end = len;
        }
        self.reserved = self.end;
        self.say(note::render(NoteKind::Replaced, now, &[("expected", &self.chain.head.to_string())]), now);
        Ok(())
    }

    /// Says whether files were put away since what must be durable was last taken.
    pub(crate) fn has_put_away(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// What must be made durable before the head may be kept: the files, and whether names have changed.
    pub(crate) fn take_unsynced(&mut self) -> Vec<Arc<File>> {
        let mut files = std::mem::take(&mut self.unsynced);
        files.extend(self.medium.file());
        files
    }

    /// Takes back what was taken and not made durable.
    pub(crate) fn put_back(&mut self, files: Vec<Arc<File>>) {
        let own = self.medium.file();
        let is_own = |file: &Arc<File>| own.as_ref().is_some_and(|own| Arc::ptr_eq(own, file));
        self.unsynced.extend(files.into_iter().filter(|file| !is_own(file)));
    }

    /// What the disk said to files that were to be made durable. A disk that failed may have dropped what it was given and say yes the
    /// next time, so the chain says it; until it is well again nothing that must be recorded is let in.
    pub(crate) fn synced(&mut self, files: Vec<Arc<File>>, is_durable: bool, now: i64) {
        if !is_durable {
            self.put_back(files);
            if !self.is_sync_failing {
                let facts = [("expected", &*self.chain.head.to_string())];
                self.say(note::render(NoteKind::Unsynced, now, &facts), now);
            }
        }
        self.is_sync_failing = !is_durable;
    }

    /// Where the files are opened and made durable.
    pub(crate) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.settings.disk)
    }

    /// The files, if it writes to files.
    pub(crate) fn place(&self) -> Option<&Place> {
        match &self.settings.target {
            Target::Files(place) => Some(place),
            Target::StandardOutput => None,
        }
    }

    pub(crate) fn set_first(&mut self, first: First) {
        self.chain.first = first;
    }

    /// Gives room back that no line will take any more.
    pub(crate) fn finish(&mut self) {
        let _ = self.medium.cut(self.end);
        self.reserved = self.end;
    }

    fn first_of_files(&self) -> io::Result<Option<First>> {
        let Some(place) = self.place() else { return Ok(None) };
        let mut paths: Vec<PathBuf> = place.list()?.into_iter().map(|rotated| rotated.path).collect();
        paths.push(place.current());
        tail::first(&paths)
    }
}

/// Where the chain goes on. When something is wrong it goes on from what was kept, so that the place stays to be found.
fn continued(
    settings: &Settings,
    tail: &Tail,
    kept: Option<&ChainHead>,
    now: i64,
    notes: &mut VecDeque<String>,
) -> ChainHead {
    let first = kept.map_or(First::NONE, |kept| kept.first);
    let own = ChainHead { head: tail.found, previous: tail.previous, first };
    let kind = match tail.verdict {
        Verdict::Agrees => return own,
        Verdict::Unchecked => {
            tracing::warn!(
                log = settings.name,
                "more lines than are looked at are behind the kept head of the audit log"
            );
            return own;
        }
        Verdict::NoHead => NoteKind::NoHead,
        Verdict::Cut => NoteKind::Cut,
        Verdict::Changed => NoteKind::Changed,
        Verdict::Added => NoteKind::Added,
        Verdict::Foreign => NoteKind::Foreign,
    };
    let expected = kept.map_or(Head::NONE, |kept| kept.head);
    tracing::error!(
        log = settings.name,
        what = kind.as_str(),
        %expected,
        found = %tail.found,
        "audit log is not as this server left it: `portcullis audit-log verify` says where"
    );
    let facts = [("expected", &*expected.to_string()), ("found", &tail.found.to_string())];
    notes.push_back(note::render(kind, now, &facts));
    if kind == NoteKind::NoHead {
        return own;
    }
    let sequence = expected.sequence.max(tail.found.sequence);
    let previous = kept.map_or(Hash::ZERO, |kept| kept.previous);
    ChainHead { head: Head { sequence, hash: expected.hash }, previous, first }
}

/// Moves the beginning of a line that a crash left into a file of its own. Returns the note about it.
fn set_aside(place: &Place, tail: &Tail, now: i64) -> io::Result<String> {
    let mut file = File::open(place.current())?;
    file.seek(SeekFrom::Start(tail.whole_bytes))?;
    let mut torn = Vec::new();
    file.take(LINE_BYTES_MAX as u64).read_to_end(&mut torn)?;
    let path = place.torn();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut aside = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path)?;
    io::Write::write_all(&mut aside, &torn)?;
    aside.sync_all()?;
    let bytes = tail.bytes - tail.whole_bytes;
    tracing::warn!(bytes, file = ?path, "the last line of the audit log was not whole, it was set aside");
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let facts = [("bytes", &*bytes.to_string()), ("hash", &Hash::of(&torn).to_string()), ("file", name)];
    Ok(note::render(NoteKind::Torn, now, &facts))
}
