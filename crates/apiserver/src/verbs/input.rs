//! The body of a write, as an object: decoded by the schema, its type head checked, its unknown and duplicate fields reported.
//!
//! Upstream: `createHandler`, `UpdateResource` and `transformDecodeError`.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use bytes::Bytes;
use portcullis_model::go_text::quoted;
use portcullis_model::schema::decode_json::{self, Decoded, FieldValidation};
use portcullis_model::schema::encode_protobuf::MAGIC;
use portcullis_model::schema::{DecodeError, Schema, TypeId, decode_protobuf};
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use portcullis_model::yaml;
use serde_json::Value;

use super::patch::json_type;
use crate::answer::{Failure, go_package};
use crate::audit;
use crate::negotiate::Format;
use crate::registry::Served;
use crate::request::Request;

/// Bytes of a refused body that are shown in the message.
const SHOWN_BYTES_MAX: usize = 30;

/// What a body should be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The types.
    pub schema: &'a Schema,
    /// The type of the object.
    pub ty: TypeId,
    /// Its `apiVersion`; empty when any will do (`DeleteOptions` is of every group and version).
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
}

impl<'a> Expected<'a> {
    /// The objects of a resource.
    pub fn of(served: &'a Served) -> Expected<'a> {
        let resource = served.resource;
        Expected {
            schema: served.schema,
            ty: resource.type_id,
            api_version: &resource.api_version,
            kind: resource.kind,
        }
    }
}

/// Reads the body of a request and puts it on the request's record. Findings become warnings, or a failure under
/// [`FieldValidation::Strict`].
pub fn receive(
    request: &mut Request<'_>,
    expected: Expected<'_>,
    format: Format,
    validation: FieldValidation,
) -> Result<Tree, Failure> {
    let tree = decode(expected, format, request.body.clone(), validation, &mut request.warnings)?;
    audit::received(request, expected, &tree);
    Ok(tree)
}

/// Reads a body. Findings become warnings, or a failure under [`FieldValidation::Strict`].
pub fn decode(
    expected: Expected<'_>,
    format: Format,
    body: Bytes,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Tree, Failure> {
    let decoded = read(expected, format, &body, validation).map_err(|misfit| misfit.told(expected, &body))?;
    if !decoded.findings.is_empty() {
        match validation {
            FieldValidation::Strict => {
                let problem = format!("strict decoding error: {}", decoded.findings.join(", "));
                return Err(Misfit::of(expected, problem).told(expected, &body));
            }
            FieldValidation::Warn => {
                warnings.extend(decoded.findings.iter().flat_map(|finding| lines(finding)).map(str::to_owned));
            }
            FieldValidation::Ignore => {}
        }
    }
    Ok(decoded.tree)
}

/// What a reader of YAML found stands line by line in one text (upstream: `parseYAMLWarnings`).
fn lines(finding: &str) -> impl Iterator<Item = &str> {
    let text = finding.strip_prefix("yaml: unmarshal errors:\n");
    // Names of unknown fields may have line feeds in them.
    let whole = text.is_none().then_some(finding);
    text.into_iter().flat_map(|text| text.split('\n').map(str::trim)).chain(whole)
}

/// Why a body is not what it should be.
enum Misfit {
    /// It says no kind that could be read.
    NoKind(String),
    /// It is this kind in this version of it, but not as it should be.
    OfKind { kind: String, api_version: String, problem: String },
    /// It is the right kind in another version.
    OtherVersion(String),
}

impl Misfit {
    fn of(expected: Expected<'_>, problem: String) -> Misfit {
        let (kind, api_version) = (expected.kind.to_owned(), expected.api_version.to_owned());
        Misfit::OfKind { kind, api_version, problem }
    }

    fn told(self, expected: Expected<'_>, body: &[u8]) -> Failure {
        let wanted = expected.kind;
        let message = match self {
            // Options are no object of the path: what is wrong with them is told as it is.
            Misfit::NoKind(problem) | Misfit::OfKind { problem, .. } if expected.api_version.is_empty() => problem,
            Misfit::NoKind(problem) => {
                format!("the object provided is unrecognized (must be of type {wanted}): {problem} ({})", shown(body))
            }
            Misfit::OfKind { kind, api_version, problem } => {
                let version = quoted(version_of(&api_version));
                format!("{kind} in version {version} cannot be handled as a {wanted}: {problem}")
            }
            Misfit::OtherVersion(api_version) => format!(
                "the API version in the data ({api_version}) does not match the expected API version ({})",
                expected.api_version
            ),
        };
        Box::new(Status::bad_request(message))
    }
}

fn version_of(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

fn read(expected: Expected<'_>, format: Format, body: &Bytes, validation: FieldValidation) -> Result<Decoded, Misfit> {
    let decoded = match format {
        Format::Json => decode_json::decode(expected.schema, expected.ty, Vec::from(body.clone()), validation)
            .map_err(|error| misfit(expected, body, &error))?,
        Format::Yaml => read_yaml(expected, body, validation)?,
        Format::Protobuf => Decoded { tree: read_envelope(expected, body)?, findings: Vec::new() },
    };
    check_head(expected, &decoded.tree)?;
    Ok(decoded)
}

fn read_yaml(expected: Expected<'_>, body: &[u8], validation: FieldValidation) -> Result<Decoded, Misfit> {
    let converted = yaml::to_json(body).map_err(|error| Misfit::NoKind(error.to_string()))?;
    let json = Bytes::from(converted.json);
    let mut decoded = decode_json::decode(expected.schema, expected.ty, Vec::from(json.clone()), validation)
        .map_err(|error| misfit(expected, &json, &error))?;
    if validation != FieldValidation::Ignore {
        decoded.findings.splice(0..0, converted.duplicates);
    }
    Ok(decoded)
}

fn read_envelope(expected: Expected<'_>, body: &[u8]) -> Result<Tree, Misfit> {
    let problem = match body.strip_prefix(MAGIC) {
        Some([]) => "empty body",
        None if body.is_empty() => "empty data",
        None => "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        Some(_) => "",
    };
    if !problem.is_empty() {
        return Err(Misfit::NoKind(problem.to_owned()));
    }
    let envelope = decode_protobuf::Envelope::read(body).map_err(|error| Misfit::NoKind(error.to_string()))?;
    check_names(expected, envelope.api_version, envelope.kind)?;
    decode_protobuf::decode(expected.schema, expected.ty, envelope.raw)
        .map_err(|error| Misfit::of(expected, error.to_string()))
}

/// What is not JSON at all has no kind; what is JSON of another shape is of the kind that it says, which is looked at first.
fn misfit(expected: Expected<'_>, json: &[u8], error: &DecodeError) -> Misfit {
    match error {
        DecodeError::Syntax { .. }
        | DecodeError::UnexpectedEnd
        | DecodeError::TooDeep
        | DecodeError::NotAnObject { .. } => no_kind(error),
        error => match misfit_of_head(expected, json) {
            Some(misfit) => misfit,
            None => Misfit::of(expected, error.to_string()),
        },
    }
}

fn no_kind(problem: impl Display) -> Misfit {
    Misfit::NoKind(format!("couldn't get version/kind; json parse error: {problem}"))
}

/// What is wrong with the type head of a body; nothing when that is not what is wrong.
fn misfit_of_head(expected: Expected<'_>, json: &[u8]) -> Option<Misfit> {
    let head: Value = serde_json::from_slice(json).ok()?;
    let text = |name: &str| match head.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => {
            let found = json_type(other);
            Err(no_kind(format_args!("json: cannot unmarshal {found} into Go struct field .{name} of type string")))
        }
    };
    match (text("apiVersion"), text("kind")) {
        (Ok(api_version), Ok(kind)) => check_names(expected, api_version, kind).err(),
        (Err(misfit), _) | (_, Err(misfit)) => Some(misfit),
    }
}

/// The beginning of a body, as text when it looks like an object, else in hexadecimal.
fn shown(body: &[u8]) -> Cow<'static, str> {
    let begin = body.get(..SHOWN_BYTES_MAX).unwrap_or(body);
    let more = if body.len() > SHOWN_BYTES_MAX { " ..." } else { "" };
    match begin.first() {
        None => Cow::Borrowed("<empty>"),
        Some(b'{') => Cow::Owned(format!("{}{more}", String::from_utf8_lossy(begin))),
        Some(_) => {
            let mut hexadecimal = String::with_capacity(begin.len() * 2 + more.len());
            for byte in begin {
                let _ = write!(hexadecimal, "{byte:02x}");
            }
            hexadecimal.push_str(more);
            Cow::Owned(hexadecimal)
        }
    }
}

/// An absent type head is the path's.
fn check_head(expected: Expected<'_>, tree: &Tree) -> Result<(), Misfit> {
    let ty = expected.schema.ty(expected.ty);
    let text = |name: &str| {
        let node = ty.find(name).and_then(|number| tree.field(tree.root(), number));
        node.and_then(|node| tree.string(node)).unwrap_or_default()
    };
    check_names(expected, text("apiVersion"), text("kind"))
}

fn check_names(expected: Expected<'_>, api_version: &str, kind: &str) -> Result<(), Misfit> {
    if api_version.matches('/').count() > 1 {
        return Err(Misfit::NoKind(format!("unexpected GroupVersion string: {api_version}")));
    }
    let kind = if kind.is_empty() { expected.kind } else { kind };
    let api_version = if api_version.is_empty() { expected.api_version } else { api_version };
    if kind == expected.kind && (api_version == expected.api_version || expected.api_version.is_empty()) {
        return Ok(());
    }
    let known = expected.schema.by_kind(api_version, kind).is_some();
    if known && kind == expected.kind {
        return Err(Misfit::OtherVersion(api_version.to_owned()));
    }
    let problem = if known {
        let (from, group) = (version_of(api_version), expected.api_version.split_once('/').map_or("", |gv| gv.0));
        let (into, wanted) = (go_package(group), expected.kind);
        format!("converting ({from}.{kind}) to ({into}.{wanted}): unknown conversion")
    } else {
        format!("no kind {} is registered for version {}", quoted(kind), quoted(api_version))
    };
    Err(Misfit::OfKind { kind: kind.to_owned(), api_version: api_version.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config_map() -> Expected<'static> {
        let schema = portcullis_kinds::schema();
        let ty = schema.by_kind("v1", "ConfigMap").unwrap();
        Expected { schema, ty, api_version: "v1", kind: "ConfigMap" }
    }

    #[test]
    fn refusals() {
        let check = |body: &'static str, format: Format, validation: FieldValidation, expected: &str| {
            let result = decode(config_map(), format, Bytes::from_static(body.as_bytes()), validation, &mut Vec::new());
            assert_eq!(result.err().map(|status| status.message.into_owned()).as_deref(), Some(expected), "{body}");
        };
        let (json, warn, strict) = (Format::Json, FieldValidation::Warn, FieldValidation::Strict);
        check(
            "",
            json,
            warn,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
             unexpected end of JSON input (<empty>)",
        );
        check(
            r#"{"a":"#,
            json,
            warn,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: \
             unexpected end of JSON input ({\"a\":)",
        );
        let unrecognized = |problem: &str, shown: &str| {
            format!("the object provided is unrecognized (must be of type ConfigMap): {problem} ({shown})")
        };
        check("", Format::Protobuf, warn, &unrecognized("empty data", "<empty>"));
        check("k8s\0", Format::Protobuf, warn, &unrecognized("empty body", "6b387300"));
        check("k8s\0\x0a\x05", Format::Protobuf, warn, &unrecognized("unexpected EOF", "6b3873000a05"));
        check(
            "k8s\0\x08\x01",
            Format::Protobuf,
            warn,
            &unrecognized("proto: wrong wireType = 0 for field TypeMeta", "6b3873000801"),
        );
        // The kind is looked at before what is in it.
        check(
            r#"{"apiVersion":"v1","kind":"Boat","data":5}"#,
            json,
            warn,
            r#"Boat in version "v1" cannot be handled as a ConfigMap: no kind "Boat" is registered for version "v1""#,
        );
        check(
            r#"{"kind":5,"data":5}"#,
            json,
            warn,
            &unrecognized(
                "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string",
                r#"{"kind":5,"data":5}"#,
            ),
        );
        check(
            r#"{"apiVersion":"a/b/c"}"#,
            json,
            warn,
            &unrecognized("unexpected GroupVersion string: a/b/c", r#"{"apiVersion":"a/b/c"}"#),
        );
        check(
            "metadata: {name: x}\nmetadata: {name: z}\nspec: {}\n",
            Format::Yaml,
            strict,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  \
             line 2: key \"metadata\" already set in map, unknown field \"spec\"",
        );
        check(
            "garbage",
            Format::Protobuf,
            warn,
            "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf \
             message, expected prefix [107 56 115 0] (67617262616765)",
        );
        check(
            r#"{"metadata":{"name":"x"},"a":1}"#,
            json,
            strict,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "a""#,
        );
        check(
            r#"{"apiVersion":"v1","kind":"Boat"}"#,
            json,
            warn,
            r#"Boat in version "v1" cannot be handled as a ConfigMap: no kind "Boat" is registered for version "v1""#,
        );
        check(
            r#"{"apiVersion":"v1","kind":"Secret"}"#,
            json,
            warn,
            r#"Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"#,
        );
    }

    #[test]
    fn findings_warn() {
        let mut warnings = Vec::new();
        let body = Bytes::from_static(br#"{"metadata":{"name":"x"},"a":1}"#);
        decode(config_map(), Format::Json, body, FieldValidation::Warn, &mut warnings).unwrap();
        assert_eq!(warnings, [r#"unknown field "a""#]);
        let mut warnings = Vec::new();
        let body = Bytes::from_static(b"data: {}\ndata: {a: b,\n a: c}\nspec: {}\n");
        decode(config_map(), Format::Yaml, body, FieldValidation::Warn, &mut warnings).unwrap();
        let expected = [
            r#"line 2: key "data" already set in map"#,
            r#"line 3: key "a" already set in map"#,
            r#"unknown field "spec""#,
        ];
        assert_eq!(warnings, expected);
    }

    #[test]
    fn options_are_refused_without_more_words() {
        let schema = portcullis_kinds::schema();
        let ty = schema.by_name("apimachinery.pkg.apis.meta.v1.DeleteOptions").unwrap();
        let check = |body: &'static str, expected: &str| {
            let options = Expected { schema, ty, api_version: "", kind: "DeleteOptions" };
            let body = Bytes::from_static(body.as_bytes());
            let result = decode(options, Format::Json, body, FieldValidation::Ignore, &mut Vec::new());
            assert_eq!(result.err().map(|status| status.message.into_owned()).unwrap_or_default(), expected);
        };
        check(r#"{"apiVersion":"apps/v1"}"#, "");
        check("{", "couldn't get version/kind; json parse error: unexpected end of JSON input");
        check(
            r#"{"gracePeriodSeconds":"1"}"#,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        );
        check(r#"{"apiVersion":"v1","kind":"Boat"}"#, r#"no kind "Boat" is registered for version "v1""#);
    }
}
