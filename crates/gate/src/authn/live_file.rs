//! Files that are read again while the server runs: the AuthenticationConfiguration and the CAs of clients (upstream: the
//! dynamic file content controllers).
//!
//! A file is looked at every minute. One that can not be used changes nothing: what was last good stays in force, and the log says
//! so, once for each content.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::{MissedTickBehavior, interval};

use crate::tls::{Tls, TlsError};

use super::anonymous::{Anonymous, AnonymousPaths};
use super::configuration::{AuthenticationConfiguration, ConfigurationError};
use super::jwt::{FetchError, JwtIssuers};
use super::request_header::{FrontProxy, RequestHeaderError};

/// How often files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes of a file.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum LiveFileError {
    /// It can not be read.
    #[error("{path:?} can not be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too large.
    #[error("{0:?} is larger than {FILE_LEN_MAX} bytes")]
    TooLarge(PathBuf),
    /// It is no configuration.
    #[error("{path:?} is no AuthenticationConfiguration that can be used")]
    Configuration {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ConfigurationError,
    },
    /// An issuer of it can not be dialled.
    #[error("{path:?} has an issuer that can not be dialled")]
    Dial {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: FetchError,
    },
    /// It decides what a flag decided.
    #[error(
        "{0:?}: anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in \
         authentication configuration file"
    )]
    AnonymousTwice(PathBuf),
    /// It holds no CA of clients that can be used.
    #[error("CAs of client certificates can not be used")]
    ClientCa(#[from] TlsError),
    /// It holds no CA of front proxies that can be used.
    #[error(transparent)]
    RequestHeader(#[from] RequestHeaderError),
}

/// A file, and what it held when it was last looked at.
pub struct LiveFile {
    path: PathBuf,
    seen: Mutex<Seen>,
}

#[derive(PartialEq, Eq)]
enum Seen {
    Nothing,
    Content([u8; digest::SHA256_OUTPUT_LEN]),
    Failure(io::ErrorKind),
}

impl LiveFile {
    /// A file that was not looked at yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: Mutex::new(Seen::Nothing) }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it, whether it changed or not. Blocks.
    ///
    /// # Errors
    /// It can not be read, or is too large.
    pub fn read(&self) -> Result<Vec<u8>, LiveFileError> {
        let read = self.read_limited();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen(&read);
        self.complain(read)
    }

    /// Reads it; nothing when it is as it was when it was last read, and when a failure is still the same. Blocks.
    ///
    /// # Errors
    /// As [`LiveFile::read`].
    pub fn read_changed(&self) -> Result<Option<Vec<u8>>, LiveFileError> {
        let read = self.read_limited();
        let now = seen(&read);
        let mut before = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *before == now {
            return Ok(None);
        }
        *before = now;
        drop(before);
        self.complain(read).map(Some)
    }

    fn read_limited(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        std::fs::File::open(&self.path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut content)?;
        Ok(content)
    }

    fn complain(&self, read: io::Result<Vec<u8>>) -> Result<Vec<u8>, LiveFileError> {
        match read {
            Ok(content) if content.len() as u64 > FILE_LEN_MAX => Err(LiveFileError::TooLarge(self.path.clone())),
            Ok(content) => Ok(content),
            Err(source) => Err(LiveFileError::Unreadable { path: self.path.clone(), source }),
        }
    }
}

fn seen(read: &io::Result<Vec<u8>>) -> Seen {
    match read {
        Ok(content) => {
            let mut hash = [0; digest::SHA256_OUTPUT_LEN];
            hash.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
            Seen::Content(hash)
        }
        Err(error) => Seen::Failure(error.kind()),
    }
}

/// Something that follows files.
pub trait FileFollower: Send + Sync + 'static {
    /// What it is, for the log.
    fn name(&self) -> &'static str;

    /// Reads its files and takes what changed; says whether anything did. Blocks. When it can not be used, all stays as it is,
    /// and the same content is not complained about again.
    ///
    /// # Errors
    /// Why a file is not taken.
    fn reload(&self) -> Result<bool, LiveFileError>;
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
    ) -> Result<Self, LiveFileError> {
        let opened = Self { file: LiveFile::new(path), own_issuers, anonymous_auth, issuers, anonymous };
        opened.take(&opened.file.read()?)?;
        Ok(opened)
    }

    fn take(&self, text: &[u8]) -> Result<(), LiveFileError> {
        let path = || self.file.path().to_owned();
        let configuration = AuthenticationConfiguration::parse(text, &self.own_issuers)
            .map_err(|source| LiveFileError::Configuration { path: path(), source })?;
        let paths = match (&configuration.anonymous, self.anonymous_auth) {
            (Some(_), Some(_)) => return Err(LiveFileError::AnonymousTwice(path())),
            (Some(anonymous), None) => AnonymousPaths::of(anonymous),
            (None, Some(allowed)) => AnonymousPaths::of_flag(allowed),
            (None, None) => AnonymousPaths::default(),
        };
        self.issuers.replace(&configuration).map_err(|source| LiveFileError::Dial { path: path(), source })?;
        self.anonymous.move_to(paths);
        Ok(())
    }
}

