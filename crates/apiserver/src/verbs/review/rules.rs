//! What may I do (`SelfSubjectRulesReview`): what the authorisers can list. For people and their tools; nothing is decided by it.

use portcullis_gate::Rules;
use portcullis_kinds::views::authorization_v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewEdit};
use portcullis_kinds::views::{self, ListEdit, Text};
use portcullis_model::status::Status;
use portcullis_model::tree::Tree;

use super::{made, received};
use crate::answer::{Answer, Failure};
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
    let mut tree = Tree::new(request.served.resource.type_id);
    answer(&rules, &mut tree);
    Ok(made(request, tree))
}

fn answer(rules: &Rules, tree: &mut Tree) {
    let mut review: SelfSubjectRulesReviewEdit<'_> = views::write(tree);
    review.metadata_mut();
    review.spec_mut();
    let mut status = review.status_mut();
    // Both lists are there even when nothing is in them.
    status.resource_rules_mut();
    status.non_resource_rules_mut();
    for rule in &rules.resources {
        let mut listed = status.resource_rules_mut();
        let mut entry = listed.push();
        extend(entry.verbs_mut(), &rule.verbs);
        extend(entry.api_groups_mut(), &rule.groups);
        extend(entry.resources_mut(), &rule.resources);
        if !rule.names.is_empty() {
            extend(entry.resource_names_mut(), &rule.names);
        }
    }
    for rule in &rules.paths {
        let mut listed = status.non_resource_rules_mut();
        let mut entry = listed.push();
        extend(entry.verbs_mut(), &rule.verbs);
        extend(entry.non_resource_urls_mut(), &rule.paths);
    }
    status.set_incomplete(!rules.gaps.is_empty());
    let errors: Vec<&str> = rules.gaps.iter().chain(&rules.errors).map(String::as_str).collect();
    match errors.as_slice() {
        [] => {}
        [only] => status.set_evaluation_error(only),
        several => status.set_evaluation_error(&format!("[{}]", several.join(", "))),
    }
}

fn extend(mut list: ListEdit<'_, Text>, values: &[String]) {
    for value in values {
        list.push_text(value);
    }
}
