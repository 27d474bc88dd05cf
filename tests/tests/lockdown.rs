//! The rows of lockdown.md about who may do what, each as a test of its name against the real program. Rows about listeners, flags and
//! files are in `listeners`, `arguments` and `lifecycle`.

use std::os::unix::fs::PermissionsExt as _;

use portcullis_tests::client::{Answer, Client};
use portcullis_tests::cluster::{Cluster, Shared, rule, who_is};
use portcullis_tests::credentials::{TokenKey, parts, signing_request};
use portcullis_tests::webhook::{Trap, Webhook};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn merge(client: &Client, path: &str, patch: &Value) -> Answer {
    client.send_content("PATCH", path, "application/merge-patch+json", patch.to_string().as_bytes()).unwrap()
}

fn is_status(answer: &Answer, expected: u16, what: &str) {
    assert_eq!(answer.status, expected, "{what}: {}", answer.text());
}

#[test]
fn a1_an_operator_adds_paths_one_by_one() {
    const ADDED: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": [{"path": ADDED}]},
    });
    let files = [("authentication.yaml", &*configuration.to_string())];
    let cluster = Cluster::start_with(&files, &["--authentication-config", "FILES/authentication.yaml"]).unwrap();
    let stranger = cluster.server.stranger();
    let object = json!({"metadata": {"name": "cluster-info"}, "data": {"a": "b"}});
    cluster.make("/api/v1/namespaces/kube-public/configmaps", &object);
    // It exists there, and may do nothing until somebody grants it.
    let answer = stranger.get(ADDED);
    is_status(&answer, 403, ADDED);
    assert!(answer.text().contains(r#"User \"system:anonymous\" cannot get resource"#), "{}", answer.text());
    let all = json!([rule(&["*"], "*", &["*"]), {"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    cluster.grant("system:anonymous", all);
    is_status(&stranger.get(ADDED), 200, ADDED);
    for path in ["/version", "/healthz", "/livez", "/readyz"] {
        is_status(&stranger.get(path), 200, path);
    }
    for path in [
        "/api",
        "/api/v1/namespaces/kube-public/configmaps",
        "/api/v1/namespaces/kube-public/configmaps/cluster-info2",
        "/api/v1/namespaces/kube-public/configmaps/cluster-info/",
        "/api/v1/namespaces/kube-public/configmaps/other",
        CONFIG_MAPS,
    ] {
        is_status(&stranger.get(path), 401, path);
    }
}

#[test]
fn a1_an_operator_can_shut_out_who_has_no_credentials() {
    let cluster = Cluster::start(&["--anonymous-auth=false"]);
    for path in ["/version", "/healthz", "/livez", "/readyz", "/api"] {
        is_status(&cluster.server.stranger().get(path), 401, path);
        is_status(&cluster.admin().get(path), 200, path);
    }
}

#[test]
fn a7_always_allow_takes_two_flags_and_every_answer_says_so() {
    const SECOND: &str = "--i-understand-that-everyone-may-do-everything";
    let refused = Cluster::start_with(&[], &["--authorization-mode", "AlwaysAllow"]).err().expect("a refused start");
    assert!(refused.contains(SECOND), "{refused}");
    let cluster = Cluster::start(&["--authorization-mode", "AlwaysAllow", SECOND]);
    let ana = cluster.user("ana", None);
    for (path, status) in [("/api/v1/secrets", 200), ("/api/v1/namespaces/absent", 404), ("/version", 200)] {
        let answer = ana.get(path);
        is_status(&answer, status, path);
        let warning = answer.header("warning").unwrap_or_default();
        assert!(warning.contains("AlwaysAllow"), "{path}: {warning:?}");
    }
    is_status(&cluster.server.stranger().get("/api"), 401, "authentication is another matter");
}

#[test]
fn a7_node_and_rbac_decide_by_default() {
    let cluster = SHARED.get();
    is_status(&cluster.user("ana", None).get("/api/v1/secrets"), 403, "nobody granted it");
    is_status(&cluster.user("ana", None).get("/version"), 200, "upstream's policy grants it");
    let node = cluster.node("a7");
    is_status(&node.post(NODES, &json!({"metadata": {"name": "a7"}})), 201, "the Node authoriser grants it");
    let other = Cluster::start_with(&[], &["--authorization-mode", "AlwaysDeny"]).unwrap();
    is_status(&other.user("ana", None).get("/api"), 403, "AlwaysDeny");
    is_status(&other.admin().get(CONFIG_MAPS), 200, "system:masters");
}

#[test]
fn a8_authentication_then_authorisation_then_admission() {
    let cluster = SHARED.get();
    // Admission never takes this one.
    let request = json!({
        "metadata": {"name": "a8"},
        "spec": {
            "request": signing_request("eve", "system:masters").unwrap(),
            "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
        },
    });
    let check = |client: &Client, status: u16, part: &str| {
        let answer = client.post(CSRS, &request);
        is_status(&answer, status, part);
        assert!(answer.text().contains(part), "{part}: {}", answer.text());
    };
    check(&cluster.bearer("nobody"), 401, "Unauthorized");
    let ana = cluster.user("a8-ana", None);
    check(&ana, 403, "cannot create resource");
    cluster.grant("a8-ana", json!([rule(&["create"], "certificates.k8s.io", &["certificatesigningrequests"])]));
    check(&ana, 403, "system:masters group is not allowed");
    check(&cluster.admin(), 403, "system:masters group is not allowed");
    is_status(&cluster.admin().get(&format!("{CSRS}/a8")), 404, "it was stored");
}

#[test]
fn a11_tokens_are_bound_end_and_name_their_audience() {
    let cluster = SHARED.get();
    let uid = cluster.account("default", "a11")["metadata"]["uid"].clone();
    let token = cluster.token("default", "a11", json!({"expirationSeconds": 600}));
    let (_, claims) = parts(&token).unwrap();
    let seconds = |claim: &str| claims[claim].as_i64().unwrap();
    assert_eq!(seconds("exp") - seconds("iat"), 600, "{claims}");
    assert!(claims["aud"].as_array().is_some_and(|audiences| !audiences.is_empty()), "{claims}");
    assert!(claims["jti"].is_string(), "{claims}");
    assert_eq!(claims["sub"], "system:serviceaccount:default:a11");
    assert_eq!(claims["kubernetes.io"]["serviceaccount"], json!({"name": "a11", "uid": uid}));
    assert_eq!(who_is(&cluster.bearer(&token))["username"], "system:serviceaccount:default:a11");
    let short = cluster.ask_token("default", "a11", json!({"expirationSeconds": 599}));
    is_status(&short, 422, "too short");
    let other = cluster.token("default", "a11", json!({"audiences": ["https://other.example.com"]}));
    is_status(&cluster.bearer(&other).get("/version"), 401, "for another audience");
    // Whatever it is bound to, it ends with it.
    for (kind, path, object) in [
        ("Secret", SECRETS, json!({"metadata": {"name": "a11"}})),
        (
            "Pod",
            PODS,
            json!({
                "metadata": {"name": "a11"},
                "spec": {
                    "serviceAccountName": "a11", "automountServiceAccountToken": false,
                    "containers": [{"name": "c", "image": "registry.example/c:1"}],
                },
            }),
        ),
    ] {
        let made = cluster.make(path, &object);
        let bound = json!({"kind": kind, "apiVersion": "v1", "name": "a11", "uid": made["metadata"]["uid"]});
        let token = cluster.token("default", "a11", json!({"boundObjectRef": bound}));
        is_status(&cluster.bearer(&token).get("/version"), 200, kind);
        let forced = json!({"gracePeriodSeconds": 0});
        is_status(&cluster.admin().send("DELETE", &format!("{path}/a11"), Some(&forced)).unwrap(), 200, kind);
        is_status(&cluster.bearer(&token).get("/version"), 401, kind);
        let foreign = json!({"kind": kind, "apiVersion": "v1", "name": "a11", "uid": "another"});
        let answer = cluster.ask_token("default", "a11", json!({"boundObjectRef": foreign}));
        assert!((400..500).contains(&answer.status), "{kind}: {}", answer.text());
    }
    is_status(&cluster.admin().delete("/api/v1/namespaces/default/serviceaccounts/a11"), 200, "the account");
    is_status(&cluster.bearer(&token).get("/version"), 401, "the account is gone");
    cluster.account("default", "a11");
    is_status(&cluster.bearer(&token).get("/version"), 401, "another account of the same name");
}

#[test]
fn a14_nodes_are_restricted_by_default() {
    let cluster = SHARED.get();
    let node = cluster.node("a14");
    is_status(&node.post(NODES, &json!({"metadata": {"name": "a14"}})), 201, "its own");
    is_status(&node.post(NODES, &json!({"metadata": {"name": "a14-other"}})), 403, "another");
    let label = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/zone": "x"}}});
    is_status(&merge(&node, &format!("{NODES}/a14"), &label), 403, "a label that is not its to set");
    is_status(&merge(&cluster.admin(), &format!("{NODES}/a14"), &label), 200, "the administrator's to set");
    is_status(&node.delete(&format!("{NODES}/a14")), 403, "its own end");
}

#[test]
fn a14_without_node_authoriser_or_restriction_nodes_are_refused() {
    for arguments in [
        &["--authorization-mode", "RBAC"][..],
        &["--disable-admission-plugins", "NodeRestriction"],
        &["--authorization-mode", "RBAC", "--defaults", "upstream"],
        &["--disable-admission-plugins", "NodeRestriction", "--defaults", "upstream"],
    ] {
        let cluster = Cluster::start(arguments);
        cluster.grant("system:node:a14", json!([rule(&["*"], "*", &["*"])]));
        let answer = cluster.node("a14").get(NODES);
        assert!([401, 403].contains(&answer.status), "{arguments:?}: {}", answer.text());
        is_status(&cluster.admin().get(NODES), 200, "everybody else is let in");
    }
}

#[test]
fn a15_the_key_of_tokens_is_for_its_owner_only() {
    let cluster = SHARED.get();
    let path = cluster.server.data_dir().join("pki/sa.key");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "{}", path.display());
    // And it is the one that signs.
    cluster.account("default", "a15");
    let (header, mut claims) = parts(&cluster.token("default", "a15", json!({}))).unwrap();
    claims["jti"] = json!("11111111-1111-4111-8111-111111111111");
    let signed = TokenKey::read(&path).unwrap().sign(header, &claims).unwrap();
    is_status(&cluster.bearer(&signed).get("/version"), 200, "signed with the cluster's key");
}

#[test]
fn a18_a_running_server_grants_no_wildcard_beyond_upstreams() {
    const WITH_WILDCARDS: [&str; 10] = [
        "cluster-admin",
        "system:controller:disruption-controller",
        "system:controller:generic-garbage-collector",
        "system:controller:horizontal-pod-autoscaler",
        "system:controller:namespace-controller",
        "system:controller:resourcequota-controller",
        "system:discovery",
        "system:kube-controller-manager",
        "system:kubelet-api-admin",
        "system:monitoring",
    ];
    let cluster = Cluster::start(&[]);
    let mut found = Vec::new();
    for resource in ["clusterroles", "roles"] {
        let list = cluster.admin().get(&format!("/apis/rbac.authorization.k8s.io/v1/{resource}")).json();
        let items = list["items"].as_array().unwrap();
        assert!(!items.is_empty(), "{resource}");
        for item in items.iter().filter(|item| item["rules"].to_string().contains('*')) {
            found.push(item["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    found.sort();
    assert_eq!(found, WITH_WILDCARDS);
}

#[test]
fn a26_redirects_of_webhooks_are_not_followed() {
    let trap = Trap::open().unwrap();
    let answer = format!("302 Found\r\nLocation: https://{}/secret", trap.address());
    let webhook = Webhook::start(&answer).unwrap();
    let kubeconfig = webhook.kubeconfig("FILES/webhook.crt");
    let files = [("webhook.json", &*kubeconfig), ("webhook.crt", webhook.authority_pem())];
    let check = |arguments: &[&str], ask: &dyn Fn(&Cluster) -> Answer, statuses: &[u16]| {
        let before = webhook.requests().len();
        let cluster = Cluster::start_with(&files, arguments).unwrap();
        let answer = ask(&cluster);
        assert!(statuses.contains(&answer.status), "{arguments:?}: {}", answer.text());
        assert!(webhook.requests().len() > before, "{arguments:?}: the webhook was not asked");
        assert_eq!(trap.caught().unwrap(), 0, "{arguments:?}: the redirect was followed");
    };
    // Loopback is allowed there, so that nothing but the rule itself holds it back.
    let authentication = ["--defaults", "upstream", "--authentication-token-webhook-config-file", "FILES/webhook.json"];
    check(&authentication, &|cluster| cluster.bearer("somebody").get("/api"), &[401]);
    let authorization = [
        "--defaults",
        "upstream",
        "--authorization-mode",
        "Node,RBAC,Webhook",
        "--authorization-webhook-config-file",
        "FILES/webhook.json",
    ];
    check(&authorization, &|cluster| cluster.user("ana", None).get("/api/v1/secrets"), &[403, 500]);
}

#[test]
fn a27_upstream_defaults_open_none_of_these() {
    let cluster = Cluster::start(&["--defaults", "upstream"]);
    cluster.grant("system:anonymous", json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}, rule(&["*"], "*", &["*"])]));
    for path in ["/api", "/metrics", CONFIG_MAPS, "/healthz/ping"] {
        is_status(&cluster.server.stranger().get(path), 401, path);
    }
    is_status(&cluster.user("ana", None).get("/api/v1/secrets"), 403, "RBAC is on");
    let node = cluster.node("a27");
    is_status(&node.post(NODES, &json!({"metadata": {"name": "other"}})), 403, "NodeRestriction is on");
    for flag in ["--token-auth-file=x", "--insecure-port=8080", "--insecure-allow-any-token"] {
        let refused = Cluster::start_with(&[], &["--defaults", "upstream", flag]).err().expect("a refused start");
        assert!(refused.contains("does not exist here"), "{flag}: {refused}");
    }
}

#[test]
fn p5_p6_what_a_pod_may_do_with_its_token() {
    let cluster = SHARED.get();
    let pod = cluster.pod("default", "p5", "", json!({}));
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p5", "uid": pod["metadata"]["uid"]});
    let inside = cluster.bearer(&cluster.token("default", "default", json!({"boundObjectRef": bound})));
    is_status(&inside.get("/version"), 200, "P5");
    let answer = inside.get("/api/v1/secrets");
    is_status(&answer, 403, "P6");
    let message = r#"secrets is forbidden: User "system:serviceaccount:default:default" cannot list resource "secrets" in API group "" at the cluster scope"#;
    assert_eq!(answer.json()["message"], message);
}

#[test]
fn p8_a_node_cannot_write_another_node() {
    let cluster = SHARED.get();
    for name in ["p8-a", "p8-b"] {
        cluster.node_object(name);
    }
    let node = cluster.node("p8-a");
    let patch = json!({"metadata": {"annotations": {"p8": "x"}}});
    is_status(&merge(&node, &format!("{NODES}/p8-a"), &patch), 200, "its own");
    is_status(&merge(&node, &format!("{NODES}/p8-b"), &patch), 403, "another");
    is_status(&merge(&node, &format!("{NODES}/p8-b/status"), &patch), 403, "another's status");
    is_status(&node.get(&format!("{NODES}/p8-b")), 403, "another, to read");
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    is_status(&node.post(leases, &lease("p8-a")), 201, "its own lease");
    is_status(&node.post(leases, &lease("p8-b")), 403, "another's lease");
    let csi = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    is_status(&node.post("/apis/storage.k8s.io/v1/csinodes", &csi("p8-a")), 201, "its own CSINode");
    is_status(&node.post("/apis/storage.k8s.io/v1/csinodes", &csi("p8-b")), 403, "another's CSINode");
}

#[test]
fn p8_a_node_cannot_write_a_pod_of_another_node() {
    let cluster = SHARED.get();
    for name in ["p8-c", "p8-d"] {
        cluster.node_object(name);
        cluster.pod("default", &format!("on-{name}"), name, json!({}));
    }
    let node = cluster.node("p8-c");
    let phase = json!({"status": {"phase": "Running"}});
    is_status(&merge(&node, &format!("{PODS}/on-p8-c/status"), &phase), 200, "its own pod");
    is_status(&merge(&node, &format!("{PODS}/on-p8-d/status"), &phase), 403, "another's pod");
    is_status(
        &merge(&node, &format!("{PODS}/on-p8-c"), &json!({"metadata": {"labels": {"a": "b"}}})),
        403,
        "its labels",
    );
    is_status(&node.delete(&format!("{PODS}/on-p8-d")), 403, "another's end");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "on-p8-d"}});
    // 405 in a build that evicts nothing yet.
    let evicted = node.post(&format!("{PODS}/on-p8-d/eviction"), &eviction);
    assert!([403, 405].contains(&evicted.status), "another's eviction: {}", evicted.text());
    is_status(&node.get(&format!("{PODS}/on-p8-c")), 200, "its own, to read");
    is_status(&node.get(&format!("{PODS}/on-p8-d")), 403, "another's, to read");
    let of = |name: &str| format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{name}");
    is_status(&node.get(&of("p8-c")), 200, "its own, as a list");
    is_status(&node.get(&of("p8-d")), 403, "another's, as a list");
    is_status(&node.get("/api/v1/pods"), 403, "all");
}

#[test]
fn p9_a_node_reads_the_secrets_of_its_pods_and_no_other() {
    let cluster = SHARED.get();
    for name in ["p9-used", "p9-unused"] {
        cluster.make(SECRETS, &json!({"metadata": {"name": name}, "stringData": {"a": "b"}}));
    }
    for name in ["p9-a", "p9-b"] {
        cluster.node_object(name);
    }
    let (one, other) = (cluster.node("p9-a"), cluster.node("p9-b"));
    let used = format!("{SECRETS}/p9-used");
    is_status(&one.get(&used), 403, "before there is a pod");
    let volumes = json!({"volumes": [{"name": "v", "secret": {"secretName": "p9-used"}}]});
    cluster.pod("default", "p9", "p9-a", volumes);
    is_status(&one.get(&used), 200, "of its own pod");
    is_status(&one.get(&format!("{SECRETS}/p9-unused")), 403, "of no pod");
    is_status(&one.get(SECRETS), 403, "all");
    is_status(&one.get(&format!("{SECRETS}?fieldSelector=metadata.name%3Dp9-used")), 200, "one, as a list");
    is_status(&other.get(&used), 403, "of another's pod");
    let forced = json!({"gracePeriodSeconds": 0});
    is_status(&cluster.admin().send("DELETE", &format!("{PODS}/p9"), Some(&forced)).unwrap(), 200, "the pod");
    is_status(&one.get(&used), 403, "of a pod that is gone");
}
