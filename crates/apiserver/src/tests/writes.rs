//! Writes that meet, and deletions in all their forms.

use std::sync::atomic::Ordering;

use super::*;

const PODS: &str = "/api/v1/namespaces/default/pods";
const CONTROLLERS: &str = "/api/v1/namespaces/default/replicationcontrollers";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn options(mut fields: Value) -> Value {
    fields["kind"] = "DeleteOptions".into();
    fields["apiVersion"] = "v1".into();
    fields
}

async fn pod(cluster: &Cluster, name: &str, node: &str, grace: Option<u64>) -> Said {
    let spec =
        json!({"nodeName": node, "terminationGracePeriodSeconds": grace, "containers": [{"name": "c", "image": "i"}]});
    let said = cluster.post(PODS, json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(said.code, 201, "{}", said.message());
    said
}

/// Types and names of the events of a collection since a version.
async fn events(cluster: &Cluster, path: &str, version: &Value) -> Vec<(String, String)> {
    tokio::time::pause();
    let version = version.as_str().unwrap();
    let said = cluster.get(&format!("{path}?watch=1&timeoutSeconds=1&resourceVersion={version}")).await;
    tokio::time::resume();
    let lines = said.body.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines.map(|event| (text(&event["type"]), text(&event["object"]["metadata"]["name"]))).collect()
}

#[tokio::test]
async fn writers_without_a_version_all_succeed() {
    const WRITERS: usize = 48;
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    // Patches of different keys: all of them are there in the end, each with its manager's time.
    let patches = (0..WRITERS).map(|at| {
        let path = format!("{path}?fieldManager=m{}", at % 7);
        let cluster = &cluster;
        async move { cluster.merge(&path, json!({"data": {format!("k{at}"): at.to_string()}})).await.code }
    });
    assert_eq!(together(patches).await, [200; WRITERS]);
    let data = cluster.get(&path).await.at("/data");
    assert_eq!(data.as_object().unwrap().len(), WRITERS + 1);
    // Whole objects: the last one wins, none is refused.
    let puts = (0..WRITERS).map(|at| {
        let (path, cluster) = (&path, &cluster);
        async move { cluster.put(path, json!({"metadata": {"name": "a"}, "data": {"w": at.to_string()}})).await.code }
    });
    assert_eq!(together(puts).await, [200; WRITERS]);
    assert_eq!(cluster.get(&path).await.at("/data").as_object().unwrap().len(), 1);
    // Writers that name a version: one wins, the others learn of it.
    let version = cluster.get(&path).await.at("/metadata/resourceVersion");
    let puts = (0..WRITERS).map(|at| {
        let (path, cluster, version) = (&path, &cluster, &version);
        async move {
            let metadata = json!({"name": "a", "resourceVersion": version});
            cluster.put(path, json!({"metadata": metadata, "data": {"v": at.to_string()}})).await.code
        }
    });
    let mut codes = together(puts).await;
    codes.sort_unstable();
    assert_eq!((codes[0], &codes[1..]), (200, &[409; WRITERS - 1][..]));
}

#[tokio::test]
async fn puts_of_what_is_not_there() {
    let cluster = Cluster::new().await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let put = async |path: &str, name: &str, field: &str, value: &str| {
        let mut metadata = json!({"name": name});
        metadata[field] = value.into();
        let said = cluster.put(&format!("{path}/{name}"), json!({"metadata": metadata})).await;
        (said.code, said.message())
    };
    assert_eq!(put(leases, "a", "resourceVersion", "5").await.0, 201);
    assert_eq!(put(leases, "b", "resourceVersion", "x").await.0, 400);
    for (path, key) in [(leases, "leases"), (CONFIG_MAPS, "configmaps")] {
        let (code, message) = put(path, "c", "uid", "u").await;
        let tail = format!(
            "Key: /registry/{key}/default/c, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: u, \
             UID in object meta: "
        );
        assert_eq!((code, message.ends_with(&tail)), (409, true), "{message}");
    }
    assert_eq!(put(CONFIG_MAPS, "c", "resourceVersion", "5").await.0, 404);
    // Whoever finds that another made it replaces that.
    let puts = (0..24).map(|at| {
        let cluster = &cluster;
        async move {
            let metadata = json!({"name": "d", "labels": {"at": at.to_string()}});
            cluster.put("/api/v1/namespaces/default/endpoints/d", json!({"metadata": metadata})).await.code
        }
    });
    let mut codes = together(puts).await;
    codes.sort_unstable();
    assert_eq!((&codes[..23], codes[23]), (&[200; 23][..], 201));
}

#[tokio::test]
async fn owners_that_are_named_twice() {
    let cluster = Cluster::new().await;
    let owner = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid});
    let object = |owners: Value| json!({"metadata": {"name": "a", "ownerReferences": owners}});
    let (one, other, third) = (owner("x", "1"), owner("y", "1"), owner("x", "2"));
    let (given, kept) = (json!([one, other, one, third, third]), json!([one, other, third]));
    let warning = |since: &str| {
        format!(
            "299 - \".metadata.ownerReferences contains duplicate entries{since}; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: 1, 2\""
        )
    };
    let check = |said: Said, since: &str| {
        assert_eq!(said.at("/metadata/ownerReferences"), kept, "{}", said.message());
        assert_eq!(said.warnings, [warning(since)]);
    };
    check(cluster.post(CONFIG_MAPS, object(given.clone())).await, "");
    let path = format!("{CONFIG_MAPS}/a");
    check(cluster.put(&path, object(given.clone())).await, "");
    check(cluster.merge(&path, object(given.clone())).await, " after mutating admission happens");
    let said = cluster.put(&path, object(kept.clone())).await;
    assert_eq!((said.at("/metadata/ownerReferences"), said.warnings), (kept.clone(), Vec::new()));
}

