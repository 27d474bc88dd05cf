//! The front proxy: an aggregating server that knows the user already, and says who it is in headers (upstream: the
//! requestheader authenticator).
//!
//! It is believed because of its certificate: of a CA of its own, with one of the allowed names. From anybody else the same
//! headers mean nothing (NCC-F9W), and nobody behind the gate ever sees them (NCC-YVU).

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::arrival::{Arrived, PeerCredential};
use crate::identity::{GROUP_AUTHENTICATED, Identity};
use crate::query::percent_decode;
use crate::tls::{TlsError, client_roots};

use super::certificate::ClientRoots;
use super::{Authentication, Authenticator};

/// Headers that name users by convention. They are taken out of every request, whatever is configured.
const CONVENTIONAL_PREFIX: &str = "x-remote-";

/// The `--requestheader-*` flags, but for the CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeaders {
    /// The names that the proxy's certificate may have; empty for every certificate of its CA.
    pub allowed_names: Vec<String>,
    /// Headers that hold the user's name; the first that is there counts.
    pub username: Vec<String>,
    /// Headers that hold the user's uid; the first that is there counts.
    pub uid: Vec<String>,
    /// Headers that hold groups; all count.
    pub group: Vec<String>,
    /// How headers begin that hold further attributes.
    pub extra_prefix: Vec<String>,
}

/// Why the front proxy's part of a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RequestHeaderError {
    /// A header that can not be.
    #[error("--{flag}: {name:?} is no name of a header")]
    HeaderName {
        /// Which flag.
        flag: &'static str,
        /// What was given.
        name: String,
    },
    /// The CA can not be used.
    #[error("--requestheader-client-ca-file can not be used")]
    Ca(#[source] TlsError),
    /// NCC-F9W: everybody with a certificate would be a front proxy.
    #[error(
        "--requestheader-client-ca-file holds a CA of --client-ca-file: give --requestheader-allowed-names, or every user \
         with a certificate could name any other user; better, take a CA of its own"
    )]
    SharedCa,
}

/// The front proxy that is believed.
pub struct FrontProxy {
    roots: ArcSwap<ClientRoots>,
    allowed_names: Vec<String>,
    username: Vec<HeaderName>,
    uid: Vec<HeaderName>,
    group: Vec<HeaderName>,
    extra_prefix: Vec<String>,
}

impl FrontProxy {
    /// Believes those whom a CA (PEM) vouches for. `client_ca_pem` is that of ordinary clients.
    ///
    /// # Errors
    /// A header has no name, the CA can not be used, or it is one of ordinary clients too and no names were given.
    pub fn new(headers: &RequestHeaders, ca_pem: &[u8], client_ca_pem: &[u8]) -> Result<Self, RequestHeaderError> {
        check_distinct(&headers.allowed_names, ca_pem, client_ca_pem)?;
        let prefix_flag = "requestheader-extra-headers-prefix";
        let prefixes = names(prefix_flag, &headers.extra_prefix)?;
        Ok(Self {
            roots: ArcSwap::from_pointee(client_roots(ca_pem).map_err(RequestHeaderError::Ca)?),
            allowed_names: headers.allowed_names.clone(),
            username: names("requestheader-username-headers", &headers.username)?,
            uid: names("requestheader-uid-headers", &headers.uid)?,
            group: names("requestheader-group-headers", &headers.group)?,
            extra_prefix: prefixes.iter().map(|name| name.as_str().to_owned()).collect(),
        })
    }

    /// Replaces the CA. When it can not be used, all stays as it is.
    ///
    /// # Errors
    /// As [`FrontProxy::new`].
    pub fn reload(&self, ca_pem: &[u8], client_ca_pem: &[u8]) -> Result<(), RequestHeaderError> {
        check_distinct(&self.allowed_names, ca_pem, client_ca_pem)?;
        self.roots.store(Arc::new(client_roots(ca_pem).map_err(RequestHeaderError::Ca)?));
        Ok(())
    }

    /// Says whether a CA could be taken, beside this one of ordinary clients.
    pub(super) fn check(&self, ca_pem: &[u8], client_ca_pem: &[u8]) -> Result<(), RequestHeaderError> {
        check_distinct(&self.allowed_names, ca_pem, client_ca_pem)?;
        client_roots(ca_pem).map(|_| ()).map_err(RequestHeaderError::Ca)
    }

    /// Says whether it can name anybody.
    pub fn can_name_users(&self) -> bool {
        !self.username.is_empty()
    }

