//! What may change of a pod once it is there: its images, less time, more tolerations, fewer gates; and while gates keep the scheduler away,
//! a narrower choice of nodes (upstream: `ValidatePodUpdate`; KEP-3521, KEP-3838).

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::status::BadValue;

use super::{annotations, validate};
use crate::views::core_v1::{
    Affinity, Container, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSchedulingGate,
    PodSpec, Toleration,
};
use crate::views::{Field, List, shown};
use crate::vocabulary::frozen::{is_same, is_same_but_for};
use crate::vocabulary::tolerations::tolerations;
use crate::vocabulary::{Errors, Path};

const ONLY: &str = "pod updates may not change fields other than \
                    `spec.containers[*].image`,\
                    `spec.initContainers[*].image`,\
                    `spec.activeDeadlineSeconds`,\
                    `spec.tolerations` (only additions to existing tolerations),\
                    `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
const ONLY_MORE: &str = "only additions are allowed (no mutations or deletions)";
const ONLY_MORE_LABELS: &str = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
const SAME_TERMS: &str = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";

/// What is wrong with a pod that replaces another.
pub fn validate(new: Pod<'_>, old: Pod<'_>, errors: &mut Errors) {
    validate::all(new, Some(old), errors);
    annotations::validate_update(new, old, errors);
    let (new, old, at) = (new.spec(), old.spec(), Path::new("spec"));
    let same_number = images(new.containers(), old.containers(), &at.field("containers"), errors)
        && images(new.init_containers(), old.init_containers(), &at.field("initContainers"), errors);
    if !same_number || !deadline(new, old, &at.field("activeDeadlineSeconds"), errors) {
        return;
    }
    only_more_tolerations(new.tolerations(), old.tolerations(), &at.field("tolerations"), errors);
    only_fewer_gates(new.scheduling_gates(), old.scheduling_gates(), &at.field("schedulingGates"), errors);
    let is_gated = !old.scheduling_gates().is_empty();
    if is_gated {
        more_node_labels(new, old, &at.field("nodeSelector"), errors);
        let (new, old) = (of_nodes(new), of_nodes(old));
        narrower_nodes(new, old, &at.field("affinity.nodeAffinity"), errors);
    }
    if !rest_stays(new, old, is_gated) {
        errors.forbidden(&at, ONLY);
    }
}

/// Containers are as many as before, and have images. Says whether they are as many.
fn images(new: List<'_, Container<'_>>, old: List<'_, Container<'_>>, at: &Path<'_>, errors: &mut Errors) -> bool {
    if new.len() != old.len() {
        errors.forbidden(at, "pod updates may not add or remove containers");
        return false;
    }
    for (index, container) in new.iter().enumerate() {
        let image = container.image();
        if image.is_empty() {
            errors.required(&at.index(index).field("image"), "");
        }
        if image.trim() != image {
            let why = "must not have leading or trailing whitespace";
            errors.invalid(&at.index(index).field("image"), image, why);
        }
    }
    true
}

/// Time to be active is given once and then only taken away. Says whether it makes sense to look further.
fn deadline(new: PodSpec<'_>, old: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) -> bool {
    let most = i64::from(i32::MAX);
    match (new.active_deadline_seconds(), old.active_deadline_seconds()) {
        (Some(seconds), _) if !(0..=most).contains(&seconds) => {
            errors.invalid(at, seconds, format!("must be between 0 and {most}, inclusive"));
            return false;
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.invalid(at, seconds, "must be less than or equal to previous value");
            return false;
        }
        (None, Some(_)) => errors.invalid(at, BadValue::Null, "must not update from a positive integer to nil value"),
        _ => {}
    }
    true
}

/// A toleration that is there stays; how long it lasts may change.
fn only_more_tolerations(
    new: List<'_, Toleration<'_>>,
    old: List<'_, Toleration<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    fn identity<'t>(one: Toleration<'t>) -> (&'t str, &'t str, &'t str, &'t str) {
        (one.key(), one.operator(), one.value(), one.effect())
    }
    let kept: BTreeSet<_> = new.iter().map(identity).collect();
    if !old.iter().all(|one| kept.contains(&identity(one))) {
        errors.forbidden(at, "existing toleration can not be modified except its tolerationSeconds");
        return;
    }
    tolerations(new, at, errors);
}

fn only_fewer_gates(
    new: List<'_, PodSchedulingGate<'_>>,
    old: List<'_, PodSchedulingGate<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let known: BTreeSet<&str> = old.iter().map(PodSchedulingGate::name).collect();
    let gates = new.iter().enumerate().filter(|(_, gate)| !known.contains(gate.name()));
    let added: BTreeMap<&str, usize> = gates.map(|(index, gate)| (gate.name(), index)).collect();
    for (gate, index) in added {
        let why = format!("only deletion is allowed, but found new scheduling gate '{gate}'");
        errors.forbidden(&at.index(index).field("name"), why);
    }
}

