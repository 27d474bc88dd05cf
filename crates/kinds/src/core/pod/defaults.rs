//! What a pod has by default beyond what every pod spec has (upstream: `SetDefaults_Pod`, and what the conversion of v1 pods to the internal
//! ones and back does to them). A template has none of it: what is decided here is decided for each pod that is made of it.

use std::collections::BTreeMap;

use portcullis_model::tree::Tree;

use crate::core::pod_requests::{self, Amounts, Side, amounts, can_be_of_pod};
use crate::core::pod_spec;
use crate::views::core_v1::{
    Container, ContainerEdit, ContainerPortEdit, PodEdit, PodSpec, PodSpecEdit, PodStatusEdit,
};
use crate::views::{self, Edit as _, ListEdit};
use crate::vocabulary::resource_names::HUGE_PAGES_PREFIX;

/// Init containers and their statuses, from before they were fields. Nobody reads them any more.
const FORGOTTEN: [&str; 4] = [
    "pod.alpha.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.beta.kubernetes.io/init-containers",
];

/// Gives a pod all that depends on its other fields.
pub fn default(tree: &mut Tree) {
    let mut pod: PodEdit<'_> = views::write(tree);
    pod_spec::default(pod.spec_mut());
    forget_annotations(&mut pod);
    let mut spec = pod.spec_mut();
    if spec.view().enable_service_links().is_none() {
        spec.set_enable_service_links(true);
    }
    // Less than no time was once taken; it means as little as possible.
    if spec.view().termination_grace_period_seconds().is_some_and(|seconds| seconds < 0) {
        spec.set_termination_grace_period_seconds(1);
    }
    each_container(&mut spec, needs_requests, request_what_is_limited);
    if spec.view().resources().is_some() {
        limit_huge_pages(&mut spec);
        request_for_all(&mut spec);
    }
    if spec.view().host_network() {
        each_container(&mut spec, has_free_port, take_ports_of_host);
    }
    if pod.view().status().place().is_present() {
        agree_on_address(pod.status_mut());
    }
}

fn forget_annotations(pod: &mut PodEdit<'_>) {
    let held = pod.view().metadata().annotations();
    if FORGOTTEN.iter().all(|key| held.get(key).is_none()) {
        return;
    }
    let mut metadata = pod.metadata_mut();
    for key in FORGOTTEN {
        metadata.annotations_mut().remove(key);
    }
    if metadata.view().annotations().is_empty() {
        metadata.clear_annotations();
    }
}

/// Changes containers and init containers, if any of the list is to be changed. To open a list that is absent is to have one.
fn each_container(spec: &mut PodSpecEdit<'_>, is_to_change: fn(Container<'_>) -> bool, change: fn(ContainerEdit<'_>)) {
    let run = |mut list: ListEdit<'_, ContainerEdit<'_>>| list.each(|place| change(ContainerEdit::at(place)));
    if spec.view().containers().iter().any(is_to_change) {
        run(spec.containers_mut());
    }
    if spec.view().init_containers().iter().any(is_to_change) {
        run(spec.init_containers_mut());
    }
}

fn needs_requests(container: Container<'_>) -> bool {
    let resources = container.resources();
    resources.limits().iter().any(|(name, _)| resources.requests().get(name).is_none())
}

/// What is limited and not asked for is asked for in full.
fn request_what_is_limited(mut container: ContainerEdit<'_>) {
    let resources = container.view().resources();
    let missing = resources.limits().iter().filter(|(name, _)| resources.requests().get(name).is_none());
    let missing: Vec<_> = missing.map(|(name, amount)| (name.to_owned(), amount.to_owned())).collect();
    if missing.is_empty() {
        return;
    }
    let mut resources = container.resources_mut();
    let mut requests = resources.requests_mut();
    for (name, amount) in &missing {
        requests.insert(name, amount);
    }
}

/// What all containers ask for, or are limited to, at one time.
fn in_all<'t>(spec: PodSpec<'t>, side: Side) -> Amounts<'t> {
    pod_requests::at_once(spec, |container| amounts(side.of(container.resources())))
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES_PREFIX)
}

/// Huge pages that containers are limited to, the pod is.
fn limit_huge_pages(spec: &mut PodSpecEdit<'_>) {
    let view = spec.view();
    let Some(resources) = view.resources() else { return };
    let missing: Vec<(String, String)> = in_all(view, Side::Limits)
        .into_iter()
        .filter(|(name, _)| is_huge_page(name) && resources.limits().get(name).is_none())
        .map(|(name, amount)| (name.to_owned(), amount.to_string()))
        .collect();
    if missing.is_empty() {
        return;
    }
    let mut resources = spec.resources_mut();
    let mut limits = resources.limits_mut();
    for (name, amount) in &missing {
        limits.insert(name, amount);
    }
}

/// A pod that is limited as a whole asks for what its containers ask for, and for all that it is limited to of what they do not mention.
fn request_for_all(spec: &mut PodSpecEdit<'_>) {
    let view = spec.view();
    let Some(resources) = view.resources().filter(|resources| !resources.limits().is_empty()) else { return };
    let mut missing: BTreeMap<String, String> = in_all(view, Side::Requests)
        .into_iter()
        // Huge pages cannot be promised twice: their limit is what is asked for.
        .filter(|(name, _)| can_be_of_pod(name) && !is_huge_page(name))
        .map(|(name, amount)| (name.to_owned(), amount.to_string()))
        .collect();
    for (name, amount) in resources.limits().iter().filter(|(name, _)| can_be_of_pod(name)) {
        missing.entry(name.to_owned()).or_insert_with(|| amount.to_owned());
    }
    missing.retain(|name, _| resources.requests().get(name).is_none());
    if missing.is_empty() {
        return;
    }
    let mut resources = spec.resources_mut();
    let mut requests = resources.requests_mut();
    for (name, amount) in &missing {
        requests.insert(name, amount);
    }
}

fn has_free_port(container: Container<'_>) -> bool {
    container.ports().iter().any(|port| port.host_port() == 0)
}

/// On the host's network a container's port is the host's.
fn take_ports_of_host(mut container: ContainerEdit<'_>) {
    if !has_free_port(container.view()) {
        return;
    }
    container.ports_mut().each(|place| {
        let mut port = ContainerPortEdit::at(place);
        let number = port.view().container_port();
        if port.view().host_port() == 0 && number != 0 {
            port.set_host_port(number.into());
        }
    });
}

/// The single address and the list say the same: where they differ, the one that older nodes know counts.
fn agree_on_address(mut status: PodStatusEdit<'_>) {
    let view = status.view();
    let first = view.pod_ips().iter().next().map(|one| one.ip().to_owned());
    let single = view.pod_ip().to_owned();
    match first {
        Some(first) if single.is_empty() && !first.is_empty() => status.set_pod_ip(&first),
        Some(first) if first == single => {}
        None if single.is_empty() => {}
        _ => {
            status.clear_pod_ips();
            status.pod_ips_mut().push().set_ip(&single);
        }
    }
}
