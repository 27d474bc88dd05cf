//! What a pod runs, alone or in a template: defaults, checks and warnings that `Pod` and every kind with a template share (upstream:
//! `ValidatePodSpec`, `ValidatePodTemplateSpec`, `SetDefaults_PodSpec`, `api/pod`).
//!
//! Reading order: this file, which walks a spec in upstream's order, then a file for each part of it.

pub mod containers;
pub mod scheduling;
pub mod volumes;

use crate::views::Map;
use crate::views::core_v1::{PodSpec, PodSpecEdit, PodTemplateSpec, PodTemplateSpecEdit};
use crate::vocabulary::{Errors, Path};

/// What depends on where a spec stands.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Labels of the pod or of the template's pods.
    pub labels: Map<'a, &'a str>,
    /// Annotations of the pod or of the template's pods.
    pub annotations: Map<'a, &'a str>,
    /// What the stored object has in this place already: what upstream tolerates because it was let in once (`PodValidationOptions`) is
    /// tolerated for it alone. None for a new object.
    pub old: Option<PodSpec<'a>>,
    /// Whether it is a template, not a pod.
    pub is_template: bool,
}

/// Gives a spec what depends on other fields of it.
pub fn default(spec: PodSpecEdit<'_>) {
    let _ = spec;
}

/// Gives a template what depends on other fields of it.
pub fn default_template(mut template: PodTemplateSpecEdit<'_>) {
    default(template.spec_mut());
}

/// What is wrong with a spec. `at` is where it stands.
pub fn validate(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let _ = (spec, context, at, errors);
}

/// What is wrong with a template: labels, annotations and spec. `old` is the stored one.
pub fn validate_template(
    template: PodTemplateSpec<'_>,
    old: Option<PodTemplateSpec<'_>>,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    let context = Context {
        labels: template.metadata().labels(),
        annotations: template.metadata().annotations(),
        old: old.map(PodTemplateSpec::spec),
        is_template: true,
    };
    validate(template.spec(), context, &at.field("spec"), errors);
}

/// What the client of a pod or template that is taken should be told. `at` is where the spec stands.
pub fn warn(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, warnings: &mut Vec<String>) {
    let _ = (spec, context, at, warnings);
}

/// What the client of a template that is taken should be told (upstream: `GetWarningsForPodTemplate`).
pub fn warn_template(
    template: PodTemplateSpec<'_>,
    old: Option<PodTemplateSpec<'_>>,
    at: &Path<'_>,
    warnings: &mut Vec<String>,
) {
    let context = Context {
        labels: template.metadata().labels(),
        annotations: template.metadata().annotations(),
        old: old.map(PodTemplateSpec::spec),
        is_template: true,
    };
    warn(template.spec(), context, &at.field("spec"), warnings);
}
