//! Who gets in: L1, P11, P12, certificates good and bad, and the words of 401 and 403.

use portcullis_gate::Limits;

use crate::client::{Chunks, Dial, PROTOCOLS, Protocol};
use crate::server::{Authority, Server, describe};

const UNAUTHORIZED: &str = concat!(
    r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","#,
    r#""reason":"Unauthorized","code":401}"#,
    "\n"
);

#[tokio::test]
async fn l1_only_four_paths_answer_without_credentials() {
    let server = Server::describing().await;
    for protocol in PROTOCOLS {
        for path in ["/version", "/healthz", "/livez", "/readyz"] {
            let answer = Dial::to(&server, None, protocol).client().await.get(path).await;
            assert_eq!(
                (answer.status, answer.text.as_str()),
                (200, "system:anonymous system:unauthenticated get 0"),
                "{path}"
            );
        }
        for path in [
            "/",
            "/api",
            "/apis",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/api/v1/namespaces",
            "/api/v1/secrets",
            "/healthz/etcd",
            "/livez/ping",
            "/healthz/",
            "/version/",
            "/nosuch",
            "/.well-known/openid-configuration",
            "/debug/pprof/",
            "/logs/",
            "/%2e/healthz",
            "/healthz%00",
            "/HEALTHZ",
            "/healthz/../healthz",
            "/api/v1/watch",
        ] {
            let answer = Dial::to(&server, None, protocol).client().await.get(path).await;
            assert_eq!((answer.status, answer.text.as_str()), (401, UNAUTHORIZED), "{path}");
            assert_eq!(answer.headers["content-type"], "application/json", "{path}");
        }
    }
}

#[tokio::test]
async fn a1_an_anonymous_request_may_only_read() {
    let server = Server::describing().await;
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let mut client = Dial::to(&server, None, Protocol::Http1).client().await;
        let answer = client.call(method, "/healthz", &[], Chunks::default()).await;
        assert_eq!(answer.status, 403, "{method}");
    }
}

#[tokio::test]
async fn p11_api_without_credentials_is_401() {
    let server = Server::describing().await;
    let mut client = Dial::to(&server, None, Protocol::Http1).client().await;
    assert_eq!(client.get("/api").await.status, 401);
}

#[tokio::test]
async fn p12_healthz_and_version_without_credentials_are_200() {
    let server = Server::describing().await;
    let mut client = Dial::to(&server, None, Protocol::Http1).client().await;
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.get("/version").await.status, 200);
}

#[tokio::test]
async fn a_wrong_credential_is_401_where_none_is_needed_too() {
    let server = Server::describing().await;
    let stranger = Authority::new().issue("kubernetes-admin", "system:masters");
    for protocol in PROTOCOLS {
        for path in ["/api", "/version"] {
            let mut client = Dial::to(&server, None, protocol).client().await;
            let answer = client.call("GET", path, &[("authorization", "Bearer nonsense")], Chunks::default()).await;
            assert_eq!((answer.status, answer.text.as_str()), (401, UNAUTHORIZED), "{path}");
            let answer = Dial::to(&server, Some(&stranger), protocol).client().await.get(path).await;
            assert_eq!((answer.status, answer.text.as_str()), (401, UNAUTHORIZED), "{path}");
        }
    }
    // Another scheme is no credential, so it is anonymous; what an aggregator's headers claim is nothing at all.
    let mut client = Dial::to(&server, None, Protocol::Http1).client().await;
    for headers in [
        [("authorization", "Basic YTpi"), ("accept", "*/*")],
        [("x-remote-user", "kubernetes-admin"), ("x-remote-group", "system:masters")],
        [("impersonate-user", "kubernetes-admin"), ("impersonate-group", "system:masters")],
    ] {
        let answer = client.call("GET", "/api/v1/secrets", &headers, Chunks::default()).await;
        assert_eq!((answer.status, answer.text.as_str()), (401, UNAUTHORIZED), "{headers:?}");
    }
    let answer = client.call("GET", "/version", &[("authorization", "Basic YTpi")], Chunks::default()).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_certificate_is_its_user_for_every_request_of_its_connection() {
    let server = Server::describing().await;
    let (admin, ana) = (server.ca.admin(), server.ca.ana());
    for protocol in PROTOCOLS {
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        for _ in 0..3 {
            let answer = client.get("/api/v1/namespaces").await;
            let expected = "kubernetes-admin system:masters,system:authenticated list 0";
            assert_eq!((answer.status, answer.text.as_str()), (200, expected));
        }
        let mut client = Dial::to(&server, Some(&ana), protocol).client().await;
        for _ in 0..3 {
            let answer = client
                .call(
                    "GET",
                    "/api/v1/secrets",
                    &[("x-remote-group", "system:masters"), ("authorization", "Bearer x")],
                    Chunks::default(),
                )
                .await;
            assert_eq!(answer.status, 403);
            assert_eq!(
                answer.text,
                concat!(
                    r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                    r#""message":"secrets is forbidden: User \"ana\" cannot list resource \"secrets\" in API group \"\" at the cluster scope","#,
                    r#""reason":"Forbidden","details":{"kind":"secrets"},"code":403}"#,
                    "\n"
                )
            );
        }
        let answer = client.get("/metrics").await;
        assert_eq!(
            answer.text,
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"forbidden: User \"ana\" cannot get path \"/metrics\"","reason":"Forbidden","details":{},"code":403}"#,
                "\n"
            )
        );
    }
}

#[tokio::test]
async fn paths_with_two_readings_get_upstreams_answers() {
    let server = Server::describing().await;
    let admin = server.ca.admin();
    for protocol in PROTOCOLS {
        let mut client = Dial::to(&server, Some(&admin), protocol).client().await;
        for (path, code, content_type) in [
            ("//api/v1/namespaces", 404, "text/plain; charset=utf-8"),
            ("/api/v1/namespaces/a/configmaps/%zz", 400, "text/plain; charset=utf-8"),
            ("/api/v1/namespaces/../secrets", 400, "application/json"),
            ("/api/v1/namespaces/a/secrets/%2e%2e", 400, "application/json"),
            ("/api/v1/namespaces/a/secrets/x%00", 404, "application/json"),
        ] {
            let answer = client.get(path).await;
            assert_eq!(answer.status, code, "{path}");
            assert_eq!(answer.headers["content-type"], content_type, "{path}");
        }
    }
}

#[tokio::test]
async fn new_cas_count_for_connections_that_are_open() {
    let server = Server::start(describe, Limits::default()).await;
    let (admin, next) = (server.ca.admin(), Authority::new());
    let mut client = Dial::to(&server, Some(&admin), Protocol::Http1).client().await;
    assert_eq!(client.get("/api").await.status, 200);
    server.tls.reload(&server.ca.serving(&next)).unwrap();
    assert_eq!(client.get("/api").await.status, 401);
    let admin_of_next = next.admin();
    let mut other = Dial::to(&server, Some(&admin_of_next), Protocol::Http1).client().await;
    assert_eq!(other.get("/api").await.status, 200);
    let mut broken = server.ca.serving(&next);
    broken.client_ca_pem.clear();
    assert!(server.tls.reload(&broken).is_err());
    assert_eq!(other.get("/api").await.status, 200);
}
