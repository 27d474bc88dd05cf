//! What the server puts on the record of a request: objects by level, names, annotations.

use std::sync::Mutex;

use portcullis_audit::{Auditor, Event, Level, Objects, Policy, PolicyDocument, RuleDocument, Sink, Taken};
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::encode_protobuf;

use super::*;
use crate::admission::{Attempt, Operation, Pass};
use crate::registry::Served;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
const JSON: (&str, &str) = ("content-type", "application/json");
const A: &str = "/api/v1/namespaces/default/configmaps/a";

/// Keeps every event.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<Value>>>);

impl Sink for Paper {
    fn name(&self) -> &'static str {
        "paper"
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        let mut line = String::new();
        event.render(Objects::With, &mut line);
        assert!(!line.contains('\n'), "{line}");
        self.0.lock().unwrap().push(serde_json::from_str(&line).unwrap());
        Taken::Now(Ok(()))
    }
}

struct Recorded {
    cluster: Cluster,
    paper: Paper,
}

impl Recorded {
    async fn at(level: Level) -> Recorded {
        Recorded::new(RuleDocument { level: level.as_str().to_owned(), ..RuleDocument::default() }, Vec::new()).await
    }

    async fn new(rule: RuleDocument, plugins: Vec<Box<dyn Plugin>>) -> Recorded {
        let policy = PolicyDocument { rules: vec![rule], ..PolicyDocument::default() }.validate().unwrap().guarded();
        Recorded::with(policy, Config::default(), plugins).await
    }

    async fn with(policy: Policy, config: Config, plugins: Vec<Box<dyn Plugin>>) -> Recorded {
        let paper = Paper::default();
        let auditor = Auditor::new(policy, vec![Box::new(paper.clone())]);
        let guards = Guards { auditor, ..Guards::default() };
        Recorded { cluster: Cluster::guarded(config, guards, Some(plugins)).await, paper }
    }

    /// The answer to a request, and the last event that it left.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<bytes::Bytes>,
    ) -> (Said, Value) {
        let said = self.cluster.send(method, path, headers, body).await;
        let event = self.paper.0.lock().unwrap().drain(..).next_back().unwrap_or_default();
        (said, event)
    }

    async fn post(&self, path: &str, body: Value) -> (Said, Value) {
        self.send("POST", path, &[JSON], body.to_string()).await
    }
}

fn config_map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"x": "1"}})
}

/// A body in protobuf.
fn protobuf(object: &Value) -> Vec<u8> {
    let schema = portcullis_kinds::schema();
    let mut object = object.clone();
    let head = |object: &mut Value, name: &str| object.as_object_mut().unwrap().remove(name).unwrap();
    let (version, kind) = (head(&mut object, "apiVersion"), head(&mut object, "kind"));
    let (version, kind) = (version.as_str().unwrap(), kind.as_str().unwrap());
    let ty = schema.by_kind(version, kind).unwrap();
    let tree = decode_json::decode(schema, ty, object.to_string().into_bytes(), FieldValidation::Strict).unwrap().tree;
    encode_protobuf::envelope(version, kind, &encode_protobuf::encode(schema, &tree))
}

#[tokio::test]
async fn objects_are_recorded_as_far_as_the_level_says() {
    let check = async |level: Level, expected: (bool, bool)| {
        let recorded = Recorded::at(level).await;
        let (said, event) = recorded.post(CONFIG_MAPS, config_map("a")).await;
        assert_eq!(said.code, 201);
        let has = |name: &str| event.get(name).is_some();
        assert_eq!((has("requestObject"), has("responseObject")), expected, "{event}");
        let is_named = event.pointer("/objectRef/name") == Some(&json!("a"));
        assert_eq!(is_named, level != Level::None, "{event}");
    };
    check(Level::None, (false, false)).await;
    check(Level::Metadata, (false, false)).await;
    check(Level::Request, (true, false)).await;
    check(Level::RequestResponse, (true, true)).await;
}

