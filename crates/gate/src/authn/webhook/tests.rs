#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use bytes::Bytes;
use http::{Response, StatusCode};
use portcullis_client::test_server::{Authority, Received, Server, Settings};

use super::*;
use crate::authn::Tokens;

const API: &str = "https://kubernetes.default.svc";

fn answer(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A webhook that answers with these bodies in turn, the last one for ever.
pub(crate) async fn server(authority: &Authority, answers: Vec<(u16, Value)>) -> Server {
    let answers = Mutex::new(answers.into_iter().peekable());
    let settings = Settings::new(authority.issue("127.0.0.1"));
    Server::start(settings, move |_: &Received| {
        let mut answers = answers.lock().unwrap();
        let (status, body) = answers.next().unwrap();
        if answers.peek().is_none() {
            // Nothing follows: the last one stays.
            *answers = vec![(status, body.clone())].into_iter().peekable();
        }
        answer(status, &body)
    })
    .await
}

fn settings(server: &Server, authority: &Authority, folder: &tempfile::TempDir) -> TokenWebhookSettings {
    let kubeconfig = crate::webhook::tests::kubeconfig(server, authority, folder);
    let dial = DialRule { loopback_allowed: true, ..DialRule::default() };
    let attempts = Attempts { first_pause: Duration::ZERO, ..Attempts::default() };
    TokenWebhookSettings { attempts, version: ReviewVersion::V1, ..TokenWebhookSettings::new(kubeconfig, dial) }
}

async fn resolved(verdict: TokenVerdict<'_>) -> String {
    match verdict {
        TokenVerdict::Later(later) => Box::pin(resolved(later.await)).await,
        TokenVerdict::Known(known) => {
            let Identity { name, uid, groups, extra } = &*known.identity;
            format!("{name} uid={uid} groups={} extra={extra:?} for={}", groups.join(","), known.audiences.join(","))
        }
        TokenVerdict::Refused(reason) => format!("refused: {reason}"),
        TokenVerdict::Unknown => "unknown".to_owned(),
    }
}

#[test]
fn answers_are_judged() {
    let check = |status: Value, asked: &[&str], expected: &str| {
        let asked: Vec<String> = asked.iter().map(|&audience| audience.to_owned()).collect();
        let shown = match read(&status, "s3cret", &asked) {
            Err(why) => format!("wrong: {why}"),
            Ok(Answered::Unknown) => "unknown".to_owned(),
            Ok(Answered::Refused(reason)) => format!("refused: {reason}"),
            Ok(Answered::Known { identity, audiences }) => {
                let Identity { name, uid, groups, extra } = &*identity;
                format!("{name} {uid} {} {extra:?} {}", groups.join(","), audiences.join(","))
            }
        };
        assert_eq!(shown, expected, "{status}");
    };
    let known = |user: Value| json!({"authenticated": true, "user": user});
    let all = json!({"username": "ana", "uid": "7", "groups": ["harbor"], "extra": {"a": ["b", "c"]}});
    check(known(all), &[API], r#"ana 7 harbor,system:authenticated {"a": ["b", "c"]} "#);
    check(known(json!({"username": "ana", "groups": null})), &[API], "ana  system:authenticated {} ");
    check(known(json!({"username": "system:anonymous"})), &[API], "system:anonymous   {} ");
    let stranger = json!({"username": "x", "groups": ["system:unauthenticated"]});
    check(known(stranger), &[API], "x  system:unauthenticated {} ");
    for user in [json!({}), json!({"username": ""}), json!(null)] {
        check(known(user), &[API], "wrong: webhook answered without a username");
    }
    check(known(json!({"username": 5})), &[API], "wrong: webhook answered with a username that is not a text");
    check(known(json!("ana")), &[API], "wrong: webhook answered with a user that is not an object");
    check(
        known(json!({"username": "a", "groups": "b"})),
        &[],
        "wrong: webhook answered with groups that are not texts",
    );
    let extra = "wrong: webhook answered with extra that is not an object of lists of texts";
    check(known(json!({"username": "a", "extra": {"b": "c"}})), &[], extra);
    check(json!({}), &[API], "unknown");
    check(json!({"authenticated": false}), &[API], "unknown");
    check(
        json!({"authenticated": "true", "user": {"username": "a"}}),
        &[API],
        "wrong: webhook answered with something else than authenticated or not",
    );
    check(json!({"error": "expired\n"}), &[API], "refused: expired ");
    check(json!({"error": "s3cret is bad"}), &[API], "refused: webhook refused the token");
    check(json!({"error": "x".repeat(999)}), &[API], &format!("refused: {}", "x".repeat(COMPLAINT_CHARS_MAX)));
    let for_whom =
        |audiences: &[&str]| json!({"authenticated": true, "user": {"username": "a"}, "audiences": audiences});
    let named = "a  system:authenticated {} ";
    check(for_whom(&["x", "z"]), &["z", "y", "x"], &format!("{named}z,x"));
    check(for_whom(&[]), &["x"], named);
    check(for_whom(&["x"]), &["y"], "unknown");
    check(for_whom(&["x"]), &[], named);
}

#[test]
fn the_question_is_a_token_review() {
    let check = |token: &str, audiences: &[&str], expected: &str| {
        let audiences: Vec<String> = audiences.iter().map(|&audience| audience.to_owned()).collect();
        assert_eq!(review("authentication.k8s.io/v1", token, &audiences), expected);
    };
    let head = r#"{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"#;
    check("abc", &[], &format!(r#"{head}"abc"}}}}"#));
    check("a\"b", &["x", "y"], &format!(r#"{head}"a\"b","audiences":["x","y"]}}}}"#));
}

#[tokio::test]
async fn an_answer_is_kept_and_a_failure_is_not() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "status": {
        "authenticated": true, "user": {"username": "ana"}, "audiences": [API]}});
    let audiences = [API.to_owned()];
    let check = async |answers: Vec<(u16, Value)>, ttl: Duration, expected: &[(&str, usize)]| {
        let server = server(&authority, answers).await;
        let settings = TokenWebhookSettings { cache_ttl: ttl, ..settings(&server, &authority, &folder) };
        let webhook = TokenWebhook::new(settings).unwrap();
        for (verdict, asked) in expected {
            assert_eq!(resolved(webhook.authenticate("abc", &audiences)).await, *verdict);
            assert_eq!(server.received().len(), *asked);
        }
        server
    };
    let ana = format!("ana uid= groups=system:authenticated extra={{}} for={API}");
    let server = check(vec![(200, good.clone())], CACHE_TTL, &[(&ana, 1), (&ana, 1)]).await;
    let sent: Value = serde_json::from_slice(&server.received()[0].body).unwrap();
    assert_eq!(sent["spec"], json!({"token": "abc", "audiences": [API]}));
    check(vec![(200, good.clone())], Duration::ZERO, &[(&ana, 1), (&ana, 2)]).await;
    let unknown = json!({"status": {"authenticated": false}});
    check(vec![(200, unknown)], CACHE_TTL, &[("unknown", 1), ("unknown", 1)]).await;
    let error = json!({"status": {"error": "expired"}});
    check(vec![(200, error), (200, good.clone())], CACHE_TTL, &[("refused: expired", 1), (&ana, 2), (&ana, 2)]).await;
    check(vec![(503, json!({})), (200, good.clone())], CACHE_TTL, &[(&ana, 2), (&ana, 2)]).await;
    let refused = "refused: webhook could not be asked: webhook answered with status 403";
    check(vec![(403, json!({})), (200, good.clone())], CACHE_TTL, &[(refused, 1), (&ana, 2)]).await;
    let refused = "refused: webhook could not be asked: webhook did not answer with a authentication.k8s.io/v1 TokenReview: \
                   its apiVersion or kind is another one";
    let beta = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1beta1", "status": {"authenticated": true}});
    check(vec![(200, beta)], CACHE_TTL, &[(refused, 1), (refused, 2)]).await;
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_others_apart() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"status": {"authenticated": true, "user": {"username": "ana"}}});
    let server = server(&authority, vec![(200, good)]).await;
    let webhook = TokenWebhook::new(settings(&server, &authority, &folder)).unwrap();
    let audiences = |name: &str| vec![name.to_owned()];
    let (one, other) = (audiences("x"), audiences("y"));
    let ask = |token, audiences| resolved(webhook.authenticate(token, audiences));
    tokio::join!(ask("abc", &one), ask("abc", &one), ask("abc", &one));
    assert_eq!(server.received().len(), 1);
    ask("abc", &other).await;
    ask("abd", &one).await;
    assert_eq!(server.received().len(), 3);
    assert_eq!(
        ask(&"x".repeat(TOKEN_BYTES_MAX + 1), &one).await,
        "refused: token is too long to ask a webhook about it"
    );
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn a_webhook_that_knows_no_audiences_vouches_for_the_api_server_alone() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"status": {"authenticated": true, "user": {"username": "ana"}}});
    let server = server(&authority, vec![(200, good)]).await;
    let webhook = TokenWebhook::new(settings(&server, &authority, &folder)).unwrap();
    let tokens = Tokens::new(vec![API.to_owned()], vec![Box::new(webhook)]);
    let check = async |audiences: &[&str], expected: Option<&[&str]>| {
        let audiences: Vec<String> = audiences.iter().map(|&audience| audience.to_owned()).collect();
        let known = tokens.judge("abc", &audiences).await.ok();
        let found = known.as_ref().map(|known| known.audiences.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expected, "{audiences:?}");
    };
    check(&[], Some(&[API])).await;
    check(&[API, "vault"], Some(&[API])).await;
    check(&["vault"], None).await;
}

#[tokio::test]
async fn only_so_many_tokens_of_strangers_are_asked_about_at_once() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let good = json!({"status": {"authenticated": true, "user": {"username": "ana"}}});
    let server = server(&authority, vec![(200, good)]).await;
    let webhook = TokenWebhook::new(settings(&server, &authority, &folder)).unwrap();
    let audiences = [API.to_owned()];
    assert!(resolved(webhook.authenticate("abc", &audiences)).await.starts_with("ana"));
    let tokens: Vec<String> = (0..QUESTIONS_MAX).map(|number| number.to_string()).collect();
    let mut asked: Vec<_> = tokens.iter().map(|token| webhook.authenticate(token, &audiences)).collect();
    assert!(asked.iter().all(|verdict| matches!(verdict, TokenVerdict::Later(_))));
    let refused = resolved(webhook.authenticate("one more", &audiences)).await;
    assert_eq!(refused, "refused: webhook is being asked about too many tokens");
    // Whose answer is known does not wait for a place; who goes away gives up theirs.
    assert!(resolved(webhook.authenticate("abc", &audiences)).await.starts_with("ana"));
    asked.pop();
    assert!(resolved(webhook.authenticate("one more", &audiences)).await.starts_with("ana"));
}
