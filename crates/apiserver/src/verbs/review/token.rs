//! Whose token is this (`TokenReview`). No authenticator of this build takes tokens, so it is nobody's: the answer is that of upstream to a
//! token that none of its authenticators accepts, and never says more about the token.

use portcullis_kinds::views;
use portcullis_kinds::views::authentication_v1::{TokenReview, TokenReviewEdit};
use portcullis_model::status::Status;

use super::{account, made, received};
use crate::answer::{Answer, Failure};
use crate::request::Request;
use crate::server::ApiServer;

/// What is said of a token that no authenticator accepts.
const UNKNOWN_TOKEN: &str = "invalid bearer token";

/// Answers a POST of a `TokenReview`.
pub(super) async fn create(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut tree, field_manager) = received(request)?;
    if views::read::<TokenReview<'_>>(&tree).spec().token().is_empty() {
        return Err(Box::new(Status::bad_request("token is required for TokenReview in authentication")));
    }
    account(server, request, &field_manager, &mut tree);
    {
        let mut review: TokenReviewEdit<'_> = views::write(&mut tree);
        review.clear_status();
        let mut status = review.status_mut();
        status.user_mut();
        status.set_error(UNKNOWN_TOKEN);
    }
    Ok(made(request, tree))
}
