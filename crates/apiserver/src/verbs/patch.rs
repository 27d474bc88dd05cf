//! PATCH: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, then the same path as an update.
//!
//! Patches are small and rare beside reads, so they are applied to a plain JSON value. What comes out is decoded by the schema like any
//! body, which prunes and types it. JSON nested deeper than `serde_json` reads (128) is refused, which bounds every recursion here.
//!
//! A patch that cannot be read is refused where it would be applied, as upstream does: an object that is not there comes first.

mod findings;
mod merge;
mod operations;
mod strategic;

use std::collections::BTreeSet;

use bytes::Bytes;
use portcullis_model::go_text::quoted;
use portcullis_model::schema::decode_json::{self, Decoded, FieldValidation};
use portcullis_model::schema::{DecodeError, TypeRef};
use portcullis_model::status::{BadValue, FieldError, Status};
use portcullis_model::tree::Tree;
use serde_json::{Map, Value};

use super::apply;
use super::create::check_namespace_matches;
use super::input::Expected;
use super::options::{self, WriteOptions};
use super::update::{Old, check_name, missing, replace, set_version};
use crate::answer::{Answer, Failure};
use crate::audit;
use crate::body::{Body, without_managers};
use crate::negotiate::{self, PatchType};
use crate::registry::metadata::{copy_top, metadata_of};
use crate::registry::{Served, managed};
use crate::request::Request;
use crate::scan::Members;
use crate::server::ApiServer;
use operations::{OPERATIONS_MAX, Operation, Problem};
use strategic::StrategicError;

/// What an object says of its type, in front of all else.
const TYPE_HEAD: [&str; 2] = ["kind", "apiVersion"];
/// How Go calls what a merge patch is read into.
const MAP: &str = "map[string]interface {}";

/// A patch as it was received.
pub struct Patch {
    /// What it does, or why it cannot be read.
    change: Result<Change, Failure>,
    /// Its unknown and duplicate members, where somebody wants to know.
    findings: Vec<String>,
}

/// What a patch does.
enum Change {
    /// Operations, as far as they are any.
    Json(Vec<Result<Operation, Problem>>),
    /// What is merged.
    Merge(Map<String, Value>),
    /// What is merged by the schema.
    Strategic(Map<String, Value>),
}

impl Change {
    /// The members of an object that the patch is about; none when it may be about all of it.
    fn names(&self) -> Option<BTreeSet<&str>> {
        match self {
            Change::Merge(patch) => Some(patch.keys().map(String::as_str).collect()),
            // A directive among them is about the others, too.
            Change::Strategic(patch) => {
                let names = patch.keys().map(String::as_str);
                (!patch.keys().any(|name| name.starts_with('$'))).then(|| names.collect())
            }
            Change::Json(operations) => {
                let mut names = BTreeSet::new();
                for path in operations.iter().flatten().flat_map(Operation::paths) {
                    let name = path.split('/').nth(1)?;
                    if name.contains('~') {
                        return None;
                    }
                    names.insert(name);
                }
                Some(names)
            }
        }
    }

    /// Whether it is certain that the patch says nothing of managers, neither sets nor looks at them.
    fn leaves_managers(&self) -> bool {
        match self {
            Change::Merge(patch) | Change::Strategic(patch) => match patch.get("metadata") {
                None => true,
                Some(Value::Object(metadata)) => {
                    !metadata.keys().any(|key| key.contains("managedFields") || key.starts_with('$'))
                }
                Some(_) => false,
            },
            Change::Json(operations) => operations.iter().flatten().flat_map(Operation::paths).all(|path| {
                let mut steps = path.split('/').skip(1);
                steps.next().is_some_and(|step| step != "metadata")
                    || steps.next().is_some_and(|step| step != "managedFields" && !step.contains('~'))
            }),
        }
    }

