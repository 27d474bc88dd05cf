//! NodeRestriction: what a node writes is its own (P8, A14; upstream: `plugin/pkg/admission/noderestriction`).
//!
//! The node authoriser lets requests through whose path does not show whose object they are about; here the object is judged. A node
//! makes only mirror pods, writes only its own Node, Lease, CSINode and ResourceSlices, of those only what a node reports, and asks for
//! tokens only of pods that it runs. It judges in the first pass what the node wants, before what may not change is put back: a node
//! that tries to move a taint is told so.
//!
//! Three rules are tighter than upstream's plugin. A member of the group of nodes without a node's name writes nothing; upstream takes it for no
//! node at all. And a node does not create its Node with owners either: it could name its CSINode, delete that, and let the garbage
//! collector take the Node with every taint on it, which is what CVE-2025-5187 was about. And what upstream's validation keeps as it is
//! whoever writes, a node does not change here: the node of a slice, and whether a pod is a mirror.

mod nodes;
mod pods;
mod tokens;

use portcullis_gate::{GROUP_NODES, Identity, NAMESPACE_NODE_LEASE, NODE_NAME_PREFIX, NodeIdentity};
use portcullis_kinds::certificates::certificate_signing_request;
use portcullis_kinds::views;
use portcullis_kinds::views::certificates_v1::CertificateSigningRequest;
use portcullis_kinds::views::core_v1::{PersistentVolumeClaim, PersistentVolumeClaimEdit};
use portcullis_kinds::views::resource_v1::ResourceSlice;
use portcullis_model::go_text::quoted;
use portcullis_model::schema::TypeId;
use portcullis_model::tree::Tree;

use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::{Failure, unreadable};
use crate::registry::Served;

/// Who signs what kubelets serve with, and what they ask this server with.
const SIGNERS_KUBELET: [&str; 2] = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

/// The plugin.
pub struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, _: &Served, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Delete)
    }

    fn judges(&self, user: &Identity) -> bool {
        NodeIdentity::of(user) != NodeIdentity::NotANode || user.is_in(GROUP_NODES)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        let attempt: &'a Attempt<'_> = attempt;
        let identity = attempt.identity();
        let node = match NodeIdentity::of(identity) {
            NodeIdentity::Node(node) => node,
            NodeIdentity::NotANode if !self.judges(identity) => return Pass::on(),
            NodeIdentity::NotANode | NodeIdentity::Unknown => {
                let why = format!("could not determine node from user {}", quoted(&identity.name));
                return Pass::Now(Err(attempt.forbidden(&why)));
            }
        };
        if attempt.is_of("", "serviceaccounts") {
            return tokens::admit(attempt, node);
        }
        Pass::Now(judge(attempt, node))
    }
}

fn judge(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    let resource = attempt.served().resource;
    match (resource.group, resource.name, attempt.subresource()) {
        ("", "pods", "") => pods::admit(attempt, node),
        ("", "pods", "status") => pods::admit_status(attempt, node),
        ("", "pods", "eviction") => pods::admit_eviction(attempt, node),
        ("", "pods", subresource) => Err(attempt.forbidden(&format!(
            "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
            quoted(subresource)
        ))),
        ("", "nodes", _) => nodes::admit(attempt, node),
        ("", "persistentvolumeclaims", "status") => claim_status(attempt, node),
        ("", "persistentvolumeclaims", _) => Err(attempt.forbidden("may only update PVC status")),
        ("coordination.k8s.io", "leases", _) => lease(attempt, node),
        ("storage.k8s.io", "csinodes", _) if attempt.name != node => {
            Err(attempt.forbidden("can only access CSINode with the same name as the requesting node"))
        }
        ("resource.k8s.io", "resourceslices", _) => resource_slice(attempt, node),
        ("certificates.k8s.io", "certificatesigningrequests", "") => certificate(attempt, node),
        _ => Ok(()),
    }
}

