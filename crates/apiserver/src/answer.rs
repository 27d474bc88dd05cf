//! Where results become HTTP: the one place that makes a response out of an object, a list, or a status.
//!
//! JSON of a stored object is copied, not encoded ([`crate::body`]); protobuf, metadata and their gzip are kept beside it
//! (`forms`); YAML and tables are made for each answer. Lists leave piece by piece (`list_body`).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY};
use http::{HeaderValue, Response, StatusCode};
use portcullis_gate::Body as HttpBody;
use portcullis_model::schema::encode_protobuf::Backwards;
use portcullis_model::schema::{DecodeError, encode_json, encode_protobuf};
use portcullis_model::status::{Reason, Status};
use portcullis_model::tree::{Scalar, Tree};
use portcullis_model::yaml::{self, YamlError};
use portcullis_store::Entry;

use crate::body::{Body, BodyError};
use crate::forms::{self, Item, Show};
use crate::list_body::{ENVELOPE_TAIL, ListBody, PLAIN_BYTES_MAX, push_envelope_head};
use crate::negotiate::{Accepted, Format, MetaVersion, Shape};
use crate::registry::{Registry, Served};
use crate::segment::{self, Member, Segment};
use crate::{pretty, table};

pub use made::Made;
use made::made_in;
pub(crate) use made::made_json;

mod made;

/// `Warning`, which `http` does not name.
const WARNING: HeaderName = HeaderName::from_static("warning");
/// Warnings that are looked at for one answer.
const WARNINGS_MAX: usize = 256;
/// Characters of all warnings of one answer, beyond which each is cut (upstream: `truncateAtTotalRunes`), and characters of one then
/// (`truncateItemRunes`).
const WARNINGS_CHARS_MAX: usize = 4 * 1024;
const WARNING_CHARS_MAX: usize = 256;

/// A failure, boxed because it is rare and large.
pub type Failure = Box<Status>;

/// What a verb has to say.
pub enum Answer {
    /// One object, as it is stored.
    Entry(Entry),
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

/// One object by its text: one that is not stored yet, or has another version than the one it is stored with.
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
    /// Where the resource of the objects is found while they are on their way.
    pub registry: Arc<Registry>,
    /// The objects.
    pub entries: Vec<Entry>,
    /// The version of the whole.
    pub version: u64,
    /// Where the next page begins; empty on the last.
    pub next: String,
    /// How many items follow, when that is known.
    pub remaining: Option<u64>,
    /// Whether the objects follow each other as they are stored, so that the neighbours are those of every such list.
    pub is_walk: bool,
    /// What all items take in a protobuf list; 0 for other encodings.
    pub message_bytes: usize,
}

