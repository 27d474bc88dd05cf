//! Accepting connections: how many at once, how long a handshake may take, and the end of them all.
//!
//! The loop owns every task it starts. When the server stops it accepts nothing more, tells every connection to finish, and
//! ends what is left when the deadline passes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::arrival::Peer;
use crate::authn::certificate::PeerCertificate;
use crate::config::{ACCEPT_RETRY_DELAY, GateConfig};
use crate::connection;
use crate::gate::{Gate, Handler};
use crate::tls::{Tls, TlsError};
use crate::tls_stream::TlsStream;
use crate::upgrade::Draining;

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
}

impl Listener {
    /// Binds the address of a configuration.
    ///
    /// # Errors
    /// When the address is taken, or certificates can not be used.
    pub async fn bind(config: &GateConfig) -> Result<Self, ListenError> {
        let tls = Arc::new(Tls::new(&config.tls)?);
        let address = config.bind;
        let socket = TcpListener::bind(address).await.map_err(|source| ListenError::BindFailed { address, source })?;
        Ok(Self { socket, tls })
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

    /// Serves until `shutdown` is ready, then drains.
    pub async fn serve<H: Handler>(self, gate: Arc<Gate<H>>, shutdown: impl Future<Output = ()> + Send) -> Drained {
        let Self { socket, tls } = self;
        let limits = gate.limits().clone();
        let places = Arc::new(Semaphore::new(limits.connections_max));
        let (draining, _) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    log_ended(ended);
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            // One too many is closed at once: a client sees it, and no memory is held for it.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::debug!(%remote, limit = limits.connections_max, "connection refused: too many");
                continue;
            };
            let (gate, tls, draining) = (Arc::clone(&gate), Arc::clone(&tls), draining.subscribe());
            connections.spawn(async move {
                let told = Draining::new(draining.clone());
                let Some((stream, peer)) = shake_hands(&gate, &tls, stream, remote, place, told).await else { return };
                connection::serve(gate, stream, peer, draining).await;
            });
        }
        drop(socket);
        draining.send_replace(true);
        drain(connections, limits.drain_timeout).await
    }
}

async fn shake_hands<H: Handler>(
    gate: &Gate<H>,
    tls: &Tls,
    stream: TcpStream,
    remote: SocketAddr,
    place: tokio::sync::OwnedSemaphorePermit,
    draining: Draining,
) -> Option<(TlsStream, Arc<Peer>)> {
    // Answers are written whole; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    let stream = match tokio::time::timeout(gate.limits().handshake_timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%remote, %error, "handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%remote, "handshake took too long");
            return None;
        }
    };
    let chain = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
    let certificate = chain.map(|chain| PeerCertificate::new(chain, tls.trust()));
    let (socket, session) = stream.into_inner();
    let stream = TlsStream::new(socket, session);
    Some((stream, Peer::over_tls(remote, certificate, place, draining)))
}

async fn drain(mut connections: JoinSet<()>, timeout: std::time::Duration) -> Drained {
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
