//! PATCH: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, then the same path as an update.
//!
//! Patches are small and rare beside reads, so they are applied to a plain JSON value. What comes out is decoded by the schema like any
//! body, which prunes and types it. JSON nested deeper than `serde_json` reads (128) is refused, which bounds every recursion here.

use bytes::Bytes;
use json_patch::{AddOperation, CopyOperation, MoveOperation, PatchOperation, ReplaceOperation, TestOperation};
use portcullis_model::schema::DecodeError;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::status::{BadValue, FieldError, Status};
use portcullis_model::tree::Tree;
use serde_json::Value;

use super::input::Expected;
use super::options::{self, WriteOptions};
use super::strategic::{self, StrategicError};
use super::update::{Old, check_name, missing, replace};
use crate::answer::{Answer, Failure};
use crate::audit;
use crate::body::Body;
use crate::negotiate::{self, PatchType};
use crate::registry::Served;
use crate::request::Request;
use crate::server::ApiServer;

/// Operations of a JSON patch (upstream: `maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;
/// Bytes that `copy` and `add` may make of an object while a JSON patch is applied (upstream: `AccumulatedCopySizeLimit`).
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Where the metadata begin in the text of every stored object: behind `{"metadata":`.
const METADATA_AT: usize = 12;

/// A patch that was read.
pub enum Patch {
    /// Operations.
    Json(Vec<PatchOperation>),
    /// What is merged.
    Merge(Value),
    /// What is merged by the schema.
    Strategic(Value),
}

impl Patch {
    /// Whether it is certain that the patch says nothing of managers, neither sets nor looks at them.
    fn leaves_managers(&self) -> bool {
        match self {
            Patch::Merge(patch) | Patch::Strategic(patch) => match patch.get("metadata") {
                None => true,
                Some(Value::Object(metadata)) => !metadata.keys().any(|key| key.contains("managedFields")),
                Some(_) => false,
            },
            Patch::Json(operations) => operations.iter().all(|operation| {
                let from = match operation {
                    PatchOperation::Copy(operation) => operation.from.as_str(),
                    PatchOperation::Move(operation) => operation.from.as_str(),
                    _ => "/",
                };
                [operation.path().as_str(), from].iter().all(|path| {
                    !path.is_empty() && *path != "/metadata" && !path.starts_with("/metadata/managedFields")
                })
            }),
        }
    }
}

/// Answers a PATCH of an object or of its status.
pub async fn patch(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let patch_type = negotiate::patch_type(request.permitted.headers())?;
    let options = options::write("PatchOptions", request.query)?;
    let patch = receive(request, patch_type)?;
    let served = request.served;
    let mut warnings = Vec::new();
    let replaced = {
        let request: &Request<'_> = request;
        let mut make = |old: &Old| {
            warnings.clear();
            let mut tree = apply(served, old, &patch, &options, &mut warnings)?;
            check_name(served, &tree, request.path_name())?;
            served.default(&mut tree);
            Ok(tree)
        };
        replace(server, request, &options, &mut make, None).await
    };
    request.warnings.extend(warnings);
    replaced?.ok_or_else(|| missing(request))
}

/// Reads the patch of a request and puts it on the request's record.
pub fn receive(request: &Request<'_>, patch_type: PatchType) -> Result<Patch, Failure> {
    audit::patched(request);
    read(patch_type, &request.body)
}

/// Reads the body of a patch.
fn read(patch_type: PatchType, body: &Bytes) -> Result<Patch, Failure> {
    let value = || serde_json::from_slice::<Value>(body).map_err(|_| undecodable(&syntax_problem(body)));
    match patch_type {
        PatchType::Json => read_operations(value()?),
        PatchType::Merge => match value()? {
            object @ Value::Object(_) => Ok(Patch::Merge(object)),
            other => Err(not_an_object(&other)),
        },
        PatchType::Strategic => match value()? {
            object @ Value::Object(_) => Ok(Patch::Strategic(object)),
            other => Err(not_an_object(&other)),
        },
        // Server-side apply comes with managed fields.
        PatchType::Apply => Err(Box::new(Status::unsupported_media_type())),
    }
}

