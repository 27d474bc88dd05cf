//! The cases that every engine must pass, called by the tests of each engine.
//!
//! A case gets an engine and a prefix of its own, so that all of them can run on one engine, after one another. A
//! case fails by panicking. What comes out of randomness prints its seed.

#![allow(clippy::unwrap_used, reason = "this is test code: a case fails by panicking")]

mod events;
mod random;
mod reads;
mod restart;
mod writes;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Change, Commit, CommitError, Condition, Engine, Entry, EventBatch, Operation, Snapshot, Subscription,
    engine::BoxFuture,
};

/// Opens the engine under test; of a durable one the same state each time.
pub type Opener = Arc<dyn Fn() -> BoxFuture<'static, Arc<dyn Engine>> + Send + Sync>;

/// One rule that engines keep.
pub struct Case {
    /// For the test's output.
    pub name: &'static str,
    run: fn(Stage) -> BoxFuture<'static, ()>,
}

macro_rules! cases {
    ($($file:ident :: $name:ident),* $(,)?) => {
        &[$(Case { name: stringify!($name), run: |stage| Box::pin($file::$name(stage)) }),*]
    };
}

/// All cases.
pub const CASES: &[Case] = cases![
    writes::conditions,
    writes::versions,
    writes::several_keys_get_one_revision,
    writes::one_failing_condition_changes_nothing,
    writes::what_changes_nothing_takes_no_revision,
    writes::refusals,
    writes::the_limits_can_be_reached,
    writes::parallel_increments_lose_nothing,
    writes::parallel_transfers_keep_the_sum,
    reads::order_is_that_of_key_bytes,
    reads::paging,
    reads::snapshots_do_not_change,
    reads::volumes_follow_writes,
    events::events_tell_before_and_after,
    events::a_commit_is_one_batch,
    events::a_subscription_resumes_anywhere,
    events::a_subscription_sees_its_prefix_only,
    events::subscriptions_follow_parallel_writers,
    events::positions_out_of_reach_are_refused,
    events::an_idle_subscription_moves_on,
    events::a_wait_that_is_dropped_loses_nothing,
    events::who_is_too_slow_is_told,
    random::random_commits_match_a_model,
    restart::a_restart_keeps_everything,
    restart::a_restart_keeps_revisions_rising,
    restart::a_closed_engine_says_so,
];

/// Runs every case; says which one runs, so that a failure has a name.
pub async fn run(open: Opener) {
    for case in CASES {
        println!("suite: {}", case.name);
        let engine = open().await;
        let (open, prefix) = (open.clone(), format!("/registry/suite-{}/", case.name));
        (case.run)(Stage { engine: engine.clone(), open, prefix }).await;
        // A case that has closed its engine has looked after a restart instead.
        if let Ok(found) = engine.verify().await {
            assert!(found.is_sound(), "after {}: {found:?}", case.name);
        }
    }
}

/// What a case works with.
struct Stage {
    engine: Arc<dyn Engine>,
    open: Opener,
    /// Ends in a slash.
    prefix: String,
}

impl Stage {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn operation(&self, name: &str, condition: Condition, change: Change) -> Operation {
        Operation { key: self.key(name).into(), condition, change }
    }

    async fn commit(&self, operations: Vec<Operation>) -> Result<u64, CommitError> {
        self.engine.commit(Commit { operations }).await.map(|committed| committed.revision)
    }

    /// Puts a value whatever is there; gives the revision.
    async fn put(&self, name: &str, value: &str) -> u64 {
        self.commit(vec![self.operation(name, Condition::Any, text(value))]).await.unwrap()
    }

    async fn delete(&self, name: &str) -> u64 {
        self.commit(vec![self.operation(name, Condition::Any, Change::Delete)]).await.unwrap()
    }

    async fn newest(&self) -> Snapshot {
        self.engine.newest().await.unwrap()
    }

    async fn get(&self, name: &str) -> Option<Entry> {
        self.newest().await.get(&self.key(name)).cloned()
    }

    /// Names and values under the case's prefix.
    async fn all(&self) -> Vec<(String, String)> {
        let snapshot = self.newest().await;
        snapshot.range(&self.prefix, None).map(|(key, entry)| (self.name(key), shown(&entry.value))).collect()
    }

    fn name(&self, key: &str) -> String {
        key.strip_prefix(&self.prefix).unwrap().to_string()
    }

    async fn subscribe(&self, after: u64) -> Box<dyn Subscription> {
        self.engine.subscribe((&self.prefix).into(), after).await.unwrap()
    }

    /// Closes the engine and opens it again.
    async fn restart(self) -> Stage {
        let Stage { engine, open, prefix } = self;
        engine.close().await;
        drop(engine);
        Stage { engine: open().await, open, prefix }
    }

    /// A batch as `name=before>after` parts.
    fn told(&self, batch: &EventBatch) -> Vec<String> {
        let value = |entry: &Option<Entry>| entry.as_ref().map_or("-".to_string(), |entry| shown(&entry.value));
        let event = |event: &Arc<crate::Event>| {
            assert_eq!(event.revision, batch.revision);
            if let Some(current) = &event.current {
                assert_eq!(current.version, batch.revision, "the version of what was put is the commit's revision");
            }
            format!("{}={}>{}", self.name(&event.key), value(&event.previous), value(&event.current))
        };
        batch.events.iter().map(event).collect()
    }
}

fn text(value: &str) -> Change {
    Change::Put(Bytes::copy_from_slice(value.as_bytes()))
}

fn shown(value: &Bytes) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

/// Numbers that look random and come again with the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
