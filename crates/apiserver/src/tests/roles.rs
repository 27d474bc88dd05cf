//! RBAC over what is stored: what is allowed from the first write on, and what nobody can give away (security review: RBAC escalation,
//! CVE-2019-11247).

use std::sync::OnceLock;

use portcullis_gate::rbac::{Policy, PolicySource, Rbac};

use super::*;
use crate::rbac::StoredPolicy;

mod device_claims;
mod policy_parameters;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";

/// The policy of a store that does not exist yet when its gate is made.
#[derive(Default)]
struct Late(OnceLock<StoredPolicy>);

impl PolicySource for Late {
    fn read(&self, look: &mut dyn FnMut(&Policy)) {
        if let Some(policy) = self.0.get() {
            policy.read(look);
        }
    }
}

async fn cluster() -> Cluster {
    let late = Arc::new(Late::default());
    let rbac = Rbac::new(Arc::clone(&late) as Arc<dyn PolicySource>);
    let cluster = Cluster::with(Config::default(), vec![Arc::new(rbac)], None).await;
    let engine = Arc::clone(&cluster.engine) as Arc<dyn Engine>;
    assert!(late.0.set(StoredPolicy::new(engine, &Registry::new())).is_ok());
    cluster
}

fn peer(name: &str) -> Arc<Peer> {
    let groups = vec!["harbor".to_owned(), GROUP_AUTHENTICATED.to_owned()];
    Peer::in_process(Arc::new(Identity { name: name.to_owned(), groups, ..Identity::default() }))
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn role(name: &str, rules: &[Value]) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
    })
}

impl Cluster {
    async fn post_ok(&self, path: &str, body: Value) {
        let said = self.post(path, body).await;
        assert_eq!(said.code, 201, "{}", said.message());
    }

    async fn as_ana(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let said = self.send_as(&peer("ana"), method, path, &[("content-type", content)], body).await;
        (said.code, said.message())
    }

    /// What ana may do about roles and bindings, and read.
    async fn with_ana() -> Cluster {
        let cluster = cluster().await;
        let rbac = "rbac.authorization.k8s.io";
        let rules = [
            rule(&["get", "list", "create"], "", &["configmaps"]),
            rule(&["create", "update", "patch", "get"], rbac, &["roles", "rolebindings"]),
        ];
        cluster.post_ok(ROLES, role("ana", &rules)).await;
        cluster.post_ok(BINDINGS, binding("ana", "Role", "ana", "ana")).await;
        cluster
    }
}

fn forbidden(what: &str, name: &str, missing: &str) -> (u16, String) {
    let message = format!(
        "{what}.rbac.authorization.k8s.io {name:?} is forbidden: user \"ana\" (groups=[\"harbor\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{missing}"
    );
    (403, message)
}

