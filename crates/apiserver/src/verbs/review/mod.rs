//! Reviews: questions that are posted and answered, and stored nowhere. Who am I (KEP-3325), may this user do that, what may I do,
//! whose token is this.
//!
//! Reading order: `access` with `attributes` (what is asked and whether it can be asked), `rules`, `token`.

mod access;
mod attributes;
mod rules;
mod token;

use http::StatusCode;
use portcullis_model::schema::canonical;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::status::Status;
use portcullis_model::time::time_text;
use portcullis_model::tree::Tree;
use serde_json::json;

use super::input::{self, Expected};
use super::options;
use crate::answer::{Answer, Failure, Made, unreadable};
use crate::negotiate;
use crate::registry::managed;
use crate::registry::metadata::{Metadata, metadata_of, set_string};
use crate::request::Request;
use crate::server::ApiServer;

/// Answers a POST of a review; nothing for any other resource.
pub async fn create(server: &ApiServer, request: &mut Request<'_>) -> Option<Result<Answer, Failure>> {
    let resource = request.served.resource;
    Some(match (resource.group, resource.name) {
        ("authentication.k8s.io", "selfsubjectreviews") => self_subject(server, request),
        ("authentication.k8s.io", "tokenreviews") => token::create(server, request).await,
        ("authorization.k8s.io", "localsubjectaccessreviews") => access::local_subject(server, request).await,
        ("authorization.k8s.io", "selfsubjectaccessreviews") => access::self_subject(server, request).await,
        ("authorization.k8s.io", "selfsubjectrulesreviews") => rules::self_subject(server, request),
        ("authorization.k8s.io", "subjectaccessreviews") => access::subject(server, request).await,
        _ => return None,
    })
}

/// What the client sent: read, in the namespace of the path.
fn received(request: &mut Request<'_>) -> Result<(Tree, String), Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("CreateOptions", request.query)?;
    let served = request.served;
    let mut tree = input::receive(request, Expected::of(served), format, options.field_validation)?;
    super::create::check_namespace_matches(served, &tree, request.namespace())?;
    if served.resource.namespaced {
        set_string(served, &mut tree, served.meta.namespace, request.namespace());
    } else if !Metadata::of(served, &tree).namespace().is_empty() {
        let metadata = metadata_of(served, &mut tree);
        tree.remove(metadata, served.meta.namespace);
    }
    Ok((tree, options.field_manager))
}

/// Says who wrote which fields of the question, which must be known before there is an answer in it.
fn account(server: &ApiServer, request: &Request<'_>, field_manager: &str, tree: &mut Tree) {
    managed::account(&server.registry, request, field_manager, tree, None, server.now_seconds());
}

/// The review with its answer.
fn made(request: &Request<'_>, mut tree: Tree) -> Answer {
    let served = request.served;
    let root = tree.root();
    for head in [served.fields.kind, served.fields.api_version].into_iter().flatten() {
        tree.remove(root, head);
    }
    canonical::canonicalize(served.schema, &mut tree);
    Answer::Made(Made {
        tree,
        api_version: served.resource.api_version.clone(),
        kind: served.resource.kind.to_owned(),
        code: StatusCode::CREATED,
    })
}

fn self_subject(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    received(request)?;
    let identity = request.permitted.identity();
    if identity.is_anonymous() {
        let why = "creating SelfSubjectReview by unauthenticated user is not allowed";
        let resource = request.served.resource;
        return Err(Box::new(Status::forbidden(resource.group, resource.name, "", why)));
    }
    // The answer has nothing of the question: all that it could say is who is asking.
    let user = json!({
        "username": identity.name, "uid": identity.uid, "groups": identity.groups, "extra": identity.extra,
    });
    let created = time_text(server.now_seconds());
    let review = json!({"metadata": {"creationTimestamp": created}, "status": {"userInfo": user}});
    let served = request.served;
    let text = review.to_string().into_bytes();
    let decoded = decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore);
    Ok(made(request, decoded.map_err(unreadable)?.tree))
}
