//! `FlowSchema` (upstream: `registry/flowcontrol/flowschema`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `FlowSchema`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { generation: true, ..Rest::PLAIN }, ..Strategy::NONE };
