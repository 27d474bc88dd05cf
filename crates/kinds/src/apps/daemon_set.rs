//! `DaemonSet` (upstream: `registry/apps/daemonset`, `apis/apps/validation`, `apis/apps/v1/{conversion,defaults}.go`).
//!
//! An annotation counts how often the template was changed. It belongs to the server: what a client writes counts once, when it makes
//! the set.

use portcullis_model::tree::Tree;

use super::strategies;
use crate::core::pod_spec::{self, cells};
use crate::rest::Rest;
use crate::strategy::{Cell, Column, Requester, Strategy};
use crate::views::apps_v1::{
    DaemonSet, DaemonSetEdit, DaemonSetSpec, DaemonSetUpdateStrategy, DaemonSetUpdateStrategyEdit,
    RollingUpdateDaemonSet,
};
use crate::views::{self, IntOrString};
use crate::vocabulary::frozen::{frozen, is_same};
use crate::vocabulary::replicas::{self, Selects};
use crate::vocabulary::{Errors, Path, int_or_percent, selectors};

/// The rules of `DaemonSet`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    prepare_create,
    validate_create: |tree, errors| validate(views::read(tree), None, errors),
    warn_create,
    prepare_update,
    validate_update,
    warn_update,
    blank: |tree| set_template_generation(&mut views::write(tree), 0),
    columns: &[
        ("Available", Column::Field("status.numberAvailable", "0")),
        ("Current", Column::Field("status.currentNumberScheduled", "0")),
        ("Desired", Column::Field("status.desiredNumberScheduled", "0")),
        ("Ready", Column::Field("status.numberReady", "0")),
        ("Up-to-date", Column::Field("status.updatedNumberScheduled", "0")),
    ],
    cell,
    ..Strategy::NONE
};

const ON_DELETE: &str = "OnDelete";
const ROLLING_UPDATE: &str = "RollingUpdate";
/// How many revisions of the template are kept.
const REVISION_HISTORY_LIMIT_DEFAULT: i64 = 10;
/// How often the template was changed, beginning with one.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn default(tree: &mut Tree) {
    let counted = template_generation(views::read(tree));
    let mut set: DaemonSetEdit<'_> = views::write(tree);
    if let Some(counted) = counted {
        set_template_generation(&mut set, counted);
    }
    let mut spec = set.spec_mut();
    default_update_strategy(spec.update_strategy_mut());
    if spec.view().revision_history_limit().is_none() {
        spec.set_revision_history_limit(REVISION_HISTORY_LIMIT_DEFAULT);
    }
    pod_spec::default_template(spec.template_mut());
}

fn default_update_strategy(mut strategy: DaemonSetUpdateStrategyEdit<'_>) {
    if strategy.view().type_().is_empty() {
        strategy.set_type(ROLLING_UPDATE);
    }
    if strategy.view().type_() != ROLLING_UPDATE {
        return;
    }
    let mut rolling = strategy.rolling_update_mut();
    if rolling.view().max_unavailable().is_none() {
        rolling.set_max_unavailable(IntOrString::Int(1));
    }
    if rolling.view().max_surge().is_none() {
        rolling.set_max_surge(IntOrString::Int(0));
    }
}

/// What the annotation says; nothing is zero. None when it says something that is no number.
fn template_generation(set: DaemonSet<'_>) -> Option<i64> {
    set.metadata().annotations().get(TEMPLATE_GENERATION).map_or(Some(0), |text| text.parse().ok())
}

fn set_template_generation(set: &mut DaemonSetEdit<'_>, counted: i64) {
    let digits = counted.to_string();
    if set.view().metadata().annotations().get(TEMPLATE_GENERATION) != Some(&digits) {
        set.metadata_mut().annotations_mut().insert(TEMPLATE_GENERATION, &digits);
    }
}

fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    if let Some(counted) = template_generation(views::read(tree)) {
        set_template_generation(&mut views::write(tree), counted.max(1));
    }
}

fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, _: i64) {
    let (new, old): (DaemonSet<'_>, DaemonSet<'_>) = (views::read(tree), views::read(old));
    let is_changed = subresource != "status" && !is_same(new.spec().template().place(), old.spec().template().place());
    let counted = template_generation(old).unwrap_or_default();
    set_template_generation(&mut views::write(tree), counted.saturating_add(i64::from(is_changed)));
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (new, old): (DaemonSet<'_>, DaemonSet<'_>) = (views::read(tree), views::read(old));
    if subresource == "status" {
        return validate_status(new, old, errors);
    }
    let (selector, before) = (new.spec().place(), old.spec().place());
    let field = DaemonSetSpec::SELECTOR;
    frozen(selector.get(field), before.get(field), &Path::new("spec.selector"), errors);
    validate(new, Some(old), errors);
}

