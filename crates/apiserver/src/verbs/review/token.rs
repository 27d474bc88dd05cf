//! Whose token is this (`TokenReview`): the token is put to those that the gate itself asks, for the audiences that the reviewer
//! names, so the answer is what would happen if the token came with a request.

use portcullis_gate::KnownToken;
use portcullis_kinds::views;
use portcullis_kinds::views::authentication_v1::{TokenReview, TokenReviewEdit};
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::status::{Status, aggregate};
use serde_json::json;

use super::{account, made, received};
use crate::answer::{Answer, Failure, unreadable};
use crate::request::Request;
use crate::server::ApiServer;

/// What is said of a token that nobody accepts, before what those say who know its sort.
const INVALID_TOKEN: &str = "invalid bearer token";
/// Who complains of a token of which nobody knows the sort.
const NOBODY: &str = "bearer";

/// Answers a POST of a `TokenReview`.
pub(super) async fn create(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut tree, field_manager) = received(request)?;
    let spec = views::read::<TokenReview<'_>>(&tree).spec();
    if spec.token().is_empty() {
        return Err(Box::new(Status::bad_request("token is required for TokenReview in authentication")));
    }
    let audiences: Vec<String> = spec.audiences().iter().map(str::to_owned).collect();
    let judged = request.permitted.tokens().judge(spec.token(), &audiences).await;
    account(server, request, &field_manager, &mut tree);
    views::write::<TokenReviewEdit<'_>>(&mut tree).clear_status();
    let status = match judged {
        Ok(known) => of_known(&known),
        Err(complaints) => json!({"user": {}, "error": words(&complaints)}),
    };
    let served = request.served;
    let text = json!({ "status": status }).to_string().into_bytes();
    let decoded = decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore);
    let answer = decoded.map_err(unreadable)?.tree;
    if let Some(number) = served.fields.status
        && let Some(status) = answer.field(answer.root(), number)
    {
        let root = tree.root();
        tree.graft(root, number, &answer, status);
    }
    Ok(made(request, tree))
}

fn of_known(known: &KnownToken) -> serde_json::Value {
    let identity = &known.identity;
    let user = json!({
        "username": identity.name, "uid": identity.uid, "groups": identity.groups, "extra": identity.extra,
    });
    json!({"authenticated": true, "user": user, "audiences": known.audiences})
}

/// The complaints as upstream joins them.
fn words(complaints: &[(&'static str, String)]) -> String {
    let others = complaints.iter().filter(|(name, _)| *name != NOBODY).map(|(_, reason)| reason.as_str());
    aggregate(&[INVALID_TOKEN].into_iter().chain(others).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_joined_as_upstream_does() {
        let check = |complaints: &[(&'static str, &str)], expected: &str| {
            let complaints: Vec<_> = complaints.iter().map(|(name, reason)| (*name, (*reason).to_owned())).collect();
            assert_eq!(words(&complaints), expected);
        };
        check(&[("bearer", "token is not known")], "invalid bearer token");
        check(
            &[("serviceaccount", "service account token has expired")],
            "[invalid bearer token, service account token has expired]",
        );
        check(&[("a", "x"), ("b", "y"), ("c", "x")], "[invalid bearer token, x, y]");
    }
}
