//! A17: secrets are unreadable where they are kept, under whatever they are sealed, and readable to nobody but through the server
//! (KEP-3299 for KMS v2; upstream's tests of encryption at rest).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use portcullis_tests::build::program;
use portcullis_tests::canary::{files, holds};
use portcullis_tests::client::{Answer, Client};
use portcullis_tests::etcd::Etcd;
use portcullis_tests::kms::KmsPlugin;
use portcullis_tests::program::{Server, run};
use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// In a secret, where nobody may find it, and in a ConfigMap, which says that it would be found.
const CANARY: &str = "canary7k3-in-a-secret";
const OPEN: &str = "canary7k3-in-a-config-map";
/// A key where a field should be, for want of a colon.
const MISTYPED: &str = "bWlzdHlwZWQta2V5LW9mLTMyLWJ5dGVzLWluLWFsbCE=";
/// So many of them take pages of their own.
const LARGE: usize = 2000;
/// How long something that is done in the background may take.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(100);

/// Asks until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(PAUSE);
    }
}

/// A directory with everything of one cluster: the data, the files that its server is given, the log.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Where the seal key is when nobody says.
    fn key(&self) -> PathBuf {
        self.path("data.seal/seal-key")
    }

    /// Writes an EncryptionConfiguration for secrets.
    fn configure(&self, providers: &[&str]) -> [String; 2] {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets]\n  providers: [{}]\n",
            providers.join(", ")
        );
        let file = self.path("encryption.yaml");
        // A server never reads half of it.
        fs::write(self.path("encryption.new"), text).unwrap();
        fs::rename(self.path("encryption.new"), &file).unwrap();
        ["--encryption-provider-config".to_owned(), file.display().to_string()]
    }

    fn start(&self, arguments: &[String]) -> Server {
        self.try_start(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_start(&self, arguments: &[String]) -> Result<Server, String> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Server::start_with(program(), &self.data(), &arguments).map_err(|error| format!("{error:#}"))
    }

    /// What the embedded store keeps of a secret. Nobody may have it open.
    fn kept(&self, name: &str) -> Vec<u8> {
        let file = files(&self.data().join("store")).into_iter().find(|file| is_database(file)).unwrap();
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let key = format!("/registry/secrets/default/{name}");
        connection.query_row("SELECT value FROM objects WHERE key = ?1", [key], |row| row.get(0)).unwrap()
    }

    /// The newest key in the file.
    fn newest_key(&self) -> String {
        let text = fs::read_to_string(self.key()).unwrap();
        text.lines().find_map(|line| line.strip_prefix("key ")).unwrap().split(' ').next().unwrap().to_owned()
    }
}

fn is_database(file: &Path) -> bool {
    fs::read(file).is_ok_and(|content| content.starts_with(b"SQLite format 3\0"))
}

/// Ends a server in order, and returns all that it said.
fn end(server: Server) -> String {
    server.signal(Signal::SIGTERM);
    let (status, said, log) = server.ended();
    assert!(status.success(), "{log}");
    said + &log
}

fn secret_of(name: &str, password: &str) -> serde_json::Value {
    json!({"metadata": {"name": name}, "stringData": {"password": password}})
}

