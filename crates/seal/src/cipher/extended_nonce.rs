//! AES-256-GCM under a key of its own for each value, derived from a seed: info (32), then as `aes_gcm` (upstream: KMS v2's
//! `HKDF_SHA256_XNONCE_AES_GCM_SEED`).
//!
//! The info is random and the key is HKDF-Expand(seed, info), so that a seed is good for more values than anybody writes.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{AesGcm, CipherError, random};

/// Bytes of a seed that is made here; one that is read has as many at least.
pub(crate) const SEED_LEN: usize = 32;
const INFO_LEN: usize = 32;
/// HKDF's counter of the first block: 32 bytes are one block of SHA-256.
const FIRST_BLOCK: u8 = 1;

pub(crate) struct ExtendedNonce(hmac::Key);

impl ExtendedNonce {
    /// Takes a seed of 32 bytes or more.
    pub(crate) fn new(seed: &[u8]) -> Option<Self> {
        // A plain HMAC and not the library's HKDF: that one takes no seed of more than 64 bytes.
        (seed.len() >= SEED_LEN).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, seed)))
    }

    fn derived(&self, info: &[u8; INFO_LEN]) -> Result<AesGcm, CipherError> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(info);
        context.update(&[FIRST_BLOCK]);
        let tag = context.sign();
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(tag.as_ref());
        AesGcm::new(&*key).ok_or(CipherError::Failed)
    }

    pub(crate) fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), CipherError> {
        let info = random::<INFO_LEN>()?;
        out.extend_from_slice(&info);
        self.derived(&info)?.seal(place, plain, out)
    }

    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (info, rest) = sealed.split_first_chunk::<INFO_LEN>().ok_or(CipherError::TooShort)?;
        self.derived(info)?.open(place, rest)
    }
}
