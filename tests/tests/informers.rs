//! client-go's informers (WatchList, KEP-3157; protobuf): what twenty of them keep in memory equals a list, always: while
//! others write, after kills and orderly ends of the server, after a network that was away for longer than the history.
//!
//! The informers are a Go program, `tests/go/informers`. Without a Go that builds it a test says so in one line; in CI it is
//! required.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::Result;
use nix::sys::signal::Signal;
use portcullis_tests::build::program;
use portcullis_tests::client::{Answer, Client};
use portcullis_tests::go::{GoProgram, built};
use portcullis_tests::program::{Server, port_to_keep};
use portcullis_tests::random::{Random, SEED};
use serde_json::{Value, json};

/// What every random choice follows from. The server and the informers decide by themselves when they do what.
const USUAL_SEED: u64 = 0x696e_666f;
/// Who writes at once.
const WRITERS: u64 = 4;
/// What each of them does while the informers are compared.
const STEPS: usize = 100;
/// Comparisons while others write.
const CHECKS_AMID_WRITES: usize = 3;
/// Acknowledged writes before the server ends; more follow in the same moment.
const ACKNOWLEDGED_BEFORE_END: usize = 80;
/// What is written while the network is away: more bytes than any history keeps.
const BIG_WRITES: usize = 128;
const BIG_BYTES: usize = 700 * 1024;

const NAMESPACE: &str = "informers";

/// One of the twenty kinds: where it is, and the content of an object that needs nothing else to exist.
struct Kind {
    resource: &'static str,
    api: &'static str,
    namespaced: bool,
    /// Whether writers delete it: a namespace would stay until somebody has emptied it.
    deleted: bool,
    content: Value,
}

impl Kind {
    fn new(api: &'static str, resource: &'static str, content: Value) -> Self {
        Self { resource, api, namespaced: true, deleted: true, content }
    }

    fn cluster_wide(self) -> Self {
        Self { namespaced: false, ..self }
    }

    fn path(&self) -> String {
        let root = if self.api.contains('/') { "apis" } else { "api" };
        let scope = if self.namespaced { format!("namespaces/{NAMESPACE}/") } else { String::new() };
        format!("/{root}/{}/{scope}{}", self.api, self.resource)
    }

    fn object(&self, name: &str) -> Value {
        let mut object = self.content.clone();
        object["metadata"] = json!({"name": name, "labels": {"made-by": "informers"}});
        object
    }
}

