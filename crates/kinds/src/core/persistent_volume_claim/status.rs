//! What a status may say (upstream: `ValidatePersistentVolumeClaimStatusUpdate`; KEP-1790 for expansions that failed).

use portcullis_model::names;
use portcullis_model::quantity::Quantity;

use super::STORAGE;
use crate::views::core_v1::PersistentVolumeClaim;
use crate::vocabulary::{Errors, Path, resource_names};

/// How far an expansion is.
const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// What is wrong with a status.
pub(super) fn validate(claim: PersistentVolumeClaim<'_>, errors: &mut Errors) {
    if claim.spec().access_modes().is_empty() {
        // Clients know this path as it is.
        errors.required(&Path::new("Spec.accessModes"), "");
    }
    let status = claim.status();
    let at = Path::new("status.capacity");
    for (resource, text) in status.capacity().iter() {
        basic_amount(text, &at.key(resource), errors);
    }
    let at = Path::new("status.allocatedResourceStatus");
    for (resource, state) in status.allocated_resource_statuses().iter() {
        resource_key(resource, &at, errors);
        if !RESIZES.contains(&state) {
            errors.not_supported(&at, resource, RESIZES);
        }
    }
    let at = Path::new("status.allocatedResources");
    for (resource, text) in status.allocated_resources().iter() {
        let before = errors.len();
        resource_key(resource, &at, errors);
        if errors.len() == before {
            basic_amount(text, &at.key(resource), errors);
        }
    }
}

/// Of the project's own resources a claim has storage alone.
fn resource_key(resource: &str, at: &Path<'_>, errors: &mut Errors) {
    let complaints = names::qualified_name(resource);
    if complaints.is_empty() && resource_names::is_native(resource) && resource != STORAGE {
        errors.not_supported(at, resource, &[STORAGE]);
    }
    errors.complain(at, resource, complaints);
}

fn basic_amount(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let Ok(quantity) = Quantity::parse(text) else { return };
    if quantity.value() < 0 {
        errors.invalid(at, quantity.value(), "must be a valid resource quantity");
    }
}
