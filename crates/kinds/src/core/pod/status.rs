//! What nodes and controllers may say of a pod (upstream: `ValidatePodStatusUpdate`; KEP-2837, KEP-3063, KEP-4680, KEP-5067).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portcullis_model::names;

use super::annotations;
use crate::views::core_v1::{
    Container, ContainerStatus, HostIP, Pod, PodCondition, PodExtendedResourceClaimStatus, PodIP, PodResourceClaim,
    PodResourceClaimStatus, PodSpec, PodStatus, ResourceStatus,
};
use crate::views::{At, List, shown};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::network::{address, sloppy, warn_of_address};
use crate::vocabulary::{Errors, Path};

/// Conditions that the system itself sets.
const SYSTEM_CONDITIONS: [&str; 3] = ["Initialized", "PodScheduled", "Ready"];
/// How a device can be.
const HEALTH: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
const ID_MAX: i64 = i32::MAX as i64;

const NOT_BACK: &str = "may not be transitioned to non-terminated state";
const ONE_EACH: &str = "may specify no more than one IP for each IP family";
const MUST_BE_CLAIM: &str = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                             'claim:<claimName>' if request is empty";

/// What is wrong with a pod that came through `/status`.
pub fn validate(new: Pod<'_>, old: Pod<'_>, errors: &mut Errors) {
    annotations::validate_update(new, old, errors);
    // Upstream says `metadata` here, where it means `status`.
    conditions(new.status().conditions(), &Path::new("metadata.conditions"), errors);
    let at = Path::new("status");
    let (spec, given, held) = (new.spec(), new.status(), old.status());
    if given.nominated_node_name() != held.nominated_node_name() && !given.nominated_node_name().is_empty() {
        let name = given.nominated_node_name();
        errors.complain(&at.field("nominatedNodeName"), name, names::dns1123_subdomain(name));
    }
    let class = PodStatus::QOS_CLASS;
    frozen(given.place().get(class), held.place().get(class), &at.field("qosClass"), errors);
    states(given, held, old.spec(), &at, errors);
    claims(given.resource_claim_statuses(), spec.resource_claims(), &at.field("resourceClaimStatuses"), errors);
    if let Some(status) = given.extended_resource_claim_status() {
        extended_claim(status, spec, &at.field("extendedResourceClaimStatus"), errors);
    }
    pod_addresses(given, held, &at.field("podIPs"), errors);
    host_addresses(given, held, &at.field("hostIPs"), errors);
    for (field, list) in lists(given) {
        users(list, spec, &at.field(field), errors);
    }
    no_devices(given.ephemeral_container_statuses(), &at.field("ephemeralContainerStatuses"), errors);
    devices(given.init_container_statuses(), spec.init_containers(), &at.field("initContainerStatuses"), errors);
    devices(given.container_statuses(), spec.containers(), &at.field("containerStatuses"), errors);
}

/// The statuses of containers, in upstream's order.
fn lists(status: PodStatus<'_>) -> [(&'static str, List<'_, ContainerStatus<'_>>); 3] {
    [
        ("containerStatuses", status.container_statuses()),
        ("initContainerStatuses", status.init_container_statuses()),
        ("ephemeralContainerStatuses", status.ephemeral_container_statuses()),
    ]
}

fn conditions(list: List<'_, PodCondition<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, condition) in list.iter().enumerate() {
        let name = condition.type_();
        if !SYSTEM_CONDITIONS.contains(&name) {
            errors.complain(&at.index(index).field("Type"), name, names::qualified_name(name));
        }
    }
}

/// A container that has ended, and that its policy does not start again, stays ended.
fn states(new: PodStatus<'_>, old: PodStatus<'_>, spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let restarts_all = spec.containers().iter().chain(spec.init_containers().iter()).any(restarts_all_containers);
    for ((field, new), (_, old)) in lists(new).into_iter().zip(lists(old)) {
        let containers = match field {
            "containerStatuses" => by_name(spec.containers()),
            "initContainerStatuses" => by_name(spec.init_containers()),
            _ => BTreeMap::new(),
        };
        let is_ephemeral = field == "ephemeralContainerStatuses";
        let alive: BTreeSet<&str> =
            new.iter().filter(|one| one.state().terminated().is_none()).map(ContainerStatus::name).collect();
        for (index, held) in old.iter().enumerate().filter(|(_, held)| alive.contains(held.name())) {
            let Some(ended) = held.state().terminated() else { continue };
            let container = containers.get(held.name()).copied();
            let may_start = !is_ephemeral && (restarts_all || may_start_again(spec, container, ended.exit_code()));
            if !may_start {
                errors.forbidden(&at.field(field).index(index).field("state"), NOT_BACK);
            }
        }
    }
}

fn by_name<'t>(list: List<'t, Container<'t>>) -> BTreeMap<&'t str, Container<'t>> {
    list.iter().map(|container| (container.name(), container)).collect()
}

