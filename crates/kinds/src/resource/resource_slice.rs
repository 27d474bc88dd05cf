//! `ResourceSlice` (upstream: `registry/resource/resourceslice`).

use crate::rest::{Rest, SelectableField};
use crate::strategy::Strategy;

/// The rules of `ResourceSlice`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        unknown_field_names_kind: true,
        delete_shows_object: true,
        fields: &[
            SelectableField::posted("spec.nodeName", &["spec.nodeName"]),
            SelectableField::posted("spec.driver", &["spec.driver"]),
        ],
        ..Rest::PLAIN
    },
    ..Strategy::NONE
};
