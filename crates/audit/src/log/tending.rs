//! What happens once a second, after a file is full, and at the end: files are made durable, the heads are kept in the store, what
//! failed is tried again, and files go that are too old or too many.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::head::{HeadStore, Heads};
use super::journal::Journal;
use super::medium::Disk;
use super::place::Place;
use super::retention::{Removal, Retention};
use super::strangers::STRANGERS_BACKUPS;
use super::{FINISH_WITHIN, Log, Writer};

/// How often the heads are kept while there are new lines.
const INTERVAL: Duration = Duration::from_secs(1);
/// Microseconds after which files are looked through for old ones, when none was put away meanwhile.
const RETENTION_MICROS: i64 = 3_600_000_000;
/// What is kept of strangers.
const STRANGERS_RETENTION: Retention =
    Retention { backups_max: STRANGERS_BACKUPS, age_seconds_max: 0, is_compressing: false };

/// What the tending remembers.
#[derive(Default)]
pub(super) struct Tended {
    kept: Option<Heads>,
    /// Whether the last attempt failed, which is said once.
    is_failing: bool,
    retained_at: i64,
}

impl Tended {
    #[cfg(test)]
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }
}

/// What was found to do before the heads are kept, and what is left to do afterwards.
pub(super) struct Round {
    pub(super) heads: Heads,
    removals: Vec<PathBuf>,
    places: Vec<(Place, Retention)>,
}

impl Log {
    /// Tends the log for ever: a task of its own, which may be dropped at any moment.
    pub async fn tend(&self, store: &dyn HeadStore) {
        loop {
            // Late or early, both are well; what matters is that there is an end to waiting.
            let _ = tokio::time::timeout(INTERVAL, self.writer.hurry.notified()).await;
            self.anchor(store).await;
        }
    }

    /// Makes what is written durable and keeps the heads, when there is anything new.
    pub async fn anchor(&self, store: &dyn HeadStore) {
        let writer = &self.writer;
        let mut tended = writer.tended.lock().await;
        let now = writer.now();
        let looks_through = now - tended.retained_at >= RETENTION_MICROS || writer.has_put_away();
        if tended.kept == Some(writer.heads()) && !looks_through && !writer.is_waiting(now) {
            return;
        }
        let round = {
            let writer = Arc::clone(writer);
            blocking(move || writer.prepare(now, looks_through)).await
        };
        let kept = match round {
            // Tried again what failed, and nothing came of it.
            Ok(round) if tended.kept == Some(round.heads) => Ok(round),
            Ok(round) => match store.keep(round.heads).await {
                Ok(()) => Ok(round),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        match kept {
            Ok(round) => {
                tended.kept = Some(round.heads);
                tended.is_failing = false;
                if round.looks_through() {
                    tended.retained_at = now;
                    if let Err(error) = blocking(move || round.finish()).await {
                        tracing::error!(%error, "files of the audit log cannot be removed or compressed");
                    }
                }
            }
            Err(error) => {
                if !tended.is_failing {
                    tracing::error!(error, "the head of the audit log cannot be kept");
                }
                tended.is_failing = true;
            }
        }
    }

    /// Ends the log: what waits is written, and the heads are kept as the last ones. Events that come later are refused.
    pub async fn close(&self, store: &dyn HeadStore) {
        let batches = self.batches.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(batches) = batches {
            batches.finish(FINISH_WITHIN).await;
        }
        self.writer.close();
        self.anchor(store).await;
    }
}

impl Writer {
    fn has_put_away(&self) -> bool {
        self.events().has_put_away() || self.strangers().journal.has_put_away()
    }

    fn is_waiting(&self, now: i64) -> bool {
        self.strangers().is_waiting(now) || self.events().is_waiting()
    }

    /// Everything that must be before the heads may be kept. The locks are held for no sync.
    pub(super) fn prepare(&self, now: i64, looks_through: bool) -> io::Result<Round> {
        let mut round = Round { heads: self.heads(), removals: Vec::new(), places: Vec::new() };
        let (events, disk) = {
            let mut journal = self.events();
            tend(&mut journal, now, self.is_closed.load(Ordering::Acquire))?;
            self.is_ready.store(journal.is_ready(), Ordering::Release);
            round.retain(&mut journal, self.retention, now, looks_through)?;
            round.heads.log = journal.chain();
            (journal.take_unsynced(), journal.disk())
        };
        let strangers = match self.prepare_strangers(&mut round, now, looks_through) {
            Ok(strangers) => strangers,
            Err(error) => {
                self.events().put_back(events);
                return Err(error);
            }
        };
        // Names first: what is put away again after a failure is looked through again.
        let named = round.places.iter().try_for_each(|(place, _)| place.sync_directory());
        let of_events = named.and_then(|()| sync(&*disk, &events));
        let of_strangers = sync(&*disk, &strangers);
        let mut journal = self.events();
        journal.synced(events, of_events.is_ok(), now);
        self.is_ready.store(journal.is_ready(), Ordering::Release);
        drop(journal);
        self.strangers().journal.synced(strangers, of_strangers.is_ok(), now);
        of_events.and(of_strangers)?;
        Ok(round)
    }

    fn prepare_strangers(&self, round: &mut Round, now: i64, looks_through: bool) -> io::Result<Vec<Arc<File>>> {
        let mut strangers = self.strangers();
        strangers.say_dropped(now, false);
        tend(&mut strangers.journal, now, self.is_closed.load(Ordering::Acquire))?;
        round.retain(&mut strangers.journal, STRANGERS_RETENTION, now, looks_through)?;
        round.heads.strangers = strangers.journal.chain();
        Ok(strangers.journal.take_unsynced())
    }

    /// From here on nothing is written.
    fn close(&self) {
        let now = self.now();
        let mut journal = self.events();
        let mut strangers = self.strangers();
        strangers.say_dropped(now, true);
        // Due or not: it is the last time that what was lost can be said.
        journal.recover(now);
        strangers.journal.recover(now);
        self.is_closed.store(true, Ordering::Release);
        journal.finish();
        strangers.journal.finish();
    }
}

/// Looks after one chain's file.
fn tend(journal: &mut Journal, now: i64, is_closed: bool) -> io::Result<()> {
    if !is_closed {
        journal.inspect(now)?;
        journal.recover_when_due(now);
    }
    Ok(())
}

fn sync(disk: &dyn Disk, files: &[Arc<File>]) -> io::Result<()> {
    files.iter().try_for_each(|file| disk.sync(file))
}

impl Round {
    /// Says whether names have changed, or files are to be looked through.
    pub(super) fn looks_through(&self) -> bool {
        !self.places.is_empty()
    }

    /// Chooses what goes of one chain, and what it begins with from then on.
    fn retain(&mut self, journal: &mut Journal, retention: Retention, now: i64, looks_through: bool) -> io::Result<()> {
        // A file may have been put away since it was asked.
        let looks_through = looks_through || journal.has_put_away();
        let Some(place) = journal.place().cloned().filter(|_| looks_through) else { return Ok(()) };
        if let Some(Removal { files, first }) = retention.choose(&place, now.div_euclid(1_000_000))? {
            journal.set_first(first);
            self.removals.extend(files);
        }
        self.places.push((place, retention));
        Ok(())
    }

    /// What may only be done once the heads are kept.
    fn finish(self) -> io::Result<()> {
        for file in &self.removals {
            super::retention::remove(file)?;
        }
        for (place, retention) in &self.places {
            retention.compress(place)?;
            place.sync_directory()?;
        }
        Ok(())
    }
}

/// Runs what waits for the disk where nobody waits for it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
