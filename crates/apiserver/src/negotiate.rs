//! Media types: what the client accepts, and what it says its body is.
//!
//! Answers to upstream's `endpoints/handlers/negotiation`. Weighing is by `q`, then by how exact a type is, then by order; a range such
//! as `application/*` is not understood there and therefore not here. CBOR is behind a gate that is off.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, ORIGIN, USER_AGENT};
use portcullis_gate::Query;
use portcullis_model::status::Status;

/// Media types looked at in one `Accept` header; the rest is ignored.
const ACCEPT_CLAUSES_MAX: usize = 64;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What can be had, in upstream's order.
const AVAILABLE: [&str; 3] = [JSON, YAML, PROTOBUF];
const META_GROUP: &str = "meta.k8s.io";

/// An encoding of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Format {
    fn named(media_type: &str) -> Option<Format> {
        match media_type {
            JSON => Some(Format::Json),
            YAML => Some(Format::Yaml),
            PROTOBUF => Some(Format::Protobuf),
            _ => None,
        }
    }

    /// Returns the content type of answers.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => JSON,
            Format::Yaml => YAML,
            Format::Protobuf => PROTOBUF,
        }
    }
}

/// What the object is turned into before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Itself.
    Object,
    /// A `Table` of printer columns.
    Table,
    /// Its metadata only.
    Metadata,
    /// The metadata of a list's items.
    MetadataList,
}

/// A version of `meta.k8s.io`, for tables and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaVersion {
    /// `v1`.
    V1,
    /// `v1beta1`.
    V1beta1,
}

impl MetaVersion {
    /// Returns the `apiVersion`.
    pub fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// What the answer will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its encoding.
    pub format: Format,
    /// The encoding of errors, where the object is not sent as itself: an error has no metadata and no rows, so it is that of the first
    /// type which asks for nothing of the kind.
    pub errors: Format,
    /// What it shows of the object.
    pub shape: Shape,
    /// The version of a table or of metadata.
    pub meta_version: MetaVersion,
    /// What the rows of a table carry besides their cells.
    pub include: Include,
    /// Whether JSON is indented.
    pub pretty: bool,
    /// Whether the client takes gzip.
    pub gzip: bool,
}

/// What the rows of a table carry besides their cells (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    Nothing,
    /// The object's metadata.
    Metadata,
    /// The object.
    Object,
}

impl Accepted {
    /// JSON of the object itself: what a client gets that asks for nothing, and what errors fall back to.
    pub const JSON: Accepted = Accepted {
        format: Format::Json,
        errors: Format::Json,
        shape: Shape::Object,
        meta_version: MetaVersion::V1,
        include: Include::Metadata,
        pretty: false,
        gzip: false,
    };
}

/// Decides what the answer to an API request will be, or refuses with 406.
pub fn accept(headers: &HeaderMap, query: Query<'_>) -> Result<Accepted, Box<Status>> {
    let mut accepted = match headers.get(ACCEPT).map(|value| value.to_str().unwrap_or_default()) {
        None | Some("" | "*/*" | JSON) => Some(Accepted::JSON),
        Some(header) => accept_header(header),
    }
    .ok_or_else(|| Box::new(Status::not_acceptable(&AVAILABLE)))?;
    accepted.pretty |= pretty(headers, query);
    accepted.gzip = accepts_gzip(headers);
    if accepted.shape == Shape::Table {
        accepted.include = match &*query.get("includeObject").unwrap_or_default() {
            "None" => Include::Nothing,
            "Object" => Include::Object,
            _ => Include::Metadata,
        };
    }
    Ok(accepted)
}

/// Whether the client takes gzip, and would not rather do without.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let Some(header) = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()) else { return false };
    header.split(',').take(ACCEPT_CLAUSES_MAX).any(|coding| {
        let coding = clause(coding);
        coding.range == "gzip" && coding.quality > 0.0
    })
}

/// Whether JSON is to be indented: when the query says so, or when it says nothing and a person is reading.
fn pretty(headers: &HeaderMap, query: Query<'_>) -> bool {
    match query.get("pretty") {
        Some(value) => !matches!(&*value, "0" | "f" | "F" | "false" | "FALSE" | "False"),
        None => headers.get(USER_AGENT).is_some_and(|agent| {
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|person| agent.as_bytes().starts_with(person.as_bytes()))
        }),
    }
}

/// One media range of the header.
struct Clause<'a> {
    range: &'a str,
    parameters: &'a str,
    quality: f32,
}

fn accept_header(header: &str) -> Option<Accepted> {
    let mut clauses: Vec<Clause<'_>> = header.split(',').take(ACCEPT_CLAUSES_MAX).map(clause).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality).then_with(|| width(a.range).cmp(&width(b.range))));
    let mut acceptable = clauses.iter().filter_map(|clause| {
        let format = if clause.range == "*/*" { Format::Json } else { Format::named(clause.range)? };
        accept_clause(format, clause.parameters)
    });
    let first = acceptable.next()?;
    let plain = match first.shape {
        Shape::Object => Some(first),
        _ => acceptable.find(|accepted| accepted.shape == Shape::Object),
    };
    Some(Accepted { errors: plain.map_or(Format::Json, |plain| plain.format), ..first })
}

/// How much a media range leaves open.
fn width(range: &str) -> u8 {
    match range.split_once('/') {
        Some(("*", "*")) => 2,
        Some((_, "*")) => 1,
        _ => 0,
    }
}

fn clause(text: &str) -> Clause<'_> {
    let (range, parameters) = text.split_once(';').unwrap_or((text, ""));
    let quality = parameters_of(parameters).find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
    Clause { range: range.trim(), parameters, quality: quality.unwrap_or(1.0) }
}

