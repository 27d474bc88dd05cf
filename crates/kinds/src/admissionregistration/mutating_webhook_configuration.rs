//! `MutatingWebhookConfiguration` (upstream: `registry/admissionregistration/mutatingwebhookconfiguration`).

use portcullis_model::tree::Tree;

use super::webhooks::{self, Asked, TIMEOUT_SECONDS_DEFAULT, Webhook};
use super::{matching, static_names};
use crate::rest::Rest;
use crate::strategy::{Column, Strategy};
use crate::views::admissionregistration_v1::{
    MutatingWebhook, MutatingWebhookConfiguration, MutatingWebhookConfigurationEdit, MutatingWebhookEdit,
};
use crate::views::{self, Edit, View};
use crate::vocabulary::Errors;

/// The rules of `MutatingWebhookConfiguration`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, update_checks_changes_once: true, ..Rest::PLAIN },
    default,
    validate_create,
    warn_create: |tree, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    validate_update,
    warn_update: |tree, _, _, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    columns: &[("Webhooks", Column::Count(&["webhooks"]))],
    ..Strategy::NONE
};

fn read(tree: &Tree) -> MutatingWebhookConfiguration<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    let mut configuration: MutatingWebhookConfigurationEdit<'_> = views::write(tree);
    // To open a list is to have one.
    if !configuration.view().webhooks().is_empty() {
        configuration.webhooks_mut().each(|place| default_webhook(MutatingWebhookEdit::at(place)));
    }
}

fn default_webhook(mut hook: MutatingWebhookEdit<'_>) {
    let view = hook.view();
    let (has_failure_policy, has_match_policy) = (view.failure_policy().is_some(), view.match_policy().is_some());
    let (has_timeout, has_rules) = (view.timeout_seconds().is_some(), !view.rules().is_empty());
    let has_reinvocation_policy = view.reinvocation_policy().is_some();
    if !has_failure_policy {
        hook.set_failure_policy(matching::FAILURE_POLICY_DEFAULT);
    }
    if !has_match_policy {
        hook.set_match_policy(matching::MATCH_POLICY_DEFAULT);
    }
    if !has_timeout {
        hook.set_timeout_seconds(TIMEOUT_SECONDS_DEFAULT);
    }
    if !has_reinvocation_policy {
        hook.set_reinvocation_policy("Never");
    }
    hook.namespace_selector_mut();
    hook.object_selector_mut();
    if has_rules {
        matching::default_rules(hook.rules_mut());
    }
    webhooks::default_client(hook.client_config_mut());
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    webhooks(&hooks(tree), Asked::ALL, errors);
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let new = hooks(tree);
    webhooks(&new, Asked::of_update(&new, &hooks(old)), errors);
}

fn hooks(tree: &Tree) -> Vec<Webhook<'_>> {
    read(tree).webhooks().iter().map(Webhook::from).collect()
}

fn webhooks(hooks: &[Webhook<'_>], asked: Asked, errors: &mut Errors) {
    webhooks::all(
        hooks,
        asked,
        |place, at, errors| {
            let hook = MutatingWebhook::at(place);
            hook.check_failure_policy(at, errors);
            hook.check_match_policy(at, errors);
        },
        |place, at, errors| MutatingWebhook::at(place).check_reinvocation_policy(at, errors),
        errors,
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn of(fields: &str) -> Tree {
        let text = format!(
            r#"{{"metadata":{{"name":"gate"}},"webhooks":[{{"name":"m.example.com","clientConfig":{{"url":"https://a"}},"sideEffects":"None","admissionReviewVersions":["v1"]{fields}}}]}}"#
        );
        created(&STRATEGY, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", &text)
    }

    #[test]
    fn how_often_a_webhook_is_asked() {
        assert_eq!(json(&of(""))["webhooks"][0]["reinvocationPolicy"], "Never");
        let check = |fields: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(fields)), expected, "{fields}");
            assert_eq!(update_complaints(&STRATEGY, &of(fields), &of(""), ""), expected, "{fields}");
        };
        check(r#","reinvocationPolicy":"IfNeeded""#, &[]);
        check(
            r#","reinvocationPolicy":"other","timeoutSeconds":0,"objectSelector":{"matchLabels":{"a":"not valid"}}"#,
            &[
                "webhooks[0].timeoutSeconds: Invalid value: 0: the timeout value must be between 1 and 30 seconds",
                r#"webhooks[0].objectSelector.matchLabels: Invalid value: "not valid": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"#,
                r#"webhooks[0].reinvocationPolicy: Unsupported value: "other": supported values: "IfNeeded", "Never""#,
            ],
        );
    }
}
