//! `ValidatingWebhookConfiguration` (upstream: `registry/admissionregistration/validatingwebhookconfiguration`).

use portcullis_model::tree::Tree;

use super::webhooks::{self, Asked, TIMEOUT_SECONDS_DEFAULT, Webhook};
use super::{matching, static_names};
use crate::rest::Rest;
use crate::strategy::{Column, Strategy};
use crate::views::admissionregistration_v1::{
    ValidatingWebhook, ValidatingWebhookConfiguration, ValidatingWebhookConfigurationEdit, ValidatingWebhookEdit,
};
use crate::views::{self, Edit, View};
use crate::vocabulary::Errors;

/// The rules of `ValidatingWebhookConfiguration`.
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

fn read(tree: &Tree) -> ValidatingWebhookConfiguration<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    let mut configuration: ValidatingWebhookConfigurationEdit<'_> = views::write(tree);
    // To open a list is to have one.
    if !configuration.view().webhooks().is_empty() {
        configuration.webhooks_mut().each(|place| default_webhook(ValidatingWebhookEdit::at(place)));
    }
}

fn default_webhook(mut hook: ValidatingWebhookEdit<'_>) {
    let view = hook.view();
    let (has_failure_policy, has_match_policy) = (view.failure_policy().is_some(), view.match_policy().is_some());
    let (has_timeout, has_rules) = (view.timeout_seconds().is_some(), !view.rules().is_empty());
    if !has_failure_policy {
        hook.set_failure_policy(matching::FAILURE_POLICY_DEFAULT);
    }
    if !has_match_policy {
        hook.set_match_policy(matching::MATCH_POLICY_DEFAULT);
    }
    if !has_timeout {
        hook.set_timeout_seconds(TIMEOUT_SECONDS_DEFAULT);
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
            let hook = ValidatingWebhook::at(place);
            hook.check_failure_policy(at, errors);
            hook.check_match_policy(at, errors);
        },
        |_, _, _| (),
        errors,
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    const GOOD: &str = r#""name":"v.example.com","clientConfig":{"url":"https://hook.example.com/v"},"sideEffects":"None","admissionReviewVersions":["v1"]"#;

    fn of(webhooks: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"gate"}},"webhooks":[{webhooks}]}}"#);
        created(&STRATEGY, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", &text)
    }

    #[test]
    fn what_a_webhook_gets() {
        let tree = of(r#"{"name":"v","clientConfig":{"service":{"name":"a","namespace":"b"}},"rules":[{}]}"#);
        assert_eq!(
            json(&tree)["webhooks"][0],
            serde_json::json!({
                "name": "v", "clientConfig": {"service": {"name": "a", "namespace": "b", "port": 443}}, "rules": [{"scope": "*"}],
                "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "sideEffects": null, "timeoutSeconds": 10, "admissionReviewVersions": null,
            })
        );
    }

    #[test]
    fn what_a_webhook_may_say() {
        let check = |fields: &str, expected: &[&str]| {
            let found = complaints(&STRATEGY, &of(&format!("{{{GOOD}{fields}}}")));
            assert_eq!(found, expected, "{fields}");
        };
        check("", &[]);
        check(r#","timeoutSeconds":30,"failurePolicy":"Ignore","matchPolicy":"Exact""#, &[]);
        check(
            r#","timeoutSeconds":31"#,
            &["webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"],
        );
        check(
            r#","failurePolicy":"x","matchPolicy":"y""#,
            &[
                r#"webhooks[0].failurePolicy: Unsupported value: "x": supported values: "Fail", "Ignore""#,
                r#"webhooks[0].matchPolicy: Unsupported value: "y": supported values: "Equivalent", "Exact""#,
            ],
        );
        let rule = r#""operations":["CREATE"],"apiGroups":[""],"apiVersions":["v1"]"#;
        check(&format!(r#","rules":[{{{rule},"resources":["pods","pods/*","*/scale"]}}]"#), &[]);
        check(
            &format!(r#","rules":[{{{rule},"resources":["pods/*","pods/log","*","pods"]}}]"#),
            &[
                r#"webhooks[0].rules[0].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log"#,
                r#"webhooks[0].rules[0].resources: Invalid value: ["pods/*","pods/log","*","pods"]: if '*' is present, must not specify other resources without subresources"#,
            ],
        );
        check(
            r#","rules":[{"operations":["*","other"],"apiGroups":["*","a"],"apiVersions":["*",""],"resources":["*/*","a/b",""]}]"#,
            &[
                r#"webhooks[0].rules[0].operations: Invalid value: ["*","other"]: if '*' is present, must not specify other operations"#,
                r#"webhooks[0].rules[0].operations[1]: Unsupported value: "other": supported values: "*", "CONNECT", "CREATE", "DELETE", "UPDATE""#,
                r#"webhooks[0].rules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups"#,
                r#"webhooks[0].rules[0].apiVersions: Invalid value: ["*",""]: if '*' is present, must not specify other API versions"#,
                "webhooks[0].rules[0].apiVersions[1]: Required value",
                "webhooks[0].rules[0].resources[2]: Required value",
                r#"webhooks[0].rules[0].resources: Invalid value: ["*/*","a/b",""]: if '*/*' is present, must not specify other resources"#,
            ],
        );
        check(
            r#","matchConditions":[{"name":"a","expression":"true"},{"name":"a","expression":" "}]"#,
            &[
                "webhooks[0].matchConditions[1].expression: Required value",
                r#"webhooks[0].matchConditions[1].name: Duplicate value: "a""#,
            ],
        );
    }

    #[test]
    fn a_webhook_needs_these() {
        assert_eq!(
            complaints(&STRATEGY, &of("{}")),
            [
                "webhooks[0].name: Required value",
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ]
        );
        let check = |webhooks: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(webhooks)), expected, "{webhooks}");
        };
        check(&format!("{{{GOOD}}},{{{GOOD}}}"), &[r#"webhooks[1].name: Duplicate value: "v.example.com""#]);
        check(
            r#"{"name":"v.example","clientConfig":{"service":{"namespace":"b"}},"sideEffects":"Some","admissionReviewVersions":["v2","v2"]}"#,
            &[
                r#"webhooks[0].name: Invalid value: "v.example": should be a domain with at least three segments separated by dots"#,
                r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#,
                "webhooks[0].clientConfig.service.namespace: Required value",
                r#"webhooks[0].admissionReviewVersions[1]: Invalid value: "v2": duplicate version"#,
                r#"webhooks[0].admissionReviewVersions: Invalid value: ["v2","v2"]: must include at least one of v1, v1beta1"#,
            ],
        );
    }

    #[test]
    fn what_is_stored_may_stay() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(new), &of(old), ""), expected, "{old} -> {new}");
        };
        let hook = |side_effects: &str, versions: &str, more: &str| {
            format!(
                r#"{{"name":"v.example.com","clientConfig":{{"url":"https://a"}},"sideEffects":"{side_effects}","admissionReviewVersions":["{versions}"]{more}}}"#
            )
        };
        let (good, bad) = (hook("None", "v1", ""), hook("Some", "v2", ""));
        check(&good, &good, &[]);
        check(&bad, &bad, &[]);
        check(&format!("{bad},{bad}"), &format!("{bad},{bad}"), &[]);
        check(
            &good,
            &bad,
            &[
                r#"webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun""#,
                r#"webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1"#,
            ],
        );
        check(
            &bad,
            &hook("Other", "v2", ""),
            &[
                r#"webhooks[0].sideEffects: Unsupported value: "Other": supported values: "None", "NoneOnDryRun", "Some", "Unknown""#,
            ],
        );
        let (a, b) = (
            r#","matchConditions":[{"name":"not valid","expression":"true"}]"#,
            r#","matchConditions":[{"name":"","expression":"true"}]"#,
        );
        check(&hook("None", "v1", a), &hook("None", "v1", a), &[]);
        check(&hook("None", "v1", a), &hook("None", "v1", b), &["webhooks[0].matchConditions[0].name: Required value"]);
        let value = |value: &str| {
            hook(
                "None",
                "v1",
                &format!(
                    r#","objectSelector":{{"matchExpressions":[{{"key":"a","operator":"In","values":["{value}"]}}]}}"#
                ),
            )
        };
        check(&value("not valid"), &value("not valid"), &[]);
    }

    #[test]
    fn names_of_files_are_warned_of() {
        let mut warnings = Vec::new();
        let text = r#"{"metadata":{"name":"gate.static.k8s.io"}}"#;
        let tree = created(&STRATEGY, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", text);
        (STRATEGY.warn_create)(&tree, &mut warnings);
        (STRATEGY.warn_update)(&of(""), &tree, "", &mut warnings);
        assert_eq!(
            warnings,
            [
                r#"metadata.name: names ending with ".static.k8s.io" will be reserved for static manifest-based configurations when the ManifestBasedAdmissionControlConfig feature gate is enabled"#
            ]
        );
    }
}
