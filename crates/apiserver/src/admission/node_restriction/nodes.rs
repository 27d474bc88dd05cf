//! The Node of a node: it registers itself and reports, and does not choose which work it is given.

use portcullis_kinds::views;
use portcullis_kinds::views::Map;
use portcullis_kinds::views::core_v1::{Node, NodeConfigSource};
use portcullis_model::go_text::quoted;

use super::super::{Attempt, Operation};
use super::typed;
use crate::answer::Failure;

/// Labels below this, and below its subdomains, are the administrator's.
const NAMESPACE_RESTRICTED: &str = "node-restriction.kubernetes.io";
/// Labels of these namespaces, and of their subdomains, belong to the system.
const NAMESPACES_SYSTEM: [&str; 2] = ["kubernetes.io", "k8s.io"];
/// Those that belong to the kubelet, and to their subdomains.
const NAMESPACES_KUBELET: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Single labels that the kubelet sets (upstream: `kubelet/pkg/apis/well_known_labels.go`).
const LABELS_KUBELET: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Judges a write of a Node or of its status.
pub(super) fn admit(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    if attempt.name != node {
        let why = format!("node {} is not allowed to modify node {}", quoted(node), quoted(attempt.name));
        return Err(attempt.forbidden(&why));
    }
    let why = match attempt.operation {
        Operation::Create => {
            wrong_registration(views::read::<Node<'_>>(typed(attempt, attempt.new(), Node::TYPE)?), node)
        }
        Operation::Update => {
            let new = views::read::<Node<'_>>(typed(attempt, attempt.new(), Node::TYPE)?);
            wrong_change(new, views::read::<Node<'_>>(typed(attempt, attempt.old, Node::TYPE)?), node)
        }
        Operation::Delete | Operation::Connect => None,
    };
    why.map_or(Ok(()), |why| Err(attempt.forbidden(&why)))
}

/// Why a node may not register itself like this, if it may not.
fn wrong_registration(new: Node<'_>, node: &str) -> Option<String> {
    let not_allowed = |what: &str| Some(format!("node {} is not allowed to {what}", quoted(node)));
    if new.spec().config_source().is_some() {
        return not_allowed("create pods with a non-nil configSource");
    }
    // CVE-2025-5187 from its other end; see the module above.
    if !new.metadata().owner_references().is_empty() {
        return not_allowed("modify ownerReferences");
    }
    let forbidden = forbidden_changes(new.metadata().labels(), None);
    if forbidden.is_empty() {
        return None;
    }
    not_allowed(&format!("set the following labels: {}", forbidden.join(", ")))
}

/// Why a node may not change itself like this, if it may not.
fn wrong_change(new: Node<'_>, old: Node<'_>, node: &str) -> Option<String> {
    let not_allowed = |what: &str| Some(format!("node {} is not allowed to {what}", quoted(node)));
    let source = |node: Node<'_>| node.spec().config_source().map(source_values);
    // An old kubelet may drop the field when it reports.
    if new.spec().config_source().is_some() && source(new) != source(old) {
        return not_allowed("update configSource to a new non-nil configSource");
    }
    let taints = |node: Node<'_>| {
        let taints = node.spec().taints().iter();
        let values = taints.map(|taint| {
            let texts = [taint.key(), taint.value(), taint.effect()].map(str::to_owned);
            (texts, taint.time_added())
        });
        values.collect::<Vec<_>>()
    };
    if taints(new) != taints(old) {
        return not_allowed("modify taints");
    }
    let owners = |node: Node<'_>| {
        let owners = node.metadata().owner_references().iter();
        let values = owners.map(|owner| {
            let texts = [owner.api_version(), owner.kind(), owner.name(), owner.uid()].map(str::to_owned);
            (texts, owner.controller(), owner.block_owner_deletion())
        });
        values.collect::<Vec<_>>()
    };
    if owners(new) != owners(old) {
        return not_allowed("modify ownerReferences");
    }
    let forbidden = forbidden_changes(new.metadata().labels(), Some(old.metadata().labels()));
    (!forbidden.is_empty()).then(|| format!("is not allowed to modify labels: {}", forbidden.join(", ")))
}

fn source_values(source: NodeConfigSource<'_>) -> Option<[String; 5]> {
    source.config_map().map(|map| {
        let texts = [map.namespace(), map.name(), map.uid(), map.resource_version(), map.kubelet_config_key()];
        texts.map(str::to_owned)
    })
}

/// Labels that were added, changed or taken away and are not the node's to change, in order.
fn forbidden_changes<'t>(new: Map<'t, &'t str>, old: Option<Map<'t, &'t str>>) -> Vec<&'t str> {
    let held = |labels: Option<Map<'t, &'t str>>, name: &str| labels.and_then(|labels| labels.get(name));
    let changed = new.iter().filter(|(name, value)| held(old, name) != Some(value)).map(|(name, _)| name);
    let removed = old.into_iter().flat_map(Map::iter).map(|(name, _)| name);
    let removed = removed.filter(|name| new.get(name).is_none());
    let mut forbidden: Vec<&str> = changed.chain(removed).filter(|name| is_forbidden(name)).collect();
    forbidden.sort_unstable();
    forbidden
}

fn is_forbidden(label: &str) -> bool {
    let Some((namespace, _)) = label.split_once('/') else { return false };
    let is_below =
        |above: &str| namespace.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let is_system = NAMESPACES_SYSTEM.into_iter().any(is_below);
    let is_kubelets = LABELS_KUBELET.contains(&label) || NAMESPACES_KUBELET.into_iter().any(is_below);
    is_below(NAMESPACE_RESTRICTED) || is_system && !is_kubelets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_labels_that_steer_work_are_not_the_nodes() {
        let check = |label: &str, expected: bool| assert_eq!(is_forbidden(label), expected, "{label}");
        check("role", false);
        check("example.com/role", false);
        check("kubernetes.io.example.com/role", false);
        check("xkubernetes.io/role", false);
        check("kubernetes.io/hostname", false);
        check("kubernetes.io/role", true);
        check("node-role.kubernetes.io/control-plane", true);
        check("node-restriction.kubernetes.io/tier", true);
        check("a.node-restriction.kubernetes.io/tier", true);
        check("node.kubernetes.io/any", false);
        check("a.node.kubernetes.io/any", false);
        check("anode.kubernetes.io/any", true);
        check("kubelet.kubernetes.io/any", false);
        check("a.kubelet.kubernetes.io/any", false);
        check("topology.kubernetes.io/zone", false);
        check("topology.kubernetes.io/rack", true);
        check("k8s.io/x", true);
        check("sub.k8s.io/x", true);
        check("node-restriction.kubernetes.io", false);
    }
}
