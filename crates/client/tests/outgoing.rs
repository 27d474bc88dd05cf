//! Requests over real connections to a server on loopback: who is verified, what is dialled, what is never done.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use portcullis_client::test_server::{Authority, Received, Server, Settings, self_issued};
use portcullis_client::{
    Access, Attempts, BoxFuture, Client, ClientCertificate, Credential, DialError, DialRule, Forbidden, Outgoing,
    RequestError, Resolve, ReviewError, Reviewer, Trust,
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

const LOOPBACK: &str = "127.0.0.1";

fn permissive() -> DialRule {
    DialRule { loopback_allowed: true, ..DialRule::default() }
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

async fn server(authority: &Authority, speaks_http2: bool) -> Server {
    let settings = Settings { speaks_http2, ..Settings::new(authority.issue(LOOPBACK)) };
    Server::start(settings, |request| answer(200, format!("{} {}", request.method, request.path))).await
}

async fn get(access: &Access, rule: DialRule) -> Result<String, RequestError> {
    let client = Client::new(access, rule).unwrap();
    let answer = client.send(&Outgoing::get("/a")).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

/// Gives one answer after the other.
struct Scripted(Mutex<VecDeque<Vec<SocketAddr>>>);

impl Resolve for Scripted {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let answer = self.0.lock().unwrap().pop_front();
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("asked too often")) })
    }
}

#[tokio::test]
async fn a21_a_webhook_is_verified_against_its_authority_and_its_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = server(&authority, true).await;
    let check = async |access: Access, expected: bool| {
        let sent_before = server.received().len();
        match get(&access, permissive()).await {
            Ok(body) => assert!(expected && body == "GET /base/a", "{access:?}: {body}"),
            Err(error) => {
                assert!(!expected, "{access:?}: {error}");
                assert!(matches!(error, RequestError::HandshakeFailed { .. }), "{access:?}: {error}");
                assert!(!error.is_transient(), "a stranger stays one: {error}");
                assert_eq!(server.received().len(), sent_before, "nothing is sent to a stranger");
            }
        }
    };
    let sound = server.access("/base", &authority.pem);
    check(sound.clone(), true).await;
    check(server.access("/base", &stranger.pem), false).await;
    check(server.access("/base", &format!("{}{}", stranger.pem, authority.pem)), true).await;
    check(Access { server_name: Some("authn.example.com".to_owned()), ..sound.clone() }, false).await;
    check(Access { server_name: Some("127.0.0.2".to_owned()), ..sound.clone() }, false).await;
    check(Access { trust: Trust::Unverified, ..sound.clone() }, true).await;
    // Whoever this machine trusts did not vouch for it; a machine that trusts nobody says so.
    let system = Access { trust: Trust::System, ..sound };
    match Client::new(&system, permissive()) {
        Ok(_) => check(system, false).await,
        Err(error) => assert!(error.to_string().starts_with("this system has no certificate authorities"), "{error}"),
    }
}

#[tokio::test]
async fn a21_the_name_to_verify_can_be_another_than_the_host() {
    let authority = Authority::new();
    let settings = Settings::new(authority.issue("authn.example.com"));
    let server = Server::start(settings, |_| answer(200, "named")).await;
    let access = server.access("/", &authority.pem);
    assert!(matches!(get(&access, permissive()).await, Err(RequestError::HandshakeFailed { .. })));
    let access = Access { server_name: Some("authn.example.com".to_owned()), ..access };
    assert_eq!(get(&access, permissive()).await.unwrap(), "named");
}

#[tokio::test]
async fn a21_a_certificate_that_is_its_own_authority_is_held_to_its_name() {
    let check = async |name: &str, is_trusted: bool, expected: bool| {
        let (certificate, other) = (self_issued(name), self_issued(name));
        let pem = |certificate: &ClientCertificate| String::from_utf8(certificate.chain_pem.clone()).unwrap();
        let trusted = if is_trusted { pem(&certificate) } else { pem(&other) };
        let server = Server::start(Settings::new(certificate), |_| answer(200, "itself")).await;
        let result = get(&server.access("/", &trusted), permissive()).await;
        assert_eq!(result.is_ok(), expected, "{name} {is_trusted}: {result:?}");
    };
    check(LOOPBACK, true, true).await;
    check("127.0.0.2", true, false).await;
    check("authn.example.com", true, false).await;
    check(LOOPBACK, false, false).await;
}

