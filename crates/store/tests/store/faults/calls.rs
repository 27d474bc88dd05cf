//! Calls to the system fail: each of them, in each way that it can, once or from then on.
//!
//! The engine goes on, or refuses and changes nothing, or ends the process; and in each case everything that was acknowledged is
//! there when the store is opened again, whether the machine stayed up meanwhile or its power went too.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_store::{
    Engine,
    embedded::{self, Embedded, OpenError},
};

use super::{
    seeds,
    workload::{Client, Ended, State, fill, live, shrink},
};
use crate::{
    random::Dice,
    vfs::{Call, Crash, Durable, Failure, Fault, Image, SimulatedDisk},
};

/// Reads at the end of a run that another run may not need; each can fail once, or from then on.
const READS_VARY: usize = 2 * 16;

/// What is done while a call fails, and what there is before.
struct Scenario {
    name: &'static str,
    begin: Image,
    state: State,
}

/// What became of the runs.
#[derive(Debug, Default)]
struct Outcomes {
    unasked: usize,
    unnoticed: usize,
    refused: usize,
    unopened: usize,
    ended: usize,
}

impl Scenario {
    fn life() -> Scenario {
        Scenario { name: "a life", begin: Image::default(), state: State { revision: 1, ..State::default() } }
    }

    async fn shrinking() -> Scenario {
        let mut client = Client::new(&SimulatedDisk::new());
        let begin = fill(&mut client, &mut Dice(0)).await.unwrap();
        Scenario { name: "shrinking", begin, state: client.state().clone() }
    }

    async fn run(&self, disk: &Arc<SimulatedDisk>, fault: Option<Fault>, seed: u64) -> (Client, Result<(), Ended>) {
        let mut client = Client::begin(disk, self.begin.clone(), self.state.clone());
        client.is_alone = true;
        disk.set_fault(fault);
        let mut dice = Dice(seed);
        let done = match self.name {
            "a life" => live(&mut client, 5, &mut dice).await,
            _ => shrink(&mut client, &mut dice).await,
        };
        (client, done)
    }

    /// How often each thing is asked for when nothing fails.
    async fn calls(&self, seed: u64) -> BTreeMap<Call, usize> {
        let disk = SimulatedDisk::new();
        let (client, done) = self.run(&disk, None, seed).await;
        assert!(done.is_ok() && client.refusals.is_empty());
        disk.calls()
    }

    /// Runs with one call, or all from it on, failing.
    async fn fail(&self, fault: Fault, seed: u64, outcomes: &mut Outcomes) {
        let at = format!("{}, seed {seed}, {fault:?}", self.name);
        let disk = SimulatedDisk::new();

        let (mut client, done) = self.run(&disk, Some(fault), seed).await;
        // Several threads read the file at a start, each as many rows as it comes to: so a run may have fewer reads than the one that was
        // counted. Everything else is asked for as often each time.
        assert!(disk.hits() > 0 || fault.call == Call::Read, "{at}: it was never asked for");
        outcomes.unasked += usize::from(disk.hits() == 0);
        disk.set_fault(None);
        client.engine = None;
        let ended = client.ended.lock().unwrap().clone();
        match (&client.unopened, &ended, done) {
            (Some(error), None, Err(Ended)) => {
                assert!(is_clear(error, fault), "{at}: {error:?}");
                outcomes.unopened += 1;
            }
            (None, Some(_), Err(Ended)) => outcomes.ended += 1,
            (None, None, Ok(())) if client.refusals.is_empty() => outcomes.unnoticed += 1,
            (None, None, Ok(())) => {
                let is_undone = matches!(fault.failure, Failure::NoRoom | Failure::Part) || fault.call == Call::Read;
                assert!(is_undone, "{at}: {:?}", client.refusals);
                outcomes.refused += 1;
            }
            (unopened, ended, done) => panic!("{at}: {unopened:?}, {ended:?}, {done:?}"),
        }
        let mut dice = Dice(seed);
        let mut durable = Durable::of(&self.begin);
        disk.log().iter().for_each(|op| durable.advance(op, &mut dice));
        let ops = disk.ops();
        let machine_up = disk.live();
        let left = Crash::ALL[1..].iter().map(|crash| durable.crash(*crash, &mut dice));
        for (image, case) in std::iter::once(machine_up).chain(left).zip(["up", "forgets", "scatters"]) {
            let at = format!("{at}, then the machine {case}");
            let after = client.after(&disk, image);
            let engine = Embedded::open(after.options()).unwrap_or_else(|error| panic!("{at}: {error:?}"));
            client.check(&State::of(&engine.snapshot()), ops, &at);
            drop(engine);
            let report = embedded::check_on(disk.clone(), &disk.store()).unwrap();
            assert!(report.is_sound(), "{at}: {report:?}");
        }
    }
}

/// A failure is none of the file's: nobody is told that a store is damaged that is not.
fn is_clear(error: &OpenError, fault: Fault) -> bool {
    let is_damaged = matches!(error, OpenError::Damaged { .. } | OpenError::NotAStore { .. });
    let is_refused = matches!(error, OpenError::DirectoryFailed { .. } | OpenError::FileFailed { .. });
    is_refused || (is_damaged && fault.call == Call::Read && fault.failure == Failure::Part)
}

/// Every call of a scenario fails in every way, or one in so many of these.
async fn each(scenario: &Scenario, seed: u64, every: usize) {
    let (mut outcomes, mut count) = (Outcomes::default(), 0);
    for (call, calls) in scenario.calls(seed).await {
        // Of each kind its own, so that one more read does not change which writes fail.
        let mut dice = Dice((seed << 8) | call as u64);
        for number in 0..calls {
            for failure in call.failures() {
                for times in [1, usize::MAX] {
                    if dice.below(every) == 0 {
                        scenario
                            .fail(Fault { call, number, count: times, failure: *failure }, seed, &mut outcomes)
                            .await;
                        count += 1;
                    }
                }
            }
        }
    }
    println!("{} with seed {seed}: {count} faults, {outcomes:?}", scenario.name);
    assert!(outcomes.unasked <= READS_VARY, "what should fail was never asked for: {outcomes:?}");
}

#[tokio::test]
async fn each_call_of_a_life_may_fail() {
    for seed in seeds(1) {
        each(&Scenario::life(), seed, 8).await;
    }
}

#[tokio::test]
async fn each_call_may_fail_while_rows_move() {
    let scenario = Scenario::shrinking().await;
    for seed in seeds(1) {
        each(&scenario, seed, 900).await;
    }
}
