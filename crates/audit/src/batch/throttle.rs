//! A token bucket: so many a second, and some more after a quiet time (upstream: `flowcontrol.NewTokenBucketRateLimiter`).

use std::time::Duration;

use tokio::time::Instant;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// How many a second in the long run; more than 0.
    pub per_second: f64,
    /// How many at once after a quiet time; at least 1.
    pub burst: u32,
}

/// A bucket that fills as time goes.
pub(super) struct Bucket {
    throttle: Throttle,
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(throttle: Throttle) -> Self {
        Self { throttle, tokens: f64::from(throttle.burst), filled_at: None }
    }

    /// Takes a token, and returns for how long its taker must wait.
    pub(super) fn take(&mut self, now: Instant) -> Duration {
        let Throttle { per_second, burst } = self.throttle;
        let passed = self.filled_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.filled_at = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * per_second).min(f64::from(burst)) - 1.0;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.tokens / per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_fills_as_time_goes() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(Throttle { per_second: 10.0, burst: 2 });
        let mut check = |after_ms: u64, expected_ms: u64| {
            let pause = bucket.take(begin + Duration::from_millis(after_ms));
            assert_eq!(pause.as_millis(), u128::from(expected_ms), "after {after_ms} ms");
        };
        check(0, 0);
        check(0, 0);
        check(0, 100);
        // The one before is owed.
        check(100, 100);
        check(300, 0);
        check(10_000, 0);
        check(10_000, 0);
        check(10_000, 100);
    }
}
