//! Cases about subscriptions: order, atomicity, beginning anywhere, and the ends of history.

use std::sync::Arc;

use super::{Stage, text};
use bytes::Bytes;

use crate::{
    Change,
    Condition::{Absent, Any, Present},
    SubscribeError, SubscriptionError,
};

const WRITERS: u64 = 6;
const WRITES: u64 = 30;
/// More than a ring keeps of replaced values, in pieces that every engine takes.
const PIECES: u64 = 90;
const PIECE_BYTES: usize = 512 << 10;

pub(super) async fn events_tell_before_and_after(stage: Stage) {
    let mut events = stage.subscribe(stage.newest().await.revision()).await;
    let mut told = Vec::new();
    let revisions = [
        stage.put("a", "1").await,
        stage.put("a", "2").await,
        stage.put("a", "2").await,
        stage.delete("a").await,
        stage.put("a", "3").await,
    ];
    for revision in revisions {
        let batch = events.next().await.unwrap();
        assert_eq!(batch.revision, revision);
        assert_eq!(events.position(), revision);
        told.extend(stage.told(&batch));
    }
    assert_eq!(told, ["a=->1", "a=1>2", "a=2>2", "a=2>-", "a=->3"]);
}

/// All changes of a commit come together; what it only checked, and deletes of nothing, do not come.
pub(super) async fn a_commit_is_one_batch(stage: Stage) {
    stage.put("old", "1").await;
    stage.put("gone", "1").await;
    let mut events = stage.subscribe(stage.newest().await.revision()).await;
    let revision = stage
        .commit(vec![
            stage.operation("new", Absent, text("1")),
            stage.operation("old", Present, text("2")),
            stage.operation("gone", Present, Change::Delete),
            stage.operation("never", Any, Change::Delete),
            stage.operation("never-too", Absent, Change::Check),
        ])
        .await
        .unwrap();
    let last = stage.put("last", "1").await;
    let batch = events.next().await.unwrap();
    assert_eq!(batch.revision, revision);
    assert_eq!(stage.told(&batch), ["new=->1", "old=1>2", "gone=1>-"]);
    let batch = events.next().await.unwrap();
    assert_eq!((batch.revision, stage.told(&batch)), (last, vec!["last=->1".to_string()]));
}

/// Wherever one begins, exactly what follows comes.
pub(super) async fn a_subscription_resumes_anywhere(stage: Stage) {
    let begin = stage.newest().await.revision();
    let mut revisions = Vec::new();
    for number in 0..10 {
        revisions.push(stage.put(&format!("{}", number % 3), &format!("{number}")).await);
    }
    for after in std::iter::once(begin).chain(revisions.iter().copied()) {
        let mut events = stage.subscribe(after).await;
        for expected in revisions.iter().filter(|revision| **revision > after) {
            assert_eq!(events.next().await.unwrap().revision, *expected, "after {after}");
        }
        assert_eq!(events.position(), *revisions.last().unwrap());
    }
}

pub(super) async fn a_subscription_sees_its_prefix_only(stage: Stage) {
    let prefix = stage.key("a/");
    let mut events = stage.engine.subscribe((&prefix).into(), stage.newest().await.revision()).await.unwrap();
    stage.put("b/x", "1").await;
    stage.put("a-b/x", "1").await;
    let both = vec![stage.operation("b/y", Any, text("1")), stage.operation("a/x", Any, text("1"))];
    let revision = stage.commit(both).await.unwrap();
    stage.put("b/z", "1").await;
    stage.put("a/y", "1").await;
    let batch = events.next().await.unwrap();
    assert_eq!((batch.revision, stage.told(&batch)), (revision, vec!["a/x=->1".to_string()]));
    let batch = events.next().await.unwrap();
    assert_eq!(stage.told(&batch), ["a/y=->1"]);
}

