//! Where an issuer's keys come from: its discovery document names a JWKS, which holds them (OpenID Connect Discovery 1.0, RFC
//! 7517; upstream: go-oidc's provider and remote key set).
//!
//! One task for each issuer fetches: at start until it has keys, then when a token was signed with a key that it does not know,
//! and now and then, so that a key that was withdrawn ends. No request fetches by itself, so a client that goes away stops
//! nothing, and one that sends nonsense costs at most one fetch in [`FETCH_INTERVAL_MIN`]. The last good keys stay in force.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::BoxFuture;
use crate::tokens::json;
use crate::tokens::jws::{Algorithm, KeySet, NamedKey};
use crate::tokens::keys::{KEYS_MAX, PublicKey};

use super::issuer::Place;

/// Bytes of a discovery document.
const DISCOVERY_LEN_MAX: usize = 256 * 1024;
/// Bytes of a JWKS.
const JWKS_LEN_MAX: usize = 1 << 20;
/// One document is there within this time, or the attempt failed.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the end of one attempt and the next.
const FETCH_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// Keys are fetched again after this time although nobody asked.
const KEYS_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a request waits for a fetch: two documents.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Gets documents over HTTPS, without following redirects (A26).
pub trait Fetch: Send + Sync + 'static {
    /// Returns the body of a 200 answer of at most `len_max` bytes.
    fn get<'a>(&'a self, url: &'a str, len_max: usize) -> BoxFuture<'a, Result<Bytes, FetchError>>;
}

/// Makes what fetches the documents of one issuer.
pub trait Dial: Send + Sync + 'static {
    /// Makes one that begins with the document at `url`, and trusts these CAs (PEM), or the system's when the text is empty.
    ///
    /// # Errors
    /// The URL or the CAs can not be used.
    fn fetcher(&self, url: &str, certificate_authority: &str) -> Result<Arc<dyn Fetch>, FetchError>;
}