fn restarts_all_containers(container: Container<'_>) -> bool {
    container.restart_policy_rules().iter().any(|rule| rule.action() == "RestartAllContainers")
}

/// Whether a container that ended so is started again: its own rules say, else its own policy, else the pod's.
fn may_start_again(spec: PodSpec<'_>, container: Option<Container<'_>>, exit_code: i32) -> bool {
    let by_policy = |policy: &str| policy == "Always" || policy == "OnFailure" && exit_code != 0;
    if by_policy(spec.restart_policy()) {
        return true;
    }
    let Some(container) = container else { return false };
    let is_meant = |values: List<'_, i32>| values.iter().any(|value| value == exit_code);
    let rule = container.restart_policy_rules().iter().any(|rule| {
        rule.exit_codes().is_some_and(|codes| match codes.operator() {
            "In" => is_meant(codes.values()),
            "NotIn" => !is_meant(codes.values()),
            _ => false,
        })
    });
    rule || container.restart_policy().is_some_and(by_policy)
}

/// Each claim is one of the pod's, once, and names an object.
fn claims(
    list: List<'_, PodResourceClaimStatus<'_>>,
    of_pod: List<'_, PodResourceClaim<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let known: BTreeSet<&str> = of_pod.iter().map(PodResourceClaim::name).collect();
    let mut met = BTreeSet::new();
    for (index, status) in list.iter().enumerate() {
        let at = at.index(index);
        let at = at.field("name");
        if !known.contains(status.name()) {
            errors.invalid(&at, status.name(), "must match the name of an entry in `spec.resourceClaims`");
        }
        if !met.insert(status.name()) {
            errors.duplicate(&at, status.name());
        }
        if let Some(name) = status.resource_claim_name() {
            errors.complain(&at, name, names::dns1123_subdomain(name));
        }
    }
}

/// The claim that the scheduler made for resources that are devices: which container's resource is which of its requests.
fn extended_claim(status: PodExtendedResourceClaimStatus<'_>, spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let name = status.resource_claim_name();
    errors.complain(&at.field("resourceClaimName"), name, names::dns1123_subdomain(name));
    if status.request_mappings().is_empty() {
        errors.required(&at.field("requestMappings"), "at least one request mapping is required");
    }
    let containers = by_name(spec.containers());
    let init_containers = by_name(spec.init_containers());
    let mut met = BTreeSet::new();
    for (index, mapping) in status.request_mappings().iter().enumerate() {
        let at = at.field("requestMappings");
        let at = at.index(index);
        let (container, resource) = (mapping.container_name(), mapping.resource_name());
        match containers.get(container).or_else(|| init_containers.get(container)) {
            None => {
                let why = "must match the name of an entry in `spec.initContainers.name` or `spec.containers.name`";
                errors.invalid(&at.field("containerName"), container, why);
            }
            Some(found) if found.resources().requests().get(resource).is_none() => {
                let why = "must match the resource name of an entry in the container's resource requests";
                errors.invalid(&at.field("resourceName"), resource, why);
            }
            Some(_) => {}
        }
        if !met.insert((container, resource, mapping.request_name())) {
            errors.duplicate(&at, shown(mapping.place()));
        }
    }
}

/// New addresses must be addresses; there is one of each family at most, and none twice.
fn pod_addresses(new: PodStatus<'_>, old: PodStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    let held: BTreeSet<&str> = old.pod_ips().iter().map(PodIP::ip).collect();
    let ips: Vec<_> = new.pod_ips().iter().map(|one| (one.ip(), one.place())).collect();
    known_or_right(&ips, &held, at, errors);
    if ips.len() > 1 {
        one_of_each_family(&ips, new.place().get(PodStatus::POD_IPS), at, errors);
        none_twice(&ips, at, errors);
    }
}

fn host_addresses(new: PodStatus<'_>, old: PodStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    let held: BTreeSet<&str> = old.host_ips().iter().map(HostIP::ip).collect();
    let ips: Vec<_> = new.host_ips().iter().map(|one| (one.ip(), one.place())).collect();
    let Some((first, _)) = ips.first() else { return };
    if new.host_ip() != *first {
        errors.invalid(&at.index(0).field("ip"), *first, "must be equal to `hostIP`");
    }
    known_or_right(&ips, &held, at, errors);
    if ips.len() > 1 {
        none_twice(&ips, at, errors);
        one_of_each_family(&ips, new.place().get(PodStatus::HOST_IPS), at, errors);
    }
}

/// An address, and the entry of the list that has it.
type Entry<'t> = (&'t str, At<'t>);