fn make(admin: &Client, name: &str) {
    let answer = admin.post(SECRETS, &secret_of(name, CANARY));
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn get(admin: &Client, name: &str) -> Answer {
    admin.get(&format!("{SECRETS}/{name}"))
}

fn assert_readable(admin: &Client, name: &str) {
    let answer = get(admin, name);
    assert_eq!(answer.json()["data"]["password"], STANDARD.encode(CANARY), "{}", answer.text());
}

/// Makes and changes secrets, starts again, and searches everything that was written.
fn nothing_is_found(place: &Place, arguments: &[String], etcd: Option<&Etcd>) {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--log-level".to_owned(), "debug".to_owned()]);
    let server = place.start(&arguments);
    let admin = server.admin();
    make(&admin, "one");
    make(&admin, "two");
    let open = json!({"metadata": {"name": "open"}, "data": {"text": OPEN}});
    assert_eq!(admin.post(CONFIG_MAPS, &open).status, 201);
    let patch = format!("{{\"stringData\":{{\"other\":\"{CANARY}\"}}}}");
    let media_type = "application/merge-patch+json";
    let patched = admin.send_content("PATCH", &format!("{SECRETS}/one"), media_type, patch.as_bytes()).unwrap();
    assert_eq!(patched.status, 200, "{}", patched.text());
    assert_eq!(admin.delete(&format!("{SECRETS}/two")).status, 200);
    let mut said = end(server);
    let server = place.start(&arguments);
    assert_readable(&server.admin(), "one");
    assert_eq!(server.admin().get(SECRETS).json()["items"].as_array().unwrap().len(), 1);
    said += &end(server);

    assert!(!holds(said.as_bytes(), CANARY), "in what the server said");
    let mut searched = files(&place.data());
    searched.extend(etcd.map(|etcd| files(&etcd.data_dir())).into_iter().flatten());
    let contents: Vec<_> = searched.iter().map(|file| (file, fs::read(file).unwrap())).collect();
    let found = |canary: &str| contents.iter().filter(|(_, content)| holds(content, canary)).collect::<Vec<_>>();
    assert!(found(CANARY).is_empty(), "in {:?}", found(CANARY).iter().map(|(file, _)| file).collect::<Vec<_>>());
    assert!(!found(OPEN).is_empty(), "what is not sealed is found");
}

fn key_of(kind: &str, name: &str, byte: u8) -> String {
    format!("{{{kind}: {{keys: [{{name: {name}, secret: {}}}]}}}}", STANDARD.encode([byte; 32]))
}

#[test]
fn a17_secrets_are_sealed_by_default() {
    let place = Place::new();
    nothing_is_found(&place, &[], None);
    assert!(place.kept("one").starts_with(format!("k8s:enc:aesgcm:v1:{}:", place.newest_key()).as_bytes()));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.key()), mode(place.key().parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a17_secrets_are_sealed_by_default_on_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    let place = Place::new();
    nothing_is_found(&place, &etcd.arguments(), Some(&etcd));
    let held = etcd.under("/registry/secrets/");
    assert_eq!(held.len(), 1);
    assert!(held[0].1.starts_with(format!("k8s:enc:aesgcm:v1:{}:", place.newest_key()).as_bytes()));
}

#[test]
fn a17_each_provider_seals() {
    let mut plugin = KmsPlugin::new(Path::new(env!("CARGO_BIN_EXE_kms_plugin")));
    plugin.start();
    let cloud = plugin.provider();
    for (provider, prefix) in [
        (key_of("aesgcm", "k1", 1).as_str(), "k8s:enc:aesgcm:v1:k1:"),
        (key_of("aescbc", "k1", 1).as_str(), "k8s:enc:aescbc:v1:k1:"),
        (key_of("secretbox", "k1", 1).as_str(), "k8s:enc:secretbox:v1:k1:"),
        (cloud.as_str(), "k8s:enc:kms:v2:cloud:"),
    ] {
        let place = Place::new();
        nothing_is_found(&place, &place.configure(&[provider, "{identity: {}}"]), None);
        assert!(place.kept("one").starts_with(prefix.as_bytes()), "{prefix}");
        assert!(!place.key().exists(), "no key that nobody needs");
        if let Some(etcd) = Etcd::start() {
            let place = Place::new();
            let mut arguments = etcd.arguments();
            arguments.extend(place.configure(&[provider, "{identity: {}}"]));
            nothing_is_found(&place, &arguments, Some(&etcd));
            assert!(etcd.value("/registry/secrets/default/one").starts_with(prefix.as_bytes()), "{prefix}");
        }
    }
}

#[test]
fn where_the_key_is_and_what_becomes_of_a_lost_one() {
    let place = Place::new();
    let server = place.start(&[]);
    let key = place.key().display().to_string();
    assert!(server.said.contains(&key) && server.said.contains("keep a copy"), "{}", server.said);
    make(&server.admin(), "one");
    end(server);
    // Not with the data, not for everybody, and not another one.
    let refused = |arguments: &[String], part: &str| {
        let error = place.try_start(arguments).err().unwrap();
        assert!(error.contains("--seal-key") && error.contains(part), "{error}");
    };
    let inside = place.data().join("seal-key").display().to_string();
    refused(&["--seal-key".to_owned(), inside], "inside the data directory");
    refused(&["--seal-key".to_owned(), place.path("another").display().to_string()], "put the file back");
    assert!(!place.path("another").exists());
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    refused(&[], "open to others");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&key, place.path("kept")).unwrap();
    refused(&[], "put the file back");
    let server = place.start(&["--seal-key".to_owned(), place.path("kept").display().to_string()]);
    assert_readable(&server.admin(), "one");
}

