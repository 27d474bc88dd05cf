#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::Method;
use portcullis_fairness::{Digest, Distinguisher, LevelKind, NonResourceRule, Overload, Target};
use portcullis_gate::{Query, RequestInfo};
use portcullis_store::embedded::{Embedded, Options};
use portcullis_store::{Change, Commit, Condition, Operation};
use serde_json::{Value, json};

use super::*;
use crate::{ApiServer, Catalog, Config, SystemEnv};

struct Stage {
    engine: Arc<Embedded>,
    registry: Arc<Registry>,
    server: Arc<ApiServer>,
    stored: StoredFlowControl,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// A store with what clusters begin with.
    async fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let registry = Arc::new(Registry::new());
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let options = Options { catalog, ..Options::new(folder.path().join("store")) };
        let engine = Arc::new(Embedded::open(options).unwrap());
        let shared = || Arc::clone(&engine) as Arc<dyn Engine>;
        let server = ApiServer::new(shared(), Arc::clone(&registry), Config::default(), Arc::new(SystemEnv));
        server.bootstrap().await.unwrap();
        let stored = StoredFlowControl::new(shared(), Arc::clone(&registry));
        Stage { engine, registry, server, stored, _folder: folder }
    }

    fn key(&self, resource: &str, name: &str) -> String {
        self.registry.find(GROUP, "v1", resource).unwrap().key("", name).unwrap()
    }

    async fn change(&self, key: &str, change: Change) {
        let operation = Operation { key: key.into(), condition: Condition::Any, change };
        self.engine.commit(Commit::from(operation)).await.unwrap();
    }

    async fn put(&self, resource: &str, name: &str, object: &Value) {
        self.change(&self.key(resource, name), Change::Put(object.to_string().into_bytes().into())).await;
    }

    async fn delete(&self, resource: &str, name: &str) {
        self.change(&self.key(resource, name), Change::Delete).await;
    }

    fn held(&self, resource: &str, name: &str) -> Value {
        let snapshot = self.engine.snapshot();
        let entry = snapshot.get(&self.key(resource, name));
        entry.map_or(Value::Null, |entry| serde_json::from_slice(&entry.value).unwrap())
    }

    /// The schema, the level and the distinguisher of a request.
    fn flow(&self, user: &str, groups: &[&str], method: &str, path: &str) -> [String; 3] {
        let info = info(method, path);
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let target = match info.resource() {
            Some(info) => Target::Resource {
                group: info.group,
                resource: info.resource,
                subresource: info.subresource,
                namespace: info.namespace,
            },
            None => Target::Path(info.path()),
        };
        let digest = Digest { user, groups: &groups, verb: info.verb(), target };
        let flow = self.stored.classifier().classify(&digest);
        for (resource, name, uid) in
            [(SCHEMAS, &flow.schema.name, &flow.schema.uid), (LEVELS, &flow.level.name, &flow.level.uid)]
        {
            assert_eq!(self.held(resource, name)["metadata"]["uid"], uid.as_str(), "{name}");
        }
        [flow.schema.name.clone(), flow.level.name.clone(), flow.distinguisher]
    }

    /// Waits until something is so; looks after each change of the group.
    async fn until(&self, what: &str, is_so: impl Fn(&Stage) -> bool) {
        let after = self.engine.snapshot().revision();
        let mut changes = self.engine.subscribe("/registry/flowschemas/".into(), after).await.unwrap();
        let mut others = self.engine.subscribe("/registry/prioritylevelconfigurations/".into(), after).await.unwrap();
        let waited = async {
            while !is_so(self) {
                tokio::select! {
                    change = changes.next() => drop(change.unwrap()),
                    change = others.next() => drop(change.unwrap()),
                }
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), waited).await.is_ok(), "{what} did not happen");
    }
}

fn info(method: &str, path: &str) -> RequestInfo {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    RequestInfo::parse(&Method::from_bytes(method.as_bytes()).unwrap(), path, query).unwrap()
}

const AUTHENTICATED: &str = "system:authenticated";
const ACCOUNTS: &str = "system:serviceaccounts";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces";

