//! Volumes (upstream: `ValidateVolumes`).

use super::Context;
use crate::views::core_v1::PodSpec;
use crate::vocabulary::{Errors, Path};

/// What is wrong with the volumes of a spec.
pub fn validate(spec: PodSpec<'_>, context: Context<'_>, at: &Path<'_>, errors: &mut Errors) {
    let _ = (spec, context, at, errors);
}
