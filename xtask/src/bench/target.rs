//! The servers that are measured: our own, which is started here, and beside it a peer, which runs already, or our own over etcd.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use portcullis_tests::build::workspace;
use portcullis_tests::etcd::Etcd;
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
    program: Program,
    directory: TempDir,
    server: Option<Server>,
    /// What it keeps everything in, if that is no file.
    etcd: Option<Etcd>,
}

/// Our program, and what it is told.
#[derive(Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    /// Under what a comparison with upstream is made. With an EncryptionConfiguration all that is stored is sealed as it says.
    pub fn new(path: PathBuf, encryption: Option<&Path>) -> Self {
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        if let Some(file) = encryption {
            arguments.extend(["--encryption-provider-config".to_owned(), file.display().to_string()]);
        }
        Self { path, arguments }
    }

    /// Starts it and says how long it took until `/readyz` said 200.
    pub fn start(&self, data_dir: &Path) -> Result<(Duration, Server)> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let begun = Instant::now();
        let server = Server::start_with(&self.path, data_dir, &arguments)?;
        let answer = server.stranger().send("GET", "/readyz", None)?;
        let took = begun.elapsed();
        if answer.status != 200 {
            bail!("/readyz says {}", answer.status);
        }
        Ok((took, server))
    }
}

/// Writes an EncryptionConfiguration that seals everything with AES-GCM, the provider of the default seal key.
pub fn encryption(file: &Path) -> Result<()> {
    let key = STANDARD.encode([7; 32]);
    let text = format!(
        "{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [\n  {{resources: ['*.*'], \
         providers: [{{aesgcm: {{keys: [{{name: bench, secret: {key}}}]}}}}, {{identity: {{}}}}]}}]}}\n"
    );
    std::fs::write(file, text).with_context(|| file.display().to_string())
}

impl Target {
    /// Starts our own server with an empty store.
    pub fn start(program: &Program) -> Result<Self> {
        Self::start_over("own", program.clone(), None)
    }

    /// Starts our own server over an etcd of one member, whose figures are added to the server's.
    pub fn start_over_etcd(program: &Program) -> Result<Self> {
        let etcd = Etcd::start().context("no etcd")?;
        let mut program = program.clone();
        program.arguments.extend(etcd.arguments());
        Self::start_over("peer", program, Some(etcd))
    }

    fn start_over(name: &'static str, program: Program, etcd: Option<Etcd>) -> Result<Self> {
        let directory = directory()?;
        let (_, server) = program.start(directory.path())?;
        let endpoint = Endpoint::new(&server.address().to_string(), &directory.path().join("pki"))?;
        let own = Own { program, directory, server: Some(server), etcd };
        Ok(Self { name, endpoint, processes: own.processes(), built: None, own: Some(own) })
    }

    /// A server that runs already.
    pub fn peer(authority: &str, pki: &Path, ids: &[u32]) -> Result<Self> {
        let processes = Processes(ids.to_vec());
        processes.cpu().context("--peer-pids")?;
        let endpoint = Endpoint::new(authority, pki).context("--peer-pki")?;
        Ok(Self { name: "peer", endpoint, processes, built: None, own: None })
    }

    /// Our own server's program; a peer has none.
    pub fn program(&self) -> Option<&Program> {
        self.own.as_ref().map(|own| &own.program)
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
        let (took, server) = own.program.start(own.directory.path())?;
        self.endpoint = Endpoint::new(&server.address().to_string(), &own.directory.path().join("pki"))?;
        own.server = Some(server);
        self.processes = own.processes();
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

impl Own {
    fn processes(&self) -> Processes {
        Processes(self.server.iter().map(Server::id).chain(self.etcd.iter().flat_map(Etcd::ids)).collect())
    }
}

/// A directory for a store, on the disk of the workspace: a file system in memory would make `fdatasync` free.
pub fn directory() -> Result<TempDir> {
    let parent = workspace().join("target");
    tempfile::Builder::new().prefix("bench-").tempdir_in(&parent).with_context(|| parent.display().to_string())
}
