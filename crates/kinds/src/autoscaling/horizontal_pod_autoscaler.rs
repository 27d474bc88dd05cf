//! `HorizontalPodAutoscaler` (upstream: `registry/autoscaling/horizontalpodautoscaler`, `apis/autoscaling/validation`, `apis/autoscaling/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `HorizontalPodAutoscaler`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { update_checks_all_metadata: false, ..Rest::PLAIN }, ..Strategy::NONE };
