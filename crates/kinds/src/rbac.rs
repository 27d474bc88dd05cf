//! Roles and bindings: what a rule must say, whom a binding may name, and that a binding never comes to mean another role.
//!
//! Upstream: `apis/rbac/validation` and `apis/rbac/v1/defaults.go`. Whether the writer may grant what is written is not asked here:
//! that is the API server's escalation check.

use portcullis_model::go_text::push_json_string;
use portcullis_model::names::{self, NameRule};
use portcullis_model::selectors::validate_label_selector;
use portcullis_model::status::{BadValue, FieldError};
use portcullis_model::tree::Tree;

use crate::rest::Rest;
use crate::strategy::{Cell, Strategy};
use crate::views::rbac_v1::{
    ClusterRole, ClusterRoleBinding, ClusterRoleBindingEdit, PolicyRule, Role, RoleBinding, RoleBindingEdit, RoleRef,
    RoleRefEdit, Subject, SubjectEdit,
};
use crate::views::{self, Edit, List};
use crate::vocabulary::selectors;

/// The API group of all four kinds, and of users and groups as subjects.
pub const GROUP: &str = "rbac.authorization.k8s.io";

const KINDS_OF_ROLES: &[&str] = &["Role", "ClusterRole"];
const KINDS_OF_CLUSTER_ROLES: &[&str] = &["ClusterRole"];
const KINDS_OF_SUBJECTS: &[&str] = &["ServiceAccount", "User", "Group"];

/// Bootstrapping writes roles by name, and their names may have colons.
const REST: Rest = Rest { put_creates: true, name: NameRule::PathSegment, ..Rest::PLAIN };

/// The rules of `Role`.
pub const ROLE: Strategy = Strategy {
    rest: REST,
    validate_create: |tree, errors| errors.extend(check_rules(views::read::<Role<'_>>(tree).rules(), true)),
    validate_update: |tree, _, _, errors| errors.extend(check_rules(views::read::<Role<'_>>(tree).rules(), true)),
    ..Strategy::NONE
};

/// The rules of `ClusterRole`.
pub const CLUSTER_ROLE: Strategy = Strategy {
    rest: REST,
    validate_create: |tree, errors| errors.extend(check_cluster_role(tree)),
    validate_update: |tree, _, _, errors| errors.extend(check_cluster_role(tree)),
    ..Strategy::NONE
};

/// The rules of `RoleBinding`.
pub const ROLE_BINDING: Strategy = Strategy {
    rest: REST,
    default: |tree| {
        let mut binding: RoleBindingEdit<'_> = views::write(tree);
        default_role_ref(binding.role_ref_mut());
        // To open a list is to have one.
        if !binding.view().subjects().is_empty() {
            binding.subjects_mut().each(|place| default_subject(SubjectEdit::at(place)));
        }
    },
    validate_create: |tree, errors| errors.extend(check_role_binding(views::read(tree))),
    validate_update: |tree, old, _, errors| {
        let (new, old): (RoleBinding<'_>, RoleBinding<'_>) = (views::read(tree), views::read(old));
        errors.extend(check_role_binding(new));
        errors.extend(check_same_role(new.role_ref(), old.role_ref()));
    },
    cell: |tree, column, _| {
        let binding: RoleBinding<'_> = views::read(tree);
        cell(binding.role_ref(), binding.subjects(), column)
    },
    ..Strategy::NONE
};

/// The rules of `ClusterRoleBinding`.
pub const CLUSTER_ROLE_BINDING: Strategy = Strategy {
    rest: REST,
    default: |tree| {
        let mut binding: ClusterRoleBindingEdit<'_> = views::write(tree);
        default_role_ref(binding.role_ref_mut());
        // To open a list is to have one.
        if !binding.view().subjects().is_empty() {
            binding.subjects_mut().each(|place| default_subject(SubjectEdit::at(place)));
        }
    },
    validate_create: |tree, errors| errors.extend(check_cluster_role_binding(views::read(tree))),
    validate_update: |tree, old, _, errors| {
        let (new, old): (ClusterRoleBinding<'_>, ClusterRoleBinding<'_>) = (views::read(tree), views::read(old));
        errors.extend(check_cluster_role_binding(new));
        errors.extend(check_same_role(new.role_ref(), old.role_ref()));
    },
    cell: |tree, column, _| {
        let binding: ClusterRoleBinding<'_> = views::read(tree);
        cell(binding.role_ref(), binding.subjects(), column)
    },
    ..Strategy::NONE
};

fn default_role_ref(mut role: RoleRefEdit<'_>) {
    if role.view().api_group().is_empty() {
        role.set_api_group(GROUP);
    }
}

fn default_subject(mut subject: SubjectEdit<'_>) {
    let view = subject.view();
    if view.api_group().is_empty() && matches!(view.kind(), "User" | "Group") {
        subject.set_api_group(GROUP);
    }
}

fn check_cluster_role(tree: &Tree) -> Vec<FieldError> {
    const SELECTORS: &str = "aggregationRule.clusterRoleSelectors";
    let role: ClusterRole<'_> = views::read(tree);
    let mut errors = check_rules(role.rules(), false);
    let Some(aggregation) = role.aggregation_rule() else { return errors };
    if aggregation.cluster_role_selectors().is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(SELECTORS, why));
    }
    for (at, selector) in aggregation.cluster_role_selectors().iter().enumerate() {
        errors.extend(validate_label_selector(&selectors::read(selector), &format!("{SELECTORS}[{at}]")));
    }
    errors
}

fn check_rules(rules: List<'_, PolicyRule<'_>>, is_namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let field = |name: &str| format!("rules[{at}].{name}");
        if rule.verbs().is_empty() {
            errors.push(FieldError::required(field("verbs"), "verbs must contain at least one value"));
        }
        if !rule.non_resource_urls().is_empty() {
            let paths = || BadValue::Json(json_list(rule.non_resource_urls()));
            if is_namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(field("nonResourceURLs"), paths(), why));
            }
            if !rule.api_groups().is_empty() || !rule.resources().is_empty() || !rule.resource_names().is_empty() {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(field("nonResourceURLs"), paths(), why));
            }
            continue;
        }
        if rule.api_groups().is_empty() {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(field("apiGroups"), why));
        }
        if rule.resources().is_empty() {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(field("resources"), why));
        }
    }
    errors
}

