//! Evictions against budgets, and the doors to parts of a pod.

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

/// A pod that runs, ready or not.
async fn running(cluster: &Cluster, name: &str, is_ready: bool) {
    let spec = json!({"nodeName": "quay", "containers": [{"name": "c", "image": "i"}]});
    let metadata = json!({"name": name, "labels": {"app": "crane"}});
    assert_eq!(cluster.post(PODS, json!({"metadata": metadata, "spec": spec})).await.code, 201);
    let ready = if is_ready { "True" } else { "False" };
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    let said = cluster.merge(&format!("{PODS}/{name}/status"), json!({"status": status})).await;
    assert_eq!(said.code, 200, "{}", said.message());
}

/// A budget that its controller has looked at.
async fn budget(cluster: &Cluster, name: &str, spec: Value, status: Value) {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "crane"}});
    spec["maxUnavailable"] = json!(1);
    let said = cluster.post(BUDGETS, json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(said.code, 201, "{}", said.message());
    let mut status = status;
    status["observedGeneration"] = json!(1);
    let said = cluster.merge(&format!("{BUDGETS}/{name}/status"), json!({"status": status})).await;
    assert_eq!(said.code, 200, "{}", said.message());
}

async fn evict(cluster: &Cluster, name: &str, query: &str, more: Value) -> Said {
    let mut eviction = more;
    eviction["apiVersion"] = "policy/v1".into();
    eviction["kind"] = "Eviction".into();
    eviction["metadata"] = json!({"name": name});
    cluster.post(&format!("{PODS}/{name}/eviction{query}"), eviction).await
}

