//! Attacks on a gate, by their names: each ends with its connection, is counted, and does not keep another client from its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use portcullis_gate::{Body, ConnectionRules, GoawayChance, Limits, Permitted, Rate};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use crate::client::{Chunks, Dial, PROTOCOLS, Protocol};
use crate::frames::{self, frame};
use crate::server::{Server, describe};

/// Short, so that a test that waits for it is quick; nothing depends on how short.
const SOON: Duration = Duration::from_millis(50);
const ENHANCE_YOUR_CALM: u8 = 11;

/// Another client gets its answer.
async fn others_are_answered(server: &Server) {
    let admin = server.ca.admin();
    for protocol in PROTOCOLS {
        let mut client = Dial::to(server, Some(&admin), protocol).client().await;
        assert_eq!(client.get("/api").await.status, 200, "{protocol:?}");
    }
}

/// Waits for what happens in another task.
async fn until(happened: impl Fn() -> bool) {
    while !happened() {
        tokio::task::yield_now().await;
    }
}

/// Connects from an address of this machine.
async fn from(address: [u8; 4], server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// Sends until the server hangs up.
async fn send_for_ever(stream: &mut (impl AsyncWrite + Unpin), content: &[u8]) {
    while stream.write_all(content).await.is_ok() && stream.flush().await.is_ok() {}
}

fn code_of_goodbye(frames: &[(u8, Vec<u8>)]) -> Option<u8> {
    let goodbye = frames.iter().rev().find(|(kind, _)| *kind == frames::GOAWAY)?;
    goodbye.1.get(7).copied()
}

#[tokio::test]
async fn a16_an_address_that_may_not_connect_gets_no_tls_byte() {
    let rules = ConnectionRules { client_ranges: vec!["127.0.0.1/32".parse().unwrap()], ..ConnectionRules::default() };
    let server = Server::ruled(describe, Limits::default(), rules).await;
    let mut refused = from([127, 0, 0, 2], &server).await;
    // Not even an alert answers what is no TLS.
    let _ = refused.write_all(b"hello").await;
    let mut answer = Vec::new();
    let _ = refused.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert_eq!(server.metrics.refused("address_range"), 1);
    others_are_answered(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cve_2026_73500_idle_connections_without_a_client_hello_make_room() {
    const IDLE: usize = 2_000;
    let limits = Limits { handshakes_max: 64, ..Limits::default() };
    let server = Server::start(describe, limits).await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    others_are_answered(&server).await;
    until(|| server.metrics.cut("handshake_room") >= (IDLE - 64) as u64).await;
    assert!(server.metrics.pending() <= 64);
    // The first one was cut long ago.
    assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
    drop(idle);
    until(|| server.metrics.pending() == 0).await;
}

#[tokio::test]
async fn who_proves_no_identity_cannot_keep_those_out_who_do() {
    let server = Server::start(describe, Limits { connections_max: 16, ..Limits::default() }).await;
    let admin = server.ca.admin();
    let mut known = Dial::to(&server, Some(&admin), Protocol::Http2).client().await;
    assert_eq!(known.get("/api").await.status, 200);
    let mut idle = Vec::new();
    for _ in 0..15 {
        idle.push(Dial::to(&server, None, Protocol::Http1).tls().await.unwrap());
    }
    // All places are taken; each that comes takes that of the oldest one who has said nothing.
    for cut in 1..=20 {
        let mut client = Dial::to(&server, Some(&admin), Protocol::Http1).client().await;
        assert_eq!(client.get("/api").await.status, 200);
        until(|| server.metrics.open() <= 16).await;
        if cut == 1 {
            assert_eq!((server.metrics.cut("stranger_room"), server.metrics.refused("full")), (1, 0));
            assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
        }
    }
    assert_eq!(known.get("/api").await.status, 200);
}

#[tokio::test]
async fn a_flood_of_handshakes_cuts_its_own() {
    let server = Server::start(describe, Limits { handshakes_max: 3, ..Limits::default() }).await;
    let mut other = from([127, 0, 0, 2], &server).await;
    until(|| server.metrics.pending() == 1).await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(TcpStream::connect(server.address).await.unwrap());
    }
    until(|| server.metrics.cut("handshake_room") == 18).await;
    assert_eq!(flood[0].read(&mut [0]).await.unwrap_or(0), 0);
    // What the older one from the other address says is still heard: it is no TLS.
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = other.read_to_end(&mut answer).await;
    assert!(!answer.is_empty());
}

#[tokio::test]
async fn cve_2026_73500_a_handshake_has_a_deadline() {
    let server = Server::start(describe, Limits { handshake_timeout: SOON, ..Limits::default() }).await;
    for begin in [&b""[..], &[22, 3, 1, 2, 0]] {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(begin).await.unwrap();
        assert_eq!(slow.read(&mut [0]).await.unwrap_or(0), 0);
    }
    until(|| server.metrics.cut("handshake_timeout") == 2).await;
}

#[tokio::test]
async fn cve_2023_44487_a_hundred_thousand_resets_end_with_their_connections() {
    const STREAMS: u32 = 100_000;
    let server = Server::describing().await;
    let admin = server.ca.admin();
    let (mut sent, mut connections) = (0, 0);
    while sent < STREAMS {
        let dial = Dial::to(&server, Some(&admin), Protocol::Http2);
        // An address that goes on is let in slowly: that is the end of the flood.
        let Ok(mut stream) = dial.tls().await else { break };
        connections += 1;
        let mut flood = frames::preface();
        for stream in (1..20_000).step_by(2) {
            flood.extend(frames::get(stream));
            flood.extend(frames::reset(stream));
            sent += 1;
        }
        let _ = stream.write_all(&flood).await;
        let frames = frames::read_to_end(stream).await;
        assert_eq!(code_of_goodbye(&frames).unwrap_or(ENHANCE_YOUR_CALM), ENHANCE_YOUR_CALM);
    }
    assert!((4..=10).contains(&connections), "{connections}");
    until(|| server.metrics.cut("protocol") + server.metrics.cut("abandoned_requests") == connections).await;
    assert!(server.metrics.refused("penalty") == 1 || sent >= STREAMS);
    // Somebody else is not held responsible.
    let stream = from([127, 0, 0, 2], &server).await;
    until(|| server.metrics.pending() > 0).await;
    drop(stream);
}

#[tokio::test]
async fn cve_2023_39325_requests_that_are_begun_and_reset_are_dropped_at_once_and_counted() {
    struct Waits(mpsc::UnboundedSender<&'static str>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }
    let (told, mut tells) = mpsc::unbounded_channel();
    let handler = move |_: Permitted| {
        let waits = Waits(told.clone());
        async move {
            let _ = waits.0.send("begun");
            std::future::pending::<()>().await;
            drop(waits);
            Response::new(Body::empty())
        }
    };
    let limits = Limits { abandoned: Rate { burst: 5, per_second: 0 }, ..Limits::default() };
    let server = Server::start(handler, limits).await;
    let admin = server.ca.admin();
    let mut stream = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
    stream.write_all(&frames::preface()).await.unwrap();
    for number in 0..6 {
        stream.write_all(&frames::get(number * 2 + 1)).await.unwrap();
        assert_eq!(tells.recv().await, Some("begun"));
        stream.write_all(&frames::reset(number * 2 + 1)).await.unwrap();
        assert_eq!(tells.recv().await, Some("dropped"));
    }
    assert_eq!(code_of_goodbye(&frames::read_to_end(stream).await), Some(ENHANCE_YOUR_CALM));
    until(|| server.metrics.cut("abandoned_requests") == 1).await;
    assert_eq!(server.metrics.requests_abandoned(), 6);
}

#[tokio::test]
async fn watches_that_informers_end_are_no_abuse() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    let mut client = Dial::to(&server, Some(&admin), Protocol::Http2).client().await;
    for _ in 0..1000 {
        assert_eq!(client.get("/api").await.status, 200);
    }
    assert_eq!(server.metrics.requests_abandoned(), 0);
}

#[tokio::test]
async fn cve_2024_27316_continuation_floods_end_the_connection() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    for payload in [&b""[..], &[0x00, 0x01, b'x', 0x01, b'y']] {
        let mut stream = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
        let begin = [frames::preface(), frame(frames::HEADERS, 0, 1, &frames::GET)].concat();
        stream.write_all(&begin).await.unwrap();
        send_for_ever(&mut stream, &frame(frames::CONTINUATION, 0, 1, payload).repeat(1000)).await;
    }
    until(|| server.metrics.cut("protocol") + server.metrics.cut("frames") == 2).await;
    others_are_answered(&server).await;
}

#[tokio::test]
async fn cve_2019_9512_9515_9518_floods_of_frames_that_are_no_requests_end_the_connection() {
    let floods = [
        ("ping", frame(frames::PING, 0, 0, &[7; 8])),
        ("ping acks", frame(frames::PING, 1, 0, &[7; 8])),
        ("settings", frame(frames::SETTINGS, 0, 0, &[])),
        ("priority", frame(frames::PRIORITY, 0, 1, &[0, 0, 0, 3, 1])),
        ("window update", frame(frames::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0x77, 0, 0, &[7; 100])),
        ("unknown and large", frame(0x77, 0, 0, &[7; 16_000])),
    ];
    for (at, (name, flood)) in floods.into_iter().enumerate() {
        // Of its own, because an address that goes on is slowed.
        let server = Server::describing().await;
        let admin = server.ca.admin();
        let mut stream = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
        stream.write_all(&frames::preface()).await.unwrap();
        let (mut reading, mut writing) = tokio::io::split(stream);
        let drained = tokio::spawn(async move {
            let mut answers = Vec::new();
            let _ = reading.read_to_end(&mut answers).await;
        });
        send_for_ever(&mut writing, &flood.repeat(1000)).await;
        drained.await.unwrap();
        until(|| server.metrics.cut("frames") + server.metrics.cut("protocol") == 1).await;
        if at == 0 {
            others_are_answered(&server).await;
        }
        eprintln!("{name} ended");
    }
}

#[tokio::test]
async fn empty_data_frames_end_the_connection() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    let mut stream = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
    stream.write_all(&[frames::preface(), frames::post(1)].concat()).await.unwrap();
    send_for_ever(&mut stream, &frame(frames::DATA, 0, 1, &[]).repeat(1000)).await;
    until(|| server.metrics.cut("frames") + server.metrics.cut("protocol") == 1).await;
    others_are_answered(&server).await;
}

