//! The engine over etcd, against the `etcd` program of this machine: the suite, mutual TLS, and what other clients of
//! the same etcd do.
//!
//! Without that program the tests say so and pass, except in CI, where its absence is a failure.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Once},
};

use portcullis_store::{
    Change, Commit, CommitError, Condition, Engine, Opaque, Operation, ReadError, SubscriptionError,
    budget::LIMIT_BYTES_DEFAULT,
    etcd::{ConnectError, Etcd, MutualTls, PlainLoopback, Security},
    suite,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::sync::watch;

/// Another program may take a port between our choice and etcd's start.
const START_ATTEMPTS: usize = 5;
/// Says that etcd takes requests.
const READY_LINE: &str = "ready to serve client requests";

/// An etcd of our own, ended with the test.
struct Server {
    process: Child,
    endpoint: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where etcd is, or nothing and a line that says so.
fn program() -> Option<PathBuf> {
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

fn free_port() -> u16 {
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

fn start_plain(data: &tempfile::TempDir) -> Option<Server> {
    Some(start(&program()?, data.path(), "http", &[]))
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

async fn connect(endpoint: &str) -> Etcd {
    let security = Security::PlainLoopback(PlainLoopback::for_tests());
    Etcd::connect(&[endpoint.to_string()], security, Arc::new(Opaque), LIMIT_BYTES_DEFAULT).await.unwrap()
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
struct AnyResponse {}

impl Stranger {
    async fn connect(server: &Server) -> Stranger {
        let endpoint = tonic::transport::Endpoint::from_shared(server.endpoint.clone()).unwrap();
        Stranger(tonic::client::Grpc::new(endpoint.connect().await.unwrap()))
    }

    async fn put(&mut self, key: &[u8], value: &str) {
        self.call("/etcdserverpb.KV/Put", PutRequest { key: key.to_vec(), value: value.into() }).await;
    }

    async fn compact(&mut self, revision: u64) {
        self.call("/etcdserverpb.KV/Compact", CompactionRequest { revision: revision as i64 }).await;
    }

    async fn call<Q: prost::Message + 'static>(&mut self, path: &'static str, request: Q) {
        self.0.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<Q, AnyResponse>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        self.0.unary(tonic::Request::new(request), path, codec).await.unwrap();
    }
}

fn put(name: &str, condition: Condition, value: &str) -> Commit {
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
        Etcd::connect(endpoints, Security::MutualTls(tls), Arc::new(Opaque), LIMIT_BYTES_DEFAULT).await
    };
    let client = || issue(&ca, "apiserver", ExtendedKeyUsagePurpose::ClientAuth);
    let engine = attempt(&ca.pem(), client()).await.unwrap();
    let revision = engine.commit(put("a", Condition::Absent, "1")).await.unwrap().revision;
    assert_eq!(engine.newest().await.unwrap().revision(), revision);

    let stranger = authority("another-ca");
    let refused = attempt(&ca.pem(), issue(&stranger, "apiserver", ExtendedKeyUsagePurpose::ClientAuth)).await;
    assert!(matches!(refused, Err(ConnectError::ListFailed { .. })), "a stranger's certificate was accepted");
    let refused = attempt(&stranger.pem(), client()).await;
    assert!(matches!(refused, Err(ConnectError::ListFailed { .. })), "an unverified etcd was accepted");
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
