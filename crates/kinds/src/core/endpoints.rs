//! `Endpoints` (upstream: `registry/core/endpoint`, `validateEndpoints`; deprecated for EndpointSlices, KEP-4974).
//!
//! Whoever may write endpoints says where a service leads: not to the machine that asks (CVE-2021-25737).

use std::fmt::Write as _;

use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Strategy, WARNINGS_MAX};
use crate::views::core_v1::{EndpointAddress, EndpointPort, EndpointPortEdit, EndpointSubset, EndpointSubsetEdit};
use crate::views::core_v1::{Endpoints, EndpointsEdit};
use crate::views::{self, Edit, List};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::network::{address, endpoint_address, warn_of_address};
use crate::vocabulary::{Errors, Path, names, number};

/// Addresses that a table shows before it counts them.
const SHOWN_MAX: usize = 3;
/// The protocol of a port that names none.
const PROTOCOL: &str = "TCP";
/// Whose endpoints they are, and who spells addresses as they should be.
const MANAGER_LABEL: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";

/// The rules of `Endpoints`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        put_creates: true,
        deprecated: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ..Rest::PLAIN
    },
    default,
    validate_create: validate,
    validate_update,
    warn_create: warn,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    cell,
    ..Strategy::NONE
};

fn default(tree: &mut Tree) {
    let subsets = views::read::<Endpoints<'_>>(tree).subsets();
    if !subsets.iter().any(|subset| subset.ports().iter().any(|port| port.protocol().is_empty())) {
        return;
    }
    let mut endpoints: EndpointsEdit<'_> = views::write(tree);
    endpoints.subsets_mut().each(|subset| {
        let mut subset = EndpointSubsetEdit::at(subset);
        if subset.view().ports().is_empty() {
            return;
        }
        subset.ports_mut().each(|port| {
            let mut port = EndpointPortEdit::at(port);
            if port.view().protocol().is_empty() {
                port.set_protocol(PROTOCOL);
            }
        });
    });
}

fn validate_update(tree: &Tree, old: &Tree, _: &str, errors: &mut Errors) {
    let mut found = Errors::new();
    validate(tree, &mut found);
    // What was let in once may stay, as long as nothing of it is changed. There may be much of it: compared only when something is wrong.
    let subsets = |of| views::read::<Endpoints<'_>>(of).place().get(Endpoints::SUBSETS);
    if !found.is_empty() && !is_same(subsets(tree), subsets(old)) {
        errors.extend(found.into_vec());
    }
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let list = Path::new("subsets");
    for (index, subset) in views::read::<Endpoints<'_>>(tree).subsets().iter().enumerate() {
        validate_subset(subset, &list.index(index), errors);
    }
}

fn validate_subset(subset: EndpointSubset<'_>, at: &Path<'_>, errors: &mut Errors) {
    if subset.addresses().is_empty() && subset.not_ready_addresses().is_empty() {
        errors.required(at, "must specify `addresses` or `notReadyAddresses`");
    }
    validate_addresses(subset.addresses(), &at.field("addresses"), errors);
    validate_addresses(subset.not_ready_addresses(), &at.field("notReadyAddresses"), errors);
    let (list, ports) = (at.field("ports"), subset.ports());
    for (index, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &list.index(index), errors);
    }
}

fn validate_addresses(list: List<'_, EndpointAddress<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, one) in list.iter().enumerate() {
        let at = at.index(index);
        address(one.ip(), &at.field("ip"), errors);
        one.check_hostname(&at, errors);
        one.check_node_name(&at, errors);
        endpoint_address(one.ip(), &at.field("ip"), errors);
    }
}

fn validate_port(port: EndpointPort<'_>, needs_name: bool, at: &Path<'_>, errors: &mut Errors) {
    if !port.name().is_empty() {
        names::dns_label(port.name(), &at.field("name"), errors);
    } else if needs_name {
        errors.required(&at.field("name"), "");
    }
    number::port(port.port().into(), &at.field("port"), errors);
    port.check_protocol(at, errors);
    port.check_app_protocol(at, errors);
}

fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let endpoints: Endpoints<'_> = views::read(tree);
    if endpoints.metadata().labels().get(MANAGER_LABEL) == Some(CONTROLLER) {
        return;
    }
    let list = Path::new("subsets");
    for (index, subset) in endpoints.subsets().iter().enumerate() {
        let at = list.index(index);
        for (field, addresses) in
            [("addresses", subset.addresses()), ("notReadyAddresses", subset.not_ready_addresses())]
        {
            let at = at.field(field);
            for (index, one) in addresses.iter().enumerate() {
                if warnings.len() > WARNINGS_MAX {
                    return;
                }
                warn_of_address(one.ip(), &at.index(index).field("ip"), warnings);
            }
        }
    }
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    let subsets = views::read::<Endpoints<'_>>(tree).subsets();
    (column == "Endpoints").then(|| Cell::Text(shown(subsets)))
}

/// The first addresses with their ports, and how many there are beyond.
fn shown(subsets: List<'_, EndpointSubset<'_>>) -> String {
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let (mut out, mut shown, mut count) = (String::new(), 0, 0);
    let mut show = |ip: &str, port: Option<i32>| {
        let comma = if shown > 0 { "," } else { "" };
        // Writing to a String cannot fail.
        let _ = match port {
            None => write!(out, "{comma}{ip}"),
            Some(port) if ip.contains(':') => write!(out, "{comma}[{ip}]:{port}"),
            Some(port) => write!(out, "{comma}{ip}:{port}"),
        };
        shown += 1;
        shown < SHOWN_MAX
    };
    let mut has_room = true;
    for subset in subsets.iter() {
        let (addresses, ports) = (subset.addresses(), subset.ports());
        count += addresses.len() * ports.len().max(1);
        if !has_room {
            continue;
        }
        if ports.is_empty() {
            has_room = addresses.iter().all(|one| show(one.ip(), None));
        } else {
            has_room = ports.iter().all(|port| addresses.iter().all(|one| show(one.ip(), Some(port.port()))));
        }
    }
    if count > SHOWN_MAX {
        let _ = write!(out, " + {} more...", count - SHOWN_MAX);
    }
    out
}

#[cfg(test)]
mod tests;
