//! The two versions of one autoscaler: `autoscaling/v2`, in which it is stored, and `autoscaling/v1`, which knows only how much CPU is used
//! (upstream: `apis/autoscaling/v1/conversion.go`).
//!
//! What v1 has no field for stands in annotations there, so that nothing is lost on the way through it; v2 has none of them.

pub mod annotations;

use portcullis_model::tree::Tree;

use crate::views::autoscaling_v1 as v1;
use crate::views::autoscaling_v2 as v2;
use crate::views::{self, At};

/// The part of its CPU that a pod uses, in percent, when nobody says what an autoscaler goes by.
pub const CPU_PERCENT: i64 = 80;

/// Whether an object is of the older version.
#[must_use]
pub fn is_v1(tree: &Tree) -> bool {
    tree.object_type(tree.root()) == Some(v1::HorizontalPodAutoscaler::TYPE)
}

/// A stored autoscaler as the older version shows it.
#[must_use]
pub fn to_v1(stored: &Tree) -> Tree {
    let from: v2::HorizontalPodAutoscaler<'_> = views::read(stored);
    let mut tree = Tree::new(v1::HorizontalPodAutoscaler::TYPE);
    let mut to: v1::HorizontalPodAutoscalerEdit<'_> = views::write(&mut tree);
    to.place().keep(v1::HorizontalPodAutoscaler::METADATA, from.place());
    annotate(&mut to, from);
    let mut spec = to.spec_mut();
    reference(&mut spec, from.spec().scale_target_ref());
    if let Some(least) = from.spec().min_replicas() {
        spec.set_min_replicas(least.into());
    }
    spec.set_max_replicas(from.spec().max_replicas().into());
    let cpu = from.spec().metrics().iter().find(|metric| is_cpu(*metric));
    if let Some(part) = cpu.and_then(utilization) {
        spec.set_target_cpu_utilization_percentage(part.into());
    }
    status_to_v1(&mut to, from.status());
    tree
}

fn reference(spec: &mut v1::HorizontalPodAutoscalerSpecEdit<'_>, from: v2::CrossVersionObjectReference<'_>) {
    let mut to = spec.scale_target_ref_mut();
    to.set_kind(from.kind());
    to.set_name(from.name());
    if !from.api_version().is_empty() {
        to.set_api_version(from.api_version());
    }
}

fn status_to_v1(to: &mut v1::HorizontalPodAutoscalerEdit<'_>, from: v2::HorizontalPodAutoscalerStatus<'_>) {
    let mut status = to.status_mut();
    if let Some(generation) = from.observed_generation() {
        status.set_observed_generation(generation);
    }
    if let Some(time) = from.last_scale_time().flatten() {
        status.set_last_scale_time(time);
    }
    status.set_current_replicas(from.current_replicas().into());
    status.set_desired_replicas(from.desired_replicas().into());
    let used = |metric: v2::MetricStatus<'_>| {
        let resource = metric.resource().filter(|resource| metric.type_() == "Resource" && resource.name() == "cpu")?;
        resource.current().average_utilization()
    };
    if let Some(part) = from.current_metrics().iter().filter_map(used).last() {
        status.set_current_cpu_utilization_percentage(part.into());
    }
}

/// Writes into annotations what the older version has no field for.
fn annotate(to: &mut v1::HorizontalPodAutoscalerEdit<'_>, from: v2::HorizontalPodAutoscaler<'_>) {
    drop_annotations(to.metadata_mut(), annotations::ALL);
    let (spec, status) = (from.spec(), from.status());
    // How much CPU is used is told in a field; what is known of it is told in the annotation, too, for it says more there.
    let others: Vec<_> =
        spec.metrics().iter().filter(|metric| !(is_cpu(*metric) && utilization(*metric).is_some())).collect();
    let written = [
        (annotations::METRICS, (!others.is_empty()).then(|| annotations::metrics(&others))),
        (annotations::BEHAVIOR, spec.behavior().map(annotations::behavior)),
        (
            annotations::CURRENT_METRICS,
            (!status.current_metrics().is_empty()).then(|| annotations::current_metrics(status.current_metrics())),
        ),
        (
            annotations::CONDITIONS,
            (!status.conditions().is_empty()).then(|| annotations::conditions(status.conditions())),
        ),
    ];
    for (key, text) in written {
        if let Some(text) = text {
            to.metadata_mut().annotations_mut().insert(key, &text);
        }
    }
}

