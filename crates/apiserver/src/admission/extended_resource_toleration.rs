//! ExtendedResourceToleration: a pod that asks for devices tolerates the taint that keeps others off the nodes that have them (upstream:
//! `plugin/pkg/admission/extendedresourcetoleration`). Off.

use std::collections::BTreeSet;

use portcullis_kinds::views::core_v1::{Pod, PodEdit, Toleration, TolerationEdit};
use portcullis_kinds::views::{Edit, Place};
use portcullis_model::names;

use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::registry::Served;

const OPERATOR: &str = "Exists";
const EFFECT: &str = "NoSchedule";
/// What quota puts before a resource's name, which no resource's own name begins with.
const REQUESTS: &str = "requests.";

/// The plugin.
pub struct ExtendedResourceToleration;

impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        pods::are_written(served, operation)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        let devices: Vec<String> = pods::read(attempt).map(devices).unwrap_or_default();
        if let Some(mut pod) = pods::write(attempt).filter(|_| !devices.is_empty()) {
            for device in &devices {
                tolerate(&mut pod, device);
            }
        }
        Pass::on()
    }
}

/// The extended resources that a pod requests, in the order of their names.
fn devices(pod: Pod<'_>) -> Vec<String> {
    let spec = pod.spec();
    let containers = spec.containers().iter().chain(spec.init_containers().iter());
    let requests = containers.flat_map(|container| container.resources().requests().iter());
    let extended: BTreeSet<&str> = requests.map(|(name, _)| name).filter(|name| is_extended(name)).collect();
    extended.into_iter().map(str::to_owned).collect()
}

/// Whether a resource is of some vendor.
fn is_extended(name: &str) -> bool {
    name.contains('/')
        && !name.contains("kubernetes.io/")
        && !name.starts_with(REQUESTS)
        && names::qualified_name(&format!("{REQUESTS}{name}")).into_iter().next().is_none()
}

fn tolerate(pod: &mut PodEdit<'_>, device: &str) {
    let matches = |toleration: Toleration<'_>| {
        let parts = (toleration.key(), toleration.operator(), toleration.value(), toleration.effect());
        parts == (device, OPERATOR, "", EFFECT)
    };
    let held = || pod.view().spec().tolerations().iter().filter(|toleration| matches(*toleration));
    if held().any(|toleration| toleration.toleration_seconds().is_none()) {
        return;
    }
    let is_new = held().next().is_none();
    let mut spec = pod.spec_mut();
    let mut tolerations = spec.tolerations_mut();
    if is_new {
        let mut toleration = tolerations.push();
        toleration.set_key(device);
        toleration.set_operator(OPERATOR);
        toleration.set_effect(EFFECT);
        return;
    }
    tolerations.each(|place: Place<'_>| {
        let mut toleration = TolerationEdit::at(place);
        if matches(toleration.view()) {
            toleration.clear_toleration_seconds();
        }
    });
}
