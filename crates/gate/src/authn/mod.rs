//! Step 2, `Identified`: who sends a request (upstream: the authentication filter and its union of authenticators).
//!
//! Authenticators are asked in a fixed order. The first that knows the credential decides; a credential that is wrong refuses
//! the request even where none is needed. No credential at all means the anonymous user, who reaches the paths of L1 and
//! nothing else, whatever an authoriser would say.

mod anonymous;
mod bearer;
pub(crate) mod certificate;
mod process;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use crate::BoxFuture;
use crate::arrival::Arrived;
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::request_info::Located;

use self::anonymous::Anonymous;
pub(crate) use self::anonymous::PUBLIC_PATHS;
use self::bearer::Bearer;
pub use self::bearer::{KnownToken, TokenAuthenticator, TokenVerdict, Tokens};
use self::certificate::ClientCertificate;
use self::process::Process;

/// What one authenticator says of a request.
pub(crate) enum Authentication<'a> {
    /// The credential is good, and this is whose it is.
    Identified(Arc<Identity>),
    /// There is a credential of this sort, and it is wrong. The reason is for the log.
    Refused(Cow<'static, str>),
    /// There is no credential of this sort.
    Silent,
    /// Somebody else must be asked first.
    Later(BoxFuture<'a, Authentication<'static>>),
}

impl Authentication<'_> {
    /// Refuses in fixed words.
    pub(crate) fn refused(reason: &'static str) -> Self {
        Self::Refused(Cow::Borrowed(reason))
    }
}

/// One way to prove an identity.
pub(crate) trait Authenticator: Send + Sync {
    /// Its name in the log.
    fn name(&self) -> &'static str;
    /// Judges the credentials of a request.
    fn authenticate<'a>(&'a self, arrived: &'a Arrived) -> Authentication<'a>;
}

/// A request whose sender is known, if only as anonymous.
pub struct Identified {
    located: Located,
    identity: Arc<Identity>,
}

impl Identified {
    pub(crate) fn located(&self) -> &Located {
        &self.located
    }

    pub(crate) fn located_mut(&mut self) -> &mut Located {
        &mut self.located
    }

    /// Returns who sent the request.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }
}

/// All authenticators, in the order they are asked, and then the anonymous user.
pub struct Authenticators {
    chain: Vec<Box<dyn Authenticator>>,
    tokens: Arc<Tokens>,
    anonymous: Anonymous,
}

impl Authenticators {
    /// Puts the authenticators in order: process, client certificate, bearer token.
    pub fn new(tokens: Tokens) -> Self {
        let tokens = Arc::new(tokens);
        let bearer = Bearer(Arc::clone(&tokens));
        Self {
            chain: vec![Box::new(Process), Box::new(ClientCertificate), Box::new(bearer)],
            tokens,
            anonymous: Anonymous::new(),
        }
    }

    /// Returns who knows tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Finds out who sends a request, and takes the credentials out of it.
    pub(crate) async fn identify(&self, mut located: Located) -> Result<Identified, Refusal> {
        let identity = self.judge(&located).await?;
        strip_credentials(&mut located.arrived_mut().parts.headers);
        Ok(Identified { located, identity })
    }

    async fn judge(&self, located: &Located) -> Result<Arc<Identity>, Refusal> {
        let arrived = located.arrived();
        // As upstream: a sound credential wins over a broken one of another sort; a broken one never becomes anonymous.
        let mut refused = None;
        for authenticator in &self.chain {
            let mut verdict = authenticator.authenticate(arrived);
            while let Authentication::Later(future) = verdict {
                verdict = future.await;
            }
            match verdict {
                Authentication::Identified(identity) => return Ok(identity),
                Authentication::Refused(reason) => refused = refused.or(Some((authenticator.name(), reason))),
                Authentication::Silent | Authentication::Later(_) => {}
            }
        }
        arrived.peer.mark_stranger();
        if refused.is_none()
            && let Some(identity) = self.anonymous.identify(located.info())
        {
            return Ok(identity);
        }
        let (authenticator, reason) = refused.unwrap_or(("anonymous", Cow::Borrowed("no credentials")));
        tracing::info!(
            audit_id = arrived.audit_id.to_str().unwrap_or_default(),
            remote = %arrived.peer.remote(),
            gate = "authn",
            authenticator,
            reason = &*reason,
            "request refused"
        );
        Err(Refusal::Unauthenticated)
    }
}

/// Headers that an aggregating server uses to name a user. They mean nothing from anybody else, so nobody behind the gate ever
/// sees one that the gate did not judge (security audit NCC-YVU).
const REMOTE_USER_PREFIX: &str = "x-remote-";

fn strip_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    strip_prefix(headers, REMOTE_USER_PREFIX);
}

/// Removes every header whose name starts with `prefix`, without allocating when there is none.
pub(crate) fn strip_prefix(headers: &mut HeaderMap, prefix: &str) {
    if !headers.keys().any(|name| name.as_str().starts_with(prefix)) {
        return;
    }
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}
