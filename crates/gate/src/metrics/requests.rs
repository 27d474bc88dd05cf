//! The counts of requests, by resource, verb, scope and code. A request finds its cell by three small numbers and adds to it; nothing
//! is locked, hashed or allocated, but for the first request of a series.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use prometheus::proto::Metric;

use super::family::{counter, gauge, histogram};
use super::histogram::{Bounds, Histogram};
use super::series::{DryRun, Names, ResourceNames, SCOPES, Scope, Series, Target, VERBS, Verb};

/// Upper bounds of request durations (upstream's).
const DURATIONS: Bounds<23> = Bounds::of_milliseconds([
    5, 25, 50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 15000, 20000,
    30000, 45000, 60000,
]);
/// Those of what the server itself took.
const SLI_DURATIONS: Bounds<21> = Bounds::of_milliseconds([
    50, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 4000, 5000, 6000, 8000, 10000, 15000, 20000, 30000,
    45000, 60000,
]);
/// Those of answers, in bytes.
const SIZES: Bounds<7> = Bounds::plain([1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000]);
/// The codes that are told apart. Any other is counted under `other`.
const CODES: [u16; 29] = [
    101, 200, 201, 202, 204, 301, 302, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 415, 422,
    429, 431, 500, 502, 503, 504,
];
const SLOTS: usize = VERBS * SCOPES;

/// The cells of one target, by verb and scope; each is made when it is first counted in.
type Slots = [OnceLock<Box<Cell>>; SLOTS];

/// How a request ended.
pub(super) struct Outcome {
    pub(super) code: StatusCode,
    pub(super) duration: Duration,
    /// What of it was spent waiting for others.
    pub(super) waited: Duration,
    /// Bytes of the answer, where they are known already.
    pub(super) size: Option<u64>,
}

/// See the module's text.
pub(super) struct Requests {
    names: Names,
    cells: Vec<OnceLock<Box<Slots>>>,
    in_flight: [Watermark; 2],
    waiting: [Watermark; 2],
}

/// The counts of one series.
struct Cell {
    counts: [OnceLock<Box<Counts>>; DryRun::ALL.len()],
    sli: Histogram<21>,
    sizes: Histogram<7>,
    long_running: AtomicI64,
    terminations: AtomicU64,
    aborts: AtomicU64,
}

/// What is told apart by `dryRun` too.
struct Counts {
    codes: [AtomicU64; CODES.len()],
    other_codes: AtomicU64,
    durations: Histogram<23>,
}

impl Cell {
    fn new() -> Box<Self> {
        Box::new(Self {
            counts: [const { OnceLock::new() }; DryRun::ALL.len()],
            sli: Histogram::new(),
            sizes: Histogram::new(),
            long_running: AtomicI64::new(0),
            terminations: AtomicU64::new(0),
            aborts: AtomicU64::new(0),
        })
    }
}

impl Counts {
    fn new() -> Box<Self> {
        Box::new(Self {
            codes: [const { AtomicU64::new(0) }; CODES.len()],
            other_codes: AtomicU64::new(0),
            durations: Histogram::new(),
        })
    }
}