#[tokio::test]
async fn a26_cve_2020_8561_redirects_of_webhooks_are_not_followed() {
    let authority = Authority::new();
    let target = server(&authority, true).await;
    for status in [300, 301, 302, 303, 304, 307, 308] {
        let elsewhere = format!("https://{}/latest/meta-data", target.address);
        let redirect = move |_: &Received| {
            let mut response = answer(status, "moved");
            response.headers_mut().insert(header::LOCATION, elsewhere.parse().unwrap());
            response
        };
        let webhook = Server::start(Settings::new(authority.issue(LOOPBACK)), redirect).await;
        let error = get(&webhook.access("/", &authority.pem), permissive()).await.unwrap_err();
        assert!(matches!(error, RequestError::Redirected { .. }), "{status}: {error}");
        assert!(!error.is_transient(), "{status}");
        assert!(!error.to_string().contains("meta-data"), "{error}");
        assert_eq!(webhook.received().len(), 1, "{status}");
    }
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a26_cve_2020_8562_the_address_that_was_checked_is_dialled() {
    let authority = Authority::new();
    let settings = Settings { speaks_http2: false, ..Settings::new(authority.issue("authn.example.com")) };
    let server = Server::start(settings, |_| answer(200, "reached")).await;
    let rule = || DialRule { allowed: vec!["127.0.0.1/32".parse().unwrap()], ..DialRule::default() };
    let access = Access {
        server: format!("https://authn.example.com:{}", server.address.port()),
        ..server.access("/", &authority.pem)
    };
    let elsewhere = |ip: [u8; 4]| SocketAddr::from((ip, server.address.port()));
    let script = VecDeque::from([
        vec![server.address],
        vec![elsewhere([127, 0, 0, 2])],
        vec![server.address, elsewhere([169, 254, 169, 254])],
        vec![],
    ]);
    let client = Client::with_resolver(&access, rule(), Arc::new(Scripted(Mutex::new(script)))).unwrap();
    // The name server changes its mind after the first answer, and nobody asks it between check and dial.
    assert_eq!(client.send(&Outgoing::get("/")).await.unwrap().body, "reached");
    assert_eq!(client.send(&Outgoing::get("/")).await.unwrap().body, "reached");
    assert_eq!(server.connections(), 1);
    let check = async |expected: Forbidden| {
        server.break_connections();
        let error = loop {
            // The end of the connection may not have been heard of yet.
            match client.send(&Outgoing::get("/")).await {
                Err(RequestError::ExchangeFailed { .. }) => {}
                Err(error) => break error,
                Ok(_) => panic!("answered after the connection broke"),
            }
        };
        match error {
            RequestError::DialFailed(DialError::AddressForbidden { why, .. }) => assert_eq!(why, expected),
            other => panic!("{other}"),
        }
    };
    // A new connection is a new answer and a new check; one forbidden address among good ones spoils them all.
    check(Forbidden::Loopback).await;
    check(Forbidden::LinkLocal).await;
    let empty = client.send(&Outgoing::get("/")).await.err().unwrap();
    assert!(matches!(empty, RequestError::DialFailed(DialError::NoAddress { .. })), "{empty}");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a26_loopback_and_own_addresses_need_permission() {
    let authority = Authority::new();
    let server = server(&authority, true).await;
    let access = server.access("/", &authority.pem);
    let check = async |rule: DialRule, expected: Option<Forbidden>| {
        let connections = server.connections();
        match get(&access, rule).await {
            Ok(_) => assert_eq!(expected, None),
            Err(RequestError::DialFailed(DialError::AddressForbidden { why, .. })) => {
                assert_eq!(Some(why), expected);
                assert_eq!(server.connections(), connections);
            }
            Err(other) => panic!("{other}"),
        }
    };
    check(DialRule::default(), Some(Forbidden::Loopback)).await;
    check(permissive(), None).await;
    check(DialRule { own: vec![server.address], ..permissive() }, Some(Forbidden::Own)).await;
    check(DialRule { allowed: vec!["127.0.0.0/8".parse().unwrap()], ..DialRule::default() }, None).await;
    check(DialRule { allowed: vec!["10.0.0.0/8".parse().unwrap()], ..DialRule::default() }, Some(Forbidden::Loopback))
        .await;
}

#[tokio::test]
async fn answers_have_a_size_and_a_time() {
    let authority = Authority::new();
    for speaks_http2 in [true, false] {
        let settings = Settings { speaks_http2, ..Settings::new(authority.issue(LOOPBACK)) };
        let server = Server::start(settings, |_| answer(200, vec![b'x'; 1000])).await;
        let client = Client::new(&server.access("/", &authority.pem), permissive()).unwrap();
        let limited = |response_bytes_max| Outgoing { response_bytes_max, ..Outgoing::get("/") };
        assert_eq!(client.send(&limited(1000)).await.unwrap().body.len(), 1000);
        let error = client.send(&limited(999)).await.err().unwrap();
        assert!(matches!(error, RequestError::AnswerTooLong { limit: 999, .. }), "{error}");
        // The next request does not meet what is left of that answer.
        assert_eq!(client.send(&limited(1000)).await.unwrap().body.len(), 1000);
    }
    // This one takes connections and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("https://{}", silent.local_addr().unwrap());
    let client = Client::new(&Access::anonymous(&server, Trust::Unverified), permissive()).unwrap();
    let late = Outgoing { timeout: Duration::from_millis(1), ..Outgoing::get("/") };
    assert!(matches!(client.send(&late).await, Err(RequestError::TimedOut { .. })));
}

#[tokio::test]
async fn connections_are_kept_and_made_anew() {
    let authority = Authority::new();
    for speaks_http2 in [true, false] {
        let server = server(&authority, speaks_http2).await;
        let client = Client::new(&server.access("/base", &authority.pem), permissive()).unwrap();
        for path in ["", "/b?c=d"] {
            let answer = client.send(&Outgoing::post(path, Bytes::from_static(b"{}"))).await.unwrap();
            assert_eq!(answer.body, format!("POST /base{path}"));
        }
        assert_eq!(server.connections(), 1, "{speaks_http2}");
        server.break_connections();
        let answered = loop {
            // Whether the end of the connection has been heard of is a matter of luck; what may have been sent is not repeated.
            match client.send(&Outgoing::get("/again")).await {
                Err(RequestError::ExchangeFailed { .. }) => {}
                other => break other.unwrap(),
            }
        };
        assert_eq!(answered.body, "GET /base/again");
        assert_eq!(server.connections(), 2, "{speaks_http2}");
        let hosts = server.received().into_iter().map(|request| request.headers.contains_key(header::HOST));
        assert!(hosts.into_iter().all(|has_host| has_host != speaks_http2));
    }
}

#[tokio::test]
async fn credentials_are_shown() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let settings = Settings { client_authority: Some(clients.pem.clone()), ..Settings::new(authority.issue(LOOPBACK)) };
    let server = Server::start(settings, |_| answer(200, "")).await;
    let access = Access {
        client_certificate: Some(clients.issue("apiserver")),
        credential: Credential::Token("s3cret".to_owned().into()),
        ..server.access("/", &authority.pem)
    };
    get(&access, permissive()).await.unwrap();
    get(&server.access("/", &authority.pem), permissive()).await.unwrap();
    let shown = |request: &Received| (request.has_certificate, request.headers.get(header::AUTHORIZATION).cloned());
    let received = server.received();
    assert_eq!(shown(&received[0]), (true, Some("Bearer s3cret".parse().unwrap())));
    assert_eq!(shown(&received[1]), (false, None));
}

/// Keeps all that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn bodies_and_credentials_are_not_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // For all threads: what the other tests log meanwhile holds none of these words either.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let authority = Authority::new();
    for (speaks_http2, status) in [(true, 200), (false, 200), (true, 302), (false, 403)] {
        let settings = Settings { speaks_http2, ..Settings::new(authority.issue(LOOPBACK)) };
        let server = Server::start(settings, move |_| answer(status, "body-of-the-webhook")).await;
        let credential = Credential::Token("token-of-ours".to_owned().into());
        let access = Access { credential, ..server.access("/", &authority.pem) };
        let client = Client::new(&access, permissive()).unwrap();
        let attempts = Attempts::default();
        let reviewer = Reviewer::new(client, "example.com/v1", "Review", Duration::from_secs(5), attempts);
        let error = reviewer.ask(Bytes::from_static(b"body-of-the-question")).await.unwrap_err();
        tracing::error!(%error, ?error, ?reviewer, ?access, "refused");
        assert_eq!(server.received()[0].body, "body-of-the-question");
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("answer begins") && text.contains("refused"), "{text}");
    for secret in ["body-of-the-webhook", "body-of-the-question", "token-of-ours", "b2R5"] {
        assert!(!text.contains(secret), "{secret} was logged:\n{text}");
    }
}

