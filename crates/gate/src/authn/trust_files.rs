//! The files of the CAs of client certificates and of the front proxy, followed while the server runs (upstream: the dynamic CA
//! content controllers).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::body::BoxError;
use crate::live_file::{FileFollower, LiveFile, LiveFileError, Reload};
use crate::tls::{Tls, TlsError};

use super::request_header::{FrontProxy, RequestHeaderError};

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustFilesError {
    /// It can not be read.
    #[error(transparent)]
    File(#[from] LiveFileError),
    /// It holds no CA of clients that can be used.
    #[error("CAs of client certificates can not be used")]
    ClientCa(#[from] TlsError),
    /// It holds no CA of front proxies that can be used.
    #[error(transparent)]
    RequestHeader(#[from] RequestHeaderError),
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
        // What is in force was read from it, so only another content is news.
        let file = path.map(|path| LiveFile::holding(path, &pem));
        Self { file, pem: Mutex::new(Pem { latest: pem.clone(), in_force: pem }) }
    }

    fn pem(&self) -> Pem {
        self.pem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the file, and says whether there is something new in it.
    fn look(&self) -> Result<bool, LiveFileError> {
        let changed = self.file.as_ref().map_or(Ok(None), LiveFile::read_changed)?;
        let Some(latest) = changed else { return Ok(false) };
        self.pem.lock().unwrap_or_else(PoisonError::into_inner).latest = latest.to_vec();
        Ok(true)
    }

    fn put_in_force(&self, pem: &[u8]) {
        self.pem.lock().unwrap_or_else(PoisonError::into_inner).in_force = pem.to_vec();
    }
}

/// What certificates are judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The CAs of client certificates.
    pub client_ca_pem: Vec<u8>,
    /// The CAs of the front proxy, if there is one.
    pub front_proxy_ca_pem: Option<Vec<u8>>,
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
    ) -> Result<Self, TrustFilesError> {
        self.tls.reload_client_cas(&self.client.pem().in_force, &pem)?;
        self.front_proxy = Some((front_proxy, TrustFile::new(Some(path), pem)));
        Ok(self)
    }

    /// Returns what certificates are judged by.
    pub fn in_force(&self) -> Trusted {
        Trusted {
            client_ca_pem: self.client.pem().in_force,
            front_proxy_ca_pem: self.front_proxy.as_ref().map(|(_, file)| file.pem().in_force),
        }
    }

    /// Judges certificates by these CAs from now on, or changes nothing.
    fn take(&self, client: &[u8], proxy: &[u8]) -> Result<(), TrustFilesError> {
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

    /// Puts in force what the files hold, as far as that is new and can be used.
    fn look(&self) -> Result<Reload, TrustFilesError> {
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
        Ok(if has_news { Reload::Replaced } else { Reload::Unchanged })
    }
}

impl FileFollower for TrustFiles {
    fn name(&self) -> &'static str {
        "CAs of clients"
    }

    fn reload(&self) -> Result<Reload, BoxError> {
        Ok(self.look()?)
    }
}

#[cfg(test)]
mod tests;
