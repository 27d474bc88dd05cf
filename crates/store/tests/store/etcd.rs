//! The engine over etcd, against the `etcd` program of this machine: the suite, mutual TLS, and what other clients of
//! the same etcd do.
//!
//! Without that program the tests say so and pass, except in CI, where its absence is a failure.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Once,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use portcullis_store::{
    Change, Commit, CommitError, Condition, Engine, Opaque, Opened, Operation, ReadError, Resealed, Sealing,
    SubscriptionError, Unsealed,
    budget::LIMIT_BYTES_DEFAULT,
    engine::{BoxFuture, Source},
    etcd::{ConnectError, Etcd, MutualTls, Options, PlainLoopback, Security},
    suite,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::sync::watch;

use super::{Events, seals::Elsewhere};

/// Another program may take a port between our choice and etcd's start.
const START_ATTEMPTS: usize = 5;
/// Says that etcd takes requests.
pub const READY_LINE: &str = "ready to serve client requests";

/// After which a test that waits for something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// An etcd of our own, ended with the test.
pub struct Server {
    process: Child,
    pub endpoint: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where etcd is, or nothing and a line that says so.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join("etcd")).find(|file| file.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "no `etcd` in PATH, and CI must have one");
        // Once, and to the stream itself: the output of tests that pass is not shown.
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            let line = "skipped: tests of the etcd engine, no `etcd` in PATH (Debian: apt-get install etcd-server)";
            std::io::stderr().lock().write_all(format!("{line}\n").as_bytes()).unwrap();
        });
    }
    found
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts etcd over a data directory, on ports that were free, until it is ready. The arguments are for its client side.
fn start(program: &Path, data: &Path, scheme: &str, arguments: &[String]) -> Server {
    for _ in 0..START_ATTEMPTS {
        let endpoint = format!("{scheme}://127.0.0.1:{}", free_port());
        let mut process = Command::new(program)
            .args(["--data-dir", data.to_str().unwrap()])
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{}", free_port())])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let server = Server { process, endpoint };
        let mut lines = log.lines().map_while(Result::ok);
        if lines.any(|line| line.contains(READY_LINE)) {
            // Its log must be read for as long as it runs, or it would block.
            std::thread::spawn(move || lines.for_each(drop));
            return server;
        }
    }
    panic!("etcd did not start in {START_ATTEMPTS} attempts");
}

/// An etcd that is spoken to without TLS, if there is a program.
pub fn start_plain(data: &tempfile::TempDir) -> Option<Server> {
    Some(start(&program()?, data.path(), "http", &[]))
}

pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

pub fn options(endpoints: &[String], security: Security) -> Options {
    let (endpoints, catalog, sealing) = (endpoints.to_vec(), Arc::new(Opaque), Arc::new(Unsealed));
    Options { endpoints, security, catalog, sealing, memory_bytes_max: LIMIT_BYTES_DEFAULT, compaction_interval: None }
}

pub fn plain_options(server: &Server) -> Options {
    options(std::slice::from_ref(&server.endpoint), Security::PlainLoopback(PlainLoopback::for_tests()))
}

pub async fn connect_with(options: Options) -> Etcd {
    Etcd::connect(options).await.unwrap()
}

async fn connect(endpoint: &str) -> Etcd {
    let security = Security::PlainLoopback(PlainLoopback::for_tests());
    connect_with(options(&[endpoint.to_string()], security)).await
}

/// A way to etcd that can be cut and led elsewhere; its own port stays.
struct Way {
    endpoint: String,
    target: watch::Sender<Option<String>>,
}

impl Way {
    async fn to(server: &Server) -> Way {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let target = watch::Sender::new(None);
        let mut changes = target.subscribe();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let Some(address) = changes.borrow_and_update().clone() else { continue };
                let mut changes = changes.clone();
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(address).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = changes.changed() => {}
                    }
                });
            }
        });
        let way = Way { endpoint, target };
        way.lead(server);
        way
    }

    fn lead(&self, server: &Server) {
        self.target.send_replace(server.endpoint.strip_prefix("http://").map(str::to_string));
    }

    fn cut(&self) {
        self.target.send_replace(None);
    }
}

