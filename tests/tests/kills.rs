//! The server is killed over and over while it is written to and watched: what was acknowledged is there afterwards, versions never go
//! back, and every reader ends with what a list says.
//!
//! Each writer has names of its own, so it knows what must be there: what it was told last, or the one write whose answer it never got.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use nix::sys::signal::Signal;
use portcullis_tests::build::program;
use portcullis_tests::object::{self, END_MARK, Part, Seen};
use portcullis_tests::program::{Server, port_to_keep};
use portcullis_tests::random::{Random, SEED};
use portcullis_tests::reflector::{self, Entry, Source, Spec};
use portcullis_tests::session::{Asking, Connector, JSON, Protocol, Session};
use portcullis_tests::watch::Form;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

const WRITERS: u64 = 8;
const READERS: u64 = 24;
const NAMES_OF_A_WRITER: u64 = 6;
const NAMESPACES: [&str; 2] = ["default", "kube-public"];
/// How many writes are acknowledged before a kill, at least and at most; more are under way in that moment.
const WRITES_BEFORE_KILL: Range<u64> = 10..120;
/// How often the server is killed.
const KILLS: u64 = 25;
/// Another number of kills.
const KILLS_GIVEN: &str = "PORTCULLIS_TEST_KILLS";
const USUAL_SEED: u64 = 0x6b69_6c6c;
const EVERYTHING: &str = "/api/v1/configmaps";
const MERGE_PATCH: &str = "application/merge-patch+json";

fn part_of_all() -> u64 {
    WRITERS * NAMES_OF_A_WRITER
}

/// One write, and what it makes of its object: nothing, or an object with this value.
#[derive(Clone, Debug)]
struct Write {
    key: String,
    value: Option<String>,
}

/// One who writes to names of its own.
struct Writer {
    number: u64,
    random: Random,
    writes: u64,
    /// What there is: its version and digest.
    held: BTreeMap<String, Seen>,
    /// What was asked for last, without an answer.
    unanswered: Option<Write>,
    newest: u64,
    /// Every version that it was told or found.
    versions: BTreeSet<u64>,
}

impl Writer {
    fn new(seed: u64, number: u64) -> Self {
        let random = Random::new(seed, number);
        let held = BTreeMap::new();
        Self { number, random, writes: 0, held, unanswered: None, newest: 0, versions: BTreeSet::new() }
    }

    fn keys(&self) -> Vec<String> {
        let namespace = |name: u64| NAMESPACES[usize::try_from(name).unwrap() % NAMESPACES.len()];
        (0..NAMES_OF_A_WRITER).map(|name| format!("{}/w{}-{name}", namespace(name), self.number)).collect()
    }

    /// Writes until the server is gone.
    async fn run(mut self, connector: Connector, answered: watch::Sender<u64>) -> Self {
        let Ok(mut session) = connector.open(Protocol::Http1).await else { return self };
        loop {
            let keys = self.keys();
            let key = self.random.choose(&keys).clone();
            let write = Write { value: (self.random.below(4) != 0).then(|| self.value()), key };
            if !self.write(&mut session, write, false).await {
                return self;
            }
            answered.send_modify(|writes| *writes += 1);
        }
    }

    fn value(&mut self) -> String {
        self.writes += 1;
        format!("{}-{}", self.number, self.writes)
    }

    /// Writes once; says whether there was an answer.
    async fn write(&mut self, session: &mut Session, write: Write, is_last: bool) -> bool {
        let (namespace, name) = write.key.split_once('/').unwrap();
        let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
        let object = format!("{collection}/{name}");
        let is_held = self.held.contains_key(&write.key);
        let tier = if is_last || self.random.below(2) == 0 { "a" } else { "b" };
        let mut labels = json!({"tier": tier});
        if is_last {
            labels[END_MARK] = "yes".into();
        }
        let part = json!({"metadata": {"name": name, "labels": labels}, "data": {"value": write.value}});
        let (method, path, content) = match (&write.value, is_held) {
            (None, false) => return true,
            (None, true) => ("DELETE", object, None),
            (Some(_), false) => ("POST", collection, Some((JSON, &part))),
            (Some(_), true) if self.random.below(2) == 0 => ("PUT", object, Some((JSON, &part))),
            (Some(_), true) => ("PATCH", object, Some((MERGE_PATCH, &part))),
        };
        self.unanswered = Some(write.clone());
        let Ok((status, answer)) = session.ask(&path, Asking { method, accept: JSON, content }).await else {
            return false;
        };
        let expected = if method == "POST" { 201 } else { 200 };
        assert_eq!(status, expected, "{method} {path}: {answer}");
        self.unanswered = None;
        if write.value.is_none() {
            self.held.remove(&write.key);
        } else {
            let seen = Seen::of(answer, Part::Whole).unwrap();
            assert!(seen.version > self.newest, "a version went back: {seen:?} after {}", self.newest);
            self.newest = seen.version;
            self.versions.insert(seen.version);
            self.held.insert(write.key, seen);
        }
        true
    }

