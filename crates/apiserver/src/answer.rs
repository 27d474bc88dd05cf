//! Where results become HTTP: the one place that makes a response out of an object, a list, or a status.
//!
//! JSON of a stored object is copied, not encoded ([`crate::body`]); YAML, protobuf, tables and metadata are made from it.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use portcullis_gate::Body as HttpBody;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{DecodeError, encode_json, encode_protobuf};
use portcullis_model::status::{Status, StatusDetails};
use portcullis_model::tree::{Scalar, Tree};
use portcullis_model::yaml::{self, YamlError};

use crate::body::{Body, BodyError};
use crate::negotiate::{Accepted, Format, Shape};
use crate::registry::Served;
use crate::registry::metadata::metadata_of;
use crate::{pretty, table};

/// `Warning`, which `http` does not name.
const WARNING: HeaderName = HeaderName::from_static("warning");
/// Warnings sent with one answer, and bytes of all of them (upstream truncates likewise).
const WARNINGS_MAX: usize = 100;
const WARNING_BYTES_MAX: usize = 4 * 1024;

/// A failure, boxed because it is rare and large.
pub type Failure = Box<Status>;

/// What a verb has to say.
pub enum Answer {
    /// One object.
    Object(ObjectAnswer),
    /// Several objects.
    List(ListAnswer),
    /// An object that is not stored (reviews, scales), whole, with its type head.
    Made(Made),
    /// No object.
    Status(Status),
    /// Something that is ready to be sent.
    Ready(Response<HttpBody>),
}

/// One object as it is stored.
pub struct ObjectAnswer {
    /// Its text in the served version, without type head and version.
    pub text: Bytes,
    /// Its version; 0 for none.
    pub version: u64,
    /// The HTTP status.
    pub code: StatusCode,
}

/// Objects with the version they were read at.
pub struct ListAnswer {
    /// Each text in the served version, with its object's version.
    pub items: Vec<(Bytes, u64)>,
    /// The version of the whole.
    pub version: u64,
    /// Where the next page begins; empty on the last.
    pub next: String,
    /// How many items follow, when that is known.
    pub remaining: Option<u64>,
}

/// An object that has no place in the store.
pub struct Made {
    /// Its fields, without the type head.
    pub tree: Tree,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// The HTTP status.
    pub code: StatusCode,
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Answer::Status(status)
    }
}