    /// Reads the user out of the headers of a proxy that is believed; nothing when it names none.
    fn user(&self, headers: &HeaderMap) -> Result<Option<Identity>, &'static str> {
        let Some(name) = single(headers, &self.username)? else { return Ok(None) };
        let uid = single(headers, &self.uid)?.unwrap_or_default();
        let mut identity = Identity { name: name.to_owned(), uid: uid.to_owned(), ..Identity::default() };
        for header in &self.group {
            for group in headers.get_all(header) {
                let group = std::str::from_utf8(group.as_bytes()).map_err(|_| "a group is not text")?;
                if !group.is_empty() {
                    identity.join(group);
                }
            }
        }
        for (header, value) in headers {
            let found = self.extra_prefix.iter().find_map(|prefix| header.as_str().strip_prefix(prefix.as_str()));
            let Some(key) = found.filter(|key| !key.is_empty()) else { continue };
            let value = std::str::from_utf8(value.as_bytes()).map_err(|_| "an extra is not text")?;
            identity.extra.entry(extra_key(key)).or_default().push(value.to_owned());
        }
        identity.join(GROUP_AUTHENTICATED);
        Ok(Some(identity))
    }
}

impl Authenticator for Arc<FrontProxy> {
    fn name(&self) -> &'static str {
        "request header"
    }

    /// Somebody with another certificate is not refused here: that certificate may prove who they are themselves.
    fn authenticate<'a>(&'a self, arrived: &'a Arrived) -> Authentication<'a> {
        let PeerCredential::Certificate(certificate) = arrived.peer.credential() else { return Authentication::Silent };
        let Ok(proxy) = certificate.front_proxy(&self.roots.load(), UnixTime::now()) else {
            return Authentication::Silent;
        };
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy.name) {
            return Authentication::Silent;
        }
        match self.user(&arrived.parts.headers) {
            Ok(Some(identity)) => Authentication::Identified(Arc::new(identity)),
            Ok(None) => Authentication::Silent,
            Err(reason) => Authentication::refused(reason),
        }
    }
}

/// NCC-F9W: compares the keys, not the names of the files, because a CA that was renewed is another certificate of the same CA.
fn check_distinct(allowed_names: &[String], ca_pem: &[u8], client_ca_pem: &[u8]) -> Result<(), RequestHeaderError> {
    if !allowed_names.is_empty() {
        return Ok(());
    }
    let of_clients = keys(client_ca_pem);
    let is_shared = keys(ca_pem).iter().any(|key| of_clients.contains(key));
    if is_shared { Err(RequestHeaderError::SharedCa) } else { Ok(()) }
}

/// The public keys of the CAs in a PEM text; what can not be read is complained about elsewhere.
fn keys(pem: &[u8]) -> Vec<Vec<u8>> {
    let certificates = CertificateDer::pem_slice_iter(pem).flatten();
    let key = |certificate: CertificateDer<'_>| {
        X509Certificate::from_der(&certificate).ok().map(|(_, read)| read.public_key().raw.to_vec())
    };
    certificates.filter_map(key).collect()
}

fn names(flag: &'static str, given: &[String]) -> Result<Vec<HeaderName>, RequestHeaderError> {
    let parse = |name: &String| {
        let parsed = HeaderName::from_bytes(name.trim().as_bytes());
        parsed.map_err(|_| RequestHeaderError::HeaderName { flag, name: name.clone() })
    };
    given.iter().map(parse).collect()
}

/// Returns the value of the first of the headers that has one. Two values could be read as either, so they are refused.
fn single<'h>(headers: &'h HeaderMap, names: &[HeaderName]) -> Result<Option<&'h str>, &'static str> {
    for name in names {
        let mut values = headers.get_all(name).iter().filter(|value| !value.is_empty());
        let Some(value) = values.next() else { continue };
        if values.next().is_some() {
            return Err("a header that names one user is there twice");
        }
        return std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| "a name is not text");
    }
    Ok(None)
}

/// Keys of extras are escaped, because they can hold what a header's name can not. One that is not escaped well stands as it
/// is.
fn extra_key(escaped: &str) -> String {
    let decoded = percent_decode(escaped).and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or_else(|| escaped.to_owned())
}

/// The headers that may name a user, to be taken out of every request.
pub(super) struct UserHeaders {
    names: Vec<HeaderName>,
    prefixes: Vec<String>,
}

impl UserHeaders {
    /// Those of convention, and those of the front proxy.
    pub(super) fn of(front_proxy: Option<&FrontProxy>) -> Self {
        let mut all = Self { names: Vec::new(), prefixes: vec![CONVENTIONAL_PREFIX.to_owned()] };
        if let Some(proxy) = front_proxy {
            all.names.extend([&proxy.username, &proxy.uid, &proxy.group].into_iter().flatten().cloned());
            all.prefixes.extend(proxy.extra_prefix.iter().cloned());
        }
        all
    }

    /// Takes them out.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        for name in &self.names {
            headers.remove(name);
        }
        for prefix in &self.prefixes {
            super::strip_prefix(headers, prefix);
        }
    }
}

#[cfg(test)]
mod tests;
