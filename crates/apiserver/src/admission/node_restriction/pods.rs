//! The pods of a node: mirrors of those that it runs by itself, and reports about those that it was given.

use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{Node, Pod, Volume};
use portcullis_model::go_text::quoted;
use portcullis_model::status::Status;

use portcullis_gate::RelatedKind;

use super::super::{Attempt, Operation};
use super::{stored, typed, unexpected};
use crate::answer::Failure;
use crate::node_graph::ANNOTATION_MIRROR;
use crate::pod_references;

/// Judges a write of a pod itself.
pub(super) fn admit(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    match attempt.operation {
        Operation::Create => {
            let pod = views::read::<Pod<'_>>(typed(attempt, attempt.new(), Pod::TYPE)?);
            let refuse = |why: String| Err(attempt.forbidden(&why));
            if let Some(why) = not_a_mirror(pod, node).or_else(|| not_owned(pod, node)) {
                return refuse(why);
            }
            check_uid(attempt, pod, node)?;
            match reference(pod) {
                Some(what) => refuse(format!("node {} can not create pods that reference {what}", quoted(node))),
                None => Ok(()),
            }
        }
        Operation::Delete => {
            let pod = views::read::<Pod<'_>>(typed(attempt, attempt.old, Pod::TYPE)?);
            if pod.spec().node_name() == node {
                return Ok(());
            }
            let why = format!("node {} can only delete pods with spec.nodeName set to itself", quoted(node));
            Err(attempt.forbidden(&why))
        }
        operation => Err(attempt.forbidden(&format!(
            "unexpected operation {}, node {} can only create and delete mirror pods",
            quoted(operation.as_str()),
            quoted(node)
        ))),
    }
}

/// Why the pod is not a mirror of one that this node runs, if it is not.
fn not_a_mirror(pod: Pod<'_>, node: &str) -> Option<String> {
    let (annotation, node_name) = (quoted(ANNOTATION_MIRROR), quoted(node));
    if pod.metadata().annotations().get(ANNOTATION_MIRROR).is_none() {
        return Some(format!(
            "pod does not have {annotation} annotation, node {node_name} can only create mirror pods"
        ));
    }
    let is_here = pod.spec().node_name() == node;
    (!is_here).then(|| format!("node {node_name} can only create pods with spec.nodeName set to itself"))
}

/// Why the node is not the one owner of the pod, as far as the pod says it.
fn not_owned(pod: Pod<'_>, node: &str) -> Option<String> {
    let mut owners = pod.metadata().owner_references().iter();
    let (owner, second) = (owners.next(), owners.next());
    let can_only = |what: &str| Some(format!("node {} can only create pods with {what} set to itself", quoted(node)));
    if second.is_some() {
        return can_only("a single owner reference");
    }
    let Some(owner) = owner.filter(|owner| (owner.api_version(), owner.kind(), owner.name()) == ("v1", "Node", node))
    else {
        return can_only("an owner reference");
    };
    if owner.controller() != Some(true) {
        return can_only("a controller owner reference");
    }
    let blocks = owner.block_owner_deletion() == Some(true);
    blocks.then(|| format!("node {} must not set blockOwnerDeletion on an owner reference", quoted(node)))
}

/// The owner is the Node that there is now, not one that had its name.
fn check_uid(attempt: &Attempt<'_>, pod: Pod<'_>, node: &str) -> Result<(), Failure> {
    let Some(held) = stored(attempt, ("", "nodes"), "", node) else {
        return Err(Box::new(Status::not_found("", "nodes", node)));
    };
    let held = views::read::<Node<'_>>(&held).metadata().uid();
    let given = pod.metadata().owner_references().iter().next().map(|owner| owner.uid()).unwrap_or_default();
    if given == held {
        return Ok(());
    }
    Err(attempt.forbidden(&format!("node {node} UID mismatch: expected {given} got {held}")))
}

