//! What a peer can not do: send too much, too slowly, too often, or never read.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame};
use portcullis_gate::{BODY_BYTES_MAX, Body, BoxError, Limits, Permitted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::client::{Chunks, Dial, PROTOCOLS, Protocol};
use crate::frames;
use crate::server::{Server, describe};

/// Short, so that a test that waits for it is quick; nothing depends on how short.
const SOON: Duration = Duration::from_millis(50);
const ENHANCE_YOUR_CALM: u8 = 11;

#[tokio::test]
async fn a_body_of_3_mib_is_read_and_one_byte_more_is_413() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    let limit = usize::try_from(BODY_BYTES_MAX).unwrap();
    for protocol in PROTOCOLS {
        for make in [Chunks::with_length, Chunks::without_length] {
            for (len, code) in [(0, 200), (limit, 200), (limit + 1, 413), (limit + 100_000, 413)] {
                let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
                let answer = client.call("POST", "/api/v1/namespaces", &[], make(len)).await;
                assert_eq!(answer.status, code, "{protocol:?} {len}");
                let expected = if code == 200 {
                    format!("kubernetes-admin system:masters,system:authenticated create {len}")
                } else {
                    concat!(
                        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                        r#""message":"Request entity too large: limit is 3145728","#,
                        r#""reason":"RequestEntityTooLarge","code":413}"#,
                        "\n"
                    )
                    .to_owned()
                };
                assert_eq!(answer.text, expected, "{protocol:?} {len}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let server = Server::describing().await;
    let (admin, ana) = (server.ca.admin(), server.ca.ana());
    for protocol in PROTOCOLS {
        let mut client = Dial::to(&server, Some(&ana), protocol).client().await;
        for make in [Chunks::with_length, Chunks::without_length] {
            let answer = client.call("POST", "/api/v1/namespaces", &[], make(1_500_000)).await;
            assert_eq!(answer.status, 403, "{protocol:?}");
        }
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        for path in ["//api/v1/namespaces", "/api/v1/namespaces"] {
            let answer = client.call("POST", path, &[], Chunks::with_length(1_500_000)).await;
            assert_eq!(answer.status, if path.starts_with("//") { 404 } else { 200 }, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_waits_to_go_on_is_not_asked_for_a_body_nobody_wants() {
    let server = Server::describing().await;
    let (admin, ana) = (server.ca.admin(), server.ca.ana());
    let head =
        b"POST /api/v1/namespaces HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    for (credential, expected) in [(&ana, "HTTP/1.1 403"), (&admin, "HTTP/1.1 100")] {
        let mut stream = Dial::to(&server, Some(credential), Protocol::Http1).tls().await.unwrap();
        stream.write_all(head).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), expected);
    }
}

#[tokio::test]
async fn heads_have_a_limit() {
    let server = Server::start(describe, Limits { header_bytes_max: 16 * 1024, ..Limits::default() }).await;
    let admin = server.ca.admin();
    let (small, large) = ("x".repeat(8 * 1024), "x".repeat(20 * 1024));
    for protocol in PROTOCOLS {
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        let answer = client.try_call("GET", "/api", &[("x-long", &small)], Chunks::default()).await.unwrap();
        assert_eq!(answer.status, 200, "{protocol:?}");
        let answer = client.try_call("GET", "/api", &[("x-long", &large)], Chunks::default()).await;
        assert!(answer.as_ref().map_or(true, |answer| answer.status == 431), "{protocol:?} {answer:?}");
    }
    let many: Vec<_> = (0..200).map(|_| ("x-many", "y")).collect();
    let mut client = Dial::to(&server, Some(&admin), Protocol::Http1).client().await;
    let answer = client.try_call("GET", "/api", &many, Chunks::default()).await.unwrap();
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn head_gets_the_head_of_get_and_nothing_is_abandoned() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    for protocol in PROTOCOLS {
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        let expected = client.get("/api/v1/namespaces/a").await;
        for _ in 0..3 {
            let answer = client.call("HEAD", "/api/v1/namespaces/a", &[], Chunks::default()).await;
            assert_eq!((answer.status, &*answer.text), (200, ""), "{protocol:?}");
            assert_eq!(answer.headers["content-length"], expected.headers["content-length"], "{protocol:?}");
        }
        assert_eq!(client.get("/api/v1/namespaces/a").await.text, expected.text);
    }
    assert_eq!(server.metrics.requests_abandoned(), 0);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_place_is_given_again() {
    let server = Server::start(describe, Limits { connections_max: 2, ..Limits::default() }).await;
    let admin = server.ca.admin();
    let dial = Dial::to(&server, Some(&admin), Protocol::Http1);
    let mut first = dial.client().await;
    let mut second = dial.client().await;
    assert_eq!(first.get("/api").await.status, 200);
    assert_eq!(second.get("/api").await.status, 200);
    assert!(dial.tls().await.is_err());
    assert_eq!(first.get("/api").await.status, 200);
    let answer = second.call("GET", "/api", &[("connection", "close")], Chunks::default()).await;
    assert_eq!(answer.status, 200);
    second.closed().await;
    // The server gives the place back at a moment of its own after the client has seen the end.
    while dial.tls().await.is_err() {
        tokio::task::yield_now().await;
    }
    drop(first);
}

#[tokio::test]
async fn a_peer_that_does_not_speak_is_closed() {
    let limits = Limits { handshake_timeout: SOON, header_read_timeout: SOON, ..Limits::default() };
    let server = Server::start(describe, limits).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);

    let server = Server::start(describe, Limits { header_read_timeout: SOON, ..Limits::default() }).await;
    let dial = Dial::to(&server, None, Protocol::Http1);
    let mut slow = dial.tls().await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").await.unwrap();
    let mut answer = Vec::new();
    let _ = slow.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    let mut idle = dial.client().await;
    assert_eq!(idle.get("/healthz").await.status, 200);
    idle.closed().await;
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed() {
    let server = Server::start(describe, Limits { idle_timeout: SOON, ..Limits::default() }).await;
    let admin = server.ca.admin();
    let mut client = Dial::to(&server, Some(&admin), Protocol::Http2).client().await;
    assert_eq!(client.get("/api").await.status, 200);
    client.closed().await;
}

#[tokio::test]
async fn an_http2_connection_without_credentials_is_closed_after_one_request() {
    let server = Server::describing().await;
    for (path, code) in [("/api", 401), ("/healthz", 200)] {
        let mut client = Dial::to(&server, None, Protocol::Http2).client().await;
        assert_eq!(client.get(path).await.status, code);
        client.closed().await;
        // HTTP/1.1 costs little and stays.
        let mut client = Dial::to(&server, None, Protocol::Http1).client().await;
        assert_eq!(client.get(path).await.status, code);
        assert_eq!(client.get(path).await.status, code);
    }
}

#[tokio::test]
async fn a_peer_that_ignores_the_goodbye_is_cut_off() {
    let server = Server::start(describe, Limits { stranger_linger: SOON, ..Limits::default() }).await;
    let mut stream = Dial::to(&server, None, Protocol::Http2).tls().await.unwrap();
    stream.write_all(&[frames::preface(), frames::get(1)].concat()).await.unwrap();
    let frames = frames::read_to_end(stream).await;
    assert!(frames.iter().any(|(kind, _)| *kind == frames::GOAWAY), "{frames:?}");
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    let mut stream = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
    let mut flood = frames::preface();
    for stream in (1..2000).step_by(2) {
        flood.extend(frames::get(stream));
        flood.extend(frames::reset(stream));
    }
    // The server may hang up before it has read all of it.
    let _ = stream.write_all(&flood).await;
    let frames = frames::read_to_end(stream).await;
    let goodbye = frames.iter().rev().find(|(kind, _)| *kind == frames::GOAWAY);
    assert_eq!(goodbye.and_then(|(_, payload)| payload.get(7)), Some(&ENHANCE_YOUR_CALM), "{frames:?}");
}

/// A body without end, which tells when it is dropped.
pub struct Endless(pub mpsc::UnboundedSender<()>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 * 1024])))))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_is_cut_off() {
    let (dropped, mut drops) = mpsc::unbounded_channel();
    let handler = move |_: Permitted| {
        let body = Body::from_stream(Endless(dropped.clone()));
        async { Response::new(body) }
    };
    let limits = Limits { request_timeout: SOON, idle_timeout: SOON, ..Limits::default() };
    let server = Server::start(handler, limits).await;
    let admin = server.ca.admin();
    let mut http1 = Dial::to(&server, Some(&admin), Protocol::Http1).tls().await.unwrap();
    http1.write_all(b"GET /api/v1/pods HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    drops.recv().await.unwrap();
    let mut http2 = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
    http2.write_all(&[frames::preface(), frames::get(1)].concat()).await.unwrap();
    drops.recv().await.unwrap();
}

#[tokio::test]
async fn a_panic_costs_one_answer() {
    let server = Server::start(
        async |permitted: Permitted| {
            assert!(permitted.info().verb() != "delete", "as the test wants it");
            Response::new(Body::from("fine"))
        },
        Limits::default(),
    )
    .await;
    let admin = server.ca.admin();
    for protocol in PROTOCOLS {
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        let answer = client.call("DELETE", "/api/v1/namespaces/x", &[], Chunks::default()).await;
        assert_eq!(answer.status, 500);
        assert!(answer.text.contains(r#""reason":"InternalError""#), "{}", answer.text);
        assert_eq!(client.get("/api/v1/namespaces/x").await.text, "fine");
    }
}
