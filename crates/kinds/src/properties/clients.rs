//! What clients notice of a kind beside its fields: whether PUT creates, what DELETE answers and leaves behind, whether an update may be
//! sent without a version, what can be selected, what a table shows. Every kind is named in these tables, so that none is as it is by
//! omission.

use std::collections::BTreeSet;

use portcullis_model::schema::{FieldValidation, TypeRef, decode_json};

use super::samples;
use crate::Resource;
use crate::rest::{Dependents, Rest};
use crate::strategy;
use crate::testing::default_all;

/// Columns that show metadata, of any kind.
const OF_METADATA: &[&str] = &["Name", "Age", "Created At"];

fn id(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// Compares the kinds of which something holds with those that are listed, by `resource.group`.
fn check(holds: impl Fn(&Rest) -> bool, expected: &[&str]) {
    let found: BTreeSet<String> = strategy::all()
        .filter(|(.., kind)| holds(&kind.rest))
        .map(|(group, resource, _)| id(group, resource))
        .collect();
    assert_eq!(found, expected.iter().map(|name| (*name).to_owned()).collect());
}

fn sample(resource: &Resource) -> Option<&'static str> {
    let of_resource = |(group, name, _): &&(&str, &str, _)| (*group, *name) == (resource.group, resource.name);
    samples::ALL.iter().find(of_resource).map(|(.., text)| *text)
}

fn stored() -> impl Iterator<Item = &'static Resource> {
    crate::resources().all().iter().filter(|resource| resource.storage.is_some())
}

#[test]
fn every_kind_has_a_strategy_and_a_sample() {
    for resource in stored() {
        let id = id(resource.group, resource.name);
        assert!(strategy::of(resource.group, resource.name).is_some(), "{id}");
        assert!(sample(resource).is_some(), "{id}");
    }
}

#[test]
fn put_creates() {
    check(
        |rest| rest.put_creates,
        &[
            "clusterrolebindings.rbac.authorization.k8s.io",
            "clusterroles.rbac.authorization.k8s.io",
            "endpoints",
            "events",
            "events.events.k8s.io",
            "leases.coordination.k8s.io",
            "limitranges",
            "rolebindings.rbac.authorization.k8s.io",
            "roles.rbac.authorization.k8s.io",
            "runtimeclasses.node.k8s.io",
            "services",
        ],
    );
}

#[test]
fn delete_answers_with_the_object() {
    check(
        |rest| rest.delete_shows_object,
        &[
            "csidrivers.storage.k8s.io",
            "csinodes.storage.k8s.io",
            "deviceclasses.resource.k8s.io",
            "namespaces",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "podtemplates",
            "resourceclaims.resource.k8s.io",
            "resourceclaimtemplates.resource.k8s.io",
            "resourcequotas",
            "resourceslices.resource.k8s.io",
            "serviceaccounts",
            "services",
            "storageclasses.storage.k8s.io",
            "volumeattachments.storage.k8s.io",
            "volumeattributesclasses.storage.k8s.io",
        ],
    );
}

#[test]
fn an_update_needs_a_version() {
    check(
        |rest| rest.needs_version,
        &[
            "apiservices.apiregistration.k8s.io",
            "csidrivers.storage.k8s.io",
            "csinodes.storage.k8s.io",
            "csistoragecapacities.storage.k8s.io",
            "customresourcedefinitions.apiextensions.k8s.io",
            "leases.coordination.k8s.io",
            "mutatingadmissionpolicies.admissionregistration.k8s.io",
            "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
            "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            "poddisruptionbudgets.policy",
            "runtimeclasses.node.k8s.io",
            "validatingadmissionpolicies.admissionregistration.k8s.io",
            "validatingadmissionpolicybindings.admissionregistration.k8s.io",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "volumeattachments.storage.k8s.io",
        ],
    );
}

#[test]
fn dependents_of_most_kinds_are_deleted() {
    check(|rest| rest.dependents == Dependents::Orphaned, &["jobs.batch", "replicationcontrollers"]);
    check(|rest| rest.dependents == Dependents::None, &["events", "events.events.k8s.io"]);
}

