//! Turns the spans of `tracing` into those of a trace: a layer that keeps the spans of each request together until the last has ended, and
//! hands them on if the trace is one of those that are to be recorded.
//!
//! Upstream samples by the parent where the sender is trusted, and else by the rate; who the sender is, is known only after the trace has
//! begun, so what may still be recorded is kept until it is over. Of a request that neither the rate nor its sender asks for, nothing is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use http::HeaderValue;
use tokio::sync::mpsc;
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::wire::{KIND_INTERNAL, KIND_SERVER, KeyValue, Link, STATUS_ERROR, Span, Status, Value};

/// Spans of one trace that are kept; others are counted as dropped.
const SPANS_PER_TRACE_MAX: usize = 128;
/// Attributes of a span.
const ATTRIBUTES_MAX: usize = 32;
/// Bytes of a name or of an attribute's text; what is longer is cut.
const TEXT_BYTES_MAX: usize = 512;
/// How many of these make the rate.
pub(super) const MILLION: u64 = 1_000_000;
/// The status from which on an answer is the server's failure.
const SERVER_ERROR: i64 = 500;

/// What a request's span is called where it is made, in the gate.
const REQUEST: &str = "request";
const FIELD_NAME: &str = "name";
const FIELD_PARENT: &str = "traceparent";
const FIELD_TRUSTED: &str = "is_trusted";
const FIELD_STATUS: &str = "http.response.status_code";

/// The sender's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) is_sampled: bool,
}

impl Parent {
    /// Reads version 00 of `traceparent`, and of later versions what they have in common with it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let ([version], [flags]) = (hex::<1>(version)?, hex::<1>(flags)?);
        let (trace, span) = (hex::<16>(trace)?, hex::<8>(span)?);
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        let is_set = trace != [0; 16] && span != [0; 8];
        (is_known && is_set).then_some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }

    fn text(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), u8::from(self.is_sampled))
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

/// What the spans of a request have in common.
#[derive(Debug)]
struct Trace {
    /// What the trace is called unless a trusted sender began it.
    own: [u8; 16],
    parent: Option<Parent>,
    /// Whether the rate chose it.
    is_chosen: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing before it is known who sent the request.
    is_trusted: Option<bool>,
    ended: Vec<Span>,
    dropped: u64,
}

impl Trace {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parent that counts.
    fn followed(&self, state: &State) -> Option<Parent> {
        self.parent.filter(|_| state.is_trusted == Some(true))
    }

    fn id(&self, state: &State) -> [u8; 16] {
        self.followed(state).map_or(self.own, |parent| parent.trace)
    }

    fn is_sampled(&self, state: &State) -> bool {
        self.followed(state).map_or(self.is_chosen, |parent| parent.is_sampled)
    }
}

/// One span that has not ended.
#[derive(Debug)]
struct Open {
    trace: Arc<Trace>,
    is_request: bool,
    id: [u8; 8],
    parent: [u8; 8],
    name: String,
    begun: u64,
    attributes: Vec<KeyValue>,
    dropped_attributes: u32,
    status: i64,
}

/// The spans of one request, and how many there are no more.
#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) spans: Vec<Span>,
    pub(super) dropped: u64,
}

/// The layer. Spans that it does not record cost it a look at their parent.
pub(super) struct Recorder {
    rate_per_million: u64,
    random: SystemRandom,
    ended: mpsc::Sender<Ended>,
    dropped: Arc<std::sync::atomic::AtomicU64>,
}

impl Recorder {
    /// Records so many of a million traces, and those that trusted senders record, and hands each to the channel. What the channel has no
    /// room for is counted.
    pub(super) fn new(
        rate_per_million: u64,
        ended: mpsc::Sender<Ended>,
        dropped: Arc<std::sync::atomic::AtomicU64>,
    ) -> Self {
        Self { rate_per_million, random: SystemRandom::new(), ended, dropped }
    }

