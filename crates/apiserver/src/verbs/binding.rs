//! Binding: a scheduler says on which node a pod runs, through `pods/binding` or the older `bindings`.
//!
//! Upstream: `BindingREST` of the pod storage. It writes around the pod's own rules: no manager is accounted for, the generation stays.

use http::StatusCode;
use portcullis_kinds::views::core_v1::{Binding, Pod, PodConditionEdit, PodEdit};
use portcullis_kinds::views::{self, Edit};
use portcullis_model::go_text::quoted;
use portcullis_model::status::{FieldError, Status, aggregate};
use portcullis_model::tree::Tree;
use portcullis_store::{Commit, CommitError, Operation, Snapshot};

use super::input::{self, Expected};
use super::options::{self, WriteOptions};
use super::turns;
use crate::admission::{Attempt, Operation as Admitted};
use crate::answer::{Answer, Failure, unreadable};
use crate::negotiate;
use crate::request::Request;
use crate::server::{ApiServer, commit_failure};

/// How often a binding is tried again when another write of the pod came first.
const ATTEMPTS_MAX: usize = 5;
/// What conflicts name as the resource.
const RESOURCE: &str = "pods/binding";
/// The condition of a pod that has a node.
const POD_SCHEDULED: &str = "PodScheduled";

/// Answers a POST to `pods/NAME/binding`.
pub async fn of_pod(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut binding, options) = received(request)?;
    let name = request.path_name();
    let snapshot = admit(server, request, name, &mut binding, &options).await?;
    if views::read::<Binding<'_>>(&binding).metadata().name() != name {
        return Err(Box::new(Status::bad_request("name in URL does not match name in Binding object")));
    }
    validate(server, request, name, &mut binding, &options, snapshot.as_ref()).await?;
    bind(server, request, name, &binding, &options).await
}

/// Answers a POST to `bindings`, where only the body names the pod.
pub async fn create(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut binding, options) = received(request)?;
    let name = views::read::<Binding<'_>>(&binding).metadata().name().to_owned();
    let snapshot = admit(server, request, &name, &mut binding, &options).await?;
    // What is admitted under one name must not bind another pod.
    if name.is_empty() || views::read::<Binding<'_>>(&binding).metadata().name() != name {
        return Err(Box::new(Status::bad_request("Name parameter required.")));
    }
    validate(server, request, &name, &mut binding, &options, snapshot.as_ref()).await?;
    bind(server, request, &name, &binding, &options).await
}

/// First pass of admission over the binding; gives the state that it was decided on, or nothing when no plugin has a say.
async fn admit(
    server: &ApiServer,
    request: &Request<'_>,
    name: &str,
    binding: &mut Tree,
    options: &WriteOptions,
) -> Result<Option<Snapshot>, Failure> {
    if !server.admission.concerns(request.served, Admitted::Create, request.permitted.identity()) {
        return Ok(None);
    }
    let snapshot = server.newest().await?;
    server.admission.admit(&mut attempt(server, request, name, binding, options, &snapshot)).await?;
    Ok(Some(snapshot))
}

/// Second pass of admission.
async fn validate(
    server: &ApiServer,
    request: &Request<'_>,
    name: &str,
    binding: &mut Tree,
    options: &WriteOptions,
    snapshot: Option<&Snapshot>,
) -> Result<(), Failure> {
    let Some(snapshot) = snapshot else { return Ok(()) };
    server.admission.validate(&attempt(server, request, name, binding, options, snapshot)).await
}

fn attempt<'a>(
    server: &'a ApiServer,
    request: &'a Request<'a>,
    name: &'a str,
    binding: &'a mut Tree,
    options: &WriteOptions,
    snapshot: &'a Snapshot,
) -> Attempt<'a> {
    let dry_run = options.dry_run;
    let operation = Admitted::Create;
    Attempt { server, request, operation, name, object: Some(binding), old: None, snapshot, dry_run, alongside: None }
}

fn received(request: &mut Request<'_>) -> Result<(Tree, WriteOptions), Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("CreateOptions", request.query)?;
    let schema = request.served.schema;
    let expected = Expected { schema, ty: Binding::TYPE, api_version: "v1", kind: "Binding" };
    let tree = input::receive(request, expected, format, options.field_validation)?;
    let given = views::read::<Binding<'_>>(&tree).metadata().namespace();
    if !given.is_empty() && given != request.namespace() {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Box::new(Status::bad_request(why)));
    }
    Ok((tree, options))
}