#[tokio::test]
async fn bodies_are_recorded_as_they_were_understood() {
    let recorded = Recorded::at(Level::RequestResponse).await;
    let check = async |content_type: &str, body: Vec<u8>, expected: Value| {
        let path = format!("{CONFIG_MAPS}?dryRun=All");
        let (said, event) = recorded.send("POST", &path, &[("content-type", content_type)], body).await;
        assert_eq!((said.code, &event["requestObject"]), (201, &expected), "{}", said.message());
        assert_eq!(event["responseObject"], said.json());
    };
    let a = config_map("a");
    check(JSON.1, a.to_string().into(), a.clone()).await;
    check(JSON.1, serde_json::to_vec_pretty(&a).unwrap(), a.clone()).await;
    check(PROTOBUF, protobuf(&a), a.clone()).await;
    let yaml = b"metadata:\n  name: a\ndata:\n  x: \"1\"\n".to_vec();
    check("application/yaml", yaml, a.clone()).await;
    // Neither half of a type head is the client's to leave out of the record.
    check(JSON.1, br#"{"kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1"}}"#.to_vec(), a.clone()).await;
    check(JSON.1, br#"{"apiVersion":"v1","metadata":{"name":"a"},"data":{"x":"1"}}"#.to_vec(), a.clone()).await;
    // What the server does not know, or reads another way than the next reader, is not on record.
    let twice = br#"{"metadata":{"name":"b"},"metadata":{"name":"a"},"data":{"x":"1"},"other":1}"#.to_vec();
    check(JSON.1, twice, a).await;
    // What is no object is not.
    let (said, event) = recorded.send("POST", CONFIG_MAPS, &[JSON], "{\"metadata\":").await;
    assert_eq!((said.code, event.get("requestObject")), (400, None));
    assert_eq!(event["responseObject"], said.json());
    assert_eq!(event["responseStatus"]["message"], said.at("/message"));
}

#[tokio::test]
async fn each_verb_has_its_objects() {
    let recorded = Recorded::at(Level::RequestResponse).await;
    let check = async |method: &str, path: &str, headers: &[(&str, &str)], body: Value, code: u16| {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (said, event) = recorded.send(method, path, headers, text).await;
        assert_eq!(said.code, code, "{method} {path}: {}", said.message());
        assert_eq!(event.get("requestObject").cloned().unwrap_or_default(), body, "{method} {path}");
        assert_eq!(event["responseObject"], said.json(), "{method} {path}");
        assert_eq!(event["responseStatus"]["code"], code);
        event
    };
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    let none = Value::Null;
    check("POST", CONFIG_MAPS, &[JSON], config_map("a"), 201).await;
    let conflict = check("POST", CONFIG_MAPS, &[JSON], config_map("a"), 409).await;
    assert_eq!(conflict["responseStatus"]["reason"], "AlreadyExists");
    check("GET", A, &[], none.clone(), 200).await;
    check("GET", A, &[("accept", TABLE)], none.clone(), 200).await;
    check("GET", A, &[("accept", PARTIAL)], none.clone(), 200).await;
    check("GET", CONFIG_MAPS, &[], none.clone(), 200).await;
    check("GET", CONFIG_MAPS, &[("accept", TABLE)], none.clone(), 200).await;
    check("GET", &format!("{CONFIG_MAPS}?limit=1"), &[], none.clone(), 200).await;
    check("GET", &format!("{CONFIG_MAPS}/nosuch"), &[], none.clone(), 404).await;
    check("PUT", A, &[JSON], config_map("a"), 200).await;
    let merge = [("content-type", "application/merge-patch+json")];
    check("PATCH", A, &merge, json!({"data": {"y": "2"}}), 200).await;
    let operations = json!([{"op": "remove", "path": "/data/y"}]);
    check("PATCH", A, &[("content-type", "application/json-patch+json")], operations, 200).await;
    check("DELETE", A, &[JSON], options.clone(), 200).await;
    check("DELETE", A, &[], none.clone(), 404).await;
    check("POST", CONFIG_MAPS, &[JSON], config_map("a"), 201).await;
    check("DELETE", CONFIG_MAPS, &[JSON], options, 200).await;
    check("POST", "/api/v1/namespaces/default/nosuch", &[JSON], none.clone(), 404).await;
    check("DELETE", "/api/v1/configmaps", &[], none, 405).await;
}

#[tokio::test]
async fn what_is_applied_as_yaml_is_recorded_as_json() {
    let recorded = Recorded::at(Level::Request).await;
    let body = "# a\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: \"1\"}\n";
    let path = format!("{A}?fieldManager=sailor");
    let apply = [("content-type", "application/apply-patch+yaml")];
    let (said, event) = recorded.send("PATCH", &path, &apply, body).await;
    assert_eq!(said.code, 201, "{}", said.message());
    let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}});
    assert_eq!(event["requestObject"], expected);
}

