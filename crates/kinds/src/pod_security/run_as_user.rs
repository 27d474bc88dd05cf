//! No container may run as user 0. From 1.35 on that one is nobody in a pod that has users of its own (KEP-127).

use super::words::setters;
use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check = Check {
    id: "runAsUser",
    level: Level::Restricted,
    forms: &[(23, judge), (35, |subject| if subject.has_own_users() { None } else { judge(subject) })],
    replaces: None,
};

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let names = subject.saying(|security| security.run_as_user() == Some(0));
    let who = setters(subject.itself_says(|security| security.run_as_user() == Some(0)), &names)?;
    Some(Violation { reason: "runAsUser=0", detail: format!("{who} must not set runAsUser=0") })
}
