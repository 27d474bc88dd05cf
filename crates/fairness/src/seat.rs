//! A request while it waits and while it is served, and the right to be served.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dispatcher::{Describe, Width};
use crate::level::Level;
use crate::metrics::FlowMeter;

/// No queue, no place.
pub(crate) const NOWHERE: usize = usize::MAX;

/// Where a request is. It changes while its level is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    /// It is new, or waits.
    Waiting,
    /// It has seats.
    Seated,
    /// It is over: served, refused, or its client went away.
    Over,
}

/// A request. What changes is changed while its level is locked; only [`Request::stage`] and [`Request::keeps`] are read
/// without, by who waits for a seat.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) meter: Arc<FlowMeter>,
    pub(crate) schema: Arc<crate::configuration::FlowSchema>,
    pub(crate) distinguisher: Box<str>,
    pub(crate) details: Option<Box<dyn Describe>>,
    pub(crate) width: Width,
    pub(crate) arrived: Instant,
    pub(crate) started: OnceLock<Instant>,
    /// Wakes who waits for it.
    pub(crate) turn: Notify,
    stage: AtomicU8,
    keeps: AtomicBool,
    /// What it got: the seats it holds while it is served, and after.
    held: AtomicU64,
    last: AtomicU64,
    queue: AtomicUsize,
    place: AtomicUsize,
}

impl Request {
    pub(crate) fn new(
        meter: Arc<FlowMeter>,
        flow: &crate::classify::Flow,
        width: Width,
        details: Option<Box<dyn Describe>>,
        arrived: Instant,
    ) -> Self {
        Self {
            meter,
            schema: Arc::clone(&flow.schema),
            distinguisher: flow.distinguisher.as_str().into(),
            details,
            width,
            arrived,
            started: OnceLock::new(),
            turn: Notify::new(),
            stage: AtomicU8::new(Stage::Waiting as u8),
            keeps: AtomicBool::new(false),
            held: AtomicU64::new(0),
            last: AtomicU64::new(0),
            queue: AtomicUsize::new(NOWHERE),
            place: AtomicUsize::new(NOWHERE),
        }
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.details.as_ref().is_some_and(|details| details.verb() == "watch")
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Waiting,
            1 => Stage::Seated,
            _ => Stage::Over,
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// Whether it looks after its level's time while it waits.
    pub(crate) fn keeps(&self) -> bool {
        self.keeps.load(Ordering::Acquire)
    }

    pub(crate) fn set_keeps(&self, keeps: bool) {
        self.keeps.store(keeps, Ordering::Release);
    }

    pub(crate) fn seats(&self) -> (u64, u64) {
        (self.held.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed))
    }

    pub(crate) fn set_seats(&self, held: u64, last: u64) {
        self.held.store(held, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
    }

    pub(crate) fn queue(&self) -> usize {
        self.queue.load(Ordering::Relaxed)
    }

    pub(crate) fn set_queue(&self, queue: usize) {
        self.queue.store(queue, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }

    pub(crate) fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }
}

/// The right to be served now. A clone is a handle to the same seat; it is free when [`Seat::release`] was called or the last
/// handle is gone.
#[derive(Clone, Debug)]
pub struct Seat(Option<Arc<Held>>);

/// What all handles of a seat share.
#[derive(Debug)]
struct Held {
    level: Arc<Level>,
    request: Arc<Request>,
}

impl Seat {
    /// A seat that costs nobody anything.
    pub fn exempt() -> Self {
        Self(None)
    }

    pub(crate) fn held(level: Arc<Level>, request: Arc<Request>) -> Self {
        Self(Some(Arc::new(Held { level, request })))
    }

    /// Frees the seat; later calls do nothing. Its final seats stay taken for as long as its width says.
    pub fn release(&self) {
        if let Some(held) = &self.0 {
            held.release();
        }
    }
}

impl Held {
    fn release(&self) {
        // Most seats are freed once, by the last handle; one that is over is not worth the lock.
        if self.request.stage() == Stage::Seated {
            self.level.finish(&self.request, Instant::now());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}
