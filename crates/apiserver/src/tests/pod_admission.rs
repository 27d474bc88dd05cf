//! What plugins make of pods, and which they refuse (A11, P7).

use portcullis_client::DialRule;
use portcullis_client::test_server::{Authority, Server, Settings};
use portcullis_gate::Document;

use super::*;
use crate::admission::image_policy_webhook::ImagePolicyWebhook;
use crate::admission::{Given, Selection};

const PODS: &str = "/api/v1/namespaces/default/pods";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";
const RUNTIMES: &str = "/apis/node.k8s.io/v1/runtimeclasses";
const NODES: &str = "/api/v1/nodes";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod with one container, and more in its spec.
fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

async fn with_plugins(names: &[&str]) -> Cluster {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let admission = Selection::new(&names, &[]).unwrap();
    Cluster::with(Config { admission, ..Config::default() }, Vec::new(), None).await
}

impl Cluster {
    async fn creates(&self, path: &str, object: Value) -> Said {
        let said = self.post(path, object.clone()).await;
        assert_eq!(said.code, 201, "{object}: {}", said.message());
        said
    }

    /// What a pod with this in its spec would be.
    async fn dry(&self, spec: &Value) -> Said {
        self.post(&format!("{PODS}?dryRun=All"), pod("p", spec)).await
    }

    async fn dry_made(&self, spec: &Value) -> Value {
        let said = self.dry(spec).await;
        assert_eq!(said.code, 201, "{spec}: {}", said.message());
        said.at("/spec")
    }

    async fn dry_refused(&self, spec: &Value, why: &str) {
        let said = self.dry(spec).await;
        assert_eq!((said.code, said.message()), (403, format!(r#"pods "p" is forbidden: {why}"#)), "{spec}");
    }
}

/// The name of the token's volume, if a pod has one.
fn token_volume(spec: &Value) -> Option<&str> {
    let volumes = spec["volumes"].as_array()?;
    volumes.iter().find(|volume| volume.pointer("/projected/sources/0/serviceAccountToken").is_some())?["name"].as_str()
}

#[tokio::test]
async fn a11_the_token_is_mounted_with_authority_and_namespace() {
    let cluster = Cluster::new().await;
    let spec = cluster
        .dry_made(&json!({
            "initContainers": [{"name": "i", "image": "i:1"}],
            "containers": [
                {"name": "c", "image": "i:1", "volumeMounts": [{"name": "own", "mountPath": "/data"}]},
                {"name": "d", "image": "i:1", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]},
            ],
            "volumes": [{"name": "own", "emptyDir": {}}],
        }))
        .await;
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
    let name = token_volume(&spec).unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5, "{name}");
    let volume = json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}});
    assert_eq!(spec["volumes"][1], volume);
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
    assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["containers"][0]["volumeMounts"], json!([{"name": "own", "mountPath": "/data"}, mount]));
    assert_eq!(spec["containers"][1]["volumeMounts"], json!([{"name": "own", "mountPath": MOUNT_PATH}]));
    // Nobody needs it: nobody gets it. A pod that was made of another keeps the volume that it has.
    let own = json!([{"name": "c", "image": "i:1", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]);
    let volumes = json!([{"name": "own", "emptyDir": {}}]);
    let spec = cluster.dry_made(&json!({"containers": own, "volumes": volumes})).await;
    assert_eq!(spec["volumes"], volumes);
    let spec = cluster.dry_made(&json!({"volumes": [volume]})).await;
    assert_eq!((&spec["volumes"], &spec["containers"][0]["volumeMounts"]), (&json!([volume]), &json!([mount])));
}

#[tokio::test]
async fn a11_the_pods_word_on_its_token_wins_over_its_accounts() {
    let cluster = Cluster::new().await;
    for (name, word) in [("silent", None), ("quiet", Some(false)), ("open", Some(true))] {
        let account = json!({"metadata": {"name": name}, "automountServiceAccountToken": word});
        cluster.creates(ACCOUNTS, account).await;
    }
    let rows = [
        ("silent", None, true),
        ("silent", Some(false), false),
        ("silent", Some(true), true),
        ("quiet", None, false),
        ("quiet", Some(false), false),
        ("quiet", Some(true), true),
        ("open", None, true),
        ("open", Some(false), false),
        ("open", Some(true), true),
    ];
    for (account, word, expected) in rows {
        let spec = json!({"serviceAccountName": account, "automountServiceAccountToken": word});
        let made = cluster.dry_made(&spec).await;
        assert_eq!(token_volume(&made).is_some(), expected, "{spec}");
        assert_eq!(made["containers"][0]["volumeMounts"].is_array(), expected, "{spec}");
    }
}

