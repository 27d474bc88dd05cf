//! How often each authoriser decided (upstream: `authorization/metrics`). One without an opinion decided nothing and is not counted;
//! nor are system:masters and the public paths, which no operator chose.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::proto::{Metric, MetricType};

use super::{Authorizer, Verdict};
use crate::metrics::family::{Family, counter};

/// The decisions of all authorisers that there ever were, by type and name. There are as many as an operator configured.
#[derive(Default)]
pub(super) struct Decisions(Mutex<BTreeMap<(&'static str, String), Arc<Counts>>>);

/// Those of one authoriser.
#[derive(Default)]
pub(super) struct Counts {
    allowed: AtomicU64,
    denied: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Allow { .. } => self.allowed.fetch_add(1, Ordering::Relaxed),
            Verdict::Deny { .. } => self.denied.fetch_add(1, Ordering::Relaxed),
            Verdict::NoOpinion { .. } => return,
        };
    }
}

impl Decisions {
    /// Returns the counts of an authoriser; those of one that had its type and name before it go on.
    pub(super) fn of(&self, authorizer: &dyn Authorizer) -> Arc<Counts> {
        let kind = authorizer.name();
        let name = authorizer.configured_name().map_or_else(|| kind.to_ascii_lowercase(), str::to_owned);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(held.entry((metric_type(kind), name)).or_default())
    }

    fn metrics(&self) -> Vec<Metric> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metrics = Vec::new();
        for ((kind, name), counts) in &*held {
            for (decision, count) in [("allowed", &counts.allowed), ("denied", &counts.denied)] {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    metrics.push(counter(&[("decision", decision), ("name", name), ("type", kind)], count as f64));
                }
            }
        }
        metrics
    }
}

/// Upstream's word for a type of authoriser.
fn metric_type(name: &'static str) -> &'static str {
    if name == "webhook" { "Webhook" } else { name }
}

pub(super) const FAMILIES: &[Family<Arc<Decisions>>] = &[Family {
    name: "apiserver_authorization_decisions_total",
    help: "[ALPHA] Decisions of authorizers, by type, name and decision.",
    kind: MetricType::COUNTER,
    read: |decisions| decisions.metrics(),
}];
