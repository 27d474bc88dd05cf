//! May this user do that (`SubjectAccessReview` and its two siblings): the question is put to the authorisers that let the request
//! itself pass, so the answer is what would be decided. A review asks and never grants.

use portcullis_gate::{Attributes, Identity, Selection, Target, Verdict};
use portcullis_kinds::views;
use portcullis_kinds::views::authorization_v1::{
    LocalSubjectAccessReview, LocalSubjectAccessReviewEdit, SelfSubjectAccessReview, SelfSubjectAccessReviewEdit,
    SubjectAccessReview, SubjectAccessReviewEdit, SubjectAccessReviewSpec, SubjectAccessReviewStatusEdit,
};
use portcullis_model::status::{BadValue, FieldError, Status};

use super::attributes::{Asked, check_metadata};
use super::{account, made, received};
use crate::answer::{Answer, Failure};
use crate::request::Request;
use crate::server::ApiServer;

/// The group that complaints name. They name no kind, as upstream's do.
const GROUP: &str = "authorization.k8s.io";

/// Answers a POST of a `SubjectAccessReview`.
pub(super) async fn subject(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut tree, field_manager) = received(request)?;
    let spec = views::read::<SubjectAccessReview<'_>>(&tree).spec();
    let mut errors = check_spec(request, &spec);
    errors.extend(check_metadata(request.served, &tree, None));
    refuse(&errors)?;
    let verdict = decide(request, &named_user(spec), asked(&spec)).await;
    account(server, request, &field_manager, &mut tree);
    let mut review: SubjectAccessReviewEdit<'_> = views::write(&mut tree);
    review.clear_status();
    say(review.status_mut(), &verdict);
    Ok(made(request, tree))
}

/// Answers a POST of a `LocalSubjectAccessReview`, which asks about the namespace that it is posted in.
pub(super) async fn local_subject(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut tree, field_manager) = received(request)?;
    let review = views::read::<LocalSubjectAccessReview<'_>>(&tree);
    let spec = review.spec();
    let namespace = request.namespace();
    let mut errors = check_spec(request, &spec);
    errors.extend(check_metadata(request.served, &tree, Some(namespace)));
    if let Some(asked) = spec.resource_attributes().filter(|asked| asked.namespace() != namespace) {
        let field = "spec.resourceAttributes.namespace";
        errors.push(FieldError::invalid(field, asked.namespace(), "must match metadata.namespace"));
    }
    if let Some(path) = spec.non_resource_attributes() {
        let shown = super::attributes::shown(request.served, path.place());
        errors.push(FieldError::invalid("spec.nonResourceAttributes", shown, "disallowed on this kind of request"));
    }
    refuse(&errors)?;
    let verdict = decide(request, &named_user(spec), asked(&spec)).await;
    account(server, request, &field_manager, &mut tree);
    let mut review: LocalSubjectAccessReviewEdit<'_> = views::write(&mut tree);
    review.clear_status();
    say(review.status_mut(), &verdict);
    Ok(made(request, tree))
}

/// Answers a POST of a `SelfSubjectAccessReview`, which asks about whoever posts it.
pub(super) async fn self_subject(server: &ApiServer, request: &mut Request<'_>) -> Result<Answer, Failure> {
    let (mut tree, field_manager) = received(request)?;
    let spec = views::read::<SelfSubjectAccessReview<'_>>(&tree).spec();
    let asked = Asked { resource: spec.resource_attributes(), path: spec.non_resource_attributes() };
    let mut errors = asked.check(request.served);
    errors.extend(check_metadata(request.served, &tree, None));
    refuse(&errors)?;
    let verdict = decide(request, request.permitted.identity(), asked).await;
    account(server, request, &field_manager, &mut tree);
    let mut review: SelfSubjectAccessReviewEdit<'_> = views::write(&mut tree);
    review.clear_status();
    say(review.status_mut(), &verdict);
    Ok(made(request, tree))
}

fn asked<'t>(spec: &SubjectAccessReviewSpec<'t>) -> Asked<'t> {
    Asked { resource: spec.resource_attributes(), path: spec.non_resource_attributes() }
}

fn check_spec(request: &Request<'_>, spec: &SubjectAccessReviewSpec<'_>) -> Vec<FieldError> {
    let mut errors = asked(spec).check_choice(request.served);
    if spec.user().is_empty() && spec.groups().is_empty() {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", BadValue::from(spec.user()), why));
    }
    errors.extend(asked(spec).check_selectors());
    errors
}

fn refuse(errors: &[FieldError]) -> Result<(), Failure> {
    if errors.is_empty() { Ok(()) } else { Err(Box::new(Status::invalid(GROUP, "", "", errors))) }
}

/// The user of the question. Keys of extra facts are in lower case wherever they come from.
fn named_user(spec: SubjectAccessReviewSpec<'_>) -> Identity {
    let owned = |text: &str| text.to_owned();
    Identity {
        name: spec.user().to_owned(),
        uid: spec.uid().to_owned(),
        groups: spec.groups().iter().map(owned).collect(),
        extra: spec
            .extra()
            .iter()
            .map(|(key, values)| (key.to_lowercase(), values.iter().map(owned).collect()))
            .collect(),
    }
}

async fn decide(request: &Request<'_>, user: &Identity, asked: Asked<'_>) -> Verdict {
    let selectors = asked.selectors();
    let (verb, target) = match (asked.resource, asked.path) {
        (Some(resource), _) => (
            resource.verb(),
            Target::Resource {
                group: resource.group(),
                version: resource.version(),
                namespace: resource.namespace(),
                resource: resource.resource(),
                subresource: resource.subresource(),
                name: resource.name(),
                selectors: Selection::These(&selectors),
            },
        ),
        (None, Some(path)) => (path.verb(), Target::Path(path.path())),
        (None, None) => return Verdict::no_opinion(),
    };
    request.permitted.authorizers().decide(&Attributes { user, verb, target }).await
}

fn say(mut status: SubjectAccessReviewStatusEdit<'_>, verdict: &Verdict) {
    let reason = match verdict {
        Verdict::Allow { reason } => {
            status.set_allowed(true);
            reason
        }
        Verdict::Deny { reason } => {
            status.set_allowed(false);
            status.set_denied(true);
            reason
        }
        Verdict::NoOpinion { reason } => {
            status.set_allowed(false);
            reason
        }
    };
    if !reason.is_empty() {
        status.set_reason(reason);
    }
}
