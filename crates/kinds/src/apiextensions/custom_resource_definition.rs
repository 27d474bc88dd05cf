//! `CustomResourceDefinition` (upstream: `registry/apiextensions/customresourcedefinition`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `CustomResourceDefinition`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { generation: true, needs_version: true, marks_time_only: true, ..Rest::PLAIN },
    ..Strategy::NONE
};
