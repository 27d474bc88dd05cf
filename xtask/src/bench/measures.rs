//! What is measured: the figures of one run of a workload, and the meter that takes them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::load::Tally;
use super::process::{Processes, Ticks, own_cpu};
use super::statistics::{each, percentile};

/// After the last answer, before the processor time is read: what a server does behind its answers belongs to them.
const SETTLE: Duration = Duration::from_millis(100);

/// A kind of figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Processor time of the server's processes for one operation, in microseconds. The first of all figures.
    Cpu,
    /// Operations a second.
    Rate,
    /// Half of the operations took at most this many milliseconds; of events, from the request to the event.
    P50,
    /// 99 of 100 did.
    P99,
    /// Bytes of content of one operation.
    Bytes,
    /// Processor time of this client for one operation, in microseconds.
    ClientCpu,
    /// Percent of the server's processor time that passed in the kernel.
    Kernel,
    /// Milliseconds from the start of the process to a 200 of `/readyz`.
    Start,
    /// MiB that the kernel holds for the server.
    Rss,
    /// The most MiB that the server held above what it held before.
    ExtraRss,
    /// KiB of the server's memory for one watcher, its share of a connection included.
    Watcher,
    /// Percent of one core.
    Idle,
    /// MiB of the program's file.
    Program,
}

impl Metric {
    /// Its name for machines, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_us_per_op",
            Self::Rate => "ops_per_second",
            Self::P50 => "p50_ms",
            Self::P99 => "p99_ms",
            Self::Bytes => "bytes_per_op",
            Self::ClientCpu => "client_cpu_us_per_op",
            Self::Kernel => "kernel_percent",
            Self::Start => "start_ms",
            Self::Rss => "rss_mib",
            Self::ExtraRss => "extra_rss_mib",
            Self::Watcher => "kib_per_watcher",
            Self::Idle => "idle_percent_of_core",
            Self::Program => "program_mib",
        }
    }

    /// Whether more is better.
    pub fn rises(self) -> bool {
        self == Self::Rate
    }

    /// Whether it is one of a request's, which have a table of their own.
    pub fn is_of_requests(self) -> bool {
        self <= Self::Kernel
    }
}

/// The figures of one run.
pub type Measures = BTreeMap<Metric, f64>;

/// Reads the processor time before and after.
pub struct Meter<'a> {
    processes: &'a Processes,
    cpu: Duration,
    ticks: Ticks,
    client: Duration,
    begun: Instant,
}

impl<'a> Meter<'a> {
    /// Begins.
    pub fn start(processes: &'a Processes) -> Result<Self> {
        let (client, ticks, cpu) = (own_cpu()?, processes.ticks()?, processes.cpu()?);
        Ok(Self { processes, cpu, ticks, client, begun: Instant::now() })
    }

    /// Ends, and divides by what was done.
    pub async fn finish(self, tally: &Tally) -> Result<Measures> {
        let client = own_cpu()?.saturating_sub(self.client);
        tokio::time::sleep(SETTLE).await;
        let cpu = self.processes.cpu()?.saturating_sub(self.cpu);
        let ticks = self.processes.ticks()?;
        let (user, system) = (ticks.user - self.ticks.user, ticks.system - self.ticks.system);
        let micros = |time: Duration| each(time.as_secs_f64() * 1e6, tally.ops);
        let millis = |percent| percentile(&tally.latencies, percent).unwrap_or_default() as f64 / 1e6;
        Ok(Measures::from([
            (Metric::Cpu, micros(cpu)),
            (Metric::Rate, tally.ops as f64 / tally.wall.as_secs_f64()),
            (Metric::P50, millis(50.0)),
            (Metric::P99, millis(99.0)),
            (Metric::Bytes, each(tally.bytes as f64, tally.ops)),
            (Metric::ClientCpu, micros(client)),
            (Metric::Kernel, each(100.0 * system as f64, user + system)),
        ]))
    }

    /// Ends, of a server that nobody asked anything.
    pub fn idle(self) -> Result<Measures> {
        let cpu = self.processes.cpu()?.saturating_sub(self.cpu);
        let share = cpu.as_secs_f64() / self.begun.elapsed().as_secs_f64();
        Ok(Measures::from([(Metric::Idle, 100.0 * share), (Metric::Rss, mib(self.processes.rss()?))]))
    }
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
