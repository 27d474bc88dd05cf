//! Ports of containers (upstream: `validateContainerPorts`, `checkHostPortConflicts`, `validatePodHostNetworkDeps`).

use std::collections::BTreeSet;

use super::super::Context;
use crate::views::List;
use crate::views::core_v1::{Container, ContainerPort, PodSpec};
use crate::vocabulary::{Errors, Path, number, ports};

/// Each port by itself, and no two of one name.
pub(super) fn validate(list: List<'_, ContainerPort<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in list.iter().enumerate() {
        let at = at.index(index);
        let name = port.name();
        if !name.is_empty() && ports::name(name, &at.field("name"), errors) && !names.insert(name) {
            errors.duplicate(&at.field("name"), name);
        }
        match port.container_port() {
            0 => errors.required(&at.field("containerPort"), ""),
            value => number::port(value.into(), &at.field("containerPort"), errors),
        }
        if port.host_port() != 0 {
            number::port(port.host_port().into(), &at.field("hostPort"), errors);
        }
        port.check_protocol(&at, errors);
    }
}

/// No two ports take the same port of the host. `at` is where the containers stand.
pub(super) fn host_ports_are_apart<'a>(
    containers: impl Iterator<Item = Container<'a>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let mut taken = BTreeSet::new();
    for (index, container) in containers.enumerate() {
        for (number, port) in container.ports().iter().enumerate() {
            let host_port = port.host_port();
            if host_port != 0 && !taken.insert((port.protocol(), port.host_ip(), host_port)) {
                let shown = format!("{}/{}/{host_port}", port.protocol(), port.host_ip());
                errors.duplicate(&at.index(index).field("ports").index(number).field("hostPort"), shown);
            }
        }
    }
}

/// On the host's network a port is the host's. A template may leave it open: it is filled in when a pod is made of it.
pub fn validate_host_network(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !spec.host_network() {
        return;
    }
    let at = at.field("containers");
    for (index, container) in spec.containers().iter().enumerate() {
        for (number, port) in container.ports().iter().enumerate() {
            let is_open = context.is_template && port.host_port() == 0;
            if !is_open && port.host_port() != port.container_port() {
                let why = "must match `containerPort` when `hostNetwork` is true";
                let at = at.index(index);
                errors.invalid(&at.field("ports").index(number).field("hostPort"), port.host_port(), why);
            }
        }
    }
}
