//! What the gate counts: every request, also one that it refuses, who was let in, and how long each step took (upstream:
//! `endpoints/metrics`, `endpoints/filters/metrics`, `authentication/request/x509`).
//!
//! Names and labels are upstream's. A label's value is known before a request comes (CVE-2020-8551, CVE-2020-8552): see `series`.
//! A count is an addition to a cell that is found by small numbers; nothing here locks. The text is made elsewhere, of what the
//! registry gathers.
//!
//! Reading order: `series` (where a request is counted), `requests` (the cells), [`histogram`], [`family`] (the registry's form). The
//! last two are for others who count, too.

pub mod family;
pub mod histogram;
mod requests;
mod series;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{Response, StatusCode};
use hyper::body::Body as _;
use prometheus::Registry;
use prometheus::proto::{Metric, MetricType};

use self::family::{Families, Family, counter, gauge};
use self::histogram::{Bounds, Histogram};
use self::requests::{Outcome, Requests, measures_answers, nanoseconds};
pub use self::series::ResourceNames;
use self::series::Series;
use crate::arrival::{Arrived, PeerCredential};
use crate::authz::Verdict;
use crate::body::Body;
use crate::live_file::Reload;
use crate::request_info::RequestInfo;

/// Upper bounds of the time that a step takes (upstream's).
const STEP_DURATIONS: Bounds<13> = Bounds::of_microseconds([
    100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 5_000_000, 10_000_000, 15_000_000, 30_000_000,
]);
/// Those of authentication and authorisation.
const JUDGEMENT_DURATIONS: Bounds<15> = Bounds::doubling_milliseconds(1);
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Those of what is left of a client certificate's time, in seconds.
const CERTIFICATE_SECONDS: Bounds<14> = Bounds::plain([
    0,
    HOUR / 2,
    HOUR,
    2 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    4 * DAY,
    7 * DAY,
    30 * DAY,
    90 * DAY,
    180 * DAY,
    360 * DAY,
]);
/// User names that are told apart (upstream's); whoever looks like an address, and all others, are counted together.
const USERS: [&str; 5] = ["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default"];

/// A step of the gate (upstream: a filter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Authentication,
    Audit,
    Impersonation,
    Fairness,
    Authorization,
}

impl Step {
    const ALL: [(Step, &'static str); 5] = [
        (Step::Authentication, "authentication"),
        (Step::Audit, "audit"),
        (Step::Impersonation, "impersonation"),
        (Step::Fairness, "priorityandfairness"),
        (Step::Authorization, "authorization"),
    ];
}

/// What authentication came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authenticated {
    Success,
    /// There was no credential, and none is not enough.
    Failure,
    /// A credential was wrong.
    Error,
}

const AUTHENTICATED: [&str; 3] = ["success", "failure", "error"];

/// What authorisation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authorized {
    Allowed,
    Denied,
    NoOpinion,
}

impl Authorized {
    pub(crate) fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Allow { .. } => Self::Allowed,
            Verdict::Deny { .. } => Self::Denied,
            Verdict::NoOpinion { .. } => Self::NoOpinion,
        }
    }
}

const AUTHORIZED: [&str; 3] = ["allowed", "denied", "no-opinion"];

/// A file whose reloads are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadedFile {
    /// `--authentication-config`.
    Authentication,
    /// `--authorization-config`.
    Authorization,
    /// `--encryption-provider-config`.
    Encryption,
}

/// How often something ended in each of its ways, and how long it took.
struct Judged<const WAYS: usize> {
    counts: [AtomicU64; WAYS],
    durations: [Histogram<15>; WAYS],
}

