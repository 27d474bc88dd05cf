//! KMS v2: keys that are encrypted by a plugin behind a unix socket (upstream: KEP-3299).
//!
//! One seed at a time seals ([`Kms::seal`] never waits); the plugin has encrypted it, and what it made stands in each envelope. The
//! plugin is asked for its status every minute, every ten seconds while it is not well. It is not well when it does not answer, says
//! so, or has moved to another key and does not encrypt a new seed under that one. A plugin that is down when the server starts
//! starts nothing and ends nothing: what is under it can not be sealed or opened until it answers, and readyz says so.

mod deks;
mod envelope;
mod link;
mod source;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use prost::Message as _;
use tonic::Code;

use crate::cipher::{self, CipherError, ExtendedNonce, OVERHEAD_MAX, SEED_LEN};
use crate::secret::Secret;
use crate::{OpenError, SealError};

use self::deks::{DekName, Deks, name_of};
pub use self::envelope::EnvelopeError;
use self::link::Link;
use self::source::SourceKey;
use self::wire::{DecryptRequest, EncryptRequest, EncryptedObject, SOURCE_SEED, StatusResponse};

/// How often a plugin that is well is asked for its status; upstream's.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// How often one that is not; upstream's.
const CHECK_INTERVAL_UNWELL: Duration = Duration::from_secs(10);
/// For how long is sealed under a seed after the last time that all was well; upstream's.
const WRITE_FOR: Duration = Duration::from_secs(3 * 60);
/// What plugins call the versions of the interface that is spoken here.
const VERSIONS: [&str; 2] = ["v2", "v2beta1"];
const HEALTHY: &str = "ok";
/// Letters of what a plugin says about itself that are repeated.
const WORD_LEN_MAX: usize = 64;

/// Why a KMS gave no key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KmsError {
    /// It was not asked yet.
    #[error("it was not asked yet")]
    NotAsked,
    /// A call failed.
    #[error("rpc error: code = {} desc = {said}", code_name(*.code))]
    Call {
        /// How.
        code: Code,
        /// What it said, or what went wrong.
        said: String,
    },
    /// It says that it is not well.
    #[error("got unexpected healthz status: {0}")]
    Unhealthy(String),
    /// It speaks another version.
    #[error("expected KMSv2 API version v2, got {0}")]
    Version(String),
    /// What it said can not be stored.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It has a new key, but encrypts under another.
    #[error("failed to rotate DEK: the key of Encrypt is not that of Status")]
    OtherKey,
    /// The seed is no longer used: the plugin was not well for too long.
    #[error("encryptedDEKSource expired: the plugin has not been well for {}s", WRITE_FOR.as_secs())]
    Expired(#[source] Arc<KmsError>),
    /// It decrypted to something that is no key.
    #[error("a key of {0} bytes came from Decrypt")]
    KeyLength(usize),
    /// Too many keys are being asked for.
    #[error("too many keys are asked for at a time")]
    Busy,
    /// Nothing random can be had.
    #[error(transparent)]
    Cipher(#[from] CipherError),
}

/// Returns gRPC's name of a code, as Go prints it.
pub fn code_name(code: Code) -> String {
    match code {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        code => format!("{code:?}"),
    }
}

/// Is told of each call of a KMS.
pub trait KmsObserver: Send + Sync + 'static {
    /// A call has ended; `method` is its path.
    fn called(&self, provider: &str, method: &'static str, code: Code, took: Duration);
}

/// Nobody, until somebody wants to know.
pub(crate) type Observer = Arc<OnceLock<Arc<dyn KmsObserver>>>;

/// How a KMS is.
#[derive(Clone, Debug)]
pub struct KmsHealth {
    /// The provider's name.
    pub name: String,
    /// Why it is not well, if it is not.
    pub failure: Option<Arc<KmsError>>,
    /// Keys of it that are kept.
    pub keys: usize,
}

/// Where a KMS is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KmsSettings {
    pub(crate) name: String,
    /// The path of the socket; one that begins with `@` has no file.
    pub(crate) socket: String,
    pub(crate) timeout: Duration,
}

/// What is sealed with: a seed, and what the KMS made of it.
#[derive(Clone)]
struct Writer {
    seed: Arc<ExtendedNonce>,
    source: Bytes,
    key_id: String,
    annotations: BTreeMap<String, Vec<u8>>,
    until: Instant,
}

