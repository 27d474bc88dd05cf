//! Which requests a webhook or a policy is about: rules, selectors and conditions, the same for all of them (upstream:
//! `apis/admissionregistration/validation`; match conditions KEP-3716).

use std::collections::HashSet;

use portcullis_model::names as model_names;

use crate::views::admissionregistration_v1::{
    MatchCondition, MatchResources, MatchResourcesEdit, NamedRuleWithOperations, NamedRuleWithOperationsEdit,
    RuleWithOperations, RuleWithOperationsEdit,
};
use crate::views::{Edit, List, ListEdit, shown};
use crate::vocabulary::{Errors, Path, names, selectors};

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// All of its kind.
const ALL: &str = "*";

/// What holds when the client does not say.
pub const SCOPE_DEFAULT: &str = "*";
/// Requests through another version of the API are meant too.
pub const MATCH_POLICY_DEFAULT: &str = "Equivalent";
/// A request that cannot be asked about is refused.
pub const FAILURE_POLICY_DEFAULT: &str = "Fail";

/// Which requests a rule is about, whichever struct says it.
#[derive(Clone, Copy, Debug)]
pub struct Rule<'t> {
    operations: List<'t, &'t str>,
    api_groups: List<'t, &'t str>,
    api_versions: List<'t, &'t str>,
    resources: List<'t, &'t str>,
    scope: Option<&'t str>,
}

impl<'t> From<RuleWithOperations<'t>> for Rule<'t> {
    fn from(rule: RuleWithOperations<'t>) -> Rule<'t> {
        Rule {
            operations: rule.operations(),
            api_groups: rule.api_groups(),
            api_versions: rule.api_versions(),
            resources: rule.resources(),
            scope: rule.scope(),
        }
    }
}

impl<'t> From<NamedRuleWithOperations<'t>> for Rule<'t> {
    fn from(rule: NamedRuleWithOperations<'t>) -> Rule<'t> {
        Rule {
            operations: rule.operations(),
            api_groups: rule.api_groups(),
            api_versions: rule.api_versions(),
            resources: rule.resources(),
            scope: rule.scope(),
        }
    }
}

/// Rules of webhooks are about objects of every scope.
pub fn default_rules(mut rules: ListEdit<'_, RuleWithOperationsEdit<'_>>) {
    rules.each(|place| {
        let mut rule = RuleWithOperationsEdit::at(place);
        if rule.view().scope().is_none() {
            rule.set_scope(SCOPE_DEFAULT);
        }
    });
}

/// A policy is about every version of what it names, in every namespace, and every object.
pub fn default_match_resources(mut edit: MatchResourcesEdit<'_>) {
    let (resource_rules, exclude_rules) = {
        let view = edit.view();
        (!view.resource_rules().is_empty(), !view.exclude_resource_rules().is_empty())
    };
    if edit.view().match_policy().is_none() {
        edit.set_match_policy(MATCH_POLICY_DEFAULT);
    }
    // To open a selector is to have one.
    edit.namespace_selector_mut();
    edit.object_selector_mut();
    if resource_rules {
        default_named_rules(edit.resource_rules_mut());
    }
    if exclude_rules {
        default_named_rules(edit.exclude_resource_rules_mut());
    }
}

fn default_named_rules(mut rules: ListEdit<'_, NamedRuleWithOperationsEdit<'_>>) {
    rules.each(|place| {
        let mut rule = NamedRuleWithOperationsEdit::at(place);
        if rule.view().scope().is_none() {
            rule.set_scope(SCOPE_DEFAULT);
        }
    });
}

/// A rule says what is done to what.
pub fn rule(rule: Rule<'_>, at: &Path<'_>, errors: &mut Errors) {
    let at_operations = at.field("operations");
    if rule.operations.is_empty() {
        errors.required(&at_operations, "");
    }
    all_or_some(rule.operations, "operations", &at_operations, errors);
    for (index, operation) in rule.operations.iter().enumerate() {
        names::one_of(operation, OPERATIONS, &at_operations.index(index), errors);
    }
    let at_groups = at.field("apiGroups");
    if rule.api_groups.is_empty() {
        errors.required(&at_groups, "");
    }
    all_or_some(rule.api_groups, "API groups", &at_groups, errors);
    let at_versions = at.field("apiVersions");
    if rule.api_versions.is_empty() {
        errors.required(&at_versions, "");
    }
    all_or_some(rule.api_versions, "API versions", &at_versions, errors);
    for (index, version) in rule.api_versions.iter().enumerate() {
        if version.is_empty() {
            errors.required(&at_versions.index(index), "");
        }
    }
    resources(rule.resources, &at.field("resources"), errors);
    if let Some(scope) = rule.scope {
        names::one_of(scope, SCOPES, &at.field("scope"), errors);
    }
}

