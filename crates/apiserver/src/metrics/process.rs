//! What the system knows about this process, under the names of the Prometheus process collector. Nothing where there is no `/proc`.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_gate::metrics::family::{Family, counter, gauge};
use prometheus::proto::{Metric, MetricType};

/// Clock ticks a second: what Linux shows to programs is always in these.
const TICKS_PER_SECOND: f64 = 100.0;
/// Places in `/proc/self/stat` after the name of the program.
const STAT_USER_TICKS: usize = 11;
const STAT_SYSTEM_TICKS: usize = 12;

/// Notes when the process began, as far as it is known.
pub(super) fn begin() {
    STARTED.get_or_init(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
}

static STARTED: OnceLock<f64> = OnceLock::new();

pub(super) const FAMILIES: &[Family<()>] = &[
    Family {
        name: "process_cpu_seconds_total",
        help: "Processor time, in seconds.",
        kind: MetricType::COUNTER,
        read: |()| processor_seconds().map(|seconds| counter(&[], seconds)).into_iter().collect(),
    },
    Family {
        name: "process_max_fds",
        help: "File descriptors that may be open.",
        kind: MetricType::GAUGE,
        read: |()| one(files_max()).into_iter().collect(),
    },
    Family {
        name: "process_open_fds",
        help: "File descriptors that are open.",
        kind: MetricType::GAUGE,
        read: |()| one(files_open()).into_iter().collect(),
    },
    Family {
        name: "process_resident_memory_bytes",
        help: "Memory that is resident, in bytes.",
        kind: MetricType::GAUGE,
        read: |()| one(status_bytes("VmRSS:")).into_iter().collect(),
    },
    Family {
        name: "process_start_time_seconds",
        help: "When the process began, in seconds since 1970.",
        kind: MetricType::GAUGE,
        read: |()| one(STARTED.get().copied()).into_iter().collect(),
    },
    Family {
        name: "process_virtual_memory_bytes",
        help: "Memory that is mapped, in bytes.",
        kind: MetricType::GAUGE,
        read: |()| one(status_bytes("VmSize:")).into_iter().collect(),
    },
];

fn one(value: Option<f64>) -> Option<Metric> {
    Some(gauge(&[], value?))
}

fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
    Some((ticks(STAT_USER_TICKS)? + ticks(STAT_SYSTEM_TICKS)?) / TICKS_PER_SECOND)
}

fn files_max() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn files_open() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

fn status_bytes(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes: f64 =
        status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}
