//! What is wrong with a pod (upstream: `ValidatePodCreate`, `validatePodMetadataAndSpec`).

use super::app_armor;
use crate::core::pod_spec::{self, Context, containers};
use crate::views::core_v1::{Pod, PodSpec};
use crate::vocabulary::{Errors, Path};

/// What is wrong with a new pod.
pub fn create(pod: Pod<'_>, errors: &mut Errors) {
    all(pod, None, errors);
    let (spec, at) = (pod.spec(), Path::new("spec"));
    if !spec.ephemeral_containers().is_empty() {
        errors.forbidden(&at.field("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.node_name().is_empty() && !spec.scheduling_gates().is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        errors.forbidden(&at.field("nodeName"), why);
    }
    pod_spec::annotations::seccomp_agrees(spec, Context::of_pod(pod, None), &at, errors);
    app_armor::validate_agreement(pod, errors);
}

/// What is wrong with any pod, new or not.
pub fn all(pod: Pod<'_>, old: Option<Pod<'_>>, errors: &mut Errors) {
    let (spec, at, context) = (pod.spec(), Path::new("spec"), Context::of_pod(pod, old));
    pod_spec::annotations::validate(spec, context, &Path::new("metadata").field("annotations"), errors);
    pod_spec::validate(spec, context, &at, errors);
    tokens_have_an_account(spec, &at, errors);
    containers::validate_only_for_pod(spec, &at, errors);
}

/// Only who has a service account has its token.
fn tokens_have_an_account(spec: PodSpec<'_>, at: &Path<'_>, errors: &mut Errors) {
    if !spec.service_account_name().is_empty() {
        return;
    }
    for (index, volume) in spec.volumes().iter().enumerate() {
        let Some(projected) = volume.projected() else { continue };
        for (source, _) in
            projected.sources().iter().enumerate().filter(|(_, one)| one.service_account_token().is_some())
        {
            let (at, why) = (at.field("volumes"), "must not be specified when serviceAccountName is not set");
            let at = at.index(index);
            let at = at.field("projected.sources");
            errors.forbidden(&at.index(source).field("serviceAccountToken"), why);
        }
    }
}
