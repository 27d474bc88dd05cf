//! `ResourceClaim` (upstream: `registry/resource/resourceclaim`, `apis/resource/validation`; KEP-4381, device status KEP-4817).
//!
//! What is claimed never changes; what it got is written through `/status` by the scheduler, and what becomes of each device by drivers.

use portcullis_model::tree::Tree;

use super::{allocation, claims};
use crate::rest::{Resets, Rest, StatusKeeps};
use crate::strategy::{Cell, Strategy};
use crate::views;
use crate::views::resource_v1::{ResourceClaim, ResourceClaimEdit};
use crate::vocabulary::frozen::frozen;
use crate::vocabulary::{Errors, Path};

/// The rules of `ResourceClaim`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        delete_shows_object: true,
        status_keeps: StatusKeeps::Metadata,
        resets: &[("status", Resets::SPEC_AND_METADATA)],
        ..Rest::PLAIN
    },
    default: |tree| claims::default(views::write::<ResourceClaimEdit<'_>>(tree).spec_mut().devices_mut()),
    validate_create,
    prepare_update,
    validate_update,
    cell,
    ..Strategy::NONE
};

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let claim: ResourceClaim<'_> = views::read(tree);
    claims::validate(claim.spec().devices(), &Path::new("spec.devices"), errors);
}

/// What a driver said of a device goes with the device.
fn prepare_update(tree: &mut Tree, old: &Tree, subresource: &str, _: i64) {
    if subresource != "status" {
        return;
    }
    let old_claim: ResourceClaim<'_> = views::read(old);
    let mut claim: ResourceClaimEdit<'_> = views::write(tree);
    let new = claim.view().status();
    if new.devices().is_empty() || old_claim.status().allocation().is_none() {
        return;
    }
    let gone = allocation::taken_away(new, old_claim.status());
    let kept: Vec<bool> = new.devices().iter().map(|one| !allocation::is_among(one, &gone)).collect();
    if kept.iter().all(|is_kept| *is_kept) {
        return;
    }
    let mut kept = kept.into_iter();
    let mut status = claim.status_mut();
    status.devices_mut().retain(|_| kept.next().unwrap_or_default());
    if status.view().devices().is_empty() {
        status.clear_devices();
    }
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (claim, old_claim): (ResourceClaim<'_>, ResourceClaim<'_>) = (views::read(tree), views::read(old));
    if subresource == "status" {
        allocation::validate(claim, old_claim, &Path::new("status"), errors);
        return;
    }
    frozen(claim.spec().place(), old_claim.spec().place(), &Path::new("spec"), errors);
}

fn cell(tree: &Tree, column: &str, _: i64) -> Option<Cell> {
    if column != "State" {
        return None;
    }
    let claim: ResourceClaim<'_> = views::read(tree);
    let is_deleted = claim.metadata().deletion_timestamp().is_some();
    let is_allocated = claim.status().allocation().is_some();
    let states = [
        ("deleted", is_deleted),
        ("pending", !is_allocated && !is_deleted),
        ("allocated", is_allocated),
        ("reserved", is_allocated && !claim.status().reserved_for().is_empty()),
    ];
    let states: Vec<&str> = states.into_iter().filter(|(_, is_so)| *is_so).map(|(state, _)| state).collect();
    Some(Cell::Text(states.join(",")))
}

#[cfg(test)]
mod tests;
