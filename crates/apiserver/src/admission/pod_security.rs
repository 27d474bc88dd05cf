//! PodSecurity: what pods in a namespace may ask of their node, by its labels (upstream: `plugin/pkg/admission/security/podsecurity`,
//! KEP-2579).
//!
//! Pods that break what is enforced are refused. Pods, and workloads by their template, that break what is warned of or recorded pass with
//! a warning or an annotation of the audit event. A namespace whose labels change is told of the pods in it that would not pass any more.
//!
//! A24: under the locked profile a namespace without labels enforces `baseline`, and warns and records at `restricted`; the namespaces of
//! the system are exempt. Upstream enforces nothing there.

mod configuration;
mod existing;
#[cfg(test)]
mod tests;

use portcullis_gate::Profile;
use portcullis_kinds::pod_security::{LABELS, Level, Policy, Standard, Subject, details, evaluate};
use portcullis_kinds::views;
use portcullis_kinds::views::apps_v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use portcullis_kinds::views::batch_v1::{CronJob, Job};
use portcullis_kinds::views::core_v1::{Namespace, Pod, PodTemplate, ReplicationController};
use portcullis_model::go_text::quoted;
use portcullis_model::status::{FieldError, Status, aggregate};
use portcullis_model::tree::Tree;
use portcullis_store::Entry;

use super::stored::{self, NAMESPACES};
use super::{Attempt, Given, Operation, Pass, Plugin, PluginFault};
use crate::answer::Failure;
use crate::registry::Served;

use configuration::Configuration;

/// Doors to a pod behind which it is not changed by who comes. Whoever adds one that is not listed here is judged.
const HARMLESS_DOORS: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// How annotations begin that policies of versions before 1.19 go by; unlike the fields, they may change.
const SECCOMP_ANNOTATIONS: [&str; 2] =
    ["seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"];
/// What pods come from, with the place of their template.
const WORKLOADS: [(&str, &str); 8] = [
    ("", "replicationcontrollers"),
    ("", "podtemplates"),
    ("apps", "replicasets"),
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
];

/// Annotations of audit events.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const ERROR: &str = "pod-security.kubernetes.io/error";

/// The plugin.
pub struct PodSecurity {
    configuration: Configuration,
}

impl PodSecurity {
    /// Makes it of what its operator says.
    ///
    /// # Errors
    /// That is no PodSecurityConfiguration, or one that makes no sense.
    pub fn configured(given: Given<'_>) -> Result<Box<dyn Plugin>, PluginFault> {
        Ok(Box::new(PodSecurity { configuration: Configuration::read(given.configuration)? }))
    }
}

impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        let is_kind = served.is("", "pods") || served.is(NAMESPACES.0, NAMESPACES.1) || is_workload(served);
        is_kind && matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let Some(object) = attempt.new() else { return Pass::on() };
        let door = attempt.subresource();
        // What comes through another door is no object of the resource's type: a scale has no pods to judge.
        if object.object_type(object.root()) != Some(attempt.served().resource.type_id) {
            return Pass::on();
        }
        if attempt.is_of(NAMESPACES.0, NAMESPACES.1) {
            return if door.is_empty() { self.judge_namespace(attempt, object) } else { Pass::on() };
        }
        let is_pod = attempt.is_of("", "pods");
        if is_pod && HARMLESS_DOORS.contains(&door) || !is_pod && !door.is_empty() {
            return Pass::on();
        }
        let profile = attempt.server.config.profile;
        let exemption = match () {
            () if self.configuration.exempts_namespace(profile, attempt.namespace()) => Some("namespace"),
            () if self.configuration.exempts_user(&attempt.identity().name) => Some("user"),
            () => None,
        };
        if let Some(exemption) = exemption {
            attempt.annotate(EXEMPT, exemption);
            return Pass::on();
        }
        match stored::namespace(attempt, attempt.snapshot) {
            Ok(namespace) => Pass::Now(self.judge(attempt, object, namespace)),
            // It may have been made since this write began.
            Err(_) => Pass::Later(Box::pin(async move {
                let newest = attempt.server.newest().await?;
                match stored::namespace(attempt, &newest) {
                    Ok(namespace) => self.judge(attempt, object, namespace),
                    Err(_) => missing_namespace(attempt, is_pod),
                }
            })),
        }
    }
}

fn is_workload(served: &Served) -> bool {
    WORKLOADS.iter().any(|(group, resource)| served.is(group, resource))
}

