//! How much of a device one claim can have when several share it (upstream: `validateRequestPolicy`; KEP-5075).

use portcullis_model::quantity::{Format, Quantity};

use crate::views::resource_v1::{CapacityRequestPolicy, CapacityRequestPolicyRange, DeviceCapacity};
use crate::vocabulary::{Errors, Path};

use super::lists;

/// Amounts to choose from.
const VALID_VALUES_MAX: usize = 10;

const BOTH: &str =
    r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;

/// The capacity of a device that one claim has alone: all of it.
pub fn of_one(capacity: DeviceCapacity<'_>, at: &Path<'_>, errors: &mut Errors) {
    if capacity.request_policy().is_some() {
        errors.forbidden(&at.field("requestPolicy"), "allowMultipleAllocations must be true");
    }
}

/// The capacity of a device that claims share.
pub fn of_many(capacity: DeviceCapacity<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(policy) = capacity.request_policy() else { return };
    let at = at.field("requestPolicy");
    let (values, range) = (policy.valid_values(), policy.valid_range());
    match (values.is_empty(), range) {
        (false, Some(_)) => errors.forbidden(&at, BOTH),
        (false, None) => match quantity(policy.default_()) {
            None => errors.required(&at.field("default"), "required when validValues is defined"),
            Some(default) => valid_values(policy, default, amount(capacity), &at.field("validValues"), errors),
        },
        (true, Some(range)) => match quantity(policy.default_()) {
            None => errors.required(&at.field("default"), "required when validRange is defined"),
            Some(default) => valid_range(range, default, amount(capacity), &at.field("validRange"), errors),
        },
        (true, None) => {}
    }
}

fn quantity(text: Option<&str>) -> Option<Quantity> {
    Quantity::parse(text?).ok()
}

fn amount(capacity: DeviceCapacity<'_>) -> Quantity {
    Quantity::parse(capacity.value()).unwrap_or(Quantity::from_i64(0, Format::DecimalSi))
}

/// The amounts that can be asked for rise, and the default is one of them.
fn valid_values(
    policy: CapacityRequestPolicy<'_>,
    default: Quantity,
    capacity: Quantity,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let values = || policy.valid_values().iter().filter_map(|text| Quantity::parse(text).ok());
    for (index, (one, next)) in values().zip(values().skip(1)).enumerate() {
        if one > next && !errors.is_full() {
            errors.invalid(&at.index(index + 1), next.to_string(), "values must be sorted in ascending order");
        }
    }
    if lists::is_short(policy.valid_values().len(), VALID_VALUES_MAX, at, errors) {
        for (index, value) in values().enumerate() {
            if value > capacity {
                let why = format!("option is larger than capacity value: {capacity}");
                errors.invalid(&at.index(index), value.to_string(), why);
            }
        }
        // Upstream tells amounts apart by their whole units.
        lists::distinct(values().map(|value| value.value()), |units| units.to_string(), at, errors);
    }
    if !values().any(|value| value == default) {
        errors.invalid(at, default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

/// The default, and what else can be asked for, stand between two ends, in steps.
fn valid_range(
    range: CapacityRequestPolicyRange<'_>,
    default: Quantity,
    capacity: Quantity,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let Some(min) = quantity(range.min()) else {
        errors.required(&at.field("min"), "required when validRange is defined");
        return;
    };
    let mut wrong = |field: &str, shown: Quantity, why: &str, than: Quantity| {
        errors.invalid(&at.field(field), shown.to_string(), format!("{why}: {than}"));
    };
    if min > capacity {
        wrong("min", min, "min is larger than capacity value", capacity);
    }
    if default < min {
        wrong("default", default, "default is less than min", min);
    }
    let max = quantity(range.max());
    if let Some(max) = max {
        if min > max {
            wrong("max", min, "min is larger than max", max);
        }
        if max > capacity {
            wrong("max", max, "max is larger than capacity value", capacity);
        }
        if default > max {
            wrong("default", default, "default is more than max", max);
        }
    }
    if let Some(step) = quantity(range.step()) {
        steps(step, min, capacity, [Some(default), max], &at.field("step"), errors);
    }
}

/// What can be asked for is a number of steps from the lower end.
fn steps(
    step: Quantity,
    min: Quantity,
    capacity: Quantity,
    values: [Option<Quantity>; 2],
    at: &Path<'_>,
    errors: &mut Errors,
) {
    if step.sign() <= 0 {
        errors.invalid(at, step.to_string(), "must be greater than zero");
        return;
    }
    let first = min + step;
    if first > capacity {
        let why = format!("one step {first} is larger than capacity value: {capacity}");
        errors.invalid(at, step.to_string(), why);
    }
    for value in values.into_iter().flatten() {
        let distance = i128::from(value.value()) - i128::from(min.value());
        if distance.checked_rem(i128::from(step.value())) != Some(0) {
            let why = format!("value is not a multiple of a given step ({step}) from ({min})");
            errors.invalid(at, value.to_string(), why);
        }
    }
}
