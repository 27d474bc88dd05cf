//! Every capability must be dropped, and none taken back but that of binding a low port. Windows has none, which is known from 1.25 on.

use super::words::{Values, named, quoted};
use super::{Check, Judged, Level, Violation, capabilities_baseline};

const ALL: &str = "ALL";
const NET_BIND_SERVICE: &str = "NET_BIND_SERVICE";

pub(super) const CHECK: Check = Check {
    id: "capabilities_restricted",
    level: Level::Restricted,
    forms: &[(22, judge), (25, |subject| if subject.is_windows() { None } else { judge(subject) })],
    replaces: Some(capabilities_baseline::CHECK.id),
};

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let (mut keeping, mut adding, mut values) = (Vec::new(), Vec::new(), Values::new());
    for container in subject.containers {
        let Some(capabilities) = container.security.and_then(|security| security.capabilities()) else {
            keeping.push(container.name);
            continue;
        };
        if !capabilities.drop().iter().any(|name| name == ALL) {
            keeping.push(container.name);
        }
        let mut bad = capabilities.add().iter().filter(|name| *name != NET_BIND_SERVICE).peekable();
        if bad.peek().is_some() {
            adding.push(container.name);
            values.extend(bad);
        }
    }
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named("container", &keeping)));
    }
    if !adding.is_empty() {
        let who = named("container", &adding);
        details.push(format!("{who} must not include {} in securityContext.capabilities.add", quoted(values)));
    }
    (!details.is_empty()).then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}
