//! A process may not get more privileges than its parent: each container must say so. Windows has no such thing, which is known from 1.25
//! on.

use super::words::{Visited, named};
use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check = Check {
    id: "allowPrivilegeEscalation",
    level: Level::Restricted,
    forms: &[(8, judge), (25, |subject| if subject.is_windows() { None } else { judge(subject) })],
    replaces: None,
};

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let refuses = |container: Visited<'_>| {
        container.security.and_then(|security| security.allow_privilege_escalation()) == Some(false)
    };
    let names = subject.names_where(|container| !refuses(container));
    (!names.is_empty()).then(|| Violation {
        reason: "allowPrivilegeEscalation != false",
        detail: format!("{} must set securityContext.allowPrivilegeEscalation=false", named("container", &names)),
    })
}
