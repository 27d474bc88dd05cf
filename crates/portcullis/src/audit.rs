//! The flags of auditing, by upstream's names where upstream has them, and the auditor they ask for.
//!
//! A25: on from the first request, without a flag. Under `--defaults upstream` it is off until a place for events is named. Where
//! events go: `audit_log` and `audit_webhook`.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use portcullis_audit::batch::Batches;
use portcullis_audit::log::Log;
use portcullis_audit::{Auditor, OnError, Policy, Sink};
use portcullis_client::DialRule;
use portcullis_gate::{AuditPolicyFile, FileFollower, Profile};

use crate::arguments::Up;
use crate::audit_webhook::FINISH_WITHIN;
use crate::configuration::Defaults;
use crate::flags::conflict;

const POLICY_FILE: &str = "--audit-policy-file";
/// How long requests whose connections were cut off may take to end.
const RECORDS_END_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether they have.
const RECORDS_LOOK_EVERY: Duration = Duration::from_millis(2);

/// What is recorded, and what happens when it can not be.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Audit")]
pub(crate) struct AuditArguments {
    /// Which requests are recorded, and how much of them: a Policy of audit.k8s.io/v1, followed while the server runs. Without
    /// it: who, what, when, decision and reason of all, objects of none. What holds secrets or tokens never has its objects recorded
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,
    /// What happens to requests while nothing can be recorded; those of nobody known go on
    #[arg(long, value_name = "WHAT", value_enum, default_value = "refuse-writes")]
    audit_on_error: OnErrorFlag,
}

/// [`OnError`] on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OnErrorFlag {
    /// Those that change something get 503; reading goes on
    #[default]
    RefuseWrites,
    /// All get 503
    RefuseAll,
    /// They go on, and are not on record
    Ignore,
}

impl From<OnErrorFlag> for OnError {
    fn from(flag: OnErrorFlag) -> Self {
        match flag {
            OnErrorFlag::RefuseWrites => Self::RefuseWrites,
            OnErrorFlag::RefuseAll => Self::RefuseAll,
            OnErrorFlag::Ignore => Self::Ignore,
        }
    }
}

/// The auditor, and the file that it follows, if its policy is in one.
pub(crate) struct Built {
    /// For the gate.
    pub(crate) auditor: Arc<Auditor>,
    /// To be followed ([`portcullis_gate::keep_fresh`]) for as long as the server runs.
    pub(crate) file: Option<Arc<dyn FileFollower>>,
}

/// The records of requests that have not ended: each holds the auditor.
pub(crate) struct OpenRecords {
    auditor: Weak<Auditor>,
    /// Who else holds it, and is no request.
    others: usize,
}

impl OpenRecords {
    /// Those of an auditor that is about to be given to the gate.
    pub(crate) fn of(auditor: &Arc<Auditor>) -> OpenRecords {
        OpenRecords { auditor: Arc::downgrade(auditor), others: Arc::strong_count(auditor).saturating_sub(1) }
    }

    /// Waits until there are none, once the gate is gone. A connection that was cut off ends a moment before its streams do, and
    /// what they did must be on record before the log ends.
    pub(crate) async fn end(self) {
        let ended = async {
            while self.auditor.strong_count() > self.others {
                tokio::time::sleep(RECORDS_LOOK_EVERY).await;
            }
        };
        if tokio::time::timeout(RECORDS_END_WITHIN, ended).await.is_err() {
            tracing::warn!("requests that were cut off have not ended: how they did is not on record");
        }
    }
}

/// What was taken and is not written or sent yet.
#[derive(Default)]
pub(crate) struct Unfinished {
    batches: Option<Batches>,
}

impl Unfinished {
    /// Waits for it, once nobody is served any more.
    pub(crate) async fn finish(self) {
        if let Some(batches) = self.batches {
            batches.finish(FINISH_WITHIN).await;
        }
    }
}

