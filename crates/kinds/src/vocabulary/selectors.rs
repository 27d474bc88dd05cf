//! Label selectors of objects (upstream: `metav1/validation.ValidateLabelSelector`).

use portcullis_model::names;
use portcullis_model::selectors::{LabelSelector, LabelSelectorRequirement};

use super::{Errors, Path, labels};
use crate::views::{List, meta_v1};

/// The selector as the engine of selectors takes it.
#[must_use]
pub fn read(selector: meta_v1::LabelSelector<'_>) -> LabelSelector {
    let owned = |text: &str| text.to_owned();
    LabelSelector {
        match_labels: selector.match_labels().iter().map(|(key, value)| (owned(key), owned(value))).collect(),
        match_expressions: selector
            .match_expressions()
            .iter()
            .map(|one| LabelSelectorRequirement {
                key: owned(one.key()),
                operator: owned(one.operator()),
                values: one.values().iter().map(owned).collect(),
            })
            .collect(),
    }
}

/// Whether it selects everything.
#[must_use]
pub fn is_empty(selector: meta_v1::LabelSelector<'_>) -> bool {
    selector.match_labels().is_empty() && selector.match_expressions().is_empty()
}

/// Each requirement must make sense.
pub fn label_selector(selector: meta_v1::LabelSelector<'_>, at: &Path<'_>, errors: &mut Errors) {
    check(selector, true, at, errors);
}

/// Each requirement must make sense, but the values of expressions may be no label's: where an object that is stored has such ones
/// (upstream: `AllowInvalidLabelValueInSelector`).
pub fn label_selector_of_old(selector: meta_v1::LabelSelector<'_>, at: &Path<'_>, errors: &mut Errors) {
    check(selector, false, at, errors);
}

fn check(selector: meta_v1::LabelSelector<'_>, checks_values: bool, at: &Path<'_>, errors: &mut Errors) {
    labels::labels(selector.match_labels(), &at.field("matchLabels"), errors);
    for (index, one) in selector.match_expressions().iter().enumerate() {
        let (list, values) = (at.field("matchExpressions"), one.values());
        let at = list.index(index);
        match one.operator() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&at.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.field("values"), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&at.field("operator"), other, "not a valid selector operator"),
        }
        errors.complain(&at.field("key"), one.key(), names::qualified_name(one.key()));
        if checks_values {
            label_values(values, &at.field("values"), errors);
        }
    }
}

/// Each is the value of a label.
pub fn label_values(values: List<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    for (index, value) in values.iter().enumerate() {
        errors.complain(&at.index(index), value, names::label_value(value));
    }
}

/// Whether an object with these labels is selected. A selector that makes no sense selects nothing.
#[must_use]
pub fn selects(selector: meta_v1::LabelSelector<'_>, labels: crate::views::Map<'_, &str>) -> bool {
    read(selector).to_selector().is_ok_and(|selector| selector.matches(|key| labels.get(key)))
}
