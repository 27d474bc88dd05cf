//! What decides: it takes what is queued, checks it, makes it durable, shows it, answers. Who does it when: `desk`.
//!
//! No answer leaves before the batch is durable, refusals included: what a commit was refused for may be a commit of
//! the same batch. While one batch is synced the next one gathers, so the more writers there are, the more share a
//! sync.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::{
    BATCH_BYTES_MAX, BATCH_COMMITS_MAX, EXPIRED_AGAIN, EXPIRED_AT_ONCE, FailureHook, FreezeError, Frozen,
    clock::{Clock, Deadlines},
    journal::{Journal, JournalError},
    load::Unopened,
    part::{Decided, Part},
    reseal::Slice,
    verify::{Compared, Known, Step},
};
use crate::{Commit, CommitError, Committed, Index, Opened, ReadError, Sealing, memory::Memory};

/// Batches of one commit, one after the other, that tell that a caller is alone: many callers make one now and then.
const ALONE_MIN: usize = 4;

/// Bytes of entries whose words are read between two batches: about a millisecond's work.
const WORDS_BYTES_AT_ONCE: usize = 512 << 10;

/// Where the outcome goes.
pub(super) type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// A commit and the place it takes in the queue.
pub(super) struct Queued {
    pub(super) commit: Commit,
    /// What the value of each operation says about itself.
    pub(super) indexes: Vec<Index>,
    pub(super) answer: Answer,
    pub(super) _room: OwnedSemaphorePermit,
}

/// What the committer is told.
pub(super) enum Message {
    /// Make this happen.
    Commit(Queued),
    /// Look what time it is. Whoever is named wants to know when nothing more is to be done.
    Tick(Option<oneshot::Sender<()>>),
    /// Open what could not be opened when it came into memory; say what of it cannot be opened still.
    Reopen(Vec<Unopened>, oneshot::Sender<Vec<Unopened>>),
    /// Seal anew, among the next rows after this one.
    Reseal(i64, oneshot::Sender<Result<Slice, ReadError>>),
    /// Compare some rows with memory.
    Verify(Step, oneshot::Sender<Result<Compared, ReadError>>),
    /// Let the file be as it is for as long as somebody reads it.
    Freeze(oneshot::Sender<Result<Frozen, FreezeError>>),
    /// Take nothing more, finish what is queued, and end.
    Close,
}

/// What commits; whoever has it is the one that decides.
pub(super) struct Committer {
    pub(super) memory: Arc<Memory>,
    pub(super) sealing: Arc<dyn Sealing>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) deadlines: Deadlines,
    pub(super) journal: Box<dyn Journal>,
    pub(super) on_failure: FailureHook,
    /// How many batches one after the other were of one commit.
    pub(super) alone: usize,
    /// Nobody knows what the disk holds.
    pub(super) is_lost: bool,
}

/// What was taken from the queue at once.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) commits: Vec<Queued>,
    /// What is done after them.
    others: Vec<Message>,
}

/// Whether the thread goes on.
#[derive(PartialEq)]
pub(super) enum Next {
    Continue,
    /// There is something to do, though nobody may ask for anything.
    Proceed,
    End,
}

/// What became of a batch.
#[derive(PartialEq)]
pub(super) enum Written {
    /// Everything is durable or was refused, each for a reason of its own.
    All,
    /// There was no room for some of it.
    NoRoom,
    /// Nobody knows.
    Lost,
}

/// What time it is for all of a batch.
#[derive(Clone, Copy)]
struct Now {
    wall: Duration,
    elapsed: Duration,
}

impl Batch {
    /// Everything that is queued, up to the limits of a batch. Closing stops the queue, not the batch.
    pub(super) fn gather(first: Message, queue: &mut mpsc::Receiver<Message>) -> Batch {
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut message = Some(first);
        while let Some(taken) = message {
            match taken {
                Message::Close => queue.close(),
                // Nobody waits for the answer and nothing is begun: the caller's deadline has passed.
                Message::Commit(queued) if queued.answer.is_closed() => {}
                Message::Commit(queued) => {
                    bytes += queued.commit.bytes();
                    batch.commits.push(queued);
                }
                other => {
                    batch.others.push(other);
                    break;
                }
            }
            if batch.commits.len() >= BATCH_COMMITS_MAX || bytes >= BATCH_BYTES_MAX {
                break;
            }
            message = queue.try_recv().ok();
        }
        batch
    }

