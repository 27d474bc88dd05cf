#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::Context;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame};
use prometheus::proto::MetricFamily;

use super::series::tests::served;
use super::*;
use crate::arrival::Peer;
use crate::authz::{Authorizer, AuthorizerChain, Decision, Permitted, Rules};
use crate::body::{BoxError, RequestBody};
use crate::config::Limits;
use crate::gate::{Gate, Guards};
use crate::identity::{GROUP_AUTHENTICATED, GROUP_MASTERS, Identity};

/// Requests of the flood, each unlike all others.
const FLOOD: usize = 20_000;

fn peer(name: &str, groups: &[&str]) -> Arc<Peer> {
    let groups = groups.iter().copied().chain([GROUP_AUTHENTICATED]).map(str::to_owned).collect();
    Peer::in_process(Arc::new(Identity { name: name.to_owned(), groups, ..Identity::default() }))
}

fn request(method: &str, target: &str) -> Request<RequestBody> {
    Request::builder().method(method).uri(target).body(RequestBody::from_bytes("")).unwrap()
}

/// A body of a length that nobody is told.
struct Stream(VecDeque<Bytes>);

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Answers as the path says: collections stream five bytes, one path panics and one never answers.
async fn answer(permitted: Permitted) -> Response<Body> {
    let streams = permitted.info().resource().is_some_and(|info| info.path_name.is_empty());
    match permitted.info().path() {
        "/boom" => panic!("as asked"),
        "/slow" => std::future::pending().await,
        _ if streams => Response::new(Body::from_stream(Stream([Bytes::from("ab"), Bytes::from("cde")].into()))),
        _ => Response::new(Body::from("ok")),
    }
}

/// Has an opinion about one user.
struct Only(&'static str);

impl Authorizer for Only {
    fn name(&self) -> &'static str {
        "RBAC"
    }

    fn decide<'a>(&'a self, attributes: &'a crate::authz::Attributes<'a>) -> Decision<'a> {
        Decision::Now(match &*attributes.user.name {
            name if name == self.0 => Verdict::allow("as asked"),
            "mallory" => Verdict::deny("as asked"),
            _ => Verdict::no_opinion(),
        })
    }

    fn rules(&self, _: &Identity, _: &str, _: &mut Rules) {}
}

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

struct Counted {
    gate: Gate<fn(Permitted) -> Answer>,
    registry: Registry,
}

impl Counted {
    fn new() -> Self {
        let guards = Guards {
            authorizers: AuthorizerChain::new(vec![Arc::new(Only("ana"))]),
            metrics: Metrics::new(&served()),
            ..Guards::default()
        };
        let registry = Registry::new();
        guards.register(&registry).unwrap();
        let handler: fn(Permitted) -> Answer = |permitted| Box::pin(answer(permitted));
        Self { gate: Gate::new(handler, guards, Limits::default()), registry }
    }

    async fn send(&self, peer: &Arc<Peer>, method: &str, target: &str) -> Response<Body> {
        self.gate.handle(peer, request(method, target)).await
    }

    /// Every counter, gauge and count of a histogram as a line.
    fn lines(&self) -> Vec<String> {
        let line = |family: &MetricFamily, metric: &Metric| {
            let labels = metric.get_label().iter().map(|label| format!("{}={}", label.name(), label.value()));
            let labels = labels.filter(|label| !label.ends_with('=')).collect::<Vec<_>>().join(",");
            let value = match family.get_field_type() {
                MetricType::COUNTER => metric.get_counter().get_value(),
                MetricType::GAUGE => metric.get_gauge().get_value(),
                _ => metric.get_histogram().get_sample_count() as f64,
            };
            format!("{}{{{labels}}} {value}", family.name())
        };
        let families = self.registry.gather();
        families.iter().flat_map(|family| family.get_metric().iter().map(move |metric| line(family, metric))).collect()
    }

