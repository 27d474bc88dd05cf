//! HTTPS requests to one server: verified (A21), to checked addresses only (A26), within a time and a size, over connections that
//! are kept. A redirect is an error: whoever is trusted with a question is not trusted to send it elsewhere (CVE-2020-8561).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::credential::{Authorization, CredentialError};
use crate::dial::{self, DialError, DialRule, Resolve, SystemResolver};
use crate::kubeconfig::Access;
use crate::pool::{Kept, Link, Sent};
use crate::tls::{self, TrustError};
use crate::trace_context;

/// Requests of one client that wait for an answer at once; one more waits for its turn.
pub const IN_FLIGHT_MAX: usize = 256;
/// Longest answer that is read, in bytes, unless a request says otherwise.
pub const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// Connections of one client that are being opened at once.
const DIALS_MAX: usize = 4;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Within which time a request has its answer, unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The port of a server that names none.
const DEFAULT_PORT: u16 = 443;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An address that starts with `https://`: a host, a port, and the path that all requests begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path; `/` when the text has none.
    pub path: String,
}

impl HttpsUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// It is no URL, another scheme than https, or has parts that mean nothing here (user, query, fragment).
    pub fn parse(text: &str) -> Result<Self, SetupError> {
        let refuse = |why| SetupError::ServerRefused { server: without_user(text), why };
        let uri: Uri = text.parse().map_err(|_| refuse("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(refuse("only https:// is spoken"));
        }
        let authority = uri.authority().ok_or_else(|| refuse("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("a user in it would be ignored: give a credential"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(refuse("it must end with its path"));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(refuse("it names no host"));
        }
        let has_port = authority.as_str().len() > uri.host().unwrap_or_default().len();
        let port = match authority.port_u16() {
            Some(port) if port > 0 => port,
            None if !has_port => DEFAULT_PORT,
            _ => return Err(refuse("its port is no port")),
        };
        Ok(Self { host: host.to_owned(), port, path: uri.path().to_owned() })
    }

    /// Returns the host and port as they stand in a URL.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == DEFAULT_PORT { host } else { format!("{host}:{}", self.port) }
    }
}

/// What stands before an `@` may be a password.
fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => text.to_owned(),
    }
}

/// Why a client can not be made.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The server's address is of no use.
    #[error("server \"{server}\" can not be used: {why}")]
    ServerRefused {
        /// The address, without a user.
        server: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The name to verify is none.
    #[error("\"{name}\" is not a name that a certificate can be verified against")]
    NameUnusable {
        /// The name.
        name: String,
    },
    /// A certificate or key can not be used.
    #[error(transparent)]
    TrustUnusable(#[from] TrustError),
    /// The credential can not be used.
    #[error(transparent)]
    CredentialUnusable(#[from] CredentialError),
}

/// Why there is no answer. None of the texts holds anything that the other side sent.
#[derive(Debug, Error)]
pub enum RequestError {
    /// There is no connection.
    #[error(transparent)]
    DialFailed(#[from] DialError),
    /// The server could not be verified, or would not speak to us.
    #[error("TLS handshake with {host} failed: {cause}")]
    HandshakeFailed {
        /// The server.
        host: String,
        /// How.
        cause: io::Error,
    },
    /// The connection would not speak HTTP, or broke.
    #[error("exchange with {host} failed: {cause}")]
    ExchangeFailed {
        /// The server.
        host: String,
        /// How.
        cause: hyper::Error,
    },
    /// The answer sends us elsewhere.
    #[error("{host} answered with a redirect ({status}), which is never followed")]
    Redirected {
        /// The server.
        host: String,
        /// The status.
        status: StatusCode,
    },
    /// The answer is too long.
    #[error("answer of {host} is longer than {limit} bytes")]
    AnswerTooLong {
        /// The server.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// There is no answer in time.
    #[error("{host} did not answer within {} ms", after.as_millis())]
    TimedOut {
        /// The server.
        host: String,
        /// The time.
        after: Duration,
    },
    /// The request can not be written.
    #[error("path or header of a request to {host} can not be sent")]
    RequestUnusable {
        /// The server.
        host: String,
    },
}

impl RequestError {
    /// Says whether the same request may succeed a moment later: the network failed, and not a rule or a certificate.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::DialFailed(error) => {
                matches!(error, DialError::ConnectFailed { .. } | DialError::ResolveFailed { .. })
            }
            Self::HandshakeFailed { cause, .. } => {
                let cause = cause.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
                !matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
            }
            Self::ExchangeFailed { .. } => true,
            Self::Redirected { .. }
            | Self::AnswerTooLong { .. }
            | Self::TimedOut { .. }
            | Self::RequestUnusable { .. } => false,
        }
    }
}

/// A request that is about to be sent.
#[derive(Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// What follows the path of the client's server: empty, or a path that begins with `/`, with its query.
    pub path: String,
    /// Headers besides host, agent and credentials.
    pub headers: HeaderMap,
    /// The body. Make it with `Bytes::from_owner` of something that wipes itself if it holds a secret.
    pub body: Bytes,
    /// How long all of it may take, the wait for a connection included.
    pub timeout: Duration,
    /// Longest answer that is read, in bytes.
    pub response_bytes_max: usize,
}

