//! `LimitRange` (upstream: `registry/core/limitrange`, `apis/core/validation`, `apis/core/v1/defaults.go`).
//!
//! What one container, pod or claim of a namespace may ask for, and what a container gets that does not ask. Admission applies it.

use std::collections::BTreeSet;

use portcullis_model::names;
use portcullis_model::quantity::{Format, Quantity};
use portcullis_model::status::BadValue;
use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::Strategy;
use crate::views::core_v1::{LimitRange, LimitRangeEdit, LimitRangeItem, LimitRangeItemEdit};
use crate::views::{self, Edit, Map, View};
use crate::vocabulary::resource_names::{can_be_overcommitted, container_resource, resource};
use crate::vocabulary::{Errors, Path, amounts};

/// The rules of `LimitRange`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { put_creates: true, names_itself: true, ..Rest::PLAIN },
    default,
    validate_create: validate,
    validate_update: |tree, _, _, errors| validate(tree, errors),
    ..Strategy::NONE
};

/// Limits of each container.
pub const CONTAINER: &str = "Container";
/// Limits of the containers of a pod together.
pub const POD: &str = "Pod";
/// Limits of a claim.
pub const PERSISTENT_VOLUME_CLAIM: &str = "PersistentVolumeClaim";

/// Thousandths of larger numbers do not fit into 64 bits, so that whole ones are compared.
const EXACT_MAX: i64 = i64::MAX / 1000;

/// A container that says nothing gets the most that is allowed as its limit, and its limit as its request.
fn default(tree: &mut Tree) {
    if views::read::<LimitRange<'_>>(tree).spec().limits().is_empty() {
        return;
    }
    let mut range: LimitRangeEdit<'_> = views::write(tree);
    range.spec_mut().limits_mut().each(|place| {
        let added = Added::of(LimitRangeItem::at(place.view()));
        let mut item = LimitRangeItemEdit::at(place);
        if !added.limits.is_empty() {
            amounts::insert(item.default_mut(), &added.limits);
        }
        if !added.requests.is_empty() {
            amounts::insert(item.default_request_mut(), &added.requests);
        }
        round_up(item);
    });
}

/// Amounts are kept in thousandths at the finest.
fn round_up(mut item: LimitRangeItemEdit<'_>) {
    let finer = amounts::finer(item.view().max());
    if !finer.is_empty() {
        amounts::insert(item.max_mut(), &finer);
    }
    let finer = amounts::finer(item.view().min());
    if !finer.is_empty() {
        amounts::insert(item.min_mut(), &finer);
    }
    let finer = amounts::finer(item.view().default_());
    if !finer.is_empty() {
        amounts::insert(item.default_mut(), &finer);
    }
    let finer = amounts::finer(item.view().default_request());
    if !finer.is_empty() {
        amounts::insert(item.default_request_mut(), &finer);
    }
    let finer = amounts::finer(item.view().max_limit_request_ratio());
    if !finer.is_empty() {
        amounts::insert(item.max_limit_request_ratio_mut(), &finer);
    }
}

/// What is missing in an item.
#[derive(Default)]
struct Added {
    limits: Vec<(String, String)>,
    requests: Vec<(String, String)>,
}

impl Added {
    fn of(item: LimitRangeItem<'_>) -> Added {
        if item.type_() != CONTAINER {
            return Added::default();
        }
        let owned = |(name, amount): (&str, &str)| (name.to_owned(), amount.to_owned());
        let (limits, requests) = (item.default_(), item.default_request());
        let added_limits = item.max().iter().filter(|(name, _)| limits.get(name).is_none());
        let mut added = Added { limits: added_limits.map(owned).collect(), requests: Vec::new() };
        let by_limit = limits.iter().chain(added.limits.iter().map(|(name, amount)| (name.as_str(), amount.as_str())));
        let is_limited = |name: &str| limits.get(name).is_some() || item.max().get(name).is_some();
        let by_minimum = item.min().iter().filter(|(name, _)| !is_limited(name));
        let added_requests = by_limit.chain(by_minimum).filter(|(name, _)| requests.get(name).is_none());
        added.requests = added_requests.map(owned).collect();
        added
    }
}

fn validate(tree: &Tree, errors: &mut Errors) {
    let range: LimitRange<'_> = views::read(tree);
    let at = Path::new("spec.limits");
    let mut types = BTreeSet::new();
    for (index, item) in range.spec().limits().iter().enumerate() {
        let at = at.index(index);
        check_type(item.type_(), &at.field("type"), errors);
        if !types.insert(item.type_()) {
            errors.duplicate(&at.field("type"), item.type_());
        }
        check_names(item, &at, errors);
        check_amounts(item, &at, errors);
    }
}

