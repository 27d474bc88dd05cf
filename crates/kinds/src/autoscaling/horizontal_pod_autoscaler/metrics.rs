//! What an autoscaler goes by (upstream: `validateMetrics`, `ValidateCrossVersionObjectReference`).

use portcullis_model::quantity::Quantity;

use crate::views::List;
use crate::views::autoscaling_v2::{
    ContainerResourceMetricSource, CrossVersionObjectReference, ExternalMetricSource, MetricIdentifier, MetricSpec,
    MetricTarget, ObjectMetricSource, PodsMetricSource, ResourceMetricSource,
};
use crate::vocabulary::{Errors, Path, names};

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const TARGET_TYPES: &[&str] = &["Utilization", "Value", "AverageValue"];

/// How strictly the version of an object that is referred to is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// It must have a group.
    Grouped,
    /// It may be of the core group.
    AnyGroup,
    /// It was let in once.
    Anything,
}

/// Every metric; no pods at all only wait for what is measured elsewhere.
pub fn validate(
    metrics: List<'_, MetricSpec<'_>>,
    least: Option<i32>,
    version: Version,
    at: &Path<'_>,
    errors: &mut Errors,
) {
    for (index, one) in metrics.iter().enumerate() {
        metric(one, version, &at.index(index), errors);
    }
    if least == Some(0) && !metrics.iter().any(|one| matches!(one.type_(), "Object" | "External")) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(at, why);
    }
}

/// One source, that of its type. When there are several only the first is looked at.
fn metric(metric: MetricSpec<'_>, version: Version, at: &Path<'_>, errors: &mut Errors) {
    let of = metric.type_();
    if of.is_empty() {
        errors.required(&at.field("type"), "must specify a metric source type");
    }
    names::one_of(of, TYPES, &at.field("type"), errors);
    first_source(metric, version, at, errors);
    let present = [
        ("object", metric.object().is_some()),
        ("external", metric.external().is_some()),
        ("pods", metric.pods().is_some()),
        ("resource", metric.resource().is_some()),
        ("containerResource", metric.container_resource().is_some()),
    ];
    let expected = match of {
        "Object" => "object",
        "External" => "external",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => "",
    };
    if expected.is_empty() {
        // Upstream says it twice.
        errors.not_supported(&at.field("type"), of, TYPES);
    } else if !present.contains(&(expected, true)) {
        errors.required(&at.field(expected), "must populate information for the given metric source");
    }
    let count = present.iter().filter(|(_, is_there)| *is_there).count();
    for (field, _) in present.iter().filter(|(field, is_there)| *is_there && count != 1 && *field != expected) {
        errors.forbidden(&at.field(field), "must populate the given metric source only");
    }
}

fn first_source(metric: MetricSpec<'_>, version: Version, at: &Path<'_>, errors: &mut Errors) {
    if let Some(source) = metric.object() {
        object(source, version, &at.field("object"), errors);
    } else if let Some(source) = metric.external() {
        external(source, &at.field("external"), errors);
    } else if let Some(source) = metric.pods() {
        pods(source, &at.field("pods"), errors);
    } else if let Some(source) = metric.resource() {
        resource(source, &at.field("resource"), errors);
    } else if let Some(source) = metric.container_resource() {
        container_resource(source, &at.field("containerResource"), errors);
    }
}

fn object(source: ObjectMetricSource<'_>, version: Version, at: &Path<'_>, errors: &mut Errors) {
    reference(source.described_object(), version, &at.field("describedObject"), errors);
    identifier(source.metric(), &at.field("metric"), errors);
    let at = at.field("target");
    target(source.target(), &at, errors);
    if source.target().value().is_none() && source.target().average_value().is_none() {
        errors.required(&at.field("averageValue"), "must set either a target value or averageValue");
    }
}

