//! The log (A25; upstream: the log backend of auditing): one line an event, in one chain over all files and starts of a server.
//!
//! A line is written where the event is made, behind one lock: it is hashed before the lock is taken, and while it is held there is
//! one write and nothing else. No line is made durable by itself; once a second the files are, and then the head of the chain is kept
//! in the store. So what a power failure can take is the last second, and nobody can take more without being found out.
//!
//! Strangers have a chain, files and a rate of their own; whatever becomes of it keeps nobody else waiting.
//!
//! Reading order: `chain` (what a line carries), `journal` (the writer of one chain), `medium`, `place` and `retention` (files),
//! `tail` (what a start finds), `note` (lines about the log itself), `head` (what is kept in the store), `strangers`, `tending` (what
//! happens once a second).

mod chain;
mod head;
mod journal;
mod medium;
mod metrics;
mod note;
mod place;
mod retention;
mod strangers;
mod tail;
mod tending;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::Notify;

use self::chain::Unsealed;
use self::journal::{Journal, Settings, Target};
use self::medium::{Disk, SystemDisk};
use self::strangers::Admission;
use self::tending::Tended;
use crate::batch::{Batches, Deliver, End, Losses, Queue};
use crate::event::Event;
use crate::sink::{Sink, Taken, Unrecorded};
use crate::truncate::{self, Truncation};

#[cfg(test)]
pub(crate) use chain::seal;
pub use chain::{Hash, Head, LINE_BYTES_MAX, NotAHash, PREVIOUS_ANNOTATION, SEQUENCE_ANNOTATION, Sealed};
pub use head::{ChainHead, First, HeadStore, HeadStoreError, Heads, UnreadableHeads};
pub use metrics::LogMetrics;
pub use note::{NOTE_ANNOTATION, NoteKind};
pub use place::{Place, Rotated};
pub use retention::Retention;
pub use strangers::{
    STRANGER_BURST, STRANGER_PER_SECOND, STRANGERS_BACKUPS, STRANGERS_BURST, STRANGERS_FILE_BYTES_MAX,
    STRANGERS_PER_SECOND,
};

/// How long what waits in batches may take at the end.
const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// Microseconds between two lines about strangers that were not recorded.
const STRANGERS_NOTE_MICROS: i64 = 60_000_000;

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a file, and to others beside it when it is full.
    File(PathBuf),
    /// To the standard output (upstream: `-`).
    StandardOutput,
}

/// When a request goes on (upstream: `--audit-log-mode`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// When its event is written, or could not be.
    Blocking,
    /// When its event is written; when its first one could not be, it fails.
    BlockingStrict,
    /// At once; events are written a little later.
    Batch(crate::batch::Settings),
}

/// How a log is kept.
#[derive(Clone)]
pub struct Options {
    /// Where it goes.
    pub destination: Destination,
    /// Where the log of strangers goes.
    pub strangers: PathBuf,
    /// A file becomes no larger than this.
    pub file_bytes_max: u64,
    /// Which files are kept.
    pub retention: Retention,
    /// When a request goes on.
    pub mode: Mode,
    /// How long an event may be.
    pub truncation: Option<Truncation>,
    /// What is counted.
    pub metrics: LogMetrics,
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {path:?}: {source}")]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Microseconds since 1970 in UTC.
pub(crate) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The log.
pub struct Log {
    writer: Arc<Writer>,
    is_strict: bool,
    truncation: Option<Truncation>,
    queue: Option<Queue>,
    losses: Arc<Losses>,
    batches: Mutex<Option<Batches>>,
}

/// What writes both chains. The locks are taken in the order of the fields, and each is held for one write.
struct Writer {
    events: Mutex<Journal>,
    strangers: Mutex<Strangers>,
    is_ready: AtomicBool,
    is_closed: AtomicBool,
    clock: Clock,
    /// A file was put away, or something else must not wait for the next second.
    hurry: Notify,
    retention: Retention,
    metrics: LogMetrics,
    tended: tokio::sync::Mutex<Tended>,
}

struct Strangers {
    journal: Journal,
    admission: Admission,
    /// Events above the rate that no line tells of yet.
    dropped: journal::Missing,
    noted_at: i64,
}

impl Log {
    /// Opens the files and continues the chains; `kept` is what the store has of them. Asks for a runtime in batch mode. Nobody may
    /// be served before [`Log::anchor`] has answered once.
    ///
    /// # Errors
    /// When a file cannot be opened, or is none that a log may be written to. A log that is not as it was left is no error: it is
    /// said in the chain, and what was found stays to be found.
    pub fn open(options: Options, kept: Option<&Heads>) -> Result<Log, OpenError> {
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        };
        Log::open_on(options, kept, &(Arc::new(SystemDisk) as _), Arc::new(clock))
    }

