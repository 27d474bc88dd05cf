//! What a volume gets that its author left out (upstream: `SetDefaults_Volume` and those of its sources). What depends on nothing stands
//! in the facts.

use crate::core::claim_spec;
use crate::views::core_v1::{DownwardAPIVolumeFileEdit, PodSpecEdit, Volume, VolumeEdit, VolumeProjectionEdit};
use crate::views::{Edit as _, ListEdit, Place};
use crate::vocabulary::{amounts, images};

/// The mode of files that say none.
const MODE: i64 = 0o644;
/// The life of a token that says none.
const TOKEN_SECONDS: i64 = 60 * 60;
/// The version of the pod's fields that files show.
const FIELD_VERSION: &str = "v1";

/// Gives every volume what depends on its other fields.
pub fn default(spec: &mut PodSpecEdit<'_>) {
    if !spec.view().volumes().is_empty() {
        spec.volumes_mut().each(|place| volume(VolumeEdit::at(place)));
    }
}

fn volume(mut volume: VolumeEdit<'_>) {
    let view = volume.view();
    if super::SOURCES.iter().all(|(field, _)| !view.place().get(*field).is_present()) {
        // A volume without a source is an empty folder.
        volume.empty_dir_mut();
        return;
    }
    files(&mut volume);
    disks(&mut volume);
    let view = volume.view();
    if view.image().is_some_and(|image| image.pull_policy().is_empty()) {
        let reference = view.image().map_or("", |image| image.reference());
        let policy = if images::is_latest(reference) { "Always" } else { "IfNotPresent" };
        volume.image_mut().set_pull_policy(policy);
    }
    if volume.view().ephemeral().is_some_and(|source| source.volume_claim_template().is_some()) {
        claim(&mut volume);
    }
}

/// Objects of the API as files, and files of the node.
fn files(volume: &mut VolumeEdit<'_>) {
    let view = volume.view();
    let (secret, map, down, projected) = (view.secret(), view.config_map(), view.downward_api(), view.projected());
    let is_open = |mode: Option<Option<i32>>| mode.is_some_and(|mode| mode.is_none());
    let open = (
        is_open(secret.map(|source| source.default_mode())),
        is_open(map.map(|source| source.default_mode())),
        is_open(down.map(|source| source.default_mode())),
        is_open(projected.map(|source| source.default_mode())),
    );
    let has_type = view.host_path().is_none_or(|source| source.type_().is_some());
    let (shows_fields, projects) = (
        down.is_some_and(|source| !source.items().is_empty()),
        projected.is_some_and(|source| !source.sources().is_empty()),
    );
    if !has_type {
        volume.host_path_mut().set_type("");
    }
    if open.0 {
        volume.secret_mut().set_default_mode(MODE);
    }
    if open.1 {
        volume.config_map_mut().set_default_mode(MODE);
    }
    if open.2 {
        volume.downward_api_mut().set_default_mode(MODE);
    }
    if open.3 {
        volume.projected_mut().set_default_mode(MODE);
    }
    if shows_fields {
        fields(volume.downward_api_mut().items_mut());
    }
    if projects {
        volume.projected_mut().sources_mut().each(|place| projection(VolumeProjectionEdit::at(place)));
    }
}

fn projection(mut one: VolumeProjectionEdit<'_>) {
    if one.view().service_account_token().is_some_and(|token| token.expiration_seconds().is_none()) {
        one.service_account_token_mut().set_expiration_seconds(TOKEN_SECONDS);
    }
    if one.view().downward_api().is_some_and(|fields| !fields.items().is_empty()) {
        fields(one.downward_api_mut().items_mut());
    }
}

fn fields(mut files: ListEdit<'_, DownwardAPIVolumeFileEdit<'_>>) {
    files.each(|place: Place<'_>| {
        let mut file = DownwardAPIVolumeFileEdit::at(place);
        if file.view().field_ref().is_some_and(|field| field.api_version().is_empty()) {
            file.field_ref_mut().set_api_version(FIELD_VERSION);
        }
    });
}

/// Disks whose empty names stand for one that is usual.
fn disks(volume: &mut VolumeEdit<'_>) {
    let view = volume.view();
    if view.place().get(Volume::ISCSI).is_present()
        && view.iscsi().is_some_and(|disk| disk.iscsi_interface().is_empty())
    {
        volume.iscsi_mut().set_iscsi_interface("default");
    }
    if volume.view().azure_disk().is_some_and(|disk| disk.read_only().is_none()) {
        volume.azure_disk_mut().set_read_only(false);
    }
    if volume.view().rbd().is_some() {
        let mut disk = volume.rbd_mut();
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
    if volume.view().scale_io().is_some() {
        let mut disk = volume.scale_io_mut();
        if disk.view().storage_mode().is_empty() {
            disk.set_storage_mode("ThinProvisioned");
        }
        if disk.view().fs_type().is_empty() {
            disk.set_fs_type("xfs");
        }
    }
}

/// A claim that is made with the pod is defaulted as any other.
fn claim(volume: &mut VolumeEdit<'_>) {
    let mut source = volume.ephemeral_mut();
    let mut template = source.volume_claim_template_mut();
    claim_spec::default(template.spec_mut());
    let mut spec = template.spec_mut();
    let finer = amounts::finer(spec.view().resources().limits());
    if !finer.is_empty() {
        amounts::insert(spec.resources_mut().limits_mut(), &finer);
    }
    let finer = amounts::finer(spec.view().resources().requests());
    if !finer.is_empty() {
        amounts::insert(spec.resources_mut().requests_mut(), &finer);
    }
}
