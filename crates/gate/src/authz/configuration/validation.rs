//! What an AuthorizationConfiguration may say, in upstream's words and with upstream's paths (`ValidateAuthorizationConfiguration`).
//!
//! A complaint about a webhook names `authorizers[0].timeout`, not `authorizers[0].webhook.timeout`: upstream's habit.

use std::collections::BTreeSet;
use std::path::Path;

use portcullis_model::go_text::quoted;
use portcullis_model::names::dns1123_subdomain;
use portcullis_model::time::push_duration;

use super::{
    AccessReviewVersion, AuthorizationConfigurationError, AuthorizerSetting, AuthorizerType, Nanoseconds,
    WebhookFailurePolicy, WebhookSetting, Written, WrittenWebhook,
};

/// The longest that a webhook may take.
const TIMEOUT_MAX: Nanoseconds = Nanoseconds(30 * 1_000_000_000);
/// Match conditions of a webhook.
const MATCH_CONDITIONS_MAX: usize = 64;
const KUBECONFIG_FILE: &str = "KubeConfigFile";
const IN_CLUSTER: &str = "InClusterConfig";

/// Collects complaints of one authoriser.
struct Complaints<'a> {
    path: String,
    all: &'a mut Vec<String>,
}

impl Complaints<'_> {
    fn add(&mut self, field: &str, what: &str, detail: &str) {
        let separator = if detail.is_empty() { "" } else { ": " };
        self.all.push(format!("{}.{field}: {what}{separator}{detail}", self.path));
    }

    fn required(&mut self, field: &str, detail: &str) {
        self.add(field, "Required value", detail);
    }

    fn invalid(&mut self, field: &str, value: &str, detail: &str) {
        self.add(field, &format!("Invalid value: {}", quoted(value)), detail);
    }

    fn duplicate(&mut self, field: &str, value: &str) {
        self.add(field, &format!("Duplicate value: {}", quoted(value)), "");
    }

    fn not_supported(&mut self, field: &str, value: &str, supported: &[&str]) {
        let supported: Vec<_> = supported.iter().map(|value| quoted(value)).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        self.add(field, &format!("Unsupported value: {}", quoted(value)), &detail);
    }
}

