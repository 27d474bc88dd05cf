//! AES-GCM: nonce (12), ciphertext, tag (16). The place is authenticated with it.
//!
//! Nonces are random, so a key is good for 2^32 values at the very most; the key file counts (`key_file`), an operator's
//! configuration can not.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::{CipherError, random};

pub(crate) struct AesGcm(LessSafeKey);

impl AesGcm {
    /// Takes a key of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        Some(Self(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?)))
    }

    pub(super) fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CipherError> {
        self.seal_with(random()?, place, plain, out)
    }

    /// The nonce must never have been used with this key.
    fn seal_with(
        &self,
        nonce: [u8; NONCE_LEN],
        place: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CipherError> {
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plain);
        let (_, body) = out.split_at_mut(start);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.0.seal_in_place_separate_tag(nonce, Aad::from(place), body);
        let tag = sealed.map_err(|_| CipherError::Failed)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CipherError::TooShort)?;
        let mut buffer = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.0.open_in_place(nonce, Aad::from(place), &mut buffer);
        let len = plain.map_err(|_| CipherError::NotAuthentic)?.len();
        buffer.truncate(len);
        Ok(buffer)
    }
}
