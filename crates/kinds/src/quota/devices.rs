//! What a resource claim costs (upstream: `evaluator/core/resource_claims.go`): its place, and the most devices that it may get of each
//! class.

use portcullis_model::tree::Tree;

use super::{Usage, count, count_of, is_count_of, one};
use crate::views;
use crate::views::resource_v1::ResourceClaim;

const CLAIMS: (&str, &str) = ("resource.k8s.io", "resourceclaims");
/// Behind a device class.
const OF_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// Most devices that one claim can get.
const DEVICES_MAX: i64 = 32;

/// Whether a claim can cost any of this.
#[must_use]
pub fn costs(name: &str) -> bool {
    name.ends_with(OF_CLASS) || is_count_of(name, CLAIMS.0, CLAIMS.1)
}

/// What a claim costs.
#[must_use]
pub fn usage(object: &Tree) -> Usage {
    let mut usage = Usage::from([(count_of(CLAIMS.0, CLAIMS.1), one())]);
    if object.object_type(object.root()) != Some(ResourceClaim::TYPE) {
        return usage;
    }
    let devices = |mode: &str, number: i64| count(if mode == "ExactCount" { number } else { DEVICES_MAX });
    for request in views::read::<ResourceClaim<'_>>(object).spec().devices().requests().iter() {
        let mut most = Usage::new();
        let alternatives = request.first_available().iter();
        let alternatives = alternatives.map(|one| (one.device_class_name(), one.allocation_mode(), one.count()));
        let exactly = request.exactly().filter(|_| request.first_available().is_empty());
        let exactly = exactly.map(|one| (one.device_class_name(), one.allocation_mode(), one.count()));
        // Only one of the alternatives is taken; which, is not known yet.
        for (class, mode, number) in alternatives.chain(exactly) {
            let wanted = devices(mode, number);
            let held = most.entry(format!("{class}{OF_CLASS}")).or_insert(wanted);
            if *held < wanted {
                *held = wanted;
            }
        }
        for (name, amount) in most {
            usage.entry(name).and_modify(|held| *held = *held + amount).or_insert(amount);
        }
    }
    usage
}
