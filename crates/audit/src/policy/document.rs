//! A policy as an operator wrote it, and what must hold for it (upstream: `apis/audit/validation`).

use portcullis_model::names::dns1123_subdomain;
use portcullis_model::status::{BadValue, FieldError};

use super::rule::{Criteria, GroupResources, Rule};
use super::{Level, Policy, Stage, Stages};

/// A policy as its file says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyDocument {
    /// The rules, in order.
    pub rules: Vec<RuleDocument>,
    /// Stages that no rule records.
    pub omit_stages: Vec<String>,
    /// Whether managed fields are left out, where a rule does not say.
    pub omit_managed_fields: bool,
}

/// A rule as the file says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleDocument {
    /// How much is recorded.
    pub level: String,
    /// Which requests it is about.
    pub criteria: Criteria,
    /// Stages that this rule does not record either.
    pub omit_stages: Vec<String>,
    /// Whether managed fields are left out; what the policy says when absent.
    pub omit_managed_fields: Option<bool>,
}

impl PolicyDocument {
    /// Looks whether it makes sense.
    ///
    /// # Errors
    /// All complaints, each with the path of its field. A policy without rules has none: ask [`PolicyDocument::rules`] first.
    pub fn validate(self) -> Result<Policy, Vec<FieldError>> {
        let mut errors = Vec::new();
        let everywhere = stages("omitStages", &self.omit_stages, Stages::default(), &mut errors);
        let mut rules = Vec::with_capacity(self.rules.len());
        for (at, rule) in self.rules.into_iter().enumerate() {
            let path = format!("rules[{at}]");
            let level = level(&path, &rule.level, &mut errors);
            check_criteria(&path, &rule.criteria, &mut errors);
            let omitted = stages(&format!("{path}.omitStages"), &rule.omit_stages, everywhere, &mut errors);
            let omits_managed_fields = rule.omit_managed_fields.unwrap_or(self.omit_managed_fields);
            rules.push(Rule { criteria: rule.criteria, level, omitted, omits_managed_fields });
        }
        if errors.is_empty() { Ok(Policy::of(rules)) } else { Err(errors) }
    }
}

fn level(path: &str, given: &str, errors: &mut Vec<FieldError>) -> Level {
    let path = format!("{path}.level");
    match Level::of_name(given) {
        Some(level) => return level,
        None if given.is_empty() => errors.push(FieldError::required(path, "")),
        None => errors.push(FieldError::not_supported(path, given, &Level::ALL.map(Level::as_str))),
    }
    Level::None
}

fn stages(path: &str, given: &[String], more: Stages, errors: &mut Vec<FieldError>) -> Stages {
    let mut stages = more;
    for (at, name) in given.iter().enumerate() {
        match Stage::of_name(name) {
            Some(stage) => stages = stages.with(stage),
            None => {
                let known = Stage::ALL.map(Stage::as_str).join(",");
                let detail = format!("allowed stages are {known}");
                errors.push(FieldError::invalid(format!("{path}[{at}]"), name.as_str(), detail));
            }
        }
    }
    stages
}

fn check_criteria(path: &str, criteria: &Criteria, errors: &mut Vec<FieldError>) {
    let urls = &criteria.non_resource_urls;
    for (at, url) in urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        let path = || format!("{path}.nonResourceURLs[{at}]");
        if !url.starts_with('/') {
            let detail = "non-resource URL rules must begin with a '/' character";
            errors.push(FieldError::invalid(path(), url.as_str(), detail));
        }
        if url.find('*').is_some_and(|star| star + 1 < url.len()) {
            let detail = "non-resource URL wildcards '*' must be the final character of the rule";
            errors.push(FieldError::invalid(path(), url.as_str(), detail));
        }
    }
    for (at, resources) in criteria.resources.iter().enumerate() {
        check_resources(&format!("{path}.resources[{at}]"), resources, errors);
    }
    let is_about_resources = !criteria.resources.is_empty() || !criteria.namespaces.is_empty();
    if is_about_resources && !urls.is_empty() {
        let detail = "rules cannot apply to both regular resources and non-resource URLs";
        errors.push(FieldError::invalid(format!("{path}.nonResourceURLs"), list(urls), detail));
    }
}

fn check_resources(path: &str, resources: &GroupResources, errors: &mut Vec<FieldError>) {
    let GroupResources { group, resources, resource_names } = resources;
    if !group.is_empty() && group != "*" {
        let complaints = dns1123_subdomain(group);
        if !complaints.is_empty() {
            let detail = complaints.into_iter().map(|complaint| complaint.to_string()).collect::<Vec<_>>().join(",");
            errors.push(FieldError::invalid(format!("{path}.group"), group.as_str(), detail));
        }
    }
    if resources.is_empty() && !resource_names.is_empty() {
        let detail = "using resourceNames requires at least one resource";
        errors.push(FieldError::invalid(format!("{path}.resourceNames"), list(resource_names), detail));
    }
}

/// Strings as a refused value is printed.
fn list(strings: &[String]) -> BadValue {
    let mut json = b"[".to_vec();
    for (at, text) in strings.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        portcullis_model::go_text::push_json_string(&mut json, text);
    }
    json.push(b']');
    BadValue::Json(String::from_utf8_lossy(&json).into_owned())
}
