//! DELETE of one object: at once, or by a mark that finalizers and graceful kinds wait behind (upstream: `store.Delete`,
//! `rest.BeforeDelete`, and the namespace's own first step).

use bytes::Bytes;
use http::StatusCode;
use portcullis_kinds::core::namespace;
use portcullis_model::schema::FieldValidation;
use portcullis_model::status::Status;
use portcullis_model::tree::{NodeId, Tree};
use portcullis_store::{Commit, CommitError, Entry, Operation, Snapshot};

use super::input::{self, Expected};
use super::options::{DeleteFields, DeleteOptions, Propagation};
use super::turns;
use crate::admission::{Attempt, Operation as Admitted};
use crate::answer::{Answer, Failure, ObjectAnswer, unreadable};
use crate::negotiate;
use crate::registry::metadata::Metadata;
use crate::registry::rules::Dependents;
use crate::registry::validate::named;
use crate::registry::{Served, prepare};
use crate::request::Request;
use crate::server::{ApiServer, commit_failure};
use crate::services::{self, Allocation};

/// How often a deletion is tried again when a write came first, which upstream does without an end. From the second attempt on it has the
/// turn at the object, so that it is only lost to first attempts of others. After that the client is told that the object was modified,
/// which is not what it asked: so there must be many.
const ATTEMPTS_MAX: usize = 64;
/// Seconds a pod has to end when neither it nor the client says.
const GRACE_SECONDS_DEFAULT: i64 = 30;
/// What less than no time means.
const GRACE_SECONDS_NEGATIVE: i64 = 1;

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
    let missing = || Box::new(Status::not_found(served.resource.group, served.resource.name, name));
    let key = served.key(request.namespace(), name).ok_or_else(missing)?;
    let deleted = delete_one(server, request, &key, &options).await?.ok_or_else(missing)?;
    if deleted.is_gone && !served.rules.delete_shows_object {
        return Ok(Status::deleted(served.resource.group, served.resource.name, name, &deleted.uid).into());
    }
    // Only who asks in the old words for dependents to go too learns from the code that the object waits for them.
    let code = if !deleted.is_gone && options.orphans_nothing { StatusCode::ACCEPTED } else { StatusCode::OK };
    let text = served.serve(&deleted.value).map_err(unreadable)?;
    Ok(Answer::Object(ObjectAnswer { text, version: deleted.version, code }))
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
    let validation = FieldValidation::Ignore;
    let tree = input::receive(request, expected, format, validation)?;
    fields_at(request.served, &tree, tree.root()).checked()
}

/// Reads `DeleteOptions` that stand somewhere in a body.
pub fn fields_at(served: &Served, tree: &Tree, root: NodeId) -> DeleteFields {
    let at = |object: NodeId, name: &str| named(served.schema, tree, object, name);
    let text = |object: NodeId, name: &str| at(object, name).and_then(|node| tree.string(node)).map(str::to_owned);
    let preconditions = at(root, "preconditions");
    DeleteFields {
        dry_run: at(root, "dryRun")
            .into_iter()
            .flat_map(|list| tree.children(list))
            .filter_map(|node| tree.string(node).map(str::to_owned))
            .collect(),
        grace_period: at(root, "gracePeriodSeconds").and_then(|node| tree.int(node)),
        orphan_dependents: at(root, "orphanDependents").and_then(|node| tree.bool(node)),
        propagation: text(root, "propagationPolicy"),
        uid: preconditions.and_then(|object| text(object, "uid")),
        resource_version: preconditions.and_then(|object| text(object, "resourceVersion")),
    }
}

/// What deleting means for an object as it is now.
pub enum Plan {
    /// It waits already, and nothing about it changes.
    Wait,
    /// It is marked, and waits.
    Mark(Bytes),
    /// It is marked and then removed: whoever watches a graceful kind sees both.
    MarkAndRemove(Bytes),
    /// It is removed.
    Remove,
}

