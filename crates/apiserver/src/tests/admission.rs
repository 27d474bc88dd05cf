//! Admission: which passes run for which writes and what they see, and the plugins for certificates, owners and streams.

use std::sync::Mutex;

use portcullis_gate::{Attributes, Decision, Profile, Rules, Target, Verdict};
use portcullis_model::tree::Tree;

use super::*;
use crate::admission::{Attempt, Operation, Pass, Selection};
use crate::registry::Served;
use crate::registry::metadata::{Metadata, set_string};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Allows what is listed: user, verb, resource with subresource, and name.
struct Listed(Vec<(&'static str, &'static str, &'static str, &'static str)>);

impl Authorizer for Listed {
    fn name(&self) -> &'static str {
        "listed"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        let Target::Resource { resource, subresource, name, .. } = attributes.target else {
            return Decision::Now(Verdict::no_opinion());
        };
        let full = if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") };
        let allowed = self.0.iter().any(|(user, verb, of, named)| {
            *user == attributes.user.name
                && *verb == attributes.verb
                && *of == full
                && (*named == "*" || *named == name)
        });
        Decision::Now(if allowed { Verdict::allow("listed") } else { Verdict::no_opinion() })
    }

    fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
}

fn user(name: &str) -> Arc<Peer> {
    let groups = vec![GROUP_AUTHENTICATED.to_owned()];
    Peer::in_process(Arc::new(Identity { name: name.to_owned(), groups, ..Identity::default() }))
}

/// Writes down every pass over config maps and scales; refuses objects that say so in a label, and answers late.
struct Probe(Arc<Mutex<Vec<String>>>);

impl Probe {
    fn note(&self, pass: &str, attempt: &Attempt<'_>) {
        let uid = |tree: &Tree| match Metadata::of(attempt.served(), tree).uid() {
            "" => "-",
            _ => "uid",
        };
        let replicas = |tree: &Tree| {
            let mut out = Vec::new();
            portcullis_model::schema::encode_json::write(attempt.served().schema, tree, &mut out);
            let object: Value = serde_json::from_slice(&out).unwrap();
            object.pointer("/spec/replicas").cloned().unwrap_or_default().to_string()
        };
        let show = |tree: Option<&Tree>| match tree {
            None => "none".to_owned(),
            Some(tree) if attempt.subresource() == "scale" => replicas(tree),
            Some(tree) => uid(tree).to_owned(),
        };
        let (operation, name) = (attempt.operation.as_str(), attempt.name);
        let dry = if attempt.dry_run { " dry" } else { "" };
        let (new, old) = (show(attempt.new()), show(attempt.old));
        let line = format!("{pass} {operation} {name:?} {}: {old} -> {new}{dry}", attempt.subresource());
        self.0.lock().unwrap().push(line);
    }

    fn refuses(attempt: &Attempt<'_>, pass: &str) -> bool {
        let labels = |tree| Metadata::of(attempt.served(), tree).labels().any(|label| label == ("refuse", pass));
        attempt.subresource() != "scale" && attempt.new().or(attempt.old).is_some_and(labels)
    }
}

impl Plugin for Probe {
    fn name(&self) -> &'static str {
        "Probe"
    }

    fn handles(&self, served: &Served, _: Operation) -> bool {
        served.is("", "configmaps") || served.is("apps", "replicasets")
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        self.note("admit", attempt);
        if Probe::refuses(attempt, "admit") {
            return Pass::Now(Err(attempt.forbidden("no")));
        }
        let served = attempt.served();
        if attempt.subresource().is_empty()
            && let Some(object) = attempt.object.as_deref_mut()
        {
            // The server's own fields come after the pass, whatever it says.
            set_string(served, object, served.meta.uid, "forged");
        }
        Pass::Later(Box::pin(async { Ok(()) }))
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        self.note("validate", attempt);
        Pass::Later(Box::pin(async {
            if Probe::refuses(attempt, "validate") { Err(attempt.forbidden("never")) } else { Ok(()) }
        }))
    }
}

