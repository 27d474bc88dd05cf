//! A token for a service account (`TokenRequest`, KEP-1205): bound to audiences and a time, and to a pod, a secret or a node if the
//! request names one (upstream: `TokenREST` of the service account storage).
//!
//! Nothing is stored, so a dry run answers as the request itself does, as upstream's.

use std::collections::BTreeSet;

use http::StatusCode;
use portcullis_gate::{Named, NewToken};
use portcullis_kinds::views;
use portcullis_kinds::views::authentication_v1::{BoundObjectReference, TokenRequest, TokenRequestEdit};
use portcullis_kinds::views::core_v1::Pod;
use portcullis_kinds::views::meta_v1::ObjectMeta;
use portcullis_model::go_text::quoted;
use portcullis_model::schema::managed::{Change, Manager, Managers, Unwritten, compare};
use portcullis_model::schema::{canonical, default};
use portcullis_model::status::{FieldError, Status};
use portcullis_model::tree::Tree;
use portcullis_store::Snapshot;
use zeroize::Zeroizing;

use super::input::{self, Expected};
use super::options::{self, WriteOptions};
use crate::admission::{Attempt, Operation as Admitted};
use crate::answer::{Answer, Failure, Made, unreadable};
use crate::audit;
use crate::config::ServiceAccounts;
use crate::negotiate;
use crate::registry::prepare::uuid_v4;
use crate::request::Request;
use crate::server::ApiServer;

/// Seconds that a token may last.
const EXPIRATION_SECONDS_MIN: i64 = 10 * 60;
const EXPIRATION_SECONDS_MAX: i64 = 1 << 32;
/// Seconds that it lasts when the request does not say.
const EXPIRATION_SECONDS_DEFAULT: i64 = 60 * 60;
/// What a pod's own mount asks for: such tokens may be extended, because old clients never read the file again.
const EXPIRATION_SECONDS_OF_MOUNT: i64 = 60 * 60 + 7;
/// Seconds that they are extended to: a year.
const EXTENDED_SECONDS: i64 = 365 * 24 * 60 * 60;
/// Bytes of a token's id.
const ID_LEN: usize = 16;

const GROUP: &str = "authentication.k8s.io";
const API_VERSION: &str = "authentication.k8s.io/v1";
const KIND: &str = "TokenRequest";
const SUBRESOURCE: &str = "token";

/// Answers a POST to `serviceaccounts/NAME/token`.
pub async fn create(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let Some(accounts) = &server.config.service_accounts else {
        let name = format!("serviceaccounts/{SUBRESOURCE}");
        return Err(Box::new(Status::method_not_supported("", &name, request.info.verb.as_str())));
    };
    let (mut tree, options) = received(request)?;
    let now = server.now_seconds();
    account(request, &options, &mut tree, now)?;
    let snapshot = server.newest().await?;
    let is_admitted = server.admission.concerns(request.served, Admitted::Create, request.permitted.identity());
    if is_admitted {
        server.admission.admit(&mut attempt(server, request, &mut tree, &options, &snapshot)).await?;
    }
    let uid = prepare(request, accounts, &snapshot, &mut tree, now)?;
    check(views::read(&tree))?;
    if is_admitted {
        server.admission.validate(&attempt(server, request, &mut tree, &options, &snapshot)).await?;
    }
    let bound = match views::read::<TokenRequest<'_>>(&tree).spec().bound_object_ref() {
        None => Bound::default(),
        Some(reference) => bind(server, request, &snapshot, reference)?,
    };
    let lasts = shorten(accounts, request, &mut tree);
    let token = issue(server, request, accounts, &tree, &uid, &bound, (now, lasts))?;
    {
        let mut edit: TokenRequestEdit<'_> = views::write(&mut tree);
        let mut status = edit.status_mut();
        status.set_token(&token);
        status.set_expiration_timestamp(now.saturating_add(lasts));
    }
    canonical::canonicalize(request.served.schema, &mut tree);
    Ok(Answer::Made(Made {
        tree,
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        code: StatusCode::CREATED,
    }))
}

/// Reads the body, and takes out what is not the client's to say.
fn received(request: &mut Request<'_>) -> Result<(Tree, WriteOptions), Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("CreateOptions", request.query)?;
    let schema = request.served.schema;
    let expected = Expected { schema, ty: TokenRequest::TYPE, api_version: API_VERSION, kind: KIND };
    let mut tree = input::receive(request, expected, format, options.field_validation)?;
    let given = views::read::<TokenRequest<'_>>(&tree).metadata().namespace();
    if !given.is_empty() && given != request.namespace() {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Box::new(Status::bad_request(why)));
    }
    default::apply(schema, &mut tree);
    let mut edit: TokenRequestEdit<'_> = views::write(&mut tree);
    edit.clear_kind();
    edit.clear_api_version();
    let mut metadata = edit.metadata_mut();
    metadata.set_namespace(request.namespace());
    metadata.clear_uid();
    metadata.clear_creation_timestamp();
    metadata.clear_deletion_timestamp();
    metadata.clear_deletion_grace_period_seconds();
    metadata.clear_self_link();
    let mut spec = edit.spec_mut();
    if spec.view().expiration_seconds().is_none() {
        spec.set_expiration_seconds(EXPIRATION_SECONDS_DEFAULT);
    }
    Ok((tree, options))
}

