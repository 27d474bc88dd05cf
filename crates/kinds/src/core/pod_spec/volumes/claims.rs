//! Claims on storage: by name, or made with the pod (upstream: `validateEphemeralVolumeSource`,
//! `ValidatePersistentVolumeClaimTemplate`; KEP-1698).

use portcullis_model::names;
use portcullis_model::tree::{Kind, NodeId, Tree};

use crate::core::claim_spec;
use crate::views::core_v1::{EphemeralVolumeSource, PersistentVolumeClaimVolumeSource, PodSpec};
use crate::views::{Field, meta_v1::ObjectMeta};
use crate::vocabulary::{Errors, Path, labels};

/// What the metadata of a claim that is made with a pod may not say, and what clients read of each: the pod decides it.
const NOT_IN_TEMPLATE: &[(Field, &str)] = &[
    (ObjectMeta::NAME, "name"),
    (ObjectMeta::GENERATE_NAME, "generateName"),
    (ObjectMeta::NAMESPACE, "namespace"),
    (ObjectMeta::SELF_LINK, "selfLink"),
    (ObjectMeta::UID, "uID"),
    (ObjectMeta::RESOURCE_VERSION, "resourceVersion"),
    (ObjectMeta::GENERATION, "generation"),
    (ObjectMeta::CREATION_TIMESTAMP, "creationTimestamp"),
    (ObjectMeta::DELETION_TIMESTAMP, "deletionTimestamp"),
    (ObjectMeta::DELETION_GRACE_PERIOD_SECONDS, "deletionGracePeriodSeconds"),
    (ObjectMeta::OWNER_REFERENCES, "ownerReferences"),
    (ObjectMeta::FINALIZERS, "finalizers"),
    (ObjectMeta::MANAGED_FIELDS, "managedFields"),
];

/// A claim by its name.
pub fn claim(source: PersistentVolumeClaimVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_claim_name(at, errors);
}

/// A claim that is made with the pod.
pub fn ephemeral(source: EphemeralVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.field("volumeClaimTemplate");
    let Some(template) = source.volume_claim_template() else { return errors.required(&at, "") };
    template_metadata(template.metadata(), "cannot be set for an ephemeral volume", &at.field("metadata"), errors);
    claim_spec::validate(template.spec(), &at.field("spec"), errors);
}

/// The claim's name is made of the pod's and the volume's. `at` is where the volume stands.
pub fn made_name(pod: &str, volume: &str, at: &Path<'_>, errors: &mut Errors) {
    if pod.is_empty() || volume.is_empty() {
        return;
    }
    let made = format!("{pod}-{volume}");
    for why in names::dns1123_subdomain(&made) {
        errors.invalid(&at.field("name"), volume, format!("PVC name {made:?}: {why}"));
    }
}

/// Whether a claim is one that a volume of this pod makes.
#[must_use]
pub fn is_made_here(spec: PodSpec<'_>, pod: &str, claim: &str) -> bool {
    let Some(volume) = claim.strip_prefix(pod).and_then(|rest| rest.strip_prefix('-')) else { return false };
    !pod.is_empty() && spec.volumes().iter().any(|one| one.name() == volume && one.ephemeral().is_some())
}

/// The metadata of what is made of a template: labels and annotations, and nothing else.
pub fn template_metadata(metadata: ObjectMeta<'_>, why_not: &'static str, at: &Path<'_>, errors: &mut Errors) {
    labels::annotations(metadata.annotations(), &at.field("annotations"), errors);
    labels::labels(metadata.labels(), &at.field("labels"), errors);
    for (field, name) in NOT_IN_TEMPLATE {
        let place = metadata.place().get(*field);
        if place.id().is_some_and(|node| !is_nothing(place.tree(), node)) {
            errors.forbidden(&at.field(name), why_not);
        }
    }
}

/// Whether a scalar says no more than its absence. A list or a time says something.
fn is_nothing(tree: &Tree, node: NodeId) -> bool {
    match tree.kind(node) {
        Kind::String => tree.string(node) == Some(""),
        Kind::Int => tree.int(node) == Some(0),
        Kind::Null => true,
        Kind::List => tree.len(node) == 0,
        _ => tree.time(node).is_none() && tree.text(node).is_none_or(str::is_empty),
    }
}
