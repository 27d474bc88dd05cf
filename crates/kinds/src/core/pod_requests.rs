//! What a pod asks for in all (upstream: `component-helpers/resource`; sidecars are KEP-753, resources of the pod as a whole KEP-2837,
//! resizing KEP-1287).
//!
//! Containers run together, so what they ask for is added up. Init containers run before them and one after the other, so that the
//! largest counts, with the sidecars that were started until then beside it.

use std::collections::BTreeMap;

use portcullis_model::quantity::Quantity;

use crate::views::core_v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use crate::views::{List, Map};
use crate::vocabulary::resource_names::HUGE_PAGES_PREFIX;

/// Amounts by resource.
pub type Amounts<'t> = BTreeMap<&'t str, Quantity>;

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Requests.
    Requests,
    /// Limits.
    Limits,
}

impl Side {
    /// All of what resources say.
    pub const BOTH: [Side; 2] = [Side::Requests, Side::Limits];

    /// The field of this side.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Side::Requests => "requests",
            Side::Limits => "limits",
        }
    }

    /// The amounts of this side.
    #[must_use]
    pub fn of<'t>(self, resources: ResourceRequirements<'t>) -> Map<'t, &'t str> {
        match self {
            Side::Requests => resources.requests(),
            Side::Limits => resources.limits(),
        }
    }
}

/// What counts beside the containers of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The spec alone, without what the runtime itself needs.
    Spec,
    /// What a pod holds of its node: the runtime's own needs, and of a container that is being resized the larger of what it has and wants.
    Held,
}

/// Adds up what a pod asks for or is limited to.
#[must_use]
pub fn of<'t>(pod: Pod<'t>, side: Side, count: Count) -> Amounts<'t> {
    let spec = pod.spec();
    let mut total = at_once(spec, |container| of_container(pod, container, side, count));
    if let Some(resources) = spec.resources() {
        for (name, amount) in amounts(side.of(resources)) {
            if can_be_of_pod(name) {
                total.insert(name, amount);
            }
        }
    }
    if count == Count::Held {
        let mut overhead = amounts(spec.overhead());
        // What is not limited is not limited by the runtime's needs either.
        overhead.retain(|name, _| side == Side::Requests || total.contains_key(name));
        add(&mut total, &overhead);
    }
    total
}

/// What all containers of a spec take at one time: regular ones and sidecars together, or an init container with the sidecars before it.
#[must_use]
pub fn at_once<'t>(spec: PodSpec<'t>, of: impl Fn(Container<'t>) -> Amounts<'t>) -> Amounts<'t> {
    let mut total = Amounts::new();
    for container in spec.containers().iter() {
        add(&mut total, &of(container));
    }
    let (mut sidecars, mut largest) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers().iter() {
        let own = of(container);
        if container.restart_policy() == Some("Always") {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut largest, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            raise(&mut largest, &beside);
        }
    }
    raise(&mut total, &largest);
    total
}

/// Whether a pod as a whole can ask for it.
#[must_use]
pub fn can_be_of_pod(resource: &str) -> bool {
    matches!(resource, "cpu" | "memory") || resource.starts_with(HUGE_PAGES_PREFIX)
}

/// Whether the pod as a whole asks for or is limited to anything.
#[must_use]
pub fn are_of_pod(pod: Pod<'_>) -> bool {
    pod.spec().resources().is_some_and(|all| !all.requests().is_empty() || !all.limits().is_empty())
}

fn of_container<'t>(pod: Pod<'t>, container: Container<'t>, side: Side, count: Count) -> Amounts<'t> {
    let wanted = amounts(side.of(container.resources()));
    if count == Count::Spec {
        return wanted;
    }
    let named = |list: List<'t, ContainerStatus<'t>>| list.iter().find(|status| status.name() == container.name());
    let status = pod.status();
    let is_sidecar = container.restart_policy() == Some("Always");
    let found = named(status.container_statuses())
        .or_else(|| named(status.init_container_statuses()).filter(|_| is_sidecar))
        .and_then(|status| Some((status, status.resources()?)));
    let Some((status, actual)) = found else { return wanted };
    let mut held = if is_infeasible(pod) { Amounts::new() } else { wanted };
    raise(&mut held, &amounts(side.of(actual)));
    if side == Side::Requests {
        raise(&mut held, &amounts(status.allocated_resources()));
    }
    held
}

