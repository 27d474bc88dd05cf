//! The server behind the real gate and over a real store, asked in process: what clients see, as tables.
#![allow(clippy::unwrap_used)]

mod admission;
mod apply;
mod apply_bodies;
mod apply_doors;
mod apply_upgrades;
mod apply_versions;
mod audit;
mod bootstrap;
mod chains;
mod evictions;
mod ingresses;
mod kinds_page;
mod lists;
mod managed;
mod namespaces;
mod nodes;
mod patches;
mod paths;
mod pod_admission;
mod pod_security;
mod pod_streams;
mod quotas;
mod reviews;
mod roles;
mod services;
mod storage_admission;
mod tokens;
mod wire;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Request;
use http_body_util::BodyExt;
use portcullis_gate::{
    Authorizer, AuthorizerChain, GROUP_AUTHENTICATED, GROUP_MASTERS, Gate, Guards, Handler, Identity, Limits, Peer,
    Permitted, RequestBody,
};
use portcullis_model::schema::TypeRef;
use portcullis_store::Engine;
use portcullis_store::embedded::{Embedded, Options};
use serde_json::{Value, json};

use crate::admission::{Admission, Plugin};
use crate::env::NoRandomness;
use crate::registry::Registry;
use crate::{ApiServer, Catalog, Config, Env};

/// A clock that stands still until it is set, and bytes that differ from call to call.
struct FixedEnv {
    micros: AtomicU64,
    drawn: AtomicU64,
}

impl Env for FixedEnv {
    fn now_micros(&self) -> i64 {
        i64::try_from(self.micros.load(Ordering::Relaxed)).unwrap()
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), NoRandomness> {
        let mut state = self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for byte in buffer {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[3];
        }
        Ok(())
    }
}

struct Answers {
    server: Arc<ApiServer>,
}

impl Handler for Answers {
    async fn handle(&self, permitted: Permitted) -> http::Response<portcullis_gate::Body> {
        self.server.handle(permitted).await
    }
}

struct Cluster {
    server: Arc<ApiServer>,
    gate: Gate<Answers>,
    admin: Arc<Peer>,
    engine: Arc<Embedded>,
    env: Arc<FixedEnv>,
    _folder: tempfile::TempDir,
}

struct Said {
    code: u16,
    content_type: String,
    warnings: Vec<String>,
    body: Vec<u8>,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_default()
    }

    fn message(&self) -> String {
        self.at("/message").as_str().unwrap_or_default().to_owned()
    }
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

impl Cluster {
    async fn new() -> Cluster {
        Cluster::with(Config::default(), Vec::new(), None).await
    }

    /// A cluster with these authorisers behind system:masters, and with these admission plugins instead of those of the configuration.
    async fn with(
        config: Config,
        authorizers: Vec<Arc<dyn Authorizer>>,
        plugins: Option<Vec<Box<dyn Plugin>>>,
    ) -> Cluster {
        let guards = Guards { authorizers: AuthorizerChain::new(authorizers), ..Guards::default() };
        Cluster::guarded(config, guards, plugins).await
    }

    /// A cluster behind these guards.
    async fn guarded(config: Config, guards: Guards, plugins: Option<Vec<Box<dyn Plugin>>>) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let options = Options { catalog, ..Options::new(folder.path().join("store")) };
        let engine = Arc::new(Embedded::open(options).unwrap());
        let env = Arc::new(FixedEnv { micros: AtomicU64::new(1_800_000_000_000_000), drawn: AtomicU64::new(1) });
        let mut server =
            ApiServer::new(Arc::clone(&engine) as Arc<dyn Engine>, registry, config, Arc::clone(&env) as Arc<dyn Env>);
        if let Some(plugins) = plugins {
            let server = Arc::get_mut(&mut server).unwrap();
            server.admission = Admission::of(&server.registry, plugins);
        }
        server.bootstrap().await.unwrap();
        let groups = vec![GROUP_MASTERS.to_owned(), GROUP_AUTHENTICATED.to_owned()];
        let admin = Identity { name: "admin".to_owned(), groups, ..Identity::default() };
        let gate = Gate::new(Answers { server: Arc::clone(&server) }, guards, Limits::default());
        Cluster { server, gate, admin: Peer::in_process(Arc::new(admin)), engine, env, _folder: folder }
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Said {
        self.send_as(&self.admin, method, path, headers, body).await
    }

