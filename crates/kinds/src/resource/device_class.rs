//! `DeviceClass` (upstream: `registry/resource/deviceclass`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `DeviceClass`.
pub const STRATEGY: Strategy =
    Strategy { rest: Rest { generation: true, delete_shows_object: true, ..Rest::PLAIN }, ..Strategy::NONE };
