//! The key of service account tokens, in kubeadm's layout: `sa.key` signs and only its owner reads it (A15), `sa.pub` verifies.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::files::{self, Readers};
use super::{Directory, authority, pem, read_key};

/// Where the two halves are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceAccountKeyFiles {
    /// The private half, as PKCS#8.
    pub(crate) signing: PathBuf,
    /// The public half, as X.509.
    pub(crate) verifying: PathBuf,
}

impl Directory {
    /// Makes the key, or its public half, where it is missing. A key that is there is never written again: tokens that it signed
    /// are in use.
    pub(crate) fn service_account_key(&self, made: &mut Vec<String>) -> Result<ServiceAccountKeyFiles> {
        files::make_private_directory(&self.path)?;
        let (signing, verifying) = (self.path.join("sa.key"), self.path.join("sa.pub"));
        let key = match read_key(&signing)? {
            Some(key) => key,
            None => {
                let key = authority::new_key()?;
                files::create(&signing, Readers::Owner, pem("PRIVATE KEY", key.secret_der()).as_bytes())?;
                made.push(format!("{} (new)", signing.display()));
                key
            }
        };
        if files::read(&verifying)?.is_none() {
            let path = || signing.display().to_string();
            let public = authority::signing_key(&key).with_context(path)?;
            let public = public.public_key().context("the key tells no public key").with_context(path)?;
            files::create(&verifying, Readers::Everybody, pem("PUBLIC KEY", &public).as_bytes())?;
            made.push(format!("{} (new)", verifying.display()));
        }
        Ok(ServiceAccountKeyFiles { signing, verifying })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a15_the_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::of(folder.path());
        let mut made = Vec::new();
        let paths = directory.service_account_key(&mut made).unwrap();
        assert_eq!(made.len(), 2);
        let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&paths.signing), mode(&paths.verifying)), (0o600, 0o644));
        let read = || (fs::read(&paths.signing).unwrap(), fs::read(&paths.verifying).unwrap());
        let before = read();
        assert!(
            before.0.starts_with(b"-----BEGIN PRIVATE KEY-----") && before.1.starts_with(b"-----BEGIN PUBLIC KEY-----")
        );
        assert_eq!(directory.service_account_key(&mut made).unwrap(), paths);
        assert_eq!((made.len(), read()), (2, before.clone()));
        fs::remove_file(&paths.verifying).unwrap();
        directory.service_account_key(&mut made).unwrap();
        assert_eq!(read(), before, "the public half follows from the private one");
        fs::set_permissions(&paths.signing, fs::Permissions::from_mode(0o640)).unwrap();
        let error = format!("{:#}", directory.service_account_key(&mut made).unwrap_err());
        assert!(error.contains("can be read by others"), "{error}");
    }
}
