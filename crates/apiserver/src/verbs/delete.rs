//! DELETE of one object: at once, or by a mark that finalizers and graceful kinds wait behind (upstream: `store.Delete`).

use bytes::Bytes;
use http::StatusCode;
use portcullis_model::status::Status;
use portcullis_model::tree::{NodeId, Tree};
use portcullis_store::{Commit, CommitError, Entry, Operation};

use super::input::{self, Expected};
use super::options::{DeleteFields, DeleteOptions, Propagation};
use crate::answer::{Answer, Failure, ObjectAnswer, unreadable};
use crate::negotiate;
use crate::registry::metadata::Metadata;
use crate::registry::validate::named;
use crate::registry::{Served, prepare};
use crate::request::Request;
use crate::server::{ApiServer, commit_failure};

/// How often a deletion is tried again when a write came first.
const ATTEMPTS_MAX: usize = 5;
/// Seconds a pod has to end when neither it nor the client says.
const GRACE_SECONDS_DEFAULT: i64 = 30;
/// Namespaces that the cluster cannot be without.
const IMMORTAL_NAMESPACES: [&str; 3] = ["default", "kube-public", "kube-system"];

/// What became of an object.
pub struct Deleted {
    /// Its last text, as stored.
    pub value: Bytes,
    /// Its version: of the commit that removed or marked it.
    pub version: u64,
    /// Its uid.
    pub uid: String,
    /// Whether it is gone, or waits to go.
    pub is_gone: bool,
}

/// Answers a DELETE of an object.
pub async fn delete(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let options = read_options(request)?;
    let served = request.served;
    let name = request.path_name();
    if is_namespaces(served) && IMMORTAL_NAMESPACES.contains(&name) {
        return Err(Box::new(Status::forbidden("", "namespaces", name, "this namespace may not be deleted")));
    }
    let missing = || Box::new(Status::not_found(served.resource.group, served.resource.name, name));
    let key = served.key(request.namespace(), name).ok_or_else(missing)?;
    let deleted = delete_one(server, served, &key, &options).await?.ok_or_else(missing)?;
    if deleted.is_gone && !served.rules.delete_shows_object {
        return Ok(Status::deleted(served.resource.group, served.resource.name, name, &deleted.uid).into());
    }
    let text = served.serve(&deleted.value).map_err(unreadable)?;
    Ok(Answer::Object(ObjectAnswer { text, version: deleted.version, code: StatusCode::OK }))
}

fn is_namespaces(served: &Served) -> bool {
    served.resource.group.is_empty() && served.resource.name == "namespaces"
}

/// Reads `DeleteOptions` from the body, or from the query when there is none.
pub fn read_options(request: &mut Request<'_>) -> Result<DeleteOptions, Failure> {
    if request.body.is_empty() {
        return DeleteFields::of_query(request.query)?.checked();
    }
    let format = negotiate::body_format(request.permitted.headers())?;
    let schema = request.served.schema;
    let Some(ty) = schema.by_name("apimachinery.pkg.apis.meta.v1.DeleteOptions") else {
        return Err(Box::new(Status::internal_error("the facts have no DeleteOptions")));
    };
    // Clients name the resource's group and version, `v1` or `meta.k8s.io/v1`.
    let expected = Expected { schema, ty, api_version: "", kind: "DeleteOptions" };
    let validation = portcullis_model::schema::FieldValidation::Ignore;
    let tree = input::decode(expected, format, request.body.clone(), validation, &mut request.warnings)?;
    fields_of(request.served, &tree).checked()
}

fn fields_of(served: &Served, tree: &Tree) -> DeleteFields {
    let root = tree.root();
    let at = |object: NodeId, name: &str| named(served.schema, tree, object, name);
    let text =
        |object: NodeId, name: &str| at(object, name).and_then(|node| tree.string(node)).unwrap_or_default().to_owned();
    let preconditions = at(root, "preconditions");
    let precondition = |name: &str| preconditions.map(|object| text(object, name)).unwrap_or_default();
    DeleteFields {
        dry_run: at(root, "dryRun")
            .into_iter()
            .flat_map(|list| tree.children(list))
            .filter_map(|node| tree.string(node).map(str::to_owned))
            .collect(),
        grace_period: at(root, "gracePeriodSeconds").and_then(|node| tree.int(node)),
        orphan_dependents: at(root, "orphanDependents").and_then(|node| tree.bool(node)),
        propagation: text(root, "propagationPolicy"),
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
    }
}

