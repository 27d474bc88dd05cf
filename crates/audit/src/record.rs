//! The record of one request, from its first moment to its last. A clone is a handle to the same record; when the last one is
//! gone the record completes itself, so a client that goes away leaves its trace too.

use std::borrow::Cow;
use std::future::Future as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use portcullis_model::status::Status;
use portcullis_model::time::push_duration;
use tokio::runtime::Handle;

use crate::attributes::{Attributes, User};
use crate::auditor::Auditor;
use crate::event::{Event, ObjectText, RequestText, Rest, bounded, impersonated, outcome, outcome_of};
use crate::policy::{Decided, Level, Stage};
use crate::sink::Unrecorded;

/// Annotations of a record.
const ANNOTATIONS_MAX: usize = 64;
/// Bytes of their keys and values together.
const ANNOTATION_BYTES_MAX: usize = 128 * 1024;
/// Bytes of one value.
const ANNOTATION_VALUE_LEN_MAX: usize = 64 * 1024;
/// An answer that took longer than this says so: upstream's value.
const SLOW: Duration = Duration::from_millis(500);

/// How long a slow answer took (upstream's key).
const LATENCY: &str = "apiserver.latency.k8s.io/total";
/// How a request ended that was never answered.
const ENDED: &str = "audit.portcullis.io/ended";

/// What is known of a request when its record is opened.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Who asks for what.
    pub attributes: Attributes<'a>,
    /// The id that the answer carries too.
    pub audit_id: &'a str,
    /// Path and query as they were sent.
    pub uri: &'a str,
    /// The addresses it came from, the client's first (upstream: `X-Forwarded-For`, `X-Real-Ip`, then the connection's).
    pub source_ips: &'a [IpAddr],
    /// What the client calls itself.
    pub user_agent: &'a str,
}

/// What is known of an object only once it was read or made. Empty parts leave what the path said.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectNames<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its uid.
    pub uid: &'a str,
    /// Its resource version.
    pub resource_version: &'a str,
}

/// The record of a request; of one that is not recorded it is nothing.
#[derive(Clone)]
pub struct Record(Option<Arc<Inner>>);

struct Inner {
    auditor: Arc<Auditor>,
    decided: Decided,
    is_stranger: bool,
    received_micros: i64,
    notes: Mutex<Notes>,
}

/// What is known by now. Nothing is awaited while it is locked.
#[derive(Default)]
struct Notes {
    request: RequestText,
    acting: String,
    object: Option<Box<ObjectText>>,
    annotations: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    annotation_bytes: usize,
    request_object: Option<Bytes>,
    response_object: Option<Bytes>,
    outcome: String,
    /// How somebody tried to prove an identity and failed.
    failed_authentication: Option<String>,
    is_answered: bool,
    is_complete: bool,
}

impl Record {
    /// Of a request that is not recorded.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn new(auditor: Arc<Auditor>, request: &NewRecord<'_>, decided: Decided) -> Self {
        let notes = Notes { request: RequestText::new(request, decided.level), ..Notes::default() };
        Self(Some(Arc::new(Inner {
            auditor,
            decided,
            is_stranger: request.attributes.is_stranger(),
            received_micros: now_micros(),
            notes: Mutex::new(notes),
        })))
    }

    /// Returns how much is recorded.
    pub fn level(&self) -> Level {
        self.0.as_ref().map_or(Level::None, |inner| inner.decided.level)
    }

    /// Says whether recorded objects lose their managed fields.
    pub fn omits_managed_fields(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.decided.omits_managed_fields)
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        if let Some(inner) = &self.0 {
            note(&mut inner.notes());
        }
    }

    /// Notes something that has no field of its own. The first value of a key stays; beyond 64 keys or 128 KiB nothing is added,
    /// and a value beyond 64 KiB is cut.
    pub fn annotate(&self, key: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) {
        self.note(|notes| notes.annotate(key.into(), value.into()));
    }

    /// Notes as whom the request acts, and the constraint under which it does.
    pub fn impersonated(&self, user: &User<'_>, constraint: Option<&'static str>) {
        self.note(|notes| notes.acting = impersonated(user, constraint));
    }

    /// Notes that nobody could be proved, and how it was tried: in the place of what the answer says, which tells the client
    /// nothing.
    pub fn failed_authentication(&self, how: impl Into<String>) {
        self.note(|notes| notes.failed_authentication = Some(how.into()));
    }

    /// Notes what only the object itself says.
    pub fn object(&self, names: &ObjectNames<'_>) {
        self.note(|notes| notes.object.get_or_insert_default().note(names));
    }

    /// Notes the object that was sent, as JSON. Ask [`Record::level`] first: below `Request` nobody wants it.
    pub fn request_object(&self, json: Bytes) {
        if self.level() >= Level::Request {
            self.note(|notes| notes.request_object = Some(json));
        }
    }

    /// Notes the object that is answered, as JSON. Ask [`Record::level`] first: below `RequestResponse` nobody wants it.
    pub fn response_object(&self, json: Bytes) {
        if self.level() >= Level::RequestResponse {
            self.note(|notes| notes.response_object = Some(json));
        }
    }

    /// The request has arrived.
    ///
    /// # Errors
    /// When a strict sink did not take the event: the request must fail.
    pub async fn received(&self) -> Result<(), Unrecorded> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let Some(event) = inner.event(Stage::RequestReceived) else { return Ok(()) };
        // Boxed: nearly always nothing is said at this stage, and every request would carry the room for it.
        let event = Box::new(event);
        let given = inner.auditor.give(&event).await;
        if given.is_err() {
            inner.auditor.count_rejected();
        }
        given
    }

    /// An answer without an end of its own begins; the record completes when its last handle is gone.
    pub async fn started(&self, code: u16) {
        let Some(inner) = &self.0 else { return };
        inner.notes().answer(outcome(code));
        inner.give(Stage::ResponseStarted).await;
    }

    /// The answer is made. `status` says why it failed.
    pub async fn completed(&self, code: u16, status: Option<&Status>) {
        let Some(inner) = &self.0 else { return };
        let stage = {
            let mut notes = inner.notes();
            notes.is_complete = true;
            match notes.failed_authentication.take() {
                None => {
                    notes.answer(inner.outcome(code, status));
                    notes.note_latency(inner.received_micros);
                    Stage::ResponseComplete
                }
                Some(how) => {
                    let failed = Status { message: how.into(), ..Status::unauthorized() };
                    notes.answer(outcome_of(&failed, code));
                    // Upstream's stage for these. A policy without it must not make them invisible.
                    match inner.decided.omitted.contains(Stage::ResponseStarted) {
                        false => Stage::ResponseStarted,
                        true => Stage::ResponseComplete,
                    }
                }
            }
        };
        inner.give(stage).await;
    }

    /// The handler panicked.
    pub async fn panicked(&self, code: u16) {
        let Some(inner) = &self.0 else { return };
        {
            let mut notes = inner.notes();
            notes.is_complete = true;
            notes
                .answer(outcome_of(&Status::internal_error("APIServer panic'd: the log of the server has more"), code));
        }
        inner.give(Stage::Panic).await;
    }
}

