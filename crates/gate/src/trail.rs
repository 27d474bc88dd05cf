//! What a request leaves behind that must outlive its steps: its record, its seat, the flow it belonged to.
//!
//! The steps consume the request; a refusal, a panic or a client that goes away ends them anywhere. The trail is held outside of
//! them all, so the answer can be put on record and the seat freed wherever that happens.

use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use portcullis_audit::Record;
use portcullis_fairness::Seat;
use portcullis_model::status::Status;
use tokio::sync::OwnedSemaphorePermit;

use crate::body::Body;
use crate::metrics::Counting;
use crate::upgrade::Takeover;

const FLOW_SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// See the module's text.
#[derive(Default)]
pub(crate) struct Trail {
    record: OnceLock<Record>,
    seat: OnceLock<Seat>,
    place: OnceLock<OwnedSemaphorePermit>,
    flow: OnceLock<FlowHeaders>,
}

/// The uids of the flow schema and of the priority level that a request belonged to.
pub(crate) struct FlowHeaders {
    pub(crate) schema: HeaderValue,
    pub(crate) level: HeaderValue,
}

/// What must end when the last byte of an answer is sent, and not before.
struct Companion {
    _record: Option<Record>,
    _seat: Option<Seat>,
    _place: Option<OwnedSemaphorePermit>,
    /// That of a stream, which is counted when it ends.
    _counting: Option<Counting>,
}

impl Trail {
    pub(crate) fn record(&self, record: &Record) {
        let _ = self.record.set(record.clone());
    }

    pub(crate) fn seat(&self, seat: &Seat) {
        let _ = self.seat.set(seat.clone());
    }

    /// A place among so many requests at once, where there are no seats.
    pub(crate) fn place(&self, place: OwnedSemaphorePermit) {
        let _ = self.place.set(place);
    }

    pub(crate) fn flow(&self, headers: FlowHeaders) {
        let _ = self.flow.set(headers);
    }

    /// The handler panicked.
    pub(crate) async fn panicked(&self, code: u16) {
        if let Some(record) = self.record.get() {
            record.panicked(code).await;
        }
    }

    /// The answer is made; `is_long_running` when it has no end of its own.
    pub(crate) async fn answered(&self, response: &mut Response<Body>, is_long_running: bool) {
        let status = response.extensions_mut().remove::<std::sync::Arc<Status>>();
        let Some(record) = self.record.get() else { return };
        let code = response.status().as_u16();
        // A refusal has an end, also where a stream was asked for.
        match is_long_running && status.is_none() {
            true => record.started(code).await,
            false => record.completed(code, status.as_deref()).await,
        }
    }

    /// Names the flow in the answer, and gives what must outlive it to its body.
    pub(crate) fn leave(mut self, response: &mut Response<Body>, counting: Option<Counting>) {
        if let Some(FlowHeaders { schema, level }) = self.flow.take() {
            name_flow(response.headers_mut(), schema, level);
        }
        let (record, seat, place) = (self.record.take(), self.seat.take(), self.place.take());
        if record.is_some() || seat.is_some() || place.is_some() || counting.is_some() {
            let companion = Companion { _record: record, _seat: seat, _place: place, _counting: counting };
            // A connection that becomes another stream has an empty answer, and lives on.
            match response.extensions().get::<Takeover>() {
                Some(takeover) => takeover.accompany(Box::new(companion)),
                None => response.body_mut().accompany(Box::new(companion)),
            }
        }
    }
}

fn name_flow(headers: &mut HeaderMap, schema: HeaderValue, level: HeaderValue) {
    headers.insert(FLOW_SCHEMA_UID, schema);
    headers.insert(PRIORITY_LEVEL_UID, level);
}
