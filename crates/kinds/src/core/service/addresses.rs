//! How `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` of one service fit together (upstream:
//! `ValidateServiceClusterIPsRelatedFields`; dual stack KEP-563).
//!
//! Checked twice upstream: before families are settled, which makes sense of nothing else, and with all other rules.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::families::Family;
use super::needs;
use crate::views::core_v1::ServiceSpec;
use crate::views::shown;
use crate::vocabulary::network;
use crate::vocabulary::{Errors, Path, names};

/// Most addresses of a service: one of each family.
const CLUSTER_IPS_MAX: usize = 2;

/// One family, whatever the cluster has.
pub const SINGLE_STACK: &str = "SingleStack";
/// Both families where the cluster has both.
pub const PREFER_DUAL_STACK: &str = "PreferDualStack";
/// Both families or nothing.
pub const REQUIRE_DUAL_STACK: &str = "RequireDualStack";

const FAMILIES: [&str; 2] = [Family::V4.name(), Family::V6.name()];
const POLICIES: [&str; 3] = [PREFER_DUAL_STACK, REQUIRE_DUAL_STACK, SINGLE_STACK];

/// The fields fit together. Addresses that the stored object has already may be spelled as they are.
pub fn related(spec: ServiceSpec<'_>, old: Option<ServiceSpec<'_>>, at: &Path<'_>, errors: &mut Errors) {
    if spec.type_() == needs::EXTERNAL_NAME {
        return;
    }
    first_matches(spec, at, errors);
    families(spec, at, errors);
    if let Some(policy) = spec.ip_family_policy() {
        names::one_of(policy, &POLICIES, &at.field("ipFamilyPolicy"), errors);
    }
    if are_addresses(spec, old, at, errors) {
        differ_in_family(spec, at, errors);
        match_families(spec, at, errors);
    }
}

/// `clusterIP` is the first of `clusterIPs`.
fn first_matches(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at = at.field("clusterIPs");
    let bad = || shown(spec.place().get(ServiceSpec::CLUSTER_IPS));
    match (spec.cluster_ip(), spec.cluster_ips().iter().next()) {
        ("", None) => {}
        ("", Some(_)) => errors.invalid(&at, bad(), "must be empty when `clusterIP` is not specified"),
        (_, None) => errors.required(&at, ""),
        (single, Some(first)) if single != first => {
            errors.invalid(&at, bad(), "first value must match `clusterIP`");
        }
        _ => {}
    }
}

fn families(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (at, mut seen) = (at.field("ipFamilies"), BTreeSet::new());
    for (index, family) in spec.ip_families().iter().enumerate() {
        names::one_of(family, &FAMILIES, &at.index(index), errors);
        if !seen.insert(family) {
            errors.duplicate(&at.index(index), family);
        }
    }
}

/// Each is an address, or there is `None` alone. Says whether that is so.
fn are_addresses(spec: ServiceSpec<'_>, old: Option<ServiceSpec<'_>>, at: &Path<'_>, errors: &mut Errors) -> bool {
    let at = at.field("clusterIPs");
    let list = spec.cluster_ips();
    let bad = || shown(spec.place().get(ServiceSpec::CLUSTER_IPS));
    let mut held = Held::of(|| old.into_iter().flat_map(|old| old.cluster_ips().iter()));
    let before = errors.len();
    for (index, address) in list.iter().enumerate() {
        if index > 0 || address != needs::HEADLESS {
            held.unless(address, errors, |errors| network::address(address, &at.index(index), errors));
        } else if list.len() > 1 {
            errors.invalid(&at, bad(), "'None' must be the first and only value");
        }
    }
    let are_valid = errors.len() == before;
    if list.len() > CLUSTER_IPS_MAX {
        errors.invalid(&at, bad(), "may only hold up to 2 values");
    }
    are_valid
}

/// The texts that the stored object has in some place: what was accepted once may stay, however it is spelled.
pub struct Held<'t, F> {
    all: F,
    /// Made when the first text is found wrong, which is hardly ever.
    made: Option<BTreeSet<&'t str>>,
}

impl<'t, I: Iterator<Item = &'t str>, F: Fn() -> I> Held<'t, F> {
    /// The texts that this gives.
    pub fn of(all: F) -> Held<'t, F> {
        Held { all, made: None }
    }

    /// Complains of a text unless it is held. Says whether nothing is wrong with it, or nothing new.
    pub fn unless(&mut self, text: &str, errors: &mut Errors, check: impl FnOnce(&mut Errors)) -> bool {
        let mut found = Errors::new();
        check(&mut found);
        if found.is_empty() || self.made.get_or_insert_with(|| (self.all)().collect()).contains(text) {
            return true;
        }
        errors.extend(found.into_vec());
        false
    }
}

fn differ_in_family(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list = spec.cluster_ips();
    if list.len() < 2 {
        return;
    }
    let has = |family| list.iter().any(|address| family_of(address) == family);
    if list.len() > CLUSTER_IPS_MAX || !has(Family::V4) || !has(Family::V6) {
        let bad = shown(spec.place().get(ServiceSpec::CLUSTER_IPS));
        errors.invalid(&at.field("clusterIPs"), bad, "may specify no more than one IP for each IP family");
    }
}

fn match_families(spec: ServiceSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if needs::has_no_address_but_none(spec) {
        return;
    }
    let at = at.field("clusterIPs");
    for (index, (address, family)) in spec.cluster_ips().iter().zip(spec.ip_families().iter()).enumerate() {
        let Some(wanted) = Family::named(family) else { continue };
        if family_of(address) != wanted {
            let why = format!("expected an {} value as indicated by `ipFamilies[{index}]`", wanted.name());
            errors.invalid(&at.index(index), address, why);
        }
    }
}

/// The family of an address; of what is no address, the older one (upstream: `IsIPv6String`).
#[must_use]
pub fn family_of(address: &str) -> Family {
    match network::sloppy(address) {
        Some(IpAddr::V6(address)) if address.to_ipv4_mapped().is_none() => Family::V6,
        _ => Family::V4,
    }
}
