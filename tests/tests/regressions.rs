//! What others got wrong, named by its CVE or its finding: each is sent to the real program as it was sent to theirs.
//!
//! Input that only costs (bombs, floods) is held in `hostile` too; here is what is known by name.

use std::collections::BTreeSet;

use portcullis_tests::client::{Answer, Client};
use portcullis_tests::cluster::{Cluster, Shared, rule, who_is};
use portcullis_tests::session::{Asking, Connector, Protocol};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

static SHARED: Shared = Shared::new();

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const JSON_PATCH: &str = "application/json-patch+json";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const NODES: &str = "/api/v1/nodes";
const PODS: &str = "/api/v1/namespaces/default/pods";
/// The largest body that is read.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// What the process may have held at its peak.
const MEMORY_KIB_MAX: u64 = 256 * 1024;
/// Requests that differ in all that a client chooses.
const UNIQUE_REQUESTS: usize = 200;

fn is_status(answer: &Answer, expected: u16, what: &str) {
    assert_eq!(answer.status, expected, "{what}: {}", answer.text());
}

fn is_refused(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
}

fn patch(client: &Client, path: &str, media_type: &str, content: &[u8]) -> Answer {
    client.send_content("PATCH", path, media_type, content).unwrap()
}

fn merge(client: &Client, path: &str, content: &Value) -> Answer {
    patch(client, path, "application/merge-patch+json", content.to_string().as_bytes())
}

/// Levels of lists, each naming the one below nine times.
fn alias_bomb() -> String {
    let mut text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na0: &a0 [web,web,web,web,web,web,web,web,web]\n"
            .to_owned();
    for level in 1..=9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

#[test]
fn cve_2019_11253_bombs_cost_nothing() {
    let cluster = SHARED.get();
    let deep = 10_001;
    let bombs = [
        (YAML, alias_bomb()),
        (JSON, format!("{{\"metadata\":{}{}}}", "[".repeat(deep), "]".repeat(deep))),
        (JSON, format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(deep), "}".repeat(deep))),
        (YAML, format!("a: {}{}", "[".repeat(deep), "]".repeat(deep))),
    ];
    let (admin, ana, stranger) = (cluster.admin(), cluster.user("ana", None), cluster.server.stranger());
    for (media_type, bomb) in &bombs {
        for (client, status) in [(&admin, 400), (&ana, 403), (&stranger, 401)] {
            let answer = client.send_content("POST", CONFIG_MAPS, media_type, bomb.as_bytes()).unwrap();
            is_status(&answer, status, media_type);
        }
    }
    for (media_type, bomb) in [(JSON_PATCH, "["), ("application/merge-patch+json", "{\"a\":")] {
        let answer = patch(&admin, &format!("{CONFIG_MAPS}/absent"), media_type, bomb.repeat(deep).as_bytes());
        is_refused(&answer, media_type);
    }
    let peak = cluster.server.memory_kib("VmHWM").unwrap();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB at the peak");
}

#[test]
fn cve_2019_11254_pathological_yaml_is_read_or_refused() {
    let cluster = SHARED.get();
    let admin = cluster.admin();
    let fill = |piece: &str| piece.repeat(BODY_BYTES_MAX / piece.len());
    let stairs: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let keys: String = (0..100_000).map(|key| format!("k{key}: v\n")).collect();
    for (name, text) in [
        ("flow sequences", fill("[")),
        ("flow mappings", fill("{a: ")),
        ("block sequences", fill("- ")),
        ("stairs", stairs),
        ("keys", keys),
        ("quotes", fill("\"")),
        ("complex keys", fill("? ")),
        ("anchors", fill("&a ")),
        ("comments", fill("#\n")),
        ("documents", fill("---\n")),
        ("spaces", fill(" ")),
    ] {
        let answer = admin.send_content("POST", &format!("{CONFIG_MAPS}?dryRun=All"), YAML, text.as_bytes()).unwrap();
        is_refused(&answer, name);
    }
    is_status(&admin.get(CONFIG_MAPS), 200, "the server goes on");
}

