//! What a volume is made of (upstream: the `validate*PersistentVolumeSource` functions). Most sources are those of pods' volumes; where
//! they differ, it is because a volume has no namespace of its own, and must say where its secrets are.

use crate::core::pod_spec::volumes::{disks, drivers, files, shares};
use crate::views::core_v1::{
    AzureFilePersistentVolumeSource, CSIPersistentVolumeSource, CephFSPersistentVolumeSource,
    CinderPersistentVolumeSource, FlexPersistentVolumeSource, GlusterfsPersistentVolumeSource,
    ISCSIPersistentVolumeSource, LocalVolumeSource, PersistentVolumeSpec, PersistentVolumeSpecEdit,
    RBDPersistentVolumeSource, ScaleIOPersistentVolumeSource, StorageOSPersistentVolumeSource,
};
use crate::views::{At, Field, View};
use crate::vocabulary::{Errors, Path, local_paths, names};

/// A check of a source: the source, the volume's name, and where the source stands.
type Check = fn(At<'_>, &str, &Path<'_>, &mut Errors);

/// One source.
struct Source {
    field: Field,
    /// Where clients are told that it stands.
    at: &'static str,
    /// Where clients are told that it is one too many; none where it never is.
    refused_at: Option<&'static str>,
    check: Check,
}

const fn source(field: Field, check: Check) -> Source {
    Source { field, at: field.name(), refused_at: Some(field.name()), check }
}

use PersistentVolumeSpec as Spec;

/// Every source, in the order in which they are looked at: of several, the first one counts and the others are refused.
const SOURCES: &[Source] = &[
    source(Spec::HOST_PATH, |at, _, path, errors| files::host_path(View::at(at), path, errors)),
    Source {
        at: "persistentDisk",
        ..source(Spec::GCE_PERSISTENT_DISK, |at, _, path, errors| disks::gce(View::at(at), path, errors))
    },
    source(Spec::AWS_ELASTIC_BLOCK_STORE, |at, _, path, errors| disks::aws(View::at(at), path, errors)),
    source(Spec::GLUSTERFS, |at, _, path, errors| glusterfs(View::at(at), path, errors)),
    source(Spec::FLOCKER, |at, _, path, errors| shares::flocker(View::at(at), path, errors)),
    source(Spec::NFS, |at, _, path, errors| shares::nfs(View::at(at), path, errors)),
    source(Spec::RBD, |at, _, path, errors| rbd(View::at(at), path, errors)),
    source(Spec::QUOBYTE, |at, _, path, errors| shares::quobyte(View::at(at), path, errors)),
    Source {
        refused_at: Some("cephFS"),
        ..source(Spec::CEPHFS, |at, _, path, errors| cephfs(View::at(at), path, errors))
    },
    source(Spec::ISCSI, |at, name, path, errors| iscsi(View::at(at), name, path, errors)),
    source(Spec::CINDER, |at, _, path, errors| cinder(View::at(at), path, errors)),
    source(Spec::FC, |at, _, path, errors| disks::fc(View::at(at), path, errors)),
    // Upstream does not mind what stands before it.
    Source {
        refused_at: None,
        ..source(Spec::FLEX_VOLUME, |at, _, path, errors| flex_volume(View::at(at), path, errors))
    },
    source(Spec::AZURE_FILE, |at, _, path, errors| azure_file(View::at(at), path, errors)),
    source(Spec::VSPHERE_VOLUME, |at, _, path, errors| disks::vsphere(View::at(at), path, errors)),
    source(Spec::PHOTON_PERSISTENT_DISK, |at, _, path, errors| disks::photon(View::at(at), path, errors)),
    source(Spec::PORTWORX_VOLUME, |at, _, path, errors| disks::portworx(View::at(at), path, errors)),
    source(Spec::AZURE_DISK, |at, _, path, errors| disks::azure_disk(View::at(at), path, errors)),
    source(Spec::SCALE_IO, |at, _, path, errors| scale_io(View::at(at), path, errors)),
    source(Spec::LOCAL, |at, _, path, errors| local(View::at(at), path, errors)),
    source(Spec::STORAGEOS, |at, _, path, errors| storage_os(View::at(at), path, errors)),
    source(Spec::CSI, |at, _, path, errors| csi(View::at(at), path, errors)),
];

