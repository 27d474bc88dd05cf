//! What the roles and bindings of the bootstrap policy should be, and what is done about those that are something else.
//!
//! Nothing that a cluster's operator added is taken away; what is missing is added, unless the object says that it is not to be touched.
//!
//! Upstream: `reconciliation.ReconcileRoleOptions` and `ReconcileRoleBindingOptions` with neither extra permissions nor extra subjects
//! removed, as `rbac/bootstrap-roles` calls them.

use portcullis_kinds::bootstrap_policy::{self, Binding, PolicyError, Role, Rule, Subject};
use serde_json::{Map, Value, json};

use super::{Finding, First, Held};

const GROUP: &str = "rbac.authorization.k8s.io";
/// An object on which this is `false` stays as it is.
const ANNOTATION_AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const LABEL_BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
const LABEL_AGGREGATE_TO: &str = "rbac.authorization.k8s.io/aggregate-to-";

/// The roles and bindings to be made.
pub(super) fn firsts() -> Result<impl Iterator<Item = First>, PolicyError> {
    let policy = bootstrap_policy::bootstrap_policy()?;
    let roles = policy.roles.iter().map(|role| {
        let resource = if role.namespace.is_empty() { "clusterroles" } else { "roles" };
        let object = role_object(role);
        First { held: Held::Policy, ..First::kept(GROUP, resource, role.namespace, role.name, object) }
    });
    let bindings = policy.bindings.iter().map(|binding| {
        let resource = if binding.namespace.is_empty() { "clusterrolebindings" } else { "rolebindings" };
        let object = binding_object(binding);
        First { held: Held::Policy, ..First::kept(GROUP, resource, binding.namespace, binding.name, object) }
    });
    Ok(roles.chain(bindings))
}

fn role_object(role: &Role) -> Value {
    let mut object = json!({"metadata": metadata(role.namespace, role.name)});
    if !role.to.is_empty() {
        let label = format!("{LABEL_AGGREGATE_TO}{}", role.to);
        object["metadata"]["labels"][label] = json!("true");
    }
    if role.from.is_empty() {
        object["rules"] = role.rules.iter().map(rule_object).collect();
    } else {
        let mut labels = Map::new();
        labels.insert(format!("{LABEL_AGGREGATE_TO}{}", role.from), json!("true"));
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
    }
    object
}