impl Inner {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outcome(&self, code: u16, status: Option<&Status>) -> String {
        match status {
            None => outcome(code),
            // A25: what is wrong with an object is told by quoting it.
            Some(status) if self.decided.withholds && matches!(code, 400 | 422) => {
                outcome_of(&Status { message: Cow::Borrowed(""), details: None, ..status.clone() }, code)
            }
            Some(status) => outcome_of(status, code),
        }
    }

    /// Makes the event of a stage, if it is recorded.
    fn event(&self, stage: Stage) -> Option<Event> {
        if self.decided.omitted.contains(stage) {
            return None;
        }
        Some(self.notes().event(stage, self.is_stranger, self.received_micros))
    }

    async fn give(&self, stage: Stage) {
        if let Some(event) = self.event(stage) {
            // What follows from a failure was decided when the request arrived.
            let _ = self.auditor.give(&event).await;
        }
    }
}

impl Drop for Inner {
    /// Completes the record of a stream that has ended, or of a request whose client did not wait for the answer.
    fn drop(&mut self) {
        let notes = self.notes.get_mut().unwrap_or_else(PoisonError::into_inner);
        if notes.is_complete {
            return;
        }
        notes.is_complete = true;
        if !notes.is_answered {
            notes.annotate(ENDED.into(), "before an answer: the client went away".into());
        }
        let Some(event) = self.event(Stage::ResponseComplete) else { return };
        let auditor = Arc::clone(&self.auditor);
        let mut giving = Box::pin(async move {
            let _ = auditor.give(&event).await;
        });
        // Nearly always this is all: the sinks take it at once.
        let given = giving.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let (Poll::Pending, Ok(runtime)) = (given, Handle::try_current()) {
            runtime.spawn(giving);
        }
    }
}

impl Notes {
    fn answer(&mut self, outcome: String) {
        self.outcome = outcome;
        self.is_answered = true;
    }

    /// Keeps annotations in the order of their keys.
    fn annotate(&mut self, key: Cow<'static, str>, value: Cow<'static, str>) {
        let Err(at) = self.annotations.binary_search_by(|(own, _)| own.as_ref().cmp(&key)) else { return };
        let value = match bounded(&value, ANNOTATION_VALUE_LEN_MAX) {
            Cow::Borrowed(_) => value,
            Cow::Owned(cut) => cut.into(),
        };
        let bytes = self.annotation_bytes + key.len() + value.len();
        if self.annotations.len() >= ANNOTATIONS_MAX || bytes > ANNOTATION_BYTES_MAX {
            tracing::warn!(key = &*key, "audit annotation is one too many");
            return;
        }
        self.annotation_bytes = bytes;
        self.annotations.insert(at, (key, value));
    }

    fn note_latency(&mut self, received_micros: i64) {
        let micros = now_micros().saturating_sub(received_micros);
        let slow = u64::try_from(micros).map(Duration::from_micros).is_ok_and(|latency| latency > SLOW);
        if slow {
            let mut text = Vec::new();
            push_duration(&mut text, micros.saturating_mul(1000));
            self.annotate(LATENCY.into(), String::from_utf8_lossy(&text).into_owned().into());
        }
    }

    /// Makes an event of what is known. Of a record that is complete nothing else is wanted, so it is given away.
    fn event(&mut self, stage: Stage, is_stranger: bool, received_micros: i64) -> Event {
        let annotations = self.annotations.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
        let rest = Rest::new(received_micros, now_micros(), annotations);
        if self.is_complete {
            let Self { request, acting, object, outcome, request_object, response_object, .. } = std::mem::take(self);
            self.is_complete = true;
            return Event {
                stage,
                is_stranger,
                request,
                acting,
                object,
                outcome,
                request_object,
                response_object,
                rest,
            };
        }
        Event {
            stage,
            is_stranger,
            request: self.request.clone(),
            acting: self.acting.clone(),
            object: self.object.clone(),
            outcome: self.outcome.clone(),
            request_object: self.request_object.clone(),
            response_object: self.response_object.clone(),
            rest,
        }
    }
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