    async fn send_as(
        &self,
        peer: &Arc<Peer>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> Said {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.gate.handle(peer, request.body(RequestBody::from_bytes(body)).unwrap()).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let code = response.status().as_u16();
        let content_type = header("content-type").unwrap_or_default();
        let warnings = response.headers().get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
        Said { code, content_type, warnings, body }
    }

    async fn get(&self, path: &str) -> Said {
        self.send("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: Value) -> Said {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    async fn put(&self, path: &str, body: Value) -> Said {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string()).await
    }

    async fn merge(&self, path: &str, body: Value) -> Said {
        self.send("PATCH", path, &[("content-type", "application/merge-patch+json")], body.to_string()).await
    }

    async fn delete(&self, path: &str, options: Value) -> Said {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.send("DELETE", path, &[("content-type", "application/json")], body).await
    }

    async fn config_map(&self, name: &str, labels: Value) -> Said {
        let said =
            self.post(CONFIG_MAPS, json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "b"}})).await;
        assert_eq!(said.code, 201, "{}", said.message());
        said
    }
}

fn names(list: &Said) -> Vec<String> {
    let items = list.at("/items");
    items.as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_object_lives() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(cluster.get(&path).await.code, 404);
    let created = cluster.config_map("a", json!({})).await;
    let version = created.at("/metadata/resourceVersion");
    assert_eq!(created.at("/kind"), "ConfigMap");
    assert_eq!(created.at("/metadata/creationTimestamp"), "2027-01-15T08:00:00Z");
    assert_eq!(cluster.get(&path).await.body, created.body);
    let again = cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!((again.code, again.message().as_str()), (409, "configmaps \"a\" already exists"));
    // Writing the same keeps the version; writing something else does not.
    let same = cluster.put(&path, json!({"metadata": {"name": "a"}, "data": {"a": "b"}})).await;
    assert_eq!((same.code, same.at("/metadata/resourceVersion")), (200, version.clone()));
    let changed = cluster.merge(&path, json!({"data": {"a": null, "c": "d"}})).await;
    assert_eq!(changed.at("/data"), json!({"c": "d"}));
    assert_ne!(changed.at("/metadata/resourceVersion"), version);
    let old = cluster.put(&path, json!({"metadata": {"name": "a", "resourceVersion": version}})).await;
    assert_eq!(
        (old.code, old.message().as_str()),
        (
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
             please apply your changes to the latest version and try again"
        )
    );
    let deleted = cluster.delete(&path, Value::Null).await;
    assert_eq!((deleted.code, deleted.at("/status")), (200, json!("Success")));
    assert_eq!(deleted.at("/details/uid"), created.at("/metadata/uid"));
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test]
async fn writes_are_refused_in_upstreams_words() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let check = async |method: &str, path: &str, body: Value, code: u16, message: &str| {
        let headers =
            [("content-type", if method == "PATCH" { "application/merge-patch+json" } else { "application/json" })];
        let said = cluster.send(method, path, &headers, body.to_string()).await;
        assert_eq!((said.code, said.message().as_str()), (code, message), "{method} {path} {body}");
    };
    let a = &format!("{CONFIG_MAPS}/a");
    let elsewhere = "/api/v1/namespaces/nosuch/configmaps";
    check("POST", elsewhere, json!({"metadata": {"name": "x"}}), 404, "namespaces \"nosuch\" not found").await;
    check(
        "POST",
        CONFIG_MAPS,
        json!({"metadata": {"name": "x", "namespace": "other"}}),
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    )
    .await;
    check(
        "POST",
        CONFIG_MAPS,
        json!({}),
        422,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
    )
    .await;
    check(
        "PUT",
        a,
        json!({"metadata": {"name": "b"}}),
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    )
    .await;
    check(
        "PUT",
        a,
        json!({"metadata": {}}),
        400,
        "the name of the object (a based on URL) was undeterminable: name must be provided",
    )
    .await;
    check("PUT", &format!("{CONFIG_MAPS}/x"), json!({"metadata": {"name": "x"}}), 404, "configmaps \"x\" not found")
        .await;
    check(
        "POST",
        &format!("{CONFIG_MAPS}?fieldValidation=Strict"),
        json!({"metadata": {"name": "x"}, "a": 1}),
        400,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"a\"",
    )
    .await;
    check(
        "POST",
        "/api/v1/configmaps",
        json!({}),
        405,
        "the server does not allow this method on the requested resource",
    )
    .await;
    check("GET", "/api/v1/nosuch", json!({}), 404, "the server could not find the requested resource").await;
    check("GET", &format!("{a}/boats"), json!({}), 404, "the server could not find the requested resource").await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    assert_eq!(cluster.put(&format!("{leases}/l"), json!({"metadata": {"name": "l"}})).await.code, 201);
    check(
        "PUT",
        &format!("{leases}/l"),
        json!({"metadata": {"name": "l"}}),
        422,
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
    )
    .await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let cluster = Cluster::new().await;
    let before = cluster.engine.snapshot().revision();
    let said = cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), json!({"metadata": {"generateName": "g-"}})).await;
    assert_eq!((said.code, said.at("/metadata/resourceVersion")), (201, Value::Null));
    assert!(said.at("/metadata/name").as_str().unwrap().starts_with("g-"));
    cluster.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a?dryRun=All");
    assert_eq!(cluster.merge(&path, json!({"data": {"x": "y"}})).await.at("/data/x"), "y");
    assert_eq!(cluster.delete(&path, Value::Null).await.code, 200);
    assert_eq!(cluster.get(&format!("{CONFIG_MAPS}/a")).await.at("/data"), json!({"a": "b"}));
    assert_eq!(cluster.engine.snapshot().revision(), before + 1);
}

