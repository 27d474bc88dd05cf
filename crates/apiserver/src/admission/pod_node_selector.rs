//! PodNodeSelector: pods of a namespace stay on the nodes that are for it (upstream: `plugin/pkg/admission/podnodeselector`). Off.
//!
//! The namespace says which in an annotation, or else the operator says it for all namespaces that have none; and for single namespaces
//! the operator says which labels their pods may select by at all. What cannot be read is found at start here, by upstream at every pod.

use std::collections::BTreeMap;

use portcullis_kinds::views;
use portcullis_kinds::views::Map;
use portcullis_kinds::views::core_v1::{Namespace, Pod};
use portcullis_model::names::{self, Complaints};
use portcullis_model::status::{FieldError, Status};

use super::configuration::{Given, PluginFault};
use super::stored::{self, NAMESPACES};
use super::{Attempt, Operation, Pass, Plugin, pods};
use crate::answer::Failure;
use crate::registry::Served;

/// The annotation of a namespace: `label=value,label=value`.
const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
/// The field of the configuration; beside this key its keys are namespaces.
const FIELD: &str = "podNodeSelectorPluginConfig";
const FOR_ALL: &str = "clusterDefaultNodeSelector";
/// What a pod is told that selects other nodes than its namespace.
const CONFLICT: &str = "pod node label selector conflicts with its namespace node label selector";
const OUTSIDE: &str = "pod node label selector labels conflict with its namespace whitelist";

/// Labels and their values.
type Labels = BTreeMap<String, String>;

/// The plugin.
#[derive(Default)]
pub struct PodNodeSelector {
    /// For namespaces that say nothing.
    for_all: Labels,
    /// By namespace: all that its pods may select by.
    allowed: BTreeMap<String, Labels>,
}

impl PodNodeSelector {
    /// Makes it of what its operator says.
    ///
    /// # Errors
    /// A selector makes no sense.
    pub fn of(given: Given<'_>) -> Result<PodNodeSelector, PluginFault> {
        let Some(document) = given.configuration else { return Ok(PodNodeSelector::default()) };
        let mut selectors = document.read(|fields| fields.string_map(FIELD))?;
        let parse = |of: &str, text: &str| {
            parse(text)
                .map_err(|why| PluginFault::Invalid(vec![FieldError::invalid(format!("{FIELD}[{of}]"), text, why)]))
        };
        let for_all = parse(FOR_ALL, &selectors.remove(FOR_ALL).unwrap_or_default())?;
        let allowed =
            selectors.into_iter().map(|(of, text)| Ok((parse(&of, &text)?, of)).map(|(labels, of)| (of, labels)));
        Ok(PodNodeSelector { for_all, allowed: allowed.collect::<Result<_, PluginFault>>()? })
    }

    /// By what the pods of a namespace select their nodes.
    fn of_namespace(&self, attempt: &Attempt<'_>) -> Result<Labels, Failure> {
        let name = attempt.namespace();
        let namespace = stored::load(attempt, NAMESPACES, "", name)?;
        let namespace = namespace.ok_or_else(|| Box::new(Status::not_found("", NAMESPACES.1, name)))?;
        let annotations = views::read::<Namespace<'_>>(&namespace).metadata().annotations();
        match annotations.get(ANNOTATION) {
            Some(text) => parse(text).map_err(|why| Box::new(Status::unexpected(why))),
            None => Ok(self.for_all.clone()),
        }
    }

    fn judge(&self, attempt: &Attempt<'_>, pod: Pod<'_>, selector: &Labels) -> Result<(), Failure> {
        let given = pod.spec().node_selector();
        if conflicts(selector, given) {
            return Err(attempt.forbidden(CONFLICT));
        }
        let allowed = self.allowed.get(attempt.namespace()).filter(|allowed| !allowed.is_empty());
        let is_allowed = |allowed: &Labels| {
            given.iter().all(|(label, value)| allowed.get(label).is_some_and(|allowed| allowed == value))
        };
        if allowed.is_none_or(is_allowed) { Ok(()) } else { Err(attempt.forbidden(OUTSIDE)) }
    }

