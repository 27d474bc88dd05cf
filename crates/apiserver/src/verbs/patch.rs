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
use serde_json::{Map, Value};

use super::apply;
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
use crate::scan::Members;
use crate::server::ApiServer;

/// Operations of a JSON patch (upstream: `maxJSONPatchOperations`).
const OPERATIONS_MAX: usize = 10_000;
/// Bytes that `copy` and `add` may make of an object while a JSON patch is applied (upstream: `AccumulatedCopySizeLimit`).
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Elements of lists that operations of a JSON patch may move to make or fill gaps: each at the front of a long list moves all of it.
const MOVED_ELEMENTS_MAX: usize = 100_000_000;

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
    /// The members of an object that the patch is about; none when it may be about all of it.
    fn named(&self) -> Option<&Map<String, Value>> {
        match self {
            Patch::Merge(patch) => patch.as_object(),
            // A directive among them is about the others, too.
            Patch::Strategic(patch) => {
                patch.as_object().filter(|names| !names.keys().any(|name| name.starts_with('$')))
            }
            Patch::Json(_) => None,
        }
    }

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
    if patch_type == PatchType::Apply {
        return apply::apply(server, request).await;
    }
    let options = options::write("PatchOptions", request.query)?;
    let patch = receive(request, patch_type)?;
    let served = request.served;
    let mut warnings = Vec::new();
    let replaced = {
        let request: &Request<'_> = request;
        let mut make = |old: &Old| {
            warnings.clear();
            let mut tree = patched(served, old, &patch, &options, &mut warnings)?;
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
        // Who can be applied to asks for it before it reads a patch (`apply`).
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

/// Applies a patch to what is stored and reads the outcome.
///
/// Managers are half of many objects and what no patch is about, and most patches name one or two members of an object: unless it must
/// see everything, a patch is applied to what it names. That changes nothing but what a complaint shows, so one that fails is applied
/// again to all of it.
fn patched(
    served: &Served,
    old: &Old,
    patch: &Patch,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Tree, Failure> {
    let text = served.serve(&old.value).map_err(crate::answer::unreadable)?;
    let whole = |text: &[u8]| -> Result<Vec<u8>, Failure> {
        let mut json = Vec::new();
        Body::of(text)?.write(&served.head, old.version, &mut json);
        Ok(json)
    };
    let expected = Expected::of(served);
    if let Some(names) = patch.named().filter(|_| patch.leaves_managers()) {
        let shortened = without_managers(&text)?;
        let json = whole(shortened.as_deref().unwrap_or(&text))?;
        if let Some(parted) = Parted::of(&json, names)
            && let Ok(text) = parted.patched(expected, patch)
            && let Ok(tree) = read_outcome(expected, text, patch, options, warnings)
        {
            return Ok(tree);
        }
    }
    let value: Value = serde_json::from_slice(&whole(&text)?)
        .map_err(|_| Box::new(Status::unexpected("the object is nested too deeply to be patched")))?;
    apply_to(expected, value, patch, options, warnings)
}

/// An object, parted into the members that a patch names and those that stay as they are.
struct Parted {
    named: Map<String, Value>,
    /// The others as text, each with a comma behind it.
    others: String,
}

impl Parted {
    /// Parts an object that the server wrote. None: it cannot be done.
    fn of(json: &[u8], names: &Map<String, Value>) -> Option<Parted> {
        let mut members = Members { text: json, at: 1 };
        let mut parted = Parted { named: Map::new(), others: String::with_capacity(json.len()) };
        while let Some((name, value)) = members.next()? {
            let key = str::from_utf8(json.get(name.clone())?).ok()?;
            if names.contains_key(key) {
                parted.named.insert(key.to_owned(), serde_json::from_slice(json.get(value)?).ok()?);
            } else {
                parted.others.push_str(str::from_utf8(json.get(name.start - 1..value.end)?).ok()?);
                parted.others.push(',');
            }
        }
        Some(parted)
    }

    /// The text of the whole object after a patch.
    fn patched(self, expected: Expected<'_>, patch: &Patch) -> Result<String, Failure> {
        let mut value = Value::Object(self.named);
        change(expected, &mut value, patch)?;
        let named = to_text(&value);
        let members = named.strip_prefix('{').unwrap_or_default();
        let others = if members == "}" { self.others.trim_end_matches(',') } else { &self.others };
        Ok(["{", others, members].concat())
    }
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
    change(expected, &mut value, patch)?;
    read_outcome(expected, to_text(&value), patch, options, warnings)
}

/// Applies a patch to a value.
fn change(expected: Expected<'_>, value: &mut Value, patch: &Patch) -> Result<(), Failure> {
    match patch {
        Patch::Json(operations) => apply_operations(value, operations),
        Patch::Merge(patch) => {
            json_patch::merge(value, patch);
            Ok(())
        }
        Patch::Strategic(patch) => strategic::apply(expected.schema, expected.ty, value, patch).map_err(unmergeable),
    }
}

/// A value as text: any can be written.
fn to_text(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn read_outcome(
    expected: Expected<'_>,
    patched: String,
    patch: &Patch,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Tree, Failure> {
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

/// Applies the operations one by one, watching how much they copy and move: a few copies of copies could fill memory, and a few thousand
/// elements at the front of a long list take minutes.
fn apply_operations(value: &mut Value, operations: &[PatchOperation]) -> Result<(), Failure> {
    let (mut copied, mut moved) = (0, 0);
    for operation in operations {
        moved += moved_by(value, operation);
        if moved > MOVED_ELEMENTS_MAX {
            let what = format!("the operations of a JSON patch may not move more than {MOVED_ELEMENTS_MAX} elements");
            return Err(Box::new(Status::request_entity_too_large(&what)));
        }
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

/// How many elements of lists an operation may move.
fn moved_by(value: &Value, operation: &PatchOperation) -> usize {
    let list = |path: &str| {
        let parent = path.rsplit_once('/').and_then(|(parent, _)| value.pointer(parent));
        parent.and_then(Value::as_array).map_or(0, Vec::len)
    };
    match operation {
        PatchOperation::Add(_) | PatchOperation::Remove(_) | PatchOperation::Copy(_) => list(operation.path().as_str()),
        PatchOperation::Move(MoveOperation { from, path }) => list(from.as_str()) + list(path.as_str()),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 0,
    }
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
