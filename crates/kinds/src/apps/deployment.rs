//! `Deployment` (upstream: `registry/apps/deployment`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `Deployment`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        annotations_count: true,
        status_keeps_labels: true,
        update_checks_all_metadata: false,
        ..Rest::PLAIN
    },
    columns: &[
        ("Available", Column::Field("status.availableReplicas", "0")),
        ("Up-to-date", Column::Field("status.updatedReplicas", "0")),
    ],
    ..Strategy::NONE
};
