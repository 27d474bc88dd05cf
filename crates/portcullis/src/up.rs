//! `portcullis up`: makes what is missing, starts every component, serves until told to stop, and drains.
//!
//! What was said is parsed and the store is locked before anything is made; everything is made before anything is bound;
//! nothing is answered before all that every cluster has is there.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::error::ErrorKind;
use portcullis_apiserver::registry::Registry;
use portcullis_apiserver::{Catalog, Config};
use portcullis_gate::{Drained, Gate, GateConfig, Limits, Listener, Profile, TlsMaterial, keep_fresh};
use portcullis_store::embedded::{Embedded, Options};
use time::OffsetDateTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::arguments::Up;
use crate::authentication::Trust;
use crate::configuration::Defaults;
use crate::pki::{self, Pair, pem};
use crate::{addresses, apiserver, guards, kubeconfig, memory, version};

/// Threads that run requests; more do not serve faster, and each holds memory.
const WORKERS_MAX: usize = 8;
/// A shell's number for a process that a signal ended: this and the signal's.
const ENDED_BY_SIGNAL: i32 = 128;

/// Runs the cluster until it is told to stop.
pub(crate) fn run(arguments: &Up) -> Result<()> {
    let begun = Instant::now();
    let data_dir = std::path::absolute(arguments.data_dir.path()?).context("--data-dir")?;
    arguments.authorization.check()?;
    log_to_stderr(arguments.log_level.as_deref())?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(serve(arguments, &data_dir, begun))
}

async fn serve(arguments: &Up, data_dir: &Path, begun: Instant) -> Result<()> {
    // From here on a signal is an orderly end, also while everything is being made.
    let signals = Signals::new()?;
    pki::files::make_private_directory(data_dir)?;
    let registry = Arc::new(Registry::new());
    let store = Arc::new(Embedded::open(Options {
        catalog: Arc::new(Catalog::new(Arc::clone(&registry))),
        memory_bytes_max: memory::budget(arguments.memory_budget),
        ..Options::new(data_dir.join("store"))
    })?);
    let host = addresses::Host::here();
    let names =
        addresses::serving_names(&host, arguments.bind_address, arguments.service_cluster_ip_range.first_host());
    let directory = pki::Directory::of(data_dir);
    let mut cluster = directory.prepare(names, OffsetDateTime::now_utc())?;
    let trust = arguments.authentication.trust(pem("CERTIFICATE", cluster.authority.certificate()).as_bytes())?;
    let config = GateConfig {
        bind: (arguments.bind_address, arguments.secure_port).into(),
        tls: tls(&cluster, &trust),
        defaults: profile(arguments.defaults),
        limits: Limits::default(),
    };
    let listener = Listener::bind(&config).await?;
    let listening = listener.local_addr()?;
    let admin = data_dir.join("admin.kubeconfig");
    kubeconfig::write(&admin, listening, cluster.authority.certificate(), &cluster.admin)?;
    let reached_at = kubeconfig::server(listening);
    let tokens = arguments.service_accounts.prepare(&directory, &reached_at, config.defaults, &mut cluster.made)?;
    let api = Config {
        profile: config.defaults,
        admission: arguments.admission.selection()?,
        service_accounts: Some(tokens.service_accounts()),
        extension_authentication: Some(arguments.authentication.published(&trust)),
        ..apiserver::config(arguments, listening)
    };
    let server = apiserver::start(api, Arc::clone(&store) as _, Arc::clone(&registry)).await?;
    let own = addresses::listening(&host, listening);
    let materials = guards::Materials {
        arguments,
        engine: store,
        registry,
        server: Arc::clone(&server),
        trust,
        tokens,
        tls: Arc::clone(listener.tls()),
        dial: arguments.dial.rule(own, arguments.defaults),
    };
    let (guards, followers) = guards::guards(materials)?;
    // It ends with this function, which is when nobody is served any more.
    let mut following = JoinSet::new();
    following.spawn(keep_fresh(followers));
    let gate = Arc::new(Gate::new(apiserver::handler(server), guards, config.limits));
    say_what_is(&cluster.made, listening, &admin, begun)?;
    let drained = listener.serve(gate, signals.stop()).await;
    match drained {
        Drained::Completely => tracing::info!("every connection is finished"),
        Drained::CutOff { connections } => tracing::warn!(connections, "deadline passed, connections were cut off"),
    }
    Ok(())
}

