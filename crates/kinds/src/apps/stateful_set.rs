//! `StatefulSet` (upstream: `registry/apps/statefulset`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use std::collections::BTreeSet;

use portcullis_model::names::NameRule;
use portcullis_model::status::{BadValue, FieldError};
use portcullis_model::tree::{Scalar, Tree};

use super::strategies;
use crate::core::claim_spec;
use crate::core::pod_spec::{self, cells};
use crate::rest::Rest;
use crate::strategy::{Cell, Strategy};
use crate::views::apps_v1::{
    StatefulSet, StatefulSetEdit, StatefulSetSpec, StatefulSetSpecEdit, StatefulSetUpdateStrategy,
    StatefulSetUpdateStrategyEdit,
};
use crate::views::core_v1::{
    PersistentVolumeClaimEdit, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec, Volume,
};
use crate::views::{self, Edit as _};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::replicas::{self, Selects};
use crate::vocabulary::{Errors, Path, int_or_percent, names, number};

/// The rules of `StatefulSet`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, name: NameRule::Label, ..Rest::PLAIN },
    default,
    validate_create: |tree, errors| validate(tree, None, errors),
    warn_create,
    validate_update,
    warn_update,
    blank: |tree| views::write::<StatefulSetEdit<'_>>(tree).spec_mut().set_replicas(0),
    cell,
    ..Strategy::NONE
};

const ORDERED_READY: &str = "OrderedReady";
const PARALLEL: &str = "Parallel";
const ON_DELETE: &str = "OnDelete";
const ROLLING_UPDATE: &str = "RollingUpdate";
/// What becomes of claims whose pod is no longer wanted.
const RETAIN: &str = "Retain";
/// How many revisions of the template are kept.
const REVISION_HISTORY_LIMIT_DEFAULT: i64 = 10;

const FROZEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                      'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

fn default(tree: &mut Tree) {
    let mut set: StatefulSetEdit<'_> = views::write(tree);
    let mut spec = set.spec_mut();
    if spec.view().pod_management_policy().is_empty() {
        spec.set_pod_management_policy(ORDERED_READY);
    }
    default_update_strategy(spec.update_strategy_mut());
    let mut policy = spec.persistent_volume_claim_retention_policy_mut();
    if policy.view().when_deleted().is_empty() {
        policy.set_when_deleted(RETAIN);
    }
    if policy.view().when_scaled().is_empty() {
        policy.set_when_scaled(RETAIN);
    }
    if spec.view().replicas().is_none() {
        spec.set_replicas(1);
    }
    if spec.view().revision_history_limit().is_none() {
        spec.set_revision_history_limit(REVISION_HISTORY_LIMIT_DEFAULT);
    }
    default_claims(&mut spec);
    pod_spec::default_template(spec.template_mut());
}

fn default_update_strategy(mut strategy: StatefulSetUpdateStrategyEdit<'_>) {
    if strategy.view().type_().is_empty() {
        strategy.set_type(ROLLING_UPDATE);
        strategy.rolling_update_mut();
    }
    // One that is absent where the type is given stays absent.
    let view = strategy.view();
    if view.type_() == ROLLING_UPDATE && view.rolling_update().is_some_and(|rolling| rolling.partition().is_none()) {
        strategy.rolling_update_mut().set_partition(0);
    }
}

/// Each claim is written as the whole object that it will be made into.
fn default_claims(spec: &mut StatefulSetSpecEdit<'_>) {
    if spec.view().volume_claim_templates().is_empty() {
        return;
    }
    spec.volume_claim_templates_mut().each(|place| {
        let mut claim = PersistentVolumeClaimEdit::at(place);
        claim.set_api_version("v1");
        claim.set_kind("PersistentVolumeClaim");
        claim_spec::default(claim.spec_mut());
        if claim.view().status().phase().is_empty() {
            claim.status_mut().set_phase("Pending");
        }
    });
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    if subresource == "status" {
        return validate_status(views::read(tree), views::read(old), errors);
    }
    validate(tree, Some(old), errors);
    let at = |tree| views::read::<StatefulSet<'_>>(tree).spec().place();
    let (new, old) = (at(tree), at(old));
    let kept = [
        StatefulSetSpec::SELECTOR,
        StatefulSetSpec::SERVICE_NAME,
        StatefulSetSpec::POD_MANAGEMENT_POLICY,
        StatefulSetSpec::VOLUME_CLAIM_TEMPLATES,
    ];
    if !kept.into_iter().all(|field| is_same(new.get(field), old.get(field))) {
        errors.forbidden(&Path::new("spec"), FROZEN);
    }
}

