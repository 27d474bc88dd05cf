//! `ReplicaSet` (upstream: `registry/apps/replicaset`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use portcullis_model::tree::Tree;

use crate::core::pod_spec::{self, cells};
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::apps_v1::{ReplicaSet, ReplicaSetEdit, ReplicaSetSpec};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::replicas::{self, Selects};
use crate::vocabulary::{Errors, Path};

/// The rules of `ReplicaSet`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    validate_create: |tree, errors| validate(views::read(tree), None, errors),
    warn_create,
    validate_update,
    warn_update,
    blank: |tree| views::write::<ReplicaSetEdit<'_>>(tree).spec_mut().set_replicas(0),
    columns: &[
        ("Current", Column::Field("status.replicas", "0")),
        ("Desired", Column::Field("spec.replicas", "0")),
        ("Ready", Column::Field("status.readyReplicas", "0")),
    ],
    cell,
    ..Strategy::NONE
};

fn default(tree: &mut Tree) {
    let mut set: ReplicaSetEdit<'_> = views::write(tree);
    let mut spec = set.spec_mut();
    if spec.view().replicas().is_none() {
        spec.set_replicas(1);
    }
    pod_spec::default_template(spec.template_mut());
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (ReplicaSet<'_>, ReplicaSet<'_>) = (views::read(tree), views::read(old));
    if subresource == "status" {
        return validate_status(new, errors);
    }
    validate(new, Some(old), errors);
    let (selector, before) = (new.spec().place(), old.spec().place());
    let field = ReplicaSetSpec::SELECTOR;
    frozen(selector.get(field), before.get(field), &Path::new("spec.selector"), errors);
}

fn validate(set: ReplicaSet<'_>, old: Option<ReplicaSet<'_>>, errors: &mut Errors) {
    let at = Path::new("spec");
    let spec = set.spec();
    spec.check_replicas(&at, errors);
    spec.check_min_ready_seconds(&at, errors);
    // Upstream's word for it is that of what usually makes replica sets.
    replicas::selector(spec.selector(), "deployment", &at.field("selector"), errors);
    match Selects::of(spec.selector(), spec.template()) {
        Selects::Unusable => {
            let selector = spec.place().get(ReplicaSetSpec::SELECTOR);
            errors.invalid(&at.field("selector"), views::shown(selector), "invalid label selector");
        }
        selects => {
            let at = at.field("template");
            if selects == Selects::Others {
                replicas::labels_not_selected(spec.template(), &at, errors);
            }
            pod_spec::validate_template(spec.template(), old.map(|old| old.spec().template()), &at, errors);
            replicas::runs_for_ever(spec.template().spec(), "ReplicaSet", &at, errors);
        }
    }
}

fn validate_status(set: ReplicaSet<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let status = set.status();
    status.check_replicas(&at, errors);
    status.check_fully_labeled_replicas(&at, errors);
    status.check_ready_replicas(&at, errors);
    status.check_available_replicas(&at, errors);
    status.check_terminating_replicas(&at, errors);
    status.check_observed_generation(&at, errors);
    let (all, ready, available) = (status.replicas(), status.ready_replicas(), status.available_replicas());
    let labeled = status.fully_labeled_replicas();
    replicas::at_most(labeled, all, "status.replicas", &at.field("fullyLabeledReplicas"), errors);
    replicas::ready_and_available(ready, available, all, &at, errors);
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let set: ReplicaSet<'_> = views::read(tree);
    replicas::warn_name(set.metadata().name(), warnings);
    pod_spec::warn_template(set.spec().template(), None, &Path::new("spec.template"), warnings);
}

fn warn_update(tree: &Tree, old: &Tree, _: &str, warnings: &mut Vec<String>) {
    let (new, old): (ReplicaSet<'_>, ReplicaSet<'_>) = (views::read(tree), views::read(old));
    if new.metadata().generation() != old.metadata().generation() {
        let templates = (new.spec().template(), old.spec().template());
        pod_spec::warn_template(templates.0, Some(templates.1), &Path::new("spec.template"), warnings);
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let spec = views::read::<ReplicaSet<'_>>(tree).spec();
    Some(match column {
        "Containers" => cells::containers(spec.template().spec()),
        "Images" => cells::images(spec.template().spec()),
        "Selector" => cells::selector(spec.selector()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    const POD: &str = r#"{"metadata":{"labels":{"app":"rs"}},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;

    fn set(spec: &str) -> Tree {
        created(&STRATEGY, "apps/v1", "ReplicaSet", &format!(r#"{{"metadata":{{"name":"rs"}},"spec":{spec}}}"#))
    }

    fn with(more: &str) -> Tree {
        set(&format!(r#"{{"selector":{{"matchLabels":{{"app":"rs"}}}},"template":{POD}{more}}}"#))
    }

    #[test]
    fn one_replica_is_the_default() {
        let check = |more: &str, expected: i64| {
            assert_eq!(json(&with(more)).pointer("/spec/replicas"), Some(&expected.into()), "{more}");
        };
        check("", 1);
        check(r#","replicas":0"#, 0);
        check(r#","replicas":7"#, 7);
    }

    #[test]
    fn a_set_selects_the_pods_of_its_template() {
        let check = |spec: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &set(spec)), expected, "{spec}");
        let labels = r#"`selector` does not match template `labels`"#;
        check(&format!(r#"{{"selector":{{"matchLabels":{{"app":"rs"}}}},"template":{POD}}}"#), &[]);
        check(
            &format!(r#"{{"template":{POD}}}"#),
            &[
                "spec.selector: Required value",
                &format!(r#"spec.template.metadata.labels: Invalid value: {{"app":"rs"}}: {labels}"#),
            ],
        );
        check(
            &format!(r#"{{"selector":{{}},"template":{POD}}}"#),
            &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        );
        check(
            &format!(r#"{{"selector":{{"matchExpressions":[{{"key":"app","operator":"Has"}}]}},"template":{POD}}}"#),
            &[
                r#"spec.selector.matchExpressions[0].operator: Invalid value: "Has": not a valid selector operator"#,
                r#"spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Has"}]}: invalid label selector"#,
            ],
        );
        check(
            &format!(
                r#"{{"replicas":-1,"minReadySeconds":-2,"selector":{{"matchLabels":{{"app":"rs"}}}},"template":{POD}}}"#
            ),
            &[
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0",
            ],
        );
    }

    #[test]
    fn the_selector_stays() {
        let old = with("");
        assert_eq!(update_complaints(&STRATEGY, &with(r#","replicas":3"#), &old, ""), [""; 0]);
        let other = set(&format!(
            r#"{{"selector":{{"matchExpressions":[{{"key":"app","operator":"Exists"}}]}},"template":{POD}}}"#
        ));
        assert_eq!(
            update_complaints(&STRATEGY, &other, &old, ""),
            [
                r#"spec.selector: Invalid value: {"matchExpressions":[{"key":"app","operator":"Exists"}]}: field is immutable"#
            ],
        );
    }

    #[test]
    fn a_status_counts() {
        let check = |status: &str, expected: &[&str]| {
            let of = |status: &str| crate::testing::read("apps/v1", "ReplicaSet", &format!(r#"{{"status":{status}}}"#));
            assert_eq!(update_complaints(&STRATEGY, &of(status), &of("{}"), "status"), expected, "{status}");
        };
        check(r#"{"replicas":3,"readyReplicas":2,"availableReplicas":1,"fullyLabeledReplicas":3}"#, &[]);
        check(
            r#"{"replicas":1,"readyReplicas":2,"availableReplicas":3,"observedGeneration":-1}"#,
            &[
                "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
                "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
            ],
        );
    }
}
