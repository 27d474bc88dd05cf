//! The flags of the audit webhook, by upstream's names, and the sink they ask for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ArgAction;
use portcullis_audit::batch::{Batches, Settings, Throttle};
use portcullis_audit::truncate::Truncation;
use portcullis_audit::webhook::{self, Mode, Webhook, WebhookSettings};
use portcullis_client::DialRule;

use crate::flags::{conflict, span};

/// What upstream's flags are when they are not given.
const QUEUE_LEN_MAX: usize = 10_000;
const BATCH_LEN_MAX: usize = 400;
const WAIT_MAX: Duration = Duration::from_secs(30);
const THROTTLE: Throttle = Throttle { per_second: 10.0, burst: 15 };
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The one version of events that there is.
const VERSION: &str = "audit.k8s.io/v1";
/// How long the end of the server waits for what was not sent yet.
pub(crate) const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Where events are sent.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Audit webhook")]
pub(crate) struct AuditWebhook {
    /// Where events are sent, and how this server proves who it is: a kubeconfig. Without it, nowhere
    #[arg(long, value_name = "FILE")]
    audit_webhook_config_file: Option<PathBuf>,
    /// Who waits for the webhook: batch (nobody), blocking (every request), blocking-strict (and it fails when its arrival is not
    /// recorded) [default: batch]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    audit_webhook_mode: Option<Mode>,
    /// Events that wait to be sent at most; further ones are dropped and counted [default: 10000]
    #[arg(long, value_name = "EVENTS")]
    audit_webhook_batch_buffer_size: Option<usize>,
    /// Events that are sent at once at most [default: 400]
    #[arg(long, value_name = "EVENTS")]
    audit_webhook_batch_max_size: Option<usize>,
    /// How long an event waits for others to be sent with [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    audit_webhook_batch_max_wait: Option<Duration>,
    /// Limit how often batches are sent [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    audit_webhook_batch_throttle_enable: Option<bool>,
    /// Batches a second in the long run [default: 10]
    #[arg(long, value_name = "NUMBER")]
    audit_webhook_batch_throttle_qps: Option<f64>,
    /// Batches at once after a quiet time [default: 15]
    #[arg(long, value_name = "NUMBER")]
    audit_webhook_batch_throttle_burst: Option<u32>,
    /// The pause before events are sent a second time; each further one is longer [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = span)]
    audit_webhook_initial_backoff: Option<Duration>,
    /// Limit how long events and batches are [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", action = ArgAction::Set)]
    audit_webhook_truncate_enabled: Option<bool>,
    /// Bytes of a batch at most [default: 10485760]
    #[arg(long, value_name = "BYTES")]
    audit_webhook_truncate_max_batch_size: Option<usize>,
    /// Bytes of an event at most: a longer one goes without the objects in it, or not at all [default: 102400]
    #[arg(long, value_name = "BYTES")]
    audit_webhook_truncate_max_event_size: Option<usize>,
    /// The version of the events; only audit.k8s.io/v1
    #[arg(long, value_name = "VERSION", value_parser = version, hide = true)]
    audit_webhook_version: Option<String>,
}

impl AuditWebhook {
    /// Looks whether the flags go together, before anything is made.
    ///
    /// # Errors
    /// A usage error.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        self.settings().map(|_| ())
    }

    /// Starts the webhook, if there is one. The task with it is to be finished within [`FINISH_WITHIN`] when nobody is served any more.
    ///
    /// # Errors
    /// A usage error, or the kubeconfig can not be used.
    pub(crate) fn start(&self, dial: DialRule) -> Result<Option<(Webhook, Option<Batches>)>> {
        let settings = self.settings()?;
        let Some(file) = &self.audit_webhook_config_file else { return Ok(None) };
        let flag = "--audit-webhook-config-file";
        let client = webhook::client(&std::path::absolute(file).context(flag)?, dial).context(flag)?;
        Ok(Some(Webhook::start(client, &settings)))
    }

    fn settings(&self) -> Result<WebhookSettings, clap::Error> {
        let truncation = self.truncation()?;
        let mode = self.audit_webhook_mode.unwrap_or_default();
        let batch = Settings {
            queue_len_max: self.audit_webhook_batch_buffer_size.unwrap_or(QUEUE_LEN_MAX),
            batch_len_max: self.audit_webhook_batch_max_size.unwrap_or(BATCH_LEN_MAX),
            batch_bytes_max: truncation.unwrap_or_default().batch_bytes_max,
            wait_max: self.audit_webhook_batch_max_wait.unwrap_or(WAIT_MAX),
            throttle: self.throttle(),
        };
        if mode == Mode::Batch {
            check_batch(&batch)?;
        }
        Ok(WebhookSettings {
            mode,
            batch,
            first_pause: self.audit_webhook_initial_backoff.unwrap_or(FIRST_PAUSE),
            truncation,
        })
    }

    fn throttle(&self) -> Option<Throttle> {
        self.audit_webhook_batch_throttle_enable.unwrap_or(true).then(|| Throttle {
            per_second: self.audit_webhook_batch_throttle_qps.unwrap_or(THROTTLE.per_second),
            burst: self.audit_webhook_batch_throttle_burst.unwrap_or(THROTTLE.burst),
        })
    }

    fn truncation(&self) -> Result<Option<Truncation>, clap::Error> {
        if !self.audit_webhook_truncate_enabled.unwrap_or_default() {
            return Ok(None);
        }
        let default = Truncation::default();
        let batch_bytes_max = self.audit_webhook_truncate_max_batch_size.unwrap_or(default.batch_bytes_max);
        let event_bytes_max = self.audit_webhook_truncate_max_event_size.unwrap_or(default.event_bytes_max);
        if batch_bytes_max == 0 {
            return Err(conflict("--audit-webhook-truncate-max-batch-size must be a positive number"));
        }
        if event_bytes_max == 0 || event_bytes_max > batch_bytes_max {
            return Err(conflict(&format!(
                "--audit-webhook-truncate-max-event-size must be positive and no larger than the max batch size \
                 ({batch_bytes_max})"
            )));
        }
        Ok(Some(Truncation { event_bytes_max, batch_bytes_max }))
    }
}

