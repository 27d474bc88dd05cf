//! What the server owns of a pod: its status at first, what labels mean to its selectors, and through each door what may come in (upstream:
//! `PrepareForCreate` and `PrepareForUpdate` of `podStrategy`, `podStatusStrategy`, `podEphemeralContainersStrategy`, `podResizeStrategy`).

use std::collections::{BTreeMap, VecDeque};

use portcullis_model::tree::Tree;

use super::{app_armor, qos};
use crate::strategy::Requester;
use crate::views::core_v1::{
    Container, ContainerEdit, Pod, PodAffinityTerm, PodAffinityTermEdit, PodConditionEdit, PodEdit, PodSpec,
    PodSpecEdit, PodStatus, TopologySpreadConstraintEdit, WeightedPodAffinityTermEdit,
};
use crate::views::meta_v1::{LabelSelectorEdit, LabelSelectorRequirement, ObjectMeta};
use crate::views::{self, Edit as _, List, ListEdit};

/// The condition of a pod that has a node, or is not looked at by the scheduler yet.
const POD_SCHEDULED: &str = "PodScheduled";

/// A new pod waits, in the class that its resources make.
pub fn create(tree: &mut Tree, _: &Requester<'_>) {
    let mut pod: PodEdit<'_> = views::write(tree);
    let class = qos::class_of(pod.view().spec());
    let is_gated = !pod.view().spec().scheduling_gates().is_empty();
    pod.clear_status();
    let mut status = pod.status_mut();
    status.set_phase("Pending");
    status.set_qos_class(class);
    if is_gated {
        let mut conditions = status.conditions_mut();
        let mut condition = conditions.push();
        condition.set_type(POD_SCHEDULED);
        condition.set_status("False");
        condition.set_reason("SchedulingGated");
        condition.set_message("Scheduling is blocked due to non-empty scheduling gates");
    }
    select_by_own_labels(&mut pod);
    app_armor::fill_fields(pod);
}

/// A requirement that a selector gets: key, operator, value.
type Requirement = (String, &'static str, String);

/// Where a selector is to know pods by the pod's own values of some labels, it gets those values (KEP-3243, KEP-3633).
fn select_by_own_labels(pod: &mut PodEdit<'_>) {
    let view = pod.view();
    if !has_label_keys(view.spec()) {
        return;
    }
    let labels: BTreeMap<String, String> =
        view.metadata().labels().iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let own = |key: &str, operator: &'static str| -> Option<Requirement> {
        Some((key.to_owned(), operator, labels.get(key)?.clone()))
    };
    let of_term = |term: PodAffinityTerm<'_>| -> Vec<Requirement> {
        let same = term.match_label_keys().iter().filter_map(|key| own(key, "In"));
        same.chain(term.mismatch_label_keys().iter().filter_map(|key| own(key, "NotIn"))).collect()
    };
    let mut spec = pod.spec_mut();
    each_affinity_term(&mut spec, &mut |mut term| {
        let new = of_term(term.view());
        // No selector selects nothing, and stays so.
        if term.view().label_selector().is_some() {
            require(term.label_selector_mut(), &new);
        }
    });
    if spec.view().topology_spread_constraints().is_empty() {
        return;
    }
    spec.topology_spread_constraints_mut().each(|place| {
        let mut constraint = TopologySpreadConstraintEdit::at(place);
        let new: Vec<_> = constraint.view().match_label_keys().iter().filter_map(|key| own(key, "In")).collect();
        if constraint.view().label_selector().is_some() {
            require(constraint.label_selector_mut(), &new);
        }
    });
}

fn has_label_keys(spec: PodSpec<'_>) -> bool {
    let has = |term: PodAffinityTerm<'_>| !term.match_label_keys().is_empty() || !term.mismatch_label_keys().is_empty();
    let to = spec.affinity().and_then(|affinity| affinity.pod_affinity());
    let away = spec.affinity().and_then(|affinity| affinity.pod_anti_affinity());
    to.is_some_and(|to| {
        to.preferred_during_scheduling_ignored_during_execution().iter().any(|one| has(one.pod_affinity_term()))
            || to.required_during_scheduling_ignored_during_execution().iter().any(has)
    }) || away.is_some_and(|away| {
        away.preferred_during_scheduling_ignored_during_execution().iter().any(|one| has(one.pod_affinity_term()))
            || away.required_during_scheduling_ignored_during_execution().iter().any(has)
    }) || spec.topology_spread_constraints().iter().any(|one| !one.match_label_keys().is_empty())
}

/// Changes every term of affinity to pods. Nothing is opened that is not there.
fn each_affinity_term(spec: &mut PodSpecEdit<'_>, change: &mut dyn FnMut(PodAffinityTermEdit<'_>)) {
    let Some(affinity) = spec.view().affinity() else { return };
    let (has_to, has_away) = (affinity.pod_affinity().is_some(), affinity.pod_anti_affinity().is_some());
    let mut affinity = spec.affinity_mut();
    if has_to {
        let mut to = affinity.pod_affinity_mut();
        if !to.view().preferred_during_scheduling_ignored_during_execution().is_empty() {
            each_weighted(to.preferred_during_scheduling_ignored_during_execution_mut(), change);
        }
        if !to.view().required_during_scheduling_ignored_during_execution().is_empty() {
            to.required_during_scheduling_ignored_during_execution_mut()
                .each(|place| change(PodAffinityTermEdit::at(place)));
        }
    }
    if has_away {
        let mut away = affinity.pod_anti_affinity_mut();
        if !away.view().preferred_during_scheduling_ignored_during_execution().is_empty() {
            each_weighted(away.preferred_during_scheduling_ignored_during_execution_mut(), change);
        }
        if !away.view().required_during_scheduling_ignored_during_execution().is_empty() {
            away.required_during_scheduling_ignored_during_execution_mut()
                .each(|place| change(PodAffinityTermEdit::at(place)));
        }
    }
}

