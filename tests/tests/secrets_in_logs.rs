//! What nobody may read in a log, however much it says (CVE-2019-11250, CVE-2020-8565, NCC-WVM, TOB-K8S-001, TOB-K8S-005): secrets and
//! credentials are sent in every way there is to a server that logs all it can and is told to record every body, and then everything
//! that it wrote, but for its keys, is searched for them: logs, the store (A17), a backup of it, what was restored and copied from that, and
//! what commands leave behind that were killed at it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_tests::build::program;
use portcullis_tests::canary::{files, forms};
use portcullis_tests::client::Client;
use portcullis_tests::cluster::Cluster;
use portcullis_tests::etcd::Etcd;
use portcullis_tests::program::run;
use portcullis_tests::session::{Asking, Connector, JSON, Protocol};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A policy of somebody who wants to see everything.
const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: RequestResponse\n";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// What each of them begins with; no two share the rest.
const CANARY: &str = "canary4u7";

/// Things that must not be found, with how they got in.
struct Canaries(Vec<(String, String)>);

impl Canaries {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// A new one. It is looked for in every form.
    fn hatch(&mut self, way: &str) -> String {
        let canary = format!("{CANARY}{:04}plumage", self.0.len());
        self.0.extend(forms(&canary).into_iter().map(|form| (way.to_owned(), form)));
        canary
    }

    /// Adds something that the server made.
    fn take(&mut self, way: &str, secret: &str) {
        self.0.push((way.to_owned(), secret.to_owned()));
    }

    fn search(&self, place: &str, text: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(_, canary)| text.contains(canary.as_str()));
        found.map(|(way, canary)| format!("{place}: {way}: {canary}")).collect()
    }
}

fn secret(name: &str, field: &str, value: &str) -> serde_json::Value {
    json!({"metadata": {"name": name}, field: {"password": value}})
}

/// Secrets as objects, by every verb and media type.
fn send_secrets(canaries: &mut Canaries, admin: &Client) {
    let mut send = |way: &str, make: &dyn Fn(&str)| make(&canaries.hatch(way));
    send("create", &|canary| {
        let data = STANDARD.encode(canary);
        assert_eq!(admin.post(SECRETS, &secret("one", "data", &data)).status, 201);
    });
    send("create with stringData", &|canary| {
        assert_eq!(admin.post(SECRETS, &secret("two", "stringData", canary)).status, 201);
    });
    send("create with YAML", &|canary| {
        let yaml = format!("metadata: {{name: three}}\nstringData: {{password: {canary}}}\n");
        let answer = admin.send_content("POST", SECRETS, "application/yaml", yaml.as_bytes()).unwrap();
        assert_eq!(answer.status, 201);
    });
    send("update", &|canary| {
        let answer = admin.send("PUT", &format!("{SECRETS}/one"), Some(&secret("one", "stringData", canary))).unwrap();
        assert_eq!(answer.status, 200);
    });
    for (media_type, patch) in [
        ("application/merge-patch+json", r#"{"stringData": {"password": "CANARY"}}"#),
        ("application/strategic-merge-patch+json", r#"{"stringData": {"password": "CANARY"}}"#),
        ("application/json-patch+json", r#"[{"op": "add", "path": "/stringData", "value": {"password": "CANARY"}}]"#),
    ] {
        send(media_type, &|canary| {
            let patch = patch.replace("CANARY", canary);
            let path = format!("{SECRETS}/two");
            assert_eq!(admin.send_content("PATCH", &path, media_type, patch.as_bytes()).unwrap().status, 200);
        });
    }
    send("apply", &|canary| {
        let object =
            format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: applied}}\nstringData: {{password: {canary}}}\n");
        let path = format!("{SECRETS}/applied?fieldManager=tests");
        let answer = admin.send_content("PATCH", &path, "application/apply-patch+yaml", object.as_bytes()).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    });
    send("kubectl's annotation", &|canary| {
        let last = json!({"data": {"password": STANDARD.encode(canary)}}).to_string();
        let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
        let object = json!({"metadata": {"name": "annotated", "annotations": annotations}});
        assert_eq!(admin.post(SECRETS, &object).status, 201);
    });
    send("a body that is refused", &|canary| {
        let answer = admin.post(SECRETS, &json!({"metadata": {"name": "UPPER"}, "stringData": {"password": canary}}));
        assert_eq!(answer.status, 422);
    });
    send("a body that cannot be read", &|canary| {
        let text = format!("{{\"metadata\":{{\"name\":\"x\"}},\"stringData\":{{\"password\":\"{canary}\"");
        let answer = admin.send_content("POST", SECRETS, "application/json", text.as_bytes()).unwrap();
        assert_eq!(answer.status, 400);
    });
    send("a docker config", &|canary| {
        let config = json!({"auths": {"registry.example": {"username": "u", "password": canary}}}).to_string();
        let object = json!({
            "metadata": {"name": "docker"}, "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": config},
        });
        assert_eq!(admin.post(SECRETS, &object).status, 201);
    });
    for path in [SECRETS.to_owned(), format!("{SECRETS}/one"), "/api/v1/secrets".to_owned()] {
        assert_eq!(admin.get(&path).status, 200);
    }
    assert_eq!(admin.delete(&format!("{SECRETS}/three")).status, 200);
}

