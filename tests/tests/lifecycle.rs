//! From the first start to the end: what is made, who may read it, what a second start finds, how requests in flight end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis_tests::build::program;
use portcullis_tests::program::{Server, issue};
use portcullis_tests::session::{Asking, Connector, JSON, Protocol};
use portcullis_tests::watch::{Form, WatchStream};
use serde_json::json;

/// How often, and how long apart, it is looked whether memory was given back.
const MEMORY_LOOKS: usize = 600;
const MEMORY_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// All files under a directory with their modes.
fn files(directory: &Path) -> Vec<(std::path::PathBuf, u32)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                open.push(path);
            } else {
                found.push((path, metadata.permissions().mode() & 0o7777));
            }
        }
    }
    found
}

fn refused(data: &Path) -> String {
    let started = Server::start_with(program(), data, &[]);
    format!("{:#}", started.err().expect("a refused start"))
}

#[test]
fn the_first_start_says_what_to_do_next() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let url = format!("https://{}", server.address());
    assert!(server.said.contains("ca.crt (new)") && server.said.contains(&url), "{}", server.said);
    let mut next = String::new();
    while !next.contains("kubectl get namespaces") {
        let line = server.next_line();
        assert!(!line.is_empty(), "{next}");
        next.push_str(&line);
    }
    assert!(next.contains(&format!("export KUBECONFIG={}", server.kubeconfig().display())), "{next}");
}

/// What a start used of the program does not stay in memory.
#[test]
fn an_idle_server_gives_its_program_back() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let given_back = || {
        let peak = server.memory_kib("VmHWM").unwrap() - server.memory_kib("RssAnon").unwrap();
        let now = server.memory_kib("RssFile").unwrap();
        (now * 2 <= peak, peak, now)
    };
    let mut seen = given_back();
    for _ in 0..MEMORY_LOOKS {
        if seen.0 {
            break;
        }
        std::thread::sleep(MEMORY_LOOK_INTERVAL);
        seen = given_back();
    }
    assert!(seen.0, "{} KiB of files in memory, {} at most before", seen.2, seen.1);
    assert_eq!(server.admin().get("/api/v1/namespaces").status, 200);
}

#[test]
fn a15_only_certificates_can_be_read_by_others() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    server.admin().get("/api/v1/namespaces");
    let found = files(data.path());
    for name in ["pki/ca.key", "pki/etcd/ca.key", "pki/front-proxy-ca.key", "pki/apiserver.key", "admin.kubeconfig"] {
        assert!(found.contains(&(data.path().join(name), 0o600)), "{name}: {found:?}");
    }
    for (path, mode) in found {
        // And the key that only verifies tokens.
        let open = path.extension().is_some_and(|ending| ending == "crt" || ending == "pub");
        assert_eq!(mode, if open { 0o644 } else { 0o600 }, "{}", path.display());
    }
}

#[test]
fn a_second_start_is_the_same_cluster() {
    let data = tempfile::tempdir().unwrap();
    let authority = || fs::read_to_string(data.path().join("pki/ca.crt")).unwrap();
    let first = Server::start(data.path());
    let (before, uid) =
        (authority(), first.admin().get("/api/v1/namespaces/kube-system").json()["metadata"]["uid"].clone());
    first.signal(Signal::SIGTERM);
    let (status, _, log) = first.ended();
    assert!(status.success(), "{log}");
    let second = Server::start(data.path());
    assert!(!second.said.contains("(new)"), "{}", second.said);
    assert_eq!(authority(), before);
    assert!(uid.is_string());
    assert_eq!(second.admin().get("/api/v1/namespaces/kube-system").json()["metadata"]["uid"], uid);
}

