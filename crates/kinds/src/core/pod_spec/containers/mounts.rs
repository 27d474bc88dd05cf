//! Volumes inside containers, as folders and as devices (upstream: `ValidateVolumeMounts`, `ValidateVolumeDevices`; KEP-3857 for mounts
//! that are read-only all the way down).

use std::collections::{BTreeMap, BTreeSet};

use super::Scope;
use crate::views::core_v1::{Container, VolumeMount};
use crate::vocabulary::{Errors, Path, local_paths};

/// Names of volumes, and the path at which a container has each; of several the last.
type Places<'a> = BTreeMap<&'a str, &'a str>;

/// Mounts, then devices; the same volume or path is not both.
pub(super) fn validate(container: Container<'_>, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (mounts, devices) = (container.volume_mounts(), container.volume_devices());
    // Of two lists one is mostly empty, and then nothing can be in both.
    let (mounted, attached): (Places<'_>, Places<'_>) = if mounts.is_empty() || devices.is_empty() {
        (Places::new(), Places::new())
    } else {
        (
            mounts.iter().map(|mount| (mount.name(), mount.mount_path())).collect(),
            devices.iter().map(|device| (device.name(), device.device_path())).collect(),
        )
    };
    validate_mounts(container, &attached, scope, &at.field("volumeMounts"), errors);
    validate_devices(container, &mounted, scope, &at.field("volumeDevices"), errors);
}

fn validate_mounts(
    container: Container<'_>,
    attached: &Places<'_>,
    scope: &Scope<'_>,
    list: &Path<'_>,
    errors: &mut Errors,
) {
    let device_paths: BTreeSet<&str> = attached.values().copied().collect();
    let mut paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts().iter().enumerate() {
        let at = list.index(index);
        let (name, path) = (mount.name(), mount.mount_path());
        if name.is_empty() {
            errors.required(&at.field("name"), "");
        }
        if !scope.volumes.contains_key(name) {
            errors.not_found(&at.field("name"), name);
        }
        if path.is_empty() {
            errors.required(&at.field("mountPath"), "");
        }
        if !paths.insert(path) {
            errors.invalid(&at.field("mountPath"), path, "must be unique");
        }
        if attached.contains_key(name) {
            errors.invalid(&at.field("name"), name, "must not already exist in volumeDevices");
        }
        if device_paths.contains(path) {
            errors.invalid(&at.field("mountPath"), path, "must not already exist as a path in volumeDevices");
        }
        validate_sub_path(mount, &at, list, errors);
        // Of what follows upstream tells the list, not the mount.
        validate_propagation(mount, container, list, errors);
        validate_recursive_read_only(mount, list, errors);
    }
}

/// `at` is the mount's place, `list` that of all mounts, of which upstream complains when a path leaves its volume.
fn validate_sub_path(mount: VolumeMount<'_>, at: &Path<'_>, list: &Path<'_>, errors: &mut Errors) {
    let (plain, expanded) = (mount.sub_path(), mount.sub_path_expr());
    if !plain.is_empty() {
        local_paths::descending(plain, &list.field("subPath"), errors);
    }
    if !expanded.is_empty() {
        if !plain.is_empty() {
            errors.invalid(&at.field("subPathExpr"), expanded, "subPathExpr and subPath are mutually exclusive");
        }
        local_paths::descending(expanded, &list.field("subPathExpr"), errors);
    }
}

/// What a container mounts reaches its host only from a privileged one.
fn validate_propagation(mount: VolumeMount<'_>, container: Container<'_>, list: &Path<'_>, errors: &mut Errors) {
    mount.check_mount_propagation(list, errors);
    let is_privileged = container.security_context().and_then(|context| context.privileged()) == Some(true);
    if mount.mount_propagation() == Some("Bidirectional") && !is_privileged {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.forbidden(&list.field("mountPropagation"), why);
    }
}

fn validate_recursive_read_only(mount: VolumeMount<'_>, list: &Path<'_>, errors: &mut Errors) {
    mount.check_recursive_read_only(list, errors);
    let at = list.field("recursiveReadOnly");
    if !matches!(mount.recursive_read_only(), Some("Enabled" | "IfPossible")) {
        return;
    }
    if !mount.read_only() {
        errors.forbidden(&at, "may only be specified when readOnly is true");
    }
    if !matches!(mount.mount_propagation(), None | Some("None")) {
        errors.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
    }
}

fn validate_devices(
    container: Container<'_>,
    mounted: &Places<'_>,
    scope: &Scope<'_>,
    list: &Path<'_>,
    errors: &mut Errors,
) {
    let mount_paths: BTreeSet<&str> = mounted.values().copied().collect();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in container.volume_devices().iter().enumerate() {
        let at = list.index(index);
        let (name, path) = (device.name(), device.device_path());
        let volume = scope.volumes.get(name);
        let is_of_claim =
            volume.is_some_and(|volume| volume.persistent_volume_claim().is_some() || volume.ephemeral().is_some());
        if name.is_empty() {
            errors.required(&at.field("name"), "");
        }
        if !name.is_empty() && !names.insert(name) {
            errors.invalid(&at.field("name"), name, "must be unique");
        }
        if volume.is_some() && !is_of_claim {
            let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.invalid(&at.field("name"), name, why);
        }
        if volume.is_none() {
            errors.not_found(&at.field("name"), name);
        }
        if path.is_empty() {
            errors.required(&at.field("devicePath"), "");
        }
        if paths.contains(path) {
            errors.invalid(&at.field("devicePath"), path, "must be unique");
        }
        if path.split('/').any(|step| step == "..") {
            errors.invalid(&at.field("devicePath"), path, "can not contain backsteps ('..')");
        } else {
            paths.insert(path);
        }
        if mounted.contains_key(name) {
            errors.invalid(&at.field("name"), name, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(path) {
            errors.invalid(&at.field("devicePath"), path, "must not already exist as a path in volumeMounts");
        }
    }
}
