//! What a runtime hides of `/proc` must stay hidden. From 1.35 on the baseline lets a pod see it that has users of its own (KEP-4265),
//! which the restricted level does not.

use super::words::{Values, named, quoted};
use super::{Check, Judged, Level, Violation};

pub(super) const BASELINE: Check = Check {
    id: "procMount",
    level: Level::Baseline,
    forms: &[(0, judge), (35, |subject| if subject.has_own_users() { None } else { judge(subject) })],
    replaces: None,
};

pub(super) const RESTRICTED: Check =
    Check { id: "procMount_restricted", level: Level::Restricted, forms: &[(35, judge)], replaces: Some(BASELINE.id) };

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let (mut names, mut values) = (Vec::new(), Values::new());
    for container in subject.containers {
        let mount = container.security.and_then(|security| security.proc_mount());
        if let Some(mount) = mount.filter(|mount| *mount != "Default") {
            names.push(container.name);
            values.insert(mount);
        }
    }
    (!names.is_empty()).then(|| Violation {
        reason: "procMount",
        detail: format!("{} must not set securityContext.procMount to {}", named("container", &names), quoted(values)),
    })
}
