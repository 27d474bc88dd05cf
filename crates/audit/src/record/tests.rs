//! Lives of records: which events a request leaves, and what they say.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::attributes::Target;
use crate::event::Objects;
use crate::policy::{Criteria, Policy, PolicyDocument, RuleDocument};
use crate::sink::{Sink, Taken};
use crate::{BoxFuture, OnError};

/// Keeps what it is given, unless it is full.
#[derive(Clone, Default)]
struct Shelf {
    lines: Arc<Mutex<Vec<String>>>,
    is_full: Arc<AtomicBool>,
    is_strict: bool,
    is_slow: bool,
}

impl Sink for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn take<'a>(&'a self, event: &'a Event) -> Taken<'a> {
        let take = move || {
            if self.is_full.load(Ordering::Relaxed) {
                return Err(Unrecorded { reason: "full".to_owned() });
            }
            let mut line = String::new();
            event.render(Objects::With, &mut line);
            self.lines.lock().unwrap().push(line);
            Ok(())
        };
        if !self.is_slow {
            return Taken::Now(take());
        }
        let later: BoxFuture<'a, _> = Box::pin(async move {
            tokio::task::yield_now().await;
            take()
        });
        Taken::Later(later)
    }

    fn is_ready(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    fn is_strict(&self) -> bool {
        self.is_strict
    }
}

