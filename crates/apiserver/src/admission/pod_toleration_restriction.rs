//! PodTolerationRestriction: which taints pods of a namespace tolerate unasked, and which they may tolerate at all (upstream:
//! `plugin/pkg/admission/podtolerationrestriction`). Off.
//!
//! The namespace says it in two annotations, or else the operator says it for all namespaces that have none.

use portcullis_gate::Fields;
use portcullis_kinds::views;
use portcullis_kinds::views::Map;
use portcullis_kinds::views::core_v1::{Namespace, Pod, ResourceRequirements};
use portcullis_model::quantity::Quantity;
use portcullis_model::status::{FieldError, Status};
use serde_json::Value;

use super::configuration::{Given, PluginFault};
use super::stored::{self, NAMESPACES};
use super::tolerations::{self, COMPARED_MAX, Toleration};
use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::answer::Failure;
use crate::registry::Served;

/// Group, versions and kind of its configuration.
const CONFIGURATION: (&str, [&str; 1], &str) =
    ("podtolerationrestriction.admission.k8s.io", ["v1alpha1"], "Configuration");
/// The annotations of a namespace: lists of tolerations as JSON.
const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
/// A pod that asked for memory may come to a node that is short of it.
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
const CONFLICT: &str =
    "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";

/// The plugin.
#[derive(Default)]
pub struct PodTolerationRestriction {
    /// For namespaces that say nothing.
    default: Vec<Toleration>,
    allowed: Vec<Toleration>,
}

impl PodTolerationRestriction {
    /// Makes it of what its operator says.
    ///
    /// # Errors
    /// A toleration makes no sense.
    pub fn of(given: Given<'_>) -> Result<PodTolerationRestriction, PluginFault> {
        let Some(document) = given.configuration else { return Ok(PodTolerationRestriction::default()) };
        let (group, versions, kind) = CONFIGURATION;
        document.expect(group, &versions, kind)?;
        let (default, allowed) =
            document.read(|fields| (fields.objects("default", read), fields.objects("whitelist", read)))?;
        let mut errors = complaints("default", &default);
        errors.extend(complaints("whitelist", &allowed));
        if errors.is_empty() {
            Ok(PodTolerationRestriction { default, allowed })
        } else {
            Err(PluginFault::Invalid(errors))
        }
    }

    fn extend(&self, attempt: &mut Attempt<'_>) -> Result<(), Failure> {
        let Some(pod) = pods::read(attempt) else { return Ok(()) };
        let mut added = Vec::new();
        if attempt.operation == Operation::Create {
            added = of_namespace(attempt, DEFAULTS)?.unwrap_or_else(|| self.default.clone());
        }
        if !is_best_effort(pod) {
            let [key, operator, effect] = [MEMORY_PRESSURE, "Exists", "NoSchedule"].map(str::to_owned);
            added.push(Toleration { key, operator, effect, ..Toleration::default() });
        }
        if !added.is_empty() {
            let merged = tolerations::merge(tolerations::of_pod(pod.spec()), added);
            let merged = merged.ok_or_else(|| too_many(attempt))?;
            if let Some(mut pod) = pods::write(attempt) {
                tolerations::set(&mut pod, &merged);
            }
        }
        self.judge(attempt)
    }

    fn judge(&self, attempt: &Attempt<'_>) -> Result<(), Failure> {
        let Some(pod) = pods::read(attempt).filter(|pod| !pod.spec().tolerations().is_empty()) else { return Ok(()) };
        let own = of_namespace(attempt, ALLOWED)?;
        let allowed = own.as_ref().unwrap_or(&self.allowed);
        match tolerations::are_within(&tolerations::of_pod(pod.spec()), allowed) {
            None => Err(too_many(attempt)),
            Some(true) => Ok(()),
            // Not a refusal of its own upstream, which makes it a 500.
            Some(false) => Err(Box::new(Status::unexpected(CONFLICT))),
        }
    }
}

impl Plugin for PodTolerationRestriction {
    fn name(&self) -> &'static str {
        "PodTolerationRestriction"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        pods::are_written(served, operation)
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        Pass::Now(self.extend(attempt))
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        Pass::Now(self.judge(attempt))
    }
}

fn too_many(attempt: &Attempt<'_>) -> Failure {
    attempt.forbidden(&format!("more than {COMPARED_MAX} tolerations with those of its namespace"))
}

fn read(fields: &mut Fields<'_>) -> Toleration {
    Toleration {
        key: fields.string("key"),
        operator: fields.string("operator"),
        value: fields.string("value"),
        effect: fields.string("effect"),
        seconds: fields.integer("tolerationSeconds"),
    }
}