/// Runs requests side by side.
async fn together<T>(requests: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = requests.map(|request| (Box::pin(request), None)).collect();
    std::future::poll_fn(|context| {
        for (request, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = request.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if running.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn scales_and_statuses_meet_without_loss() {
    let cluster = Cluster::new().await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(cluster.post(DEPLOYMENTS, deployment).await.code, 201);
    let path = &format!("{DEPLOYMENTS}/d");
    let writes = (0..24).map(|at| {
        let cluster = &cluster;
        async move {
            match at % 3 {
                0 => cluster.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 7}})).await.code,
                1 => cluster.merge(&format!("{path}/status"), json!({"status": {"replicas": at}})).await.code,
                _ => {
                    let annotation = json!({format!("example.com/{at}"): "x"});
                    cluster.merge(path, json!({"metadata": {"annotations": annotation}})).await.code
                }
            }
        }
    });
    assert_eq!(together(writes).await, [200; 24]);
    let after = cluster.get(path).await;
    assert_eq!(after.at("/spec/replicas"), 7);
    assert_ne!(after.at("/status/replicas"), Value::Null);
    assert_eq!(after.at("/metadata/annotations").as_object().unwrap().len(), 8);
    let scale = cluster.get(&format!("{path}/scale")).await;
    assert_eq!(scale.at("/status/selector"), "a=b");
}

#[tokio::test]
async fn a_deletion_and_updates_meet() {
    let cluster = Cluster::new().await;
    for round in 0..20 {
        let name = format!("r{round}");
        cluster.config_map(&name, json!({})).await;
        let path = &format!("{CONFIG_MAPS}/{name}");
        let requests = (0..6).map(|at| {
            let cluster = &cluster;
            async move {
                if at == round % 6 {
                    return cluster.delete(path, Value::Null).await.code;
                }
                cluster.merge(path, json!({"data": {format!("k{at}"): "1"}})).await.code
            }
        });
        let codes = together(requests).await;
        assert_eq!(codes[round % 6], 200, "round {round}: {codes:?}");
        assert!(codes.iter().all(|code| [200, 404].contains(code)), "round {round}: {codes:?}");
        assert_eq!(cluster.get(path).await.code, 404, "round {round}");
    }
}

