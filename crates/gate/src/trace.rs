//! What a trace says of a request: one span for the whole of it, and one for each step (upstream: `endpoints/filters/traces.go`,
//! KEP-647).
//!
//! Spans are those of `tracing`, under a target of their own that no log shows. Whoever records them turns them on; until then each is
//! one look at a flag. No header, query or body is told: what they say may be a secret.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

use crate::arrival::Arrived;
use crate::identity::{GROUP_MASTERS, Identity};
use crate::request_info::RequestInfo;

/// The target of all spans of traces.
pub const TRACE_TARGET: &str = "portcullis::trace";
/// The W3C header with the sender's place in a trace.
const TRACEPARENT: &str = "traceparent";
/// Whose word on what is to be recorded counts (upstream: the tracing filter's privileged groups).
const TRUSTED_GROUPS: [&str; 2] = [GROUP_MASTERS, "system:monitoring"];

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Begins to make spans. Never undone.
pub fn turn_on_traces() {
    IS_ON.store(true, Ordering::Relaxed);
}

fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// The span of a step of the request that is being answered; none when nobody records.
pub fn trace_step(name: &'static str) -> Span {
    if !is_on() {
        return Span::none();
    }
    info_span!(target: TRACE_TARGET, "step", name)
}

/// Runs a step of the request that is being answered within its span. The step is pinned before it comes here: to be traced it
/// is not moved, and while nobody records it is not wrapped either.
pub async fn traced<F: Future>(name: &'static str, step: Pin<&mut F>) -> F::Output {
    if is_on() { step.instrument(trace_step(name)).await } else { step.await }
}

/// The same for the whole of a request.
pub(crate) async fn within<F: Future>(span: &Span, request: Pin<&mut F>) -> F::Output {
    if is_on() { request.instrument(span.clone()).await } else { request.await }
}

/// The span of a request; none when nobody records.
pub(crate) fn request(arrived: &Arrived) -> Span {
    if !is_on() {
        return Span::none();
    }
    let text = |value: Option<&http::HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (method, parent) = (arrived.parts.method.as_str(), text(arrived.parts.headers.get(TRACEPARENT)));
    let audit_id = text(Some(&arrived.audit_id));
    info_span!(
        target: TRACE_TARGET,
        "request",
        name = method,
        traceparent = parent.as_deref(),
        is_trusted = Empty,
        "http.request.method" = method,
        "url.scheme" = "https",
        "url.path" = arrived.parts.uri.path(),
        "audit-id" = audit_id.as_deref(),
        "http.response.status_code" = Empty,
    )
}

/// Names the request's span after what is asked for, as upstream does: `GET /api/v1/namespaces/{:namespace}/pods/{:name}`.
pub(crate) fn located(method: &Method, info: &RequestInfo) {
    if !is_on() {
        return;
    }
    let Some(resource) = info.resource() else { return };
    let mut name = format!("{method} /{}", resource.prefix);
    for (before, part) in [("/", resource.group), ("/", resource.version)] {
        if !part.is_empty() {
            name.push_str(before);
            name.push_str(part);
        }
    }
    if !resource.namespace.is_empty() {
        name.push_str("/namespaces/{:namespace}");
    }
    name.push('/');
    name.push_str(resource.resource);
    if !resource.name.is_empty() {
        name.push_str("/{:name}");
    }
    if !resource.subresource.is_empty() {
        name.push('/');
        name.push_str(resource.subresource);
    }
    Span::current().record("name", name);
}

/// Says whose request it is: who is not trusted begins a trace of their own.
pub(crate) fn identified(identity: &Identity) {
    if is_on() {
        Span::current().record("is_trusted", TRUSTED_GROUPS.iter().any(|group| identity.is_in(group)));
    }
}

/// Says how it ended.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    if is_on() {
        span.record("http.response.status_code", u64::from(status.as_u16()));
    }
}