fn kinds() -> Vec<Kind> {
    let selector = json!({"matchLabels": {"app": "a"}});
    let containers = json!([{"name": "c", "image": "registry.example/c:1"}]);
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": containers}});
    let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": containers}}});
    let storage = json!({"storage": "1Gi"});
    vec![
        Kind::new("v1", "configmaps", json!({"data": {"a": "1"}})),
        Kind { deleted: false, ..Kind::new("v1", "namespaces", json!({})).cluster_wide() },
        Kind::new("v1", "nodes", json!({"spec": {"podCIDR": "10.1.0.0/24"}})).cluster_wide(),
        Kind::new(
            "v1",
            "persistentvolumeclaims",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": storage}}}),
        ),
        Kind::new(
            "v1",
            "persistentvolumes",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": storage, "hostPath": {"path": "/srv"}}}),
        )
        .cluster_wide(),
        Kind::new("v1", "pods", json!({"spec": {"containers": containers}})),
        Kind::new("v1", "resourcequotas", json!({"spec": {"hard": {"count/bindings.example.com": "1k"}}})),
        Kind::new("v1", "secrets", json!({"type": "Opaque", "stringData": {"a": "1"}})),
        Kind::new("v1", "serviceaccounts", json!({"automountServiceAccountToken": false})),
        Kind::new("v1", "services", json!({"spec": {"clusterIP": "None", "selector": {"app": "a"}}})),
        Kind::new("apps/v1", "daemonsets", json!({"spec": {"selector": selector, "template": template}})),
        Kind::new("apps/v1", "deployments", json!({"spec": {"selector": selector, "template": template}})),
        Kind::new("apps/v1", "replicasets", json!({"spec": {"selector": selector, "template": template}})),
        Kind::new(
            "apps/v1",
            "statefulsets",
            json!({"spec": {"selector": selector, "serviceName": "a", "template": template}}),
        ),
        Kind::new("batch/v1", "cronjobs", json!({"spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": job}}})),
        Kind::new("batch/v1", "jobs", json!({"spec": job})),
        Kind::new("coordination.k8s.io/v1", "leases", json!({"spec": {"holderIdentity": "a"}})),
        Kind::new("discovery.k8s.io/v1", "endpointslices", json!({"addressType": "IPv4", "endpoints": []})),
        Kind::new(
            "networking.k8s.io/v1",
            "ingresses",
            json!({"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}}),
        ),
        Kind::new(
            "rbac.authorization.k8s.io/v1",
            "roles",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
    ]
}

/// Creates, changes and deletes objects of its own.
struct Writer {
    client: Client,
    kinds: Vec<Kind>,
    prefix: String,
    random: Random,
    made: usize,
    /// What exists: its kind's place and its name.
    owned: Vec<(usize, String)>,
}

impl Writer {
    fn new(client: Client, phase: &str, number: u64) -> Self {
        let prefix = format!("{phase}-{number}");
        let random = Random::new(Random::seed(USUAL_SEED), number);
        Self { client, kinds: kinds(), prefix, random, made: 0, owned: Vec::new() }
    }

    /// Makes one change. An error is a server that did not answer; an answer that refuses is a failure of the test.
    fn step(&mut self) -> Result<()> {
        let chosen = self.place(self.owned.len());
        match self.random.below(4) {
            0 | 1 if !self.owned.is_empty() => self.change(chosen),
            2 if !self.owned.is_empty() => self.delete(chosen),
            _ => {
                let kind = self.place(self.kinds.len());
                self.create(kind)
            }
        }
    }

    /// One of so many places.
    fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.random.below(len as u64)).unwrap()
    }

    fn create(&mut self, kind: usize) -> Result<()> {
        let name = format!("{}-{}", self.prefix, self.made);
        self.made += 1;
        let (path, object) = (self.kinds[kind].path(), self.kinds[kind].object(&name));
        expect(201, &path, &self.client.send("POST", &path, Some(&object))?);
        self.owned.push((kind, name));
        Ok(())
    }

    fn change(&mut self, chosen: usize) -> Result<()> {
        let (kind, name) = &self.owned[chosen];
        let path = format!("{}/{name}", self.kinds[*kind].path());
        let patch = json!({"metadata": {"annotations": {"step": self.random.below(1 << 20).to_string()}}}).to_string();
        let answer = self.client.send_content("PATCH", &path, "application/merge-patch+json", patch.as_bytes())?;
        expect(200, &path, &answer);
        Ok(())
    }

    fn delete(&mut self, chosen: usize) -> Result<()> {
        let (kind, name) = self.owned.swap_remove(chosen);
        if self.kinds[kind].deleted {
            let path = format!("{}/{name}", self.kinds[kind].path());
            expect(200, &path, &self.client.send("DELETE", &path, None)?);
        }
        Ok(())
    }

    /// Creates two objects of every kind, changes one, deletes the other: every informer has something to learn.
    fn touch_everything(&mut self) {
        for kind in 0..self.kinds.len() {
            let first = self.owned.len();
            self.create(kind).unwrap();
            self.create(kind).unwrap();
            self.change(first).unwrap();
            self.delete(first + 1).unwrap();
        }
    }
}

fn expect(status: u16, path: &str, answer: &Answer) {
    assert_eq!(answer.status, status, "{path}: {}", answer.text());
}

/// The running informers. Dropping them ends them; if the test failed, what they logged is shown.
struct Informers {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: Option<JoinHandle<String>>,
}

