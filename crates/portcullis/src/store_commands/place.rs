//! Where a cluster is kept, as a command names it: a data directory, a backup, or an etcd; and how its values are opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use portcullis_store::Catalog;
use portcullis_store::embedded;
use portcullis_store::etcd::{Remote, Security};
use portcullis_store::transfer::Raw;

use super::{STORE, explained};
use crate::configuration::Defaults;
use crate::sealing::{Prepared, SealingArguments};
use crate::storage::mutual_tls;

/// A place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A data directory with an embedded store.
    DataDir(PathBuf),
    /// A file that `store backup` wrote.
    Backup(PathBuf),
    /// URLs of an etcd's members.
    Etcd(Vec<String>),
}

impl Place {
    /// What was said: URLs, or something that is there, or will be.
    fn of(text: &str) -> Result<Self> {
        if text.contains("://") {
            return Ok(Place::Etcd(text.split(',').map(str::to_owned).collect()));
        }
        let path = std::path::absolute(text)?;
        Ok(if path.is_file() { Place::Backup(path) } else { Place::DataDir(path) })
    }

    /// The data directory, if it is one.
    pub(super) fn data_dir(&self) -> Option<&Path> {
        match self {
            Place::DataDir(path) => Some(path),
            Place::Backup(_) | Place::Etcd(_) => None,
        }
    }

    /// Looks at the store, if it is an embedded one, without opening values.
    pub(super) fn report(&self) -> Result<embedded::Report> {
        match self {
            Place::DataDir(path) => embedded::check(&path.join(STORE)).map_err(|error| explained(error, path)),
            Place::Backup(file) => Ok(embedded::check_file(file)?),
            Place::Etcd(_) => {
                bail!("an etcd looks after itself: `etcdctl endpoint hashkv` and `etcdutl snapshot status` check it")
            }
        }
    }

    /// Reads the store, if it is an embedded one.
    pub(super) fn read(&self) -> Result<Raw> {
        match self {
            Place::DataDir(path) => embedded::read(&path.join(STORE)).map_err(|error| explained(error, path)),
            Place::Backup(file) => Ok(embedded::read_file(file)?),
            Place::Etcd(_) => bail!("an etcd is read with its certificates"),
        }
    }
}

/// One side of a copy.
pub(super) struct Side {
    /// The flag that names it.
    pub(super) flag: &'static str,
    /// Where it is.
    pub(super) place: Place,
    tls: [(&'static str, Option<PathBuf>); 3],
    seal_key: Option<PathBuf>,
    encryption_provider_config: Option<PathBuf>,
}

macro_rules! side {
    ($(#[$doc:meta])* $name:ident, $flag:literal, $place:ident, $place_doc:literal, $cafile:ident, $cafile_flag:literal, $certfile:ident,
     $certfile_flag:literal, $keyfile:ident, $keyfile_flag:literal, $seal_key:ident, $config:ident) => {
        $(#[$doc])*
        #[derive(Debug, clap::Args)]
        pub(crate) struct $name {
            #[doc = $place_doc]
            #[arg(long, value_name = "PLACE")]
            $place: String,
            /// The authority that signed the certificates of that etcd's members
            #[arg(long, value_name = "FILE")]
            $cafile: Option<PathBuf>,
            /// The client certificate that it is shown
            #[arg(long, value_name = "FILE")]
            $certfile: Option<PathBuf>,
            /// Its key
            #[arg(long, value_name = "FILE")]
            $keyfile: Option<PathBuf>,
            /// The seal key there [default: that of the data directory, of the other side's if this is none]
            #[arg(long, value_name = "FILE")]
            $seal_key: Option<PathBuf>,
            /// The EncryptionConfiguration there
            #[arg(long, value_name = "FILE")]
            $config: Option<PathBuf>,
        }

        impl $name {
            pub(super) fn side(&self) -> Result<Side> {
                let tls = [
                    ($cafile_flag, self.$cafile.clone()),
                    ($certfile_flag, self.$certfile.clone()),
                    ($keyfile_flag, self.$keyfile.clone()),
                ];
                let place = Place::of(&self.$place).context($flag)?;
                if let (Place::DataDir(path) | Place::Backup(path), Some((flag, _))) =
                    (&place, tls.iter().find(|(_, file)| file.is_some()))
                {
                    bail!("{flag} is for an etcd, and {} {} is none: its URLs begin with https://", $flag, path.display());
                }
                Ok(Side {
                    flag: $flag,
                    place,
                    tls,
                    seal_key: self.$seal_key.clone(),
                    encryption_provider_config: self.$config.clone(),
                })
            }
        }
    };
}

side!(
    /// Where a cluster is copied from.
    From, "--from", from,
    "Copy this: a data directory, a backup, or the https URLs of an etcd's members, separated by commas",
    from_etcd_cafile, "--from-etcd-cafile", from_etcd_certfile, "--from-etcd-certfile",
    from_etcd_keyfile, "--from-etcd-keyfile", from_seal_key, from_encryption_provider_config
);
side!(
    /// Where a cluster is copied to.
    To, "--to", to,
    "Copy to this: a data directory without a store, or the https URLs of an etcd's members, separated by commas",
    to_etcd_cafile, "--to-etcd-cafile", to_etcd_certfile, "--to-etcd-certfile",
    to_etcd_keyfile, "--to-etcd-keyfile", to_seal_key, to_encryption_provider_config
);

impl Side {
    /// The etcd of these URLs.
    pub(super) async fn etcd(&self, endpoints: &[String]) -> Result<Remote> {
        let [ca, certificate, key] = &self.tls;
        let files = [ca, certificate, key].map(|(flag, file)| (*flag, file.as_deref()));
        let security = Security::MutualTls(mutual_tls(files)?);
        Remote::connect(endpoints, security).await.context(self.flag)
    }

    /// Reads everything: of an etcd at a revision, or at the present one.
    pub(super) async fn read(&self, revision: Option<u64>) -> Result<Raw> {
        match &self.place {
            Place::Etcd(endpoints) => self.etcd(endpoints).await?.read(revision).await.context(self.flag),
            place => place.read().context(self.flag),
        }
    }

    /// What opens and seals values there. The seal key is that of a data directory when nobody says.
    pub(super) async fn sealing(&self, data_dir: &Path, catalog: Arc<dyn Catalog>) -> Result<Prepared> {
        let arguments = SealingArguments::of(self.encryption_provider_config.clone(), self.seal_key.clone());
        let prepared = arguments.prepare(data_dir, Defaults::Locked, catalog).await;
        prepared.with_context(|| format!("the keys of {0} ({0}-seal-key, {0}-encryption-provider-config)", self.flag))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("backup");
        std::fs::write(&file, "").unwrap();
        let check = |text: &str, expected: Place| assert_eq!(Place::of(text).unwrap(), expected, "{text}");
        check("https://a:2379", Place::Etcd(vec!["https://a:2379".into()]));
        check("https://a:2379,https://b:2379", Place::Etcd(vec!["https://a:2379".into(), "https://b:2379".into()]));
        // Refused later, by whoever connects: etcd is spoken to with mutual TLS only.
        check("http://a:2379", Place::Etcd(vec!["http://a:2379".into()]));
        check(file.to_str().unwrap(), Place::Backup(file.clone()));
        check(directory.path().to_str().unwrap(), Place::DataDir(directory.path().into()));
        check("/nowhere/at/all", Place::DataDir("/nowhere/at/all".into()));
    }
}
