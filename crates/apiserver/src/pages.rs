//! Snapshots that were begun to be read page by page, so that all pages of a list are of one moment.
//!
//! Upstream keeps every version for five minutes; here a version is kept when a client has its continue token, up to a count, and only
//! while memory is not overdrawn. A token whose snapshot is gone gets 410, as there, with a token for the rest of the list as it is then.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use portcullis_model::go_text::quoted;
use portcullis_model::status::Status;
use portcullis_store::{Engine, Snapshot};
use serde_json::{Value, json};

use crate::answer::Failure;

/// Snapshots kept for lists that are read in pages. One costs what has changed since it was taken.
const SNAPSHOTS_MAX: usize = 64;
/// Microseconds a snapshot is kept.
const KEPT_MICROS: i64 = 5 * 60 * 1_000_000;
/// Microseconds between two looks at whether kept snapshots must go.
const LOOK_MICROS: i64 = 1_000_000;
/// The version of continue tokens.
const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// As Go reads it: bits that are left over say nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

/// The kept snapshots, oldest first.
#[derive(Default)]
pub struct Pages {
    kept: Mutex<VecDeque<(i64, Snapshot)>>,
    next_look: AtomicI64,
}

impl Pages {
    /// Keeps a snapshot for the pages that follow.
    pub fn keep(&self, snapshot: &Snapshot, now_micros: i64) {
        let mut kept = self.kept();
        while kept.len() >= SNAPSHOTS_MAX {
            kept.pop_front();
        }
        if kept.iter().all(|(_, held)| held.revision() != snapshot.revision()) {
            kept.push_back((now_micros, snapshot.clone()));
        }
    }

    /// Lets go of snapshots that are too old, and of all when memory is overdrawn: what they alone hold counts as history, and that
    /// of watchers would be shortened for it. Any request may call this; it looks once a second.
    pub fn trim(&self, engine: &dyn Engine, now_micros: i64) {
        let next = self.next_look.load(Relaxed);
        if now_micros < next
            || self.next_look.compare_exchange(next, now_micros + LOOK_MICROS, Relaxed, Relaxed).is_err()
        {
            return;
        }
        if self.kept().is_empty() {
            return;
        }
        let stats = engine.stats();
        let is_overdrawn = stats.body_bytes + stats.form_bytes > stats.limit_bytes;
        let mut gone = Vec::new();
        let mut kept = self.kept();
        while kept.front().is_some_and(|(since, _)| is_overdrawn || now_micros - since > KEPT_MICROS) {
            gone.extend(kept.pop_front());
        }
        drop(kept);
        if is_overdrawn {
            tracing::info!(snapshots = gone.len(), "snapshots of paged lists dropped to make room");
        }
    }

    /// The snapshot of this very revision, if it is still here.
    pub fn at(&self, revision: u64) -> Option<Snapshot> {
        self.kept().iter().find(|(_, held)| held.revision() == revision).map(|(_, held)| held.clone())
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.kept().len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept().is_empty()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(i64, Snapshot)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinueToken {
    /// The revision of the whole list; none for a list that goes on at the newest.
    pub revision: Option<u64>,
    /// Where it begins, without the prefix of the list: at this key. Behind a key is at that key and a NUL.
    pub start: String,
}

impl ContinueToken {
    /// A token for what comes behind a key.
    pub fn after(revision: u64, key: &str) -> ContinueToken {
        ContinueToken { revision: Some(revision), start: format!("{key}\0") }
    }

    /// Writes the token as clients carry it.
    pub fn encode(&self) -> String {
        let revision = self.revision.map_or(Value::from(-1), Value::from);
        BASE64.encode(json!({"v": TOKEN_VERSION, "rv": revision, "start": self.start}).to_string())
    }

    /// Reads a token.
    pub fn decode(text: &str) -> Result<ContinueToken, Failure> {
        let refuse = |why: &str| {
            Box::new(Status::bad_request(format!("invalid continue token: continue key is not valid: {why}")))
        };
        let bytes = BASE64.decode(text).map_err(|error| refuse(&go_base64_error(&error)))?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| refuse(&go_json_error(&bytes, &error)))?;
        let version = value.get("v").and_then(Value::as_str).unwrap_or_default();
        if version != TOKEN_VERSION {
            return Err(refuse(&format!("server does not recognize this encoded version {version}")));
        }
        let revision = match value.get("rv").and_then(Value::as_i64) {
            None | Some(0) => {
                return Err(refuse(&format!("incorrect encoded start resourceVersion (version {TOKEN_VERSION})")));
            }
            Some(revision) => u64::try_from(revision).ok(),
        };
        let start = value.get("start").and_then(Value::as_str).unwrap_or_default();
        if start.is_empty() {
            return Err(refuse(&format!("encoded start key empty (version {TOKEN_VERSION})")));
        }
        if !is_clean(start) {
            return Err(refuse(start));
        }
        Ok(ContinueToken { revision, start: start.trim_start_matches('/').to_owned() })
    }

    /// Where the page begins among keys with this prefix.
    pub fn begin(&self, prefix: &str) -> Begin {
        match self.start.strip_suffix('\0') {
            Some(key) => Begin::After(format!("{prefix}{key}")),
            None => Begin::At(format!("{prefix}{}", self.start)),
        }
    }
}

/// Where in the order of keys a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With the first key.
    First,
    /// With this key, if it is there.
    At(String),
    /// Behind this key.
    After(String),
}