fn lease(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    if attempt.namespace() != NAMESPACE_NODE_LEASE {
        let why = format!("can only access leases in the {} system namespace", quoted(NAMESPACE_NODE_LEASE));
        return Err(attempt.forbidden(&why));
    }
    if attempt.name != node {
        return Err(attempt.forbidden("can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

/// Whose a stored one is, the authoriser knows; a new one, what becomes of a stored one, and each of a collection are judged here.
fn resource_slice(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    let (slice, verb) = match attempt.operation {
        Operation::Create => (attempt.new(), "create"),
        // Upstream leaves this to validation, by which no slice changes its node.
        Operation::Update => (attempt.new(), "update"),
        Operation::Delete => (attempt.old, "delete"),
        Operation::Connect => return Ok(()),
    };
    let slice = typed(attempt, slice, ResourceSlice::TYPE)?;
    if views::read::<ResourceSlice<'_>>(slice).spec().node_name() == Some(node) {
        return Ok(());
    }
    Err(attempt.forbidden(&format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")))
}

/// A node reports how far a volume has grown, and nothing else of a claim.
fn claim_status(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    if attempt.operation != Operation::Update {
        return Err(unexpected(attempt));
    }
    let ty = PersistentVolumeClaim::TYPE;
    let without_report = |tree: Option<&Tree>| {
        let mut tree = typed(attempt, tree, ty)?.clone();
        let mut claim = views::write::<PersistentVolumeClaimEdit<'_>>(&mut tree);
        claim.metadata_mut().clear_managed_fields();
        let mut status = claim.status_mut();
        status.clear_capacity();
        status.clear_conditions();
        status.clear_allocated_resources();
        status.clear_allocated_resource_statuses();
        attempt.served().store(&mut tree).map_err(unreadable)
    };
    if without_report(attempt.new())? == without_report(attempt.old)? {
        return Ok(());
    }
    Err(attempt.forbidden(&format!(
        "node {} is not allowed to update fields other than status.quantity and status.conditions",
        quoted(node)
    )))
}

/// A node asks for certificates of nodes in its own name. The rest of such a request is the signer's to judge.
fn certificate(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    if attempt.operation != Operation::Create {
        return Ok(());
    }
    let request = typed(attempt, attempt.new(), CertificateSigningRequest::TYPE)?;
    let request = views::read::<CertificateSigningRequest<'_>>(request).spec();
    if !SIGNERS_KUBELET.contains(&request.signer_name()) {
        return Ok(());
    }
    let names = certificate_signing_request::common_names(request)
        .map_err(|error| attempt.forbidden(&format!("unable to parse csr: {error}")))?;
    let own = format!("{NODE_NAME_PREFIX}{node}");
    // Two names are one too many, whichever of them is right.
    if names == [own.as_str()] {
        return Ok(());
    }
    Err(attempt.forbidden(&format!("can only create a node CSR with CN={own}")))
}

/// The object, when it is what this resource or subresource has.
fn typed<'t>(attempt: &Attempt<'_>, tree: Option<&'t Tree>, ty: TypeId) -> Result<&'t Tree, Failure> {
    let found = tree.filter(|tree| tree.object_type(tree.root()) == Some(ty));
    found.ok_or_else(|| attempt.forbidden("unexpected type"))
}

/// An object that is stored beside the one that is written; nothing when it is not there or cannot be read.
fn stored(attempt: &Attempt<'_>, (group, resource): (&str, &str), namespace: &str, name: &str) -> Option<Tree> {
    let served = attempt.server.registry.find(group, "v1", resource)?;
    let key = served.key(namespace, name)?;
    let entry = attempt.snapshot.get(&key)?;
    served.load(&entry.value).inspect_err(|error| tracing::error!(key, %error, "an object cannot be read")).ok()
}

fn unexpected(attempt: &Attempt<'_>) -> Failure {
    attempt.forbidden(&format!("unexpected operation {}", quoted(attempt.operation.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is not judged is not even shown to [`NodeRestriction::admit`], so this must be no narrower than that.
    #[test]
    fn p8_a14_whoever_is_or_says_it_is_a_node_is_judged() {
        let check = |name: &str, groups: &[&str], expected: bool| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let user = Identity { name: name.to_owned(), groups, ..Identity::default() };
            assert_eq!(NodeRestriction.judges(&user), expected, "{name} {:?}", user.groups);
        };
        check("ana", &["harbor", "system:authenticated"], false);
        check("system:serviceaccount:a:b", &["system:serviceaccounts"], false);
        check("system:node:n1", &["system:authenticated", GROUP_NODES], true);
        check("system:node:", &[GROUP_NODES], true);
        check("ana", &[GROUP_NODES], true);
        // Without the group it is a user like any other, to the Node authoriser, too.
        check("system:node:n1", &["system:authenticated"], false);
    }
}
