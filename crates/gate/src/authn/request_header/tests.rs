#![allow(clippy::unwrap_used)]

use http::Request;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa};

use crate::addresses::Origin;
use crate::arrival::Peer;
use crate::authn::certificate::PeerCertificate;
use crate::authn::tests::authority::Authority;
use crate::authn::{Authenticators, Credentials};
use crate::body::RequestBody;
use crate::draining::Draining;
use crate::places::Places;
use crate::request_info;

use super::*;

/// Another certificate of the same key.
fn renewed(authority: &Authority) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "renewed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(authority.issuer.key()).unwrap().pem()
}

fn certificate(authority: &Authority, name: &str) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    authority.sign(&params)
}

fn usual(allowed_names: &[&str]) -> RequestHeaders {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    RequestHeaders {
        allowed_names: texts(allowed_names),
        username: texts(&["X-Remote-User", "X-User"]),
        uid: texts(&["X-Remote-Uid"]),
        group: texts(&["X-Remote-Group", "X-Group-Remote"]),
        extra_prefix: texts(&["X-Remote-Extra-", "X-More-"]),
    }
}

/// A server that trusts `clients`, and a front proxy.
struct Server {
    clients: Authority,
    authenticators: Authenticators,
}

impl Server {
    fn new(clients: Authority, proxies: &Authority, allowed_names: &[&str]) -> Self {
        let proxy = FrontProxy::new(&usual(allowed_names), proxies.pem.as_bytes(), clients.pem.as_bytes()).unwrap();
        let credentials = Credentials { front_proxy: Some(Arc::new(proxy)), ..Credentials::default() };
        Self { clients, authenticators: Authenticators::of(credentials) }
    }

    /// Sends a request over a connection with a certificate; returns who it is from, and the headers that are left.
    async fn send(
        &self,
        certificate: Option<&CertificateDer<'static>>,
        headers: &[(&'static str, &str)],
    ) -> Option<(Identity, HeaderMap)> {
        let trust = Arc::new(ArcSwap::from_pointee(client_roots(self.clients.pem.as_bytes()).unwrap()));
        let certificate = certificate.map(|leaf| PeerCertificate::new(vec![leaf.clone()], trust));
        let place = Places::new(1).claim(Origin::of([127, 0, 0, 1].into())).ok().unwrap();
        let peer = Peer::over_tls(([127, 0, 0, 1], 1).into(), certificate, place, Draining::never());
        let mut request = Request::get("/api/v1/pods").body(RequestBody::from_bytes(bytes::Bytes::new())).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let located = request_info::locate(Box::new(Arrived::new(peer, request))).ok().unwrap();
        let identified = self.authenticators.identify(located).await.ok()?;
        let left = identified.located().arrived().parts.headers.clone();
        Some(((**identified.identity()).clone(), left))
    }

    async fn name(&self, certificate: &CertificateDer<'static>, headers: &[(&'static str, &str)]) -> Option<String> {
        self.send(Some(certificate), headers).await.map(|(identity, _)| identity.name)
    }
}

#[tokio::test]
async fn a_front_proxy_says_who_it_is() {
    let proxies = Authority::new("proxies");
    let server = Server::new(Authority::new("clients"), &proxies, &["aggregator"]);
    let proxy = certificate(&proxies, "aggregator");
    let headers = [
        ("x-remote-user", "ana"),
        ("x-remote-uid", "7"),
        ("x-remote-group", "dev"),
        ("x-remote-group", "ops"),
        ("x-group-remote", "more"),
        ("x-remote-extra-acme.com%2fproject", "one"),
        ("x-remote-extra-acme.com%2fproject", "two"),
        ("x-remote-extra-bad%zz", "three"),
        ("x-more-scope", "four"),
    ];
    let (identity, _) = server.send(Some(&proxy), &headers).await.unwrap();
    assert_eq!((identity.name.as_str(), identity.uid.as_str()), ("ana", "7"));
    assert_eq!(identity.groups, ["dev", "ops", "more", "system:authenticated"]);
    assert_eq!(identity.extra["acme.com/project"], ["one", "two"]);
    assert_eq!(identity.extra["bad%zz"], ["three"]);
    assert_eq!(identity.extra["scope"], ["four"]);
    assert_eq!(identity.extra.len(), 3, "the proxy's own credential is not the user's");
    // The first header that is there counts.
    assert_eq!(server.name(&proxy, &[("x-user", "bob")]).await.as_deref(), Some("bob"));
    assert_eq!(server.name(&proxy, &[("x-user", "bob"), ("x-remote-user", "ana")]).await.as_deref(), Some("ana"));
    assert_eq!(server.name(&proxy, &[("x-user", "bob"), ("x-remote-user", "")]).await.as_deref(), Some("bob"));
    // A proxy that names nobody is nobody, and so is one that names two, or the anonymous user (A1).
    for headers in [
        &[][..],
        &[("x-remote-group", "system:masters")],
        &[("x-remote-user", "")],
        &[("x-remote-user", "ana"), ("x-remote-user", "bob")],
        &[("x-remote-user", "system:anonymous")],
    ] {
        assert_eq!(server.name(&proxy, headers).await, None, "{headers:?}");
    }
}