impl Begin {
    /// The key that it is behind.
    pub fn after(&self) -> Option<&str> {
        match self {
            Begin::After(key) => Some(key),
            Begin::First | Begin::At(_) => None,
        }
    }
}

/// Whether a path has no step that leads up or nowhere, as upstream demands against leaving the prefix.
fn is_clean(start: &str) -> bool {
    let start = start.strip_prefix('/').unwrap_or(start);
    !start.is_empty() && start.split('/').all(|step| !matches!(step, "" | "." | ".."))
}

/// What Go's decoder says.
fn go_base64_error(error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(len) => *len,
        base64::DecodeError::InvalidPadding => 0,
    };
    format!("illegal base64 data at input byte {at}")
}

/// What Go's decoder says about the first byte; about the others the words are ours.
fn go_json_error(text: &[u8], error: &serde_json::Error) -> String {
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => "unexpected end of JSON input".to_owned(),
        Some(byte) if !matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            let shown = quoted(&char::from(*byte).to_string());
            let shown = shown.trim_matches('"');
            format!("invalid character '{shown}' looking for beginning of value")
        }
        Some(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens() {
        let token = ContinueToken::after(7, "default/a");
        assert_eq!(ContinueToken::decode(&token.encode()).unwrap(), token);
        assert_eq!(token.begin("/registry/pods/"), Begin::After("/registry/pods/default/a".to_owned()));
        let inconsistent = ContinueToken { revision: None, ..token };
        assert_eq!(ContinueToken::decode(&inconsistent.encode()).unwrap(), inconsistent);
        let at = ContinueToken { start: "default/a".to_owned(), revision: None };
        assert_eq!(at.begin("/registry/pods/"), Begin::At("/registry/pods/default/a".to_owned()));
    }

    #[test]
    fn tokens_that_are_none() {
        let check = |text: &str, expected: &str| {
            let message = ContinueToken::decode(text).unwrap_err().message.into_owned();
            assert_eq!(message, format!("invalid continue token: continue key is not valid: {expected}"), "{text}");
        };
        let encoded = |json: &str| BASE64.encode(json);
        check("garbage", "invalid character '\\u0081' looking for beginning of value");
        check("a!", "illegal base64 data at input byte 1");
        check("", "unexpected end of JSON input");
        check(&encoded("{}"), "server does not recognize this encoded version ");
        check(&encoded(r#"{"v":"v9"}"#), "server does not recognize this encoded version v9");
        let of = |rest: &str| encoded(&format!(r#"{{"v":"meta.k8s.io/v1",{rest}}}"#));
        check(&of(r#""rv":0,"start":"a""#), "incorrect encoded start resourceVersion (version meta.k8s.io/v1)");
        check(&of(r#""rv":1"#), "encoded start key empty (version meta.k8s.io/v1)");
        check(&of(r#""rv":1,"start":"/../a""#), "/../a");
        check(&of(r#""rv":1,"start":"a//b""#), "a//b");
        check(&of(r#""rv":1,"start":"a/""#), "a/");
    }
}
