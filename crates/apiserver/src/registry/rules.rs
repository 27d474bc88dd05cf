//! What differs between resources and is not in the facts, as tables: the generic path asks them, no kind has code of its own here.
//!
//! Each list answers to one method of upstream's strategies (`registry/<group>/<kind>/strategy.go`).

use portcullis_kinds::Resource;
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

/// A selectable field: the label in the selector, and where it stands in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectableField {
    /// `spec.nodeName`.
    pub label: &'static str,
    /// Names from the top; the first path that has a value counts.
    pub paths: &'static [&'static str],
    /// What an absent value reads as.
    pub absent: &'static str,
    /// Whether objects are found by it: a field that clients watch by, with many values.
    pub posted: bool,
}

/// What becomes of the objects that an object owns, when the client who deletes it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// The garbage collector deletes them.
    Deleted,
    /// They stay, without their owner.
    Orphaned,
    /// It owns none, whatever a client says.
    None,
}

/// All that differs.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// A change of annotations counts too.
    pub annotations_count: bool,
    /// PUT of what does not exist creates it (`AllowCreateOnUpdate`).
    pub put_creates: bool,
    /// An update must say which version it replaces (`!AllowUnconditionalUpdate`).
    pub needs_version: bool,
    /// DELETE answers with the object, not with a Status (`ReturnDeletedObject`).
    pub delete_shows_object: bool,
    /// What becomes of dependents when the client says nothing (`DefaultGarbageCollectionPolicy`).
    pub dependents: Dependents,
    /// The group that complaints about an object name: that of the type it is handled as.
    pub kind_group: &'static str,
    /// How its objects may be named.
    pub name: NameRule,
    /// The kind's own validation of an update checks the metadata in full once more.
    pub update_checks_all_metadata: bool,
    /// Labels are not changed through `/status`.
    pub status_keeps_labels: bool,
    /// A deletion that waits is only marked with its time (namespaces and definitions, which have their own finalisation).
    pub marks_time_only: bool,
    /// An object without a name is given its own, as unique as its uid (limit ranges).
    pub names_itself: bool,
    /// A change of labels counts as one of the spec (endpoint slices).
    pub labels_count: bool,
    /// Deletion gives the object time to end (pods).
    pub graceful: bool,
    /// How an unknown field selector is refused.
    pub unknown_field: UnknownField,
    /// Fields that can be selected besides `metadata.name` and `metadata.namespace`.
    pub fields: &'static [SelectableField],
}

/// Kinds that have a generation, by group and resource.
const GENERATION: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
    ("scheduling.k8s.io", "priorityclasses"),
];

