//! The audit webhook against the real program: what it is sent, and when it cannot be.

use portcullis_tests::client::Client;
use portcullis_tests::cluster::Cluster;
use portcullis_tests::webhook::{Trap, Webhook};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules: [{level: RequestResponse}]
";
/// The arrival of requests is an event too.
const STRICT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: Metadata}]
";
const FLAGS: [&str; 3] = [
    "--audit-webhook-config-file=FILES/webhook.json",
    "--allow-dial=127.0.0.0/8",
    "--audit-webhook-initial-backoff=1ms",
];
const BY_POLICY: &str = "--audit-policy-file=FILES/policy.yaml";

fn cluster(webhook: &Webhook, more: &[&str]) -> Cluster {
    let kubeconfig = webhook.kubeconfig("FILES/webhook.crt");
    let files = [
        ("webhook.json", &*kubeconfig),
        ("webhook.crt", webhook.authority_pem()),
        ("policy.yaml", POLICY),
        ("strict.yaml", STRICT),
    ];
    Cluster::start_with(&files, &[&FLAGS[..], more].concat()).unwrap()
}

/// The events of each list that came.
fn lists(webhook: &Webhook) -> Vec<Vec<Value>> {
    let events = |content: &String| {
        let list: Value = serde_json::from_str(content).unwrap();
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("EventList"), &json!("audit.k8s.io/v1")));
        list["items"].as_array().unwrap().clone()
    };
    webhook.requests().iter().map(events).collect()
}

fn make(client: &Client, path: &str, name: &str, data: &str) -> String {
    let answer =
        client.post(path, &json!({"metadata": {"name": name}, "stringData": {"x": data}, "data": {"x": data}}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("audit-id").unwrap().to_owned()
}

/// How many events the server says that it lost.
fn lost(cluster: &Cluster) -> Option<u64> {
    let metrics = cluster.admin().get("/metrics");
    let line = r#"apiserver_audit_error_total{plugin="webhook"} "#;
    metrics.text().lines().find_map(|found| found.strip_prefix(line)).and_then(|count| count.trim().parse().ok())
}

#[test]
fn a25_what_is_not_sent_yet_is_sent_at_the_end() {
    let webhook = Webhook::start("200 OK").unwrap();
    let cluster =
        cluster(&webhook, &[BY_POLICY, "--audit-webhook-batch-max-wait=1h", "--audit-webhook-batch-max-size=5"]);
    let ids: Vec<_> =
        (0..7).map(|at| make(&cluster.admin(), CONFIG_MAPS, &format!("a{at}"), "canary-of-a-map")).collect();
    let secret = make(&cluster.admin(), SECRETS, "s", "Y2FuYXJ5LW9mLWEtc2VjcmV0");
    cluster.ended();
    let lists = lists(&webhook);
    assert!(lists.len() >= 2 && lists.iter().all(|events| events.len() <= 5), "{} lists", lists.len());
    let of = |id: &str| {
        let mut found = lists.iter().flatten().filter(|event| event["auditID"] == id);
        let event = found.next().unwrap_or_else(|| panic!("{id} was not sent"));
        assert!(found.next().is_none(), "{id} was sent twice");
        event
    };
    for id in &ids {
        let event = of(id);
        for object in ["requestObject", "responseObject"] {
            assert_eq!(event[object]["data"]["x"], "canary-of-a-map", "{event}");
            assert!(event[object]["metadata"].get("managedFields").is_none(), "{event}");
        }
    }
    let event = of(&secret);
    assert_eq!((event["level"].as_str(), event.get("requestObject")), (Some("Metadata"), None), "{event}");
    assert!(!webhook.requests().concat().contains("Y2FuYXJ5LW9mLWEtc2VjcmV0"));
}

#[test]
fn cve_2020_8561_the_audit_webhook_is_not_followed_elsewhere() {
    let trap = Trap::open().unwrap();
    let webhook = Webhook::start(&format!("302 Found\r\nLocation: https://{}/secret", trap.address())).unwrap();
    let cluster = cluster(&webhook, &[BY_POLICY, "--audit-webhook-mode=blocking"]);
    make(&cluster.admin(), CONFIG_MAPS, "a", "b");
    // Upstream's five attempts, before the request had its answer.
    let attempts = webhook.requests().iter().filter(|content| content.contains(r#""requestObject""#)).count();
    assert_eq!((attempts, trap.caught().unwrap()), (5, 0));
    assert!(lost(&cluster).is_some_and(|lost| lost > 0));
}

#[test]
fn a_webhook_that_fails_does_not_stop_requests_unless_it_must_not() {
    let webhook = Webhook::start("500 Internal Server Error").unwrap();
    let check = |mode: &str, policy: &str, expected: u16| {
        let policy = format!("--audit-policy-file=FILES/{policy}.yaml");
        let cluster = cluster(&webhook, &["--audit-webhook-mode", mode, &policy, "--defaults=upstream"]);
        let answer = cluster.admin().get(CONFIG_MAPS);
        assert_eq!(answer.status, expected, "{mode}: {}", answer.text());
    };
    check("batch", "strict", 200);
    check("blocking", "strict", 200);
    check("blocking-strict", "strict", 503);
    // There is no event when the request arrives.
    check("blocking-strict", "policy", 200);
}

#[test]
fn long_events_lose_their_objects_and_say_so() {
    let webhook = Webhook::start("200 OK").unwrap();
    let truncate = [BY_POLICY, "--audit-webhook-truncate-enabled", "--audit-webhook-truncate-max-event-size=20000"];
    let cluster = cluster(&webhook, &truncate);
    let short = make(&cluster.admin(), CONFIG_MAPS, "short", "b");
    let long = make(&cluster.admin(), CONFIG_MAPS, "long", &"b".repeat(20_000));
    cluster.ended();
    let events = lists(&webhook).concat();
    let check = |id: &str, is_whole: bool| {
        let event = events.iter().find(|event| event["auditID"] == id).unwrap();
        assert_eq!(event.get("requestObject").is_some(), is_whole, "{event}");
        let marked = event["annotations"].get("audit.k8s.io/truncated");
        assert_eq!(marked, (!is_whole).then(|| json!("true")).as_ref());
    };
    check(&short, true);
    check(&long, false);
}
