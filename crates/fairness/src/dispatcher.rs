//! Gives seats.

use std::sync::Arc;
use std::time::Duration;

use crate::classify::Flow;
use crate::configuration::Configuration;

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

/// A request that gets no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no seat: {because:?}")]
pub struct Rejected {
    /// Why.
    pub because: RejectedBecause,
    /// Seconds after which the client should come back.
    pub retry_after_seconds: u32,
}

/// The right to be served now. A clone is a handle to the same seat; it is free when [`Seat::release`] was called or the last
/// handle is gone.
#[derive(Clone, Debug)]
pub struct Seat(#[expect(dead_code)] Option<Arc<()>>);

impl Seat {
    /// A seat that costs nobody anything.
    pub fn exempt() -> Self {
        Self(None)
    }

    /// Frees the seat; later calls do nothing.
    pub fn release(&self) {}
}

/// All levels with their seats and queues.
pub struct Dispatcher {
    seats: u32,
}

impl Dispatcher {
    /// Shares out this many seats.
    pub fn new(seats: u32) -> Self {
        Self { seats }
    }

    /// Returns how many seats there are.
    pub fn seats(&self) -> u32 {
        self.seats
    }

    /// Takes a configuration into force. Requests that hold seats or wait keep what they have.
    pub fn configure(&self, _configuration: &Arc<Configuration>) {}

    /// Waits for a seat, at most `patience`.
    ///
    /// # Errors
    /// When the level refuses, or the wait was too long.
    pub async fn admit(&self, _flow: &Flow, _width: Width, _patience: Duration) -> Result<Seat, Rejected> {
        Ok(Seat::exempt())
    }
}
