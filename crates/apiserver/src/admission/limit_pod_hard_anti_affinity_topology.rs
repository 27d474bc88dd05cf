//! LimitPodHardAntiAffinityTopology: a pod keeps others away from its own node, not from a whole zone (upstream:
//! `plugin/pkg/admission/antiaffinity`). Off.

use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::registry::Served;

/// The only domain that a pod may claim for itself.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The plugin.
pub struct LimitPodHardAntiAffinityTopology;

impl Plugin for LimitPodHardAntiAffinityTopology {
    fn name(&self) -> &'static str {
        "LimitPodHardAntiAffinityTopology"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        pods::are_written(served, operation)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let affinity = pods::read(attempt).and_then(|pod| pod.spec().affinity());
        let Some(apart) = affinity.and_then(|affinity| affinity.pod_anti_affinity()) else { return Pass::on() };
        let mut keys =
            apart.required_during_scheduling_ignored_during_execution().iter().map(|term| term.topology_key());
        Pass::Now(match keys.find(|key| *key != HOSTNAME) {
            None => Ok(()),
            Some(key) => Err(attempt.forbidden(&format!(
                "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
            ))),
        })
    }
}
