//! The engine over etcd v3, for clusters whose state must outlive a machine.
//!
//! - A commit is one transaction that compares versions.
//! - Memory is a cache, fed by etcd's watch stream and by nothing else; [`Engine::newest`] asks etcd for its revision
//!   and waits until memory is there. Several servers over one etcd are equal.
//! - The client is a few messages of our own over tonic; the published client needs a protobuf compiler to build.
//!
//! - Values are in upstream's form ([`Catalog::to_etcd`]), so that an API server of either make serves them.
//! - What is sealed is so in upstream's formats, too (`reading`, `resealing`; [`crate::Sealing`]).
//! - What memory holds is compared with what etcd holds (`verify`).
//! - All of it is read at one revision, or filled in, from the outside (`import`; [`Remote`]).
//! - What was written after it was read is told (`changes`).
//! - What lives for a while only is under a lease (`leases`); history is compacted as upstream does it (`compactor`).
//! - How large it is there is asked now and then (`footprint`).

mod changes;
mod compactor;
mod follower;
mod footprint;
mod import;
mod leases;
mod link;
mod members;
mod pages;
mod reached;
mod reading;
mod resealing;
mod verify;
mod wire;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};
use tonic::{Code, Status};

pub use self::{
    changes::Changes,
    import::{CopyError, Progress, REVISIONS_RAISED_MAX, Remote},
    link::{ConnectError, MutualTls, PlainLoopback, Security},
};
use self::{
    follower::{Asked, Reopened, number, signed},
    footprint::Known,
    leases::Leases,
    link::Link,
    reached::Reached,
    reading::Reading,
    wire::{
        Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, Request, RequestOp,
        TargetUnion, TxnRequest, TxnResponse,
    },
};
use crate::{
    Budget, Catalog, Change, Commit, CommitError, Committed, Condition, Engine, Footprint, Interest, Key, Limits,
    Newest, Operation, ReadError, Refusal, Resealed, Sealing, Snapshot, Stats, SubscribeError, Subscription, Verified,
    Volume,
    engine::{BoxFuture, KEY_BYTES_MAX, OPERATIONS_MAX},
    memory::{Memory, RING_LIMITS},
};

/// What etcd takes in one request by default (`--max-request-bytes`), without the room that framing needs.
pub const COMMIT_BYTES_MAX: usize = (3 << 19) - FRAMING_BYTES;
/// Keys come three times (compare, change, and the read in case it fails), with a few bytes of framing each time.
const FRAMING_BYTES: usize = OPERATIONS_MAX * (2 * KEY_BYTES_MAX + 128);
/// How long memory may take to reach what etcd says is the newest revision.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may wait for a turn to have entries opened, or listed.
const ASKED_MAX: usize = 4;

/// What one commit may carry.
pub const LIMITS: Limits = Limits {
    operations_max: OPERATIONS_MAX,
    value_bytes_max: COMMIT_BYTES_MAX - KEY_BYTES_MAX,
    commit_bytes_max: COMMIT_BYTES_MAX,
};

/// How often history is compacted when nobody says; upstream's own.
pub const COMPACTION_INTERVAL: Duration = Duration::from_secs(300);

/// How to connect.
pub struct Options {
    /// URLs of the members.
    pub endpoints: Vec<String>,
    /// How they are spoken to.
    pub security: Security,
    /// What is known of keys and values.
    pub catalog: Arc<dyn Catalog>,
    /// How values are unreadable in etcd.
    pub sealing: Arc<dyn Sealing>,
    /// Bytes of memory that stored objects, what is made of them, and history may take.
    pub memory_bytes_max: usize,
    /// How often history is compacted; never, if somebody else does it.
    pub compaction_interval: Option<Duration>,
}

/// The engine. [`Engine::close`] ends its task; dropping it does so too, without waiting.
pub struct Etcd {
    link: Link,
    memory: Arc<Memory>,
    reached: Reached,
    leases: Leases,
    reading: Reading,
    known: Arc<Known>,
    asked: mpsc::Sender<Asked>,
    /// One comparison with etcd at a time.
    verifying: Mutex<()>,
    /// Whether the last one found that memory differed.
    has_differed: AtomicBool,
    /// Where opening again goes on, one at a time.
    reopened_to: Mutex<Option<Key>>,
    stop: watch::Sender<bool>,
    follower: Mutex<Option<JoinHandle<()>>>,
}

