//! What config maps and secrets have in common: named pieces of data that together are not too large, and the promise to stay as they
//! are (upstream: `ValidateConfigMap`, `ValidateSecret` and their updates; KEP-1412).

use crate::views::{At, Field, Map};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path, names};

/// Most bytes of data that one object may hold (upstream: `MaxSecretSize`).
pub const SIZE_MAX: usize = 1 << 20;

const FROZEN: &str = "field is immutable when `immutable` is set";

/// Keys are names of files.
pub fn keys(map: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    for (key, _) in map.iter() {
        names::config_key(key, &at.key(key), errors);
    }
}

/// How many bytes are held, where the object has them in base64.
pub fn encoded_size(map: Map<'_, &str>) -> usize {
    let characters = |text: &str| text.bytes().filter(|byte| !matches!(byte, b'=' | b'\r' | b'\n')).count();
    map.iter().map(|(_, text)| characters(text) * 3 / 4).sum()
}

/// An object that promised to stay as it is keeps its promise and these fields.
pub fn promised(
    (new, new_flag): (At<'_>, Option<bool>),
    (old, old_flag): (At<'_>, Option<bool>),
    fields: &[Field],
    errors: &mut Errors,
) {
    if old_flag != Some(true) {
        return;
    }
    if new_flag != Some(true) {
        errors.forbidden(&Path::new("immutable"), FROZEN);
    }
    for field in fields {
        if !is_same(new.get(*field), old.get(*field)) {
            errors.forbidden(&Path::new(field.name()), FROZEN);
        }
    }
}
