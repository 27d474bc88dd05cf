#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderName;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What RFC 6455 says of that key.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// A handshake with the key and version of the RFC and more lines.
fn asked(more: &[&str]) -> HeaderMap {
    let key = format!("sec-websocket-key: {KEY}");
    headers(&[&["sec-websocket-version: 13", &key, "host: api.example:6443"], more].concat())
}

#[test]
fn who_asks_for_a_websocket() {
    let check = |lines: &[&str], expected: bool| assert_eq!(is_asked(&headers(lines)), expected, "{lines:?}");
    check(&[], false);
    check(&["connection: Upgrade", "upgrade: websocket"], true);
    check(&["connection: keep-alive, upgrade", "upgrade: WebSocket"], true);
    check(&["connection: keep-alive", "connection: UPGRADE", "upgrade: websocket"], true);
    check(&["connection: Upgrade", "upgrade: SPDY/3.1"], false);
    check(&["connection: Upgrade", "upgrade: websocket, h2c"], false);
    check(&["connection: close", "upgrade: websocket"], false);
    check(&["upgrade: websocket"], false);
    check(&["connection: upgrade"], false);
}

#[test]
fn versions_and_keys() {
    let check = |lines: &[&str], expected: Result<&str, HandshakeError>| {
        let shaken = Handshake::read(&headers(lines));
        let accept = shaken.map(|shaken| shaken.accept.to_str().unwrap().to_owned());
        assert_eq!(accept, expected.map(str::to_owned), "{lines:?}");
    };
    let version = "sec-websocket-version: 13";
    let key = &*format!("sec-websocket-key: {KEY}");
    check(&[version, key], Ok(ACCEPT));
    check(&[key], Err(HandshakeError::BadVersion));
    check(&["sec-websocket-version: 8", key], Err(HandshakeError::BadVersion));
    check(&["sec-websocket-version: 13, 8", key], Err(HandshakeError::BadVersion));
    check(&[version], Err(HandshakeError::BadKey));
    check(&[version, "sec-websocket-key: "], Err(HandshakeError::BadKey));
    check(&[version, key, key], Err(HandshakeError::BadKey));
    check(&[version, &format!("sec-websocket-key: {}", "a".repeat(KEY_BYTES_MAX + 1))], Err(HandshakeError::BadKey));
}

#[test]
fn subprotocols() {
    let check = |lines: &[&str], expected: Result<Option<&str>, HandshakeError>| {
        let chosen = choose_protocol(&headers(lines));
        let chosen = chosen.map(|chosen| chosen.map(|name| name.to_str().unwrap().to_owned()));
        assert_eq!(chosen, expected.map(|name| name.map(str::to_owned)), "{lines:?}");
    };
    let bearer = "base64url.bearer.authorization.k8s.io.c2VjcmV0";
    check(&[], Ok(None));
    check(&["sec-websocket-protocol: base64.binary.k8s.io"], Ok(Some("base64.binary.k8s.io")));
    check(&["sec-websocket-protocol: a, b", "sec-websocket-protocol: c"], Ok(Some("a")));
    check(&["sec-websocket-protocol: ,, b"], Ok(Some("b")));
    // A credential is never said back.
    check(&[&format!("sec-websocket-protocol: {bearer}")], Ok(None));
    check(&[&format!("sec-websocket-protocol: {bearer}, base64.binary.k8s.io")], Ok(Some("base64.binary.k8s.io")));
    check(&[&format!("sec-websocket-protocol: b,{bearer}")], Ok(Some("b")));
    check(&["sec-websocket-protocol: a b"], Err(HandshakeError::BadProtocol));
    check(&["sec-websocket-protocol: a;q=1"], Err(HandshakeError::BadProtocol));
    check(&[&format!("sec-websocket-protocol: {}", "a".repeat(257))], Err(HandshakeError::BadProtocol));
}

