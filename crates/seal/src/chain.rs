//! The providers of a resource, in their order: the first one seals, all of them open (upstream: prefix transformers).

use std::sync::Arc;

use bytes::Bytes;

use crate::cipher::{Cipher, OVERHEAD_MAX};
use crate::kms::Kms;
use crate::{KeyFile, OpenError, SEALED_PREFIX, SealError};

/// One way to seal.
pub(crate) enum Provider {
    /// Keys that an operator wrote down.
    Keys(Keys),
    /// Keys that are with somebody else.
    Kms(Arc<Kms>),
    /// The keys that were made here.
    KeyFile(Arc<KeyFile>),
    /// No sealing.
    Identity,
}

/// Keys of one algorithm; the first one seals.
pub(crate) struct Keys {
    /// Upstream's word for the provider in errors.
    pub(crate) word: &'static str,
    /// `k8s:enc:aesgcm:v1:` and such.
    pub(crate) prefix: &'static str,
    pub(crate) keys: Vec<NamedKey>,
}

/// A key and its name.
pub(crate) struct NamedKey {
    pub(crate) name: String,
    pub(crate) cipher: Cipher,
}

/// What KMS envelopes begin with, before the provider's name.
const KMS_PREFIX: &str = "k8s:enc:kms:v2:";

impl Provider {
    fn seal(&self, place: &[u8], plain: &Bytes) -> Result<Bytes, SealError> {
        match self {
            Provider::Keys(keys) => keys.seal(place, plain).map(Bytes::from),
            Provider::Kms(kms) => {
                let mut out = Vec::with_capacity(plain.len() + 4 * OVERHEAD_MAX);
                for part in [KMS_PREFIX, kms.name(), ":"] {
                    out.extend_from_slice(part.as_bytes());
                }
                kms.seal(place, plain, &mut out)?;
                Ok(out.into())
            }
            Provider::KeyFile(file) => file.seal(place, plain).map(Bytes::from),
            Provider::Identity => Ok(plain.clone()),
        }
    }

    /// Opens what is this provider's, and says whether an older key of it sealed that; nothing when it is another's.
    fn open(&self, place: &[u8], stored: &Bytes) -> Option<Result<(Bytes, bool), OpenError>> {
        let opened = match self {
            Provider::Keys(keys) => keys.open(place, stored)?,
            Provider::Kms(kms) => kms.open(place, kms_envelope(kms, stored)?),
            Provider::KeyFile(file) => file.open_value(place, stored)?,
            Provider::Identity if stored.starts_with(SEALED_PREFIX) => return None,
            Provider::Identity => return Some(Ok((stored.clone(), false))),
        };
        Some(opened.map(|(plain, is_stale)| (plain.into(), is_stale)))
    }
}

/// What stands behind the prefix of this KMS.
fn kms_envelope<'s>(kms: &Kms, stored: &'s [u8]) -> Option<&'s [u8]> {
    stored.strip_prefix(KMS_PREFIX.as_bytes())?.strip_prefix(kms.name().as_bytes())?.strip_prefix(b":")
}

impl Keys {
    fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        // A provider without keys is refused when it is read.
        let key = self.keys.first().ok_or_else(|| SealError::Cipher {
            provider: self.prefix.to_owned(),
            source: crate::CipherError::Failed,
        })?;
        key.seal(self.prefix, place, plain)
    }

    fn open(&self, place: &[u8], stored: &[u8]) -> Option<Result<(Vec<u8>, bool), OpenError>> {
        let rest = stored.strip_prefix(self.prefix.as_bytes())?;
        let mut error = OpenError::NoKey { provider: self.word };
        // Names may be there twice, and one may begin with another and a colon: all that fit are tried.
        for (at, key) in self.keys.iter().enumerate() {
            match key.open(self.prefix, place, rest) {
                Some(Ok(plain)) => return Some(Ok((plain, at != 0))),
                Some(Err(found)) => error = found,
                None => {}
            }
        }
        Some(Err(error))
    }
}

impl NamedKey {
    /// Returns prefix, name, a colon, and what the cipher makes of `plain`.
    pub(crate) fn seal(&self, prefix: &str, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::with_capacity(prefix.len() + self.name.len() + plain.len() + 1 + OVERHEAD_MAX);
        for part in [prefix, &self.name, ":"] {
            out.extend_from_slice(part.as_bytes());
        }
        let failed = |source| SealError::Cipher { provider: self.label(prefix), source };
        self.cipher.seal(place, plain, &mut out).map_err(failed)?;
        Ok(out)
    }

    /// Opens what stands behind the prefix if it has this key's name.
    pub(crate) fn open(&self, prefix: &str, place: &[u8], rest: &[u8]) -> Option<Result<Vec<u8>, OpenError>> {
        let sealed = rest.strip_prefix(self.name.as_bytes())?.strip_prefix(b":")?;
        let failed = |source| OpenError::Damaged { provider: self.label(prefix), source };
        Some(self.cipher.open(place, sealed).map_err(failed))
    }

    fn label(&self, prefix: &str) -> String {
        format!("{}{}", prefix.trim_start_matches("k8s:enc:"), self.name)
    }
}

/// The providers of a resource.
pub(crate) struct Chain(Vec<Arc<Provider>>);

impl Chain {
    pub(crate) fn new(providers: Vec<Arc<Provider>>) -> Self {
        Chain(providers)
    }

    /// Whether what is written is sealed.
    pub(crate) fn seals(&self) -> bool {
        self.0.first().is_some_and(|provider| !matches!(**provider, Provider::Identity))
    }

    /// Whether it is sealed under the key file.
    pub(crate) fn seals_under_key_file(&self) -> bool {
        self.0.first().is_some_and(|provider| matches!(**provider, Provider::KeyFile(_)))
    }

    pub(crate) fn seal(&self, place: &[u8], plain: &Bytes) -> Result<Bytes, SealError> {
        match self.0.first() {
            Some(provider) => provider.seal(place, plain),
            None => Provider::Identity.seal(place, plain),
        }
    }

    /// Returns what was sealed, and whether another provider or key would seal it today.
    pub(crate) fn open(&self, place: &[u8], stored: &Bytes) -> Result<(Bytes, bool), OpenError> {
        let mut error = OpenError::NoProvider;
        for (at, provider) in self.0.iter().enumerate() {
            match provider.open(place, stored) {
                Some(Ok((plain, is_stale))) => return Ok((plain, is_stale || at != 0)),
                // One algorithm may be there twice, with other keys: the next one may open it. That a name is missing
                // says least.
                Some(Err(found)) if matches!(error, OpenError::NoProvider | OpenError::NoKey { .. }) => error = found,
                Some(Err(_)) | None => {}
            }
        }
        Err(error)
    }

    /// The KMS that a value is under, if it is under one of these.
    pub(crate) fn kms_of<'s>(&self, stored: &'s [u8]) -> Option<(Arc<Kms>, &'s [u8])> {
        self.0.iter().find_map(|provider| match &**provider {
            Provider::Kms(kms) => kms_envelope(kms, stored).map(|envelope| (Arc::clone(kms), envelope)),
            _ => None,
        })
    }
}
