//! The two kinds that are served in a version they are not stored in: `events.k8s.io` events (stored as core events) and
//! `autoscaling/v1` horizontal pod autoscalers (stored as `autoscaling/v2`).
//!
//! Both are read and written rarely, so they go through a plain JSON value. What `autoscaling/v1` has no field for is kept in upstream's
//! annotations, so that nothing is lost on the way through it.

use portcullis_model::schema::decode_json::{self, FieldValidation};
use portcullis_model::schema::{DecodeError, canonical, encode_json};
use portcullis_model::tree::Tree;
use serde_json::{Map, Value, json};

use super::Served;

/// Names of the fields that differ: in the core event, and in the one of `events.k8s.io`.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

const ANNOTATION_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const ANNOTATION_CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const ANNOTATION_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const ANNOTATION_BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Reads a stored object as the served version.
pub fn from_stored(served: &Served, value: &[u8]) -> Result<Tree, DecodeError> {
    let mut object = parse(value)?;
    match served.resource.name {
        "events" => rename(&mut object, |(core, own)| (core, own)),
        _ => to_autoscaling_v1(&mut object),
    }
    let text = Value::Object(object).to_string().into_bytes();
    Ok(decode_json::decode(served.schema, served.resource.type_id, text, FieldValidation::Ignore)?.tree)
}

/// Writes an object of the served version as it is stored.
pub fn to_stored(served: &Served, tree: &Tree, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut object = parse(&encode_json::to_vec(served.schema, tree))?;
    match served.resource.name {
        "events" => rename(&mut object, |(core, own)| (own, core)),
        _ => to_autoscaling_v2(&mut object),
    }
    let text = Value::Object(object).to_string().into_bytes();
    let mut stored = decode_json::decode(served.schema, served.stored_type, text, FieldValidation::Ignore)?.tree;
    canonical::canonicalize(served.schema, &mut stored);
    encode_json::write(served.schema, &stored, out);
    Ok(())
}

fn parse(text: &[u8]) -> Result<Map<String, Value>, DecodeError> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(DecodeError::TooDeep),
    }
}

fn rename(
    object: &mut Map<String, Value>,
    direction: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) {
    for names in EVENT_FIELDS {
        let (from, to) = direction(*names);
        if let Some(value) = object.remove(from) {
            object.insert(to.to_owned(), value);
        }
    }
}

/// The members of an object in an object, made when there is none.
fn below<'a>(object: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let held = object.entry(name).or_insert_with(|| json!({}));
    if held.is_null() {
        *held = json!({});
    }
    held.as_object_mut()
}

fn annotate(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    let Some(value) = value.filter(|value| value.as_array().is_none_or(|list| !list.is_empty()) && !value.is_null())
    else {
        return;
    };
    if let Some(annotations) = below(object, "metadata").and_then(|metadata| below(metadata, "annotations")) {
        annotations.insert(key.to_owned(), Value::String(value.to_string()));
    }
}

/// Takes the value of an annotation out; what is not JSON stays where it is.
fn take_annotation(object: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let annotations = object.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
    let value = serde_json::from_str(annotations.get(key)?.as_str()?).ok()?;
    annotations.remove(key);
    Some(value)
}

fn is_cpu(metric: &Value) -> bool {
    metric.get("type").and_then(Value::as_str) == Some("Resource")
        && metric.pointer("/resource/name").and_then(Value::as_str) == Some("cpu")
}

fn to_autoscaling_v1(object: &mut Map<String, Value>) {
    let (mut metrics, mut behavior) = (Value::Null, None);
    if let Some(spec) = below(object, "spec") {
        metrics = spec.remove("metrics").unwrap_or_default();
        behavior = spec.remove("behavior");
        let target = |metric: &Value| metric.pointer("/resource/target/averageUtilization").cloned();
        if let Some(list) = metrics.as_array_mut()
            && let Some(at) = list.iter().position(|metric| is_cpu(metric) && target(metric).is_some())
            && let Some(percentage) = target(&list.remove(at))
        {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), percentage);
        }
    }
    let (mut current, mut conditions) = (None, None);
    if let Some(status) = below(object, "status") {
        conditions = status.remove("conditions");
        current = status.remove("currentMetrics");
        let used = |metric: &Value| metric.pointer("/resource/current/averageUtilization").cloned();
        let percentage = current
            .as_ref()
            .and_then(Value::as_array)
            .and_then(|list| list.iter().filter(|m| is_cpu(m)).find_map(used));
        if let Some(percentage) = percentage {
            status.insert("currentCPUUtilizationPercentage".to_owned(), percentage);
        }
    }
    annotate(object, ANNOTATION_METRICS, Some(metrics));
    annotate(object, ANNOTATION_BEHAVIOR, behavior);
    annotate(object, ANNOTATION_CURRENT_METRICS, current);
    annotate(object, ANNOTATION_CONDITIONS, conditions);
}

fn to_autoscaling_v2(object: &mut Map<String, Value>) {
    let metrics = take_annotation(object, ANNOTATION_METRICS);
    let behavior = take_annotation(object, ANNOTATION_BEHAVIOR);
    let current = take_annotation(object, ANNOTATION_CURRENT_METRICS);
    let conditions = take_annotation(object, ANNOTATION_CONDITIONS);
    if let Some(spec) = below(object, "spec") {
        let mut list = metrics.and_then(|metrics| metrics.as_array().cloned()).unwrap_or_default();
        if let Some(percentage) = spec.remove("targetCPUUtilizationPercentage") {
            let target = json!({"type": "Utilization", "averageUtilization": percentage});
            list.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
        }
        if !list.is_empty() {
            spec.insert("metrics".to_owned(), list.into());
        }
        if let Some(behavior) = behavior {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = below(object, "status") {
        let percentage = status.remove("currentCPUUtilizationPercentage");
        let current = current.or_else(|| {
            let current = json!({"averageUtilization": percentage?, "averageValue": "0"});
            Some(json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]))
        });
        if let Some(current) = current {
            status.insert("currentMetrics".to_owned(), current);
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autoscalers_survive_the_older_version() {
        let check = |v2: Value, v1: Value| {
            let Value::Object(mut object) = v2.clone() else { return };
            to_autoscaling_v1(&mut object);
            assert_eq!(Value::Object(object.clone()), v1);
            to_autoscaling_v2(&mut object);
            assert_eq!(Value::Object(object), v2);
        };
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
        check(
            json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "metrics": [cpu]}, "status": {}}),
            json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 80}, "status": {}}),
        );
        check(
            json!({"metadata": {"annotations": {}}, "spec": {"metrics": [cpu, {"type": "Pods"}]}, "status": {}}),
            json!({
                "metadata": {"annotations": {ANNOTATION_METRICS: "[{\"type\":\"Pods\"}]"}},
                "spec": {"targetCPUUtilizationPercentage": 80},
                "status": {}
            }),
        );
    }
}
