//! GET with `watch`: the state first when no version is named, then every change that concerns the selection (upstream:
//! `endpoints/handlers/watch.go` over the watch cache).
//!
//! A watcher is a place in the store's history and nothing else. What leaves the selection is DELETED with its previous body and the new
//! version. A watcher whose place is gone is told 410 in an ERROR event, never skipped; so is one that begins too late.
//!
//! Reading order: `options` (what the client says), `frame` (an event as bytes), `stream` (what is sent when).

mod frame;
mod options;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use portcullis_gate::Body;
use portcullis_model::status::Status;
use portcullis_store::{Entry, Interest, SubscribeError, Subscription};
use tokio::time::Instant;

use self::frame::Framer;
use self::options::{Start, WatchOptions};
use self::stream::{BOOKMARK_INTERVAL, Beginning, WatchBody, too_old};
use super::get::read_at;
use super::list::read_page;
use super::options::ReadAt;
use super::select::Selection;
use crate::answer::{Answer, Failure};
use crate::negotiate::{Accepted, Format};
use crate::pages::Begin;
use crate::past::View;
use crate::registry::Served;
use crate::request::Request;
use crate::server::ApiServer;

/// How long a watch lasts when the client does not say: at least this, at most twice (upstream: `--min-request-timeout`).
const TIMEOUT_MIN: Duration = Duration::from_secs(1800);
/// The first bookmark comes up to this much early, so that watchers who came together are not served together.
const BOOKMARK_SPREAD: Duration = Duration::from_secs(15);
/// What a stream of events can be had in.
const AVAILABLE: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// Answers a watch of a collection or of one object.
pub async fn watch(server: &ApiServer, request: &Request<'_>) -> Result<Answer, Failure> {
    let served = request.served;
    if request.accepted.format == Format::Yaml {
        return Err(Box::new(Status::only_media_types(&AVAILABLE)));
    }
    let options = options::watch(request.query)?;
    let labels = request.query.get("labelSelector").unwrap_or_default();
    let selection = Selection::parse(served, &labels, &request.field_selector()?)?;
    let framer = Framer::new(&server.registry, served, request.accepted);
    let keys = Keys::of(served, request.namespace(), &selection).ok_or_else(|| Box::new(Status::no_such_path()))?;
    let (state, after) = match options.start {
        Start::After(version) => (Vec::new(), version),
        Start::Now => (Vec::new(), read_at(server, ReadAt::Newest).await?.revision()),
        Start::State(at) => {
            let view = View::of(read_at(server, at).await?);
            let page = read_page(served, &view, request.namespace(), &selection, 0, &Begin::First, |_| ()).await?;
            (page.entries, view.revision())
        }
    };
    let subscription = match subscribe(server, keys.interest(&selection), after).await {
        Ok(subscription) => subscription,
        Err(SubscribeError::Expired { after, oldest }) => {
            return Ok(Answer::Ready(respond(request.accepted, framer.error(&too_old(after, oldest)).into())));
        }
        Err(error) => return Err(Box::new(Status::service_unavailable(error.to_string()))),
    };
    let beginning = beginning(server, request, &options, state, after);
    let draining = request.permitted.draining();
    let body = WatchBody::new(framer, selection, Arc::clone(&server.env), subscription, draining, beginning);
    Ok(Answer::Ready(respond(request.accepted, Body::from_stream(body))))
}

/// Under which keys the selected objects are.
enum Keys {
    /// Under all that begin with this.
    Under(String),
    /// Under this one.
    One(String),
}

impl Keys {
    /// None for what is not stored.
    fn of(served: &Served, namespace: &str, selection: &Selection) -> Option<Keys> {
        let is_one_place = !served.resource.namespaced || !namespace.is_empty();
        match selection.name().filter(|name| is_one_place && !name.is_empty()) {
            Some(name) => served.key(namespace, name).map(Keys::One),
            None => served.key_prefix(namespace).map(Keys::Under),
        }
    }

    fn interest(&self, selection: &Selection) -> Interest<'_> {
        let (Keys::Under(prefix) | Keys::One(prefix)) = self;
        // Any word will do. Those of fields come last, and fewer objects share them.
        Interest { prefix, term: selection.terms().last().copied() }
    }
}

/// A subscription after a version. What has not happened yet is waited for; the body leaves out what comes before it.
async fn subscribe(
    server: &ApiServer,
    interest: Interest<'_>,
    after: u64,
) -> Result<Box<dyn Subscription>, SubscribeError> {
    match server.engine.subscribe(interest, after).await {
        Err(SubscribeError::Ahead { revision, .. }) => server.engine.subscribe(interest, revision).await,
        subscribed => subscribed,
    }
}

fn beginning(
    server: &ApiServer,
    request: &Request<'_>,
    options: &WatchOptions,
    state: Vec<Entry>,
    after: u64,
) -> Beginning {
    let mut random = [0; 4];
    // Only spreads what many watchers want at once; without randomness they want it at once.
    let _ = server.env.fill_random(&mut random);
    let [a, b, c, d] = random;
    let share = |of: Duration, random: [u8; 2]| of * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX);
    let now = Instant::now();
    let timeout = options.timeout.unwrap_or_else(|| TIMEOUT_MIN + share(TIMEOUT_MIN, [a, b]));
    let first_bookmark = now + BOOKMARK_INTERVAL - share(BOOKMARK_SPREAD, [c, d]);
    let ends_state = options.bookmarks && matches!(options.start, Start::State(_));
    Beginning {
        state,
        ends_state,
        after,
        first_bookmark: options.bookmarks.then_some(first_bookmark),
        deadline: now + timeout,
        seat: request.permitted.seat().clone(),
        counts: server.metrics.of(request.served),
        watch_list: ends_state.then(|| server.metrics.watch_list(request.served, &request.info)),
    }
}

fn respond(accepted: Accepted, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let content_type = match accepted.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Format::Json | Format::Yaml => "application/json",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
