//! Objects as rows, for `kubectl get` (upstream: `meta.k8s.io` Table and the printers).
//!
//! Name, age and creation time are computed for every kind. All other cells are said in the kind's file: a column that shows one field as
//! it is by `Strategy::columns`, what needs code by `Strategy::cell`; without either it is `<unknown>`, of any column type.

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
    let columns = served.resource.columns.iter().map(|column| column.name.as_str());
    let more = served.strategy.map_or(&[][..], |strategy| strategy.cells_without_column);
    for (at, column) in columns.chain(more.iter().copied()).enumerate() {
        if at > 0 {
            json.push(b',');
        }
        push_cell(served, &tree, column, now, json);
    }
    json.push(b']');
    match accepted.include {
        Include::Nothing | Include::Unknown => json.extend_from_slice(br#","object":null"#),
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
    let of_kind = served.strategy.and_then(|strategy| strategy.columns.iter().find(|(name, _)| *name == column));
    let rule = of_kind.map(|(_, rule)| *rule);
    match (column, rule) {
        // Some kinds show with its name what an object is among its like.
        ("Name", _) => match served.strategy.and_then(|strategy| (strategy.cell)(tree, column, now)) {
            Some(Cell::Text(text)) => push_json_string(json, &text),
            _ => push_json_string(json, metadata.name()),
        },
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
    #[test]
    fn every_rule_names_a_column() {
        let of_kinds = portcullis_kinds::strategy::all().flat_map(|(group, resource, strategy)| {
            strategy.columns.iter().map(move |(column, _)| (group, resource, *column))
        });
        for (group, resource, column) in of_kinds {
            let known = portcullis_kinds::resources().all().iter().any(|held| {
                (held.group, held.name) == (group, resource) && held.columns.iter().any(|held| *held.name == *column)
            });
            assert!(known, "{group}/{resource} {column}");
        }
    }
}
