//! Cases about commits: conditions, atomicity, versions, limits, and writers that race.

use std::sync::Arc;

use super::{Stage, shown, text};
use crate::{
    Change, Commit, CommitError,
    Condition::{self, Absent, Any, Present, Version},
    Operation,
};

const WRITERS: usize = 8;
const INCREMENTS: usize = 25;
/// Attempts of one compare-and-swap: each failure means that another writer got through.
const ATTEMPTS_MAX: usize = WRITERS * INCREMENTS + 1;

/// Each condition with each change, on a key that is there and on one that is not.
pub(super) async fn conditions(stage: Stage) {
    let mut row = 0;
    let mut check = async |there: bool, condition: fn(u64) -> Condition, change: Change, expected: Result<&str, ()>| {
        row += 1;
        let name = format!("row-{row}");
        let version = if there { stage.put(&name, "old").await } else { 77 };
        let operation = stage.operation(&name, condition(version), change);
        let label = format!("row {row}, there: {there}, {operation:?}");
        match (stage.commit(vec![operation]).await, expected) {
            (Ok(revision), Ok(value)) => {
                let entry = stage.get(&name).await;
                assert_eq!(entry.as_ref().map_or("-".to_string(), |entry| shown(&entry.value)), value, "{label}");
                if value == "new" {
                    assert_eq!(entry.unwrap().version, revision, "{label}");
                }
            }
            (Err(CommitError::Conflict { key, current }), Err(())) => {
                assert_eq!(&*key, stage.key(&name), "{label}");
                assert_eq!(current.is_some(), there, "{label}");
                assert_eq!(current, stage.get(&name).await, "{label}: a refused commit changed something");
            }
            (result, expected) => panic!("{label}: {result:?}, expected {expected:?}"),
        }
    };
    let new = text("new");
    check(false, |_| Absent, new.clone(), Ok("new")).await;
    check(false, |_| Present, new.clone(), Err(())).await;
    check(false, Version, new.clone(), Err(())).await;
    check(false, |_| Any, new.clone(), Ok("new")).await;
    check(true, |_| Absent, new.clone(), Err(())).await;
    check(true, |_| Present, new.clone(), Ok("new")).await;
    check(true, Version, new.clone(), Ok("new")).await;
    check(true, |version| Version(version - 1), new.clone(), Err(())).await;
    check(true, |version| Version(version + 1), new.clone(), Err(())).await;
    check(true, |_| Any, new, Ok("new")).await;

    check(false, |_| Absent, Change::Delete, Ok("-")).await;
    check(false, |_| Present, Change::Delete, Err(())).await;
    check(false, Version, Change::Delete, Err(())).await;
    check(false, |_| Any, Change::Delete, Ok("-")).await;
    check(true, |_| Absent, Change::Delete, Err(())).await;
    check(true, |_| Present, Change::Delete, Ok("-")).await;
    check(true, Version, Change::Delete, Ok("-")).await;
    check(true, |version| Version(version - 1), Change::Delete, Err(())).await;
    check(true, |_| Any, Change::Delete, Ok("-")).await;

    check(false, |_| Absent, Change::Check, Ok("-")).await;
    check(false, |_| Present, Change::Check, Err(())).await;
    check(false, Version, Change::Check, Err(())).await;
    check(false, |_| Any, Change::Check, Ok("-")).await;
    check(true, |_| Absent, Change::Check, Err(())).await;
    check(true, |_| Present, Change::Check, Ok("old")).await;
    check(true, Version, Change::Check, Ok("old")).await;
    check(true, |version| Version(version - 1), Change::Check, Err(())).await;
    check(true, |_| Any, Change::Check, Ok("old")).await;
}

/// A version rises with every change; the revision of creation stays until the entry goes.
pub(super) async fn versions(stage: Stage) {
    let created = stage.put("a", "1").await;
    let entry = stage.get("a").await.unwrap();
    assert_eq!((entry.version, entry.create_revision), (created, created));

    let again = stage.put("a", "1").await;
    assert!(again > created, "an equal value is a change too");
    let entry = stage.get("a").await.unwrap();
    assert_eq!((entry.version, entry.create_revision), (again, created));

    let elsewhere = stage.put("b", "1").await;
    assert!(elsewhere > again);
    assert_eq!(stage.get("a").await.unwrap().version, again);

    let deleted = stage.delete("a").await;
    assert!(deleted > elsewhere);
    assert_eq!(stage.get("a").await, None);
    let anew = stage.put("a", "1").await;
    let entry = stage.get("a").await.unwrap();
    assert_eq!((entry.version, entry.create_revision), (anew, anew));
    assert!(anew > deleted);
    assert!(stage.newest().await.revision() >= anew);
}