/// A workload may pass, for its pods will not.
fn missing_namespace(attempt: &Attempt<'_>, is_pod: bool) -> Result<(), Failure> {
    let what = format!("failed to lookup namespace {}", quoted(attempt.namespace()));
    if is_pod {
        return Err(Box::new(Status::internal_error(&what)));
    }
    attempt.annotate(ERROR, what);
    Ok(())
}

/// Returns the pods that come of an object.
fn subject<'t>(served: &Served, object: &'t Tree) -> Option<Subject<'t>> {
    Some(Subject::of_template(match (served.resource.group, served.resource.name) {
        ("", "pods") => return Some(Subject::of_pod(views::read::<Pod<'_>>(object))),
        ("", "replicationcontrollers") => views::read::<ReplicationController<'_>>(object).spec().template()?,
        ("", "podtemplates") => views::read::<PodTemplate<'_>>(object).template(),
        ("apps", "replicasets") => views::read::<ReplicaSet<'_>>(object).spec().template(),
        ("apps", "deployments") => views::read::<Deployment<'_>>(object).spec().template(),
        ("apps", "statefulsets") => views::read::<StatefulSet<'_>>(object).spec().template(),
        ("apps", "daemonsets") => views::read::<DaemonSet<'_>>(object).spec().template(),
        ("batch", "jobs") => views::read::<Job<'_>>(object).spec().template(),
        ("batch", "cronjobs") => views::read::<CronJob<'_>>(object).spec().job_template().spec().template(),
        _ => return None,
    }))
}

/// Whether an update can make a pod better or worse: by another container or another image, or by what older versions know of seccomp.
fn is_significant(new: Pod<'_>, old: Pod<'_>) -> bool {
    if seccomp_annotations(new).ne(seccomp_annotations(old)) {
        return true;
    }
    let (new, old) = (new.spec(), old.spec());
    let (containers, old_containers) = (new.containers(), old.containers());
    let (firsts, old_firsts) = (new.init_containers(), old.init_containers());
    if containers.len() != old_containers.len() || firsts.len() != old_firsts.len() {
        return true;
    }
    let pairs = containers.iter().zip(old_containers.iter()).chain(firsts.iter().zip(old_firsts.iter()));
    let mut changed = pairs.filter(|(new, old)| new.image() != old.image());
    changed.next().is_some()
        || new.ephemeral_containers().iter().any(|new| {
            let held = old.ephemeral_containers().iter().find(|old| old.name() == new.name());
            held.is_none_or(|held| held.image() != new.image())
        })
}

fn seccomp_annotations<'t>(pod: Pod<'t>) -> impl Iterator<Item = (&'t str, &'t str)> {
    let all = pod.metadata().annotations().iter();
    all.filter(|(key, _)| SECCOMP_ANNOTATIONS.iter().any(|begins| key.starts_with(begins)))
}

impl PodSecurity {
    /// Judges a pod or a workload by the labels of its namespace.
    fn judge(&self, attempt: &Attempt<'_>, object: &Tree, namespace: &Entry) -> Result<(), Failure> {
        let is_pod = attempt.is_of("", "pods");
        let defaults = self.configuration.defaults(attempt.server.config.profile);
        let (policy, errors) = Policy::of_labels(|label| namespace.label(label), defaults);
        if errors.is_empty() && policy.is_privileged() {
            if is_pod {
                attempt.annotate(ENFORCED, Policy::PRIVILEGED.enforce.to_string());
            }
            return Ok(());
        }
        let passes_anyway = [policy.audit, policy.warn].iter().all(|standard| standard.level == Level::Privileged);
        if !is_pod && errors.is_empty() && passes_anyway {
            return Ok(());
        }
        if let (true, Operation::Update, Some(old)) = (is_pod, attempt.operation, attempt.old)
            && !is_significant(views::read(object), views::read(old))
        {
            return Ok(());
        }
        let Some(subject) = subject(attempt.served(), object) else { return Ok(()) };
        if subject.spec.runtime_class_name().is_some_and(|name| self.configuration.exempts_runtime_class(name)) {
            attempt.annotate(EXEMPT, "runtimeClass");
            return Ok(());
        }
        if !errors.is_empty() {
            attempt.annotate(ERROR, format!("Failed to parse policy: {}", aggregate(&errors)));
        }
        apply(attempt, policy, subject, is_pod)
    }

