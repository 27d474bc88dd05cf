//! One connection from its handshake to its end: HTTP/2 or HTTP/1.1 by what ALPN agreed on, with the limits that keep one peer
//! from costing more than its share (CVE-2023-44487, CVE-2023-39325, CONTINUATION floods, slow heads, slow readers, idle
//! peers).

pub(crate) mod frames;
pub(crate) mod metrics;
mod watchman;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_model::status::Status;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::arrival::Peer;
use crate::body::{Body, BoxError, Leftover, Pace, RequestBody, status_response};
use crate::config::{
    CONNECTION_WINDOW_BYTES, LOCAL_RESETS_MAX, Limits, PENDING_RESETS_MAX, PING_INTERVAL, PING_TIMEOUT,
    SEND_BUFFER_BYTES_MAX, STREAM_WINDOW_BYTES, TURNED_AWAY_RETRY_SECONDS,
};
use crate::entrance::{Entrance, InFlight};
use crate::gate::{Gate, Handler, LongRunning};
use crate::handshakes::Entered;
use crate::rate::{Rate, TokenBucket};
use crate::tls::ALPN_H2;
use crate::tls_stream::{Corked, TlsStream};
use crate::upgrade::Takeover;

use frames::FrameMeter;
pub use metrics::ConnectionMetrics;
use metrics::CutFor;
use watchman::{Seen, Watchman};

/// The smallest buffer the HTTP/1 implementation takes.
const HTTP1_BUFFER_BYTES_MIN: usize = 8192;
/// With this many open streams a connection waits for all that are ready before it sends.
const STREAMS_TO_WAIT_FOR: u64 = 4;
/// GOAWAY with the code `ENHANCE_YOUR_CALM`, for a connection that the library no longer speaks on.
const CALM_DOWN: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

/// Serves the requests of a connection until either side is done, or the server stops and what is in flight is answered.
pub(crate) async fn serve<H: Handler>(
    gate: Arc<Gate<H>>,
    entrance: Arc<Entrance>,
    stream: TlsStream,
    peer: Arc<Peer>,
    stranger: Entered,
) {
    let is_http2 = stream.session().alpn_protocol() == Some(ALPN_H2);
    let limits = gate.limits().clone();
    let draining = entrance.stop.heard_by_connections();
    let state = Arc::new(ConnectionState::new(peer, is_http2, entrance, limits.abandoned, stranger));
    let service = service_fn({
        let state = Arc::clone(&state);
        // In a box of its own, so that an answer that is sent for an hour does not keep the room that making it took.
        move |request| Box::pin(serve_whole(Arc::clone(&gate), Arc::clone(&state), request))
    });
    if is_http2 {
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let stream = Corked::new(stream);
        let builder = http2_builder(&limits, StreamTasks(Arc::downgrade(&tasks)));
        let connection = builder.serve_connection(TokioIo::new(stream.clone()), service);
        let sending = Sending {
            connection: Box::pin(connection),
            stream: stream.clone(),
            state: Arc::clone(&state),
            has_waited: false,
        };
        let wind_down = |sending: Pin<&mut Sending<_>>| http2::Connection::graceful_shutdown(sending.connection());
        let ended = run(sending, wind_down, &state, Some(&stream), &limits, draining).await;
        // The connection is gone, so nobody waits for what its streams still do; dropping the set ends it.
        drop(tasks);
        let cut = if stream.meter(FrameMeter::is_exceeded) { Some(CutFor::Frames) } else { ended };
        if let Some(reason) = cut {
            stream.say_last(&CALM_DOWN).await;
            state.cut(reason);
        }
    } else {
        let connection = http1_builder(&limits).serve_connection(TokioIo::new(stream), service).with_upgrades();
        let wind_down = http1::UpgradeableConnection::graceful_shutdown;
        if let Some(reason) = run(connection, wind_down, &state, None, &limits, draining).await {
            state.cut(reason);
        }
        // What speaks on the connection after a 101 is part of its task: a draining server waits for it, and cuts it off.
        let takeover = state.takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(takeover) = takeover {
            takeover.speak(state.peer.draining().for_a_stream()).await;
        }
    }
}

