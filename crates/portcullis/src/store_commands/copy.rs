//! `portcullis store copy`: a whole cluster from one place to another, opened with the keys of the one and sealed with those of the
//! other, and compared when it is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use portcullis_apiserver::registry::Registry;
use portcullis_store::embedded;
use portcullis_store::etcd::{Changes, ConnectError, Progress};
use portcullis_store::transfer::Content;
use portcullis_store::{Catalog, Digested};

use super::place::{From, Place, Side, To};
use super::{STORE, name_each};
use crate::configuration::default_data_dir;
use crate::pki::files::make_private_directory;
use crate::sealing::{Prepared, refuse_in_data_directory};

/// Copy a cluster to where there is none
///
/// From and to data directories and etcds, and from backups; an etcd may be that of another API server. Every value is opened with
/// the keys of the one place and sealed with those of the other. Versions of objects never go back: clients that watch go on, or are
/// told to list again. Stop the servers first: what is written to an etcd after it was read is not copied, which is said. At the end
/// everything is read again on both sides and compared. A copy that is broken off can be begun again; what it left is not served.
#[derive(Debug, clap::Args)]
pub(crate) struct CopyStore {
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    to: To,
    /// Go on without values that are damaged or that cannot be opened; each is named
    #[arg(long)]
    leave_out_unreadable: bool,
}

/// What is copied: as it was read, by which keys, and from where.
struct Source<'a> {
    side: &'a Side,
    opens: Prepared,
    content: Content,
    digest: Digested,
}

/// What a copy came to.
struct Copied {
    revision_before: Option<u64>,
    revision: u64,
    made: Option<String>,
    compared: Compared,
}

/// What was compared at the end.
enum Compared {
    /// What was written and what the source holds.
    BothSides,
    /// What was written and what was read of the source, which does not hold it any more.
    WhatWasRead,
}

pub(super) async fn run(arguments: &CopyStore) -> Result<()> {
    let (from, to) = (arguments.from.side()?, arguments.to.side()?);
    let catalog: Arc<dyn Catalog> = Arc::new(portcullis_apiserver::Catalog::new(Arc::new(Registry::new())));
    let target = Target::of(&to.place).context("--to")?;
    let opens = from.sealing(&key_directory(&from.place, &to.place)?, Arc::clone(&catalog)).await?;
    let content = read(&from, None, &*catalog, &opens).await?;
    report_unreadable(&content, &from, arguments.leave_out_unreadable)?;
    let source = Source { digest: content.digest(&*catalog), side: &from, opens, content };
    let seals = to.sealing(&key_directory(&to.place, &from.place)?, Arc::clone(&catalog)).await?;
    let copied = match target {
        Target::Directory(path) => into_directory(path, &source, &*catalog, seals).await?,
        Target::Etcd(endpoints) => into_etcd(&to, endpoints, &source, &*catalog, seals).await?,
    };
    source.tell_changes().await;
    let Source { content, digest, .. } = source;
    match copied.compared {
        Compared::BothSides => println!("copied    {} entries, the same on both sides", content.items.len()),
        Compared::WhatWasRead => println!("copied    {} entries, the same as were read", content.items.len()),
    }
    println!("digest    {:032x}", digest.digest);
    let before = copied.revision_before.map_or(String::new(), |before| format!(", before {before}"));
    println!("revision  {} (source {}{before})", copied.revision, content.revision);
    if let Some(made) = copied.made {
        println!("seal key  {made}");
    }
    if !content.unreadable.is_empty() {
        println!("left out  {}", content.unreadable.len());
    }
    Ok(())
}

/// Where a cluster can be copied to.
enum Target<'a> {
    Directory(&'a Path),
    Etcd(&'a [String]),
}

impl Target<'_> {
    /// What cannot be one is refused before anything is read.
    fn of(place: &Place) -> Result<Target<'_>> {
        match place {
            Place::DataDir(path) => {
                refuse_in_data_directory("the target", path)?;
                embedded::require_none(&path.join(STORE))?;
                Ok(Target::Directory(path))
            }
            Place::Etcd(endpoints) => Ok(Target::Etcd(endpoints)),
            Place::Backup(file) => {
                bail!("{} is a file: a cluster is copied to a data directory or an etcd", file.display())
            }
        }
    }
}

/// Whose seal key is taken when nobody names one: that of the data directory, of the other side's if this is none, or of the default one.
fn key_directory(side: &Place, other: &Place) -> Result<PathBuf> {
    let named = side.data_dir().or(other.data_dir()).map(Path::to_path_buf);
    named.or_else(default_data_dir).context("there is no home directory: give --from-seal-key and --to-seal-key")
}

async fn read(from: &Side, revision: Option<u64>, catalog: &dyn Catalog, opens: &Prepared) -> Result<Content> {
    Ok(from.read(revision).await?.open(catalog, &*opens.sealing).await)
}