    /// Refuses labels that mean nothing, and warns of pods that do not fit what the new ones enforce.
    fn judge_namespace<'a>(&'a self, attempt: &'a Attempt<'_>, object: &'a Tree) -> Pass<'a> {
        let profile = attempt.server.config.profile;
        let defaults = self.configuration.defaults(profile);
        let namespace: Namespace<'a> = views::read(object);
        let read =
            |namespace: Namespace<'a>| Policy::of_labels(|label| namespace.metadata().labels().get(label), defaults);
        let (policy, errors) = read(namespace);
        let is_exempt = self.configuration.exempts_namespace(profile, attempt.name);
        let Some(old) = attempt.old else {
            if !errors.is_empty() {
                return Pass::Now(Err(invalid(attempt, &errors)));
            }
            if is_exempt {
                warn_exempt(attempt, namespace, policy, defaults);
            }
            return Pass::on();
        };
        let (old_policy, old_errors) = read(views::read(old));
        if !errors.is_empty() && errors != old_errors {
            return Pass::Now(Err(invalid(attempt, &errors)));
        }
        let (new, old) = (policy.enforce, old_policy.enforce);
        let is_looser = new.version == old.version && new.level <= old.level;
        if new.level == Level::Privileged || is_looser {
            return Pass::on();
        }
        if is_exempt {
            warn_exempt(attempt, namespace, policy, defaults);
            return Pass::on();
        }
        Pass::Later(Box::pin(async move {
            for warning in existing::warnings(attempt, new, &self.configuration).await {
                attempt.warn(warning);
            }
            Ok(())
        }))
    }
}

fn invalid(attempt: &Attempt<'_>, errors: &[FieldError]) -> Failure {
    Box::new(Status::invalid("", "Namespace", attempt.name, errors))
}

/// Says that labels have no effect.
fn warn_exempt(attempt: &Attempt<'_>, namespace: Namespace<'_>, policy: Policy, defaults: Policy) {
    if policy.is_privileged() || policy == defaults {
        return;
    }
    let labels = namespace.metadata().labels();
    let standards = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
    let said = LABELS.iter().zip(standards).filter(|(of_mode, (_, standard))| {
        standard.level != Level::Privileged && of_mode.iter().any(|label| labels.get(label).is_some())
    });
    let said: Vec<String> = said.map(|(_, (mode, standard))| format!("{mode}={standard}")).collect();
    let name = quoted(attempt.name);
    let said = said.join(", ");
    attempt.warn(format!("namespace {name} is exempt from Pod Security, and the policy ({said}) will be ignored"));
}

/// Evaluations of one subject: two modes often share a standard.
struct Evaluations<'t> {
    subject: Subject<'t>,
    done: Vec<(Standard, Option<String>)>,
}

impl Evaluations<'_> {
    /// Returns what a standard has against the subject, in one line; none for nothing.
    fn complaint(&mut self, standard: Standard) -> Option<&str> {
        if !self.done.iter().any(|(known, _)| *known == standard) {
            let violations = evaluate(standard, self.subject);
            let line = || format!("violate PodSecurity {}: {}", quoted(&standard.to_string()), details(&violations));
            self.done.push((standard, (!violations.is_empty()).then(line)));
        }
        let (_, complaint) = self.done.iter().find(|(known, _)| *known == standard)?;
        complaint.as_deref()
    }
}

/// Refuses, records and warns.
fn apply(attempt: &Attempt<'_>, policy: Policy, subject: Subject<'_>, enforces: bool) -> Result<(), Failure> {
    let mut evaluations = Evaluations { subject, done: Vec::new() };
    let mut refused = Ok(());
    if enforces {
        attempt.annotate(ENFORCED, policy.enforce.to_string());
        if let Some(complaint) = evaluations.complaint(policy.enforce) {
            let why = complaint.replacen("violate", "violates", 1);
            refused = Err(attempt.forbidden(&why));
        }
    }
    if let Some(complaint) = evaluations.complaint(policy.audit) {
        attempt.annotate(VIOLATIONS, format!("would {complaint}"));
    }
    // Whoever is refused needs no warning.
    if refused.is_ok()
        && let Some(complaint) = evaluations.complaint(policy.warn)
    {
        attempt.warn(format!("would {complaint}"));
    }
    refused
}

/// Namespaces that a cluster runs itself in: exempt where the operator says nothing and the profile is the locked one.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// What holds where neither the operator nor a label says anything.
fn builtin_defaults(profile: Profile) -> Policy {
    match profile {
        Profile::Upstream => Policy::PRIVILEGED,
        Profile::Locked => Policy {
            enforce: Standard::latest(Level::Baseline),
            audit: Standard::latest(Level::Restricted),
            warn: Standard::latest(Level::Restricted),
        },
    }
}
