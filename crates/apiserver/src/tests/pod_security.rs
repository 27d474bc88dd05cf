//! PodSecurity and the plugins beside it, from request to answer: who is refused, who is warned, what is put on record.

use std::sync::Mutex;

use portcullis_audit::{Auditor, Event, Level, Objects, PolicyDocument, RuleDocument, Sink, Taken};
use portcullis_client::DialRule;
use portcullis_gate::{Document, Profile};

use super::*;
use crate::admission::always_pull_images::AlwaysPullImages;
use crate::admission::event_rate_limit::EventRateLimit;
use crate::admission::pod_security::PodSecurity;
use crate::admission::{Given, PluginFault};

/// Keeps the annotations of every event.
#[derive(Clone, Default)]
struct Annotations(Arc<Mutex<Vec<Value>>>);

impl Sink for Annotations {
    fn name(&self) -> &'static str {
        "annotations"
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        let mut line = String::new();
        event.render(Objects::With, &mut line);
        let event: Value = serde_json::from_str(&line).unwrap();
        self.0.lock().unwrap().push(event["annotations"].clone());
        Taken::Now(Ok(()))
    }
}

struct Harbor {
    cluster: Cluster,
    annotations: Annotations,
}

type Maker = fn(Given<'_>) -> Result<Box<dyn Plugin>, PluginFault>;

impl Harbor {
    async fn new(profile: Profile, configuration: Option<&str>) -> Harbor {
        Harbor::with(profile, PodSecurity::configured, configuration).await
    }

    async fn with(profile: Profile, make: Maker, configuration: Option<&str>) -> Harbor {
        let configuration = configuration.map(|text| Document::parse(text.as_bytes()).unwrap());
        let plugin = make(Given { configuration, dial: &DialRule::default() }).unwrap();
        let rule = RuleDocument { level: Level::Metadata.as_str().to_owned(), ..RuleDocument::default() };
        let policy = PolicyDocument { rules: vec![rule], ..PolicyDocument::default() }.validate().unwrap();
        let annotations = Annotations::default();
        let auditor = Auditor::new(policy, vec![Box::new(annotations.clone())]);
        let guards = Guards { auditor, ..Guards::default() };
        let config = Config { profile, ..Config::default() };
        Harbor { cluster: Cluster::guarded(config, guards, Some(vec![plugin])).await, annotations }
    }

    async fn namespace(&self, name: &str, labels: Value) -> Said {
        self.cluster.post("/api/v1/namespaces", json!({"metadata": {"name": name, "labels": labels}})).await
    }

    /// Sends a pod, and returns the code, the words against it, the warnings and the annotations.
    async fn pod(&self, namespace: &str, name: &str, spec: Value) -> (u16, String, Vec<String>, Value) {
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        let said = self.cluster.post(&path, json!({"metadata": {"name": name}, "spec": spec})).await;
        let annotations = self.annotations.0.lock().unwrap().drain(..).next_back().unwrap_or_default();
        (said.code, said.message(), said.warnings, annotations)
    }
}

fn label(mode: &str) -> String {
    format!("pod-security.kubernetes.io/{mode}")
}

fn plain() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

fn privileged() -> Value {
    json!({"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]})
}

const PRIVILEGED: &str = "privileged (container \"c\" must not set securityContext.privileged=true)";

#[tokio::test]
async fn a24_a_namespace_without_labels_enforces_baseline() {
    let harbor = Harbor::new(Profile::Locked, None).await;
    assert_eq!(harbor.namespace("quay", json!({})).await.code, 201);
    let (code, message, warnings, annotations) = harbor.pod("quay", "a", privileged()).await;
    let expected = format!("pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": {PRIVILEGED}");
    assert_eq!((code, message.as_str(), warnings.len()), (403, expected.as_str(), 0));
    assert_eq!(annotations[label("enforce-policy")], "baseline:latest");
    assert!(
        annotations[label("audit-violations")]
            .as_str()
            .unwrap()
            .starts_with("would violate PodSecurity \"restricted:latest\"")
    );
    let (code, message, warnings, _) = harbor.pod("quay", "b", plain()).await;
    assert_eq!(code, 201, "{message}");
    assert!(
        warnings.iter().any(|warning| warning.contains("would violate PodSecurity \\\"restricted:latest\\\"")),
        "{warnings:?}"
    );
    // Labels of its own loosen it.
    let labels = json!({label("enforce"): "privileged", label("warn"): "privileged", label("audit"): "privileged"});
    assert_eq!(harbor.namespace("pier", labels).await.code, 201);
    let (code, message, warnings, annotations) = harbor.pod("pier", "a", privileged()).await;
    assert_eq!((code, warnings.len()), (201, 0), "{message}");
    assert_eq!(annotations[label("enforce-policy")], "privileged:latest");
}

#[tokio::test]
async fn a24_system_namespaces_are_exempt_and_upstream_enforces_nothing() {
    let check = async |profile: Profile, namespace: &str, expected: u16, exempt: Value| {
        let harbor = Harbor::new(profile, None).await;
        harbor.namespace(namespace, json!({})).await;
        let (code, message, _, annotations) = harbor.pod(namespace, "a", privileged()).await;
        assert_eq!(code, expected, "{profile:?} {namespace} {message}");
        assert_eq!(annotations[label("exempt")], exempt, "{profile:?} {namespace}");
    };
    for namespace in ["kube-system", "kube-public", "kube-node-lease"] {
        check(Profile::Locked, namespace, 201, json!("namespace")).await;
    }
    check(Profile::Locked, "default", 403, Value::Null).await;
    check(Profile::Upstream, "default", 201, Value::Null).await;
    check(Profile::Upstream, "kube-system", 201, Value::Null).await;
}

#[tokio::test]
async fn workloads_are_warned_of_and_updates_that_change_nothing_pass() {
    let harbor = Harbor::new(Profile::Upstream, None).await;
    let labels = json!({label("enforce"): "baseline", label("warn"): "baseline"});
    harbor.namespace("quay", json!({})).await;
    assert_eq!(harbor.pod("quay", "old", privileged()).await.0, 201);
    let labelled = harbor.cluster.merge("/api/v1/namespaces/quay", json!({"metadata": {"labels": labels}})).await;
    let expected = [
        "299 - \"existing pods in namespace \\\"quay\\\" violate the new PodSecurity enforce level \\\"baseline:latest\\\"\"",
        "299 - \"old: privileged\"",
    ];
    assert_eq!((labelled.code, labelled.warnings), (200, expected.map(str::to_owned).to_vec()));
    let selector = json!({"matchLabels": {"a": "b"}});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": privileged()});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template}});
    let said = harbor.cluster.post("/apis/apps/v1/namespaces/quay/deployments", deployment).await;
    let expected = "299 - \"would violate PodSecurity \\\"baseline:latest\\\": privileged (container \\\"c\\\" must not set \
                    securityContext.privileged=true)\"";
    assert_eq!(said.code, 201, "{}", said.message());
    assert!(said.warnings.iter().any(|warning| warning == expected), "{:?}", said.warnings);
    // A pod that is there may be labelled, and may not get another image.
    let old = "/api/v1/namespaces/quay/pods/old";
    let labelled = harbor.cluster.merge(old, json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!(labelled.code, 200, "{}", labelled.message());
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "j"}]);
    let patch = [("content-type", "application/json-patch+json")];
    let refused = harbor.cluster.send("PATCH", old, &patch, image.to_string()).await;
    let expected = format!("pods \"old\" is forbidden: violates PodSecurity \"baseline:latest\": {PRIVILEGED}");
    assert_eq!((refused.code, refused.message()), (403, expected));
}

#[tokio::test]
async fn what_comes_to_a_pod_later_is_judged_too() {
    let harbor = Harbor::new(Profile::Upstream, None).await;
    let labels = json!({label("enforce"): "baseline", label("enforce-version"): "v1.18"});
    harbor.namespace("quay", labels).await;
    assert_eq!(harbor.pod("quay", "a", plain()).await.0, 201);
    let pod = "/api/v1/namespaces/quay/pods/a";
    let debug = |security: Value| {
        let container = json!({"name": "d", "image": "i", "securityContext": security});
        json!({"spec": {"ephemeralContainers": [container]}})
    };
    let refused = harbor.cluster.merge(&format!("{pod}/ephemeralcontainers"), debug(json!({"privileged": true}))).await;
    let why = "pods \"a\" is forbidden: violates PodSecurity \"baseline:v1.18\": privileged (container \"d\" must not set \
               securityContext.privileged=true)";
    assert_eq!((refused.code, refused.message().as_str()), (403, why));
    let capable = debug(json!({"capabilities": {"add": ["SYS_ADMIN"]}}));
    assert_eq!(harbor.cluster.merge(&format!("{pod}/ephemeralcontainers"), capable).await.code, 403);
    assert_eq!(harbor.cluster.merge(&format!("{pod}/ephemeralcontainers"), debug(json!({}))).await.code, 200);
    // Versions that go by annotations see them change.
    for key in ["seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/c"] {
        let note = |profile: &str| json!({"metadata": {"annotations": {key: profile}}});
        let refused = harbor.cluster.merge(pod, note("unconfined")).await;
        assert_eq!((refused.code, refused.message().contains("seccompProfile")), (403, true), "{key}");
        assert_eq!(harbor.cluster.merge(pod, note("runtime/default")).await.code, 200, "{key}");
    }
}

#[tokio::test]
async fn labels_that_mean_nothing_are_refused() {
    let harbor = Harbor::new(Profile::Upstream, None).await;
    let refused = harbor.namespace("quay", json!({label("enforce"): "tight"})).await;
    let expected = "Namespace \"quay\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"tight\": \
                    must be one of privileged, baseline, restricted";
    assert_eq!((refused.code, refused.message().as_str()), (422, expected));
    assert_eq!(refused.at("/details/causes/0/field"), "metadata.labels[pod-security.kubernetes.io/enforce]");
}

const EXEMPTIONS: &str = "apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: restricted, warn: baseline, warn-version: v1.20}
exemptions: {usernames: [admin], namespaces: [pier], runtimeClasses: [kata]}
";

#[tokio::test]
async fn an_operator_decides_on_defaults_and_exemptions() {
    let check = async |text: &str, namespace: &str, spec: Value, expected: (u16, Value)| {
        let harbor = Harbor::new(Profile::Upstream, Some(text)).await;
        for name in ["quay", "pier"] {
            harbor.namespace(name, json!({})).await;
        }
        let (code, message, _, annotations) = harbor.pod(namespace, "a", spec).await;
        assert_eq!((code, annotations[label("exempt")].clone()), expected, "{namespace} {message}");
    };
    check(EXEMPTIONS, "quay", privileged(), (201, json!("user"))).await;
    let others = &EXEMPTIONS.replace("[admin]", "[ana]");
    check(others, "quay", privileged(), (403, Value::Null)).await;
    check(others, "pier", privileged(), (201, json!("namespace"))).await;
    let mut kata = privileged();
    kata["runtimeClassName"] = json!("kata");
    check(others, "quay", kata, (201, json!("runtimeClass"))).await;
    let harbor = Harbor::new(Profile::Upstream, Some(others)).await;
    let said = harbor.namespace("pier", json!({label("enforce"): "baseline"})).await;
    let expected = "299 - \"namespace \\\"pier\\\" is exempt from Pod Security, and the policy (enforce=baseline:latest) will be \
                    ignored\"";
    assert_eq!((said.code, said.warnings), (201, vec![expected.to_owned()]));
}

#[tokio::test]
async fn images_are_always_fetched() {
    let harbor = Harbor::with(Profile::Locked, |_| Ok(Box::new(AlwaysPullImages)), None).await;
    let path = "/api/v1/namespaces/default/pods";
    let spec = json!({"containers": [{"name": "c", "image": "i:1", "imagePullPolicy": "Never"}]});
    let created = harbor.cluster.post(path, json!({"metadata": {"name": "a"}, "spec": spec})).await;
    assert_eq!(created.at("/spec/containers/0/imagePullPolicy"), "Always", "{}", created.message());
}

#[tokio::test]
async fn events_beyond_the_limit_are_refused() {
    let text = "apiVersion: eventratelimit.admission.k8s.io/v1alpha1\nkind: Configuration\n\
                limits: [{type: Namespace, qps: 1, burst: 2}]\n";
    let harbor = Harbor::with(Profile::Upstream, EventRateLimit::configured, Some(text)).await;
    let send = async |name: &str, query: &str| {
        let path = format!("/api/v1/namespaces/default/events{query}");
        let object = json!({"kind": "Pod", "namespace": "default", "name": "p"});
        let said = harbor.cluster.post(&path, json!({"metadata": {"name": name}, "involvedObject": object})).await;
        (said.code, said.message())
    };
    for name in ["a", "b"] {
        assert_eq!(send(name, "").await.0, 201);
    }
    assert_eq!(send("c", "?dryRun=All").await.0, 201);
    let words = "Too many requests: limit reached on type Namespace for key default";
    assert_eq!(send("c", "").await, (429, words.to_owned()));
    harbor.cluster.env.micros.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(send("c", "").await.0, 201);
    assert_eq!(send("d", "").await.0, 429);
}