pub(super) async fn several_keys_get_one_revision(stage: Stage) {
    let old = stage.put("old", "1").await;
    let revision = stage
        .commit(vec![
            stage.operation("a", Absent, text("1")),
            stage.operation("old", Version(old), text("2")),
            stage.operation("b", Any, text("3")),
            stage.operation("absent", Absent, Change::Check),
        ])
        .await
        .unwrap();
    for (name, created) in [("a", revision), ("old", old), ("b", revision)] {
        let entry = stage.get(name).await.unwrap();
        assert_eq!((entry.version, entry.create_revision), (revision, created), "{name}");
    }
    assert_eq!(stage.get("absent").await, None);

    stage
        .commit(vec![stage.operation("a", Present, Change::Delete), stage.operation("b", Present, Change::Delete)])
        .await
        .unwrap();
    assert_eq!(stage.all().await, [("old".to_string(), "2".to_string())]);
}

/// Wherever the failing operation stands, nothing happens, and the first failing key is named.
pub(super) async fn one_failing_condition_changes_nothing(stage: Stage) {
    stage.put("there", "old").await;
    let there = stage.get("there").await;
    let before = stage.newest().await.revision();
    let good = [
        stage.operation("new", Absent, text("x")),
        stage.operation("there", Present, Change::Delete),
        stage.operation("any", Any, text("x")),
    ];
    let bad = [
        (stage.operation("missing", Present, Change::Check), None),
        (stage.operation("missing", Version(1), text("x")), None),
        (stage.operation("there", Absent, text("x")), there.clone()),
    ];
    for (failing, current) in bad {
        for place in 0..=good.len() {
            let mut operations: Vec<Operation> = good.iter().filter(|o| o.key != failing.key).cloned().collect();
            operations.insert(place.min(operations.len()), failing.clone());
            // A second one that fails, at the end: it is not the one that is named.
            operations.push(stage.operation("missing-too", Present, Change::Check));
            match stage.commit(operations).await {
                Err(CommitError::Conflict { key, current: told }) => {
                    assert_eq!((key, &told), (failing.key.clone(), &current), "place {place}")
                }
                other => panic!("{failing:?} in place {place}: {other:?}"),
            }
        }
    }
    assert_eq!(stage.all().await, [("there".to_string(), "old".to_string())]);
    assert_eq!(stage.newest().await.revision(), before, "a refused commit took a revision");
}

pub(super) async fn what_changes_nothing_takes_no_revision(stage: Stage) {
    let version = stage.put("a", "1").await;
    let check = async |operations: Vec<Operation>| {
        let label = format!("{operations:?}");
        assert_eq!(stage.commit(operations).await.unwrap(), version, "{label}");
        assert_eq!(stage.newest().await.revision(), version, "{label}");
    };
    check(vec![stage.operation("a", Version(version), Change::Check)]).await;
    check(vec![stage.operation("b", Absent, Change::Check)]).await;
    check(vec![stage.operation("b", Any, Change::Delete)]).await;
    check(vec![stage.operation("a", Present, Change::Check), stage.operation("b", Absent, Change::Delete)]).await;
    assert_eq!(stage.put("a", "2").await, version + 1);
}

/// The engine itself refuses what [`Commit::check`] refuses.
pub(super) async fn refusals(stage: Stage) {
    let limits = stage.engine.limits();
    let check = async |operations: Vec<Operation>| match stage.engine.commit(Commit { operations }).await {
        Err(CommitError::Refused(_)) => {}
        other => panic!("not refused: {other:?}"),
    };
    let large = Change::Put(vec![b'x'; limits.value_bytes_max + 1].into());
    let many = |count: usize| (0..count).map(|at| stage.operation(&format!("{at}"), Any, text("x"))).collect();
    check(vec![]).await;
    check(many(limits.operations_max + 1)).await;
    check(vec![stage.operation("a", Any, text("1")), stage.operation("a", Any, text("2"))]).await;
    check(vec![stage.operation("a", Version(0), text("1"))]).await;
    check(vec![stage.operation("a\0", Any, text("1"))]).await;
    check(vec![stage.operation("a", Any, large)]).await;
    check(vec![Operation { key: "elsewhere".into(), condition: Any, change: text("1") }]).await;
    assert_eq!(stage.all().await, []);
}

