//! PATCH of `application/apply-patch+yaml`: server-side apply (KEP-555). What there is not is created.
//!
//! What is applied is read twice: as any body, which is what is merged, and with every zero and null that was written, which is what its
//! manager owns.

use portcullis_model::schema::Schema;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::managed::{ApplyError, place};
use portcullis_model::status::Status;
use portcullis_model::tree::{Kind, NodeId, Tree};
use portcullis_model::yaml;

use super::create::create_object;
use super::input::Expected;
use super::options;
use super::update::{Old, check_name, missing, replace, set_version};
use crate::answer::{Answer, Failure};
use crate::audit;
use crate::permission;
use crate::registry::apply::{Applied, apply as apply_to, conflict};
use crate::request::Request;
use crate::server::ApiServer;

/// Answers an apply of an object or of its status.
pub async fn apply(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    audit::patched(request);
    let (options, force) = options::apply(request.query)?;
    let body = read(request, Expected::of(request.served), options.field_validation)?;
    let request: &Request<'_> = request;
    let served = request.served;
    let now = server.now_seconds();
    let applied = body.by(&options.field_manager, force);
    let make_of = |live: &Tree| -> Result<Tree, Failure> {
        let applied = apply_to(&server.registry, request, live, &applied, now);
        let mut tree = applied.map_err(|error| failure(Expected::of(served), &body.wanted, error))?;
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
    if let Some(answer) = replace(server, request, &options, &mut make, None).await? {
        return Ok(answer);
    }
    if !request.info.subresource.is_empty() {
        return Err(missing(request));
    }
    permission::require(request.permitted, "create").await?;
    let tree = make_of(&Tree::new(served.resource.type_id))?;
    create_object(server, request, tree, &options).await
}

/// A body that was read.
pub struct Body {
    /// What is wanted.
    pub wanted: Tree,
    /// The same with all zeros and nulls that were written.
    pub given: Tree,
    /// As JSON.
    text: Vec<u8>,
}

impl Body {
    /// With who applies it.
    pub fn by<'a>(&'a self, manager: &'a str, force: bool) -> Applied<'a> {
        Applied { wanted: &self.wanted, given: &self.given, text: &self.text, manager, force }
    }
}

/// Reads what is applied. It must be of the expected kind and version, without managers, and its fields must exist.
///
/// # Errors
/// What is wrong with it, in the words of upstream's type converter.
pub fn read(request: &mut Request<'_>, expected: Expected<'_>, validation: FieldValidation) -> Result<Body, Failure> {
    let Expected { schema, ty, .. } = expected;
    let json = yaml::to_json(&request.body)
        .map_err(|error| Box::new(Status::bad_request(format!("error decoding YAML: {error}"))))?;
    let given = decode_json::decode_as_given(schema, ty, json.json.clone(), FieldValidation::Ignore);
    let given = given.map_err(|error| untyped(expected, &Tree::new(ty), &error.to_string()))?.tree;
    let wanted = decode_json::decode(schema, ty, json.json.clone(), FieldValidation::Strict);
    let wanted = wanted.map_err(|error| untyped(expected, &given, &error.to_string()))?;
    check_head(expected, &given)?;
    let metadata = field(schema, &given, given.root(), "metadata");
    let managers = metadata.and_then(|metadata| field(schema, &given, metadata, "managedFields"));
    if managers.is_some_and(|managers| given.kind(managers) != Kind::Null) {
        return Err(Box::new(Status::bad_request("metadata.managedFields must be nil")));
    }
    let undeclared: Vec<String> = wanted
        .findings
        .iter()
        .filter_map(|finding| finding.strip_prefix("unknown field \"")?.strip_suffix('"'))
        .map(|path| format!("{}: field not declared in schema", place(schema, &wanted.tree, path)))
        .collect();
    match undeclared.as_slice() {
        [] => {}
        [one] => return Err(untyped(expected, &given, one)),
        several => return Err(untyped(expected, &given, &format!("errors:\n  {}", several.join("\n  ")))),
    }
    match (validation, json.duplicates) {
        (FieldValidation::Strict, Some(findings)) => {
            return Err(Box::new(Status::bad_request(format!("error strict decoding YAML: {findings}"))));
        }
        (FieldValidation::Warn, findings) => request.warnings.extend(findings),
        _ => {}
    }
    Ok(Body { wanted: wanted.tree, given, text: json.json })
}

/// Why something was not applied.
pub fn failure(expected: Expected<'_>, wanted: &Tree, error: ApplyError) -> Failure {
    match error {
        ApplyError::Conflicts(conflicts) => Box::new(conflict(&conflicts)),
        ApplyError::NoPaths(error) => untyped(expected, wanted, &error.to_string()),
        ApplyError::NoVersion => {
            Box::new(Status::unexpected("the object cannot be had in a version that its managers use"))
        }
    }
}

/// It says its own version and kind, which are the path's.
fn check_head(expected: Expected<'_>, given: &Tree) -> Result<(), Failure> {
    let text = |name: &str| {
        let node = field(expected.schema, given, given.root(), name);
        node.and_then(|node| given.string(node)).unwrap_or_default()
    };
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version == expected.api_version && kind == expected.kind {
        return Ok(());
    }
    Err(Box::new(Status::bad_request(format!("invalid object type: {}", shown_type(version, kind)))))
}

/// Group, version and kind, in Go's words: without a group, there still is the slash behind it.
fn shown_type(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

/// What is applied is no object of its type.
fn untyped(expected: Expected<'_>, tree: &Tree, problem: &str) -> Failure {
    let metadata = field(expected.schema, tree, tree.root(), "metadata");
    let text = |name: &str| {
        let node = metadata.and_then(|metadata| field(expected.schema, tree, metadata, name));
        node.and_then(|node| tree.string(node)).unwrap_or_default()
    };
    let of_type = shown_type(expected.api_version, expected.kind);
    let what = format!("{}/{}; {of_type}", text("namespace"), text("name"));
    Box::new(Status::unexpected(format!("failed to create typed patch object ({what}): {problem}")))
}

fn field(schema: &Schema, tree: &Tree, object: NodeId, name: &str) -> Option<NodeId> {
    tree.field(object, schema.ty(tree.object_type(object)?).find(name)?)
}
