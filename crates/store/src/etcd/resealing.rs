//! Writes anew what is sealed otherwise than it would be today, after a key was added: each value by a transaction that takes place
//! only if nobody else has written it meanwhile, and a few in a second, since each of them is news to everybody who watches.

use std::time::Duration;

use tonic::Status;

use super::{
    link::Link,
    pages::Pages,
    wire::{Compare, CompareResult, CompareTarget, KeyValue, PutRequest, Request, RequestOp, TargetUnion, TxnRequest},
};
use crate::{Opened, ReadError, Resealed, Sealing, sealing::Opening};

/// Pause behind each value that was written.
const WRITE_PAUSE: Duration = Duration::from_millis(200);

/// Goes through everything once.
pub(super) async fn reseal(link: &Link, sealing: &dyn Sealing) -> Result<Resealed, ReadError> {
    let unreachable = |status: Status| ReadError::Unreachable { source: status.into() };
    let mut resealed = Resealed::default();
    // What is written meanwhile is sealed as it is today.
    let mut pages = Pages::each_newest();
    while let Some(page) = pages.next(link).await.map_err(unreachable)? {
        for kv in page.kvs {
            match write_anew(link, sealing, &kv).await {
                Ok(false) => {}
                Ok(true) => {
                    resealed.rewritten += 1;
                    tokio::time::sleep(WRITE_PAUSE).await;
                }
                Err(NotWritten::Unopened) => resealed.unopened += 1,
                Err(NotWritten::Unreachable(status)) => return Err(unreachable(status)),
            }
        }
    }
    Ok(resealed)
}

enum NotWritten {
    Unopened,
    Unreachable(Status),
}

/// Writes a value anew if it has to be, and says whether it did.
async fn write_anew(link: &Link, sealing: &dyn Sealing, kv: &KeyValue) -> Result<bool, NotWritten> {
    let Ok(key) = std::str::from_utf8(&kv.key) else { return Err(NotWritten::Unopened) };
    let plain = match Opening::default().open(sealing, key, &kv.value).await {
        Ok(Opened { is_stale: false, .. }) => return Ok(false),
        Ok(Opened { plain, .. }) => plain,
        Err(_) => return Err(NotWritten::Unopened),
    };
    let Ok(value) = sealing.seal(key, &plain) else { return Err(NotWritten::Unopened) };
    let put = PutRequest { key: kv.key.clone(), value, lease: 0, ignore_lease: true };
    let transaction = TxnRequest {
        compare: vec![Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: kv.key.clone(),
            target_union: Some(TargetUnion::ModRevision(kv.mod_revision)),
            ..Compare::default()
        }],
        success: vec![RequestOp { request: Some(Request::Put(put)) }],
        failure: Vec::new(),
    };
    let response = link.txn(transaction).await.map_err(NotWritten::Unreachable)?;
    Ok(response.succeeded)
}
