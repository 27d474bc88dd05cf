//! Pods on their way: what the plugins for pods have in common.

use portcullis_kinds::views;
use portcullis_kinds::views::core_v1::{Pod, PodEdit};

use super::{Attempt, Operation};
use crate::registry::Served;

/// Whether pods are made or changed.
pub(super) fn are_written(served: &Served, operation: Operation) -> bool {
    served.is("", "pods") && matches!(operation, Operation::Create | Operation::Update)
}

/// The pod that is to be written; none for a subresource.
pub(super) fn read<'t>(attempt: &'t Attempt<'_>) -> Option<Pod<'t>> {
    attempt.new().filter(|_| attempt.subresource().is_empty()).map(views::read::<Pod<'_>>)
}

/// The pod that is to be written, to be changed; none for a subresource.
pub(super) fn write<'t>(attempt: &'t mut Attempt<'_>) -> Option<PodEdit<'t>> {
    if !attempt.subresource().is_empty() {
        return None;
    }
    attempt.object.as_deref_mut().map(views::write::<PodEdit<'_>>)
}

/// The pod that is stored, when the pod itself is to be replaced.
pub(super) fn old<'t>(attempt: &Attempt<'t>) -> Option<Pod<'t>> {
    attempt.old.filter(|_| attempt.operation == Operation::Update).map(views::read::<Pod<'_>>)
}
