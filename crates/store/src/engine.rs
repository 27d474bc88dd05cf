//! What every storage engine offers: conditional commits over several keys, immutable snapshots, ordered events.
//!
//! Keys are upstream's etcd keys (`/registry/configmaps/default/settings`) and their order is that of their bytes, so
//! `/registry/pods/a-b/x` stands before `/registry/pods/a/x`. A revision counts the commits that changed something,
//! as in etcd; the version of an entry is the revision of its last change (etcd's `mod_revision`).
//! Answers to upstream's `storage.Interface`.

use std::{
    collections::HashSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::{Budget, Entry, Resealed, Snapshot, Term, Verified, entry::Forms};

/// Every key begins with this.
pub const KEY_PREFIX: &str = "/registry/";
/// Longest key: prefix, group (253), resource (63), namespace (63), name (253) and room to spare.
pub const KEY_BYTES_MAX: usize = 1024;
/// Most operations in one commit; etcd's default (`--max-txn-ops`).
pub const OPERATIONS_MAX: usize = 128;

/// The name of an entry. Cheap to clone.
pub type Key = Arc<str>;

/// A future that an engine behind `dyn` can give.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whatever made an engine fail, for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// What must be true of a key for its commit to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is stored under the key.
    Absent,
    /// The entry has exactly this version.
    Version(u64),
    /// Something is stored under the key.
    Present,
    /// Always true.
    Any,
}

impl Condition {
    /// Whether the condition is true of what is stored now.
    pub fn holds(self, current: Option<&Entry>) -> bool {
        match self {
            Condition::Absent => current.is_none(),
            Condition::Version(version) => current.is_some_and(|entry| entry.version == version),
            Condition::Present => current.is_some(),
            Condition::Any => true,
        }
    }
}

/// What a commit does to a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Stores this value; the entry gets the commit's revision as version even when the value is the same.
    Put(Bytes),
    /// Removes the entry; of an absent key nothing, without an event.
    Delete,
    /// Nothing: the key is there only for its condition.
    Check,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Put(value) => write!(f, "Put({} bytes)", value.len()),
            Change::Delete => f.write_str("Delete"),
            Change::Check => f.write_str("Check"),
        }
    }
}

/// One key's part in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The key; at most once in a commit.
    pub key: Key,
    /// What must be true of it.
    pub condition: Condition,
    /// What happens to it.
    pub change: Change,
}

impl Operation {
    /// Stores a value under a key that must be absent.
    pub fn create(key: impl Into<Key>, value: Bytes) -> Self {
        Operation { key: key.into(), condition: Condition::Absent, change: Change::Put(value) }
    }

    /// Replaces the value of an entry that must have this version.
    pub fn update(key: impl Into<Key>, version: u64, value: Bytes) -> Self {
        Operation { key: key.into(), condition: Condition::Version(version), change: Change::Put(value) }
    }

    /// Removes an entry that must have this version.
    pub fn delete(key: impl Into<Key>, version: u64) -> Self {
        Operation { key: key.into(), condition: Condition::Version(version), change: Change::Delete }
    }

    /// Only asks that a condition holds.
    pub fn check(key: impl Into<Key>, condition: Condition) -> Self {
        Operation { key: key.into(), condition, change: Change::Check }
    }
}

/// Operations that happen together or not at all. All keys it changes get one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// In the order in which a failing condition is looked for; no key twice.
    pub operations: Vec<Operation>,
}

impl From<Operation> for Commit {
    fn from(operation: Operation) -> Self {
        Commit { operations: vec![operation] }
    }
}

impl From<Vec<Operation>> for Commit {
    fn from(operations: Vec<Operation>) -> Self {
        Commit { operations }
    }
}