/// Deletes an object or marks it; nothing when it is not there.
pub async fn delete_one(
    server: &ApiServer,
    served: &Served,
    key: &str,
    options: &DeleteOptions,
) -> Result<Option<Deleted>, Failure> {
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = server.newest().await?;
        let Some(entry) = snapshot.get(key) else { return Ok(None) };
        let (operation, mut deleted) = plan(server, served, key, entry, options)?;
        let Some(operation) = operation.filter(|_| !options.dry_run) else { return Ok(Some(deleted)) };
        match server.engine.commit(Commit::from(operation)).await {
            Ok(committed) => {
                deleted.version = committed.revision;
                return Ok(Some(deleted));
            }
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(commit_failure(error)),
        }
    }
    let (_, name) = served.names(key);
    Err(Box::new(Status::modified(served.resource.group, served.resource.name, name)))
}

/// Decides what deleting means for an object as it is now; no operation when it waits already.
fn plan(
    server: &ApiServer,
    served: &Served,
    key: &str,
    entry: &Entry,
    options: &DeleteOptions,
) -> Result<(Option<Operation>, Deleted), Failure> {
    let mut tree = served.load(&entry.value).map_err(unreadable)?;
    check_preconditions(served, &tree, entry.version, options)?;
    let uid = Metadata::of(served, &tree).uid().to_owned();
    let mut deleted = Deleted { value: entry.value.clone(), version: entry.version, uid, is_gone: false };
    let was_deleting = Metadata::of(served, &tree).is_deleting();
    let orphan = match options.propagation {
        Some(propagation) => propagation == Propagation::Orphan,
        None => {
            served.rules.orphans_by_default
                || Metadata::of(served, &tree).finalizers().any(|held| held == prepare::FINALIZER_ORPHAN)
        }
    };
    let foreground = match options.propagation {
        Some(propagation) => propagation == Propagation::Foreground,
        None => Metadata::of(served, &tree).finalizers().any(|held| held == prepare::FINALIZER_FOREGROUND),
    };
    let propagated = prepare::propagate(served, &mut tree, orphan, foreground);
    let grace = grace(served, &tree, options);
    let waits =
        Metadata::of(served, &tree).finalizers().next().is_some() || prepare::has_spec_finalizers(served, &tree);
    if grace == 0 && !waits {
        deleted.is_gone = true;
        return Ok((Some(Operation::delete(key, entry.version)), deleted));
    }
    let shortens = Metadata::of(served, &tree).deletion_grace_period().is_some_and(|held| grace < held);
    if was_deleting && !shortens && !propagated {
        return Ok((None, deleted));
    }
    if !was_deleting || shortens {
        prepare::mark_deleting(served, &mut tree, grace, &*server.env);
    }
    if is_namespaces(served) {
        prepare::mark_terminating(served, &mut tree);
    }
    deleted.value = served.store(&mut tree).map_err(unreadable)?;
    Ok((Some(Operation::update(key, entry.version, deleted.value.clone())), deleted))
}

fn check_preconditions(served: &Served, tree: &Tree, version: u64, options: &DeleteOptions) -> Result<(), Failure> {
    let metadata = Metadata::of(served, tree);
    let why = if !options.uid.is_empty() && options.uid != metadata.uid() {
        format!(
            "the UID in the precondition ({}) does not match the UID in record ({}). \
             The object might have been deleted and then recreated",
            options.uid,
            metadata.uid()
        )
    } else if !options.resource_version.is_empty() && options.resource_version != version.to_string() {
        format!(
            "the ResourceVersion in the precondition ({}) does not match the ResourceVersion in record ({version}). \
             The object might have been modified",
            options.resource_version
        )
    } else {
        return Ok(());
    };
    Err(Box::new(Status::conflict(served.resource.group, served.resource.kind, metadata.name(), &why)))
}

/// Seconds the object has to end. A pod that was never bound, or has ended, needs none.
fn grace(served: &Served, tree: &Tree, options: &DeleteOptions) -> i64 {
    if !served.rules.graceful {
        return 0;
    }
    let under = |parent: Option<u16>, name: &str| {
        let parent = tree.field(tree.root(), parent?)?;
        named(served.schema, tree, parent, name)
    };
    let node_name = under(served.fields.spec, "nodeName").and_then(|node| tree.string(node)).unwrap_or_default();
    let phase = under(served.fields.status, "phase").and_then(|node| tree.string(node)).unwrap_or_default();
    if node_name.is_empty() || matches!(phase, "Failed" | "Succeeded") {
        return 0;
    }
    let own = under(served.fields.spec, "terminationGracePeriodSeconds").and_then(|node| tree.int(node));
    options.grace_period.or(own).unwrap_or(GRACE_SECONDS_DEFAULT).max(0)
}
