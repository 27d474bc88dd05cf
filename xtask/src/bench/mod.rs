//! What a release build costs: processor time of the server for each operation, then rate, latency, memory and start.
//!
//! A benchmark measures; nothing here fails a build. The first figure is processor time (user and system, all processes of
//! the server), because client and server share the machine and wall times swing with everything else on it. Rounds of all
//! workloads follow each other, and in a round our own server and the peer take turns, so that a slow minute hits both;
//! medians are reported, with the extremes. An answer counts only when it has the expected status and size; a list is
//! counted item by item before it is measured; a watcher must see every write once and in order.
//!
//! Our own server is built, started under `--defaults upstream` with its store on the disk of the workspace, and ended here.
//! With `--sealed` all that it stores is sealed. A peer runs already, with an empty store, or with the data set of an earlier run of the same scale: what that run left.
//! Its figures are the sums of the processes named, so of kube-apiserver and etcd together. With `--etcd` the peer is our own server
//! over an etcd that is started here.
//!
//! `PORTCULLIS_PROGRAM` names a program that is built already. Reading order: [`workloads`] is the list of what is measured,
//! [`load`] the closed loop, [`client`] the connections, [`measures`] the figures, [`report`] the tables.

mod bars;
pub(crate) mod client;
mod data;
mod items;
pub(crate) mod load;
mod measures;
mod objects;
mod plan;
pub(crate) mod process;
mod report;
mod results;
pub(crate) mod statistics;
mod target;

pub(crate) use self::target::directory;
mod workloads;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use portcullis_tests::build::{self, Profile, workspace};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use self::client::{Call, Protocol};
use self::measures::{Measures, Metric};
use self::plan::{Plan, Scale};
use self::report::Circumstances;
use self::results::Row;
use self::target::{Program, Target};
use self::workloads::{Stamps, WORKLOADS, Workload};

/// What to measure, and beside what.
#[derive(clap::Args)]
pub struct Options {
    /// Only these workloads: names or their beginnings, separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each is run [default: 5, or 2 at the small scale]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// How much of everything
    #[arg(long, value_enum, default_value_t)]
    scale: Scale,
    /// Seal everything that our own server stores, with AES-GCM
    #[arg(long)]
    sealed: bool,
    /// The second server is our own over an etcd of one member, whose figures are added to it (its files lie in TMPDIR)
    #[arg(long, conflicts_with = "peer")]
    etcd: bool,
    /// A second server, which runs already: host:port
    #[arg(long, value_name = "HOST:PORT", requires_all = ["peer_pki", "peer_pids"])]
    peer: Option<String>,
    /// Its ca.crt, and admin.crt and admin.key of somebody who may do everything
    #[arg(long, value_name = "DIR", requires = "peer")]
    peer_pki: Option<PathBuf>,
    /// Its processes, separated by commas; their figures are added up
    #[arg(long, value_name = "PID", value_delimiter = ',', requires = "peer")]
    peer_pids: Vec<u32>,
    /// Write the results there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the names of the workloads and end
    #[arg(long)]
    list: bool,
}

/// Measures and prints.
pub fn run(options: &Options) -> Result<()> {
    let selected = select(&options.only)?;
    if options.list {
        for workload in selected {
            println!("{:<26} {}", workload.name, workload.what);
        }
        return Ok(());
    }
    if cfg!(debug_assertions) {
        return run_optimised();
    }
    // One thread: a client that is spread over both processors takes more of them and measures no better.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(options, &selected))
}

/// Does the same in a release build of this program: a client that is not optimised would measure itself.
fn run_optimised() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--release", "--package", "xtask", "--manifest-path"]);
    command.arg(workspace().join("Cargo.toml")).arg("--").args(std::env::args_os().skip(1));
    // What `cargo run` set for this process is not meant for a build.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the measuring failed");
    }
    Ok(())
}

/// The workloads of the names; a name that none has is the beginning of some.
fn select(only: &[String]) -> Result<Vec<&'static Workload>> {
    let is_whole = |name: &str| WORKLOADS.iter().any(|workload| workload.name == name);
    let fits =
        |workload: &Workload, name: &str| workload.name == name || !is_whole(name) && workload.name.starts_with(name);
    for name in only {
        if !WORKLOADS.iter().any(|workload| fits(workload, name)) {
            let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
            bail!("no workload is called {name:?}; there are {}", names.join(", "));
        }
    }
    let wanted = |workload: &&Workload| only.is_empty() || only.iter().any(|name| fits(workload, name));
    Ok(WORKLOADS.iter().filter(wanted).collect())
}