async fn bind(
    server: &ApiServer,
    request: &Request<'_>,
    name: &str,
    binding: &Tree,
    options: &WriteOptions,
) -> Result<Answer, Failure> {
    let binding: Binding<'_> = views::read(binding);
    check(binding)?;
    let missing = || Box::new(Status::not_found("", "pods", name));
    let pods = server.registry.find("", "v1", "pods").ok_or_else(missing)?;
    let key = pods.key(request.namespace(), name).ok_or_else(missing)?;
    let mut turn = None;
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = server.newest().await?;
        let entry = snapshot.get(&key).ok_or_else(missing)?;
        let version = entry.version;
        let mut pod = pods.load(&entry.value).map_err(unreadable)?;
        check_preconditions(&key, binding, views::read(&pod), version)?;
        if let Some(why) = obstacle(views::read(&pod)) {
            return Err(Box::new(Status::conflict("", RESOURCE, name, &why)));
        }
        assign(&mut pod, binding, server.now_seconds());
        let value = pods.store(&mut pod).map_err(unreadable)?;
        if options.dry_run {
            return Ok(bound());
        }
        match server.engine.commit(Commit::from(Operation::update(key.as_str(), version, value))).await {
            Ok(_) => return Ok(bound()),
            Err(CommitError::Conflict { .. }) if turn.is_none() => turn = turns::take(&key).await,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(commit_failure(error)),
        }
    }
    Err(Box::new(Status::modified("", "pods", name)))
}

fn bound() -> Answer {
    Answer::Status(Status::success(StatusCode::CREATED.as_u16()))
}

/// A complaint about a binding has no code of its own upstream, which makes it a 500.
fn check(binding: Binding<'_>) -> Result<(), Failure> {
    let target = binding.target();
    let mut errors = Vec::new();
    if !matches!(target.kind(), "" | "Node") {
        errors.push(FieldError::not_supported("target.kind", target.kind(), &["Node", "<empty>"]));
    }
    if target.name().is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if errors.is_empty() { Ok(()) } else { Err(Box::new(Status::unexpected(aggregate(&errors)))) }
}

/// A uid or version in the binding says which pod, or which state of it, the scheduler looked at.
fn check_preconditions(key: &str, binding: Binding<'_>, pod: Pod<'_>, version: u64) -> Result<(), Failure> {
    let (given, held) = (binding.metadata(), pod.metadata());
    let version = version.to_string();
    let pairs = [("UID", given.uid(), held.uid()), ("ResourceVersion", given.resource_version(), version.as_str())];
    for (what, given, held) in pairs {
        if !given.is_empty() && given != held {
            let why = format!(
                "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
                 failed: {what} in precondition: {given}, {what} in object meta: {held}"
            );
            return Err(Box::new(Status::conflict("", "pods", pod.metadata().name(), &why)));
        }
    }
    Ok(())
}

/// Why a pod cannot be bound.
fn obstacle(pod: Pod<'_>) -> Option<String> {
    let name = pod.metadata().name();
    let node = pod.spec().node_name();
    if pod.metadata().deletion_timestamp().is_some() {
        return Some(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !node.is_empty() {
        return Some(format!("pod {name} is already assigned to node {}", quoted(node)));
    }
    (!pod.spec().scheduling_gates().is_empty()).then(|| format!("pod {name} has non-empty .spec.schedulingGates"))
}

/// Writes the node, and what the scheduler says about the pod, into the pod.
fn assign(pod: &mut Tree, binding: Binding<'_>, now: i64) {
    let mut pod: PodEdit<'_> = views::write(pod);
    pod.spec_mut().set_node_name(binding.target().name());
    for (key, value) in binding.metadata().annotations().iter() {
        pod.metadata_mut().annotations_mut().insert(key, value);
    }
    // The node's topology, which admission puts on the binding, wins over what the pod says of itself (KEP-4742).
    for (key, value) in binding.metadata().labels().iter() {
        pod.metadata_mut().labels_mut().insert(key, value);
    }
    let mut status = pod.status_mut();
    status.clear_nominated_node_name();
    let held = status.view().conditions().iter().find(|condition| condition.type_() == POD_SCHEDULED);
    let is_new = held.is_none();
    let since = held.filter(|held| held.status() == "True").map_or(Some(now), |held| held.last_transition_time());
    let set = |mut condition: PodConditionEdit<'_>| {
        condition.set_type(POD_SCHEDULED);
        condition.set_status("True");
        if let Some(since) = since {
            condition.set_last_transition_time(since);
        }
    };
    if is_new {
        set(status.conditions_mut().push());
        return;
    }
    status.conditions_mut().each(|place| {
        let mut condition = PodConditionEdit::at(place);
        if condition.view().type_() == POD_SCHEDULED {
            condition.clear_last_probe_time();
            condition.clear_reason();
            condition.clear_message();
            condition.clear_observed_generation();
            set(condition);
        }
    });
}
