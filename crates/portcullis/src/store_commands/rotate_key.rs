//! `portcullis store rotate-key`: gives the seal key a successor, while servers use it.

use anyhow::{Context as _, Result};
use portcullis_seal::{KeyFile, Missing};

use crate::arguments::DataDir;
use crate::sealing::SealKey;

#[derive(Debug, clap::Args)]
pub(crate) struct RotateKey {
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    key: SealKey,
}

pub(super) fn run(arguments: &RotateKey) -> Result<()> {
    let data_dir = std::path::absolute(arguments.data_dir.path()?).context("--data-dir")?;
    let path = arguments.key.path(&data_dir)?;
    let file = KeyFile::open(&path, Some(&data_dir), Missing::Refuse).context("--seal-key")?;
    let id = file.rotate()?;
    println!("{id} seals from now on; {} keys are in {}", file.keys().len(), file.path().display());
    Ok(())
}
