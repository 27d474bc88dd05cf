//! What is counted, under upstream's names.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::policy::Level;

/// The counters of one auditor.
pub(crate) struct Metrics {
    events: IntCounter,
    errors: IntCounterVec,
    levels: IntCounterVec,
    rejected: IntCounter,
    /// Those of `levels`, in the order of [`Level`]: each request counts one.
    by_level: [IntCounter; Level::ALL.len()],
}

impl Metrics {
    fn new() -> Result<Self, prometheus::Error> {
        let levels = IntCounterVec::new(
            Opts::new("apiserver_audit_level_total", "Requests by the level that the audit policy gave them."),
            &["level"],
        )?;
        let errors = IntCounterVec::new(
            Opts::new("apiserver_audit_error_total", "Audit events that a backend did not record."),
            &["plugin"],
        )?;
        Ok(Self {
            events: IntCounter::new("apiserver_audit_event_total", "Audit events that were given to the backends.")?,
            rejected: IntCounter::new(
                "apiserver_audit_requests_rejected_total",
                "Requests that were refused because they could not be recorded.",
            )?,
            by_level: Level::ALL.map(|level| levels.with_label_values(&[level.as_str()])),
            errors,
            levels,
        })
    }

    /// The counters; none when their names were no names, which a test rules out.
    pub(crate) fn make() -> Option<Self> {
        Self::new().ok()
    }

    pub(crate) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.events.clone()))?;
        registry.register(Box::new(self.errors.clone()))?;
        registry.register(Box::new(self.levels.clone()))?;
        registry.register(Box::new(self.rejected.clone()))
    }

    pub(crate) fn event(&self) {
        self.events.inc();
    }

    /// `plugin` is the name of a sink.
    pub(crate) fn error(&self, plugin: &'static str) {
        self.errors.with_label_values(&[plugin]).inc();
    }

    /// The counter of a sink's errors.
    pub(crate) fn errors_of(&self, plugin: &'static str) -> IntCounter {
        self.errors.with_label_values(&[plugin])
    }

    pub(crate) fn level(&self, level: Level) {
        if let Some(counter) = self.by_level.get(level as usize) {
            counter.inc();
        }
    }

    pub(crate) fn rejected(&self) {
        self.rejected.inc();
    }
}