#[tokio::test]
async fn deletion_waits_for_finalizers() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    let created = cluster.post(CONFIG_MAPS, body).await;
    let wrong = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "no"}});
    assert_eq!(cluster.delete(&path, wrong).await.code, 409);
    let marked = cluster.delete(&path, Value::Null).await;
    assert_eq!(marked.at("/metadata/deletionTimestamp"), "2027-01-15T08:00:00Z");
    assert_eq!(marked.at("/metadata/deletionGracePeriodSeconds"), 0);
    assert_eq!(marked.at("/metadata/uid"), created.at("/metadata/uid"));
    // A second time changes nothing, and no finalizer may join.
    let again = cluster.delete(&path, Value::Null).await;
    assert_eq!(again.at("/metadata/resourceVersion"), marked.at("/metadata/resourceVersion"));
    assert_eq!(
        cluster.merge(&path, json!({"metadata": {"finalizers": ["a.b/c", "example.com/hold"]}})).await.code,
        422
    );
    assert_eq!(cluster.merge(&path, json!({"metadata": {"finalizers": null}})).await.code, 200);
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_namespace_goes_after_its_content() {
    let cluster = Cluster::new().await;
    let created = cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await;
    assert_eq!(created.at("/metadata/labels"), json!({"kubernetes.io/metadata.name": "n"}));
    assert_eq!(created.at("/spec/finalizers"), json!(["kubernetes"]));
    let marked = cluster.delete("/api/v1/namespaces/n", Value::Null).await;
    assert_eq!((marked.code, marked.at("/status/phase")), (200, json!("Terminating")));
    let refused = cluster.post("/api/v1/namespaces/n/configmaps", json!({"metadata": {"name": "x"}})).await;
    assert_eq!(refused.code, 403);
    assert_eq!(refused.at("/details/causes/0/reason"), "NamespaceTerminating");
    let finalized = json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}});
    assert_eq!(cluster.put("/api/v1/namespaces/n/finalize", finalized).await.code, 200);
    assert_eq!(cluster.get("/api/v1/namespaces/n").await.code, 404);
    let immortal = cluster.delete("/api/v1/namespaces/kube-system", Value::Null).await;
    assert_eq!(
        (immortal.code, immortal.message().as_str()),
        (403, "namespaces \"kube-system\" is forbidden: this namespace may not be deleted")
    );
}

