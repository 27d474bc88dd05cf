//! A watch over WebSocket (upstream: `WatchServer.HandleWS`): the handshake, and the pump that sends each event as one message, text
//! for JSON and binary for protobuf.
//!
//! [`switch`] takes the finished answer of a watch and needs nothing else from the verb. An answer other than 200 leaves as it is,
//! so a bad selector is a plain status. For a 200, the body is cut into events: at each line feed (which stays, as upstream
//! sends it), or at the length before each protobuf event (which goes). Nothing is read from the body before the event before it
//! has left for the socket: a watcher that does not read costs one event and its socket buffer.
//!
//! The pump is part of the connection's own task ([`portcullis_gate::Upgrade`]), so the drain deadline holds for it. What the client
//! sends is answered (ping, close) or dropped, under limits.
//!
//! Cross-site WebSocket hijacking: a browser sends a client certificate for whoever asks, and lets any page open a WebSocket.
//! Upstream only wants some `Origin`; here a foreign one gets 403, since a page that is not ours has no business with the user's
//! certificate. Programs send no `Origin`, or the server's own. A rebound name does not help: the certificate does not have it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::Body as HttpBody;
use portcullis_gate::{Body, BoxError, Upgrade, status_response};
use portcullis_model::status::Status;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};

/// Bytes of `Sec-WebSocket-Key`; 24 where the client keeps to the letter of RFC 6455.
const KEY_BYTES_MAX: usize = 64;
/// Bytes of a subprotocol's name.
const PROTOCOL_BYTES_MAX: usize = 256;
/// Bytes of one event.
const EVENT_BYTES_MAX: usize = 64 << 20;
/// Bytes of one message of the client, and of one of its frames. A watcher has nothing to say.
const RECEIVED_MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Bytes of all that the client sends while the watch lasts, pings included.
const RECEIVED_BYTES_MAX: usize = 1 << 20;
/// What a frame of the client counts beside its content.
const RECEIVED_FRAME_BYTES: usize = 6;
/// Bytes read from the connection at once.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// An event that has not left within this time ends the watch: its client no longer reads.
const STALLED_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How long the client may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The version of the WebSocket protocol.
const VERSION: &str = "13";
/// What RFC 6455 has the server append to the client's key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Subprotocols that carry a bearer token. They are a credential, and are never said back.
const PROTOCOL_BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// The port that an origin and a host mean when they name none.
const PORT_HTTPS: u16 = 443;
/// Bytes of the length before a protobuf event.
const LENGTH_BYTES: usize = 4;

/// Why a handshake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not the one version there is.
    #[error("missing or bad WebSocket version: Sec-WebSocket-Version must be 13")]
    BadVersion,
    /// Without a key there is nothing to accept.
    #[error("missing or bad WebSocket key: Sec-WebSocket-Key must be set once")]
    BadKey,
    /// A subprotocol's name is none.
    #[error("bad WebSocket protocol: Sec-WebSocket-Protocol must be a list of names")]
    BadProtocol,
    /// A page of another site asks.
    #[error("the origin of the request is not this server: a page of another site may not open a WebSocket here")]
    ForeignOrigin,
}

impl HandshakeError {
    fn response(self) -> Response<Body> {
        let message = self.to_string();
        let mut response = status_response(&match self {
            Self::ForeignOrigin => Status::forbidden("", "", "", &message),
            Self::BadVersion | Self::BadKey | Self::BadProtocol => Status::bad_request(message),
        });
        if self == Self::BadVersion {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        }
        response
    }
}

/// Turns the answer of a watch into a WebSocket if the client asked for one and the connection can become one.
pub fn switch(headers: &HeaderMap, upgrade: Option<Upgrade>, response: Response<Body>) -> Response<Body> {
    if response.status() != StatusCode::OK || !is_asked(headers) {
        return response;
    }
    let Some(upgrade) = upgrade else { return response };
    let handshake = match Handshake::read(headers) {
        Ok(handshake) => handshake,
        Err(error) => return error.response(),
    };
    let framing = Framing::of(response.headers());
    let events = Events::new(response.into_body(), framing);
    let mut response = upgrade.answer(HeaderValue::from_static("websocket"), move |stream, mut draining| async move {
        pump(stream, events, async { draining.begun().await }).await;
    });
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, handshake.accept);
    if let Some(protocol) = handshake.protocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// Whether the client asks for a WebSocket, as upstream decides it.
