//! What is to be reached: the bars of performance.md, each as a ratio to upstream in the same run and as a figure for when no
//! upstream runs beside.

use super::measures::Metric;

/// One bar.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Its number.
    pub id: &'static str,
    /// The workload that shows it.
    pub workload: &'static str,
    /// The figure that counts.
    pub metric: Metric,
    /// How many times better than upstream. None where upstream is not measured in the same way.
    pub ratio: Option<f64>,
    /// What that was when upstream was measured, in the metric's unit.
    pub figure: f64,
}

/// All of them that this program can show.
pub const BARS: &[Bar] = &[
    bar("B1", "get-pod-c32", Metric::Cpu, Some(15.0), 50.0),
    bar("B1", "get-pod-c1", Metric::P50, Some(7.0), 0.2),
    bar("B2", "list-json", Metric::Cpu, Some(15.0), 115_000.0),
    bar("B2", "list-json", Metric::P50, Some(6.0), 285.0),
    bar("B2", "list-protobuf", Metric::Cpu, Some(8.0), 100_000.0),
    bar("B2g", "list-json-gzip", Metric::Cpu, Some(20.0), 85_000.0),
    bar("B3", "lists-at-once", Metric::ExtraRss, None, 32.0),
    bar("B4", "post-configmap-c32", Metric::Cpu, Some(10.0), 110.0),
    bar("B4", "post-configmap-c128", Metric::Rate, Some(4.0), 5_600.0),
    bar("B5", "post-configmap-c1", Metric::P50, Some(4.0), 0.5),
    bar("B6", "post-pod-c32", Metric::Cpu, Some(12.0), 270.0),
    bar("B6", "put-lease-c32", Metric::Cpu, Some(12.0), 115.0),
    bar("B7", "patch-pod-c32", Metric::Cpu, Some(20.0), 300.0),
    bar("apply", "apply-pod-c32", Metric::Cpu, None, 400.0),
    bar("apply", "apply-deployment-c32", Metric::Cpu, None, 400.0),
    bar("B8", "fan-out-pods", Metric::Cpu, Some(4.0), 11.0),
    bar("B8", "fan-out-pods", Metric::P99, Some(12.0), 40.0),
    bar("B8", "fan-out-configmaps", Metric::Cpu, Some(7.0), 4.2),
    bar("B9", "list-no-label-c4", Metric::Cpu, Some(50.0), 85.0),
    bar("B10", "cold-start", Metric::Start, None, 60.0),
    bar("B10", "warm-restart", Metric::Start, None, 250.0),
    bar("B11", "idle-empty", Metric::Rss, None, 20.0),
    bar("B11", "idle-empty", Metric::Idle, None, 0.05),
    bar("B11", "idle-data", Metric::Rss, Some(6.0), 250.0),
];

const fn bar(id: &'static str, workload: &'static str, metric: Metric, ratio: Option<f64>, figure: f64) -> Bar {
    Bar { id, workload, metric, ratio, figure }
}

impl Bar {
    /// Whether it is reached: by the ratio, where there is one to compare with, else by the figure.
    pub fn is_reached(&self, own: f64, ratio: Option<f64>) -> bool {
        match (self.ratio, ratio) {
            (Some(wanted), Some(ratio)) => ratio >= wanted,
            _ if self.metric.rises() => own >= self.figure,
            _ => own <= self.figure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workloads::WORKLOADS;

    #[test]
    fn each_bar_is_of_a_workload() {
        for bar in BARS {
            assert!(WORKLOADS.iter().any(|workload| workload.name == bar.workload), "{bar:?}");
        }
    }

    #[test]
    fn a_ratio_counts_more_than_a_figure() {
        let check = |metric, own, ratio, expected| {
            let bar = Bar { id: "B0", workload: "any", metric, ratio: Some(4.0), figure: 100.0 };
            assert_eq!(bar.is_reached(own, ratio), expected, "{metric:?} {own} {ratio:?}");
        };
        check(Metric::Cpu, 100.0, None, true);
        check(Metric::Cpu, 101.0, None, false);
        check(Metric::Rate, 101.0, None, true);
        check(Metric::Rate, 99.0, None, false);
        check(Metric::Cpu, 500.0, Some(4.0), true);
        check(Metric::Rate, 500.0, Some(3.9), false);
    }
}
