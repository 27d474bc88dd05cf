//! `PersistentVolumeClaim` (upstream: `registry/core/persistentvolumeclaim`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `PersistentVolumeClaim`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { delete_shows_object: true, ..Rest::PLAIN },
    columns: &[
        ("Status", Column::Field("status.phase", r#""""#)),
        ("Volume", Column::Field("spec.volumeName", r#""""#)),
        ("VolumeMode", Column::Field("spec.volumeMode", r#""<unset>""#)),
    ],
    ..Strategy::NONE
};