/// Turns what was written into settings, or says all that is wrong with it.
pub(super) fn validate(written: Vec<Written>) -> Result<Vec<AuthorizerSetting>, AuthorizationConfigurationError> {
    let mut all = Vec::new();
    if written.is_empty() {
        all.push("authorizers: Required value: at least one authorization mode must be defined".to_owned());
    }
    let mut settings = Vec::new();
    let (mut types, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut misnamed = Vec::new();
    for (at, one) in written.into_iter().enumerate() {
        let complaints = &mut Complaints { path: format!("authorizers[{at}]"), all: &mut all };
        let Some(authorizer_type) = authorizer_type(&one.authorizer_type, complaints) else { continue };
        if !types.insert(authorizer_type) && authorizer_type != AuthorizerType::Webhook {
            complaints.duplicate("type", authorizer_type.name());
            continue;
        }
        name(&one.name, &mut names, complaints);
        if authorizer_type == AuthorizerType::Webhook {
            match one.webhook {
                Some(webhook) => settings.extend(self::webhook(one.name, webhook, complaints)),
                None => complaints.required("webhook", "required when type=Webhook"),
            }
            continue;
        }
        if one.webhook.is_some() {
            complaints.invalid("webhook", "non-null", "may only be specified when type=Webhook");
        }
        let expected = authorizer_type.name().to_ascii_lowercase();
        if expected != one.name {
            misnamed.push(format!("expected name {expected} for authorizer {authorizer_type} instead of {}", one.name));
        }
        settings.extend(AuthorizerSetting::of_type(authorizer_type));
    }
    // As upstream: names are looked at when nothing else is wrong.
    let complaints = if all.is_empty() { misnamed } else { all };
    if complaints.is_empty() { Ok(settings) } else { Err(AuthorizationConfigurationError::Invalid(complaints)) }
}

fn authorizer_type(written: &str, complaints: &mut Complaints<'_>) -> Option<AuthorizerType> {
    let found = AuthorizerType::of_name(written);
    if written.is_empty() {
        complaints.required("type", "");
    } else if found.is_none() {
        complaints.not_supported("type", written, &AuthorizerType::ALL.map(AuthorizerType::name));
    }
    found
}

fn name(name: &str, seen: &mut BTreeSet<String>, complaints: &mut Complaints<'_>) {
    if name.is_empty() {
        complaints.required("name", "");
    } else if !seen.insert(name.to_owned()) {
        complaints.duplicate("name", name);
    } else {
        let wrong = dns1123_subdomain(name);
        if !wrong.is_empty() {
            complaints.invalid("name", name, &format!("authorizer name is invalid: {}", wrong.join(", ")));
        }
    }
}

/// Turns a webhook into its setting; nothing when something is wrong with it.
fn webhook(name: String, written: WrittenWebhook, complaints: &mut Complaints<'_>) -> Option<AuthorizerSetting> {
    let before = complaints.all.len();
    let Nanoseconds(timeout) = written.timeout;
    if timeout == 0 {
        complaints.required("timeout", "");
    } else if timeout < 0 || written.timeout > TIMEOUT_MAX {
        complaints.invalid("timeout", &text(written.timeout), "must be > 0s and <= 30s");
    }
    for (field, ttl) in [("authorizedTTL", written.authorized_ttl), ("unauthorizedTTL", written.unauthorized_ttl)] {
        if ttl < Nanoseconds(0) {
            complaints.invalid(field, &text(ttl), "must be > 0s");
        }
    }
    let review_version = AccessReviewVersion::of_name(&written.review_version);
    match (written.review_version.as_str(), review_version) {
        ("", _) => complaints.required("subjectAccessReviewVersion", ""),
        (version, None) => complaints.not_supported("subjectAccessReviewVersion", version, &["v1", "v1beta1"]),
        (_, Some(_)) => {}
    }
    match written.match_condition_version.as_str() {
        "" if written.match_conditions.is_empty() => {}
        "v1" => {}
        "" => complaints
            .required("matchConditionSubjectAccessReviewVersion", "required if match conditions are specified"),
        version => complaints.not_supported("matchConditionSubjectAccessReviewVersion", version, &["v1"]),
    }
    let failure_policy = match written.failure_policy.as_str() {
        "NoOpinion" => Some(WebhookFailurePolicy::NoOpinion),
        "Deny" => Some(WebhookFailurePolicy::Deny),
        "" => {
            complaints.required("failurePolicy", "");
            None
        }
        policy => {
            complaints.not_supported("failurePolicy", policy, &["NoOpinion", "Deny"]);
            None
        }
    };
    connection(&written, complaints);
    match_conditions(&written.match_conditions, complaints);
    if complaints.all.len() > before {
        return None;
    }
    let ttl = |ttl: Nanoseconds, is_cached| if is_cached { ttl.into() } else { std::time::Duration::ZERO };
    Some(AuthorizerSetting::Webhook(WebhookSetting {
        name,
        kubeconfig: written.kubeconfig?.into(),
        timeout: written.timeout.into(),
        failure_policy: failure_policy?,
        review_version: review_version?,
        authorized_ttl: ttl(written.authorized_ttl, written.cache_authorized),
        unauthorized_ttl: ttl(written.unauthorized_ttl, written.cache_unauthorized),
    }))
}

fn connection(written: &WrittenWebhook, complaints: &mut Complaints<'_>) {
    const TYPE: &str = "connectionInfo.type";
    const FILE: &str = "connectionInfo.kubeConfigFile";
    match written.connection_type.as_str() {
        KUBECONFIG_FILE => match written.kubeconfig.as_deref().unwrap_or_default() {
            "" => complaints.required(FILE, ""),
            file if !Path::new(file).is_absolute() => complaints.invalid(FILE, file, "must be an absolute path"),
            file => match std::fs::metadata(file) {
                Ok(found) if found.is_file() => {}
                Ok(_) => complaints.invalid(FILE, file, "must be a regular file"),
                Err(error) => complaints.invalid(FILE, file, &format!("error loading file: {error}")),
            },
        },
        IN_CLUSTER => {
            // Upstream lets this pass and then has no file to read.
            let detail = "asks the cluster's own API server, which is this one: use KubeConfigFile";
            complaints.invalid(TYPE, IN_CLUSTER, detail);
        }
        "" => complaints.required(TYPE, ""),
        other => complaints.not_supported(TYPE, other, &[IN_CLUSTER, KUBECONFIG_FILE]),
    }
}

fn match_conditions(expressions: &[String], complaints: &mut Complaints<'_>) {
    if expressions.len() > MATCH_CONDITIONS_MAX {
        let what = format!("Too many: {}", expressions.len());
        return complaints.add("matchConditions", &what, "must have at most 64 items");
    }
    let mut seen = BTreeSet::new();
    for (at, expression) in expressions.iter().enumerate() {
        let field = format!("matchConditions[{at}].expression");
        if expression.trim().is_empty() {
            complaints.required(&field, "");
        } else if !seen.insert(expression) {
            complaints.duplicate(&field, expression);
        } else {
            let detail = "CEL is not available in this build: leave the match conditions out, and the webhook is asked about every request";
            complaints.invalid(&field, expression, detail);
        }
    }
}

/// A duration as Go prints it.
fn text(Nanoseconds(nanos): Nanoseconds) -> String {
    let mut text = Vec::new();
    push_duration(&mut text, nanos);
    String::from_utf8_lossy(&text).into_owned()
}