#[tokio::test]
async fn p7_a_pod_that_says_no_has_no_token_volume() {
    let cluster = Cluster::new().await;
    let spec = cluster.dry_made(&json!({"automountServiceAccountToken": false})).await;
    assert_eq!((&spec["volumes"], &spec["containers"][0]["volumeMounts"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_pod_runs_as_an_account_that_is_there() {
    let cluster = Cluster::new().await;
    let secrets = json!([{"name": "registry"}, {"name": "mirror"}]);
    cluster.creates(ACCOUNTS, json!({"metadata": {"name": "web"}, "imagePullSecrets": secrets})).await;
    let why = r#"error looking up service account default/nosuch: serviceaccount "nosuch" not found"#;
    cluster.dry_refused(&json!({"serviceAccountName": "nosuch"}), why).await;
    let spec = cluster.dry_made(&json!({"serviceAccount": "web"})).await;
    assert_eq!((&spec["serviceAccountName"], &spec["imagePullSecrets"]), (&json!("web"), &secrets));
    let own = json!([{"name": "own"}]);
    let spec = cluster.dry_made(&json!({"serviceAccountName": "web", "imagePullSecrets": own})).await;
    assert_eq!(spec["imagePullSecrets"], own);
    // A kubelet's own pod names nobody, and stays as it is.
    let mut mirror = pod("p", &json!({"nodeName": "n1"}));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let path = format!("{PODS}?dryRun=All");
    let made = cluster.post(&path, mirror.clone()).await;
    assert_eq!(
        (made.code, made.at("/spec/serviceAccountName"), made.at("/spec/volumes")),
        (201, Value::Null, Value::Null)
    );
    mirror["spec"]["serviceAccountName"] = json!("web");
    let why = r#"pods "p" is forbidden: a mirror pod may not reference service accounts"#;
    assert_eq!(cluster.post(&path, mirror).await.message(), why);
}

#[tokio::test]
async fn an_account_may_limit_the_secrets_of_its_pods() {
    let cluster = Cluster::new().await;
    for (name, value) in [("strict", "true"), ("lax", "no")] {
        let metadata = json!({"name": name, "annotations": {"kubernetes.io/enforce-mountable-secrets": value}});
        let account = json!({
            "metadata": metadata, "secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "registry"}],
        });
        cluster.creates(ACCOUNTS, account).await;
    }
    let env = |secret: &str| json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]);
    let all = |secret: &str| json!([{"secretRef": {"name": secret}}]);
    let (variable, everything) = (
        |secret| json!({"name": "c", "image": "i:1", "env": env(secret)}),
        |secret| json!({"name": "c", "image": "i:1", "envFrom": all(secret)}),
    );
    let init = |container: Value| json!({"initContainers": [{"name": "i", "image": "i:1"}, container]});
    let named = |mut container: Value| {
        container["name"] = json!("j");
        container
    };
    let volume = |secret: &str| json!({"volumes": [{"name": "v", "secret": {"secretName": secret}}]});
    let pull = |secret: &str| json!({"imagePullSecrets": [{"name": secret}]});
    let mut rows = vec![
        (volume("own"), volume("other"), r#"volume with secret.secretName="other" is"#),
        (pull("registry"), pull("other"), r#"imagePullSecrets[0].name="other" is"#),
    ];
    rows.push((
        json!({"containers": [variable("own")]}),
        json!({"containers": [variable("other")]}),
        r#"container c with envVar X referencing secret.secretName="other" is"#,
    ));
    rows.push((
        json!({"containers": [everything("own")]}),
        json!({"containers": [everything("other")]}),
        r#"container c with envFrom referencing secret.secretName="other" is"#,
    ));
    rows.push((
        init(named(variable("own"))),
        init(named(variable("other"))),
        r#"init container j with envVar X referencing secret.secretName="other" is"#,
    ));
    rows.push((
        init(named(everything("own"))),
        init(named(everything("other"))),
        r#"init container j with envFrom referencing secret.secretName="other" is"#,
    ));
    for (good, bad, why) in rows {
        let of = |account: &str, spec: &Value| {
            let mut spec = spec.clone();
            spec["serviceAccountName"] = json!(account);
            spec
        };
        cluster.dry_made(&of("strict", &good)).await;
        cluster.dry_made(&of("lax", &bad)).await;
        let what = if why.starts_with("imagePull") { "imagePullSecret" } else { "secret" };
        let why = format!("{why} not allowed because service account strict does not reference that {what}");
        cluster.dry_refused(&of("strict", &bad), &why).await;
    }
    cluster.creates(PODS, pod("p", &json!({"serviceAccountName": "strict"}))).await;
    let door = format!("{PODS}/p/ephemeralcontainers");
    let debug =
        |secret: &str| json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "i:1", "env": env(secret)}]}});
    let refused = cluster.merge(&door, debug("other")).await;
    let why = r#"pods "p" is forbidden: ephemeral container d with envVar X referencing secret.secretName="other" is not allowed because service account strict does not reference that secret"#;
    assert_eq!((refused.code, refused.message().as_str()), (403, why));
}

