//! Who waits for whom: the flow that each answer names, the debug tables, what changes when an object does, and what a flood gets.

use portcullis_tests::client::{Answer, Client};
use portcullis_tests::cluster::{Cluster, Shared};
use serde_json::{Value, json};

static SHARED: Shared = Shared::new();

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DUMPS: &str = "/debug/api_priority_and_fairness";
/// How often a change that the server makes by itself is looked for. Each look takes a request.
const LOOKS_MAX: usize = 5000;

fn uid(cluster: &Cluster, path: &str, name: &str) -> String {
    let object = cluster.admin().get(&format!("{path}/{name}")).json();
    object["metadata"]["uid"].as_str().unwrap_or_else(|| panic!("{path}/{name} has a uid")).to_owned()
}

/// The schema's and the level's uid of an answer.
fn flow(answer: &Answer) -> [String; 2] {
    ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"]
        .map(|name| answer.header(name).unwrap_or("-").to_owned())
}

fn uids(cluster: &Cluster, schema: &str, level: &str) -> [String; 2] {
    [uid(cluster, SCHEMAS, schema), uid(cluster, LEVELS, level)]
}

/// A schema for all that a user asks for about resources.
fn schema_of(name: &str, user: &str, level: &str, precedence: i32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
            "rules": [{
                "subjects": [{"kind": "User", "user": {"name": user}}],
                "resourceRules": [{
                    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
                }],
            }],
        },
    })
}

/// Looks until an object is as it should be.
fn until(client: &Client, path: &str, is_so: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..LOOKS_MAX {
        let answer = client.get(path);
        if is_so(&answer) {
            return answer;
        }
    }
    panic!("{path} does not become what it should be: {}", client.get(path).text());
}

#[test]
fn answers_name_the_stored_objects_of_their_flow() {
    let cluster = SHARED.get();
    let check = |client: &Client, path: &str, status: u16, schema: &str, level: &str| {
        let answer = client.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(flow(&answer), uids(&cluster, schema, level), "{path} {schema}");
    };
    let (admin, ana, node) = (cluster.admin(), cluster.user("ana", None), cluster.node("n1"));
    check(&admin, CONFIG_MAPS, 200, "exempt", "exempt");
    check(&admin, &format!("{CONFIG_MAPS}/absent"), 404, "exempt", "exempt");
    check(&ana, CONFIG_MAPS, 403, "global-default", "global-default");
    check(&ana, "/livez", 200, "probes", "exempt");
    check(&cluster.server.stranger(), "/readyz", 200, "probes", "exempt");
    check(&node, "/api/v1/nodes/n1", 404, "system-node-high", "node-high");
    check(&node, "/api/v1/services", 200, "system-nodes", "system");
    // Whoever acts as another is in the other's flow.
    let as_manager = admin.with_header("Impersonate-User", "system:kube-controller-manager");
    check(&as_manager, CONFIG_MAPS, 200, "kube-controller-manager", "workload-high");
    // Who they are is not known, so neither is their flow.
    assert_eq!(flow(&cluster.server.stranger().get("/api/v1/pods")), ["-", "-"]);
}

#[test]
fn debug_tables_are_for_those_who_may() {
    let cluster = SHARED.get();
    let (admin, ana, stranger) = (cluster.admin(), cluster.user("ana", None), cluster.server.stranger());
    let check = |table: &str, columns: &[&str], row: &str| {
        let path = format!("{DUMPS}/{table}");
        let answer = admin.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let text = answer.text();
        let head = text.lines().next().unwrap_or_default();
        assert!(columns.iter().all(|column| head.contains(column)), "{head}");
        assert!(text.lines().any(|line| line.starts_with(row)), "{row}: {text}");
        let refused = ana.get(&path);
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert_eq!(stranger.get(&path).status, 401);
    };
    check("dump_priority_levels", &["PriorityLevelName", "ActiveQueues", "WaitingRequests"], "workload-low,");
    check("dump_queues", &["PriorityLevelName", "Index", "SeatsInUse"], "global-default,");
    check("dump_requests", &["PriorityLevelName", "FlowSchemaName", "FlowDistingsher"], "PriorityLevelName,");
    check("dump_requests?includeRequestDetails=1", &["UserName", "Verb", "APIPath"], "PriorityLevelName,");
    assert_eq!(admin.get(&format!("{DUMPS}/dump_secrets")).status, 404);
    assert_eq!(admin.get(DUMPS).status, 404);
    assert!(!admin.get("/").text().contains("api_priority_and_fairness"), "as upstream, they are not listed");
}

