//! A cluster that is moved from one store to another, backed up while it serves, restored, checked and repaired.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use portcullis_tests::build::program;
use portcullis_tests::client::Client;
use portcullis_tests::etcd::Etcd;
use portcullis_tests::program::Server;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::etcd::{lists, recorded, start};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CANARY: &str = "canary7k3-that-is-moved";

pub(crate) fn store(arguments: &[&str]) -> Output {
    Command::new(program()).arg("store").args(arguments).env_remove("RUST_LOG").stdin(Stdio::null()).output().unwrap()
}

/// How often something is tried that depends on what another process has noticed.
const ATTEMPTS: usize = 100;

/// Runs a command that has to work, and returns what it says.
pub(crate) fn done(arguments: &[&str]) -> String {
    let output = store(arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Runs a command that has to be refused, and returns what it says.
pub(crate) fn refused(arguments: &[&str], parts: &[&str]) {
    let output = store(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    assert!(parts.iter().all(|part| said.contains(part)), "{arguments:?}, {parts:?}: {said}");
}

/// A line of what a command says, without its name.
fn line<'a>(said: &'a str, name: &str) -> &'a str {
    let found = said.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap_or_else(|| panic!("no {name:?} in {said}")).trim()
}

/// The flags of one side of a copy that is an etcd.
pub(crate) fn side(etcd: &Etcd, side: &str) -> Vec<String> {
    let flag = |name: &str, value: String| [format!("--{side}{name}"), value];
    [
        flag("", etcd.endpoints().join(",")),
        flag("-etcd-cafile", etcd.file("ca.crt")),
        flag("-etcd-certfile", etcd.file("client.crt")),
        flag("-etcd-keyfile", etcd.file("client.key")),
    ]
    .concat()
}

pub(crate) fn copy(parts: &[Vec<String>]) -> Vec<String> {
    [&["copy".to_owned()], &parts.concat()[..]].concat()
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

pub(crate) fn path(flag: &str, path: &Path) -> Vec<String> {
    vec![flag.to_owned(), path.display().to_string()]
}

pub(crate) fn end(server: Server) {
    server.signal(Signal::SIGTERM);
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
}

pub(crate) fn made(admin: &Client, path: &str, object: Value) -> Value {
    let answer = admin.post(path, &object);
    assert_eq!(answer.status, 201, "{path}: {}", answer.text());
    answer.json()
}

pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": value}})
}

/// One of everything that is special in a store.
fn populate(admin: &Client) {
    made(admin, SECRETS, json!({"metadata": {"name": "s"}, "stringData": {"password": CANARY}}));
    for number in 0..300 {
        made(admin, CONFIG_MAPS, config_map(&format!("c-{number}"), &"x".repeat(number)));
    }
    let event = json!({
        "metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}, "reason": "Moved", "type": "Normal",
    });
    made(admin, "/api/v1/namespaces/default/events", event);
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP"}]},
    });
    made(admin, "/api/v1/namespaces/default/services", service);
    let pod = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}});
    let deployment = json!({
        "metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": pod},
    });
    made(admin, "/apis/apps/v1/namespaces/default/deployments", deployment);
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {"name": "ships.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "ships", "singular": "ship", "kind": "Ship", "listKind": "ShipList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    made(admin, DEFINITIONS, definition);
}

/// Everything that is served, by list and name, without what numbers it.
fn everything(admin: &Client) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for list in lists(admin) {
        let answer = admin.get(&list);
        assert_eq!(answer.status, 200, "{list}: {}", answer.text());
        for mut item in answer.json()["items"].as_array().into_iter().flatten().cloned() {
            let metadata = item["metadata"].as_object_mut().unwrap();
            metadata.remove("resourceVersion");
            let name = format!("{list} {} {}", metadata.get("namespace").unwrap_or(&Value::Null), metadata["name"]);
            found.insert(name, item);
        }
    }
    found
}

fn is_same(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    let different: Vec<&String> = before
        .keys()
        .chain(after.keys())
        .filter(|name| before.get(*name) != after.get(*name))
        // What a server says of itself when it starts, and of the authority in its data directory.
        .filter(|name| !name.contains("/leases ") && !name.contains("extension-apiserver-authentication"))
        .collect();
    assert!(before.len() > 400 && different.is_empty(), "{} of {}: {different:#?}", different.len(), before.len());
}

