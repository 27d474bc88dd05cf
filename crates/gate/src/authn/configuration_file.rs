//! The file of an AuthenticationConfiguration, followed while the server runs: which foreign issuers' tokens are taken, and where
//! the anonymous user exists (upstream: KEP-3331's reload).

use std::path::PathBuf;
use std::sync::Arc;

use crate::body::BoxError;
use crate::live_file::{FileFollower, LiveFile, LiveFileError, Reload};
use crate::metrics::ReloadedFile;

use super::anonymous::{Anonymous, AnonymousPaths};
use super::configuration::{AuthenticationConfiguration, ConfigurationError};
use super::jwt::{FetchError, JwtIssuers};

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationFileError {
    /// It can not be read.
    #[error(transparent)]
    File(#[from] LiveFileError),
    /// It is no configuration.
    #[error("{} is no AuthenticationConfiguration that can be used", .path.display())]
    Configuration {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ConfigurationError,
    },
    /// An issuer of it can not be dialled.
    #[error("{} has an issuer that can not be dialled", .path.display())]
    Dial {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: FetchError,
    },
    /// It decides what a flag decided.
    #[error(
        "{}: anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in authentication \
         configuration file",
        .0.display()
    )]
    AnonymousTwice(PathBuf),
}

/// The AuthenticationConfiguration: its issuers, and where the anonymous user exists.
pub struct ConfigurationFile {
    file: LiveFile,
    own_issuers: Vec<String>,
    anonymous_auth: Option<bool>,
    issuers: Arc<JwtIssuers>,
    anonymous: Arc<Anonymous>,
}

impl ConfigurationFile {
    /// Reads the file for the first time, and puts what it says into `issuers` and `anonymous`. `anonymous_auth` is the flag of
    /// that name: where it was given, the file must say nothing about it. Needs a running runtime.
    ///
    /// # Errors
    /// Why the file is not taken.
    pub fn open(
        path: impl Into<PathBuf>,
        own_issuers: Vec<String>,
        anonymous_auth: Option<bool>,
        issuers: Arc<JwtIssuers>,
        anonymous: Arc<Anonymous>,
    ) -> Result<Self, ConfigurationFileError> {
        let opened = Self { file: LiveFile::new(path), own_issuers, anonymous_auth, issuers, anonymous };
        opened.take(&opened.file.read()?)?;
        Ok(opened)
    }

    /// Puts in force what the file says, if that is new and can be used.
    fn look(&self) -> Result<Reload, ConfigurationFileError> {
        let Some(text) = self.file.read_changed()? else { return Ok(Reload::Unchanged) };
        self.take(&text).map(|()| Reload::Replaced)
    }

    fn take(&self, text: &[u8]) -> Result<(), ConfigurationFileError> {
        let path = || self.file.path().to_owned();
        let configuration = AuthenticationConfiguration::parse(text, &self.own_issuers)
            .map_err(|source| ConfigurationFileError::Configuration { path: path(), source })?;
        let paths = match (&configuration.anonymous, self.anonymous_auth) {
            (Some(_), Some(_)) => return Err(ConfigurationFileError::AnonymousTwice(path())),
            (Some(anonymous), None) => AnonymousPaths::of(anonymous),
            (None, Some(allowed)) => AnonymousPaths::of_flag(allowed),
            (None, None) => AnonymousPaths::default(),
        };
        self.issuers.replace(&configuration).map_err(|source| ConfigurationFileError::Dial { path: path(), source })?;
        self.anonymous.move_to(paths);
        Ok(())
    }
}

impl FileFollower for ConfigurationFile {
    fn name(&self) -> &'static str {
        "authentication configuration"
    }

    fn counted_as(&self) -> Option<ReloadedFile> {
        Some(ReloadedFile::Authentication)
    }

    fn reload(&self) -> Result<Reload, BoxError> {
        Ok(self.look()?)
    }
}

#[cfg(test)]
mod tests;
