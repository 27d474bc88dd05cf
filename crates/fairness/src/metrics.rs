//! What is counted, under upstream's names and labels (`apiserver_flowcontrol_*`).
//!
//! Labels are names of levels and flow schemas that are configured; those that are gone are taken out. The handles of a flow
//! schema are made when it is configured and kept by its level, so a request looks nothing up here. Not served: figures of
//! upstream's own virtual time (`current_r`, `dispatch_r`, `latest_s`, `next_s_bounds`, `epoch_advance_total`), of its moving
//! limits (`target_seats`, `seat_fair_frac`), `watch_count_samples` and its histograms over time (`*_utilization`, `read_vs_write_current_requests`).

use std::sync::Weak;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use crate::demand::Figures;
use crate::dispatcher::RejectedBecause;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::pool::signed;

const PREFIX: &str = "apiserver_flowcontrol_";
const LEVEL: &str = "priority_level";
const SCHEMA: &str = "flow_schema";
const REASONS: [RejectedBecause; 4] = [
    RejectedBecause::QueueFull,
    RejectedBecause::TimeOut,
    RejectedBecause::ConcurrencyLimit,
    RejectedBecause::Cancelled,
];
const BUCKETS_SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const BUCKETS_QUEUE_LEN: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const BUCKETS_SEATS: [f64; 4] = [1.0, 2.0, 4.0, 10.0];

/// All families.
#[derive(Clone)]
pub(crate) struct Metrics {
    rejected: IntCounterVec,
    dispatched: IntCounterVec,
    no_accommodation: IntCounterVec,
    inqueue_requests: IntGaugeVec,
    inqueue_seats: IntGaugeVec,
    executing_requests: IntGaugeVec,
    executing_seats: IntGaugeVec,
    queue_len: HistogramVec,
    wait_seconds: HistogramVec,
    execution_seconds: HistogramVec,
    work_seats: HistogramVec,
    nominal: IntGaugeVec,
    lower: IntGaugeVec,
    upper: IntGaugeVec,
    current: IntGaugeVec,
    demand_high: GaugeVec,
    demand_average: GaugeVec,
    demand_deviation: GaugeVec,
    demand_smoothed: GaugeVec,
}

/// The handles of one flow schema in one level.
#[derive(Debug)]
pub(crate) struct FlowMeter {
    rejected: [IntCounter; 4],
    pub(crate) dispatched: IntCounter,
    pub(crate) no_accommodation: IntCounter,
    pub(crate) inqueue_requests: IntGauge,
    pub(crate) inqueue_seats: IntGauge,
    pub(crate) executing_requests: IntGauge,
    pub(crate) executing_seats: IntGauge,
    pub(crate) queue_len: Histogram,
    pub(crate) waited_to_execute: Histogram,
    pub(crate) waited_in_vain: Histogram,
    pub(crate) executed: Histogram,
    pub(crate) executed_watch: Histogram,
    pub(crate) work_seats: Histogram,
}

impl FlowMeter {
    pub(crate) fn rejected(&self, because: RejectedBecause) {
        for (reason, counter) in REASONS.iter().zip(&self.rejected) {
            if *reason == because {
                counter.inc();
            }
        }
    }
}

/// The handles of one level.
#[derive(Debug)]
pub(crate) struct LevelMeter {
    nominal: IntGauge,
    lower: IntGauge,
    upper: IntGauge,
    current: IntGauge,
    demand_high: Gauge,
    demand_average: Gauge,
    demand_deviation: Gauge,
    demand_smoothed: Gauge,
}

impl LevelMeter {
    pub(crate) fn limits(&self, limits: Limits) {
        self.nominal.set(signed(limits.nominal));
        self.lower.set(signed(limits.lower));
        self.upper.set(signed(limits.upper));
    }

    /// `current` is how many seats the level could have now.
    pub(crate) fn now(&self, current: u64, demand: Figures) {
        self.current.set(signed(current));
        self.demand_high.set(demand.high_watermark);
        self.demand_average.set(demand.average);
        self.demand_deviation.set(demand.deviation);
        self.demand_smoothed.set(demand.smoothed);
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let flow = &[LEVEL, SCHEMA];
        let level = &[LEVEL];
        Self {
            rejected: counter("rejected_requests_total", "Requests refused", &[LEVEL, SCHEMA, "reason"]),
            dispatched: counter("dispatched_requests_total", "Requests that got seats", flow),
            no_accommodation: counter("request_dispatch_no_accommodation_total", "Requests that had to wait", flow),
            inqueue_requests: gauge("current_inqueue_requests", "Requests in queues", flow),
            inqueue_seats: gauge("current_inqueue_seats", "Seats that requests in queues want", flow),
            executing_requests: gauge("current_executing_requests", "Requests that are served", flow),
            executing_seats: gauge("current_executing_seats", "Seats of requests that are served", flow),
            queue_len: histogram("request_queue_length_after_enqueue", "Length of a queue", &BUCKETS_QUEUE_LEN, flow),
            wait_seconds: seconds("request_wait_duration_seconds", "Time in a queue", "execute"),
            execution_seconds: seconds("request_execution_seconds", "Time in the initial seats", "type"),
            work_seats: histogram("work_estimated_seats", "Seats of a request at its widest", &BUCKETS_SEATS, flow),
            nominal: gauge("nominal_limit_seats", "Own seats", level),
            lower: gauge("lower_limit_seats", "Own seats that are never lent", level),
            upper: gauge("upper_limit_seats", "Seats with all that may be borrowed", level),
            current: gauge("current_limit_seats", "Seats that could be had at this moment", level),
            demand_high: demand("high_watermark", "Most seats wanted in the last period of 10 s"),
            demand_average: demand("average", "Mean of seats wanted in the last period of 10 s"),
            demand_deviation: demand("stdev", "Deviation of seats wanted in the last period of 10 s"),
            demand_smoothed: demand("smoothed", "Seats wanted, smoothed over periods"),
        }
    }

