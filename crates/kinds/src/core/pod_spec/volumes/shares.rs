//! Files that are mounted over a network (upstream: `validateNFSVolumeSource`, `validateGlusterfsVolumeSource`, …).

use crate::views::core_v1::{
    AzureFileVolumeSource, CephFSVolumeSource, FlockerVolumeSource, GlusterfsVolumeSource, NFSVolumeSource,
    QuobyteVolumeSource, RBDVolumeSource,
};
use crate::vocabulary::{Errors, Path};

/// From here a tenant's name is too long.
const TENANT_LEN_END: usize = 65;

/// A share of an NFS server.
pub fn nfs(source: NFSVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_server(at, errors);
    source.check_path(at, errors);
    if !source.path().starts_with('/') {
        errors.invalid(&at.field("path"), source.path(), "must be an absolute path");
    }
}

/// A volume of GlusterFS.
pub fn glusterfs(source: GlusterfsVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_endpoints(at, errors);
    source.check_path(at, errors);
}

/// A data set of Flocker, by one of its two names.
pub fn flocker(source: FlockerVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (name, uuid) = (source.dataset_name(), source.dataset_uuid());
    if name.is_empty() && uuid.is_empty() {
        errors.required(at, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        errors.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.contains('/') {
        errors.invalid(&at.field("datasetName"), name, "must not contain '/'");
    }
}

/// An image of Ceph.
pub fn rbd(source: RBDVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    if source.monitors().is_empty() {
        errors.required(&at.field("monitors"), "");
    }
    source.check_image(at, errors);
}

/// A file system of Ceph.
pub fn cephfs(source: CephFSVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    if source.monitors().is_empty() {
        errors.required(&at.field("monitors"), "");
    }
}

/// A volume of Quobyte.
pub fn quobyte(source: QuobyteVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    const WHY: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = source.registry();
    if registry.is_empty() {
        errors.required(&at.field("registry"), WHY);
    } else if source.tenant().len() >= TENANT_LEN_END {
        errors.required(&at.field("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.invalid(&at.field("registry"), registry, WHY);
        }
    }
    source.check_volume(at, errors);
}

/// `host:port`, `[::1]:port`; either part may be empty.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let is_bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    !port.contains(['[', ']'])
        && match is_bracketed {
            Some(host) => !host.contains(['[', ']']),
            None => !host.contains([':', '[', ']']),
        }
}

/// A share of Azure.
pub fn azure_file(source: AzureFileVolumeSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    source.check_secret_name(at, errors);
    source.check_share_name(at, errors);
}
