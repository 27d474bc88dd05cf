//! `/metrics`: upstream's names, bounded labels. A label's value is a served resource, a known verb or a status code, never a client's text.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use portcullis_gate::{Body, Permitted, status_response};
use portcullis_model::status::Status;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::registry::Served;

/// Upper bounds of request durations, in seconds (upstream's).
const DURATION_BUCKETS: [f64; 19] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListLabels {
    group: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IndexLabels {
    group: &'static str,
    resource: &'static str,
    index: &'static str,
}

/// Counters of what the server does.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    reading: Gauge,
    mutating: Gauge,
    lists: Family<IndexLabels, Counter>,
    fetched: Family<IndexLabels, Counter>,
    returned: Family<ListLabels, Counter>,
}

/// A request being answered. Dropped with it, however it ends.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Makes them, at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<DurationLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(DURATION_BUCKETS)
        });
        let in_flight = Family::<KindLabels, Gauge>::default();
        let help = "Requests by verb, group, version, resource, subresource, scope and code";
        registry.register("apiserver_request", help, requests.clone());
        let help = "Time to answer a request, watches left out, in seconds";
        registry.register("apiserver_request_duration_seconds", help, durations.clone());
        let [reading, mutating] =
            ["readOnly", "mutating"].map(|request_kind| in_flight.get_or_create_owned(&KindLabels { request_kind }));
        registry.register("apiserver_current_inflight_requests", "Requests being answered", in_flight);
        let (lists, fetched) = (Family::<IndexLabels, Counter>::default(), Family::<IndexLabels, Counter>::default());
        let returned = Family::<ListLabels, Counter>::default();
        registry.register(
            "apiserver_cache_list",
            "Lists by resource and by whether words found the objects",
            lists.clone(),
        );
        registry.register("apiserver_cache_list_fetched_objects", "Objects looked at by lists", fetched.clone());
        registry.register("apiserver_cache_list_returned_objects", "Objects given by lists", returned.clone());
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        registry.register("process_start_time_seconds", "When the process started, in seconds since 1970", started);
        Metrics { registry, requests, durations, reading, mutating, lists, fetched, returned }
    }

    /// Counts a list: how many objects were looked at, found by words or one by one, and how many were meant.
    pub fn count_list(&self, served: &Served, by_words: bool, fetched: usize, returned: usize) {
        let (group, resource) = (served.resource.group, served.resource.name);
        let labels = IndexLabels { group, resource, index: if by_words { "words" } else { "" } };
        self.lists.get_or_create(&labels).inc();
        self.fetched.get_or_create(&labels).inc_by(fetched as u64);
        self.returned.get_or_create(&ListLabels { group, resource }).inc_by(returned as u64);
    }

    /// Counts a request in.
    pub fn begin(&self, method: &Method) -> InFlight {
        let gauge = if matches!(*method, Method::GET | Method::HEAD) { &self.reading } else { &self.mutating };
        gauge.inc();
        InFlight(gauge.clone())
    }

    /// Counts a request out.
    pub fn end(
        &self,
        in_flight: InFlight,
        permitted: &Permitted,
        served: Option<&Served>,
        code: StatusCode,
        duration: Duration,
    ) {
        drop(in_flight);
        let labels = labels(permitted, served);
        if labels.verb != "WATCH" {
            self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
        }
        let DurationLabels { verb, group, version, resource, subresource, scope } = labels;
        let labels = RequestLabels { verb, group, version, resource, subresource, scope, code: code.as_u16() };
        self.requests.get_or_create(&labels).inc();
    }

    /// Answers `/metrics`. `rest` are lines of the same format about what is not counted here.
    pub fn answer(&self, rest: &str) -> Response<Body> {
        let mut text = String::with_capacity(16 * 1024);
        if encode(&mut text, &self.registry).is_err() {
            return status_response(&Status::internal_error("the metrics cannot be written"));
        }
        // Memory and processor time are read when somebody asks.
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.insert_str(end, &process_text());
        text.insert_str(end, rest);
        let mut response = Response::new(Body::from(text));
        let content_type = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn labels(permitted: &Permitted, served: Option<&Served>) -> DurationLabels {
    let info = permitted.info().resource();
    let (Some(info), Some(served)) = (info, served) else {
        let verb = if *permitted.method() == Method::GET { "GET" } else { "OTHER" };
        return DurationLabels { verb, group: "", version: "", resource: "", subresource: "", scope: "" };
    };
    let resource = served.resource;
    DurationLabels {
        verb: match info.verb.as_str() {
            "get" => "GET",
            "list" => "LIST",
            "watch" => "WATCH",
            "create" => "POST",
            "update" => "PUT",
            "patch" => "PATCH",
            "delete" => "DELETE",
            "deletecollection" => "DELETECOLLECTION",
            _ => "OTHER",
        },
        group: resource.group,
        version: resource.version,
        resource: resource.name,
        subresource: resource.subresource(info.subresource).map_or("", |subresource| subresource.name),
        scope: if !info.path_name.is_empty() {
            "resource"
        } else if info.namespace.is_empty() {
            "cluster"
        } else {
            "namespace"
        },
    }
}

/// What the system knows about this process; nothing where it has no `/proc`.
fn process_text() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    let mut text = String::new();
    for (name, help, field) in [
        ("process_resident_memory_bytes", "Resident memory", "VmRSS:"),
        ("process_virtual_memory_bytes", "Virtual memory", "VmSize:"),
    ] {
        if let Some(kilobytes) = kilobytes(field) {
            text.push_str(&format!("# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {}\n", kilobytes * 1024));
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let name = "process_open_fds";
        text.push_str(&format!("# HELP {name} Open file descriptors.\n# TYPE {name} gauge\n{name} {}\n", open.count()));
    }
    text
}