impl Requests {
    pub(super) fn new(served: &[ResourceNames]) -> Self {
        let names = Names::new(served);
        let cells = names.targets().iter().map(|_| OnceLock::new()).collect();
        let began = Instant::now();
        let watermarks = || [Watermark::new(began), Watermark::new(began)];
        Self { names, cells, in_flight: watermarks(), waiting: watermarks() }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// Those that are served now, of the kind of a series; none for streams.
    pub(super) fn in_flight(&self, series: Series) -> Option<&Watermark> {
        if series.is_long_running { None } else { self.in_flight.get(usize::from(!series.reads())) }
    }

    /// Those that wait for a seat.
    pub(super) fn waiting(&self, series: Series) -> Option<&Watermark> {
        self.waiting.get(usize::from(!series.reads()))
    }

    /// A stream begins (1) or ends (-1).
    pub(super) fn change_long_running(&self, series: Series, by: i64) {
        if let Some(cell) = self.cell(series) {
            cell.long_running.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// A request ended with an answer.
    pub(super) fn end(&self, series: Series, outcome: &Outcome) {
        let Some(cell) = self.cell(series) else { return };
        let Some(counts) = cell.counts.get(series.dry_run as usize) else { return };
        let counts = counts.get_or_init(Counts::new);
        let code = CODES.iter().zip(&counts.codes).find(|(code, _)| outcome.code.as_u16() == **code);
        code.map_or(&counts.other_codes, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
        counts.durations.observe(&DURATIONS, nanoseconds(outcome.duration));
        cell.sli.observe(&SLI_DURATIONS, nanoseconds(outcome.duration.saturating_sub(outcome.waited)));
        if outcome.code == StatusCode::GATEWAY_TIMEOUT {
            cell.terminations.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(size) = outcome.size.filter(|_| measures_answers(series)) {
            cell.sizes.observe(&SIZES, size);
        }
    }

    /// An answer whose length was not known before is sent.
    pub(super) fn sent(&self, series: Series, size: u64) {
        if let Some(cell) = self.cell(series) {
            cell.sizes.observe(&SIZES, size);
        }
    }

    /// A request ended without an answer.
    pub(super) fn abort(&self, series: Series) {
        if let Some(cell) = self.cell(series) {
            cell.aborts.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn cell(&self, series: Series) -> Option<&Cell> {
        let slots = self.cells.get(usize::from(series.target))?;
        let slots = slots.get_or_init(|| Box::new([const { OnceLock::new() }; SLOTS]));
        let cell = slots.get(series.verb as usize * SCOPES + series.scope as usize)?;
        Some(cell.get_or_init(Cell::new))
    }

    /// Every cell that was ever counted in, with its labels.
    fn for_each(&self, mut look: impl FnMut(&Cell, Labels<'_>)) {
        for (target, slots) in self.names.targets().iter().zip(&self.cells) {
            let Some(slots) = slots.get() else { continue };
            let keys = Verb::ALL.iter().flat_map(|verb| Scope::ALL.iter().map(move |scope| (*verb, *scope)));
            for ((verb, scope), cell) in keys.zip(slots.iter()) {
                if let Some(cell) = cell.get() {
                    look(cell, Labels { target, verb, scope });
                }
            }
        }
    }

    fn for_each_counts(&self, mut look: impl FnMut(&Counts, Labels<'_>, &'static str)) {
        self.for_each(|cell, labels| {
            for (dry_run, counts) in DryRun::ALL.iter().zip(&cell.counts) {
                if let Some(counts) = counts.get() {
                    look(counts, labels, dry_run.as_str());
                }
            }
        });
    }

    pub(super) fn totals(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.for_each_counts(|counts, labels, dry_run| {
            let known = CODES.iter().zip(&counts.codes).map(|(code, count)| (code.to_string(), count));
            for (code, count) in known.chain([("other".to_owned(), &counts.other_codes)]) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let [group, resource, scope, subresource, verb, version] = labels.values();
                    let component = ("component", labels.target.component);
                    let labels = [
                        ("code", &*code),
                        component,
                        ("dry_run", dry_run),
                        group,
                        resource,
                        scope,
                        subresource,
                        verb,
                        version,
                    ];
                    metrics.push(counter(&labels, count as f64));
                }
            }
        });
        metrics
    }

    pub(super) fn durations(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.for_each_counts(|counts, labels, dry_run| {
            if let Some(read) = counts.durations.read(&DURATIONS) {
                let [group, resource, scope, subresource, verb, version] = labels.values();
                let component = ("component", labels.target.component);
                let labels = [component, ("dry_run", dry_run), group, resource, scope, subresource, verb, version];
                metrics.push(histogram(&labels, read));
            }
        });
        metrics
    }

    pub(super) fn sli_durations(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.for_each(|cell, labels| {
            metrics.extend(cell.sli.read(&SLI_DURATIONS).map(|read| histogram(&labels.with_component(), read)));
        });
        metrics
    }

    pub(super) fn sizes(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.for_each(|cell, labels| {
            metrics.extend(cell.sizes.read(&SIZES).map(|read| histogram(&labels.with_component(), read)));
        });
        metrics
    }

    pub(super) fn long_running(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.for_each(|cell, labels| {
            if matches!(labels.verb, Verb::Watch | Verb::Connect) {
                metrics.push(gauge(&labels.with_component(), cell.long_running.load(Ordering::Relaxed) as f64));
            }
        });
        metrics
    }

    pub(super) fn terminations(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.for_each(|cell, labels| {
            let count = cell.terminations.load(Ordering::Relaxed);
            if count > 0 {
                let [group, resource, scope, subresource, verb, version] = labels.values();
                let component = ("component", labels.target.component);
                let labels = [("code", "504"), component, group, resource, scope, subresource, verb, version];
                metrics.push(counter(&labels, count as f64));
            }
        });
        metrics
    }

    pub(super) fn aborts(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        self.for_each(|cell, labels| {
            let count = cell.aborts.load(Ordering::Relaxed);
            if count > 0 {
                metrics.push(counter(&labels.values(), count as f64));
            }
        });
        metrics
    }

    pub(super) fn in_flight_metrics(&self) -> Vec<Metric> {
        by_kind(&self.in_flight)
    }

    pub(super) fn waiting_metrics(&self) -> Vec<Metric> {
        by_kind(&self.waiting)
    }
}

/// Only answers to reads are measured, as upstream does.
pub(super) fn measures_answers(series: Series) -> bool {
    matches!(series.verb, Verb::Get | Verb::List)
}

fn by_kind(watermarks: &[Watermark; 2]) -> Vec<Metric> {
    let kinds = ["readOnly", "mutating"].into_iter().zip(watermarks);
    kinds.map(|(kind, watermark)| gauge(&[("request_kind", kind)], watermark.read() as f64)).collect()
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
struct Labels<'a> {
    target: &'a Target,
    verb: Verb,
    scope: Scope,
}

impl Labels<'_> {
    /// In the order in which labels are written.
    fn values(&self) -> [(&'static str, &'static str); 6] {
        [
            ("group", self.target.group),
            ("resource", self.target.resource),
            ("scope", self.scope.as_str()),
            ("subresource", self.target.subresource),
            ("verb", self.verb.as_str()),
            ("version", self.target.version),
        ]
    }

    fn with_component(&self) -> [(&'static str, &'static str); 7] {
        let [group, resource, scope, subresource, verb, version] = self.values();
        [("component", self.target.component), group, resource, scope, subresource, verb, version]
    }
}

/// How many there are now, and the most there were in the last second (upstream's gauges say that).
pub(super) struct Watermark {
    began: Instant,
    now: AtomicI64,
    /// The second that `most` is of.
    second: AtomicU64,
    most: AtomicI64,
    most_before: AtomicI64,
}

/// One more, for as long as this is held.
pub(super) struct Counted<'a>(&'a Watermark);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Watermark {
    fn new(began: Instant) -> Self {
        let zero = || AtomicI64::new(0);
        Self { began, now: zero(), second: AtomicU64::new(0), most: zero(), most_before: zero() }
    }

    /// One more, at `time`.
    pub(super) fn enter(&self, time: Instant) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.turn(time);
        if self.most.load(Ordering::Relaxed) < now {
            self.most.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub(super) fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn hold(&self, time: Instant) -> Counted<'_> {
        self.enter(time);
        Counted(self)
    }

    /// Begins a new second. Two who do so at once may lose a maximum, and nothing else.
    fn turn(&self, time: Instant) {
        let second = time.saturating_duration_since(self.began).as_secs();
        let held = self.second.load(Ordering::Relaxed);
        if held < second && self.second.compare_exchange(held, second, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let most = self.most.swap(self.now.load(Ordering::Relaxed), Ordering::Relaxed);
            // After a whole second without a request, what was most is long ago.
            let before = if held + 1 == second { most } else { self.now.load(Ordering::Relaxed) };
            self.most_before.store(before, Ordering::Relaxed);
        }
    }

    fn read(&self) -> i64 {
        self.turn(Instant::now());
        self.most.load(Ordering::Relaxed).max(self.most_before.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watermark_remembers_one_second() {
        let began = Instant::now();
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        let watermark = Watermark::new(began);
        let read = |time| {
            watermark.turn(time);
            watermark.most.load(Ordering::Relaxed).max(watermark.most_before.load(Ordering::Relaxed))
        };
        for _ in 0..3 {
            watermark.enter(at(10));
        }
        for _ in 0..3 {
            watermark.leave();
        }
        assert_eq!(read(at(900)), 3);
        assert_eq!(read(at(1100)), 3);
        assert_eq!(read(at(2100)), 0);
        watermark.enter(at(2200));
        assert_eq!(read(at(9000)), 1);
        watermark.leave();
        assert_eq!(read(at(11000)), 0);
    }
}