    /// Answers it where there is no committer any more.
    pub(super) fn refuse(self) -> Next {
        let others = self.others.into_iter();
        for message in self.commits.into_iter().map(Message::Commit).chain(others) {
            message.refuse();
        }
        Next::End
    }
}

impl Message {
    /// Who waits is told that nobody is there: a commit with words, anything else by its silence.
    pub(super) fn refuse(self) {
        if let Message::Commit(Queued { answer, .. }) = self {
            // A caller that went away does not need the answer.
            let _ = answer.send(Err(CommitError::Closed));
        }
    }
}

impl Committer {
    /// Decides a batch, makes it durable, publishes it and answers; then does what else there is to do.
    pub(super) fn settle(&mut self, batch: Batch, waiting: &mut Vec<oneshot::Sender<()>>) -> Next {
        let Batch { commits, others } = batch;
        let is_idle = commits.is_empty();
        match commits.len() {
            0 => {}
            1 => self.alone = self.alone.saturating_add(1),
            _ => self.alone = 0,
        }
        let is_full = match self.write(commits) {
            Written::All => false,
            Written::NoRoom => true,
            Written::Lost => return Next::End,
        };
        for message in others {
            match message {
                Message::Tick(asked) => waiting.extend(asked),
                Message::Reopen(keys, answer) => drop(answer.send(self.reopen(keys))),
                Message::Reseal(after, answer) => {
                    let resealed = self.journal.reseal(after);
                    if self.tell(resealed, answer) == Next::End {
                        return Next::End;
                    }
                }
                Message::Verify(step, answer) => {
                    let snapshot = self.memory.snapshot();
                    let known = Known { snapshot, clock: &*self.clock, deadlines: &self.deadlines };
                    let compared = self.journal.verify(step, &known);
                    if self.tell(compared, answer) == Next::End {
                        return Next::End;
                    }
                }
                Message::Freeze(answer) => match self.journal.freeze() {
                    Ok(frozen) => drop(answer.send(frozen)),
                    Err(full @ (JournalError::Full(_) | JournalError::Unreadable(_))) => {
                        drop(answer.send(Err(FreezeError::Failed { source: full.into() })));
                    }
                    Err(lost @ JournalError::Lost(_)) => return self.fail(&lost),
                },
                Message::Commit(_) | Message::Close => {}
            }
        }
        let lacks_words = self.memory.read_words(WORDS_BYTES_AT_ONCE);
        let is_due = self.deadlines.is_due(self.clock.elapsed());
        match self.tidy(is_idle) {
            Next::Continue if lacks_words => Next::Proceed,
            // A full disk is tried again with the next commit or tick.
            Next::Continue if is_due && !is_full => Next::Proceed,
            Next::Proceed if is_full => Next::Continue,
            next => next,
        }
    }

    /// Whether a write would neither wait for long nor have company.
    pub(super) fn is_free(&self) -> bool {
        self.alone >= ALONE_MIN && !self.is_lost && self.journal.is_quick()
    }

    /// Decides commits, makes them durable, publishes and answers. What is due goes with them. Where a page cannot be read the halves are
    /// decided and written one after the other, and the halves of these: only what meets that page is refused.
    pub(super) fn write(&mut self, commits: Vec<Queued>) -> Written {
        let memory = Arc::clone(&self.memory);
        let now = Now { wall: self.clock.wall(), elapsed: self.clock.elapsed() };
        let expired = self.deadlines.due(now.elapsed, EXPIRED_AT_ONCE);
        // What is still to be written, the last of it first.
        let mut parts = vec![Part { expired, commits }];
        let mut written = Written::All;
        while let Some(mut part) = parts.pop() {
            let decided = part.decide(&memory, &*self.sealing, now.wall);
            // Commits that change nothing need no sync: what they saw is durable.
            let done = match decided.is_change() {
                true => self.journal.write(&decided.rows, decided.draft.revision()),
                false => Ok(()),
            };
            match done {
                Ok(()) => self.publish(part, decided, &memory, now),
                Err(JournalError::Unreadable(error)) => match part.halve() {
                    Some(later) => parts.extend([later, part]),
                    None => self.refuse_unreadable(part, error, now),
                },
                Err(JournalError::Full(full)) => {
                    tracing::error!(error = %full, "no room to write, commits are refused");
                    let full = Arc::new(full);
                    part.refuse(|| CommitError::StorageFull { source: Box::new(Arc::clone(&full)) });
                    written = Written::NoRoom;
                }
                Err(lost @ JournalError::Lost(_)) => {
                    self.fail(&lost);
                    let lost = Arc::new(lost);
                    for part in std::iter::once(part).chain(parts) {
                        part.refuse(|| CommitError::OutcomeUnknown { source: Box::new(Arc::clone(&lost)) });
                    }
                    return Written::Lost;
                }
            }
        }
        written
    }

