//! The reviews that need nothing but the request: who am I (KEP-3325).

use http::StatusCode;
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;
use serde_json::{Map, Value, json};

use super::input::{self, Expected};
use super::options;
use crate::answer::{Answer, Failure, Made, unreadable};
use crate::negotiate;
use crate::request::Request;
use crate::server::ApiServer;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::time::time_text;

/// Answers a POST of a `SelfSubjectReview`; nothing for any other resource.
pub fn create(server: &ApiServer, request: &mut Request<'_>) -> Option<Result<Answer, Failure>> {
    let resource = request.served.resource;
    let is_ours = resource.group == "authentication.k8s.io" && resource.name == "selfsubjectreviews";
    is_ours.then(|| self_subject(server, request))
}

fn self_subject(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let format = negotiate::body_format(request.permitted.headers())?;
    let options = options::write("CreateOptions", request.query)?;
    let expected = Expected::of(request.served);
    input::decode(expected, format, request.body.clone(), options.field_validation, &mut request.warnings)?;
    let identity = request.permitted.identity();
    if identity.is_anonymous() {
        let why = "creating SelfSubjectReview by unauthenticated user is not allowed";
        let resource = request.served.resource;
        return Err(Box::new(Status::forbidden(resource.group, resource.name, "", why)));
    }
    let mut user = Map::new();
    user.insert("username".to_owned(), identity.name.as_str().into());
    user.insert("uid".to_owned(), identity.uid.as_str().into());
    user.insert("groups".to_owned(), identity.groups.clone().into());
    let extra: Map<String, Value> =
        identity.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
    user.insert("extra".to_owned(), extra.into());
    let created = time_text(server.now_seconds());
    let review = json!({"metadata": {"creationTimestamp": created}, "status": {"userInfo": user}});
    let tree = read(request, &review)?;
    Ok(Answer::Made(Made {
        tree,
        api_version: request.served.resource.api_version.clone(),
        kind: request.served.resource.kind.to_owned(),
        code: StatusCode::CREATED,
    }))
}

fn read(request: &Request<'_>, value: &Value) -> Result<Tree, Failure> {
    let served = request.served;
    let text = value.to_string().into_bytes();
    let decoded = decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore);
    Ok(decoded.map_err(unreadable)?.tree)
}