/// Another client of the same etcd, with the few messages it needs.
struct Stranger(tonic::client::Grpc<tonic::transport::Channel>);

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CompactionRequest {
    #[prost(int64, tag = "1")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(int64, tag = "4")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(int64, tag = "6")]
    lease: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyResponse {}

impl Stranger {
    async fn connect(server: &Server) -> Stranger {
        let endpoint = tonic::transport::Endpoint::from_shared(server.endpoint.clone()).unwrap();
        Stranger(tonic::client::Grpc::new(endpoint.connect().await.unwrap()))
    }

    async fn put(&mut self, key: &[u8], value: &str) {
        self.call("/etcdserverpb.KV/Put", PutRequest { key: key.to_vec(), value: value.into() }).await;
    }

    async fn delete(&mut self, key: &[u8]) {
        let (key, range_end) = (key.to_vec(), Vec::new());
        self.call("/etcdserverpb.KV/DeleteRange", RangeRequest { key, range_end, revision: 0 }).await;
    }

    async fn compact(&mut self, revision: u64) {
        self.call("/etcdserverpb.KV/Compact", CompactionRequest { revision: revision as i64 }).await;
    }

    /// All keys with a prefix and the leases that they are under.
    async fn leases_of(&mut self, prefix: &[u8]) -> Vec<(String, i64)> {
        let mut range_end = prefix.to_vec();
        *range_end.last_mut().unwrap() += 1;
        let request = RangeRequest { key: prefix.to_vec(), range_end, revision: 0 };
        let response: RangeResponse = self.ask("/etcdserverpb.KV/Range", request).await.unwrap();
        response.kvs.into_iter().map(|kv| (String::from_utf8(kv.key).unwrap(), kv.lease)).collect()
    }

    async fn is_readable_at(&mut self, revision: u64) -> bool {
        let request = RangeRequest { key: b"a".to_vec(), range_end: Vec::new(), revision: revision as i64 };
        match self.ask::<_, RangeResponse>("/etcdserverpb.KV/Range", request).await {
            Ok(_) => true,
            Err(status) if status.message().contains("compacted") => false,
            Err(status) => panic!("{status}"),
        }
    }

    async fn revoke(&mut self, lease: i64) {
        self.call("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest { id: lease }).await;
    }

    async fn call<Q: prost::Message + 'static>(&mut self, path: &'static str, request: Q) {
        self.ask::<Q, AnyResponse>(path, request).await.unwrap();
    }

    async fn ask<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, tonic::Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.0.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        Ok(self.0.unary(tonic::Request::new(request), path, codec).await?.into_inner())
    }
}

pub fn put(name: &str, condition: Condition, value: &str) -> Commit {
    let value = Change::Put(value.as_bytes().to_vec().into());
    Operation { key: format!("/registry/{name}").into(), condition, change: value }.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suite_passes() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let endpoint = server.endpoint.clone();
    suite::run(Arc::new(move || {
        let endpoint = endpoint.clone();
        Box::pin(async move {
            let engine: Arc<dyn Engine> = Arc::new(connect(&endpoint).await);
            engine
        })
    }))
    .await;
}

/// Two servers over one etcd: what one writes, the other reads at once, and its subscribers are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_equal() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let (one, other) = (connect(&server.endpoint).await, connect(&server.endpoint).await);
    let mut events = other.subscribe("/registry/".into(), other.newest().await.unwrap().revision()).await.unwrap();
    for round in 0..100 {
        let (writer, reader) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let revision = writer.commit(put("shared", Condition::Any, &format!("{round}"))).await.unwrap().revision;
        let snapshot = reader.newest().await.unwrap();
        assert_eq!(snapshot.get("/registry/shared").unwrap().version, revision);
        assert_eq!(events.next().await.unwrap().revision, revision);
        // A version that only the other server can have handed out is a place to begin.
        let ahead = writer.commit(put("shared", Condition::Version(revision), "again")).await.unwrap().revision;
        reader.subscribe("/registry/".into(), ahead).await.unwrap();
        assert_eq!(events.next().await.unwrap().revision, ahead);
    }
}