impl Commit {
    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        let of = |operation: &Operation| match &operation.change {
            Change::Put(value) => operation.key.len() + value.len(),
            Change::Delete | Change::Check => operation.key.len(),
        };
        self.operations.iter().map(of).sum()
    }

    /// Refuses what no engine with these limits may be asked, before anything is looked up.
    pub fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        if self.operations.is_empty() {
            return Err(Refusal::NoOperations);
        }
        if self.operations.len() > limits.operations_max {
            return Err(Refusal::TooManyOperations { count: self.operations.len(), max: limits.operations_max });
        }
        // Most commits have one operation, and nothing to compare it with.
        let mut seen = (self.operations.len() > 1).then(HashSet::new);
        for Operation { key, condition, change } in &self.operations {
            check_key(key)?;
            if seen.as_mut().is_some_and(|seen| !seen.insert(key)) {
                return Err(Refusal::KeyTwice { key: key.clone() });
            }
            if *condition == Condition::Version(0) {
                return Err(Refusal::VersionZero { key: key.clone() });
            }
            if let Change::Put(value) = change
                && value.len() > limits.value_bytes_max
            {
                let (bytes, max) = (value.len(), limits.value_bytes_max);
                return Err(Refusal::ValueTooLarge { key: key.clone(), bytes, max });
            }
        }
        let bytes = self.bytes();
        if bytes > limits.commit_bytes_max {
            return Err(Refusal::CommitTooLarge { bytes, max: limits.commit_bytes_max });
        }
        Ok(())
    }
}

/// A key is under [`KEY_PREFIX`], not too long, and has no NUL (etcd continues a range at `key + NUL`).
pub(crate) fn check_key(key: &Key) -> Result<(), Refusal> {
    if !key.starts_with(KEY_PREFIX) || key.len() == KEY_PREFIX.len() {
        return Err(Refusal::KeyOutsideRegistry { key: key.clone() });
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(Refusal::KeyTooLong { bytes: key.len(), max: KEY_BYTES_MAX });
    }
    if key.contains('\0') {
        return Err(Refusal::KeyHasNul { key: key.clone() });
    }
    Ok(())
}

/// How much one commit may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations in a commit.
    pub operations_max: usize,
    /// Bytes of one value.
    pub value_bytes_max: usize,
    /// Bytes of all keys and values.
    pub commit_bytes_max: usize,
}

/// A commit that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The version of every key it put. Of a commit that changed nothing (only checks, or deletes of what is not
    /// there): the revision at which its conditions held.
    pub revision: u64,
}

/// Why a commit can never be taken as it is. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The list is empty.
    #[error("the commit has no operations")]
    NoOperations,
    /// More operations than [`Limits::operations_max`].
    #[error("the commit has {count} operations, at most {max} are allowed")]
    TooManyOperations {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Two operations name one key.
    #[error("key {key:?} is twice in one commit")]
    KeyTwice {
        /// The key.
        key: Key,
    },
    /// The key does not begin with [`KEY_PREFIX`] or is nothing but it.
    #[error("key {key:?} is not under {KEY_PREFIX:?}")]
    KeyOutsideRegistry {
        /// The key.
        key: Key,
    },
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("a key of {bytes} bytes, at most {max} are allowed")]
    KeyTooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// The key contains a NUL byte.
    #[error("key {key:?} contains a NUL")]
    KeyHasNul {
        /// The key.
        key: Key,
    },
    /// No entry has version 0, and etcd would take it for absent.
    #[error("version 0 was expected of key {key:?}: use Condition::Absent")]
    VersionZero {
        /// The key.
        key: Key,
    },
    /// The value is larger than [`Limits::value_bytes_max`].
    #[error("the value of {key:?} has {bytes} bytes, at most {max} are allowed")]
    ValueTooLarge {
        /// The key.
        key: Key,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// All keys and values together are larger than [`Limits::commit_bytes_max`].
    #[error("the commit has {bytes} bytes, at most {max} are allowed")]
    CommitTooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
}

/// Why a commit did not happen, or may not have happened.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A condition does not hold: the first one in the commit's order. Nothing was changed.
    #[error("key {key:?} is not as expected")]
    Conflict {
        /// The key whose condition failed.
        key: Key,
        /// What is stored there.
        current: Option<Entry>,
    },
    /// The commit itself is not acceptable. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much is waiting to be written; later it may pass. Nothing was changed.
    #[error("the commit queue is full")]
    QueueFull,
    /// The disk, or etcd's quota, has no room. Nothing was changed; deleting may help.
    #[error("the store has no room left")]
    StorageFull {
        /// What said so.
        source: Source,
    },
    /// The state would be larger than memory may be. Nothing was changed; deleting helps.
    #[error("the stored objects take all {limit} bytes of memory that they may take")]
    MemoryFull {
        /// Bytes that may be held.
        limit: usize,
    },
    /// The engine is closed. Nothing was changed.
    #[error("the store is closed")]
    Closed,
    /// The engine could not be reached, so it has not seen the commit. Nothing was changed.
    #[error("the store cannot be reached")]
    Unreachable {
        /// What went wrong.
        source: Source,
    },
    /// The answer was lost: the commit may have happened or not, and only reading can tell.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown {
        /// What went wrong.
        source: Source,
    },
    /// The engine refused for a reason of its own. Nothing was changed.
    #[error("the store rejected the commit")]
    Rejected {
        /// What it said.
        source: Source,
    },
}

