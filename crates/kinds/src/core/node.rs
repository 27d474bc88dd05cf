//! `Node` (upstream: `registry/core/node`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use crate::rest::{Rest, SelectableField};
use crate::strategy::Strategy;

/// The rules of `Node`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        fields: &[SelectableField::or("spec.unschedulable", &["spec.unschedulable"], "false")],
        ..Rest::PLAIN
    },
    ..Strategy::NONE
};