/// Keys of others in the same etcd are not shown, but their revisions do not confuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_others_are_left_alone() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let engine = connect(&server.endpoint).await;
    let mut events = engine.subscribe("/registry/".into(), engine.newest().await.unwrap().revision()).await.unwrap();
    let first = engine.commit(put("a", Condition::Absent, "1")).await.unwrap().revision;
    let mut stranger = Stranger::connect(&server).await;
    for key in [&b"/registry0/a"[..], b"/registry", b"\xff\xfe", b"/registry/\xff"] {
        stranger.put(key, "theirs").await;
    }
    let snapshot = engine.newest().await.unwrap();
    assert_eq!((snapshot.len(), snapshot.revision()), (1, first + 4));
    let last = engine.commit(put("a", Condition::Version(first), "2")).await.unwrap().revision;
    assert_eq!(events.next().await.unwrap().revision, first);
    assert_eq!(events.next().await.unwrap().revision, last);
    assert_eq!(engine.newest().await.unwrap().get("/registry/a").unwrap().create_revision, first);
}

/// Commits that pile up while an engine is cut off arrive whole, though etcd sends them in fragments that end anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_in_fragments_arrive_whole() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let way = Way::to(&server).await;
    let (engine, writer) = (connect(&way.endpoint).await, connect(&server.endpoint).await);
    let mut events = engine.subscribe("/registry/".into(), engine.newest().await.unwrap().revision()).await.unwrap();
    way.cut();
    let mut revisions = Vec::new();
    for group in 0..10 {
        revisions.push(writer.commit(group_of(120, group, 9000)).await.unwrap().revision);
    }
    way.lead(&server);
    for revision in revisions {
        let batch = events.next().await.unwrap();
        assert_eq!((batch.revision, batch.events.len()), (revision, 120));
    }
    let keys = |engine: &Etcd| {
        engine.snapshot().range("/registry/", None).map(|(key, entry)| (key.clone(), entry.version)).collect::<Vec<_>>()
    };
    let (late, newest) = (connect(&server.endpoint).await, writer.newest().await.unwrap());
    assert_eq!(keys(&late).len(), 1200);
    assert_eq!(keys(&late), keys(&engine));
    assert_eq!(newest.revision(), engine.snapshot().revision());
}

/// The pages of the first list are of one revision, whatever is written meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_in_pages_is_of_one_revision() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let writer = connect(&server.endpoint).await;
    for group in 0..10 {
        writer.commit(group_of(120, group, 10)).await.unwrap();
    }
    let both = || {
        let put = |name: &str| Operation {
            key: format!("/registry/{name}").into(),
            condition: Condition::Any,
            change: Change::Put("x".into()),
        };
        Commit { operations: vec![put("!first"), put("~last")] }
    };
    writer.commit(both()).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(async move {
        while !*stopped.borrow() {
            writer.commit(both()).await.unwrap();
        }
    });
    for _ in 0..20 {
        let engine = connect(&server.endpoint).await;
        let snapshot = engine.snapshot();
        let version = |key: &str| snapshot.get(key).unwrap().version;
        assert_eq!(version("/registry/!first"), version("/registry/~last"), "at revision {}", snapshot.revision());
        assert_eq!(snapshot.len(), 1202);
        engine.close().await;
    }
    stop.send_replace(true);
    writing.await.unwrap();
}

fn group_of(count: usize, group: usize, bytes: usize) -> Commit {
    let operation = |number| {
        let value = Change::Put(vec![b'x'; bytes].into());
        Operation { key: format!("/registry/{group}/{number:03}").into(), condition: Condition::Absent, change: value }
    };
    Commit { operations: (0..count).map(operation).collect() }
}

