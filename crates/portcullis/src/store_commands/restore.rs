//! `portcullis store restore`: a store of a backup, at a revision that nobody has seen.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use portcullis_store::embedded::{self, Restored};

use super::{STORE, data_dir, name_each, name_faults};
use crate::arguments::DataDir;
use crate::pki::files::make_private_directory;
use crate::sealing::refuse_in_data_directory;

/// Make a store of a backup
///
/// The data directory must have none. Versions go on beyond all that were handed out after the backup was made, so that no client
/// takes what comes for what it knows: those that watch are told to list again.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    data_dir: DataDir,
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// By how much the revision is raised; more than the writes since the backup was made
    #[arg(long, value_name = "REVISIONS", default_value_t = 1_000_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    bump_revision: u64,
    /// Restore what is whole of a backup that is damaged; what is not is named
    #[arg(long)]
    leave_out_damaged: bool,
}

pub(super) fn run(arguments: &Restore) -> Result<()> {
    let data_dir = data_dir(&arguments.data_dir)?;
    refuse_in_data_directory("--data-dir", &data_dir)?;
    let report = embedded::check_file(&arguments.from).context("--from")?;
    if !report.is_sound() {
        name_faults(&report);
        if !arguments.leave_out_damaged {
            bail!(
                "{} is damaged: restore another backup, or what is whole of it with --leave-out-damaged",
                arguments.from.display()
            );
        }
    }
    make_private_directory(&data_dir)?;
    let restored = embedded::restore(&arguments.from, &data_dir.join(STORE), arguments.bump_revision);
    let Restored { prepared, rows, left_out, revision_before, revision } = restored?;
    let read = prepared.read()?;
    if read.entries.len() as u64 != rows || !read.unreadable.is_empty() || read.revision != revision {
        bail!("the new store does not hold what was written: is the disk well?");
    }
    prepared.finish()?;
    name_each("left out", &left_out);
    println!("restored  {rows} entries to {}", data_dir.display());
    println!("revision  {revision_before} -> {revision}");
    if !left_out.is_empty() {
        println!("left out  {}", left_out.len());
    }
    Ok(())
}