    /// Applies the patch to an object. Gives back what is left of a strategic merge patch, which is what complaints show.
    fn apply(&self, expected: Expected<'_>, object: &mut Value) -> Result<Option<Value>, Failure> {
        match (self, object) {
            (Change::Json(operations), object) => {
                operations::apply(object, operations).map(|()| None).map_err(inapplicable)
            }
            (Change::Merge(patch), Value::Object(object)) => {
                merge::merge(object, patch);
                Ok(None)
            }
            (Change::Strategic(patch), Value::Object(object)) => {
                let mut patch = patch.clone();
                strategic::apply(expected.schema, expected.ty, object, &mut patch).map_err(unmergeable)?;
                Ok(Some(Value::Object(patch)))
            }
            (_, _) => Err(unprocessable()),
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
    let patch = receive(request, patch_type, &options);
    let served = request.served;
    let mut warnings = Vec::new();
    let replaced = {
        let request: &Request<'_> = request;
        let mut make = |old: &Old| {
            warnings.clear();
            let mut tree = patched(served, old, &patch, &options, &mut warnings)?;
            check_namespace_matches(served, &tree, request.namespace())?;
            check_name(served, &tree, request.path_name())?;
            served.default(&mut tree);
            managed::note_reset(served, &mut tree, &request.body);
            Ok(tree)
        };
        replace(server, request, &options, &mut make, None).await
    };
    request.warnings.extend(warnings);
    replaced?.ok_or_else(|| missing(request))
}

/// Reads the patch of a request and puts it on the request's record.
pub fn receive(request: &Request<'_>, patch_type: PatchType, options: &WriteOptions) -> Patch {
    audit::patched(request);
    read(patch_type, &request.body, options.field_validation)
}

/// Reads the body of a patch.
fn read(patch_type: PatchType, body: &Bytes, validation: FieldValidation) -> Patch {
    let is_watched = validation != FieldValidation::Ignore;
    let change = match patch_type {
        PatchType::Json => read_operations(body, is_watched),
        PatchType::Strategic => read_strategic(body),
        // An apply has been told apart before it comes here.
        PatchType::Merge | PatchType::Apply => read_merge(body, is_watched),
    };
    let findings = match &change {
        Ok(Change::Json(_)) if is_watched => findings::of_operations(body),
        Ok(Change::Merge(_) | Change::Strategic(_)) if is_watched => findings::of_object(body),
        _ => Vec::new(),
    };
    Patch { change, findings }
}

fn read_operations(body: &Bytes, is_watched: bool) -> Result<Change, Failure> {
    // Nobody watches: what it is read into has another name then.
    let (list, item) = if is_watched {
        ("[]handlers.jsonPatchOp", "handlers.jsonPatchOp")
    } else {
        ("jsonpatch.Patch", "jsonpatch.Operation")
    };
    let refused = |problem: String| {
        Box::new(Status::bad_request(if is_watched { format!("error decoding patch: {problem}") } else { problem }))
    };
    let wrong =
        |found: &Value, wanted: &str| refused(format!("json: cannot unmarshal {} into Go {wanted}", json_type(found)));
    let operations = match json(body).map_err(refused)? {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => return Err(wrong(&other, &format!("value of type {list}"))),
    };
    let mut read = Vec::with_capacity(operations.len().min(OPERATIONS_MAX));
    for operation in &operations {
        let members = match operation {
            Value::Object(members) => members,
            Value::Null => &Map::new(),
            other => return Err(wrong(other, &format!("value of type {item}"))),
        };
        for name in ["op", "path", "from"] {
            if let Some(found) = members.get(name).filter(|found| is_watched && !found.is_string() && !found.is_null())
            {
                return Err(wrong(found, &format!("struct field jsonPatchOp.{name} of type string")));
            }
        }
        read.push(Operation::read(members));
    }
    if read.len() > OPERATIONS_MAX {
        let what = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}", read.len());
        return Err(Box::new(Status::request_entity_too_large(&what)));
    }
    Ok(Change::Json(read))
}

fn read_merge(body: &Bytes, is_watched: bool) -> Result<Change, Failure> {
    let no_patch = || Box::new(Status::bad_request("Invalid JSON Patch"));
    match json(body) {
        Ok(Value::Object(patch)) => Ok(Change::Merge(patch)),
        Ok(Value::Null) => Err(no_patch()),
        Ok(Value::Array(list)) if !is_watched => {
            let problem = "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type \
                           struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                           Kind string \"json:\\\"kind,omitempty\\\"\" }";
            Err(invalid_patch(to_text(&Value::Array(list)), problem.to_owned()))
        }
        Ok(other) if is_watched => {
            let found = json_type(&other);
            let problem = format!("error decoding patch: json: cannot unmarshal {found} into Go value of type {MAP}");
            Err(Box::new(Status::bad_request(problem)))
        }
        Err(problem) if is_watched => Err(Box::new(Status::bad_request(format!("error decoding patch: {problem}")))),
        Ok(_) | Err(_) => Err(no_patch()),
    }
}

fn read_strategic(body: &Bytes) -> Result<Change, Failure> {
    match json(body) {
        Ok(Value::Object(patch)) => Ok(Change::Strategic(patch)),
        Ok(Value::Null) => Ok(Change::Strategic(Map::new())),
        Ok(other) => {
            let found = json_type(&other);
            let problem = format!("json: cannot unmarshal {found} into Go value of type {MAP}");
            Err(Box::new(Status::bad_request(problem)))
        }
        Err(problem) => Err(Box::new(Status::bad_request(problem))),
    }
}

/// Reads JSON. What is wrong with a text that is none is told in Go's words.
fn json(body: &Bytes) -> Result<Value, String> {
    serde_json::from_slice(body).or_else(|_| {
        // Go reads what is not UTF-8, too, with a sign in its place.
        serde_json::from_str(&String::from_utf8_lossy(body)).map_err(|_| {
            let error = decode_json::check_object(body.to_vec(), MAP).err();
            match error {
                None | Some(DecodeError::NotAnObject { .. }) => "exceeded max depth".to_owned(),
                Some(error) => error.to_string(),
            }
        })
    })
}

/// How Go calls what a JSON value is.
pub fn json_type(value: &Value) -> &'static str {
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

fn inapplicable(problem: Problem) -> Failure {
    match problem {
        Problem::TooLong => {
            Box::new(Status::request_entity_too_large("the operations of a JSON patch move too many elements of lists"))
        }
        _ => unprocessable(),
    }
}

/// A strategic merge patch that cannot be applied. Upstream has a code for a few of its complaints; the others are a 500 there, too.
fn unmergeable(error: StrategicError) -> Failure {
    match error {
        StrategicError::ListOfLists => unprocessable(),
        StrategicError::TooLong => Box::new(Status::request_entity_too_large(&error.to_string())),
        StrategicError::MalformedRetainKeys | StrategicError::MalformedDeletion | StrategicError::MalformedOrder => {
            Box::new(Status::bad_request(error.to_string()))
        }
        error => Box::new(Status::unexpected(error.to_string())),
    }
}

fn invalid_patch(shown: String, problem: String) -> Failure {
    Box::new(Status::invalid("", "", "", &[FieldError::invalid("patch", BadValue::Text(shown), problem)]))
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
    let change = patch.change.as_ref().map_err(Clone::clone)?;
    let text = served.serve(&old.value).map_err(crate::answer::unreadable)?;
    let whole = |text: &[u8]| -> Result<Vec<u8>, Failure> {
        let mut json = Vec::new();
        Body::of(text)?.write(&served.head, old.version, &mut json);
        Ok(json)
    };
    let expected = Expected::of(served);
    if let Some(names) = change.names().filter(|_| change.leaves_managers()) {
        let shortened = without_managers(&text)?;
        let json = whole(shortened.as_deref().unwrap_or(&text))?;
        let others = Others::of(served, old, &names);
        if let Some(parted) = Parted::of(&json, &names, others)
            && let Ok(outcome) = parted.patched(expected, change)
            && let Some(tree) = outcome.read(expected, patch, options, warnings)
        {
            match others {
                Others::Read => return Ok(tree),
                Others::Held if !tree.has_emptied() => return Ok(joined(served, old, &tree, &names)),
                Others::Held => warnings.clear(),
            }
        }
    }
    let value: Value = serde_json::from_slice(&whole(&text)?)
        .map_err(|_| Box::new(Status::unexpected("the object is nested too deeply to be patched")))?;
    apply_to(expected, value, patch, options, warnings)
}

/// Where the members come from that a patch does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// They are read from the text of the object.
    Read,
    /// They were read when the object was: only its type head is, which says how the others are to be understood.
    Held,
}

