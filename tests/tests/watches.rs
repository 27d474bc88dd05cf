//! Many watches at once, and watches that nobody reads: everyone gets every event, and one who does not read costs the others nothing
//! and the server little.

use bytes::Bytes;
use futures_util::StreamExt as _;
use portcullis_tests::object::version;
use portcullis_tests::program::Server;
use portcullis_tests::session::{Asking, Connector, JSON, Protocol, Session};
use portcullis_tests::watch::{Form, WatchStream, decode};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Watches that are open at once.
const WATCHES: usize = 10_000;
/// Of these, the ones that have a connection to themselves.
const WATCHES_OVER_HTTP1: usize = 200;
/// Watches of one HTTP/2 connection: as many streams as the server allows.
const WATCHES_OF_A_CONNECTION: usize = 100;
/// Writes that all of them see.
const EVENTS: usize = 3;

/// Watches that nobody reads: each with a connection of its own, and streams of one connection.
const STALLED_OVER_HTTP1: usize = 100;
const STALLED_OVER_HTTP2: usize = 100;
/// Memory that the server may hold for one of them, beside what the kernel holds for its socket: an HTTP/1.1 connection takes sixteen
/// events before it notices, and TLS has a buffer; an HTTP/2 stream takes 256 KiB.
const STALLED_KIB_MAX: u64 = 320;
/// What the allocator keeps and gives back in between, and a test in another process cannot know.
const NOISE_KIB: u64 = 8 * 1024;
/// One event of these is large, so that many together are more than any buffer or history holds.
const LARGE_BYTES: usize = 15 * 1024;
const LARGE_EVENTS: usize = 3_500;
/// A state that is larger than what a connection takes before it notices, and how many ask for it and do not read it.
const STATE_OBJECTS: usize = 24;
const STATE_OBJECT_BYTES: usize = 512 * 1024;
const STALLED_IN_STATE: usize = 20;
/// Memory that the server may hold for one of these: what an HTTP/1.1 connection takes before it notices (1 MiB), and one event more.
const STALLED_IN_STATE_KIB_MAX: u64 = 1792;
/// The receive buffer of one who does not read.
const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;

const PATH: &str = "/api/v1/namespaces/default/configmaps";
const MERGE_PATCH: &str = "application/merge-patch+json";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn open(session: &mut Session, path: &str) -> WatchStream {
    let answer = session.open(path, Asking::GET).await.unwrap();
    assert_eq!(answer.status(), 200);
    WatchStream::new(answer.into_body(), Form::Json)
}

/// Opens watches of one connection; it stays as long as they do.
async fn open_many(connector: Connector, protocol: Protocol, count: usize, path: String) -> Vec<WatchStream> {
    let mut session = connector.open(protocol).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(open(&mut session, &path).await);
    }
    streams
}

/// Writes the same object again and again, each time with another value.
async fn change(session: &mut Session, name: &str, times: usize) {
    for time in 0..times {
        let patch = json!({"data": {"time": time.to_string()}});
        let accept = Form::Metadata.accept();
        let asking = Asking { method: "PATCH", accept, content: Some((MERGE_PATCH, &patch)) };
        let (status, answer) = session.ask(&format!("{PATH}/{name}"), asking).await.unwrap();
        assert_eq!(status, 200, "{answer}");
    }
}

/// Creates an object; returns its version.
async fn create(session: &mut Session, name: &str, len: usize) -> u64 {
    let data = json!({"padding": "x".repeat(len)});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    let asking = Asking { method: "POST", accept: JSON, content: Some((JSON, &object)) };
    let (status, answer) = session.ask(PATH, asking).await.unwrap();
    assert_eq!(status, 201, "{answer}");
    version(&answer).unwrap()
}

async fn frames(mut stream: WatchStream, count: usize) -> Vec<Bytes> {
    let mut frames = Vec::new();
    for _ in 0..count {
        frames.push(stream.frame().await.unwrap().expect("an event"));
    }
    frames
}

async fn ten_thousand(server: &Server) {
    let connector = Connector::of(&server.admin());
    let mut session = connector.open(Protocol::Http1).await.unwrap();
    let begin = create(&mut session, "bell", 0).await;
    let path = format!("{PATH}?watch=true&resourceVersion={begin}");
    let mut opening = JoinSet::new();
    for _ in 0..WATCHES_OVER_HTTP1 {
        opening.spawn(open_many(connector.clone(), Protocol::Http1, 1, path.clone()));
    }
    for _ in 0..(WATCHES - WATCHES_OVER_HTTP1) / WATCHES_OF_A_CONNECTION {
        opening.spawn(open_many(connector.clone(), Protocol::Http2, WATCHES_OF_A_CONNECTION, path.clone()));
    }
    let streams: Vec<_> = opening.join_all().await.into_iter().flatten().collect();
    assert_eq!(streams.len(), WATCHES);
    let mut readers = JoinSet::new();
    for stream in streams {
        readers.spawn(frames(stream, EVENTS));
    }
    change(&mut session, "bell", EVENTS).await;
    let mut all = readers.join_all().await.into_iter();
    let first = all.next().unwrap();
    let versions: Vec<_> =
        first.iter().map(|frame| version(&decode(frame, Form::Json).unwrap().object).unwrap()).collect();
    assert!(versions.is_sorted_by(|a, b| a < b) && versions[0] > begin, "{versions:?}");
    for frames in all {
        assert_eq!(frames, first);
    }
}

