//! Server-side apply of objects: conflicts in upstream's words, what changes nothing, and what is refused.

use super::*;

pub(super) const APPLY: (&str, &str) = ("content-type", "application/apply-patch+yaml");

pub(super) async fn apply(cluster: &Cluster, path: &str, mut object: Value) -> Said {
    for (name, value) in [("apiVersion", "v1"), ("kind", "ConfigMap")] {
        if object.get(name).is_none() {
            object[name] = value.into();
        }
    }
    cluster.send("PATCH", path, &[APPLY], object.to_string()).await
}

pub(super) fn config_map(data: Value) -> Value {
    json!({"metadata": {"name": "a"}, "data": data})
}

/// `manager operation subresource` of each entry, in order.
pub(super) fn owners(said: &Said) -> Vec<String> {
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
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.x\nconflicts with \"up\" using v1:\n- .data.y"
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
    // At any level.
    for level in ["Ignore", "Warn", "Strict"] {
        let unknown = json!({"metadata": {"name": "a"}, "nope": 1});
        let query = format!("fieldManager=m&fieldValidation={level}");
        check(&query, unknown, 500, ".nope: field not declared in schema").await;
    }
    let whole_manager = format!("fieldManager={}", "m".repeat(129));
    check(&whole_manager, whole.clone(), 422, "fieldManager: Too long: may not be more than 128 bytes").await;
    check("fieldManager=m&dryRun=Some", whole.clone(), 422, "dryRun: Unsupported value: [\"Some\"]").await;
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
async fn what_changes_nothing_is_not_written() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    let made = apply(&cluster, &format!("{path}?fieldManager=one"), config_map(json!({"x": "1"}))).await;
    let written = async || cluster.get(CONFIG_MAPS).await.at("/metadata/resourceVersion");
    let before = written().await;
    cluster.env.micros.store(1_800_000_060_000_000, Ordering::Relaxed);
    let same = async |query: &str| {
        let said = apply(&cluster, &format!("{path}?{query}"), config_map(json!({"x": "1"}))).await;
        assert_eq!((said.code, said.json()), (200, made.json()), "{query}");
    };
    same("fieldManager=one").await;
    same("fieldManager=one&force=true").await;
    same("fieldManager=one&dryRun=All").await;
    let put = cluster.merge(&format!("{path}?fieldManager=two"), json!({"data": {"x": "1"}})).await;
    assert_eq!((put.code, put.json()), (200, made.json()));
    assert_eq!(written().await, before);
    // Who owns it now is a change; when is not.
    let shared = apply(&cluster, &format!("{path}?fieldManager=two"), config_map(json!({"x": "1"}))).await;
    assert_eq!((shared.code, owners(&shared)), (200, vec!["two Apply".to_owned(), "one Apply".to_owned()]));
    assert_ne!(written().await, before);
}
