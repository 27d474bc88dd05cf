//! Numbers out of many measurements: the median of rounds with its extremes, percentiles of latencies.

/// One figure over the rounds of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Half of the rounds are below.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// Of values in any order; none have no spread.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(*sorted.get(sorted.len() / 2 - 1)?, upper),
            _ => upper,
        };
        Some(Self { median, min, max })
    }
}

/// The smallest value that `percent` of them do not exceed (nearest rank); `sorted` is in ascending order.
pub fn percentile(sorted: &[u64], percent: f64) -> Option<u64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// `part` for each of `count`; nothing done costs nothing.
pub fn each(part: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { part / count as f64 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_median_lies_between_the_extremes() {
        let check = |values: &[f64], expected: Option<(f64, f64, f64)>| {
            let found = Spread::of(values).map(|spread| (spread.median, spread.min, spread.max));
            assert_eq!(found, expected, "{values:?}");
        };
        check(&[], None);
        check(&[4.0], Some((4.0, 4.0, 4.0)));
        check(&[9.0, 1.0], Some((5.0, 1.0, 9.0)));
        check(&[3.0, 1.0, 2.0], Some((2.0, 1.0, 3.0)));
        check(&[40.0, 10.0, 30.0, 20.0], Some((25.0, 10.0, 40.0)));
        check(&[1.0, 1.0, 1.0, 1.0, 100.0], Some((1.0, 1.0, 100.0)));
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        let check = |values: &[u64], percent: f64, expected: Option<u64>| {
            assert_eq!(percentile(values, percent), expected, "{percent} of {} values", values.len());
        };
        check(&[], 50.0, None);
        check(&[7], 0.0, Some(7));
        check(&[7], 99.0, Some(7));
        check(&[1, 2], 50.0, Some(1));
        check(&[1, 2, 3], 50.0, Some(2));
        check(&hundred, 50.0, Some(50));
        check(&hundred, 99.0, Some(99));
        check(&hundred, 99.1, Some(100));
        check(&hundred, 100.0, Some(100));
    }

    #[test]
    fn nothing_done_costs_nothing() {
        assert_eq!(each(6.0, 3), 2.0);
        assert_eq!(each(6.0, 0), 0.0);
    }
}
