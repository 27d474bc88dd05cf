//! How objects get from one version to another (upstream: `validateCustomResourceConversion`).
//!
//! Upstream checks an older form, in which the webhook's client stands beside the strategy, and names fields by it.

use std::collections::HashSet;

use portcullis_model::names as model_names;

use super::REVIEW_VERSIONS;
use super::ratchet::Options;
use crate::views::apiextensions_v1::{CustomResourceConversion, WebhookClientConfig, WebhookConversion};
use crate::views::{self, List};
use crate::vocabulary::webhooks::{self, Service};
use crate::vocabulary::{Errors, Path, names};

/// Nothing but the version's name differs.
pub const NONE: &str = "None";
const WEBHOOK: &str = "Webhook";
const STRATEGIES: &[&str] = &[NONE, WEBHOOK];

/// Checks the conversion.
pub fn validate(conversion: CustomResourceConversion<'_>, options: &Options, at: &Path<'_>, errors: &mut Errors) {
    if conversion.strategy().is_empty() {
        errors.required(&at.field("strategy"), "");
    } else {
        names::one_of(conversion.strategy(), STRATEGIES, &at.field("strategy"), errors);
    }
    let hook = conversion.webhook();
    let client = hook.and_then(|hook| hook.client_config());
    let at_client = at.field("webhookClientConfig");
    let at_versions = at.field("conversionReviewVersions");
    if conversion.strategy() == WEBHOOK {
        match client {
            None => errors.required(&at_client, "required when strategy is set to Webhook"),
            Some(client) => validate_client(client, options, &at_client, errors),
        }
        return review_versions(hook, options, &at_versions, errors);
    }
    let why = "should not be set when strategy is not set to Webhook";
    if client.is_some() {
        errors.forbidden(&at_client, why);
    }
    if hook.is_some_and(|hook| !hook.conversion_review_versions().is_empty()) {
        errors.forbidden(&at_versions, why);
    }
}

fn validate_client(client: WebhookClientConfig<'_>, options: &Options, at: &Path<'_>, errors: &mut Errors) {
    let service = client.service().map(|service| Service {
        namespace: service.namespace(),
        name: service.name(),
        path: service.path(),
        port: service.port().unwrap_or_default(),
    });
    webhooks::client(client.url(), service, at, errors);
    if options.requires_certificates && !has_certificates(client) {
        let why = "unable to load root certificates: data does not contain any valid RSA or ECDSA certificates";
        errors.invalid(&at.field("caBundle"), client.ca_bundle(), why);
    }
}

/// Whether a client's certificates can be read; one that brings none relies on the system's.
fn has_certificates(client: WebhookClientConfig<'_>) -> bool {
    use base64::Engine as _;
    if client.ca_bundle().is_empty() {
        return true;
    }
    let Ok(text) = base64::engine::general_purpose::STANDARD.decode(client.ca_bundle()) else { return false };
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(&text).filter_map(Result::ok);
    blocks.any(|block| block.label == "CERTIFICATE" && block.parse_x509().is_ok())
}

/// Whether a stored definition has certificates that can be read, so that a new one must have such too.
pub fn certificates_are_right(conversion: Option<CustomResourceConversion<'_>>) -> bool {
    let client = conversion.and_then(|conversion| conversion.webhook()).and_then(|hook| hook.client_config());
    client.is_none_or(has_certificates)
}

/// In which versions the webhook can be asked, at least one of them known here.
fn review_versions(hook: Option<WebhookConversion<'_>>, options: &Options, at: &Path<'_>, errors: &mut Errors) {
    let list: Option<List<'_, &str>> = hook.map(|hook| hook.conversion_review_versions());
    let Some(list) = list.filter(|list| !list.is_empty()) else { return errors.required(at, "") };
    let mut seen = HashSet::new();
    for (index, version) in list.iter().enumerate() {
        if seen.insert(version) {
            errors.complain(&at.index(index), version, model_names::dns1035_label(version));
        } else {
            errors.invalid(&at.index(index), version, "duplicate version");
        }
    }
    if options.requires_known_review_version && !REVIEW_VERSIONS.iter().any(|known| seen.contains(known)) {
        let shown = hook.map(|hook| hook.place().get(WebhookConversion::CONVERSION_REVIEW_VERSIONS));
        let why = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.invalid(at, shown.map_or(portcullis_model::status::BadValue::Null, views::shown), why);
    }
}
