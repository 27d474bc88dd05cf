//! Server-side apply through the doors that write a part of an object: who owns what came through which of them, and what no door writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::apply::{APPLY, owners};
use super::*;

const APPS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

async fn apply(cluster: &Cluster, path: &str, object: &Value) -> Said {
    cluster.send("PATCH", path, &[APPLY], object.to_string()).await
}

/// What a manager owns through a door, as `fieldsV1`.
fn fields(said: &Said, manager: &str, subresource: &str) -> Value {
    let managers = said.at("/metadata/managedFields");
    let is_theirs = |entry: &&Value| {
        entry["manager"] == manager && entry["subresource"].as_str().unwrap_or_default() == subresource
    };
    managers
        .as_array()
        .and_then(|entries| entries.iter().find(is_theirs))
        .map_or(Value::Null, |of| of["fieldsV1"].clone())
}

fn deployment(more: Value) -> Value {
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    });
    for (name, value) in more.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    object
}

fn scale(replicas: i64) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": replicas}})
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

#[tokio::test]
async fn a_status_is_owned_through_its_door() {
    let cluster = Cluster::new().await;
    let path = format!("{APPS}/d");
    let mut object = deployment(json!({"replicas": 1}));
    object["status"] = json!({"replicas": 7});
    let created = apply(&cluster, &format!("{path}?fieldManager=m"), &object).await;
    assert_eq!(created.code, 201, "{}", created.message());
    assert_eq!(fields(&created, "m", "")["f:status"], Value::Null);
    // Neither the spec nor the labels are written here, so nobody is asked about them.
    let status = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"l": "1"}, "annotations": {"n": "1"}},
        "spec": {"replicas": 9}, "status": {"replicas": 1},
    });
    let said = apply(&cluster, &format!("{path}/status?fieldManager=s"), &status).await;
    assert_eq!((said.code, said.at("/spec/replicas")), (200, json!(1)), "{}", said.message());
    assert_eq!(said.at("/metadata/labels"), Value::Null);
    let owned = json!({"f:metadata": {"f:annotations": {"f:n": {}}}, "f:status": {"f:replicas": {}}});
    assert_eq!(fields(&said, "s", "status"), owned);
    let again = apply(&cluster, &format!("{path}/status?fieldManager=s"), &status).await;
    assert_eq!(again.json(), said.json());
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 2}});
    let refused = apply(&cluster, &format!("{path}/status?fieldManager=t"), &other).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"s\" with subresource \"status\": .status.replicas"
    );
}

