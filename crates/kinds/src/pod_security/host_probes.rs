//! Probes and lifecycle hooks may only be sent to the pod itself: the kubelet sends them, so that another host would be reached with the
//! node's own address. From 1.34 on (KEP-4940).

use super::words::{Values, Visited, named, plural, quoted};
use super::{Check, Judged, Level, Violation};

pub(super) const CHECK: Check =
    Check { id: "hostProbesAndHostLifecycle", level: Level::Baseline, forms: &[(34, judge)], replaces: None };

fn judge(subject: Judged<'_>) -> Option<Violation> {
    let (mut names, mut values) = (Values::new(), Values::new());
    for container in subject.containers {
        let mut hosts = hosts(*container).peekable();
        if hosts.peek().is_some() {
            names.insert(container.name);
            values.extend(hosts);
        }
    }
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| Violation {
        reason: "probe or lifecycle host",
        detail: format!(
            "{} {} {} {}",
            named("container", &names),
            if names.len() == 1 { "uses" } else { "use" },
            plural("probe or lifecycle host", values.len()),
            quoted(values)
        ),
    })
}

/// Returns the hosts that a container has asked.
fn hosts(container: Visited<'_>) -> impl Iterator<Item = &str> {
    let probes = container.probes().into_iter().flatten().flat_map(|probe| {
        [probe.http_get().map(|action| action.host()), probe.tcp_socket().map(|action| action.host())]
    });
    let hooks = container.lifecycle().into_iter().flat_map(|lifecycle| [lifecycle.post_start(), lifecycle.pre_stop()]);
    let hooks = hooks
        .flatten()
        .flat_map(|hook| [hook.http_get().map(|action| action.host()), hook.tcp_socket().map(|action| action.host())]);
    probes.chain(hooks).flatten().filter(|host| !host.is_empty())
}
