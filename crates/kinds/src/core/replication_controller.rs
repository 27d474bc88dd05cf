//! `ReplicationController` (upstream: `registry/core/replicationcontroller`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use portcullis_model::names::NameRule;
use portcullis_model::tree::Tree;

use super::pod_spec::{self, cells};
use crate::rest::{Dependents, Rest, SelectableField};
use crate::strategy::{Cell, Column, Strategy};
use crate::views;
use crate::views::core_v1::{ReplicationController, ReplicationControllerEdit, ReplicationControllerSpec};
use crate::vocabulary::{Errors, Path, replicas};

/// The rules of `ReplicationController`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        update_checks_all_metadata: false,
        dependents: Dependents::Orphaned,
        name: NameRule::SubdomainBytes,
        fields: &[SelectableField::or("status.replicas", &["status.replicas"], "0")],
        ..Rest::PLAIN
    },
    default,
    validate_create: |tree, errors| validate(views::read(tree), None, errors),
    warn_create,
    validate_update,
    warn_update,
    columns: &[
        ("Current", Column::Field("status.replicas", "0")),
        ("Desired", Column::Field("spec.replicas", "0")),
        ("Ready", Column::Field("status.readyReplicas", "0")),
    ],
    cell,
    ..Strategy::NONE
};

/// A controller that does not say whom it controls, or what its own labels are, takes both from its template.
fn default(tree: &mut Tree) {
    let spec = views::read::<ReplicationController<'_>>(tree).spec();
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let template = spec.template();
    let labels: Vec<_> =
        template.map(|template| template.metadata().labels().iter().map(owned).collect()).unwrap_or_default();
    let has_template = template.is_some();
    let mut controller: ReplicationControllerEdit<'_> = views::write(tree);
    if !labels.is_empty() && controller.view().metadata().labels().is_empty() {
        let mut metadata = controller.metadata_mut();
        let mut own = metadata.labels_mut();
        labels.iter().for_each(|(key, value)| own.insert(key, value));
    }
    let mut spec = controller.spec_mut();
    if !labels.is_empty() && spec.view().selector().is_empty() {
        let mut selector = spec.selector_mut();
        labels.iter().for_each(|(key, value)| selector.insert(key, value));
    }
    if spec.view().replicas().is_none() {
        spec.set_replicas(1);
    }
    if has_template {
        pod_spec::default_template(spec.template_mut());
    }
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    if subresource == "status" {
        return validate_status(views::read(tree), errors);
    }
    validate(views::read(tree), Some(views::read(old)), errors);
}

fn validate(controller: ReplicationController<'_>, old: Option<ReplicationController<'_>>, errors: &mut Errors) {
    let at = Path::new("spec");
    let spec = controller.spec();
    spec.check_min_ready_seconds(&at, errors);
    if spec.selector().is_empty() {
        errors.required(&at.field("selector"), "");
    }
    spec.check_replicas(&at, errors);
    let Some(template) = spec.template() else { return errors.required(&at.field("template"), "") };
    let at = at.field("template");
    if !selects_template(spec) {
        replicas::labels_not_selected(template, &at, errors);
    }
    pod_spec::validate_template(template, old.and_then(|old| old.spec().template()), &at, errors);
    replicas::runs_for_ever(template.spec(), "ReplicationController", &at, errors);
}

