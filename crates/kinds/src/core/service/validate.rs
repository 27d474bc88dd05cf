//! What a service may say (upstream: `ValidateService`).

use portcullis_model::tree::Tree;

use super::addresses::{self, Held};
use super::defaults::{AFFINITY_CLIENT_IP, AFFINITY_NONE};
use super::{needs, ports};
use crate::views;
use crate::views::core_v1::{Service, ServiceSpec};
use crate::vocabulary::{Errors, Path, labels, names, network};

/// Ranges of clients, as they were given before there was a field.
pub const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// Whether clients stay in their zone.
pub const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
/// The same by its former name.
pub const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";

const FOR_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const NOT_FOR_NAMES: &str = "may not be set for ExternalName services";
/// Longest time for which a client keeps its endpoint: a day.
const AFFINITY_SECONDS_MAX: i32 = 86_400;

/// Checks a service, and what is new in it when it replaces another.
pub fn validate(tree: &Tree, old: Option<&Tree>, errors: &mut Errors) {
    let service: Service<'_> = views::read(tree);
    let old: Option<Service<'_>> = old.map(views::read);
    let (spec, at) = (service.spec(), Path::new("spec"));
    topology(service, errors);
    if spec.ports().is_empty() && !needs::has_no_address_but_none(spec) && needs::cluster_ip(spec) {
        errors.required(&at.field("ports"), "");
    }
    fits_type(spec, &at, errors);
    ports::each(spec, &at.field("ports"), errors);
    labels::labels(spec.selector(), &at.field("selector"), errors);
    affinity(spec, &at, errors);
    addresses::related(spec, old.map(Service::spec), &at, errors);
    external_addresses(spec, old.map(Service::spec), &at, errors);
    spec.check_type(&at, errors);
    ports::are_distinct(spec, &at.field("ports"), errors);
    source_ranges(service, old, errors);
    load_balancer(spec, &at, errors);
    outer_traffic(spec, &at, errors);
    // Services of a name were once given a policy that they have no use for: it is not forbidden.
    if spec.internal_traffic_policy().is_none() && needs::HAVE_ADDRESSES.contains(&spec.type_()) {
        errors.required(&at.field("internalTrafficPolicy"), "");
    }
    spec.check_internal_traffic_policy(&at, errors);
    spec.check_traffic_distribution(&at, errors);
}

/// Both names of one annotation say the same.
fn topology(service: Service<'_>, errors: &mut Errors) {
    let annotations = service.metadata().annotations();
    if let (Some(mode), Some(hints)) = (annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.invalid(&Path::new("metadata.annotations").key(TOPOLOGY_MODE), mode, why);
    }
}

/// What a type has no use for.
fn fits_type(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let headless = |what: &str, errors: &mut Errors| {
        if needs::has_no_address_but_none(spec) {
            let why = format!("may not be set to 'None' for {what} services");
            errors.invalid(&at.field("clusterIPs").index(0), needs::HEADLESS, why);
        }
    };
    match spec.type_() {
        needs::LOAD_BALANCER => {
            ports::spare_kubelets(spec, &at.field("ports"), errors);
            headless(needs::LOAD_BALANCER, errors);
        }
        needs::NODE_PORT => headless(needs::NODE_PORT, errors),
        needs::EXTERNAL_NAME => external_name(spec, at, errors),
        _ => {}
    }
}

fn external_name(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !spec.cluster_ips().is_empty() {
        errors.forbidden(&at.field("clusterIPs"), NOT_FOR_NAMES);
    }
    if !spec.ip_families().is_empty() {
        errors.forbidden(&at.field("ipFamilies"), NOT_FOR_NAMES);
    }
    if spec.ip_family_policy().is_some() {
        errors.forbidden(&at.field("ipFamilyPolicy"), NOT_FOR_NAMES);
    }
    // With a dot at its end the name is complete, without one a resolver may try its search domains.
    match spec.external_name().strip_suffix('.').unwrap_or(spec.external_name()) {
        "" => errors.required(&at.field("externalName"), ""),
        name => names::dns_subdomain(name, &at.field("externalName"), errors),
    }
}

