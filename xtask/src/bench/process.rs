//! What the kernel knows about the processes of a server: processor time and memory. Linux only.
//!
//! Processor time is what `utime` and `stime` of `/proc/PID/stat` add up to, read from the process's own clock because that
//! counts nanoseconds where the file counts hundredths of a second. How it divides into program and kernel is the file's.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Between two looks at the memory of a server under load.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(5);

/// The processes that make up one server; what they use is added up.
#[derive(Clone, Debug)]
pub struct Processes(pub Vec<u32>);

/// Processor time by where it was spent, in ticks of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// In the program.
    pub user: u64,
    /// In the kernel, for the program.
    pub system: u64,
}

impl Processes {
    /// Processor time since they started, threads that have ended included.
    pub fn cpu(&self) -> Result<Duration> {
        let of = |id: &u32| -> Result<Duration> {
            let id = Pid::from_raw(i32::try_from(*id)?);
            let clock = ClockId::pid_cpu_clock_id(id).with_context(|| format!("no process {id}"))?;
            Ok(clock_gettime(clock).with_context(|| format!("no clock of process {id}"))?.into())
        };
        self.0.iter().map(of).sum()
    }

    /// The same by where it was spent.
    pub fn ticks(&self) -> Result<Ticks> {
        let mut all = Ticks::default();
        for id in &self.0 {
            let file = format!("/proc/{id}/stat");
            let stat = fs::read_to_string(&file).with_context(|| file.clone())?;
            let ticks = parse_stat(&stat).with_context(|| format!("{file} has no times: {stat:?}"))?;
            all = Ticks { user: all.user + ticks.user, system: all.system + ticks.system };
        }
        Ok(all)
    }

    /// Bytes of memory that the kernel holds for them, pages of the program's file included.
    pub fn rss(&self) -> Result<u64> {
        let of = |id: &u32| -> Result<u64> {
            let file = format!("/proc/{id}/status");
            let status = fs::read_to_string(&file).with_context(|| file.clone())?;
            parse_status(&status, "VmRSS").with_context(|| format!("{file} has no VmRSS"))
        };
        self.0.iter().map(of).sum()
    }
}

/// Processor time of this process: what the measuring itself costs.
pub fn own_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// `utime` and `stime`, fields 14 and 15. The second field is a name in parentheses that may hold both spaces and
/// parentheses, so counting starts after the last one.
fn parse_stat(stat: &str) -> Option<Ticks> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(14 - 3);
    Some(Ticks { user: fields.next()?.parse().ok()?, system: fields.next()?.parse().ok()? })
}

/// A line of `/proc/PID/status` that counts KiB, in bytes.
fn parse_status(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Watches the memory of a server while something else goes on.
pub struct MemorySampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl MemorySampler {
    /// Starts to look.
    pub fn start(processes: Processes) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = processes.rss()?;
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(SAMPLE_INTERVAL);
                peak = peak.max(processes.rss()?);
            }
            Ok(peak)
        });
        Self { stop, thread }
    }

    /// Stops and returns the most that was seen, in bytes.
    pub fn peak(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the memory sampler panicked"))?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_are_fields_14_and_15_whatever_the_name() {
        let rest = "S 1 10 10 0 -1 4194560 1 2 3 4 250 17 5 6 20 0 9 0 100 200 300";
        let check = |stat: &str, expected: Option<(u64, u64)>| {
            assert_eq!(parse_stat(stat).map(|ticks| (ticks.user, ticks.system)), expected, "{stat:?}");
        };
        check(&format!("10 (portcullis) {rest}"), Some((250, 17)));
        check(&format!("10 portcullis {rest}"), None);
        check(&format!("10 (a b) c) {rest}"), Some((250, 17)));
        check(&format!("10 (1 2 3 4 5 6) {rest}\n"), Some((250, 17)));
        check("10 (portcullis) S 1 10 10 0 -1 4194560 1 2 3 4 250", None);
        check("10 (portcullis) S 1 10 10 0 -1 4194560 1 2 3 4 x 17", None);
        check("", None);
    }

    #[test]
    fn memory_is_a_line_of_the_status() {
        let status = "Name:\tportcullis\nVmHWM:\t  40960 kB\nVmRSS:\t   20480 kB\nRssAnon:\t  1024 kB\nThreads:\t5\n";
        let check = |name: &str, expected: Option<u64>| assert_eq!(parse_status(status, name), expected, "{name}");
        check("VmRSS", Some(20 * 1024 * 1024));
        check("VmHWM", Some(40 * 1024 * 1024));
        check("Rss", None);
        check("Threads", None);
        check("VmSwap", None);
    }

    #[test]
    fn this_process_has_times_and_memory() {
        let processes = Processes(vec![std::process::id()]);
        assert!(processes.cpu().unwrap() > Duration::ZERO);
        assert!(processes.ticks().is_ok());
        assert!(processes.rss().unwrap() > 0);
        assert!(MemorySampler::start(processes).peak().unwrap() > 0);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        const PID_LIMIT: u32 = 1 << 22;
        let processes = Processes(vec![PID_LIMIT]);
        assert!(processes.cpu().is_err());
        assert!(processes.ticks().is_err());
        assert!(processes.rss().is_err());
    }
}
