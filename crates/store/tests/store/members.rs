//! The engine over an etcd of three members: the suite, and what it does when members end, hang, or have no leader.
//!
//! The members' way to each other is plain, as theirs to us: mutual TLS is tested in `etcd.rs` and with the built program.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use portcullis_store::{
    CommitError, Condition, Engine, ReadError, Subscription,
    etcd::{Etcd, PlainLoopback, Security},
    suite,
};

use super::etcd::{READY_LINE, connect_with, directory, free_port, options, program, put};

const MEMBERS: usize = 3;
/// Other programs may take a port between our choice and etcd's start.
const START_ATTEMPTS: usize = 5;
/// Tries until something is so; each takes as long as etcd takes to answer.
const TRIES_MAX: usize = 200;

/// Three members on this machine, ended with the test.
struct Three {
    clients: Vec<String>,
    peers: Vec<String>,
    processes: Vec<Option<Child>>,
    data: tempfile::TempDir,
}

impl Drop for Three {
    fn drop(&mut self) {
        (0..MEMBERS).for_each(|number| self.kill(number));
    }
}

impl Three {
    fn start() -> Option<Three> {
        program()?;
        let attempt = |_| {
            let url = |_| format!("http://127.0.0.1:{}", free_port());
            let (clients, peers) = ((0..MEMBERS).map(url).collect(), (0..MEMBERS).map(url).collect());
            let mut three = Three { clients, peers, processes: vec![None, None, None], data: directory() };
            let ready: Vec<_> = (0..MEMBERS).map(|number| three.spawn(number)).collect();
            ready.iter().all(|ready| ready.recv().is_ok()).then_some(three)
        };
        Some((0..START_ATTEMPTS).find_map(attempt).expect("etcd starts"))
    }

    /// Told when the member takes requests, closed when it ends before.
    fn spawn(&mut self, number: usize) -> mpsc::Receiver<()> {
        let (client, peer) = (&self.clients[number], &self.peers[number]);
        let initial: Vec<String> =
            self.peers.iter().enumerate().map(|(number, peer)| format!("m{number}={peer}")).collect();
        let mut process = Command::new(program().unwrap())
            .args(["--name", &format!("m{number}"), "--initial-cluster", &initial.join(",")])
            .arg("--data-dir")
            .arg(self.data.path().join(number.to_string()))
            .args(["--listen-client-urls", client, "--advertise-client-urls", client])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        self.processes[number] = Some(process);
        let (tell, ready) = mpsc::channel();
        // Its log must be read for as long as it runs, or it would block.
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in log.lines().map_while(Result::ok).filter(|line| line.contains(READY_LINE)) {
                drop((line, tell.take().map(|tell| tell.send(()))));
            }
        });
        ready
    }

    fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.processes[number].take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn restart(&mut self, number: usize) {
        self.spawn(number).recv().unwrap();
    }

    fn signal(&self, number: usize, signal: Signal) {
        let id = self.processes[number].as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    /// Its number, as a member that runs knows it.
    async fn leader(&self) -> usize {
        let mut ids = BTreeMap::new();
        let mut leader = 0;
        for number in (0..MEMBERS).filter(|number| self.processes[*number].is_some()) {
            let status = status(&self.clients[number]).await;
            ids.insert(status.header.unwrap_or_default().member_id, number);
            leader = status.leader.max(leader);
        }
        ids[&leader]
    }

    /// An engine that knows all members, this one first.
    async fn connect(&self, first: usize) -> Etcd {
        let endpoints: Vec<String> =
            (0..MEMBERS).map(|number| self.clients[(first + number) % MEMBERS].clone()).collect();
        connect_with(options(&endpoints, plain())).await
    }
}

