//! `ReplicationController` (upstream: `registry/core/replicationcontroller`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use portcullis_model::names::NameRule;

use crate::rest::{Dependents, Rest, SelectableField};
use crate::strategy::{Column, Strategy};

/// The rules of `ReplicationController`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        update_checks_all_metadata: false,
        dependents: Dependents::Orphaned,
        name: NameRule::SubdomainBytes,
        fields: &[SelectableField::or("status.replicas", &["status.replicas"], "0")],
        ..Rest::PLAIN
    },
    columns: &[
        ("Current", Column::Field("status.replicas", "0")),
        ("Desired", Column::Field("spec.replicas", "0")),
        ("Ready", Column::Field("status.readyReplicas", "0")),
    ],
    ..Strategy::NONE
};
