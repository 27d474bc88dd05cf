//! `ValidatingAdmissionPolicy` (upstream: `registry/admissionregistration/validatingadmissionpolicy`, KEP-3488).
//!
//! Expressions are checked here as far as nobody has to understand them.

use std::collections::HashSet;

use portcullis_model::names as model_names;
use portcullis_model::tree::Tree;

use super::{matching, policies, static_names};
use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Cell, Column, Strategy};
use crate::views::admissionregistration_v1::{
    AuditAnnotation, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyEdit, ValidatingAdmissionPolicySpec,
    ValidatingAdmissionPolicyStatus, Validation,
};
use crate::views::{self, List, shown};
use crate::vocabulary::{Errors, Path, conditions};

const AUDIT_ANNOTATIONS_MAX: usize = 20;
const VALUE_EXPRESSION_BYTES_MAX: usize = 5 * 1024;

/// The rules of `ValidatingAdmissionPolicy`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        needs_version: true,
        update_checks_changes_once: true,
        status_keeps: StatusKeeps::Metadata,
        resets: &[("status", Resets::SPEC_AND_METADATA)],
        ..Rest::PLAIN
    },
    default,
    validate_create,
    warn_create: |tree, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    validate_update,
    warn_update: |tree, _, _, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    columns: &[("Validations", Column::Count(&["spec.validations"]))],
    cell: |tree, column, _| {
        (column == "ParamKind").then(|| Cell::Text(policies::shown_param_kind(read(tree).spec().param_kind())))
    },
    ..Strategy::NONE
};

fn read(tree: &Tree) -> ValidatingAdmissionPolicy<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    let mut policy: ValidatingAdmissionPolicyEdit<'_> = views::write(tree);
    let spec = policy.view().spec();
    let (has_failure_policy, has_constraints) = (spec.failure_policy().is_some(), spec.match_constraints().is_some());
    if !has_failure_policy {
        policy.spec_mut().set_failure_policy(matching::FAILURE_POLICY_DEFAULT);
    }
    if has_constraints {
        matching::default_match_resources(policy.spec_mut().match_constraints_mut());
    }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let policy = read(tree);
    spec(policy.metadata().name(), policy.spec(), None, &Path::new("spec"), errors);
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old) = (read(tree), read(old));
    if subresource == "status" {
        status(new.status(), &Path::new("status"), errors);
    } else {
        spec(new.metadata().name(), new.spec(), Some(old.spec()), &Path::new("spec"), errors);
    }
}

fn spec(
    name: &str,
    spec: ValidatingAdmissionPolicySpec<'_>,
    old: Option<ValidatingAdmissionPolicySpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    spec.check_failure_policy(at, errors);
    if let Some(kind) = spec.param_kind() {
        policies::param_kind(kind, &at.field("paramKind"), errors);
    }
    policies::match_constraints(spec.match_constraints(), &at.field("matchConstraints"), errors);
    let old_conditions = old.map(|old| old.match_conditions().place());
    if !policies::keeps_conditions(spec.match_conditions().place(), old_conditions) {
        matching::match_conditions(spec.match_conditions(), &at.field("matchConditions"), errors);
    }
    policies::variables(spec.variables(), &at.field("variables"), errors);
    if spec.validations().is_empty() && spec.audit_annotations().is_empty() {
        for field in ["validations", "auditAnnotations"] {
            errors.required(&at.field(field), "validations or auditAnnotations must contain at least one item");
        }
        return;
    }
    for (index, one) in spec.validations().iter().enumerate() {
        validation(one, &at.field("validations").index(index), errors);
    }
    audit_annotations(name, spec.audit_annotations(), &at.field("auditAnnotations"), errors);
}

fn validation(validation: Validation<'_>, at: &Path<'_>, errors: &mut Errors) {
    matching::expression(validation.expression(), "expression is not specified", &at.field("expression"), errors);
    let of_message = validation.message_expression();
    if !of_message.is_empty() && of_message.trim().is_empty() {
        errors.invalid(&at.field("messageExpression"), of_message, "must be non-empty if specified");
    }
    let message = validation.message();
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&at.field("message"), message, "message must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&at.field("message"), message, "message must not contain line breaks");
    }
    validation.check_reason(at, errors);
}

/// What is written to the audit log, under names that begin with the policy's.
fn audit_annotations(policy: &str, list: List<'_, AuditAnnotation<'_>>, at: &Path<'_>, errors: &mut Errors) {
    if list.len() > AUDIT_ANNOTATIONS_MAX {
        let why = format!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations");
        errors.invalid(at, shown(list.place()), why);
    }
    let mut seen = HashSet::new();
    for (index, annotation) in list.iter().enumerate() {
        let (at, key) = (at.index(index), annotation.key());
        let (at_key, at_value) = (at.field("key"), at.field("valueExpression"));
        if policy.is_empty() {
            errors.invalid(&at_key, key, "requires metadata.name be non-empty");
        } else {
            let full = format!("{policy}/{key}");
            errors.complain(&at_key, &full, model_names::qualified_name(&full));
        }
        let value = annotation.value_expression();
        if value.trim().len() > VALUE_EXPRESSION_BYTES_MAX {
            errors.required(&at_value, format!("must not exceed {VALUE_EXPRESSION_BYTES_MAX} bytes in length"));
        } else {
            matching::expression(value, "valueExpression is not specified", &at_value, errors);
        }
        if !seen.insert(key) {
            errors.duplicate(&at_key, key);
        }
    }
}

fn status(status: ValidatingAdmissionPolicyStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(checked) = status.type_checking() {
        let (above, list) = (at.field("typeChecking"), checked.expression_warnings());
        for (index, warning) in list.iter().enumerate() {
            let at = above.field("expressionWarnings");
            let at = at.index(index);
            warning.check_warning(&at, errors);
            if warning.field_ref().trim().is_empty() {
                errors.required(&at.field("fieldRef"), "");
            }
        }
    }
    conditions::conditions(status.conditions(), &at.field("conditions"), errors);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    const CONSTRAINTS: &str = r#""matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"]}]}"#;

    fn of(spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"calm"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", &text)
    }

    #[test]
    fn what_a_policy_gets() {
        let tree = of(r#""matchConstraints":{"resourceRules":[{}],"excludeResourceRules":[{"scope":"Cluster"}]}"#);
        assert_eq!(
            json(&tree)["spec"],
            serde_json::json!({"failurePolicy": "Fail", "matchConstraints": {
                "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "resourceRules": [{"scope": "*"}], "excludeResourceRules": [{"scope": "Cluster"}],
            }})
        );
    }

    #[test]
    fn what_a_policy_needs() {
        let nothing = "validations or auditAnnotations must contain at least one item";
        assert_eq!(
            complaints(&STRATEGY, &of("")),
            [
                "spec.matchConstraints: Required value",
                &format!("spec.validations: Required value: {nothing}"),
                &format!("spec.auditAnnotations: Required value: {nothing}"),
            ]
        );
        assert_eq!(
            complaints(&STRATEGY, &of(r#""matchConstraints":{},"validations":[{"expression":"true"}]"#)),
            ["spec.matchConstraints.resourceRules: Required value"]
        );
    }

    #[test]
    fn what_a_policy_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            let found = complaints(&STRATEGY, &of(&format!("{CONSTRAINTS},{spec}")));
            assert_eq!(found, expected, "{spec}");
        };
        check(r#""validations":[{"expression":"true","message":"no","reason":"Forbidden"}]"#, &[]);
        check(
            r#""validations":[{"expression":" ","messageExpression":" ","message":" ","reason":"Whim"}]"#,
            &[
                "spec.validations[0].expression: Required value: expression is not specified",
                r#"spec.validations[0].messageExpression: Invalid value: " ": must be non-empty if specified"#,
                r#"spec.validations[0].message: Invalid value: " ": message must be non-empty if specified"#,
                r#"spec.validations[0].reason: Unsupported value: "Whim": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge""#,
            ],
        );
        check(
            r#""validations":[{"expression":"true","message":"a\nb\n"}]"#,
            &[r#"spec.validations[0].message: Invalid value: "a\nb\n": message must not contain line breaks"#],
        );
        check(
            r#""auditAnnotations":[{"key":"a","valueExpression":"'x'"},{"key":"a"},{"key":"b c","valueExpression":"'x'"}]"#,
            &[
                "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
                r#"spec.auditAnnotations[1].key: Duplicate value: "a""#,
                r#"spec.auditAnnotations[2].key: Invalid value: "calm/b c": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
            ],
        );
        let long = "x".repeat(VALUE_EXPRESSION_BYTES_MAX + 1);
        check(
            &format!(r#""auditAnnotations":[{{"key":"a","valueExpression":"{long}"}}]"#),
            &["spec.auditAnnotations[0].valueExpression: Required value: must not exceed 5120 bytes in length"],
        );
    }

    #[test]
    fn conditions_that_are_stored_may_stay() {
        let policy = |name: &str| {
            of(&format!(
                r#"{CONSTRAINTS},"validations":[{{"expression":"true"}}],"matchConditions":[{{"name":"{name}","expression":"true"}}]"#
            ))
        };
        assert!(update_complaints(&STRATEGY, &policy(""), &policy(""), "").is_empty());
        assert_eq!(
            update_complaints(&STRATEGY, &policy(""), &policy("a"), ""),
            ["spec.matchConditions[0].name: Required value"]
        );
    }

    #[test]
    fn what_its_controller_may_say() {
        let text = r#"{"status":{"typeChecking":{"expressionWarnings":[{"fieldRef":"spec.validations[0].expression","warning":"odd"},{}]}}}"#;
        let tree = crate::testing::read("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", text);
        assert_eq!(
            update_complaints(&STRATEGY, &tree, &of(""), "status"),
            [
                "status.typeChecking.expressionWarnings[1].warning: Required value",
                "status.typeChecking.expressionWarnings[1].fieldRef: Required value",
            ]
        );
    }
}
