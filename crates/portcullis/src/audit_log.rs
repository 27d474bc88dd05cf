//! The flags of the audit log, by upstream's names, and the log they ask for; `portcullis audit-log`, which checks one.
//!
//! A25: under the locked defaults there is a log without a flag, `audit/audit.log` in the data directory. Under `--defaults upstream` it
//! is off until `--audit-log-path` is given. The log of strangers is beside it in the data directory, with limits that no flag changes.

pub(crate) mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{ArgAction, ValueEnum};
use portcullis_apiserver::audit_log::StoredHeads;
use portcullis_audit::batch::{Settings, Throttle};
use portcullis_audit::log::{Destination, HeadStore as _, Log, LogMetrics, Mode, Options, Retention};
use portcullis_audit::truncate::Truncation;
use portcullis_store::Engine;

use crate::configuration::Defaults;
use crate::flags::{conflict, span};

/// Where logs are in the data directory.
const DIRECTORY: &str = "audit";
const LOG: &str = "audit.log";
const STRANGERS: &str = "strangers.log";
/// What stands for the standard output.
const STANDARD_OUTPUT: &str = "-";
/// What upstream's flags are when they are not given; it keeps all files, this keeps ten.
const FILE_MIB_MAX: u32 = 100;
const BACKUPS_MAX: usize = 10;
const AGE_DAYS_MAX: u32 = 366;
const QUEUE_LEN_MAX: usize = 10_000;
const BATCH_LEN_MAX: usize = 1;
const DAY_SECONDS: i64 = 86_400;
/// The one version and the one format of events that there are.
const VERSION: &str = "audit.k8s.io/v1";
const FORMAT: &str = "json";

/// Where events are written.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Audit log")]
pub(crate) struct AuditLogArguments {
    /// Where events are written; - is the standard output [default: D/audit/audit.log; none with --defaults upstream]
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,
    /// MiB of one file; then a new one begins [default: 100]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    audit_log_maxsize: Option<u32>,
    /// Files that are kept beside the one that is written; 0 keeps all [default: 10]
    #[arg(long, value_name = "FILES")]
    audit_log_maxbackup: Option<usize>,
    /// Days for which files are kept; 0 is for ever [default: 366]
    #[arg(long, value_name = "DAYS")]
    audit_log_maxage: Option<u32>,
    /// Compress the files that are no longer written [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    audit_log_compress: Option<bool>,
    /// Who waits for the log: batch (nobody), blocking (every request), blocking-strict (and it fails when its arrival is not
    /// recorded) [default: blocking]
    #[arg(long, value_name = "MODE", value_enum)]
    audit_log_mode: Option<ModeFlag>,
    /// In batches: events that wait to be written at most; further ones are dropped and counted [default: 10000]
    #[arg(long, value_name = "EVENTS")]
    audit_log_batch_buffer_size: Option<usize>,
    /// Events that are written at once at most [default: 1]
    #[arg(long, value_name = "EVENTS")]
    audit_log_batch_max_size: Option<usize>,
    /// How long an event waits for others to be written with [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    audit_log_batch_max_wait: Option<Duration>,
    /// Limit how often batches are written [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    audit_log_batch_throttle_enable: Option<bool>,
    /// Batches a second in the long run
    #[arg(long, value_name = "NUMBER")]
    audit_log_batch_throttle_qps: Option<f64>,
    /// Batches at once after a quiet time
    #[arg(long, value_name = "NUMBER")]
    audit_log_batch_throttle_burst: Option<u32>,
    /// Limit how long events are [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    audit_log_truncate_enabled: Option<bool>,
    /// Bytes of a batch at most [default: 10485760]
    #[arg(long, value_name = "BYTES")]
    audit_log_truncate_max_batch_size: Option<usize>,
    /// Bytes of an event at most: a longer one goes without the objects in it, or not at all [default: 102400]
    #[arg(long, value_name = "BYTES")]
    audit_log_truncate_max_event_size: Option<usize>,
    /// The format of the lines; only json
    #[arg(long, value_name = "FORMAT", value_parser = format, hide = true)]
    audit_log_format: Option<String>,
    /// The version of the events; only audit.k8s.io/v1
    #[arg(long, value_name = "VERSION", value_parser = version, hide = true)]
    audit_log_version: Option<String>,
}