#[test]
fn a_schema_changes_the_next_request_and_is_told_about_its_level() {
    let cluster = SHARED.get();
    let (admin, cleo) = (cluster.admin(), cluster.user("cleo", None));
    assert_eq!(flow(&cleo.get(CONFIG_MAPS)), uids(&cluster, "global-default", "global-default"));
    cluster.make(SCHEMAS, &schema_of("cleos", "cleo", "system", 77));
    assert_eq!(flow(&cleo.get(CONFIG_MAPS)), uids(&cluster, "cleos", "system"));
    assert_eq!(flow(&cluster.user("bo", None).get(CONFIG_MAPS)), uids(&cluster, "global-default", "global-default"));
    let path = format!("{SCHEMAS}/cleos");
    let reason = |answer: &Answer| answer.json()["status"]["conditions"][0]["reason"].clone();
    until(&admin, &path, |answer| reason(answer) == "Found");
    let patch = json!({"spec": {"priorityLevelConfiguration": {"name": "absent"}}}).to_string();
    admin.send_content("PATCH", &path, "application/merge-patch+json", patch.as_bytes()).unwrap();
    assert_eq!(flow(&cleo.get(CONFIG_MAPS)), uids(&cluster, "global-default", "global-default"));
    let told = until(&admin, &path, |answer| reason(answer) == "NotFound").json();
    assert_eq!(told["status"]["conditions"][0]["status"], "True");
    assert_eq!(
        told["status"]["conditions"][0]["message"],
        r#"This FlowSchema references the PriorityLevelConfiguration object named "absent" but there is no such object"#
    );
    assert_eq!(admin.delete(&path).status, 200);
}

#[test]
fn deleting_what_must_be_there_opens_no_door() {
    let cluster = Cluster::start(&[]);
    let (admin, ana) = (cluster.admin(), cluster.user("ana", None));
    let first = uids(&cluster, "catch-all", "catch-all");
    for path in [LEVELS, SCHEMAS] {
        for name in ["exempt", "catch-all", "global-default"] {
            assert_eq!(admin.delete(&format!("{path}/{name}")).status, 200, "{path}/{name}");
        }
    }
    // Nobody who may not is let in, and who may is still served.
    assert_eq!(ana.get(CONFIG_MAPS).status, 403);
    assert_eq!(admin.get(CONFIG_MAPS).status, 200);
    for path in [LEVELS, SCHEMAS] {
        for name in ["exempt", "catch-all", "global-default"] {
            until(&admin, &format!("{path}/{name}"), |answer| answer.status == 200);
        }
    }
    assert_ne!(uids(&cluster, "catch-all", "catch-all"), first);
    assert_eq!(flow(&ana.get(CONFIG_MAPS)), uids(&cluster, "global-default", "global-default"));
    // A level that must have limits keeps them.
    let patch = json!({"spec": {"type": "Exempt", "limited": null, "exempt": {}}}).to_string();
    let path = format!("{LEVELS}/catch-all");
    admin.send_content("PATCH", &path, "application/merge-patch+json", patch.as_bytes()).unwrap();
    until(&admin, &path, |answer| answer.json()["spec"]["type"] == "Limited");
}

#[test]
fn a_flood_of_one_level_is_refused_and_others_are_served() {
    let cluster = Cluster::start(&["--max-requests-inflight", "4", "--max-mutating-requests-inflight", "1"]);
    let bo = cluster.user("bo", None);
    cluster.bind("bo", "default", "edit");
    let level = json!({
        "metadata": {"name": "narrow"},
        "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 1, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"},
        }},
    });
    cluster.make(LEVELS, &level);
    cluster.make(SCHEMAS, &schema_of("bos", "bo", "narrow", 5));
    assert_eq!(bo.get(CONFIG_MAPS).status, 200);
    // Its one seat is taken until its body is there.
    let mut slow = bo.open_post(CONFIG_MAPS, 100).unwrap();
    slow.write("{").unwrap();
    let refused = until(&bo, CONFIG_MAPS, |answer| answer.status == 429);
    assert_eq!(refused.text(), "Too many requests, please try again later.\n");
    assert_eq!(refused.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0));
    assert_eq!(flow(&refused), uids(&cluster, "bos", "narrow"));
    for client in [cluster.admin(), cluster.node("n1")] {
        assert_eq!(client.get("/api/v1/services").status, 200);
    }
    assert_eq!(bo.get("/livez").status, 200);
    let requests = cluster.admin().get(&format!("{DUMPS}/dump_requests?includeRequestDetails=1")).text();
    assert!(requests.lines().any(|line| line.contains("narrow") && line.contains("bos")), "{requests}");
    // Its client goes away, and its seat is free.
    drop(slow);
    until(&bo, CONFIG_MAPS, |answer| answer.status == 200);
}

#[test]
fn without_levels_the_two_numbers_hold() {
    let cluster = Cluster::start(&["--enable-priority-and-fairness=false", "--max-mutating-requests-inflight=1"]);
    let bo = cluster.user("bo", None);
    cluster.bind("bo", "default", "edit");
    let mut slow = bo.open_post(CONFIG_MAPS, 100).unwrap();
    slow.write("{").unwrap();
    let post = |client: &Client| client.post(CONFIG_MAPS, &json!({"metadata": {"generateName": "c-"}}));
    let mut refused = post(&bo);
    for _ in 0..LOOKS_MAX {
        if refused.status == 429 {
            break;
        }
        refused = post(&bo);
    }
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(flow(&refused), ["-", "-"]);
    assert_eq!(bo.get(CONFIG_MAPS).status, 200);
    assert_eq!(post(&cluster.admin()).status, 201);
    assert_eq!(cluster.admin().get(&format!("{DUMPS}/dump_queues")).status, 404);
    let refused = Cluster::start_with(&[], &["--max-requests-inflight=0", "--max-mutating-requests-inflight=0"]);
    assert!(refused.err().is_some_and(|error| error.contains("--max-requests-inflight")));
}
