//! Every resource that is served in every encoding, both ways: what is sent as JSON, YAML or protobuf is stored the same, and what is
//! stored is read the same. A resource without an object to send fails here, so a new one is asked about.

use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_kinds::Resource;
use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{Schema, TypeId, decode_protobuf, encode_json, encode_protobuf};
use portcullis_model::yaml;

use super::*;

/// The objects that the rules of kinds are tested with.
#[path = "../../../kinds/src/properties/samples.rs"]
mod samples;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const ENCODINGS: [&str; 3] = [JSON, YAML, PROTOBUF];

/// Objects of kinds whose rules are tested elsewhere.
const MORE_SAMPLES: &[(&str, &str, &str)] = &[(
    "certificates.k8s.io",
    "certificatesigningrequests",
    r#"{"metadata": {"name": "ex", "annotations": {"é": "ü"}}, "spec": {"signerName": "example.com/boats",
"request": "REQUEST", "usages": ["digital signature"], "expirationSeconds": 3600}}"#,
)];

/// Where objects go that live in a namespace.
const NAMESPACE: &str = "harbor";

fn schema() -> &'static Schema {
    portcullis_kinds::schema()
}

/// An object as its type writes it, with what stands for the type in front.
fn with_head(api_version: &str, kind: &str, tree: &portcullis_model::tree::Tree) -> Value {
    let mut value: Value = serde_json::from_slice(&encode_json::to_vec(schema(), tree)).unwrap();
    value["apiVersion"] = json!(api_version);
    value["kind"] = json!(kind);
    value
}

fn decoded_protobuf(bytes: &[u8]) -> Value {
    let envelope = decode_protobuf::Envelope::read(bytes).unwrap();
    let of_meta = || schema().by_name(&format!("apimachinery.pkg.apis.meta.v1.{}", envelope.kind));
    let ty = schema().by_kind(envelope.api_version, envelope.kind).or_else(of_meta);
    let ty = ty.unwrap_or_else(|| panic!("{}/{} is no type", envelope.api_version, envelope.kind));
    let tree = decode_protobuf::decode(schema(), ty, envelope.raw).unwrap();
    with_head(envelope.api_version, envelope.kind, &tree)
}

/// What an answer says, whatever it is written in.
fn value(said: &Said) -> Value {
    headless(match said.content_type.as_str() {
        JSON => serde_json::from_slice(&said.body).unwrap(),
        YAML => serde_json::from_slice(&yaml::to_json(&said.body).unwrap().json).unwrap(),
        PROTOBUF => decoded_protobuf(&said.body),
        other => panic!("{other} was not asked for"),
    })
}

/// A JSON text of an object in another encoding.
fn encoded(ty: TypeId, api_version: &str, kind: &str, object: &Value, encoding: &str) -> Vec<u8> {
    let json = object.to_string().into_bytes();
    match encoding {
        JSON => json,
        YAML => yaml::from_json(&json).unwrap().into_bytes(),
        _ => {
            let tree = decode_json::decode(schema(), ty, json, FieldValidation::Ignore).unwrap().tree;
            encode_protobuf::envelope(api_version, kind, &encode_protobuf::encode(schema(), &tree))
        }
    }
}

/// Without what items and claims say of their type, which protobuf has no place for.
fn headless(mut object: Value) -> Value {
    let claims = "/spec/volumeClaimTemplates";
    for part in object.pointer_mut("/items").and_then(Value::as_array_mut).into_iter().flatten() {
        *part = headless(part.take());
        part.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
    }
    for part in object.pointer_mut(claims).and_then(Value::as_array_mut).into_iter().flatten() {
        part.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "kind" | "apiVersion"));
    }
    object
}

/// What differs between two objects that were made of the same body is left out: who they are, when they came, and what they were given.
fn nameless(mut object: Value) -> Value {
    let drawn: [(&str, &[&str]); 2] =
        [("/metadata", &["uid", "resourceVersion", "managedFields"]), ("/spec", &["clusterIP", "clusterIPs"])];
    for (pointer, names) in drawn {
        if let Some(members) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
            names.iter().for_each(|name| _ = members.remove(*name));
        }
    }
    if object["kind"] == "Service" {
        for port in object.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().unwrap().remove("nodePort");
        }
    }
    object
}

