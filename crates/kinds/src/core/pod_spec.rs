//! What a pod runs, alone or in a template: defaults, checks and warnings that `Pod` and every kind with a template share (upstream:
//! `ValidatePodSpec`, `ValidatePodTemplateSpec`, `SetDefaults_PodSpec`, `api/pod`).
//!
//! Reading order: this file, which walks a spec in upstream's order, then a file for each part of it.

pub mod annotations;
pub mod cells;
pub mod claims;
pub mod containers;
pub mod naming;
pub mod scheduling;
pub mod security;
#[cfg(test)]
mod tests;
pub mod volumes;
pub mod warnings;

use crate::views::Map;
use crate::views::core_v1::{Pod, PodSpec, PodSpecEdit, PodTemplateSpec, PodTemplateSpecEdit, Volume};
use crate::vocabulary::{Errors, Path, amounts, labels, resource_names, tolerations};

/// How long containers have to end when they are told to.
const GRACE_SECONDS: i64 = 30;

/// What depends on where a spec stands.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The pod's name; empty for a template, and for a pod that has none yet.
    pub name: &'a str,
    /// Labels of the pod or of the template's pods.
    pub labels: Map<'a, &'a str>,
    /// Annotations of the pod or of the template's pods.
    pub annotations: Map<'a, &'a str>,
    /// What the stored object has in this place already: what upstream tolerates because it was let in once (`PodValidationOptions`) is
    /// tolerated for it alone. None for a new object.
    pub old: Option<PodSpec<'a>>,
    /// Annotations of the stored object in this place.
    pub old_annotations: Option<Map<'a, &'a str>>,
    /// Whether it is a template, not a pod.
    pub is_template: bool,
    /// The volumes of the spec that are in order, in the order of the spec: a mount of any other is of one that is not found. Filled in
    /// by [`validate`].
    pub volumes: &'a [Volume<'a>],
}

impl<'a> Context<'a> {
    /// That of a pod.
    #[must_use]
    pub fn of_pod(pod: Pod<'a>, old: Option<Pod<'a>>) -> Context<'a> {
        Context {
            name: pod.metadata().name(),
            labels: pod.metadata().labels(),
            annotations: pod.metadata().annotations(),
            old: old.map(Pod::spec),
            old_annotations: old.map(|old| old.metadata().annotations()),
            is_template: false,
            volumes: &[],
        }
    }

    /// That of a template.
    #[must_use]
    pub fn of_template(template: PodTemplateSpec<'a>, old: Option<PodTemplateSpec<'a>>) -> Context<'a> {
        Context {
            name: "",
            labels: template.metadata().labels(),
            annotations: template.metadata().annotations(),
            old: old.map(PodTemplateSpec::spec),
            old_annotations: old.map(|old| old.metadata().annotations()),
            is_template: true,
            volumes: &[],
        }
    }
}

/// Gives a spec what depends on other fields of it.
pub fn default(mut spec: PodSpecEdit<'_>) {
    if spec.view().dns_policy().is_empty() {
        spec.set_dns_policy("ClusterFirst");
    }
    if spec.view().restart_policy().is_empty() {
        spec.set_restart_policy("Always");
    }
    if spec.view().security_context().is_none() {
        spec.security_context_mut();
    }
    if spec.view().termination_grace_period_seconds().is_none() {
        spec.set_termination_grace_period_seconds(GRACE_SECONDS);
    }
    if spec.view().scheduler_name().is_empty() {
        spec.set_scheduler_name("default-scheduler");
    }
    agree_on_account(&mut spec);
    volumes::default(&mut spec);
    containers::default(&mut spec);
    let finer = amounts::finer(spec.view().overhead());
    if !finer.is_empty() {
        amounts::insert(spec.overhead_mut(), &finer);
    }
}

/// The account has two names: the one that counts is said under both (upstream: the conversion of v1 pod specs).
fn agree_on_account(spec: &mut PodSpecEdit<'_>) {
    let (name, old_name) = (spec.view().service_account_name(), spec.view().service_account());
    if name == old_name {
        return;
    }
    if name.is_empty() {
        let name = old_name.to_owned();
        spec.set_service_account_name(&name);
    } else {
        let name = name.to_owned();
        spec.set_service_account(&name);
    }
}

