//! Strategic merge patch: a merge patch that knows from the schema which lists are merged by a key, and takes directives.
//!
//! Upstream: `apimachinery/pkg/util/strategicpatch`. Depth is bounded by what `serde_json` reads (128 levels), so these functions call
//! themselves.

use std::collections::{HashMap, HashSet};

use portcullis_model::schema::{Attributes, Schema, TypeId, TypeRef};
use serde_json::{Map, Value};
use thiserror::Error;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Why a patch cannot be applied. The words are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StrategicError {
    /// A `$patch` that does not exist.
    #[error("unknown patch type: {directive} in map: {map}")]
    UnknownDirective {
        /// What it says.
        directive: String,
        /// The map it stands in.
        map: String,
    },
    /// An element of a list that is merged by a key has no such key.
    #[error("map: {map} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The element.
        map: String,
        /// The key.
        key: String,
    },
    /// The keys that are to stay are no list.
    #[error("invalid patch format of retainKeys")]
    MalformedRetainKeys,
    /// The patch sets a member that is not among those that are to stay.
    #[error("patch content doesn't match retainKeys list")]
    NotRetained,
    /// An order is no list.
    #[error("expected a []interface {{}}, but received a {found}")]
    MalformedOrder {
        /// What it is, as Go calls it.
        found: &'static str,
    },
    /// A list of the patch has elements that its order does not have, or has them in another one.
    #[error("The order in patch list:\n{list}\n doesn't match $setElementOrder list:\n{order}\n")]
    OrderMismatch {
        /// The list.
        list: String,
        /// The order.
        order: String,
    },
    /// Elements of one list are of different types.
    #[error("list element types are not identical")]
    MixedList,
}

/// Applies a patch to an object of a type.
pub fn apply(schema: &Schema, ty: TypeId, object: &mut Value, patch: &Value) -> Result<(), StrategicError> {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => merge_map(schema, TypeRef::Object(ty), object, patch),
        (object, patch) => {
            *object = patch.clone();
            Ok(())
        }
    }
}

/// What the schema says about a member of a map.
fn member<'a>(schema: &'a Schema, ty: TypeRef, key: &str) -> (TypeRef, Option<&'a Attributes>) {
    match ty {
        TypeRef::Object(ty) => {
            let ty = schema.ty(ty);
            let field = ty.find(key).and_then(|number| ty.fields.get(usize::from(number)));
            field.map_or((TypeRef::Json, None), |field| (field.ty, Some(&field.attributes)))
        }
        TypeRef::Map(element) => (schema.element(element), None),
        _ => (TypeRef::Json, None),
    }
}

fn merge_map(
    schema: &Schema,
    ty: TypeRef,
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), StrategicError> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            *object = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        Some(directive) => return Err(unknown(directive, patch)),
    }
    retain_keys(object, patch)?;
    for (key, value) in patch {
        if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) {
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE_FROM_LIST) {
            // What is no list deletes nothing.
            if let (Some(Value::Array(held)), Some(gone)) = (object.get_mut(list), value.as_array()) {
                let gone = Places::of(gone, "");
                held.retain(|element| gone.of_key(element).is_none());
            }
            continue;
        }
        merge_member(schema, ty, object, key, value)?;
    }
    for (key, value) in patch {
        let Some(list) = key.strip_prefix(ELEMENT_ORDER) else { continue };
        let order = value.as_array().ok_or(StrategicError::MalformedOrder { found: go_type(value) })?;
        let (_, attributes) = member(schema, ty, list);
        let merge_key = attributes.and_then(|attributes| attributes.patch_merge_key.as_deref()).unwrap_or_default();
        if let Some(Value::Array(given)) = patch.get(list) {
            check_order(given, order, merge_key)?;
        }
        if let Some(Value::Array(held)) = object.get_mut(list) {
            let before = held.clone();
            put_in_order(held, order, &before, merge_key);
        }
    }
    Ok(())
}