#[tokio::test]
async fn ncc_f9w_an_ordinary_client_is_itself() {
    let proxies = Authority::new("proxies");
    let server = Server::new(Authority::new("clients"), &proxies, &["aggregator"]);
    let forged = [("x-remote-user", "admin"), ("x-remote-group", "system:masters")];
    let (identity, _) = server.send(Some(&certificate(&server.clients, "eve")), &forged).await.unwrap();
    assert_eq!(identity.name, "eve");
    assert_eq!(identity.groups, ["system:authenticated"]);
    // The name alone makes no proxy, nor does the CA alone.
    assert_eq!(server.name(&certificate(&server.clients, "aggregator"), &forged).await.as_deref(), Some("aggregator"));
    assert_eq!(server.name(&certificate(&proxies, "eve"), &forged).await, None);
    assert_eq!(server.name(&certificate(&Authority::new("proxies"), "aggregator"), &forged).await, None);
    assert!(server.send(None, &forged).await.is_none());
}

#[tokio::test]
async fn ncc_f9w_a_ca_of_clients_makes_front_proxies_only_by_name() {
    let clients = Authority::new("clients");
    let refused = FrontProxy::new(&usual(&[]), clients.pem.as_bytes(), clients.pem.as_bytes());
    assert!(matches!(refused, Err(RequestHeaderError::SharedCa)));
    // Not the file's name counts but what is in it.
    let several = format!("{}{}", Authority::new("other").pem, clients.pem);
    let refused = FrontProxy::new(&usual(&[]), several.as_bytes(), clients.pem.as_bytes());
    assert!(matches!(refused, Err(RequestHeaderError::SharedCa)));
    // Nor which certificate of a CA it is.
    let renewed = renewed(&clients);
    assert_ne!(renewed, clients.pem);
    let refused = FrontProxy::new(&usual(&[]), renewed.as_bytes(), clients.pem.as_bytes());
    assert!(matches!(refused, Err(RequestHeaderError::SharedCa)));
    let own = Authority::new("proxies");
    let proxy = FrontProxy::new(&usual(&[]), own.pem.as_bytes(), clients.pem.as_bytes()).unwrap();
    // A reload is judged as the start is, and one that is refused changes nothing.
    assert!(matches!(proxy.reload(clients.pem.as_bytes(), clients.pem.as_bytes()), Err(RequestHeaderError::SharedCa)));
    let headers = [("x-remote-user", "ana")];
    let same = Authority { pem: clients.pem.clone(), ..Authority::new("x") };
    let server = Server::new(same, &clients, &["aggregator"]);
    assert_eq!(server.name(&certificate(&clients, "aggregator"), &headers).await.as_deref(), Some("ana"));
    assert_eq!(server.name(&certificate(&clients, "eve"), &headers).await.as_deref(), Some("eve"));
}

#[tokio::test]
async fn ncc_yvu_headers_that_name_users_are_taken_out_for_everybody() {
    let proxies = Authority::new("proxies");
    let server = Server::new(Authority::new("clients"), &proxies, &["aggregator"]);
    let headers = [
        ("x-remote-user", "ana"),
        ("x-user", "bob"),
        ("x-remote-uid", "7"),
        ("x-remote-group", "system:masters"),
        ("x-group-remote", "system:masters"),
        ("x-remote-extra-scope", "a"),
        ("x-more-scope", "a"),
        ("x-remote-anything", "a"),
        ("x-request-id", "kept"),
        ("authorization", "Basic x"),
    ];
    for certificate in [certificate(&proxies, "aggregator"), certificate(&server.clients, "eve")] {
        let (_, left) = server.send(Some(&certificate), &headers).await.unwrap();
        let left: Vec<_> = left.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-request-id"]);
    }
}

#[test]
fn a_header_must_have_a_name() {
    let (clients, proxies) = (Authority::new("clients"), Authority::new("proxies"));
    let of = |headers: &RequestHeaders| FrontProxy::new(headers, proxies.pem.as_bytes(), clients.pem.as_bytes());
    let bad = RequestHeaders { username: vec!["X User".to_owned()], ..RequestHeaders::default() };
    let error = of(&bad).err().unwrap().to_string();
    assert!(error.contains("--requestheader-username-headers") && error.contains("X User"), "{error}");
    assert!(of(&RequestHeaders { group: vec![String::new()], ..RequestHeaders::default() }).is_err());
    assert!(!of(&RequestHeaders::default()).unwrap().can_name_users());
    let no_ca = FrontProxy::new(&usual(&[]), b"", clients.pem.as_bytes());
    assert!(matches!(no_ca, Err(RequestHeaderError::Ca(_))));
}
