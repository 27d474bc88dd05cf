//! Events that a sink took and could not bring to their place: counted each, and named in the server's log at most once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::Instant;

/// How often the log says that events were lost.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Counts the events that one sink lost.
#[derive(Debug)]
pub struct Losses {
    sink: &'static str,
    count: AtomicU64,
    counter: OnceLock<IntCounter>,
    unsaid: Mutex<Unsaid>,
}

/// What the log does not know yet.
#[derive(Debug, Default)]
struct Unsaid {
    events: u64,
    reason: String,
    said_at: Option<Instant>,
}

impl Losses {
    /// Counts for a sink.
    pub fn new(sink: &'static str) -> Self {
        Self { sink, count: AtomicU64::new(0), counter: OnceLock::new(), unsaid: Mutex::default() }
    }

    /// Counts by this counter too ([`crate::Sink::count_losses`]).
    pub fn count_by(&self, counter: &IntCounter) {
        let _ = self.counter.set(counter.clone());
    }

    /// Counts events that are lost.
    pub fn add(&self, events: u64, reason: &str) {
        self.count.fetch_add(events, Ordering::Relaxed);
        if let Some(counter) = self.counter.get() {
            counter.inc_by(events);
        }
        let now = Instant::now();
        let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.events += events;
        reason.clone_into(&mut unsaid.reason);
        if unsaid.said_at.is_some_and(|at| now.saturating_duration_since(at) < LOG_INTERVAL) {
            return;
        }
        unsaid.said_at = Some(now);
        self.say(&mut unsaid);
    }

    /// Says what was not said yet, because nothing may come after it.
    pub fn say_rest(&self) {
        let mut unsaid = self.unsaid.lock().unwrap_or_else(PoisonError::into_inner);
        if unsaid.events > 0 {
            self.say(&mut unsaid);
        }
    }

    /// Returns how many there are.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn say(&self, unsaid: &mut Unsaid) {
        let (events, reason) = (std::mem::take(&mut unsaid.events), std::mem::take(&mut unsaid.reason));
        tracing::error!(sink = self.sink, events, reason, "audit events are lost");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_counted_and_the_log_is_told_once_a_second() {
        let (losses, counter) = (Losses::new("webhook"), IntCounter::new("lost", "lost").unwrap());
        losses.count_by(&counter);
        let unsaid = || losses.unsaid.lock().unwrap().events;
        losses.add(3, "a");
        assert_eq!((losses.count(), unsaid()), (3, 0));
        losses.add(1, "b");
        losses.add(1, "b");
        assert_eq!((losses.count(), unsaid()), (5, 2));
        tokio::time::advance(LOG_INTERVAL).await;
        losses.add(1, "b");
        assert_eq!((losses.count(), unsaid()), (6, 0));
        losses.add(1, "b");
        losses.say_rest();
        assert_eq!((losses.count(), counter.get(), unsaid()), (7, 7, 0));
    }
}
