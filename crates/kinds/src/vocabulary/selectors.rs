//! Label selectors of objects (upstream: `metav1/validation.ValidateLabelSelector`).

use portcullis_model::selectors::{LabelSelector, LabelSelectorRequirement, validate_label_selector};

use super::{Errors, Path};
use crate::views::meta_v1;

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
    errors.extend(validate_label_selector(&read(selector), &at.to_string()));
}

/// Whether an object with these labels is selected. A selector that makes no sense selects nothing.
#[must_use]
pub fn selects(selector: meta_v1::LabelSelector<'_>, labels: crate::views::Map<'_, &str>) -> bool {
    read(selector).to_selector().is_ok_and(|selector| selector.matches(|key| labels.get(key)))
}
