//! Everything that an etcd holds of a cluster, read at one revision; and a cluster that is put into an etcd that has none.
//!
//! etcd numbers by itself. So that no revision is given twice, it is brought to where the cluster was before anything is written, and
//! compacted behind what was written: to a client that remembers an older revision it is one that has been forgotten.
//!
//! A copy that breaks off leaves a part of a cluster, which must not be served. A key outside of the cluster says so for as long as the
//! copy has not been compared with what it was made from. Every write of a copy has that key, as this copy wrote it, as its
//! condition: of two copies at once one fails.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{
    ConnectError, LIMITS, Security,
    follower::{number, signed},
    link::Link,
    pages::{self, Pages, behind, is_compacted},
    wire::{
        CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, LeaseGrantRequest,
        PutRequest, RangeRequest, Request, RequestOp, TargetUnion, TxnRequest,
    },
};
use crate::{
    Catalog, Sealing,
    engine::{KEY_PREFIX, OPERATIONS_MAX, Source},
    transfer::{Content, Item, Kept, Raw},
};

/// By how much the revision of an etcd is raised by writing, at most: each step is a write of etcd's, and 10,000 in a second are many.
pub const REVISIONS_RAISED_MAX: u64 = 2_000_000;
/// Transactions under way.
const WRITES_AT_ONCE: usize = 16;
const RAISES_AT_ONCE: usize = 512;
/// Revisions after which etcd is told to forget the older ones, and after which progress is said.
const RAISES_BETWEEN_COMPACTIONS: u64 = 100_000;
/// Bytes of one transaction.
const TRANSACTION_BYTES_MAX: usize = 1 << 20;
/// Leases end on full minutes, and that much after what is under them: so few leases are enough.
const LEASE_GRAIN: Duration = Duration::from_secs(60);
/// Keys of one lease: all end at one revision.
const LEASE_KEYS_MAX: usize = 1000;
/// By how much a value may be longer in etcd's form than in ours, at most.
const FORMS_DIFFER_BY: usize = 4;
/// Keys that an error names.
const NAMED_MAX: usize = 20;

/// Says that a copy is not finished.
const MARKER: &[u8] = b"portcullis/unfinished-copy";
/// Written again and again to raise the revision.
const RAISED: &[u8] = b"portcullis/revision";

/// Why an etcd could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It has a cluster.
    #[error("this etcd holds {keys} keys under {KEY_PREFIX:?}: a cluster is copied into one that holds none")]
    NotEmpty {
        /// Keys.
        keys: i64,
    },
    /// It is too far behind to be raised by writing.
    #[error(
        "this etcd is at revision {at} and has to get to {wanted}, which is more than {REVISIONS_RAISED_MAX} writes. Raise it while it \
         is down and empty: `etcdutl snapshot restore --bump-revision {} --mark-compacted` on a snapshot of it", .wanted - .at
    )]
    TooFarBehind {
        /// Its revision.
        at: u64,
        /// That of the cluster.
        wanted: u64,
    },
    /// etcd takes no values of that size.
    #[error("etcd takes values of up to {max} bytes, and larger are {}", .keys.join(", "))]
    ValuesTooLarge {
        /// What it takes.
        max: usize,
        /// Keys of larger ones, the first few.
        keys: Vec<String>,
    },
    /// A value cannot be brought into etcd's form, or not be sealed.
    #[error("the value of {key:?} cannot be written")]
    NotWritable {
        /// The key.
        key: String,
        /// Why.
        source: Source,
    },
    /// Somebody else copies into it, has begun a cluster in it, or has removed the mark.
    #[error("another copy into this etcd, or a server on it, has begun meanwhile")]
    Superseded,
    /// etcd did not answer, or not as it should.
    #[error("etcd {action} failed")]
    Failed {
        /// What was asked of it.
        action: &'static str,
        /// What it said.
        source: Box<Status>,
    },
}

fn failed(action: &'static str) -> impl Fn(Status) -> CopyError {
    move |status| CopyError::Failed { action, source: Box::new(status) }
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What an older copy left is being removed.
    Removing,
    /// The revision is being raised.
    Raising {
        /// Where it is.
        at: u64,
        /// Where it has to get to.
        to: u64,
    },
    /// Entries are being written.
    Writing {
        /// How many are to be.
        entries: usize,
    },
}

