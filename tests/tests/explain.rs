//! `portcullis explain`: what it proposes is enough, and what it names is what the server decides by.

use std::process::{Command, Output};

use portcullis_tests::build::program;
use portcullis_tests::cluster::{Cluster, Shared, rule};
use serde_json::json;

static SHARED: Shared = Shared::new();

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Asks, with the administrator's kubeconfig; the words after the arguments' common part are separated by spaces.
fn explain(cluster: &Cluster, words: &str) -> Output {
    let mut command = Command::new(program());
    command.arg("explain").arg("--data-dir").arg(cluster.server.data_dir()).env_remove("KUBECONFIG");
    command.args(words.split(' ')).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Makes the role and the binding that a denial ends with.
fn take_advice(cluster: &Cluster, output: &Output) {
    let text = said(output);
    let (_, manifests) = text.split_once("The smallest role that would be enough\n").expect("advice");
    for manifest in manifests.split("---\n") {
        let has = |kind: &str| manifest.contains(&format!("\nkind: {kind}\n"));
        let line = |name: &str| {
            let line = manifest.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().trim_matches('"').to_owned())
        };
        let namespace = line("  namespace:").map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        let resource = ["ClusterRoleBinding", "RoleBinding", "ClusterRole", "Role"].into_iter().find(|kind| has(kind));
        let path = format!("{RBAC}{namespace}/{}s", resource.expect("a role or a binding").to_lowercase());
        let answer = cluster.admin().send_content("POST", &path, "application/yaml", manifest.as_bytes()).unwrap();
        assert_eq!(answer.status, 201, "{manifest}: {}", answer.text());
    }
}

#[test]
fn advice_is_enough_and_no_more() {
    let cluster = SHARED.get();
    let check = |words: &str, method: &str, path: &str, other: &str| {
        let ana = cluster.user("ana", Some("harbor"));
        let denied = explain(&cluster, &format!("--as ana --as-group harbor {words}"));
        assert_eq!(denied.status.code(), Some(1), "{words}: {}", said(&denied));
        assert_eq!(ana.send(method, path, None).unwrap().status, 403, "{path}");
        take_advice(&cluster, &denied);
        let allowed = explain(&cluster, &format!("--as ana --as-group harbor {words}"));
        assert_eq!(allowed.status.code(), Some(0), "{words}: {}", said(&allowed));
        assert!(said(&allowed).contains("RBAC: allowed by "), "{}", said(&allowed));
        assert_ne!(ana.send(method, path, None).unwrap().status, 403, "{path}");
        assert_eq!(ana.send(method, other, None).unwrap().status, 403, "{other}");
    };
    let default = "/api/v1/namespaces/default";
    check("list pods -n default", "GET", &format!("{default}/pods"), "/api/v1/pods");
    check("get secret/key -n default", "GET", &format!("{default}/secrets/key"), &format!("{default}/secrets/other"));
    check("get deploy/web --subresource scale", "GET", "/apis/apps/v1/namespaces/default/deployments/web/scale", {
        "/apis/apps/v1/namespaces/default/deployments/web"
    });
    check("list nodes", "GET", "/api/v1/nodes", "/api/v1/persistentvolumes");
    check("get /metrics", "GET", "/metrics", "/logs");
}

#[test]
fn what_came_closest_is_named() {
    let cluster = SHARED.get();
    cluster.grant("bo", json!([rule(&["get", "list"], "", &["configmaps"])]));
    let denied = said(&explain(&cluster, "--as bo delete configmaps -n default"));
    assert!(denied.contains("What comes closest"), "{denied}");
    assert!(denied.contains(r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["get" "list"]}"#), "{denied}");
    let allowed = said(&explain(&cluster, "--as bo get cm/x -n default"));
    assert!(allowed.contains(r#"to User "bo""#), "{allowed}");
    let master = said(&explain(&cluster, "--as root --as-group system:masters delete nodes/x"));
    assert!(master.contains("system:masters"), "{master}");
    let unknown = explain(&cluster, "--as bo get gadgets");
    assert!(!unknown.status.success() && said(&unknown).contains("gadgets"), "{}", said(&unknown));
}
