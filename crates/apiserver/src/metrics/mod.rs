//! `/metrics` and `/metrics/slis`: what this server counts, what the gate and the others count, as text (upstream:
//! `component-base/metrics`, KEP-1209, KEP-3466).
//!
//! Requests are counted in the gate, which sees those that it refuses, too. Here is counted what only the API server knows: lists,
//! events of watches, bodies, admission, health. Names and labels are upstream's; a label's value is a served resource, a plugin or a
//! check, and never what a client wrote (CVE-2020-8552). docs/metrics.md says which of upstream's metrics there are.
//!
//! Reading order: this file, `text`, `health`, `admission`, `store`, `process`.

pub(crate) mod admission;
pub(crate) mod health;
mod process;
mod store;
mod text;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};
use portcullis_gate::metrics::family::{self, Family, counter, gauge};
use portcullis_gate::metrics::histogram::{Bounds, Histogram};
use portcullis_gate::{Body, ResourceInfo, ResourceNames, Verb, status_response};
use portcullis_model::status::Status;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType};

use self::health::Health;
use crate::registry::{Registry, Served};
use crate::server::ApiServer;
use crate::version;

/// Upper bounds of what a watch sends of one change, in bytes (upstream's).
const EVENT_SIZES: Bounds<8> = Bounds::plain([1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072]);
/// Those of the bodies of requests: every 100,000 bytes up to the limit.
const BODY_SIZES: Bounds<31> = Bounds::plain(body_sizes());
/// Those of the time in which a watch sends what is there.
const WATCH_LISTS: Bounds<17> = Bounds::of_milliseconds([
    50, 100, 200, 400, 600, 800, 1000, 2000, 4000, 6000, 8000, 10000, 15000, 20000, 30000, 45000, 60000,
]);
/// Verbs whose bodies are measured, under upstream's words.
const BODY_VERBS: [(Verb, &str); 5] = [
    (Verb::Create, "create"),
    (Verb::Update, "update"),
    (Verb::Patch, "patch"),
    (Verb::Delete, "delete"),
    (Verb::DeleteCollection, "delete_collection"),
];
/// Scopes of a watch.
const SCOPES: [&str; 3] = ["cluster", "namespace", "resource"];
/// Served resources that upstream calls deprecated. None of them has a release that removes it.
pub(crate) const DEPRECATED: [(&str, &str, &str); 2] = [("", "v1", "componentstatuses"), ("", "v1", "endpoints")];

const fn body_sizes() -> [u64; 31] {
    let (mut steps, mut at) = ([50_000; 31], 1);
    while at < steps.len() {
        steps[at] = steps[at - 1] + 100_000;
        at += 1;
    }
    steps
}

/// What the server counts beside requests.
pub struct Metrics {
    /// By a resource's place in the registry.
    served: Vec<OnceLock<Arc<OfResource>>>,
    pub(crate) health: Health,
}

/// What is counted of one resource.
#[derive(Default)]
pub(crate) struct OfResource {
    /// Lists that words found the objects of, and all others.
    lists: [AtomicU64; 2],
    fetched: [AtomicU64; 2],
    returned: AtomicU64,
    events: AtomicU64,
    event_sizes: Histogram<8>,
    bodies: [Histogram<31>; BODY_VERBS.len()],
    watch_lists: [Histogram<17>; SCOPES.len()],
    is_asked_for: AtomicBool,
}

/// The index of a list, as labels have it.
const INDEXES: [&str; 2] = ["", "words"];

impl OfResource {
    /// Counts an event that a watcher is sent.
    pub(crate) fn event(&self, len: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.event_sizes.observe(&EVENT_SIZES, len as u64);
    }
}

/// A watch that first sends what is there.
pub(crate) struct WatchList {
    counts: Arc<OfResource>,
    scope: usize,
    began: Instant,
}

impl WatchList {
    /// All that is there was sent.
    pub(crate) fn end(self) {
        let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if let Some(durations) = self.counts.watch_lists.get(self.scope) {
            durations.observe(&WATCH_LISTS, took);
        }
    }
}

