//! NodeDeclaredFeatureValidator: a running pod is only changed in ways that its node can follow (KEP-5328; upstream:
//! `plugin/pkg/admission/nodedeclaredfeatures`).
//!
//! A node says which of the features it has that are younger than the oldest kubelet in use. A change that needs one of them is refused
//! when the node does not say so.

use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{Container, Node, Pod, PodSpec};
use portcullis_kinds::vocabulary::frozen;
use portcullis_model::go_text::quoted;

use super::stored::{self, NODES};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;

/// Whether the change from the second to the first needs a feature.
type Needs = fn(PodSpec<'_>, PodSpec<'_>) -> bool;

/// Features that nodes declare, in the order of their names, and which change of a pod needs them.
const FEATURES: &[(&str, Needs)] = &[
    ("InPlacePodLevelResourcesVerticalScaling", resizes_pod),
    ("InPlacePodVerticalScalingInitContainers", resizes_init_containers),
];

/// The plugin.
pub struct NodeDeclaredFeatureValidator;

impl Plugin for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Update && served.is("", "pods")
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        if !matches!(attempt.subresource(), "" | "resize") {
            return Pass::on();
        }
        let (Some(new), Some(old)) = (attempt.new(), attempt.old) else { return Pass::on() };
        Pass::Now(judge(attempt, views::read(new), views::read(old)))
    }
}

/// Whether a pod has a node and is changed there. The generation counts changes of the spec.
pub(super) fn is_changed_on_node(new: Pod<'_>, old: Pod<'_>) -> bool {
    !new.spec().node_name().is_empty() && new.metadata().generation() != old.metadata().generation()
}

fn judge(attempt: &Attempt<'_>, new: Pod<'_>, old: Pod<'_>) -> Result<(), Failure> {
    if !is_changed_on_node(new, old) {
        return Ok(());
    }
    let needed = FEATURES.iter().filter(|(_, is_needed)| is_needed(new.spec(), old.spec()));
    let needed: Vec<&str> = needed.map(|(name, _)| *name).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let name = quoted(new.spec().node_name());
    let node = stored::load(attempt, NODES, "", new.spec().node_name())?;
    let node = node.ok_or_else(|| attempt.forbidden(&format!("node {name} not found")))?;
    let declared = views::read::<Node<'_>>(&node).status().declared_features();
    let missing: Vec<&str> =
        needed.into_iter().filter(|needed| declared.iter().all(|declared| declared != *needed)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(attempt.forbidden(&format!("pod update requires features {missing} which are not available on node {name}")))
}

fn resizes_pod(new: PodSpec<'_>, old: PodSpec<'_>) -> bool {
    let field = PodSpec::RESOURCES;
    !frozen::is_same(new.place().get(field), old.place().get(field))
}

/// Sidecars are resized like other containers.
fn resizes_init_containers(new: PodSpec<'_>, old: PodSpec<'_>) -> bool {
    let field = Container::RESOURCES;
    let mut pairs = old.init_containers().iter().zip(new.init_containers().iter());
    pairs.any(|(old, new)| {
        old.restart_policy() != Some("Always") && !frozen::is_same(new.place().get(field), old.place().get(field))
    })
}
