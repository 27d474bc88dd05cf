//! Quotas under parallel writes, and what they do not charge; limits of a namespace.

use super::*;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";

impl Cluster {
    /// A quota whose status a controller has filled in.
    async fn quota(&self, name: &str, hard: Value) {
        let made = self.post(QUOTAS, json!({"metadata": {"name": name}, "spec": {"hard": hard}})).await;
        assert_eq!(made.code, 201, "{}", made.message());
        let used: serde_json::Map<String, Value> =
            hard.as_object().unwrap().keys().map(|name| (name.clone(), json!("0"))).collect();
        let status = json!({"status": {"hard": hard, "used": used}});
        let counted = self.merge(&format!("{QUOTAS}/{name}/status"), status).await;
        assert_eq!(counted.code, 200, "{}", counted.message());
    }

    async fn used(&self, quota: &str) -> Value {
        self.get(&format!("{QUOTAS}/{quota}")).await.at("/status/used")
    }
}

#[tokio::test]
async fn of_many_parallel_writes_as_many_pass_as_there_is_room() {
    const ROOM: usize = 20;
    const WRITERS: usize = 64;
    let cluster = Cluster::new().await;
    cluster.quota("q", json!({"configmaps": ROOM.to_string()})).await;
    cluster.quota("wide", json!({"count/configmaps": "1k"})).await;
    let write = |number: usize| {
        let cluster = &cluster;
        async move { cluster.post(CONFIG_MAPS, json!({"metadata": {"name": format!("m{number}")}})).await }
    };
    let mut codes = Vec::new();
    for said in futures_util::future::join_all((0..WRITERS).map(write)).await {
        let (code, message) = (said.code, said.message());
        if code != 201 {
            assert!(
                message.ends_with(
                    "exceeded quota: q, requested: configmaps=1, used: configmaps=20, limited: configmaps=20"
                ),
                "{message}"
            );
        }
        codes.push(code);
    }
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), ROOM, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 403).count(), WRITERS - ROOM, "{codes:?}");
    assert_eq!(cluster.get(CONFIG_MAPS).await.at("/items").as_array().unwrap().len(), ROOM);
    assert_eq!(cluster.used("q").await, json!({"configmaps": "20"}));
    assert_eq!(cluster.used("wide").await, json!({"count/configmaps": "20"}));
}

#[tokio::test]
async fn what_is_not_stored_is_not_charged() {
    let cluster = Cluster::new().await;
    cluster.quota("q", json!({"configmaps": "1"})).await;
    let named = |name: &str| json!({"metadata": {"name": name}});
    let tried = cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), named("a")).await;
    assert_eq!((tried.code, cluster.used("q").await), (201, json!({"configmaps": "0"})));
    let wrong = cluster.post(CONFIG_MAPS, named("Not Valid")).await;
    assert_eq!((wrong.code == 201, cluster.used("q").await), (false, json!({"configmaps": "0"})));
    assert_eq!(cluster.post(CONFIG_MAPS, named("a")).await.code, 201);
    assert_eq!(cluster.used("q").await, json!({"configmaps": "1"}));
    assert_eq!(cluster.post(CONFIG_MAPS, named("a")).await.code, 403);
    assert_eq!(cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), named("b")).await.code, 403);
    // What is there already costs nothing more, and what goes is given back by a controller.
    assert_eq!(cluster.merge(&format!("{CONFIG_MAPS}/a"), json!({"data": {"a": "b"}})).await.code, 200);
    cluster.delete(&format!("{CONFIG_MAPS}/a"), Value::Null).await;
    assert_eq!(cluster.used("q").await, json!({"configmaps": "1"}));
}

#[tokio::test]
async fn who_charges_is_on_record() {
    let cluster = Cluster::new().await;
    cluster.quota("q", json!({"configmaps": "1"})).await;
    cluster.config_map("a", json!({})).await;
    let quota = cluster.get(&format!("{QUOTAS}/q")).await;
    let managers = quota.at("/metadata/managedFields");
    let own = managers.as_array().unwrap().iter().find(|entry| entry["manager"] == "kube-apiserver").unwrap();
    assert_eq!(own["subresource"], "status");
    assert_eq!(own["fieldsV1"], json!({"f:status": {"f:used": {"f:configmaps": {}}}}));
}

#[tokio::test]
async fn only_the_increase_of_an_update_is_charged() {
    let cluster = Cluster::new().await;
    cluster.quota("q", json!({"services.nodeports": "2"})).await;
    let ports = |count: u16| {
        (0..count).map(|number| json!({"name": format!("p{number}"), "port": 80 + number})).collect::<Vec<_>>()
    };
    let service = |count: u16| json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports(count)}});
    assert_eq!(cluster.post(SERVICES, service(1)).await.code, 201);
    assert_eq!(cluster.used("q").await, json!({"services.nodeports": "1"}));
    let two = cluster.merge(&format!("{SERVICES}/s"), json!({"spec": {"ports": ports(2)}})).await;
    assert_eq!(two.code, 200, "{}", two.message());
    assert_eq!(cluster.used("q").await, json!({"services.nodeports": "2"}));
    let three = cluster.merge(&format!("{SERVICES}/s"), json!({"spec": {"ports": ports(3)}})).await;
    let why =
        "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=2, limited: services.nodeports=2";
    assert_eq!((three.code, three.message()), (403, format!(r#"services "s" is forbidden: {why}"#)));
}

#[tokio::test]
async fn a_namespace_limits_its_pods() {
    let cluster = Cluster::new().await;
    let limits =
        json!([{"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}}]);
    let made = cluster.post(RANGES, json!({"metadata": {"name": "r"}, "spec": {"limits": limits}})).await;
    assert_eq!(made.code, 201, "{}", made.message());
    let pod = |name: &str, limits: Value| {
        let container = json!({"name": "a", "image": "crane", "resources": {"limits": limits}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
    };
    let quiet = cluster.post(PODS, pod("quiet", json!({}))).await;
    assert_eq!(quiet.code, 201, "{}", quiet.message());
    let resources = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}});
    assert_eq!(quiet.at("/spec/containers/0/resources"), resources);
    assert_eq!(
        quiet.at("/metadata/annotations"),
        json!({"kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu request for container a; cpu limit for container a"})
    );
    let loud = cluster.post(PODS, pod("loud", json!({"cpu": "3"}))).await;
    assert_eq!(loud.code, 403);
    let one = "maximum cpu usage per Container is 2, but limit is 3";
    assert_eq!(loud.message(), format!(r#"pods "loud" is forbidden: {one}"#));
}
