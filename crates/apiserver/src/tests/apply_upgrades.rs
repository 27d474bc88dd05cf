//! Objects that come to server-side apply with a past: kubectl's own apply, no managers, or too many of them.

use super::apply::{apply, config_map, owners};
use super::*;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[tokio::test]
async fn kubectl_goes_over_from_its_own_apply() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    let last =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1", "y": "1"}});
    let mut object = config_map(json!({"x": "1", "y": "2"}));
    object["metadata"]["annotations"] = json!({LAST_APPLIED: last.to_string()});
    cluster.post(&format!("{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply"), object).await;
    let wanted = config_map(json!({"x": "3"}));
    // Nobody else is helped.
    assert_eq!(apply(&cluster, &format!("{path}?fieldManager=other"), wanted.clone()).await.code, 409);
    // What the annotation has otherwise than the object is somebody else's.
    let both = apply(&cluster, &format!("{path}?fieldManager=kubectl"), config_map(json!({"x": "3", "y": "3"}))).await;
    assert!(both.message().ends_with(": .data.y"), "{}", both.message());
    let taken = apply(&cluster, &format!("{path}?fieldManager=kubectl"), wanted).await;
    assert_eq!((taken.code, taken.at("/data/x")), (200, json!("3")), "{}", taken.message());
    let noted = taken.json()["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        noted,
        "{\"apiVersion\":\"v1\",\"data\":{\"x\":\"3\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\"}}\n"
    );
}

#[tokio::test]
async fn an_object_without_managers() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    cluster.config_map("a", json!({"l": "1"})).await;
    cluster.merge(&path, json!({"metadata": {"managedFields": [{}]}})).await;
    let said = apply(&cluster, &format!("{path}?fieldManager=m"), config_map(json!({"new": "1"}))).await;
    assert_eq!(owners(&said), ["m Apply", "before-first-apply Update"], "{}", said.message());
    assert_eq!(said.at("/metadata/managedFields/1/time"), json!("2027-01-15T08:00:00Z"));
}

#[tokio::test]
async fn managers_are_forgotten_on_request() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    let json = ("content-type", "application/json");
    let operations = ("content-type", "application/json-patch+json");
    let at = "/metadata/managedFields";
    let check = async |method: &str, content: (&str, &str), body: Value, expected: &[&str]| {
        cluster.send("DELETE", &path, &[], String::new()).await;
        apply(&cluster, &format!("{path}?fieldManager=m"), config_map(json!({"x": "1"}))).await;
        let said = cluster.send(method, &format!("{path}?fieldManager=u"), &[content], body.to_string()).await;
        assert_eq!(
            (said.code, owners(&said)),
            (200, expected.iter().map(|owner| (*owner).to_owned()).collect()),
            "{method} {body}"
        );
    };
    let object = |managers: Value| json!({"metadata": {"name": "a", "managedFields": managers}, "data": {"x": "1"}});
    check("PUT", json, object(json!([{}])), &[]).await;
    check("PUT", json, object(json!([])), &[]).await;
    check("PUT", json, object(json!(null)), &["m Apply"]).await;
    check("PUT", json, object(json!([{"manager": "x"}])), &["m Apply"]).await;
    check("PATCH", operations, json!([{"op": "replace", "path": at, "value": []}]), &[]).await;
    check("PATCH", operations, json!([{"op": "replace", "path": at, "value": [{}]}]), &[]).await;
    check("PATCH", operations, json!([{"op": "remove", "path": at}]), &["m Apply"]).await;
}

#[tokio::test]
async fn the_oldest_updates_are_put_together() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    apply(&cluster, &format!("{path}?fieldManager=m"), config_map(json!({"m": "1"}))).await;
    for number in 0..12u64 {
        cluster.env.micros.store(1_800_000_000_000_000 + number * 60_000_000, Ordering::Relaxed);
        cluster.merge(&format!("{path}?fieldManager=u{number}"), json!({"data": {format!("k{number}"): "1"}})).await;
    }
    let after = cluster.get(&path).await;
    let mut held = owners(&after);
    assert_eq!(held.remove(0), "m Apply");
    assert_eq!(held.remove(0), "ancient-changes Update");
    assert_eq!(held, (3..12).map(|number| format!("u{number} Update")).collect::<Vec<_>>());
    let ancient = json!({"f:data": {"f:k0": {}, "f:k1": {}, "f:k2": {}}});
    assert_eq!(after.at("/metadata/managedFields/1/fieldsV1"), ancient);
    // They are in the way of who applies, as anybody.
    let refused = apply(&cluster, &format!("{path}?fieldManager=n"), config_map(json!({"k0": "2", "k2": "2"}))).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 2 conflicts: conflicts with \"ancient-changes\" using v1:\n- .data.k0\n- .data.k2"
    );
}

#[tokio::test]
async fn what_there_was_before_the_first_apply() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    apply(&cluster, &format!("{path}?fieldManager=m"), config_map(json!({"x": "1"}))).await;
    cluster.merge(&path, json!({"metadata": {"managedFields": [{}]}})).await;
    let refused = apply(&cluster, &format!("{path}?fieldManager=m"), config_map(json!({"x": "2"}))).await;
    let why = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x";
    assert_eq!((refused.code, refused.message().as_str()), (409, why));
    // Nothing was noted for who was refused.
    assert_eq!(owners(&cluster.get(&path).await), [""; 0]);
}
