//! `Node` (upstream: `registry/core/node`, `apis/core/validation`, `apis/core/v1/defaults.go` and `conversion.go`).
//!
//! A kubelet makes its own node, with its status in the same write: that is the one kind whose status may come with a new object.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use portcullis_model::go_text::quoted;
use portcullis_model::names;
use portcullis_model::status::{FieldError, FieldReason};
use portcullis_model::tree::Tree;

use crate::rest::{Rest, SelectableField};
use crate::strategy::{Cell, Requester, Strategy};
use crate::views::core_v1::{Node, NodeEdit, NodeSpec, NodeStatus, Taint};
use crate::views::{self, List, shown};
use crate::vocabulary::{Errors, Path, amounts, network, resource_names};

/// The rules of `Node`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        keeps_status_on_create: true,
        fields: &[SelectableField::or("spec.unschedulable", &["spec.unschedulable"], "false")],
        ..Rest::PLAIN
    },
    default,
    prepare_create,
    validate_create,
    warn_create: |tree, warnings| warn(tree, warnings),
    prepare_update: |tree, old, _, _| keep_configuration(tree, old),
    validate_update,
    warn_update: |tree, _, _, warnings| warn(tree, warnings),
    cell: |tree, column, _| cell(tree, column),
    ..Strategy::NONE
};

/// Before a role, in a label's key.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
/// The label whose value is a role.
const ROLE_LABEL: &str = "kubernetes.io/role";

/// Ranges of pods: one of each family.
const POD_RANGES_MAX: usize = 2;

/// The single range and the list say the same, the single one where they differ; what can be used is what there is, unless it is said.
fn default(tree: &mut Tree) {
    let node: Node<'_> = views::read(tree);
    let (single, first) = (node.spec().pod_cidr(), node.spec().pod_cidrs().iter().next());
    if first != Some(single) && !(single.is_empty() && first.is_none()) {
        let single = if single.is_empty() { first.unwrap_or_default() } else { single }.to_owned();
        let comes_first = first == Some(single.as_str());
        let mut node: NodeEdit<'_> = views::write(tree);
        let mut spec = node.spec_mut();
        spec.set_pod_cidr(&single);
        if !comes_first {
            spec.clear_pod_cidrs();
            spec.pod_cidrs_mut().push_text(&single);
        }
    }
    default_amounts(tree);
}

/// All that there is can be used, unless it is said; in thousandths at the finest.
fn default_amounts(tree: &mut Tree) {
    let status = views::read::<Node<'_>>(tree).status();
    let mut allocatable = Vec::new();
    if !status.place().get(NodeStatus::ALLOCATABLE).is_present() {
        let capacity = status.capacity().iter();
        allocatable.extend(capacity.map(|(name, amount)| (name.to_owned(), amount.to_owned())));
    }
    let finer = amounts::finer(status.capacity());
    let mut node: NodeEdit<'_> = views::write(tree);
    if !finer.is_empty() {
        amounts::insert(node.status_mut().capacity_mut(), &finer);
    }
    if !allocatable.is_empty() {
        amounts::insert(node.status_mut().allocatable_mut(), &allocatable);
    }
    let finer = amounts::finer(node.view().status().allocatable());
    if !finer.is_empty() {
        amounts::insert(node.status_mut().allocatable_mut(), &finer);
    }
}

/// Kubelets are no longer configured through their node. An object that was made when they were keeps what it has.
fn keep_configuration(tree: &mut Tree, old: &Tree) {
    let (node, old): (Node<'_>, Node<'_>) = (views::read(tree), views::read(old));
    let (has_source, has_state) = (node.spec().config_source().is_some(), node.status().config().is_some());
    let mut node: NodeEdit<'_> = views::write(tree);
    if has_source || old.spec().config_source().is_some() {
        node.spec_mut().place().keep(NodeSpec::CONFIG_SOURCE, old.spec().place());
    }
    if has_state || old.status().config().is_some() {
        node.status_mut().place().keep(NodeStatus::CONFIG, old.status().place());
    }
}

fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    if views::read::<Node<'_>>(tree).spec().config_source().is_some() {
        views::write::<NodeEdit<'_>>(tree).spec_mut().clear_config_source();
    }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    check(views::read(tree), None, errors);
}

/// Upstream checks taints, amounts and annotations of an update twice over, and its complaints stand there twice.
fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (node, old): (Node<'_>, Node<'_>) = (views::read(tree), views::read(old));
    if subresource != "status" {
        check(node, Some(old), errors);
    }
    check_amounts(node, errors);
    check_addresses(node, errors);
    check_unchanged(node.spec(), old.spec(), errors);
    check_taints(node.spec().taints(), &Path::new("metadata.taints"), errors);
    if node.spec().external_id() != old.spec().external_id() {
        errors.forbidden(&Path::new("spec.externalID"), "may not be updated");
    }
}

/// What is wrong with a node, however it came to be.
fn check(node: Node<'_>, old: Option<Node<'_>>, errors: &mut Errors) {
    check_taints(node.spec().taints(), &Path::new("metadata.taints"), errors);
    check_amounts(node, errors);
    check_pod_ranges(node.spec(), old.map(Node::spec), errors);
}

/// Complaints about taints say that they were in the metadata, where they once were.
fn check_taints(taints: List<'_, Taint<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let mut held = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let at = at.index(index);
        taint.check_key(&at, errors);
        let complaints = names::label_value(taint.value());
        if !complaints.is_empty() {
            errors.invalid(&at.field("value"), taint.value(), complaints.join(";"));
        }
        taint.check_effect(&at, errors);
        if !held.insert((taint.effect(), taint.key())) {
            let why = "taints must be unique by key and effect pair";
            errors.push(FieldError::new(FieldReason::Duplicate, at, shown(taint.place()), why));
        }
    }
}

