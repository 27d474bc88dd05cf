//! Conditions of a status (upstream: `metav1/validation.ValidateConditions`).

use std::collections::HashSet;

use super::{Errors, Path, names};
use crate::views::List;
use crate::views::meta_v1::Condition;

const STATUSES: &[&str] = &["False", "True", "Unknown"];
const REASON_BYTES_MAX: usize = 1024;
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

const REASON_WRONG: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
                            characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or \
                            'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
                            '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// One condition of each type, each with its reason and time.
pub fn conditions(list: List<'_, Condition<'_>>, at: &Path<'_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, one) in list.iter().enumerate() {
        let at = at.index(index);
        if !seen.insert(one.type_()) {
            errors.duplicate(&at.field("type"), one.type_());
        }
        condition(one, &at, errors);
    }
}

fn condition(condition: Condition<'_>, at: &Path<'_>, errors: &mut Errors) {
    names::qualified_name(condition.type_(), &at.field("type"), errors);
    names::one_of(condition.status(), STATUSES, &at.field("status"), errors);
    if condition.observed_generation() < 0 {
        let why = "must be greater than or equal to zero";
        errors.invalid(&at.field("observedGeneration"), condition.observed_generation(), why);
    }
    if condition.last_transition_time().is_none() {
        errors.required(&at.field("lastTransitionTime"), "must be set");
    }
    let (reason, at_reason) = (condition.reason(), at.field("reason"));
    if reason.is_empty() {
        errors.required(&at_reason, "must be set");
    } else {
        if !is_reason(reason) {
            errors.invalid(&at_reason, reason, REASON_WRONG);
        }
        if reason.len() > REASON_BYTES_MAX {
            errors.too_long(&at_reason, REASON_BYTES_MAX);
        }
    }
    if condition.message().len() > MESSAGE_BYTES_MAX {
        errors.too_long(&at.field("message"), MESSAGE_BYTES_MAX);
    }
}

fn is_reason(text: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && text.as_bytes().last().is_some_and(|last| is_end(*last))
        && text.bytes().all(|byte| is_end(byte) || matches!(byte, b',' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        for reason in ["A", "MyName", "my_name", "ReasonA,ReasonB", "ReasonA:ReasonB", "a_"] {
            assert!(is_reason(reason), "{reason}");
        }
        for reason in ["", "1a", "_a", "a,", "a b", "a-b"] {
            assert!(!is_reason(reason), "{reason}");
        }
    }
}
