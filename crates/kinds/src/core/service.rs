//! `Service` (upstream: `registry/core/service`).

use portcullis_model::names::NameRule;

use crate::rest::{Rest, SelectableField};
use crate::strategy::{Column, Strategy};

/// The rules of `Service`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        put_creates: true,
        delete_shows_object: true,
        name: NameRule::Label,
        fields: &[
            SelectableField::new("spec.clusterIP", &["spec.clusterIP"]),
            SelectableField::new("spec.type", &["spec.type"]),
        ],
        ..Rest::PLAIN
    },
    columns: &[
        ("Cluster-IP", Column::Field("spec.clusterIP", r#""<none>""#)),
        ("Type", Column::Field("spec.type", r#""""#)),
    ],
    ..Strategy::NONE
};
