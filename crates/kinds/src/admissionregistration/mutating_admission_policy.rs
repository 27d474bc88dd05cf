//! `MutatingAdmissionPolicy` (upstream: `registry/admissionregistration/mutatingadmissionpolicy`, KEP-3962).
//!
//! Expressions are checked here as far as nobody has to understand them.

use portcullis_model::tree::Tree;

use super::{matching, policies, static_names};
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::admissionregistration_v1::{
    MatchResources, MutatingAdmissionPolicy, MutatingAdmissionPolicyEdit, MutatingAdmissionPolicySpec, Mutation,
};
use crate::vocabulary::{Errors, Path, names};

/// What is deleted cannot be changed.
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
const PATCH_TYPES: &[&str] = &["ApplyConfiguration", "JSONPatch"];

/// The rules of `MutatingAdmissionPolicy`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, update_checks_changes_once: true, ..Rest::PLAIN },
    default,
    validate_create: |tree, errors| spec(read(tree).spec(), None, &Path::new("spec"), errors),
    warn_create: |tree, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    validate_update: |tree, old, _, errors| spec(read(tree).spec(), Some(read(old).spec()), &Path::new("spec"), errors),
    warn_update: |tree, _, _, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    columns: &[("Mutations", Column::Count(&["spec.mutations"]))],
    cell: |tree, column, _| {
        (column == "ParamKind").then(|| Cell::Text(policies::shown_param_kind(read(tree).spec().param_kind())))
    },
    ..Strategy::NONE
};

fn read(tree: &Tree) -> MutatingAdmissionPolicy<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    let mut policy: MutatingAdmissionPolicyEdit<'_> = views::write(tree);
    let spec = policy.view().spec();
    let (has_failure_policy, has_constraints) = (spec.failure_policy().is_some(), spec.match_constraints().is_some());
    if !has_failure_policy {
        policy.spec_mut().set_failure_policy(matching::FAILURE_POLICY_DEFAULT);
    }
    if has_constraints {
        matching::default_match_resources(policy.spec_mut().match_constraints_mut());
    }
}

fn spec(
    spec: MutatingAdmissionPolicySpec<'_>,
    old: Option<MutatingAdmissionPolicySpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    spec.check_failure_policy(at, errors);
    if let Some(kind) = spec.param_kind() {
        policies::param_kind(kind, &at.field("paramKind"), errors);
    }
    let at_constraints = at.field("matchConstraints");
    policies::match_constraints(spec.match_constraints(), &at_constraints, errors);
    if let Some(matched) = spec.match_constraints() {
        operations(matched, &at_constraints, errors);
    }
    let old_conditions = old.map(|old| old.match_conditions().place());
    if !policies::keeps_conditions(spec.match_conditions().place(), old_conditions) {
        matching::match_conditions(spec.match_conditions(), &at.field("matchConditions"), errors);
    }
    policies::variables(spec.variables(), &at.field("variables"), errors);
    if spec.mutations().is_empty() {
        errors.required(&at.field("mutations"), "mutations must contain at least one item");
    }
    for (index, one) in spec.mutations().iter().enumerate() {
        mutation(one, &at.field("mutations").index(index), errors);
    }
    spec.check_reinvocation_policy(at, errors);
}

/// Upstream names the field, but not which of them.
fn operations(matched: MatchResources<'_>, at: &Path<'_>, errors: &mut Errors) {
    for rule in matched.resource_rules().iter() {
        for operation in rule.operations().iter() {
            names::one_of(operation, OPERATIONS, &at.field("resourceRules.operations"), errors);
        }
    }
}

/// A change is written in one of two forms, and only in that which it says.
fn mutation(mutation: Mutation<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (at_patch, at_apply) = (at.field("jsonPatch"), at.field("applyConfiguration"));
    match mutation.patch_type() {
        "" => errors.required(&at.field("patchType"), ""),
        "JSONPatch" => {
            match mutation.json_patch() {
                None => errors.required(&at_patch, "must be specified when patchType is JSONPatch"),
                Some(patch) => matching::expression(patch.expression(), "", &at_patch.field("expression"), errors),
            }
            if mutation.apply_configuration().is_some() {
                let why = "must not be specified when patchType is JSONPatch";
                errors.invalid(&at_apply, "{applyConfiguration}", why);
            }
        }
        "ApplyConfiguration" => {
            match mutation.apply_configuration() {
                None => errors.required(&at_apply, "must be specified when patchType is ApplyConfiguration"),
                Some(apply) => matching::expression(apply.expression(), "", &at_apply.field("expression"), errors),
            }
            if mutation.json_patch().is_some() {
                errors.invalid(&at_patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration");
            }
        }
        other => errors.not_supported(&at.field("patchType"), other, PATCH_TYPES),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(operation: &str, fields: &str) -> Tree {
        let text = format!(
            r#"{{"metadata":{{"name":"calm"}},"spec":{{"matchConstraints":{{"resourceRules":[{{"apiGroups":[""],"apiVersions":["v1"],"operations":["{operation}"],"resources":["pods"]}}]}},{fields}}}}}"#
        );
        created(&STRATEGY, "admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", &text)
    }

    #[test]
    fn what_a_policy_may_change() {
        let check = |operation: &str, fields: &str, expected: &[&str]| {
            let tree = of(operation, fields);
            assert_eq!(complaints(&STRATEGY, &tree), expected, "{operation} {fields}");
            assert_eq!(update_complaints(&STRATEGY, &tree, &tree, ""), expected, "{operation} {fields}");
        };
        let never = r#""reinvocationPolicy":"Never""#;
        let apply = r#"{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{}"}}"#;
        let patch = r#"{"patchType":"JSONPatch","jsonPatch":{"expression":"[]"}}"#;
        check("CREATE", &format!(r#"{never},"mutations":[{apply},{patch}]"#), &[]);
        check(
            "DELETE",
            &format!(r#"{never},"mutations":[{apply}]"#),
            &[
                r#"spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE""#,
            ],
        );
        check(
            "*",
            r#""reinvocationPolicy":"other""#,
            &[
                "spec.mutations: Required value: mutations must contain at least one item",
                r#"spec.reinvocationPolicy: Unsupported value: "other": supported values: "IfNeeded", "Never""#,
            ],
        );
        check(
            "*",
            r#""mutations":[{},{"patchType":"x"},{"patchType":"JSONPatch","applyConfiguration":{}},{"patchType":"ApplyConfiguration","applyConfiguration":{},"jsonPatch":{}}]"#,
            &[
                "spec.mutations[0].patchType: Required value",
                r#"spec.mutations[1].patchType: Unsupported value: "x": supported values: "ApplyConfiguration", "JSONPatch""#,
                "spec.mutations[2].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                r#"spec.mutations[2].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch"#,
                "spec.mutations[3].applyConfiguration.expression: Required value",
                r#"spec.mutations[3].jsonPatch: Invalid value: "{jsonPatch}": must not be specified when patchType is ApplyConfiguration"#,
                "spec.reinvocationPolicy: Required value",
            ],
        );
    }
}