impl Etcd {
    /// Lists everything under `/registry/` into memory and begins to follow. Needs a tokio runtime.
    pub async fn connect(options: Options) -> Result<Etcd, ConnectError> {
        let Options { endpoints, security, catalog, sealing, memory_bytes_max, compaction_interval } = options;
        let link = Link::new(&endpoints, security)?;
        link.refuse_unverified(&endpoints).await?;
        let budget = Arc::new(Budget::new(memory_bytes_max));
        let reading = Reading { catalog: Arc::clone(&catalog), sealing, budget: Arc::clone(&budget) };
        let list_failed = |status| ConnectError::ListFailed { source: Box::new(status) };
        if let Some(marker) = import::marker(&link).await.map_err(list_failed)? {
            return Err(ConnectError::CopyUnfinished { marker: marker.value.to_vec() });
        }
        let listed = follower::list(&link, &reading).await.map_err(list_failed)?;
        let memory = Memory::new(Snapshot::of(listed.revision, listed.entries), RING_LIMITS, catalog, budget);
        let stop = watch::Sender::new(false);
        let known = Arc::new(Known::default());
        let (asked, wanted) = mpsc::channel(ASKED_MAX);
        let follow = follower::follow(link.clone(), memory.clone(), reading.clone(), wanted, stop.subscribe());
        let follower = Mutex::new(Some(tokio::spawn(follow)));
        if let Some(interval) = compaction_interval {
            tokio::spawn(compactor::compact(link.clone(), Arc::clone(&known), interval, stop.subscribe()));
        }
        tokio::spawn(footprint::keep(Arc::clone(&known), link.clone(), stop.subscribe()));
        let reached = Reached::new(link.clone());
        let (leases, verifying, has_differed) = (Leases::default(), Mutex::default(), AtomicBool::default());
        let reopened_to = Mutex::default();
        Ok(Etcd {
            link,
            memory,
            reached,
            leases,
            reading,
            known,
            asked,
            verifying,
            has_differed,
            reopened_to,
            stop,
            follower,
        })
    }

    async fn commit_txn(&self, commit: Commit) -> Result<Committed, CommitError> {
        commit.check(&LIMITS)?;
        if *self.stop.borrow() {
            return Err(CommitError::Closed);
        }
        let catalog = &**self.memory.catalog();
        let lifetimes = commit.operations.iter().filter(|operation| matches!(operation.change, Change::Put(_)));
        // No commit writes what lives for different times; the longest would do.
        let lease = match lifetimes.filter_map(|operation| catalog.lifetime(&operation.key)).max() {
            Some(lifetime) => self.leases.of(&self.link, lifetime).await.map_err(not_committed)?,
            None => 0,
        };
        let transaction = transaction(&commit.operations, &self.reading, lease)?;
        let response = self.link.txn(transaction).await.map_err(commit_error)?;
        if response.succeeded {
            return Ok(Committed { revision: response.header.map_or(0, |header| number(header.revision)) });
        }
        Err(self.conflict(&commit.operations, response))
    }

    /// The first condition, in the commit's order, that does not hold of what the failure branch read.
    fn conflict(&self, operations: &[Operation], response: TxnResponse) -> CommitError {
        let conditional = operations.iter().filter(|operation| operation.condition != Condition::Any);
        for (operation, read) in conditional.zip(response.responses) {
            let kv = read.range.and_then(|range| range.kvs.into_iter().next());
            let current = kv.map(|kv| self.reading.entry_now(&operation.key, kv));
            if !operation.condition.holds(current.as_ref()) {
                return CommitError::Conflict { key: operation.key.clone(), current };
            }
        }
        CommitError::Rejected { source: "etcd refused a commit whose conditions all hold".into() }
    }

    /// Asks etcd how far it is (a linearizable read) and waits for memory.
    async fn catch_up(&self) -> Result<Snapshot, ReadError> {
        if *self.stop.borrow() {
            return Err(ReadError::Closed);
        }
        let held = self.memory.snapshot().revision();
        let wanted = self.reached.now().await.map_err(|status| ReadError::Unreachable { source: status.into() })?;
        if wanted < held {
            // Whoever was told of later revisions would take what comes now for old news.
            let source = format!("etcd is at revision {wanted} and was at {held}: was it restored? Restart the server");
            return Err(ReadError::Unreachable { source: source.into() });
        }
        match tokio::time::timeout(CATCH_UP_TIMEOUT, self.memory.reached(wanted)).await {
            Ok(reached) => reached?,
            Err(_) => return Err(ReadError::Behind { wanted, reached: self.memory.snapshot().revision() }),
        }
        Ok(self.memory.snapshot())
    }

    async fn subscribe_after(
        &self,
        interest: Interest<'_>,
        after: u64,
    ) -> Result<Box<dyn Subscription>, SubscribeError> {
        // Another server may have handed out a revision that this one has not seen yet.
        if after > self.memory.snapshot().revision() {
            self.catch_up().await?;
        }
        Ok(Box::new(self.memory.subscribe(interest, after)?))
    }

