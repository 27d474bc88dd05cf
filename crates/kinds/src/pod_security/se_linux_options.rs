//! SELinux may be told which of the types for containers to use, and neither a user nor a role. From 1.31 on there is one type more.

use super::words::{Values, plural, quoted, setters};
use super::{Check, Judged, Level, Violation};
use crate::views::core_v1::SELinuxOptions;

/// What the type may be besides nothing.
const TYPES: [&str; 3] = ["container_t", "container_init_t", "container_kvm_t"];
/// The type that came later.
const ENGINE: &str = "container_engine_t";

pub(super) const CHECK: Check = Check {
    id: "seLinuxOptions",
    level: Level::Baseline,
    forms: &[
        (0, |subject| judge(subject, |name| TYPES.contains(&name))),
        (31, |subject| judge(subject, |name| TYPES.contains(&name) || name == ENGINE)),
    ],
    replaces: None,
};

fn judge(subject: Judged<'_>, is_allowed: impl Fn(&str) -> bool) -> Option<Violation> {
    let (mut types, mut sets_user, mut sets_role) = (Values::new(), false, false);
    let mut is_bad = |options: Option<SELinuxOptions<'_>>| {
        let Some(options) = options else { return false };
        let has_bad_type = !options.type_().is_empty() && !is_allowed(options.type_());
        let (has_user, has_role) = (!options.user().is_empty(), !options.role().is_empty());
        (sets_user, sets_role) = (sets_user || has_user, sets_role || has_role);
        has_bad_type || has_user || has_role
    };
    let of_pod = subject.spec.security_context().and_then(|security| security.se_linux_options());
    let is_pod_bad = is_bad(of_pod);
    let mut names = Vec::new();
    for container in subject.containers {
        if is_bad(container.security.and_then(|security| security.se_linux_options())) {
            names.push(container.name);
        }
    }
    let who = setters(is_pod_bad, &names)?;
    let of_containers = subject.containers.iter().filter_map(|container| container.security?.se_linux_options());
    let all = of_pod.into_iter().chain(of_containers).map(|options| options.type_());
    types.extend(all.filter(|name| !name.is_empty() && !is_allowed(name)));
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", types.len()), quoted(types)));
    }
    if sets_user {
        what.push("user may not be set".to_owned());
    }
    if sets_role {
        what.push("role may not be set".to_owned());
    }
    Some(Violation {
        reason: "seLinuxOptions",
        detail: format!("{who} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")),
    })
}
