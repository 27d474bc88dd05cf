//! What is said of a body that cannot be applied, in upstream's words and in its order.

use super::apply::APPLY;
use super::*;

const APPS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Applies texts to an object of this collection; each is refused with this code and these words.
async fn check_all(cluster: &Cluster, path: &str, rows: &[(&str, u16, &str)]) {
    for (text, code, message) in rows {
        let said = cluster.send("PATCH", path, &[APPLY], (*text).to_owned()).await;
        assert_eq!((said.code, said.message().as_str()), (*code, *message), "{text}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_such_object() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=m");
    let not_a_map = "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
    let (list, text) = (
        format!("{not_a_map} array into Go value of type map[string]interface {{}}"),
        format!("{not_a_map} string into Go value of type map[string]interface {{}}"),
    );
    check_all(
        &cluster,
        &path,
        &[
            ("", 400, "invalid object type: /, Kind="),
            ("[1]", 400, &list),
            ("some words", 400, &text),
            (
                "a: [b\n",
                400,
                "error decoding YAML: error converting YAML to JSON: yaml: line 1: did not find expected ',' or ']'",
            ),
            ("{kind: ConfigMap}", 400, "invalid object type: /, Kind=ConfigMap"),
            ("{apiVersion: 1, kind: ConfigMap}", 400, "invalid object type: /, Kind=ConfigMap"),
            ("{apiVersion: a/b/c, kind: ConfigMap}", 400, "invalid object type: /, Kind="),
            ("{apiVersion: apps/v1, kind: ConfigMap}", 400, "invalid object type: apps/v1, Kind=ConfigMap"),
            // Before its fields are looked at.
            ("{apiVersion: v1, kind: Secret, data: {x: 1}, nope: 1}", 400, "invalid object type: /v1, Kind=Secret"),
            (
                "{apiVersion: v1, kind: ConfigMap, metadata: {managedFields: []}, nope: 1}",
                400,
                "metadata.managedFields must be nil",
            ),
            (
                "{apiVersion: v1, kind: ConfigMap, metadata: {managedFields: []}, data: 1}",
                400,
                "metadata.managedFields must be nil",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_value_of_another_type() {
    let cluster = Cluster::new().await;
    let path = format!("{APPS}/d?fieldManager=m");
    let check = async |spec: &str, message: &str| {
        let text = format!("{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: d}}, spec: {spec}}}");
        let said = cluster.send("PATCH", &path, &[APPLY], text).await;
        let message = format!("failed to create typed patch object (/d; apps/v1, Kind=Deployment): {message}");
        assert_eq!((said.code, said.message()), (500, message), "{spec}");
    };
    let of_pod = |spec: &str| format!("{{template: {{spec: {spec}}}}}");
    let pod = ".spec.template.spec";
    check("{replicas: three}", ".spec.replicas: expected numeric (int or float), got string").await;
    check("{replicas: {}}", ".spec.replicas: expected numeric (int or float), got map[string]interface {}").await;
    check("{paused: 3}", ".spec.paused: expected boolean, got &{3}").await;
    check("[a]", ".spec: expected map, got &{[a]}").await;
    let what = format!("{pod}.hostname: expected string, got &value.valueUnstructured{{Value:1}}");
    check(&of_pod("{hostname: 1}"), &what).await;
    let what = format!("{pod}.containers: expected list, got &{{map[b:1 c:<nil>]}}");
    check(&of_pod("{containers: {c: null, b: 1}}"), &what).await;
    let element = "associative list with keys may not have";
    let what = format!("{pod}.containers: element 0: {element} a null element");
    check(&of_pod("{containers: [null]}"), &what).await;
    let what = format!("{pod}.containers: element 1: {element} non-map elements");
    check(&of_pod("{containers: [{name: a}, b]}"), &what).await;
    let what = format!("{pod}.containers: duplicate entries for key [name=\"a\"]");
    check(&of_pod("{containers: [{name: a}, {name: a}]}"), &what).await;
    let what =
        format!("{pod}.containers[name=\"a\"].args[0]: expected string, got &value.valueUnstructured{{Value:true}}");
    check(&of_pod("{containers: [{name: a, args: [true]}]}"), &what).await;
    // Every element is looked at, and of a struct what is before a field that there is not.
    let a = format!("{pod}.containers[name=\"a\"].nope: field not declared in schema");
    let b = format!(
        "{pod}.containers[name=\"b\"].image: expected string, got &value.valueUnstructured{{Value:[]interface {{}}{{1, \"x\"}}}}"
    );
    let both = of_pod("{containers: [{name: a, nope: 1, other: 1}, {name: b, image: [1, x]}]}");
    check(&both, &format!("errors:\n  {a}\n  {b}")).await;
}

#[tokio::test]
async fn a_value_that_its_type_cannot_read() {
    let cluster = Cluster::new().await;
    let check = async |path: &str, text: &str, of_type: &str, why: &str| {
        let said = cluster.send("PATCH", &format!("{path}?fieldManager=m"), &[APPLY], text.to_owned()).await;
        let message = format!(
            "failed to convert new object (/a; {of_type}) to proper version: unable to convert unstructured object to {of_type}: {why}"
        );
        assert_eq!((said.code, said.message()), (500, message), "{text}");
    };
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {x: \"!\"}}";
    let why = "error decoding from json: illegal base64 data at input byte 0";
    check("/api/v1/namespaces/default/secrets/a", secret, "/v1, Kind=Secret", why).await;
    let deployment = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {replicas: 1.5}}";
    check(&format!("{APPS}/a"), deployment, "apps/v1, Kind=Deployment", "cannot convert float64 to int32").await;
}

#[tokio::test]
async fn who_an_object_is() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=m");
    let nameless = "the name of the object (a based on URL) was undeterminable: name must be provided";
    let mismatch = "the namespace of the provided object does not match the namespace sent on the request";
    check_all(
        &cluster,
        &path,
        &[
            ("{apiVersion: v1, kind: ConfigMap}", 400, nameless),
            ("{apiVersion: v1, kind: ConfigMap, metadata: {generateName: a}}", 400, nameless),
            ("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: other}}", 400, mismatch),
            (
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, uid: u}}",
                409,
                "Operation cannot be fulfilled on configmaps \"a\": uid mismatch: the provided object specified uid u, and no \
                 existing object was found",
            ),
        ],
    )
    .await;
    // There is no version yet that could be another one.
    let made = cluster
        .send(
            "PATCH",
            &path,
            &[APPLY],
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, resourceVersion: \"7\"}}".to_owned(),
        )
        .await;
    assert_eq!(made.code, 201, "{}", made.message());
    // Who leaves the name out means the object of the path.
    let said =
        cluster.send("PATCH", &path, &[APPLY], "{apiVersion: v1, kind: ConfigMap, data: {x: a}}".to_owned()).await;
    assert_eq!((said.code, said.at("/data/x")), (200, json!("a")), "{}", said.message());
    let immutable = "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"u\": field is immutable";
    check_all(
        &cluster,
        &path,
        &[
            ("{apiVersion: v1, kind: ConfigMap, metadata: {uid: u}}", 422, immutable),
            ("{apiVersion: v1, kind: ConfigMap, metadata: {namespace: other}}", 400, mismatch),
            (
                "{apiVersion: v1, kind: ConfigMap, metadata: {resourceVersion: \"1\"}}",
                409,
                "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
                 the latest version and try again",
            ),
        ],
    )
    .await;
    let patched = cluster.merge(&format!("{CONFIG_MAPS}/a"), json!({"metadata": {"uid": "u"}})).await;
    assert_eq!((patched.code, patched.message().as_str()), (422, immutable));
    // When it was made is not for clients to say.
    let text =
        "{apiVersion: v1, kind: ConfigMap, metadata: {creationTimestamp: \"2020-01-01T00:00:00Z\"}, data: {x: a}}";
    let said = cluster.send("PATCH", &path, &[APPLY], text.to_owned()).await;
    assert_eq!((said.code, said.at("/metadata/creationTimestamp")), (200, made.at("/metadata/creationTimestamp")));
}

#[tokio::test]
async fn keys_that_are_set_twice() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a?fieldManager=m");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: \"1\"\n  x: \"2\"\n";
    let found = "yaml: unmarshal errors:\n  line 6: key \"x\" already set in map";
    let check = async |validation: &str, expected: Result<&[&str], &str>| {
        let said = cluster
            .send("PATCH", &format!("{path}&dryRun=All&fieldValidation={validation}"), &[APPLY], text.to_owned())
            .await;
        match expected {
            Ok(warnings) => {
                assert_eq!((said.code, said.at("/data/x")), (201, json!("2")), "{validation}: {}", said.message());
                assert_eq!(said.warnings.len(), warnings.len(), "{validation}: {:?}", said.warnings);
            }
            Err(message) => assert_eq!((said.code, said.message().as_str()), (400, message), "{validation}"),
        }
    };
    check("Ignore", Ok(&[])).await;
    check("Warn", Ok(&[found])).await;
    check("", Ok(&[found])).await;
    check("Strict", Err(&format!("error strict decoding YAML: error converting YAML to JSON: {found}"))).await;
    // A conflict is found first.
    let other = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: \"0\"}}";
    cluster.send("PATCH", &format!("{CONFIG_MAPS}/a?fieldManager=o"), &[APPLY], other.to_owned()).await;
    let said = cluster.send("PATCH", &format!("{path}&fieldValidation=Strict"), &[APPLY], text.to_owned()).await;
    assert_eq!(said.code, 409, "{}", said.message());
}
