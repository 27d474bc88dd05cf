//! What may change of a volume (upstream: `ValidatePersistentVolumeUpdate`): not what it is made of, nor its mode, nor who can reach it.

use portcullis_model::status::BadValue;

use super::{sources, spec};
use crate::views::core_v1::{
    CSIPersistentVolumeSource, NodeSelectorRequirement, PersistentVolume, PersistentVolumeSpec, VolumeNodeAffinity,
};
use crate::views::{List, shown};
use crate::vocabulary::frozen::{frozen, is_same, is_same_but_for};
use crate::vocabulary::{Errors, Path};

/// Labels of nodes under the names of their first days, and their names since.
const RENAMED_LABELS: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// What is wrong with a volume that replaces another. Upstream says what is wrong with the volume itself twice.
pub(super) fn validate(volume: PersistentVolume<'_>, old: PersistentVolume<'_>, errors: &mut Errors) {
    let before = errors.len();
    spec::validate(volume, Some(old), errors);
    let is_wrong = errors.len() > before;
    spec::mount_options(volume, errors);
    if is_wrong {
        spec::validate(volume, Some(old), errors);
    }
    let (new, old) = (volume.spec(), old.spec());
    if !is_same_source(new, old) {
        let why = "spec.persistentvolumesource is immutable after creation";
        errors.forbidden(&Path::new("spec.persistentvolumesource"), why);
    }
    let mode = PersistentVolumeSpec::VOLUME_MODE;
    frozen(new.place().get(mode), old.place().get(mode), &Path::new("volumeMode"), errors);
    if let Some(old) = old.node_affinity()
        && !new.node_affinity().is_some_and(|new| is_same_affinity(new, old))
    {
        let why = "field is immutable, except for updating from beta label to GA";
        let shown = match new.node_affinity() {
            // Upstream shows the field that is absent.
            Some(affinity) if affinity.required().is_none() => BadValue::Json(r#"{"Required":null}"#.to_owned()),
            _ => shown(new.place().get(PersistentVolumeSpec::NODE_AFFINITY)),
        };
        errors.invalid(&Path::new("nodeAffinity"), shown, why);
    }
    if old.volume_attributes_class_name().is_some() && new.volume_attributes_class_name().is_none() {
        let at = Path::new("spec.volumeAttributesClassName");
        errors.forbidden(&at, "update from non-nil value to nil is forbidden");
    }
}

/// A volume stays what it is made of. How its driver lets it grow may be said later.
fn is_same_source(new: PersistentVolumeSpec<'_>, old: PersistentVolumeSpec<'_>) -> bool {
    const GROWS: &[crate::views::Field] = &[CSIPersistentVolumeSource::CONTROLLER_EXPAND_SECRET_REF];
    let grows_now = old.csi().is_some_and(|csi| csi.controller_expand_secret_ref().is_none());
    sources::fields().all(|field| {
        let (new, old) = (new.place().get(field), old.place().get(field));
        if field == PersistentVolumeSpec::CSI && grows_now && new.is_present() {
            return is_same_but_for(new, old, GROWS);
        }
        is_same(new, old)
    })
}

/// Whether the same nodes are meant: a label may take its new name.
fn is_same_affinity(new: VolumeNodeAffinity<'_>, old: VolumeNodeAffinity<'_>) -> bool {
    let (new, old) = match (new.required(), old.required()) {
        (Some(new), Some(old)) => (new.node_selector_terms(), old.node_selector_terms()),
        (None, None) => return true,
        _ => return false,
    };
    new.len() == old.len()
        && new.iter().zip(old.iter()).all(|(new, old)| {
            are_same(new.match_expressions(), old.match_expressions())
                && are_same(new.match_fields(), old.match_fields())
        })
}

fn are_same(new: List<'_, NodeSelectorRequirement<'_>>, old: List<'_, NodeSelectorRequirement<'_>>) -> bool {
    new.len() == old.len() && new.iter().zip(old.iter()).all(|(new, old)| is_same_requirement(new, old))
}

fn is_same_requirement(new: NodeSelectorRequirement<'_>, old: NodeSelectorRequirement<'_>) -> bool {
    // A label that was not renamed has the empty name instead, for upstream; no volume with that one is let in.
    let renamed = RENAMED_LABELS.iter().find(|(label, _)| *label == old.key()).map_or("", |(_, renamed)| renamed);
    (new.key() == old.key() || new.key() == renamed)
        && new.operator() == old.operator()
        && new.values().len() == old.values().len()
        && new.values().iter().eq(old.values().iter())
}