/// Whether the node said that it will never have room for what is wanted.
fn is_infeasible(pod: Pod<'_>) -> bool {
    let mut conditions = pod.status().conditions().iter();
    conditions.any(|condition| condition.type_() == "PodResizePending" && condition.reason() == "Infeasible")
}

/// A map of amounts as numbers. What is no amount was refused before.
#[must_use]
pub fn amounts<'t>(map: Map<'t, &'t str>) -> Amounts<'t> {
    map.iter().filter_map(|(name, text)| Some((name, Quantity::parse(text).ok()?))).collect()
}

fn add<'t>(total: &mut Amounts<'t>, more: &Amounts<'t>) {
    for (name, amount) in more {
        total.entry(name).and_modify(|held| *held = *held + *amount).or_insert(*amount);
    }
}

fn raise<'t>(total: &mut Amounts<'t>, least: &Amounts<'t>) {
    for (name, amount) in least {
        let held = total.entry(name).or_insert(*amount);
        if *held < *amount {
            *held = *amount;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::read;
    use crate::views;

    fn check(pod: &str, side: Side, count: Count, expected: &str) {
        let tree = read("v1", "Pod", pod);
        let found = of(views::read(&tree), side, count);
        let found: Vec<String> = found.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        assert_eq!(found.join(","), expected, "{pod} {side:?} {count:?}");
    }

    #[test]
    fn containers_add_up_and_init_containers_do_not() {
        let one = |name: &str, cpu: &str, rest: &str| {
            format!(r#"{{"name":"{name}","resources":{{"requests":{{"cpu":"{cpu}"}}}}{rest}}}"#)
        };
        let always = r#","restartPolicy":"Always""#;
        let pod = |containers: &str, init: &str, rest: &str| {
            format!(r#"{{"spec":{{"containers":[{containers}],"initContainers":[{init}]{rest}}}}}"#)
        };
        let two = format!("{},{}", one("a", "1", ""), one("b", "500m", ""));
        check(&pod(&two, "", ""), Side::Requests, Count::Spec, "cpu=1500m");
        check(&pod(&two, "", ""), Side::Limits, Count::Spec, "");
        check(&pod(&two, &one("i", "1", ""), ""), Side::Requests, Count::Spec, "cpu=1500m");
        check(&pod(&two, &one("i", "2", ""), ""), Side::Requests, Count::Spec, "cpu=2");
        let init = format!("{},{}", one("s", "1", always), one("i", "2", ""));
        check(&pod(&two, &init, ""), Side::Requests, Count::Spec, "cpu=3");
        let init = format!("{},{}", one("i", "2", ""), one("s", "1", always));
        check(&pod(&two, &init, ""), Side::Requests, Count::Spec, "cpu=2500m");
        let whole =
            r#","resources":{"requests":{"cpu":"4","example.com/crane":"1"}},"overhead":{"cpu":"1","memory":"1Mi"}"#;
        check(&pod(&two, "", whole), Side::Requests, Count::Spec, "cpu=4");
        check(&pod(&two, "", whole), Side::Requests, Count::Held, "cpu=5,memory=1Mi");
        check(&pod(&two, "", whole), Side::Limits, Count::Held, "");
    }

    #[test]
    fn a_container_that_is_resized_holds_the_larger() {
        let pod = |wanted: &str, condition: &str| {
            format!(
                r#"{{"spec":{{"containers":[{{"name":"a","resources":{{"requests":{{"cpu":"{wanted}"}}}}}}]}},
                "status":{{"conditions":[{condition}],"containerStatuses":[{{"name":"a","resources":{{"requests":{{"cpu":"2"}}}},
                "allocatedResources":{{"cpu":"3"}}}}]}}}}"#
            )
        };
        check(&pod("1", ""), Side::Requests, Count::Held, "cpu=3");
        check(&pod("4", ""), Side::Requests, Count::Held, "cpu=4");
        check(&pod("4", ""), Side::Requests, Count::Spec, "cpu=4");
        let infeasible = r#"{"type":"PodResizePending","reason":"Infeasible"}"#;
        check(&pod("4", infeasible), Side::Requests, Count::Held, "cpu=3");
    }
}
