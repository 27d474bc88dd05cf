//! RuntimeClass: what a pod's runtime needs for itself, and on which nodes it is, comes from its class (KEP-585, KEP-688; upstream:
//! `plugin/pkg/admission/runtimeclass`).

use portcullis_kinds::views;
use portcullis_kinds::views::Map;
use portcullis_kinds::views::core_v1::{Pod, PodSpec};
use portcullis_kinds::views::node_v1;
use portcullis_model::go_text::quoted;
use portcullis_model::quantity::Quantity;
use portcullis_model::tree::Tree;

use super::stored::{self, RUNTIME_CLASSES};
use super::{Attempt, Operation, Pass, Plugin, pods, tolerations};
use crate::answer::Failure;
use crate::registry::Served;

/// What a pod is told that counts another overhead than its class has.
const OTHER_OVERHEAD: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// The plugin.
pub struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && served.is("", "pods")
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        Pass::Now(apply(attempt))
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        Pass::Now(judge(attempt))
    }
}

/// The class that a pod names.
fn class(attempt: &Attempt<'_>, pod: Pod<'_>) -> Result<Option<Tree>, Failure> {
    let Some(name) = pod.spec().runtime_class_name() else { return Ok(None) };
    match stored::load(attempt, RUNTIME_CLASSES, "", name)? {
        Some(class) => Ok(Some(class)),
        None => Err(attempt.forbidden(&format!("pod rejected: RuntimeClass {} not found", quoted(name)))),
    }
}

/// Gives a pod what its class says.
fn apply(attempt: &mut Attempt<'_>) -> Result<(), Failure> {
    let Some(pod) = pods::read(attempt) else { return Ok(()) };
    let Some(tree) = class(attempt, pod)? else { return Ok(()) };
    let class: node_v1::RuntimeClass<'_> = views::read(&tree);
    if let Some(overhead) = class.overhead() {
        let (given, fixed) = (pod.spec().overhead(), overhead.pod_fixed());
        if !given.is_empty() && !is_same(given, fixed) {
            return Err(attempt.forbidden(OTHER_OVERHEAD));
        }
    }
    let merged = class.scheduling().map(|scheduling| merge(attempt, pod, scheduling)).transpose()?;
    let Some(mut pod) = pods::write(attempt) else { return Ok(()) };
    if let Some(overhead) = class.overhead() {
        let mut spec = pod.spec_mut();
        spec.clear_overhead();
        if !overhead.pod_fixed().is_empty() {
            let mut to = spec.overhead_mut();
            for (resource, quantity) in overhead.pod_fixed().iter() {
                to.insert(resource, quantity);
            }
        }
    }
    let selector = class.scheduling().map(|scheduling| scheduling.node_selector());
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        let mut spec = pod.spec_mut();
        let mut to = spec.node_selector_mut();
        for (label, value) in selector.iter() {
            to.insert(label, value);
        }
    }
    if let Some(merged) = merged {
        tolerations::set(&mut pod, &merged);
    }
    Ok(())
}

/// The pod's tolerations with those of its class, when the class may have the pod on its nodes.
fn merge(
    attempt: &Attempt<'_>,
    pod: Pod<'_>,
    scheduling: node_v1::Scheduling<'_>,
) -> Result<Vec<tolerations::Toleration>, Failure> {
    let given = pod.spec().node_selector();
    for (label, value) in scheduling.node_selector().iter() {
        if let Some(other) = given.get(label).filter(|other| *other != value) {
            return Err(attempt.forbidden(&format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value}; pod.spec.nodeSelector[{label}] = {other}"
            )));
        }
    }
    let own = tolerations::of_pod(pod.spec());
    let merged = tolerations::merge(own, tolerations::read(scheduling.tolerations().iter()));
    merged.ok_or_else(|| {
        let max = tolerations::COMPARED_MAX;
        attempt.forbidden(&format!("pod rejected: more than {max} tolerations with those of its RuntimeClass"))
    })
}

/// A pod counts exactly the overhead of its class.
fn judge(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let Some(pod) = pods::read(attempt) else { return Ok(()) };
    let spec = pod.spec();
    let class = class(attempt, pod)?;
    let overhead = class.as_ref().and_then(|tree| views::read::<node_v1::RuntimeClass<'_>>(tree).overhead());
    match overhead {
        Some(overhead) if is_same(overhead.pod_fixed(), spec.overhead()) => Ok(()),
        Some(_) => Err(attempt.forbidden(OTHER_OVERHEAD)),
        None if spec.place().get(PodSpec::OVERHEAD).is_present() => {
            Err(attempt.forbidden("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
        }
        None => Ok(()),
    }
}

/// Whether both count the same, however it is written.
fn is_same(a: Map<'_, &str>, b: Map<'_, &str>) -> bool {
    let parse = |text: &str| Quantity::parse(text).ok();
    let is_in = |resource: &str, quantity: &str| {
        b.get(resource).is_some_and(|other| other == quantity || parse(other) == parse(quantity))
    };
    a.len() == b.len() && a.iter().all(|(resource, quantity)| is_in(resource, quantity))
}