#[tokio::test]
async fn answers_are_recorded_as_json_whatever_the_client_takes() {
    let recorded = Recorded::at(Level::RequestResponse).await;
    recorded.post(CONFIG_MAPS, config_map("a")).await;
    for path in [A, CONFIG_MAPS] {
        let (plain, _) = recorded.send("GET", path, &[], "").await;
        for accept in [PROTOBUF, "application/yaml"] {
            let (said, event) = recorded.send("GET", path, &[("accept", accept)], "").await;
            assert_eq!(said.content_type, accept);
            assert_eq!(event["responseObject"], plain.json(), "{path} {accept}");
        }
        let (_, event) = recorded.send("GET", &format!("{path}?pretty=true"), &[], "").await;
        assert_eq!(event["responseObject"], plain.json(), "{path}");
    }
}

#[tokio::test]
async fn subresources_and_reviews_have_their_own_objects() {
    let recorded = Recorded::at(Level::RequestResponse).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template":
        {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
    recorded.post(deployments, json!({"metadata": {"name": "d"}, "spec": spec})).await;
    let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": "d", "namespace": "default"}, "spec": {"replicas": 3}});
    let (said, event) = recorded.send("PUT", &format!("{deployments}/d/scale"), &[JSON], scale.to_string()).await;
    assert_eq!((said.code, &event["responseObject"]), (200, &said.json()), "{}", said.message());
    assert_eq!((&event["requestObject"]["kind"], &event["requestObject"]["spec"]), (&json!("Scale"), &scale["spec"]));
    assert_eq!(event["objectRef"]["subresource"], "scale");
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}});
    let (said, event) = recorded.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review.clone()).await;
    assert_eq!((&event["requestObject"]["spec"], &event["responseObject"]), (&review["spec"], &said.json()));
}

#[tokio::test]
async fn watches_have_no_objects() {
    let recorded = Recorded::at(Level::RequestResponse).await;
    let request = Request::get(format!("{CONFIG_MAPS}?watch=true")).body(RequestBody::from_bytes("")).unwrap();
    let response = recorded.cluster.gate.handle(&recorded.cluster.admin, request).await;
    assert_eq!(response.status(), 200);
    drop(response);
    let events = recorded.paper.0.lock().unwrap();
    assert!(!events.is_empty());
    assert!(events.iter().all(|event| event.get("responseObject").is_none()), "{events:?}");
}

#[tokio::test]
async fn the_object_says_what_the_path_does_not() {
    let recorded = Recorded::at(Level::Metadata).await;
    let check = async |method: &str, path: &str, body: Value, expected: Value| {
        let (said, event) = recorded.send(method, path, &[JSON], body.to_string()).await;
        let reference = ["namespace", "name", "uid", "resourceVersion"].map(|name| event["objectRef"][name].clone());
        assert_eq!(json!(reference), expected, "{method} {path}: {}", said.message());
        said
    };
    let created = check("POST", CONFIG_MAPS, config_map("a"), json!(["default", "a", null, null])).await;
    let (uid, version) = (created.at("/metadata/uid"), created.at("/metadata/resourceVersion"));
    let mut given = config_map("a");
    given["metadata"]["uid"] = uid.clone();
    given["metadata"]["resourceVersion"] = version.clone();
    check("PUT", A, given, json!(["default", "a", uid, version])).await;
    // The path decides which object it is.
    check("PUT", A, config_map("b"), json!(["default", "a", null, null])).await;
    let namespace = json!({"metadata": {"name": "n"}});
    let (_, event) = recorded.post("/api/v1/namespaces", namespace).await;
    assert_eq!(event["objectRef"]["name"], "n");
    let (said, event) = recorded.post(CONFIG_MAPS, json!({"metadata": {"generateName": "g-"}})).await;
    assert_eq!((said.code, &event["objectRef"]["name"]), (201, &said.at("/metadata/name")));
    // Nothing has that name.
    let refused = json!({"metadata": {"generateName": "g-", "labels": {"a": " "}}});
    check("POST", CONFIG_MAPS, refused, json!(["default", null, null, null])).await;
}

#[tokio::test]
async fn managed_fields_can_be_left_out() {
    let check = async |omits: bool| {
        let level = Level::RequestResponse.as_str().to_owned();
        let rule = RuleDocument { level, omit_managed_fields: Some(omits), ..RuleDocument::default() };
        let recorded = Recorded::new(rule, Vec::new()).await;
        let shows = async |method: &str, path: &str, accept: &str, body: Value| {
            let text = if body.is_null() { String::new() } else { body.to_string() };
            let (said, event) = recorded.send(method, path, &[JSON, ("accept", accept)], text).await;
            assert!(said.code < 300, "{}", said.message());
            assert!(String::from_utf8_lossy(&said.body).contains("managedFields"), "{path} {accept}");
            event.to_string().contains("managedFields")
        };
        let (json, none) = ("application/json", Value::Null);
        assert_eq!(shows("POST", CONFIG_MAPS, json, config_map("a")).await, !omits);
        let mut sent = recorded.cluster.get(A).await.json();
        sent["data"]["x"] = "2".into();
        assert_eq!(shows("PUT", A, json, sent).await, !omits);
        for path in [A, CONFIG_MAPS] {
            for accept in [json, TABLE, PARTIAL] {
                let accept = if path == CONFIG_MAPS { &accept.replace("Metadata;", "MetadataList;") } else { accept };
                assert_eq!(shows("GET", path, accept, none.clone()).await, !omits, "{path} {accept}");
            }
        }
    };
    check(false).await;
    check(true).await;
}

