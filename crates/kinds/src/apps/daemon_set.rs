//! `DaemonSet` (upstream: `registry/apps/daemonset`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `DaemonSet`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    columns: &[
        ("Available", Column::Field("status.numberAvailable", "0")),
        ("Current", Column::Field("status.currentNumberScheduled", "0")),
        ("Desired", Column::Field("status.desiredNumberScheduled", "0")),
        ("Ready", Column::Field("status.numberReady", "0")),
        ("Up-to-date", Column::Field("status.updatedNumberScheduled", "0")),
    ],
    ..Strategy::NONE
};