    /// Compares what is there after a start with what was acknowledged, and takes it over.
    fn check(&mut self, items: &BTreeMap<String, (Seen, Value)>) {
        for key in self.keys() {
            let (found, held) = (items.get(&key), self.held.get(&key));
            let is_as_told = found.map(|(seen, _)| seen) == held;
            let unanswered = self.unanswered.as_ref().filter(|write| write.key == key);
            let is_as_asked = unanswered.is_some_and(|write| match found {
                None => write.value.is_none(),
                Some((seen, object)) => {
                    seen.version > self.newest && object["data"]["value"].as_str() == write.value.as_deref()
                }
            });
            assert!(is_as_told || is_as_asked, "{key}: told {held:?}, asked for {unanswered:?}, found {found:?}");
            match found {
                Some((seen, _)) => {
                    self.versions.insert(seen.version);
                    self.held.insert(key, seen.clone())
                }
                None => self.held.remove(&key),
            };
        }
        self.unanswered = None;
    }
}

/// What is there, and its version.
struct Listed {
    version: u64,
    items: BTreeMap<String, (Seen, Value)>,
}

async fn list(connector: &Connector, path: &str, part: Part) -> Listed {
    let mut session = connector.open(Protocol::Http1).await.unwrap();
    let (status, mut list) = session.ask(path, Asking::GET).await.unwrap();
    assert_eq!(status, 200, "{list}");
    let seen = |item: Value| {
        let seen = Seen::of(item.clone(), part).unwrap();
        (seen.key.clone(), (seen, item))
    };
    Listed {
        version: object::version(&list).unwrap(),
        items: Form::Json.items(&mut list).into_iter().map(seen).collect(),
    }
}

/// Readers of every kind.
fn specs(random: &mut Random) -> Vec<Spec> {
    let spec = |number: u64| {
        let (path, keys) = match number % 3 {
            0 => ("/api/v1/namespaces/default/configmaps", part_of_all() / 2),
            _ => (EVERYTHING, part_of_all()),
        };
        let form = Form::ALL[usize::try_from(random.below(6)).unwrap().saturating_sub(2)];
        Spec {
            path: path.to_owned(),
            query: if number.is_multiple_of(4) { "labelSelector=tier%3Da".to_owned() } else { String::new() },
            form,
            protocol: if number.is_multiple_of(2) { Protocol::Http1 } else { Protocol::Http2 },
            from: None,
            is_initial: random.below(2) == 0 && form != Form::Table,
            has_bookmarks: random.below(2) == 0 && form != Form::Table,
            timeout_seconds: None,
            keys: usize::try_from(keys).unwrap(),
            rests: None,
        }
    };
    (0..READERS).map(spec).collect()
}

/// What all readers together saw: no version stands for two things, and none is newer than the store after the next start.
#[derive(Default)]
struct Witness {
    versions: BTreeMap<(u64, u64), (String, u64)>,
    expired: usize,
}

impl Witness {
    /// Takes what one reader saw; returns what it holds in the end.
    fn take(&mut self, spec: &Spec, log: &[Entry], after_start: &BTreeMap<u64, u64>) -> BTreeMap<String, Seen> {
        let mut view = BTreeMap::new();
        let mut newest: Option<u64> = None;
        let mut new_view = None;
        for (place, entry) in log.iter().enumerate() {
            let context = || format!("{spec:?}, entry {place} of {}: {entry:?} after {newest:?}", log.len());
            match entry {
                Entry::Listed { version, items } => {
                    assert!(newest.is_none_or(|newest| *version >= newest), "{}", context());
                    view = items.iter().map(|item| (item.key.clone(), item.clone())).collect();
                    newest = Some(*version);
                }
                Entry::Began => new_view = Some(BTreeMap::new()),
                Entry::Bookmark { version, ends_state } => {
                    assert!(newest.is_none_or(|newest| *version >= newest), "{}", context());
                    newest = Some(*version);
                    if let Some(new_view) = new_view.take_if(|_| *ends_state) {
                        view = new_view;
                    }
                }
                Entry::Event { kind, object } => {
                    if let Some(new_view) = &mut new_view {
                        assert_eq!(kind, "ADDED", "{}", context());
                        new_view.insert(object.key.clone(), object.clone());
                        continue;
                    }
                    assert!(newest.is_none_or(|newest| object.version > newest), "{}", context());
                    let before = match kind.as_str() {
                        "DELETED" => view.remove(&object.key),
                        _ => view.insert(object.key.clone(), object.clone()),
                    };
                    assert_eq!(before.is_none(), kind == "ADDED", "{}", context());
                    newest = Some(object.version);
                    if kind != "DELETED" {
                        self.agree(spec, object);
                    }
                }
                Entry::Expired => self.expired += 1,
                Entry::Closed { start } => {
                    new_view = None;
                    // The list after the next start: no version that anybody saw is ever handed out again.
                    let later = after_start.get(&(start + 1));
                    assert!(
                        newest.zip(later).is_none_or(|(newest, later)| newest <= *later),
                        "{} {later:?}",
                        context()
                    );
                }
            }
        }
        view
    }