/// Why the newest state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The engine is closed.
    #[error("the store is closed")]
    Closed,
    /// The engine could not be asked.
    #[error("the store cannot be reached")]
    Unreachable {
        /// What went wrong.
        source: Source,
    },
    /// The engine answered, but memory did not catch up within its deadline.
    #[error("the store's memory is at revision {reached}, behind {wanted}")]
    Behind {
        /// The revision that was asked for.
        wanted: u64,
        /// Where memory is.
        reached: u64,
    },
}

/// Why a subscription could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// Events right after that revision are no longer kept (upstream: 410, `Expired`).
    #[error("events after revision {after} are gone, the oldest kept are those after {oldest}")]
    Expired {
        /// Where it should have begun.
        after: u64,
        /// Where it can begin at the earliest.
        oldest: u64,
    },
    /// That revision is not there yet (upstream: `Too large resource version`).
    #[error("revision {after} is ahead of the store, which is at {revision}")]
    Ahead {
        /// Where it should have begun.
        after: u64,
        /// The newest revision.
        revision: u64,
    },
    /// Whether the revision exists could not be found out.
    #[error(transparent)]
    Unread(#[from] ReadError),
}

/// Why a subscription ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// The subscriber was too slow: what follows is no longer kept. Nothing was skipped silently.
    #[error("the subscriber is at revision {after}, the oldest events kept are those after {oldest}")]
    Lagged {
        /// The last revision it has seen.
        after: u64,
        /// Where events begin now.
        oldest: u64,
    },
    /// The engine is closed, and everything before that was delivered.
    #[error("the store is closed")]
    Closed,
}

/// One change of one key, and what was made of it for those who watch.
pub struct Event {
    /// The key.
    pub key: Key,
    /// What is stored now; nothing after a delete.
    pub current: Option<Entry>,
    /// What was stored before; nothing before a create.
    pub previous: Option<Entry>,
    /// Revision of the commit; of a delete there is no other trace of it.
    pub revision: u64,
    /// The words that the entry is, or was, found by.
    pub(crate) terms: Box<[Term]>,
    forms: Forms,
    budget: Arc<Budget>,
}

impl Event {
    pub(crate) fn new(
        key: Key,
        current: Option<Entry>,
        previous: Option<Entry>,
        revision: u64,
        terms: Vec<Term>,
        budget: &Arc<Budget>,
    ) -> Event {
        let (terms, forms, budget) = (terms.into(), Forms::default(), Arc::clone(budget));
        Event { key, current, previous, revision, terms, forms, budget }
    }

    /// Returns what `make` makes of this event, from the last time if it is still kept. All who watch share it.
    pub fn form<E>(&self, form: u16, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        self.forms.get_or_make(form, &self.budget, make)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.forms.release(&self.budget);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("key", &self.key)
            .field("current", &self.current)
            .field("previous", &self.previous)
            .field("revision", &self.revision)
            .finish()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        (&self.key, &self.current, &self.previous, self.revision)
            == (&other.key, &other.current, &other.previous, other.revision)
    }
}

impl Eq for Event {}

/// All events of one commit that a subscriber asked for: never part of a commit, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBatch {
    /// Revision of the commit.
    pub revision: u64,
    /// Its changes, in the order of its operations (of a commit from another etcd client: in etcd's order).
    pub events: Vec<Arc<Event>>,
}

/// Which events a subscriber wants.
#[derive(Clone, Copy, Debug)]
pub struct Interest<'a> {
    /// Those of keys that begin with this. All of them are of one ring ([`crate::Catalog::ring`]).
    pub prefix: &'a str,
    /// Only those of entries that are or were found by this word. The subscriber is not woken for others.
    pub term: Option<Term>,
}

impl<'a> From<&'a str> for Interest<'a> {
    fn from(prefix: &'a str) -> Self {
        Interest { prefix, term: None }
    }
}

impl<'a> From<&'a String> for Interest<'a> {
    fn from(prefix: &'a String) -> Self {
        Interest { prefix, term: None }
    }
}

/// A place in the stream of events. It holds no queue: what it has not read yet is in the engine's bounded history.
pub trait Subscription: Send {
    /// Waits for the next commit that changed something of interest. After an error it gives the same error again.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<EventBatch>, SubscriptionError>>;

