//! Cases about snapshots: order, paging, and that they stay as they are.

use super::Stage;

/// The order of a list is that of bytes: `-` before `/`, capitals before small letters, ASCII before the rest.
pub(super) async fn order_is_that_of_key_bytes(stage: Stage) {
    let sorted = ["A/x", "a-b/x", "a.b/x", "a/x", "a/x-y", "a/x.y", "a/x/y", "a0/x", "ab/x", "b/x", "é/x"];
    for name in ["b/x", "a/x/y", "a0/x", "é/x", "a/x", "A/x", "ab/x", "a-b/x", "a/x.y", "a.b/x", "a/x-y"] {
        stage.put(name, "").await;
    }
    let names: Vec<String> = stage.all().await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, sorted);

    let snapshot = stage.newest().await;
    let check = |prefix: &str, expected: &[&str]| {
        let prefix = stage.key(prefix);
        let found: Vec<String> = snapshot.range(&prefix, None).map(|(key, _)| stage.name(key)).collect();
        assert_eq!(found, expected, "{prefix}");
    };
    check("a/", &["a/x", "a/x-y", "a/x.y", "a/x/y"]);
    check("a", &["a-b/x", "a.b/x", "a/x", "a/x-y", "a/x.y", "a/x/y", "a0/x", "ab/x"]);
    check("c", &[]);
}

/// Pages of any size make up the list, each continued after the last key of the one before.
pub(super) async fn paging(stage: Stage) {
    let names: Vec<String> = (0..23).map(|number| format!("item-{number:02}")).collect();
    for name in &names {
        stage.put(name, name).await;
    }
    let snapshot = stage.newest().await;
    for limit in [1, 2, 7, 22, 23, 24] {
        let mut paged = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..=names.len() {
            let page: Vec<String> =
                snapshot.range(&stage.prefix, after.as_deref()).take(limit).map(|(key, _)| key.to_string()).collect();
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            paged.extend(page.iter().map(|key| stage.name(key)));
            // What happens meanwhile does not disturb a list that has begun.
            stage.put("item-00-later", "").await;
        }
        assert_eq!(paged, names, "pages of {limit}");
    }
}

/// An old snapshot shows what was, however much has happened since.
pub(super) async fn snapshots_do_not_change(stage: Stage) {
    let first = stage.put("a", "1").await;
    stage.put("b", "1").await;
    let old = stage.newest().await;
    stage.put("a", "2").await;
    stage.delete("b").await;
    let last = stage.put("c", "1").await;

    let list = |snapshot: &crate::Snapshot| {
        let shown = |(key, entry): (&crate::Key, &crate::Entry)| (stage.name(key), super::shown(&entry.value));
        snapshot.range(&stage.prefix, None).map(shown).collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(list(&old), pairs(&[("a", "1"), ("b", "1")]));
    assert_eq!(old.get(&stage.key("a")).unwrap().version, first);
    assert_eq!(old.get(&stage.key("c")), None);
    let new = stage.newest().await;
    assert_eq!(list(&new), pairs(&[("a", "2"), ("c", "1")]));
    assert!(new.revision() >= last && old.revision() < last);
    assert!(stage.engine.snapshot().revision() >= last, "what was newest is in memory");
}

/// The volume of a ring follows what is written, and who subscribes, without a walk. Other rings of the engine may be its neighbours,
/// so only differences count. It is that of the state in memory, which an engine may bring up to date after it has answered a write.
pub(super) async fn volumes_follow_writes(stage: Stage) {
    let volume = async || {
        stage.engine.newest().await.unwrap();
        stage.engine.volume(&stage.prefix)
    };
    let before = volume().await;
    stage.put("a", "12345").await;
    stage.put("b", "1").await;
    let (two, entries) = (volume().await, stage.all().await.len());
    assert_eq!(two.entries, before.entries + entries);
    stage.put("a", "123456789").await;
    let longer = volume().await;
    assert_eq!((longer.entries, longer.bytes), (two.entries, two.bytes + 4));
    stage.delete("a").await;
    stage.delete("absent").await;
    assert_eq!(volume().await.entries, before.entries + 1);
    let revision = stage.delete("b").await;
    assert_eq!(volume().await, before);

    let all = stage.subscribe(revision).await;
    assert_eq!(volume().await.followers, before.followers + 1);
    drop(all);
    assert_eq!(volume().await.followers, before.followers);
}