/// A store that nobody sealed is sealed, and one that is sealed stays readable where nothing is sealed.
#[test]
fn a_store_that_is_plain_is_sealed() {
    let place = Place::new();
    let upstream = ["--defaults".to_owned(), "upstream".to_owned()];
    let server = place.start(&upstream);
    make(&server.admin(), "old");
    // Of those that are gone before anything is sealed only pages are left that nobody uses.
    for name in ["gone", "over"] {
        let answer = server.admin().post(SECRETS, &secret_of(name, &CANARY.repeat(LARGE)));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let media_type = "application/merge-patch+json";
    let patch = br#"{"data":{"password":null}}"#;
    let over = format!("{SECRETS}/over");
    assert_eq!(server.admin().send_content("PATCH", &over, media_type, patch).unwrap().status, 200);
    assert_eq!(server.admin().delete(&format!("{SECRETS}/gone")).status, 200);
    end(server);
    assert!(holds(&place.kept("old"), CANARY) && !place.key().exists(), "upstream seals nothing");
    assert!(!holds(&place.kept("over"), CANARY));
    let server = place.start(&[]);
    assert_readable(&server.admin(), "old");
    make(&server.admin(), "new");
    let log = end(server);
    assert!(place.kept("old").starts_with(b"k8s:enc:aesgcm:v1:seal-"), "{log}");
    let left: Vec<_> =
        files(&place.data()).into_iter().filter(|file| holds(&fs::read(file).unwrap(), CANARY)).collect();
    assert!(left.is_empty(), "what was plain is overwritten: {left:?}");
    let server = place.start(&upstream);
    assert_readable(&server.admin(), "old");
    assert_readable(&server.admin(), "new");
}

fn rotate(place: &Place) -> Output {
    run(&["store", "rotate-key", "--data-dir", place.data().to_str().unwrap()])
}

#[test]
fn a_key_gets_a_successor_while_everything_is_served() {
    let place = Place::new();
    let missing = rotate(&place);
    assert!(
        !missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("--seal-key"),
        "{missing:?}"
    );
    let server = place.start(&[]);
    let admin = server.admin();
    make(&admin, "one");
    let version = get(&admin, "one").json()["metadata"]["resourceVersion"].clone();
    let first = place.newest_key();
    let rotated = rotate(&place);
    assert!(rotated.status.success(), "{rotated:?}");
    let second = place.newest_key();
    assert!(String::from_utf8_lossy(&rotated.stdout).starts_with(&second) && first != second);
    // Nothing else is written that could bring the new key there.
    let is_there = |file: &PathBuf| holds(&fs::read(file).unwrap_or_default(), &second);
    until("the secret is sealed under the new key", || files(&place.data().join("store")).iter().any(is_there));
    assert_readable(&admin, "one");
    assert_eq!(get(&admin, "one").json()["metadata"]["resourceVersion"], version, "for its readers nothing happened");
    make(&admin, "two");
    end(server);
    for name in ["one", "two"] {
        assert!(place.kept(name).starts_with(format!("k8s:enc:aesgcm:v1:{second}:").as_bytes()), "{name}");
    }
    let server = place.start(&[]);
    assert_readable(&server.admin(), "one");
}

#[test]
fn a_key_gets_a_successor_on_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    let place = Place::new();
    let server = place.start(&etcd.arguments());
    for name in ["one", "two", "three"] {
        make(&server.admin(), name);
    }
    let first = place.newest_key();
    assert!(rotate(&place).status.success());
    let second = place.newest_key();
    let under = |key: &str| {
        let prefix = format!("k8s:enc:aesgcm:v1:{key}:");
        etcd.under("/registry/secrets/").iter().filter(|(_, value)| value.starts_with(prefix.as_bytes())).count()
    };
    assert_eq!(under(&first), 3);
    until("everything is sealed under the new key", || under(&second) == 3);
    for name in ["one", "two", "three"] {
        assert_readable(&server.admin(), name);
    }
}

#[test]
fn a_configuration_is_followed() {
    let Some(etcd) = Etcd::start() else { return };
    let place = Place::new();
    let mut arguments = etcd.arguments();
    let (old, new) = (key_of("aescbc", "old", 1), key_of("secretbox", "new", 2));
    arguments.extend(place.configure(&[&old, "{identity: {}}"]));
    arguments.push("--encryption-provider-config-automatic-reload=true".to_owned());
    let server = place.start(&arguments);
    let admin = server.admin();
    make(&admin, "one");
    let is_under = |prefix: &str| etcd.value("/registry/secrets/default/one").starts_with(prefix.as_bytes());
    assert!(is_under("k8s:enc:aescbc:v1:old:"));
    // One that is none changes nothing, and what was mistyped is not repeated; the next one is taken.
    let failures = r#"automatic_reloads_total{apiserver_id_hash="",status="failure"}"#;
    place.configure(&[&old, &format!("{{aescbc: {{keys: [{{name: new, secret {MISTYPED}}}]}}}}")]);
    until("a failed reload is counted", || admin.get("/metrics").text().contains(failures));
    assert!(is_under("k8s:enc:aescbc:v1:old:"));
    place.configure(&[&new, &old]);
    until("the new key seals", || is_under("k8s:enc:secretbox:v1:new:"));
    assert_readable(&admin, "one");
    // Nothing is taken on trust without identity.
    etcd.put("/registry/secrets/default/plain", b"k8s\0anything");
    until("what is not sealed is refused", || get(&admin, "plain").status == 500);
    assert_readable(&admin, "one");
    let log = end(server);
    assert!(log.contains("not reloaded: what was last good stays in force") && !log.contains(MISTYPED), "{log}");
}