#[tokio::test]
async fn an_eviction_is_counted_and_says_why() {
    let cluster = Cluster::new().await;
    running(&cluster, "a", true).await;
    budget(&cluster, "b", json!({}), json!({"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 0})).await;
    // For show, nothing is counted and nothing goes.
    assert_eq!(evict(&cluster, "a", "?dryRun=All", json!({})).await.code, 201);
    assert_eq!(evict(&cluster, "a", "", json!({"deleteOptions": {"dryRun": ["All"]}})).await.code, 201);
    let held = format!("{BUDGETS}/b");
    assert_eq!(cluster.get(&held).await.at("/status/disruptionsAllowed"), json!(1));
    let other = json!({"deleteOptions": {"preconditions": {"uid": "another"}}});
    assert_eq!(evict(&cluster, "a", "", other).await.code, 409);
    assert_eq!(evict(&cluster, "a", "", json!({})).await.code, 201);
    let budget = cluster.get(&held).await;
    assert_eq!(budget.at("/status/disruptionsAllowed"), json!(0));
    assert!(budget.at("/status/disruptedPods/a").is_string());
    assert_eq!(budget.at("/status/conditions/0/reason"), json!("InsufficientPods"));
    let pod = cluster.get(&format!("{PODS}/a")).await;
    assert_eq!(pod.at("/status/conditions/1/type"), json!("DisruptionTarget"));
    assert_eq!(pod.at("/metadata/deletionGracePeriodSeconds"), json!(30));
    // Who is on the way out is missed by nobody.
    assert_eq!(evict(&cluster, "a", "", json!({})).await.code, 201);
    assert_eq!(cluster.get(&held).await.at("/status/disruptionsAllowed"), json!(0));
}

#[tokio::test]
async fn budgets_refuse() {
    let check = async |spec: Value, status: Value, is_ready: bool, expected: (u16, &str)| {
        let cluster = Cluster::new().await;
        running(&cluster, "a", is_ready).await;
        budget(&cluster, "b", spec, status.clone()).await;
        let said = evict(&cluster, "a", "", json!({})).await;
        let cause = said.at("/details/causes/0/message");
        assert_eq!((said.code, cause.as_str().unwrap_or_default()), expected, "{status} {}", said.message());
    };
    let needs = "The disruption budget b needs 2 healthy pods and has 1 currently";
    let none = json!({"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 2});
    check(json!({}), none.clone(), true, (429, needs)).await;
    check(json!({}), none.clone(), false, (429, needs)).await;
    check(json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"}), none, false, (201, "")).await;
    let enough = json!({"disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2});
    check(json!({"unhealthyPodEvictionPolicy": "IfHealthyBudget"}), enough.clone(), false, (201, "")).await;
    let needs = "The disruption budget b needs 2 healthy pods and has 2 currently";
    check(json!({}), enough, true, (429, needs)).await;
    let failed = json!({"disruptionsAllowed": 0, "conditions": [{"type": "DisruptionAllowed", "status": "False",
        "reason": "SyncFailed", "message": "no scale", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let why = "The disruption budget b does not allow evicting pods currently because it failed sync: no scale";
    check(json!({}), failed, true, (429, why)).await;
}

#[tokio::test]
async fn a_budget_is_not_overdrawn_by_many_at_once() {
    const PODS_COUNT: usize = 12;
    const ALLOWED: usize = 3;
    let cluster = Cluster::new().await;
    for at in 0..PODS_COUNT {
        running(&cluster, &format!("p{at}"), true).await;
    }
    budget(&cluster, "b", json!({}), json!({"disruptionsAllowed": ALLOWED, "currentHealthy": 9, "desiredHealthy": 6}))
        .await;
    let evictions = (0..PODS_COUNT).map(|at| {
        let cluster = &cluster;
        async move { evict(cluster, &format!("p{at}"), "", json!({})).await.code }
    });
    let mut codes = Vec::new();
    for code in futures_of(evictions).await {
        codes.push(code);
    }
    assert_eq!(codes.iter().filter(|code| **code == 201).count(), ALLOWED, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 429).count(), PODS_COUNT - ALLOWED, "{codes:?}");
    assert_eq!(cluster.get(&format!("{BUDGETS}/b")).await.at("/status/disruptionsAllowed"), json!(0));
}

#[tokio::test]
async fn whoever_a_budget_has_room_for_is_evicted_however_many_come_at_once() {
    const PODS_COUNT: usize = 64;
    let cluster = Cluster::new().await;
    for at in 0..PODS_COUNT {
        running(&cluster, &format!("p{at}"), true).await;
    }
    let status = json!({"disruptionsAllowed": PODS_COUNT, "currentHealthy": PODS_COUNT, "desiredHealthy": 0});
    budget(&cluster, "b", json!({}), status).await;
    let evictions = (0..PODS_COUNT).map(|at| {
        let cluster = &cluster;
        async move { evict(cluster, &format!("p{at}"), "", json!({})).await.code }
    });
    let codes = futures_of(evictions).await;
    assert!(codes.iter().all(|code| *code == 201), "{codes:?}");
    let held = cluster.get(&format!("{BUDGETS}/b")).await;
    assert_eq!(held.at("/status/disruptionsAllowed"), json!(0));
    assert_eq!(held.at("/status/disruptedPods").as_object().map(serde_json::Map::len), Some(PODS_COUNT));
}

/// Runs requests side by side.
async fn futures_of<T>(requests: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = requests.map(|request| (Box::pin(request), None)).collect();
    std::future::poll_fn(|context| {
        for (request, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = request.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if running.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn a_pod_of_two_budgets_is_not_evicted() {
    let cluster = Cluster::new().await;
    running(&cluster, "a", true).await;
    for name in ["b", "c"] {
        budget(&cluster, name, json!({}), json!({"disruptionsAllowed": 1})).await;
    }
    assert_eq!(evict(&cluster, "a", "", json!({})).await.code, 500);
    assert_eq!(evict(&cluster, "nobody", "", json!({})).await.code, 404);
    let path = format!("{PODS}/a/eviction");
    let other = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "b"}});
    assert_eq!(cluster.post(&path, other).await.code, 400);
}

#[tokio::test]
async fn parts_of_a_pod_belong_to_who_wrote_them() {
    let cluster = Cluster::new().await;
    let resources = json!({"requests": {"cpu": "100m"}});
    let spec = json!({"containers": [{"name": "c", "image": "i", "resources": resources}]});
    assert_eq!(cluster.post(PODS, json!({"metadata": {"name": "a"}, "spec": spec})).await.code, 201);
    let mut pod = serde_json::from_slice::<Value>(&cluster.get(&format!("{PODS}/a")).await.body).unwrap();
    pod["metadata"]["labels"] = json!({"x": "y"});
    pod["spec"]["containers"][0]["image"] = json!("other");
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("200m");
    let said = cluster.put(&format!("{PODS}/a/resize?fieldManager=sizer"), pod).await;
    assert_eq!(said.code, 200, "{}", said.message());
    assert_eq!(said.at("/metadata/generation"), json!(2));
    assert_eq!(said.at("/metadata/labels"), Value::Null);
    assert_eq!(said.at("/spec/containers/0/image"), json!("i"));
    assert_eq!(said.at("/spec/containers/0/resources/requests/cpu"), json!("200m"));
    let managers = said.at("/metadata/managedFields");
    let sizer = managers.as_array().unwrap().iter().find(|entry| entry["manager"] == "sizer").unwrap();
    assert_eq!(sizer["subresource"], "resize");
    let owned = sizer["fieldsV1"].to_string();
    assert!(owned.contains("f:cpu") && !owned.contains("f:image") && !owned.contains("f:labels"), "{owned}");
}
