//! The whole gate on one screen: each step takes the type the step before gave, so none can be left out or swapped.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use portcullis_audit::Auditor;
use tokio::time::Instant;

use crate::arrival::{AUDIT_ID, Arrived, Peer};
use crate::audit;
use crate::authn::{Authenticators, Tokens};
use crate::authz::{AuthorizerChain, Permitted};
use crate::body::{Body, RequestBody};
use crate::config::Limits;
use crate::deadline;
use crate::fairness::{self, Fairness};
use crate::impersonation;
use crate::metrics::{Authenticated, Counting, Metrics, Step};
use crate::refusal::Refusal;
use crate::request_info;
use crate::trace::{self, traced};
use crate::trail::Trail;

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
    /// Who writes down what was asked and decided.
    pub auditor: Arc<Auditor>,
    /// Who waits for whom; nobody when there is none.
    pub fairness: Option<Fairness>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Guards {
    /// Gives everything that the guards count to a registry.
    ///
    /// # Errors
    /// When it has metrics of these names already.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        self.metrics.register(registry)?;
        self.authorizers.register(registry)
    }
}

impl Default for Guards {
    /// Guards that know certificates and no token, let system:masters in and nobody else, and write nothing down.
    fn default() -> Self {
        Self {
            authenticators: Authenticators::new(Tokens::default()),
            authorizers: AuthorizerChain::new(Vec::new()),
            auditor: Auditor::none(),
            fairness: None,
            metrics: Arc::default(),
        }
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
        // Outside of the steps: it outlives a refusal, a panic, and a client that goes away.
        let trail = Trail::default();
        let span = trace::request(&arrived);
        let counting = self.guards.metrics.begin();
        let answered = {
            let answer = pin!(self.answer(arrived, &trail, &counting));
            catch_panic(pin!(trace::within(&span, answer))).await
        };
        let mut response = match answered {
            Some(response) => response,
            None => {
                tracing::error!(audit_id = audit_id.to_str().unwrap_or_default(), "request handler panicked");
                let response = Refusal::Panicked.into_response();
                trail.panicked(response.status().as_u16()).await;
                response
            }
        };
        let is_stream = response.extensions().get::<LongRunning>().is_some();
        let stream = counting.answered(&mut response, is_stream);
        trail.leave(&mut response, stream);
        trace::answered(&span, response.status());
        finish(response.headers_mut(), audit_id, self.guards.authorizers.warning());
        response
    }

    async fn answer(&self, arrived: Box<Arrived>, trail: &Trail, counting: &Counting) -> Response<Body> {
        let (mut response, is_long_running) = match self.pass(arrived, trail, counting).await {
            Ok((permitted, deadline)) => (self.within(deadline, permitted).await, deadline.is_none()),
            Err(refusal) => (refusal.into_response(), false),
        };
        if is_long_running {
            response.extensions_mut().insert(LongRunning);
        }
        trail.answered(&mut response, is_long_running).await;
        response
    }

    /// Runs the handler, for as long as the request has.
    async fn within(&self, deadline: Option<Instant>, permitted: Permitted) -> Response<Body> {
        let answer = pin!(self.handler.handle(permitted));
        match deadline {
            None => answer.await,
            Some(deadline) => match tokio::time::timeout_at(deadline, answer).await {
                Ok(response) => response,
                Err(_) => Refusal::DeadlineExceeded.into_response(),
            },
        }
    }

    /// The order of the steps. A request that fails one never reaches the next (A8).
    async fn pass(
        &self,
        arrived: Box<Arrived>,
        trail: &Trail,
        counting: &Counting,
    ) -> Result<(Permitted, Option<Instant>), Refusal> {
        // What a request waits for, a seat or somebody's word, is of its time.
        let begun = counting.began();
        let Guards { authenticators, authorizers, auditor, fairness, metrics } = &*self.guards;
        let located = match request_info::locate(arrived) {
            Ok(located) => located,
            Err(unlocated) => return Err(audit::record_unlocated(auditor, unlocated, trail)),
        };
        counting.located(located.arrived(), located.info());
        trace::located(&located.arrived().parts.method, located.info());
        let deadline = deadline::of(&located, &self.limits);
        let mut lap = metrics.lap(begun);
        metrics.certificate(located.arrived().peer.credential());
        let identified = traced("authentication", pin!(authenticators.identify(located))).await;
        let took = lap.end(Step::Authentication);
        let identified = match identified {
            Ok(identified) => {
                metrics.authenticated(Authenticated::Success, took);
                metrics.user(&identified.identity().name);
                trace::identified(identified.identity());
                identified
            }
            Err(unidentified) => {
                metrics.authenticated(unidentified.result, took);
                return Err(audit::record_stranger(auditor, unidentified, trail));
            }
        };
        let recorded = traced("audit", pin!(audit::record(auditor, identified, trail))).await;
        lap.end(Step::Audit);
        let acting = traced("impersonation", pin!(impersonation::act(authorizers, recorded?))).await;
        lap.end(Step::Impersonation);
        // A deadline that cannot be read refuses the request too, but not before it is known that its sender may ask.
        let time = deadline.as_ref().ok().copied().flatten();
        let seated = {
            let seated = pin!(fairness::seat(fairness.as_ref(), acting?, time, trail));
            counting.waiting(pin!(traced("priorityandfairness", seated))).await
        };
        lap.end(Step::Fairness);
        let permitted = traced("authorization", pin!(self.guards.permit(seated?, &mut lap))).await?;
        Ok((permitted, deadline?.map(|time| Instant::from_std(begun) + time)))
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
