//! No container may be as good as root on its node.

use super::words::named;
use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check =
    Check { id: "privileged", level: Level::Baseline, forms: &[(0, judge)], replaces: None };

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let names = subject.saying(|security| security.privileged() == Some(true));
    (!names.is_empty()).then(|| Violation {
        reason: "privileged",
        detail: format!("{} must not set securityContext.privileged=true", named("container", &names)),
    })
}