/// What a patch adds or changes must stand in its order as it stands in the list; the order may name more.
fn check_order(list: &[Value], order: &[Value], merge_key: &str) -> Result<(), StrategicError> {
    let key = |value: &Value| if merge_key.is_empty() { Some(value.clone()) } else { value.get(merge_key).cloned() };
    let mut rest = order.iter();
    let stands = |item: &Value| is_directive(item) || rest.any(|next| key(next) == key(item));
    if list.iter().all(stands) {
        return Ok(());
    }
    let shown = |list: &[Value]| go_text(&Value::Array(list.to_vec()));
    Err(StrategicError::OrderMismatch { list: shown(list), order: shown(order) })
}

/// The type of a decoded value, as Go names it.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn unknown(directive: &str, patch: &Map<String, Value>) -> StrategicError {
    StrategicError::UnknownDirective { directive: directive.to_owned(), map: go_map(patch) }
}

fn retain_keys(object: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), StrategicError> {
    let Some(keys) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let keys = keys.as_array().ok_or(StrategicError::MalformedRetainKeys)?;
    let is_kept = |key: &str| keys.iter().any(|kept| kept.as_str() == Some(key));
    let is_directive = |key: &str| {
        key == RETAIN_KEYS || key == DIRECTIVE || key.starts_with(DELETE_FROM_LIST) || key.starts_with(ELEMENT_ORDER)
    };
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !is_kept(key)) {
        return Err(StrategicError::NotRetained);
    }
    object.retain(|key, _| keys.iter().any(|kept| kept.as_str() == Some(key)));
    Ok(())
}

fn merge_member(
    schema: &Schema,
    ty: TypeRef,
    object: &mut Map<String, Value>,
    key: &str,
    patch: &Value,
) -> Result<(), StrategicError> {
    if patch.is_null() {
        object.remove(key);
        return Ok(());
    }
    let (member_type, attributes) = member(schema, ty, key);
    let strategy = attributes.and_then(|attributes| attributes.patch_strategy.as_deref()).unwrap_or_default();
    let merge_key = attributes.and_then(|attributes| attributes.patch_merge_key.as_deref()).unwrap_or_default();
    match (object.get_mut(key), patch) {
        (Some(Value::Object(held)), Value::Object(patch)) if strategy != "replace" => {
            merge_map(schema, member_type, held, patch)
        }
        (Some(Value::Array(held)), Value::Array(patch)) if strategy.split(',').any(|part| part == "merge") => {
            let element =
                if let TypeRef::List(element) = member_type { schema.element(element) } else { TypeRef::Json };
            merge_list(schema, element, held, patch, merge_key)
        }
        (_, patch) => {
            let fresh = if let Value::Array(elements) = patch {
                Value::Array(elements.iter().filter(|element| !is_directive(element)).map(cleaned).collect())
            } else {
                cleaned(patch)
            };
            object.insert(key.to_owned(), fresh);
            Ok(())
        }
    }
}

/// An element that only says what is done to the list.
fn is_directive(element: &Value) -> bool {
    element.get(DIRECTIVE).is_some_and(|directive| directive == "delete" || directive == "replace")
}

/// A value of a patch as it stands in an object: without directives and nulls.
fn cleaned(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(elements) => Value::Array(elements.iter().map(cleaned).collect()),
        other => other.clone(),
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let plain = patch.iter().filter(|(key, value)| {
        !value.is_null()
            && *key != DIRECTIVE
            && *key != RETAIN_KEYS
            && !key.starts_with(DELETE_FROM_LIST)
            && !key.starts_with(ELEMENT_ORDER)
    });
    plain.map(|(key, value)| (key.clone(), cleaned(value))).collect()
}