#[tokio::test]
async fn a_write_counts_from_the_next_request_on() {
    let cluster = cluster().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let refused = r#"configmaps is forbidden: User "ana" cannot list resource "configmaps" in API group "" in the namespace "default""#;
    let check = async |expected: u16, message: &str| {
        assert_eq!(cluster.as_ana("GET", maps, Value::Null).await, (expected, message.to_owned()));
    };
    check(403, refused).await;
    cluster.post_ok(BINDINGS, binding("b", "Role", "r", "ana")).await;
    check(403, &format!(r#"{refused}: RBAC: role.rbac.authorization.k8s.io "r" not found"#)).await;
    cluster.post_ok(ROLES, role("r", &[rule(&["list"], "", &["configmaps"])])).await;
    check(200, "").await;
    assert_eq!(cluster.as_ana("GET", "/api/v1/configmaps", Value::Null).await.0, 403);
    cluster.put(&format!("{ROLES}/r"), role("r", &[rule(&["get"], "", &["configmaps"])])).await;
    check(403, refused).await;
    // The roles of the bootstrap policy gather theirs although nothing copies them.
    cluster.post_ok(BINDINGS, binding("view", "ClusterRole", "view", "ana")).await;
    check(200, "").await;
    cluster.delete(&format!("{BINDINGS}/view"), Value::Null).await;
    check(403, refused).await;
}

#[tokio::test]
async fn rbac_escalation_a_role_gives_only_what_its_author_has() {
    let cluster = Cluster::with_ana().await;
    let secrets = r#"{APIGroups:[""], Resources:["secrets"], Verbs:["*"]}"#;
    let evil = role("evil", &[rule(&["*"], "", &["secrets"])]);
    assert_eq!(cluster.as_ana("POST", ROLES, evil.clone()).await, forbidden("roles", "evil", secrets));
    // Refused on the way to being made by a PUT, and when nothing would be written.
    assert_eq!(
        cluster.as_ana("PUT", &format!("{ROLES}/evil"), evil.clone()).await,
        forbidden("roles", "evil", secrets)
    );
    let dry = format!("{ROLES}?dryRun=All");
    assert_eq!(cluster.as_ana("POST", &dry, evil).await, forbidden("roles", "evil", secrets));
    let fine = role("fine", &[rule(&["get"], "", &["configmaps"])]);
    assert_eq!(cluster.as_ana("POST", ROLES, fine).await.0, 201);
    let path = &format!("{ROLES}/fine");
    let all = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
    let everything = r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#;
    assert_eq!(cluster.as_ana("PATCH", path, all.clone()).await, forbidden("roles", "fine", everything));
    assert_eq!(cluster.as_ana("PATCH", path, json!({"rules": [rule(&["list"], "", &["configmaps"])]})).await.0, 200);
    // A role that holds more than its reader has: only what the garbage collector does to it is free.
    cluster.put(path, role("fine", &[rule(&["get"], "", &["secrets"])])).await;
    let finalizer = json!({"metadata": {"finalizers": ["a.example/b"]}});
    assert_eq!(cluster.as_ana("PATCH", path, finalizer).await.0, 200);
    let held = r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#;
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(cluster.as_ana("PATCH", path, label).await, forbidden("roles", "fine", held));
    // Whoever may escalate, may.
    let rbac = "rbac.authorization.k8s.io";
    cluster.post_ok(ROLES, role("escalate", &[rule(&["escalate"], rbac, &["roles"])])).await;
    cluster.post_ok(BINDINGS, binding("escalate", "Role", "escalate", "ana")).await;
    assert_eq!(cluster.as_ana("PATCH", path, all).await.0, 200);
}

#[tokio::test]
async fn rbac_escalation_a_binding_gives_only_what_its_author_has() {
    let cluster = Cluster::with_ana().await;
    let everything = "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}";
    let admin = binding("admin", "ClusterRole", "cluster-admin", "ana");
    assert_eq!(cluster.as_ana("POST", BINDINGS, admin.clone()).await, forbidden("rolebindings", "admin", everything));
    // What a role gathers counts as its own.
    let (code, message) = cluster.as_ana("POST", BINDINGS, binding("view", "ClusterRole", "view", "ana")).await;
    assert!(code == 403 && message.contains(r#"Resources:["services"]"#), "{code} {message}");
    let missing = (404, r#"roles.rbac.authorization.k8s.io "gone" not found"#.to_owned());
    assert_eq!(cluster.as_ana("POST", BINDINGS, binding("gone", "Role", "gone", "bo")).await, missing);
    let missing = (404, r#"clusterroles.rbac.authorization.k8s.io "gone" not found"#.to_owned());
    assert_eq!(cluster.as_ana("POST", BINDINGS, binding("gone", "ClusterRole", "gone", "bo")).await, missing);
    assert_eq!(cluster.as_ana("POST", BINDINGS, binding("bo", "Role", "ana", "bo")).await.0, 201);
    let everyone = json!({"subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "all"}]});
    assert_eq!(cluster.as_ana("PATCH", &format!("{BINDINGS}/bo"), everyone.clone()).await.0, 200);
    cluster.post_ok(BINDINGS, binding("held", "ClusterRole", "cluster-admin", "root")).await;
    let held = &format!("{BINDINGS}/held");
    assert_eq!(cluster.as_ana("PATCH", held, everyone.clone()).await, forbidden("rolebindings", "held", everything));
    // Whoever may bind this role, may; no other.
    let mut bind = rule(&["bind"], "rbac.authorization.k8s.io", &["clusterroles"]);
    bind["resourceNames"] = json!(["cluster-admin"]);
    cluster.post_ok(ROLES, role("bind", &[bind])).await;
    cluster.post_ok(BINDINGS, binding("bind", "Role", "bind", "ana")).await;
    assert_eq!(cluster.as_ana("POST", BINDINGS, binding("edit", "ClusterRole", "edit", "ana")).await.0, 403);
    assert_eq!(cluster.as_ana("PATCH", held, everyone).await.0, 200);
    assert_eq!(cluster.as_ana("POST", BINDINGS, admin).await.0, 201);
}

#[tokio::test]
async fn rbac_escalation_only_who_has_everything_gathers() {
    let cluster = cluster().await;
    let (roles, bindings) = (format!("{RBAC}/clusterroles"), format!("{RBAC}/clusterrolebindings"));
    let writes = rule(&["*"], "rbac.authorization.k8s.io", &["clusterroles"]);
    let mut writes_all = writes.clone();
    // Everything about roles, but for the verb that would end the question.
    writes_all["verbs"] = json!(["create", "update", "patch", "get"]);
    cluster.post_ok(&roles, role("writer", &[writes_all])).await;
    cluster.post_ok(&bindings, binding("writer", "ClusterRole", "writer", "ana")).await;
    let gathers = |name: &str| {
        let selector = json!({"matchLabels": {"x": "y"}});
        json!({"metadata": {"name": name}, "aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []})
    };
    let refused = |name: &str| {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        (403, format!("clusterroles.rbac.authorization.k8s.io {name:?} is forbidden: {why}"))
    };
    assert_eq!(cluster.as_ana("POST", &roles, gathers("all")).await, refused("all"));
    // Taking it away is as much a change of it.
    cluster.post_ok(&roles, gathers("all")).await;
    let none = json!({"aggregationRule": null});
    assert_eq!(cluster.as_ana("PATCH", &format!("{roles}/all"), none.clone()).await, refused("all"));
    let urls = json!({"metadata": {"name": "urls"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]});
    let missing = r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#;
    assert_eq!(cluster.as_ana("POST", &roles, urls).await, forbidden("clusterroles", "urls", missing));
    // With all verbs on roles comes escalate, which also frees what is gathered.
    cluster.put(&format!("{roles}/writer"), role("writer", &[writes])).await;
    assert_eq!(cluster.as_ana("PATCH", &format!("{roles}/all"), none).await.0, 200);
}

#[tokio::test]
async fn cve_2019_11247_a_cluster_resource_is_not_in_a_namespace() {
    let cluster = cluster().await;
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    cluster.post_ok(ROLES, role("all", &[all])).await;
    cluster.post_ok(BINDINGS, binding("all", "Role", "all", "ana")).await;
    for (group, resource, name) in [
        ("rbac.authorization.k8s.io/v1", "clusterroles", "cluster-admin"),
        ("apiregistration.k8s.io/v1", "apiservices", "v1."),
        ("scheduling.k8s.io/v1", "priorityclasses", "system-node-critical"),
    ] {
        let inside = format!("/apis/{group}/namespaces/default/{resource}");
        for (method, path) in
            [("GET", &inside), ("GET", &format!("{inside}/{name}")), ("DELETE", &format!("{inside}/{name}"))]
        {
            let (code, message) = cluster.as_ana(method, path, Value::Null).await;
            assert_eq!(
                (code, message.as_str()),
                (404, "the server could not find the requested resource"),
                "{method} {path}"
            );
        }
        let (code, _) = cluster.as_ana("GET", &format!("/apis/{group}/{resource}/{name}"), Value::Null).await;
        assert_eq!(code, 403, "{resource}");
    }
    assert_eq!(cluster.as_ana("GET", "/api/v1/namespaces/default/nodes", Value::Null).await.0, 404);
}

#[tokio::test]
async fn reviews_name_the_binding() {
    let cluster = Cluster::with_ana().await;
    let check = async |spec: Value, expected: Value| {
        let said = cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json!({"spec": spec})).await;
        assert_eq!(said.at("/status"), expected, "{spec}");
    };
    let get = |namespace: &str| json!({"verb": "get", "resource": "configmaps", "namespace": namespace, "name": "x"});
    let reason = r#"RBAC: allowed by RoleBinding "ana/default" of Role "ana" to User "ana""#;
    check(json!({"user": "ana", "resourceAttributes": get("default")}), json!({"allowed": true, "reason": reason}))
        .await;
    check(json!({"user": "ana", "resourceAttributes": get("kube-system")}), json!({"allowed": false})).await;
    let reason = r#"RBAC: allowed by ClusterRoleBinding "system:discovery" of ClusterRole "system:discovery" to Group "system:authenticated""#;
    let path = json!({"verb": "get", "path": "/healthz"});
    let asked = json!({"user": "ana", "groups": [GROUP_AUTHENTICATED], "nonResourceAttributes": path});
    check(asked, json!({"allowed": true, "reason": reason})).await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let body = json!({"spec": {"namespace": "default"}}).to_string();
    cluster.post_ok(BINDINGS, binding("z-lost", "Role", "lost", "ana")).await;
    let said = cluster.send_as(&peer("ana"), "POST", path, &[("content-type", "application/json")], body).await;
    let rules = said.at("/status/resourceRules");
    let resources: Vec<&str> =
        rules.as_array().unwrap().iter().map(|rule| rule["resources"][0].as_str().unwrap()).collect();
    assert_eq!(resources, ["selfsubjectaccessreviews", "selfsubjectreviews", "configmaps", "roles"]);
    assert_eq!(said.at("/status/nonResourceRules").as_array().unwrap().len(), 2);
    assert_eq!(said.at("/status/incomplete"), false);
    assert_eq!(said.at("/status/evaluationError"), r#"role.rbac.authorization.k8s.io "lost" not found"#);
}

#[tokio::test]
async fn impersonation_each_part_of_another_identity_is_a_right_of_its_own() {
    let cluster = cluster().await;
    let (roles, bindings) = (format!("{RBAC}/clusterroles"), format!("{RBAC}/clusterrolebindings"));
    let mut rules: Vec<Value> = Vec::new();
    let as_bo = [("impersonate-user", "bo")];
    let with = |header: &'static str, value: &'static str| [as_bo[0], (header, value)];
    let check = async |headers: &[(&str, &str)], expected: u16| {
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let headers = [headers, &[("content-type", "application/json")]].concat();
        let said = cluster.send_as(&peer("ana"), "POST", path, &headers, "{}").await;
        assert_eq!(said.code, expected, "{headers:?}: {}", said.message());
    };
    cluster.post_ok(&roles, role("as", &rules)).await;
    cluster.post_ok(&bindings, binding("as", "ClusterRole", "as", "ana")).await;
    let masters = with("impersonate-group", GROUP_MASTERS);
    let (uid, extra) = (with("impersonate-uid", "u-1"), with("impersonate-extra-scopes", "all"));
    let account = [("impersonate-user", "system:serviceaccount:kube-system:namespace-controller")];
    let steps: [(&[(&str, &str)], Value); 5] = [
        (&as_bo, rule(&["impersonate"], "", &["users"])),
        (&masters, rule(&["impersonate"], "", &["groups"])),
        (&uid, rule(&["impersonate"], "authentication.k8s.io", &["uids"])),
        (&extra, rule(&["impersonate"], "authentication.k8s.io", &["userextras/scopes"])),
        (&account, rule(&["impersonate"], "", &["serviceaccounts"])),
    ];
    for (headers, right) in &steps {
        check(headers, 403).await;
        rules.push(right.clone());
        cluster.put(&format!("{roles}/as"), role("as", &rules)).await;
        check(headers, 201).await;
    }
    check(&with("impersonate-extra-other", "all"), 403).await;
    check(&[("impersonate-group", "devs")], 400).await;
}
