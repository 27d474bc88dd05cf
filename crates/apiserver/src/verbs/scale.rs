//! `/scale`: how many replicas an object wants and has, in the same words for every kind (upstream: `autoscaling/v1` Scale).
//!
//! The kinds that have it keep it in the same places: `spec.replicas`, `status.replicas`, and `spec.selector` as a label selector or as
//! plain labels.

use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use http::header::USER_AGENT;
use portcullis_gate::Verb;
use portcullis_model::schema::TypeRef;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::managed::{Manager, Managers};
use portcullis_model::selectors::{LabelSelector, LabelSelectorRequirement};
use portcullis_model::status::{FieldError, Status};
use portcullis_model::time::time_text;
use portcullis_model::tree::{NodeId, Scalar, Tree};
use serde_json::{Value, json};

use super::input::{self, Expected};
use super::options::WriteOptions;
use super::update::{Old, Projection, missing, replace, set_version};
use super::{apply, get, options, patch};
use crate::answer::{Answer, Failure, Made, ObjectAnswer, unreadable};
use crate::audit;
use crate::negotiate::{self, PatchType};
use crate::registry::Served;
use crate::registry::apply::Shown;
use crate::registry::metadata::{Metadata, metadata_of, set_string};
use crate::registry::validate::named;
use crate::request::Request;
use crate::server::ApiServer;

const API_VERSION: &str = "autoscaling/v1";
const KIND: &str = "Scale";
const SUBRESOURCE: &str = "scale";
/// Where the replicas stand, in a scale and in every kind that has one.
const REPLICAS: &[&str] = &["spec", "replicas"];

/// Answers a request for the scale of an object.
pub async fn scale(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let answer = match request.info.verb {
        Verb::Get => get::text(server, request).await?,
        Verb::Update => update(server, request).await?,
        Verb::Patch => patched(server, request).await?,
        _ => return Err(Box::new(Status::method_not_allowed())),
    };
    let Answer::Object(ObjectAnswer { text, version, .. }) = answer else { return Ok(answer) };
    let served = request.served;
    let decoded = decode_json::decode(served.schema, served.resource.type_id, text.to_vec(), FieldValidation::Ignore);
    let object = decoded.map_err(unreadable)?.tree;
    let tree = read(served, &scale_of(served, &object, version))?;
    Ok(Answer::Made(Made { tree, api_version: API_VERSION.to_owned(), kind: KIND.to_owned(), code: StatusCode::OK }))
}

fn expected(served: &Served) -> Result<Expected<'_>, Failure> {
    let ty = served.schema.by_kind(API_VERSION, KIND);
    let ty = ty.ok_or_else(|| Box::new(Status::internal_error("the facts have no Scale")))?;
    Ok(Expected { schema: served.schema, ty, api_version: API_VERSION, kind: KIND })
}

fn read(served: &Served, scale: &Value) -> Result<Tree, Failure> {
    let text = scale.to_string().into_bytes();
    let decoded = decode_json::decode(served.schema, expected(served)?.ty, text, FieldValidation::Ignore);
    Ok(decoded.map_err(unreadable)?.tree)
}

async fn update(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("UpdateOptions", request.query)?;
    let served = request.served;
    let wanted = input::receive(request, expected(served)?, format, options.field_validation)?;
    let request: &Request<'_> = request;
    let scaled = Scaled::new(request, &options)?;
    let mut make = |old: &Old| {
        scaled.account(old, &scaled.of(&old.tree, old.version)?, &wanted);
        Ok(wanted.clone())
    };
    replace(server, request, &options, &mut make, Some(&scaled)).await?.ok_or_else(|| missing(request))
}

async fn patched(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let patch_type = negotiate::patch_type(request.permitted.headers())?;
    if patch_type == PatchType::Apply {
        return applied(server, request).await;
    }
    let options = options::write("PatchOptions", request.query)?;
    let patch = patch::receive(request, patch_type, &options);
    let served = request.served;
    let expected = expected(served)?;
    let mut warnings = Vec::new();
    let replaced = {
        let request: &Request<'_> = request;
        let scaled = Scaled::new(request, &options)?;
        let mut make = |old: &Old| {
            warnings.clear();
            let live = scale_of(served, &old.tree, old.version);
            let wanted = patch::apply_to(expected, live.clone(), &patch, &options, &mut warnings)?;
            scaled.account(old, &read(served, &live)?, &wanted);
            Ok(wanted)
        };
        replace(server, request, &options, &mut make, Some(&scaled)).await
    };
    request.warnings.extend(warnings);
    replaced?.ok_or_else(|| missing(request))
}

