//! Many writers and many readers, some of them slow and some of them stopped for a while: what each reader is told is the store's
//! history, in order, once.
//!
//! The writers' acknowledged answers are the history. A reader's own selection says which part of it concerns it: what enters a
//! selection is ADDED, what leaves it is DELETED with the body it had.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::build::program;
use portcullis_tests::history::{Acknowledged, History, Labels, Selection};
use portcullis_tests::object::{self, END_MARK};
use portcullis_tests::program::Server;
use portcullis_tests::random::{Random, SEED};
use portcullis_tests::reflector::{self, Entry, Rests, Source, Spec};
use portcullis_tests::session::{Asking, Connector, JSON, Protocol, Session};
use portcullis_tests::watch::Form;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

const WRITERS: u64 = 32;
const READERS: u64 = 200;
/// Processes of readers, which are stopped and continued, and how many of the readers each holds.
const PROCESSES: u64 = 6;
const READERS_OF_A_PROCESS: u64 = 4;
/// What CI has time for.
const USUAL: Load = Load { writes: 2_000, padding_bytes_max: 1_500 };
/// About a minute, and more than the server keeps of the past.
const FULL: Load = Load { writes: 24_000, padding_bytes_max: 6_000 };
/// `full` for [`FULL`].
const SCALE: &str = "PORTCULLIS_TEST_SCALE";
const NAMESPACES: u64 = 5;
const NAMES: u64 = 10;
const USUAL_SEED: u64 = 0x6869_7374;

const MERGE_PATCH: &str = "application/merge-patch+json";
const FINALIZER: &str = "example.com/hold";

/// How much is written.
#[derive(Clone, Copy)]
struct Load {
    /// Writes in all, refused ones too.
    writes: u64,
    /// By how much objects differ in size at most.
    padding_bytes_max: u64,
}

fn path(namespace: u64) -> String {
    format!("/api/v1/namespaces/harbor-{namespace}/configmaps")
}

/// One who writes, and what it was told.
struct Writer {
    session: Session,
    random: Random,
    load: Load,
    told: Vec<Acknowledged>,
    /// The newest version that it was told.
    newest: u64,
    /// Of the objects that it wrote last: path and version, which others may have made old.
    known: Vec<(String, u64)>,
}

impl Writer {
    async fn new(connector: &Connector, load: Load, seed: u64, number: u64) -> Self {
        let protocol = if number.is_multiple_of(2) { Protocol::Http1 } else { Protocol::Http2 };
        let session = connector.open(protocol).await.unwrap();
        Self { session, random: Random::new(seed, number), load, told: Vec::new(), newest: 0, known: Vec::new() }
    }

    /// One write of any kind to any object.
    async fn write(&mut self) {
        let (namespace, name) = (self.random.below(NAMESPACES), format!("crate-{}", self.random.below(NAMES)));
        let (collection, object) = (path(namespace), format!("{}/{name}", path(namespace)));
        match self.random.below(100) {
            0..20 => {
                let body = self.object(&name);
                self.send("POST", &collection, Some((JSON, &body)), &[409]).await;
            }
            20..40 => {
                let body = self.object(&name);
                self.send("PUT", &object, Some((JSON, &body)), &[404, 409]).await;
            }
            40..55 => {
                let Some((object, version)) = self.known.pop() else { return };
                let mut body = self.object(object.rsplit('/').next().unwrap());
                body["metadata"]["resourceVersion"] = version.to_string().into();
                self.send("PUT", &object, Some((JSON, &body)), &[404, 409]).await;
            }
            55..80 => {
                let body =
                    json!({"metadata": {"labels": self.labels()}, "data": {"value": self.random.below(4).to_string()}});
                self.send("PATCH", &object, Some((MERGE_PATCH, &body)), &[404, 409]).await;
            }
            80..88 => {
                let finalizers = if self.random.below(2) == 0 { json!([FINALIZER]) } else { Value::Null };
                let body = json!({"metadata": {"finalizers": finalizers}});
                self.send("PATCH", &object, Some((MERGE_PATCH, &body)), &[404, 409, 422]).await;
            }
            _ => self.send("DELETE", &object, None, &[404, 409]).await,
        }
    }

