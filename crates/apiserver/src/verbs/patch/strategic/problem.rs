//! Why a strategic merge patch cannot be applied, in upstream's words, and values as Go prints them.

use serde_json::{Map, Value};
use thiserror::Error;

use super::{ELEMENT_ORDER, LIST, MAP};

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StrategicError {
    /// A `$patch` that does not exist, or not there.
    #[error("unknown patch type: {directive} in map: {map}")]
    UnknownDirective {
        /// What it says.
        directive: String,
        /// The map it stands in.
        map: String,
    },
    /// An element of a list says that the list is to be merged.
    #[error("merging lists cannot yet be specified in the patch")]
    MergeInList,
    /// An element of a list that is merged by a key has no such key.
    #[error("map: {map} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The element.
        map: String,
        /// The key.
        key: String,
    },
    /// The keys that are to stay are no list, or the patch sets others.
    #[error("invalid patch format of retainKeys")]
    MalformedRetainKeys,
    /// A list of what is to be deleted that does not say from where.
    #[error("invalid patch format of primitive list")]
    MalformedDeletion,
    /// An order that does not say of what.
    #[error("invalid patch format of setElementOrder list")]
    MalformedOrder,
    /// Something is of another type than is needed there.
    #[error("expected a {wanted}, but received a {found}")]
    WrongType {
        /// What is needed, as Go calls it.
        wanted: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// An element of an order is no map.
    #[error("value for key {at} is not a map.")]
    NotAMap {
        /// Which.
        at: usize,
    },
    /// A list of the patch has elements that its order does not have, or has them in another one.
    #[error("The order in patch list:\n{list}\n doesn't match {ELEMENT_ORDER} list:\n{order}\n")]
    OrderMismatch {
        /// The list.
        list: String,
        /// The order.
        order: String,
    },
    /// Elements of one list are of different types.
    #[error("list element types are not identical: [{lists}]")]
    MixedList {
        /// The list as it is and as it is wanted.
        lists: String,
    },
    /// An order of nothing.
    #[error("no elements in any of the given slices")]
    NoElements,
    /// Elements of a list are lists. Nulls count as such here: upstream falls over them.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// A list that has no merge key.
    #[error("cannot merge lists without merge key for {kind}")]
    NotMergeable {
        /// What the elements are.
        kind: &'static str,
    },
    /// A struct has no such field.
    #[error("unable to find api field in struct {ty} for the json field {key:?}")]
    NoField {
        /// The struct.
        ty: String,
        /// The field.
        key: String,
    },
    /// Maps are merged where the schema has something that is no struct.
    #[error("merging an object in json but data type is not struct, instead is: {kind}")]
    NoStruct {
        /// What it has.
        kind: &'static str,
    },
    /// It would take too long. Upstream takes that time.
    #[error("the lists of a strategic merge patch are merged with too many elements")]
    TooLong,
    /// Lists are merged where the schema has none.
    #[error("expected slice or array type, but got: struct")]
    NoList,
}

impl StrategicError {
    pub(super) fn unknown(directive: &Value, map: &Map<String, Value>) -> StrategicError {
        let directive = match directive {
            Value::String(text) => text.clone(),
            Value::Null => "%!s(<nil>)".to_owned(),
            other => format!("%!s({}={})", go_type(other), go_text(other)),
        };
        StrategicError::UnknownDirective { directive, map: go_map(map) }
    }
}

pub(super) fn no_merge_key(map: &Map<String, Value>, key: &str) -> StrategicError {
    StrategicError::NoMergeKey { map: go_map(map), key: key.to_owned() }
}

pub(super) fn not_a(wanted: &'static str, found: &Value) -> StrategicError {
    StrategicError::WrongType { wanted, found: if found.is_null() { "%!s(<nil>)" } else { go_type(found) } }
}

/// The type of a decoded value, as Go names it.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => LIST,
        Value::Object(_) => MAP,
    }
}

/// A value as Go's `%v` prints it.
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
