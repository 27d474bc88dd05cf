//! The power goes at any moment: of what was not synced then anything may be left.

use std::sync::Arc;

use portcullis_store::{
    Engine,
    embedded::{self, Embedded},
};

use super::{
    seeds,
    workload::{Client, State, Step, fill, live, put, shrink, write},
};
use crate::{
    random::Dice,
    vfs::{Call, Crash, Durable, Failure, Fault, Image, SimulatedDisk},
};

/// A run whose every operation was noted.
struct Recorded {
    name: &'static str,
    seed: u64,
    begin: Image,
    client: Client,
}

/// Of so many crashes one is followed by work, and another look.
const WORKED_ON: usize = 8;

impl Recorded {
    /// Crashes at operations of the log, one in so many of them, and looks what is left.
    async fn crash(&self, every: usize) -> usize {
        let (log, disk) = (self.client.disk.log(), SimulatedDisk::new());
        let mut dice = Dice(self.seed);
        let mut durable = Durable::of(&self.begin);
        let (mut tried, offset) = (0, dice.below(every));
        for ops in 0..=log.len() {
            if ops % every == offset {
                let crash = Crash::ALL[(ops / every + self.seed as usize) % Crash::ALL.len()];
                let image = durable.crash(crash, &mut dice);
                self.check(&disk, image, ops, crash, tried % WORKED_ON == 0).await;
                tried += 1;
            }
            if let Some(op) = log.get(ops) {
                durable.advance(op, &mut dice);
            }
        }
        println!("{} with seed {}: {tried} crashes at {} operations", self.name, self.seed, log.len());
        tried
    }

    async fn check(&self, disk: &Arc<SimulatedDisk>, image: Image, ops: usize, crash: Crash, is_worked_on: bool) {
        let at = format!("{}, seed {}, {crash:?} after {ops} operations", self.name, self.seed);
        let client = self.client.after(disk, image);
        let engine = Embedded::open(client.options()).unwrap_or_else(|error| panic!("{at}: {error:?}"));
        let found = State::of(&engine.snapshot());
        assert_eq!(engine.damaged(), &[], "{at}");
        self.client.check(&found, ops, &at);
        if is_worked_on {
            let more = put("/registry/after".into(), 5000, &mut Dice(ops as u64));
            let after = engine.commit(more.into()).await.unwrap().revision;
            assert_eq!(after, found.revision + 1, "{at}");
            drop(engine);
            let report = embedded::check_on(disk.clone(), &disk.store()).unwrap();
            assert!(report.is_sound() && report.revision == after, "{at}: {report:?}");
            let engine = Embedded::open(client.options()).unwrap();
            assert_eq!(engine.snapshot().len(), found.entries.len() + 1, "{at}");
        }
        assert_eq!(*client.ended.lock().unwrap(), None, "{at}");
    }
}

async fn life(seed: u64) -> Recorded {
    let mut client = Client::new(&SimulatedDisk::new());
    live(&mut client, 12, &mut Dice(seed)).await.unwrap();
    Recorded { name: "a life", seed, begin: Image::default(), client }
}

#[tokio::test]
async fn the_power_may_go_at_any_moment_of_a_life() {
    for seed in seeds(2) {
        life(seed).await.crash(1).await;
    }
}

/// What releases before format 3 left, with a WAL that was not emptied: its rows are in none of the tables' pages yet.
fn older(format: u64) -> Image {
    const ROWS: u64 = 60;
    let epoch = if format == 1 { "" } else { ", epoch INTEGER NOT NULL DEFAULT 0" };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; PRAGMA application_id = 1349481076;
         CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
         INSERT INTO meta VALUES ('format', {format}), ('revision', 1);
         CREATE TABLE objects (
             key TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, create_revision INTEGER NOT NULL, value BLOB NOT NULL {epoch}
         ) STRICT;"
    ))
    .unwrap();
    for revision in 2..2 + ROWS {
        let sql = "INSERT INTO objects (key, version, create_revision, value) VALUES (?1, ?2, ?2, zeroblob(?3))";
        let number = i64::try_from(revision).unwrap();
        let kind = ["secrets", "configmaps"][revision as usize % 2];
        file.execute(sql, (format!("/registry/{kind}/{revision}"), number, number * 53)).unwrap();
        file.execute("UPDATE meta SET value = ?1 WHERE name = 'revision'", [number]).unwrap();
    }
    let mut image = Image::default();
    for name in ["store.db", "store.db-wal"] {
        image.put(name, std::fs::read(directory.path().join(name)).unwrap());
    }
    image
}

#[tokio::test]
async fn the_power_may_go_during_an_upgrade() {
    for seed in seeds(4) {
        let (disk, format) = (SimulatedDisk::new(), 1 + seed % 2);
        let begin = older(format);
        let rows = (2..62u64).map(|revision| {
            let kind = ["secrets", "configmaps"][revision as usize % 2];
            let value = vec![0; revision as usize * 53].into();
            (format!("/registry/{kind}/{revision}").into(), (revision, revision, value))
        });
        let state = State { revision: 61, entries: rows.collect() };
        let mut client = Client::begin(&disk, begin.clone(), state);
        client.open().unwrap();
        write(&mut client, 2, &mut Dice(seed)).await.unwrap();
        client.close().await;
        Recorded { name: "an upgrade", seed, begin, client }.crash(1).await;
    }
}

