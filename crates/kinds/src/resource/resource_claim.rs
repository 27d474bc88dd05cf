//! `ResourceClaim` (upstream: `registry/resource/resourceclaim`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `ResourceClaim`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { delete_shows_object: true, ..Rest::PLAIN }, ..Strategy::NONE };
