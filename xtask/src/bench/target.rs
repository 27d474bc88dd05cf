//! The servers that are measured: our own, which is started here, and a peer, which runs already.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use portcullis_tests::build::workspace;
use portcullis_tests::program::Server;
use tempfile::TempDir;

use super::client::Endpoint;
use super::data;
use super::measures::Measures;
use super::plan::Plan;
use super::process::Processes;

/// What a comparison with upstream is made under.
const ARGUMENTS: [&str; 2] = ["--defaults", "upstream"];

/// A server.
pub struct Target {
    /// `own` or `peer`.
    pub name: &'static str,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What it consists of.
    pub processes: Processes,
    /// What its data set cost to build; nothing as long as it has none.
    pub built: Option<Measures>,
    own: Option<Own>,
}

struct Own {
    program: PathBuf,
    directory: TempDir,
    server: Option<Server>,
}

impl Target {
    /// Starts our own server with an empty store.
    pub fn start(program: &Path) -> Result<Self> {
        let directory = directory()?;
        let (_, server) = start(program, directory.path())?;
        let endpoint = Endpoint::new(&server.address().to_string(), &directory.path().join("pki"))?;
        let processes = Processes(vec![server.id()]);
        let own = Own { program: program.to_owned(), directory, server: Some(server) };
        Ok(Self { name: "own", endpoint, processes, built: None, own: Some(own) })
    }

    /// A server that runs already.
    pub fn peer(authority: &str, pki: &Path, ids: &[u32]) -> Result<Self> {
        let processes = Processes(ids.to_vec());
        processes.cpu().context("--peer-pids")?;
        let endpoint = Endpoint::new(authority, pki).context("--peer-pki")?;
        Ok(Self { name: "peer", endpoint, processes, built: None, own: None })
    }

    /// Our own server's program; a peer has none.
    pub fn program(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.program.as_path())
    }

    /// Ends our own server, starts it with the same data, and says how long that took; nothing happens to a peer.
    pub fn restart(&mut self) -> Result<Option<Duration>> {
        let Some(own) = &mut self.own else { return Ok(None) };
        if let Some(server) = own.server.take() {
            server.signal(Signal::SIGTERM);
            let (status, _, log) = server.ended();
            if !status.success() {
                bail!("the server ended with {status}:\n{log}");
            }
        }
        let (took, server) = start(&own.program, own.directory.path())?;
        self.endpoint = Endpoint::new(&server.address().to_string(), &own.directory.path().join("pki"))?;
        self.processes = Processes(vec![server.id()]);
        own.server = Some(server);
        Ok(Some(took))
    }

    /// Makes sure that it holds the data set.
    pub async fn fill(&mut self, plan: &Plan) -> Result<&Measures> {
        if self.built.is_none() {
            eprintln!("building the data set of {}", self.name);
            self.built = Some(data::build(&self.endpoint, &self.processes, plan).await?);
        }
        self.built.as_ref().context("no data set")
    }
}

/// A directory for a store, on the disk of the workspace: a file system in memory would make `fdatasync` free.
pub fn directory() -> Result<TempDir> {
    let parent = workspace().join("target");
    tempfile::Builder::new().prefix("bench-").tempdir_in(&parent).with_context(|| parent.display().to_string())
}

/// Starts a server and says how long it took until `/readyz` said 200.
pub fn start(program: &Path, data_dir: &Path) -> Result<(Duration, Server)> {
    let begun = Instant::now();
    let server = Server::start_with(program, data_dir, &ARGUMENTS)?;
    let answer = server.stranger().send("GET", "/readyz", None)?;
    let took = begun.elapsed();
    if answer.status != 200 {
        bail!("/readyz says {}", answer.status);
    }
    Ok((took, server))
}