/// What a container may have of a secret, by each way.
fn of_secret(secret: &str) -> [Value; 2] {
    [
        json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": secret, "key": "k"}}}]}),
        json!({"envFrom": [{"secretRef": {"name": secret}}]}),
    ]
}

async fn with_strict_account() -> Cluster {
    let cluster = Cluster::new().await;
    let metadata = json!({"name": "strict", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}});
    cluster.creates(ACCOUNTS, json!({"metadata": metadata, "secrets": [{"name": "own"}]})).await;
    cluster
}

#[tokio::test]
async fn cve_2023_2727_images_of_ephemeral_containers_are_reviewed() {
    let authority = Authority::new();
    let server = Server::start(Settings::new(authority.issue("127.0.0.1")), |asked| {
        let allowed = !String::from_utf8_lossy(&asked.body).contains("blocked");
        let (version, kind) = ("imagepolicy.k8s.io/v1alpha1", "ImageReview");
        let review = json!({"apiVersion": version, "kind": kind, "status": {"allowed": allowed}});
        http::Response::new(review.to_string().into())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, kubeconfig) = (folder.path().join("ca.crt"), folder.path().join("webhook.kubeconfig"));
    std::fs::write(&ca, &authority.pem).unwrap();
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "w",
        "clusters": [{"name": "w", "cluster": {"certificate-authority": ca, "server": format!("https://{}/", server.address)}}],
        "contexts": [{"name": "w", "context": {"cluster": "w"}}],
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let configuration = json!({"imagePolicy": {"kubeConfigFile": kubeconfig}}).to_string();
    let configuration = Some(Document::parse(configuration.as_bytes()).unwrap());
    let dial = DialRule { loopback_allowed: true, ..DialRule::default() };
    let plugin = ImagePolicyWebhook::configured(Given { configuration, dial: &dial }).unwrap();
    let cluster = Cluster::guarded(Config::default(), Guards::default(), Some(vec![plugin])).await;
    let of = |image: &str| json!({"containers": [{"name": "c", "image": image}]});
    assert_eq!(cluster.post(PODS, pod("q", &of("blocked:1"))).await.code, 403);
    assert_eq!(cluster.post(PODS, pod("p", &of("i:1"))).await.code, 201);
    let door = format!("{PODS}/p/ephemeralcontainers");
    let debug = |image: &str| json!({"spec": {"ephemeralContainers": [{"name": "d", "image": image}]}});
    assert_eq!(cluster.merge(&door, debug("blocked:1")).await.code, 403);
    assert_eq!(cluster.merge(&door, debug("i:2")).await.code, 200);
    assert_eq!(cluster.merge(&format!("{PODS}/p"), json!({"metadata": {"labels": {"a": "b"}}})).await.code, 200);
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "blocked:2"}]).to_string();
    let patch = [("content-type", "application/json-patch+json")];
    assert_eq!(cluster.send("PATCH", &format!("{PODS}/p"), &patch, image).await.code, 403);
}

