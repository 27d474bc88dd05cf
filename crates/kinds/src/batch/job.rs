//! `Job` (upstream: `registry/batch/job`, `apis/batch/validation`, `apis/batch/v1/defaults.go`).

use crate::rest::{Dependents, Rest, SelectableField};
use crate::strategy::Strategy;

/// The rules of `Job`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        update_checks_all_metadata: false,
        dependents: Dependents::Orphaned,
        fields: &[SelectableField::or("status.successful", &["status.succeeded"], "0")],
        ..Rest::PLAIN
    },
    ..Strategy::NONE
};
