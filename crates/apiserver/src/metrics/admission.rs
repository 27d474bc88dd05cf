//! How long admission takes, by plugin and by pass (upstream: `admission/metrics`).

use std::time::Instant;

use portcullis_gate::metrics::family::{self, Family};
use portcullis_gate::metrics::histogram::{Bounds, Histogram};
use prometheus::proto::{Metric, MetricType};

use crate::admission::Operation;
use crate::server::ApiServer;

/// Upper bounds (upstream's).
const DURATIONS: Bounds<6> = Bounds::of_milliseconds([5, 25, 100, 500, 1000, 2500]);

/// A pass over the plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Admit,
    Validate,
}

impl Pass {
    const ALL: [(Pass, &'static str); 2] = [(Pass::Admit, "admit"), (Pass::Validate, "validate")];
}

/// Durations by operation, then by pass, then by whether the write was refused.
#[derive(Default)]
pub(crate) struct Durations([[[Histogram<6>; 2]; Pass::ALL.len()]; Operation::ALL.len()]);

impl Durations {
    /// Counts what began at `begun`, and returns when it ended.
    pub(crate) fn count(&self, operation: Operation, pass: Pass, is_refused: bool, begun: Instant) -> Instant {
        let ended = Instant::now();
        let of = self.0.get(operation as usize).and_then(|passes| passes.get(pass as usize));
        if let Some(durations) = of.and_then(|outcomes| outcomes.get(usize::from(is_refused))) {
            let took = ended.saturating_duration_since(begun).as_nanos();
            durations.observe(&DURATIONS, u64::try_from(took).unwrap_or(u64::MAX));
        }
        ended
    }

    fn read(&self, name: Option<&str>, metrics: &mut Vec<Metric>) {
        for (operation, passes) in Operation::ALL.iter().zip(&self.0) {
            for ((_, pass), outcomes) in Pass::ALL.iter().zip(passes) {
                for (rejected, durations) in ["false", "true"].iter().zip(outcomes) {
                    let Some(read) = durations.read(&DURATIONS) else { continue };
                    let labels = [("operation", operation.as_str()), ("rejected", *rejected), ("type", *pass)];
                    let mut named: Vec<_> = name.map(|name| ("name", name)).into_iter().collect();
                    named.extend(labels);
                    metrics.push(family::histogram(&named, read));
                }
            }
        }
    }
}

pub(super) const FAMILIES: &[Family<ApiServer>] = &[
    Family {
        name: "apiserver_admission_controller_admission_duration_seconds",
        help: "[STABLE] Seconds that an admission plugin takes, by plugin, operation, pass and whether it refused.",
        kind: MetricType::HISTOGRAM,
        read: |server| {
            let mut metrics = Vec::new();
            for (name, durations) in server.admission.plugin_durations() {
                durations.read(Some(name), &mut metrics);
            }
            metrics
        },
    },
    Family {
        name: "apiserver_admission_step_admission_duration_seconds",
        help: "[STABLE] Seconds that a pass over all admission plugins takes, by operation, pass and whether one refused.",
        kind: MetricType::HISTOGRAM,
        read: |server| {
            let mut metrics = Vec::new();
            server.admission.step_durations().read(None, &mut metrics);
            metrics
        },
    },
];
