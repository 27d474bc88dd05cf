//! Follows the file of an AuthorizationConfiguration: what it says is put in force while the server runs.
//!
//! A file that cannot be used changes nothing: the last good one stays in force and the log says why. As upstream only webhooks
//! come and go; here that holds for AlwaysAllow and AlwaysDeny too (A7: nobody opens a running server by writing a file).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::authz::AuthorizerChain;

use super::{
    AuthorizationConfigurationError, AuthorizerSetting, AuthorizerSources, AuthorizerType,
    parse_authorization_configuration,
};

/// Between two looks at the file.
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a look at the file led to.
#[derive(Debug)]
pub enum Reload {
    /// It says what it said before.
    Unchanged,
    /// What it says is in force.
    Replaced,
    /// It cannot be used; what was in force still is.
    Kept(AuthorizationConfigurationError),
}

/// A file whose authorisers are in force.
pub struct AuthorizationFile {
    path: PathBuf,
    sources: AuthorizerSources,
    chain: AuthorizerChain,
    /// What was last read; empty when it could not be.
    text: Vec<u8>,
    /// What is in force.
    settings: Vec<AuthorizerSetting>,
}

impl AuthorizationFile {
    /// Reads the file and puts its authorisers in force.
    ///
    /// # Errors
    /// The file cannot be used; at start there is no last good one.
    pub fn open(path: PathBuf, sources: AuthorizerSources) -> Result<Self, AuthorizationConfigurationError> {
        let text = read(&path)?;
        let settings = parse_authorization_configuration(&text)?;
        let chain = AuthorizerChain::new(sources.assemble(&settings)?);
        Ok(Self { path, sources, chain, text, settings })
    }

    /// Returns the chain that changes with the file.
    pub fn chain(&self) -> AuthorizerChain {
        self.chain.clone()
    }

    /// Returns what is in force.
    pub fn settings(&self) -> &[AuthorizerSetting] {
        &self.settings
    }

    /// Looks at the file, and puts in force what it says if that is new and can be used.
    pub fn look(&mut self) -> Reload {
        let outcome = match self.reload() {
            Ok(true) => Reload::Replaced,
            Ok(false) => Reload::Unchanged,
            Err(error) => Reload::Kept(error),
        };
        let file = self.path.display();
        match &outcome {
            Reload::Unchanged => {}
            Reload::Replaced => {
                tracing::info!(%file, authorizers = ?self.settings, "authorization configuration reloaded")
            }
            Reload::Kept(error) => {
                tracing::error!(%file, %error, "authorization configuration kept: the file cannot be used");
            }
        }
        outcome
    }

    fn reload(&mut self) -> Result<bool, AuthorizationConfigurationError> {
        let text = read(&self.path)?;
        if text == self.text {
            return Ok(false);
        }
        // Remembered before it is judged, so that one bad text is complained about once.
        self.text = text;
        let settings = parse_authorization_configuration(&self.text)?;
        if settings == self.settings {
            return Ok(false);
        }
        let (before, after) = (built_in(&self.settings), built_in(&settings));
        if let Some(added) = after.difference(&before).next() {
            return Err(AuthorizationConfigurationError::Added(*added));
        }
        if !before.is_subset(&after) {
            return Err(AuthorizationConfigurationError::Missing(before.difference(&after).copied().collect()));
        }
        self.chain.replace(self.sources.assemble(&settings)?);
        self.settings = settings;
        Ok(true)
    }

    /// Looks at the file for as long as the server runs.
    pub async fn follow(mut self) {
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AuthorizationConfigurationError> {
    let failed = |source| AuthorizationConfigurationError::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(AuthorizationConfigurationError::TooLarge { path: path.to_owned(), limit: FILE_BYTES_MAX });
    }
    fs::read(path).map_err(failed)
}

/// The modes that must stay as they were at start.
fn built_in(settings: &[AuthorizerSetting]) -> BTreeSet<AuthorizerType> {
    let types = settings.iter().map(AuthorizerSetting::authorizer_type);
    types.filter(|found| *found != AuthorizerType::Webhook).collect()
}
