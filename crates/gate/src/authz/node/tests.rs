#![allow(clippy::unwrap_used)]

use std::time::Instant;

use http::Request;

use super::*;
use crate::identity::user;
use crate::request_info::RequestInfo;

impl NodeRelations for NodeGraph {
    fn reaches(&self, node: &str, kind: RelatedKind, namespace: &str, name: &str) -> bool {
        NodeGraph::reaches(self, node, kind, namespace, name)
    }
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> ResourceRule {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    ResourceRule { verbs: owned(verbs), groups: vec![group.to_owned()], resources: owned(resources), names: vec![] }
}

/// A cluster of two nodes: `n1` runs `web` with all that a pod can refer to, `n2` runs `db`.
fn authorizer() -> NodeAuthorizer {
    let mut graph = NodeGraph::default();
    let references = [
        (RelatedKind::Secret, "tls"),
        (RelatedKind::ConfigMap, "settings"),
        (RelatedKind::ServiceAccount, "web"),
        (RelatedKind::PersistentVolumeClaim, "disk"),
        (RelatedKind::ResourceClaim, "gpu"),
    ];
    graph.set_pod(("shop", "web"), "n1", &references);
    graph.set_volume("pv1", ("shop", "disk"), &[("kube-system", "driver")]);
    let references = [(RelatedKind::Secret, "root"), (RelatedKind::PersistentVolumeClaim, "data")];
    graph.set_pod(("shop", "db"), "n2", &references);
    graph.set_volume("pv2", ("shop", "data"), &[("kube-system", "other-driver")]);
    for (name, node) in [("one", "n1"), ("two", "n2")] {
        graph.set_attachment(name, node);
        graph.set_slice(name, node);
    }
    let rules = vec![
        rule(&["get", "list", "watch"], "", &["services"]),
        rule(&["create", "patch", "update"], "events.k8s.io", &["events"]),
        rule(&["get", "list", "watch"], "", &["secrets", "configmaps", "pods", "nodes"]),
        rule(&["create"], "authorization.k8s.io", &["subjectaccessreviews"]),
    ];
    NodeAuthorizer::new(Arc::new(graph), rules)
}

enum Expected {
    Allowed,
    /// No opinion, for this reason.
    Refused(&'static str),
}

use Expected::{Allowed, Refused};

fn check(user: &Identity, method: &str, target: &str, expected: &Expected) {
    let authorizer = authorizer();
    let request = Request::builder().method(method).uri(target).body(()).unwrap();
    let query = request.uri().query().unwrap_or_default();
    let info = RequestInfo::parse(request.method(), request.uri().path(), query).unwrap();
    let attributes = Attributes::of_request(user, &info);
    let Decision::Now(verdict) = authorizer.decide(&attributes) else { panic!("the graph is here") };
    let expected = match expected {
        Allowed => Verdict::allow(""),
        Refused(reason) => Verdict::NoOpinion { reason: (*reason).into() },
    };
    assert_eq!(verdict, expected, "{} {method} {target}", user.name);
}

const UNRELATED: Expected = Refused("no relationship found between node 'n1' and this object");

fn check_n1(rows: &[(&str, &str, Expected)]) {
    let node = user("system:node:n1", &[GROUP_NODES]);
    rows.iter().for_each(|(method, target, expected)| check(&node, method, target, expected));
}

#[test]
fn p9_a_node_reads_only_what_its_pods_refer_to() {
    check_n1(&[
        ("GET", "/api/v1/namespaces/shop/secrets/tls", Allowed),
        ("GET", "/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Dtls", Allowed),
        ("GET", "/api/v1/namespaces/shop/secrets?watch=1&fieldSelector=metadata.name%3Dtls", Allowed),
        ("GET", "/api/v1/namespaces/kube-system/secrets/driver", Allowed),
        ("GET", "/api/v1/namespaces/shop/configmaps/settings", Allowed),
        ("GET", "/api/v1/namespaces/shop/secrets/root", UNRELATED),
        ("GET", "/api/v1/namespaces/other/secrets/tls", UNRELATED),
        ("GET", "/api/v1/namespaces/kube-system/secrets/other-driver", UNRELATED),
        ("GET", "/api/v1/namespaces/shop/secrets/absent", UNRELATED),
        ("GET", "/api/v1/namespaces/shop/configmaps/tls", UNRELATED),
        ("GET", "/api/v1/namespaces/shop/secrets?fieldSelector=metadata.name%3Droot", UNRELATED),
        ("GET", "/api/v1/namespaces/shop/secrets", Refused("No Object name found")),
        ("GET", "/api/v1/namespaces/shop/secrets?watch=true", Refused("No Object name found")),
        ("GET", "/api/v1/secrets", Refused("can only read namespaced object of this type")),
        (
            "GET",
            "/api/v1/secrets?fieldSelector=metadata.name%3Dtls",
            Refused("can only read namespaced object of this type"),
        ),
        ("GET", "/api/v1/namespaces/shop/secrets/tls/x", Refused("cannot read subresource")),
        ("PUT", "/api/v1/namespaces/shop/secrets/tls", Refused("can only read resources of this type")),
        ("POST", "/api/v1/namespaces/shop/secrets", Refused("can only read resources of this type")),
        ("DELETE", "/api/v1/namespaces/shop/configmaps/settings", Refused("can only read resources of this type")),
    ]);
}

#[test]
fn p9_volumes_claims_and_tokens_follow_the_pods() {
    check_n1(&[
        ("GET", "/api/v1/namespaces/shop/persistentvolumeclaims/disk", Allowed),
        ("GET", "/api/v1/namespaces/shop/persistentvolumeclaims/data", UNRELATED),
        (
            "GET",
            "/api/v1/namespaces/shop/persistentvolumeclaims",
            Refused("can only get individual resources of this type"),
        ),
        ("GET", "/api/v1/namespaces/shop/persistentvolumeclaims/disk/x", Refused("cannot get subresource")),
        ("PATCH", "/api/v1/namespaces/shop/persistentvolumeclaims/disk/status", Allowed),
        ("PUT", "/api/v1/namespaces/shop/persistentvolumeclaims/data/status", UNRELATED),
        (
            "GET",
            "/api/v1/namespaces/shop/persistentvolumeclaims/disk/status",
            Refused("can only get/update/patch this type"),
        ),
        ("GET", "/api/v1/persistentvolumes/pv1", Allowed),
        ("GET", "/api/v1/persistentvolumes/pv2", UNRELATED),
        ("GET", "/apis/resource.k8s.io/v1/namespaces/shop/resourceclaims/gpu", Allowed),
        ("GET", "/apis/resource.k8s.io/v1/namespaces/shop/resourceclaims/other", UNRELATED),
        ("GET", "/apis/storage.k8s.io/v1/volumeattachments/one", Allowed),
        ("GET", "/apis/storage.k8s.io/v1/volumeattachments/two", UNRELATED),
        ("POST", "/api/v1/namespaces/shop/serviceaccounts/web/token", Allowed),
        ("POST", "/api/v1/namespaces/shop/serviceaccounts/admin/token", UNRELATED),
        ("GET", "/api/v1/namespaces/shop/serviceaccounts/web", Allowed),
        ("GET", "/api/v1/namespaces/shop/serviceaccounts/admin", UNRELATED),
        (
            "GET",
            "/api/v1/namespaces/shop/serviceaccounts",
            Refused("can only create tokens for individual service accounts"),
        ),
        (
            "POST",
            "/api/v1/namespaces/shop/serviceaccounts",
            Refused("can only create tokens for individual service accounts"),
        ),
        (
            "POST",
            "/api/v1/namespaces/shop/serviceaccounts/web/x",
            Refused("can only create token subresource of serviceaccount"),
        ),
    ]);
}

#[test]
fn p8_a_node_reads_and_writes_only_its_own_node() {
    check_n1(&[
        ("GET", "/api/v1/nodes/n1", Allowed),
        ("GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", Allowed),
        ("GET", "/api/v1/nodes?watch=1&fieldSelector=metadata.name%3Dn1", Allowed),
        ("GET", "/api/v1/nodes", Refused("node 'n1' cannot read all nodes, only its own Node object")),
        ("GET", "/api/v1/nodes/n2", Refused("node 'n1' cannot read 'n2', only its own Node object")),
        ("PATCH", "/api/v1/nodes/n1/status", Allowed),
        ("POST", "/api/v1/nodes", Allowed),
        ("DELETE", "/api/v1/nodes/n1", Refused("")),
        ("DELETE", "/api/v1/nodes", Refused("")),
        ("GET", "/api/v1/nodes/n1/proxy/pods", Refused("")),
        ("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", Allowed),
        ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", Allowed),
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2",
            Refused("can only access node lease with the same name as the requesting node"),
        ),
        (
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/default/leases/n1",
            Refused("can only access leases in the \"kube-node-lease\" system namespace"),
        ),
        (
            "GET",
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            Refused("can only get, create, update, patch, or delete a node lease"),
        ),
        ("DELETE", "/apis/storage.k8s.io/v1/csinodes/n1", Allowed),
        (
            "DELETE",
            "/apis/storage.k8s.io/v1/csinodes/n2",
            Refused("can only access CSINode with the same name as the requesting node"),
        ),
        (
            "GET",
            "/apis/storage.k8s.io/v1/csinodes",
            Refused("can only get, create, update, patch, or delete a CSINode"),
        ),
        ("GET", "/apis/storage.k8s.io/v1/csinodes/n1/x", Refused("cannot authorize CSINode subresources")),
    ]);
}

#[test]
fn p8_a_node_lists_only_its_own_pods_and_slices() {
    const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";
    let slices = |query: &str| format!("{SLICES}?{query}");
    let needs_selector = || Refused("can only list/watch pods with spec.nodeName field selector");
    let slices_need_selector =
        || Refused("can only list/watch/deletecollection resourceslices with nodeName field selector");
    check_n1(&[
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", Allowed),
        ("GET", "/api/v1/pods?watch=1&fieldSelector=status.phase%21%3DFailed,spec.nodeName%3D%3Dn1", Allowed),
        ("GET", "/api/v1/namespaces/shop/pods?fieldSelector=spec.nodeName%3Dn1", Allowed),
        ("GET", "/api/v1/pods", needs_selector()),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", needs_selector()),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%21%3Dn1", needs_selector()),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3D", needs_selector()),
        ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,bad", needs_selector()),
        ("GET", "/api/v1/pods?labelSelector=spec.nodeName%3Dn1", needs_selector()),
        ("GET", "/api/v1/watch/pods?fieldSelector=spec.nodeName%3Dn1", needs_selector()),
        ("GET", "/api/v1/namespaces/shop/pods/web", Allowed),
        ("GET", "/api/v1/namespaces/shop/pods/db", UNRELATED),
        ("GET", "/api/v1/namespaces/shop/pods?watch=1&fieldSelector=metadata.name%3Dweb", Allowed),
        ("GET", "/api/v1/namespaces/shop/pods?watch=1&fieldSelector=metadata.name%3Ddb", UNRELATED),
        ("POST", "/api/v1/namespaces/shop/pods", Allowed),
        ("DELETE", "/api/v1/namespaces/shop/pods/db", Allowed),
        ("PATCH", "/api/v1/namespaces/shop/pods/web/status", Allowed),
        ("POST", "/api/v1/namespaces/shop/pods/web/eviction", Allowed),
        ("PUT", "/api/v1/namespaces/shop/pods/web", Refused("")),
        ("POST", "/api/v1/namespaces/shop/pods/web/exec", Refused("")),
        ("GET", "/api/v1/namespaces/shop/pods/web/log", Refused("")),
        ("DELETE", "/api/v1/namespaces/shop/pods", Refused("")),
        ("GET", &slices("fieldSelector=spec.nodeName%3Dn1"), Allowed),
        ("DELETE", &slices("fieldSelector=spec.nodeName%3Dn1"), Allowed),
        ("DELETE", SLICES, slices_need_selector()),
        ("GET", &slices("fieldSelector=spec.nodeName%3Dn2"), slices_need_selector()),
        ("POST", SLICES, Allowed),
        ("PATCH", "/apis/resource.k8s.io/v1/resourceslices/one", Allowed),
        ("PATCH", "/apis/resource.k8s.io/v1/resourceslices/two", UNRELATED),
        (
            "GET",
            "/apis/resource.k8s.io/v1/resourceslices/one/x",
            Refused("cannot authorize ResourceSlice subresources"),
        ),
    ]);
}

