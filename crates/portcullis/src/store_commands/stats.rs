//! `portcullis store stats`: what is in the store, by resource, and under which keys it is sealed.

use std::collections::BTreeMap;

use anyhow::Result;
use portcullis_seal::sealed_under;
use portcullis_store::Digest;

use super::Looked;
use super::place::Place;

/// Say what is in the store
///
/// Of a data directory that no server has, or of a backup. A running server says the same in its metrics, and its backup can be looked at:
/// reading all of its file a second time is not done beside its work.
#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    #[command(flatten)]
    looked: Looked,
}

pub(super) fn run(arguments: &Stats) -> Result<()> {
    let place = arguments.looked.place()?;
    let report = place.report()?;
    let mut raw = place.read()?;
    raw.entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    let (mut digest, mut keys) = (Digest::default(), BTreeMap::<&str, usize>::new());
    for kept in &raw.entries {
        digest.add(&String::from_utf8_lossy(&kept.key), &kept.value);
        *keys.entry(sealed_under(&kept.value).unwrap_or("nothing")).or_default() += 1;
    }
    let wal = match &place {
        Place::DataDir(_) => std::fs::metadata(report.file.with_extension("db-wal")).map_or(0, |wal| wal.len()),
        Place::Backup(_) | Place::Etcd(_) => 0,
    };
    println!("file      {}, format {}", report.file.display(), report.format);
    println!("size      {} bytes, {} of them free, and {wal} in the WAL", report.file_bytes, report.free_bytes);
    println!("revision  {}", report.revision);
    println!("entries   {} with {} bytes, {} expire by themselves", report.rows, report.bytes, report.expiring);
    println!("digest    {:032x}, as it is kept", digest.finish().digest);
    println!("\n{:>9} {:>12}  RESOURCE", "ENTRIES", "BYTES");
    for (resource, (rows, bytes)) in &report.by_resource {
        println!("{rows:>9} {bytes:>12}  {resource}");
    }
    println!("\n{:>9}  SEALED UNDER", "ENTRIES");
    for (key, entries) in keys {
        println!("{entries:>9}  {key}");
    }
    Ok(())
}