impl Informers {
    /// Starts them; returns what they asked for until all had synced.
    fn start(program: &Path, kubeconfig: &Path) -> (Self, Value) {
        let mut command = Command::new(program);
        command.arg(kubeconfig).env("KUBE_FEATURE_WatchListClient", "true");
        // client-go lists what a watch began with once more, at the same version, and panics if the two differ.
        command.env("KUBE_WATCHLIST_INCONSISTENCY_DETECTOR", "true");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = Vec::new();
            let _ = stderr.read_to_end(&mut log);
            String::from_utf8_lossy(&log).into_owned()
        });
        let (commands, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut informers = Self { child, commands, answers, log: Some(log) };
        let counts = informers.answer();
        (informers, counts)
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).expect("an answer of the informers");
        assert_eq!(answer["error"], Value::Null, "{answer}");
        answer
    }

    fn ask(&mut self, command: &str) -> Value {
        writeln!(self.commands, "{command}").unwrap();
        self.answer()
    }

    /// Compares every cache with a list. Returns how many objects differed because a cache was ahead of its list.
    fn check(&mut self, when: &str) -> u64 {
        let answer = self.ask("check");
        assert_eq!(answer["faults"], json!([]), "{when}");
        let compared = answer["compared"].as_object().unwrap();
        assert!(compared.values().all(|kind| kind["same"].as_u64() > Some(0)), "{when}: {answer}");
        compared.values().map(|kind| kind["newer"].as_u64().unwrap()).sum()
    }

    /// Compares every cache with a list while nobody writes.
    fn check_equal(&mut self, when: &str) {
        assert_eq!(self.check(when), 0, "{when}: nobody writes");
    }

    /// How often an informer was told that its version is gone.
    fn gone(&mut self, resource: Option<&str>) -> u64 {
        let counts = self.ask("counts");
        assert_eq!(counts["foreign"], json!({}), "answers in another encoding");
        let gone = counts["gone"].as_object().unwrap().iter();
        gone.filter(|(name, _)| resource.is_none_or(|wanted| wanted == *name)).map(|(_, n)| n.as_u64().unwrap()).sum()
    }
}

impl Drop for Informers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log.take().and_then(|log| log.join().ok()).unwrap_or_default();
        if thread::panicking() {
            let seed = Random::seed(USUAL_SEED);
            eprintln!("the informers' log:\n{log}\nagain with {SEED}={seed}");
        }
    }
}

/// A server that is restarted at one place, and the informers of it.
struct Cluster {
    data: tempfile::TempDir,
    port: u16,
    server: Option<Server>,
}

impl Cluster {
    fn new() -> Self {
        let (data, port) = (tempfile::tempdir().unwrap(), port_to_keep());
        let mut cluster = Self { data, port, server: None };
        cluster.start();
        let client = cluster.client();
        client.post("/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}}));
        // Pods need it; a controller may be quicker.
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
        let answer = client.post(&path, &json!({"metadata": {"name": "default"}}));
        assert!([201, 409].contains(&answer.status), "{}", answer.text());
        cluster
    }

    fn start(&mut self) {
        let port = self.port.to_string();
        // Without controllers nobody writes but the test.
        let arguments = ["--secure-port", &port, "--components", "apiserver"];
        self.server = Some(Server::start_with(program(), self.data.path(), &arguments).unwrap());
    }

    fn client(&self) -> Client {
        self.server.as_ref().unwrap().admin()
    }

    fn end(&mut self) {
        let server = self.server.take().unwrap();
        let id = server.id();
        let (status, _, log) = server.ended();
        let killed = status.signal() == Some(Signal::SIGKILL as i32);
        assert!(killed || status.success(), "process {id}: {status}: {log}");
        assert!(!log.contains("cut off"), "process {id} did not end its watches: {log}");
    }

    /// Ends the server and starts it again at the same place.
    fn restart(&mut self, signal: Signal) {
        self.server.as_ref().unwrap().signal(signal);
        self.end();
        self.start();
    }

    fn touch_everything(&self, phase: &str) {
        Writer::new(self.client(), phase, WRITERS).touch_everything();
    }

    /// Ends the server in the middle of writes.
    fn end_amid_writes(&mut self, signal: Signal, phase: &str) {
        let (sender, acknowledged) = mpsc::channel();
        let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(self.client(), phase, number)).collect();
        thread::scope(|scope| {
            for writer in &mut writers {
                let sender = sender.clone();
                // It ends when the server does.
                scope.spawn(move || while writer.step().is_ok() && sender.send(()).is_ok() {});
            }
            drop(sender);
            assert_eq!(acknowledged.iter().take(ACKNOWLEDGED_BEFORE_END).count(), ACKNOWLEDGED_BEFORE_END);
            self.server.as_ref().unwrap().signal(signal);
            acknowledged.iter().for_each(drop);
        });
        self.end();
    }
}

