//! How stored values are unreadable where they are kept (A17): by the operator's EncryptionConfiguration, or under the seal key, which is
//! made at the first start and lies outside the data directory.
//!
//! The store asks [`StoreSealing`] for each value; which resource a key belongs to is known to its catalog. Files are followed, KMS
//! looked after, and what is sealed otherwise than it would be today is written anew while the server runs. See
//! docs/decisions/0018.

mod files;
mod key_path;
mod metrics;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::builder::BoolishValueParser;
use portcullis_gate::{FileFollower, LiveFile};
use portcullis_seal::{EncryptionConfiguration, KeyFile, Missing, Seals};
use portcullis_store::Catalog;

use crate::configuration::Defaults;

pub(crate) use key_path::{SealKey, refuse_in_data_directory};
pub(crate) use metrics::register as register_metrics;
pub(crate) use store::StoreSealing;

/// How often the files are looked at: somebody who gave the key a successor waits for it.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a start waits for KMS to say how they are.
const KMS_START_WAIT: Duration = Duration::from_secs(5);

/// How stored values are sealed.
#[derive(Debug, clap::Args)]
pub(crate) struct SealingArguments {
    /// Seal stored values as this EncryptionConfiguration says; it is followed
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// Upstream's; the file is followed in any case
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        requires = "encryption_provider_config"
    )]
    encryption_provider_config_automatic_reload: Option<bool>,
    #[command(flatten)]
    key: SealKey,
}

/// What seals, and the files that it lives by.
pub(crate) struct Prepared {
    /// What the store asks.
    pub(crate) sealing: Arc<StoreSealing>,
    /// Followed for as long as the server runs.
    pub(crate) followers: Vec<Arc<dyn FileFollower>>,
    /// The seal key is to be made here, if the store turns out to hold nothing that is sealed.
    to_be_made: Option<(PathBuf, PathBuf)>,
}

impl SealingArguments {
    /// As if these had been given.
    pub(crate) fn of(encryption_provider_config: Option<PathBuf>, seal_key: Option<PathBuf>) -> Self {
        let key = SealKey::of(seal_key);
        Self { encryption_provider_config, encryption_provider_config_automatic_reload: None, key }
    }

    /// Reads the files. A seal key that is not there yet is made later ([`Prepared::settle`]), when it is known what the store holds.
    pub(crate) async fn prepare(
        &self,
        data_dir: &Path,
        defaults: Defaults,
        catalog: Arc<dyn Catalog>,
    ) -> Result<Prepared> {
        let path = self.key.path(data_dir)?;
        let key_file = match path.try_exists().with_context(|| format!("--seal-key {path:?}"))? {
            true => Some(Arc::new(KeyFile::open(&path, Some(data_dir), Missing::Refuse).context("--seal-key")?)),
            false => None,
        };
        let seals_by_default = defaults == Defaults::Locked || self.key.is_given();
        let mut followers: Vec<Arc<dyn FileFollower>> = Vec::new();
        let mut to_be_made = None;
        let sealing = if let Some(file) = &self.encryption_provider_config {
            let file = LiveFile::new(file);
            let configuration = read(&file).context("--encryption-provider-config")?;
            files::warn(&configuration);
            let seals = Seals::configured(&configuration, key_file.clone()).context("--encryption-provider-config")?;
            let sealing = Arc::new(StoreSealing::new(catalog, None));
            seals.observe_kms(sealing.metrics().clone());
            if tokio::time::timeout(KMS_START_WAIT, seals.check_kms()).await.is_err() {
                tracing::warn!("KMS providers did not answer in time: what is sealed under them is not readable yet");
            }
            sealing.decide(seals);
            followers.push(Arc::new(files::ConfigurationFile::new(file, Arc::clone(&sealing))));
            sealing
        } else if !seals_by_default {
            Arc::new(StoreSealing::new(catalog, Some(Seals::none(key_file.clone()))))
        } else if let Some(key_file) = &key_file {
            Arc::new(StoreSealing::new(catalog, Some(Seals::by_default(Arc::clone(key_file)))))
        } else {
            refuse_in_data_directory("--seal-key", &path)?;
            to_be_made = Some((path, data_dir.to_owned()));
            Arc::new(StoreSealing::new(catalog, None))
        };
        followers.extend(key_file.map(|file| follower(file, &sealing)));
        Ok(Prepared { sealing, followers, to_be_made })
    }

    /// Whether values are sealed as a file says, whose KMS readiness depends on.
    pub(crate) fn is_configured(&self) -> bool {
        self.encryption_provider_config.is_some()
    }
}

impl Prepared {
    /// Makes the seal key if there is none: only a store that holds nothing that is sealed can do without the one that is missing.
    /// Reserves what may be sealed under it, so that a file that cannot be written is found now. Says what was made. Blocks.
    pub(crate) fn settle(&mut self) -> Result<Option<String>> {
        let Some((path, data_dir)) = self.to_be_made.take() else {
            // Under a configuration the key only opens.
            if let Some(key_file) =
                self.sealing.seals().filter(|seals| seals.writes_under_key_file()).and_then(Seals::key_file)
            {
                key_file.prepare().context("--seal-key")?;
            }
            return Ok(None);
        };
        let missing = if self.sealing.has_met_sealed() { Missing::Refuse } else { Missing::Create };
        let key_file = Arc::new(KeyFile::open(&path, Some(&data_dir), missing).context("--seal-key")?);
        let made = format!("{} (new)", key_file.path().display());
        self.sealing.decide(Seals::by_default(Arc::clone(&key_file)));
        self.followers.push(follower(key_file, &self.sealing));
        Ok(Some(made))
    }
}

fn follower(file: Arc<KeyFile>, sealing: &Arc<StoreSealing>) -> Arc<dyn FileFollower> {
    Arc::new(files::FollowedKey::new(file, Arc::clone(sealing)))
}

fn read(file: &LiveFile) -> Result<EncryptionConfiguration> {
    Ok(EncryptionConfiguration::parse(&file.read()?)?)
}
