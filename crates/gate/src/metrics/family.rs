//! Families of metrics in the registry's form, read when somebody asks.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// Labels and their values, by label.
pub type Labels<'a> = [(&'a str, &'a str)];

/// A family, and where its metrics come from when somebody asks.
pub struct Family<T> {
    /// Its name, upstream's where upstream has it.
    pub name: &'static str,
    /// What it says; upstream's level of stability first.
    pub help: &'static str,
    /// Of which sort it is.
    pub kind: MetricType,
    /// Reads it. Labels are in the order of their names.
    pub read: fn(&T) -> Vec<Metric>,
}

/// Families of one source, as the registry takes them.
pub struct Families<T: 'static> {
    source: T,
    families: &'static [Family<T>],
    descs: Vec<Desc>,
}

impl<T> Families<T> {
    /// Describes families.
    ///
    /// # Errors
    /// When a name cannot be one.
    pub fn new(source: T, families: &'static [Family<T>]) -> Result<Self, prometheus::Error> {
        let desc = |family: &Family<T>| {
            Desc::new(family.name.to_owned(), family.help.to_owned(), Vec::new(), std::collections::HashMap::new())
        };
        let descs = families.iter().map(desc).collect::<Result<_, _>>()?;
        Ok(Self { source, families, descs })
    }
}

impl<T: Send + Sync> Collector for Families<T> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        read(&self.source, self.families)
    }
}

/// Reads families.
pub fn read<T>(source: &T, families: &[Family<T>]) -> Vec<MetricFamily> {
    let read = |family: &Family<T>| {
        let mut read = MetricFamily::default();
        read.set_name(family.name.to_owned());
        read.set_help(family.help.to_owned());
        read.set_field_type(family.kind);
        read.set_metric((family.read)(source));
        read
    };
    families.iter().map(read).collect()
}

/// Makes a counter.
pub fn counter(labels: &Labels<'_>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = labelled(labels);
    metric.set_counter(counter);
    metric
}

/// Makes a gauge.
pub fn gauge(labels: &Labels<'_>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = labelled(labels);
    metric.set_gauge(gauge);
    metric
}

/// Makes a histogram.
pub fn histogram(labels: &Labels<'_>, read: Histogram) -> Metric {
    let mut metric = labelled(labels);
    metric.set_histogram(read);
    metric
}

fn labelled(labels: &Labels<'_>) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}
