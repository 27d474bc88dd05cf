//! `ResourceQuota` (upstream: `registry/core/resourcequota`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `ResourceQuota`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { delete_shows_object: true, ..Rest::PLAIN }, ..Strategy::NONE };
