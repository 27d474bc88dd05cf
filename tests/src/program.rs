//! A running `portcullis up`, and the end of it. Every process is ended by its own id.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::build::program;
use crate::client::{Client, Credentials};

/// What begins the line that `up` prints when it answers.
const LISTENING: &str = "listening";

/// The counter of comparisons of memory with what is stored, how long one may take, and how often it is looked for.
const COMPARISONS: &str = "apiserver_storage_consistency_checks_total{";
const COMPARISON_PATIENCE: Duration = Duration::from_secs(120);
const COMPARISON_PAUSE: Duration = Duration::from_millis(50);

/// A server that has said that it answers. Dropping it kills it.
pub struct Server {
    child: Child,
    data_dir: PathBuf,
    address: SocketAddr,
    /// What `up` printed until it answered.
    pub said: String,
    rest: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts a server on a free port of this machine and waits until it says that it answers.
    pub fn start(data_dir: &Path) -> Self {
        Self::start_with(program(), data_dir, &[]).expect("the server starts")
    }

    /// As [`Server::start`], with a program and more arguments; `--secure-port` among them chooses the port.
    pub fn start_with(program: &Path, data_dir: &Path, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("up").arg("--data-dir").arg(data_dir).args(["--bind-address", "127.0.0.1"]);
        if !arguments.contains(&"--secure-port") {
            command.args(["--secure-port", "0"]);
        }
        command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
        sweep_seal_keys(data_dir);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot run the program")?;
        let mut stderr = child.stderr.take().context("no standard error")?;
        // Read all along, so that a full pipe never stops the server.
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            let _ = stderr.read_to_end(&mut log);
            String::from_utf8_lossy(&log).into_owned()
        });
        let mut rest = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut said = String::new();
        let port = loop {
            let before = said.len();
            if rest.read_line(&mut said)? == 0 {
                let _ = child.wait();
                bail!("the server ended:\n{said}{}", log.join().unwrap_or_default());
            }
            let line = said[before..].trim();
            if let Some(url) = line.strip_prefix(LISTENING) {
                let port = url.split_whitespace().next().and_then(|url| url.rsplit(':').next());
                break port.and_then(|port| port.parse().ok()).with_context(|| format!("no port in {line:?}"))?;
            }
        };
        let address = (Ipv4Addr::LOCALHOST, port).into();
        Ok(Self { child, data_dir: data_dir.to_owned(), address, said, rest, log: Some(log) })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it keeps everything.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// KiB of memory, as the system counts them under a name: `VmRSS`, `VmHWM` (the most until now), `RssFile`.
    pub fn memory_kib(&self, name: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let named = |line: &str| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok();
        status.lines().find_map(named).with_context(|| format!("no {name} in {status}"))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// A client without credentials.
    pub fn stranger(&self) -> Client {
        Client::new(self.address, &self.data_dir.join("pki/ca.crt"), None).expect("a client")
    }

    /// A client that may do everything.
    pub fn admin(&self) -> Client {
        self.client(&self.data_dir.join("pki/admin"))
    }

    /// A client with the certificate and key `PREFIX.crt` and `PREFIX.key`.
    pub fn client(&self, prefix: &Path) -> Client {
        self.client_of(Credentials::read(prefix).expect("credentials"))
    }

    /// A client with these credentials.
    pub fn client_of(&self, credentials: Credentials) -> Client {
        Client::new(self.address, &self.data_dir.join("pki/ca.crt"), Some(credentials)).expect("a client")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("a process that runs");
    }

    /// Has it compare memory with what it stores, and waits for that. Of whoever breaks something.
    ///
    /// # Errors
    /// They are not the same, or it cannot be told.
    pub fn compare_store(&self) -> Result<()> {
        let before = Comparisons::of(&self.admin())?;
        self.signal(Signal::SIGUSR1);
        let begun = Instant::now();
        loop {
            let after = Comparisons::of(&self.admin())?;
            if after.well + after.badly > before.well + before.badly {
                return if after.badly == before.badly { Ok(()) } else { bail!("memory is not what is stored") };
            }
            if begun.elapsed() > COMPARISON_PATIENCE {
                bail!("memory was not compared with what is stored");
            }
            std::thread::sleep(COMPARISON_PAUSE);
        }
    }

    /// Stops it in order, and returns its log.
    pub fn stop(self) -> String {
        self.signal(Signal::SIGTERM);
        let (status, _, log) = self.ended();
        assert!(status.success(), "{log}");
        log
    }

    /// Reads the next line that it prints; empty at its end.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.rest.read_line(&mut line).expect("text");
        line
    }

    /// Waits for its end. Returns how it ended, what it printed since it answered, and its log.
    pub fn ended(mut self) -> (ExitStatus, String, String) {
        let mut said = String::new();
        let _ = self.rest.read_to_string(&mut said);
        let status = self.child.wait().expect("an exit status");
        let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        (status, said, log)
    }
}

/// How comparisons of memory with what is stored came out, of all resources.
struct Comparisons {
    well: u64,
    badly: u64,
}

impl Comparisons {
    fn of(admin: &Client) -> Result<Self> {
        let answer = admin.get("/metrics");
        if answer.status != 200 {
            bail!("/metrics: {}", answer.text());
        }
        let mut comparisons = Self { well: 0, badly: 0 };
        for line in answer.text().lines().filter(|line| line.starts_with(COMPARISONS)) {
            let count: u64 = line.rsplit(' ').next().unwrap_or_default().parse().context("a count")?;
            if line.contains("status=\"success\"") { comparisons.well += count } else { comparisons.badly += count }
        }
        Ok(comparisons)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Removes the seal keys of data directories that are gone: a key lies beside its data directory, which may be a temporary one that
/// nothing else of is beside.
fn sweep_seal_keys(in_use: &Path) {
    static DATA_DIRS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut known = DATA_DIRS.lock().unwrap_or_else(PoisonError::into_inner);
    known.insert(in_use.to_owned());
    known.retain(|data_dir| {
        let is_there = data_dir == in_use || data_dir.exists();
        if !is_there && let Some(name) = data_dir.file_name() {
            let beside = data_dir.with_file_name(format!("{}.seal", name.display()));
            // Most are in a directory that has gone as a whole.
            let _ = std::fs::remove_dir_all(beside);
        }
        is_there
    });
}

/// A free port below those that the system gives away by itself: while a server is restarted, nobody gets it by chance. No two
/// callers in a process get the same one, so that the second does not take it while the first restarts its server.
pub fn port_to_keep() -> u16 {
    const PORTS: std::ops::Range<u16> = 16_000..32_000;
    /// Ports that one caller looks at before it meets those of the next.
    const PORTS_OF_A_CALLER: u32 = 50;
    static CALLERS: AtomicU32 = AtomicU32::new(0);
    let caller = CALLERS.fetch_add(1, Ordering::Relaxed);
    let first = std::process::id().wrapping_add(caller * PORTS_OF_A_CALLER) % u32::from(PORTS.end - PORTS.start);
    let first = u16::try_from(first).unwrap_or_default();
    let mut ports = PORTS.cycle().skip(usize::from(first)).take(PORTS.len());
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

/// Gives a user a certificate with `pki issue`.
pub fn issue(program: &Path, data_dir: &Path, user: &str, groups: &[&str], out: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command.args(["pki", "issue", "--data-dir"]).arg(data_dir).args(["--user", user]);
    for group in groups {
        command.args(["--group", group]);
    }
    let output = command.arg("--out").arg(out).output().context("cannot run the program")?;
    if !output.status.success() {
        bail!("pki issue for {user} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
