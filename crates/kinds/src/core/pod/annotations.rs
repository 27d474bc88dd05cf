//! Annotations that mean something to a pod, and therefore have rules (upstream: `ValidatePodSpecificAnnotations`,
//! `ValidatePodSpecificAnnotationUpdates`).

use portcullis_model::schema::{FieldValidation, decode_json};

use super::app_armor;
use crate::views;
use crate::views::Map;
use crate::views::core_v1::{Pod, PodSpec};
use crate::vocabulary::{Errors, Path, local_paths, tolerations};

/// Says that the pod mirrors one that a node runs by itself, from a file.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// How much is lost when the pod is the one that is deleted.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Tolerations, from before they were a field.
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// What is wrong with the annotations of a pod. What the stored pod has already may stay.
pub fn validate(pod: Pod<'_>, old: Option<Pod<'_>>, errors: &mut Errors) {
    let annotations = pod.metadata().annotations();
    if annotations.is_empty() {
        return;
    }
    let metadata = Path::new("metadata");
    let at = metadata.field("annotations");
    if let Some(value) = annotations.get(MIRROR)
        && pod.spec().node_name().is_empty()
    {
        errors.invalid(&at.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(text) = annotations.get(TOLERATIONS).filter(|text| !text.is_empty()) {
        validate_tolerations(text, &at, errors);
    }
    let is_cost = |pod: Pod<'_>| pod.metadata().annotations().get(DELETION_COST).is_none_or(is_cost);
    if !is_cost(pod) && old.is_none_or(is_cost) {
        let cost = annotations.get(DELETION_COST).unwrap_or_default();
        errors.invalid(&at.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    validate_seccomp(annotations, &at, errors);
    app_armor::validate_annotations(annotations, pod.spec(), &at, errors);
}

/// A 32 bit number, without a plus sign and without zeros before it.
fn is_cost(text: &str) -> bool {
    let begins_well = matches!(text.as_bytes(), [b'-' | b'1'..=b'9', ..] | [b'0']);
    begins_well && text.parse::<i32>().is_ok()
}

fn validate_tolerations(text: &str, at: &Path<'_>, errors: &mut Errors) {
    let spec = format!(r#"{{"tolerations":{text}}}"#).into_bytes();
    match decode_json::decode(crate::schema(), PodSpec::TYPE, spec, FieldValidation::Ignore) {
        Ok(decoded) => {
            let list = views::read::<PodSpec<'_>>(&decoded.tree).tolerations();
            tolerations::tolerations(list, &at.field(TOLERATIONS), errors);
        }
        Err(error) => errors.invalid(at, TOLERATIONS, error.to_string()),
    }
}

fn validate_seccomp(annotations: Map<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    for (key, value) in annotations.iter() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            let at = at.field(key);
            match value {
                "runtime/default" | "docker/default" | "unconfined" => {}
                _ => match value.strip_prefix("localhost/") {
                    Some(path) => local_paths::descending(path, &at, errors),
                    None => errors.invalid(&at, value, "must be a valid seccomp profile"),
                },
            }
        }
    }
}

/// What may not change about annotations, and then all that is wrong with them.
pub fn validate_update(pod: Pod<'_>, old: Pod<'_>, errors: &mut Errors) {
    let (new, held) = (pod.metadata().annotations(), old.metadata().annotations());
    let metadata = Path::new("metadata");
    let at = metadata.field("annotations");
    for (key, _) in held.iter().filter(|(key, value)| new.get(key) != Some(value)) {
        if key.starts_with(app_armor::PREFIX) {
            errors.forbidden(&at.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&at.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in new.iter().filter(|(key, _)| held.get(key).is_none()) {
        if key.starts_with(app_armor::PREFIX) {
            errors.forbidden(&at.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&at.key(key), "may not add mirror pod annotation");
        }
    }
    validate(pod, Some(old), errors);
}