/// Each kind's state came as a watch, none as a list, and client-go found it equal to a list of the same version.
fn check_first_sync(counts: &Value) {
    let expected: Value = kinds().iter().map(|kind| (kind.resource.to_owned(), json!(1))).collect();
    assert_eq!(counts["watch_lists"], expected);
    assert_eq!((&counts["lists"], &counts["foreign"]), (&json!({}), &json!({})), "{counts}");
    assert_eq!(counts["exact_lists"], json!(kinds().len()), "{counts}");
}

#[test]
fn what_twenty_informers_keep_equals_a_list_always() {
    let Some(program) = built(GoProgram::Command("informers"), Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    let mut cluster = Cluster::new();
    cluster.touch_everything("first");
    let kubeconfig = cluster.server.as_ref().unwrap().kubeconfig();
    let (mut informers, counts) = Informers::start(&program, &kubeconfig);
    check_first_sync(&counts);
    informers.check_equal("after the first sync");

    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(cluster.client(), "live", number)).collect();
    thread::scope(|scope| {
        for writer in &mut writers {
            scope.spawn(|| (0..STEPS).for_each(|_| writer.step().unwrap()));
        }
        for _ in 0..CHECKS_AMID_WRITES {
            informers.check("amid writes");
        }
    });
    // A watch that told nothing before it broke is not resumed: each has told something.
    cluster.touch_everything("still");
    informers.check_equal("after writes");
    assert_eq!(informers.gone(None), 0, "nobody was away");

    informers.ask("cut");
    write_more_than_any_history(&cluster.client());
    informers.ask("restore");
    cluster.touch_everything("back");
    informers.check_equal("after a network that was away");
    assert_eq!(informers.gone(Some("configmaps")), 1, "what was written in between is no longer kept");

    let known = newest_version(&cluster.client());
    cluster.end_amid_writes(Signal::SIGKILL, "killed");
    cluster.start();
    check_is_gone(&cluster.client(), &known);
    cluster.touch_everything("after-kill");
    informers.check_equal("after a kill");

    let known = newest_version(&cluster.client());
    cluster.end_amid_writes(Signal::SIGTERM, "ended");
    informers.ask("cut");
    cluster.start();
    cluster.touch_everything("between");
    cluster.restart(Signal::SIGKILL);
    informers.ask("restore");
    cluster.touch_everything("last");
    informers.check_equal("after two restarts of which one was not seen");
    check_is_gone(&cluster.client(), &known);
}

fn newest_version(client: &Client) -> String {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?limit=1");
    let list = client.get(&path);
    expect(200, &path, &list);
    list.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// A new process knows no old version and says so. Asked without an informer, because what one does when its server goes depends
/// on how the connection broke: after a refused one it resumes its watch, after a reset one it begins anew and is never told.
fn check_is_gone(client: &Client, version: &str) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?watch=1&resourceVersion={version}");
    let answer = client.get(&path);
    expect(200, &path, &answer);
    let told = answer.json();
    assert_eq!((&told["type"], &told["object"]["code"]), (&json!("ERROR"), &json!(410)), "{told}");
}

fn write_more_than_any_history(client: &Client) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    expect(201, &path, &client.post(&path, &json!({"metadata": {"name": "big"}})));
    let path = format!("{path}/big");
    let big = "a".repeat(BIG_BYTES);
    for number in 0..BIG_WRITES {
        let content = json!({"metadata": {"name": "big"}, "data": {"big": big, "number": number.to_string()}});
        expect(200, &path, &client.send("PUT", &path, Some(&content)).unwrap());
    }
    expect(200, &path, &client.delete(&path));
}
