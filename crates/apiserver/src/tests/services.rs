//! Addresses and ports of services: who gets them, who gives them back, and that nobody has another's (A23, CVE-2020-8554).

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use super::*;
use crate::services::Found;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const PORTS: &str = "/registry/ranges/servicenodeports";

impl Cluster {
    async fn service(&self, name: &str, spec: Value) -> Said {
        let mut spec = spec;
        if spec.get("ports").is_none() {
            spec["ports"] = json!([{"port": 80}]);
        }
        self.post(SERVICES, json!({"metadata": {"name": name}, "spec": spec})).await
    }

    async fn addresses(&self) -> BTreeSet<String> {
        names(&self.get(ADDRESSES).await).into_iter().collect()
    }

    /// The ports that are noted as taken.
    async fn ports(&self) -> BTreeSet<u16> {
        crate::services::ports_noted(&self.engine.newest().await.unwrap())
    }

    /// Another server over the same store.
    fn beside(&self, config: Config) -> Cluster {
        let (engine, env) = (Arc::clone(&self.engine), Arc::clone(&self.env));
        let store = Arc::clone(&engine) as Arc<dyn Engine>;
        let clock = Arc::clone(&env) as Arc<dyn Env>;
        let server = ApiServer::new(store, Arc::new(Registry::new()), config, clock);
        let gate = Gate::new(Answers { server: Arc::clone(&server) }, Guards::default(), Limits::default());
        Cluster { server, gate, admin: Arc::clone(&self.admin), engine, env, _folder: tempfile::tempdir().unwrap() }
    }

    /// Every service has an address and a port of its own, all of them are noted as its, and nothing else is noted. Returns the names.
    async fn check_all(&self) -> BTreeSet<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let services = self.get("/api/v1/services").await.at("/items");
        let (mut had, mut ports, mut names) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        for service in services.as_array().unwrap() {
            let (name, spec) = (text(&service["metadata"]["name"]), &service["spec"]);
            for address in spec["clusterIPs"].as_array().into_iter().flatten().filter(|address| **address != "None") {
                let other = had.insert(text(address), name.clone());
                assert_eq!(other, None, "{address} is had twice");
            }
            let on_nodes = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
            for port in on_nodes.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64) {
                assert!(ports.insert(u16::try_from(port).unwrap()), "{port} is had twice");
            }
            names.insert(name);
        }
        let addresses = self.get(ADDRESSES).await.at("/items");
        let noted = addresses.as_array().unwrap().iter();
        let noted = noted.map(|one| (text(&one["metadata"]["name"]), text(&one["spec"]["parentRef"]["name"])));
        assert_eq!(noted.collect::<BTreeMap<_, _>>(), had);
        let snapshot = self.engine.newest().await.unwrap();
        assert_eq!(crate::services::ports_noted(&snapshot), ports);
        names
    }
}

fn upstream() -> Config {
    let configuration = crate::admission::AdmissionConfiguration::default();
    let profile = portcullis_gate::Profile::Upstream;
    let dial = portcullis_client::DialRule::default();
    let admission = crate::admission::Selection::configured(&[], &[], configuration, &dial, profile).unwrap();
    Config { profile, admission, ..Config::default() }
}

