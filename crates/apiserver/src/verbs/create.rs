//! POST: decode, give what the server owns, validate, commit.

use bytes::Bytes;
use http::StatusCode;
use portcullis_gate::Verb;
use portcullis_kinds::strategy::Requester;
use portcullis_kinds::vocabulary::gates;
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use portcullis_store::{CommitError, Entry, Operation, Snapshot};

use super::input::{self, Expected};
use super::options::{self, WriteOptions};
use super::update;
use crate::admission::{Alongside, Attempt, Operation as Admitted};
use crate::answer::{Answer, Failure, ObjectAnswer, Unservable, unreadable};
use crate::audit;
use crate::negotiate;
use crate::permission;
use crate::registry::metadata::Metadata;
use crate::registry::owners::{self, When};
use crate::registry::{Served, managed, prepare, validate};
use crate::request::Request;
use crate::server::{ApiServer, commit_failure};
use crate::services;

/// Names that are drawn for one object before its client is told to try again (upstream: 8).
const NAME_ATTEMPTS_MAX: usize = 8;

/// How often a PUT or an apply makes an object that another makes, and deletes, at the same time.
pub const CREATE_ATTEMPTS_MAX: u32 = 5;

/// Answers a POST to a collection.
pub async fn create(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("CreateOptions", request.query)?;
    let expected = Expected::of(request.served);
    let tree = input::receive(request, expected, format, options.field_validation)?;
    create_object(server, request, tree, &options).await
}

/// Creates an object that was read. Used by a PUT and an apply that create, too.
pub async fn create_object(
    server: &ApiServer,
    request: &Request<'_>,
    mut tree: Tree,
    options: &WriteOptions,
) -> Result<Answer, Failure> {
    let served = request.served;
    let namespace = request.namespace();
    check_namespace_matches(served, &tree, namespace)?;
    served.default(&mut tree);
    let now = server.now_seconds();
    if !options.applies {
        owners::merge_duplicates(request, &mut tree, When::Given);
        managed::account(&server.registry, request, &options.field_manager, &mut tree, None, now);
    }
    let is_post = request.info.verb == Verb::Create;
    let given_version = Metadata::of(served, &tree).resource_version();
    let given_version = if is_post {
        given_version.parse().unwrap_or(0)
    } else {
        options::resource_version(given_version)?.unwrap_or(0)
    };
    let is_generated = Metadata::of(served, &tree).name().is_empty();
    let is_admitted = server.admission.concerns(served, Admitted::Create, request.permitted.identity());
    let mut taken = None;
    // As it was admitted: what is made of it depends on its uid and its name, which another attempt gives anew (selectors of jobs).
    let mut draft: Option<Tree> = None;
    for attempt in 0..NAME_ATTEMPTS_MAX {
        if let Some(draft) = &draft {
            tree = draft.clone();
        }
        let alongside = Alongside::default();
        let snapshot = server.newest().await?;
        // Once: what a plugin changed is still changed when another name is drawn.
        if is_admitted && attempt == 0 {
            admit(server, request, &mut tree, &snapshot, options, Phase::Admit, &alongside).await?;
        }
        if attempt == 0 {
            owners::merge_duplicates(request, &mut tree, When::Admitted);
        }
        if draft.is_none() {
            draft = Some(tree.clone());
        }
        prepare::for_create(served, &mut tree, namespace, &*server.env)
            .map_err(|error| Box::new(Status::internal_error(&error.to_string())))?;
        services::begin_create(server, served, &snapshot, (&mut tree, namespace), options.dry_run, &alongside)?;
        gates::drop_disabled(&mut tree, None);
        if let Some(strategy) = served.strategy {
            request.warn_all(|warnings| (strategy.warn_given)(&tree, warnings));
            (strategy.prepare_create)(&mut tree, &requester(request, now));
        }
        validate::on_create(served, &tree)?;
        if let Some(strategy) = served.strategy {
            request.warn_all(|warnings| (strategy.warn_create)(&tree, warnings));
        }
        // Who creates by another verb needs the permission, too. Upstream asks when all but the second pass of admission agreed.
        if attempt == 0 && !is_post {
            permission::require(request.permitted, "create").await?;
        }
        if is_admitted {
            admit(server, request, &mut tree, &snapshot, options, Phase::Validate, &alongside).await?;
        }
        let Some(key) = served.key(namespace, Metadata::of(served, &tree).name()) else {
            return Err(Box::new(Status::no_such_path()));
        };
        let value = served.store(&mut tree).map_err(unreadable)?;
        let held = if options.dry_run {
            let Some(held) = snapshot.get(&key) else { return created(served, &value, given_version) };
            Some(held.clone())
        } else {
            // A PUT or an apply that finds nothing has no version to compare its own with.
            if given_version != 0 && is_post {
                let why = "resourceVersion should not be set on objects to be created";
                return Err(Box::new(Status::unexpected(why)));
            }
            match alongside.commit(server, Operation::create(key.as_str(), value.clone())).await? {
                Ok(committed) => {
                    if is_generated {
                        audit::named(request, Metadata::of(served, &tree).name());
                    }
                    return created(served, &value, committed.revision);
                }
                Err(CommitError::Conflict { key: lost, current }) if *lost == *key => current,
                // What was to be true of something else is no longer: the namespace may have gone, or a quota was charged.
                Err(CommitError::Conflict { .. }) => continue,
                Err(error)
                    if update::is_too_large(&error)
                        && draft.as_mut().is_some_and(|draft| update::drop_managers(served, draft)) =>
                {
                    continue;
                }
                Err(error) => return Err(commit_failure(error)),
            }
        };
        let failure = exists(served, &tree, held.as_ref())?;
        if !is_generated {
            return Err(failure);
        }
        taken = Some(failure);
    }
    let (group, resource) = (served.resource.group, served.resource.name);
    Err(taken.unwrap_or_else(|| Box::new(Status::server_timeout(group, resource, "create", 1))))
}