async fn measure(options: &Options, selected: &[&'static Workload]) -> Result<()> {
    let plan = options.scale.plan();
    let rounds = options.rounds.unwrap_or(plan.rounds);
    let program = match std::env::var_os(build::PROGRAM) {
        Some(program) => PathBuf::from(program),
        None => build::build(Profile::Release)?,
    };
    let before = load_average()?;
    let files = directory()?;
    let encryption: PathBuf = files.path().join("encryption.yaml");
    target::encryption(&encryption)?;
    let program = Program::new(program, options.sealed.then_some(encryption.as_path()));
    let mut own = Target::start(&program)?;
    let mut peer = match (&options.peer, &options.peer_pki) {
        (Some(authority), Some(pki)) => Some(Target::peer(authority, pki, &options.peer_pids)?),
        _ if options.etcd => Some(Target::start_over_etcd(&program)?),
        _ => None,
    };
    let versions = [
        version(&own).await,
        match &peer {
            Some(peer) => Some(version(peer).await.context("the peer does not answer")?),
            None => None,
        },
    ];
    let mut rows: Vec<Row> = selected.iter().map(|workload| Row::new(workload.name)).collect();
    // An interrupted run ends its server, removes its store, and shows what it has found.
    let end = tokio::select! {
        () = take_turns(&mut own, peer.as_mut(), &plan, rounds, selected, &mut rows) => None,
        interrupted = interrupted() => Some(interrupted?),
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = [before, load_average()?];
    let circumstances =
        Circumstances { scale: plan.name, is_full: options.scale == Scale::Full, rounds, processors, load, versions };
    report::print(&circumstances, &rows);
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(&report::to_json(&circumstances, &rows))?;
        std::fs::write(file, json + "\n").with_context(|| file.display().to_string())?;
    }
    match end {
        Some(signal) => bail!("interrupted by {signal}"),
        None => Ok(()),
    }
}

/// Every workload in every round, on both servers; which of them begins changes from round to round.
async fn take_turns(
    own: &mut Target,
    mut peer: Option<&mut Target>,
    plan: &Plan,
    rounds: u32,
    selected: &[&'static Workload],
    rows: &mut [Row],
) {
    let stamps = Stamps::new();
    for round in 0..rounds {
        for (workload, row) in selected.iter().zip(rows.iter_mut()) {
            if round > 0 && workload.is_run_once() {
                continue;
            }
            for turn in 0..2 {
                if (turn + round) % 2 == 0 {
                    let measured = workload.run(own, plan, &stamps).await;
                    say(round, rounds, workload, "own", &measured);
                    row.own.add(round, measured);
                } else if let Some(peer) = peer.as_mut()
                    && !workload.is_for_own_only()
                {
                    let measured = workload.run(peer, plan, &stamps).await;
                    say(round, rounds, workload, "peer", &measured);
                    row.peer.add(round, measured);
                }
            }
        }
    }
}

/// Waits for a signal that ends a program, and names it.
async fn interrupted() -> Result<&'static str> {
    let mut term = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => Ok("SIGTERM"),
        pressed = tokio::signal::ctrl_c() => pressed.map(|()| "SIGINT").context("no signals"),
    }
}

/// One line of progress.
fn say(round: u32, rounds: u32, workload: &Workload, side: &str, measured: &Result<Measures>) {
    let figures = match measured {
        Ok(measures) => {
            let shown = |(metric, value): (&Metric, &f64)| format!("{} {value:.2}", metric.name());
            measures.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        Err(error) => format!("failed: {error:#}"),
    };
    eprintln!("{}/{rounds} {} {side}: {figures}", round + 1, workload.name);
}

/// What `/version` says of itself.
async fn version(target: &Target) -> Option<String> {
    let mut sender = target.endpoint.connect(Protocol::Http2).await.ok()?;
    let (content, _) = sender.send_whole(Call::get("/version")).await.ok()?;
    let version: Value = serde_json::from_slice(&content).ok()?;
    version["gitVersion"].as_str().map(str::to_owned)
}

fn load_average() -> Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    Ok(load.split_ascii_whitespace().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_the_beginning_of_names_selects() {
        let check = |only: &[&str], expected: Option<&[&str]>| {
            let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
            let found = select(&only).ok().map(|found| found.iter().map(|workload| workload.name).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{only:?}");
        };
        check(&["list-json"], Some(&["list-json"]));
        check(&["list-json", "put"], Some(&["put-lease-c1", "put-lease-c32", "list-json"]));
        check(&["get-pod-rv0"], Some(&["get-pod-rv0-c1", "get-pod-rv0-c32"]));
        check(&["list-json", "nothing"], None);
        assert_eq!(select(&[]).map_or(0, |all| all.len()), WORKLOADS.len());
    }
}