impl Others {
    fn of(served: &Served, old: &Old, names: &BTreeSet<&str>) -> Others {
        let is_head = |name: &&str| TYPE_HEAD.contains(name);
        let is_held = served.stored_as_served() && !old.tree.has_emptied() && !names.iter().any(is_head);
        if is_held { Others::Held } else { Others::Read }
    }
}

/// The object as it is stored, but for its type head and for what a patch names, which are as they were read after it.
fn joined(served: &Served, old: &Old, patched: &Tree, names: &BTreeSet<&str>) -> Tree {
    let mut tree = old.tree.clone();
    let metadata = metadata_of(served, &mut tree);
    tree.remove(metadata, served.meta.managed_fields);
    set_version(served, &mut tree, old.version);
    let ty = served.schema.ty(served.resource.type_id);
    let named = TYPE_HEAD.iter().chain(names).filter_map(|name| ty.find(name));
    for number in named {
        copy_top(&mut tree, patched, number);
    }
    tree
}

/// An object, parted into the members that a patch names and those that stay as they are.
struct Parted {
    named: Map<String, Value>,
    /// The others that are read as text, each with a comma behind it.
    others: String,
}

impl Parted {
    /// Parts an object that the server wrote. None: it cannot be done.
    fn of(json: &[u8], names: &BTreeSet<&str>, others: Others) -> Option<Parted> {
        let mut members = Members { text: json, at: 1 };
        let mut parted = Parted { named: Map::new(), others: String::new() };
        while let Some((name, value)) = members.next()? {
            let key = str::from_utf8(json.get(name.clone())?).ok()?;
            if names.contains(key) {
                parted.named.insert(key.to_owned(), serde_json::from_slice(json.get(value)?).ok()?);
                // The type head comes first.
                if others == Others::Held && parted.named.len() == names.len() {
                    break;
                }
            } else if others == Others::Read || TYPE_HEAD.contains(&key) {
                parted.others.push_str(str::from_utf8(json.get(name.start - 1..value.end)?).ok()?);
                parted.others.push(',');
            }
        }
        Some(parted)
    }

