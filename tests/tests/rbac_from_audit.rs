//! `portcullis rbac from-audit`: who has only the role that it makes can do all that they did, and nothing else.

use std::fs;
use std::process::{Command, Output};

use portcullis_tests::build::program;
use portcullis_tests::client::Client;
use portcullis_tests::cluster::{Cluster, rule};
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const FORBIDDEN: u16 = 403;

fn from_audit(cluster: &Cluster, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(["rbac", "from-audit", "--data-dir"]).arg(cluster.server.data_dir()).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Makes what was printed, as `kubectl apply` would.
fn apply(cluster: &Cluster, manifests: &str) {
    for manifest in manifests.split("---\n").skip(1) {
        let line = |name: &str| manifest.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let namespace = line("  namespace: ").map(|name| format!("/namespaces/{name}")).unwrap_or_default();
        let resource = line("kind: ").expect("a kind").to_lowercase();
        let path = format!("{RBAC}{namespace}/{resource}s");
        let answer = cluster.admin().send_content("POST", &path, "application/yaml", manifest.as_bytes()).unwrap();
        assert_eq!(answer.status, 201, "{manifest}: {}", answer.text());
    }
}

/// What a user does: a method, a path, and what is sent.
type Deed = (&'static str, &'static str, Option<Value>);

fn deeds() -> Vec<Deed> {
    let config = json!({"metadata": {"name": "made"}, "data": {"a": "b"}});
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    vec![
        ("GET", "/api", None),
        ("GET", "/metrics", None),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Some(review)),
        ("GET", "/api/v1/namespaces/harbor", None),
        ("GET", "/api/v1/namespaces/harbor/configmaps", None),
        ("POST", "/api/v1/namespaces/harbor/configmaps", Some(config.clone())),
        ("GET", "/api/v1/namespaces/harbor/configmaps/made", None),
        ("PUT", "/api/v1/namespaces/harbor/configmaps/made", Some(config)),
        ("DELETE", "/api/v1/namespaces/harbor/configmaps/made", None),
        ("GET", "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dkey", None),
        ("GET", "/api/v1/namespaces/default/pods/web/log", None),
        ("DELETE", "/apis/apps/v1/namespaces/default/deployments?labelSelector=a%3Db", None),
        ("GET", "/apis/apps/v1/deployments?limit=2", None),
        ("GET", "/api/v1/nodes/one", None),
    ]
}

/// What is like it, and was never done.
const OTHERS: [(&str, &str); 14] = [
    ("GET", "/logs"),
    ("POST", "/metrics"),
    ("GET", "/api/v1/namespaces"),
    ("GET", "/api/v1/namespaces/default"),
    ("GET", "/api/v1/configmaps"),
    ("GET", "/api/v1/namespaces/default/configmaps"),
    ("GET", "/api/v1/namespaces/harbor/configmaps/other"),
    ("DELETE", "/api/v1/namespaces/harbor/configmaps"),
    ("GET", "/api/v1/namespaces/harbor/configmaps?watch=true"),
    ("GET", "/api/v1/namespaces/default/secrets"),
    ("GET", "/api/v1/namespaces/default/secrets/key"),
    ("GET", "/api/v1/namespaces/default/pods/web"),
    ("GET", "/api/v1/nodes"),
    ("GET", "/apis/apps/v1/namespaces/default/deployments/x"),
];

fn may(client: &Client, method: &str, path: &str, body: Option<&Value>) -> bool {
    client.send(method, path, body).unwrap().status != FORBIDDEN
}

fn check_role(cluster: &Cluster, bo: &Client) {
    for (method, path, body) in deeds() {
        assert!(may(bo, method, path, body.as_ref()), "{method} {path}");
    }
    for (method, path) in OTHERS {
        assert!(!may(bo, method, path, None), "{method} {path}");
    }
    assert!(may(&cluster.admin(), "GET", "/logs", None));
}

