//! The two kinds that are served in a version they are not stored in: `events.k8s.io` events (stored as core events) and
//! `autoscaling/v1` horizontal pod autoscalers (stored as `autoscaling/v2`), whose versions are told apart in their kind's file.
//!
//! Events are read and written here through a plain JSON value: only names differ.

use portcullis_kinds::autoscaling::horizontal_pod_autoscaler as autoscaler;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{DecodeError, canonical, encode_json};
use portcullis_model::tree::Tree;
use serde_json::{Map, Value};

use super::Served;

/// Names of the fields that differ: in the core event, and in the one of `events.k8s.io`.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// Reads a stored object as the served version.
pub fn from_stored(served: &Served, value: &[u8]) -> Result<Tree, DecodeError> {
    let read = |ty, text| Ok(decode_json::decode(served.schema, ty, text, FieldValidation::Ignore)?.tree);
    if served.resource.name == "events" {
        let mut object = parse(value)?;
        rename(&mut object, |(core, own)| (core, own));
        return read(served.resource.type_id, Value::Object(object).to_string().into_bytes());
    }
    Ok(autoscaler::versions::to_v1(&read(served.stored_type, value.to_vec())?))
}

/// Writes an object of the served version as it is stored.
pub fn to_stored(served: &Served, tree: &Tree, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut stored = if served.resource.name == "events" {
        let mut object = parse(&encode_json::to_vec(served.schema, tree))?;
        rename(&mut object, |(core, own)| (own, core));
        let text = Value::Object(object).to_string().into_bytes();
        decode_json::decode(served.schema, served.stored_type, text, FieldValidation::Ignore)?.tree
    } else {
        autoscaler::stored(tree)
    };
    canonical::canonicalize(served.schema, &mut stored);
    encode_json::write(served.schema, &stored, out);
    Ok(())
}

fn parse(text: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(DecodeError::TooDeep),
    }
}

fn rename(
    object: &mut Map<String, Value>,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    for names in EVENT_FIELDS {
        let (from, to) = direction(*names);
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}
