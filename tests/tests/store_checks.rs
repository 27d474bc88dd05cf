//! Memory is compared with what is stored while a server runs (upstream: `DetectCacheInconsistency`): from time to time, and when a test
//! asks, as each that breaks something does ([`Server::compare_store`]).

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use portcullis_tests::build::program;
use portcullis_tests::etcd::Etcd;
use portcullis_tests::program::Server;
use serde_json::json;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CANARY: &str = "canary5t9-in-a-config-map";

/// The canary is in a page that no other row shares: nothing writes that one again meanwhile, and it is read from the file.
fn text() -> String {
    "x".repeat(10_000) + CANARY
}

fn make(server: &Server) {
    let object = json!({"metadata": {"name": "one"}, "data": {"text": text()}});
    assert_eq!(server.admin().post(CONFIG_MAPS, &object).status, 201);
}

fn counted(server: &Server, line: &str) -> bool {
    server.admin().get("/metrics").text().lines().any(|counted| counted == line)
}

const SOUND: &str =
    "apiserver_storage_consistency_checks_total{group=\"\",resource=\"configmaps\",status=\"success\"} 1";

/// A byte of the file changes under a running server: nobody notices, and the file is whole again.
#[test]
fn a_damaged_row_is_healed_while_everything_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start_with(program(), &data, &[]).unwrap();
    make(&server);
    server.stop();
    let server = Server::start_with(program(), &data, &[]).unwrap();
    let file: PathBuf = data.join("store/store.db");
    let content = fs::read(&file).unwrap();
    let at = content.windows(CANARY.len()).position(|window| window == CANARY.as_bytes()).unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(b"C", at as u64).unwrap();
    server.compare_store().unwrap();
    assert!(counted(&server, "portcullis_store_healed_rows_total 1"));
    assert!(counted(&server, SOUND));
    assert!(counted(&server, "portcullis_store_differences 0"));
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/one")).json()["data"]["text"], text());
    let log = server.stop();
    assert!(log.contains("/registry/configmaps/default/one") && log.contains("look after the disk"), "{log}");
    assert!(!log.contains(CANARY), "a value is never in the log");
    let server = Server::start_with(program(), &data, &[]).unwrap();
    assert_eq!(server.admin().get(&format!("{CONFIG_MAPS}/one")).json()["data"]["text"], text());
    server.compare_store().unwrap();
    assert!(counted(&server, "portcullis_store_damaged_rows 0"));
}

#[test]
fn memory_is_compared_with_etcd() {
    let Some(etcd) = Etcd::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let arguments = etcd.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start_with(program(), &directory.path().join("data"), &arguments).unwrap();
    make(&server);
    server.compare_store().unwrap();
    assert!(counted(&server, SOUND) && counted(&server, "portcullis_store_unopened_values 0"));
}
