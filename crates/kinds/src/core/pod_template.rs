//! `PodTemplate` (upstream: `registry/core/podtemplate`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `PodTemplate`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { generation: true, delete_shows_object: true, ..Rest::PLAIN }, ..Strategy::NONE };