/// Credentials of clients, good and bad.
fn send_credentials(canaries: &mut Canaries, cluster: &Cluster) {
    let stranger = cluster.server.stranger();
    let bad = canaries.hatch("a bearer token that nobody knows");
    assert_eq!(stranger.with_bearer(&bad).get("/api").status, 401);
    let basic = canaries.hatch("basic authentication");
    let header = format!("Basic {}", STANDARD.encode(format!("admin:{basic}")));
    assert_eq!(stranger.with_header("authorization", &header).get("/api").status, 401);
    let cookie = canaries.hatch("a cookie");
    assert_eq!(stranger.with_header("cookie", &format!("session={cookie}")).get("/api").status, 401);
    cluster.account("default", "robot");
    let token = cluster.token("default", "robot", json!({}));
    let (rest, signature) = token.rsplit_once('.').unwrap();
    canaries.take("the signature of a token that was issued", signature);
    assert_eq!(cluster.bearer(&token).get("/api").status, 200);
    let forged = canaries.hatch("a signature that is wrong");
    assert_eq!(cluster.bearer(&format!("{rest}.{}", URL_SAFE_NO_PAD.encode(&forged))).get("/api").status, 401);
    let reviewed = canaries.hatch("a token in a review");
    let review = json!({"spec": {"token": reviewed}});
    assert_eq!(cluster.admin().post("/apis/authentication.k8s.io/v1/tokenreviews", &review).status, 201);
    let review = json!({"spec": {"token": token}});
    assert_eq!(cluster.admin().post("/apis/authentication.k8s.io/v1/tokenreviews", &review).status, 201);
    let bootstrap = "abcdef.canarybootstrap0";
    canaries.take("a bootstrap token", "canarybootstrap0");
    assert_eq!(stranger.with_bearer(bootstrap).get("/api").status, 401);
    let object = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abcdef", "token-secret": "canarybootstrap0", "usage-bootstrap-authentication": "true"},
    });
    assert_eq!(cluster.admin().post("/api/v1/namespaces/kube-system/secrets", &object).status, 201);
    assert_eq!(stranger.with_bearer(bootstrap).get("/api").status, 200);
    assert_eq!(stranger.with_bearer("abcdef.canarybootstrap1").get("/api").status, 401);
}

/// A token where a WebSocket carries it, and bytes that are no HTTP.
async fn send_frames(canaries: &mut Canaries, cluster: &Cluster) {
    // Frames are what a talkative library tells most about.
    for client in [cluster.server.stranger(), cluster.admin()] {
        let token = canaries.hatch("a bearer token over HTTP/2");
        let mut session = Connector::of(&client.with_bearer(&token)).open(Protocol::Http2).await.unwrap();
        let object = secret("frames", "stringData", &canaries.hatch("a secret over HTTP/2"));
        let asking = Asking { method: "POST", accept: JSON, content: Some((JSON, &object)) };
        let _ = session.ask(SECRETS, asking).await.unwrap();
    }
    let connector = Connector::of(&cluster.server.stranger());
    let token = URL_SAFE_NO_PAD.encode(canaries.hatch("the token of a WebSocket"));
    let garbage = canaries.hatch("what is no HTTP");
    for head in [
        format!(
            "GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.{token}\r\n\
             Connection: close\r\n\r\n"
        ),
        format!("{garbage}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {garbage}\r\nContent-Length: x\r\n\r\n"),
    ] {
        let mut connection = connector.connect(Protocol::Http1).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 1024];
        let _ = connection.read(&mut answer).await;
    }
}

