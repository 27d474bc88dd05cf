//! Bearer tokens: taken out of the request, and put to those who know tokens, one after the other (upstream: `bearertoken` and
//! its union of token authenticators).
//!
//! A token is never ignored: a client that sends one that nobody knows gets 401, on the paths of L1 too, instead of an
//! anonymous answer. A `TokenReview` asks the same authenticators.

use std::borrow::Cow;
use std::sync::Arc;

use http::header;

use crate::BoxFuture;
use crate::arrival::Arrived;
use crate::identity::Identity;

use super::{Authentication, Authenticator};

/// A token that somebody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownToken {
    /// Whose it is.
    pub identity: Arc<Identity>,
    /// Which of the audiences that were asked for it is meant for. Empty when its authenticator knows none: then it is meant
    /// for the API server.
    pub audiences: Vec<String>,
    /// What the record of a request should say of it.
    pub remark: Option<TokenRemark>,
}

/// What is good about a token and should not be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRemark {
    /// The key of an annotation.
    pub key: &'static str,
    /// What it says.
    pub value: String,
}

/// What one authenticator says of a token.
pub enum TokenVerdict<'a> {
    /// It is good.
    Known(KnownToken),
    /// It is of this sort, and wrong. The reason is for the log and for whoever reviews a token; it never holds the token.
    Refused(Cow<'static, str>),
    /// It is not of this sort.
    Unknown,
    /// Somebody else must be asked first.
    Later(BoxFuture<'a, TokenVerdict<'static>>),
}

impl TokenVerdict<'_> {
    /// Refuses in fixed words.
    pub fn refused(reason: &'static str) -> Self {
        Self::Refused(Cow::Borrowed(reason))
    }
}

/// One sort of token.
pub trait TokenAuthenticator: Send + Sync {
    /// Its name in the log.
    fn name(&self) -> &'static str;

    /// Judges a token for an asker who is one of `audiences` (never empty).
    fn authenticate<'a>(&'a self, token: &'a str, audiences: &'a [String]) -> TokenVerdict<'a>;
}

/// All sorts of tokens, in the order they are asked, and the audiences that this API server is.
#[derive(Default)]
pub struct Tokens {
    api_audiences: Vec<String>,
    chain: Vec<Box<dyn TokenAuthenticator>>,
}

impl Tokens {
    /// Puts authenticators in order.
    pub fn new(api_audiences: Vec<String>, chain: Vec<Box<dyn TokenAuthenticator>>) -> Self {
        Self { api_audiences, chain }
    }

    /// Returns what this API server calls itself.
    pub fn api_audiences(&self) -> &[String] {
        &self.api_audiences
    }

    /// Judges a token for an asker who is one of `audiences`; for this API server when there is none. A sound token wins over
    /// the complaints of those who did not know it.
    ///
    /// # Errors
    /// Why nobody takes it, in the words of each that complained: name and reason.
    pub async fn judge(&self, token: &str, audiences: &[String]) -> Result<KnownToken, Vec<(&'static str, String)>> {
        let asked = if audiences.is_empty() { &self.api_audiences } else { audiences };
        let mut complaints = Vec::new();
        for authenticator in &self.chain {
            let mut verdict = authenticator.authenticate(token, asked);
            while let TokenVerdict::Later(future) = verdict {
                verdict = future.await;
            }
            match verdict {
                // A1: the anonymous user has no credential, for who reviews a token as little as here.
                TokenVerdict::Known(known) if known.identity.is_anonymous() => {
                    complaints.push((authenticator.name(), "a credential of the anonymous user".to_owned()));
                }
                TokenVerdict::Known(known) => match self.for_audience(known, asked) {
                    Some(known) => return Ok(known),
                    None => complaints.push((authenticator.name(), "token is not meant for this audience".to_owned())),
                },
                TokenVerdict::Refused(reason) => complaints.push((authenticator.name(), reason.into_owned())),
                TokenVerdict::Unknown | TokenVerdict::Later(_) => {}
            }
        }
        if complaints.is_empty() {
            complaints.push(("bearer", "token is not known".to_owned()));
        }
        Err(complaints)
    }

    /// A token without audiences is meant for the API server.
    fn for_audience(&self, mut known: KnownToken, asked: &[String]) -> Option<KnownToken> {
        if known.audiences.is_empty() {
            known.audiences = asked.iter().filter(|audience| self.api_audiences.contains(audience)).cloned().collect();
        }
        // Without a service account issuer there is no audience at all, and nobody to ask for one.
        (!known.audiences.is_empty() || asked.is_empty()).then_some(known)
    }
}

/// The `Authorization` header.
pub(super) struct Bearer(pub(super) Arc<Tokens>);

impl Authenticator for Bearer {
    fn name(&self) -> &'static str {
        "bearer"
    }

    fn authenticate<'a>(&'a self, arrived: &'a Arrived) -> Authentication<'a> {
        let mut given = arrived.parts.headers.get_all(header::AUTHORIZATION).iter().map(|value| value.as_bytes());
        match (given.next().and_then(token), given.next()) {
            // A proxy in front may have looked at another one than we would; upstream takes the first.
            (_, Some(_)) => Authentication::refused("several Authorization headers"),
            (Some(token), None) => judge(&self.0, token),
            (None, None) => Authentication::Silent,
        }
    }
}

/// Puts the bytes of a token to all who know tokens, for this API server.
pub(super) fn judge<'a>(tokens: &'a Tokens, token: &'a [u8]) -> Authentication<'a> {
    let Ok(token) = std::str::from_utf8(token) else {
        return Authentication::refused("token is not text");
    };
    Authentication::Later(Box::pin(async move {
        match tokens.judge(token, &[]).await {
            Ok(KnownToken { identity, remark: Some(remark), .. }) => Authentication::Remarked(identity, remark),
            Ok(known) => Authentication::Identified(known.identity),
            Err(complaints) => {
                let words: Vec<String> =
                    complaints.into_iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
                Authentication::Refused(words.join("; ").into())
            }
        }
    }))
}

/// Returns the token of a header that has one; another scheme is no credential here.
fn token(header: &[u8]) -> Option<&[u8]> {
    let mut words = header.trim_ascii().split(|byte| *byte == b' ');
    let scheme = words.next()?;
    let token = words.next()?;
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_needs_its_scheme() {
        let check = |header: &str, expected: Option<&str>| {
            assert_eq!(token(header.as_bytes()), expected.map(str::as_bytes), "{header}");
        };
        check("Bearer abc", Some("abc"));
        check("  bearer abc  ", Some("abc"));
        check("BEARER abc def", Some("abc"));
        check("Bearer", None);
        check("Bearer ", None);
        check("Bearer  abc", None);
        check("Basic YTpi", None);
        check("abc", None);
        check("", None);
    }
}