/// An etcd that is read or filled as a whole.
pub struct Remote {
    pub(super) link: Link,
}

impl Remote {
    /// Connects, and refuses a member that cannot prove that it is one.
    pub async fn connect(endpoints: &[String], security: Security) -> Result<Remote, ConnectError> {
        let link = Link::new(endpoints, security)?;
        link.refuse_unverified(endpoints).await?;
        Ok(Remote { link })
    }

    /// Reads everything under [`KEY_PREFIX`] at one revision, the present one if none is named.
    pub async fn read(&self, revision: Option<u64>) -> Result<Raw, ConnectError> {
        let list_failed = |status| ConnectError::ListFailed { source: Box::new(status) };
        if let Some(marker) = marker(&self.link).await.map_err(list_failed)? {
            return Err(ConnectError::CopyUnfinished { marker: marker.value.to_vec() });
        }
        self.read_marked(revision).await.map_err(|status| match revision {
            Some(revision) if is_compacted(&status) => ConnectError::Forgotten { revision },
            _ => list_failed(status),
        })
    }

    async fn read_marked(&self, revision: Option<u64>) -> Result<Raw, Status> {
        let mut pages = Pages::at(revision.map_or(0, signed));
        let (mut raw, mut leases) = (Raw::default(), HashMap::new());
        while let Some(page) = pages.next(&self.link).await? {
            for kv in page.kvs {
                let expires = match kv.lease {
                    0 => None,
                    lease => Some(self.expiry(lease, &mut leases).await?),
                };
                let (version, create_revision) = (number(kv.mod_revision), number(kv.create_revision));
                let KeyValue { key, value, .. } = kv;
                raw.entries.push(Kept { key, version, create_revision, epoch: None, expires, value });
            }
        }
        raw.revision = number(pages.revision);
        Ok(raw)
    }

    /// When a lease ends, in seconds since 1970.
    async fn expiry(&self, lease: i64, known: &mut HashMap<i64, u64>) -> Result<u64, Status> {
        if let Some(expires) = known.get(&lease) {
            return Ok(*expires);
        }
        // One that is over has taken its keys along by now; they are gone here, too, a moment later.
        let left = self.link.time_to_live(lease).await?.ttl.max(0).unsigned_abs();
        let expires = now().as_secs().saturating_add(left);
        known.insert(lease, expires);
        Ok(expires)
    }

    /// Begins a copy of a cluster into this etcd, which holds none: marks it, removes what a copy left that had broken off, and raises
    /// the revision to that of the cluster.
    pub async fn begin(
        &self,
        content: &Content,
        catalog: &dyn Catalog,
        say: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Copy<'_>, CopyError> {
        let (link, at) = (&self.link, content.revision);
        refuse_too_large(content, catalog)?;
        let older = marker(link).await.map_err(failed("read"))?;
        if older.is_none() {
            let keys = count(link).await.map_err(failed("read"))?;
            if keys > 0 {
                return Err(CopyError::NotEmpty { keys });
            }
        }
        let revision = link.revision().await.map_err(failed("read"))?;
        if at.saturating_sub(revision) > REVISIONS_RAISED_MAX {
            return Err(CopyError::TooFarBehind { at: revision, wanted: at });
        }
        let copy = Copy { link, marked_at: mark(link, older.as_ref()).await?, revision_before: revision };
        if older.is_some() {
            say(Progress::Removing);
            copy.remove_everything().await?;
        }
        copy.raise(at, say).await?;
        Ok(copy)
    }
}

/// A copy that has begun. Dropping it leaves the mark.
pub struct Copy<'a> {
    link: &'a Link,
    marked_at: i64,
    /// The revision that etcd was at.
    pub revision_before: u64,
}