    /// The whole object after a patch.
    fn patched(self, expected: Expected<'_>, change: &Change) -> Result<Outcome, Failure> {
        let mut value = Value::Object(self.named);
        let left = change.apply(expected, &mut value)?;
        let named = to_text(&value);
        let members = named.strip_prefix('{').ok_or_else(unprocessable)?;
        let others = if members == "}" { self.others.trim_end_matches(',') } else { &self.others };
        Ok(Outcome { text: ["{", others, members].concat(), is_converted: left.is_some() })
    }
}

/// An object after a patch.
struct Outcome {
    text: String,
    /// Upstream takes it over value by value, without a text between.
    is_converted: bool,
}

impl Outcome {
    fn decode(self, expected: Expected<'_>, validation: FieldValidation) -> Result<Decoded, DecodeError> {
        let mut decoded = decode_json::decode(expected.schema, expected.ty, self.text.into_bytes(), validation)?;
        if self.is_converted {
            decoded.findings.sort_unstable();
        }
        Ok(decoded)
    }

    /// The object, if nobody has to be refused for it.
    fn read(
        self,
        expected: Expected<'_>,
        patch: &Patch,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Option<Tree> {
        let is_converted = self.is_converted;
        let decoded = self.decode(expected, options.field_validation).ok()?;
        let tree = if is_converted { decoded.tree } else { of_its_kind(expected, decoded.tree).ok()? };
        patch.report(decoded.findings, options.field_validation, warnings).ok()?;
        Some(tree)
    }
}

impl Patch {
    /// Makes warnings of the findings in the patch and in what it made.
    ///
    /// # Errors
    /// There are findings, and none are allowed: all of them.
    fn report(&self, made: Vec<String>, validation: FieldValidation, warnings: &mut Vec<String>) -> Result<(), String> {
        let findings = self.findings.iter().cloned().chain(made);
        match validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => warnings.extend(findings),
            FieldValidation::Strict => {
                let findings: Vec<String> = findings.collect();
                if !findings.is_empty() {
                    return Err(format!("strict decoding error: {}", findings.join(", ")));
                }
            }
        }
        Ok(())
    }
}

