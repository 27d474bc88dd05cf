//! What is written at once: entries that have lived long enough, and behind them commits. It is decided here, against the newest state:
//! what comes of it is a draft and its rows, and nothing has happened before the journal has these.
//!
//! A part can be halved, and its halves decided anew: so a page that cannot be read is an error of what meets it, and of nothing beside it.

use std::{io, sync::atomic::Ordering, time::Duration};

use super::{committer::Queued, journal::Rows, row::Row};
use crate::{
    Catalog, Change, Commit, CommitError, Committed, Entry, Index, Key, Sealing,
    memory::{Draft, Memory},
};

/// Keys of a part that the log names.
const NAMED_MAX: usize = 8;

/// What is written at once.
pub(super) struct Part {
    /// Removed as one commit, before the others.
    pub(super) expired: Vec<Key>,
    pub(super) commits: Vec<Queued>,
}

/// What would come of a part.
pub(super) struct Decided<'a> {
    before: u64,
    pub(super) draft: Draft<'a>,
    /// What must become durable.
    pub(super) rows: Rows,
    /// Of each commit.
    pub(super) outcomes: Vec<Result<Committed, CommitError>>,
}

impl Decided<'_> {
    /// Whether anything is to be written.
    pub(super) fn is_change(&self) -> bool {
        self.draft.revision() > self.before
    }
}

impl Part {
    /// Checks it against the newest state, one thing after the other.
    pub(super) fn decide<'a>(&self, memory: &'a Memory, sealing: &dyn Sealing, wall: Duration) -> Decided<'a> {
        let draft = memory.draft();
        let outcomes = Vec::with_capacity(self.commits.len());
        let mut decided = Decided { before: draft.revision(), draft, rows: Rows::new(), outcomes };
        let Decided { draft, rows, outcomes, .. } = &mut decided;
        remove(draft, rows, &self.expired);
        for Queued { commit, indexes, .. } in &self.commits {
            outcomes.push(apply(draft, rows, commit, indexes, memory, sealing, wall));
        }
        decided
    }

    /// Keeps the first half and gives the second; nothing when it is one thing alone.
    pub(super) fn halve(&mut self) -> Option<Part> {
        let half = (self.expired.len() + self.commits.len()) / 2;
        if half == 0 {
            return None;
        }
        let expired = self.expired.split_off(half.min(self.expired.len()));
        let commits = self.commits.split_off(half - self.expired.len());
        Some(Part { expired, commits })
    }

    /// The first keys of what it is about.
    pub(super) fn named(&self) -> Vec<&Key> {
        let operations = self.commits.iter().flat_map(|queued| &queued.commit.operations);
        self.expired.iter().chain(operations.map(|operation| &operation.key)).take(NAMED_MAX).collect()
    }

    /// Answers all of its commits.
    pub(super) fn refuse(self, error: impl Fn() -> CommitError) {
        for Queued { answer, .. } in self.commits {
            // A caller that went away does not need the answer.
            let _ = answer.send(Err(error()));
        }
    }
}

/// Removes what has expired, as one commit.
fn remove(draft: &mut Draft<'_>, rows: &mut Rows, expired: &[Key]) {
    let gone: Vec<&Key> = expired.iter().filter(|key| draft.get(key).is_some()).collect();
    let Some(revision) = draft.revision().checked_add(1).filter(|_| !gone.is_empty()) else { return };
    rows.extend(gone.iter().map(|key| (Key::clone(key), None)));
    draft.advance(revision, gone.into_iter().map(|key| (key.clone(), None)).collect());
}

/// When what is written now expires, in seconds since 1970.
fn expiry(catalog: &dyn Catalog, key: &str, wall: Duration) -> Option<u64> {
    catalog.lifetime(key).map(|lifetime| (wall + lifetime).as_secs())
}

/// Checks a commit against the newest state and applies it there. Rows gather what must become durable.
fn apply(
    draft: &mut Draft<'_>,
    rows: &mut Rows,
    commit: &Commit,
    indexes: &[Index],
    memory: &Memory,
    sealing: &dyn Sealing,
    wall: Duration,
) -> Result<Committed, CommitError> {
    let (catalog, budget) = (&**memory.catalog(), memory.budget());
    let mut grown = 0usize;
    for operation in &commit.operations {
        let current = draft.get(&operation.key);
        if !operation.condition.holds(current) {
            return Err(CommitError::Conflict { key: operation.key.clone(), current: current.cloned() });
        }
        if let Change::Put(value) = &operation.change {
            grown += value.len().saturating_sub(current.map_or(0, |entry| entry.value.len()));
        }
    }
    // Step three of the budget: the state itself is too large for what may be held. What does not grow it may pass.
    if grown > 0 && draft.bytes() + grown > budget.limit() {
        budget.counters.writes_refused.fetch_add(1, Ordering::Relaxed);
        return Err(CommitError::MemoryFull { limit: budget.limit() });
    }
    let Some(revision) = draft.revision().checked_add(1) else {
        return Err(CommitError::Rejected { source: io::Error::other("no revisions are left").into() });
    };
    let mut changes = Vec::with_capacity(commit.operations.len());
    for (operation, index) in commit.operations.iter().zip(indexes) {
        let current = draft.get(&operation.key);
        match &operation.change {
            Change::Put(value) => {
                let create_revision = current.map_or(revision, |entry| entry.create_revision);
                let kept = sealing.seal(&operation.key, value).map_err(|source| CommitError::Rejected { source })?;
                let entry = Entry::new(revision, create_revision, value.clone(), index.clone(), budget);
                let expires = expiry(catalog, &operation.key, wall);
                changes.push((operation.key.clone(), Some(Row { entry, kept, expires })));
            }
            Change::Delete if current.is_some() => changes.push((operation.key.clone(), None)),
            Change::Delete | Change::Check => {}
        }
    }
    if changes.is_empty() {
        return Ok(Committed { revision: draft.revision() });
    }
    let entry = |(key, row): &(Key, Option<Row>)| (key.clone(), row.as_ref().map(|row| row.entry.clone()));
    draft.advance(revision, changes.iter().map(entry).collect());
    rows.extend(changes);
    Ok(Committed { revision })
}