impl<const WAYS: usize> Judged<WAYS> {
    fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; WAYS], durations: std::array::from_fn(|_| Histogram::new()) }
    }

    fn count(&self, way: usize, took: Duration) {
        if let (Some(count), Some(durations)) = (self.counts.get(way), self.durations.get(way)) {
            count.fetch_add(1, Ordering::Relaxed);
            durations.observe(&JUDGEMENT_DURATIONS, nanoseconds(took));
        }
    }

    fn totals(&self, names: &[&str; WAYS]) -> Vec<Metric> {
        counters("result", names, &self.counts)
    }

    fn durations(&self, names: &[&str; WAYS]) -> Vec<Metric> {
        let read = |(name, durations): (&&str, &Histogram<15>)| {
            Some(family::histogram(&[("result", *name)], durations.read(&JUDGEMENT_DURATIONS)?))
        };
        names.iter().zip(&self.durations).filter_map(read).collect()
    }
}

/// Reloads of one file: that succeeded, that failed.
#[derive(Default)]
struct Reloads {
    counts: [AtomicU64; 2],
    /// Seconds since 1970 of the last one.
    last: [AtomicU64; 2],
}

const RELOADED: [&str; 2] = ["success", "failure"];

impl Reloads {
    fn totals(&self) -> Vec<Metric> {
        self.read(&self.counts, |labels, value| counter(labels, value as f64))
    }

    fn last(&self) -> Vec<Metric> {
        self.read(&self.last, |labels, value| gauge(labels, value as f64))
    }

    fn read(&self, values: &[AtomicU64; 2], metric: fn(&family::Labels<'_>, u64) -> Metric) -> Vec<Metric> {
        let values = RELOADED.iter().zip(values).map(|(status, value)| (*status, value.load(Ordering::Relaxed)));
        // Upstream's label for the server's identity is empty where it has none.
        let read = values.filter(|(_, value)| *value > 0);
        read.map(|(status, value)| metric(&[("apiserver_id_hash", ""), ("status", status)], value)).collect()
    }
}

/// Everything that the gate counts.
pub struct Metrics {
    requests: Requests,
    steps: [Histogram<13>; Step::ALL.len()],
    authenticated: Judged<{ AUTHENTICATED.len() }>,
    authorized: Judged<{ AUTHORIZED.len() }>,
    /// By name, then addresses, then all others.
    users: [AtomicU64; USERS.len() + 2],
    certificates: Histogram<14>,
    authentication_reloads: Reloads,
    authorization_reloads: Reloads,
    encryption_reloads: Reloads,
}

impl Default for Metrics {
    /// Counts that know no resource.
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Metrics {
    /// Makes them, at zero, for these resources. One that is not among them is counted without its name.
    pub fn new(served: &[ResourceNames]) -> Arc<Self> {
        Arc::new(Self::of(served))
    }

    fn of(served: &[ResourceNames]) -> Self {
        Self {
            requests: Requests::new(served),
            steps: std::array::from_fn(|_| Histogram::new()),
            authenticated: Judged::new(),
            authorized: Judged::new(),
            users: [const { AtomicU64::new(0) }; USERS.len() + 2],
            certificates: Histogram::new(),
            authentication_reloads: Reloads::default(),
            authorization_reloads: Reloads::default(),
            encryption_reloads: Reloads::default(),
        }
    }

    /// Gives them to a registry.
    ///
    /// # Errors
    /// When it has metrics of these names already.
    pub fn register(self: &Arc<Self>, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(Families::new(Arc::clone(self), FAMILIES)?))
    }

    /// Begins to count a request.
    pub(crate) fn begin(self: &Arc<Self>) -> Counting {
        Counting {
            metrics: Arc::clone(self),
            // Deadlines count from here too, and theirs is the runtime's time.
            began: tokio::time::Instant::now().into_std(),
            series: OnceLock::new(),
            waited: AtomicU64::new(0),
            code: None,
            size: None,
        }
    }

    /// Begins to measure steps. What came before the first was so little that it is counted with it.
    pub(crate) fn lap(&self, since: Instant) -> Lap<'_> {
        Lap { metrics: self, since }
    }

    /// Counts what authentication came to, and what is left of the certificate that was shown.
    pub(crate) fn authenticated(&self, result: Authenticated, took: Duration) {
        self.authenticated.count(result as usize, took);
    }