/// Says who wrote which fields, as upstream does before the object is given anything of the server's.
fn account(request: &Request<'_>, options: &WriteOptions, tree: &mut Tree, now: i64) -> Result<(), Failure> {
    let (schema, number) = (request.served.schema, request.served.meta.managed_fields);
    views::write::<TokenRequestEdit<'_>>(tree).metadata_mut().clear_managed_fields();
    let Ok(comparison) = compare(schema, &Tree::new(TokenRequest::TYPE), tree) else { return Ok(()) };
    let agent = request.permitted.headers().get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let manager = Manager::of_update(&options.field_manager, agent.unwrap_or_default(), API_VERSION, SUBRESOURCE);
    let (unwritten, now) = (&Unwritten::default(), Some(now));
    let mut managers = Managers::default();
    managers.update(Change { manager, comparison, unwritten, now }, &mut |_| None);
    let metadata = views::read::<TokenRequest<'_>>(tree).metadata().place().id();
    if let Some(metadata) = metadata {
        managers.write(schema, tree, metadata, number);
    }
    Ok(())
}

fn attempt<'a>(
    server: &'a ApiServer,
    request: &'a Request<'a>,
    tree: &'a mut Tree,
    options: &WriteOptions,
    snapshot: &'a Snapshot,
) -> Attempt<'a> {
    Attempt {
        server,
        request,
        operation: Admitted::Create,
        name: request.path_name(),
        object: Some(tree),
        old: None,
        snapshot,
        dry_run: options.dry_run,
        alongside: None,
    }
}

/// Finds the service account, fills in what the request left out, and returns the account's uid.
fn prepare(
    request: &Request<'_>,
    accounts: &ServiceAccounts,
    snapshot: &Snapshot,
    tree: &mut Tree,
    now: i64,
) -> Result<String, Failure> {
    let name = request.path_name();
    let given = views::read::<TokenRequest<'_>>(tree).metadata().name();
    if !given.is_empty() && given != name {
        let error = FieldError::invalid("metadata.name", given, "must match the service account name if specified");
        return Err(Box::new(Status::invalid(GROUP, KIND, name, &[error])));
    }
    let served = request.served;
    let missing = || Box::new(Status::not_found("", "serviceaccounts", name));
    let entry = served.key(request.namespace(), name).and_then(|key| snapshot.get(&key)).ok_or_else(missing)?;
    let held = served.load(&entry.value).map_err(unreadable)?;
    let uid = crate::registry::metadata::Metadata::of(served, &held).uid().to_owned();
    let mut edit: TokenRequestEdit<'_> = views::write(tree);
    edit.clear_status();
    {
        let mut metadata = edit.metadata_mut();
        metadata.set_name(name);
        metadata.set_creation_timestamp(now);
    }
    let mut spec = edit.spec_mut();
    let mut audiences = spec.audiences_mut();
    if audiences.is_empty() {
        accounts.api_audiences.iter().for_each(|audience| audiences.push_text(audience));
    }
    Ok(uid)
}

fn check(request: TokenRequest<'_>) -> Result<(), Failure> {
    let seconds = request.spec().expiration_seconds().unwrap_or_default();
    let why = if seconds < EXPIRATION_SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if seconds > EXPIRATION_SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, why);
    Err(Box::new(Status::invalid(GROUP, KIND, "", &[error])))
}

/// An object that a token is bound to.
struct Object {
    name: String,
    uid: String,
}

impl Object {
    fn of(metadata: ObjectMeta<'_>) -> Self {
        Self { name: metadata.name().to_owned(), uid: metadata.uid().to_owned() }
    }

    fn named(&self) -> Named<'_> {
        Named { name: &self.name, uid: &self.uid }
    }
}

/// What a token is bound to.
#[derive(Default)]
struct Bound {
    pod: Option<Object>,
    secret: Option<Object>,
    node: Option<Object>,
}

