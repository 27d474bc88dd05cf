//! `ResourceClaimTemplate` (upstream: `registry/resource/resourceclaimtemplate`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `ResourceClaimTemplate`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { delete_shows_object: true, ..Rest::PLAIN }, ..Strategy::NONE };