/// While several write, a subscriber sees every commit once, in the order of revisions, and ends with the state.
pub(super) async fn subscriptions_follow_parallel_writers(stage: Stage) {
    let stage = Arc::new(stage);
    let mut events = stage.subscribe(stage.newest().await.revision()).await;
    let write = |stage: Arc<Stage>, writer: u64| async move {
        for number in 0..WRITES {
            let both = vec![
                stage.operation(&format!("{writer}"), Any, text(&format!("{number}"))),
                stage.operation(&format!("shared-{}", number % 4), Any, text(&format!("{writer}-{number}"))),
            ];
            stage.commit(both).await.unwrap();
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(stage.clone(), writer))).collect();
    let mut state = std::collections::BTreeMap::new();
    let mut last = 0;
    for _ in 0..WRITERS * WRITES {
        let batch = events.next().await.unwrap();
        assert!(batch.revision > last, "{} after {last}", batch.revision);
        assert_eq!(batch.events.len(), 2);
        last = batch.revision;
        for event in &batch.events {
            let before = state.insert(event.key.clone(), event.current.clone().unwrap());
            assert_eq!(before, event.previous, "the previous entry is the one told before");
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let snapshot = stage.newest().await;
    let listed = snapshot.range(&stage.prefix, None).map(|(key, entry)| (key.clone(), entry.clone())).collect();
    assert_eq!(state, listed);
}

pub(super) async fn positions_out_of_reach_are_refused(stage: Stage) {
    let revision = stage.put("a", "1").await;
    match stage.engine.subscribe((&stage.prefix).into(), revision + 10).await.map(|_| ()) {
        Err(SubscribeError::Ahead { after, revision: newest }) => {
            assert_eq!((after, newest), (revision + 10, revision))
        }
        other => panic!("a revision ahead: {other:?}"),
    }
    match stage.engine.subscribe((&stage.prefix).into(), 0).await.map(|_| ()) {
        Err(SubscribeError::Expired { after: 0, oldest }) => {
            stage.engine.subscribe((&stage.prefix).into(), oldest).await.map(|_| ()).unwrap();
        }
        other => panic!("a revision before all history: {other:?}"),
    }
}

/// What others write moves a subscription on, so that a client who is told its position need not read that again.
pub(super) async fn an_idle_subscription_moves_on(stage: Stage) {
    let prefix = stage.key("quiet/");
    let mut events = stage.engine.subscribe((&prefix).into(), stage.newest().await.revision()).await.unwrap();
    let last = stage.put("busy/a", "1").await;
    let last = stage.put("busy/a", "2").await.max(last);
    stage.newest().await;
    assert_eq!(events.try_next().unwrap(), None);
    assert!(events.position() >= last, "{} after {last}", events.position());
    let revision = stage.put("quiet/a", "1").await;
    assert_eq!(events.next().await.unwrap().revision, revision);
}

/// A wait that was given up takes nothing with it.
pub(super) async fn a_wait_that_is_dropped_loses_nothing(stage: Stage) {
    let mut events = stage.subscribe(stage.newest().await.revision()).await;
    for number in 0..10 {
        tokio::select! {
            biased;
            batch = events.next() => panic!("nothing was written, but there is {batch:?}"),
            () = std::future::ready(()) => {}
        }
        let revision = stage.put("a", &format!("{number}")).await;
        assert_eq!(events.next().await.unwrap().revision, revision);
    }
}

/// History has an end. Whoever is behind it is told so, each time he asks, and what is kept is kept without a gap.
pub(super) async fn who_is_too_slow_is_told(stage: Stage) {
    let begin = stage.put("a", "1").await;
    let mut slow = stage.subscribe(begin).await;
    let mut revisions = Vec::new();
    for number in 0..PIECES {
        let value = Change::Put(Bytes::from(vec![number as u8; PIECE_BYTES]));
        revisions.push(stage.commit(vec![stage.operation("a", Any, value)]).await.unwrap());
    }
    stage.newest().await;
    let Err(SubscriptionError::Lagged { after, oldest }) = slow.next().await else {
        panic!("nothing was lost, or it was not told");
    };
    assert_eq!(after, begin);
    assert!(matches!(slow.next().await, Err(SubscriptionError::Lagged { .. })));
    match stage.engine.subscribe((&stage.prefix).into(), begin).await.map(|_| ()) {
        Err(SubscribeError::Expired { after, oldest: again }) => assert_eq!((after, again), (begin, oldest)),
        other => panic!("from before all history: {other:?}"),
    }
    let mut rest = stage.subscribe(oldest).await;
    let kept: Vec<u64> = revisions.into_iter().filter(|revision| *revision > oldest).collect();
    assert!(!kept.is_empty());
    for expected in kept {
        assert_eq!(rest.next().await.unwrap().revision, expected);
    }
}
