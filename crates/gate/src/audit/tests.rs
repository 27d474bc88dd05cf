//! What the steps of the gate leave on record.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use portcullis_audit::{Event, Objects, Policy, Sink, Taken};
use serde_json::{Value, json};

use super::*;
use crate::arrival::Peer;
use crate::authn::{Authenticators, Tokens};
use crate::authz::AuthorizerChain;
use crate::body::{Body, RequestBody};
use crate::config::Limits;
use crate::draining::Draining;
use crate::gate::{Gate, Guards};
use crate::upgrade::Takeover;

#[derive(Clone, Default)]
struct Shelf {
    lines: Arc<Mutex<Vec<String>>>,
    is_full: Arc<AtomicBool>,
}

impl Sink for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        let mut line = String::new();
        event.render(Objects::With, &mut line);
        self.lines.lock().unwrap().push(line);
        Taken::Now(Ok(()))
    }

    fn is_ready(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }
}

impl Shelf {
    /// The only event since the last look.
    fn event(&self) -> Value {
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        let [line] = &lines[..] else { panic!("{lines:?}") };
        serde_json::from_str(line).unwrap()
    }
}

/// Serves all, but for two paths.
async fn serve(permitted: crate::authz::Permitted) -> Response<Body> {
    match permitted.info().path() {
        "/panic" => panic!("asked for"),
        "/slow" => std::future::pending().await,
        _ => Response::new(Body::empty()),
    }
}

fn gate(shelf: &Shelf) -> Gate<impl crate::gate::Handler> {
    let auditor = Auditor::new(Policy::standard(), vec![Box::new(shelf.clone())]);
    let guards = Guards {
        authenticators: Authenticators::new(Tokens::default()),
        authorizers: AuthorizerChain::new(Vec::new()),
        auditor,
        ..Guards::default()
    };
    Gate::new(serve, guards, Limits::default())
}

fn identity(name: &str, group: &str) -> Arc<Identity> {
    Arc::new(Identity { name: name.to_owned(), groups: vec![group.to_owned()], ..Identity::default() })
}