/// An HTTP/2 connection that sends what it said once it has nothing more to say.
struct Sending<C> {
    connection: Pin<Box<C>>,
    stream: Corked,
    state: Arc<ConnectionState>,
    has_waited: bool,
}

impl<C> Sending<C> {
    fn connection(self: Pin<&mut Self>) -> Pin<&mut C> {
        self.get_mut().connection.as_mut()
    }
}

impl<C: Future<Output = Result<(), hyper::Error>>> Future for Sending<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        // What wakes one stream often wakes many: they speak first, and all that they say is sent at once.
        if !this.has_waited && this.state.running.load(Ordering::Relaxed) >= STREAMS_TO_WAIT_FOR {
            this.has_waited = true;
            return pin!(tokio::task::yield_now()).poll(context).map(Ok);
        }
        this.has_waited = false;
        let polled = this.connection.as_mut().poll(context);
        match this.stream.poll_send(context) {
            Poll::Ready(Err(error)) => {
                tracing::debug!(remote = %this.state.peer.remote(), %error, "connection broke");
                Poll::Ready(Ok(()))
            }
            _ => polled,
        }
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let header_bytes_max = usize::try_from(limits.header_bytes_max).unwrap_or(usize::MAX);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_header_size(header_bytes_max)
        .max_buf_size(header_bytes_max.max(HTTP1_BUFFER_BYTES_MIN))
        .half_close(false);
    builder
}

fn http2_builder(limits: &Limits, tasks: StreamTasks) -> http2::Builder<StreamTasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(limits.header_bytes_max)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Moves a connection on until it ends, and ends it when its time has come. Returns why it was cut, if it was.
async fn run<C: Future<Output = Result<(), hyper::Error>>>(
    connection: C,
    wind_down: fn(Pin<&mut C>),
    state: &ConnectionState,
    stream: Option<&Corked>,
    limits: &Limits,
    mut draining: watch::Receiver<bool>,
) -> Option<CutFor> {
    let mut connection = pin!(connection);
    let mut winding_down = false;
    let mut watchman = Watchman::new(limits);
    let mut round = pin!(sleep_until(watchman.first_round()));
    loop {
        tokio::select! {
            ended = &mut connection => {
                let Err(error) = ended else { return None };
                tracing::debug!(remote = %state.peer.remote(), %error, "connection broke");
                return is_calmed_by_library(&error).then_some(CutFor::Protocol);
            }
            () = until_draining(&mut draining), if !winding_down => {
                winding_down = true;
                wind_down(connection.as_mut());
            }
            () = state.ordered.notified() => match state.order() {
                None => {}
                Some(Order::ComeAgain) => {
                    winding_down = true;
                    wind_down(connection.as_mut());
                }
                Some(Order::TurnAway) => {
                    wind_down(connection.as_mut());
                    // A peer that does not answer our goodbye keeps its connection no longer than this.
                    let _ = tokio::time::timeout(limits.stranger_linger, connection).await;
                    return None;
                }
                Some(Order::Cut(reason)) => return Some(reason),
            },
            () = round.as_mut() => match watchman.look(state, stream) {
                Seen::Fine { next } => round.as_mut().reset(next),
                Seen::Fault(reason) => return Some(reason),
                Seen::Idle if winding_down => return None,
                Seen::Idle => {
                    winding_down = true;
                    wind_down(connection.as_mut());
                    round.as_mut().reset(watchman.first_round());
                }
            },
        }
    }
}

/// Says whether the library ended a connection for a flood that it knows: of resets that nobody accepted, of CONTINUATION frames,
/// of tiny DATA frames, of errors.
fn is_calmed_by_library(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// Waits for the server to stop; a server that is gone has stopped.
async fn until_draining(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}

/// A request on a connection that is being closed; its stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("connection is closing: no credentials")]
struct TurnedAway;

/// Serves a request of any method. Over HTTP/2 the library would send a body to HEAD too, which peers take for an error.
async fn serve_whole<H: Handler>(
    gate: Arc<Gate<H>>,
    state: Arc<ConnectionState>,
    request: Request<Incoming>,
) -> Result<Response<RunningBody>, TurnedAway> {
    let is_head_only = state.is_http2 && request.method() == Method::HEAD;
    let mut response = serve_request(gate, state, request).await?;
    if is_head_only {
        let len = response.body().size_hint().exact();
        response.body_mut().body = Body::empty();
        if let Some(len) = len {
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| len.into());
        }
    }
    Ok(response)
}

