//! LimitRanger: containers that say nothing get what their namespace has for them, and nobody asks for more or less than is allowed
//! (upstream: `plugin/pkg/admission/limitranger`). Limits of a namespace are in its LimitRanges, whose names give the order here; upstream
//! has none.

mod constraints;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use portcullis_kinds::core::limit_range::{CONTAINER, PERSISTENT_VOLUME_CLAIM, POD};
use portcullis_kinds::core::pod_requests::{self, Amounts, Count, Side, amounts};
use portcullis_kinds::views::core_v1::{Container, ContainerEdit, LimitRange, PersistentVolumeClaim, Pod, PodEdit};
use portcullis_kinds::views::{self, Edit as _, List, ListEdit, View as _};
use portcullis_model::tree::Tree;

use super::stored::{self, LIMIT_RANGES};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;
use crate::registry::metadata::Metadata;

use constraints::Asked;

/// Says what was set for whom.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// The subresource by which a pod's containers are changed.
const RESIZE: &str = "resize";

/// The plugin.
pub struct LimitRanger;

impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        (served.is("", "pods") || served.is("", "persistentvolumeclaims"))
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        if !concerns(attempt) || !attempt.is_of("", "pods") {
            return Pass::on();
        }
        Pass::Now(ranges(attempt).map(|ranges| {
            for range in &ranges {
                if let Some(pod) = attempt.object.as_deref_mut() {
                    set_defaults(views::read(range), pod);
                }
            }
        }))
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if !concerns(attempt) {
            return Pass::on();
        }
        Pass::Now(ranges(attempt).and_then(|ranges| judge(attempt, &ranges)))
    }
}

/// Whether the write can change what is limited: the containers of a stored pod change by a resize alone. What is on its way out may
/// exceed what is allowed now.
fn concerns(attempt: &Attempt<'_>) -> bool {
    let is_deleting = |old: &Tree| Metadata::of(attempt.served(), old).is_deleting();
    let is_pods = attempt.is_of("", "pods");
    let changes = match attempt.subresource() {
        "" => !is_pods || attempt.operation == Operation::Create,
        RESIZE => is_pods && attempt.operation == Operation::Update,
        _ => false,
    };
    changes && !attempt.old.is_some_and(is_deleting)
}

fn ranges(attempt: &Attempt<'_>) -> Result<Vec<Tree>, Failure> {
    let found = stored::all(attempt, LIMIT_RANGES, attempt.namespace(), attempt.snapshot)?;
    Ok(found.into_iter().map(|stored| stored.tree).collect())
}

/// The first range that anything is wrong by refuses.
fn judge(attempt: &Attempt<'_>, ranges: &[Tree]) -> Result<(), Failure> {
    let Some(object) = attempt.new() else { return Ok(()) };
    for range in ranges {
        let range: LimitRange<'_> = views::read(range);
        let found = match attempt.is_of("", "pods") {
            true => of_pod(range, views::read(object)),
            false => of_claim(range, views::read(object)),
        };
        if !found.is_empty() {
            return Err(attempt.forbidden(&aggregate(&found)));
        }
    }
    Ok(())
}

/// Several complaints as one (upstream: `utilerrors.Aggregate`): each once.
fn aggregate(found: &[String]) -> String {
    let mut met = HashSet::new();
    let once: Vec<&str> = found.iter().map(String::as_str).filter(|text| met.insert(*text)).collect();
    match once.as_slice() {
        [only] => (*only).to_owned(),
        _ => format!("[{}]", once.join(", ")),
    }
}

fn of_pod(range: LimitRange<'_>, pod: Pod<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for item in range.spec().limits().iter() {
        if item.type_() == CONTAINER {
            for container in pod.spec().containers().iter().chain(pod.spec().init_containers().iter()) {
                let resources = container.resources();
                let asked = Asked { requests: amounts(resources.requests()), limits: amounts(resources.limits()) };
                asked.check(item, &mut found);
            }
        }
        if item.type_() == POD {
            let of = |side| pod_requests::of(pod, side, Count::Spec);
            Asked { requests: of(Side::Requests), limits: of(Side::Limits) }.check(item, &mut found);
        }
    }
    found
}

fn of_claim(range: LimitRange<'_>, claim: PersistentVolumeClaim<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let asked = Asked { requests: amounts(claim.spec().resources().requests()), limits: Amounts::new() };
    for item in range.spec().limits().iter().filter(|item| item.type_() == PERSISTENT_VOLUME_CLAIM) {
        asked.check_requests(item, &mut found);
    }
    found
}

/// Gives containers what a range has for them, and says so in an annotation.
fn set_defaults(range: LimitRange<'_>, pod: &mut Tree) {
    // Of two items of one type the later counts.
    let (mut limits, mut requests) = (BTreeMap::new(), BTreeMap::new());
    for item in range.spec().limits().iter().filter(|item| item.type_() == CONTAINER) {
        limits.extend(item.default_().iter());
        requests.extend(item.default_request().iter());
    }
    let (limits, requests): (Vec<_>, Vec<_>) = (limits.into_iter().collect(), requests.into_iter().collect());
    let spec = views::read::<Pod<'_>>(pod).spec();
    let lacks = |list: List<'_, Container<'_>>| {
        list.iter().any(|container| {
            let resources = container.resources();
            limits.iter().any(|(name, _)| resources.limits().get(name).is_none())
                || requests.iter().any(|(name, _)| resources.requests().get(name).is_none())
        })
    };
    let (in_containers, in_init) = (lacks(spec.containers()), lacks(spec.init_containers()));
    let mut pod: PodEdit<'_> = views::write(pod);
    let mut notes = Vec::new();
    let mut spec = pod.spec_mut();
    if in_containers {
        set_in(spec.containers_mut(), "container", &limits, &requests, &mut notes);
    }
    if in_init {
        set_in(spec.init_containers_mut(), "init container", &limits, &requests, &mut notes);
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.metadata_mut().annotations_mut().insert(ANNOTATION, &note);
    }
}

fn set_in(
    mut containers: ListEdit<'_, ContainerEdit<'_>>,
    what: &str,
    limits: &[(&str, &str)],
    requests: &[(&str, &str)],
    notes: &mut Vec<String>,
) {
    containers.each(|place| {
        let container = Container::at(place.view());
        let (name, resources) = (container.name().to_owned(), container.resources());
        let lacking = |defaults: &[(&str, &str)], held: views::Map<'_, &str>| -> Vec<(String, String)> {
            let lacking = defaults.iter().filter(|(name, _)| held.get(name).is_none());
            lacking.map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect()
        };
        let (requests, limits) = (lacking(requests, resources.requests()), lacking(limits, resources.limits()));
        let mut container = ContainerEdit::at(place);
        for (resource, amount) in &requests {
            container.resources_mut().requests_mut().insert(resource, amount);
        }
        for (resource, amount) in &limits {
            container.resources_mut().limits_mut().insert(resource, amount);
        }
        for (side, set) in [("request", requests), ("limit", limits)] {
            if !set.is_empty() {
                let names: Vec<String> = set.into_iter().map(|(resource, _)| resource).collect();
                notes.push(format!("{} {side} for {what} {name}", names.join(", ")));
            }
        }
    });
}
