#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;

use super::*;
use crate::config::REQUEST_TIMEOUT;
use crate::identity::{GROUP_AUTHENTICATED, GROUP_MASTERS, Identity};

fn peer(name: &str, groups: &[&str]) -> Arc<Peer> {
    let groups = groups.iter().copied().chain([GROUP_AUTHENTICATED]).map(str::to_owned).collect();
    Peer::in_process(Arc::new(Identity { name: name.to_owned(), groups, ..Identity::default() }))
}

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request<RequestBody> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(RequestBody::from_bytes("body")).unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Answers with who acts on what, as the gate has it.
async fn describe(mut permitted: Permitted) -> Response<Body> {
    let body = permitted.take_body().read().await.unwrap();
    let again = permitted.take_body().read().await.unwrap();
    let identity = permitted.identity();
    let headers: Vec<_> = permitted.headers().keys().map(ToString::to_string).collect();
    let text = format!(
        "{} uid={} groups={} extra={:?} by={} {} {} {:?} {} {}+{}",
        identity.name,
        identity.uid,
        identity.groups.join(","),
        identity.extra,
        permitted.impersonator().map_or("-", |impersonator| &impersonator.name),
        permitted.method(),
        permitted.info().verb(),
        headers,
        permitted.query(),
        body.len(),
        again.len(),
    );
    Response::new(Body::from(text))
}

#[tokio::test]
async fn a_permitted_request_has_an_identity_a_target_and_a_body() {
    let gate = Gate::new(describe, Guards::default(), Limits::default());
    let admin = peer("admin", &[GROUP_MASTERS]);
    let headers =
        [("authorization", "Bearer x"), ("x-remote-user", "root"), ("x-remote-extra-a", "b"), ("accept", "*/*")];
    let response = gate.handle(&admin, request("POST", "/api/v1/pods?a=b", &headers)).await;
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache, private");
    assert_eq!(response.headers()[AUDIT_ID].len(), 36);
    assert_eq!(
        text(response).await,
        r#"admin uid= groups=system:masters,system:authenticated extra={} by=- POST create ["accept"] a=b 4+0"#
    );
}

#[tokio::test]
async fn a_master_may_act_as_another_who_then_needs_permission() {
    let gate = Gate::new(describe, Guards::default(), Limits::default());
    let check =
        async |user: &str, groups: &[&str], target: &str, headers: &[(&str, &str)], code: u16, expected: &str| {
            let response = gate.handle(&peer(user, groups), request("GET", target, headers)).await;
            assert_eq!(response.status(), code, "{target} {headers:?}");
            let text = text(response).await;
            assert!(text.contains(expected), "{target} {headers:?}: {text}");
        };
    let masters: &[&str] = &[GROUP_MASTERS];
    check(
        "admin",
        masters,
        "/healthz",
        &[
            ("impersonate-user", "bo"),
            ("impersonate-group", "harbor"),
            ("impersonate-uid", "7"),
            ("impersonate-extra-a", "b"),
        ],
        200,
        r#"bo uid=7 groups=harbor,system:authenticated extra={"a": ["b"]} by=admin GET get [] "#,
    )
    .await;
    check(
        "admin",
        masters,
        "/api/v1/secrets",
        &[("impersonate-user", "bo")],
        403,
        r#"secrets is forbidden: User \"bo\" cannot list resource \"secrets\" in API group \"\" at the cluster scope"#,
    )
    .await;
    check(
        "admin",
        masters,
        "/api/v1/secrets",
        &[("impersonate-user", "bo"), ("impersonate-group", "system:masters")],
        200,
        "bo uid= groups=system:masters,system:authenticated",
    )
    .await;
    check(
        "admin",
        masters,
        "/api/v1/secrets",
        &[("impersonate-user", "system:anonymous")],
        403,
        r#"User \"system:anonymous\" cannot list"#,
    )
    .await;
    check("admin", masters, "/healthz", &[("impersonate-group", "harbor")], 400, "without impersonating a user name")
        .await;
    check("ana", &[], "/healthz", &[("impersonate-group", "harbor")], 400, "without impersonating a user name").await;
    check("admin", masters, "/healthz", &[("impersonate-user", "")], 200, "admin uid=").await;
    for (user, mode) in [
        ("bo", "user-info"),
        ("system:serviceaccount:default:sa", "serviceaccount"),
        ("system:node:n", "arbitrary-node"),
    ] {
        check(
            "ana",
            &[],
            "/apis/apps/v1/namespaces/default/deployments/d",
            &[("impersonate-user", user)],
            403,
            &format!(
                r#""deployments.apps \"d\" is forbidden: User \"ana\" cannot impersonate-on:{mode}:get resource \"deployments\" in API group \"apps\" in the namespace \"default\"""#
            ),
        )
        .await;
    }
    // Impersonation is refused before the path's own openness counts.
    check(
        "ana",
        &[],
        "/healthz",
        &[("impersonate-user", "bo")],
        403,
        r#"cannot impersonate-on:user-info:get path \"/healthz\""#,
    )
    .await;
}