    /// Counts a request of a user.
    pub(crate) fn user(&self, name: &str) {
        let known = USERS.iter().position(|user| *user == name);
        let place = known.unwrap_or(if name.contains('@') { USERS.len() } else { USERS.len() + 1 });
        if let Some(count) = self.users.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts what is left of the time of the certificate that a request came with, if it came with one.
    pub(crate) fn certificate(&self, credential: &PeerCredential) {
        let PeerCredential::Certificate(certificate) = credential else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let left = u64::try_from(certificate.not_after()).unwrap_or_default().saturating_sub(now);
        self.certificates.observe(&CERTIFICATE_SECONDS, left);
    }

    /// Counts what authorisation came to.
    pub(crate) fn authorized(&self, result: Authorized, took: Duration) {
        self.authorized.count(result as usize, took);
    }

    /// Counts a look at a file that led to something.
    pub(crate) fn reloaded<E>(&self, file: ReloadedFile, reloaded: &Result<Reload, E>) {
        let reloads = match file {
            ReloadedFile::Authentication => &self.authentication_reloads,
            ReloadedFile::Authorization => &self.authorization_reloads,
            ReloadedFile::Encryption => &self.encryption_reloads,
        };
        let way = match reloaded {
            Ok(Reload::Unchanged) => return,
            Ok(Reload::Replaced) => 0,
            Err(_) => 1,
        };
        if let (Some(count), Some(last)) = (reloads.counts.get(way), reloads.last.get(way)) {
            count.fetch_add(1, Ordering::Relaxed);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            last.store(now.as_secs(), Ordering::Relaxed);
        }
    }

    fn step_metrics(&self) -> Vec<Metric> {
        let read = |((_, name), durations): (&(Step, &str), &Histogram<13>)| {
            Some(family::histogram(&[("filter", *name)], durations.read(&STEP_DURATIONS)?))
        };
        Step::ALL.iter().zip(&self.steps).filter_map(read).collect()
    }

    fn user_metrics(&self) -> Vec<Metric> {
        let [admin, client, proxy, kubelet, account] = USERS;
        counters("username", &[admin, client, proxy, kubelet, account, "email_id", "other"], &self.users)
    }
}

/// Counts of which each has a name; those that are zero are left out, as upstream leaves out what never happened.
fn counters(label: &str, names: &[&str], counts: &[AtomicU64]) -> Vec<Metric> {
    let counts = names.iter().zip(counts).map(|(name, count)| (*name, count.load(Ordering::Relaxed)));
    counts.filter(|(_, count)| *count > 0).map(|(name, count)| counter(&[(label, name)], count as f64)).collect()
}

const FAMILIES: &[Family<Arc<Metrics>>] = &[
    Family {
        name: "apiserver_request_total",
        help: "[STABLE] Requests by verb, dry run, group, version, resource, subresource, scope, component and code.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.requests.totals(),
    },
    Family {
        name: "apiserver_request_duration_seconds",
        help: "[STABLE] Seconds from a request's arrival to its answer, by verb, dry run, group, version, resource, \
               subresource, scope and component.",
        kind: MetricType::HISTOGRAM,
        read: |metrics| metrics.requests.durations(),
    },
    Family {
        name: "apiserver_request_sli_duration_seconds",
        help: "[ALPHA] Seconds from a request's arrival to its answer without those it waited for a seat.",
        kind: MetricType::HISTOGRAM,
        read: |metrics| metrics.requests.sli_durations(),
    },
    Family {
        name: "apiserver_response_sizes",
        help: "[STABLE] Bytes of answers to reads, by group, version, verb, resource, subresource, scope and component.",
        kind: MetricType::HISTOGRAM,
        read: |metrics| metrics.requests.sizes(),
    },
    Family {
        name: "apiserver_longrunning_requests",
        help: "[STABLE] Streams that are open, by verb, group, version, resource, subresource, scope and component.",
        kind: MetricType::GAUGE,
        read: |metrics| metrics.requests.long_running(),
    },
    Family {
        name: "apiserver_current_inflight_requests",
        help: "[STABLE] The most requests that were served at once in the last second, by kind.",
        kind: MetricType::GAUGE,
        read: |metrics| metrics.requests.in_flight_metrics(),
    },
    Family {
        name: "apiserver_current_inqueue_requests",
        help: "[ALPHA] The most requests that waited for a seat at once in the last second, by kind.",
        kind: MetricType::GAUGE,
        read: |metrics| metrics.requests.waiting_metrics(),
    },
    Family {
        name: "apiserver_request_terminations_total",
        help: "[ALPHA] Requests that were ended because their time was over.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.requests.terminations(),
    },
    Family {
        name: "apiserver_request_aborts_total",
        help: "[ALPHA] Requests that ended without an answer: their client or connection was gone.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.requests.aborts(),
    },
    Family {
        name: "apiserver_request_filter_duration_seconds",
        help: "[ALPHA] Seconds that each step before the handler takes.",
        kind: MetricType::HISTOGRAM,
        read: |metrics| metrics.step_metrics(),
    },
    Family {
        name: "authentication_attempts",
        help: "[ALPHA] Authentications by result.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.authenticated.totals(&AUTHENTICATED),
    },
    Family {
        name: "authentication_duration_seconds",
        help: "[ALPHA] Seconds that authentication takes, by result.",
        kind: MetricType::HISTOGRAM,
        read: |metrics| metrics.authenticated.durations(&AUTHENTICATED),
    },
    Family {
        name: "authenticated_user_requests",
        help: "[ALPHA] Requests by user; only a few names are told apart.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.user_metrics(),
    },
    Family {
        name: "authorization_attempts_total",
        help: "[ALPHA] Authorizations by result.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.authorized.totals(&AUTHORIZED),
    },
    Family {
        name: "authorization_duration_seconds",
        help: "[ALPHA] Seconds that authorization takes, by result.",
        kind: MetricType::HISTOGRAM,
        read: |metrics| metrics.authorized.durations(&AUTHORIZED),
    },
    Family {
        name: "apiserver_client_certificate_expiration_seconds",
        help: "[ALPHA] Seconds that are left of the client certificate that a request came with.",
        kind: MetricType::HISTOGRAM,
        read: |metrics| {
            let read = metrics.certificates.read(&CERTIFICATE_SECONDS);
            read.map(|read| family::histogram(&[], read)).into_iter().collect()
        },
    },
    Family {
        name: "apiserver_authentication_config_controller_automatic_reloads_total",
        help: "[BETA] Reloads of the authentication configuration by status.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.authentication_reloads.totals(),
    },
    Family {
        name: "apiserver_authentication_config_controller_automatic_reload_last_timestamp_seconds",
        help: "[BETA] When the authentication configuration was last reloaded, by status.",
        kind: MetricType::GAUGE,
        read: |metrics| metrics.authentication_reloads.last(),
    },
    Family {
        name: "apiserver_authorization_config_controller_automatic_reloads_total",
        help: "[BETA] Reloads of the authorization configuration by status.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.authorization_reloads.totals(),
    },
    Family {
        name: "apiserver_authorization_config_controller_automatic_reload_last_timestamp_seconds",
        help: "[BETA] When the authorization configuration was last reloaded, by status.",
        kind: MetricType::GAUGE,
        read: |metrics| metrics.authorization_reloads.last(),
    },
    Family {
        name: "apiserver_encryption_config_controller_automatic_reloads_total",
        help: "[ALPHA] Reloads of the encryption configuration by status.",
        kind: MetricType::COUNTER,
        read: |metrics| metrics.encryption_reloads.totals(),
    },
    Family {
        name: "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
        help: "[ALPHA] When the encryption configuration was last reloaded, by status.",
        kind: MetricType::GAUGE,
        read: |metrics| metrics.encryption_reloads.last(),
    },
];

/// Measures one step after the other.
pub(crate) struct Lap<'a> {
    metrics: &'a Metrics,
    since: Instant,
}

