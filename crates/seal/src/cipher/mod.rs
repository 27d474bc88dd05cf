//! The algorithms, each as upstream lays out its bytes. What they make is random, and opens only whole.

mod aes_cbc;
mod aes_gcm;
mod extended_nonce;
mod secretbox;

use aws_lc_rs::rand;

pub(crate) use self::aes_cbc::AesCbc;
pub(crate) use self::aes_gcm::AesGcm;
pub(crate) use self::extended_nonce::{ExtendedNonce, SEED_LEN};
pub(crate) use self::secretbox::Secretbox;

/// Bytes that a cipher adds at most; only a hint for buffers.
pub(crate) const OVERHEAD_MAX: usize = 64;

/// Why an algorithm failed. It says as little as it can: how a forgery fails is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// There are fewer bytes than the format has at least.
    #[error("the stored data was shorter than the required size")]
    TooShort,
    /// It is not what was sealed for this place under this key.
    #[error("the stored data is not authentic: it was changed, moved, or sealed under another key")]
    NotAuthentic,
    /// Nothing random can be had, or the value is larger than the algorithm takes.
    #[error("the cipher failed")]
    Failed,
}

/// A key ready for use.
pub(crate) enum Cipher {
    /// Binds to the place.
    AesGcm(AesGcm),
    /// Binds to nothing, and does not notice every change.
    AesCbc(Box<AesCbc>),
    /// Notices every change, but not that a value was moved.
    Secretbox(Secretbox),
}

impl Cipher {
    /// Appends `plain`, sealed for `place`. After an error the buffer is to be thrown away.
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CipherError> {
        match self {
            Cipher::AesGcm(cipher) => cipher.seal(place, plain, out),
            Cipher::AesCbc(cipher) => cipher.seal(plain, out),
            Cipher::Secretbox(cipher) => cipher.seal(plain, out),
        }
    }

    /// Returns what was sealed for `place`.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Cipher::AesGcm(cipher) => cipher.open(place, sealed),
            Cipher::AesCbc(cipher) => cipher.open(sealed),
            Cipher::Secretbox(cipher) => cipher.open(sealed),
        }
    }
}

/// Random bytes of the system's generator.
pub(crate) fn random<const LEN: usize>() -> Result<[u8; LEN], CipherError> {
    let mut bytes = [0; LEN];
    rand::fill(&mut bytes).map_err(|_| CipherError::Failed)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