fn merge_list(
    schema: &Schema,
    element: TypeRef,
    held: &mut Vec<Value>,
    patch: &[Value],
    merge_key: &str,
) -> Result<(), StrategicError> {
    let before = held.clone();
    let all_maps = patch.iter().chain(before.iter()).all(Value::is_object);
    if !all_maps {
        if patch.iter().chain(before.iter()).any(Value::is_object) {
            return Err(StrategicError::MixedList);
        }
        let known = Places::of(&before, "");
        held.extend(patch.iter().filter(|value| known.of_value(value).is_none()).cloned());
        put_in_order(held, patch, &before, "");
        return Ok(());
    }
    if patch.iter().any(|item| item.get(DIRECTIVE).is_some_and(|directive| directive == "replace")) {
        *held = patch.iter().filter(|item| !is_directive(item)).map(cleaned).collect();
        return Ok(());
    }
    let mut merged = Vec::new();
    let mut deleted = Vec::new();
    let mut known = Places::of(held, merge_key);
    for item in patch {
        let Value::Object(item) = item else { continue };
        let key = item
            .get(merge_key)
            .ok_or_else(|| StrategicError::NoMergeKey { map: go_map(item), key: merge_key.to_owned() })?;
        match item.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            Some("delete") => {
                deleted.push(key.to_string());
                continue;
            }
            None | Some("merge") => {}
            Some(directive) => return Err(unknown(directive, item)),
        }
        merged.push(Value::Object(item.clone()));
        match known.of_key(key).and_then(|at| held.get_mut(at)) {
            Some(Value::Object(found)) => merge_map(schema, element, found, item)?,
            _ => {
                known.add(key, held.len());
                held.push(Value::Object(without_directives(item)));
            }
        }
    }
    if !deleted.is_empty() {
        let deleted: HashSet<String> = deleted.into_iter().collect();
        held.retain(|element| element.get(merge_key).is_none_or(|key| !deleted.contains(&key.to_string())));
    }
    put_in_order(held, &merged, &before, merge_key);
    Ok(())
}

/// Where the elements of a list are, by their merge key, or by themselves when there is none. The first of equals counts.
struct Places<'a> {
    merge_key: &'a str,
    places: HashMap<String, usize>,
}

