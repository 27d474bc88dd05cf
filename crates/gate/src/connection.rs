//! One connection from its handshake to its end: HTTP/2 or HTTP/1.1 by what ALPN agreed on, with the limits that keep one peer
//! from costing more than its share (CVE-2023-44487, CVE-2023-39325, CONTINUATION floods, slow heads, slow readers, idle
//! peers).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::arrival::Peer;
use crate::body::{Body, BoxError, Leftover, RequestBody};
use crate::config::{
    CONNECTION_WINDOW_BYTES, LOCAL_RESETS_MAX, Limits, PENDING_RESETS_MAX, PING_INTERVAL, PING_TIMEOUT,
    SEND_BUFFER_BYTES_MAX, STREAM_WINDOW_BYTES,
};
use crate::gate::{Gate, Handler, LongRunning};
use crate::tls::ALPN_H2;
use crate::tls_stream::{Corked, TlsStream};
use crate::upgrade::{Draining, Takeover};

/// The smallest buffer the HTTP/1 implementation takes.
const HTTP1_BUFFER_BYTES_MIN: usize = 8192;
/// With this many open streams a connection waits for all that are ready before it sends.
const STREAMS_TO_WAIT_FOR: u64 = 4;

/// Serves the requests of a connection until either side is done, or `draining` turns true and what is in flight is answered.
pub(crate) async fn serve<H: Handler>(
    gate: Arc<Gate<H>>,
    stream: TlsStream,
    peer: Arc<Peer>,
    draining: watch::Receiver<bool>,
) {
    let is_http2 = stream.session().alpn_protocol() == Some(ALPN_H2);
    let limits = gate.limits().clone();
    let state = Arc::new(ConnectionState::new(peer, is_http2));
    let service = service_fn({
        let state = Arc::clone(&state);
        // In a box of its own, so that an answer that is sent for an hour does not keep the room that making it took.
        move |request| Box::pin(serve_request(Arc::clone(&gate), Arc::clone(&state), request))
    });
    if is_http2 {
        let tasks = Arc::new(Mutex::new(JoinSet::new()));
        let stream = Corked::new(stream);
        let builder = http2_builder(&limits, StreamTasks(Arc::downgrade(&tasks)));
        let connection = builder.serve_connection(TokioIo::new(stream.clone()), service);
        let connection =
            Sending { connection: Box::pin(connection), stream, state: Arc::clone(&state), has_waited: false };
        let wind_down = |sending: Pin<&mut Sending<_>>| http2::Connection::graceful_shutdown(sending.connection());
        run(connection, wind_down, &state, &limits, draining).await;
        // The connection is gone, so nobody waits for what its streams still do; dropping the set ends it.
        drop(tasks);
    } else {
        let connection = http1_builder(&limits).serve_connection(TokioIo::new(stream), service).with_upgrades();
        run(connection, http1::UpgradeableConnection::graceful_shutdown, &state, &limits, draining.clone()).await;
        // What speaks on the connection after a 101 is part of its task: a draining server waits for it, and cuts it off.
        let takeover = state.takeover.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(takeover) = takeover {
            takeover.speak(Draining::new(draining)).await;
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

/// Moves a connection on until it ends, and ends it when its time has come.
async fn run<C: Future<Output = Result<(), hyper::Error>>>(
    connection: C,
    wind_down: fn(Pin<&mut C>),
    state: &ConnectionState,
    limits: &Limits,
    mut draining: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    let mut winding_down = false;
    let mut begun_before = None;
    let mut round = tokio::time::interval(limits.idle_timeout);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(remote = %state.peer.remote(), %error, "connection broke");
                }
                return;
            }
            () = until_draining(&mut draining), if !winding_down => {
                winding_down = true;
                wind_down(connection.as_mut());
            }
            () = state.turned_away.notified() => {
                wind_down(connection.as_mut());
                // A peer that does not answer our goodbye keeps its connection no longer than this.
                let _ = tokio::time::timeout(limits.stranger_linger, connection).await;
                return;
            }
            _ = round.tick() => {
                if state.is_stalled(limits.request_timeout) {
                    tracing::info!(remote = %state.peer.remote(), "connection cut: its peer does not read its answers");
                    return;
                }
                let begun = state.begun.load(Ordering::Relaxed);
                let is_idle = begun_before.replace(begun) == Some(begun) && state.running.load(Ordering::Relaxed) == 0;
                if is_idle && winding_down {
                    return;
                }
                if is_idle {
                    winding_down = true;
                    wind_down(connection.as_mut());
                }
            }
        }
    }
}

