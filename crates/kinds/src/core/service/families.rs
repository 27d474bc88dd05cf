//! Which IP families a service has, before addresses are drawn for it (upstream: `beginCreate` and `beginUpdate` of
//! `registry/core/service/storage`, `initIPFamilyFields`; dual stack KEP-563).
//!
//! [`begin_create`] and [`begin_update`] are the first things that happen to a service after admission: before preparation, before
//! validation, and before anything is allocated. A complaint of theirs ends the request, and is the whole answer.

use portcullis_model::tree::Tree;

use super::addresses::{self, PREFER_DUAL_STACK, REQUIRE_DUAL_STACK, SINGLE_STACK, family_of};
use super::{carried, needs};
use crate::views::core_v1::{Service, ServiceEdit, ServiceSpec};
use crate::views::{self, shown};
use crate::vocabulary::{Errors, Path};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Its name in `ipFamilies`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The family of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Family> {
        [Family::V4, Family::V6].into_iter().find(|family| family.name() == name)
    }

    /// The one that it is not.
    #[must_use]
    pub const fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }
}

/// Pairs `clusterIP` with `clusterIPs` and settles the families of a new service. The families are those that the server has, its
/// primary one first.
pub fn begin_create(tree: &mut Tree, families: &[Family], errors: &mut Errors) {
    carried::pair_addresses(tree, None);
    settle(tree, None, families, errors);
}

/// Gives an updated service what its client left out of what it was given, and settles its families.
pub fn begin_update(tree: &mut Tree, old: &Tree, families: &[Family], errors: &mut Errors) {
    carried::keep_allocated(tree, old);
    carried::pair_addresses(tree, Some(old));
    settle(tree, Some(old), families, errors);
}

fn settle(tree: &mut Tree, old: Option<&Tree>, families: &[Family], errors: &mut Errors) {
    let old = old.map(|old| views::read::<Service<'_>>(old).spec());
    let spec = of(tree);
    if spec.type_() == needs::EXTERNAL_NAME || old.is_some_and(|old| prefers_two_as_before(spec, old)) {
        return;
    }
    if spec.ip_family_policy().is_none() {
        let policy = match old.and_then(ServiceSpec::ip_family_policy) {
            Some(policy) => policy,
            None if has_unknown_endpoints(spec) => REQUIRE_DUAL_STACK,
            None => SINGLE_STACK,
        };
        views::write::<ServiceEdit<'_>>(tree).spec_mut().set_ip_family_policy(policy);
    }
    let before = errors.len();
    addresses::related(of(tree), old, &Path::new("spec"), errors);
    if errors.len() > before {
        return;
    }
    if let Some(old) = old {
        release_second(tree, old, errors);
    }
    policy_fits(of(tree), errors);
    infer(tree, families, errors);
    if errors.len() > before {
        return;
    }
    if has_unknown_endpoints(of(tree)) {
        complete(tree, families.first().copied(), true);
        return;
    }
    are_configured(of(tree), families, errors);
    if errors.len() == before {
        complete(tree, families.first().copied(), families.len() == 2);
    }
}

fn of(tree: &Tree) -> ServiceSpec<'_> {
    views::read::<Service<'_>>(tree).spec()
}

fn policy(spec: ServiceSpec<'_>) -> &str {
    spec.ip_family_policy().unwrap_or_default()
}

/// Whether its endpoints are made by somebody else, who may give them any families.
fn has_unknown_endpoints(spec: ServiceSpec<'_>) -> bool {
    needs::is_headless(spec) && spec.selector().is_empty()
}

/// Whether a service prefers two families and says so in the same way as before: it is not given a second one, nor loses it, because the
/// cluster has changed.
fn prefers_two_as_before(new: ServiceSpec<'_>, old: ServiceSpec<'_>) -> bool {
    new.type_() == old.type_()
        && needs::HAVE_ADDRESSES.contains(&new.type_())
        && new.ip_family_policy() == Some(PREFER_DUAL_STACK)
        && old.ip_family_policy().is_none_or(|policy| policy == PREFER_DUAL_STACK)
        && carried::are_same(new.cluster_ips(), old.cluster_ips())
        && carried::are_same(new.ip_families(), old.ip_families())
}