impl Lap<'_> {
    /// A step is over: counts how long it took, and says it.
    pub(crate) fn end(&mut self, step: Step) -> Duration {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since);
        self.since = now;
        if let Some(durations) = self.metrics.steps.get(step as usize) {
            durations.observe(&STEP_DURATIONS, nanoseconds(took));
        }
        took
    }
}

/// A request that is being counted. It is counted once, when this is dropped: with its answer's code, or as one without an answer.
pub(crate) struct Counting {
    metrics: Arc<Metrics>,
    began: Instant,
    series: OnceLock<Series>,
    /// Nanoseconds.
    waited: AtomicU64,
    code: Option<StatusCode>,
    size: Option<u64>,
}

impl Counting {
    /// Returns when it arrived.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// It is known what the request is about.
    pub(crate) fn located(&self, arrived: &Arrived, info: &RequestInfo) {
        let parts = &arrived.parts;
        let requests = &self.metrics.requests;
        let query = parts.uri.query().unwrap_or_default();
        let series = requests.names().series(info, &parts.method, &parts.headers, query);
        if self.series.set(series).is_err() {
            return;
        }
        match requests.in_flight(series) {
            Some(in_flight) => in_flight.enter(self.began),
            None => requests.change_long_running(series, 1),
        }
    }

    /// Runs a step that may have to wait for others; what it waits is not the server's own time.
    pub(crate) async fn waiting<F: Future>(&self, mut step: Pin<&mut F>) -> F::Output {
        let first = std::future::poll_fn(|context| Poll::Ready(step.as_mut().poll(context))).await;
        if let Poll::Ready(output) = first {
            return output;
        }
        let since = Instant::now();
        let waiting = self.metrics.requests.waiting(self.series());
        let _waiting = waiting.map(|waiting| waiting.hold(since));
        let output = step.await;
        self.waited.store(nanoseconds(since.elapsed()), Ordering::Relaxed);
        output
    }