#[tokio::test]
async fn flows_of_what_clusters_begin_with() {
    let stage = Stage::new().await;
    let check = |who: (&str, &[&str]), request: (&str, &str), expected: [&str; 3]| {
        let (user, groups) = who;
        assert_eq!(stage.flow(user, groups, request.0, request.1), expected, "{user} {request:?}");
    };
    let node: (&str, &[&str]) = ("system:node:n1", &["system:nodes", AUTHENTICATED]);
    let lease = format!("{LEASES}/kube-node-lease/leases/n1");
    check(node, ("PUT", &lease), ["system-node-high", "node-high", node.0]);
    check(node, ("GET", &lease), ["system-node-high", "node-high", node.0]);
    check(node, ("PATCH", "/api/v1/nodes/n1/status"), ["system-node-high", "node-high", node.0]);
    check(node, ("GET", "/api/v1/nodes/n1"), ["system-node-high", "node-high", node.0]);
    check(node, ("GET", "/api/v1/nodes/n1/proxy"), ["system-nodes", "system", node.0]);
    check(node, ("GET", "/api/v1/pods?watch=1"), ["system-nodes", "system", node.0]);
    check(node, ("GET", "/livez"), ["probes", "exempt", ""]);
    check(node, ("GET", "/livez/ping"), ["system-nodes", "system", node.0]);

    let manager: (&str, &[&str]) = ("system:kube-controller-manager", &[AUTHENTICATED]);
    let lease = format!("{LEASES}/kube-system/leases/kube-controller-manager");
    check(manager, ("PUT", &lease), ["system-leader-election", "leader-election", manager.0]);
    check(manager, ("PATCH", &lease), ["kube-controller-manager", "workload-high", "kube-system"]);
    check(manager, ("GET", "/api/v1/pods"), ["kube-controller-manager", "workload-high", ""]);
    check(manager, ("GET", "/version"), ["kube-controller-manager", "workload-high", ""]);
    let scheduler: (&str, &[&str]) = ("system:kube-scheduler", &[AUTHENTICATED]);
    check(scheduler, ("POST", "/api/v1/namespaces/a/pods/p/binding"), ["kube-scheduler", "workload-high", "a"]);

    let system: (&str, &[&str]) =
        ("system:serviceaccount:kube-system:dns", &[ACCOUNTS, "system:serviceaccounts:kube-system", AUTHENTICATED]);
    check(system, ("GET", "/api/v1/services"), ["kube-system-service-accounts", "workload-high", ""]);
    check(system, ("PUT", &lease), ["system-leader-election", "leader-election", system.0]);
    let account: (&str, &[&str]) = ("system:serviceaccount:default:default", &[ACCOUNTS, AUTHENTICATED]);
    check(account, ("GET", "/api/v1/services"), ["service-accounts", "workload-low", account.0]);
    check(account, ("PUT", &lease), ["service-accounts", "workload-low", account.0]);

    let admin: (&str, &[&str]) = ("admin", &["system:masters", AUTHENTICATED]);
    check(admin, ("DELETE", "/api/v1/namespaces/a/pods"), ["exempt", "exempt", ""]);
    check(admin, ("GET", "/livez"), ["exempt", "exempt", ""]);
    let ana: (&str, &[&str]) = ("ana", &[AUTHENTICATED]);
    check(ana, ("GET", "/api/v1/namespaces/a/pods"), ["global-default", "global-default", "ana"]);
    check(ana, ("GET", "/readyz"), ["probes", "exempt", ""]);
    check(ana, ("POST", "/readyz"), ["global-default", "global-default", "ana"]);
    let stranger: (&str, &[&str]) = ("system:anonymous", &["system:unauthenticated"]);
    check(stranger, ("GET", "/healthz"), ["probes", "exempt", ""]);
    check(stranger, ("GET", "/version"), ["global-default", "global-default", "system:anonymous"]);
    check(("nobody", &[]), ("GET", "/version"), ["catch-all", "catch-all", "nobody"]);
}