#[tokio::test]
async fn preconditions_hold_or_nothing_happens() {
    let cluster = Cluster::new().await;
    let created = cluster.config_map("a", json!({})).await;
    let path = &format!("{CONFIG_MAPS}/a");
    let (uid, version) = (created.at("/metadata/uid"), created.at("/metadata/resourceVersion"));
    let (uid, version) = (uid.as_str().unwrap(), version.as_str().unwrap());
    let refused = async |query: &str, body: Value, why: &str| {
        let said = cluster.delete(&format!("{path}{query}"), body.clone()).await;
        let wanted = format!("Operation cannot be fulfilled on ConfigMap \"a\": {why}");
        assert_eq!((said.code, said.message()), (409, wanted), "{query} {body}");
        assert_eq!(cluster.get(path).await.code, 200);
    };
    let uid_why = format!(
        "the UID in the precondition (x) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
    );
    let version_why = format!(
        "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({version}). The object might have been modified"
    );
    refused("", options(json!({"preconditions": {"uid": "x"}})), &uid_why).await;
    refused("?uid=x", Value::Null, &uid_why).await;
    refused("", options(json!({"preconditions": {"resourceVersion": "1"}})), &version_why).await;
    refused("?resourceVersion=1", Value::Null, &version_why).await;
    // The body is all that counts when there is one.
    let dry = cluster.delete(&format!("{path}?uid=x"), options(json!({"dryRun": ["All"]}))).await;
    assert_eq!(dry.code, 200);
    let right = options(json!({"preconditions": {"uid": uid, "resourceVersion": version}}));
    assert_eq!(cluster.delete(path, right).await.code, 200);
    assert_eq!(cluster.get(path).await.code, 404);
    // A namespace says it in other words.
    assert_eq!(cluster.post("/api/v1/namespaces", json!({"metadata": {"name": "n"}})).await.code, 201);
    let said = cluster.delete("/api/v1/namespaces/n", options(json!({"preconditions": {"uid": "x"}}))).await;
    let begin = "Operation cannot be fulfilled on namespaces \"n\": Precondition failed: UID in precondition: x, UID in object meta: ";
    assert!(said.message().starts_with(begin), "{}", said.message());
}

#[tokio::test]
async fn delete_options_are_checked() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let path = &format!("{CONFIG_MAPS}/a");
    let check = async |query: &str, body: Value, why: &str| {
        let said = cluster.delete(&format!("{path}{query}"), body.clone()).await;
        let wanted = format!("DeleteOptions.meta.k8s.io \"\" is invalid: {why}");
        assert_eq!((said.code, said.message()), (422, wanted), "{query} {body}");
    };
    let unknown =
        r#"propagationPolicy: Unsupported value: "Up": supported values: "Foreground", "Background", "Orphan", "nil""#;
    check("", options(json!({"propagationPolicy": "Up"})), unknown).await;
    check("?propagationPolicy=Up", Value::Null, unknown).await;
    let both =
        r#"propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set"#;
    check("", options(json!({"propagationPolicy": "Orphan", "orphanDependents": true})), both).await;
    check("?propagationPolicy=Orphan&orphanDependents=true", Value::Null, both).await;
    check("?dryRun=Some", Value::Null, r#"dryRun: Unsupported value: ["Some"]: supported values: "All""#).await;
    assert_eq!(cluster.get(path).await.code, 200);
    // The same in the other encodings.
    let yaml = "kind: DeleteOptions\napiVersion: v1\npropagationPolicy: Foreground\n";
    let said = cluster.send("DELETE", path, &[("content-type", "application/yaml")], yaml).await;
    assert_eq!(said.at("/metadata/finalizers"), json!(["foregroundDeletion"]), "{}", said.message());
    let mut envelope = b"k8s\0".to_vec();
    // Unknown{typeMeta{apiVersion: v1, kind: DeleteOptions}, raw: DeleteOptions{propagationPolicy: Background}}
    envelope.extend_from_slice(b"\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x0c\x22\x0aBackground");
    let said = cluster.send("DELETE", path, &[("content-type", PROTOBUF)], envelope).await;
    assert_eq!((said.code, said.at("/status")), (200, json!("Success")), "{}", said.message());
    assert_eq!(cluster.get(path).await.code, 404);
}

