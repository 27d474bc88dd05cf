//! Has etcd forget what nobody follows any more: every interval what was new at the one before (upstream: `etcd3/compact.go`,
//! `--etcd-compaction-interval`, 5 minutes).
//!
//! All servers of one etcd agree by a key of upstream's, whose version is the number of the round: who writes it first has the round.
//! So servers of either make share it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::{
    footprint::Known,
    link::Link,
    wire::{
        CompactionRequest, Compare, CompareResult, CompareTarget, PutRequest, RangeRequest, Request, RequestOp,
        TargetUnion, TxnRequest,
    },
};

const ROUND_KEY: &[u8] = b"compact_rev_key";

/// What is known of the rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    /// How many there were.
    number: i64,
    /// The revision that was new at the last one that this server saw.
    revision: i64,
}

/// Goes from round to round until told to stop.
pub(super) async fn compact(link: Link, known: Arc<Known>, interval: Duration, mut stop: watch::Receiver<bool>) {
    let mut round = Round::default();
    loop {
        match take(&link, &known, round).await {
            Ok(next) => round = next,
            Err(error) => tracing::warn!(%error, "etcd was not compacted"),
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Has the round, unless another server has had it, and compacts to what was new at the one before.
async fn take(link: &Link, known: &Known, round: Round) -> Result<Round, Status> {
    let response = link.txn(transaction(round)).await?;
    let revision = response.header.map_or(0, |header| header.revision);
    if !response.succeeded {
        let read = response.responses.into_iter().find_map(|response| response.range);
        let number = read.and_then(|range| range.kvs.into_iter().next()).map_or(0, |kv| kv.version);
        return Ok(Round { number, revision });
    }
    if round.revision > 0 {
        let compacted = link.compact(CompactionRequest { revision: round.revision }).await;
        // Somebody was faster, by hand perhaps: what was to be done is done.
        compacted.or_else(|status| if status.code() == Code::OutOfRange { Ok(()) } else { Err(status) })?;
        known.compacted();
        tracing::debug!(revision = round.revision, "etcd was compacted");
    }
    Ok(Round { number: round.number + 1, revision })
}

fn transaction(round: Round) -> TxnRequest {
    let key = Bytes::from_static(ROUND_KEY);
    let value = Bytes::from(round.revision.to_string());
    let put = PutRequest { key: key.clone(), value, ..PutRequest::default() };
    let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Version.into(),
            key,
            target_union: Some(TargetUnion::Version(round.number)),
            ..Compare::default()
        }],
        success: vec![RequestOp { request: Some(Request::Put(put)) }],
        failure: vec![RequestOp { request: Some(Request::Range(read)) }],
    }
}