    fn open_on(options: Options, kept: Option<&Heads>, disk: &Arc<dyn Disk>, clock: Clock) -> Result<Log, OpenError> {
        let now = clock();
        let is_closed = kept.is_some_and(|kept| kept.is_closed);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError { path, source }
        };
        let target = match &options.destination {
            Destination::File(path) => Target::Files(Place::of(path).map_err(failed(path))?),
            Destination::StandardOutput => Target::StandardOutput,
        };
        let settings = Settings {
            name: "events",
            target,
            file_bytes_max: options.file_bytes_max,
            disk: Arc::clone(disk),
            lost: NoteKind::Lost,
            counters: options.metrics.of("events"),
        };
        let path = match &options.destination {
            Destination::File(path) => path.clone(),
            Destination::StandardOutput => "-".into(),
        };
        let events = Journal::open(settings, kept.map(|kept| &kept.log), is_closed, now).map_err(failed(&path))?;
        let settings = Settings {
            name: "strangers",
            target: Target::Files(Place::of(&options.strangers).map_err(failed(&options.strangers))?),
            file_bytes_max: STRANGERS_FILE_BYTES_MAX,
            disk: Arc::clone(disk),
            lost: NoteKind::StrangersLost,
            counters: options.metrics.of("strangers"),
        };
        let strangers = Journal::open(settings, kept.map(|kept| &kept.strangers), is_closed, now)
            .map_err(failed(&options.strangers))?;
        let writer = Arc::new(Writer {
            is_ready: AtomicBool::new(events.is_ready()),
            events: Mutex::new(events),
            strangers: Mutex::new(Strangers {
                journal: strangers,
                admission: Admission::new(),
                dropped: journal::Missing::default(),
                noted_at: 0,
            }),
            is_closed: AtomicBool::new(false),
            clock,
            hurry: Notify::new(),
            retention: options.retention,
            metrics: options.metrics,
            tended: tokio::sync::Mutex::default(),
        });
        let losses = Arc::new(Losses::new("log"));
        let (queue, batches) = match options.mode {
            Mode::Batch(settings) => {
                let deliver = WriterOfBatches { writer: Arc::clone(&writer), losses: Arc::clone(&losses) };
                let (queue, batches) = Batches::start(deliver, settings, Arc::clone(&losses));
                (Some(queue), Some(batches))
            }
            Mode::Blocking | Mode::BlockingStrict => (None, None),
        };
        let is_strict = options.mode == Mode::BlockingStrict;
        Ok(Log { writer, is_strict, truncation: options.truncation, queue, losses, batches: Mutex::new(batches) })
    }

    /// Returns the heads as they are now, some of which may not be durable yet.
    pub fn heads(&self) -> Heads {
        self.writer.heads()
    }

    fn take_line(&self, event: &Event) -> Result<(), Unrecorded> {
        let writer = &self.writer;
        let line = truncate::line(event, self.truncation.as_ref());
        if event.is_stranger() {
            // What becomes of it is counted, and is nobody's reason to fail.
            writer.write_stranger(line);
            return Ok(());
        }
        let line = line.inspect_err(|_| writer.lose())?;
        match &self.queue {
            None => writer.write(line),
            Some(queue) => queue.push(Bytes::from(line), false).inspect_err(|_| writer.lose()),
        }
    }
}