#[tokio::test]
async fn cve_2023_2728_ephemeral_containers_name_no_secret_of_others() {
    let cluster = with_strict_account().await;
    cluster.creates(PODS, pod("p", &json!({"serviceAccountName": "strict"}))).await;
    let door = format!("{PODS}/p/ephemeralcontainers");
    let debug = |mut container: Value| {
        container["name"] = json!("d");
        container["image"] = json!("i:1");
        container
    };
    for container in of_secret("other").map(debug) {
        let merged = json!({"spec": {"ephemeralContainers": [container]}});
        let add = json!([{"op": "add", "path": "/spec/ephemeralContainers", "value": [container]}]).to_string();
        let types = ["application/merge-patch+json", "application/strategic-merge-patch+json"];
        let mut attempts: Vec<_> = types.iter().map(|of| (*of, merged.to_string())).collect();
        attempts.push(("application/json-patch+json", add));
        for (of, body) in attempts {
            let refused = cluster.send("PATCH", &door, &[("content-type", of)], body).await;
            assert_eq!(
                (refused.code, refused.message().contains("ephemeral container d with env")),
                (403, true),
                "{of}"
            );
        }
        let mut whole: Value = serde_json::from_slice(&cluster.get(&format!("{PODS}/p")).await.body).unwrap();
        whole["spec"]["ephemeralContainers"] = json!([container]);
        assert_eq!(cluster.put(&door, whole).await.code, 403);
    }
    let [own, _] = of_secret("own").map(debug);
    assert_eq!(cluster.merge(&door, json!({"spec": {"ephemeralContainers": [own]}})).await.code, 200);
}

#[tokio::test]
async fn cve_2024_3177_env_from_names_no_secret_of_others() {
    let cluster = with_strict_account().await;
    for list in ["containers", "initContainers"] {
        for (secret, expected) in [("own", 201), ("other", 403)] {
            for mut container in of_secret(secret) {
                container["name"] = json!("x");
                container["image"] = json!("i:1");
                let said = cluster.dry(&json!({"serviceAccountName": "strict", list: [container]})).await;
                assert_eq!(said.code, expected, "{list} {secret}: {}", said.message());
            }
        }
    }
}

#[tokio::test]
async fn a_class_gives_a_pod_its_priority() {
    let cluster = Cluster::new().await;
    let class = json!({"metadata": {"name": "high"}, "value": 500, "preemptionPolicy": "Never"});
    cluster.creates(CLASSES, class).await;
    let check = async |spec: Value, expected: Value| {
        let made = cluster.dry_made(&spec).await;
        let found = json!([made["priorityClassName"], made["priority"], made["preemptionPolicy"]]);
        assert_eq!(found, expected, "{spec}");
    };
    check(json!({}), json!([null, 0, "PreemptLowerPriority"])).await;
    check(json!({"priority": 0}), json!([null, 0, "PreemptLowerPriority"])).await;
    check(json!({"priorityClassName": "high"}), json!(["high", 500, "Never"])).await;
    check(
        json!({"priorityClassName": "high", "priority": 500, "preemptionPolicy": "Never"}),
        json!(["high", 500, "Never"]),
    )
    .await;
    let critical = json!(["system-node-critical", 2_000_001_000, "PreemptLowerPriority"]);
    check(json!({"priorityClassName": "system-node-critical"}), critical).await;
    cluster.dry_refused(&json!({"priorityClassName": "nosuch"}), "no PriorityClass with name nosuch was found").await;
    let number = |given: i32, class: i32| {
        format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {class} from the given PriorityClass name"
        )
    };
    cluster.dry_refused(&json!({"priority": 7}), &number(7, 0)).await;
    cluster.dry_refused(&json!({"priorityClassName": "high", "priority": 7}), &number(7, 500)).await;
    let why = "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority \
               admission controller computed Never from the given PriorityClass name";
    let both = json!({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"});
    cluster.dry_refused(&both, why).await;
    // The class of pods that name none: one of them.
    let class = |name: &str| json!({"metadata": {"name": name}, "value": 50, "globalDefault": true});
    cluster.creates(CLASSES, class("usual")).await;
    check(json!({}), json!(["usual", 50, "PreemptLowerPriority"])).await;
    let second = cluster.post(CLASSES, class("second")).await;
    let why = "PriorityClass usual is already marked as default. Only one default can exist";
    let message = format!(r#"priorityclasses.scheduling.k8s.io "second" is forbidden: {why}"#);
    assert_eq!((second.code, second.message()), (403, message));
    let high = cluster.merge(&format!("{CLASSES}/high"), json!({"globalDefault": true})).await;
    let message = format!(r#"priorityclasses.scheduling.k8s.io "high" is forbidden: {why}"#);
    assert_eq!((high.code, high.message()), (403, message));
    let usual = cluster.merge(&format!("{CLASSES}/usual"), json!({"description": "as usual"})).await;
    assert_eq!(usual.code, 200, "{}", usual.message());
}

#[tokio::test]
async fn a_pod_stays_five_minutes_on_a_lost_node() {
    let cluster = Cluster::new().await;
    let stays = |taint: &str| {
        let key = format!("node.kubernetes.io/{taint}");
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    };
    let check = async |given: Value, added: &[&str]| {
        let made = cluster.dry_made(&json!({"tolerations": given})).await;
        let mut expected = given.as_array().unwrap().clone();
        expected.extend(added.iter().map(|taint| stays(taint)));
        assert_eq!(made["tolerations"], json!(expected));
    };
    let both = &["not-ready", "unreachable"][..];
    check(json!([]), both).await;
    check(json!([{"key": "a", "operator": "Exists"}]), both).await;
    check(json!([{"operator": "Exists"}]), &[]).await;
    check(json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]), &[]).await;
    check(json!([{"operator": "Exists", "effect": "NoSchedule"}]), both).await;
    check(json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}]), &["unreachable"]).await;
    let unreachable = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}]);
    check(unreachable, &["not-ready"]).await;
}

