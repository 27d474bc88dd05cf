//! A case that compares an engine with a model small enough to be obviously right.

use std::{collections::BTreeMap, sync::Arc};

use super::{Dice, Stage, text};
use crate::{
    Budget, Change, CommitError,
    Condition::{self, Absent, Any, Present, Version},
    Entry, Index, Operation,
};

const SEED: u64 = 0x706f_7274_6375_6c6c;
const STEPS: u64 = 400;
/// Few, so that commits meet.
const KEYS: u64 = 6;
const RESTART_EVERY: u64 = 100;

type Model = BTreeMap<String, Entry>;

pub(super) async fn random_commits_match_a_model(mut stage: Stage) {
    println!("seed {SEED:#x}");
    let mut dice = Dice(SEED);
    let mut model = Model::new();
    for step in 0..STEPS {
        if step % RESTART_EVERY == RESTART_EVERY - 1 {
            stage = stage.restart().await;
        }
        let label = format!("seed {SEED:#x}, step {step}");
        let operations = roll(&stage, &mut dice, &model);
        let failing = operations.iter().find(|o| !o.condition.holds(model.get(&*o.key))).map(|o| o.key.clone());
        match (stage.commit(operations.clone()).await, failing) {
            (Ok(revision), None) => apply(&mut model, operations, revision),
            (Err(CommitError::Conflict { key, current }), Some(failing)) => {
                assert_eq!((&key, &current), (&failing, &model.get(&*failing).cloned()), "{label}");
            }
            (result, failing) => panic!("{label}: {result:?}, but the model says {failing:?}"),
        }
        let snapshot = stage.newest().await;
        let listed: Model = snapshot.range(&stage.prefix, None).map(|(k, e)| (k.to_string(), e.clone())).collect();
        assert_eq!(listed, model, "{label}");
    }
}

/// One to three operations on different keys, most of which may pass.
fn roll(stage: &Stage, dice: &mut Dice, model: &Model) -> Vec<Operation> {
    let first = dice.below(KEYS);
    let count = 1 + dice.below(3);
    let mut operations = Vec::new();
    for at in 0..count {
        let name = format!("{}", (first + at) % KEYS);
        let current = model.get(&stage.key(&name)).map(|entry| entry.version);
        let condition = match (dice.below(8), current) {
            (0, _) => Condition::Absent,
            (1, _) => Present,
            (2, Some(version)) => Version(version + 1),
            (3, _) => Any,
            (_, Some(version)) => Version(version),
            (_, None) => Absent,
        };
        let change = match dice.below(6) {
            0 => Change::Check,
            1 | 2 => Change::Delete,
            _ => text(&dice.below(1000).to_string()),
        };
        operations.push(stage.operation(&name, condition, change));
    }
    operations
}

fn apply(model: &mut Model, operations: Vec<Operation>, revision: u64) {
    let budget = Arc::new(Budget::new(0));
    for operation in operations {
        let key = operation.key.to_string();
        match operation.change {
            Change::Put(value) => {
                let create_revision = model.get(&key).map_or(revision, |entry| entry.create_revision);
                model.insert(key, Entry::new(revision, create_revision, value, Index::default(), &budget));
            }
            Change::Delete => {
                model.remove(&key);
            }
            Change::Check => {}
        }
    }
}