fn affinity(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    spec.check_session_affinity(at, errors);
    let config = spec.session_affinity_config();
    let at = at.field("sessionAffinityConfig");
    match spec.session_affinity() {
        AFFINITY_CLIENT_IP => {
            let client = config.and_then(|config| config.client_ip());
            let missing = "when session affinity type is ClientIP";
            match client.map(|client| client.timeout_seconds()) {
                None if config.is_none() => errors.required(&at, missing),
                None => errors.required(&at.field("clientIP"), missing),
                Some(None) => errors.required(&at.field("clientIP.timeoutSeconds"), missing),
                Some(Some(1..=AFFINITY_SECONDS_MAX)) => {}
                Some(Some(seconds)) => {
                    let why = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
                    errors.invalid(&at.field("clientIP.timeoutSeconds"), i64::from(seconds), why);
                }
            }
        }
        AFFINITY_NONE if config.is_some() => {
            errors.forbidden(&at, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

/// Addresses whose traffic the cluster takes for the service must not be the machine's own.
fn external_addresses(spec: ServiceSpec<'_>, old: Option<ServiceSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.field("externalIPs");
    let mut held = Held::of(|| old.into_iter().flat_map(|old| old.external_ips().iter()));
    for (index, address) in spec.external_ips().iter().enumerate() {
        let at = at.index(index);
        if held.unless(address, errors, |errors| network::address(address, &at, errors)) {
            network::endpoint_address(address, &at, errors);
        }
    }
}

/// Who may use the load balancer: the field, or the annotation before it. Space around a range is not minded.
fn source_ranges(service: Service<'_>, old: Option<Service<'_>>, errors: &mut Errors) {
    let spec = service.spec();
    let is_misplaced = !needs::load_balancer(spec);
    if !spec.load_balancer_source_ranges().is_empty() {
        // The capital is how upstream has always called the field here.
        let at = Path::new("spec.LoadBalancerSourceRanges");
        if is_misplaced {
            errors.forbidden(&at, FOR_BALANCERS);
        }
        let mut held = Held::of(|| old.into_iter().flat_map(|old| old.spec().load_balancer_source_ranges().iter()));
        for (index, range) in spec.load_balancer_source_ranges().iter().enumerate() {
            let range = range.trim();
            held.unless(range, errors, |errors| network::range(range, &at.index(index), errors));
        }
        return;
    }
    let Some(given) = service.metadata().annotations().get(SOURCE_RANGES) else { return };
    let above = Path::new("metadata.annotations");
    let at = above.key(SOURCE_RANGES);
    if is_misplaced {
        errors.forbidden(&at, FOR_BALANCERS);
    }
    let held = old.and_then(|old| old.metadata().annotations().get(SOURCE_RANGES));
    if held != Some(given) && !given.trim().is_empty() {
        for range in given.trim().split(',') {
            network::range(range.trim(), &at, errors);
        }
    }
}

fn load_balancer(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let gives_ports = spec.allocate_load_balancer_node_ports();
    if gives_ports.is_some() && !needs::load_balancer(spec) {
        errors.forbidden(&at.field("allocateLoadBalancerNodePorts"), FOR_BALANCERS);
    }
    if gives_ports.is_none() && needs::load_balancer(spec) {
        errors.required(&Path::new("allocateLoadBalancerNodePorts"), "");
    }
    load_balancer_class(spec, at, errors);
}

/// The implementation of load balancers that is to serve it (KEP-1959).
pub(super) fn load_balancer_class(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if needs::load_balancer(spec) {
        spec.check_load_balancer_class(at, errors);
    } else if spec.load_balancer_class().is_some() {
        errors.forbidden(&at.field("loadBalancerClass"), FOR_BALANCERS);
    }
}

fn outer_traffic(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if needs::external_traffic_policy(spec) {
        spec.check_external_traffic_policy(at, errors);
    } else if !spec.external_traffic_policy().is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.invalid(&at.field("externalTrafficPolicy"), spec.external_traffic_policy(), why);
    }
    let (port, at_port) = (spec.health_check_node_port(), at.field("healthCheckNodePort"));
    match (needs::health_check_node_port(spec), port) {
        (true, 0) => errors.required(&at_port, ""),
        (true, _) => spec.check_health_check_node_port(at, errors),
        (false, 0) => {}
        (false, _) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&at_port, i64::from(port), why);
        }
    }
}