#[tokio::test]
async fn a_runtime_has_its_price_and_its_place() {
    let cluster = Cluster::new().await;
    let class = json!({
        "metadata": {"name": "sandbox"}, "handler": "h", "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]},
    });
    cluster.creates(RUNTIMES, class).await;
    cluster.creates(RUNTIMES, json!({"metadata": {"name": "plain"}, "handler": "h"})).await;
    let made = cluster.dry_made(&json!({"runtimeClassName": "sandbox", "nodeSelector": {"c": "d"}})).await;
    assert_eq!((&made["overhead"], &made["nodeSelector"]), (&json!({"cpu": "250m"}), &json!({"a": "b", "c": "d"})));
    assert_eq!(made["tolerations"][2], json!({"key": "k", "operator": "Exists"}));
    let made = cluster.dry_made(&json!({"runtimeClassName": "plain"})).await;
    assert_eq!((&made["overhead"], &made["nodeSelector"]), (&Value::Null, &Value::Null));
    cluster.dry_made(&json!({"runtimeClassName": "sandbox", "overhead": {"cpu": "0.25"}})).await;
    let other = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
    cluster.dry_refused(&json!({"runtimeClassName": "sandbox", "overhead": {"cpu": "1"}}), other).await;
    cluster
        .dry_refused(&json!({"runtimeClassName": "nosuch"}), r#"pod rejected: RuntimeClass "nosuch" not found"#)
        .await;
    let without = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
    cluster.dry_refused(&json!({"runtimeClassName": "plain", "overhead": {"cpu": "1"}}), without).await;
    cluster.dry_refused(&json!({"overhead": {"cpu": "1"}}), without).await;
    let conflict = "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = x";
    cluster.dry_refused(&json!({"runtimeClassName": "sandbox", "nodeSelector": {"a": "x"}}), conflict).await;
}

#[tokio::test]
async fn a_new_node_takes_no_pods_yet() {
    let cluster = Cluster::new().await;
    let not_ready = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let check = async |name: &str, given: Value, expected: Value| {
        let node = json!({"metadata": {"name": name}, "spec": {"taints": given}});
        assert_eq!(cluster.creates(NODES, node).await.at("/spec/taints"), expected, "{given}");
    };
    check("a", json!([]), json!([not_ready])).await;
    let own = json!({"key": "k", "effect": "NoExecute"});
    check("b", json!([own]), json!([own, not_ready])).await;
    check("c", json!([not_ready]), json!([not_ready])).await;
}

#[tokio::test]
async fn a_pod_knows_where_it_runs() {
    let cluster = Cluster::new().await;
    let labels = json!({
        "topology.kubernetes.io/zone": "north", "topology.kubernetes.io/region": "sea", "kubernetes.io/arch": "amd64",
    });
    cluster.creates(NODES, json!({"metadata": {"name": "n1", "labels": labels}})).await;
    let mut given = pod("p", &json!({}));
    given["metadata"]["labels"] = json!({"app": "a", "topology.kubernetes.io/zone": "mine"});
    cluster.creates(PODS, given.clone()).await;
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    cluster.creates(&format!("{PODS}/p/binding"), binding).await;
    let expected = json!({"app": "a", "topology.kubernetes.io/zone": "north", "topology.kubernetes.io/region": "sea"});
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.at("/metadata/labels"), expected);
    given["metadata"]["name"] = json!("q");
    given["spec"]["nodeName"] = json!("n1");
    assert_eq!(cluster.creates(PODS, given.clone()).await.at("/metadata/labels"), expected);
    given["metadata"]["name"] = json!("r");
    given["spec"]["nodeName"] = json!("nosuch");
    let kept = given["metadata"]["labels"].clone();
    assert_eq!(cluster.creates(PODS, given).await.at("/metadata/labels"), kept);
}

