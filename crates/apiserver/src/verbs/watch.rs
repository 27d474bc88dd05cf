//! GET with `watch`: the state first when no version is named, then every change that concerns the selection.
//!
//! First form: each watcher reads the store's history by itself and encodes for itself; shared rings and envelopes come with the watch
//! cache. What leaves the selection is DELETED with its previous body and the new version. A watcher that falls behind what the store
//! keeps is told 410, never skipped.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame};
use portcullis_gate::{Body, BoxError};
use portcullis_model::schema::encode_protobuf::Backwards;
use portcullis_model::status::{FieldError, Status};
use portcullis_store::{Event, SubscribeError, Subscription, SubscriptionError};
use tokio::time::{Instant, sleep_until};

use super::get::too_large;
use super::options;
use super::select::Selection;
use crate::answer::{Answer, Failure, ObjectAnswer, bookmark_bytes, object_bytes, unreadable};
use crate::env::Env;
use crate::negotiate::{Accepted, Format};
use crate::registry::{Registry, Served};
use crate::request::Request;
use crate::server::ApiServer;

/// Seconds a watch lasts when the client does not say: at least this long, at most twice (upstream: `--min-request-timeout`).
const TIMEOUT_SECONDS_MIN: u64 = 1800;
/// Longest that a client may ask for.
const TIMEOUT_SECONDS_MAX: u64 = 24 * 3600;
/// Between bookmarks.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Frames of one commit or of the initial state that are made before the connection takes them.
const FRAMES_AT_ONCE_MAX: usize = 128;
/// Ends the state that a watch began with.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Answers a watch of a collection or of one object.
pub async fn watch(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    let query = request.query;
    let text = |name: &str| query.get(name).unwrap_or_default();
    let send_initial = options::flag(query, "sendInitialEvents");
    check_options(send_initial, &text("resourceVersionMatch"))?;
    let mut fields = text("fieldSelector").into_owned();
    if !request.path_name().is_empty() {
        fields = format!("metadata.name={}", request.path_name());
    }
    let selection = Selection::parse(request.served, &text("labelSelector"), &fields)?;
    let version = watch_version(&text("resourceVersion"))?;
    let prefix = request.served.key_prefix(request.namespace()).ok_or_else(|| Box::new(Status::no_such_path()))?;
    let wants_state = send_initial.unwrap_or(matches!(version, None | Some(0)));
    let mut backlog = VecDeque::new();
    let after = match version {
        Some(version) if !wants_state => version,
        _ => {
            let snapshot = server.newest().await?;
            if let Some(version) = version.filter(|version| *version > snapshot.revision()) {
                return Err(too_large(version, snapshot.revision()));
            }
            if wants_state {
                for (key, entry) in snapshot.range(&prefix, None) {
                    if selection.matches(request.served, key, &entry.value)? {
                        backlog.push_back((entry.value.clone(), entry.version));
                    }
                }
            }
            snapshot.revision()
        }
    };
    let subscription = match server.engine.subscribe((&prefix).into(), after).await {
        Ok(subscription) => Some(subscription),
        Err(SubscribeError::Expired { .. }) => None,
        // What has not happened yet is waited for.
        Err(SubscribeError::Ahead { revision, .. }) => server.engine.subscribe((&prefix).into(), revision).await.ok(),
        Err(SubscribeError::Unread(error)) => return Err(Box::new(Status::service_unavailable(error.to_string()))),
    };
    let bookmarks = options::flag(query, "allowWatchBookmarks").unwrap_or_default();
    let watcher = Watcher {
        registry: Arc::clone(&server.registry),
        resource: (request.served.resource.group, request.served.resource.version, request.served.resource.name),
        env: Arc::clone(&server.env),
        accepted: request.accepted,
        selection,
        backlog,
        ends_state: send_initial.unwrap_or_default() && bookmarks,
        bookmarks,
        subscription,
        seen: after,
        deadline: Instant::now() + timeout(server, query)?,
        next_bookmark: Instant::now() + BOOKMARK_INTERVAL,
        has_sent: false,
        is_over: false,
    };
    Ok(Answer::Ready(stream(request.accepted, watcher)))
}

