//! Step 5, `Seated`: the request has a seat among those served at once (upstream: the priority and fairness filter; the maximum in
//! flight filter where that is off).
//!
//! It asks the configuration of the cluster for the request's flow, estimates how many seats it takes, and waits for them. How
//! seats are shared: the crate `portcullis-fairness`. Streams that are no watches (exec, logs, proxies) take none: they wait for
//! somebody else most of the time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use portcullis_fairness::{Classifier, Describe, Details, Digest, Dispatcher, Flow, Seat, Target, Width};
use tokio::sync::Semaphore;

use crate::config::REQUEST_TIMEOUT;
use crate::identity::{GROUP_MASTERS, Identity};
use crate::impersonation::Acting;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::request_info::{RequestInfo, Verb};
use crate::trail::{FlowHeaders, Trail};

/// A request waits at most this part of its time for a seat; the rest is for its answer.
const PATIENCE_DIVISOR: u32 = 4;
/// Seconds after which a client comes back that found all places of the plain limits taken.
const IN_FLIGHT_RETRY_AFTER_SECONDS: u32 = 1;
/// Verbs that change nothing, as the plain limits have them.
const READING_VERBS: [&str; 3] = ["get", "list", "watch"];

/// What the cluster says about flows, and about what requests cost.
pub trait FlowControl: Send + Sync {
    /// Returns the newest levels and schemas. The same value, by pointer, for as long as nothing changed.
    fn classifier(&self) -> Arc<Classifier>;

    /// Estimates what a request costs. Asked of every request before it is known whether it is permitted, so it looks at counters
    /// and not at objects.
    fn width(&self, weighed: &Weighed<'_>) -> Width;
}

/// A request whose cost is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Weighed<'a> {
    /// What it is about.
    pub info: &'a RequestInfo,
    /// Its query.
    pub query: Query<'a>,
    /// Seats that it may take at most at its level, where that says so.
    pub seats_max: Option<u32>,
}

/// Who waits for whom. A clone is a handle to the same.
#[derive(Clone)]
pub struct Fairness(Kind);

#[derive(Clone)]
enum Kind {
    Flows(Arc<Flows>),
    InFlight(InFlight),
}

/// Levels with seats, and schemas that lead to them.
struct Flows {
    flow_control: Arc<dyn FlowControl>,
    dispatcher: Arc<Dispatcher>,
    /// What the dispatcher works by.
    in_force: ArcSwapOption<Classifier>,
    changing: Mutex<()>,
}

/// Places for so many requests, whoever they are from; none where there is no limit.
#[derive(Clone)]
struct InFlight {
    reading: Option<Arc<Semaphore>>,
    changing: Option<Arc<Semaphore>>,
}

impl Fairness {
    /// Shares the dispatcher's seats as the cluster says.
    pub fn by_flows(flow_control: Arc<dyn FlowControl>, dispatcher: Arc<Dispatcher>) -> Self {
        let (in_force, changing) = (ArcSwapOption::empty(), Mutex::default());
        Self(Kind::Flows(Arc::new(Flows { flow_control, dispatcher, in_force, changing })))
    }

    /// Serves so many requests at once that read, and so many that change something; any number for 0. Nobody waits, and
    /// watches do not count.
    pub fn by_number(reading: usize, changing: usize) -> Self {
        let places = |most: usize| (most > 0).then(|| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        Self(Kind::InFlight(InFlight { reading: places(reading), changing: places(changing) }))
    }
}

/// A request that may take time and memory now.
pub(crate) struct Seated {
    acting: Acting,
    seat: Seat,
}

impl Seated {
    pub(crate) fn acting(&self) -> &Acting {
        &self.acting
    }

    pub(crate) fn acting_mut(&mut self) -> &mut Acting {
        &mut self.acting
    }

    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }
}

/// Gives a request a seat. Without fairness there is one for everybody. `deadline` is the time the request has, if it has one.
/// Dropped while it waits, it leaves its queue.
pub(crate) async fn seat(
    fairness: Option<&Fairness>,
    acting: Acting,
    deadline: Option<Duration>,
    trail: &Trail,
) -> Result<Seated, Refusal> {
    let seat = match fairness.map(|fairness| &fairness.0) {
        Some(_) if is_stream(acting.info()) => Seat::exempt(),
        Some(Kind::Flows(flows)) => flows.seat(&acting, deadline, trail).await?,
        Some(Kind::InFlight(in_flight)) => {
            in_flight.place(&acting, trail)?;
            Seat::exempt()
        }
        None => Seat::exempt(),
    };
    Ok(Seated { acting, seat })
}