#[tokio::test]
async fn an_address_comes_and_goes_with_its_service() {
    let cluster = Cluster::new().await;
    let before = cluster.addresses().await;
    assert_eq!(before, BTreeSet::from(["10.96.0.1".to_owned()]));
    let made = cluster.service("a", json!({})).await;
    let address = made.at("/spec/clusterIP");
    assert_eq!((made.code, made.at("/spec/clusterIPs")), (201, json!([address])), "{}", made.message());
    let noted = cluster.get(&format!("{ADDRESSES}/{}", address.as_str().unwrap())).await;
    assert_eq!(
        noted.at("/spec/parentRef"),
        json!({"resource": "services", "namespace": "default", "name": "a"}),
        "{}",
        noted.message()
    );
    assert_eq!(noted.at("/metadata/labels/ipaddress.kubernetes.io~1ip-family"), "IPv4");
    // One commit: both have the version of it.
    assert_eq!(noted.at("/metadata/resourceVersion"), made.at("/metadata/resourceVersion"));
    let taken = cluster.service("b", json!({"clusterIP": address})).await;
    let address = address.as_str().unwrap();
    assert_eq!(
        (taken.code, taken.message()),
        (
            422,
            format!(
                "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"{address}\"]: failed to allocate IP {address}: \
                 provided IP is already allocated"
            )
        )
    );
    cluster.post("/api/v1/namespaces/default/endpoints", json!({"metadata": {"name": "a"}})).await;
    assert_eq!(cluster.delete(&format!("{SERVICES}/a"), Value::Null).await.code, 200);
    assert_eq!(cluster.addresses().await, before);
    assert_eq!(cluster.get("/api/v1/namespaces/default/endpoints/a").await.code, 404);
}