#[test]
fn cve_2019_1002100_json_patches_have_a_limit() {
    let cluster = SHARED.get();
    let admin = cluster.admin();
    cluster.make(CONFIG_MAPS, &json!({"metadata": {"name": "patched"}, "data": {"a": "x".repeat(1000)}}));
    let path = format!("{CONFIG_MAPS}/patched");
    let test = r#"{"op":"test","path":"/kind","value":"ConfigMap"}"#;
    let operations = |count: usize| format!("[{}]", vec![test; count].join(","));
    is_status(&patch(&admin, &path, JSON_PATCH, operations(10_001).as_bytes()), 413, "operations");
    is_status(&patch(&admin, &path, JSON_PATCH, operations(1_000).as_bytes()), 200, "as many as anybody needs");
    // Each copies what the one before made.
    let copies: Vec<String> =
        (0..40).map(|level| format!(r#"{{"op":"copy","from":"/data","path":"/data/c{level}"}}"#)).collect();
    let answer = patch(&admin, &path, JSON_PATCH, format!("[{}]", copies.join(",")).as_bytes());
    assert!([413, 422].contains(&answer.status), "copies: {} {}", answer.status, answer.text());
    assert_eq!(admin.get(&path).json()["data"].as_object().map(serde_json::Map::len), Some(1));
    let peak = cluster.server.memory_kib("VmHWM").unwrap();
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB at the peak");
}

/// The names and labels of all series.
fn series(admin: &Client) -> BTreeSet<String> {
    let text = admin.get("/metrics").text();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}

#[test]
fn cve_2020_8552_no_client_makes_metric_series() {
    let cluster = Cluster::start(&[]);
    let (admin, stranger) = (cluster.admin(), cluster.server.stranger());
    let ask = |round: usize| {
        let word = format!("x{round}");
        let odd = admin.with_header("User-Agent", &word);
        for path in [
            format!("/{word}"),
            format!("/apis/{word}.example/v1/{word}"),
            format!("/api/v1/{word}"),
            format!("/api/v1/namespaces/{word}/pods/{word}/{word}"),
            format!("{CONFIG_MAPS}/{word}"),
            format!("{CONFIG_MAPS}?limit=x{word}"),
        ] {
            odd.get(&path);
        }
        let _ = odd.send(&word.to_uppercase(), CONFIG_MAPS, None);
        let _ = stranger.with_bearer(&word).get(&format!("/{word}"));
        cluster.user("ana", None).with_header("Impersonate-User", &word).get(CONFIG_MAPS);
    };
    // What there is of each kind is there now.
    ask(0);
    series(&admin);
    let before = series(&admin);
    for round in 1..=UNIQUE_REQUESTS / 9 {
        ask(round);
    }
    let new: Vec<String> = series(&admin).difference(&before).cloned().collect();
    assert!(!before.is_empty() && new.is_empty(), "{new:?}");
}

#[test]
fn cve_2019_11250_no_secret_is_logged() {
    use base64::Engine as _;
    const CANARY: &str = "canary-5f2c9d";
    let cluster = Cluster::start(&["--log-level", "trace"]);
    is_status(&cluster.bearer(CANARY).get("/api"), 401, "a token that nobody knows");
    let bootstrap = format!("{}.{CANARY}-90123", "abcdef");
    is_status(&cluster.bearer(&bootstrap).get("/api"), 401, "a bootstrap token that nobody knows");
    let admin = cluster.admin();
    let secret = json!({"metadata": {"name": "canary"}, "stringData": {"a": CANARY}});
    is_status(&admin.post(SECRETS, &secret), 201, "a secret");
    is_status(&admin.get(&format!("{SECRETS}/canary")), 200, "a secret, to read");
    is_status(&merge(&admin, &format!("{SECRETS}/canary"), &json!({"stringData": {"b": CANARY}})), 200, "a secret");
    let malformed = format!("{{\"stringData\": {{\"a\": \"{CANARY}\"");
    is_status(&admin.send_content("POST", SECRETS, JSON, malformed.as_bytes()).unwrap(), 400, "half a secret");
    is_refused(&admin.post(SECRETS, &json!({"metadata": {"name": "Canary"}, "stringData": {"a": CANARY}})), "a name");
    cluster.account("default", "canary");
    let token = cluster.token("default", "canary", json!({}));
    is_status(&cluster.bearer(&token).get("/api"), 200, "a token");
    let signature = token.rsplit_once('.').unwrap().1.to_owned();
    let log = cluster.ended();
    let encoded = base64::engine::general_purpose::STANDARD.encode(CANARY);
    for canary in [CANARY, encoded.trim_end_matches('='), &signature] {
        let line = log.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary}");
    }
    assert!(log.lines().count() > 10, "nothing was logged at all: {log}");
}

#[test]
fn cve_2019_11247_a_namespace_is_no_way_to_what_has_none() {
    let cluster = SHARED.get();
    let name = "cve-2019-11247";
    cluster.node_object(name);
    // Everything, in one namespace.
    cluster.bind(name, "default", "cluster-admin");
    let user = cluster.user(name, None);
    is_status(&user.get(CONFIG_MAPS), 200, "what is in the namespace");
    for path in [
        format!("/api/v1/namespaces/default/nodes/{name}"),
        "/api/v1/namespaces/default/nodes".to_owned(),
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles/cluster-admin".to_owned(),
        "/apis/storage.k8s.io/v1/namespaces/default/storageclasses".to_owned(),
    ] {
        is_status(&user.get(&path), 404, &path);
        is_status(&user.delete(&path), 404, &path);
    }
    is_status(&user.get(&format!("{NODES}/{name}")), 403, "without the namespace");
    is_status(&cluster.admin().get(&format!("{NODES}/{name}")), 200, "it is still there");
}

#[test]
fn cve_2022_3162_a_list_stays_in_its_resource() {
    use base64::Engine as _;
    let cluster = SHARED.get();
    let name = "cve-2022-3162";
    cluster.make(SECRETS, &json!({"metadata": {"name": name}, "stringData": {"canary": "yes"}}));
    cluster.grant(name, json!([rule(&["list", "get", "watch"], "", &["configmaps"])]));
    let user = cluster.user(name, None);
    for base in [CONFIG_MAPS, "/api/v1/configmaps"] {
        for start in
            ["../secrets/default\u{0}", "\u{0}", "../../secrets/", "/registry/secrets/", "default/../../secrets/"]
        {
            let token = json!({"v": "meta.k8s.io/v1", "rv": -1, "start": start}).to_string();
            for encoded in [
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&token),
                base64::engine::general_purpose::STANDARD.encode(&token),
            ] {
                let answer = user.get(&format!("{base}?limit=500&continue={encoded}"));
                assert!(
                    !answer.text().contains("canary") && !answer.text().contains("eWVz"),
                    "{start:?}: {}",
                    answer.text()
                );
                let leaves = start.contains("..") || start.starts_with('/');
                assert!(!leaves || answer.status == 400, "{start:?}: {} {}", answer.status, answer.text());
            }
        }
    }
    for namespace in ["..", ".", "%2e%2e", "%2E", "..%2f..%2fsecrets", "%2e%2e%2fsecrets"] {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let answer = user.get(&path);
        is_refused(&answer, &path);
        is_refused(&cluster.admin().get(&path), &path);
    }
}

