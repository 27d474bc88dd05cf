//! What is done to an engine while faults happen, and what must be left of it afterwards.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use portcullis_store::{
    Change, CommitError, Condition, Engine, Key, Operation, ReadError, Sealing, Snapshot,
    embedded::{Clock, Embedded, OpenError, Options},
};

use crate::{
    Events,
    expiry::Clocks,
    random::Dice,
    seals::Turning,
    vfs::{Image, SimulatedDisk},
};

const LIFETIME: Duration = Duration::from_secs(3600);

/// Everything that is in a store: of each key its versions and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub revision: u64,
    pub entries: BTreeMap<Key, (u64, u64, Bytes)>,
}

impl State {
    pub fn of(snapshot: &Snapshot) -> State {
        let entry = |(key, entry): (&Key, &portcullis_store::Entry)| {
            assert!(!entry.index().is_unreadable(), "{key} cannot be read");
            (key.clone(), (entry.version, entry.create_revision, entry.value.clone()))
        };
        State { revision: snapshot.revision(), entries: snapshot.range("", None).map(entry).collect() }
    }

    fn apply(&self, operations: &[Operation]) -> State {
        let mut after = self.clone();
        after.revision += 1;
        for operation in operations {
            match &operation.change {
                Change::Put(value) => {
                    let created = self.entries.get(&operation.key).map_or(after.revision, |(_, created, _)| *created);
                    after.entries.insert(operation.key.clone(), (after.revision, created, value.clone()));
                }
                Change::Delete => drop(after.entries.remove(&operation.key)),
                Change::Check => {}
            }
        }
        // A commit that changes nothing has no revision.
        if after.entries == self.entries { self.clone() } else { after }
    }
}

/// The process has ended, or did not begin.
#[derive(Debug)]
pub struct Ended;

/// A state that the store had, or was to have, and between which operations of the disk.
pub struct Step {
    pub begun: usize,
    /// When it was told to a client.
    pub told: Option<usize>,
    pub state: State,
}

/// The client: it knows what it asked for and what it was told.
pub struct Client {
    pub disk: Arc<SimulatedDisk>,
    pub engine: Option<Embedded>,
    pub steps: Vec<Step>,
    /// Whether the process has ended, and why.
    pub ended: Arc<Mutex<Option<String>>>,
    /// Whether it never has two commits on their way, so that it knows which was refused.
    pub is_alone: bool,
    /// Why the store could not be opened.
    pub unopened: Option<OpenError>,
    /// What was answered to be refused, with nothing changed.
    pub refusals: Vec<String>,
    clocks: Arc<Clocks>,
    sealing: Arc<Turning>,
    /// When events are due.
    due: BTreeMap<Key, Duration>,
}

impl Client {
    /// One of an empty disk.
    pub fn new(disk: &Arc<SimulatedDisk>) -> Client {
        Client {
            disk: disk.clone(),
            engine: None,
            steps: vec![Step { begun: 0, told: Some(0), state: State { revision: 1, entries: BTreeMap::new() } }],
            ended: Arc::default(),
            is_alone: false,
            unopened: None,
            refusals: Vec::new(),
            clocks: Clocks::new(),
            sealing: Arc::default(),
            due: BTreeMap::new(),
        }
    }

    pub fn options(&self) -> Options {
        let (clock, sealing): (Arc<dyn Clock>, Arc<dyn Sealing>) = (self.clocks.clone(), self.sealing.clone());
        let (disk, ended) = (self.disk.clone(), self.ended.clone());
        let on_failure = Box::new(move |reason: &str| {
            disk.halt();
            *ended.lock().unwrap() = Some(reason.to_owned());
        });
        let directory = self.disk.store();
        Options {
            catalog: Arc::new(Events(LIFETIME)),
            clock,
            sealing,
            disk: self.disk.clone(),
            on_failure,
            ..Options::new(directory)
        }
    }

    /// The state that was told last.
    pub fn state(&self) -> &State {
        &self.steps.iter().rfind(|step| step.told.is_some()).unwrap().state
    }

    /// The states that may be found after so many operations of the disk.
    pub fn possible(&self, ops: usize) -> &[Step] {
        let first = self.steps.iter().rposition(|step| step.told.is_some_and(|told| told <= ops)).unwrap_or(0);
        let end = self.steps.iter().rposition(|step| step.begun <= ops).unwrap_or(0);
        &self.steps[first..=end.max(first)]
    }

    /// Looks whether a store has what it may have after so many operations.
    pub fn check(&self, found: &State, ops: usize, at: &str) {
        let possible = self.possible(ops);
        if !possible.iter().any(|step| step.state == *found) {
            let revisions: Vec<u64> = possible.iter().map(|step| step.state.revision).collect();
            panic!("{at}: found {} with {} entries, not one of {revisions:?}", found.revision, found.entries.len());
        }
    }

    fn ask(&mut self, state: State) {
        self.steps.push(Step { begun: self.disk.ops(), told: None, state });
    }

