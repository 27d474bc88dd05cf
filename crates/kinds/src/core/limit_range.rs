//! `LimitRange` (upstream: `registry/core/limitrange`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `LimitRange`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { put_creates: true, names_itself: true, ..Rest::PLAIN }, ..Strategy::NONE };
