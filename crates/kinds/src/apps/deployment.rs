//! `Deployment` (upstream: `registry/apps/deployment`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use portcullis_model::tree::Tree;

use super::strategies;
use crate::core::pod_spec::{self, cells};
use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Cell, Column, Strategy};
use crate::views::apps_v1::{
    Deployment, DeploymentEdit, DeploymentSpec, DeploymentStrategy, DeploymentStrategyEdit, RollingUpdateDeployment,
};
use crate::views::{self, IntOrString};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::replicas::{self, Selects};
use crate::vocabulary::{Errors, Path, int_or_percent};

/// The rules of `Deployment`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        annotations_count: true,
        status_keeps: StatusKeeps::Labels,
        resets: &[("status", Resets::Fields(&[&["metadata", "labels"], &["spec"]]))],
        update_checks_all_metadata: false,
        ..Rest::PLAIN
    },
    default,
    validate_create: |tree, errors| validate(views::read(tree), None, errors),
    warn_create,
    validate_update,
    warn_update,
    blank: |tree| views::write::<DeploymentEdit<'_>>(tree).spec_mut().set_replicas(0),
    columns: &[
        ("Available", Column::Field("status.availableReplicas", "0")),
        ("Up-to-date", Column::Field("status.updatedReplicas", "0")),
    ],
    cell,
    ..Strategy::NONE
};

const RECREATE: &str = "Recreate";
const ROLLING_UPDATE: &str = "RollingUpdate";
/// How many pods may be missing, and how many too many, while a deployment rolls over.
const SHARE_DEFAULT: IntOrString<'_> = IntOrString::String("25%");
/// How many replica sets of former templates are kept.
const REVISION_HISTORY_LIMIT_DEFAULT: i64 = 10;
const PROGRESS_DEADLINE_SECONDS_DEFAULT: i64 = 600;

fn default(tree: &mut Tree) {
    let mut deployment: DeploymentEdit<'_> = views::write(tree);
    let mut spec = deployment.spec_mut();
    if spec.view().replicas().is_none() {
        spec.set_replicas(1);
    }
    default_strategy(spec.strategy_mut());
    if spec.view().revision_history_limit().is_none() {
        spec.set_revision_history_limit(REVISION_HISTORY_LIMIT_DEFAULT);
    }
    if spec.view().progress_deadline_seconds().is_none() {
        spec.set_progress_deadline_seconds(PROGRESS_DEADLINE_SECONDS_DEFAULT);
    }
    pod_spec::default_template(spec.template_mut());
}

fn default_strategy(mut strategy: DeploymentStrategyEdit<'_>) {
    if strategy.view().type_().is_empty() {
        strategy.set_type(ROLLING_UPDATE);
    }
    if strategy.view().type_() != ROLLING_UPDATE {
        return;
    }
    let mut rolling = strategy.rolling_update_mut();
    if rolling.view().max_unavailable().is_none() {
        rolling.set_max_unavailable(SHARE_DEFAULT);
    }
    if rolling.view().max_surge().is_none() {
        rolling.set_max_surge(SHARE_DEFAULT);
    }
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (Deployment<'_>, Deployment<'_>) = (views::read(tree), views::read(old));
    if subresource == "status" {
        return validate_status(new, old, errors);
    }
    validate(new, Some(old), errors);
    let (selector, before) = (new.spec().place(), old.spec().place());
    let field = DeploymentSpec::SELECTOR;
    frozen(selector.get(field), before.get(field), &Path::new("spec.selector"), errors);
}

