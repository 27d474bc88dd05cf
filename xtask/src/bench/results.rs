//! The results of a run: what each server did in each round, and what went wrong.

use std::collections::BTreeMap;

use anyhow::Result;

use super::measures::{Measures, Metric};
use super::statistics::Spread;

/// How far the bytes of one operation may differ from round to round, in percent, before that is said.
const BYTES_SPREAD_PERCENT_MAX: f64 = 1.0;
/// How many they may differ in any case: versions gain digits.
const BYTES_SPREAD_MAX: f64 = 16.0;
/// How far they may differ between the two servers. More is not the same answer.
const BYTES_GAP_PERCENT_MAX: f64 = 5.0;

/// The results of one workload on one server.
#[derive(Debug, Default)]
pub struct Side {
    values: BTreeMap<Metric, Vec<f64>>,
    /// What went wrong, with the round.
    pub errors: Vec<String>,
}

/// The results of one workload.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Our own server's.
    pub own: Side,
    /// The peer's, empty without one.
    pub peer: Side,
}

impl Side {
    /// Adds a round.
    pub fn add(&mut self, round: u32, measured: Result<Measures>) {
        match measured {
            Ok(measures) => {
                for (metric, value) in measures {
                    self.values.entry(metric).or_default().push(value);
                }
            }
            Err(error) => self.errors.push(format!("round {}: {error:#}", round + 1)),
        }
    }

    /// The values of one metric, a round each.
    pub fn values(&self, metric: Metric) -> &[f64] {
        self.values.get(&metric).map_or(&[], Vec::as_slice)
    }

    /// The median and the extremes of a metric.
    pub fn spread(&self, metric: Metric) -> Option<Spread> {
        Spread::of(self.values(metric))
    }

    /// What was measured.
    pub fn metrics(&self) -> impl Iterator<Item = Metric> {
        self.values.keys().copied()
    }
}

impl Row {
    /// Results of nothing yet.
    pub fn new(name: &'static str) -> Self {
        Self { name, own: Side::default(), peer: Side::default() }
    }

    /// How many times better our own median is than the peer's.
    pub fn ratio(&self, metric: Metric) -> Option<f64> {
        let (own, peer) = (self.own.spread(metric)?.median, self.peer.spread(metric)?.median);
        let ratio = if metric.rises() { own / peer } else { peer / own };
        ratio.is_finite().then_some(ratio)
    }

    /// Errors, and sizes of answers that are not equal: a figure beside which one of these stands is not to be trusted.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for (name, side) in [("own", &self.own), ("peer", &self.peer)] {
            remarks.extend(side.errors.iter().map(|error| format!("{name}, {error}")));
            if let Some(bytes) = side.spread(Metric::Bytes)
                && bytes.max > bytes.min * (1.0 + BYTES_SPREAD_PERCENT_MAX / 100.0) + BYTES_SPREAD_MAX
            {
                remarks.push(format!("{name}: {:.0} to {:.0} bytes from round to round", bytes.min, bytes.max));
            }
        }
        if let (Some(own), Some(peer)) = (self.own.spread(Metric::Bytes), self.peer.spread(Metric::Bytes))
            && (own.median - peer.median).abs() > peer.median * BYTES_GAP_PERCENT_MAX / 100.0 + BYTES_SPREAD_MAX
        {
            remarks.push(format!("answers of {:.0} bytes, the peer's have {:.0}", own.median, peer.median));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(metric: Metric, values: &[f64]) -> Side {
        let mut side = Side::default();
        for value in values {
            side.add(0, Ok(Measures::from([(metric, *value)])));
        }
        side
    }

    #[test]
    fn a_ratio_above_one_is_better() {
        let check = |metric, own: &[f64], peer: &[f64], expected: Option<f64>| {
            let row = Row { name: "a", own: side(metric, own), peer: side(metric, peer) };
            assert_eq!(row.ratio(metric), expected, "{metric:?} {own:?} {peer:?}");
        };
        check(Metric::Cpu, &[10.0, 20.0, 30.0], &[100.0], Some(5.0));
        check(Metric::Rate, &[300.0], &[100.0], Some(3.0));
        check(Metric::Cpu, &[10.0], &[], None);
        check(Metric::Cpu, &[0.0], &[10.0], None);
    }

    #[test]
    fn unequal_answers_are_remarked() {
        let check = |own: &[f64], peer: &[f64], expected: usize| {
            let row = Row { name: "a", own: side(Metric::Bytes, own), peer: side(Metric::Bytes, peer) };
            assert_eq!(row.remarks().len(), expected, "{own:?} {peer:?}");
        };
        check(&[1000.0, 1001.0], &[1010.0], 0);
        check(&[1000.0, 1100.0], &[], 1);
        check(&[1000.0], &[900.0], 1);
        check(&[], &[], 0);
        let mut failed = Row::new("a");
        failed.peer.add(2, Err(anyhow::anyhow!("gone")));
        assert_eq!(failed.remarks(), ["peer, round 3: gone"]);
    }
}
