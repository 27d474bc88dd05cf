//! Where the seal key is when nobody says: never in the data directory, and never where another data directory's is. That of the default
//! data directory is with the configuration of this machine or user; that of any other directory is beside it, so that a cluster
//! in a temporary folder leaves nothing anywhere else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::configuration::{default_config_dir, default_data_dir};

const NAME: &str = "seal-key";
/// Behind the name of a data directory that was given: a directory of its own, since others may be let into the one around it.
const BESIDE: &str = ".seal";
/// What a data directory has: a store of its own, or the authority of a cluster that is kept in an etcd.
const OF_DATA_DIRECTORY: [&str; 2] = ["store/store.db", "pki/ca.key"];

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

/// Refuses a place that is in somebody else's data directory: what copies that directory would take along what is there, and what removes
/// it, remove it. `what` is how the place is called.
pub(crate) fn refuse_in_data_directory(what: &str, path: &Path) -> Result<()> {
    // What is not there yet is where it will be made.
    let Some(around) = path.ancestors().skip(1).find_map(|directory| directory.canonicalize().ok()) else {
        return Ok(());
    };
    let is_data_directory = |directory: &&Path| OF_DATA_DIRECTORY.iter().any(|part| directory.join(part).exists());
    match around.ancestors().find(is_data_directory) {
        Some(other) => {
            bail!("{what} {} is inside the data directory {}: choose a place outside", path.display(), other.display())
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_in_a_data_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for file in ["first/store/store.db", "second/pki/ca.key", "third/pki/other"] {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(root.join("first/store"), root.join("link")).unwrap();
        let check = |path: &str, expected: Option<&str>| {
            let said = refuse_in_data_directory("--to", &root.join(path)).map_err(|error| error.to_string());
            let part = expected.map(|other| {
                format!("is inside the data directory {}:", root.canonicalize().unwrap().join(other).display())
            });
            assert_eq!(said.is_err(), part.is_some(), "{path}: {said:?}");
            assert!(part.is_none_or(|part| said.unwrap_err().contains(&part)), "{path}");
        };
        check("first/inside", Some("first"));
        check("first/not/there/yet", Some("first"));
        check("first/store", Some("first"));
        check("link/inside", Some("first"));
        check("second/pki/inside", Some("second"));
        check("third/inside", None);
        check("first", None);
        check("fourth/inside", None);
    }

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
