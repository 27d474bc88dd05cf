//! What a test remembers of an object: who it is, its version, and a digest of everything else. Two observers who saw the same
//! state have the same digest, whatever form each of them asked for and whatever version the state was shown with.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The label that the last write to every object sets: who has seen it on all has seen everything.
pub const END_MARK: &str = "history/end";

/// Which part of an object an observer gets to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Its metadata.
    Metadata,
    /// What this project's reader of protobuf understands: names, uid, labels, data.
    Core,
}

/// An object as one observer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Namespace and name.
    pub key: String,
    /// The version that it was shown with.
    pub version: u64,
    /// Of all else that the observer saw.
    pub digest: u64,
    /// Whether it bears the end mark.
    pub is_marked: bool,
}

impl Seen {
    /// Remembers an object of which a part was asked for.
    pub fn of(mut object: Value, part: Part) -> Result<Self> {
        let (key, version) = (key(&object)?, version(&object)?);
        let is_marked = object["metadata"]["labels"].get(END_MARK).is_some();
        let digest = digest(&mut object, part);
        Ok(Self { key, version, digest, is_marked })
    }
}

/// Namespace and name.
pub fn key(object: &Value) -> Result<String> {
    let metadata = &object["metadata"];
    match (metadata["namespace"].as_str(), metadata["name"].as_str()) {
        (Some(namespace), Some(name)) => Ok(format!("{namespace}/{name}")),
        _ => bail!("an object without its name: {object}"),
    }
}

/// The version of an object or a list.
pub fn version(object: &Value) -> Result<u64> {
    let text = object["metadata"]["resourceVersion"].as_str().with_context(|| format!("no version: {object}"))?;
    text.parse().with_context(|| format!("not a version: {text:?}"))
}

/// Of a part of an object without its version. What a list and an event differ in (type head, version) is taken away.
pub fn digest(object: &mut Value, part: Part) -> u64 {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    let text = match part {
        Part::Whole => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            object.to_string()
        }
        Part::Metadata => object["metadata"].to_string(),
        Part::Core => {
            let metadata = &object["metadata"];
            let part = |value: &Value| if value.is_null() { json!({}) } else { value.clone() };
            let (labels, data) = (part(&metadata["labels"]), part(&object["data"]));
            json!([metadata["namespace"], metadata["name"], metadata["uid"], labels, data]).to_string()
        }
    };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
