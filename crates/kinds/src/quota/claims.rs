//! What a persistent volume claim costs (upstream: `evaluator/core/persistent_volume_claims.go`): its place and its bytes, in all and of
//! its storage class.

use std::collections::BTreeSet;

use portcullis_model::quantity::{Format, Quantity};
use portcullis_model::tree::Tree;

use super::scopes::Requirement;
use super::{Usage, count_of, is_count_of, one};
use crate::core::resource_quota::VOLUME_ATTRIBUTES_CLASS;
use crate::views;
use crate::views::core_v1::PersistentVolumeClaim;

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
/// Between a storage class and what of it is limited.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
/// The class of claims from before there was a field for it. It still counts before the field.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Whether a claim can cost any of this.
#[must_use]
pub fn costs(name: &str) -> bool {
    let plain = name.split_once(OF_CLASS).map_or(name, |(_, rest)| rest);
    matches!(plain, CLAIMS | STORAGE) || is_count_of(plain, "", CLAIMS)
}

/// Whether a claim is in a scope: a class that it has, wants, or is on its way to.
#[must_use]
pub fn is_in(object: &Tree, requirement: Requirement<'_>) -> bool {
    if requirement.scope != VOLUME_ATTRIBUTES_CLASS {
        return false;
    }
    let claim: PersistentVolumeClaim<'_> = views::read(object);
    let changing = claim.status().modify_volume_status().map(|status| status.target_volume_attributes_class_name());
    let all =
        [claim.spec().volume_attributes_class_name(), claim.status().current_volume_attributes_class_name(), changing];
    let classes: BTreeSet<&str> = all.into_iter().flatten().filter(|class| !class.is_empty()).collect();
    if classes.is_empty() {
        return requirement.takes(None);
    }
    classes.into_iter().any(|class| requirement.takes(Some(class)))
}

/// What a claim costs.
#[must_use]
pub fn usage(object: &Tree) -> Usage {
    let claim: PersistentVolumeClaim<'_> = views::read(object);
    let mut usage = Usage::from([(count_of("", CLAIMS), one()), (CLAIMS.to_owned(), one())]);
    let class = match claim.metadata().annotations().get(CLASS_ANNOTATION) {
        Some(class) => class,
        None => claim.spec().storage_class_name().unwrap_or_default(),
    };
    if !class.is_empty() {
        usage.insert(format!("{class}{OF_CLASS}{CLAIMS}"), one());
    }
    let amount = |text: &str| Quantity::parse(text).ok().map(whole);
    let Some(wanted) = claim.spec().resources().requests().get("storage").and_then(amount) else { return usage };
    // A volume that grew further than is wanted now does not shrink.
    let held = claim.status().allocated_resources().get("storage").and_then(amount);
    let storage = held.filter(|held| *held > wanted).unwrap_or(wanted);
    usage.insert(STORAGE.to_owned(), storage);
    if !class.is_empty() {
        usage.insert(format!("{class}{OF_CLASS}{STORAGE}"), storage);
    }
    usage
}

/// There are no parts of a byte.
fn whole(amount: Quantity) -> Quantity {
    let bytes = Quantity::from_i64(amount.value(), Format::DecimalSi);
    if bytes == amount { amount } else { Quantity::from_i64(amount.value(), amount.format()) }
}