#[tokio::test]
async fn what_a_dry_run_answers_nobody_has() {
    let cluster = Cluster::new().await;
    let before = (cluster.addresses().await, cluster.ports().await);
    let spec = json!({"metadata": {"name": "a"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let said = cluster.post(&format!("{SERVICES}?dryRun=All"), spec).await;
    assert_eq!((said.code, said.at("/spec/clusterIP")), (201, json!("10.96.0.0")), "{}", said.message());
    assert_eq!(said.at("/spec/ports/0/nodePort"), 32_769);
    assert_eq!((cluster.addresses().await, cluster.ports().await), before);
}

#[tokio::test]
async fn another_type_takes_and_gives_back() {
    let cluster = Cluster::new().await;
    let before = (cluster.addresses().await, cluster.ports().await);
    assert_eq!(cluster.service("a", json!({"type": "ExternalName", "externalName": "a.example.com"})).await.code, 201);
    assert_eq!((cluster.addresses().await, cluster.ports().await), before);
    let path = format!("{SERVICES}/a");
    let spec = json!({"type": "LoadBalancer", "externalName": null, "externalTrafficPolicy": "Local"});
    let said = cluster.merge(&path, json!({"spec": spec})).await;
    assert_eq!(said.code, 200, "{}", said.message());
    assert_eq!(cluster.addresses().await.len(), 2);
    let ports: BTreeSet<i64> = [said.at("/spec/ports/0/nodePort"), said.at("/spec/healthCheckNodePort")]
        .iter()
        .map(|port| port.as_i64().unwrap())
        .collect();
    assert!(ports.len() == 2 && ports.iter().all(|port| (30_086..=32_767).contains(port)), "{ports:?}");
    let spec = json!({"type": "ExternalName", "externalName": "a.example.com", "clusterIP": "", "clusterIPs": null});
    let said = cluster.merge(&path, json!({"spec": spec})).await;
    assert_eq!(said.code, 200, "{}", said.message());
    assert_eq!(cluster.addresses().await, before.0);
    assert_eq!(cluster.ports().await, BTreeSet::new());
}

#[tokio::test]
async fn wanted_ports_are_had_or_refused() {
    let cluster = Cluster::new().await;
    let ports = |port: i64| json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    assert_eq!(cluster.service("a", ports(30_123)).await.code, 201);
    let check = async |port: i64, why: &str| {
        let said = cluster.service("b", ports(port)).await;
        let expected =
            format!("Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is {why}");
        assert_eq!((said.code, said.message()), (422, expected));
    };
    check(30_123, "already allocated").await;
    check(80, "not in the valid range. The range of valid ports is 30000-32767").await;
    assert_eq!(cluster.delete(&format!("{SERVICES}/a"), Value::Null).await.code, 200);
    assert_eq!(cluster.service("b", ports(30_123)).await.code, 201);
}

#[tokio::test]
async fn of_a_small_range_every_address_is_had_by_one() {
    const WRITERS: usize = 64;
    let cluster =
        Cluster::with(Config { service_cidr: "10.7.0.0/26".parse().unwrap(), ..Config::default() }, Vec::new(), None)
            .await;
    let write = |number: usize| {
        let cluster = &cluster;
        async move { cluster.service(&format!("s{number}"), json!({"type": "NodePort"})).await }
    };
    let said = futures_util::future::join_all((0..WRITERS).map(write)).await;
    let (made, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.code == 201);
    // One is the service kubernetes's.
    assert_eq!((made.len(), refused.len()), (61, 3));
    for said in refused {
        let message = "Internal error occurred: failed to allocate a serviceIP: range is full";
        assert_eq!((said.code, said.message().as_str()), (500, message));
    }
    let distinct = |pointer: &str| made.iter().map(|said| said.at(pointer).to_string()).collect::<BTreeSet<_>>().len();
    assert_eq!((distinct("/spec/clusterIP"), distinct("/spec/ports/0/nodePort")), (61, 61));
    let gone = (0..WRITERS).map(|number| {
        let cluster = &cluster;
        async move { cluster.delete(&format!("{SERVICES}/s{number}"), Value::Null).await }
    });
    futures_util::future::join_all(gone).await;
    assert_eq!(cluster.addresses().await, BTreeSet::from(["10.7.0.1".to_owned()]));
    assert_eq!(cluster.ports().await, BTreeSet::new());
}

#[tokio::test]
async fn what_is_nobodys_is_not_given_on_demand() {
    let config = Config { service_cidr: "10.7.0.0/29".parse().unwrap(), ..Config::default() };
    let cluster = Cluster::with(config, Vec::new(), None).await;
    for address in ["10.7.0.0", "10.7.0.7", "10.8.0.1"] {
        let said = cluster.service("a", json!({"clusterIP": address})).await;
        assert_eq!(said.code, 422, "{address}");
        assert!(
            said.message().ends_with("the provided network does not match the current range"),
            "{}",
            said.message()
        );
        let body = json!({"metadata": {"name": "a"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
        let said = cluster.post(&format!("{SERVICES}?dryRun=All"), body).await;
        assert!(said.message().ends_with("The range of valid IPs is 10.7.0.0/29"), "{}", said.message());
    }
}

#[tokio::test]
async fn another_range_is_used_as_soon_as_it_is_there() {
    let config = Config { service_cidr: "10.7.0.0/29".parse().unwrap(), ..Config::default() };
    let cluster = Cluster::with(config, Vec::new(), None).await;
    for number in 0..5 {
        assert_eq!(cluster.service(&format!("s{number}"), json!({})).await.code, 201);
    }
    assert_eq!(cluster.service("s5", json!({})).await.code, 500);
    let said = cluster.service("s5", json!({"clusterIP": "10.8.0.9"})).await;
    assert!(said.message().ends_with("the provided network does not match the current range"), "{}", said.message());
    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.8.0.0/28"]}});
    assert_eq!(cluster.post(RANGES, range).await.code, 201);
    assert_eq!(cluster.service("s5", json!({"clusterIP": "10.8.0.9"})).await.code, 201);
    assert_eq!(cluster.service("s6", json!({})).await.code, 201);
    // One that a controller has said is not ready gives nothing out.
    let condition = json!([{"type": "Ready", "status": "False", "reason": "Terminating", "message": "",
        "lastTransitionTime": "2027-01-15T08:00:00Z"}]);
    let said = cluster.merge(&format!("{RANGES}/more/status"), json!({"status": {"conditions": condition}})).await;
    assert_eq!(said.code, 200, "{}", said.message());
    assert_eq!(cluster.service("s7", json!({})).await.code, 500);
}

#[tokio::test]
async fn both_families() {
    let config = Config { service_cidr_secondary: Some("fd00:10:96::/112".parse().unwrap()), ..Config::default() };
    let cluster = Cluster::with(config, Vec::new(), None).await;
    let said = cluster.service("a", json!({"ipFamilyPolicy": "RequireDualStack"})).await;
    assert_eq!((said.code, said.at("/spec/ipFamilies")), (201, json!(["IPv4", "IPv6"])), "{}", said.message());
    let second = said.at("/spec/clusterIPs/1").as_str().unwrap().to_owned();
    assert!(second.starts_with("fd00:10:96::"), "{second}");
    assert_eq!(cluster.get(&format!("{ADDRESSES}/{second}")).await.code, 200);
    let said = cluster.merge(&format!("{SERVICES}/a"), json!({"spec": {"ipFamilyPolicy": "SingleStack"}})).await;
    assert_eq!((said.code, said.at("/spec/ipFamilies")), (200, json!(["IPv4"])), "{}", said.message());
    assert_eq!(cluster.get(&format!("{ADDRESSES}/{second}")).await.code, 404);
}

#[tokio::test]
async fn a_finalizer_holds_the_address_as_long_as_the_service() {
    let cluster = Cluster::new().await;
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]},
        "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let made = cluster.post(SERVICES, body).await;
    let address = format!("{ADDRESSES}/{}", made.at("/spec/clusterIP").as_str().unwrap());
    let path = format!("{SERVICES}/a");
    assert_eq!(cluster.delete(&path, Value::Null).await.code, 200);
    assert_eq!((cluster.get(&path).await.code, cluster.get(&address).await.code), (200, 200));
    assert_eq!(cluster.merge(&path, json!({"metadata": {"finalizers": null}})).await.code, 200);
    assert_eq!((cluster.get(&path).await.code, cluster.get(&address).await.code), (404, 404));
    assert_eq!(cluster.ports().await, BTreeSet::new());
}

#[tokio::test]
async fn what_others_broke_is_put_right() {
    let cluster = Cluster::new().await;
    let made = cluster.service("a", json!({"type": "NodePort"})).await;
    let address = made.at("/spec/clusterIP").as_str().unwrap().to_owned();
    let stored = cluster.ports().await;
    // Somebody deletes what the service has, and notes something that is nobody's.
    cluster.delete(&format!("{ADDRESSES}/{address}"), Value::Null).await;
    let snapshot = cluster.engine.newest().await.unwrap();
    let ports = portcullis_store::Operation::delete(PORTS, snapshot.get(PORTS).unwrap().version);
    cluster.engine.commit(portcullis_store::Commit::from(ports)).await.unwrap();
    let labels = json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
    let parent = json!({"resource": "services", "namespace": "default", "name": "gone"});
    let leaked = json!({"metadata": {"name": "10.96.9.9", "labels": labels}, "spec": {"parentRef": parent}});
    assert_eq!(cluster.post(ADDRESSES, leaked).await.code, 201);
    cluster.env.micros.fetch_add(120_000_000, Ordering::Relaxed);
    cluster.server.repair_services(&mut Found::default()).await.unwrap();
    assert_eq!(cluster.addresses().await, BTreeSet::from(["10.96.0.1".to_owned(), address.clone()]));
    assert_eq!(cluster.ports().await, stored);
    let events = cluster.get("/api/v1/namespaces/default/events").await;
    let said: BTreeSet<String> =
        events.at("/items").as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap().to_owned()).collect();
    let port = made.at("/spec/ports/0/nodePort");
    let expected = [
        format!("Cluster IP [IPv4]: {address} is not allocated; repairing"),
        format!("Port {port} is not allocated; repairing"),
    ];
    assert_eq!(said, BTreeSet::from(expected));
}

#[tokio::test]
async fn a23_cve_2020_8554_nobody_takes_an_address_over() {
    let outside = json!({"externalIPs": ["192.0.2.7"]});
    let locked = Cluster::new().await;
    let said = locked.service("a", outside.clone()).await;
    let message = "services \"a\" is forbidden: Use of external IPs is denied by admission control.";
    assert_eq!((said.code, said.message().as_str()), (403, message));
    assert_eq!(locked.service("a", json!({})).await.code, 201);
    let said = locked.merge(&format!("{SERVICES}/a"), json!({"spec": outside})).await;
    assert_eq!((said.code, said.message().as_str()), (403, message));
    let loose = Cluster::with(upstream(), Vec::new(), None).await;
    assert_eq!(loose.service("a", outside).await.code, 201);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Asks two servers, half of the clients each, until everything is asked for.
fn in_parallel(servers: &[Cluster; 2], clients: usize, count: usize, ask: impl AsyncFn(&Cluster, usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for server in servers {
            let (next, ask) = (&next, &ask);
            scope.spawn(move || {
                let clients = (0..clients / servers.len()).map(|_| async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        ask(server, number).await;
                    }
                });
                runtime().block_on(futures_util::future::join_all(clients));
            });
        }
    });
}

/// Goes away in the middle of a request: it is polled so often.
async fn abandon(request: impl Future<Output = Said>) {
    const POLLS: usize = 3;
    let mut request = Box::pin(request);
    for _ in 0..POLLS {
        if poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_ready())).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Some clients go away before they are answered, and what they began is done or not, but never by half.
#[test]
fn two_servers_never_give_out_one_address_twice() {
    const CLIENTS: usize = 64;
    const MADE: usize = 10_000;
    /// Of so many requests, one is abandoned and begun again.
    const ABANDONED: usize = 8;
    let config = Config { service_cidr: "10.7.0.0/18".parse().unwrap(), ..Config::default() };
    let one = runtime().block_on(Cluster::with(config.clone(), Vec::new(), None));
    let servers = [one.beside(config), one];
    in_parallel(&servers, CLIENTS, MADE, async |server, number| {
        let name = format!("s{number}");
        let spec = json!({"type": if number.is_multiple_of(20) { "NodePort" } else { "ClusterIP" }});
        if number.is_multiple_of(ABANDONED) {
            abandon(server.service(&name, spec.clone())).await;
        }
        let said = server.service(&name, spec).await;
        // Who went away finds its service there.
        assert!([201, 409].contains(&said.code), "{} {}", said.code, said.message());
    });
    assert_eq!(runtime().block_on(servers[0].check_all()).len(), MADE + 1);
    in_parallel(&servers, CLIENTS, MADE, async |server, number| {
        let path = format!("{SERVICES}/s{number}");
        if number.is_multiple_of(ABANDONED) {
            abandon(server.delete(&path, Value::Null)).await;
        }
        let said = server.delete(&path, Value::Null).await;
        assert!([200, 404].contains(&said.code), "{} {}", said.code, said.message());
    });
    assert_eq!(runtime().block_on(servers[1].check_all()), BTreeSet::from(["kubernetes".to_owned()]));
}

#[tokio::test]
async fn two_servers_share_the_last_addresses_and_ports() {
    const WRITERS: usize = 64;
    let ports: crate::PortRange = "30000-30029".parse().unwrap();
    let config =
        Config { service_cidr: "10.7.0.0/26".parse().unwrap(), service_node_ports: ports, ..Config::default() };
    let one = Cluster::with(config.clone(), Vec::new(), None).await;
    let servers = [one.beside(config), one];
    let write = |number: usize, type_: &'static str| {
        let server = &servers[number % 2];
        async move { server.service(&format!("s{number}"), json!({"type": type_})).await }
    };
    let said = futures_util::future::join_all((0..WRITERS).map(|number| write(number, "NodePort"))).await;
    let (made, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.code == 201);
    assert_eq!((made.len(), refused.len()), (30, 34));
    for said in refused {
        let message = "Internal error occurred: failed to allocate a nodePort: range is full";
        assert_eq!((said.code, said.message().as_str()), (500, message));
    }
    let said = futures_util::future::join_all((WRITERS..2 * WRITERS).map(|number| write(number, "ClusterIP"))).await;
    assert_eq!(said.iter().filter(|said| said.code == 201).count(), 31);
    assert_eq!(servers[0].check_all().await.len(), 62);
    assert_eq!(servers[1].delete(SERVICES, Value::Null).await.code, 200);
    assert_eq!(servers[0].check_all().await, BTreeSet::new());
}