/// Who creates, as the kind's rules are told.
fn requester<'a>(request: &Request<'a>, now: i64) -> Requester<'a> {
    let user = request.permitted.identity();
    Requester { name: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra, now }
}

/// Which pass of admission.
#[derive(Clone, Copy)]
enum Phase {
    /// The first.
    Admit,
    /// The second.
    Validate,
}

async fn admit(
    server: &ApiServer,
    request: &Request<'_>,
    tree: &mut Tree,
    snapshot: &Snapshot,
    options: &WriteOptions,
    phase: Phase,
    alongside: &Alongside,
) -> Result<(), Failure> {
    // In the first pass a name is what the client gave, in the second what the object will have.
    let name = Metadata::of(request.served, tree).name().to_owned();
    let mut attempt = Attempt {
        server,
        request,
        operation: Admitted::Create,
        name: &name,
        object: Some(tree),
        old: None,
        snapshot,
        dry_run: options.dry_run,
        alongside: Some(alongside),
    };
    match phase {
        Phase::Admit => server.admission.admit(&mut attempt).await,
        Phase::Validate => server.admission.validate(&attempt).await,
    }
}

fn created(served: &Served, value: &Bytes, version: u64) -> Result<Answer, Failure> {
    let text = served.serve(value).map_err(unreadable)?;
    Ok(Answer::Object(ObjectAnswer { text, version, code: StatusCode::CREATED }))
}

/// The name is taken. Who asked for a generated name is told to try again, even if it gave a name, too.
fn exists(served: &Served, tree: &Tree, held: Option<&Entry>) -> Result<Failure, Failure> {
    let metadata = Metadata::of(served, tree);
    let (group, resource, name) = (served.resource.group, served.resource.name, metadata.name());
    let mut status = if metadata.generate_name().is_empty() {
        Status::already_exists(group, resource, name)
    } else {
        Status::generate_name_conflict(group, resource, name, 1)
    };
    if let Some(held) = held
        && is_terminating(held)?
    {
        status.message = format!("object is being deleted: {}", status.message).into();
    }
    Ok(Box::new(status))
}

/// An object may name its namespace, but no other than the path's.
pub fn check_namespace_matches(served: &Served, tree: &Tree, namespace: &str) -> Result<(), Failure> {
    let given = Metadata::of(served, tree).namespace();
    if !served.resource.namespaced || given.is_empty() || given == namespace {
        return Ok(());
    }
    let why = "the namespace of the provided object does not match the namespace sent on the request";
    Err(Box::new(Status::bad_request(why)))
}

/// Whether a stored object is being deleted.
fn is_terminating(entry: &Entry) -> Result<bool, Failure> {
    if entry.index().is_unreadable() {
        return Err(Unservable::Unreadable.into());
    }
    Ok(entry.index().is_deleting())
}
