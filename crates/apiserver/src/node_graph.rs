//! What the node authoriser asks: which objects belong to what a node runs, kept up with the store (upstream: the graph populator).
//!
//! Pods, volumes, volume attachments and resource slices are followed; nothing else ties an object to a node. A pod is written far more
//! often than what it refers to changes, so most events end at a comparison of its bytes.

use std::sync::Arc;

use memchr::memmem;
use portcullis_gate::{NodeAuthorizer, NodeGraph, NodeRelations, RelatedKind, ResourceRule};
use portcullis_kinds::bootstrap_policy::{self, PolicyError};
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{PersistentVolume, PersistentVolumeSpec, Pod};
use portcullis_kinds::views::storage_v1::VolumeAttachment;
use portcullis_model::tree::Tree;
use portcullis_store::{Engine, Entry, Event};

use crate::follower::{Derived, Follower};
use crate::pod_references;
use crate::registry::{Registry, Served};
use crate::scan::Members;

/// On a pod that stands for one that a node runs by itself.
pub(crate) const ANNOTATION_MIRROR: &str = "kubernetes.io/config.mirror";
/// The role whose rules hold for all nodes alike.
const ROLE_NODE: &str = "system:node";
const FIELD_NODE_NAME: &str = "spec.nodeName";
/// In the names of both fields of a pod's status that name resource claims.
const CLAIM_STATUS: &[u8] = b"esourceClaimStatus";

/// Makes the node authoriser over a store. Nothing is read before its first question.
///
/// # Errors
/// When the table of the bootstrap policy cannot be read.
pub fn node_authorizer(engine: Arc<dyn Engine>, registry: Arc<Registry>) -> Result<NodeAuthorizer, PolicyError> {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let roles = &bootstrap_policy::bootstrap_policy()?.roles;
    let role = roles.iter().filter(|role| role.namespace.is_empty() && role.name == ROLE_NODE);
    let rules = role.flat_map(|role| &role.rules).map(|rule| ResourceRule {
        verbs: owned(&rule.verbs),
        groups: owned(&rule.groups),
        resources: owned(&rule.resources),
        names: owned(&rule.names),
    });
    Ok(NodeAuthorizer::new(Arc::new(Relations::new(engine, registry)), rules.collect()))
}

/// The graph and its place in history.
struct Relations {
    follower: Follower<Followed>,
}

impl Relations {
    fn new(engine: Arc<dyn Engine>, registry: Arc<Registry>) -> Relations {
        let followed = Followed::new(registry);
        let prefixes = followed.sources.iter().map(|source| source.prefix.clone()).collect();
        Relations { follower: Follower::new(engine, prefixes, followed) }
    }
}

impl NodeRelations for Relations {
    fn reaches(&self, node: &str, kind: RelatedKind, namespace: &str, name: &str) -> bool {
        self.follower.read(|followed| followed.graph.reaches(node, kind, namespace, name))
    }
}

/// The graph, made from objects.
struct Followed {
    registry: Arc<Registry>,
    sources: Vec<Source>,
    graph: NodeGraph,
}

/// A resource that is followed.
struct Source {
    kind: SourceKind,
    /// Where it stands in the registry.
    place: usize,
    prefix: String,
    /// The number of `spec.nodeName` in the index of its objects.
    node_name: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceKind {
    Pod,
    Volume,
    Attachment,
    Slice,
}

impl Followed {
    fn new(registry: Arc<Registry>) -> Followed {
        let source = |kind, group, version, name| {
            let served = registry.find(group, version, name)?;
            let mut fields = served.rules.fields.iter().zip(&served.field_numbers);
            let node_name = fields.find(|(field, _)| field.label == FIELD_NODE_NAME).map(|(_, number)| *number);
            Some(Source { kind, place: served.place, prefix: served.prefix()?.to_owned(), node_name })
        };
        let sources = [
            source(SourceKind::Pod, "", "v1", "pods"),
            source(SourceKind::Volume, "", "v1", "persistentvolumes"),
            source(SourceKind::Attachment, "storage.k8s.io", "v1", "volumeattachments"),
            source(SourceKind::Slice, "resource.k8s.io", "v1", "resourceslices"),
        ];
        let sources = sources.into_iter().flatten().collect();
        Followed { registry, sources, graph: NodeGraph::default() }
    }