async fn serve_request<H: Handler>(
    gate: Arc<Gate<H>>,
    state: Arc<ConnectionState>,
    request: Request<Incoming>,
) -> Result<Response<RunningBody>, TurnedAway> {
    if state.is_spent() {
        return Err(TurnedAway);
    }
    if state.entrance.is_turning_away() && !is_health(request.uri().path()) {
        return Ok(turn_away(&state));
    }
    if state.is_http2 && state.entrance.goaway_chance.strikes() {
        state.entrance.metrics.goaways.inc();
        state.give(Order::ComeAgain);
    }
    let mut running = Running::begin(&state);
    let is_empty = request.body().is_end_stream();
    let limits = gate.limits();
    let leftover = (!state.is_http2 && !is_empty && !awaits_continue(request.headers())).then(Leftover::default);
    let pace = (!is_empty).then(|| Pace::new(limits, &state.entrance.metrics));
    let limit = limits.body_bytes_max;
    let request = request.map(|body| RequestBody::from_wire(body, limit, leftover.clone(), pace));
    let mut response = gate.handle(&state.peer, request).await;
    state.note_known();
    if let Some(leftover) = leftover {
        leftover.discard().await;
    }
    if state.is_spent() {
        state.give(Order::TurnAway);
    }
    if let Some(takeover) = response.extensions_mut().remove::<Takeover>() {
        *state.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }
    if response.extensions_mut().remove::<LongRunning>().is_none() {
        running.begin_sending();
    } else {
        running.is_a_stream();
    }
    Ok(response.map(|body| RunningBody { body, running }))
}

/// What a stopping server that still listens says to everything but probes.
fn turn_away(state: &Arc<ConnectionState>) -> Response<RunningBody> {
    state.entrance.metrics.turned_away.inc();
    let seconds = i32::try_from(TURNED_AWAY_RETRY_SECONDS).unwrap_or(i32::MAX);
    let sentence = "The apiserver is shutting down, please try again later.";
    let mut response = status_response(&Status::too_many_requests(sentence, seconds));
    if state.is_http2 {
        // HTTP/2 has no such header: the connection says it.
        state.give(Order::ComeAgain);
    } else {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let running = Running::begin(state);
    response.map(|body| RunningBody { body, running })
}

fn is_health(path: &str) -> bool {
    ["/healthz", "/livez", "/readyz"].iter().any(|probe| path.starts_with(probe))
}

/// A client that waits to be told to go on has not begun to send; reading would ask it to.
fn awaits_continue(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT)
}

/// What a connection is told to do by one of its requests. A later one counts for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// To finish what is in flight; the client connects again.
    ComeAgain,
    /// To end soon.
    TurnAway,
    /// To end now.
    Cut(CutFor),
}

/// What a connection and its requests share.
struct ConnectionState {
    peer: Arc<Peer>,
    is_http2: bool,
    entrance: Arc<Entrance>,
    begun: AtomicU64,
    running: AtomicU64,
    /// Answers that are not streams and not sent yet, with the time they were ready. At most one a stream.
    sending: Mutex<BTreeMap<u64, Instant>>,
    abandoned: Mutex<TokenBucket>,
    abandoned_rate: Rate,
    /// Its stand among those who may have to make room, until a request proves an identity.
    stranger: Mutex<Option<Entered>>,
    keeps_place: AtomicBool,
    ordered: Notify,
    order: Mutex<Option<Order>>,
    /// What the connection becomes when HTTP ends on it.
    takeover: Mutex<Option<Takeover>>,
}