/// What objects say of themselves is read after the start (docs/decisions/0003), and nobody can tell: the first answers have what the last
/// ones of the server before had, by label and by field.
#[test]
fn the_first_lists_after_a_start_are_whole() {
    const OBJECTS: usize = 400;
    const GROUPS: usize = 5;
    let path = "/api/v1/namespaces/default/secrets";
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let admin = server.admin();
    for number in 0..OBJECTS {
        let labels = json!({"group": format!("g{}", number % GROUPS)});
        let metadata = json!({"name": format!("s-{number:03}"), "labels": labels});
        let kind = if number % 2 == 0 { "even/one" } else { "Opaque" };
        let body = json!({"metadata": metadata, "type": kind, "stringData": {"filler": "x".repeat(5000)}});
        assert_eq!(admin.post(path, &body).status, 201);
    }
    let queries = [
        "?labelSelector=group%3Dg3",
        "?fieldSelector=type%3Deven%2Fone&labelSelector=group+in+(g1,g2)",
        "?labelSelector=group%3Dnone",
        "?labelSelector=group%3Dg0&limit=7",
        "",
    ];
    let lists = |server: &Server| {
        let admin = server.admin();
        queries.map(|query| {
            let mut list = admin.get(&format!("{path}{query}")).json();
            // How a list goes on names the version that it is of.
            list["metadata"] = json!({"goes on": list["metadata"]["continue"].is_string()});
            list
        })
    };
    let before = lists(&server);
    assert_eq!(before.each_ref().map(|list| list["items"].as_array().unwrap().len()), [80, 80, 0, 7, OBJECTS]);
    server.stop();
    let server = Server::start(data.path());
    assert!(lists(&server) == before, "other lists than before the start");
}

#[test]
fn what_every_cluster_has_is_there_from_the_first_answer() {
    let data = tempfile::tempdir().unwrap();
    let program = program();
    let server = Server::start_with(program, data.path(), &["--service-cluster-ip-range", "10.7.0.0/24"]).unwrap();
    for path in [
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/kube-system",
        "/api/v1/namespaces/kube-public",
        "/api/v1/namespaces/kube-node-lease",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
    ] {
        assert_eq!(server.admin().get(path).status, 200, "{path}");
    }
    let service = server.admin().get("/api/v1/namespaces/default/services/kubernetes").json();
    assert_eq!(service["spec"]["clusterIP"], "10.7.0.1");
    let range = server.admin().get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes").json();
    assert_eq!(range["spec"]["cidrs"], json!(["10.7.0.0/24"]));
}

#[test]
fn certificates_can_be_issued_while_the_server_runs() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let check = |user: &str, groups: &[&str], status: u16| {
        let prefix = data.path().join(user.replace(':', "-"));
        issue(program(), data.path(), user, groups, &prefix).unwrap();
        assert_eq!(server.client(&prefix).get("/api/v1/namespaces").status, status, "{user} {groups:?}");
    };
    check("root", &["system:masters"], 200);
    check("root-too", &["harbor", "system:masters"], 200);
    check("ana", &["harbor"], 403);
    check("bob", &[], 403);
}

#[test]
fn a_data_directory_in_use_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let said = refused(data.path());
    assert!(said.contains("in use") && said.contains(&server.id().to_string()), "{said}");
    drop(server);
    Server::start(data.path());
}

#[test]
fn a_data_directory_of_a_newer_format_is_refused_and_left_alone() {
    let data = tempfile::tempdir().unwrap();
    drop(Server::start(data.path()));
    let file = data.path().join("store/store.db");
    let change = |value: u32| {
        let store = rusqlite::Connection::open(&file).unwrap();
        let before: u32 =
            store.query_row("SELECT value FROM meta WHERE name = 'format'", [], |row| row.get(0)).unwrap();
        let changed = store.execute("UPDATE meta SET value = ?1 WHERE name = 'format'", [value]).unwrap();
        assert_eq!(changed, 1);
        before
    };
    let own = change(1_000_000);
    let said = refused(data.path());
    assert!(said.contains("format 1000000"), "{said}");
    change(own);
    Server::start(data.path());
}

#[test]
fn a_spoilt_key_is_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    drop(Server::start(data.path()));
    let key = data.path().join("pki/ca.key");
    fs::write(&key, "not a key").unwrap();
    let said = refused(data.path());
    assert!(said.contains("pki/ca.key"), "{said}");
    assert_eq!(fs::read_to_string(&key).unwrap(), "not a key", "nothing takes the place of an authority's key");
}

