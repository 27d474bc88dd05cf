//! `PriorityClass` (upstream: `registry/scheduling/priorityclass`, `apis/scheduling/validation`, `apis/scheduling/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `PriorityClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, ..Rest::PLAIN },
    columns: &[
        ("Global-Default", Column::Field("globalDefault", "false")),
        ("PreemptionPolicy", Column::Field("preemptionPolicy", r#""<unset>""#)),
        ("Value", Column::Field("value", "0")),
    ],
    ..Strategy::NONE
};
