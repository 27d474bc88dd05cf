//! ImagePolicyWebhook: somebody else decides which images may run (upstream: `plugin/pkg/admission/imagepolicy`, `ImageReview` of
//! `imagepolicy.k8s.io/v1alpha1`).
//!
//! What was answered is kept for a while. When nobody can be asked, the pod is refused, unless its operator chose otherwise.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use portcullis_client::{Access, Answers, Attempts, Client, DialRule, Keep, Reviewer, Trust};
use portcullis_gate::{BoxError, Document, Fields};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::Pod;
use portcullis_model::status::FieldError;
use portcullis_model::time::push_duration;
use serde_json::{Map, Value, json};

use super::{Attempt, Given, Operation, Pass, Plugin, PluginFault, pods};
use crate::answer::Failure;
use crate::registry::Served;

const API_VERSION: &str = "imagepolicy.k8s.io/v1alpha1";
const KIND: &str = "ImageReview";
/// Which annotations of a pod are shown to the webhook.
const SHOWN_ANNOTATIONS: &str = ".image-policy.k8s.io/";
/// What the annotations of audit events begin with.
const RECORDED: &str = "imagepolicywebhook.image-policy.k8s.io/";
const FAILED_OPEN: &str = "imagepolicywebhook.image-policy.k8s.io/failed-open";
/// The door through which containers come later.
const EPHEMERAL: &str = "ephemeralcontainers";

/// Longest time that one question may take, all attempts together.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a question is put, and how much longer each further pause is.
const ATTEMPTS_MAX: u32 = 5;
const PAUSE_FACTOR: f64 = 1.5;
/// Longest reason that is passed on, in characters.
const REASON_CHARS_MAX: usize = 1024;
/// Annotations of one answer that are recorded.
const ANNOTATIONS_MAX: usize = 16;

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: i64 = 1_000_000;

/// What the webhook said about a set of images.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Allowed {
        annotations: Vec<(String, String)>,
    },
    Denied {
        reason: String,
        annotations: Vec<(String, String)>,
    },
    /// Nothing that can be understood.
    Failed {
        why: String,
    },
}

/// The plugin.
pub struct ImagePolicyWebhook {
    reviewer: Reviewer,
    answers: Answers<Said>,
    settings: Settings,
}

/// What an operator says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    kubeconfig: String,
    allow_ttl: Duration,
    deny_ttl: Duration,
    retry_backoff: Duration,
    /// Whether pods pass when nobody can be asked.
    default_allow: bool,
}

impl ImagePolicyWebhook {
    /// Makes it of what its operator says.
    ///
    /// # Errors
    /// That is nothing, makes no sense, or leads to no webhook that can be verified.
    pub fn configured(given: Given<'_>) -> Result<Box<dyn Plugin>, PluginFault> {
        let settings = read(given.configuration.ok_or(PluginFault::Missing)?)?;
        if settings.default_allow {
            tracing::warn!(plugin = "ImagePolicyWebhook", "pods pass when the webhook can not be asked: defaultAllow");
        }
        Ok(Box::new(Self::with(settings, given.dial).map_err(PluginFault::Unusable)?))
    }

    fn with(settings: Settings, dial: &DialRule) -> Result<Self, BoxError> {
        let access = Access::from_file(Path::new(&settings.kubeconfig))?;
        if matches!(access.trust, Trust::Unverified) {
            // A21.
            return Err("a webhook that decides on images is always verified: replace insecure-skip-tls-verify by certificate-authority".into());
        }
        let client = Client::new(&access, dial.clone())?;
        let attempts = Attempts { count_max: ATTEMPTS_MAX, first_pause: settings.retry_backoff, factor: PAUSE_FACTOR };
        let reviewer = Reviewer::new(client, API_VERSION, KIND, TIMEOUT, attempts);
        Ok(Self { reviewer, answers: Answers::new()?, settings })
    }

    /// Asks, unless it was asked a moment ago.
    async fn ask(&self, spec: Value) -> Said {
        let question = self.answers.question([spec.to_string().as_bytes()]);
        let review = json!({"apiVersion": API_VERSION, "kind": KIND, "spec": spec, "status": {"allowed": false}});
        let answer = self.answers.get(question, async || {
            let said = match self.reviewer.ask(Bytes::from(review.to_string())).await {
                Ok(status) => understand(&status),
                Err(error) => Said::Failed { why: error.to_string() },
            };
            let ttl = match said {
                Said::Allowed { .. } => self.settings.allow_ttl,
                Said::Denied { .. } => self.settings.deny_ttl,
                Said::Failed { .. } => return (said, Keep::No),
            };
            let bytes = said.bytes();
            (said, Keep::For { ttl, bytes })
        });
        answer.await
    }

    async fn review(&self, attempt: &Attempt<'_>, spec: Value) -> Result<(), Failure> {
        let annotate = |annotations: Vec<(String, String)>| {
            for (key, value) in annotations {
                attempt.request.permitted.record().annotate(format!("{RECORDED}{key}"), value);
            }
        };
        match self.ask(spec).await {
            Said::Allowed { annotations } => {
                annotate(annotations);
                Ok(())
            }
            Said::Denied { reason, annotations } => {
                annotate(annotations);
                Err(attempt.forbidden(&denial(&reason)))
            }
            Said::Failed { why } => {
                tracing::warn!(
                    plugin = self.name(),
                    why,
                    default_allow = self.settings.default_allow,
                    "webhook failed"
                );
                if self.settings.default_allow {
                    attempt.annotate(FAILED_OPEN, "true");
                    return Ok(());
                }
                Err(attempt.forbidden(&why))
            }
        }
    }
}

