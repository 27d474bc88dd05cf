//! Which nodes something may be on (upstream: `ValidateNodeSelector`, `ValidateNodeSelectorTerm`). Pods have it as affinity, volumes as
//! topology.

use portcullis_model::names;

use super::selectors::label_values;
use super::{Errors, Path};
use crate::views::core_v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

/// Whether values must be those that a label can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// They must.
    Labels,
    /// They may be anything: preferences, and what was stored before upstream looked.
    Any,
}

/// There is a term, and each makes sense.
pub fn node_selector(selector: NodeSelector<'_>, values: Values, at: &Path<'_>, errors: &mut Errors) {
    let terms = selector.node_selector_terms();
    let at = at.field("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&at, "must have at least one node selector term");
    }
    for (index, one) in terms.iter().enumerate() {
        term(one, values, &at.index(index), errors);
    }
}

/// Each requirement makes sense.
pub fn term(term: NodeSelectorTerm<'_>, values: Values, at: &Path<'_>, errors: &mut Errors) {
    for (index, one) in term.match_expressions().iter().enumerate() {
        expression(one, values, &at.field("matchExpressions").index(index), errors);
    }
    for (index, one) in term.match_fields().iter().enumerate() {
        field(one, &at.field("matchFields").index(index), errors);
    }
}

/// Whether a value stands in an expression that no label can have.
#[must_use]
pub fn has_no_label_value(selector: NodeSelector<'_>) -> bool {
    let expressions = selector.node_selector_terms().iter().flat_map(|term| term.match_expressions().iter());
    expressions.flat_map(|one| one.values().iter()).any(|value| !names::label_value(value).is_empty())
}

/// A requirement on labels.
fn expression(one: NodeSelectorRequirement<'_>, checked: Values, at: &Path<'_>, errors: &mut Errors) {
    let values = one.values();
    match one.operator() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&at.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&at.field("values"), why);
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&at.field("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&at.field("operator"), other, "not a valid selector operator"),
    }
    errors.complain(&at.field("key"), one.key(), names::qualified_name(one.key()));
    if checked == Values::Labels {
        label_values(values, &at.field("values"), errors);
    }
}

/// A requirement on the node's own fields, of which its name is the only one.
fn field(one: NodeSelectorRequirement<'_>, at: &Path<'_>, errors: &mut Errors) {
    match one.operator() {
        "In" | "NotIn" if one.values().len() != 1 => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&at.field("values"), why);
        }
        "In" | "NotIn" => {}
        other => errors.invalid(&at.field("operator"), other, "not a valid selector operator"),
    }
    if one.key() != "metadata.name" {
        errors.invalid(&at.field("key"), one.key(), "not a valid field selector key");
        return;
    }
    for (index, value) in one.values().iter().enumerate() {
        errors.complain(&at.field("values").index(index), value, names::dns1123_subdomain(value));
    }
}