fn validate(set: DaemonSet<'_>, old: Option<DaemonSet<'_>>, errors: &mut Errors) {
    let at = Path::new("spec");
    let spec = set.spec();
    validate_selector(set, old, &at.field("selector"), errors);
    if Selects::of(spec.selector(), spec.template()) == Selects::Others {
        replicas::labels_not_selected(spec.template(), &at.field("template"), errors);
    }
    if let Some(selector) = spec.selector() {
        replicas::not_empty(selector, "daemonset", &at.field("selector"), errors);
    }
    let old_template = old.map(|old| old.spec().template());
    pod_spec::validate_template(spec.template(), old_template, &at.field("template"), errors);
    replicas::runs_for_ever(spec.template().spec(), "DaemonSet", &at.field("template"), errors);
    spec.check_min_ready_seconds(&at, errors);
    match template_generation(set) {
        Some(counted @ ..0) => {
            errors.invalid(&at.field("templateGeneration"), counted, "must be greater than or equal to 0");
        }
        Some(_) => {}
        None => {
            let text = set.metadata().annotations().get(TEMPLATE_GENERATION).unwrap_or_default();
            let at = Path::new("metadata.annotations");
            errors.invalid(&at.key(TEMPLATE_GENERATION), text, "must be an integer");
        }
    }
    validate_update_strategy(spec.update_strategy(), &at.field("updateStrategy"), errors);
    spec.check_revision_history_limit(&at, errors);
}

/// A stored selector whose values are no labels' stays.
fn validate_selector(set: DaemonSet<'_>, old: Option<DaemonSet<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let Some(selector) = set.spec().selector() else { return };
    let is_old = old.and_then(|old| old.spec().selector()).is_some_and(|old| is_same(old.place(), selector.place()));
    if is_old {
        selectors::label_selector_of_old(selector, at, errors);
    } else {
        selectors::label_selector(selector, at, errors);
    }
}

fn validate_update_strategy(strategy: DaemonSetUpdateStrategy<'_>, at: &Path<'_>, errors: &mut Errors) {
    let rolling = strategy.rolling_update();
    match (strategy.type_(), rolling) {
        (ON_DELETE, _) => {}
        (ROLLING_UPDATE, None) => errors.required(&at.field("rollingUpdate"), ""),
        (ROLLING_UPDATE, Some(rolling)) => validate_rolling_update(rolling, &at.field("rollingUpdate"), errors),
        (other, _) => {
            let fields = rolling.map(|rolling| {
                let (unavailable, surge) = counts(rolling);
                [("MaxUnavailable", int_or_percent::shown(unavailable)), ("MaxSurge", int_or_percent::shown(surge))]
            });
            errors.not_supported(at, strategies::shown(other, fields), &[ROLLING_UPDATE, ON_DELETE]);
        }
    }
}

/// Either some pods may be missing, or there may be some too many.
fn validate_rolling_update(rolling: RollingUpdateDaemonSet<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (unavailable, surge) = counts(rolling);
    let (at_unavailable, at_surge) = (at.field("maxUnavailable"), at.field("maxSurge"));
    int_or_percent::int_or_percent(unavailable, &at_unavailable, errors);
    int_or_percent::int_or_percent(surge, &at_surge, errors);
    int_or_percent::at_most_all(unavailable, &at_unavailable, errors);
    int_or_percent::at_most_all(surge, &at_surge, errors);
    match (int_or_percent::is_zero(unavailable), int_or_percent::is_zero(surge)) {
        (false, false) => {
            let why = "may not be set when maxUnavailable is non-zero";
            errors.invalid(&at_surge, int_or_percent::shown(surge), why);
        }
        (true, true) => errors.required(&at_unavailable, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

/// How many pods may be missing, and how many too many; what is absent counts as none.
fn counts(rolling: RollingUpdateDaemonSet<'_>) -> (IntOrString<'_>, IntOrString<'_>) {
    let none = IntOrString::Int(0);
    (rolling.max_unavailable().unwrap_or(none), rolling.max_surge().unwrap_or(none))
}

fn validate_status(new: DaemonSet<'_>, old: DaemonSet<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let status = new.status();
    status.check_current_number_scheduled(&at, errors);
    status.check_number_misscheduled(&at, errors);
    status.check_desired_number_scheduled(&at, errors);
    status.check_number_ready(&at, errors);
    status.check_observed_generation(&at, errors);
    status.check_updated_number_scheduled(&at, errors);
    status.check_number_available(&at, errors);
    status.check_number_unavailable(&at, errors);
    status.check_collision_count(&at, errors);
    let (count, before) = (status.collision_count(), old.status().collision_count());
    replicas::not_decremented(count, before, &at.field("collisionCount"), errors);
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let spec = views::read::<DaemonSet<'_>>(tree).spec();
    pod_spec::warn_template(spec.template(), None, &Path::new("spec.template"), warnings);
}

fn warn_update(tree: &Tree, old: &Tree, _: &str, warnings: &mut Vec<String>) {
    let (new, old): (DaemonSet<'_>, DaemonSet<'_>) = (views::read(tree), views::read(old));
    if template_generation(new) != template_generation(old) {
        let templates = (new.spec().template(), old.spec().template());
        pod_spec::warn_template(templates.0, Some(templates.1), &Path::new("spec.template"), warnings);
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let spec = views::read::<DaemonSet<'_>>(tree).spec();
    let pods = spec.template().spec();
    Some(match column {
        "Node Selector" => cells::labels(pods.node_selector()),
        "Containers" => cells::containers(pods),
        "Images" => cells::images(pods),
        "Selector" => cells::selector(spec.selector()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
