//! What a start does to the roles and bindings that are there.
#![allow(clippy::unwrap_used)]

use super::*;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Starts another server over the same store, and returns whether that changed anything.
async fn start_again(cluster: &Cluster) -> bool {
    let before = cluster.engine.snapshot().revision();
    let engine = Arc::clone(&cluster.engine) as Arc<dyn Engine>;
    let env = Arc::clone(&cluster.env) as Arc<dyn Env>;
    let server = ApiServer::new(engine, Arc::new(Registry::new()), Config::default(), env);
    server.bootstrap().await.unwrap();
    cluster.engine.snapshot().revision() != before
}

#[tokio::test]
async fn a_cluster_begins_with_upstreams_roles_and_bindings() {
    let cluster = Cluster::new().await;
    for (path, expected) in [("clusterroles", 69), ("clusterrolebindings", 50), ("roles", 7), ("rolebindings", 7)] {
        let said = cluster.get(&format!("{RBAC}/{path}")).await;
        assert_eq!(names(&said).len(), expected, "{path}");
        for item in said.at("/items").as_array().unwrap() {
            let metadata = &item["metadata"];
            assert_eq!(metadata["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults", "{item}");
            assert_eq!(metadata["annotations"]["rbac.authorization.kubernetes.io/autoupdate"], "true", "{item}");
            assert_eq!(metadata["managedFields"][0]["manager"], "kube-apiserver", "{item}");
        }
    }
    let said = cluster.get(&format!("{RBAC}/clusterroles/cluster-admin")).await;
    let all = json!([
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ]);
    assert_eq!(said.at("/rules"), all);
    assert_eq!(said.at("/metadata/managedFields/0/fieldsV1/f:rules"), json!({}));
    let said = cluster.get(&format!("{RBAC}/clusterrolebindings/system:node")).await;
    assert_eq!(said.at("/subjects"), Value::Null);
    assert!(!start_again(&cluster).await);
}

#[tokio::test]
async fn a_start_adds_what_is_missing_and_nothing_else() {
    let cluster = Cluster::new().await;
    let path = format!("{RBAC}/clusterroles/system:node-proxier");
    let made = cluster.get(&path).await;
    let own = json!({"verbs": ["get"], "apiGroups": ["g"], "resources": ["boats"]});
    let said = cluster.merge(&path, json!({"rules": [own], "metadata": {"labels": {"own": "x"}}})).await;
    assert_eq!(said.code, 200, "{}", said.message());
    assert!(start_again(&cluster).await);
    let said = cluster.get(&path).await;
    let mut expected = vec![own];
    expected.extend(made.at("/rules").as_array().unwrap().iter().cloned());
    assert_eq!(said.at("/rules"), Value::Array(expected));
    assert_eq!(said.at("/metadata/labels/own"), "x");
    assert_eq!(said.at("/metadata/uid"), made.at("/metadata/uid"));
    assert!(!start_again(&cluster).await);
    // Nothing of one that says so.
    let off =
        json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []});
    assert_eq!(cluster.merge(&path, off).await.code, 200);
    assert!(!start_again(&cluster).await);
    assert_eq!(cluster.get(&path).await.at("/rules"), Value::Null);
    // What was deleted is made again.
    assert_eq!(cluster.delete(&path, Value::Null).await.code, 200);
    assert!(start_again(&cluster).await);
    assert_eq!(cluster.get(&path).await.at("/rules"), made.at("/rules"));
}

#[tokio::test]
async fn a_binding_to_another_role_is_made_anew() {
    let cluster = Cluster::new().await;
    let path = format!("{RBAC}/clusterrolebindings/system:discovery");
    let made = cluster.get(&path).await;
    assert_eq!(cluster.delete(&path, Value::Null).await.code, 200);
    let mut other = made.json();
    other["metadata"] = json!({"name": "system:discovery"});
    other["roleRef"]["name"] = json!("cluster-admin");
    assert_eq!(cluster.post(&format!("{RBAC}/clusterrolebindings"), other.clone()).await.code, 201);
    let wrong = cluster.get(&path).await;
    assert!(start_again(&cluster).await);
    let said = cluster.get(&path).await;
    assert_eq!(said.at("/roleRef"), made.at("/roleRef"));
    assert_eq!(said.at("/subjects"), made.at("/subjects"));
    assert_ne!(said.at("/metadata/uid"), wrong.at("/metadata/uid"));
    assert!(!start_again(&cluster).await);
}
