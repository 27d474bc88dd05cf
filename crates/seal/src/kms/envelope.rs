//! What is stored for a value under a KMS, and what may be in it: upstream's limits and words.

use std::collections::BTreeMap;

use portcullis_model::names;
use prost::Message as _;

use super::wire::{EncryptedObject, SOURCE_KEY, SOURCE_SEED};

/// Bytes of a key's id.
pub(super) const KEY_ID_LEN_MAX: usize = 1 << 10;
/// Bytes of a key that the KMS encrypted.
pub(super) const SOURCE_LEN_MAX: usize = 1 << 10;
/// Bytes of all annotations.
pub(super) const ANNOTATIONS_LEN_MAX: usize = 32 << 10;

/// Why something is no envelope, or what a KMS said can not be put in one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is no message of that form.
    #[error("it is no EncryptedObject")]
    Malformed,
    /// The source's type is unknown.
    #[error("unknown encryptedDEKSourceType: {0}")]
    SourceType(i32),
    /// There is nothing in it.
    #[error("encrypted data is empty")]
    NoData,
    /// There is no key in it.
    #[error("failed to validate encrypted DEK source: encrypted DEK source is empty")]
    NoSource,
    /// The encrypted key is too large.
    #[error(
        "failed to validate encrypted DEK source: encrypted DEK source is {0} bytes, which exceeds the max size of \
         {SOURCE_LEN_MAX}"
    )]
    SourceTooLarge(usize),
    /// The key has no id.
    #[error("failed to validate key id: keyID is empty")]
    NoKeyId,
    /// The key's id is too long.
    #[error("failed to validate key id: keyID is {0} bytes, which exceeds the max size of {KEY_ID_LEN_MAX}")]
    KeyIdTooLong(usize),
    /// The annotations are too large.
    #[error(
        "failed to validate annotations: total size of annotations is {0}, which exceeds the max size of \
         {ANNOTATIONS_LEN_MAX}"
    )]
    AnnotationsTooLarge(usize),
    /// An annotation is not named as they must be.
    #[error("failed to validate annotations: annotations: Invalid value: {0:?}: {1}")]
    AnnotationName(String, String),
}

/// Reads what is stored behind the prefix.
pub(super) fn decode(stored: &[u8]) -> Result<EncryptedObject, EnvelopeError> {
    let object = EncryptedObject::decode(stored).map_err(|_| EnvelopeError::Malformed)?;
    check(&object)?;
    Ok(object)
}

fn check(object: &EncryptedObject) -> Result<(), EnvelopeError> {
    if !matches!(object.encrypted_dek_source_type, SOURCE_KEY | SOURCE_SEED) {
        return Err(EnvelopeError::SourceType(object.encrypted_dek_source_type));
    }
    if object.encrypted_data.is_empty() {
        return Err(EnvelopeError::NoData);
    }
    check_parts(&object.encrypted_dek_source, &object.key_id, &object.annotations)
}

/// What a KMS says about a key.
pub(super) fn check_parts(
    source: &[u8],
    key_id: &str,
    annotations: &BTreeMap<String, Vec<u8>>,
) -> Result<(), EnvelopeError> {
    match source.len() {
        0 => return Err(EnvelopeError::NoSource),
        len if len > SOURCE_LEN_MAX => return Err(EnvelopeError::SourceTooLarge(len)),
        _ => {}
    }
    check_key_id(key_id)?;
    let size = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > ANNOTATIONS_LEN_MAX {
        return Err(EnvelopeError::AnnotationsTooLarge(size));
    }
    for name in annotations.keys() {
        check_annotation_name(name)?;
    }
    Ok(())
}

pub(super) fn check_key_id(key_id: &str) -> Result<(), EnvelopeError> {
    match key_id.len() {
        0 => Err(EnvelopeError::NoKeyId),
        len if len > KEY_ID_LEN_MAX => Err(EnvelopeError::KeyIdTooLong(len)),
        _ => Ok(()),
    }
}

/// A name has a domain of its owner: two labels at least.
fn check_annotation_name(name: &str) -> Result<(), EnvelopeError> {
    let refuse = |why: &str| Err(EnvelopeError::AnnotationName(name.to_owned(), why.to_owned()));
    let domain = name.strip_suffix('.').unwrap_or(name);
    if let Some(complaint) = names::dns1123_subdomain(domain).first() {
        return refuse(complaint);
    }
    if !domain.contains('.') {
        return refuse("should be a domain with at least two segments separated by dots");
    }
    for label in domain.split('.') {
        if let Some(complaint) = names::dns1123_label(label).first() {
            return refuse(complaint);
        }
    }
    Ok(())
}
