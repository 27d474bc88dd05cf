//! Sends ended spans to a collector: OTLP over gRPC, in batches, as upstream does without TLS. What cannot be sent is lost and counted: a
//! collector that is away must cost a cluster nothing but its traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::recorder::Ended;
use super::wire::{
    EXPORT, ExportRequest, ExportResponse, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, Value,
};
use crate::version::VERSION;

/// Requests whose spans wait to be sent.
pub(super) const QUEUE_LEN_MAX: usize = 256;
/// Spans that are sent at once, as far as requests can be kept together.
const BATCH_SPANS: usize = 512;
/// How long a batch waits for more.
const BATCH_WAIT: Duration = Duration::from_secs(5);
/// How long a collector may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is logged that spans are lost.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// How long the end of the program waits for the last spans.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Who sends spans. It ends when nobody can hand it any more, or when it is told to.
pub(crate) struct Exporter {
    stop: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Begins to send what the channel brings. Needs a running runtime.
    pub(super) fn start(endpoint: Endpoint, ended: mpsc::Receiver<Ended>, dropped: Arc<AtomicU64>) -> Self {
        let (stop, stopped) = mpsc::channel(1);
        let channel = endpoint.connect_timeout(SEND_TIMEOUT).timeout(SEND_TIMEOUT).connect_lazy();
        let sending = Sending { grpc: Grpc::new(channel), dropped, failed: None, complained: None };
        Self { stop, task: tokio::spawn(sending.run(ended, stopped)) }
    }

    /// Sends what is waiting, for as long as there is time for it.
    pub(crate) async fn finish(self) {
        drop(self.stop);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(FINISH_TIMEOUT, self.task).await.is_err() {
            abort.abort();
            tracing::warn!("the last spans were not taken in time");
        }
    }
}

struct Sending {
    grpc: Grpc<Channel>,
    dropped: Arc<AtomicU64>,
    /// Why spans were lost since the last complaint.
    failed: Option<String>,
    complained: Option<Instant>,
}

impl Sending {
    async fn run(mut self, mut ended: mpsc::Receiver<Ended>, mut stopped: mpsc::Receiver<()>) {
        let (mut batch, mut is_last) = (Vec::new(), false);
        while !is_last {
            is_last = self.gather(&mut batch, &mut ended, &mut stopped).await;
            if !batch.is_empty() {
                self.send(std::mem::take(&mut batch)).await;
            }
            self.complain();
        }
    }

    /// Waits for spans until there are many or some are old, and says whether these are the last.
    async fn gather(
        &self,
        batch: &mut Vec<Span>,
        ended: &mut mpsc::Receiver<Ended>,
        stopped: &mut mpsc::Receiver<()>,
    ) -> bool {
        let deadline = Instant::now() + BATCH_WAIT;
        while batch.len() < BATCH_SPANS {
            let brought = tokio::select! {
                brought = ended.recv() => brought,
                // Its other end is dropped, nothing is ever sent.
                _ = stopped.recv() => {
                    ended.close();
                    while let Ok(more) = ended.try_recv() {
                        self.put(batch, more);
                    }
                    None
                }
                () = tokio::time::sleep_until(deadline) => return false,
            };
            match brought {
                Some(brought) => self.put(batch, brought),
                None => return true,
            }
        }
        false
    }

    fn put(&self, batch: &mut Vec<Span>, brought: Ended) {
        self.dropped.fetch_add(brought.dropped, Ordering::Relaxed);
        batch.extend(brought.spans);
    }

    async fn send(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let sent = tokio::time::timeout(SEND_TIMEOUT, self.call(request(spans))).await;
        let lost = match sent {
            Ok(Ok(response)) => {
                let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
                let rejected = u64::try_from(rejected).unwrap_or_default().min(count);
                if rejected > 0 {
                    self.failed = Some("the collector refused some".to_owned());
                }
                rejected
            }
            Ok(Err(status)) => {
                self.failed = Some(format!("{:?}", status.code()));
                count
            }
            Err(_) => {
                self.failed = Some("the collector took too long".to_owned());
                count
            }
        };
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    async fn call(&mut self, request: ExportRequest) -> Result<ExportResponse, tonic::Status> {
        self.grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<ExportRequest, ExportResponse>::default();
        let path = PathAndQuery::from_static(EXPORT);
        Ok(self.grpc.unary(tonic::Request::new(request), path, codec).await?.into_inner())
    }

    /// Says what was lost, if it was not said just now.
    fn complain(&mut self) {
        let is_early = self.complained.is_some_and(|at| at.elapsed() < COMPLAINT_INTERVAL);
        if is_early || self.dropped.load(Ordering::Relaxed) == 0 {
            return;
        }
        let spans = self.dropped.swap(0, Ordering::Relaxed);
        let reason = self.failed.take().unwrap_or_else(|| "more than can wait".to_owned());
        tracing::warn!(spans, reason, "spans of traces were lost");
        self.complained = Some(Instant::now());
    }
}

fn request(spans: Vec<Span>) -> ExportRequest {
    let text = |key, value: &str| KeyValue::new(key, Value::String(value.to_owned()));
    let resource = Resource { attributes: vec![text("service.name", "apiserver"), text("service.version", VERSION)] };
    let scope = Scope { name: "portcullis".to_owned(), version: VERSION.to_owned() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    ExportRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }
}
