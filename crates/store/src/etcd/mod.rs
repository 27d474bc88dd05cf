//! The engine over etcd v3, for clusters whose state must outlive a machine. First form: a spike that passes the
//! suite, so that the trait is right before much stands on it.
//!
//! - A commit is one transaction that compares versions.
//! - Memory is a cache, fed by etcd's watch stream and by nothing else; [`Engine::newest`] asks etcd for its revision
//!   and waits until memory is there. Several servers over one etcd are equal.
//! - The client is a few messages of our own over tonic; the published client needs a protobuf compiler to build.
//!
//! Not here yet: sharing one question for the revision among reads that wait anyway, compaction (upstream's API servers compact every five minutes), sealing of values, keys outside
//! `/registry/`, leases (events), and noticing that an etcd was restored to an older revision.

mod follower;
mod link;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};
use tonic::{Code, Status};

pub use self::link::{ConnectError, MutualTls, PlainLoopback, Security};
use self::{
    follower::{number, signed},
    link::Link,
    wire::{
        ALL_KEYS, Compare, CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, Request,
        RequestOp, TargetUnion, TxnRequest, TxnResponse,
    },
};
use crate::{
    Budget, Catalog, Change, Commit, CommitError, Committed, Condition, Engine, Interest, Limits, Newest, Operation,
    ReadError, Refusal, Snapshot, Stats, SubscribeError, Subscription, Volume,
    engine::{BoxFuture, KEY_BYTES_MAX, OPERATIONS_MAX},
    memory::{Memory, RING_LIMITS},
};

/// What etcd takes in one request by default (`--max-request-bytes`), without the room that framing needs.
pub const COMMIT_BYTES_MAX: usize = (3 << 19) - FRAMING_BYTES;
/// Keys come three times (compare, change, and the read in case it fails), with a few bytes of framing each time.
const FRAMING_BYTES: usize = OPERATIONS_MAX * (2 * KEY_BYTES_MAX + 128);
/// How long memory may take to reach what etcd says is the newest revision.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// What one commit may carry.
pub const LIMITS: Limits = Limits {
    operations_max: OPERATIONS_MAX,
    value_bytes_max: COMMIT_BYTES_MAX - KEY_BYTES_MAX,
    commit_bytes_max: COMMIT_BYTES_MAX,
};

/// The engine. [`Engine::close`] ends its task; dropping it does so too, without waiting.
pub struct Etcd {
    link: Link,
    memory: Arc<Memory>,
    stop: watch::Sender<bool>,
    follower: Mutex<Option<JoinHandle<()>>>,
}

impl Etcd {
    /// Lists everything under `/registry/` into memory and begins to follow. Needs a tokio runtime. `memory_bytes_max`
    /// is for objects, what is made of them, and history.
    pub async fn connect(
        endpoints: &[String],
        security: Security,
        catalog: Arc<dyn Catalog>,
        memory_bytes_max: usize,
    ) -> Result<Etcd, ConnectError> {
        let link = Link::new(endpoints, security)?;
        let budget = Arc::new(Budget::new(memory_bytes_max));
        let listed = follower::list(&link, &catalog, &budget).await;
        let listed = listed.map_err(|status| ConnectError::ListFailed { source: Box::new(status) })?;
        let memory = Memory::new(Snapshot::of(listed.revision, listed.entries), RING_LIMITS, catalog, budget);
        let stop = watch::Sender::new(false);
        let follower = tokio::spawn(follower::follow(link.clone(), memory.clone(), stop.subscribe()));
        Ok(Etcd { link, memory, stop, follower: Mutex::new(Some(follower)) })
    }

    async fn commit_txn(&self, commit: Commit) -> Result<Committed, CommitError> {
        commit.check(&LIMITS)?;
        if *self.stop.borrow() {
            return Err(CommitError::Closed);
        }
        let response = self.link.txn(transaction(&commit.operations)).await.map_err(commit_error)?;
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
            let current = kv.map(|kv| {
                let (version, created) = (number(kv.mod_revision), number(kv.create_revision));
                self.memory.entry(&operation.key, version, created, kv.value)
            });
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
        // The one key that cannot exist: only the header of the answer is wanted.
        let nothing = Bytes::from_static(ALL_KEYS);
        let request = RangeRequest { key: nothing, range_end: Bytes::new(), limit: 1, revision: 0, count_only: true };
        let response = self.link.range(request).await;
        let response = response.map_err(|status| ReadError::Unreachable { source: status.into() })?;
        let wanted = response.header.map_or(0, |header| number(header.revision));
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
fn transaction(operations: &[Operation]) -> TxnRequest {
    let mut request = TxnRequest::default();
    for operation in operations {
        let key = Bytes::copy_from_slice(operation.key.as_bytes());
        if let Some(compare) = compare(key.clone(), operation.condition) {
            request.compare.push(compare);
            let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
            request.failure.push(RequestOp { request: Some(Request::Range(read)) });
        }
        let change = match &operation.change {
            Change::Put(value) => Request::Put(PutRequest { key, value: value.clone() }),
            Change::Delete => Request::DeleteRange(DeleteRangeRequest { key }),
            Change::Check => continue,
        };
        request.success.push(RequestOp { request: Some(change) });
    }
    request
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
    Some(Compare { result: result.into(), target: target.into(), key, target_union: Some(value) })
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