#[tokio::test]
async fn every_write_passes_twice() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let probe = Probe(Arc::clone(&notes));
    let cluster = Cluster::with(Config::default(), Vec::new(), Some(vec![Box::new(probe)])).await;
    let check = |expected: &[&str]| {
        let noted: Vec<String> = std::mem::take(&mut *notes.lock().unwrap());
        assert_eq!(noted, expected);
    };
    check(&[]);
    let created = cluster.config_map("a", json!({})).await;
    assert_ne!(created.at("/metadata/uid"), "forged");
    check(&[r#"admit CREATE "a" : none -> -"#, r#"validate CREATE "a" : none -> uid"#]);
    cluster.post(&format!("{CONFIG_MAPS}?dryRun=All"), json!({"metadata": {"generateName": "b-"}})).await;
    let noted: Vec<String> = std::mem::take(&mut *notes.lock().unwrap());
    assert_eq!(noted[0], r#"admit CREATE "" : none -> - dry"#);
    assert!(noted[1].starts_with(r#"validate CREATE "b-"#), "{}", noted[1]);
    let a = &format!("{CONFIG_MAPS}/a");
    let patched = cluster.merge(a, json!({"data": {"c": "d"}})).await;
    // What a plugin forges is found by validation, and by nobody else.
    assert_eq!(
        (patched.code, patched.at("/details/causes/0/field")),
        (422, json!("metadata.uid")),
        "{}",
        patched.message()
    );
    check(&[r#"admit UPDATE "a" : uid -> uid"#]);
    cluster.delete(a, Value::Null).await;
    check(&[r#"admit DELETE "a" : uid -> none"#, r#"validate DELETE "a" : uid -> none"#]);
    let refused = cluster.post(CONFIG_MAPS, json!({"metadata": {"name": "b", "labels": {"refuse": "admit"}}})).await;
    assert_eq!((refused.code, refused.message().as_str()), (403, r#"configmaps "b" is forbidden: no"#));
    check(&[r#"admit CREATE "b" : none -> -"#]);
    let labels = json!({"refuse": "validate"});
    let refused = cluster.post(CONFIG_MAPS, json!({"metadata": {"generateName": "c-", "labels": labels}})).await;
    assert_eq!(refused.code, 403);
    assert!(refused.message().ends_with("is forbidden: never"), "{}", refused.message());
    assert_eq!(cluster.get(CONFIG_MAPS).await.at("/items"), json!([]));
}

#[tokio::test]
async fn a_collection_is_admitted_object_by_object() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let probe = Probe(Arc::clone(&notes));
    let cluster = Cluster::with(Config::default(), Vec::new(), Some(vec![Box::new(probe)])).await;
    for name in ["a", "b"] {
        cluster.config_map(name, json!({})).await;
    }
    notes.lock().unwrap().clear();
    cluster.delete(CONFIG_MAPS, Value::Null).await;
    let mut noted: Vec<String> = std::mem::take(&mut *notes.lock().unwrap());
    noted.sort();
    assert_eq!(
        noted,
        [
            r#"admit DELETE "a" : uid -> none"#,
            r#"admit DELETE "b" : uid -> none"#,
            r#"validate DELETE "a" : uid -> none"#,
            r#"validate DELETE "b" : uid -> none"#,
        ]
    );
}

#[tokio::test]
async fn a_scale_is_admitted_as_a_scale() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let probe = Probe(Arc::clone(&notes));
    let cluster = Cluster::with(Config::default(), Vec::new(), Some(vec![Box::new(probe)])).await;
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let labels = json!({"app": "a"});
    let template = json!({
        "metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]},
    });
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    let created = cluster.post(sets, json!({"metadata": {"name": "a"}, "spec": spec})).await;
    assert_eq!(created.code, 201, "{}", created.message());
    notes.lock().unwrap().clear();
    let scaled = cluster.merge(&format!("{sets}/a/scale"), json!({"spec": {"replicas": 3}})).await;
    assert_eq!((scaled.code, scaled.at("/spec/replicas")), (200, json!(3)), "{}", scaled.message());
    let noted = notes.lock().unwrap().clone();
    assert_eq!(noted, [r#"admit UPDATE "a" scale: 1 -> 3"#, r#"validate UPDATE "a" scale: 1 -> 3"#]);
}

fn request_of(name: &str, request: &str, signer: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"request": request, "signerName": signer, "usages": ["client auth"], "username": "root"},
    })
}

/// A request of `O=harbor, CN=ana`.
const ANA: &str = include_str!("../../../kinds/src/certificates/certificate_signing_request/ana.csr.base64");

/// A request of `O=system:masters, CN=root`.
const ROOT: &str = include_str!("../../../kinds/src/certificates/certificate_signing_request/root.csr.base64");

/// A certificate of `CN=ana`.
const CERTIFICATE: &str = include_str!("../../../kinds/src/certificates/certificate_signing_request/ana.crt.base64");

fn approval(status: &str) -> Value {
    json!({"status": {"conditions": [{"type": "Approved", "status": status, "reason": "Known"}]}})
}

#[tokio::test]
async fn who_approves_and_who_signs_is_allowed_to_for_the_signer() {
    let allowed = vec![
        ("ana", "create", "certificatesigningrequests", "*"),
        ("harbor", "patch", "certificatesigningrequests/approval", "*"),
        ("harbor", "patch", "certificatesigningrequests/status", "*"),
        ("harbor", "approve", "signers", "example.com/quay"),
        ("harbor", "sign", "signers", "example.org/*"),
    ];
    let cluster = Cluster::with(Config::default(), vec![Arc::new(Listed(allowed))], None).await;
    let (ana, harbor) = (user("ana"), user("harbor"));
    let json_type = [("content-type", "application/json")];
    let merge_type = [("content-type", "application/merge-patch+json")];
    for (name, signer) in [("quay", "example.com/quay"), ("pier", "example.com/pier"), ("lock", "example.org/lock")] {
        let body = request_of(name, ANA, signer).to_string();
        let created = cluster.send_as(&ana, "POST", REQUESTS, &json_type, body).await;
        assert_eq!((created.code, created.at("/spec/username")), (201, json!("ana")), "{}", created.message());
        assert_eq!(created.at("/spec/groups"), json!([GROUP_AUTHENTICATED]));
    }
    let check = async |name: &str, door: &str, body: Value, expected: Result<(), &str>| {
        let path = format!("{REQUESTS}/{name}/{door}");
        let said = cluster.send_as(&harbor, "PATCH", &path, &merge_type, body.to_string()).await;
        match expected {
            Ok(()) => assert_eq!(said.code, 200, "{name} {door}: {}", said.message()),
            Err(why) => {
                let message = format!("certificatesigningrequests.certificates.k8s.io \"{name}\" is forbidden: {why}");
                assert_eq!((said.code, said.message()), (403, message));
            }
        }
    };
    let certificate = json!({"status": {"certificate": CERTIFICATE}});
    check("quay", "approval", approval("True"), Ok(())).await;
    let no_approve = |signer: &str| format!("user not permitted to approve requests with signerName \"{signer}\"");
    check("pier", "approval", approval("True"), Err(&no_approve("example.com/pier"))).await;
    check("lock", "approval", approval("True"), Err(&no_approve("example.org/lock"))).await;
    // The signer that counts is the stored one.
    let mut disguised = approval("True");
    disguised["spec"] = json!({"signerName": "example.com/quay"});
    check("pier", "approval", disguised, Err(&no_approve("example.com/pier"))).await;
    let no_sign = |signer: &str| format!("user not permitted to sign requests with signerName \"{signer}\"");
    check("quay", "status", certificate.clone(), Err(&no_sign("example.com/quay"))).await;
    check("lock", "status", certificate, Ok(())).await;
    // Saying nothing new needs no permission to sign.
    check("quay", "status", json!({"metadata": {"annotations": {"a": "b"}}}), Ok(())).await;
    let failed = json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}});
    check("pier", "status", failed, Err(&no_sign("example.com/pier"))).await;
    let stored = cluster.get(&format!("{REQUESTS}/quay")).await;
    assert_eq!(stored.at("/status/conditions/0/type"), "Approved");
    assert_eq!(stored.at("/status/conditions/0/lastUpdateTime"), "2027-01-15T08:00:00Z");
    assert_eq!(cluster.get(&format!("{REQUESTS}/quay/approval")).await.body, stored.body);
    assert_eq!(cluster.delete(&format!("{REQUESTS}/quay/approval"), Value::Null).await.code, 405);
}

#[tokio::test]
async fn nobody_asks_for_the_group_that_may_do_everything() {
    let cluster = Cluster::new().await;
    let check = async |request: &str, signer: &str, expected: Option<&str>| {
        let said = cluster.post(&format!("{REQUESTS}?dryRun=All"), request_of("x", request, signer)).await;
        match expected {
            None => assert_eq!(said.code, 201, "{}", said.message()),
            Some(why) => {
                let message = format!("certificatesigningrequests.certificates.k8s.io \"x\" is forbidden: {why}");
                assert_eq!((said.code, said.message()), (403, message));
            }
        }
    };
    let client = "kubernetes.io/kube-apiserver-client";
    check(ANA, client, None).await;
    let why = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
    check(ROOT, client, Some(why)).await;
    check(ROOT, "example.com/quay", None).await;
}

#[tokio::test]
async fn owners_are_named_by_who_may_end_them() {
    let on = ["OwnerReferencesPermissionEnforcement".to_owned()];
    let config = Config { admission: Selection::new(&on, &[]).unwrap(), ..Config::default() };
    let allowed = vec![
        ("ana", "create", "configmaps", "*"),
        ("ana", "patch", "configmaps", "*"),
        ("ana", "delete", "configmaps", "mine"),
        ("ana", "update", "pods/finalizers", "boat"),
    ];
    let cluster = Cluster::with(config, vec![Arc::new(Listed(allowed))], None).await;
    let ana = user("ana");
    let owner = |kind: &str, name: &str, blocks: bool| json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": format!("{name}-uid"), "blockOwnerDeletion": blocks}]);
    for name in ["mine", "yours"] {
        cluster.config_map(name, json!({})).await;
    }
    let check = async |method: &str, name: &str, owners: Value, expected: Option<&str>| {
        let body = json!({"metadata": {"name": name, "ownerReferences": owners}}).to_string();
        let said = match method {
            "POST" => cluster.send_as(&ana, method, CONFIG_MAPS, &[("content-type", "application/json")], body).await,
            _ => {
                let path = format!("{CONFIG_MAPS}/{name}");
                let merge_type = [("content-type", "application/merge-patch+json")];
                cluster.send_as(&ana, "PATCH", &path, &merge_type, body).await
            }
        };
        match expected {
            None => assert!([200, 201].contains(&said.code), "{}", said.message()),
            Some(why) => {
                assert_eq!((said.code, said.message()), (403, format!("configmaps \"{name}\" is forbidden: {why}")));
            }
        }
    };
    let cannot_set = "cannot set an ownerRef on a resource you can't delete: , <nil>";
    let cannot_block = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers \
                        on: , <nil>";
    check("POST", "new", owner("Pod", "ship", false), None).await;
    check("POST", "held", owner("Pod", "ship", true), Some(cannot_block)).await;
    check("POST", "held", owner("Pod", "boat", true), None).await;
    check(
        "POST",
        "odd",
        owner("Boat", "boat", true),
        Some(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion v1 Kind Boat: no matches \
             for kind \"Boat\" in version \"v1\"",
        ),
    )
    .await;
    check("PATCH", "mine", owner("Pod", "ship", false), None).await;
    check("PATCH", "mine", owner("Pod", "ship", true), Some(cannot_block)).await;
    check("PATCH", "yours", owner("Pod", "ship", false), Some(cannot_set)).await;
    check("PATCH", "yours", json!([]), None).await;
}

#[tokio::test]
async fn a_put_that_creates_needs_create() {
    let allowed =
        vec![("ana", "update", "leases", "*"), ("ana", "update", "endpoints", "*"), ("ana", "create", "leases", "*")];
    let cluster = Cluster::with(Config::default(), vec![Arc::new(Listed(allowed))], None).await;
    let ana = user("ana");
    let put = async |path: &str, body: Value| {
        cluster.send_as(&ana, "PUT", path, &[("content-type", "application/json")], body.to_string()).await
    };
    let lease =
        put("/apis/coordination.k8s.io/v1/namespaces/default/leases/a", json!({"metadata": {"name": "a"}})).await;
    assert_eq!(lease.code, 201, "{}", lease.message());
    let endpoints = put("/api/v1/namespaces/default/endpoints/a", json!({"metadata": {"name": "a"}})).await;
    let why = r#"endpoints "a" is forbidden: User "ana" cannot create resource "endpoints" in API group "" in the namespace "default""#;
    assert_eq!((endpoints.code, endpoints.message().as_str()), (403, why));
    // What is wrong with the object is told first.
    let bad =
        put("/api/v1/namespaces/default/endpoints/a", json!({"metadata": {"name": "a", "labels": {"a b": ""}}})).await;
    assert_eq!(bad.code, 422, "{}", bad.message());
}

#[tokio::test]
async fn a_stream_needs_create() {
    let allowed = || {
        vec![
            ("ana", "get", "pods/exec", "*"),
            ("ana", "get", "pods/attach", "*"),
            ("ana", "get", "pods/portforward", "*"),
            ("ana", "get", "pods/log", "*"),
            ("ana", "get", "nodes/proxy", "*"),
            ("harbor", "get", "pods/exec", "*"),
            ("harbor", "create", "pods/exec", "*"),
        ]
    };
    for profile in [Profile::Locked, Profile::Upstream] {
        let config = Config { profile, ..Config::default() };
        let cluster = Cluster::with(config, vec![Arc::new(Listed(allowed()))], None).await;
        let check = async |name: &str, path: &str, expected: Result<u16, &str>| {
            let said = cluster.send_as(&user(name), "GET", &format!("/api/v1/{path}"), &[], "").await;
            match expected {
                Ok(code) => assert_eq!(said.code, code, "{path}: {}", said.message()),
                Err(what) => {
                    assert_eq!(said.code, 403, "{path}");
                    let wanted = format!("User \"{name}\" cannot create resource \"{what}\" in API group \"\" ");
                    assert!(said.message().contains(&wanted), "{}", said.message());
                }
            }
        };
        for what in ["exec", "attach", "portforward"] {
            let path = format!("namespaces/default/pods/a/{what}?command=id");
            check("ana", &path, Err(&format!("pods/{what}"))).await;
        }
        // Whoever may open one learns that there is no such pod.
        check("harbor", "namespaces/default/pods/a/exec?command=id", Ok(404)).await;
        check("ana", "namespaces/default/pods/a/log", Ok(404)).await;
        check("ana", "nodes/a/proxy/pods", Ok(405)).await;
        let around = if profile == Profile::Locked { Err("nodes/proxy") } else { Ok(405) };
        for tail in ["exec/default/a/app", "run/default/a/app", "/exec/default/a/app", "%65xec/default/a/app"] {
            check("ana", &format!("nodes/a/proxy/{tail}"), around).await;
        }
    }
}

/// Refuses what happens to an object that is labelled, as it is stored.
struct Moored;

impl Plugin for Moored {
    fn name(&self) -> &'static str {
        "Moored"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        served.is("", "pods") && operation != Operation::Create
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let served = attempt.served();
        let is_moored =
            attempt.old.is_some_and(|old| Metadata::of(served, old).labels().any(|label| label.0 == "moored"));
        Pass::Now(if is_moored { Err(attempt.forbidden("it is moored")) } else { Ok(()) })
    }
}

#[tokio::test]
async fn cve_2021_25735_the_old_object_is_the_stored_one() {
    let cluster = Cluster::with(Config::default(), Vec::new(), Some(vec![Box::new(Moored)])).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |labels: Value| {
        json!({
            "metadata": {"name": "a", "labels": labels}, "spec": {"containers": [{"name": "a", "image": "a"}]},
            "status": {"phase": "Failed"},
        })
    };
    assert_eq!(cluster.post(pods, pod(json!({"moored": "yes"}))).await.code, 201);
    let check =
        |said: Said| assert_eq!((said.code, said.message().as_str()), (403, r#"pods "a" is forbidden: it is moored"#));
    let (a, status) = (&format!("{pods}/a"), &format!("{pods}/a/status"));
    check(cluster.put(a, pod(json!({}))).await);
    check(cluster.merge(a, json!({"metadata": {"labels": null}})).await);
    check(cluster.put(status, pod(json!({}))).await);
    check(cluster.merge(status, json!({"metadata": {"labels": null}})).await);
    check(cluster.delete(a, Value::Null).await);
    check(cluster.delete(pods, Value::Null).await);
    assert_eq!(cluster.get(a).await.at("/metadata/labels/moored"), "yes");
}

#[tokio::test]
async fn cve_2016_1905_a_patch_is_admitted_as_what_it_makes() {
    let probe = Probe(Arc::default());
    let cluster = Cluster::with(Config::default(), Vec::new(), Some(vec![Box::new(probe)])).await;
    cluster.config_map("a", json!({})).await;
    let a = &format!("{CONFIG_MAPS}/a");
    let merged = cluster.merge(a, json!({"metadata": {"labels": {"refuse": "admit"}}})).await;
    assert_eq!((merged.code, merged.message().as_str()), (403, r#"configmaps "a" is forbidden: no"#));
    let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"refuse": "admit"}}]);
    let patched = cluster.send("PATCH", a, &[("content-type", "application/json-patch+json")], patch.to_string()).await;
    assert_eq!((patched.code, patched.message()), (403, merged.message()));
}

#[tokio::test]
async fn a8_what_is_not_allowed_is_not_admitted() {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let probe = Probe(Arc::clone(&notes));
    let cluster = Cluster::with(Config::default(), Vec::new(), Some(vec![Box::new(probe)])).await;
    let ana = user("ana");
    let body = json!({"metadata": {"name": "a"}}).to_string();
    let said = cluster.send_as(&ana, "POST", CONFIG_MAPS, &[("content-type", "application/json")], body).await;
    assert_eq!(said.code, 403);
    assert_eq!(cluster.send_as(&ana, "DELETE", CONFIG_MAPS, &[], "").await.code, 403);
    assert!(notes.lock().unwrap().is_empty());
}
