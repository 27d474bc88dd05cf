//! How many seats a level wants over time: those in use and those waited for. Upstream sets limits by these figures; here they
//! are told only ([`crate::metrics`]), a period at a time.

use std::time::Duration;

use tokio::time::Instant;

/// Upstream's period of borrowing.
pub(crate) const PERIOD: Duration = Duration::from_secs(10);
/// How much of the old smoothed demand outlives a period in which demand fell: half of it is forgotten in 5 minutes.
const SMOOTHING: f64 = 0.977;

/// The demand of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) average: f64,
    pub(crate) deviation: f64,
    pub(crate) high_watermark: f64,
    pub(crate) smoothed: f64,
}

/// Adds demand up over time.
#[derive(Debug)]
pub(crate) struct Demand {
    began: Instant,
    last: Instant,
    seats: u64,
    high: u64,
    /// The integrals of seats and of their squares over this period.
    sum: f64,
    sum_squares: f64,
    figures: Figures,
}

impl Demand {
    pub(crate) fn new(now: Instant) -> Self {
        let figures = Figures::default();
        Self { began: now, last: now, seats: 0, high: 0, sum: 0.0, sum_squares: 0.0, figures }
    }

    /// From now on this many seats are wanted.
    pub(crate) fn set(&mut self, seats: u64, now: Instant) {
        if seats == self.seats && now.saturating_duration_since(self.began) < PERIOD {
            return;
        }
        self.advance(now);
        self.seats = seats;
        self.high = self.high.max(seats);
    }

    /// Returns the figures of the last whole period.
    pub(crate) fn figures(&mut self, now: Instant) -> Figures {
        self.advance(now);
        self.figures
    }

    fn advance(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.last).as_secs_f64();
        let seats = as_float(self.seats);
        self.sum += seats * seconds;
        self.sum_squares += seats * seats * seconds;
        self.last = self.last.max(now);
        let length = now.saturating_duration_since(self.began);
        if length < PERIOD {
            return;
        }
        let average = self.sum / length.as_secs_f64();
        let variance = self.sum_squares / length.as_secs_f64() - average * average;
        let deviation = variance.max(0.0).sqrt();
        let envelope = average + deviation;
        // A rise counts at once, a fall slowly.
        let smoothed = envelope.max(SMOOTHING * self.figures.smoothed + (1.0 - SMOOTHING) * envelope);
        self.figures = Figures { average, deviation, high_watermark: as_float(self.high), smoothed };
        (self.began, self.high, self.sum, self.sum_squares) = (now, self.seats, 0.0, 0.0);
    }
}

/// Counts of seats are exact in a float up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "seats are far fewer than 2^53")]
fn as_float(seats: u64) -> f64 {
    seats as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_period_is_told_when_it_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut demand = Demand::new(start);
        demand.set(4, at(0));
        demand.set(8, at(5));
        assert_eq!(demand.figures(at(9)), Figures::default());
        let expected = Figures { average: 6.0, deviation: 2.0, high_watermark: 8.0, smoothed: 8.0 };
        assert_eq!(demand.figures(at(10)), expected);
        demand.set(0, at(10));
        let fallen = demand.figures(at(20));
        assert_eq!((fallen.average, fallen.high_watermark), (0.0, 8.0));
        assert!((fallen.smoothed - 8.0 * SMOOTHING).abs() < 1e-9, "{fallen:?}");
    }
}