/// Enough is written that the WAL is moved into the file, and starts over, while commits go on.
#[tokio::test]
async fn the_power_may_go_during_a_checkpoint() {
    const ROUNDS: usize = 22;
    for seed in seeds(1) {
        let (disk, mut dice) = (SimulatedDisk::new(), Dice(seed));
        let mut client = Client::new(&disk);
        client.open().unwrap();
        for round in 0..ROUNDS {
            let large = put(format!("/registry/configmaps/{}", round % 3), 900_000 + dice.below(90_000), &mut dice);
            client.commit(vec![vec![large]]).await.unwrap();
        }
        let is_moved = disk.live().file("store.db").unwrap().len() > 1 << 20;
        assert!(is_moved, "the WAL was never moved into the file");
        write(&mut client, 3, &mut dice).await.unwrap();
        Recorded { name: "a checkpoint", seed, begin: Image::default(), client }.crash(101).await;
    }
}

/// The log that a process left is moved, and starts over: a new header is written over the old one, with all the old frames behind it.
#[tokio::test]
async fn the_power_may_go_when_the_log_starts_over() {
    for seed in seeds(4) {
        let mut dice = Dice(seed);
        let mut first = Client::new(&SimulatedDisk::new());
        first.open().unwrap();
        write(&mut first, 6, &mut dice).await.unwrap();
        let (begin, disk) = (first.disk.live(), SimulatedDisk::new());
        let mut client = Client::begin(&disk, begin.clone(), first.state().clone());
        client.open().unwrap();
        write(&mut client, 3, &mut dice).await.unwrap();
        Recorded { name: "a log that starts over", seed, begin, client }.crash(1).await;
    }
}

/// A transaction that was undone for want of room leaves frames behind those of the next ones.
#[tokio::test]
async fn the_power_may_go_after_something_was_undone() {
    for seed in seeds(4) {
        let (disk, mut dice) = (SimulatedDisk::new(), Dice(seed));
        let mut client = Client::new(&disk);
        client.is_alone = true;
        client.open().unwrap();
        write(&mut client, 2, &mut dice).await.unwrap();
        let failure = [Failure::NoRoom, Failure::Part][dice.below(2)];
        disk.set_fault(Some(Fault { call: Call::Write, number: 4 + dice.below(40), count: 1, failure }));
        let large = (0..8).map(|number| put(format!("/registry/large/{number}"), 20_000, &mut dice)).collect();
        client.commit(vec![large]).await.unwrap();
        assert_eq!((disk.hits(), client.refusals.len()), (1, 1), "seed {seed}");
        disk.set_fault(None);
        write(&mut client, 3, &mut dice).await.unwrap();
        Recorded { name: "something undone", seed, begin: Image::default(), client }.crash(1).await;
    }
}

/// The power goes, and goes again while the store is opened.
#[tokio::test]
async fn the_power_may_go_during_a_recovery() {
    for seed in seeds(1) {
        let first = life(seed).await;
        let (log, mut dice) = (first.client.disk.log(), Dice(seed));
        let mut durable = Durable::of(&Image::default());
        for (ops, op) in log.iter().enumerate() {
            durable.advance(op, &mut dice);
            if dice.below(60) != 0 {
                continue;
            }
            let begin = durable.crash(Crash::ALL[dice.below(3)], &mut dice);
            let disk = SimulatedDisk::new();
            let mut client = first.client.after(&disk, begin.clone());
            let engine = Embedded::open(client.options()).unwrap();
            let state = State::of(&engine.snapshot());
            first.client.check(&state, ops + 1, &format!("a recovery, seed {seed}, {ops}"));
            drop(engine);
            client.steps = vec![Step { begun: 0, told: Some(0), state }];
            Recorded { name: "a recovery", seed: seed ^ ops as u64, begin, client }.crash(1).await;
        }
    }
}

#[tokio::test]
async fn the_power_may_go_while_rows_move() {
    for seed in seeds(1) {
        let (disk, mut dice) = (SimulatedDisk::new(), Dice(seed));
        let mut client = Client::new(&disk);
        let begin = fill(&mut client, &mut dice).await.unwrap();
        let mut client = Client::begin(&disk, begin.clone(), client.state().clone());
        shrink(&mut client, &mut dice).await.unwrap();
        let length = |image: &mut Image| image.file("store.db").unwrap().len();
        let (before, after) = (length(&mut begin.clone()), length(&mut disk.live()));
        assert!(after < before * 2 / 3, "the file had {before} bytes and has {after}: nothing was moved");
        Recorded { name: "shrinking", seed, begin, client }.crash(7).await;
    }
}
