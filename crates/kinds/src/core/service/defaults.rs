//! What a service takes when its client does not say (upstream: `apis/core/v1/defaults.go`, `SetDefaults_Service`).

use portcullis_model::tree::Tree;

use super::needs;
use crate::views::core_v1::{
    LoadBalancerIngress, LoadBalancerIngressEdit, Service, ServiceEdit, ServicePort, ServicePortEdit, ServiceSpec,
};
use crate::views::{self, Edit, IntOrString, View};

/// Clients are sent to any endpoint each time.
pub const AFFINITY_NONE: &str = "None";
/// A client's address keeps its endpoint.
pub const AFFINITY_CLIENT_IP: &str = "ClientIP";
/// How long a client's address keeps its endpoint: three hours.
const AFFINITY_SECONDS: i64 = 3 * 60 * 60;
/// Traffic of a load balancer's address arrives with that address, rather than with that of a node.
const MODE_VIP: &str = "VIP";

/// Gives a service all its defaults.
pub fn default(tree: &mut Tree) {
    of_spec(tree);
    of_ports(tree);
    of_status(tree);
}

fn of_spec(tree: &mut Tree) {
    let mut service: ServiceEdit<'_> = views::write(tree);
    let mut spec = service.spec_mut();
    if spec.view().session_affinity().is_empty() {
        spec.set_session_affinity(AFFINITY_NONE);
    }
    match spec.view().session_affinity() {
        AFFINITY_NONE => {
            spec.clear_session_affinity_config();
        }
        AFFINITY_CLIENT_IP if !has_affinity_seconds(spec.view()) => {
            spec.session_affinity_config_mut().client_ip_mut().set_timeout_seconds(AFFINITY_SECONDS);
        }
        _ => {}
    }
    if spec.view().type_().is_empty() {
        spec.set_type(needs::CLUSTER_IP);
    }
    let view = spec.view();
    let is_known = needs::HAVE_ADDRESSES.contains(&view.type_());
    let has_no_inner = is_known && view.internal_traffic_policy().is_none();
    let has_no_outer = needs::external_traffic_policy(view) && view.external_traffic_policy().is_empty();
    let says_nothing_of_ports = needs::load_balancer(view) && view.allocate_load_balancer_node_ports().is_none();
    if has_no_outer {
        spec.set_external_traffic_policy(needs::CLUSTER);
    }
    if has_no_inner {
        spec.set_internal_traffic_policy(needs::CLUSTER);
    }
    if says_nothing_of_ports {
        spec.set_allocate_load_balancer_node_ports(true);
    }
}

fn has_affinity_seconds(spec: ServiceSpec<'_>) -> bool {
    let config = spec.session_affinity_config().and_then(|config| config.client_ip());
    config.is_some_and(|config| config.timeout_seconds().is_some())
}

/// TCP, to the port of the same number.
fn of_ports(tree: &mut Tree) {
    if views::read::<Service<'_>>(tree).spec().ports().is_empty() {
        return;
    }
    views::write::<ServiceEdit<'_>>(tree).spec_mut().ports_mut().each(|place| {
        let given = ServicePort::at(place.view());
        let (port, has_protocol) = (given.port(), !given.protocol().is_empty());
        let has_target = !matches!(given.target_port(), IntOrString::Int(0) | IntOrString::String(""));
        let mut edit = ServicePortEdit::at(place);
        if !has_protocol {
            edit.set_protocol("TCP");
        }
        if !has_target {
            edit.set_target_port(IntOrString::Int(port));
        }
    });
}

/// An address of a load balancer has a mode (KEP-1860).
fn of_status(tree: &mut Tree) {
    let service: Service<'_> = views::read(tree);
    let lacks_mode = |one: LoadBalancerIngress<'_>| !one.ip().is_empty() && one.ip_mode().is_none();
    if !needs::load_balancer(service.spec()) || !service.status().load_balancer().ingress().iter().any(lacks_mode) {
        return;
    }
    views::write::<ServiceEdit<'_>>(tree).status_mut().load_balancer_mut().ingress_mut().each(|place| {
        if lacks_mode(LoadBalancerIngress::at(place.view())) {
            LoadBalancerIngressEdit::at(place).set_ip_mode(MODE_VIP);
        }
    });
}
