//! `up --etcd`: an etcd that is started for the user talks to the API server alone, comes back when it dies, and never outlives its
//! server (A9, A10, L3, L4, L5, P10).

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::build::program;
use portcullis_tests::client::{Answer, Client, Credentials};
use portcullis_tests::credentials::{Authority, Validity};
use portcullis_tests::etcd;
use portcullis_tests::program::{Server, port_to_keep};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Attempts at what will be so soon; each takes a request's time.
const TRIES_MAX: usize = 100_000;

/// A cluster in an etcd of its own.
struct Local {
    server: Server,
    ports: [u16; 3],
    directory: tempfile::TempDir,
}

fn arguments(ports: [u16; 3]) -> Vec<String> {
    let [client, peer, metrics] = ports;
    [
        "--etcd".to_owned(),
        format!("--etcd-client-port={client}"),
        format!("--etcd-peer-port={peer}"),
        format!("--etcd-metrics-port={metrics}"),
    ]
    .to_vec()
}

fn start(program: &Path, data_dir: &Path, arguments: &[String]) -> Result<Server, String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::start_with(program, data_dir, &arguments).map_err(|error| format!("{error:#}"))
}

impl Local {
    fn start(more: &[&str]) -> Option<Self> {
        Self::start_by(program(), more)
    }

    fn start_by(program: &Path, more: &[&str]) -> Option<Self> {
        etcd::is_here().then(|| {
            let (directory, ports) = (tempfile::tempdir().unwrap(), [(); 3].map(|()| port_to_keep()));
            let more: Vec<String> = more.iter().map(|argument| (*argument).to_owned()).collect();
            let arguments = [arguments(ports), more].concat();
            let server = start(program, &directory.path().join("data"), &arguments).unwrap();
            Self { server, ports, directory }
        })
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn address(&self, port: usize) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[port]).into()
    }

    fn credentials(&self, name: &str) -> Credentials {
        Credentials::read(&self.data_dir().join("pki").join(name)).unwrap()
    }

    /// What an HTTP request over TLS is told, or what ended the handshake.
    fn ask(&self, port: usize, path: &str, credentials: Option<Credentials>) -> Result<Answer, String> {
        let client = Client::new(self.address(port), &self.data_dir().join("pki/etcd/ca.crt"), credentials).unwrap();
        client.send("GET", path, None).map_err(|error| format!("{error:#}"))
    }

    /// The etcd that runs for it.
    fn etcd(&self) -> i32 {
        self.running_etcd().expect("an etcd")
    }

    fn running_etcd(&self) -> Option<i32> {
        let ids = std::fs::read_dir("/proc").unwrap().flatten();
        let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        ids.filter(|id| parent_of_running(*id) == i32::try_from(self.server.id()).ok())
            .find(|id| command_line(*id).iter().any(|word| word.starts_with("--listen-client-urls")))
    }

    fn start_again(&self, ports: [u16; 3]) -> Result<Server, String> {
        start(program(), &self.data_dir(), &arguments(ports))
    }
}

/// The parent of a process that has not ended.
fn parent_of_running(id: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = status.rsplit(") ").next()?.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!["Z", "X"].contains(&state)).then_some(parent)
}

fn command_line(id: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The addresses on which a process listens.
fn listening(id: i32) -> BTreeSet<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().flatten();
    let sockets: BTreeSet<String> = descriptors
        .filter_map(|entry| {
            std::fs::read_link(entry.path()).ok()?.to_str()?.strip_prefix("socket:[").map(str::to_owned)
        })
        .map(|inode| inode.trim_end_matches(']').to_owned())
        .collect();
    let mut found = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
        for row in table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            // 0A is a socket that listens.
            if row[3] == "0A" && sockets.contains(row[9]) {
                found.insert(row[1].to_owned());
            }
        }
    }
    found
}