fn is_asked(headers: &HeaderMap) -> bool {
    let names_upgrade =
        |value: &HeaderValue| value.as_bytes().to_ascii_lowercase().windows(7).any(|at| at == b"upgrade");
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.get_all(CONNECTION).iter().any(names_upgrade)
}

/// What is said back to the client.
#[derive(Debug, PartialEq, Eq)]
struct Handshake {
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
}

impl Handshake {
    fn read(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
            return Err(HandshakeError::BadVersion);
        }
        let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) if !key.is_empty() && key.len() <= KEY_BYTES_MAX => key.as_bytes(),
            _ => return Err(HandshakeError::BadKey),
        };
        check_origin(headers)?;
        let protocol = choose_protocol(headers)?;
        let accept = HeaderValue::from_str(&accept(key)).map_err(|_| HandshakeError::BadKey)?;
        Ok(Self { accept, protocol })
    }
}

fn accept(key: &[u8]) -> String {
    // SHA-1 proves here that the server speaks the protocol, nothing more.
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(KEY_SUFFIX);
    STANDARD.encode(hash.finish())
}

/// Takes the first subprotocol that is no credential: a watch is the same under each, and browsers insist on one of theirs.
fn choose_protocol(headers: &HeaderMap) -> Result<Option<HeaderValue>, HandshakeError> {
    let mut chosen = None;
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let text = value.to_str().map_err(|_| HandshakeError::BadProtocol)?;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name.starts_with(PROTOCOL_BEARER) || chosen.is_some() {
                continue;
            }
            if name.len() > PROTOCOL_BYTES_MAX || !name.bytes().all(is_token) {
                return Err(HandshakeError::BadProtocol);
            }
            chosen = Some(HeaderValue::from_str(name).map_err(|_| HandshakeError::BadProtocol)?);
        }
    }
    Ok(chosen)
}

/// Whether a byte may stand in a token of RFC 9110.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn check_origin(headers: &HeaderMap) -> Result<(), HandshakeError> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(place);
    for origin in headers.get_all(ORIGIN) {
        let own = origin.to_str().ok().and_then(|origin| origin.strip_prefix("https://")).and_then(place);
        if own.is_none() || own != host {
            return Err(HandshakeError::ForeignOrigin);
        }
    }
    Ok(())
}

/// The host in lower case and the port of `host[:port]`; nothing for anything else.
fn place(text: &str) -> Option<(String, u16)> {
    let authority: Authority = text.parse().ok().filter(|_| !text.contains('@'))?;
    let port = authority.port_u16();
    let has_port = !authority.as_str().ends_with(':') && authority.as_str().len() > authority.host().len();
    if has_port && port.is_none() {
        return None;
    }
    Some((authority.host().to_ascii_lowercase(), port.unwrap_or(PORT_HTTPS)))
}

/// How the body of a watch holds its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// JSON, each ended by a line feed.
    Lines,
    /// Protobuf, each after its length.
    LengthPrefixed,
}

impl Framing {
    fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if content_type.starts_with(b"application/json") { Self::Lines } else { Self::LengthPrefixed }
    }

    /// Takes the first event off, if all of it is there.
    fn split(self, data: &mut Bytes) -> Option<Bytes> {
        match self {
            Self::Lines => memchr::memchr(b'\n', data).map(|end| data.split_to(end + 1)),
            Self::LengthPrefixed => {
                let len = usize::try_from(u32::from_be_bytes(*data.first_chunk::<LENGTH_BYTES>()?)).ok()?;
                if data.len() - LENGTH_BYTES < len {
                    return None;
                }
                data.advance(LENGTH_BYTES);
                Some(data.split_to(len))
            }
        }
    }

    fn message(self, event: Bytes) -> Result<Message, EventError> {
        Ok(match self {
            Self::Lines => Message::Text(Utf8Bytes::try_from(event).map_err(|_| EventError::NotText)?),
            Self::LengthPrefixed => Message::Binary(event),
        })
    }
}

/// Why no event could be taken from the body of a watch.
#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error("the watch broke off")]
    BrokeOff(#[source] BoxError),
    #[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("a JSON event is not UTF-8")]
    NotText,
}

/// The body of a watch, one event after the other.
struct Events {
    body: Body,
    framing: Framing,
    /// What was read and is not given yet. Holds no whole event twice: pieces are joined only where one was cut.
    rest: Bytes,
}

