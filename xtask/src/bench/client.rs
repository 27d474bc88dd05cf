//! The load client: mutual TLS, HTTP/2 or HTTP/1.1, connections that are opened before anything is measured.
//!
//! It shares two cores with the server, so it does as little as can be done: one thread, no pool, no parsing, content is
//! counted and dropped as it comes. Only the beginning of an answer is kept, because the version of an object is there.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a Go client tells a server about its windows, so that both are measured as clients would meet them.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// From the beginning of a connection to the end of its handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an unexpected answer that a message shows.
const SHOWN_BYTES_MAX: usize = 300;
/// Who asks. Not a name that gets answers with white space for people.
const USER_AGENT: &str = "portcullis-bench/1";

/// JSON, as most clients ask for it.
pub const JSON: &str = "application/json";

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One request at a time on a connection.
    Http1,
    /// Many streams on a connection.
    Http2,
}

/// Where a server is and who asks it.
#[derive(Clone)]
pub struct Endpoint {
    authority: String,
    name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    source: Option<IpAddr>,
}

impl Endpoint {
    /// A server at `host:port` with the authority `ca.crt` and the administrator's `admin.crt` and `admin.key`.
    pub fn new(authority: &str, pki: &Path) -> Result<Self> {
        Self::of(authority, pki, Some("admin"))
    }

    /// As [`Endpoint::new`], for a user with `USER.crt` and `USER.key` in the same place, or for nobody.
    pub fn of(authority: &str, pki: &Path, user: Option<&str>) -> Result<Self> {
        let (host, _) = authority.rsplit_once(':').with_context(|| format!("not host:port: {authority:?}"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).with_context(|| format!("not a host: {host:?}"))?;
        let tls = |protocol: &[u8]| -> Result<Arc<ClientConfig>> {
            let authority = pki.join("ca.crt");
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(&authority).context(authority.display().to_string())? {
                roots.add(certificate?)?;
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            let builder = builder.with_root_certificates(roots);
            let mut tls = match user {
                None => builder.with_no_client_auth(),
                Some(user) => {
                    let (certificate, key) = (pki.join(format!("{user}.crt")), pki.join(format!("{user}.key")));
                    let chain =
                        CertificateDer::pem_file_iter(&certificate).context(certificate.display().to_string())?;
                    let chain = chain.collect::<Result<Vec<_>, _>>()?;
                    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| key.display().to_string())?;
                    builder.with_client_auth_cert(chain, key)?
                }
            };
            tls.alpn_protocols = vec![protocol.to_vec()];
            Ok(Arc::new(tls))
        };
        Ok(Self { authority: authority.to_owned(), name, http1: tls(b"http/1.1")?, http2: tls(b"h2")?, source: None })
    }

    /// The same, from another address of this machine.
    pub fn from(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Speaks TLS and nothing else; for those who write their own frames.
    pub async fn dial(&self, protocol: Protocol) -> Result<TlsStream<TcpStream>> {
        let tcp = match self.source {
            None => TcpStream::connect(&self.authority).await,
            Some(source) => connect_from(source, &self.authority).await,
        };
        let tcp = tcp.with_context(|| self.authority.clone())?;
        tcp.set_nodelay(true)?;
        let config = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        Ok(TlsConnector::from(config.clone()).connect(self.name.clone(), tcp).await?)
    }

    /// Returns `host:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Opens `connections` and returns a sender for each of `streams` on each of them; over HTTP/1.1 each sender has a
    /// connection to itself.
    pub async fn open(&self, protocol: Protocol, connections: usize, streams: usize) -> Result<Vec<Sender>> {
        let mut senders = Vec::with_capacity(connections * streams);
        match protocol {
            Protocol::Http1 => {
                for _ in 0..connections * streams {
                    senders.push(self.connect(protocol).await?);
                }
            }
            Protocol::Http2 => {
                let mut firsts = Vec::with_capacity(connections);
                for _ in 0..connections {
                    firsts.push(self.connect(protocol).await?);
                }
                // Neighbours are on different connections, so that any number of senders spreads evenly.
                for at in 0..connections * streams {
                    senders.extend(firsts.get(at % connections).and_then(Sender::another));
                }
            }
        }
        Ok(senders)
    }

    /// One connection of its own.
    pub async fn connect(&self, protocol: Protocol) -> Result<Sender> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.handshake(protocol)).await;
        connected.with_context(|| format!("no connection to {} in time", self.authority))?
    }

    async fn handshake(&self, protocol: Protocol) -> Result<Sender> {
        let io = TokioIo::new(self.dial(protocol).await?);
        // Each connection ends when its last sender is dropped.
        let channel = match protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Channel::Http1(sender)
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.initial_stream_window_size(STREAM_WINDOW_BYTES);
                builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
                let (sender, connection) = builder.handshake(io).await?;
                tokio::spawn(connection);
                Channel::Http2(sender)
            }
        };
        Ok(Sender { channel, authority: self.authority.as_str().into() })
    }
}

/// Connects an IPv4 address of this machine to `host:port`.
pub async fn connect_from(source: IpAddr, authority: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(authority.parse().map_err(io::Error::other)?).await
}

/// A request that is to be sent.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The media type of the answer.
    pub accept: &'static str,
    /// The media type of the content, when there is one.
    pub content_type: Option<&'static str>,
    /// Whether the answer may be compressed.
    pub gzip: bool,
    /// The content.
    pub content: Bytes,
    /// The status that it must get.
    pub expected: StatusCode,
}