/// A node must still have each label that it had to have.
fn more_node_labels(new: PodSpec<'_>, old: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let wanted = new.node_selector();
    if !old.node_selector().iter().all(|(key, value)| wanted.get(key) == Some(value)) {
        errors.invalid(at, shown(new.place().get(PodSpec::NODE_SELECTOR)), ONLY_MORE_LABELS);
    }
}

fn of_nodes(spec: PodSpec<'_>) -> Option<NodeAffinity<'_>> {
    spec.affinity()?.node_affinity()
}

/// Each alternative of nodes that there was is there, with at least the requirements that it had.
fn narrower_nodes(new: Option<NodeAffinity<'_>>, old: Option<NodeAffinity<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let Some(old) = old.and_then(required).filter(|old| !old.node_selector_terms().is_empty()) else { return };
    let (new, old) = (new.and_then(required), old.node_selector_terms());
    let at = at.field("requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    let Some(terms) = new.map(NodeSelector::node_selector_terms).filter(|terms| terms.len() == old.len()) else {
        let bad = new.map_or(BadValue::Null, |new| shown(new.place().get(NodeSelector::NODE_SELECTOR_TERMS)));
        return errors.invalid(&at, bad, SAME_TERMS);
    };
    for (index, (new, old)) in terms.iter().zip(old.iter()).enumerate() {
        if !has_only_more(new, old) {
            errors.invalid(&at.index(index), shown(new.place()), ONLY_MORE);
        }
    }
}

fn required(affinity: NodeAffinity<'_>) -> Option<NodeSelector<'_>> {
    affinity.required_during_scheduling_ignored_during_execution()
}

fn has_only_more(new: NodeSelectorTerm<'_>, old: NodeSelectorTerm<'_>) -> bool {
    let begins_with = |new: List<'_, NodeSelectorRequirement<'_>>, old: List<'_, NodeSelectorRequirement<'_>>| {
        new.len() >= old.len() && new.iter().zip(old.iter()).all(|(new, old)| is_same(new.place(), old.place()))
    };
    // A term without requirements matches nothing: one with some would match more.
    let is_empty = |term: NodeSelectorTerm<'_>| term.match_expressions().is_empty() && term.match_fields().is_empty();
    (!is_empty(old) || is_empty(new))
        && begins_with(new.match_expressions(), old.match_expressions())
        && begins_with(new.match_fields(), old.match_fields())
}

/// Whether all is as it was that was not looked at above.
fn rest_stays(new: PodSpec<'_>, old: PodSpec<'_>, is_gated: bool) -> bool {
    const MUTABLE: [Field; 8] = [
        PodSpec::CONTAINERS,
        PodSpec::INIT_CONTAINERS,
        PodSpec::ACTIVE_DEADLINE_SECONDS,
        PodSpec::TOLERATIONS,
        PodSpec::SCHEDULING_GATES,
        PodSpec::TERMINATION_GRACE_PERIOD_SECONDS,
        PodSpec::AFFINITY,
        PodSpec::NODE_SELECTOR,
    ];
    is_same_but_for(new.place(), old.place(), &MUTABLE)
        && containers_stay(new.containers(), old.containers())
        && containers_stay(new.init_containers(), old.init_containers())
        && grace_stays(new, old)
        && (is_gated || is_same(new.place().get(PodSpec::NODE_SELECTOR), old.place().get(PodSpec::NODE_SELECTOR)))
        && affinity_stays(new, old, is_gated)
}

fn containers_stay(new: List<'_, Container<'_>>, old: List<'_, Container<'_>>) -> bool {
    new.iter().zip(old.iter()).all(|(new, old)| is_same_but_for(new.place(), old.place(), &[Container::IMAGE]))
}

/// Less than no time, which was once taken, may become a second.
fn grace_stays(new: PodSpec<'_>, old: PodSpec<'_>) -> bool {
    let (new, old) = (new.termination_grace_period_seconds(), old.termination_grace_period_seconds());
    new == old || new == Some(1) && old.is_some_and(|seconds| seconds < 0)
}

/// Affinity to other pods stays; while the pod is gated, that to nodes was looked at already.
fn affinity_stays(new: PodSpec<'_>, old: PodSpec<'_>, is_gated: bool) -> bool {
    let (here, there) = (new.place().get(PodSpec::AFFINITY), old.place().get(PodSpec::AFFINITY));
    if is_same(here, there) {
        return true;
    }
    let of_pods = |affinity: Affinity<'_>| affinity.pod_affinity().is_some() || affinity.pod_anti_affinity().is_some();
    is_gated
        && match (new.affinity(), old.affinity()) {
            (None, Some(old)) => old.node_affinity().is_some() && !of_pods(old),
            (Some(new), None) => new.node_affinity().is_some() && !of_pods(new),
            _ => is_same_but_for(here, there, &[Affinity::NODE_AFFINITY]),
        }
}