impl Outgoing {
    /// Asks for JSON at a path.
    pub fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            headers: HeaderMap::from_iter([(ACCEPT, JSON)]),
            body: Bytes::new(),
            timeout: TIMEOUT,
            response_bytes_max: RESPONSE_BYTES_MAX,
        }
    }

    /// Sends JSON to a path, and asks for JSON.
    pub fn post(path: &str, json: Bytes) -> Self {
        let headers = HeaderMap::from_iter([(ACCEPT, JSON), (CONTENT_TYPE, JSON)]);
        Self { method: Method::POST, headers, body: json, ..Self::get(path) }
    }
}

/// An answer that is none of the redirects. It has no Debug, because bodies are not logged.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

/// A client of one server. Cheap to share, never to be made for one request.
pub struct Client {
    url: HttpsUrl,
    authority: HeaderValue,
    server_name: ServerName<'static>,
    tls: TlsConnector,
    authorization: Authorization,
    rule: DialRule,
    resolver: Arc<dyn Resolve>,
    kept: Kept,
    in_flight: Semaphore,
    dials: Semaphore,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client; nothing is dialled before the first request.
    ///
    /// # Errors
    /// The address, a certificate or a credential can not be used.
    pub fn new(access: &Access, rule: DialRule) -> Result<Self, SetupError> {
        Self::with_resolver(access, rule, Arc::new(SystemResolver))
    }

