//! Several servers on one etcd at the same time: they start together, see each other's writes at once, and give nothing out twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portcullis_tests::build::program;
use portcullis_tests::client::{Answer, Client};
use portcullis_tests::etcd::Etcd;
use portcullis_tests::program::Server;
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
/// What each server is asked for while the other one is.
const OF_EACH: usize = 40;

/// Two servers that began at the same time, on an etcd that nobody had written to.
struct Pair {
    // In this order they end: servers first.
    servers: Vec<Server>,
    etcd: Etcd,
    directory: tempfile::TempDir,
}

fn start(data_dir: &Path, arguments: &[String]) -> Result<Server, String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::start_with(program(), data_dir, &arguments).map_err(|error| format!("{error:#}"))
}

impl Pair {
    fn start() -> Option<Self> {
        let etcd = Etcd::start()?;
        let directory = tempfile::tempdir().unwrap();
        let pair = Self { servers: Vec::new(), etcd, directory };
        let arguments = pair.arguments();
        let places = [pair.data_dir("one"), pair.data_dir("other")];
        let servers = at_once(places.iter().collect(), |place| start(place, &arguments).unwrap());
        Some(Self { servers, ..pair })
    }

    fn data_dir(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn arguments(&self) -> Vec<String> {
        let key = self.directory.path().join("keys/seal-key").display().to_string();
        [self.etcd.arguments(), vec!["--seal-key".to_owned(), key]].concat()
    }

    fn admins(&self) -> Vec<Client> {
        self.servers.iter().map(Server::admin).collect()
    }
}

/// Does something with each at the same time.
fn at_once<T: Send, A: Send>(with: Vec<T>, act: impl Fn(T) -> A + Sync) -> Vec<A> {
    std::thread::scope(|scope| {
        let running: Vec<_> = with.into_iter().map(|one| scope.spawn(|| act(one))).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

fn items(list: &Answer) -> Vec<Value> {
    list.json()["items"].as_array().unwrap_or_else(|| panic!("{}", list.text())).clone()
}

fn names(list: &Answer) -> BTreeSet<String> {
    items(list).iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// What every cluster has is there once, whoever of the two made which part of it.
#[test]
fn two_servers_may_begin_a_cluster_together() {
    let Some(pair) = Pair::start() else { return };
    let alone = portcullis_tests::cluster::Cluster::start(&[]);
    let whole = alone.admin();
    for path in [
        "/api/v1/namespaces",
        "/api/v1/services",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
        "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        "/apis/networking.k8s.io/v1/servicecidrs",
        "/apis/networking.k8s.io/v1/ipaddresses",
    ] {
        let expected = names(&whole.get(path));
        for admin in pair.admins() {
            assert_eq!(names(&admin.get(path)), expected, "{path}");
        }
    }
    let ids: Vec<Value> = pair.admins().iter().map(|admin| uid(admin, "/api/v1/namespaces/default")).collect();
    assert_eq!(ids[0], ids[1], "the same namespace");
}

fn uid(admin: &Client, path: &str) -> Value {
    admin.get(path).json()["metadata"]["uid"].clone()
}

/// Lists without a version are of now, on each server, and a watch from there misses nothing.
#[test]
fn what_one_acknowledged_the_other_lists_and_watches() {
    let Some(pair) = Pair::start() else { return };
    let admins = pair.admins();
    let begin = admins[0].get(CONFIG_MAPS).json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut made = BTreeSet::new();
    for number in 0..OF_EACH {
        let (writer, reader) = (&admins[number % 2], &admins[(number + 1) % 2]);
        let name = format!("c-{number:02}");
        assert_eq!(writer.post(CONFIG_MAPS, &json!({"metadata": {"name": name}})).status, 201);
        made.insert(name);
        assert_eq!(names(&reader.get(CONFIG_MAPS)), made);
        let begun = reader.get(&format!("{CONFIG_MAPS}?limit=1"));
        assert_eq!(names(&begun).len(), 1, "the first page is of now, too");
    }
    for admin in &admins {
        let told = admin.get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={begin}&timeoutSeconds=1")).text();
        let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<&str> =
            events.iter().map(|event| event["object"]["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(told, made.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// Both are asked for Services at the same time: no address and no port of the nodes is given out twice.
#[test]
fn no_address_and_no_port_is_given_out_twice() {
    let Some(pair) = Pair::start() else { return };
    let service = |name: &str, port: Option<u16>| {
        let mut spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
        if let Some(port) = port {
            spec["ports"][0]["nodePort"] = json!(port);
        }
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let askers: Vec<(usize, Client)> = pair.admins().into_iter().enumerate().collect();
    let statuses = at_once(askers, |(server, admin)| {
        let ask = |number: usize| admin.post(SERVICES, &service(&format!("s-{server}-{number}"), None)).status;
        (0..OF_EACH).map(ask).collect::<Vec<_>>()
    });
    assert!(statuses.iter().flatten().all(|status| *status == 201), "{statuses:?}");
    let list = pair.admins()[0].get(SERVICES);
    let made: Vec<Value> = items(&list).into_iter().filter(|item| item["spec"]["type"] == "NodePort").collect();
    let of = |path: &str| made.iter().map(|item| item.pointer(path).unwrap().to_string()).collect::<BTreeSet<_>>();
    assert_eq!(made.len(), 2 * OF_EACH);
    assert_eq!(of("/spec/clusterIP").len(), made.len());
    assert_eq!(of("/spec/ports/0/nodePort").len(), made.len());
    // The same port, asked for by name at the same time: one has it.
    let is_free = |port: &u16| !of("/spec/ports/0/nodePort").contains(&port.to_string());
    for (round, wanted) in (32_000..).filter(is_free).take(10).enumerate() {
        let askers: Vec<(usize, Client)> = pair.admins().into_iter().enumerate().collect();
        let mut statuses = at_once(askers, |(server, admin)| {
            admin.post(SERVICES, &service(&format!("w-{server}-{round}"), Some(wanted))).status
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 422], "port {wanted}");
    }
}

/// Two that want to lead, each at its own server: in each term one of them has the lease.
#[test]
fn a_lease_has_one_holder() {
    let Some(pair) = Pair::start() else { return };
    let lease = json!({"metadata": {"name": "leader"}, "spec": {"holderIdentity": "", "leaseDurationSeconds": 15}});
    assert_eq!(pair.admins()[0].post(LEASES, &lease).status, 201);
    let mut held = BTreeMap::new();
    for term in 0..OF_EACH {
        let askers: Vec<(usize, Client)> = pair.admins().into_iter().enumerate().collect();
        let seen: Vec<Value> =
            pair.admins().iter().map(|admin| admin.get(&format!("{LEASES}/leader")).json()).collect();
        assert_eq!(seen[0], seen[1]);
        let statuses = at_once(askers, |(server, admin)| {
            let mut wanted = seen[server].clone();
            wanted["spec"]["holderIdentity"] = json!(format!("{server}-{term}"));
            admin.send("PUT", &format!("{LEASES}/leader"), Some(&wanted)).unwrap().status
        });
        let winner = statuses.iter().position(|status| *status == 200).expect("one has it");
        assert_eq!(statuses[1 - winner], 409, "term {term}");
        *held.entry(winner).or_insert(0) += 1;
        let holder = pair.admins()[1 - winner].get(&format!("{LEASES}/leader")).json();
        assert_eq!(holder["spec"]["holderIdentity"], format!("{winner}-{term}"));
    }
    println!("terms: {held:?}");
}

/// What is beside the store in a data directory is of one server, also when the store is elsewhere.
#[test]
fn a_data_directory_has_one_server() {
    let Some(pair) = Pair::start() else { return };
    let owner = pair.servers[0].id().to_string();
    // With the same etcd, and with the data directory itself as its store.
    for arguments in [pair.arguments(), Vec::new()] {
        let error = start(pair.servers[0].data_dir(), &arguments).err().expect("no second server");
        assert!(error.contains("in use by process") && error.contains(&owner), "{error}");
    }
}