/// Finds what the request wants the token to be bound to.
fn bind(
    server: &ApiServer,
    request: &Request<'_>,
    snapshot: &Snapshot,
    reference: BoundObjectReference<'_>,
) -> Result<Bound, Failure> {
    let mut bound = Bound::default();
    let (group, version) = group_and_version(reference.api_version());
    let name = reference.name();
    let uid = match (group, reference.kind()) {
        ("", "Pod") => {
            let tree = stored(server, snapshot, "pods", request.namespace(), name)?;
            let pod: Pod<'_> = views::read(&tree);
            if pod.spec().service_account_name() != request.path_name() {
                return Err(Box::new(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                    quoted(request.path_name())
                ))));
            }
            bound.node = node_of(server, snapshot, pod.spec().node_name())?;
            &bound.pod.insert(Object::of(pod.metadata())).uid
        }
        ("", "Node") => {
            let tree = stored(server, snapshot, "nodes", "", name)?;
            let node: views::core_v1::Node<'_> = views::read(&tree);
            &bound.node.insert(Object::of(node.metadata())).uid
        }
        ("", "Secret") => {
            let tree = stored(server, snapshot, "secrets", request.namespace(), name)?;
            let secret: views::core_v1::Secret<'_> = views::read(&tree);
            &bound.secret.insert(Object::of(secret.metadata())).uid
        }
        (_, kind) => {
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Box::new(Status::bad_request(why)));
        }
    };
    if !reference.uid().is_empty() && reference.uid() != uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted \
             and then recreated",
            reference.uid()
        );
        return Err(Box::new(Status::conflict(group, reference.kind(), name, &why)));
    }
    Ok(bound)
}

/// Splits an `apiVersion`; one that can not be split is of no group and no version.
fn group_and_version(api_version: &str) -> (&str, &str) {
    match api_version.split_once('/') {
        None => ("", api_version),
        Some((group, version)) if !version.contains('/') => (group, version),
        Some(_) => ("", ""),
    }
}

/// The node of a pod: by its name alone when there is no such node.
fn node_of(server: &ApiServer, snapshot: &Snapshot, name: &str) -> Result<Option<Object>, Failure> {
    if name.is_empty() {
        return Ok(None);
    }
    Ok(Some(match stored(server, snapshot, "nodes", "", name) {
        Ok(tree) => Object::of(views::read::<views::core_v1::Node<'_>>(&tree).metadata()),
        Err(failure) if failure.code == StatusCode::NOT_FOUND.as_u16() => {
            Object { name: name.to_owned(), uid: String::new() }
        }
        Err(failure) => return Err(failure),
    }))
}

fn stored(
    server: &ApiServer,
    snapshot: &Snapshot,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Result<Tree, Failure> {
    let missing = || Box::new(Status::not_found("", resource, name));
    // A name from a body must not lead to another place of the store.
    if name.contains('/') {
        return Err(missing());
    }
    let served = server.registry.find("", "v1", resource).ok_or_else(missing)?;
    let entry = served.key(namespace, name).and_then(|key| snapshot.get(&key)).ok_or_else(missing)?;
    served.load(&entry.value).map_err(unreadable)
}

/// Brings the request below the operator's limit, and returns how many seconds the client is told.
fn shorten(accounts: &ServiceAccounts, request: &mut Request<'_>, tree: &mut Tree) -> i64 {
    let asked = views::read::<TokenRequest<'_>>(tree).spec().expiration_seconds().unwrap_or_default();
    match accounts.max_expiration_seconds {
        Some(max) if asked > max => {
            request.warnings.push(format!("requested expiration of {asked} seconds shortened to {max} seconds"));
            views::write::<TokenRequestEdit<'_>>(tree).spec_mut().set_expiration_seconds(max);
            max
        }
        _ => asked,
    }
}

fn issue(
    server: &ApiServer,
    request: &Request<'_>,
    accounts: &ServiceAccounts,
    tree: &Tree,
    uid: &str,
    bound: &Bound,
    (now, lasts): (i64, i64),
) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a token could not be made");
        Box::new(Status::internal_error("failed to generate token"))
    };
    let mut random = [0; ID_LEN];
    server.env.fill_random(&mut random).map_err(|error| failed(&error))?;
    let spec = views::read::<TokenRequest<'_>>(tree).spec();
    let audiences: Vec<String> = spec.audiences().iter().map(str::to_owned).collect();
    let own: BTreeSet<&String> = accounts.api_audiences.iter().collect();
    let is_for_us = audiences.iter().all(|audience| own.contains(audience));
    // A11: locked never extends; see `ServiceAccounts::extend_expiration`.
    let is_extended =
        accounts.extend_expiration && bound.pod.is_some() && lasts == EXPIRATION_SECONDS_OF_MOUNT && is_for_us;
    let token = NewToken {
        namespace: request.namespace(),
        service_account: Named { name: request.path_name(), uid },
        pod: bound.pod.as_ref().map(Object::named),
        secret: bound.secret.as_ref().map(Object::named),
        node: bound.node.as_ref().map(Object::named),
        audiences: &audiences,
        id: &uuid_v4(&random),
        now,
        expires_at: now.saturating_add(if is_extended { EXTENDED_SECONDS } else { lasts }),
        warn_after: is_extended.then(|| now.saturating_add(lasts)),
    };
    let issued = accounts.issuer.issue(&token).map_err(|error| failed(&error))?;
    audit::issued(request, token.id);
    Ok(issued)
}
