//! What the key of an envelope is: the seed of many keys, or (before 1.29) one key.

use std::sync::Arc;

use crate::cipher::{AesGcm, CipherError, ExtendedNonce};

use super::KmsError;
use super::wire::SOURCE_SEED;

/// Bytes of a seed that a KMS decrypted.
const SEED_LEN_MAX: usize = 1 << 10;

/// The key of an envelope, decrypted.
pub(super) enum SourceKey {
    /// One key a value.
    Seed(Arc<ExtendedNonce>),
    /// The key of all values. Nothing is sealed under it here.
    Key(AesGcm),
}

impl SourceKey {
    pub(super) fn new(source_type: i32, plain: &[u8]) -> Result<Self, KmsError> {
        let made = match source_type {
            SOURCE_SEED if plain.len() <= SEED_LEN_MAX => {
                ExtendedNonce::new(plain).map(|seed| SourceKey::Seed(Arc::new(seed)))
            }
            SOURCE_SEED => None,
            _ => AesGcm::new(plain).map(SourceKey::Key),
        };
        made.ok_or(KmsError::KeyLength(plain.len()))
    }

    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            SourceKey::Seed(seed) => seed.open(place, sealed),
            SourceKey::Key(key) => key.open(place, sealed),
        }
    }
}