fn known_or_right(ips: &[Entry<'_>], held: &BTreeSet<&str>, at: &Path<'_>, errors: &mut Errors) {
    for (index, (ip, _)) in ips.iter().enumerate().filter(|(_, (ip, _))| !held.contains(ip)) {
        address(ip, &at.index(index), errors);
    }
}

fn one_of_each_family(ips: &[Entry<'_>], list: At<'_>, at: &Path<'_>, errors: &mut Errors) {
    let is_v6 = |(ip, _): &Entry<'_>| sloppy(ip).map(|ip| matches!(ip, IpAddr::V6(_)));
    let families: Vec<Option<bool>> = ips.iter().map(is_v6).collect();
    if let Some((bad, _)) = ips.iter().find(|entry| is_v6(entry).is_none()) {
        errors.internal(at, format!("failed to check for dual stack with error:invalid IP: {bad}"));
    }
    if !matches!(families.as_slice(), [Some(false), Some(true)] | [Some(true), Some(false)]) {
        errors.invalid(at, shown(list), ONE_EACH);
    }
}

fn none_twice(ips: &[Entry<'_>], at: &Path<'_>, errors: &mut Errors) {
    let mut met = BTreeSet::new();
    for (index, (ip, entry)) in ips.iter().enumerate() {
        if !met.insert(*ip) {
            errors.duplicate(&at.index(index), shown(*entry));
        }
    }
}

/// Who a container runs as is a user of its system.
fn users(list: List<'_, ContainerStatus<'_>>, spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let is_windows = spec.os().is_some_and(|os| os.name() == "windows");
    for (index, status) in list.iter().enumerate() {
        let Some(user) = status.user().and_then(|user| user.linux()) else { continue };
        let at = at.index(index);
        let at = at.field("linux");
        if is_windows {
            errors.forbidden(&at, "cannot be set for a windows pod");
            continue;
        }
        let mut check = |id: i64, at: &Path<'_>| {
            if !(0..=ID_MAX).contains(&id) {
                errors.invalid(at, id, format!("must be between 0 and {ID_MAX}, inclusive"));
            }
        };
        check(user.uid(), &at.field("uid"));
        check(user.gid(), &at.field("gid"));
        for (index, group) in user.supplemental_groups().iter().enumerate() {
            check(group, &at.field("supplementalGroups").index(index));
        }
    }
}

fn no_devices(list: List<'_, ContainerStatus<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, status) in list.iter().enumerate() {
        if !status.allocated_resources_status().is_empty() {
            errors.forbidden(
                &at.index(index).field("allocatedResourcesStatus"),
                "must not be specified in container status",
            );
        }
    }
}

/// What is told of a container's devices is told of those that it asked for.
fn devices(
    list: List<'_, ContainerStatus<'_>>,
    containers: List<'_, Container<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    if list.iter().all(|status| status.allocated_resources_status().is_empty()) {
        return;
    }
    let containers = by_name(containers);
    for (index, status) in list.iter().enumerate() {
        let at = at.index(index);
        for (index, resource) in status.allocated_resources_status().iter().enumerate() {
            let at = at.field("allocatedResourcesStatus");
            let at = at.index(index);
            // A container that is not there any more may still be told of.
            if let Some(container) = containers.get(status.name()) {
                is_asked_for(resource.name(), *container, &at.field("name"), errors);
            }
            healths(resource, &at.field("resources"), errors);
        }
    }
}

fn is_asked_for(name: &str, container: Container<'_>, at: &Path<'_>, errors: &mut Errors) {
    let resources = container.resources();
    if let Some(claim) = name.strip_prefix("claim:") {
        let is_it = |held: &str, request: &str| match claim.strip_prefix(held) {
            Some("") => request.is_empty(),
            Some(rest) => !request.is_empty() && rest.strip_prefix('/') == Some(request),
            None => false,
        };
        if !resources.claims().iter().any(|held| is_it(held.name(), held.request())) {
            errors.invalid(at, name, MUST_BE_CLAIM);
        }
    } else if resources.requests().get(name).is_none() {
        errors.invalid(at, name, "must match one of the container's resource requests");
    }
}

fn healths(resource: ResourceStatus<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut met = BTreeSet::new();
    for (index, one) in resource.resources().iter().enumerate() {
        let at = at.index(index);
        if !HEALTH.contains(&one.health()) {
            errors.not_supported(&at.field("health"), one.health(), HEALTH);
        }
        if !met.insert(one.resource_id()) {
            errors.duplicate(&at.field("resourceID"), one.resource_id());
        }
    }
}

/// What the client should be told of addresses that it wrote.
pub fn warn(status: PodStatus<'_>, warnings: &mut Vec<String>) {
    let at = Path::new("status");
    for (index, one) in status.pod_ips().iter().enumerate() {
        warn_of_address(one.ip(), &at.field("podIPs").index(index).field("ip"), warnings);
    }
    for (index, one) in status.host_ips().iter().enumerate() {
        warn_of_address(one.ip(), &at.field("hostIPs").index(index).field("ip"), warnings);
    }
}
