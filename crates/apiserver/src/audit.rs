//! What only the API server can say on a request's record: the objects that were sent and answered, as JSON, and the names that only
//! they have (upstream: `audit.LogRequestObject`, `LogRequestPatch`, `LogResponseObject`).
//!
//! An object is recorded as it was understood, not as it was sent: what a decoder drops or reads another way than the next one (unknown
//! fields, keys that come twice, space) would let a log say what the server never did. Nothing is made below the level that wants it.

use bytes::Bytes;
use portcullis_audit::{Level, ObjectNames, Record};
use portcullis_gate::Permitted;
use portcullis_model::go_text::push_json_string;
use portcullis_model::schema::encode_json;
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use portcullis_model::yaml;
use serde_json::Value;

use crate::answer::{Answer, Failure, ListAnswer, entry_bytes, made_json, object_bytes};
use crate::list_body::ListBody;
use crate::metrics::DEPRECATED;
use crate::negotiate::{self, Accepted, Format, PatchType, Shape};
use crate::registry::Served;
use crate::registry::metadata::Metadata;
use crate::request::Request;
use crate::scan::container_end;
use crate::verbs::input::Expected;

/// Bytes of an answered list that is recorded; a longer one is left out, and the record says so.
const LIST_BYTES_MAX: usize = 1 << 20;
/// Items of such a list: so many are longer in any form.
const LIST_LEN_MAX: usize = 10_000;
/// What says that a list was left out.
const LEFT_OUT_ANNOTATION: &str = "audit.portcullis.io/response-left-out";
/// What says that nobody should use this version of a resource any more (upstream's key).
const DEPRECATED_ANNOTATION: &str = "k8s.io/deprecated";
/// What says which token was issued (upstream's key).
const ISSUED_ANNOTATION: &str = "authentication.kubernetes.io/issued-credential-id";
/// The version of `DeleteOptions` that do not name theirs.
const OPTIONS_VERSION: &str = "meta.k8s.io/v1";
const MANAGERS: &[u8] = br#""managedFields":["#;

/// Notes an object that was sent and understood.
pub(crate) fn received(request: &Request<'_>, expected: Expected<'_>, tree: &Tree) {
    let record = request.permitted.record();
    if record.level() < Level::Metadata {
        return;
    }
    note_names(record, request, expected, tree);
    if record.level() >= Level::Request {
        record.request_object(finished(record, text_of(expected, tree)));
    }
}

/// Notes a patch, which is recorded as it is and not as what it makes: what is applied as YAML, as JSON. One that is neither is none.
pub(crate) fn patched(request: &Request<'_>) {
    let record = request.permitted.record();
    if record.level() < Level::Request {
        return;
    }
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    let patch = match negotiate::patch_type(request.permitted.headers()) {
        Ok(PatchType::Apply) => yaml::to_json(&request.body).ok().and_then(|converted| read(&converted.json)),
        _ => read(&request.body),
    };
    if let Some(patch) = patch {
        record.request_object(patch.to_string().into());
    }
}

/// Notes the name that the server gave to a new object. Upstream's records do not say it.
pub(crate) fn named(request: &Request<'_>, name: &str) {
    let record = request.permitted.record();
    if record.level() >= Level::Metadata {
        record.object(&ObjectNames { name, ..ObjectNames::default() });
    }
}

/// Notes what is known before the verb begins: whether nobody should use the resource any more in this version.
pub(crate) fn began(request: &Request<'_>) {
    let record = request.permitted.record();
    let resource = request.served.resource;
    if record.level() >= Level::Metadata && DEPRECATED.contains(&(resource.group, resource.version, resource.name)) {
        record.annotate(DEPRECATED_ANNOTATION, "true");
    }
}

/// Notes which token was issued, by its id.
pub(crate) fn issued(request: &Request<'_>, id: &str) {
    request.permitted.record().annotate(ISSUED_ANNOTATION, format!("JTI={id}"));
}

