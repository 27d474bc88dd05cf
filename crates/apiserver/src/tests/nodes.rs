//! What nodes may write and read, asked of a server with the Node authoriser and NodeRestriction (P8, P9, A14).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_gate::{
    Attributes, Decision, GROUP_NODES, NodesRefused, Rules, ServiceAccountIssuer, ServiceAccountKeys, Target, Verdict,
};

use super::*;
use crate::admission::Selection;
use crate::config::ServiceAccounts;
use crate::node_graph::node_authorizer;

struct Nodes {
    gate: Gate<Answers>,
    _folder: tempfile::TempDir,
}

fn peer(name: &str, groups: &[&str]) -> Arc<Peer> {
    let groups = groups.iter().map(ToString::to_string).collect();
    Peer::in_process(Arc::new(Identity { name: name.to_owned(), groups, ..Identity::default() }))
}

fn admin() -> Arc<Peer> {
    peer("admin", &[GROUP_MASTERS, GROUP_AUTHENTICATED])
}

fn node(name: &str) -> Arc<Peer> {
    peer(&format!("system:node:{name}"), &[GROUP_NODES, GROUP_AUTHENTICATED])
}

/// The default configuration, with a key for tokens.
fn config() -> Config {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(key.as_ref()));
    let keys = ServiceAccountKeys::from_pem(key.as_bytes(), []).unwrap();
    let service_accounts = ServiceAccounts {
        issuer: ServiceAccountIssuer::new(vec!["https://issuer".to_owned()], keys),
        api_audiences: vec!["https://issuer".to_owned()],
        max_expiration_seconds: None,
        extend_expiration: false,
        jwks_uri: String::new(),
    };
    Config { service_accounts: Some(service_accounts), ..Config::default() }
}

impl Nodes {
    /// A server with the authorisers that `chosen` gives for its store.
    async fn with(chosen: impl FnOnce(Arc<dyn Engine>, Arc<Registry>) -> Vec<Arc<dyn Authorizer>>) -> Nodes {
        Nodes::configured(config(), chosen).await
    }

    async fn configured(
        config: Config,
        chosen: impl FnOnce(Arc<dyn Engine>, Arc<Registry>) -> Vec<Arc<dyn Authorizer>>,
    ) -> Nodes {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let options = Options { catalog, ..Options::new(folder.path().join("store")) };
        let engine = Arc::new(Embedded::open(options).unwrap()) as Arc<dyn Engine>;
        let env = Arc::new(FixedEnv { micros: AtomicU64::new(1_800_000_000_000_000), drawn: AtomicU64::new(1) });
        let authorizers = AuthorizerChain::new(chosen(Arc::clone(&engine), Arc::clone(&registry)));
        let server = ApiServer::new(engine, registry, config, env as Arc<dyn Env>);
        server.bootstrap().await.unwrap();
        let guards = Guards { authorizers, ..Guards::default() };
        Nodes { gate: Gate::new(Answers { server }, guards, Limits::default()), _folder: folder }
    }

    /// Two nodes, each with a pod of its own that refers to what is named like it.
    async fn new() -> Nodes {
        Nodes::of(config()).await
    }

    async fn of(config: Config) -> Nodes {
        let authorizers = |engine, registry| vec![Arc::new(node_authorizer(engine, registry).unwrap()) as _];
        let nodes = Nodes::configured(config, authorizers).await;
        for name in ["n1", "n2"] {
            nodes.done(&node(name), "POST", "/api/v1/nodes", json!({"metadata": {"name": name}})).await;
            let secret = json!({"metadata": {"name": format!("tls-{name}")}, "stringData": {"a": "b"}});
            nodes.done(&admin(), "POST", "/api/v1/namespaces/default/secrets", secret).await;
            nodes.done(&admin(), "POST", "/api/v1/namespaces/default/pods", pod_of(name)).await;
        }
        nodes
    }

