//! What lists and maps of this group have in common (upstream: `validateSet`, `validateSlice`, `validateMap`): how long they may be, and
//! that nothing stands in them twice. Of one that is too long nothing else is looked at.

use std::collections::HashSet;
use std::hash::Hash;

use super::names::shown_key;
use crate::vocabulary::{Errors, Path};

/// Whether a list is short enough to be looked at.
pub fn is_short(count: usize, count_max: usize, at: &Path<'_>, errors: &mut Errors) -> bool {
    if count > count_max {
        errors.too_many(at, count, count_max);
    }
    count <= count_max
}

/// No two elements have the same key.
pub fn distinct<K: Copy + Eq + Hash>(
    keys: impl Iterator<Item = K>,
    shown: impl Fn(K) -> String,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let mut seen = HashSet::new();
    for (index, key) in keys.enumerate() {
        if !seen.insert(key) && !errors.is_full() {
            errors.duplicate(&at.index(index), shown(key));
        }
    }
}

/// No text stands in the list twice.
pub fn distinct_texts<'t>(texts: impl Iterator<Item = &'t str>, at: &Path<'_>, errors: &mut Errors) {
    distinct(texts, str::to_owned, at, errors);
}

/// Each key of a map follows a rule, and each value another. Complaints about keys name the map.
pub fn each_entry<'t, V>(
    entries: impl Iterator<Item = (&'t str, V)>,
    key_bytes_shown: usize,
    key_rule: fn(&str, &Path<'_>, &mut Errors),
    mut value_rule: impl FnMut(V, &Path<'_>, &mut Errors),
    at: &Path<'_>,
    errors: &mut Errors,
) {
    for (key, value) in entries {
        if errors.is_full() {
            return;
        }
        key_rule(key, at, errors);
        value_rule(value, &at.key(&shown_key(key, key_bytes_shown)), errors);
    }
}