impl Metrics {
    /// Makes them, at zero.
    pub fn new(registry: &Registry) -> Metrics {
        process::begin();
        Metrics { served: registry.all().iter().map(|_| OnceLock::new()).collect(), health: Health::default() }
    }

    /// Returns the counts of a resource.
    pub(crate) fn of(&self, served: &Served) -> Arc<OfResource> {
        let counts = self.served.get(served.place).map(|counts| counts.get_or_init(Arc::default));
        counts.map_or_else(Arc::default, Arc::clone)
    }

    fn counts(&self, served: &Served) -> Option<&OfResource> {
        Some(self.served.get(served.place)?.get_or_init(Arc::default))
    }

    /// Counts a list: how many objects were looked at, found by words or one by one, and how many were meant.
    pub fn count_list(&self, served: &Served, by_words: bool, fetched: usize, returned: usize) {
        let Some(counts) = self.counts(served) else { return };
        if let (Some(lists), Some(all)) =
            (counts.lists.get(usize::from(by_words)), counts.fetched.get(usize::from(by_words)))
        {
            lists.fetch_add(1, Ordering::Relaxed);
            all.fetch_add(fetched as u64, Ordering::Relaxed);
        }
        counts.returned.fetch_add(returned as u64, Ordering::Relaxed);
    }

    /// Counts a request for a resource, whose body is read.
    pub(crate) fn count_request(&self, served: &Served, info: &ResourceInfo<'_>, body: &Bytes) {
        let Some(counts) = self.counts(served) else { return };
        if !counts.is_asked_for.load(Ordering::Relaxed) {
            counts.is_asked_for.store(true, Ordering::Relaxed);
        }
        let measured = BODY_VERBS.iter().zip(&counts.bodies).find(|((verb, _), _)| *verb == info.verb);
        if let Some((_, sizes)) = measured {
            sizes.observe(&BODY_SIZES, body.len() as u64);
        }
    }

    /// Begins to measure a watch that first sends what is there.
    pub(crate) fn watch_list(&self, served: &Served, info: &ResourceInfo<'_>) -> WatchList {
        let scope = match (info.path_name.is_empty(), info.is_in_namespace) {
            (false, _) => 2,
            (true, true) => 1,
            (true, false) => 0,
        };
        WatchList { counts: self.of(served), scope, began: Instant::now() }
    }
}

/// Which resources are served, by the names that the gate counts them under.
pub fn resource_names(registry: &Registry) -> Vec<ResourceNames> {
    let names = |served: &Served| {
        let resource = served.resource;
        let subresources =
            resource.subresources.iter().map(|subresource| (subresource.name, subresource.verbs.clone())).collect();
        ResourceNames {
            group: resource.group,
            version: resource.version,
            resource: resource.name,
            is_namespaced: resource.namespaced,
            verbs: resource.verbs.clone(),
            subresources,
        }
    };
    registry.all().iter().map(names).collect()
}

/// The names of what is read when somebody asks, so that nobody else in a registry takes one of them.
struct ReadNames(Vec<Desc>);

impl Collector for ReadNames {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        Vec::new()
    }
}

/// Keeps the names of this server's own metrics in the registry of all others. Who registers one of them after this, or before,
/// is told: of two metrics of one name only one would be shown.
///
/// # Errors
/// When one of the names is taken.
pub fn reserve_metric_names(registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
    let desc = |name: &str| Desc::new(name.to_owned(), name.to_owned(), Vec::new(), HashMap::new());
    let all = names(FAMILIES).chain(names(admission::FAMILIES)).chain(names(store::FAMILIES));
    let descs = all.chain(names(process::FAMILIES)).map(desc).collect::<Result<_, _>>()?;
    registry.register(Box::new(ReadNames(descs)))
}

