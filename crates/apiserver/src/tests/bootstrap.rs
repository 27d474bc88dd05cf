//! What a start does to the roles and bindings that are there.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::{ExtensionAuthentication, RequestHeader};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Another server over the same store.
fn another(cluster: &Cluster) -> Arc<ApiServer> {
    let engine = Arc::clone(&cluster.engine) as Arc<dyn Engine>;
    let env = Arc::clone(&cluster.env) as Arc<dyn Env>;
    ApiServer::new(engine, Arc::new(Registry::new()), Config::default(), env)
}

/// Starts another server over the same store, and returns whether that changed anything.
async fn start_again(cluster: &Cluster) -> bool {
    let before = cluster.engine.snapshot().revision();
    another(cluster).bootstrap().await.unwrap();
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

const FLOW_CONTROL: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

#[tokio::test]
async fn a_cluster_begins_with_flow_control_and_its_own_api_services() {
    let cluster = Cluster::new().await;
    for (path, expected) in [("flowschemas", 11), ("prioritylevelconfigurations", 8)] {
        let said = cluster.get(&format!("{FLOW_CONTROL}/{path}")).await;
        assert_eq!(names(&said).len(), expected, "{path}");
        for item in said.at("/items").as_array().unwrap() {
            let metadata = &item["metadata"];
            assert_eq!(metadata["generation"], 1, "{item}");
            assert_eq!(metadata["annotations"]["apf.kubernetes.io/autoupdate-spec"], "true", "{item}");
            let managers: Vec<_> = metadata["managedFields"].as_array().unwrap().iter().collect();
            let producer = managers.last().unwrap();
            assert_eq!(producer["manager"], "api-priority-and-fairness-config-producer-v1", "{item}");
            assert_eq!(managers.len(), if path == "flowschemas" { 2 } else { 1 }, "{item}");
        }
    }
    let said = cluster.get(&format!("{FLOW_CONTROL}/flowschemas/probes")).await;
    let status = "/metadata/managedFields/0/fieldsV1/f:status/f:conditions/k:{\"type\":\"Dangling\"}/f:reason";
    assert_eq!(said.at(status), json!({}));
    let said = cluster.get(API_SERVICES).await;
    assert_eq!(names(&said).len(), 21);
    let said = cluster.get(&format!("{API_SERVICES}/v1.apps")).await;
    assert_eq!(said.at("/status/conditions/0/reason"), "Local");
    assert!(!start_again(&cluster).await);
}

#[tokio::test]
async fn a_start_puts_flow_control_and_api_services_right() {
    let cluster = Cluster::new().await;
    // One that is suggested, one that an operator took over, one of an operator, one of an earlier build.
    let level = |name: &str| format!("{FLOW_CONTROL}/prioritylevelconfigurations/{name}");
    let shares = |shares: i32| json!({"spec": {"limited": {"nominalConcurrencyShares": shares}}});
    let made = |name: &str, said: &str| {
        json!({
            "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": said}},
            "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}},
        })
    };
    assert_eq!(cluster.merge(&level("catch-all"), shares(77)).await.code, 422, "it must be as it is");
    assert_eq!(cluster.merge(&level("workload-low"), shares(77)).await.code, 200);
    let mut own = shares(78);
    own["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = json!("false");
    assert_eq!(cluster.merge(&level("system"), own).await.code, 200);
    for (name, said) in [("own", "false"), ("earlier", "true")] {
        let path = format!("{FLOW_CONTROL}/prioritylevelconfigurations");
        let said = cluster.post(&path, made(name, said)).await;
        assert_eq!(said.code, 201, "{}", said.message());
    }
    let service = format!("{API_SERVICES}/v1.apps");
    let said = cluster.merge(&service, json!({"spec": {"groupPriorityMinimum": 1}})).await;
    assert_eq!(said.code, 200, "{}", said.message());

    assert!(start_again(&cluster).await);
    let said = cluster.get(&level("workload-low")).await;
    assert_eq!(said.at("/spec/limited/nominalConcurrencyShares"), 100);
    assert_eq!(said.at("/metadata/generation"), 3);
    assert_eq!(cluster.get(&level("system")).await.at("/spec/limited/nominalConcurrencyShares"), 78);
    assert_eq!(cluster.get(&level("own")).await.code, 200);
    assert_eq!(cluster.get(&level("earlier")).await.code, 404);
    assert_eq!(cluster.get(&service).await.at("/spec/groupPriorityMinimum"), 17800);
    assert!(!start_again(&cluster).await);
}

#[tokio::test]
async fn extension_servers_are_told_whom_this_server_trusts() {
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let cluster = Cluster::new().await;
    assert_eq!(cluster.get(path).await.code, 404);
    let told = |client_ca_pem: &str| ExtensionAuthentication {
        client_ca_pem: client_ca_pem.to_owned(),
        request_header: Some(RequestHeader { client_ca_pem: "proxy".to_owned(), ..RequestHeader::default() }),
    };
    let server = another(&cluster);
    server.publish_authentication(&told("one")).await.unwrap();
    let said = cluster.get(path).await;
    assert_eq!(said.at("/data/client-ca-file"), "one");
    assert_eq!(said.at("/data/requestheader-allowed-names"), "[]");
    assert_eq!(said.at("/metadata/managedFields/0/manager"), "kube-apiserver");
    assert_eq!(cluster.merge(path, json!({"data": {"client-ca-file": "one, evil", "own": "x"}})).await.code, 200);
    server.publish_authentication(&told("two")).await.unwrap();
    let said = cluster.get(path).await;
    assert_eq!((said.at("/data/client-ca-file"), said.at("/data/own")), (json!("two"), json!("x")));
    // And nothing else is looked at on the way.
    assert_eq!(cluster.delete(&format!("{RBAC}/clusterroles/view"), Value::Null).await.code, 200);
    server.publish_authentication(&told("two")).await.unwrap();
    assert_eq!(cluster.get(&format!("{RBAC}/clusterroles/view")).await.code, 404);
}