#[test]
fn cve_2015_5305_names_are_no_paths() {
    let cluster = SHARED.get();
    let admin = cluster.admin();
    for name in ["../secrets/default/a", "a/b", "a%2fb", "..", ".", "a\u{0}b", "a\\b", "a b", "\u{7f}"] {
        let object = json!({"metadata": {"name": name}});
        is_refused(&admin.post(CONFIG_MAPS, &object), name);
        is_refused(&admin.post("/api/v1/namespaces", &object), name);
    }
    for namespace in ["../kube-system", "..", "a/b"] {
        let object = json!({"metadata": {"name": "a", "namespace": namespace}});
        is_refused(&admin.post(CONFIG_MAPS, &object), namespace);
    }
    for name in ["..%2f..%2fsecrets%2fa", "a%2fb", "%2e%2e", "%00", "a%00b"] {
        let path = format!("{CONFIG_MAPS}/{name}");
        is_refused(&admin.get(&path), &path);
        is_refused(&admin.delete(&path), &path);
    }
}

/// Sends text on one connection and reads until the server ends it. Returns the statuses of all answers.
fn statuses_on_one_connection(client: &Client, text: &str) -> Vec<u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let said = runtime.block_on(async {
        let mut stream = Connector::of(client).connect(Protocol::Http1).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // An end without a goodbye is one too.
        let _ = stream.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    });
    said.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

