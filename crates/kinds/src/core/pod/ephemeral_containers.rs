//! Containers that are put beside those of a running pod, to look what is going on (upstream: `ValidatePodEphemeralContainersUpdate`;
//! KEP-277). They are added and never taken away: what was run in a pod stays on its record.

use std::collections::BTreeMap;

use super::annotations;
use super::validate;
use crate::core::pod_spec::annotations::MIRROR;
use crate::views::core_v1::{EphemeralContainer, Pod};
use crate::vocabulary::frozen::is_same;
use crate::vocabulary::{Errors, Path};

/// What is wrong with a pod that came through `/ephemeralcontainers`.
pub fn validate(new: Pod<'_>, old: Pod<'_>, errors: &mut Errors) {
    if old.metadata().annotations().get(MIRROR).is_some() {
        return errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
    }
    validate::all(new, Some(old), errors);
    annotations::validate_update(new, old, errors);
    let at = Path::new("spec.ephemeralContainers");
    let by_name: BTreeMap<&str, EphemeralContainer<'_>> =
        new.spec().ephemeral_containers().iter().map(|container| (container.name(), container)).collect();
    for held in old.spec().ephemeral_containers().iter() {
        let name = portcullis_model::go_text::quoted(held.name());
        match by_name.get(held.name()) {
            None => errors.forbidden(&at, format!("existing ephemeral containers {name} may not be removed\n")),
            Some(container) if !is_same(container.place(), held.place()) => {
                errors.forbidden(&at, format!("existing ephemeral containers {name} may not be changed"));
            }
            Some(_) => {}
        }
    }
}
