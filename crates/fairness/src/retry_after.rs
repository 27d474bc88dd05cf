//! When a refused client should come back: sooner while few are refused, later the longer a level refuses many (upstream: the
//! tracker of dropped requests).

use std::collections::VecDeque;

use tokio::time::Instant;

/// Seconds, upstream's.
const RETRY_AFTER_MAX: u64 = 32;
/// So many refusals for each second of `retry_after` double it.
const MANY_PER_SECOND: u64 = 3;

/// Refusals of one level.
#[derive(Debug)]
pub(crate) struct Refusals {
    began: Instant,
    retry_after: u64,
    raised: Option<u64>,
    second: u64,
    count: u64,
    /// Seconds and their refusals, the newest last; none older than the longest advice.
    history: VecDeque<(u64, u64)>,
}

impl Refusals {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, retry_after: 1, raised: None, second: 0, count: 0, history: VecDeque::new() }
    }

    /// Counts a refusal, and returns the seconds its client is told.
    pub(crate) fn record(&mut self, now: Instant) -> u32 {
        let second = now.saturating_duration_since(self.began).as_secs();
        if second == self.second {
            self.count += 1;
        } else {
            self.history.push_back((self.second, self.count));
            self.history.retain(|(then, _)| second.saturating_sub(*then) <= RETRY_AFTER_MAX);
            (self.second, self.count) = (second, 1);
            self.adjust(second);
        }
        u32::try_from(self.retry_after).unwrap_or(1)
    }

    /// Doubles the advice when the time it covers saw many refusals, and not sooner than that time after it was last raised;
    /// lowers it by a second when there were few.
    fn adjust(&mut self, second: u64) {
        let from = second.saturating_sub(self.retry_after);
        let recent: u64 = self.history.iter().filter(|(then, _)| *then >= from).map(|(_, count)| count).sum();
        let may_rise = self.raised.is_none_or(|raised| second.saturating_sub(raised) >= self.retry_after);
        if may_rise && recent >= MANY_PER_SECOND * self.retry_after {
            self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_MAX);
            self.raised = Some(second);
        } else if recent < self.retry_after && self.retry_after > 1 {
            self.retry_after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn advice_doubles_under_load_and_falls_slowly() {
        let start = Instant::now();
        let mut refusals = Refusals::new(start);
        let mut advice = Vec::new();
        for second in 0..40 {
            for _ in 0..10 {
                refusals.record(start + Duration::from_secs(second));
            }
            advice.push(refusals.record(start + Duration::from_secs(second)));
        }
        assert_eq!(advice.get(..8), Some(&[1, 2, 2, 4, 4, 4, 4, 8][..]));
        assert_eq!(advice.last(), Some(&32));
        let falling: Vec<u32> =
            [100, 200, 300].iter().map(|second| refusals.record(start + Duration::from_secs(*second))).collect();
        assert_eq!(falling, [31, 30, 29]);
        assert!(refusals.history.len() <= 33);
    }
}
