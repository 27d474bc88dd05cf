//! How the checks of the health endpoints went, for `/metrics/slis` (KEP-3466).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use portcullis_gate::metrics::family::{Family, counter, gauge};
use prometheus::proto::{Metric, MetricType};

use crate::health::{CHECKS, Check, ENDPOINTS};

/// The checks of one endpoint, by check.
#[derive(Default)]
struct OfCheck {
    succeeded: AtomicU64,
    failed: AtomicU64,
    last: AtomicU8,
}

/// What was seen of each check at each endpoint.
#[derive(Default)]
pub(crate) struct Health([[OfCheck; CHECKS.len()]; ENDPOINTS.len()]);

impl Health {
    /// Counts a check that a request for the whole of an endpoint made.
    pub(crate) fn count(&self, endpoint: &str, check: Check, passes: bool) {
        let endpoint = ENDPOINTS.iter().position(|held| *held == endpoint);
        let check = CHECKS.iter().position(|held| *held == check);
        let (Some(endpoint), Some(check)) = (endpoint, check) else { return };
        let Some(held) = self.0.get(endpoint).and_then(|checks| checks.get(check)) else { return };
        let count = if passes { &held.succeeded } else { &held.failed };
        count.fetch_add(1, Ordering::Relaxed);
        held.last.store(u8::from(passes), Ordering::Relaxed);
    }

    /// Those that were ever made.
    fn made(&self) -> impl Iterator<Item = (&'static str, Check, &OfCheck)> {
        let by_endpoint = ENDPOINTS.iter().zip(&self.0);
        let all = by_endpoint
            .flat_map(|(endpoint, checks)| CHECKS.iter().zip(checks).map(|(check, held)| (*endpoint, *check, held)));
        all.filter(|(.., held)| held.succeeded.load(Ordering::Relaxed) + held.failed.load(Ordering::Relaxed) > 0)
    }

    fn newest(&self) -> Vec<Metric> {
        let metric = |(endpoint, check, held): (&str, Check, &OfCheck)| {
            gauge(&[("name", check.name()), ("type", endpoint)], f64::from(held.last.load(Ordering::Relaxed)))
        };
        self.made().map(metric).collect()
    }

    fn totals(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for (endpoint, check, held) in self.made() {
            for (status, count) in [("error", &held.failed), ("success", &held.succeeded)] {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = [("name", check.name()), ("status", status), ("type", endpoint)];
                    metrics.push(counter(&labels, count as f64));
                }
            }
        }
        metrics
    }
}

pub(super) const FAMILIES: &[Family<Health>] = &[
    Family {
        name: "kubernetes_healthcheck",
        help: "[STABLE] Whether a health check passed when it was last made.",
        kind: MetricType::GAUGE,
        read: Health::newest,
    },
    Family {
        name: "kubernetes_healthchecks_total",
        help: "[STABLE] Health checks by how they went.",
        kind: MetricType::COUNTER,
        read: Health::totals,
    },
];
