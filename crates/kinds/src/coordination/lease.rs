//! `Lease` (upstream: `registry/coordination/lease`, `apis/coordination/validation`; coordinated leader election KEP-4355).

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};
use crate::views;
use crate::views::coordination_v1::Lease;
use crate::vocabulary::{Errors, Path, names};

/// How a holder is chosen without asking the candidates one after another.
const STRATEGIES: &[&str] = &["OldestEmulationVersion"];

/// The rules of `Lease`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { put_creates: true, needs_version: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    validate_create: validate,
    validate_update: |tree, _, _, errors| validate(tree, errors),
    columns: &[("Holder", Column::Field("spec.holderIdentity", r#""""#))],
    ..Strategy::NONE
};

fn validate(tree: &Tree, errors: &mut Errors) {
    let spec = views::read::<Lease<'_>>(tree).spec();
    let at = Path::new("spec");
    spec.check_lease_duration_seconds(&at, errors);
    spec.check_lease_transitions(&at, errors);
    if let Some(strategy) = spec.strategy() {
        // Upstream names the field twice.
        chosen_by(strategy, &at.field("strategy.strategy"), errors);
    }
    if spec.preferred_holder().is_some_and(|holder| !holder.is_empty())
        && spec.strategy().unwrap_or_default().is_empty()
    {
        let why = "may only be specified if `strategy` is defined";
        errors.forbidden(&at.field("preferredHolder"), why);
    }
}

/// A strategy of the project's own, or one with a domain.
fn chosen_by(strategy: &str, at: &Path<'_>, errors: &mut Errors) {
    if strategy.contains('/') {
        names::qualified_name(strategy, at, errors);
    } else if !STRATEGIES.contains(&strategy) {
        errors.not_supported(at, strategy, STRATEGIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    #[test]
    fn what_a_lease_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            let text = format!(r#"{{"metadata":{{"name":"l"}},"spec":{{{spec}}}}}"#);
            let lease = created(&STRATEGY, "coordination.k8s.io/v1", "Lease", &text);
            assert_eq!(complaints(&STRATEGY, &lease), expected, "{spec}");
            assert_eq!(update_complaints(&STRATEGY, &lease, &lease, ""), expected, "{spec}");
        };
        check("", &[]);
        check(r#""leaseDurationSeconds":15,"leaseTransitions":0,"holderIdentity":"a""#, &[]);
        check(
            r#""leaseDurationSeconds":0,"leaseTransitions":-1"#,
            &[
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
        check(r#""strategy":"OldestEmulationVersion","preferredHolder":"b""#, &[]);
        check(r#""strategy":"example.com/mine","preferredHolder":"b""#, &[]);
        check(
            r#""strategy":"mine""#,
            &[r#"spec.strategy.strategy: Unsupported value: "mine": supported values: "OldestEmulationVersion""#],
        );
        check(
            r#""preferredHolder":"b""#,
            &["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"],
        );
    }
}
