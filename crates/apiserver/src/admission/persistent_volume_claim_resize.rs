//! PersistentVolumeClaimResize: a claim grows when it is bound and its class allows it (upstream:
//! `plugin/pkg/admission/storage/persistentvolume/resize`).

use portcullis_kinds::core::persistent_volume_claim::BOUND;
use portcullis_kinds::storage::storage_class;
use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::PersistentVolumeClaim;
use portcullis_kinds::views::storage_v1::StorageClass;
use portcullis_model::quantity::{Format, Quantity};

use super::stored::{self, STORAGE_CLASSES};
use super::{Attempt, Operation, Pass, Plugin};
use crate::answer::Failure;
use crate::registry::Served;

/// The plugin.
pub struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Update && served.is("", "persistentvolumeclaims")
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        Pass::Now(judge(attempt))
    }
}

fn judge(attempt: &Attempt<'_>) -> Result<(), Failure> {
    let (Some(new), Some(old)) = (attempt.new(), attempt.old) else { return Ok(()) };
    let (new, old): (PersistentVolumeClaim<'_>, PersistentVolumeClaim<'_>) = (views::read(new), views::read(old));
    if !attempt.subresource().is_empty() || size(new) <= size(old) {
        return Ok(());
    }
    if old.status().phase() != BOUND {
        return Err(attempt.forbidden("Only bound persistent volume claims can be expanded"));
    }
    if !may_grow(attempt, new, old)? {
        return Err(attempt.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ));
    }
    Ok(())
}

fn size(claim: PersistentVolumeClaim<'_>) -> Quantity {
    let text = claim.spec().resources().requests().get("storage");
    let parsed = text.and_then(|text| Quantity::parse(text).ok());
    parsed.unwrap_or_else(|| Quantity::from_i64(0, Format::BinarySi))
}

/// Whether the claim's class is what it was, and lets its claims grow.
fn may_grow(
    attempt: &Attempt<'_>,
    new: PersistentVolumeClaim<'_>,
    old: PersistentVolumeClaim<'_>,
) -> Result<bool, Failure> {
    let Some(class) = class_of(new).filter(|class| !class.is_empty() && class_of(old) == Some(*class)) else {
        return Ok(false);
    };
    let class = stored::load(attempt, STORAGE_CLASSES, "", class)?;
    Ok(class.is_some_and(|class| views::read::<StorageClass<'_>>(&class).allow_volume_expansion() == Some(true)))
}

fn class_of(claim: PersistentVolumeClaim<'_>) -> Option<&str> {
    storage_class::named_by(claim.metadata().annotations(), claim.spec().storage_class_name())
}
