//! What a request shows of us besides a certificate: a bearer token, from the configuration or from a file that somebody else
//! renews, or a name and a password.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest token in a file, in bytes.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// Who we say we are. Never printed.
#[derive(Clone, Default)]
pub enum Credential {
    /// Nobody, or only what the client certificate says.
    #[default]
    None,
    /// The holder of a token.
    Token(Zeroizing<String>),
    /// The holder of the token in a file, which is read again when it changes.
    TokenFile(PathBuf),
    /// A user with a password.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Zeroizing<String>,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("None"),
            Self::Token(_) => out.write_str("Token(..)"),
            Self::TokenFile(path) => out.debug_tuple("TokenFile").field(path).finish(),
            Self::Basic { .. } => out.write_str("Basic(..)"),
        }
    }
}

/// Why a credential can not be used.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// The file can not be read.
    #[error("token file {} can not be read: {cause}", path.display())]
    FileUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file holds no token.
    #[error("token file {} holds no token", path.display())]
    FileEmpty {
        /// The file.
        path: PathBuf,
    },
    /// The file is too long for a token.
    #[error("token file {} is longer than {TOKEN_BYTES_MAX} bytes", path.display())]
    FileTooLong {
        /// The file.
        path: PathBuf,
    },
    /// The credential can not stand in a header.
    #[error("credential holds characters that no header can carry")]
    Unprintable,
}

/// The `Authorization` header of our requests.
pub(crate) enum Authorization {
    None,
    Fixed(HeaderValue),
    File { path: PathBuf, read: Mutex<TokenFile> },
}

/// What a token file said, and how it looked then.
pub(crate) struct TokenFile {
    header: HeaderValue,
    stamp: Stamp,
}

/// What changes when a file does.
type Stamp = (Option<SystemTime>, u64);

impl Authorization {
    /// Prepares a credential. A token file must be readable now.
    pub(crate) fn new(credential: &Credential) -> Result<Self, CredentialError> {
        Ok(match credential {
            Credential::None => Self::None,
            Credential::Token(token) => Self::Fixed(header("Bearer ", token)?),
            Credential::TokenFile(path) => Self::File { path: path.clone(), read: Mutex::new(read(path)?) },
            Credential::Basic { username, password } => {
                let pair = Zeroizing::new(format!("{username}:{}", password.as_str()));
                Self::Fixed(header("Basic ", &Zeroizing::new(STANDARD.encode(pair.as_bytes())))?)
            }
        })
    }

    /// Returns the header to send now. A file that can not be read any more leaves the last token that it held.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::None => None,
            Self::Fixed(header) => Some(header.clone()),
            Self::File { path, read: held } => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let is_same = stamp(path).is_ok_and(|stamp| stamp == held.stamp);
                if !is_same {
                    match read(path) {
                        Ok(fresh) => *held = fresh,
                        Err(error) => tracing::warn!(%error, "token file not reloaded, the last token stays"),
                    }
                }
                Some(held.header.clone())
            }
        }
    }
}

fn header(scheme: &str, secret: &str) -> Result<HeaderValue, CredentialError> {
    let text = Zeroizing::new(format!("{scheme}{secret}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| CredentialError::Unprintable)?;
    // Kept out of debug output and out of the header compression's table.
    value.set_sensitive(true);
    Ok(value)
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn read(path: &Path) -> Result<TokenFile, CredentialError> {
    let unreadable = |cause| CredentialError::FileUnreadable { path: path.to_owned(), cause };
    let stamp = stamp(path).map_err(unreadable)?;
    let mut text = Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > TOKEN_BYTES_MAX {
        return Err(CredentialError::FileTooLong { path: path.to_owned() });
    }
    let token = text.trim();
    if token.is_empty() {
        return Err(CredentialError::FileEmpty { path: path.to_owned() });
    }
    Ok(TokenFile { header: header("Bearer ", token)?, stamp })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn shown(authorization: &Authorization) -> String {
        authorization.header().unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn credentials_become_headers_that_are_not_printed() {
        let check = |credential: Credential, expected: &str| {
            let authorization = Authorization::new(&credential).unwrap();
            assert_eq!(shown(&authorization), expected);
            assert_eq!(format!("{:?}", authorization.header().unwrap()), "Sensitive");
            assert!(!format!("{credential:?}").contains("s3cret"), "{credential:?}");
        };
        check(Credential::Token("s3cret".to_owned().into()), "Bearer s3cret");
        let password = "s3cret".to_owned().into();
        check(Credential::Basic { username: "ana".to_owned(), password }, "Basic YW5hOnMzY3JldA==");
        assert!(Authorization::new(&Credential::Token("a\nb".to_owned().into())).is_err());
        assert!(Authorization::new(&Credential::None).unwrap().header().is_none());
    }

    #[test]
    fn a_token_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let credential = Credential::TokenFile(path.clone());
        assert!(matches!(Authorization::new(&credential), Err(CredentialError::FileUnreadable { .. })));
        std::fs::write(&path, " \n").unwrap();
        assert!(matches!(Authorization::new(&credential), Err(CredentialError::FileEmpty { .. })));
        std::fs::write(&path, "first\n").unwrap();
        let authorization = Authorization::new(&credential).unwrap();
        assert_eq!(shown(&authorization), "Bearer first");
        std::fs::write(&path, "the second\n").unwrap();
        assert_eq!(shown(&authorization), "Bearer the second");
        std::fs::write(&path, "").unwrap();
        assert_eq!(shown(&authorization), "Bearer the second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(shown(&authorization), "Bearer the second");
        std::fs::write(&path, "x".repeat(1 + usize::try_from(TOKEN_BYTES_MAX).unwrap())).unwrap();
        assert_eq!(shown(&authorization), "Bearer the second");
    }
}