fn complaints(list: &str, tolerations: &[Toleration]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, toleration) in tolerations.iter().enumerate() {
        if !matches!(toleration.operator.as_str(), "" | "Equal" | "Exists") {
            let path = format!("{list}[{at}].operator");
            errors.push(FieldError::not_supported(path, toleration.operator.as_str(), &["Equal", "Exists"]));
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if !toleration.effect.is_empty() && !effects.contains(&toleration.effect.as_str()) {
            let path = format!("{list}[{at}].effect");
            errors.push(FieldError::not_supported(path, toleration.effect.as_str(), &effects));
        }
    }
    errors
}

/// What the namespace says in an annotation; nothing when it has none, an empty list when that is empty.
fn of_namespace(attempt: &Attempt<'_>, annotation: &str) -> Result<Option<Vec<Toleration>>, Failure> {
    let name = attempt.namespace();
    let namespace = stored::load(attempt, NAMESPACES, "", name)?;
    let namespace = namespace.ok_or_else(|| Box::new(Status::not_found("", NAMESPACES.1, name)))?;
    let annotations = views::read::<Namespace<'_>>(&namespace).metadata().annotations();
    match annotations.get(annotation) {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => match parse(text) {
            Ok(tolerations) => Ok(Some(tolerations)),
            Err(why) => Err(Box::new(Status::unexpected(why))),
        },
    }
}

/// Reads a list of tolerations.
fn parse(text: &str) -> Result<Vec<Toleration>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let items = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        _ => return Err("tolerations must be a list".to_owned()),
    };
    let one = |item: Value| {
        let Value::Object(mut fields) = item else { return Err("a toleration must be an object".to_owned()) };
        let mut text = |name: &str| match fields.remove(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("{name} of a toleration must be a string")),
        };
        let (key, operator) = (text("key")?, text("operator")?);
        let (value, effect) = (text("value")?, text("effect")?);
        let seconds = fields.remove("tolerationSeconds").filter(|seconds| !seconds.is_null());
        let seconds = seconds.map(|seconds| seconds.as_i64().ok_or("tolerationSeconds must be a whole number"));
        Ok(Toleration { key, operator, value, effect, seconds: seconds.transpose()? })
    };
    items.into_iter().map(one).collect()
}

/// Whether a pod asks for nothing: what its status says, or else what it requests and may use at most.
fn is_best_effort(pod: Pod<'_>) -> bool {
    let class = pod.status().qos_class();
    if !class.is_empty() {
        return class == "BestEffort";
    }
    let asks = |list: Map<'_, &str>| {
        let amount = |name: &str| Quantity::parse(list.get(name)?).ok();
        ["cpu", "memory"].into_iter().filter_map(amount).any(|amount| amount.sign() > 0)
    };
    let asks = |resources: ResourceRequirements<'_>| asks(resources.requests()) || asks(resources.limits());
    let spec = pod.spec();
    if let Some(own) = spec.resources() {
        return !asks(own);
    }
    let mut containers = spec.containers().iter().chain(spec.init_containers().iter());
    !containers.any(|container| asks(container.resources()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_client::DialRule;
    use portcullis_gate::Document;

    use super::*;

    #[test]
    fn the_operator_says_it_for_all() {
        let make = |lists: &str| {
            let head = "apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1\nkind: Configuration\n";
            let configuration = Some(Document::parse(format!("{head}{lists}").as_bytes()).unwrap());
            PodTolerationRestriction::of(Given { configuration, dial: &DialRule::default() })
        };
        let made = make("default: [{key: a, operator: Exists, tolerationSeconds: 5}]\nwhitelist: [{operator: Exists}]")
            .unwrap();
        let [key, operator] = ["a", "Exists"].map(str::to_owned);
        let exists = Toleration { operator, ..Toleration::default() };
        assert_eq!(made.allowed, std::slice::from_ref(&exists));
        assert_eq!(made.default, [Toleration { key, seconds: Some(5), ..exists }]);
        let check = |lists: &str, why: &str| {
            assert_eq!(make(lists).err().map(|fault| fault.to_string()), Some(why.to_owned()), "{lists}");
        };
        check(
            "whitelist: [{operator: Above}]",
            "whitelist[0].operator: Unsupported value: \"Above\": supported values: \"Equal\", \"Exists\"",
        );
        check("allowed: []", "strict decoding error: unknown field \"allowed\"");
    }

    #[test]
    fn an_annotation_is_a_list_of_tolerations() {
        let check = |text: &str, expected: Result<usize, &str>| {
            let found = parse(text).map(|tolerations| tolerations.len());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        check("[]", Ok(0));
        check("null", Ok(0));
        check(r#"[{"key":"a","operator":"Exists"},{"tolerationSeconds":3,"other":1}]"#, Ok(2));
        check(r#"{"key":"a"}"#, Err("tolerations must be a list"));
        check("[1]", Err("a toleration must be an object"));
        check(r#"[{"key":1}]"#, Err("key of a toleration must be a string"));
        check(r#"[{"tolerationSeconds":"3"}]"#, Err("tolerationSeconds must be a whole number"));
        assert!(parse("[").is_err());
    }
}
