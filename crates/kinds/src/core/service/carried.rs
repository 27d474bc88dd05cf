//! What an update of a service carries over from what is stored, and what it drops because another type has no use for it (upstream:
//! `patchAllocatedValues`, `normalizeClusterIPs`, `dropTypeDependentFields`).
//!
//! Clients write services without the addresses and ports that they were given: what they leave out stays as it is. What they change is
//! never put back, so that validation can refuse it.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::tree::Tree;

use super::needs;
use crate::views::core_v1::{Service, ServiceEdit, ServicePort, ServicePortEdit, ServiceSpec};
use crate::views::{self, Edit, List, View};

/// Whether two lists have the same texts in the same order.
#[must_use]
pub fn are_same(new: List<'_, &str>, old: List<'_, &str>) -> bool {
    new.len() == old.len() && new.iter().eq(old.iter())
}

/// Gives a service the address and ports that it has, as far as its client says nothing about them.
pub(super) fn keep_allocated(tree: &mut Tree, old: &Tree) {
    keep_addresses(tree, old);
    keep_node_ports(tree, old);
    let (new, held) = both(tree, old);
    if needs::health_check_node_port(new) && needs::health_check_node_port(held) && new.health_check_node_port() == 0 {
        keep(tree, old, ServiceSpec::HEALTH_CHECK_NODE_PORT);
    }
}

fn keep_addresses(tree: &mut Tree, old: &Tree) {
    let (new, held) = both(tree, old);
    if !needs::cluster_ip(new) || !needs::cluster_ip(held) {
        return;
    }
    let keeps_one = new.cluster_ip().is_empty();
    let keeps_all = new.cluster_ips().is_empty() && (keeps_one || new.cluster_ip() == held.cluster_ip());
    if keeps_one {
        keep(tree, old, ServiceSpec::CLUSTER_IP);
    }
    if keeps_all {
        keep(tree, old, ServiceSpec::CLUSTER_IPS);
    }
}

/// Ports are told apart by their names: two of one name get the same, and are refused for it.
fn keep_node_ports(tree: &mut Tree, old: &Tree) {
    let (new, held) = both(tree, old);
    if !needs::node_port(new) || !needs::node_port(held) || new.ports().iter().all(|port| port.node_port() != 0) {
        return;
    }
    let given: BTreeSet<i32> = new.ports().iter().map(ServicePort::node_port).filter(|port| *port != 0).collect();
    let used: BTreeSet<i32> =
        held.ports().iter().map(ServicePort::node_port).filter(|port| given.contains(port)).collect();
    let by_name: BTreeMap<&str, i32> = held.ports().iter().map(|port| (port.name(), port.node_port())).collect();
    let mut kept = Vec::with_capacity(new.ports().len());
    for port in new.ports().iter() {
        let before = by_name.get(port.name()).copied().unwrap_or_default();
        let keeps = port.node_port() == 0 && !used.contains(&before);
        kept.push(if keeps { before } else { 0 });
    }
    let mut kept = kept.into_iter();
    views::write::<ServiceEdit<'_>>(tree).spec_mut().ports_mut().each(|place| {
        if let Some(port @ 1..) = kept.next() {
            ServicePortEdit::at(place).set_node_port(port.into());
        }
    });
}

/// Makes `clusterIPs` of `clusterIP` for clients that know only the older field.
pub(super) fn pair_addresses(tree: &mut Tree, old: Option<&Tree>) {
    let Some(old) = old else {
        let new = spec(tree);
        if !new.cluster_ip().is_empty() && new.cluster_ips().is_empty() {
            set_addresses_to_one(tree);
        }
        return;
    };
    let (new, held) = both(tree, old);
    let is_same_one = new.cluster_ip() == held.cluster_ip();
    let are_same = new.cluster_ips().is_empty() || are_same(new.cluster_ips(), held.cluster_ips());
    if is_same_one && new.cluster_ips().is_empty() {
        keep(tree, old, ServiceSpec::CLUSTER_IPS);
    } else if !is_same_one && are_same && new.cluster_ip().is_empty() {
        views::write::<ServiceEdit<'_>>(tree).spec_mut().clear_cluster_ips();
    } else if !is_same_one && are_same {
        set_addresses_to_one(tree);
    }
}

