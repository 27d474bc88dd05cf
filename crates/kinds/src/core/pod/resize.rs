//! A running pod gets more or less processor and memory (upstream: `ValidatePodResize`; KEP-1287, KEP-5419 for the pod as a whole).

use portcullis_model::quantity::Quantity;

use super::annotations::MIRROR;
use super::{qos, validate};
use crate::views::core_v1::{Container, Pod, PodSpec, ResourceRequirements};
use crate::views::{List, Map};
use crate::vocabulary::frozen::{is_same, is_same_but_for};
use crate::vocabulary::{Errors, Path};

const ONLY: &str = "only cpu and memory resources are mutable";
const ONLY_OF_INIT: &str = "only cpu and memory resources for init or sidecar containers are mutable";
const ONLY_OF_POD: &str = "only cpu and memory resources are mutable at pod-level";
const RESTARTS: &str = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";

/// What is wrong with a pod that came through `/resize`.
pub fn validate(new: Pod<'_>, old: Pod<'_>, errors: &mut Errors) {
    if old.metadata().annotations().get(MIRROR).is_some() {
        return errors.forbidden(&Path::new(""), "static pods cannot be resized");
    }
    if old.spec().os().is_some_and(|os| os.name() == "windows") {
        return errors.forbidden(&Path::new(""), "windows pods cannot be resized");
    }
    let before = errors.len();
    validate::all(new, Some(old), errors);
    let at = Path::new("spec");
    if qos::class(old) != qos::class_of(new.spec()) {
        errors.invalid(&at, new.status().qos_class(), "Pod QOS Class may not change as a result of resizing");
    }
    if !node_can_resize(old) {
        errors.forbidden(&at, "Pod running on node without support for resize");
    }
    whole(new.spec(), old.spec(), &at, errors);
    if !old.status().node_allocatable_resource_claim_statuses().is_empty() {
        errors.forbidden(&at, "pods with node allocatable resource claims cannot be resized");
    }
    if containers_are_the_same(new.spec(), old.spec(), &at, errors) {
        containers(new.spec(), old.spec(), &at, errors);
        if errors.len() == before && !rest_stays(new.spec(), old.spec()) {
            errors.forbidden(&at, ONLY);
        }
    }
}

/// A node that can says what it has given: the first container that runs tells.
fn node_can_resize(pod: Pod<'_>) -> bool {
    let mut running = pod.status().container_statuses().iter().filter(|one| one.state().running().is_some());
    running.next().is_none_or(|one| one.resources().is_some())
}

fn is_set(resources: Option<ResourceRequirements<'_>>) -> bool {
    resources.is_some_and(|resources| !resources.requests().is_empty() || !resources.limits().is_empty())
}

/// Resources of the pod as a whole: processor and memory change, nothing goes.
fn whole(new: PodSpec<'_>, old: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !is_set(new.resources()) && !is_set(old.resources()) {
        return;
    }
    let at_resources = at.field("resources");
    let (Some(held), Some(given)) = (old.resources(), new.resources()) else {
        if old.resources().is_some() {
            errors.forbidden(&at_resources, "pod-level resources cannot be removed");
        } else if new.resources().is_some_and(has_others) {
            errors.forbidden(at, ONLY_OF_POD);
        }
        return;
    };
    if !keeps_keys(given.requests(), held.requests()) {
        errors.forbidden(&at_resources.field("requests"), "pod-level resource requests cannot be removed");
    }
    if !keeps_keys(given.limits(), held.limits()) {
        errors.forbidden(&at_resources.field("limits"), "pod-level resource limits cannot be removed");
    }
    let claims = [ResourceRequirements::REQUESTS, ResourceRequirements::LIMITS];
    if !others_stay(given, held) || !is_same_but_for(given.place(), held.place(), &claims) {
        errors.forbidden(at, ONLY_OF_POD);
    }
}

fn has_others(resources: ResourceRequirements<'_>) -> bool {
    let is_other = |(name, _): (&str, &str)| !is_mutable(name);
    resources.requests().iter().any(is_other)
        || resources.limits().iter().any(is_other)
        || !resources.claims().is_empty()
}

fn is_mutable(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory")
}