fn validate(tree: &Tree, old: Option<&Tree>, errors: &mut Errors) {
    let at = Path::new("spec");
    let spec = views::read::<StatefulSet<'_>>(tree).spec();
    validate_fields(spec, old.is_none(), &at, errors);
    match Selects::of(spec.selector(), spec.template()) {
        Selects::Unusable => {
            let selector = spec.place().get(StatefulSetSpec::SELECTOR);
            errors.invalid(&at.field("selector"), views::shown(selector), "");
        }
        selects => {
            if selects == Selects::Others {
                replicas::labels_not_selected(spec.template(), &at.field("template"), errors);
            }
            validate_template(tree, old, &at.field("template"), errors);
        }
    }
    replicas::runs_for_ever(spec.template().spec(), "StatefulSet", &at.field("template"), errors);
}

/// All but the template. What an update may not change is only looked at when the set is new.
fn validate_fields(spec: StatefulSetSpec<'_>, is_new: bool, at: &Path<'_>, errors: &mut Errors) {
    match spec.pod_management_policy() {
        "" => errors.required(&at.field("podManagementPolicy"), ""),
        ORDERED_READY | PARALLEL => {}
        other => errors.invalid(&at.field("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"),
    }
    validate_update_strategy(spec.update_strategy(), &at.field("updateStrategy"), errors);
    if let Some(policy) = spec.persistent_volume_claim_retention_policy() {
        let at = at.field("persistentVolumeClaimRetentionPolicy");
        policy.check_when_deleted(&at, errors);
        policy.check_when_scaled(&at, errors);
    }
    if is_new {
        for (index, claim) in spec.volume_claim_templates().iter().enumerate() {
            let list = at.field("volumeClaimTemplates");
            claim_spec::validate(claim.spec(), &list.index(index).field("spec"), errors);
        }
    }
    spec.check_replicas(at, errors);
    spec.check_min_ready_seconds(at, errors);
    if let Some(ordinals) = spec.ordinals() {
        number::non_negative(ordinals.start().into(), &at.field("ordinals.start"), errors);
    }
    if is_new && !spec.service_name().is_empty() {
        names::dns_label(spec.service_name(), &at.field("serviceName"), errors);
    }
    replicas::selector(spec.selector(), "statefulset", &at.field("selector"), errors);
}

fn validate_update_strategy(strategy: StatefulSetUpdateStrategy<'_>, at: &Path<'_>, errors: &mut Errors) {
    let rolling = strategy.rolling_update();
    let fields = rolling.map(|rolling| {
        let unavailable = rolling.max_unavailable().map_or(BadValue::Null, int_or_percent::shown);
        [("Partition", rolling.partition().unwrap_or_default().into()), ("MaxUnavailable", unavailable)]
    });
    match strategy.type_() {
        "" => errors.required(at, ""),
        ON_DELETE => {
            if let Some(fields) = fields {
                let shown = BadValue::Json(strategies::object(fields));
                errors.invalid(&at.field("rollingUpdate"), shown, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        ROLLING_UPDATE => {
            let Some(rolling) = rolling else { return };
            let at = at.field("rollingUpdate");
            rolling.check_partition(&at, errors);
            let Some(unavailable) = rolling.max_unavailable() else { return };
            let at = at.field("maxUnavailable");
            int_or_percent::int_or_percent(unavailable, &at, errors);
            if int_or_percent::is_zero(unavailable) {
                errors.invalid(&at, int_or_percent::shown(unavailable), "cannot be 0");
            }
            int_or_percent::at_most_all(unavailable, &at, errors);
        }
        other => errors.invalid(at, strategies::shown(other, fields), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// The template is that of pods which have a volume for each claim. What is wrong with its metadata upstream says twice.
///
/// Sets were once let in with templates that no pod can be made of: where the stored one is such a set, its template is not looked at.
fn validate_template(tree: &Tree, old: Option<&Tree>, at: &Path<'_>, errors: &mut Errors) {
    let claimed = with_claims(tree);
    let old_claimed = old.and_then(with_claims);
    let (tree, old) = (claimed.as_ref().unwrap_or(tree), old_claimed.as_ref().or(old));
    let template = |of| views::read::<StatefulSet<'_>>(of).spec().template();
    let found = complaints_of(template(tree), old.map(template), at);
    if found.is_empty() {
        return;
    }
    let metadata = ["labels", "annotations"].map(|part| at.field(part).to_string());
    let is_of_metadata = |field: &str| metadata.iter().any(|part| field.starts_with(part.as_str()));
    let again: Vec<_> = found.iter().filter(|error| is_of_metadata(&error.field)).cloned().collect();
    if !old.is_some_and(was_refused) {
        errors.extend(found);
    }
    errors.extend(again);
}

fn complaints_of(template: PodTemplateSpec<'_>, old: Option<PodTemplateSpec<'_>>, at: &Path<'_>) -> Vec<FieldError> {
    let mut errors = Errors::new();
    pod_spec::validate_template(template, old, at, &mut errors);
    errors.into_vec()
}

/// Whether a stored set would not be let in again. Its claims are in its volumes already.
fn was_refused(old: &Tree) -> bool {
    let spec = views::read::<StatefulSet<'_>>(old).spec();
    let mut errors = Errors::new();
    let at = Path::new("spec");
    validate_fields(spec, false, &at, &mut errors);
    replicas::runs_for_ever(spec.template().spec(), "StatefulSet", &at, &mut errors);
    !errors.is_empty()
        || Selects::of(spec.selector(), spec.template()) != Selects::Template
        || !complaints_of(spec.template(), Some(spec.template()), &at).is_empty()
}

/// The set with a volume for each of its claims, in place of any volume of that name. None when it has no claims.
fn with_claims(tree: &Tree) -> Option<Tree> {
    let spec = views::read::<StatefulSet<'_>>(tree).spec();
    if spec.volume_claim_templates().is_empty() {
        return None;
    }
    let mut out = tree.clone();
    let pods = spec.template().spec().place().id()?;
    out.remove(pods, PodSpec::VOLUMES.number());
    let list = out.list_at(pods, PodSpec::VOLUMES.number());
    let mut names = BTreeSet::new();
    for claim in spec.volume_claim_templates().iter() {
        let name = claim.metadata().name();
        if names.insert(name) {
            let volume = out.append_object(list, Volume::TYPE);
            out.set(volume, Volume::NAME.number(), Scalar::String(name));
            let claimed = Volume::PERSISTENT_VOLUME_CLAIM.number();
            let source = out.object_at(volume, claimed, PersistentVolumeClaimVolumeSource::TYPE);
            out.set(source, PersistentVolumeClaimVolumeSource::CLAIM_NAME.number(), Scalar::String(name));
        }
    }
    let others = spec.template().spec().volumes().iter().filter(|volume| !names.contains(volume.name()));
    for node in others.filter_map(|volume| volume.place().id()) {
        out.append_graft(list, tree, node);
    }
    Some(out)
}

fn validate_status(new: StatefulSet<'_>, old: StatefulSet<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    let status = new.status();
    status.check_replicas(&at, errors);
    status.check_ready_replicas(&at, errors);
    status.check_current_replicas(&at, errors);
    status.check_updated_replicas(&at, errors);
    status.check_available_replicas(&at, errors);
    status.check_observed_generation(&at, errors);
    status.check_collision_count(&at, errors);
    let (all, ready, available) = (status.replicas(), status.ready_replicas(), status.available_replicas());
    replicas::at_most(ready, all, "status.replicas", &at.field("readyReplicas"), errors);
    replicas::at_most(status.current_replicas(), all, "status.replicas", &at.field("currentReplicas"), errors);
    replicas::at_most(status.updated_replicas(), all, "status.replicas", &at.field("updatedReplicas"), errors);
    replicas::at_most(available, all, "status.replicas", &at.field("availableReplicas"), errors);
    replicas::at_most(available, ready, "status.readyReplicas", &at.field("availableReplicas"), errors);
    let (count, before) = (status.collision_count(), old.status().collision_count());
    replicas::not_decremented(count, before, &at.field("collisionCount"), errors);
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let spec = views::read::<StatefulSet<'_>>(tree).spec();
    pod_spec::warn_template(spec.template(), None, &Path::new("spec.template"), warnings);
    warn_spec(spec, warnings);
}

fn warn_update(tree: &Tree, old: &Tree, subresource: &str, warnings: &mut Vec<String>) {
    if subresource == "status" {
        return;
    }
    let (new, old): (StatefulSet<'_>, StatefulSet<'_>) = (views::read(tree), views::read(old));
    if new.metadata().generation() != old.metadata().generation() {
        let templates = (new.spec().template(), old.spec().template());
        pod_spec::warn_template(templates.0, Some(templates.1), &Path::new("spec.template"), warnings);
    }
    warn_spec(new.spec(), warnings);
}

fn warn_spec(spec: StatefulSetSpec<'_>, warnings: &mut Vec<String>) {
    let list = Path::new("spec.volumeClaimTemplates");
    for (index, claim) in spec.volume_claim_templates().iter().enumerate() {
        claim_spec::warn(claim.spec(), &list.index(index), warnings);
    }
    if spec.revision_history_limit().is_some_and(|limit| limit < 0) {
        let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("spec.revisionHistoryLimit: {why}"));
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let set: StatefulSet<'_> = views::read(tree);
    let spec = set.spec();
    Some(match column {
        "Ready" => Cell::Text(format!("{}/{}", set.status().ready_replicas(), spec.replicas().unwrap_or_default())),
        "Containers" => cells::containers(spec.template().spec()),
        "Images" => cells::images(spec.template().spec()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