fn binding_object(binding: &Binding) -> Value {
    let kind = if binding.namespace.is_empty() { "ClusterRole" } else { "Role" };
    let mut object = json!({
        "metadata": metadata(binding.namespace, binding.name),
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": binding.role},
    });
    if !binding.subjects.is_empty() {
        object["subjects"] = binding.subjects.iter().map(subject_object).collect();
    }
    object
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {LABEL_BOOTSTRAPPING: "rbac-defaults"},
        "annotations": {ANNOTATION_AUTOUPDATE: "true"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

fn rule_object(rule: &Rule) -> Value {
    let lists = [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.names),
        ("nonResourceURLs", &rule.paths),
    ];
    let filled = lists.into_iter().filter(|(_, list)| !list.is_empty());
    Value::Object(filled.map(|(name, list)| (name.to_owned(), json!(list))).collect())
}

fn subject_object(subject: &Subject) -> Value {
    match subject {
        Subject::User(name) => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
        Subject::Group(name) => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
        Subject::ServiceAccount { namespace, name } => {
            json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
        }
    }
}

/// Compares a stored role or binding with what it should be. Both have the shape of their type; one of another is a fault of the caller.
pub(super) fn reconcile(mut held: Value, wanted: &Value) -> Finding {
    if held["metadata"]["annotations"][ANNOTATION_AUTOUPDATE] == "false" {
        return Finding::Same;
    }
    if held["roleRef"] != wanted["roleRef"] {
        return Finding::OtherRole;
    }
    let mut is_changed = false;
    for map in ["labels", "annotations"] {
        is_changed |= add_entries(&mut held["metadata"][map], &wanted["metadata"][map]);
    }
    let is_role = wanted["roleRef"].is_null();
    if is_role {
        // What a role gets from others is not compared: the aggregation controller owns it.
        if wanted["aggregationRule"].is_null() {
            let missing = missing_rules(items(&held["rules"]), items(&wanted["rules"]));
            is_changed |= append(&mut held, "rules", missing);
            is_changed |= held
                .as_object_mut()
                .and_then(|held| held.remove("aggregationRule"))
                .is_some_and(|rule| !rule.is_null());
        } else {
            let selectors = |of: &Value| items(&of["aggregationRule"]["clusterRoleSelectors"]).to_vec();
            let missing = absent(&selectors(&held), &selectors(wanted));
            is_changed |= append(&mut held["aggregationRule"], "clusterRoleSelectors", missing);
        }
    } else {
        let missing = absent(items(&held["subjects"]), items(&wanted["subjects"]));
        is_changed |= append(&mut held, "subjects", missing);
    }
    if is_changed { Finding::Changed(held) } else { Finding::Same }
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn absent(held: &[Value], wanted: &[Value]) -> Vec<Value> {
    wanted.iter().filter(|item| !held.contains(item)).cloned().collect()
}

/// Adds entries whose keys are not there: a value that somebody changed stays changed.
fn add_entries(held: &mut Value, wanted: &Value) -> bool {
    let Some(wanted) = wanted.as_object() else { return false };
    let mut is_changed = false;
    for (key, value) in wanted {
        if held.get(key).is_none() {
            held[key.as_str()] = value.clone();
            is_changed = true;
        }
    }
    is_changed
}

/// Adds items to a list of an object, which is made when it is not there.
fn append(object: &mut Value, list: &str, missing: Vec<Value>) -> bool {
    if missing.is_empty() {
        return false;
    }
    match object[list].as_array_mut() {
        Some(items) => items.extend(missing),
        None => object[list] = Value::Array(missing),
    }
    true
}

/// What rules lack of others: a whole rule where they cover nothing of it, else each single permission that they do not cover.
fn missing_rules(held: &[Value], wanted: &[Value]) -> Vec<Value> {
    let mut missing = Vec::new();
    for rule in wanted.iter().filter(|rule| !held.contains(rule)) {
        let all = Permission::all_of(rule);
        let uncovered: Vec<&Permission<'_>> =
            all.iter().filter(|permission| !held.iter().any(|held| permission.is_covered(held))).collect();
        if uncovered.len() == all.len() {
            missing.push(rule.clone());
        } else {
            missing.extend(uncovered.into_iter().map(Permission::rule));
        }
    }
    missing
}

/// One verb on one resource, one object or one path.
#[derive(Clone, Copy, Debug)]
struct Permission<'a> {
    verb: &'a str,
    target: Target<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    Resource { group: &'a str, resource: &'a str, name: Option<&'a str> },
    Path(&'a str),
}

fn words<'a>(rule: &'a Value, list: &str) -> impl Iterator<Item = &'a str> + Clone {
    items(&rule[list]).iter().filter_map(Value::as_str)
}

impl<'a> Permission<'a> {
    fn all_of(rule: &'a Value) -> Vec<Permission<'a>> {
        let mut targets: Vec<Target<'a>> = words(rule, "nonResourceURLs").map(Target::Path).collect();
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                let named = words(rule, "resourceNames").map(Some);
                let names = if items(&rule["resourceNames"]).is_empty() { vec![None] } else { named.collect() };
                targets.extend(names.into_iter().map(|name| Target::Resource { group, resource, name }));
            }
        }
        let of_verb = |verb| targets.iter().map(move |target| Permission { verb, target: *target });
        words(rule, "verbs").flat_map(of_verb).collect()
    }

    fn is_covered(&self, rule: &Value) -> bool {
        let has = |list: &str, word: &str| words(rule, list).any(|held| held == "*" || held == word);
        let target = match self.target {
            Target::Resource { group, resource, name } => {
                let subresource = resource.split_once('/').map(|(_, subresource)| subresource);
                let of_any = |held: &str| subresource.is_some() && held.strip_prefix("*/") == subresource;
                let is_named = items(&rule["resourceNames"]).is_empty()
                    || name.is_some_and(|name| words(rule, "resourceNames").any(|held| held == name));
                has("apiGroups", group)
                    && (has("resources", resource) || words(rule, "resources").any(of_any))
                    && is_named
            }
            Target::Path(path) => words(rule, "nonResourceURLs")
                .any(|held| held == path || held.strip_suffix('*').is_some_and(|begin| path.starts_with(begin))),
        };
        target && has("verbs", self.verb)
    }

    fn rule(&self) -> Value {
        match self.target {
            Target::Resource { group, resource, name: None } => {
                json!({"verbs": [self.verb], "apiGroups": [group], "resources": [resource]})
            }
            Target::Resource { group, resource, name: Some(name) } => {
                json!({"verbs": [self.verb], "apiGroups": [group], "resources": [resource], "resourceNames": [name]})
            }
            Target::Path(path) => json!({"verbs": [self.verb], "nonResourceURLs": [path]}),
        }
    }
}

#[cfg(test)]
mod tests;