/// Takes annotations away, and their map with the last of them.
pub fn drop_annotations(mut metadata: views::meta_v1::ObjectMetaEdit<'_>, keys: &[&str]) {
    let held = metadata.view().annotations();
    if !keys.iter().any(|key| held.get(key).is_some()) {
        return;
    }
    let mut annotations = metadata.annotations_mut();
    for key in keys {
        annotations.remove(key);
    }
    if annotations.is_empty() {
        metadata.clear_annotations();
    }
}

fn is_cpu(metric: v2::MetricSpec<'_>) -> bool {
    metric.type_() == "Resource" && metric.resource().is_some_and(|resource| resource.name() == "cpu")
}

fn utilization(metric: v2::MetricSpec<'_>) -> Option<i32> {
    metric.resource().and_then(|resource| resource.target().average_utilization())
}

/// An autoscaler of the older version as it is stored. An annotation that cannot be read is forgotten, as upstream does.
#[must_use]
pub fn to_v2(given: &Tree) -> Tree {
    let from: v1::HorizontalPodAutoscaler<'_> = views::read(given);
    let annotated = from.metadata().annotations();
    let read = |key: &str, read: fn(&str) -> Option<Tree>| annotated.get(key).and_then(read);
    let mut tree = Tree::new(v2::HorizontalPodAutoscaler::TYPE);
    let mut to: v2::HorizontalPodAutoscalerEdit<'_> = views::write(&mut tree);
    to.place().keep(v2::HorizontalPodAutoscaler::METADATA, from.place());
    drop_annotations(to.metadata_mut(), annotations::ALL);
    {
        let mut spec = to.spec_mut();
        let mut reference = spec.scale_target_ref_mut();
        reference.set_kind(from.spec().scale_target_ref().kind());
        reference.set_name(from.spec().scale_target_ref().name());
        let version = from.spec().scale_target_ref().api_version();
        if !version.is_empty() {
            reference.set_api_version(version);
        }
        if let Some(least) = from.spec().min_replicas() {
            spec.set_min_replicas(least.into());
        }
        spec.set_max_replicas(from.spec().max_replicas().into());
        if let Some(part) = read(annotations::METRICS, annotations::read_metrics) {
            spec.place().keep(v2::HorizontalPodAutoscalerSpec::METRICS, spec_of(&part));
        }
        if let Some(part) = read(annotations::BEHAVIOR, annotations::read_behavior) {
            spec.place().keep(v2::HorizontalPodAutoscalerSpec::BEHAVIOR, spec_of(&part));
        }
        // Other metrics come first.
        if let Some(part) = from.spec().target_cpu_utilization_percentage() {
            push_cpu(&mut spec, part.into());
        }
    }
    status_to_v2(&mut to, from);
    tree
}

fn spec_of(tree: &Tree) -> At<'_> {
    views::read::<v2::HorizontalPodAutoscaler<'_>>(tree).spec().place()
}

/// An autoscaler that goes by nothing goes by CPU.
pub fn default_metrics(spec: &mut v2::HorizontalPodAutoscalerSpecEdit<'_>) {
    if spec.view().metrics().is_empty() {
        spec.clear_metrics();
        push_cpu(spec, CPU_PERCENT);
    }
}

