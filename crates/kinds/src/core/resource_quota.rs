//! `ResourceQuota` (upstream: `registry/core/resourcequota`, `apis/core/validation`, `printers/internalversion`).
//!
//! What a namespace may use in all. The object says how much (`spec.hard`) and of which objects (`scopes`, `scopeSelector`); its status
//! says what is enforced and used, which admission charges and a controller counts again.

use std::collections::HashSet;
use std::fmt::Write as _;

use portcullis_model::quantity::canonical;
use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Strategy};
use crate::views::core_v1::{
    ResourceQuota, ResourceQuotaEdit, ResourceQuotaSpec, ResourceQuotaStatus, ScopedResourceSelectorRequirement,
};
use crate::views::{self, List, Map, shown};
use crate::vocabulary::frozen::IMMUTABLE;
use crate::vocabulary::resource_names::{amount, is_quota_standard, quota_resource};
use crate::vocabulary::{Errors, Path, amounts};

/// The rules of `ResourceQuota`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    default,
    validate_create,
    validate_update,
    cell: |tree, column, _| cell(tree, column),
    ..Strategy::NONE
};

/// Pods that are to end by themselves.
pub const TERMINATING: &str = "Terminating";
/// Pods that are not.
pub const NOT_TERMINATING: &str = "NotTerminating";
/// Pods that ask for nothing.
pub const BEST_EFFORT: &str = "BestEffort";
/// Pods that ask for something.
pub const NOT_BEST_EFFORT: &str = "NotBestEffort";
/// Pods by their priority class.
pub const PRIORITY_CLASS: &str = "PriorityClass";
/// Pods whose place depends on pods of other namespaces.
pub const CROSS_NAMESPACE_POD_AFFINITY: &str = "CrossNamespacePodAffinity";
/// Claims by their volume attributes class.
pub const VOLUME_ATTRIBUTES_CLASS: &str = "VolumeAttributesClass";

/// Every scope.
const SCOPES: [&str; 7] = [
    TERMINATING,
    NOT_TERMINATING,
    BEST_EFFORT,
    NOT_BEST_EFFORT,
    PRIORITY_CLASS,
    CROSS_NAMESPACE_POD_AFFINITY,
    VOLUME_ATTRIBUTES_CLASS,
];
/// Scopes that an object is in or not, whatever values a selector names.
const SCOPES_WITHOUT_VALUES: [&str; 5] =
    [BEST_EFFORT, NOT_BEST_EFFORT, TERMINATING, NOT_TERMINATING, CROSS_NAMESPACE_POD_AFFINITY];