impl<'a> Places<'a> {
    fn of(list: &[Value], merge_key: &'a str) -> Places<'a> {
        let mut places = Places { merge_key, places: HashMap::with_capacity(list.len()) };
        for (at, value) in list.iter().enumerate() {
            if let Some(key) = if merge_key.is_empty() { Some(value) } else { value.get(merge_key) } {
                places.add(key, at);
            }
        }
        places
    }

    fn add(&mut self, key: &Value, at: usize) {
        self.places.entry(key.to_string()).or_insert(at);
    }

    fn of_key(&self, key: &Value) -> Option<usize> {
        self.places.get(&key.to_string()).copied()
    }

    fn of_value(&self, value: &Value) -> Option<usize> {
        if self.merge_key.is_empty() { self.of_key(value) } else { self.of_key(value.get(self.merge_key)?) }
    }
}

/// Orders a merged list: what the patch names in the patch's order, the rest where it stood among them before.
fn put_in_order(list: &mut Vec<Value>, patch: &[Value], before: &[Value], merge_key: &str) {
    let (in_patch, in_before) = (Places::of(patch, merge_key), Places::of(before, merge_key));
    let mut named = Vec::new();
    let mut rest = Vec::new();
    for value in list.drain(..) {
        let held = in_before.of_value(&value);
        match in_patch.of_value(&value) {
            Some(at) => named.push((at, held, value)),
            None => rest.push((held, value)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    rest.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => a.cmp(b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    while let (Some((_, named_before, _)), Some((rest_before, _))) = (named.peek(), rest.peek()) {
        let rest_first = matches!((rest_before, named_before), (Some(rest), Some(named)) if rest < named);
        list.extend(if rest_first { rest.next().map(|row| row.1) } else { named.next().map(|row| row.2) });
    }
    list.extend(named.map(|row| row.2));
    list.extend(rest.map(|row| row.1));
}

/// A JSON value as Go's `%v` prints it.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => go_map(map),
        other => other.to_string(),
    }
}

fn go_map(map: &Map<String, Value>) -> String {
    let mut members: Vec<(&String, String)> = map.iter().map(|(key, value)| (key, go_text(value))).collect();
    members.sort();
    let members: Vec<String> = members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("map[{}]", members.join(" "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn patched(object: Value, patch: Value) -> Result<Value, String> {
        let schema = portcullis_kinds::schema();
        let ty = schema.by_kind("v1", "Pod").unwrap();
        let mut object = object;
        apply(schema, ty, &mut object, &patch).map_err(|error| error.to_string())?;
        Ok(object)
    }

    #[test]
    fn patches() {
        let check = |object: Value, patch: Value, expected: Value| {
            assert_eq!(patched(object.clone(), patch.clone()), Ok(expected), "{object} {patch}");
        };
        let containers = |list: Value| json!({"spec": {"containers": list}});
        check(
            containers(json!([{"name": "a", "image": "1"}, {"name": "b"}])),
            containers(json!([{"name": "a", "image": "2"}])),
            containers(json!([{"name": "a", "image": "2"}, {"name": "b"}])),
        );
        check(
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b"}])),
        );
        check(
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"$patch": "replace"}, {"name": "c"}])),
            containers(json!([{"name": "c"}])),
        );
        check(
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}),
            json!({"spec": {"containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}]}}),
        );
        check(
            json!({"metadata": {"finalizers": ["a/a", "b/b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"], "finalizers": ["c/c"]}}),
            json!({"metadata": {"finalizers": ["c/c", "b/b"]}}),
        );
        check(
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}}),
        );
        check(
            json!({"spec": {"nodeSelector": {"a": "1"}}}),
            json!({"spec": {"nodeSelector": {"$patch": "replace", "b": "2"}}}),
            json!({"spec": {"nodeSelector": {"b": "2"}}}),
        );
        check(
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": null}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        );
        check(
            json!({"metadata": {"finalizers": ["a/a"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a/a"}}),
            json!({"metadata": {"finalizers": ["a/a"]}}),
        );
        check(
            containers(json!([{"name": "a"}, {"name": "b"}])),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}], "containers": [{"name": "c"}, {"$patch": "delete", "name": "b"}]}}),
            containers(json!([{"name": "c"}, {"name": "a"}])),
        );
        check(json!({}), json!({"spec": {"x": null, "nodeName": "n"}}), json!({"spec": {"nodeName": "n"}}));
    }

    #[test]
    fn refusals() {
        let check = |object: Value, patch: Value, expected: &str| {
            assert_eq!(patched(object, patch.clone()), Err(expected.to_owned()), "{patch}");
        };
        let containers = |list: Value| json!({"spec": {"containers": list}});
        check(
            containers(json!([{"name": "a"}])),
            containers(json!([{"image": "a:2"}])),
            "map: map[image:a:2] does not contain declared merge key: name",
        );
        check(
            containers(json!([{"name": "a"}])),
            containers(json!([{"$patch": "explode", "name": "a"}])),
            "unknown patch type: explode in map: map[$patch:explode name:a]",
        );
        let spec = |spec: Value| json!({"spec": spec});
        check(
            spec(json!({"securityContext": {"a": 1}})),
            spec(json!({"securityContext": {"$retainKeys": ["b"], "a": 2}})),
            "patch content doesn't match retainKeys list",
        );
        check(
            spec(json!({"securityContext": {"a": 1}})),
            spec(json!({"securityContext": {"$retainKeys": "b"}})),
            "invalid patch format of retainKeys",
        );
        check(
            containers(json!([{"name": "a"}, {"name": "b"}])),
            spec(json!({"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a", "image": "x"}]})),
            "The order in patch list:\n[map[image:x name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        );
        check(
            containers(json!([{"name": "a"}])),
            spec(json!({"$setElementOrder/containers": "a"})),
            "expected a []interface {}, but received a string",
        );
    }
}