impl FileFollower for ConfigurationFile {
    fn name(&self) -> &'static str {
        "authentication configuration"
    }

    fn reload(&self) -> Result<bool, LiveFileError> {
        let Some(text) = self.file.read_changed()? else { return Ok(false) };
        self.take(&text).map(|()| true)
    }
}

/// The CAs of client certificates and of the front proxy, which must not be the same.
pub struct TrustFiles {
    tls: Arc<Tls>,
    client: TrustFile,
    front_proxy: Option<(Arc<FrontProxy>, TrustFile)>,
}

/// A CA's file, or a CA that is in no file that anybody replaces.
struct TrustFile {
    file: Option<LiveFile>,
    pem: Mutex<Pem>,
}

#[derive(Clone)]
struct Pem {
    /// What was read last.
    latest: Vec<u8>,
    /// What certificates are judged by: the same, unless it could not be used.
    in_force: Vec<u8>,
}

impl TrustFile {
    fn new(path: Option<PathBuf>, pem: Vec<u8>) -> Self {
        let file = path.map(|path| {
            // What is in force was read from it, so only another content is news.
            let seen = Mutex::new(seen(&Ok(pem.clone())));
            LiveFile { path, seen }
        });
        Self { file, pem: Mutex::new(Pem { latest: pem.clone(), in_force: pem }) }
    }

    fn pem(&self) -> Pem {
        self.pem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file, and says whether there is something new in it.
    fn look(&self) -> Result<bool, LiveFileError> {
        let changed = self.file.as_ref().map_or(Ok(None), LiveFile::read_changed)?;
        let Some(latest) = changed else { return Ok(false) };
        self.pem.lock().unwrap_or_else(PoisonError::into_inner).latest = latest;
        Ok(true)
    }

    fn put_in_force(&self, pem: &[u8]) {
        self.pem.lock().unwrap_or_else(PoisonError::into_inner).in_force = pem.to_vec();
    }
}

impl TrustFiles {
    /// Follows the file of the client CAs, whose content in force is `client_ca_pem`. Without a path that one stays.
    pub fn new(tls: Arc<Tls>, client_ca_file: Option<PathBuf>, client_ca_pem: Vec<u8>) -> Self {
        Self { tls, client: TrustFile::new(client_ca_file, client_ca_pem), front_proxy: None }
    }

    /// Follows the file of the front proxy's CA too, and names it to clients.
    ///
    /// # Errors
    /// It can not be named.
    pub fn with_front_proxy(
        mut self,
        front_proxy: Arc<FrontProxy>,
        path: PathBuf,
        pem: Vec<u8>,
    ) -> Result<Self, LiveFileError> {
        self.tls.reload_client_cas(&self.client.pem().in_force, &pem)?;
        self.front_proxy = Some((front_proxy, TrustFile::new(Some(path), pem)));
        Ok(self)
    }

    /// Judges certificates by these CAs from now on, or changes nothing.
    fn take(&self, client: &[u8], proxy: &[u8]) -> Result<(), LiveFileError> {
        match &self.front_proxy {
            None => self.tls.reload_client_cas(client, &[])?,
            Some((front_proxy, file)) => {
                // NCC-F9W holds for every pair of contents.
                front_proxy.check(proxy, client)?;
                self.tls.reload_client_cas(client, proxy)?;
                front_proxy.reload(proxy, client)?;
                file.put_in_force(proxy);
            }
        }
        self.client.put_in_force(client);
        Ok(())
    }
}

impl FileFollower for TrustFiles {
    fn name(&self) -> &'static str {
        "CAs of clients"
    }

    fn reload(&self) -> Result<bool, LiveFileError> {
        let proxy = self.front_proxy.as_ref().map(|(_, file)| file);
        let looked = [self.client.look(), proxy.map_or(Ok(false), TrustFile::look)];
        let has_news = looked.iter().any(|look| matches!(look, Ok(true)));
        if has_news {
            let client = self.client.pem();
            let proxy = proxy.map_or(Pem { latest: Vec::new(), in_force: Vec::new() }, TrustFile::pem);
            if let Err(error) = self.take(&client.latest, &proxy.latest) {
                // A file that can not be used does not hold the other one back.
                if self.take(&client.latest, &proxy.in_force).is_err() {
                    let _ = self.take(&client.in_force, &proxy.latest);
                }
                return Err(error);
            }
        }
        for look in looked {
            look?;
        }
        Ok(has_news)
    }
}

/// Looks at files for as long as it is polled.
pub async fn keep_fresh(followers: Vec<Arc<dyn FileFollower>>) {
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once, and all was read just now.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        for follower in &followers {
            look(follower).await;
        }
    }
}

async fn look(follower: &Arc<dyn FileFollower>) {
    let name = follower.name();
    let reloading = {
        let follower = Arc::clone(follower);
        // In the runtime's context, because a new issuer begins to fetch its keys.
        tokio::task::spawn_blocking(move || follower.reload())
    };
    match reloading.await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => tracing::info!(what = name, "reloaded"),
        Ok(Err(error)) => {
            let reason = chain_of(&error);
            tracing::error!(what = name, reason, "not reloaded: what was last good stays in force");
        }
        Err(error) => tracing::error!(what = name, %error, "not reloaded"),
    }
}

/// An error and what caused it, in one line.
fn chain_of(error: &LiveFileError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests;
