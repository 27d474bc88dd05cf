//! `EndpointSlice` (upstream: `registry/discovery/endpointslice`, `apis/discovery/validation`; KEP-752, hints KEP-2433 and KEP-3015).
//!
//! Whoever may write slices says where a service leads: not to the machine that asks (CVE-2021-25737).

use std::collections::BTreeSet;

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Column, Strategy, WARNINGS_MAX};
use crate::views::discovery_v1::{
    Endpoint, EndpointEdit, EndpointHints, EndpointPort, EndpointPortEdit, EndpointSlice, EndpointSliceEdit,
};
use crate::views::{self, Edit, List};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::network::{address, endpoint_address, sloppy, warn_of_address};
use crate::vocabulary::{Errors, Path, labels, names};

/// Most endpoints of a slice.
const ENDPOINTS_MAX: usize = 1_000;
/// Most addresses of an endpoint.
const ADDRESSES_MAX: usize = 100;
/// Most ports of a slice.
const PORTS_MAX: usize = 100;
/// Most labels of the place of an endpoint.
const TOPOLOGY_MAX: usize = 16;
/// Most zones, and most nodes, that are told to prefer an endpoint.
const HINTS_MAX: usize = 8;
/// Ports and addresses that a table shows before it counts them.
const SHOWN_MAX: usize = 3;

/// The protocol of a port that names none.
const PROTOCOL: &str = "TCP";
/// Domains as addresses.
const FQDN: &str = "FQDN";
/// How the node was named before there was a field for it.
const NODE_LABEL: &str = "kubernetes.io/hostname";
/// Whose slice it is, and who spells addresses as they should be.
const MANAGER_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// The rules of `EndpointSlice`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, labels_count: true, update_checks_changes_once: true, ..Rest::PLAIN },
    default,
    prepare_create: |tree, _| drop_topology(tree, None),
    validate_create: validate,
    warn_create,
    prepare_update: |tree, old, _, _| drop_topology(tree, Some(old)),
    validate_update,
    warn_update: |tree, _, _, warnings| warn_of_addresses(views::read(tree), warnings),
    columns: &[("AddressType", Column::Field("addressType", r#""""#))],
    cell,
    ..Strategy::NONE
};

fn default(tree: &mut Tree) {
    let ports = views::read::<EndpointSlice<'_>>(tree).ports();
    if ports.iter().all(|port| port.name().is_some() && port.protocol().is_some()) {
        return;
    }
    let mut slice: EndpointSliceEdit<'_> = views::write(tree);
    slice.ports_mut().each(|port| {
        let mut port = EndpointPortEdit::at(port);
        if port.view().name().is_none() {
            port.set_name("");
        }
        if port.view().protocol().is_none() {
            port.set_protocol(PROTOCOL);
        }
    });
}

/// Where endpoints are is said in fields of their own: what of the older map is new goes. A node that only the map names, and named
/// before, is put where it belongs.
fn drop_topology(tree: &mut Tree, old: Option<&Tree>) {
    let slice: EndpointSlice<'_> = views::read(tree);
    if slice.endpoints().iter().all(|endpoint| endpoint.deprecated_topology().is_empty()) {
        return;
    }
    let old = old.map(views::read::<EndpointSlice<'_>>);
    let is_as_before = |old: EndpointSlice<'_>| {
        let (new, old) = (slice.place(), old.place());
        is_same(new.get(EndpointSlice::ENDPOINTS), old.get(EndpointSlice::ENDPOINTS))
    };
    if old.is_some_and(is_as_before) {
        return;
    }
    let old_endpoints = old.into_iter().flat_map(|old| old.endpoints().iter());
    let known: BTreeSet<&str> = old_endpoints.filter_map(|one| one.deprecated_topology().get(NODE_LABEL)).collect();
    let mut slice: EndpointSliceEdit<'_> = views::write(tree);
    slice.endpoints_mut().each(|endpoint| {
        let mut endpoint = EndpointEdit::at(endpoint);
        let node = endpoint.view().deprecated_topology().get(NODE_LABEL).filter(|node| known.contains(node));
        if let Some(node) = node.map(str::to_owned)
            && endpoint.view().node_name().is_none()
            && portcullis_model::names::dns1123_subdomain(&node).is_empty()
        {
            endpoint.set_node_name(&node);
        }
        endpoint.clear_deprecated_topology();
    });
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    validate(tree, errors);
    let (new, old): (EndpointSlice<'_>, EndpointSlice<'_>) = (views::read(tree), views::read(old));
    new.check_frozen_address_type(old, &Path::ROOT, errors);
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let slice: EndpointSlice<'_> = views::read(tree);
    slice.check_address_type(&Path::ROOT, errors);
    let (at, endpoints) = (Path::new("endpoints"), slice.endpoints());
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many(&at, endpoints.len(), ENDPOINTS_MAX);
    } else {
        for (index, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, slice.address_type(), &at.index(index), errors);
        }
    }
    validate_ports(slice.ports(), &Path::new("ports"), errors);
}

