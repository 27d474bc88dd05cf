//! Reviews, bindings and component statuses: what is asked and made, but not stored under its own name.

use portcullis_gate::{Attributes, Decision, Requirement, Rules, Target, Verdict};

use super::*;

const ACCESS: &str = "/apis/authorization.k8s.io/v1";
const TOKENS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn access_is_what_would_be_decided() {
    let cluster = Cluster::new().await;
    let check = async |resource: &str, spec: Value, expected: Value| {
        let said = cluster.post(&format!("{ACCESS}/{resource}"), json!({"spec": spec})).await;
        assert_eq!((said.code, said.at("/status")), (201, expected), "{spec}");
        assert_eq!(said.at("/spec"), spec);
        assert_eq!(said.at("/metadata/managedFields/0/operation"), "Update");
    };
    let subject = "subjectaccessreviews";
    let pods = json!({"namespace": "default", "verb": "get", "resource": "pods"});
    let health = json!({"path": "/healthz", "verb": "get"});
    let no = json!({"allowed": false});
    let public = json!({"allowed": true, "reason": "L1: the path is public"});
    check(subject, json!({"resourceAttributes": pods, "user": "ana"}), no.clone()).await;
    check(subject, json!({"resourceAttributes": pods, "groups": [GROUP_MASTERS]}), json!({"allowed": true})).await;
    check(subject, json!({"resourceAttributes": pods, "user": GROUP_MASTERS}), no.clone()).await;
    check(subject, json!({"nonResourceAttributes": health, "user": "ana"}), public).await;
    check(subject, json!({"nonResourceAttributes": {"path": "/x", "verb": "get"}, "user": "ana"}), no.clone()).await;
    check("namespaces/default/localsubjectaccessreviews", json!({"resourceAttributes": pods, "user": "ana"}), no).await;
    check("selfsubjectaccessreviews", json!({"resourceAttributes": pods}), json!({"allowed": true})).await;
}

