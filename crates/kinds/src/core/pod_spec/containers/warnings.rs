//! What the client of a pod or a template is told about its containers (upstream: the two visits of containers in
//! `warningsForPodSpecAndMeta`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use portcullis_model::quantity::Quantity;

use super::super::Context;
use crate::strategy::WARNINGS_MAX;
use crate::views::core_v1::{Container, ContainerPort, PodSpec};
use crate::vocabulary::Path;

/// Before the container's name in annotations that were once profiles.
const SECCOMP_ANNOTATION: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const OLD_PROFILES: [&str; 2] = [SECCOMP_ANNOTATION, APP_ARMOR_ANNOTATION];

/// Each container by itself, then the ports of all. `at` is where the spec stands, `metadata` where the metadata beside it does.
pub fn warn(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, metadata: &Path<'_>, warnings: &mut Vec<String>) {
    // Names of annotations are only made where one may be there.
    let has_old_profiles =
        context.annotations.iter().any(|(key, _)| OLD_PROFILES.iter().any(|begin| key.starts_with(begin)));
    let pod_has_app_armor = spec.security_context().is_some_and(|pod| pod.app_armor_profile().is_some());
    for (list, index, container) in super::all(spec) {
        if has_old_profiles {
            warn_of_annotations(container, context, pod_has_app_armor, metadata, warnings);
        }
        let list = at.field(list);
        let at = list.index(index);
        for resource in ["memory", "ephemeral-storage"] {
            let requirements = container.resources();
            for (part, amounts) in [("limits", requirements.limits()), ("requests", requirements.requests())] {
                let resources = at.field("resources");
                warn_of_fraction(amounts.get(resource), &resources.field(part).key(resource), warnings);
            }
        }
        warn_of_env(container, &at.field("env"), warnings);
    }
    warn_of_ports(spec, at, warnings);
}

/// Annotations that fields have replaced.
fn warn_of_annotations(
    container: Container<'_>,
    context: Context<'_>,
    pod_has_app_armor: bool,
    metadata: &Path<'_>,
    warnings: &mut Vec<String>,
) {
    let security = container.security_context();
    let annotations = metadata.field("annotations");
    let key = format!("{SECCOMP_ANNOTATION}{}", container.name());
    if security.is_none_or(|context| context.seccomp_profile().is_none()) && context.annotations.get(&key).is_some() {
        let at = annotations.key(&key);
        warnings.push(format!(r#"{at}: non-functional in v1.27+; use the "seccompProfile" field instead"#));
    }
    // A pod's annotation is turned into the field, and the pod's strategy says so.
    let has_app_armor = pod_has_app_armor || security.is_some_and(|context| context.app_armor_profile().is_some());
    let key = format!("{APP_ARMOR_ANNOTATION}{}", container.name());
    if context.is_template && !has_app_armor && context.annotations.get(&key).is_some() {
        let at = annotations.key(&key);
        warnings.push(format!(r#"{at}: deprecated since v1.30; use the "appArmorProfile" field instead"#));
    }
}

/// There is no part of a byte.
pub fn warn_of_fraction(amount: Option<&str>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let Some(Ok(amount)) = amount.map(Quantity::parse) else { return };
    if amount.milli_value() % 1000 != 0 {
        warnings.push(format!(r#"{at}: fractional byte value "{amount}" is invalid, must be an integer"#));
    }
}

/// A variable that is defined a second time, unless the second builds upon the first.
fn warn_of_env(container: Container<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let list = container.env();
    if list.len() < 2 {
        return;
    }
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, variable) in list.iter().enumerate() {
        let name = variable.name();
        let hides = values.get(name).is_some_and(|_| !refers_to(variable.value(), name));
        if hides {
            let at = at.index(index);
            let mut text = format!("{at}: hides previous definition of ");
            // Writing to a string does not fail.
            let _ = write!(text, "{name:?}, which may be dropped when using apply");
            warnings.push(text);
        }
        values.insert(name, variable.value());
    }
}

/// Whether the text contains `$(NAME)`.
fn refers_to(value: &str, name: &str) -> bool {
    value.match_indices("$(").any(|(at, open)| {
        let rest = value.get(at + open.len()..).unwrap_or_default();
        rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(')'))
    })
}

/// Where a port was, and what it was.
struct Seen<'a> {
    list: &'static str,
    container: usize,
    port: usize,
    view: ContainerPort<'a>,
}

/// Most ports of one number and protocol that a further one is compared with: who has more is not helped by more warnings.
const COMPARED_MAX: usize = 32;

/// Ports that are the same port of the pod, in all its containers.
fn warn_of_ports(spec: PodSpec<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let mut seen: BTreeMap<(i32, &str), Vec<Seen<'_>>> = BTreeMap::new();
    for (list, container, view) in super::all(spec) {
        // Ports of many containers can collide with each other more often than anybody is told.
        if warnings.len() >= WARNINGS_MAX {
            return;
        }
        for (number, port) in view.ports().iter().enumerate() {
            let list_at = at.field(list);
            let container_at = list_at.index(container);
            let ports_at = container_at.field("ports");
            let port_at = ports_at.index(number);
            if !port.host_ip().is_empty() && port.host_port() == 0 {
                warnings.push(format!("{port_at}: hostIP set without hostPort: {}", struct_text(port)));
            }
            let others = seen.entry((port.container_port(), port.protocol())).or_default();
            for other in others.iter().take(COMPARED_MAX) {
                let Some(how) = collision(port, other.view) else { continue };
                let list_at = at.field(other.list);
                let container_at = list_at.index(other.container);
                let ports_at = container_at.field("ports");
                warnings.push(format!("{port_at}: {how} port definition with {}", ports_at.index(other.port)));
            }
            others.push(Seen { list, container, port: number, view: port });
        }
    }
}

/// How two ports of one number and protocol collide.
fn collision(port: ContainerPort<'_>, other: ContainerPort<'_>) -> Option<&'static str> {
    if port.host_ip() == other.host_ip() && port.host_port() == other.host_port() {
        Some("duplicate")
    } else if port.host_port() == 0 || other.host_port() == 0 {
        Some("overlapping")
    } else if port.host_port() == other.host_port() && port.host_ip().is_empty() != other.host_ip().is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

/// The port as upstream prints a struct.
fn struct_text(port: ContainerPort<'_>) -> String {
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        port.name(),
        port.host_port(),
        port.container_port(),
        port.protocol(),
        port.host_ip()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_builds_upon_itself_hides_nothing() {
        let check = |value: &str, expected: bool| assert_eq!(refers_to(value, "PATH"), expected, "{value}");
        check("$(PATH):/opt", true);
        check("/opt:$(OTHER)$(PATH)", true);
        for value in ["", "/opt", "$PATH", "$(PATHS)", "$(PATH", "$("] {
            check(value, false);
        }
    }
}
