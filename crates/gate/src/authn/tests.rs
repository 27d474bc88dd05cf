#![allow(clippy::unwrap_used)]

pub(super) mod authority;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;

use crate::addresses::Origin;
use crate::arrival::Peer;
use crate::body::RequestBody;
use crate::draining::Draining;
use crate::identity::ANONYMOUS;
use crate::places::Places;
use crate::request_info;

use super::*;

/// Knows one token, whose user has its name.
struct One(&'static str);

impl TokenAuthenticator for One {
    fn name(&self) -> &'static str {
        "one"
    }

    fn authenticate<'a>(&'a self, token: &'a str, _: &'a [String]) -> TokenVerdict<'a> {
        match token == self.0 {
            true => TokenVerdict::Known(KnownToken {
                identity: Arc::new(Identity { name: self.0.to_owned(), ..Identity::default() }),
                audiences: Vec::new(),
                remark: None,
            }),
            false => TokenVerdict::Unknown,
        }
    }
}

fn authenticators(chain: Vec<Box<dyn TokenAuthenticator>>) -> Authenticators {
    Authenticators::new(Tokens::new(vec!["api".to_owned()], chain))
}

async fn send(
    authenticators: &Authenticators,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(String, HeaderMap), Refusal> {
    let mut request = Request::get(path).body(RequestBody::from_bytes(bytes::Bytes::new())).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    let place = Places::new(1).claim(Origin::of([127, 0, 0, 1].into())).ok().unwrap();
    let peer = Peer::over_tls(([127, 0, 0, 1], 1).into(), None, place, Draining::never());
    let located = request_info::locate(Box::new(Arrived::new(peer, request)))?;
    let identified = authenticators.identify(located).await.map_err(|unidentified| unidentified.refusal)?;
    let left = identified.located.arrived().parts.headers.clone();
    Ok((identified.identity.name.clone(), left))
}

async fn upgrade(authenticators: &Authenticators, protocols: &str) -> Result<(String, HeaderMap), Refusal> {
    let headers = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-protocol", protocols)];
    send(authenticators, "/api/v1/pods", &headers).await
}

#[tokio::test]
async fn a_websocket_carries_its_token_in_a_subprotocol() {
    let authenticators = authenticators(vec![Box::new(One("ana"))]);
    let protocol = |token: &str| format!("base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode(token));
    let (ana, bob) = (protocol("ana"), protocol("bob"));
    let (name, left) = upgrade(&authenticators, &format!("v5.channel.k8s.io, {ana}")).await.ok().unwrap();
    assert_eq!(name, "ana");
    assert_eq!(left["sec-websocket-protocol"], "v5.channel.k8s.io");
    for protocols in [&ana, &format!("v5.channel.k8s.io, {bob}"), &format!("{ana}, {ana}, x"), "v5.channel.k8s.io"] {
        assert!(upgrade(&authenticators, protocols).await.is_err(), "{protocols}");
    }
    // Without an upgrade it is no credential, and is taken out all the same.
    let protocols = format!("{ana}, x");
    let headers = [("sec-websocket-protocol", protocols.as_str())];
    assert!(send(&authenticators, "/api/v1/pods", &headers).await.is_err());
    let (name, left) = send(&authenticators, "/healthz", &headers).await.ok().unwrap();
    assert_eq!((name.as_str(), left["sec-websocket-protocol"].as_bytes()), (ANONYMOUS, &b"x"[..]));
}

#[tokio::test]
async fn a1_no_credential_makes_the_anonymous_user() {
    let authenticators = authenticators(vec![Box::new(One(ANONYMOUS)), Box::new(One("ana"))]);
    let bearer = |token: &str| format!("Bearer {token}");
    for path in ["/api/v1/pods", "/healthz"] {
        assert!(send(&authenticators, path, &[("authorization", &bearer(ANONYMOUS))]).await.is_err(), "{path}");
        assert!(send(&authenticators, path, &[("authorization", &bearer("ana"))]).await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn a1_a_review_takes_no_credential_of_the_anonymous_user_either() {
    let tokens = Tokens::new(vec!["api".to_owned()], vec![Box::new(One(ANONYMOUS)), Box::new(One("ana"))]);
    let complaints = tokens.judge(ANONYMOUS, &[]).await.unwrap_err();
    assert_eq!(complaints, [("one", "a credential of the anonymous user".to_owned())]);
    assert_eq!(tokens.judge("ana", &[]).await.unwrap().identity.name, "ana");
}

#[tokio::test]
async fn several_authorization_headers_are_no_credential() {
    let authenticators = authenticators(vec![Box::new(One("ana")), Box::new(One("bob"))]);
    let check = async |given: &[&str], expected: Option<&str>| {
        let headers: Vec<_> = given.iter().map(|value| ("authorization", *value)).collect();
        for path in ["/api/v1/pods", "/healthz"] {
            let sent = send(&authenticators, path, &headers).await.ok();
            assert_eq!(sent.map(|(name, _)| name).as_deref(), expected, "{given:?} {path}");
        }
    };
    check(&["Bearer ana"], Some("ana")).await;
    check(&["Bearer ana", "Bearer bob"], None).await;
    check(&["Bearer ana", "Bearer ana"], None).await;
    check(&["Bearer ana", "Basic YTpi"], None).await;
    check(&["Basic YTpi", "Bearer ana"], None).await;
    check(&["", "Bearer ana"], None).await;
}