/// etcd dies and comes back while an engine follows it: writes fail meanwhile, nothing is missed afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_etcd_is_survived() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let way = Way::to(&server).await;
    let engine = connect(&way.endpoint).await;
    let mut events = engine.subscribe("/registry/".into(), engine.newest().await.unwrap().revision()).await.unwrap();
    let before = engine.commit(put("a", Condition::Any, "1")).await.unwrap().revision;
    assert_eq!(events.next().await.unwrap().revision, before);

    way.cut();
    drop(server);
    let lost = engine.commit(put("a", Condition::Any, "lost")).await;
    // Depends on whether the connection's end was noticed before the request went out.
    assert!(matches!(lost, Err(CommitError::OutcomeUnknown { .. } | CommitError::Unreachable { .. })), "{lost:?}");
    let unread = engine.newest().await.map(|_| ());
    assert!(matches!(unread, Err(ReadError::Unreachable { .. })), "{unread:?}");
    assert_eq!(engine.snapshot().get("/registry/a").unwrap().version, before, "memory stays");

    let server = start_plain(&data).unwrap();
    way.lead(&server);
    Stranger::connect(&server).await.put(b"/registry/a", "2").await;
    // Told by the watch that the engine has opened again by itself.
    let batch = events.next().await.unwrap();
    assert_eq!((batch.revision, &*batch.events[0].current.as_ref().unwrap().value), (before + 1, &b"2"[..]));
    let after = engine.commit(put("a", Condition::Version(before + 1), "3")).await.unwrap().revision;
    assert_eq!(engine.newest().await.unwrap().revision(), after);
}

/// What etcd has compacted while nobody followed is listed anew, and subscribers are told that they missed something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_ends_subscriptions() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let way = Way::to(&server).await;
    let engine = connect(&way.endpoint).await;
    let first = engine.commit(put("a", Condition::Any, "1")).await.unwrap().revision;
    engine.commit(put("b", Condition::Any, "1")).await.unwrap();
    let begin = engine.newest().await.unwrap().revision();
    let mut events = engine.subscribe("/registry/".into(), begin).await.unwrap();

    way.cut();
    let mut stranger = Stranger::connect(&server).await;
    for value in ["2", "3", "4"] {
        stranger.put(b"/registry/a", value).await;
    }
    stranger.compact(begin + 3).await;
    way.lead(&server);

    assert_eq!(events.next().await, Err(SubscriptionError::Lagged { after: begin, oldest: begin + 3 }));
    let snapshot = engine.newest().await.unwrap();
    let entry = snapshot.get("/registry/a").unwrap();
    assert_eq!((&*entry.value, entry.version, entry.create_revision), (&b"4"[..], begin + 3, first));
    assert_eq!(snapshot.len(), 2);
}

/// A delete at the very revision to which etcd compacts is not told to a watch that begins there, by older ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_is_compacted_to_is_not_missed() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let way = Way::to(&server).await;
    let engine = connect(&way.endpoint).await;
    let begin = engine.commit(put("a", Condition::Any, "1")).await.unwrap().revision;

    way.cut();
    let mut stranger = Stranger::connect(&server).await;
    stranger.delete(b"/registry/a").await;
    stranger.put(b"/registry/b", "1").await;
    stranger.compact(begin + 1).await;
    way.lead(&server);

    let newest = async {
        loop {
            match engine.newest().await {
                Err(ReadError::Unreachable { .. }) => {}
                newest => return newest,
            }
        }
    };
    let snapshot = tokio::time::timeout(PATIENCE, newest).await.unwrap().unwrap();
    assert_eq!((snapshot.revision(), snapshot.len()), (begin + 2, 1));
    assert!(snapshot.get("/registry/a").is_none());
}

