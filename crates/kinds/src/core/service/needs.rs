//! What a service needs by what it is: an address, node ports, a port for health checks (upstream: the `needs*` functions of
//! `registry/core/service`, `apis/core/service/util.go`).

use crate::views::core_v1::ServiceSpec;

/// A virtual address inside of the cluster.
pub const CLUSTER_IP: &str = "ClusterIP";
/// A port on every node besides.
pub const NODE_PORT: &str = "NodePort";
/// A load balancer before the nodes besides.
pub const LOAD_BALANCER: &str = "LoadBalancer";
/// No address at all: a name somewhere else.
pub const EXTERNAL_NAME: &str = "ExternalName";
/// The types of services with addresses.
pub const HAVE_ADDRESSES: [&str; 3] = [CLUSTER_IP, NODE_PORT, LOAD_BALANCER];
/// In place of an address: clients are given those of the pods.
pub const HEADLESS: &str = "None";
/// A traffic policy: only endpoints of the same node.
pub const LOCAL: &str = "Local";
/// A traffic policy: all endpoints.
pub const CLUSTER: &str = "Cluster";

/// Whether a service of its type has an address, even if it is `None`. What is of no type at all is refused later and keeps its own.
#[must_use]
pub fn cluster_ip(spec: ServiceSpec<'_>) -> bool {
    spec.type_() != EXTERNAL_NAME
}

/// Whether it is given ports of the nodes.
#[must_use]
pub fn node_port(spec: ServiceSpec<'_>) -> bool {
    match spec.type_() {
        NODE_PORT => true,
        LOAD_BALANCER => spec.allocate_load_balancer_node_ports().unwrap_or(true),
        _ => false,
    }
}

/// Whether load balancers ask nodes if they have an endpoint, at a port of its own.
#[must_use]
pub fn health_check_node_port(spec: ServiceSpec<'_>) -> bool {
    load_balancer(spec) && spec.external_traffic_policy() == LOCAL
}

/// Whether traffic comes from outside of the cluster, which has a policy then.
#[must_use]
pub fn external_traffic_policy(spec: ServiceSpec<'_>) -> bool {
    match spec.type_() {
        NODE_PORT | LOAD_BALANCER => true,
        CLUSTER_IP => !spec.external_ips().is_empty(),
        _ => false,
    }
}

/// Whether load balancers are made for it.
#[must_use]
pub fn load_balancer(spec: ServiceSpec<'_>) -> bool {
    spec.type_() == LOAD_BALANCER
}

/// Whether it is headless.
#[must_use]
pub fn is_headless(spec: ServiceSpec<'_>) -> bool {
    spec.cluster_ip() == HEADLESS
}

/// Whether all that it has in place of addresses is that it is headless, as validation sees it.
#[must_use]
pub fn has_no_address_but_none(spec: ServiceSpec<'_>) -> bool {
    let addresses = spec.cluster_ips();
    addresses.len() == 1 && addresses.iter().all(|address| address == HEADLESS)
}
