//! `CronJob` (upstream: `registry/batch/cronjob`, `apis/batch/validation`, `apis/batch/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `CronJob`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN },
    columns: &[
        ("Active", Column::Count(&["status.active"])),
        ("Schedule", Column::Field("spec.schedule", r#""""#)),
        ("Timezone", Column::Field("spec.timeZone", r#""<none>""#)),
    ],
    ..Strategy::NONE
};
