//! `Namespace` (upstream: `registry/core/namespace`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use portcullis_model::names::NameRule;

use crate::rest::{Rest, SelectableField};
use crate::strategy::{Column, Strategy};

/// The rules of `Namespace`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        delete_shows_object: true,
        marks_time_only: true,
        name: NameRule::Label,
        fields: &[SelectableField::new("status.phase", &["status.phase"])],
        ..Rest::PLAIN
    },
    columns: &[("Status", Column::Field("status.phase", r#""""#))],
    ..Strategy::NONE
};
