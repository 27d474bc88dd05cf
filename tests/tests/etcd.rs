//! A cluster that is kept in etcd, by one server and by two (A9, L3, P10).

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::build::{program, workspace};
use portcullis_tests::client::Client;
use portcullis_tests::credentials::{Authority, Validity};
use portcullis_tests::etcd::Etcd;
use portcullis_tests::program::Server;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

pub(super) fn start(data_dir: &Path, arguments: &[String]) -> Result<Server, String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::start_with(program(), data_dir, &arguments).map_err(|error| format!("{error:#}"))
}

#[test]
fn a9_mutual_tls_or_no_start() {
    let Some(etcd) = Etcd::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let stranger = Authority::stranger().unwrap();
    std::fs::write(directory.path().join("ca.crt"), stranger.pem()).unwrap();
    stranger.issue("apiserver", None, Validity::Now).unwrap().write(&directory.path().join("client")).unwrap();
    let own = |name: &str| directory.path().join(name).display().to_string();
    let check = |change: &dyn Fn(&mut Vec<String>), parts: &[&str]| {
        let mut arguments = etcd.arguments();
        change(&mut arguments);
        let error = start(&directory.path().join("data"), &arguments).err().expect("no start");
        assert!(parts.iter().all(|part| error.contains(part)), "{arguments:?}: {error}");
    };
    let set = |flag: &'static str, value: String| {
        move |arguments: &mut Vec<String>| {
            let at = arguments.iter().position(|argument| argument == flag).unwrap();
            arguments[at + 1] = value.clone();
        }
    };
    let without = |flag: &'static str| {
        move |arguments: &mut Vec<String>| {
            let at = arguments.iter().position(|argument| argument == flag).unwrap();
            arguments.drain(at..at + 2);
        }
    };
    let plain = format!("http://{}", etcd.address());
    check(&set("--etcd-servers", plain), &["--etcd-servers", "is not https"]);
    check(&set("--etcd-servers", format!("https://{},http://b:2379", etcd.address())), &["--etcd-servers", "http://b"]);
    check(&without("--etcd-cafile"), &["--etcd-cafile"]);
    check(&without("--etcd-certfile"), &["--etcd-certfile"]);
    check(&without("--etcd-keyfile"), &["--etcd-keyfile"]);
    check(&set("--etcd-certfile", own("nothing")), &["--etcd-certfile"]);
    check(&set("--etcd-cafile", own("ca.crt")), &["--etcd-cafile"]);
    check(
        &|arguments| {
            set("--etcd-certfile", own("client.crt"))(arguments);
            set("--etcd-keyfile", own("client.key"))(arguments);
        },
        &["--etcd-certfile"],
    );
    // A name that is not in the certificate, alone and beside one that is; so is a member of another authority.
    let other_name = format!("https://0.0.0.0:{}", etcd.address().port());
    let unverified = ["--etcd-servers", "--etcd-cafile", "0.0.0.0"];
    check(&set("--etcd-servers", other_name.clone()), &unverified);
    check(&set("--etcd-servers", format!("https://{},{other_name}", etcd.address())), &unverified);
    let another = Etcd::start().unwrap();
    let another_address = another.address().to_string();
    check(
        &set("--etcd-servers", format!("https://{},https://{another_address}", etcd.address())),
        &["--etcd-servers", "--etcd-cafile", &another_address],
    );
    // And with what is right.
    start(&directory.path().join("data"), &etcd.arguments()).unwrap();
}

/// L3, P10: etcd talks to nobody who shows no certificate of its own authority.
#[test]
fn l3_p10_etcd_refuses_the_handshake_without_a_certificate() {
    let Some(etcd) = Etcd::start() else { return };
    let ca = CertificateDer::from_pem_slice(etcd.authority.pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(etcd.address()).unwrap());
    // In TLS 1.3 the refusal comes with the first answer.
    let sent = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").and_then(|()| stream.read(&mut [0; 1]));
    let error = sent.expect_err("no answer").to_string();
    assert!(error.contains("alert") || error.contains("ertificate"), "{error}");
    // And plain text is none of its languages.
    let mut plain = TcpStream::connect(etcd.address()).unwrap();
    plain.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = plain.read_to_string(&mut answer);
    assert!(!answer.contains("health\":"), "{answer}");
}

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

/// What a watch of ConfigMaps tells first after a version.
fn next_event(client: &Client, after: &Value) -> Value {
    let after = after.as_str().unwrap();
    let answer = client.get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={after}&timeoutSeconds=1"));
    serde_json::from_str(answer.text().lines().next().unwrap()).unwrap()
}