    fn random<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Whether the rate chooses a trace, by its id alone, so that everybody who knows the rate chooses the same (upstream:
    /// `TraceIDRatioBased`).
    fn chooses(&self, trace: [u8; 16]) -> bool {
        let [.., a, b, c, d, e, f, g, h] = trace;
        let place = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
        let bound = (u128::from(self.rate_per_million) << 63) / u128::from(MILLION);
        u128::from(place) < bound
    }

    fn begin(&self, told: Told) -> Option<Open> {
        let own = self.random::<16>()?;
        let is_chosen = self.chooses(own);
        if !is_chosen && !told.parent.is_some_and(|parent| parent.is_sampled) {
            return None;
        }
        let trace = Trace { own, parent: told.parent, is_chosen, state: Mutex::default() };
        self.open(Arc::new(trace), [0; 8], true, told)
    }

    fn open(&self, trace: Arc<Trace>, parent: [u8; 8], is_request: bool, told: Told) -> Option<Open> {
        let Told { name, attributes, dropped, .. } = told;
        let mut open = Open {
            trace,
            is_request,
            id: self.random()?,
            parent,
            name: name.unwrap_or_default(),
            begun: now(),
            attributes: Vec::new(),
            dropped_attributes: dropped,
            status: 0,
        };
        open.add(attributes, told.status);
        Some(open)
    }

    fn end(&self, open: Open) {
        let trace = Arc::clone(&open.trace);
        let is_request = open.is_request;
        let mut state = trace.state();
        if state.ended.len() < SPANS_PER_TRACE_MAX {
            let span = open.end(&state);
            state.ended.push(span);
        } else {
            state.dropped += 1;
        }
        if !is_request || !trace.is_sampled(&state) {
            return;
        }
        // Steps that ended before it was known whose trace it is belong to it, too.
        let id = trace.id(&state);
        let mut spans = std::mem::take(&mut state.ended);
        let dropped = state.dropped;
        drop(state);
        spans.iter_mut().for_each(|span| span.trace_id = id.to_vec());
        if let Err(error) = self.ended.try_send(Ended { spans, dropped }) {
            let lost = error.into_inner();
            let lost = lost.spans.len() as u64 + lost.dropped;
            self.dropped.fetch_add(lost, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl Open {
    fn add(&mut self, attributes: Vec<KeyValue>, status: Option<i64>) {
        for attribute in attributes {
            if self.attributes.len() < ATTRIBUTES_MAX {
                self.attributes.push(attribute);
            } else {
                self.dropped_attributes += 1;
            }
        }
        self.status = status.unwrap_or(self.status);
    }

    fn end(self, state: &State) -> Span {
        let parent =
            if self.is_request { self.trace.followed(state).map(|parent| parent.span) } else { Some(self.parent) };
        let link = self.trace.parent.filter(|_| self.is_request && self.trace.followed(state).is_none());
        Span {
            trace_id: self.trace.id(state).to_vec(),
            span_id: self.id.to_vec(),
            parent_span_id: parent.map_or_else(Vec::new, |id| id.to_vec()),
            name: self.name,
            kind: if self.is_request { KIND_SERVER } else { KIND_INTERNAL },
            start_time_unix_nano: self.begun,
            end_time_unix_nano: now(),
            attributes: self.attributes,
            dropped_attributes_count: self.dropped_attributes,
            links: link
                .map(|link| Link { trace_id: link.trace.to_vec(), span_id: link.span.to_vec() })
                .into_iter()
                .collect(),
            status: (self.status >= SERVER_ERROR).then_some(Status { code: STATUS_ERROR }),
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut told = Told::default();
        attributes.record(&mut told);
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<Open>().map(|open| (Arc::clone(&open.trace), open.id))
        });
        let open = match above {
            Some((trace, parent)) => self.open(trace, parent, false, told),
            None if attributes.metadata().name() == REQUEST => self.begin(told),
            None => None,
        };
        if let Some(open) = open {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let Some(open) = extensions.get_mut::<Open>() else { return };
        let mut told = Told::default();
        values.record(&mut told);
        if let Some(name) = told.name {
            open.name = name;
        }
        if told.is_trusted.is_some() {
            open.trace.state().is_trusted = told.is_trusted;
        }
        open.add(told.attributes, told.status);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let open = span.extensions_mut().remove::<Open>();
        if let Some(open) = open {
            self.end(open);
        }
    }
}

/// What the fields of a span say.
#[derive(Default)]
struct Told {
    name: Option<String>,
    parent: Option<Parent>,
    is_trusted: Option<bool>,
    status: Option<i64>,
    attributes: Vec<KeyValue>,
    dropped: u32,
}

impl Told {
    fn put(&mut self, field: &Field, value: Value) {
        self.attributes.push(KeyValue::new(field.name(), value));
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

impl Visit for Told {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            FIELD_NAME => self.name = Some(cut(value)),
            FIELD_PARENT => self.parent = Parent::read(value),
            _ => self.put(field, Value::String(cut(value))),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            FIELD_TRUSTED => self.is_trusted = Some(value),
            _ => self.put(field, Value::Bool(value)),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == FIELD_STATUS {
            self.status = Some(value);
        }
        self.put(field, Value::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_i64(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Where in a trace this thread is, for a request that it is about to send. Nothing before it is known whose trace it is.
pub(super) fn current() -> Option<HeaderValue> {
    tracing::Span::current().with_subscriber(|(id, dispatch)| {
        let registry = dispatch.downcast_ref::<Registry>()?;
        let span = registry.span(id)?;
        let extensions = span.extensions();
        let open = extensions.get::<Open>()?;
        let state = open.trace.state();
        if open.trace.parent.is_some() && state.is_trusted.is_none() {
            return None;
        }
        let place = Parent { trace: open.trace.id(&state), span: open.id, is_sampled: open.trace.is_sampled(&state) };
        HeaderValue::from_str(&place.text()).ok()
    })?
}