    fn put(&mut self, key: &str, entry: Option<&Entry>) {
        let Some(source) = self.sources.iter().find(|source| key.starts_with(&source.prefix)) else { return };
        let Some(served) = self.registry.all().get(source.place) else { return };
        let graph = &mut self.graph;
        let (namespace, name) = served.names(key);
        // An object that cannot be read leads nowhere.
        let entry = entry.filter(|entry| !entry.index().is_unreadable());
        let node = entry.zip(source.node_name).map(|(entry, number)| entry.field(number)).unwrap_or_default();
        match source.kind {
            // A pod that is bound to no node is nobody's yet.
            SourceKind::Pod => match entry.filter(|_| !node.is_empty()).and_then(|entry| load(served, key, entry)) {
                Some(tree) => set_pod(graph, (namespace, name), node, views::read::<Pod>(&tree)),
                None => graph.remove_pod((namespace, name)),
            },
            SourceKind::Volume => match entry.and_then(|entry| load(served, key, entry)) {
                Some(tree) => set_volume(graph, name, views::read::<PersistentVolume>(&tree)),
                None => graph.remove_volume(name),
            },
            SourceKind::Attachment => match entry.and_then(|entry| load(served, key, entry)) {
                Some(tree) => graph.set_attachment(name, views::read::<VolumeAttachment>(&tree).spec().node_name()),
                None => graph.remove_attachment(name),
            },
            SourceKind::Slice if node.is_empty() => graph.remove_slice(name),
            SourceKind::Slice => graph.set_slice(name, node),
        }
    }
}

impl Derived for Followed {
    fn reset(&mut self, entries: &mut dyn Iterator<Item = (&str, &Entry)>) {
        self.graph.clear();
        entries.for_each(|(key, entry)| self.put(key, Some(entry)));
    }

