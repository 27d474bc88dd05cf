//! Somebody else decides: a webhook is asked by `SubjectAccessReview` (upstream: the webhook authoriser; several of them and their
//! settings by AuthorizationConfiguration, KEP-3221; selectors, KEP-4601).
//!
//! What it answers is kept for a while. When it can not be asked, its failure policy decides, and nothing is kept.
//! system:masters never comes here: the chain lets them pass before.

use std::time::Duration;

use bytes::Bytes;
use portcullis_client::{Answers, Attempts, DialRule, Keep, Question, Reviewer};
use serde_json::{Map, Value, json};

use super::{
    Attributes, Authorizer, Decision, Operator, Requirement, Rules, Selectors, Target, Verdict, WebhookFailurePolicy,
    WebhookSetting,
};
use crate::identity::Identity;
use crate::webhook::{ReviewVersion, WebhookError, client, printable};

/// Longest time one question may take, all attempts together.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// A question whose parts that a client chooses are longer than this together is not kept, in bytes.
const KEPT_QUESTION_BYTES_MAX: usize = 10_000;
/// Longest reason that is passed on, in characters.
const REASON_CHARS_MAX: usize = 1024;

/// Asks a webhook.
pub struct WebhookAuthorizer {
    name: String,
    version: ReviewVersion,
    reviewer: Reviewer,
    authorized_ttl: Duration,
    unauthorized_ttl: Duration,
    on_failure: Verdict,
    answers: Answers<Verdict>,
}

impl WebhookAuthorizer {
    /// Reads the kubeconfig; nothing is asked yet. The time of a setting is for all attempts of one question together.
    ///
    /// # Errors
    /// The setting can not be used.
    pub fn new(setting: &WebhookSetting, dial: &DialRule) -> Result<Self, WebhookError> {
        Self::with_attempts(setting, dial, Attempts::default())
    }

    fn with_attempts(setting: &WebhookSetting, dial: &DialRule, attempts: Attempts) -> Result<Self, WebhookError> {
        if setting.timeout.is_zero() || setting.timeout > TIMEOUT_MAX {
            return Err(WebhookError::TimeoutOutOfRange { limit: TIMEOUT_MAX });
        }
        let client = client(&setting.kubeconfig, dial)?;
        let api_version = match setting.review_version {
            ReviewVersion::V1 => "authorization.k8s.io/v1",
            ReviewVersion::V1beta1 => "authorization.k8s.io/v1beta1",
        };
        let reason = format!("webhook authorizer {} could not be asked", setting.name);
        Ok(Self {
            name: setting.name.clone(),
            version: setting.review_version,
            reviewer: Reviewer::new(client, api_version, "SubjectAccessReview", setting.timeout, attempts),
            authorized_ttl: setting.authorized_ttl,
            unauthorized_ttl: setting.unauthorized_ttl,
            on_failure: match setting.failure_policy {
                WebhookFailurePolicy::Deny => Verdict::deny(reason),
                WebhookFailurePolicy::NoOpinion => Verdict::NoOpinion { reason: reason.into() },
            },
            answers: Answers::new()?,
        })
    }

    async fn ask(&self, spec: Value, is_kept: bool) -> (Verdict, Keep) {
        let review = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": self.reviewer.api_version(),
            "metadata": {},
            "spec": spec,
        });
        let answer = self.reviewer.ask(Bytes::from(review.to_string())).await;
        let answer = answer.map_err(|error| error.to_string());
        let verdict = match answer.and_then(|status| read(&status).map_err(str::to_owned)) {
            Ok(verdict) => verdict,
            Err(error) => {
                tracing::warn!(gate = "authz", authorizer = self.name, error, "webhook not answered");
                return (self.on_failure.clone(), Keep::No);
            }
        };
        let (ttl, reason) = match &verdict {
            Verdict::Allow { reason } => (self.authorized_ttl, reason),
            Verdict::Deny { reason } | Verdict::NoOpinion { reason } => (self.unauthorized_ttl, reason),
        };
        let keep = if is_kept { Keep::For { ttl, bytes: reason.len() } } else { Keep::No };
        (verdict, keep)
    }

    fn question(&self, spec: &Value) -> Question {
        self.answers.question([spec.to_string().as_bytes()])
    }
}