impl Sink for Arc<Log> {
    fn name(&self) -> &'static str {
        "log"
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        Taken::Now(self.take_line(event))
    }

    fn count_losses(&self, counter: &IntCounter) {
        self.losses.count_by(counter);
    }

    fn is_ready(&self) -> bool {
        self.writer.is_ready.load(Ordering::Acquire)
    }

    fn is_strict(&self) -> bool {
        self.is_strict
    }
}

impl Writer {
    fn now(&self) -> i64 {
        (self.clock)()
    }

    fn events(&self) -> MutexGuard<'_, Journal> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heads(&self) -> Heads {
        let log = self.events().chain();
        let strangers = self.strangers().journal.chain();
        Heads { log, strangers, is_closed: self.is_closed.load(Ordering::Acquire) }
    }

    /// Writes an event of somebody known.
    fn write(&self, mut line: String) -> Result<(), Unrecorded> {
        // Before the lock: the text is the most of what is hashed.
        let unsealed = Unsealed::new(&mut line).ok_or_else(not_an_event)?;
        let now = self.now();
        let mut journal = self.events();
        if self.is_closed.load(Ordering::Acquire) {
            // A line behind the last head would look as if somebody had added it.
            tracing::warn!("an event came after the end of the audit log: a request was cut off and is not in it");
            return Err(journal.lose(now, "the server ends"));
        }
        let written = journal.write(unsealed, &mut line, now);
        self.noticed(&journal);
        written
    }

    /// An event of somebody known is not in the log.
    fn lose(&self) {
        let now = self.now();
        self.events().lose(now, "");
    }

    /// Tells whoever asks whether the log is ready, and the tending when it should hurry.
    fn noticed(&self, journal: &Journal) {
        self.is_ready.store(journal.is_ready(), Ordering::Release);
        if journal.has_put_away() {
            self.hurry.notify_one();
        }
    }

    /// Writes an event of a stranger, or counts it.
    fn write_stranger(&self, line: Result<String, Unrecorded>) {
        let now = self.now();
        let Ok(mut line) = line else {
            self.strangers().journal.lose(now, "");
            return;
        };
        let mut strangers = self.strangers();
        let Strangers { journal, admission, dropped, .. } = &mut *strangers;
        if self.is_closed.load(Ordering::Acquire) || !admission.admit(&line, now) {
            dropped.add(now);
            self.metrics.strangers_dropped.inc();
            return;
        }
        // What is not in a flood may take its time behind the lock.
        if let Some(unsealed) = Unsealed::new(&mut line) {
            let _ = journal.write(unsealed, &mut line, now);
        }
        if journal.has_put_away() {
            self.hurry.notify_one();
        }
    }
}

impl Strangers {
    /// Says whether there is something to say or to try again.
    fn is_waiting(&self, now: i64) -> bool {
        self.journal.is_waiting() || self.dropped.count > 0 && self.may_note(now)
    }

    fn may_note(&self, now: i64) -> bool {
        now >= self.noted_at.saturating_add(STRANGERS_NOTE_MICROS)
    }

    /// Says how many were above the rate, at most once in a while.
    fn say_dropped(&mut self, now: i64, is_last: bool) {
        let journal::Missing { count, since, until } = self.dropped;
        if count == 0 || !is_last && !self.may_note(now) {
            return;
        }
        let facts = [("count", &*count.to_string()), ("since", &note::time(since)), ("until", &note::time(until))];
        self.journal.say(note::render(NoteKind::StrangersLost, now, &facts), now);
        self.dropped = journal::Missing::default();
        self.noted_at = now;
    }
}

fn not_an_event() -> Unrecorded {
    Unrecorded { reason: "the event does not end as events do".to_owned() }
}

/// Writes what was queued.
struct WriterOfBatches {
    writer: Arc<Writer>,
    losses: Arc<Losses>,
}

impl Deliver for WriterOfBatches {
    async fn deliver(&self, events: &[Bytes], _end: &mut End) -> Result<(), Unrecorded> {
        for event in events {
            let line = String::from_utf8(event.to_vec()).map_err(|_| not_an_event());
            if let Err(error) = line.and_then(|line| self.writer.write(line)) {
                // Each by itself: the others of its batch are written.
                self.losses.add(1, &error.reason);
            }
        }
        Ok(())
    }
}