#[tokio::test]
async fn each_kind_says_what_its_status_leaves() {
    let cluster = Cluster::new().await;
    // The path of the collection, the object, and what is left of an entry's fields.
    let check = async |path: &str, object: Value, status: Value, expected: Value| {
        let created = cluster.post(path, object.clone()).await;
        assert_eq!(created.code, 201, "{path}: {}", created.message());
        let name = object["metadata"]["name"].as_str().unwrap();
        let mut wanted = json!({"apiVersion": created.at("/apiVersion"), "kind": created.at("/kind")});
        wanted["metadata"] = json!({
            "name": name, "labels": {"l": "1"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "o", "uid": "u"}],
        });
        wanted["spec"] = object["spec"].clone();
        wanted["status"] = status;
        let said = apply(&cluster, &format!("{path}/{name}/status?fieldManager=s&force=true"), &wanted).await;
        assert_eq!((said.code, fields(&said, "s", "status")), (200, expected), "{path}: {}", said.message());
        said
    };
    let reference = r#"k:{"uid":"u"}"#;
    let metadata = json!({"f:labels": {"f:l": {}}, "f:ownerReferences": {reference: {}}});
    let flow_schema = json!({
        "metadata": {"name": "f"},
        "spec": {"priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 9000},
    });
    let flow_schemas = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
    let condition = json!({"conditions": [{"type": "Dangling", "status": "True"}]});
    let owned =
        json!({"f:status": {"f:conditions": {r#"k:{"type":"Dangling"}"#: {".": {}, "f:status": {}, "f:type": {}}}}});
    let said = check(flow_schemas, flow_schema, condition, owned).await;
    assert_eq!((said.at("/metadata/labels"), said.at("/metadata/ownerReferences")), (Value::Null, Value::Null));
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1}});
    let status = json!({"currentHealthy": 0, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 0});
    let owned = json!({
        "f:metadata": metadata,
        "f:status": {"f:currentHealthy": {}, "f:desiredHealthy": {}, "f:disruptionsAllowed": {}, "f:expectedPods": {}},
    });
    let said = check("/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget, status, owned).await;
    assert_eq!(said.at("/metadata/ownerReferences/0/name"), "o", "only a few doors keep who owns an object");
    // Upstream writes a definition's metadata here, though nobody owns them for it.
    let phase = json!({"phase": "Running"});
    let owned = json!({"f:metadata": {"f:labels": {"f:l": {}}}, "f:status": {"f:phase": {}}});
    let said = check(PODS, pod(), phase, owned).await;
    assert_eq!((said.at("/metadata/labels/l"), said.at("/metadata/ownerReferences")), (json!("1"), Value::Null));
    // Upstream names the reset fields of this kind under a group that does not exist.
    let range = json!({"metadata": {"name": "r"}, "spec": {"cidrs": ["192.168.0.0/24"]}});
    let condition = json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2027-01-15T08:00:00Z",
    }]});
    let wanted =
        json!({"f:lastTransitionTime": {}, "f:message": {}, "f:reason": {}, "f:status": {}, "f:type": {}, ".": {}});
    let owned = json!({
        "f:metadata": metadata, "f:spec": {"f:cidrs": {}},
        "f:status": {"f:conditions": {r#"k:{"type":"Ready"}"#: wanted}},
    });
    let said = check("/apis/networking.k8s.io/v1/servicecidrs", range, condition, owned).await;
    assert_eq!(said.at("/metadata/labels"), Value::Null);
}

/// A request for a certificate, as its field has it.
fn certificate_request() -> String {
    let der = super::nodes::REQUEST_OF_N1;
    STANDARD.encode(format!("-----BEGIN CERTIFICATE REQUEST-----\n{der}\n-----END CERTIFICATE REQUEST-----\n"))
}

#[tokio::test]
async fn approval_and_status_of_a_request_are_apart() {
    let cluster = Cluster::new().await;
    let spec = json!({
        "request": certificate_request(), "signerName": "example.com/s", "usages": ["client auth"],
    });
    let head =
        json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "r"}});
    let mut object = head.clone();
    object["spec"] = spec;
    let path = format!("{REQUESTS}/r");
    let created = apply(&cluster, &format!("{path}?fieldManager=m"), &object).await;
    assert_eq!(created.code, 201, "{}", created.message());
    // Nothing of it can be written again, so nobody owns it.
    assert_eq!(owners(&created), [""; 0]);
    let mut approved = head.clone();
    approved["status"] = json!({
        "conditions": [{"type": "Approved", "status": "True", "reason": "R"}], "certificate": "bm90IGhlcmU=",
    });
    let said = apply(&cluster, &format!("{path}/approval?fieldManager=a"), &approved).await;
    assert_eq!((said.code, said.at("/status/certificate")), (200, Value::Null), "{}", said.message());
    let condition = json!({".": {}, "f:reason": {}, "f:status": {}, "f:type": {}});
    let owned = json!({"f:status": {"f:conditions": {r#"k:{"type":"Approved"}"#: condition}}});
    assert_eq!(fields(&said, "a", "approval"), owned);
    // The signer owns no condition.
    let mut failed = head;
    failed["status"] = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "R"}]});
    let said = apply(&cluster, &format!("{path}/status?fieldManager=s"), &failed).await;
    assert_eq!((said.code, fields(&said, "s", "status")), (200, Value::Null), "{}", said.message());
    assert_eq!(said.at("/status/conditions/1/type"), "Failed");
}

#[tokio::test]
async fn the_scale_is_owned_as_the_replicas_are() {
    let cluster = Cluster::new().await;
    let path = format!("{APPS}/d");
    let created = apply(&cluster, &format!("{path}?fieldManager=m"), &deployment(json!({"replicas": 1}))).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let refused = apply(&cluster, &format!("{path}/scale?fieldManager=h"), &scale(2)).await;
    assert_eq!(refused.message(), "Apply failed with 1 conflict: conflict with \"m\": .spec.replicas");
    // The same value is shared.
    let shared = apply(&cluster, &format!("{path}/scale?fieldManager=h"), &scale(1)).await;
    assert_eq!((shared.code, shared.at("/metadata/managedFields")), (200, Value::Null), "{}", shared.message());
    assert_eq!(owners(&cluster.get(&path).await), ["h Apply scale", "m Apply"]);
    let scaled = apply(&cluster, &format!("{path}/scale?fieldManager=h&force=true"), &scale(2)).await;
    assert_eq!((scaled.code, scaled.at("/spec/replicas")), (200, json!(2)), "{}", scaled.message());
    let after = cluster.get(&path).await;
    assert_eq!(fields(&after, "h", "scale"), json!({"f:spec": {"f:replicas": {}}}));
    assert_eq!(fields(&after, "m", "")["f:spec"]["f:replicas"], Value::Null);
    // The other way round, the manager of the scale is in the way of the object's.
    let refused = apply(&cluster, &format!("{path}?fieldManager=m"), &deployment(json!({"replicas": 3}))).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"h\" with subresource \"scale\": .spec.replicas"
    );
    // Who leaves them out gives nothing up that another owns.
    let less = apply(&cluster, &format!("{path}?fieldManager=m"), &deployment(json!({}))).await;
    assert_eq!((less.code, less.at("/spec/replicas")), (200, json!(2)), "{}", less.message());
}

