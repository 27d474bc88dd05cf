//! How resources behave towards their clients: what a kind's file in `kinds` says, and for the kinds that have none yet, tables.
//!
//! Each list answers to one method of upstream's strategies (`registry/<group>/<kind>/strategy.go`).

use std::ops::Deref;

use portcullis_kinds::Resource;
use portcullis_kinds::rest::Rest;
pub use portcullis_kinds::rest::{Dependents, SelectableField};
use portcullis_kinds::strategy;
use portcullis_model::names::NameRule;

/// How a field selector that does not exist is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownField {
    /// The words for kinds that have only name and namespace.
    OnlyMetadata,
    /// The words for kinds with selectable fields of their own.
    NotSupported,
    /// As [`UnknownField::NotSupported`], naming group, version and kind.
    NotSupportedForKind,
}

/// All that differs.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What the kind says of itself.
    pub rest: Rest,
    /// The group that complaints about an object name: that of the type it is handled as.
    pub kind_group: &'static str,
    /// How an unknown field selector is refused.
    pub unknown_field: UnknownField,
}

/// Kinds that have a generation, by group and resource.
const GENERATION: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
];

/// PUT creates: agents that write their own object by a name they know, without asking first whether it is there.
const PUT_CREATES: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("events.k8s.io", "events"),
    ("node.k8s.io", "runtimeclasses"),
];

const NEEDS_VERSION: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("node.k8s.io", "runtimeclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "volumeattachments"),
];

const DELETE_SHOWS_OBJECT: &[(&str, &str)] = &[
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

/// Kinds whose own validation of an update looks at the spec, not at all metadata again.
const UPDATE_CHECKS_SPEC_ONLY: &[(&str, &str)] = &[
    ("coordination.k8s.io", "leases"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
];

const NAMED_OTHERWISE: &[(&str, &str, NameRule)] = &[
    ("", "services", NameRule::Label),
    ("apiregistration.k8s.io", "apiservices", NameRule::PathSegment),
    // The older events are not validated beyond what every name must be.
    ("", "events", NameRule::PathSegment),
    // Must be an IP address, which the kind's own validation says.
    ("networking.k8s.io", "ipaddresses", NameRule::Any),
];

/// Selectable fields of the core event and of the one of `events.k8s.io`, which is stored as the former.
const EVENT_FIELDS: &[SelectableField] = &[
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

const EVENTS_K8S_IO_FIELDS: &[SelectableField] = &[
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

/// Selectable fields, by group and resource. Paths are those of the stored form.
const FIELDS: &[(&str, &str, &[SelectableField])] = &[
    ("", "events", EVENT_FIELDS),
    ("events.k8s.io", "events", EVENTS_K8S_IO_FIELDS),
    (
        "",
        "services",
        &[
            SelectableField::new("spec.clusterIP", &["spec.clusterIP"]),
            SelectableField::new("spec.type", &["spec.type"]),
        ],
    ),
    (
        "resource.k8s.io",
        "resourceslices",
        &[
            SelectableField::posted("spec.nodeName", &["spec.nodeName"]),
            SelectableField::posted("spec.driver", &["spec.driver"]),
        ],
    ),
];

impl Rules {
    /// Collects what the kind's file or the tables say about a resource.
    pub fn of(resource: &Resource) -> Rules {
        let key = (resource.group, resource.name);
        let rest = match strategy::of(resource.group, resource.name) {
            Some(strategy) => strategy.rest,
            None => listed(key),
        };
        Rules {
            rest,
            // Both events are handled as the core one.
            kind_group: if key == ("events.k8s.io", "events") { "" } else { resource.group },
            unknown_field: match key {
                ("resource.k8s.io", "resourceslices") => UnknownField::NotSupportedForKind,
                _ if rest.fields.is_empty() => UnknownField::OnlyMetadata,
                _ => UnknownField::NotSupported,
            },
        }
    }
}

impl Deref for Rules {
    type Target = Rest;

    fn deref(&self) -> &Rest {
        &self.rest
    }
}

/// What the tables say of a kind that has no file.
fn listed(key: (&str, &str)) -> Rest {
    let listed = |table: &[(&str, &str)]| table.contains(&key);
    let name = NAMED_OTHERWISE.iter().find(|(group, name, _)| (*group, *name) == key);
    let fields = FIELDS.iter().find(|(group, name, _)| (*group, *name) == key).map_or(&[][..], |entry| entry.2);
    Rest {
        generation: listed(GENERATION),
        labels_count: key == ("discovery.k8s.io", "endpointslices"),
        put_creates: listed(PUT_CREATES),
        needs_version: listed(NEEDS_VERSION),
        delete_shows_object: listed(DELETE_SHOWS_OBJECT),
        dependents: if key.1 == "events" { Dependents::None } else { Dependents::Deleted },
        update_checks_all_metadata: !listed(UPDATE_CHECKS_SPEC_ONLY),
        marks_time_only: key == ("apiextensions.k8s.io", "customresourcedefinitions"),
        name: name.map_or(NameRule::Subdomain, |entry| entry.2),
        fields,
        ..Rest::PLAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_a_resource() {
        let known = |group: &str, name: &str| {
            portcullis_kinds::resources().all().iter().any(|resource| (resource.group, resource.name) == (group, name))
        };
        let lists = [GENERATION, PUT_CREATES, NEEDS_VERSION, DELETE_SHOWS_OBJECT, UPDATE_CHECKS_SPEC_ONLY];
        for (group, name) in lists.into_iter().flatten() {
            assert!(known(group, name), "{group}/{name}");
            assert!(strategy::of(group, name).is_none(), "{group}/{name} has a file of its own");
        }
        for (group, name, _) in NAMED_OTHERWISE {
            assert!(known(group, name), "{group}/{name}");
        }
        for (group, name, _) in FIELDS {
            assert!(known(group, name), "{group}/{name}");
        }
    }
}
