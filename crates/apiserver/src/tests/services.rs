//! Addresses and ports of services: who gets them, who gives them back, and that nobody has another's (A23, CVE-2020-8554).

use std::collections::BTreeSet;

use super::*;
use crate::services::Leaks;

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

    /// What is stored of ports.
    async fn ports(&self) -> Vec<u8> {
        let snapshot = self.engine.newest().await.unwrap();
        let Some(entry) = snapshot.get(PORTS) else { return Vec::new() };
        let object: Value = serde_json::from_slice(&entry.value).unwrap();
        object["data"].as_str().unwrap().as_bytes().to_vec()
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
    assert_eq!(cluster.ports().await, b"");
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
    assert_eq!(cluster.ports().await, b"");
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
    assert_eq!(cluster.ports().await, b"");
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
    cluster.server.repair_services(&mut Leaks::default()).await.unwrap();
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
