//! What a volume says of itself: how much, for whom, where, and of what it is made (upstream: `ValidatePersistentVolumeSpec`,
//! `SetDefaults_PersistentVolume` and those of its sources). Inline in a `VolumeAttachment` it says less, and is made by a CSI driver.

use portcullis_model::names;
use portcullis_model::quantity::Quantity;

use super::{STORAGE, sources};
use crate::core::claim_spec;
use crate::views::core_v1::{PersistentVolume, PersistentVolumeSpec, PersistentVolumeSpecEdit};
use crate::views::shown_field;
use crate::vocabulary::node_selectors::{Values, has_no_label_value, node_selector};
use crate::vocabulary::{Errors, Path, amounts};

const FILESYSTEM: &str = "Filesystem";
const RETAIN: &str = "Retain";
const NOT_INLINE: &str = "may not be specified in the context of inline volumes";
/// The annotation that mount options once were.
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// Gives a volume, its own or inline, what it does not say.
pub fn default(spec: &mut PersistentVolumeSpecEdit<'_>) {
    let finer = amounts::finer(spec.view().capacity());
    if !finer.is_empty() {
        amounts::insert(spec.capacity_mut(), &finer);
    }
    sources::default(spec);
}

/// What is wrong with a volume of its own.
pub fn validate(volume: PersistentVolume<'_>, old: Option<PersistentVolume<'_>>, errors: &mut Errors) {
    let (spec, at) = (volume.spec(), &Path::new("spec"));
    access_modes(spec, at, errors);
    capacity(spec, &at.field("capacity"), errors);
    spec.check_persistent_volume_reclaim_policy(at, errors);
    let has_affinity = spec.node_affinity().is_some();
    node_affinity(spec, old.map(|old| old.spec()), &at.field("nodeAffinity"), errors);
    sources::validate(spec, volume.metadata().name(), has_affinity, at, errors);
    recycles_no_root(spec, at, errors);
    spec.check_storage_class_name(at, errors);
    spec.check_volume_mode(at, errors);
    attributes_class(spec, at, errors);
}

/// What is wrong with a volume that stands inline. `at` is where it stands.
pub fn validate_inline(spec: PersistentVolumeSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.claim_ref().is_some() {
        errors.forbidden(&at.field("claimRef"), NOT_INLINE);
    }
    if !spec.capacity().is_empty() {
        errors.forbidden(&at.field("capacity"), NOT_INLINE);
    }
    if spec.csi().is_none() {
        errors.required(&at.field("csi"), "has to be specified in the context of inline volumes");
    }
    access_modes(spec, at, errors);
    if !matches!(spec.persistent_volume_reclaim_policy(), "" | RETAIN) {
        let why = "may only be Retain in the context of inline volumes";
        errors.forbidden(&at.field("persistentVolumeReclaimPolicy"), why);
    }
    if spec.node_affinity().is_some() {
        errors.forbidden(&at.field("nodeAffinity"), NOT_INLINE);
    }
    sources::validate(spec, "", false, at, errors);
    recycles_no_root(spec, at, errors);
    if !spec.storage_class_name().is_empty() {
        errors.forbidden(&at.field("storageClassName"), NOT_INLINE);
    }
    if spec.volume_mode().is_some_and(|mode| mode != FILESYSTEM) {
        let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(&at.field("volumeMode"), why);
    }
    attributes_class(spec, at, errors);
}

/// Options of mounting go with sources that are mounted by the node itself.
pub fn mount_options(volume: PersistentVolume<'_>, errors: &mut Errors) {
    if volume.metadata().annotations().get(MOUNT_OPTIONS).is_some() && !sources::is_mounted_with_options(volume.spec())
    {
        let at = Path::new("metadata.annotations");
        errors.forbidden(&at.field(MOUNT_OPTIONS), "may not specify mount options for this volume type");
    }
}

fn access_modes(spec: PersistentVolumeSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.field("accessModes");
    if spec.access_modes().is_empty() {
        errors.required(&at, "");
    }
    claim_spec::access_modes(spec.access_modes(), &at, errors);
}

/// Storage and nothing else.
fn capacity(spec: PersistentVolumeSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let capacity = spec.capacity();
    if capacity.is_empty() {
        errors.required(at, "");
    }
    if capacity.get(STORAGE).is_none() || capacity.len() > 1 {
        errors.not_supported(at, shown_field(spec.place(), PersistentVolumeSpec::CAPACITY), &[STORAGE]);
    }
    for (resource, text) in capacity.iter() {
        let Ok(quantity) = Quantity::parse(text) else { continue };
        let at = at.key(resource);
        if quantity.value() < 0 {
            errors.invalid(&at, quantity.value(), "must be a valid resource quantity");
        }
        if quantity.sign() <= 0 {
            errors.invalid(&at, text, "must be greater than zero");
        }
    }
}

/// Where it can be reached from. What is stored may keep values that no label can have.
fn node_affinity(
    spec: PersistentVolumeSpec<'_>,
    old: Option<PersistentVolumeSpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let Some(affinity) = spec.node_affinity() else { return };
    let at = at.field("required");
    let Some(required) = affinity.required() else {
        return errors.required(&at, "must specify required node constraints");
    };
    let old = old.and_then(|old| old.node_affinity()).and_then(|affinity| affinity.required());
    let values = if old.is_some_and(has_no_label_value) { Values::Any } else { Values::Labels };
    node_selector(required, values, &at, errors);
}

/// To recycle the root of a node is to delete it.
fn recycles_no_root(spec: PersistentVolumeSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let is_root = spec.host_path().is_some_and(|source| is_root(source.path()));
    if is_root && spec.persistent_volume_reclaim_policy() == "Recycle" {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&at.field("persistentVolumeReclaimPolicy"), why);
    }
}

/// Whether a path is the root, by whatever way it is reached.
fn is_root(path: &str) -> bool {
    let mut depth: usize = 0;
    for step in path.split('/') {
        depth = match step {
            "" | "." => depth,
            ".." => depth.saturating_sub(1),
            _ => depth.saturating_add(1),
        };
    }
    path.starts_with('/') && depth == 0
}

/// A class of attributes is what a CSI driver can change (KEP-3751).
fn attributes_class(spec: PersistentVolumeSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(name) = spec.volume_attributes_class_name() else { return };
    let place = at.field("volumeAttributesClassName");
    if name.is_empty() {
        errors.required(&place, "an empty string is disallowed");
    } else {
        errors.complain(&place, name, names::dns1123_subdomain(name));
    }
    if spec.csi().is_none() {
        errors.required(&at.field("csi"), "has to be specified when using volumeAttributesClassName");
    }
}