fn check_amounts(node: Node<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    for (field, amounts) in [("capacity", node.status().capacity()), ("allocatable", node.status().allocatable())] {
        for (name, text) in amounts.iter() {
            resource_names::amount(name, text, &at.field(field).field(name), errors);
        }
    }
}

fn check_pod_ranges(spec: NodeSpec<'_>, old: Option<NodeSpec<'_>>, errors: &mut Errors) {
    let at = Path::new("spec.podCIDRs");
    let ranges = spec.pod_cidrs();
    let is_held = |range: &str| old.is_some_and(|old| old.pod_cidrs().iter().any(|held| held == range));
    for (index, range) in ranges.iter().enumerate() {
        if !is_held(range) {
            network::range(range, &at.index(index), errors);
        }
    }
    if ranges.len() < 2 {
        return;
    }
    if let Some(wrong) = ranges.iter().find(|range| is_v6(range).is_none()) {
        let why = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:failed to parse cidr value:{} with \
             error:invalid CIDR address: {wrong}",
            quoted(wrong)
        );
        errors.internal(&at, why);
    }
    let has = |v6: bool| ranges.iter().any(|range| is_v6(range) == Some(v6));
    let is_dual = has(true) && has(false) && ranges.iter().all(|range| is_v6(range).is_some());
    if !is_dual || ranges.len() > POD_RANGES_MAX {
        let why = "may specify no more than one CIDR for each IP family";
        errors.invalid(&at, shown(spec.place().get(NodeSpec::POD_CIDRS)), why);
    }
}

/// The family of a range, as leniently read as upstream once did.
fn is_v6(range: &str) -> Option<bool> {
    let (address, bits) = range.split_once('/')?;
    let address = network::sloppy(address)?;
    let bits_max = if address.is_ipv6() { 128 } else { 32 };
    bits.parse().ok().filter(|bits: &u8| *bits <= bits_max).map(|_| address.is_ipv6())
}

fn check_addresses(node: Node<'_>, errors: &mut Errors) {
    let at = Path::new("status.addresses");
    let mut held = BTreeSet::new();
    for (index, address) in node.status().addresses().iter().enumerate() {
        if !held.insert((address.type_(), address.address())) {
            errors.duplicate(&at.index(index), shown(address.place()));
        }
    }
}

/// What is given to a node once and then stays.
fn check_unchanged(new: NodeSpec<'_>, old: NodeSpec<'_>, errors: &mut Errors) {
    let (ranges, held) = (new.pod_cidrs(), old.pod_cidrs());
    let at = Path::new("spec.podCIDRs");
    let why = "node updates may not change podCIDR except from \"\" to valid";
    if !held.is_empty() && held.len() != ranges.len() {
        errors.forbidden(&at, why);
    } else {
        for _ in held.iter().zip(ranges.iter()).filter(|(held, given)| held != given) {
            errors.forbidden(&at, why);
        }
    }
    if !old.provider_id().is_empty() && old.provider_id() != new.provider_id() {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&Path::new("spec.providerID"), why);
    }
}

fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let spec = views::read::<Node<'_>>(tree).spec();
    if spec.config_source().is_some() {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !spec.external_id().is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
}

fn cell(tree: &Tree, column: &str) -> Option<Cell> {
    let node: Node<'_> = views::read(tree);
    let info = node.status().node_info();
    let or = |text: &str, absent: &str| if text.is_empty() { absent.to_owned() } else { text.to_owned() };
    Some(Cell::Text(match column {
        "Status" => status(node),
        "Roles" => or(&roles(node), "<none>"),
        "Version" => info.kubelet_version().to_owned(),
        "Internal-IP" => address(node, "InternalIP"),
        "External-IP" => address(node, "ExternalIP"),
        "OS-Image" => or(info.os_image(), "<unknown>"),
        "Kernel-Version" => or(info.kernel_version(), "<unknown>"),
        "Container-Runtime" => or(info.container_runtime_version(), "<unknown>"),
        _ => return None,
    }))
}

fn status(node: Node<'_>) -> String {
    let ready = node.status().conditions().iter().filter(|condition| condition.type_() == "Ready").last();
    let ready = match ready.map(|condition| condition.status()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let scheduling = if node.spec().unschedulable() { ",SchedulingDisabled" } else { "" };
    format!("{ready}{scheduling}")
}

fn roles(node: Node<'_>) -> String {
    let role = |(key, value): (&'_ str, &'_ str)| match key.strip_prefix(ROLE_PREFIX) {
        Some(role) => Some(role.to_owned()),
        None => Some(value.to_owned()).filter(|_| key == ROLE_LABEL),
    };
    let roles: BTreeSet<String> =
        node.metadata().labels().iter().filter_map(role).filter(|role| !role.is_empty()).collect();
    let mut out = String::new();
    for role in &roles {
        // Writing to a string does not fail.
        let _ = write!(out, "{}{role}", if out.is_empty() { "" } else { "," });
    }
    out
}

fn address(node: Node<'_>, ty: &str) -> String {
    let found = node.status().addresses().iter().find(|address| address.type_() == ty);
    found.map_or("<none>", |address| address.address()).to_owned()
}

#[cfg(test)]
mod tests;