#[tokio::test]
async fn questions_that_cannot_be_asked() {
    let cluster = Cluster::new().await;
    let check = async |resource: &str, body: Value, expected: &str| {
        let said = cluster.post(&format!("{ACCESS}/{resource}"), body.clone()).await;
        let message = said.message();
        let complaint = message.strip_prefix(r#".authorization.k8s.io "" is invalid: "#).unwrap_or(&message);
        assert_eq!((said.code, complaint), (422, expected), "{body}");
    };
    let (subject, local) = ("subjectaccessreviews", "namespaces/default/localsubjectaccessreviews");
    let choice = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must \
                  be specified";
    let user = r#"spec.user: Invalid value: "": at least one of user or group must be specified"#;
    check(subject, json!({"spec": {"user": "ana"}}), choice).await;
    check(subject, json!({}), &format!("[{choice}, {user}]")).await;
    check(subject, json!({"spec": {"resourceAttributes": {"verb": "get"}}}), user).await;
    check(
        "selfsubjectaccessreviews",
        json!({"spec": {"resourceAttributes": {}, "nonResourceAttributes": {"path": "/x"}}}),
        r#"spec.nonResourceAttributes: Invalid value: {"path":"/x"}: cannot be specified in combination with resourceAttributes"#,
    )
    .await;
    check(
        subject,
        json!({"metadata": {"name": "x"}, "spec": {"user": "ana", "resourceAttributes": {}}}),
        r#"metadata: Invalid value: {"name":"x"}: must be empty"#,
    )
    .await;
    check(
        local,
        json!({"spec": {"user": "ana", "resourceAttributes": {"namespace": "other"}}}),
        r#"spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace"#,
    )
    .await;
    check(
        subject,
        json!({"spec": {"user": "ana", "resourceAttributes": {"labelSelector": {}}}}),
        "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is \
         specified, requirements or rawSelector is required",
    )
    .await;
    check(
        subject,
        json!({"spec": {"user": "ana", "resourceAttributes": {"fieldSelector": {"requirements": [
            {"key": "a", "operator": "In"}
        ]}}}}),
        "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is \
         'In' or 'NotIn'",
    )
    .await;
    let elsewhere = json!({"metadata": {"namespace": "other"}, "spec": {"user": "ana", "resourceAttributes": {}}});
    assert_eq!(cluster.post(&format!("{ACCESS}/{local}"), elsewhere).await.code, 400);
}

#[tokio::test]
async fn rules_and_tokens() {
    let cluster = Cluster::new().await;
    let path = format!("{ACCESS}/selfsubjectrulesreviews");
    let said = cluster.post(&path, json!({"spec": {"namespace": "default"}})).await;
    assert_eq!((said.code, said.at("/spec"), said.at("/metadata")), (201, json!({}), json!({})));
    let every = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    assert_eq!(said.at("/status/resourceRules"), every);
    assert_eq!(said.at("/status/nonResourceRules/0"), json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    assert_eq!(said.at("/status/incomplete"), false);
    let said = cluster.post(&path, json!({})).await;
    assert_eq!((said.code, said.message().as_str()), (400, "no namespace on request"));
    let said = cluster.post(TOKENS, json!({"spec": {"token": "x"}, "status": {"authenticated": true}})).await;
    assert_eq!((said.code, said.at("/status")), (201, json!({"user": {}, "error": "invalid bearer token"})));
    assert_eq!(cluster.post(TOKENS, json!({"spec": {}})).await.code, 400);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = Cluster::new().await;
    let pod = |name: &str, gates: Value| {
        let container = json!({"name": "c", "image": "crane:1"});
        let metadata = json!({"name": name, "annotations": {"by": "nobody", "a": "b"}});
        json!({"metadata": metadata, "spec": {"containers": [container], "schedulingGates": gates}})
    };
    let made = cluster.post(PODS, pod("p", json!([]))).await;
    assert_eq!(made.code, 201, "{}", made.message());
    assert_eq!(cluster.post(PODS, pod("gated", json!([{"name": "wait"}]))).await.code, 201);
    let check = async |pod: &str, query: &str, body: Value, code: u16, expected: &str| {
        let said = cluster.post(&format!("{PODS}/{pod}/binding{query}"), body.clone()).await;
        assert_eq!((said.code, said.message().as_str()), (code, expected), "{body}");
    };
    let to = |name: &str, node: &str| json!({"metadata": {"name": name, "annotations": {"by": "me"}}, "target": {"name": node}});
    let with = |field: &str, value: &str| json!({"metadata": {"name": "p", field: value}, "target": {"name": "n1"}});
    let unbound = "name in URL does not match name in Binding object";
    check("p", "", to("q", "n1"), 400, unbound).await;
    check("p", "", to("p", ""), 500, "target.name: Required value").await;
    check("nobody", "", to("nobody", "n1"), 404, r#"pods "nobody" not found"#).await;
    let conflict = r#"Operation cannot be fulfilled on pods/binding"#;
    let gated = format!(r#"{conflict} "gated": pod gated has non-empty .spec.schedulingGates"#);
    check("gated", "", to("gated", "n1"), 409, &gated).await;
    let (uid, version) = (made.at("/metadata/uid"), made.at("/metadata/resourceVersion"));
    let (uid, version) = (uid.as_str().unwrap(), version.as_str().unwrap());
    let precondition = |what: &str, given: &str, held: &str| {
        format!(
            "Operation cannot be fulfilled on pods \"p\": StorageError: invalid object, Code: 4, Key: /registry/pods/default/p, \
             ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what} in precondition: {given}, {what} in object \
             meta: {held}"
        )
    };
    check("p", "", with("uid", "other"), 409, &precondition("UID", "other", uid)).await;
    let stale = precondition("ResourceVersion", "1", version);
    check("p", "", with("resourceVersion", "1"), 409, &stale).await;
    check("p", "?dryRun=All", to("p", "n1"), 201, "").await;
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.at("/spec/nodeName"), Value::Null);
    check("p", "", to("p", "n1"), 201, "").await;
    let again = format!(r#"{conflict} "p": pod p is already assigned to node "n1""#);
    check("p", "", to("p", "n2"), 409, &again).await;
    let bound = cluster.get(&format!("{PODS}/p")).await;
    assert_eq!(bound.at("/spec/nodeName"), "n1");
    assert_eq!(bound.at("/metadata/annotations"), json!({"a": "b", "by": "me"}));
    assert_eq!(bound.at("/metadata/generation"), made.at("/metadata/generation"));
    assert_eq!(bound.at("/metadata/managedFields"), made.at("/metadata/managedFields"));
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": "2027-01-15T08:00:00Z",
    });
    assert_eq!(bound.at("/status/conditions"), json!([condition]));
}

#[tokio::test]
async fn the_older_door_to_binding() {
    let cluster = Cluster::new().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "crane:1"}]}});
    assert_eq!(cluster.post(PODS, pod).await.code, 201);
    let bindings = "/api/v1/namespaces/default/bindings";
    let check =
        async |body: Value, code: u16| assert_eq!(cluster.post(bindings, body.clone()).await.code, code, "{body}");
    check(json!({"target": {"name": "n1"}}), 400).await;
    check(json!({"metadata": {"name": "p", "namespace": "other"}, "target": {"name": "n1"}}), 400).await;
    check(json!({"metadata": {"name": "p"}, "target": {"kind": "Boat", "name": "n1"}}), 500).await;
    check(json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}), 201).await;
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.at("/spec/nodeName"), "n1");
    assert_eq!(cluster.get(bindings).await.code, 405);
}