/// Why a document, or what should fetch it, is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Why an issuer's keys are not to be had.
#[derive(Debug, thiserror::Error)]
enum DiscoveryError {
    #[error("{document} can not be fetched from {url:?}: {reason}")]
    Fetch { document: &'static str, url: String, reason: FetchError },
    #[error("{document} took longer than {FETCH_TIMEOUT:?}")]
    TimedOut { document: &'static str },
    #[error("{document} is larger than {limit} bytes")]
    TooLarge { document: &'static str, limit: usize },
    #[error("{document} is no JSON object: {reason}")]
    Unreadable { document: &'static str, reason: String },
    #[error("discovery document is of issuer {found:?}, not of the one that is configured")]
    OtherIssuer { found: String },
    #[error("discovery document names no jwks_uri with https")]
    NoKeysUri,
    #[error("JWKS holds no list of keys")]
    NoKeyList,
    #[error("JWKS holds more than {KEYS_MAX} keys")]
    TooManyKeys,
    #[error("JWKS holds no key that verifies tokens")]
    NoKeys,
}

/// What the fetching task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It can be asked to fetch.
    Ready,
    /// It fetches.
    Fetching,
    /// It fetched just now.
    Resting,
}

/// How far the fetching task is.
#[derive(Clone, Copy, Debug)]
struct Round {
    phase: Phase,
    /// Attempts that ended.
    ended: u64,
}

/// The keys of one issuer, and the task that fetches them, which ends with it.
pub(super) struct KeySource {
    shared: Arc<Shared>,
    wanted: mpsc::Sender<()>,
    round: watch::Receiver<Round>,
    task: JoinHandle<()>,
}

struct Shared {
    place: Place,
    fetch: Arc<dyn Fetch>,
    keys: ArcSwapOption<KeySet>,
}

impl KeySource {
    /// Begins to fetch.
    pub(super) fn start(place: Place, fetch: Arc<dyn Fetch>) -> Self {
        let shared = Arc::new(Shared { place, fetch, keys: ArcSwapOption::empty() });
        let (wanted, wishes) = mpsc::channel(1);
        let (report, round) = watch::channel(Round { phase: Phase::Fetching, ended: 0 });
        let task = tokio::spawn(keep(Arc::clone(&shared), wishes, report));
        Self { shared, wanted, round, task }
    }

    pub(super) fn place(&self) -> &Place {
        &self.shared.place
    }

    /// Returns the keys that were fetched last.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.shared.keys.load_full()
    }

    /// Says whether a fetch is under way, or can be asked for.
    pub(super) fn may_refresh(&self) -> bool {
        self.round.borrow().phase != Phase::Resting
    }

    /// Asks for a fetch, and waits for its end or that of the one that is under way.
    pub(super) async fn refresh(&self) {
        let mut round = self.round.clone();
        let seen = *round.borrow_and_update();
        match seen.phase {
            Phase::Resting => return,
            Phase::Fetching => {}
            Phase::Ready => {
                // A full channel holds somebody's wish for the same fetch.
                let _ = self.wanted.try_send(());
            }
        }
        // When it takes too long the old keys judge once more, and refuse.
        let _ = timeout(WAIT_MAX, round.wait_for(|now| now.ended != seen.ended)).await;
    }
}

impl Drop for KeySource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fetches at start, when it is asked, and when the keys are old.
async fn keep(shared: Arc<Shared>, mut wishes: mpsc::Receiver<()>, report: watch::Sender<Round>) {
    loop {
        report.send_modify(|round| round.phase = Phase::Fetching);
        let issuer = shared.place.issuer.as_str();
        match shared.fetch_keys().await {
            Ok(keys) => {
                let had_none = shared.keys.swap(Some(Arc::new(keys))).is_none();
                tracing::debug!(issuer, "keys of the issuer were fetched");
                if had_none {
                    tracing::info!(issuer, "tokens of the issuer can be verified");
                }
            }
            Err(error) => {
                let has_keys = shared.keys.load().is_some();
                tracing::warn!(issuer, has_keys, %error, "keys of the issuer can not be fetched");
            }
        }
        report.send_modify(|round| *round = Round { phase: Phase::Resting, ended: round.ended.wrapping_add(1) });
        sleep(FETCH_INTERVAL_MIN).await;
        // Whoever wished before this fetch ended has been served by it.
        while wishes.try_recv().is_ok() {}
        if shared.keys.load().is_none() {
            continue;
        }
        report.send_modify(|round| round.phase = Phase::Ready);
        if let Ok(None) = timeout(KEYS_AGE_MAX, wishes.recv()).await {
            return;
        }
    }
}

impl Shared {
    async fn fetch_keys(&self) -> Result<KeySet, DiscoveryError> {
        let url = &self.place.discovery_url;
        let discovery = self.fetch("discovery document", url, DISCOVERY_LEN_MAX).await?;
        let text = |name: &str| discovery.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("issuer") != self.place.issuer {
            return Err(DiscoveryError::OtherIssuer { found: text("issuer").to_owned() });
        }
        let uri = text("jwks_uri");
        let is_https = uri.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        if !is_https {
            return Err(DiscoveryError::NoKeysUri);
        }
        read_keys(&self.fetch("JWKS", uri, JWKS_LEN_MAX).await?)
    }

    async fn fetch(&self, document: &'static str, url: &str, limit: usize) -> Result<Value, DiscoveryError> {
        let body = match timeout(FETCH_TIMEOUT, self.fetch.get(url, limit)).await {
            Ok(Ok(body)) => body,
            Ok(Err(reason)) => return Err(DiscoveryError::Fetch { document, url: url.to_owned(), reason }),
            Err(_) => return Err(DiscoveryError::TimedOut { document }),
        };
        if body.len() > limit {
            return Err(DiscoveryError::TooLarge { document, limit });
        }
        match json::read(&body) {
            Ok(value) if value.is_object() => Ok(value),
            Ok(_) => Err(DiscoveryError::Unreadable { document, reason: "it is something else".to_owned() }),
            Err(error) => Err(DiscoveryError::Unreadable { document, reason: error.to_string() }),
        }
    }
}

/// Takes the keys that verify tokens; an issuer may publish others beside them.
fn read_keys(jwks: &Value) -> Result<KeySet, DiscoveryError> {
    let listed = jwks.get("keys").and_then(Value::as_array).ok_or(DiscoveryError::NoKeyList)?;
    if listed.len() > KEYS_MAX {
        return Err(DiscoveryError::TooManyKeys);
    }
    let mut keys = Vec::new();
    for jwk in listed {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|purpose| purpose != "sig") {
            continue;
        }
        let algorithm = match text("alg") {
            None => None,
            Some(name) => match Algorithm::by_name(name) {
                Some(algorithm) => Some(algorithm),
                None => continue,
            },
        };
        match PublicKey::from_jwk(jwk) {
            Ok(key) => keys.push(NamedKey { id: text("kid").map(str::to_owned), algorithm, key }),
            Err(error) => tracing::debug!(%error, "a key of the issuer is not used"),
        }
    }
    if keys.is_empty() { Err(DiscoveryError::NoKeys) } else { Ok(KeySet::new(keys)) }
}