#[tokio::test]
async fn the_configuration_follows_the_store_and_stays_the_same_otherwise() {
    let stage = Stage::new().await;
    let first = stage.stored.classifier();
    assert_eq!((first.configuration().levels.len(), first.configuration().schemas.len()), (8, 11));
    assert!(Arc::ptr_eq(&first, &stage.stored.classifier()));
    // What is of no interest, and a status.
    stage.change("/registry/configmaps/default/a", Change::Put("{}".into())).await;
    let mut schema = stage.held(SCHEMAS, "probes");
    schema["status"]["conditions"] = json!([]);
    stage.put(SCHEMAS, "probes", &schema).await;
    assert!(Arc::ptr_eq(&first, &stage.stored.classifier()));

    let path = ("GET", "/api/v1/namespaces/a/pods");
    let flow = |stage: &Stage| stage.flow("ana", &[AUTHENTICATED], path.0, path.1)[0].clone();
    schema["metadata"] = json!({"name": "anas", "uid": "u"});
    schema["spec"] = json!({
        "priorityLevelConfiguration": {"name": "system"}, "matchingPrecedence": 3,
        "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "ana"}}],
            "resourceRules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]}],
        }],
    });
    stage.put(SCHEMAS, "anas", &schema).await;
    assert_eq!(flow(&stage), "anas");
    // One that cannot be read matches nothing, and so does one whose level is gone.
    stage.put(SCHEMAS, "anas", &json!({"metadata": {"name": "anas"}, "spec": {"rules": "all"}})).await;
    assert_eq!(flow(&stage), "global-default");
    schema["spec"]["priorityLevelConfiguration"]["name"] = json!("absent");
    stage.put(SCHEMAS, "anas", &schema).await;
    assert_eq!(flow(&stage), "global-default");
    stage.delete(SCHEMAS, "global-default").await;
    assert_eq!(flow(&stage), "catch-all");
    stage.delete(LEVELS, "catch-all").await;
    stage.delete(SCHEMAS, "catch-all").await;
    let flow = stage.stored.classifier();
    let digest = Digest { user: "ana", groups: &[], verb: "get", target: Target::Path("/x") };
    let flow = flow.classify(&digest);
    assert_eq!((flow.schema.name.as_str(), flow.schema.uid.as_str()), ("catch-all", ""));
}

#[test]
fn levels_are_read_with_their_defaults() {
    let check = |spec: Value, expected: Option<(u32, u32, LevelKind)>| {
        let object = json!({"metadata": {"name": "l", "uid": "u"}, "spec": spec}).to_string();
        let read = objects::level(object.as_bytes()).ok();
        let read = read.map(|level| (level.shares, level.lendable_percent, level.kind));
        assert_eq!(read, expected, "{spec}");
    };
    let limited = |borrowing_limit_percent, overload| LevelKind::Limited { borrowing_limit_percent, overload };
    let queue = |queues, hand_size, queue_length| Overload::Queue { queues, hand_size, queue_length };
    check(json!({"type": "Exempt"}), Some((0, 0, LevelKind::Exempt)));
    let exempt = json!({"nominalConcurrencyShares": 4, "lendablePercent": 5});
    check(json!({"type": "Exempt", "exempt": exempt}), Some((4, 5, LevelKind::Exempt)));
    let of = |details: Value| json!({"type": "Limited", "limited": details});
    let reject = json!({"type": "Reject"});
    check(of(json!({"limitResponse": reject})), Some((30, 0, limited(None, Overload::Reject))));
    check(
        of(
            json!({"limitResponse": reject, "nominalConcurrencyShares": 0, "lendablePercent": 7, "borrowingLimitPercent": 8}),
        ),
        Some((0, 7, limited(Some(8), Overload::Reject))),
    );
    check(of(json!({"limitResponse": {"type": "Queue"}})), Some((30, 0, limited(None, queue(64, 8, 50)))));
    let queued = |queuing: Value| of(json!({"limitResponse": {"type": "Queue", "queuing": queuing}}));
    let check_queue = |queuing: Value, expected: Overload| {
        check(queued(queuing), Some((30, 0, limited(None, expected))));
    };
    check_queue(json!({"queues": 16, "handSize": 4, "queueLengthLimit": 9}), queue(16, 4, 9));
    // What is out of its range is taken as what is in it.
    check_queue(json!({"queues": -1, "handSize": 0, "queueLengthLimit": 0}), queue(1, 1, 1));
    check_queue(json!({"queues": 4, "handSize": 9}), queue(4, 4, 50));
    check_queue(json!({"queues": 2_000_000_000, "handSize": 9}), queue(65536, 3, 50));
    check(
        of(json!({"limitResponse": reject, "nominalConcurrencyShares": -5})),
        Some((0, 0, limited(None, Overload::Reject))),
    );
    check(of(json!({})), None);
    check(of(json!({"limitResponse": {"type": "Other"}})), None);
    check(of(json!({"limitResponse": reject, "nominalConcurrencyShares": "many"})), None);
    check(json!({"type": "Other"}), None);
    check(json!(null), None);
    assert!(objects::level(b"no json").is_err());
}

