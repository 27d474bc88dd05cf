//! PATCH of `application/apply-patch+yaml`: server-side apply (KEP-555). What there is not is created.
//!
//! What is applied is read with every zero and null that was written: its manager owns them.

use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::managed::{ApplyError, has_keys, mistyped};
use portcullis_model::schema::{DecodeError, Schema};
use portcullis_model::status::{Reason, Status};
use portcullis_model::tree::{Kind, NodeId, Tree};
use portcullis_model::yaml;
use serde_json::Value;

use super::create::{CREATE_ATTEMPTS_MAX, check_namespace_matches, create_object};
use super::input::Expected;
use super::options;
use super::update::{Old, check_name, missing, replace, set_version};
use crate::answer::{Answer, Failure};
use crate::audit;
use crate::registry::apply::{Applied, apply as apply_to, conflict};
use crate::registry::metadata::Metadata;
use crate::request::Request;
use crate::server::ApiServer;

/// What upstream's reader of YAML says before what is wrong with it.
const CONVERTING: &str = "error converting YAML to JSON";

/// Answers an apply of an object or of a part of it that is of its type.
pub async fn apply(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    audit::patched(request);
    let (options, force) = options::apply(request.query)?;
    let request: &Request<'_> = request;
    let served = request.served;
    let expected = Expected::of(served);
    let now = server.now_seconds();
    // What is wrong with the body is told to who applies to something that is there, or that may be made.
    let body = read(request, expected);
    let make_of = |live: &Tree| -> Result<Tree, Failure> {
        let body = body.as_ref().map_err(Clone::clone)?;
        let applied = apply_to(&server.registry, request, live, &body.by(&options.field_manager, force), now);
        let mut tree = applied.map_err(|error| body.failure(expected, error))?;
        body.check_duplicates(request, options.field_validation)?;
        check_namespace_matches(served, &tree, request.namespace())?;
        check_name(served, &tree, request.path_name())?;
        served.default(&mut tree);
        Ok(tree)
    };
    let mut make = |old: &Old| {
        // Who names no version means the one that is there.
        let mut live = old.tree.clone();
        set_version(served, &mut live, old.version);
        make_of(&live)
    };
    let mut attempts_left = CREATE_ATTEMPTS_MAX;
    loop {
        if let Some(answer) = replace(server, request, &options, &mut make, None).await? {
            return Ok(answer);
        }
        if !request.info.subresource.is_empty() {
            return Err(missing(request));
        }
        let tree = make_of(&Tree::new(served.resource.type_id))?;
        check_is_no_other(request, &tree)?;
        attempts_left -= 1;
        match create_object(server, request, tree, &options).await {
            // Another made it in between: what is there now is applied to.
            Err(status) if status.reason == Reason::AlreadyExists && attempts_left > 0 => {}
            outcome => return outcome,
        }
    }
}

/// Who names a uid means an object that is there.
fn check_is_no_other(request: &Request<'_>, tree: &Tree) -> Result<(), Failure> {
    let uid = Metadata::of(request.served, tree).uid();
    if uid.is_empty() {
        return Ok(());
    }
    let resource = request.served.resource;
    let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
    Err(Box::new(Status::conflict(resource.group, resource.name, request.path_name(), &why)))
}

/// A body that was read.
pub struct Body {
    /// What is wanted, with all zeros and nulls that were written.
    given: Tree,
    /// As JSON.
    text: Vec<u8>,
    /// Keys that were set twice, in the words of strict reading.
    duplicates: Option<String>,
}

impl Body {
    /// With who applies it.
    pub fn by<'a>(&'a self, manager: &'a str, force: bool) -> Applied<'a> {
        Applied { given: &self.given, text: &self.text, manager, force }
    }

    /// Why it was not applied.
    pub fn failure(&self, expected: Expected<'_>, error: ApplyError) -> Failure {
        match error {
            ApplyError::Conflicts(conflicts) => Box::new(conflict(&conflicts)),
            ApplyError::NoPaths(error) => untyped(expected, &self.text, &error.to_string()),
            ApplyError::NoVersion => {
                Box::new(Status::unexpected("the object cannot be had in a version that its managers use"))
            }
        }
    }

    /// Says that keys were set twice. Upstream looks at that when all else is well.
    ///
    /// # Errors
    /// Under [`FieldValidation::Strict`].
    pub fn check_duplicates(&self, request: &Request<'_>, validation: FieldValidation) -> Result<(), Failure> {
        let Some(findings) = &self.duplicates else { return Ok(()) };
        match validation {
            FieldValidation::Strict => {
                return Err(Box::new(Status::bad_request(format!("error strict decoding YAML: {findings}"))));
            }
            FieldValidation::Warn => request.warn_all(|warnings| {
                if !warnings.contains(findings) {
                    warnings.push(findings.clone());
                }
            }),
            FieldValidation::Ignore => {}
        }
        Ok(())
    }
}