impl ListAnswer {
    /// A second handle to the same objects.
    pub(crate) fn handle(&self) -> ListAnswer {
        let ListAnswer { registry, entries, version, next, remaining, is_walk, message_bytes } = self;
        ListAnswer {
            registry: Arc::clone(registry),
            entries: entries.clone(),
            version: *version,
            next: next.clone(),
            remaining: *remaining,
            is_walk: *is_walk,
            message_bytes: *message_bytes,
        }
    }
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
    /// The scan that it came into memory with could not follow it.
    #[error("a stored object is no object of ours")]
    Unreadable,
    /// It cannot be read.
    #[error("a stored object cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// It has no form in YAML.
    #[error("a stored object cannot be written as YAML: {0}")]
    Yaml(#[from] YamlError),
    /// It cannot be compressed.
    #[error("a stored object cannot be compressed: {0}")]
    Gzip(#[from] io::Error),
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

/// Makes the response to a request for a resource. `served` is the resource's, `accepted` what the client wants. Only the beginning of
/// a list takes more than one turn, and only that is in a box.
pub async fn respond(
    served: &Served,
    accepted: Accepted,
    warnings: &[String],
    result: Result<Answer, Failure>,
    now_seconds: i64,
) -> Response<HttpBody> {
    let rendered = match result {
        Ok(answer) => render(served, accepted, answer, now_seconds).await,
        Err(failure) => Err(failure),
    };
    let mut response = rendered.unwrap_or_else(|status| told(accepted, *status));
    add_warnings(&mut response, warnings);
    response
}

async fn render(served: &Served, accepted: Accepted, answer: Answer, now: i64) -> Result<Response<HttpBody>, Failure> {
    let resource = served.resource;
    match answer {
        Answer::Entry(_) | Answer::Object(_) if accepted.shape == Shape::MetadataList => {
            Err(Box::new(misshown(accepted.shape, resource.group, resource.kind)))
        }
        Answer::List(_) if accepted.shape == Shape::Metadata => {
            Err(Box::new(misshown(accepted.shape, resource.group, &format!("{}List", resource.kind))))
        }
        Answer::Ready(response) => Ok(response),
        Answer::Status(status) => Ok(told(accepted, status)),
        Answer::Made(made) => made_in(served, accepted, &made, now),
        Answer::Entry(entry) => Ok(entry_in(served, accepted, &entry, now)?),
        Answer::Object(object) => {
            let text = object_bytes(served, accepted, &object, now, true)?;
            Ok(typed(object.code, accepted, text))
        }
        Answer::List(list) => Ok(Box::pin(list_in(served, accepted, list, now)).await?),
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
    let body = Body::of(&object.text)?;
    if accepted.format != Format::Protobuf {
        return Ok(text_of(served, accepted, &body, object.version, now, columns)?);
    }
    let message = match accepted.shape {
        Shape::Object => forms::message(served, &object.text, object.version),
        _ => {
            let mut json = Vec::with_capacity(512);
            forms::push_partial(MetaVersion::V1, &body, object.version, &mut json);
            forms::partial_message(served, json)
        }
    };
    Ok(envelope(served, accepted, &message.map_err(Unservable::from)?))
}

/// The bytes of one stored object at its own version, as [`object_bytes`] gives them, out of what is kept beside it.
pub fn entry_bytes(
    served: &Served,
    accepted: Accepted,
    entry: &Entry,
    now: i64,
    columns: bool,
) -> Result<Vec<u8>, Failure> {
    Ok(bytes_of(Item::of(served, entry)?, accepted, now, columns)?)
}

fn bytes_of(item: Item<'_>, accepted: Accepted, now: i64, columns: bool) -> Result<Vec<u8>, Unservable> {
    if accepted.format == Format::Protobuf {
        let message = item.message_of(show_of(accepted))?;
        return Ok(envelope(item.served(), accepted, &message));
    }
    let text = item.text()?;
    text_of(item.served(), accepted, &item.body(&text)?, item.version(), now, columns)
}

/// JSON or YAML of one object.
fn text_of(
    served: &Served,
    accepted: Accepted,
    body: &Body<'_>,
    version: u64,
    now: i64,
    columns: bool,
) -> Result<Vec<u8>, Unservable> {
    let mut json = Vec::new();
    match accepted.shape {
        Shape::Object => body.write(&served.head, version, &mut json),
        Shape::Table => table::push_object(served, accepted, body, version, now, columns, &mut json)?,
        Shape::Metadata | Shape::MetadataList => {
            forms::push_partial(accepted.meta_version, body, version, &mut json);
        }
    }
    to_yaml_if(accepted.format, json)
}

fn show_of(accepted: Accepted) -> Show {
    match (accepted.format, accepted.shape) {
        (Format::Protobuf, Shape::Object) => Show::Message,
        (Format::Protobuf, _) => Show::PartialMessage,
        (_, Shape::Object) => Show::Text,
        _ => Show::Partial,
    }
}

/// `apiVersion` and kind of one object, or of its metadata.
fn head_of(served: &Served, accepted: Accepted) -> (&str, &'static str) {
    match accepted.shape {
        Shape::Object => (&served.resource.api_version, served.resource.kind),
        _ => (accepted.meta_version.api_version(), "PartialObjectMetadata"),
    }
}

/// What stands before a protobuf message of this length.
fn envelope_head(served: &Served, accepted: Accepted, len: usize) -> Vec<u8> {
    let (api_version, kind) = head_of(served, accepted);
    let mut head = Backwards::with_capacity(api_version.len() + kind.len() + 24);
    push_envelope_head(api_version, kind, len, &mut head);
    head.finish()
}

fn envelope(served: &Served, accepted: Accepted, message: &[u8]) -> Vec<u8> {
    let head = envelope_head(served, accepted, message.len());
    [&head, message, &ENVELOPE_TAIL].concat()
}

/// One stored object: one copy, or its segment when it is long and the client takes gzip.
fn entry_in(served: &Served, accepted: Accepted, entry: &Entry, now: i64) -> Result<Response<HttpBody>, Unservable> {
    let item = Item::of(served, entry)?;
    if accepted.gzip
        && let Some(Around { head, tail }) = around_segment(served, accepted, item)?
    {
        let bytes = item.segment(show_of(accepted))?;
        let segment = Segment::of(&bytes).ok_or(Unservable::Unreadable)?;
        let (mut begin, mut end) = (Vec::with_capacity(head.len() + 16), Vec::with_capacity(32));
        let mut member = Member::begin(&mut begin);
        member.store(&head, &mut begin);
        member.join(&segment);
        member.store(tail, &mut end);
        member.end(&mut end);
        let pieces = [begin.into(), bytes.slice(segment.deflated_range()), end.into()];
        return Ok(compressed(with_type(StatusCode::OK, accepted, HttpBody::from_pieces(pieces))));
    }
    Ok(typed(StatusCode::OK, accepted, bytes_of(item, accepted, now, true)?))
}

/// What stands around the segment of an object.
struct Around {
    head: Vec<u8>,
    tail: &'static [u8],
}

/// Nothing for an object that is not sent as a segment: a short one, or one that is made for this answer.
fn around_segment(served: &Served, accepted: Accepted, item: Item<'_>) -> Result<Option<Around>, Unservable> {
    Ok(match (accepted.format, accepted.shape) {
        (Format::Protobuf, _) => {
            let len = item.message_of(show_of(accepted))?.len();
            let is_long = len + ENVELOPE_TAIL.len() > PLAIN_BYTES_MAX;
            is_long.then(|| Around { head: envelope_head(served, accepted, len), tail: &ENVELOPE_TAIL })
        }
        (Format::Json, Shape::Object) if !accepted.pretty && item.text()?.len() > PLAIN_BYTES_MAX => {
            Some(Around { head: served.head.to_vec(), tail: b"\n" })
        }
        _ => None,
    })
}

/// A list: short ones at once, others piece by piece.
async fn list_in(
    served: &Served,
    accepted: Accepted,
    list: ListAnswer,
    now: i64,
) -> Result<Response<HttpBody>, Unservable> {
    let mut body = ListBody::new(served, accepted, list, now)?;
    Ok(match body.begin().await? {
        Some(mut pieces) if pieces.len() == 1 => {
            with_type(StatusCode::OK, accepted, HttpBody::from(pieces.pop_front().unwrap_or_default()))
        }
        Some(pieces) => with_type(StatusCode::OK, accepted, HttpBody::from_pieces(pieces)),
        None if accepted.gzip => {
            body.compress()?;
            compressed(with_type(StatusCode::OK, accepted, HttpBody::from_stream(body)))
        }
        None => with_type(StatusCode::OK, accepted, HttpBody::from_stream(body)),
    })
}

fn with_type(code: StatusCode, accepted: Accepted, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(accepted.format.content_type()));
    response
}

/// Says that the body is gzip.
fn compressed(mut response: Response<HttpBody>) -> Response<HttpBody> {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
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
    if accepted.gzip && text.len() > PLAIN_BYTES_MAX {
        let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::new(segment::LEVEL));
        // Writing to memory does not fail; if it did, the text would go as it is.
        if let Ok(gzip) = encoder.write_all(&text).and_then(|()| encoder.finish()) {
            return compressed(with_type(code, accepted, HttpBody::from(gzip)));
        }
    }
    with_type(code, accepted, HttpBody::from(text))
}

/// Sends a status, and leaves it for the record of the request.
pub(crate) fn told(accepted: Accepted, status: Status) -> Response<HttpBody> {
    let mut response = status_in(accepted, &status);
    response.extensions_mut().insert(Arc::new(status));
    response
}

/// Sends a status in the accepted encoding.
pub fn status_in(mut accepted: Accepted, status: &Status) -> Response<HttpBody> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::OK);
    if !code.is_success() && accepted.shape != Shape::Object {
        accepted.pretty |= accepted.errors.is_none();
        accepted.format = accepted.errors.unwrap_or(Format::Json);
    }
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

/// The bytes of an object that is nothing but a version, as bookmarks are; `annotation` is set to `true` on it.
pub fn bookmark_bytes(served: &Served, accepted: Accepted, version: u64, annotation: Option<&str>) -> Vec<u8> {
    let (ty, api_version, kind) = match accepted.shape {
        Shape::Object => (served.resource.type_id, served.resource.api_version.as_str(), served.resource.kind),
        _ => (served.meta.partial_ty, accepted.meta_version.api_version(), "PartialObjectMetadata"),
    };
    let mut tree = Tree::new(ty);
    if let Some(strategy) = served.strategy.filter(|_| accepted.shape == Shape::Object) {
        (strategy.blank)(&mut tree);
    }
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

/// An object that is asked for as a list, or a list as an object: refused, after the fact as upstream does. The type is named as Go
/// names it, which is the one that upstream works on.
fn misshown(shape: Shape, group: &str, kind: &str) -> Status {
    let package = go_package(group);
    let message = match shape {
        Shape::MetadataList => format!(
            "you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind})"
        ),
        Shape::Metadata => {
            format!("you requested PartialObjectMetadata, but the requested object is a list (*{package}.{kind})")
        }
        Shape::Object | Shape::Table => format!("no table handler registered for this type *{package}.{kind}"),
    };
    Status::failure(406, Reason::NotAcceptable, message, None)
}

/// The Go package of the types that upstream works on in a group.
pub(crate) fn go_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        "internal.apiserver.k8s.io" => "apiserverinternal",
        _ => group.split_once('.').map_or(group, |(first, _)| first),
    }
}

