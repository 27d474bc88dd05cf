//! A connection on which HTTP ends with a 101 and something else begins: WebSocket, SPDY (upstream: hijacked connections).
//!
//! What speaks after the answer runs inside the connection's own task. So it has an owner: it hears that the server stops, has
//! until the drain deadline, and keeps the connection's place among those allowed at once. HTTP/2 has no 101.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use crate::body::Body;
use crate::draining::Draining;

/// The bytes of a connection after its last HTTP answer, those already read included.
pub type UpgradedStream = TokioIo<Upgraded>;

/// The right to end HTTP on a connection. A request has it that came over HTTP/1.1 and asked for another protocol.
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    pub(crate) fn new(on_upgrade: OnUpgrade) -> Self {
        Self(on_upgrade)
    }

    /// Makes the answer with 101 for `protocol`; its headers may be added to. Once it is sent, `speak` has the connection
    /// until its future ends; the server's stop drops that future at the drain deadline.
    pub fn answer<S, F>(self, protocol: HeaderValue, speak: S) -> Response<Body>
    where
        S: FnOnce(UpgradedStream, Draining) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let on_upgrade = self.0;
        let takeover = Takeover::new(move |draining| {
            Box::pin(async move {
                match on_upgrade.await {
                    Ok(upgraded) => speak(TokioIo::new(upgraded), draining).await,
                    Err(error) => tracing::debug!(%error, "a connection broke before it could become another"),
                }
            })
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(header::UPGRADE, protocol);
        response.extensions_mut().insert(takeover);
        response
    }
}

type Speaking = Pin<Box<dyn Future<Output = ()> + Send>>;
type Speak = Box<dyn FnOnce(Draining) -> Speaking + Send>;

/// What a connection becomes, on its way from the handler to the connection's task. Extensions must be cloneable; only one of
/// the clones gets to speak.
#[derive(Clone)]
pub(crate) struct Takeover(Arc<Mutex<Option<Speak>>>);

impl Takeover {
    pub(crate) fn new(speak: impl FnOnce(Draining) -> Speaking + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(speak)))))
    }

    /// Keeps something until the other protocol has ended, or will never be spoken.
    pub(crate) fn accompany(&self, companion: Box<dyn Any + Send>) {
        let mut speak = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *speak = speak.take().map(|speak| -> Speak {
            Box::new(move |draining| {
                Box::pin(async move {
                    let _companion = companion;
                    speak(draining).await;
                })
            })
        });
    }

    /// Speaks until the other protocol ends.
    pub(crate) async fn speak(self, draining: Draining) {
        let speak = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(speak) = speak {
            speak(draining).await;
        }
    }
}
