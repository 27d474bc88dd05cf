//! `PersistentVolume` (upstream: `registry/core/persistentvolume`, `apis/core/validation`, `api/persistentvolume`, `pkg/volume/validation`).
//!
//! What a volume says is in [`spec`] and what it is made of in `sources`: a `VolumeAttachment` may have the same inline. Once it is made a
//! volume stays what it is (`update`): claims were bound to it for what it was.

use portcullis_model::tree::Tree;

pub mod sources;
pub mod spec;
mod update;
mod warnings;

#[cfg(test)]
mod tests;

use crate::core::claim_spec::short_access_modes;
use crate::rest::Rest;
use crate::storage::storage_class;
use crate::strategy::{Cell, Column, Requester, Strategy};
use crate::views;
use crate::views::core_v1::{PersistentVolume, PersistentVolumeEdit, PersistentVolumeStatus};

/// The rules of `PersistentVolume`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    default,
    prepare_create,
    validate_create: |tree, errors| {
        let volume = views::read(tree);
        spec::validate(volume, None, errors);
        spec::mount_options(volume, errors);
    },
    warn_create: |tree, warnings| warnings::warn(views::read(tree), warnings),
    prepare_update,
    validate_update: |tree, old, subresource, errors| {
        if subresource != "status" {
            update::validate(views::read(tree), views::read(old), errors);
        }
    },
    warn_update: |tree, _, subresource, warnings| {
        if subresource != "status" {
            warnings::warn(views::read(tree), warnings);
        }
    },
    columns: &[
        ("Reclaim Policy", Column::Field("spec.persistentVolumeReclaimPolicy", r#""""#)),
        ("Reason", Column::Field("status.reason", r#""""#)),
        ("VolumeAttributesClass", Column::Field("spec.volumeAttributesClassName", r#""<unset>""#)),
        ("VolumeMode", Column::Field("spec.volumeMode", r#""<unset>""#)),
    ],
    cell: |tree, column, _| cell(tree, column),
    ..Strategy::NONE
};

/// The resource that a volume has.
pub const STORAGE: &str = "storage";
/// Nobody has looked at it yet.
const PENDING: &str = "Pending";

fn default(tree: &mut Tree) {
    let mut volume: PersistentVolumeEdit<'_> = views::write(tree);
    if volume.view().status().phase().is_empty() {
        volume.status_mut().set_phase(PENDING);
    }
    if volume.view().spec().persistent_volume_reclaim_policy().is_empty() {
        volume.spec_mut().set_persistent_volume_reclaim_policy("Retain");
    }
    if volume.view().spec().volume_mode().is_none() {
        volume.spec_mut().set_volume_mode("Filesystem");
    }
    spec::default(&mut volume.spec_mut());
}

/// A volume begins with the phase that it has since it was made.
fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    let mut volume: PersistentVolumeEdit<'_> = views::write(tree);
    let now = volume.view().metadata().creation_timestamp();
    let mut status = volume.status_mut();
    status.set_phase(PENDING);
    if let Some(now) = now {
        status.set_last_phase_transition_time(now);
    }
}

/// Whoever changes the phase and does not say when, does it now (KEP-3762).
fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, now: i64) {
    const TIME: views::Field = PersistentVolumeStatus::LAST_PHASE_TRANSITION_TIME;
    if subresource != "status" {
        return;
    }
    let old = views::read::<PersistentVolume<'_>>(old).status();
    let mut volume: PersistentVolumeEdit<'_> = views::write(tree);
    let new = volume.view().status();
    let (has_same_phase, time) = (new.phase() == old.phase(), new.last_phase_transition_time());
    if has_same_phase && time.is_none() {
        volume.status_mut().place().keep(TIME, old.place());
    } else if !has_same_phase && (time.is_none() || time == old.last_phase_transition_time()) {
        volume.status_mut().set_last_phase_transition_time(now);
    }
}

fn cell(tree: &Tree, column: &str) -> Option<Cell> {
    let volume: PersistentVolume<'_> = views::read(tree);
    let (metadata, spec) = (volume.metadata(), volume.spec());
    let text = match column {
        "Capacity" => spec.capacity().get(STORAGE).unwrap_or("0").to_owned(),
        "Access Modes" => short_access_modes(spec.access_modes()),
        "Status" if metadata.deletion_timestamp().is_some() => "Terminating".to_owned(),
        "Status" => volume.status().phase().to_owned(),
        "Claim" => match spec.claim_ref() {
            Some(claim) => format!("{}/{}", claim.namespace(), claim.name()),
            None => String::new(),
        },
        "StorageClass" => storage_class::named_by(metadata.annotations(), Some(spec.storage_class_name()))
            .unwrap_or_default()
            .to_owned(),
        _ => return None,
    };
    Some(Cell::Text(text))
}