#[test]
fn a27_upstream_defaults_are_logged_at_start() {
    let data = tempfile::tempdir().unwrap();
    let log = |arguments: &[&str]| {
        let server = Server::start_with(program(), data.path(), arguments).unwrap();
        server.signal(Signal::SIGTERM);
        server.ended().2
    };
    let (locked, upstream) = (log(&[]), log(&["--defaults", "upstream"]));
    let warned = |log: &str| log.lines().any(|line| line.contains("WARN") && line.contains("upstream"));
    assert!(!warned(&locked) && warned(&upstream), "{locked}{upstream}");
}

/// A configuration map whose creation has begun: the server waits for its content.
fn begun(server: &Server) -> (portcullis_tests::client::Open, String) {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}).to_string();
    (server.admin().open_post("/api/v1/namespaces/default/configmaps", body.len()).unwrap(), body)
}

#[test]
fn requests_in_flight_are_answered_before_the_end() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let data = tempfile::tempdir().unwrap();
        let mut server = Server::start(data.path());
        let (mut request, body) = begun(&server);
        server.signal(signal);
        while !server.next_line().contains("stopping") {}
        request.write(&body).unwrap();
        let answer = request.answer().unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
        let (status, _, log) = server.ended();
        assert!(status.success(), "{signal}: {log}");
    }
}

#[test]
fn readiness_ends_first_while_everything_is_still_served() {
    let data = tempfile::tempdir().unwrap();
    // Longer than the test: it is over when everything was seen.
    let mut server = Server::start_with(program(), data.path(), &["--shutdown-delay-duration", "10m"]).unwrap();
    let (mut request, body) = begun(&server);
    assert_eq!(server.admin().get("/readyz").status, 200);
    server.signal(Signal::SIGTERM);
    while !server.next_line().contains("stopping") {}
    let ready = server.admin().get("/readyz");
    assert_eq!(ready.status, 500);
    assert!(ready.text().contains("[-]shutdown failed"), "{}", ready.text());
    assert_eq!(server.admin().get("/readyz/shutdown").status, 500);
    assert_eq!(server.admin().get("/readyz?exclude=shutdown").status, 200);
    assert_eq!(server.admin().get("/livez").status, 200);
    assert_eq!(server.stranger().get("/healthz").status, 200);
    request.write(&body).unwrap();
    assert_eq!(request.answer().unwrap().status, 201);
    assert_eq!(server.admin().get("/api/v1/namespaces/default/configmaps/late").status, 200);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().0.code(), Some(143));
}

#[test]
fn one_connection_sees_upstreams_order_of_the_end() {
    const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=0";
    let data = tempfile::tempdir().unwrap();
    let arguments = ["--shutdown-delay-duration", "3s", "--shutdown-watch-termination-grace-period", "100ms"];
    let mut server = Server::start_with(program(), data.path(), &arguments).unwrap();
    let connector = Connector::of(&server.admin());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut session = connector.open(Protocol::Http2).await.unwrap();
        let watch = session.open(WATCH, Asking::GET).await.unwrap();
        let mut watch = WatchStream::new(watch.into_body(), Form::Json);
        server.signal(Signal::SIGTERM);
        while !server.next_line().contains("stopping") {}
        assert_eq!(session.open("/readyz", Asking::GET).await.unwrap().status(), 500);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}});
        let asking = Asking { method: "POST", accept: JSON, content: Some((JSON, &object)) };
        let (status, answer) = session.ask("/api/v1/namespaces/default/configmaps", asking).await.unwrap();
        assert_eq!(status, 201, "{answer}");
        // What happens in the delay is still told; then the watch ends as one that is over, and the connection takes no more.
        let mut told = Vec::new();
        while let Some(event) = watch.next().await.unwrap() {
            told.push(event.object["metadata"]["name"].clone());
        }
        assert_eq!(told.last(), Some(&json!("late")), "{told:?}");
        drop(watch);
        while session.open("/livez", Asking::GET).await.is_ok() {}
    });
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let (_request, _) = begun(&server);
    server.signal(Signal::SIGINT);
    while !server.next_line().contains("stopping") {}
    server.signal(Signal::SIGINT);
    let (status, _, log) = server.ended();
    assert_eq!(status.code(), Some(130), "{log}");
}