impl Shelf {
    fn events(&self) -> Vec<Value> {
        self.lines.lock().unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn stages(&self) -> Vec<String> {
        self.events().iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect()
    }
}

fn policy(level: &str, omit_stages: &[&str]) -> Policy {
    let rule = RuleDocument { level: level.to_owned(), criteria: Criteria::default(), ..RuleDocument::default() };
    let omit_stages = omit_stages.iter().map(ToString::to_string).collect();
    PolicyDocument { rules: vec![rule], omit_stages, omit_managed_fields: false }.validate().unwrap()
}

fn auditor(shelf: &Shelf, policy: Policy) -> Arc<Auditor> {
    Auditor::new(policy, vec![Box::new(shelf.clone())])
}

const POD: Target<'_> =
    Target::Resource { group: "", version: "v1", resource: "pods", subresource: "", namespace: "default", name: "web" };

fn open(auditor: &Arc<Auditor>, user: Option<&str>, verb: &str, target: Target<'_>) -> Record {
    let (groups, extra) = (["harbor".to_owned()], BTreeMap::from([("k".to_owned(), vec!["v".to_owned()])]));
    let user = user.map(|name| User { name, uid: "u1", groups: &groups, extra: &extra });
    auditor.open(&NewRecord {
        attributes: Attributes { user, verb, target },
        audit_id: "id-1",
        uri: "/api/v1/namespaces/default/pods/web?a=1&b=2",
        source_ips: &["198.51.100.7".parse().unwrap(), "::ffff:10.0.0.1".parse().unwrap()],
        user_agent: "kubectl/v1.36 <x>",
    })
}

/// Takes the times out, which are never the same.
fn timeless(line: &str) -> String {
    let mut text = line.to_owned();
    for key in [r#""requestReceivedTimestamp":""#, r#""stageTimestamp":""#] {
        let at = text.find(key).unwrap() + key.len();
        let end = at + text[at..].find('"').unwrap();
        assert_eq!(end - at, "2026-01-02T03:04:05.000006Z".len(), "{text}");
        text.replace_range(at..end, "T");
    }
    text
}

#[tokio::test]
async fn a_line_is_as_upstream_writes_it() {
    let shelf = Shelf::default();
    let auditor = auditor(&shelf, policy("RequestResponse", &["RequestReceived"]));
    let record = open(&auditor, Some("ana"), "patch", POD);
    record.received().await.unwrap();
    record.annotate("authorization.k8s.io/reason", "RBAC: \"x\"");
    record.annotate("authorization.k8s.io/decision", "allow");
    record.annotate("authorization.k8s.io/decision", "forbid");
    let extra = BTreeMap::new();
    let ben = User { name: "ben", uid: "", groups: &[], extra: &extra };
    record.impersonated(&ben, Some("impersonate:user-info"));
    record.object(&ObjectNames { uid: "u9", resource_version: "7", ..ObjectNames::default() });
    record.request_object(Bytes::from("{\"a\":\n1}\n"));
    record.response_object(Bytes::from_static(br#"{"a":2}"#));
    record.completed(200, None).await;
    drop(record);
    let lines = shelf.lines.lock().unwrap().clone();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = concat!(
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"id-1","#,
        r#""stage":"ResponseComplete","requestURI":"/api/v1/namespaces/default/pods/web?a=1\u0026b=2","verb":"patch","#,
        r#""user":{"username":"ana","uid":"u1","groups":["harbor"],"extra":{"k":["v"]}},"#,
        r#""impersonatedUser":{"username":"ben"},"#,
        r#""authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"},"#,
        r#""sourceIPs":["198.51.100.7","10.0.0.1"],"userAgent":"kubectl/v1.36 \u003cx\u003e","#,
        r#""objectRef":{"resource":"pods","namespace":"default","name":"web","uid":"u9","apiVersion":"v1","#,
        r#""resourceVersion":"7"},"responseStatus":{"metadata":{},"code":200},"requestObject":{"a":1},"#,
        r#""responseObject":{"a":2},"requestReceivedTimestamp":"T","stageTimestamp":"T","#,
        r#""annotations":{"authorization.k8s.io/decision":"allow","#,
        r#""authorization.k8s.io/reason":"RBAC: \"x\""}}"#,
    );
    assert_eq!(timeless(&lines[0]), expected);
}

#[tokio::test]
async fn a_refusal_says_why() {
    let shelf = Shelf::default();
    let auditor = auditor(&shelf, Policy::standard());
    let record = open(&auditor, None, "get", Target::Path("/x"));
    let status = Status::forbidden("", "pods", "web", "no");
    record.completed(403, Some(&status)).await;
    let expected = concat!(
        r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id-1","#,
        r#""stage":"ResponseComplete","requestURI":"/api/v1/namespaces/default/pods/web?a=1\u0026b=2","verb":"get","#,
        r#""user":{},"sourceIPs":["198.51.100.7","10.0.0.1"],"userAgent":"kubectl/v1.36 \u003cx\u003e","#,
        r#""responseStatus":{"metadata":{},"status":"Failure","#,
        r#""message":"pods \"web\" is forbidden: no","reason":"Forbidden","#,
        r#""details":{"name":"web","kind":"pods"},"code":403},"#,
        r#""requestReceivedTimestamp":"T","stageTimestamp":"T","annotations":{}}"#,
    );
    assert_eq!(timeless(&shelf.lines.lock().unwrap()[0]), expected);
}

#[tokio::test]
async fn each_life_has_its_stages() {
    let check = async |omitted: &[&str], live: fn(Record) -> BoxFuture<'static, ()>, expected: &[&str]| {
        for is_slow in [false, true] {
            let shelf = Shelf { is_slow, ..Shelf::default() };
            live(open(&auditor(&shelf, policy("Metadata", omitted)), Some("ana"), "get", POD)).await;
            // What a record does at its end on its own is done by another task.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            assert_eq!(shelf.stages(), expected, "{omitted:?}");
        }
    };
    let answered = |record: Record| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            record.received().await.unwrap();
            record.completed(200, None).await;
        })
    };
    let streamed = |record: Record| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            record.received().await.unwrap();
            record.started(200).await;
        })
    };
    let panicked = |record: Record| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            record.received().await.unwrap();
            record.panicked(500).await;
        })
    };
    let unproved = |record: Record| -> BoxFuture<'static, ()> {
        Box::pin(async move {
            record.failed_authentication("attempted: bearer");
            record.completed(401, Some(&Status::unauthorized())).await;
        })
    };
    check(&[], answered, &["RequestReceived", "ResponseComplete"]).await;
    check(&["RequestReceived"], answered, &["ResponseComplete"]).await;
    check(&["RequestReceived", "ResponseComplete"], answered, &[]).await;
    check(&[], streamed, &["RequestReceived", "ResponseStarted", "ResponseComplete"]).await;
    check(&["ResponseStarted"], streamed, &["RequestReceived", "ResponseComplete"]).await;
    check(&[], panicked, &["RequestReceived", "Panic"]).await;
    check(&["Panic"], panicked, &["RequestReceived"]).await;
    check(&[], unproved, &["ResponseStarted"]).await;
    check(&["ResponseStarted"], unproved, &["ResponseComplete"]).await;
}