/// What lives for a while is under a lease, which many share; the rest is not, also in one commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lives_for_a_while_is_under_a_lease() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let plain = Security::PlainLoopback(PlainLoopback::for_tests());
    let options = Options {
        catalog: Arc::new(Events(Duration::from_secs(1))),
        ..options(std::slice::from_ref(&server.endpoint), plain)
    };
    let engine = Etcd::connect(options).await.unwrap();
    for name in ["events/a", "events/b", "pods/a"] {
        engine.commit(put(name, Condition::Absent, "1")).await.unwrap();
    }
    let both = ["events/c", "pods/b"].map(|name| put(name, Condition::Absent, "1").operations).concat();
    engine.commit(both.into()).await.unwrap();
    let mut stranger = Stranger::connect(&server).await;
    let leases = stranger.leases_of(b"/registry/").await;
    let of = |name: &str| leases.iter().find(|(key, _)| key == &format!("/registry/{name}")).unwrap().1;
    assert_ne!(of("events/a"), 0);
    assert_eq!((of("events/b"), of("events/c")), (of("events/a"), of("events/a")));
    assert_eq!((of("pods/a"), of("pods/b")), (0, 0));
    // etcd removes what was under it, as anybody's deletion.
    let mut events = engine.subscribe("/registry/".into(), engine.newest().await.unwrap().revision()).await.unwrap();
    stranger.revoke(of("events/a")).await;
    assert_eq!(events.next().await.unwrap().events.len(), 3);
    assert_eq!(engine.newest().await.unwrap().len(), 2);
}

/// Seals for a place under a numbered key; older keys open. Which keys it has changes.
#[derive(Default)]
struct Toy {
    newest: AtomicU8,
    oldest: AtomicU8,
    /// Can be fetched, and then is the oldest.
    far: AtomicU8,
}

impl Toy {
    fn with(newest: u8, oldest: u8) -> Arc<Toy> {
        Arc::new(Toy { newest: newest.into(), oldest: oldest.into(), far: u8::MAX.into() })
    }
}

impl Sealing for Toy {
    fn seal(&self, key: &str, plain: &Bytes) -> Result<Bytes, Source> {
        let number = self.newest.load(Ordering::SeqCst);
        let turned: Vec<u8> = plain.iter().map(|byte| byte ^ 0x5a).collect();
        Ok([&[number], key.as_bytes(), b"\0", &turned].concat().into())
    }

    fn open(&self, key: &str, kept: &Bytes) -> Result<Opened, Source> {
        let (number, rest) = kept.split_first().ok_or("nothing")?;
        if *number < self.oldest.load(Ordering::SeqCst) {
            return Err("no such key".into());
        }
        let turned = rest.strip_prefix(key.as_bytes()).and_then(|rest| rest.strip_prefix(b"\0")).ok_or("moved")?;
        let plain: Vec<u8> = turned.iter().map(|byte| byte ^ 0x5a).collect();
        Ok(Opened { plain: plain.into(), is_stale: *number != self.newest.load(Ordering::SeqCst) })
    }

    fn fetch<'a>(&'a self, _key: &'a str, _kept: &'a Bytes) -> BoxFuture<'a, bool> {
        let far = self.far.load(Ordering::SeqCst);
        self.oldest.fetch_min(far, Ordering::SeqCst);
        Box::pin(std::future::ready(far < u8::MAX))
    }
}

/// More than are tried at once cannot be opened: nothing else has to wait for them for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_keeps_nothing_else_from_being_opened() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    Elsewhere::fill(&connect(&server.endpoint).await).await;
    let sealing = Arc::new(Elsewhere::default());
    let engine = connect_sealing(&server, sealing.clone()).await;
    sealing.check(&engine).await;
}

async fn connect_sealing(server: &Server, sealing: Arc<impl Sealing>) -> Etcd {
    let plain = Security::PlainLoopback(PlainLoopback::for_tests());
    Etcd::connect(Options { sealing, ..options(std::slice::from_ref(&server.endpoint), plain) }).await.unwrap()
}

