//! Claims on devices that a pod brings (upstream: `validatePodResourceClaims`; KEP-4381).

use std::collections::HashSet;

use portcullis_model::names;

use super::Context;
use crate::views::core_v1::{PodResourceClaim, PodSpec};
use crate::views::shown;
use crate::vocabulary::{Errors, Path};

/// What is wrong with the claims of a pod. `at` is where the list stands.
pub fn validate(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let list = spec.resource_claims();
    if list.is_empty() {
        return;
    }
    let mut seen = HashSet::with_capacity(list.len());
    for (index, claim) in list.iter().enumerate() {
        let at = at.index(index);
        name(claim, &mut seen, context, &at.field("name"), errors);
        source(claim, &at, errors);
    }
}

fn name<'t>(
    claim: PodResourceClaim<'t>,
    seen: &mut HashSet<&'t str>,
    context: Context<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let name = claim.name();
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if !seen.insert(name) {
        errors.duplicate(at, name);
        return;
    }
    let complaints = names::dns1123_label(name);
    if complaints.is_empty() && !context.is_template && claim.resource_claim_template_name().is_some() {
        let made = format!("{}-{name}", context.name);
        for why in names::dns1123_subdomain(&made) {
            errors.invalid(at, made.as_str(), format!("final ResourceClaim name: {why}"));
        }
    }
    errors.complain(at, name, complaints);
}

fn source(claim: PodResourceClaim<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (of, from) = (claim.resource_claim_name(), claim.resource_claim_template_name());
    if of.is_some() && from.is_some() {
        let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
        errors.invalid(at, shown(claim.place()), why);
    }
    if of.is_none() && from.is_none() {
        let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
        errors.invalid(at, shown(claim.place()), why);
    }
    claim.check_resource_claim_name(at, errors);
    claim.check_resource_claim_template_name(at, errors);
}
