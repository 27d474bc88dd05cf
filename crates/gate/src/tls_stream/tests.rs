//! Both kinds of stream against a client that reads late.
#![allow(clippy::unwrap_used)]

use std::future::poll_fn;
use std::pin::pin;

use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::*;

/// More than the buffers of both sockets hold.
const CONTENT_BYTES: usize = 24 << 20;

async fn pair() -> (TlsStream, client::TlsStream<TcpStream>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let (socket, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(server)).accept(socket).await.unwrap()
    };
    let connect = async {
        let socket = TcpStream::connect(address).await.unwrap();
        TlsConnector::from(Arc::new(client)).connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap()
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    let (socket, session) = accepted.into_inner();
    (TlsStream::new(socket, session), connected)
}

/// Writes pieces of all sizes, from the smallest to several records; says when it has to wait.
async fn write(stream: &mut (impl AsyncWrite + Unpin), content: &[u8], waits: &Notify) {
    let (mut at, mut state) = (0, 1_u32);
    while at < content.len() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = if state >> 28 == 0 { state >> 11 & 0x3_ffff } else { state >> 20 };
        let (head, rest) = content[at..].split_at((content.len() - at).min(9));
        let pieces = [IoSlice::new(head), IoSlice::new(&rest[..rest.len().min(len as usize)])];
        at += poll_fn(|context| {
            let polled = Pin::new(&mut *stream).poll_write_vectored(context, &pieces);
            if polled.is_pending() {
                waits.notify_one();
            }
            polled
        })
        .await
        .unwrap();
    }
}

async fn read_late(mut stream: client::TlsStream<TcpStream>, waits: &Notify) -> Vec<u8> {
    waits.notified().await;
    let mut content = Vec::new();
    stream.read_to_end(&mut content).await.unwrap();
    content
}

fn content() -> Vec<u8> {
    (0..CONTENT_BYTES as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test]
async fn everything_arrives_in_order_at_a_late_reader() {
    let (mut stream, client) = pair().await;
    let (content, waits) = (content(), Notify::new());
    let written = async {
        write(&mut stream, &content, &waits).await;
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let ((), read) = tokio::join!(written, read_late(client, &waits));
    assert!(read == content);
}

#[tokio::test]
async fn a_corked_stream_sends_when_it_is_told_to() {
    let (stream, client) = pair().await;
    let mut stream = Corked::new(stream);
    let (content, waits) = (content(), Notify::new());
    let written = async {
        write(&mut stream, &content, &waits).await;
        poll_fn(|context| stream.poll_send(context)).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let ((), read) = tokio::join!(written, read_late(client, &waits));
    assert!(read == content);
}

#[tokio::test]
async fn nothing_leaves_a_corked_stream_before() {
    let (stream, mut client) = pair().await;
    let mut stream = Corked::new(stream);
    for piece in [b"ab", b"cd"] {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut buffer = [0; 8];
    {
        let mut read = pin!(client.read(&mut buffer));
        assert!(poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await.is_pending());
        poll_fn(|context| stream.poll_send(context)).await.unwrap();
        // Both pieces are in one record.
        assert_eq!(read.await.unwrap(), 4);
    }
    assert_eq!(&buffer[..4], b"abcd");
    client.write_all(b"ok").await.unwrap();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 2);
    client.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
}
