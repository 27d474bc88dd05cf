//! `ServiceCIDR` (upstream: `registry/networking/servicecidr`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `ServiceCIDR`.
pub const STRATEGY: Strategy = Strategy { rest: Rest::PLAIN, ..Strategy::NONE };