    pub(crate) fn level(&self, level: &str) -> LevelMeter {
        let labels = &[level];
        LevelMeter {
            nominal: self.nominal.with_label_values(labels),
            lower: self.lower.with_label_values(labels),
            upper: self.upper.with_label_values(labels),
            current: self.current.with_label_values(labels),
            demand_high: self.demand_high.with_label_values(labels),
            demand_average: self.demand_average.with_label_values(labels),
            demand_deviation: self.demand_deviation.with_label_values(labels),
            demand_smoothed: self.demand_smoothed.with_label_values(labels),
        }
    }

    pub(crate) fn flow(&self, level: &str, schema: &str) -> FlowMeter {
        let labels = &[level, schema];
        let rejected = REASONS.map(|because| self.rejected.with_label_values(&[level, schema, because.reason()]));
        FlowMeter {
            rejected,
            dispatched: self.dispatched.with_label_values(labels),
            no_accommodation: self.no_accommodation.with_label_values(labels),
            inqueue_requests: self.inqueue_requests.with_label_values(labels),
            inqueue_seats: self.inqueue_seats.with_label_values(labels),
            executing_requests: self.executing_requests.with_label_values(labels),
            executing_seats: self.executing_seats.with_label_values(labels),
            queue_len: self.queue_len.with_label_values(labels),
            waited_to_execute: self.wait_seconds.with_label_values(&[level, schema, "true"]),
            waited_in_vain: self.wait_seconds.with_label_values(&[level, schema, "false"]),
            executed: self.execution_seconds.with_label_values(&[level, schema, "regular"]),
            executed_watch: self.execution_seconds.with_label_values(&[level, schema, "watch"]),
            work_seats: self.work_seats.with_label_values(labels),
        }
    }

    /// A level is gone.
    pub(crate) fn forget_level(&self, level: &str) {
        let labels = &[level];
        for vec in [&self.nominal, &self.lower, &self.upper, &self.current] {
            let _ = vec.remove_label_values(labels);
        }
        let demand = [&self.demand_high, &self.demand_average, &self.demand_deviation, &self.demand_smoothed];
        for vec in demand {
            let _ = vec.remove_label_values(labels);
        }
    }

    /// A flow schema is gone, or has another level.
    pub(crate) fn forget_flow(&self, level: &str, schema: &str) {
        let labels = &[level, schema];
        for because in REASONS {
            let _ = self.rejected.remove_label_values(&[level, schema, because.reason()]);
        }
        for vec in [&self.dispatched, &self.no_accommodation] {
            let _ = vec.remove_label_values(labels);
        }
        let gauges = [&self.inqueue_requests, &self.inqueue_seats, &self.executing_requests, &self.executing_seats];
        for vec in gauges {
            let _ = vec.remove_label_values(labels);
        }
        for vec in [&self.queue_len, &self.work_seats] {
            let _ = vec.remove_label_values(labels);
        }
        for execute in ["true", "false"] {
            let _ = self.wait_seconds.remove_label_values(&[level, schema, execute]);
        }
        for kind in ["regular", "watch"] {
            let _ = self.execution_seconds.remove_label_values(&[level, schema, kind]);
        }
    }

    fn families(&self) -> [&dyn Collector; 19] {
        [
            &self.rejected,
            &self.dispatched,
            &self.no_accommodation,
            &self.inqueue_requests,
            &self.inqueue_seats,
            &self.executing_requests,
            &self.executing_seats,
            &self.queue_len,
            &self.wait_seconds,
            &self.execution_seconds,
            &self.work_seats,
            &self.nominal,
            &self.lower,
            &self.upper,
            &self.current,
            &self.demand_high,
            &self.demand_average,
            &self.demand_deviation,
            &self.demand_smoothed,
        ]
    }
}

// Names, labels and buckets are constants: what is made once can always be made, so nothing here fails while a server runs.
const MADE: &str = "a family of constants";

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("{PREFIX}{name}"), help)
}

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(opts(name, help), labels).expect(MADE)
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(opts(name, help), labels).expect(MADE)
}

fn demand(name: &str, help: &str) -> GaugeVec {
    GaugeVec::new(opts(&format!("demand_seats_{name}"), help), &[LEVEL]).expect(MADE)
}

fn histogram(name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts { common_opts: opts(name, help), buckets: buckets.to_vec() };
    HistogramVec::new(opts, labels).expect(MADE)
}

fn seconds(name: &str, help: &str, label: &str) -> HistogramVec {
    histogram(name, help, &BUCKETS_SECONDS, &[LEVEL, SCHEMA, label])
}

/// Gives the families to who collects, the figures of this moment put right first.
struct Exposition {
    metrics: Metrics,
    hub: Weak<Hub>,
}

impl Collector for Exposition {
    fn desc(&self) -> Vec<&Desc> {
        self.metrics.families().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        if let Some(hub) = self.hub.upgrade() {
            hub.measure();
        }
        let families = self.metrics.families().into_iter().flat_map(Collector::collect);
        families.filter(|family| !family.get_metric().is_empty()).collect()
    }
}

pub(crate) fn register(metrics: &Metrics, hub: Weak<Hub>, registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Exposition { metrics: metrics.clone(), hub }))
}