/// Applies a patch to a value and reads the outcome as an object of the expected type.
pub fn apply_to(
    expected: Expected<'_>,
    mut value: Value,
    patch: &Patch,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Tree, Failure> {
    let change = patch.change.as_ref().map_err(Clone::clone)?;
    if let Value::Object(object) = &mut value {
        object.entry("kind").or_insert_with(|| expected.kind.into());
        object.entry("apiVersion").or_insert_with(|| expected.api_version.into());
    }
    let left = change.apply(expected, &mut value)?;
    let is_converted = left.is_some();
    let read =
        |value: &Value| Outcome { text: to_text(value), is_converted }.decode(expected, options.field_validation);
    let refused = |value: &Value, problem: String| {
        invalid_patch(left.as_ref().map_or_else(|| to_text(value), strategic::go_text), problem)
    };
    let mut decoded = read(&value);
    if is_converted && decoded.is_err() {
        if let Err(problem) = strategic::convert(expected.schema, TypeRef::Object(expected.ty), &mut value) {
            return Err(refused(&value, problem));
        }
        decoded = read(&value);
    }
    let decoded = decoded.map_err(|error| match error {
        // Only what reads itself is left to be wrong, and it does not know where it stands.
        DecodeError::Mismatch { found, wanted, .. } if is_converted => {
            refused(&value, format!("json: cannot unmarshal {found} into Go value of type {wanted}"))
        }
        DecodeError::Value(problem) if is_converted && problem.starts_with("illegal base64") => {
            refused(&value, format!("error decoding from json: {problem}"))
        }
        error => refused(&value, error.to_string()),
    })?;
    let tree = if is_converted {
        decoded.tree
    } else {
        of_its_kind(expected, decoded.tree).map_err(|problem| refused(&value, problem))?
    };
    patch.report(decoded.findings, options.field_validation, warnings).map_err(|problem| refused(&value, problem))?;
    Ok(tree)
}

/// What came out must be of the kind that is patched. In an object without a version upstream knows no field, so that it is empty.
fn of_its_kind(expected: Expected<'_>, tree: Tree) -> Result<Tree, String> {
    let ty = expected.schema.ty(expected.ty);
    let text = |name: &str| {
        let node = ty.find(name).and_then(|number| tree.field(tree.root(), number));
        node.and_then(|node| tree.string(node)).unwrap_or_default()
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version.is_empty() {
        return Ok(Tree::new(expected.ty));
    }
    if api_version != expected.api_version || !kind.is_empty() && kind != expected.kind {
        let kind = if kind.is_empty() { expected.kind } else { kind };
        return Err(format!("no kind {} is registered for version {}", quoted(kind), quoted(api_version)));
    }
    Ok(tree)
}

/// A value as text: any can be written.
fn to_text(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
