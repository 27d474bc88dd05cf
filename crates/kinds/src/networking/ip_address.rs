//! `IPAddress` (upstream: `registry/networking/ipaddress`).

use portcullis_model::names::NameRule;

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `IPAddress`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { name: NameRule::Any, ..Rest::PLAIN }, ..Strategy::NONE };
