//! PodTopologyLabels: a pod knows in which zone and region it runs (KEP-4742; upstream: `plugin/pkg/admission/podtopologylabels`).
//!
//! The labels of the node come onto the binding, from where they get into the pod, or onto a pod that is made with a node.

use portcullis_kinds::views;
use portcullis_kinds::views::MapEdit;
use portcullis_kinds::views::core_v1::{Binding, BindingEdit, Node};

use super::stored::{self, NODES};
use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::answer::Failure;
use crate::registry::Served;

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// The plugin.
pub struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && served.is("", "pods")
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        Pass::Now(match attempt.subresource() {
            "" => of_pod(attempt),
            "binding" => of_binding(attempt),
            _ => Ok(()),
        })
    }
}

fn of_pod(attempt: &mut Attempt<'_>) -> Result<(), Failure> {
    let Some(node) = pods::read(attempt).map(|pod| pod.spec().node_name()).filter(|name| !name.is_empty()) else {
        return Ok(());
    };
    let found = labels(attempt, node)?;
    if !found.is_empty()
        && let Some(mut pod) = pods::write(attempt)
    {
        put(&mut pod.metadata_mut().labels_mut(), &found);
    }
    Ok(())
}

fn of_binding(attempt: &mut Attempt<'_>) -> Result<(), Failure> {
    let Some(binding) = attempt.new() else { return Ok(()) };
    let target = views::read::<Binding<'_>>(binding).target();
    if target.kind() != "Node" {
        return Ok(());
    }
    let found = labels(attempt, target.name())?;
    if !found.is_empty()
        && let Some(binding) = attempt.object.as_deref_mut()
    {
        let mut binding = views::write::<BindingEdit<'_>>(binding);
        put(&mut binding.metadata_mut().labels_mut(), &found);
    }
    Ok(())
}

/// The labels of a node, if it is there, that a pod gets.
fn labels(attempt: &Attempt<'_>, node: &str) -> Result<Vec<(&'static str, String)>, Failure> {
    let Some(node) = stored::load(attempt, NODES, "", node)? else { return Ok(Vec::new()) };
    let held = views::read::<Node<'_>>(&node).metadata().labels();
    Ok(LABELS.into_iter().filter_map(|label| Some((label, held.get(label)?.to_owned()))).collect())
}

/// What is true of the node wins over what the pod says of itself.
fn put(labels: &mut MapEdit<'_>, found: &[(&str, String)]) {
    for (label, value) in found {
        labels.insert(label, value);
    }
}