impl Said {
    /// What it weighs where it is kept.
    fn bytes(&self) -> usize {
        let of =
            |annotations: &[(String, String)]| annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        match self {
            Said::Allowed { annotations } => of(annotations),
            Said::Denied { reason, annotations } => reason.len() + of(annotations),
            Said::Failed { why } => why.len(),
        }
    }
}

impl Plugin for ImagePolicyWebhook {
    fn name(&self) -> &'static str {
        "ImagePolicyWebhook"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        pods::are_written(served, operation)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let door = attempt.subresource();
        if !door.is_empty() && door != EPHEMERAL {
            return Pass::on();
        }
        let Some(pod) = attempt.new().map(views::read::<Pod<'_>>) else { return Pass::on() };
        let spec = spec(pod, attempt.namespace(), door == EPHEMERAL);
        Pass::Later(Box::pin(self.review(attempt, spec)))
    }
}

fn denial(reason: &str) -> String {
    if reason.is_empty() {
        return "one or more images rejected by webhook backend".to_owned();
    }
    format!("image policy webhook backend denied one or more images: {reason}")
}

/// What is asked. The images of containers that came later stand for themselves, for the others were reviewed before.
fn spec(pod: Pod<'_>, namespace: &str, is_later: bool) -> Value {
    let spec = pod.spec();
    let images: Vec<&str> = match is_later {
        true => spec.ephemeral_containers().iter().map(|container| container.image()).collect(),
        false => {
            let then = spec.init_containers().iter().map(|container| container.image());
            spec.containers().iter().map(|container| container.image()).chain(then).collect()
        }
    };
    let mut asked = Map::new();
    let images: Vec<Value> = images.into_iter().map(|image| json!({"image": image})).collect();
    asked.insert("containers".to_owned(), images.into());
    let shown = pod.metadata().annotations().iter().filter(|(key, _)| key.contains(SHOWN_ANNOTATIONS));
    let shown: Map<String, Value> = shown.map(|(key, value)| (key.to_owned(), value.into())).collect();
    if !shown.is_empty() {
        asked.insert("annotations".to_owned(), shown.into());
    }
    if !namespace.is_empty() {
        asked.insert("namespace".to_owned(), namespace.into());
    }
    Value::Object(asked)
}

/// Reads the status of an answer.
fn understand(status: &Value) -> Said {
    let annotations = status.get("auditAnnotations").and_then(Value::as_object).into_iter().flatten();
    let annotations = annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let annotations = annotations.take(ANNOTATIONS_MAX).collect();
    let wrong =
        |field: &str| Said::Failed { why: format!("webhook answered with a {KIND} whose {field} is of another type") };
    let reason = match status.get("reason") {
        None | Some(Value::Null) => "",
        Some(Value::String(reason)) => reason,
        Some(_) => return wrong("status.reason"),
    };
    match status.get("allowed") {
        Some(Value::Bool(true)) => Said::Allowed { annotations },
        None | Some(Value::Null | Value::Bool(false)) => Said::Denied { reason: printable(reason), annotations },
        Some(_) => wrong("status.allowed"),
    }
}

/// Makes a webhook's words fit for a line.
fn printable(words: &str) -> String {
    words.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(REASON_CHARS_MAX).collect()
}

fn read(document: Document) -> Result<Settings, PluginFault> {
    let mut errors = Vec::new();
    let settings = document.read(|fields| fields.object("imagePolicy", |fields| read_policy(fields, &mut errors)))?;
    let Some(settings) = settings else {
        return Err(PluginFault::Invalid(vec![FieldError::required("imagePolicy", "")]));
    };
    if errors.is_empty() { Ok(settings) } else { Err(PluginFault::Invalid(errors)) }
}

fn read_policy(fields: &mut Fields<'_>, errors: &mut Vec<FieldError>) -> Settings {
    let kubeconfig = fields.string("kubeConfigFile");
    if kubeconfig.is_empty() {
        errors.push(FieldError::required("imagePolicy.kubeConfigFile", ""));
    }
    // In upstream's order: a pause may be as short as it likes, an answer is kept for more than a second.
    let mut time = |name: &str, unit: i64, min: i64, max: i64, default: i64| {
        let value = fields.integer(name).unwrap_or_default();
        duration(name, value, (unit, min, max, default), errors)
    };
    let retry_backoff = time("retryBackoff", MILLISECOND, 1, 300 * SECOND, 500 * MILLISECOND);
    let allow_ttl = time("allowTTL", SECOND, SECOND, 1800 * SECOND, 300 * SECOND);
    let deny_ttl = time("denyTTL", SECOND, SECOND, 1800 * SECOND, 30 * SECOND);
    let default_allow = fields.bool("defaultAllow").unwrap_or_default();
    Settings { kubeconfig, allow_ttl, deny_ttl, retry_backoff, default_allow }
}

/// Reads a time: 0 is the default, -1 is none.
fn duration(
    name: &str,
    value: i64,
    (unit, min, max, default): (i64, i64, i64, i64),
    errors: &mut Vec<FieldError>,
) -> Duration {
    let nanos = match value {
        -1 => 0,
        0 => default,
        _ => value.saturating_mul(unit),
    };
    if value > 0 && (nanos <= min || nanos > max) || value < -1 {
        let why = format!("valid value is between {} and {}, got {}", text(min), text(max), text(nanos));
        errors.push(FieldError::invalid(format!("imagePolicy.{name}"), value, why));
    }
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

/// A duration as Go prints it.
fn text(nanos: i64) -> String {
    let mut text = Vec::new();
    push_duration(&mut text, nanos);
    String::from_utf8_lossy(&text).into_owned()
}