/// Notes with what a request is refused that has no verb yet.
pub(crate) fn refused(permitted: &Permitted, status: &Status) {
    let record = permitted.record();
    if record.level() >= Level::RequestResponse {
        record.response_object(status_json(status).into());
    }
}

/// Notes what is answered. Watches have no answer, but events.
pub(crate) fn answered(request: &Request<'_>, result: &Result<Answer, Failure>, now: i64) {
    let record = request.permitted.record();
    if record.level() < Level::RequestResponse {
        return;
    }
    let accepted = Accepted { format: Format::Json, pretty: false, gzip: false, ..request.accepted };
    let json = match result {
        Ok(answer) => answer_json(record, request.served, accepted, answer, now),
        Err(status) => Ok(Some(status_json(status))),
    };
    // What cannot be made is answered by a Status of this failure, too.
    if let Some(json) = json.unwrap_or_else(|status| Some(status_json(&status))) {
        record.response_object(finished(record, json));
    }
}

/// The JSON of an answer; nothing for one that is no object, or left out.
fn answer_json(
    record: &Record,
    served: &Served,
    accepted: Accepted,
    answer: &Answer,
    now: i64,
) -> Result<Option<Vec<u8>>, Failure> {
    Ok(Some(match answer {
        Answer::Ready(_) => return Ok(None),
        Answer::Status(status) => status_json(status),
        Answer::Entry(entry) => entry_bytes(served, accepted, entry, now, true)?,
        Answer::Object(object) => object_bytes(served, accepted, object, now, true)?,
        Answer::Made(made) => made_json(served, accepted, made, now)?,
        Answer::List(list) => {
            let json = list_json(served, accepted, list, now)?;
            if json.is_none() {
                record.annotate(LEFT_OUT_ANNOTATION, format!("the list has more than {LIST_BYTES_MAX} bytes"));
            }
            return Ok(json);
        }
    }))
}

/// The JSON of a list; nothing when that would be too long.
fn list_json(served: &Served, accepted: Accepted, list: &ListAnswer, now: i64) -> Result<Option<Vec<u8>>, Failure> {
    let stored: usize = list.entries.iter().take(LIST_LEN_MAX).map(|entry| entry.value.len()).sum();
    let is_long = accepted.shape == Shape::Object && stored > LIST_BYTES_MAX;
    if is_long || list.entries.len() > LIST_LEN_MAX {
        return Ok(None);
    }
    let mut body = ListBody::new(served, accepted, list.handle(), now)?;
    let mut json = Vec::with_capacity(if accepted.shape == Shape::Object { stored + 256 } else { 0 });
    while let Some(piece) = body.next_piece()? {
        if json.len() + piece.len() > LIST_BYTES_MAX {
            return Ok(None);
        }
        json.extend_from_slice(&piece);
    }
    Ok(Some(json))
}

/// Notes what the object says of itself and the path does not: a path decides which object it is.
fn note_names(record: &Record, request: &Request<'_>, expected: Expected<'_>, tree: &Tree) {
    let served = request.served;
    let metadata = expected.schema.ty(expected.ty).find("metadata").and_then(|number| tree.field(tree.root(), number));
    // Some have metadata of a list, or none.
    let Some(node) = metadata.filter(|node| tree.object_type(*node) == Some(served.meta.ty)) else { return };
    let metadata = Metadata::at(served, tree, Some(node));
    let absent = |in_path: &str, own| if in_path.is_empty() { own } else { "" };
    let names = ObjectNames {
        name: absent(request.info.name, metadata.name()),
        namespace: absent(request.info.namespace, metadata.namespace()),
        uid: metadata.uid(),
        resource_version: metadata.resource_version(),
    };
    if [names.name, names.namespace, names.uid, names.resource_version].iter().any(|name| !name.is_empty()) {
        record.object(&names);
    }
}

