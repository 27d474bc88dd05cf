//! Who may have an administrator's access to devices (KEP-5018), and who may write what of a claim's status (KEP-4817): nobody gets a
//! device in use, and nobody speaks for another's driver, by a right to write claims alone.

use super::*;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const TEMPLATES: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates";
const GROUP: &str = "resource.k8s.io";

fn claim(is_admin: bool) -> Value {
    let plain = json!({"name": "a", "exactly": {"deviceClassName": "cranes"}});
    let admin = json!({"name": "b", "exactly": {"deviceClassName": "cranes", "adminAccess": is_admin}});
    json!({"metadata": {"name": "lift"}, "spec": {"devices": {"requests": [plain, admin]}}})
}

fn template(is_admin: bool) -> Value {
    json!({"metadata": {"name": "lifts"}, "spec": {"spec": claim(is_admin)["spec"]}})
}

#[tokio::test]
async fn admin_access_is_for_namespaces_that_may_have_it() {
    let cluster = cluster().await;
    let check = async |path: &str, body: Value, expected: (u16, &str)| {
        let said = cluster.post(&format!("{path}?dryRun=All"), body).await;
        assert_eq!((said.code, said.message().as_str()), expected);
    };
    let why = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    let refused = |kind: &str, name: &str| {
        format!("{kind}.resource.k8s.io \"{name}\" is invalid: spec.devices.requests[1].adminAccess: Forbidden: {why}")
    };
    let label = async |value: &str| {
        let labels = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": value}}});
        assert_eq!(cluster.merge("/api/v1/namespaces/default", labels).await.code, 200);
    };
    check(CLAIMS, claim(false), (201, "")).await;
    check(TEMPLATES, template(false), (201, "")).await;
    for value in ["false", "True", ""] {
        check(CLAIMS, claim(true), (422, &refused("ResourceClaim", "lift"))).await;
        check(TEMPLATES, template(true), (422, &refused("ResourceClaimTemplate", "lifts"))).await;
        label(value).await;
    }
    label("true").await;
    check(CLAIMS, claim(true), (201, "")).await;
    check(TEMPLATES, template(true), (201, "")).await;
}

fn allocation(node: &str, is_admin: bool) -> Value {
    let result = |device: &str, is_admin: bool| json!({"request": "a", "driver": "d.example.com", "pool": "p", "device": device, "adminAccess": is_admin});
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": [node]}]);
    let selector = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
    json!({"devices": {"results": [result("x", false), result("y", is_admin)]}, "nodeSelector": selector})
}

fn told(device: &str) -> Value {
    json!({"driver": "d.example.com", "pool": "p", "device": device})
}

/// Somebody who may write claims and their status.
async fn with_writer(name: &str, extra: &[(&str, &str)]) -> (Cluster, Arc<Peer>) {
    let cluster = cluster().await;
    cluster.post_ok(CLAIMS, claim(false)).await;
    let rules = [rule(&["get", "update", "patch"], GROUP, &["resourceclaims", "resourceclaims/status"])];
    cluster.post_ok(&format!("{RBAC}/clusterroles"), role("writer", &rules)).await;
    cluster.post_ok(&format!("{RBAC}/clusterrolebindings"), binding("writer", "ClusterRole", "writer", name)).await;
    let extra = extra.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
    let peer = Peer::in_process(Arc::new(Identity {
        name: name.to_owned(),
        groups: vec![GROUP_AUTHENTICATED.to_owned()],
        extra,
        ..Identity::default()
    }));
    (cluster, peer)
}

impl Cluster {
    async fn patch_status(&self, peer: &Arc<Peer>, status: Value) -> (u16, String) {
        let content = [("content-type", "application/merge-patch+json")];
        let path = format!("{CLAIMS}/lift/status");
        let said = self.send_as(peer, "PATCH", &path, &content, json!({"status": status}).to_string()).await;
        (said.code, said.message())
    }

    async fn allow(&self, role_name: &str, user: &str, rules: &[Value]) {
        self.post_ok(&format!("{RBAC}/clusterroles"), role(role_name, rules)).await;
        let bound = binding(role_name, "ClusterRole", role_name, user);
        self.post_ok(&format!("{RBAC}/clusterrolebindings"), bound).await;
    }
}