/// An object that can be sent for a resource.
fn sample(resource: &Resource) -> Value {
    let found = samples::ALL.iter().chain(MORE_SAMPLES);
    let (.., text) = found
        .into_iter()
        .find(|(group, name, _)| (*group, *name) == (resource.group, resource.name))
        .unwrap_or_else(|| panic!("no sample of {}/{}", resource.api_version, resource.name));
    let mut object: Value = serde_json::from_str(text).unwrap();
    object["apiVersion"] = json!(resource.api_version);
    object["kind"] = json!(resource.kind);
    if resource.namespaced {
        object["metadata"]["namespace"] = json!(NAMESPACE);
    }
    if resource.name == "services" {
        // The cluster of the tests has addresses of one family.
        object["spec"]
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !name.starts_with("ipFamil") && !name.starts_with("clusterIP"));
    }
    if resource.kind == "CertificateSigningRequest" {
        let der = super::nodes::REQUEST_OF_N1;
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{der}\n-----END CERTIFICATE REQUEST-----\n");
        object["spec"]["request"] = json!(STANDARD.encode(pem));
    }
    if resource.group == "events.k8s.io" {
        // The events of the core group are the same objects.
        object["metadata"]["name"] = json!("ex-new");
    }
    object
}

fn collection(resource: &Resource) -> String {
    let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
    let namespace = if resource.namespaced { format!("/namespaces/{NAMESPACE}") } else { String::new() };
    format!("{root}/{}{namespace}/{}", resource.version, resource.name)
}

impl Cluster {
    /// A cluster that no plugin changes objects in, with the namespace that they go to.
    async fn of_wire() -> Cluster {
        let cluster = Cluster::with(Config::default(), Vec::new(), Some(Vec::new())).await;
        cluster.post("/api/v1/namespaces", json!({"metadata": {"name": NAMESPACE}})).await;
        cluster
    }

    async fn asked(&self, path: &str, accept: &str) -> Said {
        self.send("GET", path, &[("accept", accept)], "").await
    }

    async fn said(&self, method: &str, path: &str, encoding: &str, body: Vec<u8>) -> Said {
        self.send(method, path, &[("content-type", encoding), ("accept", encoding)], body).await
    }

    /// Reads a path in every encoding and gives what all of them say.
    async fn same_in_all(&self, path: &str, parameters: &str) -> Value {
        let first = self.asked(path, &format!("{JSON}{parameters}")).await;
        assert_eq!(first.code, 200, "{path}{parameters} {}", first.message());
        let expected = value(&first);
        for encoding in ENCODINGS {
            let said = self.asked(path, &format!("{encoding}{parameters}")).await;
            assert_eq!((said.code, said.content_type.as_str()), (200, encoding), "{path}{parameters}");
            assert_eq!(value(&said), expected, "{path} {encoding}{parameters}");
        }
        expected
    }

    /// Removes an object at once, with options in an encoding.
    async fn removed(&self, path: &str, encoding: &str) -> Said {
        let ty = schema().by_name("apimachinery.pkg.apis.meta.v1.DeleteOptions").unwrap();
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
            "propagationPolicy": "Background"});
        let said = self.said("DELETE", path, encoding, encoded(ty, "v1", "DeleteOptions", &options, encoding)).await;
        assert_eq!((said.code, said.content_type.as_str()), (200, encoding), "{path} {}", said.message());
        said
    }
}

/// The first event of a watch, as it is framed.
async fn first_event(cluster: &Cluster, path: &str, accept: &str) -> (String, Vec<u8>) {
    let request = Request::builder().uri(format!("{path}?watch=1&resourceVersion=0")).header("accept", accept);
    let response = cluster.gate.handle(&cluster.admin, request.body(RequestBody::from_bytes("")).unwrap()).await;
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(response.status(), 200, "{path} {accept}");
    let frame = response.into_body().frame().await.unwrap().unwrap();
    (content_type, frame.into_data().unwrap().to_vec())
}

/// The object of the first event. In protobuf it is an envelope at the end of a frame that says its length.
async fn watched(cluster: &Cluster, path: &str, encoding: &str, parameters: &str) -> Value {
    let (content_type, frame) = first_event(cluster, path, &format!("{encoding}{parameters}")).await;
    if encoding == JSON {
        assert_eq!(content_type, JSON);
        let line = frame.split(|byte| *byte == b'\n').next().unwrap();
        return headless(serde_json::from_slice::<Value>(line).unwrap()["object"].take());
    }
    assert_eq!(content_type, "application/vnd.kubernetes.protobuf;stream=watch");
    let length = u32::from_be_bytes(*frame.first_chunk().unwrap()) as usize;
    let event = &frame[4..4 + length];
    let object = event.windows(4).position(|window| window == b"k8s\0").unwrap();
    decoded_protobuf(&event[object..])
}