fn external(source: ExternalMetricSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    identifier(source.metric(), &at.field("metric"), errors);
    let at = at.field("target");
    target(source.target(), &at, errors);
    match (source.target().value().is_some(), source.target().average_value().is_some()) {
        (false, false) => {
            let why = "must set either a target value for metric or a per-pod target";
            errors.required(&at.field("averageValue"), why);
        }
        (true, true) => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&at.field("value"), why);
        }
        _ => {}
    }
}

fn pods(source: PodsMetricSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    identifier(source.metric(), &at.field("metric"), errors);
    let at = at.field("target");
    target(source.target(), &at, errors);
    if source.target().average_value().is_none() {
        errors.required(&at.field("averageValue"), "must specify a positive target averageValue");
    }
}

fn resource(source: ResourceMetricSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    if source.name().is_empty() {
        errors.required(&at.field("name"), "must specify a resource name");
    }
    used(source.target(), &at.field("target"), errors);
}

fn container_resource(source: ContainerResourceMetricSource<'_>, at: &Path<'_>, errors: &mut Errors) {
    if source.name().is_empty() {
        errors.required(&at.field("name"), "must specify a resource name");
    }
    if source.container().is_empty() {
        errors.required(&at.field("container"), "must specify a container");
    } else {
        names::dns_label(source.container(), &at.field("container"), errors);
    }
    used(source.target(), &at.field("target"), errors);
}

/// How much of a resource is to be used: so much, or such a part of what was asked for.
fn used(used: MetricTarget<'_>, at: &Path<'_>, errors: &mut Errors) {
    target(used, at, errors);
    match (used.average_utilization().is_some(), used.average_value().is_some()) {
        (false, false) => {
            let why = "must set either a target raw value or a target utilization";
            errors.required(&at.field("averageUtilization"), why);
        }
        (true, true) => {
            let why = "may not set both a target raw value and a target utilization";
            errors.forbidden(&at.field("averageValue"), why);
        }
        _ => {}
    }
}

fn target(target: MetricTarget<'_>, at: &Path<'_>, errors: &mut Errors) {
    let of = target.type_();
    if of.is_empty() {
        errors.required(&at.field("type"), "must specify a metric target type");
    }
    if !TARGET_TYPES.contains(&of) {
        errors.invalid(&at.field("type"), of, "must be either Utilization, Value, or AverageValue");
    }
    for (field, value) in [("value", target.value()), ("averageValue", target.average_value())] {
        if let Some(value) = value
            && !Quantity::parse(value).is_ok_and(|value| value.sign() > 0)
        {
            errors.invalid(&at.field(field), value, "must be positive");
        }
    }
    if let Some(part) = target.average_utilization().filter(|part| *part < 1) {
        errors.invalid(&at.field("averageUtilization"), part, "must be greater than 0");
    }
}

fn identifier(identifier: MetricIdentifier<'_>, at: &Path<'_>, errors: &mut Errors) {
    if identifier.name().is_empty() {
        errors.required(&at.field("name"), "must specify a metric name");
    } else {
        names::path_segment(identifier.name(), &at.field("name"), errors);
    }
}

/// Kind, name and version of an object elsewhere.
pub fn reference(object: CrossVersionObjectReference<'_>, version: Version, at: &Path<'_>, errors: &mut Errors) {
    for (field, value) in [("kind", object.kind()), ("name", object.name())] {
        if value.is_empty() {
            errors.required(&at.field(field), "");
        } else {
            names::path_segment(value, &at.field(field), errors);
        }
    }
    if let Some(why) = is_no_version(object.api_version(), version) {
        errors.invalid(&at.field("apiVersion"), object.api_version(), why);
    }
}

/// Why a text is no version.
pub fn is_no_version(text: &str, version: Version) -> Option<String> {
    if version == Version::Anything {
        return None;
    }
    // A slash alone is as good as nothing.
    let group = match text.split_once('/') {
        None => "",
        Some((_, rest)) if rest.contains('/') => return Some(format!("unexpected GroupVersion string: {text}")),
        Some((group, _)) => group,
    };
    let needs_group = version == Version::Grouped && group.is_empty();
    needs_group.then(|| "apiVersion must specify API group".to_owned())
}