    async fn ask(&self, peer: &Arc<Peer>, method: &str, path: &str, body: Value) -> (u16, Value) {
        let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header("content-type", media_type);
        let response = self.gate.handle(peer, request.body(RequestBody::from_bytes(text)).unwrap()).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn done(&self, peer: &Arc<Peer>, method: &str, path: &str, body: Value) -> Value {
        let (code, answer) = self.ask(peer, method, path, body).await;
        assert!((200..300).contains(&code), "{method} {path}: {code} {answer}");
        answer
    }

    /// Refused with 403 for this reason, which is how the message ends.
    async fn refused(&self, peer: &Arc<Peer>, method: &str, path: &str, body: Value, why: &str) {
        let (code, answer) = self.ask(peer, method, path, body).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(code == 403 && message.ends_with(why), "{method} {path}: {code} {answer}\nexpected: {why}");
    }
}

fn pod_of(node: &str) -> Value {
    json!({
        "metadata": {"name": format!("pod-{node}"), "labels": {"app": "web"}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "tls", "secret": {"secretName": format!("tls-{node}")}}],
        },
    })
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const CSI_NODES: &str = "/apis/storage.k8s.io/v1/csinodes";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

#[tokio::test]
async fn p8_a_node_cannot_write_another_node() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    nodes.done(&n1, "PATCH", "/api/v1/nodes/n1/status", ready.clone()).await;
    nodes.done(&n1, "PATCH", "/api/v1/nodes/n1", json!({"metadata": {"labels": {"role": "web"}}})).await;
    let other = r#"node "n1" is not allowed to modify node "n2""#;
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n2/status", ready, other).await;
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n2", json!({"metadata": {"labels": {"a": "b"}}}), other).await;
    let mut third = json!({"metadata": {"name": "n3"}});
    nodes.refused(&n1, "POST", "/api/v1/nodes", third.clone(), r#"node "n1" is not allowed to modify node "n3""#).await;
    third["metadata"]["name"] = json!("n1");
    nodes.refused(&n1, "DELETE", "/api/v1/nodes/n1", Value::Null, r#"in API group "" at the cluster scope"#).await;
    let cannot_read = "node 'n1' cannot read 'n2', only its own Node object";
    nodes.refused(&n1, "GET", "/api/v1/nodes/n2", Value::Null, cannot_read).await;
    nodes.done(&n1, "GET", "/api/v1/nodes/n1", Value::Null).await;
}

#[tokio::test]
async fn p8_a_node_does_not_choose_its_work() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let taint = json!([{"key": "k", "effect": "NoSchedule"}]);
    let tainted = json!({"spec": {"taints": taint}});
    nodes
        .refused(&n1, "PATCH", "/api/v1/nodes/n1", tainted.clone(), r#"node "n1" is not allowed to modify taints"#)
        .await;
    nodes.done(&admin(), "PATCH", "/api/v1/nodes/n1", tainted).await;
    let untainted = json!({"spec": {"taints": null}});
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n1", untainted, r#"node "n1" is not allowed to modify taints"#).await;
    let labels = json!({"metadata": {"labels": {
        "node-restriction.kubernetes.io/tier": "x", "kubernetes.io/hostname": "n1", "a.k8s.io/b": "y", "own": "z",
    }}});
    let why = "is not allowed to modify labels: a.k8s.io/b, node-restriction.kubernetes.io/tier";
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n1", labels.clone(), why).await;
    nodes.done(&admin(), "PATCH", "/api/v1/nodes/n1", labels).await;
    let removed = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/tier": null}}});
    let why = "is not allowed to modify labels: node-restriction.kubernetes.io/tier";
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n1", removed, why).await;
    let source =
        json!({"spec": {"configSource": {"configMap": {"name": "c", "namespace": "d", "kubeletConfigKey": "k"}}}});
    let why = r#"node "n1" is not allowed to update configSource to a new non-nil configSource"#;
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n1", source.clone(), why).await;
    // As it registers itself, with taints of its own choice as upstream.
    let n3 = node("n3");
    let registration = |change: Value| {
        let mut object = json!({"metadata": {"name": "n3"}});
        object["metadata"]["labels"] = change["labels"].clone();
        object["spec"] = change["spec"].clone();
        object
    };
    let labelled = registration(json!({"labels": {"node-role.kubernetes.io/control-plane": ""}}));
    let why = r#"node "n3" is not allowed to set the following labels: node-role.kubernetes.io/control-plane"#;
    nodes.refused(&n3, "POST", "/api/v1/nodes", labelled, why).await;
    let why = r#"node "n3" is not allowed to create pods with a non-nil configSource"#;
    nodes.refused(&n3, "POST", "/api/v1/nodes", registration(source), why).await;
    let plain = registration(json!({"labels": {"kubernetes.io/arch": "amd64"}, "spec": {"taints": taint}}));
    nodes.done(&n3, "POST", "/api/v1/nodes", plain).await;
}

#[tokio::test]
async fn cve_2025_5187_a_node_cannot_give_itself_an_owner() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "gone", "uid": "u-gone"}]);
    let owned = json!({"metadata": {"ownerReferences": owner}});
    let why = r#"node "n1" is not allowed to modify ownerReferences"#;
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n1", owned.clone(), why).await;
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n1/status", owned.clone(), why).await;
    nodes.done(&admin(), "PATCH", "/api/v1/nodes/n1", owned).await;
    let disowned = json!({"metadata": {"ownerReferences": null}});
    nodes.refused(&n1, "PATCH", "/api/v1/nodes/n1", disowned, why).await;
    // Its CSINode, say, which it may delete.
    let registration = json!({"metadata": {"name": "n3", "ownerReferences": owner}});
    let why = r#"node "n3" is not allowed to modify ownerReferences"#;
    nodes.refused(&node("n3"), "POST", "/api/v1/nodes", registration, why).await;
}