#[tokio::test]
async fn who_goes_away_leaves_a_trace() {
    let shelf = Shelf::default();
    let auditor = auditor(&shelf, Policy::standard());
    let record = open(&auditor, Some("ana"), "get", POD);
    let other = record.clone();
    drop(record);
    assert!(shelf.events().is_empty(), "somebody still has it");
    drop(other);
    let event = &shelf.events()[0];
    assert_eq!(event["stage"], "ResponseComplete");
    assert_eq!(event["responseStatus"], Value::Null);
    assert_eq!(event["annotations"], json!({ENDED: "before an answer: the client went away"}));
    let record = open(&auditor, Some("ana"), "watch", POD);
    record.started(200).await;
    drop(record);
    let event = &shelf.events()[2];
    assert_eq!((&event["stage"], &event["annotations"]), (&json!("ResponseComplete"), &json!({})));
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 200}));
}

#[tokio::test]
async fn failed_authentication_tells_how_it_was_tried() {
    let shelf = Shelf::default();
    let record = open(&auditor(&shelf, Policy::standard()), None, "list", POD);
    record.failed_authentication("Authentication failed, attempted: bearer");
    record.completed(401, Some(&Status::unauthorized())).await;
    let event = &shelf.events()[0];
    assert_eq!((&event["user"], &event["stage"]), (&json!({}), &json!("ResponseStarted")));
    let expected = json!({
        "metadata": {}, "status": "Failure", "message": "Authentication failed, attempted: bearer",
        "reason": "Unauthorized", "code": 401,
    });
    assert_eq!(event["responseStatus"], expected);
}