fn set_addresses_to_one(tree: &mut Tree) {
    let one = spec(tree).cluster_ip().to_owned();
    let mut service: ServiceEdit<'_> = views::write(tree);
    let mut spec = service.spec_mut();
    spec.clear_cluster_ips();
    spec.cluster_ips_mut().push_text(&one);
}

/// Drops what a service was given or took by default and has no use for as what it now is, unless its client changes it at the same time.
pub(super) fn drop_dependent(tree: &mut Tree, old: &Tree) {
    let dropped = Dropped::of(tree, old);
    let mut service: ServiceEdit<'_> = views::write(tree);
    let mut spec = service.spec_mut();
    for field in &dropped.fields {
        spec.place().keep(*field, views::At::node(old, None));
    }
    if dropped.node_ports {
        spec.ports_mut().each(|place| {
            ServicePortEdit::at(place).clear_node_port();
        });
    }
}

/// What is to be dropped.
struct Dropped {
    fields: Vec<views::Field>,
    node_ports: bool,
}

impl Dropped {
    fn of(tree: &Tree, old: &Tree) -> Dropped {
        let (new, held) = both(tree, old);
        let mut fields = Vec::new();
        let ends = |need: fn(ServiceSpec<'_>) -> bool| need(held) && !need(new);
        if ends(needs::cluster_ip) {
            if are_same(new.cluster_ips(), held.cluster_ips()) {
                fields.extend([ServiceSpec::CLUSTER_IP, ServiceSpec::CLUSTER_IPS]);
            }
            if are_same(new.ip_families(), held.ip_families()) {
                fields.push(ServiceSpec::IP_FAMILIES);
            }
            if new.ip_family_policy() == held.ip_family_policy() {
                fields.push(ServiceSpec::IP_FAMILY_POLICY);
            }
        }
        let node_ports = ends(needs::node_port) && has_same_node_ports(new, held);
        if ends(needs::health_check_node_port) && new.health_check_node_port() == held.health_check_node_port() {
            fields.push(ServiceSpec::HEALTH_CHECK_NODE_PORT);
        }
        if ends(needs::load_balancer) {
            if new.allocate_load_balancer_node_ports() == held.allocate_load_balancer_node_ports() {
                fields.push(ServiceSpec::ALLOCATE_LOAD_BALANCER_NODE_PORTS);
            }
            if new.load_balancer_class() == held.load_balancer_class() {
                fields.push(ServiceSpec::LOAD_BALANCER_CLASS);
            }
        }
        if ends(needs::external_traffic_policy) && new.external_traffic_policy() == held.external_traffic_policy() {
            fields.push(ServiceSpec::EXTERNAL_TRAFFIC_POLICY);
        }
        Dropped { fields, node_ports }
    }
}

/// Whether two services have the same node ports, in whatever order.
fn has_same_node_ports(new: ServiceSpec<'_>, old: ServiceSpec<'_>) -> bool {
    let of = |spec: ServiceSpec<'_>| -> BTreeSet<i32> {
        spec.ports().iter().map(ServicePort::node_port).filter(|port| *port != 0).collect()
    };
    of(new) == of(old)
}

fn spec(tree: &Tree) -> ServiceSpec<'_> {
    Service::at(views::At::root(tree)).spec()
}

fn both<'a>(tree: &'a Tree, old: &'a Tree) -> (ServiceSpec<'a>, ServiceSpec<'a>) {
    (spec(tree), spec(old))
}

/// Copies a field of the old spec.
fn keep(tree: &mut Tree, old: &Tree, field: views::Field) {
    views::write::<ServiceEdit<'_>>(tree).spec_mut().place().keep(field, spec(old).place());
}
