//! `portcullis store`: what is done to the store and its keys from outside (docs/store.md).
//!
//! - `place`: a data directory, a backup or an etcd, and the keys that open what is there;
//! - `copy`: a cluster from one place to another;
//! - `backup`, `restore`: the embedded store's file;
//! - `check`, `repair`, `stats`: what is in it, and what is wrong with it;
//! - `rotate_key`: the seal key.

mod backup;
mod check;
mod copy;
mod place;
mod repair;
mod restore;
mod rotate_key;
mod stats;

use std::fmt::Display;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use portcullis_store::embedded::{OpenError, Report};

use crate::arguments::DataDir;

/// Things of which each is named, at most.
const NAMED_MAX: usize = 100;
/// Where the store is in a data directory.
const STORE: &str = "store";

/// The store and its keys
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Store {
    Copy(Box<copy::CopyStore>),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Check(check::Check),
    Repair(repair::Repair),
    Stats(stats::Stats),
    /// Give the seal key a successor
    ///
    /// What is written from now on is sealed under the new key. A server that is running takes it up within seconds and writes anew
    /// what is sealed under older ones, which stay in the file: backups and other servers may need them.
    RotateKey(rotate_key::RotateKey),
}

/// Runs a command.
pub(crate) fn run(command: &Store) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Store::Copy(arguments) => asynchronously(copy::run(arguments)).map(done),
        Store::Backup(arguments) => backup::run(arguments).map(done),
        Store::Restore(arguments) => restore::run(arguments).map(done),
        Store::Check(arguments) => asynchronously(check::run(arguments)),
        Store::Repair(arguments) => repair::run(arguments).map(done),
        Store::Stats(arguments) => stats::run(arguments).map(done),
        Store::RotateKey(arguments) => rotate_key::run(arguments).map(done),
    }
}

fn asynchronously<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// A store that is looked at: that of a data directory, or a backup.
#[derive(Debug, clap::Args)]
pub(crate) struct Looked {
    #[command(flatten)]
    data_dir: DataDir,
    /// Look at this backup, and not at the store of a data directory
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    file: Option<PathBuf>,
}

impl Looked {
    /// Which it is.
    fn place(&self) -> Result<place::Place> {
        Ok(match &self.file {
            Some(file) => place::Place::Backup(file.clone()),
            None => place::Place::DataDir(data_dir(&self.data_dir)?),
        })
    }
}

fn data_dir(given: &DataDir) -> Result<PathBuf> {
    std::path::absolute(given.path()?).context("--data-dir")
}

/// Says what to do where an error of the store alone would leave a person alone.
fn explained(error: OpenError, data_dir: &Path) -> anyhow::Error {
    let advice = match &error {
        OpenError::InUse { .. } => format!(
            "or make a backup, which needs no stop, and use that: portcullis store backup --data-dir {} --out FILE",
            data_dir.display()
        ),
        OpenError::NoStore { .. } => {
            "a cluster that is kept in an etcd (--etcd-servers) is backed up by `etcdctl snapshot save`, or by \
                                      `portcullis store copy --from https://...`"
                .to_owned()
        }
        _ => return error.into(),
    };
    anyhow::anyhow!("{error}; {advice}")
}

/// Names things, and how many more there are.
fn name_each<T: Display>(what: &str, things: &[T]) {
    for thing in things.iter().take(NAMED_MAX) {
        eprintln!("{what}: {thing}");
    }
    if things.len() > NAMED_MAX {
        eprintln!("{what}: and {} more", things.len() - NAMED_MAX);
    }
}

/// Names everything that is wrong.
fn name_faults(report: &Report) {
    name_each("damaged", &report.damaged);
    name_each("damaged file", &report.problems);
    if !report.is_revision_whole {
        eprintln!("damaged: its revision, {}, is not as it was written", report.revision);
    }
    if report.rows != report.rows_written {
        eprintln!("damaged: {} of its {} rows were found", report.rows, report.rows_written);
    }
}