fn each_weighted(
    mut list: ListEdit<'_, WeightedPodAffinityTermEdit<'_>>,
    change: &mut dyn FnMut(PodAffinityTermEdit<'_>),
) {
    list.each(|place| {
        let mut weighted = WeightedPodAffinityTermEdit::at(place);
        change(weighted.pod_affinity_term_mut());
    });
}

/// Appends requirements, unless they stand at the end already: who creates again after a conflict prepares again.
fn require(mut selector: LabelSelectorEdit<'_>, new: &[Requirement]) {
    if ends_with(selector.view().match_expressions(), new) {
        return;
    }
    for (key, operator, value) in new {
        let mut expressions = selector.match_expressions_mut();
        let mut expression = expressions.push();
        expression.set_key(key);
        expression.set_operator(operator);
        expression.values_mut().push_text(value);
    }
}

fn ends_with(held: List<'_, LabelSelectorRequirement<'_>>, new: &[Requirement]) -> bool {
    let Some(before) = held.len().checked_sub(new.len()) else { return false };
    held.iter().skip(before).zip(new).all(|(held, (key, operator, value))| {
        held.key() == key && held.operator() == *operator && held.values().iter().eq([value.as_str()])
    })
}

/// Lets in what the door is for.
pub fn update(tree: &mut Tree, old: &Tree, subresource: &str, _: i64) {
    match subresource {
        "status" => status(tree, old),
        "ephemeralcontainers" => part(tree, old, |tree, given| {
            let given: Pod<'_> = views::read(given);
            views::write::<PodEdit<'_>>(tree)
                .spec_mut()
                .place()
                .keep(PodSpec::EPHEMERAL_CONTAINERS, given.spec().place());
        }),
        "resize" => resize(tree, old),
        _ => {}
    }
}

/// A part of the spec is written: all else is as it was, but for what says which object, and which state of it, is meant.
fn part(tree: &mut Tree, old: &Tree, let_in: impl FnOnce(&mut Tree, &Tree)) {
    let given = tree.clone();
    let held: Pod<'_> = views::read(old);
    let mut pod: PodEdit<'_> = views::write(tree);
    pod.place().keep(Pod::SPEC, held.place());
    pod.place().keep(Pod::STATUS, held.place());
    let mut metadata = pod.metadata_mut();
    for field in [
        ObjectMeta::ANNOTATIONS,
        ObjectMeta::DELETION_TIMESTAMP,
        ObjectMeta::FINALIZERS,
        ObjectMeta::GENERATION,
        ObjectMeta::LABELS,
        ObjectMeta::OWNER_REFERENCES,
        ObjectMeta::SELF_LINK,
    ] {
        metadata.place().keep(field, held.metadata().place());
    }
    let_in(tree, &given);
}

/// Resources and the policies about their change come in, of the pod and of its containers, if those are the same in the same order. If
/// not, everything comes in, for validation to refuse.
fn resize(tree: &mut Tree, old: &Tree) {
    let (new, held): (Pod<'_>, Pod<'_>) = (views::read(tree), views::read(old));
    let (new, held) = (new.spec(), held.spec());
    let is_same = has_same_names(new.containers(), held.containers())
        && has_same_names(new.init_containers(), held.init_containers());
    if !is_same {
        return;
    }
    part(tree, old, |tree, given| {
        let given = views::read::<Pod<'_>>(given).spec();
        let mut pod: PodEdit<'_> = views::write(tree);
        let mut spec = pod.spec_mut();
        spec.place().keep(PodSpec::RESOURCES, given.place());
        if !given.containers().is_empty() {
            keep_resources(spec.containers_mut(), given.containers());
        }
        if !given.init_containers().is_empty() {
            keep_resources(spec.init_containers_mut(), given.init_containers());
        }
    });
}

fn has_same_names(new: List<'_, Container<'_>>, old: List<'_, Container<'_>>) -> bool {
    new.iter().map(Container::name).eq(old.iter().map(Container::name))
}

fn keep_resources(mut list: ListEdit<'_, ContainerEdit<'_>>, given: List<'_, Container<'_>>) {
    let mut given = given.iter();
    list.each(|mut place| {
        let Some(given) = given.next() else { return };
        place.keep(Container::RESOURCES, given.place());
        place.keep(Container::RESIZE_POLICY, given.place());
    });
}

/// Nodes write the status. They may not forget what the server put there, nor for which generation a condition is.
fn status(tree: &mut Tree, old: &Tree) {
    let held: Pod<'_> = views::read(old);
    let mut pod: PodEdit<'_> = views::write(tree);
    pod.metadata_mut().clear_deletion_timestamp();
    let mut status = pod.status_mut();
    if status.view().qos_class().is_empty() {
        status.place().keep(PodStatus::QOS_CLASS, held.status().place());
    }
    if status.view().observed_generation() == 0 {
        status.place().keep(PodStatus::OBSERVED_GENERATION, held.status().place());
    }
    if status.view().conditions().iter().all(|condition| condition.observed_generation() != 0) {
        return;
    }
    // There may be several of a type: they are met in order.
    let mut known: BTreeMap<&str, VecDeque<i64>> = BTreeMap::new();
    for condition in held.status().conditions().iter() {
        known.entry(condition.type_()).or_default().push_back(condition.observed_generation());
    }
    status.conditions_mut().each(|place| {
        let mut condition = PodConditionEdit::at(place);
        let generation = known.get_mut(condition.view().type_()).and_then(VecDeque::pop_front).unwrap_or_default();
        if condition.view().observed_generation() == 0 && generation != 0 {
            condition.set_observed_generation(generation);
        }
    });
}
