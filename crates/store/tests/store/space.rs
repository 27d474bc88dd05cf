//! The file stays small, whatever is written over and over, and becomes smaller while it is served from.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use portcullis_store::{
    Change, Condition, Engine, Operation,
    embedded::{self, Embedded},
};

use crate::expiry::{Clocks, open};

/// What the WAL may have beside the file: one that was not moved yet, and the batch that began then.
const WAL_BYTES_MAX: u64 = 32 << 20;
/// What a file may have however little is in it.
const FILE_BYTES_MIN: u64 = 4 << 20;

fn put(key: String, bytes: usize) -> Operation {
    let change = Change::Put(Bytes::from(vec![b'x'; bytes]));
    Operation { key: key.into(), condition: Condition::Any, change }
}

fn sizes(directory: &Path) -> (u64, u64) {
    let of = |name: &str| directory.join(name).metadata().map_or(0, |metadata| metadata.len());
    (of("store.db"), of("store.db-wal"))
}

/// Bytes of all keys and values.
fn live(engine: &Embedded) -> u64 {
    engine.snapshot().range("/registry/", None).map(|(key, entry)| (key.len() + entry.value.len()) as u64).sum()
}

async fn write(engine: &Embedded, operations: Vec<Operation>) {
    for some in operations.chunks(100) {
        engine.commit(some.to_vec().into()).await.unwrap();
    }
}

/// A day of a cluster: leases renewed, events that come and go, pods that come, change and are deleted.
#[tokio::test]
async fn a_day_of_churn() {
    const MINUTES: usize = 24 * 60;
    let (directory, clocks) = (tempfile::tempdir().unwrap(), Clocks::new());
    let engine = open(directory.path(), &clocks);
    write(&engine, (0..2000).map(|n| put(format!("/registry/pods/default/fixed-{n}"), 3000 + n)).collect()).await;
    let mut highest = (0f64, 0);
    for minute in 0..MINUTES {
        let mut some: Vec<Operation> = (0..100).map(|n| put(format!("/registry/leases/node-{n}"), 500)).collect();
        some.extend((0..30).map(|n| put(format!("/registry/events/default/e.{minute}.{n}"), 700 + 13 * n)));
        some.push(put(format!("/registry/pods/default/job-{minute}"), 2500 + minute));
        if let Some(gone) = minute.checked_sub(60) {
            let (key, condition) = (format!("/registry/pods/default/job-{gone}").into(), Condition::Any);
            some.push(Operation { key, condition, change: Change::Delete });
        }
        write(&engine, some).await;
        clocks.pass(Duration::from_secs(60));
        if minute % 60 == 0 {
            engine.maintain().await.unwrap();
            let (file, wal) = sizes(directory.path());
            let live = live(&engine);
            assert!(file <= 2 * live + FILE_BYTES_MIN, "minute {minute}: {file} bytes for {live}");
            assert!(wal <= WAL_BYTES_MAX, "minute {minute}: the WAL has {wal} bytes");
            highest = (highest.0.max(file as f64 / live as f64), highest.1.max(wal));
        }
    }
    println!("a file of at most {:.2} of what is in it, a WAL of at most {} bytes", highest.0, highest.1);
    engine.maintain().await.unwrap();
    let before = engine.snapshot();
    engine.close().await;
    drop(engine);
    let engine = open(directory.path(), &clocks);
    let all = |snapshot: &portcullis_store::Snapshot| {
        snapshot.range("", None).map(|(key, entry)| (key.clone(), entry.clone())).collect::<Vec<_>>()
    };
    assert!(all(&before) == all(&engine.snapshot()));
    drop(engine);
    assert!(embedded::check(directory.path()).unwrap().is_sound());
}

/// Most of what there was is deleted, here and there: the file shrinks while it is served from, and what is left is whole.
#[tokio::test]
async fn a_file_shrinks_while_it_is_served_from() {
    const ROWS: usize = 30_000;
    let (directory, clocks) = (tempfile::tempdir().unwrap(), Clocks::new());
    let engine = open(directory.path(), &clocks);
    let key = |number: usize| format!("/registry/configmaps/default/name-{number:05}");
    write(&engine, (0..ROWS).map(|number| put(key(number), 1000 + number % 50)).collect()).await;
    engine.maintain().await.unwrap();
    let deletes = (0..ROWS).filter(|number| number % 10 != 0).map(|number| Operation {
        key: key(number).into(),
        condition: Condition::Present,
        change: Change::Delete,
    });
    write(&engine, deletes.collect()).await;
    engine.maintain().await.unwrap();
    let ((file, _), live) = (sizes(directory.path()), live(&engine));
    assert!(file <= 2 * live + FILE_BYTES_MIN / 2, "{file} bytes for {live}");
    engine.close().await;
    drop(engine);
    let engine = open(directory.path(), &clocks);
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.len(), ROWS / 10);
    for number in (0..ROWS).step_by(10) {
        assert_eq!(snapshot.get(&key(number)).unwrap().value.len(), 1000 + number % 50);
    }
    drop(engine);
    assert!(embedded::check(directory.path()).unwrap().is_sound());
}