/// Whether a request has no end of its own and is no watch.
fn is_stream(info: &RequestInfo) -> bool {
    info.is_long_running() && !is_watch(info)
}

fn is_watch(info: &RequestInfo) -> bool {
    info.verb() == Verb::Watch.as_str() && info.resource().is_some()
}

impl Flows {
    async fn seat(&self, acting: &Acting, deadline: Option<Duration>, trail: &Trail) -> Result<Seat, Refusal> {
        let classifier = self.newest();
        let (identity, info) = (acting.identity(), acting.info());
        let target = match info.resource() {
            Some(info) => Target::Resource {
                group: info.group,
                resource: info.resource,
                subresource: info.subresource,
                namespace: info.namespace,
            },
            None => Target::Path(info.path()),
        };
        let digest = Digest { user: &identity.name, groups: &identity.groups, verb: info.verb(), target };
        let flow = classifier.classify(&digest);
        trail.flow(headers(&flow));
        let query = Query::new(acting.arrived().parts.uri.query().unwrap_or_default());
        let seats_max = classifier.seats_max(&flow.level, self.dispatcher.seats());
        let width = self.flow_control.width(&Weighed { info, query, seats_max });
        let patience = deadline.unwrap_or(REQUEST_TIMEOUT) / PATIENCE_DIVISOR;
        let described = Described { identity: Arc::clone(identity), info: Arc::clone(info) };
        let described: Box<dyn Describe> = Box::new(described);
        match self.dispatcher.admit_described(&flow, width, patience, Some(described)).await {
            Ok(seat) => {
                trail.seat(&seat);
                Ok(seat)
            }
            Err(rejected) => {
                // Not louder: a flood must not fill the log. It is counted by level and reason, and on record.
                tracing::debug!(
                    audit_id = acting.arrived().audit_id.to_str().unwrap_or_default(),
                    user = identity.name,
                    verb = info.verb(),
                    path = info.path(),
                    gate = "fairness",
                    schema = flow.schema.name,
                    level = flow.level.name,
                    because = ?rejected.because,
                    "request refused"
                );
                Err(Refusal::TooManyRequests { retry_after_seconds: rejected.retry_after_seconds })
            }
        }
    }

    /// The newest configuration, which the dispatcher knows too.
    fn newest(&self) -> Arc<Classifier> {
        let newest = self.flow_control.classifier();
        if self.is_in_force(&newest) {
            return newest;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waited here may have been overtaken by a newer one.
        let newest = self.flow_control.classifier();
        if !self.is_in_force(&newest) {
            self.dispatcher.configure(newest.configuration());
            self.in_force.store(Some(Arc::clone(&newest)));
        }
        newest
    }

    fn is_in_force(&self, classifier: &Arc<Classifier>) -> bool {
        self.in_force.load().as_ref().is_some_and(|held| Arc::ptr_eq(held, classifier))
    }
}

/// A request, for the debug dumps.
#[derive(Debug)]
struct Described {
    identity: Arc<Identity>,
    info: Arc<RequestInfo>,
}

impl Describe for Described {
    fn verb(&self) -> &str {
        self.info.verb()
    }

    fn details(&self) -> Details {
        let (user, verb, path) = (&self.identity.name, self.info.verb(), self.info.path());
        let details =
            Details { user: user.clone(), verb: verb.to_owned(), path: path.to_owned(), ..Details::default() };
        let Some(resource) = self.info.resource() else { return details };
        let api_version = match resource.group {
            "" => resource.version.to_owned(),
            group => format!("{group}/{}", resource.version),
        };
        Details {
            namespace: resource.namespace.to_owned(),
            name: resource.name.to_owned(),
            api_version,
            resource: resource.resource.to_owned(),
            subresource: resource.subresource.to_owned(),
            ..details
        }
    }
}

/// The uids of the stored objects; an object that is not stored has none.
fn headers(flow: &Flow) -> FlowHeaders {
    let value = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
    FlowHeaders { schema: value(&flow.schema.uid), level: value(&flow.level.uid) }
}

impl InFlight {
    /// Takes a place, which is free when the answer is sent. Those who repair a cluster always get through.
    fn place(&self, acting: &Acting, trail: &Trail) -> Result<(), Refusal> {
        let info = acting.info();
        let places = if READING_VERBS.contains(&info.verb()) { &self.reading } else { &self.changing };
        let Some(places) = places.as_ref().filter(|_| !is_watch(info)) else { return Ok(()) };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => trail.place(place),
            Err(_) if acting.identity().is_in(GROUP_MASTERS) => {}
            Err(_) => {
                return Err(Refusal::TooManyRequests { retry_after_seconds: IN_FLIGHT_RETRY_AFTER_SECONDS });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