impl Copy<'_> {
    /// Writes everything, and has etcd forget what was before.
    pub async fn write(
        &self,
        content: &Content,
        catalog: &dyn Catalog,
        sealing: &dyn Sealing,
        say: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), CopyError> {
        let mut leases = BTreeMap::new();
        let (mut writes, mut changes, mut bytes) = (JoinSet::new(), Vec::new(), 0);
        say(Progress::Writing { entries: content.items.len() });
        for item in &content.items {
            let value = in_etcd(item, catalog, sealing)?;
            let lease = match item.expires {
                Some(expires) => self.lease(expires, &mut leases).await?,
                None => 0,
            };
            let length = item.key.len() + value.len();
            if changes.len() >= OPERATIONS_MAX || (bytes + length > TRANSACTION_BYTES_MAX && !changes.is_empty()) {
                self.send(&mut writes, std::mem::take(&mut changes), WRITES_AT_ONCE).await?;
                bytes = 0;
            }
            bytes += length;
            changes.push(Request::Put(put(Bytes::copy_from_slice(item.key.as_bytes()), value, lease)));
        }
        self.send(&mut writes, changes, WRITES_AT_ONCE).await?;
        done(&mut writes, 0).await?;
        self.forget().await
    }

    /// Reads everything that was written.
    pub async fn read(&self) -> Result<Raw, CopyError> {
        Remote { link: self.link.clone() }.read_marked(None).await.map_err(failed("read"))
    }

    /// Says that the copy is whole.
    pub async fn finish(self) -> Result<(), CopyError> {
        self.change(vec![Request::DeleteRange(delete(MARKER))]).await
    }

    /// Does something, if this copy is still the one that is under way.
    async fn change(&self, changes: Vec<Request>) -> Result<(), CopyError> {
        let mut writes = JoinSet::new();
        self.send(&mut writes, changes, 1).await?;
        done(&mut writes, 0).await
    }

    async fn send(
        &self,
        writes: &mut JoinSet<Result<(), CopyError>>,
        changes: Vec<Request>,
        at_once: usize,
    ) -> Result<(), CopyError> {
        if changes.is_empty() {
            return Ok(());
        }
        done(writes, at_once - 1).await?;
        let success = changes.into_iter().map(|request| RequestOp { request: Some(request) }).collect();
        let transaction = TxnRequest { compare: vec![is_at(self.marked_at)], success, failure: Vec::new() };
        let link = self.link.clone();
        writes.spawn(async move {
            match link.txn(transaction).await.map_err(failed("write"))?.succeeded {
                true => Ok(()),
                false => Err(CopyError::Superseded),
            }
        });
        Ok(())
    }

    async fn remove_everything(&self) -> Result<(), CopyError> {
        let mut pages = Pages::at(0);
        while let Some(page) = pages.next(self.link).await.map_err(failed("read"))? {
            let (Some(first), Some(last)) = (page.kvs.first(), page.kvs.last()) else { continue };
            let range_end = behind(&last.key);
            self.change(vec![Request::DeleteRange(DeleteRangeRequest { key: first.key.clone(), range_end })]).await?;
        }
        Ok(())
    }

    /// Brings the revision to where the cluster was.
    async fn raise(&self, to: u64, say: &mut (dyn FnMut(Progress) + Send)) -> Result<(), CopyError> {
        let mut at = self.link.revision().await.map_err(failed("read"))?;
        if at >= to {
            return Ok(());
        }
        while at < to {
            say(Progress::Raising { at, to });
            let mut writes = JoinSet::new();
            for _ in 0..(to - at).min(RAISES_BETWEEN_COMPACTIONS) {
                let raised = put(Bytes::from_static(RAISED), Bytes::new(), 0);
                self.send(&mut writes, vec![Request::Put(raised)], RAISES_AT_ONCE).await?;
            }
            done(&mut writes, 0).await?;
            self.forget().await?;
            at = self.link.revision().await.map_err(failed("read"))?;
        }
        self.change(vec![Request::DeleteRange(delete(RAISED))]).await
    }

    /// Has etcd forget everything but what is there now.
    async fn forget(&self) -> Result<(), CopyError> {
        let revision = signed(self.link.revision().await.map_err(failed("read"))?);
        match self.link.compact(CompactionRequest { revision }).await {
            // Somebody was faster.
            Err(status) if status.code() == Code::OutOfRange => Ok(()),
            compacted => compacted.map_err(failed("compaction")),
        }
    }

    /// A lease that lasts a little longer than what is under it.
    async fn lease(&self, expires: u64, known: &mut BTreeMap<u64, (i64, usize)>) -> Result<i64, CopyError> {
        let grain = LEASE_GRAIN.as_secs();
        let ends = (expires / grain + 2).max(now().as_secs() / grain + 2);
        if let Some((id, keys)) = known.get_mut(&ends).filter(|(_, keys)| *keys < LEASE_KEYS_MAX) {
            *keys += 1;
            return Ok(*id);
        }
        let left = ends.saturating_mul(grain).saturating_sub(now().as_secs());
        let ttl = i64::try_from(left).unwrap_or(i64::MAX);
        let id = self.link.grant(LeaseGrantRequest { ttl }).await.map_err(failed("lease"))?.id;
        known.insert(ends, (id, 1));
        Ok(id)
    }
}

