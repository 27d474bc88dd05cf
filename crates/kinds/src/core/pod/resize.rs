//! A pod gets more or less processor and memory while it runs (upstream: `ValidatePodResize`; KEP-1287, and KEP-5419 for the pod as a
//! whole).
//!
//! What comes through this door differs from the stored pod in resources and resize policies alone, unless its containers are others:
//! [`prepare`](super::prepare) has seen to that. Of resources only amounts of processor and memory change, and none is taken away.

use super::{qos, validate};
use crate::core::pod_requests::{Side, amounts};
use crate::core::pod_spec::annotations::MIRROR;
use crate::views::core_v1::{Container, Pod, PodSpec, ResourceRequirements};
use crate::views::{List, Map};
use crate::vocabulary::frozen::{is_same, is_same_but_for};
use crate::vocabulary::{Errors, Path};

/// What of a running container a node can change.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

const ONLY_RESIZABLE: &str = "only cpu and memory resources are mutable";
const ONLY_RESIZABLE_OF_INIT: &str = "only cpu and memory resources for init or sidecar containers are mutable";
const ONLY_RESIZABLE_OF_POD: &str = "only cpu and memory resources are mutable at pod-level";

/// What is wrong with a pod that came through `/resize`.
pub fn validate(new: Pod<'_>, old: Pod<'_>, errors: &mut Errors) {
    if let Some(why) = cannot_be_resized(old) {
        return errors.forbidden(&Path::new(""), why);
    }
    let before = errors.len();
    validate::all(new, Some(old), errors);
    let at = Path::new("spec");
    if qos::class_of(new.spec()) != qos::class(old) {
        errors.invalid(&at, new.status().qos_class(), "Pod QOS Class may not change as a result of resizing");
    }
    if !node_reports_resources(old) {
        errors.forbidden(&at, "Pod running on node without support for resize");
    }
    validate_pod_level(new.spec(), old.spec(), &at, errors);
    if !old.status().node_allocatable_resource_claim_statuses().is_empty() {
        errors.forbidden(&at, "pods with node allocatable resource claims cannot be resized");
    }
    validate_containers(new.spec(), old.spec(), &at, errors);
    let seen = [PodSpec::CONTAINERS, PodSpec::INIT_CONTAINERS, PodSpec::RESOURCES];
    if errors.len() == before && !is_same_but_for(new.spec().place(), old.spec().place(), &seen) {
        errors.forbidden(&at, ONLY_RESIZABLE);
    }
}

/// Why the pod is of a sort that nobody can resize, if it is.
fn cannot_be_resized(pod: Pod<'_>) -> Option<&'static str> {
    if pod.metadata().annotations().get(MIRROR).is_some() {
        return Some("static pods cannot be resized");
    }
    let is_windows = pod.spec().os().is_some_and(|os| os.name() == "windows");
    is_windows.then_some("windows pods cannot be resized")
}

/// A node that can resize says what its containers have. The first container that runs answers for all.
fn node_reports_resources(pod: Pod<'_>) -> bool {
    let statuses = pod.status().container_statuses();
    let running = statuses.iter().find(|status| status.state().running().is_some());
    running.is_none_or(|status| status.resources().is_some())
}

/// Resources as they are and as they are to be.
#[derive(Clone, Copy)]
struct Change<'t> {
    held: ResourceRequirements<'t>,
    given: ResourceRequirements<'t>,
}

impl<'t> Change<'t> {
    fn of(new: Container<'t>, old: Container<'t>) -> Change<'t> {
        Change { held: old.resources(), given: new.resources() }
    }

    /// Complains of each side on which an amount is taken away. `whose` begins the complaint.
    fn takes_nothing_away(self, whose: &str, at: &Path<'_>, errors: &mut Errors) {
        for side in Side::BOTH {
            let given = side.of(self.given);
            if side.of(self.held).iter().any(|(name, _)| given.get(name).is_none()) {
                let name = side.name();
                errors.forbidden(&at.field(name), format!("{whose} {name} cannot be removed"));
            }
        }
    }

    /// Whether no amount changes but those of processor and memory.
    fn is_of_resizable(self) -> bool {
        let others = |map: Map<'t, &'t str>| {
            let mut others = amounts(map);
            others.retain(|name, _| !RESIZABLE.contains(name));
            others
        };
        Side::BOTH.into_iter().all(|side| others(side.of(self.held)) == others(side.of(self.given)))
    }

    fn has_claims(self) -> bool {
        !self.held.claims().is_empty() || !self.given.claims().is_empty()
    }
}