/// Who can write to the store cannot have one secret read in another's place.
#[test]
fn what_was_moved_is_refused() {
    let Some(etcd) = Etcd::start() else { return };
    let place = Place::new();
    let server = place.start(&etcd.arguments());
    let admin = server.admin();
    make(&admin, "one");
    make(&admin, "two");
    let sealed = etcd.value("/registry/secrets/default/one");
    etcd.put("/registry/secrets/default/two", &sealed);
    until("the moved one is refused", || get(&admin, "two").status == 500);
    assert!(!holds(&get(&admin, "two").body, CANARY));
    assert_readable(&admin, "one");
    // Put back, it is as it was.
    etcd.put("/registry/secrets/default/one", &sealed);
    assert_readable(&admin, "one");
}

/// What the store keeps of a secret, in the place of what it keeps of another, with the checksum of a row that was written so or without.
fn move_value(place: &Place, from: &str, to: &str, is_whole: bool) {
    let file = files(&place.data().join("store")).into_iter().find(|file| is_database(file)).unwrap();
    let connection = Connection::open(file).unwrap();
    let value = place.kept(from);
    let key = format!("/registry/secrets/default/{to}");
    let changed = connection.execute("UPDATE objects SET value = ?2 WHERE key = ?1", (&key, &value)).unwrap();
    assert_eq!(changed, 1);
    if !is_whole {
        return;
    }
    let numbers = connection.query_row(
        "SELECT version, create_revision, epoch, expires FROM objects WHERE key = ?1",
        [&key],
        |row| Ok([row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?, row.get::<_, Option<i64>>(3)?.unwrap_or(-1)]),
    );
    let [version, create_revision, epoch, expires] = numbers.unwrap().map(i64::cast_unsigned);
    assert_eq!(expires, u64::MAX, "secrets stay");
    let parts = [xxh3_64(key.as_bytes()), version, create_revision, epoch, 0, 0, xxh3_64(&value)];
    let checksum = xxh3_64(&parts.map(u64::to_le_bytes).concat()).cast_signed();
    connection.execute("UPDATE objects SET checksum = ?2 WHERE key = ?1", (&key, checksum)).unwrap();
}

/// As above, by somebody who has the file: one who does not know of checksums, and one who does.
#[test]
fn what_was_moved_in_the_file_is_refused() {
    let place = Place::new();
    let server = place.start(&[]);
    for name in ["one", "two", "three"] {
        make(&server.admin(), name);
    }
    end(server);
    move_value(&place, "one", "two", false);
    move_value(&place, "one", "three", true);
    let server = place.start(&[]);
    let admin = server.admin();
    for name in ["two", "three"] {
        let answer = get(&admin, name);
        assert_eq!(answer.status, 500, "{name}: {}", answer.text());
        assert!(!holds(&answer.body, CANARY), "{name}");
    }
    assert_readable(&admin, "one");
    assert_eq!(admin.get(CONFIG_MAPS).status, 200);
    let log = end(server);
    assert!(log.contains("/registry/secrets/default/two") && !holds(log.as_bytes(), CANARY), "{log}");
    // Moving one row to its own place, checksum and all, is no change: the test's own reckoning is right.
    move_value(&place, "one", "one", true);
    let server = place.start(&[]);
    assert_readable(&server.admin(), "one");
}

