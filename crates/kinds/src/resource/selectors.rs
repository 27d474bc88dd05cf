//! Which devices somebody means, and what their drivers are told (upstream: `validateSelector`, `validateDeviceConfiguration`): an
//! expression in CEL, and an object that only its driver understands.

use crate::core::pod_spec::volumes::drivers::driver_name;
use crate::views::resource_v1::{DeviceSelector, OpaqueDeviceConfiguration};
use crate::views::{List, Raw};
use crate::vocabulary::{Errors, Path};

use super::lists;

/// Selectors of one request, or of a class.
const SELECTORS_MAX: usize = 32;
/// Bytes of an expression.
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
/// Bytes of what a driver is told.
pub const PARAMETERS_BYTES_MAX: usize = 10 * 1024;

/// What the parser of CEL says of an empty text.
const EMPTY_EXPRESSION: &str = "compilation failed: ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', \
                                '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Whether something was let in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is stored as it is: what was right then is right now.
    Stored,
    /// It is new or has changed.
    New,
}

/// Expressions that each select devices.
pub fn selectors(list: List<'_, DeviceSelector<'_>>, origin: Origin, at: &Path<'_>, errors: &mut Errors) {
    if !lists::is_short(list.len(), SELECTORS_MAX, at, errors) {
        return;
    }
    for (index, selector) in list.iter().enumerate() {
        let at = at.index(index);
        match selector.cel() {
            None => errors.required(&at.field("cel"), ""),
            Some(cel) if origin == Origin::New => expression(cel.expression(), &at.field("cel.expression"), errors),
            Some(_) => {}
        }
    }
}

/// What can be said of an expression without compiling it.
fn expression(text: &str, at: &Path<'_>, errors: &mut Errors) {
    if text.len() > EXPRESSION_BYTES_MAX {
        errors.too_long(at, EXPRESSION_BYTES_MAX);
    } else if text.is_empty() {
        errors.invalid(at, text, EMPTY_EXPRESSION);
    }
}

/// What a driver is told beside the claim.
pub fn configuration(
    opaque: Option<OpaqueDeviceConfiguration<'_>>,
    origin: Origin,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let at = at.field("opaque");
    let Some(opaque) = opaque else { return errors.required(&at, "") };
    driver_name(opaque.driver(), &at.field("driver"), errors);
    let bytes_max = if origin == Origin::New { PARAMETERS_BYTES_MAX } else { usize::MAX };
    object(opaque.parameters(), bytes_max, &at.field("parameters"), errors);
}

/// A JSON object that is not too long.
pub fn object(raw: Raw<'_>, bytes_max: usize, at: &Path<'_>, errors: &mut Errors) {
    let text = raw.0.trim_start();
    if text.is_empty() || text == "null" {
        errors.required(at, "");
    } else if text.len() > bytes_max {
        errors.too_long(at, bytes_max);
    } else if !text.starts_with('{') {
        errors.invalid(at, "<value omitted>", "must be a valid JSON object");
    }
}