#[tokio::test]
async fn a25_nothing_of_a_secret_is_recorded() {
    const CANARY: &str = "canary-d41d8c";
    let secret = Target::Resource {
        group: "",
        version: "v1",
        resource: "secrets",
        subresource: "",
        namespace: "default",
        name: "db",
    };
    let live = async |policy: Policy| {
        let shelf = Shelf::default();
        let record = open(&auditor(&shelf, policy), Some("ana"), "create", secret);
        record.request_object(Bytes::from(format!(r#"{{"data":"{CANARY}"}}"#)));
        record.response_object(Bytes::from(format!(r#"{{"data":"{CANARY}"}}"#)));
        record.completed(422, Some(&Status::bad_request(format!("quoting {CANARY}")))).await;
        shelf.lines.lock().unwrap().concat()
    };
    let line = live(policy("RequestResponse", &[]).guarded()).await;
    assert!(!line.contains(CANARY) && line.contains(r#""level":"Metadata""#), "{line}");
    assert!(line.contains(r#""reason":"BadRequest","code":422}"#), "{line}");
    let line = live(policy("RequestResponse", &[])).await;
    assert_eq!(line.matches(CANARY).count(), 3, "an operator of the other profile gets what the policy says: {line}");
    let line = live(policy("None", &[]).guarded()).await;
    assert_eq!(line, "");
}

#[tokio::test]
async fn what_clients_choose_is_bounded() {
    let shelf = Shelf::default();
    let auditor = auditor(&shelf, Policy::standard());
    let long = "é".repeat(100_000);
    let (groups, extra) = (vec![long.clone(); 1000], BTreeMap::from([(long.clone(), vec![long.clone(); 1000])]));
    let user = User { name: &long, uid: &long, groups: &groups, extra: &extra };
    let open = |user: Option<User<'_>>| {
        let target = Target::Resource {
            group: &long,
            version: &long,
            resource: &long,
            subresource: &long,
            namespace: &long,
            name: &long,
        };
        let record = auditor.open(&NewRecord {
            attributes: Attributes { user, verb: &long, target },
            audit_id: &long,
            uri: &long,
            source_ips: &[],
            user_agent: &long,
        });
        for at in 0..200 {
            record.annotate(format!("key-{at}"), long.clone());
        }
        record
    };
    open(Some(user)).completed(400, Some(&Status::bad_request(long.clone()))).await;
    open(None).completed(400, None).await;
    let lines = shelf.lines.lock().unwrap().clone();
    assert!(lines[0].len() < 1 << 20, "{}", lines[0].len());
    let events = shelf.events();
    let agent = events[0]["userAgent"].as_str().unwrap();
    assert_eq!((agent.len(), agent.ends_with("é...TRUNCATED")), (1024 + 12, true));
    assert_eq!(events[0]["user"]["groups"].as_array().unwrap().len(), 257);
    assert_eq!(events[1]["requestURI"].as_str().unwrap().len(), 1024 + 12, "strangers get less");
    let annotations = events[0]["annotations"].as_object().unwrap();
    assert!(annotations.len() < 64 && !annotations.is_empty());
}

#[tokio::test]
async fn tokens_in_a_query_are_not_recorded() {
    let check = async |uri: &str, expected: &str| {
        let shelf = Shelf::default();
        let record = auditor(&shelf, Policy::standard()).open(&NewRecord {
            attributes: Attributes { user: None, verb: "get", target: POD },
            audit_id: "",
            uri,
            source_ips: &[],
            user_agent: "",
        });
        record.completed(401, None).await;
        assert_eq!(shelf.events()[0]["requestURI"], expected);
    };
    check("/x?access_token=abc", "/x?access_token=REDACTED").await;
    // However it is spelled, and what else is known to hold a secret.
    check("/x?access%5Ftoken=abc&Access_Token=d", "/x?access%5Ftoken=REDACTED&Access_Token=REDACTED").await;
    check("/x/proxy/lab?token=abc&password=d", "/x/proxy/lab?token=REDACTED&password=REDACTED").await;
    // A path must not hide what is behind it, nor a name that only ends so.
    check("/x/proxy/access_token=/admin/delete?a=b", "/x/proxy/access_token=/admin/delete?a=b").await;
    check("/x?my_access_token=abc&token&=&%&%f", "/x?my_access_token=abc&token&=&%&%f").await;
    check("/x?a=1&access_token=abc&b=2&access_token=d", "/x?a=1&access_token=REDACTED&b=2&access_token=REDACTED").await;
    check("/x?a=1", "/x?a=1").await;
}

#[tokio::test]
async fn who_may_go_on_when_nothing_can_be_recorded() {
    let check = |on_error: OnError, user: Option<&str>, verb: &str, expected: bool| {
        let shelf = Shelf::default();
        let auditor = Auditor::with(Policy::standard(), vec![Box::new(shelf.clone())], on_error);
        let extra = BTreeMap::new();
        let user = user.map(|name| User { name, uid: "", groups: &[], extra: &extra });
        let attributes = Attributes { user, verb, target: POD };
        let (name, record) = (user.map(|user| user.name), open(&auditor, Some("ana"), verb, POD));
        assert!(auditor.lets_pass(&attributes, &record), "all is well");
        shelf.is_full.store(true, Ordering::Relaxed);
        assert_eq!(auditor.lets_pass(&attributes, &record), expected, "{on_error:?} {name:?} {verb}");
        assert!(auditor.lets_pass(&attributes, &Record::none()), "what needs no record");
        shelf.is_full.store(false, Ordering::Relaxed);
        assert!(auditor.lets_pass(&attributes, &record), "all is well again");
    };
    check(OnError::RefuseWrites, Some("ana"), "get", true);
    check(OnError::RefuseWrites, Some("ana"), "delete", false);
    check(OnError::RefuseAll, Some("ana"), "get", false);
    check(OnError::RefuseAll, Some("ana"), "delete", false);
    check(OnError::Ignore, Some("ana"), "delete", true);
    for stranger in [None, Some("system:anonymous")] {
        check(OnError::RefuseAll, stranger, "delete", true);
    }
}

#[tokio::test]
async fn a_strict_sink_stops_a_request_before_it_begins() {
    let check = async |is_strict: bool, expected: bool| {
        let shelf = Shelf { is_strict, ..Shelf::default() };
        shelf.is_full.store(true, Ordering::Relaxed);
        let auditor = auditor(&shelf, policy("Metadata", &[]));
        let registry = prometheus::Registry::new();
        auditor.register(&registry).unwrap();
        let record = open(&auditor, Some("ana"), "get", POD);
        assert_eq!(record.received().await.is_ok(), expected);
        record.completed(200, None).await;
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "apiserver_audit_event_total 2",
            "apiserver_audit_error_total{plugin=\"shelf\"} 2",
            "apiserver_audit_level_total{level=\"Metadata\"} 1",
            "apiserver_audit_level_total{level=\"None\"} 0",
            &format!("apiserver_audit_requests_rejected_total {}", u8::from(is_strict)),
        ] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
    };
    check(true, false).await;
    check(false, true).await;
}

#[test]
fn another_policy_counts_from_the_next_request_on() {
    let shelf = Shelf::default();
    let auditor = auditor(&shelf, policy("None", &[]));
    assert_eq!(open(&auditor, None, "get", POD).level(), Level::None);
    auditor.replace_policy(policy("Request", &[]));
    let record = open(&auditor, None, "get", POD);
    assert_eq!(record.level(), Level::Request);
    assert_eq!(open(&Auditor::none(), None, "get", POD).level(), Level::None);
}
