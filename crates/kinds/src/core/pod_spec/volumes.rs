//! Volumes (upstream: `ValidateVolumes`, `SetDefaults_Volume`): each has a name of its own and exactly one source.
//!
//! The sources are in files by what they bring: [`files`] of the node, [`disks`], [`shares`] in a network, [`projections`] of the API's own
//! objects, [`claims`] on storage, [`drivers`]. A persistent volume has most of them too.

pub mod claims;
pub mod disks;
pub mod drivers;
pub mod files;
pub mod projections;
pub mod shares;

mod defaults;

use std::collections::HashSet;

use portcullis_model::names;

pub use defaults::default;

use super::Context;
use crate::views::core_v1::{PodSpec, Volume};
use crate::views::{At, Field, View};
use crate::vocabulary::{Errors, Path};

/// What some sources must know beside themselves.
#[derive(Clone, Copy, Debug)]
struct Around<'a> {
    /// The volume's name.
    volume: &'a str,
    /// Where the volume stands.
    at: &'a Path<'a>,
    context: Context<'a>,
}

type Check = fn(At<'_>, Around<'_>, &Path<'_>, &mut Errors);

/// Every source, in the order in which they are looked at: of several, the first one counts and the others are refused.
const SOURCES: &[(Field, Check)] = &[
    (Volume::EMPTY_DIR, |at, _, path, errors| files::empty_dir(View::at(at), path, errors)),
    (Volume::HOST_PATH, |at, _, path, errors| files::host_path(View::at(at), path, errors)),
    (Volume::GIT_REPO, |at, _, path, errors| files::git_repo(View::at(at), path, errors)),
    (Volume::GCE_PERSISTENT_DISK, |at, _, path, errors| disks::gce(View::at(at), path, errors)),
    (Volume::AWS_ELASTIC_BLOCK_STORE, |at, _, path, errors| disks::aws(View::at(at), path, errors)),
    (Volume::SECRET, |at, _, path, errors| projections::secret(View::at(at), path, errors)),
    (Volume::NFS, |at, _, path, errors| shares::nfs(View::at(at), path, errors)),
    (Volume::ISCSI, |at, around, path, errors| {
        disks::iscsi(View::at(at), path, errors);
        disks::iscsi_name(View::at(at), around.volume, around.at, errors);
    }),
    (Volume::GLUSTERFS, |at, _, path, errors| shares::glusterfs(View::at(at), path, errors)),
    (Volume::FLOCKER, |at, _, path, errors| shares::flocker(View::at(at), path, errors)),
    (Volume::PERSISTENT_VOLUME_CLAIM, |at, _, path, errors| claims::claim(View::at(at), path, errors)),
    (Volume::RBD, |at, _, path, errors| shares::rbd(View::at(at), path, errors)),
    (Volume::CINDER, |at, _, path, errors| disks::cinder(View::at(at), path, errors)),
    (Volume::CEPHFS, |at, _, path, errors| shares::cephfs(View::at(at), path, errors)),
    (Volume::QUOBYTE, |at, _, path, errors| shares::quobyte(View::at(at), path, errors)),
    (Volume::DOWNWARD_API, |at, _, path, errors| projections::downward_api(View::at(at), path, errors)),
    (Volume::FC, |at, _, path, errors| disks::fc(View::at(at), path, errors)),
    (Volume::FLEX_VOLUME, |at, _, path, errors| drivers::flex_volume(View::at(at), path, errors)),
    (Volume::CONFIG_MAP, |at, _, path, errors| projections::config_map(View::at(at), path, errors)),
    (Volume::AZURE_FILE, |at, _, path, errors| shares::azure_file(View::at(at), path, errors)),
    (Volume::VSPHERE_VOLUME, |at, _, path, errors| disks::vsphere(View::at(at), path, errors)),
    (Volume::PHOTON_PERSISTENT_DISK, |at, _, path, errors| disks::photon(View::at(at), path, errors)),
    (Volume::PORTWORX_VOLUME, |at, _, path, errors| disks::portworx(View::at(at), path, errors)),
    (Volume::AZURE_DISK, |at, _, path, errors| disks::azure_disk(View::at(at), path, errors)),
    (Volume::STORAGEOS, |at, _, path, errors| disks::storage_os(View::at(at), path, errors)),
    (Volume::PROJECTED, |at, around, path, errors| {
        projections::projected(View::at(at), around.context, path, errors);
    }),
    (Volume::SCALE_IO, |at, _, path, errors| disks::scale_io(View::at(at), path, errors)),
    (Volume::CSI, |at, _, path, errors| drivers::csi(View::at(at), path, errors)),
    (Volume::EPHEMERAL, |at, around, path, errors| {
        claims::ephemeral(View::at(at), path, errors);
        claims::made_name(around.context.name, around.volume, around.at, errors);
    }),
    (Volume::IMAGE, |at, around, path, errors| files::image(View::at(at), !around.context.is_template, path, errors)),
];

/// What is wrong with the volumes of a spec. `at` is where the list stands. Gives those that are in order.
pub fn validate<'t>(spec: PodSpec<'t>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) -> Vec<Volume<'t>> {
    let mut good = Vec::with_capacity(spec.volumes().len());
    let mut names_of_good = HashSet::with_capacity(spec.volumes().len());
    for (index, volume) in spec.volumes().iter().enumerate() {
        let at = at.index(index);
        let before = errors.len();
        source(volume, context, &at, errors);
        let (name, name_at) = (volume.name(), at.field("name"));
        if name.is_empty() {
            errors.required(&name_at, "");
        } else {
            errors.complain(&name_at, name, names::dns1123_label(name));
        }
        if names_of_good.contains(name) {
            errors.duplicate(&name_at, name);
        }
        if errors.len() == before {
            names_of_good.insert(name);
            good.push(volume);
        }
        if let Some(claim) = volume.persistent_volume_claim()
            && claims::is_made_here(spec, context.name, claim.claim_name())
        {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&at.field("persistentVolumeClaim.claimName"), claim.claim_name(), why);
        }
    }
    good
}

/// There is one source, and it is in order.
fn source(volume: Volume<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let around = Around { volume: volume.name(), at, context };
    let mut is_first = true;
    for (field, check) in SOURCES {
        let source = volume.place().get(*field);
        if !source.is_present() {
            continue;
        }
        let at = at.field(field.name());
        if is_first {
            check(source, around, &at, errors);
        } else {
            errors.forbidden(&at, "may not specify more than 1 volume type");
        }
        is_first = false;
    }
    if is_first {
        errors.required(at, "must specify a volume type");
    }
}
