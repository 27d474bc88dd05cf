//! Connections that stay: one request after the other over HTTP/1.1, or many at once over HTTP/2, with answers that are read as they
//! come. Who stops reading stops the server: nothing here reads ahead of its caller by more than a window.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Client;

/// Bytes that an HTTP/2 stream may receive before they are read.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// Bytes that an HTTP/2 connection may receive before they are read: one stream that is not read must not stop the others.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// How to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One request at a time.
    Http1,
    /// Many at once.
    Http2,
}

/// Opens connections to one server as one user.
#[derive(Clone)]
pub struct Connector {
    address: SocketAddr,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    headers: Vec<(String, String)>,
    receive_buffer_bytes: Option<u32>,
}

impl Connector {
    /// A connector to where a client asks, as that client's user.
    pub fn of(client: &Client) -> Self {
        let (address, config, headers) = client.identity();
        let speaking = |name: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![name.to_vec()];
            Arc::new(config)
        };
        let (http1, http2) = (speaking(b"http/1.1"), speaking(b"h2"));
        Self { address, http1, http2, headers: headers.to_vec(), receive_buffer_bytes: None }
    }

    /// The same with a fixed receive buffer, so that the server notices early that nobody reads.
    pub fn with_receive_buffer(&self, bytes: u32) -> Self {
        Self { receive_buffer_bytes: Some(bytes), ..self.clone() }
    }

    /// Where the server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection and leaves it to the caller what to say on it.
    pub async fn connect(&self, protocol: Protocol) -> Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let config = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        let name = ServerName::from(self.address.ip());
        TlsConnector::from(Arc::clone(config)).connect(name, stream).await.context("no TLS")
    }

    /// Opens a connection for requests.
    pub async fn open(&self, protocol: Protocol) -> Result<Session> {
        let io = TokioIo::new(self.connect(protocol).await?);
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.initial_stream_window_size(STREAM_WINDOW_BYTES);
                builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
                let (sender, connection) = builder.handshake(io).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Session { sender, address: self.address, headers: self.headers.clone() })
    }
}

/// A connection. It ends when this and every answer that came over it are dropped.
pub struct Session {
    sender: Sender,
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What a request asks for, beside its path.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The verb of HTTP.
    pub method: &'a str,
    /// The wanted form.
    pub accept: &'a str,
    /// The media type of the content and the content.
    pub content: Option<(&'a str, &'a Value)>,
}

/// The form that most clients ask for.
pub const JSON: &str = "application/json";

impl Asking<'_> {
    /// A GET of JSON.
    pub const GET: Self = Asking { method: "GET", accept: JSON, content: None };
}

impl Session {
    /// Sends a request and returns the answer as soon as its head is there.
    pub async fn open(&mut self, path: &str, asking: Asking<'_>) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(Method::from_bytes(asking.method.as_bytes())?);
        request = match &self.sender {
            Sender::Http1(_) => request.uri(path).header(header::HOST, self.address.to_string()),
            Sender::Http2(_) => request.uri(format!("https://{}{path}", self.address)).version(Version::HTTP_2),
        };
        request = request.header(header::ACCEPT, asking.accept);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut content = Bytes::new();
        if let Some((media_type, value)) = asking.content {
            request = request.header(header::CONTENT_TYPE, media_type);
            content = Bytes::from(value.to_string());
        }
        let request = request.body(Full::new(content))?;
        Ok(match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    /// Whether it is known that nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends a request and reads the answer to its end.
    pub async fn ask(&mut self, path: &str, asking: Asking<'_>) -> Result<(u16, Value)> {
        let answer = self.open(path, asking).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.context("the answer broke off")?.to_bytes();
        match serde_json::from_slice(&body) {
            Ok(value) => Ok((status, value)),
            Err(error) => bail!("{} {path}: {status} without JSON ({error})", asking.method),
        }
    }
}