#[tokio::test]
async fn status_has_its_own_door() {
    let cluster = Cluster::new().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({"app": "a"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let deployment = |replicas: u64, seen: u64| {
        let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
        json!({"metadata": {"name": "d"}, "spec": spec, "status": {"replicas": seen}})
    };
    let created = cluster.post(deployments, deployment(1, 5)).await;
    assert_eq!((created.at("/status"), created.at("/metadata/generation")), (json!({}), json!(1)));
    let by_status = cluster.put(&format!("{deployments}/d/status"), deployment(9, 4)).await;
    assert_eq!((by_status.at("/spec/replicas"), by_status.at("/status/replicas")), (json!(1), json!(4)));
    assert_eq!(by_status.at("/metadata/generation"), 1);
    let by_main = cluster.put(&format!("{deployments}/d"), deployment(9, 7)).await;
    assert_eq!((by_main.at("/spec/replicas"), by_main.at("/status/replicas")), (json!(9), json!(4)));
    assert_eq!(by_main.at("/metadata/generation"), 2);
}

#[tokio::test]
async fn lists_are_selected_and_paged_at_one_moment() {
    let cluster = Cluster::new().await;
    for (name, half) in [("a", "low"), ("b", "low"), ("c", "high"), ("d", "high")] {
        cluster.config_map(name, json!({"half": half})).await;
    }
    let check = async |query: &str, expected: &[&str]| {
        let said = cluster.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert_eq!(names(&said), expected, "{query}");
    };
    check("", &["a", "b", "c", "d"]).await;
    check("labelSelector=half%3Dlow", &["a", "b"]).await;
    check("labelSelector=!half", &[]).await;
    check("fieldSelector=metadata.name%3Db", &["b"]).await;
    check("fieldSelector=metadata.name!%3Db&labelSelector=half%3Dlow", &["a"]).await;
    let first = cluster.get(&format!("{CONFIG_MAPS}?limit=2")).await;
    assert_eq!((names(&first), first.at("/metadata/remainingItemCount")), (vec!["a".into(), "b".into()], json!(2)));
    // What happens between two pages is not seen, with the kept snapshot or without.
    let version = first.at("/metadata/resourceVersion").as_str().unwrap().to_owned();
    cluster.config_map("bb", json!({})).await;
    assert_eq!(cluster.delete(&format!("{CONFIG_MAPS}/d"), Value::Null).await.code, 200);
    let token = first.at("/metadata/continue").as_str().unwrap().to_owned();
    check(&format!("limit=9&continue={token}"), &["c", "d"]).await;
    check("", &["a", "b", "bb", "c"]).await;
    check(&format!("resourceVersion={version}&resourceVersionMatch=Exact"), &["a", "b", "c", "d"]).await;
    let before = version.parse::<u64>().unwrap() - 1;
    check(&format!("resourceVersion={before}&resourceVersionMatch=Exact"), &["a", "b", "c"]).await;
    let unknown = cluster.get(&format!("{CONFIG_MAPS}?fieldSelector=data.x%3D1")).await;
    assert_eq!(
        (unknown.code, unknown.message().as_str()),
        (400, "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    );
    let deleted = cluster.delete(&format!("{CONFIG_MAPS}?labelSelector=half%3Dlow"), Value::Null).await;
    assert_eq!(names(&deleted), ["a", "b"]);
    check("", &["bb", "c"]).await;
}

#[tokio::test]
async fn media_types() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    let check = async |accept: &str, code: u16, content_type: &str, begin: &str| {
        let said = cluster.send("GET", &path, &[("accept", accept)], "").await;
        assert_eq!((said.code, said.content_type.as_str()), (code, content_type), "{accept}");
        assert!(said.body.starts_with(begin.as_bytes()), "{accept}: {}", String::from_utf8_lossy(&said.body));
    };
    check(
        "application/json",
        200,
        "application/json",
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a""#,
    )
    .await;
    check("application/yaml", 200, "application/yaml", "apiVersion: v1\ndata:\n  a: b\nkind: ConfigMap\n").await;
    check("application/vnd.kubernetes.protobuf", 200, "application/vnd.kubernetes.protobuf", "k8s\0").await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    check(table, 200, "application/json", r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","#).await;
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    check(partial, 200, "application/json", r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","#).await;
    check("text/html", 406, "application/json", "{\n  \"kind\": \"Status\"").await;
    // What was sent as YAML or protobuf is the same object.
    let yaml = cluster.send("GET", &path, &[("accept", "application/yaml")], "").await;
    let text = String::from_utf8(yaml.body).unwrap();
    let json = cluster.get(&path).await;
    let put = cluster.send("PUT", &path, &[("content-type", "application/yaml")], text).await;
    assert_eq!(put.body, json.body);
    let protobuf = cluster.send("GET", &path, &[("accept", "application/vnd.kubernetes.protobuf")], "").await;
    let put =
        cluster.send("PUT", &path, &[("content-type", "application/vnd.kubernetes.protobuf")], protobuf.body).await;
    assert_eq!(put.body, json.body);
    let text = cluster.send("POST", CONFIG_MAPS, &[("content-type", "text/plain")], "x").await;
    assert_eq!(text.code, 415);
}

#[tokio::test]
async fn hostile_bodies_store_nothing() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let before = cluster.engine.snapshot().revision();
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
    let check = async |method: &str, content_type: &str, body: Vec<u8>, code: u16| {
        let path = if method == "POST" { CONFIG_MAPS.to_owned() } else { format!("{CONFIG_MAPS}/a") };
        let said = cluster.send(method, &path, &[("content-type", content_type)], body).await;
        assert_eq!(said.code, code, "{method} {content_type}: {}", said.message());
        assert_eq!(cluster.engine.snapshot().revision(), before, "{method} {content_type}");
    };
    let (json, yaml) = ("application/json", "application/yaml");
    check("POST", json, vec![b'x'; 3 * 1024 * 1024 + 1], 413).await;
    check("POST", json, deep("[", "]").into(), 400).await;
    check("POST", json, deep(r#"{"a":"#, "}").into(), 400).await;
    check("POST", yaml, deep("[", "]").into(), 400).await;
    check("POST", yaml, b"a:\n\tb: 1\n".to_vec(), 400).await;
    check("POST", "application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff\xff".to_vec(), 400).await;
    check("PATCH", "application/merge-patch+json", deep(r#"{"a":"#, "}").into(), 400).await;
    check("PATCH", "application/strategic-merge-patch+json", deep(r#"{"a":"#, "}").into(), 400).await;
    check("PATCH", "application/json-patch+json", deep("[", "]").into(), 400).await;
    check("PATCH", "application/json-patch+json", b"[{}]".to_vec(), 422).await;
    let many = format!("[{}{{}}]", "{},".repeat(10_000));
    check("PATCH", "application/json-patch+json", many.into(), 413).await;
    let copies: Vec<Value> = (0..30).map(|at| json!({"op": "copy", "from": "", "path": format!("/x{at}")})).collect();
    check("PATCH", "application/json-patch+json", Value::from(copies).to_string().into(), 422).await;
    check("PATCH", "text/plain", b"{}".to_vec(), 415).await;
}

#[tokio::test]
async fn a_watch_shows_what_enters_and_leaves_its_selection() {
    let cluster = Cluster::new().await;
    let first = cluster.config_map("a", json!({"w": "1"})).await;
    let version = first.at("/metadata/resourceVersion").as_str().unwrap().to_owned();
    cluster.config_map("b", json!({"w": "2"})).await;
    let path = format!("{CONFIG_MAPS}/a");
    assert_eq!(cluster.merge(&path, json!({"metadata": {"labels": {"w": "2"}}})).await.code, 200);
    assert_eq!(cluster.delete(&path, Value::Null).await.code, 200);
    let check = async |query: &str, expected: &[(&str, &str)]| {
        let said = cluster.get(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&{query}")).await;
        assert_eq!(said.code, 200, "{query}: {}", said.message());
        let events: Vec<Value> =
            said.body.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let events: Vec<(&str, &str)> = events
            .iter()
            .map(|event| {
                let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
                (event["type"].as_str().unwrap(), name)
            })
            .collect();
        assert_eq!(events, expected, "{query}");
    };
    tokio::time::pause();
    let all = [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "a")];
    check(&format!("resourceVersion={version}"), &all).await;
    check(&format!("resourceVersion={version}&labelSelector=w%3D1"), &[("DELETED", "a")]).await;
    let two = [("ADDED", "b"), ("ADDED", "a"), ("DELETED", "a")];
    check(&format!("resourceVersion={version}&labelSelector=w%3D2"), &two).await;
    check("", &[("ADDED", "b")]).await;
    let initial = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    check(initial, &[("ADDED", "b"), ("BOOKMARK", "")]).await;
    let too_old = cluster.get(&format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=true")).await;
    assert_eq!(too_old.code, 422);
}

#[tokio::test]
async fn warnings_follow_every_answer() {
    let cluster = Cluster::new().await;
    let said = cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "x"}, "a": 1})).await;
    assert_eq!((said.code, said.warnings), (201, vec![r#"299 - "unknown field \"a\"""#.to_owned()]));
    let said = cluster.post(CONFIG_MAPS, json!({"Metadata": {"name": "x"}})).await;
    assert_eq!((said.code, said.warnings), (422, vec![r#"299 - "unknown field \"Metadata\"""#.to_owned()]));
}

#[tokio::test]
async fn an_event_is_one_object_in_two_versions() {
    let cluster = Cluster::new().await;
    let old = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let body = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "message": "m", "reason": "R"});
    assert_eq!(cluster.post(old, body).await.code, 201);
    let said = cluster.get(&format!("{new}/e")).await;
    assert_eq!((said.at("/note"), said.at("/regarding/name")), (json!("m"), json!("p")));
    let changed = cluster.merge(&format!("{old}/e"), json!({"message": "n"})).await;
    assert_eq!((changed.code, changed.at("/message")), (200, json!("n")));
    assert_eq!(cluster.get(&format!("{new}/e")).await.at("/note"), "n");
    // The newer version lets no event be told anew.
    assert_eq!(cluster.merge(&format!("{new}/e"), json!({"note": "o"})).await.code, 422);
    let selected = cluster.get(&format!("{old}?fieldSelector=involvedObject.name%3Dp")).await;
    assert_eq!(names(&selected), ["e"]);
}

#[tokio::test]
async fn every_stored_kind_has_its_version_behind_its_uid() {
    let registry = crate::registry::Registry::new();
    for served in registry.all().iter().filter(|served| served.is_stored()) {
        let ty = served.schema.ty(served.stored_type);
        let first = ty.fields.iter().find(|field| !matches!(&*field.name, "kind" | "apiVersion")).unwrap();
        assert_eq!((&*first.name, first.ty), ("metadata", TypeRef::Object(served.meta.ty)), "{}", served.resource.name);
        for field in served.schema.ty(served.meta.ty).fields.iter().take_while(|field| &*field.name != "uid") {
            assert_eq!(field.ty, TypeRef::String, "{}", field.name);
        }
    }
}

#[tokio::test]
async fn the_first_objects_are_made_once() {
    let cluster = Cluster::new().await;
    for path in [
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/kube-system",
        "/api/v1/namespaces/kube-public",
        "/api/v1/namespaces/kube-node-lease",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/apis/networking.k8s.io/v1/servicecidrs/kubernetes",
        "/api/v1/namespaces/default/services/kubernetes",
    ] {
        assert_eq!(cluster.get(path).await.code, 200, "{path}");
    }
    let before = cluster.engine.snapshot().revision();
    let env = Arc::new(FixedEnv { micros: AtomicU64::new(0), drawn: AtomicU64::new(9) });
    let again = ApiServer::new(
        Arc::clone(&cluster.engine) as Arc<dyn Engine>,
        Arc::new(Registry::new()),
        Config::default(),
        env,
    );
    again.bootstrap().await.unwrap();
    assert_eq!(cluster.engine.snapshot().revision(), before);
}

#[tokio::test]
async fn paths_beside_resources() {
    let cluster = Cluster::new().await;
    let check = async |path: &str, code: u16, begin: &str| {
        let said = cluster.get(path).await;
        assert_eq!(said.code, code, "{path}");
        assert!(
            String::from_utf8_lossy(&said.body).starts_with(begin),
            "{path}: {}",
            String::from_utf8_lossy(&said.body)
        );
    };
    check("/healthz", 200, "ok").await;
    check("/livez/ping", 200, "ok").await;
    check("/readyz?verbose", 200, "[+]ping ok\n").await;
    check("/livez/nosuch", 404, "404 page not found").await;
    check("/version", 200, "{\n  \"major\": \"1\",\n  \"minor\": \"36\",").await;
    check("/metrics", 200, "# HELP apiserver_").await;
    check("/metrics/slis", 200, "# HELP kubernetes_healthcheck ").await;
    check("/nosuch", 404, "404 page not found").await;
    check("/apis/nosuch/v1/things", 404, "404 page not found").await;
    check("/api", 200, "{\"kind\":\"APIVersions\"").await;
}
