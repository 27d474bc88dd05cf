//! Watches over WebSocket, spoken by hand: the handshake, each event as one message, ping, close, and who is refused.

use std::io;

use nix::sys::signal::Signal;
use portcullis_tests::client::Client;
use portcullis_tests::program::{Server, issue};
use portcullis_tests::session::{Connector, Protocol};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::client::TlsStream;

const PATH: &str = "/api/v1/namespaces/default/configmaps";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const ASKED: [&str; 4] = ["Connection: keep-alive, Upgrade", "Upgrade: websocket", KEY, VERSION];

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Goodbyes: nothing more to say, the server stops.
const NORMAL: u16 = 1000;
const AWAY: u16 = 1001;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A connection on which a request was sent.
struct Socket {
    stream: TlsStream<TcpStream>,
    head: String,
}

impl Socket {
    async fn open(client: &Client, path: &str, headers: &[&str]) -> Socket {
        let connector = Connector::of(client);
        let mut stream = connector.connect(Protocol::Http1).await.unwrap();
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", connector.address());
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Socket { stream, head: String::from_utf8(head).unwrap() }
    }

    /// One that was granted.
    async fn granted(client: &Client, path: &str, more: &[&str]) -> Socket {
        let socket = Socket::open(client, path, &[&ASKED, more].concat()).await;
        assert!(socket.head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{}", socket.head);
        assert_eq!(socket.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(socket.header("upgrade"), Some("websocket"));
        socket
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The next frame: its operation and its content. All are whole and none is masked.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let [first, len] = self.bytes::<2>().await;
        assert_eq!(first & 0xf0, 0x80, "a frame in pieces");
        let len = match len {
            126 => u64::from(u16::from_be_bytes(self.bytes().await)),
            127 => u64::from_be_bytes(self.bytes().await),
            len => u64::from(len),
        };
        let mut content = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut content).await.unwrap();
        (first & 0x0f, content)
    }

    async fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    async fn event(&mut self) -> Value {
        let (operation, content) = self.frame().await;
        assert_eq!(operation, TEXT);
        serde_json::from_slice(&content).unwrap()
    }

    async fn send(&mut self, operation: u8, content: &[u8]) {
        let mask = [1, 2, 3, 4];
        let len = u8::try_from(content.len()).unwrap();
        assert!(len < 126);
        let masked = content.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        let frame: Vec<u8> = [0x80 | operation, 0x80 | len].into_iter().chain(mask).chain(masked).collect();
        self.stream.write_all(&frame).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads the server's goodbye, answers it, and sees the connection end as TLS has it.
    async fn goodbye(mut self, code: u16) {
        assert_eq!(self.frame().await, (CLOSE, code.to_be_bytes().to_vec()));
        self.send(CLOSE, &code.to_be_bytes()).await;
        self.end().await;
    }

    async fn end(mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest).await {
            Ok(_) => assert_eq!(rest, b""),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}

fn create(client: &Client, name: &str) -> Value {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "ä\n"}});
    let answer = client.post(PATH, &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn names(event: &Value) -> (&str, &str) {
    (event["type"].as_str().unwrap(), event["object"]["metadata"]["name"].as_str().unwrap_or_default())
}

#[test]
fn each_event_is_a_message_until_one_side_says_goodbye() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let admin = server.admin();
    let version = create(&admin, "a")["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    runtime().block_on(async {
        // As a browser asks: with its name, which makes other answers pretty, and from the server's own pages.
        let origin = format!("Origin: https://{}", server.address());
        let browser = ["User-Agent: Mozilla/5.0", &origin, "Sec-WebSocket-Protocol: base64.binary.k8s.io, x"];
        let mut socket = Socket::granted(&admin, &format!("{PATH}?watch=true"), &browser).await;
        assert_eq!(socket.header("sec-websocket-protocol"), Some("base64.binary.k8s.io"));
        assert_eq!(names(&socket.event().await), ("ADDED", "a"));
        socket.send(PING, b"hello").await;
        assert_eq!(socket.frame().await, (PONG, b"hello".to_vec()));
        socket.send(TEXT, b"who is there?").await;
        create(&admin, "b");
        let event = socket.event().await;
        assert_eq!((names(&event), &event["object"]["data"]["a"]), (("ADDED", "b"), &json!("ä\n")));
        socket.send(CLOSE, &NORMAL.to_be_bytes()).await;
        assert_eq!(socket.frame().await, (CLOSE, NORMAL.to_be_bytes().to_vec()));
        socket.end().await;
        // One name the old way, after a version, until the time is over.
        let path = format!("/api/v1/watch/namespaces/default/configmaps/b?resourceVersion={version}&timeoutSeconds=1");
        let mut socket = Socket::granted(&admin, &path, &[]).await;
        assert_eq!(socket.header("sec-websocket-protocol"), None);
        assert_eq!(names(&socket.event().await), ("ADDED", "b"));
        socket.goodbye(NORMAL).await;
        // Protobuf: the same bytes as over plain HTTP, without the length before them.
        let path = format!("{PATH}?watch=true&resourceVersion={version}&timeoutSeconds=1");
        let accept = "Accept: application/vnd.kubernetes.protobuf";
        let mut plain = Socket::open(&admin, &path, &[accept, "Connection: close"]).await;
        let mut body = Vec::new();
        plain.stream.read_to_end(&mut body).await.unwrap();
        let mut socket = Socket::granted(&admin, &path, &[accept]).await;
        let (operation, content) = socket.frame().await;
        assert_eq!(operation, BINARY);
        assert!(body.windows(content.len()).any(|part| part == content), "{content:?} is not in {body:?}");
        socket.goodbye(NORMAL).await;
    });
}

