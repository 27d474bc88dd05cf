//! What keeps claims from a device, and which claims stand that (upstream: `validateDeviceTaint`, `validateDeviceToleration`;
//! KEP-5055), and what must be true of a device before a pod is bound (KEP-5007).

use std::collections::HashSet;

use crate::views::resource_v1::{DeviceTaint, DeviceToleration};
use crate::views::{At, Field, List, View, shown_field};
use crate::vocabulary::{Errors, Path, names};

use super::lists;

/// Conditions that must hold, or must not.
const BINDING_CONDITIONS_MAX: usize = 4;
const OPERATORS: &[&str] = &["Equal", "Exists"];

/// A taint has a key and an effect.
pub fn taint(taint: DeviceTaint<'_>, at: &Path<'_>, errors: &mut Errors) {
    taint.check_key(at, errors);
    taint.check_value(at, errors);
    taint.check_effect(at, errors);
}

/// Each toleration makes sense.
pub fn tolerations(list: List<'_, DeviceToleration<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, one) in list.iter().enumerate() {
        toleration(one, &at.index(index), errors);
    }
}

fn toleration(one: DeviceToleration<'_>, at: &Path<'_>, errors: &mut Errors) {
    one.check_key(at, errors);
    match one.operator() {
        "Exists" if one.value().is_empty() => {}
        "Exists" => errors.invalid(&at.field("value"), one.value(), "must be empty for operator `Exists`"),
        "Equal" => names::label_value(one.value(), &at.field("value"), errors),
        "" => errors.required(&at.field("operator"), ""),
        other => errors.not_supported(&at.field("operator"), other, OPERATORS),
    }
    one.check_effect(at, errors);
}

/// What must be true of a device before a pod is bound, and what must not: both or neither, and nothing twice. `fields` are those of the
/// struct at the place.
pub fn binding_conditions(place: At<'_>, fields: [Field; 2], at: &Path<'_>, errors: &mut Errors) {
    let [conditions, failures] = fields.map(|field| List::<'_, &str>::at(place.get(field)));
    let [conditions_at, failures_at] = fields.map(|field| at.field(field.name()));
    for (list, at) in [(conditions, &conditions_at), (failures, &failures_at)] {
        if lists::is_short(list.len(), BINDING_CONDITIONS_MAX, at, errors) {
            for (index, name) in list.iter().enumerate() {
                names::qualified_name(name, &at.index(index), errors);
            }
        }
    }
    lists::distinct_texts(conditions.iter(), &conditions_at, errors);
    failure_conditions(conditions, failures, &failures_at, errors);
    if conditions.is_empty() && !failures.is_empty() {
        let why = "bindingConditions are required to use bindingFailureConditions";
        errors.invalid(&conditions_at, shown_field(place, fields[0]), why);
    }
    if failures.is_empty() && !conditions.is_empty() {
        let why = "bindingFailureConditions are required to use bindingConditions";
        errors.invalid(&failures_at, shown_field(place, fields[1]), why);
    }
}

/// No failure twice, and none that is a condition too.
fn failure_conditions(conditions: List<'_, &str>, failures: List<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    let wanted: HashSet<&str> = conditions.iter().collect();
    let mut seen = HashSet::new();
    for (index, failure) in failures.iter().enumerate() {
        if errors.is_full() {
            return;
        }
        let at = at.index(index);
        if !seen.insert(failure) {
            errors.duplicate(&at, failure);
        }
        if wanted.contains(failure) {
            errors.invalid(&at, failure, "bindingFailureConditions must not overlap with bindingConditions");
        }
    }
}
