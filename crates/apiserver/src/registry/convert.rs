//! The two kinds that are served in a version they are not stored in: `events.k8s.io` events (stored as core events) and
//! `autoscaling/v1` horizontal pod autoscalers (stored as `autoscaling/v2`), whose versions are told apart in their kind's file.
//!
//! Events are read and written here by their text: only names of their fields differ.

use portcullis_kinds::autoscaling::horizontal_pod_autoscaler as autoscaler;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{DecodeError, canonical, encode_json};
use portcullis_model::tree::Tree;

use super::Served;
use crate::scan::Members;

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

/// Bytes that the names of an event may be longer in the other version.
const EVENT_BYTES_MORE: usize = 128;

/// Reads a stored object as the served version.
pub fn from_stored(served: &Served, value: &[u8]) -> Result<Tree, DecodeError> {
    let read = |ty, text| Ok(decode_json::decode(served.schema, ty, text, FieldValidation::Ignore)?.tree);
    if served.resource.name == "events" {
        return read(served.resource.type_id, renamed(value, |(core, own)| (core, own))?);
    }
    Ok(autoscaler::versions::to_v1(&read(served.stored_type, value.to_vec())?))
}

/// Writes an object of the served version as it is stored.
pub fn to_stored(served: &Served, tree: &Tree, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut stored = if served.resource.name == "events" {
        let text = renamed(&encode_json::to_vec(served.schema, tree), |(core, own)| (own, core))?;
        decode_json::decode(served.schema, served.stored_type, text, FieldValidation::Ignore)?.tree
    } else {
        autoscaler::stored(tree)
    };
    canonical::canonicalize(served.schema, &mut stored);
    encode_json::write(served.schema, &stored, out);
    Ok(())
}

/// An object of one version in another, with nothing that a default would put there: what is taken out of one must be gone from the other.
pub fn between(from: &Served, to: &Served, tree: &Tree) -> Option<Tree> {
    if from.resource.name != "events" {
        match (from.stored_as_served(), to.stored_as_served()) {
            (true, false) => return Some(autoscaler::versions::to_v1(tree)),
            (false, true) => return Some(autoscaler::versions::to_v2(tree)),
            _ => {}
        }
    }
    let value = from.store(&mut tree.clone()).ok()?;
    to.load(&value).ok()
}

/// The text of an event with the names of its fields as the other version has them. The values are not looked at, however deep they are.
fn renamed(
    text: &[u8],
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Result<Vec<u8>, DecodeError> {
    let mut members = Members { text, at: 1 };
    let mut out = Vec::with_capacity(text.len() + EVENT_BYTES_MORE);
    out.push(b'{');
    while let Some((name, value)) = members.next().ok_or(DecodeError::UnexpectedEnd)? {
        if out.len() > 1 {
            out.push(b',');
        }
        let (name, value) = (text.get(name).unwrap_or_default(), text.get(value).unwrap_or_default());
        let other = EVENT_FIELDS.iter().map(|names| direction(*names)).find(|(from, _)| from.as_bytes() == name);
        out.push(b'"');
        out.extend_from_slice(other.map_or(name, |(_, to)| to.as_bytes()));
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value);
    }
    out.push(b'}');
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_of_any_depth_are_renamed() {
        let check = |core: &str, own: &str| {
            let text = |text: Vec<u8>| String::from_utf8(text).unwrap();
            assert_eq!(text(renamed(core.as_bytes(), |names| names).unwrap()), own);
            assert_eq!(text(renamed(own.as_bytes(), |(core, own)| (own, core)).unwrap()), core);
        };
        check("{}", "{}");
        check(
            r#"{"metadata":{"name":"message"},"message":"\"}","count":2,"type":"count"}"#,
            r#"{"metadata":{"name":"message"},"note":"\"}","deprecatedCount":2,"type":"count"}"#,
        );
        let deep = format!("{}1{}", r#"{"a":"#.repeat(1_000), "}".repeat(1_000));
        check(&format!(r#"{{"metadata":{deep},"message":"m"}}"#), &format!(r#"{{"metadata":{deep},"note":"m"}}"#));
        renamed(br#"{"message":"#, |names| names).unwrap_err();
    }
}