fn push_cpu(spec: &mut v2::HorizontalPodAutoscalerSpecEdit<'_>, percent: i64) {
    let mut metrics = spec.metrics_mut();
    let mut metric = metrics.push();
    metric.set_type("Resource");
    let mut resource = metric.resource_mut();
    resource.set_name("cpu");
    let mut target = resource.target_mut();
    target.set_type("Utilization");
    target.set_average_utilization(percent);
}

fn status_to_v2(to: &mut v2::HorizontalPodAutoscalerEdit<'_>, from: v1::HorizontalPodAutoscaler<'_>) {
    let annotated = from.metadata().annotations();
    let read = |key: &str, read: fn(&str) -> Option<Tree>| annotated.get(key).and_then(read);
    let (metrics, conditions) = (
        read(annotations::CURRENT_METRICS, annotations::read_current_metrics),
        read(annotations::CONDITIONS, annotations::read_conditions),
    );
    let (given, mut status) = (from.status(), to.status_mut());
    if let Some(generation) = given.observed_generation() {
        status.set_observed_generation(generation);
    }
    if let Some(time) = given.last_scale_time().flatten() {
        status.set_last_scale_time(time);
    }
    if given.current_replicas() != 0 {
        status.set_current_replicas(given.current_replicas().into());
    }
    status.set_desired_replicas(given.desired_replicas().into());
    if let Some(part) = &metrics {
        status.place().keep(v2::HorizontalPodAutoscalerStatus::CURRENT_METRICS, status_of(part));
    } else if let Some(part) = given.current_cpu_utilization_percentage() {
        let mut list = status.current_metrics_mut();
        let mut metric = list.push();
        metric.set_type("Resource");
        let mut resource = metric.resource_mut();
        resource.set_name("cpu");
        resource.current_mut().set_average_utilization(part.into());
    }
    if let Some(part) = &conditions {
        status.place().keep(v2::HorizontalPodAutoscalerStatus::CONDITIONS, status_of(part));
    }
}

fn status_of(tree: &Tree) -> At<'_> {
    views::read::<v2::HorizontalPodAutoscaler<'_>>(tree).status().place()
}

