//! `portcullis store repair`: removes what is damaged, after the file was copied.

use std::path::PathBuf;

use anyhow::Result;
use portcullis_store::embedded::{self, LogRepaired};

use super::backup::keep_store;
use super::{STORE, data_dir, explained, name_each};
use crate::arguments::DataDir;

/// Remove what is damaged from the store
///
/// Only rows that are not as they were written, each of which is named; where only a key was damaged, the row is made whole. Stop the
/// server first. What SQLite itself cannot read is not repaired: of that there is a backup or nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    data_dir: DataDir,
    #[command(flatten)]
    before: Before,
}

/// What becomes of the file as it was.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Before {
    /// Copy the file there first, as it is; if its log is damaged, that to FILE-wal
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Copy nothing: what is removed is gone
    #[arg(long)]
    without_backup: bool,
}

pub(super) fn run(arguments: &Repair) -> Result<()> {
    let data_dir = data_dir(&arguments.data_dir)?;
    let store = data_dir.join(STORE);
    // Nobody may have it open, which is found out before anything is written.
    embedded::check(&store).map_err(|error| explained(error, &data_dir))?;
    if let Some(out) = &arguments.before.backup {
        for kept in keep_store(&data_dir, out)? {
            println!("backup    {}, as it was", kept.display());
        }
    }
    let repaired = embedded::repair(&store).map_err(|error| explained(error, &data_dir))?;
    name_each("removed", &repaired.removed);
    name_each("made whole", &repaired.restored);
    println!("removed   {}", repaired.removed.len());
    println!("whole     {} of which only the key was damaged", repaired.restored.len());
    if repaired.missing > 0 {
        println!("missing   {} rows were not to be found", repaired.missing);
    }
    match repaired.log {
        None => {}
        Some(LogRepaired::Header) => println!("log       its header was made again: nothing is lost"),
        Some(LogRepaired::Removed) => println!("log       removed: all of it is in the store"),
        Some(LogRepaired::Cut { revision, .. }) => {
            println!("log       cut where it is damaged: back to revision {revision}")
        }
    }
    if let Some(revision) = repaired.revision {
        println!("revision  {revision}: the old one could not be trusted");
    }
    Ok(())
}
