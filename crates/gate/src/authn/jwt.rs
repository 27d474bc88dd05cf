//! Tokens of foreign issuers: OpenID Connect ID tokens and what else is signed like them (upstream: the `oidc` authenticator,
//! KEP-3331).
//!
//! The issuer that a token names only chooses whose keys are tried; what the token says counts once one of those keys verified
//! it. Which issuers there are is replaced as a whole while the server runs; an issuer whose place did not change keeps its keys.

mod claims;
mod discovery;
mod https;
mod issuer;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::tokens::jws::{JwsError, Unverified};

use super::bearer::{KnownToken, TokenAuthenticator, TokenVerdict};
use super::configuration::AuthenticationConfiguration;

pub use self::discovery::{Dial, Fetch, FetchError};
pub use self::https::HttpsDial;
use self::issuer::{Issuer, Place, TokenError};

/// The foreign issuers in force.
pub struct JwtIssuers {
    dial: Box<dyn Dial>,
    issuers: ArcSwap<Vec<Arc<Issuer>>>,
}

impl JwtIssuers {
    /// Starts with no issuer. `dial` makes what fetches their keys.
    pub fn new(dial: Box<dyn Dial>) -> Self {
        Self { dial, issuers: ArcSwap::default() }
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

    fn judge<'a>(&self, token: &'a str, now: i64) -> TokenVerdict<'a> {
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
        match issuer.judge(unverified, now) {
            // The issuer may have a new key: it is asked, if it was not asked just now.
            Err(TokenError::Stale(_)) if issuer.may_refresh() => TokenVerdict::Later(Box::pin(async move {
                issuer.refresh().await;
                let judged = Unverified::parse(token).map_err(TokenError::Jws);
                verdict(&issuer, judged.and_then(|unverified| issuer.judge(unverified, now)))
            })),
            judged => verdict(&issuer, judged),
        }
    }
}

fn verdict(issuer: &Issuer, judged: Result<KnownToken, TokenError>) -> TokenVerdict<'static> {
    match judged {
        Ok(known) => TokenVerdict::Known(known),
        Err(error) => TokenVerdict::Refused(Cow::Owned(format!("issuer {:?}: {error}", issuer.name()))),
    }
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
