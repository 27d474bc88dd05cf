//! The annotations of `autoscaling/v1` autoscalers: metrics in a form of their own, behavior by the names of Go's fields.
//!
//! They are read and written as JSON text. In the order of the members and in what is escaped the text is the one that Go writes: who
//! compares annotations sees no difference.

use portcullis_model::go_text::push_json_string;
use portcullis_model::schema::{FieldValidation, decode_json};
use portcullis_model::time::time_text;
use portcullis_model::tree::Tree;
use serde_json::{Value, json};

use crate::views::autoscaling_v2 as v2;
use crate::views::{List, meta_v1};

/// What an autoscaler goes by beside CPU.
pub const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// How fast it goes.
pub const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What was measured last.
pub const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
/// What its controller says of it.
pub const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// Those that say what is wanted.
pub const OF_SPEC: &[&str] = &[METRICS, BEHAVIOR];
/// Those that say what is.
pub const OF_STATUS: &[&str] = &[CURRENT_METRICS, CONDITIONS];
/// All of them.
pub const ALL: &[&str] = &[METRICS, BEHAVIOR, CURRENT_METRICS, CONDITIONS];

/// What a quantity is that is not there but must be.
const ZERO: &str = "0";

/// Metrics as text.
pub fn metrics(list: &[v2::MetricSpec<'_>]) -> String {
    array(list.iter().map(|metric| {
        object(&[
            ("type", Some(text(metric.type_()))),
            ("object", metric.object().map(object_source)),
            ("pods", metric.pods().map(pods_source)),
            ("resource", metric.resource().map(|source| resource(source.name(), source.target(), None))),
            (
                "containerResource",
                metric
                    .container_resource()
                    .map(|source| resource(source.name(), source.target(), Some(source.container()))),
            ),
            ("external", metric.external().map(external_source)),
        ])
    }))
}

fn object_source(source: v2::ObjectMetricSource<'_>) -> String {
    object(&[
        ("target", Some(reference(source.described_object()))),
        ("metricName", Some(text(source.metric().name()))),
        ("targetValue", Some(quantity(source.target().value()))),
        ("selector", source.metric().selector().map(selector)),
        ("averageValue", source.target().average_value().map(text)),
    ])
}

fn pods_source(source: v2::PodsMetricSource<'_>) -> String {
    object(&[
        ("metricName", Some(text(source.metric().name()))),
        ("targetAverageValue", Some(quantity(source.target().average_value()))),
        ("selector", source.metric().selector().map(selector)),
    ])
}

fn resource(name: &str, target: v2::MetricTarget<'_>, container: Option<&str>) -> String {
    object(&[
        ("name", Some(text(name))),
        ("targetAverageUtilization", target.average_utilization().map(|part| part.to_string())),
        ("targetAverageValue", target.average_value().map(text)),
        ("container", container.map(text)),
    ])
}

fn external_source(source: v2::ExternalMetricSource<'_>) -> String {
    object(&[
        ("metricName", Some(text(source.metric().name()))),
        ("metricSelector", source.metric().selector().map(selector)),
        ("targetValue", source.target().value().map(text)),
        ("targetAverageValue", source.target().average_value().map(text)),
    ])
}

/// What was measured, as text.
pub fn current_metrics(list: List<'_, v2::MetricStatus<'_>>) -> String {
    array(list.iter().map(|metric| {
        object(&[
            ("type", Some(text(metric.type_()))),
            ("object", metric.object().map(object_status)),
            ("pods", metric.pods().map(pods_status)),
            ("resource", metric.resource().map(|status| resource_status(status.name(), status.current(), None))),
            (
                "containerResource",
                metric
                    .container_resource()
                    .map(|status| resource_status(status.name(), status.current(), Some(status.container()))),
            ),
            ("external", metric.external().map(external_status)),
        ])
    }))
}

fn object_status(status: v2::ObjectMetricStatus<'_>) -> String {
    object(&[
        ("target", Some(reference(status.described_object()))),
        ("metricName", Some(text(status.metric().name()))),
        ("currentValue", Some(quantity(status.current().value()))),
        ("selector", status.metric().selector().map(selector)),
        ("averageValue", status.current().average_value().map(text)),
    ])
}

fn pods_status(status: v2::PodsMetricStatus<'_>) -> String {
    object(&[
        ("metricName", Some(text(status.metric().name()))),
        ("currentAverageValue", Some(quantity(status.current().average_value()))),
        ("selector", status.metric().selector().map(selector)),
    ])
}

fn resource_status(name: &str, current: v2::MetricValueStatus<'_>, container: Option<&str>) -> String {
    object(&[
        ("name", Some(text(name))),
        ("currentAverageUtilization", current.average_utilization().map(|part| part.to_string())),
        ("currentAverageValue", Some(quantity(current.average_value()))),
        ("container", container.map(text)),
    ])
}

fn external_status(status: v2::ExternalMetricStatus<'_>) -> String {
    object(&[
        ("metricName", Some(text(status.metric().name()))),
        ("metricSelector", status.metric().selector().map(selector)),
        ("currentValue", Some(quantity(status.current().value()))),
        ("currentAverageValue", status.current().average_value().map(text)),
    ])
}

/// A behavior as text.
pub fn behavior(behavior: v2::HorizontalPodAutoscalerBehavior<'_>) -> String {
    let rules = |rules: Option<v2::HPAScalingRules<'_>>| Some(rules.map_or_else(null, scaling_rules));
    object(&[("ScaleUp", rules(behavior.scale_up())), ("ScaleDown", rules(behavior.scale_down()))])
}

fn scaling_rules(rules: v2::HPAScalingRules<'_>) -> String {
    let policies = || {
        array(rules.policies().iter().map(|policy| {
            object(&[
                ("Type", Some(text(policy.type_()))),
                ("Value", Some(policy.value().to_string())),
                ("PeriodSeconds", Some(policy.period_seconds().to_string())),
            ])
        }))
    };
    let has_policies = rules.place().get(v2::HPAScalingRules::POLICIES).is_present();
    let window = rules.stabilization_window_seconds();
    object(&[
        ("StabilizationWindowSeconds", Some(window.map_or_else(null, |seconds| seconds.to_string()))),
        ("SelectPolicy", Some(rules.select_policy().map_or_else(null, text))),
        ("Policies", Some(if has_policies { policies() } else { null() })),
        ("Tolerance", Some(rules.tolerance().map_or_else(null, text))),
    ])
}

/// Conditions as text.
pub fn conditions(list: List<'_, v2::HorizontalPodAutoscalerCondition<'_>>) -> String {
    let said = |value: &str| (!value.is_empty()).then(|| text(value));
    array(list.iter().map(|condition| {
        let time = condition.last_transition_time().map_or_else(null, |time| text(&time_text(time)));
        object(&[
            ("type", Some(text(condition.type_()))),
            ("status", Some(text(condition.status()))),
            ("lastTransitionTime", Some(time)),
            ("reason", said(condition.reason())),
            ("message", said(condition.message())),
        ])
    }))
}

fn reference(object_: v2::CrossVersionObjectReference<'_>) -> String {
    let version = object_.api_version();
    object(&[
        ("kind", Some(text(object_.kind()))),
        ("name", Some(text(object_.name()))),
        ("apiVersion", (!version.is_empty()).then(|| text(version))),
    ])
}

fn selector(selector: meta_v1::LabelSelector<'_>) -> String {
    let labels = || {
        let members: Vec<_> = selector.match_labels().iter().map(|(key, value)| (key, Some(text(value)))).collect();
        object(&members)
    };
    let expressions = || {
        array(selector.match_expressions().iter().map(|one| {
            object(&[
                ("key", Some(text(one.key()))),
                ("operator", Some(text(one.operator()))),
                ("values", (!one.values().is_empty()).then(|| array(one.values().iter().map(text)))),
            ])
        }))
    };
    object(&[
        ("matchLabels", (!selector.match_labels().is_empty()).then(labels)),
        ("matchExpressions", (!selector.match_expressions().is_empty()).then(expressions)),
    ])
}

fn quantity(value: Option<&str>) -> String {
    text(value.unwrap_or(ZERO))
}

fn null() -> String {
    "null".to_owned()
}

fn text(value: &str) -> String {
    let mut out = Vec::with_capacity(value.len() + 2);
    push_json_string(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// The members that are there, in their order.
fn object(members: &[(&str, Option<String>)]) -> String {
    let there = members.iter().filter_map(|(name, value)| Some(format!("{}:{}", text(name), value.as_ref()?)));
    format!("{{{}}}", there.collect::<Vec<_>>().join(","))
}

/// Reads metrics: a tree that has them where an autoscaler has them, and nothing else.
pub fn read_metrics(text: &str) -> Option<Tree> {
    let list = read_list(text, |metric| read_metric(metric, Side::Wanted))?;
    decode(json!({"spec": {"metrics": list}}))
}

/// Reads what was measured.
pub fn read_current_metrics(text: &str) -> Option<Tree> {
    let list = read_list(text, |metric| read_metric(metric, Side::Measured))?;
    decode(json!({"status": {"currentMetrics": list}}))
}

/// Reads conditions.
pub fn read_conditions(text: &str) -> Option<Tree> {
    let names = ["type", "status", "lastTransitionTime", "reason", "message"];
    let list = read_list(text, |condition| renamed(condition, &names.map(|name| (name, name))))?;
    decode(json!({"status": {"conditions": list}}))
}

/// Reads a behavior; one that says nothing is none.
pub fn read_behavior(text: &str) -> Option<Tree> {
    let value: Value = serde_json::from_str(text).ok()?;
    let rules = |name: &str| match member(&value, name) {
        Some(rules) => read_rules(rules),
        None => Some(Value::Null),
    };
    let (up, down) = (rules("scaleUp")?, rules("scaleDown")?);
    if up.is_null() && down.is_null() {
        return None;
    }
    decode(json!({"spec": {"behavior": {"scaleUp": up, "scaleDown": down}}}))
}

fn read_rules(rules: &Value) -> Option<Value> {
    let names = ["stabilizationWindowSeconds", "selectPolicy", "tolerance"];
    let mut read = renamed(rules, &names.map(|name| (name, name)))?;
    if let Some(policies) = member(rules, "policies") {
        let names = ["type", "value", "periodSeconds"];
        let policy = |policy: &Value| renamed(policy, &names.map(|name| (name, name)));
        let policies: Option<Vec<Value>> = policies.as_array()?.iter().map(policy).collect();
        read.as_object_mut()?.insert("policies".to_owned(), policies?.into());
    }
    Some(read)
}

/// Whether a metric says what is wanted, or what is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Wanted,
    Measured,
}

impl Side {
    /// The member that holds values in the newer version, and what their names begin with in the older one.
    fn word(self) -> &'static str {
        match self {
            Side::Wanted => "target",
            Side::Measured => "current",
        }
    }
}

fn read_metric(metric: &Value, side: Side) -> Option<Value> {
    let mut read = renamed(metric, &[("type", "type")])?;
    for source in ["object", "pods", "resource", "containerResource", "external"] {
        if let Some(given) = member(metric, source) {
            read.as_object_mut()?.insert(source.to_owned(), read_source(source, given, side)?);
        }
    }
    Some(read)
}

fn read_source(source: &str, given: &Value, side: Side) -> Option<Value> {
    let word = side.word();
    let own = |name: &str| member(given, &format!("{word}{name}")).cloned();
    let or_zero = |value: Option<Value>| value.unwrap_or_else(|| ZERO.into());
    // Of what is measured Go has a plain value where of what is wanted it has a pointer.
    let plain = |value: Option<Value>| if side == Side::Measured { Some(or_zero(value)) } else { value };
    let metric = |selector: &str| renamed(given, &[("metricName", "name"), (selector, "selector")]);
    let (mut read, of, values) = match source {
        "object" => {
            let average = member(given, "averageValue").cloned();
            let of = if average.is_some() { "AverageValue" } else { "Value" };
            let described = member(given, "target").map_or_else(
                || Some(json!({})),
                |target| renamed(target, &["kind", "name", "apiVersion"].map(|name| (name, name))),
            )?;
            let read = json!({"describedObject": described, "metric": metric("selector")?});
            (read, of, [("value", Some(or_zero(own("Value")))), ("averageValue", average)])
        }
        "pods" => {
            let values = [("value", None), ("averageValue", Some(or_zero(own("AverageValue"))))];
            (json!({"metric": metric("selector")?}), "AverageValue", values)
        }
        "external" => {
            let value = plain(own("Value"));
            let of = if value.is_some() { "Value" } else { "AverageValue" };
            let read = json!({"metric": metric("metricSelector")?});
            (read, of, [("value", value), ("averageValue", own("AverageValue"))])
        }
        _ => {
            let part = own("AverageUtilization");
            let of = if part.is_some() { "Utilization" } else { "AverageValue" };
            let read = renamed(given, &[("name", "name"), ("container", "container")])?;
            (read, of, [("averageUtilization", part), ("averageValue", plain(own("AverageValue")))])
        }
    };
    let mut held = json!({});
    let members = held.as_object_mut()?;
    if side == Side::Wanted {
        members.insert("type".to_owned(), of.into());
    }
    for (name, value) in values {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    }
    read.as_object_mut()?.insert(word.to_owned(), held);
    Some(read)
}

fn read_list(text: &str, read: impl Fn(&Value) -> Option<Value>) -> Option<Vec<Value>> {
    match serde_json::from_str(text).ok()? {
        Value::Array(items) => items.iter().map(read).collect(),
        _ => None,
    }
}

/// A member by its name, in whatever case, as Go reads JSON; a null is none.
fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let members = value.as_object()?;
    let found = members
        .get(name)
        .or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
    found.filter(|value| !value.is_null())
}

/// The members of these names under other names; nothing of what is no object. A null is an empty one.
fn renamed(value: &Value, names: &[(&str, &str)]) -> Option<Value> {
    if !value.is_object() && !value.is_null() {
        return None;
    }
    let members = names.iter().filter_map(|(from, to)| Some(((*to).to_owned(), member(value, from)?.clone())));
    Some(Value::Object(members.collect()))
}

fn decode(object: Value) -> Option<Tree> {
    let (ty, text) = (v2::HorizontalPodAutoscaler::TYPE, object.to_string().into_bytes());
    Some(decode_json::decode(crate::schema(), ty, text, FieldValidation::Ignore).ok()?.tree)
}