/// A type of the project's, or one with a domain.
fn check_type(ty: &str, at: &Path<'_>, errors: &mut Errors) {
    let complaints = names::qualified_name(ty);
    if complaints.is_empty() && !ty.contains('/') && ![POD, CONTAINER, PERSISTENT_VOLUME_CLAIM].contains(&ty) {
        errors.invalid(at, ty, "must be a standard limit type or fully qualified");
    }
    errors.complain(at, ty, complaints);
}

fn check_names(item: LimitRangeItem<'_>, at: &Path<'_>, errors: &mut Errors) {
    let rule = if [POD, CONTAINER].contains(&item.type_()) { container_resource } else { resource };
    let each = |map: Map<'_, &str>, field: &str, errors: &mut Errors| {
        for (name, _) in map.iter() {
            rule(name, &at.field(field).key(name), errors);
        }
    };
    each(item.max(), "max", errors);
    each(item.min(), "min", errors);
    let defaults = [("default", item.default_()), ("defaultRequest", item.default_request())];
    for (field, map) in defaults {
        if item.type_() != POD {
            each(map, field, errors);
        } else if !map.is_empty() {
            errors.forbidden(&at.field(field), "may not be specified when `type` is 'Pod'");
        }
    }
    let has_storage = item.min().get("storage").is_some() || item.max().get("storage").is_some();
    if item.type_() == PERSISTENT_VOLUME_CLAIM && !has_storage {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&at.field("limits"), why);
    }
    each(item.max_limit_request_ratio(), "maxLimitRequestRatio", errors);
}

/// The amounts of one resource, as far as they are given.
struct Amounts {
    min: Option<Quantity>,
    max: Option<Quantity>,
    limit: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

fn check_amounts(item: LimitRangeItem<'_>, at: &Path<'_>, errors: &mut Errors) {
    let is_pod = item.type_() == POD;
    let mut names = BTreeSet::new();
    let defaults = [item.default_(), item.default_request()].into_iter().filter(|_| !is_pod);
    for map in [item.max(), item.min(), item.max_limit_request_ratio()].into_iter().chain(defaults) {
        names.extend(map.iter().map(|(name, _)| name));
    }
    for name in names {
        let of = |map: Map<'_, &str>| map.get(name).and_then(|text| Quantity::parse(text).ok());
        let amounts = Amounts {
            min: of(item.min()),
            max: of(item.max()),
            limit: of(item.default_()).filter(|_| !is_pod),
            request: of(item.default_request()).filter(|_| !is_pod),
            ratio: of(item.max_limit_request_ratio()),
        };
        check_order(name, &amounts, at, errors);
        check_ratio(name, &amounts, at, errors);
        if let (false, Some(limit), Some(request)) = (can_be_overcommitted(name), amounts.limit, amounts.request)
            && limit != request
        {
            let why = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
            errors.invalid(&at.field("default").key(name), shown(limit), why);
        }
    }
}

/// The least, what is requested and limited by default, and the most stand in this order.
fn check_order(name: &str, amounts: &Amounts, at: &Path<'_>, errors: &mut Errors) {
    let Amounts { min, max, limit, request, .. } = *amounts;
    let mut above = |low: (&str, Option<Quantity>), high: (&str, Option<Quantity>), field: &str, bad| {
        if let (Some(lower), Some(higher)) = (low.1, high.1)
            && lower > higher
        {
            let why = format!("{} value {lower} is greater than {} value {higher}", low.0, high.0);
            let bad = if bad { lower } else { higher };
            errors.invalid(&at.field(field).key(name), shown(bad), why);
        }
    };
    above(("min", min), ("max", max), "min", true);
    above(("min", min), ("default request", request), "defaultRequest", false);
    above(("default request", request), ("max", max), "defaultRequest", true);
    above(("default request", request), ("default limit", limit), "defaultRequest", true);
    above(("min", min), ("default", limit), "default", true);
    above(("default", limit), ("max", max), "default", false);
}

fn check_ratio(name: &str, amounts: &Amounts, at: &Path<'_>, errors: &mut Errors) {
    let Some(ratio) = amounts.ratio else { return };
    let at = at.field("maxLimitRequestRatio");
    if ratio < Quantity::from_i64(1, Format::DecimalSi) {
        errors.invalid(&at.key(name), shown(ratio), format!("ratio {ratio} is less than 1"));
    }
    let (Some(min), Some(max)) = (amounts.min, amounts.max) else { return };
    let is_exact = [ratio, min, max].iter().all(|amount| amount.value() < EXACT_MAX);
    let (given, low, high) = if is_exact {
        (ratio.milli_value() as f64 / 1000.0, min.milli_value(), max.milli_value())
    } else {
        (ratio.value() as f64, min.value(), max.value())
    };
    let most = high as f64 / low as f64;
    if given > most {
        let why = format!("ratio {ratio} is greater than max/min = {most:.6}");
        errors.invalid(&at.key(name), shown(ratio), why);
    }
}

/// An amount as a complaint shows it.
fn shown(amount: Quantity) -> BadValue {
    BadValue::Text(amount.to_string())
}

#[cfg(test)]
mod tests;
