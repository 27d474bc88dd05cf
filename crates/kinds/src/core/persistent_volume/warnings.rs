//! What the client of a volume that is taken is told (upstream: `api/persistentvolume.GetWarningsForPersistentVolume`).

use crate::core::pod_spec::warnings::term;
use crate::storage::storage_class::OLD_CLASS_ANNOTATION;
use crate::views::Field;
use crate::views::core_v1::{PersistentVolume, PersistentVolumeSpec as Spec};
use crate::vocabulary::Path;

/// Annotations that fields have replaced.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (OLD_CLASS_ANNOTATION, r#"deprecated since v1.8; use "storageClassName" attribute instead"#),
    ("volume.beta.kubernetes.io/mount-options", r#"deprecated since v1.31; use "mountOptions" attribute instead"#),
];

/// Sources whose drivers are gone, under the names that clients know.
const OLD_SOURCES: &[(Field, &str, &str)] = &[
    (Spec::CEPHFS, "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    (Spec::PHOTON_PERSISTENT_DISK, "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    (Spec::SCALE_IO, "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    (Spec::STORAGEOS, "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    (Spec::GLUSTERFS, "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    (Spec::RBD, "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// What is said of a volume.
pub(super) fn warn(volume: PersistentVolume<'_>, warnings: &mut Vec<String>) {
    let (annotations, at) = (volume.metadata().annotations(), Path::new("metadata.annotations"));
    for (key, why) in OLD_ANNOTATIONS {
        if annotations.get(key).is_some() {
            warnings.push(format!("{}: {why}", at.key(key)));
        }
    }
    let (spec, at) = (volume.spec(), Path::new("spec"));
    if spec.persistent_volume_reclaim_policy() == "Recycle" {
        warnings.push(format!(
            "{}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.",
            at.field("persistentVolumeReclaimPolicy")
        ));
    }
    if let Some(required) = spec.node_affinity().and_then(|affinity| affinity.required()) {
        let list = at.field("nodeAffinity.required.nodeSelectorTerms");
        for (index, one) in required.node_selector_terms().iter().enumerate() {
            term(one, false, &list.index(index), warnings);
        }
    }
    for (field, name, why) in OLD_SOURCES {
        if spec.place().get(*field).is_present() {
            warnings.push(format!("{}: {why}", at.field(name)));
        }
    }
}
