//! `CSIStorageCapacity` (upstream: `registry/storage/csistoragecapacity`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `CSIStorageCapacity`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { needs_version: true, ..Rest::PLAIN }, ..Strategy::NONE };
