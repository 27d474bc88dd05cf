//! Texts that name something. What a name may look like is in [`portcullis_model::names`]; here is where it is complained about.

use portcullis_model::names;

use super::{Errors, Path};

/// A DNS label (RFC 1123).
pub fn dns_label(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::dns1123_label(value));
}

/// A DNS subdomain (RFC 1123).
pub fn dns_subdomain(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::dns1123_subdomain(value));
}

/// A label's key: a name, perhaps with a domain before it.
pub fn qualified_name(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::qualified_name(value));
}

/// A label's value.
pub fn label_value(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::label_value(value));
}

/// A key of a config map or a secret.
pub fn config_key(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::config_key(value));
}

/// One segment of a URL's path.
pub fn path_segment(value: &str, at: &Path<'_>, errors: &mut Errors) {
    errors.complain(at, value, names::path_segment(value));
}

/// One of a closed list of words.
pub fn one_of(value: &str, known: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if !known.contains(&value) {
        errors.not_supported(at, value, known);
    }
}