/// Opens the places for events that the flags ask for, and makes the auditor. Blocks.
///
/// # Errors
/// Flags that do not go together are a usage error; a place that can not be used is named.
pub(crate) fn start(arguments: &Up, log: Option<Arc<Log>>, dial: DialRule) -> Result<(Built, Unfinished)> {
    let mut sinks: Vec<Box<dyn Sink>> = log.into_iter().map(|log| Box::new(log) as _).collect();
    let mut unfinished = Unfinished::default();
    if let Some((webhook, batches)) = arguments.audit_webhook.start(dial)? {
        sinks.push(Box::new(webhook));
        unfinished.batches = batches;
    }
    Ok((arguments.audit.build(arguments.defaults, sinks)?, unfinished))
}

impl AuditArguments {
    /// Makes the auditor of the sinks that the other flags ask for. Blocks: it reads the policy.
    ///
    /// # Errors
    /// A policy and no place for its events is a usage error; a policy that can not be used is named.
    pub(crate) fn build(&self, defaults: Defaults, sinks: Vec<Box<dyn Sink>>) -> Result<Built> {
        if sinks.is_empty() {
            if self.audit_policy_file.is_some() {
                let message = "--audit-policy-file records nothing without a place for events: give --audit-log-path or \
                               --audit-webhook-config-file";
                return Err(conflict(message).into());
            }
            return Ok(Built { auditor: Auditor::none(), file: None });
        }
        let names: Vec<_> = sinks.iter().map(|sink| sink.name()).collect();
        tracing::info!(to = names.join(","), on_error = ?self.audit_on_error, "audit");
        if self.audit_on_error == OnErrorFlag::Ignore {
            tracing::warn!("requests go on while nothing can be recorded: --audit-on-error=ignore");
        }
        let profile = match defaults {
            Defaults::Locked => Profile::Locked,
            Defaults::Upstream => Profile::Upstream,
        };
        // In force until the file's is; nobody is served before.
        let auditor = Auditor::with(Policy::standard(), sinks, self.audit_on_error.into());
        let Some(path) = &self.audit_policy_file else { return Ok(Built { auditor, file: None }) };
        let path = std::path::absolute(path).context(POLICY_FILE)?;
        let file = AuditPolicyFile::open(path, profile, Arc::clone(&auditor)).context(POLICY_FILE)?;
        Ok(Built { auditor, file: Some(Arc::new(file)) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use portcullis_audit::{Event, Taken};

    use super::*;
    use crate::flags::parse;

    struct Nowhere;

    impl Sink for Nowhere {
        fn name(&self) -> &'static str {
            "nowhere"
        }

        fn take<'a>(&'a self, _: &'a Event) -> Taken<'a> {
            Taken::Now(Ok(()))
        }
    }

    fn build(flags: &str, has_sink: bool) -> Result<Built> {
        let sinks: Vec<Box<dyn Sink>> = if has_sink { vec![Box::new(Nowhere)] } else { Vec::new() };
        parse::<AuditArguments>(flags).unwrap().build(Defaults::Locked, sinks)
    }

    #[test]
    fn a25_a_policy_needs_a_place_for_its_events() {
        let check = |flags: &str, has_sink: bool, expected: Result<bool, &str>| {
            let got = build(flags, has_sink).map(|built| built.file.is_some()).map_err(|error| format!("{error:#}"));
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{flags}"),
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{flags}: {got}"),
                (got, _) => panic!("{flags}: {got:?}"),
            }
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.yaml");
        std::fs::write(&path, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]").unwrap();
        let file = format!("--audit-policy-file {}", path.display());
        check("", false, Ok(false));
        check("", true, Ok(false));
        check("--audit-on-error ignore", true, Ok(false));
        check(&file, true, Ok(true));
        check(&file, false, Err("give --audit-log-path or --audit-webhook-config-file"));
        check("--audit-policy-file /absent", true, Err("--audit-policy-file: audit policy: cannot read /absent"));
        std::fs::write(&path, "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: []").unwrap();
        check(&file, true, Err("loaded illegal policy with 0 rules"));
        assert!(parse::<AuditArguments>("--audit-on-error never").is_err());
    }
}
