//! Stored objects in the form that upstream's API server gives them in etcd, and back: protobuf in its envelope, or JSON with its
//! type head for the kinds that have no protobuf, in the version that upstream stores. So a cluster's etcd is served by either of them.
//!
//! Answers to `runtime/serializer` and the storage versions that `facts/v1_36/resources.facts` records. An object of another version than
//! upstream stores today is read too: an older server wrote it.

mod definition;

use bytes::Bytes;
use portcullis_kinds::resources::Encoding;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::decode_protobuf::{self, Envelope};
use portcullis_model::schema::{DecodeError, encode_protobuf};
use portcullis_model::tree::Tree;

use crate::registry::{Registry, Served};
use crate::scan::Members;

/// Why a value cannot be brought into the other form.
#[derive(Debug, thiserror::Error)]
pub enum EtcdFormError {
    /// Its kind or version is none that is known under its key.
    #[error("{kind:?} of version {api_version:?} is not what is kept under this key")]
    UnknownKind {
        /// What it says it is.
        kind: String,
        /// The version that it says it has.
        api_version: String,
    },
    /// It is neither JSON nor protobuf in an envelope.
    #[error("it is neither JSON nor protobuf")]
    UnknownEncoding,
    /// A definition in an older version that cannot be followed.
    #[error("the definition cannot be read")]
    Definition,
    /// It does not fit its type.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Returns a stored object in etcd's form. `served` is its resource in the version that is stored.
pub(crate) fn to_etcd(served: &Served, value: &Bytes) -> Result<Bytes, EtcdFormError> {
    let kind = served.resource.kind;
    let Some(storage) = &served.resource.storage else { return Err(EtcdFormError::UnknownEncoding) };
    let api_version = portcullis_kinds::resources::api_version(storage.group, storage.version);
    if storage.encoding == Encoding::Protobuf {
        let tree =
            decode_json::decode(served.schema, served.stored_type, value.to_vec(), FieldValidation::Ignore)?.tree;
        let message = encode_protobuf::encode(served.schema, &tree);
        return Ok(encode_protobuf::envelope(&api_version, kind, &message).into());
    }
    let older = definition::is_stored_as(kind, &api_version);
    let text = if older { definition::to_v1beta1(value).ok_or(EtcdFormError::Definition)? } else { value.to_vec() };
    let mut out = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","#).into_bytes();
    out.extend_from_slice(text.strip_prefix(b"{").ok_or(EtcdFormError::UnknownEncoding)?);
    // Upstream's encoder ends a line.
    out.push(b'\n');
    Ok(out.into())
}

/// Returns what etcd holds of an object in the form that it is stored in here: with defaults, canonical, in the stored version.
pub(crate) fn from_etcd(registry: &Registry, served: &Served, held: &[u8]) -> Result<Bytes, EtcdFormError> {
    let (served, mut tree) = match held.first() {
        Some(b'{') => from_json(registry, served, held)?,
        Some(b'k') => {
            let envelope = Envelope::read(held)?;
            let served = version_of(registry, served, envelope.kind, envelope.api_version)?;
            (served, decode_protobuf::decode(served.schema, served.resource.type_id, envelope.raw)?)
        }
        _ => return Err(EtcdFormError::UnknownEncoding),
    };
    served.default(&mut tree);
    Ok(served.store(&mut tree)?)
}

fn from_json<'a>(registry: &'a Registry, served: &'a Served, held: &[u8]) -> Result<(&'a Served, Tree), EtcdFormError> {
    let held = held.trim_ascii_end();
    let (kind, api_version) = type_head(held).ok_or(EtcdFormError::UnknownEncoding)?;
    let (served, text) = if kind == served.resource.kind && definition::is_stored_as(kind, api_version) {
        (served, definition::from_v1beta1(held).ok_or(EtcdFormError::Definition)?)
    } else {
        (version_of(registry, served, kind, api_version)?, held.to_vec())
    };
    Ok((served, decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore)?.tree))
}

