//! Connections that are kept between requests: one that all share when the server speaks HTTP/2, a few idle ones when it speaks
//! HTTP/1.1.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::tls::ALPN_H2;

/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long an idle HTTP/1.1 connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Between HTTP/2 keep-alive pings.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A ping that is not answered within this time ends the connection.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that takes requests.
pub(crate) enum Link {
    Http1(Http1),
    Http2(Arc<Http2>),
}

pub(crate) struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: Driver,
}

pub(crate) struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    _driver: Driver,
}

/// The task that moves a connection's bytes. It ends with the last request that holds the connection.
struct Driver(AbortHandle);

impl Driver {
    fn start(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Self {
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "outgoing connection ended");
            }
        });
        Self(task.abort_handle())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What became of a request.
pub(crate) enum Sent {
    /// Here is the head of its answer, and the connection that the body comes on.
    Answered(Response<Incoming>, Link),
    /// Nothing of it left this process.
    Unsent(hyper::Error),
    /// It may have reached the server.
    Failed(hyper::Error),
}

impl Link {
    /// Starts to speak HTTP in the version that was agreed on.
    pub(crate) async fn open(stream: TlsStream<TcpStream>) -> hyper::Result<Self> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        let stream = TokioIo::new(stream);
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL).keep_alive_timeout(PING_TIMEOUT);
            builder.max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
            let (sender, connection) = builder.handshake(stream).await?;
            Ok(Self::Http2(Arc::new(Http2 { sender, _driver: Driver::start(connection) })))
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(HEAD_BYTES_MAX);
            let (sender, connection) = builder.handshake(stream).await?;
            Ok(Self::Http1(Http1 { sender, _driver: Driver::start(connection) }))
        }
    }

    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(link) => link.sender.is_closed(),
            Self::Http2(link) => link.sender.is_closed(),
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(mut self, request: Request<Full<Bytes>>) -> Sent {
        let result = match &mut self {
            Self::Http1(link) => match link.sender.ready().await {
                Ok(()) => link.sender.try_send_request(request).await,
                Err(error) => return Sent::Unsent(error),
            },
            Self::Http2(link) => {
                let mut sender = link.sender.clone();
                match sender.ready().await {
                    Ok(()) => sender.try_send_request(request).await,
                    Err(error) => return Sent::Unsent(error),
                }
            }
        };
        match result {
            Ok(response) => Sent::Answered(response, self),
            Err(error) => failed(error),
        }
    }
}

fn failed(mut error: TrySendError<Request<Full<Bytes>>>) -> Sent {
    let is_unsent = error.take_message().is_some();
    let error = error.into_error();
    if is_unsent { Sent::Unsent(error) } else { Sent::Failed(error) }
}

/// The connections of a client that no request needs just now, and the one that all may use at once.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Links>);

#[derive(Default)]
struct Links {
    shared: Option<Arc<Http2>>,
    /// The one used last stands last.
    idle: Vec<(Http1, Instant)>,
}

impl Kept {
    /// Most idle connections that are kept.
    pub(crate) const LINKS_MAX: usize = 16;

    fn links(&self) -> MutexGuard<'_, Links> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a connection that was open a moment ago.
    pub(crate) fn take(&self) -> Option<Link> {
        let mut links = self.links();
        if let Some(shared) = &links.shared {
            if !shared.sender.is_closed() {
                return Some(Link::Http2(Arc::clone(shared)));
            }
            links.shared = None;
        }
        while let Some((link, since)) = links.idle.pop() {
            if since.elapsed() < IDLE_TIMEOUT && !link.sender.is_closed() {
                return Some(Link::Http1(link));
            }
        }
        None
    }

    /// Lets all requests use a connection, if it can carry several at once.
    pub(crate) fn share(&self, link: &Link) {
        if let Link::Http2(link) = link {
            self.links().shared = Some(Arc::clone(link));
        }
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(crate) fn keep(&self, link: Link) {
        let is_closed = link.is_closed();
        if let Link::Http1(link) = link
            && !is_closed
        {
            let mut links = self.links();
            links.idle.retain(|(_, since)| since.elapsed() < IDLE_TIMEOUT);
            if links.idle.len() < Self::LINKS_MAX {
                links.idle.push((link, Instant::now()));
            }
        }
    }

    /// Keeps nothing; requests that are under way go on.
    pub(crate) fn forget(&self) {
        *self.links() = Links::default();
    }
}
