//! What an object costs a quota (upstream: `pkg/quota/v1/evaluator/core`, `apiserver/pkg/quota/v1/generic`). Admission charges by it, and
//! whoever counts what is used in all adds it up.
//!
//! Pure: every resource of which there are objects in namespaces has one [`Evaluator`], which knows what quotas can limit of it, in
//! which scopes an object is, and what it uses. Reading order: this file, then [`scopes`], then a file for each kind that costs more
//! than the place it takes.

pub mod claims;
pub mod devices;
pub mod pods;
pub mod scopes;
pub mod services;

use std::collections::BTreeMap;

use portcullis_model::quantity::{Format, Quantity};
use portcullis_model::tree::Tree;

use scopes::Requirement;

/// Amounts by the names that quotas have for them.
pub type Usage = BTreeMap<String, Quantity>;

/// Before the name of a resource whose objects are counted.
const COUNT_PREFIX: &str = "count/";
/// Resources whose objects were counted by a plain name before there was [`COUNT_PREFIX`].
const PLAIN_COUNTS: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];
/// Resources that cost nothing: what is not stored, and events, which come too many to be counted.
const FREE: [(&str, &str); 9] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// When an object is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// When it is made.
    Create,
    /// When it is made and whenever it changes.
    Update,
    /// When it is made, and when it is resized through the subresource.
    Resize,
}

/// What the objects of one resource cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evaluator<'n> {
    /// Pods.
    Pods,
    /// Services.
    Services,
    /// Persistent volume claims.
    Claims,
    /// Resource claims.
    Devices,
    /// Anything else: group and resource.
    Objects(&'n str, &'n str),
}

impl<'n> Evaluator<'n> {
    /// Finds the evaluator of a resource that lives in namespaces; none for one that costs nothing.
    #[must_use]
    pub fn of(group: &'n str, resource: &'n str) -> Option<Evaluator<'n>> {
        Some(match (group, resource) {
            free if FREE.contains(&free) => return None,
            ("", "pods") => Evaluator::Pods,
            ("", "services") => Evaluator::Services,
            ("", "persistentvolumeclaims") => Evaluator::Claims,
            ("resource.k8s.io", "resourceclaims") => Evaluator::Devices,
            (group, resource) => Evaluator::Objects(group, resource),
        })
    }

    /// When an object is charged.
    #[must_use]
    pub fn charged(self) -> Charged {
        match self {
            Evaluator::Pods => Charged::Resize,
            Evaluator::Services | Evaluator::Claims => Charged::Update,
            Evaluator::Devices | Evaluator::Objects(..) => Charged::Create,
        }
    }

    /// Whether such an object can cost any of this.
    #[must_use]
    pub fn costs(self, name: &str) -> bool {
        match self {
            Evaluator::Pods => pods::costs(name),
            Evaluator::Services => services::costs(name),
            Evaluator::Claims => claims::costs(name),
            Evaluator::Devices => devices::costs(name),
            Evaluator::Objects(group, resource) => {
                is_count_of(name, group, resource) || group.is_empty() && is_plain_count(name, resource)
            }
        }
    }

    /// Whether an object is in a scope.
    #[must_use]
    pub fn is_in(self, object: &Tree, requirement: Requirement<'_>) -> bool {
        match self {
            Evaluator::Pods => pods::is_in(object, requirement),
            Evaluator::Claims => claims::is_in(object, requirement),
            Evaluator::Services | Evaluator::Devices | Evaluator::Objects(..) => false,
        }
    }

    /// Says what an object must say for itself to be charged for these, and does not: `limits.memory for: crane; requests.cpu for: crane`.
    #[must_use]
    pub fn unsaid(self, object: &Tree, names: &[&str]) -> Option<String> {
        match self {
            Evaluator::Pods => pods::unsaid(object, names),
            _ => None,
        }
    }

    /// Says what an object costs. `now` is in seconds since 1970: what is over costs only its place.
    #[must_use]
    pub fn usage(self, object: &Tree, now: i64) -> Usage {
        match self {
            Evaluator::Pods => pods::usage(object, now),
            Evaluator::Services => services::usage(object),
            Evaluator::Claims => claims::usage(object),
            Evaluator::Devices => devices::usage(object),
            Evaluator::Objects(group, resource) => {
                let mut usage = Usage::from([(count_of(group, resource), one())]);
                if group.is_empty() && PLAIN_COUNTS.contains(&resource) {
                    usage.insert(resource.to_owned(), one());
                }
                usage
            }
        }
    }
}

/// One object.
fn one() -> Quantity {
    count(1)
}

/// So many of them.
fn count(number: i64) -> Quantity {
    Quantity::from_i64(number, Format::DecimalSi)
}

/// The name by which the objects of a resource are counted.
fn count_of(group: &str, resource: &str) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    format!("{COUNT_PREFIX}{resource}{dot}{group}")
}

fn is_count_of(name: &str, group: &str, resource: &str) -> bool {
    let rest = name.strip_prefix(COUNT_PREFIX).and_then(|name| name.strip_prefix(resource));
    rest.is_some_and(|rest| {
        rest == group && group.is_empty() || rest.strip_prefix('.') == Some(group) && !group.is_empty()
    })
}

fn is_plain_count(name: &str, resource: &str) -> bool {
    name == resource && PLAIN_COUNTS.contains(&resource)
}

/// What is more now than it was: nothing of what is less.
#[must_use]
pub fn increase(now: Usage, before: &Usage) -> Usage {
    let more = now.into_iter().map(|(name, amount)| match before.get(&name) {
        Some(held) => (name, amount - *held),
        None => (name, amount),
    });
    more.filter(|(_, amount)| amount.sign() > 0).collect()
}

#[cfg(test)]
mod tests;
