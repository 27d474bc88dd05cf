//! What both kinds of webhooks have in common (upstream: `apis/admissionregistration/validation`, `apis/admissionregistration/v1`).
//!
//! A list that was stored when less was asked of it may stay as it is; what it asks of itself already, it goes on asking.

use std::collections::HashSet;

use portcullis_model::names as model_names;

use super::matching::{self, Rule};
use crate::views::admissionregistration_v1::{
    MatchCondition, MutatingWebhook, RuleWithOperations, ValidatingWebhook, WebhookClientConfig,
    WebhookClientConfigEdit,
};
use crate::views::{At, List, meta_v1::LabelSelector, shown};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::webhooks::{self, Service};
use crate::vocabulary::{Errors, Path, names, selectors};

/// The port of a service that names none.
const PORT_DEFAULT: i64 = 443;
/// How long a webhook may take that does not say.
pub const TIMEOUT_SECONDS_DEFAULT: i64 = 10;

const TIMEOUT_SECONDS_MAX: i32 = 30;
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];
const SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
const DOMAIN_SEGMENTS_MIN: usize = 3;

/// What both kinds of webhooks have.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'t> {
    /// Where it stands.
    place: At<'t>,
    name: &'t str,
    rules: List<'t, RuleWithOperations<'t>>,
    side_effects: Option<&'t str>,
    timeout_seconds: Option<i32>,
    namespace_selector: Option<LabelSelector<'t>>,
    object_selector: Option<LabelSelector<'t>>,
    client: WebhookClientConfig<'t>,
    conditions: List<'t, MatchCondition<'t>>,
    review_versions: List<'t, &'t str>,
}

impl<'t> From<ValidatingWebhook<'t>> for Webhook<'t> {
    fn from(hook: ValidatingWebhook<'t>) -> Webhook<'t> {
        Webhook {
            place: hook.place(),
            name: hook.name(),
            rules: hook.rules(),
            side_effects: hook.side_effects(),
            timeout_seconds: hook.timeout_seconds(),
            namespace_selector: hook.namespace_selector(),
            object_selector: hook.object_selector(),
            client: hook.client_config(),
            conditions: hook.match_conditions(),
            review_versions: hook.admission_review_versions(),
        }
    }
}

impl<'t> From<MutatingWebhook<'t>> for Webhook<'t> {
    fn from(hook: MutatingWebhook<'t>) -> Webhook<'t> {
        Webhook {
            place: hook.place(),
            name: hook.name(),
            rules: hook.rules(),
            side_effects: hook.side_effects(),
            timeout_seconds: hook.timeout_seconds(),
            namespace_selector: hook.namespace_selector(),
            object_selector: hook.object_selector(),
            client: hook.client_config(),
            conditions: hook.match_conditions(),
            review_versions: hook.admission_review_versions(),
        }
    }
}

/// What is asked of a list of webhooks. All of it of a new one.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    conditions: bool,
    no_side_effects: bool,
    known_review_version: bool,
    unique_names: bool,
    label_values: bool,
}

impl Asked {
    /// What is asked of a new list.
    pub const ALL: Asked = Asked {
        conditions: true,
        no_side_effects: true,
        known_review_version: true,
        unique_names: true,
        label_values: true,
    };

    /// What is asked of a list that replaces another: what the other had.
    #[must_use]
    pub fn of_update(new: &[Webhook<'_>], old: &[Webhook<'_>]) -> Asked {
        let same_conditions =
            |(new, old): (&Webhook<'_>, &Webhook<'_>)| is_same(new.conditions.place(), old.conditions.place());
        let has_known = |hook: &Webhook<'_>| {
            hook.review_versions.is_empty() || hook.review_versions.iter().any(|one| REVIEW_VERSIONS.contains(&one))
        };
        let mut seen = HashSet::new();
        Asked {
            conditions: new.len() != old.len() || !new.iter().zip(old).all(same_conditions),
            no_side_effects: old.iter().all(|hook| hook.side_effects.is_some_and(|one| NO_SIDE_EFFECTS.contains(&one))),
            known_review_version: old.iter().all(has_known),
            unique_names: old.iter().all(|hook| seen.insert(hook.name)),
            label_values: old.iter().all(|hook| has_good_selectors(hook)),
        }
    }
}

fn has_good_selectors(hook: &Webhook<'_>) -> bool {
    let mut errors = Errors::new();
    for selector in [hook.namespace_selector, hook.object_selector].into_iter().flatten() {
        selectors::label_selector(selector, &Path::ROOT, &mut errors);
    }
    errors.is_empty()
}

