//! How often something may happen: a burst at once, then a steady rate; and what is said about it no oftener than once a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two lines of a log about the same thing.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How many at once, and how many a second after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a pause.
    pub burst: u32,
    /// A second, for as long as it goes on.
    pub per_second: u32,
}

/// What is left of a [`Rate`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    left: f64,
    filled_at: Instant,
}

impl TokenBucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { left: f64::from(rate.burst), filled_at: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.filled_at = now;
        let refilled = self.left + elapsed.as_secs_f64() * f64::from(rate.per_second);
        self.left = refilled.min(f64::from(rate.burst));
        let is_there = self.left >= 1.0;
        if is_there {
            self.left -= 1.0;
        }
        is_there
    }
}

/// Counts what would fill a log if each had its line.
#[derive(Default)]
pub(crate) struct Seldom(Mutex<Unsaid>);

#[derive(Default)]
struct Unsaid {
    count: u64,
    said_at: Option<Instant>,
}

impl Seldom {
    /// Notes one; returns how many there were since the last line, when it is time for one.
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unsaid.count += 1;
        if unsaid.said_at.is_some_and(|at| now.saturating_duration_since(at) < LINE_INTERVAL) {
            return None;
        }
        unsaid.said_at = Some(now);
        Some(std::mem::take(&mut unsaid.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let rate = Rate { burst: 3, per_second: 2 };
        let begun = Instant::now();
        let mut bucket = TokenBucket::full(rate, begun);
        let mut check = |at_ms: u64, expected: bool| {
            assert_eq!(bucket.take(rate, begun + Duration::from_millis(at_ms)), expected, "{at_ms}");
        };
        check(0, true);
        check(0, true);
        check(0, true);
        check(0, false);
        check(499, false);
        check(500, true);
        check(500, false);
        check(60_000, true);
        check(60_000, true);
        check(60_000, true);
        check(60_000, false);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_a_second_counts_what_came_between() {
        let (seldom, begun) = (Seldom::default(), Instant::now());
        let check = |at_ms: u64, expected: Option<u64>| {
            assert_eq!(seldom.count(begun + Duration::from_millis(at_ms)), expected, "{at_ms}");
        };
        check(0, Some(1));
        check(1, None);
        check(999, None);
        check(1_000, Some(3));
        check(5_000, Some(1));
    }
}