fn validate(deployment: Deployment<'_>, old: Option<Deployment<'_>>, errors: &mut Errors) {
    let at = Path::new("spec");
    let spec = deployment.spec();
    spec.check_replicas(&at, errors);
    let old_template = old.map(|old| old.spec().template());
    replicas::selector(spec.selector(), "deployment", &at.field("selector"), errors);
    match Selects::of(spec.selector(), spec.template()) {
        Selects::Unusable => {
            let selector = spec.place().get(DeploymentSpec::SELECTOR);
            errors.invalid(&at.field("selector"), views::shown(selector), "invalid label selector");
        }
        selects => {
            let at = at.field("template");
            if selects == Selects::Others {
                replicas::labels_not_selected(spec.template(), &at, errors);
            }
            pod_spec::validate_template(spec.template(), old_template, &at, errors);
            // Upstream checks the template as that of the replica sets that are made of it.
            replicas::runs_for_ever(spec.template().spec(), "ReplicaSet", &at, errors);
        }
    }
    validate_strategy(spec.strategy(), &at.field("strategy"), errors);
    spec.check_min_ready_seconds(&at, errors);
    spec.check_revision_history_limit(&at, errors);
    spec.check_progress_deadline_seconds(&at, errors);
    if let Some(deadline) = spec.progress_deadline_seconds().filter(|deadline| *deadline <= spec.min_ready_seconds()) {
        errors.invalid(&at.field("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
    }
}

fn validate_strategy(strategy: DeploymentStrategy<'_>, at: &Path<'_>, errors: &mut Errors) {
    let rolling = strategy.rolling_update();
    match (strategy.type_(), rolling) {
        (RECREATE, None) => {}
        (RECREATE, Some(_)) => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(&at.field("rollingUpdate"), why);
        }
        (ROLLING_UPDATE, None) => {
            errors.required(&at.field("rollingUpdate"), "this should be defaulted and never be nil");
        }
        (ROLLING_UPDATE, Some(rolling)) => validate_rolling_update(rolling, &at.field("rollingUpdate"), errors),
        (other, _) => {
            let shown = strategies::shown(
                other,
                rolling.map(|rolling| {
                    let (unavailable, surge) = shares(rolling);
                    [("MaxUnavailable", int_or_percent::shown(unavailable)), ("MaxSurge", int_or_percent::shown(surge))]
                }),
            );
            errors.not_supported(at, shown, &[RECREATE, ROLLING_UPDATE]);
        }
    }
}

fn validate_rolling_update(rolling: RollingUpdateDeployment<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (unavailable, surge) = shares(rolling);
    int_or_percent::int_or_percent(unavailable, &at.field("maxUnavailable"), errors);
    int_or_percent::int_or_percent(surge, &at.field("maxSurge"), errors);
    if int_or_percent::is_zero(unavailable) && int_or_percent::is_zero(surge) {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.invalid(&at.field("maxUnavailable"), int_or_percent::shown(unavailable), why);
    }
    int_or_percent::at_most_all(unavailable, &at.field("maxUnavailable"), errors);
}

/// How many pods may be missing, and how many too many; what is absent counts as none.
fn shares(rolling: RollingUpdateDeployment<'_>) -> (IntOrString<'_>, IntOrString<'_>) {
    let none = IntOrString::Int(0);
    (rolling.max_unavailable().unwrap_or(none), rolling.max_surge().unwrap_or(none))
}

fn validate_status(new: Deployment<'_>, old: Deployment<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let status = new.status();
    status.check_observed_generation(&at, errors);
    status.check_replicas(&at, errors);
    status.check_updated_replicas(&at, errors);
    status.check_ready_replicas(&at, errors);
    status.check_available_replicas(&at, errors);
    status.check_unavailable_replicas(&at, errors);
    status.check_terminating_replicas(&at, errors);
    status.check_collision_count(&at, errors);
    let (all, ready, available) = (status.replicas(), status.ready_replicas(), status.available_replicas());
    replicas::at_most(status.updated_replicas(), all, "status.replicas", &at.field("updatedReplicas"), errors);
    replicas::ready_and_available(ready, available, all, &at, errors);
    let (count, before) = (status.collision_count(), old.status().collision_count());
    replicas::not_decremented(count, before, &at.field("collisionCount"), errors);
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let deployment: Deployment<'_> = views::read(tree);
    replicas::warn_name(deployment.metadata().name(), warnings);
    pod_spec::warn_template(deployment.spec().template(), None, &Path::new("spec.template"), warnings);
}

fn warn_update(tree: &Tree, old: &Tree, _: &str, warnings: &mut Vec<String>) {
    let (new, old): (Deployment<'_>, Deployment<'_>) = (views::read(tree), views::read(old));
    if new.metadata().generation() != old.metadata().generation() {
        let templates = (new.spec().template(), old.spec().template());
        pod_spec::warn_template(templates.0, Some(templates.1), &Path::new("spec.template"), warnings);
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let deployment: Deployment<'_> = views::read(tree);
    let (spec, status) = (deployment.spec(), deployment.status());
    Some(match column {
        "Ready" => Cell::Text(format!("{}/{}", status.ready_replicas(), spec.replicas().unwrap_or_default())),
        "Containers" => cells::containers(spec.template().spec()),
        "Images" => cells::images(spec.template().spec()),
        "Selector" => cells::selector(spec.selector()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
