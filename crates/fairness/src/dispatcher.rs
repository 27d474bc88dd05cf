//! Gives seats: the interface of all that comes after classification (upstream: the API Priority and Fairness controller and
//! its fair queuing).
//!
//! Where it differs from upstream, and why:
//! - Levels lend at the moment of demand and not every 10 s ([`crate::pool`]): whoever has nothing to do lends at once, and a seat
//!   that comes back goes to the level that is furthest below its own. `current_limit_seats` is what a level could have now.
//! - Virtual time is that of the request that started last ([`crate::queue`]).
//! - No request takes more than its level's own seats; upstream lets a wider one in when nothing else of its level is served.
//! - Exempt requests are never counted against what others have beyond what the exempt level itself lends.
//! - A level without seats of its own that may not borrow serves nobody (KEP-1040's holding cell).
//! - A request of a level that is no longer there is one of the level `catch-all`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::classify::Flow;
use crate::configuration::Configuration;
use crate::dump;
use crate::hub::Hub;
use crate::level::Refusal;
use crate::metrics;
pub use crate::seat::Seat;
use crate::seat::{Request, Stage};

/// Nobody waits longer, whatever is asked for.
const PATIENCE_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod invariants;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// What a request costs, in seats (upstream: `WorkEstimate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// Seats while it is served.
    pub initial: u32,
    /// Seats after it is answered, for the work that it leaves to others (watchers that are told).
    pub r#final: u32,
    /// How long it holds the final seats.
    pub linger: Duration,
}

impl Width {
    /// The width of most requests.
    pub const ONE: Width = Width { initial: 1, r#final: 0, linger: Duration::ZERO };
}

/// What a request is, for those who ask for `includeRequestDetails`. Nothing of it is a metric's label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The user's name.
    pub user: String,
    /// The verb. The time of a `watch` is counted apart, for it is only the time to its start.
    pub verb: String,
    /// The path.
    pub path: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The group and version, `v1` or `apps/v1`.
    pub api_version: String,
    /// The resource.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
}

/// What can tell the details of a request. They are asked for when somebody looks, and hardly ever is there anybody.
pub trait Describe: fmt::Debug + Send + Sync {
    /// Returns the verb.
    fn verb(&self) -> &str;

    /// Returns everything.
    fn details(&self) -> Details;
}

impl Describe for Details {
    fn verb(&self) -> &str {
        &self.verb
    }

    fn details(&self) -> Details {
        self.clone()
    }
}

/// Why a request gets no seat (the values of upstream's label `reason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectedBecause {
    /// Its queue is full.
    QueueFull,
    /// It waited too long.
    TimeOut,
    /// All seats are taken and its level does not queue.
    ConcurrencyLimit,
    /// Its client went away.
    Cancelled,
}

impl RejectedBecause {
    /// Returns upstream's word for it.
    pub fn reason(self) -> &'static str {
        match self {
            RejectedBecause::QueueFull => "queue-full",
            RejectedBecause::TimeOut => "time-out",
            RejectedBecause::ConcurrencyLimit => "concurrency-limit",
            RejectedBecause::Cancelled => "cancelled",
        }
    }
}

/// A request that gets no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no seat: {}", because.reason())]
pub struct Rejected {
    /// Why.
    pub because: RejectedBecause,
    /// Seconds after which the client should come back.
    pub retry_after_seconds: u32,
}

impl From<Refusal> for Rejected {
    fn from(refusal: Refusal) -> Self {
        Rejected { because: refusal.because, retry_after_seconds: refusal.retry_after }
    }
}

/// All levels with their seats and queues.
pub struct Dispatcher {
    hub: Arc<Hub>,
}

impl Dispatcher {
    /// Shares out this many seats. Until a configuration is taken into force there are the two levels of every cluster, `exempt`
    /// and `catch-all`.
    pub fn new(seats: u32) -> Self {
        Self { hub: Hub::new(seats, None) }
    }

    /// Shares out seats; which queues a flow gets follows from `secret`.
    #[cfg(test)]
    pub(crate) fn with_secret(seats: u32, secret: u64) -> Self {
        Self { hub: Hub::new(seats, Some(secret)) }
    }

    #[cfg(test)]
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Returns how many seats there are.
    pub fn seats(&self) -> u32 {
        self.hub.seats()
    }

    /// Takes a configuration into force. Requests that hold seats or wait keep what they have; a level that is no longer there
    /// serves those that it has, and is gone then. The same value, by pointer, costs nothing.
    pub fn configure(&self, configuration: &Arc<Configuration>) {
        self.hub.configure(configuration);
    }

    /// Adds the metrics to a registry.
    ///
    /// # Errors
    /// When the registry has one of their names.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        metrics::register(self.hub.metrics(), Arc::downgrade(&self.hub), registry)
    }

    /// Waits for a seat, at most `patience`. When the future is dropped, the request waits no more.
    ///
    /// # Errors
    /// When the level refuses, or the wait was too long.
    pub async fn admit(&self, flow: &Flow, width: Width, patience: Duration) -> Result<Seat, Rejected> {
        self.admit_described(flow, width, patience, None).await
    }

    /// As [`Dispatcher::admit`], and the request is told as `details` say where somebody asks for it.
    ///
    /// # Errors
    /// When the level refuses, or the wait was too long.
    pub async fn admit_described(
        &self,
        flow: &Flow,
        width: Width,
        patience: Duration,
        mut details: Option<Box<dyn Describe>>,
    ) -> Result<Seat, Rejected> {
        let now = Instant::now();
        let hash = self.hub.hash(flow);
        let deadline = now + patience.min(PATIENCE_MAX);
        let mut found = self.hub.level_of(flow);
        while let Some(level) = found {
            let meter = level.flow(&flow.schema.name);
            let request = Arc::new(Request::new(meter, flow, width, details.take(), now));
            let Some(arrival) = level.arrive(&request, hash) else {
                // The level ended since it was looked up; the one for what has no other does not.
                found = self.hub.catch_all();
                continue;
            };
            arrival?;
            if request.stage() == Stage::Waiting {
                level.wait(&request, deadline).await?;
            }
            return Ok(Seat::held(level, request));
        }
        // Never: every configuration has that level.
        Ok(Seat::exempt())
    }

    /// Writes a row for each level (`/debug/api_priority_and_fairness/dump_priority_levels`).
    pub fn dump_priority_levels(&self, out: &mut String) {
        dump::priority_levels(self.hub.levels().ordered(), out);
    }

    /// Writes a row for each queue (`/debug/api_priority_and_fairness/dump_queues`).
    pub fn dump_queues(&self, out: &mut String) {
        dump::queues(self.hub.levels().ordered(), out);
    }

    /// Writes a row for each request that waits or is served (`/debug/api_priority_and_fairness/dump_requests`); with
    /// `include_details` what it is, as far as that was said.
    pub fn dump_requests(&self, include_details: bool, out: &mut String) {
        dump::requests(self.hub.levels().ordered(), include_details, out);
    }
}
