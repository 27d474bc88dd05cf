//! Ports of a service (upstream: `validateServicePort` and what `ValidateService` says of all ports together).

use std::collections::BTreeSet;

use portcullis_model::status::BadValue;

use super::needs;
use crate::views::core_v1::{ServicePort, ServiceSpec};
use crate::vocabulary::{Errors, Path, names, ports};

/// Where kubelets listen. A load balancer with this port opens that of the nodes with some providers.
const KUBELET_PORT: i32 = 10_250;

/// Each port by itself. One of several has a name.
pub fn each(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let needs_name = spec.ports().len() > 1;
    let mut known = BTreeSet::new();
    for (index, port) in spec.ports().iter().enumerate() {
        let at = at.index(index);
        let name = port.name();
        if !name.is_empty() {
            names::dns_label(name, &at.field("name"), errors);
            if needs_name && !known.insert(name) {
                errors.duplicate(&at.field("name"), name);
            }
        } else if needs_name {
            errors.required(&at.field("name"), "");
        }
        port.check_port(&at, errors);
        port.check_protocol(&at, errors);
        ports::number_or_name(port.target_port(), &at.field("targetPort"), errors);
        port.check_app_protocol(&at, errors);
    }
}

/// A load balancer leaves the port of kubelets alone.
pub fn spare_kubelets(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (index, _) in spec.ports().iter().enumerate().filter(|(_, port)| port.port() == KUBELET_PORT) {
        let why = "may not expose port 10250 externally since it is used by kubelet";
        errors.invalid(&at.index(index), i64::from(KUBELET_PORT), why);
    }
}

/// No two have the same protocol and the same number, inside and at the nodes. Only some types have ports of nodes.
pub fn are_distinct(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let has_node_port = |port: &ServicePort<'_>| port.node_port() != 0;
    if spec.type_() == needs::CLUSTER_IP {
        for (index, _) in spec.ports().iter().enumerate().filter(|(_, port)| has_node_port(port)) {
            errors.forbidden(&at.index(index).field("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    if spec.ports().len() < 2 {
        return;
    }
    let mut known = BTreeSet::new();
    for (index, port) in spec.ports().iter().enumerate().filter(|(_, port)| has_node_port(port)) {
        if !known.insert((port.protocol(), port.node_port())) {
            errors.duplicate(&at.index(index).field("nodePort"), i64::from(port.node_port()));
        }
    }
    known.clear();
    for (index, port) in spec.ports().iter().enumerate() {
        if !known.insert((port.protocol(), port.port())) {
            errors.duplicate(&at.index(index), told_apart_by(port));
        }
    }
}

/// What makes two ports the same, as upstream shows it: its whole internal type with nothing else in it.
fn told_apart_by(port: ServicePort<'_>) -> BadValue {
    let protocol = serde_json::Value::from(port.protocol());
    BadValue::Json(format!(
        r#"{{"Name":"","Protocol":{protocol},"AppProtocol":null,"Port":{},"TargetPort":0,"NodePort":0}}"#,
        port.port()
    ))
}
