//! Label and field selectors over stored objects. Names come from the key; labels are read out of the metadata alone, and other fields
//! out of the whole object only when a selector asks for one.

use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::selectors::{FieldSelector, Selector, UnknownField as Words};
use portcullis_model::status::Status;
use portcullis_model::tree::{Kind, NodeId, Tree};

use crate::answer::{Failure, unreadable};
use crate::body::Body;
use crate::registry::Served;
use crate::registry::metadata::Metadata;
use crate::registry::rules::{SelectableField, UnknownField};
use crate::registry::validate::named;

const FIELD_NAME: &str = "metadata.name";
const FIELD_NAMESPACE: &str = "metadata.namespace";

/// Which objects of a collection are meant.
#[derive(Clone, Debug)]
pub struct Selection {
    labels: Selector,
    fields: FieldSelector,
    asks_for_content: bool,
}

impl Selection {
    /// Reads both selectors for a resource.
    pub fn parse(served: &Served, labels: &str, fields: &str) -> Result<Selection, Failure> {
        let labels = Selector::parse(labels).map_err(|error| refuse(error.to_string()))?;
        let fields = FieldSelector::parse(fields).map_err(|error| refuse(error.to_string()))?;
        check_fields(served, &fields)?;
        let asks_for_content =
            fields.terms().iter().any(|term| ![FIELD_NAME, FIELD_NAMESPACE].contains(&term.field.as_str()));
        Ok(Selection { labels, fields, asks_for_content })
    }

    /// Whether all objects are meant.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The only name that can be meant, if the selector says so.
    pub fn name(&self) -> Option<&str> {
        self.fields.required_value(FIELD_NAME)
    }

    /// Whether a stored object is meant.
    pub fn matches(&self, served: &Served, key: &str, value: &[u8]) -> Result<bool, Failure> {
        if !self.fields.is_everything() && !self.matches_fields(served, key, value)? {
            return Ok(false);
        }
        if self.labels.is_everything() {
            return Ok(true);
        }
        let tree = metadata_alone(served, value)?;
        let labels: Vec<(&str, &str)> = labels_of(served, &tree);
        Ok(self.labels.matches(|key| {
            let at = labels.binary_search_by(|(held, _)| (*held).cmp(key)).ok()?;
            labels.get(at).map(|(_, value)| *value)
        }))
    }

    fn matches_fields(&self, served: &Served, key: &str, value: &[u8]) -> Result<bool, Failure> {
        let (namespace, name) = served.names(key);
        let tree = if self.asks_for_content {
            let text = value.to_vec();
            let decoded = decode_json::decode(served.schema, served.stored_type, text, FieldValidation::Ignore);
            Some(decoded.map_err(unreadable)?.tree)
        } else {
            None
        };
        let mut contents = Vec::new();
        for term in self.fields.terms() {
            let known = served.rules.fields.iter().find(|field| field.label == term.field);
            let content =
                known.zip(tree.as_ref()).map(|(field, tree)| content(served, tree, field)).unwrap_or_default();
            contents.push((term.field.as_str(), content));
        }
        Ok(self.fields.matches(|field| match field {
            FIELD_NAME => name,
            FIELD_NAMESPACE => namespace,
            other => contents.iter().find(|(held, _)| *held == other).map_or("", |(_, content)| content.as_str()),
        }))
    }
}

fn refuse(message: String) -> Failure {
    Box::new(Status::bad_request(message))
}

fn check_fields(served: &Served, fields: &FieldSelector) -> Result<(), Failure> {
    let mut known = vec![FIELD_NAME, FIELD_NAMESPACE];
    known.extend(served.rules.fields.iter().map(|field| field.label));
    let words = match served.rules.unknown_field {
        UnknownField::OnlyMetadata => Words::ListsKnown,
        UnknownField::NotSupported => Words::NamesField,
        UnknownField::NotSupportedForKind => {
            let unknown = fields.terms().iter().find(|term| !known.contains(&term.field.as_str()));
            let Some(term) = unknown else { return Ok(()) };
            let (api_version, kind) = (&served.resource.api_version, served.resource.kind);
            return Err(refuse(format!("field label not supported for {api_version}, Kind={kind}: {}", term.field)));
        }
    };
    fields.check_fields(&known, words).map_err(|error| refuse(error.to_string()))
}

/// The metadata of a stored object as a tree of `PartialObjectMetadata`.
fn metadata_alone(served: &Served, value: &[u8]) -> Result<Tree, Failure> {
    let metadata = Body::of(value)?.metadata();
    let mut text = Vec::with_capacity(metadata.len() + 16);
    text.extend_from_slice(br#"{"metadata":"#);
    text.extend_from_slice(metadata);
    text.push(b'}');
    let decoded = decode_json::decode(served.schema, served.meta.partial_ty, text, FieldValidation::Ignore);
    Ok(decoded.map_err(unreadable)?.tree)
}

fn labels_of<'a>(served: &'a Served, tree: &'a Tree) -> Vec<(&'a str, &'a str)> {
    let number = served.schema.ty(served.meta.partial_ty).find("metadata");
    let node = number.and_then(|number| tree.field(tree.root(), number));
    Metadata::at(served, tree, node).labels().collect()
}

/// What a selectable field holds, as text.
fn content(served: &Served, tree: &Tree, field: &SelectableField) -> String {
    let held = field.paths.iter().find_map(|path| at_path(served, tree, path));
    held.filter(|text| !text.is_empty()).unwrap_or_else(|| field.absent.to_owned())
}

fn at_path(served: &Served, tree: &Tree, path: &str) -> Option<String> {
    let mut node = tree.root();
    for name in path.split('.') {
        node = named(served.schema, tree, node, name)?;
    }
    scalar_text(tree, node)
}

/// A scalar as it stands in a field selector.
pub fn scalar_text(tree: &Tree, node: NodeId) -> Option<String> {
    match tree.kind(node) {
        Kind::String => tree.string(node).map(str::to_owned),
        Kind::Bool => tree.bool(node).map(|value| value.to_string()),
        Kind::Int => tree.int(node).map(|value| value.to_string()),
        _ => None,
    }
}
