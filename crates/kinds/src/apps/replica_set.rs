//! `ReplicaSet` (upstream: `registry/apps/replicaset`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `ReplicaSet`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    columns: &[
        ("Current", Column::Field("status.replicas", "0")),
        ("Desired", Column::Field("spec.replicas", "0")),
        ("Ready", Column::Field("status.readyReplicas", "0")),
    ],
    ..Strategy::NONE
};
