//! `HorizontalPodAutoscaler` (upstream: `registry/autoscaling/horizontalpodautoscaler`, `apis/autoscaling/validation`,
//! `apis/autoscaling/v1/defaults.go`, `apis/autoscaling/v2/defaults.go`).
//!
//! It is served in two versions and checked in the newer one, whose paths complaints name whichever version was written.

mod behavior;
mod metrics;
mod targets;
pub mod versions;

use std::borrow::Cow;

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Requester, Strategy};
use crate::views;
use crate::views::autoscaling_v1 as v1;
use crate::views::autoscaling_v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerEdit, HorizontalPodAutoscalerSpec};
use crate::vocabulary::{Errors, Path, number};
use metrics::Version;
use versions::annotations;

/// The rules of `HorizontalPodAutoscaler`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    prepare_create,
    validate_create,
    prepare_update,
    validate_update,
    cell,
    ..Strategy::NONE
};

/// Pods that there are at least, when nobody says how many.
const REPLICAS_LEAST: i64 = 1;

fn default(tree: &mut Tree) {
    if versions::is_v1(tree) {
        let mut given: v1::HorizontalPodAutoscalerEdit<'_> = views::write(tree);
        let mut spec = given.spec_mut();
        if spec.view().min_replicas().is_none() {
            spec.set_min_replicas(REPLICAS_LEAST);
        }
        versions::normalize(tree);
        return;
    }
    let mut given: HorizontalPodAutoscalerEdit<'_> = views::write(tree);
    versions::drop_annotations(given.metadata_mut(), annotations::ALL);
    default_v2(tree);
}

fn default_v2(tree: &mut Tree) {
    let mut given: HorizontalPodAutoscalerEdit<'_> = views::write(tree);
    let mut spec = given.spec_mut();
    if spec.view().min_replicas().is_none() {
        spec.set_min_replicas(REPLICAS_LEAST);
    }
    versions::default_metrics(&mut spec);
    behavior::default(&mut spec);
}

/// An autoscaler of the older version as it is stored, with the defaults that upstream gives it when it reads it from the store.
#[must_use]
pub fn stored(given: &Tree) -> Tree {
    let mut tree = versions::to_v2(given);
    default_v2(&mut tree);
    tree
}

fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    if versions::is_v1(tree) {
        let mut given: v1::HorizontalPodAutoscalerEdit<'_> = views::write(tree);
        versions::drop_annotations(given.metadata_mut(), annotations::OF_STATUS);
    }
}

/// The older version has parts of spec and status in annotations, which each door keeps with the rest of what it keeps.
fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, _: i64) {
    if !versions::is_v1(tree) {
        return;
    }
    let kept = if subresource == "status" { annotations::OF_SPEC } else { annotations::OF_STATUS };
    let mut given: v1::HorizontalPodAutoscalerEdit<'_> = views::write(tree);
    versions::drop_annotations(given.metadata_mut(), kept);
    let held = views::read::<v1::HorizontalPodAutoscaler<'_>>(old).metadata().annotations();
    for key in kept {
        if let Some(value) = held.get(key) {
            given.metadata_mut().annotations_mut().insert(key, value);
        }
    }
}

/// An autoscaler in the version that is checked and shown.
fn newer(tree: &Tree) -> Cow<'_, Tree> {
    if versions::is_v1(tree) { Cow::Owned(versions::to_v2(tree)) } else { Cow::Borrowed(tree) }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let tree = newer(tree);
    let autoscaler: HorizontalPodAutoscaler<'_> = views::read(&tree);
    spec(autoscaler.spec(), None, &Path::new("spec"), errors);
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (tree, old) = (newer(tree), newer(old));
    let (new, old): (HorizontalPodAutoscaler<'_>, HorizontalPodAutoscaler<'_>) =
        (views::read(&tree), views::read(&old));
    if subresource == "status" {
        let at = Path::new("status");
        new.status().check_current_replicas(&at, errors);
        new.status().check_desired_replicas(&at, errors);
    } else {
        spec(new.spec(), Some(old.spec()), &Path::new("spec"), errors);
    }
}

fn spec(
    spec: HorizontalPodAutoscalerSpec<'_>,
    old: Option<HorizontalPodAutoscalerSpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let (least, most) = (spec.min_replicas(), spec.max_replicas());
    if let Some(least) = least {
        // Zero stays where it was let in.
        let lowest = if old.is_some_and(|old| old.min_replicas() == Some(0)) { 0 } else { 1 };
        number::at_least(least.into(), lowest, &at.field("minReplicas"), errors);
    }
    let at_most = at.field("maxReplicas");
    if most == 0 {
        errors.required(&at_most, "must be set and greater than 0");
    } else {
        number::at_least(most.into(), 1, &at_most, errors);
    }
    if least.is_some_and(|least| most < least) {
        errors.invalid(&at_most, most, "must be greater than or equal to `minReplicas`");
    }
    metrics::reference(spec.scale_target_ref(), target_version(spec, old), &at.field("scaleTargetRef"), errors);
    metrics::validate(spec.metrics(), least, object_version(old), &at.field("metrics"), errors);
    if let Some(given) = spec.behavior() {
        behavior::validate(given, &at.field("behavior"), errors);
    }
}

/// What is scaled has a group, but for the one kind of the core group that can be. What did not change was let in.
fn target_version(spec: HorizontalPodAutoscalerSpec<'_>, old: Option<HorizontalPodAutoscalerSpec<'_>>) -> Version {
    let target = spec.scale_target_ref();
    let is_as_before = |old: HorizontalPodAutoscalerSpec<'_>| {
        let old = old.scale_target_ref();
        (old.kind(), old.api_version()) == (target.kind(), target.api_version())
    };
    match target.kind() {
        _ if old.is_some_and(is_as_before) => Version::Anything,
        "ReplicationController" => Version::AnyGroup,
        _ => Version::Grouped,
    }
}

/// What is measured may be of any group; an autoscaler that has one that makes no sense may have more.
fn object_version(old: Option<HorizontalPodAutoscalerSpec<'_>>) -> Version {
    let is_wrong = |old: HorizontalPodAutoscalerSpec<'_>| {
        let objects =
            old.metrics().iter().filter(|metric| metric.type_() == "Object").filter_map(|metric| metric.object());
        let mut versions = objects.map(|source| source.described_object().api_version());
        versions.any(|version| metrics::is_no_version(version, Version::AnyGroup).is_some())
    };
    if old.is_some_and(is_wrong) { Version::Anything } else { Version::AnyGroup }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let tree = newer(tree);
    let autoscaler: HorizontalPodAutoscaler<'_> = views::read(&tree);
    let spec = autoscaler.spec();
    Some(match column {
        "Reference" => Cell::Text(format!("{}/{}", spec.scale_target_ref().kind(), spec.scale_target_ref().name())),
        "Targets" => Cell::Text(targets::text(autoscaler)),
        "MinPods" => Cell::Text(spec.min_replicas().map_or_else(|| "<unset>".to_owned(), |least| least.to_string())),
        "MaxPods" => Cell::Int(spec.max_replicas().into()),
        "Replicas" => Cell::Int(autoscaler.status().current_replicas().into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