    /// The next commit of interest that is there already.
    fn try_next(&mut self) -> Result<Option<Arc<EventBatch>>, SubscriptionError>;

    /// Everything of interest up to and including this revision has been given.
    fn position(&self) -> u64;
}

impl dyn Subscription {
    /// Waits for the next commit of interest. May be dropped and asked again without losing anything.
    pub async fn next(&mut self) -> Result<Arc<EventBatch>, SubscriptionError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

/// What an engine's memory holds, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Entries of the newest state, and their bytes.
    pub entries: usize,
    /// Bytes of the newest state.
    pub live_bytes: usize,
    /// Bytes of all bodies that anybody holds.
    pub body_bytes: usize,
    /// Bytes of forms that are kept.
    pub form_bytes: usize,
    /// Bytes that may be held.
    pub limit_bytes: usize,
    /// Forms that were made.
    pub forms_made: u64,
    /// Forms that were made for one reader, because there was no room to keep them.
    pub forms_not_kept: u64,
    /// Forms that were dropped to make room.
    pub forms_dropped: u64,
    /// How often history was shortened to make room.
    pub histories_shortened: u64,
    /// Writes that were refused because the state itself is too large.
    pub writes_refused: u64,
    /// Each ring of events that holds any.
    pub rings: Vec<RingStats>,
}

/// How much is stored where a prefix leads, and how many follow it. Of a whole ring ([`crate::Catalog::ring`]), kept as it changes:
/// asking costs no walk and no lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Entries of the newest state.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Subscribers whom a change concerns, about: those who want words of what changes count as one.
    pub followers: usize,
}

/// What is taken outside of memory, as far as that is known without asking anybody and without waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of the file that everything is in; of etcd's as a member last said.
    pub file_bytes: Option<u64>,
    /// Bytes of it that hold nothing at present.
    pub free_bytes: Option<u64>,
    /// Bytes of the log of what is not in the file yet.
    pub log_bytes: Option<u64>,
    /// How often this server had history removed.
    pub compactions: u64,
}

/// What one ring of events holds.
#[derive(Clone, Debug)]
pub struct RingStats {
    /// Its name in the catalog.
    pub name: String,
    /// Commits in it.
    pub commits: usize,
    /// Bytes that only it holds, about.
    pub bytes: usize,
    /// Subscriptions that wait for its next event.
    pub waiting: usize,
}

/// The newest snapshot, or the wait for it. The embedded engine is always ready, and then nothing is allocated.
pub struct Newest<'a>(NewestState<'a>);

enum NewestState<'a> {
    Ready(Option<Snapshot>),
    Waiting(BoxFuture<'a, Result<Snapshot, ReadError>>),
}

impl<'a> Newest<'a> {
    /// A snapshot that is here already.
    pub fn ready(snapshot: Snapshot) -> Self {
        Newest(NewestState::Ready(Some(snapshot)))
    }

    /// A snapshot that has to be waited for.
    pub fn waiting(future: BoxFuture<'a, Result<Snapshot, ReadError>>) -> Self {
        Newest(NewestState::Waiting(future))
    }
}

impl Future for Newest<'_> {
    type Output = Result<Snapshot, ReadError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polling again after the answer breaks the rules of futures; `Closed` is as good as any answer.
            NewestState::Ready(snapshot) => Poll::Ready(snapshot.take().ok_or(ReadError::Closed)),
            NewestState::Waiting(future) => future.as_mut().poll(context),
        }
    }
}