/// The largest value, the most operations and the largest commit pass.
pub(super) async fn the_limits_can_be_reached(stage: Stage) {
    let limits = stage.engine.limits();
    let bytes = |count: usize| Change::Put(vec![b'x'; count].into());
    stage.commit(vec![stage.operation("large", Any, bytes(limits.value_bytes_max))]).await.unwrap();
    assert_eq!(stage.get("large").await.unwrap().value.len(), limits.value_bytes_max);

    // Keys are of one length: the rest of the commit's bytes is for values.
    let names: Vec<String> = (0..limits.operations_max).map(|at| format!("many-{at:04}")).collect();
    let room = (limits.commit_bytes_max - names.iter().map(|name| stage.key(name).len()).sum::<usize>()) / names.len();
    let operations = names.iter().map(|name| stage.operation(name, Absent, bytes(room))).collect();
    let revision = stage.commit(operations).await.unwrap();
    for name in &names {
        assert_eq!(stage.get(name).await.unwrap().version, revision);
    }
    let operations = names.iter().map(|name| stage.operation(name, Version(revision), Change::Delete)).collect();
    stage.commit(operations).await.unwrap();
    stage.delete("large").await;
    assert_eq!(stage.all().await, []);
}

/// Writers that read, add one and swap, all on one key.
pub(super) async fn parallel_increments_lose_nothing(stage: Stage) {
    stage.put("counter", "0").await;
    let stage = Arc::new(stage);
    let increment = |stage: Arc<Stage>| async move {
        for _ in 0..INCREMENTS {
            let mut current = stage.get("counter").await;
            for attempt in 0.. {
                assert!(attempt < ATTEMPTS_MAX, "every failure must mean another's success");
                let entry = current.unwrap();
                let next = shown(&entry.value).parse::<usize>().unwrap() + 1;
                let swap = stage.operation("counter", Version(entry.version), text(&next.to_string()));
                match stage.commit(vec![swap]).await {
                    Ok(_) => break,
                    Err(CommitError::Conflict { current: newer, .. }) => current = newer,
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(increment(stage.clone()))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let entry = stage.get("counter").await.unwrap();
    assert_eq!(shown(&entry.value), (WRITERS * INCREMENTS).to_string());
}

/// Writers that move from one key to another, in one commit: every snapshot shows the same sum.
pub(super) async fn parallel_transfers_keep_the_sum(stage: Stage) {
    const SUM: i64 = 1000;
    stage
        .commit(vec![stage.operation("from", Any, text("1000")), stage.operation("to", Any, text("0"))])
        .await
        .unwrap();
    let stage = Arc::new(stage);
    let balances = |stage: &Stage, snapshot: crate::Snapshot| {
        let entry = |name: &str| snapshot.get(&stage.key(name)).cloned().unwrap();
        let balance = |name: &str| shown(&entry(name).value).parse::<i64>().unwrap();
        assert_eq!(balance("from") + balance("to"), SUM, "at revision {}", snapshot.revision());
        assert_eq!(entry("from").version, entry("to").version);
        (balance("from"), balance("to"), entry("from").version)
    };
    let transfer = move |stage: Arc<Stage>| async move {
        for _ in 0..INCREMENTS {
            for attempt in 0.. {
                assert!(attempt < ATTEMPTS_MAX, "every failure must mean another's success");
                let (from, to, version) = balances(&stage, stage.newest().await);
                let operations = vec![
                    stage.operation("from", Version(version), text(&(from - 1).to_string())),
                    stage.operation("to", Version(version), text(&(to + 1).to_string())),
                ];
                match stage.commit(operations).await {
                    Ok(_) => break,
                    Err(CommitError::Conflict { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(transfer(stage.clone()))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let moved = stage.get("to").await.unwrap();
    assert_eq!(shown(&moved.value), (WRITERS * INCREMENTS).to_string());
}
