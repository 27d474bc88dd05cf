//! One foreign issuer: its configuration and its keys.

use std::sync::Arc;

use crate::tokens::jws::{JwsError, Unverified};

use super::super::bearer::KnownToken;
use super::super::configuration::{IssuerConfiguration, JwtConfiguration};
use super::claims::{self, ClaimsError};
use super::discovery::{Dial, FetchError, KeySource};

/// Why a token of an issuer is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// No key was fetched yet.
    #[error("its keys could not be fetched yet")]
    NoKeys,
    /// None of the keys that were fetched verifies it, and there may be newer ones.
    #[error(transparent)]
    Stale(JwsError),
    /// The form or the signature.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// What it says.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// It claims to be one of the cluster's own.
    #[error(
        "token names a user or a group that begins with system:, which only this cluster's own may have: let the issuer's \
         configuration put a prefix before it"
    )]
    SystemName,
}

/// Where an issuer's keys are, and whom to trust there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) issuer: String,
    pub(super) discovery_url: String,
    pub(super) certificate_authority: String,
}

impl Place {
    pub(super) fn of(issuer: &IssuerConfiguration) -> Self {
        let discovery_url = match issuer.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/')),
            given => given.to_owned(),
        };
        Self { issuer: issuer.url.clone(), discovery_url, certificate_authority: issuer.certificate_authority.clone() }
    }
}

/// An issuer whose tokens are taken.
pub(super) struct Issuer {
    configuration: JwtConfiguration,
    keys: Arc<KeySource>,
}

impl Issuer {
    /// Begins to fetch the keys of an issuer.
    pub(super) fn new(place: Place, jwt: &JwtConfiguration, dial: &dyn Dial) -> Result<Self, FetchError> {
        let fetch = dial.fetcher(&place.discovery_url, &place.certificate_authority)?;
        Ok(Self { configuration: jwt.clone(), keys: Arc::new(KeySource::start(place, fetch)) })
    }

    /// Gives an issuer another configuration.
    pub(super) fn with_keys_of(old: &Issuer, jwt: &JwtConfiguration) -> Self {
        Self { configuration: jwt.clone(), keys: Arc::clone(&old.keys) }
    }

    pub(super) fn name(&self) -> &str {
        &self.configuration.issuer.url
    }

    pub(super) fn place(&self) -> &Place {
        self.keys.place()
    }

    /// Judges a token that names this issuer.
    pub(super) fn judge(&self, token: Unverified<'_>, now: i64) -> Result<KnownToken, TokenError> {
        let keys = self.keys.current().ok_or(TokenError::NoKeys)?;
        let knows_key = keys.has(token.key_id());
        let verified = token.verify(&keys, &self.configuration.algorithms).map_err(|error| match error {
            JwsError::NoSuchKey | JwsError::BadSignature if !knows_key => TokenError::Stale(error),
            error => TokenError::Jws(error),
        })?;
        let claims = verified.as_object().ok_or(JwsError::Unreadable { part: "claims" })?;
        let identity = claims::identify(&self.configuration, claims, now)?;
        Ok(KnownToken { identity: Arc::new(identity), audiences: Vec::new(), remark: None })
    }

    /// Says whether asking for new keys could bring some.
    pub(super) fn may_refresh(&self) -> bool {
        self.keys.may_refresh()
    }

    /// Waits, for a limited time, until the keys were fetched once more.
    pub(super) async fn refresh(&self) {
        self.keys.refresh().await;
    }
}
