//! What an access review asks about, and whether it can be asked (upstream: `pkg/apis/authorization/validation`; the selectors are
//! KEP-4601).

use portcullis_gate::{Operator, Requirement as Demand, Selectors};
use portcullis_kinds::views::authorization_v1::{NonResourceAttributes, ResourceAttributes};
use portcullis_kinds::views::{At, List};
use portcullis_model::names;
use portcullis_model::schema::{TypeRef, encode_json};
use portcullis_model::status::{BadValue, FieldError};
use portcullis_model::tree::{Kind, NodeId, Tree};

use crate::registry::Served;
use crate::registry::metadata::Metadata;

/// Requirements of one selector that authorisers are shown.
const REQUIREMENTS_MAX: usize = 64;
const FIELD_SELECTOR: &str = "spec.resourceAttributes.fieldSelector";
const LABEL_SELECTOR: &str = "spec.resourceAttributes.labelSelector";

/// The action of a review: on a resource or on a path.
#[derive(Clone, Copy)]
pub(super) struct Asked<'t> {
    /// On a resource.
    pub(super) resource: Option<ResourceAttributes<'t>>,
    /// On a path.
    pub(super) path: Option<NonResourceAttributes<'t>>,
}

/// One requirement of a selector of either sort.
struct Requirement<'t> {
    key: &'t str,
    operator: &'t str,
    values: Vec<&'t str>,
}

impl<'t> Requirement<'t> {
    fn new(key: &'t str, operator: &'t str, values: List<'t, &'t str>) -> Self {
        Requirement { key, operator, values: values.iter().collect() }
    }
}

impl Asked<'_> {
    /// The selectors of the action, as authorisers see them. A requirement that cannot be understood demands nothing: without it more is
    /// asked for.
    pub(super) fn selectors(self) -> Selectors {
        let Some(resource) = self.resource else { return Selectors::default() };
        let (fields, labels) = (resource.field_selector(), resource.label_selector());
        let raw_fields = fields.map_or("", |selector| selector.raw_selector());
        let raw_labels = labels.map_or("", |selector| selector.raw_selector());
        let mut read = Selectors::read(raw_fields, raw_labels);
        if let Some(fields) = fields {
            let each =
                fields.requirements().iter().map(|one| Requirement::new(one.key(), one.operator(), one.values()));
            // Fields can only be compared with one value.
            read.fields.extend(demands(each).filter(|demand| demand.values.len() == 1));
        }
        if let Some(labels) = labels {
            let each =
                labels.requirements().iter().map(|one| Requirement::new(one.key(), one.operator(), one.values()));
            read.labels.extend(demands(each));
        }
        read
    }

    /// Everything that is wrong with the action.
    pub(super) fn check(self, served: &Served) -> Vec<FieldError> {
        let mut errors = self.check_choice(served);
        errors.extend(self.check_selectors());
        errors
    }

    /// It is one action.
    pub(super) fn check_choice(self, served: &Served) -> Vec<FieldError> {
        match (self.resource, self.path) {
            (Some(_), Some(path)) => {
                let why = "cannot be specified in combination with resourceAttributes";
                vec![FieldError::invalid("spec.nonResourceAttributes", shown(served, path.place()), why)]
            }
            (None, None) => {
                let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
                vec![FieldError::invalid("spec.resourceAttributes", BadValue::Null, why)]
            }
            _ => Vec::new(),
        }
    }

    /// Its selectors can be read. Operators that nobody knows yet are let through, for clients that are newer.
    pub(super) fn check_selectors(self) -> Vec<FieldError> {
        let Some(resource) = self.resource else { return Vec::new() };
        let mut errors = Vec::new();
        if let Some(selector) = resource.field_selector() {
            let requirements: Vec<Requirement<'_>> = selector
                .requirements()
                .iter()
                .map(|one| Requirement::new(one.key(), one.operator(), one.values()))
                .collect();
            check_selector(FIELD_SELECTOR, selector.raw_selector(), &requirements, &mut errors);
        }
        if let Some(selector) = resource.label_selector() {
            let requirements: Vec<Requirement<'_>> = selector
                .requirements()
                .iter()
                .map(|one| Requirement::new(one.key(), one.operator(), one.values()))
                .collect();
            check_selector(LABEL_SELECTOR, selector.raw_selector(), &requirements, &mut errors);
            for (at, requirement) in requirements.iter().enumerate() {
                check_label(&format!("{LABEL_SELECTOR}.requirements[{at}]"), requirement, &mut errors);
            }
        }
        errors
    }
}