#[test]
fn the_role_from_the_servers_own_log_is_enough_and_no_more() {
    let cluster = Cluster::start(&[]);
    cluster.namespace("harbor");
    let everything = json!([rule(&["*"], "*", &["*"]), {"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    cluster.grant("bo", everything);
    let bo = cluster.user("bo", None);
    for (method, path, body) in deeds() {
        assert!(may(&bo, method, path, body.as_ref()), "{method} {path}");
    }
    // Somebody acts as them, too, with what is not asked for otherwise.
    let acting = cluster.admin().with_header("Impersonate-User", "bo");
    assert!(may(&acting, "GET", "/api/v1/nodes/one", None));
    let grants = cluster.admin().get(&format!("{RBAC}/clusterrolebindings")).json();
    let names = grants["items"].as_array().unwrap().iter().map(|grant| grant["metadata"]["name"].as_str().unwrap());
    for name in names.filter(|name| name.starts_with("bo-")) {
        assert_eq!(cluster.admin().delete(&format!("{RBAC}/clusterrolebindings/{name}")).status, 200);
    }
    assert!(!may(&bo, "GET", "/metrics", None));
    let made = from_audit(&cluster, &["--user", "bo"]);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let text = String::from_utf8(made.stdout).unwrap();
    assert!(text.contains("#   get \"/metrics\", 1 time\n"), "{text}");
    apply(&cluster, &text);
    check_role(&cluster, &bo);
}

/// The log of another server, as its file backend writes it.
fn foreign_log() -> String {
    let mut log = String::new();
    for (method, path, _) in deeds() {
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let segments: Vec<&str> = bare.trim_matches('/').split('/').collect();
        let (group, rest) = match segments.as_slice() {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => ("-", &[] as &[&str]),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            ["namespaces", namespace] => (*namespace, rest),
            _ => ("", rest),
        };
        let [resource, name, subresource] = [0, 1, 2].map(|at| rest.get(at).copied().unwrap_or_default());
        let verb = match (method, name) {
            ("GET", "") if group != "-" => "list",
            ("GET", _) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            (_, "") => "deletecollection",
            _ => "delete",
        };
        let mut event = json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "stage": "ResponseComplete",
            "requestURI": path, "verb": verb, "user": {"username": "bo", "groups": ["system:authenticated"]},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": "2026-01-02T03:04:05.000006Z",
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        });
        if group != "-" {
            // What is selected by name and what is made have their names in the event, too.
            let selected = query.strip_prefix("fieldSelector=metadata.name%3D").unwrap_or_default();
            let name = if verb == "create" { "made" } else { [name, selected].concat().leak() };
            event["objectRef"] = json!({"resource": resource, "namespace": namespace, "name": name, "apiGroup": group,
                "apiVersion": "v1", "subresource": subresource});
        }
        log.push_str(&format!("{event}\n"));
    }
    log
}

#[test]
fn the_role_from_another_servers_log_is_enough_and_no_more() {
    let cluster = Cluster::start(&[]);
    cluster.namespace("harbor");
    let file = cluster.file("foreign.log");
    fs::write(&file, foreign_log()).unwrap();
    let made = from_audit(&cluster, &["--user", "bo", "--log", file.to_str().unwrap(), "--name", "least"]);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    apply(&cluster, &String::from_utf8(made.stdout).unwrap());
    check_role(&cluster, &cluster.user("bo", None));
}

#[test]
fn what_cannot_be_read_is_named() {
    let cluster = Cluster::start(&[]);
    let file = cluster.file("torn.log");
    fs::write(&file, format!("{}nonsense\n{{}}\n", foreign_log())).unwrap();
    let log = file.to_str().unwrap();
    let check = |arguments: &[&str], code: i32, parts: &[&str]| {
        let output = from_audit(&cluster, arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: {part:?} is not in {text}");
        }
    };
    let count = deeds().len();
    check(
        &["--user", "bo", "--log", log],
        3,
        &[
            "kind: ClusterRole",
            &format!("torn.log:{}: not JSON", count + 1),
            &format!("torn.log:{}: neither an event", count + 2),
            "2 lines could not be read",
        ],
    );
    fs::write(&file, foreign_log()).unwrap();
    check(
        &["--all", "--log", log, "-o", "json"],
        0,
        &["\"kind\": \"List\"", "The least role of User \"bo\": 14 requests"],
    );
    check(&["--user", "nobody", "--log", log], 1, &["User \"nobody\": no request that was allowed is in the log"]);
    check(&["--user", "bo", "--log", log, "--since", "2026-01-02T03:04:06Z"], 1, &["no request that was allowed"]);
    check(&["--user", "bo", "--log", log, "--until", "2026-01-02T03:04:06Z", "--names", "any"], 0, &["kind: Role\n"]);
    check(&["--user", "bo", "--log", &format!("{log}.gone")], 1, &["cannot open", "torn.log.gone"]);
    check(&["--log", log], 2, &["--user"]);
    check(&["--user", "bo", "--since", "yesterday"], 2, &["neither a time as"]);
    check(&["--serviceaccount", "shop", "--log", log], 2, &["not NAMESPACE:NAME"]);
}
