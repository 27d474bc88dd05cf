//! Maps of labels (upstream: `ValidateLabels`).

use portcullis_model::meta_rules::ANNOTATIONS_LEN_MAX;
use portcullis_model::names;

use super::{Errors, Path};
use crate::views::Map;

/// Keys are qualified names, values are label values. Complaints name the map, not the entry.
pub fn labels(map: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    for (key, value) in map.iter() {
        errors.complain(at, key, names::qualified_name(key));
        errors.complain(at, value, names::label_value(value));
    }
}

/// Keys are qualified names in any case, and all together are not too long (upstream: `ValidateAnnotations`).
pub fn annotations(map: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    let mut len: usize = 0;
    for (key, value) in map.iter() {
        let has_capitals = !key.is_ascii() || key.bytes().any(|octet| octet.is_ascii_uppercase());
        let complaints =
            if has_capitals { names::qualified_name(&key.to_lowercase()) } else { names::qualified_name(key) };
        errors.complain(at, key, complaints);
        len = len.saturating_add(key.len()).saturating_add(value.len());
    }
    if len > ANNOTATIONS_LEN_MAX {
        errors.too_long(at, ANNOTATIONS_LEN_MAX);
    }
}
