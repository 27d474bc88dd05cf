//! Snapshots that were begun to be read page by page, so that all pages of a list are of one moment.
//!
//! Upstream keeps every version for five minutes; here a version is kept when a client has its continue token, up to a count. A token
//! whose snapshot is gone gets 410, as there.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_model::status::Status;
use portcullis_store::Snapshot;
use serde_json::{Value, json};

use crate::answer::Failure;

/// Snapshots kept for lists that are read in pages. One costs what has changed since it was taken.
const SNAPSHOTS_MAX: usize = 64;
/// Microseconds a snapshot is kept.
const KEPT_MICROS: i64 = 5 * 60 * 1_000_000;
/// The version of continue tokens.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// The kept snapshots, oldest first.
#[derive(Default)]
pub struct Pages {
    kept: Mutex<VecDeque<(i64, Snapshot)>>,
}

impl Pages {
    /// Keeps a snapshot for the pages that follow.
    pub fn keep(&self, snapshot: &Snapshot, now_micros: i64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.len() >= SNAPSHOTS_MAX || kept.front().is_some_and(|(since, _)| now_micros - since > KEPT_MICROS) {
            kept.pop_front();
        }
        if kept.iter().all(|(_, held)| held.revision() != snapshot.revision()) {
            kept.push_back((now_micros, snapshot.clone()));
        }
    }

    /// The snapshot of this very revision, if it is still here.
    pub fn at(&self, revision: u64) -> Option<Snapshot> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(_, held)| held.revision() == revision).map(|(_, held)| held.clone())
    }
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinueToken {
    /// The revision of the whole list.
    pub revision: u64,
    /// The last key of the page before, without the prefix of the list.
    pub after: String,
}

impl ContinueToken {
    /// Writes the token as clients carry it.
    pub fn encode(&self) -> String {
        let start = format!("{}\0", self.after);
        URL_SAFE_NO_PAD.encode(json!({"v": TOKEN_VERSION, "rv": self.revision, "start": start}).to_string())
    }

    /// Reads a token.
    pub fn decode(text: &str) -> Result<ContinueToken, Failure> {
        let refuse = |why: &str| {
            Box::new(Status::bad_request(format!("invalid continue token: continue key is not valid: {why}")))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| refuse(&error.to_string()))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| refuse(&error.to_string()))?;
        if value.get("v").and_then(Value::as_str) != Some(TOKEN_VERSION) {
            return Err(refuse("server does not recognize this encoded version"));
        }
        let revision = value.get("rv").and_then(Value::as_u64).filter(|revision| *revision > 0);
        let revision = revision.ok_or_else(|| refuse("incorrect encoded start resourceVersion"))?;
        let after = value.get("start").and_then(Value::as_str).and_then(|start| start.strip_suffix('\0'));
        let after = after.filter(|after| !after.is_empty() && !after.contains("..") && !after.starts_with('/'));
        let after = after.ok_or_else(|| refuse("encoded start key empty or invalid"))?.to_owned();
        Ok(ContinueToken { revision, after })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens() {
        let token = ContinueToken { revision: 7, after: "default/a".to_owned() };
        assert_eq!(ContinueToken::decode(&token.encode()).unwrap(), token);
        let check = |text: &str| assert!(ContinueToken::decode(text).is_err(), "{text}");
        check("garbage");
        check("");
        check(&URL_SAFE_NO_PAD.encode("{}"));
        check(&URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a\u0000"}"#));
        check(&URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"/../a\u0000"}"#));
        check(&URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a"}"#));
    }
}
