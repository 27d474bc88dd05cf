//! Media types: what the client accepts, and what it says its body is.
//!
//! Answers to upstream's `endpoints/handlers/negotiation` and to the routes before it, which want a type named and take no range but all.
//! CBOR is behind a gate that is off.

use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, USER_AGENT};
use portcullis_gate::Query;
use portcullis_model::status::Status;

use media_range::{MediaRange, RANGES_MAX};

pub(crate) mod media_range;
mod media_type;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What can be had, in upstream's order.
const AVAILABLE: [&str; 3] = [JSON, YAML, PROTOBUF];
/// The same of what is watched by the same path.
const AVAILABLE_WATCHED: [&str; 5] =
    [JSON, YAML, PROTOBUF, "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// What patches are written in, in upstream's order.
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
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
    /// range which asks for nothing of the kind. Without one it is JSON that people read.
    pub errors: Option<Format>,
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
    /// Something that there is not: nothing is sent at all.
    Unknown,
}

impl Accepted {
    /// JSON of the object itself: what a client gets that asks for nothing, and what errors fall back to.
    pub const JSON: Accepted = Accepted {
        format: Format::Json,
        errors: Some(Format::Json),
        shape: Shape::Object,
        meta_version: MetaVersion::V1,
        include: Include::Metadata,
        pretty: false,
        gzip: false,
    };
}

/// What an endpoint can show of its objects beside themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shows {
    /// Nothing: documents, and errors everywhere.
    Itself,
    /// Their metadata.
    Metadata,
    /// Their metadata, and rows of a table.
    Tables,
}

/// What is asked, as far as it decides what the answer can be.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// What can be shown of the objects.
    pub shows: Shows,
    /// Whether the same path is watched, too.
    pub is_watched: bool,
    /// Whether the method has a body that it needs.
    pub needs_body: bool,
}

impl Endpoint {
    /// A document.
    pub const DOCUMENT: Endpoint = Endpoint { shows: Shows::Itself, is_watched: false, needs_body: false };

    fn available(self) -> &'static [&'static str] {
        if self.is_watched { &AVAILABLE_WATCHED } else { &AVAILABLE }
    }
}

/// Decides what the answer to an API request will be, or refuses with 406.
///
/// # Errors
/// In the words of the route, which knows no ranges, where nothing is named that can be had; in those of the negotiation otherwise.
pub fn accept(headers: &HeaderMap, query: Query<'_>, endpoint: Endpoint) -> Result<Accepted, Box<Status>> {
    let header = media_range::header(headers);
    let mut accepted = match &*header {
        "" | "*/*" | JSON => Accepted::JSON,
        header => {
            route_accepts(header, headers, endpoint)?;
            negotiated(header, endpoint.shows).ok_or_else(|| Box::new(Status::only_media_types(&AVAILABLE)))?
        }
    };
    accepted.pretty |= pretty(headers, query);
    accepted.gzip = accepts_gzip(headers);
    if accepted.shape == Shape::Table {
        accepted.include = match &*query.get("includeObject").unwrap_or_default() {
            "" | "Metadata" => Include::Metadata,
            "None" => Include::Nothing,
            "Object" => Include::Object,
            _ => Include::Unknown,
        };
    }
    Ok(accepted)
}

/// What an error is sent in before anything else is known of the answer.
pub fn accept_error(headers: &HeaderMap, query: Query<'_>) -> Accepted {
    let header = media_range::header(headers);
    let negotiated = if header.is_empty() { Some(Accepted::JSON) } else { negotiated(&header, Shows::Itself) };
    // Where nothing of the kind is wanted it is sent to be read by people.
    let accepted = negotiated.unwrap_or(Accepted { pretty: true, ..Accepted::JSON });
    Accepted { pretty: accepted.pretty || pretty(headers, query), ..accepted }
}

/// Refuses what no route would take. Without a body it is the body's type that is called wrong.
fn route_accepts(header: &str, headers: &HeaderMap, endpoint: Endpoint) -> Result<(), Box<Status>> {
    if media_range::names_any(header, endpoint.available()) {
        return Ok(());
    }
    let length = headers.get(CONTENT_LENGTH).map_or(&b""[..], |value| value.as_bytes());
    if endpoint.needs_body && matches!(length, b"" | b"0") {
        return Err(Box::new(Status::unsupported_media_type(endpoint.available())));
    }
    Err(Box::new(Status::not_acceptable(endpoint.available())))
}

/// Whether the client takes gzip, and would not rather do without.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let Some(header) = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()) else { return false };
    header.split(',').take(RANGES_MAX).any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.split_once('=').filter(|(name, _)| name.trim() == "q").map(|(_, value)| value.trim());
        name.trim() == "gzip" && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
    })
}