#[test]
fn ten_thousand_watches_get_every_event() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    runtime().block_on(ten_thousand(&server));
}

/// Reads a watch that was not read until now: every version in order, and 410 if there were too many for the server to keep.
async fn catch_up(mut stream: WatchStream, versions: &[u64]) -> bool {
    let mut expected = versions.iter();
    while let Some(event) = stream.next().await.unwrap() {
        if event.kind == "ERROR" {
            assert_eq!(event.object["code"], 410, "{}", event.object);
            return true;
        }
        let next = expected.next().expect("no more than was written");
        assert_eq!((event.kind.as_str(), version(&event.object).unwrap()), ("MODIFIED", *next));
        if expected.len() == 0 {
            return false;
        }
    }
    panic!("a watch ended without an error before version {:?}", expected.next());
}

async fn stalled(server: &Server) {
    let connector = Connector::of(&server.admin());
    let mut session = connector.open(Protocol::Http1).await.unwrap();
    let begin = create(&mut session, "large", LARGE_BYTES).await;
    let watch_from = |version: u64| format!("{PATH}?watch=true&resourceVersion={version}");
    // The first round fills whatever the server keeps of the past; the second has to do with those who do not read only.
    let mut reader = open(&mut connector.open(Protocol::Http1).await.unwrap(), &watch_from(begin)).await;
    let (mut newest, mut held, mut written, mut stalled) = (begin, 0, Vec::new(), Vec::new());
    for round in 0..2 {
        if round == 1 {
            let slow = connector.with_receive_buffer(RECEIVE_BUFFER_BYTES);
            for _ in 0..STALLED_OVER_HTTP1 {
                stalled.extend(open_many(slow.clone(), Protocol::Http1, 1, watch_from(newest)).await);
            }
            stalled.extend(open_many(slow, Protocol::Http2, STALLED_OVER_HTTP2, watch_from(newest)).await);
            held = server.memory_kib("VmRSS").unwrap();
        }
        let reading = tokio::spawn(async move {
            let mut versions = Vec::new();
            for _ in 0..LARGE_EVENTS {
                let event = reader.next().await.unwrap().expect("an event");
                assert_eq!(event.kind, "MODIFIED", "one who reads is not kept from it: {}", event.object);
                versions.push(version(&event.object).unwrap());
            }
            (reader, versions)
        });
        change(&mut session, "large", LARGE_EVENTS).await;
        (reader, written) = reading.await.unwrap();
        assert!(written.is_sorted_by(|a, b| a < b) && written[0] > newest, "{written:?}");
        newest = written.last().copied().unwrap();
    }
    let grown = server.memory_kib("VmRSS").unwrap().saturating_sub(held);
    let count = stalled.len() as u64;
    println!("{grown} KiB more for {count} watches that nobody reads: {} KiB each", grown / count);
    assert!(grown <= NOISE_KIB + count * STALLED_KIB_MAX, "{grown} KiB for {count} watches that nobody reads");
    let mut expired = 0;
    let mut readers = JoinSet::new();
    for stream in stalled {
        let written = written.clone();
        readers.spawn(async move { catch_up(stream, &written).await });
    }
    for is_expired in readers.join_all().await {
        expired += usize::from(is_expired);
    }
    println!("{expired} of them were told 410 then");
}

#[test]
fn a_watch_that_nobody_reads_delays_nobody_and_costs_little_memory() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    runtime().block_on(stalled(&server));
}

async fn stalled_in_state(server: &Server) {
    let connector = Connector::of(&server.admin());
    let mut session = connector.open(Protocol::Http1).await.unwrap();
    let mut names = Vec::new();
    for number in 0..STATE_OBJECTS {
        names.push(format!("large-{number:02}"));
        create(&mut session, &names[number], STATE_OBJECT_BYTES).await;
    }
    let path = format!("{PATH}?watch=true");
    // What the server makes once for all readers of a state is made before it is measured.
    let mut other = connector.open(Protocol::Http1).await.unwrap();
    let first = frames(open(&mut other, &path).await, STATE_OBJECTS).await;
    let held = server.memory_kib("VmRSS").unwrap();
    let slow = connector.with_receive_buffer(RECEIVE_BUFFER_BYTES);
    let mut stalled = Vec::new();
    for _ in 0..STALLED_IN_STATE {
        stalled.extend(open_many(slow.clone(), Protocol::Http1, 1, path.clone()).await);
    }
    // Who comes after them is served: whatever they get without reading, they have it.
    frames(open(&mut session, &path).await, STATE_OBJECTS).await;
    let (grown, count) = (server.memory_kib("VmRSS").unwrap().saturating_sub(held), STALLED_IN_STATE as u64);
    println!("{grown} KiB more for {count} watches that do not read their state: {} KiB each", grown / count);
    assert!(grown <= NOISE_KIB + count * STALLED_IN_STATE_KIB_MAX, "{grown} KiB for {count} watches that nobody reads");
    for stream in stalled {
        assert_eq!(frames(stream, STATE_OBJECTS).await, first);
    }
}

