//! What may change of a claim (upstream: `ValidatePersistentVolumeClaimUpdate`): its size and its class of attributes when it is bound, its
//! volume once, and a storage class that it never had.

use portcullis_model::quantity::{Format, Quantity};
use portcullis_model::tree::Tree;

use super::{BOUND, STORAGE, sources};
use crate::core::claim_spec;
use crate::storage::storage_class::OLD_CLASS_ANNOTATION;
use crate::views;
use crate::views::core_v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec as Spec, VolumeResourceRequirements as Resources,
};
use crate::views::{Field, Map};
use crate::vocabulary::frozen::{IMMUTABLE, frozen, is_same, is_same_but_for};
use crate::vocabulary::{Errors, Path};

/// What is wrong with a claim that replaces another.
pub(super) fn validate(tree: &Tree, old: &Tree, errors: &mut Errors) {
    let prepared = sources::prepared(old);
    let old = prepared.as_ref().unwrap_or(old);
    let (claim, old): (PersistentVolumeClaim<'_>, PersistentVolumeClaim<'_>) = (views::read(tree), views::read(old));
    let (new_spec, old_spec) = (claim.spec(), old.spec());
    claim_spec::validate_beside(new_spec, Some(old_spec), &Path::new("spec"), errors);
    let may_get_class = may_get_class(claim, old, errors);
    if !is_same_spec(claim, old, may_get_class) {
        let why =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.forbidden(&Path::new("spec"), why);
    }
    // Who grew a claim further than its storage goes may ask for less again, but for more than there is (KEP-1790).
    let amount = |map: Map<'_, &str>| {
        let parsed = map.get(STORAGE).and_then(|text| Quantity::parse(text).ok());
        parsed.unwrap_or_else(|| Quantity::from_i64(0, Format::BinarySi))
    };
    let size = amount(new_spec.resources().requests());
    if size < amount(old_spec.resources().requests()) && size <= amount(old.status().capacity()) {
        errors.forbidden(&Path::new("spec.resources.requests.storage"), "field can not be less than status.capacity");
    }
    let mode = Spec::VOLUME_MODE;
    frozen(new_spec.place().get(mode), old_spec.place().get(mode), &Path::new("volumeMode"), errors);
    keeps_attributes(claim, old, errors);
}

/// Whether the storage class may change: from the annotation to the field, or from none to one.
fn may_get_class(new: PersistentVolumeClaim<'_>, old: PersistentVolumeClaim<'_>, errors: &mut Errors) -> bool {
    let new_annotation = new.metadata().annotations().get(OLD_CLASS_ANNOTATION);
    let old_annotation = old.metadata().annotations().get(OLD_CLASS_ANNOTATION);
    let (new_class, old_class) = (new.spec().storage_class_name(), old.spec().storage_class_name());
    let takes_annotation = old_annotation.is_some() && old_class.is_none() && new_class == old_annotation;
    if takes_annotation && new_annotation.is_none_or(|annotation| Some(annotation) == old_annotation) {
        return true;
    }
    let shown = new_annotation.unwrap_or_default();
    if shown != old_annotation.unwrap_or_default() {
        errors.invalid(&Path::new("metadata.annotations").field(OLD_CLASS_ANNOTATION), shown, IMMUTABLE);
    }
    new_class.is_some() && old_class.is_none() && (old_annotation.is_none() || new_class == old_annotation)
}

/// Whether a claim says the same, but for what may change.
fn is_same_spec(new: PersistentVolumeClaim<'_>, old: PersistentVolumeClaim<'_>, may_get_class: bool) -> bool {
    const MAY_CHANGE: [Field; 4] =
        [Spec::RESOURCES, Spec::VOLUME_NAME, Spec::STORAGE_CLASS_NAME, Spec::VOLUME_ATTRIBUTES_CLASS_NAME];
    let is_bound = new.status().phase() == BOUND;
    let (new, old) = (new.spec(), old.spec());
    let is_kept = |field: Field| is_same(new.place().get(field), old.place().get(field));
    is_same_but_for(new.place(), old.place(), &MAY_CHANGE)
        && is_same_resources(new.resources(), old.resources(), is_bound)
        && (old.volume_name().is_empty() || is_kept(Spec::VOLUME_NAME))
        && (may_get_class || is_kept(Spec::STORAGE_CLASS_NAME))
        && (is_bound || is_kept(Spec::VOLUME_ATTRIBUTES_CLASS_NAME))
}

/// Whether the same is asked for, but for the size of a bound claim.
fn is_same_resources(new: Resources<'_>, old: Resources<'_>, is_bound: bool) -> bool {
    let (place, field) = (new.place(), Resources::REQUESTS);
    let asks =
        place.get(field).is_present() || place.id().is_some_and(|node| place.tree().was_emptied(node, field.number()));
    let is_same_request = if is_bound && asks {
        are_same_but_for_storage(new.requests(), old.requests())
    } else {
        is_same(place.get(field), old.place().get(field))
    };
    is_same_request && is_same_but_for(place, old.place(), &[field])
}

fn are_same_but_for_storage(new: Map<'_, &str>, old: Map<'_, &str>) -> bool {
    let amount = |text: &str| Quantity::parse(text).ok();
    let others = |map: Map<'_, &str>| map.len() - usize::from(map.get(STORAGE).is_some());
    let is_kept = |(name, text): (&str, &str)| {
        name == STORAGE || old.get(name).is_some_and(|held| held == text || amount(held) == amount(text))
    };
    others(new) == others(old) && new.iter().all(is_kept)
}

/// A class of attributes that was applied can be replaced, but not taken away (KEP-3751).
fn keeps_attributes(new: PersistentVolumeClaim<'_>, old: PersistentVolumeClaim<'_>, errors: &mut Errors) {
    let (class, old_class) = (new.spec().volume_attributes_class_name(), old.spec().volume_attributes_class_name());
    if class == old_class || old.status().current_volume_attributes_class_name().is_none() {
        return;
    }
    let what = match class {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let why = format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
    errors.forbidden(&Path::new("spec.volumeAttributesClassName"), why);
}
