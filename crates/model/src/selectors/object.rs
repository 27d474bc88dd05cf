//! Label selectors as they stand in objects: `matchLabels` and `matchExpressions`.

use super::{Operator, Requirement, Selector, SelectorError};
use crate::go_text::quoted;
use crate::meta_rules::labels;
use crate::names;
use crate::status::{FieldError, aggregate};

/// One expression of a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelectorRequirement {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values of `In` and `NotIn`.
    pub values: Vec<String>,
}

/// A selector of an object; all parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// Labels with their values, in the order of their keys.
    pub match_labels: Vec<(String, String)>,
    /// Expressions.
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

fn operator(text: &str) -> Option<Operator> {
    Some(match text {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        _ => return None,
    })
}

impl LabelSelector {
    /// Makes the selector that matches. An empty one selects everything; what an absent one selects is
    /// [`Selector::nothing`].
    ///
    /// # Errors
    /// The error's text is upstream's.
    pub fn to_selector(&self) -> Result<Selector, SelectorError> {
        let mut requirements = Vec::with_capacity(self.match_labels.len() + self.match_expressions.len());
        let failed = |errors: Vec<FieldError>| SelectorError::Object(aggregate(&errors));
        for (key, value) in &self.match_labels {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.clone()]).map_err(failed)?);
        }
        for expression in &self.match_expressions {
            let operator = operator(&expression.operator).ok_or_else(|| {
                SelectorError::Object(format!(
                    "{} is not a valid label selector operator",
                    quoted(&expression.operator)
                ))
            })?;
            let requirement = Requirement::new(&expression.key, operator, expression.values.clone());
            requirements.push(requirement.map_err(failed)?);
        }
        // The text of a selector has its keys in order, wherever they stood.
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Selector { requirements, is_nothing: false })
    }
}

/// Checks a selector that stands at `field` of an object.
#[must_use]
pub fn validate_label_selector(selector: &LabelSelector, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let pairs: Vec<(&str, &str)> =
        selector.match_labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    labels(&mut errors, &pairs, &format!("{field}.matchLabels"));
    for (at, expression) in selector.match_expressions.iter().enumerate() {
        let path = format!("{field}.matchExpressions[{at}]");
        match operator(&expression.operator) {
            Some(Operator::In | Operator::NotIn) if expression.values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(format!("{path}.values"), detail));
            }
            Some(Operator::Exists | Operator::DoesNotExist) if !expression.values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(format!("{path}.values"), detail));
            }
            Some(_) => {}
            None => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                expression.operator.as_str(),
                "not a valid selector operator",
            )),
        }
        for complaint in names::qualified_name(&expression.key) {
            errors.push(FieldError::invalid(format!("{path}.key"), expression.key.as_str(), complaint));
        }
        for (index, value) in expression.values.iter().enumerate() {
            for complaint in names::label_value(value) {
                errors.push(FieldError::invalid(format!("{path}.values[{index}]"), value.as_str(), complaint));
            }
        }
    }
    errors
}
