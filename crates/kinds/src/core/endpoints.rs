//! `Endpoints` (upstream: `registry/core/endpoints`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `Endpoints`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { put_creates: true, ..Rest::PLAIN }, ..Strategy::NONE };
