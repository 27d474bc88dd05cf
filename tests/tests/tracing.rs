//! `--tracing-config-file`: spans of requests reach a collector by OTLP, and nothing of them is a secret.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_tests::cluster::Cluster;
use prost::Message as _;
use tokio::net::TcpListener;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Before a message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// How long spans may take: more than a batch waits.
const PATIENCE: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[derive(Clone, PartialEq, prost::Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

/// A collector that takes spans over gRPC.
struct Collector {
    address: SocketAddr,
    taken: Receiver<(ExportRequest, Vec<u8>)>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, taken) = mpsc::channel();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let sender = sender.clone();
                    async move {
                        assert_eq!(request.uri().path(), EXPORT);
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let message = body.slice(PREFIX_BYTES..);
                        let _ = sender.send((ExportRequest::decode(message.clone()).unwrap(), message.to_vec()));
                        let trailers =
                            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
                        let frames = [Frame::data(Bytes::from_static(&[0; PREFIX_BYTES])), Frame::trailers(trailers)];
                        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
                        let response = Response::builder().header("content-type", "application/grpc");
                        Ok::<_, Infallible>(response.body(body).unwrap())
                    }
                });
                let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serving);
            }
        });
        Self { address, taken, _runtime: runtime }
    }

    /// All spans that came until one of this name is among them, and the bytes that they came in.
    fn until(&self, name: &str) -> (Vec<Span>, Vec<u8>) {
        let (mut spans, mut bytes) = (Vec::new(), Vec::new());
        while !spans.iter().any(|span: &Span| span.name == name) {
            match self.taken.recv_timeout(PATIENCE) {
                Ok((request, more)) => {
                    bytes.extend(more);
                    for of_resource in request.resource_spans {
                        let service = of_resource.resource.unwrap().attributes;
                        assert!(service.iter().any(|attribute| text(attribute) == "apiserver"), "{service:?}");
                        spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => panic!("no {name:?} in {spans:#?}"),
            }
        }
        (spans, bytes)
    }
}

fn text(attribute: &KeyValue) -> &str {
    attribute.value.as_ref().and_then(|value| value.text.as_deref()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn cluster(collector: &Collector, rate: u64) -> Cluster {
    let file = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: {}\nsamplingRatePerMillion: {rate}\n",
        collector.address
    );
    Cluster::start_with(&[("tracing.yaml", &file)], &["--tracing-config-file", "FILES/tracing.yaml"]).unwrap()
}

#[test]
fn a_request_is_told_to_the_collector() {
    let collector = Collector::start();
    let cluster = cluster(&collector, 1_000_000);
    let made = cluster.admin().post(
        "/api/v1/namespaces/default/secrets?fieldManager=canary-in-a-query",
        &serde_json::json!({"metadata": {"name": "key"}, "stringData": {"a": "canary-in-a-body"}}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let stranger = cluster.server.stranger().with_bearer("canary-in-a-header");
    assert_eq!(stranger.get("/api/v1/nodes/one").status, 401);
    let audit_id = made.header("audit-id").unwrap().to_owned();
    let (spans, mut bytes) = collector.until("POST /api/v1/namespaces/{:namespace}/secrets");
    let request =
        spans.iter().find(|span| span.attributes.iter().any(|attribute| text(attribute) == audit_id)).unwrap();
    assert_eq!((request.kind, request.parent_span_id.len(), request.trace_id.len()), (2, 0, 16));
    let told = |key: &str| request.attributes.iter().find(|attribute| attribute.key == key).unwrap();
    assert_eq!(text(told("http.request.method")), "POST");
    assert_eq!(text(told("url.path")), "/api/v1/namespaces/default/secrets");
    assert_eq!(told("http.response.status_code").value.as_ref().unwrap().number, Some(201));
    let mut steps: Vec<&str> =
        spans.iter().filter(|span| span.trace_id == request.trace_id).map(|span| span.name.as_str()).collect();
    steps.sort_unstable();
    let expected = [
        "Commit",
        "POST /api/v1/namespaces/{:namespace}/secrets",
        "SerializeObject",
        "audit",
        "authentication",
        "authorization",
        "create",
    ];
    assert!(expected.iter().all(|step| steps.contains(step)), "{steps:?}");
    for span in spans.iter().filter(|span| span.trace_id == request.trace_id && span.span_id != request.span_id) {
        assert!(!span.parent_span_id.is_empty() && span.start >= request.start && span.end <= request.end, "{span:?}");
    }
    if !spans.iter().any(|span| span.name == "GET /api/v1/nodes/{:name}") {
        bytes.extend(collector.until("GET /api/v1/nodes/{:name}").1);
    }
    assert!(!String::from_utf8_lossy(&bytes).contains("canary"), "{:?}", String::from_utf8_lossy(&bytes));
}

#[test]
fn only_whom_the_cluster_trusts_goes_on_with_a_trace() {
    let collector = Collector::start();
    let cluster = cluster(&collector, 0);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let user = cluster.user("bo", None).with_header("traceparent", &parent);
    user.get("/api/v1/namespaces/default/configmaps");
    cluster.admin().get("/api/v1/namespaces/default/pods");
    cluster.admin().with_header("traceparent", &parent).get("/api/v1/nodes");
    // The last spans are sent before the program ends.
    let taken = {
        let log = cluster.ended();
        assert!(!log.contains("authentication"), "{log}");
        collector.until("GET /api/v1/nodes").0
    };
    let names: Vec<&str> = taken.iter().map(|span| span.name.as_str()).collect();
    assert!(!names.iter().any(|name| name.contains("configmaps") || name.contains("pods")), "{names:?}");
    let request = taken.iter().find(|span| span.name == "GET /api/v1/nodes").unwrap();
    assert_eq!(
        (hex(&request.trace_id), hex(&request.parent_span_id)),
        (TRACE.to_owned(), "b7ad6b7169203331".to_owned())
    );
    assert!(request.links.is_empty() && taken.iter().all(|span| span.trace_id == request.trace_id));
}

#[test]
fn a_configuration_that_cannot_be_is_refused() {
    let check = |file: &str, part: &str| {
        let error = Cluster::start_with(&[("tracing.yaml", file)], &["--tracing-config-file", "FILES/tracing.yaml"]);
        let error = error.err().expect("it does not start");
        assert!(error.contains(part), "{error}");
    };
    check(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsampling: 1\n",
        "unknown field \"sampling\"",
    );
    check("apiVersion: v1\nkind: Config\n", "is expected");
}