/// Sources that a node mounts itself, so that options of mounting make sense.
const MOUNTED_WITH_OPTIONS: &[Field] = &[
    Spec::GCE_PERSISTENT_DISK,
    Spec::AWS_ELASTIC_BLOCK_STORE,
    Spec::GLUSTERFS,
    Spec::NFS,
    Spec::RBD,
    Spec::QUOBYTE,
    Spec::ISCSI,
    Spec::CINDER,
    Spec::CEPHFS,
    Spec::AZURE_FILE,
    Spec::VSPHERE_VOLUME,
    Spec::AZURE_DISK,
    Spec::PHOTON_PERSISTENT_DISK,
];

/// The fields that sources stand in.
pub fn fields() -> impl Iterator<Item = Field> {
    SOURCES.iter().map(|source| source.field)
}

/// Whether the volume is of a kind that is mounted with options.
pub fn is_mounted_with_options(spec: PersistentVolumeSpec<'_>) -> bool {
    MOUNTED_WITH_OPTIONS.iter().any(|field| spec.place().get(*field).is_present())
}

/// There is one source, and it is in order. `at` is where the spec stands.
pub fn validate(spec: PersistentVolumeSpec<'_>, name: &str, has_affinity: bool, at: &Path<'_>, errors: &mut Errors) {
    let mut is_first = true;
    for source in SOURCES {
        let place = spec.place().get(source.field);
        if !place.is_present() {
            continue;
        }
        if let (false, Some(refused_at)) = (is_first, source.refused_at) {
            errors.forbidden(&at.field(refused_at), "may not specify more than 1 volume type");
        } else {
            (source.check)(place, name, &at.field(source.at), errors);
            if source.field == Spec::LOCAL && !has_affinity {
                errors.required(&at.field("nodeAffinity"), "Local volume requires node affinity");
            }
        }
        is_first = false;
    }
    if is_first {
        errors.required(at, "must specify a volume type");
    }
}

/// Gives sources what their authors left out or empty. What depends on nothing stands in the facts.
pub fn default(spec: &mut PersistentVolumeSpecEdit<'_>) {
    if spec.view().host_path().is_some_and(|source| source.type_().is_none()) {
        spec.host_path_mut().set_type("");
    }
    if spec.view().iscsi().is_some_and(|disk| disk.iscsi_interface().is_empty()) {
        spec.iscsi_mut().set_iscsi_interface("default");
    }
    if spec.view().azure_disk().is_some_and(|disk| disk.read_only().is_none()) {
        spec.azure_disk_mut().set_read_only(false);
    }
    if spec.view().rbd().is_some() {
        let mut disk = spec.rbd_mut();
        if disk.view().pool().is_empty() {
            disk.set_pool("rbd");
        }
        if disk.view().user().is_empty() {
            disk.set_user("admin");
        }
        if disk.view().keyring().is_empty() {
            disk.set_keyring("/etc/ceph/keyring");
        }
    }
    if spec.view().scale_io().is_some() {
        let mut disk = spec.scale_io_mut();
        if disk.view().storage_mode().is_empty() {
            disk.set_storage_mode("ThinProvisioned");
        }
        if disk.view().fs_type().is_empty() {
            disk.set_fs_type("xfs");
        }
    }
}

/// A folder or disk of one node.
fn local(source: LocalVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.field("path");
    if source.path().is_empty() {
        errors.required(&at, "");
    } else {
        local_paths::no_backsteps(source.path(), &at, errors);
    }
}

/// A volume of GlusterFS, whose endpoints may be in a namespace that is named.
fn glusterfs(source: GlusterfsPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_endpoints(at, errors);
    source.check_path(at, errors);
    let at = at.field("endpointsNamespace");
    match source.endpoints_namespace() {
        None => {}
        Some("") => errors.invalid(&at, "", "if the endpointnamespace is set, it must be a valid namespace name"),
        Some(namespace) => names::dns_label(namespace, &at, errors),
    }
}