fn keeps_keys(new: Map<'_, &str>, old: Map<'_, &str>) -> bool {
    old.iter().all(|(name, _)| new.get(name).is_some())
}

/// Whether amounts of all but processor and memory are what they were.
fn others_stay(new: ResourceRequirements<'_>, old: ResourceRequirements<'_>) -> bool {
    let stay = |new: Map<'_, &str>, old: Map<'_, &str>| {
        let count = |map: Map<'_, &str>| map.iter().filter(|(name, _)| !is_mutable(name)).count();
        let others = old.iter().filter(|(name, _)| !is_mutable(name));
        count(new) == count(old)
            && others.into_iter().all(|(name, held)| new.get(name).is_some_and(|given| is_same_amount(given, held)))
    };
    stay(new.requests(), old.requests()) && stay(new.limits(), old.limits())
}

fn is_same_amount(a: &str, b: &str) -> bool {
    a == b || matches!((Quantity::parse(a), Quantity::parse(b)), (Ok(a), Ok(b)) if a == b)
}

/// Containers are those that there were, in their order. Further checks go through both lists side by side.
fn containers_are_the_same(new: PodSpec<'_>, old: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) -> bool {
    let before = errors.len();
    let lists = [
        ("containers", new.containers(), old.containers()),
        ("initContainers", new.init_containers(), old.init_containers()),
    ];
    for (field, new, old) in lists {
        if new.len() != old.len() {
            errors.forbidden(&at.field(field), format!("{field} may not be added or removed on resize"));
            continue;
        }
        for (index, (new, old)) in new.iter().zip(old.iter()).enumerate() {
            if new.name() != old.name() {
                let why = format!("{field} may not be renamed or reordered on resize");
                errors.forbidden(&at.field(field).index(index).field("name"), why);
            }
        }
    }
    errors.len() == before
}

/// Nothing that a container asked for, or was limited to, goes; and nothing but processor and memory changes.
fn containers(new: PodSpec<'_>, old: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (at_init, at_containers) = (at.field("initContainers"), at.field("containers"));
    nothing_goes(new.init_containers(), old.init_containers(), &at_init, errors);
    nothing_goes(new.containers(), old.containers(), &at_containers, errors);
    for (new, old) in new.containers().iter().zip(old.containers().iter()) {
        if !is_same_but_for_amounts(new, old) {
            errors.forbidden(at, ONLY);
        }
    }
    for (index, (new, old)) in new.init_containers().iter().zip(old.init_containers().iter()).enumerate() {
        let at = at_init.index(index);
        if !is_same_but_for_amounts(new, old) {
            errors.forbidden(&at, ONLY_OF_INIT);
        }
        let restarts = || new.resize_policy().iter().any(|policy| policy.restart_policy() == "RestartContainer");
        if new.restart_policy() != Some("Always") && !is_same(new.place(), old.place()) && restarts() {
            errors.forbidden(&at, RESTARTS);
        }
    }
}

fn nothing_goes(new: List<'_, Container<'_>>, old: List<'_, Container<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, (new, old)) in new.iter().zip(old.iter()).enumerate() {
        let (new, old) = (new.resources(), old.resources());
        let at = at.index(index);
        let at = at.field("resources");
        if !keeps_keys(new.requests(), old.requests()) {
            errors.forbidden(&at.field("requests"), "resource requests cannot be removed");
        }
        if !keeps_keys(new.limits(), old.limits()) {
            errors.forbidden(&at.field("limits"), "resource limits cannot be removed");
        }
    }
}

fn is_same_but_for_amounts(new: Container<'_>, old: Container<'_>) -> bool {
    // A container with claims on devices cannot be resized: its processor and memory may belong to them.
    let has_claims = |container: Container<'_>| !container.resources().claims().is_empty();
    others_stay(new.resources(), old.resources())
        && !has_claims(new)
        && !has_claims(old)
        && is_same_but_for(new.place(), old.place(), &[Container::RESOURCES])
}

fn rest_stays(new: PodSpec<'_>, old: PodSpec<'_>) -> bool {
    let seen = [PodSpec::CONTAINERS, PodSpec::INIT_CONTAINERS, PodSpec::RESOURCES];
    is_same_but_for(new.place(), old.place(), &seen)
}