fn read_operations(value: Value) -> Result<Patch, Failure> {
    let Value::Array(operations) = value else {
        let found = json_type(&value);
        return Err(undecodable(&format!(
            "json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
        )));
    };
    if operations.len() > OPERATIONS_MAX {
        let what =
            format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", operations.len());
        return Err(Box::new(Status::request_entity_too_large(&what)));
    }
    // An operation that is none is found when it is applied, as a test that fails is.
    let operations = operations.into_iter().map(serde_json::from_value).collect::<Result<Vec<_>, _>>();
    operations.map(Patch::Json).map_err(|_| unprocessable())
}

fn undecodable(problem: &str) -> Failure {
    Box::new(Status::bad_request(format!("error decoding patch: {problem}")))
}

/// What is wrong with a text that is not JSON, in Go's words, which our own decoder has.
fn syntax_problem(body: &Bytes) -> String {
    let schema = portcullis_kinds::schema();
    let ty = schema.by_name("apimachinery.pkg.apis.meta.v1.PartialObjectMetadata");
    let error = ty.and_then(|ty| decode_json::decode(schema, ty, body.to_vec(), FieldValidation::Ignore).err());
    error.map_or_else(|| "exceeded max depth".to_owned(), |error| error.to_string())
}

fn not_an_object(value: &Value) -> Failure {
    let found = json_type(value);
    undecodable(&format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A JSON patch that cannot be applied gets upstream's bare 422.
fn unprocessable() -> Failure {
    Box::new(Status::generic(422, "", "", "", ""))
}

/// Applies a patch to what is stored and reads the outcome. Managers are half of many objects and what no patch is about: unless it is, it
/// is applied without them, which changes nothing but what a complaint shows.
fn apply(
    served: &Served,
    old: &Old,
    patch: &Patch,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Tree, Failure> {
    let text = served.serve(&old.value).map_err(crate::answer::unreadable)?;
    let mut apply_to_text = |text: &[u8]| {
        let mut json = Vec::new();
        Body::of(text)?.write(&served.head, old.version, &mut json);
        let value: Value = serde_json::from_slice(&json)
            .map_err(|_| Box::new(Status::unexpected("the object is nested too deeply to be patched")))?;
        apply_to(Expected::of(served), value, patch, options, warnings)
    };
    if patch.leaves_managers()
        && let Some(text) = without_managers(&text)?
        && let Ok(tree) = apply_to_text(&text)
    {
        return Ok(tree);
    }
    apply_to_text(&text)
}

/// The text of a stored object without its managers, which are the last of its metadata. None: it has none.
fn without_managers(text: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    let metadata = Body::of(text)?.metadata();
    // No string has a quote in it without a backslash, and nothing else in the metadata is a list of this name.
    let Some(begin) = memchr::memmem::rfind(metadata, br#","managedFields":["#) else { return Ok(None) };
    let (Some(before), Some(after)) = (metadata.get(..begin), text.get(METADATA_AT + metadata.len() - 1..)) else {
        return Ok(None);
    };
    let kept = [text.get(..METADATA_AT).unwrap_or_default(), before, after].concat();
    Ok(Some(kept))
}

/// Applies a patch to a value and reads the outcome as an object of the expected type.
pub fn apply_to(
    expected: Expected<'_>,
    mut value: Value,
    patch: &Patch,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Tree, Failure> {
    match patch {
        Patch::Json(operations) => apply_operations(&mut value, operations)?,
        Patch::Merge(patch) => json_patch::merge(&mut value, patch),
        Patch::Strategic(patch) => {
            strategic::apply(expected.schema, expected.ty, &mut value, patch).map_err(unmergeable)?;
        }
    }
    let patched = value.to_string();
    let decoded =
        decode_json::decode(expected.schema, expected.ty, patched.clone().into_bytes(), options.field_validation);
    let decoded = decoded.map_err(|error| undecodable_outcome(patch, patched.clone(), &error))?;
    if !decoded.findings.is_empty() {
        match options.field_validation {
            FieldValidation::Strict => {
                let problem = format!("strict decoding error: {}", decoded.findings.join(", "));
                return Err(invalid_patch(BadValue::Text(patched), problem));
            }
            FieldValidation::Warn => warnings.extend(decoded.findings),
            FieldValidation::Ignore => {}
        }
    }
    Ok(decoded.tree)
}

/// A strategic merge patch that cannot be applied. Upstream has a code for two of its complaints; the others are a 500 there, too.
fn unmergeable(error: StrategicError) -> Failure {
    match error {
        StrategicError::NotRetained => unprocessable(),
        StrategicError::MalformedRetainKeys => Box::new(Status::bad_request(error.to_string())),
        error => Box::new(Status::unexpected(error.to_string())),
    }
}

fn undecodable_outcome(patch: &Patch, patched: String, error: &DecodeError) -> Failure {
    match (patch, error) {
        (Patch::Strategic(patch), DecodeError::Mismatch { wanted, .. }) => {
            let shown = strategic::go_text(patch);
            invalid_patch(BadValue::Text(shown), format!("unrecognized type: {wanted}"))
        }
        _ => invalid_patch(BadValue::Text(patched), error.to_string()),
    }
}

fn invalid_patch(value: BadValue, problem: String) -> Failure {
    Box::new(Status::invalid("", "", "", &[FieldError::invalid("patch", value, problem)]))
}

/// Applies the operations one by one, watching how much they copy: a few copies of copies could fill memory.
fn apply_operations(value: &mut Value, operations: &[PatchOperation]) -> Result<(), Failure> {
    let mut copied = 0;
    for operation in operations {
        if let PatchOperation::Copy(CopyOperation { from, .. }) = operation {
            copied += value.pointer(from.as_str()).map_or(0, |copied| copied.to_string().len());
            if copied > COPIED_BYTES_MAX {
                let what = format!("the copies of a JSON patch may not be larger than {COPIED_BYTES_MAX} bytes");
                return Err(Box::new(Status::request_entity_too_large(&what)));
            }
        }
        let operation = as_upstream_reads(value, counted_from_the_end(value, operation));
        let Some(operation) = operation else { continue };
        json_patch::patch(value, std::slice::from_ref(&operation)).map_err(|_| unprocessable())?;
    }
    Ok(())
}

/// Upstream's library lets `replace` add a member that an object does not have, and finds null where nothing is. None: there is
/// nothing to do.
fn as_upstream_reads(value: &Value, operation: PatchOperation) -> Option<PatchOperation> {
    let parent_is_object =
        |path: &str| path.rsplit_once('/').and_then(|(parent, _)| value.pointer(parent)).is_some_and(Value::is_object);
    match operation {
        PatchOperation::Replace(ReplaceOperation { path, value: new }) if parent_is_object(path.as_str()) => {
            Some(PatchOperation::Add(AddOperation { path, value: new }))
        }
        PatchOperation::Test(TestOperation { path, value: wanted })
            if wanted.is_null() && parent_is_object(path.as_str()) && value.pointer(path.as_str()).is_none() =>
        {
            None
        }
        other => Some(other),
    }
}

/// Upstream's library reads `-1` as the last element of a list. RFC 6902 does not, and neither does the crate.
fn counted_from_the_end(value: &Value, operation: &PatchOperation) -> PatchOperation {
    let mut operation = operation.clone();
    let path = match &mut operation {
        PatchOperation::Add(AddOperation { path, .. })
        | PatchOperation::Copy(CopyOperation { path, .. })
        | PatchOperation::Move(MoveOperation { path, .. }) => path,
        PatchOperation::Remove(operation) => &mut operation.path,
        PatchOperation::Replace(operation) => &mut operation.path,
        PatchOperation::Test(operation) => &mut operation.path,
    };
    let Some((parent, last)) = path.as_str().rsplit_once('/') else { return operation };
    let from_end = last.strip_prefix('-').and_then(|digits| digits.parse::<usize>().ok());
    let Some(from_end) = from_end else { return operation };
    let list = value.pointer(parent).and_then(Value::as_array);
    if let Some(at) = list.and_then(|list| list.len().checked_sub(from_end))
        && let Ok(changed) = json_patch::jsonptr::PointerBuf::parse(format!("{parent}/{at}"))
    {
        *path = changed;
    }
    operation
}
