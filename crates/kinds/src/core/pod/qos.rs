//! How soon a pod is sacrificed when its node runs short (upstream: `helper/qos.ComputePodQOS`; pod-level resources are KEP-2837).

use portcullis_model::quantity::Quantity;

use crate::views::Map;
use crate::views::core_v1::{Pod, PodSpec};

/// Nothing is asked for.
pub const BEST_EFFORT: &str = "BestEffort";
/// Something is.
pub const BURSTABLE: &str = "Burstable";
/// Processor and memory are limited, and all that may be used is asked for.
pub const GUARANTEED: &str = "Guaranteed";

/// What is asked for or limited in all, of the two resources that count. None: nothing.
#[derive(Default, PartialEq)]
struct Sums {
    cpu: Option<Quantity>,
    memory: Option<Quantity>,
}

impl Sums {
    /// Adds the amounts that are more than nothing, and says whether both are.
    fn add(&mut self, amounts: Map<'_, &str>) -> bool {
        let take = |name: &str, sum: &mut Option<Quantity>| {
            let amount = amounts.get(name).and_then(|text| Quantity::parse(text).ok());
            let Some(amount) = amount.filter(|amount| amount.sign() > 0) else { return false };
            *sum = Some(sum.map_or(amount, |sum| sum + amount));
            true
        };
        let has_cpu = take("cpu", &mut self.cpu);
        take("memory", &mut self.memory) && has_cpu
    }

    fn is_nothing(&self) -> bool {
        self.cpu.is_none() && self.memory.is_none()
    }
}

/// The class that a spec makes. Resources of the pod as a whole count in place of those of its containers.
#[must_use]
pub fn class_of(spec: PodSpec<'_>) -> &'static str {
    let (mut requests, mut limits, mut is_limited) = (Sums::default(), Sums::default(), true);
    if let Some(pod) = spec.resources() {
        requests.add(pod.requests());
        is_limited = limits.add(pod.limits());
    } else {
        for container in spec.containers().iter().chain(spec.init_containers().iter()) {
            requests.add(container.resources().requests());
            is_limited &= limits.add(container.resources().limits());
        }
    }
    if requests.is_nothing() && limits.is_nothing() {
        return BEST_EFFORT;
    }
    if is_limited && requests == limits { GUARANTEED } else { BURSTABLE }
}

/// The class that a pod has: the one that it was given, or the one that it would be.
#[must_use]
pub fn class(pod: Pod<'_>) -> &str {
    match pod.status().qos_class() {
        "" => class_of(pod.spec()),
        given => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::read;
    use crate::views;

    #[test]
    fn the_class_follows_from_what_is_asked_for() {
        let check = |spec: &str, expected: &str| {
            let tree = read("v1", "Pod", &format!(r#"{{"spec":{spec}}}"#));
            assert_eq!(class_of(views::read::<Pod<'_>>(&tree).spec()), expected, "{spec}");
        };
        let one = |resources: &str| format!(r#"{{"containers":[{{"name":"a","resources":{resources}}}]}}"#);
        check("{}", BEST_EFFORT);
        check(&one("{}"), BEST_EFFORT);
        check(&one(r#"{"requests":{"cpu":"0","example.com/crane":"1"}}"#), BEST_EFFORT);
        check(&one(r#"{"requests":{"cpu":"1"}}"#), BURSTABLE);
        check(&one(r#"{"limits":{"cpu":"1"}}"#), BURSTABLE);
        let both = r#"{"requests":{"cpu":"1000m","memory":"1Gi"},"limits":{"cpu":"1","memory":"1024Mi"}}"#;
        check(&one(both), GUARANTEED);
        check(&one(r#"{"requests":{"cpu":"1"},"limits":{"cpu":"1"}}"#), BURSTABLE);
        check(&one(r#"{"requests":{"cpu":"1","memory":"1"},"limits":{"cpu":"2","memory":"1"}}"#), BURSTABLE);
        let of_pod = |pod: &str, rest: &str| {
            format!(r#"{{"resources":{pod},"containers":[{{"name":"a","resources":{rest}}}]}}"#)
        };
        check(&of_pod(both, "{}"), GUARANTEED);
        check(&of_pod(r#"{"requests":{"cpu":"1"}}"#, both), BURSTABLE);
        check(&of_pod("{}", both), BEST_EFFORT);
        let init = |main: &str, init: &str| {
            format!(
                r#"{{"containers":[{{"name":"a","resources":{main}}}],"initContainers":[{{"name":"b","resources":{init}}}]}}"#
            )
        };
        check(&init(both, both), GUARANTEED);
        check(&init(both, "{}"), BURSTABLE);
    }
}
