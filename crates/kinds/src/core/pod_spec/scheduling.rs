//! Where a pod may run: affinity, spread constraints, scheduling gates (upstream: `validateAffinity`, `validateTopologySpreadConstraints`,
//! `validateSchedulingGates`; KEP-895, KEP-3243, KEP-3521, KEP-3633).

use std::collections::HashSet;

use portcullis_model::names;

use super::Context;
use crate::views::core_v1::{
    NodeAffinity, PodAffinity, PodAffinityTerm, PodSpec, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use crate::views::{List, meta_v1};
use crate::vocabulary::node_selectors::{self, Values};
use crate::vocabulary::{Errors, Path, names as named, selectors};

/// Heaviest preference.
const WEIGHT_MAX: i32 = 100;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NOT_POSITIVE: &str = "must be greater than zero";
const NEEDS_SELECTOR: &str = "must not be specified when labelSelector is not set";

/// What is wrong with the affinity of a spec. `at` is where it stands.
pub fn affinity(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(affinity) = spec.affinity() else { return };
    if let Some(nodes) = affinity.node_affinity() {
        node_affinity(nodes, context, &at.field("nodeAffinity"), errors);
    }
    if affinity.pod_affinity().is_none() && affinity.pod_anti_affinity().is_none() {
        return;
    }
    let check = if context.old.is_some_and(selects_no_label_value) {
        selectors::label_selector_of_old
    } else {
        selectors::label_selector
    };
    if let Some(pods) = affinity.pod_affinity() {
        pod_affinity(pods, check, &at.field("podAffinity"), errors);
    }
    if let Some(pods) = affinity.pod_anti_affinity() {
        // Both are of the same form.
        pod_affinity(views_as(pods.place()), check, &at.field("podAntiAffinity"), errors);
    }
}

/// Reads affinity and anti-affinity, which have the same fields, by one view.
fn views_as(at: crate::views::At<'_>) -> PodAffinity<'_> {
    crate::views::View::at(at)
}

type CheckSelector = fn(meta_v1::LabelSelector<'_>, &Path<'_>, &mut Errors);

fn weight(weight: i32, at: &Path<'_>, errors: &mut Errors) {
    if !(1..=WEIGHT_MAX).contains(&weight) {
        errors.invalid(at, weight, "must be in the range 1-100");
    }
}

fn node_affinity(nodes: NodeAffinity<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(required) = nodes.required_during_scheduling_ignored_during_execution() {
        let old = context
            .old
            .and_then(|old| old.affinity()?.node_affinity()?.required_during_scheduling_ignored_during_execution());
        let values = if old.is_some_and(node_selectors::has_no_label_value) { Values::Any } else { Values::Labels };
        node_selectors::node_selector(required, values, &at.field(REQUIRED), errors);
    }
    let at = at.field(PREFERRED);
    for (index, one) in nodes.preferred_during_scheduling_ignored_during_execution().iter().enumerate() {
        let at = at.index(index);
        weight(one.weight(), &at.field("weight"), errors);
        node_selectors::term(one.preference(), Values::Any, &at.field("preference"), errors);
    }
}

fn pod_affinity(pods: PodAffinity<'_>, check: CheckSelector, at: &Path<'_>, errors: &mut Errors) {
    let required = at.field(REQUIRED);
    for (index, one) in pods.required_during_scheduling_ignored_during_execution().iter().enumerate() {
        pod_affinity_term(one, check, &required.index(index), errors);
    }
    let preferred = at.field(PREFERRED);
    for (index, one) in pods.preferred_during_scheduling_ignored_during_execution().iter().enumerate() {
        let at = preferred.index(index);
        weight(one.weight(), &at.field("weight"), errors);
        pod_affinity_term(one.pod_affinity_term(), check, &at.field("podAffinityTerm"), errors);
    }
}

fn pod_affinity_term(term: PodAffinityTerm<'_>, check: CheckSelector, at: &Path<'_>, errors: &mut Errors) {
    if let Some(selector) = term.label_selector() {
        check(selector, &at.field("labelSelector"), errors);
    }
    if let Some(selector) = term.namespace_selector() {
        check(selector, &at.field("namespaceSelector"), errors);
    }
    for name in term.namespaces().iter() {
        // Clients know this path as it is.
        named::dns_label(name, &at.field("namespace"), errors);
    }
    label_keys(term.match_label_keys(), Some(term.mismatch_label_keys()), term.label_selector(), at, errors);
    topology_key(term.topology_key(), &at.field("topologyKey"), errors);
}

fn topology_key(key: &str, at: &Path<'_>, errors: &mut Errors) {
    if key.is_empty() {
        errors.required(at, "can not be empty");
    }
    named::qualified_name(key, at, errors);
}

/// Whether a selector of the affinity among pods has a value that no label can have.
fn selects_no_label_value(spec: PodSpec<'_>) -> bool {
    let Some(affinity) = spec.affinity() else { return false };
    let anti = affinity.pod_anti_affinity().map(|pods| views_as(pods.place()));
    let both = || affinity.pod_affinity().into_iter().chain(anti);
    let required = both().flat_map(|pods| pods.required_during_scheduling_ignored_during_execution().iter());
    let preferred = both().flat_map(|pods| pods.preferred_during_scheduling_ignored_during_execution().iter());
    let terms = required.chain(preferred.map(WeightedPodAffinityTerm::pod_affinity_term));
    let selectors = terms.flat_map(|term| [term.label_selector(), term.namespace_selector()]).flatten();
    selectors.into_iter().any(|selector| {
        let mut errors = Errors::new();
        selectors::label_selector(selector, &Path::ROOT, &mut errors);
        !errors.is_empty()
    })
}

/// Keys whose values are taken from the pod itself: names of labels, in one list only, and not in the selector too. When this is looked
/// at the pod's values are in the selector already, as expressions behind what its author wrote.
fn label_keys(
    same: List<'_, &str>,
    other: Option<List<'_, &str>>,
    selector: Option<meta_v1::LabelSelector<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    for (list, name) in [(Some(same), "matchLabelKeys"), (other, "mismatchLabelKeys")] {
        let (Some(list), at) = (list, at.field(name)) else { continue };
        if !list.is_empty() && selector.is_none() {
            errors.forbidden(&at, NEEDS_SELECTOR);
            continue;
        }
        for (index, key) in list.iter().enumerate() {
            named::qualified_name(key, &at.index(index), errors);
        }
    }
    if same.is_empty() {
        return;
    }
    if let Some(selector) = selector {
        let mut seen: HashSet<&str> = selector.match_labels().iter().map(|(key, _)| key).collect();
        let places: std::collections::HashMap<&str, usize> =
            same.iter().enumerate().map(|(index, key)| (key, index)).collect();
        for one in selector.match_expressions().iter() {
            let is_new = seen.insert(one.key());
            if let Some(index) = places.get(one.key()).filter(|_| !is_new) {
                // Clients know this path as it is.
                errors.invalid(&at.index(*index), one.key(), "exists in both matchLabelKeys and labelSelector");
            }
        }
    }
    let others: HashSet<&str> = other.into_iter().flat_map(List::iter).collect();
    for (index, key) in same.iter().enumerate().filter(|(_, key)| others.contains(key)) {
        let at = at.field("matchLabelKeys");
        errors.invalid(&at.index(index), key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// What is wrong with the constraints on how pods are spread. `at` is where the list stands.
pub fn spread(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list = spec.topology_spread_constraints();
    if list.is_empty() {
        return;
    }
    let old = || context.old.into_iter().flat_map(|old| old.topology_spread_constraints().iter());
    let had_bad_selector = old().any(|one| complains(|errors| spread_selector(one, &Path::ROOT, errors)));
    let had_bad_keys = old().any(|one| complains(|errors| spread_keys(one, &Path::ROOT, errors)));
    let mut left = std::collections::HashMap::with_capacity(list.len());
    for one in list.iter() {
        *left.entry((one.topology_key(), one.when_unsatisfiable())).or_insert(0_usize) += 1;
    }
    for (index, one) in list.iter().enumerate() {
        let at = at.index(index);
        let pair = (one.topology_key(), one.when_unsatisfiable());
        if one.max_skew() <= 0 {
            errors.invalid(&at.field("maxSkew"), one.max_skew(), NOT_POSITIVE);
        }
        one.check_topology_key(&at, errors);
        one.check_when_unsatisfiable(&at, errors);
        // Said where it stands first of all that are alike.
        if let Some(left) = left.get_mut(&pair) {
            *left -= 1;
            if *left > 0 {
                let at = at.field("{topologyKey, whenUnsatisfiable}");
                errors.duplicate(&at, format!("{{{}, {}}}", pair.0, pair.1));
            }
        }
        min_domains(one, &at.field("minDomains"), errors);
        one.check_node_affinity_policy(&at, errors);
        one.check_node_taints_policy(&at, errors);
        if !had_bad_keys {
            spread_keys(one, &at, errors);
        }
        if !had_bad_selector {
            spread_selector(one, &at, errors);
        }
    }
}

fn min_domains(one: TopologySpreadConstraint<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(count) = one.min_domains() else { return };
    if count <= 0 {
        errors.invalid(at, count, NOT_POSITIVE);
    }
    let action = one.when_unsatisfiable();
    if action != "DoNotSchedule" {
        let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(at, count, why);
    }
}

fn spread_keys(one: TopologySpreadConstraint<'_>, at: &Path<'_>, errors: &mut Errors) {
    label_keys(one.match_label_keys(), None, one.label_selector(), at, errors);
}

fn spread_selector(one: TopologySpreadConstraint<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(selector) = one.label_selector() {
        selectors::label_selector(selector, &at.field("labelSelector"), errors);
    }
}

fn complains(check: impl FnOnce(&mut Errors)) -> bool {
    let mut errors = Errors::new();
    check(&mut errors);
    !errors.is_empty()
}

/// What is wrong with the gates that hold a pod back from scheduling. `at` is where the list stands.
pub fn gates(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list = spec.scheduling_gates();
    if list.is_empty() {
        return;
    }
    let mut seen = HashSet::with_capacity(list.len());
    for (index, gate) in list.iter().enumerate() {
        let (at, name) = (at.index(index), gate.name());
        errors.complain(&at, name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&at, name);
        }
    }
}
