//! A bearer token among the subprotocols of a WebSocket: all that a browser can set there (upstream: the websocket protocol
//! authenticator).
//!
//! The token is one subprotocol, `base64url.bearer.authorization.k8s.io.` and the token in base64url; there must be another one
//! beside it, which the server can answer with. It is a credential, so it goes no further than this.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use crate::arrival::Arrived;

use super::bearer::{self, Tokens};
use super::{Authentication, Authenticator};

/// How the subprotocol begins that holds a token.
const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// The `Sec-WebSocket-Protocol` header.
pub(super) struct WebSocket(pub(super) Arc<Tokens>);

impl Authenticator for WebSocket {
    fn name(&self) -> &'static str {
        "websocket"
    }

    fn authenticate<'a>(&'a self, arrived: &'a Arrived) -> Authentication<'a> {
        let headers = &arrived.parts.headers;
        if !is_upgrade(headers) {
            return Authentication::Silent;
        }
        match token(headers) {
            Ok(Some(token)) => Authentication::Later(Box::pin(async move {
                match bearer::judge(&self.0, &token) {
                    Authentication::Later(judged) => judged.await,
                    Authentication::Identified(identity) => Authentication::Identified(identity),
                    Authentication::Remarked(identity, remark) => Authentication::Remarked(identity, remark),
                    Authentication::Refused(reason) => Authentication::Refused(reason),
                    Authentication::Silent => Authentication::Silent,
                }
            })),
            Ok(None) => Authentication::Silent,
            Err(reason) => Authentication::refused(reason),
        }
    }
}

/// Says whether a request asks for a WebSocket.
fn is_upgrade(headers: &HeaderMap) -> bool {
    let names_upgrade = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"))
        && headers.get_all(CONNECTION).iter().any(names_upgrade)
}

fn protocols(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Returns the token, if there is one.
fn token(headers: &HeaderMap) -> Result<Option<Zeroizing<Vec<u8>>>, &'static str> {
    let (mut found, mut others) = (None, 0_usize);
    for protocol in headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().flat_map(protocols) {
        let Some(encoded) = protocol.strip_prefix(PREFIX.as_bytes()) else {
            others += 1;
            continue;
        };
        let token = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "token is not base64url")?;
        if found.replace(Zeroizing::new(token)).is_some() {
            return Err("several tokens");
        }
    }
    match found {
        Some(token) if token.is_empty() => Err("token is empty"),
        Some(_) if others == 0 => Err("there is no subprotocol beside the token, and one is needed"),
        found => Ok(found),
    }
}

/// Says whether there is a token among the subprotocols.
pub(super) fn has_token(headers: &HeaderMap) -> bool {
    let holds_token = |value: &HeaderValue| protocols(value).any(|protocol| protocol.starts_with(PREFIX.as_bytes()));
    headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(holds_token)
}

/// Takes tokens out of the list of subprotocols.
pub(super) fn strip(headers: &mut HeaderMap) {
    if !has_token(headers) {
        return;
    }
    let mut kept = Vec::new();
    for protocol in headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().flat_map(protocols) {
        if protocol.starts_with(PREFIX.as_bytes()) {
            continue;
        }
        if !kept.is_empty() {
            kept.push(b',');
        }
        kept.extend_from_slice(protocol);
    }
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = HeaderValue::from_bytes(&kept)
        && !kept.is_empty()
    {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in protocols {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_one_of_several_subprotocols() {
        let of = |name: &str| format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(name));
        let check = |protocols: &[&str], expected: Result<Option<&str>, ()>| {
            let found = token(&headers(protocols));
            let found = found.as_ref().map(|found| found.as_ref().map(|token| token.as_slice())).map_err(|_| ());
            assert_eq!(found, expected.map(|token| token.map(str::as_bytes)), "{protocols:?}");
        };
        let (abc, other) = (of("abc"), of("other"));
        check(&[], Ok(None));
        check(&["v5.channel.k8s.io"], Ok(None));
        check(&[&format!("{abc}, v5.channel.k8s.io")], Ok(Some("abc")));
        check(&[&format!("v5.channel.k8s.io,{abc}")], Ok(Some("abc")));
        check(&[&abc, "v5.channel.k8s.io"], Ok(Some("abc")));
        check(&[&format!("{}, x", of("a?b>c~"))], Ok(Some("a?b>c~")));
        // A list with only that protocol leaves nothing that the server could answer with.
        check(&[&abc], Err(()));
        check(&[&format!("{abc},{other},x")], Err(()));
        check(&[&abc, &other, "x"], Err(()));
        check(&[&format!("{PREFIX},x")], Err(()));
        check(&[&format!("{PREFIX}YWJj=,x")], Err(()));
        check(&[&format!("{PREFIX}a+b/,x")], Err(()));
    }

    #[test]
    fn only_an_upgrade_carries_one() {
        let check = |connection: &'static str, upgrade: &'static str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_static(connection));
            headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
            assert_eq!(is_upgrade(&headers), expected, "{connection} {upgrade}");
        };
        check("Upgrade", "websocket", true);
        check("keep-alive, upgrade", "WebSocket", true);
        check("keep-alive", "websocket", false);
        check("Upgrade", "SPDY/3.1", false);
        check("no-upgrade", "websocket", false);
        check("", "", false);
        assert!(!is_upgrade(&HeaderMap::new()));
    }

    #[test]
    fn a_token_goes_no_further() {
        let check = |protocols: &[&str], expected: Option<&str>| {
            let mut headers = headers(protocols);
            strip(&mut headers);
            let left: Vec<_> = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().collect();
            match expected {
                None => assert!(left.is_empty(), "{protocols:?}: {left:?}"),
                Some(expected) => assert_eq!(left, [expected], "{protocols:?}"),
            }
        };
        let token = format!("{PREFIX}YWJj");
        check(&["v4.channel.k8s.io, v5.channel.k8s.io"], Some("v4.channel.k8s.io, v5.channel.k8s.io"));
        check(
            &[&format!("v4.channel.k8s.io, {token} ,v5.channel.k8s.io")],
            Some("v4.channel.k8s.io,v5.channel.k8s.io"),
        );
        check(&[&token, "v5.channel.k8s.io"], Some("v5.channel.k8s.io"));
        check(&[&token], None);
        check(&[&format!("{PREFIX}!!!")], None);
    }
}