    /// The answer is made. Gives the count back when it is to be kept until the answer is sent: that of a stream, which ends then.
    pub(crate) fn answered(mut self, response: &mut Response<Body>, is_stream: bool) -> Option<Self> {
        let (series, code) = (self.series(), response.status());
        self.code = Some(code);
        self.size = response.body().size_hint().exact();
        if is_stream && (code.is_success() || code == StatusCode::SWITCHING_PROTOCOLS) {
            return Some(self);
        }
        if self.size.is_none() && measures_answers(series) {
            let metrics = Arc::clone(&self.metrics);
            response.body_mut().measure(Measure { metrics, series, sent: 0 });
        }
        None
    }

    fn series(&self) -> Series {
        self.series.get().copied().unwrap_or(Series::UNREADABLE)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let requests = &self.metrics.requests;
        if let Some(series) = self.series.get() {
            match requests.in_flight(*series) {
                Some(in_flight) => in_flight.leave(),
                None => requests.change_long_running(*series, -1),
            }
        }
        let series = self.series();
        let Some(code) = self.code else { return requests.abort(series) };
        let waited = Duration::from_nanos(*self.waited.get_mut());
        requests.end(series, &Outcome { code, duration: self.began.elapsed(), waited, size: self.size });
    }
}

/// Counts the bytes of an answer whose length is only known when it was sent.
pub(crate) struct Measure {
    metrics: Arc<Metrics>,
    series: Series,
    sent: u64,
}

impl Measure {
    /// So many bytes more.
    pub(crate) fn add(&mut self, len: usize) {
        self.sent = self.sent.saturating_add(len as u64);
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        self.metrics.requests.sent(self.series, self.sent);
    }
}

#[cfg(test)]
mod tests;
