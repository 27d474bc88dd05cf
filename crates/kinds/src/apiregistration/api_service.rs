//! `APIService` (upstream: `registry/apiregistration/apiservice`).

use portcullis_model::names::NameRule;

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `APIService`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { needs_version: true, name: NameRule::PathSegment, ..Rest::PLAIN }, ..Strategy::NONE };
