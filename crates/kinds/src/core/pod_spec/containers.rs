//! Containers: regular, init and ephemeral ones (upstream: `validateContainers`, `validateInitContainers`,
//! `validateEphemeralContainers`, `validateContainerCommon`; KEP-753 for sidecars, KEP-277 for ephemeral containers).
//!
//! Reading order: this file, which walks the three lists, then a file for each part of a container.

mod defaults;
pub mod env;
mod handlers;
mod mounts;
mod ports;
mod probes;
mod resources;
mod restart;
pub mod security_context;
mod systems;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use super::Context;
use crate::views::core_v1::{Container, EphemeralContainer, PodSpec, Volume};
use crate::views::{Field, View};
use crate::vocabulary::{Errors, Path};

pub use defaults::default;
pub use ports::validate_host_network;
pub use systems::{validate_linux, validate_windows};
pub use warnings::{warn, warn_of_fraction};

/// What is said of what an ephemeral container has and may not have.
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";
/// What is said of what only a container that keeps running may have.
const NOT_INIT: &str = "may not be set for init containers without restartPolicy=Always";
/// What an ephemeral container may not have, beside resources: nobody may rely on one.
const NOT_EPHEMERAL_BEFORE_RESOURCES: [Field; 1] = [Container::PORTS];
const NOT_EPHEMERAL_AFTER_RESOURCES: [Field; 7] = [
    Container::RESIZE_POLICY,
    Container::RESTART_POLICY,
    Container::RESTART_POLICY_RULES,
    Container::LIVENESS_PROBE,
    Container::READINESS_PROBE,
    Container::STARTUP_PROBE,
    Container::LIFECYCLE,
];

/// What the checks of containers ask of their pod.
struct Scope<'a> {
    spec: PodSpec<'a>,
    /// The volumes that are in order, by name; of two of one name only the first is.
    volumes: BTreeMap<&'a str, Volume<'a>>,
    /// Names of the pod's claims.
    claims: BTreeSet<&'a str>,
    old: Option<PodSpec<'a>>,
}

impl<'a> Scope<'a> {
    fn of(spec: PodSpec<'a>, context: Context<'a>) -> Scope<'a> {
        Scope {
            spec,
            volumes: context.volumes.iter().map(|volume| (volume.name(), *volume)).collect(),
            claims: spec.resource_claims().iter().map(|claim| claim.name()).filter(|name| !name.is_empty()).collect(),
            old: context.old,
        }
    }

    fn grace(&self) -> Option<i64> {
        self.spec.termination_grace_period_seconds()
    }

    /// Asked only when somebody splits one.
    fn may_split_huge_pages(&self) -> bool {
        self.old.is_some_and(resources::splits_huge_pages)
    }
}

/// Every container with the name of its list and its place there: init, regular, ephemeral ones, in this order.
pub fn all<'a>(spec: PodSpec<'a>) -> impl Iterator<Item = (&'static str, usize, Container<'a>)> {
    let of = |list| move |(index, container)| (list, index, container);
    let ephemeral = spec.ephemeral_containers().iter().map(as_container);
    spec.init_containers()
        .iter()
        .enumerate()
        .map(of("initContainers"))
        .chain(spec.containers().iter().enumerate().map(of("containers")))
        .chain(ephemeral.enumerate().map(of("ephemeralContainers")))
}

/// An ephemeral container has a container's fields under the same numbers, and one more.
fn as_container<'a>(container: EphemeralContainer<'a>) -> Container<'a> {
    Container::at(container.place())
}

/// What is wrong with the containers of a spec: regular, init, ephemeral ones, in this order. `at` is where the spec stands.
pub fn validate(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let scope = Scope::of(spec, context);
    validate_regular(&scope, &at.field("containers"), errors);
    validate_init(&scope, &at.field("initContainers"), errors);
    validate_ephemeral(&scope, &at.field("ephemeralContainers"), errors);
}

/// What is wrong with the resources of the pod as a whole. `at` is where the spec stands.
pub fn validate_pod_resources(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    if spec.resources().is_some() {
        resources::validate_pod(&Scope::of(spec, context), &at.field("resources"), errors);
    }
}

/// What only a pod's containers may not have, while a template's may (upstream: `validateContainersOnlyForPod`, after the whole spec).
pub fn validate_only_for_pod(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (list, containers) in [("containers", spec.containers()), ("initContainers", spec.init_containers())] {
        for (index, container) in containers.iter().enumerate() {
            image_is_trimmed(container, &at.field(list).index(index), errors);
        }
    }
}

fn image_is_trimmed(container: Container<'_>, at: &Path<'_>, errors: &mut Errors) {
    let image = container.image();
    if image.trim().len() != image.len() {
        errors.invalid(&at.field("image"), image, "must not have leading or trailing whitespace");
    }
}

fn validate_regular(scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    let containers = scope.spec.containers();
    if containers.is_empty() {
        return errors.required(at, "");
    }
    let mut names = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = at.index(index);
        validate_common(container, scope, &at, errors);
        if !names.insert(container.name()) {
            errors.duplicate(&at.field("name"), container.name());
        }
        validate_running(container, scope, &at, errors);
        restart::validate(container, &at, errors);
    }
    ports::host_ports_are_apart(containers.iter(), at, errors);
}

