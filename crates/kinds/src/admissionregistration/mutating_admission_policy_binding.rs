//! `MutatingAdmissionPolicyBinding` (upstream: `registry/admissionregistration/mutatingadmissionpolicybinding`, KEP-3962).

use portcullis_model::tree::Tree;

use super::{matching, policies, static_names};
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::admissionregistration_v1::{MutatingAdmissionPolicyBinding, MutatingAdmissionPolicyBindingEdit};
use crate::vocabulary::{Errors, Path};

/// The rules of `MutatingAdmissionPolicyBinding`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, update_checks_changes_once: true, ..Rest::PLAIN },
    default,
    validate_create: binding,
    warn_create: |tree, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    validate_update: |tree, _, _, errors| binding(tree, errors),
    warn_update: |tree, _, _, warnings| static_names::warn(read(tree).metadata().name(), warnings),
    columns: &[("PolicyName", Column::Field("spec.policyName", r#""""#))],
    cell: |tree, column, _| {
        (column == "ParamRef").then(|| Cell::Text(policies::shown_param_ref(read(tree).spec().param_ref())))
    },
    ..Strategy::NONE
};

fn read(tree: &Tree) -> MutatingAdmissionPolicyBinding<'_> {
    views::read(tree)
}

fn default(tree: &mut Tree) {
    let mut binding: MutatingAdmissionPolicyBindingEdit<'_> = views::write(tree);
    let spec = binding.view().spec();
    let (has_param, has_matched) = (spec.param_ref().is_some(), spec.match_resources().is_some());
    if has_param {
        policies::default_param_ref(binding.spec_mut().param_ref_mut());
    }
    if has_matched {
        matching::default_match_resources(binding.spec_mut().match_resources_mut());
    }
}

fn binding(tree: &Tree, errors: &mut Errors) {
    let spec = read(tree).spec();
    policies::binding(spec.policy_name(), spec.param_ref(), spec.match_resources(), &Path::new("spec"), errors);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    #[test]
    fn what_a_binding_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            let text = format!(r#"{{"metadata":{{"name":"calm"}},"spec":{{{spec}}}}}"#);
            let of = |text: &str| {
                created(&STRATEGY, "admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding", text)
            };
            assert_eq!(complaints(&STRATEGY, &of(&text)), expected, "{spec}");
            assert_eq!(update_complaints(&STRATEGY, &of(&text), &of("{}"), ""), expected, "{spec}");
        };
        check(r#""policyName":"calm","paramRef":{"selector":{}},"matchResources":{}"#, &[]);
        check(
            r#""paramRef":{}"#,
            &[
                "spec.policyName: Required value",
                "spec.paramRef: Required value: one of name or selector must be specified",
            ],
        );
    }
}
