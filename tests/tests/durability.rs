//! What was acknowledged is there after the process was killed, whatever it was doing.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::Signal;
use portcullis_tests::client::Client;
use portcullis_tests::program::Server;
use serde_json::{Value, json};

/// Who writes at once.
const WRITERS: usize = 4;
/// How many objects are acknowledged before the kill; more follow in the same moment.
const ACKNOWLEDGED_BEFORE_KILL: usize = 120;
/// Kills, one after the other, in one data directory.
const KILLS: usize = 2;

const PATH: &str = "/api/v1/namespaces/default/configmaps";

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

/// Creates objects until the server is gone; tells of each that was acknowledged.
fn write(client: &Client, writer: &str, acknowledged: &mpsc::Sender<Value>) {
    for number in 0.. {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": format!("{writer}-{number}")},
            "data": {"number": number.to_string()},
        });
        match client.send("POST", PATH, Some(&object)) {
            Ok(answer) => {
                assert_eq!(answer.status, 201, "{}", answer.text());
                if acknowledged.send(answer.json()).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

#[test]
fn every_acknowledged_object_survives_a_kill_in_the_middle_of_writes() {
    let data = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeMap<String, Value> = BTreeMap::new();
    for kill in 0..KILLS {
        let server = Server::start(data.path());
        let client = server.admin();
        let (sender, receiver) = mpsc::channel();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, sender) = (client.clone(), sender.clone());
                thread::spawn(move || write(&client, &format!("k{kill}-w{writer}"), &sender))
            })
            .collect();
        drop(sender);
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
        for object in receiver.iter().take(ACKNOWLEDGED_BEFORE_KILL) {
            acknowledged.insert(name(&object), object);
        }
        server.signal(Signal::SIGKILL);
        acknowledged.extend(receiver.iter().map(|object| (name(&object), object)));
        for writer in writers {
            writer.join().unwrap();
        }
        drop(server);

        let server = Server::start(data.path());
        let list = server.admin().get(PATH).json();
        let found: BTreeMap<_, _> = list["items"].as_array().unwrap().iter().map(|item| (name(item), item)).collect();
        for (name, object) in &acknowledged {
            let item =
                found.get(name).unwrap_or_else(|| panic!("{name} was acknowledged and is lost after kill {kill}"));
            for part in ["metadata", "data"] {
                assert_eq!(item[part], object[part], "{name}");
            }
        }
        let newest = acknowledged.values().map(version).max().unwrap();
        let after = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("after-{kill}")}});
        let after = server.admin().post(PATH, &after).json();
        assert!(version(&after) > newest, "a version was handed out again: {} after {newest}", version(&after));
    }
}