/// The JSON of a tree, with its type head.
fn text_of(expected: Expected<'_>, tree: &Tree) -> Vec<u8> {
    let Expected { schema, ty, api_version, kind } = expected;
    let heads = ["kind", "apiVersion"].map(|name| schema.ty(ty).find(name));
    let given = heads.map(|number| number.and_then(|number| tree.field(tree.root(), number)));
    let [kind_given, version_given] = given.map(|node| node.and_then(|node| tree.string(node)).unwrap_or_default());
    if !kind_given.is_empty() && !version_given.is_empty() {
        return encode_json::to_vec(schema, tree);
    }
    let api_version = [version_given, api_version].into_iter().find(|version| !version.is_empty());
    let mut json = br#"{"kind":"#.to_vec();
    push_json_string(&mut json, kind);
    json.extend_from_slice(br#","apiVersion":"#);
    // A client's text, where any version will do.
    push_json_string(&mut json, api_version.unwrap_or(OPTIONS_VERSION));
    let body = if given.iter().any(Option::is_some) {
        let mut headless = tree.clone();
        let root = headless.root();
        heads.into_iter().flatten().for_each(|number| {
            headless.remove(root, number);
        });
        encode_json::to_vec(schema, &headless)
    } else {
        encode_json::to_vec(schema, tree)
    };
    if body.len() > 2 {
        json.push(b',');
    }
    json.extend_from_slice(body.get(1..).unwrap_or_default());
    json
}

fn status_json(status: &Status) -> Vec<u8> {
    let mut json = Vec::with_capacity(256);
    status.push_json(&mut json);
    json
}

/// A text as a record takes it: without managers where nobody wants them.
fn finished(record: &Record, json: Vec<u8>) -> Bytes {
    let json = if record.omits_managed_fields() { without_managers(json) } else { json };
    json.into()
}

/// Takes the managed fields out of every object in a text without space between tokens: of the object itself, of a list's items, of
/// a table's rows.
fn without_managers(json: Vec<u8>) -> Vec<u8> {
    let finder = memchr::memmem::Finder::new(MANAGERS);
    let (mut kept, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = json.get(at..).and_then(|rest| finder.find(rest)) {
        let start = at + found;
        at = start + MANAGERS.len();
        // In a string, the quote before would be escaped.
        let before = start.checked_sub(1).and_then(|before| json.get(before));
        let Some(end) = container_end(&json, at - 1) else { break };
        let (start, end) = match before {
            Some(b',') => (start - 1, end),
            Some(b'{') if json.get(end) == Some(&b',') => (start, end + 1),
            Some(b'{') => (start, end),
            _ => continue,
        };
        kept.extend_from_slice(json.get(from..start).unwrap_or_default());
        (from, at) = (end, end);
    }
    if from == 0 {
        return json;
    }
    kept.extend_from_slice(json.get(from..).unwrap_or_default());
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_taken_out_wherever_they_are() {
        let check = |json: &str, expected: &str| {
            let kept = without_managers(json.as_bytes().to_vec());
            assert_eq!(String::from_utf8_lossy(&kept), expected, "{json}");
        };
        check(r#"{"a":1}"#, r#"{"a":1}"#);
        check(r#"{"metadata":{"name":"a","managedFields":[{"a":["]"]}]}}"#, r#"{"metadata":{"name":"a"}}"#);
        check(r#"{"metadata":{"managedFields":[]}}"#, r#"{"metadata":{}}"#);
        check(r#"{"metadata":{"managedFields":[{}],"name":"a"}}"#, r#"{"metadata":{"name":"a"}}"#);
        check(
            r#"{"items":[{"metadata":{"uid":"u","managedFields":[{}],"z":1}},{"metadata":{"managedFields":[{}]}}]}"#,
            r#"{"items":[{"metadata":{"uid":"u","z":1}},{"metadata":{}}]}"#,
        );
        // In a text, under another name, of another type, cut off.
        for same in [
            r#"{"data":{"a":"{\"managedFields\":[1]}","b":",\"managedFields\":[1]"}}"#,
            r#"{"x\"managedFields":[1]}"#,
            r#"{"f:managedFields":[1]}"#,
            r#"{"managedFields":"[]"}"#,
            r#"{"managedFields":["#,
        ] {
            check(same, same);
        }
    }
}