impl Events {
    fn new(body: Body, framing: Framing) -> Self {
        Self { body, framing, rest: Bytes::new() }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Message, EventError>>> {
        loop {
            if let Some(event) = self.framing.split(&mut self.rest) {
                return Poll::Ready(Some(self.framing.message(event)));
            }
            if self.rest.len() > EVENT_BYTES_MAX {
                return Poll::Ready(Some(Err(EventError::TooLong)));
            }
            let data = match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(EventError::BrokeOff(error)))),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            if self.rest.is_empty() {
                self.rest = data;
            } else {
                let mut joined = BytesMut::with_capacity(self.rest.len() + data.len());
                joined.extend_from_slice(&self.rest);
                joined.extend_from_slice(&data);
                self.rest = joined.freeze();
            }
        }
    }
}

/// What happened on the connection or to the watch.
enum Step {
    Draining,
    Received(Option<Result<Message, SocketError>>),
    Sent(Result<(), SocketError>),
    Stalled,
    Event(Option<Result<Message, EventError>>),
}

/// Sends every event as one message until the watch or the client ends or `draining` is ready, and says goodbye.
async fn pump<S>(stream: S, mut events: Events, draining: impl Future<Output = ()> + Send)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * EVENT_BYTES_MAX)
        .max_message_size(Some(RECEIVED_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(RECEIVED_MESSAGE_BYTES_MAX));
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let code = send_events(&mut socket, &mut events, draining).await;
    // The watch ends now, not when its client has said goodbye.
    drop(events);
    // A client that does not answer our goodbye is left without one.
    let _ = timeout(CLOSE_TIMEOUT, close(socket, code)).await;
}

/// Returns what the client is told about the end; nothing when it is the client that ended it.
async fn send_events<S>(
    socket: &mut WebSocketStream<S>,
    events: &mut Events,
    draining: impl Future<Output = ()>,
) -> Option<CloseCode>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut draining = pin!(draining);
    let mut stalled = pin!(sleep(STALLED_TIMEOUT));
    let mut is_sending = false;
    let mut received = 0;
    loop {
        let step = std::future::poll_fn(|context| {
            if draining.as_mut().poll(context).is_ready() {
                return Poll::Ready(Step::Draining);
            }
            // Reading comes first: it also sends what answers a ping.
            if let Poll::Ready(message) = socket.poll_next_unpin(context) {
                return Poll::Ready(Step::Received(message));
            }
            if !is_sending {
                return events.poll_event(context).map(Step::Event);
            }
            if let Poll::Ready(sent) = socket.poll_flush_unpin(context) {
                return Poll::Ready(Step::Sent(sent));
            }
            stalled.as_mut().poll(context).map(|()| Step::Stalled)
        });
        match step.await {
            Step::Draining => return Some(CloseCode::Away),
            Step::Stalled => {
                tracing::info!("watch over WebSocket ended: its client does not read");
                return Some(CloseCode::Policy);
            }
            // The stop also ends the body, and may have come after it was looked for above.
            Step::Event(None) if draining.as_mut().now_or_never().is_some() => return Some(CloseCode::Away),
            Step::Event(None) => return Some(CloseCode::Normal),
            Step::Event(Some(Ok(message))) => {
                if let Err(error) = socket.start_send_unpin(message) {
                    return code_of(&error);
                }
                is_sending = true;
                stalled.as_mut().reset(Instant::now() + STALLED_TIMEOUT);
            }
            Step::Event(Some(Err(error))) => {
                tracing::error!(%error, "a watch over WebSocket ended");
                return Some(CloseCode::Error);
            }
            Step::Sent(Ok(())) => is_sending = false,
            Step::Sent(Err(error)) | Step::Received(Some(Err(error))) => return code_of(&error),
            Step::Received(None | Some(Ok(Message::Close(_)))) => return None,
            Step::Received(Some(Ok(message))) => {
                received += message.len() + RECEIVED_FRAME_BYTES;
                if received > RECEIVED_BYTES_MAX {
                    return Some(CloseCode::Policy);
                }
            }
        }
    }
}

/// What a client is told that broke a rule; nothing where the connection itself broke.
fn code_of(error: &SocketError) -> Option<CloseCode> {
    match error {
        SocketError::Capacity(_) => Some(CloseCode::Size),
        SocketError::Utf8(_) => Some(CloseCode::Invalid),
        SocketError::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

/// Says goodbye, waits for the client's, and ends the connection.
async fn close<S>(mut socket: WebSocketStream<S>, code: Option<CloseCode>) -> Result<(), SocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(code) = code {
        socket.close(Some(CloseFrame { code, reason: Utf8Bytes::from_static("") })).await?;
    }
    while let Some(Ok(_)) = socket.next().await {}
    Ok(socket.get_mut().shutdown().await?)
}

#[cfg(test)]
mod tests;
