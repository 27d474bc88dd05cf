//! The place in a trace that a request is sent from (W3C Trace Context), for whoever is asked to go on with it.

use std::sync::OnceLock;

use http::{HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

static CURRENT: OnceLock<fn() -> Option<HeaderValue>> = OnceLock::new();

/// Says who knows where in a trace this process is. The first that is given counts.
pub fn trace_with(current: fn() -> Option<HeaderValue>) {
    // A second recorder would be a mistake of the program's, and the first goes on.
    let _ = CURRENT.set(current);
}

pub(crate) fn current() -> Option<HeaderValue> {
    CURRENT.get().and_then(|current| current())
}