#[tokio::test]
async fn propagation_is_marked_by_finalizers() {
    let cluster = Cluster::new().await;
    let check = async |collection: &str, held: Value, body: Value, code: u16, finalizers: Value| {
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut object = json!({"metadata": {"name": "x", "finalizers": held.clone()}});
        if collection == CONTROLLERS {
            object["spec"] = json!({"selector": {"a": "b"}, "template": template});
        }
        if collection.ends_with("events") {
            object["involvedObject"] = json!({"namespace": "default"});
        }
        let created = cluster.post(collection, object).await;
        assert_eq!(created.code, 201, "{}", created.message());
        let path = format!("{collection}/x");
        let said = cluster.delete(&path, body.clone()).await;
        assert_eq!((said.code, said.at("/metadata/finalizers")), (code, finalizers), "{collection} {held} {body}");
        let left = cluster.merge(&path, json!({"metadata": {"finalizers": null}})).await.code;
        assert!([200, 404].contains(&left));
        assert_eq!(cluster.get(&path).await.code, 404);
    };
    let events = "/api/v1/namespaces/default/events";
    let policy = |policy: &str| options(json!({"propagationPolicy": policy}));
    let (nothing, hold) = (json!([]), "example.com/hold");
    let gone = Value::Null;
    check(CONFIG_MAPS, nothing.clone(), Value::Null, 200, gone.clone()).await;
    check(CONFIG_MAPS, nothing.clone(), policy("Background"), 200, gone.clone()).await;
    check(CONFIG_MAPS, nothing.clone(), policy("Orphan"), 200, json!(["orphan"])).await;
    check(CONFIG_MAPS, nothing.clone(), policy("Foreground"), 200, json!(["foregroundDeletion"])).await;
    check(CONFIG_MAPS, json!(["orphan", hold]), Value::Null, 200, json!(["orphan", hold])).await;
    check(CONFIG_MAPS, json!(["orphan", hold]), policy("Background"), 200, json!([hold])).await;
    check(CONFIG_MAPS, json!([hold, "orphan"]), policy("Foreground"), 200, json!([hold, "foregroundDeletion"])).await;
    // The old words, in which waiting for dependents has a code of its own.
    check(CONFIG_MAPS, json!([hold]), options(json!({"orphanDependents": false})), 202, json!([hold])).await;
    check(CONFIG_MAPS, json!([hold]), options(json!({"orphanDependents": true})), 200, json!([hold, "orphan"])).await;
    // Clients of controllers delete pods themselves, unless the controller says otherwise.
    check(CONTROLLERS, nothing.clone(), Value::Null, 200, json!(["orphan"])).await;
    check(CONTROLLERS, json!(["foregroundDeletion"]), Value::Null, 200, json!(["foregroundDeletion"])).await;
    check(CONTROLLERS, nothing.clone(), policy("Background"), 200, gone.clone()).await;
    // Events own nothing.
    check(events, nothing, policy("Foreground"), 200, gone).await;
}

