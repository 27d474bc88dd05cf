//! What a service costs (upstream: `evaluator/core/services.go`): its place, the ports of nodes and the load balancer that it takes.

use portcullis_model::tree::Tree;

use super::{Usage, count, count_of, is_count_of, one};
use crate::views;
use crate::views::core_v1::Service;

const SERVICES: &str = "services";
const NODE_PORTS: &str = "services.nodeports";
const LOAD_BALANCERS: &str = "services.loadbalancers";

/// Whether a service can cost any of this.
#[must_use]
pub fn costs(name: &str) -> bool {
    matches!(name, SERVICES | NODE_PORTS | LOAD_BALANCERS) || is_count_of(name, "", SERVICES)
}

/// What a service costs.
#[must_use]
pub fn usage(object: &Tree) -> Usage {
    let spec = views::read::<Service<'_>>(object).spec();
    let ports = spec.ports();
    let (node_ports, load_balancers) = match spec.type_() {
        "NodePort" => (ports.len(), 0),
        // One that asks for none may still have been given some.
        "LoadBalancer" if spec.allocate_load_balancer_node_ports() == Some(false) => {
            (ports.iter().filter(|port| port.node_port() != 0).count(), 1)
        }
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    Usage::from([
        (count_of("", SERVICES), one()),
        (SERVICES.to_owned(), one()),
        (NODE_PORTS.to_owned(), count(i64::try_from(node_ports).unwrap_or(i64::MAX))),
        (LOAD_BALANCERS.to_owned(), count(load_balancers)),
    ])
}