#[tokio::test]
async fn devices_and_domains_are_asked_for_with_care() {
    let names = ["ExtendedResourceToleration", "LimitPodHardAntiAffinityTopology"];
    let cluster = with_plugins(&names).await;
    let container = |requests: Value| json!([{"name": "c", "image": "i:1", "resources": {"requests": requests, "limits": requests}}]);
    let requests = json!({"example.com/crane": "1", "example.com/boat": "2", "cpu": "1", "kubernetes.io/x": "1"});
    let made = cluster.post(&format!("{PODS}?dryRun=All"), pod("p", &json!({"containers": container(requests)}))).await;
    let added: Vec<Value> = ["boat", "crane"]
        .map(|name| json!({"key": format!("example.com/{name}"), "operator": "Exists", "effect": "NoSchedule"}))
        .into();
    if made.code == 201 {
        assert_eq!(made.at("/spec/tolerations").as_array().unwrap()[2..], added);
    }
    let requests = json!({"example.com/boat": "2"});
    let given = json!([{"key": "example.com/boat", "operator": "Exists", "effect": "NoSchedule"}]);
    let made = cluster.dry_made(&json!({"containers": container(requests), "tolerations": given})).await;
    assert_eq!(made["tolerations"].as_array().unwrap().len(), 3);
    let apart = |key: &str| {
        let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"a": "b"}}});
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    };
    cluster.dry_made(&apart("kubernetes.io/hostname")).await;
    let why = "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed";
    cluster.dry_refused(&apart("zone"), why).await;
}

#[tokio::test]
async fn a_namespace_has_its_nodes_and_its_taints() {
    let cluster = with_plugins(&["PodNodeSelector", "PodTolerationRestriction"]).await;
    let annotate = async |annotations: Value| {
        let said = cluster.merge("/api/v1/namespaces/default", json!({"metadata": {"annotations": annotations}})).await;
        assert_eq!(said.code, 200, "{}", said.message());
    };
    assert_eq!(cluster.dry_made(&json!({})).await["nodeSelector"], Value::Null);
    annotate(json!({"scheduler.alpha.kubernetes.io/node-selector": "quay=north,env=test"})).await;
    let made = cluster.dry_made(&json!({"nodeSelector": {"a": "b", "env": "test"}})).await;
    assert_eq!(made["nodeSelector"], json!({"a": "b", "env": "test", "quay": "north"}));
    let why = "pod node label selector conflicts with its namespace node label selector";
    cluster.dry_refused(&json!({"nodeSelector": {"quay": "south"}}), why).await;
    annotate(json!({"scheduler.alpha.kubernetes.io/node-selector": "quay"})).await;
    let said = cluster.dry(&json!({})).await;
    assert_eq!((said.code, said.message().as_str()), (500, "invalid selector: [quay]"));
    annotate(json!({
        "scheduler.alpha.kubernetes.io/node-selector": null,
        "scheduler.alpha.kubernetes.io/defaultTolerations": r#"[{"key":"k","operator":"Exists"}]"#,
    }))
    .await;
    let made = cluster.dry_made(&json!({})).await;
    assert_eq!(made["tolerations"][2], json!({"key": "k", "operator": "Exists"}));
    let requests = json!({"requests": {"memory": "1Mi"}});
    let made = cluster.dry_made(&json!({"containers": [{"name": "c", "image": "i:1", "resources": requests}]})).await;
    let pressed = json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"});
    assert_eq!(made["tolerations"][3], pressed);
    let allowed = r#"[{"operator":"Exists","effect":"NoExecute"},{"key":"k","operator":"Exists"}]"#;
    annotate(json!({"scheduler.alpha.kubernetes.io/tolerationsWhitelist": allowed})).await;
    cluster.dry_made(&json!({})).await;
    let said = cluster.dry(&json!({"tolerations": [{"key": "other", "operator": "Exists"}]})).await;
    let why =
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
    assert_eq!((said.code, said.message().as_str()), (500, why));
}