/// No object is in both.
const SCOPES_EXCLUSIVE: [(&str, &str); 2] = [(BEST_EFFORT, NOT_BEST_EFFORT), (TERMINATING, NOT_TERMINATING)];
/// What a quota over pods of some scope can limit.
const POD_RESOURCES: [&str; 7] =
    ["pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// What a quota over claims of some scope can limit.
const CLAIM_RESOURCES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

/// Amounts are kept in thousandths at the finest.
fn default(tree: &mut Tree) {
    let quota: ResourceQuota<'_> = views::read(tree);
    let hard = amounts::finer(quota.spec().hard());
    let (enforced, used) = (amounts::finer(quota.status().hard()), amounts::finer(quota.status().used()));
    let mut quota: ResourceQuotaEdit<'_> = views::write(tree);
    if !hard.is_empty() {
        amounts::insert(quota.spec_mut().hard_mut(), &hard);
    }
    if !enforced.is_empty() {
        amounts::insert(quota.status_mut().hard_mut(), &enforced);
    }
    if !used.is_empty() {
        amounts::insert(quota.status_mut().used_mut(), &used);
    }
}

/// Whether a quota over objects of this scope can limit this resource.
fn is_of_scope(resource: &str, scope: &str) -> bool {
    match scope {
        BEST_EFFORT => resource == "pods",
        TERMINATING | NOT_TERMINATING | NOT_BEST_EFFORT | PRIORITY_CLASS | CROSS_NAMESPACE_POD_AFFINITY => {
            POD_RESOURCES.contains(&resource)
        }
        VOLUME_ATTRIBUTES_CLASS => CLAIM_RESOURCES.contains(&resource),
        _ => true,
    }
}

fn validate_create(tree: &Tree, errors: &mut Errors) {
    let quota: ResourceQuota<'_> = views::read(tree);
    check_spec(quota.spec(), errors);
    check_status(quota.status(), errors);
}

fn validate_update(tree: &Tree, old: &Tree, subresource: &str, errors: &mut Errors) {
    let (quota, old): (ResourceQuota<'_>, ResourceQuota<'_>) = (views::read(tree), views::read(old));
    if subresource == "status" {
        check_status(quota.status(), errors);
        return;
    }
    check_spec(quota.spec(), errors);
    let (scopes, held) = (quota.spec().scopes(), old.spec().scopes());
    let set = |scopes: List<'_, &str>| -> HashSet<String> { scopes.iter().map(str::to_owned).collect() };
    if set(scopes) != set(held) {
        errors.invalid(
            &Path::new("spec.scopes"),
            shown(quota.spec().place().get(ResourceQuotaSpec::SCOPES)),
            IMMUTABLE,
        );
    }
}

fn check_spec(spec: ResourceQuotaSpec<'_>, errors: &mut Errors) {
    let at = Path::new("spec");
    check_amounts(spec.hard(), &at.field("hard"), errors);
    let standard: Vec<&str> = spec.hard().iter().map(|(name, _)| name).filter(|name| is_quota_standard(name)).collect();
    check_scopes(spec, &standard, &at.field("scopes"), errors);
    check_scope_selector(spec, &standard, &at.field("scopeSelector.matchExpressions"), errors);
}

fn check_status(status: ResourceQuotaStatus<'_>, errors: &mut Errors) {
    let at = Path::new("status");
    check_amounts(status.hard(), &at.field("hard"), errors);
    check_amounts(status.used(), &at.field("used"), errors);
}

fn check_amounts(amounts: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    for (name, text) in amounts.iter() {
        let at = at.key(name);
        quota_resource(name, &at, errors);
        amount(name, text, &at, errors);
    }
}

fn check_scopes(spec: ResourceQuotaSpec<'_>, standard: &[&str], at: &Path<'_>, errors: &mut Errors) {
    let all = || shown(spec.place().get(ResourceQuotaSpec::SCOPES));
    for scope in spec.scopes().iter() {
        // Each complaint shows the whole list.
        if errors.is_full() {
            return;
        }
        if !SCOPES.contains(&scope) {
            errors.invalid(at, all(), "unsupported scope");
        }
        for _ in standard.iter().filter(|name| !is_of_scope(name, scope)) {
            if errors.is_full() {
                return;
            }
            errors.invalid(at, all(), "unsupported scope applied to resource");
        }
    }
    check_exclusive(|scope| spec.scopes().iter().any(|held| held == scope), spec, at, errors);
}

/// Complaints name the list, not the requirement, and show the quota's scopes: upstream's words.
fn check_scope_selector(spec: ResourceQuotaSpec<'_>, standard: &[&str], at: &Path<'_>, errors: &mut Errors) {
    let Some(selector) = spec.scope_selector() else { return };
    for requirement in selector.match_expressions().iter() {
        if errors.is_full() {
            return;
        }
        let scope = requirement.scope_name();
        if !SCOPES.contains(&scope) {
            errors.invalid(&at.field("scopeName"), scope, "unsupported scope");
        }
        for _ in standard.iter().filter(|name| !is_of_scope(name, scope)) {
            if errors.is_full() {
                return;
            }
            let selector = spec.place().get(ResourceQuotaSpec::SCOPE_SELECTOR);
            errors.invalid(at, shown(selector), "unsupported scope applied to resource");
        }
        check_requirement(requirement, at, errors);
    }
    let has = |scope: &str| selector.match_expressions().iter().any(|held| held.scope_name() == scope);
    check_exclusive(has, spec, at, errors);
}

fn check_requirement(requirement: ScopedResourceSelectorRequirement<'_>, at: &Path<'_>, errors: &mut Errors) {
    let operator = requirement.operator();
    if SCOPES_WITHOUT_VALUES.contains(&requirement.scope_name()) && operator != "Exists" {
        let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                   ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                   ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid(&at.field("operator"), operator, why);
    }
    let values = requirement.values();
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(&at.field("values"), why);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            let given = requirement.place().get(ScopedResourceSelectorRequirement::VALUES);
            errors.invalid(&at.field("values"), shown(given), why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.invalid(&at.field("operator"), operator, "not a valid selector operator"),
    }
}

fn check_exclusive(has: impl Fn(&str) -> bool, spec: ResourceQuotaSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (one, other) in SCOPES_EXCLUSIVE {
        if has(one) && has(other) {
            errors.invalid(at, shown(spec.place().get(ResourceQuotaSpec::SCOPES)), "conflicting scopes");
        }
    }
}

/// What is used of what may be, requests and limits apart.
fn cell(tree: &Tree, column: &str) -> Option<Cell> {
    let wants_limits = match column {
        "Request" => false,
        "Limit" => true,
        _ => return None,
    };
    let status = views::read::<ResourceQuota<'_>>(tree).status();
    let mut out = String::new();
    for (name, hard) in status.hard().iter() {
        let is_limit = name.split_once('.').is_some_and(|(first, _)| first == "limits");
        if is_limit == wants_limits {
            let used = status.used().get(name).unwrap_or("0");
            let between = if out.is_empty() { "" } else { ", " };
            let text = |text| canonical(text).unwrap_or_default();
            // Writing to a string does not fail.
            let _ = write!(out, "{between}{name}: {}/{}", text(used), text(hard));
        }
    }
    Some(Cell::Text(out))
}

#[cfg(test)]
mod tests;
