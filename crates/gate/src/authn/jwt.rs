//! Tokens of foreign issuers: OpenID Connect ID tokens and what else is signed like them (upstream: the `oidc` authenticator,
//! KEP-3331).
//!
//! The issuer that a token names only chooses whose keys are tried; what the token says counts once one of those keys verified
//! it. Which issuers there are is replaced as a whole while the server runs; an issuer whose place did not change keeps its keys.
//!
//! Upstream advises operators to forbid users and groups that begin with `system:` by a rule of their own. Here no issuer may name
//! one, unless it was said that all may (A27): `system:masters` in a claim would be above every role.

mod claims;
mod discovery;
mod https;
mod issuer;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::identity::{GROUP_AUTHENTICATED, Identity};
use crate::tokens::jws::{JwsError, Unverified};

use super::bearer::{KnownToken, TokenAuthenticator, TokenVerdict};
use super::configuration::AuthenticationConfiguration;

pub use self::discovery::{Dial, Fetch, FetchError};
pub use self::https::HttpsDial;
use self::issuer::{Issuer, Place, TokenError};

/// Requests that wait for an issuer's new keys; their senders proved nothing yet.
const WAITING_MAX: usize = 256;
/// How names begin that mean something to the cluster itself.
const SYSTEM_PREFIX: &str = "system:";

/// Whether foreign tokens may name users and groups that begin with `system:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemNames {
    /// A token that does is refused.
    #[default]
    Refused,
    /// They may, as upstream lets them.
    Taken,
}

/// The foreign issuers in force.
pub struct JwtIssuers {
    dial: Box<dyn Dial>,
    issuers: ArcSwap<Vec<Arc<Issuer>>>,
    system_names: SystemNames,
    waiting: Semaphore,
}

impl JwtIssuers {
    /// Starts with no issuer. `dial` makes what fetches their keys.
    pub fn new(dial: Box<dyn Dial>) -> Self {
        let (system_names, waiting) = (SystemNames::default(), Semaphore::new(WAITING_MAX));
        Self { dial, issuers: ArcSwap::default(), system_names, waiting }
    }

    /// Says what becomes of tokens that name the cluster's own users and groups.
    pub fn with_system_names(self, system_names: SystemNames) -> Self {
        Self { system_names, ..self }
    }

    /// Replaces the issuers, and begins to fetch the keys of those that are new. Needs a running runtime.
    ///
    /// # Errors
    /// An issuer can not be dialled the way it was asked for; then all stays as it is.
    pub fn replace(&self, configuration: &AuthenticationConfiguration) -> Result<(), FetchError> {
        let old = self.issuers.load();
        let mut issuers = Vec::with_capacity(configuration.jwt.len());
        for jwt in &configuration.jwt {
            let place = Place::of(&jwt.issuer);
            let kept = old.iter().find(|issuer| *issuer.place() == place);
            let issuer = match kept {
                Some(kept) => Issuer::with_keys_of(kept, jwt),
                None => Issuer::new(place, jwt, self.dial.as_ref())?,
            };
            issuers.push(Arc::new(issuer));
        }
        self.issuers.store(Arc::new(issuers));
        Ok(())
    }

    fn find(&self, name: &str) -> Option<Arc<Issuer>> {
        self.issuers.load().iter().find(|issuer| issuer.name() == name).cloned()
    }

    fn judge<'a>(&'a self, token: &'a str, now: i64) -> TokenVerdict<'a> {
        if self.issuers.load().is_empty() {
            return TokenVerdict::Unknown;
        }
        let unverified = match Unverified::parse(token) {
            Ok(unverified) => unverified,
            Err(JwsError::Malformed(_)) => return TokenVerdict::Unknown,
            Err(error) => return TokenVerdict::Refused(error.to_string().into()),
        };
        let Some(issuer) = unverified.claimed_issuer().and_then(|name| self.find(name)) else {
            return TokenVerdict::Unknown;
        };
        let judged = issuer.judge(unverified, now);
        // The issuer may have a new key: it is asked, if it was not asked just now.
        if let Err(TokenError::Stale(_)) = judged
            && issuer.may_refresh()
            && let Ok(place) = self.waiting.try_acquire()
        {
            return TokenVerdict::Later(Box::pin(async move {
                let _place = place;
                issuer.refresh().await;
                let judged = Unverified::parse(token).map_err(TokenError::Jws);
                verdict(&issuer, judged.and_then(|unverified| issuer.judge(unverified, now)), self.system_names)
            }));
        }
        verdict(&issuer, judged, self.system_names)
    }
}

fn verdict(issuer: &Issuer, judged: Result<KnownToken, TokenError>, names: SystemNames) -> TokenVerdict<'static> {
    match judged.and_then(|known| check_names(known, names)) {
        Ok(known) => TokenVerdict::Known(known),
        Err(error) => TokenVerdict::Refused(Cow::Owned(format!("issuer {:?}: {error}", issuer.name()))),
    }
}

/// The group of all who proved who they are was given here, and gives nothing more to who brings it along.
fn check_names(known: KnownToken, names: SystemNames) -> Result<KnownToken, TokenError> {
    let Identity { name, groups, .. } = &*known.identity;
    let groups = groups.iter().filter(|group| *group != GROUP_AUTHENTICATED);
    let names_system = std::iter::once(name).chain(groups).any(|name| name.starts_with(SYSTEM_PREFIX));
    if names_system && names == SystemNames::Refused { Err(TokenError::SystemName) } else { Ok(known) }
}

/// Shared with whoever replaces the issuers.
impl TokenAuthenticator for Arc<JwtIssuers> {
    fn name(&self) -> &'static str {
        "jwt"
    }

    /// The audiences asked for are not looked at: a foreign token is for whom its issuer's configuration says, and then it is
    /// meant for the API server (upstream: an audience-agnostic authenticator).
    fn authenticate<'a>(&'a self, token: &'a str, _audiences: &'a [String]) -> TokenVerdict<'a> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.judge(token, i64::try_from(now).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests;