/// Values are sealed in etcd and nowhere else, for their place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_sealed_in_etcd() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let engine = connect_sealing(&server, Toy::with(1, 1)).await;
    let first = engine.commit(put("a", Condition::Absent, "secret")).await.unwrap().revision;
    let unsealed = connect(&server.endpoint).await;
    let held = unsealed.snapshot().get("/registry/a").unwrap().value.clone();
    assert!(held.starts_with(b"\x01/registry/a\0") && !held.ends_with(b"secret"));
    assert_eq!(&*engine.newest().await.unwrap().get("/registry/a").unwrap().value, b"secret");
    let conflict = engine.commit(put("a", Condition::Absent, "2")).await;
    let Err(CommitError::Conflict { current: Some(current), .. }) = conflict else { panic!("{conflict:?}") };
    assert_eq!((&*current.value, current.version), (&b"secret"[..], first));
    // In another place it is no value.
    let moved = Operation { key: "/registry/b".into(), condition: Condition::Any, change: Change::Put(held) };
    unsealed.commit(vec![moved].into()).await.unwrap();
    let snapshot = engine.newest().await.unwrap();
    assert!(snapshot.get("/registry/b").unwrap().index().is_unreadable());
    assert!(!snapshot.get("/registry/a").unwrap().index().is_unreadable());
}

/// What could not be opened is opened in its place, once its key is there, and nobody is told of a change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_is_opened_later() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let writer = connect_sealing(&server, Toy::with(1, 1)).await;
    let version = writer.commit(put("a", Condition::Absent, "1")).await.unwrap().revision;
    let toy = Toy::with(2, 2);
    let engine = connect_sealing(&server, toy.clone()).await;
    let revision = engine.newest().await.unwrap().revision();
    let mut events = engine.subscribe("/registry/".into(), revision).await.unwrap();
    let is_unreadable = || engine.snapshot().get("/registry/a").unwrap().index().is_unreadable();
    assert!(is_unreadable());
    assert_eq!((engine.reopen().await.unwrap(), is_unreadable()), (1, true));
    toy.oldest.store(1, Ordering::SeqCst);
    assert_eq!((engine.reopen().await.unwrap(), is_unreadable()), (0, false));
    let snapshot = engine.newest().await.unwrap();
    let entry = snapshot.get("/registry/a").unwrap();
    assert_eq!((&*entry.value, entry.version, snapshot.revision()), (&b"1"[..], version, revision));
    assert_eq!(engine.volume("/registry/").bytes, snapshot.bytes(), "counted as what it is now");
    let next = engine.commit(put("b", Condition::Absent, "1")).await.unwrap().revision;
    assert_eq!(events.next().await.unwrap().revision, next, "no event but that of the next commit");
    // A key that is far away is fetched when it is met.
    toy.oldest.store(2, Ordering::SeqCst);
    toy.far.store(1, Ordering::SeqCst);
    writer.commit(put("c", Condition::Absent, "3")).await.unwrap();
    assert_eq!(&*engine.newest().await.unwrap().get("/registry/c").unwrap().value, b"3");
}

/// With a new key everything is written anew, by whoever is first, and leases stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stale_is_written_anew() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let toy = Toy::with(1, 1);
    let plain = Security::PlainLoopback(PlainLoopback::for_tests());
    let catalog = Arc::new(Events(Duration::from_secs(1)));
    let options = Options { catalog, sealing: toy.clone(), ..options(std::slice::from_ref(&server.endpoint), plain) };
    let engine = Etcd::connect(options).await.unwrap();
    for name in ["a", "b", "events/c"] {
        engine.commit(put(name, Condition::Absent, "1")).await.unwrap();
    }
    assert_eq!(engine.reseal().await.unwrap(), Resealed::default());
    let mut stranger = Stranger::connect(&server).await;
    let leases = stranger.leases_of(b"/registry/").await;
    stranger.put(b"/registry/nobodys", "x").await;
    toy.newest.store(2, Ordering::SeqCst);
    assert_eq!(engine.reseal().await.unwrap(), Resealed { rewritten: 3, unopened: 1 });
    assert_eq!(engine.reseal().await.unwrap(), Resealed { rewritten: 0, unopened: 1 });
    let again = stranger.leases_of(b"/registry/").await;
    assert!(leases.iter().all(|lease| again.contains(lease)), "{leases:?} {again:?}");
    toy.oldest.store(2, Ordering::SeqCst);
    let fresh = connect_sealing(&server, toy).await;
    for name in ["a", "b", "events/c"] {
        assert_eq!(&*fresh.snapshot().get(&format!("/registry/{name}")).unwrap().value, b"1", "{name}");
    }
}