/// An autoscaler of the older version in the form that the older version has of it: with a default for what it goes by, and without
/// annotations that cannot be read.
pub fn normalize(tree: &mut Tree) {
    let given: v1::HorizontalPodAutoscaler<'_> = views::read(tree);
    let annotated = given.metadata().annotations();
    if annotations::ALL.iter().any(|key| annotated.get(key).is_some()) {
        let mut newer = to_v2(tree);
        default_metrics(&mut views::write::<v2::HorizontalPodAutoscalerEdit<'_>>(&mut newer).spec_mut());
        let mut whole = to_v1(&newer);
        let mut to: v1::HorizontalPodAutoscalerEdit<'_> = views::write(&mut whole);
        for head in [v1::HorizontalPodAutoscaler::KIND, v1::HorizontalPodAutoscaler::API_VERSION] {
            to.place().keep(head, At::root(tree));
        }
        *tree = whole;
    } else if given.spec().target_cpu_utilization_percentage().is_none() {
        let mut to: v1::HorizontalPodAutoscalerEdit<'_> = views::write(tree);
        to.spec_mut().set_target_cpu_utilization_percentage(CPU_PERCENT);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn v2(value: &Value) -> Tree {
        testing::read("autoscaling/v2", "HorizontalPodAutoscaler", &value.to_string())
    }

    /// The older version of an autoscaler, and that its way back loses nothing.
    fn check(spec: Value, status: Value, expected_spec: Value, expected_annotations: Value) {
        let whole = json!({"metadata": {"name": "tide"}, "spec": spec, "status": status});
        let older = to_v1(&v2(&whole));
        let shown = testing::json(&older);
        for (field, value) in expected_spec.as_object().unwrap() {
            assert_eq!(&shown["spec"][field], value, "{whole}");
        }
        let annotations = shown["metadata"].get("annotations").cloned().unwrap_or_else(|| json!({}));
        assert_eq!(annotations, expected_annotations, "{whole}");
        assert_eq!(testing::json(&to_v2(&older)), testing::json(&v2(&whole)), "{whole}");
    }

    #[test]
    fn nothing_is_lost_in_the_older_version() {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "tide"});
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
        let pods = json!({"type": "Pods", "pods": {
            "metric": {"name": "rps", "selector": {"matchLabels": {"a": "<b>"}, "matchExpressions": [{"key": "k", "operator": "Exists"}]}},
            "target": {"type": "AverageValue", "averageValue": "1k"}}});
        let external = json!({"type": "External", "external": {
            "metric": {"name": "queue"}, "target": {"type": "Value", "value": "30"}}});
        let object = json!({"type": "Object", "object": {"describedObject": target, "metric": {"name": "hits"},
            "target": {"type": "Value", "value": "2"}}});
        let container = json!({"type": "ContainerResource", "containerResource": {"name": "memory", "container": "web",
            "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
        check(
            json!({"maxReplicas": 3, "scaleTargetRef": target, "metrics": [cpu]}),
            json!({}),
            json!({"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 70}),
            json!({}),
        );
        let metrics = concat!(
            r#"[{"type":"Pods","pods":{"metricName":"rps","targetAverageValue":"1k","#,
            r#""selector":{"matchLabels":{"a":"\u003cb\u003e"},"matchExpressions":[{"key":"k","operator":"Exists"}]}}},"#,
            r#"{"type":"External","external":{"metricName":"queue","targetValue":"30"}},"#,
            r#"{"type":"Object","object":{"target":{"kind":"Deployment","name":"tide","apiVersion":"apps/v1"},"metricName":"hits","targetValue":"2"}},"#,
            r#"{"type":"ContainerResource","containerResource":{"name":"memory","targetAverageValue":"1Gi","container":"web"}}]"#,
        );
        let behavior = concat!(
            r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"#,
            r#""Tolerance":"100m"},"ScaleDown":null}"#,
        );
        check(
            json!({"maxReplicas": 3, "minReplicas": 2, "scaleTargetRef": target, "metrics": [pods, external, object, container, cpu],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "tolerance": "100m",
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}}),
            json!({}),
            json!({"minReplicas": 2, "targetCPUUtilizationPercentage": 70}),
            json!({annotations::METRICS: metrics, annotations::BEHAVIOR: behavior}),
        );
        let current = r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":40,"currentAverageValue":"100m"}}]"#;
        let conditions = r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","reason":"ReadyForNewScale"}]"#;
        check(
            json!({"maxReplicas": 3, "scaleTargetRef": target, "metrics": [cpu]}),
            json!({"currentReplicas": 2, "desiredReplicas": 3, "observedGeneration": 1, "lastScaleTime": "2026-01-01T00:00:00Z",
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 40, "averageValue": "100m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
                    "reason": "ReadyForNewScale"}]}),
            json!({}),
            json!({annotations::CURRENT_METRICS: current, annotations::CONDITIONS: conditions}),
        );
    }

    #[test]
    fn annotations_that_cannot_be_read_are_forgotten() {
        for text in
            ["", "{", "[1]", r#"{"a":1}"#, r#"[{"type":1}]"#, r#"[{"type":"Pods","pods":{"targetAverageValue":"x"}}]"#]
        {
            let given = json!({"metadata": {"annotations": {annotations::METRICS: text, "other": "stays"}}, "spec": {"maxReplicas": 1}});
            let mut tree = testing::read("autoscaling/v1", "HorizontalPodAutoscaler", &given.to_string());
            normalize(&mut tree);
            let shown = testing::json(&tree);
            assert_eq!(shown["metadata"]["annotations"], json!({"other": "stays"}), "{text}");
            assert_eq!(shown["spec"]["targetCPUUtilizationPercentage"], 80, "{text}");
            let once = shown.clone();
            normalize(&mut tree);
            assert_eq!(testing::json(&tree), once);
        }
    }
}
