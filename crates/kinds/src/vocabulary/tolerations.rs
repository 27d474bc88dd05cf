//! Taints that a pod stands (upstream: `ValidateTolerations`, `validateTaintEffect`).

use portcullis_model::names;

use super::{Errors, Path};
use crate::views::core_v1::Toleration;
use crate::views::{List, shown};

/// What a taint does to pods that do not stand it.
pub const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

const NEEDS_EXISTS: &str = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";

/// Each toleration makes sense.
pub fn tolerations(list: List<'_, Toleration<'_>>, at: &Path<'_>, errors: &mut Errors) {
    for (index, one) in list.iter().enumerate() {
        toleration(one, &at.index(index), errors);
    }
}

fn toleration(one: Toleration<'_>, at: &Path<'_>, errors: &mut Errors) {
    if one.key().is_empty() {
        if one.operator() != "Exists" {
            errors.invalid(&at.field("operator"), one.operator(), NEEDS_EXISTS);
        }
    } else {
        errors.complain(&at.field("key"), one.key(), names::qualified_name(one.key()));
    }
    if one.toleration_seconds().is_some() && one.effect() != "NoExecute" {
        errors.invalid(&at.field("effect"), one.effect(), "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    operator(one, &at.field("operator"), errors);
    if !one.effect().is_empty() {
        effect(one.effect(), &at.field("effect"), errors);
    }
}

/// The operator is known and fits the value. Complaints about the value name the operator.
fn operator(one: Toleration<'_>, at: &Path<'_>, errors: &mut Errors) {
    match one.operator() {
        "" | "Equal" => {
            let complaints = names::label_value(one.value());
            if !complaints.is_empty() {
                errors.invalid(at, one.value(), complaints.join(";"));
            }
        }
        "Exists" if one.value().is_empty() => {}
        "Exists" => errors.invalid(at, shown(one.place()), "value must be empty when `operator` is 'Exists'"),
        other => errors.not_supported(at, other, &["Equal", "Exists"]),
    }
}

/// An effect that taints have.
pub fn effect(value: &str, at: &Path<'_>, errors: &mut Errors) {
    if !EFFECTS.contains(&value) {
        errors.not_supported(at, value, EFFECTS);
    }
}
