//! Follows the file of an AuthorizationConfiguration: what it says is put in force while the server runs.
//!
//! As upstream only webhooks come and go; here that holds for AlwaysAllow and AlwaysDeny too (A7: nobody opens a running server
//! by writing a file).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::authz::AuthorizerChain;
use crate::body::BoxError;
use crate::live_file::{FileFollower, LiveFile, Reload};
use crate::metrics::ReloadedFile;

use super::{
    AuthorizationConfigurationError, AuthorizerSetting, AuthorizerSources, AuthorizerType,
    parse_authorization_configuration,
};

/// A file whose authorisers are in force.
pub struct AuthorizationFile {
    file: LiveFile,
    sources: AuthorizerSources,
    chain: AuthorizerChain,
    /// What is in force.
    settings: Mutex<Vec<AuthorizerSetting>>,
}

impl AuthorizationFile {
    /// Reads the file and puts its authorisers in force.
    ///
    /// # Errors
    /// The file cannot be used; at start there is no last good one.
    pub fn open(path: PathBuf, sources: AuthorizerSources) -> Result<Self, AuthorizationConfigurationError> {
        let file = LiveFile::new(path);
        let settings = parse_authorization_configuration(&file.read()?)?;
        let chain = AuthorizerChain::new(sources.assemble(&settings)?);
        Ok(Self { file, sources, chain, settings: Mutex::new(settings) })
    }

    /// Returns the chain that changes with the file.
    pub fn chain(&self) -> AuthorizerChain {
        self.chain.clone()
    }

    /// Returns what is in force.
    pub fn settings(&self) -> Vec<AuthorizerSetting> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the file, and puts in force what it says if that is new and can be used.
    pub(super) fn look(&self) -> Result<Reload, AuthorizationConfigurationError> {
        let Some(text) = self.file.read_changed()? else { return Ok(Reload::Unchanged) };
        let settings = parse_authorization_configuration(&text)?;
        let mut in_force = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if settings == *in_force {
            return Ok(Reload::Unchanged);
        }
        let (before, after) = (built_in(&in_force), built_in(&settings));
        if let Some(added) = after.difference(&before).next() {
            return Err(AuthorizationConfigurationError::Added(*added));
        }
        if !before.is_subset(&after) {
            return Err(AuthorizationConfigurationError::Missing(before.difference(&after).copied().collect()));
        }
        self.chain.replace(self.sources.assemble(&settings)?);
        let modes: Vec<_> = settings.iter().map(|setting| setting.authorizer_type().name()).collect();
        tracing::info!(modes = modes.join(","), "authorization");
        *in_force = settings;
        Ok(Reload::Replaced)
    }
}

impl FileFollower for AuthorizationFile {
    fn name(&self) -> &'static str {
        "authorization configuration"
    }

    fn counted_as(&self) -> Option<ReloadedFile> {
        Some(ReloadedFile::Authorization)
    }

    fn reload(&self) -> Result<Reload, BoxError> {
        Ok(self.look()?)
    }
}

/// The modes that must stay as they were at start.
fn built_in(settings: &[AuthorizerSetting]) -> BTreeSet<AuthorizerType> {
    let types = settings.iter().map(AuthorizerSetting::authorizer_type);
    types.filter(|found| *found != AuthorizerType::Webhook).collect()
}