    async fn reopen_all(&self) -> Result<usize, ReadError> {
        let mut from = self.reopened_to.lock().await;
        let (told, reopened) = oneshot::channel();
        self.asked.send(Asked::Reopen { from: from.clone(), told }).await.map_err(|_| ReadError::Closed)?;
        let Reopened { left, next } = reopened.await.map_err(|_| ReadError::Closed)?;
        *from = next;
        Ok(left)
    }

    async fn stop_following(&self) {
        self.stop.send_replace(true);
        if let Some(follower) = self.follower.lock().await.take()
            && let Err(error) = follower.await
        {
            tracing::error!(%error, "the etcd follower failed");
            self.memory.close();
        }
    }
}

impl Engine for Etcd {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(self.commit_txn(commit))
    }

    fn snapshot(&self) -> Snapshot {
        self.memory.snapshot()
    }

    fn newest(&self) -> Newest<'_> {
        Newest::waiting(Box::pin(self.catch_up()))
    }

    fn subscribe<'a>(
        &'a self,
        interest: Interest<'a>,
        after: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, SubscribeError>> {
        Box::pin(self.subscribe_after(interest, after))
    }

    fn stats(&self) -> Stats {
        self.memory.stats()
    }

    fn volume(&self, prefix: &str) -> Volume {
        self.memory.volume(prefix)
    }

    fn footprint(&self) -> Footprint {
        self.known.read()
    }

    fn reopen(&self) -> BoxFuture<'_, Result<usize, ReadError>> {
        Box::pin(self.reopen_all())
    }

    fn reseal(&self) -> BoxFuture<'_, Result<Resealed, ReadError>> {
        Box::pin(resealing::reseal(&self.link, &*self.reading.sealing))
    }

    fn verify(&self) -> BoxFuture<'_, Result<Verified, ReadError>> {
        Box::pin(self.verify_all())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.stop_following())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Conditions become compares, changes the success branch; the failure branch reads what failed, in the same instant.
fn transaction(operations: &[Operation], reading: &Reading, lease: i64) -> Result<TxnRequest, CommitError> {
    let Reading { catalog, sealing, .. } = reading;
    let rejected = |source| CommitError::Rejected { source };
    let mut request = TxnRequest::default();
    for operation in operations {
        let key = Bytes::copy_from_slice(operation.key.as_bytes());
        if let Some(compare) = compare(key.clone(), operation.condition) {
            request.compare.push(compare);
            let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
            request.failure.push(RequestOp { request: Some(Request::Range(read)) });
        }
        let change = match &operation.change {
            Change::Put(value) => {
                let value = catalog.to_etcd(&operation.key, value).map_err(rejected)?;
                let value = sealing.seal(&operation.key, &value).map_err(rejected)?;
                let lease = if catalog.lifetime(&operation.key).is_some() { lease } else { 0 };
                Request::Put(PutRequest { key, value, lease, ignore_lease: false })
            }
            Change::Delete => Request::DeleteRange(DeleteRangeRequest { key, range_end: Bytes::new() }),
            Change::Check => continue,
        };
        request.success.push(RequestOp { request: Some(change) });
    }
    Ok(request)
}

fn compare(key: Bytes, condition: Condition) -> Option<Compare> {
    let (result, target, value) = match condition {
        Condition::Absent => (CompareResult::Equal, CompareTarget::Create, TargetUnion::CreateRevision(0)),
        Condition::Present => (CompareResult::Greater, CompareTarget::Create, TargetUnion::CreateRevision(0)),
        Condition::Version(version) => {
            (CompareResult::Equal, CompareTarget::Mod, TargetUnion::ModRevision(signed(version)))
        }
        Condition::Any => return None,
    };
    let (result, target) = (result.into(), target.into());
    Some(Compare { result, target, key, target_union: Some(value), ..Compare::default() })
}

/// A failure before anything was sent that changes something.
fn not_committed(status: Status) -> CommitError {
    CommitError::Unreachable { source: status.into() }
}

/// Sorts etcd's refusals, after which nothing has changed, from lost answers, after which nobody knows.
fn commit_error(status: Status) -> CommitError {
    match status.code() {
        Code::ResourceExhausted if status.message().contains("database space exceeded") => {
            CommitError::StorageFull { source: status.into() }
        }
        // An etcd that was started with a smaller limit than the default.
        Code::InvalidArgument if status.message().contains("request is too large") => {
            CommitError::Refused(Refusal::CommitTooLarge { bytes: COMMIT_BYTES_MAX, max: COMMIT_BYTES_MAX })
        }
        Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::FailedPrecondition => {
            CommitError::Rejected { source: status.into() }
        }
        _ if link::was_not_sent(&status) => CommitError::Unreachable { source: status.into() },
        _ => CommitError::OutcomeUnknown { source: status.into() },
    }
}