#[tokio::test]
async fn a_list_that_is_too_long_is_left_out_and_says_so() {
    let recorded = Recorded::at(Level::RequestResponse).await;
    for name in ["a", "b", "c"] {
        let body = json!({"metadata": {"name": name}, "data": {"x": "y".repeat(400_000)}});
        assert_eq!(recorded.post(CONFIG_MAPS, body).await.0.code, 201);
    }
    let check = async |query: &str, expected: bool| {
        let (said, event) = recorded.send("GET", &format!("{CONFIG_MAPS}{query}"), &[], "").await;
        assert_eq!(said.code, 200);
        assert_eq!(event.get("responseObject").is_some(), expected, "{query}");
        let annotation = &event["annotations"]["audit.portcullis.io/response-left-out"];
        let expected = if expected { Value::Null } else { json!("the list has more than 1048576 bytes") };
        assert_eq!(annotation, &expected, "{query}");
    };
    check("?limit=2", true).await;
    check("", false).await;
}

/// Remarks on config maps.
struct Remark;

impl Plugin for Remark {
    fn name(&self) -> &'static str {
        "Remark"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.is("", "configmaps") && operation == Operation::Create
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        attempt.annotate("remark.example.com/seen", format!("as {}", attempt.name));
        attempt.warn("look at it again");
        attempt.warn("look at it again");
        Pass::on()
    }
}

#[tokio::test]
async fn admission_may_annotate_and_warn() {
    let level = Level::Metadata.as_str().to_owned();
    let rule = RuleDocument { level, ..RuleDocument::default() };
    let recorded = Recorded::new(rule, vec![Box::new(Remark)]).await;
    let (said, event) = recorded.post(CONFIG_MAPS, config_map("a")).await;
    assert_eq!(said.warnings, [r#"299 - "look at it again""#]);
    assert_eq!(event["annotations"]["remark.example.com/seen"], "as a");
}

#[tokio::test]
async fn what_should_not_be_used_any_more_is_marked() {
    let recorded = Recorded::at(Level::Metadata).await;
    let check = async |path: &str, expected: Value| {
        let (_, event) = recorded.send("GET", path, &[], "").await;
        assert_eq!(event["annotations"].get("k8s.io/deprecated").cloned().unwrap_or_default(), expected, "{path}");
    };
    check("/api/v1/componentstatuses", json!("true")).await;
    check("/api/v1/namespaces/default/endpoints", json!("true")).await;
    check(CONFIG_MAPS, Value::Null).await;
}

#[tokio::test]
async fn tokens_are_recorded_by_their_id_and_never_themselves() {
    let config = Config { service_accounts: Some(super::tokens::accounts()), ..Config::default() };
    let rule = RuleDocument { level: Level::RequestResponse.as_str().to_owned(), ..RuleDocument::default() };
    let policy = PolicyDocument { rules: vec![rule], ..PolicyDocument::default() }.validate().unwrap().guarded();
    let recorded = Recorded::with(policy, config, Vec::new()).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    recorded.post(accounts, json!({"metadata": {"name": "robot"}})).await;
    let (said, event) = recorded.post(&format!("{accounts}/robot/token"), json!({})).await;
    let token = said.at("/status/token");
    let (token, line) = (token.as_str().unwrap(), event.to_string());
    assert_eq!(said.code, 201, "{}", said.message());
    assert!(!line.contains(token) && event.get("responseObject").is_none(), "{line}");
    let id = event["annotations"]["authentication.kubernetes.io/issued-credential-id"].as_str().unwrap();
    assert!(id.starts_with("JTI=") && id.len() == "JTI=".len() + 36, "{id}");
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "canary-in-the-mine"}});
    let (said, event) = recorded.post("/api/v1/namespaces/default/secrets", secret).await;
    assert_eq!((said.code, event["objectRef"]["name"].as_str()), (201, Some("s")));
    assert!(!event.to_string().contains("canary-in-the-mine"));
}
