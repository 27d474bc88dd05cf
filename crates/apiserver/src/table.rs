//! Objects as rows, for `kubectl get` (upstream: `meta.k8s.io` Table and the printers).
//!
//! Name, age and creation time are computed for every kind, and columns that show one field as it is come from a table here. All other
//! cells need code of their kind, which is in the kind's file (`Strategy::cell`); without it they are `<unknown>`, of any column type.

use portcullis_kinds::strategy::{Cell, Column};
use portcullis_model::go_text::push_json_string;
use portcullis_model::schema::DecodeError;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::time::{age, push_time};
use portcullis_model::tree::{Kind, NodeId, Tree};

use crate::body::Body;
use crate::forms::push_partial;
use crate::negotiate::{Accepted, Include};
use crate::registry::Served;
use crate::registry::metadata::Metadata;
use crate::registry::validate::named;

/// A cell that no rule gives a value.
const UNKNOWN: &str = r#""<unknown>""#;

/// Columns of kinds without a file that show a field as it is: group, resource, column, cell.
const CELLS: &[(&str, &str, &str, Column)] = &[
    ("", "configmaps", "Data", Column::Count(&["data", "binaryData"])),
    ("", "persistentvolumeclaims", "Status", Column::Field("status.phase", r#""""#)),
    ("", "persistentvolumeclaims", "Volume", Column::Field("spec.volumeName", r#""""#)),
    ("", "persistentvolumeclaims", "VolumeMode", Column::Field("spec.volumeMode", r#""<unset>""#)),
    ("", "persistentvolumes", "Reclaim Policy", Column::Field("spec.persistentVolumeReclaimPolicy", r#""""#)),
    ("", "persistentvolumes", "Reason", Column::Field("status.reason", r#""""#)),
    ("", "persistentvolumes", "Status", Column::Field("status.phase", r#""""#)),
    ("", "persistentvolumes", "VolumeMode", Column::Field("spec.volumeMode", r#""<unset>""#)),
    ("", "services", "Cluster-IP", Column::Field("spec.clusterIP", r#""<none>""#)),
    ("", "services", "Type", Column::Field("spec.type", r#""""#)),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "Webhooks", Column::Count(&["webhooks"])),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        "Validations",
        Column::Count(&["spec.validations"]),
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        "PolicyName",
        Column::Field("spec.policyName", r#""""#),
    ),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "Webhooks", Column::Count(&["webhooks"])),
    ("coordination.k8s.io", "leases", "Holder", Column::Field("spec.holderIdentity", r#""""#)),
    ("discovery.k8s.io", "endpointslices", "AddressType", Column::Field("addressType", r#""""#)),
    ("networking.k8s.io", "ingressclasses", "Controller", Column::Field("spec.controller", r#""""#)),
    ("networking.k8s.io", "ingresses", "Class", Column::Field("spec.ingressClassName", r#""<none>""#)),
    ("node.k8s.io", "runtimeclasses", "Handler", Column::Field("handler", r#""""#)),
    ("storage.k8s.io", "csidrivers", "AttachRequired", Column::Field("spec.attachRequired", "true")),
    ("storage.k8s.io", "csidrivers", "PodInfoOnMount", Column::Field("spec.podInfoOnMount", "false")),
    ("storage.k8s.io", "csidrivers", "RequiresRepublish", Column::Field("spec.requiresRepublish", "false")),
    ("storage.k8s.io", "csidrivers", "StorageCapacity", Column::Field("spec.storageCapacity", "false")),
    ("storage.k8s.io", "csinodes", "Drivers", Column::Count(&["spec.drivers"])),
    ("storage.k8s.io", "storageclasses", "AllowVolumeExpansion", Column::Field("allowVolumeExpansion", "false")),
    ("storage.k8s.io", "storageclasses", "Provisioner", Column::Field("provisioner", r#""""#)),
    ("storage.k8s.io", "storageclasses", "ReclaimPolicy", Column::Field("reclaimPolicy", r#""Delete""#)),
    ("storage.k8s.io", "storageclasses", "VolumeBindingMode", Column::Field("volumeBindingMode", r#""Immediate""#)),
    ("storage.k8s.io", "volumeattachments", "Attached", Column::Field("status.attached", "false")),
    ("storage.k8s.io", "volumeattachments", "Attacher", Column::Field("spec.attacher", r#""""#)),
    ("storage.k8s.io", "volumeattachments", "Node", Column::Field("spec.nodeName", r#""""#)),
    ("storage.k8s.io", "volumeattachments", "PV", Column::Field("spec.source.persistentVolumeName", r#""""#)),
    ("storage.k8s.io", "volumeattributesclasses", "DriverName", Column::Field("driverName", r#""""#)),
];

/// Appends a table of one row. Events of a watch name the columns once.
pub(crate) fn push_object(
    served: &Served,
    accepted: Accepted,
    body: &Body<'_>,
    version: u64,
    now: i64,
    columns: bool,
    json: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    json.extend_from_slice(&head(accepted));
    json.extend_from_slice(itoa::Buffer::new().format(version).as_bytes());
    json.extend_from_slice(br#""}"#);
    push_columns(served, columns, json);
    push_row(served, accepted, body, version, now, json)?;
    json.extend_from_slice(b"]}");
    Ok(())
}

/// What a table begins with, up to the value of `resourceVersion`.
pub(crate) fn head(accepted: Accepted) -> Vec<u8> {
    let api_version = accepted.meta_version.api_version();
    format!(r#"{{"kind":"Table","apiVersion":"{api_version}","metadata":{{"resourceVersion":""#).into_bytes()
}

pub(crate) fn push_columns(served: &Served, columns: bool, json: &mut Vec<u8>) {
    json.extend_from_slice(br#","columnDefinitions":"#);
    if !columns {
        json.extend_from_slice(br#"null,"rows":["#);
        return;
    }
    for (at, column) in served.resource.columns.iter().enumerate() {
        json.extend_from_slice(if at == 0 { br#"[{"name":"# } else { br#",{"name":"# });
        push_json_string(json, &column.name);
        let (ty, format, priority) = (column.ty, column.format, column.priority);
        json.extend_from_slice(
            format!(r#","type":"{ty}","format":"{format}","description":"","priority":{priority}}}"#).as_bytes(),
        );
    }
    json.extend_from_slice(br#"],"rows":["#);
}

/// Appends a row.
pub(crate) fn push_row(
    served: &Served,
    accepted: Accepted,
    body: &Body<'_>,
    version: u64,
    now: i64,
    json: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let text = body.text().to_vec();
    let tree = decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore)?.tree;
    json.extend_from_slice(br#"{"cells":["#);
    for (at, column) in served.resource.columns.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        push_cell(served, &tree, &column.name, now, json);
    }
    json.push(b']');
    match accepted.include {
        Include::Nothing => json.extend_from_slice(br#","object":null"#),
        Include::Metadata => {
            json.extend_from_slice(br#","object":"#);
            push_partial(accepted.meta_version, body, version, json);
        }
        Include::Object => {
            json.extend_from_slice(br#","object":"#);
            body.write(&served.head, version, json);
        }
    }
    json.push(b'}');
    Ok(())
}

fn push_cell(served: &Served, tree: &Tree, column: &str, now: i64, json: &mut Vec<u8>) {
    let metadata = Metadata::of(served, tree);
    let (group, resource) = (served.resource.group, served.resource.name);
    let of_kind = served.strategy.and_then(|strategy| strategy.columns.iter().find(|(name, _)| *name == column));
    let listed = || CELLS.iter().find(|(g, r, c, _)| (*g, *r, *c) == (group, resource, column)).map(|rule| rule.3);
    let rule = of_kind.map(|(_, rule)| *rule).or_else(listed);
    match (column, rule) {
        ("Name", _) => push_json_string(json, metadata.name()),
        ("Age", _) => match metadata.creation() {
            Some(created) => push_json_string(json, &age(now - created)),
            None => json.extend_from_slice(UNKNOWN.as_bytes()),
        },
        ("Created At", _) => match metadata.creation() {
            Some(created) => {
                json.push(b'"');
                push_time(json, created);
                json.push(b'"');
            }
            None => json.extend_from_slice(b"null"),
        },
        (_, Some(Column::Field(path, absent))) => push_field(served, tree, path, absent, json),
        (_, Some(Column::Count(paths))) => {
            let count: usize =
                paths.iter().filter_map(|path| at_path(served, tree, path)).map(|node| tree.len(node)).sum();
            json.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
        }
        _ => match served.strategy.and_then(|strategy| (strategy.cell)(tree, column, now)) {
            Some(Cell::Text(text)) => push_json_string(json, &text),
            Some(Cell::Int(value)) => json.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
            Some(Cell::Bool(value)) => json.extend_from_slice(if value { b"true" } else { b"false" }),
            Some(Cell::Duration(seconds)) => push_json_string(json, &age(seconds)),
            None => json.extend_from_slice(UNKNOWN.as_bytes()),
        },
    }
}

fn at_path(served: &Served, tree: &Tree, path: &str) -> Option<NodeId> {
    path.split('.').try_fold(tree.root(), |node, name| named(served.schema, tree, node, name))
}

fn push_field(served: &Served, tree: &Tree, path: &str, absent: &str, json: &mut Vec<u8>) {
    let Some(node) = at_path(served, tree, path) else { return json.extend_from_slice(absent.as_bytes()) };
    match tree.kind(node) {
        Kind::String => push_json_string(json, tree.string(node).unwrap_or_default()),
        // A number in a column of texts (a Revision, a Min Available) is printed as text by upstream.
        Kind::Int => json.extend_from_slice(itoa::Buffer::new().format(tree.int(node).unwrap_or_default()).as_bytes()),
        Kind::Bool => json.extend_from_slice(if tree.bool(node) == Some(true) { b"true" } else { b"false" }),
        _ => json.extend_from_slice(UNKNOWN.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_names_a_column() {
        let of_kinds = portcullis_kinds::strategy::all().flat_map(|(group, resource, strategy)| {
            strategy.columns.iter().map(move |(column, _)| (group, resource, *column))
        });
        let listed = CELLS.iter().map(|(group, resource, column, _)| (*group, *resource, *column));
        for (group, resource, column) in of_kinds.chain(listed) {
            let known = portcullis_kinds::resources().all().iter().any(|held| {
                (held.group, held.name) == (group, resource) && held.columns.iter().any(|held| *held.name == *column)
            });
            assert!(known, "{group}/{resource} {column}");
        }
    }
}
