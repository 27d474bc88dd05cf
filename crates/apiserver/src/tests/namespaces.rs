//! What is written in which namespaces, by the plugins that look after them.

use portcullis_gate::Profile;

use super::*;
use crate::admission::Selection;

fn selection(enable: &[&str], disable: &[&str]) -> Config {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    Config { admission: Selection::new(&owned(enable), &owned(disable)).unwrap(), ..Config::default() }
}

fn maps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

async fn make(cluster: &Cluster, namespace: &str) -> Said {
    cluster.post(&maps(namespace), json!({"metadata": {"name": "a"}})).await
}

#[tokio::test]
async fn nothing_begins_in_a_namespace_that_ends() {
    let cluster = Cluster::new().await;
    let missing = make(&cluster, "quay").await;
    assert_eq!((missing.code, missing.message().as_str()), (404, r#"namespaces "quay" not found"#));
    assert_eq!(missing.at("/details"), json!({"name": "quay", "kind": "namespaces"}));
    cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "quay"}})).await;
    assert_eq!(make(&cluster, "quay").await.code, 201);
    cluster.delete("/api/v1/namespaces/quay", Value::Null).await;
    let refused = cluster.post(&maps("quay"), json!({"metadata": {"name": "b"}})).await;
    let why = "unable to create new content in namespace quay because it is being terminated";
    assert_eq!((refused.code, refused.message()), (403, format!(r#"configmaps "b" is forbidden: {why}"#)));
    let cause = json!({
        "reason": "NamespaceTerminating", "message": "namespace quay is being terminated", "field": "metadata.namespace",
    });
    assert_eq!(refused.at("/details/causes"), json!([cause]));
    // What is there is changed to the end, and goes.
    let a = format!("{}/a", maps("quay"));
    assert_eq!(cluster.merge(&a, json!({"data": {"b": "c"}})).await.code, 200);
    assert_eq!(cluster.delete(&a, Value::Null).await.code, 200);
    // Whoever asks what he may do there does not learn whether it is there.
    let review = json!({
        "metadata": {"namespace": "nosuch"},
        "spec": {"user": "ana", "resourceAttributes": {"namespace": "nosuch", "verb": "get", "resource": "pods"}},
    });
    let path = "/apis/authorization.k8s.io/v1/namespaces/nosuch/localsubjectaccessreviews";
    assert_eq!(cluster.post(path, review).await.code, 201);
}

#[tokio::test]
async fn some_namespaces_stay() {
    let check = async |cluster: &Cluster, name: &str, expected: u16| {
        let said = cluster.delete(&format!("/api/v1/namespaces/{name}"), Value::Null).await;
        assert_eq!(said.code, expected, "{name}");
        if expected == 403 {
            let message = format!(r#"namespaces "{name}" is forbidden: this namespace may not be deleted"#);
            assert_eq!(said.message(), message);
        }
    };
    let cluster = Cluster::new().await;
    for name in ["default", "kube-public", "kube-system"] {
        check(&cluster, name, 403).await;
    }
    check(&cluster, "kube-node-lease", 200).await;
    check(&cluster, "nosuch", 404).await;
    let cluster = Cluster::with(selection(&[], &["NamespaceLifecycle"]), Vec::new(), None).await;
    check(&cluster, "default", 200).await;
}

#[tokio::test]
async fn who_looks_after_namespaces_is_the_operators_choice() {
    let check = async |enable: &[&str], disable: &[&str], created: u16, deleted: u16| {
        let cluster = Cluster::with(selection(enable, disable), Vec::new(), None).await;
        let shown = format!("{enable:?} {disable:?}");
        assert_eq!(make(&cluster, "quay").await.code, created, "{shown}");
        assert_eq!(cluster.delete(&format!("{}/a", maps("quay")), Value::Null).await.code, deleted, "{shown}");
        cluster
    };
    check(&[], &[], 404, 404).await;
    check(&[], &["NamespaceLifecycle"], 201, 200).await;
    check(&["NamespaceExists"], &["NamespaceLifecycle"], 404, 404).await;
    for enable in [&["NamespaceAutoProvision"][..], &["NamespaceAutoProvision", "NamespaceExists"]] {
        let cluster = check(enable, &[], 201, 200).await;
        let made = cluster.get("/api/v1/namespaces/quay").await;
        assert_eq!(made.at("/status/phase"), "Active");
        assert_eq!(made.at("/metadata/labels"), json!({"kubernetes.io/metadata.name": "quay"}));
        let dry = cluster.post(&format!("{}?dryRun=All", maps("pier")), json!({"metadata": {"name": "a"}})).await;
        assert_eq!(dry.code, 404);
        let refused = make(&cluster, "No-Name").await;
        assert_eq!(refused.code, 403);
        let begins =
            r#"configmaps "a" is forbidden: Namespace "No-Name" is invalid: metadata.name: Invalid value: "No-Name""#;
        assert!(refused.message().starts_with(begins), "{}", refused.message());
    }
}

#[tokio::test]
async fn a_namespace_begins_with_the_account_of_its_pods() {
    let check = async |profile: Profile, expected: u16| {
        let cluster = Cluster::with(Config { profile, ..Config::default() }, Vec::new(), None).await;
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
        cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "quay"}})).await;
        for namespace in ["default", "quay"] {
            let account = cluster.get(&format!("/api/v1/namespaces/{namespace}/serviceaccounts/default")).await;
            assert_eq!(account.code, expected, "{profile:?} {namespace}");
            let made = cluster.post(&format!("/api/v1/namespaces/{namespace}/pods"), pod.clone()).await;
            assert_eq!(
                made.code,
                if expected == 200 { 201 } else { 403 },
                "{profile:?} {namespace}: {}",
                made.message()
            );
        }
    };
    check(Profile::Locked, 200).await;
    check(Profile::Upstream, 404).await;
}