/// Waits for the server to stop; a server that is gone has stopped.
async fn until_draining(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}

/// A request on a connection that is being closed; its stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("connection is closing: no credentials")]
struct TurnedAway;

async fn serve_request<H: Handler>(
    gate: Arc<Gate<H>>,
    state: Arc<ConnectionState>,
    request: Request<Incoming>,
) -> Result<Response<RunningBody>, TurnedAway> {
    if state.is_spent() {
        return Err(TurnedAway);
    }
    let mut running = Running::begin(&state);
    let limit = gate.limits().body_bytes_max;
    let leftover = (!state.is_http2 && !request.body().is_end_stream() && !awaits_continue(request.headers()))
        .then(Leftover::default);
    let request = request.map(|body| RequestBody::from_wire(body, limit, leftover.clone()));
    let mut response = gate.handle(&state.peer, request).await;
    if let Some(leftover) = leftover {
        leftover.discard().await;
    }
    if state.is_spent() {
        state.turned_away.notify_one();
    }
    if let Some(takeover) = response.extensions_mut().remove::<Takeover>() {
        *state.takeover.lock().unwrap_or_else(PoisonError::into_inner) = Some(takeover);
    }
    if response.extensions_mut().remove::<LongRunning>().is_none() {
        running.begin_sending();
    }
    Ok(response.map(|body| RunningBody { body, _running: running }))
}

/// A client that waits to be told to go on has not begun to send; reading would ask it to.
fn awaits_continue(headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT)
}

/// What a connection and its requests share.
struct ConnectionState {
    peer: Arc<Peer>,
    is_http2: bool,
    begun: AtomicU64,
    running: AtomicU64,
    /// Answers that are not streams and not sent yet, with the time they were ready. At most one a stream.
    sending: Mutex<BTreeMap<u64, Instant>>,
    turned_away: Notify,
    /// What the connection becomes when HTTP ends on it.
    takeover: Mutex<Option<Takeover>>,
}

impl ConnectionState {
    fn new(peer: Arc<Peer>, is_http2: bool) -> Self {
        Self {
            peer,
            is_http2,
            begun: AtomicU64::new(0),
            running: AtomicU64::new(0),
            sending: Mutex::new(BTreeMap::new()),
            turned_away: Notify::new(),
            takeover: Mutex::new(None),
        }
    }

    /// An HTTP/2 peer that proved no identity has had its one request (upstream: `UnauthenticatedHTTP2DOSMitigation`).
    fn is_spent(&self) -> bool {
        self.is_http2 && self.peer.is_stranger()
    }

    /// Says whether an answer has been waiting longer than `patience` for its peer to read it.
    fn is_stalled(&self, patience: Duration) -> bool {
        let now = Instant::now();
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers grow with time, so the first one has waited longest.
        sending.first_key_value().is_some_and(|(_, since)| now.duration_since(*since) > patience)
    }
}

/// A request from its first moment here to the last byte of its answer.
struct Running {
    state: Arc<ConnectionState>,
    number: u64,
    is_sending: bool,
}

impl Running {
    fn begin(state: &Arc<ConnectionState>) -> Self {
        let number = state.begun.fetch_add(1, Ordering::Relaxed);
        state.running.fetch_add(1, Ordering::Relaxed);
        Self { state: Arc::clone(state), number, is_sending: false }
    }

    fn begin_sending(&mut self) {
        self.is_sending = true;
        let mut sending = self.state.sending.lock().unwrap_or_else(PoisonError::into_inner);
        sending.insert(self.number, Instant::now());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.state.running.fetch_sub(1, Ordering::Relaxed);
        if self.is_sending {
            let mut sending = self.state.sending.lock().unwrap_or_else(PoisonError::into_inner);
            sending.remove(&self.number);
        }
    }
}

/// The body of an answer that is still part of a running request.
struct RunningBody {
    body: Body,
    _running: Running,
}

impl HttpBody for RunningBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
