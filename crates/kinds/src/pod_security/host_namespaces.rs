//! A pod may not see the network, the processes or the shared memory of its node.

use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check =
    Check { id: "hostNamespaces", level: Level::Baseline, forms: &[(0, judge)], replaces: None };

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let spec = subject.spec;
    let all = [
        (spec.host_network(), "hostNetwork=true"),
        (spec.host_pid(), "hostPID=true"),
        (spec.host_ipc(), "hostIPC=true"),
    ];
    let used: Vec<&str> = all.into_iter().filter(|(is_used, _)| *is_used).map(|(_, name)| name).collect();
    (!used.is_empty()).then(|| Violation { reason: "host namespaces", detail: used.join(", ") })
}
