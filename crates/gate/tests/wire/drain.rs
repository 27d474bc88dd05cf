//! Stopping: what is in flight is answered, what is idle is closed, what never ends is cut off; and connections that became
//! something else.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use portcullis_gate::{Body, Drained, Limits, Permitted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use crate::client::{Chunks, Dial, PROTOCOLS, Protocol};
use crate::server::{Server, describe};

#[tokio::test]
async fn requests_in_flight_are_answered_and_idle_connections_close() {
    for protocol in PROTOCOLS {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let go_on = Arc::new(Semaphore::new(0));
        let handler = {
            let go_on = Arc::clone(&go_on);
            move |_: Permitted| {
                let (begun, go_on) = (begun.clone(), Arc::clone(&go_on));
                async move {
                    begun.send(()).unwrap();
                    drop(go_on.acquire().await);
                    Response::new(Body::from("answered"))
                }
            }
        };
        let mut server = Server::start(handler, Limits::default()).await;
        let admin = server.ca.admin();
        let idle = Dial::to(&server, Some(&admin), protocol).client().await;
        let mut busy = Dial::to(&server, Some(&admin), protocol).client().await;
        let answer = tokio::spawn(async move { busy.get("/api/v1/pods").await });
        begins.recv().await.unwrap();
        server.stop();
        idle.closed().await;
        assert!(TcpStream::connect(server.address).await.is_err());
        go_on.add_permits(1);
        assert_eq!(answer.await.unwrap().text, "answered");
        assert_eq!(server.ended().await, Drained::Completely, "{protocol:?}");
    }
}

#[tokio::test]
async fn what_never_ends_is_cut_off_at_the_deadline() {
    for protocol in PROTOCOLS {
        let (begun, mut begins) = mpsc::unbounded_channel();
        let handler = move |_: Permitted| {
            begun.send(()).unwrap();
            std::future::pending()
        };
        let limits = Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() };
        let mut server = Server::start(handler, limits).await;
        let admin = server.ca.admin();
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        let answer = tokio::spawn(async move { client.try_call("GET", "/api/v1/pods", &[], Chunks::default()).await });
        begins.recv().await.unwrap();
        server.stop();
        assert_eq!(server.ended().await, Drained::CutOff { connections: 1 });
        assert!(answer.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_server_without_connections_ends_at_once() {
    let mut server = Server::start(describe, Limits::default()).await;
    server.stop();
    assert_eq!(server.ended().await, Drained::Completely);
}

/// A client whose connection has become a stream of bytes.
async fn upgraded(server: &Server) -> TokioIo<hyper::upgrade::Upgraded> {
    let admin = server.ca.admin();
    let mut client = Dial::to(server, Some(&admin), Protocol::Http1).client().await;
    let request = Request::post("/api/v1/namespaces/a/pods/p/exec")
        .header("host", "localhost")
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Chunks::default())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "echo");
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

#[tokio::test]
async fn an_http1_connection_can_become_a_stream() {
    let handler = async |mut permitted: Permitted| {
        let upgrade = permitted.take_upgrade().unwrap();
        assert!(permitted.take_upgrade().is_none());
        upgrade.answer(HeaderValue::from_static("echo"), async |mut stream, _| {
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            stream.shutdown().await.unwrap();
        })
    };
    let server = Server::start(handler, Limits::default()).await;
    let mut stream = upgraded(&server).await;
    stream.write_all(b"ping").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "ping");
}

#[tokio::test]
async fn a_stream_hears_that_the_server_stops_and_is_waited_for() {
    let handler = async |mut permitted: Permitted| {
        let upgrade = permitted.take_upgrade().unwrap();
        upgrade.answer(HeaderValue::from_static("echo"), async |mut stream, mut draining| {
            stream.write_all(b"hello").await.unwrap();
            draining.begun().await;
            stream.write_all(b" and goodbye").await.unwrap();
            stream.shutdown().await.unwrap();
        })
    };
    let mut server = Server::start(handler, Limits::default()).await;
    let mut stream = upgraded(&server).await;
    let mut word = [0; 5];
    stream.read_exact(&mut word).await.unwrap();
    server.stop();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!((&word, text.as_str()), (b"hello", " and goodbye"));
    assert_eq!(server.ended().await, Drained::Completely);
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_off_at_the_deadline() {
    let handler = async |mut permitted: Permitted| {
        let upgrade = permitted.take_upgrade().unwrap();
        upgrade.answer(HeaderValue::from_static("echo"), async |mut stream, _| {
            stream.write_all(b"hello").await.unwrap();
            std::future::pending::<()>().await;
        })
    };
    let limits = Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut server = Server::start(handler, limits).await;
    let mut stream = upgraded(&server).await;
    let mut word = [0; 5];
    stream.read_exact(&mut word).await.unwrap();
    server.stop();
    assert_eq!(server.ended().await, Drained::CutOff { connections: 1 });
    assert!(stream.read_u8().await.is_err());
}