/// What the listener shows and whom it trusts.
fn tls(cluster: &pki::Cluster, trust: &Trust) -> TlsMaterial {
    let Pair { certificate, key } = &cluster.serving;
    TlsMaterial {
        cert_chain_pem: pem("CERTIFICATE", certificate).into_bytes(),
        key_pem: pem("PRIVATE KEY", key.secret_der()).into_bytes().into(),
        client_ca_pem: trust.client_ca_pem.clone(),
    }
}

fn profile(defaults: Defaults) -> Profile {
    match defaults {
        Defaults::Locked => Profile::Locked,
        Defaults::Upstream => {
            // A27: whoever reads the log must see it.
            tracing::warn!(
                defaults = "upstream",
                "looser than the locked defaults: for comparisons, not for a cluster"
            );
            Profile::Upstream
        }
    }
}

/// Logs go to the standard error; what a person should read goes to the standard output.
fn log_to_stderr(given: Option<&str>) -> Result<()> {
    let variable = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match (given, &variable) {
        (Some(given), _) => EnvFilter::try_new(given).map_err(|error| {
            clap::Error::raw(ErrorKind::InvalidValue, format!("--log-level {given:?} is no log filter: {error}"))
        })?,
        (None, Some(variable)) => EnvFilter::try_new(variable).with_context(|| format!("RUST_LOG is {variable:?}"))?,
        (None, None) => EnvFilter::new("info"),
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    subscriber.with_ansi(colours).with_target(false).init();
    Ok(())
}

/// The lines that a person reads. `listening` is the promise that requests are answered; tests wait for it.
fn say_what_is(made: &[String], listening: SocketAddr, admin: &Path, begun: Instant) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "portcullis {}", version::VERSION)?;
    for line in made {
        writeln!(out, "  made        {line}")?;
    }
    writeln!(out, "  kubeconfig  {}", admin.display())?;
    let server = kubeconfig::server(listening);
    let everywhere = if listening.ip().is_unspecified() { ", on every address of this machine" } else { "" };
    writeln!(out, "  listening   {server}{everywhere} ({} ms after the start)", begun.elapsed().as_millis())?;
    writeln!(out, "\nNow, in another terminal:\n")?;
    writeln!(out, "  export KUBECONFIG={}", quoted(admin))?;
    writeln!(out, "  kubectl get namespaces\n")?;
    Ok(out.flush()?)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+@%,:".contains(letter);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The two signals that ask for an end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Returns at the first signal. From then on the next one ends the process at once: acknowledged writes are durable.
    async fn stop(mut self) {
        self.next().await;
        // Listening for the second one never stops, so one that comes before the line is read is not lost.
        tokio::spawn(async move {
            let kind = self.next().await;
            std::process::exit(ENDED_BY_SIGNAL + kind.as_raw_value());
        });
        // Nobody may be reading any more; that must not keep the server from its end.
        let _ = writeln!(std::io::stdout(), "stopping: requests in flight are finished; Ctrl-C again ends at once");
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        let check = |path: &str, expected: &str| assert_eq!(quoted(Path::new(path)), expected);
        check("/var/lib/portcullis/admin.kubeconfig", "/var/lib/portcullis/admin.kubeconfig");
        check("/home/a b/k", "'/home/a b/k'");
        check("/it's/k", r"'/it'\''s/k'");
        check("/$HOME/`k`", "'/$HOME/`k`'");
    }
}
