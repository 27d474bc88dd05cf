#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use portcullis_fairness::{
    Distinguisher, FlowSchema, Level, LevelKind, NonResourceRule, Overload, PolicyRule, Subject,
};

use super::*;
use crate::authz::Permitted;
use crate::body::{Body, RequestBody};
use crate::config::Limits;
use crate::gate::{Gate, Guards};
use crate::identity::{GROUP_AUTHENTICATED, Identity};
use crate::{Attributes, Authorizer, AuthorizerChain, Decision, Peer, Rules, Verdict};

/// One level of one seat that refuses what finds none, for paths; everything has the width that is asked for.
struct Narrow {
    classifier: Arc<Classifier>,
    weighed: AtomicUsize,
}

impl FlowControl for Narrow {
    fn classifier(&self) -> Arc<Classifier> {
        Arc::clone(&self.classifier)
    }

    fn width(&self, _weighed: &Weighed<'_>) -> Width {
        self.weighed.fetch_add(1, Ordering::Relaxed);
        Width::ONE
    }
}

fn narrow(overload: Overload) -> Arc<Narrow> {
    let level = Level {
        name: "narrow".to_owned(),
        uid: "level-uid".to_owned(),
        shares: 1,
        lendable_percent: 0,
        kind: LevelKind::Limited { borrowing_limit_percent: Some(0), overload },
    };
    let all = || vec!["*".to_owned()];
    let rule = PolicyRule {
        subjects: vec![Subject::User("bo".to_owned())],
        resource_rules: Vec::new(),
        non_resource_rules: vec![NonResourceRule { verbs: all(), paths: all() }],
    };
    let schema = FlowSchema {
        name: "paths".to_owned(),
        uid: "schema-uid".to_owned(),
        precedence: 7,
        level: "narrow".to_owned(),
        distinguisher: Distinguisher::ByUser,
        rules: vec![rule],
    };
    let classifier = Arc::new(Classifier::new(vec![level], vec![schema]));
    Arc::new(Narrow { classifier, weighed: AtomicUsize::new(0) })
}

struct Everyone;

impl Authorizer for Everyone {
    fn name(&self) -> &'static str {
        "Everyone"
    }

    fn decide<'a>(&'a self, _attributes: &'a Attributes<'a>) -> Decision<'a> {
        Decision::Now(Verdict::allow("test"))
    }

    fn rules(&self, _user: &Identity, _namespace: &str, _rules: &mut Rules) {}
}

/// Answers at once, but for `/slow`, which never does.
async fn answer(permitted: Permitted) -> Response<Body> {
    if permitted.info().path() == "/slow" || permitted.info().is_long_running() {
        std::future::pending::<()>().await;
    }
    Response::new(Body::from("ok"))
}

fn gate(fairness: Fairness) -> Arc<Gate<impl crate::Handler>> {
    let authorizers = AuthorizerChain::new(vec![Arc::new(Everyone)]);
    let guards = Guards { fairness: Some(fairness), authorizers, ..Guards::default() };
    Arc::new(Gate::new(answer, guards, Limits::default()))
}

