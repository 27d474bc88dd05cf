//! `ServiceAccount` (upstream: `registry/core/serviceaccount`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `ServiceAccount`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { delete_shows_object: true, ..Rest::PLAIN }, ..Strategy::NONE };