/// An image of Ceph.
fn rbd(source: RBDPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    if source.monitors().is_empty() {
        errors.required(&at.field("monitors"), "");
    }
    source.check_image(at, errors);
}

/// A file system of Ceph.
fn cephfs(source: CephFSPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    if source.monitors().is_empty() {
        errors.required(&at.field("monitors"), "");
    }
}

/// A disk behind iSCSI. With an initiator of its own the volume's name goes into a name of limited length.
fn iscsi(source: ISCSIPersistentVolumeSource<'_>, name: &str, at: &Path<'_>, errors: &mut Errors) {
    const WHY: &str = "must be valid format";
    source.check_target_portal(at, errors);
    let (portal, initiator) = (source.target_portal(), source.initiator_name());
    if initiator.is_some() && name.len() + 1 + portal.len() > disks::INITIATOR_LEN_MAX {
        // Clients know this path as it is.
        errors.invalid(&at.field("targetportal"), portal, disks::INITIATOR_TOO_LONG);
    }
    if source.iqn().is_empty() {
        errors.required(&at.field("iqn"), "");
    } else if !disks::is_iscsi_name(source.iqn()) {
        errors.invalid(&at.field("iqn"), source.iqn(), WHY);
    }
    source.check_lun(at, errors);
    let secret = source.secret_ref();
    if (source.chap_auth_discovery() || source.chap_auth_session()) && secret.is_none() {
        errors.required(&at.field("secretRef"), "");
    }
    if secret.is_some_and(|secret| secret.name().is_empty()) {
        errors.required(&at.field("secretRef.name"), "");
    }
    if let Some(name) = initiator.filter(|name| !disks::is_iscsi_name(name)) {
        errors.invalid(&at.field("initiatorname"), name, WHY);
    }
}

/// A disk of OpenStack.
fn cinder(source: CinderPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_volume_id(at, errors);
    if let Some(secret) = source.secret_ref() {
        named_secret(secret.name(), secret.namespace(), &at.field("secretRef"), errors);
    }
}

/// A volume of a program on the node.
fn flex_volume(source: FlexPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_driver(at, errors);
    drivers::flex_options(source.options(), &at.field("options"), errors);
}

/// A share of Azure.
fn azure_file(source: AzureFilePersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_secret_name(at, errors);
    source.check_share_name(at, errors);
    if source.secret_namespace() == Some("") {
        errors.required(&at.field("secretNamespace"), "");
    }
}

/// A disk of ScaleIO.
fn scale_io(source: ScaleIOPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_gateway(at, errors);
    source.check_system(at, errors);
    source.check_volume_name(at, errors);
}

/// A disk of StorageOS.
fn storage_os(source: StorageOSPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_volume_name(at, errors);
    source.check_volume_namespace(at, errors);
    if let Some(secret) = source.secret_ref() {
        named_secret(secret.name(), secret.namespace(), &at.field("secretRef"), errors);
    }
}

/// A secret is named, and the namespace that it is in.
fn named_secret(name: &str, namespace: &str, at: &Path<'_>, errors: &mut Errors) {
    for (field, text) in [("name", name), ("namespace", namespace)] {
        if text.is_empty() {
            errors.required(&at.field(field), "");
        }
    }
}

/// A volume of a CSI driver. Upstream does not look at the secret of staging.
fn csi(source: CSIPersistentVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    drivers::driver_name(source.driver(), &at.field("driver"), errors);
    source.check_volume_handle(at, errors);
    let secrets = [
        ("controllerPublishSecretRef", source.controller_publish_secret_ref()),
        ("controllerExpandSecretRef", source.controller_expand_secret_ref()),
        ("nodePublishSecretRef", source.node_publish_secret_ref()),
        ("nodeExpandSecretRef", source.node_expand_secret_ref()),
    ];
    for (field, secret) in secrets {
        let Some(secret) = secret else { continue };
        let at = at.field(field);
        secret.check_name(&at, errors);
        secret.check_namespace(&at, errors);
    }
}