#[test]
fn two_servers_on_one_etcd_are_one_cluster() {
    let Some(etcd) = Etcd::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let key = ["--seal-key".to_owned(), directory.path().join("keys/seal-key").display().to_string()];
    let arguments = [etcd.arguments(), key.to_vec()].concat();
    let first = start(&directory.path().join("first"), &arguments).unwrap();
    let second = start(&directory.path().join("second"), &arguments).unwrap();
    let (one, other) = (first.admin(), second.admin());
    // Made here, read and changed there, at once.
    for number in 0..20 {
        let made = one.post(CONFIG_MAPS, &config_map(&format!("c-{number}")));
        assert_eq!(made.status, 201, "{}", made.text());
        let path = format!("{CONFIG_MAPS}/c-{number}");
        let read = other.get(&path);
        assert_eq!(read.body, one.get(&path).body);
        assert_eq!(read.json()["metadata"]["resourceVersion"], made.json()["metadata"]["resourceVersion"]);
        let mut changed = read.json();
        changed["data"]["a"] = json!("2");
        assert_eq!(other.send("PUT", &path, Some(&changed)).unwrap().status, 200);
        assert_eq!(one.send("PUT", &path, Some(&changed)).unwrap().status, 409, "it was changed meanwhile");
        assert_eq!(one.get(&path).json()["data"]["a"], "2");
    }
    // Watched there.
    let begin = other.get(CONFIG_MAPS).json()["metadata"]["resourceVersion"].clone();
    assert_eq!(one.post(CONFIG_MAPS, &config_map("watched")).status, 201);
    let event = next_event(&other, &begin);
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("watched")));
    // Sealed here, opened there.
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
    assert_eq!(one.post(SECRETS, &secret).status, 201);
    assert_eq!(other.get(&format!("{SECRETS}/s")).json()["data"]["password"], STANDARD.encode("hunter2"));
    // One is gone, and the other one has everything.
    drop(first);
    assert_eq!(other.get(CONFIG_MAPS).json()["items"].as_array().unwrap().len(), 21);
    assert_eq!(other.post(CONFIG_MAPS, &config_map("after")).status, 201);
    let first = start(&directory.path().join("first"), &arguments).unwrap();
    assert_eq!(first.admin().get(&format!("{CONFIG_MAPS}/after")).status, 200);
    // A third one that has another seal key is told so, and makes none.
    let third = directory.path().join("third");
    let error = start(&third, &etcd.arguments()).err().unwrap();
    assert!(error.contains("--seal-key") && error.contains("put the file back"), "{error}");
    assert!(!directory.path().join("third.seal/seal-key").exists());
}

/// Of three members any may end: what was acknowledged is there, and what comes next is taken.
#[test]
fn a_cluster_on_three_members_survives_each_of_them() {
    let Some(mut etcd) = Etcd::start_members(3) else { return };
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"), &etcd.arguments()).unwrap();
    let admin = server.admin();
    let mut made = 0;
    let mut make = |admin: &Client| {
        made += 1;
        admin.post(CONFIG_MAPS, &config_map(&format!("c-{made}"))).status
    };
    for round in 0..3 {
        assert_eq!(make(&admin), 201);
        let leader = (0..).find_map(|_| etcd.leader()).unwrap();
        // Each of the three once, wherever the leader is.
        let ended = (leader + round) % 3;
        etcd.kill(ended);
        let status = make(&admin);
        assert_eq!(status, 201, "round {round}, the member that ended {}", if round == 0 { "led" } else { "followed" });
        assert_eq!(admin.get(CONFIG_MAPS).json()["items"].as_array().unwrap().len(), 2 * (round + 1));
        etcd.restart(ended);
    }
}

/// The recorded content of an upstream cluster's etcd.
pub(super) fn recorded() -> Option<Vec<(String, Vec<u8>)>> {
    let file = workspace().join("../shared/corpus/data/etcd.jsonl.gz");
    if !file.exists() {
        println!("no ../shared/corpus/data/etcd.jsonl.gz here: nothing tested");
        return None;
    }
    let output = std::process::Command::new("zcat").arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let pair = |line: &str| {
        let pair: Value = serde_json::from_str(line).unwrap();
        (pair["key"].as_str().unwrap().to_owned(), STANDARD.decode(pair["value"].as_str().unwrap()).unwrap())
    };
    Some(text.lines().map(pair).collect())
}

/// The paths of all lists that a server has.
pub(super) fn lists(admin: &Client) -> BTreeSet<String> {
    let mut versions = vec!["/api/v1".to_owned()];
    for group in admin.get("/apis").json()["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            versions.push(format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
        }
    }
    let mut paths = BTreeSet::new();
    for version in versions {
        for resource in admin.get(&version).json()["resources"].as_array().unwrap() {
            if resource["verbs"].as_array().unwrap().contains(&json!("list")) {
                paths.insert(format!("{version}/{}", resource["name"].as_str().unwrap()));
            }
        }
    }
    paths
}

/// A cluster that upstream's API server left in etcd is served as it is.
#[test]
fn what_upstream_stored_is_served() {
    let (Some(pairs), Some(etcd)) = (recorded(), Etcd::start()) else { return };
    for (key, value) in &pairs {
        etcd.put(key, value);
    }
    let directory = tempfile::tempdir().unwrap();
    let server = start(&directory.path().join("data"), &etcd.arguments()).unwrap();
    let admin = server.admin();
    let mut served = BTreeSet::new();
    for path in lists(&admin) {
        let answer = admin.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        for item in answer.json()["items"].as_array().into_iter().flatten() {
            let metadata = &item["metadata"];
            let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
            served.insert((text("namespace"), text("name")));
        }
    }
    // What is no object of a resource that is served here.
    let others = ["/registry/apiextensions", "/registry/apiregistration", "/registry/harbor", "/registry/masterleases"];
    let others = [&others[..], &["/registry/peerserverleases", "/registry/ranges"]].concat();
    let mut missing = Vec::new();
    for (key, _) in pairs.iter().filter(|(key, _)| others.iter().all(|other| !key.starts_with(other))) {
        let mut parts = key.rsplit('/');
        let (name, namespace) = (parts.next().unwrap(), parts.next().unwrap());
        let is_served = |namespace: &str| served.contains(&(namespace.to_owned(), name.to_owned()));
        if !is_served(namespace) && !is_served("") {
            missing.push(key);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
    // What nobody has written to is as it was, to the byte.
    let sealed = |key: &str| key.starts_with("/registry/secrets/");
    let left: Vec<_> = pairs.iter().filter(|(key, value)| !sealed(key) && etcd.value(key) != *value).collect();
    println!("{} of {} pairs were written anew", left.len(), pairs.len());
    assert!(left.len() < pairs.len() / 4, "{:?}", left.iter().map(|(key, _)| key).collect::<Vec<_>>());
}
