//! `PodDisruptionBudget` (upstream: `registry/policy/poddisruptionbudget`, `apis/policy/validation`; eviction of unhealthy pods KEP-3017).

use portcullis_model::names::NameRule;
use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views::policy_v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use crate::views::{self, IntOrString, shown};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path, conditions, int_or_percent, selectors};

/// The rules of `PodDisruptionBudget`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        needs_version: true,
        update_checks_all_metadata: false,
        // Its own validation does not look at the name: any that a path can have is one.
        name: NameRule::PathSegment,
        ..Rest::PLAIN
    },
    validate_create,
    validate_update,
    columns: &[("Allowed Disruptions", Column::Field("status.disruptionsAllowed", "0"))],
    cell,
    ..Strategy::NONE
};

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let budget: PodDisruptionBudget<'_> = views::read(tree);
    spec(budget.spec(), None, &Path::new("spec"), errors);
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (PodDisruptionBudget<'_>, PodDisruptionBudget<'_>) = (views::read(tree), views::read(old));
    if subresource == "status" {
        status(new.status(), &Path::new("status"), errors);
    } else {
        spec(new.spec(), Some(old.spec()), &Path::new("spec"), errors);
    }
}

fn spec(
    spec: PodDisruptionBudgetSpec<'_>,
    old: Option<PodDisruptionBudgetSpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let (least, most) = (spec.min_available(), spec.max_unavailable());
    if least.is_some() && most.is_some() {
        errors.invalid(at, shown(spec.place()), "minAvailable and maxUnavailable cannot be both set");
    }
    for (field, value) in [("minAvailable", least), ("maxUnavailable", most)] {
        if let Some(value) = value {
            int_or_percent::int_or_percent(value, &at.field(field), errors);
            int_or_percent::at_most_all(value, &at.field(field), errors);
        }
    }
    // What is wrong with a selector that is stored was let in once.
    if let Some(selector) = spec.selector()
        && old.and_then(PodDisruptionBudgetSpec::selector).is_none_or(|old| !is_same(selector.place(), old.place()))
    {
        selectors::label_selector(selector, &at.field("selector"), errors);
    }
    spec.check_unhealthy_pod_eviction_policy(at, errors);
}

fn status(status: PodDisruptionBudgetStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    conditions::conditions(status.conditions(), &at.field("conditions"), errors);
    status.check_disruptions_allowed(at, errors);
    status.check_current_healthy(at, errors);
    status.check_desired_healthy(at, errors);
    status.check_expected_pods(at, errors);
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let spec = views::read::<PodDisruptionBudget<'_>>(tree).spec();
    let value = match column {
        "Min Available" => spec.min_available(),
        "Max Unavailable" => spec.max_unavailable(),
        _ => return None,
    };
    Some(Cell::Text(match value {
        None => "N/A".to_owned(),
        Some(IntOrString::Int(value)) => value.to_string(),
        Some(IntOrString::String(text)) => text.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{complaints, created, update_complaints};

    fn of(fields: &str) -> Tree {
        let text = format!(r#"{{"metadata":{{"name":"quay"}},{fields}}}"#);
        created(&STRATEGY, "policy/v1", "PodDisruptionBudget", &text)
    }

    #[test]
    fn what_a_budget_may_say() {
        let check = |spec: &str, expected: &[&str]| {
            let found = complaints(&STRATEGY, &of(&format!(r#""spec":{{{spec}}}"#)));
            assert_eq!(found, expected, "{spec}");
        };
        check("", &[]);
        check(
            r#""minAvailable":"50%","selector":{"matchLabels":{"app":"web"}},"unhealthyPodEvictionPolicy":"AlwaysAllow""#,
            &[],
        );
        check(r#""maxUnavailable":0"#, &[]);
        check(
            r#""minAvailable":1,"maxUnavailable":1"#,
            &[
                r#"spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot be both set"#,
            ],
        );
        check(r#""minAvailable":-1"#, &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]);
        check(
            r#""maxUnavailable":"101%""#,
            &[r#"spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%"#],
        );
        check(
            r#""unhealthyPodEvictionPolicy":"other""#,
            &[
                r#"spec.unhealthyPodEvictionPolicy: Unsupported value: "other": supported values: "AlwaysAllow", "IfHealthyBudget""#,
            ],
        );
        check(
            r#""selector":{"matchExpressions":[{"key":"a","operator":"In"}]}"#,
            &[
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        );
    }

    #[test]
    fn what_its_controller_may_say() {
        let check = |status: &str, expected: &[&str]| {
            let found =
                update_complaints(&STRATEGY, &of(&format!(r#""status":{{{status}}}"#)), &of(r#""spec":{}"#), "status");
            assert_eq!(found, expected, "{status}");
        };
        check(r#""disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2"#, &[]);
        check(
            r#""disruptionsAllowed":-1,"expectedPods":-1"#,
            &[
                "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
                "status.expectedPods: Invalid value: -1: must be greater than or equal to 0",
            ],
        );
        let time = r#""lastTransitionTime":"2026-01-01T00:00:00Z""#;
        let good = format!(r#"{{"type":"DisruptionAllowed","status":"True","reason":"Enough",{time}}}"#);
        check(&format!(r#""conditions":[{good}]"#), &[]);
        check(
            &format!(r#""conditions":[{good},{good}]"#),
            &[r#"status.conditions[1].type: Duplicate value: "DisruptionAllowed""#],
        );
        check(
            r#""conditions":[{"type":"A","status":"Maybe"}]"#,
            &[
                r#"status.conditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown""#,
                "status.conditions[0].lastTransitionTime: Required value: must be set",
                "status.conditions[0].reason: Required value: must be set",
            ],
        );
    }
}