/// A KMS.
pub(crate) struct Kms {
    settings: KmsSettings,
    link: Link,
    writer: ArcSwapOption<Writer>,
    failure: ArcSwapOption<KmsError>,
    deks: Deks,
    /// One check at a time: two would make a seed each, and the later one could be of the older key. Nobody who seals or opens waits
    /// for it.
    checking: tokio::sync::Mutex<()>,
}

impl Kms {
    /// Prepares one; nothing is sent. Needs a running runtime.
    pub(crate) fn new(settings: KmsSettings, observer: Observer) -> Result<Self, tonic::transport::Error> {
        let link = Link::new(&settings, observer)?;
        Ok(Self {
            settings,
            link,
            writer: ArcSwapOption::empty(),
            failure: ArcSwapOption::from_pointee(KmsError::NotAsked),
            deks: Deks::default(),
            checking: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn settings(&self) -> &KmsSettings {
        &self.settings
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(crate) fn health(&self) -> KmsHealth {
        self.health_at(Instant::now())
    }

    /// A plugin that is slow to say how it is may be given any time; that nothing can be sealed meanwhile is said here.
    fn health_at(&self, now: Instant) -> KmsHealth {
        let failure = self.failure.load_full().or_else(|| self.writer_at(now).err());
        KmsHealth { name: self.name().to_owned(), failure, keys: self.deks.len() }
    }

    /// Appends the envelope of `plain`.
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        self.seal_at(Instant::now(), place, plain, out)
    }

    fn seal_at(&self, now: Instant, place: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let writer =
            self.writer_at(now).map_err(|source| SealError::Kms { provider: self.name().to_owned(), source })?;
        let mut data = Vec::with_capacity(plain.len() + 2 * OVERHEAD_MAX);
        let failed = |source| SealError::Cipher { provider: format!("kms:v2:{}", self.name()), source };
        writer.seed.seal(place, plain, &mut data).map_err(failed)?;
        let object = EncryptedObject {
            encrypted_data: data.into(),
            key_id: writer.key_id.clone(),
            encrypted_dek_source: writer.source.clone(),
            annotations: writer.annotations.clone(),
            encrypted_dek_source_type: SOURCE_SEED,
        };
        // A Vec has room for everything.
        object.encode(out).map_err(|_| failed(CipherError::Failed))
    }

    fn writer_at(&self, now: Instant) -> Result<Arc<Writer>, Arc<KmsError>> {
        let failure = || self.failure.load_full().unwrap_or_else(|| Arc::new(KmsError::NotAsked));
        match self.writer.load_full() {
            Some(writer) if now <= writer.until => Ok(writer),
            Some(_) => Err(Arc::new(KmsError::Expired(failure()))),
            None => Err(failure()),
        }
    }

    /// Returns what is in an envelope, and whether it would be sealed under another key today. Never waits.
    pub(crate) fn open(&self, place: &[u8], stored: &[u8]) -> Result<(Vec<u8>, bool), OpenError> {
        let (object, name) = self.read(stored)?;
        let key = self.deks.get(&name, Instant::now());
        let key = key.ok_or_else(|| OpenError::KeyNotHere { provider: self.name().to_owned() })?;
        self.open_with(&key, &object, place)
    }

    /// Makes sure that the key of an envelope is here.
    pub(crate) async fn fetch(&self, stored: &[u8]) -> Result<(), OpenError> {
        let (object, name) = self.read(stored)?;
        let fetched = self.deks.get_or_ask(name, || self.decrypt(object)).await;
        fetched.map(drop).map_err(|source| OpenError::Kms { provider: self.name().to_owned(), source })
    }

    fn read(&self, stored: &[u8]) -> Result<(EncryptedObject, DekName), OpenError> {
        let object = envelope::decode(stored)
            .map_err(|source| OpenError::Envelope { provider: self.name().to_owned(), source })?;
        let name = name_of(&object);
        Ok((object, name))
    }

    fn open_with(&self, key: &SourceKey, object: &EncryptedObject, place: &[u8]) -> Result<(Vec<u8>, bool), OpenError> {
        let plain = key.open(place, &object.encrypted_data);
        let plain =
            plain.map_err(|source| OpenError::Damaged { provider: format!("kms:v2:{}", self.name()), source })?;
        // While nobody knows the newest key, nothing is of an older one.
        let is_stale = object.encrypted_dek_source_type != SOURCE_SEED
            || self.writer.load().as_ref().is_some_and(|writer| writer.key_id != object.key_id);
        Ok((plain, is_stale))
    }

    async fn decrypt(&self, object: EncryptedObject) -> Result<SourceKey, KmsError> {
        let EncryptedObject { encrypted_dek_source, key_id, annotations, encrypted_dek_source_type, .. } = object;
        let request = DecryptRequest { ciphertext: encrypted_dek_source, uid: uid()?, key_id, annotations };
        let answer = self.link.decrypt(request).await?;
        SourceKey::new(encrypted_dek_source_type, &answer.plaintext)
    }

    /// Asks for the status, and makes a new seed when the key has changed. Says once what changed.
    pub(crate) async fn check(&self) -> Result<(), Arc<KmsError>> {
        let _one_at_a_time = self.checking.lock().await;
        // From before the call: what comes late must not last longer.
        let until = Instant::now() + WRITE_FOR;
        let checked = match self.link.status().await {
            Ok(status) => self.judge(&status, until).await,
            Err(error) => Err(error),
        };
        let failure = checked.err().map(Arc::new);
        let before = self.failure.swap(failure.clone());
        let provider = self.name();
        match (&before, &failure) {
            (Some(_), None) => tracing::info!(provider, "KMS provider is well"),
            (before, Some(failure)) => {
                let reason = failure.to_string();
                if before.as_ref().is_none_or(|before| before.to_string() != reason) {
                    tracing::error!(provider, reason, "KMS provider is not well");
                }
            }
            (None, None) => {}
        }
        failure.map_or(Ok(()), Err)
    }

    async fn judge(&self, status: &StatusResponse, until: Instant) -> Result<(), KmsError> {
        envelope::check_key_id(&status.key_id)?;
        if status.healthz != HEALTHY {
            return Err(KmsError::Unhealthy(word(&status.healthz)));
        }
        if !VERSIONS.contains(&status.version.as_str()) {
            return Err(KmsError::Version(word(&status.version)));
        }
        let writer = match self.writer.load_full() {
            Some(writer) if writer.key_id == status.key_id => Writer { until, ..(*writer).clone() },
            _ => self.new_writer(&status.key_id, until).await?,
        };
        self.writer.store(Some(Arc::new(writer)));
        Ok(())
    }

    async fn new_writer(&self, key_id: &str, until: Instant) -> Result<Writer, KmsError> {
        let plain = Secret::new(cipher::random::<SEED_LEN>()?);
        let request = EncryptRequest { plaintext: plain.to_vec(), uid: uid()? };
        let answer = self.link.encrypt(request).await?;
        envelope::check_parts(&answer.ciphertext, &answer.key_id, &answer.annotations)?;
        if answer.key_id != key_id {
            return Err(KmsError::OtherKey);
        }
        let seed = Arc::new(ExtendedNonce::new(&*plain).ok_or(KmsError::KeyLength(SEED_LEN))?);
        let object = EncryptedObject {
            encrypted_data: Bytes::new(),
            key_id: answer.key_id,
            encrypted_dek_source: answer.ciphertext,
            annotations: answer.annotations,
            encrypted_dek_source_type: SOURCE_SEED,
        };
        // What is sealed from now on is opened without asking.
        let kept = SourceKey::Seed(Arc::clone(&seed));
        self.deks.keep(name_of(&object), Arc::new(kept), Instant::now());
        tracing::info!(provider = self.name(), "a new seed was made for a key of the KMS");
        let EncryptedObject { key_id, encrypted_dek_source, annotations, .. } = object;
        Ok(Writer { seed, source: encrypted_dek_source, key_id, annotations, until })
    }

    /// Checks for as long as it is polled.
    pub(crate) async fn tend(&self) {
        loop {
            let checked = self.check().await;
            tokio::time::sleep(next_check_after(checked.is_ok())).await;
        }
    }
}

/// How long until the next status.
fn next_check_after(is_well: bool) -> Duration {
    if is_well { CHECK_INTERVAL } else { CHECK_INTERVAL_UNWELL }
}

/// A plugin's word about itself, so short that it can be repeated.
fn word(text: &str) -> String {
    text.chars().take(WORD_LEN_MAX).collect()
}

/// A random UUID, by which a plugin's log can be matched with ours.
fn uid() -> Result<String, KmsError> {
    let bits = (u128::from_be_bytes(cipher::random()?) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |range| hex.get::<std::ops::Range<usize>>(range).unwrap_or_default();
    Ok([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}

#[cfg(test)]
mod tests;