fn validate_endpoint(endpoint: Endpoint<'_>, address_type: &str, above: &Path<'_>, errors: &mut Errors) {
    let (at, addresses) = (above.field("addresses"), endpoint.addresses());
    if addresses.is_empty() {
        errors.required(&at, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES_MAX {
        errors.too_many(&at, addresses.len(), ADDRESSES_MAX);
    }
    for (index, one) in addresses.iter().enumerate() {
        validate_address(one, address_type, &at.index(index), errors);
    }
    endpoint.check_node_name(above, errors);
    let (at, topology) = (above.field("deprecatedTopology"), endpoint.deprecated_topology());
    if topology.len() > TOPOLOGY_MAX {
        errors.too_many(&at, topology.len(), TOPOLOGY_MAX);
    }
    labels::labels(topology, &at, errors);
    endpoint.check_hostname(above, errors);
    if let Some(hints) = endpoint.hints() {
        validate_hints(hints, &above.field("hints"), errors);
    }
}

/// An address of the slice's type. Those of a type that there is not are not looked at.
fn validate_address(value: &str, address_type: &str, at: &Path<'_>, errors: &mut Errors) {
    let wants_v6 = match address_type {
        "IPv4" => false,
        "IPv6" => true,
        FQDN => return names::fully_qualified_domain(value, at, errors),
        _ => return,
    };
    let before = errors.len();
    address(value, at, errors);
    if errors.len() > before {
        return;
    }
    if sloppy(value).is_some_and(|address| address.is_ipv6() != wants_v6) {
        errors.invalid(at, value, if wants_v6 { "must be an IPv6 address" } else { "must be an IPv4 address" });
    }
    endpoint_address(value, at, errors);
}

fn validate_hints(hints: EndpointHints<'_>, above: &Path<'_>, errors: &mut Errors) {
    let zones = hints.for_zones().iter().map(|zone| zone.name());
    validate_hinted(zones, hints.for_zones().len(), names::label_value, &above.field("forZones"), errors);
    let nodes = hints.for_nodes().iter().map(|node| node.name());
    validate_hinted(nodes, hints.for_nodes().len(), names::dns_subdomain, &above.field("forNodes"), errors);
}

/// Each is named once, as such things are named.
fn validate_hinted<'t>(
    list: impl Iterator<Item = &'t str>,
    count: usize,
    rule: fn(&str, &Path<'_>, &mut Errors),
    at: &Path<'_>,
    errors: &mut Errors,
) {
    if count > HINTS_MAX {
        errors.too_many(at, count, HINTS_MAX);
        return;
    }
    let mut seen = Vec::with_capacity(count);
    for (index, name) in list.enumerate() {
        let at = at.index(index);
        let at = at.field("name");
        if seen.contains(&name) {
            errors.duplicate(&at, name);
        }
        seen.push(name);
        rule(name, &at, errors);
    }
}

fn validate_ports(ports: List<'_, EndpointPort<'_>>, at: &Path<'_>, errors: &mut Errors) {
    if ports.len() > PORTS_MAX {
        errors.too_many(at, ports.len(), PORTS_MAX);
        return;
    }
    let mut seen = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let (at, name) = (at.index(index), port.name().unwrap_or_default());
        if !name.is_empty() {
            names::dns_label(name, &at.field("name"), errors);
        }
        if seen.contains(&name) {
            errors.duplicate(&at.field("name"), name);
        }
        seen.push(name);
        port.check_protocol(&at, errors);
        port.check_app_protocol(&at, errors);
    }
}

fn warn_create(tree: &Tree, warnings: &mut Vec<String>) {
    let slice: EndpointSlice<'_> = views::read(tree);
    if slice.address_type() == FQDN {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    warn_of_addresses(slice, warnings);
}

fn warn_of_addresses(slice: EndpointSlice<'_>, warnings: &mut Vec<String>) {
    let manager = slice.metadata().labels().get(MANAGER_LABEL);
    if manager.is_some_and(|manager| CONTROLLERS.contains(&manager)) {
        return;
    }
    let list = Path::new("endpoints");
    for (index, endpoint) in slice.endpoints().iter().enumerate() {
        let at = list.index(index);
        let at = at.field("addresses");
        for (index, one) in endpoint.addresses().iter().enumerate() {
            if warnings.len() > WARNINGS_MAX {
                return;
            }
            warn_of_address(one, &at.index(index), warnings);
        }
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let slice: EndpointSlice<'_> = views::read(tree);
    Some(Cell::Text(match column {
        "Ports" => shown(slice.ports().iter().map(|port| match port.port() {
            Some(number) => number.to_string(),
            None => port.name().unwrap_or("*").to_owned(),
        })),
        "Endpoints" => {
            let addresses = slice.endpoints().iter().flat_map(|endpoint| endpoint.addresses().iter());
            shown(addresses.map(str::to_owned))
        }
        _ => return None,
    }))
}

/// The first of them, and how many there are beyond.
fn shown(mut list: impl Iterator<Item = String>) -> String {
    let shown = list.by_ref().take(SHOWN_MAX).collect::<Vec<_>>().join(",");
    match list.count() {
        0 if shown.is_empty() => "<unset>".to_owned(),
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests;
