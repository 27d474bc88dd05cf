//! Seccomp may not be turned off: by the annotations that were there before 1.19, by the field since then.

use std::collections::BTreeSet;

use portcullis_model::go_text;

use super::words::{Values, joined, plural, quoted, setters};
use super::{Check, Judged, Level, Violation};
use crate::views::core_v1::SeccompProfile;

/// The annotation for the whole pod.
const OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// What the annotation of a container begins with; its name follows.
const OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const REASON: &str = "seccompProfile";

pub(super) const CHECK: Check = Check {
    id: "seccompProfile_baseline",
    level: Level::Baseline,
    forms: &[(0, judge_annotations), (19, judge)],
    replaces: None,
};

/// Whether a profile filters anything.
pub(super) fn is_allowed(profile: SeccompProfile<'_>) -> bool {
    matches!(profile.type_(), "Localhost" | "RuntimeDefault")
}

fn is_allowed_annotation(value: &str) -> bool {
    value == "runtime/default" || value == "docker/default" || value.starts_with("localhost/")
}

fn judge_annotations(subject: Judged<'_>) -> Option<Violation> {
    let annotations = subject.metadata.annotations();
    if annotations.is_empty() {
        return None;
    }
    let keys = subject.containers.iter().map(|container| format!("{OF_CONTAINER}{}", container.name));
    let set = std::iter::once(OF_POD.to_owned()).chain(keys).filter_map(|key| {
        let value = annotations.get(&key).filter(|value| !is_allowed_annotation(value))?;
        Some(format!("{key}={}", go_text::quoted(value)))
    });
    let bad: BTreeSet<String> = set.collect();
    (!bad.is_empty()).then(|| Violation {
        reason: REASON,
        detail: format!("forbidden {} {}", plural("annotation", bad.len()), joined(&bad, ", ")),
    })
}

fn judge(subject: Judged<'_>) -> Option<Violation> {
    judge_set(subject)
}

/// Tells who has a profile that filters nothing, as both levels do.
pub(super) fn judge_set(subject: Judged<'_>) -> Option<Violation> {
    let of_pod = subject.spec.security_context().and_then(|security| security.seccomp_profile());
    let bad_of_pod = of_pod.filter(|profile| !is_allowed(*profile));
    let mut values: Values<'_> = bad_of_pod.iter().map(|profile| profile.type_()).collect();
    let mut names = Vec::new();
    for container in subject.containers {
        let profile = container.security.and_then(|security| security.seccomp_profile());
        if let Some(profile) = profile.filter(|profile| !is_allowed(*profile)) {
            names.push(container.name);
            values.insert(profile.type_());
        }
    }
    let who = setters(bad_of_pod.is_some(), &names)?;
    let detail = format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values));
    Some(Violation { reason: REASON, detail })
}
