//! `NetworkPolicy` (upstream: `registry/networking/networkpolicy`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `NetworkPolicy`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { generation: true, update_checks_all_metadata: false, ..Rest::PLAIN }, ..Strategy::NONE };