#[tokio::test]
async fn pods_get_time_to_end() {
    let cluster = Cluster::new().await;
    let grace = |seconds: i64| options(json!({"gracePeriodSeconds": seconds}));
    let marks = |said: &Said| {
        let metadata = said.at("/metadata");
        (
            metadata["deletionTimestamp"].clone(),
            metadata["deletionGracePeriodSeconds"].clone(),
            metadata["generation"].clone(),
        )
    };
    // Bound and running: it waits, as long as it says; the second time may only shorten it, from when it was told.
    let created = pod(&cluster, "bound", "n1", Some(40)).await;
    assert_eq!(created.at("/metadata/generation"), 1);
    let path = &format!("{PODS}/bound");
    let told = (json!("2027-01-15T08:00:40Z"), json!(40), json!(2));
    let first = cluster.delete(path, Value::Null).await;
    assert_eq!((first.code, marks(&first)), (200, told.clone()));
    cluster.env.micros.fetch_add(10_000_000, Ordering::Relaxed);
    for longer in [Value::Null, grace(40), grace(60)] {
        let again = cluster.delete(path, longer).await;
        assert_eq!(
            (marks(&again), again.at("/metadata/resourceVersion")),
            (told.clone(), first.at("/metadata/resourceVersion"))
        );
    }
    // What is ending takes no new word on its dependents.
    let orphaned = cluster.delete(path, options(json!({"propagationPolicy": "Orphan"}))).await;
    assert_eq!(orphaned.at("/metadata/finalizers"), Value::Null);
    let shorter = cluster.delete(path, grace(15)).await;
    assert_eq!(marks(&shorter), (json!("2027-01-15T08:00:15Z"), json!(15), json!(2)));
    let negative = cluster.delete(path, grace(-5)).await;
    assert_eq!(marks(&negative), (json!("2027-01-15T08:00:01Z"), json!(1), json!(2)));
    // Finalizers gone while there is time left: it stays. Its kubelet says the end.
    let ended = cluster.delete(path, grace(0)).await;
    assert_eq!((ended.code, marks(&ended)), (200, (json!("2027-01-15T08:00:00Z"), json!(0), json!(2))));
    assert_eq!(cluster.get(path).await.code, 404);
    // Marked, then gone: both are seen.
    let seen = events(&cluster, PODS, &negative.at("/metadata/resourceVersion")).await;
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["MODIFIED", "DELETED"]);

    // Never bound: no time, whatever is asked for.
    pod(&cluster, "unbound", "", Some(40)).await;
    let said = cluster.delete(&format!("{PODS}/unbound"), grace(60)).await;
    assert_eq!((said.code, marks(&said)), (200, (json!("2027-01-15T08:00:10Z"), json!(0), json!(2))));
    assert_eq!(cluster.get(&format!("{PODS}/unbound")).await.code, 404);

    // A dry run says what would be.
    pod(&cluster, "tried", "n1", None).await;
    let tried = cluster.delete(&format!("{PODS}/tried?dryRun=All&gracePeriodSeconds=0"), Value::Null).await;
    assert_eq!((tried.code, marks(&tried).1), (200, json!(0)));
    assert_eq!(cluster.get(&format!("{PODS}/tried")).await.at("/metadata/deletionTimestamp"), Value::Null);

    // With a finalizer it stays even without time, until the finalizer goes.
    assert_eq!(
        cluster.merge(&format!("{PODS}/tried"), json!({"metadata": {"finalizers": ["example.com/x"]}})).await.code,
        200
    );
    let held = cluster.delete(&format!("{PODS}/tried"), grace(0)).await;
    assert_eq!((held.code, marks(&held).1), (200, json!(0)));
    assert_eq!(cluster.get(&format!("{PODS}/tried")).await.code, 200);
    assert_eq!(cluster.merge(&format!("{PODS}/tried"), json!({"metadata": {"finalizers": null}})).await.code, 200);
    assert_eq!(cluster.get(&format!("{PODS}/tried")).await.code, 404);
}

#[tokio::test]
async fn the_last_finalizer_lets_an_object_go() {
    let cluster = Cluster::new().await;
    let path = &format!("{CONFIG_MAPS}/a");
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.com/one", "example.com/two"]}});
    let created = cluster.post(CONFIG_MAPS, body).await;
    assert_eq!(cluster.delete(path, Value::Null).await.at("/metadata/deletionGracePeriodSeconds"), 0);
    let again = cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(
        (again.code, again.message().as_str()),
        (409, "object is being deleted: configmaps \"a\" already exists")
    );
    // Two controllers take their finalizers out at the same time, each by the place it saw it at.
    let one = json!([{"op": "test", "path": "/metadata/finalizers/0", "value": "example.com/one"}, {"op": "remove", "path": "/metadata/finalizers/0"}]);
    let two = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/two"]}});
    let patch = |kind: &'static str, body: Value| {
        let cluster = &cluster;
        async move { cluster.send("PATCH", path, &[("content-type", kind)], body.to_string()).await.code }
    };
    let patches = [("application/json-patch+json", one), ("application/strategic-merge-patch+json", two)];
    let codes = together(patches.into_iter().map(|(kind, body)| patch(kind, body))).await;
    assert_eq!(codes, [200, 200]);
    assert_eq!(cluster.get(path).await.code, 404);
    let seen = events(&cluster, CONFIG_MAPS, &created.at("/metadata/resourceVersion")).await;
    let kinds: Vec<&str> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["MODIFIED", "MODIFIED", "DELETED"]);
}