#[tokio::test]
async fn what_fails_or_only_tries_leaves_nothing() {
    let cluster = Cluster::new().await;
    let spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
    assert_eq!(cluster.service("held", json!({"type": "LoadBalancer"})).await.code, 201);
    let before = (cluster.addresses().await, cluster.ports().await);
    let check = async |said: Said, code: u16| {
        assert_eq!(said.code, code, "{}", said.message());
        assert_eq!((cluster.addresses().await, cluster.ports().await), before, "{}", said.message());
        cluster.check_all().await;
    };
    // Validated after it was given what it needs.
    check(cluster.service("a", json!({"type": "NodePort", "sessionAffinity": "No"})).await, 422).await;
    check(cluster.service("a", json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]})).await, 422).await;
    check(cluster.service("held", spec.clone()).await, 409).await;
    let elsewhere = "/api/v1/namespaces/nosuch/services";
    check(cluster.post(elsewhere, json!({"metadata": {"name": "a"}, "spec": spec})).await, 404).await;
    let held = format!("{SERVICES}/held");
    let dry = format!("{held}?dryRun=All");
    let many = json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}});
    check(cluster.merge(&dry, many.clone()).await, 200).await;
    check(cluster.delete(&dry, Value::Null).await, 200).await;
    check(cluster.delete(&format!("{SERVICES}?dryRun=All"), Value::Null).await, 200).await;
    let external =
        json!({"spec": {"type": "ExternalName", "externalName": "a.b", "clusterIP": null, "clusterIPs": null}});
    check(cluster.merge(&dry, external.clone()).await, 200).await;
    let mut wrong = many.clone();
    wrong["spec"]["sessionAffinity"] = json!("No");
    check(cluster.merge(&held, wrong).await, 422).await;
    let mut late = external.clone();
    late["metadata"]["resourceVersion"] = json!("1");
    check(cluster.merge(&held, late).await, 409).await;
    assert_eq!(cluster.merge(&held, many).await.code, 200);
    cluster.check_all().await;
    assert_eq!(cluster.merge(&held, external).await.code, 200);
    assert_eq!(cluster.ports().await, BTreeSet::new());
    assert_eq!(cluster.check_all().await.len(), 2);
}