#[test]
fn a_page_of_another_site_gets_no_websocket() {
    let check = |lines: &[&str], is_own: bool| {
        let expected = if is_own { Ok(()) } else { Err(HandshakeError::ForeignOrigin) };
        assert_eq!(check_origin(&headers(lines)), expected, "{lines:?}");
    };
    let host = "host: api.example:6443";
    check(&[host], true);
    check(&[], true);
    check(&[host, "origin: https://api.example:6443"], true);
    check(&[host, "origin: https://API.example:6443"], true);
    check(&["host: api.example", "origin: https://api.example:443"], true);
    check(&["host: api.example:443", "origin: https://api.example"], true);
    check(&["host: [::1]:6443", "origin: https://[::1]:6443"], true);
    check(&[host, "origin: https://evil.example"], false);
    check(&[host, "origin: https://evil.example:6443"], false);
    check(&[host, "origin: https://api.example"], false);
    check(&[host, "origin: https://api.example.evil.example:6443"], false);
    check(&[host, "origin: http://api.example:6443"], false);
    check(&[host, "origin: https://x@api.example:6443"], false);
    check(&[host, "origin: https://api.example:6443/"], false);
    check(&[host, "origin: https://api.example:99999"], false);
    check(&["host: api.example", "origin: https://api.example:"], true);
    check(&[host, "origin: null"], false);
    check(&[host, "origin: "], false);
    check(&[host, "origin: https://"], false);
    check(&[host, "origin: https://api.example:6443", "origin: https://evil.example"], false);
    check(&["origin: https://api.example:6443"], false);
    check(&["host: ", "origin: https://"], false);
}

#[tokio::test]
async fn a_refused_handshake_is_a_status() {
    let check = async |error: HandshakeError, code: u16, reason: &str| {
        let response = error.response();
        assert_eq!(response.status(), code);
        let version = response.headers().get(SEC_WEBSOCKET_VERSION).cloned();
        assert_eq!(version.is_some(), error == HandshakeError::BadVersion);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let status: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&status["kind"], &status["reason"]), (&"Status".into(), &reason.into()), "{status}");
        assert!(status["message"].as_str().unwrap().ends_with(&error.to_string()), "{status}");
    };
    check(HandshakeError::BadVersion, 400, "BadRequest").await;
    check(HandshakeError::BadKey, 400, "BadRequest").await;
    check(HandshakeError::BadProtocol, 400, "BadRequest").await;
    check(HandshakeError::ForeignOrigin, 403, "Forbidden").await;
    assert_eq!(Handshake::read(&asked(&["origin: null"])), Err(HandshakeError::ForeignOrigin));
}