#[tokio::test]
async fn a_patch_does_not_move_long_lists_for_ever() {
    let cluster = Cluster::new().await;
    cluster.config_map("a", json!({})).await;
    let path = format!("{CONFIG_MAPS}/a");
    let headers = [("content-type", "application/json-patch+json")];
    let list = json!({"op": "add", "path": "/x", "value": vec![0; 50_000]});
    for (times, expected) in [(1_000, 200), (4_000, 413)] {
        for again in [
            json!({"op": "add", "path": "/x/0", "value": 0}),
            json!({"op": "remove", "path": "/x/0"}),
            json!({"op": "move", "from": "/x/0", "path": "/x/1"}),
        ] {
            let mut operations = vec![list.clone()];
            operations.extend(vec![again.clone(); if again["op"] == "move" { times / 2 } else { times }]);
            let said = cluster.send("PATCH", &path, &headers, Value::from(operations).to_string()).await;
            assert_eq!(said.code, expected, "{again}: {}", said.message());
        }
    }
}

#[tokio::test]
async fn generated_names_meet() {
    let cluster = Cluster::new().await;
    // The bytes that names are drawn from come again: what was drawn before is taken.
    let draw = |from: u64| cluster.env.drawn.store(from, Ordering::Relaxed);
    let generate = || cluster.post(CONFIG_MAPS, json!({"metadata": {"generateName": "g-"}}));
    draw(100);
    let first = generate().await;
    assert_eq!(first.code, 201);
    draw(100);
    let second = generate().await;
    assert_eq!(second.code, 201);
    assert_ne!(first.at("/metadata/name"), second.at("/metadata/name"));
    draw(100);
    let tried = cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), json!({"metadata": {"generateName": "g-"}})).await;
    assert_eq!(tried.code, 201);
    // Eight names are tried, not more.
    for from in 100..110 {
        draw(from);
        assert_eq!(generate().await.code, 201);
        draw(100);
        if generate().await.code == 409 {
            break;
        }
    }
    draw(100);
    let refused = generate().await;
    assert_eq!(refused.code, 409, "{}", refused.body.len());
    assert!(refused.message().ends_with("the server was not able to generate a unique name for the object"));
    assert_eq!((refused.at("/reason"), refused.at("/details/retryAfterSeconds")), (json!("AlreadyExists"), json!(1)));
    // Who names its object as well gets those words for the name.
    let named = json!({"metadata": {"name": first.at("/metadata/name"), "generateName": "g-"}});
    assert_eq!(cluster.post(CONFIG_MAPS, named).await.at("/details/retryAfterSeconds"), 1);
}

#[tokio::test]
async fn collections_are_deleted_as_they_are_listed() {
    let cluster = Cluster::new().await;
    for (name, half) in [("a", "low"), ("b", "low"), ("c", "high"), ("d", "high")] {
        let finalizers = if name == "b" { json!(["example.com/hold"]) } else { json!([]) };
        let metadata = json!({"name": name, "labels": {"half": half}, "finalizers": finalizers});
        assert_eq!(cluster.post(CONFIG_MAPS, json!({"metadata": metadata})).await.code, 201);
    }
    let left = async || names(&cluster.get(CONFIG_MAPS).await);
    let delete = async |query: &str, body: Value| cluster.delete(&format!("{CONFIG_MAPS}?{query}"), body).await;
    // Nothing happens in a dry run, or when the options are wrong.
    assert_eq!(names(&delete("labelSelector=half%3Dlow&dryRun=All", Value::Null).await), ["a", "b"]);
    assert_eq!(names(&delete("", options(json!({"dryRun": ["All"]}))).await), ["a", "b", "c", "d"]);
    assert_eq!(delete("labelSelector=x%3D%3D%3D", Value::Null).await.code, 400);
    assert_eq!(delete("", options(json!({"propagationPolicy": "Up"}))).await.code, 422);
    assert_eq!(delete("continue=x", Value::Null).await.code, 400);
    assert_eq!(left().await, ["a", "b", "c", "d"]);
    // The one with a finalizer is marked and stays; the answer shows all as they were found.
    let low = delete("labelSelector=half%3Dlow", Value::Null).await;
    assert_eq!((low.code, low.at("/kind"), names(&low)), (200, json!("ConfigMapList"), vec!["a".into(), "b".into()]));
    assert_eq!(low.at("/items/1/metadata/deletionTimestamp"), Value::Null);
    assert_eq!(left().await, ["b", "c", "d"]);
    assert_ne!(cluster.get(&format!("{CONFIG_MAPS}/b")).await.at("/metadata/deletionTimestamp"), Value::Null);
    // A page of it, and the next, which goes on where the list was.
    let page = delete("limit=2", Value::Null).await;
    assert_eq!((names(&page), page.at("/metadata/remainingItemCount")), (vec!["b".into(), "c".into()], json!(1)));
    assert_eq!(left().await, ["b", "d"]);
    cluster.config_map("e", json!({})).await;
    let token = page.at("/metadata/continue");
    let rest = delete(&format!("continue={}", token.as_str().unwrap()), Value::Null).await;
    assert_eq!((names(&rest), left().await), (vec!["d".into()], vec!["b".into(), "e".into()]));
    // As of a version, with the options in a body: what came later stays. In the query alone it is each object's version, too.
    let version = rest.at("/metadata/resourceVersion");
    let labels = json!({"metadata": {"labels": {"half": "none"}}});
    assert_eq!(cluster.merge(&format!("{CONFIG_MAPS}/b"), labels).await.code, 200);
    let query = format!("resourceVersion={}&resourceVersionMatch=Exact", version.as_str().unwrap());
    assert_eq!(delete(&query, Value::Null).await.code, 409);
    assert_eq!(names(&delete(&query, options(json!({}))).await), ["b", "c", "d"]);
    assert_eq!(left().await, ["b", "e"]);
    assert_eq!(names(&delete("fieldSelector=metadata.name%3De", Value::Null).await), ["e"]);
    assert_eq!(left().await, ["b"]);
}