fn validate_init(scope: &Scope<'_>, list: &Path<'_>, errors: &mut Errors) {
    let containers = scope.spec.init_containers();
    if containers.is_empty() {
        return;
    }
    let mut names: BTreeSet<&str> = scope.spec.containers().iter().map(Container::name).collect();
    for (index, container) in containers.iter().enumerate() {
        let at = list.index(index);
        validate_common(container, scope, &at, errors);
        restart::validate(container, &at, errors);
        if names.contains(container.name()) {
            errors.duplicate(&at.field("name"), container.name());
        } else if !container.name().is_empty() {
            names.insert(container.name());
        }
        // One runs after the other, so each has the host's ports for itself; upstream then counts it as the first of its list.
        ports::host_ports_are_apart(std::iter::once(container), list, errors);
        if container.restart_policy() == Some("Always") {
            validate_running(container, scope, &at, errors);
            continue;
        }
        let running =
            [Container::LIFECYCLE, Container::LIVENESS_PROBE, Container::READINESS_PROBE, Container::STARTUP_PROBE];
        for field in running.into_iter().filter(|field| container.place().get(*field).is_present()) {
            errors.forbidden(&at.field(field.name()), NOT_INIT);
        }
    }
}

fn validate_ephemeral(scope: &Scope<'_>, list: &Path<'_>, errors: &mut Errors) {
    let containers = scope.spec.ephemeral_containers();
    if containers.is_empty() {
        return;
    }
    let lasting: BTreeSet<&str> =
        scope.spec.containers().iter().chain(scope.spec.init_containers().iter()).map(Container::name).collect();
    let mut names = BTreeSet::new();
    for (index, ephemeral) in containers.iter().enumerate() {
        let at = list.index(index);
        let container = as_container(ephemeral);
        validate_common(container, scope, &at, errors);
        image_is_trimmed(container, &at, errors);
        if lasting.contains(container.name()) || !names.insert(container.name()) {
            errors.duplicate(&at.field("name"), container.name());
        }
        let target = ephemeral.target_container_name();
        if !target.is_empty() && !lasting.contains(target) {
            errors.not_found(&at.field("targetContainerName"), target);
        }
        validate_not_relied_upon(container, &at, errors);
    }
}

/// Nothing of what makes a container one that others rely on, and nothing that outlives it on the node.
fn validate_not_relied_upon(container: Container<'_>, at: &Path<'_>, errors: &mut Errors) {
    let forbid = |fields: &[Field], errors: &mut Errors| {
        for field in fields.iter().filter(|field| container.place().get(**field).is_present()) {
            errors.forbidden(&at.field(field.name()), NOT_EPHEMERAL);
        }
    };
    forbid(&NOT_EPHEMERAL_BEFORE_RESOURCES, errors);
    let resources = container.resources().place();
    if resources.id().is_some_and(|node| resources.tree().children(node).next().is_some()) {
        errors.forbidden(&at.field("resources"), NOT_EPHEMERAL);
    }
    forbid(&NOT_EPHEMERAL_AFTER_RESOURCES, errors);
    let mounts = at.field("volumeMounts");
    for (index, mount) in container.volume_mounts().iter().enumerate() {
        for (name, value) in [("subPath", mount.sub_path()), ("subPathExpr", mount.sub_path_expr())] {
            if !value.is_empty() {
                errors.forbidden(&mounts.index(index).field(name), NOT_EPHEMERAL);
            }
        }
    }
}

/// What holds for a container of any list.
fn validate_common(container: Container<'_>, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    container.check_name(at, errors);
    container.check_image(at, errors);
    container.check_termination_message_policy(at, errors);
    ports::validate(container.ports(), &at.field("ports"), errors);
    env::validate(container.env(), scope, &at.field("env"), errors);
    env::validate_from(container.env_from(), &at.field("envFrom"), errors);
    mounts::validate(container, scope, at, errors);
    container.check_image_pull_policy(at, errors);
    resources::validate(container.resources(), scope, &at.field("resources"), errors);
    let restart_policy = scope.spec.restart_policy();
    resources::validate_resize_policy(container.resize_policy(), restart_policy, &at.field("resizePolicy"), errors);
    if let Some(context) = container.security_context() {
        let is_on_host_users = scope.spec.host_users().unwrap_or(true);
        security_context::validate(context, is_on_host_users, &at.field("securityContext"), errors);
    }
}

/// What a container has that keeps running: its life's events, and probes.
fn validate_running(container: Container<'_>, scope: &Scope<'_>, at: &Path<'_>, errors: &mut Errors) {
    if let Some(lifecycle) = container.lifecycle() {
        handlers::validate_lifecycle(lifecycle, scope.spec, &at.field("lifecycle"), errors);
    }
    let grace = scope.grace();
    probes::validate_liveness(container.liveness_probe(), grace, &at.field("livenessProbe"), errors);
    probes::validate_readiness(container.readiness_probe(), grace, &at.field("readinessProbe"), errors);
    // A container has started once.
    probes::validate_liveness(container.startup_probe(), grace, &at.field("startupProbe"), errors);
}