    /// Shows what is durable, and answers.
    fn publish(&mut self, part: Part, decided: Decided<'_>, memory: &Memory, now: Now) {
        let is_change = decided.is_change();
        let Decided { draft, rows, outcomes, .. } = decided;
        let news = is_change.then(|| memory.publish(draft));
        for (Queued { answer, .. }, outcome) in part.commits.into_iter().zip(outcomes) {
            // A caller that went away does not need the answer.
            let _ = answer.send(outcome);
        }
        if let Some(news) = news {
            memory.wake(news);
        }
        for key in &part.expired {
            self.deadlines.set(key, None);
        }
        for (key, row) in &rows {
            let expires = row.as_ref().and_then(|row| row.expires);
            let left = expires.map(|expires| Duration::from_secs(expires).saturating_sub(now.wall));
            self.deadlines.set(key, left.map(|left| now.elapsed + left));
        }
    }

    /// Refuses the one thing that met a page that cannot be read. An entry that is due stays, and must not be in every commit's way.
    fn refuse_unreadable(&mut self, part: Part, error: rusqlite::Error, now: Now) {
        let keys = part.named();
        tracing::error!(?keys, %error, "a page of the store cannot be read, what is to be written there is refused");
        for key in &part.expired {
            self.deadlines.set(key, Some(now.elapsed + EXPIRED_AGAIN));
        }
        let error = Arc::new(JournalError::Unreadable(error));
        part.refuse(|| CommitError::Rejected { source: Box::new(Arc::clone(&error)) });
    }

    /// Opens what could not be opened before, if it is still there. Nobody is told: nobody could have read it.
    fn reopen(&self, sealed: Vec<Unopened>) -> Vec<Unopened> {
        let mut draft = self.memory.draft();
        let (mut unopened, mut opened) = (Vec::new(), 0usize);
        for one in sealed {
            let Unopened { key, version, epoch } = &one;
            let Some(entry) = draft.get(key).filter(|held| held.version == *version && held.index().is_unreadable())
            else {
                continue;
            };
            let Ok(Opened { mut plain, .. }) = self.sealing.open(key, &entry.value) else {
                unopened.push(one);
                continue;
            };
            let catalog = self.memory.catalog();
            if *epoch != catalog.epoch(key) {
                plain = catalog.renew(key, &plain, *epoch).unwrap_or(plain);
            }
            let entry = self.memory.entry(key, *version, entry.create_revision, plain);
            draft.reopen(key, &entry);
            opened += 1;
        }
        if opened > 0 {
            self.memory.wake(self.memory.publish(draft));
        }
        unopened
    }

    /// Answers who asked for something to be done to the file.
    fn tell<T>(&mut self, done: Result<T, JournalError>, answer: oneshot::Sender<Result<T, ReadError>>) -> Next {
        let done = match done {
            Err(lost @ JournalError::Lost(_)) => return self.fail(&lost),
            done => done.map_err(|full| ReadError::Unreachable { source: full.into() }),
        };
        // Who asked may have gone.
        drop(answer.send(done));
        Next::Continue
    }

    /// Says that durability is lost. Nothing is written after that.
    fn fail(&mut self, lost: &JournalError) -> Next {
        self.is_lost = true;
        (self.on_failure)(&lost.to_string());
        Next::End
    }

    fn tidy(&mut self, is_idle: bool) -> Next {
        match self.journal.tidy(is_idle) {
            Ok(true) if is_idle => Next::Proceed,
            Ok(_) => Next::Continue,
            Err(full @ JournalError::Full(_)) => {
                tracing::error!(error = %full, "no room to move the WAL into the database");
                Next::Continue
            }
            Err(JournalError::Unreadable(error)) => {
                tracing::error!(%error, "a page of the store cannot be read, the file is not kept small any more");
                Next::Continue
            }
            Err(lost @ JournalError::Lost(_)) => self.fail(&lost),
        }
    }
}

#[cfg(test)]
mod tests;