/// Runs a command on stores.
fn done(arguments: &[&str]) {
    let output = run(&[&["store"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Ends a command on stores without a word, as soon as it has begun to make a store.
fn killed(arguments: &[&str], made: &Path) {
    let mut child = Command::new(program()).arg("store").args(arguments).stdin(Stdio::null()).spawn().unwrap();
    while child.try_wait().unwrap().is_none() && !made.join("store").exists() {}
    let _ = child.kill();
    child.wait().unwrap();
}

/// Restores the backup, once to the end and once not, and copies the store to an etcd of three members, if there is one here.
fn copied(directory: &Path, data_dir: &Path) -> Option<Etcd> {
    let path = |name: &str| directory.join(name).display().to_string();
    let (backup, restored, killed_at) = (path("backup"), path("restored"), path("killed"));
    killed(&["restore", "--from", &backup, "--data-dir", &killed_at], Path::new(&killed_at));
    done(&["restore", "--from", &backup, "--data-dir", &restored]);
    let etcd = Etcd::start_members(3)?;
    let mut key = data_dir.to_owned().into_os_string();
    key.push(".seal/seal-key");
    let from = data_dir.display().to_string();
    let (key, endpoints) = (key.into_string().unwrap(), etcd.endpoints().join(","));
    let files = ["ca.crt", "client.crt", "client.key"].map(|name| etcd.file(name));
    done(&[
        "copy",
        "--from",
        &from,
        "--from-seal-key",
        &key,
        "--to",
        &endpoints,
        "--to-seal-key",
        &key,
        "--to-etcd-cafile",
        &files[0],
        "--to-etcd-certfile",
        &files[1],
        "--to-etcd-keyfile",
        &files[2],
    ]);
    Some(etcd)
}

#[test]
fn cve_2019_11250_cve_2020_8565_no_canary_in_any_log_or_store() {
    let arguments =
        ["--log-level", "trace", "--audit-policy-file", "FILES/policy.yaml", "--enable-bootstrap-token-auth"];
    let cluster = Cluster::start_with(&[("policy.yaml", POLICY)], &arguments).unwrap();
    let mut canaries = Canaries::new();
    send_secrets(&mut canaries, &cluster.admin());
    send_credentials(&mut canaries, &cluster);
    tokio::runtime::Runtime::new().unwrap().block_on(send_frames(&mut canaries, &cluster));
    let key = fs::read_to_string(cluster.server.data_dir().join("pki/admin.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    canaries.take("a private key", &line[16..]);
    let mut found = Vec::new();
    for path in [
        "/metrics",
        "/debug/api_priority_and_fairness/dump_priority_levels",
        "/debug/api_priority_and_fairness/dump_queues",
        "/debug/api_priority_and_fairness/dump_requests",
    ] {
        let answer = cluster.admin().get(path);
        assert_eq!(answer.status, 200, "{path}");
        found.extend(canaries.search(path, &answer.text()));
    }
    let (data_dir, said) = (cluster.server.data_dir().to_owned(), cluster.server.said.clone());
    let backup = cluster.directory().join("backup").display().to_string();
    done(&["backup", "--data-dir", &data_dir.display().to_string(), "--out", &backup]);
    let (log, directory) = cluster.ended_in_place();
    let members = copied(directory.path(), &data_dir);
    let pki = data_dir.join("pki");
    let (mut records, mut stores) = (0, 0);
    let mut searched: Vec<PathBuf> =
        files(directory.path()).into_iter().filter(|file| !file.starts_with(&pki)).collect();
    searched
        .extend(members.iter().flat_map(|etcd| (0..etcd.len()).flat_map(|member| files(&etcd.data_dir_of(member)))));
    for file in searched {
        // It is the administrator's credential.
        if file.ends_with("admin.kubeconfig") {
            continue;
        }
        let content = fs::read(&file).unwrap();
        records += usize::from(file.to_string_lossy().contains("audit"));
        stores += usize::from(String::from_utf8_lossy(&content).contains("k8s:enc:aesgcm:v1:"));
        found.extend(canaries.search(&file.display().to_string(), &String::from_utf8_lossy(&content)));
    }
    // The store, its backup, and what was restored; and each member's own files.
    assert!(
        records > 0 && stores >= 3 + members.iter().map(Etcd::len).sum::<usize>(),
        "{records} records, {stores} stores"
    );
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log says all it can");
    found.extend(canaries.search("the log", &log));
    found.extend(canaries.search("the standard output", &said));
    assert!(found.is_empty(), "{}", found.join("\n"));
}
