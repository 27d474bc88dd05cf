//! What may I do (`SelfSubjectRulesReview`): what the authorisers can list. For people and their tools; nothing is decided by it.

use portcullis_gate::{PathRule, ResourceRule, Rules};
use portcullis_kinds::views;
use portcullis_kinds::views::authorization_v1::SelfSubjectRulesReview;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::status::Status;
use serde_json::{Value, json};

use super::{made, received};
use crate::answer::{Answer, Failure, unreadable};
use crate::request::Request;
use crate::server::ApiServer;

/// Answers a POST of a `SelfSubjectRulesReview`. The answer has nothing of the question.
pub(super) fn self_subject(_: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (asked, _) = received(request)?;
    let namespace = views::read::<SelfSubjectRulesReview<'_>>(&asked).spec().namespace();
    if namespace.is_empty() {
        return Err(Box::new(Status::bad_request("no namespace on request")));
    }
    let rules = request.permitted.authorizers().rules(request.permitted.identity(), namespace);
    let served = request.served;
    // A rule may have as many names as fit into a role, and a tree finds the end of a list by walking to it: it is read instead.
    let text = json!({"metadata": {}, "spec": {}, "status": status(&rules)}).to_string().into_bytes();
    let decoded = decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore);
    Ok(made(request, decoded.map_err(unreadable)?.tree))
}

/// Both lists are there even when nothing is in them.
fn status(rules: &Rules) -> Value {
    let resource = |rule: &ResourceRule| {
        let mut shown = json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
        if !rule.names.is_empty() {
            shown["resourceNames"] = json!(rule.names);
        }
        shown
    };
    let path = |rule: &PathRule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.paths});
    let mut status = json!({
        "resourceRules": rules.resources.iter().map(resource).collect::<Vec<_>>(),
        "nonResourceRules": rules.paths.iter().map(path).collect::<Vec<_>>(),
        "incomplete": !rules.gaps.is_empty(),
    });
    let errors: Vec<&str> = rules.gaps.iter().chain(&rules.errors).map(String::as_str).collect();
    match errors.as_slice() {
        [] => {}
        [only] => status["evaluationError"] = json!(only),
        several => status["evaluationError"] = json!(format!("[{}]", several.join(", "))),
    }
    status
}