fn invalid(causes: &str) -> (u16, String) {
    (422, format!("ResourceClaim.resource.k8s.io \"lift\" is invalid: {causes}"))
}

#[tokio::test]
async fn what_a_claim_gets_is_said_by_who_binds_claims() {
    let (cluster, ana) = with_writer("ana", &[]).await;
    let why = "status: Forbidden: changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", \
               verb=\"patch\" permission: resourceclaims.resource.k8s.io is forbidden: User \"ana\" cannot patch resource \
               \"resourceclaims/binding\" in API group \"resource.k8s.io\" at the cluster scope";
    let given = json!({"allocation": allocation("n", false)});
    assert_eq!(cluster.patch_status(&ana, given.clone()).await, invalid(why));
    // Nothing of it changes.
    assert_eq!(cluster.patch_status(&ana, json!({})).await, (200, String::new()));
    cluster.allow("binder", "ana", &[rule(&["patch"], GROUP, &["resourceclaims/binding"])]).await;
    let admin = cluster.patch_status(&ana, json!({"allocation": allocation("n", true)})).await;
    let label = "admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    let path = "status.allocation.devices.results[1].adminAccess";
    assert_eq!(admin, invalid(&format!("{path}: Forbidden: {label}")));
    assert_eq!(cluster.patch_status(&ana, given).await, (200, String::new()));
    let users = json!({"reservedFor": [{"resource": "pods", "name": "a", "uid": "1"}]});
    assert_eq!(cluster.patch_status(&ana, users).await, (200, String::new()));
}

#[tokio::test]
async fn how_a_device_does_is_said_by_its_driver() {
    let account = "system:serviceaccount:kube-system:driver";
    let (cluster, driver) = with_writer(account, &[("authentication.kubernetes.io/node-name", "n")]).await;
    let masters = Peer::in_process(Arc::new(Identity {
        name: "admin".to_owned(),
        groups: vec![GROUP_MASTERS.to_owned()],
        ..Identity::default()
    }));
    let given = json!({"allocation": allocation("n", false)});
    assert_eq!(cluster.patch_status(&masters, given).await, (200, String::new()));
    let refused = |verbs: &str, verb: &str| {
        invalid(&format!(
            "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" \
             permission: resourceclaims.resource.k8s.io \"d.example.com\" is forbidden: User \"{account}\" cannot {verb} resource \
             \"resourceclaims/driver\" in API group \"resource.k8s.io\" in the namespace \"default\""
        ))
    };
    let both = "associated-node:patch arbitrary-node:patch";
    let x = json!({"devices": [told("x")]});
    assert_eq!(cluster.patch_status(&driver, x.clone()).await, refused(both, "associated-node:patch"));
    let other = json!({"verbs": ["associated-node:patch"], "apiGroups": [GROUP], "resources": ["resourceclaims/driver"],
                       "resourceNames": ["other.example.com"]});
    cluster.allow("other", account, &[other]).await;
    assert_eq!(cluster.patch_status(&driver, x.clone()).await, refused(both, "associated-node:patch"));
    let own = json!({"verbs": ["associated-node:patch"], "apiGroups": [GROUP], "resources": ["resourceclaims/driver"],
                     "resourceNames": ["d.example.com"]});
    cluster.allow("own", account, &[own]).await;
    assert_eq!(cluster.patch_status(&driver, x).await, (200, String::new()));
    // One that runs elsewhere needs the right for any node, to take back what was said too.
    let elsewhere = Peer::in_process(Arc::new(Identity { name: account.to_owned(), ..Identity::default() }));
    let nothing = json!({"devices": null});
    let only = "arbitrary-node:patch";
    assert_eq!(cluster.patch_status(&elsewhere, nothing.clone()).await, refused(only, only));
    cluster.allow("any", account, &[rule(&["arbitrary-node:patch"], GROUP, &["resourceclaims/driver"])]).await;
    assert_eq!(cluster.patch_status(&elsewhere, nothing).await, (200, String::new()));
}
