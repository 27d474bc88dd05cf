//! `up --etcd`: an etcd of the cluster's own, started, watched and ended with the server (A10, L3, L4, L5, P10).
//!
//! - Its authority signs nothing else: `D/pki/etcd/ca`. Clients and peers must show its certificates, and the one client certificate that
//!   there is, is the API server's. It has no peers, so no certificate lets anybody in as one.
//! - It listens on loopback only. Its metrics port is plain, and answers `/metrics` and `/health` and nothing else.
//! - Nothing of the user's environment reaches it: an `ETCD_...` variable cannot loosen any of this.
//! - It never outlives the server (`program`), and comes back by itself when it dies (`supervisor`).

pub(crate) mod program;
mod supervisor;

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use portcullis_store::etcd::MutualTls;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::flags::conflict;
use crate::pki::{self, EtcdFiles, pem};
use program::Program;
use supervisor::Supervisor;

/// How long etcd may take until it answers; it reads back what it has not yet written to its tables.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two questions whether it does.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// How long one such question may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Octets of its answer.
const HEALTH_LEN_MAX: u64 = 4096;
/// How long a predecessor that is just ending may keep its ports while it still holds its data, and how long once it does not.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(5);
const PORTS_TIMEOUT: Duration = Duration::from_millis(500);
/// What an etcd that runs has locked in its directory.
const LOCKED: &str = "member/snap/db";

/// An etcd of the cluster's own.
#[derive(Debug, clap::Args)]
pub(crate) struct LocalEtcdArguments {
    /// Keep the cluster in an etcd on this machine that is started here, with certificates of its own
    #[arg(long, conflicts_with_all = ["etcd_servers", "etcd_cafile", "etcd_certfile", "etcd_keyfile"])]
    etcd: bool,
    /// The program, 3.4 or newer [default: etcd in PATH]
    #[arg(long, value_name = "FILE", requires = "etcd", conflicts_with = "etcd_servers")]
    etcd_program: Option<PathBuf>,
    /// Where on loopback it answers the API server
    #[arg(long, value_name = "PORT", requires = "etcd", conflicts_with = "etcd_servers")]
    #[arg(default_value_t = 2379, value_parser = clap::value_parser!(u16).range(1..))]
    etcd_client_port: u16,
    /// Where on loopback it would answer its peers: nobody
    #[arg(long, value_name = "PORT", requires = "etcd", conflicts_with = "etcd_servers")]
    #[arg(default_value_t = 2380, value_parser = clap::value_parser!(u16).range(1..))]
    etcd_peer_port: u16,
    /// Where on loopback it tells its health and metrics, in plain text
    #[arg(long, value_name = "PORT", requires = "etcd", conflicts_with = "etcd_servers")]
    #[arg(default_value_t = 2381, value_parser = clap::value_parser!(u16).range(1..))]
    etcd_metrics_port: u16,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: SocketAddr,
    peer: SocketAddr,
    metrics: SocketAddr,
}

/// An etcd that answers. Dropping it ends it.
pub(crate) struct LocalEtcd {
    supervisor: Supervisor,
    /// The URL of its only member.
    pub(crate) endpoint: String,
    /// How it is spoken to. Taken by who connects.
    pub(crate) tls: Option<MutualTls>,
}

impl LocalEtcdArguments {
    /// Whether there is one.
    pub(crate) fn is_wanted(&self) -> bool {
        self.etcd
    }

    /// Refuses what does not go together.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        let ports = [
            ("--etcd-client-port", self.etcd_client_port),
            ("--etcd-peer-port", self.etcd_peer_port),
            ("--etcd-metrics-port", self.etcd_metrics_port),
        ];
        for (at, (flag, port)) in ports.iter().enumerate().filter(|_| self.etcd) {
            if let Some((other, _)) = ports.iter().take(at).find(|(_, other)| other == port) {
                return Err(conflict(&format!("{flag} and {other} are both {port}: each needs its own port")));
            }
        }
        Ok(())
    }

    /// Makes what is missing, starts it and waits until it answers. Tells in `made` what was made.
    pub(crate) async fn start(&self, data_dir: &Path, made: &mut Vec<String>) -> Result<LocalEtcd> {
        let program = Program::find(self.etcd_program.as_deref())?;
        let files = pki::Directory::of(data_dir).prepare_etcd(OffsetDateTime::now_utc(), made)?;
        let etcd_dir = data_dir.join("etcd");
        pki::files::make_private_directory(&etcd_dir)?;
        let on_loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ports = Ports {
            client: on_loopback(self.etcd_client_port),
            peer: on_loopback(self.etcd_peer_port),
            metrics: on_loopback(self.etcd_metrics_port),
        };
        ports.wait_until_free(if is_held(&etcd_dir) { PREDECESSOR_TIMEOUT } else { PORTS_TIMEOUT }).await?;
        let arguments = program::arguments(&etcd_dir, &files, &ports);
        let supervisor = Supervisor::start(program, arguments)?;
        wait_until_healthy(&supervisor, ports.metrics).await?;
        tracing::info!(client = %ports.client, metrics = %ports.metrics, directory = ?etcd_dir, "etcd answers");
        Ok(LocalEtcd { supervisor, endpoint: format!("https://{}", ports.client), tls: Some(mutual_tls(&files)) })
    }
}

