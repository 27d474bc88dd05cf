//! What an AuthorizationConfiguration may say, in upstream's words and with upstream's paths (`ValidateAuthorizationConfiguration`).
//!
//! A complaint about a webhook names `authorizers[0].timeout`, not `authorizers[0].webhook.timeout`: upstream's habit.

use std::collections::BTreeSet;
use std::path::Path;

use portcullis_model::names::dns1123_subdomain;
use portcullis_model::status::FieldError;
use portcullis_model::time::push_duration;

use crate::webhook::ReviewVersion;

use super::{
    AuthorizationConfigurationError, AuthorizerSetting, AuthorizerType, Nanoseconds, WebhookFailurePolicy,
    WebhookSetting, Written, WrittenWebhook,
};

/// The longest that a webhook may take.
const TIMEOUT_MAX: Nanoseconds = Nanoseconds(30 * 1_000_000_000);
/// Match conditions of a webhook.
const MATCH_CONDITIONS_MAX: usize = 64;
const KUBECONFIG_FILE: &str = "KubeConfigFile";
const IN_CLUSTER: &str = "InClusterConfig";

/// Turns what was written into settings, or says all that is wrong with it.
pub(super) fn validate(written: Vec<Written>) -> Result<Vec<AuthorizerSetting>, AuthorizationConfigurationError> {
    let mut errors = Vec::new();
    if written.is_empty() {
        errors.push(FieldError::required("authorizers", "at least one authorization mode must be defined"));
    }
    let mut settings = Vec::new();
    let (mut types, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut misnamed = None;
    for (at, one) in written.into_iter().enumerate() {
        let path = format!("authorizers[{at}]");
        let Some(authorizer_type) = authorizer_type(&mut errors, &one.authorizer_type, &path) else { continue };
        if !types.insert(authorizer_type) && authorizer_type != AuthorizerType::Webhook {
            errors.push(FieldError::duplicate(format!("{path}.type"), authorizer_type.name()));
            continue;
        }
        name(&mut errors, &one.name, &mut names, format!("{path}.name"));
        if authorizer_type == AuthorizerType::Webhook {
            match one.webhook {
                Some(webhook) => settings.extend(self::webhook(&mut errors, one.name, webhook, &path)),
                None => errors.push(FieldError::required(format!("{path}.webhook"), "required when type=Webhook")),
            }
            continue;
        }
        if one.webhook.is_some() {
            let detail = "may only be specified when type=Webhook";
            errors.push(FieldError::invalid(format!("{path}.webhook"), "non-null", detail));
        }
        let expected = authorizer_type.name().to_ascii_lowercase();
        if expected != one.name {
            let error = AuthorizationConfigurationError::Name { authorizer_type, expected, given: one.name };
            misnamed = misnamed.or(Some(error));
        }
        settings.extend(AuthorizerSetting::of_type(authorizer_type));
    }
    if !errors.is_empty() {
        return Err(AuthorizationConfigurationError::Invalid(errors));
    }
    misnamed.map_or(Ok(settings), Err)
}

fn authorizer_type(errors: &mut Vec<FieldError>, written: &str, path: &str) -> Option<AuthorizerType> {
    let path = format!("{path}.type");
    let found = AuthorizerType::of_name(written);
    if written.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if found.is_none() {
        errors.push(FieldError::not_supported(path, written, &AuthorizerType::ALL.map(AuthorizerType::name)));
    }
    found
}

fn name(errors: &mut Vec<FieldError>, name: &str, seen: &mut BTreeSet<String>, path: String) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !seen.insert(name.to_owned()) {
        errors.push(FieldError::duplicate(path, name));
    } else {
        let wrong = dns1123_subdomain(name);
        if !wrong.is_empty() {
            let detail = format!("authorizer name is invalid: {}", wrong.join(", "));
            errors.push(FieldError::invalid(path, name, detail));
        }
    }
}

