//! Who owns what after writes of several clients.

use std::sync::atomic::Ordering;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const APPS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const CORE_EVENTS: &str = "/api/v1/namespaces/default/events";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

/// `manager operation subresource fields` of each entry, in order.
fn owners(said: &Said) -> Vec<String> {
    let managers = said.at("/metadata/managedFields");
    let entries = managers.as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| {
            assert_eq!(text(entry, "fieldsType"), "FieldsV1");
            let who = format!("{} {}", text(entry, "manager"), text(entry, "subresource"));
            format!("{} {}", who.trim_end(), entry["fieldsV1"])
        })
        .collect()
}

#[tokio::test]
async fn writers_own_what_they_change() {
    let cluster = Cluster::new().await;
    let object = json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "1"}});
    let path = format!("{CONFIG_MAPS}/a");
    let created = cluster.send("POST", CONFIG_MAPS, &[JSON, ("user-agent", "one/1.0 (x)")], object.to_string()).await;
    assert_eq!(owners(&created), [r#"one {"f:data":{".":{},"f:x":{},"f:y":{}}}"#]);
    assert_eq!(created.at("/metadata/managedFields/0/time"), json!("2027-01-15T08:00:00Z"));

    let patch = json!({"data": {"x": "2"}}).to_string();
    let patched = cluster.send("PATCH", &format!("{path}?fieldManager=two"), &[MERGE], patch.clone()).await;
    assert_eq!(owners(&patched), [r#"one {"f:data":{".":{},"f:y":{}}}"#, r#"two {"f:data":{"f:x":{}}}"#]);

    // Nothing changes: neither version nor time.
    let again = cluster.send("PATCH", &format!("{path}?fieldManager=three"), &[MERGE], patch).await;
    assert_eq!(again.json(), patched.json());

    // What is gone belongs to nobody.
    let gone = cluster.merge(&path, json!({"data": {"y": null}})).await;
    assert_eq!(owners(&gone), [r#"one {"f:data":{}}"#, r#"two {"f:data":{"f:x":{}}}"#]);

    // A dry run says whose it would be.
    let tried = cluster.merge(&format!("{path}?dryRun=All"), json!({"data": {"z": "1"}})).await;
    assert_eq!(owners(&tried).last().unwrap(), r#"unknown {"f:data":{"f:z":{}}}"#);
    assert_eq!(cluster.get(&path).await.json(), gone.json());

    // Forgotten on request, and then for good.
    let reset = cluster.merge(&path, json!({"metadata": {"managedFields": [{}]}})).await;
    assert_eq!(owners(&reset), [""; 0]);
    let after = cluster.merge(&path, json!({"data": {"z": "1"}})).await;
    assert_eq!(owners(&after), [""; 0]);
}

#[tokio::test]
async fn managers_of_a_request() {
    let cluster = Cluster::new().await;
    let entry = |operation: &str, fields: Value| json!({"manager": "m", "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields});
    let path = format!("{CONFIG_MAPS}/a");
    cluster.config_map("a", json!({})).await;
    let before = owners(&cluster.get(&path).await);
    let check = async |managers: Value, expected: &[String]| {
        let patch = json!({"metadata": {"managedFields": managers}});
        let said = cluster.merge(&format!("{path}?dryRun=All"), patch).await;
        assert_eq!((said.code, owners(&said)), (200, expected.to_vec()), "{}", said.message());
    };
    // What cannot be read is as if it had not been sent, and so is nothing; a list of nothing forgets them all.
    check(json!([]), &[]).await;
    check(json!(null), &before).await;
    check(json!([entry("Nonsense", json!({"f:data": {}}))]), &before).await;
    check(json!([entry("Update", json!({"data": {}}))]), &before).await;
    check(json!([entry("Update", json!({"f:data": {}}))]), &[r#"m {"f:data":{}}"#.to_owned()]).await;
}

#[tokio::test]
async fn doors_have_managers_of_their_own() {
    let cluster = Cluster::new().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "replicas": 1, "template": template});
    let created = cluster.post(APPS, json!({"metadata": {"name": "a"}, "spec": spec, "status": {"replicas": 7}})).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let path = format!("{APPS}/a");
    cluster
        .merge(&format!("{path}/status?fieldManager=s"), json!({"spec": {"replicas": 4}, "status": {"replicas": 1}}))
        .await;
    cluster.merge(&format!("{path}/scale?fieldManager=h"), json!({"spec": {"replicas": 3}})).await;
    let after = cluster.get(&path).await;
    let held = owners(&after);
    assert_eq!(held[0], r#"h scale {"f:spec":{"f:replicas":{}}}"#);
    assert_eq!(held[1], r#"s status {"f:status":{"f:replicas":{}}}"#);
    assert!(!held[2].contains("f:replicas") && !held[2].contains("f:status"), "{}", held[2]);
    assert_eq!(after.at("/metadata/managedFields/0/time"), Value::Null);
}

#[tokio::test]
async fn a_change_counts_in_every_version() {
    let cluster = Cluster::new().await;
    let regarding = json!({"kind": "Pod", "namespace": "default", "name": "p"});
    let event = json!({
        "metadata": {"name": "e"}, "regarding": regarding, "reason": "R", "note": "old", "action": "A", "type": "Normal",
        "eventTime": "2027-01-15T08:00:00.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1",
    });
    let created = cluster.post(&format!("{EVENTS}?fieldManager=one"), event).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let patched = cluster.merge(&format!("{CORE_EVENTS}/e?fieldManager=two"), json!({"message": "new"})).await;
    let held = owners(&patched);
    // The core version calls it `message`.
    assert_eq!(held.len(), 2, "{}", patched.message());
    assert!(held[0].starts_with("one") && !held[0].contains("f:note"), "{}", held[0]);
    assert_eq!(held[1], r#"two {"f:message":{}}"#);
}

#[tokio::test]
async fn times_move_with_changes() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    cluster.env.micros.store(1_800_000_060_000_000, Ordering::Relaxed);
    let patched = cluster.merge(&format!("{CONFIG_MAPS}/a"), json!({"data": {"z": "1"}})).await;
    assert_eq!(patched.at("/metadata/managedFields/0/time"), json!("2027-01-15T08:01:00Z"));
}
