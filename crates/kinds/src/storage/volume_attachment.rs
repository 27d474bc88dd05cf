//! `VolumeAttachment` (upstream: `registry/storage/volumeattachment`).

use crate::rest::Rest;
use crate::strategy::{Column, Strategy};

/// The rules of `VolumeAttachment`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest { needs_version: true, delete_shows_object: true, ..Rest::PLAIN },
    columns: &[
        ("Attached", Column::Field("status.attached", "false")),
        ("Attacher", Column::Field("spec.attacher", r#""""#)),
        ("Node", Column::Field("spec.nodeName", r#""""#)),
        ("PV", Column::Field("spec.source.persistentVolumeName", r#""""#)),
    ],
    ..Strategy::NONE
};
