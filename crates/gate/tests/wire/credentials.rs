//! Who a request is from when it is not its certificate that says so: the front proxy, a token among subprotocols, and the
//! paths that an operator opened.

use std::sync::{Arc, Mutex};

use portcullis_gate::{
    Anonymous, AnonymousPaths, Authenticators, Credentials, FrontProxy, Guards, Identity, KnownToken, Limits,
    RequestHeaders, TokenAuthenticator, TokenVerdict, Tokens,
};
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::client::{Chunks, Dial, PROTOCOLS, Protocol};
use crate::server::{Authority, Server, describe};

/// Knows one token, of a user who may do everything.
struct OneToken;

impl TokenAuthenticator for OneToken {
    fn name(&self) -> &'static str {
        "one"
    }

    fn authenticate<'a>(&'a self, token: &'a str, _: &'a [String]) -> TokenVerdict<'a> {
        if token != "s3cret" {
            return TokenVerdict::Unknown;
        }
        let groups = vec!["system:masters".to_owned()];
        let identity = Arc::new(Identity { name: "root".to_owned(), groups, ..Identity::default() });
        TokenVerdict::Known(KnownToken { identity, audiences: Vec::new(), remark: None })
    }
}

struct World {
    proxies: Authority,
    server: Server,
}

impl World {
    async fn new(paths: AnonymousPaths) -> Self {
        let (clients, proxies) = (Authority::new(), Authority::new());
        let headers = RequestHeaders {
            allowed_names: vec!["aggregator".to_owned()],
            username: vec!["X-Remote-User".to_owned()],
            group: vec!["X-Remote-Group".to_owned()],
            ..RequestHeaders::default()
        };
        let proxy = FrontProxy::new(&headers, proxies.pem.as_bytes(), clients.pem.as_bytes()).unwrap();
        let credentials = Credentials {
            front_proxy: Some(Arc::new(proxy)),
            tokens: Tokens::new(vec!["api".to_owned()], vec![Box::new(OneToken)]),
            anonymous: Arc::new(Anonymous::on(paths)),
        };
        let guards = Guards { authenticators: Authenticators::of(credentials), ..Guards::default() };
        let server = Server::guarded(describe, guards, clients, Limits::default()).await;
        server.tls.reload_client_cas(server.ca.pem.as_bytes(), proxies.pem.as_bytes()).unwrap();
        Self { proxies, server }
    }
}

#[tokio::test]
async fn ncc_f9w_only_the_front_proxy_says_who_a_request_is_from() {
    let world = World::new(AnonymousPaths::default()).await;
    let named = [("x-remote-user", "ana"), ("x-remote-group", "system:masters")];
    let (proxy, server) = (world.proxies.issue("aggregator", "x"), &world.server);
    for protocol in PROTOCOLS {
        let answer = Dial::to(server, Some(&proxy), protocol)
            .client()
            .await
            .call("GET", "/api/v1/pods", &named, Chunks::default())
            .await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "ana system:masters,system:authenticated list 0"));
        let check = async |authority: &Authority, user: &str, status: u16, part: &str| {
            let credential = authority.issue(user, "harbor");
            let mut client = Dial::to(server, Some(&credential), protocol).client().await;
            let answer = client.call("GET", "/api/v1/pods", &named, Chunks::default()).await;
            assert_eq!(answer.status, status, "{user}");
            assert!(answer.text.contains(part), "{user}: {}", answer.text);
        };
        check(&server.ca, "eve", 403, r#"User \"eve\" cannot list"#).await;
        check(&server.ca, "aggregator", 403, r#"User \"aggregator\" cannot list"#).await;
        check(&world.proxies, "other", 401, "Unauthorized").await;
        check(&Authority::new(), "aggregator", 401, "Unauthorized").await;
        let mut stranger = Dial::to(server, None, protocol).client().await;
        assert_eq!(stranger.call("GET", "/api/v1/pods", &named, Chunks::default()).await.status, 401);
    }
    // One connection, several users: each request is judged by what it says.
    let mut client = Dial::to(server, Some(&proxy), Protocol::Http2).client().await;
    for (user, expected) in [("ana", 200), ("bob", 403), ("ana", 200), ("system:anonymous", 401), ("", 401)] {
        let group = if user == "ana" { "system:masters" } else { "harbor" };
        let headers = [("x-remote-user", user), ("x-remote-group", group)];
        let answer = client.call("GET", "/api/v1/pods", &headers, Chunks::default()).await;
        assert_eq!(answer.status, expected, "{user}");
        if expected == 401 {
            client = Dial::to(server, Some(&proxy), Protocol::Http2).client().await;
        }
    }
}

