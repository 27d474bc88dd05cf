//! Many clients make services while the server is killed: no address and no port is anybody's twice, none is left behind when the
//! services are gone, and what was acknowledged is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use portcullis_tests::client::Client;
use portcullis_tests::program::Server;
use serde_json::{Value, json};

const CLIENTS: usize = 64;
/// Services made before the kill, and how many more are asked for while it comes.
const SERVICES: usize = 10_000;
const SERVICES_MORE: usize = 2_000;
/// How many of those are acknowledged when it does.
const BEFORE_KILL: usize = 200;
/// How many are deleted when the second one comes.
const DELETED_BEFORE_KILL: usize = 2_000;

const OF_NAMESPACE: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn items(server: &Server, path: &str) -> Vec<Value> {
    server.admin().get(path).json()["items"].as_array().unwrap().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Every service has an address and a port of its own, and every address is that of a service. Returns the names.
fn check(server: &Server) -> BTreeSet<String> {
    let services = items(server, OF_NAMESPACE);
    let had: BTreeMap<String, String> =
        services.iter().map(|one| (text(&one["spec"]["clusterIP"]), text(&one["metadata"]["name"]))).collect();
    assert_eq!(had.len(), services.len(), "an address is had twice");
    let addresses = items(server, ADDRESSES);
    let noted: BTreeMap<String, String> =
        addresses.iter().map(|one| (text(&one["metadata"]["name"]), text(&one["spec"]["parentRef"]["name"]))).collect();
    assert_eq!(noted, had, "addresses are not those of the services");
    let ports: Vec<i64> = services.iter().filter_map(|one| one["spec"]["ports"][0]["nodePort"].as_i64()).collect();
    assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len(), "a port is had twice");
    had.into_values().collect()
}

/// Runs until everything is asked for or the server is gone, and returns how many were done.
fn in_parallel(
    server: &Server,
    count: usize,
    kill_after: Option<usize>,
    ask: impl Fn(&Client, usize) -> bool + Sync,
) -> usize {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let client = server.admin();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || !ask(&client, number) {
                        return;
                    }
                    if Some(done.fetch_add(1, Ordering::Relaxed) + 1) == kill_after {
                        server.signal(Signal::SIGKILL);
                    }
                }
            });
        }
    });
    done.into_inner()
}

#[test]
fn ten_thousand_services_have_addresses_of_their_own_whatever_happens() {
    let data = tempfile::tempdir().unwrap();
    let acknowledged = Mutex::new(BTreeSet::new());
    let make = |client: &Client, number: usize| {
        let name = format!("s{number}");
        let type_ = if number.is_multiple_of(5) { "NodePort" } else { "ClusterIP" };
        let spec = json!({"type": type_, "ports": [{"port": 80}]});
        let body = json!({"metadata": {"name": name}, "spec": spec});
        let Ok(answer) = client.send("POST", OF_NAMESPACE, Some(&body)) else { return false };
        assert_eq!(answer.status, 201, "{}", answer.text());
        acknowledged.lock().unwrap().insert(name)
    };
    let server = Server::start(data.path());
    assert_eq!(in_parallel(&server, SERVICES, None, make), SERVICES);
    check(&server);
    in_parallel(&server, SERVICES_MORE, Some(BEFORE_KILL), |client, number| make(client, SERVICES + number));
    drop(server);
    let server = Server::start(data.path());
    let names = check(&server);
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.is_subset(&names), "{:?}", acknowledged.difference(&names).collect::<Vec<_>>());

    let delete = |names: &[String], client: &Client, number: usize| {
        let Some(name) = names.get(number) else { return false };
        client.send("DELETE", &format!("{OF_NAMESPACE}/{name}"), None).is_ok()
    };
    let of = |names: BTreeSet<String>| names.into_iter().filter(|name| name != "kubernetes").collect::<Vec<_>>();
    let names = of(names);
    in_parallel(&server, names.len(), Some(DELETED_BEFORE_KILL), |client, number| delete(&names, client, number));
    drop(server);
    let server = Server::start(data.path());
    let names = of(check(&server));
    in_parallel(&server, names.len(), None, |client, number| delete(&names, client, number));
    assert_eq!(check(&server), BTreeSet::from(["kubernetes".to_owned()]));
}