fn request(method: Method, path: &str, headers: &[(&'static str, &str)]) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::from_bytes(bytes::Bytes::new()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a8_each_step_leaves_its_decision() {
    const PODS: &str = "/api/v1/namespaces/n/pods";
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    let admin = Peer::in_process(identity("root", crate::identity::GROUP_MASTERS));
    let ana = Peer::in_process(identity("ana", "harbor"));
    let check = async |peer: &Arc<Peer>, path: &str, headers: &[(&'static str, &str)], code: u16, decision: Value| {
        let response = gate.handle(peer, request(Method::GET, path, headers)).await;
        assert_eq!(response.status(), code, "{path}");
        let audit_id = response.headers()["audit-id"].to_str().unwrap().to_owned();
        drop(response.into_body().collect().await);
        let event = shelf.event();
        assert_eq!(event["auditID"], audit_id);
        assert_eq!(event["responseStatus"]["code"], code, "{event}");
        assert_eq!(event["annotations"][DECISION], decision, "{event}");
        event
    };
    let event = check(&admin, PODS, &[("user-agent", "x")], 200, json!("allow")).await;
    assert_eq!((&event["user"]["username"], &event["userAgent"]), (&json!("root"), &json!("x")));
    assert_eq!(event["objectRef"], json!({"resource": "pods", "namespace": "n", "apiVersion": "v1"}));
    assert_eq!(event["annotations"][AUTHENTICATOR], "process");
    assert!(event["annotations"][REASON].is_string());
    assert_eq!(event["sourceIPs"], json!(["127.0.0.1"]));
    let event = check(&ana, PODS, &[], 403, json!("forbid")).await;
    assert_eq!(event["responseStatus"]["reason"], "Forbidden");
    let event = check(&ana, PODS, &[("impersonate-user", "ben")], 403, json!("forbid")).await;
    assert!(event["annotations"][REASON].as_str().unwrap().contains("cannot impersonate"), "{event}");
    assert_eq!(event["impersonatedUser"], Value::Null);
    let event = check(&admin, PODS, &[("impersonate-user", "ben")], 403, json!("forbid")).await;
    assert_eq!(event["impersonatedUser"]["username"], "ben");
    let event = check(&admin, PODS, &[("impersonate-group", "x")], 400, Value::Null).await;
    assert_eq!(event["responseStatus"]["reason"], "BadRequest");
    check(&admin, "/a/../b", &[], 404, json!("allow")).await;
    check(&admin, "/x?timeout=1x", &[], 400, json!("allow")).await;
    let event = check(&admin, "/x%zz", &[], 400, Value::Null).await;
    assert_eq!((&event["user"], &event["requestURI"]), (&json!({}), &json!("/x%zz")));
    let event = check(&admin, "/panic", &[], 500, json!("allow")).await;
    assert_eq!(event["stage"], "Panic");
    // A stream has two events; that of its end is made when its last byte is gone.
    let response = gate.handle(&admin, request(Method::GET, "/api/v1/pods?watch=1", &[])).await;
    assert_eq!(shelf.event()["stage"], "ResponseStarted");
    drop(response);
    assert_eq!(shelf.event()["stage"], "ResponseComplete");
}

#[tokio::test(start_paused = true)]
async fn a25_a_request_that_takes_too_long_is_on_record_and_one_whose_client_leaves_too() {
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    let admin = Peer::in_process(identity("root", crate::identity::GROUP_MASTERS));
    let response = gate.handle(&admin, request(Method::GET, "/slow", &[])).await;
    assert_eq!((response.status().as_u16(), &shelf.event()["responseStatus"]["reason"]), (504, &json!("Timeout")));
    let waiting = gate.handle(&admin, request(Method::GET, "/slow", &[]));
    assert!(tokio::time::timeout(std::time::Duration::from_secs(1), waiting).await.is_err());
    let event = shelf.event();
    assert_eq!((&event["stage"], &event["responseStatus"]), (&json!("ResponseComplete"), &Value::Null));
    assert_eq!(event["annotations"]["audit.portcullis.io/ended"], "before an answer: the client went away");
}

#[tokio::test]
async fn a25_the_record_of_a_stream_after_a_101_ends_with_the_stream() {
    let shelf = Shelf::default();
    let record = Auditor::new(Policy::standard(), vec![Box::new(shelf.clone())]).open(&NewRecord {
        attributes: Attributes { user: None, verb: "get", target: Target::Path("/") },
        audit_id: "",
        uri: "/",
        source_ips: &[],
        user_agent: "",
    });
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let takeover = Takeover::new(|_| Box::pin(async move { drop(receiver.await) }));
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(takeover.clone());
    let trail = Trail::default();
    trail.record(&record);
    drop(record);
    trail.answered(&mut response, true).await;
    assert_eq!(shelf.event()["stage"], "ResponseStarted");
    trail.leave(&mut response, None);
    drop(response);
    let speaking = tokio::spawn(takeover.speak(Draining::never()));
    tokio::task::yield_now().await;
    assert!(shelf.lines.lock().unwrap().is_empty(), "it is still spoken");
    sender.send(()).unwrap();
    speaking.await.unwrap();
    assert_eq!(shelf.event()["stage"], "ResponseComplete");
}

#[tokio::test]
async fn a25_a_credential_that_fails_is_on_record_without_itself() {
    const TOKEN: &str = "canary-5f2b";
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    let nobody = Peer::in_process(identity(crate::identity::ANONYMOUS, "x"));
    let check = async |headers: &[(&'static str, &str)], uri: &str, expected: &str| {
        let response = gate.handle(&nobody, request(Method::GET, uri, headers)).await;
        assert_eq!(response.status(), 401);
        let line = shelf.lines.lock().unwrap().concat();
        assert!(!line.contains(TOKEN), "{line}");
        let event = shelf.event();
        assert_eq!(event["responseStatus"]["message"], expected);
        assert_eq!((&event["stage"], &event["user"]), (&json!("ResponseStarted"), &json!({})));
    };
    let bearer = format!("Bearer {TOKEN}");
    check(&[], "/api", "Authentication failed, no credentials provided").await;
    check(&[("authorization", &bearer)], "/api", "Authentication failed, attempted: bearer").await;
    check(&[("authorization", "Basic Y2FuYXJ5LTVmMmI=")], "/api", "Authentication failed, attempted: basic").await;
    let uri = format!("/api?access_token={TOKEN}");
    check(&[("authorization", &bearer)], &uri, "Authentication failed, attempted: bearer, access_token").await;
}

#[tokio::test]
async fn a25_without_a_log_nothing_is_changed() {
    let shelf = Shelf::default();
    let gate = gate(&shelf);
    let admin = Peer::in_process(identity("root", crate::identity::GROUP_MASTERS));
    let check = async |method: Method, path: &str, is_full: bool, code: u16| {
        shelf.is_full.store(is_full, Ordering::Relaxed);
        let response = gate.handle(&admin, request(method.clone(), path, &[])).await;
        assert_eq!(response.status(), code, "{method} {path} {is_full}");
        assert_eq!(response.headers().contains_key("retry-after"), code == 503);
        drop(response);
        assert_eq!(shelf.event()["responseStatus"]["code"], code, "who still can take it has it");
    };
    const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (is_full, code) in [(false, 200), (true, 503), (false, 200)] {
        check(Method::GET, "/api/v1/pods", is_full, 200).await;
        check(Method::POST, REVIEWS, is_full, 200).await;
        check(Method::POST, "/api/v1/namespaces", is_full, code).await;
        check(Method::DELETE, "/api/v1/namespaces/x", is_full, code).await;
        check(Method::POST, "/api/v1/namespaces?dryRun=All", is_full, code).await;
    }
}
