//! PodResizeValidator: a pod does not become larger than its node (KEP-1287; upstream: `plugin/pkg/admission/podresize`).
//!
//! The kubelet would find it infeasible some time later; whoever resizes learns it here at once.

use portcullis_kinds::views;
use portcullis_kinds::views::Map;
use portcullis_kinds::views::core_v1::{Node, Pod};
use portcullis_model::go_text::quoted;
use portcullis_model::quantity::Quantity;
use portcullis_model::status::StatusCause;

use super::node_declared_features::is_changed_on_node;
use super::stored::{self, NODES};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;

/// Where a node says what it runs on.
const OS: &str = "kubernetes.io/os";
/// What clients read from the refusals.
const CAUSE_PLATFORM: &str = "UnsupportedPlatform";
const CAUSE_CAPACITY: &str = "NodeCapacity";

/// How much of a resource a quantity is, in the unit in which refusals count it.
type Measure = fn(&Quantity) -> i64;

/// What of a node is looked at.
const MEASURES: [(&str, Measure); 2] = [("cpu", Quantity::milli_value), ("memory", Quantity::value)];

/// The plugin.
pub struct PodResizeValidator;

impl Plugin for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Update && served.is("", "pods")
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if attempt.subresource() != "resize" {
            return Pass::on();
        }
        let (Some(new), Some(old)) = (attempt.new(), attempt.old) else { return Pass::on() };
        let (new, old): (Pod<'_>, Pod<'_>) = (views::read(new), views::read(old));
        Pass::Now(if is_changed_on_node(new, old) { judge(attempt, new) } else { Ok(()) })
    }
}

fn judge(attempt: &Attempt<'_>, pod: Pod<'_>) -> Result<(), Failure> {
    let name = quoted(pod.spec().node_name());
    let node = stored::load(attempt, NODES, "", pod.spec().node_name())?;
    let node = node.ok_or_else(|| attempt.forbidden(&format!("node {name} not found")))?;
    let node: Node<'_> = views::read(&node);
    let refuse = |why: &str, cause: &'static str| {
        let cause = StatusCause { reason: cause.into(), message: String::new(), field: String::new() };
        Err(Box::new(attempt.forbidden(why).with_cause(cause)))
    };
    if let Some(os) = node.metadata().labels().get(OS).filter(|os| *os != "linux") {
        let why = format!("pod resize is only supported on linux nodes, node {name} is {}", quoted(os));
        return refuse(&why, CAUSE_PLATFORM);
    }
    let mut short = Vec::new();
    for (resource, measure) in MEASURES {
        let allocatable = amount(node.status().allocatable(), resource, measure).unwrap_or_default();
        let requested = requested(pod, resource, measure);
        if requested > allocatable {
            short.push(format!("{resource}, requested: {requested}, allocatable: {allocatable}"));
        }
    }
    if short.is_empty() {
        return Ok(());
    }
    let why = format!("node didn't have enough allocatable resources: {}", short.join("; "));
    refuse(&why, CAUSE_CAPACITY)
}

fn amount(list: Map<'_, &str>, resource: &str, measure: Measure) -> Option<i64> {
    Some(measure(&Quantity::parse(list.get(resource)?).ok()?))
}

/// What the scheduler would find room for: all that run together, or more where more is needed before they begin.
fn requested(pod: Pod<'_>, resource: &str, measure: Measure) -> i64 {
    let spec = pod.spec();
    let of = |list: Map<'_, &str>| amount(list, resource, measure);
    let overhead = of(spec.overhead()).unwrap_or_default();
    if let Some(own) = spec.resources().and_then(|own| of(own.requests())) {
        return own.saturating_add(overhead);
    }
    let (mut sidecars, mut peak) = (0i64, 0i64);
    for container in spec.init_containers().iter() {
        let own = of(container.resources().requests()).unwrap_or_default();
        peak = peak.max(sidecars.saturating_add(own));
        if container.restart_policy() == Some("Always") {
            sidecars = sidecars.saturating_add(own);
        }
    }
    let together = spec.containers().iter().filter_map(|container| of(container.resources().requests()));
    together.fold(sidecars, i64::saturating_add).max(peak).saturating_add(overhead)
}