/// Everything that can be read of a resource with one object in it.
async fn read_in_all(cluster: &Cluster, resource: &Resource, object: &str) {
    let collection = collection(resource);
    let held = cluster.same_in_all(object, "").await;
    let metadata = ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let partial = cluster.same_in_all(object, metadata).await;
    assert_eq!(partial["metadata"], held["metadata"], "{object}");
    let list = cluster.same_in_all(&collection, "").await;
    let of_name = |item: &&Value| item["metadata"]["name"] == held["metadata"]["name"];
    let item = list["items"].as_array().unwrap().iter().find(of_name).unwrap();
    assert_eq!(nameless(item.clone())["metadata"], nameless(held.clone())["metadata"], "{collection}");
    cluster.same_in_all(&collection, ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await;
    for path in [object, &collection] {
        let table = ";as=Table;g=meta.k8s.io;v=v1";
        let rows = cluster.asked(path, &format!("{JSON}{table}")).await;
        assert_eq!((rows.code, rows.at("/kind")), (200, json!("Table")), "{path}");
        assert_eq!(value(&cluster.asked(path, &format!("{YAML}{table}")).await), value(&rows), "{path}");
        assert_eq!(cluster.asked(path, &format!("{PROTOBUF}{table}")).await.code, 406, "{path}");
    }
    if resource.has_verb("watch") {
        for parameters in ["", metadata] {
            let expected = watched(cluster, &collection, JSON, parameters).await;
            assert_eq!(watched(cluster, &collection, PROTOBUF, parameters).await, expected, "{collection}{parameters}");
        }
        let refused = cluster.asked(&format!("{collection}?watch=1"), YAML).await;
        assert_eq!(refused.code, 406, "{collection}");
    }
}

/// The doors of an object that take it, or its scale, as it is read there.
async fn written_in_all(cluster: &Cluster, resource: &Resource, object: &str) {
    for door in ["", "status", "scale", "approval", "finalize", "ephemeralcontainers", "resize"] {
        let verbs = match door {
            "" => Some(&resource.verbs),
            door => resource.subresource(door).map(|subresource| &subresource.verbs),
        };
        let Some(verbs) = verbs.filter(|verbs| verbs.contains(&"update")) else { continue };
        let path = if door.is_empty() { object.to_owned() } else { format!("{object}/{door}") };
        let mut held = match verbs.contains(&"get") {
            true => cluster.same_in_all(&path, "").await,
            false => cluster.same_in_all(object, "").await,
        };
        if door == "scale" {
            // The first one makes its manager the owner of the replicas.
            held["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        }
        let (kind, api_version) = (held["kind"].as_str().unwrap(), held["apiVersion"].as_str().unwrap());
        let ty = schema().by_kind(api_version, kind).unwrap();
        for encoding in ENCODINGS {
            let said = cluster.said("PUT", &path, encoding, encoded(ty, api_version, kind, &held, encoding)).await;
            let told = value(&said);
            assert_eq!((said.code, said.content_type.as_str()), (200, encoding), "{path} {told}");
            assert_eq!(nameless(told), nameless(held.clone()), "{path} {encoding}");
        }
    }
}

/// Creates an object three times, reads it, and leaves the last one. Namespaces do not go at once, so they have names of their own.
async fn created_in_all(cluster: &Cluster, resource: &Resource, mut body: Value) -> String {
    let collection = collection(resource);
    let mut expected = None;
    let mut object = String::new();
    for (encoding, number) in ENCODINGS.into_iter().zip(0..) {
        if resource.name == "namespaces" {
            body["metadata"]["name"] = json!(format!("ex-{number}"));
        } else if number > 0 {
            cluster.removed(&object, encoding).await;
            assert_eq!(cluster.get(&object).await.code, 404, "{object}");
        }
        let name = body["metadata"]["name"].as_str().unwrap();
        object = format!("{collection}/{name}");
        let bytes = encoded(resource.type_id, &resource.api_version, resource.kind, &body, encoding);
        let said = cluster.said("POST", &collection, encoding, bytes).await;
        let created = value(&said);
        assert_eq!((said.code, said.content_type.as_str()), (201, encoding), "{collection} {created}");
        assert_eq!(value(&cluster.asked(&object, encoding).await), created, "{object} {encoding}");
        // Some are told their uid in other places, too.
        let uid = created["metadata"]["uid"].as_str().unwrap().to_owned();
        let created = nameless(created).to_string().replace(name, "ex").replace(&uid, "its uid");
        assert_eq!(*expected.get_or_insert(created.clone()), created, "{object} {encoding}");
    }
    object
}

#[tokio::test]
async fn what_is_not_stored_is_answered_in_every_encoding() {
    let cluster = Cluster::of_wire().await;
    let pods = "/api/v1/namespaces/harbor/pods";
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    for name in ["e-0", "e-1", "e-2", "b-0", "b-1", "b-2", "c-0", "c-1", "c-2"] {
        assert_eq!(cluster.post(pods, pod(name)).await.code, 201);
    }
    cluster.post("/api/v1/namespaces/harbor/serviceaccounts", json!({"metadata": {"name": "sailor"}})).await;
    let (authentication, authorization) = ("/apis/authentication.k8s.io/v1", "/apis/authorization.k8s.io/v1");
    let asks = json!({"user": "ana", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "harbor"}});
    let asks_self = json!({"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "harbor"}});
    let target = json!({"kind": "Node", "name": "n"});
    let check = async |path: &str, api_version: &str, kind: &str, body: Value| {
        let ty = schema().by_kind(api_version, kind).unwrap();
        let mut expected = None;
        for (encoding, number) in ENCODINGS.into_iter().zip(0..) {
            let path = path.replace('#', &number.to_string());
            let mut body: Value = serde_json::from_str(&body.to_string().replace('#', &number.to_string())).unwrap();
            (body["apiVersion"], body["kind"]) = (json!(api_version), json!(kind));
            let said = cluster.said("POST", &path, encoding, encoded(ty, api_version, kind, &body, encoding)).await;
            let told = value(&said);
            assert_eq!((said.code, said.content_type.as_str()), (201, encoding), "{path} {told}");
            let told = nameless(told);
            assert_eq!(*expected.get_or_insert(told.clone()), told, "{path} {encoding}");
        }
    };
    let token = json!({"spec": {"token": "nobody's"}});
    check(&format!("{authentication}/tokenreviews"), "authentication.k8s.io/v1", "TokenReview", token).await;
    check(&format!("{authentication}/selfsubjectreviews"), "authentication.k8s.io/v1", "SelfSubjectReview", json!({}))
        .await;
    let version = "authorization.k8s.io/v1";
    let of = |name: &str| format!("{authorization}/{name}");
    let subject = json!({"spec": asks});
    check(&of("subjectaccessreviews"), version, "SubjectAccessReview", subject.clone()).await;
    let local = of("namespaces/harbor/localsubjectaccessreviews");
    check(&local, version, "LocalSubjectAccessReview", subject).await;
    check(&of("selfsubjectaccessreviews"), version, "SelfSubjectAccessReview", json!({"spec": asks_self})).await;
    let rules = json!({"spec": {"namespace": "harbor"}});
    check(&of("selfsubjectrulesreviews"), version, "SelfSubjectRulesReview", rules).await;
    let bound = json!({"metadata": {"name": "b-#"}, "target": target});
    check(&format!("{pods}/b-#/binding"), "v1", "Binding", bound).await;
    let bound = json!({"metadata": {"name": "c-#"}, "target": target});
    check("/api/v1/namespaces/harbor/bindings", "v1", "Binding", bound).await;
    let evicted = json!({"metadata": {"name": "e-#"}, "deleteOptions": {"gracePeriodSeconds": 0}});
    check(&format!("{pods}/e-#/eviction"), "policy/v1", "Eviction", evicted).await;
    for name in ["e-0", "e-1", "e-2"] {
        assert_eq!(cluster.get(&format!("{pods}/{name}")).await.code, 404, "{name}");
    }
}

#[tokio::test]
async fn an_answer_is_shown_as_asked_or_not_at_all() {
    let cluster = Cluster::of_wire().await;
    let path = "/apis/apps/v1/namespaces/harbor/replicasets";
    let resource = portcullis_kinds::resources().all().iter().find(|held| held.name == "replicasets").unwrap();
    assert_eq!(cluster.post(path, sample(resource)).await.code, 201);
    let check = async |path: &str, accept: &str, code: u16, pointer: &str, expected: Value| {
        let said = cluster.asked(path, accept).await;
        assert_eq!((said.code, said.at(pointer)), (code, expected), "{path} {accept} {}", said.json());
    };
    let shown = |kind: &str| format!("{JSON};as={kind};g=meta.k8s.io;v=v1");
    let (partial, list, table) = (shown("PartialObjectMetadata"), shown("PartialObjectMetadataList"), shown("Table"));
    let object = format!("{path}/ex");
    let scale = format!("{object}/scale");
    let no_list = "you requested PartialObjectMetadataList, but the requested object is not a list (*apps.ReplicaSet)";
    let no_object = "you requested PartialObjectMetadata, but the requested object is a list (*apps.ReplicaSetList)";
    check(&object, &list, 406, "/message", json!(no_list)).await;
    check(path, &partial, 406, "/message", json!(no_object)).await;
    check(&scale, &partial, 200, "/metadata/name", json!("ex")).await;
    let no_list = no_list.replace("apps.ReplicaSet", "autoscaling.Scale");
    check(&scale, &list, 406, "/message", json!(no_list)).await;
    let desired = cluster.get(&scale).await.at("/spec/replicas");
    check(&scale, &table, 200, "/rows/0/cells", json!(["ex", desired, 0, "0s"])).await;
    check(&scale, &table, 200, "/rows/0/object/kind", json!("PartialObjectMetadata")).await;
    check(&format!("{scale}?includeObject=Object"), &table, 200, "/rows/0/object/kind", json!("Scale")).await;
    check(&format!("{scale}?includeObject=None"), &table, 200, "/rows/0/object", Value::Null).await;
    let unknown = "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', \
                   'Object', 'None', or empty";
    check(&format!("{path}?includeObject=All"), &table, 400, "/message", json!(unknown)).await;
    check(&format!("{path}?includeObject=All"), JSON, 200, "/kind", json!("ReplicaSetList")).await;
    // Errors are no rows.
    check(&format!("{path}/nosuch"), &table, 404, "/kind", json!("Status")).await;
    let refused = cluster.asked("/api/v1/nosuch", PROTOBUF).await;
    assert_eq!((refused.code, refused.content_type.as_str()), (404, PROTOBUF));
    for (method, path, code) in [("GET", "/api/v1/configmaps/x", 404), ("PUT", path, 405)] {
        for encoding in ENCODINGS {
            let said = cluster.said(method, path, encoding, Vec::new()).await;
            let told = value(&said);
            assert_eq!((said.code, told["kind"].as_str(), &told["code"]), (code, Some("Status"), &json!(code)));
        }
    }
    let refused =
        cluster.send("DELETE", &object, &[("content-type", JSON)], r#"{"kind":"Boat","apiVersion":"v1"}"#).await;
    assert_eq!((refused.code, refused.message()), (400, r#"no kind "Boat" is registered for version "v1""#.to_owned()));
}

/// Everything about one resource, and where its object is. What another version has already is read as this one, and sent as that.
async fn one_in_all(cluster: Rc<Cluster>, resource: &'static Resource, known: Option<String>) -> String {
    let body = match known {
        Some(path) => {
            let name = path.rsplit('/').next().unwrap_or_default();
            let mut held = cluster.same_in_all(&format!("{}/{name}", collection(resource)), "").await;
            for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
                held["metadata"].as_object_mut().unwrap().remove(field);
            }
            cluster.removed(&path, JSON).await;
            held
        }
        None => sample(resource),
    };
    let object = created_in_all(&cluster, resource, body).await;
    read_in_all(&cluster, resource, &object).await;
    written_in_all(&cluster, resource, &object).await;
    object
}

#[tokio::test]
async fn every_resource_is_served_in_every_encoding() {
    let cluster = Rc::new(Cluster::of_wire().await);
    let (mut stored, mut failed, mut seen) = (BTreeMap::new(), Vec::new(), 0);
    // Each is a task of its own, so that one that panics does not hide the next.
    let tasks = tokio::task::LocalSet::new();
    for resource in portcullis_kinds::resources().all() {
        if !resource.has_verb("create") || !resource.has_verb("list") {
            continue;
        }
        seen += 1;
        let known = stored.get(&(resource.group, resource.name)).cloned();
        let task = tasks.spawn_local(one_in_all(Rc::clone(&cluster), resource, known));
        match tasks.run_until(task).await {
            Ok(object) => _ = stored.insert((resource.group, resource.name), object),
            Err(_) => failed.push(format!("{}/{}", resource.api_version, resource.name)),
        }
    }
    assert_eq!(failed, [""; 0]);
    for ((_, name), object) in stored {
        if name != "namespaces" {
            cluster.removed(&object, PROTOBUF).await;
        }
    }
    assert!(seen >= 60, "only {seen} resources are written and listed");
}