/// Who names all names no others beside them.
fn all_or_some(list: List<'_, &str>, what: &str, at: &Path<'_>, errors: &mut Errors) {
    if list.len() > 1 && list.iter().any(|one| one == ALL) {
        errors.invalid(at, shown(list.place()), format!("if '*' is present, must not specify other {what}"));
    }
}

/// Resources, perhaps with a subresource, none of them named by two entries.
fn resources(list: List<'_, &str>, at: &Path<'_>, errors: &mut Errors) {
    if list.is_empty() {
        errors.required(at, "");
    }
    let (mut with_all_parts, mut parts_of_all) = (HashSet::new(), HashSet::new());
    let (mut has_all, mut has_all_with_parts, mut ends_without_part) = (false, false, false);
    for (index, resource) in list.iter().enumerate() {
        if resource.is_empty() {
            errors.required(&at.index(index), "");
            continue;
        }
        has_all_with_parts |= resource == "*/*";
        has_all |= resource == ALL;
        let Some((name, part)) = resource.split_once('/') else {
            ends_without_part = resource != ALL;
            continue;
        };
        if with_all_parts.contains(name) {
            let why = format!("if '{name}/*' is present, must not specify {resource}");
            errors.invalid(&at.index(index), resource, why);
        }
        if parts_of_all.contains(part) {
            let why = format!("if '*/{part}' is present, must not specify {resource}");
            errors.invalid(&at.index(index), resource, why);
        }
        if part == ALL {
            with_all_parts.insert(name);
        }
        if name == ALL {
            parts_of_all.insert(part);
        }
    }
    if has_all_with_parts && list.len() > 1 {
        errors.invalid(at, shown(list.place()), "if '*/*' is present, must not specify other resources");
    }
    if has_all && ends_without_part {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(at, shown(list.place()), why);
    }
}

/// Which requests a policy is about.
pub fn match_resources(matched: MatchResources<'_>, at: &Path<'_>, errors: &mut Errors) {
    matched.check_match_policy(at, errors);
    for (field, selector) in
        [("namespaceSelector", matched.namespace_selector()), ("objectSelector", matched.object_selector())]
    {
        match selector {
            None => errors.required(&at.field(field), ""),
            Some(selector) => selectors::label_selector(selector, &at.field(field), errors),
        }
    }
    for (field, rules) in
        [("resourceRules", matched.resource_rules()), ("excludeResourceRules", matched.exclude_resource_rules())]
    {
        for (index, one) in rules.iter().enumerate() {
            named_rule(one, &at.field(field).index(index), errors);
        }
    }
}

fn named_rule(one: NamedRuleWithOperations<'_>, at: &Path<'_>, errors: &mut Errors) {
    let (at_names, mut seen) = (at.field("resourceNames"), HashSet::new());
    for (index, name) in one.resource_names().iter().enumerate() {
        names::path_segment(name, &at_names.index(index), errors);
        if !seen.insert(name) {
            errors.duplicate(&at_names.index(index), name);
        }
    }
    rule(one.into(), at, errors);
}

/// Conditions that a request must meet, each with a name of its own.
pub fn match_conditions(list: List<'_, MatchCondition<'_>>, at: &Path<'_>, errors: &mut Errors) {
    if list.len() > CONDITIONS_MAX {
        errors.too_many(at, list.len(), CONDITIONS_MAX);
    }
    let mut seen = HashSet::new();
    for (index, condition) in list.iter().enumerate() {
        let (at, name) = (at.index(index), condition.name());
        expression(condition.expression(), "", &at.field("expression"), errors);
        if name.is_empty() {
            errors.required(&at.field("name"), "");
            continue;
        }
        errors.complain(&at.field("name"), name, model_names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&at.field("name"), name);
        }
    }
}

/// An expression is written. Whether it compiles is not known here: that needs the language.
pub fn expression(text: &str, why: &'static str, at: &Path<'_>, errors: &mut Errors) {
    if text.trim().is_empty() {
        errors.required(at, why);
    }
}
