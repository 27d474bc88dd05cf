//! Settings of the kernel may be changed where that touches nobody else. More of them do so with every few releases.

use super::{Check, Judged, Level, Violation};

/// What may be set, each with the minor release from which on it may.
const ALLOWED: [(u64, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

pub(super) const CHECK: Check = Check {
    id: "sysctls",
    level: Level::Baseline,
    forms: &[
        (0, |subject| judge(subject, 0)),
        (27, |subject| judge(subject, 27)),
        (29, |subject| judge(subject, 29)),
        (32, |subject| judge(subject, 32)),
    ],
    replaces: None,
};

fn judge(subject: Judged<'_>, minor: u64) -> Option<Violation> {
    let is_allowed = |name: &str| ALLOWED.iter().any(|(since, allowed)| *since <= minor && *allowed == name);
    let set = subject.spec.security_context()?.sysctls().iter().map(|sysctl| sysctl.name());
    let bad: Vec<&str> = set.filter(|name| !is_allowed(name)).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}