    fn assert_line(&self, expected: &str) {
        let lines = self.lines();
        assert!(lines.iter().any(|line| line == expected), "{expected}\n{}", lines.join("\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_is_counted_also_one_that_is_refused() {
    let counted = Counted::new();
    let (ana, bo) = (peer("ana", &[]), peer("bo", &[]));
    let total = "apiserver_request_total";
    let pods = "component=apiserver,resource=pods,scope=resource,verb=GET,version=v1";
    counted.send(&ana, "GET", "/api/v1/namespaces/a/pods/b").await;
    counted.assert_line(&format!("{total}{{code=200,{pods}}} 1"));
    counted.assert_line(&format!("apiserver_response_sizes{{{pods}}} 1"));
    counted.send(&bo, "GET", "/api/v1/namespaces/a/pods/b").await;
    counted.assert_line(&format!("{total}{{code=403,{pods}}} 1"));
    counted.assert_line(&format!("apiserver_request_duration_seconds{{{pods}}} 2"));
    counted.assert_line(&format!("apiserver_request_sli_duration_seconds{{{pods}}} 2"));
    let nobody = Peer::in_process(Arc::new(Identity { name: "system:anonymous".to_owned(), ..Identity::default() }));
    counted.send(&nobody, "GET", "/api/v1/namespaces/a/pods/b").await;
    counted.assert_line(&format!("{total}{{code=401,{pods}}} 1"));
    counted.send(&ana, "GET", "/%zz").await;
    counted.assert_line(&format!("{total}{{code=400,component=apiserver,verb=other}} 1"));
    counted.send(&ana, "GET", "/boom").await;
    counted.assert_line(&format!("{total}{{code=500,component=apiserver,verb=GET}} 1"));
    counted.send(&ana, "GET", "/slow?timeout=1s").await;
    counted.assert_line(&format!("{total}{{code=504,component=apiserver,verb=GET}} 1"));
    counted.assert_line("apiserver_request_terminations_total{code=504,component=apiserver,verb=GET} 1");
    counted.send(&ana, "POST", "/api/v1/namespaces/a/pods?dryRun=All").await;
    let post = "component=apiserver,dry_run=All,resource=pods,scope=resource,verb=POST,version=v1";
    counted.assert_line(&format!("{total}{{code=200,{post}}} 1"));
    for line in [
        "authentication_attempts{result=error} 1",
        "authentication_attempts{result=success} 5",
        "authenticated_user_requests{username=other} 5",
        "authorization_attempts_total{result=allowed} 4",
        "authorization_attempts_total{result=no-opinion} 1",
        "authorization_duration_seconds{result=allowed} 4",
        "apiserver_authorization_decisions_total{decision=allowed,name=rbac,type=RBAC} 4",
        "apiserver_request_filter_duration_seconds{filter=authentication} 6",
        "apiserver_request_filter_duration_seconds{filter=authorization} 5",
    ] {
        counted.assert_line(line);
    }
}

#[tokio::test]
async fn a_stream_is_counted_when_it_ends() {
    let counted = Counted::new();
    let ana = peer("ana", &[]);
    let pods = "component=apiserver,resource=pods,scope=cluster,verb=WATCH,version=v1";
    let response = counted.send(&ana, "GET", "/api/v1/pods?watch=1").await;
    counted.assert_line(&format!("apiserver_longrunning_requests{{{pods}}} 1"));
    assert!(!counted.lines().iter().any(|line| line.starts_with("apiserver_request_total")));
    drop(response);
    counted.assert_line(&format!("apiserver_longrunning_requests{{{pods}}} 0"));
    counted.assert_line(&format!("apiserver_request_total{{code=200,{pods}}} 1"));
}

#[tokio::test]
async fn an_answer_of_unknown_length_is_measured_as_it_is_sent() {
    let counted = Counted::new();
    let response = counted.send(&peer("ana", &[]), "GET", "/api/v1/pods").await;
    let sizes = |counted: &Counted| {
        let families = counted.registry.gather();
        let sizes = families.iter().find(|family| family.name() == "apiserver_response_sizes");
        sizes.map(|family| family.get_metric()[0].get_histogram().get_sample_sum())
    };
    assert_eq!(sizes(&counted), None);
    response.into_body().collect().await.unwrap();
    assert_eq!(sizes(&counted), Some(5.0));
}

#[tokio::test]
async fn a_client_that_goes_away_is_counted() {
    let counted = Counted::new();
    let ana = peer("ana", &[]);
    {
        let mut sent = std::pin::pin!(counted.send(&ana, "GET", "/slow"));
        let poll = std::future::poll_fn(|context| Poll::Ready(sent.as_mut().poll(context).is_ready()));
        assert!(!poll.await);
        counted.assert_line("apiserver_current_inflight_requests{request_kind=readOnly} 1");
    }
    counted.assert_line("apiserver_request_aborts_total{verb=GET} 1");
    assert!(!counted.lines().iter().any(|line| line.starts_with("apiserver_request_total")));
}

/// CVE-2020-8551, CVE-2020-8552, k/k 141007: what a client makes up is no label, so a flood of it makes no series.
#[tokio::test]
async fn cve_2020_8552_what_clients_make_up_makes_no_series() {
    let counted = Counted::new();
    let (ana, bo) = (peer("ana", &[]), peer("bo", &[]));
    let flood = async |begin: usize, count: usize| {
        for number in begin..begin + count {
            let method = if number % 3 == 0 { "GET".to_owned() } else { format!("M{number}") };
            let target = match number % 8 {
                0 => format!("/p{number}"),
                1 => format!("/api/v1/r{number}"),
                2 => format!("/apis/g{number}/v1/namespaces/n{number}/pods/x{number}"),
                3 => format!("/api/v{number}/pods"),
                4 => format!("/api/v1/namespaces/n{number}/pods/x{number}/s{number}"),
                5 => format!("/api/v1/namespaces/n{number}/pods/x{number}?dryRun=d{number}"),
                6 => format!("/api/v1/namespaces/n{number}/pods?watch={number}"),
                _ => format!("/healthz/c{number}?timeout={number}x"),
            };
            let request = Request::builder()
                .method(Method::from_bytes(method.as_bytes()).unwrap())
                .uri(target)
                .header("user-agent", format!("agent/{number}"))
                .header("content-type", format!("type/{number}"))
                .header("accept", format!("type/{number}"));
            let request = request.body(RequestBody::from_bytes("")).unwrap();
            let who = if number % 2 == 0 { &ana } else { &bo };
            drop(counted.gate.handle(who, request).await);
            let named = peer(&format!("user-{number}@x"), &[&format!("group-{number}")]);
            drop(counted.send(&named, "GET", "/api/v1/pods").await);
        }
    };
    flood(0, 500).await;
    let before = counted.lines().len();
    flood(500, FLOOD).await;
    assert_eq!(counted.lines().len(), before, "{}", counted.lines().join("\n"));
    assert!(before < 250, "{before}");
}

#[test]
fn many_may_count_at_once() {
    let metrics = Metrics::new(&served());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let info = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/a/pods/b", "").unwrap();
                    let arrived = Arrived::new(peer("ana", &[GROUP_MASTERS]), request("GET", "/"));
                    let counting = metrics.begin();
                    counting.located(&arrived, &info);
                    let mut response = Response::new(Body::from("ok"));
                    assert!(counting.answered(&mut response, false).is_none());
                }
            });
        }
    });
    let registry = Registry::new();
    metrics.register(&registry).unwrap();
    let families = registry.gather();
    let total = families.iter().find(|family| family.name() == "apiserver_request_total").unwrap();
    assert_eq!(total.get_metric()[0].get_counter().get_value(), 4000.0);
    assert!(metrics.register(&registry).is_err());
}