/// The first kind of object that a pod refers to, as upstream names it (`podutil.HasAPIObjectReference`). A node that could make such a
/// pod could read the object: CVE-2025-4563.
fn reference(pod: Pod<'_>) -> Option<&'static str> {
    let spec = pod.spec();
    // The second is the old name of the first, which defaulting copies.
    if !spec.service_account_name().is_empty() || !spec.service_account().is_empty() {
        return Some("serviceaccounts");
    }
    let named = pod_references::secrets_and_config_maps(pod);
    let names = |kind: RelatedKind| named.iter().any(|(named, _)| *named == kind);
    if names(RelatedKind::Secret) {
        return Some("secrets");
    }
    if names(RelatedKind::ConfigMap) {
        return Some("configmaps");
    }
    if !spec.resource_claims().is_empty() {
        return Some("resourceclaims");
    }
    spec.volumes().iter().find_map(volume_reference)
}

fn volume_reference(volume: Volume<'_>) -> Option<&'static str> {
    let found = [
        (volume.config_map().is_some(), "configmaps (via configmap volumes)"),
        (volume.secret().is_some(), "secrets (via secret volumes)"),
        (volume.csi().is_some(), "csidrivers (via CSI volumes)"),
        (volume.glusterfs().is_some(), "endpoints (via glusterFS volumes)"),
        (volume.persistent_volume_claim().is_some(), "persistentvolumeclaims"),
        (volume.ephemeral().is_some(), "persistentvolumeclaims (via ephemeral volumes)"),
        (volume.azure_file().is_some(), "secrets (via azureFile volumes)"),
    ];
    let projected = pod_references::projections(volume).flat_map(|source| {
        [
            (source.config_map().is_some(), "configmaps (via projected volumes)"),
            (source.secret().is_some(), "secrets (via projected volumes)"),
            (source.service_account_token().is_some(), "serviceaccounts (via projected volumes)"),
            (source.cluster_trust_bundle().is_some(), "clustertrustbundles"),
            (source.pod_certificate().is_some(), "podcertificates"),
        ]
    });
    found.into_iter().chain(projected).find(|(is_there, _)| *is_there).map(|(_, what)| what)
}

/// Judges a report about a pod.
pub(super) fn admit_status(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    if attempt.operation != Operation::Update {
        return Err(unexpected(attempt));
    }
    let old = views::read::<Pod<'_>>(typed(attempt, attempt.old, Pod::TYPE)?);
    let new = views::read::<Pod<'_>>(typed(attempt, attempt.new(), Pod::TYPE)?);
    let refuse = |why: &str| Err(attempt.forbidden(&format!("node {} {why}", quoted(node))));
    if old.spec().node_name() != node {
        return refuse("can only update pod status for pods with spec.nodeName set to itself");
    }
    if !old.metadata().labels().iter().eq(new.metadata().labels().iter()) {
        return refuse("cannot update labels through pod status");
    }
    // Others leave mirror pods to their node: a node that made one of any pod of its own could not be drained.
    let mirror = |pod: Pod<'_>| pod.metadata().annotations().get(ANNOTATION_MIRROR).map(str::to_owned);
    if mirror(old) != mirror(new) {
        return refuse("cannot update the mirror annotation through pod status");
    }
    // What a pod's claims are called decides what the node may read.
    let claims = |pod: Pod<'_>| {
        let statuses = pod.status().resource_claim_statuses().iter();
        statuses
            .map(|claim| (claim.name().to_owned(), claim.resource_claim_name().map(str::to_owned)))
            .collect::<Vec<_>>()
    };
    if claims(old) != claims(new) {
        return refuse("cannot update resource claim statues");
    }
    let extended = |pod: Pod<'_>| {
        pod.status().extended_resource_claim_status().map(|claim| {
            let mappings = claim.request_mappings().iter().map(|mapping| {
                [mapping.container_name(), mapping.resource_name(), mapping.request_name()].map(str::to_owned)
            });
            (claim.resource_claim_name().to_owned(), mappings.collect::<Vec<_>>())
        })
    };
    if extended(old) != extended(new) {
        return refuse("cannot update extended resource claim status");
    }
    Ok(())
}

/// Judges an eviction: of a pod that the node runs.
pub(super) fn admit_eviction(attempt: &Attempt<'_>, node: &str) -> Result<(), Failure> {
    if attempt.operation != Operation::Create {
        return Err(attempt.forbidden(&format!("unexpected operation {}", attempt.operation.as_str())));
    }
    let name = attempt.name;
    if name.is_empty() {
        return Err(attempt.forbidden("could not determine pod from request data"));
    }
    let Some(pod) = stored(attempt, ("", "pods"), attempt.namespace(), name) else {
        return Err(Box::new(Status::not_found("", "pods", name)));
    };
    if views::read::<Pod<'_>>(&pod).spec().node_name() == node {
        return Ok(());
    }
    Err(attempt.forbidden(&format!("node {node} can only evict pods with spec.nodeName set to itself")))
}
