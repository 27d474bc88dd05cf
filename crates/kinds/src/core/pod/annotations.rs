//! What a pod's annotations may not become (upstream: `ValidatePodSpecificAnnotationUpdates`). What they may say stands beside the spec,
//! since templates have them too: [`annotations`].

use crate::core::pod_spec::Context;
use crate::core::pod_spec::annotations::{self, APP_ARMOR_OF, MIRROR};
use crate::views::core_v1::Pod;
use crate::vocabulary::{Errors, Path};

/// What may not change about annotations, and then all that is wrong with them.
pub fn validate_update(pod: Pod<'_>, old: Pod<'_>, errors: &mut Errors) {
    let (new, held) = (pod.metadata().annotations(), old.metadata().annotations());
    let metadata = Path::new("metadata");
    let at = metadata.field("annotations");
    for (key, _) in held.iter().filter(|(key, value)| new.get(key) != Some(value)) {
        if key.starts_with(APP_ARMOR_OF) {
            errors.forbidden(&at.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&at.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in new.iter().filter(|(key, _)| held.get(key).is_none()) {
        if key.starts_with(APP_ARMOR_OF) {
            errors.forbidden(&at.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&at.key(key), "may not add mirror pod annotation");
        }
    }
    annotations::validate(pod.spec(), Context::of_pod(pod, Some(old)), &at, errors);
}