fn names<S>(families: &'static [Family<S>]) -> impl Iterator<Item = &'static str> {
    families.iter().map(|family| family.name)
}

/// Answers `/metrics`: everything that anybody counts. Made on a thread that nobody waits for.
pub(crate) async fn answer(server: &ApiServer, headers: &HeaderMap) -> Response<Body> {
    let mut families = family::read(server, FAMILIES);
    families.extend(family::read(server, admission::FAMILIES));
    families.extend(family::read(&store::Read::new(server), store::FAMILIES));
    let others = server.config.metrics.clone();
    let rest = move || {
        let mut families = families;
        families.extend(family::read(&(), process::FAMILIES));
        families.extend(others.gather());
        families
    };
    respond(headers, rest).await
}

/// Answers `/metrics/slis`: how the health checks went.
pub(crate) async fn answer_slis(server: &ApiServer, headers: &HeaderMap) -> Response<Body> {
    let families = family::read(&server.metrics.health, health::FAMILIES);
    respond(headers, move || families).await
}

async fn respond(headers: &HeaderMap, families: impl FnOnce() -> Vec<MetricFamily> + Send + 'static) -> Response<Body> {
    let (format, gzip) = (text::Format::of(headers), text::takes_gzip(headers));
    let make = move || {
        let mut families = families();
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        // A name stands once, whoever else took it.
        families.dedup_by(|one, other| one.name() == other.name());
        text::respond(&families, format, gzip)
    };
    match tokio::task::spawn_blocking(make).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            status_response(&Status::internal_error("the metrics cannot be written"))
        }
    }
}

/// The resources that anything was counted of.
fn counted(server: &ApiServer) -> impl Iterator<Item = (&Served, &OfResource)> {
    let counts = server.registry.all().iter().zip(&server.metrics.served);
    counts.filter_map(|(served, counts)| Some((served, &**counts.get()?)))
}

fn by_index(server: &ApiServer, values: fn(&OfResource) -> &[AtomicU64; 2]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for (served, counts) in counted(server) {
        for ((index, lists), value) in INDEXES.iter().zip(&counts.lists).zip(values(counts)) {
            if lists.load(Ordering::Relaxed) > 0 {
                let labels = [("group", served.resource.group), ("index", *index), ("resource", served.resource.name)];
                metrics.push(counter(&labels, value.load(Ordering::Relaxed) as f64));
            }
        }
    }
    metrics
}