/// Kind and version of an object in JSON, wherever they stand in it.
fn type_head(text: &[u8]) -> Option<(&str, &str)> {
    let (mut kind, mut api_version) = ("", "");
    let mut members = Members { text, at: 1 };
    while let Some((name, value)) = members.next()? {
        let value = || std::str::from_utf8(text.get(value)?).ok()?.strip_prefix('"')?.strip_suffix('"');
        match text.get(name)? {
            b"kind" => kind = value()?,
            b"apiVersion" => api_version = value()?,
            _ => {}
        }
    }
    Some((kind, api_version))
}

/// The resource that shares its storage with `served` and has this kind and version.
fn version_of<'a>(
    registry: &'a Registry,
    served: &'a Served,
    kind: &str,
    api_version: &str,
) -> Result<&'a Served, EtcdFormError> {
    let is_it = |other: &&Served| other.resource.kind == kind && other.resource.api_version == api_version;
    let known = registry.all().iter().filter(|other| other.prefix() == served.prefix()).find(is_it);
    // A version that is stored and no longer served differs in nothing but its name.
    let is_stored_name = || {
        let stored = served.resource.storage.as_ref();
        served.resource.kind == kind
            && stored.is_some_and(|stored| {
                portcullis_kinds::resources::api_version(stored.group, stored.version) == api_version
            })
    };
    match known {
        Some(known) => Ok(known),
        None if is_stored_name() => Ok(served),
        None => Err(EtcdFormError::UnknownKind { kind: kind.to_owned(), api_version: api_version.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;
    use std::path::Path;
    use std::sync::Arc;

    use base64::Engine as _;
    use portcullis_store::Catalog as _;
    use serde_json::Value;

    use super::*;

    /// What is written back otherwise than it was, and why.
    const OTHERWISE: &[(&str, &str)] = &[
        ("/registry/controllerrevisions/store/ex-revision:", "free JSON is kept without space between its tokens"),
        ("/registry/jobs/store/ex-job:", "labels have a default, which upstream gives when it reads, too"),
        ("/registry/jobs/store/ex-job-min:", "the same"),
        ("/registry/persistentvolumeclaims/store/ex-pvc:", "the phase has a default, too"),
    ];

    /// Every key and value that a 1.36.3 API server left in an etcd, each once.
    fn pairs() -> Option<Vec<(String, Bytes)>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/data/etcd.jsonl.gz");
        let Ok(file) = std::fs::File::open(path) else {
            println!("skipped: no ../shared/corpus/data/etcd.jsonl.gz here");
            return None;
        };
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let pair = |line: &str| {
            let pair: Value = serde_json::from_str(line).unwrap();
            let value = base64::engine::general_purpose::STANDARD.decode(pair["value"].as_str().unwrap()).unwrap();
            (pair["key"].as_str().unwrap().to_owned(), Bytes::from(value))
        };
        Some(text.lines().map(pair).collect())
    }

    #[test]
    fn what_upstream_left_is_read_and_written_back_byte_for_byte() {
        let Some(pairs) = pairs() else { return };
        let catalog = crate::Catalog::new(Arc::new(Registry::new()));
        let mut wrong = Vec::new();
        let mut indexed = 0;
        for (key, value) in &pairs {
            let own = match catalog.own_form(key, value) {
                Ok(own) => own,
                Err(error) => {
                    wrong.push(format!("{key}: {error}"));
                    continue;
                }
            };
            indexed += usize::from(!catalog.index(key, &own).is_unreadable());
            let written = catalog.to_etcd(key, &own).unwrap();
            if written != value {
                let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                wrong.push(format!("{key}:\n  is   {}\n  was  {}", text(&written), text(value)));
            }
        }
        wrong.retain(|said| !OTHERWISE.iter().any(|(key, _)| said.starts_with(key)));
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
        assert_eq!((pairs.len(), indexed), (261, 257));
    }
}
