//! What can be wrong with a log, each in its own words.

use std::fmt;
use std::sync::Arc;

use crate::log::{Head, NoteKind};

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The file.
    pub file: Arc<str>,
    /// The line in it, from 1.
    pub line: u64,
}

impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// Numbers of lines, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

impl fmt::Display for Numbers {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { from, to } = self;
        if from == to { write!(out, "line {from}") } else { write!(out, "lines {from} to {to}") }
    }
}

impl Numbers {
    /// "is" of one line, "are" of several.
    fn are(&self) -> &'static str {
        if self.from == self.to { "is" } else { "are" }
    }

    /// "was" of one line, "were" of several.
    fn were(&self) -> &'static str {
        if self.from == self.to { "was" } else { "were" }
    }
}

/// One thing that is wrong. A number is that of a line in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A line has another content than the one after it, or the store, says.
    Changed {
        /// Its number.
        sequence: u64,
        /// Where it stands.
        at: At,
    },
    /// Lines are missing between two others of one file.
    Removed {
        /// Their numbers.
        numbers: Numbers,
        /// The line after them.
        before: At,
    },
    /// Lines are missing between two files.
    FileMissing {
        /// Their numbers.
        numbers: Numbers,
        /// The file before them.
        after: Arc<str>,
        /// The file after them.
        before: Arc<str>,
    },
    /// Lines are missing at the end.
    TailCut {
        /// Their numbers.
        numbers: Numbers,
    },
    /// The file is missing that was written last, and lines with it.
    TailFileMissing {
        /// Their numbers.
        numbers: Numbers,
    },
    /// Lines are missing at the beginning that the server did not remove.
    FrontCut {
        /// Their numbers.
        numbers: Numbers,
    },
    /// Lines stand after others that are younger.
    Reordered {
        /// Their numbers.
        numbers: Numbers,
        /// Where the first of them stands.
        at: At,
    },
    /// A line is there that the chain does not know.
    Inserted {
        /// Where it stands.
        at: At,
    },
    /// A line is there again.
    Duplicated {
        /// Its number.
        sequence: u64,
        /// Where it stands the second time.
        at: At,
    },
    /// Something stands in the place of a line that has none of its parts.
    Overwritten {
        /// The number of the line that should be there.
        sequence: u64,
        /// Where.
        at: At,
    },
    /// A file ends within a line.
    Torn {
        /// The file.
        at: At,
        /// Bytes of the part that is there.
        bytes: u64,
    },
    /// The chain holds, but it is not the one that the store knows.
    Replaced {
        /// What the store knows.
        expected: Head,
    },
    /// Lines come after those with which the server ended in order.
    Added {
        /// Their numbers.
        numbers: Numbers,
    },
    /// The server itself found at a start, or while it was writing, that somebody had changed the log.
    Noted {
        /// What it found.
        kind: NoteKind,
        /// The line that says so.
        sequence: u64,
    },
    /// A file cannot be read to its end.
    Unreadable {
        /// The file.
        at: At,
        /// What the system said.
        error: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Changed { sequence, at } => write!(out, "line {sequence} was changed ({at})"),
            Finding::Removed { numbers, before } => {
                write!(out, "{numbers} {} missing: removed from the middle, before {before}", numbers.are())
            }
            Finding::FileMissing { numbers, after, before } => {
                write!(out, "{numbers} {} missing: a file was removed between {after} and {before}", numbers.are())
            }
            Finding::TailCut { numbers } => {
                write!(out, "{numbers} {} missing: the end of the log was cut off", numbers.are())
            }
            Finding::TailFileMissing { numbers } => {
                write!(out, "{numbers} {} missing: the last file of the log was removed", numbers.are())
            }
            Finding::FrontCut { numbers } => {
                let are = numbers.are();
                write!(out, "{numbers} {are} missing: the beginning of the log was cut off, and not by its server")
            }
            Finding::Reordered { numbers, at } => {
                write!(out, "{numbers} {} moved: the order was changed at {at}", numbers.were())
            }
            Finding::Inserted { at } => write!(out, "a line was inserted at {at}"),
            Finding::Duplicated { sequence, at } => write!(out, "line {sequence} is there twice, again at {at}"),
            Finding::Overwritten { sequence, at } => {
                write!(out, "line {sequence} was overwritten: {at} is no line of this log")
            }
            Finding::Torn { at, bytes } => write!(out, "the last line is torn: {at} has {bytes} bytes and no end"),
            Finding::Replaced { expected } => write!(
                out,
                "the log was replaced: its chain holds, but line {} is not the one that the store knows \
                 (another server's log, or one that was computed anew)",
                expected.sequence
            ),
            Finding::Added { numbers } => {
                write!(out, "{numbers} {} added after the server had ended", numbers.were())
            }
            Finding::Noted { kind, sequence } => {
                let what = match kind {
                    NoteKind::Cut => "that lines were missing at the end of the log",
                    NoteKind::Changed => "that the end of the log was not as it had been written",
                    NoteKind::Added => "that lines had been added after it had ended",
                    NoteKind::Foreign => "that the last line was none of its own",
                    NoteKind::Replaced => "that the file was removed or shortened while it was writing",
                    other => other.as_str(),
                };
                write!(out, "line {sequence} says that the server found {what}")
            }
            Finding::Unreadable { at, error } => write!(out, "{at} cannot be read further: {error}"),
        }
    }
}

/// What should be known and is nobody's fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// The log itself says something.
    Noted {
        /// What.
        kind: NoteKind,
        /// The line that says so.
        sequence: u64,
    },
    /// Nothing is known of the log from elsewhere, and it does not begin with line 1.
    UnknownBeginning {
        /// With which it begins.
        sequence: u64,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Noted { kind, sequence } => {
                let what = match kind {
                    NoteKind::Lost => "that events could not be written",
                    NoteKind::StrangersLost => "that events of strangers were above their rate",
                    NoteKind::Unsynced => "that the disk had failed: a crash may have taken lines before it",
                    NoteKind::Torn => "that a crash had left the beginning of a line, which was set aside",
                    NoteKind::NoHead => "that the store had nothing about the log: what was before is not vouched for",
                    other => other.as_str(),
                };
                write!(out, "line {sequence} says {what}")
            }
            Remark::UnknownBeginning { sequence } => {
                write!(
                    out,
                    "it begins with line {sequence}: what was before may have been removed for its age, or cut off"
                )
            }
        }
    }
}