#[test]
fn selectable_fields() {
    let named = |group: &str, resource: &str, labels: &[&str]| {
        let kind = strategy::of(group, resource).unwrap();
        let found: BTreeSet<&str> = kind.rest.fields.iter().map(|field| field.label).collect();
        assert_eq!(found, labels.iter().copied().collect(), "{}", id(group, resource));
        id(group, resource)
    };
    let with_fields = [
        named(
            "",
            "events",
            &[
                "involvedObject.apiVersion",
                "involvedObject.fieldPath",
                "involvedObject.kind",
                "involvedObject.name",
                "involvedObject.namespace",
                "involvedObject.resourceVersion",
                "involvedObject.uid",
                "reason",
                "reportingComponent",
                "source",
                "type",
            ],
        ),
        named(
            "events.k8s.io",
            "events",
            &[
                "reason",
                "regarding.apiVersion",
                "regarding.fieldPath",
                "regarding.kind",
                "regarding.name",
                "regarding.namespace",
                "regarding.resourceVersion",
                "regarding.uid",
                "reportingController",
                "type",
            ],
        ),
        named("", "namespaces", &["status.phase"]),
        named("", "nodes", &["spec.unschedulable"]),
        named(
            "",
            "pods",
            &[
                "spec.host",
                "spec.hostNetwork",
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "spec.serviceAccountName",
                "status.nominatedNodeName",
                "status.phase",
                "status.podIP",
                "status.podIPs",
            ],
        ),
        named("", "replicationcontrollers", &["status.replicas"]),
        named("", "secrets", &["type"]),
        named("", "services", &["spec.clusterIP", "spec.type"]),
        named("batch", "jobs", &["status.successful"]),
        named("certificates.k8s.io", "certificatesigningrequests", &["spec.signerName"]),
        named("resource.k8s.io", "resourceslices", &["spec.driver", "spec.nodeName"]),
    ];
    check(|rest| !rest.fields.is_empty(), &with_fields.each_ref().map(String::as_str));
}

/// A path that no object has would select nothing, in silence.
#[test]
fn selectable_fields_exist() {
    let schema = crate::schema();
    for resource in crate::resources().all() {
        let (Some(storage), Some(kind)) = (&resource.storage, strategy::of(resource.group, resource.name)) else {
            continue;
        };
        let version = if storage.group.is_empty() {
            storage.version.to_owned()
        } else {
            format!("{}/{}", storage.group, storage.version)
        };
        for path in kind.rest.fields.iter().flat_map(|field| field.paths) {
            let stored = schema.by_kind(&version, resource.kind).unwrap();
            let end = path.split('.').try_fold(TypeRef::Object(stored), |ty, name| match ty {
                TypeRef::Object(id) => {
                    schema.ty(id).fields.iter().find(|field| &*field.name == name).map(|field| field.ty)
                }
                _ => None,
            });
            assert!(
                matches!(end, Some(TypeRef::String | TypeRef::Bool | TypeRef::Int32)),
                "{} {path}: {end:?}",
                id(resource.group, resource.name)
            );
        }
    }
}

/// Returns the columns of a resource that show `<unknown>` for an object with most of what people write.
fn unknown_columns(resource: &Resource) -> Vec<&str> {
    let columns = resource.columns.iter().map(|column| column.name.as_str());
    let of_kind = columns.filter(|column| !OF_METADATA.contains(column));
    let kind = strategy::of(resource.group, resource.name).unwrap();
    let of_kind = of_kind.filter(|column| !kind.columns.iter().any(|(name, _)| name == column));
    let text = sample(resource).unwrap().as_bytes().to_vec();
    let mut tree = decode_json::decode(crate::schema(), resource.type_id, text, FieldValidation::Ignore).unwrap().tree;
    default_all(kind, &mut tree);
    of_kind.filter(|column| (kind.cell)(&tree, column, 0).is_none()).collect()
}

#[test]
fn every_column_shows_something() {
    let mut unknown = Vec::new();
    for resource in stored() {
        for column in unknown_columns(resource) {
            unknown.push(format!("{} {column}", id(resource.group, resource.name)));
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}