    fn labels(&mut self) -> Value {
        let tier = *self.random.choose(&["a", "b", "c", ""]);
        let hidden = self.random.below(4) == 0;
        json!({
            "tier": if tier.is_empty() { Value::Null } else { tier.into() },
            "hidden": if hidden { "yes".into() } else { Value::Null },
        })
    }

    fn object(&mut self, name: &str) -> Value {
        let mut labels = self.labels();
        labels.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let padding = usize::try_from(self.random.below(self.load.padding_bytes_max)).unwrap();
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": labels},
            "data": {"value": self.random.below(1_000_000).to_string(), "padding": "x".repeat(padding)},
        })
    }

    /// Sends a write and remembers what the answer says.
    async fn send(&mut self, method: &str, path: &str, content: Option<(&str, &Value)>, refusals: &[u16]) {
        let (status, answer) = self.session.ask(path, Asking { method, accept: JSON, content }).await.unwrap();
        if !matches!(status, 200 | 201) {
            assert!(refusals.contains(&status), "{method} {path}: {status} {answer}");
            return;
        }
        if answer["kind"] == "Status" {
            let uid = answer["details"]["uid"].as_str().unwrap().to_owned();
            self.told.push(Acknowledged::Removed { uid, after: self.newest });
            return;
        }
        let metadata = &answer["metadata"];
        if !metadata["deletionTimestamp"].is_null() && metadata["finalizers"].is_null() {
            // The last finalizer went, and the object with it.
            let uid = metadata["uid"].as_str().unwrap().to_owned();
            self.told.push(Acknowledged::Removed { uid, after: self.newest });
            return;
        }
        let version = object::version(&answer).unwrap();
        self.newest = self.newest.max(version);
        let name = metadata["name"].as_str().unwrap();
        let object = if path.ends_with(name) { path.to_owned() } else { format!("{path}/{name}") };
        self.known.push((object, version));
        self.told.push(Acknowledged::Put(answer));
    }

    /// Gives an object labels that every selection of this test wants, and the end mark.
    async fn mark(&mut self, namespace: u64, name: &str) {
        let labels = json!({"tier": "a", "hidden": null, END_MARK: "yes"});
        let patch = json!({"metadata": {"labels": labels, "finalizers": null}});
        let object = format!("{}/{name}", path(namespace));
        self.send("PATCH", &object, Some((MERGE_PATCH, &patch)), &[404]).await;
        // It was not there, or it was waiting to go and is gone now.
        let mut created = self.object(name);
        created["metadata"]["labels"] = json!({"tier": "a", END_MARK: "yes"});
        self.send("POST", &path(namespace), Some((JSON, &created)), &[409]).await;
    }
}

/// One who reads.
struct Plan {
    selection: Selection,
    spec: Spec,
    /// Begins when so many writes are done.
    begins: u64,
}

/// Readers of every kind; the same for the same seed.
fn plans(seed: u64, writes: u64, from: u64) -> Vec<Plan> {
    let mut random = Random::new(seed, u64::MAX);
    (0..READERS).map(|number| plan(number, writes, from, &mut random)).collect()
}