#[test]
fn other_resources_follow_the_rules_of_the_role() {
    check_n1(&[
        ("GET", "/api/v1/services", Allowed),
        ("PUT", "/api/v1/namespaces/a/services/s", Refused("")),
        ("GET", "/api/v1/namespaces/a/services/s/proxy", Refused("")),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", Allowed),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", Allowed),
        ("GET", "/apis/apps/v1/deployments", Refused("")),
        ("GET", "/apis/example.com/v1/secrets", Refused("")),
        ("GET", "/metrics", Refused("")),
    ]);
}

#[test]
fn only_nodes_are_judged() {
    let rows = [
        (user("system:node:n1", &["harbor"]), Refused("")),
        (user("n1", &[GROUP_NODES]), Refused("")),
        (user("system:node", &[GROUP_NODES]), Refused("")),
        (user("System:node:n1", &[GROUP_NODES]), Refused("")),
        (user("system:node:", &[GROUP_NODES]), Refused("unknown node for user \"system:node:\"")),
        (user("system:node:n1", &["harbor", GROUP_NODES]), Allowed),
        (user("system:node:n2", &[GROUP_NODES]), Refused("no relationship found between node 'n2' and this object")),
        (user("system:node:n9", &[GROUP_NODES]), Refused("no relationship found between node 'n9' and this object")),
    ];
    rows.iter().for_each(|(user, expected)| check(user, "GET", "/api/v1/namespaces/shop/secrets/tls", expected));
}