/// Who asks for one family keeps the first; who asks for less than there was has to ask for one family.
fn release_second(tree: &mut Tree, old: ServiceSpec<'_>, errors: &mut Errors) {
    let spec = of(tree);
    let (addresses, kinds) = (spec.cluster_ips(), spec.ip_families());
    if policy(spec) == SINGLE_STACK {
        let addresses = addresses.len() > 1 && carried::are_same(addresses, old.cluster_ips());
        let kinds = kinds.len() > 1 && carried::are_same(kinds, old.ip_families());
        let mut service: ServiceEdit<'_> = views::write(tree);
        let mut spec = service.spec_mut();
        let mut is_first = true;
        if addresses {
            spec.cluster_ips_mut().retain(|_| std::mem::take(&mut is_first));
        }
        is_first = true;
        if kinds {
            spec.ip_families_mut().retain(|_| std::mem::take(&mut is_first));
        }
        return;
    }
    let at = Path::new("spec.ipFamilyPolicy");
    if !addresses.is_empty() && addresses.len() < old.cluster_ips().len() {
        errors.invalid(&at, policy(spec), "must be 'SingleStack' to release the secondary cluster IP");
    }
    if !kinds.is_empty() && kinds.len() < old.ip_families().len() {
        errors.invalid(&at, policy(spec), "must be 'SingleStack' to release the secondary IP family");
    }
}

/// Two of anything want a policy for two.
fn policy_fits(spec: ServiceSpec<'_>, errors: &mut Errors) {
    if policy(spec) != SINGLE_STACK {
        return;
    }
    let at = Path::new("spec.ipFamilyPolicy");
    if spec.cluster_ips().len() == 2 {
        let why = "must be RequireDualStack or PreferDualStack when multiple cluster IPs are specified";
        errors.invalid(&at, SINGLE_STACK, why);
    }
    if spec.ip_families().len() == 2 {
        let why = "must be RequireDualStack or PreferDualStack when multiple IP families are specified";
        errors.invalid(&at, SINGLE_STACK, why);
    }
}

/// Addresses that were given say which families they are of.
fn infer(tree: &mut Tree, families: &[Family], errors: &mut Errors) {
    let spec = of(tree);
    let (named, at) = (spec.ip_families().len(), Path::new("spec.clusterIPs"));
    let mut added = Vec::new();
    for (index, address) in spec.cluster_ips().iter().enumerate().take_while(|(_, address)| *address != needs::HEADLESS)
    {
        let family = family_of(address);
        // What was refused is not added, so that one after it is looked at as if it were alone.
        if index < named + added.len() {
            continue;
        }
        if families.contains(&family) {
            added.push(family);
        } else {
            let why = format!("{} is not configured on this cluster", family.name());
            errors.invalid(&at.index(index), shown(spec.place().get(ServiceSpec::CLUSTER_IPS)), why);
        }
    }
    append(tree, &added);
}

fn append(tree: &mut Tree, families: &[Family]) {
    if families.is_empty() {
        return;
    }
    let mut service: ServiceEdit<'_> = views::write(tree);
    let mut spec = service.spec_mut();
    let mut list = spec.ip_families_mut();
    for family in families {
        list.push_text(family.name());
    }
}

/// The server has the families that are asked for.
fn are_configured(spec: ServiceSpec<'_>, families: &[Family], errors: &mut Errors) {
    if policy(spec) == REQUIRE_DUAL_STACK && families.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid(&Path::new("spec.ipFamilyPolicy"), REQUIRE_DUAL_STACK, why);
    }
    let at = Path::new("spec.ipFamilies");
    for (index, name) in spec.ip_families().iter().enumerate() {
        if !Family::named(name).is_some_and(|family| families.contains(&family)) {
            errors.invalid(&at.index(index), name, "not configured on this cluster");
        }
    }
}

/// The primary family where none is named, and the other one for who takes two.
fn complete(tree: &mut Tree, primary: Option<Family>, has_two: bool) {
    let spec = of(tree);
    let named: Vec<Family> = spec.ip_families().iter().filter_map(Family::named).collect();
    let takes_two = has_two && policy(spec) != SINGLE_STACK;
    let added = match named.as_slice() {
        [] => [primary, primary.map(Family::other).filter(|_| takes_two)],
        [first] if takes_two => [Some(first.other()), None],
        _ => [None, None],
    };
    let added: Vec<Family> = added.into_iter().flatten().collect();
    append(tree, &added);
}