#[tokio::test]
async fn a_head_over_http2_that_does_not_end_is_cut() {
    let server = Server::start(describe, Limits { header_read_timeout: SOON, ..Limits::default() }).await;
    let admin = server.ca.admin();
    let whole = frame(frames::HEADERS, 0, 1, &frames::GET);
    for part in [&whole[..], &whole[..12]] {
        let mut stream = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
        stream.write_all(&[&frames::preface(), part].concat()).await.unwrap();
        frames::read_to_end(stream).await;
    }
    until(|| server.metrics.cut("slow_head") == 2).await;
    others_are_answered(&server).await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let limits = Limits { body_grace: SOON, ..Limits::default() };
    let server = Server::start(describe, limits).await;
    let admin = server.ca.admin();
    let mut http1 = Dial::to(&server, Some(&admin), Protocol::Http1).tls().await.unwrap();
    let head = b"POST /api/v1/namespaces HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nx";
    http1.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    let _ = http1.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains(r#""reason":"Timeout""#) && answer.contains("slower than 1024 bytes a second"), "{answer}");
    let mut http2 = Dial::to(&server, Some(&admin), Protocol::Http2).client().await;
    let slow = http2.call("POST", "/api/v1/namespaces", &[], Chunks::that_never_end()).await;
    assert_eq!(slow.status, 408);
    assert_eq!(http2.get("/api").await.status, 200);
}

#[tokio::test]
async fn zero_windows_are_cut_when_the_answer_has_waited_long_enough() {
    const LEN: usize = 1 << 20;
    let body = Bytes::from(vec![b'x'; LEN]);
    let handler = move |_: Permitted| {
        let body = body.clone();
        async { Response::new(Body::from(body)) }
    };
    let server = Server::start(handler, Limits { request_timeout: SOON, ..Limits::default() }).await;
    let admin = server.ca.admin();
    let mut stream = Dial::to(&server, Some(&admin), Protocol::Http2).tls().await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE of 0.
    let zero = frame(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&[frames::preface(), zero, frames::get(1)].concat()).await.unwrap();
    let frames = frames::read_to_end(stream).await;
    assert!(frames.iter().any(|(kind, _)| *kind == frames::HEADERS));
    assert!(!frames.iter().any(|(kind, _)| *kind == frames::DATA));
    until(|| server.metrics.cut("unread_answer") == 1).await;
}

#[tokio::test]
async fn a_client_can_be_told_to_connect_again_and_loses_nothing() {
    let goaway_chance = GoawayChance::new(0.02).unwrap();
    let rules = ConnectionRules { goaway_chance, ..ConnectionRules::default() };
    let server = Server::ruled(describe, Limits::default(), rules).await;
    let admin = server.ca.admin();
    let mut client = Dial::to(&server, Some(&admin), Protocol::Http2).client().await;
    // The chance that none of so many is told is less than one in 10^17.
    let mut answered = 0;
    while let Ok(answer) = client.try_call("GET", "/api", &[], Chunks::default()).await {
        assert_eq!(answer.status, 200);
        answered += 1;
        assert!(answered < 2_000);
    }
    client.closed().await;
    others_are_answered(&server).await;
}

#[tokio::test]
async fn a_stopping_server_can_say_when_to_come_again() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let go_on = Arc::new(Semaphore::new(0));
    let handler = {
        let go_on = Arc::clone(&go_on);
        move |permitted: Permitted| {
            let (begun, go_on) = (begun.clone(), Arc::clone(&go_on));
            async move {
                if permitted.info().path() == "/api/v1/pods" {
                    begun.send(()).unwrap();
                    drop(go_on.acquire().await);
                }
                Response::new(Body::from("answered"))
            }
        }
    };
    let rules = ConnectionRules { send_retry_after: true, ..ConnectionRules::default() };
    let mut server = Server::ruled(handler, Limits::default(), rules).await;
    let admin = server.ca.admin();
    let mut busy = Dial::to(&server, Some(&admin), Protocol::Http2).client().await;
    let answer = tokio::spawn(async move { busy.get("/api/v1/pods").await });
    begins.recv().await.unwrap();
    server.stop();
    for protocol in PROTOCOLS {
        // It still listens, and turns away what is not a probe.
        loop {
            let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
            let told = client.try_call("GET", "/api", &[], Chunks::default()).await.unwrap();
            if told.status == 429 {
                assert_eq!(told.headers["retry-after"], "5");
                client.closed().await;
                break;
            }
        }
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        assert_eq!(client.get("/readyz").await.status, 200);
    }
    go_on.add_permits(1);
    assert_eq!(answer.await.unwrap().text, "answered");
    assert_eq!(server.ended().await, portcullis_gate::Drained::Completely);
}
