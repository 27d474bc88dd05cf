//! Where the seal key is when nobody says: never in the data directory, and never where another data directory's is. That of the default
//! data directory is with the configuration of this machine or user; that of any other directory is beside it, so that a cluster
//! in a temporary folder leaves nothing anywhere else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::configuration::{default_config_dir, default_data_dir};

const NAME: &str = "seal-key";
/// Behind the name of a data directory that was given: a directory of its own, since others may be let into the one around it.
const BESIDE: &str = ".seal";

/// The file of the seal key.
#[derive(Debug, clap::Args)]
pub(crate) struct SealKey {
    /// The key that secrets are sealed under when no configuration says otherwise; servers of one etcd need the same one [default: of
    /// the default data directory /etc/portcullis/seal-key for root, else ~/.config/portcullis/seal-key; of another one
    /// DIR.seal/seal-key]
    #[arg(long, value_name = "FILE")]
    seal_key: Option<PathBuf>,
}

impl SealKey {
    /// As if this had been given.
    pub(crate) fn of(seal_key: Option<PathBuf>) -> Self {
        Self { seal_key }
    }

    /// Where it is.
    pub(crate) fn path(&self, data_dir: &Path) -> Result<PathBuf> {
        let found = self.seal_key.clone().or_else(|| default_path(data_dir, default_data_dir(), default_config_dir()));
        found.with_context(|| {
            format!("there is no place for the seal key beside {}: give --seal-key", data_dir.display())
        })
    }

    /// Whether somebody said where.
    pub(crate) fn is_given(&self) -> bool {
        self.seal_key.is_some()
    }
}

fn default_path(data_dir: &Path, default_data: Option<PathBuf>, default_config: Option<PathBuf>) -> Option<PathBuf> {
    if default_data.as_deref() == Some(data_dir) {
        return Some(default_config?.join(NAME));
    }
    let mut name = data_dir.file_name()?.to_owned();
    name.push(BESIDE);
    Some(data_dir.with_file_name(name).join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_data_directory_has_its_own() {
        let check = |data_dir: &str, expected: Option<&str>| {
            let path =
                default_path(Path::new(data_dir), Some("/var/lib/portcullis".into()), Some("/etc/portcullis".into()));
            assert_eq!(path.as_deref(), expected.map(Path::new), "{data_dir}");
        };
        check("/var/lib/portcullis", Some("/etc/portcullis/seal-key"));
        check("/var/lib/portcullis/other", Some("/var/lib/portcullis/other.seal/seal-key"));
        check("/srv/a", Some("/srv/a.seal/seal-key"));
        check("/srv/a.b/", Some("/srv/a.b.seal/seal-key"));
        check("/", None);
    }
}