/// Why an answer could not be made: what is stored is not what it should be. The client learns no more than that.
#[derive(Debug, thiserror::Error)]
pub enum Unservable {
    /// It has no place for a version.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It cannot be read.
    #[error("a stored object cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// It has no form in YAML.
    #[error("a stored object cannot be written as YAML: {0}")]
    Yaml(#[from] YamlError),
}

impl From<Unservable> for Failure {
    fn from(error: Unservable) -> Failure {
        tracing::error!(%error, "stored data cannot be served");
        Box::new(Status::internal_error("stored data cannot be read"))
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Failure {
        Unservable::from(error).into()
    }
}

/// The failure for a stored object that cannot be read.
pub fn unreadable(error: DecodeError) -> Failure {
    Unservable::from(error).into()
}

/// The JSON as YAML when that was asked for.
pub(crate) fn to_yaml_if(format: Format, json: Vec<u8>) -> Result<Vec<u8>, Unservable> {
    Ok(if format == Format::Yaml { yaml::from_json(&json)?.into_bytes() } else { json })
}

/// Makes the response to a request for a resource. `served` is the resource's, `accepted` what the client wants.
pub fn respond(
    served: &Served,
    accepted: Accepted,
    warnings: &[String],
    result: Result<Answer, Failure>,
    now_seconds: i64,
) -> Response<HttpBody> {
    let rendered = result.and_then(|answer| render(served, accepted, answer, now_seconds));
    let mut response = rendered.unwrap_or_else(|status| status_in(accepted, &status));
    add_warnings(&mut response, warnings);
    response
}

fn render(served: &Served, accepted: Accepted, answer: Answer, now: i64) -> Result<Response<HttpBody>, Failure> {
    match answer {
        Answer::Ready(response) => Ok(response),
        Answer::Status(status) => Ok(status_in(accepted, &status)),
        Answer::Made(made) => made_in(served, accepted, &made),
        Answer::Object(object) => {
            let text = object_bytes(served, accepted, &object, now, true)?;
            Ok(typed(object.code, accepted, text))
        }
        Answer::List(list) => {
            let text = match accepted.shape {
                Shape::Object => list_in(served, accepted.format, &list)?,
                Shape::Table => table::of_list(served, accepted, &list, now)?,
                Shape::Metadata | Shape::MetadataList => metadata_list_in(served, accepted, &list)?,
            };
            Ok(typed(StatusCode::OK, accepted, text))
        }
    }
}

/// The bytes of one object, without a line feed; `columns` is whether a table says what its columns are.
pub fn object_bytes(
    served: &Served,
    accepted: Accepted,
    object: &ObjectAnswer,
    now: i64,
    columns: bool,
) -> Result<Vec<u8>, Failure> {
    match accepted.shape {
        Shape::Object => Ok(object_in(served, accepted.format, object)?),
        Shape::Table => table::of_object(served, accepted, object, now, columns),
        Shape::Metadata | Shape::MetadataList => metadata_in(served, accepted, object),
    }
}

/// A body of the accepted type. JSON arrives here without the line feed that ends it.
pub(crate) fn typed(code: StatusCode, accepted: Accepted, mut text: Vec<u8>) -> Response<HttpBody> {
    if accepted.format == Format::Json {
        if accepted.pretty {
            text = pretty::indent(&text);
        } else {
            text.push(b'\n');
        }
    }
    let mut response = Response::new(HttpBody::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(accepted.format.content_type()));
    response
}

/// Sends a status in the accepted encoding.
pub fn status_in(accepted: Accepted, status: &Status) -> Response<HttpBody> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::OK);
    let text = match accepted.format {
        Format::Protobuf => status.to_protobuf(),
        Format::Json | Format::Yaml => {
            let mut json = Vec::with_capacity(256);
            status.push_json(&mut json);
            to_yaml_if(accepted.format, json).unwrap_or_default()
        }
    };
    let mut response = typed(code, accepted, text);
    if let Some(seconds) = status.retry_after_seconds().and_then(|seconds| u32::try_from(seconds).ok()) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn object_in(served: &Served, format: Format, object: &ObjectAnswer) -> Result<Vec<u8>, Unservable> {
    let body = Body::of(&object.text)?;
    let mut json = Vec::new();
    match format {
        Format::Json | Format::Yaml => body.write(&served.head, object.version, &mut json),
        Format::Protobuf => {
            let message = message(served, &object.text, object.version)?;
            return Ok(encode_protobuf::envelope(&served.resource.api_version, served.resource.kind, &message));
        }
    }
    to_yaml_if(format, json)
}

/// The protobuf message of an object with its version.
fn message(served: &Served, text: &[u8], version: u64) -> Result<Vec<u8>, DecodeError> {
    let mut tree =
        decode_json::decode(served.schema, served.resource.type_id, text.to_vec(), FieldValidation::Ignore)?.tree;
    if version != 0 {
        let metadata = metadata_of(served, &mut tree);
        tree.set(metadata, served.meta.resource_version, Scalar::String(itoa::Buffer::new().format(version)));
    }
    Ok(encode_protobuf::encode(served.schema, &tree))
}

fn list_in(served: &Served, format: Format, list: &ListAnswer) -> Result<Vec<u8>, Unservable> {
    if format == Format::Protobuf {
        return protobuf_list(served, list);
    }
    let bytes: usize = list.items.iter().map(|(text, _)| text.len() + 40).sum();
    let mut json = Vec::with_capacity(served.list_head.len() + bytes + 128);
    json.extend_from_slice(&served.list_head);
    push_list_meta(list, &mut json);
    json.extend_from_slice(br#","items":["#);
    for (at, (text, version)) in list.items.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        Body::of(text)?.write(b"{", *version, &mut json);
    }
    json.extend_from_slice(b"]}");
    to_yaml_if(format, json)
}

/// Writes a list's metadata from the value of `resourceVersion` to its end.
pub(crate) fn push_list_meta(list: &ListAnswer, json: &mut Vec<u8>) {
    json.extend_from_slice(itoa::Buffer::new().format(list.version).as_bytes());
    json.push(b'"');
    if !list.next.is_empty() {
        json.extend_from_slice(br#","continue":""#);
        json.extend_from_slice(list.next.as_bytes());
        json.push(b'"');
    }
    if let Some(remaining) = list.remaining {
        json.extend_from_slice(br#","remainingItemCount":"#);
        json.extend_from_slice(itoa::Buffer::new().format(remaining).as_bytes());
    }
    json.push(b'}');
}

/// Every list type has its metadata in field 1 and its items in field 2.
fn protobuf_list(served: &Served, list: &ListAnswer) -> Result<Vec<u8>, Unservable> {
    let mut messages = Vec::with_capacity(list.items.len());
    for (text, version) in &list.items {
        messages.push(message(served, text, *version)?);
    }
    let api_version = &served.resource.api_version;
    Ok(protobuf_list_of(api_version, &format!("{}List", served.resource.kind), list, &messages))
}

fn protobuf_list_of(api_version: &str, kind: &str, list: &ListAnswer, messages: &[Vec<u8>]) -> Vec<u8> {
    let bytes: usize = messages.iter().map(|message| message.len() + 8).sum();
    let mut out = encode_protobuf::Backwards::with_capacity(bytes + 128);
    for message in messages.iter().rev() {
        out.field_bytes(2, message);
    }
    let before = out.len();
    if let Some(remaining) = list.remaining {
        out.field_varint(4, remaining);
    }
    out.field_bytes(3, list.next.as_bytes());
    out.field_bytes(2, itoa::Buffer::new().format(list.version).as_bytes());
    out.field_bytes(1, b"");
    out.close(1, before);
    encode_protobuf::envelope(api_version, kind, &out.finish())
}

fn metadata_in(served: &Served, accepted: Accepted, object: &ObjectAnswer) -> Result<Vec<u8>, Failure> {
    let mut json = Vec::with_capacity(object.text.len() + 64);
    let body = Body::of(&object.text).map_err(Unservable::from)?;
    push_partial(accepted, &body, object.version, &mut json);
    match accepted.format {
        Format::Json => Ok(json),
        Format::Yaml => Ok(to_yaml_if(Format::Yaml, json)?),
        Format::Protobuf => {
            let message = partial_message(served, &json).map_err(Unservable::from)?;
            Ok(encode_protobuf::envelope(accepted.meta_version.api_version(), "PartialObjectMetadata", &message))
        }
    }
}

pub(crate) fn push_partial(accepted: Accepted, body: &Body<'_>, version: u64, json: &mut Vec<u8>) {
    json.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":""#);
    json.extend_from_slice(accepted.meta_version.api_version().as_bytes());
    json.extend_from_slice(br#"","metadata":"#);
    body.write_metadata(version, json);
    json.push(b'}');
}

fn partial_message(served: &Served, json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let ty = served.meta.partial_ty;
    let tree = decode_json::decode(served.schema, ty, json.to_vec(), FieldValidation::Ignore)?.tree;
    Ok(encode_protobuf::encode(served.schema, &tree))
}

/// The bytes of an object that is nothing but a version, as bookmarks are; `annotation` is set to `true` on it.
pub fn bookmark_bytes(served: &Served, accepted: Accepted, version: u64, annotation: Option<&str>) -> Vec<u8> {
    let (ty, api_version, kind) = match accepted.shape {
        Shape::Object => (served.resource.type_id, served.resource.api_version.as_str(), served.resource.kind),
        _ => (served.meta.partial_ty, accepted.meta_version.api_version(), "PartialObjectMetadata"),
    };
    let mut tree = Tree::new(ty);
    if let Some(number) = served.schema.ty(ty).find("metadata") {
        let metadata = tree.object_at(tree.root(), number, served.meta.ty);
        tree.set(metadata, served.meta.resource_version, Scalar::String(itoa::Buffer::new().format(version)));
        if let Some(annotation) = annotation {
            let annotations = tree.map_at(metadata, served.meta.annotations);
            tree.insert(annotations, annotation, "true");
        }
    }
    if accepted.format == Format::Protobuf {
        return encode_protobuf::envelope(api_version, kind, &encode_protobuf::encode(served.schema, &tree));
    }
    let mut json = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#).into_bytes();
    json.extend_from_slice(encode_json::to_vec(served.schema, &tree).get(1..).unwrap_or_default());
    json
}

fn metadata_list_in(served: &Served, accepted: Accepted, list: &ListAnswer) -> Result<Vec<u8>, Failure> {
    let mut items = Vec::with_capacity(list.items.len());
    for (text, version) in &list.items {
        let body = Body::of(text).map_err(Unservable::from)?;
        let mut json = Vec::with_capacity(256);
        push_partial(accepted, &body, *version, &mut json);
        items.push(json);
    }
    let api_version = accepted.meta_version.api_version();
    if accepted.format == Format::Protobuf {
        let messages = items.iter().map(|json| partial_message(served, json)).collect::<Result<Vec<_>, _>>();
        let messages = messages.map_err(Unservable::from)?;
        return Ok(protobuf_list_of(api_version, "PartialObjectMetadataList", list, &messages));
    }
    let mut json = Vec::with_capacity(items.iter().map(|item| item.len() + 1).sum::<usize>() + 160);
    json.extend_from_slice(br#"{"kind":"PartialObjectMetadataList","apiVersion":""#);
    json.extend_from_slice(api_version.as_bytes());
    json.extend_from_slice(br#"","metadata":{"resourceVersion":""#);
    push_list_meta(list, &mut json);
    json.extend_from_slice(br#","items":["#);
    json.extend_from_slice(&items.join(&b","[..]));
    json.extend_from_slice(b"]}");
    Ok(to_yaml_if(accepted.format, json)?)
}

fn made_in(served: &Served, accepted: Accepted, made: &Made) -> Result<Response<HttpBody>, Failure> {
    if accepted.shape != Shape::Object {
        return Err(Box::new(not_as_shown()));
    }
    let text = match accepted.format {
        Format::Protobuf => {
            let message = encode_protobuf::encode(served.schema, &made.tree);
            encode_protobuf::envelope(&made.api_version, &made.kind, &message)
        }
        Format::Json | Format::Yaml => {
            let body = encode_json::to_vec(served.schema, &made.tree);
            let mut json = format!(r#"{{"kind":"{}","apiVersion":"{}""#, made.kind, made.api_version).into_bytes();
            if body.len() > 2 {
                json.push(b',');
            }
            json.extend_from_slice(body.get(1..).unwrap_or_default());
            to_yaml_if(accepted.format, json)?
        }
    };
    Ok(typed(made.code, accepted, text))
}

/// What cannot be shown as a table or metadata is refused, after the fact as upstream does.
fn not_as_shown() -> Status {
    Status::failure(
        406,
        portcullis_model::status::Reason::NotAcceptable,
        "the server was unable to respond with a content type that the client supports",
        Some(StatusDetails::default()),
    )
}

/// Adds warnings, each once, in upstream's form: `299 - "text"`.
pub fn add_warnings(response: &mut Response<HttpBody>, warnings: &[String]) {
    let mut bytes = 0;
    for (at, warning) in warnings.iter().enumerate().take(WARNINGS_MAX) {
        if warnings.get(..at).is_some_and(|before| before.contains(warning)) {
            continue;
        }
        let text = warning_value(warning);
        bytes += text.len();
        if bytes > WARNING_BYTES_MAX {
            return;
        }
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// A warning as RFC 7234 quotes it; what a header cannot hold is escaped so that it can be read.
fn warning_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str("299 - \"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            ' '..='~' => out.push(character),
            '\u{80}'.. => {
                let _ = write!(out, "\\u{:04x}", character as u32);
            }
            _ => out.push(' '),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        let check = |text: &str, expected: &str| assert_eq!(warning_value(text), expected, "{text}");
        check(r#"unknown field "a""#, r#"299 - "unknown field \"a\"""#);
        check(r"a\b", r#"299 - "a\\b""#);
        check("a\nb", r#"299 - "a b""#);
    }
}
