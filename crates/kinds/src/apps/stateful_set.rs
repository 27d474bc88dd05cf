//! `StatefulSet` (upstream: `registry/apps/statefulset`, `apis/apps/validation`, `apis/apps/v1/defaults.go`).

use portcullis_model::names::NameRule;

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `StatefulSet`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, update_checks_all_metadata: false, name: NameRule::Label, ..Rest::PLAIN },
    ..Strategy::NONE
};