#[tokio::test]
async fn what_cannot_become_a_websocket_is_answered_as_ever() {
    let wants = ["connection: upgrade", "upgrade: websocket"];
    let check = async |headers: &HeaderMap, status: u16| {
        let mut response = Response::new(Body::from("answer"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let response = switch(headers, None, response);
        assert_eq!(response.status(), status);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
    };
    check(&asked(&[]), 200).await;
    check(&asked(&wants), 200).await;
    check(&asked(&wants), 410).await;
}

/// The body of a watch that gives these pieces, then what `end` says, and counts what was taken.
struct Pieces {
    left: VecDeque<Bytes>,
    taken: Arc<AtomicUsize>,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Over,
    Broken,
    Never,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.left.pop_front() {
            Some(piece) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None => match self.end {
                End::Over => Poll::Ready(None),
                End::Broken => Poll::Ready(Some(Err("broken".into()))),
                End::Never => Poll::Pending,
            },
        }
    }
}

fn events(framing: Framing, pieces: &[&[u8]], end: End) -> (Events, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let left = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
    let body = Body::from_stream(Pieces { left, taken: Arc::clone(&taken), end });
    (Events::new(body, framing), taken)
}

#[tokio::test]
async fn a_body_is_cut_into_events() {
    let check = async |framing: Framing, pieces: &[&[u8]], expected: &[&[u8]]| {
        let (mut events, _) = events(framing, pieces, End::Over);
        let mut found = Vec::new();
        while let Some(event) = std::future::poll_fn(|context| events.poll_event(context)).await {
            let message = event.unwrap();
            assert_eq!(message.is_text(), framing == Framing::Lines);
            found.push(message.into_data());
        }
        assert_eq!(found, expected, "{pieces:?}");
    };
    check(Framing::Lines, &[], &[]).await;
    check(Framing::Lines, &[b"{}\n"], &[b"{}\n"]).await;
    check(Framing::Lines, &[b"1\n2\n3\n"], &[b"1\n", b"2\n", b"3\n"]).await;
    check(Framing::Lines, &[b"1", b"", b"2\n3", b"\n"], &[b"12\n", b"3\n"]).await;
    check(Framing::Lines, &[b"1\n2"], &[b"1\n"]).await;
    check(Framing::LengthPrefixed, &[b"\0\0\0\x01a"], &[b"a"]).await;
    check(Framing::LengthPrefixed, &[b"\0\0\0\x01a\0\0\0\0\0\0\0\x02bc"], &[b"a", b"", b"bc"]).await;
    check(Framing::LengthPrefixed, &[b"\0\0", b"\0\x02", b"a", b"b\0"], &[b"ab"]).await;
    check(Framing::LengthPrefixed, &[b"\xff\xff\xff\xffa"], &[]).await;
}

type Client = WebSocketStream<DuplexStream>;

/// A client of a pump that sends these events.
async fn pumped(
    pieces: &[&[u8]],
    end: End,
    buffer: usize,
) -> (Client, Arc<AtomicUsize>, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let (events, taken) = events(Framing::Lines, pieces, end);
    let (ours, theirs) = duplex(buffer);
    let (drain, draining) = oneshot::channel::<()>();
    let pump = tokio::spawn(pump(ours, events, async {
        if draining.await.is_err() {
            std::future::pending().await
        }
    }));
    (WebSocketStream::from_raw_socket(theirs, Role::Client, None).await, taken, drain, pump)
}

async fn next(client: &mut Client) -> Message {
    client.next().await.unwrap().unwrap()
}

/// Reads the goodbye, answers it, and sees the pump end.
async fn goodbye(mut client: Client, pump: tokio::task::JoinHandle<()>, expected: CloseCode) {
    let Message::Close(Some(frame)) = next(&mut client).await else { panic!("no goodbye") };
    assert_eq!(frame.code, expected);
    assert!(client.next().await.is_none_or(|end| end.is_err()));
    pump.await.unwrap();
}

#[tokio::test]
async fn every_event_is_one_message_and_the_end_is_said() {
    let check = async |pieces: &[&[u8]], end: End, code: CloseCode| {
        let (mut client, _, _drain, pump) = pumped(pieces, end, 64).await;
        for expected in ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"] {
            assert_eq!(next(&mut client).await, Message::text(expected));
        }
        goodbye(client, pump, code).await;
    };
    let pieces: &[&[u8]] = &[b"{\"a\":1}\n{\"b\"", b":2}\n", b"{\"c\":3}\n"];
    check(pieces, End::Over, CloseCode::Normal).await;
    check(pieces, End::Broken, CloseCode::Error).await;
    check(&[pieces[0], pieces[1], pieces[2], b"\xff\n"], End::Over, CloseCode::Error).await;
}