#[test]
fn a_cluster_is_moved_to_etcd_and_back() {
    let Some(etcd) = Etcd::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let key = path("--seal-key", &directory.path().join("first.seal/seal-key"));
    let server = start(&first, &[]).unwrap();
    populate(&server.admin());
    let before = everything(&server.admin());
    let version = |server: &Server| -> u64 {
        let metadata = server.admin().get(CONFIG_MAPS).json()["metadata"]["resourceVersion"].clone();
        metadata.as_str().unwrap().parse().unwrap()
    };
    let left_at = version(&server);
    // Nobody may use it meanwhile.
    let to_etcd = copy(&[path("--from", &first), side(&etcd, "to")]);
    refused(&strs(&to_etcd), &["in use by process", &server.id().to_string(), "portcullis store backup"]);
    end(server);
    let there = done(&strs(&to_etcd));
    // Secrets are sealed there, in upstream's format.
    let secret = etcd.value("/registry/secrets/default/s");
    assert!(secret.starts_with(b"k8s:enc:aesgcm:v1:"), "{}", secret.escape_ascii());
    let server = start(&directory.path().join("on-etcd"), &[etcd.arguments(), key.clone()].concat()).unwrap();
    assert!(version(&server) >= left_at, "{} after {left_at}", version(&server));
    is_same(&before, &everything(&server.admin()));
    // Versions from before are gone, and not taken for others.
    let old = server.admin().get(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={}", left_at - 5));
    assert!(old.status == 410 || old.text().contains("\"code\":410"), "{} {}", old.status, old.text());
    let moved_at = version(&server);
    end(server);
    // It holds a cluster now.
    refused(&strs(&to_etcd), &["keys under \"/registry/\""]);
    let back =
        done(&strs(&copy(&[side(&etcd, "from"), path("--to", &second), path("--from-seal-key", Path::new(&key[1]))])));
    assert!(line(&there, "digest").len() == 32 && line(&back, "digest").len() == 32);
    refused(&strs(&copy(&[side(&etcd, "from"), path("--to", &second)])), &["there is a store already"]);
    let server = start(&second, &[]).unwrap();
    assert!(version(&server) >= moved_at);
    is_same(&before, &everything(&server.admin()));
    end(server);
    // From there into a third one, untouched: the same digest.
    let third = directory.path().join("third");
    let checked = |data_dir: &Path| done(&["check", "--data-dir", &data_dir.display().to_string()]);
    let onward = done(&strs(&copy(&[path("--from", &second), path("--to", &third)])));
    let again = done(&strs(&copy(&[path("--from", &third), path("--to", &directory.path().join("fourth"))])));
    assert_eq!(line(&onward, "digest"), line(&again, "digest"));
    assert_eq!(line(&checked(&second), "revision"), line(&checked(&third), "revision"));
}

#[test]
fn a_copy_that_was_broken_off_is_not_served_and_begins_anew() {
    let Some(etcd) = Etcd::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let server = start(&first, &[]).unwrap();
    populate(&server.admin());
    let backup = directory.path().join("backup").display().to_string();
    done(&["backup", "--data-dir", &first.display().to_string(), "--out", &backup]);
    end(server);
    let from_key = path("--from-seal-key", &directory.path().join("first.seal/seal-key"));
    // So many revisions that a copy takes a while, and more than are made by writing.
    let far = directory.path().join("far").display().to_string();
    done(&["restore", "--from", &backup, "--data-dir", &far]);
    refused(
        &strs(&copy(&[path("--from", Path::new(&far)), side(&etcd, "to"), from_key.clone()])),
        &["etcdutl snapshot restore --bump-revision"],
    );
    let data_dir = second.display().to_string();
    done(&["restore", "--from", &backup, "--data-dir", &data_dir, "--bump-revision", "30000"]);
    let arguments = copy(&[
        path("--from", &second),
        side(&etcd, "to"),
        from_key,
        path("--to-seal-key", &directory.path().join("first.seal/seal-key")),
    ]);
    let mut process = Command::new(program()).arg("store").args(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
    let raising = said.into_iter().find(|line| line.contains("raising the revision"));
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(raising.is_some());
    // As if it had been further.
    etcd.put("/registry/configmaps/default/left", b"left");
    let key = path("--seal-key", &directory.path().join("first.seal/seal-key"));
    let on_etcd = [etcd.arguments(), key].concat();
    let error = start(&directory.path().join("on-etcd"), &on_etcd).err().unwrap();
    assert!(error.contains("has not finished") && error.contains("portcullis store copy"), "{error}");
    // It is no source either.
    refused(&strs(&copy(&[side(&etcd, "from"), path("--to", &directory.path().join("third"))])), &["has not finished"]);
    let copied = done(&strs(&arguments));
    let revision: u64 = line(&copied, "revision").split(' ').next().unwrap().parse().unwrap();
    assert!(revision > 30_000, "{copied}");
    assert!(etcd.under("/registry/").iter().all(|(key, _)| !key.ends_with("/left")));
    let server = start(&directory.path().join("on-etcd"), &on_etcd).unwrap();
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/c-299")).status, 200);
    assert_eq!(server.admin().get(&format!("{SECRETS}/s")).status, 200);
}

/// Killed while entries are being written: some are there, and none is served.
#[test]
fn a_copy_that_is_killed_while_it_writes_is_not_served_and_begins_anew() {
    const LARGE: usize = 64;
    let Some(etcd) = Etcd::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let first = directory.path().join("first");
    let server = start(&first, &[]).unwrap();
    // Each is a transaction of its own, and only sixteen are under way at once.
    for number in 0..LARGE {
        made(&server.admin(), CONFIG_MAPS, config_map(&format!("c-{number}"), &"x".repeat(700_000)));
    }
    end(server);
    let arguments = copy(&[path("--from", &first), side(&etcd, "to")]);
    let mut process = Command::new(program()).arg("store").args(&arguments).stderr(Stdio::null()).spawn().unwrap();
    let written = || etcd.count("/registry/configmaps/default/");
    while written() == 0 {
        assert!(process.try_wait().unwrap().is_none(), "it ended before it was killed");
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let there = written();
    assert!((1..LARGE).contains(&there), "{there}");
    let key = path("--seal-key", &directory.path().join("first.seal/seal-key"));
    let on_etcd = [etcd.arguments(), key].concat();
    let error = start(&directory.path().join("on-etcd"), &on_etcd).err().unwrap();
    assert!(error.contains("has not finished") && error.contains("portcullis store copy"), "{error}");
    let copied = done(&strs(&arguments));
    assert!(line(&copied, "copied").ends_with("the same on both sides"), "{copied}");
    assert_eq!(written(), LARGE);
    let server = start(&directory.path().join("on-etcd"), &on_etcd).unwrap();
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/c-63")).status, 200);
}

/// What would do harm, or what was not meant, is refused and leaves nothing.
#[test]
fn what_was_not_meant_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let (first, backup) = (at("first"), at("backup"));
    let server = start(Path::new(&first), &[]).unwrap();
    done(&["backup", "--data-dir", &first, "--out", &backup]);
    // The file of a store in use changes while it is read.
    let (live, process) = (at("first/store/store.db"), format!("process {} has open", server.id()));
    refused(&["restore", "--from", &live, "--data-dir", &at("second")], &["--from", &process, "make a backup"]);
    refused(&["copy", "--from", &live, "--to", &at("second")], &["--from", &process, "Name the data directory"]);
    refused(&["check", "--file", &live], &[&process]);
    // SQLite would take it for its own.
    let inside = at("first/store/store.db-journal");
    refused(&["backup", "--data-dir", &first, "--out", &inside], &["in the directory of the store itself"]);
    end(server);
    let flags = ["--to-etcd-cafile", &backup];
    refused(
        &[&["copy", "--from", &first, "--to", &at("second")][..], &flags].concat(),
        &["--to-etcd-cafile is for an etcd"],
    );
    // A server on such a store would soon have no revisions left.
    for far in [i64::MAX.to_string(), (i64::MAX - 100).to_string(), u64::MAX.to_string()] {
        let to = at("second");
        let arguments = ["restore", "--from", &backup, "--data-dir", &to, "--bump-revision", &far];
        refused(&arguments, &["--bump-revision", "cannot be raised by"]);
    }
    refused(&["restore", "--from", &first, "--data-dir", &at("second")], &["is not a store"]);
    refused(&["restore", "--from", &at("none"), "--data-dir", &at("second")], &["--from", "No such file"]);
    assert!(!Path::new(&at("second/store/store.db")).exists() && !Path::new(&at("second/store/store.db.new")).exists());
    assert!(!Path::new(&inside).exists());
}

/// What upstream's API server left in an etcd, of which the server is still running for all that the copy knows.
#[test]
fn an_upstream_cluster_is_taken_over() {
    let (Some(pairs), Some(etcd), Some(other)) = (recorded(), Etcd::start(), Etcd::start()) else { return };
    for (key, value) in &pairs {
        etcd.put(key, value);
    }
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let taken = done(&strs(&copy(&[side(&etcd, "from"), path("--to", &data_dir)])));
    assert!(line(&taken, "copied").starts_with(&format!("{} entries", pairs.len())), "{taken}");
    let key = path("--to-seal-key", &directory.path().join("data.seal/seal-key"));
    let back = done(&strs(&copy(&[path("--from", &data_dir), side(&other, "to"), key])));
    assert_eq!(line(&taken, "digest"), line(&back, "digest"));
    let server = start(&data_dir, &[]).unwrap();
    let served = everything(&server.admin());
    for (list, name) in [("deployments", "ex-deploy"), ("services", "kubernetes")] {
        assert!(served.keys().any(|key| key.contains(list) && key.contains(name)), "{list} {name}");
    }
    assert!(served.len() > pairs.len() / 2, "{}", served.len());
}

#[test]
fn what_cannot_be_read_is_named_and_left_out_only_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let first = directory.path().join("first");
    let server = start(&first, &[]).unwrap();
    made(&server.admin(), SECRETS, json!({"metadata": {"name": "s"}, "stringData": {"password": CANARY}}));
    made(&server.admin(), CONFIG_MAPS, config_map("c", "1"));
    end(server);
    fs::rename(directory.path().join("first.seal"), directory.path().join("away")).unwrap();
    let arguments = copy(&[path("--from", &first), path("--to", &directory.path().join("second"))]);
    refused(&strs(&arguments), &["/registry/secrets/default/s", "--from-seal-key", "--leave-out-unreadable"]);
    assert!(!directory.path().join("second/store/store.db").exists());
    let without = [&arguments[..], &["--leave-out-unreadable".to_owned()]].concat();
    let said = done(&strs(&without));
    assert_eq!(line(&said, "left out"), "1");
    // The target has a key of its own, and none is made for the source.
    assert!(!directory.path().join("first.seal").exists());
    let server = start(&directory.path().join("second"), &[]).unwrap();
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/c")).status, 200);
    assert_eq!(server.admin().get(&format!("{SECRETS}/s")).status, 404);
}

#[test]
fn etcd_is_spoken_to_with_mutual_tls_only() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data").display().to_string();
    let (from, to) = (format!("--from={data_dir}"), format!("--to={data_dir}"));
    refused(&["copy", "--from", "https://127.0.0.1:1", &to], &["--from-etcd-cafile", "mutual TLS"]);
    refused(&["copy", &from, "--to", "http://127.0.0.1:1"], &["--from", "there is no store at"]);
    fs::write(directory.path().join("file"), "").unwrap();
    let file = directory.path().join("file").display().to_string();
    refused(&["copy", &from, "--to", &file], &["--to", "is a file"]);
    let plain = ["--from-etcd-cafile", &file, "--from-etcd-certfile", &file, "--from-etcd-keyfile", &file];
    refused(&[&["copy", "--from", "http://127.0.0.1:1", &to][..], &plain].concat(), &["is not https"]);
    refused(&["copy", &from, "--to", "https://127.0.0.1:1"], &["there is no store at"]);
}