#[tokio::test]
async fn an_object_too_large_for_its_managers_loses_them() {
    let cluster = Cluster::new().await;
    let path = &format!("{CONFIG_MAPS}/a");
    // Many long keys: each stands in the managers a second time.
    let data = |count: usize| {
        let pairs = (0..count).map(|at| (format!("{at:0>240}"), json!("x")));
        Value::Object(pairs.collect())
    };
    let small = cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "a"}, "data": data(10)})).await;
    assert_eq!((small.code, small.at("/metadata/managedFields").is_array()), (201, true));
    let large = cluster.put(path, json!({"metadata": {"name": "a"}, "data": data(11_000)})).await;
    assert_eq!((large.code, large.at("/metadata/managedFields")), (200, Value::Null), "{}", large.message());
    let created = cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "b"}, "data": data(11_000)})).await;
    assert_eq!((created.code, created.at("/metadata/managedFields")), (201, Value::Null), "{}", created.message());
}

#[tokio::test]
async fn who_reports_how_these_fare_changes_no_metadata() {
    let cluster = Cluster::new().await;
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let policy = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]});
    let limited = json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}});
    let served = json!({"group": "a.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
        "service": {"namespace": "default", "name": "a"}, "insecureSkipTLSVerify": true});
    let attached = json!({"attacher": "csi.example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}});
    let all = [
        ("/apis/storage.k8s.io/v1/volumeattachments", "a", attached),
        ("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", "a", policy),
        ("/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", "a", limited),
        (
            "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
            "a",
            json!({"priorityLevelConfiguration": {"name": "catch-all"}}),
        ),
        ("/apis/apiregistration.k8s.io/v1/apiservices", "v1.a.example.com", served),
        ("/apis/resource.k8s.io/v1/namespaces/default/resourceclaims", "a", json!({})),
    ];
    for (path, name, spec) in all {
        let metadata = json!({"name": name, "labels": {"kept": "1"}, "annotations": {"kept": "1"}});
        let created = cluster.post(path, json!({"metadata": metadata, "spec": spec})).await;
        assert_eq!(created.code, 201, "{path}: {}", created.message());
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"});
        let wanted = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "ownerReferences": [owner],
            "finalizers": ["example.com/hold"]}});
        let said = cluster.merge(&format!("{path}/{name}/status"), wanted).await;
        assert_eq!(said.code, 200, "{path}: {}", said.message());
        let held = |field: &str| said.at(&format!("/metadata/{field}"));
        assert_eq!((held("labels"), held("annotations")), (json!({"kept": "1"}), json!({"kept": "1"})), "{path}");
        assert_eq!((held("ownerReferences"), held("finalizers")), (Value::Null, Value::Null), "{path}");
    }
}