/// Reads what is applied. It must be of the expected kind and version, without managers, and its fields must exist.
///
/// # Errors
/// What is wrong with it, in the words of upstream's type converter.
pub fn read(request: &Request<'_>, expected: Expected<'_>) -> Result<Body, Failure> {
    let Expected { schema, ty, .. } = expected;
    let undecodable = |error: &str| Box::new(Status::bad_request(format!("error decoding YAML: {error}")));
    let converted = yaml::to_json(&request.body);
    let yaml::Converted { json, duplicates } =
        converted.map_err(|error| undecodable(&format!("{CONVERTING}: {error}")))?;
    let given = decode_json::decode_as_given(schema, ty, json.clone(), FieldValidation::Strict);
    let (given, findings) = match given {
        Ok(given) => (given.tree, given.findings),
        Err(DecodeError::NotAnObject { found, .. }) => {
            let problem = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
            return Err(undecodable(&format!("error unmarshaling JSON: while decoding JSON: {problem}")));
        }
        Err(error) => return Err(unreadable(expected, &json, &error)),
    };
    check_head(expected, |name| {
        let node = field(schema, &given, given.root(), name);
        node.and_then(|node| given.string(node)).unwrap_or_default().to_owned()
    })?;
    let metadata = field(schema, &given, given.root(), "metadata");
    let managers = metadata.and_then(|metadata| field(schema, &given, metadata, "managedFields"));
    if managers.is_some_and(|managers| given.kind(managers) != Kind::Null) {
        return Err(with_managers());
    }
    let is_declared = !findings.iter().any(|finding| finding.starts_with("unknown field"));
    if !is_declared || !has_keys(schema, &given) {
        return Err(untyped(expected, &json, "it is not of its type"));
    }
    let duplicates = duplicates.map(|found| format!("{CONVERTING}: {found}"));
    Ok(Body { given, text: json, duplicates })
}

fn with_managers() -> Failure {
    Box::new(Status::bad_request("metadata.managedFields must be nil"))
}

/// What is applied cannot be read as an object of its type: most often for a reason that is found before that, or another one first.
fn unreadable(expected: Expected<'_>, text: &[u8], error: &DecodeError) -> Failure {
    let Ok(value) = serde_json::from_slice::<Value>(text) else { return untyped(expected, text, &error.to_string()) };
    let head = check_head(expected, |name| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned());
    if let Err(failure) = head {
        return failure;
    }
    if value.pointer("/metadata/managedFields").is_some_and(Value::is_array) {
        return with_managers();
    }
    if mistyped(expected.schema, expected.ty, &value).is_some() {
        return untyped(expected, text, &error.to_string());
    }
    // It has the shape of its type, and a value that its type cannot read.
    let of_type = shown_type(expected.api_version, expected.kind);
    let problem = match error {
        DecodeError::Mismatch { found, wanted, .. } if found.starts_with("number ") => {
            format!("cannot convert float64 to {wanted}")
        }
        error => match error.to_string() {
            problem if problem.starts_with("illegal base64 data") => format!("error decoding from json: {problem}"),
            problem => problem,
        },
    };
    let what = shown_object(expected, &value);
    Box::new(Status::unexpected(format!(
        "failed to convert new object ({what}) to proper version: unable to convert unstructured object to {of_type}: {problem}"
    )))
}

/// It says its own version and kind, which are the path's.
fn check_head(expected: Expected<'_>, text: impl Fn(&str) -> String) -> Result<(), Failure> {
    let (mut version, mut kind) = (text("apiVersion"), text("kind"));
    if version == expected.api_version && kind == expected.kind {
        return Ok(());
    }
    if version.matches('/').count() > 1 {
        // What is no version leaves nothing of the type.
        (version, kind) = (String::new(), String::new());
    }
    Err(Box::new(Status::bad_request(format!("invalid object type: {}", shown_type(&version, &kind)))))
}

/// Group, version and kind, in Go's words: without a group, there still is the slash behind it.
fn shown_type(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// What is applied is no object of its type: `problem` where nothing is found wrong with its shape.
fn untyped(expected: Expected<'_>, text: &[u8], problem: &str) -> Failure {
    let value = serde_json::from_slice::<Value>(text).unwrap_or_default();
    let found = mistyped(expected.schema, expected.ty, &value);
    let problem = found.as_deref().unwrap_or(problem);
    let what = shown_object(expected, &value);
    Box::new(Status::unexpected(format!("failed to create typed patch object ({what}): {problem}")))
}

/// Namespace, name and type of what is applied.
fn shown_object(expected: Expected<'_>, value: &Value) -> String {
    let text = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    format!("{namespace}/{name}; {}", shown_type(expected.api_version, expected.kind))
}

fn field(schema: &Schema, tree: &Tree, object: NodeId, name: &str) -> Option<NodeId> {
    tree.field(object, schema.ty(tree.object_type(object)?).find(name)?)
}
