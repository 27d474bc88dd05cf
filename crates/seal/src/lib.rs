//! Sealing at rest: how a stored value is made unreadable without its key, and readable with it (A17; upstream:
//! `EncryptionConfiguration`, KEP-3299 for KMS v2).
//!
//! A value is sealed for its key path, by the first provider of the list that its resource has, in upstream's formats to the byte:
//! what upstream sealed is opened here, and the other way round. Sealing never waits; opening waits only where a key is with a KMS
//! and was not fetched yet, and then it says so first ([`OpenError::KeyNotHere`]).
//!
//! What this crate never does: know what a value is, write one, show a key to anybody (no key has a Debug, and no error holds
//! one), or take a value for good that was not sealed as its resource demands, but for one that was never sealed.
//!
//! Reading order: [`Seals`] (which provider, swapped while in use), `chain` (the providers of a resource), `cipher` (the four
//! algorithms), `kms` (keys that are with somebody else), [`KeyFile`] (the key that is made when nobody says anything), and
//! [`EncryptionConfiguration`] (the operator's file). See docs/decisions/0018.

mod chain;
mod cipher;
mod configuration;
mod error;
mod key_file;
mod kms;
mod seals;
mod secret;

pub use cipher::CipherError;
pub use configuration::{ConfigurationError, EncryptionConfiguration, Warning};
pub use error::{OpenError, SealError};
pub use key_file::{KeyFile, KeyFileError, KeyInfo, Missing, TextError, WRITES_PER_KEY_MAX};
pub use kms::{EnvelopeError, KmsError, KmsHealth, KmsObserver, code_name};
pub use seals::{ChangedResource, DEFAULT_RESOURCES, Opened, ReloadError, Resource, Seals, SealsChange};

/// What every sealed value begins with.
pub const SEALED_PREFIX: &[u8] = b"k8s:enc:";

/// Returns under what a stored value is sealed, as it says itself: `aesgcm:v1:key1`, `kms:v2:cloud`; nothing when it is not.
pub fn sealed_under(stored: &[u8]) -> Option<&str> {
    let rest = stored.strip_prefix(SEALED_PREFIX)?;
    let mut colons = rest.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let label = rest.get(..colons.nth(2)?)?;
    str::from_utf8(label).ok()
}