#[tokio::test]
async fn reviews_are_asked_again_until_they_are_heard() {
    let authority = Authority::new();
    let good = json!({"apiVersion": "example.com/v1", "kind": "Review", "status": {"allowed": true}});
    let check = async |statuses: &'static [u16], body: Value, expected: Result<Value, &str>, asked: usize| {
        let turn = Mutex::new(statuses.iter());
        let text = body.to_string();
        let settings = Settings::new(authority.issue(LOOPBACK));
        let server =
            Server::start(settings, move |_| answer(turn.lock().unwrap().next().copied().unwrap_or(200), text.clone()))
                .await;
        let client = Client::new(&server.access("/review", &authority.pem), permissive()).unwrap();
        let attempts = Attempts { first_pause: Duration::ZERO, ..Attempts::default() };
        let reviewer = Reviewer::new(client, "example.com/v1", "Review", Duration::from_secs(30), attempts);
        let result = reviewer.ask(Bytes::from_static(b"{}")).await;
        match (&result, expected) {
            (Ok(status), Ok(expected)) => assert_eq!(*status, expected, "{statuses:?}"),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{statuses:?}: {error}"),
            _ => panic!("{statuses:?}: {result:?}"),
        }
        assert_eq!(server.received().len(), asked, "{statuses:?}");
    };
    check(&[], good.clone(), Ok(json!({"allowed": true})), 1).await;
    check(&[201], json!({"status": {}}), Ok(json!({})), 1).await;
    check(&[], json!({"kind": "", "status": null}), Ok(json!({})), 1).await;
    check(&[500, 503, 429], good.clone(), Ok(json!({"allowed": true})), 4).await;
    check(&[500; 9], good.clone(), Err("status 500"), 5).await;
    for status in [&[400], &[401], &[403], &[404]] {
        check(status, good.clone(), Err("status 4"), 1).await;
    }
    check(&[302], good.clone(), Err("redirect"), 1).await;
    check(&[], json!([]), Err("not a JSON object"), 1).await;
    check(&[], json!({"kind": "Pod"}), Err("another one"), 1).await;
    check(&[], json!({"apiVersion": "example.com/v2"}), Err("another one"), 1).await;
    check(&[], json!({"apiVersion": 5}), Err("another one"), 1).await;
    check(&[], json!({"status": [true]}), Err("status is not an object"), 1).await;
}

#[tokio::test]
async fn a_webhook_that_is_not_there_is_tried_again() {
    let authority = Authority::new();
    let gone = server(&authority, true).await;
    let access = gone.access("/", &authority.pem);
    drop(gone);
    let client = Client::new(&access, permissive()).unwrap();
    let attempts = Attempts { first_pause: Duration::ZERO, ..Attempts::default() };
    let reviewer = Reviewer::new(client, "example.com/v1", "Review", Duration::from_secs(30), attempts);
    let error = reviewer.ask(Bytes::new()).await.unwrap_err();
    assert!(
        matches!(error, ReviewError::RequestFailed(RequestError::DialFailed(_) | RequestError::HandshakeFailed { .. })),
        "{error}"
    );
}