/// A store. Shared as `Arc<dyn Engine>`.
pub trait Engine: Send + Sync + 'static {
    /// What one commit may carry here.
    fn limits(&self) -> Limits;

    /// Makes the operations happen together if all conditions hold, durably before it answers; a snapshot taken
    /// with [`Engine::newest`] after the answer shows them. Dropping the future leaves open whether it happens.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// What memory holds now, without waiting and without a lock. The embedded engine's is the newest state; a
    /// remote engine's may be behind, but never goes back.
    fn snapshot(&self) -> Snapshot;

    /// A snapshot with every commit that anyone was told of before this call. Gets and lists without a version read
    /// from this. Ready at once from the embedded engine.
    fn newest(&self) -> Newest<'_>;

    /// Events of interest after the given revision, in the order of commits. Take a snapshot, list from it, and
    /// subscribe after its revision: nothing is missed and nothing comes twice.
    fn subscribe<'a>(
        &'a self,
        interest: Interest<'a>,
        after: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, SubscribeError>>;

    /// What memory holds.
    fn stats(&self) -> Stats;

    /// How much is in the ring of this prefix.
    fn volume(&self, prefix: &str) -> Volume;

    /// What is taken outside of memory.
    fn footprint(&self) -> Footprint;

    /// Opens what could not be opened when it came into memory, for whoever got hold of its key. No revision is made of it, and no
    /// event. Tells how many entries are still not opened.
    fn reopen(&self) -> BoxFuture<'_, Result<usize, ReadError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Writes anew what is kept in another way than it would be today, a little at a time; for whoever has new keys.
    fn reseal(&self) -> BoxFuture<'_, Result<Resealed, ReadError>> {
        Box::pin(std::future::ready(Ok(Resealed::default())))
    }

    /// Compares all of memory with what is stored, a little at a time, so that nobody waits for it; one comparison at a time. The embedded
    /// engine heals what it can on the way, and the one over etcd begins anew from what is stored when it differs. Needs a tokio
    /// runtime. An error says that nothing can be told.
    fn verify(&self) -> BoxFuture<'_, Result<Verified, ReadError>>;

    /// Takes no more commits, finishes those it has, and lets go of files and connections. May be called twice.
    fn close(&self) -> BoxFuture<'_, ()>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: Limits = Limits { operations_max: 3, value_bytes_max: 10, commit_bytes_max: 40 };

    fn entry(version: u64, create_revision: u64, value: Bytes) -> Entry {
        Entry::new(version, create_revision, value, crate::Index::default(), &Arc::new(Budget::new(0)))
    }

    fn put(key: &str, bytes: usize) -> Operation {
        Operation { key: key.into(), condition: Condition::Any, change: Change::Put(vec![0; bytes].into()) }
    }

    #[test]
    fn conditions() {
        let entry = entry(7, 3, Bytes::new());
        let check = |condition: Condition, absent: bool, present: bool| {
            assert_eq!(condition.holds(None), absent, "{condition:?} of an absent key");
            assert_eq!(condition.holds(Some(&entry)), present, "{condition:?} of version 7");
        };
        check(Condition::Absent, true, false);
        check(Condition::Present, false, true);
        check(Condition::Any, true, true);
        check(Condition::Version(7), false, true);
        check(Condition::Version(3), false, false);
    }

    #[test]
    fn refusals() {
        let check = |operations: Vec<Operation>, expected: Result<(), &str>| {
            let result = Commit { operations }.check(&LIMITS).map_err(|refusal| refusal.to_string());
            assert_eq!(result, expected.map_err(str::to_string));
        };
        let long = format!("/registry/{}", "a".repeat(KEY_BYTES_MAX));
        check(vec![put("/registry/a", 10)], Ok(()));
        check(vec![], Err("the commit has no operations"));
        check(vec![put("/registry/a", 0); 4], Err("the commit has 4 operations, at most 3 are allowed"));
        check(vec![put("/registry/a", 0); 2], Err("key \"/registry/a\" is twice in one commit"));
        check(vec![put("/registry/", 0)], Err("key \"/registry/\" is not under \"/registry/\""));
        check(vec![put("/pods/a", 0)], Err("key \"/pods/a\" is not under \"/registry/\""));
        check(vec![put("", 0)], Err("key \"\" is not under \"/registry/\""));
        check(vec![put("/registry/a\0b", 0)], Err("key \"/registry/a\\0b\" contains a NUL"));
        check(vec![put(&long, 0)], Err("a key of 1034 bytes, at most 1024 are allowed"));
        check(vec![put("/registry/a", 11)], Err("the value of \"/registry/a\" has 11 bytes, at most 10 are allowed"));
        check(
            vec![put("/registry/a", 10), put("/registry/b", 10)],
            Err("the commit has 42 bytes, at most 40 are allowed"),
        );
        check(
            vec![Operation::check("/registry/a", Condition::Version(0))],
            Err("version 0 was expected of key \"/registry/a\": use Condition::Absent"),
        );
    }

    #[test]
    fn values_are_not_shown() {
        let entry = entry(2, 2, Bytes::from_static(b"hunter2"));
        let shown = format!("{entry:?} {:?}", Operation::create("/registry/a", entry.value.clone()));
        assert!(!shown.contains("hunter2") && shown.contains("7 bytes"), "{shown}");
    }
}
