//! `Event`, of the core group and of `events.k8s.io`: one object in two views, stored as the former (upstream: `registry/core/event`).

use portcullis_model::names::NameRule;

use crate::rest::{Dependents, Rest, SelectableField};
use crate::strategy::Strategy;

/// The rules of the core `Event`.
pub const CORE: Strategy = Strategy {
    rest: Rest {
        put_creates: true,
        dependents: Dependents::None,
        // Older events are not validated beyond what every name must be.
        name: NameRule::PathSegment,
        fields: CORE_FIELDS,
        ..Rest::PLAIN
    },
    ..Strategy::NONE
};

/// The rules of the `Event` of `events.k8s.io`.
pub const EVENTS: Strategy = Strategy {
    rest: Rest {
        put_creates: true,
        dependents: Dependents::None,
        handled_as_group: Some(""),
        fields: EVENTS_FIELDS,
        ..Rest::PLAIN
    },
    ..Strategy::NONE
};

const CORE_FIELDS: &[SelectableField] = &[
    SelectableField::new("involvedObject.kind", &["involvedObject.kind"]),
    SelectableField::new("involvedObject.namespace", &["involvedObject.namespace"]),
    SelectableField::posted("involvedObject.name", &["involvedObject.name"]),
    SelectableField::posted("involvedObject.uid", &["involvedObject.uid"]),
    SelectableField::new("involvedObject.apiVersion", &["involvedObject.apiVersion"]),
    SelectableField::new("involvedObject.resourceVersion", &["involvedObject.resourceVersion"]),
    SelectableField::new("involvedObject.fieldPath", &["involvedObject.fieldPath"]),
    SelectableField::new("reason", &["reason"]),
    SelectableField::new("reportingComponent", &["reportingComponent"]),
    SelectableField::new("source", &["source.component", "reportingComponent"]),
    SelectableField::new("type", &["type"]),
];

const EVENTS_FIELDS: &[SelectableField] = &[
    SelectableField::new("regarding.kind", &["involvedObject.kind"]),
    SelectableField::new("regarding.namespace", &["involvedObject.namespace"]),
    SelectableField::posted("regarding.name", &["involvedObject.name"]),
    SelectableField::posted("regarding.uid", &["involvedObject.uid"]),
    SelectableField::new("regarding.apiVersion", &["involvedObject.apiVersion"]),
    SelectableField::new("regarding.resourceVersion", &["involvedObject.resourceVersion"]),
    SelectableField::new("regarding.fieldPath", &["involvedObject.fieldPath"]),
    SelectableField::new("reason", &["reason"]),
    SelectableField::new("reportingController", &["reportingComponent"]),
    SelectableField::new("type", &["type"]),
];