/// Turns a webhook into its setting; nothing when something is wrong with it.
fn webhook(
    errors: &mut Vec<FieldError>,
    name: String,
    written: WrittenWebhook,
    path: &str,
) -> Option<AuthorizerSetting> {
    let before = errors.len();
    let field = |name: &str| format!("{path}.{name}");
    let Nanoseconds(timeout) = written.timeout;
    if timeout == 0 {
        errors.push(FieldError::required(field("timeout"), ""));
    } else if timeout < 0 || written.timeout > TIMEOUT_MAX {
        errors.push(FieldError::invalid(field("timeout"), text(written.timeout), "must be > 0s and <= 30s"));
    }
    for (name, ttl) in [("authorizedTTL", written.authorized_ttl), ("unauthorizedTTL", written.unauthorized_ttl)] {
        if ttl < Nanoseconds(0) {
            errors.push(FieldError::invalid(field(name), text(ttl), "must be > 0s"));
        }
    }
    let review_version = ReviewVersion::of_name(&written.review_version);
    if review_version.is_none() {
        let path = field("subjectAccessReviewVersion");
        errors.push(not_one_of(path, &written.review_version, &ReviewVersion::ALL.map(ReviewVersion::name)));
    }
    let condition_version = field("matchConditionSubjectAccessReviewVersion");
    match written.match_condition_version.as_str() {
        "" if written.match_conditions.is_empty() => {}
        "v1" => {}
        "" => errors.push(FieldError::required(condition_version, "required if match conditions are specified")),
        version => errors.push(FieldError::not_supported(condition_version, version, &["v1"])),
    }
    let failure_policy = match written.failure_policy.as_str() {
        "NoOpinion" => Some(WebhookFailurePolicy::NoOpinion),
        "Deny" => Some(WebhookFailurePolicy::Deny),
        other => {
            errors.push(not_one_of(field("failurePolicy"), other, &["NoOpinion", "Deny"]));
            None
        }
    };
    connection(errors, &written, path);
    match_conditions(errors, &written.match_conditions, &field("matchConditions"));
    if errors.len() > before {
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

/// What a value is told that must be one of these, and is absent or another.
fn not_one_of(path: String, value: &str, supported: &[&str]) -> FieldError {
    match value {
        "" => FieldError::required(path, ""),
        other => FieldError::not_supported(path, other, supported),
    }
}

fn connection(errors: &mut Vec<FieldError>, written: &WrittenWebhook, path: &str) {
    let (of_type, of_file) = (format!("{path}.connectionInfo.type"), format!("{path}.connectionInfo.kubeConfigFile"));
    match written.connection_type.as_str() {
        KUBECONFIG_FILE => {
            let file = written.kubeconfig.as_deref().unwrap_or_default();
            let wrong = match std::fs::metadata(file) {
                _ if file.is_empty() => return errors.push(FieldError::required(of_file, "")),
                _ if !Path::new(file).is_absolute() => "must be an absolute path".to_owned(),
                Ok(found) if found.is_file() => return,
                Ok(_) => "must be a regular file".to_owned(),
                Err(error) => format!("error loading file: {error}"),
            };
            errors.push(FieldError::invalid(of_file, file, wrong));
        }
        IN_CLUSTER => {
            // Upstream lets this pass and then has no file to read.
            let detail = "asks the cluster's own API server, which is this one: use KubeConfigFile";
            errors.push(FieldError::invalid(of_type, IN_CLUSTER, detail));
        }
        other => errors.push(not_one_of(of_type, other, &[IN_CLUSTER, KUBECONFIG_FILE])),
    }
}

fn match_conditions(errors: &mut Vec<FieldError>, expressions: &[String], path: &str) {
    if expressions.len() > MATCH_CONDITIONS_MAX {
        return errors.push(FieldError::too_many(path, expressions.len(), MATCH_CONDITIONS_MAX));
    }
    let mut seen = BTreeSet::new();
    for (at, expression) in expressions.iter().enumerate() {
        let path = format!("{path}[{at}].expression");
        if expression.trim().is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if !seen.insert(expression) {
            errors.push(FieldError::duplicate(path, expression.as_str()));
        } else {
            let detail = "CEL is not available in this build: leave the match conditions out, and the webhook is asked about every request";
            errors.push(FieldError::invalid(path, expression.as_str(), detail));
        }
    }
}

/// A duration as Go prints it.
fn text(Nanoseconds(nanos): Nanoseconds) -> String {
    let mut text = Vec::new();
    push_duration(&mut text, nanos);
    String::from_utf8_lossy(&text).into_owned()
}