/// [`Mode`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeFlag {
    /// Nobody waits
    Batch,
    /// Every request waits
    Blocking,
    /// And fails when its arrival is not recorded
    BlockingStrict,
}

/// A log that is written, and where its heads are kept.
pub(crate) struct KeptLog {
    log: Arc<Log>,
    heads: StoredHeads,
}

impl KeptLog {
    /// The log, to give events to.
    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }

    /// What must run for as long as somebody is served.
    pub(crate) fn tending(&self) -> impl Future<Output = ()> + Send + use<> {
        let (log, heads) = (Arc::clone(&self.log), self.heads.clone());
        async move { log.tend(&heads).await }
    }

    /// Writes what waits and keeps the last heads, once nobody is served any more.
    pub(crate) async fn close(self) {
        self.log.close(&self.heads).await;
    }
}

/// Where the log of a data directory is, unless a flag says otherwise.
fn default_path(data_dir: &Path) -> PathBuf {
    data_dir.join(DIRECTORY).join(LOG)
}

fn strangers_path(data_dir: &Path) -> PathBuf {
    data_dir.join(DIRECTORY).join(STRANGERS)
}

impl AuditLogArguments {
    /// Looks whether the flags go together, before anything is made.
    ///
    /// # Errors
    /// A usage error.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        self.mode().and_then(|_| self.truncation()).map(|_| ())
    }

    /// Opens the log, if there is one, and makes its heads durable before anybody is served.
    ///
    /// # Errors
    /// The log cannot be opened, or the store not be read.
    pub(crate) async fn open(
        &self,
        data_dir: &Path,
        defaults: Defaults,
        engine: Arc<dyn Engine>,
        metrics: &prometheus::Registry,
    ) -> Result<Option<KeptLog>> {
        let destination = match &self.audit_log_path {
            Some(path) if path.as_os_str() == STANDARD_OUTPUT => Destination::StandardOutput,
            Some(path) => Destination::File(std::path::absolute(path).context("--audit-log-path")?),
            None if defaults == Defaults::Locked => Destination::File(default_path(data_dir)),
            None => return Ok(None),
        };
        let log_metrics = LogMetrics::new()?;
        log_metrics.register(metrics)?;
        let options = Options {
            destination,
            strangers: strangers_path(data_dir),
            file_bytes_max: u64::from(self.audit_log_maxsize.unwrap_or(FILE_MIB_MAX)) << 20,
            retention: Retention {
                backups_max: self.audit_log_maxbackup.unwrap_or(BACKUPS_MAX),
                age_seconds_max: i64::from(self.audit_log_maxage.unwrap_or(AGE_DAYS_MAX)) * DAY_SECONDS,
                is_compressing: self.audit_log_compress.unwrap_or_default(),
            },
            mode: self.mode()?,
            truncation: self.truncation()?,
            metrics: log_metrics,
        };
        let heads = StoredHeads::new(engine);
        let kept = heads.kept().await?;
        let log = Arc::new(Log::open(options, kept.as_ref())?);
        log.anchor(&heads).await;
        Ok(Some(KeptLog { log, heads }))
    }

    fn mode(&self) -> Result<Mode, clap::Error> {
        let mode = match self.audit_log_mode {
            None | Some(ModeFlag::Blocking) => Mode::Blocking,
            Some(ModeFlag::BlockingStrict) => Mode::BlockingStrict,
            Some(ModeFlag::Batch) => Mode::Batch(self.batch()?),
        };
        Ok(mode)
    }

    fn batch(&self) -> Result<Settings, clap::Error> {
        let throttle = self.audit_log_batch_throttle_enable.unwrap_or_default().then(|| Throttle {
            per_second: self.audit_log_batch_throttle_qps.unwrap_or_default(),
            burst: self.audit_log_batch_throttle_burst.unwrap_or_default(),
        });
        let batch = Settings {
            queue_len_max: self.audit_log_batch_buffer_size.unwrap_or(QUEUE_LEN_MAX),
            batch_len_max: self.audit_log_batch_max_size.unwrap_or(BATCH_LEN_MAX),
            batch_bytes_max: self.truncation()?.unwrap_or_default().batch_bytes_max,
            wait_max: self.audit_log_batch_max_wait.unwrap_or_default(),
            throttle,
        };
        let needed = [
            ("buffer-size", batch.queue_len_max > 0),
            ("max-size", batch.batch_len_max > 0),
            (
                "throttle-qps",
                throttle.is_none_or(|throttle| throttle.per_second > 0.0 && throttle.per_second.is_finite()),
            ),
            ("throttle-burst", throttle.is_none_or(|throttle| throttle.burst > 0)),
        ];
        match needed.into_iter().find(|(_, is_positive)| !is_positive) {
            None => Ok(batch),
            Some((flag, _)) => Err(conflict(&format!("--audit-log-batch-{flag} must be a positive number"))),
        }
    }

    fn truncation(&self) -> Result<Option<Truncation>, clap::Error> {
        if !self.audit_log_truncate_enabled.unwrap_or_default() {
            return Ok(None);
        }
        let default = Truncation::default();
        let batch_bytes_max = self.audit_log_truncate_max_batch_size.unwrap_or(default.batch_bytes_max);
        let event_bytes_max = self.audit_log_truncate_max_event_size.unwrap_or(default.event_bytes_max);
        if batch_bytes_max == 0 {
            return Err(conflict("--audit-log-truncate-max-batch-size must be a positive number"));
        }
        if event_bytes_max == 0 || event_bytes_max > batch_bytes_max {
            return Err(conflict(&format!(
                "--audit-log-truncate-max-event-size must be positive and no larger than the max batch size \
                 ({batch_bytes_max})"
            )));
        }
        Ok(Some(Truncation { event_bytes_max, batch_bytes_max }))
    }
}