/// Refuses what etcd would not take, by its size there.
fn refuse_too_large(content: &Content, catalog: &dyn Catalog) -> Result<(), CopyError> {
    let max = LIMITS.value_bytes_max;
    let mut keys = Vec::new();
    for item in content.items.iter().filter(|item| item.value.len() > max / FORMS_DIFFER_BY) {
        if keys.len() < NAMED_MAX && plain_in_etcd(item, catalog)?.len() > max {
            keys.push(format!("{:?}", item.key));
        }
    }
    if keys.is_empty() { Ok(()) } else { Err(CopyError::ValuesTooLarge { max, keys }) }
}

/// A value as etcd keeps it, before it is sealed.
fn plain_in_etcd(item: &Item, catalog: &dyn Catalog) -> Result<Bytes, CopyError> {
    let not_writable = |source| CopyError::NotWritable { key: item.key.to_string(), source };
    catalog.to_etcd(&item.key, &item.current(catalog)).map_err(not_writable)
}

fn in_etcd(item: &Item, catalog: &dyn Catalog, sealing: &dyn Sealing) -> Result<Bytes, CopyError> {
    let not_writable = |source| CopyError::NotWritable { key: item.key.to_string(), source };
    sealing.seal(&item.key, &plain_in_etcd(item, catalog)?).map_err(not_writable)
}

/// Waits until no more than so many are under way.
async fn done(writes: &mut JoinSet<Result<(), CopyError>>, left: usize) -> Result<(), CopyError> {
    while writes.len() > left {
        match writes.join_next().await {
            Some(Ok(written)) => written?,
            Some(Err(panic)) => return Err(failed("write")(Status::internal(panic.to_string()))),
            None => break,
        }
    }
    Ok(())
}

/// Writes the mark, if the one that was found is still there, or else nothing of a cluster; tells at which revision.
async fn mark(link: &Link, older: Option<&KeyValue>) -> Result<i64, CopyError> {
    let value = format!("begun {} s after 1970 by process {}", now().as_secs(), std::process::id());
    let put = RequestOp { request: Some(Request::Put(put(Bytes::from_static(MARKER), value.into(), 0))) };
    let compare = match older {
        Some(older) => vec![is_at(older.mod_revision)],
        None => vec![is_at(0), is_empty()],
    };
    let transaction = TxnRequest { compare, success: vec![put], failure: Vec::new() };
    let response = link.txn(transaction).await.map_err(failed("write"))?;
    match response.succeeded {
        true => Ok(response.header.map_or(0, |header| header.revision)),
        false => Err(CopyError::Superseded),
    }
}

/// What says that a copy is not finished.
pub(super) async fn marker(link: &Link) -> Result<Option<KeyValue>, Status> {
    let request = RangeRequest { key: Bytes::from_static(MARKER), limit: 1, ..RangeRequest::default() };
    Ok(link.range(request).await?.kvs.into_iter().next())
}

/// How many keys the cluster has.
async fn count(link: &Link) -> Result<i64, Status> {
    let key = Bytes::from_static(KEY_PREFIX.as_bytes());
    let request = RangeRequest { key, range_end: pages::end(), count_only: true, ..RangeRequest::default() };
    Ok(link.range(request).await?.count)
}

fn put(key: Bytes, value: Bytes, lease: i64) -> PutRequest {
    PutRequest { key, value, lease, ignore_lease: false }
}

fn delete(key: &'static [u8]) -> DeleteRangeRequest {
    DeleteRangeRequest { key: Bytes::from_static(key), range_end: Bytes::new() }
}

/// The mark is as it was written then; 0 is that there is none.
fn is_at(revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key: Bytes::from_static(MARKER),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..Compare::default()
    }
}

/// The cluster has no key.
fn is_empty() -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: Bytes::from_static(KEY_PREFIX.as_bytes()),
        range_end: pages::end(),
        target_union: Some(TargetUnion::CreateRevision(0)),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