/// A seed serves many writes; another key of the KMS makes another one, and what was sealed under the old one is sealed anew.
#[test]
fn a_kms_gets_another_key() {
    let mut plugin = KmsPlugin::new(Path::new(env!("CARGO_BIN_EXE_kms_plugin")));
    plugin.start();
    let place = Place::new();
    let arguments = place.configure(&[&plugin.provider(), "{identity: {}}"]);
    let is_under = |name: &str, key: &str| String::from_utf8_lossy(&place.kept(name)).contains(key);
    let server = place.start(&arguments);
    let names: Vec<String> = (0..20).map(|number| format!("secret-{number}")).collect();
    names.iter().for_each(|name| make(&server.admin(), name));
    end(server);
    assert_eq!(plugin.calls("encrypt key-1"), 1);
    assert!(names.iter().all(|name| is_under(name, "key-1")));

    plugin.behave("key=key-2\n");
    let server = place.start(&arguments);
    names.iter().for_each(|name| assert_readable(&server.admin(), name));
    let sealed = "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",\
         transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:kms:v2:cloud:\"}";
    let all = names.len() as f64;
    until("everything is sealed anew", || metric(&server.admin(), sealed).is_some_and(|count| count >= all));
    end(server);
    assert_eq!((plugin.calls("encrypt key-2"), plugin.calls("decrypt key-2")), (1, 1), "asked once for all");
    assert!(names.iter().all(|name| is_under(name, "key-2") && !is_under(name, "key-1")));

    // The KMS may forget the old one now.
    plugin.behave("key=key-2\nlost=key-1\n");
    let server = place.start(&arguments);
    names.iter().for_each(|name| assert_readable(&server.admin(), name));
}

/// What is counted of the store and of sealing.
#[test]
fn sealing_and_the_store_are_counted() {
    let check = |place: &Place, arguments: &[String], label: &str, has_requests: bool| {
        let server = place.start(arguments);
        let admin = server.admin();
        make(&admin, "one");
        let count = |line: &str| metric(&admin, line);
        let sealed = "apiserver_storage_transformation_operations_total{resource=\"secrets\",status=\"OK\",\
             transformation_type=\"to_storage\",transformer_prefix=\"k8s:enc:aesgcm:v1:\"}";
        assert_eq!(count(sealed), Some(1.0));
        let size = format!("apiserver_storage_size_bytes{{storage_cluster_id=\"{label}\"}}");
        until("the size is known", || count(&size).is_some_and(|bytes| bytes > 4096.0));
        assert!(count("portcullis_seal_key_writes").is_some_and(|writes| writes >= 1.0));
        assert!(count("portcullis_seal_key_created_timestamp_seconds").is_some_and(|created| created > 1.7e9));
        let requests = count("etcd_requests_total{group=\"\",operation=\"create\",resource=\"secrets\"}");
        assert_eq!(requests, has_requests.then_some(1.0));
    };
    check(&Place::new(), &[], "embedded", false);
    if let Some(etcd) = Etcd::start() {
        check(&Place::new(), &etcd.arguments(), "etcd-0", true);
    }
}

/// The value of a line of the metrics, if it is there.
fn metric(admin: &Client, name: &str) -> Option<f64> {
    let text = admin.get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn a_kms_that_is_down(place: &Place, more: &[String]) {
    let mut plugin = KmsPlugin::new(Path::new(env!("CARGO_BIN_EXE_kms_plugin")));
    plugin.start();
    let mut arguments = more.to_vec();
    arguments.extend(place.configure(&[&plugin.provider(), "{identity: {}}"]));
    let server = place.start(&arguments);
    make(&server.admin(), "one");
    assert_eq!(server.admin().get("/readyz/kms-providers").text(), "ok");
    end(server);

    plugin.stop();
    let server = place.start(&arguments);
    let admin = server.admin();
    let answer = get(&admin, "one");
    assert_eq!((answer.status, &answer.json()["reason"]), (500, &json!("InternalError")), "{}", answer.text());
    assert_eq!(admin.get(SECRETS).status, 500);
    let refused = admin.post(SECRETS, &secret_of("two", CANARY));
    assert_eq!(refused.status, 500, "nothing is stored plain instead: {}", refused.text());
    assert_eq!(admin.get(CONFIG_MAPS).status, 200, "the rest is served");
    let ready = admin.get("/readyz");
    assert_eq!(ready.status, 500);
    assert!(ready.text().contains("[-]kms-providers failed: reason withheld\n"), "{}", ready.text());
    assert_eq!((admin.get("/healthz").status, admin.get("/livez").status), (500, 200));

    plugin.start();
    until("the secret is readable again", || get(&admin, "one").status == 200);
    assert_readable(&admin, "one");
    make(&admin, "two");
    assert_eq!(admin.get("/readyz").text(), "ok");
    assert_eq!(admin.get(SECRETS).json()["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a17_a_kms_that_is_down_at_start_ends_nothing() {
    a_kms_that_is_down(&Place::new(), &[]);
}

#[test]
fn a17_a_kms_that_is_down_at_start_ends_nothing_on_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    a_kms_that_is_down(&Place::new(), &etcd.arguments());
}