/// Whatever the environment says, A10: the authority is its own, clients and peers are verified, nobody but the API server gets a handshake.
#[test]
fn a10_l3_l4_p10_the_etcd_that_is_started_talks_to_the_api_server_alone() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("portcullis");
    let loose = "ETCD_CLIENT_CERT_AUTH=false ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:23799 ETCD_AUTO_TLS=true ETCD_ENABLE_V2=true \
                 ETCD_ENABLE_PPROF=true ETCD_INITIAL_CLUSTER_TOKEN=x ETCD_CONFIG_FILE=/nowhere";
    std::fs::write(&script, format!("#!/bin/sh\nexport {loose}\nexec {} \"$@\"\n", program().display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    for profile in ["locked", "upstream"] {
        let Some(local) = Local::start_by(&script, &["--defaults", profile]) else { return };
        let etcd = local.etcd();
        let words = command_line(etcd);
        for word in
            ["--client-cert-auth=true", "--peer-client-cert-auth=true", "--auto-tls=false", "--peer-auto-tls=false"]
        {
            assert!(words.iter().any(|given| given == word), "{word} in {words:?}");
        }
        let ca = local.data_dir().join("pki/etcd/ca.crt");
        for flag in ["--trusted-ca-file", "--peer-trusted-ca-file"] {
            assert!(words.contains(&format!("{flag}={}", ca.display())), "{flag} in {words:?}");
        }
        assert!(
            std::fs::read(format!("/proc/{etcd}/environ")).unwrap().iter().all(|byte| *byte == 0),
            "no environment"
        );
        let ports: BTreeSet<_> = local.ports.iter().map(|port| format!("0100007F:{port:04X}")).collect();
        assert_eq!(listening(etcd), ports, "on loopback and nowhere else");
        // Each certificate that there is, and some that nobody has.
        let (stranger, cluster) = (Authority::stranger().unwrap(), Authority::of(&local.data_dir()).unwrap());
        let of = |authority: &Authority| authority.issue("kube-apiserver-etcd-client", None, Validity::Now).unwrap();
        let refused: [(&str, &dyn Fn() -> Option<Credentials>); 7] = [
            ("none", &|| None),
            ("a stranger's", &|| Some(of(&stranger))),
            ("one of the cluster", &|| Some(of(&cluster))),
            ("the administrator's", &|| Some(local.credentials("admin"))),
            ("the API server's for its own clients", &|| Some(local.credentials("apiserver"))),
            ("etcd's own", &|| Some(local.credentials("etcd/server"))),
            ("etcd's own for peers", &|| Some(local.credentials("etcd/peer"))),
        ];
        for (whose, credentials) in refused {
            for (port, path) in [(0, "/health"), (1, "/members")] {
                let error = local.ask(port, path, credentials()).expect_err(whose);
                assert!(error.contains("alert") || error.contains("reset"), "{whose}, port {port}: {error}");
            }
        }
        let own = |port: usize, path: &str| local.ask(port, path, Some(local.credentials("apiserver-etcd-client")));
        let health = own(0, "/health").unwrap();
        assert_eq!((health.status, health.text().as_str()), (200, r#"{"health":"true"}"#), "the API server's own");
        own(1, "/members").expect_err("as a peer not even the API server");
        assert_eq!(own(0, "/v2/keys").unwrap().status, 404, "v2 is off");
        assert_eq!(own(0, "/debug/pprof/").unwrap().status, 404, "profiles are off");
        for port in [0, 1] {
            let answer = plain(local.address(port), "/health");
            assert!(answer.is_empty() || answer.contains(" 400 "), "{answer}");
        }
    }
}

/// What plain HTTP is told.
fn plain(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn l5_the_metrics_port_tells_health_and_metrics_and_nothing_else() {
    let Some(local) = Local::start(&[]) else { return };
    let on_loopback = format!("0100007F:{:04X}", local.ports[2]);
    let own: Vec<_> = listening(local.etcd()).into_iter().filter(|at| at.ends_with(&on_loopback[8..])).collect();
    assert_eq!(own, [on_loopback], "on loopback and nowhere else");
    let check = |path: &str, expected: &str| {
        let answer = plain(local.address(2), path);
        assert!(answer.lines().next().unwrap_or_default().contains(expected), "{path}: {answer}");
    };
    check("/health", " 200 ");
    check("/metrics", " 200 ");
    let others = "/ /version /v2/keys /v2/members /v2/stats/self /v3/kv/range /members /raft /config/local/log /debug/vars \
                  /debug/pprof/ /debug/requests";
    others.split_whitespace().for_each(|path| check(path, " 404 "));
}

/// The server does without huge pages (docs/decisions/0011); what it starts is given what the system gives to everybody.
#[test]
fn huge_pages_are_not_asked_for_and_not_forbidden_to_etcd() {
    let Some(local) = Local::start(&[]) else { return };
    let is_given = |id: u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let given = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
        given.map(|given| given.trim() == "1")
    };
    // A kernel without them says nothing, or no.
    let own = is_given(std::process::id());
    assert_eq!(is_given(local.server.id()), own.map(|_| false));
    assert_eq!(is_given(u32::try_from(local.etcd()).unwrap()), own);
}

#[test]
fn a10_keys_and_data_are_their_owners_alone() {
    let Some(local) = Local::start(&[]) else { return };
    let data_dir = local.data_dir();
    let mode = |path: &str| std::fs::metadata(data_dir.join(path)).unwrap().permissions().mode() & 0o777;
    for directory in ["etcd", "pki/etcd"] {
        assert_eq!(mode(directory), 0o700, "{directory}");
    }
    for key in ["etcd/ca", "etcd/server", "etcd/peer", "apiserver-etcd-client"] {
        assert_eq!(mode(&format!("pki/{key}.key")), 0o600, "{key}");
    }
    let read = |name: &str| std::fs::read(data_dir.join("pki").join(name)).unwrap();
    assert!(read("etcd/ca.crt") != read("ca.crt") && read("etcd/ca.crt") != read("front-proxy-ca.crt"));
}

fn make(admin: &Client, name: &str) -> u16 {
    let object = json!({"metadata": {"name": name}, "data": {"a": "1"}});
    admin.send("POST", CONFIG_MAPS, Some(&object)).map_or(0, |answer| answer.status)
}

fn names(admin: &Client) -> BTreeSet<String> {
    let list = admin.get(CONFIG_MAPS).json();
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(name).collect()
}

/// etcd is killed: it comes back by itself with everything, and nobody has to start anything.
#[test]
fn an_etcd_that_dies_comes_back_with_everything() {
    let Some(local) = Local::start(&[]) else { return };
    let admin = local.server.admin();
    let mut taken = BTreeSet::new();
    for round in 0..3 {
        let name = format!("before-{round}");
        assert_eq!(make(&admin, &name), 201);
        taken.insert(name);
        let etcd = local.etcd();
        kill(Pid::from_raw(etcd), Signal::SIGKILL).unwrap();
        let name = |attempt: usize| format!("after-{round}-{attempt}");
        let attempt = (0..TRIES_MAX).find(|attempt| make(&admin, &name(*attempt)) == 201).expect("it comes back");
        taken.insert(name(attempt));
        assert_ne!(local.etcd(), etcd);
        let there = names(&admin);
        assert!(taken.is_subset(&there), "{taken:?} {there:?}");
    }
}

/// It cannot be started again: the server lives on and says so, tries it ever more seldom, and goes on when it can.
#[test]
fn an_etcd_that_cannot_be_started_again_is_told_and_tried() {
    if !etcd::is_here() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let [copy, away, broken, tries] = ["etcd", "away", "broken", "tries"].map(|name| place.path().join(name));
    let path = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&path).map(|directory| directory.join("etcd"));
    std::fs::copy(found.find(|file| file.is_file()).unwrap(), &copy).unwrap();
    let Some(local) = Local::start(&["--etcd-program", copy.to_str().unwrap()]) else { return };
    let admin = local.server.admin();
    assert_eq!(make(&admin, "before"), 201);
    let script = format!("#!/bin/sh\necho try >> {}\necho it is broken >&2\nexit 1\n", tries.display());
    std::fs::write(&broken, script).unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&copy, &away).unwrap();
    std::fs::rename(&broken, &copy).unwrap();
    kill(Pid::from_raw(local.etcd()), Signal::SIGKILL).unwrap();
    let ready = || admin.get("/readyz");
    assert!((0..TRIES_MAX).any(|_| ready().status != 200), "it says that it is not ready");
    let said = ready().text();
    assert!(said.contains("[-]etcd failed") && !said.contains("[+]etcd ok"), "{said}");
    let refused = admin.post(CONFIG_MAPS, &json!({"metadata": {"name": "meanwhile"}}));
    assert!(refused.status >= 500, "{}", refused.text());
    let tried = || std::fs::read_to_string(&tries).map_or(0, |tries| tries.lines().count());
    assert!((0..TRIES_MAX).any(|_| ready().status != 200 && tried() >= 3), "it is tried again");
    std::fs::rename(&away, &copy).unwrap();
    assert!((0..TRIES_MAX).any(|_| ready().status == 200), "it comes back");
    assert_eq!(make(&admin, "after"), 201);
    assert!(["before", "after"].iter().all(|name| names(&admin).contains(*name)));
    let log = local.server.stop();
    for part in ["etcd ended by itself and is started again", "it is broken", "pause=100ms", "pause=200ms"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

/// The server is killed: no etcd is left, and the next server has everything.
#[test]
fn no_etcd_outlives_its_server() {
    let Some(mut local) = Local::start(&[]) else { return };
    let mut taken = BTreeSet::new();
    for (round, signal) in [Signal::SIGKILL, Signal::SIGTERM].into_iter().enumerate() {
        let name = format!("c-{round}");
        assert_eq!(make(&local.server.admin(), &name), 201);
        taken.insert(name);
        let etcd = local.etcd();
        // On other ports than before: they are no part of what is kept.
        let ports = [(); 3].map(|()| port_to_keep());
        local.server.signal(signal);
        let Local { server, directory, .. } = local;
        let (status, _, log) = server.ended();
        assert_eq!(status.success(), signal == Signal::SIGTERM, "{status}: {log}");
        let is_gone = (0..TRIES_MAX).any(|_| parent_of_running(etcd).is_none());
        assert!(is_gone, "etcd {etcd} lives on");
        if signal == Signal::SIGTERM {
            let mut complaints = log.lines().filter(|line| line.contains(" ERROR ") || line.contains(" WARN "));
            assert!(complaints.all(|line| !line.contains("etcd")), "{log}");
        }
        let server = start(program(), &directory.path().join("data"), &arguments(ports)).unwrap();
        local = Local { server, ports, directory };
        let there = names(&local.server.admin());
        assert!(taken.is_subset(&there), "{taken:?} {there:?}");
    }
}

#[test]
fn what_cannot_be_started_is_refused_by_name() {
    let Some(local) = Local::start(&[]) else { return };
    let ports = || [(); 3].map(|()| port_to_keep());
    let error = local.start_again(ports()).err().unwrap();
    assert!(error.contains("in use by process") && error.contains(&local.server.id().to_string()), "{error}");
    let elsewhere = tempfile::tempdir().unwrap();
    let refused = |arguments: &[String]| start(program(), &elsewhere.path().join("data"), arguments).err().unwrap();
    // The ports of another etcd, and of anything else.
    let error = refused(&arguments(local.ports));
    for (flag, port) in ["--etcd-client-port", "--etcd-peer-port", "--etcd-metrics-port"].iter().zip(local.ports) {
        assert!(error.contains(&format!("{flag} {port}")), "{error}");
    }
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let [client, peer, _] = ports();
    let error = refused(&arguments([client, peer, held.local_addr().unwrap().port()]));
    assert!(error.contains("--etcd-metrics-port"), "{error}");
    let program = |program: &str| [arguments(ports()), vec!["--etcd-program".to_owned(), program.to_owned()]].concat();
    let error = refused(&program("/nowhere/etcd"));
    assert!(error.contains("--etcd-program \"/nowhere/etcd\""), "{error}");
    let error = refused(&program("/bin/true"));
    assert!(error.contains("--etcd-program \"/bin/true\"") && error.contains("is no etcd"), "{error}");
    // Data that etcd cannot read.
    std::fs::create_dir_all(elsewhere.path().join("data/etcd/member/wal")).unwrap();
    std::fs::write(elsewhere.path().join("data/etcd/member/wal/0.wal"), "x").unwrap();
    let error = refused(&arguments(ports()));
    assert!(error.contains("etcd ended at its start"), "{error}");
}