fn plan(number: u64, writes: u64, from: u64, random: &mut Random) -> Plan {
    let any_namespace = || None;
    let one = |random: &mut Random| Some(format!("harbor-{}", random.below(NAMESPACES)));
    let tiers = [
        Labels::Equal("tier", "a"),
        Labels::Unequal("tier", "c"),
        Labels::In("tier", &["a", "b"]),
        Labels::Exists("tier"),
        Labels::Absent("hidden"),
    ];
    let name = |random: &mut Random| Some(format!("crate-{}", random.below(NAMES)));
    let (namespace, name, labels) = match number % 8 {
        0 => (any_namespace(), None, Labels::Any),
        1 | 2 => (one(random), None, Labels::Any),
        3 => (any_namespace(), None, *random.choose(&tiers)),
        4 | 5 => (one(random), None, *random.choose(&tiers)),
        6 => (one(random), name(random), Labels::Any),
        _ => (any_namespace(), name(random), *random.choose(&tiers)),
    };
    let form = Form::ALL[usize::try_from(random.below(7)).unwrap().saturating_sub(3)];
    let is_initial = random.below(2) == 0;
    let keys = namespace.as_ref().map_or(NAMESPACES, |_| 1) * name.as_ref().map_or(NAMES, |_| 1);
    let mut query = labels.to_string();
    if let Some(name) = &name {
        query.push_str(&format!("&fieldSelector=metadata.name%3D{name}"));
    }
    let rests =
        Rests { events: 20 + usize::try_from(random.below(100)).unwrap(), writes: 1 + random.below(writes / 4) };
    let spec = Spec {
        path: namespace
            .as_ref()
            .map_or("/api/v1/configmaps".to_owned(), |namespace| format!("/api/v1/namespaces/{namespace}/configmaps")),
        query,
        from: (random.below(5) == 0).then_some(from),
        // A table has no place for the bookmark that ends a state.
        is_initial: is_initial && form != Form::Table,
        has_bookmarks: random.below(2) == 0 && form != Form::Table,
        form,
        protocol: if random.below(3) == 0 { Protocol::Http2 } else { Protocol::Http1 },
        timeout_seconds: (random.below(8) == 0).then_some(1),
        keys: usize::try_from(keys).unwrap(),
        rests: (random.below(4) == 0).then_some(rests),
    };
    let begins = if random.below(4) == 0 { random.below(writes) } else { 0 };
    Plan { selection: Selection { namespace, name, labels }, spec, begins }
}

/// Readers in a process that can be stopped.
struct Process {
    child: Child,
    printed: Option<JoinHandle<String>>,
}

impl Process {
    fn start(server: &Server, data: &Path, plans: &[Plan]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reflectors"));
        command.arg(server.address().to_string()).arg(data).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let specs = Value::from(plans.iter().map(|plan| plan.spec.to_json()).collect::<Vec<_>>());
        child.stdin.take().unwrap().write_all(specs.to_string().as_bytes()).unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let printed = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, printed: Some(printed) }
    }

    fn signal(&self, signal: Signal) {
        // It was not waited for, so the id is still its own.
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal);
    }

    /// What each of its readers saw.
    fn logs(mut self) -> Vec<Vec<Entry>> {
        let printed = self.printed.take().unwrap().join().unwrap();
        assert!(self.child.wait().unwrap().success());
        let read = |line| {
            let entries: Vec<Value> = serde_json::from_str(line).unwrap();
            entries.iter().map(|entry| Entry::from_json(entry).unwrap()).collect()
        };
        printed.lines().map(read).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stops processes and continues them while others write.
async fn disturb(processes: &[Process], mut random: Random, mut progress: watch::Receiver<u64>, writes: u64) {
    let mut at = 0;
    loop {
        let process = random.choose(processes);
        at += 1 + random.below(writes / 40);
        if progress.wait_for(|done| *done >= at).await.is_err() {
            break;
        }
        process.signal(Signal::SIGSTOP);
        at += 1 + random.below(writes / 10);
        let _ = progress.wait_for(|done| *done >= at).await;
        process.signal(Signal::SIGCONT);
    }
}

/// Everything written, by as many as write at once, and then the end marks.
async fn write_all(connector: &Connector, load: Load, seed: u64, progress: watch::Sender<u64>) -> Vec<Acknowledged> {
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let (connector, progress) = (connector.clone(), progress.clone());
        writers.spawn(async move {
            let mut writer = Writer::new(&connector, load, seed, number).await;
            for _ in 0..load.writes / WRITERS {
                writer.write().await;
                progress.send_modify(|done| *done += 1);
            }
            writer.told
        });
    }
    let mut told = Vec::new();
    while let Some(done) = writers.join_next().await {
        told.extend(done.unwrap());
    }
    drop(progress);
    let mut last = Writer::new(connector, load, seed, WRITERS).await;
    for namespace in 0..NAMESPACES {
        for name in 0..NAMES {
            last.mark(namespace, &format!("crate-{name}")).await;
        }
    }
    told.extend(last.told);
    told
}