/// Deletes an object or marks it; nothing when it is not there. The key is that of the request, or one of its collection.
pub async fn delete_one(
    server: &ApiServer,
    request: &Request<'_>,
    key: &str,
    options: &DeleteOptions,
) -> Result<Option<Deleted>, Failure> {
    let served = request.served;
    let admits = server.admission.concerns(served, Admitted::Delete, request.permitted.identity());
    let mut turn = None;
    for _ in 0..ATTEMPTS_MAX {
        let snapshot = server.newest().await?;
        let Some(entry) = snapshot.get(key) else { return Ok(None) };
        let tree = served.load(&entry.value).map_err(unreadable)?;
        check_preconditions(served, &tree, entry.version, options)?;
        if admits {
            admit(server, request, key, &tree, &snapshot, options).await?;
        }
        let mut released = services::release(server, served, &snapshot, &tree)?;
        let (plan, uid) = plan(server, served, entry, tree, options)?;
        let carried_out = carry_out(server, key, entry, plan, uid, options.dry_run, None, released.as_mut()).await?;
        // Whoever waits for its turn at the object must not keep others from theirs.
        drop(released);
        match carried_out {
            Ok(deleted) => return Ok(Some(deleted)),
            Err(CommitError::Conflict { .. }) if turn.is_none() => turn = turns::take(key).await,
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(commit_failure(error)),
        }
    }
    let (_, name) = served.names(key);
    Err(Box::new(Status::modified(served.resource.group, served.resource.name, name)))
}

/// Both passes at once: what is deleted cannot be changed. Nothing that waits to go already is deleted past them either.
async fn admit(
    server: &ApiServer,
    request: &Request<'_>,
    key: &str,
    old: &Tree,
    snapshot: &Snapshot,
    options: &DeleteOptions,
) -> Result<(), Failure> {
    let mut attempt = Attempt {
        server,
        request,
        operation: Admitted::Delete,
        name: request.served.names(key).1,
        object: None,
        old: Some(old),
        snapshot,
        dry_run: options.dry_run,
        alongside: None,
    };
    server.admission.admit(&mut attempt).await?;
    server.admission.validate(&attempt).await
}

/// Commits what was planned, together with what must not happen without it: without the mark, and without the removal. The outer failure
/// is that of reading what there is.
#[allow(clippy::too_many_arguments, reason = "two callers, and each argument is of a type of its own")]
pub(crate) async fn carry_out(
    server: &ApiServer,
    key: &str,
    entry: &Entry,
    plan: Plan,
    uid: String,
    dry_run: bool,
    alongside: Option<Operation>,
    with_removal: Option<&mut Allocation>,
) -> Result<Result<Deleted, CommitError>, Failure> {
    let (value, marked, is_gone) = match plan {
        Plan::Wait => (entry.value.clone(), false, false),
        Plan::Mark(value) => (value, true, false),
        Plan::MarkAndRemove(value) => (value, true, true),
        Plan::Remove => (entry.value.clone(), false, true),
    };
    let mut version = entry.version;
    if !dry_run {
        if marked {
            let mut operations = vec![Operation::update(key, version, value.clone())];
            operations.extend(alongside);
            match server.engine.commit(Commit::from(operations)).await {
                Ok(committed) => version = committed.revision,
                Err(error) => return Ok(Err(error)),
            }
        }
        // A write between the two is a conflict; the next attempt finds the mark and removes what it marks.
        if is_gone {
            let removal = vec![Operation::delete(key, version)];
            let committed = match with_removal {
                Some(allocation) => allocation.commit(server, removal).await?,
                None => server.engine.commit(Commit::from(removal)).await,
            };
            match committed {
                Ok(committed) => version = committed.revision,
                Err(error) => return Ok(Err(error)),
            }
        }
    }
    Ok(Ok(Deleted { value, version, uid, is_gone }))
}

/// Decides what deleting means, and says the uid of what is deleted. The tree is what is stored, or what it is to become on its way out.
pub fn plan(
    server: &ApiServer,
    served: &Served,
    entry: &Entry,
    mut tree: Tree,
    options: &DeleteOptions,
) -> Result<(Plan, String), Failure> {
    let now = server.now_seconds();
    let uid = Metadata::of(served, &tree).uid().to_owned();
    if served.rules.marks_time_only {
        if !Metadata::of(served, &tree).is_deleting() {
            propagate(served, &mut tree, options);
            if !is_namespaces(served) && Metadata::of(served, &tree).finalizers().next().is_none() {
                return Ok((Plan::Remove, uid));
            }
            prepare::mark_time(served, &mut tree, now);
            if is_namespaces(served) {
                namespace::mark_terminating(&mut tree);
            }
            return Ok((Plan::Mark(served.store(&mut tree).map_err(unreadable)?), uid));
        }
        if prepare::waits_for_content(served, &tree) {
            return Ok((Plan::Wait, uid));
        }
    }
    let grace = grace(served, &tree, options);
    if grace == Grace::Pending {
        return Ok((Plan::Wait, uid));
    }
    propagate(served, &mut tree, options);
    let has_finalizers = Metadata::of(served, &tree).finalizers().next().is_some();
    let seconds = match grace {
        Grace::First(seconds) => {
            prepare::mark_deleting(served, &mut tree, now.saturating_add(seconds), seconds);
            seconds
        }
        Grace::Shorter(seconds) => {
            prepare::shorten_grace(served, &mut tree, seconds);
            seconds
        }
        Grace::Pending | Grace::None if has_finalizers => {
            prepare::mark_without_grace(served, &mut tree, now);
            0
        }
        Grace::Pending | Grace::None => return Ok((Plan::Remove, uid)),
    };
    let value = served.store(&mut tree).map_err(unreadable)?;
    let plan = match (has_finalizers || seconds > 0, value == entry.value) {
        (false, _) => Plan::MarkAndRemove(value),
        (true, true) => Plan::Wait,
        (true, false) => Plan::Mark(value),
    };
    Ok((plan, uid))
}