#[tokio::test]
async fn a_pod_is_resized_as_far_as_its_node_can_follow() {
    let cluster = Cluster::new().await;
    let allocatable = json!({"cpu": "2", "memory": "1Gi"});
    for (name, os, features) in [
        (
            "linux",
            "linux",
            json!(["InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers"]),
        ),
        ("old", "linux", json!([])),
        ("windows", "windows", json!([])),
    ] {
        cluster.creates(NODES, json!({"metadata": {"name": name, "labels": {"kubernetes.io/os": os}}})).await;
        let status =
            json!({"status": {"allocatable": allocatable, "capacity": allocatable, "declaredFeatures": features}});
        let said = cluster.merge(&format!("{NODES}/{name}/status"), status).await;
        assert_eq!(said.code, 200, "{}", said.message());
    }
    let resources = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "64Mi"}});
    let container = |name: &str, cpu: &str| json!({"name": name, "image": "i:1", "resources": resources(cpu)});
    for node in ["linux", "old", "windows", "nosuch"] {
        let spec = json!({
            "nodeName": node, "initContainers": [container("i", "100m")], "containers": [container("c", "100m")],
        });
        cluster.creates(PODS, pod(node, &spec)).await;
        let running = json!([{
            "name": "c", "image": "i:1", "imageID": "x", "ready": true, "restartCount": 0, "resources": resources("100m"),
        }]);
        let status = json!({"status": {"containerStatuses": running}});
        let said = cluster.merge(&format!("{PODS}/{node}/status"), status).await;
        assert_eq!(said.code, 200, "{}", said.message());
    }
    let check = async |name: &str, spec: Value, expected: Result<(), (&str, Value)>| {
        let said = cluster.merge(&format!("{PODS}/{name}/resize?dryRun=All"), json!({"spec": spec})).await;
        match expected {
            Ok(()) => assert_eq!(said.code, 200, "{name}: {}", said.message()),
            Err((why, causes)) => {
                let message = format!(r#"pods "{name}" is forbidden: {why}"#);
                assert_eq!((said.code, said.message()), (403, message));
                assert_eq!(said.at("/details/causes"), causes);
            }
        }
    };
    let larger = |cpu: &str| json!({"containers": [container("c", cpu)]});
    let init = json!({"initContainers": [container("i", "200m")]});
    let cause = |reason: &str| json!([{"reason": reason}]);
    check("linux", larger("1"), Ok(())).await;
    check("linux", init.clone(), Ok(())).await;
    let why = "node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000";
    check("linux", larger("3"), Err((why, cause("NodeCapacity")))).await;
    check("old", larger("1"), Ok(())).await;
    let why =
        r#"pod update requires features InPlacePodVerticalScalingInitContainers which are not available on node "old""#;
    check("old", init, Err((why, Value::Null))).await;
    let why = r#"pod resize is only supported on linux nodes, node "windows" is "windows""#;
    check("windows", larger("1"), Err((why, cause("UnsupportedPlatform")))).await;
    check("nosuch", larger("1"), Err((r#"node "nosuch" not found"#, Value::Null))).await;
}
