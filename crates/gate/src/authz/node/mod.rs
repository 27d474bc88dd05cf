//! The Node authoriser: a node reads what its pods need and writes what it reports, and nothing of another node's (P8, P9; upstream:
//! `plugin/pkg/auth/authorizer/node`, with AuthorizeNodeWithSelectors, KEP-4601).
//!
//! What is asked for decides which of the questions below is put; whatever has no question of its own is judged by the rules of the role
//! `system:node`. Where a request does not show what it writes (a create has no name yet), it passes here and NodeRestriction judges
//! the object. The reasons are told to the client in upstream's words.

mod graph;
mod refused;

use std::sync::Arc;

use crate::identity::{GROUP_NODES, Identity, NODE_NAME_PREFIX};

use super::{Attributes, Authorizer, Decision, Operator, Requirement, ResourceRule, Rules, Selection, Target, Verdict};

pub use self::graph::{NodeGraph, RelatedKind};
pub use self::refused::NodesRefused;

/// Where nodes renew their leases.
pub const NAMESPACE_NODE_LEASE: &str = "kube-node-lease";

/// The field that ties pods and resource slices to a node.
const FIELD_NODE_NAME: &str = "spec.nodeName";

/// Which node a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeIdentity<'a> {
    /// None: not in the group of nodes, or without a node's name.
    NotANode,
    /// A node that does not say which.
    Unknown,
    /// This one.
    Node(&'a str),
}

impl<'a> NodeIdentity<'a> {
    /// Reads the name and the groups of a user (upstream: the default node identifier).
    pub fn of(user: &'a Identity) -> Self {
        match user.name.strip_prefix(NODE_NAME_PREFIX) {
            Some(_) if !user.is_in(GROUP_NODES) => Self::NotANode,
            Some("") => Self::Unknown,
            Some(name) => Self::Node(name),
            None => Self::NotANode,
        }
    }
}

/// What the authoriser asks about the cluster: see [`NodeGraph::reaches`]. An answer knows every write that was acknowledged before the
/// question.
pub trait NodeRelations: Send + Sync + 'static {
    /// Says whether the object has to do with what the node runs.
    fn reaches(&self, node: &str, kind: RelatedKind, namespace: &str, name: &str) -> bool;
}

/// Judges nodes.
pub struct NodeAuthorizer {
    relations: Arc<dyn NodeRelations>,
    /// Those of the role `system:node`.
    rules: Vec<ResourceRule>,
}

/// A request of a node for a resource.
struct Ask<'a> {
    node: &'a str,
    verb: &'a str,
    namespace: &'a str,
    subresource: &'a str,
    name: &'a str,
    selectors: Selection<'a>,
}

impl NodeAuthorizer {
    /// Makes the authoriser; `rules` are those of the role `system:node`, for resources that are not tied to a node.
    pub fn new(relations: Arc<dyn NodeRelations>, rules: Vec<ResourceRule>) -> Self {
        Self { relations, rules }
    }

    fn judge(&self, attributes: &Attributes<'_>) -> Verdict {
        let node = match NodeIdentity::of(attributes.user) {
            NodeIdentity::NotANode => return Verdict::no_opinion(),
            NodeIdentity::Unknown => return silent(&format!("unknown node for user {:?}", attributes.user.name)),
            NodeIdentity::Node(name) => name,
        };
        let Target::Resource { group, namespace, resource, subresource, name, selectors, .. } = attributes.target
        else {
            return Verdict::no_opinion();
        };
        let ask = Ask { node, verb: attributes.verb, namespace, subresource, name, selectors };
        match (group, resource) {
            ("", "secrets") => self.read_in_namespace(&ask, RelatedKind::Secret),
            ("", "configmaps") => self.read_in_namespace(&ask, RelatedKind::ConfigMap),
            ("", "persistentvolumeclaims") if subresource == "status" => self.update_claim_status(&ask),
            ("", "persistentvolumeclaims") => self.get(&ask, RelatedKind::PersistentVolumeClaim),
            ("", "persistentvolumes") => self.get(&ask, RelatedKind::PersistentVolume),
            ("", "serviceaccounts") => self.service_account(&ask),
            ("", "nodes") => node_object(&ask),
            ("", "pods") => self.pod(&ask),
            ("resource.k8s.io", "resourceclaims") => self.get(&ask, RelatedKind::ResourceClaim),
            ("resource.k8s.io", "resourceslices") => self.resource_slice(&ask),
            ("storage.k8s.io", "volumeattachments") => self.get(&ask, RelatedKind::VolumeAttachment),
            ("storage.k8s.io", "csinodes") => csi_node(&ask),
            ("coordination.k8s.io", "leases") => lease(&ask),
            _ => self.by_rules(&ask, group, resource),
        }
    }

