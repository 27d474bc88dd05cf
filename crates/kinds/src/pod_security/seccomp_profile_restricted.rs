//! Seccomp must be on: the pod or each container must name a profile. Windows has none, which is known from 1.25 on.

use super::seccomp_profile_baseline::{self, REASON, is_allowed, judge_set};
use super::words::{Visited, named};
use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check = Check {
    id: "seccompProfile_restricted",
    level: Level::Restricted,
    forms: &[(19, judge), (25, |subject| if subject.is_windows() { None } else { judge(subject) })],
    replaces: Some(seccomp_profile_baseline::CHECK.id),
};

fn judge(subject: Judged<'_>) -> Option<Violation> {
    if let Some(violation) = judge_set(subject) {
        return Some(violation);
    }
    let is_on = |container: Visited<'_>| container.security.and_then(|security| security.seccomp_profile()).is_some();
    if subject.itself_says(|security| security.seccomp_profile().is_some_and(is_allowed)) {
        return None;
    }
    let silent = subject.names_where(|container| !is_on(container));
    (!silent.is_empty()).then(|| Violation {
        reason: REASON,
        detail: format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named("container", &silent)
        ),
    })
}