fn check_options(send_initial: Option<bool>, matching: &str) -> Result<(), Failure> {
    const FIELD: &str = "resourceVersionMatch";
    let mut errors = Vec::new();
    if send_initial.is_some() && matching.is_empty() {
        errors.push(FieldError::forbidden(
            FIELD,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    } else if send_initial.is_some() && matching != "NotOlderThan" {
        errors.push(FieldError::not_supported(FIELD, matching, &["NotOlderThan"]));
    } else if send_initial.is_none() && !matching.is_empty() {
        errors.push(FieldError::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Box::new(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)))
}

/// A version that is none is an error without a reason here, unlike in a list.
fn watch_version(text: &str) -> Result<Option<u64>, Failure> {
    options::resource_version(text).map_err(|_| {
        let parse = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Box::new(Status::unexpected(FieldError::invalid("resourceVersion", text, parse).to_string()))
    })
}

fn timeout(server: &ApiServer, query: portcullis_gate::Query<'_>) -> Result<Duration, Failure> {
    let given = options::integer(query, "timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
    if let Some(seconds) = given.filter(|seconds| *seconds > 0) {
        return Ok(Duration::from_secs(seconds.min(TIMEOUT_SECONDS_MAX)));
    }
    let mut random = [0u8; 2];
    // Only spreads the reconnects of many watchers; without randomness they come at once.
    let _ = server.env.fill_random(&mut random);
    Ok(Duration::from_secs(TIMEOUT_SECONDS_MIN + u64::from(u16::from_le_bytes(random)) % TIMEOUT_SECONDS_MIN))
}

fn stream(accepted: Accepted, watcher: Watcher) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(WatchBody { next: next_frame(watcher) }));
    *response.status_mut() = StatusCode::OK;
    let content_type = match accepted.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Format::Json | Format::Yaml => "application/json",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What one watcher knows.
struct Watcher {
    registry: Arc<Registry>,
    resource: (&'static str, &'static str, &'static str),
    env: Arc<dyn Env>,
    accepted: Accepted,
    selection: Selection,
    /// The state that is still to be sent.
    backlog: VecDeque<(Bytes, u64)>,
    /// Whether a bookmark ends the state.
    ends_state: bool,
    bookmarks: bool,
    /// None when what was asked for is no longer kept.
    subscription: Option<Box<dyn Subscription>>,
    seen: u64,
    deadline: Instant,
    next_bookmark: Instant,
    has_sent: bool,
    is_over: bool,
}

/// Why a watcher woke up.
enum Woken {
    Batch(Result<Arc<portcullis_store::EventBatch>, SubscriptionError>),
    Bookmark,
    Deadline,
}

impl Watcher {
    /// The next bytes to send; nothing at the end.
    async fn frame(&mut self) -> Option<Bytes> {
        while !self.is_over {
            let mut out = Vec::new();
            if !self.backlog.is_empty() || self.ends_state {
                self.write_state(&mut out);
            } else {
                self.write_changes(&mut out).await;
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
        None
    }

    fn write_state(&mut self, out: &mut Vec<u8>) {
        for _ in 0..FRAMES_AT_ONCE_MAX {
            let Some((value, version)) = self.backlog.pop_front() else { break };
            self.write_event("ADDED", &value, version, out);
        }
        if self.backlog.is_empty() && std::mem::take(&mut self.ends_state) {
            self.write_bookmark(true, out);
        }
    }

    async fn write_changes(&mut self, out: &mut Vec<u8>) {
        let Some(subscription) = &mut self.subscription else {
            return self.expire(out);
        };
        let woken = tokio::select! {
            biased;
            batch = subscription.next() => Woken::Batch(batch),
            () = sleep_until(self.deadline) => Woken::Deadline,
            () = sleep_until(self.next_bookmark), if self.bookmarks => Woken::Bookmark,
        };
        match woken {
            Woken::Batch(Ok(batch)) => {
                if batch.revision > self.seen {
                    self.seen = batch.revision;
                    for event in &batch.events {
                        self.write_change(event, out);
                    }
                }
            }
            Woken::Batch(Err(SubscriptionError::Lagged { .. })) => self.expire(out),
            Woken::Batch(Err(SubscriptionError::Closed)) => self.is_over = true,
            Woken::Bookmark => self.write_bookmark(false, out),
            Woken::Deadline => {
                self.is_over = true;
            }
        }
    }

    fn write_change(&mut self, event: &Event, out: &mut Vec<u8>) {
        let registry = Arc::clone(&self.registry);
        let Some(served) = served_in(&registry, self.resource) else { return };
        let is_meant = |entry: Option<&portcullis_store::Entry>| {
            let matches = entry.map(|entry| self.selection.matches(served, &event.key, &entry.value));
            // What cannot be read now was reported when it was written; a watcher is not ended by it.
            matches.is_some_and(|matches| matches.unwrap_or_default())
        };
        let (now, before) = (is_meant(event.current.as_ref()), is_meant(event.previous.as_ref()));
        match (&event.current, &event.previous) {
            (Some(current), _) if now => {
                let kind = if before { "MODIFIED" } else { "ADDED" };
                self.write_event(kind, &current.value, current.version, out);
            }
            (_, Some(previous)) if before => self.write_event("DELETED", &previous.value, event.revision, out),
            _ => {}
        }
    }

    fn write_event(&mut self, kind: &str, value: &Bytes, version: u64, out: &mut Vec<u8>) {
        let registry = Arc::clone(&self.registry);
        let Some(served) = served_in(&registry, self.resource) else { return };
        let now = self.env.now_micros().div_euclid(1_000_000);
        let text = served.serve(value).map_err(unreadable);
        let object = text.and_then(|text| {
            let object = ObjectAnswer { text, version, code: StatusCode::OK };
            object_bytes(served, self.accepted, &object, now, !self.has_sent)
        });
        match object {
            Ok(object) => self.push(kind, &object, out),
            Err(status) => self.end_with(&status, out),
        }
    }

    fn write_bookmark(&mut self, ends_state: bool, out: &mut Vec<u8>) {
        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        let registry = Arc::clone(&self.registry);
        let Some(served) = served_in(&registry, self.resource) else { return };
        let annotation = ends_state.then_some(INITIAL_EVENTS_END);
        let object = bookmark_bytes(served, self.accepted, self.seen, annotation);
        self.push("BOOKMARK", &object, out);
    }

    fn expire(&mut self, out: &mut Vec<u8>) {
        let status = Status::expired(format!("too old resource version: {}", self.seen));
        self.end_with(&status, out);
    }

    fn end_with(&mut self, status: &Status, out: &mut Vec<u8>) {
        self.is_over = true;
        let object = if self.accepted.format == Format::Protobuf {
            status.to_protobuf()
        } else {
            let mut json = Vec::new();
            status.push_json(&mut json);
            json
        };
        self.push("ERROR", &object, out);
    }

    fn push(&mut self, kind: &str, object: &[u8], out: &mut Vec<u8>) {
        self.has_sent = true;
        if self.accepted.format == Format::Protobuf {
            let mut frame = Backwards::with_capacity(object.len() + 32);
            let before = frame.len();
            frame.field_bytes(1, object);
            frame.close(2, before);
            frame.field_bytes(1, kind.as_bytes());
            let frame = frame.finish();
            out.extend_from_slice(&u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(&frame);
            return;
        }
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(br#"","object":"#);
        out.extend_from_slice(object);
        out.extend_from_slice(b"}\n");
    }
}

fn served_in<'a>(registry: &'a Registry, (group, version, name): (&str, &str, &str)) -> Option<&'a Served> {
    registry.find(group, version, name)
}

type NextFrame = Pin<Box<dyn Future<Output = (Watcher, Option<Bytes>)> + Send>>;

fn next_frame(mut watcher: Watcher) -> NextFrame {
    Box::pin(async move {
        let frame = watcher.frame().await;
        (watcher, frame)
    })
}

/// The body of a watch. Nothing runs unless its connection asks for more.
struct WatchBody {
    next: NextFrame,
}

impl HttpBody for WatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (watcher, frame) = std::task::ready!(self.next.as_mut().poll(context));
        self.next = next_frame(watcher);
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
    }
}
