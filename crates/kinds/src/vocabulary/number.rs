//! Ranges of numbers, in upstream's words.

use super::{Errors, Path};

/// Zero or more (upstream: `ValidateNonnegativeField`).
pub fn non_negative(value: i64, at: &Path<'_>, errors: &mut Errors) {
    at_least(value, 0, at, errors);
}

/// One or more (upstream: `ValidatePositiveField`).
pub fn positive(value: i64, at: &Path<'_>, errors: &mut Errors) {
    if value <= 0 {
        errors.invalid(at, value, "must be greater than 0");
    }
}

/// No less than this.
pub fn at_least(value: i64, least: i64, at: &Path<'_>, errors: &mut Errors) {
    if value < least {
        errors.invalid(at, value, format!("must be greater than or equal to {least}"));
    }
}

/// No more than this.
pub fn at_most(value: i64, most: i64, at: &Path<'_>, errors: &mut Errors) {
    if value > most {
        errors.invalid(at, value, format!("must be less than or equal to {most}"));
    }
}

/// Within both ends.
pub fn between(value: i64, least: i64, most: i64, at: &Path<'_>, errors: &mut Errors) {
    if !(least..=most).contains(&value) {
        errors.invalid(at, value, format!("must be between {least} and {most}, inclusive"));
    }
}

/// A port's number (upstream: `IsValidPortNum`).
pub fn port(value: i64, at: &Path<'_>, errors: &mut Errors) {
    between(value, 1, 65_535, at, errors);
}
