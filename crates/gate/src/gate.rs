//! The whole gate on one screen: each step takes the type the step before gave, so none can be left out or swapped.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, header};

use crate::arrival::{AUDIT_ID, Arrived, Peer};
use crate::audit;
use crate::authn::{Authenticators, Tokens};
use crate::authz::{AuthorizerChain, Permitted};
use crate::body::{Body, RequestBody};
use crate::config::Limits;
use crate::deadline;
use crate::fairness;
use crate::impersonation;
use crate::refusal::Refusal;
use crate::request_info;

/// What stands behind the gate: it takes a request that passed and makes its answer.
pub trait Handler: Send + Sync + 'static {
    /// Answers a request. Dropped unfinished when the request's deadline passes or its client goes away.
    fn handle(&self, permitted: Permitted) -> impl Future<Output = Response<Body>> + Send;
}

impl<F, A> Handler for F
where
    F: Fn(Permitted) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send,
{
    fn handle(&self, permitted: Permitted) -> impl Future<Output = Response<Body>> + Send {
        self(permitted)
    }
}

/// Who judges requests: the authenticators and the authorisers.
pub struct Guards {
    /// Who finds out who sends a request.
    pub authenticators: Authenticators,
    /// Who decides what they may do.
    pub authorizers: AuthorizerChain,
}

impl Default for Guards {
    /// Guards that know certificates and no token, and let system:masters in and nobody else.
    fn default() -> Self {
        Self { authenticators: Authenticators::new(Tokens::default()), authorizers: AuthorizerChain::new(Vec::new()) }
    }
}

/// The gate and what stands behind it.
pub struct Gate<H> {
    guards: Arc<Guards>,
    handler: H,
    limits: Limits,
}

/// Marks an answer that may take as long as it likes to be sent.
#[derive(Clone, Copy)]
pub(crate) struct LongRunning;

impl<H: Handler> Gate<H> {
    /// Puts a gate before `handler`.
    pub fn new(handler: H, guards: Guards, limits: Limits) -> Self {
        Self { guards: Arc::new(guards), handler, limits }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Answers a request of `peer`: from the wire, or from a part of this process ([`Peer::in_process`]).
    pub async fn handle(&self, peer: &Arc<Peer>, request: Request<RequestBody>) -> Response<Body> {
        let arrived = Box::new(Arrived::new(Arc::clone(peer), request));
        let audit_id = arrived.audit_id.clone();
        let answer = pin!(self.answer(arrived));
        let mut response = match catch_panic(answer).await {
            Some(response) => response,
            None => {
                tracing::error!(audit_id = audit_id.to_str().unwrap_or_default(), "request handler panicked");
                Refusal::Panicked.into_response()
            }
        };
        finish(response.headers_mut(), audit_id, self.guards.authorizers.warning());
        response
    }

    async fn answer(&self, arrived: Box<Arrived>) -> Response<Body> {
        let (permitted, deadline) = match self.pass(arrived).await {
            Ok(passed) => passed,
            Err(refusal) => return refusal.into_response(),
        };
        let answer = pin!(self.handler.handle(permitted));
        match deadline {
            None => {
                let mut response = answer.await;
                response.extensions_mut().insert(LongRunning);
                response
            }
            Some(after) => match tokio::time::timeout(after, answer).await {
                Ok(response) => response,
                Err(_) => Refusal::DeadlineExceeded.into_response(),
            },
        }
    }

    /// The order of the steps. A request that fails one never reaches the next (A8).
    async fn pass(&self, arrived: Box<Arrived>) -> Result<(Permitted, Option<Duration>), Refusal> {
        let located = request_info::locate(arrived)?;
        let deadline = deadline::of(&located, &self.limits);
        let identified = self.guards.authenticators.identify(located).await?;
        let recorded = audit::record(identified);
        let acting = impersonation::act(&self.guards.authorizers, recorded).await?;
        let seated = fairness::seat(acting);
        let permitted = self.guards.permit(seated).await?;
        Ok((permitted, deadline?))
    }
}

/// Every answer names its request, warns of what the operator should not have chosen (A7), and is nobody's to keep unless the
/// handler said otherwise.
fn finish(headers: &mut HeaderMap, audit_id: HeaderValue, warning: Option<HeaderValue>) {
    headers.insert(AUDIT_ID, audit_id);
    if let Some(warning) = warning {
        headers.append(header::WARNING, warning);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
}

/// Runs a future; `None` when it panicked. What it held is dropped, what it shares is behind locks that do not poison or in
/// values that are replaced whole, so going on is sound.
async fn catch_panic<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests;