#[tokio::test]
async fn a8_a_request_that_is_refused_never_reaches_the_handler() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    async fn count_calls(_: Permitted) -> Response<Body> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Response::new(Body::empty())
    }
    let gate = Gate::new(count_calls, Guards::default(), Limits::default());
    let check = async |peer: &Arc<Peer>, target: &str, code: u16| {
        let before = CALLS.load(Ordering::Relaxed);
        let response = gate.handle(peer, request("GET", target, &[])).await;
        assert_eq!(response.status(), code, "{target}");
        assert_eq!(CALLS.load(Ordering::Relaxed) - before, usize::from(code == 200), "{target}");
        assert!(response.headers().contains_key(AUDIT_ID), "{target}");
    };
    let (admin, ana) = (peer("admin", &[GROUP_MASTERS]), peer("ana", &[]));
    check(&admin, "/api/v1/namespaces", 200).await;
    check(&ana, "/api/v1/namespaces", 403).await;
    check(&admin, "//api/v1/namespaces", 404).await;
    check(&ana, "//api/v1/namespaces", 403).await;
    check(&admin, "/api/v1/namespaces/%zz", 400).await;
    check(&ana, "/api/v1/namespaces/%zz", 400).await;
    check(&admin, "/api/v1/namespaces/../secrets", 400).await;
    check(&ana, "/api/v1/namespaces/../secrets", 403).await;
    check(&admin, "/api/v1/secrets?timeout=x", 400).await;
    check(&ana, "/api/v1/secrets?timeout=x", 403).await;
    check(&admin, "/api/v1/secrets?timeout=5s", 200).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_long_running_has_a_deadline() {
    let gate = Gate::new(async |_: Permitted| std::future::pending().await, Guards::default(), Limits::default());
    let admin = peer("admin", &[GROUP_MASTERS]);
    let check = async |target: &str, after: Option<Duration>| {
        let begin = tokio::time::Instant::now();
        let answer = gate.handle(&admin, request("GET", target, &[]));
        let answer = tokio::time::timeout(Duration::from_secs(3600), answer).await;
        assert_eq!(answer.is_ok().then(|| begin.elapsed().as_secs()), after.map(|after| after.as_secs()), "{target}");
        if let Ok(response) = answer {
            assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
            let text = text(response).await;
            assert!(
                text.contains(
                    r#""message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout""#
                ),
                "{text}"
            );
        }
    };
    check("/api/v1/pods", Some(REQUEST_TIMEOUT)).await;
    check("/api/v1/pods?timeout=5s", Some(Duration::from_secs(5))).await;
    check("/api/v1/pods?timeout=2h", Some(REQUEST_TIMEOUT)).await;
    check("/api/v1/pods?timeout=0s", Some(REQUEST_TIMEOUT)).await;
    check("/api/v1/pods?watch=1&timeout=5s", None).await;
    check("/api/v1/namespaces/a/pods/p/log", None).await;
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_served() {
    let gate = Gate::new(
        async |permitted: Permitted| {
            assert!(!permitted.info().path().ends_with("pods"), "as the test wants it");
            Response::new(Body::empty())
        },
        Guards::default(),
        Limits::default(),
    );
    let admin = peer("admin", &[GROUP_MASTERS]);
    let response = gate.handle(&admin, request("GET", "/api/v1/pods", &[])).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(response.headers().contains_key(AUDIT_ID));
    assert!(text(response).await.contains(r#""reason":"InternalError""#));
    assert_eq!(gate.handle(&admin, request("GET", "/api/v1/nodes", &[])).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_handler_may_allow_its_answer_to_be_kept() {
    let gate = Gate::new(
        async |_: Permitted| {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            response
        },
        Guards::default(),
        Limits::default(),
    );
    let response = gate.handle(&peer("admin", &[GROUP_MASTERS]), request("GET", "/openapi/v3/api", &[])).await;
    assert_eq!(response.headers()[header::CACHE_CONTROL], "public, immutable");
}