/// Answers an apply of the scale: who owns the replicas of the object owns those of its scale.
async fn applied(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    audit::patched(request);
    let (options, force) = options::apply(request.query)?;
    let served = request.served;
    let expected = expected(served)?;
    let request: &Request<'_> = request;
    let body = apply::read(request, expected);
    let scaled = Scaled::new(request, &options)?;
    let mut make = |old: &Old| {
        let body = body.as_ref().map_err(Clone::clone)?;
        let live = scaled.of(&old.tree, old.version)?;
        let applied = body.by(&options.field_manager, force);
        let outcome = scaled.shown.apply(served, &old.tree, &live, &applied, server.now_seconds());
        let (scale, managers) = outcome.map_err(|error| body.failure(expected, error))?;
        body.check_duplicates(request, options.field_validation)?;
        scaled.settle(managers);
        Ok(scale)
    };
    replace(server, request, &options, &mut make, Some(&scaled)).await?.ok_or_else(|| missing(request))
}

/// An object through its scale, with the managers that a write leaves: who owns the replicas of the object owns those of its scale.
struct Scaled<'a> {
    request: &'a Request<'a>,
    manager: Manager,
    shown: Shown<'a>,
    settled: Mutex<Managers>,
}

impl<'a> Scaled<'a> {
    fn new(request: &'a Request<'a>, options: &WriteOptions) -> Result<Scaled<'a>, Failure> {
        let Expected { schema, ty, api_version, .. } = expected(request.served)?;
        let agent = request.permitted.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        Ok(Scaled {
            request,
            manager: Manager::of_update(&options.field_manager, agent.unwrap_or_default(), api_version, SUBRESOURCE),
            shown: Shown { schema, ty, api_version, path: REPLICAS },
            settled: Mutex::new(Managers::default()),
        })
    }

    /// Accounts for a scale that was not applied.
    fn account(&self, old: &Old, live: &Tree, wanted: &Tree) {
        self.settle(self.shown.update(self.request.served, &old.tree, live, wanted, self.manager.clone()));
    }

    fn settle(&self, managers: Managers) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = managers;
    }
}

impl Projection for Scaled<'_> {
    fn of(&self, object: &Tree, version: u64) -> Result<Tree, Failure> {
        read(self.request.served, &scale_of(self.request.served, object, version))
    }

    fn onto(&self, old: &Old, wanted: &Tree) -> Result<Tree, Failure> {
        let served = self.request.served;
        let mut tree = rescaled(self.request, old, wanted)?;
        let metadata = metadata_of(served, &mut tree);
        let managers = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        managers.write(served.schema, &mut tree, metadata, served.meta.managed_fields);
        Ok(tree)
    }
}

/// The object with the replicas of a scale.
fn rescaled(request: &Request<'_>, old: &Old, scale: &Tree) -> Result<Tree, Failure> {
    let served = request.served;
    let at = |node: NodeId, name: &str| named(served.schema, scale, node, name);
    let text = |name: &str| {
        let metadata = at(scale.root(), "metadata")?;
        at(metadata, name).and_then(|node| scale.string(node))
    };
    let given = text("name").unwrap_or_default();
    check_identity(request, given, text("namespace").unwrap_or_default())?;
    let replicas = at(scale.root(), "spec").and_then(|spec| at(spec, "replicas")).and_then(|node| scale.int(node));
    let replicas = replicas.unwrap_or_default();
    if replicas < 0 {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(Box::new(Status::invalid("autoscaling", KIND, given, &[error])));
    }
    let mut tree = old.tree.clone();
    let ty = served.schema.ty(served.resource.type_id);
    let spec = served.fields.spec.and_then(|number| Some((number, ty.fields.get(usize::from(number))?.ty)));
    if let Some((number, TypeRef::Object(spec_type))) = spec {
        let root = tree.root();
        let spec = tree.object_at(root, number, spec_type);
        if let Some(number) = served.schema.ty(spec_type).find("replicas") {
            tree.set(spec, number, Scalar::Int(replicas));
        }
    }
    // What a client says of the scale it has seen is true of the object: that is compared with what is stored.
    if let Some(version) = options::resource_version(text("resourceVersion").unwrap_or_default())? {
        set_version(served, &mut tree, version);
    }
    if let Some(uid) = text("uid").filter(|uid| !uid.is_empty()) {
        check_uid(request, old, uid)?;
        set_string(served, &mut tree, served.meta.uid, uid);
    }
    Ok(tree)
}

