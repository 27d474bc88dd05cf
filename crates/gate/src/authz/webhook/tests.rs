#![allow(clippy::unwrap_used)]

use portcullis_client::test_server::{Authority, Server};

use super::*;
use crate::authn::webhook::tests::server;
use crate::authz::Selection;
use crate::webhook::tests::kubeconfig;

fn user() -> Identity {
    Identity {
        name: "ana".to_owned(),
        uid: "7".to_owned(),
        groups: vec!["harbor".to_owned()],
        extra: [("a".to_owned(), vec!["b".to_owned()])].into(),
    }
}

fn pods<'a>(user: &'a Identity, name: &'a str, selectors: &'a Selectors) -> Attributes<'a> {
    let target = Target::Resource {
        group: "",
        version: "v1",
        namespace: "harbor",
        resource: "pods",
        subresource: "log",
        name,
        selectors: Selection::These(selectors),
    };
    Attributes { user, verb: "get", target }
}

fn setting(server: &Server, authority: &Authority, folder: &tempfile::TempDir) -> WebhookSetting {
    WebhookSetting {
        name: "gate".to_owned(),
        kubeconfig: kubeconfig(server, authority, folder),
        timeout: TIMEOUT_MAX,
        failure_policy: WebhookFailurePolicy::NoOpinion,
        review_version: ReviewVersion::V1,
        authorized_ttl: Duration::from_secs(300),
        unauthorized_ttl: Duration::from_secs(30),
    }
}

fn webhook(setting: &WebhookSetting) -> WebhookAuthorizer {
    let dial = DialRule { loopback_allowed: true, ..DialRule::default() };
    let attempts = Attempts { first_pause: Duration::ZERO, ..Attempts::default() };
    WebhookAuthorizer::with_attempts(setting, &dial, attempts).unwrap()
}

async fn decided(webhook: &WebhookAuthorizer, attributes: &Attributes<'_>) -> (bool, Verdict) {
    match webhook.decide(attributes) {
        Decision::Now(verdict) => (true, verdict),
        Decision::Later(verdict) => (false, verdict.await),
    }
}

#[test]
fn the_question_says_who_does_what_to_what() {
    let check = |attributes: Attributes<'_>, version: ReviewVersion, expected: Value| {
        assert_eq!(spec(&attributes, version), expected);
    };
    let user = user();
    let v1 = ReviewVersion::V1;
    let who = |field: &str, target: Value| json!({"user": "ana", "uid": "7", "groups": ["harbor"], "extra": {"a": ["b"]}, field: target});
    let attributes = pods(&user, "web", Selectors::NONE);
    let target = json!({"namespace": "harbor", "verb": "get", "version": "v1", "resource": "pods", "subresource": "log", "name": "web"});
    check(attributes, v1, who("resourceAttributes", target.clone()));
    let beta =
        json!({"user": "ana", "uid": "7", "group": ["harbor"], "extra": {"a": ["b"]}, "resourceAttributes": target});
    check(attributes, ReviewVersion::V1beta1, beta);
    let path = Attributes { target: Target::Path("/metrics"), ..attributes };
    check(path, v1, who("nonResourceAttributes", json!({"path": "/metrics", "verb": "get"})));
    let requirement = |key: &str, operator, values: &[&str]| Requirement {
        key: key.to_owned(),
        operator,
        values: values.iter().map(|&value| value.to_owned()).collect(),
    };
    let selectors = Selectors {
        fields: vec![requirement("spec.nodeName", Operator::In, &["n1"])],
        labels: vec![requirement("app", Operator::NotIn, &["a", "b"]), requirement("tier", Operator::Exists, &[])],
    };
    let target = json!({"namespace": "harbor", "verb": "get", "version": "v1", "resource": "pods", "subresource": "log",
        "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]},
        "labelSelector": {"requirements": [{"key": "app", "operator": "NotIn", "values": ["a", "b"]}, {"key": "tier", "operator": "Exists"}]}});
    check(pods(&user, "", &selectors), v1, who("resourceAttributes", target));
    let nobody = Identity { name: "x".to_owned(), ..Identity::default() };
    let path = Attributes { user: &nobody, ..path };
    check(path, v1, json!({"user": "x", "nonResourceAttributes": {"path": "/metrics", "verb": "get"}}));
}

