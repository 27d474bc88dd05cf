//! The body of a write, as an object: decoded by the schema, its type head checked, its unknown and duplicate fields reported.
//!
//! Upstream: `createHandler`, `UpdateResource` and `transformDecodeError`.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use portcullis_model::go_text::quoted;
use portcullis_model::schema::decode_json::{self, Decoded, FieldValidation};
use portcullis_model::schema::{DecodeError, Schema, TypeId, decode_protobuf};
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use portcullis_model::yaml;

use crate::answer::Failure;
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
    let decoded = match format {
        Format::Json => {
            let text = Vec::from(body.clone());
            decode_json::decode(expected.schema, expected.ty, text, validation)
                .map_err(|error| refuse(expected, &body, &error))?
        }
        Format::Yaml => decode_yaml(expected, &body, validation)?,
        Format::Protobuf => Decoded { tree: decode_envelope(expected, &body)?, findings: Vec::new() },
    };
    check_head(expected, &decoded.tree)?;
    if !decoded.findings.is_empty() {
        match validation {
            FieldValidation::Strict => {
                let findings = decoded.findings.join(", ");
                return Err(unhandled(
                    expected,
                    expected.kind,
                    expected.api_version,
                    &format!("strict decoding error: {findings}"),
                ));
            }
            FieldValidation::Warn => warnings.extend(decoded.findings),
            FieldValidation::Ignore => {}
        }
    }
    Ok(decoded.tree)
}

fn decode_yaml(expected: Expected<'_>, body: &Bytes, validation: FieldValidation) -> Result<Decoded, Failure> {
    let json = yaml::to_json(body).map_err(|error| unrecognized(expected, body, &error.to_string()))?;
    let mut decoded = decode_json::decode(expected.schema, expected.ty, json.json, validation)
        .map_err(|error| refuse(expected, body, &error))?;
    if validation != FieldValidation::Ignore {
        decoded.findings.splice(0..0, json.duplicates);
    }
    Ok(decoded)
}

fn decode_envelope(expected: Expected<'_>, body: &[u8]) -> Result<Tree, Failure> {
    if !body.starts_with(portcullis_model::schema::encode_protobuf::MAGIC) {
        let problem = "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
        return Err(unrecognized(expected, body, problem));
    }
    let envelope =
        decode_protobuf::Envelope::read(body).map_err(|error| unrecognized(expected, body, &error.to_string()))?;
    check_names(expected, envelope.api_version, envelope.kind)?;
    decode_protobuf::decode(expected.schema, expected.ty, envelope.raw)
        .map_err(|error| unhandled(expected, expected.kind, expected.api_version, &error.to_string()))
}

/// What is not JSON at all has no kind; what is JSON of another shape cannot be handled as this one.
fn refuse(expected: Expected<'_>, body: &[u8], error: &DecodeError) -> Failure {
    match error {
        DecodeError::Syntax { .. }
        | DecodeError::UnexpectedEnd
        | DecodeError::TooDeep
        | DecodeError::NotAnObject { .. } => {
            unrecognized(expected, body, &format!("couldn't get version/kind; json parse error: {error}"))
        }
        error => unhandled(expected, expected.kind, expected.api_version, &error.to_string()),
    }
}

fn unrecognized(expected: Expected<'_>, body: &[u8], problem: &str) -> Failure {
    let shown = shown(body);
    let kind = expected.kind;
    Box::new(Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {problem} ({shown})"
    )))
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

fn unhandled(expected: Expected<'_>, kind: &str, api_version: &str, problem: &str) -> Failure {
    let version = api_version.rsplit('/').next().unwrap_or(api_version);
    let wanted = expected.kind;
    Box::new(Status::bad_request(format!(
        "{kind} in version {} cannot be handled as a {wanted}: {problem}",
        quoted(version)
    )))
}

/// An absent type head is the path's.
fn check_head(expected: Expected<'_>, tree: &Tree) -> Result<(), Failure> {
    let ty = expected.schema.ty(expected.ty);
    let text = |name: &str| {
        let node = ty.find(name).and_then(|number| tree.field(tree.root(), number));
        node.and_then(|node| tree.string(node)).unwrap_or_default()
    };
    check_names(expected, text("apiVersion"), text("kind"))
}

fn check_names(expected: Expected<'_>, api_version: &str, kind: &str) -> Result<(), Failure> {
    let kind = if kind.is_empty() { expected.kind } else { kind };
    let api_version = if api_version.is_empty() { expected.api_version } else { api_version };
    if kind == expected.kind && (api_version == expected.api_version || expected.api_version.is_empty()) {
        return Ok(());
    }
    let known = expected.schema.by_kind(api_version, kind).is_some();
    if known && kind == expected.kind {
        return Err(Box::new(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            expected.api_version
        ))));
    }
    let problem = if known {
        format!("converting ({api_version}.{kind}) to ({}.{}): unknown conversion", expected.api_version, expected.kind)
    } else {
        format!("no kind {} is registered for version {}", quoted(kind), quoted(api_version))
    };
    Err(unhandled(expected, kind, api_version, &problem))
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
            r#"Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (v1.ConfigMap): unknown conversion"#,
        );
    }

    #[test]
    fn findings_warn() {
        let mut warnings = Vec::new();
        let body = Bytes::from_static(br#"{"metadata":{"name":"x"},"a":1}"#);
        decode(config_map(), Format::Json, body, FieldValidation::Warn, &mut warnings).unwrap();
        assert_eq!(warnings, [r#"unknown field "a""#]);
    }
}
