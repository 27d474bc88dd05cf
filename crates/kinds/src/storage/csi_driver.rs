//! `CSIDriver` (upstream: `registry/storage/csidriver`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `CSIDriver`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { needs_version: true, delete_shows_object: true, ..Rest::PLAIN },
    columns: &[
        ("AttachRequired", Column::Field("spec.attachRequired", "true")),
        ("PodInfoOnMount", Column::Field("spec.podInfoOnMount", "false")),
        ("RequiresRepublish", Column::Field("spec.requiresRepublish", "false")),
        ("StorageCapacity", Column::Field("spec.storageCapacity", "false")),
    ],
    ..Strategy::NONE
};
