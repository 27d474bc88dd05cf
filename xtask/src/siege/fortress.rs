//! The server that is besieged, and those who ask it something meanwhile.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use portcullis_tests::program::{Server, issue};
use tempfile::TempDir;

use crate::bench::client::{Call, Endpoint, Protocol, Sender};
use crate::bench::load::{Crowd, Limit, Workers};
use crate::bench::process::Processes;
use crate::bench::statistics::percentile;

/// Requests by which the cost of one is measured, and how often: the least counts, since nothing makes a request cheaper than it is.
const COST_REQUESTS: u64 = 20_000;
const COST_ROUNDS: usize = 8;
const COST_CROWD: Crowd = Crowd::http2(2, 8);
const COST_TIME_MAX: Duration = Duration::from_secs(60);

/// A server under its locked defaults, with the users of a siege.
pub struct Fortress {
    server: Server,
    program: PathBuf,
    directory: TempDir,
}

impl Fortress {
    /// Starts one, with further arguments.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let directory = crate::bench::directory()?;
        let server = Server::start_with(program, directory.path(), arguments)?;
        Ok(Self { server, program: program.to_owned(), directory })
    }

    /// Its process.
    pub fn processes(&self) -> Processes {
        Processes(vec![self.server.id()])
    }

    /// Where certificates are.
    pub fn pki(&self) -> PathBuf {
        self.directory.path().join("pki")
    }

    /// Where it answers.
    pub fn authority(&self) -> String {
        self.server.address().to_string()
    }

    /// The administrator.
    pub fn admin(&self) -> Result<Endpoint> {
        Endpoint::new(&self.authority(), &self.pki())
    }

    /// Nobody.
    pub fn stranger(&self) -> Result<Endpoint> {
        Endpoint::of(&self.authority(), &self.pki(), None)
    }

    /// A user, who gets a certificate.
    pub fn user(&self, file: &str, name: &str, groups: &[&str]) -> Result<Endpoint> {
        issue(&self.program, self.directory.path(), name, groups, &self.pki().join(file))?;
        Endpoint::of(&self.authority(), &self.pki(), Some(file))
    }

    /// Microseconds of processor time for a GET of `/version`.
    pub async fn cost(&self) -> Result<f64> {
        let mut least = f64::INFINITY;
        for _ in 0..COST_ROUNDS {
            least = least.min(self.cost_of(COST_REQUESTS, |_| Call::get("/version")).await?);
        }
        Ok(least)
    }

    /// Microseconds of processor time for one of these requests of the administrator. Several are in flight, so that the server is
    /// busy: waking up for each costs more than most requests do, and never the same.
    pub async fn cost_of(&self, count: u64, call: impl Fn(u64) -> Call + Clone + Send + 'static) -> Result<f64> {
        let mut workers = Workers::open(&self.admin()?, COST_CROWD, |_| Box::new(call.clone())).await?;
        workers.run(Limit { ops: count / 10, time: COST_TIME_MAX }).await?;
        let before = self.processes().cpu()?;
        let tally = workers.run(Limit { ops: count, time: COST_TIME_MAX }).await?;
        Ok((self.processes().cpu()? - before).as_secs_f64() * 1e6 / tally.ops as f64)
    }
}

/// How long answers took, from when they were due.
#[derive(Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Notes one.
    pub fn push(&mut self, took: Duration) {
        self.0.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those of another.
    pub fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds that `percent` of them did not exceed.
    pub fn millis(&mut self, percent: f64) -> f64 {
        self.0.sort_unstable();
        percentile(&self.0, percent).unwrap_or_default() as f64 / 1e6
    }
}

/// Sends the same request again and again, each when it is due, and counts from then: a probe that waits for its predecessor
/// must not hide how long both took.
pub async fn probe(mut sender: Sender, call: Call, every: Duration, until: Instant) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    let mut due = Instant::now();
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        sender.send(call.clone()).await?;
        latencies.push(due.elapsed());
        due += every;
    }
    Ok(latencies)
}

/// As [`probe`], with a connection of its own for each request.
pub async fn probe_anew(endpoint: &Endpoint, call: Call, every: Duration, until: Instant) -> Result<Latencies> {
    let mut latencies = Latencies::default();
    let mut due = Instant::now();
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        let mut sender = endpoint.connect(Protocol::Http1).await.context("a new connection")?;
        let (status, _) = sender.status(call.clone()).await?;
        if !status.is_success() {
            bail!("{} on a new connection got {status}", call.path);
        }
        latencies.push(due.elapsed());
        due += every;
    }
    Ok(latencies)
}