/// A store of one server, backed up while clients write to it.
#[test]
fn a_backup_is_made_while_clients_write_and_restored() {
    let directory = tempfile::tempdir().unwrap();
    // Longer than the path of a socket may be.
    let first = directory.path().join("l".repeat(120)).join("first");
    fs::create_dir(first.parent().unwrap()).unwrap();
    let server = start(&first, &[]).unwrap();
    made(&server.admin(), SECRETS, json!({"metadata": {"name": "s"}, "stringData": {"password": CANARY}}));
    let admin = server.admin();
    let is_over = AtomicBool::new(false);
    let data_dir = first.display().to_string();
    let backup = directory.path().join("backup");
    let (said, during) = std::thread::scope(|scope| {
        let (admin, is_over) = (&admin, &is_over);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                scope.spawn(move || {
                    let mut count = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        made(admin, CONFIG_MAPS, config_map(&format!("c-{writer}-{count:05}"), &"x".repeat(2000)));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        while admin.get(&format!("{CONFIG_MAPS}/c-0-00020")).status != 200 {}
        let said = done(&["backup", "--data-dir", &data_dir, "--out", &backup.display().to_string()]);
        is_over.store(true, Ordering::Relaxed);
        (said, writers.into_iter().map(|writer| writer.join().unwrap()).sum::<usize>())
    });
    let kept = backup.metadata().unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    let content = fs::read(&backup).unwrap();
    assert!(!content.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is left");
    done(&["check", "--file", &backup.display().to_string()]);
    refused(&["backup", "--data-dir", &data_dir, "--out", &backup.display().to_string()], &["is there already"]);
    let at: u64 = line(&said, "revision").parse().unwrap();
    let last = made(&admin, CONFIG_MAPS, config_map("last", "1"))["metadata"]["resourceVersion"].clone();
    let last: u64 = last.as_str().unwrap().parse().unwrap();
    assert!(last >= at && during > 8 * 20);
    end(server);
    let second = directory.path().join("second");
    let restored =
        done(&["restore", "--from", &backup.display().to_string(), "--data-dir", &second.display().to_string()]);
    assert_eq!(line(&restored, "revision"), format!("{at} -> {}", at + 1_000_000_000));
    let key = path("--seal-key", &first.with_file_name("first.seal").join("seal-key"));
    let server = start(&second, &key).unwrap();
    let admin = server.admin();
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/c-0-00020")).status, 200);
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/last")).status, 404);
    assert_eq!(admin.get(&format!("{SECRETS}/s")).status, 200);
    // Whoever remembers a version from before or after the backup is told to list again.
    for old in [at - 3, at, last] {
        let watch = admin.get(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={old}"));
        assert!(watch.status == 410 || watch.text().contains("\"code\":410"), "{old}: {}", watch.text());
        let exact = admin.get(&format!("{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact"));
        assert_eq!(exact.status, 410, "{old}: {}", exact.text());
        let newer =
            admin.get(&format!("{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=NotOlderThan&limit=1"));
        assert_eq!(newer.status, 200);
    }
    let next = made(&admin, CONFIG_MAPS, config_map("next", "1"))["metadata"]["resourceVersion"].clone();
    assert!(next.as_str().unwrap().parse::<u64>().unwrap() > at + 1_000_000_000);
    refused(
        &["restore", "--from", &backup.display().to_string(), "--data-dir", &second.display().to_string()],
        &["in use by process"],
    );
    end(server);
    refused(
        &["restore", "--from", &backup.display().to_string(), "--data-dir", &second.display().to_string()],
        &["there is a store already"],
    );
    refused(&["backup", "--data-dir", "/nowhere", "--out", "/tmp/never"], &["no store at", "etcdctl snapshot save"]);
}

/// The socket lets nobody else in, does no harm, and goes with its server.
#[test]
fn the_control_socket_is_private_and_robust() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let socket = data_dir.join("store/control.sock");
    let server = start(&data_dir, &[]).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    let ask = |question: &[u8]| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // It may be closed in the middle of too long a question.
        let _ = stream.write_all(question);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    for question in [&b""[..], b"\n", b"restart\n", b"\xff\xfe\n", &b"x".repeat(100_000)] {
        let answer = ask(question);
        assert!(answer.is_empty() || answer.starts_with("error "), "{answer}");
    }
    // More than four at once are turned away. Those who say nothing are so after a while, which a slow machine may need for the fifth.
    let out = directory.path().join("backup").display().to_string();
    let arguments = ["backup", "--data-dir", data_dir.to_str().unwrap(), "--out", &out];
    let is_turned_away = |_| {
        let idle: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(&socket).unwrap()).collect();
        let output = store(&arguments);
        drop(idle);
        let _ = std::fs::remove_file(&out);
        String::from_utf8_lossy(&output.stderr).contains("asked by too many at once")
    };
    assert!((0..ATTEMPTS).any(is_turned_away));
    // They go, and the next is served; its own end is noticed, and the one behind it is.
    let is_served = |_| {
        let mut reader = BufReader::new(UnixStream::connect(&socket).unwrap());
        // It may be closed before the question.
        let _ = reader.get_mut().write_all(b"backup\n");
        let mut answer = String::new();
        reader.read_line(&mut answer).is_ok() && answer.starts_with("frozen ")
    };
    assert!((0..ATTEMPTS).any(is_served));
    let mut attempts = 0;
    while !store(&arguments).status.success() {
        attempts += 1;
        assert!(attempts < ATTEMPTS, "{:?}", store(&arguments));
    }
    assert_eq!(server.admin().get(CONFIG_MAPS).status, 200);
    // What a killed server leaves is replaced.
    drop(server);
    assert!(socket.exists());
    let server = start(&data_dir, &[]).unwrap();
    assert!(ask(b"?\n").starts_with("error "));
    end(server);
    assert!(!socket.exists());
}

fn damage(data_dir: &Path, sql: &str) {
    Connection::open(data_dir.join("store/store.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_damaged_store_is_checked_and_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let given = data_dir.display().to_string();
    let server = start(&data_dir, &[]).unwrap();
    made(&server.admin(), SECRETS, json!({"metadata": {"name": "s"}, "stringData": {"password": CANARY}}));
    for name in ["a", "b"] {
        made(&server.admin(), CONFIG_MAPS, config_map(name, "1"));
    }
    for command in ["check", "stats"] {
        refused(&[command, "--data-dir", &given], &["in use by process", "portcullis store backup"]);
    }
    refused(&["repair", "--data-dir", &given, "--without-backup"], &["in use by process"]);
    end(server);
    let said = done(&["check", "--data-dir", &given]);
    assert!(said.contains("nothing is damaged") && line(&said, "sealed").starts_with("0 "), "{said}");
    let said = done(&["stats", "--data-dir", &given]);
    assert!(said.contains("/registry/configmaps/") && said.contains("aesgcm:v1:seal-"), "{said}");
    let key = "/registry/configmaps/default/a";
    damage(&data_dir, &format!("UPDATE objects SET value = x'00' WHERE key = '{key}'"));
    let found = store(&["check", "--data-dir", &given]);
    assert_eq!(found.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&found.stderr).contains(key));
    let found = store(&["check", "--data-dir", &given, "--output", "json"]);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(
        (&found["sound"], &found["damaged"]["count"], &found["unopened"]["count"]),
        (&json!(false), &json!(1), &json!(0))
    );
    // A backup of it would be no use, a copy is refused.
    let out: PathBuf = directory.path().join("before");
    let out_given = out.display().to_string();
    refused(&["backup", "--data-dir", &given, "--out", &out_given], &["the store is damaged", key]);
    refused(&["copy", "--from", &given, "--to", &directory.path().join("copy").display().to_string()], &[key]);
    assert!(!out.exists());
    assert_eq!(store(&["repair", "--data-dir", &given]).status.code(), Some(2));
    let said = done(&["repair", "--data-dir", &given, "--backup", &out_given]);
    assert_eq!(line(&said, "removed"), "1", "{said}");
    // What it was is there, and what is whole of it can be restored.
    assert_eq!(store(&["check", "--file", &out_given]).status.code(), Some(1));
    refused(
        &["restore", "--from", &out_given, "--data-dir", &directory.path().join("r").display().to_string()],
        &["is damaged", key],
    );
    let said = done(&[
        "restore",
        "--from",
        &out_given,
        "--data-dir",
        &directory.path().join("r").display().to_string(),
        "--leave-out-damaged",
    ]);
    assert_eq!(line(&said, "left out"), "1");
    done(&["check", "--data-dir", &given]);
    let server = start(&data_dir, &[]).unwrap();
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/a")).status, 404);
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/b")).status, 200);
}
