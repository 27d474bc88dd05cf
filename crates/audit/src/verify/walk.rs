//! The walk along a chain: one line after the other, with what is needed to name what is wrong.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::finding::{At, Finding, Numbers, Remark};
use super::{FINDINGS_MAX, Known, Report};
use crate::log::{Hash, Head, NoteKind, Sealed};

/// Lines that are remembered, to tell one that is there twice from one that was inserted, and to check moved ones.
const RECENT_MAX: usize = 4_096;
/// Gaps that may still be filled by lines that were moved.
const GAPS_MAX: usize = 1_024;
/// Lines in a row that are none of the log, whose places are remembered.
const FOREIGN_MAX: usize = 64;

/// A line as it is remembered.
struct Seen {
    sequence: u64,
    hash: Hash,
    previous: Hash,
}

/// Lines that are missing so far.
struct Gap {
    numbers: Numbers,
    /// The line before, if there is one.
    after: Option<At>,
    before: At,
}

/// See the module's text.
pub(super) struct Walk<'a> {
    known: &'a Known,
    report: Report,
    at: At,
    /// The last line in its place, and where it stands.
    last: Head,
    last_at: Option<At>,
    recent: VecDeque<Seen>,
    gaps: Vec<Gap>,
    /// Lines that are none of the log, since the last one that is.
    foreign: Vec<At>,
    /// Another line with the number of the last one: the next line says which of them is the right one.
    rival: Option<(Hash, At)>,
    /// What stands in the place of the kept head: its hash, the one it carries, and where.
    at_head: Option<(Hash, Hash, At)>,
    has_head: bool,
    is_first_another: bool,
    /// The file ends within a line.
    torn: Option<Finding>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(known: &'a Known) -> Walk<'a> {
        Walk {
            known,
            report: Report::default(),
            at: At { file: "".into(), line: 0 },
            last: Head::NONE,
            last_at: None,
            recent: VecDeque::new(),
            gaps: Vec::new(),
            foreign: Vec::new(),
            rival: None,
            at_head: None,
            has_head: false,
            is_first_another: false,
            torn: None,
        }
    }

    pub(super) fn begin_file(&mut self, name: &str) {
        // What is torn in the middle of the log nobody set aside.
        if let Some(torn) = self.torn.take() {
            self.find(torn);
        }
        self.at = At { file: Arc::from(name), line: 0 };
    }

    /// A whole line, without its newline.
    pub(super) fn line(&mut self, line: &[u8]) {
        let Some(Sealed { sequence, previous }) = Sealed::of(line) else {
            self.foreign();
            return;
        };
        self.at.line += 1;
        self.report.lines += 1;
        let seen = Seen { sequence, hash: Hash::of(line), previous };
        self.note(line, sequence);
        self.compare_with_known(&seen);
        if self.last_at.is_none() {
            self.begin_chain(&seen);
        }
        let next = self.last.sequence.saturating_add(1);
        if sequence == next {
            self.follows(&seen);
            self.accept(seen);
        } else if sequence > next {
            self.leaves_gap(next, &seen);
            self.accept(seen);
        } else {
            self.comes_late(seen);
        }
    }

    /// A line that is none of the log.
    pub(super) fn foreign(&mut self) {
        self.at.line += 1;
        self.report.lines += 1;
        if self.foreign.len() < FOREIGN_MAX {
            self.foreign.push(self.at.clone());
        } else {
            self.find(Finding::Inserted { at: self.at.clone() });
        }
    }

    /// A file ends within a line.
    pub(super) fn torn(&mut self, bytes: u64) {
        self.at.line += 1;
        self.torn = Some(Finding::Torn { at: self.at.clone(), bytes });
    }

    pub(super) fn unreadable(&mut self, error: &io::Error) {
        self.find(Finding::Unreadable { at: self.at.clone(), error: error.to_string() });
    }

    fn find(&mut self, finding: Finding) {
        // Neighbours that were moved together are said together.
        if let (Some(Finding::Reordered { numbers, .. }), Finding::Reordered { numbers: next, .. }) =
            (self.report.findings.last_mut(), &finding)
            && numbers.to.checked_add(1) == Some(next.from)
        {
            numbers.to = next.to;
            return;
        }
        self.report.finding_count += 1;
        if self.report.findings.len() < FINDINGS_MAX {
            self.report.findings.push(finding);
        }
    }

    /// What the log says of itself.
    fn note(&mut self, line: &[u8], sequence: u64) {
        match NoteKind::of(line) {
            Some(kind) if kind.is_tampering() => self.find(Finding::Noted { kind, sequence }),
            Some(kind) if self.report.remarks.len() < FINDINGS_MAX => {
                self.report.remarks.push(Remark::Noted { kind, sequence });
            }
            _ => {}
        }
    }

    fn compare_with_known(&mut self, seen: &Seen) {
        if let Some(first) = self.known.first
            && first.sequence == seen.sequence
            && first.hash != Hash::ZERO
            && first.hash != seen.hash
        {
            self.is_first_another = true;
        }
        if let Some(head) = self.known.head
            && head.sequence == seen.sequence
        {
            self.has_head |= head.hash == seen.hash;
            self.at_head = Some((seen.hash, seen.previous, self.at.clone()));
        }
    }

    /// The first line of all: what should be before it.
    fn begin_chain(&mut self, seen: &Seen) {
        self.report.first = Some(seen.sequence);
        let own = Head { sequence: seen.sequence.saturating_sub(1), hash: seen.previous };
        self.last = match self.known.first {
            // What is older than the first one was about to be removed.
            Some(first) if first.sequence < seen.sequence => {
                Head { sequence: first.sequence.saturating_sub(1), hash: first.previous }
            }
            Some(_) => own,
            None => {
                if seen.sequence > 1 {
                    self.report.remarks.push(Remark::UnknownBeginning { sequence: seen.sequence });
                }
                own
            }
        };
    }

    /// The number is the next one: the hash must be that of the last line.
    fn follows(&mut self, seen: &Seen) {
        let foreign = std::mem::take(&mut self.foreign);
        foreign.into_iter().for_each(|at| self.find(Finding::Inserted { at }));
        let rival = self.rival.take();
        if seen.previous == self.last.hash {
            rival.into_iter().for_each(|(_, at)| self.find(Finding::Inserted { at }));
            return;
        }
        let Some(last_at) = self.last_at.clone() else { return };
        match rival {
            Some((hash, _)) if hash == seen.previous => self.find(Finding::Inserted { at: last_at }),
            Some((_, at)) => {
                self.find(Finding::Inserted { at });
                self.find(Finding::Changed { sequence: self.last.sequence, at: last_at });
            }
            None => self.find(Finding::Changed { sequence: self.last.sequence, at: last_at }),
        }
    }

    /// Numbers are missing before this line.
    fn leaves_gap(&mut self, next: u64, seen: &Seen) {
        self.settle_rival();
        let numbers = Numbers { from: next, to: seen.sequence - 1 };
        let foreign = std::mem::take(&mut self.foreign);
        let missing = numbers.to - numbers.from + 1;
        if foreign.len() as u64 == missing {
            for (at, sequence) in foreign.into_iter().zip(numbers.from..) {
                self.find(Finding::Overwritten { sequence, at });
            }
            return;
        }
        foreign.into_iter().for_each(|at| self.find(Finding::Inserted { at }));
        let gap = Gap { numbers, after: self.last_at.clone(), before: self.at.clone() };
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        } else {
            self.find(missing_lines(gap));
        }
    }

    /// The number was due before: the line was moved, is there twice, or was inserted.
    fn comes_late(&mut self, seen: Seen) {
        let at = self.at.clone();
        let sequence = seen.sequence;
        if self.fill_gap(sequence) {
            self.find(Finding::Reordered { numbers: Numbers { from: sequence, to: sequence }, at: at.clone() });
            if !self.fits(&seen) {
                self.find(Finding::Changed { sequence, at });
            }
            self.remember(seen);
            return;
        }
        match self.recent.iter().rev().find(|held| held.sequence == sequence) {
            Some(held) if held.hash == seen.hash => self.find(Finding::Duplicated { sequence, at }),
            Some(_) if sequence == self.last.sequence && self.rival.is_none() => self.rival = Some((seen.hash, at)),
            Some(_) => self.find(Finding::Inserted { at }),
            // Too long ago to tell whether it is the same.
            None => self.find(Finding::Duplicated { sequence, at }),
        }
    }

    /// Takes a number out of the gap that it was missing in.
    fn fill_gap(&mut self, sequence: u64) -> bool {
        let within = |gap: &Gap| (gap.numbers.from..=gap.numbers.to).contains(&sequence);
        let Some(place) = self.gaps.iter().position(within) else { return false };
        let Gap { numbers, after, before } = self.gaps.remove(place);
        let parts = [
            (numbers.from < sequence).then(|| Numbers { from: numbers.from, to: sequence - 1 }),
            (sequence < numbers.to).then(|| Numbers { from: sequence + 1, to: numbers.to }),
        ];
        for numbers in parts.into_iter().flatten().rev() {
            self.gaps.insert(place, Gap { numbers, after: after.clone(), before: before.clone() });
        }
        true
    }

    /// Whether a line that was moved fits to those that were its neighbours, as far as they are remembered.
    fn fits(&self, seen: &Seen) -> bool {
        let held = |sequence: Option<u64>| self.recent.iter().find(|held| Some(held.sequence) == sequence);
        let before = held(seen.sequence.checked_sub(1)).is_none_or(|before| before.hash == seen.previous);
        let after = held(seen.sequence.checked_add(1)).is_none_or(|after| after.previous == seen.hash);
        before && after
    }

    fn accept(&mut self, seen: Seen) {
        self.last = Head { sequence: seen.sequence, hash: seen.hash };
        self.last_at = Some(self.at.clone());
        self.remember(seen);
    }

    fn remember(&mut self, seen: Seen) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(seen);
    }

    /// No line follows that says which of two is the right one; the store may know.
    fn settle_rival(&mut self) {
        let Some((hash, at)) = self.rival.take() else { return };
        let is_right = self.known.head == Some(Head { sequence: self.last.sequence, hash });
        let at = if is_right { self.last_at.clone().unwrap_or(at) } else { at };
        self.find(Finding::Inserted { at });
    }

    /// The end of the last file.
    pub(super) fn end(mut self, has_current: bool, files: usize) -> Report {
        self.report.files = files;
        self.settle_rival();
        self.end_of_gaps();
        self.end_of_tail(has_current);
        for at in std::mem::take(&mut self.foreign) {
            self.find(Finding::Inserted { at });
        }
        self.report.last = self.last_at.is_some().then_some(self.last);
        self.report
    }

    fn end_of_gaps(&mut self) {
        for gap in std::mem::take(&mut self.gaps) {
            self.find(missing_lines(gap));
        }
    }

    /// Compares the end with the kept head.
    fn end_of_tail(&mut self, has_current: bool) {
        let last = self.last_at.as_ref().map_or(0, |_| self.last.sequence);
        let torn = self.torn.take();
        let Some(head) = self.known.head else {
            torn.into_iter().for_each(|torn| self.find(torn));
            return;
        };
        // The line that a running server is just writing.
        let is_on_its_way = self.known.is_written && last >= head.sequence;
        torn.into_iter().filter(|_| !is_on_its_way).for_each(|torn| self.find(torn));
        if last < head.sequence {
            self.end_before_head(last, &head, has_current);
            return;
        }
        self.report.beyond_head = last - head.sequence;
        if let Some((_, previous, at)) = self.at_head.take().filter(|_| !self.has_head) {
            // Only the line itself, or everything before it, too.
            let finding = match self.known.previous == Some(previous) {
                true => Finding::Changed { sequence: head.sequence, at },
                false => Finding::Replaced { expected: head },
            };
            self.find(finding);
        }
        if self.report.beyond_head > 0 && self.known.is_closed {
            self.find(Finding::Added { numbers: Numbers { from: head.sequence + 1, to: last } });
        }
    }

    fn end_before_head(&mut self, last: u64, head: &Head, has_current: bool) {
        if self.is_first_another {
            self.find(Finding::Replaced { expected: *head });
        }
        let from = self.known.first.map_or(1, |first| first.sequence).max(last + 1);
        let numbers = Numbers { from, to: head.sequence };
        let foreign = std::mem::take(&mut self.foreign);
        if foreign.len() as u64 == numbers.to.saturating_sub(numbers.from) + 1 {
            for (at, sequence) in foreign.into_iter().zip(numbers.from..) {
                self.find(Finding::Overwritten { sequence, at });
            }
            return;
        }
        self.foreign = foreign;
        self.find(match has_current {
            true => Finding::TailCut { numbers },
            false => Finding::TailFileMissing { numbers },
        });
    }
}

/// What a gap is that nothing filled.
fn missing_lines(gap: Gap) -> Finding {
    let Gap { numbers, after, before } = gap;
    match after {
        None => Finding::FrontCut { numbers },
        Some(after) if after.file != before.file => {
            Finding::FileMissing { numbers, after: after.file, before: before.file }
        }
        Some(_) => Finding::Removed { numbers, before },
    }
}