#[tokio::test]
async fn an_applied_type_takes_and_gives_back() {
    let cluster = Cluster::new().await;
    let apply = async |spec: Value| {
        let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": spec});
        let headers = [("content-type", "application/apply-patch+yaml")];
        let path = format!("{SERVICES}/a?fieldManager=m&force=true");
        let said = cluster.send("PATCH", &path, &headers, body.to_string()).await;
        assert!([200, 201].contains(&said.code), "{}", said.message());
        cluster.check_all().await;
        said
    };
    let ports = json!([{"port": 80, "protocol": "TCP"}]);
    let first = apply(json!({"type": "NodePort", "ports": ports})).await;
    let said = apply(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports})).await;
    assert_eq!(said.at("/spec/ports/0/nodePort"), first.at("/spec/ports/0/nodePort"));
    assert_eq!(said.at("/spec/clusterIP"), first.at("/spec/clusterIP"));
    let said = apply(json!({"type": "ClusterIP", "ports": ports})).await;
    assert_eq!((said.at("/spec/clusterIP"), cluster.ports().await), (first.at("/spec/clusterIP"), BTreeSet::new()));
    apply(json!({"type": "ExternalName", "externalName": "a.b", "ports": ports})).await;
    assert_eq!(cluster.addresses().await.len(), 1);
    apply(json!({"type": "NodePort", "ports": ports})).await;
    assert_eq!(cluster.addresses().await.len(), 2);
}

