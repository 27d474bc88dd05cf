//! No capability may be added beyond those that a container runtime gives anyway.

use super::words::{Values, named, quoted};
use super::{Check, Judged, Level, Violation};

/// What may be added.
const ALLOWED: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub(super) const CHECK: Check =
    Check { id: "capabilities_baseline", level: Level::Baseline, forms: &[(0, judge)], replaces: None };

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let (mut names, mut values) = (Vec::new(), Values::new());
    for container in subject.containers {
        let Some(capabilities) = container.security.and_then(|security| security.capabilities()) else { continue };
        let mut bad = capabilities.add().iter().filter(|name| !ALLOWED.contains(name)).peekable();
        if bad.peek().is_some() {
            names.push(container.name);
            values.extend(bad);
        }
    }
    (!names.is_empty()).then(|| Violation {
        reason: "non-default capabilities",
        detail: format!(
            "{} must not include {} in securityContext.capabilities.add",
            named("container", &names),
            quoted(values)
        ),
    })
}
