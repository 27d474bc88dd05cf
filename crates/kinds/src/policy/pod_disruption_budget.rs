//! `PodDisruptionBudget` (upstream: `registry/policy/poddisruptionbudget`, `apis/policy/validation`, `apis/policy/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `PodDisruptionBudget`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    columns: &[
        ("Allowed Disruptions", Column::Field("status.disruptionsAllowed", "0")),
        ("Max Unavailable", Column::Field("spec.maxUnavailable", r#""N/A""#)),
        ("Min Available", Column::Field("spec.minAvailable", r#""N/A""#)),
    ],
    ..Strategy::NONE
};