/// The client may have said which object, and which state of it, it wants to go.
pub fn check_preconditions(served: &Served, tree: &Tree, version: u64, options: &DeleteOptions) -> Result<(), Failure> {
    let metadata = Metadata::of(served, tree);
    let version = version.to_string();
    let resource = served.resource;
    let pairs = [
        ("UID", &options.uid, metadata.uid(), "The object might have been deleted and then recreated"),
        ("ResourceVersion", &options.resource_version, version.as_str(), "The object might have been modified"),
    ];
    for (what, wanted, held, perhaps) in pairs {
        let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != held) else { continue };
        return Err(Box::new(if served.rules.marks_time_only {
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {held}");
            Status::conflict(resource.group, resource.name, metadata.name(), &why)
        } else {
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({held}). {perhaps}"
            );
            Status::conflict(served.rules.kind_group, resource.kind, metadata.name(), &why)
        }));
    }
    Ok(())
}

/// Puts in or takes out the finalizers that the garbage collector waits behind: as the client says, else as they are, else as the
/// kind's clients expect.
fn propagate(served: &Served, tree: &mut Tree, options: &DeleteOptions) {
    let held = |finalizer: &str| Metadata::of(served, tree).finalizers().any(|held| held == finalizer);
    let (orphan, foreground) = match (served.rules.dependents, options.propagation) {
        (Dependents::None, _) => (false, false),
        (_, Some(propagation)) => (propagation == Propagation::Orphan, propagation == Propagation::Foreground),
        (by_default, None) => {
            let (orphan, foreground) = (held(prepare::FINALIZER_ORPHAN), held(prepare::FINALIZER_FOREGROUND));
            (orphan || (by_default == Dependents::Orphaned && !foreground), foreground && !orphan)
        }
    };
    prepare::propagate(served, tree, orphan, foreground);
}

/// How much time an object gets to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    /// Its kind needs none, or it had it.
    None,
    /// It is ending, and nobody asks for less time.
    Pending,
    /// It is told to end now, with so many seconds.
    First(i64),
    /// It is ending, and has only so many seconds in all.
    Shorter(i64),
}

/// Decides the time. A pod that was never bound, or has ended, needs none, but is marked all the same.
fn grace(served: &Served, tree: &Tree, options: &DeleteOptions) -> Grace {
    if !served.rules.graceful {
        return Grace::None;
    }
    let positive = |seconds: i64| if seconds < 0 { GRACE_SECONDS_NEGATIVE } else { seconds };
    let asked = options.grace_period.map(positive);
    let metadata = Metadata::of(served, tree);
    if metadata.is_deleting() {
        return match (metadata.deletion_grace_period().map(positive), asked) {
            (None | Some(0), _) => Grace::None,
            (Some(held), Some(asked)) if asked < held => Grace::Shorter(asked),
            _ => Grace::Pending,
        };
    }
    let under = |parent: Option<u16>, name: &str| {
        let parent = tree.field(tree.root(), parent?)?;
        named(served.schema, tree, parent, name)
    };
    let node_name = under(served.fields.spec, "nodeName").and_then(|node| tree.string(node)).unwrap_or_default();
    let phase = under(served.fields.status, "phase").and_then(|node| tree.string(node)).unwrap_or_default();
    if node_name.is_empty() || matches!(phase, "Failed" | "Succeeded") {
        return Grace::First(0);
    }
    let own = under(served.fields.spec, "terminationGracePeriodSeconds").and_then(|node| tree.int(node));
    Grace::First(asked.unwrap_or_else(|| own.map_or(GRACE_SECONDS_DEFAULT, positive)))
}
