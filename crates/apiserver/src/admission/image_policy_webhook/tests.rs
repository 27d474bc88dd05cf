#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Response;
use portcullis_client::test_server::{Authority, Server, Settings as Serving};
use portcullis_kinds::schema;
use portcullis_model::schema::{FieldValidation, decode_json};

use super::*;

/// A webhook that gives these answers, one after the other and the last again and again.
struct Asked {
    server: Server,
    plugin: ImagePolicyWebhook,
    _folder: tempfile::TempDir,
}

async fn asked(answers: &[(u16, Value)], change: impl FnOnce(&mut Settings)) -> Asked {
    let authority = Authority::new();
    let (answers, at) = (Mutex::new(answers.to_vec()), AtomicUsize::new(0));
    let server = Server::start(Serving::new(authority.issue("127.0.0.1")), move |_| {
        let answers = answers.lock().unwrap();
        let (code, body) = &answers[at.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)];
        Response::builder().status(*code).body(Bytes::from(body.to_string())).unwrap()
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.crt"), &authority.pem).unwrap();
    let kubeconfig = folder.path().join("webhook.kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: w\n  cluster: {{certificate-authority: ca.crt, server: 'https://{}/images'}}\n\
         contexts:\n- name: w\n  context: {{cluster: w}}\ncurrent-context: w\n",
        server.address
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let mut settings = Settings {
        kubeconfig: kubeconfig.display().to_string(),
        allow_ttl: Duration::from_secs(60),
        deny_ttl: Duration::ZERO,
        retry_backoff: Duration::from_millis(1),
        default_allow: false,
    };
    change(&mut settings);
    let dial = DialRule { loopback_allowed: true, ..DialRule::default() };
    let plugin = ImagePolicyWebhook::with(settings, &dial).unwrap();
    Asked { server, plugin, _folder: folder }
}

fn review(status: Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": KIND, "status": status})
}

fn asked_spec(pod: Value, is_later: bool) -> Value {
    let ty = schema().by_kind("v1", "Pod").unwrap();
    let tree = decode_json::decode(schema(), ty, pod.to_string().into_bytes(), FieldValidation::Ignore).unwrap().tree;
    spec(views::read(&tree), "harbor", is_later)
}

#[test]
fn what_is_asked() {
    let pod = json!({
        "metadata": {"annotations": {"x.image-policy.k8s.io/ticket": "7", "other": "y"}},
        "spec": {
            "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}],
            "initContainers": [{"name": "i", "image": "i:1"}],
            "ephemeralContainers": [{"name": "e", "image": "e:1"}],
        },
    });
    let annotations = json!({"x.image-policy.k8s.io/ticket": "7"});
    assert_eq!(
        asked_spec(pod.clone(), false),
        json!({"containers": [{"image": "a:1"}, {"image": "b:1"}, {"image": "i:1"}], "annotations": annotations, "namespace": "harbor"})
    );
    assert_eq!(
        asked_spec(pod, true),
        json!({"containers": [{"image": "e:1"}], "annotations": annotations, "namespace": "harbor"})
    );
    assert_eq!(asked_spec(json!({}), false), json!({"containers": [], "namespace": "harbor"}));
}

#[tokio::test]
async fn answers_are_understood_and_kept() {
    let allowed = review(json!({"allowed": true, "auditAnnotations": {"ticket": "7"}}));
    let denied = review(json!({"allowed": false, "reason": "not\nsigned"}));
    let asked = asked(&[(200, allowed), (201, denied)], |_| {}).await;
    let (a, b) = (json!({"containers": [{"image": "a:1"}]}), json!({"containers": [{"image": "b:1"}]}));
    let passes = Said::Allowed { annotations: vec![("ticket".to_owned(), "7".to_owned())] };
    assert_eq!(asked.plugin.ask(a.clone()).await, passes);
    assert_eq!(asked.plugin.ask(a.clone()).await, passes, "kept");
    let refusal = Said::Denied { reason: "not signed".to_owned(), annotations: Vec::new() };
    assert_eq!(asked.plugin.ask(b.clone()).await, refusal);
    assert_eq!(asked.plugin.ask(b).await, refusal, "denials are not kept here");
    let received = asked.server.received();
    assert_eq!(received.len(), 3);
    let body: Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!((&body["apiVersion"], &body["kind"], &body["spec"]), (&json!(API_VERSION), &json!(KIND), &a));
    assert_eq!(received[0].path, "/images");
}

#[tokio::test]
async fn what_fails_is_asked_again_and_never_kept() {
    let allowed = review(json!({"allowed": true}));
    let wrong = json!({"apiVersion": "imagepolicy.k8s.io/v1", "kind": KIND, "status": {"allowed": true}});
    let spec = json!({"containers": []});
    let hurt = asked(&[(500, json!({})), (429, json!({})), (200, allowed.clone())], |_| {}).await;
    assert_eq!(hurt.plugin.ask(spec.clone()).await, Said::Allowed { annotations: Vec::new() });
    let other =
        asked(&[(200, wrong), (404, json!({})), (200, review(json!({"allowed": "yes"}))), (200, allowed)], |_| {})
            .await;
    for _ in 0..3 {
        assert!(matches!(other.plugin.ask(spec.clone()).await, Said::Failed { .. }));
    }
    assert_eq!(other.plugin.ask(spec).await, Said::Allowed { annotations: Vec::new() });
}

#[test]
fn refusals_have_upstreams_words() {
    assert_eq!(denial(""), "one or more images rejected by webhook backend");
    assert_eq!(denial("x"), "image policy webhook backend denied one or more images: x");
}

#[test]
fn a_configuration_is_read_strictly() {
    let check = |text: &str, expected: Result<(u64, u64, u64), &str>| {
        let read = read(Document::parse(text.as_bytes()).unwrap());
        match (read, expected) {
            (Ok(settings), Ok(expected)) => {
                let times =
                    [settings.allow_ttl, settings.deny_ttl, settings.retry_backoff].map(|time| time.as_millis() as u64);
                assert_eq!(times, [expected.0, expected.1, expected.2], "{text}");
            }
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected, "{text}"),
            (read, expected) => panic!("{text}: {:?}, not {expected:?}", read.map_err(|error| error.to_string())),
        }
    };
    check("imagePolicy: {kubeConfigFile: k}", Ok((300_000, 30_000, 500)));
    check("imagePolicy: {kubeConfigFile: k, allowTTL: 50, denyTTL: -1, retryBackoff: 250}", Ok((50_000, 0, 250)));
    check("imagePolicy: {}", Err("imagePolicy.kubeConfigFile: Required value"));
    check("{}", Err("imagePolicy: Required value"));
    check("imagePolicy: {kubeConfigFile: k, ttl: 5}", Err("strict decoding error: unknown field \"imagePolicy.ttl\""));
    check(
        "imagePolicy: {kubeConfigFile: k, allowTTL: 1860}",
        Err("imagePolicy.allowTTL: Invalid value: 1860: valid value is between 1s and 30m0s, got 31m0s"),
    );
    check(
        "imagePolicy: {kubeConfigFile: k, retryBackoff: -2}",
        Err("imagePolicy.retryBackoff: Invalid value: -2: valid value is between 1ns and 5m0s, got -2ms"),
    );
}

#[tokio::test]
async fn a21_nobody_is_asked_who_can_not_be_verified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    let text = "apiVersion: v1\nkind: Config\nclusters:\n- name: w\n  cluster: {insecure-skip-tls-verify: true, server: 'https://x.example'}\n\
         contexts:\n- name: w\n  context: {cluster: w}\ncurrent-context: w\n";
    std::fs::write(&path, text).unwrap();
    let settings = Settings {
        kubeconfig: path.display().to_string(),
        allow_ttl: Duration::ZERO,
        deny_ttl: Duration::ZERO,
        retry_backoff: Duration::ZERO,
        default_allow: true,
    };
    let refused = ImagePolicyWebhook::with(settings, &DialRule::default()).err().unwrap();
    assert!(refused.to_string().contains("always verified"), "{refused}");
    let missing = ImagePolicyWebhook::configured(Given { configuration: None, dial: &DialRule::default() });
    assert!(matches!(missing, Err(PluginFault::Missing)));
}