/// Resources of the pod as a whole may come, and then stay.
fn validate_pod_level(new: PodSpec<'_>, old: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at_resources = at.field("resources");
    let names = |of: ResourceRequirements<'_>| Side::BOTH.into_iter().any(|side| !side.of(of).is_empty());
    match (old.resources(), new.resources()) {
        (None, None) => {}
        (Some(held), None) => {
            if names(held) {
                errors.forbidden(&at_resources, "pod-level resources cannot be removed");
            }
        }
        (None, Some(given)) => {
            let is_resizable = |(name, _): (&str, &str)| RESIZABLE.contains(&name);
            let only_resizable = Side::BOTH.into_iter().all(|side| side.of(given).iter().all(is_resizable));
            if names(given) && (!only_resizable || !given.claims().is_empty()) {
                errors.forbidden(at, ONLY_RESIZABLE_OF_POD);
            }
        }
        (Some(held), Some(given)) => {
            let change = Change { held, given };
            change.takes_nothing_away("pod-level resource", &at_resources, errors);
            let seen = [ResourceRequirements::REQUESTS, ResourceRequirements::LIMITS];
            if !change.is_of_resizable() || !is_same_but_for(given.place(), held.place(), &seen) {
                errors.forbidden(at, ONLY_RESIZABLE_OF_POD);
            }
        }
    }
}

/// The containers are those that there were, and only amounts of processor and memory differ.
fn validate_containers(new: PodSpec<'_>, old: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let regular = ("containers", new.containers(), old.containers());
    let init = ("initContainers", new.init_containers(), old.init_containers());
    let mut can_be_paired = true;
    for (list, new, old) in [regular, init] {
        can_be_paired &= are_in_order(list, new, old, at, errors);
    }
    if !can_be_paired {
        return;
    }
    for (list, new, old) in [init, regular] {
        let at = at.field(list);
        for (index, (new, old)) in new.iter().zip(old.iter()).enumerate() {
            Change::of(new, old).takes_nothing_away("resource", &at.index(index).field("resources"), errors);
        }
    }
    let (_, new_regular, old_regular) = regular;
    for _ in new_regular.iter().zip(old_regular.iter()).filter(|(new, old)| !is_resized(*new, *old)) {
        errors.forbidden(at, ONLY_RESIZABLE);
    }
    let (list, new_init, old_init) = init;
    let at = at.field(list);
    for (index, (new, old)) in new_init.iter().zip(old_init.iter()).enumerate() {
        validate_init(new, old, &at.index(index), errors);
    }
}

/// Whether both lists have the same containers in one order, so that one can be looked at beside the other.
fn are_in_order<'t>(
    list: &'static str,
    new: List<'t, Container<'t>>,
    old: List<'t, Container<'t>>,
    at: &Path<'_>,
    errors: &mut Errors,
) -> bool {
    let at = at.field(list);
    if new.len() != old.len() {
        errors.forbidden(&at, format!("{list} may not be added or removed on resize"));
        return false;
    }
    let before = errors.len();
    let others = new.iter().zip(old.iter()).enumerate().filter(|(_, (new, old))| new.name() != old.name());
    for (index, _) in others {
        errors.forbidden(&at.index(index).field("name"), format!("{list} may not be renamed or reordered on resize"));
    }
    errors.len() == before
}

/// Whether a container differs in amounts of processor and memory at most. What belongs to claims on devices is not the node's to change.
fn is_resized(new: Container<'_>, old: Container<'_>) -> bool {
    let change = Change::of(new, old);
    change.is_of_resizable()
        && !change.has_claims()
        && is_same_but_for(new.place(), old.place(), &[Container::RESOURCES])
}

/// An init container that ends cannot be started again to get what it is given.
fn validate_init(new: Container<'_>, old: Container<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !is_resized(new, old) {
        errors.forbidden(at, ONLY_RESIZABLE_OF_INIT);
    }
    let is_sidecar = new.restart_policy() == Some("Always");
    let must_restart = || new.resize_policy().iter().any(|policy| policy.restart_policy() == "RestartContainer");
    if !is_sidecar && must_restart() && !is_same(new.place(), old.place()) {
        let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        errors.forbidden(at, why);
    }
}
