//! Accepting connections: how many at once, how long a handshake may take, and the end of them all.
//!
//! The loop owns every task it starts. When the server stops it accepts nothing more, tells every connection to finish, and
//! ends what is left when the deadline passes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::addresses::Origin;

use crate::arrival::Peer;
use crate::authn::certificate::PeerCertificate;
use crate::config::{ACCEPT_RETRY_DELAY, GateConfig};
use crate::connection;
use crate::connection::metrics::{ConnectionMetrics, CutFor};
use crate::entrance::Entrance;
use crate::gate::{Gate, Handler};
use crate::handshakes::Entered;
use crate::tls::{ALPN_H2, Tls, TlsError};
use crate::tls_stream::TlsStream;

/// Why a listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address can not be listened on.
    #[error("can not listen on {address}")]
    BindFailed {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Certificates or keys can not be used.
    #[error("can not serve TLS")]
    TlsUnusable(#[from] TlsError),
    /// The counters can not be made.
    #[error("can not count connections")]
    MetricsUnusable(#[from] prometheus::Error),
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection finished by itself.
    Completely,
    /// The deadline passed first, and this many connections were cut off.
    CutOff {
        /// Connections.
        connections: usize,
    },
}

/// A bound address with its TLS, not serving yet.
pub struct Listener {
    socket: TcpListener,
    tls: Arc<Tls>,
    entrance: Arc<Entrance>,
    sends_retry_after: bool,
    watch_grace: Duration,
}

impl Listener {
    /// Binds the address of a configuration.
    ///
    /// # Errors
    /// When the address is taken, or certificates can not be used.
    pub async fn bind(config: &GateConfig) -> Result<Self, ListenError> {
        let tls = Arc::new(Tls::new(&config.tls)?);
        let entrance = Entrance::new(&config.limits, &config.connections, Arc::new(ConnectionMetrics::new()?));
        let address = config.bind;
        let socket = TcpListener::bind(address).await.map_err(|source| ListenError::BindFailed { address, source })?;
        let (sends_retry_after, watch_grace) = (config.connections.send_retry_after, config.connections.watch_grace);
        Ok(Self { socket, tls, entrance, sends_retry_after, watch_grace })
    }

    /// Returns the address in use (the port, when 0 was asked for).
    ///
    /// # Errors
    /// When the system does not know it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns the TLS side, to reload it.
    pub fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    /// Returns the counters, to show them.
    pub fn metrics(&self) -> &Arc<ConnectionMetrics> {
        &self.entrance.metrics
    }

    /// Serves until `shutdown` is ready, then drains, in upstream's order: watches end, requests in flight are answered,
    /// connections close. Before that, if it was asked for, it goes on listening for as long as anything is in flight, only to say
    /// that clients should come again elsewhere.
    pub async fn serve<H: Handler>(self, gate: Arc<Gate<H>>, shutdown: impl Future<Output = ()> + Send) -> Drained {
        let Self { socket, tls, entrance, sends_retry_after, watch_grace } = self;
        let drain_timeout = gate.limits().drain_timeout;
        let mut open = Open { gate, tls, entrance: Arc::clone(&entrance), connections: JoinSet::new() };
        open.accept(&socket, shutdown).await;
        if sends_retry_after {
            entrance.turn_away();
            entrance.stop.end_streams();
            let answered = tokio::time::timeout(drain_timeout, entrance.until_answered());
            open.accept(&socket, async { drop(answered.await) }).await;
        }
        drop(socket);
        entrance.stop.end_streams();
        entrance.stop.end_connections();
        // Nothing is in flight on a connection whose handshake is not finished.
        while entrance.handshakes.make_room(None) {}
        drain(open.connections, drain_timeout + watch_grace).await
    }
}

/// What is open and grows.
struct Open<H> {
    gate: Arc<Gate<H>>,
    tls: Arc<Tls>,
    entrance: Arc<Entrance>,
    connections: JoinSet<()>,
}

impl<H: Handler> Open<H> {
    async fn accept(&mut self, socket: &TcpListener, until: impl Future<Output = ()> + Send) {
        let mut until = pin!(until);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut until => return,
                Some(ended) = self.connections.join_next(), if !self.connections.is_empty() => {
                    log_ended(ended);
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => self.begin(stream, remote),
                // A peer that went away while it waited: nothing is short.
                Err(error) if is_of_one_peer(&error) => tracing::debug!(%error, "accept failed"),
                Err(error) => {
                    // Usually there is no file descriptor left: one is held by the peer who has been silent for longest.
                    self.entrance.make_room();
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
    }

    /// One that is refused is closed at once: a client sees it, and no memory is held for it.
    fn begin(&mut self, stream: TcpStream, remote: SocketAddr) {
        self.entrance.metrics.accepted.inc();
        if let Err(reason) = self.entrance.admit(remote.ip()) {
            return self.entrance.refused(remote.ip(), reason);
        }
        let origin = Origin::of(remote.ip());
        let (entered, was_full) = self.entrance.handshakes.enter(origin);
        if was_full {
            self.entrance.metrics.count_cut(CutFor::HandshakeRoom);
        }
        let number = entered.number();
        let newcomer =
            Newcomer { stream, remote, origin, deadline: Instant::now() + self.gate.limits().handshake_timeout };
        let (gate, tls, entrance) = (Arc::clone(&self.gate), Arc::clone(&self.tls), Arc::clone(&self.entrance));
        let task = self.connections.spawn(newcomer.meet(gate, tls, entrance, entered));
        self.entrance.handshakes.began(origin, number, task);
    }
}

fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A connection that was accepted and has not said anything yet.
struct Newcomer {
    stream: TcpStream,
    remote: SocketAddr,
    origin: Origin,
    deadline: Instant,
}

impl Newcomer {
    /// Serves the connection from its first byte to its last. Until the first one, the peer costs no more than its socket and a
    /// small task: everything else is made after that.
    async fn meet<H: Handler>(self, gate: Arc<Gate<H>>, tls: Arc<Tls>, entrance: Arc<Entrance>, entered: Entered) {
        let waiting = Counted::new(&entrance.metrics.pending);
        // That a socket is said to be readable is no proof of a byte.
        match timeout_at(self.deadline, self.stream.peek(&mut [0])).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => {}
            Err(_) => {
                tracing::debug!(remote = %self.remote, "handshake did not begin");
                return entrance.cut(self.remote.ip(), CutFor::HandshakeTimeout);
            }
        }
        Box::pin(async move {
            let Some((stream, peer)) = self.shake_hands(&tls, &entrance).await else { return };
            drop(waiting);
            let stranger = entrance.strangers.take_over(entered);
            let _open = Counted::new(&entrance.metrics.open);
            connection::serve(gate, Arc::clone(&entrance), stream, peer, stranger).await;
        })
        .await;
    }

    async fn shake_hands(self, tls: &Tls, entrance: &Entrance) -> Option<(TlsStream, Arc<Peer>)> {
        let Self { stream, remote, origin, deadline } = self;
        // Before the work of a handshake, and again when its outcome is known.
        if let Err(reason) = entrance.has_room(origin) {
            entrance.refused(remote.ip(), reason);
            return None;
        }
        // Answers are written whole; waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let handshake = pin!(TlsAcceptor::from(tls.config()).accept(stream));
        let stream = match timeout_at(deadline, entrance.handshakes.take_turns(origin, handshake)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                entrance.metrics.handshake_errors.inc();
                tracing::debug!(%remote, %error, "handshake failed");
                return None;
            }
            Err(_) => {
                entrance.metrics.handshake_errors.inc();
                entrance.cut(remote.ip(), CutFor::HandshakeTimeout);
                tracing::debug!(%remote, "handshake took too long");
                return None;
            }
        };
        let place = match entrance.claim(origin) {
            Ok(place) => place,
            Err(reason) => {
                entrance.refused(remote.ip(), reason);
                return None;
            }
        };
        let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        let certificate = chain.map(|chain| PeerCertificate::new(chain, tls.trust()));
        let (socket, session) = stream.into_inner();
        let heard = entrance.stop.heard_by_streams();
        // A connection that has one stream at a time is one: what it becomes after a 101 ends when its watch does.
        let heard = if session.alpn_protocol() == Some(ALPN_H2) { heard } else { heard.for_a_stream() };
        let stream = TlsStream::new(socket, session);
        Some((stream, Peer::over_tls(remote, certificate, place, heard)))
    }
}

/// One more in a gauge, until it is dropped.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

async fn drain(mut connections: JoinSet<()>, timeout: Duration) -> Drained {
    let finished = tokio::time::timeout(timeout, async {
        while let Some(ended) = connections.join_next().await {
            log_ended(ended);
        }
    });
    if finished.await.is_ok() {
        return Drained::Completely;
    }
    let left = connections.len();
    connections.shutdown().await;
    Drained::CutOff { connections: left }
}

fn log_ended(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "connection task panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of what a function of five arguments begins.
    fn size<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_silent_connection_is_small() {
        type Answer = fn(crate::Permitted) -> std::future::Ready<http::Response<crate::Body>>;
        let bytes = size(Newcomer::meet::<Answer>);
        assert!(bytes <= 1024, "{bytes}");
    }
}