    fn apply(&mut self, event: &Event) {
        if let (Some(previous), Some(current)) = (&event.previous, &event.current)
            && self.sources.iter().any(|source| source.kind == SourceKind::Pod && event.key.starts_with(&source.prefix))
            && refers_to_the_same(previous, current)
        {
            return;
        }
        self.put(&event.key, event.current.as_ref());
    }
}

fn load(served: &Served, key: &str, entry: &Entry) -> Option<Tree> {
    let loaded = served.load(&entry.value);
    loaded.inspect_err(|error| tracing::error!(key, %error, "an object cannot be read, no node reaches it")).ok()
}

/// Says whether two states of a pod refer to the same objects on the same node, by their bytes: the same spec, and nothing anywhere else
/// that matters. False is no harm: the pod is read then.
fn refers_to_the_same(previous: &Entry, current: &Entry) -> bool {
    let Some(range) = spec(current) else { return false };
    let (Some(held), Some(now)) = (previous.value.get(previous.index().metadata_end()..), current.value.get(range))
    else {
        return false;
    };
    // Both begin where the metadata ends, so what begins as a whole spec does is that spec.
    let Some(status_before) = held.strip_prefix(now) else { return false };
    let status_now = current.value.get(current.index().metadata_end() + now.len()..).unwrap_or_default();
    let is_mirror = |entry: &Entry| {
        let metadata = entry.value.get(..entry.index().metadata_end()).unwrap_or_default();
        memmem::find(metadata, ANNOTATION_MIRROR.as_bytes()).is_some()
    };
    let names_claims = |status: &[u8]| memmem::find(status, CLAIM_STATUS).is_some();
    !is_mirror(previous) && !is_mirror(current) && !names_claims(status_before) && !names_claims(status_now)
}

/// The member `spec` of a stored object with all that stands between it and the metadata.
fn spec(entry: &Entry) -> Option<std::ops::Range<usize>> {
    let start = entry.index().metadata_end();
    let mut members = Members { text: &entry.value, at: start };
    members.skip_comma();
    let (name, member) = members.next()??;
    (entry.value.get(name) == Some(b"spec")).then_some(start..member.end)
}

fn set_pod(graph: &mut NodeGraph, (namespace, name): (&str, &str), node: &str, pod: Pod<'_>) {
    // A node makes mirror pods itself. They may not name any object, and if they did, it would lead nowhere.
    if pod.metadata().annotations().get(ANNOTATION_MIRROR).is_some() {
        return graph.set_pod((namespace, name), node, &[]);
    }
    let (spec, status) = (pod.spec(), pod.status());
    let mut references = pod_references::secrets_and_config_maps(pod);
    let account = Some(spec.service_account_name()).filter(|account| !account.is_empty());
    references.extend(account.map(|account| (RelatedKind::ServiceAccount, account)));
    let generated: Vec<String> = spec
        .volumes()
        .iter()
        .filter(|volume| volume.ephemeral().is_some())
        .map(|volume| format!("{name}-{}", volume.name()))
        .collect();
    let named = spec.volumes().iter().filter_map(|volume| volume.persistent_volume_claim());
    let claims = named.map(|claim| claim.claim_name()).chain(generated.iter().map(String::as_str));
    references.extend(claims.map(|claim| (RelatedKind::PersistentVolumeClaim, claim)));
    for claim in spec.resource_claims().iter() {
        // A claim that was made from a template has a name that only the status knows.
        let made = || status.resource_claim_statuses().iter().find(|made| made.name() == claim.name());
        let name = claim.resource_claim_name().or_else(|| made()?.resource_claim_name());
        references.extend(name.map(|name| (RelatedKind::ResourceClaim, name)));
    }
    let extended = status.extended_resource_claim_status().map(|claim| claim.resource_claim_name());
    references.extend(extended.map(|name| (RelatedKind::ResourceClaim, name)));
    references.retain(|(_, name)| !name.is_empty());
    graph.set_pod((namespace, name), node, &references);
}

fn set_volume(graph: &mut NodeGraph, name: &str, volume: PersistentVolume<'_>) {
    let Some(claim) = volume.spec().claim_ref() else { return graph.remove_volume(name) };
    let claim = (claim.namespace(), claim.name());
    graph.set_volume(name, claim, &volume_secrets(volume.spec(), claim.0));
}

/// The secrets of a volume that its driver reads on the node (upstream: `pvutil.VisitPVSecretNames`, those that kubelets may see). One
/// without a namespace is in that of the claim.
fn volume_secrets<'t>(spec: PersistentVolumeSpec<'t>, namespace: &'t str) -> Vec<(&'t str, &'t str)> {
    let csi = spec.csi();
    let references = [
        spec.cephfs().and_then(|volume| volume.secret_ref()),
        spec.cinder().and_then(|volume| volume.secret_ref()),
        spec.flex_volume().and_then(|volume| volume.secret_ref()),
        spec.rbd().and_then(|volume| volume.secret_ref()),
        spec.scale_io().and_then(|volume| volume.secret_ref()),
        spec.iscsi().and_then(|volume| volume.secret_ref()),
        // Those for publishing and expanding by the controller are the controller's.
        csi.and_then(|volume| volume.node_stage_secret_ref()),
        csi.and_then(|volume| volume.node_publish_secret_ref()),
        csi.and_then(|volume| volume.node_expand_secret_ref()),
    ];
    let references = references.into_iter().flatten().map(|secret| (secret.namespace(), secret.name()));
    let azure = spec.azure_file().map(|volume| (volume.secret_namespace().unwrap_or_default(), volume.secret_name()));
    let storageos =
        spec.storageos().and_then(|volume| volume.secret_ref()).map(|secret| (secret.namespace(), secret.name()));
    let named = references.chain(azure).chain(storageos).filter(|(_, name)| !name.is_empty());
    named.map(|(given, name)| (if given.is_empty() { namespace } else { given }, name)).collect()
}

#[cfg(test)]
mod tests;