#[test]
fn cve_2018_1002105_a_refused_upgrade_leaves_nothing_open() {
    let cluster = SHARED.get();
    let name = "cve-2018-1002105";
    cluster.grant(name, json!([rule(&["create", "get"], "", &["pods/exec", "pods/attach", "pods/portforward"])]));
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let rest = "Host: x\r\nAccept: application/json\r\n";
    let second = |path: &str| format!("GET {path} HTTP/1.1\r\n{rest}Connection: close\r\n\r\n");
    let check = |client: &Client, first: &str, after: &str, expected: u16| {
        let text = format!("GET {first} HTTP/1.1\r\n{rest}{upgrade}\r\n{}", second(after));
        let statuses = statuses_on_one_connection(client, &text);
        let first_status = statuses.first().copied().unwrap_or_default();
        assert!(first_status >= 400, "{first}: {statuses:?}");
        // Either the connection ended, or the second request is one like any other.
        assert!(statuses.len() == 1 || statuses[1..] == [expected], "{first}, then {after}: {statuses:?}");
    };
    let exec = format!("{PODS}/absent/exec?no-such-parameter");
    let user = cluster.user(name, None);
    for path in [&*exec, &format!("{PODS}/absent/portforward"), &format!("{PODS}/absent/attach?x")] {
        check(&user, path, "/runningpods/", 403);
        check(&user, path, SECRETS, 403);
    }
    check(&cluster.admin(), &exec, "/runningpods/", 404);
    let stranger = cluster.server.stranger();
    check(&stranger, "/apis/metrics.example.com/v1", SECRETS, 401);
    check(&stranger, &exec, SECRETS, 401);
}

#[test]
fn k8s_78741_a_stream_needs_create() {
    let cluster = SHARED.get();
    cluster.grant(
        "only-get",
        json!([rule(&["get", "list", "watch"], "", &["pods/exec", "pods/attach", "pods/portforward"])]),
    );
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";
    let user = cluster.user("only-get", None);
    cluster.grant("creates", json!([rule(&["create", "get"], "", &["pods/exec", "pods/attach", "pods/portforward"])]));
    let permitted = cluster.user("creates", None);
    for stream in ["exec?command=id&stdout=true", "attach?stdout=true", "portforward?ports=1"] {
        let text = format!("GET {PODS}/absent/{stream} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n");
        assert_eq!(first_status(&user, &text), 403, "{stream}");
        assert_ne!(first_status(&permitted, &text), 403, "{stream}");
        is_status(&user.post(&format!("{PODS}/absent/{stream}"), &json!({})), 403, stream);
    }
}

/// The status of the one answer to a request, after which the connection is left.
fn first_status(client: &Client, text: &str) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stream = Connector::of(client).connect(Protocol::Http1).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        String::from_utf8_lossy(&head[9..]).parse().unwrap()
    })
}

#[test]
fn cve_2023_44487_a_stranger_gets_one_request_on_http2() {
    let cluster = SHARED.get();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut session = Connector::of(&cluster.server.stranger()).open(Protocol::Http2).await.unwrap();
        let (status, answer) = session.ask("/api", Asking::GET).await.unwrap();
        assert_eq!(status, 401, "{answer}");
        session.ask("/api", Asking::GET).await.expect_err("a connection that ends");
        let mut session = Connector::of(&cluster.admin()).open(Protocol::Http2).await.unwrap();
        for _ in 0..3 {
            assert_eq!(session.ask("/api", Asking::GET).await.unwrap().0, 200);
        }
    });
}

#[test]
fn cve_2021_25740_edit_and_admin_do_not_write_endpoints() {
    let cluster = SHARED.get();
    let subset = json!([{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 1}]}]);
    let endpoints = json!({"metadata": {"name": "cve"}, "subsets": subset});
    let slice = json!({"metadata": {"name": "cve"}, "addressType": "IPv4", "endpoints": []});
    for role in ["edit", "admin"] {
        let name = format!("cve-2021-25740-{role}");
        cluster.bind(&name, "default", role);
        let user = cluster.user(&name, None);
        is_status(&user.post(CONFIG_MAPS, &json!({"metadata": {"name": name}})), 201, role);
        is_status(&user.post("/api/v1/namespaces/default/endpoints", &endpoints), 403, role);
        is_status(&user.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice), 403, role);
    }
}