fn check_batch(batch: &Settings) -> Result<(), clap::Error> {
    let throttle = batch.throttle.unwrap_or(THROTTLE);
    let needed = [
        ("buffer-size", batch.queue_len_max > 0),
        ("max-size", batch.batch_len_max > 0),
        ("throttle-qps", throttle.per_second > 0.0 && throttle.per_second.is_finite()),
        ("throttle-burst", throttle.burst > 0),
    ];
    match needed.into_iter().find(|(_, is_positive)| !is_positive) {
        None => Ok(()),
        Some((flag, _)) => Err(conflict(&format!("--audit-webhook-batch-{flag} must be a positive number"))),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    let known = Mode::ALL.map(Mode::name).join(", ");
    Mode::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| format!("there are {known}"))
}

fn version(text: &str) -> Result<String, String> {
    if text == VERSION { Ok(text.to_owned()) } else { Err(format!("there is only {VERSION}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::flags::parse;

    #[test]
    fn what_is_not_said_is_as_upstream() {
        let settings = parse::<AuditWebhook>("").unwrap().settings().unwrap();
        let batch = Settings {
            queue_len_max: 10_000,
            batch_len_max: 400,
            batch_bytes_max: 10_485_760,
            wait_max: Duration::from_secs(30),
            throttle: Some(Throttle { per_second: 10.0, burst: 15 }),
        };
        let expected =
            WebhookSettings { mode: Mode::Batch, batch, first_pause: Duration::from_secs(10), truncation: None };
        assert_eq!(settings, expected);
        let flags = parse::<AuditWebhook>("--audit-webhook-truncate-enabled").unwrap();
        let truncation = Truncation { event_bytes_max: 102_400, batch_bytes_max: 10_485_760 };
        assert_eq!(flags.settings().unwrap().truncation, Some(truncation));
    }

    #[test]
    fn flags_are_what_they_say() {
        let flags = "--audit-webhook-mode=blocking-strict --audit-webhook-batch-buffer-size=1 --audit-webhook-batch-max-size=2 \
                     --audit-webhook-batch-max-wait=3s --audit-webhook-batch-throttle-enable=false \
                     --audit-webhook-initial-backoff=4s --audit-webhook-truncate-enabled=true \
                     --audit-webhook-truncate-max-batch-size=6 --audit-webhook-truncate-max-event-size=5 \
                     --audit-webhook-version=audit.k8s.io/v1";
        let settings = parse::<AuditWebhook>(flags).unwrap().settings().unwrap();
        let batch = Settings {
            queue_len_max: 1,
            batch_len_max: 2,
            batch_bytes_max: 6,
            wait_max: Duration::from_secs(3),
            throttle: None,
        };
        let truncation = Some(Truncation { event_bytes_max: 5, batch_bytes_max: 6 });
        let first_pause = Duration::from_secs(4);
        assert_eq!(settings, WebhookSettings { mode: Mode::BlockingStrict, batch, first_pause, truncation });
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let check = |flags: &str, expected: &str| {
            let error = match parse::<AuditWebhook>(flags) {
                Ok(given) => given.check().err().map(|error| error.to_string()).unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(expected), "{flags}: {error}");
            assert_eq!(error.is_empty(), expected.is_empty(), "{flags}: {error}");
        };
        check("", "");
        check("--audit-webhook-mode=later", "there are batch, blocking, blocking-strict");
        check("--audit-webhook-version=audit.k8s.io/v1beta1", "there is only audit.k8s.io/v1");
        check("--audit-webhook-batch-buffer-size=0", "--audit-webhook-batch-buffer-size must be a positive number");
        check("--audit-webhook-mode=blocking --audit-webhook-batch-buffer-size=0", "");
        check("--audit-webhook-batch-throttle-qps=-1", "--audit-webhook-batch-throttle-qps must be");
        check("--audit-webhook-batch-throttle-qps=-1 --audit-webhook-batch-throttle-enable=false", "");
        check("--audit-webhook-truncate-enabled --audit-webhook-truncate-max-event-size=10485761", "no larger than");
        check("--audit-webhook-truncate-max-event-size=0", "");
    }
}