#[tokio::test]
async fn a_websocket_may_carry_its_token_among_its_subprotocols() {
    let world = World::new(AnonymousPaths::default()).await;
    // base64url without padding of `s3cret`, and of `other`.
    let (good, bad) = ("czNjcmV0", "b3RoZXI");
    let check = async |upgrade: &str, protocols: String, status: u16| {
        let mut client = Dial::to(&world.server, None, Protocol::Http1).client().await;
        let headers = [("connection", "Upgrade"), ("upgrade", upgrade), ("sec-websocket-protocol", &protocols)];
        let answer = client.call("GET", "/api/v1/pods", &headers, Chunks::default()).await;
        assert_eq!(answer.status, status, "{upgrade} {protocols}");
    };
    let prefix = "base64url.bearer.authorization.k8s.io.";
    check("websocket", format!("{prefix}{good}, v5.channel.k8s.io"), 200).await;
    check("websocket", format!("v5.channel.k8s.io,{prefix}{good}"), 200).await;
    check("websocket", format!("{prefix}{good}"), 401).await;
    check("websocket", format!("{prefix}{bad}, v5.channel.k8s.io"), 401).await;
    check("websocket", format!("{prefix}{good}, {prefix}{good}, x"), 401).await;
    check("SPDY/3.1", format!("{prefix}{good}, v5.channel.k8s.io"), 401).await;
}

#[tokio::test]
async fn a1_an_opened_path_is_still_authorised() {
    let opened = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let further = vec![opened.to_owned()];
    let open = World::new(AnonymousPaths::Public { further }).await;
    let shut = World::new(AnonymousPaths::of_flag(false)).await;
    let status = async |world: &World, path: &str| {
        Dial::to(&world.server, None, Protocol::Http1).client().await.get(path).await.status
    };
    // 403 and not 401: the anonymous user exists there, and nobody allowed it anything.
    assert_eq!(status(&open, opened).await, 403);
    assert_eq!(status(&open, &format!("{opened}/")).await, 401);
    assert_eq!(status(&open, "/api/v1/namespaces/kube-public/configmaps").await, 401);
    assert_eq!(status(&open, "/healthz").await, 200);
    for path in ["/version", "/healthz", "/livez", "/readyz", opened, "/api"] {
        assert_eq!(status(&shut, path).await, 401, "{path}");
    }
}

/// Notes which CAs the server asks for, and has no certificate.
#[derive(Debug, Default)]
struct Hints(Mutex<Vec<usize>>);

impl ResolvesClientCert for Hints {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().push(hints.len());
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn clients_are_told_that_the_front_proxys_ca_counts_too() {
    let world = World::new(AnonymousPaths::default()).await;
    let server = &world.server;
    let hints = Arc::new(Hints::default());
    let mut roots = RootCertStore::empty();
    roots.add(server.ca.certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::clone(&hints) as _);
    let connector = TlsConnector::from(Arc::new(config));
    let handshake = async || {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await;
        drop(stream.unwrap().take(0));
    };
    handshake().await;
    server.tls.reload_client_cas(server.ca.pem.as_bytes(), &[]).unwrap();
    handshake().await;
    assert!(server.tls.reload_client_cas(b"nothing", &[]).is_err());
    handshake().await;
    assert_eq!(*hints.0.lock().unwrap(), [2, 1, 1]);
}

#[tokio::test]
async fn a_client_ca_is_replaced_under_open_connections() {
    let world = World::new(AnonymousPaths::default()).await;
    let server = &world.server;
    let admin = server.ca.admin();
    let mut client = Dial::to(server, Some(&admin), Protocol::Http2).client().await;
    assert_eq!(client.get("/api").await.status, 200);
    let other = Authority::new();
    server.tls.reload_client_cas(other.pem.as_bytes(), world.proxies.pem.as_bytes()).unwrap();
    assert_eq!(client.get("/api").await.status, 401);
    assert_eq!(Dial::to(server, Some(&other.admin()), Protocol::Http1).client().await.get("/api").await.status, 200);
}
