//! `ValidatingAdmissionPolicyBinding` (upstream: `registry/admissionregistration/validatingadmissionpolicybinding`, KEP-3488).

use std::collections::HashSet;

use portcullis_model::tree::Tree;

use super::{matching, policies, static_names};
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views::admissionregistration_v1::{
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingEdit, ValidatingAdmissionPolicyBindingSpec,
};
use crate::views::{self, List, shown};
use crate::vocabulary::{Errors, Path, names};

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

/// The rules of `ValidatingAdmissionPolicyBinding`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, update_checks_changes_once: true, ..Rest::PLAIN },
    default,
    validate_create: |tree, errors| spec(read(tree).spec(), &Path::new("spec"), errors),
    warn_create: |tree, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    validate_update: |tree, _, _, errors| spec(read(tree).spec(), &Path::new("spec"), errors),
    warn_update: |tree, _, _, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    columns: &[("PolicyName", Column::Field("spec.policyName", r#""""#))],
    cell: |tree, column, _| {
        (column == "ParamRef").then(|| Cell::Text(policies::shown_param_ref(read(tree).spec().param_ref())))
    },
    ..Strategy::NONE
};

fn read(tree: &Tree) -> ValidatingAdmissionPolicyBinding<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    let mut binding: ValidatingAdmissionPolicyBindingEdit<'_> = views::write(tree);
    let spec = binding.view().spec();
    let (has_param, has_matched) = (spec.param_ref().is_some(), spec.match_resources().is_some());
    if has_param {
        policies::default_param_ref(binding.spec_mut().param_ref_mut());
    }
    if has_matched {
        matching::default_match_resources(binding.spec_mut().match_resources_mut());
    }
}

fn spec(spec: ValidatingAdmissionPolicyBindingSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    policies::binding(spec.policy_name(), spec.param_ref(), spec.match_resources(), at, errors);
    actions(spec.validation_actions(), &at.field("validationActions"), errors);
}

/// What becomes of a request that does not pass: something, and nobody is told twice.
fn actions(list: List<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, action) in list.iter().enumerate() {
        names::one_of(action, ACTIONS, &at.index(index), errors);
        if !seen.insert(action) {
            errors.duplicate(&at.index(index), action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and \
                   headers serves no purpose)";
        errors.invalid(at, shown(list.place()), why);
    }
    if seen.is_empty() {
        errors.required(at, "at least one validation action is required");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    fn of(spec: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"calm"}},"spec":{{{spec}}}}}"#);
        created(&STRATEGY, "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", &text)
    }

    #[test]
    fn what_a_binding_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            assert_eq!(complaints(&STRATEGY, &of(spec)), expected, "{spec}");
            assert_eq!(update_complaints(&STRATEGY, &of(spec), &of(""), ""), expected, "{spec}");
        };
        check(r#""policyName":"calm","validationActions":["Deny","Audit"]"#, &[]);
        check(r#""policyName":"calm","validationActions":["Warn"],"paramRef":{"name":"a"},"matchResources":{}"#, &[]);
        check(
            "",
            &[
                "spec.policyName: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ],
        );
        check(
            r#""policyName":"calm","validationActions":["Deny","Warn","Deny","x"]"#,
            &[
                r#"spec.validationActions[2]: Duplicate value: "Deny""#,
                r#"spec.validationActions[3]: Unsupported value: "x": supported values: "Audit", "Deny", "Warn""#,
                r#"spec.validationActions: Invalid value: ["Deny","Warn","Deny","x"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"#,
            ],
        );
        check(
            r#""policyName":"calm","validationActions":["Deny"],"matchResources":{"matchPolicy":"x","resourceRules":[{"resourceNames":["a","a","b/c"],"operations":["*"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*"]}]}"#,
            &[
                r#"spec.matchResources.matchPolicy: Unsupported value: "x": supported values: "Equivalent", "Exact""#,
                r#"spec.matchResources.resourceRules[0].resourceNames[1]: Duplicate value: "a""#,
                r#"spec.matchResources.resourceRules[0].resourceNames[2]: Invalid value: "b/c": may not contain '/'"#,
            ],
        );
    }

    #[test]
    fn what_a_binding_gets() {
        let tree = of(r#""paramRef":{"name":"a"},"matchResources":{"resourceRules":[{}]}"#);
        assert_eq!(
            json(&tree)["spec"],
            serde_json::json!({
                "paramRef": {"name": "a", "parameterNotFoundAction": "Deny"},
                "matchResources": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                    "resourceRules": [{"scope": "*"}]},
            })
        );
    }
}
