//! Cases about closing and opening again.

use super::{Stage, text};
use crate::{
    CommitError,
    Condition::{Any, Version},
    Entry, SubscribeError, SubscriptionError,
};

pub(super) async fn a_restart_keeps_everything(stage: Stage) {
    for name in ["a", "b", "c", "é"] {
        stage.put(name, "first").await;
    }
    stage.put("b", "second").await;
    stage.put("empty", "").await;
    stage.delete("c").await;
    let list = |snapshot: &crate::Snapshot| -> Vec<(String, Entry)> {
        snapshot.range("/registry/", None).map(|(key, entry)| (key.to_string(), entry.clone())).collect()
    };
    let before = stage.newest().await;
    let stage = stage.restart().await;
    let after = stage.newest().await;
    assert_eq!(list(&after), list(&before));
    assert_eq!(after.revision(), before.revision());

    let b = stage.get("b").await.unwrap();
    stage.commit(vec![stage.operation("b", Version(b.version), text("third"))]).await.unwrap();
    let stage = stage.restart().await;
    let entry = stage.get("b").await.unwrap();
    assert_eq!((entry.create_revision, super::shown(&entry.value)), (b.create_revision, "third".to_string()));
}

/// Also when the newest revisions left no entry behind.
pub(super) async fn a_restart_keeps_revisions_rising(stage: Stage) {
    stage.put("a", "1").await;
    let last = stage.delete("a").await;
    let stage = stage.restart().await;
    assert!(stage.put("a", "1").await > last);
    let expired = stage.engine.subscribe((&stage.prefix).into(), last - 1).await.map(|_| ());
    assert!(matches!(expired, Err(SubscribeError::Expired { .. })), "history does not outlive a process: {expired:?}");
}

pub(super) async fn a_closed_engine_says_so(stage: Stage) {
    let revision = stage.put("a", "1").await;
    let mut events = stage.subscribe(revision).await;
    let last = stage.put("a", "2").await;
    stage.newest().await;
    stage.engine.close().await;
    stage.engine.close().await;
    assert_eq!(events.next().await.unwrap().revision, last, "what happened before is still told");
    assert_eq!(events.next().await, Err(SubscriptionError::Closed));
    let refused = stage.commit(vec![stage.operation("a", Any, text("3"))]).await;
    assert!(matches!(refused, Err(CommitError::Closed)), "{refused:?}");
    assert_eq!(stage.engine.snapshot().revision(), last, "memory stays readable");
    let stage = stage.restart().await;
    assert_eq!(stage.get("a").await.unwrap().version, last);
}
