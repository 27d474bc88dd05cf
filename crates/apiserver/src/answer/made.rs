//! Objects that have no place in the store, as answers: reviews, scales, the statuses of components.

use http::{Response, StatusCode};
use portcullis_gate::Body as HttpBody;
use portcullis_kinds::views;
use portcullis_kinds::views::autoscaling_v1::Scale;
use portcullis_model::go_text::push_json_string;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{TypeRef, encode_json, encode_protobuf};
use portcullis_model::status::Status;
use portcullis_model::time::age;
use portcullis_model::tree::{NodeId, Tree};

use super::{Failure, misshown, to_yaml_if, typed, unreadable};
use crate::negotiate::{Accepted, Format, Include, MetaVersion, Shape};
use crate::registry::Served;
use crate::registry::metadata::Metadata;
use crate::registry::validate::named;
use crate::table;

/// The columns of a scale: name, type, format (upstream: `scaleColumnDefinitions`).
const SCALE_COLUMNS: [(&str, &str, &str); 4] =
    [("Name", "string", "name"), ("Desired", "integer", ""), ("Available", "integer", ""), ("Age", "string", "")];

/// An object that has no place in the store.
pub struct Made {
    /// Its fields, without the type head.
    pub tree: Tree,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// The HTTP status.
    pub code: StatusCode,
}

pub(super) fn made_in(
    served: &Served,
    accepted: Accepted,
    made: &Made,
    now: i64,
) -> Result<Response<HttpBody>, Failure> {
    let text = match (accepted.format, accepted.shape) {
        (Format::Protobuf, Shape::Object) => {
            let message = encode_protobuf::encode(served.schema, &made.tree);
            encode_protobuf::envelope(&made.api_version, &made.kind, &message)
        }
        (Format::Protobuf, shape) => {
            let kind = if shape == Shape::MetadataList { "PartialObjectMetadataList" } else { "PartialObjectMetadata" };
            let json = made_json(served, accepted, made, now)?;
            encode_protobuf::envelope(accepted.meta_version.api_version(), kind, &partial_message(served, kind, json)?)
        }
        _ => to_yaml_if(accepted.format, made_json(served, accepted, made, now)?)?,
    };
    Ok(typed(made.code, accepted, text))
}

/// The JSON of an object that is not stored.
///
/// # Errors
/// 406 where it is not what is asked for: a list is no object, and an object no list.
pub(crate) fn made_json(served: &Served, accepted: Accepted, made: &Made, now: i64) -> Result<Vec<u8>, Failure> {
    let group = made.api_version.split_once('/').map_or("", |(group, _)| group);
    let items = named(served.schema, &made.tree, made.tree.root(), "items");
    let mut json = Vec::with_capacity(256);
    match (accepted.shape, items) {
        (Shape::Object, _) => push_object(served, &made.tree, &made.kind, &made.api_version, &mut json),
        (Shape::Metadata, None) => {
            push_metadata(served, accepted.meta_version, &made.tree, made.tree.root(), &mut json)
        }
        (Shape::MetadataList, Some(items)) => push_list(served, accepted.meta_version, &made.tree, items, &mut json),
        (Shape::Table, None) if made.tree.object_type(made.tree.root()) == Some(Scale::TYPE) => {
            push_scale(served, accepted, &made.tree, now, &mut json);
        }
        _ => return Err(Box::new(misshown(accepted.shape, group, &made.kind))),
    }
    Ok(json)
}

/// The protobuf message of metadata that were written as JSON.
fn partial_message(served: &Served, kind: &str, json: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let name = format!("apimachinery.pkg.apis.meta.v1.{kind}");
    let missing = || Box::new(Status::internal_error("the facts have no metadata alone"));
    let ty = served.schema.by_name(&name).ok_or_else(missing)?;
    let tree = decode_json::decode(served.schema, ty, json, FieldValidation::Ignore).map_err(unreadable)?.tree;
    Ok(encode_protobuf::encode(served.schema, &tree))
}

fn push_object(served: &Served, tree: &Tree, kind: &str, api_version: &str, json: &mut Vec<u8>) {
    let body = encode_json::to_vec(served.schema, tree);
    json.extend_from_slice(format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}""#).as_bytes());
    if body.len() > 2 {
        json.push(b',');
    }
    json.extend_from_slice(body.get(1..).unwrap_or_default());
}

/// The metadata of an object as an object of their own. What has none has empty ones.
fn push_metadata(served: &Served, version: MetaVersion, tree: &Tree, object: NodeId, json: &mut Vec<u8>) {
    let version = version.api_version();
    json.extend_from_slice(
        format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"{version}","metadata":"#).as_bytes(),
    );
    match named(served.schema, tree, object, "metadata").filter(|node| tree.object_type(*node) == Some(served.meta.ty))
    {
        Some(node) => {
            encode_json::write_value(served.schema, tree, node, TypeRef::Object(served.meta.ty), json);
        }
        None => json.extend_from_slice(b"{}"),
    }
    json.push(b'}');
}

fn push_list(served: &Served, version: MetaVersion, tree: &Tree, items: NodeId, json: &mut Vec<u8>) {
    let list = version.api_version();
    json.extend_from_slice(
        format!(r#"{{"kind":"PartialObjectMetadataList","apiVersion":"{list}","metadata":{{}},"items":["#).as_bytes(),
    );
    for (at, item) in tree.children(items).enumerate() {
        if at > 0 {
            json.push(b',');
        }
        push_metadata(served, version, tree, item, json);
    }
    json.extend_from_slice(b"]}");
}

/// A table of one scale.
fn push_scale(served: &Served, accepted: Accepted, tree: &Tree, now: i64, json: &mut Vec<u8>) {
    let scale: Scale<'_> = views::read(tree);
    let metadata = Metadata::at(served, tree, named(served.schema, tree, tree.root(), "metadata"));
    json.extend_from_slice(&table::head(accepted));
    json.extend_from_slice(metadata.resource_version().as_bytes());
    json.extend_from_slice(br#""},"columnDefinitions":["#);
    for (at, (name, ty, format)) in SCALE_COLUMNS.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        json.extend_from_slice(
            format!(r#"{comma}{{"name":"{name}","type":"{ty}","format":"{format}","description":"","priority":0}}"#)
                .as_bytes(),
        );
    }
    json.extend_from_slice(br#"],"rows":[{"cells":["#);
    push_json_string(json, metadata.name());
    let (desired, available) = (scale.spec().replicas(), scale.status().replicas());
    json.extend_from_slice(format!(",{desired},{available},").as_bytes());
    push_json_string(json, &metadata.creation().map_or("<unknown>".to_owned(), |created| age(now - created)));
    json.extend_from_slice(br#"],"object":"#);
    match accepted.include {
        Include::Metadata => push_metadata(served, accepted.meta_version, tree, tree.root(), json),
        Include::Object => push_object(served, tree, "Scale", "autoscaling/v1", json),
        Include::Nothing | Include::Unknown => json.extend_from_slice(b"null"),
    }
    json.extend_from_slice(b"}]}");
}
