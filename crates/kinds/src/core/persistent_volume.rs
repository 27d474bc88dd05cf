//! `PersistentVolume` (upstream: `registry/core/persistentvolume`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `PersistentVolume`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    columns: &[
        ("Reclaim Policy", Column::Field("spec.persistentVolumeReclaimPolicy", r#""""#)),
        ("Reason", Column::Field("status.reason", r#""""#)),
        ("Status", Column::Field("status.phase", r#""""#)),
        ("VolumeMode", Column::Field("spec.volumeMode", r#""<unset>""#)),
    ],
    ..Strategy::NONE
};
