//! What containers, and pods as a whole, ask for and may use (upstream: `validateResourceRequirements`, `validateResourceClaimNames`,
//! `validateResizePolicy`, `validatePodResources`; KEP-1287 for resizing, KEP-2837 for pods as a whole, KEP-4381 for claims).

use std::collections::BTreeSet;

use portcullis_model::quantity::Quantity;
use portcullis_model::status::{BadValue, FieldError, FieldReason};

use super::Scope;
use crate::core::pod_requests::{self, Side, amounts, can_be_of_pod};
use crate::views::core_v1::{Container, ContainerResizePolicy, PodSpec, ResourceClaim, ResourceRequirements};
use crate::views::{List, Map};
use crate::vocabulary::resource_names::{self, HUGE_PAGES_PREFIX};
use crate::vocabulary::{Errors, Path, names};

/// What a pod as a whole can ask for; huge pages of any size.
const OF_PODS: &[&str] = &["cpu", HUGE_PAGES_PREFIX, "memory"];
const RESIZABLE: &[&str] = &["cpu", "memory"];
const RESIZE_POLICIES: &[&str] = &["NotRequired", "RestartContainer"];

/// What a container asks for.
pub(super) fn validate(requirements: ResourceRequirements<'_>, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    validate_amounts(requirements, resource_names::container_resource, scope, at, errors);
    validate_claims(requirements.claims(), scope, &at.field("claims"), errors);
}

/// What a pod asks for as a whole.
pub(super) fn validate_pod(scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    let Some(requirements) = scope.spec.resources() else { return };
    if scope.spec.os().is_some_and(|os| os.name() == "windows") {
        return errors.forbidden(at, "may not be set for a windows pod");
    }
    if requirements.place().get(ResourceRequirements::CLAIMS).is_present() && !requirements.claims().is_empty() {
        errors.forbidden(&at.field("claims"), "may not be set for Resources at pod-level");
    }
    validate_amounts(requirements, pod_resource, scope, at, errors);
    pod_covers_containers(scope.spec, requirements, at, errors);
}

fn pod_resource(name: &str, at: &Path<'_>, errors: &mut Errors) {
    let before = errors.len();
    resource_names::resource(name, at, errors);
    if errors.len() == before && !can_be_of_pod(name) {
        errors.not_supported(at, name, OF_PODS);
    }
}

/// Limits and requests: known names, sound amounts, and no request above its limit.
fn validate_amounts(
    requirements: ResourceRequirements<'_>,
    name_rule: fn(&str, &Path<'_>, &mut Errors),
    scope: &Scope<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let (limits, requests) = (requirements.limits(), requirements.requests());
    let (limits_at, requests_at) = (at.field("limits"), at.field("requests"));
    for (name, amount) in limits.iter() {
        let at = limits_at.key(name);
        name_rule(name, &at, errors);
        resource_names::amount(name, amount, &at, errors);
        validate_huge_pages(name, amount, scope, &at, errors);
    }
    for (name, amount) in requests.iter() {
        let at = requests_at.key(name);
        name_rule(name, &at, errors);
        resource_names::amount(name, amount, &at, errors);
        match limits.get(name) {
            Some(limit) => request_is_within(name, amount, limit, &requests_at, errors),
            None if !resource_names::can_be_overcommitted(name) => {
                errors.required(&limits_at, "Limit must be set for non overcommitable resources");
            }
            None => {}
        }
        validate_huge_pages(name, amount, scope, &at, errors);
    }
    let names = || limits.iter().chain(requests.iter()).map(|(name, _)| name);
    if names().any(|name| name.starts_with(HUGE_PAGES_PREFIX)) && !names().any(|name| RESIZABLE.contains(&name)) {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
}

/// Of what cannot be promised twice, a request is the limit.
fn request_is_within(name: &str, request: &str, limit: &str, at: &Path<'_>, errors: &mut Errors) {
    if request == limit {
        return;
    }
    let (Ok(request), Ok(limit)) = (Quantity::parse(request), Quantity::parse(limit)) else { return };
    if request != limit && !resource_names::can_be_overcommitted(name) {
        errors.invalid(at, request.to_string(), format!("must be equal to {name} limit of {limit}"));
    } else if request > limit {
        errors.invalid(at, request.to_string(), format!("must be less than or equal to {name} limit of {limit}"));
    }
}

/// Huge pages come whole. An object that was let in with half of one keeps it.
fn validate_huge_pages(name: &str, amount: &str, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    if name.starts_with(HUGE_PAGES_PREFIX) && !scope.may_split_huge_pages() {
        resource_names::whole_huge_pages(name, amount, at, errors);
    }
}

/// Whether a spec asks somewhere for a part of a huge page.
pub(super) fn splits_huge_pages(spec: PodSpec<'_>) -> bool {
    let splits = |amounts: Map<'_, &str>| {
        amounts
            .iter()
            .any(|(name, amount)| name.starts_with(HUGE_PAGES_PREFIX) && !resource_names::is_whole_pages(name, amount))
    };
    let container_splits =
        |container: Container<'_>| splits(container.resources().limits()) || splits(container.resources().requests());
    super::all(spec).any(|(_, _, container)| container_splits(container)) || splits(spec.overhead())
}

/// Claims, or single requests of them, of those that the pod has; none twice, neither alone nor within the whole claim.
fn validate_claims(list: List<'_, ResourceClaim<'_>>, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, claim) in list.iter().enumerate() {
        let at = at.index(index);
        let (name, request) = (claim.name(), claim.request());
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let is_whole = request.is_empty();
        if seen.contains(&(name, "")) {
            errors.duplicate(&at, name);
        } else {
            if !is_whole {
                names::dns_label(request, &at.field("request"), errors);
            }
            let has_part = seen.range((name, "")..).next().is_some_and(|(of, _)| *of == name);
            if is_whole && has_part {
                errors.duplicate(&at, name);
            } else if !is_whole && seen.contains(&(name, request)) {
                errors.duplicate(&at, format!("{name}/{request}"));
            }
            seen.insert((name, request));
        }
        if !scope.claims.contains(name) {
            let mut why = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if scope.claims.is_empty() {
                why.push_str(" which is empty");
            } else {
                let known: Vec<&str> = scope.claims.iter().copied().collect();
                why.push_str(": ");
                why.push_str(&known.join(", "));
            }
            errors.push(FieldError::new(FieldReason::NotFound, at, BadValue::from(name), why));
        }
    }
}