#[tokio::test]
async fn components_have_conditions() {
    let cluster = Cluster::new().await;
    let path = "/api/v1/componentstatuses";
    let said = cluster.get(path).await;
    assert_eq!((said.code, said.at("/kind")), (200, json!("ComponentStatusList")));
    assert_eq!(names(&said), ["controller-manager", "etcd-0", "scheduler"]);
    assert_eq!(said.warnings, [r#"299 - "v1 ComponentStatus is deprecated in v1.19+""#]);
    assert_eq!(names(&cluster.get(&format!("{path}?fieldSelector=metadata.name%3Detcd-0")).await), ["etcd-0"]);
    let store = cluster.get(&format!("{path}/etcd-0")).await;
    assert_eq!(store.at("/conditions"), json!([{"type": "Healthy", "status": "True", "message": "ok"}]));
    let as_table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = cluster.send("GET", &format!("{path}/etcd-0"), &as_table, "").await;
    assert_eq!(table.at("/rows/0/cells"), json!(["etcd-0", "Healthy", "ok", ""]));
    assert_eq!(table.at("/rows/0/object/metadata"), json!({"name": "etcd-0"}));
    let missing = cluster.get(&format!("{path}/nosuch")).await;
    assert_eq!((missing.code, missing.message().as_str()), (500, "Component not found: nosuch"));
    assert_eq!(cluster.post(path, json!({})).await.code, 405);
}

/// Allows nothing, and says which selectors it was shown.
struct Shown;

impl Authorizer for Shown {
    fn name(&self) -> &'static str {
        "shown"
    }

    fn decide<'a>(&'a self, attributes: &'a Attributes<'a>) -> Decision<'a> {
        let Target::Resource { selectors, .. } = attributes.target else {
            return Decision::Now(Verdict::no_opinion());
        };
        let show = |all: &[Requirement]| {
            let each = all.iter().map(|one| format!("{} {:?} {}", one.key, one.operator, one.values.join("|")));
            each.collect::<Vec<_>>().join("; ")
        };
        let reason = format!("{} / {}", show(&selectors.read().fields), show(&selectors.read().labels)).into();
        Decision::Now(Verdict::NoOpinion { reason })
    }

    fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
}

#[tokio::test]
async fn a_review_asks_about_what_it_selects() {
    let cluster = Cluster::with(Config::default(), vec![Arc::new(Shown)], None).await;
    let check = async |fields: Value, labels: Value, expected: &str| {
        let mut asked = json!({"verb": "list", "resource": "pods"});
        for (name, selector) in [("fieldSelector", fields), ("labelSelector", labels)] {
            if !selector.is_null() {
                asked[name] = selector;
            }
        }
        let spec = json!({"user": "ana", "resourceAttributes": asked});
        let said = cluster.post(&format!("{ACCESS}/subjectaccessreviews"), json!({"spec": spec})).await;
        assert_eq!((said.code, said.at("/status/reason")), (201, json!(expected)), "{}", said.message());
    };
    let raw = |text: &str| json!({"rawSelector": text});
    let one = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    check(Value::Null, Value::Null, " / ").await;
    check(
        raw("spec.nodeName=n1,a!=b"),
        raw("app in (a,b),!c"),
        "a NotIn b; spec.nodeName In n1 / app In a|b; c DoesNotExist ",
    )
    .await;
    let fields = json!({"requirements": [one("spec.nodeName", "In", &["n1"]), one("a", "NotIn", &["b"])]});
    let labels = json!({"requirements": [one("app", "In", &["a", "b"]), one("c", "Exists", &[])]});
    check(fields, labels, "spec.nodeName In n1; a NotIn b / app In a|b; c Exists ").await;
    // What nobody can understand selects everything.
    let odd = json!({"requirements": [one("a", "In", &["b", "c"]), one("d", "Exists", &[]), one("e", "Like", &["f"])]});
    check(odd, raw("a>>b"), " / ").await;
}
