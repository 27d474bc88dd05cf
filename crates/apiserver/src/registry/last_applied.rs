//! The annotation in which kubectl's client-side apply keeps what it applied, while its users go over to server-side apply (upstream:
//! `lastAppliedManager` and `lastAppliedUpdater` of `managedfields`; KEP-555).
//!
//! Only the manager that kubectl calls itself is helped: what the annotation says, and the object still has, it may take from whoever
//! wrote it, which was kubectl under another name. Whoever goes back to client-side apply finds in the annotation what was applied last.

use portcullis_model::go_text::push_json_string;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::field_set::PathSet;
use portcullis_model::schema::managed::{Conflict, compare, fields};
use portcullis_model::tree::Tree;
use serde_json::Value;

use super::Served;
use super::metadata::metadata_of;

/// The manager whose annotation is looked at.
pub const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Of all annotations of an object (upstream: `TotalAnnotationSizeLimitB`).
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// What others own beyond what kubectl applied from the client and nobody changed since.
pub fn beyond(served: &Served, live: &Tree, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let Some(allowed) = still_applied(served, live) else { return conflicts };
    let left = conflicts.into_iter().map(|mut conflict| {
        conflict.fields = conflict.fields.difference(&allowed);
        conflict
    });
    left.filter(|conflict| !conflict.fields.is_empty()).collect()
}

/// The fields of the annotation that the object still has as they are there; none when it has no such annotation or it is of another
/// version.
fn still_applied(served: &Served, live: &Tree) -> Option<PathSet> {
    let (_, text) = annotations(served, live).find(|(name, text)| *name == ANNOTATION && !text.is_empty())?;
    let (schema, ty) = (served.schema, served.resource.type_id);
    let read = decode_json::decode_as_given(schema, ty, text.as_bytes().to_vec(), FieldValidation::Strict).ok()?;
    if read.findings.iter().any(|finding| finding.starts_with("unknown")) {
        return None;
    }
    let applied = read.tree;
    let version = schema.ty(ty).find("apiVersion").and_then(|number| applied.field(applied.root(), number));
    if version.and_then(|node| applied.string(node)) != Some(&*served.resource.api_version) {
        return None;
    }
    let found = compare(schema, &applied, live).ok()?;
    Some(fields(schema, &applied).ok()?.difference(&found.changed).difference(&found.removed))
}

/// Writes what was applied into the annotation of an object that has one. One that would become too large goes.
pub fn note(served: &Served, tree: &mut Tree, applied: &[u8]) {
    if !annotations(served, tree).any(|(name, text)| name == ANNOTATION && !text.is_empty()) {
        return;
    }
    let Some(text) = annotation_of(applied) else { return };
    let others = annotations(served, tree).filter(|(name, _)| *name != ANNOTATION);
    let others: usize = others.map(|(name, text)| name.len() + text.len()).sum();
    let metadata = metadata_of(served, tree);
    let Some(annotations) = tree.field(metadata, served.meta.annotations) else { return };
    if others + ANNOTATION.len() + text.len() > ANNOTATIONS_BYTES_MAX {
        tree.remove_key(annotations, ANNOTATION);
    } else {
        tree.insert(annotations, ANNOTATION, &text);
    }
}

fn annotations<'a>(served: &Served, tree: &'a Tree) -> impl Iterator<Item = (&'a str, &'a str)> {
    let metadata = tree.field(tree.root(), served.fields.metadata);
    let held = metadata.and_then(|metadata| tree.field(metadata, served.meta.annotations));
    held.into_iter()
        .flat_map(|held| tree.entries(held))
        .map(|(name, text)| (name, tree.string(text).unwrap_or_default()))
}

/// What was applied, without the annotation itself, as Go writes it.
fn annotation_of(applied: &[u8]) -> Option<String> {
    let mut value: Value = serde_json::from_slice(applied).ok()?;
    if let Some(annotations) = value.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let mut out = Vec::new();
    write(&value, &mut out);
    out.push(b'\n');
    String::from_utf8(out).ok()
}

/// What is still to be written.
enum Piece<'a> {
    Value(&'a Value),
    Name(&'a str),
    Text(u8),
}

/// Writes a value with its members in the order of their names.
fn write(value: &Value, out: &mut Vec<u8>) {
    let mut open = vec![Piece::Value(value)];
    while let Some(piece) = open.pop() {
        match piece {
            Piece::Text(byte) => out.push(byte),
            Piece::Name(name) => {
                push_json_string(out, name);
                out.push(b':');
            }
            Piece::Value(Value::String(text)) => push_json_string(out, text),
            Piece::Value(Value::Array(elements)) => {
                out.push(b'[');
                open.push(Piece::Text(b']'));
                for (at, element) in elements.iter().enumerate().rev() {
                    open.push(Piece::Value(element));
                    open.extend((at > 0).then_some(Piece::Text(b',')));
                }
            }
            Piece::Value(Value::Object(members)) => {
                out.push(b'{');
                open.push(Piece::Text(b'}'));
                let mut members: Vec<(&String, &Value)> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                for (at, (name, value)) in members.into_iter().enumerate().rev() {
                    open.push(Piece::Value(value));
                    open.push(Piece::Name(name));
                    open.extend((at > 0).then_some(Piece::Text(b',')));
                }
            }
            Piece::Value(scalar) => out.extend_from_slice(scalar.to_string().as_bytes()),
        }
    }
}
