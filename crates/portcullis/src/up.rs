//! `portcullis up`: makes what is missing, starts every component, serves until told to stop, and drains.
//!
//! What was said is parsed and the store is locked before anything is made; everything is made before anything is bound;
//! nothing is answered before all that every cluster has is there.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::error::ErrorKind;
use portcullis_apiserver::metrics::reserve_metric_names;
use portcullis_apiserver::registry::Registry;
use portcullis_apiserver::{ApiServer, Catalog, Config};
use portcullis_gate::{
    Drained, Gate, GateConfig, Limits, Listener, Profile, TlsMaterial, keep_fresh, keep_fresh_every,
};
use time::OffsetDateTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

use crate::arguments::Up;
use crate::audit::OpenRecords;
use crate::audit_log::KeptLog;
use crate::authentication::Trust;
use crate::configuration::Defaults;
use crate::pki::{self, Pair, pem};
use crate::store_checks::StoreChecks;
use crate::store_footprint::StoreFootprint;
use crate::tracing_config::{self, NotStarted, Traces};
use crate::{addresses, apiserver, audit, connections, control, guards, kubeconfig, memory, sealing, storage, version};

/// Threads that run requests; more do not serve faster, and each holds memory.
const WORKERS_MAX: usize = 8;
/// Tasks that a busy thread runs before it looks for news from outside: from the network, from the thread that commits. A list takes
/// up to a millisecond for each of its turns, so by the runtime's own measure (61) a renewed lease would wait a tenth of a second for
/// each of its steps.
const TURNS_BETWEEN_LOOKS: u32 = 7;
/// A shell's number for a process that a signal ended: this and the signal's.
const ENDED_BY_SIGNAL: i32 = 128;

/// Runs the cluster until it is told to stop.
pub(crate) fn run(arguments: &Up) -> Result<()> {
    let begun = Instant::now();
    let data_dir = std::path::absolute(arguments.data_dir.path()?).context("--data-dir")?;
    arguments.storage.check()?;
    arguments.authorization.check()?;
    arguments.admission.check()?;
    arguments.fairness.check()?;
    arguments.audit_log.check()?;
    arguments.audit_webhook.check()?;
    let traces = log_to_stderr(arguments.log_level.as_deref(), arguments.tracing.read()?)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .event_interval(TURNS_BETWEEN_LOOKS)
        .global_queue_interval(TURNS_BETWEEN_LOOKS)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let exporter = traces.map(NotStarted::start);
        let served = serve(arguments, &data_dir, begun).await;
        if let Some(exporter) = exporter {
            exporter.finish().await;
        }
        served
    })
}