/// A service is asked at the port of HTTPS.
pub fn default_client(mut client: WebhookClientConfigEdit<'_>) {
    // To open a service is to have one.
    if client.view().service().is_some_and(|service| service.port().is_none()) {
        client.service_mut().set_port(PORT_DEFAULT);
    }
}

/// Checks a list of webhooks. `policies` says what is wrong with how one fails and matches, `reinvocation` with how often it is asked:
/// between the rest, because complaints have an order.
pub fn all<'t>(
    hooks: &[Webhook<'t>],
    asked: Asked,
    policies: impl Fn(At<'t>, &Path<'_>, &mut Errors),
    reinvocation: impl Fn(At<'t>, &Path<'_>, &mut Errors),
    errors: &mut Errors,
) {
    let (list, mut seen) = (Path::new("webhooks"), HashSet::new());
    for (index, hook) in hooks.iter().enumerate() {
        let at = list.index(index);
        qualified_name(hook.name, &at.field("name"), errors);
        for (index, rule) in hook.rules.iter().enumerate() {
            matching::rule(Rule::from(rule), &at.field("rules").index(index), errors);
        }
        policies(hook.place, &at, errors);
        side_effects(hook, asked, &at.field("sideEffects"), errors);
        if let Some(seconds) = hook.timeout_seconds.filter(|seconds| !(1..=TIMEOUT_SECONDS_MAX).contains(seconds)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(&at.field("timeoutSeconds"), i64::from(seconds), why);
        }
        selector(hook.namespace_selector, asked, &at.field("namespaceSelector"), errors);
        selector(hook.object_selector, asked, &at.field("objectSelector"), errors);
        reinvocation(hook.place, &at, errors);
        client(hook.client, &at.field("clientConfig"), errors);
        if asked.conditions {
            matching::match_conditions(hook.conditions, &at.field("matchConditions"), errors);
        }
        review_versions(hook, asked, &at.field("admissionReviewVersions"), errors);
        if asked.unique_names && !hook.name.is_empty() && !seen.insert(hook.name) {
            errors.duplicate(&at.field("name"), hook.name);
        }
    }
}

/// A domain of whoever made the webhook (upstream: `IsFullyQualifiedName`).
fn qualified_name(name: &str, at: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(at, "");
    }
    let complaints = model_names::dns1123_subdomain(name);
    if !complaints.is_empty() {
        errors.invalid(at, name, complaints.join(","));
    } else if name.split('.').count() < DOMAIN_SEGMENTS_MIN {
        errors.invalid(at, name, "should be a domain with at least three segments separated by dots");
    }
}

/// A webhook that is asked about a dry run changes nothing elsewhere.
fn side_effects(hook: &Webhook<'_>, asked: Asked, at: &Path<'_>, errors: &mut Errors) {
    let allowed = if asked.no_side_effects { NO_SIDE_EFFECTS } else { SIDE_EFFECTS };
    match hook.side_effects {
        None => errors.required(at, format!("must specify one of {}", allowed.join(", "))),
        Some(one) => names::one_of(one, allowed, at, errors),
    }
}

fn selector(selector: Option<LabelSelector<'_>>, asked: Asked, at: &Path<'_>, errors: &mut Errors) {
    match selector {
        Some(selector) if asked.label_values => selectors::label_selector(selector, at, errors),
        Some(selector) => selectors::label_selector_of_old(selector, at, errors),
        None => {}
    }
}

/// Where the webhook is asked: one place.
fn client(client: WebhookClientConfig<'_>, at: &Path<'_>, errors: &mut Errors) {
    let service = client.service().map(|service| Service {
        namespace: service.namespace(),
        name: service.name(),
        path: service.path(),
        port: service.port().unwrap_or_default(),
    });
    webhooks::client(client.url(), service, at, errors);
}

/// In which versions the webhook can be asked, at least one of them known here.
fn review_versions(hook: &Webhook<'_>, asked: Asked, at: &Path<'_>, errors: &mut Errors) {
    let (list, known) = (hook.review_versions, REVIEW_VERSIONS.join(", "));
    if list.is_empty() {
        return errors.required(at, format!("must specify one of {known}"));
    }
    let mut seen = HashSet::new();
    for (index, version) in list.iter().enumerate() {
        if seen.insert(version) {
            errors.complain(&at.index(index), version, model_names::dns1035_label(version));
        } else {
            errors.invalid(&at.index(index), version, "duplicate version");
        }
    }
    if asked.known_review_version && !REVIEW_VERSIONS.iter().any(|known| seen.contains(known)) {
        errors.invalid(at, shown(list.place()), format!("must include at least one of {known}"));
    }
}