/// Rounds of compaction are shared by all servers, and what every one of them has followed is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_compacted_in_rounds() {
    let data = directory();
    let Some(server) = start_plain(&data) else { return };
    let mut stranger = Stranger::connect(&server).await;
    let mut engines = Vec::new();
    for _ in 0..3 {
        let plain = Security::PlainLoopback(PlainLoopback::for_tests());
        let compaction_interval = Some(Duration::from_millis(20));
        let options = Options { compaction_interval, ..options(std::slice::from_ref(&server.endpoint), plain) };
        engines.push(Etcd::connect(options).await.unwrap());
    }
    let first = engines[0].commit(put("a", Condition::Any, "1")).await.unwrap().revision;
    let mut last = first;
    while stranger.is_readable_at(first).await {
        last = engines[1].commit(put("a", Condition::Any, "2")).await.unwrap().revision;
    }
    assert_eq!(engines[2].newest().await.unwrap().get("/registry/a").unwrap().version, last);
}

/// An etcd that goes back behind what was told of it is not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_was_restored_is_noticed() {
    let (data, older) = (directory(), directory());
    let Some(server) = start_plain(&data) else { return };
    let way = Way::to(&server).await;
    let engine = connect(&way.endpoint).await;
    engine.commit(put("a", Condition::Absent, "1")).await.unwrap();
    engine.newest().await.unwrap();
    way.cut();
    let restored = start_plain(&older).unwrap();
    way.lead(&restored);
    // The connection may have to be noticed as lost first.
    let said = async {
        loop {
            let said =
                engine.newest().await.map(|_| ()).map_or_else(|error| format!("{error:?}"), |()| "read".to_owned());
            if said == "read" || said.contains("was it restored?") {
                return said;
            }
        }
    };
    let said = tokio::time::timeout(PATIENCE, said).await.unwrap();
    assert!(said.contains("was it restored?"), "{said}");
}

/// A9: etcd is spoken to with mutual TLS, and each side turns away who cannot prove itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_mutual_tls() {
    let Some(program) = program() else { return };
    let files = tempfile::tempdir().unwrap();
    let ca = authority("etcd-ca");
    let (server_certificate, server_key) = issue(&ca, "etcd", ExtendedKeyUsagePurpose::ServerAuth);
    let write = |name: &str, text: &str| {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_string()
    };
    let arguments = [
        format!("--cert-file={}", write("server.crt", &server_certificate)),
        format!("--key-file={}", write("server.key", &server_key)),
        format!("--trusted-ca-file={}", write("ca.crt", &ca.pem())),
        "--client-cert-auth".to_string(),
    ];
    let data = directory();
    let server = start(&program, data.path(), "https", &arguments);
    let attempt = async |ca: &str, (certificate, key): (String, String)| {
        let tls = MutualTls { ca: ca.into(), certificate: certificate.into(), key: key.into() };
        let endpoints = std::slice::from_ref(&server.endpoint);
        Etcd::connect(options(endpoints, Security::MutualTls(tls))).await
    };
    let client = || issue(&ca, "apiserver", ExtendedKeyUsagePurpose::ClientAuth);
    let engine = attempt(&ca.pem(), client()).await.unwrap();
    let revision = engine.commit(put("a", Condition::Absent, "1")).await.unwrap().revision;
    assert_eq!(engine.newest().await.unwrap().revision(), revision);

    let stranger = authority("another-ca");
    let refused = attempt(&ca.pem(), issue(&stranger, "apiserver", ExtendedKeyUsagePurpose::ClientAuth)).await;
    assert!(matches!(refused, Err(ConnectError::ListFailed { .. })), "a stranger's certificate was accepted");
    let refused = attempt(&stranger.pem(), client()).await;
    assert!(matches!(refused, Err(ConnectError::Unverified { .. })), "an unverified etcd was accepted");
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for 127.0.0.1 and its key, as PEM.
fn issue(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_string(), "127.0.0.1".to_string()]).unwrap();
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, ca).unwrap().pem(), key.serialize_pem())
}
