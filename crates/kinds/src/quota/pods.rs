//! What a pod costs (upstream: `evaluator/core/pods.go`): its place always, and what it asks for and is limited to until it has ended.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_model::tree::Tree;

use super::scopes::Requirement;
use super::{Usage, count_of, is_count_of, one};
use crate::core::pod::qos;
use crate::core::pod_requests::{self, Amounts, Count, Side, amounts};
use crate::core::resource_quota::{
    BEST_EFFORT, CROSS_NAMESPACE_POD_AFFINITY, NOT_BEST_EFFORT, NOT_TERMINATING, PRIORITY_CLASS, TERMINATING,
};
use crate::views;
use crate::views::List;
use crate::views::core_v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};
use crate::vocabulary::resource_names::{
    HUGE_PAGES_PREFIX, REQUESTS_HUGE_PAGES_PREFIX, REQUESTS_PREFIX, is_extended, is_native,
};

const PODS: &str = "pods";
const LIMITS_PREFIX: &str = "limits.";
/// What quotas know by a plain name, which means the request, and by a name for each side.
const MEASURED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// What every container must say when a quota limits it. Others may stay unsaid and count nothing.
const MUST_BE_SAID: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// Whether a pod can cost any of this.
#[must_use]
pub fn costs(name: &str) -> bool {
    let measured = name.strip_prefix(REQUESTS_PREFIX).or_else(|| name.strip_prefix(LIMITS_PREFIX)).unwrap_or(name);
    name == PODS
        || is_count_of(name, "", PODS)
        || MEASURED.contains(&measured)
        || name.starts_with(HUGE_PAGES_PREFIX)
        || name.starts_with(REQUESTS_HUGE_PAGES_PREFIX)
        || !is_native(name) && name.starts_with(REQUESTS_PREFIX)
}

/// Whether a pod is in a scope.
#[must_use]
pub fn is_in(object: &Tree, requirement: Requirement<'_>) -> bool {
    let pod: Pod<'_> = views::read(object);
    let ends_itself = || pod.spec().active_deadline_seconds().is_some_and(|seconds| seconds >= 0);
    let asks_for_nothing = || qos::class(pod) == qos::BEST_EFFORT;
    match requirement.scope {
        TERMINATING => ends_itself(),
        NOT_TERMINATING => !ends_itself(),
        BEST_EFFORT => asks_for_nothing(),
        NOT_BEST_EFFORT => !asks_for_nothing(),
        PRIORITY_CLASS => requirement.takes(Some(pod.spec().priority_class_name()).filter(|class| !class.is_empty())),
        CROSS_NAMESPACE_POD_AFFINITY => looks_at_other_namespaces(pod),
        _ => false,
    }
}

/// Whether a pod's place depends on pods of namespaces that it names or selects.
fn looks_at_other_namespaces(pod: Pod<'_>) -> bool {
    let Some(affinity) = pod.spec().affinity() else { return false };
    let other = |term: PodAffinityTerm<'_>| !term.namespaces().is_empty() || term.namespace_selector().is_some();
    let any = |required: List<'_, PodAffinityTerm<'_>>, preferred: List<'_, WeightedPodAffinityTerm<'_>>| {
        required.iter().any(other) || preferred.iter().any(|weighted| other(weighted.pod_affinity_term()))
    };
    let near = affinity.pod_affinity().is_some_and(|near| {
        any(
            near.required_during_scheduling_ignored_during_execution(),
            near.preferred_during_scheduling_ignored_during_execution(),
        )
    });
    near || affinity.pod_anti_affinity().is_some_and(|apart| {
        any(
            apart.required_during_scheduling_ignored_during_execution(),
            apart.preferred_during_scheduling_ignored_during_execution(),
        )
    })
}

/// What containers do not say although a quota limits it, each with the containers that do not. What is said of the pod as a whole need
/// not be said of its containers.
#[must_use]
pub fn unsaid(object: &Tree, names: &[&str]) -> Option<String> {
    let pod: Pod<'_> = views::read(object);
    let of_pod = pod.spec().resources();
    let is_said_above =
        |name: &str| of_pod.is_some_and(|all| says(name, &amounts(all.requests()), &amounts(all.limits())));
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let required = || names.iter().copied().filter(|name| MUST_BE_SAID.contains(name) && !is_said_above(name));
    let containers = pod.spec().containers().iter().chain(pod.spec().init_containers().iter());
    for container in containers {
        let (requests, limits) = (amounts(container.resources().requests()), amounts(container.resources().limits()));
        for name in required().filter(|name| !says(name, &requests, &limits)) {
            missing.entry(name).or_default().insert(container.name());
        }
    }
    if missing.is_empty() {
        return None;
    }
    let line = |(name, containers): (&str, BTreeSet<&str>)| {
        let containers: Vec<&str> = containers.into_iter().collect();
        format!("{name} for: {}", containers.join(","))
    };
    let lines: Vec<String> = missing.into_iter().map(line).collect();
    Some(lines.join("; "))
}

fn says(name: &str, requests: &Amounts<'_>, limits: &Amounts<'_>) -> bool {
    match name.strip_prefix(LIMITS_PREFIX) {
        Some(name) => limits.contains_key(name),
        None => requests.contains_key(name.strip_prefix(REQUESTS_PREFIX).unwrap_or(name)),
    }
}

/// What a pod costs.
#[must_use]
pub fn usage(object: &Tree, now: i64) -> Usage {
    let pod: Pod<'_> = views::read(object);
    let mut usage = Usage::from([(count_of("", PODS), one())]);
    if is_over(pod, now) {
        return usage;
    }
    usage.insert(PODS.to_owned(), one());
    for (name, amount) in pod_requests::of(pod, Side::Requests, Count::Held) {
        let is_plain = MEASURED.contains(&name) || name.starts_with(HUGE_PAGES_PREFIX);
        if is_plain {
            usage.insert(name.to_owned(), amount);
        }
        if is_plain || is_extended(name) {
            usage.insert(format!("{REQUESTS_PREFIX}{name}"), amount);
        }
    }
    for (name, amount) in pod_requests::of(pod, Side::Limits, Count::Held) {
        if MEASURED.contains(&name) {
            usage.insert(format!("{LIMITS_PREFIX}{name}"), amount);
        }
    }
    usage
}

/// Whether a pod holds nothing any more: it has ended, or should have long ago.
fn is_over(pod: Pod<'_>, now: i64) -> bool {
    if matches!(pod.status().phase(), "Failed" | "Succeeded") {
        return true;
    }
    let metadata = pod.metadata();
    let (deletion, grace) = (metadata.deletion_timestamp().flatten(), metadata.deletion_grace_period_seconds());
    deletion.zip(grace).is_some_and(|(at, grace)| now > at.saturating_add(grace))
}