const FAMILIES: &[Family<ApiServer>] = &[
    Family {
        name: "apiserver_cache_list_total",
        help: "[ALPHA] Lists, by resource and by whether words found the objects.",
        kind: MetricType::COUNTER,
        read: |server| by_index(server, |counts| &counts.lists),
    },
    Family {
        name: "apiserver_cache_list_fetched_objects_total",
        help: "[ALPHA] Objects that lists looked at.",
        kind: MetricType::COUNTER,
        read: |server| by_index(server, |counts| &counts.fetched),
    },
    Family {
        name: "apiserver_cache_list_returned_objects_total",
        help: "[ALPHA] Objects that lists gave.",
        kind: MetricType::COUNTER,
        read: |server| {
            let listed = counted(server)
                .filter(|(_, counts)| counts.lists.iter().any(|lists| lists.load(Ordering::Relaxed) > 0));
            let metric = |(served, counts): (&Served, &OfResource)| {
                let labels = [("group", served.resource.group), ("resource", served.resource.name)];
                counter(&labels, counts.returned.load(Ordering::Relaxed) as f64)
            };
            listed.map(metric).collect()
        },
    },
    Family {
        name: "apiserver_watch_events_total",
        help: "[ALPHA] Events that watchers were sent.",
        kind: MetricType::COUNTER,
        read: |server| {
            let sent = counted(server)
                .map(|(served, counts)| (served, counts.events.load(Ordering::Relaxed)))
                .filter(|(_, events)| *events > 0);
            sent.map(|(served, events)| counter(&versioned(served), events as f64)).collect()
        },
    },
    Family {
        name: "apiserver_watch_events_sizes",
        help: "[ALPHA] Bytes of events that watchers were sent.",
        kind: MetricType::HISTOGRAM,
        read: |server| {
            let read = |(served, counts): (&Served, &OfResource)| {
                Some(family::histogram(&versioned(served), counts.event_sizes.read(&EVENT_SIZES)?))
            };
            counted(server).filter_map(read).collect()
        },
    },
    Family {
        name: "apiserver_watch_list_duration_seconds",
        help: "[BETA] Seconds until a watch that first sends what is there has sent it.",
        kind: MetricType::HISTOGRAM,
        read: |server| {
            let mut metrics = Vec::new();
            for (served, counts) in counted(server) {
                for (scope, durations) in SCOPES.iter().zip(&counts.watch_lists) {
                    let [group, resource, version] = versioned(served);
                    let labels = [group, resource, ("scope", *scope), version];
                    metrics.extend(durations.read(&WATCH_LISTS).map(|read| family::histogram(&labels, read)));
                }
            }
            metrics
        },
    },
    Family {
        name: "apiserver_request_body_size_bytes",
        help: "[ALPHA] Bytes of the bodies of requests, by resource and verb.",
        kind: MetricType::HISTOGRAM,
        read: |server| {
            let mut metrics = Vec::new();
            for (served, counts) in counted(server) {
                for ((_, verb), sizes) in BODY_VERBS.iter().zip(&counts.bodies) {
                    let labels =
                        [("group", served.resource.group), ("resource", served.resource.name), ("verb", *verb)];
                    metrics.extend(sizes.read(&BODY_SIZES).map(|read| family::histogram(&labels, read)));
                }
            }
            metrics
        },
    },
    Family {
        name: "apiserver_requested_deprecated_apis",
        help: "[STABLE] Deprecated resources that somebody asked for.",
        kind: MetricType::GAUGE,
        read: |server| {
            let asked = counted(server).filter(|(served, counts)| {
                let resource = served.resource;
                DEPRECATED.contains(&(resource.group, resource.version, resource.name))
                    && counts.is_asked_for.load(Ordering::Relaxed)
            });
            let metric = |(served, _): (&Served, _)| {
                let [group, resource, version] = versioned(served);
                gauge(&[group, ("removed_release", ""), resource, ("subresource", ""), version], 1.0)
            };
            asked.map(metric).collect()
        },
    },
    Family {
        name: "kubernetes_build_info",
        help: "[BETA] The build; its value is always 1.",
        kind: MetricType::GAUGE,
        read: |server| {
            let version = version::git_version(server.config.build_version);
            let labels = [
                ("build_date", ""),
                ("compiler", "rustc"),
                ("git_commit", ""),
                ("git_tree_state", "clean"),
                ("git_version", &*version),
                ("go_version", ""),
                ("major", version::MAJOR),
                ("minor", version::MINOR),
                ("platform", &*version::platform()),
            ];
            vec![gauge(&labels, 1.0)]
        },
    },
];

fn versioned(served: &Served) -> [(&'static str, &'static str); 3] {
    let resource = served.resource;
    [("group", resource.group), ("resource", resource.name), ("version", resource.version)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_name_is_nobody_elses() {
        let check = |name: &str, expected: bool| {
            let registry = prometheus::Registry::new();
            reserve_metric_names(&registry).unwrap();
            let other = prometheus::IntCounter::new(name, "Something else.").unwrap();
            assert_eq!(registry.register(Box::new(other.clone())).is_ok(), expected, "{name}");
            assert_eq!(registry.gather().len(), usize::from(expected));
            let registry = prometheus::Registry::new();
            registry.register(Box::new(other)).unwrap();
            assert_eq!(reserve_metric_names(&registry).is_ok(), expected, "{name}");
        };
        check("apiserver_cache_list_total", false);
        check("apiserver_storage_objects", false);
        check("process_cpu_seconds_total", false);
        check("portcullis_something_else", true);
    }
}