#[tokio::test]
async fn a_client_is_answered_and_may_leave() {
    let (mut client, _, _drain, pump) = pumped(&[b"{}\n"], End::Never, 1024).await;
    assert_eq!(next(&mut client).await, Message::text("{}\n"));
    client.send(Message::text("is anybody there?")).await.unwrap();
    client.send(Message::Ping(Bytes::from_static(b"hello"))).await.unwrap();
    assert_eq!(next(&mut client).await, Message::Pong(Bytes::from_static(b"hello")));
    client.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await.unwrap();
    let Message::Close(Some(frame)) = next(&mut client).await else { panic!("no goodbye") };
    assert_eq!(frame.code, CloseCode::Normal);
    assert!(client.next().await.is_none());
    pump.await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_gone_ends_the_watch() {
    let (client, _, _drain, pump) = pumped(&[], End::Never, 1024).await;
    drop(client);
    pump.await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let (client, _, drain, pump) = pumped(&[], End::Never, 1024).await;
    drain.send(()).unwrap();
    goodbye(client, pump, CloseCode::Away).await;
}

#[tokio::test]
async fn a_stop_that_ends_the_body_first_is_a_stop() {
    // The body hears of the stop, and ends, between the moment in which the pump looks for the stop and the one in which it reads.
    let (events, _) = events(Framing::Lines, &[], End::Over);
    let (ours, theirs) = duplex(1024);
    let mut asked = 0;
    let stops = std::future::poll_fn(move |_| {
        asked += 1;
        if asked == 1 { Poll::Pending } else { Poll::Ready(()) }
    });
    let pump = tokio::spawn(pump(ours, events, stops));
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    goodbye(client, pump, CloseCode::Away).await;
}

#[tokio::test]
async fn what_a_client_sends_has_limits() {
    let check = async |message: Message, times: usize, expected: CloseCode| {
        let (mut client, _, _drain, pump) = pumped(&[], End::Never, 64 << 10).await;
        let mut left = times;
        // A pump that has heard enough no longer reads, so the rest may not leave.
        while left > 0 && client.send(message.clone()).await.is_ok() {
            left -= 1;
        }
        let code = loop {
            match client.next().await {
                Some(Ok(Message::Close(frame))) => break frame.unwrap().code,
                Some(Ok(_)) => {}
                end => panic!("no goodbye but {end:?}"),
            }
        };
        assert_eq!(code, expected);
        drop(client);
        pump.await.unwrap();
    };
    check(Message::binary(vec![0; RECEIVED_MESSAGE_BYTES_MAX + 1]), 1, CloseCode::Size).await;
    let whole = Message::binary(vec![0; RECEIVED_MESSAGE_BYTES_MAX]);
    check(whole, RECEIVED_BYTES_MAX / RECEIVED_MESSAGE_BYTES_MAX, CloseCode::Policy).await;
}

#[tokio::test]
async fn a_frame_that_breaks_the_protocol_ends_the_watch() {
    let check = async |bytes: &[u8], code: u16| {
        let (events, _) = events(Framing::Lines, &[], End::Never);
        let (ours, mut theirs) = duplex(1024);
        let pump = tokio::spawn(pump(ours, events, std::future::pending()));
        theirs.write_all(bytes).await.unwrap();
        let mut said = [0; 4];
        let read = timeout(CLOSE_TIMEOUT, theirs.read_exact(&mut said)).await;
        assert!(read.is_ok(), "no goodbye after {bytes:?}");
        assert_eq!((said[0], u16::from_be_bytes([said[2], said[3]])), (0x88, code), "{bytes:?}");
        drop(theirs);
        pump.await.unwrap();
    };
    check(b"\x81\x01a", 1002).await; // not masked
    check(b"\x83\x80\0\0\0\0", 1002).await; // no such operation
    check(b"\xc1\x80\0\0\0\0", 1002).await; // a reserved bit
    check(&[b"\x89\xfe\0\x80\0\0\0\0", &[0; 128][..]].concat(), 1002).await; // a long ping
    check(b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009).await; // a length beyond everything
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_costs_one_event_and_is_left_in_the_end() {
    let long = format!("\"{}\"\n", "x".repeat(10_000));
    let pieces = vec![long.as_bytes(); 100];
    let (client, taken, _drain, pump) = pumped(&pieces, End::Never, 1024).await;
    pump.await.unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), 1);
    drop(client);
}