/// Whether the template's pods have all labels of the selector. The selector is plain labels, of which nothing is checked.
fn selects_template(spec: ReplicationControllerSpec<'_>) -> bool {
    let Some(labels) = spec.template().map(|template| template.metadata().labels()) else { return false };
    spec.selector().iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn validate_status(controller: ReplicationController<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let status = controller.status();
    status.check_replicas(&at, errors);
    status.check_fully_labeled_replicas(&at, errors);
    status.check_ready_replicas(&at, errors);
    status.check_available_replicas(&at, errors);
    status.check_observed_generation(&at, errors);
    let (all, ready, available) = (status.replicas(), status.ready_replicas(), status.available_replicas());
    let labeled = status.fully_labeled_replicas();
    replicas::at_most(labeled, all, "status.replicas", &at.field("fullyLabeledReplicas"), errors);
    replicas::ready_and_available(ready, available, all, &at, errors);
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let controller: ReplicationController<'_> = views::read(tree);
    replicas::warn_name(controller.metadata().name(), warnings);
    if let Some(template) = controller.spec().template() {
        pod_spec::warn_template(template, None, &Path::new("spec.template"), warnings);
    }
}

fn warn_update(tree: &Tree, old: &Tree, _: &str, warnings: &mut Vec<String>) {
    let (new, old): (ReplicationController<'_>, ReplicationController<'_>) = (views::read(tree), views::read(old));
    let Some(template) = new.spec().template() else { return };
    if new.metadata().generation() != old.metadata().generation() {
        pod_spec::warn_template(template, old.spec().template(), &Path::new("spec.template"), warnings);
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let spec = views::read::<ReplicationController<'_>>(tree).spec();
    let pods = spec.template()?.spec();
    Some(match column {
        "Containers" => cells::containers(pods),
        "Images" => cells::images(pods),
        "Selector" => cells::labels(spec.selector()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{complaints, created, json, update_complaints};

    const PODS: &str = r#"{"containers":[{"name":"c","image":"i"}],"restartPolicy":"Always"}"#;

    fn of(spec: &str) -> Tree {
        created(&STRATEGY, "v1", "ReplicationController", &format!(r#"{{"metadata":{{"name":"rc"}},"spec":{spec}}}"#))
    }

    fn template(labels: &str) -> String {
        format!(r#"{{"metadata":{{"labels":{labels}}},"spec":{PODS}}}"#)
    }

    #[test]
    fn labels_come_from_the_template() {
        let check = |spec: &str, labels: &str, selector: &str| {
            let shown = json(&of(spec));
            let at = |path: &str| shown.pointer(path).map(ToString::to_string).unwrap_or_default();
            assert_eq!((at("/metadata/labels").as_str(), at("/spec/selector").as_str()), (labels, selector), "{spec}");
        };
        let own = r#"{"app":"rc"}"#;
        check(&format!(r#"{{"template":{}}}"#, template(own)), own, own);
        check(&format!(r#"{{"selector":{{}},"template":{}}}"#, template(own)), own, own);
        let other = r#"{"app":"other"}"#;
        check(&format!(r#"{{"selector":{other},"template":{}}}"#, template(own)), own, other);
        check("{}", "", "");
    }

    #[test]
    fn a_controller_selects_its_own_pods() {
        let check = |spec: &str, expected: &[&str]| assert_eq!(complaints(&STRATEGY, &of(spec)), expected, "{spec}");
        let own = r#"{"app":"rc"}"#;
        check(&format!(r#"{{"template":{}}}"#, template(own)), &[]);
        check("{}", &["spec.selector: Required value", "spec.template: Required value"]);
        check(
            &format!(r#"{{"replicas":-1,"minReadySeconds":-2,"selector":{{"b":"!"}},"template":{}}}"#, template(own)),
            &[
                "spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0",
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                r#"spec.template.metadata.labels: Invalid value: {"app":"rc"}: `selector` does not match template `labels`"#,
            ],
        );
    }

    #[test]
    fn a_status_counts() {
        let of =
            |status: &str| crate::testing::read("v1", "ReplicationController", &format!(r#"{{"status":{status}}}"#));
        let check = |status: &str, expected: &[&str]| {
            assert_eq!(update_complaints(&STRATEGY, &of(status), &of("{}"), "status"), expected, "{status}");
        };
        check(r#"{"replicas":2,"readyReplicas":1,"availableReplicas":1}"#, &[]);
        check(
            r#"{"replicas":1,"fullyLabeledReplicas":2,"readyReplicas":0,"availableReplicas":1}"#,
            &[
                "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
            ],
        );
    }

    #[test]
    fn a_table_shows_the_template() {
        let check = |spec: &str, column: &str, expected: Option<&str>| {
            assert_eq!(cell(&of(spec), column, 0), expected.map(|text| Cell::Text(text.to_owned())), "{spec} {column}");
        };
        let spec = format!(r#"{{"template":{}}}"#, template(r#"{"app":"rc"}"#));
        check(&spec, "Containers", Some("c"));
        check(&spec, "Images", Some("i"));
        check(&spec, "Selector", Some("app=rc"));
        check("{}", "Selector", None);
    }
}
