//! Maps of labels (upstream: `ValidateLabels`).

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