    /// Makes a client that resolves names in its own way.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_resolver(access: &Access, rule: DialRule, resolver: Arc<dyn Resolve>) -> Result<Self, SetupError> {
        let url = HttpsUrl::parse(&access.server)?;
        let name = access.server_name.as_ref().unwrap_or(&url.host);
        let name_unusable = || SetupError::NameUnusable { name: name.clone() };
        let server_name = ServerName::try_from(name.clone()).map_err(|_| name_unusable())?;
        let authority = HeaderValue::from_str(&url.authority()).map_err(|_| name_unusable())?;
        let config = tls::config(&access.trust, access.client_certificate.as_ref())?;
        let authorization = Authorization::new(&access.credential)?;
        Ok(Self {
            url,
            authority,
            server_name,
            tls: TlsConnector::from(Arc::new(config)),
            authorization,
            rule,
            resolver,
            kept: Kept::default(),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            dials: Semaphore::new(DIALS_MAX),
        })
    }

    /// Returns whom this client asks.
    pub fn url(&self) -> &HttpsUrl {
        &self.url
    }

    /// Sends a request and reads its answer, whatever status it has but a redirect.
    ///
    /// # Errors
    /// There is no answer, or none that may be used. Nothing is sent twice: a request that may have reached the server is
    /// not repeated here.
    pub async fn send(&self, outgoing: &Outgoing) -> Result<Answer, RequestError> {
        match tokio::time::timeout(outgoing.timeout, self.exchange(outgoing)).await {
            Ok(result) => result,
            Err(_) => {
                // The connection may be one that leads nowhere any more.
                self.kept.forget();
                Err(RequestError::TimedOut { host: self.host(), after: outgoing.timeout })
            }
        }
    }

    fn host(&self) -> String {
        self.url.host.clone()
    }

    async fn exchange(&self, outgoing: &Outgoing) -> Result<Answer, RequestError> {
        // Never closed, so there is always a place in the end.
        let _place = self.in_flight.acquire().await;
        let mut unsent = 0;
        loop {
            let (link, is_fresh) = match self.kept.take() {
                Some(link) => (link, false),
                None => self.connect().await?,
            };
            let request = self.request(outgoing, &link)?;
            match link.send(request).await {
                Sent::Answered(response, link) => return self.read(response, link, outgoing.response_bytes_max).await,
                // The server closed a connection that was kept: nothing of the request has left, so it goes out on another.
                Sent::Unsent(cause) if is_fresh || unsent >= Kept::LINKS_MAX => {
                    return Err(RequestError::ExchangeFailed { host: self.host(), cause });
                }
                Sent::Unsent(_) => unsent += 1,
                Sent::Failed(cause) => return Err(RequestError::ExchangeFailed { host: self.host(), cause }),
            }
        }
    }

    /// Opens a connection, unless another request just did; says whether it is new.
    async fn connect(&self) -> Result<(Link, bool), RequestError> {
        let _turn = self.dials.acquire().await;
        if let Some(link) = self.kept.take() {
            return Ok((link, false));
        }
        let stream = dial::dial(&self.url.host, self.url.port, &self.rule, &*self.resolver).await?;
        let handshake = self.tls.connect(self.server_name.clone(), stream);
        let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stream = stream.map_err(|cause| RequestError::HandshakeFailed { host: self.host(), cause })?;
        let link = Link::open(stream).await;
        let link = link.map_err(|cause| RequestError::ExchangeFailed { host: self.host(), cause })?;
        self.kept.share(&link);
        Ok((link, true))
    }

    fn request(&self, outgoing: &Outgoing, link: &Link) -> Result<Request<Full<Bytes>>, RequestError> {
        let unusable = || RequestError::RequestUnusable { host: self.host() };
        let path = match (self.url.path.as_str(), outgoing.path.as_str()) {
            (base, "") => base.to_owned(),
            (base, path) if path.starts_with('/') => format!("{}{path}", base.trim_end_matches('/')),
            _ => return Err(unusable()),
        };
        let mut request = Request::new(Full::new(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        *request.headers_mut() = outgoing.headers.clone();
        request.headers_mut().insert(USER_AGENT, AGENT);
        if let Some(place) = trace_context::current() {
            request.headers_mut().insert(trace_context::TRACEPARENT, place);
        }
        if let Some(credential) = self.authorization.header() {
            request.headers_mut().insert(AUTHORIZATION, credential);
        }
        let uri = if link.is_http2() {
            *request.version_mut() = Version::HTTP_2;
            let authority = self.authority.to_str().map_err(|_| unusable())?;
            Uri::builder().scheme("https").authority(authority).path_and_query(path).build().map_err(|_| unusable())?
        } else {
            request.headers_mut().insert(HOST, self.authority.clone());
            path.parse().map_err(|_| unusable())?
        };
        *request.uri_mut() = uri;
        Ok(request)
    }

    async fn read(&self, response: http::Response<Incoming>, link: Link, limit: usize) -> Result<Answer, RequestError> {
        let (parts, body) = response.into_parts();
        tracing::debug!(host = self.url.host, status = parts.status.as_u16(), "answer begins");
        if parts.status.is_redirection() {
            return Err(RequestError::Redirected { host: self.host(), status: parts.status });
        }
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(RequestError::AnswerTooLong { host: self.host(), limit });
            }
            Err(error) => match error.downcast::<hyper::Error>() {
                Ok(cause) => return Err(RequestError::ExchangeFailed { host: self.host(), cause: *cause }),
                // The body is hyper's, so there is no other error.
                Err(_) => return Err(RequestError::AnswerTooLong { host: self.host(), limit }),
            },
        };
        self.kept.keep(link);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_https_is_spoken() {
        let check = |text: &str, expected: Option<(&str, u16, &str, &str)>| {
            let read = HttpsUrl::parse(text).ok();
            let shown = read.as_ref().map(|url| (url.host.as_str(), url.port, url.path.as_str(), url.authority()));
            let shown = shown.as_ref().map(|(host, port, path, authority)| (*host, *port, *path, authority.as_str()));
            assert_eq!(shown, expected, "{text}");
        };
        check("https://authn.example.com", Some(("authn.example.com", 443, "/", "authn.example.com")));
        check(
            "https://authn.example.com:8443/a/b",
            Some(("authn.example.com", 8443, "/a/b", "authn.example.com:8443")),
        );
        check("https://192.0.2.7:443/", Some(("192.0.2.7", 443, "/", "192.0.2.7")));
        check("https://[2001:db8::7]:8443", Some(("2001:db8::7", 8443, "/", "[2001:db8::7]:8443")));
        for wrong in [
            "",
            "authn.example.com",
            "http://authn.example.com",
            "ftp://authn.example.com",
            "https://",
            "https:///path",
            "https://user:secret@authn.example.com",
            "https://authn.example.com/?a=b",
            "https://authn.example.com/#a",
            "https://authn.example.com:0/",
            "https://authn.example.com:/",
            "https://authn.example.com:99999/",
            "https://a b/",
        ] {
            check(wrong, None);
        }
        let error = HttpsUrl::parse("https://user:secret@authn.example.com").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