    /// What the role of nodes allows them all alike.
    fn by_rules(&self, ask: &Ask<'_>, group: &str, resource: &str) -> Verdict {
        let lists = |list: &[String], wanted: &str| list.iter().any(|listed| listed == "*" || listed == wanted);
        let has_resource = |rule: &ResourceRule| match ask.subresource {
            "" => lists(&rule.resources, resource),
            subresource => rule.resources.iter().any(|listed| {
                let is_it = |(of, sub): (&str, &str)| matches!(of, "*") | (of == resource) && sub == subresource;
                listed == "*" || listed.split_once('/').is_some_and(is_it)
            }),
        };
        let is_allowed = self.rules.iter().any(|rule| {
            lists(&rule.verbs, ask.verb)
                && lists(&rule.groups, group)
                && has_resource(rule)
                && (rule.names.is_empty() || rule.names.iter().any(|listed| listed == ask.name))
        });
        if is_allowed { allow() } else { Verdict::no_opinion() }
    }

    /// One object, when it has to do with the node.
    fn related(&self, ask: &Ask<'_>, kind: RelatedKind) -> Verdict {
        if ask.name.is_empty() {
            return silent("No Object name found");
        }
        if self.relations.reaches(ask.node, kind, ask.namespace, ask.name) {
            return allow();
        }
        silent(&format!("no relationship found between node '{}' and this object", ask.node))
    }

    fn get(&self, ask: &Ask<'_>, kind: RelatedKind) -> Verdict {
        if ask.verb != "get" {
            return silent("can only get individual resources of this type");
        }
        if !ask.subresource.is_empty() {
            return silent("cannot get subresource");
        }
        self.related(ask, kind)
    }

    /// Get, and list and watch of one object by its name: kubelets follow the secrets of their pods one by one.
    fn read_in_namespace(&self, ask: &Ask<'_>, kind: RelatedKind) -> Verdict {
        if !matches!(ask.verb, "get" | "list" | "watch") {
            return silent("can only read resources of this type");
        }
        if !ask.subresource.is_empty() {
            return silent("cannot read subresource");
        }
        if ask.namespace.is_empty() {
            return silent("can only read namespaced object of this type");
        }
        self.related(ask, kind)
    }

    fn update_claim_status(&self, ask: &Ask<'_>) -> Verdict {
        if !matches!(ask.verb, "update" | "patch") {
            return silent("can only get/update/patch this type");
        }
        self.related(ask, RelatedKind::PersistentVolumeClaim)
    }

    fn service_account(&self, ask: &Ask<'_>) -> Verdict {
        if ask.verb == "get" && ask.subresource.is_empty() {
            return self.read_in_namespace(ask, RelatedKind::ServiceAccount);
        }
        if ask.verb != "create" || ask.name.is_empty() {
            return silent("can only create tokens for individual service accounts");
        }
        if ask.subresource != "token" {
            return silent("can only create token subresource of serviceaccount");
        }
        self.related(ask, RelatedKind::ServiceAccount)
    }