#[test]
fn rbac_nobody_gives_what_they_do_not_have() {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let cluster = SHARED.get();
    let group = "rbac.authorization.k8s.io";
    let kinds = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];
    cluster.grant(
        "climber",
        json!([rule(&["create", "update", "patch", "get"], group, &kinds), rule(&["get"], "", &["pods"])]),
    );
    let climber = cluster.user("climber", None);
    let role = |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
    is_status(&climber.post(ROLES, &role("own", json!([rule(&["get"], "", &["pods"])]))), 201, "what they have");
    for (what, rules) in [
        ("another verb", json!([rule(&["list"], "", &["pods"])])),
        ("another resource", json!([rule(&["get"], "", &["secrets"])])),
        ("another group", json!([rule(&["get"], "apps", &["pods"])])),
        ("every verb", json!([rule(&["*"], "", &["pods"])])),
        ("every resource", json!([rule(&["get"], "", &["*"])])),
        ("every group", json!([rule(&["get"], "*", &["pods"])])),
        ("a subresource", json!([rule(&["get"], "", &["pods/log"])])),
        ("a path", json!([{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}])),
        ("every path", json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}])),
    ] {
        is_status(&climber.post(ROLES, &role("above", rules.clone())), 403, what);
        is_status(&merge(&climber, &format!("{ROLES}/own"), &json!({"rules": rules})), 403, what);
    }
    let aggregated = json!({
        "metadata": {"name": "aggregated"}, "rules": [],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    });
    is_status(&climber.post(ROLES, &aggregated), 403, "an aggregation");
    let binding = |role: &str| {
        json!({
            "metadata": {"name": format!("climber-{role}")},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "climber"}],
        })
    };
    is_status(&climber.post(BINDINGS, &binding("cluster-admin")), 403, "a role above");
    is_status(&climber.post(BINDINGS, &binding("own")), 201, "a role of what they have");
    let local = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    is_status(&climber.post(local, &binding("admin")), 403, "a role above, in a namespace");
    // Whoever may climb, or bind this one role.
    cluster.grant(
        "climber",
        json!([{"verbs": ["bind"], "apiGroups": [group], "resources": ["clusterroles"], "resourceNames": ["view"]}]),
    );
    is_status(&climber.post(local, &binding("view")), 201, "bind");
    is_status(&climber.post(local, &binding("edit")), 403, "bind of another");
    cluster.grant("escalator", json!([rule(&["create", "escalate"], group, &["clusterroles"])]));
    let above = role("escalated", json!([rule(&["*"], "*", &["*"])]));
    is_status(&cluster.user("escalator", None).post(ROLES, &above), 201, "escalate");
}

#[test]
fn impersonation_each_part_needs_its_own_grant() {
    let cluster = SHARED.get();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let check = |user: &str, headers: &[(&str, &str)], expected: u16| {
        let client =
            headers.iter().fold(cluster.user(user, None), |client, (name, value)| client.with_header(name, value));
        let answer = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review);
        is_status(&answer, expected, &format!("{user} {headers:?}"));
        answer.json()["status"]["userInfo"].clone()
    };
    let as_bob = ("Impersonate-User", "bob");
    let extra = ("Impersonate-Extra-scopes", "read");
    let uid = ("Impersonate-Uid", "7");
    let masters = ("Impersonate-Group", "system:masters");
    let harbor = ("Impersonate-Group", "harbor");
    check("actor-none", &[as_bob], 403);
    check("actor-none", &[masters], 400);
    cluster.grant(
        "actor",
        json!([
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["harbor"]},
        ]),
    );
    assert_eq!(check("actor", &[as_bob], 201)["username"], "bob");
    assert_eq!(check("actor", &[as_bob, harbor], 201)["groups"], json!(["harbor", "system:authenticated"]));
    for headers in [
        &[("Impersonate-User", "eve")][..],
        &[as_bob, masters],
        &[as_bob, harbor, masters],
        &[as_bob, extra],
        &[as_bob, uid],
        &[as_bob, harbor, uid],
        &[("Impersonate-User", "system:serviceaccount:default:default")],
        &[("Impersonate-User", "system:node:a")],
    ] {
        check("actor", headers, 403);
    }
    // Nobody is somebody halfway: what belongs to a user needs the user.
    for headers in [&[harbor][..], &[uid], &[extra]] {
        check("actor", headers, 400);
    }
    let all = cluster.admin().with_header("Impersonate-User", "bob").with_header("Impersonate-Extra-scopes", "read");
    assert_eq!(who_is(&all)["extra"]["scopes"], json!(["read"]));
    is_status(&cluster.admin().with_header("Impersonate-User", "bob").get(SECRETS), 403, "with bob's rights");
}