/// What is wrong with a mirror pod, and what is said about it.
type Change<'a> = (&'a dyn Fn(&mut Value), String);

/// A mirror pod of `n1` as it should be, with a change.
async fn mirror(nodes: &Nodes, change: impl FnOnce(&mut Value)) -> Value {
    let uid = nodes.done(&admin(), "GET", "/api/v1/nodes/n1", Value::Null).await["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": true});
    let mut pod = json!({
        "metadata": {
            "name": "mirror", "annotations": {"kubernetes.io/config.mirror": "hash"}, "ownerReferences": [owner],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
    });
    change(&mut pod);
    pod
}

#[tokio::test]
async fn p8_a_node_makes_only_mirrors_of_its_own_pods() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let only = |what: &str| format!(r#"node "n1" can only create pods with {what} set to itself"#);
    let rows: [Change<'_>; 9] = [
        (
            &|pod| pod["metadata"]["annotations"] = json!({"a": "b"}),
            r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#
                .to_owned(),
        ),
        (&|pod| pod["spec"]["nodeName"] = json!("n2"), only("spec.nodeName")),
        (&|pod| pod["spec"]["nodeName"] = Value::Null, only("spec.nodeName")),
        (&|pod| pod["metadata"]["ownerReferences"] = json!([]), only("an owner reference")),
        (
            &|pod| {
                let owners = pod["metadata"]["ownerReferences"].as_array_mut().unwrap();
                let second = json!({"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "u-2"});
                owners.push(second);
            },
            only("a single owner reference"),
        ),
        (&|pod| pod["metadata"]["ownerReferences"][0]["name"] = json!("n2"), only("an owner reference")),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["controller"] = json!(false),
            only("a controller owner reference"),
        ),
        (
            &|pod| pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true),
            r#"node "n1" must not set blockOwnerDeletion on an owner reference"#.to_owned(),
        ),
        (&|pod| pod["metadata"]["ownerReferences"][0]["kind"] = json!("Pod"), only("an owner reference")),
    ];
    for (change, why) in rows {
        let pod = mirror(&nodes, change).await;
        nodes.refused(&n1, "POST", PODS, pod, &why).await;
    }
    let stale = mirror(&nodes, |pod| pod["metadata"]["ownerReferences"][0]["uid"] = json!("old")).await;
    let uid = nodes.done(&admin(), "GET", "/api/v1/nodes/n1", Value::Null).await["metadata"]["uid"].clone();
    let why = format!("node n1 UID mismatch: expected old got {}", uid.as_str().unwrap());
    nodes.refused(&n1, "POST", PODS, stale, &why).await;
    // A node that there is not yet has no uid to name.
    let early = mirror(&nodes, |pod| {
        pod["spec"]["nodeName"] = json!("n9");
        pod["metadata"]["ownerReferences"][0]["name"] = json!("n9");
    });
    let (code, answer) = nodes.ask(&node("n9"), "POST", PODS, early.await).await;
    assert_eq!((code, answer["message"].as_str()), (404, Some(r#"nodes "n9" not found"#)));
    nodes.done(&n1, "POST", PODS, mirror(&nodes, |_| {}).await).await;
    nodes.done(&n1, "DELETE", &format!("{PODS}/mirror"), Value::Null).await;
    let why = r#"node "n1" can only delete pods with spec.nodeName set to itself"#;
    nodes.refused(&n1, "DELETE", &format!("{PODS}/pod-n2"), Value::Null, why).await;
}

#[tokio::test]
async fn cve_2025_4563_a_mirror_pod_names_no_object() {
    let admission = Selection::new(&[], &["ServiceAccount".to_owned()]).unwrap();
    let (both, alone) = (Nodes::new().await, Nodes::of(Config { admission, ..config() }).await);
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({"volumes": [volume]})
    };
    let projected = |source: Value| volume(json!({"projected": {"sources": [source]}}));
    let env = |source: Value| json!({"containers": [{"name": "c", "image": "i", "env": [{"name": "X", "valueFrom": source}]}]});
    let rows = [
        (json!({"serviceAccountName": "default"}), "serviceaccounts"),
        (json!({"serviceAccount": "default"}), "serviceaccounts"),
        (json!({"imagePullSecrets": [{"name": "s"}]}), "secrets"),
        (env(json!({"secretKeyRef": {"name": "s", "key": "k"}})), "secrets"),
        (env(json!({"configMapKeyRef": {"name": "s", "key": "k"}})), "configmaps"),
        (json!({"resourceClaims": [{"name": "c", "resourceClaimName": "gpu"}]}), "resourceclaims"),
        (json!({"resourceClaims": [{"name": "c", "resourceClaimTemplateName": "gpu"}]}), "resourceclaims"),
        (volume(json!({"secret": {"secretName": "s"}})), "secrets"),
        (volume(json!({"configMap": {"name": "s"}})), "configmaps"),
        (volume(json!({"persistentVolumeClaim": {"claimName": "c"}})), "persistentvolumeclaims"),
        (volume(json!({"csi": {"driver": "d"}})), "csidrivers (via CSI volumes)"),
        (
            volume(json!({"ephemeral": {"volumeClaimTemplate": {"spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            }}}})),
            "persistentvolumeclaims (via ephemeral volumes)",
        ),
        (projected(json!({"serviceAccountToken": {"path": "p"}})), "serviceaccounts (via projected volumes)"),
        (projected(json!({"clusterTrustBundle": {"name": "b", "path": "p"}})), "clustertrustbundles"),
    ];
    for (spec, what) in rows {
        let shown = spec.to_string();
        let own = format!("node \"n1\" can not create pods that reference {what}");
        // ServiceAccount speaks first, about what it knows of.
        let first = match what {
            "serviceaccounts" => "a mirror pod may not reference service accounts",
            "secrets" => "a mirror pod may not reference secrets",
            "serviceaccounts (via projected volumes)" => {
                "a mirror pod may not use ServiceAccountToken volume projections"
            }
            _ => &own,
        };
        for (nodes, why) in [(&both, first), (&alone, &own)] {
            let extend = |pod: &mut Value| {
                pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            };
            let pod = mirror(nodes, extend).await;
            let (code, answer) = nodes.ask(&node("n1"), "POST", PODS, pod).await;
            let why = format!(r#"pods "mirror" is forbidden: {why}"#);
            assert_eq!((code, answer["message"].as_str()), (403, Some(why.as_str())), "{shown}");
        }
    }
    let harmless = volume(json!({"emptyDir": {}}));
    let pod = mirror(&both, |pod| pod["spec"]["volumes"] = harmless["volumes"].clone()).await;
    both.done(&node("n1"), "POST", PODS, pod).await;
}

#[tokio::test]
async fn p8_a_node_reports_only_about_its_own_pods() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let status = |name: &str| format!("{PODS}/{name}/status");
    let running = json!({"status": {"phase": "Running"}});
    nodes.done(&n1, "PATCH", &status("pod-n1"), running.clone()).await;
    let why = r#"node "n1" can only update pod status for pods with spec.nodeName set to itself"#;
    nodes.refused(&n1, "PATCH", &status("pod-n2"), running, why).await;
    let why = r#"node "n1" cannot update labels through pod status"#;
    nodes.refused(&n1, "PATCH", &status("pod-n1"), json!({"metadata": {"labels": {"app": "x"}}}), why).await;
    let why = r#"node "n1" cannot update the mirror annotation through pod status"#;
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    nodes.refused(&n1, "PATCH", &status("pod-n1"), mirror, why).await;
    let claims = json!({"status": {"resourceClaimStatuses": [{"name": "c", "resourceClaimName": "gpu"}]}});
    let why = r#"node "n1" cannot update resource claim statues"#;
    nodes.refused(&n1, "PATCH", &status("pod-n1"), claims, why).await;
    let extended = json!({"status": {"extendedResourceClaimStatus": {
        "resourceClaimName": "gpu", "requestMappings": [{"containerName": "c", "resourceName": "r", "requestName": "q"}],
    }}});
    let why = r#"node "n1" cannot update extended resource claim status"#;
    nodes.refused(&n1, "PATCH", &status("pod-n1"), extended, why).await;
    let why = r#"resource "pods" in API group "" in the namespace "default""#;
    nodes.refused(&n1, "PATCH", &format!("{PODS}/pod-n1"), json!({"metadata": {"labels": {"a": "b"}}}), why).await;
}

#[tokio::test]
async fn p8_leases_csi_nodes_and_slices_are_each_nodes_own() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let named = |name: &str| json!({"metadata": {"name": name}});
    nodes.done(&n1, "POST", LEASES, named("n1")).await;
    let why = "can only access node lease with the same name as the requesting node";
    nodes.refused(&n1, "POST", LEASES, named("n2"), why).await;
    nodes.refused(&n1, "POST", LEASES, json!({"metadata": {"generateName": "n1"}}), why).await;
    nodes.refused(&n1, "DELETE", &format!("{LEASES}/n2"), Value::Null, why).await;
    let elsewhere = LEASES.replace("kube-node-lease", "default");
    let why = r#"can only access leases in the "kube-node-lease" system namespace"#;
    nodes.refused(&n1, "POST", &elsewhere, named("n1"), why).await;
    let csi_node = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    nodes.done(&n1, "POST", CSI_NODES, csi_node("n1")).await;
    let why = "can only access CSINode with the same name as the requesting node";
    nodes.refused(&n1, "POST", CSI_NODES, csi_node("n2"), why).await;
    let slice = |name: &str, node: &str| {
        let pool = json!({"name": "p", "generation": 1, "resourceSliceCount": 1});
        json!({"metadata": {"name": name}, "spec": {"driver": "d.example.com", "pool": pool, "nodeName": node, "devices": []}})
    };
    nodes.done(&n1, "POST", SLICES, slice("s1", "n1")).await;
    nodes.done(&admin(), "POST", SLICES, slice("s2", "n2")).await;
    let why = "can only create ResourceSlice with the same NodeName as the requesting node";
    nodes.refused(&n1, "POST", SLICES, slice("s3", "n2"), why).await;
    // Devices are not pushed onto another node, or onto all, by a slice that was one's own.
    let why = "can only update ResourceSlice with the same NodeName as the requesting node";
    let s1 = nodes.done(&n1, "GET", &format!("{SLICES}/s1"), Value::Null).await;
    for spec in [json!({"nodeName": "n2"}), json!({"nodeName": null, "allNodes": true})] {
        nodes.refused(&n1, "PATCH", &format!("{SLICES}/s1"), json!({"spec": spec}), why).await;
    }
    let mut moved = s1.clone();
    moved["spec"]["nodeName"] = json!("n2");
    nodes.refused(&n1, "PUT", &format!("{SLICES}/s1"), moved, why).await;
    nodes.done(&n1, "PUT", &format!("{SLICES}/s1"), s1).await;
    let why = "no relationship found between node 'n1' and this object";
    nodes.refused(&n1, "DELETE", &format!("{SLICES}/s2"), Value::Null, why).await;
    nodes.done(&n1, "DELETE", &format!("{SLICES}?fieldSelector=spec.nodeName%3Dn1"), Value::Null).await;
    nodes.done(&admin(), "GET", &format!("{SLICES}/s2"), Value::Null).await;
}

#[tokio::test]
async fn p9_a_node_reads_only_secrets_of_its_pods() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let secret = |name: &str| format!("/api/v1/namespaces/default/secrets/{name}");
    let unrelated = "no relationship found between node 'n1' and this object";
    nodes.done(&n1, "GET", &secret("tls-n1"), Value::Null).await;
    nodes.refused(&n1, "GET", &secret("tls-n2"), Value::Null, unrelated).await;
    let list = "/api/v1/namespaces/default/secrets";
    nodes.refused(&n1, "GET", list, Value::Null, "No Object name found").await;
    let one = format!("{list}?fieldSelector=metadata.name%3Dtls-n1");
    assert_eq!(nodes.done(&n1, "GET", &one, Value::Null).await["items"].as_array().unwrap().len(), 1);
    // The answer follows the pods at once: when one comes, and when it is gone.
    let mut further = pod_of("n1");
    further["metadata"]["name"] = json!("further");
    further["spec"]["volumes"][0]["secret"]["secretName"] = json!("tls-n2");
    nodes.done(&admin(), "POST", PODS, further).await;
    nodes.done(&n1, "GET", &secret("tls-n2"), Value::Null).await;
    let now = json!({"gracePeriodSeconds": 0});
    nodes.done(&admin(), "DELETE", &format!("{PODS}/further"), now).await;
    nodes.refused(&n1, "GET", &secret("tls-n2"), Value::Null, unrelated).await;
    let why = "can only list/watch pods with spec.nodeName field selector";
    nodes.refused(&n1, "GET", "/api/v1/pods", Value::Null, why).await;
    let own = nodes.done(&n1, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", Value::Null).await;
    assert_eq!(own["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn p9_a_node_reports_only_the_size_of_a_claim() {
    let nodes = Nodes::new().await;
    let n1 = node("n1");
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({
        "metadata": {"name": "disk"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    nodes.done(&admin(), "POST", claims, claim).await;
    let status = format!("{claims}/disk/status");
    let grown = json!({"status": {"capacity": {"storage": "2Gi"}}});
    let unrelated = "no relationship found between node 'n1' and this object";
    nodes.refused(&n1, "PATCH", &status, grown.clone(), unrelated).await;
    let mut pod = pod_of("n1");
    pod["metadata"]["name"] = json!("with-disk");
    pod["spec"]["volumes"] = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "disk"}}]);
    nodes.done(&admin(), "POST", PODS, pod).await;
    nodes.done(&n1, "PATCH", &status, grown).await;
    let why = r#"node "n1" is not allowed to update fields other than status.quantity and status.conditions"#;
    for change in [
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"spec": {"volumeName": "stolen"}}),
        json!({"status": {"phase": "Bound"}}),
        json!({"metadata": {"finalizers": ["example.com/a"]}}),
    ] {
        nodes.refused(&n1, "PATCH", &status, change, why).await;
    }
}

#[tokio::test]
async fn a14_a_node_without_a_name_writes_nothing() {
    /// Somebody let every member of the group of nodes do everything.
    struct Careless;
    impl Authorizer for Careless {
        fn name(&self) -> &'static str {
            "careless"
        }
        fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
            let is_node = attributes.user.is_in(GROUP_NODES);
            let verdict = Verdict::allow("careless");
            Decision::Now(if is_node { verdict } else { Verdict::no_opinion() })
        }
        fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
    }
    let nodes = Nodes::with(|_, _| vec![Arc::new(Careless)]).await;
    let config = json!({"metadata": {"name": "c"}});
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["system:node:", "system:node", "kubelet"] {
        let peer = peer(name, &[GROUP_NODES]);
        let why = format!(r#"configmaps "c" is forbidden: could not determine node from user "{name}""#);
        nodes.refused(&peer, "POST", maps, config.clone(), &why).await;
        nodes.refused(&peer, "DELETE", "/api/v1/namespaces/default", Value::Null, "").await;
    }
    nodes.done(&node("n1"), "POST", maps, config).await;
    // NodeRestriction holds whoever let the node in.
    let secret = "/api/v1/namespaces/default/persistentvolumeclaims/x";
    let (code, _) = nodes.ask(&node("n1"), "DELETE", secret, Value::Null).await;
    assert_eq!(code, 404);
    let why = r#"unexpected pod subresource "binding", only 'status' and 'eviction' are allowed"#;
    nodes.done(&admin(), "POST", "/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let mut pod = pod_of("n1");
    pod["spec"].as_object_mut().unwrap().remove("nodeName");
    nodes.done(&admin(), "POST", PODS, pod).await;
    let binding = json!({"metadata": {"name": "pod-n1"}, "target": {"kind": "Node", "name": "n1"}});
    nodes.refused(&node("n1"), "POST", &format!("{PODS}/pod-n1/binding"), binding, why).await;
}

#[tokio::test]
async fn a14_nodes_are_refused_without_their_authorizer() {
    let nodes = Nodes::with(|_, _| vec![Arc::new(NodesRefused::default())]).await;
    let (code, answer) = nodes.ask(&node("n1"), "GET", "/api/v1/nodes/n1", Value::Null).await;
    let message = answer["message"].as_str().unwrap();
    assert!(code == 403 && message.contains("--authorization-mode"), "{message}");
    nodes.done(&admin(), "GET", "/api/v1/nodes", Value::Null).await;
}

/// Lets one node have tokens of `web` for `granted`.
struct Granted;

impl Authorizer for Granted {
    fn name(&self) -> &'static str {
        "granted"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        let is_granted = attributes.verb == "request-serviceaccounts-token-audience"
            && attributes.user.name == "system:node:n1"
            && matches!(
                attributes.target,
                Target::Resource {
                    group: "",
                    version: "v1",
                    namespace: "default",
                    resource: "granted",
                    subresource: "",
                    name: "web",
                    ..
                }
            );
        Decision::Now(if is_granted { Verdict::allow("granted") } else { Verdict::no_opinion() })
    }

    fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
}

#[tokio::test]
async fn p9_a_node_has_tokens_only_of_its_pods_and_for_their_audiences() {
    let nodes =
        Nodes::with(|engine, registry| vec![Arc::new(node_authorizer(engine, registry).unwrap()), Arc::new(Granted)])
            .await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let driver = json!({"metadata": {"name": "csi.example.com"}, "spec": {"tokenRequests": [{"audience": "vault"}]}});
    nodes.done(&admin(), "POST", "/apis/storage.k8s.io/v1/csidrivers", driver).await;
    let volume = json!({
        "metadata": {"name": "pv"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "csi": {"driver": "csi.example.com", "volumeHandle": "h"},
            "claimRef": {"namespace": "default", "name": "disk"},
        },
    });
    nodes.done(&admin(), "POST", "/api/v1/persistentvolumes", volume).await;
    let claim = json!({
        "metadata": {"name": "disk"},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "volumeName": "pv", "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    nodes.done(&admin(), "POST", "/api/v1/namespaces/default/persistentvolumeclaims", claim).await;
    let token = |audience: &str| json!({"serviceAccountToken": {"path": "t", "audience": audience}});
    let mut uids = Vec::new();
    for (name, node, volumes) in [
        ("plain", "n1", json!([])),
        ("api", "n1", json!([{"name": "t", "projected": {"sources": [token("")]}}])),
        ("bank", "n1", json!([{"name": "t", "projected": {"sources": [token("bank")]}}])),
        ("disk", "n1", json!([{"name": "d", "persistentVolumeClaim": {"claimName": "disk"}}])),
        ("csi", "n1", json!([{"name": "d", "csi": {"driver": "csi.example.com"}}])),
        ("other", "n2", json!([{"name": "t", "projected": {"sources": [token("")]}}])),
    ] {
        let account = json!({"metadata": {"name": if node == "n1" { "web" } else { "other" }}});
        let _ = nodes.ask(&admin(), "POST", accounts, account.clone()).await;
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "nodeName": node, "serviceAccountName": account["metadata"]["name"], "volumes": volumes,
                "containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false,
            },
        });
        uids.push(nodes.done(&admin(), "POST", PODS, pod).await["metadata"]["uid"].as_str().unwrap().to_owned());
    }
    let ask = |pod: &str, uid: &str, audiences: &[&str]| {
        let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid});
        json!({"spec": {"audiences": audiences, "boundObjectRef": bound}})
    };
    let (n1, web) = (node("n1"), format!("{accounts}/web/token"));
    let [plain, api, bank, disk, csi, other] = &*uids else { panic!("six pods") };
    for body in [
        ask("api", api, &[]),
        ask("bank", bank, &["bank"]),
        ask("disk", disk, &["vault"]),
        ask("csi", csi, &["vault"]),
        ask("plain", plain, &["granted"]),
    ] {
        nodes.done(&n1, "POST", &web, body).await;
    }
    let not_found = |audience: &str| {
        format!(
            "serviceaccounts \"web\" is forbidden: audience {audience:?} not found in pod spec volume, system:node:n1 is \
             not authorized to request tokens for this audience"
        )
    };
    for (body, why) in [
        (ask("plain", plain, &[]), not_found("")),
        (ask("api", api, &["bank"]), not_found("bank")),
        (ask("bank", bank, &[]), not_found("")),
        (ask("disk", disk, &["bank"]), not_found("bank")),
        (ask("bank", bank, &["bank", "granted"]), "node may only request 0 or 1 audiences".to_owned()),
        (json!({"spec": {}}), "node requested token not bound to a pod".to_owned()),
        (ask("api", "", &[]), "node requested token with a pod binding without a uid".to_owned()),
        (
            ask("api", plain, &[]),
            format!(
                "the UID in the bound object reference ({plain}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            ),
        ),
        (ask("other", other, &[]), "node requested token bound to a pod scheduled on a different node".to_owned()),
    ] {
        nodes.refused(&n1, "POST", &web, body, &why).await;
    }
    let (code, _) = nodes.ask(&n1, "POST", &web, ask("gone", "u-1", &[])).await;
    assert_eq!(code, 404);
    let unrelated = "no relationship found between node 'n1' and this object";
    nodes.refused(&n1, "POST", &format!("{accounts}/other/token"), ask("other", other, &[]), unrelated).await;
}

/// Requests for certificates with a key that nobody has: in the name of `n1`, and in two names.
pub(super) const REQUEST_OF_N1: &str = "MIHsMIGSAgEAMDAxFTATBgNVBAoMDHN5c3RlbTpub2RlczEXMBUGA1UEAwwOc3lzdGVtOm5vZGU6bjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR00XhXp7iRMo5MMZ6A0+oWwLSYZ0XLXtcp+WdWAOsvTUivY2UvABMt6mYIeDfy9Oyxboot4EInloeKipurAtP3oAAwCgYIKoZIzj0EAwIDSQAwRgIhAJwo6JZJE/5yXRht7G9gGj8jfulqAatjUArT/rtcl6QAAiEAqWqAoCvwLqNP/Yz5mp8/MWP+RElkolJdZcn4Wd/9Lew=";
const REQUEST_OF_BOTH: &str = "MIIBAzCBqwIBADBJMRUwEwYDVQQKDAxzeXN0ZW06bm9kZXMxFzAVBgNVBAMMDnN5c3RlbTpub2RlOm4yMRcwFQYDVQQDDA5zeXN0ZW06bm9kZTpuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHTReFenuJEyjkwxnoDT6hbAtJhnRcte1yn5Z1YA6y9NSK9jZS8AEy3qZgh4N/L07LFuii3gQieWh4qKm6sC0/egADAKBggqhkjOPQQDAgNHADBEAiADXtfD8TIrMHiiL+TNhPa0GSsvSVvRxS29kKgxtXOdtAIge4GxhVMCUmDPIRfy5dWcyfhNySUhkpKJoCJsm4jb0uk=";

#[tokio::test]
async fn p8_a_node_asks_for_certificates_in_its_own_name() {
    let nodes = Nodes::new().await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = |name: &str, signer: &str, der: &str| {
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----
{der}
-----END CERTIFICATE REQUEST-----
"
        );
        let usages = ["digital signature", "client auth"];
        json!({
            "metadata": {"name": name},
            "spec": {"request": STANDARD.encode(pem), "signerName": signer, "usages": usages},
        })
    };
    let client = "kubernetes.io/kube-apiserver-client-kubelet";
    nodes.done(&node("n1"), "POST", requests, request("own", client, REQUEST_OF_N1)).await;
    let why = "can only create a node CSR with CN=system:node:n2";
    nodes.refused(&node("n2"), "POST", requests, request("stolen", client, REQUEST_OF_N1), why).await;
    nodes.refused(&node("n2"), "POST", requests, request("both", client, REQUEST_OF_BOTH), why).await;
    let why = "can only create a node CSR with CN=system:node:n1";
    nodes.refused(&node("n1"), "POST", requests, request("both", client, REQUEST_OF_BOTH), why).await;
    // Whatever another signer does with a name is that signer's business.
    nodes.done(&node("n2"), "POST", requests, request("else", "example.com/signer", REQUEST_OF_N1)).await;
}
