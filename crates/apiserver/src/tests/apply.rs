//! Server-side apply through the doors: conflicts in upstream's words, statuses and scales, what is refused, and kubectl's way over from
//! its own apply.

use super::*;

const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");
const APPS: &str = "/apis/apps/v1/namespaces/default/deployments";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

async fn apply(cluster: &Cluster, path: &str, mut object: Value) -> Said {
    for (name, value) in [("apiVersion", "v1"), ("kind", "ConfigMap")] {
        if object.get(name).is_none() {
            object[name] = value.into();
        }
    }
    cluster.send("PATCH", path, &[APPLY], object.to_string()).await
}

fn config_map(data: Value) -> Value {
    json!({"metadata": {"name": "a"}, "data": data})
}

/// `manager operation subresource` of each entry, in order.
fn owners(said: &Said) -> Vec<String> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let managers = said.at("/metadata/managedFields");
    let shown = |entry: &Value| {
        format!("{} {} {}", text(entry, "manager"), text(entry, "operation"), text(entry, "subresource"))
    };
    managers.as_array().into_iter().flatten().map(|entry| shown(entry).trim_end().to_owned()).collect()
}

#[tokio::test]
async fn what_is_not_there_is_created() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=one");
    let tried = apply(&cluster, &format!("{path}&dryRun=All"), config_map(json!({"x": "1"}))).await;
    assert_eq!((tried.code, owners(&tried)), (201, vec!["one Apply".to_owned()]), "{}", tried.message());
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/a")).await.code, 404);
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: \"1\"\n";
    let created = cluster.send("PATCH", &path, &[APPLY], yaml).await;
    assert_eq!((created.code, created.at("/data/x")), (201, json!("1")));
    assert_eq!(created.at("/metadata/managedFields/0/fieldsV1"), json!({"f:data": {"f:x": {}}}));
    // The same again is no write.
    let again = cluster.send("PATCH", &path, &[APPLY], yaml).await;
    assert_eq!((again.code, again.json()), (200, created.json()));
    // What is left out goes.
    let less = apply(&cluster, &path, json!({"metadata": {"name": "a"}})).await;
    assert_eq!((less.code, less.at("/data")), (200, Value::Null));
}

#[tokio::test]
async fn conflicts_name_who_owns_what() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    apply(&cluster, &format!("{path}?fieldManager=one"), config_map(json!({"x": "1"}))).await;
    let one = apply(&cluster, &format!("{path}?fieldManager=two"), config_map(json!({"x": "2"}))).await;
    assert_eq!(one.code, 409);
    assert_eq!(one.message(), "Apply failed with 1 conflict: conflict with \"one\": .data.x");
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.x"});
    assert_eq!(one.at("/details/causes"), json!([cause]));
    cluster.merge(&format!("{path}?fieldManager=up"), json!({"data": {"y": "1"}})).await;
    let several = apply(&cluster, &format!("{path}?fieldManager=two"), config_map(json!({"x": "2", "y": "2"}))).await;
    assert_eq!(
        several.message(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.x\nconflicts with \"up\" using v1 at 2027-01-15T08:00:00Z:\n- .data.y"
    );
    let forced = format!("{path}?fieldManager=two&force=true");
    let taken = apply(&cluster, &forced, config_map(json!({"x": "2", "y": "2"}))).await;
    assert_eq!((taken.code, owners(&taken)), (200, vec!["two Apply".to_owned()]));
}

#[tokio::test]
async fn what_is_refused() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    let check = async |query: &str, object: Value, code: u16, message: &str| {
        let said = apply(&cluster, &format!("{path}?{query}"), object).await;
        assert_eq!(said.code, code, "{}", said.message());
        assert!(said.message().contains(message), "{}", said.message());
    };
    let whole = config_map(json!({"x": "1"}));
    check("", whole.clone(), 422, "fieldManager: Required value: is required for apply patch").await;
    let kind = json!({"kind": "Secret", "metadata": {"name": "a"}});
    check("fieldManager=m", kind, 400, "invalid object type: /v1, Kind=Secret").await;
    let version = json!({"apiVersion": "apps/v1", "metadata": {"name": "a"}});
    check("fieldManager=m", version, 400, "invalid object type: apps/v1, Kind=ConfigMap").await;
    let managers = json!({"metadata": {"name": "a", "managedFields": []}});
    check("fieldManager=m", managers, 400, "metadata.managedFields must be nil").await;
    let unknown = json!({"metadata": {"name": "a"}, "nope": 1});
    check("fieldManager=m", unknown, 500, ".nope: field not declared in schema").await;
    let other = json!({"metadata": {"name": "b"}, "data": {}});
    check("fieldManager=m", other, 400, "does not match the name on the URL (a)").await;
    apply(&cluster, &format!("{path}?fieldManager=m"), whole).await;
    let stale = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "data": {"x": "2"}});
    check("fieldManager=m", stale, 409, "the object has been modified").await;
    let patched = cluster.merge(&format!("{path}?force=true"), json!({})).await;
    assert_eq!(patched.code, 422, "{}", patched.message());
    assert!(
        patched.message().contains("force: Forbidden: may not be specified for non-apply patch"),
        "{}",
        patched.message()
    );
}

#[tokio::test]
async fn doors_are_applied_to_apart() {
    let cluster = Cluster::new().await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let head = |more: Value| {
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        object
    };
    let path = format!("{APPS}/d");
    let spec = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 1, "template": template}});
    let created = apply(&cluster, &format!("{path}?fieldManager=m"), head(spec)).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let status = json!({"status": {"replicas": 1}, "spec": {"replicas": 9}});
    let said = apply(&cluster, &format!("{path}/status?fieldManager=m"), head(status)).await;
    assert_eq!((said.code, said.at("/spec/replicas")), (200, json!(1)), "{}", said.message());
    assert_eq!(owners(&said), ["m Apply", "m Apply status"]);
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 2}});
    let refused = apply(&cluster, &format!("{path}/scale?fieldManager=h"), scale.clone()).await;
    assert_eq!(refused.message(), "Apply failed with 1 conflict: conflict with \"m\": .spec.replicas");
    let scaled = apply(&cluster, &format!("{path}/scale?fieldManager=h&force=true"), scale).await;
    assert_eq!((scaled.code, scaled.at("/spec/replicas")), (200, json!(2)), "{}", scaled.message());
    let after = cluster.get(&path).await;
    assert_eq!(after.at("/spec/replicas"), 2);
    assert!(owners(&after).contains(&"h Apply scale".to_owned()), "{:?}", owners(&after));
}

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
