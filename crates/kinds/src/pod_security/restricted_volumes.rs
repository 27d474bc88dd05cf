//! A pod may only have volumes that are its own or that somebody else provided: what reaches a storage system itself is for persistent
//! volumes.

use super::words::{Values, named, plural, quoted};
use super::{Check, Judged, Level, Violation, host_path_volumes};
use crate::views::Field;
use crate::views::core_v1::Volume;

/// What a volume may be. Images count in every version, since they came later than the check.
const ALLOWED: [Field; 9] = [
    Volume::CONFIG_MAP,
    Volume::CSI,
    Volume::DOWNWARD_API,
    Volume::EMPTY_DIR,
    Volume::EPHEMERAL,
    Volume::IMAGE,
    Volume::PERSISTENT_VOLUME_CLAIM,
    Volume::PROJECTED,
    Volume::SECRET,
];

/// What else it can be, in the order in which upstream looks.
const FORBIDDEN: [Field; 21] = [
    Volume::HOST_PATH,
    Volume::GCE_PERSISTENT_DISK,
    Volume::AWS_ELASTIC_BLOCK_STORE,
    Volume::GIT_REPO,
    Volume::NFS,
    Volume::ISCSI,
    Volume::GLUSTERFS,
    Volume::RBD,
    Volume::FLEX_VOLUME,
    Volume::CINDER,
    Volume::CEPHFS,
    Volume::FLOCKER,
    Volume::FC,
    Volume::AZURE_FILE,
    Volume::VSPHERE_VOLUME,
    Volume::QUOBYTE,
    Volume::AZURE_DISK,
    Volume::PHOTON_PERSISTENT_DISK,
    Volume::PORTWORX_VOLUME,
    Volume::SCALE_IO,
    Volume::STORAGEOS,
];

pub(super) const CHECK: Check = Check {
    id: "restrictedVolumes",
    level: Level::Restricted,
    forms: &[(0, judge)],
    replaces: Some(host_path_volumes::CHECK.id),
};

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let (mut names, mut types) = (Vec::new(), Values::new());
    for volume in subject.spec.volumes().iter() {
        let is_a = |field: &&Field| volume.place().get(**field).is_present();
        if !ALLOWED.iter().any(|field| is_a(&field)) {
            names.push(volume.name());
            types.insert(FORBIDDEN.iter().find(is_a).map_or("unknown", |field| field.name()));
        }
    }
    (!names.is_empty()).then(|| Violation {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} {}",
            named("volume", &names),
            if names.len() == 1 { "uses" } else { "use" },
            plural("restricted volume type", types.len()),
            quoted(types)
        ),
    })
}
