//! `PriorityLevelConfiguration` (upstream: `registry/flowcontrol/prioritylevelconfiguration`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `PriorityLevelConfiguration`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { generation: true, ..Rest::PLAIN }, ..Strategy::NONE };