#[test]
fn ncc_f9w_the_front_proxy_has_an_authority_of_its_own() {
    let cluster = SHARED.get();
    // A user's certificate is no front proxy's.
    for (name, value) in [("X-Remote-User", "eve"), ("X-Remote-Group", "system:masters"), ("X-Remote-Uid", "0")] {
        let client = cluster.user("f9w", None).with_header(name, value).with_header("X-Remote-Group", "system:masters");
        assert_eq!(who_is(&client)["username"], "f9w", "{name}");
        is_status(&client.get(SECRETS), 403, name);
        let stranger = cluster.server.stranger().with_header("X-Remote-User", "eve").with_header(name, value);
        is_status(&stranger.get(SECRETS), 401, name);
    }
    // A proxy that shares the authority of users would let every user name another.
    let made = Cluster::start(&[]);
    let authority = made.server.data_dir().join("pki/ca.crt").display().to_string();
    let refused = made.start_again(&["--requestheader-client-ca-file", &authority]).err().expect("a refused start");
    assert!(refused.contains("requestheader"), "{refused}");
}

#[test]
fn ncc_47w_no_token_opens_the_loopback() {
    let cluster = SHARED.get();
    for token in ["", " ", "loopback", "system:apiserver", "00000000-0000-0000-0000-000000000000", "null", "undefined"]
    {
        is_status(&cluster.bearer(token).get("/api"), 401, token);
        is_status(&cluster.bearer(token).with_header("X-Forwarded-For", "127.0.0.1").get("/api"), 401, token);
    }
}

#[test]
fn ncc_r44_a_certificate_is_not_a_token() {
    let cluster = SHARED.get();
    cluster.account("default", "r44");
    let by_token = who_is(&cluster.bearer(&cluster.token("default", "r44", json!({}))));
    let by_certificate = who_is(&cluster.user("system:serviceaccount:default:r44", None));
    assert_eq!(by_token["username"], by_certificate["username"]);
    let credential = |who: &Value| who["extra"]["authentication.kubernetes.io/credential-id"][0].clone();
    let begins = |who: &Value, begin: &str| credential(who).as_str().is_some_and(|id| id.starts_with(begin));
    assert!(begins(&by_token, "JTI="), "{by_token}");
    assert!(begins(&by_certificate, "X509SHA256="), "{by_certificate}");
    assert!(by_certificate["uid"].is_null(), "{by_certificate}");
}

#[test]
fn cve_2025_5187_a_node_does_not_choose_its_owner() {
    let cluster = SHARED.get();
    let name = "cve-2025-5187";
    cluster.node_object(name);
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": "absent", "uid": "1-2-3"}]);
    let node = cluster.node(name);
    let annotated = json!({"metadata": {"annotations": {"a": "b"}}});
    is_status(&merge(&node, &format!("{NODES}/{name}"), &annotated), 200, "all else");
    let owned = json!({"metadata": {"ownerReferences": owner}});
    is_status(&merge(&node, &format!("{NODES}/{name}"), &owned), 403, "its object");
    is_status(&merge(&node, &format!("{NODES}/{name}/status"), &owned), 403, "its status");
    let left = cluster.admin().get(&format!("{NODES}/{name}")).json();
    assert!(left["metadata"]["ownerReferences"].is_null(), "{left}");
    let born = json!({"metadata": {"name": "cve-2025-5187-b", "ownerReferences": owner}});
    is_status(&cluster.node("cve-2025-5187-b").post(NODES, &born), 403, "from the beginning");
}

#[test]
fn cve_2025_4563_a_mirror_pod_claims_no_devices() {
    let cluster = SHARED.get();
    let name = "cve-2025-4563";
    let node_uid = cluster.node_object(name)["metadata"]["uid"].clone();
    let node = cluster.node(name);
    let pod = |pod: &str, more: Value| {
        let mut spec = json!({"nodeName": name, "containers": [{"name": "c", "image": "registry.example/c:1"}]});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid, "controller": true}]);
        let metadata = json!({
            "name": pod, "annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": owner,
        });
        json!({"metadata": metadata, "spec": spec})
    };
    is_status(&node.post(PODS, &pod("mirror", json!({}))), 201, "a mirror pod");
    let claims = json!({"resourceClaims": [{"name": "c", "resourceClaimName": "someones"}]});
    is_status(&node.post(PODS, &pod("mirror-claims", claims)), 403, "with claims");
    let secret = json!({"volumes": [{"name": "v", "secret": {"secretName": "someones"}}]});
    is_status(&node.post(PODS, &pod("mirror-secret", secret)), 403, "with a secret");
    let account = json!({"serviceAccountName": "someones"});
    is_status(&node.post(PODS, &pod("mirror-account", account)), 403, "with a service account");
}