#[test]
fn what_a_node_may_do_can_not_be_listed() {
    let check = |user: &Identity, gaps: usize| {
        let mut rules = Rules::default();
        authorizer().rules(user, "shop", &mut rules);
        NodesRefused::default().rules(user, "shop", &mut rules);
        assert_eq!(rules.gaps.len(), gaps, "{}", user.name);
    };
    check(&user("system:node:n1", &[GROUP_NODES]), 2);
    check(&user("ana", &["harbor"]), 0);
}

#[test]
fn a14_nodes_are_refused_where_nothing_tells_them_apart() {
    let check = |user: &Identity, target: &str, is_refused: bool| {
        let info = RequestInfo::parse(&http::Method::GET, target, "").unwrap();
        let refused = NodesRefused::default();
        let attributes = Attributes::of_request(user, &info);
        let Decision::Now(verdict) = refused.decide(&attributes) else { panic!("it asks nobody") };
        assert_eq!(matches!(verdict, Verdict::Deny { .. }), is_refused, "{} {target}", user.name);
    };
    for target in ["/api/v1/nodes/n1", "/healthz", "/api/v1/namespaces/a/secrets/s"] {
        check(&user("system:node:n1", &[GROUP_NODES]), target, true);
        check(&user("system:node:n1", &[]), target, true);
        check(&user("system:node:", &[]), target, true);
        check(&user("kubelet", &[GROUP_NODES]), target, true);
        check(&user("system:nodes", &[]), target, false);
        check(&user("ana", &["harbor"]), target, false);
    }
}

