//! Step 2, `Identified`: who sends a request (upstream: the authentication filter and its union of authenticators).
//!
//! Authenticators are asked in a fixed order. The first that knows the credential decides; a credential that is wrong refuses
//! the request even where none is needed. No credential at all means the anonymous user, who reaches the paths of L1 and
//! nothing else, whatever an authoriser would say.

mod anonymous;
mod bearer;
mod bootstrap_token;
pub(crate) mod certificate;
mod configuration;
mod configuration_file;
mod jwt;
mod process;
mod request_header;
mod service_account;
mod trust_files;
pub(crate) mod webhook;
mod websocket;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};

use crate::BoxFuture;
use crate::arrival::{Arrived, PeerCredential};
use crate::identity::Identity;
use crate::metrics::Authenticated;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::request_info::Located;

pub(crate) use self::anonymous::PUBLIC_PATHS;
pub use self::anonymous::{Anonymous, AnonymousPaths};
use self::bearer::Bearer;
pub use self::bearer::{KnownToken, TokenAuthenticator, TokenRemark, TokenVerdict, Tokens};
pub use self::bootstrap_token::BootstrapTokens;
use self::certificate::ClientCertificate;
pub use self::configuration::{AuthenticationConfiguration, ConfigurationError, OidcFlags};
pub use self::configuration_file::{ConfigurationFile, ConfigurationFileError};
pub use self::jwt::{Dial, Fetch, FetchError, HttpsDial, JwtIssuers, SystemNames};
use self::process::Process;
use self::request_header::UserHeaders;
pub use self::request_header::{FrontProxy, RequestHeaderError, RequestHeaders};
pub use self::service_account::ServiceAccountTokens;
pub use self::trust_files::{TrustFiles, TrustFilesError, Trusted};
pub use self::webhook::{TokenWebhook, TokenWebhookSettings};
use self::websocket::WebSocket;

/// What one authenticator says of a request.
pub(crate) enum Authentication<'a> {
    /// The credential is good, and this is whose it is.
    Identified(Arc<Identity>),
    /// The same, and the record of the request should say something of it.
    Remarked(Arc<Identity>, TokenRemark),
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
pub(crate) struct Identified {
    located: Located,
    identity: Arc<Identity>,
    authenticator: &'static str,
    /// Boxed: there is hardly ever one, and each step hands it on to the next.
    remark: Option<Box<TokenRemark>>,
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

    /// Returns what the record of the request should say of its credential.
    pub(crate) fn remark(&self) -> Option<&TokenRemark> {
        self.remark.as_deref()
    }

    /// Returns the name of the authenticator that proved it.
    pub(crate) fn authenticator(&self) -> &'static str {
        self.authenticator
    }
}

/// A request whose sender could not be proved.
pub(crate) struct Unidentified {
    pub(crate) located: Located,
    pub(crate) refusal: Refusal,
    /// Which credentials it showed, for the record.
    pub(crate) attempted: String,
    /// Whether a credential was wrong, or there was none.
    pub(crate) result: Authenticated,
}

/// All authenticators, in the order they are asked, and then the anonymous user.
pub struct Authenticators {
    chain: Vec<Box<dyn Authenticator>>,
    tokens: Arc<Tokens>,
    anonymous: Arc<Anonymous>,
    user_headers: UserHeaders,
}

/// What an operator chooses of the authenticators; their order is fixed.
#[derive(Default)]
pub struct Credentials {
    /// The front proxy that is believed, if there is one.
    pub front_proxy: Option<Arc<FrontProxy>>,
    /// Who knows tokens.
    pub tokens: Tokens,
    /// Where the anonymous user exists.
    pub anonymous: Arc<Anonymous>,
}

impl Authenticators {
    /// Makes the authenticators of a server that knows certificates and these tokens.
    pub fn new(tokens: Tokens) -> Self {
        Self::of(Credentials { tokens, ..Credentials::default() })
    }

    /// Puts the authenticators in upstream's order: process, front proxy, client certificate, bearer token, the token of a
    /// WebSocket; and then anonymous.
    pub fn of(credentials: Credentials) -> Self {
        let Credentials { front_proxy, tokens, anonymous } = credentials;
        let tokens = Arc::new(tokens);
        let user_headers = UserHeaders::of(front_proxy.as_deref());
        let mut chain: Vec<Box<dyn Authenticator>> = vec![Box::new(Process)];
        if let Some(front_proxy) = front_proxy {
            chain.push(Box::new(front_proxy));
        }
        chain.push(Box::new(ClientCertificate));
        chain.push(Box::new(Bearer(Arc::clone(&tokens))));
        chain.push(Box::new(WebSocket(Arc::clone(&tokens))));
        Self { chain, tokens, anonymous, user_headers }
    }