    fn agree(&mut self, spec: &Spec, seen: &Seen) {
        let part = match spec.form.part() {
            Part::Whole => 0,
            Part::Metadata => 1,
            Part::Core => 2,
        };
        let held = self.versions.entry((seen.version, part)).or_insert_with(|| (seen.key.clone(), seen.digest));
        assert_eq!(*held, (seen.key.clone(), seen.digest), "version {} is two things", seen.version);
    }
}

/// Starts the server, has it written to, and kills it.
fn round(runtime: &Runtime, server: Server, writers: Vec<Writer>, writes: u64) -> Vec<Writer> {
    let connector = Connector::of(&server.admin());
    let (sender, mut answered) = watch::channel(0);
    let mut running = JoinSet::new();
    for writer in writers {
        running.spawn_on(writer.run(connector.clone(), sender.clone()), runtime.handle());
    }
    drop(sender);
    // An error is that all writers ended: then one of them says why.
    let _ = runtime.block_on(answered.wait_for(|answered| *answered >= writes));
    server.signal(Signal::SIGKILL);
    let writers = runtime.block_on(running.join_all());
    server.ended();
    writers
}

/// Waits for all readers to see the end, and compares what each holds then with a list.
async fn converge(
    connector: &Connector,
    mut readers: JoinSet<(usize, anyhow::Result<Vec<Entry>>)>,
    specs: &[Spec],
    after_start: &BTreeMap<u64, u64>,
) -> Witness {
    let mut witness = Witness::default();
    while let Some(done) = readers.join_next().await {
        let (place, log) = done.unwrap();
        let spec = &specs[place];
        let view = witness.take(spec, &log.unwrap(), after_start);
        let listed = list(connector, &format!("{}?{}", spec.path, spec.query), spec.form.part()).await;
        let listed: BTreeMap<_, _> = listed.items.into_iter().map(|(key, (seen, _))| (key, seen)).collect();
        assert_eq!(view, listed, "{spec:?}");
    }
    witness
}

#[test]
fn nothing_acknowledged_is_lost_and_readers_converge_however_often_the_server_is_killed() {
    let seed = Random::seed(USUAL_SEED);
    let kills = std::env::var(KILLS_GIVEN).ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    println!("{SEED}={seed}");
    let mut random = Random::new(seed, WRITERS);
    let data = tempfile::tempdir().unwrap();
    let port = port_to_keep().to_string();
    let start =
        || Server::start_with(program(), data.path(), &["--components", "apiserver", "--secure-port", &port]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(seed, number)).collect();
    let (starts, started) = watch::channel(0);
    let specs = specs(&mut random);
    let mut readers = JoinSet::new();
    let mut after_start = BTreeMap::new();
    let mut server = start();
    for number in 1..=kills + 1 {
        let connector = Connector::of(&server.admin());
        starts.send_replace(number);
        for (place, spec) in specs.iter().cloned().enumerate().filter(|_| number == 1) {
            let source = Source { connector: connector.clone(), progress: None, starts: Some(started.clone()) };
            readers.spawn_on(async move { (place, reflector::run(&spec, &source).await) }, runtime.handle());
        }
        let listed = runtime.block_on(list(&connector, EVERYTHING, Part::Whole));
        after_start.insert(number, listed.version);
        for writer in &mut writers {
            assert!(listed.version >= writer.newest, "the store went back to {}: {}", listed.version, writer.newest);
            writer.check(&listed.items);
            writer.newest = listed.version;
        }
        if number <= kills {
            let writes = WRITES_BEFORE_KILL.start + random.below(WRITES_BEFORE_KILL.end - WRITES_BEFORE_KILL.start);
            writers = round(&runtime, server, writers, writes);
            server = start();
        }
    }
    runtime.block_on(async {
        let connector = Connector::of(&server.admin());
        let mut session = connector.open(Protocol::Http1).await.unwrap();
        for writer in &mut writers {
            for key in writer.keys() {
                let write = Write { key, value: Some(writer.value()) };
                assert!(writer.write(&mut session, write, true).await);
            }
        }
        let witness = converge(&connector, readers, &specs, &after_start).await;
        let known: BTreeSet<_> = writers.iter().flat_map(|writer| writer.versions.iter().copied()).collect();
        for ((version, _), (key, _)) in &witness.versions {
            assert!(known.contains(version), "a reader saw {key} at {version}, which was not there after the kill");
        }
        let writes: u64 = writers.iter().map(|writer| writer.writes).sum();
        println!("{kills} kills, {writes} writes asked for, {} times 410 for {READERS} readers", witness.expired);
        assert!(kills == 0 || witness.expired > 0, "no reader was ever told that its version is gone");
    });
}