/// Prints what a decision and a change cost with 10,000 pods; asserts nothing about time.
#[test]
fn ten_thousand_pods() {
    const PODS: usize = 10_000;
    const NODES: usize = 100;
    let mut graph = NodeGraph::default();
    let name = |number: usize| format!("shop-deployment-6d4b75cb6d-{number:05}");
    let node = |number: usize| format!("node-{:03}", number % NODES);
    let (config, claim) =
        (|number: usize| format!("config-{}", number % 500), |number: usize| format!("disk-{number}"));
    let set = |graph: &mut NodeGraph, number: usize| {
        let (config, claim) = (config(number), claim(number));
        let references = [
            (RelatedKind::ConfigMap, "kube-root-ca.crt"),
            (RelatedKind::ConfigMap, config.as_str()),
            (RelatedKind::Secret, config.as_str()),
            (RelatedKind::ServiceAccount, "default"),
            (RelatedKind::PersistentVolumeClaim, claim.as_str()),
        ];
        graph.set_pod(("shop", &name(number)), &node(number), &references);
    };
    let started = Instant::now();
    (0..PODS).for_each(|number| set(&mut graph, number));
    let built = started.elapsed();
    for number in 0..PODS {
        graph.set_volume(&format!("pvc-{number}"), ("shop", &claim(number)), &[("kube-system", "csi")]);
    }
    let started = Instant::now();
    (0..PODS).for_each(|number| set(&mut graph, number));
    let changed = started.elapsed();
    let time = |kind: RelatedKind, namespace: &str, name: &str| {
        let started = Instant::now();
        let found = (0..PODS).filter(|number| graph.reaches(&node(*number), kind, namespace, name)).count();
        (found, started.elapsed() / PODS as u32)
    };
    let (direct, direct_time) = time(RelatedKind::ConfigMap, "shop", "kube-root-ca.crt");
    let (shared, shared_time) = time(RelatedKind::Secret, "kube-system", "csi");
    assert_eq!((direct, shared), (PODS, PODS));
    println!(
        "10,000 pods: built in {built:?}, each set again in {:?}, a config map {direct_time:?}, a secret that all volumes \
         share {shared_time:?}",
        changed / PODS as u32
    );
}