fn report_unreadable(content: &Content, from: &Side, is_left_out: bool) -> Result<()> {
    name_each("cannot be read", &content.unreadable);
    if content.unreadable.is_empty() || is_left_out {
        return Ok(());
    }
    bail!(
        "{} of {} entries cannot be read: name their keys ({from}-seal-key, {from}-encryption-provider-config), or leave them out with \
         --leave-out-unreadable",
        content.unreadable.len(),
        content.unreadable.len() + content.items.len(),
        from = from.flag
    )
}

async fn into_directory(
    data_dir: &Path,
    source: &Source<'_>,
    catalog: &dyn Catalog,
    mut seals: Prepared,
) -> Result<Copied> {
    make_private_directory(data_dir)?;
    let store = data_dir.join(STORE);
    let made = seals.settle()?;
    let prepared = embedded::prepare(&store, &source.content, &*seals.sealing).context("--to")?;
    let written = prepared.read()?.open(catalog, &*seals.sealing).await;
    require_same(source, &written, catalog, &store.display().to_string())?;
    let revision = written.revision;
    // The source is about to be in memory twice; with this it would be three times.
    drop(written);
    let compared = source.compare_again(catalog).await?;
    prepared.finish()?;
    Ok(Copied { revision_before: None, revision, made, compared })
}

async fn into_etcd(
    to: &Side,
    endpoints: &[String],
    source: &Source<'_>,
    catalog: &dyn Catalog,
    mut seals: Prepared,
) -> Result<Copied> {
    let etcd = to.etcd(endpoints).await?;
    let mut say = |progress| eprintln!("{}", told(progress));
    let copy = etcd.begin(&source.content, catalog, &mut say).await.context("--to")?;
    let made = seals.settle()?;
    copy.write(&source.content, catalog, &*seals.sealing, &mut say).await.context("--to")?;
    let written = copy.read().await.context("--to")?.open(catalog, &*seals.sealing).await;
    require_same(source, &written, catalog, "the etcd")?;
    let (revision_before, revision) = (Some(copy.revision_before), written.revision);
    drop(written);
    let compared = source.compare_again(catalog).await?;
    copy.finish().await.context("--to")?;
    Ok(Copied { revision_before, revision, made, compared })
}

fn told(progress: Progress) -> String {
    match progress {
        Progress::Removing => "removing what a copy left that was broken off".to_owned(),
        Progress::Raising { at, to } => format!("raising the revision of the etcd: {at} of {to}"),
        Progress::Writing { entries } => format!("writing {entries} entries"),
    }
}

fn require_same(source: &Source<'_>, written: &Content, catalog: &dyn Catalog, place: &str) -> Result<()> {
    let (expected, found) = (source.digest, written.digest(catalog));
    name_each("cannot be read there", &written.unreadable);
    match source.content.first_difference(written, catalog) {
        Some(key) => bail!(
            "{place} does not hold what was copied, and is not served: {key:?} is the first that differs ({found}, not {expected})"
        ),
        None if expected == found && written.unreadable.is_empty() => Ok(()),
        None => bail!("{place} does not hold what was copied, and is not served: {found}, not {expected}"),
    }
}

impl Source<'_> {
    /// Before the copy is served: whoever wrote to the source meanwhile is not in it.
    async fn compare_again(&self, catalog: &dyn Catalog) -> Result<Compared> {
        let Source { side, opens, content, digest } = self;
        // An etcd is asked for what it held when it was read.
        let revision = matches!(side.place, Place::Etcd(_)).then_some(content.revision);
        let again = match read(side, revision, catalog, opens).await {
            Ok(again) => again,
            Err(error) if is_forgotten(&error) => {
                eprintln!("{}: {error:#}; what was written is compared with what was read, and no more", side.flag);
                return Ok(Compared::WhatWasRead);
            }
            Err(error) => {
                return Err(error.context("the source cannot be read again, and the copy is not served: copy it again"));
            }
        };
        let found = again.digest(catalog);
        if found != *digest {
            let key = again.first_difference(content, catalog).map_or("?", |key| key);
            bail!(
                "the source changed while it was copied, and the copy is not served: it is {found} now, and was {digest} (first at \
                 {key:?}); stop its server and copy it again"
            );
        }
        Ok(Compared::BothSides)
    }

    /// Warns of what was written to an etcd after it was read; a data directory is the same, or there is no copy.
    async fn tell_changes(&self) {
        let Source { side, content, .. } = self;
        let Place::Etcd(endpoints) = &side.place else { return };
        let read = match side.etcd(endpoints).await {
            Ok(etcd) => etcd.changes_since(content).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        let (flag, read_at) = (side.flag, content.revision);
        match read {
            Ok(None) => {}
            Ok(Some(Changes { written, removed, first, revision })) => eprintln!(
                "warning: {flag} was written to after it was read at revision {read_at}, and the copy has none of that. Keys written up to \
                 revision {revision}: {written}, removed: {removed}, the first of all: {first:?}. To have it all, stop what writes there \
                 and copy again"
            ),
            Err(error) => eprintln!(
                "warning: it cannot be told whether {flag} was written to after revision {read_at}, which is what was copied: {error:#}"
            ),
        }
    }
}

/// Whether the etcd was compacted meanwhile, as each is every few minutes.
fn is_forgotten(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ConnectError::Forgotten { .. }))
}