    /// Looks what memory says: everything that was asked for up to some step has happened, and nothing else. Whatever was asked for
    /// beyond that was refused. Tells whether all has happened.
    fn look(&mut self) -> bool {
        let at = self.disk.ops();
        let found = State::of(&self.engine.as_ref().unwrap().snapshot());
        let last_told = self.steps.iter().rposition(|step| step.told.is_some()).unwrap_or(0);
        let reached = (last_told..self.steps.len()).rfind(|step| self.steps[*step].state == found);
        if reached.is_none() && self.is_partly_expired(&found, &self.steps[last_told].state) {
            self.steps.truncate(last_told + 1);
            self.steps.push(Step { begun: 0, told: Some(at), state: found });
            return false;
        }
        let Some(reached) = reached else {
            panic!("memory is at {} with {} entries: that was never asked for", found.revision, found.entries.len())
        };
        self.steps[last_told..=reached].iter_mut().for_each(|step| _ = step.told.get_or_insert(at));
        let is_last = reached + 1 == self.steps.len();
        self.steps.truncate(reached + 1);
        is_last
    }

    /// Whether some of what is due is gone, and nothing else: where a page cannot be read it goes in parts.
    fn is_partly_expired(&self, found: &State, before: &State) -> bool {
        let now = self.clocks.elapsed();
        let is_due = |key: &Key| self.due.get(key).is_some_and(|at| *at <= now);
        let gone = before.entries.keys().filter(|key| !found.entries.contains_key(*key)).collect::<Vec<_>>();
        let rest = found.entries.iter().all(|(key, entry)| before.entries.get(key) == Some(entry));
        rest && gone.iter().all(|key| is_due(key)) && found.revision <= before.revision + gone.len() as u64
    }

    /// The same, after something that could be refused, and was or was not.
    fn answered(&mut self, refusal: Option<String>) {
        let is_done = self.look();
        assert!(is_done || refusal.is_some(), "something did not happen, though nothing was refused");
        self.refusals.extend(refusal);
    }

    pub fn open(&mut self) -> Result<(), Ended> {
        let engine = match Embedded::open(self.options()) {
            Ok(engine) => engine,
            Err(error) => {
                self.unopened = Some(error);
                return Err(Ended);
            }
        };
        let state = State::of(&engine.snapshot());
        assert_eq!(state.revision, self.state().revision);
        assert!(state == *self.state(), "an opened store has another state than was told");
        self.engine = Some(engine);
        Ok(())
    }

    fn expire(&mut self) {
        let now = self.clocks.elapsed();
        let due: Vec<Key> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        let gone = |key: Key| Operation { key, condition: Condition::Any, change: Change::Delete };
        let after = self.steps.last().unwrap().state.apply(&due.into_iter().map(gone).collect::<Vec<_>>());
        if after != self.steps.last().unwrap().state {
            self.ask(after);
        }
    }

    /// Commits that are queued together, and so may share a sync.
    pub async fn commit(&mut self, commits: Vec<Vec<Operation>>) -> Result<(), Ended> {
        self.expire();
        for operations in &commits {
            let after = self.steps.last().unwrap().state.apply(operations);
            self.ask(after);
        }
        let engine = self.engine.as_ref().unwrap();
        // All are queued when they are first looked at, before any answer is waited for.
        let outcomes = all(commits.iter().map(|operations| engine.commit(operations.clone().into())).collect()).await;
        let lifetime = self.clocks.elapsed() + LIFETIME;
        match outcomes.into_iter().find_map(Result::err) {
            None => {
                for operation in commits.iter().flatten() {
                    match operation.change {
                        Change::Put(_) if operation.key.starts_with("/registry/events/") => {
                            self.due.insert(operation.key.clone(), lifetime);
                        }
                        Change::Delete => drop(self.due.remove(&operation.key)),
                        _ => {}
                    }
                }
                self.answered(None);
                Ok(())
            }
            Some(CommitError::OutcomeUnknown { .. } | CommitError::Closed) => Err(Ended),
            Some(refused) => {
                assert_eq!(commits.len(), 1, "whether the others have happened is not known: {refused}");
                self.answered(Some(refused.to_string()));
                Ok(())
            }
        }
    }

    /// Time passes, and what is due then is done.
    pub async fn pass(&mut self, time: Duration) -> Result<(), Ended> {
        self.clocks.pass(time);
        self.expire();
        self.engine.as_ref().unwrap().maintain().await.map_err(|_| Ended)?;
        // What cannot be removed now stays due.
        if !self.look() {
            self.refusals.push("expiry".to_owned());
        }
        Ok(())
    }

    /// Everything that is sealed gets another key.
    pub async fn reseal(&mut self) -> Result<(), Ended> {
        self.sealing.key.fetch_xor(1, Ordering::Relaxed);
        self.expire();
        match self.engine.as_ref().unwrap().reseal().await {
            Err(ReadError::Closed) => return Err(Ended),
            Err(refused) => self.refusals.push(refused.to_string()),
            Ok(_) => {}
        }
        if !self.look() {
            self.refusals.push("expiry".to_owned());
        }
        Ok(())
    }

