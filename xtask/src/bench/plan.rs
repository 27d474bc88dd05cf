//! How much of everything: the sizes of a data set and of the runs, in two scales.

use std::time::Duration;

/// How thorough a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scale {
    /// A smoke test of about a minute; its figures mean little
    Small,
    /// What the figures of docs/performance.md are made with
    #[default]
    Full,
}

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name, for the JSON and for the mark of a data set.
    pub name: &'static str,
    /// How often each workload is run, unless the command line says.
    pub rounds: u32,
    /// Pods with a status.
    pub pods: u64,
    /// ConfigMaps of 1 KB.
    pub config_maps: u64,
    /// Leases.
    pub leases: u64,
    /// Objects that are made to be applied to.
    pub applied: u64,
    /// Items of one page of a list.
    pub page: u64,
    /// Requests of one run of reads.
    pub reads_max: u64,
    /// Requests of one run of writes.
    pub writes_max: u64,
    /// Full lists of one run.
    pub lists_max: u64,
    /// Seconds of one run, when the requests did not end it.
    pub run: Duration,
    /// The same, before anything is measured.
    pub warm_up: Duration,
    /// Full lists that are asked for at once.
    pub lists_at_once: usize,
    /// Watchers of a fan-out: connections and streams on each.
    pub watchers: (usize, usize),
    /// Writes that each of them sees.
    pub watched_writes: u64,
    /// Watchers that see nothing: connections and streams on each.
    pub idle_watchers: (usize, usize),
    /// How long a server is left alone.
    pub idle: Duration,
}

impl Scale {
    /// Its sizes.
    pub fn plan(self) -> Plan {
        match self {
            Self::Full => Plan {
                name: "full",
                rounds: 5,
                pods: 10_000,
                config_maps: 16_000,
                leases: 5_000,
                applied: 1_000,
                page: 500,
                reads_max: 20_000,
                writes_max: 4_000,
                lists_max: 10,
                run: Duration::from_secs(3),
                warm_up: Duration::from_millis(300),
                lists_at_once: 64,
                watchers: (20, 50),
                watched_writes: 100,
                idle_watchers: (125, 80),
                idle: Duration::from_secs(30),
            },
            Self::Small => Plan {
                name: "small",
                rounds: 2,
                pods: 500,
                config_maps: 800,
                leases: 250,
                applied: 100,
                page: 100,
                reads_max: 2_000,
                writes_max: 400,
                lists_max: 5,
                run: Duration::from_millis(500),
                warm_up: Duration::from_millis(50),
                lists_at_once: 16,
                watchers: (4, 25),
                watched_writes: 10,
                idle_watchers: (10, 50),
                idle: Duration::from_secs(2),
            },
        }
    }
}
