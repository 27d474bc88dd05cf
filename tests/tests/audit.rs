//! A25 and A8 against the real program: what a server without a flag has on record, and what is never in it.

use portcullis_tests::client::Client;
use portcullis_tests::cluster::{Cluster, rule};
use portcullis_tests::credentials::signing_request;
use serde_json::{Value, json};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const CSRS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";
const AUTHENTICATOR: &str = "audit.portcullis.io/authenticator";

/// Everything in the logs, those of strangers too.
fn log(cluster: &Cluster) -> String {
    let directory = cluster.server.data_dir().join("audit");
    let mut text = String::new();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
    text
}

/// The events of a request, by the id that its answer had.
fn events(cluster: &Cluster, audit_id: &str) -> Vec<Value> {
    let log = log(cluster);
    let lines = log.lines().filter(|line| line.contains(audit_id));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Sends a request and returns its only event.
fn event(cluster: &Cluster, client: &Client, method: &str, path: &str, body: Option<&Value>, status: u16) -> Value {
    let answer = client.send(method, path, body).unwrap();
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    let found = events(cluster, answer.header("audit-id").unwrap());
    let [event] = &found[..] else { panic!("{method} {path}: {found:?}") };
    assert_eq!(event["responseStatus"]["code"], status, "{event}");
    event.clone()
}

#[test]
fn a25_the_first_request_of_a_new_server_is_on_record() {
    let cluster = Cluster::start(&[]);
    let event = event(&cluster, &cluster.admin(), "GET", "/api/v1/namespaces/default?pretty=1", None, 200);
    for (key, expected) in [
        ("kind", json!("Event")),
        ("apiVersion", json!("audit.k8s.io/v1")),
        ("level", json!("Metadata")),
        ("stage", json!("ResponseComplete")),
        ("verb", json!("get")),
        ("requestURI", json!("/api/v1/namespaces/default?pretty=1")),
        ("sourceIPs", json!(["127.0.0.1"])),
    ] {
        assert_eq!(event[key], expected, "{key}");
    }
    assert!(event["user"]["groups"].as_array().unwrap().contains(&json!("system:masters")), "{event}");
    assert_eq!(event["objectRef"]["resource"], "namespaces");
    assert_eq!(event["annotations"][DECISION], "allow");
    assert!(event["annotations"][REASON].is_string(), "{event}");
    assert!(event["stageTimestamp"].as_str() >= event["requestReceivedTimestamp"].as_str(), "{event}");
    let probe = cluster.server.stranger().get("/livez");
    let found = events(&cluster, probe.header("audit-id").unwrap());
    assert_eq!((found.len(), &found[0]["user"]["username"]), (1, &json!("system:anonymous")));
}

#[test]
fn a8_a_request_that_is_refused_is_on_record_with_the_step_that_refused_it() {
    let cluster = Cluster::start(&[]);
    let ana = cluster.user("ana", None);
    // Authentication: nobody, and nothing is decided.
    let refused = event(&cluster, &cluster.bearer("wrong"), "GET", SECRETS, None, 401);
    assert_eq!((&refused["user"], &refused["stage"]), (&json!({}), &json!("ResponseStarted")));
    assert_eq!(refused["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert_eq!(refused["annotations"][DECISION], Value::Null);
    let refused = event(&cluster, &cluster.server.stranger(), "GET", SECRETS, None, 401);
    assert_eq!(refused["responseStatus"]["message"], "Authentication failed, no credentials provided");
    // Impersonation.
    let as_ben = ana.with_header("impersonate-user", "ben");
    let refused = event(&cluster, &as_ben, "GET", SECRETS, None, 403);
    assert_eq!((&refused["annotations"][DECISION], &refused["impersonatedUser"]), (&json!("forbid"), &Value::Null));
    assert!(refused["annotations"][REASON].as_str().unwrap().contains("cannot impersonate"), "{refused}");
    let as_ben = cluster.admin().with_header("impersonate-user", "ben");
    let refused = event(&cluster, &as_ben, "GET", SECRETS, None, 403);
    assert_eq!(refused["impersonatedUser"]["username"], "ben");
    // Authorisation.
    let refused = event(&cluster, &ana, "GET", SECRETS, None, 403);
    assert_eq!((&refused["user"]["username"], &refused["annotations"][DECISION]), (&json!("ana"), &json!("forbid")));
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    // Admission: it was allowed to ask.
    cluster.grant("ana", json!([rule(&["create"], "certificates.k8s.io", &["certificatesigningrequests"])]));
    let request = json!({
        "metadata": {"name": "a8"},
        "spec": {
            "request": signing_request("eve", "system:masters").unwrap(),
            "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
        },
    });
    let refused = event(&cluster, &ana, "POST", CSRS, Some(&request), 403);
    assert_eq!(refused["annotations"][DECISION], "allow");
    assert!(refused["annotations"][REASON].as_str().unwrap().contains("RBAC: allowed by"), "{refused}");
    assert!(refused["responseStatus"]["message"].as_str().unwrap().contains("system:masters"), "{refused}");
    // What cannot be read is on record too.
    event(&cluster, &cluster.admin(), "GET", "/api/v1/namespaces/default/pods?timeout=1x", None, 400);
    event(&cluster, &cluster.admin(), "GET", "/no/such/path", None, 404);
}

#[test]
fn a25_no_secret_and_no_token_is_in_a_log() {
    const CANARY: &str = "Y2FuYXJ5LTdkMWU4ZjI5";
    const PLAIN: &str = "canary-7d1e8f29";
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}],
    });
    let files = [("policy.yaml", &*policy.to_string())];
    let arguments = ["--audit-policy-file", "FILES/policy.yaml", "--log-level", "trace"];
    let cluster = Cluster::start_with(&files, &arguments).unwrap();
    let admin = cluster.admin();
    let secret = json!({"metadata": {"name": "db"}, "data": {"password": CANARY}});
    assert_eq!(admin.post(SECRETS, &secret).status, 201);
    let (one, path) = (format!("{SECRETS}/db"), SECRETS);
    for path in [&*one, path, "/api/v1/secrets"] {
        assert!(admin.get(path).text().contains(CANARY), "{path}");
    }
    let patch = json!({"stringData": {"other": PLAIN}}).to_string();
    let patched = admin.send_content("PATCH", &one, "application/merge-patch+json", patch.as_bytes()).unwrap();
    assert_eq!(patched.status, 200);
    // Complaints that quote what was sent.
    for bad in [json!({"metadata": {"name": "x"}, "data": {"k": PLAIN}}), json!({"metadata": 1, "data": CANARY})] {
        assert!([400, 422].contains(&admin.post(SECRETS, &bad).status), "{bad}");
    }
    cluster.account("default", "web");
    let token = cluster.token("default", "web", json!({}));
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    assert_eq!(admin.post(REVIEWS, &review).status, 201);
    let account = cluster.bearer(&token);
    assert_eq!(account.get("/version").status, 200);
    account.get(&format!("/version?access_token={token}"));
    cluster.bearer(PLAIN).get("/version");
    // What is no secret is there, as the policy says.
    let map = json!({"metadata": {"name": "map"}, "data": {"seen": "seen-in-the-log"}});
    assert_eq!(admin.post("/api/v1/namespaces/default/configmaps", &map).status, 201);
    let audit = log(&cluster);
    assert!(audit.contains(r#""resource":"secrets""#) && audit.contains(r#""subresource":"token""#), "{audit}");
    assert!(audit.contains(r#""level":"RequestResponse""#), "other requests are recorded as the policy says");
    let signature = token.rsplit('.').next().unwrap().to_owned();
    let printed = cluster.ended();
    assert!(printed.contains("they are not recorded (A25)"), "the operator is told: {printed}");
    for canary in [CANARY, PLAIN, &signature] {
        assert!(!audit.contains(canary), "{canary} is in the audit log");
        assert!(!printed.contains(canary), "{canary} is in the log");
    }
}

#[test]
fn a25_a_certificate_by_the_name_of_a_service_account_is_told_from_its_token() {
    let cluster = Cluster::start(&[]);
    cluster.account("default", "web");
    let token = cluster.token("default", "web", json!({}));
    let by_token = event(&cluster, &cluster.bearer(&token), "GET", "/version", None, 200);
    let impostor = cluster.user("system:serviceaccount:default:web", None);
    let by_certificate = event(&cluster, &impostor, "GET", "/version", None, 200);
    assert_eq!(by_token["user"]["username"], by_certificate["user"]["username"]);
    assert_eq!(by_token["annotations"][AUTHENTICATOR], "bearer");
    assert_eq!(by_certificate["annotations"][AUTHENTICATOR], "x509");
}

#[test]
fn a25_a_policy_without_a_place_or_without_sense_is_refused() {
    let check = |policy: &str, arguments: &[&str], part: &str| {
        let refused = Cluster::start_with(&[("policy.yaml", policy)], arguments).err().expect("a refused start");
        assert!(refused.contains(part), "{refused}");
    };
    let file = ["--audit-policy-file", "FILES/policy.yaml"];
    let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
    let none = format!("{head}rules: []");
    check(&none, &file, "loaded illegal policy with 0 rules");
    check(&format!("{head}rules: [{{levels: None}}]"), &file, r#"unknown field "rules[0].levels""#);
    check(&format!("{head}rules: [{{level: All}}]"), &file, r#"rules[0].level: Unsupported value: "All""#);
    let upstream = ["--audit-policy-file", "FILES/policy.yaml", "--defaults", "upstream"];
    check(&format!("{head}rules: [{{level: None}}]"), &upstream, "--audit-log-path");
}