async fn ask(gate: &Gate<impl crate::Handler>, user: &str, method: &str, target: &str) -> Response<Body> {
    let groups = vec![GROUP_AUTHENTICATED.to_owned()];
    let peer = Peer::in_process(Arc::new(Identity { name: user.to_owned(), groups, ..Identity::default() }));
    let request = Request::builder().method(method).uri(target).body(RequestBody::from_bytes("")).unwrap();
    gate.handle(&peer, request).await
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> &'r str {
    response.headers().get(name).map_or("-", |value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_seat_is_told_when_to_come_back() {
    let control = narrow(Overload::Reject);
    let gate = gate(Fairness::by_flows(Arc::clone(&control) as _, Arc::new(Dispatcher::new(1))));
    let headers = ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"];
    let check = async |target: &str, code: u16, uids: [&str; 2], has_retry_after: bool| {
        let response = ask(&gate, "bo", "GET", target).await;
        assert_eq!(response.status(), code, "{target}");
        assert_eq!(headers.map(|name| header(&response, name)), uids, "{target}");
        assert_eq!(header(&response, "retry-after") != "-", has_retry_after, "{target}");
        assert_eq!(header(&response, "audit-id").len(), 36);
    };
    let uids = ["schema-uid", "level-uid"];
    check("/fast", 200, uids, false).await;
    // The seat is free again when the answer is gone.
    check("/fast", 200, uids, false).await;
    let slow = tokio::spawn({
        let gate = Arc::clone(&gate);
        async move { ask(&gate, "bo", "GET", "/slow").await }
    });
    tokio::task::yield_now().await;
    check("/fast", 429, uids, true).await;
    // Its client goes away, and its seat is free.
    slow.abort();
    assert!(slow.await.is_err());
    check("/fast", 200, uids, false).await;
    assert_eq!(control.weighed.load(Ordering::Relaxed), 5);
    // What is neither short nor a watch is not asked.
    let stream = ask(&gate, "bo", "GET", "/api/v1/namespaces/a/pods/p/log");
    assert!(tokio::time::timeout(Duration::from_secs(3600), stream).await.is_err());
    assert_eq!(control.weighed.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn waiting_takes_a_quarter_of_the_time_at_most_and_counts() {
    let overload = Overload::Queue { queues: 2, hand_size: 1, queue_length: 5 };
    let control = narrow(overload);
    let gate = gate(Fairness::by_flows(control, Arc::new(Dispatcher::new(1))));
    let begun = tokio::time::Instant::now();
    let ask = |target: &'static str| {
        let gate = Arc::clone(&gate);
        tokio::spawn(async move { ask(&gate, "bo", "GET", target).await.status().as_u16() })
    };
    let first = ask("/slow?timeout=10s");
    tokio::task::yield_now().await;
    // It has a seat after ten seconds, and then fifty of its sixty left.
    let patient = ask("/slow");
    let impatient = ask("/fast?timeout=20s");
    assert_eq!(impatient.await.unwrap(), 429);
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(first.await.unwrap(), 504);
    assert_eq!(patient.await.unwrap(), 504);
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn without_levels_there_are_places() {
    let gate = gate(Fairness::by_number(1, 2));
    let slow = |method: &'static str, target: &'static str| {
        let gate = Arc::clone(&gate);
        tokio::spawn(async move { ask(&gate, "bo", method, target).await })
    };
    let (_read, _write) = (slow("GET", "/slow"), slow("POST", "/slow"));
    let _watch = slow("GET", "/api/v1/pods?watch=1");
    tokio::task::yield_now().await;
    let check = async |user: &str, method: &str, target: &str, code: u16| {
        let response = ask(&gate, user, method, target).await;
        assert_eq!(response.status(), code, "{user} {method} {target}");
        assert_eq!(header(&response, "retry-after"), if code == 429 { "1" } else { "-" });
        assert_eq!(header(&response, "x-kubernetes-pf-flowschema-uid"), "-");
    };
    check("bo", "GET", "/fast", 429).await;
    check("bo", "GET", "/api/v1/pods", 429).await;
    check("bo", "POST", "/fast", 200).await;
    let _second = slow("DELETE", "/slow");
    tokio::task::yield_now().await;
    check("bo", "POST", "/fast", 429).await;
    let masters = Identity {
        name: "admin".to_owned(),
        groups: vec![GROUP_MASTERS.to_owned(), GROUP_AUTHENTICATED.to_owned()],
        ..Identity::default()
    };
    let request = Request::builder().uri("/fast").body(RequestBody::from_bytes("")).unwrap();
    assert_eq!(gate.handle(&Peer::in_process(Arc::new(masters)), request).await.status(), 200);
}
