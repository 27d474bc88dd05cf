//! Bearer tokens. No authenticator of tokens exists yet, so every token is a wrong one (upstream: `bearertoken`).
//!
//! It will hold service account, bootstrap and OIDC tokens. Until then it makes sure that a token is never ignored: a client
//! that sends one gets 401, on the paths of L1 too, instead of an anonymous answer.

use http::header;

use crate::arrival::Arrived;

use super::{Authentication, Authenticator};

pub(super) struct Bearer;

impl Authenticator for Bearer {
    fn name(&self) -> &'static str {
        "bearer"
    }

    fn authenticate(&self, arrived: &Arrived) -> Authentication {
        let given = arrived.parts.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        match given.and_then(token) {
            Some(_) => Authentication::Refused("token is not known"),
            None => Authentication::Silent,
        }
    }
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