impl LocalEtcd {
    /// Ends it in order: nobody asks it any more.
    pub(crate) async fn stop(self) {
        let stopping = tokio::task::spawn_blocking(move || self.supervisor.stop());
        if stopping.await.is_err() {
            tracing::error!("etcd could not be ended in order");
        }
    }
}

fn mutual_tls(files: &EtcdFiles) -> MutualTls {
    MutualTls {
        ca: pem("CERTIFICATE", &files.authority).into_bytes(),
        certificate: pem("CERTIFICATE", &files.client.certificate).into_bytes(),
        key: pem("PRIVATE KEY", files.client.key.secret_der()).into_bytes(),
    }
}

impl Ports {
    /// An etcd whose server was killed a moment ago is just ending.
    async fn wait_until_free(&self, patience: Duration) -> Result<()> {
        let ports = [
            ("--etcd-client-port", self.client),
            ("--etcd-peer-port", self.peer),
            ("--etcd-metrics-port", self.metrics),
        ];
        let deadline = Instant::now() + patience;
        loop {
            let taken = ports.map(|(flag, address)| Some((flag, address, TcpListener::bind(address).err()?)));
            let taken: Vec<_> = taken.into_iter().flatten().collect();
            let Some((_, _, error)) = taken.first() else { return Ok(()) };
            if Instant::now() >= deadline {
                let named: Vec<_> =
                    taken.iter().map(|(flag, address, _)| format!("{flag} {}", address.port())).collect();
                bail!(
                    "{} on {} cannot be listened on ({error}): choose other ports, or end what listens there, which may be the etcd of \
                     another `portcullis up --etcd`",
                    named.join(", "),
                    Ipv4Addr::LOCALHOST
                );
            }
            sleep(READY_PAUSE).await;
        }
    }
}

/// Whether an etcd still has this directory: that of a server that was killed a moment ago.
fn is_held(etcd_dir: &Path) -> bool {
    let Ok(file) = File::open(etcd_dir.join(LOCKED)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Returns when etcd says that it can take requests, or with why it ended.
async fn wait_until_healthy(supervisor: &Supervisor, metrics: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if let Some(why) = supervisor.ended() {
            bail!("etcd ended at its start: {why}");
        }
        if matches!(timeout(HEALTH_TIMEOUT, is_healthy(metrics)).await, Ok(Ok(true))) {
            supervisor.keep();
            return Ok(());
        }
        if Instant::now() >= deadline {
            let last = supervisor.last_words().unwrap_or_else(|| "nothing".to_owned());
            bail!("etcd does not answer after {} seconds; the last that it said: {last}", READY_TIMEOUT.as_secs());
        }
        sleep(READY_PAUSE).await;
    }
}

async fn is_healthy(metrics: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(metrics).await?;
    stream.write_all(format!("GET /health HTTP/1.0\r\nHost: {metrics}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(HEALTH_LEN_MAX).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let body: serde_json::Value = serde_json::from_str(body)?;
    Ok(head.contains(" 200 ") && body.get("health").is_some_and(|health| health == "true"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::flags::parse;
    use crate::storage::Storage;

    #[test]
    fn flags() {
        let check = |flags: &str, part: &str| {
            let said = parse::<Storage>(flags).and_then(|given| given.check());
            let said = said.map_or_else(|error| error.to_string(), |()| "taken".to_owned());
            assert!(said.contains(part), "{flags}: {said}");
        };
        check("--etcd", "taken");
        check("--etcd --etcd-program /e --etcd-client-port 1 --etcd-peer-port 2 --etcd-metrics-port 3", "taken");
        check("--etcd --etcd-servers https://e:2379", "cannot be used with");
        check("--etcd --etcd-cafile ca", "cannot be used with");
        let servers = "--etcd-servers https://e:2379 --etcd-cafile ca --etcd-certfile c --etcd-keyfile k";
        check(servers, "taken");
        check(&format!("{servers} --etcd-metrics-port 1"), "cannot be used with");
        check(&format!("{servers} --etcd-program /e"), "cannot be used with");
        check("--etcd-program /e", "--etcd");
        check("--etcd-client-port 1", "--etcd");
        check("--etcd --etcd-client-port 0", "0 is not in 1..");
        check("--etcd --etcd-peer-port 2379", "--etcd-peer-port and --etcd-client-port are both 2379");
        check("--etcd --etcd-metrics-port 2380", "--etcd-metrics-port and --etcd-peer-port are both 2380");
    }

    #[test]
    fn a_directory_is_held_while_its_etcd_runs() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_held(directory.path()));
        let file = directory.path().join(LOCKED);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let held = File::create(&file).unwrap();
        assert!(!is_held(directory.path()));
        held.lock().unwrap();
        assert!(is_held(directory.path()));
        drop(held);
        assert!(!is_held(directory.path()));
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named_with_its_flag() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let held = TcpListener::bind(taken).unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let ports = Ports { client: free, peer: taken, metrics: free };
        let error = ports.wait_until_free(Duration::ZERO).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("--etcd-peer-port {} on", taken.port())), "{error}");
        let both = Ports { client: taken, ..ports };
        let error = both.wait_until_free(Duration::ZERO).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("--etcd-client-port {0}, --etcd-peer-port {0} on", taken.port())),
            "{error}"
        );
        drop(held);
        ports.wait_until_free(Duration::ZERO).await.unwrap();
    }
}
