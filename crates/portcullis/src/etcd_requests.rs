//! How long etcd takes for commits, by what they do and to which resource (upstream: `etcd3/metrics`). The rest that is asked of etcd is
//! not a resource's: one question serves all readers who wait, and one watch all watchers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Result;
use portcullis_gate::metrics::family::{Families, Family, counter, histogram};
use portcullis_gate::metrics::histogram::{Bounds, Histogram};
use portcullis_store::engine::BoxFuture;
use portcullis_store::{Catalog, Change, Commit, CommitError, Committed, Condition, Engine};
use prometheus::proto::{Metric, MetricType};

use crate::commits::Around;

/// Upper bounds of the time that a request takes (upstream's).
const DURATIONS: Bounds<23> = Bounds::of_milliseconds([
    5, 25, 50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10_000, 15_000, 20_000,
    30_000, 45_000, 60_000,
]);

/// What a commit does: with the first of what it writes, which is what was asked for.
const OPERATIONS: [&str; 3] = ["create", "delete", "update"];

/// Requests for one operation on one resource.
#[derive(Default)]
struct Requests {
    durations: Histogram<23>,
    errors: AtomicU64,
}

/// Counts of what was asked of etcd.
pub(crate) struct EtcdRequests {
    catalog: Arc<dyn Catalog>,
    /// By resource, in the catalog's order; made when it is first written.
    resources: Box<[OnceLock<Box<[Requests; OPERATIONS.len()]>>]>,
}

impl EtcdRequests {
    pub(crate) fn new(catalog: Arc<dyn Catalog>) -> Arc<Self> {
        let resources = (0..catalog.rings()).map(|_| OnceLock::new()).collect();
        Arc::new(Self { catalog, resources })
    }

    /// Has everything counted shown.
    pub(crate) fn register(self: &Arc<Self>, registry: &prometheus::Registry) -> Result<()> {
        registry.register(Box::new(Families::new(Arc::clone(self), FAMILIES)?))?;
        Ok(())
    }

    fn of(&self, commit: &Commit) -> Option<&Requests> {
        let is_written = |change: &Change| !matches!(change, Change::Check);
        let asked = commit.operations.iter().find(|operation| is_written(&operation.change))?;
        let operation = match (&asked.change, &asked.condition) {
            (Change::Put(_), Condition::Absent) => 0,
            (Change::Put(_), _) => 2,
            (Change::Delete | Change::Check, _) => 1,
        };
        let resource = self.resources.get(self.catalog.ring(&asked.key))?;
        resource.get_or_init(Box::default).get(operation)
    }

    fn read(&self, metric: impl Fn(&[(&str, &str); 3], &Requests) -> Option<Metric>) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for (ring, requests) in self.resources.iter().enumerate() {
            let Some(requests) = requests.get() else { continue };
            let name = self.catalog.ring_name(ring);
            let (resource, group) = name.split_once('.').unwrap_or((name, ""));
            for (operation, requests) in OPERATIONS.iter().zip(&**requests) {
                let labels = [("group", group), ("operation", *operation), ("resource", resource)];
                metrics.extend(metric(&labels, requests));
            }
        }
        metrics
    }
}

/// Whether etcd was asked, and whether that went wrong. A condition that does not hold is an answer like any other.
fn judge(committed: &Result<Committed, CommitError>) -> Option<bool> {
    match committed {
        Ok(_) | Err(CommitError::Conflict { .. }) => Some(true),
        Err(
            CommitError::Unreachable { .. }
            | CommitError::OutcomeUnknown { .. }
            | CommitError::Rejected { .. }
            | CommitError::StorageFull { .. },
        ) => Some(false),
        Err(
            CommitError::Refused(_) | CommitError::QueueFull | CommitError::MemoryFull { .. } | CommitError::Closed,
        ) => None,
    }
}

impl Around for Arc<EtcdRequests> {
    fn commit<'a>(&'a self, engine: &'a dyn Engine, commit: Commit) -> BoxFuture<'a, Result<Committed, CommitError>> {
        let requests = self.of(&commit);
        Box::pin(async move {
            let begun = Instant::now();
            let committed = engine.commit(commit).await;
            if let (Some(requests), Some(is_well)) = (requests, judge(&committed)) {
                let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                requests.durations.observe(&DURATIONS, took);
                requests.errors.fetch_add(u64::from(!is_well), Ordering::Relaxed);
            }
            committed
        })
    }
}

