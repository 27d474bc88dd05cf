//! Stopping: what is in flight is answered, what is idle is closed, what never ends is cut off; and connections that became
//! something else.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
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

#[tokio::test]
async fn an_http1_connection_can_become_a_stream() {
    let (echoed, mut echoes) = mpsc::unbounded_channel();
    let handler = move |mut permitted: Permitted| {
        let upgrade = permitted.take_upgrade().unwrap();
        let echoed = echoed.clone();
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
            stream.shutdown().await.unwrap();
            echoed.send(word).unwrap();
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
        response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
        async { response }
    };
    let server = Server::start(handler, Limits::default()).await;
    let admin = server.ca.admin();
    let mut client = Dial::to(&server, Some(&admin), Protocol::Http1).client().await;
    let request = Request::post("/api/v1/namespaces/a/pods/p/exec")
        .header("host", "localhost")
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Chunks::default())
        .unwrap();
    let response = client.send(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"ping").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "ping");
    assert_eq!(echoes.recv().await.unwrap(), *b"ping");
}