#[test]
fn schemas_are_read_with_their_defaults() {
    let read = |spec: Value| {
        objects::schema(json!({"metadata": {"name": "s", "uid": "u"}, "spec": spec}).to_string().as_bytes())
    };
    let schema = read(json!({"priorityLevelConfiguration": {"name": "l"}})).unwrap();
    assert_eq!((schema.precedence, schema.level.as_str(), schema.distinguisher), (1000, "l", Distinguisher::None));
    let rules = json!([{
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": "*"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/a/*"]}],
    }]);
    let by = |ty: &str| json!({"matchingPrecedence": 7, "distinguisherMethod": {"type": ty}, "rules": rules});
    let schema = read(by("ByNamespace")).unwrap();
    assert_eq!((schema.precedence, schema.distinguisher), (7, Distinguisher::ByNamespace));
    let path = NonResourceRule { verbs: vec!["get".to_owned()], paths: vec!["/a/*".to_owned()] };
    assert_eq!(schema.rules[0].non_resource_rules, [path]);
    assert!(read(by("ByColour")).is_err());
    assert!(read(json!({"rules": [{"subjects": [{"kind": "Role"}]}]})).is_err());
    assert!(read(json!({"rules": 7})).is_err());
}

#[tokio::test]
async fn widths_are_estimated_from_what_is_stored() {
    let stage = Stage::new().await;
    let object = |name: &str, namespace: &str| {
        let data = "x".repeat(10_000);
        format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","uid":"u"}},"data":{{"a":"{data}"}}}}"#)
    };
    for number in 0..90 {
        let namespace = if number < 5 { "few" } else { "many" };
        let key = format!("/registry/configmaps/{namespace}/c{number}");
        stage.change(&key, Change::Put(object(&format!("c{number}"), namespace).into())).await;
    }
    let check = |method: &str, path: &str, seats_max: Option<u32>, expected: (u32, u32)| {
        let info = info(method, path);
        let query = Query::new(path.split_once('?').map_or("", |(_, query)| query));
        let width = stage.stored.width(&Weighed { info: &info, query, seats_max });
        assert_eq!((width.initial, width.r#final), expected, "{method} {path}");
    };
    let (all, many, few) =
        ("/api/v1/configmaps", "/api/v1/namespaces/many/configmaps", "/api/v1/namespaces/few/configmaps");
    check("GET", all, None, (10, 0));
    check("GET", all, Some(4), (4, 0));
    check("GET", many, None, (10, 0));
    check("GET", few, None, (1, 0));
    check("GET", &format!("{many}/c7"), None, (1, 0));
    check("GET", &format!("{all}?limit=20"), None, (3, 0));
    check("GET", &format!("{all}?limit=20&continue=x"), None, (3, 0));
    check("GET", &format!("{all}?limit=20&labelSelector=a"), None, (5, 0));
    check("GET", &format!("{many}?fieldSelector=metadata.name%3Dc7"), None, (1, 0));
    check("GET", &format!("{all}?resourceVersion=0"), None, (10, 0));
    check("GET", &format!("{all}?watch=1"), None, (10, 0));
    check("GET", &format!("{all}?watch=1&resourceVersion=7"), None, (1, 0));
    check("DELETE", many, None, (10, 0));
    check("GET", "/api/v1/secrets", None, (1, 0));
    check("GET", "/api/v1/absents", None, (1, 0));
    check("GET", "/healthz", None, (1, 0));
    check("PUT", &format!("{many}/c7"), None, (1, 0));
    let after = stage.engine.snapshot().revision();
    let mut watching = Vec::new();
    for _ in 0..25 {
        watching.push(stage.engine.subscribe("/registry/configmaps/".into(), after).await.unwrap());
    }
    check("PUT", &format!("{many}/c7"), None, (1, 3));
    check("POST", many, Some(2), (1, 2));
    check("DELETE", &format!("{many}/c7"), None, (1, 3));
    check("GET", &format!("{many}/c7"), None, (1, 0));
    check("POST", "/api/v1/namespaces/many/secrets", None, (1, 0));
    drop(watching);
    check("PUT", &format!("{many}/c7"), None, (1, 0));
}

#[tokio::test]
async fn objects_are_kept_right() {
    let stage = Stage::new().await;
    let server = Arc::clone(&stage.server);
    let keeping = tokio::spawn(async move { server.keep_flow_control().await });
    let reason = |stage: &Stage, schema: &str| {
        let held = stage.held(SCHEMAS, schema);
        held["status"]["conditions"][0]["reason"].as_str().unwrap_or_default().to_owned()
    };
    let mut level = stage.held(LEVELS, "system");
    let mut schema = stage.held(SCHEMAS, "system-nodes");
    for object in [&mut level, &mut schema] {
        object["metadata"]["annotations"] = json!({});
        object["metadata"].as_object_mut().unwrap().remove("managedFields");
        object.as_object_mut().unwrap().remove("status");
    }
    schema["metadata"]["name"] = json!("anas");
    schema["spec"]["priorityLevelConfiguration"]["name"] = json!("anas");
    level["metadata"]["name"] = json!("anas");

    stage.put(SCHEMAS, "anas", &schema).await;
    stage.until("a schema without its level", |stage| reason(stage, "anas") == "NotFound").await;
    stage.put(LEVELS, "anas", &level).await;
    stage.until("a level that comes", |stage| reason(stage, "anas") == "Found").await;
    let managers = stage.held(SCHEMAS, "anas")["metadata"]["managedFields"].clone();
    assert_eq!(managers.as_array().unwrap().len(), 1, "{managers}");
    assert_eq!((&managers[0]["manager"], &managers[0]["subresource"]), (&json!(status::MANAGER), &json!("status")));
    stage.delete(LEVELS, "anas").await;
    stage.until("a level that goes", |stage| reason(stage, "anas") == "NotFound").await;

    stage.delete(LEVELS, "exempt").await;
    stage.delete(SCHEMAS, "catch-all").await;
    stage
        .until("what must be there", |stage| {
            stage.held(LEVELS, "exempt").is_object() && reason(stage, "catch-all") == "Found"
        })
        .await;
    let mut catch_all = stage.held(LEVELS, "catch-all");
    catch_all["spec"] = json!({"type": "Exempt"});
    stage.put(LEVELS, "catch-all", &catch_all).await;
    stage.until("what must be so", |stage| stage.held(LEVELS, "catch-all")["spec"]["type"] == "Limited").await;

    // Nothing is left to do, and it ends with the store.
    let rest = |stage: &Stage| {
        let at = stage.engine.snapshot();
        at.range("/registry/", None).map(|(_, entry)| entry.version).max().unwrap()
    };
    stage.server.put_flow_control_right().await.unwrap();
    let last = rest(&stage);
    stage.server.put_flow_control_right().await.unwrap();
    assert_eq!(rest(&stage), last);
    stage.engine.close().await;
    assert!(tokio::time::timeout(Duration::from_secs(60), keeping).await.is_ok());
}
