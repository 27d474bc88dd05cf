//! A whole cluster into an etcd and out of it, with a real one.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use portcullis_store::{
    Opaque, Unsealed,
    etcd::{ConnectError, CopyError, Etcd, PlainLoopback, Progress, REVISIONS_RAISED_MAX, Remote, Security},
    transfer::{Content, Item},
};

use super::etcd::{directory, options, start_plain};

async fn remote(endpoint: &str) -> Remote {
    Remote::connect(&[endpoint.to_owned()], Security::PlainLoopback(PlainLoopback::for_tests())).await.unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn content(revision: u64, entries: usize) -> Content {
    let item = |number| Item {
        key: format!("/registry/configmaps/{number:05}").into(),
        version: revision.min(7),
        create_revision: 1,
        epoch: 0,
        expires: None,
        value: Bytes::from(format!("value {number}").repeat(1 + number % 900)),
    };
    Content { revision, items: (0..entries).map(item).collect(), unreadable: Vec::new() }
}

async fn copy(to: &Remote, content: &Content, said: &mut Vec<Progress>) -> Result<(), CopyError> {
    let mut say = |progress| said.push(progress);
    let copy = to.begin(content, &Opaque, &mut say).await?;
    copy.write(content, &Opaque, &Unsealed, &mut say).await?;
    let written = copy.read().await?.open(&Opaque, &Unsealed).await;
    assert_eq!(content.first_difference(&written, &Opaque), None);
    assert_eq!(content.digest(&Opaque), written.digest(&Opaque));
    copy.finish().await
}

async fn connect(endpoint: &str) -> Result<Etcd, ConnectError> {
    let security = Security::PlainLoopback(PlainLoopback::for_tests());
    Etcd::connect(options(&[endpoint.to_owned()], security)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_into_etcd_behind_its_revision() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let etcd = remote(&server.endpoint).await;
    let mut given = content(2_500, 3_000);
    let ends = now() + 1_800;
    for item in given.items.iter_mut().take(1_500) {
        item.expires = Some(ends);
    }
    // What is over is not over before it is there.
    given.items[2_000].expires = Some(1_000);
    let mut said = Vec::new();
    copy(&etcd, &given, &mut said).await.unwrap();
    assert!(
        matches!(said[..], [Progress::Raising { to: 2_500, .. }, Progress::Writing { entries: 3_000 }]),
        "{said:?}"
    );
    let read = etcd.read(None).await.unwrap();
    assert!(read.revision > 2_500 && read.entries.iter().all(|kept| kept.version > 2_500));
    for (number, kept) in read.entries.iter().enumerate() {
        match (number, kept.expires) {
            (0..1_500, Some(at)) => assert!((ends..=ends + 125).contains(&at), "{at} for {ends}"),
            (2_000, Some(at)) => assert!((now()..=now() + 125).contains(&at), "{at}"),
            (_, expires) => assert_eq!(expires, None, "{number}"),
        }
    }
    // What was before is forgotten, and the same can be read again.
    let error = etcd.read(Some(2_400)).await.err().unwrap();
    assert!(matches!(error, ConnectError::Forgotten { revision: 2_400 }), "{error:?}");
    assert_eq!(etcd.read(Some(read.revision)).await.unwrap().entries.len(), 3_000);
    let engine = connect(&server.endpoint).await.unwrap();
    assert_eq!(portcullis_store::Engine::snapshot(&engine).len(), 3_000);
    // There is one now.
    let error = copy(&etcd, &given, &mut said).await.unwrap_err();
    assert!(matches!(error, CopyError::NotEmpty { keys: 3_000 }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_finished_is_nothing() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let (etcd, given) = (remote(&server.endpoint).await, content(10, 500));
    let mut say = |_| {};
    let first = etcd.begin(&given, &Opaque, &mut say).await.unwrap();
    first.write(&given, &Opaque, &Unsealed, &mut say).await.unwrap();
    assert!(matches!(connect(&server.endpoint).await, Err(ConnectError::CopyUnfinished { .. })));
    assert!(matches!(etcd.read(None).await, Err(ConnectError::CopyUnfinished { .. })));
    // Another one takes its place, with less, and from then on the first can neither write nor finish.
    let less = content(10, 5);
    let mut said = Vec::new();
    let mut note = |progress| said.push(progress);
    let second = etcd.begin(&less, &Opaque, &mut note).await.unwrap();
    assert_eq!(said, [Progress::Removing]);
    let written = first.write(&given, &Opaque, &Unsealed, &mut say).await;
    assert!(matches!(written, Err(CopyError::Superseded)));
    assert!(matches!(first.finish().await, Err(CopyError::Superseded)));
    second.write(&less, &Opaque, &Unsealed, &mut say).await.unwrap();
    second.finish().await.unwrap();
    assert_eq!(etcd.read(None).await.unwrap().entries.len(), 5);
    connect(&server.endpoint).await.unwrap();
}

#[tokio::test]
async fn what_etcd_cannot_take_is_refused_before_anything_is_written() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let etcd = Arc::new(remote(&server.endpoint).await);
    let mut given = content(10, 3);
    given.items[1].value = Bytes::from(vec![b'x'; 2 << 20]);
    let check = async |given: &Content, part: &str| {
        let error = etcd.begin(given, &Opaque, &mut |_| {}).await.err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&given, "\"/registry/configmaps/00001\"").await;
    check(&content(REVISIONS_RAISED_MAX + 1_000, 1), "--bump-revision").await;
    // No mark was left.
    tokio::time::timeout(Duration::from_secs(30), connect(&server.endpoint)).await.unwrap().unwrap();
}
