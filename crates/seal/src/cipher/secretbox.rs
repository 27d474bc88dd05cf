//! NaCl's secretbox, XSalsa20 and Poly1305: nonce (24), tag (16), ciphertext.
//!
//! Its nonces are long enough to be random for ever. It has no room for the place: a value that was moved to another key path
//! opens there.

use crypto_secretbox::aead::AeadInPlace as _;
use crypto_secretbox::{KeyInit as _, Nonce, Tag, XSalsa20Poly1305};

use super::{CipherError, random};

const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;

pub(crate) struct Secretbox(XSalsa20Poly1305);

impl Secretbox {
    /// Takes a key of 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        XSalsa20Poly1305::new_from_slice(key).ok().map(Self)
    }

    pub(super) fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CipherError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut body = plain.to_vec();
        let sealed = self.0.encrypt_in_place_detached(&Nonce::from(nonce), b"", &mut body);
        let tag = sealed.map_err(|_| CipherError::Failed)?;
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&tag);
        out.extend_from_slice(&body);
        Ok(())
    }

    pub(super) fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CipherError::TooShort)?;
        let (tag, body) = rest.split_first_chunk::<TAG_LEN>().ok_or(CipherError::TooShort)?;
        let mut buffer = body.to_vec();
        let opened = self.0.decrypt_in_place_detached(&Nonce::from(*nonce), b"", &mut buffer, &Tag::from(*tag));
        opened.map_err(|_| CipherError::NotAuthentic)?;
        Ok(buffer)
    }
}
