//! What an update through `/status` leaves as it was beside the spec (upstream: `ResetObjectMetaForStatus`).
//!
//! Whoever may only report how an object fares must not thereby decide who owns it, what holds it, or who selects it.

use crate::views::meta_v1::{ObjectMeta, ObjectMetaEdit};

/// Puts labels, annotations, finalizers and owners back to what they were.
pub fn keep_metadata(mut new: ObjectMetaEdit<'_>, old: ObjectMeta<'_>) {
    for field in [ObjectMeta::LABELS, ObjectMeta::ANNOTATIONS, ObjectMeta::FINALIZERS, ObjectMeta::OWNER_REFERENCES] {
        new.place().keep(field, old.place());
    }
}
