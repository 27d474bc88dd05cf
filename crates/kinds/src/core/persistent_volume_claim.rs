//! `PersistentVolumeClaim` (upstream: `registry/core/persistentvolumeclaim`, `apis/core/validation`, `api/persistentvolumeclaim`).
//!
//! What a claim asks for is in [`super::claim_spec`], as others have it too. Once made it stays what it is but for its size
//! and its class of attributes (`update`), or quotas could be talked past. What fills it is said in two fields that agree (`sources`).

use portcullis_model::tree::Tree;

mod sources;
mod status;
mod update;

#[cfg(test)]
mod tests;

use crate::core::claim_spec;
use crate::rest::Rest;
use crate::storage::storage_class;
use crate::strategy::{Cell, Column, Requester, Strategy};
use crate::views;
use crate::views::core_v1::{PersistentVolumeClaim, PersistentVolumeClaimEdit};
use crate::vocabulary::{Path, amounts};

/// The rules of `PersistentVolumeClaim`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    default,
    prepare_create,
    validate_create: |tree, errors| {
        claim_spec::validate(views::read::<PersistentVolumeClaim<'_>>(tree).spec(), &Path::new("spec"), errors);
    },
    warn_create: warn,
    prepare_update,
    validate_update: |tree, old, subresource, errors| match subresource {
        "status" => status::validate(views::read(tree), errors),
        _ => update::validate(tree, old, errors),
    },
    warn_update: |tree, _, subresource, warnings| {
        if subresource != "status" {
            warn(tree, warnings);
        }
    },
    columns: &[
        ("Volume", Column::Field("spec.volumeName", r#""""#)),
        ("VolumeAttributesClass", Column::Field("spec.volumeAttributesClassName", r#""<unset>""#)),
        ("VolumeMode", Column::Field("spec.volumeMode", r#""<unset>""#)),
    ],
    cell: |tree, column, _| cell(tree, column),
    ..Strategy::NONE
};

/// A claim that has its volume.
pub const BOUND: &str = "Bound";
/// A claim that waits for its volume.
const PENDING: &str = "Pending";
/// The resource that a claim asks for.
const STORAGE: &str = "storage";

fn default(tree: &mut Tree) {
    let mut claim: PersistentVolumeClaimEdit<'_> = views::write(tree);
    if claim.view().status().phase().is_empty() {
        claim.status_mut().set_phase(PENDING);
    }
    claim_spec::default(claim.spec_mut());
    let finer = amounts::finer(claim.view().spec().resources().limits());
    if !finer.is_empty() {
        amounts::insert(claim.spec_mut().resources_mut().limits_mut(), &finer);
    }
    let finer = amounts::finer(claim.view().spec().resources().requests());
    if !finer.is_empty() {
        amounts::insert(claim.spec_mut().resources_mut().requests_mut(), &finer);
    }
    let finer = amounts::finer(claim.view().status().capacity());
    if !finer.is_empty() {
        amounts::insert(claim.status_mut().capacity_mut(), &finer);
    }
    let finer = amounts::finer(claim.view().status().allocated_resources());
    if !finer.is_empty() {
        amounts::insert(claim.status_mut().allocated_resources_mut(), &finer);
    }
}

fn prepare_create(tree: &mut Tree, _: &Requester<'_>) {
    let mut claim: PersistentVolumeClaimEdit<'_> = views::write(tree);
    claim.status_mut().set_phase(PENDING);
    sources::prepare(&mut claim.spec_mut(), None);
}

fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, _: i64) {
    if subresource == "status" {
        return;
    }
    let old: PersistentVolumeClaim<'_> = views::read(old);
    sources::prepare(&mut views::write::<PersistentVolumeClaimEdit<'_>>(tree).spec_mut(), Some(old.spec()));
}

fn warn(tree: &Tree, warnings: &mut Vec<String>) {
    let claim: PersistentVolumeClaim<'_> = views::read(tree);
    if claim.metadata().annotations().get(storage_class::OLD_CLASS_ANNOTATION).is_some() {
        warnings.push(format!(
            r#"metadata.annotations[{}]: deprecated since v1.8; use "storageClassName" attribute instead"#,
            storage_class::OLD_CLASS_ANNOTATION
        ));
    }
    claim_spec::warn(claim.spec(), &Path::new("spec"), warnings);
}

fn cell(tree: &Tree, column: &str) -> Option<Cell> {
    let claim: PersistentVolumeClaim<'_> = views::read(tree);
    let (metadata, spec, status) = (claim.metadata(), claim.spec(), claim.status());
    let has_volume = !spec.volume_name().is_empty();
    let text = match column {
        "Status" if metadata.deletion_timestamp().is_some() => "Terminating".to_owned(),
        "Status" => status.phase().to_owned(),
        "Capacity" if has_volume => status.capacity().get(STORAGE).unwrap_or("0").to_owned(),
        "Access Modes" if has_volume => claim_spec::short_access_modes(status.access_modes()),
        "Capacity" | "Access Modes" => String::new(),
        "StorageClass" => {
            storage_class::named_by(metadata.annotations(), spec.storage_class_name()).unwrap_or_default().to_owned()
        }
        _ => return None,
    };
    Some(Cell::Text(text))
}