    /// Returns who knows tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Finds out who sends a request, and takes the credentials out of it.
    pub(crate) async fn identify(&self, mut located: Located) -> Result<Identified, Unidentified> {
        let judged = self.judge(&located).await.map_err(|result| (result, attempted(located.arrived())));
        self.strip_credentials(&mut located.arrived_mut().parts.headers);
        match judged {
            Ok((identity, authenticator, remark)) => {
                Ok(Identified { located, identity, authenticator, remark: remark.map(Box::new) })
            }
            Err((result, attempted)) => {
                Err(Unidentified { located, refusal: Refusal::Unauthenticated, attempted, result })
            }
        }
    }

    async fn judge(
        &self,
        located: &Located,
    ) -> Result<(Arc<Identity>, &'static str, Option<TokenRemark>), Authenticated> {
        let arrived = located.arrived();
        // As upstream: a sound credential wins over a broken one of another sort; a broken one never becomes anonymous.
        let mut refused = None;
        for authenticator in &self.chain {
            let mut verdict = authenticator.authenticate(arrived);
            while let Authentication::Later(future) = verdict {
                verdict = future.await;
            }
            match verdict {
                // A1: the anonymous user has no credential, so no credential makes one.
                Authentication::Identified(identity) | Authentication::Remarked(identity, _)
                    if identity.is_anonymous() =>
                {
                    let reason = Cow::Borrowed("a credential of the anonymous user");
                    refused = refused.or(Some((authenticator.name(), reason)));
                }
                Authentication::Identified(identity) => {
                    arrived.peer.mark_known();
                    return Ok((identity, authenticator.name(), None));
                }
                Authentication::Remarked(identity, remark) => {
                    arrived.peer.mark_known();
                    return Ok((identity, authenticator.name(), Some(remark)));
                }
                Authentication::Refused(reason) => refused = refused.or(Some((authenticator.name(), reason))),
                Authentication::Silent | Authentication::Later(_) => {}
            }
        }
        arrived.peer.mark_stranger();
        if refused.is_none()
            && let Some(identity) = self.anonymous.identify(located.info())
        {
            return Ok((identity, "anonymous", None));
        }
        let result = if refused.is_some() { Authenticated::Error } else { Authenticated::Failure };
        let (authenticator, reason) = refused.unwrap_or(("anonymous", Cow::Borrowed("no credentials")));
        tracing::info!(
            audit_id = arrived.audit_id.to_str().unwrap_or_default(),
            remote = %arrived.peer.remote(),
            gate = "authn",
            authenticator,
            reason = &*reason,
            "request refused"
        );
        Err(result)
    }

    /// Nobody behind the gate sees a credential, or a header that names a user and that the gate did not judge (NCC-YVU).
    fn strip_credentials(&self, headers: &mut HeaderMap) {
        headers.remove(header::AUTHORIZATION);
        websocket::strip(headers);
        self.user_headers.strip(headers);
    }
}

/// Says which credentials a request showed, in upstream's words.
fn attempted(arrived: &Arrived) -> String {
    let mut sorts = Vec::new();
    if let Some(value) = arrived.parts.headers.get(header::AUTHORIZATION) {
        match value.as_bytes().trim_ascii_start().split(|byte| *byte == b' ').next() {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"bearer") => sorts.push("bearer"),
            Some(scheme) if scheme.eq_ignore_ascii_case(b"basic") => sorts.push("basic"),
            _ => {}
        }
    }
    if websocket::has_token(&arrived.parts.headers) {
        sorts.push("websocket");
    }
    if Query::new(arrived.parts.uri.query().unwrap_or_default()).get("access_token").is_some() {
        sorts.push("access_token");
    }
    if matches!(arrived.peer.credential(), PeerCredential::Certificate(_)) {
        sorts.push("x509");
    }
    if sorts.is_empty() {
        return "Authentication failed, no credentials provided".to_owned();
    }
    format!("Authentication failed, attempted: {}", sorts.join(", "))
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

#[cfg(test)]
mod tests;
