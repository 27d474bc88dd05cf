//! A histogram that costs three additions: its bounds are whole numbers (nanoseconds, bytes, seconds), known when the program is
//! built, and it holds no labels. What the collector makes of it is the crate `prometheus`' own form.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto;

/// The upper bounds of a histogram's buckets, and how many of their units make one of the unit that is shown.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<const N: usize> {
    steps: [u64; N],
    unit: f64,
}

impl<const N: usize> Bounds<N> {
    /// Bounds in milliseconds, of what is observed in nanoseconds and shown in seconds.
    pub const fn of_milliseconds(mut steps: [u64; N]) -> Self {
        let mut at = 0;
        while at < N {
            steps[at] *= 1_000_000;
            at += 1;
        }
        Self { steps, unit: 1e9 }
    }

    /// Bounds in microseconds, of what is observed in nanoseconds and shown in seconds.
    pub const fn of_microseconds(mut steps: [u64; N]) -> Self {
        let mut at = 0;
        while at < N {
            steps[at] *= 1_000;
            at += 1;
        }
        Self { steps, unit: 1e9 }
    }

    /// Bounds that are shown as they are observed.
    pub const fn plain(steps: [u64; N]) -> Self {
        Self { steps, unit: 1.0 }
    }

    /// Bounds in milliseconds that begin with `first` and double.
    pub const fn doubling_milliseconds(first: u64) -> Self {
        let (mut steps, mut at) = ([first; N], 1);
        while at < N {
            steps[at] = steps[at - 1] * 2;
            at += 1;
        }
        Self::of_milliseconds(steps)
    }
}

/// Observations by size. Reading one while it is written to may miss the newest of them, never count one twice.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; N], beyond: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts an observation.
    #[inline]
    pub fn observe(&self, bounds: &Bounds<N>, value: u64) {
        let steps = bounds.steps.iter().zip(&self.buckets);
        let bucket = steps.into_iter().find(|(step, _)| value <= **step).map_or(&self.beyond, |(_, bucket)| bucket);
        self.sum.fetch_add(value, Ordering::Relaxed);
        bucket.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how much was observed, in the form of the registry; nothing when nothing was.
    pub fn read(&self, bounds: &Bounds<N>) -> Option<proto::Histogram> {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(N);
        for (step, bucket) in bounds.steps.iter().zip(&self.buckets) {
            count += bucket.load(Ordering::Relaxed);
            let mut shown = proto::Bucket::default();
            shown.set_cumulative_count(count);
            shown.set_upper_bound(*step as f64 / bounds.unit);
            buckets.push(shown);
        }
        count += self.beyond.load(Ordering::Relaxed);
        if count == 0 {
            return None;
        }
        let mut read = proto::Histogram::default();
        read.set_bucket(buckets);
        read.set_sample_count(count);
        read.set_sample_sum(self.sum.load(Ordering::Relaxed) as f64 / bounds.unit);
        Some(read)
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        const BOUNDS: Bounds<3> = Bounds::of_milliseconds([5, 25, 100]);
        let histogram = Histogram::new();
        assert!(histogram.read(&BOUNDS).is_none());
        for milliseconds in [0, 5, 6, 100, 101] {
            histogram.observe(&BOUNDS, milliseconds * 1_000_000);
        }
        let read = histogram.read(&BOUNDS).unwrap();
        let buckets: Vec<_> =
            read.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect();
        assert_eq!(buckets, [(0.005, 2), (0.025, 3), (0.1, 4)]);
        assert_eq!((read.get_sample_count(), read.get_sample_sum()), (5, 0.212));
    }

    #[test]
    fn bounds_double() {
        let steps = Bounds::<4>::doubling_milliseconds(1).steps;
        assert_eq!(steps, [1_000_000, 2_000_000, 4_000_000, 8_000_000]);
    }
}