/// Gives a template what depends on other fields of it.
pub fn default_template(mut template: PodTemplateSpecEdit<'_>) {
    default(template.spec_mut());
}

/// What is wrong with a spec. `at` is where it stands.
pub fn validate(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let good = volumes::validate(spec, context, &at.field("volumes"), errors);
    let context = Context { volumes: &good, ..context };
    claims::validate(spec, context, &at.field("resourceClaims"), errors);
    containers::validate(spec, context, at, errors);
    containers::validate_pod_resources(spec, context, at, errors);
    containers::validate_host_network(spec, context, at, errors);
    spec.check_restart_policy(at, errors);
    spec.check_dns_policy(at, errors);
    labels::labels(spec.node_selector(), &at.field("nodeSelector"), errors);
    security::validate(spec, context, &at.field("securityContext"), errors);
    scheduling::affinity(spec, context, &at.field("affinity"), errors);
    naming::dns(spec, &at.field("dnsConfig"), errors);
    for (index, gate) in spec.readiness_gates().iter().enumerate() {
        gate.check_condition_type(&at.field("readinessGates").index(index), errors);
    }
    scheduling::gates(spec, &at.field("schedulingGates"), errors);
    scheduling::spread(spec, context, &at.field("topologySpreadConstraints"), errors);
    security::host_process(spec, at, errors);
    security::host_users(spec, at, errors);
    spec.check_service_account_name(at, errors);
    spec.check_node_name(at, errors);
    spec.check_active_deadline_seconds(at, errors);
    spec.check_hostname(at, errors);
    spec.check_subdomain(at, errors);
    naming::hostname_override(spec, at, errors);
    tolerations::tolerations(spec.tolerations(), &at.field("tolerations"), errors);
    naming::host_aliases(spec.host_aliases(), &at.field("hostAliases"), errors);
    spec.check_priority_class_name(at, errors);
    spec.check_runtime_class_name(at, errors);
    preemption_policy(spec, &at.field("preemptionPolicy"), errors);
    overhead(spec, &at.field("overhead"), errors);
    security::os(spec, at, errors);
}

fn preemption_policy(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    match spec.preemption_policy() {
        Some("") => errors.required(at, ""),
        Some("PreemptLowerPriority" | "Never") | None => {}
        Some(other) => errors.not_supported(at, other, &["PreemptLowerPriority", "Never"]),
    }
}

/// What running the pod takes beside its containers. Clients know the paths as those of limits.
fn overhead(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    for (name, amount) in spec.overhead().iter() {
        let limits = at.field("limits");
        let at = limits.key(name);
        resource_names::container_resource(name, &at, errors);
        resource_names::amount(name, amount, &at, errors);
    }
}

/// What is wrong with a template: labels, annotations and spec. `old` is the stored one.
pub fn validate_template(
    template: PodTemplateSpec<'_>,
    old: Option<PodTemplateSpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let (spec, context) = (template.spec(), Context::of_template(template, old));
    labels::labels(context.labels, &at.field("labels"), errors);
    labels::annotations(context.annotations, &at.field("annotations"), errors);
    annotations::validate(spec, context, &at.field("annotations"), errors);
    let at = at.field("spec");
    validate(spec, context, &at, errors);
    annotations::seccomp_agrees(spec, context, &at, errors);
    if !spec.ephemeral_containers().is_empty() {
        errors.forbidden(&at.field("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// What the client of a pod that is taken should be told. `at` is where the spec stands.
pub fn warn(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    tell(spec, context, at, &Path::new("metadata"), warnings);
}

/// What the client of a template that is taken should be told (upstream: `GetWarningsForPodTemplate`).
pub fn warn_template(
    template: PodTemplateSpec<'_>,
    old: Option<PodTemplateSpec<'_>>,
    at: &Path<'_>,
    warnings: &mut Vec<String>,
) {
    let context = Context::of_template(template, old);
    tell(template.spec(), context, &at.field("spec"), &at.field("metadata"), warnings);
}

fn tell(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, metadata: &Path<'_>, warnings: &mut Vec<String>) {
    warnings::before_containers(spec, context, at, metadata, warnings);
    containers::warn(spec, context, at, metadata, warnings);
    warnings::after_containers(spec, at, warnings);
}
