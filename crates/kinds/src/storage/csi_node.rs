//! `CSINode` (upstream: `registry/storage/csinode`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `CSINode`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { needs_version: true, delete_shows_object: true, ..Rest::PLAIN },
    columns: &[("Drivers", Column::Count(&["spec.drivers"]))],
    ..Strategy::NONE
};
