//! No container may run as root: the pod or each container must say so. From 1.35 on root is nobody in a pod that has users of its own
//! (KEP-127).

use super::words::{Visited, named, setters};
use super::{Check, Judged, Level, Violation};

const REASON: &str = "runAsNonRoot != true";

pub(super) const CHECK: Check = Check {
    id: "runAsNonRoot",
    level: Level::Restricted,
    forms: &[(0, judge), (35, |subject| if subject.has_own_users() { None } else { judge(subject) })],
    replaces: None,
};

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let of_pod = subject.spec.security_context().and_then(|security| security.run_as_non_root());
    let said = |container: Visited<'_>| container.security.and_then(|security| security.run_as_non_root());
    let wrong = subject.names_where(|container| said(container) == Some(false));
    if let Some(who) = setters(of_pod == Some(false), &wrong) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Violation { reason: REASON, detail });
    }
    let silent = subject.names_where(|container| said(container).is_none() && of_pod != Some(true));
    (!silent.is_empty()).then(|| Violation {
        reason: REASON,
        detail: format!("pod or {} must set securityContext.runAsNonRoot=true", named("container", &silent)),
    })
}