fn demands<'t>(requirements: impl Iterator<Item = Requirement<'t>>) -> impl Iterator<Item = Demand> {
    let demand = |requirement: Requirement<'t>| {
        let operator = match requirement.operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return None,
        };
        let values = requirement.values.iter().map(|value| (*value).to_owned()).collect();
        Some(Demand { key: requirement.key.to_owned(), operator, values })
    };
    requirements.take(REQUIREMENTS_MAX).filter_map(demand)
}

fn check_selector(path: &str, raw: &str, requirements: &[Requirement<'_>], errors: &mut Vec<FieldError>) {
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid(format!("{path}.rawSelector"), raw, why));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(format!("{path}.requirements"), why));
    }
    for (at, requirement) in requirements.iter().enumerate() {
        let path = format!("{path}.requirements[{at}]");
        if path.starts_with(FIELD_SELECTOR) && requirement.key.is_empty() {
            errors.push(FieldError::required(format!("{path}.key"), "must be specified"));
        }
        match requirement.operator {
            "In" | "NotIn" if requirement.values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(format!("{path}.values"), why));
            }
            "Exists" | "DoesNotExist" if !requirement.values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(format!("{path}.values"), why));
            }
            _ => {}
        }
    }
}

fn check_label(path: &str, requirement: &Requirement<'_>, errors: &mut Vec<FieldError>) {
    for complaint in names::qualified_name(requirement.key) {
        errors.push(FieldError::invalid(format!("{path}.key"), requirement.key, complaint));
    }
    for (at, value) in requirement.values.iter().enumerate() {
        for complaint in names::label_value(value) {
            errors.push(FieldError::invalid(format!("{path}.values[{at}]"), *value, complaint));
        }
    }
}

/// A review has no metadata of its own, but for the namespace of one that is posted in a namespace.
pub(super) fn check_metadata(served: &Served, tree: &Tree, namespace: Option<&str>) -> Option<FieldError> {
    let node = Metadata::of(served, tree).node()?;
    let ty = served.schema.ty(tree.object_type(node)?);
    let allowed = [Some(served.meta.managed_fields), namespace.map(|_| served.meta.namespace)];
    let mut numbers = (0u16..).take(ty.fields.len());
    numbers.find(|number| {
        !allowed.contains(&Some(*number)) && tree.field(node, *number).is_some_and(|value| !is_zero(tree, value))
    })?;
    let why = if namespace.is_some() { "must be empty except for namespace" } else { "must be empty" };
    let text = json_of(served, tree, node);
    Some(FieldError::invalid("metadata", BadValue::Json(text), why))
}

fn is_zero(tree: &Tree, node: NodeId) -> bool {
    match tree.kind(node) {
        Kind::List | Kind::Map => tree.len(node) == 0,
        Kind::String => tree.string(node).is_none_or(str::is_empty),
        Kind::Int => tree.int(node) == Some(0),
        _ => false,
    }
}

/// A struct as complaints show it.
pub(super) fn shown(served: &Served, at: At<'_>) -> BadValue {
    at.id().map_or(BadValue::Null, |node| BadValue::Json(json_of(served, at.tree(), node)))
}

fn json_of(served: &Served, tree: &Tree, node: NodeId) -> String {
    let mut out = Vec::new();
    if let Some(ty) = tree.object_type(node) {
        encode_json::write_value(served.schema, tree, node, TypeRef::Object(ty), &mut out);
    }
    String::from_utf8(out).unwrap_or_default()
}
