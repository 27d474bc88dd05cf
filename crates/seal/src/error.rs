//! Why a value is not sealed or not opened. The text is for the one who asked and for the log alike: it names providers and the
//! names of keys, never what a plugin said about itself; that is the source.

use std::sync::Arc;

use crate::{CipherError, EnvelopeError, KeyFileError, KmsError};

/// Why a value was not sealed. Nothing may be stored instead.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The KMS gave no key to seal with, or was silent for too long.
    #[error("KMS provider {provider:?} has no key to seal with")]
    Kms {
        /// Its name.
        provider: String,
        /// Why.
        source: Arc<KmsError>,
    },
    /// The key file could not be written, so it is not certain that its key may still be used.
    #[error("the seal key can not be used")]
    KeyFile(#[source] KeyFileError),
    /// The algorithm failed.
    #[error("sealing under {provider:?} failed")]
    Cipher {
        /// Which provider and key.
        provider: String,
        /// Why.
        source: CipherError,
    },
}

/// Why a stored value was not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// No provider of the resource knows what it begins with, or it is sealed and no provider of the resource opens anything.
    #[error("no matching prefix found")]
    NoProvider,
    /// The provider has no key of that name.
    #[error("no matching key was found for the provided {provider} transformer")]
    NoKey {
        /// Upstream's word for the provider.
        provider: &'static str,
    },
    /// It was changed, cut, or sealed for another place or under another key of that name.
    #[error("the stored data can not be opened under {provider:?}")]
    Damaged {
        /// Which provider and key.
        provider: String,
        /// Why.
        source: CipherError,
    },
    /// It is no envelope of a KMS.
    #[error("the stored data is no envelope of KMS provider {provider:?}")]
    Envelope {
        /// Its name.
        provider: String,
        /// Why.
        source: EnvelopeError,
    },
    /// Its key is with the KMS: ask again with [`crate::Seals::open_fetching`], which waits.
    #[error("the key of the stored data is with KMS provider {provider:?} and was not fetched yet")]
    KeyNotHere {
        /// Its name.
        provider: String,
    },
    /// The KMS did not give the key.
    #[error("failed to decrypt DEK with KMS provider {provider:?}")]
    Kms {
        /// Its name.
        provider: String,
        /// Why.
        source: Arc<KmsError>,
    },
}