async fn serve(arguments: &Up, data_dir: &Path, begun: Instant) -> Result<()> {
    connections::raise_open_files();
    // From here on a signal is an orderly end, also while everything is being made.
    let mut signals = Signals::new()?;
    pki::files::make_private_directory(data_dir)?;
    let registry = Arc::new(Registry::new());
    let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
    let mut sealed = arguments.sealing.prepare(data_dir, arguments.defaults, catalog.clone()).await?;
    let sealing = Arc::clone(&sealed.sealing);
    let memory = memory::budget(arguments.memory_budget);
    // An etcd may have nobody who answers, and be waited for.
    let opened = tokio::select! {
        opened = arguments.storage.open(data_dir, catalog.clone(), sealing.clone(), memory) => opened?,
        _ = signals.next() => {
            tracing::info!("stopped before the store was open");
            return Ok(());
        }
    };
    let storage::Opened { lock: _lock, local: local_etcd, engine: store, embedded, requests, made } = opened;
    let made_seal_key = sealed.settle()?;
    let seal_key = sealing.key_path();
    sealing.open_at_start(&*store).await;
    let host = addresses::Host::here();
    let names = addresses::serving_names(
        &host,
        arguments.bind_address,
        arguments.service_cluster_ip_range.primary.first_host(),
    );
    let directory = pki::Directory::of(data_dir);
    let mut cluster = directory.prepare(names, OffsetDateTime::now_utc())?;
    cluster.made.splice(..0, made);
    cluster.made.extend(made_seal_key);
    let trust = arguments.authentication.trust(pem("CERTIFICATE", cluster.authority.certificate()).as_bytes())?;
    let config = GateConfig {
        bind: (arguments.bind_address, arguments.secure_port).into(),
        tls: tls(&cluster, &trust),
        defaults: profile(arguments.defaults),
        limits: Limits::default(),
        connections: arguments.connections.rules(),
    };
    let listener = Listener::bind(&config).await?;
    let listening = listener.local_addr()?;
    let admin = data_dir.join("admin.kubeconfig");
    kubeconfig::write(&admin, listening, cluster.authority.certificate(), &cluster.admin)?;
    let reached_at = kubeconfig::server(listening);
    let tokens = arguments.service_accounts.prepare(&directory, &reached_at, config.defaults, &mut cluster.made)?;
    let metrics = prometheus::Registry::new();
    reserve_metric_names(&metrics).context("metrics")?;
    listener.metrics().register(&metrics).context("metrics")?;
    let store_checks = StoreChecks::new(Arc::clone(&store), catalog);
    store_checks.register(&metrics).context("metrics")?;
    StoreFootprint::register(Arc::clone(&store), embedded.is_some(), &metrics).context("metrics")?;
    sealing::register_metrics(&sealing, &metrics).context("metrics")?;
    if let Some(requests) = requests {
        requests.register(&metrics).context("metrics")?;
    }
    let own = addresses::listening(&host, listening);
    let dial = arguments.dial.rule(own, arguments.defaults);
    let api = Config {
        metrics: metrics.clone(),
        profile: config.defaults,
        admission: arguments.admission.selection(&dial, config.defaults)?,
        service_accounts: Some(tokens.service_accounts()),
        extension_authentication: Some(arguments.authentication.published(&trust)),
        kms_providers: arguments.sealing.is_configured().then(|| apiserver::kms_providers(&sealing)),
        ..apiserver::config(arguments, listening)
    };
    let server = apiserver::start(api, arguments.tracing.traced(Arc::clone(&store)), Arc::clone(&registry)).await?;
    let log = arguments.audit_log.open(data_dir, arguments.defaults, Arc::clone(&store), &metrics).await?;
    let (audit, unfinished_events) = audit::start(arguments, log.as_ref().map(KeptLog::log), dial.clone())?;
    let records = OpenRecords::of(&audit.auditor);
    let materials = guards::Materials {
        arguments,
        engine: Arc::clone(&store),
        registry,
        server: Arc::clone(&server),
        trust,
        tokens,
        tls: Arc::clone(listener.tls()),
        dial,
        audit,
        metrics: &metrics,
    };
    let (guards, followers) = guards::guards(materials)?;
    // It ends with this function, which is when nobody is served any more.
    let mut following = JoinSet::new();
    following.spawn(keep_fresh(followers, Arc::clone(&guards.metrics)));
    following.spawn(keep_fresh_every(sealing::LOOK_INTERVAL, sealed.followers, Arc::clone(&guards.metrics)));
    match embedded.map(control::Socket::bind) {
        Some(Ok(socket)) => drop(following.spawn(socket.serve())),
        // Not every file system has sockets; everything else is served.
        Some(Err(error)) => tracing::warn!(error = format!("{error:#}"), "no backups while the server runs"),
        None => {}
    }
    following.spawn(store_checks.keep_checking(StoreChecks::requests()?));
    following.spawn(memory::give_program_back());
    following.spawn(sealing.tend(Arc::clone(&store), !arguments.storage.is_shared()));
    let keeper = Arc::clone(&server);
    following.spawn(async move { keeper.keep_flow_control().await });
    let keeper = Arc::clone(&server);
    following.spawn(async move { keeper.keep_services().await });
    if let Some(log) = &log {
        following.spawn(log.tending());
    }
    let stopped = stopped(signals, Arc::clone(&server), arguments.connections.shutdown_delay_duration);
    let gate = Arc::new(Gate::new(apiserver::handler(server), guards, config.limits));
    say_what_is(&cluster.made, seal_key.as_deref(), listening, &admin, begun)?;
    let drained = listener.serve(gate, stopped).await;
    // The last connection is gone: nothing is asked any more, and once its requests have ended nothing more is put on record.
    records.end().await;
    unfinished_events.finish().await;
    if let Some(log) = log {
        log.close().await;
    }
    if let Some(local_etcd) = local_etcd {
        following.shutdown().await;
        store.close().await;
        local_etcd.stop().await;
    }
    match drained {
        Drained::Completely => tracing::info!("every connection is finished"),
        Drained::CutOff { connections } => tracing::warn!(connections, "deadline passed, connections were cut off"),
    }
    Ok(())
}

/// Waits until it is time to stop, in upstream's order: the signal, `/readyz` that fails at once, and the time in which everything is
/// still served, so that whoever sends clients here notices.
async fn stopped(signals: Signals, server: Arc<ApiServer>, delay: Duration) {
    signals.stop(|| server.begin_stopping()).await;
    tokio::time::sleep(delay).await;
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
fn log_to_stderr(given: Option<&str>, traces: Option<Traces>) -> Result<Option<NotStarted>> {
    let variable = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match (given, &variable) {
        (Some(given), _) => EnvFilter::try_new(given).map_err(|error| {
            clap::Error::raw(ErrorKind::InvalidValue, format!("--log-level {given:?} is no log filter: {error}"))
        })?,
        (None, Some(variable)) => EnvFilter::try_new(variable).with_context(|| format!("RUST_LOG is {variable:?}"))?,
        (None, None) => EnvFilter::new("info"),
    };
    let has_colours = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_config::start(filter, has_colours, traces)
}

/// The lines that a person reads. `listening` is the promise that requests are answered; tests wait for it.
fn say_what_is(
    made: &[String],
    seal_key: Option<&Path>,
    listening: SocketAddr,
    admin: &Path,
    begun: Instant,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "portcullis {}", version::VERSION)?;
    for line in made {
        writeln!(out, "  made        {line}")?;
    }
    if let Some(file) = seal_key {
        writeln!(
            out,
            "  seal key    {} (without it secrets cannot be read: keep a copy, apart from the data)",
            file.display()
        )?;
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

    /// Returns at the first signal, after `begin`. From then on the next one ends the process at once: acknowledged writes are durable.
    async fn stop(mut self, begin: impl FnOnce()) {
        self.next().await;
        begin();
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
