//! Merge patch (RFC 7386), with the one habit of upstream's library (`evanphx/json-patch` v4) that can be seen: what takes the place of
//! something that is no object loses its nulls even inside lists.
//!
//! Depth is bounded by what `serde_json` reads (128 levels), so these functions call themselves.

use serde_json::{Map, Value};

/// Merges a patch into an object.
pub fn merge(object: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, wanted) in patch {
        match (object.get_mut(name), wanted) {
            (_, Value::Null) => {
                object.remove(name);
            }
            (Some(Value::Object(held)), Value::Object(patch)) => merge(held, patch),
            (Some(held @ Value::Object(_)), wanted) => *held = wanted.clone(),
            (_, wanted) => {
                let mut wanted = wanted.clone();
                drop_nulls(&mut wanted);
                object.insert(name.clone(), wanted);
            }
        }
    }
}

/// Takes members that are null out of every object in a value.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn merges() {
        let check = |object: Value, patch: Value, expected: Value| {
            let mut merged = object.as_object().unwrap().clone();
            merge(&mut merged, patch.as_object().unwrap());
            assert_eq!(Value::Object(merged), expected, "{object} {patch}");
        };
        check(json!({"a": 1}), json!({"a": 2}), json!({"a": 2}));
        check(json!({"a": 1, "b": 2}), json!({"a": null, "c": null}), json!({"b": 2}));
        check(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}}), json!({"a": {"c": 2}}));
        check(json!({"a": {"b": 1}}), json!({"a": {"b": null}}), json!({"a": {}}));
        check(json!({}), json!({"a": {"b": null, "c": 1}}), json!({"a": {"c": 1}}));
        check(json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]}));
        check(json!({"a": [1]}), json!({"a": [{"b": null, "c": 1}, null]}), json!({"a": [{"c": 1}, null]}));
        check(json!({"a": {"x": 1}}), json!({"a": [{"b": null}]}), json!({"a": [{"b": null}]}));
        check(json!({"a": 1}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}}));
        check(json!({"a": null}), json!({"a": {"b": null}}), json!({"a": {}}));
        check(json!({"a": {"x": 1}}), json!({"a": "text"}), json!({"a": "text"}));
    }
}