/// PUT creates: agents that write their own object by a name they know, without asking first whether it is there.
const PUT_CREATES: &[(&str, &str)] = &[
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("", "services"),
    ("coordination.k8s.io", "leases"),
    ("events.k8s.io", "events"),
    ("node.k8s.io", "runtimeclasses"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
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
    ("policy", "poddisruptionbudgets"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "csistoragecapacities"),
    ("storage.k8s.io", "volumeattachments"),
];

const DELETE_SHOWS_OBJECT: &[(&str, &str)] = &[
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
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
    ("", "pods"),
    ("", "replicationcontrollers"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("coordination.k8s.io", "leases"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
];

/// Kept from the time before garbage collection: their clients delete pods themselves.
const ORPHANS_BY_DEFAULT: &[(&str, &str)] = &[("", "replicationcontrollers"), ("batch", "jobs")];

const NAMED_OTHERWISE: &[(&str, &str, NameRule)] = &[
    ("", "namespaces", NameRule::Label),
    ("", "services", NameRule::Label),
    ("apps", "statefulsets", NameRule::Label),
    ("rbac.authorization.k8s.io", "clusterrolebindings", NameRule::PathSegment),
    ("rbac.authorization.k8s.io", "clusterroles", NameRule::PathSegment),
    ("rbac.authorization.k8s.io", "rolebindings", NameRule::PathSegment),
    ("rbac.authorization.k8s.io", "roles", NameRule::PathSegment),
    ("", "replicationcontrollers", NameRule::SubdomainBytes),
    ("apiregistration.k8s.io", "apiservices", NameRule::PathSegment),
    ("certificates.k8s.io", "certificatesigningrequests", NameRule::PathSegment),
    // The older events are not validated beyond what every name must be.
    ("", "events", NameRule::PathSegment),
    // Must be an IP address, which the kind's own validation says.
    ("networking.k8s.io", "ipaddresses", NameRule::Any),
];

const fn field(label: &'static str, paths: &'static [&'static str]) -> SelectableField {
    SelectableField { label, paths, absent: "", posted: false }
}

/// A field that objects are found by.
const fn posted(label: &'static str, paths: &'static [&'static str]) -> SelectableField {
    SelectableField { label, paths, absent: "", posted: true }
}

/// A field that reads as this when it is absent.
const fn field_or(label: &'static str, paths: &'static [&'static str], absent: &'static str) -> SelectableField {
    SelectableField { label, paths, absent, posted: false }
}

/// Selectable fields of the core event and of the one of `events.k8s.io`, which is stored as the former.
const EVENT_FIELDS: &[SelectableField] = &[
    field("involvedObject.kind", &["involvedObject.kind"]),
    field("involvedObject.namespace", &["involvedObject.namespace"]),
    posted("involvedObject.name", &["involvedObject.name"]),
    posted("involvedObject.uid", &["involvedObject.uid"]),
    field("involvedObject.apiVersion", &["involvedObject.apiVersion"]),
    field("involvedObject.resourceVersion", &["involvedObject.resourceVersion"]),
    field("involvedObject.fieldPath", &["involvedObject.fieldPath"]),
    field("reason", &["reason"]),
    field("reportingComponent", &["reportingComponent"]),
    field("source", &["source.component", "reportingComponent"]),
    field("type", &["type"]),
];

const EVENTS_K8S_IO_FIELDS: &[SelectableField] = &[
    field("regarding.kind", &["involvedObject.kind"]),
    field("regarding.namespace", &["involvedObject.namespace"]),
    posted("regarding.name", &["involvedObject.name"]),
    posted("regarding.uid", &["involvedObject.uid"]),
    field("regarding.apiVersion", &["involvedObject.apiVersion"]),
    field("regarding.resourceVersion", &["involvedObject.resourceVersion"]),
    field("regarding.fieldPath", &["involvedObject.fieldPath"]),
    field("reason", &["reason"]),
    field("reportingController", &["reportingComponent"]),
    field("type", &["type"]),
];

/// Selectable fields, by group and resource. Paths are those of the stored form.
const FIELDS: &[(&str, &str, &[SelectableField])] = &[
    (
        "",
        "pods",
        &[
            posted("spec.nodeName", &["spec.nodeName"]),
            posted("spec.host", &["spec.nodeName"]),
            field("spec.restartPolicy", &["spec.restartPolicy"]),
            field("spec.schedulerName", &["spec.schedulerName"]),
            field("spec.serviceAccountName", &["spec.serviceAccountName"]),
            field_or("spec.hostNetwork", &["spec.hostNetwork"], "false"),
            field("status.phase", &["status.phase"]),
            field("status.podIP", &["status.podIP"]),
            field("status.podIPs", &["status.podIP"]),
            field("status.nominatedNodeName", &["status.nominatedNodeName"]),
        ],
    ),
    ("", "nodes", &[field_or("spec.unschedulable", &["spec.unschedulable"], "false")]),
    ("", "replicationcontrollers", &[field_or("status.replicas", &["status.replicas"], "0")]),
    ("", "events", EVENT_FIELDS),
    ("events.k8s.io", "events", EVENTS_K8S_IO_FIELDS),
    ("", "namespaces", &[field("status.phase", &["status.phase"])]),
    ("", "secrets", &[field("type", &["type"])]),
    ("", "services", &[field("spec.clusterIP", &["spec.clusterIP"]), field("spec.type", &["spec.type"])]),
    ("batch", "jobs", &[field_or("status.successful", &["status.succeeded"], "0")]),
    ("certificates.k8s.io", "certificatesigningrequests", &[field("spec.signerName", &["spec.signerName"])]),
    (
        "resource.k8s.io",
        "resourceslices",
        &[posted("spec.nodeName", &["spec.nodeName"]), posted("spec.driver", &["spec.driver"])],
    ),
];

impl Rules {
    /// Collects what the tables say about a resource.
    pub fn of(resource: &Resource) -> Rules {
        let key = (resource.group, resource.name);
        let listed = |table: &[(&str, &str)]| table.contains(&key);
        let name = NAMED_OTHERWISE.iter().find(|(group, name, _)| (*group, *name) == key);
        let fields = FIELDS.iter().find(|(group, name, _)| (*group, *name) == key).map_or(&[][..], |entry| entry.2);
        Rules {
            generation: listed(GENERATION),
            annotations_count: key == ("apps", "deployments"),
            put_creates: listed(PUT_CREATES),
            needs_version: listed(NEEDS_VERSION),
            delete_shows_object: listed(DELETE_SHOWS_OBJECT),
            dependents: match key {
                (_, "events") => Dependents::None,
                _ if listed(ORPHANS_BY_DEFAULT) => Dependents::Orphaned,
                _ => Dependents::Deleted,
            },
            // Both events are handled as the core one.
            kind_group: if key == ("events.k8s.io", "events") { "" } else { resource.group },
            update_checks_all_metadata: !listed(UPDATE_CHECKS_SPEC_ONLY),
            status_keeps_labels: key == ("apps", "deployments"),
            marks_time_only: [("", "namespaces"), ("apiextensions.k8s.io", "customresourcedefinitions")].contains(&key),
            names_itself: key == ("", "limitranges"),
            labels_count: key == ("discovery.k8s.io", "endpointslices"),
            graceful: key == ("", "pods"),
            name: name.map_or(NameRule::Subdomain, |entry| entry.2),
            unknown_field: match key {
                ("resource.k8s.io", "resourceslices") => UnknownField::NotSupportedForKind,
                _ if fields.is_empty() => UnknownField::OnlyMetadata,
                _ => UnknownField::NotSupported,
            },
            fields,
        }
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
        let lists =
            [GENERATION, PUT_CREATES, NEEDS_VERSION, DELETE_SHOWS_OBJECT, ORPHANS_BY_DEFAULT, UPDATE_CHECKS_SPEC_ONLY];
        for (group, name) in lists.into_iter().flatten() {
            assert!(known(group, name), "{group}/{name}");
        }
        for (group, name, _) in NAMED_OTHERWISE {
            assert!(known(group, name), "{group}/{name}");
        }
        for (group, name, _) in FIELDS {
            assert!(known(group, name), "{group}/{name}");
        }
    }
}