impl Call {
    /// GET of JSON.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            accept: JSON,
            content_type: None,
            gzip: false,
            content: Bytes::new(),
            expected: StatusCode::OK,
        }
    }

    /// Another method with content.
    pub fn send(method: Method, path: impl Into<String>, media_type: &'static str, content: Bytes) -> Self {
        let expected = if method == Method::POST { StatusCode::CREATED } else { StatusCode::OK };
        Self { method, content_type: Some(media_type), content, expected, ..Self::get(path) }
    }

    /// DELETE at once.
    pub fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }
}

/// What is kept of an answer.
#[derive(Debug)]
pub struct Answer {
    /// Bytes of its content.
    pub len: u64,
    /// The first of them.
    pub first: Bytes,
}

impl Answer {
    /// `metadata.resourceVersion` of an object or a list in JSON.
    pub fn version(&self) -> Result<u64> {
        version(&self.first).with_context(|| format!("no resourceVersion in {:?}", shown(&self.first)))
    }
}

/// Sends requests, one after the other.
pub struct Sender {
    channel: Channel,
    authority: Arc<str>,
}

enum Channel {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// A sender on the same connection, where a connection can have several.
    pub fn another(&self) -> Option<Self> {
        match &self.channel {
            Channel::Http1(_) => None,
            Channel::Http2(sender) => {
                Some(Self { channel: Channel::Http2(sender.clone()), authority: self.authority.clone() })
            }
        }
    }

    /// Sends and counts the answer. Any other status than the expected one is an error.
    pub async fn send(&mut self, call: Call) -> Result<Answer> {
        let mut body = self.begin(call).await?.into_body();
        let mut answer = Answer { len: 0, first: Bytes::new() };
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            answer.len += data.len() as u64;
            if answer.first.is_empty() {
                answer.first = data;
            }
        }
        Ok(answer)
    }

    /// Sends and keeps the whole answer; to check it, not to measure.
    pub async fn send_whole(&mut self, call: Call) -> Result<(Vec<u8>, bool)> {
        let answer = self.begin(call).await?;
        let gzip = answer.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding == "gzip");
        let mut body = answer.into_body();
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                whole.extend_from_slice(&data);
            }
        }
        Ok((whole, gzip))
    }

    /// Sends, reads the answer to its end, and says how it went, whatever it was.
    pub async fn status(&mut self, call: Call) -> Result<(StatusCode, u64)> {
        let mut body = self.answer(call).await?;
        let (status, mut len) = (body.status(), 0);
        while let Some(frame) = body.body_mut().frame().await {
            len += frame?.data_ref().map_or(0, Bytes::len) as u64;
        }
        Ok((status, len))
    }

    async fn answer(&mut self, call: Call) -> Result<Response<Incoming>> {
        let what = format!("{} {}", call.method, call.path);
        let answer = match &mut self.channel {
            Channel::Http1(sender) => {
                sender.ready().await?;
                let mut request = request(call, None)?;
                request.headers_mut().insert(header::HOST, self.authority.as_ref().try_into()?);
                sender.send_request(request).await
            }
            // An HTTP/2 request names scheme and authority in its target.
            Channel::Http2(sender) => sender.send_request(request(call, Some(&self.authority))?).await,
        };
        answer.context(what)
    }

    /// Sends and returns when the head of the answer is there.
    pub async fn begin(&mut self, call: Call) -> Result<Response<Incoming>> {
        let (what, expected) = (format!("{} {}", call.method, call.path), call.expected);
        let answer = self.answer(call).await?;
        if answer.status() == expected {
            return Ok(answer);
        }
        let status = answer.status();
        let said = answer.into_body().collect().await?.to_bytes();
        bail!("{what} got {status}, not {expected}: {:?}", shown(&said));
    }
}

fn request(call: Call, authority: Option<&str>) -> Result<Request<Full<Bytes>>> {
    let target = match authority {
        None => Uri::try_from(call.path)?,
        Some(authority) => Uri::builder().scheme("https").authority(authority).path_and_query(call.path).build()?,
    };
    let mut builder = Request::builder().method(call.method).uri(target).header(header::ACCEPT, call.accept);
    builder = builder.header(header::USER_AGENT, USER_AGENT);
    if let Some(media_type) = call.content_type {
        builder = builder.header(header::CONTENT_TYPE, media_type);
    }
    if call.gzip {
        builder = builder.header(header::ACCEPT_ENCODING, "gzip");
    }
    Ok(builder.body(Full::new(call.content))?)
}

/// The first `resourceVersion` of JSON without white space; an object's own comes before any other text that could hold one.
pub fn version(json: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"\"resourceVersion\":\"";
    let from = memmem::find(json, NAME)? + NAME.len();
    let rest = json.get(from..)?;
    let digits = rest.get(..memchr::memchr(b'"', rest)?)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The beginning of content, for a message.
pub fn shown(content: &[u8]) -> String {
    String::from_utf8_lossy(content.get(..SHOWN_BYTES_MAX).unwrap_or(content)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_one() {
        let check = |json: &str, expected: Option<u64>| assert_eq!(version(json.as_bytes()), expected, "{json}");
        check(
            r#"{"kind":"Pod","metadata":{"name":"a","resourceVersion":"12"},"x":{"resourceVersion":"13"}}"#,
            Some(12),
        );
        check(r#"{"metadata":{"resourceVersion":"184467"#, None);
        check(r#"{"metadata":{"resourceVersion":"x"}}"#, None);
        check(r#"{"metadata":{}}"#, None);
        check("", None);
    }
}