impl Authorizer for WebhookAuthorizer {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn configured_name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        let spec = spec(attributes, self.version);
        let question = self.question(&spec);
        if let Some(verdict) = self.answers.find(&question) {
            return Decision::Now(verdict);
        }
        let is_kept = chosen_bytes(attributes) < KEPT_QUESTION_BYTES_MAX;
        Decision::Later(Box::pin(async move { self.answers.get(question, || self.ask(spec, is_kept)).await }))
    }

    fn rules(&self, _user: &Identity, _namespace: &str, rules: &mut Rules) {
        rules.gaps.push("webhook authorizer does not support user rule resolution".to_owned());
    }
}

/// Makes the question. Keys are sorted and absent parts are left out, so equal questions are equal texts.
fn spec(attributes: &Attributes<'_>, version: ReviewVersion) -> Value {
    let user = attributes.user;
    let mut spec = Map::new();
    put(&mut spec, "user", &user.name);
    put(&mut spec, "uid", &user.uid);
    if !user.groups.is_empty() {
        let field = match version {
            ReviewVersion::V1 => "groups",
            ReviewVersion::V1beta1 => "group",
        };
        spec.insert(field.to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(user.extra));
    }
    let mut target = Map::new();
    let field = match attributes.target {
        Target::Path(path) => {
            put(&mut target, "path", path);
            "nonResourceAttributes"
        }
        Target::Resource { group, version, namespace, resource, subresource, name, selectors } => {
            put(&mut target, "namespace", namespace);
            put(&mut target, "group", group);
            put(&mut target, "version", version);
            put(&mut target, "resource", resource);
            put(&mut target, "subresource", subresource);
            put(&mut target, "name", name);
            put_requirements(&mut target, "fieldSelector", &selectors.read().fields);
            put_requirements(&mut target, "labelSelector", &selectors.read().labels);
            "resourceAttributes"
        }
    };
    put(&mut target, "verb", attributes.verb);
    spec.insert(field.to_owned(), Value::Object(target));
    Value::Object(spec)
}

fn put(object: &mut Map<String, Value>, field: &str, text: &str) {
    if !text.is_empty() {
        object.insert(field.to_owned(), Value::from(text));
    }
}

fn put_requirements(object: &mut Map<String, Value>, field: &str, requirements: &[Requirement]) {
    if requirements.is_empty() {
        return;
    }
    let of = |requirement: &Requirement| {
        let operator = match requirement.operator {
            Operator::In => "In",
            Operator::NotIn => "NotIn",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
        };
        let mut written = Map::from_iter([
            ("key".to_owned(), Value::from(requirement.key.as_str())),
            ("operator".to_owned(), Value::from(operator)),
        ]);
        if !requirement.values.is_empty() {
            written.insert("values".to_owned(), json!(requirement.values));
        }
        Value::Object(written)
    };
    let requirements: Vec<Value> = requirements.iter().map(of).collect();
    object.insert(field.to_owned(), json!({ "requirements": requirements }));
}

/// Returns how long the parts of a question are that a client chooses.
fn chosen_bytes(attributes: &Attributes<'_>) -> usize {
    let of = |requirements: &[Requirement]| {
        let of = |one: &Requirement| one.key.len() + one.values.iter().map(String::len).sum::<usize>();
        requirements.iter().map(of).sum::<usize>()
    };
    let target = match attributes.target {
        Target::Path(path) => path.len(),
        Target::Resource { group, version, namespace, resource, subresource, name, selectors } => {
            let Selectors { fields, labels } = selectors.read();
            let words = [group, version, namespace, resource, subresource, name];
            words.iter().map(|word| word.len()).sum::<usize>() + of(fields) + of(labels)
        }
    };
    attributes.verb.len() + target
}

/// Judges an answer. Both allowed and denied is denied, as upstream.
fn read(status: &Value) -> Result<Verdict, &'static str> {
    let flag = |field: &str| match status.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err("webhook answered with something else than true or false"),
    };
    let (is_allowed, is_denied) = (flag("allowed")?, flag("denied")?);
    let reason = match status.get("reason") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(reason)) => printable(reason, REASON_CHARS_MAX),
        Some(_) => return Err("webhook answered with a reason that is not a text"),
    };
    Ok(match (is_denied, is_allowed) {
        (true, _) => Verdict::deny(reason),
        (false, true) => Verdict::allow(reason),
        (false, false) => Verdict::NoOpinion { reason: reason.into() },
    })
}

#[cfg(test)]
mod tests;
