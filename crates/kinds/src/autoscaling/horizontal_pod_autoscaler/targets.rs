//! What a table shows of an autoscaler's metrics: what is and what should be (upstream: `formatHPAMetrics`).

use crate::views::autoscaling_v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};

/// Metrics that are shown; of the others only how many there are.
const SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";

/// `cpu: 40%/80%, 3/5 + 1 more...`
pub fn text(autoscaler: HorizontalPodAutoscaler<'_>) -> String {
    let (metrics, mut statuses) = (autoscaler.spec().metrics(), autoscaler.status().current_metrics().iter());
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown: Vec<String> = metrics.iter().take(SHOWN).map(|one| metric(one, statuses.next())).collect();
    let mut text = shown.join(", ");
    if metrics.len() > SHOWN {
        text.push_str(&format!(" + {} more...", metrics.len() - SHOWN));
    }
    text
}

fn metric(metric: MetricSpec<'_>, status: Option<MetricStatus<'_>>) -> String {
    match metric.type_() {
        "External" => {
            let current = status.and_then(MetricStatus::external).map(|status| status.current());
            value(metric.external().map(|source| source.target()), current)
        }
        "Object" => {
            let current = status.and_then(MetricStatus::object).map(|status| status.current());
            value(metric.object().map(|source| source.target()), current)
        }
        "Pods" => {
            let current = status.and_then(MetricStatus::pods).and_then(|status| status.current().average_value());
            let target = metric.pods().and_then(|source| source.target().average_value()).unwrap_or_default();
            format!("{}/{target}", current.unwrap_or(UNKNOWN))
        }
        "Resource" => {
            let current = status.and_then(MetricStatus::resource).map(|status| status.current());
            let source = metric.resource();
            used(source.map(|source| source.name()), source.map(|source| source.target()), current)
        }
        "ContainerResource" => {
            let current = status.and_then(MetricStatus::container_resource).map(|status| status.current());
            let source = metric.container_resource();
            used(source.map(|source| source.name()), source.map(|source| source.target()), current)
        }
        _ => "<unknown type>".to_owned(),
    }
}

/// A value of the whole, or of each pod.
fn value(target: Option<MetricTarget<'_>>, current: Option<MetricValueStatus<'_>>) -> String {
    let Some(target) = target else { return UNKNOWN.to_owned() };
    match target.average_value() {
        Some(average) => {
            let current = current.and_then(MetricValueStatus::average_value).unwrap_or(UNKNOWN);
            format!("{current}/{average} (avg)")
        }
        None => {
            let current = current.and_then(MetricValueStatus::value).unwrap_or(UNKNOWN);
            format!("{current}/{}", target.value().unwrap_or_default())
        }
    }
}

/// What is used of a resource: so much, or a part of what was asked for.
fn used(name: Option<&str>, target: Option<MetricTarget<'_>>, current: Option<MetricValueStatus<'_>>) -> String {
    let name = name.unwrap_or_default();
    if let Some(average) = target.and_then(MetricTarget::average_value) {
        let current = current.and_then(MetricValueStatus::average_value).unwrap_or(UNKNOWN);
        return format!("{name}: {current}/{average}");
    }
    let part = |part: Option<i32>, none: &str| part.map_or_else(|| none.to_owned(), |part| format!("{part}%"));
    let current = part(current.and_then(MetricValueStatus::average_utilization), UNKNOWN);
    let target = part(target.and_then(MetricTarget::average_utilization), "<auto>");
    format!("{name}: {current}/{target}")
}