#[test]
fn a_refusal_is_an_answer_of_http() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let admin = server.admin();
    let prefix = data.path().join("ana");
    issue(portcullis_tests::build::program(), data.path(), "ana", &["harbor"], &prefix).unwrap();
    let ana = server.client(&prefix);
    runtime().block_on(async {
        let check = async |client: &Client, query: &str, headers: &[&str], status: u16| -> Socket {
            let socket = Socket::open(client, &format!("{PATH}?{query}"), headers).await;
            assert!(socket.head.starts_with(&format!("HTTP/1.1 {status} ")), "{query} {headers:?}: {}", socket.head);
            assert_eq!(socket.header("content-type"), Some("application/json"), "{query} {headers:?}");
            socket
        };
        check(&admin, "watch=1&fieldSelector=x.y%3Dz", &ASKED, 400).await;
        check(&admin, "watch=1&timeoutSeconds=soon", &ASKED, 400).await;
        check(&admin, "watch=1&sendInitialEvents=true", &ASKED, 422).await;
        check(&admin, "watch=1", &[&ASKED[..], &["Accept: text/html"]].concat(), 406).await;
        check(&ana, "watch=1", &ASKED, 403).await;
        check(&server.stranger(), "watch=1", &ASKED, 401).await;
        check(&admin, "watch=1", &[ASKED[0], ASKED[1], VERSION], 400).await;
        let old = check(&admin, "watch=1", &[ASKED[0], ASKED[1], KEY, "Sec-WebSocket-Version: 8"], 400).await;
        assert_eq!(old.header("sec-websocket-version"), Some("13"));
        for origin in ["Origin: https://evil.example", "Origin: null", "Origin: http://localhost"] {
            check(&admin, "watch=1", &[&ASKED[..], &[origin]].concat(), 403).await;
        }
        // A list does not care, nor does a watch that did not ask.
        check(&admin, "", &ASKED, 200).await;
        check(&admin, "watch=1&timeoutSeconds=1", &[KEY, VERSION, "Upgrade: websocket"], 200).await;
        check(&admin, "watch=1&timeoutSeconds=1", &["Connection: Upgrade", "Upgrade: SPDY/3.1"], 200).await;
    });
}

#[test]
fn a_server_that_stops_says_goodbye() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let admin = server.admin();
    create(&admin, "a");
    runtime().block_on(async {
        let mut socket = Socket::granted(&admin, &format!("{PATH}?watch=true"), &[]).await;
        assert_eq!(names(&socket.event().await), ("ADDED", "a"));
        server.signal(Signal::SIGTERM);
        socket.goodbye(AWAY).await;
    });
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
}
