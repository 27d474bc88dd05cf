//! Traces of requests, sent to a collector by OTLP, and the log beside them (upstream: `--tracing-config-file`, `APIServerTracing`,
//! KEP-647).
//!
//! Without the file no layer is there and no span is made. With it, spans come from the gate (`trace`), from admission and from the store,
//! `recorder` keeps what is to be recorded, and `export` sends it.

mod export;
mod recorder;
mod storage;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result, anyhow, bail};
use portcullis_gate::{TRACE_TARGET, turn_on_traces};
use portcullis_model::yaml;
use portcullis_store::engine::Engine;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tonic::transport::Endpoint;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

pub(crate) use self::export::Exporter;
use self::recorder::{Ended, MILLION, Recorder};
use self::storage::Spans;
use crate::commits::Attended;

/// Longest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Where a collector on this machine takes spans.
const DEFAULT_ENDPOINT: &str = "localhost:4317";
const KIND: &str = "TracingConfiguration";
const GROUP: &str = "apiserver.config.k8s.io/";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// Traces of requests.
#[derive(Debug, clap::Args)]
pub(crate) struct TracingArguments {
    /// A TracingConfiguration: where traces of requests are sent (OTLP over gRPC, without TLS), and how many of a million
    #[arg(long, value_name = "FILE")]
    tracing_config_file: Option<PathBuf>,
}

/// What a TracingConfiguration says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Configuration {
    /// A host and a port.
    endpoint: String,
    rate_per_million: u64,
}

/// Traces that are wanted, and not yet recorded.
pub(crate) struct Traces {
    endpoint: Endpoint,
    recorder: Recorder,
    ended: mpsc::Receiver<Ended>,
    dropped: Arc<AtomicU64>,
}

impl TracingArguments {
    /// Reads the file; nothing when none was given.
    pub(crate) fn read(&self) -> Result<Option<Traces>> {
        let Some(path) = &self.tracing_config_file else { return Ok(None) };
        let configuration =
            load(path).with_context(|| format!("--tracing-config-file {} can not be used", path.display()))?;
        let endpoint = Endpoint::from_shared(format!("http://{}", configuration.endpoint))
            .map_err(|_| anyhow!("--tracing-config-file: endpoint {:?} is no host and port", configuration.endpoint))?;
        let (sender, ended) = mpsc::channel(export::QUEUE_LEN_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let recorder = Recorder::new(configuration.rate_per_million, sender, Arc::clone(&dropped));
        Ok(Some(Traces { endpoint, recorder, ended, dropped }))
    }

    /// The store, telling of its commits if anybody listens.
    pub(crate) fn traced(&self, store: Arc<dyn Engine>) -> Arc<dyn Engine> {
        if self.tracing_config_file.is_some() { Arc::new(Attended(store, Spans)) } else { store }
    }
}

fn load(path: &Path) -> Result<Configuration> {
    let len = std::fs::metadata(path)?.len();
    if len > FILE_BYTES_MAX {
        bail!("it has {len} bytes, {FILE_BYTES_MAX} are allowed");
    }
    parse(&std::fs::read(path)?)
}

/// Reads strictly: what is not known is refused.
fn parse(text: &[u8]) -> Result<Configuration> {
    let converted = yaml::to_json(text)?;
    if let Some(duplicates) = converted.duplicates {
        bail!("{duplicates}");
    }
    let mut fields: Map<String, Value> = serde_json::from_slice(&converted.json).context("it is no object")?;
    let version = fields.remove("apiVersion").unwrap_or_default();
    let kind = fields.remove("kind").unwrap_or_default();
    let is_known = version
        .as_str()
        .and_then(|version| version.strip_prefix(GROUP))
        .is_some_and(|version| VERSIONS.contains(&version));
    if kind != KIND || !is_known {
        bail!("it is {version} {kind}, and {KIND} of {GROUP}v1 or v1beta1 is expected");
    }
    let endpoint = match fields.remove("endpoint").unwrap_or_default() {
        Value::Null => DEFAULT_ENDPOINT.to_owned(),
        Value::String(endpoint) => host_and_port(&endpoint)?,
        other => bail!("endpoint: {other} is no string"),
    };
    let rate_per_million = match fields.remove("samplingRatePerMillion").unwrap_or_default() {
        Value::Null => 0,
        Value::Number(number) => match number.as_i64() {
            None => bail!("samplingRatePerMillion: {number} is no whole number"),
            Some(rate) if rate < 0 => {
                bail!("samplingRatePerMillion: Invalid value: {rate}: sampling rate must be positive")
            }
            Some(rate) => rate.unsigned_abs(),
        },
        other => bail!("samplingRatePerMillion: {other} is no number"),
    };
    if rate_per_million > MILLION {
        bail!(
            "samplingRatePerMillion: Invalid value: {rate_per_million}: sampling rate per million must be less than or equal to one \
             million"
        );
    }
    if let Some(unknown) = fields.keys().next() {
        bail!("unknown field {unknown:?}");
    }
    Ok(Configuration { endpoint, rate_per_million })
}

/// Reads a target of gRPC, of which only hosts are dialled.
fn host_and_port(endpoint: &str) -> Result<String> {
    let target = match endpoint.split_once("//") {
        Some(("" | "dns:", target)) => target.trim_start_matches('/'),
        Some(("unix:" | "unix-abstract:", _)) => bail!("endpoint: {endpoint:?} is a socket: use a host and a port"),
        Some((scheme, _)) => {
            let scheme = scheme.trim_end_matches(':');
            bail!(
                "endpoint: Invalid value: {endpoint:?}: unsupported scheme: {scheme}.  Options are none, dns, unix, or unix-abstract"
            )
        }
        None => endpoint.strip_prefix("dns:").unwrap_or(endpoint),
    };
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-._[]:".contains(letter);
    if !target.is_empty() && target.chars().all(is_plain) && target.contains(':') {
        return Ok(target.to_owned());
    }
    bail!("endpoint: {endpoint:?} is no host and port")
}

/// Begins to log to the standard error, and to record traces if they are wanted.
pub(crate) fn start(filter: EnvFilter, has_colours: bool, traces: Option<Traces>) -> Result<Option<NotStarted>> {
    // Whatever a log shows, spans of traces are not for it.
    let filter = filter.add_directive(format!("{TRACE_TARGET}=off").parse()?);
    let Some(Traces { endpoint, recorder, ended, dropped }) = traces else {
        let subscriber = fmt().with_env_filter(filter).with_writer(std::io::stderr);
        subscriber.with_ansi(has_colours).with_target(false).init();
        return Ok(None);
    };
    let log = fmt::layer().with_writer(std::io::stderr).with_ansi(has_colours).with_target(false);
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(recorder.with_filter(filter_fn(|metadata| metadata.target() == TRACE_TARGET)))
        .init();
    Ok(Some(NotStarted { endpoint, ended, dropped }))
}

/// Traces that are not sent yet.
pub(crate) struct NotStarted {
    endpoint: Endpoint,
    ended: mpsc::Receiver<Ended>,
    dropped: Arc<AtomicU64>,
}

impl NotStarted {
    /// Begins to make spans and to send them. Needs a running runtime.
    pub(crate) fn start(self) -> Exporter {
        portcullis_client::trace_with(recorder::current);
        let exporter = Exporter::start(self.endpoint, self.ended, self.dropped);
        turn_on_traces();
        exporter
    }
}

#[cfg(test)]
mod tests;