    fn resource_slice(&self, ask: &Ask<'_>) -> Verdict {
        if !ask.subresource.is_empty() {
            return silent("cannot authorize ResourceSlice subresources");
        }
        match ask.verb {
            // NodeRestriction sees whose devices it is about.
            "create" => allow(),
            "get" | "update" | "patch" | "delete" => self.related(ask, RelatedKind::ResourceSlice),
            "watch" | "list" | "deletecollection" if selects_node(ask) => allow(),
            "watch" | "list" | "deletecollection" => {
                silent("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => silent(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, \
                 delete, deletecollection",
            ),
        }
    }

    fn pod(&self, ask: &Ask<'_>) -> Verdict {
        match (ask.subresource, ask.verb) {
            ("", "get") => self.get(ask, RelatedKind::Pod),
            ("", "list" | "watch") if selects_node(ask) => allow(),
            ("", "list" | "watch") if !ask.name.is_empty() => self.related(ask, RelatedKind::Pod),
            ("", "list" | "watch") => silent("can only list/watch pods with spec.nodeName field selector"),
            // NodeRestriction sees on which node the pod is.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => allow(),
            _ => Verdict::no_opinion(),
        }
    }
}

/// A node's own Node object. The name is compared and not looked up, so that a node can look for its object before there is one.
fn node_object(ask: &Ask<'_>) -> Verdict {
    match (ask.subresource, ask.verb) {
        // NodeRestriction sees whose object it is.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => allow(),
        ("", "get" | "list" | "watch") if ask.name == ask.node => allow(),
        ("", "get" | "list" | "watch") if ask.name.is_empty() => {
            silent(&format!("node '{}' cannot read all nodes, only its own Node object", ask.node))
        }
        ("", "get" | "list" | "watch") => {
            silent(&format!("node '{}' cannot read '{}', only its own Node object", ask.node, ask.name))
        }
        _ => Verdict::no_opinion(),
    }
}

fn lease(ask: &Ask<'_>) -> Verdict {
    if !matches!(ask.verb, "get" | "create" | "update" | "patch" | "delete") {
        return silent("can only get, create, update, patch, or delete a node lease");
    }
    if ask.namespace != NAMESPACE_NODE_LEASE {
        return silent(&format!("can only access leases in the {NAMESPACE_NODE_LEASE:?} system namespace"));
    }
    if ask.verb != "create" && ask.name != ask.node {
        return silent("can only access node lease with the same name as the requesting node");
    }
    allow()
}

fn csi_node(ask: &Ask<'_>) -> Verdict {
    if !matches!(ask.verb, "get" | "create" | "update" | "patch" | "delete") {
        return silent("can only get, create, update, patch, or delete a CSINode");
    }
    if !ask.subresource.is_empty() {
        return silent("cannot authorize CSINode subresources");
    }
    if ask.verb != "create" && ask.name != ask.node {
        return silent("can only access CSINode with the same name as the requesting node");
    }
    allow()
}

/// Whether no object of another node can be selected.
fn selects_node(ask: &Ask<'_>) -> bool {
    let is_it = |requirement: &Requirement| {
        let is_equality = requirement.operator == Operator::In && requirement.key == FIELD_NODE_NAME;
        is_equality && matches!(&*requirement.values, [value] if value == ask.node)
    };
    ask.selectors.read().fields.iter().any(is_it)
}

fn allow() -> Verdict {
    Verdict::Allow { reason: Arc::default() }
}

fn silent(reason: &str) -> Verdict {
    Verdict::NoOpinion { reason: reason.into() }
}

impl Authorizer for NodeAuthorizer {
    fn name(&self) -> &'static str {
        "Node"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        Decision::Now(self.judge(attributes))
    }

    fn rules(&self, user: &Identity, _: &str, rules: &mut Rules) {
        if NodeIdentity::of(user) != NodeIdentity::NotANode {
            rules.gaps.push("node authorizer does not support user rule resolution".to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