#[tokio::test]
async fn ports_that_are_no_longer_noted_are_still_somebodys() {
    let cluster = Cluster::new().await;
    let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_123}]});
    assert_eq!(cluster.service("a", spec.clone()).await.code, 201);
    let snapshot = cluster.engine.newest().await.unwrap();
    let lost = portcullis_store::Operation::delete(PORTS, snapshot.get(PORTS).unwrap().version);
    cluster.engine.commit(portcullis_store::Commit::from(lost)).await.unwrap();
    let said = cluster.service("b", spec).await;
    assert!(said.message().ends_with("provided port is already allocated"), "{}", said.message());
    assert_eq!(cluster.service("b", json!({"type": "NodePort"})).await.code, 201);
    cluster.check_all().await;
}

#[tokio::test]
async fn what_stays_wrong_is_told_once() {
    let cluster = Cluster::new().await;
    assert_eq!(
        cluster.post(RANGES, json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.8.0.0/28"]}})).await.code,
        201
    );
    let made = cluster.service("a", json!({"clusterIP": "10.8.0.9"})).await;
    assert_eq!(made.code, 201, "{}", made.message());
    // The range goes, and what the service has is noted as another's.
    assert_eq!(cluster.delete(&format!("{RANGES}/more"), Value::Null).await.code, 200);
    let address = format!("{ADDRESSES}/10.8.0.9");
    assert_eq!(cluster.delete(&address, Value::Null).await.code, 200);
    let mut found = Found::default();
    for _ in 0..3 {
        cluster.server.repair_services(&mut found).await.unwrap();
    }
    let told = async || {
        let events = cluster.get("/api/v1/namespaces/default/events").await.at("/items");
        events.as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let gone = "Cluster IP [IPv4]: 10.8.0.9 is not within any configured Service CIDR; please recreate service";
    assert_eq!(told().await, [gone]);
    assert_eq!(cluster.get(&address).await.code, 404);
    assert_eq!(
        cluster.post(RANGES, json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.8.0.0/28"]}})).await.code,
        201
    );
    cluster.server.repair_services(&mut found).await.unwrap();
    assert_eq!(told().await.len(), 2);
    assert_eq!(cluster.check_all().await.len(), 2);
}

#[tokio::test]
async fn other_flags_take_nothing_from_anybody() {
    let of = |primary: &str, secondary: Option<&str>| Config {
        service_cidr: primary.parse().unwrap(),
        service_cidr_secondary: secondary.map(|range| range.parse().unwrap()),
        ..Config::default()
    };
    let cluster = Cluster::with(of("10.7.0.0/24", None), Vec::new(), None).await;
    let check = async |config: Config, cidrs: Value| {
        let server = cluster.beside(config);
        server.server.bootstrap().await.unwrap();
        assert_eq!(server.get(&format!("{RANGES}/kubernetes")).await.at("/spec/cidrs"), cidrs);
        assert_eq!(server.get(&format!("{SERVICES}/kubernetes")).await.at("/spec/clusterIP"), "10.7.0.1");
        server.check_all().await;
    };
    check(of("10.9.0.0/24", None), json!(["10.7.0.0/24"])).await;
    check(of("10.9.0.0/24", Some("fd00::/112")), json!(["10.7.0.0/24"])).await;
    let both = json!(["10.7.0.0/24", "fd00::/112"]);
    check(of("10.7.0.0/24", Some("fd00::/112")), both.clone()).await;
    check(of("10.7.0.0/24", None), both).await;
    // Its service is gone, and its address somebody else's.
    assert_eq!(cluster.delete(&format!("{SERVICES}/kubernetes"), Value::Null).await.code, 200);
    assert_eq!(cluster.service("a", json!({"clusterIP": "10.7.0.1"})).await.code, 201);
    cluster.beside(of("10.7.0.0/24", None)).server.bootstrap().await.unwrap();
    assert_eq!(cluster.check_all().await, BTreeSet::from(["a".to_owned()]));
    assert_eq!(cluster.delete(&format!("{SERVICES}/a"), Value::Null).await.code, 200);
    cluster.beside(of("10.7.0.0/24", None)).server.bootstrap().await.unwrap();
    assert_eq!(cluster.check_all().await, BTreeSet::from(["kubernetes".to_owned()]));
}
