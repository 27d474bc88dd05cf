//! PATCH in its three dialects, at every door: what is accepted, what is refused and in which words. Apply has tests of its own.

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json-patch+json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const STRATEGIC: (&str, &str) = ("content-type", "application/strategic-merge-patch+json");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const A: &str = "/apis/apps/v1/namespaces/default/deployments/a";
const REJECTED: &str = "the server rejected our request due to an error in our request";

async fn deployment(cluster: &Cluster) -> Said {
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": pod});
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
    let said = cluster.post(DEPLOYMENTS, json!({"metadata": {"name": "a"}, "spec": spec})).await;
    assert_eq!(said.code, 201, "{}", said.message());
    said
}

/// Code, reason and message of an answer.
fn told(said: &Said) -> (u16, String, String) {
    let reason = said.at("/reason");
    (said.code, reason.as_str().unwrap_or_default().to_owned(), said.message())
}

#[tokio::test]
async fn bodies_that_are_no_patch() {
    let cluster = Cluster::new().await;
    deployment(&cluster).await;
    let check = async |dialect, validation: &str, body: &str, expected: &str| {
        let path = format!("{A}?fieldValidation={validation}");
        let said = cluster.send("PATCH", &path, &[dialect], body.to_owned()).await;
        assert_eq!(told(&said), (400, "BadRequest".to_owned(), expected.to_owned()), "{dialect:?} {validation} {body}");
    };
    let map = "Go value of type map[string]interface {}";
    for validation in ["Warn", "Strict"] {
        let op = "Go struct field jsonPatchOp.op of type string";
        for (body, problem) in [
            ("", "unexpected end of JSON input"),
            (r#"[{"op":"#, "unexpected end of JSON input"),
            ("[x]", "invalid character 'x' looking for beginning of value"),
            ("[] []", "invalid character '[' after top-level value"),
            (r#"{"op":"add"}"#, "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
            (r#""text""#, "json: cannot unmarshal string into Go value of type []handlers.jsonPatchOp"),
            ("[3]", "json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
            (r#"[{"op":1}]"#, &format!("json: cannot unmarshal number into {op}")),
        ] {
            check(JSON, validation, body, &format!("error decoding patch: {problem}")).await;
        }
        for (body, problem) in [
            ("", "unexpected end of JSON input".to_owned()),
            ("{\"a\":", "unexpected end of JSON input".to_owned()),
            ("[]", format!("json: cannot unmarshal array into {map}")),
            ("1", format!("json: cannot unmarshal number into {map}")),
            ("true", format!("json: cannot unmarshal bool into {map}")),
        ] {
            check(MERGE, validation, body, &format!("error decoding patch: {problem}")).await;
            check(STRATEGIC, validation, body, &problem).await;
        }
        check(MERGE, validation, "null", "Invalid JSON Patch").await;
    }
    check(JSON, "Ignore", "{}", "json: cannot unmarshal object into Go value of type jsonpatch.Patch").await;
    check(JSON, "Ignore", "[3]", "json: cannot unmarshal number into Go value of type jsonpatch.Operation").await;
    check(MERGE, "Ignore", "{\"a\":", "Invalid JSON Patch").await;
    check(MERGE, "Ignore", "1", "Invalid JSON Patch").await;
    check(STRATEGIC, "Ignore", "[]", &format!("json: cannot unmarshal array into {map}")).await;
    let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    check(MERGE, "Warn", &nested(200), "error decoding patch: exceeded max depth").await;
    // What is not there comes before what is no patch.
    for dialect in [JSON, MERGE, STRATEGIC] {
        let said = cluster.send("PATCH", &format!("{DEPLOYMENTS}/b"), &[dialect], "x").await;
        assert_eq!(told(&said), (404, "NotFound".to_owned(), "deployments.apps \"b\" not found".to_owned()));
    }
    // Nothing to do is done, and nothing is written.
    let before = cluster.get(A).await.json();
    for (dialect, body) in [(JSON, "null"), (JSON, "[]"), (MERGE, "{}"), (STRATEGIC, "{}"), (STRATEGIC, "null")] {
        let said = cluster.send("PATCH", A, &[dialect], body).await;
        assert_eq!((said.code, said.json()), (200, before.clone()), "{dialect:?} {body}");
    }
}

#[tokio::test]
async fn what_a_patch_may_not_do() {
    let cluster = Cluster::new().await;
    deployment(&cluster).await;
    let check = async |dialect, body: Value, code: u16, reason: &str, message: &str| {
        let said = cluster.send("PATCH", A, &[dialect], body.to_string()).await;
        assert_eq!(told(&said), (code, reason.to_owned(), message.to_owned()), "{body}");
    };
    for operation in [
        json!({"op": "jump", "path": "/spec"}),
        json!({"op": "remove", "path": "/spec/nosuch"}),
        json!({"op": "remove", "path": "/spec/template/spec/containers/9"}),
        json!({"op": "test", "path": "/metadata/name", "value": "b"}),
        json!({"op": "add", "path": "/spec/template/spec/containers/x", "value": {}}),
        json!({"op": "copy", "path": "/spec/x"}),
        Value::Null,
    ] {
        check(JSON, json!([operation]), 422, "Invalid", REJECTED).await;
    }
    let large = json!({"op": "add", "path": "/metadata/annotations", "value": {"a": "x".repeat(1_100_000)}});
    let copy = |to: &str| json!({"op": "copy", "from": "/metadata/annotations/a", "path": format!("/metadata/annotations/{to}")});
    check(JSON, json!([large, copy("b"), copy("c"), copy("d")]), 422, "Invalid", REJECTED).await;
    let test = json!({"op": "test", "path": "/metadata/name", "value": "a"});
    let too_many = "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001";
    check(JSON, json!(vec![test.clone(); 10_001]), 413, "RequestEntityTooLarge", too_many).await;
    let said = cluster.send("PATCH", A, &[JSON], json!(vec![test; 10_000]).to_string()).await;
    assert_eq!(said.code, 200);

    let containers = |list: Value| json!({"spec": {"template": {"spec": {"containers": list}}}});
    let no_key = "map: map[image:x] does not contain declared merge key: name";
    check(STRATEGIC, containers(json!([{"image": "x"}])), 500, "", no_key).await;
    let retain = json!({"spec": {"strategy": {"$retainKeys": ["x"], "type": "Recreate"}}});
    check(STRATEGIC, retain, 400, "BadRequest", "invalid patch format of retainKeys").await;
    let malformed = json!({"metadata": {"$setElementOrder": []}});
    check(STRATEGIC, malformed, 400, "BadRequest", "invalid patch format of setElementOrder list").await;
    let invalid = |patch: &str, problem: &str| {
        format!(" \"\" is invalid: patch: Invalid value: \"map[spec:map[{patch}]]\": {problem}")
    };
    let replicas = |value: Value| json!({"spec": {"replicas": value}});
    check(STRATEGIC, replicas(json!("three")), 422, "Invalid", &invalid("replicas:three", "unrecognized type: int32"))
        .await;
    let fraction = "cannot convert float64 to int32";
    check(STRATEGIC, replicas(json!(1.5)), 422, "Invalid", &invalid("replicas:1.5", fraction)).await;
    let said = cluster.send("PATCH", A, &[STRATEGIC], replicas(json!(3.0)).to_string()).await;
    assert_eq!((said.code, said.at("/spec/replicas")), (200, json!(3)));
}

#[tokio::test]
async fn the_identity_of_an_object_stays() {
    let cluster = Cluster::new().await;
    let created = deployment(&cluster).await;
    let old = created.at("/metadata/resourceVersion");
    let check = async |patch: Value, code: u16, message: &str| {
        for dialect in [MERGE, STRATEGIC] {
            let said = cluster.send("PATCH", A, &[dialect], patch.to_string()).await;
            assert_eq!((said.code, said.message().as_str()), (code, message), "{dialect:?} {patch}");
        }
    };
    let metadata = |name: &str, value: Value| json!({"metadata": {name: value}});
    let other_name = "the name of the object (b) does not match the name on the URL (a)";
    check(metadata("name", json!("b")), 400, other_name).await;
    let no_name = "the name of the object (a based on URL) was undeterminable: name must be provided";
    check(metadata("name", Value::Null), 400, no_name).await;
    check(json!({"metadata": null}), 400, no_name).await;
    let elsewhere = "the namespace of the provided object does not match the namespace sent on the request";
    check(metadata("namespace", json!("other")), 400, elsewhere).await;
    // Both are wrong: the namespace is looked at first.
    check(json!({"metadata": {"namespace": "other", "name": "b"}}), 400, elsewhere).await;
    let uid = "Deployment.apps \"a\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable";
    check(metadata("uid", json!("x")), 422, uid).await;
    let said = cluster.merge(A, json!({"metadata": {"namespace": null, "uid": null, "labels": {"l": "1"}}})).await;
    assert_eq!((said.code, said.at("/metadata/namespace")), (200, json!("default")));
    assert_eq!(said.at("/metadata/uid"), created.at("/metadata/uid"));

    let modified = "Operation cannot be fulfilled on deployments.apps \"a\": the object has been modified; please apply your \
                    changes to the latest version and try again";
    check(metadata("resourceVersion", old), 409, modified).await;
    let current = said.at("/metadata/resourceVersion");
    let said = cluster.merge(A, json!({"metadata": {"resourceVersion": current, "labels": {"l": "2"}}})).await;
    assert_eq!(said.code, 200);
    let said = cluster.merge(A, json!({"metadata": {"resourceVersion": null, "labels": {"l": "3"}}})).await;
    assert_eq!(said.code, 200);

    // A merged or patched object is of the kind that its text says; what is merged by the schema is of the schema's.
    for patch in [json!({"kind": "Boat"}), json!({"apiVersion": "apps/v9"}), json!({"kind": "ReplicaSet"})] {
        let said = cluster.send("PATCH", A, &[MERGE], patch.to_string()).await;
        assert_eq!((said.code, said.at("/details/causes/0/field")), (422, json!("patch")), "{patch}");
        let said = cluster.send("PATCH", A, &[STRATEGIC], patch.to_string()).await;
        assert_eq!((said.code, said.at("/kind")), (200, json!("Deployment")), "{patch}");
    }
    assert_eq!(cluster.merge(A, json!({"kind": null})).await.code, 200);
    assert_eq!(told(&cluster.merge(A, json!({"apiVersion": null})).await).2, no_name);
}

#[tokio::test]
async fn unknown_and_double_fields() {
    let cluster = Cluster::new().await;
    deployment(&cluster).await;
    let check = async |dialect, body: &str, expected: &[&str]| {
        let send = async |validation: &str| {
            let path = format!("{A}?dryRun=All&fieldValidation={validation}");
            let mut said = cluster.send("PATCH", &path, &[dialect], body.to_owned()).await;
            // Pod Security warns of every deployment.
            said.warnings.retain(|warning| !warning.contains("PodSecurity"));
            said
        };
        let warned = send("Warn").await;
        let warnings: Vec<String> = expected.iter().map(|text| format!("299 - {text:?}")).collect();
        assert_eq!((warned.code, warned.warnings), (200, warnings), "{body}");
        let ignored = send("Ignore").await;
        assert_eq!((ignored.code, ignored.warnings), (200, Vec::<String>::new()), "{body}");
        let strict = send("Strict").await;
        let cause = strict.at("/details/causes/0/message");
        let problem = format!("strict decoding error: {}", expected.join(", "));
        assert_eq!(strict.code, 422, "{body}");
        assert!(cause.as_str().unwrap_or_default().ends_with(&problem), "{cause}");
    };
    let both = r#"{"spec":{"replicas":1,"replicas":2,"foo":1},"bar":1}"#;
    let double = r#"duplicate field "spec.replicas""#;
    check(MERGE, both, &[double, r#"unknown field "bar""#, r#"unknown field "spec.foo""#]).await;
    check(STRATEGIC, both, &[double, r#"unknown field "bar""#, r#"unknown field "spec.foo""#]).await;
    let element = r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","x":1,"x":1}]}}}}"#;
    let elements = [
        r#"duplicate field "spec.template.spec.containers[0].x""#,
        r#"unknown field "spec.template.spec.containers[0].x""#,
    ];
    check(STRATEGIC, element, &elements).await;
    // Upstream sorts what a strategic merge patch makes by its text.
    let order = r#"{"spec":{"foo":1,"strategy":{"foo":1}},"alpha":1}"#;
    let sorted = [r#"unknown field "alpha""#, r#"unknown field "spec.foo""#, r#"unknown field "spec.strategy.foo""#];
    check(STRATEGIC, order, &sorted).await;
    // Directives mean nothing in a list that is replaced.
    let tolerations = json!({"spec": {"template": {"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}}});
    assert_eq!(cluster.merge(A, tolerations).await.code, 200);
    let directive =
        r#"{"spec":{"template":{"spec":{"tolerations":[{"$patch":"delete","key":"k","operator":"Exists"}]}}}}"#;
    check(STRATEGIC, directive, &[r#"unknown field "spec.template.spec.tolerations[0].$patch""#]).await;
    check(
        JSON,
        r#"[{"op":"add","op":"replace","path":"/spec/foo","value":{"a":1,"a":2},"why":"x"}]"#,
        &[
            r#"json patch duplicate field "[0].op""#,
            r#"json patch duplicate field "[0].value.a""#,
            r#"json patch unknown field "[0].why""#,
            r#"unknown field "spec.foo""#,
        ],
    )
    .await;
}

#[tokio::test]
async fn every_door_takes_every_dialect() {
    let cluster = Cluster::new().await;
    deployment(&cluster).await;
    let check = async |door: &str, dialect, patch: Value, pointer: &str, expected: Value| {
        let said = cluster.send("PATCH", &format!("{A}{door}"), &[dialect], patch.to_string()).await;
        assert_eq!((said.code, said.at(pointer)), (200, expected), "{door} {dialect:?} {}", said.message());
    };
    let add = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    let nested = |parent: &str, name: &str, value: Value| json!({parent: {name: value}});
    check("/status", JSON, add("/status/replicas", json!(1)), "/status/replicas", json!(1)).await;
    check("/status", MERGE, nested("status", "replicas", json!(2)), "/status/replicas", json!(2)).await;
    let condition = json!([{"type": "Available", "status": "True"}]);
    check(
        "/status",
        STRATEGIC,
        nested("status", "conditions", condition),
        "/status/conditions/0/status",
        json!("True"),
    )
    .await;
    // A door to the status is none to the spec.
    check("/status", MERGE, nested("spec", "replicas", json!(7)), "/spec/replicas", json!(1)).await;
    check("", MERGE, nested("status", "replicas", json!(9)), "/status/replicas", json!(2)).await;
    check("/scale", JSON, add("/spec/replicas", json!(2)), "/spec/replicas", json!(2)).await;
    check("/scale", MERGE, nested("spec", "replicas", json!(3)), "/spec/replicas", json!(3)).await;
    check("/scale", STRATEGIC, nested("spec", "replicas", json!(4)), "/spec/replicas", json!(4)).await;
    let is_scale = json!([{"op": "test", "path": "/kind", "value": "Scale"}]);
    check("/scale", JSON, is_scale, "/apiVersion", json!("autoscaling/v1")).await;
    assert_eq!(cluster.get(A).await.at("/spec/replicas"), json!(4));

    let refuse = async |path: &str, dialect: (&str, &str), code: u16| {
        let said = cluster.send("PATCH", path, &[dialect], "{}").await;
        assert_eq!(said.code, code, "{path} {}", said.message());
    };
    for dialect in [JSON, MERGE, STRATEGIC] {
        for path in [
            DEPLOYMENTS,
            "/api/v1/namespaces/default/finalize",
            "/api/v1/namespaces/default/pods/a/binding",
            "/api/v1/namespaces/default/pods/a/eviction",
            "/api/v1/namespaces/default/serviceaccounts/a/token",
        ] {
            refuse(path, dialect, 405).await;
        }
    }
    for media_type in ["application/json", "application/merge-patch+yaml", "text/plain", ""] {
        refuse(A, ("content-type", media_type), 415).await;
    }
    refuse(A, ("content-type", "application/strategic-merge-patch+json; charset=utf-8"), 200).await;
}

#[tokio::test]
async fn finalizers_taken_from_what_is_being_deleted_end_it() {
    let cluster = Cluster::new().await;
    let path = format!("{CONFIG_MAPS}/a");
    for (dialect, patch) in [
        (JSON, json!([{"op": "remove", "path": "/metadata/finalizers/0"}])),
        (MERGE, json!({"metadata": {"finalizers": null}})),
        (STRATEGIC, json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/f"]}})),
    ] {
        let object = json!({"metadata": {"name": "a", "finalizers": ["example.com/f"]}});
        assert_eq!(cluster.post(CONFIG_MAPS, object).await.code, 201);
        assert_eq!(cluster.delete(&path, Value::Null).await.code, 200);
        let added = cluster.merge(&path, json!({"metadata": {"finalizers": ["example.com/f", "example.com/g"]}})).await;
        assert_eq!(added.code, 422, "{}", added.message());
        let tried = cluster.send("PATCH", &format!("{path}?dryRun=All"), &[dialect], patch.to_string()).await;
        assert_eq!(tried.code, 200);
        assert_eq!(cluster.get(&path).await.code, 200);
        let patched = cluster.send("PATCH", &path, &[dialect], patch.to_string()).await;
        assert_eq!((patched.code, patched.at("/metadata/finalizers")), (200, Value::Null), "{dialect:?}");
        assert_eq!(cluster.get(&path).await.code, 404, "{dialect:?}");
    }
}