/// Adds warnings, each once, in upstream's form: `299 - "text"`.
pub fn add_warnings(response: &mut Response<HttpBody>, warnings: &[String]) {
    let mut met = HashSet::new();
    let once: Vec<&str> =
        warnings.iter().take(WARNINGS_MAX).map(String::as_str).filter(|text| met.insert(*text)).collect();
    for text in shortened(once) {
        if let Ok(value) = HeaderValue::from_str(&warning_value(text)) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// Cuts each text where all together are too long, and leaves away those that are too many even so.
/// Upstream writes them as they come and begins anew with the first that does not fit, so that those up to it may pass the limit by one.
fn shortened(texts: Vec<&str>) -> Vec<&str> {
    let mut whole = 0;
    let beyond = texts.iter().position(|text| {
        whole += text.chars().count();
        whole > WARNINGS_CHARS_MAX
    });
    let Some(beyond) = beyond else { return texts };
    let (mut kept, mut chars) = (Vec::new(), 0);
    for (at, text) in texts.into_iter().enumerate() {
        if chars > WARNINGS_CHARS_MAX || at > beyond && chars == WARNINGS_CHARS_MAX {
            break;
        }
        let end = text.char_indices().nth(WARNING_CHARS_MAX).map_or(text.len(), |(end, _)| end);
        let text = text.get(..end).unwrap_or_default();
        chars += text.chars().count();
        kept.push(text);
    }
    kept
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
    fn warnings_are_cut_where_they_are_too_long_together() {
        let long = "é".repeat(5_000);
        let check = |texts: &[&str], expected: &[usize]| {
            let found = shortened(texts.to_vec());
            assert_eq!(found.iter().map(|text| text.chars().count()).collect::<Vec<_>>(), expected);
        };
        check(&["a", &long[..2_000]], &[1, 1_000]);
        check(&[&long, "a"], &[WARNING_CHARS_MAX, 1]);
        check(&["a", &long, "b"], &[1, WARNING_CHARS_MAX, 1]);
        check(&[long.as_str(); 40], &[WARNING_CHARS_MAX; 16]);
        check(&[&long[..82]; 200], &[41; 100]);
        check(&[], &[]);
    }

    #[test]
    fn warnings_are_quoted() {
        let check = |text: &str, expected: &str| assert_eq!(warning_value(text), expected, "{text}");
        check(r#"unknown field "a""#, r#"299 - "unknown field \"a\"""#);
        check(r"a\b", r#"299 - "a\\b""#);
        check("a\nb", r#"299 - "a b""#);
    }
}
