//! A small client: one connection, one protocol, answers as text.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::{Credential, Server};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

pub const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// How a TLS connection is made.
pub struct Dial<'a> {
    pub address: SocketAddr,
    pub ca: &'a CertificateDer<'static>,
    pub credential: Option<&'a Credential>,
    pub protocol: Protocol,
    pub versions: &'a [&'static SupportedProtocolVersion],
}

impl<'a> Dial<'a> {
    pub fn to(server: &'a Server, credential: Option<&'a Credential>, protocol: Protocol) -> Self {
        Self {
            address: server.address,
            ca: &server.ca.certificate,
            credential,
            protocol,
            versions: rustls::ALL_VERSIONS,
        }
    }

    pub async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.credential {
            Some(credential) => {
                config.with_client_auth_cert(credential.chain.clone(), credential.key.clone_key()).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = match self.protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    pub async fn client(&self) -> Client {
        let io = TokioIo::new(self.tls().await.unwrap());
        match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                let driver = tokio::spawn(async { drop(connection.with_upgrades().await) });
                Client { sender: Sender::Http1(sender), driver }
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                let driver = tokio::spawn(async { drop(connection.await) });
                Client { sender: Sender::Http2(sender), driver }
            }
        }
    }
}

enum Sender {
    Http1(http1::SendRequest<Chunks>),
    Http2(http2::SendRequest<Chunks>),
}

/// A connection that sends one request after the other.
pub struct Client {
    sender: Sender,
    driver: JoinHandle<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Client {
    pub async fn send(&mut self, request: Request<Chunks>) -> hyper::Result<http::Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    pub async fn try_call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Chunks,
    ) -> hyper::Result<Answer> {
        let is_http2 = matches!(self.sender, Sender::Http2(_));
        let target = if is_http2 { format!("https://localhost{path}") } else { path.to_owned() };
        let mut request = Request::builder().method(method).uri(target);
        if !is_http2 {
            request = request.header("host", "localhost");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(body).unwrap()).await?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        })
    }

    /// Sends a request and checks what every answer must have.
    pub async fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Chunks) -> Answer {
        let answer = self.try_call(method, path, headers, body).await.unwrap();
        assert_eq!(answer.headers["audit-id"].len(), 36, "{path}");
        assert_eq!(answer.headers["cache-control"], "no-cache, private", "{path}");
        assert!(answer.headers.contains_key("date"), "{path}");
        answer
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, &[], Chunks::default()).await
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(self) {
        let Self { sender, driver } = self;
        driver.await.unwrap();
        drop(sender);
    }
}

/// A request's body in chunks, with or without a length up front.
#[derive(Default)]
pub struct Chunks {
    chunks: VecDeque<Bytes>,
    is_length_told: bool,
    is_endless: bool,
}

impl Chunks {
    pub fn with_length(len: usize) -> Self {
        Self { chunks: VecDeque::from([Bytes::from(vec![b'x'; len])]), is_length_told: true, is_endless: false }
    }

    pub fn without_length(len: usize) -> Self {
        let all = Bytes::from(vec![b'x'; len]);
        Self {
            chunks: (0..len).step_by(60_000).map(|at| all.slice(at..len.min(at + 60_000))).collect(),
            is_length_told: false,
            is_endless: false,
        }
    }

    /// One byte, and then nothing.
    pub fn that_never_end() -> Self {
        Self { chunks: VecDeque::from([Bytes::from_static(b"x")]), is_length_told: false, is_endless: true }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.chunks.pop_front() {
            None if self.is_endless => Poll::Pending,
            chunk => Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && !self.is_endless
    }

    fn size_hint(&self) -> SizeHint {
        let len = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if self.is_length_told || len == 0 { SizeHint::with_exact(len) } else { SizeHint::default() }
    }
}
