//! AES-CBC with PKCS#7 padding: initialisation vector (16), blocks.
//!
//! Nothing authenticates it: who can write to the store can change what it holds without the key. It is here because there are
//! clusters that have it.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;

use super::{CipherError, random};

const BLOCK_LEN: usize = 16;

pub(crate) struct AesCbc {
    encrypting: PaddedBlockEncryptingKey,
    decrypting: PaddedBlockDecryptingKey,
}

impl AesCbc {
    /// Takes a key of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            _ => return None,
        };
        let unbound = || UnboundCipherKey::new(algorithm, key).ok();
        Some(Self {
            encrypting: PaddedBlockEncryptingKey::cbc_pkcs7(unbound()?).ok()?,
            decrypting: PaddedBlockDecryptingKey::cbc_pkcs7(unbound()?).ok()?,
        })
    }

    pub(super) fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CipherError> {
        let iv = random::<BLOCK_LEN>()?;
        // Room for the padding, so that the plain text is not left behind in a smaller buffer.
        let mut body = Vec::with_capacity(plain.len() + BLOCK_LEN);
        body.extend_from_slice(plain);
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.encrypting.less_safe_encrypt(&mut body, context).map_err(|_| CipherError::Failed)?;
        out.extend_from_slice(&iv);
        out.extend_from_slice(&body);
        Ok(())
    }

    pub(super) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (iv, body) = sealed.split_first_chunk::<BLOCK_LEN>().ok_or(CipherError::TooShort)?;
        if body.is_empty() {
            return Err(CipherError::TooShort);
        }
        if !body.len().is_multiple_of(BLOCK_LEN) {
            return Err(CipherError::NotAuthentic);
        }
        let mut buffer = body.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(*iv));
        let plain = self.decrypting.decrypt(&mut buffer, context).map_err(|_| CipherError::NotAuthentic)?;
        let len = plain.len();
        buffer.truncate(len);
        Ok(buffer)
    }
}