#[test]
fn answers_are_judged() {
    let check = |status: Value, expected: Result<Verdict, &str>| assert_eq!(read(&status), expected, "{status}");
    let not_bool = Err("webhook answered with something else than true or false");
    check(json!({"allowed": true, "reason": "role"}), Ok(Verdict::allow("role")));
    check(json!({"allowed": true}), Ok(Verdict::allow("")));
    check(json!({"denied": true, "reason": "no\nway"}), Ok(Verdict::deny("no way")));
    check(json!({"denied": true, "allowed": true}), Ok(Verdict::deny("")));
    check(json!({"allowed": false, "denied": null}), Ok(Verdict::no_opinion()));
    check(json!({"reason": "not mine"}), Ok(Verdict::NoOpinion { reason: "not mine".into() }));
    check(json!({}), Ok(Verdict::no_opinion()));
    check(json!({"allowed": "true"}), not_bool.clone());
    check(json!({"allowed": true, "denied": 1}), not_bool);
    check(json!({"allowed": true, "reason": 1}), Err("webhook answered with a reason that is not a text"));
    check(json!({"reason": "x".repeat(5000)}), Ok(Verdict::NoOpinion { reason: "x".repeat(REASON_CHARS_MAX).into() }));
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let user = user();
    let review = |status: Value| (200, json!({"kind": "SubjectAccessReview", "status": status}));
    let long = "x".repeat(KEPT_QUESTION_BYTES_MAX);
    let (allowed, other) = (review(json!({"allowed": true})), review(json!({})));
    let check = async |answer: &(u16, Value), ttls: [u64; 2], name: &str, expected: Verdict, is_kept: bool| {
        let server = server(&authority, vec![answer.clone()]).await;
        let [authorized_ttl, unauthorized_ttl] = ttls.map(Duration::from_secs);
        let webhook =
            webhook(&WebhookSetting { authorized_ttl, unauthorized_ttl, ..setting(&server, &authority, &folder) });
        let attributes = pods(&user, name, Selectors::NONE);
        assert_eq!(decided(&webhook, &attributes).await, (false, expected.clone()));
        assert_eq!(decided(&webhook, &attributes).await, (is_kept, expected));
        assert_eq!(server.received().len(), if is_kept { 1 } else { 2 }, "{answer:?} {ttls:?}");
        // Another question is another question.
        assert!(!decided(&webhook, &Attributes { verb: "list", ..attributes }).await.0);
    };
    check(&allowed, [300, 30], "web", Verdict::allow(""), true).await;
    check(&allowed, [0, 30], "web", Verdict::allow(""), false).await;
    check(&allowed, [300, 30], &long, Verdict::allow(""), false).await;
    check(&other, [300, 30], "web", Verdict::no_opinion(), true).await;
    check(&other, [300, 0], "web", Verdict::no_opinion(), false).await;
    check(&review(json!({"denied": true})), [300, 30], "web", Verdict::deny(""), true).await;
}

#[tokio::test]
async fn the_failure_policy_decides_when_nobody_answers() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let user = user();
    let reason = "webhook authorizer gate could not be asked";
    let check = async |answer: (u16, Value), failure_policy: WebhookFailurePolicy, expected: Verdict, asked: usize| {
        let server = server(&authority, vec![answer]).await;
        let webhook = webhook(&WebhookSetting { failure_policy, ..setting(&server, &authority, &folder) });
        let attributes = pods(&user, "web", Selectors::NONE);
        // Twice, because a failure is not kept.
        for _ in 0..2 {
            assert_eq!(decided(&webhook, &attributes).await, (false, expected.clone()));
        }
        assert_eq!(server.received().len(), 2 * asked);
    };
    let no_opinion = Verdict::NoOpinion { reason: reason.into() };
    check((500, json!({})), WebhookFailurePolicy::Deny, Verdict::deny(reason), 5).await;
    check((500, json!({})), WebhookFailurePolicy::NoOpinion, no_opinion.clone(), 5).await;
    // A redirect is a failure, and is never followed (CVE-2020-8561).
    check((302, json!({})), WebhookFailurePolicy::Deny, Verdict::deny(reason), 1).await;
    check((200, json!([])), WebhookFailurePolicy::Deny, Verdict::deny(reason), 1).await;
    check((200, json!({"status": {"allowed": "yes"}})), WebhookFailurePolicy::NoOpinion, no_opinion, 1).await;
}

#[tokio::test]
async fn settings_that_can_not_be_used_are_named() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let server = server(&authority, vec![(200, json!({}))]).await;
    let sound = setting(&server, &authority, &folder);
    let check = |change: WebhookSetting, expected: &str| {
        let Err(error) = WebhookAuthorizer::new(&change, &DialRule::default()) else { panic!("{expected}: accepted") };
        assert!(error.to_string().contains(expected), "{error}");
    };
    let mut rules = Rules::default();
    webhook(&sound).rules(&user(), "harbor", &mut rules);
    assert_eq!(rules.gaps, ["webhook authorizer does not support user rule resolution"]);
    check(WebhookSetting { timeout: Duration::ZERO, ..sound.clone() }, "timeout of the webhook must be");
    check(WebhookSetting { timeout: Duration::from_secs(31), ..sound.clone() }, "at most 30s");
    check(WebhookSetting { kubeconfig: "/nowhere".into(), ..sound.clone() }, "kubeconfig /nowhere can not be read");
    // A21: nobody decides on access without a certificate that is verified.
    let text = std::fs::read_to_string(&sound.kubeconfig).unwrap();
    let unverified = text.replace("certificate-authority: ca.crt", "insecure-skip-tls-verify: true");
    let kubeconfig = folder.path().join("unverified");
    std::fs::write(&kubeconfig, unverified).unwrap();
    check(WebhookSetting { kubeconfig, ..sound }, "replace insecure-skip-tls-verify");
}
