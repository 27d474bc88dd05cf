//! What is counted of the log.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The counters of both chains; labels are `events` and `strangers`.
#[derive(Clone, Debug)]
pub struct LogMetrics {
    lines: IntCounterVec,
    bytes: IntCounterVec,
    lost: IntCounterVec,
    pub(crate) strangers_dropped: IntCounter,
}

/// The counters of one chain.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) lines: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) lost: IntCounter,
}

impl LogMetrics {
    /// Makes the counters.
    ///
    /// # Errors
    /// Never, with names that are valid.
    pub fn new() -> Result<LogMetrics, prometheus::Error> {
        let counters = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &["log"]);
        Ok(LogMetrics {
            lines: counters("portcullis_audit_log_lines_total", "Lines that were written to the audit log.")?,
            bytes: counters("portcullis_audit_log_bytes_total", "Bytes that were written to the audit log.")?,
            lost: counters("portcullis_audit_log_lost_total", "Events that could not be written to the audit log.")?,
            strangers_dropped: IntCounter::new(
                "portcullis_audit_log_strangers_dropped_total",
                "Events of unauthenticated requests above the rate at which they are recorded.",
            )?,
        })
    }

    /// Adds them to those that are asked for.
    ///
    /// # Errors
    /// When they are there already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.lines.clone()))?;
        registry.register(Box::new(self.bytes.clone()))?;
        registry.register(Box::new(self.lost.clone()))?;
        registry.register(Box::new(self.strangers_dropped.clone()))
    }

    pub(crate) fn of(&self, log: &str) -> Counters {
        let of = |counters: &IntCounterVec| counters.with_label_values(&[log]);
        Counters { lines: of(&self.lines), bytes: of(&self.bytes), lost: of(&self.lost) }
    }
}
