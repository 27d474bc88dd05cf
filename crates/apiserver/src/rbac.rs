//! The stored roles and bindings as the gate's RBAC reads them (upstream: the RBAC authoriser's listers over shared informers).
//!
//! An object that cannot be read gives nothing, and is logged: a role without rules, or no binding.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_gate::rbac::policy::Change;
use portcullis_gate::rbac::{Binding, GROUP, Id, Policy, PolicySource, RoleKind, RoleRef, Rule, StoredRole, Subject};
use portcullis_model::selectors::{LabelSelector, LabelSelectorRequirement, Selector};
use portcullis_store::{Engine, Entry, Event};
use serde_json::Value;
use thiserror::Error;

use crate::follower::{Derived, Follower};
use crate::registry::Registry;

/// The four resources. Roles come first, so that bindings find them.
pub const SORTS: [(&str, Sort); 4] = [
    ("clusterroles", Sort::Role),
    ("roles", Sort::Role),
    ("clusterrolebindings", Sort::Binding),
    ("rolebindings", Sort::Binding),
];

/// What an object of the RBAC group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It has rules.
    Role,
    /// It gives a role to somebody.
    Binding,
}

/// Why a role or a binding cannot be read.
#[derive(Debug, Error)]
pub enum UnreadableError {
    /// It is no JSON.
    #[error("not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A field is not what it should be.
    #[error("{field} is not {wanted}")]
    Mismatch {
        /// Which field.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A selector of what a role gathers is none.
    #[error("aggregationRule: {0}")]
    Selector(#[from] portcullis_model::selectors::SelectorError),
}

/// The newest roles and bindings of a store.
pub struct StoredPolicy {
    follower: Follower<Compiled>,
}

impl StoredPolicy {
    /// Follows a store. Nothing is read before the first question.
    pub fn new(engine: Arc<dyn Engine>, registry: &Registry) -> StoredPolicy {
        let place = |(resource, sort): (&str, Sort)| {
            let prefix = registry.find(GROUP, "v1", resource)?.prefix()?.to_owned();
            Some(Place { prefix, is_namespaced: is_namespaced(resource), sort })
        };
        let places: Vec<Place> = SORTS.into_iter().filter_map(place).collect();
        debug_assert_eq!(places.len(), SORTS.len(), "the registry has the RBAC group");
        let prefixes = places.iter().map(|place| place.prefix.clone()).collect();
        StoredPolicy { follower: Follower::new(engine, prefixes, Compiled { policy: Policy::default(), places }) }
    }
}

impl PolicySource for StoredPolicy {
    fn read(&self, look: &mut dyn FnMut(&Policy)) {
        self.follower.read(|state| look(&state.policy));
    }
}

fn is_namespaced(resource: &str) -> bool {
    !resource.starts_with("cluster")
}

/// Where objects of a resource are.
struct Place {
    prefix: String,
    is_namespaced: bool,
    sort: Sort,
}

/// The policy, and where its objects come from.
struct Compiled {
    policy: Policy,
    places: Vec<Place>,
}

/// What a key names, if it is one of ours.
fn named(places: &[Place], key: &str) -> Option<(Sort, Id)> {
    let (place, rest) = places.iter().find_map(|place| Some((place, key.strip_prefix(&place.prefix)?)))?;
    let (namespace, name) = if place.is_namespaced { rest.split_once('/')? } else { ("", rest) };
    Some((place.sort, Id::new(namespace, name)))
}

impl Derived for Compiled {
    fn reset(&mut self, entries: &mut dyn Iterator<Item = (&str, &Entry)>) {
        let places = &self.places;
        self.policy.change(|change| {
            change.clear();
            for (key, entry) in entries {
                put(places, change, key, Some(entry));
            }
        });
    }

    fn apply(&mut self, event: &Event) {
        let places = &self.places;
        self.policy.change(|change| put(places, change, &event.key, event.current.as_ref()));
    }
}

fn put(places: &[Place], change: &mut Change<'_>, key: &str, entry: Option<&Entry>) {
    let Some((sort, id)) = named(places, key) else { return };
    let Some(entry) = entry else {
        return match sort {
            Sort::Role => change.remove_role(&id),
            Sort::Binding => change.remove_binding(&id),
        };
    };
    let done = serde_json::from_slice(&entry.value).map_err(UnreadableError::from);
    let done = done.and_then(|object: Value| set(change, sort, id.clone(), &object));
    let Err(error) = done else { return };
    tracing::warn!(key, %error, gate = "authz", "a role or binding cannot be read and gives nothing");
    match sort {
        Sort::Role => change.set_role(id, StoredRole::default()),
        Sort::Binding => change.remove_binding(&id),
    }
}

/// Puts an object of the `v1` API into a policy.
///
/// # Errors
/// When it is not one; then nothing is changed.
pub fn set(change: &mut Change<'_>, sort: Sort, id: Id, object: &Value) -> Result<(), UnreadableError> {
    match sort {
        Sort::Role => change.set_role(id, role(object)?),
        Sort::Binding => change.set_binding(id, binding(object)?),
    }
    Ok(())
}

/// Reads a role.
pub(crate) fn role(object: &Value) -> Result<StoredRole, UnreadableError> {
    let rules = list(object, "rules")?.iter().map(rule).collect::<Result<_, _>>()?;
    let labels = pairs(object.get("metadata").unwrap_or(&Value::Null), "labels")?.collect::<Result<_, _>>()?;
    let gathers = match object.get("aggregationRule") {
        None | Some(Value::Null) => None,
        Some(rule) => {
            let selectors = list(rule, "clusterRoleSelectors")?;
            Some(selectors.iter().map(selector).collect::<Result<_, _>>()?)
        }
    };
    Ok(StoredRole { rules, labels, gathers })
}

fn rule(object: &Value) -> Result<Rule, UnreadableError> {
    Ok(Rule {
        verbs: texts(object, "verbs")?,
        groups: texts(object, "apiGroups")?,
        resources: texts(object, "resources")?,
        names: texts(object, "resourceNames")?,
        paths: texts(object, "nonResourceURLs")?,
    })
}

fn selector(object: &Value) -> Result<Selector, UnreadableError> {
    let expression = |object: &Value| {
        Ok(LabelSelectorRequirement {
            key: text(object, "key")?.to_owned(),
            operator: text(object, "operator")?.to_owned(),
            values: texts(object, "values")?,
        })
    };
    let match_expressions = list(object, "matchExpressions")?.iter().map(expression);
    let match_expressions = match_expressions.collect::<Result<_, UnreadableError>>()?;
    let match_labels = pairs(object, "matchLabels")?.collect::<Result<BTreeMap<_, _>, _>>()?.into_iter().collect();
    Ok(LabelSelector { match_labels, match_expressions }.to_selector()?)
}

/// Reads a binding.
pub(crate) fn binding(object: &Value) -> Result<Binding, UnreadableError> {
    let role = object.get("roleRef").unwrap_or(&Value::Null);
    Ok(Binding {
        role: role_ref(text(role, "kind")?, text(role, "name")?),
        subjects: list(object, "subjects")?
            .iter()
            .filter_map(|object| subject(object).transpose())
            .collect::<Result<_, _>>()?,
    })
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    let kind = match kind {
        "ClusterRole" => RoleKind::ClusterRole,
        "Role" => RoleKind::Role,
        other => RoleKind::Unknown(other.to_owned()),
    };
    RoleRef { kind, name: name.to_owned() }
}

/// A subject; none for one of a kind that nobody is.
fn subject(object: &Value) -> Result<Option<Subject>, UnreadableError> {
    let name = text(object, "name")?.to_owned();
    Ok(match text(object, "kind")? {
        "User" => Some(Subject::User(name)),
        "Group" => Some(Subject::Group(name)),
        "ServiceAccount" => Some(Subject::ServiceAccount { namespace: text(object, "namespace")?.to_owned(), name }),
        _ => None,
    })
}

pub(crate) fn list<'v>(object: &'v Value, field: &'static str) -> Result<&'v [Value], UnreadableError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(UnreadableError::Mismatch { field, wanted: "a list" }),
    }
}

pub(crate) fn text<'v>(object: &'v Value, field: &'static str) -> Result<&'v str, UnreadableError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(UnreadableError::Mismatch { field, wanted: "a text" }),
    }
}

pub(crate) fn texts(object: &Value, field: &'static str) -> Result<Vec<String>, UnreadableError> {
    let text = |item: &Value| item.as_str().map(str::to_owned);
    let texts: Option<Vec<String>> = list(object, field)?.iter().map(text).collect();
    texts.ok_or(UnreadableError::Mismatch { field, wanted: "a list of texts" })
}

type Pair = Result<(String, String), UnreadableError>;

fn pairs<'v>(object: &'v Value, field: &'static str) -> Result<impl Iterator<Item = Pair> + use<'v>, UnreadableError> {
    let wanted = "a map of texts";
    let map = match object.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::Object(map)) => Some(map),
        Some(_) => return Err(UnreadableError::Mismatch { field, wanted }),
    };
    let pair = move |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        _ => Err(UnreadableError::Mismatch { field, wanted }),
    };
    Ok(map.into_iter().flatten().map(pair))
}

#[cfg(test)]
mod tests;
