//! Opens records and gives their events to the sinks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use prometheus::Registry;

use crate::attributes::Attributes;
use crate::event::Event;
use crate::metrics::Metrics;
use crate::policy::{Decided, Level, Policy};
use crate::record::{NewRecord, Record};
use crate::sink::{Sink, Taken, Unrecorded};

/// What happens to requests that can not be recorded. Strangers' requests go on in any case: they change nothing, and nobody who
/// is not known may stop the server by filling a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Those that change something are refused.
    #[default]
    RefuseWrites,
    /// All are refused.
    RefuseAll,
    /// They go on.
    Ignore,
}

/// What decides which requests are recorded, and where.
pub struct Auditor {
    policy: ArcSwap<Policy>,
    places: Vec<Place>,
    on_error: OnError,
    metrics: Option<Metrics>,
}

/// A sink, and whether it took the last event: the log says when that changes, and not with each event.
struct Place {
    sink: Box<dyn Sink>,
    is_failing: AtomicBool,
}

impl Auditor {
    /// Records by a policy into sinks; writes are refused when they can not be recorded.
    pub fn new(policy: Policy, sinks: Vec<Box<dyn Sink>>) -> Arc<Self> {
        Self::with(policy, sinks, OnError::default())
    }

    /// Records by a policy into sinks.
    pub fn with(policy: Policy, sinks: Vec<Box<dyn Sink>>, on_error: OnError) -> Arc<Self> {
        let metrics = Metrics::make();
        if let Some(metrics) = &metrics {
            sinks.iter().for_each(|sink| sink.count_losses(&metrics.errors_of(sink.name())));
        }
        let places = sinks.into_iter().map(|sink| Place { sink, is_failing: AtomicBool::new(false) }).collect();
        Arc::new(Self { policy: ArcSwap::from_pointee(policy), places, on_error, metrics })
    }

    /// Records nothing.
    pub fn none() -> Arc<Self> {
        Self::new(Policy::default(), Vec::new())
    }

    /// Puts another policy in force, for requests whose record is not open yet.
    pub fn replace_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Shows what is counted.
    ///
    /// # Errors
    /// The registry has one of these names already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        self.metrics.as_ref().map_or(Ok(()), |metrics| metrics.register(registry))
    }

    /// Says whether there is anything to record into.
    pub fn has_sinks(&self) -> bool {
        !self.places.is_empty()
    }

    /// Decides how much of a request is recorded; `None` when nothing is. What only a record needs to know is worth finding out
    /// after this.
    pub fn decide(&self, attributes: &Attributes<'_>) -> Option<Decided> {
        if !self.has_sinks() {
            return None;
        }
        let decided = self.policy.load().decide(attributes);
        if let Some(metrics) = &self.metrics {
            metrics.level(decided.level);
        }
        Some(decided).filter(|decided| decided.level > Level::None)
    }

    /// Opens the record of a request, of which was decided already.
    pub fn open_as(self: &Arc<Self>, request: &NewRecord<'_>, decided: Decided) -> Record {
        Record::new(Arc::clone(self), request, decided)
    }

    /// Decides about a request and opens its record.
    pub fn open(self: &Arc<Self>, request: &NewRecord<'_>) -> Record {
        self.decide(&request.attributes).map_or_else(Record::none, |decided| self.open_as(request, decided))
    }

    /// Says whether what changes something could be recorded now.
    pub fn may_write(&self) -> bool {
        self.places.iter().all(|place| place.sink.is_ready())
    }

    /// Says whether a request may go on whose record is `record`: what it does can be recorded, or need not be, or the operator
    /// does not mind.
    pub fn lets_pass(&self, attributes: &Attributes<'_>, record: &Record) -> bool {
        let is_refused = match self.on_error {
            OnError::Ignore => false,
            OnError::RefuseAll => !self.may_write(),
            OnError::RefuseWrites => !self.may_write() && attributes.changes_something(),
        };
        let passes = !is_refused || record.level() == Level::None || attributes.is_stranger();
        if !passes {
            self.count_rejected();
        }
        passes
    }

    pub(crate) fn count_rejected(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.rejected();
        }
    }

    /// Gives an event to all sinks, one after the other.
    ///
    /// # Errors
    /// When a strict one did not take it.
    pub(crate) async fn give(&self, event: &Event) -> Result<(), Unrecorded> {
        if let Some(metrics) = &self.metrics {
            metrics.event();
        }
        let mut given = Ok(());
        for place in &self.places {
            let taken = match place.sink.take(event) {
                Taken::Now(taken) => taken,
                Taken::Later(taken) => taken.await,
            };
            self.note(place, &taken);
            if place.sink.is_strict() && taken.is_err() {
                given = taken;
            }
        }
        given
    }

    fn note(&self, place: &Place, taken: &Result<(), Unrecorded>) {
        let (is_failing, plugin) = (taken.is_err(), place.sink.name());
        if is_failing && let Some(metrics) = &self.metrics {
            metrics.error(plugin);
        }
        // Read first: nearly always nothing changed, and a write would take the line from the other processors.
        if place.is_failing.load(Ordering::Relaxed) == is_failing {
            return;
        }
        place.is_failing.store(is_failing, Ordering::Relaxed);
        match taken {
            Err(error) => tracing::error!(plugin, reason = error.reason, "audit events are not recorded"),
            Ok(()) => tracing::warn!(plugin, "audit events are recorded again"),
        }
    }
}