const FAMILIES: &[Family<Arc<EtcdRequests>>] = &[
    Family {
        name: "etcd_request_duration_seconds",
        help: "[ALPHA] How long etcd takes for a commit, by operation and resource.",
        kind: MetricType::HISTOGRAM,
        read: |requests| requests.read(|labels, of| Some(histogram(labels, of.durations.read(&DURATIONS)?))),
    },
    Family {
        name: "etcd_requests_total",
        help: "[ALPHA] Commits that etcd was asked for, by operation and resource.",
        kind: MetricType::COUNTER,
        read: |requests| {
            let count = |of: &Requests| Some(of.durations.read(&DURATIONS)?.get_sample_count());
            requests.read(|labels, of| Some(counter(labels, count(of)? as f64)))
        },
    },
    Family {
        name: "etcd_request_errors_total",
        help: "[ALPHA] Commits that etcd refused or did not answer, by operation and resource.",
        kind: MetricType::COUNTER,
        read: |requests| {
            let count = |of: &Requests| Some(of.errors.load(Ordering::Relaxed)).filter(|count| *count > 0);
            requests.read(|labels, of| Some(counter(labels, count(of)? as f64)))
        },
    },
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use portcullis_apiserver::registry::Registry;
    use portcullis_store::Operation;
    use portcullis_store::embedded::{Embedded, Options};

    use super::*;
    use crate::commits::Attended;

    #[tokio::test]
    async fn commits_are_counted_by_what_they_do() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Arc::new(portcullis_apiserver::Catalog::new(Arc::new(Registry::new())));
        let requests = EtcdRequests::new(catalog);
        let engine = Embedded::open(Options::new(directory.path().join("store"))).unwrap();
        let store = Attended(Arc::new(engine), Arc::clone(&requests));
        let key = "/registry/deployments/default/a";
        let value = Bytes::from_static(b"{}");
        let space = Operation::check("/registry/namespaces/default", Condition::Absent);
        let created = vec![space, Operation::create(key, value.clone())];
        let revision = store.commit(created.into()).await.unwrap().revision;
        // It is there already: an answer, and no error.
        assert!(store.commit(Operation::create(key, value.clone()).into()).await.is_err());
        store.commit(Operation::update(key, revision, value.clone()).into()).await.unwrap();
        store.close().await;
        // It was asked nothing.
        assert!(store.commit(Operation::create(key, value).into()).await.is_err());
        let check = |operation: &str, expected: u64| {
            let place = OPERATIONS.iter().position(|name| *name == operation).unwrap();
            let resources = requests.resources.iter().filter_map(OnceLock::get);
            let counts = resources.filter_map(|of| of[place].durations.read(&DURATIONS));
            assert_eq!(counts.map(|read| read.get_sample_count()).sum::<u64>(), expected, "{operation}");
        };
        check("create", 2);
        check("update", 1);
        check("delete", 0);
        let registry = prometheus::Registry::new();
        requests.register(&registry).unwrap();
        let families = registry.gather();
        let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
        assert_eq!(names, ["etcd_request_duration_seconds", "etcd_requests_total"]);
        let labels: Vec<(&str, &str)> =
            families[1].get_metric()[0].get_label().iter().map(|label| (label.name(), label.value())).collect();
        assert_eq!(labels, [("group", "apps"), ("operation", "create"), ("resource", "deployments")]);
    }

    #[test]
    fn what_is_an_error_of_etcd() {
        let check = |error: CommitError, expected: Option<bool>| assert_eq!(judge(&Err(error)), expected);
        check(CommitError::Unreachable { source: "gone".into() }, Some(false));
        check(CommitError::OutcomeUnknown { source: "gone".into() }, Some(false));
        check(CommitError::Conflict { key: "a".into(), current: None }, Some(true));
        check(CommitError::QueueFull, None);
    }
}