#[test]
fn a_large_state_that_nobody_reads_is_not_held_for_each() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    runtime().block_on(stalled_in_state(&server));
}

/// Opens two watches that ask for the same in different words, and compares what they are told.
async fn compare(connector: &Connector, old: &str, new: &str, events: usize) {
    let mut told = Vec::new();
    for path in [old, new] {
        let mut session = connector.open(Protocol::Http1).await.unwrap();
        let found = frames(open(&mut session, path).await, events).await;
        let shown: Vec<_> = found.iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect();
        told.push(shown);
    }
    assert_eq!(told[0], told[1], "{old} and {new}");
}

#[test]
fn the_old_watch_paths_are_watches_of_the_same() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    runtime().block_on(async {
        let connector = Connector::of(&server.admin());
        let mut session = connector.open(Protocol::Http1).await.unwrap();
        let begin = create(&mut session, "here", 0).await;
        change(&mut session, "here", 2).await;
        create(&mut session, "there", 0).await;
        let since = format!("resourceVersion={begin}");
        let all = ["configmaps", "namespaces/default/configmaps"];
        for path in all {
            compare(
                &connector,
                &format!("/api/v1/watch/{path}?{since}"),
                &format!("/api/v1/{path}?watch=1&{since}"),
                3,
            )
            .await;
            compare(&connector, &format!("/api/v1/watch/{path}"), &format!("/api/v1/{path}?watch=1"), 2).await;
        }
        let one = format!("/api/v1/watch/namespaces/default/configmaps/here?{since}");
        compare(&connector, &one, &format!("{PATH}?watch=1&fieldSelector=metadata.name%3Dhere&{since}"), 2).await;
        let namespace = "/api/v1/namespaces?watch=1&fieldSelector=metadata.name%3Ddefault";
        compare(&connector, "/api/v1/watch/namespaces/default", namespace, 1).await;
        let classes = "scheduling.k8s.io/v1";
        let old = format!("/apis/{classes}/watch/priorityclasses");
        compare(&connector, &old, &format!("/apis/{classes}/priorityclasses?watch=1"), 2).await;
    });
}

/// Asks for a watch over WebSocket, by hand up to the switch.
async fn open_socket(
    connector: &Connector,
    path: &str,
) -> WebSocketStream<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    let mut stream = connector.connect(Protocol::Http1).await.unwrap();
    let asked = [
        format!("GET {path} HTTP/1.1"),
        format!("Host: {}", connector.address()),
        "Connection: Upgrade".to_owned(),
        "Upgrade: websocket".to_owned(),
        "Sec-WebSocket-Version: 13".to_owned(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
    ];
    stream.write_all(format!("{}\r\n\r\n", asked.join("\r\n")).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

#[test]
fn a_watch_over_websocket_says_the_same() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    runtime().block_on(async {
        let connector = Connector::of(&server.admin());
        let mut session = connector.open(Protocol::Http1).await.unwrap();
        let begin = create(&mut session, "here", 0).await;
        let path = format!("{PATH}?watch=1&resourceVersion={begin}");
        let mut socket = open_socket(&connector, &path).await;
        change(&mut session, "here", EVENTS).await;
        let mut other = connector.open(Protocol::Http1).await.unwrap();
        for frame in frames(open(&mut other, &path).await, EVENTS).await {
            let message = socket.next().await.unwrap().unwrap().into_text().unwrap();
            assert_eq!(message.trim_end(), String::from_utf8_lossy(&frame));
        }
    });
}

#[test]
fn a_watch_without_a_version_begins_with_the_state() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    runtime().block_on(async {
        let connector = Connector::of(&server.admin());
        let mut session = connector.open(Protocol::Http1).await.unwrap();
        create(&mut session, "here", 0).await;
        let mut other = connector.open(Protocol::Http1).await.unwrap();
        let mut stream = open(&mut other, &format!("{PATH}?watch=true")).await;
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!((first.kind.as_str(), &first.object["metadata"]["name"]), ("ADDED", &Value::from("here")));
        change(&mut session, "here", 1).await;
        assert_eq!(stream.next().await.unwrap().unwrap().kind, "MODIFIED");
    });
}