/// One who sees everything, from before the first write.
fn reference(from: u64) -> Spec {
    Spec {
        path: "/api/v1/configmaps".to_owned(),
        query: String::new(),
        form: Form::Json,
        protocol: Protocol::Http1,
        from: Some(from),
        is_initial: false,
        has_bookmarks: false,
        timeout_seconds: None,
        keys: usize::try_from(NAMESPACES * NAMES).unwrap(),
        rests: None,
    }
}

async fn run(server: &Server, data: &Path, load: Load, seed: u64) {
    let connector = Connector::of(&server.admin());
    let (sender, progress) = watch::channel(0);
    let source = Source { connector: connector.clone(), progress: Some(progress.clone()), starts: None };
    let from = object::version(&server.admin().get("/api/v1/configmaps").json()).unwrap();
    let mut plans = plans(seed, load.writes, from);
    let in_processes = plans.split_off(usize::try_from(READERS - PROCESSES * READERS_OF_A_PROCESS).unwrap());
    let chunks = in_processes.chunks(usize::try_from(READERS_OF_A_PROCESS).unwrap());
    let processes: Vec<_> = chunks.map(|plans| Process::start(server, data, plans)).collect();
    let reference = tokio::spawn({
        let source = source.clone();
        async move { reflector::run(&reference(from), &source).await }
    });
    let mut readers = JoinSet::new();
    for (place, plan) in plans.iter().enumerate() {
        let (spec, source, mut progress, begins) = (plan.spec.clone(), source.clone(), progress.clone(), plan.begins);
        readers.spawn(async move {
            let _ = progress.wait_for(|done| *done >= begins).await;
            (place, reflector::run(&spec, &source).await)
        });
    }
    let random = Random::new(seed, u64::MAX - 1);
    let (told, ()) = tokio::join!(
        write_all(&connector, load, seed, sender),
        disturb(&processes, random, progress.clone(), load.writes)
    );
    let reference = reference.await.unwrap().unwrap();
    let history = History::new(told, &reference).unwrap();
    let (mut changes, mut expired) = (0, 0);
    let mut check = |plan: &Plan, log: &[Entry]| {
        expired += log.iter().filter(|entry| matches!(entry, Entry::Expired)).count();
        let checked = history.check(log, &plan.selection, plan.spec.form.part());
        changes += checked.unwrap_or_else(|error| panic!("{error:?}\n{:?}", plan.spec));
    };
    while let Some(done) = readers.join_next().await {
        let (place, log) = done.unwrap();
        check(&plans[place], &log.unwrap());
    }
    let logs = tokio::task::spawn_blocking(|| processes.into_iter().flat_map(Process::logs).collect::<Vec<_>>());
    let logs = logs.await.unwrap();
    assert_eq!(logs.len(), in_processes.len());
    for (plan, log) in in_processes.iter().zip(&logs) {
        check(plan, log);
    }
    println!("{} changes of the store; {changes} seen by {READERS} readers, {expired} times 410", history.len());
}

#[test]
fn each_reader_sees_the_history_of_the_store_in_order_and_once() {
    let seed = Random::seed(USUAL_SEED);
    let is_full = std::env::var(SCALE).is_ok_and(|scale| scale == "full");
    println!("{SEED}={seed}");
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(program(), data.path(), &["--components", "apiserver"]).unwrap();
    // The one that the server made itself is nobody's write.
    let own = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    assert_eq!(server.admin().delete(own).status, 200);
    for namespace in 0..NAMESPACES {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("harbor-{namespace}")}});
        assert_eq!(server.admin().post("/api/v1/namespaces", &namespace).status, 201);
    }
    let load = if is_full { FULL } else { USUAL };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(&server, data.path(), load, seed));
}