fn parameters_of(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

/// Reads the parameters of a media type; none when they ask for what this encoding does not have.
fn accept_clause(format: Format, parameters: &str) -> Option<Accepted> {
    let (mut kind, mut group, mut version, mut pretty) = ("", "", "", false);
    for (name, value) in parameters_of(parameters) {
        match name {
            "as" => kind = value,
            "g" => group = value,
            "v" => version = value,
            "pretty" => pretty = value == "1",
            _ => {}
        }
    }
    let mut accepted = Accepted { format, pretty, ..Accepted::JSON };
    if kind.is_empty() {
        return Some(accepted);
    }
    accepted.meta_version = match version {
        "v1" if group == META_GROUP => MetaVersion::V1,
        "v1beta1" if group == META_GROUP => MetaVersion::V1beta1,
        _ => return None,
    };
    accepted.shape = match kind {
        "Table" if format != Format::Protobuf => Shape::Table,
        "PartialObjectMetadata" => Shape::Metadata,
        "PartialObjectMetadataList" => Shape::MetadataList,
        _ => return None,
    };
    Some(accepted)
}

/// Says what the body is; no content type means JSON. Refuses what cannot be read with 415.
///
/// A page of another site can have a browser send a POST with the user's certificate as long as the POST names no type that would
/// need the server's leave (CORS, which nobody gets here). So who sends an `Origin` must name a type.
pub fn body_format(headers: &HeaderMap) -> Result<Format, Box<Status>> {
    match media_type(headers) {
        "" if !headers.contains_key(ORIGIN) => Ok(Format::Json),
        named => Format::named(named).ok_or_else(|| Box::new(Status::unknown_body_format(&AVAILABLE))),
    }
}

/// What kind of patch a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, by the merge keys of the schema.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// Says what kind of patch the body is; 415 for anything else.
pub fn patch_type(headers: &HeaderMap) -> Result<PatchType, Box<Status>> {
    match media_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(Box::new(Status::unsupported_media_type())),
    }
}

fn media_type(headers: &HeaderMap) -> &str {
    // A value that is no text is a type that nobody knows, and not the absence of one.
    let value = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    value.split_once(';').map_or(value, |(media_type, _)| media_type).trim()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn accepted_types() {
        let check = |header: &str, expected: Option<(Format, Shape)>| {
            let accepted = accept(&headers(ACCEPT, header), Query::new(""));
            assert_eq!(accepted.ok().map(|a| (a.format, a.shape)), expected, "{header}");
        };
        check("", Some((Format::Json, Shape::Object)));
        check("*/*", Some((Format::Json, Shape::Object)));
        check("application/json", Some((Format::Json, Shape::Object)));
        check("application/yaml", Some((Format::Yaml, Shape::Object)));
        check("application/vnd.kubernetes.protobuf;q=0.1, application/json;q=0.9", Some((Format::Json, Shape::Object)));
        check("application/vnd.kubernetes.protobuf,application/json", Some((Format::Protobuf, Shape::Object)));
        check("*/*,application/yaml", Some((Format::Yaml, Shape::Object)));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some((Format::Json, Shape::Table)));
        check("application/json;as=Table;v=v9;g=meta.k8s.io,application/yaml", Some((Format::Yaml, Shape::Object)));
        check("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", None);
        check(
            "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io",
            Some((Format::Json, Shape::Metadata)),
        );
        check("text/html", None);
        check("application/*", None);
        check("application/cbor", None);
    }

    #[test]
    fn errors_are_sent_as_themselves() {
        let check = |header: &str, expected: Format| {
            assert_eq!(accept(&headers(ACCEPT, header), Query::new("")).unwrap().errors, expected, "{header}");
        };
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        check("application/vnd.kubernetes.protobuf", Format::Protobuf);
        check("application/yaml", Format::Yaml);
        check(metadata, Format::Json);
        check(&format!("{metadata},application/vnd.kubernetes.protobuf"), Format::Protobuf);
        check(&format!("{metadata},application/yaml;as=Table;v=v1;g=meta.k8s.io,application/yaml"), Format::Yaml);
    }

    #[test]
    fn body_types() {
        let check = |header: &str, expected: Option<Format>| {
            assert_eq!(body_format(&headers(CONTENT_TYPE, header)).ok(), expected, "{header}");
        };
        check("", Some(Format::Json));
        check("application/json; charset=utf-8", Some(Format::Json));
        check("application/yaml", Some(Format::Yaml));
        check("text/plain", None);
        assert_eq!(body_format(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(body_format(&headers(ORIGIN, "https://evil.example")).ok(), None);
        let unreadable = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_bytes(b"\xff").unwrap())]);
        assert_eq!(body_format(&unreadable).ok(), None);
    }

    #[test]
    fn content_codings() {
        let check = |header: &str, expected: bool| {
            let headers = headers(http::header::ACCEPT_ENCODING, header);
            assert_eq!(accept(&headers, Query::new("")).unwrap().gzip, expected, "{header}");
        };
        check("gzip", true);
        check("deflate, gzip;q=0.5", true);
        check("gzip;q=0", false);
        check("br", false);
        check("", false);
    }

    #[test]
    fn pretty_printing() {
        let check = |agent: &str, query: &str, expected: bool| {
            let accepted = accept(&headers(USER_AGENT, agent), Query::new(query)).unwrap();
            assert_eq!(accepted.pretty, expected, "{agent} {query}");
        };
        check("curl/8", "", true);
        check("curl/8", "pretty=false", false);
        check("kubectl/v1.32", "", false);
        check("kubectl/v1.32", "pretty=true", true);
        check("kubectl/v1.32", "pretty", true);
    }
}