#[tokio::test]
async fn replicas_that_nobody_owns() {
    let cluster = Cluster::new().await;
    let path = format!("{APPS}/d");
    apply(&cluster, &format!("{path}?fieldManager=m"), &deployment(json!({}))).await;
    // Nobody begins to own them by an update.
    let put = cluster.merge(&format!("{path}/scale?fieldManager=u"), json!({"spec": {"replicas": 2}})).await;
    assert_eq!((put.code, put.at("/spec/replicas")), (200, json!(2)), "{}", put.message());
    assert_eq!(owners(&cluster.get(&path).await), ["m Apply"]);
    // Who applies finds them in the hands of whoever was there before.
    let refused = apply(&cluster, &format!("{path}/scale?fieldManager=h"), &scale(3)).await;
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" with subresource \"scale\" using autoscaling/v1: .spec.replicas"
    );
    let forced = apply(&cluster, &format!("{path}/scale?fieldManager=h&force=true"), &scale(3)).await;
    assert_eq!(forced.code, 200, "{}", forced.message());
    assert_eq!(owners(&cluster.get(&path).await), ["h Apply scale", "m Apply"]);
}

#[tokio::test]
async fn a_scale_that_is_refused() {
    let cluster = Cluster::new().await;
    let path = format!("{APPS}/d/scale");
    let check = async |query: &str, object: Value, code: u16, message: &str| {
        let said = apply(&cluster, &format!("{path}?{query}"), &object).await;
        assert_eq!((said.code, said.message().as_str()), (code, message));
    };
    // What is not there is not made, whatever the body says.
    check("fieldManager=m", scale(1), 404, "deployments.apps \"d\" not found").await;
    check("fieldManager=m", json!({}), 404, "deployments.apps \"d\" not found").await;
    apply(&cluster, &format!("{APPS}/d?fieldManager=m"), &deployment(json!({"replicas": 1}))).await;
    check("fieldManager=m", json!({}), 400, "invalid object type: /, Kind=").await;
    check("fieldManager=m", deployment(json!({})), 400, "invalid object type: apps/v1, Kind=Deployment").await;
    let mut uid = scale(1);
    uid["metadata"]["uid"] = "u".into();
    let held = cluster.get(&format!("{APPS}/d")).await.at("/metadata/uid").as_str().unwrap().to_owned();
    let why = format!(
        "Operation cannot be fulfilled on deployments/scale.apps \"d\": Precondition failed: UID in precondition: u, \
         UID in object meta: {held}"
    );
    check("fieldManager=m", uid, 409, &why).await;
    let why =
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    check("fieldManager=m&force=true", scale(-1), 422, why).await;
    let why = "failed to create typed patch object (/d; autoscaling/v1, Kind=Scale): .spec.replicas: expected numeric \
               (int or float), got string";
    let mut words = scale(1);
    words["spec"]["replicas"] = "one".into();
    check("fieldManager=m", words, 500, why).await;
}

#[tokio::test]
async fn parts_of_a_pod_are_all_that_their_doors_own() {
    let cluster = Cluster::new().await;
    let created = apply(&cluster, &format!("{PODS}/p?fieldManager=m"), &pod()).await;
    assert_eq!(created.code, 201, "{}", created.message());
    let mut debugged = pod();
    debugged["metadata"]["labels"] = json!({"l": "1"});
    debugged["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}]);
    let said = apply(&cluster, &format!("{PODS}/p/ephemeralcontainers?fieldManager=d"), &debugged).await;
    assert_eq!((said.code, said.at("/metadata/labels")), (200, Value::Null), "{}", said.message());
    let owned =
        json!({"f:spec": {"f:ephemeralContainers": {r#"k:{"name":"e"}"#: {".": {}, "f:image": {}, "f:name": {}}}}});
    assert_eq!(fields(&said, "d", "ephemeralcontainers"), owned);
    // Another image is nothing that this door writes.
    debugged["spec"]["containers"][0]["image"] = "j".into();
    let again = apply(&cluster, &format!("{PODS}/p/ephemeralcontainers?fieldManager=d"), &debugged).await;
    assert_eq!((again.code, again.at("/spec/containers/0/image")), (200, json!("i")), "{}", again.message());
    let mut resized = pod();
    resized["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    let refused = apply(&cluster, &format!("{PODS}/p/resize?fieldManager=r"), &resized).await;
    assert_eq!(refused.code, 422, "{}", refused.message());
}

#[tokio::test]
async fn doors_that_nobody_applies_to() {
    let cluster = Cluster::new().await;
    apply(&cluster, &format!("{PODS}/p?fieldManager=m"), &pod()).await;
    let check = async |path: &str, code: u16| {
        let said = apply(&cluster, &format!("{path}?fieldManager=m"), &pod()).await;
        assert_eq!(said.code, code, "{path}: {}", said.message());
    };
    check(&format!("{PODS}/p/binding"), 405).await;
    check(&format!("{PODS}/p/eviction"), 405).await;
    check("/api/v1/namespaces/default/serviceaccounts/default/token", 405).await;
    check("/api/v1/namespaces/default/finalize", 405).await;
    check(PODS, 405).await;
    check(&format!("{PODS}/p/nonsense"), 404).await;
    // What is not there is not made through a part of it.
    check(&format!("{PODS}/q/status"), 404).await;
    check(&format!("{PODS}/q/ephemeralcontainers"), 404).await;
    check(&format!("{PODS}/q/resize"), 404).await;
    check(&format!("{REQUESTS}/q/approval"), 404).await;
}