    pub async fn close(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.close().await;
        }
    }

    /// Begins with what is in an image, and with this state in it.
    pub fn begin(disk: &Arc<SimulatedDisk>, image: Image, state: State) -> Client {
        disk.load(image);
        let begin = Step { begun: 0, told: Some(0), state };
        Client { steps: vec![begin], ..Client::new(disk) }
    }

    /// Takes what is on another disk for the same store, at another time.
    pub fn after(&self, disk: &Arc<SimulatedDisk>, image: Image) -> Client {
        disk.load(image);
        // Nothing is due when the clock stands where it began.
        Client { sealing: self.sealing.clone(), ..Client::new(disk) }
    }
}

/// Looks at all of them at once, in their order, and gives their outcomes.
pub async fn all<T>(waiting: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = waiting.into_iter().map(Box::pin).collect();
    let mut outcomes: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, outcome) in waiting.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(context)
            {
                *outcome = Some(done);
            }
        }
        if outcomes.iter().any(Option::is_none) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(outcomes.iter_mut().filter_map(Option::take).collect())
    })
    .await
}

pub fn put(key: String, bytes: usize, dice: &mut Dice) -> Operation {
    let letter = b'a' + dice.below(26) as u8;
    let change = Change::Put(vec![letter; bytes].into());
    Operation { key: key.into(), condition: Condition::Any, change }
}

pub fn delete(key: String) -> Operation {
    Operation { key: key.into(), condition: Condition::Any, change: Change::Delete }
}

/// Commits of many sizes, alone and together, that create, change and delete.
pub async fn write(client: &mut Client, rounds: usize, dice: &mut Dice) -> Result<(), Ended> {
    const BYTES: [usize; 6] = [0, 20, 700, 4000, 9000, 30_000];
    for _ in 0..rounds {
        let together = if client.is_alone { 1 } else { 1 + dice.below(3) * dice.below(2) };
        let mut commits = Vec::new();
        for _ in 0..together {
            let count = [1, 1, 1, 3, 8][dice.below(5)];
            let mut operations: Vec<Operation> = Vec::new();
            for _ in 0..count {
                let kind = ["configmaps", "secrets", "events"][dice.below(3)];
                let key = format!("/registry/{kind}/default/{}", dice.below(20));
                if operations.iter().any(|operation| *operation.key == *key) {
                    continue;
                }
                let bytes = BYTES[dice.below(BYTES.len())] + dice.below(50);
                operations.push(if dice.below(4) == 0 { delete(key) } else { put(key, bytes, dice) });
            }
            commits.push(operations);
        }
        client.commit(commits).await?;
    }
    Ok(())
}

/// A life from the first creation on: writes, expiry, keys that change, a restart, more of it.
pub async fn live(client: &mut Client, rounds: usize, dice: &mut Dice) -> Result<(), Ended> {
    for _ in 0..2 {
        client.open()?;
        write(client, rounds, dice).await?;
        client.pass(Duration::from_secs(1800)).await?;
        write(client, rounds / 3, dice).await?;
        client.pass(Duration::from_secs(1801)).await?;
        client.reseal().await?;
        write(client, rounds / 3, dice).await?;
        client.close().await;
    }
    Ok(())
}

/// More than SQLite keeps in its cache.
const ROWS: usize = 3600;
/// Of so many rows one is left.
const LEFT: usize = 8;

fn row(number: usize) -> String {
    format!("/registry/secrets/default/{number:05}")
}

/// Fills a store that is to be emptied; its image.
pub async fn fill(client: &mut Client, dice: &mut Dice) -> Result<Image, Ended> {
    client.open()?;
    for some in (0..ROWS).collect::<Vec<_>>().chunks(120) {
        let operations = some.iter().map(|number| put(row(*number), 1000 + dice.below(90), dice)).collect();
        client.commit(vec![operations]).await?;
    }
    client.close().await;
    Ok(client.disk.live())
}

/// Most of it is deleted: pages are given back, rows move, the file becomes shorter.
pub async fn shrink(client: &mut Client, dice: &mut Dice) -> Result<(), Ended> {
    client.open()?;
    thin(client, dice).await
}

/// The same of an open one.
pub async fn thin(client: &mut Client, dice: &mut Dice) -> Result<(), Ended> {
    let gone: Vec<usize> = (0..ROWS).filter(|number| number % LEFT != 0).collect();
    for some in gone.chunks(120) {
        client.commit(vec![some.iter().map(|number| delete(row(*number))).collect()]).await?;
    }
    client.pass(Duration::from_secs(1)).await?;
    write(client, 4, dice).await?;
    client.pass(Duration::from_secs(1)).await?;
    client.close().await;
    Ok(())
}
