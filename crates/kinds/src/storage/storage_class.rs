//! `StorageClass` (upstream: `registry/storage/storageclass`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `StorageClass`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    columns: &[
        ("AllowVolumeExpansion", Column::Field("allowVolumeExpansion", "false")),
        ("Provisioner", Column::Field("provisioner", r#""""#)),
        ("ReclaimPolicy", Column::Field("reclaimPolicy", r#""Delete""#)),
        ("VolumeBindingMode", Column::Field("volumeBindingMode", r#""Immediate""#)),
    ],
    ..Strategy::NONE
};