fn format(text: &str) -> Result<String, String> {
    if text == FORMAT { Ok(text.to_owned()) } else { Err(format!("only {FORMAT} is written here, one event a line")) }
}

fn version(text: &str) -> Result<String, String> {
    if text == VERSION { Ok(text.to_owned()) } else { Err(format!("there is only {VERSION}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::flags::parse;

    fn mode(flags: &str) -> Result<Mode, String> {
        parse::<AuditLogArguments>(flags).and_then(|given| given.mode()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_as_upstream() {
        assert_eq!(mode("").unwrap(), Mode::Blocking);
        let batch = Settings {
            queue_len_max: 10_000,
            batch_len_max: 1,
            batch_bytes_max: 10_485_760,
            wait_max: Duration::ZERO,
            throttle: None,
        };
        assert_eq!(mode("--audit-log-mode batch").unwrap(), Mode::Batch(batch));
        let truncated = parse::<AuditLogArguments>("--audit-log-truncate-enabled").unwrap().truncation().unwrap();
        assert_eq!(truncated, Some(Truncation { event_bytes_max: 102_400, batch_bytes_max: 10_485_760 }));
        let strict = "--audit-log-mode=blocking-strict --audit-log-format=json --audit-log-version=audit.k8s.io/v1";
        assert_eq!(mode(strict).unwrap(), Mode::BlockingStrict);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let check = |flags: &str, part: &str| {
            let said = parse::<AuditLogArguments>(flags).and_then(|given| given.check());
            let said = said.unwrap_err().to_string();
            assert!(said.contains(part), "{flags}: {said}");
        };
        check("--audit-log-format=legacy", "only json is written here");
        check("--audit-log-version=audit.k8s.io/v1beta1", "there is only audit.k8s.io/v1");
        check("--audit-log-maxsize=0", "0 is not in 1..");
        check("--audit-log-mode=async", "possible values: batch, blocking, blocking-strict");
        check("--audit-log-mode=batch --audit-log-batch-buffer-size=0", "buffer-size must be a positive number");
        check("--audit-log-mode=batch --audit-log-batch-throttle-enable", "throttle-qps must be a positive number");
        check(
            "--audit-log-truncate-enabled --audit-log-truncate-max-batch-size=1",
            "no larger than the max batch size (1)",
        );
    }
}