/// A patch must mean the object that is there. Of a PUT that is checked with the object, as of all that are.
fn check_uid(request: &Request<'_>, old: &Old, uid: &str) -> Result<(), Failure> {
    let held = Metadata::of(request.served, &old.tree).uid();
    if request.info.verb == Verb::Update || uid == held {
        return Ok(());
    }
    let (group, resource) = (request.served.resource.group, format!("{}/{SUBRESOURCE}", request.served.resource.name));
    let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {held}");
    Err(Box::new(Status::conflict(group, &resource, request.path_name(), &why)))
}

/// A scale must be of the object that the path names.
fn check_identity(request: &Request<'_>, name: &str, namespace: &str) -> Result<(), Failure> {
    let wanted = request.path_name();
    if name.is_empty() {
        let why = format!("the name of the object ({wanted} based on URL) was undeterminable: name must be provided");
        return Err(Box::new(Status::bad_request(why)));
    }
    if name != wanted {
        let why = format!("the name of the object ({name}) does not match the name on the URL ({wanted})");
        return Err(Box::new(Status::bad_request(why)));
    }
    if !namespace.is_empty() && namespace != request.namespace() {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Box::new(Status::bad_request(why)));
    }
    Ok(())
}

/// The scale of an object.
fn scale_of(served: &Served, object: &Tree, version: u64) -> Value {
    let metadata = Metadata::of(served, object);
    let at = |parent: Option<u16>, name: &str| {
        let parent = object.field(object.root(), parent?)?;
        named(served.schema, object, parent, name)
    };
    let number = |parent, name| at(parent, name).and_then(|node| object.int(node)).unwrap_or_default();
    let selector =
        at(served.fields.spec, "selector").map(|node| selector_text(served, object, node)).unwrap_or_default();
    json!({
        "metadata": {
            "name": metadata.name(),
            "namespace": metadata.namespace(),
            "uid": metadata.uid(),
            "resourceVersion": version.to_string(),
            "creationTimestamp": metadata.creation().map(time_text),
        },
        "spec": {"replicas": number(served.fields.spec, "replicas")},
        "status": {"replicas": number(served.fields.status, "replicas"), "selector": selector},
    })
}

fn selector_text(served: &Served, tree: &Tree, node: NodeId) -> String {
    let pairs = |map: NodeId| -> Vec<(String, String)> {
        tree.entries(map)
            .map(|(key, value)| (key.to_owned(), tree.string(value).unwrap_or_default().to_owned()))
            .collect()
    };
    if tree.object_type(node).is_none() {
        let labels: Vec<String> = pairs(node).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        return labels.join(",");
    }
    let at = |node: NodeId, name: &str| named(served.schema, tree, node, name);
    let text =
        |node: NodeId, name: &str| at(node, name).and_then(|node| tree.string(node)).unwrap_or_default().to_owned();
    let requirement = |node: NodeId| LabelSelectorRequirement {
        key: text(node, "key"),
        operator: text(node, "operator"),
        values: at(node, "values")
            .into_iter()
            .flat_map(|list| tree.children(list))
            .filter_map(|value| tree.string(value).map(str::to_owned))
            .collect(),
    };
    let selector = LabelSelector {
        match_labels: at(node, "matchLabels").map(pairs).unwrap_or_default(),
        match_expressions: at(node, "matchExpressions")
            .into_iter()
            .flat_map(|list| tree.children(list))
            .map(requirement)
            .collect(),
    };
    // A selector that cannot be one was refused when the object was written.
    selector.to_selector().map(|selector| selector.to_string()).unwrap_or_default()
}
