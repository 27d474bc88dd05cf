//! `Pod` (upstream: `registry/core/pod`, `apis/core/validation`, `apis/core/v1/defaults.go`).

use crate::rest::{Rest, SelectableField};
use crate::strategy::Strategy;

/// What pods are selected by.
const FIELDS: &[SelectableField] = &[
    SelectableField::posted("spec.nodeName", &["spec.nodeName"]),
    SelectableField::posted("spec.host", &["spec.nodeName"]),
    SelectableField::new("spec.restartPolicy", &["spec.restartPolicy"]),
    SelectableField::new("spec.schedulerName", &["spec.schedulerName"]),
    SelectableField::new("spec.serviceAccountName", &["spec.serviceAccountName"]),
    SelectableField::or("spec.hostNetwork", &["spec.hostNetwork"], "false"),
    SelectableField::new("status.phase", &["status.phase"]),
    SelectableField::new("status.podIP", &["status.podIP"]),
    SelectableField::new("status.podIPs", &["status.podIP"]),
    SelectableField::new("status.nominatedNodeName", &["status.nominatedNodeName"]),
];

/// The rules of `Pod`.
pub const STRATEGY: Strategy = Strategy {
    rest: Rest {
        generation: true,
        delete_shows_object: true,
        update_checks_all_metadata: false,
        graceful: true,
        fields: FIELDS,
        ..Rest::PLAIN
    },
    ..Strategy::NONE
};