/// Whether JSON is to be indented: when the query says so, or when it says nothing and a person is reading.
fn pretty(headers: &HeaderMap, query: Query<'_>) -> bool {
    match query.get("pretty").as_deref() {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        None | Some("") => headers.get(USER_AGENT).is_some_and(|agent| {
            ["curl", "Wget", "Mozilla/5.0"].iter().any(|person| agent.as_bytes().starts_with(person.as_bytes()))
        }),
        Some(_) => false,
    }
}

/// The first range that something can be had in, and what an error is sent in.
fn negotiated(header: &str, shows: Shows) -> Option<Accepted> {
    let ranges = media_range::ranges(header);
    let accepted = first_of(&ranges, shows)?;
    if accepted.shape == Shape::Object {
        return Some(accepted);
    }
    Some(Accepted { errors: first_of(&ranges, Shows::Itself).map(|plain| plain.format), ..accepted })
}

fn first_of(ranges: &[MediaRange<'_>], shows: Shows) -> Option<Accepted> {
    ranges.iter().find_map(|range| {
        let formats = AVAILABLE.into_iter().filter(|media_type| range.covers(media_type)).filter_map(Format::named);
        formats.filter_map(|format| accept_range(format, range, shows)).next()
    })
}

/// Reads the parameters of a media range; none when they ask for what this encoding, or this endpoint, does not have.
fn accept_range(format: Format, range: &MediaRange<'_>, shows: Shows) -> Option<Accepted> {
    let (mut kind, mut group, mut version) = ("", "", "");
    let mut accepted = Accepted { format, errors: Some(format), ..Accepted::JSON };
    for (name, value) in range.parameters() {
        match name {
            "as" => kind = value,
            "g" => group = value,
            "v" => version = value,
            "pretty" => accepted.pretty = value == "1",
            // Events stand one behind the other in these encodings only.
            "stream" if value != "watch" || format == Format::Yaml => return None,
            // A version of the server's own is for nobody.
            "sv" => return None,
            _ => {}
        }
    }
    if (kind, group, version) == ("", "", "") {
        return Some(accepted);
    }
    accepted.meta_version = match version {
        "v1" if group == META_GROUP => MetaVersion::V1,
        "v1beta1" if group == META_GROUP => MetaVersion::V1beta1,
        _ => return None,
    };
    accepted.shape = match kind {
        "Table" if format != Format::Protobuf && shows == Shows::Tables => Shape::Table,
        "PartialObjectMetadata" if shows >= Shows::Metadata => Shape::Metadata,
        "PartialObjectMetadataList" if shows >= Shows::Metadata => Shape::MetadataList,
        _ => return None,
    };
    Some(accepted)
}

/// Says what the body is; no content type means JSON. Refuses what cannot be read with 415.
///
/// A page of another site can have a browser send a POST with the user's certificate as long as the POST names no type that would
/// need the server's leave (CORS, which nobody gets here). So who sends an `Origin` must name a type.
pub fn body_format(headers: &HeaderMap) -> Result<Format, Box<Status>> {
    let unknown = || Box::new(Status::unknown_body_format(&AVAILABLE));
    match content_type(headers) {
        "" if !headers.contains_key(ORIGIN) => Ok(Format::Json),
        named => media_type::parse(named).and_then(|named| Format::named(&named)).ok_or_else(unknown),
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
///
/// # Errors
/// In the words of the route where no type of a patch is named at all, else in those of who reads the patch and wants nothing but the type.
pub fn patch_type(headers: &HeaderMap) -> Result<PatchType, Box<Status>> {
    let header = content_type(headers);
    let named = header.find(';').filter(|at| *at > 0).and_then(|at| header.get(..at)).unwrap_or(header);
    match named {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ if header.is_empty() || !media_range::names_any(header, &PATCHES) => {
            Err(Box::new(Status::unsupported_media_type(&[])))
        }
        _ => Err(Box::new(Status::unknown_body_format(&PATCHES))),
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    // A value that is no text is a type that nobody knows, and not the absence of one.
    headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::HeaderValue;
    use http::header::ACCEPT;

    const TABLES: Endpoint = Endpoint { shows: Shows::Tables, is_watched: false, needs_body: false };

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn accepted_types() {
        let check = |header: &str, expected: Option<(Format, Shape)>| {
            let accepted = accept(&headers(ACCEPT, header), Query::new(""), TABLES);
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
        check("application/*, application/yaml", Some((Format::Yaml, Shape::Object)));
        check("application/yaml;q=0.1, application/*", Some((Format::Json, Shape::Object)));
        check("application/yaml;q=0", Some((Format::Yaml, Shape::Object)));
        check("*/*;as=Table;v=v1;g=meta.k8s.io", Some((Format::Json, Shape::Table)));
        check("application/json;as=", Some((Format::Json, Shape::Object)));
        check("application/json;v=v1", None);
        check("application/json;g=meta.k8s.io", None);
        check("application/json;as=Boat;v=v1;g=meta.k8s.io", None);
        check("application/json;sv=v1", None);
        check("application/json;charset=utf-8;profile=x", Some((Format::Json, Shape::Object)));
        check("application/json;stream=watch", Some((Format::Json, Shape::Object)));
        check("application/yaml;stream=watch", None);
        check("application/json;stream=boats,application/yaml", Some((Format::Yaml, Shape::Object)));
    }

    #[test]
    fn refusals_are_in_the_words_of_who_refuses() {
        let check = |header: &str, endpoint: Endpoint, code: u16, message: &str| {
            let refused = accept(&headers(ACCEPT, header), Query::new(""), endpoint).unwrap_err();
            assert_eq!((refused.code, &*refused.message), (code, message), "{header}");
        };
        let three = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        let route = format!("406: Not Acceptable\n\nAvailable representations: {three}");
        let watched = Endpoint { is_watched: true, ..TABLES };
        let writes = Endpoint { needs_body: true, ..TABLES };
        check("text/html", TABLES, 406, &route);
        check("text/html", watched, 406, &format!("{route}, {streams}"));
        check("text/html", writes, 415, &format!("415: Unsupported Media Type\n\nAvailable representations: {three}"));
        let negotiated = format!("only the following media types are accepted: {three}");
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        check("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", TABLES, 406, &negotiated);
        check(table, Endpoint { shows: Shows::Metadata, ..TABLES }, 406, &negotiated);
        check(table, Endpoint::DOCUMENT, 406, &negotiated);
        check("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", Endpoint::DOCUMENT, 406, &negotiated);
    }

    #[test]
    fn patch_types() {
        let check = |header: &str, expected: Result<PatchType, &str>| {
            let found = patch_type(&headers(CONTENT_TYPE, header)).map_err(|status| status.message.into_owned());
            assert_eq!(found, expected.map_err(str::to_owned), "{header}");
        };
        let route = "415: Unsupported Media Type";
        let reader = "the body of the request was in an unknown format - accepted media types include: \
                      application/json-patch+json, application/merge-patch+json, \
                      application/strategic-merge-patch+json, application/apply-patch+yaml";
        check("application/merge-patch+json", Ok(PatchType::Merge));
        check("application/apply-patch+yaml; charset=utf-8", Ok(PatchType::Apply));
        check("application/merge-patch+json ; charset=utf-8", Err(reader));
        check("text/plain, application/merge-patch+json", Err(reader));
        check("Application/merge-patch+json", Err(route));
        check("application/json", Err(route));
        check("", Err(route));
    }

    #[test]
    fn errors_are_sent_as_themselves() {
        let check = |header: &str, expected: Option<Format>| {
            let accepted = accept(&headers(ACCEPT, header), Query::new(""), TABLES).unwrap();
            assert_eq!(accepted.errors, expected, "{header}");
            let found = accept_error(&headers(ACCEPT, header), Query::new(""));
            assert_eq!(
                (found.format, found.pretty),
                (expected.unwrap_or(Format::Json), expected.is_none()),
                "{header}"
            );
        };
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        check("application/vnd.kubernetes.protobuf", Some(Format::Protobuf));
        check("application/yaml", Some(Format::Yaml));
        check(metadata, None);
        check(&format!("{metadata},application/vnd.kubernetes.protobuf"), Some(Format::Protobuf));
        check(&format!("{metadata},application/yaml;as=Table;v=v1;g=meta.k8s.io,application/yaml"), Some(Format::Yaml));
    }

    #[test]
    fn body_types() {
        let check = |header: &str, expected: Option<Format>| {
            assert_eq!(body_format(&headers(CONTENT_TYPE, header)).ok(), expected, "{header}");
        };
        check("", Some(Format::Json));
        check("application/json; charset=utf-8", Some(Format::Json));
        check("application/yaml", Some(Format::Yaml));
        check("APPLICATION/Yaml;", Some(Format::Yaml));
        check("application/json; charset", None);
        check("application/json; a=1; a=2", None);
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
            assert_eq!(accept(&headers, Query::new(""), TABLES).unwrap().gzip, expected, "{header}");
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
            let accepted = accept(&headers(USER_AGENT, agent), Query::new(query), TABLES).unwrap();
            assert_eq!(accepted.pretty, expected, "{agent} {query}");
        };
        check("curl/8", "", true);
        check("curl/8", "pretty=false", false);
        check("kubectl/v1.32", "", false);
        check("kubectl/v1.32", "pretty=true", true);
        check("kubectl/v1.32", "pretty", false);
        check("curl/8", "pretty=", true);
        check("curl/8", "pretty=yes", false);
        check("kubectl/v1.32", "pretty=1", true);
    }
}
