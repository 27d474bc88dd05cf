//! A pod may not take ports of its node.

use std::collections::BTreeSet;

use super::words::{joined, named, plural};
use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check = Check { id: "hostPorts", level: Level::Baseline, forms: &[(0, judge)], replaces: None };

fn judge(subject: Judged<'_>) -> Option<Violation> {
    // Sorted as texts, as upstream does.
    let (mut names, mut ports) = (Vec::new(), BTreeSet::new());
    for container in subject.containers {
        let mut taken = container.ports().iter().map(|port| port.host_port()).filter(|port| *port != 0).peekable();
        if taken.peek().is_some() {
            names.push(container.name);
            ports.extend(taken.map(|port| port.to_string()));
        }
    }
    (!names.is_empty()).then(|| Violation {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            named("container", &names),
            if names.len() == 1 { "uses" } else { "use" },
            plural("hostPort", ports.len()),
            joined(&ports, ", ")
        ),
    })
}