fn plain() -> Security {
    Security::PlainLoopback(PlainLoopback::for_tests())
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

async fn status(endpoint: &str) -> StatusResponse {
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint.to_owned()).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<StatusRequest, StatusResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");
    grpc.unary(tonic::Request::new(StatusRequest {}), path, codec).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_passes_on_three_members() {
    let Some(three) = Three::start() else { return };
    let clients = three.clients.clone();
    suite::run(Arc::new(move || {
        let clients = clients.clone();
        Box::pin(async move {
            let engine: Arc<dyn Engine> = Arc::new(connect_with(options(&clients, plain())).await);
            engine
        })
    }))
    .await;
}

/// What an engine was told of its commits, and what a subscriber must be told.
#[derive(Default)]
struct Told {
    next: usize,
    taken: BTreeSet<String>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

impl Told {
    /// Commits until so many were taken one after another.
    async fn commit_until_taken(&mut self, engine: &Etcd, in_a_row: usize) {
        let mut row = 0;
        for _ in 0..TRIES_MAX {
            let name = format!("k-{:04}", self.next);
            self.next += 1;
            row += 1;
            match engine.commit(put(&name, Condition::Absent, "1")).await {
                Ok(_) => self.taken.insert(name),
                Err(CommitError::Unreachable { .. }) => self.refused.insert(name),
                Err(CommitError::OutcomeUnknown { .. }) => self.unknown.insert(name),
                Err(error) => panic!("{error:?}"),
            };
            if !self.taken.contains(&format!("k-{:04}", self.next - 1)) {
                row = 0;
            } else if row >= in_a_row {
                return;
            }
        }
        panic!("{TRIES_MAX} commits and never {in_a_row} in a row were taken");
    }

    /// All that was taken is there, nothing of what was refused, and the subscriber was told of it all in its order.
    async fn check(&self, reader: &Etcd, mut events: Box<dyn Subscription>) {
        let snapshot = reader.newest().await.unwrap();
        let held: Vec<(String, u64)> = snapshot
            .range("/registry/k-", None)
            .map(|(key, entry)| (key.trim_start_matches("/registry/").to_owned(), entry.version))
            .collect();
        let names: BTreeSet<String> = held.iter().map(|(name, _)| name.clone()).collect();
        let lost: Vec<_> = self.taken.difference(&names).collect();
        let ghosts: Vec<_> = self.refused.intersection(&names).collect();
        assert!(lost.is_empty() && ghosts.is_empty(), "lost {lost:?}, refused and there {ghosts:?}");
        let mut revisions: Vec<(u64, String)> = held.into_iter().map(|(name, version)| (version, name)).collect();
        revisions.sort();
        for (revision, name) in revisions {
            let batch = events.next().await.unwrap();
            assert_eq!((batch.revision, &*batch.events[0].key), (revision, &*format!("/registry/{name}")));
        }
        println!("{} taken, {} refused, {} unknown", self.taken.len(), self.refused.len(), self.unknown.len());
    }
}

/// Each member ends in its turn, first the one that leads: what was acknowledged stays, and a watch goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_member_may_end() {
    let Some(mut three) = Three::start() else { return };
    let leader = three.leader().await;
    let (engine, other) = (three.connect(leader).await, three.connect(leader + 1).await);
    let begin = engine.newest().await.unwrap().revision();
    let events = engine.subscribe("/registry/k-".into(), begin).await.unwrap();
    let mut told = Told::default();
    for round in 0..MEMBERS {
        told.commit_until_taken(&engine, 5).await;
        let ended = (leader + round) % MEMBERS;
        three.kill(ended);
        told.commit_until_taken(&engine, 5).await;
        told.commit_until_taken(&other, 5).await;
        // What one has written the other one reads, whichever member each of them asks.
        assert_eq!(other.newest().await.unwrap().revision(), engine.newest().await.unwrap().revision());
        three.restart(ended);
    }
    assert!(told.taken.len() >= 15 * MEMBERS);
    told.check(&three.connect(0).await, events).await;
}

/// A member that answers nothing any more, without closing a connection, is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_is_left() {
    let Some(three) = Three::start() else { return };
    let leader = three.leader().await;
    for hangs in [leader, leader + 1] {
        let hangs = hangs % MEMBERS;
        let engine = three.connect(hangs).await;
        let mut told = Told { next: 1000 * hangs, ..Told::default() };
        let begin = engine.newest().await.unwrap().revision();
        let mut events = engine.subscribe("/registry/k-".into(), begin).await.unwrap();
        told.commit_until_taken(&engine, 5).await;
        three.signal(hangs, Signal::SIGSTOP);
        // A read finds the way within its own time, and so do the commits behind it.
        assert!(engine.newest().await.is_ok());
        told.commit_until_taken(&engine, 5).await;
        three.signal(hangs, Signal::SIGCONT);
        for _ in 0..told.taken.len() {
            events.next().await.unwrap();
        }
        assert!(told.refused.is_empty(), "{:?}", told.refused);
    }
}

/// A member that has lost the majority says so at once: nothing is read from it, and nothing is written that nobody knows of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_told() {
    let Some(three) = Three::start() else { return };
    let leader = three.leader().await;
    for alone in [leader, leader + 1] {
        let alone = alone % MEMBERS;
        let engine = connect_with(options(&three.clients[alone..=alone], plain())).await;
        let revision = engine.commit(put("alone", Condition::Any, "1")).await.unwrap().revision;
        assert_eq!(engine.newest().await.unwrap().revision(), revision);
        let others = (0..MEMBERS).filter(|number| *number != alone);
        others.clone().for_each(|number| three.signal(number, Signal::SIGSTOP));
        let read = engine.newest().await.map(|_| ());
        assert!(matches!(read, Err(ReadError::Unreachable { .. })), "{read:?}");
        // By now it knows that it has no leader.
        let written = engine.commit(put("alone", Condition::Any, "2")).await.map(|_| ());
        assert!(matches!(written, Err(CommitError::Unreachable { .. })), "{written:?}");
        others.for_each(|number| three.signal(number, Signal::SIGCONT));
        let mut back = None;
        for _ in 0..TRIES_MAX {
            back = engine.newest().await.ok();
            if back.is_some() {
                break;
            }
        }
        let back = back.expect("the majority is there again");
        assert_eq!(&*back.get("/registry/alone").unwrap().value, b"1", "what was refused is not there");
    }
}

/// Members that are gone when an engine is opened cost it nothing but the next one's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_member_that_answers_is_enough_to_begin() {
    let Some(mut three) = Three::start() else { return };
    three.kill(0);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let endpoints = [nowhere, three.clients[0].clone(), three.clients[1].clone()];
    let engine = connect_with(options(&endpoints, plain())).await;
    let revision = engine.commit(put("a", Condition::Absent, "1")).await.unwrap().revision;
    assert_eq!(engine.newest().await.unwrap().revision(), revision);
}
