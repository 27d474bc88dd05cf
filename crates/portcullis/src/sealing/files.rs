//! The files that sealing lives by, followed while the server runs (upstream: `--encryption-provider-config-automatic-reload`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_gate::{BoxError, FileFollower, LiveFile, Reload, ReloadedFile};
use portcullis_seal::{EncryptionConfiguration, KeyFile, SealsChange};

use super::StoreSealing;

/// Says what an operator should know of a configuration.
pub(super) fn warn(configuration: &EncryptionConfiguration) {
    for warning in configuration.warnings() {
        tracing::warn!(%warning, "encryption configuration");
    }
}

/// The EncryptionConfiguration in force.
pub(super) struct ConfigurationFile {
    file: LiveFile,
    sealing: Arc<StoreSealing>,
    /// It was not taken the last time, perhaps since a KMS was not well: it is tried again although it is the same.
    is_pending: AtomicBool,
}

impl ConfigurationFile {
    pub(super) fn new(file: LiveFile, sealing: Arc<StoreSealing>) -> Self {
        Self { file, sealing, is_pending: AtomicBool::new(false) }
    }

    fn look(&self) -> Result<Reload, BoxError> {
        let text = match self.is_pending.load(Ordering::Relaxed) {
            true => Some(self.file.read()?),
            false => self.file.read_changed()?,
        };
        let (Some(text), Some(seals)) = (text, self.sealing.seals()) else { return Ok(Reload::Unchanged) };
        let configuration = EncryptionConfiguration::parse(&text)?;
        match tokio::runtime::Handle::current().block_on(seals.reload(&configuration))? {
            SealsChange::Unchanged => Ok(Reload::Unchanged),
            SealsChange::Replaced(changed) => {
                warn(&configuration);
                for resource in &changed {
                    let rule = &resource.rule;
                    tracing::info!(rule, writes_change = resource.writes_change, "other providers are in force");
                }
                self.sealing.keys_changed();
                Ok(Reload::Replaced)
            }
        }
    }
}

impl FileFollower for ConfigurationFile {
    fn name(&self) -> &'static str {
        "encryption configuration"
    }

    fn counted_as(&self) -> Option<ReloadedFile> {
        Some(ReloadedFile::Encryption)
    }

    fn reload(&self) -> Result<Reload, BoxError> {
        let looked = self.look();
        self.is_pending.store(looked.is_err(), Ordering::Relaxed);
        looked
    }
}

/// The seal key, to which another process may add one (`portcullis store rotate-key`).
pub(super) struct FollowedKey {
    file: Arc<KeyFile>,
    sealing: Arc<StoreSealing>,
}

impl FollowedKey {
    pub(super) fn new(file: Arc<KeyFile>, sealing: Arc<StoreSealing>) -> Self {
        Self { file, sealing }
    }
}

impl FileFollower for FollowedKey {
    fn name(&self) -> &'static str {
        "seal key"
    }

    fn reload(&self) -> Result<Reload, BoxError> {
        if !self.file.reload()? {
            return Ok(Reload::Unchanged);
        }
        self.sealing.keys_changed();
        Ok(Reload::Replaced)
    }
}