impl ConnectionState {
    fn new(peer: Arc<Peer>, is_http2: bool, entrance: Arc<Entrance>, abandoned_rate: Rate, stranger: Entered) -> Self {
        Self {
            peer,
            is_http2,
            entrance,
            begun: AtomicU64::new(0),
            running: AtomicU64::new(0),
            sending: Mutex::new(BTreeMap::new()),
            abandoned: Mutex::new(TokenBucket::full(abandoned_rate, Instant::now())),
            abandoned_rate,
            stranger: Mutex::new(Some(stranger)),
            keeps_place: AtomicBool::new(false),
            ordered: Notify::new(),
            order: Mutex::new(None),
            takeover: Mutex::new(None),
        }
    }

    /// An HTTP/2 peer that proved no identity has had its one request (upstream: `UnauthenticatedHTTP2DOSMitigation`).
    fn is_spent(&self) -> bool {
        self.is_http2 && self.peer.is_stranger()
    }

    /// A request was answered: if one proved an identity, the connection keeps its place.
    fn note_known(&self) {
        if self.peer.is_known() && !self.keeps_place.load(Ordering::Relaxed) {
            self.keeps_place.store(true, Ordering::Relaxed);
            *self.stranger.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Since when the answer that has waited longest has been waiting for its peer to read it.
    fn unread_since(&self) -> Option<Instant> {
        // Numbers grow with time, so the first one has waited longest.
        self.sending.lock().unwrap_or_else(PoisonError::into_inner).first_key_value().map(|(_, since)| *since)
    }

    /// Tells the connection what to do.
    fn give(&self, order: Order) {
        let mut held = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        *held = held.take().max(Some(order));
        self.ordered.notify_one();
    }

    fn order(&self) -> Option<Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The peer went away from a request. HTTP/1 has only its connection to go away from.
    fn abandon(&self) {
        if !self.is_http2 {
            return;
        }
        self.entrance.metrics.requests_abandoned.inc();
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        if !abandoned.take(self.abandoned_rate, Instant::now()) {
            self.give(Order::Cut(CutFor::AbandonedRequests));
        }
    }

    /// The connection was cut.
    fn cut(&self, reason: CutFor) {
        tracing::info!(remote = %self.peer.remote(), reason = reason.label(), "connection cut");
        self.entrance.cut(self.peer.remote().ip(), reason);
    }
}

/// A request from its first moment here to the last byte of its answer.
struct Running {
    state: Arc<ConnectionState>,
    number: u64,
    is_sending: bool,
    is_answered: bool,
    in_flight: Option<InFlight>,
}

impl Running {
    fn begin(state: &Arc<ConnectionState>) -> Self {
        let number = state.begun.fetch_add(1, Ordering::Relaxed);
        state.running.fetch_add(1, Ordering::Relaxed);
        let in_flight = Some(InFlight::begin(&state.entrance));
        Self { state: Arc::clone(state), number, is_sending: false, is_answered: false, in_flight }
    }

    fn begin_sending(&mut self) {
        self.is_sending = true;
        let mut sending = self.state.sending.lock().unwrap_or_else(PoisonError::into_inner);
        sending.insert(self.number, Instant::now());
    }

    /// A stopping server does not wait for its end.
    fn is_a_stream(&mut self) {
        self.in_flight = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.running.fetch_sub(1, Ordering::Relaxed);
        if self.is_sending {
            let mut sending = self.state.sending.lock().unwrap_or_else(PoisonError::into_inner);
            sending.remove(&self.number);
        }
        if !self.is_answered {
            self.state.abandon();
        }
    }
}

/// The body of an answer that is still part of a running request.
struct RunningBody {
    body: Body,
    running: Running,
}

impl HttpBody for RunningBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.running.is_answered = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RunningBody {
    fn drop(&mut self) {
        self.running.is_answered |= self.body.is_end_stream();
    }
}

/// Starts the tasks of an HTTP/2 connection's streams. The set belongs to the connection's own task: a stream holds this too,
/// and must not keep alive the set it stands in.
#[derive(Clone)]
struct StreamTasks(Weak<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamTasks {
    fn execute(&self, future: F) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(future);
    }
}