    fn select(&self, attempt: &mut Attempt<'_>) -> Result<(), Failure> {
        let Some(pod) = pods::read(attempt) else { return Ok(()) };
        let selector = self.of_namespace(attempt)?;
        if conflicts(&selector, pod.spec().node_selector()) {
            return Err(attempt.forbidden(CONFLICT));
        }
        if let Some(mut pod) = pods::write(attempt).filter(|_| !selector.is_empty()) {
            let mut spec = pod.spec_mut();
            let mut to = spec.node_selector_mut();
            for (label, value) in &selector {
                to.insert(label, value);
            }
        }
        pods::read(attempt).map_or(Ok(()), |pod| self.judge(attempt, pod, &selector))
    }
}

impl Plugin for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn handles(&self, served: &Served, operation: Operation) -> bool {
        operation == Operation::Create && served.is("", "pods")
    }

    fn admit<'a>(&'a self, attempt: &'a mut Attempt<'_>) -> Pass<'a> {
        Pass::Now(self.select(attempt))
    }

    fn validate<'a>(&'a self, attempt: &'a Attempt<'_>) -> Pass<'a> {
        let Some(pod) = pods::read(attempt) else { return Pass::on() };
        Pass::Now(self.of_namespace(attempt).and_then(|selector| self.judge(attempt, pod, &selector)))
    }
}

/// Whether two ask for different values of one label.
fn conflicts(selector: &Labels, given: Map<'_, &str>) -> bool {
    selector.iter().any(|(label, value)| given.get(label).is_some_and(|other| other != value))
}

/// Reads `label=value,label=value`.
fn parse(text: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let sides: Vec<&str> = part.split('=').collect();
        let [label, value] = sides[..] else {
            return Err(format!("invalid selector: [{}]", sides.join(" ")));
        };
        let (label, value) = (label.trim(), value.trim());
        check("key", label, names::qualified_name(label))?;
        check(&format!("values[0][{label}]"), value, names::label_value(value))?;
        labels.insert(label.to_owned(), value.to_owned());
    }
    Ok(labels)
}

fn check(what: &str, text: &str, complaints: Complaints) -> Result<(), String> {
    let all: Vec<String> = complaints.into_iter().map(|why| why.to_string()).collect();
    if all.is_empty() { Ok(()) } else { Err(FieldError::invalid(what, text, all.join("; ")).to_string()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portcullis_client::DialRule;
    use portcullis_gate::Document;

    use super::*;

    #[test]
    fn the_operator_says_it_by_namespace() {
        let make = |text: &str| {
            let configuration = Some(Document::parse(text.as_bytes()).unwrap());
            PodNodeSelector::of(Given { configuration, dial: &DialRule::default() })
        };
        let text = "podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: a=b, quay: 'c=d,e=f', pier: ''}";
        let made = make(text).unwrap();
        let labels = |text: &str| parse(text).unwrap();
        assert_eq!(made.for_all, labels("a=b"));
        assert_eq!(made.allowed, [("pier".to_owned(), labels("")), ("quay".to_owned(), labels("c=d,e=f"))].into());
        let check = |text: &str, why: &str| {
            assert_eq!(make(text).err().map(|fault| fault.to_string()), Some(why.to_owned()), "{text}");
        };
        check(
            "podNodeSelectorPluginConfig: {quay: x}",
            "podNodeSelectorPluginConfig[quay]: Invalid value: \"x\": invalid selector: [x]",
        );
        check("selectors: {}", "strict decoding error: unknown field \"selectors\"");
    }

    #[test]
    fn a_selector_is_labels_with_values() {
        let check = |text: &str, expected: Result<&[(&str, &str)], &str>| {
            let owned = |pairs: &[(&str, &str)]| {
                pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect::<Labels>()
            };
            assert_eq!(parse(text), expected.map(owned).map_err(str::to_owned), "{text}");
        };
        check("", Ok(&[]));
        check("quay=north", Ok(&[("quay", "north")]));
        check(" quay = north ,env=test", Ok(&[("env", "test"), ("quay", "north")]));
        check("quay=", Ok(&[("quay", "")]));
        check("quay", Err("invalid selector: [quay]"));
        check("a=b=c", Err("invalid selector: [a b c]"));
        check("a=b,", Err("invalid selector: []"));
        assert!(parse("no way=x").is_err_and(|why| why.starts_with("key: Invalid value: \"no way\": name part must")));
        assert!(
            parse("a=no way")
                .is_err_and(|why| why.starts_with("values[0][a]: Invalid value: \"no way\": a valid label"))
        );
    }
}
