//! `VolumeAttributesClass` (upstream: `registry/storage/volumeattributesclass`).

use crate::rest::Rest;
use crate::strategy::Strategy;

/// The rules of `VolumeAttributesClass`.
pub const STRATEGY: Strategy = Strategy { rest: Rest { delete_shows_object: true, ..Rest::PLAIN }, ..Strategy::NONE };