fn json_list(list: List<'_, &str>) -> String {
    let mut text = b"[".to_vec();
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        push_json_string(&mut text, item);
    }
    text.push(b']');
    String::from_utf8_lossy(&text).into_owned()
}

fn check_role_binding(binding: RoleBinding<'_>) -> Vec<FieldError> {
    let mut errors = check_role_ref(binding.role_ref(), KINDS_OF_ROLES);
    errors.extend(check_subjects(binding.subjects(), true));
    errors
}

fn check_cluster_role_binding(binding: ClusterRoleBinding<'_>) -> Vec<FieldError> {
    let mut errors = check_role_ref(binding.role_ref(), KINDS_OF_CLUSTER_ROLES);
    errors.extend(check_subjects(binding.subjects(), false));
    errors
}

fn check_role_ref(role: RoleRef<'_>, kinds: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if role.api_group() != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", role.api_group(), &[GROUP]));
    }
    if !kinds.contains(&role.kind()) {
        errors.push(FieldError::not_supported("roleRef.kind", role.kind(), kinds));
    }
    if role.name().is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for complaint in names::path_segment(role.name()) {
        errors.push(FieldError::invalid("roleRef.name", role.name(), complaint));
    }
    errors
}

/// What a binding is to stays: whoever may change who is bound must not thereby change what they get.
fn check_same_role(new: RoleRef<'_>, old: RoleRef<'_>) -> Option<FieldError> {
    let parts = |role: RoleRef<'_>| [role.api_group().to_owned(), role.kind().to_owned(), role.name().to_owned()];
    let given = parts(new);
    if given == parts(old) {
        return None;
    }
    let mut text = Vec::new();
    for (name, value) in [r#"{"apiGroup":"#, r#","kind":"#, r#","name":"#].iter().zip(&given) {
        text.extend_from_slice(name.as_bytes());
        push_json_string(&mut text, value);
    }
    text.push(b'}');
    let shown = BadValue::Json(String::from_utf8_lossy(&text).into_owned());
    Some(FieldError::invalid("roleRef", shown, "cannot change roleRef"))
}

fn check_subjects(subjects: List<'_, Subject<'_>>, is_namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, subject) in subjects.iter().enumerate() {
        let field = |name: &str| format!("subjects[{at}].{name}");
        if subject.name().is_empty() {
            errors.push(FieldError::required(field("name"), ""));
        }
        let group = match subject.kind() {
            "ServiceAccount" => {
                if !subject.name().is_empty() {
                    for complaint in names::dns1123_subdomain(subject.name()) {
                        errors.push(FieldError::invalid(field("name"), subject.name(), complaint));
                    }
                }
                ""
            }
            "User" | "Group" => GROUP,
            kind => {
                errors.push(FieldError::not_supported(field("kind"), kind, KINDS_OF_SUBJECTS));
                continue;
            }
        };
        if subject.api_group() != group {
            errors.push(FieldError::not_supported(field("apiGroup"), subject.api_group(), &[group]));
        }
        if subject.kind() == "ServiceAccount" && !is_namespaced && subject.namespace().is_empty() {
            errors.push(FieldError::required(field("namespace"), ""));
        }
    }
    errors
}

/// What a table shows of a binding.
fn cell(role: RoleRef<'_>, subjects: List<'_, Subject<'_>>, column: &str) -> Option<Cell> {
    let named = |kind: &str| {
        let of_kind = subjects.iter().filter(|subject| subject.kind() == kind);
        let names = of_kind.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", subject.namespace(), subject.name()),
            _ => subject.name().to_owned(),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    Some(Cell::Text(match column {
        "Role" => format!("{}/{}", role.kind(), role.name()),
        "Users" => named("User"),
        "Groups" => named("Group"),
        "ServiceAccounts" => named("ServiceAccount"),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests;