/// What happens when resources change while the container runs. Upstream complains of the list.
pub(super) fn validate_resize_policy(
    list: List<'_, ContainerResizePolicy<'_>>,
    restart_policy: &str,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let mut seen = BTreeSet::new();
    for (index, policy) in list.iter().enumerate() {
        let (resource, restart) = (policy.resource_name(), policy.restart_policy());
        if !seen.insert(resource) {
            errors.duplicate(&at.index(index), resource);
        }
        for (value, known) in [(resource, RESIZABLE), (restart, RESIZE_POLICIES)] {
            match value {
                "" => errors.required(at, ""),
                value => names::one_of(value, known, at, errors),
            }
        }
        if restart_policy == "Never" && restart != "NotRequired" {
            errors.invalid(at, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

/// What a pod asks for and may use as a whole is enough for its containers.
fn pod_covers_containers(
    spec: PodSpec<'_>,
    requirements: ResourceRequirements<'_>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let covers = |of: Map<'_, &str>, name: &str, sum: Quantity, what: &str, at: &Path<'_>, errors: &mut Errors| {
        let Some(Ok(amount)) = of.get(name).map(Quantity::parse) else { return };
        if sum > amount {
            let why = format!("must be greater than or equal to aggregate container {what} of {sum}");
            errors.invalid(&at.key(name), amount.to_string(), why);
        }
    };
    let aggregate = |side: Side| pod_requests::at_once(spec, |container| amounts(side.of(container.resources())));
    for (name, sum) in aggregate(Side::Requests) {
        covers(requirements.requests(), name, sum, "requests", &at.field("requests"), errors);
    }
    for (name, sum) in aggregate(Side::Limits) {
        if name.starts_with(HUGE_PAGES_PREFIX) {
            covers(requirements.limits(), name, sum, "limits", &at.field("limits"), errors);
        }
    }
    for (index, container) in spec.containers().iter().enumerate() {
        for (name, limit) in container.resources().limits().iter() {
            let Some(most) = requirements.limits().get(name) else { continue };
            let (Ok(limit), Ok(most)) = (Quantity::parse(limit), Quantity::parse(most)) else { continue };
            if limit > most {
                // Upstream's path goes on from the pod's own resources.
                let at = at.field("containers");
                let at = at.index(index);
                let why = format!("must be less than or equal to pod limits of {most}");
                errors.invalid(&at.key(name).field("limits"), limit.to_string(), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_come_whole() {
        let check = |name: &str, amount: &str, expected: bool| {
            assert_eq!(resource_names::is_whole_pages(name, amount), expected, "{name} {amount}")
        };
        check("hugepages-2Mi", "4Mi", true);
        check("hugepages-2Mi", "0", true);
        check("hugepages-2Mi", "3Mi", false);
        for name in ["hugepages-", "hugepages-x", "hugepages-0", "hugepages--2Mi", "hugepages-500m"] {
            check(name, "1", false);
        }
    }
}
